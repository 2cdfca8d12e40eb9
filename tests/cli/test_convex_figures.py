"""The figures and the table of the convex paper from the command line, on a small Swiss roll."""

import csv
from pathlib import Path

import pytest
import yaml
from support.shell import Shell

EXPERIMENT = {
    "name": "rolled",
    "data": {"name": "swissroll", "rows": 160},
    "network": {"layers": [6], "bias": False},
    "loss": "signed-squared",
    "methods": {
        "exact": {"kind": "convex-admm", "patterns": 4, "solver": "exact"},
        "rbcd": {"kind": "convex-admm", "patterns": 4, "solver": "rbcd"},
        "mlp": {"kind": "adam", "batch": 60},
    },
    "stop": {"iterations": 4},
    "evaluate": {"every": 1, "unit": "iteration"},
}


@pytest.fixture
def experiment_files() -> dict[str, str]:
    gradient = {**EXPERIMENT, "methods": {"mlp": {"kind": "adam"}}}
    return {"rolled.yaml": yaml.safe_dump(EXPERIMENT), "gradient.yaml": yaml.safe_dump(gradient)}


def test_columns_against_time_and_phases_of_the_same_runs(shell: Shell, results: Path, tmp_path: Path):
    assert shell("train", "rolled.yaml", "--method", "all").code == 0
    for of, option, value in (("train_loss", "--against", "iterations"), ("objective", "--axis", "log")):
        answer = shell("accuracy-plot", "rolled", "--of", of, option, value)
        assert answer.code == 0, answer.err
        assert Path(answer.out.splitlines()[0]) == results / f"rolled/{of}.png"
        assert ("left out: " in answer.err) == (of == "objective")
    assert shell("accuracy-plot", "rolled", "--of", "test_loss").code == 0
    assert "--training" in shell.refusal("accuracy-plot", "rolled", "--of", "train_loss", "--training")

    answer = shell("runs", "phases", "rolled", "--csv", "phases.csv")
    assert answer.code == 0, answer.err
    assert "rolled: seconds of training" in answer.out
    assert "theirs" not in answer.out
    document = shell("runs", "phases", "rolled", "--json", "--paper").json()
    assert [row["method"] for row in document["methods"]] == ["exact", "mlp", "rbcd"]
    for row in document["methods"]:
        assert sum(row["phases"].values()) == pytest.approx(row["train_s"], rel=1e-6)
    assert document["paper"]["methods"][0]["total_s"] == 39.484
    with Path("phases.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["exact", "mlp", "rbcd"]
    assert "their numbers" in shell("runs", "phases", "rolled", "--paper").out
    assert shell("train", "rolled.yaml", "--method", "mlp", "--set", "name=cifar2-convex").code == 0
    assert "their numbers" in shell("runs", "phases", "cifar2-convex").out
    assert "name another place: --csv" in shell.refusal("runs", "phases", "rolled", "--csv", "nowhere/phases.csv")
    for folder in (results / "rolled").glob("*/phases.csv"):
        folder.unlink()
    assert "nothing to show" in shell.refusal("runs", "phases", "rolled")


def test_condition_draws_prints_and_writes(shell: Shell, results: Path):
    answer = shell("condition", "rolled.yaml", "--ranks", "2,8")
    assert answer.code == 0, answer.err
    assert "rolled, exact: A has a side of 24" in answer.out
    files = [results / f"rolled/condition.{suffix}" for suffix in ("png", "pdf", "csv")]
    assert answer.out.splitlines()[-3:] == [str(path) for path in files]
    assert all(path.stat().st_size > 100 for path in files)
    assert shell("runs", "list", "rolled.yaml").code == 2  # none of that is a run

    changed = shell("condition", "rolled.yaml", "--method", "rbcd", "--json", "--set", "methods.rbcd.patterns=2")
    document = changed.json()
    assert (document["method"], document["side"], len(document["points"])) == ("rbcd", 12, 4)
    assert document["figures"] == [str(path) for path in files]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("condition gradient.yaml", "has no method of kind convex-admm"),
        ("condition rolled.yaml --method mlp", "this one is of kind adam"),
        ("condition rolled.yaml --method nothing", "unknown method 'nothing'"),
        ("condition rolled.yaml --ranks none", "--ranks none"),
        ("condition rolled.yaml --ranks 25", "expected 24 at most"),
        ("condition rolled.yaml --output nowhere/figure", "there is no folder nowhere"),
        ("condition rolled.yaml --set methods.exact.patterns=2000", "2 d P = 12,000"),
        ("condition nowhere.yaml", "there is no such file"),
        ("condition", "Missing argument"),
    ],
)
def test_what_makes_no_sense_is_refused(shell: Shell, results: Path, line: str, message: str):
    assert message in shell.refusal(*line.split())
    assert not results.exists()
