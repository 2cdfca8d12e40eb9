"""Preparing a dataset: rows that grow on disk, going on after a kill -9, never anything half-made in its place."""

import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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
    entries,
    files_in,
    get,
    higgs_text,
    higgs_values,
    idx,
    tarball,
)

import admmctl
from admmctl.cli import main
from admmctl.data import cifar10, higgs, mnist, prepared, shards
from admmctl.data.dataset import DataSettings
from admmctl.data.prepared import Prepared, StoredSource, read_manifest, verify
from admmctl.errors import DataError

SOURCE = {"file": "a", "bytes": 1, "sha256": "0", "official": True}
X, Y = np.arange(12, dtype=np.uint8).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])


def preparation(folder: Path, version: int = 1, options: dict[str, Any] | None = None, **source: Any) -> Prepared:
    return Prepared(folder, "toy", version, [{**SOURCE, **source}], options or {})


def stored(folder: Path, x: Array = X, y: Array = Y) -> None:
    with preparation(folder) as target:
        rows = target.rows("train", x.shape[1], x.dtype)
        rows.append(x[rows.done :], y[rows.done :])
        target.part("train", "train", 0, rows.done)


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


def test_an_array_that_a_kill_left_without_the_other_starts_over(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        broken_off(tmp_path / "toy", KeyboardInterrupt)
    (tmp_path / ".toy.part" / "y_train.npy").unlink()
    assert done_after(tmp_path / "toy") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "toy" / "x_train.npy"), X)


# --- stops, and what they leave


@pytest.mark.parametrize("problem", [ZeroDivisionError, KeyboardInterrupt, MemoryError, SystemExit])
def test_a_preparation_that_stops_leaves_no_dataset_and_can_go_on(
    tmp_path: Path, problem: type[BaseException]
) -> None:
    with pytest.raises(problem):
        broken_off(tmp_path / "toy", problem)
    assert entries(tmp_path) == [".toy.part"]
    assert not (tmp_path / ".toy.part" / "manifest.json").exists()
    assert read_manifest(tmp_path / "toy") is None
    assert done_after(tmp_path / "toy") == 2
    np.testing.assert_array_equal(np.load(tmp_path / "toy" / "x_train.npy")[:2], 9)


def test_files_that_are_no_good_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        broken_off(tmp_path / "toy", DataError)
    assert entries(tmp_path) == []


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
    "no word of what it was": lambda work: (work / "progress.json").unlink(),
    "half a word of what it was": lambda work: (work / "progress.json").write_text('{"version"'),
    "nothing": lambda work: [path.unlink() for path in work.iterdir()],
    "something else": lambda work: (work / "progress.json").write_text("[]"),
}


@pytest.mark.parametrize("left", LEFT)
def test_rows_of_unknown_origin_are_not_gone_on_with(tmp_path: Path, left: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        broken_off(tmp_path / "toy", KeyboardInterrupt)
    LEFT[left](tmp_path / ".toy.part")
    assert done_after(tmp_path / "toy") == 0
    assert entries(tmp_path) == ["toy"]
    np.testing.assert_array_equal(np.load(tmp_path / "toy" / "x_train.npy"), X)


def test_what_is_missing_or_has_changed_is_found_array_by_array(tmp_path: Path) -> None:
    stored(tmp_path / "toy")
    manifest = read_manifest(tmp_path / "toy")
    assert manifest is not None
    assert verify(tmp_path / "toy", manifest) == []
    np.save(tmp_path / "toy" / "x_train.npy", X[::-1])
    (tmp_path / "toy" / "y_train.npy").write_bytes(b"")
    first, second = verify(tmp_path / "toy", manifest)
    assert "x_train.npy has changed" in first
    assert "y_train.npy has 0 bytes instead of 134" in second


# --- every dataset goes on with what a kill left


def small_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 256, (count, 28, 28)) for count in (9, 4)]
    contents = [array for images in arrays for array in (images, images[:, 5, 5] % 10)]
    names = [file.name for file in mnist.FILES.values()]
    return [compressed(folder / name, idx(array)) for name, array in zip(names, contents, strict=True)]


