"""Losses: a class for each, with its value, its gradient, and its closed-form output update if it has one.

To add one, write the class and add a line to the table, or an entry point ``admmctl.losses``. Outputs z have shape
(outputs, samples). One output above ``threshold`` is class 1; of several outputs, the largest is the class.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from admmctl.registry import Registry

Array = NDArray[np.floating]

losses = Registry["type[Loss]"](
    "loss",
    {
        "squared": "admmctl.model.losses:Squared",
        "signed-squared": "admmctl.model.losses:SignedSquared",
        "hinge": "admmctl.model.losses:Hinge",
        "cross-entropy": "admmctl.model.cross_entropy:CrossEntropy",
    },
)


class Loss(ABC):
    """A loss on targets y of 0 and 1. ADMM needs its ``z_update`` too."""

    threshold: ClassVar[float]
    curvature: ClassVar[float | None] = None  # the second derivative of its pieces, if they are quadratic
    soft_targets: ClassVar[bool] = False  # whether targets between 0 and 1 make another minimiser

    @abstractmethod
    def value(self, z: Array, y: Array) -> float:
        """The loss summed over outputs and samples."""

    @abstractmethod
    def gradient(self, z: Array, y: Array) -> Array:
        """The derivative of ``value`` by z, shape of z. At a kink, one of the one-sided slopes."""

    def labels(self, y: Array) -> Array:
        """The outputs that least squares fits where ``y`` is 0 and 1."""
        return y

    def drawn_gradient(self, z: Array, uniform: Array) -> Array:
        """The derivative by z for targets that are drawn from the model that ``value`` is the likelihood of.

        ``uniform`` are numbers in [0, 1), shape of z. Its mean square is the Fisher information of z.
        """
        raise NotImplementedError(f"{type(self).__name__} is the likelihood of no model")

    @property
    def closed_form(self) -> bool:
        """Whether it has a ``z_update``."""
        return type(self).z_update is not Loss.z_update

    def z_update(self, y: Array, m: Array, lam: Array, beta: float) -> Array:
        """argmin_z loss(z, y) + <lam, z> + beta ||z - m||^2, entry by entry (Algorithm 1, the z_L step)."""
        raise NotImplementedError(f"{type(self).__name__} has no z-update")


class Squared(Loss):
    """(z - y)^2."""

    threshold = 0.5
    curvature: ClassVar[float] = 2.0

    def value(self, z: Array, y: Array) -> float:
        difference = z - self.labels(y)
        return float(np.vdot(difference, difference)) * self.curvature / 2

    def gradient(self, z: Array, y: Array) -> Array:
        difference: Array = np.subtract(z, self.labels(y), dtype=z.dtype)
        if self.curvature != 1:
            difference *= self.curvature
        return difference

    def drawn_gradient(self, z: Array, uniform: Array) -> Array:
        """The model is normal, of variance 1 / curvature; signs have the second moments of normal numbers."""
        return np.where(uniform < 0.5, -1, 1).astype(z.dtype) * z.dtype.type(np.sqrt(self.curvature))

    def z_update(self, y: Array, m: Array, lam: Array, beta: float) -> Array:
        result: Array = (self.curvature * self.labels(y) - lam + 2 * beta * m) / (self.curvature + 2 * beta)
        return result


class SignedSquared(Squared):
    """1/2 (z - t)^2 with t = 1 where y = 1, -1 where y = 0: labels and loss of the convex paper."""

    threshold = 0.0
    curvature = 1.0

    def labels(self, y: Array) -> Array:
        return 2 * y - 1


class Hinge(Loss):
    """max(1 - z, 0) where y = 1 and max(z, 0) where y = 0 (Taylor section 6)."""

    threshold = 0.5
    curvature = 0.0

    def value(self, z: Array, y: Array) -> float:
        return float(np.maximum(np.where(y > 0.5, 1 - z, z), 0).sum(dtype=np.float64))

    def gradient(self, z: Array, y: Array) -> Array:
        one, zero = y > 0.5, z.dtype.type(0)
        return np.where(one, np.where(z < 1, z.dtype.type(-1), zero), np.where(z > 0, z.dtype.type(1), zero))

    def z_update(self, y: Array, m: Array, lam: Array, beta: float) -> Array:
        # The cost is convex with one kink: at 1 where y = 1, at 0 where y = 0. A piece has the minimum if its
        # own minimum lies on its side of the kink. If neither does, the kink is the minimum.
        flat = m - lam / (2 * beta)
        rising = flat + 1 / (2 * beta)  # slope -1: y = 1
        falling = flat - 1 / (2 * beta)  # slope +1: y = 0
        one = np.where(rising < 1, rising, np.where(flat > 1, flat, 1))
        zero = np.where(falling > 0, falling, np.where(flat < 0, flat, 0))
        chosen = np.where(y > 0.5, one, zero)
        # NaN fails every comparison above and would become the kink, but a diverged run must be noticed.
        return np.where(np.isnan(flat), flat, chosen).astype(m.dtype, copy=False)
