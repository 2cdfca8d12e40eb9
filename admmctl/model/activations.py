"""Activations h: a class for each, with its value and its z-update (Taylor eq. 7).

To add one, write the class and add a line to the table, or an entry point ``admmctl.activations``.
"""

import math
import re
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from admmctl import kernels
from admmctl.model.lookup import Table
from admmctl.registry import Registry

Array = NDArray[np.floating]

activations = Registry["type[Activation]"](
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
    """The name without numbers: 'dcutlu' of 'dcutlu(0, 1)'."""
    return text.partition("(")[0].strip()


def activation(text: str) -> "Activation":
    """The activation that ``text`` names: 'relu', or with numbers, 'dcutlu(0, 1)'.

    Raises ValueError, with the reason, for wrong numbers.
    """
    kind = activations.load(name_of(text))
    if "(" not in text:
        return kind()
    inner = re.fullmatch(r"[^(]*\((.*)\)\s*", text)
    try:
        numbers = [float(number) for number in inner[1].split(",")] if inner else None
    except ValueError:
        numbers = None
    if numbers is None:
        raise ValueError(f"'{text}' is not understood; expected for instance dcutlu(0, 1)")
    try:
        return kind(*numbers)
    except TypeError:
        raise ValueError(f"{name_of(text)} takes no {len(numbers)} numbers") from None


class Activation(ABC):
    """h. A new one has ``value`` and ``pull_back``, and for ADMM ``z_update``."""

    cuts: tuple[float, float] = (-math.inf, math.inf)  # where a piecewise linear unit is cut
    fused: ClassVar[bool] = False  # whether ``narrow_a`` and ``narrow_z`` are a compiled pass each

    @abstractmethod
    def value(self, z: Array, out: Array) -> Array:
        """h(z), written to ``out`` and returned."""

    @abstractmethod
    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        """delta <- delta h'(z), in place; ``a`` is h(z). At a kink, one of the one-sided slopes."""

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        """z <- argmin_z gamma ||a - h(z)||^2 + beta ||z - m||^2, in place and entry by entry (Taylor eq. 7).

        ``z`` and ``m`` have shape (k, samples); ``a`` the same, or one row of ones more.
        """
        raise NotImplementedError(f"{type(self).__name__} has no z-update")

    def slope(self, units: int) -> float:
        """The largest |h'| in a layer of so many units."""
        return 1.0

    def table(self, gamma: float, beta: float, units: int) -> Table | None:
        """The table of solutions for a layer's penalties and units, if there is one; the first call builds it."""
        return None

    # For ADMM below a layer of few units k'. ``V`` has shape (k, k') in Fortran order, ``W`` (k', k) in C order,
    # ``e`` and ``t`` (k', samples).

    def narrow_a(self, z: Array, t: Array, W: Array, V: Array, e: Array, a: Array) -> None:
        """e <- t - W h(z) and a <- h(z) + V e (Taylor eq. 6 on its small side)."""
        h = self.value(z, out=a[: len(z)])
        e[...] = t - W @ h
        h += V @ e

    def narrow_z(
        self, z: Array, m: Array, e: Array, V: Array, W: Array, gamma: float, beta: float, row: Array, out: Array
    ) -> None:
        """``z_update`` for a = h(z) + V e, and out <- W a; only of a ``fused`` one. ``row`` (k,) is scratch."""
        raise NotImplementedError(f"{type(self).__name__} has no fused z-update")


class Relu(Activation):
    """h(z) = max(z, 0)."""

    cuts = (0.0, math.inf)
    fused = True

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


class Dcutlu(Activation):
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
    """h(z) = min(max(z, 0), 1), the piecewise linear sigmoid h_sig of the papers."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)


class Tabulated(Activation):
    """An activation whose z-update comes from a table of solutions for f, tanh or the cosine."""

    period: ClassVar[float] = 0.0  # of f

    def __init__(self) -> None:
        self._tables: dict[float, Table] = {}  # by their ratio r

    @abstractmethod
    def reduced(self, units: int) -> tuple[float, float, float, float]:
        """(factor, scale_a, shift_a, scale_m) of a layer: f(scale_m z) = scale_a h(z) + shift_a.

        gamma (a - h(z))^2 + beta (z - m)^2 is then, but for a constant, the cost of the table for
        r = gamma / beta * factor, factor = (scale_m / scale_a)^2.
        """

    def table(self, gamma: float, beta: float, units: int) -> Table:
        r = gamma / beta * self.reduced(units)[0]
        if r not in self._tables:
            self._tables[r] = Table(r, self.period)
        return self._tables[r]

    def z_update(self, z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
        _, *stretch = self.reduced(len(z))
        self.table(gamma, beta, len(z)).z_update(z, a, m, *stretch)


class Tanh(Tabulated):
    """h(z) = tanh(z)."""

    def value(self, z: Array, out: Array) -> Array:
        return np.tanh(z, out=out)

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        delta *= 1 - a * a

    def reduced(self, units: int) -> tuple[float, float, float, float]:
        return 1.0, 1.0, 0.0, 1.0


class Sigmoid(Tabulated):
    """h(z) = 1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2."""

    def value(self, z: Array, out: Array) -> Array:
        np.multiply(z, 0.5, out=out)
        np.tanh(out, out=out)  # vectorised, where SciPy's expit is not
        out += 1
        out *= 0.5
        return out

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        delta *= a * (1 - a)

    def slope(self, units: int) -> float:
        return 0.25

    def reduced(self, units: int) -> tuple[float, float, float, float]:
        return 1 / 16, 2.0, -1.0, 0.5


class Cosine(Tabulated):
    """h(z) = sqrt(2/D) cos(z) for a layer of D units: the random features of a kernel (Burmeister, section 2.2).

    The only activation that depends on its layer: D is the number of rows of ``z`` (D, samples). The phases b are
    the layer's biases. Many z have the same cosine: the z-update takes the best, which is near m.
    """

    period = 2 * math.pi

    def value(self, z: Array, out: Array) -> Array:
        np.cos(z, out=out)
        out *= _cosine_height(len(z))
        return out

    def pull_back(self, z: Array, a: Array, delta: Array) -> None:
        slope = np.sin(z)
        slope *= -_cosine_height(len(z))
        delta *= slope

    def slope(self, units: int) -> float:
        return _cosine_height(units)

    def reduced(self, units: int) -> tuple[float, float, float, float]:
        height = _cosine_height(units)
        return height**2, 1 / height, 0.0, 1.0


def _cosine_height(units: int) -> float:
    """sqrt(2/D) of D units, as a Python float: float32 arrays stay float32."""
    return math.sqrt(2.0 / units)
