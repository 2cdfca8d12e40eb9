"""Activations h: one class each, with its value and its closed-form z-update (Taylor eq. 7).

To add one, write the class and give it a line in the table, or an entry point ``admmctl.activations``.
"""

import math
import re
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl import kernels
from admmctl.model.lookup import Table
from admmctl.registry import Registry

Array = NDArray[np.floating]

activations = Registry(
    "activation",
    {
        "relu": "admmctl.model.activations:Relu",
        "hard-sigmoid": "admmctl.model.activations:HardSigmoid",
        "dcutlu": "admmctl.model.activations:Dcutlu",
        "tanh": "admmctl.model.activations:Tanh",
        "sigmoid": "admmctl.model.activations:Sigmoid",
        "cosine": "admmctl.model.activations:Cosine",
    },
)


def name_of(text: str) -> str:
    """The name in 'relu', or in 'dcutlu(0, 1)'."""
    return text.partition("(")[0].strip()


def activation(text: str) -> "Activation":
    """The activation that a network's words name: 'relu', or one with its numbers, 'dcutlu(0, 1)'.

    Raises ValueError, in words, for numbers that it cannot have.
    """
    made: type[Activation] = activations.load(name_of(text))
    if "(" not in text:
        return made()
    inner = re.fullmatch(r"[^(]*\((.*)\)\s*", text)
    try:
        numbers = [float(word) for word in inner[1].split(",")] if inner else None
    except ValueError:
        numbers = None
    if numbers is None:
        raise ValueError(f"'{text}' is not understood; expected for instance dcutlu(0, 1)")
    try:
        return made(*numbers)
    except TypeError:
        raise ValueError(f"{name_of(text)} takes no {len(numbers)} numbers") from None


class Activation(Protocol):
    """What a network and the gradient methods need of h."""

    def value(self, z: Array, out: Array) -> Array:
        """h(z), written to ``out`` and returned."""

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        """delta <- delta h'(z), in place; ``a`` is h(z). At a kink, one of the one-sided slopes."""

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        """z <- argmin_z gamma ||a - h(z)||^2 + beta ||z - m||^2, in place and entry by entry.

        Only activations that ADMM offers have it.

        ``z`` and ``m`` have shape (k, samples); ``a`` the same, or one row of ones more.
        """


class Fused(Protocol):
    """What an activation may have besides, for ADMM below a layer of few units k': everything in one pass.

    ``V`` has shape (k, k'), column after column in memory, ``W`` (k', k), row after row; ``e`` and ``t``
    (k', samples). Both do what ``value``, ``z_update`` and two matrix products do.
    """

    def narrow_a(self, z: Array, t: Array, W: Array, V: Array, e: Array, a: Array) -> None:
        """e <- t - W h(z) and a <- h(z) + V e."""

    def narrow_z(
        self, z: Array, m: Array, e: Array, V: Array, W: Array, gamma: float, beta: float, row: Array, out: Array
    ) -> None:
        """``z_update`` for a = h(z) + V e, and out <- W a; ``row`` (k,) is scratch."""


class Relu:
    """h(z) = max(z, 0)."""

    cuts = (0.0, math.inf)

    def value(self, z: Array, out: Array) -> Array:
        return np.maximum(z, 0, out=out)

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        delta *= a > 0

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        kernels.z_relu(z.T, a.T, m.T, gamma, beta)

    def narrow_a(self, z: Array, t: Array, W: Array, V: Array, e: Array, a: Array) -> None:
        kernels.narrow_a_relu(z.T, t.T, W, V.T, e.T, a.T)

    def narrow_z(
        self, z: Array, m: Array, e: Array, V: Array, W: Array, gamma: float, beta: float, row: Array, out: Array
    ) -> None:
        kernels.narrow_z_relu(z.T, m.T, e.T, V.T, W, gamma, beta, row, out.T)


class Dcutlu:
    """h(z) = min(max(z, lower), upper): Zhang and Kleijn's linear unit with both cutoffs, ``dcutlu(l,u)``.

    Raises ValueError unless lower is below upper and both are finite.
    """

    def __init__(self, lower: float = 0.0, upper: float = 1.0) -> None:
        if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
            raise ValueError(f"expected numbers l < u, got {lower:g} and {upper:g}")
        self.cuts = (float(lower), float(upper))

    def value(self, z: Array, out: Array) -> Array:
        return np.clip(z, *self.cuts, out=out)

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        delta *= (z > self.cuts[0]) & (z < self.cuts[1])

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        kernels.z_cut(z.T, a.T, m.T, gamma, beta, *self.cuts)


class HardSigmoid(Dcutlu):
    """h(z) = min(max(z, 0), 1), the papers' piecewise linear sigmoid h_sig."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)


class Tabulated(Protocol):
    """What an activation has besides whose z-update comes from a table of solutions (``lookup``)."""

    def table(self, gamma: float, beta: float, units: int) -> Table:
        """That of a layer's penalties and units; built at the first call."""


class _Tables(dict[float, Table]):
    """One table per ratio, of the function that ``period`` names."""

    def __init__(self, period: float = 0.0) -> None:
        self._period = period

    def __missing__(self, r: float) -> Table:
        self[r] = table = Table(r, self._period)
        return table


class Tanh:
    """h(z) = tanh(z)."""

    def __init__(self) -> None:
        self._tables = _Tables()

    def value(self, z: Array, out: Array) -> Array:
        return np.tanh(z, out=out)

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        delta *= 1 - a * a

    def table(self, gamma: float, beta: float, units: int) -> Table:
        return self._tables[gamma / beta]

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        self.table(gamma, beta, len(z)).z_update(z, a, m, 1.0, 0.0, 1.0)


class Sigmoid:
    """h(z) = 1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2."""

    def __init__(self) -> None:
        self._tables = _Tables()

    def value(self, z: Array, out: Array) -> Array:
        np.multiply(z, 0.5, out=out)
        np.tanh(out, out=out)  # vectorised, where SciPy's expit is not
        out += 1
        out *= 0.5
        return out

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        delta *= a * (1 - a)

    def table(self, gamma: float, beta: float, units: int) -> Table:
        # gamma (a - h(z))^2 + beta (z - m)^2 = gamma/4 (2a - 1 - tanh(z/2))^2 + 4 beta (z/2 - m/2)^2
        return self._tables[gamma / (16 * beta)]

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        self.table(gamma, beta, len(z)).z_update(z, a, m, 2.0, -1.0, 0.5)


class Cosine:
    """h(z) = sqrt(2/D) cos(z) for a layer of D units: the random features of a kernel (Burmeister, section 2.2).

    The only activation that depends on its layer: D is the number of rows of ``z`` (D, samples). The phases b are
    the layer's biases. Its z-update is many-valued: of all z with the same cosine the best is near m.
    """

    def __init__(self) -> None:
        self._tables = _Tables(2 * math.pi)

    def value(self, z: Array, out: Array) -> Array:
        np.cos(z, out=out)
        out *= _cosine_height(len(z))
        return out

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        slope = np.sin(z)
        slope *= -_cosine_height(len(z))
        delta *= slope

    def table(self, gamma: float, beta: float, units: int) -> Table:
        return self._tables[gamma / beta * _cosine_height(units) ** 2]

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        self.table(gamma, beta, len(z)).z_update(z, a, m, 1 / _cosine_height(len(z)), 0.0, 1.0)


def _cosine_height(units: int) -> float:
    """sqrt(2/D) of D units; a float of Python, which leaves float32 as it is."""
    return math.sqrt(2.0 / units)
