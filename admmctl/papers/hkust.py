"""The HKUST report on ADMM for neural networks: two digits of MNIST, against gradient descent."""

import math
from dataclasses import replace
from itertools import pairwise

from admmctl.papers.claims import Claim, Evidence, Rule, Told, Verdict, Work
from admmctl.papers.draw import curves
from admmctl.papers.entry import Entry, Paper, Quick, Reported
from admmctl.papers.measures import FINAL_ACCURACY, loss_after, loss_then
from admmctl.papers.rules import (
    FINAL,
    MORE,
    STEPS,
    Quantity,
    all_of,
    at_least,
    at_most,
    greater,
    middle,
    repeats_differ,
    shown,
)
from admmctl.report.figures import View
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import Median

PAPER = Paper("HKUST report", "HKUST")
ADMM, GD = ("admm-printed", "admm"), ("gd", "gd-fast")
FEW, MANY = 60, 1500  # iterations of ADMM and of gradient descent to a loss of 0.5, as reported

_SCALE = "the scale of its loss is not known: a constant 1/2 has 0.25 here"
_OPEN = "the report gives neither penalties, start nor learning rate"
_STEPS = ("about 60 to a loss of 0.5, gradient descent about 1,500", f"{PAPER.name}, section 4")
_LOSSES = tuple(
    Reported(loss_after(iterations), method, 0.5, *_STEPS, None, _SCALE, False)
    for methods, iterations in ((ADMM, FEW), (GD, MANY))
    for method in methods
)
_ACCURACIES = tuple(
    Reported(FINAL_ACCURACY, method, paper, f"{paper / 100:.4f}", f"{PAPER.name}, section 3.2", 10_000, _OPEN)
    for method, paper in (("admm-printed", 99.0619), ("gd", 99.4747))
)
LOSS = Entry(
    "hkust-loss",
    PAPER,
    "section 4",
    "MNIST 0/1: the loss of ADMM and gradient descent",
    curves("loss-iterations", View("train_loss", "iterations", axis="log")),
    config="mnist01-hkust",
    methods=(*ADMM, *GD),
    quick=Quick(
        "300 iterations of gradient descent instead of 1,500, 1 repeat",
        tuple(f"methods.{method}.stop.iterations=300" for method in GD),
    ),
    differs=f"{_OPEN}: admm-printed is its algorithm with Taylor's, admm is ours, gd and gd-fast have rates of "
    f"our choice; mean squared error: {_SCALE}; the first 10,000 rows, the report does not say which",
    reported=_LOSSES,
)
ACCURACY = replace(
    LOSS,
    name="hkust-accuracy",
    number="section 3.2",
    shows="MNIST 0/1: test accuracy of ADMM and gradient descent",
    drawing=curves("accuracy-iterations", View(against="iterations", axis="log")),
    reported=_ACCURACIES,
)
ENTRIES = (LOSS, ACCURACY)


# --- the claims

WORK = Work("mnist01-hkust", (*ADMM, *GD), repeats=12)
_DIFFERS = (
    f"{_OPEN}: told of its algorithm with Taylor's settings and of ours, and of two rates of gradient descent"
)
_APART = 0.0041  # what separates the two accuracies that the report gives