def small_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    generator = np.random.default_rng(0)
    members = {
        f"{cifar10.FOLDER}/{name}": batch(generator.integers(0, 256, (3, 3072)).astype(np.uint8), [1, 2, n])
        for n, (name, _) in enumerate(cifar10.BATCHES)
    }
    return [tarball(folder / "c.tar.gz", members)]


def small_higgs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(higgs, "_CHUNK", 7)
    return [compressed(folder / "h.csv.gz", higgs_text(higgs_values(30)))]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "higgs"])
def test_every_dataset_goes_on_with_any_part_of_its_arrays(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """SVHN has a test of its own, and so has HIGGS with kills."""
    files = {"mnist": small_mnist, "cifar10": small_cifar10, "higgs": small_higgs}[name](tmp_path, monkeypatch)
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


# --- processes that are killed

VALUES = higgs_values(400)


class Orders:
    """Processes that prepare HIGGS, see ``support/prepare_higgs.py``."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self.folder = folder
        self.file = compressed(folder / "HIGGS.csv.gz", higgs_text(VALUES))
        self.other = compressed(folder / "OTHER.csv.gz", higgs_text(higgs_values(60, seed=1)))
        self.datasets = folder / "datasets"

    def __call__(self, *orders: dict[str, Any]) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        full = [{"file": str(self.file), **order} for order in orders]
        self._process.stdin.write(json.dumps(full) + "\n")
        self._process.stdin.flush()
        statuses: list[int] = json.loads(self._process.stdout.readline())
        return statuses

    def killed(self, **order: Any) -> bool:
        (status,) = self(order)
        assert status in (0, -signal.SIGKILL)
        return status != 0

    def finished(self, **order: Any) -> None:
        assert self(order) == [0]

    def state(self) -> dict[str, bytes] | None:
        """The dataset as training finds it: all its files, or None where it finds none."""
        try:
            plan = shards.plan(DataSettings(name="higgs"), 1)
        except DataError as error:
            if "is not in" not in str(error):
                raise  # a dataset that is damaged is not what a kill may leave
            return None
        manifest = read_manifest(self.datasets / "higgs")
        assert manifest is not None
        assert verify(self.datasets / "higgs", manifest) == []
        assert plan.rows_train > 0
        return files_in(self.datasets / "higgs")

    def put(self, dataset: dict[str, bytes]) -> None:
        """Have a dataset that was prepared before."""
        folder = self.datasets / "higgs"
        folder.mkdir()
        for name, content in dataset.items():
            (folder / name).write_bytes(content)

    def unbroken(self, file: Path) -> dict[str, bytes]:
        self.finished(file=str(file), force=True)
        found = self.state()
        assert found is not None
        return found


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orders]:
    folder = tmp_path_factory.mktemp("workshop")
    environment = {
        **os.environ,
        "ADMMCTL_DATASETS": str(folder / "datasets"),
        "PYTHONPATH": str(Path(admmctl.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with subprocess.Popen(
        [sys.executable, Path(__file__).parents[1] / "support" / "prepare_higgs.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        yield Orders(process, folder)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def orders(workshop: Orders, monkeypatch: pytest.MonkeyPatch) -> Orders:
    """The workshop with an empty datasets folder."""
    for path in sorted(workshop.datasets.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    monkeypatch.setenv("ADMMCTL_DATASETS", str(workshop.datasets))
    return workshop


def cleared(orders: Orders) -> None:
    for path in sorted(orders.datasets.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_kill_9_at_random_moments(orders: Orders) -> None:
    """Eight times; training finds the old dataset or none, and in the end it is the same as without kills."""
    new, old = orders.unbroken(orders.file), orders.unbroken(orders.other)
    moments = random.Random(7)
    kills = 0
    for start in ("none", "old", "none", "old"):
        cleared(orders)
        if start == "old":
            orders.put(old)
        for _ in range(2):
            # A preparation lasts 0.2 s and longer.
            kills += orders.killed(pause=0.01, force=True, kill_after=moments.uniform(0, 0.18))
            assert orders.state() in ([None, new] if start == "none" else [old, new])
        orders.finished(force=True)
        assert orders.state() == new
        assert entries(orders.datasets) == ["higgs"]
    assert kills > 0


@pytest.mark.parametrize("start", ["none", "old"])
def test_kill_9_before_every_single_change_on_disk(orders: Orders, start: str) -> None:
    new, old = orders.unbroken(orders.file), orders.unbroken(orders.other)
    for change in range(1, 200):
        cleared(orders)
        if start == "old":
            orders.put(old)
        if not orders.killed(die_at=change):
            break
        assert orders.state() in ([None, new] if start == "none" else [None, old, new])
        orders.finished()
        assert orders.state() == new
        assert entries(orders.datasets) == ["higgs"]
    assert 8 < change < 199


def test_a_preparation_that_is_killed_again_and_again_gets_there(orders: Orders) -> None:
    """Every process goes on with the rows that the one before it has written."""
    rows = b"".join(b"%d,%s\n" % (n % 2, b",".join(b"%d" % (n % 7) for _ in range(28))) for n in range(40_000))
    file = compressed(orders.folder / "long.csv.gz", rows)
    new = orders.unbroken(file)
    cleared(orders)
    noted = orders.folder / "noted"
    order = {"file": str(file), "chunk": 10_000, "noted": str(noted)}
    for _ in range(3):
        assert orders.killed(**order, die_after=1)
        assert orders.state() is None
    orders.finished(**order)
    assert orders.state() == new
    assert list(map(int, noted.read_text().split())) == [10_000, 20_000, 30_000, 40_000]


def test_two_processes_do_not_fight_over_one_dataset(orders: Orders) -> None:
    new = orders.unbroken(orders.file)
    cleared(orders)
    said = [orders.folder / "said-1", orders.folder / "said-2"]
    first = {"said": str(said[0]), "wait_for": str(said[1])}
    second = {"said": str(said[1]), "wait_for": str(said[0])}
    # Whoever comes first goes on when the other has said that it waits.
    assert orders(first, second) == [0, 0]
    assert sorted("another process is preparing higgs; waiting" in path.read_text() for path in said) == [
        False,
        True,
    ]
    assert orders.state() == new
    assert entries(orders.datasets) == ["higgs"]


def test_the_one_who_waits_goes_on_when_the_other_is_killed(orders: Orders) -> None:
    new = orders.unbroken(orders.file)
    cleared(orders)
    said = orders.folder / "said-3"
    assert orders({"pause": 1, "kill_after": 0.3}, {"said": str(said)}) in ([-9, 0], [0, 0])
    assert orders.state() == new


# --- reading


def test_loading_rows_changes_nothing_in_the_folder(orders: Orders) -> None:
    orders.finished()
    assert orders({"read": True}) == [0]
    assert orders({"die_at": 1}) == [-9]  # changes would have been noticed


def test_training_works_on_a_folder_that_cannot_be_written(
    orders: Orders, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two ranks on two hosts share it: nothing in ``train`` writes there."""
    orders.finished()
    monkeypatch.setenv("ADMMCTL_DATASETS", str(orders.datasets))
    (orders.folder / "mine.yaml").write_text(
        "name: mine\ndata: {name: higgs}\nnetwork: {layers: [4]}\nloss: squared\nmethods:\n  admm: {}\n"
        "stop: {iterations: 2}\n"
    )
    places = [orders.datasets, orders.datasets / "higgs", *(orders.datasets / "higgs").iterdir()]
    before = [(path.stat().st_mtime_ns, path.stat().st_size) for path in places]
    content = files_in(orders.datasets)
    for path in places:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with pytest.raises(SystemExit) as end:
            main(["train", str(orders.folder / "mine.yaml"), "--json"])
        assert end.value.code in (0, None), capsys.readouterr().err
    finally:
        for path in places:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert [(path.stat().st_mtime_ns, path.stat().st_size) for path in places] == before
    assert files_in(orders.datasets) == content
