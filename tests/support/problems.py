"""Small problems to train on, and brute-force minimisers."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.methods.method import Problem
from admmctl.model.activations import Activation, activations
from admmctl.model.convolution import Stack
from admmctl.model.fourier import Kernel
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets
from admmctl.model.recurrent import Recurrence
from support.ranks import CountingComm

Array = NDArray[Any]


class NoClock:
    """A clock that measures nothing."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield


def problem(
    hidden: list[int],
    *,
    samples: int = 120,
    features: int = 4,
    outputs: int = 1,
    loss: str = "squared",
    activation: str | list[str] = "relu",
    bias: bool = True,
    dtype: type = np.float64,
    seed: int = 0,
    comm: Any = None,
    columns: slice = slice(None),
    kernel: Kernel | None = None,
    convolution: Stack | None = None,
    recurrence: Recurrence | None = None,
) -> Problem:
    """Normal inputs with labels of a curved boundary; ``columns`` makes it one rank's part of the same data."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((features, samples))
    a0 = np.asfortranarray(np.vstack([x, np.ones(samples)]).astype(dtype)[:, columns])
    score = x[0] + 0.5 * x[1] ** 2 + 0.3 * generator.standard_normal(samples)
    classes = max(outputs, 2)
    labels = np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))[columns]
    return Problem(
        a0=a0,
        y=targets(labels, outputs, dtype),
        network=Network.build(features, hidden, outputs, activation, bias, kernel, convolution, recurrence),
        loss=losses.load(loss)(),
        comm=comm or CountingComm(),
        clock=NoClock(),
        seed=seed,
        start=columns.start or 0,
        total=samples,
    )


def smallest_cost(cost: Callable[[Array], Array], points: Array) -> Array:
    """The minimum over z of ``cost`` for every entry, by a dense grid that is refined around its best point.

    ``points`` has shape (p, entries): it spans the search, and every point of it is tried. ``cost`` takes and
    returns shape (anything, entries).
    """
    low, high = points.min(axis=0) - 1.0, points.max(axis=0) + 1.0
    best = cost(points).min(axis=0)
    for _ in range(4):
        grid = low + (high - low) * np.linspace(0.0, 1.0, 801)[:, None]
        values = cost(grid)
        nearest = np.take_along_axis(grid, values.argmin(axis=0)[None], axis=0)[0]
        best = np.minimum(best, values.min(axis=0))
        step = (high - low) / 800
        low, high = nearest - step, nearest + step
    return best


@functools.cache
def shared(name: str) -> Activation:
    """An activation for many tests: its tables are built once."""
    return activations.load(name)()
