"""The explanatory figures of Burmeister's report: what a network is, its data, and toy problems.

A figure has a function that computes its points, a function that draws them, and an entry in the list at the end.
The functions of the toy problems are in ``toys.py``. Everything random depends on the seed only.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch
from numpy.typing import NDArray

from admmctl.data.svhn import FILES, SIDE, Svhn, SvhnSettings, read_digits
from admmctl.data.swissroll import SwissRollSettings, SwissRollSource
from admmctl.errors import DataError
from admmctl.model.activations import activation
from admmctl.papers import toys
from admmctl.papers.entry import Drawing, Entry, Material, Points, Request, Rows
from admmctl.papers.toys import CLASSES, WIDTH, panels, rows_of
from admmctl.papers.trident import PAPER
from admmctl.report import style

SIZES = (3, 100, 50, 1)  # units per layer of the drawn network, that of configs/swissroll.yaml
MOST_UNITS = 5  # of a layer that are drawn
PER_DIGIT, SEARCHED = 5, 500  # SVHN: images shown of every digit, and in how many rows they are searched
ROLL = 21 / 89.4  # the ribbon's width over its length, along the spiral


# --- what a network is


def neuron(request: Request) -> Points:
    """Where the units of a fully connected network are drawn, in rows (layer, unit, x, y).

    A wide layer shows its first units, a gap, and its last unit.
    """
    rows: Rows = []
    for layer, size in enumerate(SIZES):
        units = np.arange(1, min(size, MOST_UNITS) + 1)
        heights = units - 1.0
        if size > MOST_UNITS:
            units[-1] = size
            heights[-1] += 1  # the gap
        heights -= heights[-1] / 2
        rows += rows_of({"layer": layer, "unit": units, "x": float(layer), "y": -heights})
    return Points(rows, {"sizes": list(SIZES)})


def draw_neuron(points: Points) -> Figure:
    """One unit, as a sum and an activation, and a small network."""
    figure, (left, right) = panels(1, 2, 2.5, width_ratios=(1, 1.25))
    for axes in (left, right):
        axes.set_axis_off()
    for place, (name, weight) in enumerate((("$a_1$", "w_1"), ("$a_2$", "w_2"), ("$a_3$", "w_3"), ("1", "b"))):
        height = 1.5 - place
        _arrow(left, (0, height), (1.8, 0))
        _unit(left, 0, height, name)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        left.text(0.8, height * (1 - 0.8 / 1.8), f"${weight}$", ha="center", va="center", bbox=box)
    _arrow(left, (1.8, 0), (3.0, 0))
    _arrow(left, (3.0, 0), (4.1, 0))
    _unit(left, 1.8, 0, r"$\Sigma$", style.SKY)
    _unit(left, 3.0, 0, "$h$", style.ORANGE)
    left.text(2.35, 0.18, "$z$", ha="center")
    left.text(3.85, 0, "$a_l$", ha="left", va="center")
    left.text(0, -2.3, "inputs\n$a_{l-1}$", ha="center", va="top", fontsize=8)
    left.set(xlim=(-0.5, 4.3), ylim=(-3.2, 2.1), aspect="equal")
    left.set_title("one neuron: $a_l = h(z)$", loc="center")

    sizes = points.facts["sizes"]
    layers = [[row for row in points.rows if row["layer"] == layer] for layer in range(len(sizes))]
    for below, above in pairwise(layers):
        for start, end in product(below, above):
            ends = (1.4 * start["x"], 1.4 * end["x"]), (start["y"], end["y"])
            right.plot(*ends, color=style.GREY, linewidth=0.4, zorder=1)
    kinds = [("white", "inputs"), *[(style.ORANGE, "hidden")] * (len(sizes) - 2), (style.SKY, "output")]
    for units, (color, name) in zip(layers, kinds, strict=True):
        x = 1.4 * units[0]["x"]
        for unit in units:
            right.add_patch(Circle((x, unit["y"]), 0.26, facecolor=color, edgecolor="black", zorder=2))
        if units[-1]["unit"] != len(units):
            between = (units[-2]["y"] + units[-1]["y"]) / 2
            right.plot([x] * 3, between + np.array([-0.3, 0, 0.3]), ".", color="black", markersize=3, zorder=3)
        right.text(x, -3.2, f"{units[-1]['unit']}\n{name}", ha="center", va="top", fontsize=8)
    right.set(xlim=(-0.6, 4.8), ylim=(-4.1, 2.9), aspect="equal")
    right.set_title("a network: " + "-".join(map(str, sizes)), loc="center")
    return figure


def _unit(axes: Axes, x: float, y: float, name: str, color: str = "white") -> None:
    axes.add_patch(Circle((x, y), 0.3, facecolor=color, edgecolor="black", zorder=2))
    axes.text(x, y, name, ha="center", va="center", zorder=3)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Between two units, from rim to rim."""
    between = np.subtract(end, start)
    rim = 0.3 * between / np.hypot(*between)
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "color": "black", "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(tuple(start + rim), tuple(end - rim), linewidth=0.8, **look))


