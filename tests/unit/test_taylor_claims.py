"""Verdicts on the claims of Taylor and Burmeister, of made-up runs: what is read from curves and from studies."""

from pathlib import Path

import pytest
from support.studies import Study, write_curve, write_run

from admmctl.experiment.config import load
from admmctl.methods.taylor.algorithm import Admm
from admmctl.papers import taylor_claims, trident_claims
from admmctl.papers.catalogue import CLAIMS
from admmctl.papers.claims import Evidence, Rule, Told, Verdict, Work, tell
from admmctl.papers.rules import FINAL, always, at_most, greater, near, opposite
from admmctl.papers.scaling_rules import efficient, more_efficient
from admmctl.papers.several_rules import alike
from admmctl.papers.taylor_claims import DROP, LOST, PEAK
from admmctl.papers.trident_claims import STILL, falls, woodbury
from admmctl.runs.recorded import Recorded
from admmctl.studies.points import summarise

HOLDS, IN_PART, FAILS, UNTOLD = Verdict.HOLDS, Verdict.IN_PART, Verdict.FAILS, Verdict.UNTOLD
WORK = Work("swissroll", ("admm",))


def evidence(path: Path, work: Work = WORK, losses: list[float] | None = None, **finals: list[float]) -> Evidence:
    """Runs by method with these final accuracies; all with a curve of these losses."""
    runs: dict[str, list[Recorded]] = {}
    for method, values in finals.items():
        for seed, value in enumerate(values):
            place = path / f"{method}-p1-s{seed}"
            numbers = {"method": method, "final_test_accuracy": value, "best_test_accuracy": 0.98}
            write_run(place, cores=1, seed=seed, time=1.0, **numbers)
            if losses is not None:
                write_curve(place, losses)
            runs.setdefault(method, []).append(Recorded(place))
    return Evidence(work, runs)


def six(value: float) -> list[float]:
    return [value + 0.001 * step for step in range(-3, 3)]


# -- rules


@pytest.mark.parametrize(
    ("lacks", "expected"), [(0.0, HOLDS), (0.005, UNTOLD), (0.01, UNTOLD), (0.02, FAILS), (-0.1, HOLDS)]
)
def test_a_method_is_as_good_within_what_it_may_lack(tmp_path, lacks, expected):
    found = [evidence(tmp_path, admm=six(0.95 - lacks), sgd=six(0.95))]
    told = tell(near(FINAL, "admm", "sgd", 0.01), found)
    assert told.verdict == expected
    assert "1.00 % may lack" in told.evidence
    opposites = {HOLDS: FAILS, FAILS: HOLDS, UNTOLD: UNTOLD}
    assert tell(opposite(near(FINAL, "admm", "sgd", 0.01)), found).verdict == opposites[expected]


def test_a_method_beside_itself_in_another_work_has_another_name(tmp_path):
    works = [evidence(tmp_path / str(number), admm=six(value)) for number, value in enumerate((0.9, 0.95))]
    told = tell(near(FINAL, "admm", "admm", 0.01, 0, 1, ("plain", "tuned")), works)
    assert told.verdict == FAILS
    assert "plain 89.95 %" in told.evidence
    assert "tuned 94.95 %" in told.evidence


@pytest.mark.parametrize(
    ("finals", "expected"),
    [
        ((0.95, 0.953, 0.955), HOLDS),
        ((0.95, 0.955, 0.968), UNTOLD),  # the medians are near enough, the intervals not
        ((0.95, 0.955, 0.99), FAILS),
        ((0.5, 0.95, 0.95), FAILS),
    ],
)
def test_several_methods_are_alike_where_the_furthest_two_are(tmp_path, finals, expected):
    names = ("a", "b", "c")
    found = evidence(tmp_path, **{name: six(value) for name, value in zip(names, finals, strict=True)})
    told = tell(alike(FINAL, names, 0.02), [found])
    assert told.verdict == expected
    assert "2.00 % apart at most asked for" in told.evidence
    assert bool(told.needs) == (expected is UNTOLD)
    lacking = evidence(tmp_path / "fewer", a=six(0.95), b=six(0.95))
    assert tell(alike(FINAL, names, 0.02), [lacking]).needs == "6 runs of c, 0 here"


def test_starts_differ_in_their_deviation_alone():
    runs = load(Path(__file__).parents[2] / "configs" / "starts.yaml").runs
    for prefix, ending in (("gaussian-", ""), ("", "-printed")):
        names = ("0.1", "0.3", "1", "3", "10")
        found = {name: runs[f"{prefix}{name}{ending}"].settings.model_dump() for name in names}
        assert all(settings.pop("init_deviation") == float(name) for name, settings in found.items())
        assert all(settings == found["1"] for settings in found.values())
        assert found["1"]["init"] == "gaussian"
    paper = Admm.presets["paper"]
    printed = runs["1-printed"].settings.model_dump()
    assert all(printed[key] == value for key, value in paper.items() if key != "network")
    assert not runs["1-printed"].network.bias


