"""What Burmeister's report on Trident claims beyond Taylor et al., and the rules that tell it from runs."""

import math
import statistics

import numpy as np

from admmctl.papers.claims import Claim, Evidence, Rule, Told, Verdict, Work
from admmctl.papers.rules import (
    EACH,
    FINAL,
    STEPS,
    Quantity,
    all_of,
    at_most,
    greater,
    less,
    near,
    repeats,
    unable,
)
from admmctl.papers.scaling_rules import efficient, more_efficient
from admmctl.papers.taylor_claims import LINEAR, POINT, TWELVE
from admmctl.papers.trident import PAPER
from admmctl.report.text import count
from admmctl.runs.recorded import Recorded

CLOSE = 0.05  # of accuracy: what "often approaching the final accuracy" may lack


# --- what is read from curves


def _still(run: Recorded) -> float | None:
    """By how much the training loss falls over the last half of a run, relative to where it stood."""
    losses = [row["train_loss"] for row in run.curve]
    middle_loss = losses[len(losses) // 2] if losses else 0.0
    return (middle_loss - losses[-1]) / middle_loss if middle_loss > 0 else None


def _rises(run: Recorded) -> float | None:
    """The share of iterations after which the training loss is higher than before."""
    losses = [row["train_loss"] for row in run.curve]
    if len(losses) < 2:
        return None
    return sum(after > before for before, after in zip(losses, losses[1:], strict=False)) / (len(losses) - 1)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "all"


STILL = Quantity("fall of the training loss over the last half of the run", _still, _share, math.inf)
RISES = Quantity("iterations that raise the training loss", _rises, _share, math.inf)


def falls(method: str) -> Rule:
    """That the training loss falls in every iteration of every run; in part, of some runs."""

    def rule(found: list[Evidence]) -> Told:
        rises = repeats(found[0], method, RISES)
        runs = sum(rise > 0 for rise in rises)
        verdict = Verdict.HOLDS if not runs else Verdict.FAILS if runs == len(rises) else Verdict.IN_PART
        share = RISES.show(statistics.median(rises))
        evidence = f"{method}: the training loss rose in {runs} of {count(len(rises), 'run')}"
        return Told(verdict, f"{evidence}, in {share} of the iterations (the median)" if runs else evidence)

    return rule


def woodbury(found: list[Evidence]) -> Told:
    """Step 14 of Algorithm 2, (C R^-1 C')^-1 = C (R^-1 + C'C)^-1 C', at a full rank, where both exist."""
    generator = np.random.default_rng(0)
    a = generator.standard_normal((6, 40))
    gram = a @ a.T
    left = np.linalg.inv(gram)  # with all columns C = R = a a', and C R^-1 C' is a a'
    right = gram @ np.linalg.inv(np.linalg.inv(gram) + gram.T @ gram) @ gram.T
    error = float(np.linalg.norm(right - left) / np.linalg.norm(left))
    verdict = Verdict.HOLDS if error < 1e-6 else Verdict.FAILS
    evidence = f"with all columns of a 6 x 6 a a' the right side is off by {100 * error:,.0f} % of the left"
    return Told(verdict, evidence)


def _at_least_there(rule: Rule) -> Rule:
    """A rule about many cores: on few it may be seen to hold, but not to fail."""

    def told(found: list[Evidence]) -> Told:
        result = rule(found)
        if result.verdict in (Verdict.HOLDS, Verdict.UNTOLD):
            return result
        return Told(Verdict.UNTOLD, result.evidence, "more cores: the claim is about many")

    return told


_TWO_CORES = "one and two cores of one machine, as many rows of HIGGS as are prepared here"
_KERNEL, _SUBSETS = ("cosine-kernel", "tanh-random"), ("deep-full", "deep-stochastic")
_ONE_UPDATE = ("stop.iterations=1", "evaluate.every=1")
_KERNEL_DIFFERS = "500 units, mini-batches of 1,000: the report gives neither; rates are from our own search"
_DIGITS = "MNIST, networks of 100 units and of three times 100; the report has no numbers"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "trident-half-the-time",
        PAPER,
        "section 3.3",
        "ADMM takes approximately half the time to a target when it is distributed over twice the cores.",
        all_of(efficient("admm-printed", LINEAR), efficient("admm", LINEAR)),
        (Work("higgs", ("admm-printed", "admm"), TWELVE, cores=(1, 2), source="scaling"),),
        f"{_TWO_CORES}; 60 iterations: the iterates are the same on any number of cores",
        "trident-11a",
    ),
    Claim(
        "trident-diminishing",
        PAPER,
        "section 3.3",
        "Gradient methods gain less from additional cores than ADMM does.",
        _at_least_there(all_of(*(more_efficient("admm", other) for other in ("sgd", "lbfgs")))),
        (
            Work(
                "higgs",
                ("admm", "sgd", "lbfgs"),
                changes=("methods.sgd.stop={iterations: 3000}",),
                cores=(1, 2),
                source="scaling",
            ),
        ),
        f"{_TWO_CORES}; seconds of as many iterations, SGD on mini-batches of 256",
        "trident-11a",
    ),
    Claim(
        "trident-state-of-the-art",
        PAPER,
        "section 2.3",
        "Cosine units from a kernel are better than the state of the art of one hidden layer on SVHN.",
        unable("a number of that state of the art, which the report does not give; and admmctl fetch svhn"),
        figure="trident-6-right",
    ),
    Claim(
        "trident-kernel-start",
        PAPER,
        "section 2.3",
        "Cosine units from a kernel have a far higher accuracy at the start: after one update of the weights.",
        greater(FINAL, *_KERNEL),
        (Work("swissroll-kernel", _KERNEL, TWELVE, _ONE_UPDATE),),
        _KERNEL_DIFFERS,
        "trident-6-left",
    ),
    Claim(
        "trident-kernel-one-update",
        PAPER,
        "abstract",
        "Cosine units from a kernel often approach their final accuracy after one training iteration.",
        near(
            FINAL, "cosine-kernel", "cosine-kernel", CLOSE, work=0, other_work=1, names=("one update", "one pass")
        ),
        (
            Work("swissroll-kernel", ("cosine-kernel",), TWELVE, _ONE_UPDATE),
            Work("swissroll-kernel", ("cosine-kernel",), TWELVE),
        ),
        _KERNEL_DIFFERS,
        "trident-6-left",
    ),
    Claim(
        "trident-kernel-faster",
        PAPER,
        "section 2.3",
        "Cosine units from a kernel converge in substantially fewer updates: here, to 95 %.",
        less(STEPS, *_KERNEL),
        (Work("swissroll-kernel", _KERNEL, TWELVE, ("stop.target=0.95", "stop.epochs=2")),),
        _KERNEL_DIFFERS,
        "trident-6-left",
    ),
    Claim(
        "trident-kernel-better",
        PAPER,
        "section 2.3",
        "Cosine units from a kernel are better even after substantial training: here, ten passes over the rows.",
        greater(FINAL, *_KERNEL),
        (Work("swissroll-kernel", _KERNEL, TWELVE, ("stop.epochs=10", "evaluate.every=120")),),
        _KERNEL_DIFFERS,
        "trident-6-left",
    ),
    Claim(
        "trident-deep-minimum",
        PAPER,
        "sections 4 and 4.2",
        "In deep networks ADMM quickly settles on a local minimum, far from what a shallow one reaches.",
        all_of(less(FINAL, "deep-full", "shallow-full"), at_most(STILL, "deep-full", POINT)),
        (Work("mnist-stochastic", ("deep-full", "shallow-full")),),
        f"{_DIGITS}; settled is a training loss that falls by no more than 1 % over the last 30 of 60 iterations",
        "trident-deep-mnist",
    ),
    Claim(
        "trident-random-subsets",
        PAPER,
        "section 4.2",
        "Random subsets of the rows help ADMM out of the local minima of deep networks.",
        greater(FINAL, "deep-stochastic", "deep-full"),
        (Work("mnist-stochastic", _SUBSETS),),
        _DIGITS,
        "trident-deep-mnist",
    ),
    Claim(
        "trident-error-decreases",
        PAPER,
        "section 4",
        "ADMM is deterministic and makes the error smaller in every iteration.",
        all_of(falls("admm-printed"), falls("admm")),
        (Work("higgs", ("admm-printed", "admm")),),
        "as many rows of HIGGS as are prepared here; admm is ours",
        "trident-11b",
    ),
    Claim(
        "trident-same-accuracy",
        PAPER,
        "section 5",
        "ADMM trains to at least the same accuracy as gradient methods do: here, of L-BFGS.",
        near(FINAL, "admm-printed", "lbfgs", POINT),
        (Work("higgs", ("admm-printed", "lbfgs")),),
        "as many rows of HIGGS as are prepared here; the same within a point",
        "trident-11b",
    ),
    Claim(
        "trident-low-rank-cheaper",
        PAPER,
        "section 4.1.2",
        "For a wide layer the W-update from a few columns of a a' saves much computing time.",
        less(EACH, "nystrom", "exact"),
        (Work("mnist-wide", ("nystrom", "exact"), timed=True),),
        "its regularised form, from a tenth of the columns, with the other updates of an iteration",
        "trident-12",
    ),
    Claim(
        "trident-low-rank-inputs",
        PAPER,
        "section 4.1.2",
        "For many inputs, whose columns are summed once, it saves much computing time, too.",
        less(EACH, "nystrom", "exact"),
        (Work("cifar2-wide", ("nystrom", "exact"), timed=True),),
        "its regularised form, 3,072 inputs, a tenth of the columns, 30 iterations; the other updates count, too",
    ),
    Claim(
        "trident-low-rank-printed",
        PAPER,
        "section 4.1.2, Algorithm 2, step 14",
        "The W-update from a few columns stands for the exact one: here, as printed, within a point of it.",
        near(FINAL, "printed", "exact", POINT),
        (Work("cifar2-wide", ("printed", "exact")),),
        "3,072 inputs, a tenth of the columns, 30 iterations; other updates are ours",
    ),
    Claim(
        "trident-woodbury",
        PAPER,
        "section 4.1.2",
        "By Woodbury (C R^-1 C')^-1 = C (R^-1 + C'C)^-1 C'.",
        woodbury,
        figure="trident-12-matrices",
    ),
)