def activations(request: Request) -> Points:
    """h(z) and h'(z) of every activation, by its own class, and of the step function, which has none."""
    z = np.linspace(-4.0, 4.0, 401)
    step = {"activation": "step", "z": z, "h": np.heaviside(z, 0.0), "slope": np.where(z == 0, np.nan, 0.0)}
    names, rows = ["step"], rows_of(step)
    for name in ("tanh", "sigmoid", "relu", "hard-sigmoid", "dcutlu(-1, 1)", "cosine"):
        h = activation(name)
        units = np.tile(z, (2, 1)) if name == "cosine" else z[None]  # a layer of D = 2: sqrt(2/D) is 1
        a, slope = h.value(units, np.empty_like(units)), np.ones_like(units)
        h.pull_back(units, a, slope)
        names.append(name)
        rows += rows_of({"activation": name, "z": z, "h": a[0], "slope": slope[0]})
    return Points(rows, {"activations": names})


def draw_activations(points: Points) -> Figure:
    """Each activation, and its derivative."""
    figure, axes = panels(4, 2, 1.35, sharex=True)
    titles = {
        "relu": "ReLU",
        "hard-sigmoid": "hard-sigmoid: piecewise linear",
        "sigmoid": "logistic sigmoid",
        "cosine": "cosine, layer of $D = 2$ units",
    }
    key, drawn = axes[1], [axes[0], *axes[2:]]
    for panel, name in zip(drawn, points.facts["activations"], strict=True):
        z, h, slope = (points.column(key, activation=name) for key in ("z", "h", "slope"))
        panel.plot(z, slope, "--", color=style.ORANGE, linewidth=1)
        panel.plot(z, h, color=style.BLUE)
        panel.set_title(titles.get(name, name), loc="left")
        panel.set_ylim((-0.3, 4.2) if name == "relu" else (-1.25, 1.25))
    for panel in axes[-2:]:
        panel.set_xlabel("$z$")
    key.set_axis_off()
    lines = [Line2D([], [], color=style.BLUE), Line2D([], [], color=style.ORANGE, linestyle="--", linewidth=1)]
    key.legend(lines, ["$h(z)$", "its slope"], loc="center")
    return figure


# --- data


def swissroll(request: Request) -> Points:
    """Points of the roll, flat on the ribbon and rolled up."""
    n = 1_500
    source, rolled = SwissRollSource(SwissRollSettings(rows=n, seed=request.seed)), np.empty((n, 3), np.float32)
    source.inputs("train", range(n), rolled)
    (along, across), (x, y, z) = source.ribbon(range(n)).T, rolled.T
    columns = {"class": source.labels("train", range(n)), "along": along, "across": across, "x": x, "y": y, "z": z}
    return Points(rows_of(columns), {"n": n})


