"""The toy problems of the explanatory figures: polynomials, features, gradient descent on two dimensions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from admmctl.comm import Serial
from admmctl.methods.gradient.sgd import Gd, GdSettings
from admmctl.methods.method import Problem, Untimed
from admmctl.model.losses import losses
from admmctl.model.network import Network, classify
from admmctl.rng import normals, uniform_rows

Array = NDArray[np.float64]
Rows = list[dict[str, Any]]

NOISE = 0.3  # standard deviation around the sine, as in Bishop's book
DEGREE = 9  # of the fits to more and more points
FRESH = 1_000  # new points of the same source that a fit is tested on
DRAWS = 101  # sets of points behind a median error
ITERATIONS = (0, 500, 1000, 2000, 3000)
LEARNING_RATE = 0.02


@dataclass(frozen=True)
class Request:
    """What was asked for besides the names; ``mirror`` has the official files of what is not prepared."""

    seed: int = 0
    mirror: Path | None = None


@dataclass(frozen=True)
class Points:
    """What a figure is drawn from: the rows of its CSV, what is worth saying, and images where it shows some."""

    rows: Rows
    facts: dict[str, Any]
    images: NDArray[np.uint8] | None = None


# --- overfitting: polynomials by least squares


def sine(x: Array) -> Array:
    """What the noisy points are of: sin(2 pi x)."""
    return np.asarray(np.sin(2 * np.pi * x))


def noisy(seed: int, name: str, n: int) -> tuple[Array, Array]:
    """n points, x evenly spread over [0, 1], y = sin(2 pi x) + noise; ``name`` says which noise of a seed."""
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
    curves = {"observed": (x, y), "sine": (fine, sine(fine)), "fit": (fine, fit(x, y, M)(fine))}
    return [
        {"panel": panel, "kind": kind, "x": float(at), "y": float(value)}
        for kind, (xs, ys) in curves.items()
        for at, value in zip(xs, ys, strict=True)
    ]


def polynomials_parameters(request: Request) -> Points:
    """Ten points, fitted with M = 0, 1, 3 and 9; and the error of every M, on them and on fresh points."""
    x, y = noisy(request.seed, "train", 10)
    fresh = noisy(request.seed, "fresh", FRESH)
    rows = [row for M in (0, 1, 3, 9) for row in _fitted(x, y, f"M = {M}", M)]
    for kind, points in (("training", (x, y)), ("fresh", fresh)):
        rows += [{"panel": "rms", "kind": kind, "x": M, "y": rms(fit(x, y, M), *points)} for M in range(10)]
    return Points(rows, {"n": 10, "noise": NOISE, "fresh": FRESH})


def polynomials_samples(request: Request) -> Points:
    """M = 9, fitted to 15 and 100 points; and the error against n, medians over many sets of points."""
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


# --- features


def features(request: Request) -> Points:
    """Points of a line whose outer and inner parts are two classes, with the feature x^2 beside x."""
    u = np.sort(uniform_rows(request.seed, "features", 0, 40, 1)[:, 0])
    x = 6 * u - 3
    x = x[np.abs(np.abs(x) - 1.5) > 0.15]  # room between the classes
    outer = np.abs(x) > 1.5
    squares = x**2
    threshold = float((squares[~outer].max() + squares[outer].min()) / 2)
    rows = [
        {"class": int(label), "x": float(at), "x^2": float(square)}
        for label, at, square in zip(outer, x, squares, strict=True)
    ]
    facts = {
        "threshold": threshold,
        "accuracy_x": best_threshold(x, outer),
        "accuracy_x2": best_threshold(squares, outer),
    }
    return Points(rows, facts)


def best_threshold(feature: Array, labels: NDArray[np.bool_]) -> float:
    """The accuracy of the best threshold on one feature, whichever side is class 1: every one is tried."""
    cuts = np.concatenate([[-np.inf], np.sort(feature)])
    right = [np.mean((feature > cut) == labels) for cut in cuts]
    return float(max(*right, *(1 - share for share in right)))


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
    start = request.seed + 1  # of seed 0 this one has some way to go; some starts arrive in 100 iterations
    problem = Problem(a0, labels[None].astype(float), network, loss, Serial(), Untimed(), start, 0, n)
    gd = Gd(GdSettings(learning_rate=LEARNING_RATE))
    rows: Rows = [
        {"part": "data", "x": float(at), "y": float(value), "class": int(label)}
        for at, value, label in zip(x, y, labels, strict=True)
    ]
    state = gd.init(problem)
    for iteration in range(ITERATIONS[-1] + 1):
        if iteration:
            state = gd.step(state)
        if iteration % 10 == 0:
            W = gd.weights(state)
            z = network.forward(W, a0)
            row = {
                "part": "training",
                "iteration": iteration,
                "objective": loss.value(z, problem.y) / n,
                "accuracy": float(np.mean(classify(z, loss.threshold) == labels)),
            }
            rows.append({**row, **dict(zip(("w_x", "w_y", "w_1"), map(float, W[0][0]), strict=True))})
    return Points(rows, {"n": n, "learning_rate": LEARNING_RATE, "iterations": list(ITERATIONS)})
