"""MNIST: IDX files read as they are, and nothing else taken for one; the real thing."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from small_data import all_rows, compressed, entries, get, idx, refusal, sha256

from admmctl.data import mnist, shards
from admmctl.data.dataset import DataSettings, Part
from admmctl.errors import DataError
from admmctl.parallel.comm import Serial

IMAGES = np.arange(24).reshape(2, 3, 4)


def test_an_idx_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(IMAGES)))
    found = mnist.read_idx(path, mnist.IMAGES)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(idx(IMAGES, magic=2049)), "is not an IDX file of 3 axes: it starts with 00000801"),
        (gzip.compress(idx(IMAGES, magic=0)), "is not an IDX file of 3 axes: it starts with 00000000"),
        (gzip.compress(idx(IMAGES)[:-1]), r"its header says \(2, 3, 4\), 24 bytes, but it holds 23"),
        (gzip.compress(idx(IMAGES) + b"x"), r"its header says \(2, 3, 4\), 24 bytes, but it holds 25"),
        (gzip.compress(idx(IMAGES, shape=(3, 3, 4))), r"its header says \(3, 3, 4\), 36 bytes, but it holds 24"),
        (gzip.compress(idx(IMAGES)[:9]), "is not an IDX file"),
        (gzip.compress(b""), "is not an IDX file of 3 axes: it starts with nothing"),
        (gzip.compress(idx(IMAGES))[:-9], "is not a complete gzip file"),
        (gzip.compress(idx(IMAGES)) + b"junk", "is not a complete gzip file"),
        (idx(IMAGES), "is not a complete gzip file"),
        (b"<html>not found</html>", "is not a complete gzip file"),
        (b"", "is not"),
        # Sizes whose product overflows 64 bits to 0, the number of bytes that follow.
        (gzip.compress(struct.pack(">4I", 2051, 1 << 31, 1 << 31, 4)), "is truncated or damaged"),
    ],
    ids=[
        "labels",
        "zero",
        "short",
        "long",
        "header",
        "cut-header",
        "nothing",
        "cut-gzip",
        "junk",
        "plain",
        "html",
        "empty",
        "overflow",
    ],
)
def test_a_file_that_is_not_a_whole_idx_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "train-images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        mnist.read_idx(path, mnist.IMAGES)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def four_files(folder: Path, **replaced: bytes) -> list[Path]:
    """Small files under the official names; ``train_images=...`` and so on replace one, before compression."""
    images, labels = np.arange(5 * 784).reshape(5, 28, 28) % 251, np.array([3, 1, 4, 1, 5])
    contents = {
        "train_images": idx(images),
        "train_labels": idx(labels),
        "t10k_images": idx(images[::-1][:2]),
        "t10k_labels": idx(labels[::-1][:2]),
        **replaced,
    }
    folder.mkdir(exist_ok=True)
    names = [file.name for file in mnist.FILES.values()]
    return [compressed(folder / name, contents["_".join(name.split("-")[:2])]) for name in names]


def test_files_that_one_has_need_not_be_official(results: Path, tmp_path: Path) -> None:
    files = four_files(tmp_path / "mine")
    said = get("mnist", *files)
    source = mnist.Mnist().open(DataSettings(name="mnist"))
    x, y = all_rows(source)
    np.testing.assert_array_equal(x, np.arange(5 * 784).reshape(5, 784) % 251)
    assert y == [3, 1, 4, 1, 5]
    assert all_rows(source, "test")[1] == [5, 1]
    manifest = json.loads((tmp_path / "datasets" / "mnist" / "manifest.json").read_text())
    assert manifest["official"] is False
    assert {entry["file"]: entry["sha256"] for entry in manifest["sources"]} == {
        path.name: sha256(path.read_bytes()) for path in files
    }
    for path in files:
        assert any(path.name in line and "is not the official" in line for line in said)


def test_a_file_that_is_missing_or_unknown_is_named(results: Path, tmp_path: Path) -> None:
    files = four_files(tmp_path / "mine")
    assert files[3].name in refusal("mnist", *files[:3])
    other = tmp_path / "emnist.gz"
    other.touch()
    assert str(other) in refusal("mnist", *files, other)
    assert str(tmp_path / "nowhere") in refusal("mnist", *files[:3], tmp_path / "nowhere")
    assert entries(tmp_path / "datasets") == []


@pytest.mark.parametrize("shape", [(10, 10), (28, 27), (29, 28)])
def test_images_of_another_size_never_become_a_dataset(
    results: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    files = four_files(tmp_path / "mine", train_images=idx(np.ones((5, *shape))))
    assert str(files[0]) in refusal("mnist", *files)
    assert entries(tmp_path / "datasets") == []


@pytest.mark.data
def test_the_real_mnist_end_to_end(mirror: Path, results: Path, tmp_path: Path) -> None:
    get("mnist", mirror=str(mirror))
    source = mnist.Mnist().open(DataSettings(name="mnist"))
    counts = {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    parts: tuple[Part, ...] = ("train", "test")
    for part in parts:
        labels = source.labels(part, range(source.rows(part)))
        assert np.bincount(labels).tolist() == counts[part]
    assert source.labels("train", range(5)).tolist() == [5, 0, 4, 1, 9]
    assert source.features == 784
    manifest = json.loads((tmp_path / "datasets" / "mnist" / "manifest.json").read_text())
    assert list(manifest["parts"]["test"]["label_counts"].values()) == counts["test"]
    assert manifest["official"] is True

    # Digits 0 and 1, as in the papers: 10,000 train and 2,665 test.
    settings = DataSettings(name="mnist", classes=[0, 1], train=10_000, scale="unit")
    plan = shards.plan(settings, 1)
    assert (plan.rows_train, plan.rows_test) == (10_000, 2_665)
    own = shards.load(plan, Serial())
    assert np.bincount(np.concatenate([own.train.labels, own.test.labels])).tolist() == [5923, 6742]
    assert (own.train.a0.min(), own.train.a0.max()) == (0.0, 1.0)
