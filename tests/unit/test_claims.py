"""Verdicts on claims, of made-up runs: what holds, what does not, and what cannot be told of so few."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.studies import write_run

from admmctl.errors import UserError
from admmctl.papers.catalogue import CATALOGUE, CLAIMS
from admmctl.papers.claims import Claim, Evidence, Judged, Rule, Verdict, Work, judge
from admmctl.papers.entry import Paper
from admmctl.papers.evidence import Missing, jobs_of, missing, needed, planned
from admmctl.papers.finished import finished
from admmctl.papers.rules import FINAL, STEPS, TIME, all_of, at_least, at_most, greater, less, never, unable
from admmctl.papers.told import chosen, summary
from admmctl.runs.recorded import Recorded

HOLDS, IN_PART, FAILS, UNTOLD = Verdict.HOLDS, Verdict.IN_PART, Verdict.FAILS, Verdict.UNTOLD
WORK = Work("swissroll", ("admm", "sgd"))
CLAIM = Claim("made", Paper("Made and Up", "Made"), "section 1", "It is so.", unable("nothing"), (WORK,))


@pytest.fixture
def told(tmp_path: Path):
    """The verdict of a rule on runs whose final accuracy, and seconds to the target, are given by method."""

    def verdict(rule: Rule, disturbed: tuple[str, ...] = (), times=None, **finals: list[float]) -> Judged:
        runs: dict[str, list[Recorded]] = {}
        for method, values in finals.items():
            for seed, value in enumerate(values):
                time = 1.0 if times is None else times[method][seed]
                place = tmp_path / f"{method}-p1-s{seed}"
                changes = {"method": method, "final_test_accuracy": value, "disturbed": method in disturbed}
                runs.setdefault(method, []).append(
                    Recorded(write_run(place, cores=1, seed=seed, time=time, **changes))
                )
        claim = Claim("made", CLAIM.paper, "section 1", "It is so.", rule, (WORK,))
        return judge(claim, [Evidence(WORK, runs)])

    return verdict


def around(value: float) -> list[float]:
    return [value + 0.001 * step for step in range(-3, 3)]


@pytest.mark.parametrize(
    ("admm", "sgd", "expected"),
    [(0.98, 0.95, HOLDS), (0.95, 0.98, FAILS), (0.98, 0.979, UNTOLD)],
)
def test_more_is_more_only_where_intervals_do_not_overlap(told, admm, sgd, expected):
    found = told(greater(FINAL, "admm", "sgd"), admm=around(admm), sgd=around(sgd))
    assert found.verdict == expected
    assert "n=6" in found.evidence
    assert bool(found.needs) == (expected is UNTOLD)
    assert told(less(FINAL, "sgd", "admm"), admm=around(admm), sgd=around(sgd)).verdict == expected


def test_five_repeats_say_nothing(told):
    found = told(greater(FINAL, "admm", "sgd"), admm=around(0.98)[:5], sgd=around(0.5))
    assert (found.verdict, found.needs) == (UNTOLD, "6 runs of admm, 5 here")


def test_of_seconds_disturbed_runs_do_not_count_and_of_accuracies_they_do(told):
    values = {"admm": around(0.98), "sgd": around(0.95)}
    assert told(greater(FINAL, "admm", "sgd"), disturbed=("sgd",), **values).verdict == HOLDS
    found = told(less(TIME, "admm", "sgd"), disturbed=("sgd",), **values)
    assert (found.verdict, found.needs) == (UNTOLD, "6 undisturbed runs of sgd, 0 here")


def test_a_run_without_a_number_is_the_worst(told):
    rule = at_least(FINAL, "admm", 0.95)
    assert told(rule, admm=around(0.98)).verdict == HOLDS
    assert told(rule, admm=around(0.9)).verdict == FAILS
    assert told(rule, admm=around(0.951)).verdict == UNTOLD
    assert told(rule, admm=[*around(0.98)[:5], None]).verdict == UNTOLD


def test_at_most_is_the_other_side_of_at_least(told):
    for level, expected in ((0.99, HOLDS), (0.9, FAILS), (0.98, UNTOLD)):
        found = told(at_most(FINAL, "admm", level), admm=around(0.98))
        assert found.verdict == expected
        assert "(97.70 % to 98.20 %, n=6)" in found.evidence


def test_a_miss_takes_for_ever(told):
    missed = {"admm": [1.0] * 6, "sgd": [None] * 6}
    values = {"admm": around(0.98), "sgd": around(0.98)}
    assert told(less(TIME, "admm", "sgd"), times=missed, **values).verdict == HOLDS
    assert told(less(TIME, "sgd", "admm"), times=missed, **values).verdict == FAILS
    assert told(at_most(STEPS, "admm", 10), times=missed, **values).verdict == HOLDS
    assert told(at_most(STEPS, "sgd", 10), times=missed, **values).verdict == FAILS


@pytest.mark.parametrize(
    ("times", "expected"), [([None] * 6, HOLDS), ([1.0] * 6, FAILS), ([1.0, *[None] * 5], IN_PART)]
)
def test_never_is_in_no_run(told, times, expected):
    found = told(never("sgd"), times={"sgd": times}, sgd=around(0.98))
    assert found.verdict == expected
    assert f"in {6 - times.count(None)} of 6 runs" in found.evidence


def test_of_several_rules_some_hold(told):
    def both(one: Verdict, other: Verdict) -> str:
        levels = {HOLDS: 0.9, FAILS: 0.99, UNTOLD: 0.981}
        return told(
            all_of(*(at_least(FINAL, "admm", levels[each]) for each in (one, other))), admm=around(0.98)
        ).verdict

    assert both(HOLDS, HOLDS) == HOLDS
    assert both(FAILS, FAILS) == FAILS
    assert both(HOLDS, FAILS) == IN_PART
    assert both(HOLDS, UNTOLD) == UNTOLD
    assert both(FAILS, UNTOLD) == UNTOLD


def test_a_part_without_runs_does_not_hide_the_others(told):
    found = told(all_of(at_least(FINAL, "admm", 0.9), never("sgd")), admm=around(0.98))
    assert (found.verdict, found.needs) == (UNTOLD, "6 runs of sgd, 0 here")
    assert "admm" in found.evidence


def test_a_claim_that_no_small_machine_tells_says_what_would(told):
    found = told(unable("7,200 cores"))
    assert (found.verdict, found.evidence, found.needs) == (UNTOLD, "", "7,200 cores")


def test_the_summary_counts_every_verdict(told):
    assert summary([told(unable("cores"))]) == (
        "1 claim: 0 hold, 0 hold in part, 0 do not hold, 1 cannot be told here"
    )


# -- the papers' claims


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.id)
def test_every_claim_has_runs_that_can_be_planned_and_a_figure_that_exists(claim):
    assert claim.figure is None or claim.figure in CATALOGUE
    for work in claim.work:
        assert work.source == "condition" or planned(work)
    assert claim.text.endswith(".")


def test_claims_are_chosen_by_paper_or_id():
    assert chosen([]) == list(CLAIMS.values())
    assert {claim.paper.short for claim in chosen(["Zhang"])} == {"Zhang"}
    assert [claim.id for claim in chosen(["zhang-accuracy"])] == ["zhang-accuracy"]
    with pytest.raises(UserError, match="unknown paper or claim 'zang'; did you mean 'zhang'"):
        chosen(["zang"])


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.id)
def test_a_claim_of_seconds_asks_for_undisturbed_runs_to_be_made(claim):
    nothing = judge(claim, [Evidence(work) for work in claim.work])
    timed = any(work.timed or work.source == "scaling" for work in claim.work)
    assert timed or "undisturbed" not in nothing.needs


# -- what is missing


def made(repeats: int = 2, **changes) -> Claim:
    work = Work("swissroll", ("admm",), repeats, ("data.rows=300", "network.layers=[5]", "stop.iterations=3"))
    return Claim("made", CLAIM.paper, "section 1", "It is so.", unable("nothing"), (replace(work, **changes),))


@pytest.mark.usefixtures("small_peaks")
def test_runs_that_are_missing_are_made_and_before_that_it_says_how_long_they_take(shell, monkeypatch):
    def run(repeats: int) -> str:
        monkeypatch.setattr("admmctl.papers.told.CLAIMS", {"made": made(repeats)})
        answer = shell("claims", "--run")
        assert answer.code == 0
        return answer.err.splitlines()[0]

    first = run(2)
    assert first.startswith("2 runs to make, about 1 s (2 by counted operations at 40 % of ")
    assert run(2) == "no run is missing"
    assert re.fullmatch(r"1 run to make, about 1 s \(1 as recorded runs of the same settings took\..*\)", run(3))
    monkeypatch.setattr("admmctl.papers.told.CLAIMS", {"made": made(9)})
    assert "to make" not in shell("claims").err


def test_a_disturbed_run_is_made_again_where_seconds_are_told_and_only_there(shell, results, monkeypatch):
    monkeypatch.setattr("admmctl.papers.told.CLAIMS", {"made": made(1)})
    assert shell("claims", "--run").code == 0
    (summary,) = results.glob("swissroll/*/summary.json")
    recorded = json.loads(summary.read_text())
    for disturbed in (False, True):
        summary.write_text(json.dumps({**recorded, "disturbed": disturbed}))
        assert missing([made(1)]) == []
        assert len(missing([made(1, timed=True)])) == disturbed


def test_a_run_of_several_claims_is_made_once(shell, results, monkeypatch):
    both = {str(repeats): made(repeats, timed=repeats == 2) for repeats in (1, 2)}
    assert [one.run.seed for one in missing(both.values())] == [0, 1]
    monkeypatch.setattr("admmctl.papers.told.CLAIMS", both)
    assert shell("claims", "--run").code == 0
    assert len(list(results.glob("swissroll/*/summary.json"))) == 2


def test_a_run_of_the_same_budget_comes_before_a_longer_one(shell, results, monkeypatch):
    changes = ("data.rows=300", "network.layers=[5]")
    for iterations in (3, 6):  # the longer one is the newer one
        claim = made(1, changes=(*changes, f"stop.iterations={iterations}"))
        monkeypatch.setattr("admmctl.papers.told.CLAIMS", {"made": claim})
        assert shell("claims", "--run").code == 0
        (run,) = planned(claim.work[0])
        found = finished(run, 1)
        assert found is not None
        assert Recorded(found).number("iterations") == iterations
    short = made(1, changes=(*changes, "stop.iterations=3"))
    assert Recorded(finished(*planned(short.work[0]), 1)).number("iterations") == 3
    between = made(1, changes=(*changes, "stop.iterations=4"))
    assert Recorded(finished(*planned(between.work[0]), 1)).number("iterations") == 6


def test_condition_numbers_that_are_missing_are_said():
    work = Work("cifar2-convex-small", ("exact",), source="condition")
    lacking = [Missing(work, "exact", None)] * 2
    assert needed(lacking) == "condition numbers of 2 matrices to compute, some seconds each"
    assert needed([]) == "no run is missing"


@pytest.mark.usefixtures("results")
def test_a_study_that_is_missing_comes_to_its_runs():
    changes = ("data.rows=300", "stop.target=0.9")
    lacking = missing([made(repeats=3, source="scaling", cores=(1, 2), changes=changes)])
    assert [one.run for one in lacking] == [None]
    jobs = jobs_of(lacking)
    assert [(job.ranks, job.run.seed) for job in jobs] == [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]
