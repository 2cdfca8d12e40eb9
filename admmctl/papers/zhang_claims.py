"""What Zhang and Kleijn claim, and the rules that tell it from recorded runs."""

import math
from dataclasses import replace
from itertools import accumulate

from admmctl.papers.claims import Claim, Work
from admmctl.papers.rules import EACH, FINAL, TIME, Quantity, all_of, greater, less, ratio_at_least
from admmctl.papers.several_rules import least_inside, least_of
from admmctl.papers.zhang import DCUTLU, PAPER, RATES, RELU, TABLE_3, epochs_to_target
from admmctl.runs.recorded import Recorded

_TWO = ("adam-printed", "sgd-printed")
_FIGURE_2A = Work("mnist-graph", ("graph-printed", *_TWO))
_EQUAL = ("graph-equal-small", "graph-equal-middle", "graph-equal-large")
_NEW = ("graph-new-weights", "graph-new-small", "graph-new-middle", "graph-new-large")
_BY_LAYER = Work("mnist-graph", ("graph-printed", *_EQUAL), changes=("stop.epochs=30",))
_WEIGHTS = Work("mnist-graph", ("graph-printed", *_EQUAL, *_NEW), changes=("stop.epochs=30",))
_SECONDS = Work("mnist-graph", tuple(method for method, *_ in TABLE_3), changes=("stop.epochs=10",), timed=True)
_GRADED = "relu-graded-printed"
_FIGURE_2B = Work("mnist-graph-rates", (*RELU, *DCUTLU))
_RATES_BY_LAYER = Work("mnist-graph-rates", (*RELU, _GRADED))
_BASELINES = (
    "100 epochs, the paper gives no number; sgd-printed and adam-printed are on mini-batches of 3,000 as in the "
    "paper: on 128 rows, with a falling rate, both end higher (sgd, adam)"
)
_RANGE = f"at most 30 epochs, rates from {RATES[0]} to {RATES[-1]} of our choice, each as printed"


def _points(value: float) -> str:
    return f"{100 * value:.2f} points" if math.isfinite(value) else "all"


def _gap(row: dict[str, float]) -> float:
    return row["train_accuracy"] - row["test_accuracy"]


def _gap_at_end(run: Recorded) -> float | None:
    return _gap(run.curve[-1]) if run.curve else None


def _gap_change(run: Recorded) -> float | None:
    """How far the gap moves over the last half of the epochs, up or down."""
    later = [row for row in run.curve if row["epoch"] >= run.curve[-1]["epoch"] / 2]
    return abs(_gap(later[-1]) - _gap(later[0])) if later else None


def _first_30(run: Recorded) -> list[float]:
    """Test accuracies of the first 30 epochs: a longer run may stand for a shorter one."""
    return [row["test_accuracy"] for row in run.curve if row["epoch"] <= 30]


def _after_30(run: Recorded) -> float | None:
    return next(reversed(_first_30(run)), None)


def _fall(run: Recorded) -> float | None:
    """The largest fall of test accuracy below the highest before, in the first 30 epochs; None: it diverged."""
    if run.status == "diverged" or not run.curve:
        return None
    accuracies = _first_30(run)
    return max(best - now for best, now in zip(accumulate(accuracies, max), accuracies, strict=True))


