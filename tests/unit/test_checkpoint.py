"""Checkpoints: whole or not at all, the last two kept, damage noticed, faults survived."""

import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.experiments import swissroll
from support.ranks import CountingComm, on_ranks

import admmctl
from admmctl.errors import ConfigError, Interrupted, RunFailed, UserError
from admmctl.experiment.schema import CheckpointSettings
from admmctl.methods.gradient.sgd import Sgd
from admmctl.methods.method import Snapshot
from admmctl.methods.taylor.algorithm import Admm
from admmctl.runs import checkpoint_files
from admmctl.runs.checkpoint import SECONDS, Cadence, Checkpoints
from admmctl.runs.checkpoint_files import Part, Unreadable
from admmctl.runs.recorded import Recorded
from admmctl.runs.resume import held

ROWS = 11
IDENTITY = {"hash": "12345678", "rows": ROWS}


def snapshot(iteration, start=0, stop=ROWS):
    z = (np.arange(3 * ROWS, dtype=np.float32).reshape(ROWS, 3) + iteration)[start:stop]
    lam = np.linspace(0, 1, ROWS)[start:stop, None] * iteration
    state = {"W": [np.full((2, 3), float(iteration)), np.asfortranarray(np.eye(3))], "loss": float("nan")}
    return Snapshot({**state, "big": 2**100, "none": None, "deep": [{"x": 1}, []]}, {"z": z, "lam": lam})


def part(comm, rows=ROWS):
    return rows * comm.rank // comm.size, rows * (comm.rank + 1) // comm.size


def opened(run, comm=None, notes=None, **identity):
    comm, say = comm or CountingComm(), [].append if notes is None else notes.append
    return Checkpoints(run, comm, {**IDENTITY, **identity}, *part(comm), say)


def write(run, iteration, comm=None, notes=None):
    comm = comm or CountingComm()
    clock = {"seconds": {"solve": 1.0 + comm.rank}, "cpu_seconds": {}, "wall": 2.0 + comm.rank, "queued": 3.0}
    some = snapshot(iteration, *part(comm))
    return opened(run, comm, notes).write(iteration, some, {"best": [np.ones(2)], "worse": 3}, clock)


def there(run):
    return sorted(int(place.name) for place in (run / "checkpoint").iterdir())


def same(found, expected):
    assert [found.common[key] for key in ("big", "none", "deep")] == [2**100, None, [{"x": 1}, []]]
    assert np.isnan(found.common["loss"])
    for one, other in zip(found.common["W"], expected.common["W"], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.flags.f_contiguous == other.flags.f_contiguous
    assert set(found.rows) == set(expected.rows)
    for name, rows in expected.rows.items():
        np.testing.assert_array_equal(found.rows[name], rows)
        assert np.asarray(found.rows[name]).dtype == rows.dtype
        for piece in (slice(0, 2), slice(1, len(rows)), slice(3, 3), slice(None)):
            np.testing.assert_array_equal(found.rows[name][piece], rows[piece])


def test_what_was_written_is_read(tmp_path):
    assert opened(tmp_path).read() is None
    assert write(tmp_path, 7)
    found = opened(tmp_path).read()
    assert found.iteration == 7
    same(found.snapshot, snapshot(7))
    assert found.progress["worse"] == 3
    np.testing.assert_array_equal(found.progress["best"][0], np.ones(2))
    assert found.clock == {"seconds": {"solve": 1.0}, "cpu_seconds": {}, "wall": 2.0, "queued": 3.0}


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (2, 2), (4, 1)])
def test_any_ranks_read_their_rows(before, after, tmp_path):
    assert all(on_ranks(before, lambda comm: write(tmp_path, 4, comm)))

    def read(comm):
        found = opened(tmp_path, comm).read()
        same(found.snapshot, snapshot(4, *part(comm)))
        return found.clock

    clocks = on_ranks(after, read)
    solves = [1.0 + rank for rank in range(before)] if before == after else [1.0 + (before - 1) / 2] * after
    assert [clock["seconds"]["solve"] for clock in clocks] == solves


def test_a_method_without_rows_has_no_files_of_ranks(tmp_path):
    checkpoints = opened(tmp_path)
    assert checkpoints.write(1, Snapshot({"W": np.ones(3)}), {}, {})
    assert sorted(p.name for p in (tmp_path / "checkpoint" / "1").iterdir()) == ["common.npz", "manifest.json"]
    np.testing.assert_array_equal(opened(tmp_path).read().snapshot.common["W"], np.ones(3))


