"""Prepared datasets: rows that grow on disk, preparations that stop and go on, and what is read back."""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from support.small_data import (
    Array,
    batch,
    compressed,
    cut,
    entries,
    files_in,
    get,
    higgs_text,
    higgs_values,
    mnist_files,
    tarball,
)

from admmctl.data import cifar10, higgs, prepared
from admmctl.data.prepared import Prepared, StoredSource, read_manifest
from admmctl.errors import DataError

SOURCE = {"file": "a", "bytes": 1, "sha256": "0", "official": True}
X, Y = np.arange(12, dtype=np.uint8).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])


def preparation(folder: Path, version: int = 1, options: dict[str, Any] | None = None, **source: Any) -> Prepared:
    return Prepared(folder, "toy", version, [{**SOURCE, **source}], options or {})


def stored(folder: Path, x: Array = X, y: Array = Y, test: bool = False) -> None:
    with preparation(folder) as target:
        rows = target.rows("train", x.shape[1], x.dtype)
        rows.append(x[rows.done :], y[rows.done :])
        target.part("train", "train", 0, rows.done)
        if test:
            rows = target.rows("test", 2, np.uint8)
            rows.append(np.arange(4, dtype=np.uint8).reshape(2, 2), np.array([5, 1]))
            target.part("test", "test", 0, 2)


def broken_off(folder: Path, problem: type[BaseException], **identity: Any) -> None:
    """A preparation that stops after two rows, which are all 9."""
    with preparation(folder, **identity) as target:
        rows = target.rows("train", 2, np.uint8)
        rows.append(np.full((2, 2), 9), np.array([9, 9]))
        raise problem


def done_after(folder: Path, **identity: Any) -> int:
    """How many rows the next preparation finds."""
    with preparation(folder, **identity) as target:
        rows = target.rows("train", 2, np.uint8)
        done = rows.done
        rows.append(X[done:], Y[done:])
        target.part("train", "train", 0, rows.done)
    return done


# --- arrays that grow


@pytest.mark.parametrize(
    ("features", "dtype"), [(1, np.uint8), (3, np.float32), (3072, np.uint8), (28, np.float64)]
)
@pytest.mark.parametrize("counts", [[1], [9, 1], [10, 90, 1], [0, 3], [5, 0]])
def test_appended_rows_are_an_ordinary_array(tmp_path: Path, features: int, dtype: Any, counts: list[int]) -> None:
    generator = np.random.default_rng(0)
    blocks = [generator.integers(0, 200, (count, features)).astype(dtype) for count in counts]
    with preparation(tmp_path / "toy") as target:
        rows = target.rows("all", features, dtype)
        for block in blocks:
            rows.append(block, block[:, 0])
        target.part("train", "all", 0, rows.done)
    x, y = np.load(tmp_path / "toy" / "x_all.npy"), np.load(tmp_path / "toy" / "y_all.npy")
    assert (x.dtype, y.dtype) == (dtype, np.uint8)
    np.testing.assert_array_equal(x, np.concatenate(blocks))
    np.testing.assert_array_equal(y, np.concatenate(blocks)[:, 0])


