"""The run folder: what a run leaves behind."""

import itertools
import json
import math
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.experiments import swissroll

import admmctl
from admmctl.cli import main
from admmctl.errors import RunFailed, UserError
from admmctl.experiment.config import load
from admmctl.files import atomic, to_json, write_json
from admmctl.runs.places import find, root
from admmctl.runs.record import Evaluation, RunFolder, rerun_line
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Status, Summary

EXPERIMENT = swissroll("tiny", 120, (5, 4), stop={"iterations": 4, "target": 0.9999})
# The contract of the run folder.
SUMMARY_FIELDS = """
    experiment method seed metric status reason target time_to_target_s previous_evaluation_s iterations
    best_test_accuracy final_test_accuracy best_test_auc final_test_auc train_s wall_s load_s ranks
    threads_per_rank rows_train rows_test peak_rss_mb cpu_share disturbed shared_cores data_made_up rerun
"""
ENVIRONMENT_FIELDS = """
    cpu cores ranks threads_per_rank hosts mpi blas dtype packages git_commit git_dirty config_hash data_sha256
    data_made_up scheduler_job
"""
FILES = "config.yaml confusion.json cpu.csv curve.csv environment.json log.txt phases.csv summary.json weights.npz"
CURVE_COLUMNS = ["iteration", "epoch", "train_s", "wall_s", "train_loss", "train_accuracy", "test_accuracy"]
ENDED = Summary(
    **dict.fromkeys(("experiment", "method", "metric"), "exp"),
    **dict.fromkeys(("seed", "ranks", "iterations"), 1),
    **dict.fromkeys(("target", "time_to_target_s", "final_test_accuracy", "train_s"), 0.5),
    reason="",
    status=Status.REACHED,
)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def evaluation(iteration: int, test_accuracy: float = 0.5, **residuals: float) -> Evaluation:
    return Evaluation(iteration, float(iteration), 0.25 * iteration, 0.5, 1.5, 0.75, test_accuracy, residuals)


