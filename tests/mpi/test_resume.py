"""Runs that are stopped or killed, and go on: the same curve as without a break."""

import functools
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.experiments import swissroll
from support.processes import alive, at_start, wait_until

import admmctl
from admmctl.runs import checkpoint_files
from admmctl.runs.recorded import Recorded

pytestmark = pytest.mark.mpi

ITERATIONS = 60
TIMES = {"train_s", "wall_s"}
# Every Python of a run loads it: at the evaluation of iteration 9 rank 0 sends the driver a signal, and from then
# on takes its time, so that the signal finds the run at work.
SABOTAGE = """
import os, sys, time

os.environ.setdefault("DRIVER", str(os.getpid()))

def sabotage():
    from admmctl.runs import loop

    evaluation = loop.Loop._evaluation

    def sabotaged(self, weights):
        iteration = self.outcome.iterations
        if self.problem.comm.rank == 0 and iteration == 9:
            os.kill(int(os.environ["DRIVER"]), {number})
        if iteration >= 9:
            time.sleep(0.05)
        return evaluation(self, weights)

    loop.Loop._evaluation = sabotaged

if "PMI_RANK" in os.environ or os.environ.get("INLINE"):
    sabotage()
"""


def experiment(**changes):
    return swissroll(
        "resumed",
        layers=(8, 6),
        data={"name": "swissroll", "rows": 1203, "test": 0.25},
        methods={"admm": {}, "sgd": {"stop": {"iterations": ITERATIONS}, "evaluate": {"unit": "iteration"}}},
        stop={"iterations": ITERATIONS},
        evaluate={"every": 3},
        **changes,
    )


