"""A study of our own on two claims of Taylor et al. without a figure: saturation, and multipliers in deep nets.

Networks of 1 to 8 hidden layers of hard-sigmoid units. Each method has penalties or a rate of its own, from eight
trials on held-back rows.
"""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from admmctl.papers.entry import Drawing, Entry, Material, Quick, Reported, Rows
from admmctl.papers.measures import FINAL_ACCURACY
from admmctl.papers.taylor import PAPER
from admmctl.report import style
from admmctl.studies.statistics import median

DEPTHS = (1, 2, 4, 8)
# By the first part of a method's name: its colour, marker and line.
LOOKS = {
    "admm": (style.BLUE, "o", "-"),
    "printed": (style.GREY, "s", "--"),
    "none": (style.SKY, "^", ":"),
    "sgd": (style.ORANGE, "v", "-"),
    "adam": (style.PURPLE, "D", "-"),
}
LABELS = {
    "admm": "ADMM (ours)",
    "printed": "ADMM, multipliers as printed",
    "none": "ADMM without multipliers",
    "sgd": "SGD",
    "adam": "Adam",
}
_NECESSARY = ('no number; multipliers are "necessary for training deeper networks"', f"{PAPER.name}, section 2.2")
_ROBUST = ('no number; "robust to gradient saturation"', f"{PAPER.name}, section 1")


def _draw(material: Material) -> tuple[Figure, Rows]:
    """Test error against the number of hidden layers: medians over repeats, and all of them as a band."""
    figure, axes = plt.subplots()
    rows: Rows = []
    for kind, (color, marker, line) in LOOKS.items():
        found = [_row(kind, depth, material) for depth in DEPTHS if material.finished(f"{kind}-{depth}")]
        depths, errors = [row["hidden_layers"] for row in found], [1 - row["final_test_accuracy"] for row in found]
        axes.plot(depths, errors, color=color, marker=marker, linestyle=line, label=LABELS[kind])
        worst, best = [1 - row["smallest"] for row in found], [1 - row["largest"] for row in found]
        axes.fill_between(depths, best, worst, color=color, alpha=0.15, linewidth=0)
        rows += found
    axes.set_xscale("log", base=2)
    axes.set_xticks(DEPTHS, list(map(str, DEPTHS)))
    axes.set_xlabel("hidden layers of 50 hard-sigmoid units")
    axes.set_ylabel("test error (log)")
    style.error_axis(axes)
    style.legend_below(axes)
    axes.set_title(f"saturation, medians of {len(material.finished('admm-1')) or 1}", loc="left")
    return figure, rows


def _row(kind: str, depth: int, material: Material) -> dict[str, Any]:
    runs = material.finished(f"{kind}-{depth}")
    values = [value for run in runs if (value := run.number("final_test_accuracy")) is not None]
    return {
        "source": "ours",
        "method": f"{kind}-{depth}",
        "hidden_layers": depth,
        "final_test_accuracy": median(values).value,
        "smallest": min(values, default=float("nan")),
        "largest": max(values, default=float("nan")),
        "n": len(values),
    }


ENTRIES = (
    Entry(
        "taylor-depth",
        PAPER,
        "sections 1 and 2.2",
        "Swiss roll: test error by the number of hidden layers of saturating units",
        Drawing("depth", _draw),
        config="saturation",
        methods=tuple(f"{kind}-{depth}" for kind in LOOKS for depth in DEPTHS),
        repeats=6,
        quick=Quick("1 repeat"),
        differs="the paper claims it and shows no experiment: this one is ours, with our ridge, start and biases",
        reported=(
            *(Reported(FINAL_ACCURACY, f"{kind}-8", None, *_NECESSARY) for kind in ("printed", "none")),
            *(Reported(FINAL_ACCURACY, f"{kind}-8", None, *_ROBUST) for kind in ("admm", "sgd", "adam")),
        ),
    ),
)
