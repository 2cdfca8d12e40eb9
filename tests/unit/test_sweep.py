"""Sweeps, really run on a small Swiss roll: every trial kept, nothing run twice, the test set never asked."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.processes import alive, at_start, before_each, wait_until
from support.shell import real_shell

import admmctl
from admmctl.cli import main
from admmctl.errors import Interrupted, UserError
from admmctl.experiment.config import load
from admmctl.files import locked
from admmctl.launch.cluster import Launch
from admmctl.launch.options import Options
from admmctl.runs.events import Watcher
from admmctl.runs.places import find
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Summary
from admmctl.studies import trials
from admmctl.studies.sweep import Part, Request, sweep

GRID = {"search": "grid", "space": {"gd": {"learning_rate": [0.3, 0.01]}}}


def experiment(**changes: Any) -> dict[str, Any]:
    return {
        "name": "swept",
        "data": {"name": "swissroll", "rows": 400},
        "network": {"layers": [8]},
        "loss": "squared",
        "methods": {"sgd": {"batch": 32}, "gd": {}, "adam": {}},
        "stop": {"epochs": 4, "target": 0.52},  # which the first epoch meets
        "sweep": {
            "trials": 3,
            "space": {"sgd": {"learning_rate": {"low": 1e-3, "high": 1.0}, "batch": [16, 32]}},
        },
        **changes,
    }


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``admmctl``."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([*arguments])
    assert "Traceback" not in err.getvalue()
    return int(end.value.code or 0), out.getvalue(), err.getvalue()


class Place:
    """A folder with a config and results of its own; commands run with one core."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results"

    def write(self, **changes: Any) -> None:
        (self.path / "swept.yaml").write_text(yaml.safe_dump(experiment(**changes), sort_keys=False))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """What ``command`` says of ``admmctl sweep`` with these arguments."""
        return command("sweep", str(self.path / "swept.yaml"), *arguments)

    def sweep(self, *arguments: str) -> dict[str, Any]:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def place(results: Path, tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write()
    return made


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, dict[str, Any]]]:
    """A sweep of three trials, and what it says; tests that change it work on a copy."""
    made = Place(tmp_path_factory.mktemp("sweep"))
    made.write()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(made.results))
        yield made, made.sweep("--cores", "2")


@pytest.fixture
def swept(first: tuple[Place, dict[str, Any]], place: Place) -> Place:
    """A place where that sweep has run already."""
    shutil.copytree(first[0].results, place.results)  # with its times of writing
    return place


def written(folder: Path) -> dict[Path, int]:
    """When every file of the trials was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("trial-*/*")}


def plain(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials without the place where they lie."""
    return [{key: value for key, value in trial.items() if key != "folder"} for trial in trials]


def recorded(result: dict[str, Any]) -> list[tuple[dict[str, Any], Recorded]]:
    """Every trial, with its run."""
    return [(trial, Recorded(Path(trial["folder"]))) for trial in result["trials"]]


# -- what a sweep leaves behind


def test_every_trial_is_kept_and_differs_in_its_settings_alone(first):
    _, result = first
    assert [trial["number"] for trial in result["trials"]] == [0, 1, 2]
    others = []
    for trial, run in recorded(result):
        assert run.folder.parent == Path(result["folder"])
        assert run.status == trial["status"] == "exhausted"
        block = run.config["methods"]["sgd"]
        assert {key: block.pop(key) for key in trial["settings"]} == trial["settings"]
        assert 1e-3 <= trial["settings"]["learning_rate"] <= 1.0
        others.append(run.config)
    assert others[0] == others[1] == others[2]
    assert len({trial["settings"]["learning_rate"] for trial in result["trials"]}) == 3


def test_trials_use_their_whole_budget_whatever_the_target(first):
    # A target is met on test rows: stopping there would tune on the test set.
    _, result = first
    for trial, run in recorded(result):
        assert [row["epoch"] for row in run.curve] == [0, 1, 2, 3, 4]
        met = max(row["test_accuracy"] for row in run.curve[:-1]) >= 0.52
        assert met or trial["number"] != result["best"]["number"]
        assert "target" not in run.config["stop"]


