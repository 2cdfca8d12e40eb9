"""The explanatory figures, drawn from the points that ``papers/explained.py`` computes, and their list."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.files import STDOUT, write_csv
from admmctl.report import style
from admmctl.runs.places import root

Rows = list[dict[str, Any]]
Facts = dict[str, Any]
WIDTH = style.COLUMN_WIDTH * 1.35
# Two classes, told apart by colour and by shape.
CLASSES: dict[int, dict[str, Any]] = {
    0: {"color": style.VERMILLION, "marker": "x", "label": "class 0"},
    1: {"color": style.BLUE, "marker": "o", "label": "class 1"},
}
ROLL = 21 / 89.4  # the ribbon's width over its length, along the spiral


def make_folder(folder: Path | None) -> Path:
    """Where figures land, ``results/figures`` by default. Raises UserError where there can be none."""
    if folder == STDOUT:
        raise UserError("--output -: expected a folder, for there are several files")
    folder = folder or root() / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} is no folder to write to: {error.strerror}; name another: --output") from None
    return folder


def illustrate(name: str, rows: Rows, facts: Facts, images: NDArray[Any] | None, folder: Path) -> list[Path]:
    """The figure as PNG and PDF, its rows as CSV. Raises UserError where they cannot be written."""
    figure = DRAWINGS[name](rows, facts) if images is None else image_grid(rows, facts, images)
    points = folder / f"{name}.csv"
    try:
        written = style.save(figure, folder / name)
        write_csv(points, list(dict.fromkeys(key for row in rows for key in row)), rows)
    except OSError as error:
        raise UserError(f"{folder}/{name}.* cannot be written: {error.strerror}; name another: --output") from None
    finally:
        plt.close(figure)
    return [*written, points]


def column(rows: Rows, key: str, **only: Any) -> NDArray[Any]:
    """The values of ``key`` in the rows that have all of ``only``."""
    return np.array([row[key] for row in rows if all(row.get(name) == value for name, value in only.items())])


def panels(down: int, across: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure one column wide, ``height`` inches per row of panels."""
    figure, axes = plt.subplots(down, across, figsize=(WIDTH, height * down), layout="constrained", **options)
    return figure, list(np.ravel(axes))


# --- what a network is


def neuron(rows: Rows, facts: Facts) -> Figure:
    """One unit as sums and a bend, and a small network of them."""
    figure, (one, whole) = panels(1, 2, 2.5, width_ratios=(1, 1.25))
    for axes in (one, whole):
        axes.set_axis_off()
    for place, (name, weight) in enumerate(
        zip(("$a_1$", "$a_2$", "$a_3$", "1"), ("w_1", "w_2", "w_3", "b"), strict=True)
    ):
        height = 1.5 - place
        _arrow(one, (0, height), (1.8, 0))
        _unit(one, 0, height, name)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        one.text(0.8, height * (1 - 0.8 / 1.8), f"${weight}$", ha="center", va="center", bbox=box)
    _arrow(one, (1.8, 0), (3.0, 0))
    _arrow(one, (3.0, 0), (4.1, 0))
    _unit(one, 1.8, 0, r"$\Sigma$", style.SKY)
    _unit(one, 3.0, 0, "$h$", style.ORANGE)
    one.text(2.35, 0.18, "$z$", ha="center")
    one.text(3.85, 0, "$a_l$", ha="left", va="center")
    one.text(0, -2.3, "inputs\n$a_{l-1}$", ha="center", va="top", fontsize=8)
    one.set(xlim=(-0.5, 4.3), ylim=(-3.2, 2.1), aspect="equal")
    one.set_title("one neuron: $a_l = h(z)$", loc="center")

    layers = [[row for row in rows if row["layer"] == layer] for layer in range(len(facts["sizes"]))]
    for below, above in pairwise(layers):
        for start in below:
            for end in above:
                ends = (1.4 * start["x"], 1.4 * end["x"]), (start["y"], end["y"])
                whole.plot(*ends, color=style.GREY, linewidth=0.4, zorder=1)
    for units in layers:
        x, last = 1.4 * units[0]["x"], units[0]["layer"] == len(layers) - 1
        for unit in units:
            color = "white" if unit["layer"] == 0 else style.SKY if last else style.ORANGE
            whole.add_patch(plt.Circle((x, unit["y"]), 0.26, facecolor=color, edgecolor="black", zorder=2))
        if units[-1]["unit"] != len(units):
            between = (units[-2]["y"] + units[-1]["y"]) / 2
            whole.plot([x] * 3, between + np.array([-0.3, 0, 0.3]), ".", color="black", markersize=3, zorder=3)
        name = "inputs" if units[0]["layer"] == 0 else "output" if last else "hidden"
        whole.text(x, -3.2, f"{units[-1]['unit']}\n{name}", ha="center", va="top", fontsize=8)
    whole.set(xlim=(-0.6, 4.8), ylim=(-4.1, 2.9), aspect="equal")
    whole.set_title("a network: " + "-".join(map(str, facts["sizes"])), loc="center")
    return figure


