"""Zhang and Kleijn, "Training deep neural networks via optimization over graphs": MNIST."""

import math

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from admmctl.papers.draw import curves, table
from admmctl.papers.entry import Drawing, Entry, Material, Measure, Ours, Paper, Quick, Reported, Rows
from admmctl.papers.measures import FINAL_ACCURACY, THEIRS, finished_runs, per_iteration
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


def epochs_to_target(run: Recorded) -> float | None:
    """Epochs until a run met its target; None for one that missed it."""
    met = run.curve and run.number("time_to_target_s") is not None
    return run.curve[-1]["epoch"] if met else None


def _fewest_epochs(material: Material, method: str) -> Ours:
    """Fewest epochs to the target over all learning rates, as printed: of ReLU over DCutLU."""
    relu, dcutlu = (
        min(
            (
                median([math.inf if (epochs := epochs_to_target(run)) is None else epochs for run in runs]).value
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
        rows.append({**row, "epochs": epochs_to_target(run), "status": run.status})
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