def test_a_trial_is_judged_by_validation_accuracy_and_the_best_wins(first):
    _, result = first
    for trial, run in recorded(result):
        assert trial["validation_accuracy"] == max(row["validation_accuracy"] for row in run.curve)
        assert run.summary.rows_train == 270  # 30 of 300 are held back
    scores = [trial["validation_accuracy"] for trial in result["trials"]]
    assert len(set(scores)) > 1
    assert result["best"]["number"] == scores.index(max(scores))
    assert result["best"]["settings"] == result["trials"][result["best"]["number"]]["settings"]


def test_the_table_has_a_line_per_trial(first):
    _, result = first
    with (Path(result["folder"]) / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [0, 1, 2]
    for row, trial in zip(rows, result["trials"], strict=True):
        assert float(row["learning_rate"]) == trial["settings"]["learning_rate"]
        assert int(row["batch"]) == trial["settings"]["batch"]
        assert float(row["validation_accuracy"]) == trial["validation_accuracy"]
        assert row["status"] == "exhausted"


def test_the_winner_is_trained_once_more_on_all_training_rows(first):
    place, result = first
    run = result["run"]
    folder = Path(run["folder"])
    assert folder.parent == place.results / "swept"  # beside the other runs, not among the trials
    files = [path.name for path in Path(result["folder"]).glob("[!.]*") if path.is_file()]
    assert sorted(files) == ["best.yaml", "trials.csv"]
    assert (run["rows_train"], run["rows_test"], run["ranks"]) == (300, 100, 1)
    config = Recorded(folder).config
    assert "validation" not in config["data"]
    assert {key: config["methods"]["sgd"][key] for key in result["best"]["settings"]} == result["best"]["settings"]
    assert run["target"] == 0.52  # now the target counts
    assert find([str(place.results / "swept")]) == [Recorded(folder)]  # a comparison sees no trials


def test_best_yaml_is_an_experiment_that_train_takes(first, results):
    _, result = first
    best = Path(result["best"]["config"])
    (summary,) = admmctl.train(best)
    assert Path(summary["folder"]).parent == results / "swept"
    assert Path(summary["folder"]).name == Path(result["run"]["folder"]).name  # the same experiment, by its hash
    assert summary["final_test_accuracy"] == result["run"]["final_test_accuracy"]
    assert load(best).runs["sgd"].data == load(first[0].path / "swept.yaml").runs["sgd"].data


# -- going on


def test_a_sweep_that_has_run_runs_no_trial_again(swept, first):
    before = written(swept.results)
    assert len(before) > 12
    result = swept.sweep()
    assert written(swept.results) == before
    assert plain(result["trials"]) == plain(first[1]["trials"])


@pytest.mark.parametrize("damaged", [("cut off", "config.yaml"), ("summary.json", "curve.csv")], ids=str)
def test_trials_that_are_cut_off_or_damaged_are_run_again_and_no_other(swept, first, damaged):
    broken = set()
    for number, what in enumerate(damaged, 1):
        (trial,) = swept.results.rglob(f"trial-00{number}-*")
        broken.add(trial)
        if what == "cut off":
            (trial / "summary.json").unlink()
            (trial / "curve.csv").write_text((trial / "curve.csv").read_text()[:100])
        else:
            lines = (trial / what).read_bytes().splitlines(keepends=True)
            (trial / what).write_bytes(b"".join([*lines[:2], b"\xff\n", *lines[2:]]))
    before = written(swept.results)
    assert len(before) > 12
    result = swept.sweep()
    after = written(swept.results)
    assert {path.parent for path in before if after.get(path) != before[path]} == broken
    assert plain(result["trials"]) == plain(first[1]["trials"])
    assert result["best"]["number"] == first[1]["best"]["number"]


def test_more_trials_keep_those_there_are_and_another_budget_makes_others(swept, first):
    before = written(swept.results)
    result = swept.sweep("--trials", "4")
    after = written(swept.results)
    assert {path: after[path] for path in before} == before
    assert plain(result["trials"][:3]) == plain(first[1]["trials"])
    assert len(result["trials"]) == 4
    ((_, run),) = recorded(swept.sweep("--set", "stop.epochs=6", "--trials", "1"))
    assert run.curve[-1]["epoch"] == 6


# -- the test set


def test_the_test_set_plays_no_part_in_the_choice(place, monkeypatch):
    # The same experiment twice; in the second every test label is the other one.
    monkeypatch.chdir(place.path)
    generator = np.random.default_rng(0)
    for part, rows in (("train", 200), ("test", 100)):
        x = generator.uniform(-1, 1, (rows, 2))
        np.save(f"x_{part}.npy", x)
        np.save(f"y_{part}.npy", (x[:, 0] + 0.3 * x[:, 1] > 0).astype(int))
    np.save("y_other.npy", 1 - np.load("y_test.npy"))
    found = []
    for labels in ("y_test.npy", "y_other.npy"):
        data = {"name": "files", "x": "x_train.npy", "y": "y_train.npy", "x_test": "x_test.npy", "y_test": labels}
        place.write(data=data, sweep=GRID, stop={"epochs": 6})  # without a target, which stops on test rows
        found.append(place.sweep("--method", "gd", "--cores", "2"))
        shutil.rmtree(place.results)
    one, other = found
    assert one["run"]["final_test_accuracy"] == pytest.approx(1 - other["run"]["final_test_accuracy"])
    assert one["run"]["final_test_accuracy"] > 0.8
    assert one["best"]["number"] == other["best"]["number"]
    assert one["best"]["settings"] == other["best"]["settings"]
    assert [t["validation_accuracy"] for t in one["trials"]] == [t["validation_accuracy"] for t in other["trials"]]
    assert len({t["validation_accuracy"] for t in one["trials"]}) > 1


# -- chosen by time


TIMED = {"search": "grid", "by": "time", "space": {"gd": {"learning_rate": [1e-4, 0.3, 0.05]}}}


def test_by_time_the_first_at_the_target_wins_and_misses_come_last(place):
    place.write(sweep=TIMED, stop={"iterations": 60, "target": 0.62}, evaluate={"every": 1})
    result = place.sweep("--method", "gd")
    times = [trial["time_to_target_s"] for trial in result["trials"]]
    assert times[0] is None  # hardly moves
    reached = {time: number for number, time in enumerate(times) if time is not None}
    assert reached
    assert result["best"]["number"] == reached[min(reached)]
    for trial, run in recorded(result):
        # The target is that of held-back rows: the test rows play no part.
        assert run.config["stop"]["metric"] == "validation_accuracy"
        assert (trial["status"] == "reached") == (trial["time_to_target_s"] is not None)
    stop = Recorded(Path(result["run"]["folder"])).config["stop"]
    assert (stop["metric"], stop["target"], stop["iterations"]) == ("test_accuracy", 0.62, 60)
    assert "s to the target" in (Path(result["folder"]) / "best.yaml").read_text().splitlines()[0]
    with (Path(result["folder"]) / "trials.csv").open() as file:
        assert [bool(row["time_to_target_s"]) for row in csv.DictReader(file)] == [
            time is not None for time in times
        ]
    _, table, _ = place("--method", "gd")
    assert "target s" in table


def test_by_time_a_disturbed_trial_runs_again_and_no_other(place):
    place.write(sweep=TIMED, stop={"iterations": 5, "target": 0.9})
    result = place.sweep("--method", "gd")
    summary = Path(result["trials"][1]["folder"]) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "disturbed": True}))
    before = written(place.results)
    code, _, err = place("--method", "gd")
    assert code == 0
    assert "trial 1 runs again: other work took its cores" in err
    after = written(place.results)
    assert {path.parent for path in before if after[path] != before[path]} == {summary.parent}


