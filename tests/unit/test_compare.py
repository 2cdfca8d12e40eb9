"""``runs compare`` on made-up runs: what it counts, what it refuses, what it does not claim."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from admmctl.errors import UserError
from admmctl.report.compare import compare, compare_table, write_csv
from admmctl.runs.summary import Summary

SIX = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)


class Folder:
    """An experiment's folder, in which a test makes up runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seeds: dict[str, int] = {}

    def run(self, method: str, time: float | None = None, **changes: Any) -> Path:
        """A run that reached its target after ``time`` seconds, or never; each has a seed of its own."""
        seed = self._seeds[method] = self._seeds.get(method, -1) + 1
        data = changes.pop("data", {"name": "swissroll", "rows": 400})
        block = changes.pop("block", {"kind": "admm"})
        sha256 = changes.pop("data_sha256", "5eed")
        summary = {
            **dict.fromkeys(Summary.__dataclass_fields__),
            "experiment": self.path.name,
            "method": method,
            "seed": seed,
            "metric": "test_accuracy",
            "status": "exhausted" if time is None else "reached",
            "reason": "",
            "target": 0.9,
            "time_to_target_s": time,
            "iterations": 10,
            "best_test_accuracy": 0.95,
            "final_test_accuracy": 0.93,
            "train_s": 2.0,
            "ranks": 1,
            **changes,
        }
        number = len(list(self.path.glob("*"))) if self.path.is_dir() else 0
        folder = self.path / f"{method}-p{summary['ranks']}-s{summary['seed']}-{number:08x}"
        folder.mkdir(parents=True)
        config = {
            "name": self.path.name,
            "data": data,
            "network": {"layers": [4], "activation": "relu", "bias": True},
            "loss": "squared",
            "methods": {method: block},
            "stop": {"metric": summary["metric"], "target": summary["target"], "iterations": 100},
            "evaluate": {"every": 1, "unit": "iteration"},
            "seed": summary["seed"],
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "summary.json").write_text(json.dumps(summary))
        if sha256 is not None:
            (folder / "environment.json").write_text(json.dumps({"data_sha256": sha256}))
        return folder

    def compared(self) -> dict[str, dict[str, Any]]:
        """The rows of the comparison, by method."""
        return {row["method"]: row for row in compare(self.all())["methods"]}

    def all(self) -> list[Path]:
        return sorted(self.path.iterdir())

    def refusal(self) -> str:
        with pytest.raises(UserError) as refused:
            compare(self.all())
        assert refused.value.exit_code == 2
        return str(refused.value)


@pytest.fixture
def made(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "made")


# -- what is counted


def test_methods_have_a_row_each_with_medians_and_how_many_reached(made):
    for time in (3.0, 1.0, 2.0):
        made.run("admm", time)
    for time in (5.0, None):
        made.run("sgd", time)
    rows = made.compared()
    assert list(rows) == ["admm", "sgd"]
    assert (rows["admm"]["time_to_target_s"], rows["admm"]["reached"], rows["admm"]["runs"]) == (2.0, 3, 3)
    assert (rows["sgd"]["time_to_target_s"], rows["sgd"]["reached"], rows["sgd"]["runs"]) == (math.inf, 1, 2)
    assert rows["admm"]["seeds"] == [0, 1, 2]


def test_it_says_what_was_compared(made):
    made.run("admm", 1.0)
    result = compare(made.all())
    assert (result["experiment"], result["metric"], result["target"]) == ("made", "test_accuracy", 0.9)


def test_different_numbers_of_ranks_are_rows_of_their_own(made):
    made.run("admm", 1.0, ranks=1)
    made.run("admm", 0.5, ranks=2)
    rows = compare(made.all())["methods"]
    assert [(row["ranks"], row["runs"], row["time_to_target_s"]) for row in rows] == [(1, 1, 1.0), (2, 1, 0.5)]


def test_a_median_is_no_best_of_n(made):
    for time in (0.001, 5.0, 5.1, 5.2, 5.3, 5.4, 5.5):
        made.run("lucky", time)
    for time in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6):
        made.run("steady", time)
    rows = made.compared()
    assert rows["lucky"]["time_to_target_s"] == 5.2
    assert rows["steady"]["verdict"] != rows["lucky"]["verdict"]
    assert rows["lucky"]["verdict"].startswith("not distinguishable")


def test_intervals_come_from_six_runs_on(made):
    for time in SIX:
        made.run("six", time)
    for time in SIX[:5]:
        made.run("five", time)
    rows = made.compared()
    assert (rows["six"]["time_to_target_low_s"], rows["six"]["time_to_target_high_s"]) == (1.0, 1.5)
    assert (rows["five"]["time_to_target_low_s"], rows["five"]["time_to_target_high_s"]) == (None, None)