def _loss(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _rises(run: Recorded) -> float | None:
    """All rises of the training loss together, over its fall from the start to the lowest."""
    losses = [row["train_loss"] for row in run.curve]
    fall = losses[0] - min(losses) if losses else 0.0
    return sum(max(0.0, b - a) for a, b in pairwise(losses)) / fall if fall > 0 else None


def _stays(run: Recorded) -> float | None:
    """The share of the first 100 iterations in which the loss falls and the test accuracy stays as it is."""
    steps = list(pairwise(row for row in run.curve if row["iteration"] <= 100))
    same = [b["train_loss"] < a["train_loss"] and b["test_accuracy"] == a["test_accuracy"] for a, b in steps]
    return sum(same) / len(same) if same else None


def _early(run: Recorded) -> float | None:
    return next((row["test_accuracy"] for row in run.curve if row["iteration"] >= FEW), None)


LOSS_EARLY = Quantity(f"training loss after {FEW} iterations", lambda run: loss_then(run, FEW), _loss, math.inf)
EARLY = replace(FINAL, name=f"test accuracy after {FEW} iterations", of=_early)
RISES = Quantity("rises of the training loss, of its fall", _rises, _share, math.inf)
STAYS = Quantity("of 100 iterations those with less loss and the same test accuracy", _stays, _share, -math.inf)


def as_far(admm: str, gd: str) -> Rule:
    """That gradient descent needs 1,500 iterations or more to the loss that ADMM has after 60; in part: over 60.

    The interval is that of its iterations to both ends of the interval of the loss.
    """

    def steps_to(level: float, found: Evidence) -> Median:
        def steps(run: Recorded) -> float | None:
            return next((row["iteration"] for row in run.curve if row["train_loss"] <= level), None)

        return middle(found, gd, replace(STEPS, of=steps))

    def rule(found: list[Evidence]) -> Told:
        loss = middle(found[0], admm, LOSS_EARLY)
        if loss.low is None or loss.high is None:
            return Told(Verdict.UNTOLD, "", MORE)
        to_low, to_high = steps_to(loss.low, found[0]), steps_to(loss.high, found[0])
        low, high = to_high.low or 0.0, math.inf if to_low.high is None else to_low.high
        steps = Median(steps_to(loss.value, found[0]).value, low, high, to_low.n)
        evidence = (
            f"{LOSS_EARLY.name}: {shown(admm, loss, LOSS_EARLY)}, iterations to it: {shown(gd, steps, STEPS)}"
        )
        if low > FEW:
            return Told(Verdict.HOLDS if low >= MANY else Verdict.IN_PART, evidence)
        return Told(Verdict.FAILS, evidence) if high <= FEW else Told(Verdict.UNTOLD, evidence, MORE)

    return rule


def _claim(name: str, where: str, text: str, rule: Rule, differs: str = _DIFFERS, figure: Entry = LOSS) -> Claim:
    return Claim(f"hkust-{name}", PAPER, where, text, rule, (WORK,), differs, figure.name)


CLAIMS: tuple[Claim, ...] = (
    _claim(
        "faster",
        "section 4",
        "The loss falls much faster with ADMM: gradient descent needs 1,500 iterations to where ADMM is after 60.",
        all_of(*(as_far(admm, gd) for admm in ADMM for gd in GD)),
        f"{_DIFFERS}; {_SCALE}, so that it is compared with ADMM's after {FEW} iterations",
    ),
    _claim(
        "smooth",
        "section 4",
        "The loss of ADMM is much smoother than that of gradient descent.",
        all_of(
            *(at_most(RISES, method, 0.01) for method in ADMM),
            *(at_least(replace(RISES, missing=-math.inf), method, 0.01) for method in GD),
        ),
        f"{_DIFFERS}; smooth is what rises by no more than a hundredth of its fall",
    ),
    _claim(
        "start",
        "section 4",
        "The accuracy of gradient descent is quite different in each run: it depends a lot on the start.",
        all_of(*(repeats_differ(quantity, gd, _APART) for gd in GD for quantity in (EARLY, FINAL))),
        f"{_OPEN}: told of two rates; quite different is {100 * _APART:.2f} points, as its two methods are",
        ACCURACY,
    ),
    _claim(
        "stays",
        "section 4",
        "With gradient descent the loss often falls while the accuracy stays, which is a sign of its instability.",
        all_of(
            *(at_least(STAYS, gd, 0.01) for gd in GD), *(greater(STAYS, gd, admm) for gd in GD for admm in ADMM)
        ),
        f"{_DIFFERS}; a sign of its instability it is where ADMM has less of it, in as many iterations",
        ACCURACY,
    ),
    _claim(
        "works",
        "section 3.2",
        "ADMM trains the network to a test accuracy of 99.06 %.",
        all_of(*(at_least(FINAL, method, 0.9906) for method in ADMM)),
        figure=ACCURACY,
    ),
    _claim(
        "ends",
        "section 3.2",
        "Gradient descent ends at a somewhat higher test accuracy than ADMM: 99.47 % against 99.06 %.",
        all_of(*(greater(FINAL, "gd", method) for method in ADMM)),
        f"{_DIFFERS}; after 100 iterations of ADMM and 1,500 of gradient descent",
        figure=ACCURACY,
    ),
)