def test_the_last_two_are_kept_and_none_in_the_end(tmp_path):
    for iteration in (1, 2, 9, 10):
        assert write(tmp_path, iteration)
    assert there(tmp_path) == [9, 10]
    assert opened(tmp_path).read().iteration == 10
    opened(tmp_path).remove()
    assert not (tmp_path / "checkpoint").exists()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGE = {
    "a bit of the rows": lambda place: flip(place / "rank-00000.npy"),
    "a bit of the weights": lambda place: flip(place / "common.npz"),
    "a bit of the manifest": lambda place: flip(place / "manifest.json"),
    "half of the rows": lambda place: os.truncate(place / "rank-00000.npy", 100),
    "half of the manifest": lambda place: os.truncate(place / "manifest.json", 100),
    "an empty manifest": lambda place: os.truncate(place / "manifest.json", 0),
    "no manifest": lambda place: (place / "manifest.json").unlink(),
    "no rows": lambda place: (place / "rank-00000.npy").unlink(),
    "no weights": lambda place: (place / "common.npz").unlink(),
    "nothing": lambda place: [path.unlink() for path in place.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_falls_back_to_the_one_before(damage, tmp_path):
    write(tmp_path, 5)
    write(tmp_path, 6)
    DAMAGE[damage](tmp_path / "checkpoint" / "6")
    notes = []
    found = opened(tmp_path, notes=notes).read()
    assert found.iteration == 5
    same(found.snapshot, snapshot(5))
    (text,) = notes
    assert text.startswith("the checkpoint of iteration 6 cannot be read (")
    assert text.endswith("trying the one before")
    DAMAGE[damage](tmp_path / "checkpoint" / "5")
    notes.clear()
    assert opened(tmp_path, notes=notes).read() is None
    assert len(notes) == 2
    assert notes[1].endswith("the run starts anew")
    # A damaged one does not stand in the way of a new one of the same iteration.
    assert write(tmp_path, 6)
    assert opened(tmp_path).read().iteration == 6


def test_all_ranks_fall_back_when_one_cannot_read(tmp_path):
    for iteration in (5, 6):
        on_ranks(2, lambda comm, iteration=iteration: write(tmp_path, iteration, comm))
    flip(tmp_path / "checkpoint" / "6" / "rank-00001.npy")
    assert on_ranks(2, lambda comm: opened(tmp_path, comm).read().iteration) == [5, 5]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    write(tmp_path, 5)
    with pytest.raises(UserError, match="of another hash"):
        opened(tmp_path, hash="87654321").read()


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "went off"),))

    path = tmp_path / "rank-00000.npy"
    with path.open("wb") as file:
        np.save(file, np.array([Bomb()] * 3), allow_pickle=True)
    with pytest.raises((Unreadable, ValueError)):
        Part(path, 0, 3, {"z": 0}).read("z", 0, 3)
    write(tmp_path, 5)
    place = tmp_path / "checkpoint" / "5"
    np.savez(place / "common.npz", a0=np.array([Bomb()]))
    content = checkpoint_files.read_manifest(place / "manifest.json")
    content["common"] = checkpoint_files.sum_of(place / "common.npz")
    checkpoint_files.write_manifest(place / "manifest.json", content)
    assert opened(tmp_path).read() is None
    assert not (tmp_path / "went off").exists()


# -- faults


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("where", ["rank-", "common", "manifest"])
def test_a_full_disk_costs_no_earlier_checkpoint_and_is_said_once(ranks, where, tmp_path, monkeypatch):
    on_ranks(ranks, lambda comm: write(tmp_path, 3, comm))
    real = checkpoint_files.to_disk

    def to_disk(file):
        return full() if Path(file.name).name.startswith(where) else real(file)

    monkeypatch.setattr(checkpoint_files, "to_disk", to_disk)
    if where == "manifest":
        monkeypatch.setattr(checkpoint_files, "write_manifest", full)
    notes = []

    def attempt(comm):
        checkpoints = opened(tmp_path, comm, notes)
        clock = {"seconds": {}, "cpu_seconds": {}, "wall": 0.0, "queued": None}
        return [checkpoints.write(i, snapshot(i, *part(comm)), {}, clock) for i in (4, 5)]

    assert on_ranks(ranks, attempt) == [[False, False]] * ranks
    (text,) = notes
    assert text.startswith("no checkpoint at iteration 4: ")
    assert "No space left on device" in text
    assert [place.name for place in (tmp_path / "checkpoint").iterdir()] == ["3"]
    monkeypatch.undo()
    assert opened(tmp_path).read().iteration == 3
    assert write(tmp_path, 6)


