"""Verdicts on the claims of the convex paper, of made-up runs: as the paper has them, and otherwise."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from admmctl.launch.options import Options
from admmctl.papers.claims import Claim, Evidence, Verdict, Work, judge
from admmctl.papers.convex_claims import CLAIMS, PAPER
from admmctl.papers.convex_rules import EACH, LOSS, PRECOMPUTED, SCATTER, TEST_LOSS, Of, below, best, timed, to_97
from admmctl.papers.evidence import make_missing, missing, recorded
from admmctl.papers.make import Making
from admmctl.papers.rules import FINAL, unable
from admmctl.runs import reading
from admmctl.runs.events import Watcher
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Status, Summary
from admmctl.studies.condition import Conditions, Preconditioned, keep, kept

HOLDS, IN_PART, FAILS, UNTOLD = Verdict.HOLDS, Verdict.IN_PART, Verdict.FAILS, Verdict.UNTOLD
BY_ID = {claim.id.removeprefix("convex-"): claim for claim in CLAIMS}
TIMES = (1.0, 2.0, 4.0, 6.0, 7.0, 8.0, 9.0, 10.0)  # seconds of evaluations, of a run of 10 s


def made(method: str, seed: int, rows: list[dict[str, float]], **changes: Any) -> Recorded:
    """A run with these rows of its curve. Nothing of it is on disk."""
    phases = {"precompute": {"max_s": changes.pop("precompute", 0.0)}}
    summary = Summary(
        **{
            "experiment": "made",
            "method": method,
            "seed": seed,
            "metric": "train_accuracy",
            "status": Status.EXHAUSTED,
            "reason": "",
            "target": None,
            "time_to_target_s": None,
            "iterations": int(rows[-1]["iteration"]),
            "final_test_accuracy": rows[-1]["test_accuracy"],
            "train_s": rows[-1]["train_s"],
            "ranks": 1,
            **changes,
        }
    )
    return Recorded(
        Path(f"{method}-p1-s{seed}"),
        {
            reading.SUMMARY_FILE: ((summary, asdict(summary)), ""),
            reading.CURVE: (rows, ""),
            reading.PHASES: (phases, ""),
        },
    )


def runs(
    method: str,
    *,
    loss: tuple[float, float] = (0.4, 0.2),
    accuracy: tuple[float, float] = (0.8, 0.9),
    test_loss: float = 0.3,
    test: float = 0.8,
    scatter: float = 0.0,
    known: int = 0,
    begins: float = 0.0,
    takes: float = 10.0,
    own: str = "primal",
    count: int = 6,
    row: dict[str, float] | None = None,
    **changes: Any,
) -> list[Recorded]:
    """Repeats that go from the first to the last training ``loss`` and ``accuracy``, in a straight line.

    Test rows are at ``test_loss`` and ``test`` from the iteration ``known`` on. They begin after ``begins``
    seconds and iterate for ``takes``; the training numbers are those of their ``own`` model.
    """
    found = []
    for seed in range(count):
        curve = []
        for number, time in enumerate(TIMES):
            part = (time - 1) / 9
            late = number >= known
            curve.append(
                {
                    "iteration": number + 1.0,
                    "train_s": begins + takes * time / 10,
                    "train_loss": 9.0,
                    "train_accuracy": 0.0,
                    f"{own}_loss": (loss[0] + part * (loss[1] - loss[0])) * (1 + 0.001 * seed),
                    f"{own}_accuracy": accuracy[0] + part * (accuracy[1] - accuracy[0]),
                    "test_loss": (test_loss if late else 1.0) + 1e-4 * seed,
                    "test_accuracy": (test if late else 0.5) + 1e-4 * seed + scatter * (-1) ** number,
                    "inner_residual": 1e-5,
                    **(row or {}),
                }
            )
        found.append(made(method, seed, curve, precompute=begins, **changes))
    return found


def conditions(**numbers: float) -> list[Conditions]:
    points = [
        Preconditioned(name, 100 if name == "nystrom" else None, number, number, 1.0)
        for name, number in numbers.items()
    ]
    return [Conditions("made", "exact", 9, 3, 2, 12, 1.0, seed, points) for seed in range(6)]


OPTIMAL = dict.fromkeys(("primal_v", "primal_s", "stationarity", "group", "complementarity"), 1e-4)


def as_claimed() -> dict[str, Any]:
    """What runs would look like if all that the paper says were so: options of ``runs`` by name."""
    return {
        "cg": {"loss": (0.11, 0.1), "accuracy": (0.97, 0.97), "test_loss": 0.7, "test": 0.75},
        "jacobi": {"loss": (0.11, 0.1), "accuracy": (0.97, 0.97), "test_loss": 0.7, "test": 0.75},
        "nystrom": {"loss": (0.01, 0.01), "accuracy": (1, 1), "test_loss": 0.6, "test": 0.81, "takes": 100.0},
        "rbcd": {"loss": (0.1, 0.02), "test_loss": 0.6, "test": 0.81, "known": 5, "takes": 10.0},
        "large_nystrom": {
            "loss": (0.0975, 0.0975), "accuracy": (0.975, 0.974), "test": 0.84, "begins": 30.0, "takes": 90.0
        },
        "large_rbcd": {"loss": (0.2, 0.03), "accuracy": (0.95, 0.999), "test": 0.875, "takes": 40.0},
        "large_adam": {
            "loss": (0.26, 0.038), "accuracy": (0.82, 0.997), "test": 0.895, "takes": 120.0, "own": "train",
            "scatter": 0.01,
        },
        "sketched": {"loss": (0.2, 0.03), "accuracy": (0.95, 0.999), "takes": 20.0},
        "exact": {"test": 0.84, "peak_rss_mb": 100 * 1024.0},
        "wider": {"test": 0.87},
        "longer": {"loss": (0.09, 0.05)},
        "optimum": {"row": OPTIMAL},
        "exact_settings": [0.75, 0.755, 0.75, 0.745, 0.75],
        "mlp_settings": [0.75, 0.7, 0.75, 0.6, 0.75],
        "conditions": {"none": 1e9, "jacobi": 1.5e9, "nystrom": 1e7},
    }  # fmt: skip


def evidence(claim: Claim, numbers: dict[str, Any]) -> list[Evidence]:
    """What is recorded of each work of a claim."""
    found = []
    for place, work in enumerate(claim.work):
        if work.source == "condition":
            found.append(Evidence(work, conditions=conditions(**numbers["conditions"])))
            continue
        of: dict[str, dict[str, Any]] = {}
        for method in work.methods:
            if claim.id == "convex-robust":
                of[method] = {"test": numbers[f"{method}_settings"][place % 5]}
            elif any("precondition=nystrom" in change for change in work.changes):
                of[method] = numbers["sketched"]
            elif any("inner_iterations" in change for change in work.changes):
                of[method] = numbers["longer"]
            elif any("patterns" in change for change in work.changes):
                of[method] = numbers["wider"]
            elif method == "exact":
                of[method] = numbers["exact" if work.config == "cifar2-convex" else "optimum"]
            elif work.config == "cifar2-convex":
                of[method] = numbers[f"large_{method.removesuffix('-printed').replace('mlp', 'adam')}"]
            else:
                of[method] = numbers[method.removesuffix("-printed")]
        found.append(Evidence(work, {method: runs(method, **options) for method, options in of.items()}))
    return found


def told(name: str, **changes: Any) -> tuple[str, str, str]:
    """The verdict on a claim, its evidence and what it needs, where some numbers are not as claimed."""
    numbers = as_claimed()
    for key, change in changes.items():
        numbers[key] = {**numbers[key], **change} if isinstance(change, dict) else change
    judged = judge(BY_ID[name], evidence(BY_ID[name], numbers))
    return judged.verdict, judged.evidence, judged.needs


@pytest.mark.parametrize("name", BY_ID)
def test_what_the_paper_claims_holds_on_its_own_numbers(name):
    verdict, evidence, needs = told(name)
    if name in ("gpu", "jax"):
        assert (verdict, evidence) == (UNTOLD, "")
        assert "GPU" in needs
    else:
        assert (verdict, needs) == (HOLDS, "")
        assert "n=6" in evidence


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("nystrom-condition", {"conditions": {"nystrom": 5e7}}, IN_PART),
        ("nystrom-condition", {"conditions": {"nystrom": 2e9}}, FAILS),
        ("jacobi-condition", {"conditions": {"jacobi": 9e8}}, FAILS),
        ("nystrom-best", {"nystrom": {"test_loss": 0.9}}, IN_PART),
        ("nystrom-best", {"jacobi": {"test": 0.8101}}, UNTOLD),
        ("rbcd-iterations", {"rbcd": {"known": 0}}, IN_PART),
        ("rbcd-iterations", {"rbcd": {"takes": 60.0}}, IN_PART),
        ("rbcd-iterations", {"rbcd": {"known": 0, "takes": 110.0}}, FAILS),
        ("cholesky-memory", {"exact": {"peak_rss_mb": 900.0}}, IN_PART),
        ("cholesky-memory", {"exact": {"row": {"inner_residual": 0.01}}}, UNTOLD),
        ("rbcd-soonest", {"large_rbcd": {"takes": 110.0}}, FAILS),
        ("nystrom-rbcd", {"sketched": {"takes": 60.0}}, FAILS),
        ("tradeoff", {"large_rbcd": {"test": 0.8}}, IN_PART),
        ("rbcd-training", {"large_adam": {"loss": (0.26, 0.01)}}, IN_PART),
        ("rbcd-training", {"large_adam": {"loss": (0.26, 0.01), "accuracy": (0.8, 1.0)}}, FAILS),
        ("rbcd-generalises", {"large_rbcd": {"test": 0.9}}, FAILS),
        ("rbcd-stable", {"large_rbcd": {"scatter": 0.007}}, IN_PART),
        ("rbcd-stable", {"large_rbcd": {"scatter": 0.02}}, FAILS),
        ("nystrom-stalls", {"large_nystrom": {"loss": (0.0975, 0.05)}}, IN_PART),
        ("nystrom-stalls", {"large_nystrom": {"loss": (0.0975, 0.05), "accuracy": (0.9, 0.97)}}, FAILS),
        ("more-steps", {"longer": {"loss": (0.05, 0.05)}}, IN_PART),
        ("more-steps", {"longer": {"loss": (0.2, 0.2)}}, FAILS),
        ("nystrom-setup", {"large_nystrom": {"begins": 2.0}}, FAILS),
        ("more-patterns", {"wider": {"test": 0.83}}, FAILS),
        ("optimum", {"optimum": {"row": {**OPTIMAL, "group": 0.1}}}, FAILS),
        ("robust", {"exact_settings": [0.75, 0.9, 0.75, 0.5, 0.75]}, FAILS),
    ],
)
def test_otherwise_it_does_not(name, changes, expected):
    assert told(name, **changes)[0] == expected


@pytest.mark.parametrize("name", [name for name, claim in BY_ID.items() if claim.work])
def test_too_few_repeats_tell_nothing_and_say_how_many_it_takes(name):
    few = [
        replace(
            each,
            runs={method: found[:5] for method, found in each.runs.items()},
            conditions=each.conditions[:5],
        )
        for each in evidence(BY_ID[name], as_claimed())
    ]
    judged = judge(BY_ID[name], few)
    assert judged.verdict == UNTOLD
    assert "5 here" in judged.needs


@pytest.mark.parametrize(
    "name", ["rbcd-iterations", "rbcd-soonest", "tradeoff", "rbcd-training", "rbcd-generalises", "rbcd-stable"]
)
def test_disturbed_runs_tell_nothing_of_what_the_clock_ends(name):
    numbers = as_claimed()
    numbers["large_rbcd"]["disturbed"] = numbers["rbcd"]["disturbed"] = True
    judged = judge(BY_ID[name], evidence(BY_ID[name], numbers))
    assert judged.verdict == UNTOLD
    assert "6 undisturbed runs of rbcd-printed, 0 here" in judged.needs


def test_runs_of_other_seeds_are_no_pairs():
    found = evidence(BY_ID["robust"], as_claimed())
    other = runs("exact", test=0.75)
    for run in other:
        run.row["seed"] = run.row["seed"] + 1
    found[0] = replace(found[0], runs={"exact": other})
    judged = judge(BY_ID["robust"], found)
    assert judged.verdict == UNTOLD


# -- numbers and rules


def claim(rule: Callable[[list[Evidence]], Any]) -> Claim:
    return Claim("made", PAPER, "section 1", "It is so.", rule, (Work("swissroll", ("a", "b", "c")),))


def verdict(rule: Callable[[list[Evidence]], Any], **options: dict[str, Any]) -> str:
    one = claim(rule)
    return judge(
        one, [Evidence(one.work[0], {method: runs(method, **each) for method, each in options.items()})]
    ).verdict


def test_training_numbers_are_those_of_the_convex_model_where_there_is_one():
    (convex,), (network,) = (runs("a", own=own, accuracy=(0.96, 0.98), count=1) for own in ("primal", "train"))
    assert LOSS.of(convex) == LOSS.of(network) == pytest.approx(0.2)
    assert to_97(convex) == to_97(network) == 6.0
    assert to_97(runs("a", accuracy=(0.9, 0.96), count=1)[0]) is None


def test_numbers_of_a_curve():
    (run,) = runs("a", begins=3.0, takes=20.0, accuracy=(0.96, 0.98), scatter=0.01, count=1)
    assert EACH.of(run) == pytest.approx(18 / 7)
    assert PRECOMPUTED.of(run) == pytest.approx(3 / 15)
    assert 0.008 < (SCATTER.of(run) or 0) < 0.02
    steady = runs("a", count=1)[0]
    assert SCATTER.of(steady) == pytest.approx(0, abs=1e-12)
    rising = [{**row, "test_accuracy": 0.01 * row["train_s"]} for row in steady.curve]
    assert SCATTER.of(made("a", 0, rising)) == pytest.approx(0, abs=1e-12)
    first = steady.curve[:1]
    for quantity in (EACH, SCATTER, PRECOMPUTED):
        assert quantity.of(made("a", 0, first)) is None
    untrained = [{**first[0], "iteration": 0.0, "train_s": 0.5, "primal_loss": 5.0}]
    assert EACH.of(made("a", 0, untrained + steady.curve)) == EACH.of(steady)


def test_the_best_is_ahead_of_all():
    low, high = {"test_loss": 0.1, "test": 0.9}, {"test_loss": 0.5, "test": 0.6}
    for quantity in (TEST_LOSS, FINAL):
        rule = best(quantity, "a", "b", "c")
        assert verdict(rule, a=low, b=high, c=high) == HOLDS
        assert verdict(rule, a=low, b=high, c=low) == UNTOLD
        assert verdict(rule, a=high, b=high, c=low) == FAILS
        assert verdict(rule, a=low, b=high) == UNTOLD


def test_so_many_times_less_or_just_less():
    rule = below(TEST_LOSS, Of("a", "a"), Of("b", "b"), times=2)
    for loss, expected in ((0.1, HOLDS), (0.25, IN_PART), (0.3, UNTOLD), (0.4, FAILS)):
        assert verdict(rule, a={"test_loss": loss}, b={"test_loss": 0.3}) == expected


def test_a_timed_quantity_counts_undisturbed_runs_alone():
    assert (LOSS.timed, timed(LOSS).timed, timed(LOSS).of) == (False, True, LOSS.of)


# -- condition numbers


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A claim on the condition numbers of a small matrix; results go into a folder of its own."""
    experiment = {
        "name": "small",
        "data": {"name": "swissroll", "rows": 60},
        "network": {"layers": [4], "bias": False},
        "loss": "signed-squared",
        "methods": {"exact": {"kind": "convex-admm", "patterns": 2, "solver": "exact"}},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(experiment))
    monkeypatch.setattr("admmctl.papers.evidence.config_file", lambda name: tmp_path / f"{name}.yaml")
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    work = Work("small", ("exact",), repeats=2, source="condition", changes=("methods.exact.rho=0.5",))
    return replace(claim(unable("nothing")), work=(work,))


def test_condition_numbers_are_computed_once_and_kept(small, tmp_path):
    (work,) = small.work
    assert recorded(work).conditions == []
    lacking = missing([small])
    assert [one.run.seed for one in lacking if one.run] == [0, 1]
    said: list[str] = []
    assert make_missing(lacking, Making("full", Options(), Watcher(), said.append)) == []
    assert said[0] == "1 of 2: small, exact, seed 0"
    found = recorded(work).conditions
    assert [each.seed for each in found] == [0, 1]
    assert {each.rho for each in found} == {0.5}
    assert found[0].points[0].condition != found[1].points[0].condition
    assert missing([small]) == []
    # Damaged ones, and those of other settings, count as missing.
    place, other = sorted((tmp_path / "results/small").iterdir())
    assert kept(other) in found
    place.write_text("{}")
    assert len(missing([small])) == 1
    assert len(missing([replace(small, work=(replace(work, changes=()),))])) == 2


def test_what_is_kept_is_what_was_found(tmp_path):
    (found, *_) = conditions(none=3.0, nystrom=2.0)
    assert kept(tmp_path / "a/b.json") is None
    keep(found, tmp_path / "a/b.json")
    assert kept(tmp_path / "a/b.json") == found