def train(*arguments):
    command = [sys.executable, "-m", "admmctl.cli", "train", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def start(tmp_path, results, monkeypatch):
    """Runs ``admmctl train`` on the experiment, under the sabotage of a signal if there is one."""
    config = tmp_path / "resumed.yaml"

    def run(*arguments, ranks=1, stopped_by=None, **changes):
        config.write_text(yaml.safe_dump(experiment(**changes)))
        with monkeypatch.context() as patch:
            if stopped_by is not None:
                at_start(tmp_path, patch, SABOTAGE.format(number=int(stopped_by)))
                patch.setenv("INLINE", "1" if ranks == 1 else "")
            return train(config, "--cores", ranks, *arguments)

    return run


def the_run(results: Path) -> Path:
    (folder,) = (results / "resumed").iterdir()
    return folder


@functools.cache
def unbroken(ranks, method):
    """The curve and the weights of a run without a break. It is started: this process has other loops."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        patch.setenv("ADMMCTL_RESULTS", place)
        config = Path(place) / "resumed.yaml"
        config.write_text(yaml.safe_dump(experiment()))
        train(config, "--cores", ranks, "--method", method).check_returncode()
        folder = the_run(Path(place))
        return values(folder), dict(np.load(folder / "weights.npz"))


def values(folder: Path):
    return [{name: v for name, v in row.items() if name not in TIMES} for row in Recorded(folder).curve]


def check_against(folder, expected, exactly=True):
    curve, weights = expected
    summary = Recorded(folder).summary
    assert (summary.status, summary.iterations) == ("exhausted", ITERATIONS)
    assert not (folder / "checkpoint").exists()
    found = np.load(folder / "weights.npz")
    if exactly:
        assert values(folder) == curve
        assert all(np.array_equal(found[name], weights[name]) for name in weights)
    else:
        assert [row["iteration"] for row in values(folder)] == [row["iteration"] for row in curve]
        for row, other in zip(values(folder), curve, strict=True):
            assert list(row.values()) == pytest.approx(list(other.values()), rel=2e-3, abs=1e-3)
    times = [(row["train_s"], row["wall_s"]) for row in Recorded(folder).curve]
    assert times == sorted(times)
    phases = Recorded(folder).phases
    assert sum(row["mean_s"] for name, row in phases.items() if name != "wall") == pytest.approx(
        phases["wall"]["mean_s"], rel=1e-6
    )
    assert phases["rest"]["min_s"] >= 0
    assert summary.train_s <= summary.wall_s


@pytest.mark.parametrize(
    ("ranks", "number", "method"),
    [
        (1, signal.SIGTERM, "admm"),
        (1, signal.SIGINT, "sgd"),
        (2, signal.SIGUSR1, "admm"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_curve(ranks, number, method, start, results):
    stopped = start("--method", method, ranks=ranks, stopped_by=number)
    assert stopped.returncode == 3, stopped.stderr
    folder = the_run(results)
    summary = Recorded(folder).summary
    assert summary.status == "interrupted"
    assert 9 <= summary.iterations < ITERATIONS
    assert (folder / "checkpoint" / str(summary.iterations) / "manifest.json").is_file()
    assert summary.rerun.endswith("--resume")
    assert f"go on with: {summary.rerun}" in stopped.stderr
    assert "(" not in stopped.stdout

    resumed = start("--method", method, "--resume", ranks=ranks)
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on from the checkpoint of iteration {summary.iterations}" in resumed.stderr
    check_against(folder, unbroken(ranks, method))
    assert the_run(results) == folder

    before = (folder / "summary.json").read_bytes()
    third = start("--method", method, "--resume", ranks=ranks)
    assert third.returncode == 0
    assert f"finished already: {folder}" in third.stderr
    assert (folder / "summary.json").read_bytes() == before


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_job_goes_on_from_its_last_checkpoint(ranks, start, results):
    checkpoint = {"every": 2, "unit": "iteration"}
    killed = start(ranks=ranks, stopped_by=signal.SIGKILL, checkpoint=checkpoint)
    assert killed.returncode == -signal.SIGKILL
    folder = the_run(results)
    assert wait_until(lambda: not alive(folder), 10)
    assert Recorded(folder).summary is None
    kept = sorted(int(place.name) for place in (folder / "checkpoint").iterdir() if place.name.isdecimal())
    assert len(kept) == 2
    assert kept[1] - kept[0] == 2
    # The newest one has lost a byte: the one before serves.
    damaged = folder / "checkpoint" / str(kept[1]) / "rank-00000.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    resumed = start("--resume", ranks=ranks)
    assert resumed.returncode == 0, resumed.stderr
    assert f"the checkpoint of iteration {kept[1]} cannot be read" in resumed.stderr
    assert f"going on from the checkpoint of iteration {kept[0]}" in resumed.stderr
    check_against(folder, unbroken(ranks, "admm"))
    assert Recorded(folder).phases["checkpoint"]["max_s"] > 0


def goes_on(folder, before, after):
    """The run that was stopped on ``before`` ranks ends on ``after``."""
    (run,) = admmctl.train(folder / "config.yaml", cores=after, resume=True)
    assert (run["folder"], run["ranks"]) == (str(folder), after)
    check_against(folder, unbroken(before, "admm"), exactly=False)


def test_a_run_of_one_rank_goes_on_on_two(start, results):
    assert start(stopped_by=signal.SIGTERM).returncode == 3
    goes_on(the_run(results), before=1, after=2)


def test_a_run_of_two_ranks_goes_on_on_one_but_on_no_other_data(start, results):
    assert start(ranks=2, stopped_by=signal.SIGTERM).returncode == 3
    folder = the_run(results)
    (place,) = (folder / "checkpoint").iterdir()
    content = checkpoint_files.read_manifest(place / "manifest.json")
    checkpoint_files.write_manifest(place / "manifest.json", {**content, "data": "another"})
    refused = start("--resume", ranks=2)
    assert refused.returncode == 2
    assert "of another data" in refused.stderr
    assert Recorded(folder).summary.status == "interrupted"
    checkpoint_files.write_manifest(place / "manifest.json", content)
    goes_on(folder, before=2, after=1)
