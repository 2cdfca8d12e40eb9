"""The toy problems of the explanatory figures: polynomials, features, gradient descent on two dimensions.

Each has a function that computes its points, and one that draws them.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from admmctl.comm import Serial
from admmctl.methods.gradient.settings import GdSettings
from admmctl.methods.gradient.sgd import Gd
from admmctl.methods.method import Problem, Untimed
from admmctl.model.losses import losses
from admmctl.model.network import Network, classify
from admmctl.papers.entry import Points, Request, Rows
from admmctl.report import style
from admmctl.rng import normals, uniform_rows

Array = NDArray[np.float64]

NOISE = 0.3  # standard deviation around the sine, as in Bishop's book
DEGREE = 9  # of the fits to more and more points
FRESH = 1_000  # new points of the same source that a fit is tested on
DRAWS = 101  # sets of points behind a median error
ITERATIONS = (0, 500, 1000, 2000, 3000)
LEARNING_RATE = 0.02
WIDTH = style.COLUMN_WIDTH * 1.35
# Two classes differ by colour and by shape.
CLASSES: dict[int, dict[str, Any]] = {
    0: {"color": style.VERMILLION, "marker": "x", "label": "class 0"},
    1: {"color": style.BLUE, "marker": "o", "label": "class 1"},
}


def rows_of(columns: dict[str, Any]) -> Rows:
    """The rows of a table from its columns: arrays, or a value that is the same in all rows."""
    arrays = np.broadcast_arrays(*columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*map(np.ndarray.tolist, arrays), strict=True)]


def panels(down: int, across: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure one column wide, ``height`` inches per row of panels."""
    figure, axes = plt.subplots(down, across, figsize=(WIDTH, height * down), layout="constrained", **options)
    return figure, list(np.ravel(axes))


# --- overfitting: polynomials by least squares


def sine(x: Array) -> Array:
    """sin(2 pi x), the function behind the noisy points."""
    return np.asarray(np.sin(2 * np.pi * x))


def noisy(seed: int, name: str, n: int) -> tuple[Array, Array]:
    """n points, x evenly spread over [0, 1], y = sin(2 pi x) + noise; each ``name`` has its own noise."""
    x = np.linspace(0.0, 1.0, n)
    return x, sine(x) + NOISE * normals(seed, f"polynomials {name}", (n,)).astype(float)


def fit(x: Array, y: Array, M: int) -> Polynomial:
    """The least-squares polynomial of degree M: M features x, ..., x^M, and a constant."""
    return Polynomial.fit(x, y, M, domain=[0.0, 1.0])


def rms(polynomial: Polynomial, x: Array, y: Array) -> float:
    """The root-mean-square error."""
    return float(np.sqrt(np.mean((polynomial(x) - y) ** 2)))


def _fitted(x: Array, y: Array, panel: str, M: int) -> Rows:
    """Observations, the sine, and the fit, as rows (panel, kind, x, y)."""
    fine = np.linspace(0.0, 1.0, 201)
    return [
        *rows_of({"panel": panel, "kind": "observed", "x": x, "y": y}),
        *rows_of({"panel": panel, "kind": "sine", "x": fine, "y": sine(fine)}),
        *rows_of({"panel": panel, "kind": "fit", "x": fine, "y": fit(x, y, M)(fine)}),
    ]


def by_parameters(request: Request) -> Points:
    """Fits to ten points with M = 0, 1, 3 and 9; and the error of every M, on these and on fresh points."""
    x, y = noisy(request.seed, "train", 10)
    fresh = noisy(request.seed, "fresh", FRESH)
    rows = [row for M in (0, 1, 3, 9) for row in _fitted(x, y, f"M = {M}", M)]
    for kind, points in (("training", (x, y)), ("fresh", fresh)):
        rows += [{"panel": "rms", "kind": kind, "x": M, "y": rms(fit(x, y, M), *points)} for M in range(10)]
    return Points(rows, {"n": 10, "noise": NOISE, "fresh": FRESH})


