"""Zhang and Kleijn, "Training deep neural networks via optimization over graphs": MNIST."""

import math

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from admmctl.papers.claims import Claim, Work
from admmctl.papers.draw import curves, table
from admmctl.papers.entry import Drawing, Entry, Material, Measure, Ours, Paper, Quick, Reported, Rows
from admmctl.papers.measures import FINAL_ACCURACY, THEIRS, finished_runs, per_iteration
from admmctl.papers.rules import FINAL, all_of, greater
from admmctl.report.figures import View, settings_against_target
from admmctl.report.text import seconds
from admmctl.runs.recorded import Recorded

PAPER = Paper("Zhang and Kleijn", "Zhang")
_SOURCE = f"{PAPER.name}, section 5.0.1"
_FEWER = ("a graph without numbers: ReLU needs significantly fewer", f"{PAPER.name}, section 5.0.2")
# Our method, theirs, seconds of a mini-batch and their standard deviation.
TABLE_3 = (
    ("sgd-printed", "SGD (ReLU)", 0.2257, 0.0444),
    ("adam-printed", "Adam (ReLU)", 0.2398, 0.0416),
    ("graph-printed", "ADMM (ReLU)", 0.9373, 0.0851),
    ("graph-dcutlu", "ADMM (DCutLU)", 1.446, 0.0949),
)
RATES = ("0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5")


def _mini_batch(material: Material, method: str) -> Ours:
    mean, spread = per_iteration(finished_runs(material, method))
    return mean, f"{seconds(mean)} s, standard deviation {seconds(spread)} over epochs"


def _epochs_to_target(run: Recorded) -> float | None:
    met = run.curve and run.number("time_to_target_s") is not None
    return run.curve[-1]["epoch"] if met else None


def _fewest_epochs(material: Material, method: str) -> Ours:
    """Fewest epochs to the target over all learning rates: of ReLU over DCutLU."""
    fewest = {"relu": math.inf, "dcutlu": math.inf}
    for run in material.runs:
        unit, epochs = str(run.config["network"].get("activation")).partition("(")[0], _epochs_to_target(run)
        if unit in fewest and epochs is not None:
            fewest[unit] = min(fewest[unit], epochs)
    text = " against ".join(f"{epochs:g}" if math.isfinite(epochs) else "none" for epochs in fewest.values())
    reached = math.isfinite(min(fewest.values()))
    return fewest["relu"] / fewest["dcutlu"] if reached else None, f"{text} epochs"


MINI_BATCH = Measure("seconds of a mini-batch of 3,000, {}", "s", _mini_batch, any_size=True)
FEWEST_EPOCHS = Measure("fewest epochs to the target, ReLU over DCutLU", "", _fewest_epochs)


def _table_3(method: str, theirs: str, mean: float, spread: float) -> Reported:
    statement, source = f"{mean:g} s, standard deviation {spread:g}", f"{theirs}; {PAPER.name}, Table 3"
    return Reported(MINI_BATCH, method, mean, statement, source, beside="another machine")


def _rates(material: Material) -> tuple[Figure, Rows]:
    """Epochs to the target against rho."""
    figure, axes = plt.subplots()
    settings_against_target(axes, material.runs, "rho", "epochs")
    axes.legend(loc="upper left", bbox_to_anchor=(-0.15, -0.17), ncols=2, columnspacing=1.2)
    rows: Rows = []
    for run in material.runs:
        rho = run.method_block[1].get("rho")
        row = {"source": "ours", "method": run.method, "seed": run.row.get("seed")}
        row |= {"rho": rho[0] if isinstance(rho, list) else rho}
        rows.append({**row, "epochs": _epochs_to_target(run), "status": run.status})
    return figure, rows


def _mini_batches(material: Material) -> tuple[Figure, Rows]:
    """Table 3: seconds of a mini-batch, ours and theirs."""
    rows: Rows = []
    body = []
    for reported in material.entry.reported:
        mean, spread = per_iteration(material.finished(reported.method))
        rows.append({"source": "ours", "method": reported.method, "mean_s": mean, "standard_deviation_s": spread})
        body.append([reported.method, seconds(mean), seconds(spread), f"{reported.paper:g}"])
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
        differs="the paper does not say how often it ran; its methods end in -printed, the others are ours",
        reported=tuple(
            Reported(FINAL_ACCURACY, method, paper, f"{paper:g} % at the last iteration", _SOURCE, 60_000)
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
        methods=tuple(f"{unit}-{rate}" for unit in ("relu", "dcutlu") for rate in RATES),
        repeats=1,
        quick=Quick(
            "3,000 rows in one mini-batch, 100-120 units, a loss of 0.5 instead of 0.05, 3 rates of 7",
            ("data.first=3000", "network.layers=[100, 120]", "stop.epochs=30", "stop.target=0.5"),
            tuple(f"{unit}-{rate}" for unit in ("relu", "dcutlu") for rate in ("0.02", "0.05", "0.2")),
        ),
        reported=(Reported(FEWEST_EPOCHS, "relu", None, *_FEWER),),
    ),
    Entry(
        "zhang-table3",
        PAPER,
        "Table 3",
        "MNIST: seconds of a mini-batch of 3,000",
        Drawing("minibatch-table", _mini_batches, "table"),
        config="mnist-graph",
        methods=tuple(method for method, *_ in TABLE_3),
        quick=Quick(
            "8 epochs instead of 100 (3 of DCutLU), 1 repeat",
            ("stop.epochs=8", "methods.graph-dcutlu.stop.epochs=3"),
        ),
        differs="theirs ran on a MacBook Pro; the spread is over epochs here",
        reported=tuple(_table_3(*row) for row in TABLE_3),
    ),
)

_FIGURE_2A = Work("mnist-graph", ("graph-printed", "adam-printed", "sgd-printed"))
CLAIMS: tuple[Claim, ...] = (
    Claim(
        "zhang-accuracy",
        PAPER,
        "section 5.0.1",
        "ADMM ends at a higher test accuracy than Adam and SGD: 98.41 % against 98.23 % and 97.98 %.",
        all_of(greater(FINAL, "graph-printed", "adam-printed"), greater(FINAL, "graph-printed", "sgd-printed")),
        (_FIGURE_2A,),
        figure="zhang-2a",
    ),
)