def test_by_time_where_none_meets_the_target_the_best_accuracy_wins(place):
    place.write(sweep=TIMED, stop={"iterations": 3, "target": 1.0})
    result = place.sweep("--method", "gd")
    scores = [trial["validation_accuracy"] for trial in result["trials"]]
    assert result["best"]["number"] == scores.index(max(scores))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "2"], "--jobs: trials side by side take each other's cores"),
        (["--cores", "2"], "--cores: trials side by side take each other's cores"),
        (["--part", "1/2"], "--part 1/2: trials side by side take each other's cores"),
        (["--set", "stop={epochs: 4}"], "sweep.by: time: the experiment has no target"),
    ],
    ids=" ".join,
)
def test_by_time_trials_side_by_side_are_refused_and_so_is_no_target(place, arguments, message):
    place.write(sweep=TIMED)
    code, out, err = place("--method", "gd", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not place.results.exists()


# -- trials that go wrong


def broken(place: Place, monkeypatch: pytest.MonkeyPatch, rates: str) -> None:
    """From now on, trials with these learning rates fail."""
    action = f"if self.settings.learning_rate in ({rates}): raise RuntimeError('out of luck')"
    at_start(place.path, monkeypatch, before_each("admmctl.methods.gradient.sgd.Descent.init", action))


def test_a_trial_that_fails_is_kept_with_its_reason_and_tried_again(place, monkeypatch):
    place.write(sweep=GRID)
    with monkeypatch.context() as patch:
        broken(place, patch, "0.01,")
        result = place.sweep("--method", "gd", "--cores", "2")
    good, bad = result["trials"]
    assert (good["status"], bad["status"]) == ("exhausted", "failed")
    assert "RuntimeError: out of luck" in bad["reason"]
    assert bad["validation_accuracy"] is None
    assert result["best"]["number"] == 0
    folder = Path(bad["folder"])
    assert "out of luck" in (folder / "log.txt").read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) == set(Summary.__dataclass_fields__)
    expected = {"experiment": "swept", "method": "gd", "seed": 0, "ranks": 1, "status": "failed", "iterations": 0}
    assert summary == {**summary, **expected, "final_test_accuracy": None}
    with (Path(result["folder"]) / "trials.csv").open() as file:
        row = list(csv.DictReader(file))[1]
    assert (row["status"], row["learning_rate"]) == ("failed", "0.01")
    assert "out of luck" in row["reason"]

    code, out, err = command("runs", "list", result["folder"])  # a trial is a run like others
    assert (code, err) == (0, "")
    assert out.startswith("swept")
    assert folder.name in out.replace("\n", "")

    repaired = place.sweep("--method", "gd")
    assert [trial["status"] for trial in repaired["trials"]] == ["exhausted", "exhausted"]