@pytest.mark.parametrize("status", ["exhausted", "diverged", "failed", "interrupted"])
def test_a_run_that_did_not_get_there_is_a_miss_however_it_ended(made, status):
    made.run("admm", 1.0)
    made.run("admm", status=status)
    made.run("admm", status=status)
    row = made.compared()["admm"]
    assert (row["reached"], row["runs"], row["time_to_target_s"]) == (1, 3, math.inf)


def test_a_run_that_still_goes_on_is_left_out(made):
    made.run("admm", 1.0)
    unfinished = made.run("admm", 9.0)
    (unfinished / "summary.json").unlink()
    made.run("sgd", 2.0)
    (made.run("adam", 3.0) / "summary.json").unlink()
    rows = made.compared()
    assert list(rows) == ["admm", "sgd"]
    assert (rows["admm"]["runs"], rows["admm"]["time_to_target_s"]) == (1, 1.0)


def test_nothing_but_unfinished_runs_are_nothing_to_compare(made):
    (made.run("admm", 1.0) / "summary.json").unlink()
    assert "nothing to compare" in made.refusal()


def test_accuracies_are_medians_of_the_final_ones(made):
    for accuracy in (0.90, 0.94, 0.92):
        made.run("admm", 1.0, final_test_accuracy=accuracy, best_test_accuracy=0.99)
    assert made.compared()["admm"]["final_test_accuracy"] == 0.92


def test_a_run_without_an_accuracy_never_raises_the_median_accuracy(made):
    # A method that cannot even start has no accuracy at all: that is no better than the worst one.
    for accuracy in (0.90, 0.94):
        made.run("admm", 1.0, final_test_accuracy=accuracy)
    made.run("admm", status="diverged", final_test_accuracy=None)
    assert made.compared()["admm"]["final_test_accuracy"] <= 0.90


# -- what must not be mixed


def test_different_settings_of_one_method_are_not_pooled(made):
    # A tuned run and an untuned one are no repeats: they are told apart, or refused with what differs.
    for time in (1.0, 1.1):
        made.run("sgd", time, block={"kind": "sgd", "learning_rate": 0.1})
    for time in (9.0, 9.1):
        made.run("sgd", time, block={"kind": "sgd", "learning_rate": 0.001})
    try:
        rows = compare(made.all())["methods"]
    except UserError as refused:
        assert "sgd" in str(refused)  # noqa: PT017
        return
    assert sorted(row["time_to_target_s"] for row in rows) == [pytest.approx(1.05), pytest.approx(9.05)]


def test_different_budgets_of_one_method_are_not_pooled(made):
    # A quick trial of five iterations that got nowhere is no miss of the method that was given a thousand.
    made.run("sgd", 3.0)
    short = made.run("sgd")
    config = yaml.safe_load((short / "config.yaml").read_text())
    config["stop"]["iterations"] = 5
    (short / "config.yaml").write_text(yaml.safe_dump(config))
    try:
        rows = compare(made.all())["methods"]
    except UserError as refused:
        assert "stop" in str(refused) or "budget" in str(refused)  # noqa: PT017
        return
    assert sorted((row["reached"], row["runs"]) for row in rows) == [(0, 1), (1, 1)]


def test_different_numbers_of_threads_are_not_pooled(made):
    # Their times differ for a reason that no repeat has.
    made.run("admm", 4.0, threads_per_rank=1)
    made.run("admm", 1.0, threads_per_rank=8)
    try:
        rows = compare(made.all())["methods"]
    except UserError as refused:
        assert "threads" in str(refused)  # noqa: PT017
        return
    assert sorted(row["time_to_target_s"] for row in rows) == [1.0, 4.0]


def test_a_seed_that_ran_twice_is_not_two_repeats(made):
    # Order statistics are of independent runs. The same seed again differs by noise of the clock alone.
    for _ in range(6):
        made.run("admm", 1.0, seed=0)
    try:
        row = made.compared()["admm"]
    except UserError as refused:
        assert "seed" in str(refused)  # noqa: PT017
    else:
        assert row["time_to_target_low_s"] is None


# -- verdicts


def test_separate_intervals_are_faster_and_slower(made):
    for time in SIX:
        made.run("admm", time)
        made.run("sgd", 2 * time)
        made.run("adam", None)
    rows = made.compared()
    assert [rows[name]["verdict"] for name in ("admm", "sgd", "adam")] == ["fastest", "slower", "missed"]


