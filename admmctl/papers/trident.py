"""Burmeister's report on Trident: random features of a kernel, wide layers, and random subsets of the rows.

What it shows of SVHN and HIGGS is Taylor et al.'s; its explanatory figures are in ``explained.py``.
"""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from admmctl.papers import taylor
from admmctl.papers.draw import curves
from admmctl.papers.entry import Claim, Drawing, Entry, Material, Ours, Paper, Quick, Rows
from admmctl.papers.measures import accuracy_after, final_accuracy, per_iteration, some
from admmctl.report import style
from admmctl.report.figures import View
from admmctl.report.statistics import median
from admmctl.report.text import seconds
from admmctl.runs.recorded import Recorded

PAPER = Paper("Burmeister (Trident)", "Burmeister")
DEEP = ("shallow-full", "shallow-stochastic", "deep-full", "deep-stochastic")


# --- Figure 6: units that start as random features of a kernel


def _kernel(side: str, data: str, config: str, quick: Quick, differs: str) -> Entry:
    statement = "a graph without numbers; cosine units start higher and stay above"
    return Entry(
        f"trident-6-{side}",
        PAPER,
        f"Figure 6, {side}",
        f"{data}: cosine units from a kernel against tanh units",
        curves("accuracy-iterations", View(against="iterations")),
        config=config,
        methods=("cosine-kernel", "tanh-random", "random-features"),
        quick=quick,
        differs=f"settings are from our own search{differs}",
        claims=tuple(
            Claim(
                f"test accuracy after {updates} updates, {method}",
                "%",
                None,
                statement,
                "Burmeister, section 2.3",
                accuracy_after(updates),
                method,
            )
            for method in ("cosine-kernel", "tanh-random")
            for updates in (5, 50)
        ),
    )


# --- Figure 12: W-updates of a wide layer from p columns of a a'


def _final(method: str, statement: str, source: str = "") -> Claim:
    return Claim(f"final test accuracy, {method}", "%", None, statement, source, final_accuracy, method)


def _cost_over_exact(material: Material, method: str) -> Ours:
    ours, _ = per_iteration(some(material, method))
    exact, _ = per_iteration(material.finished("exact"))
    return ours / exact, f"{ours / exact:.2g} ({seconds(ours)} s against {seconds(exact)} s)"


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
    """A method's update, its p, and what came of it."""
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


# --- section 4.2: random subsets of the rows


def _deep(name: str, rows: int) -> Entry:
    statement = 'no number; ADMM on all rows "settles on a local minimum" in deep nets'
    return Entry(
        f"trident-deep-{name}",
        PAPER,
        "section 4.2",
        f"{name.upper()}: ADMM on all rows against random subsets, shallow and deep",
        curves("accuracy-epochs", View(against="epochs")),
        config=f"{name}-stochastic",
        methods=DEEP,
        quick=Quick(f"{rows:,} rows, 15 epochs, 1 repeat", (f"data.first={rows}", "stop.epochs=15")),
        differs="the report proposes random subsets as future work and has no numbers",
        claims=tuple(_final(method, statement, "Burmeister, section 4") for method in DEEP),
    )


ENTRIES = (
    _kernel(
        "left",
        "Swiss roll",
        "swissroll-kernel",
        Quick("40,000 rows instead of 160,000, 1 repeat", ("data.rows=40000", "stop.epochs=4")),
        "",
    ),
    _kernel(
        "right",
        "SVHN",
        "svhn-kernel",
        Quick("10,000 rows, 5 epochs, 1 repeat", ("data.first=10000", "stop.epochs=5")),
        ", on 800 digits; the report does not give its width",
    ),
    *taylor.SVHN.entries("trident", PAPER, 10),
    *taylor.HIGGS.entries("trident", PAPER, 11),
    Entry(
        "trident-12",
        PAPER,
        "Figure 12 (its study)",
        "MNIST, a wide layer: W-updates from p columns of a a', by p",
        Drawing("low-rank", _low_rank),
        config="mnist-wide",
        methods=(
            "exact",
            "nystrom",
            "nystrom-pcg",
            "nystrom-100",
            "nystrom-200",
            "nystrom-800",
            "nystrom-1600",
            "nystrom-leverage",
        ),
        quick=Quick(
            "1,200 units instead of 4,000, 4,000 rows, 5 iterations, p up to 800, 1 repeat",
            ("network.layers=[1200]", "data.first=4000", "stop.iterations=5"),
            ("exact", "nystrom", "nystrom-pcg", "nystrom-100", "nystrom-200", "nystrom-800"),
        ),
        differs="the report proposes the update and shows its matrices; this is what it does in training",
        claims=(
            Claim(
                "seconds of an iteration from a tenth of the columns, over the exact one",
                "",
                None,
                "a large amount is expected, no number",
                "Burmeister, section 4.1.2",
                _cost_over_exact,
                "nystrom",
            ),
            _final("exact", "no number"),
            _final("nystrom", "no number"),
        ),
    ),
    _deep("mnist", rows=5_000),
    _deep("higgs", rows=10_000),
)
