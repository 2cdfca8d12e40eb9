"""Zhang and Kleijn, "Training deep neural networks via optimization over graphs": MNIST."""

import math
from dataclasses import replace

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from admmctl.papers.claims import Claim, Work
from admmctl.papers.draw import curves, table
from admmctl.papers.entry import Drawing, Entry, Material, Measure, Ours, Paper, Quick, Reported, Rows
from admmctl.papers.measures import FINAL_ACCURACY, THEIRS, finished_runs, per_iteration
from admmctl.papers.rules import (
    EACH,
    FINAL,
    TIME,
    Quantity,
    all_of,
    greater,
    least_inside,
    least_of,
    less,
    ratio_at_least,
    unable,
)
from admmctl.report import style
from admmctl.report.figures import View, settings_against_target
from admmctl.report.text import seconds
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import median

PAPER = Paper("Zhang and Kleijn", "Zhang")
_SOURCE = f"{PAPER.name}, section 5.0.1"
_EPOCHS = "after 100 epochs here, the paper gives no number"
_FEWER = ("a graph without numbers: ReLU needs significantly fewer", f"{PAPER.name}, section 5.0.2")
# Our method, theirs, seconds of a mini-batch and their standard deviation.
TABLE_3 = (
    ("sgd-printed", "SGD (ReLU)", 0.2257, 0.0444),
    ("adam-printed", "Adam (ReLU)", 0.2398, 0.0416),
    ("graph-printed", "ADMM (ReLU)", 0.9373, 0.0851),
    ("graph-dcutlu-printed", "ADMM (DCutLU)", 1.446, 0.0949),
)
RATES = ("0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5")
RELU, DCUTLU = (tuple(f"{unit}-{rate}-printed" for rate in RATES) for unit in ("relu", "dcutlu"))
# What the paper leaves open, and how that is here.
_OPEN = (
    "the paper gives no scaling of the inputs, no start and no order of the rows; its quadratic coefficient of "
    "0.05 is taken as half of it beside the square"
)


def _mini_batch(material: Material, method: str) -> Ours:
    mean, spread = per_iteration(finished_runs(material, method))
    return mean, f"{seconds(mean)} s, standard deviation {seconds(spread)} over epochs"


def _epochs_to_target(run: Recorded) -> float | None:
    met = run.curve and run.number("time_to_target_s") is not None
    return run.curve[-1]["epoch"] if met else None


def _fewest_epochs(material: Material, method: str) -> Ours:
    """Fewest epochs to the target over all learning rates, as printed: of ReLU over DCutLU."""
    relu, dcutlu = (
        min(
            (
                median([math.inf if (epochs := _epochs_to_target(run)) is None else epochs for run in runs]).value
                for one in methods
                if (runs := material.finished(one))
            ),
            default=math.inf,
        )
        for methods in (RELU, DCUTLU)
    )
    text = " against ".join(f"{epochs:g}" if math.isfinite(epochs) else "none" for epochs in (relu, dcutlu))
    return relu / dcutlu if math.isfinite(min(relu, dcutlu)) else None, f"{text} epochs"


MINI_BATCH = Measure("seconds of a mini-batch of 3,000, {}", "s", _mini_batch, any_size=True)
FEWEST_EPOCHS = Measure("fewest epochs to the target, ReLU over DCutLU", "", _fewest_epochs)


def _table_3(method: str, theirs: str, mean: float, spread: float) -> Reported:
    statement, source = f"{mean:g} s, standard deviation {spread:g}", f"{theirs}; {PAPER.name}, Table 3"
    return Reported(MINI_BATCH, method, mean, statement, source, beside="another machine")


def _line(run: Recorded) -> str:
    unit = str(run.config["network"].get("activation")).partition("(")[0]
    return f"{unit}, {'as printed' if run.method.endswith('-printed') else 'our variant'}"


def _rates(material: Material) -> tuple[Figure, Rows]:
    """Epochs to the target against rho."""
    figure, axes = plt.subplots()
    settings_against_target(axes, material.runs, "rho", "epochs", _line)
    style.legend_below(axes)
    rows: Rows = []
    for run in material.runs:
        row = {"source": "ours", "method": run.method, "seed": run.row.get("seed")}
        row |= {"rho": run.method_block[1].get("rho")}
        rows.append({**row, "epochs": _epochs_to_target(run), "status": run.status})
    return figure, rows


def _mini_batches(material: Material) -> tuple[Figure, Rows]:
    """Table 3: seconds of a mini-batch, ours and theirs."""
    theirs = {reported.method: f"{reported.paper:g}" for reported in material.entry.reported}
    rows: Rows = []
    body = []
    for method in material.entry.methods:
        mean, spread = per_iteration(material.finished(method))
        rows.append({"source": "ours", "method": method, "mean_s": mean, "standard_deviation_s": spread})
        body.append([method, seconds(mean), seconds(spread), theirs.get(method, "-")])
    return table(["mini-batch of 3,000", "ours, s", "spread, s", f"{THEIRS}, s"], body, len(body)), rows


