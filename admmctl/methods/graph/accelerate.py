"""Acceleration of methods whose state is their weights: an iteration is then a map W -> S(W).

What is here wraps any such map, on the weights as one vector, of which every rank has a piece. ``next`` is given
the piece of the point y at which S was evaluated, that of its image S(y), and this rank's share of the training
loss at y, and says where to evaluate S next. Only sums of products go from rank to rank.
"""

from collections import deque
from typing import Any, Literal

import numpy as np
from pydantic import Field

from admmctl.comm import Comm
from admmctl.devices.arrays import on_host
from admmctl.methods.average import AverageSettings, Piece, Whole
from admmctl.methods.method import Array


class AccelerationSettings(AverageSettings):
    """Keys of a method block that is accelerated."""

    momentum: float = Field(default=0.0, ge=0, lt=1, description="Nesterov's, on the weights; 0: none")
    restart: Literal["adaptive", "none"] = Field(
        default="adaptive", description="drop the momentum when it points the wrong way"
    )
    anderson: int = Field(default=0, ge=0, le=100, description="memory of Anderson's acceleration; 0: none")


def check(settings: AccelerationSettings) -> list[tuple[str, str]]:
    """What is wrong with the keys together: (key, message) each."""
    if settings.momentum and settings.anderson:
        return [("anderson", "Anderson's acceleration takes the place of momentum; set momentum: 0")]
    return []


class Accelerator:
    """Where to evaluate the map next: S(S(S(...))), unless a subclass says otherwise."""

    def next(self, point: Array, image: Array, loss: float, comm: Comm) -> Array:
        """``point`` and ``image`` = S(point), ``loss`` at ``point``; a new vector, or ``image``. Collective."""
        return image

    def memory(self, whole: Whole) -> dict[str, Any]:
        """What it remembers of points before, for a snapshot. Collective."""
        return {}

    def recall(self, memory: dict[str, Any], piece: Piece) -> None:
        """Take back what ``memory`` has returned; of whole vectors this rank's ``piece``."""
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

    def next(self, point: Array, image: Array, loss: float, comm: Comm) -> Array:
        moved = image - (point if self._before is None else self._before)
        self._before = image.copy()
        if self._adaptive:
            against = np.atleast_1d(np.dot(point - image, moved))
            comm.allreduce(against)
            if against[0] > 0:
                self.restarts += 1
                return image
        return image + point.dtype.type(self._momentum) * moved

    def memory(self, whole: Whole) -> dict[str, Any]:
        return {"before": None if self._before is None else whole(self._before), "restarts": self.restarts}

    def recall(self, memory: dict[str, Any], piece: Piece) -> None:
        before = memory["before"]
        self._before, self.restarts = None if before is None else piece(before), memory["restarts"]


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

    def next(self, point: Array, image: Array, loss: float, comm: Comm) -> Array:
        mean = np.array([loss])
        comm.allreduce(mean)
        loss = float(mean[0])
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
        products: Array = on_host(F @ np.vstack([F, f]).T)
        comm.allreduce(products)
        gram, cross = products[:, :-1].copy(), products[:, -1]
        gram[np.diag_indices_from(gram)] += self.REGULARISATION * np.trace(gram) / len(gram)
        weights = np.asarray(np.linalg.lstsq(gram, cross, rcond=None)[0], like=F)
        return (image - weights @ (Y + F)).astype(image.dtype)

    def memory(self, whole: Whole) -> dict[str, Any]:
        return {
            "points": [whole(point) for point in self._points],
            "residuals": [whole(residual) for residual in self._residuals],
            "loss": self._loss,
            "restarts": self.restarts,
        }

    def recall(self, memory: dict[str, Any], piece: Piece) -> None:
        self._points.extend(piece(point) for point in memory["points"])
        self._residuals.extend(piece(residual) for residual in memory["residuals"])
        self._loss, self.restarts = memory["loss"], memory["restarts"]