def test_where_every_trial_fails_there_is_no_winner_and_it_says_so(place, monkeypatch):
    place.write(sweep=GRID)
    broken(place, monkeypatch, "0.01, 0.3")
    code, out, err = place("--method", "gd", "--cores", "2")
    assert code in (0, 1)
    assert "no trial has a validation accuracy" in out + err
    assert "out of luck" in out + err
    assert not list(place.results.rglob("best.yaml"))
    assert len(list(place.results.rglob("trial-*"))) == 2


def test_a_trial_that_diverges_is_kept_and_not_chosen(place):
    place.write(sweep={"search": "grid", "space": {"gd": {"learning_rate": [1e30, 0.3]}}})
    result = place.sweep("--method", "gd", "--cores", "2")
    assert [trial["status"] for trial in result["trials"]] == ["diverged", "exhausted"]
    assert result["best"]["number"] == 1


def test_a_trial_ends_after_the_seconds_of_training_that_the_file_allows(place):
    place.write(stop={"seconds": 0.05}, sweep={"search": "grid", "space": {"gd": {"learning_rate": [0.3]}}})
    ((trial, run),) = recorded(place.sweep("--method", "gd"))
    assert (trial["status"], trial["reason"]) == ("exhausted", "used up: 0.05 seconds of training")
    assert run.summary.train_s >= 0.05


