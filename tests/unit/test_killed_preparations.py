"""Preparations that are killed with kill -9 at any moment, and processes that only read what they leave."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.small_data import compressed, entries, files_in, higgs_text, higgs_values

import admmctl
from admmctl.cli import main
from admmctl.data import shards
from admmctl.data.dataset import DataSettings
from admmctl.data.prepared import read_manifest, verify
from admmctl.errors import DataError

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

    def clear(self) -> None:
        """Have an empty datasets folder."""
        for path in sorted(self.datasets.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

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
    workshop.clear()
    monkeypatch.setenv("ADMMCTL_DATASETS", str(workshop.datasets))
    return workshop


def test_kill_9_at_random_moments(orders: Orders) -> None:
    """Eight times; training finds the old dataset or none, and in the end it is the same as without kills."""
    new, old = orders.unbroken(orders.file), orders.unbroken(orders.other)
    moments = random.Random(7)
    kills = 0
    for start in ("none", "old", "none", "old"):
        orders.clear()
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
        orders.clear()
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
    orders.clear()
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
    orders.clear()
    messages = [orders.folder / "said-1", orders.folder / "said-2"]
    first = {"said": str(messages[0]), "wait_for": str(messages[1])}
    second = {"said": str(messages[1]), "wait_for": str(messages[0])}
    # Whoever comes first goes on when the other has said that it waits.
    assert orders(first, second) == [0, 0]
    assert sorted("another process is preparing higgs; waiting" in path.read_text() for path in messages) == [
        False,
        True,
    ]
    assert orders.state() == new
    assert entries(orders.datasets) == ["higgs"]


def test_the_one_who_waits_goes_on_when_the_other_is_killed(orders: Orders) -> None:
    new = orders.unbroken(orders.file)
    orders.clear()
    messages = orders.folder / "said-3"
    assert orders({"pause": 1, "kill_after": 0.3}, {"said": str(messages)}) in ([-9, 0], [0, 0])
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