def test_a_folder_that_has_gone_is_survived(tmp_path):
    run, notes = tmp_path / "run", []
    run.mkdir()
    checkpoints = opened(run, notes=notes)
    shutil.rmtree(run)
    assert not checkpoints.write(4, snapshot(4), {}, {})
    assert "No such file or directory" in notes[0]
    assert not run.exists()


def test_what_a_killed_job_left_goes_with_the_next_checkpoint(tmp_path):
    (tmp_path / "checkpoint" / ".4.part").mkdir(parents=True)
    assert write(tmp_path, 6)
    assert [place.name for place in (tmp_path / "checkpoint").iterdir()] == ["6"]


# -- when they are due


def due(settings, size, *moments):
    """Whether a checkpoint is due at those moments, of a cadence that begins at 0."""
    now = [0.0]
    cadence = Cadence(CheckpointSettings(**settings), size, lambda: now[0])
    found = []
    for now[0] in moments:
        found.append(cadence.due(1))
    return found


def test_by_default_checkpoints_cost_two_hundredths_of_the_time_at_most():
    now = [0.0]
    cadence = Cadence(CheckpointSettings(), 0, lambda: now[0])
    # What the last one took, and how long after it the next one is due: 30 s are 2 % of 1,500 s.
    for cost, apart in ((0.0, SECONDS), (30.0, 1470.0), (0.1, SECONDS)):
        began = now[0] = now[0] + cost
        cadence.wrote(cost)
        now[0] = began + apart - 1
        assert not cadence.due(1)
        now[0] = began + apart
        assert cadence.due(1)


def test_the_first_one_of_a_large_state_waits_for_its_share():
    assert due({}, 4_000_000_000, 1900.0, 1970.0) == [False, True]  # 40 s, at the speed that is assumed


def test_what_the_experiment_says_is_done():
    every = Cadence(CheckpointSettings(every=3, unit="iteration"), 10**12)
    assert [i for i in range(1, 10) if every.due(i)] == [3, 6, 9]
    assert due({"every": 2.5}, 10**12, 2.4, 2.5) == [False, True]
    assert due({"every": 0}, 0, 1e9) == [False]


# -- whole runs in this process


def experiment(**changes):
    return swissroll("kept", 200, (4,), **{"stop": {"iterations": 8}, **changes})


@contextmanager
def breaking(method, iteration, error):
    """Let a method break in the step after an iteration."""
    step = method.step

    def broken(self, s):
        if s.iteration == iteration:
            raise error
        return step(self, s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "step", broken)
        yield


def curve(folder):
    return [[v for name, v in row.items() if name not in ("train_s", "wall_s")] for row in Recorded(folder).curve]


def evaluated(folder):
    return [row["iteration"] for row in Recorded(folder).curve]


@pytest.fixture
def kept(results):
    """The folder of a run that broke after iteration 5; checkpoints of 2 and 4."""
    with breaking(Admm, 5, ZeroDivisionError("out of luck")), pytest.raises(RunFailed) as failure:
        admmctl.train(experiment(checkpoint={"every": 2, "unit": "iteration"}))
    (folder,) = (results / "kept").iterdir()
    assert there(folder) == [2, 4]
    assert f"Run it again with: admmctl train {folder}/config.yaml --cores 1 --resume" in str(failure.value)
    return folder


def test_a_failed_run_goes_on(kept, tmp_path, monkeypatch):
    (run,) = admmctl.train(experiment(), resume=True)
    assert (run["folder"], run["status"], run["iterations"]) == (str(kept), "exhausted", 8)
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "unbroken"))
    (other,) = admmctl.train(experiment())
    assert curve(kept) == curve(Path(other["folder"]))
    assert not (kept / "checkpoint").exists()
    assert "going on from the checkpoint of iteration 4" in (kept / "log.txt").read_text()


@pytest.mark.parametrize(("budget", "iterations"), [(12, 12), (3, 4)])  # 4 is done already
def test_budgets_may_change_on_the_way(kept, budget, iterations):
    (run,) = admmctl.train(experiment(stop={"iterations": budget}), resume=True)
    assert (run["folder"], run["status"], run["iterations"]) == (str(kept), "exhausted", iterations)
    assert evaluated(kept) == list(range(iterations + 1))
    assert (kept / "weights.npz").is_file()


