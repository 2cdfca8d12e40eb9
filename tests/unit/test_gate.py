"""``runs compare OLD NEW --fail-if-slower`` on made-up runs: when it fails, when it passes, what it refuses."""

import math
from pathlib import Path

import numpy as np
import pytest
from support.shell import on_80_columns
from support.sides import HERE, SIX, Sides

from admmctl.errors import UserError
from admmctl.report.gate import gate_rows, gate_table, outcome
from admmctl.studies.gate import Answer, margin_of, ratio


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


def refusal(sides: Sides) -> str:
    with pytest.raises(UserError) as refused:
        sides.gate()
    assert refused.value.exit_code == 2
    return str(refused.value)


# --- what fails, and what does not


def test_seeds_that_are_all_slower_fail_where_the_medians_alone_would_not(sides):
    sides.put("old", SIX)
    sides.put("new", [1.2 * time for time in SIX])
    result = sides.gate()
    row = result.methods[0]
    assert result.failed
    assert (row.verdict, row.pairs) == (Answer.SLOWER, 6)
    assert row.ratio_low == pytest.approx(1.2)
    assert max(SIX) > 1.2 * min(SIX)  # the intervals overlap by far
    assert outcome(result) == "Slower by more than 5 %: admm."


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "not slower"), (0.5, "not slower"), (1.04, "not slower"), (1.06, "slower")]
)
def test_the_margin_is_where_it_fails(sides, factor, verdict):
    sides.put("old", SIX)
    sides.put("new", [factor * time for time in SIX])
    assert sides.row().verdict == verdict
    assert sides.gate().failed == (verdict == "slower")


def test_one_seed_that_is_no_slower_is_enough_to_pass(sides):
    sides.put("old", SIX)
    sides.put("new", [*(3 * time for time in SIX[:5]), SIX[5]])
    row = sides.row()
    assert row.verdict is Answer.UNTOLD
    assert row.note == "the interval holds 1.05: more seeds make it narrower"
    assert outcome(sides.gate()).startswith("Passed, though it cannot be told")


def test_other_seeds_are_held_against_each_other_by_the_intervals_of_their_medians(sides):
    sides.put("old", [1.0, 1.1, 1.2, 1.0, 1.1, 1.2])
    sides.put("new", [2.0, 2.2, 2.4, 2.0, 2.2, 2.4], seeds=range(10, 16))
    row = sides.row()
    assert (row.pairs, row.verdict) == (None, Answer.SLOWER)
    assert (row.ratio_low, row.ratio_high) == (pytest.approx(2.0 / 1.2), pytest.approx(2.4 / 1.0))


@pytest.mark.parametrize("many", [1, 5])
def test_too_few_runs_pass_and_it_says_how_many_are_needed(sides, many):
    sides.put("old", SIX)
    sides.put("new", [9.0] * many)
    row = sides.row()
    assert not sides.gate().failed
    assert row.note == f"it takes 6 seeds on each side: OLD has 6, NEW has {many}; make them with --repeat 6"


def test_runs_that_miss_the_target_are_infinitely_slow(sides):
    sides.put("old", SIX)
    sides.put("new", [None] * 6)
    row = sides.row()
    assert (row.verdict, row.ratio) == (Answer.SLOWER, math.inf)
    assert "never" in on_80_columns(gate_table(sides.gate()))


def test_where_nobody_met_the_target_nothing_can_be_told(sides):
    sides.put("old", [None] * 6)
    sides.put("new", [None] * 6)
    assert (sides.row().verdict, sides.row().note) == (Answer.UNTOLD, "no run met the target")


def test_runs_that_came_to_meet_it_are_faster(sides):
    sides.put("old", [None] * 6)
    sides.put("new", SIX)
    assert (sides.row().verdict, sides.row().ratio) == (Answer.NOT_SLOWER, 0.0)


def test_disturbed_runs_are_left_out(sides):
    sides.put("old", SIX)
    sides.put("new", [5 * time for time in SIX], disturbed=True)
    row = sides.row()
    assert (row.verdict, row.left_out, row.new_runs) == (Answer.UNTOLD, 6, 0)
    assert "OLD has 6, NEW has 0; make them again when nothing else runs" in row.note
    sides.put("new", SIX, seeds=range(10, 16))
    sides.put("old", SIX, seeds=range(10, 16))
    assert sides.row().verdict is Answer.NOT_SLOWER
    assert sides.row().note == "6 runs left out: other work took their cores"


