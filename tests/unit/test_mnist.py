"""MNIST: IDX files read as they are, and nothing else taken for one; the real thing."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.small_data import all_rows, cut, entries, get, idx, manifest, mnist_files, refusal, sha256

from admmctl.comm import Serial
from admmctl.data import mnist, shards
from admmctl.data.dataset import DataSettings, Part
from admmctl.errors import DataError

IMAGES = np.arange(24).reshape(2, 3, 4)


NO_IDX: dict[str, tuple[bytes, str]] = {
    "labels": (gzip.compress(idx(IMAGES, magic=2049)), "is not an IDX file of 3 axes: it starts with 00000801"),
    "zero": (gzip.compress(idx(IMAGES, magic=0)), "is not an IDX file of 3 axes: it starts with 00000000"),
    "short": (gzip.compress(idx(IMAGES)[:-1]), r"its header says \(2, 3, 4\), 24 bytes, but it holds 23"),
    "long": (gzip.compress(idx(IMAGES) + b"x"), r"its header says \(2, 3, 4\), 24 bytes, but it holds 25"),
    "header": (gzip.compress(idx(IMAGES, shape=(3, 3, 4))), r"says \(3, 3, 4\), 36 bytes, but it holds 24"),
    "cut header": (gzip.compress(idx(IMAGES)[:9]), "is not an IDX file"),
    "nothing": (gzip.compress(b""), "is not an IDX file of 3 axes: it starts with nothing"),
    "cut gzip": (gzip.compress(idx(IMAGES))[:-9], "is not a complete gzip file"),
    "junk": (gzip.compress(idx(IMAGES)) + b"junk", "is not a complete gzip file"),
    "plain": (idx(IMAGES), "is not a complete gzip file"),
    "html": (b"<html>not found</html>", "is not a complete gzip file"),
    "empty": (b"", "is not"),
    # Sizes whose product overflows 64 bits to 0, the number of bytes that follow.
    "overflow": (gzip.compress(struct.pack(">4I", 2051, 1 << 31, 1 << 31, 4)), "is truncated or damaged"),
}


@pytest.mark.parametrize("kind", NO_IDX)
def test_a_file_that_is_not_a_whole_idx_file_is_refused(tmp_path: Path, kind: str) -> None:
    content, problem = NO_IDX[kind]
    path = tmp_path / "train-images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        mnist.read_idx(path, mnist.IMAGES)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def check() -> None:
    """The prepared rows are those of ``mnist_files``."""
    source = mnist.Mnist().open(DataSettings(name="mnist"))
    x, y = all_rows(source)
    np.testing.assert_array_equal(x, np.arange(5 * 784).reshape(5, 784) % 251)
    assert (y, all_rows(source, "test")[1]) == ([3, 1, 4, 1, 5], [5, 1])


def test_files_that_one_has_need_not_be_official(results: Path, tmp_path: Path) -> None:
    files = mnist_files(tmp_path / "mine")
    messages = get("mnist", *files)
    check()
    assert manifest("mnist")["official"] is False
    assert {entry["file"]: entry["sha256"] for entry in manifest("mnist")["sources"]} == {
        path.name: sha256(path.read_bytes()) for path in files
    }
    for path in files:
        assert any(path.name in line and "is not the official" in line for line in messages)


def test_a_file_that_is_missing_or_unknown_is_named(results: Path, tmp_path: Path) -> None:
    files = mnist_files(tmp_path / "mine")
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
    files = mnist_files(tmp_path / "mine", train_images=idx(np.ones((5, *shape))))
    assert str(files[0]) in refusal("mnist", *files)
    assert entries(tmp_path / "datasets") == []


# --- unpacked, and as others lay them out


def unpacked(files: list[Path], folder: Path, rename: Callable[[str], str] = str) -> Path:
    """The same files without their compression, in a folder of their own."""
    folder.mkdir(parents=True)
    for path in files:
        (folder / rename(path.name.removesuffix(".gz"))).write_bytes(gzip.decompress(path.read_bytes()))
    return folder


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, results: Path, tmp_path: Path) -> list[Path]:
    """Four files whose contents are the official ones."""
    files = mnist_files(tmp_path / "packed")
    contents = {path.name: sha256(gzip.decompress(path.read_bytes())) for path in files}
    monkeypatch.setattr(mnist, "_CONTENTS", contents)
    return files


@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("how", ["files", "mirror"])
@pytest.mark.parametrize("dot", [False, True])
def test_unpacked_files_are_read_wherever_others_put_them(
    known: list[Path], tmp_path: Path, inside: str, how: str, dot: bool
) -> None:
    """torchvision has MNIST/raw, others call the files train-images.idx3-ubyte."""
    unpacked(known, tmp_path / "mine" / inside, lambda name: name.replace("-idx", ".idx") if dot else name)
    mine = tmp_path / "mine"
    messages = get("mnist", mine) if how == "files" else get("mnist", mirror=str(mine))
    assert messages == [f"mnist is ready in {tmp_path / 'datasets' / 'mnist'}"]
    check()
    assert manifest("mnist")["official"] is True


def test_single_files_may_be_packed_unpacked_or_packed_anew(known: list[Path], tmp_path: Path) -> None:
    plain = sorted(unpacked(known, tmp_path / "plain").iterdir())
    again = tmp_path / known[0].name
    again.write_bytes(gzip.compress(gzip.decompress(known[0].read_bytes()), 9, mtime=7))
    others = [path for path in plain if path.name not in (again.stem, known[1].stem)]
    assert get("mnist", again, known[1], *others)[:-1] == []
    assert manifest("mnist")["official"] is True
    assert "train-images-idx3-ubyte.gz; give one of them" in refusal(
        "mnist", *known, tmp_path / "plain" / again.stem
    )


def test_other_contents_are_used_and_said_not_to_be_official(known: list[Path], tmp_path: Path) -> None:
    mine = unpacked(known, tmp_path / "mine")
    (mine / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([0, 9])))
    messages = get("mnist", mine)
    assert "t10k-labels-idx1-ubyte is not the official t10k-labels-idx1-ubyte.gz" in messages[0]
    assert manifest("mnist")["official"] is False
    assert all_rows(mnist.Mnist().open(DataSettings(name="mnist")), "test")[1] == [0, 9]
    message = refusal("mnist", mirror=str(mine), force=True)
    assert f"{mine / 't10k-labels-idx1-ubyte'} is damaged" in message
    (mine / "t10k-labels-idx1-ubyte").unlink()
    assert "does not hold the four files" in refusal("mnist", mine)


def test_an_unpacked_file_that_is_cut_off_is_named(known: list[Path], tmp_path: Path) -> None:
    mine = unpacked(known, tmp_path / "mine")
    images = mine / "train-images-idx3-ubyte"
    cut(images, -1)
    assert f"{images} is truncated or damaged" in refusal("mnist", mine)
    images.write_bytes(b"<html>")
    assert f"{images} is not an IDX file of 3 axes: it starts with 3c68746d" in refusal("mnist", mine)
    assert entries(tmp_path / "datasets") == []


@pytest.mark.data
def test_the_real_files_unpacked_are_the_official_ones(mirror: Path, results: Path, tmp_path: Path) -> None:
    files = [mirror / "mnist" / file.name for file in mnist.FILES.values()]
    unpacked(files, tmp_path / "mine" / "MNIST" / "raw")
    get("mnist", mirror=str(tmp_path / "mine"))
    assert manifest("mnist")["official"] is True


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
    assert list(manifest("mnist")["parts"]["test"]["label_counts"].values()) == counts["test"]
    assert manifest("mnist")["official"] is True

    # Digits 0 and 1, as in the papers: 10,000 train and 2,665 test.
    settings = DataSettings(name="mnist", classes=[0, 1], train=10_000, scale="unit")
    plan = shards.plan(settings, 1)
    assert (plan.rows_train, plan.rows_test) == (10_000, 2_665)
    own = shards.load(plan, Serial())
    assert np.bincount(np.concatenate([own.train.labels, own.test.labels])).tolist() == [5923, 6742]
    assert (own.train.a0.min(), own.train.a0.max()) == (0.0, 1.0)
