"""The activations a_l of hidden layers, and the two updates that touch them (Taylor eq. 6 and 7).

How a_l is kept depends on the layer above. With V = W'(gamma/beta I + W W')^-1, W = W_{l+1} and t what
W a_l should be, the update (6) is a_l = h(z_l) + V e with e = t - W h(z_l). Where layer l+1 has few units, the
residuals e say everything and a_l itself is never stored: ``Narrow``. Elsewhere a_l is: ``Stored``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from admmctl.devices.arrays import HOST
from admmctl.methods.method import Array, Timer, Untimed
from admmctl.model.activations import Activation
from admmctl.model.operators import Dense, Operator

NARROW = 16  # units of the next layer up to which V e is computed again rather than a_l kept


class Hidden(ABC):
    """a_l of this rank's samples. ``z`` is a block of z_l, (k, block), and ``columns`` says which block.

    ``W`` is W_{l+1} with its bias column, if any; ``V`` is its gain, (k, k').
    """

    by_residuals: ClassVar[bool] = False  # whether e, (k', samples), is kept in the place of a_l

    def __init__(self, above: Operator, h: Activation, shape: "Shape", clock: Timer) -> None:
        self._above, self._h, self._k, self._clock = above, h, shape.k, clock

    @abstractmethod
    def update(self, columns: slice, z: Array, t: Array, W: Array, V: Array) -> Array:
        """a_l <- h(z_l) + V (t - W h(z_l)) (6); returns a_l with its row of ones."""

    @abstractmethod
    def block(self, columns: slice, z: Array, V: Array) -> Array:
        """a_l as it stands, with its row of ones: ``z`` and ``V`` are those of its update."""

    @abstractmethod
    def update_z(
        self, columns: slice, z: Array, m: Array, W: Array, V: Array, gamma: float, beta: float, out: Array
    ) -> None:
        """z_l <- argmin gamma ||a_l - h(z_l)||^2 + beta ||z_l - m||^2 (7), in place, and out <- W a_l.

        ``z`` and ``V`` are those of a_l's update, ``m`` is W_l a_{l-1}; ``W`` may be newer.
        """


@dataclass(frozen=True)
class Shape:
    """A hidden layer: its units k, those of the layer above, and this rank's samples, ``block`` at a time.

    ``beside`` are the features of a row that the layer above multiplies beside a_l. Arrays are made ``like`` one.
    """

    k: int
    k_next: int
    bias: bool
    samples: int
    block: int
    dtype: type
    beside: int = 0
    like: Array = field(default_factory=lambda: HOST, compare=False)


def below_dense(k_next: int) -> "type[Hidden]":
    """How a_l is kept below a dense layer of ``k_next`` units."""
    return Narrow if k_next <= NARROW else Stored


def prepare(h: Activation, dtype: type) -> None:
    """Compile what an activation fuses below a layer of few units, on two samples of zeros."""
    if h.fused:
        a, columns = Narrow(Dense(1, 3), h, Shape(3, 1, True, 2, 2, dtype), Untimed()), slice(0, 2)
        z: Array = np.zeros((3, 2), dtype, order="F")
        t: Array = np.zeros((1, 2), dtype, order="F")
        W: Array = np.zeros((1, 4), dtype)
        V: Array = np.zeros((3, 1), dtype, order="F")
        a.update(columns, z, t, W, V)
        a.update_z(columns, z, np.zeros_like(z), W, V, 1.0, 1.0, out=t)


class Stored(Hidden):
    """a_l in memory: (k, samples), with a row of ones when the next layer has biases.

    Between them are the features that the next layer multiplies beside a_l, if any; they are put into ``inputs``.
    """

    def __init__(self, above: Operator, h: Activation, shape: Shape, clock: Timer) -> None:
        super().__init__(above, h, shape, clock)
        rows = shape.k + shape.beside + shape.bias
        self._a: Array = np.ones((rows, shape.samples), shape.dtype, order="F", like=shape.like)

    def inputs(self, columns: slice) -> Array:
        """All that the next layer multiplies."""
        return self._a[:, columns]

    def update(self, columns: slice, z: Array, t: Array, W: Array, V: Array) -> Array:
        a = self._a[:, columns]
        with self._clock.phase("elementwise"):
            self._h.value(z, out=a[: self._k])
        with self._clock.phase("product"):
            a[: self._k] += self._pull(a, t, W, V)
        return a

    def _pull(self, h: Array, t: Array, W: Array, V: Array) -> Array:
        """V (t - W h), (k, block), for ``h`` with its row of ones."""
        pulled: Array = V @ (t - W @ h)
        return pulled

    def block(self, columns: slice, z: Array, V: Array) -> Array:
        return self._a[:, columns]

    def update_z(
        self, columns: slice, z: Array, m: Array, W: Array, V: Array, gamma: float, beta: float, out: Array
    ) -> None:
        a = self._a[:, columns]
        with self._clock.phase("elementwise"):
            self._h.z_update(z, a, m, gamma, beta)
        with self._clock.phase("product"):
            self._above.apply(W, a, out=out)


class Narrow(Hidden):
    """a_l by its residuals e, (k', samples): memory and traffic of a_l are saved, for one product with V."""

    by_residuals = True

    def __init__(self, above: Operator, h: Activation, shape: Shape, clock: Timer) -> None:
        super().__init__(above, h, shape, clock)
        columns = min(shape.block, shape.samples)
        self._e: Array = np.zeros((shape.k_next, shape.samples), shape.dtype, order="F", like=shape.like)
        # Of one block.
        self._a: Array = np.ones((shape.k + shape.bias, columns), shape.dtype, order="F", like=shape.like)
        self._row: Array = np.empty(shape.k, shape.dtype, like=shape.like)

    def update(self, columns: slice, z: Array, t: Array, W: Array, V: Array) -> Array:
        e = self._e[:, columns]
        a = self._a[:, : e.shape[1]]
        W, b = self._split(W)
        t = t - b if len(b.T) else t
        with self._clock.phase("elementwise"):
            self._h.narrow_a(z, t, W, V, e, a)
        return a

    def block(self, columns: slice, z: Array, V: Array) -> Array:
        e = self._e[:, columns]
        a = self._a[:, : e.shape[1]]
        h = self._h.value(z, out=a[: self._k])
        h += V @ e
        return a

    def update_z(
        self, columns: slice, z: Array, m: Array, W: Array, V: Array, gamma: float, beta: float, out: Array
    ) -> None:
        with self._clock.phase("elementwise"):
            if self._h.fused:
                W, b = self._split(W)
                self._h.narrow_z(z, m, self._e[:, columns], V, W, gamma, beta, self._row, out)
                if len(b.T):
                    out += b
            else:
                a = self.block(columns, z, V)
                self._h.z_update(z, a, m, gamma, beta)
                np.matmul(W, a, out=out)

    def _split(self, W: Array) -> tuple[Array, Array]:
        """W without its bias, in one piece of memory, and the bias: (k', k) and (k', 1), or (k', 0) for none."""
        return np.ascontiguousarray(W[:, : self._k], like=W), W[:, self._k :]