def test_overlapping_intervals_are_not_distinguishable(made):
    for time in SIX:
        made.run("admm", time)
        made.run("sgd", time + 0.2)
    assert made.compared()["sgd"]["verdict"] == "not distinguishable (n=6)"


def test_nothing_is_called_fastest_that_cannot_be_told_from_the_next(made):
    # "Faster" only where intervals do not overlap: the smallest median alone is no claim.
    for time in SIX:
        made.run("admm", time)
        made.run("sgd", time + 0.2)
    assert "not distinguishable" in made.compared()["admm"]["verdict"]


def test_nothing_is_called_fastest_on_two_runs(made):
    for time in (1.0, 1.1):
        made.run("admm", time)
        made.run("sgd", 50 * time)
    rows = made.compared()
    assert all("not distinguishable" in row["verdict"] for row in rows.values())


def test_where_all_have_missed_none_is_the_fastest(made):
    for _ in range(6):
        made.run("admm")
        made.run("sgd")
    assert {row["verdict"] for row in made.compared().values()} == {"missed"}


def test_without_a_target_there_are_accuracies_and_no_verdict(made):
    for method in ("admm", "sgd"):
        made.run(method, target=None)
    for row in made.compared().values():
        assert row["verdict"] is None
        assert row["final_test_accuracy"] == 0.93
    assert compare(made.all())["target"] is None


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"name": "swissroll", "rows": 500}}, ["data differs", '"rows": 400', '"rows": 500']),
        ({"data": {"name": "swissroll", "rows": 400, "validation": 0.1}}, ["data differs", "validation"]),
        ({"data_sha256": "0ther"}, ["checksum", "5eed", "0ther"]),
        ({"metric": "train_loss"}, ["metric", "test_accuracy", "train_loss"]),
        ({"target": 0.8}, ["target", "0.9", "0.8"]),
        ({"target": None}, ["target", "0.9", "None"]),
    ],
)
def test_runs_of_different_questions_are_refused_saying_what_differs(made, changes, words):
    one, other = made.run("admm", 1.0), made.run("sgd", 2.0, **changes)
    message = made.refusal()
    for word in ["cannot be compared", str(one), str(other), *words]:
        assert word in message


def test_a_run_that_broke_before_it_knew_its_data_can_still_be_compared(made):
    made.run("admm", 1.0)
    made.run("sgd", status="failed", data_sha256=None)
    assert made.compared()["sgd"]["reached"] == 0


@pytest.mark.parametrize("damage", ["{", "- a list\n", "", "data: [1\n"])
def test_a_damaged_config_is_a_clear_error_or_left_out(made, damage):
    made.run("admm", 1.0)
    broken = made.run("sgd", 2.0)
    (broken / "config.yaml").write_text(damage)
    try:
        rows = made.compared()
    except UserError as refused:
        assert broken.name in str(refused)  # noqa: PT017
    else:
        assert list(rows) == ["admm"]


# -- how it is told


def text_of(result: dict[str, Any], width: int = 80) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        console.print(compare_table(result))
    return captured.get()


def test_the_table_fits_a_terminal_and_says_reached_k_of_n(made):
    for time in (*SIX[:4], None, None):
        made.run("admm", time)
    for time in SIX:
        made.run("sgd-momentum", 3 * time)
    text = text_of(compare(made.all()))
    assert max(map(len, text.splitlines())) <= 80
    assert "4/6" in text
    assert "6/6" in text
    assert "test_accuracy 0.9" in text
    assert "train_s" in text  # which clock
    assert "nan" not in text.lower()


def test_the_fastest_stands_first(made):
    made.run("slow", 9.0)
    made.run("never")
    made.run("quick", 1.0)
    text = text_of(compare(made.all()))
    assert text.index("quick") < text.index("slow") < text.index("never")


def test_csv_has_a_line_per_method_and_infinity_for_a_miss(made, tmp_path):
    for time in SIX:
        made.run("admm", time)
    made.run("sgd")
    write_csv(compare(made.all()), tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["admm", "sgd"]
    assert (rows["admm"]["reached"], rows["admm"]["runs"]) == ("6", "6")
    assert float(rows["admm"]["time_to_target_s"]) == 1.25
    assert math.isinf(float(rows["sgd"]["time_to_target_s"]))
    assert rows["admm"]["verdict"]


def test_csv_that_cannot_be_written_is_a_clear_error(made, tmp_path):
    made.run("admm", 1.0)
    with pytest.raises(UserError, match="--csv"):
        write_csv(compare(made.all()), tmp_path / "nowhere" / "table.csv")