# -- other experiments


def test_a_validation_split_of_the_experiment_is_kept_also_for_the_winner(place):
    # With budgets swept as well: the winner has the budget that won.
    space = {"gd": {"stop.iterations": [1, 40], "learning_rate": [0.3]}}
    data = {"name": "swissroll", "rows": 400, "validation": 0.2}
    place.write(data=data, sweep={"search": "grid", "space": space}, stop={"iterations": 3})
    result = place.sweep("--method", "gd", "--cores", "2")
    trials = result["trials"]
    assert [Recorded(Path(trial["folder"])).summary.rows_train for trial in trials] == [240, 240]
    assert [Recorded(Path(trial["folder"])).summary.iterations for trial in trials] == [1, 40]
    assert result["best"]["number"] == 1
    assert result["run"]["rows_train"] == 240
    assert result["run"]["iterations"] == 40
    _, out, _ = place("--method", "gd", "--cores", "2")
    assert "nothing beside it, on the training rows that data.validation leaves, as long as the experiment" in out


def test_the_scale_of_a_kernel_can_be_swept_after_one_epoch(place):
    network = {"layers": [20], "activation": "cosine", "init": "gaussian", "init_scale": 1.0}
    place.write(
        network=network,
        stop={"epochs": 1},
        sweep={"search": "grid", "space": {"sgd": {"network.init_scale": [0.1, 0.4, 1.6]}}},
    )
    found = place.sweep()
    assert [trial["settings"]["network.init_scale"] for trial in found["trials"]] == [0.1, 0.4, 1.6]
    assert all(trial["status"] == "exhausted" for trial in found["trials"]), found["trials"]
    best = yaml.safe_load(Path(found["best"]["config"]).read_text())
    scale = found["best"]["settings"]["network.init_scale"]
    assert best["network"] == {**network, "bias": True, "init_scale": scale}


def test_a_method_with_a_dot_in_its_name_can_be_swept(place):
    sweep = {"search": "grid", "space": {"gd-0.3": {"learning_rate": [0.2]}}}
    place.write(methods={"gd-0.3": {"kind": "gd"}}, sweep=sweep)
    (trial,) = place.sweep()["trials"]
    assert trial["status"] == "exhausted"


@pytest.mark.usefixtures("terminal")
def test_people_see_every_trial_as_it_ends_and_a_table(swept):
    code, out, err = swept()
    assert code == 0
    for number in range(3):
        assert f"trial {number}" in err
    for text in ("3 trials of sgd", "learning_rate", "batch", "best: trial", "best.yaml", "on all training rows"):
        assert text in out


# -- a sweep that is interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_interrupted_ends_its_trials_which_keep_what_they_have(place, number):
    place.write(stop={"iterations": 10_000_000}, sweep=GRID)
    process = start(place, "--method", "gd", "--cores", "2")
    curves = place.results.rglob
    assert wait_until(lambda: len([path for path in curves("curve.csv") if Recorded(path.parent).curve]) == 2, 60)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    assert "interrupted; the same command goes on with the sweep" in err
    assert "Traceback" not in err
    assert wait_until(lambda: not workers(place.results))
    assert [Recorded(path.parent).status for path in curves("curve.csv")] == ["interrupted", "interrupted"]


