"""The claims of the HKUST report, told from made-up runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.claims import MadeUp

from admmctl.experiment.config import load
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.claims import Verdict
from admmctl.papers.entry import Material
from admmctl.papers.hkust import WORK
from admmctl.papers.measures import loss_after, numbers

HOLDS, IN_PART, FAILS, UNTOLD = Verdict.HOLDS, Verdict.IN_PART, Verdict.FAILS, Verdict.UNTOLD
CONFIG = Path(__file__).parents[2] / "configs" / "mnist01-hkust.yaml"


@pytest.fixture
def made(tmp_path: Path) -> MadeUp:
    return MadeUp(tmp_path)


def falling(level: float, after: int) -> Callable[[int], float]:
    """A loss that starts at 1 and comes, in a straight line, to ``level`` after so many iterations."""
    return lambda iteration: 1 - (1 - level) * min(iteration, after) / after


def repeats(
    made: MadeUp,
    method: str,
    loss: Callable[[int], float],
    accuracy: Callable[[int, int], float] = lambda iteration, seed: 0.99,
    of: int = 100,
) -> None:
    """Twelve repeats with this loss by iteration, and this test accuracy by iteration and seed.

    After the first 100 iterations every twentieth is evaluated.
    """

    def run(seed: int) -> dict[str, Any]:
        evaluated = [*range(101), *range(120, of + 1, 20)]
        rows = [(i, float(i), loss(i), 0.99, accuracy(i, seed)) for i in evaluated]
        return {"curve": rows, "iterations": of, "final_test_accuracy": rows[-1][-1]}

    made.repeat(method, run, WORK.repeats)


def losses(made: MadeUp, gd_after: int, gd_of: int = 1500) -> None:
    """ADMM is at 0.1 after 60 iterations, gradient descent after so many, in a straight line."""
    for method in ("admm-printed", "admm"):
        repeats(made, method, falling(0.1, 60))
    for method in ("gd", "gd-fast"):
        repeats(made, method, falling(0.1, gd_after), of=gd_of)


@pytest.mark.parametrize(
    ("gd_after", "expected"), [(1500, HOLDS), (2000, HOLDS), (700, IN_PART), (60, FAILS), (20, FAILS)]
)
def test_faster_is_how_many_iterations_gradient_descent_needs(made, gd_after, expected):
    losses(made, gd_after)
    found = made.told("hkust-faster")
    assert found.verdict == expected
    needed = "never" if gd_after == 2000 else f"{gd_after:,}"
    assert f"admm 0.1 (0.1 to 0.1, n=12), iterations to it: gd {needed} (" in found.evidence


def test_of_two_ways_to_run_it_one_may_be_faster(made):
    losses(made, 1500)
    repeats(made, "admm-printed", falling(0.9, 60))
    assert made.told("hkust-faster").verdict == IN_PART
    made.runs["gd"].pop()
    found = made.told("hkust-faster")
    assert "12 runs of gd, 11 here" in found.needs


def test_smooth_is_without_rises(made):
    losses(made, 100, 100)
    assert made.told("hkust-smooth").verdict == IN_PART  # gradient descent is as smooth
    for method in ("gd", "gd-fast"):
        repeats(made, method, lambda i: 1 - 0.005 * i + 0.1 * (i % 2))
    assert made.told("hkust-smooth").verdict == HOLDS
    for method in ("admm-printed", "admm"):
        repeats(made, method, lambda i: 1 - 0.005 * i + 0.1 * (i % 2))
    repeats(made, "gd", falling(0.1, 100))
    repeats(made, "gd-fast", falling(0.1, 100))
    assert made.told("hkust-smooth").verdict == FAILS


def test_runs_differ_where_their_accuracies_are_as_far_apart_as_the_reports_two(made):
    apart = {"far": lambda i, seed: 0.98 + 0.001 * seed, "near": lambda i, seed: 0.98 + 0.0001 * seed}
    early = {"early": lambda i, seed: 0.98 + 0.001 * seed * (i < 100)}

    def told(gd: Any, fast: Any) -> str:
        repeats(made, "gd", falling(0.1, 100), gd)
        repeats(made, "gd-fast", falling(0.1, 100), fast)
        return made.told("hkust-start").verdict

    assert told(apart["far"], apart["far"]) == HOLDS
    assert told(apart["near"], apart["near"]) == FAILS
    assert told(apart["near"], apart["far"]) == IN_PART
    assert told(early["early"], early["early"]) == IN_PART


def test_an_accuracy_that_stays_is_a_sign_of_gradient_descent_where_admm_has_less_of_it(made):
    def rising(i: int, seed: int) -> float:
        return 0.9 + 0.0005 * i

    for method in WORK.methods:
        repeats(made, method, falling(0.1, 100))
    assert made.told("hkust-stays").verdict == UNTOLD  # both stay
    for method in ("admm-printed", "admm"):
        repeats(made, method, falling(0.1, 100), rising)
    assert made.told("hkust-stays").verdict == HOLDS


def test_accuracies_are_those_of_the_last_iteration(made):
    losses(made, 1500)
    repeats(made, "gd", falling(0.1, 100), lambda i, seed: 0.995 + 0.0001 * seed)
    for method in ("admm-printed", "admm"):
        repeats(made, method, falling(0.1, 60), lambda i, seed: 0.991 + 0.0001 * seed)
    assert made.told("hkust-works").verdict == HOLDS
    assert made.told("hkust-ends").verdict == HOLDS
    repeats(made, "admm-printed", falling(0.1, 60), lambda i, seed: 0.7 + 0.01 * seed)
    assert made.told("hkust-works").verdict == IN_PART


def test_its_runs_have_no_target_and_are_as_long_as_the_report_says():
    runs = load(CONFIG).runs
    assert all(run.stop.target is None for run in runs.values())
    assert all(run.stop.iterations >= (1500 if run.kind == "gd" else 60) for run in runs.values())
    assert runs["admm-printed"].kind == "admm-printed"
    assert runs["admm-printed"].network.bias is False


def test_the_reports_loss_stands_beside_ours_and_is_no_number_to_compare(made, tmp_path):
    losses(made, 1500)
    entry = CATALOGUE["hkust-loss"]
    folders = [run.folder for runs in made.runs.values() for run in runs]
    found = {number.what: number for number in numbers(Material(entry, "full", folders))}
    admm = found["training loss after 60 iterations, admm-printed"]
    assert (admm.paper, admm.ours, admm.same_work) == (0.5, pytest.approx(0.1), False)
    assert "a constant 1/2 has 0.25 here" in admm.note
    assert found["training loss after 1,500 iterations, gd"].ours == pytest.approx(0.1)
    assert loss_after(2000).ours(Material(entry, "full", folders), "gd") == (None, "no such value")