ENTRIES = (
    Entry(
        "zhang-2a",
        PAPER,
        "Figure 2a",
        "MNIST: accuracy by epoch of ADMM over a graph, SGD and Adam",
        curves("accuracy-and-training", View(against="epochs", training=True)),
        config="mnist-graph",
        methods=("graph-printed", "sgd-printed", "adam-printed", "graph-admm", "sgd", "adam"),
        quick=Quick(
            "8 epochs instead of 100, 1 repeat",
            (
                "stop.epochs=8",
                *(
                    f"methods.{ours}.{key}"
                    for ours in ("sgd", "adam")
                    for key in ("stop.epochs=8", "schedule_epochs=8.0")
                ),
            ),
        ),
        differs="methods that end in -printed are the paper's, the others ours, sgd and adam on mini-batches of "
        f"128; the paper says neither for how many epochs nor how often it ran; {_OPEN}",
        reported=tuple(
            Reported(FINAL_ACCURACY, method, paper, f"{paper:g} % at the last iteration", _SOURCE, 60_000, _EPOCHS)
            for method, paper in (("graph-printed", 98.41), ("adam-printed", 98.23), ("sgd-printed", 97.98))
        ),
    ),
    Entry(
        "zhang-2b",
        PAPER,
        "Figure 2b",
        "MNIST: epochs to a cross-entropy of 0.05 by learning rate, ReLU and DCutLU",
        Drawing("rates", _rates),
        config="mnist-graph-rates",
        methods=(*RELU, *DCUTLU, *(method.removesuffix("-printed") for method in (*RELU, *DCUTLU))),
        repeats=1,
        quick=Quick(
            "3,000 rows in one mini-batch, 100-120 units, up to 40 epochs",
            ("data.first=3000", "network.layers=[100, 120]", "stop.epochs=40"),
        ),
        differs="as printed, and our variant: averaged weights, V V' of every eighth mini-batch; the loss is that "
        f"of all training rows after an epoch, at most 30 epochs, rates of our choice; {_OPEN}",
        reported=(Reported(FEWEST_EPOCHS, "relu", None, *_FEWER),),
    ),
    Entry(
        "zhang-table3",
        PAPER,
        "Table 3",
        "MNIST: seconds of a mini-batch of 3,000",
        Drawing("minibatch-table", _mini_batches, "table"),
        config="mnist-graph",
        methods=(*(method for method, *_ in TABLE_3), "graph-admm", "graph-dcutlu"),
        changes=("stop.epochs=10",),
        quick=Quick(
            "8 epochs instead of 10 (3 of DCutLU), 1 repeat",
            ("stop.epochs=8", *(f"methods.graph-dcutlu{ending}.stop.epochs=3" for ending in ("-printed", ""))),
        ),
        differs="theirs ran on a MacBook Pro, over mini-batches whose number the paper does not give; the spread "
        "is over epochs here, each a mean of 20; graph-admm and graph-dcutlu are our variant",
        reported=tuple(_table_3(*row) for row in TABLE_3),
    ),
)


# --- the claims

_TWO = ("adam-printed", "sgd-printed")
_FIGURE_2A = Work("mnist-graph", ("graph-printed", *_TWO))
_EQUAL = ("graph-equal-small", "graph-equal-middle", "graph-equal-large")
_BY_LAYER = Work("mnist-graph", ("graph-printed", *_EQUAL), changes=("stop.epochs=30",))
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
    return f"{100 * value:.2f} points"


def _gap(row: dict[str, float]) -> float:
    return row["train_accuracy"] - row["test_accuracy"]


def _gap_at_end(run: Recorded) -> float | None:
    return _gap(run.curve[-1]) if run.curve else None


def _gap_change(run: Recorded) -> float | None:
    """How far the gap moves over the last half of the epochs, up or down."""
    later = [row for row in run.curve if row["epoch"] >= run.curve[-1]["epoch"] / 2]
    return abs(_gap(later[-1]) - _gap(later[0])) if later else None


def _after_30(run: Recorded) -> float | None:
    """Test accuracy at the last evaluation of the first 30 epochs: a longer run may stand for a shorter one."""
    return next((row["test_accuracy"] for row in reversed(run.curve) if row["epoch"] <= 30), None)


def _count(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else "never"


GAP = Quantity("training less test accuracy", _gap_at_end, _points, math.inf)
GAP_CHANGE = Quantity("change of the gap over the last half of the epochs", _gap_change, _points, math.inf)
AFTER_30 = replace(FINAL, name="test accuracy after 30 epochs", of=_after_30)
EPOCHS = Quantity("epochs to the target", _epochs_to_target, _count, math.inf)

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
        unable("a graph-admm that solves for the weights of a layer before it updates the layer below"),
    ),
)
