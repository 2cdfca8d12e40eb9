"""Burmeister's report on Trident: random features of a kernel, wide layers, and random subsets of the rows.

Its figures of SVHN and HIGGS are those of ``taylor.py``; its explanatory figures are in ``explained.py``.
"""

from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from admmctl.papers import taylor
from admmctl.papers.draw import curves
from admmctl.papers.entry import Drawing, Entry, Material, Measure, Ours, Paper, Quick, Reported, Rows
from admmctl.papers.measures import FINAL_ACCURACY, NoRun, accuracy_after, finished_runs, per_iteration
from admmctl.report import style
from admmctl.report.figures import View
from admmctl.report.text import seconds
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import median

PAPER = Paper("Burmeister (Trident)", "Burmeister")
DEEP = ("shallow-full", "shallow-stochastic", "deep-full", "deep-stochastic")
_HIGHER = ("a graph without numbers; cosine units start higher and stay above", "Burmeister, section 2.3")
_INITIAL = ('no number; "far better initial accuracy"', "Burmeister, section 2.3")
_SETTLES = ('no number; ADMM on all rows "settles on a local minimum" in deep nets', "Burmeister, section 4")
_CHEAPER = ("a large amount is expected, no number", "Burmeister, section 4.1.2")


# --- Figure 12: W-updates of a wide layer from p columns of a a'


def _cost_over_exact(material: Material, method: str) -> Ours:
    ours, _ = per_iteration(finished_runs(material, method))
    exact, _ = per_iteration(material.finished("exact"))
    return ours / exact, f"{ours / exact:.2g} ({seconds(ours)} s against {seconds(exact)} s)"


COST_OVER_EXACT = Measure(
    "seconds of an iteration from a tenth of the columns, over the exact one", "", _cost_over_exact
)