@pytest.mark.parametrize(("times", "expected"), [([1.0] * 6, HOLDS), ([None] * 6, FAILS), ([1.0, None], IN_PART)])
def test_always_is_in_every_run(tmp_path, times, expected):
    runs = [
        Recorded(write_run(tmp_path / f"cg-p1-s{seed}", cores=1, seed=seed, time=time, method="cg"))
        for seed, time in enumerate(times * (6 // len(times)))
    ]
    assert tell(always("cg"), [Evidence(WORK, {"cg": runs})]).verdict == expected


# -- what is read from curves: losses of every iteration; test accuracies are 0.95 less the loss


def told(rule: Rule, tmp_path: Path, losses: list[float], final: float = 0.98) -> Told:
    return tell(rule, [evidence(tmp_path, losses=losses, admm=[final] * 6)])


def test_a_fall_counts_where_it_is_late_and_at_one_iteration(tmp_path):
    smooth = [0.5, 0.4, 0.2, 0.1, 0.09, 0.095, 0.099, 0.1]
    assert told(at_most(DROP, "admm", 0.01), tmp_path / "a", smooth).verdict == HOLDS
    early = [0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert told(at_most(DROP, "admm", 0.01), tmp_path / "b", early).verdict == HOLDS
    late = [0.5, 0.4, 0.2, 0.1, 0.1, 0.1, 0.3, 0.1]
    found = told(at_most(DROP, "admm", 0.01), tmp_path / "c", late)
    assert found.verdict == FAILS
    assert "20.00 points" in found.evidence


@pytest.mark.parametrize(("final", "expected"), [(0.98, HOLDS), (0.971, HOLDS), (0.93, FAILS)])
def test_what_is_lost_is_from_the_highest_accuracy_to_the_last(tmp_path, final, expected):
    assert told(at_most(LOST, "admm", 0.01), tmp_path, [0.1] * 4, final).verdict == expected


def test_the_peak_of_the_loss_is_of_the_last_half(tmp_path):
    calm, wild = [9e3, 0.1, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 130.0, 0.1]
    one = evidence(tmp_path / "calm", losses=calm, printed=[0.9] * 6)
    other = evidence(tmp_path / "wild", losses=wild, every=[0.9] * 6)
    both = [Evidence(WORK, {**one.runs, **other.runs})]
    found = tell(greater(PEAK, "every", "printed"), both)
    assert found.verdict == HOLDS
    assert "every 130 " in found.evidence
    assert "printed 0.1 " in found.evidence


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([0.9, 0.5, 0.2, 0.2, 0.2, 0.199], HOLDS), ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], FAILS), ([0.5] * 3, HOLDS)],
)
def test_a_loss_is_still_where_its_last_half_is_flat(tmp_path, losses, expected):
    assert told(at_most(STILL, "admm", 0.01), tmp_path, losses).verdict == expected


@pytest.mark.parametrize(("losses", "expected"), [([0.4, 0.3, 0.3, 0.2], HOLDS), ([0.4, 0.3, 0.31, 0.2], FAILS)])
def test_one_iteration_that_raises_the_loss_is_one_too_many(tmp_path, losses, expected):
    found = told(falls("admm"), tmp_path, losses)
    assert found.verdict == expected
    assert ("33.3 %" in found.evidence) == (expected is FAILS)


# -- what is read from scaling studies


def studies(path: Path, repeats: int = 6, **times: dict[int, list[float | None]]) -> list[Evidence]:
    """Studies on 1 and 2 cores by method, of seconds to the target."""
    work = Work("swissroll", tuple(times), repeats, cores=(1, 2), source="scaling")
    found = {
        method: summarise(Study(path / method, method=method).runs(seconds).path)
        for method, seconds in times.items()
    }
    return [Evidence(work, studies=found)]


def around(time: float) -> list[float | None]:
    return [time * (1 + 0.01 * step) for step in range(-3, 3)]


@pytest.mark.parametrize(("on_two", "expected"), [(5.1, HOLDS), (5.55, UNTOLD), (7.0, FAILS)])
def test_seconds_fall_linearly_where_the_efficiency_is_high_for_sure(tmp_path, on_two, expected):
    found = tell(efficient("admm", 0.9), studies(tmp_path, admm={1: around(10.0), 2: around(on_two)}))
    assert found.verdict == expected
    assert "efficiency on 2 cores: admm" in found.evidence
    assert "n=6" in found.evidence


