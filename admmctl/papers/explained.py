"""The points of the explanatory pictures: ``admmctl figures``. They are computed here, and drawn elsewhere.

A figure is a function here, a line in ``FIGURES``, and a drawing of the same name in ``papers/drawings.py``.
Everything random depends on the seed alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from admmctl.data.svhn import FILES, SIDE, Svhn, SvhnSettings, read_digits
from admmctl.data.swissroll import SwissRollSettings, SwissRollSource
from admmctl.errors import DataError
from admmctl.model.activations import activation
from admmctl.papers.toys import (
    Points,
    Request,
    Rows,
    boundary,
    features,
    polynomials_parameters,
    polynomials_samples,
)

SIZES = (3, 100, 50, 1)  # of the network that is sketched: configs/swissroll.yaml
MOST_UNITS = 5  # units of a layer that are sketched
PER_DIGIT, SEARCHED = 5, 500  # SVHN: images shown of every digit, and how many rows they are looked for in


@dataclass(frozen=True)
class Figure:
    """How a figure's points are computed, what it shows, and its number in Burmeister's report."""

    compute: Callable[[Request], Points]
    shows: str
    number: str


# --- what a network is


def neuron(request: Request) -> Points:
    """Where the units of a fully connected network are drawn, in rows (layer, unit, x, y).

    Of a wide layer the first and the last units are there; between them is a gap.
    """
    rows: Rows = []
    for layer, size in enumerate(SIZES):
        units = list(range(1, size + 1))
        if size > MOST_UNITS:
            units = [*units[: MOST_UNITS - 1], size]
        heights = np.arange(len(units), dtype=float)
        if size > MOST_UNITS:
            heights[-1] += 1  # the gap
        heights -= heights.mean() if size <= MOST_UNITS else heights[-1] / 2
        rows += [
            {"layer": layer, "unit": unit, "x": float(layer), "y": float(-height)}
            for unit, height in zip(units, heights, strict=True)
        ]
    return Points(rows, {"sizes": list(SIZES)})


def activations(request: Request) -> Points:
    """h(z) and h'(z) of every activation, by its own class; the step function is no activation of ours."""
    z = np.linspace(-4.0, 4.0, 401)
    curves = {"step": (np.heaviside(z, 0.0), np.where(z == 0, np.nan, 0.0))}
    for name in ("tanh", "sigmoid", "relu", "hard-sigmoid", "dcutlu(-1, 1)", "cosine"):
        h = activation(name)
        units = np.tile(z, (2, 1)) if name == "cosine" else z[None]  # a layer of D = 2: sqrt(2/D) is 1
        a, slope = h.value(units, np.empty_like(units)), np.ones_like(units)
        h.pull_back(units, a, slope)
        curves[name] = (a[0], slope[0])
    rows = [
        {"activation": name, "z": float(at), "h": float(value), "slope": float(slope)}
        for name, (h_z, slopes) in curves.items()
        for at, value, slope in zip(z, h_z, slopes, strict=True)
    ]
    return Points(rows, {"activations": list(curves)})


# --- data


def swissroll(request: Request) -> Points:
    """Points of the roll, flat on the ribbon and rolled up."""
    n = 1_500
    source = SwissRollSource(SwissRollSettings(rows=n, seed=request.seed))
    ribbon, labels, rolled = (
        source.ribbon(range(n)),
        source.labels("train", range(n)),
        np.empty((n, 3), np.float32),
    )
    source.inputs("train", range(n), rolled)
    columns = ("along", "across", "x", "y", "z")
    rows = [
        {"class": int(label), **dict(zip(columns, map(float, point), strict=True))}
        for label, point in zip(labels, np.hstack([ribbon, rolled]), strict=True)
    ]
    return Points(rows, {"n": n})


def digits(request: Request) -> Points:
    """The first images of every digit among the first training rows of SVHN, and their row numbers."""
    images, labels = _svhn(request.mirror)
    rows: Rows = []
    for digit in range(10):
        for place, row in enumerate(np.flatnonzero(labels == digit)[:PER_DIGIT]):
            rows.append({"label": digit, "place": place, "row": int(row)})
    return Points(rows, {"searched": len(labels)}, images[[row["row"] for row in rows]])


def _svhn(mirror: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first training rows, from the prepared dataset or from the official file in ``mirror``."""
    if mirror is not None:
        name = FILES["train"].name
        path = next((place for place in (mirror / "svhn" / name, mirror / name) if place.is_file()), None)
        if path is None:
            raise DataError(f"--mirror {mirror}: there is no {name}, and no svhn/{name}")
        return read_digits(path, SEARCHED)
    source = Svhn().open(SvhnSettings())
    rows = range(min(SEARCHED, source.rows("train")))
    return source.stored("train", rows).reshape(-1, SIDE, SIDE, 3), source.labels("train", rows)


FIGURES = {
    "neuron": Figure(neuron, "a neuron, and a network", "Figure 1"),
    "activations": Figure(activations, "activations and their slopes", "Figure 2"),
    "polynomials-parameters": Figure(polynomials_parameters, "overfitting, by parameters", "Figure 3"),
    "polynomials-samples": Figure(polynomials_samples, "and its cure, by samples", "Figure 4"),
    "features": Figure(features, "classes that x^2 separates", "Figure 5"),
    "swissroll": Figure(swissroll, "the Swiss roll, flat and rolled", "Figure 7"),
    "digits": Figure(digits, "digits of SVHN, by label", "Figure 7"),
    "boundary": Figure(boundary, "gradient descent's boundary", "Figures 8, 9"),
}
