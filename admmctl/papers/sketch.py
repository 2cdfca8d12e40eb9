"""Burmeister's Figure 12: C, R and the sketch C R^-1 C' of a a', of the units of a layer on real digits."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.data.catalog import datasets
from admmctl.methods.taylor.low_rank import Draw, by_factor
from admmctl.model.initial import initial_weights
from admmctl.model.network import Network
from admmctl.papers.entry import Drawing, Entry, Material, Points, Request, Rows
from admmctl.papers.toys import rows_of
from admmctl.papers.trident import PAPER
from admmctl.report import style

UNITS, COLUMNS, SAMPLES = 1_000, 100, 2_000


def digits() -> NDArray[np.float32]:
    """The inputs (785, n) of n digits of MNIST, with a row of ones. Raises DataError where they are not here."""
    settings = datasets.load("mnist").Settings(name="mnist", scale="unit", first=SAMPLES)
    return shards.load(shards.plan(settings, 1), Serial()).train.a0


def matrices(request: Request) -> Points:
    """a a' and its sketch from p columns, (k, k) each, with these p units first; what the sketch has of each unit.

    Among these, and among the others, the most active ones come first.

    a (k, n) are the activations of a layer of random ReLU units on n digits of MNIST: where training starts. The
    columns are drawn as they are in training. Raises DataError.
    """
    a0 = digits()
    network = Network.build(len(a0) - 1, [UNITS], 10, "relu", bias=True)
    z = initial_weights(network, request.seed)[0] @ a0
    a = network.h(1).value(z, np.empty_like(z)).astype(np.float64)
    drawn = Draw(UNITS, COLUMNS, by_leverage=False, seed=request.seed, layer=2).next()
    activity, others = np.einsum("ij,ij->i", a, a), np.setdiff1d(np.arange(UNITS), drawn)
    order = np.concatenate([units[np.argsort(-activity[units])] for units in (drawn, others)])
    gram = a[order] @ a[order].T
    C, R = gram[:, :COLUMNS], gram[:COLUMNS, :COLUMNS]
    B = by_factor(np.asfortranarray(C), R, shift=1e-12 * float(np.trace(R)))
    sketch = B @ B.T
    whole, part = np.diag(gram), np.diag(sketch)
    columns = {"unit": order, "in_sketch": np.arange(UNITS) < COLUMNS, "diagonal": whole, "of_sketch": part}
    left_out = np.linalg.norm(gram - sketch) / np.linalg.norm(gram)
    facts = {"k": UNITS, "p": COLUMNS, "n": a.shape[1], "left_out": float(left_out), "seed": request.seed}
    return Points(rows_of(columns), facts, np.stack([gram, sketch]))


def draw(material: Material) -> tuple[Figure, Rows]:
    """a a', its first p columns C, their first p rows R, and the sketch, in the same colours."""
    points = material.points
    assert points is not None
    assert points.images is not None
    (gram, sketch), p, k = points.images, points.facts["p"], points.facts["k"]
    shown = (("$aa^T$", gram), ("$C$", gram[:, :p]), ("$R$", gram[:p, :p]), ("$CR^{-1}C^T$", sketch))
    figure = plt.figure(figsize=(style.COLUMN_WIDTH * 2.1, style.COLUMN_WIDTH * 0.85))
    # Widths in proportion to columns: a unit has the same size in every panel.
    unit, left = 0.32 / k, 0.06
    tall = unit * k * figure.get_figwidth() / figure.get_figheight()
    look: dict[str, Any] = {"vmin": 0.0, "vmax": float(np.percentile(gram, 99.5)), "cmap": "viridis"}
    for title, matrix in shown:
        rows, columns = matrix.shape
        height = tall * rows / k
        panel = figure.add_axes((left, 0.85 - height, unit * columns, height))
        image = panel.imshow(matrix, aspect="auto", **look)
        panel.set_title(title, loc="center")
        panel.grid(visible=False)
        panel.set(xticks=[columns], yticks=[rows])
        panel.tick_params(labelsize=7)
        left += unit * columns + 0.065
    bar = figure.add_axes((left - 0.035, 0.85 - tall, 0.012, tall))
    figure.colorbar(image, cax=bar, label=f"sums over {points.facts['n']:,} digits")
    left_out = f"the sketch leaves out {100 * points.facts['left_out']:.1f} % of $aa^T$"
    figure.text(0.06, -0.06, f"{k:,} units, those {p} of the sketch first; {left_out}", fontsize=8)
    return figure, points.rows


ENTRIES = (
    Entry(
        "trident-12-matrices",
        PAPER,
        "Figure 12",
        "MNIST: C, R and the sketch C R^-1 C' of a a' of a wide layer",
        Drawing("sketch", draw, "illustration", "points"),
        repeats=1,
        points=matrices,
        dataset="mnist",
        differs="the report sketches the shapes alone; this is a layer of random ReLU units on digits of MNIST",
    ),
)