def test_without_a_target_it_is_seconds_of_an_iteration(sides):
    # Twice the iterations in twice the time are no slower.
    sides.put("old", SIX, target=None, stop={"target": None}, train_s=2.0, iterations=10)
    sides.put("new", SIX, target=None, stop={"target": None}, train_s=4.0, iterations=20)
    assert (sides.row().verdict, sides.row().old_s) == (Answer.NOT_SLOWER, 0.2)
    assert "Medians of seconds an iteration" in on_80_columns(gate_table(sides.gate()))


def test_every_method_of_both_sides_has_a_row_and_others_are_named(sides):
    for method in ("admm", "sgd", "gone"):
        sides.put("old", SIX, method=method)
    for method, factor in {"admm": 1.0, "sgd": 1.5, "come": 1.0}.items():
        sides.put("new", [factor * time for time in SIX], method=method)
    result = sides.gate()
    assert {row.method: row.verdict for row in result.methods} == {"admm": "not slower", "sgd": "slower"}
    assert (result.only_old, result.only_new) == (["gone on 1 rank"], ["come on 1 rank"])
    text = on_80_columns(gate_table(result))
    for words in ("only in OLD: gone on 1 rank", "only in NEW: come on 1 rank", "Slower by more than 5 %: sgd."):
        assert words in text
    assert [row["method"] for row in gate_rows(result)] == ["admm", "sgd"]


def test_settings_that_differ_are_named_and_compared(sides):
    sides.put("old", SIX, block={"kind": "admm", "ridge": 0.1})
    sides.put("new", SIX, block={"kind": "admm", "ridge": 0.2})
    assert sides.row().verdict is Answer.NOT_SLOWER
    assert sides.row().note == "settings differ: methods.admm.ridge"


def test_made_up_data_have_no_verdict(sides):
    sides.put("old", SIX, data_made_up=True)
    sides.put("new", [9 * time for time in SIX], data_made_up=True)
    assert sides.row().verdict is Answer.UNTOLD
    assert "made-up data" in sides.row().note


def test_noise_alone_seldom_fails_it():
    generator = np.random.default_rng(0)
    failed = 0
    for _ in range(1000):
        old, new = (dict(enumerate(generator.lognormal(0, 0.3, 6))) for _ in range(2))
        failed += ratio(old, new).answer(0.0) is Answer.SLOWER
    assert failed < 40  # 1 of 64 is what six pairs give, even with a margin of nothing


# --- what is refused


def test_another_machine_is_refused_unless_it_is_allowed(sides):
    sides.put("old", SIX)
    sides.put("new", SIX, environment={**HERE, "cpu": ["Another CPU"]})
    message = refusal(sides)
    for word in ("different machines", "Some CPU (2 cores)", "Another CPU (2 cores)", "--other-machine"):
        assert word in message
    assert not sides.gate(other_machine=True).failed


def test_several_settings_of_one_method_on_a_side_are_refused(sides):
    sides.put("old", SIX)
    sides.put("old", SIX, block={"kind": "admm", "ridge": 0.2})
    sides.put("new", SIX)
    assert "admm on 1 rank has several settings" in refusal(sides)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"target": 0.8}, "the target differs"),
        ({"data": {"name": "swissroll", "rows": 500}}, "data differs"),
        ({"method": "sgd"}, "no method in common"),
        ({"ranks": 2}, "no method in common"),
    ],
)
def test_runs_of_different_questions_are_refused(sides, changes, word):
    sides.put("old", SIX)
    sides.put("new", SIX, **changes)
    assert word in refusal(sides)


def test_a_side_without_a_finished_run_is_refused(sides):
    sides.put("old", SIX)
    sides.put("new", SIX[:1])
    for summary in (sides.path / "new").glob("*/summary.json"):
        summary.unlink()
    assert "NEW: none of its runs has finished" in refusal(sides)


@pytest.mark.parametrize(("text", "part"), [("5%", 0.05), (" 2.5 % ", 0.025), ("0%", 0.0), (".5%", 0.005)])
def test_margins_are_percentages(text, part):
    assert margin_of(text, "--fail-if-slower") == pytest.approx(part)


@pytest.mark.parametrize("text", ["5", "0.05", "-5%", "five", "", "%", "2000%", "1e3%", "nan%"])
def test_other_margins_are_refused(text):
    with pytest.raises(UserError, match="for instance 5%"):
        margin_of(text, "--fail-if-slower")