def test_a_sweep_goes_on_within_the_trials_that_were_interrupted(place, monkeypatch):
    space = {"search": "grid", "space": {"gd": {"learning_rate": [0.3, 0.01, 0.1]}}}
    place.write(stop={"iterations": 12}, sweep=space)
    unbroken = place.sweep("--method", "gd", "--cores", "2")
    shutil.rmtree(place.results)
    with monkeypatch.context() as patch:
        at_start(place.path, patch, before_each("admmctl.runs.loop.Loop._step", "time.sleep(0.3)"))
        process = start(place, "--method", "gd", "--cores", "2")
        curves = place.results.rglob
        assert wait_until(
            lambda: len([p for p in curves("curve.csv") if len(Recorded(p.parent).curve) > 2]) == 2, 60
        )
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    begun = {path.parent: Recorded(path.parent).summary for path in curves("summary.json")}
    assert [summary.status for summary in begun.values()] == ["interrupted"] * 2
    result = place.sweep("--method", "gd", "--cores", "2")
    for trial, run in recorded(result):
        went_on = "going on from the checkpoint of iteration"
        log = (run.folder / "log.txt").read_text()
        assert (
            (f"{went_on} {begun[run.folder].iterations}\n" in log) if run.folder in begun else went_on not in log
        )
        assert trial["validation_accuracy"] == unbroken["trials"][trial["number"]]["validation_accuracy"]
        assert [row["iteration"] for row in run.curve] == list(range(13))
    assert result["best"]["settings"] == unbroken["best"]["settings"]


def test_a_winner_that_was_cut_off_goes_on_and_one_that_has_finished_is_timed_anew(swept, first):
    name = Path(first[1]["run"]["folder"]).name
    (swept.results / "swept" / name / "summary.json").unlink()
    assert Path(swept.sweep()["run"]["folder"]).name == name
    assert Path(swept.sweep()["run"]["folder"]).name == f"{name}-2"


def test_a_trial_that_another_process_runs_is_waited_for(swept):
    (trial,) = swept.results.rglob("trial-001-*")
    said: list[str] = []
    with locked(trial, "running", said.append):
        process = start(swept)
        assert process.stderr is not None
        line = next(line for line in process.stderr if "waiting" in line)
        assert line.strip() == f"another process is running {trial.name}; waiting for it"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "the same command goes on with the sweep" in err) == (3, True)
    assert len(swept.sweep()["trials"]) == 3


def test_a_trial_that_cannot_be_recorded_ends_the_others_and_is_told(place, monkeypatch):
    place.write(sweep=GRID)
    asked = []

    def execute(run, options, watcher, folder, resume, signals):
        if run.settings.learning_rate == 0.3:
            raise OSError("the disk is full")
        assert wait_until(lambda: bool(signals.so_far()))
        asked.append(run)
        raise Interrupted("interrupted")

    monkeypatch.setattr(trials, "execute", execute)
    monkeypatch.setenv("ADMMCTL_RESULTS", str(place.results))
    request = Request(place.path / "swept.yaml", "gd", jobs=2)
    with pytest.raises(OSError, match="the disk is full"):
        sweep(request, lambda *_: None, Watcher())
    assert len(asked) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_second_interruption_of_a_sweep_does_not_wait_for_a_trial_that_hangs(place):
    place.write(stop={"iterations": 10_000_000}, sweep=GRID)
    process = start(place, "--method", "gd")
    assert wait_until(lambda: any(Recorded(path.parent).curve for path in place.results.rglob("curve.csv")), 60)
    (trial,) = workers(place.results)
    os.kill(trial, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.6)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert workers(place.results) == []


def start(place: Place, *arguments: str) -> "subprocess.Popen[str]":
    return real_shell("sweep", place.path / "swept.yaml", *arguments, "--json")


# -- trials on several ranks, here and on hosts


@pytest.mark.mpi
def test_trials_on_two_ranks_are_those_on_one(place):
    place.write(sweep=GRID)
    one = place.sweep("--method", "gd", "--cores", "2")
    names = [Path(trial["folder"]).name for trial in one["trials"]]
    shutil.rmtree(place.results)
    two = place.sweep("--method", "gd", "--ranks", "2")
    assert [Path(trial["folder"]).name for trial in two["trials"]] == names
    for trial, run in recorded(two):
        assert (run.summary.ranks, trial["status"]) == (2, "exhausted")
        expected = one["trials"][trial["number"]]["validation_accuracy"]
        assert trial["validation_accuracy"] == pytest.approx(expected, abs=0.05)
    assert two["run"]["ranks"] == 2
    assert "-p2-" in two["run"]["folder"]


