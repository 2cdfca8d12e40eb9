"""Studies on the command line: all methods with repeats, sweeps, comparisons; and what each refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.shell import Shell

STUDY = """\
name: study
data: {name: swissroll, rows: 200}
network: {layers: [6]}
loss: squared
methods:
  gd: {learning_rate: 0.2}
  sgd: {learning_rate: 0.1, batch: 32}
  linear: {}
stop: {iterations: 40, metric: train_loss, target: 0.3}
sweep:
  search: grid
  trials: 2
  space:
    gd: {learning_rate: [0.01, 0.3]}
    sgd:
      batch: [16, 32]
"""


@pytest.fixture
def experiment_files() -> dict[str, str]:
    return {"study.yaml": STUDY}


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with six repeats of two methods."""
    import admmctl

    place = tmp_path_factory.mktemp("six")
    (place / "study.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(place / "results"))
        for method in ("gd", "linear"):
            admmctl.train(place / "study.yaml", method=method, repeat=6)
    return place / "results" / "study"


# --- train --method all --repeat R


def test_all_methods_are_repeated_in_turns(shell: Shell) -> None:
    answer = shell("train", "study.yaml", "--method", "all", "--repeat", 2, "--json")
    assert answer.code == 0
    runs = answer.json()["runs"]
    expected = [(method, seed) for seed in (0, 1) for method in ("gd", "sgd", "linear")]
    assert [(run["method"], run["seed"]) for run in runs] == expected
    for run in runs:
        assert yaml.safe_load((Path(run["folder"]) / "config.yaml").read_text())["seed"] == run["seed"]
        assert Path(run["folder"]).name in answer.err
    shown = shell("train", "study.yaml", "--method", "all", "--repeat", 2)
    assert shown.code == 0
    for run in runs:
        assert Path(run["folder"]).name in shown.out


def test_a_plan_of_all_methods_names_every_repeat(shell: Shell, results: Path) -> None:
    plans = shell("train", "study.yaml", "--method", "all", "--repeat", 2, "--dry-run", "--json").json()["runs"]
    assert [(next(iter(plan["config"]["methods"])), plan["config"]["seed"]) for plan in plans] == [
        (method, seed) for seed in (0, 1) for method in ("gd", "sgd", "linear")
    ]
    assert not results.exists()


# --- runs compare


def test_a_comparison_in_json_is_one_document(shell: Shell, six: Path) -> None:
    answer = shell("runs", "compare", six, "--json")
    assert (answer.code, answer.err) == (0, "")
    result = answer.json()
    assert (result["experiment"], result["metric"], result["target"]) == ("study", "train_loss", 0.3)
    rows = {row["method"]: row for row in result["methods"]}
    assert set(rows) == {"gd", "linear"}
    for method, row in rows.items():
        runs = [json.loads(path.read_text()) for path in six.glob(f"{method}-*/summary.json")]
        times = sorted(run["time_to_target_s"] for run in runs)
        assert times[0] > 0
        assert (row["runs"], row["reached"], row["seeds"]) == (6, 6, [0, 1, 2, 3, 4, 5])
        assert row["time_to_target_s"] == pytest.approx((times[2] + times[3]) / 2)
        assert (row["time_to_target_low_s"], row["time_to_target_high_s"]) == (times[0], times[5])
        finals = [run["final_test_accuracy"] for run in runs]
        assert row["final_test_accuracy"] == pytest.approx(float(np.median(finals)))


def test_a_miss_in_json_is_null_and_counted(shell: Shell) -> None:
    shell("train", "study.yaml", "--set", "stop.target=0.0")
    (row,) = shell("runs", "compare", "study", "--json").json()["methods"]
    assert (row["reached"], row["runs"], row["time_to_target_s"], row["verdict"]) == (0, 1, None, "missed")


# --- sweep: tests/unit/test_sweep.py has what comes of one


def test_trials_are_listed_and_shown_like_runs(shell: Shell) -> None:
    document = shell("sweep", "study.yaml", "--method", "gd", "--trials", 1, "--json").json()
    (trial,) = document["trials"]
    (listed,) = shell("runs", "list", document["folder"], "--json").json()["runs"]
    assert listed["folder"] == trial["folder"]
    assert shell("runs", "show", trial["folder"]).code == 0
    names = [run["folder"] for run in shell("runs", "list", "study", "--json").json()["runs"]]
    assert names == [document["run"]["folder"]]  # an experiment's runs are those that were timed


SWEEPS: list[tuple[list[str], list[str]]] = [
    (["--method", "linear"], ["no search space for method linear", "gd, sgd"]),
    (["--method", "all"], ["--method all", "name one"]),
    (["--method", "gdd"], ["--method", "unknown method 'gdd'", "did you mean 'gd'"]),
    (["--trials", "0"], ["--trials 0", "1 or more"]),
    (["--trials", "few"], ["--trials"]),
    (["--cores", "0"], ["--cores 0", "1 or more"]),
    (["--cores", "999"], ["--cores 999", "this machine has"]),
    (["--set", "sweep=null"], ["study.yaml has no sweep: block"]),
    (["--set", "sweep.space={}"], ["sweep.space", "at least 1"]),
    (["--set", "sweep.space.gd.learning_rate=[zero]"], ["learning_rate", "expected a number", "zero"]),
    (["--set", "sweep.space.gd.learning_rate={low: 1.0, high: 0.1}"], ["gd.learning_rate", "low below high"]),
    (["--set", "sweep.by=time", "--jobs", "2"], ["--jobs: trials side by side", "sweep.by: accuracy"]),
    (["--set", "sweep.space.gd={learning_rate: [-1.0]}"], ["learning_rate", "above 0"]),
    (["--set", "sweep.space.sgd={batch: [many]}", "--method", "sgd"], ["batch", "whole number", "many"]),
    (["--set", "sweep.space.gd={network.layrs: [[3]]}"], ["layrs", "did you mean 'layers'"]),
    (["--set", "data.train=200"], ["no rows are left to test on"]),
    (["--set", f"data={json.dumps({'name': 'mnist', 'classes': [0, 1]})}"], ["run: admmctl fetch mnist"]),
]


@pytest.mark.parametrize(("arguments", "texts"), SWEEPS, ids=[" ".join(arguments) for arguments, _ in SWEEPS])
def test_a_sweep_that_makes_no_sense_is_refused(
    shell: Shell, results: Path, arguments: list[str], texts: list[str]
) -> None:
    message = shell.refusal("sweep", "study.yaml", *arguments)
    for word in texts:
        assert word in message, message
    assert not results.exists()


def test_a_results_folder_that_cannot_be_written(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMMCTL_RESULTS", str(shell.folder / "study.yaml"))
    assert "cannot be written" in shell.refusal("sweep", "study.yaml", "--json")


# --- accuracy-plot over repeats


@pytest.mark.parametrize("axis", ["log", "linear"])
def test_repeats_are_drawn_on_either_axis(shell: Shell, six: Path, axis: str) -> None:
    answer = shell("accuracy-plot", six, "--output", "figure", "--axis", axis)
    assert answer.code == 0
    assert answer.out.split() == ["figure.png", "figure.pdf"]
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_copied_experiment_is_compared_like_the_first(shell: Shell, six: Path) -> None:
    shutil.copytree(six, shell.folder / "copied")
    one, other = (shell("runs", "compare", place, "--json").json()["methods"] for place in (six, "copied"))
    assert one == other
