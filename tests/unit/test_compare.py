"""``runs compare`` on made-up runs: what it counts, what it refuses, what it does not claim."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from support.shell import on_80_columns
from support.studies import write_run

from admmctl.errors import UserError
from admmctl.report.compare import Compared, Comparison, compare, compare_rows, compare_table
from admmctl.report.output import put_csv
from admmctl.runs.recorded import Recorded

SIX = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)


class Folder:
    """An experiment's folder, in which a test makes up runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seeds: dict[str, int] = {}

    def run(self, method: str, time: float | None = None, **changes: Any) -> Path:
        """A run that reached its target after ``time`` seconds, or never; each has a seed of its own.

        ``data``, ``block`` and ``stop`` are blocks of its config; the rest is for ``write_run``.
        """
        seed = self._seeds[method] = self._seeds.get(method, -1) + 1
        config = {
            "name": self.path.name,
            "data": changes.pop("data", {"name": "swissroll", "rows": 400}),
            "network": {"layers": [4], "activation": "relu", "bias": True},
            "loss": "squared",
            "methods": {method: changes.pop("block", {"kind": "admm"})},
            "stop": {"metric": "test_accuracy", "target": 0.9, "iterations": 100, **changes.pop("stop", {})},
            "evaluate": {"every": 1, "unit": "iteration"},
            "seed": changes.setdefault("seed", seed),
        }
        changes = {"experiment": self.path.name, "final_test_accuracy": 0.93, **changes}
        place = self.path / f"{method}-{len(list(self.path.glob('*'))):08x}"
        return write_run(place, cores=changes.pop("ranks", 1), time=time, config=config, method=method, **changes)

    def runs(self, **times: Any) -> "Folder":
        """Runs by method and seconds to the target."""
        for method, seconds in times.items():
            for time in seconds:
                self.run(method, time)
        return self

    def compared(self) -> Comparison:
        return compare(map(Recorded, sorted(self.path.iterdir())))

    def rows(self) -> dict[str, Compared]:
        """The rows of the comparison, by method."""
        return {row.method: row for row in self.compared().methods}

    def refusal(self) -> str:
        with pytest.raises(UserError) as refused:
            self.compared()
        assert refused.value.exit_code == 2
        return str(refused.value)


@pytest.fixture
def made(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "made")


# -- what is counted


def test_methods_have_a_row_each_with_medians_and_how_many_reached(made):
    result = made.runs(admm=(3.0, 1.0, 2.0), sgd=(5.0, None)).compared()
    admm, sgd = result.methods
    assert (result.experiment, result.metric, result.target) == ("made", "test_accuracy", 0.9)
    assert (admm.method, admm.time_to_target_s, admm.reached, admm.runs) == ("admm", 2.0, 3, 3)
    assert (sgd.method, sgd.time_to_target_s, sgd.reached, sgd.runs) == ("sgd", math.inf, 1, 2)
    assert admm.seeds == [0, 1, 2]


def test_intervals_come_from_six_runs_on(made):
    rows = made.runs(six=SIX, five=SIX[:5]).rows()
    assert (rows["six"].time_to_target_low_s, rows["six"].time_to_target_high_s) == (1.0, 1.5)
    assert (rows["five"].time_to_target_low_s, rows["five"].time_to_target_high_s) == (None, None)


@pytest.mark.parametrize("status", ["exhausted", "diverged", "failed", "interrupted"])
def test_a_run_that_did_not_get_there_is_a_miss_however_it_ended(made, status):
    made.run("admm", 1.0)
    made.run("admm", status=status)
    made.run("admm", status=status)
    row = made.rows()["admm"]
    assert (row.reached, row.runs, row.time_to_target_s) == (1, 3, math.inf)


def test_a_run_that_still_goes_on_is_left_out(made):
    (made.run("admm", 9.0) / "summary.json").unlink()
    assert "nothing to compare" in made.refusal()
    (made.run("adam", 3.0) / "summary.json").unlink()
    rows = made.runs(admm=(1.0,), sgd=(2.0,)).rows()
    assert list(rows) == ["admm", "sgd"]
    assert (rows["admm"].runs, rows["admm"].time_to_target_s) == (1, 1.0)


def test_accuracies_are_medians_of_the_final_ones_and_none_counts_as_the_worst(made):
    for accuracy in (0.90, 0.94, 0.92):
        made.run("admm", 1.0, final_test_accuracy=accuracy, best_test_accuracy=0.99)
    assert made.rows()["admm"].final_test_accuracy == 0.92
    # A method that cannot even start has no accuracy at all.
    for accuracy in (0.90, 0.94):
        made.run("sgd", 1.0, final_test_accuracy=accuracy)
    made.run("sgd", status="diverged", final_test_accuracy=None)
    assert made.rows()["sgd"].final_test_accuracy == 0.90


# -- what must not be mixed


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ranks": 1}, {"ranks": 2}),
        # Their times differ for a reason that no repeat has.
        ({"threads_per_rank": 1}, {"threads_per_rank": 8}),
        # A tuned run and an untuned one are no repeats.
        ({"block": {"kind": "sgd", "learning_rate": 0.1}}, {"block": {"kind": "sgd", "learning_rate": 0.001}}),
        # A quick trial that got nowhere is no miss of the method that had more iterations.
        ({}, {"stop": {"iterations": 5}}),
    ],
    ids=["ranks", "threads", "settings", "budget"],
)
def test_runs_of_one_method_that_are_no_repeats_are_not_pooled(made, one, other):
    for time in (4.0, 4.2):
        made.run("sgd", time, **one)
    made.run("sgd", 1.0, **other)
    rows = made.compared().methods
    assert sorted((row.runs, row.time_to_target_s) for row in rows) == [(1, 1.0), (2, 4.1)]