def test_a_method_scales_better_where_the_intervals_do_not_overlap(tmp_path):
    both = studies(tmp_path, admm={1: around(10), 2: around(5)}, sgd={1: around(10), 2: around(8)})
    assert tell(more_efficient("admm", "sgd"), both).verdict == HOLDS
    assert tell(more_efficient("sgd", "admm"), both).verdict == FAILS
    assert tell(more_efficient("admm", "admm"), both).verdict == UNTOLD


def test_of_a_study_too_few_disturbed_or_missing_runs_say_nothing(tmp_path):
    few = studies(tmp_path / "few", admm={1: around(10), 2: around(5)[:5]})
    assert tell(efficient("admm", 0.9), few).needs == "6 undisturbed runs of admm on 2 cores of their own, 5 here"
    none = tell(efficient("sgd", 0.9), few)
    assert (none.verdict, none.needs) == (UNTOLD, "6 undisturbed runs of sgd on 1 core of their own, 0 here")
    study = Study(tmp_path / "disturbed").runs({1: around(10)}).runs({2: around(5)}, disturbed=True)
    disturbed = [Evidence(few[0].work, studies={"admm": summarise(study.path)})]
    assert tell(efficient("admm", 0.9), disturbed).verdict == UNTOLD
    missed = tell(efficient("admm", 0.9), studies(tmp_path / "missed", admm={1: [None] * 6, 2: [None] * 6}))
    assert (missed.verdict, missed.needs) == (UNTOLD, "runs of admm that meet the target")


# -- the claims


def test_the_equality_of_algorithm_2_is_none():
    found = woodbury([])
    assert found.verdict == FAILS
    assert "off by" in found.evidence


def test_a_verdict_on_higgs_says_on_how_many_rows():
    claim = CLAIMS["taylor-sgd-never"]
    assert tell(claim.rule, [Evidence(claim.work[0])]).needs == "6 runs of sgd, 0 here"


def test_a_verdict_on_higgs_has_the_rows_in_its_evidence(tmp_path):
    claim = CLAIMS["taylor-lbfgs-superior"]
    finals = {"lbfgs": 0.75, "admm-printed": 0.64, "cg": 0.7, "sgd": 0.6}
    found = evidence(tmp_path, claim.work[0], **{method: 2 * six(value) for method, value in finals.items()})
    told = tell(claim.rule, [found])
    assert told.verdict == HOLDS
    assert told.evidence.endswith("; 3,000 training rows, the paper has 10,500,000")
    few = tell(claim.rule, [evidence(tmp_path / "few", claim.work[0], lbfgs=six(0.75))])
    assert few.evidence == "3,000 training rows, the paper has 10,500,000"


def test_penalties_are_compared_within_every_problem(tmp_path):
    claim = CLAIMS["taylor-penalties"]
    assert len(claim.work) == 6
    found = [
        evidence(tmp_path / str(number), work, **{work.methods[0]: 2 * six(0.95 - 0.05 * (number == 3))})
        for number, work in enumerate(claim.work)
    ]
    told = tell(claim.rule, found)
    assert told.verdict == IN_PART
    assert "mnist-stochastic with 10 and 1 89.95 %" in told.evidence


def test_every_claim_has_a_section_and_runs_or_says_what_it_would_take():
    claims = [*taylor_claims.CLAIMS, *trident_claims.CLAIMS]
    assert len(claims) >= 18
    for claim in claims:
        needs = tell(claim.rule, [Evidence(work) for work in claim.work]).needs
        assert claim.id.startswith(claim.paper.short.lower().replace("burmeister", "trident"))
        assert claim.where.startswith(("section", "abstract"))
        assert needs or claim.id == "trident-woodbury"
        assert all(work.repeats >= 6 for work in claim.work)


def test_on_two_cores_gradient_methods_may_scale_worse_but_not_be_cleared(tmp_path):
    claim = CLAIMS["trident-diminishing"]
    good, bad = {1: around(10), 2: around(5)}, {1: around(10), 2: around(9)}
    found = studies(tmp_path / "holds", admm=good, sgd=bad, lbfgs=bad)
    assert tell(claim.rule, found).verdict == HOLDS
    fails = tell(claim.rule, studies(tmp_path / "fails", admm=bad, sgd=good, lbfgs=good))
    assert (fails.verdict, fails.needs) == (UNTOLD, "more cores: the claim is about many")
    assert "sgd 100 %" in fails.evidence