def draw_swissroll(points: Points) -> Figure:
    """The ribbon laid flat, and rolled up."""
    figure = plt.figure(figsize=(WIDTH, 4.4))
    ribbon = figure.add_axes((0.1, 0.8, 0.87, 0.87 * ROLL * WIDTH / 4.4))
    roll: Any = figure.add_axes((0.02, -0.02, 0.9, 0.72), projection="3d")
    classes = points.column("class")
    # One collection, which is drawn from back to front: neither class lies over the other.
    edges = [CLASSES[label]["color"] for label in classes]
    fills = [edge if label else "white" for label, edge in zip(classes, edges, strict=True)]
    look: dict[str, Any] = {"s": 8, "edgecolors": edges, "facecolors": fills, "linewidth": 0.6}
    ribbon.scatter(points.column("along"), points.column("across"), **look)
    roll.scatter(*(points.column(key) for key in "xyz"), depthshade=False, **look)
    ribbon.set(xlabel="along the ribbon (fraction)", ylabel="across", xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
    ribbon.set_title(f"the ribbon, {points.facts['n']:,} points", loc="left")
    roll.set_box_aspect((28, 21, 28), zoom=1.1)
    roll.view_init(elev=12, azim=-70)
    roll.set(yticks=[0, 10, 20])
    roll.tick_params(pad=-2, labelsize=8)
    for axis in "xyz":
        getattr(roll, f"set_{axis}label")(f"${axis}$", labelpad=-6)
    marks = [
        Line2D([], [], linestyle="", marker="o", markerfacecolor=fill, markeredgecolor=CLASSES[label]["color"])
        for label, fill in ((0, "white"), (1, CLASSES[1]["color"]))
    ]
    figure.legend(marks, ["class 0", "class 1"], loc="upper right", bbox_to_anchor=(1.0, 0.66))
    return figure


def digits(request: Request) -> Points:
    """The first images of every digit among the first training rows of SVHN, and their row numbers."""
    images, labels = _svhn(request.mirror)
    rows: Rows = [
        {"label": digit, "place": place, "row": int(row)}
        for digit in range(10)
        for place, row in enumerate(np.flatnonzero(labels == digit)[:PER_DIGIT])
    ]
    return Points(rows, {"searched": len(labels)}, images[[row["row"] for row in rows]])


def _svhn(mirror: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first training rows, from the prepared dataset or from the official file in ``mirror``."""
    if mirror is not None:
        name = FILES["train"].name
        path = next((place for place in (mirror / "svhn" / name, mirror / name) if place.is_file()), None)
        if path is None:
            raise DataError(f"--mirror {mirror}: there is no {name}, and no svhn/{name}")
        blocks, labels = read_digits(path, SEARCHED)
        return next(blocks), labels[:SEARCHED]
    source = Svhn().open(SvhnSettings())
    rows = range(min(SEARCHED, source.rows("train")))
    return source.stored("train", rows).reshape(-1, SIDE, SIDE, 3), source.labels("train", rows)


def draw_digits(points: Points) -> Figure:
    """A column of images for every label."""
    assert points.images is not None
    down = 1 + max(row["place"] for row in points.rows)
    figure, axes = panels(down, 10, WIDTH / 10, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for panel in axes:
        panel.set_axis_off()
    for row, image in zip(points.rows, points.images, strict=True):
        axes[10 * row["place"] + row["label"]].imshow(image, interpolation="nearest")
    for label in range(10):
        axes[label].set_title(str(label), loc="center")
    figure.suptitle(f"by label, of the first {points.facts['searched']:,} training rows", fontsize=9)
    return figure


# --- the list


def _entry(
    name: str,
    number: str,
    shows: str,
    compute: Callable[[Request], Points],
    draw: Callable[[Points], Figure],
    dataset: str | None = None,
) -> Entry:
    """An illustration, by its number in the report."""

    def points(request: Request) -> Points:
        found = compute(request)
        return replace(found, facts={**found.facts, "seed": request.seed})

    def drawing(material: Material) -> tuple[Figure, Rows]:
        assert material.points is not None
        return draw(material.points), material.points.rows

    drawn = Drawing("illustration", drawing, "illustration", "points")
    return Entry(name, PAPER, number, shows, drawn, repeats=1, points=points, dataset=dataset)


ENTRIES = (
    _entry("neuron", "Figure 1", "a neuron, and a network", neuron, draw_neuron),
    _entry("activations", "Figure 2", "activations and their slopes", activations, draw_activations),
    _entry("polynomials-parameters", "Figure 3", "overfitting, by parameters", toys.by_parameters, toys.draw_fits),
    _entry("polynomials-samples", "Figure 4", "and its cure, by samples", toys.by_samples, toys.draw_fits),
    _entry("features", "Figure 5", "classes that x^2 separates", toys.features, toys.draw_features),
    _entry("swissroll", "Figure 7", "the Swiss roll, flat and rolled", swissroll, draw_swissroll),
    _entry("digits", "Figure 7", "digits of SVHN, by label", digits, draw_digits, dataset="svhn"),
    _entry("boundary", "Figures 8, 9", "gradient descent's boundary", toys.boundary, toys.draw_boundary),
)