def test_a_seed_that_ran_twice_is_not_two_repeats(made):
    # Order statistics are of independent runs. The same seed once more differs by noise of the clock only.
    for _ in range(6):
        made.run("admm", 1.0, seed=0)
    assert made.rows()["admm"].time_to_target_low_s is None


# -- verdicts


def test_verdicts(made):
    """``test_statistics.py`` has their rules."""
    rows = made.runs(admm=SIX, sgd=[2 * time for time in SIX], adam=[None] * 6).rows()
    assert {method: row.verdict for method, row in rows.items()} == {
        "admm": "fastest",
        "sgd": "slower",
        "adam": "missed",
    }


def test_of_disturbed_runs_no_verdict_is_made(made):
    made.runs(sgd=[2 * time for time in SIX], adam=[4 * time for time in SIX])
    for seed, time in enumerate(SIX):
        made.run("admm", time, disturbed=seed < 2)
    result = made.compared()
    verdicts = {row.method: row.verdict for row in result.methods}
    # admm has the smallest median, and could only be faster still: sgd is not the fastest of all.
    assert verdicts == {
        "admm": "disturbed, 2 of its runs",
        "sgd": "fastest of 2 not disturbed",
        "adam": "slower",
    }
    assert {row.method: row.disturbed for row in result.methods} == {"admm": 2, "sgd": 0, "adam": 0}
    text = on_80_columns(compare_table(result))
    assert "disturbed: other work took the cores of a run; no verdict is made of it." in text


def test_beside_disturbed_runs_alone_nothing_can_be_told(made):
    made.runs(sgd=SIX)
    for time in SIX:
        made.run("admm", 2 * time, disturbed=True)
    rows = made.rows()
    assert (rows["admm"].verdict, rows["sgd"].verdict) == ("disturbed, 6 of its runs", "cannot be told")
    assert "disturbed:" in on_80_columns(compare_table(made.compared()))


def test_runs_of_which_it_cannot_be_told_count(made):
    made.runs(sgd=[2 * time for time in SIX])
    for time in SIX:
        made.run("admm", time, disturbed=None)
    assert made.rows()["admm"].verdict == "fastest"
    assert "disturbed" not in on_80_columns(compare_table(made.compared()))


def test_without_a_target_there_are_accuracies_and_no_verdict(made):
    for method in ("admm", "sgd"):
        made.run(method, target=None)
    assert made.compared().target is None
    assert {(row.verdict, row.final_test_accuracy) for row in made.rows().values()} == {(None, 0.93)}
    text = on_80_columns(compare_table(made.compared()))
    assert "made: no target" in text
    assert "-/1" in text
    assert "never" not in text


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"data": {"name": "swissroll", "rows": 500}}, ["data differs", '"rows": 400', '"rows": 500']),
        ({"data": {"name": "swissroll", "rows": 400, "validation": 0.1}}, ["data differs", "validation"]),
        ({"sha256": "0ther"}, ["checksum", "5eed", "0ther"]),
        ({"metric": "train_loss"}, ["metric", "test_accuracy", "train_loss"]),
        ({"target": 0.8}, ["target", "0.9", "0.8"]),
        ({"target": None}, ["target", "0.9", "None"]),
    ],
)
def test_runs_of_different_questions_are_refused_saying_what_differs(made, changes, texts):
    one, other = made.run("admm", 1.0), made.run("sgd", 2.0, **changes)
    message = made.refusal()
    for word in ["cannot be compared", str(one), str(other), *texts]:
        assert word in message


def test_a_run_that_broke_before_it_knew_its_data_can_still_be_compared(made):
    made.run("admm", 1.0)
    made.run("sgd", status="failed", sha256=None)
    assert made.rows()["sgd"].reached == 0


@pytest.mark.parametrize("damage", ["{", "- a list\n", "", "data: [1\n"])
def test_a_damaged_config_is_a_clear_error(made, damage):
    made.run("admm", 1.0)
    broken = made.run("sgd", 2.0) / "config.yaml"
    broken.write_text(damage)
    assert str(broken) in made.refusal()


# -- how it is shown


def test_the_table_fits_a_terminal_with_the_fastest_first_and_reached_k_of_n(made):
    slow = [3 * time for time in SIX]
    result = made.runs(admm=(*SIX[:4], None, None), lost=[None] * 6, **{"sgd-momentum": slow}).compared()
    text = on_80_columns(compare_table(result))
    for word in ("4/6", "6/6", "0/6", "test_accuracy 0.9", "train_s"):
        assert word in text
    assert text.index("admm") < text.index("sgd-momentum") < text.index("lost")
    assert "nan" not in text.lower()


def test_csv_has_a_line_per_method_and_infinity_for_a_miss(made, tmp_path):
    result = made.runs(admm=SIX, sgd=(None,)).compared()
    put_csv(tmp_path / "table.csv", compare_rows(result))
    with (tmp_path / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["admm", "sgd"]
    assert (rows["admm"]["reached"], rows["admm"]["runs"]) == ("6", "6")
    assert float(rows["admm"]["time_to_target_s"]) == 1.25
    assert math.isinf(float(rows["sgd"]["time_to_target_s"]))
    assert rows["admm"]["verdict"]
    with pytest.raises(UserError, match="--csv"):
        put_csv(tmp_path / "nowhere" / "table.csv", compare_rows(result))