def places(monkeypatch: pytest.MonkeyPatch, ranks: int = 1, **asked: Any) -> list[Options]:
    """How the trials that run at once are started, on a machine of eight cores."""
    monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: 8)
    options = Options(
        cores=ranks, launcher=asked.pop("launcher", "auto"), hosts=asked.pop("hosts", ()),
        cluster=Launch(binding="core"),
    )  # fmt: skip
    return Request(Path("swept.yaml"), options=options, **asked).places()


def test_trials_at_once_have_cores_of_their_own(monkeypatch):
    assert [options.cores for options in places(monkeypatch)] == [1]
    assert [options.cores for options in places(monkeypatch, jobs=8)] == [1] * 8
    assert [options.cores for options in places(monkeypatch, ranks=3, jobs=2)] == [3, 3]
    # --cores holds as many as fit.
    assert [options.cores for options in places(monkeypatch, ranks=3, cores=7)] == [3, 3]
    # Two launchers would bind their ranks to the same cores; one may.
    assert [options.cluster.binding for options in places(monkeypatch, ranks=2, jobs=2)] == ["none"] * 2
    assert [options.cluster.binding for options in places(monkeypatch, ranks=2, jobs=1)] == ["core"]


def test_trials_at_once_have_places_on_hosts_of_their_own(monkeypatch):
    hosts = (("h1", 3), ("h2", 4))
    found = [options.hosts for options in places(monkeypatch, ranks=2, jobs=3, hosts=hosts)]
    assert found == [(("h1", 2),), (("h1", 1), ("h2", 1)), (("h2", 2),)]
    assert len(places(monkeypatch, ranks=2, hosts=hosts)) == 3, "as many as fit"
    assert [options.hosts for options in places(monkeypatch, ranks=7, hosts=hosts)] == [hosts]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"jobs": 9}, "--jobs 9 on --ranks 1 take 9 cores: this machine has 8 cores"),
        ({"jobs": 3, "ranks": 3}, "--jobs 3 on --ranks 3 take 9 cores: this machine has 8 cores"),
        ({"ranks": 9}, "--jobs 1 on --ranks 9 take 9 cores"),
        ({"cores": 2, "ranks": 3}, "--cores 2: a trial on --ranks 3 takes more than that"),
        ({"jobs": 2, "cores": 2}, "--cores and --jobs both say"),
        ({"jobs": 0}, "--jobs 0: expected 1 or more"),
        ({"jobs": 10_001}, "at most 10,000"),
        ({"cores": 1, "hosts": (("h1", 8),)}, "--cores are those of this machine"),
        ({"ranks": 9, "hosts": (("h1", 8),)}, "--jobs 1 on --ranks 9 take 9 places, and --hosts has 8"),
        ({"ranks": 2, "launcher": "inline"}, "--launcher inline runs one rank; for --ranks 2"),
    ],
    ids=str,
)
def test_trials_that_have_no_room_are_refused(monkeypatch, asked, text):
    with pytest.raises(UserError, match=re.escape(text)):
        places(monkeypatch, **asked)


def test_inside_a_job_of_several_nodes_trials_run_one_at_a_time(monkeypatch):
    for name, value in {
        "SLURM_JOB_ID": "7", "SLURM_NTASKS": "16", "SLURM_JOB_NUM_NODES": "2", "SLURMD_NODENAME": "n1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert len(places(monkeypatch, ranks=8, jobs=1)) == 1
    with pytest.raises(UserError, match="inside a Slurm job of several nodes"):
        places(monkeypatch, ranks=8, jobs=2)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    assert len(places(monkeypatch, ranks=8, jobs=2)) == 2


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/", "a/b", "1/2/3", "-1/2"])
def test_a_part_is_a_number_of_so_many(text):
    with pytest.raises(UserError, match=r"--part .*: expected K/N"):
        Part.parse(text)


def workers(folder: Path) -> list[int]:
    """The processes of trials below ``folder``."""
    return alive(f"{folder}/swept/sweep")