def by_samples(request: Request) -> Points:
    """Fits of M = 9 to 15 and 100 points; and the error against n, medians over many sets of points."""
    seed = request.seed
    rows = [row for n in (15, 100) for row in _fitted(*noisy(seed, "train", n), f"n = {n}", DEGREE)]
    fresh = noisy(seed, "fresh", FRESH)
    for n in (10, 12, 15, 20, 30, 50, 100, 200, 500, 1000):
        draws = [noisy(seed, f"train {draw}", n) for draw in range(DRAWS)]
        fits = [fit(x, y, DEGREE) for x, y in draws]
        errors = {
            "training": [rms(f, x, y) for f, (x, y) in zip(fits, draws, strict=True)],
            "fresh": [rms(f, *fresh) for f in fits],
        }
        rows += [{"panel": "rms", "kind": kind, "x": n, "y": float(np.median(e))} for kind, e in errors.items()]
    return Points(rows, {"M": DEGREE, "noise": NOISE, "fresh": FRESH, "draws": DRAWS})


def draw_fits(points: Points) -> Figure:
    """A panel for every fit, and below them the errors."""
    facts = points.facts
    names = [name for name in dict.fromkeys(points.column("panel")) if name != "rms"]
    down = len(names) // 2
    figure = plt.figure(figsize=(WIDTH, 1.6 * (down + 1.2)), layout="constrained")
    grid = figure.add_gridspec(down + 1, 2, height_ratios=[1.0] * down + [1.2])
    for place, name in enumerate(names):
        axes = figure.add_subplot(grid[place // 2, place % 2])
        hollow = {"markerfacecolor": "none", "markersize": 3.5}
        for kind, line, look in (
            ("sine", "--", {"color": style.GREEN, "label": "sin 2πx"}),
            ("fit", "-", {"color": style.VERMILLION, "label": "fit"}),
            ("observed", "o", {"color": style.BLUE, "label": "observed", **hollow}),
        ):
            axes.plot(*(points.column(key, panel=name, kind=kind) for key in "xy"), line, **look)
        axes.set(ylim=(-2, 2), xlabel="$x$" if place // 2 == down - 1 else "")
        axes.set_title(f"${name}$", loc="left")
        if place % 2 == 0:
            axes.set_ylabel("$y$")
        if place == 0:
            figure.legend(loc="outside upper center", ncols=3)
    errors = figure.add_subplot(grid[down, :])
    for kind, color, marker in (("training", style.BLUE, "o"), ("fresh", style.VERMILLION, "s")):
        x, y = (points.column(key, panel="rms", kind=kind) for key in "xy")
        label = "on the points of the fit" if kind == "training" else f"on {facts['fresh']:,} fresh points"
        errors.plot(x, y, color=color, marker=marker, label=label)
    errors.axhline(facts["noise"], color=style.GREY, linestyle=":", label="standard deviation of the noise")
    errors.legend(loc="best")
    errors.set_ylim(bottom=0)
    if "M" in facts:
        errors.set_xscale("log")
        errors.set_xlabel(f"samples $n$ (log), $M = {facts['M']}$; medians of {facts['draws']} draws")
        ticks = [10, 20, 50, 100, 200, 500, 1000]
        errors.set_xticks(ticks, labels=[f"{n:,}" for n in ticks])
        errors.xaxis.set_minor_formatter(NullFormatter())
    else:
        errors.set_xlabel(f"features $M$ beside the constant, $n = {facts['n']}$")
        errors.set_xticks(range(10))
    errors.set_ylabel("rms error of $y$")
    return figure


# --- features


def features(request: Request) -> Points:
    """Points of a line whose outer and inner parts are two classes, with the feature x^2 beside x."""
    u = np.sort(uniform_rows(request.seed, "features", 0, 40, 1)[:, 0])
    x = 6 * u - 3
    x = x[np.abs(np.abs(x) - 1.5) > 0.15]  # room between the classes
    outer = np.abs(x) > 1.5
    squares = x**2
    threshold = float((squares[~outer].max() + squares[outer].min()) / 2)
    accuracies = {"accuracy_x": best_threshold(x, outer), "accuracy_x2": best_threshold(squares, outer)}
    rows = rows_of({"class": outer.astype(int), "x": x, "x^2": squares})
    return Points(rows, {"threshold": threshold, **accuracies})


def best_threshold(feature: Array, labels: NDArray[np.bool_]) -> float:
    """The accuracy of the best threshold on one feature, whichever side is class 1: every one is tried."""
    cuts = np.concatenate([[-np.inf], np.sort(feature)])
    right = [np.mean((feature > cut) == labels) for cut in cuts]
    return float(max(*right, *(1 - share for share in right)))


def draw_features(points: Points) -> Figure:
    """The points on a line; and in a plane with their squares, where they are apart."""
    facts = points.facts
    figure, (line, plane) = panels(2, 1, 1.6, height_ratios=(0.35, 1), sharex=True)
    for label, look in CLASSES.items():
        x, squares = (points.column(key, **{"class": label}) for key in ("x", "x^2"))
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


# --- gradient descent


def boundary(request: Request) -> Points:
    """Gradient descent on a linear classifier with features (x, y, 1): its boundary, and the objective.

    As in the report: x uniform on [0, 4), y = 4 x + 2 + eps, eps ~ N(0, 1), class 1 where eps > 0. It names
    neither loss nor start; this is logistic regression from our gradient methods' start. A boundary is where
    w_x x + w_y y + w_1 = 0.
    """
    n = 100
    x = 4 * uniform_rows(request.seed, "boundary x", 0, n, 1)[:, 0]
    eps = normals(request.seed, "boundary eps", (n,)).astype(float)
    y = 4 * x + 2 + eps
    labels = (eps > 0).astype(np.int64)
    a0 = np.asfortranarray([x, y, np.ones(n)])
    network = Network.build(2, [], 1, "relu", bias=True)
    loss = losses.load("cross-entropy")()
    start = request.seed + 1  # the one after seed 0 is far from the end; some starts arrive in 100 iterations
    problem = Problem(a0, labels[None].astype(float), network, loss, Serial(), Untimed(), start, 0, n)
    gd = Gd(GdSettings(learning_rate=LEARNING_RATE))
    rows = rows_of({"part": "data", "x": x, "y": y, "class": labels})
    state = gd.init(problem)
    for iteration in range(ITERATIONS[-1] + 1):
        if iteration:
            state = gd.step(state)
        if iteration % 10 == 0:
            W = gd.weights(state)
            z = network.forward(W, a0)
            objective, right = loss.value(z, problem.y) / n, classify(z, loss.threshold) == labels
            row = {
                "part": "training",
                "iteration": iteration,
                "objective": objective,
                "accuracy": float(right.mean()),
            }
            rows.append({**row, **dict(zip(("w_x", "w_y", "w_1"), W[0][0].tolist(), strict=True))})
    return Points(rows, {"n": n, "learning_rate": LEARNING_RATE, "iterations": list(ITERATIONS)})


def draw_boundary(points: Points) -> Figure:
    """The objective, and the boundary at some iterations."""
    figure, axes = panels(3, 2, 1.75)
    training = {row["iteration"]: row for row in points.rows if row["part"] == "training"}
    iterations = points.facts["iterations"]
    x = np.array([0.0, 4.0])
    for panel, iteration in zip(axes[1:], iterations, strict=True):
        for label, look in CLASSES.items():
            across, up = (points.column(key, part="data", **{"class": label}) for key in "xy")
            panel.scatter(across, up, s=8, linewidth=0.8, **look)
        row = training[iteration]
        panel.plot(x, -(row["w_1"] + row["w_x"] * x) / row["w_y"], color=style.GREEN, label="boundary")
        panel.set(xlim=(0, 4), ylim=(-3, 22), xlabel="$x$", ylabel="$y$")
        panel.set_title(f"{iteration:,} iterations: {100 * row['accuracy']:.0f} % right", loc="left")
    axes[0].plot(list(training), [row["objective"] for row in training.values()], color=style.BLUE)
    shown = [training[iteration]["objective"] for iteration in iterations]
    axes[0].plot(iterations, shown, "o", color=style.GREEN)
    axes[0].set(xlabel="iteration", ylabel="objective (log)", yscale="log", xticks=[0, 1000, 2000, 3000])
    style.log_axis(axes[0])
    axes[0].set_title("mean logistic loss", loc="left")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