def _low_rank(material: Material) -> tuple[Figure, Rows]:
    """Seconds of an iteration and test accuracy by the number of columns p, exact beside them."""
    size = (style.COLUMN_WIDTH * 2.1, style.COLUMN_WIDTH * 0.9)
    figure, (cost, quality) = plt.subplots(1, 2, figsize=size, layout="constrained")
    methods = dict.fromkeys(run.method for run in material.runs)
    rows = [_row(method, runs) for method in methods if (runs := material.finished(method))]
    looks = {"nystrom": (style.BLUE, "o"), "nystrom-pcg": (style.VERMILLION, "s"), "exact": (style.BLACK, "")}
    for update, (color, marker) in looks.items():
        for columns, fill in (("uniform", color), ("leverage", "white")):
            chosen = [row for row in rows if (row["update"], row["columns"] or "uniform") == (update, columns)]
            chosen.sort(key=lambda row: row["p"] or 0)
            for axes, key in ((cost, "seconds_per_iteration"), (quality, "final_test_accuracy")):
                if chosen and update == "exact":
                    axes.axhline(chosen[0][key], color=color, linestyle="--", linewidth=1)
                elif chosen:
                    x, y = [row["p"] for row in chosen], [row[key] for row in chosen]
                    axes.plot(x, y, marker=marker, color=color, markerfacecolor=fill)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="--" if name == "exact" else "-", label=name)
        for name, (color, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    for axes, label in ((cost, "seconds of an iteration (train_s)"), (quality, "test accuracy")):
        axes.set_xlabel("columns p of the sketch")
        axes.set_xlim(left=0)
        axes.set_ylabel(label)
    cost.set_ylim(bottom=0)
    return figure, rows


def _row(method: str, runs: list[Recorded]) -> dict[str, Any]:
    """A method's W-update, its p, its seconds and its accuracy."""
    _, block = runs[0].method_block
    update, p = block.get("w_update", "exact"), None
    if update != "exact":  # p is a number of columns, or a share of the widest layer's inputs
        network = runs[0].config["network"]
        inputs = max(network["layers"]) + bool(network.get("bias", True))
        p = float(block["rank"] if block["rank"] >= 1 else round(block["rank"] * inputs))
    final = [run.number("final_test_accuracy") for run in runs]
    return {
        "source": "ours",
        "method": method,
        "update": update,
        "columns": block.get("columns"),
        "p": p,
        "seconds_per_iteration": per_iteration(runs)[0],
        "final_test_accuracy": median([value for value in final if value is not None]).value,
    }


# --- Figure 6: the accuracy at its start, as the report finds it


def _first_accuracy(material: Material, method: str) -> Ours:
    """Test accuracy after one update: of cosine units at the scale that has the highest, as in the report."""
    if method == "tanh":
        return FINAL_ACCURACY.ours(material, method)
    methods = {run.method for run in material.runs if run.method.startswith(_COSINE)}
    found = {name: FINAL_ACCURACY.ours(material, name) for name in methods if material.finished(name)}
    best = max(found, key=lambda name: found[name][0] or -1.0, default=None)
    if best is None:
        raise NoRun(method)
    accuracy, text = found[best]
    return accuracy, f"{text}, at a scale of {best.removeprefix(_COSINE)}, the best of {len(found)}"


FIRST_ACCURACY = Measure("test accuracy after one update, {}", "%", _first_accuracy)
_COSINE = "cosine-"  # begins the names of methods that end in the scale of their kernel


def _starts(material: Material) -> tuple[Figure, Rows]:
    """Test accuracy after one update against the kernel's scale; that of tanh units beside it."""
    figure, axes = plt.subplots()
    runs = [run for run in material.runs if run.number("final_test_accuracy") is not None]
    rows: Rows = [
        {
            "source": "ours",
            "method": run.method,
            "seed": run.row.get("seed"),
            "scale": float(run.method.removeprefix(_COSINE)) if run.method.startswith(_COSINE) else None,
            "final_test_accuracy": run.number("final_test_accuracy"),
        }
        for run in runs
    ]
    scales = sorted({row["scale"] for row in rows if row["scale"] is not None})
    values = {
        scale: [row["final_test_accuracy"] for row in rows if row["scale"] == scale] for scale in (*scales, None)
    }
    cosine = [median(values[scale]).value for scale in scales]
    axes.plot(scales, cosine, color=style.BLUE, marker="o", label="cosine units, Gaussian kernel")
    low, high = [min(values[scale]) for scale in scales], [max(values[scale]) for scale in scales]
    axes.fill_between(scales, low, high, color=style.BLUE, alpha=0.15, linewidth=0)
    if None in values:
        look: dict[str, Any] = {"color": style.GREEN, "linestyle": "--", "label": "tanh units, random start"}
        axes.axhline(median(values[None]).value, **look)
    axes.set_xscale("log")
    axes.set_xticks(scales, [f"{scale:g}" for scale in scales], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("scale of the kernel (log)")
    axes.set_ylabel("test accuracy after one update")
    axes.legend(loc="best")
    return figure, rows


# --- the figures

_KERNEL = Entry(
    "trident-6-left",
    PAPER,
    "Figure 6, left",
    "Swiss roll: cosine units from a kernel against tanh units",
    curves("accuracy-iterations", View(against="iterations")),
    config="swissroll-kernel",
    methods=("cosine-kernel", "tanh-random", "random-features"),
    quick=Quick("40,000 rows instead of 160,000, 1 repeat", ("data.rows=40000", "stop.epochs=4")),
    differs="settings are from our own search",
    reported=tuple(
        Reported(accuracy_after(updates), method, None, *_HIGHER)
        for method in ("cosine-kernel", "tanh-random")
        for updates in (5, 50)
    ),
)
_START = Entry(
    "trident-6-start-left",
    PAPER,
    "Figure 6, left (its start)",
    "Swiss roll: accuracy after one update by the scale of the kernel",
    Drawing("starts", _starts),
    config="swissroll-start",
    methods=(*(f"{_COSINE}{scale}" for scale in ("0.1", "0.2", "0.4", "0.77", "1.5", "3")), "tanh"),
    quick=Quick("40,000 rows instead of 160,000, 1 repeat", ("data.rows=40000",)),
    differs="the scale is chosen by test accuracy, as in the report; rates are those of our own search",
    reported=tuple(Reported(FIRST_ACCURACY, method, None, *_INITIAL) for method in ("cosine", "tanh")),
)
_SUBSETS = Entry(
    "trident-deep-mnist",
    PAPER,
    "section 4.2",
    "MNIST: ADMM on all rows against random subsets, shallow and deep",
    curves("accuracy-epochs", View(against="epochs")),
    config="mnist-stochastic",
    methods=DEEP,
    quick=Quick("5,000 rows, 15 epochs, 1 repeat", ("data.first=5000", "stop.epochs=15")),
    differs="the report proposes random subsets as future work and has no numbers",
    reported=tuple(Reported(FINAL_ACCURACY, method, None, *_SETTLES) for method in DEEP),
)
_WIDE = Entry(
    "trident-12",
    PAPER,
    "Figure 12 (its study)",
    "MNIST, a wide layer: W-updates from p columns of a a', by p",
    Drawing("low-rank", _low_rank),
    config="mnist-wide",
    methods=("exact", "nystrom", "nystrom-pcg", *(f"nystrom-{p}" for p in (100, 200, 800, 1600, "leverage"))),
    quick=Quick(
        "1,200 units instead of 4,000, 4,000 rows, 5 iterations, p up to 800, 1 repeat",
        ("network.layers=[1200]", "data.first=4000", "stop.iterations=5"),
        ("exact", "nystrom", "nystrom-pcg", "nystrom-100", "nystrom-200", "nystrom-800"),
    ),
    differs="the report proposes the update and shows its matrices; this is what it does in training",
    reported=(
        Reported(COST_OVER_EXACT, "nystrom", None, *_CHEAPER),
        Reported(FINAL_ACCURACY, "exact", None, "no number"),
        Reported(FINAL_ACCURACY, "nystrom", None, "no number"),
    ),
)
ENTRIES = (
    _KERNEL,
    _START,
    replace(
        _KERNEL,
        name="trident-6-right",
        number="Figure 6, right",
        shows="SVHN: cosine units from a kernel against tanh units",
        config="svhn-kernel",
        quick=Quick("10,000 rows, 5 epochs, 1 repeat", ("data.first=10000", "stop.epochs=5")),
        differs="settings are from our own search, on 800 digits; the report does not give its width",
    ),
    replace(
        _START,
        name="trident-6-start-right",
        number="Figure 6, right (its start)",
        shows="SVHN: accuracy after one update by the scale of the kernel",
        config="svhn-start",
        methods=(*(f"{_COSINE}{scale}" for scale in ("5", "10", "17", "30", "50", "100")), "tanh"),
        quick=Quick("10,000 rows, 1 repeat", ("data.first=10000",)),
    ),
    *(
        replace(entry, name=f"trident-{number}", paper=PAPER, number=f"Figure {number}")
        for entry, number in zip(taylor.ENTRIES, ("10a", "10b", "11a", "11b"), strict=True)
    ),
    _WIDE,
    _SUBSETS,
    replace(
        _SUBSETS,
        name="trident-deep-higgs",
        shows="HIGGS: ADMM on all rows against random subsets, shallow and deep",
        config="higgs-stochastic",
        quick=Quick("10,000 rows, 15 epochs, 1 repeat", ("data.first=10000", "stop.epochs=15")),
    ),
)
