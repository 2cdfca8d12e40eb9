"""Acceleration of methods whose state is their weights: an iteration is then a map W -> S(W).

What is here wraps any such map, on the weights as one vector. ``next`` is handed the point y at which S was
evaluated, its image S(y), and the training loss at y, and says where to evaluate S next. Every rank does the same
on the same numbers.
"""

from collections import deque
from typing import Any, Literal

import numpy as np
from pydantic import Field

from admmctl.methods.method import Array
from admmctl.settings import Settings


class AccelerationSettings(Settings):
    """Keys of a method block that is accelerated."""

    momentum: float = Field(default=0.0, ge=0, lt=1, description="Nesterov's, on the weights; 0: none")
    restart: Literal["adaptive", "none"] = Field(
        default="adaptive", description="drop the momentum when it points the wrong way"
    )
    anderson: int = Field(default=0, ge=0, le=100, description="memory of Anderson's acceleration; 0: none")
    average: float = Field(
        default=0.0, ge=0, lt=1, description="evaluate the exponential average of the weights, with this decay"
    )


def check(settings: AccelerationSettings) -> list[tuple[str, str]]:
    """What is wrong with the keys together: (key, message) each."""
    if settings.momentum and settings.anderson:
        return [("anderson", "Anderson's acceleration takes the place of momentum; set momentum: 0")]
    return []


class Accelerator:
    """Where to evaluate the map next: S(S(S(...))), unless a subclass says otherwise."""

    def next(self, point: Array, image: Array, loss: float) -> Array:
        """``point`` and ``image`` = S(point) as vectors, ``loss`` at ``point``; a new vector, or ``image``."""
        return image

    def memory(self) -> dict[str, Any]:
        """What it remembers of points before, for a snapshot."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what ``memory`` has returned."""
        return None


def accelerator(settings: AccelerationSettings) -> Accelerator:
    """The one that the settings name."""
    if settings.anderson:
        return Anderson(settings.anderson)
    if settings.momentum:
        return Nesterov(settings.momentum, settings.restart == "adaptive")
    return Accelerator()


class Nesterov(Accelerator):
    """y <- w + momentum (w - w_before), w = S(y).

    With ``adaptive``, momentum is dropped for a step when it goes against the map's own direction,
    <y - w, w - w_before> > 0 (O'Donoghue and Candes 2015, "Adaptive restart for accelerated gradient schemes",
    the gradient scheme): the map says where the last steps have overshot.
    """

    def __init__(self, momentum: float, adaptive: bool) -> None:
        self._momentum, self._adaptive = momentum, adaptive
        self._before: Array | None = None
        self.restarts = 0

    def next(self, point: Array, image: Array, loss: float) -> Array:
        moved = image - (point if self._before is None else self._before)
        self._before = image.copy()
        if self._adaptive and float(np.dot(point - image, moved)) > 0:
            self.restarts += 1
            return image
        return image + point.dtype.type(self._momentum) * moved

    def memory(self) -> dict[str, Any]:
        return {"before": self._before, "restarts": self.restarts}

    def recall(self, memory: dict[str, Any]) -> None:
        self._before, self.restarts = memory["before"], memory["restarts"]


class Anderson(Accelerator):
    """Type II: the combination of the last images whose residuals S(y) - y cancel best, in least squares.

    Walker and Ni 2011, "Anderson acceleration for fixed-point iterations". The least squares are regularised
    relative to their scale. Safeguard: when the loss has risen over that of the point before, the memory is
    dropped and the plain image taken.
    """

    REGULARISATION = 1e-8

    def __init__(self, memory: int) -> None:
        self._points: deque[Array] = deque(maxlen=memory + 1)
        self._residuals: deque[Array] = deque(maxlen=memory + 1)
        self._loss = np.inf
        self.restarts = 0

    def next(self, point: Array, image: Array, loss: float) -> Array:
        if loss > self._loss:
            self._points.clear()
            self._residuals.clear()
            self.restarts += 1
        self._loss = loss
        self._points.append(point.copy())
        self._residuals.append(image - point)
        if len(self._points) == 1:
            return image
        f = self._residuals[-1].astype(np.float64)
        F = np.diff(np.stack(self._residuals).astype(np.float64), axis=0)
        Y = np.diff(np.stack(self._points).astype(np.float64), axis=0)
        gram = F @ F.T
        gram[np.diag_indices_from(gram)] += self.REGULARISATION * np.trace(gram) / len(gram)
        weights = np.linalg.lstsq(gram, F @ f, rcond=None)[0]
        return (image - weights @ (Y + F)).astype(image.dtype)

    def memory(self) -> dict[str, Any]:
        return {
            "points": [*self._points],
            "residuals": [*self._residuals],
            "loss": self._loss,
            "restarts": self.restarts,
        }

    def recall(self, memory: dict[str, Any]) -> None:
        self._points.extend(memory["points"])
        self._residuals.extend(memory["residuals"])
        self._loss, self.restarts = memory["loss"], memory["restarts"]


class Average:
    """An exponential average of the weights, young ones counting more while there are few of them."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._count = 0
        self.value: Array | None = None

    def add(self, weights: Array) -> None:
        """Count one more vector in."""
        self._count += 1
        decay = min(self._decay, self._count / (9.0 + self._count))
        if self.value is None:
            self.value = weights.copy()
        else:
            self.value += weights.dtype.type(1 - decay) * (weights - self.value)

    def memory(self) -> dict[str, Any]:
        return {"count": self._count, "value": self.value}

    def recall(self, memory: dict[str, Any]) -> None:
        self._count, self.value = memory["count"], memory["value"]