def test_other_settings_are_another_run(kept):
    (run,) = admmctl.train(kept / "config.yaml", overrides=["methods.admm.beta=2"], resume=True)
    assert run["folder"] != str(kept)
    assert there(kept) == [2, 4]


def test_without_resume_a_new_run_is_made(kept):
    (run,) = admmctl.train(experiment())
    assert run["folder"] == f"{kept}-2"
    assert there(kept) == [2, 4]
    # It is the newest one, and has finished.
    (second,) = admmctl.train(experiment(), resume=True)
    assert second["folder"] == f"{kept}-2"


def test_without_a_run_one_is_begun(results):
    (run,) = admmctl.train(experiment(), resume=True)
    assert run["status"] == "exhausted"


@pytest.mark.parametrize("damage", ["no checkpoint", "none that can be read"])
def test_without_a_checkpoint_the_run_starts_anew_in_its_folder(kept, damage):
    if damage == "no checkpoint":
        shutil.rmtree(kept / "checkpoint")
    else:
        for place in (kept / "checkpoint").iterdir():
            os.truncate(place / "manifest.json", 10)
    (run,) = admmctl.train(experiment(), resume=True)
    assert run["folder"] == str(kept)
    assert evaluated(kept) == list(range(9))
    assert ("the run starts anew" in (kept / "log.txt").read_text()) == (damage != "no checkpoint")


def test_data_that_have_changed_are_refused_and_nothing_is_lost(kept):
    summary = Recorded(kept).summary
    for place in (kept / "checkpoint").iterdir():
        content = checkpoint_files.read_manifest(place / "manifest.json")
        checkpoint_files.write_manifest(place / "manifest.json", {**content, "data": "another"})
    with pytest.raises(UserError, match="another data"):
        admmctl.train(experiment(), resume=True)
    assert there(kept) == [2, 4]
    assert Recorded(kept).summary == summary


def test_a_run_that_is_going_on_is_left_alone(kept):
    with held(kept), pytest.raises(UserError, match="going on in another process"):
        admmctl.train(experiment(), resume=True)
    assert Recorded(kept).summary.status == "failed"


def test_a_full_disk_ends_no_run(results, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "to_disk", full)
    (run,) = admmctl.train(experiment(checkpoint={"every": 1, "unit": "iteration"}))
    assert (run["status"], run["iterations"]) == ("exhausted", 8)
    log = (Path(run["folder"]) / "log.txt").read_text()
    assert log.count("No space left on device") == 1
    assert not (Path(run["folder"]) / "checkpoint").exists()


def test_what_is_counted_goes_on_after_an_interruption(results, tmp_path, monkeypatch):
    """Patience, the best iterate and the best accuracy are those of the run without a break."""
    changes = {
        "data": {"name": "swissroll", "rows": 200, "validation": 0.2},
        "stop": {"iterations": 60, "patience": 6},
        "methods": {"sgd": {"learning_rate": 0.05, "batch": 20, "evaluate": {"unit": "iteration"}}},
    }
    (whole,) = admmctl.train(experiment(**changes))
    assert 8 < whole["iterations"] < 60, "the test needs a run that patience ends"
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "other"))
    with breaking(Sgd, whole["iterations"] - 3, KeyboardInterrupt), pytest.raises(Interrupted):
        admmctl.train(experiment(**changes, checkpoint={"every": 1, "unit": "iteration"}))
    (run,) = admmctl.train(experiment(**changes), resume=True)
    for key in ("status", "reason", "iterations", "best_test_accuracy", "final_test_accuracy"):
        assert run[key] == whole[key]
    one, other = (dict(np.load(Path(r["folder"]) / "weights.npz")) for r in (run, whole))
    assert all(np.array_equal(one[name], other[name]) for name in other)


def test_the_block_is_checked_and_not_part_of_the_hash(results):
    with pytest.raises(ConfigError, match="whole number of iterations"):
        admmctl.train(experiment(checkpoint={"every": 2.5, "unit": "iteration"}))
    (one,) = admmctl.train(experiment(checkpoint={"every": 0}))
    (other,) = admmctl.train(experiment())
    assert other["folder"] == f"{one['folder']}-2"