def _unit(axes: Axes, x: float, y: float, name: str, color: str = "white") -> None:
    axes.add_patch(plt.Circle((x, y), 0.3, facecolor=color, edgecolor="black", zorder=2))
    axes.text(x, y, name, ha="center", va="center", zorder=3)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Between two units, from rim to rim."""
    way = np.subtract(end, start)
    rim = 0.3 * way / np.hypot(*way)
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "color": "black", "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(tuple(start + rim), tuple(end - rim), linewidth=0.8, **look))


def activations(rows: Rows, facts: Facts) -> Figure:
    """Each activation, and its derivative."""
    figure, axes = panels(4, 2, 1.35, sharex=True)
    titles = {
        "relu": "ReLU",
        "hard-sigmoid": "hard-sigmoid: piecewise linear",
        "sigmoid": "logistic sigmoid",
        "cosine": "cosine, layer of $D = 2$ units",
    }
    key, drawn = axes[1], [axes[0], *axes[2:]]
    for panel, name in zip(drawn, facts["activations"], strict=True):
        z = column(rows, "z", activation=name)
        panel.plot(z, column(rows, "slope", activation=name), "--", color=style.ORANGE, linewidth=1)
        panel.plot(z, column(rows, "h", activation=name), color=style.BLUE)
        panel.set_title(titles.get(name, name), loc="left")
        panel.set_ylim((-0.3, 4.2) if name == "relu" else (-1.25, 1.25))
    for panel in axes[-2:]:
        panel.set_xlabel("$z$")
    key.set_axis_off()
    lines = [Line2D([], [], color=style.BLUE), Line2D([], [], color=style.ORANGE, linestyle="--", linewidth=1)]
    key.legend(lines, ["$h(z)$", "its slope"], loc="center")
    return figure


# --- the toy problems


def polynomials(rows: Rows, facts: Facts) -> Figure:
    """A panel for every fit, and below them the errors."""
    names = [name for name in dict.fromkeys(row["panel"] for row in rows) if name != "rms"]
    down = len(names) // 2
    figure = plt.figure(figsize=(WIDTH, 1.6 * (down + 1.2)), layout="constrained")
    grid = figure.add_gridspec(down + 1, 2, height_ratios=[1.0] * down + [1.2])
    for place, name in enumerate(names):
        axes = figure.add_subplot(grid[place // 2, place % 2])

        def line(kind: str, panel: str = name) -> tuple[NDArray[Any], NDArray[Any]]:
            return column(rows, "x", panel=panel, kind=kind), column(rows, "y", panel=panel, kind=kind)

        axes.plot(*line("sine"), "--", color=style.GREEN, label="sin 2πx")
        axes.plot(*line("fit"), color=style.VERMILLION, label="fit")
        axes.plot(
            *line("observed"), "o", color=style.BLUE, markerfacecolor="none", markersize=3.5, label="observed"
        )
        axes.set(ylim=(-2, 2), xlabel="$x$" if place // 2 == down - 1 else "")
        axes.set_title(f"${name}$", loc="left")
        if place % 2 == 0:
            axes.set_ylabel("$y$")
        if place == 0:
            figure.legend(loc="outside upper center", ncols=3)
    errors = figure.add_subplot(grid[down, :])
    for kind, color, marker in (("training", style.BLUE, "o"), ("fresh", style.VERMILLION, "s")):
        x, y = column(rows, "x", panel="rms", kind=kind), column(rows, "y", panel="rms", kind=kind)
        label = "on the points of the fit" if kind == "training" else f"on {facts['fresh']:,} fresh points"
        errors.plot(x, y, color=color, marker=marker, label=label)
    errors.axhline(facts["noise"], color=style.GREY, linestyle=":", label="standard deviation of the noise")
    errors.legend(loc="best")
    errors.set_ylim(bottom=0)
    if "M" in facts:
        errors.set_xscale("log")
        errors.set_xlabel(f"samples $n$ (log), $M = {facts['M']}$; medians of {facts['draws']} draws")
        errors.set_xticks(
            [10, 20, 50, 100, 200, 500, 1000], labels=["10", "20", "50", "100", "200", "500", "1,000"]
        )
        errors.xaxis.set_minor_formatter(NullFormatter())
    else:
        errors.set_xlabel(f"features $M$ beside the constant, $n = {facts['n']}$")
        errors.set_xticks(range(10))
    errors.set_ylabel("rms error of $y$")
    return figure


def features(rows: Rows, facts: Facts) -> Figure:
    """Points on a line, apart once their squares are drawn beside them."""
    figure, (line, plane) = panels(2, 1, 1.6, height_ratios=(0.35, 1), sharex=True)
    for label, look in CLASSES.items():
        x, squares = column(rows, "x", **{"class": label}), column(rows, "x^2", **{"class": label})
        line.scatter(x, np.zeros_like(x), s=16, linewidth=1, **look)
        plane.scatter(x, squares, s=16, linewidth=1, **look)
    fine = np.linspace(-3, 3, 201)
    plane.plot(fine, fine**2, color=style.GREY, linewidth=0.6, zorder=1)
    plane.axhline(facts["threshold"], color=style.GREEN, label=f"$x^2 = {facts['threshold']:.2f}$")
    line.set(yticks=[], ylim=(-1, 1))
    line.grid(False)
    line.spines["left"].set_visible(False)
    line.set_title(f"$x$ alone: the best threshold gets {100 * facts['accuracy_x']:.0f} % right", loc="left")
    plane.set_title(f"with the feature $x^2$: a line gets {100 * facts['accuracy_x2']:.0f} %", loc="left")
    plane.set(xlabel="$x$", ylabel="$x^2$")
    plane.legend(loc="upper center")
    return figure


def boundary(rows: Rows, facts: Facts) -> Figure:
    """Training a unit: its cost, and the boundary that moves."""
    figure, axes = panels(3, 2, 1.75)
    training = {row["iteration"]: row for row in rows if row["part"] == "training"}
    x = np.array([0.0, 4.0])
    for panel, iteration in zip(axes[1:], facts["iterations"], strict=True):
        for label, look in CLASSES.items():
            of_class = {"part": "data", "class": label}
            panel.scatter(column(rows, "x", **of_class), column(rows, "y", **of_class), s=8, linewidth=0.8, **look)
        row = training[iteration]
        panel.plot(x, -(row["w_1"] + row["w_x"] * x) / row["w_y"], color=style.GREEN, label="boundary")
        panel.set(xlim=(0, 4), ylim=(-3, 22), xlabel="$x$", ylabel="$y$")
        panel.set_title(f"{iteration:,} iterations: {100 * row['accuracy']:.0f} % right", loc="left")
    axes[0].plot(list(training), [row["objective"] for row in training.values()], color=style.BLUE)
    shown = [training[iteration]["objective"] for iteration in facts["iterations"]]
    axes[0].plot(facts["iterations"], shown, "o", color=style.GREEN)
    axes[0].set(xlabel="iteration", ylabel="objective (log)", yscale="log", xticks=[0, 1000, 2000, 3000])
    style.log_axis(axes[0])
    axes[0].set_title("mean logistic loss", loc="left")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


# --- data


def swissroll(rows: Rows, facts: Facts) -> Figure:
    """The ribbon laid flat, and rolled up."""
    figure = plt.figure(figsize=(WIDTH, 4.4))
    ribbon = figure.add_axes((0.1, 0.8, 0.87, 0.87 * ROLL * WIDTH / 4.4))
    roll: Any = figure.add_axes((0.02, -0.02, 0.9, 0.72), projection="3d")
    classes = column(rows, "class")
    # One collection, which is drawn from back to front: neither class lies over the other.
    edges = [CLASSES[label]["color"] for label in classes]
    look: dict[str, Any] = {
        "s": 8,
        "edgecolors": edges,
        "facecolors": [edge if label else "white" for label, edge in zip(classes, edges, strict=True)],
    }
    ribbon.scatter(column(rows, "along"), column(rows, "across"), linewidth=0.6, **look)
    roll.scatter(*(column(rows, key) for key in "xyz"), linewidth=0.6, depthshade=False, **look)
    ribbon.set(xlabel="along the ribbon (fraction)", ylabel="across", xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
    ribbon.set_title(f"the ribbon, {facts['n']:,} points", loc="left")
    roll.set_box_aspect((28, 21, 28), zoom=1.1)
    roll.view_init(elev=12, azim=-70)
    roll.set(yticks=[0, 10, 20])
    roll.tick_params(pad=-2, labelsize=8)
    for set_label, name in ((roll.set_xlabel, "$x$"), (roll.set_ylabel, "$y$"), (roll.set_zlabel, "$z$")):
        set_label(name, labelpad=-6)
    marks = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markeredgecolor=CLASSES[label]["color"],
            markerfacecolor=fill,
            label=f"class {label}",
        )
        for label, fill in ((0, "white"), (1, CLASSES[1]["color"]))
    ]
    figure.legend(handles=marks, loc="upper right", bbox_to_anchor=(1.0, 0.66))
    return figure


def image_grid(rows: Rows, facts: Facts, images: NDArray[Any]) -> Figure:
    """A column of images for every label."""
    down = 1 + max(row["place"] for row in rows)
    figure, axes = panels(down, 10, WIDTH / 10, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for panel in axes:
        panel.set_axis_off()
    for row, image in zip(rows, images, strict=True):
        axes[10 * row["place"] + row["label"]].imshow(image, interpolation="nearest")
    for label in range(10):
        axes[label].set_title(str(label), loc="center")
    figure.suptitle(f"by label, of the first {facts['searched']:,} training rows", fontsize=9)
    return figure


DRAWINGS: dict[str, Callable[[Rows, Facts], Figure]] = {
    "neuron": neuron,
    "activations": activations,
    "polynomials-parameters": polynomials,
    "polynomials-samples": polynomials,
    "features": features,
    "swissroll": swissroll,
    "boundary": boundary,
}