@pytest.mark.parametrize("shape", [(), (1,), (28,), (100_000,)], ids=str)
def test_a_header_never_moves_the_rows_however_many_they_become(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = prepared._Array(tmp_path / "x.npy", shape, np.float32)
    counts = (0, 9, 10, 11_000_000, 10**15)
    headers = [array._header(count) for count in counts]
    assert len({len(header) for header in headers}) == 1
    for count, header in zip(counts, map(io.BytesIO, headers), strict=True):
        assert npy.read_magic(header) == (1, 0)
        assert npy.read_array_header_1_0(header) == ((count, *shape), False, np.dtype(np.float32))
        assert not header.read()


@pytest.mark.parametrize("shape", [(2, 3), (2, 1), (2,), (3, 2)])
def test_rows_of_another_shape_are_not_taken(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Bytes of the wrong number would shift every row after them."""

    def prepare() -> None:
        with preparation(tmp_path / "toy") as target:
            rows = target.rows("train", 2, np.uint8)
            rows.append(np.ones(shape), np.ones(2))
            target.part("train", "train", 0, 2)

    with pytest.raises((ValueError, DataError)):
        prepare()


@settings(max_examples=25)
@given(x_bytes=st.integers(0, 140), y_bytes=st.integers(0, 134))
def test_whatever_a_kill_left_of_either_array_the_result_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, x_bytes: int, y_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "toy"
    stored(folder)
    whole = files_in(folder)
    with pytest.raises(KeyboardInterrupt):
        broken_off(folder, KeyboardInterrupt)
    work = folder.with_name(".toy.part")
    (work / "x_train.npy").write_bytes(whole["x_train.npy"][:x_bytes])
    (work / "y_train.npy").write_bytes(whole["y_train.npy"][:y_bytes])
    done = done_after(folder)
    assert done == max(0, min((x_bytes - 128) // 2, y_bytes - 128))
    assert files_in(folder) == whole
    assert entries(folder.parent) == ["toy"]


# --- stops, and what they leave


@pytest.mark.parametrize("problem", [ZeroDivisionError, KeyboardInterrupt, MemoryError, SystemExit, DataError])
def test_a_preparation_that_stops_leaves_no_dataset_and_can_go_on(
    tmp_path: Path, problem: type[BaseException]
) -> None:
    """Unless the files are no good: rows made from them are not kept."""
    with pytest.raises(problem):
        broken_off(tmp_path / "toy", problem)
    kept = problem is not DataError
    assert entries(tmp_path) == [".toy.part"] * kept
    assert not (tmp_path / ".toy.part" / "manifest.json").exists()
    assert read_manifest(tmp_path / "toy") is None
    assert done_after(tmp_path / "toy") == 2 * kept
    np.testing.assert_array_equal(np.load(tmp_path / "toy" / "x_train.npy")[:2], 9 if kept else X[:2])


@pytest.mark.parametrize("problem", [DataError, KeyboardInterrupt])
def test_preparing_anew_that_stops_keeps_the_old_dataset(tmp_path: Path, problem: type[BaseException]) -> None:
    stored(tmp_path / "toy")
    before = files_in(tmp_path / "toy")
    with pytest.raises(problem):
        broken_off(tmp_path / "toy", problem)
    assert files_in(tmp_path / "toy") == before


def test_preparing_anew_replaces_the_old_dataset_whole(tmp_path: Path) -> None:
    stored(tmp_path / "toy")
    (tmp_path / "toy" / "left-over.npy").write_text("old")
    with Prepared(tmp_path / "toy", "toy", 2, [], {}) as target:
        target.rows("train", 5, np.uint8).append(np.ones((3, 5)), np.array([0, 1, 1]))
        target.part("train", "train", 0, 3)
    assert entries(tmp_path) == ["toy"]
    assert entries(tmp_path / "toy") == ["manifest.json", "x_train.npy", "y_train.npy"]
    assert StoredSource(tmp_path / "toy", 2).features == 5


@pytest.mark.parametrize(
    "other", [{"version": 2}, {"options": {"rows": 5}}, {"sha256": "1"}, {"bytes": 2}, {"file": "b"}], ids=str
)
def test_another_preparation_does_not_go_on_with_the_rows_of_this_one(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        broken_off(tmp_path / "toy", KeyboardInterrupt)
    assert done_after(tmp_path / "toy", **other) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "toy" / "x_train.npy"), X)
    assert entries(tmp_path / "toy") == ["manifest.json", "x_train.npy", "y_train.npy"]


LEFT: dict[str, Callable[[Path], object]] = {
    "nothing of what it was": lambda work: (work / "progress.json").unlink(),
    "half of what it was": lambda work: (work / "progress.json").write_text('{"version"'),
    "nothing": lambda work: [path.unlink() for path in work.iterdir()],
    "something else": lambda work: (work / "progress.json").write_text("[]"),
    "one array of two": lambda work: (work / "y_train.npy").unlink(),
}


@pytest.mark.parametrize("left", LEFT)
def test_rows_of_unknown_origin_and_half_rows_are_not_gone_on_with(tmp_path: Path, left: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        broken_off(tmp_path / "toy", KeyboardInterrupt)
    LEFT[left](tmp_path / ".toy.part")
    assert done_after(tmp_path / "toy") == 0
    assert entries(tmp_path) == ["toy"]
    np.testing.assert_array_equal(np.load(tmp_path / "toy" / "x_train.npy"), X)


# --- every dataset goes on with what a kill left


def cifar10_files(folder: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    members = {
        f"{cifar10.FOLDER}/{name}": batch(generator.integers(0, 256, (3, 3072)).astype(np.uint8), [1, 2, n])
        for n, (name, _) in enumerate(cifar10.BATCHES)
    }
    return [tarball(folder / "c.tar.gz", members)]


def higgs_files(folder: Path) -> list[Path]:
    return [compressed(folder / "h.csv.gz", higgs_text(higgs_values(30)))]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "higgs"])
def test_every_dataset_goes_on_with_any_part_of_its_arrays(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """SVHN has a test of its own, and so has HIGGS with kills."""
    monkeypatch.setattr(higgs, "_CHUNK", 7)
    files = {"mnist": mnist_files, "cifar10": cifar10_files, "higgs": higgs_files}[name](tmp_path)
    get(name, *files)
    folder, work = tmp_path / "datasets" / name, tmp_path / "datasets" / f".{name}.part"
    whole = files_in(folder)
    manifest = read_manifest(folder)
    assert manifest is not None
    identity = {key: manifest[key] for key in ("version", "sources", "options")}
    choice = random.Random(0)
    for _ in range(6):
        work.mkdir()
        (work / "progress.json").write_text(json.dumps(identity))
        for array in manifest["arrays"]:
            if choice.random() < 0.8:
                (work / array).write_bytes(whole[array][: choice.randint(0, len(whole[array]))])
        get(name, *files, force=True)
        assert files_in(folder) == whole
        assert entries(folder.parent) == [name]


# --- reading


def changed(folder: Path, **keys: Any) -> None:
    """Give the manifest other values; None takes the key away."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **keys}
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


def test_what_is_prepared_is_read_back(tmp_path: Path) -> None:
    stored(tmp_path / "toy", test=True)
    source = StoredSource(tmp_path / "toy", 1)
    assert (source.features, source.labels_known) == (2, (0, 1, 2, 5))
    assert (source.rows("train"), source.rows("test")) == (6, 2)
    out = np.empty((2, 2), dtype=np.float32)
    source.inputs("train", range(2, 4), out)
    np.testing.assert_array_equal(out, [[4, 5], [6, 7]])
    source.inputs("train", np.array([5, 0]), out)
    np.testing.assert_array_equal(out, [[10, 11], [0, 1]])
    assert source.labels("train", np.array([5, 0])).tolist() == [2, 0]
    assert source.labels("test", range(2)).tolist() == [5, 1]
    manifest = read_manifest(tmp_path / "toy")
    assert manifest is not None
    assert manifest["parts"]["train"]["label_counts"] == {"0": 2, "1": 2, "2": 2}
    assert len(source.fingerprint()) == 64
    assert entries(tmp_path) == ["toy"]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an array is cut": lambda folder: cut(folder / "x_train.npy", 130),
    "an array's header is cut": lambda folder: cut(folder / "x_train.npy", 50),
    "an array is empty": lambda folder: cut(folder / "y_train.npy", 0),
    "an array is missing": lambda folder: (folder / "y_test.npy").unlink(),
    "an array has other rows": lambda folder: np.save(folder / "x_train.npy", np.ones((5, 2))),
    "an array has other features": lambda folder: np.save(folder / "x_test.npy", np.ones((2, 3))),
    "an array holds objects": lambda folder: np.save(folder / "y_test.npy", np.array([1, {}], dtype=object)),
    "an array is another kind of file": lambda folder: (folder / "x_test.npy").write_text("hello"),
    "the manifest is cut": lambda folder: cut(folder / "manifest.json", 40),
    "the manifest is empty": lambda folder: cut(folder / "manifest.json", 0),
    "the manifest is a number": lambda folder: (folder / "manifest.json").write_text("5"),
    "the manifest is a word": lambda folder: (folder / "manifest.json").write_text('"abc"'),
    "the manifest lacks keys": lambda folder: (folder / "manifest.json").write_text('{"version": 1}'),
    "the manifest lacks its features": lambda folder: changed(folder, features=None),
    "the manifest lacks its labels": lambda folder: changed(folder, labels=None),
    "the manifest's parts are a list": lambda folder: changed(folder, parts=[]),
    "the manifest's parts are a word": lambda folder: changed(folder, parts="train"),
    "a part of the manifest is a number": lambda folder: changed(folder, parts={"train": 5}),
    "a part of the manifest has no rows": lambda folder: changed(folder, parts={"train": {"x": "x_train.npy"}}),
    "a part lies beyond its array": lambda folder: changed(
        folder, parts={"train": {"x": "x_train.npy", "y": "y_train.npy", "start": 3, "rows": 6}}
    ),
    "the manifest is no text": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_names_itself_and_the_cure(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "toy"
    stored(folder, test=True)
    DAMAGES[damage](folder)
    with pytest.raises(DataError) as caught:
        StoredSource(folder, 1)
    assert "toy" in str(caught.value)
    assert "admmctl fetch toy --force" in str(caught.value)


@pytest.mark.parametrize("left", ["nothing", "a folder without a manifest"])
def test_a_dataset_that_is_not_there_names_the_line_that_fetches_it(tmp_path: Path, left: str) -> None:
    if left != "nothing":
        stored(tmp_path / "toy")
        (tmp_path / "toy" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"dataset toy is not in .*; run: admmctl fetch toy$"):
        StoredSource(tmp_path / "toy", 1)


def test_a_dataset_of_another_version_asks_for_a_new_fetch(tmp_path: Path) -> None:
    stored(tmp_path / "toy")
    with pytest.raises(DataError, match=r"prepared by another version; run: admmctl fetch toy --force"):
        StoredSource(tmp_path / "toy", 2)