def _count(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else "never"


GAP = Quantity("training less test accuracy", _gap_at_end, _points, math.inf)
GAP_CHANGE = Quantity("change of the gap over the last half of the epochs", _gap_change, _points, math.inf)
AFTER_30 = replace(FINAL, name="test accuracy after 30 epochs", of=_after_30)
FALL = Quantity("largest fall of test accuracy below its highest, in 30 epochs", _fall, _points, math.inf)
EPOCHS = Quantity("epochs to the target", epochs_to_target, _count, math.inf)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "zhang-accuracy",
        PAPER,
        "section 5.0.1",
        "ADMM ends at a higher test accuracy than Adam and SGD: 98.41 % against 98.23 % and 97.98 %.",
        all_of(*(greater(FINAL, "graph-printed", other) for other in _TWO)),
        (_FIGURE_2A,),
        _BASELINES,
        figure="zhang-2a",
    ),
    Claim(
        "zhang-gap",
        PAPER,
        "section 5.0.1",
        "The gap between training and test accuracy of ADMM is more stable than those of Adam and SGD.",
        all_of(*(less(GAP_CHANGE, "graph-printed", other) for other in _TWO)),
        (_FIGURE_2A,),
        f"what is measured is how far the gap moves over the last half of {_BASELINES}",
        figure="zhang-2a",
    ),
    Claim(
        "zhang-overfitting",
        PAPER,
        "abstract, section 6",
        "ADMM is less sensitive to overfitting than SGD and Adam.",
        all_of(*(less(GAP, "graph-printed", other) for other in _TWO)),
        (_FIGURE_2A,),
        f"what is measured is the gap between training and test accuracy after {_BASELINES}",
        figure="zhang-2a",
    ),
    Claim(
        "zhang-layers",
        PAPER,
        "section 5.0.1",
        "ADMM tests better for its learning rates by layer (in the paper: might): with equal ones it tests worse.",
        all_of(*(greater(AFTER_30, "graph-printed", equal) for equal in _EQUAL)),
        (_BY_LAYER,),
        "30 epochs; rates of 0.05, 0.1 and 0.2 for all layers, the paper compares with none",
    ),
    Claim(
        "zhang-graded",
        PAPER,
        "section 5.0.1",
        "Learning rates that are larger in lower layers make training more effective.",
        least_of(EPOCHS, (_GRADED,), RELU),
        (_RATES_BY_LAYER,),
        "what is measured is epochs to the loss of Figure 2b, against the best of seven rates for all layers",
    ),
    Claim(
        "zhang-relu",
        PAPER,
        "section 5.0.2",
        "ReLU needs significantly fewer iterations over the training rows than DCutLU.",
        least_of(EPOCHS, RELU, DCUTLU),
        (_FIGURE_2B,),
        _RANGE,
        figure="zhang-2b",
    ),
    Claim(
        "zhang-optimal-rate",
        PAPER,
        "section 5.0.2",
        "For ReLU and for DCutLU there is a learning rate in between that is fastest.",
        all_of(least_inside(EPOCHS, RELU), least_inside(EPOCHS, DCUTLU)),
        (_FIGURE_2B,),
        _RANGE,
        figure="zhang-2b",
    ),
    Claim(
        "zhang-relu-choice",
        PAPER,
        "section 5.0.2",
        "ReLU is the better choice in practice: its iterations are fewer, and each takes less time.",
        least_of(TIME, RELU, DCUTLU),
        (replace(_FIGURE_2B, timed=True),),
        f"what is measured is seconds to the loss of Figure 2b; {_RANGE}",
        figure="zhang-2b",
    ),
    Claim(
        "zhang-cost",
        PAPER,
        "section 5.0.1, Table 3",
        "ADMM is somewhat more expensive than SGD and Adam: a mini-batch takes 4.15 and 3.91 times as long.",
        all_of(
            *(greater(EACH, "graph-printed", other) for other in _TWO),
            ratio_at_least(EACH, "graph-printed", "sgd-printed", 4.15),
            ratio_at_least(EACH, "graph-printed", "adam-printed", 3.91),
        ),
        (_SECONDS,),
        "another machine and other code: the factors belong to both",
        figure="zhang-table3",
    ),
    Claim(
        "zhang-dcutlu-cost",
        PAPER,
        "section 5.0.2, Table 3",
        "A mini-batch takes longer with DCutLU than with ReLU.",
        greater(EACH, "graph-dcutlu-printed", "graph-printed"),
        (_SECONDS,),
        figure="zhang-table3",
    ),
    Claim(
        "zhang-old-weights",
        PAPER,
        "Remark 2",
        "Updating a layer with the old weights above it is much more stable than with the new ones.",
        all_of(*(less(FALL, old, new) for old, new in zip(("graph-printed", *_EQUAL), _NEW, strict=True))),
        (_WEIGHTS,),
        "what is measured is the largest fall of test accuracy below its highest before, a run that diverges "
        "falling furthest; with the paper's learning rates, and with 0.05, 0.1 and 0.2 for all layers; the paper "
        "gives no number",
    ),
)