# --- files, whole or not at all


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("problem", [None, ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: type[BaseException] | None
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with nullcontext() if problem is None else pytest.raises(problem), atomic(path) as file:
        file.write("new")
        assert path.read_text() == "old"
        if problem is OSError:
            monkeypatch.setattr(os, "fsync", full)
        elif problem is not None:
            raise problem
    assert path.read_text() == ("new" if problem is None else "old")
    assert entries(tmp_path) == ["notes.txt"]


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets the umask; the old one is restored."""
    before = os.umask(0)
    os.umask(before)
    yield lambda mask: (os.umask(mask), None)[1]
    os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o000, 0o666)])
def test_files_follow_the_umask(results: Path, umask: Callable[[int], None], mask: int, mode: int) -> None:
    umask(mask)
    folder = RunFolder.create("run", "tiny", "name: tiny\n")
    folder.write_summary(ENDED)
    folder.append(evaluation(0))
    folder.log("a line")
    folder.write_weights({"best": [np.ones((1, 2))]}, {"bias": True})
    assert len(entries(folder.path)) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {mode}


def test_nan_and_infinities_become_null_in_json(tmp_path: Path) -> None:
    content = {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -math.inf}, "e": (math.nan,)}
    assert json.loads(to_json(content)) == {"a": None, "b": [None, 1.5], "c": {"d": None}, "e": [None]}
    write_json(tmp_path / "x.json", content)
    assert "NaN" not in (tmp_path / "x.json").read_text()


# --- folders


def test_an_existing_folder_is_kept_and_the_new_one_counts_up(results: Path) -> None:
    folders = [RunFolder.create("run", "tiny", f"number: {number}\n").path for number in range(3)]
    assert folders == [results / "tiny" / name for name in ("run", "run-2", "run-3")]
    for number, folder in enumerate(folders):
        assert entries(folder) == ["config.yaml"]
        assert (folder / "config.yaml").read_text() == f"number: {number}\n"


def test_a_discarded_folder_takes_an_empty_experiment_with_it(results: Path) -> None:
    first, second = (RunFolder.create("run", "tiny", "") for _ in range(2))
    second.discard()
    assert entries(results / "tiny") == ["run"]
    first.discard()
    assert entries(results) == []


@pytest.mark.parametrize("link", ["", "made"])
def test_a_link_to_another_disk_stays_whether_a_folder_is_there_or_not(
    results: Path, tmp_path: Path, link: str
) -> None:
    (tmp_path / "disk").mkdir()
    place = results / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(tmp_path / "disk" / "runs")
    for _ in range(2):
        folder = RunFolder.create("admm-p1-s0", "made", "name: made\n")
        assert (folder.path / "config.yaml").read_text() == "name: made\n"
        folder.discard()
        assert not folder.path.exists()
        assert place.is_symlink()
    assert list((tmp_path / "disk" / "runs").iterdir()) == []


def test_a_link_to_a_disk_that_is_not_there_makes_nothing_in_its_place(results: Path, tmp_path: Path) -> None:
    results.symlink_to(tmp_path / "disk" / "runs")
    with pytest.raises(UserError, match=r"there is no folder .*/disk: is its disk mounted\?"):
        RunFolder.create("admm-p1-s0", "made", "name: made\n")
    assert not (tmp_path / "disk").exists()


def test_a_link_in_the_place_of_a_run_is_replaced_and_not_followed(results: Path, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("mine")
    place = results / "made" / "trial-000"
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path)
    assert not RunFolder.create_at(place, "name: made\n").path.is_symlink()
    assert (tmp_path / "letter").read_text() == "mine"


def test_the_results_folder_is_the_current_folders_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMMCTL_RESULTS", "")
    assert root() == Path("results")
    monkeypatch.delenv("ADMMCTL_RESULTS")
    assert root() == Path("results")


@pytest.mark.parametrize("place", ["a file", "a file above it", "/proc/nowhere"])
def test_a_results_folder_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    named = {"a file": tmp_path / "file", "a file above it": tmp_path / "file" / "results"}.get(place, Path(place))
    monkeypatch.setenv("ADMMCTL_RESULTS", str(named))
    with pytest.raises(UserError, match="cannot be written") as caught:
        admmctl.train(EXPERIMENT)
    assert str(named) in str(caught.value)
    assert "ADMMCTL_RESULTS" in str(caught.value)
    assert caught.value.exit_code == 2
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_folder_whose_config_cannot_be_written_is_not_left_behind(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        RunFolder.create("run", "tiny", "name: tiny\n")
    assert [path for path in results.rglob("*") if path.name.startswith("run")] == []


# --- the curve


def test_the_curve_is_read_as_it_was_written(results: Path) -> None:
    folder = RunFolder.create("run", "tiny", "")
    for number in range(3):
        folder.append(evaluation(number, 0.1 * number, objective=math.pi * number))
    folder.append(evaluation(3, math.nan, objective=math.inf))
    rows = Recorded(folder.path).curve
    assert [list(row) for row in rows] == [[*CURVE_COLUMNS, "objective"]] * 4
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert math.isnan(rows[3]["test_accuracy"])
    assert rows[3]["objective"] == math.inf
    assert rows[2]["test_accuracy"] == pytest.approx(0.2, rel=1e-8)
    assert rows[2]["objective"] == pytest.approx(2 * math.pi, rel=1e-8)


# --- what a real run leaves


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of one finished run of one rank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(tmp_path_factory.mktemp("results")))
        (summary,) = admmctl.train(EXPERIMENT)
        yield Path(summary["folder"])


def test_a_run_leaves_these_files_and_no_others_in_a_folder_with_its_hash(real: Path) -> None:
    assert entries(real) == FILES.split()
    digits = load(EXPERIMENT).runs["admm"].hash()
    assert (real.parent.name, real.name) == ("tiny", f"admm-p1-s0-{digits}")


def test_the_summary_has_exactly_the_fields_of_the_contract(real: Path) -> None:
    summary = json.loads((real / "summary.json").read_text())
    assert list(summary) == SUMMARY_FIELDS.split()
    expected = {"experiment": "tiny", "method": "admm", "seed": 0, "metric": "test_accuracy", "target": 0.9999}
    expected |= {"status": "exhausted", "reason": "used up: 4 iterations", "iterations": 4, "ranks": 1}
    expected |= {"time_to_target_s": None, "previous_evaluation_s": None, "rows_train": 90, "rows_test": 30}
    assert expected.items() <= summary.items()
    assert 0 < summary["train_s"] < summary["wall_s"]
    assert 0 < summary["load_s"] < summary["wall_s"]
    assert summary["threads_per_rank"] >= 1
    assert 10 < summary["peak_rss_mb"] < 10_000


def test_the_summary_agrees_with_the_curve(real: Path) -> None:
    summary, curve = Recorded(real).summary, Recorded(real).curve
    assert list(curve[0])[: len(CURVE_COLUMNS)] == CURVE_COLUMNS
    assert len(curve[0]) > len(CURVE_COLUMNS)
    assert [row["iteration"] for row in curve] == [0, 1, 2, 3, 4]
    assert [row["epoch"] for row in curve] == [0, 1, 2, 3, 4]
    assert summary.final_test_accuracy == pytest.approx(curve[-1]["test_accuracy"])
    assert summary.best_test_accuracy == pytest.approx(max(row["test_accuracy"] for row in curve))
    assert summary.train_s == pytest.approx(curve[-1]["train_s"], rel=1e-6)
    for name in ("train_s", "wall_s"):
        assert all(before[name] < after[name] for before, after in itertools.pairwise(curve))
    assert all(row["train_s"] <= row["wall_s"] for row in curve)


def test_training_evaluation_and_the_rest_add_up_to_wall(real: Path) -> None:
    lines = (real / "phases.csv").read_text().splitlines()
    assert lines[0] == "phase,max_s,mean_s,min_s"
    phases = {name: float(longest) for name, longest, *_ in (line.split(",") for line in lines[1:])}
    assert {"load", "evaluate", "gram", "reduce", "solve", "product", "elementwise", "rest", "wall"} <= set(phases)
    assert min(phases.values()) >= 0
    parts = sum(seconds for name, seconds in phases.items() if name != "wall")
    assert parts == pytest.approx(phases["wall"], rel=1e-6)
    summary = Recorded(real).summary
    outside = ("load", "evaluate", "rest", "wall")
    trained = sum(seconds for name, seconds in phases.items() if name not in outside)
    assert summary.train_s == pytest.approx(trained, rel=1e-6)
    assert summary.wall_s == pytest.approx(phases["wall"], rel=1e-6)
    assert summary.load_s == pytest.approx(phases["load"], rel=1e-6)


def test_the_environment_has_the_fields_of_the_contract(real: Path) -> None:
    environment = json.loads((real / "environment.json").read_text())
    assert set(ENVIRONMENT_FIELDS.split()) <= set(environment)
    assert all(environment[key] for key in ("cpu", "cores", "blas"))
    assert (environment["ranks"], environment["dtype"]) == (1, "float32")
    assert environment["packages"]["numpy"] == np.__version__
    assert real.name.endswith(environment["config_hash"])
    assert len(environment["data_sha256"]) == 64


def test_the_config_is_the_same_experiment_with_every_default_written_out(real: Path) -> None:
    text = (real / "config.yaml").read_text()
    reread = load(yaml.safe_load(text)).runs["admm"]
    assert reread == load(EXPERIMENT).runs["admm"]
    assert "ridge" in text
    assert "multiplier_step" in text


def test_the_log_has_a_line_per_evaluation(real: Path) -> None:
    lines = [line for line in (real / "log.txt").read_text().splitlines() if line.startswith("iteration ")]
    assert len(lines) == 5
    assert "test accuracy" in lines[0]


def test_the_weights_are_plain_arrays(real: Path) -> None:
    with np.load(real / "weights.npz", allow_pickle=False) as file:
        arrays = dict(file)
    for iterate in ("best", "final"):
        assert [arrays[f"{iterate}_W{l}"].shape for l in (1, 2, 3)] == [(5, 3), (4, 5), (1, 4)]
        assert [arrays[f"{iterate}_b{l}"].shape for l in (1, 2, 3)] == [(5,), (4,), (1,)]
    assert all(array.dtype.kind in "fiubU" for array in arrays.values())


def test_the_rerun_line_does_the_run_again(real: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = Recorded(real).summary
    program, *arguments = shlex.split(summary.rerun)
    assert program == "admmctl"
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])
    assert not end.value.code
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert Path(run["folder"]).name == real.name
    assert run["best_test_accuracy"] == summary.best_test_accuracy
    before, after = Recorded(real).curve, Recorded(Path(run["folder"])).curve
    for name in ("train_loss", "train_accuracy", "test_accuracy", "objective"):
        assert [row[name] for row in before] == [row[name] for row in after], name


def test_the_rerun_line_follows_a_run_that_is_moved(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(folder: Path) -> list[str]:
        return shlex.split(Recorded(folder).summary.rerun)

    monkeypatch.chdir(tmp_path)
    old = Path("results/exp/admm-p2-s0-01234567")
    folder = RunFolder.create_at(old, "name: exp\n")
    line = rerun_line(old, 2, 3, ["--cluster", "a b.yaml"], resume=True)
    folder.write_summary(replace(ENDED, rerun=line))
    rest = ["--cores", "2", "--threads", "3", "--cluster", "a b.yaml", "--resume"]
    # As it is recorded, by whichever name the folder is called.
    for name in (old, old.absolute(), Path("results/../results/exp") / old.name):
        assert shown(name) == ["admmctl", "train", str(old / "config.yaml"), *rest]
    shutil.copytree("results", "its copy; $HOME")
    copy = Path("its copy; $HOME/exp") / old.name
    assert shown(copy) == ["admmctl", "train", str(copy / "config.yaml"), *rest]
    Path("results").rename("moved")
    moved = Path("moved/exp") / old.name
    assert shown(moved) == ["admmctl", "train", str(moved / "config.yaml"), *rest]
    assert json.loads((moved / "summary.json").read_text())["rerun"] == line, "the record stays as it is"
    (copy / "config.yaml").unlink()
    assert shown(copy)[2] == str(old / "config.yaml"), "there is nothing better"
    Path("other").mkdir()
    monkeypatch.chdir("other")
    assert shown(".." / moved) == ["admmctl", "train", str(".." / moved / "config.yaml"), *rest]


@pytest.mark.parametrize("line", ["", "make it 'so", "admmctl", "admmctl train mine.yaml", "a b \0/config.yaml"])
def test_a_rerun_line_that_is_none_of_ours_is_shown_as_it_is(tmp_path: Path, line: str) -> None:
    summary = replace(ENDED, rerun=line)
    RunFolder.create_at(tmp_path / "run", "name: exp\n").write_summary(summary)
    assert Recorded(tmp_path / "run").summary == summary


def test_the_rerun_line_survives_strange_folder_names() -> None:
    line = rerun_line(Path("a b/it's; $HOME/ü"), 3, 2, ["--cluster", "a b.yaml"])
    options = ["--cores", "3", "--threads", "2", "--cluster", "a b.yaml"]
    assert shlex.split(line) == ["admmctl", "train", "a b/it's; $HOME/ü/config.yaml", *options]


def test_a_second_run_of_the_same_experiment_stands_beside_the_first(results: Path) -> None:
    first, second = (Path(admmctl.train(EXPERIMENT)[0]["folder"]) for _ in range(2))
    assert second.name == f"{first.name}-2"
    curves = [[row["train_loss"] for row in Recorded(folder).curve] for folder in (first, second)]
    assert curves[0] == curves[1]


def test_a_reached_target_is_recorded_with_the_evaluation_before_it(results: Path) -> None:
    stop = {"metric": "train_loss", "target": 1.0, "iterations": 30}
    (summary,) = admmctl.train({**EXPERIMENT, "methods": {"admm": {"penalties": "fixed"}}, "stop": stop})
    curve = Recorded(Path(summary["folder"])).curve
    assert summary["status"] == "reached"
    assert curve[-1]["train_loss"] <= 1.0 < curve[-2]["train_loss"]
    assert summary["time_to_target_s"] == pytest.approx(curve[-1]["train_s"], rel=1e-6)
    assert summary["previous_evaluation_s"] == pytest.approx(curve[-2]["train_s"], rel=1e-6)


# --- runs that die


def broken(monkeypatch: pytest.MonkeyPatch, problem: BaseException, row: int) -> None:
    """Make a run die while it records evaluation ``row``."""
    append = RunFolder.append

    def failing(self: RunFolder, evaluation: Evaluation) -> None:
        if evaluation.iteration == row:
            raise problem
        append(self, evaluation)

    monkeypatch.setattr(RunFolder, "append", failing)


def test_a_run_that_dies_leaves_its_curve_and_a_summary(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, OSError(28, "No space left on device"), row=2)
    with pytest.raises(RunFailed) as caught:
        admmctl.train(EXPERIMENT)
    (folder,) = (run.folder for run in find())
    assert str(folder) in str(caught.value)
    assert caught.value.exit_code == 1
    run = Recorded(folder)
    assert list(run.row) == ["folder", *SUMMARY_FIELDS.split()]
    assert (run.summary.status, run.summary.iterations) == ("failed", 1)
    assert "No space left on device" in run.summary.reason
    assert [row["iteration"] for row in run.curve] == [0, 1]
    assert [name for name in entries(folder) if name.endswith(".part")] == []
    assert caught.value.runs == [run.row]


def test_a_run_whose_folder_vanishes_is_told_and_not_brought_back(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunFolder.log

    def vanish(self: RunFolder, line: str) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)
        log(self, line)

    monkeypatch.setattr(RunFolder, "log", vanish)
    with pytest.raises(RunFailed, match="No such file or directory"):
        admmctl.train(EXPERIMENT)
    assert find() == []


def test_a_failing_method_does_not_stop_the_others(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, OSError(28, "No space left on device"), row=2)
    both = {**EXPERIMENT, "methods": {"admm": {}, "short": {"kind": "admm", "stop": {"iterations": 1}}}}
    with pytest.raises(RunFailed) as caught:
        admmctl.train(both, method="all")
    assert [run["status"] for run in caught.value.runs] == ["failed", "exhausted"]
    assert [run["method"] for run in caught.value.runs] == ["admm", "short"]


# --- admmctl.train checks what the command checks


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"repeat": 0}, "repeat 0"),
        ({"method": "amdm"}, "did you mean 'admm'"),
        ({"cores": 0}, "cores 0"),
        ({"cores": -1}, "cores -1"),
        ({"launcher": "nonsense"}, "nonsense"),
        ({"threads": 0}, "threads 0"),
        ({"cores": 2, "launcher": "inline"}, "inline"),
        ({"cores": 91, "oversubscribe": True}, "91 ranks for 90 training rows"),
        ({"overrides": ["seed"]}, "key=value"),
    ],
)
def test_train_in_python_refuses_what_the_command_refuses(
    results: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        admmctl.train(EXPERIMENT, **options)
    assert not results.exists()


def test_every_repeat_has_a_seed_and_a_folder_of_its_own(results: Path) -> None:
    runs = admmctl.train({**EXPERIMENT, "seed": 5, "stop": {"iterations": 1}}, repeat=3)
    assert [run["seed"] for run in runs] == [5, 6, 7]
    assert len({run["folder"] for run in runs}) == 3
