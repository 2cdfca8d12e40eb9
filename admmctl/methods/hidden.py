"""The activations a_l of hidden layers, and the two updates that touch them (Taylor eq. 6 and 7).

How a_l is kept depends on the layer above. With V = W'(gamma/beta I + W W')^-1, W = W_{l+1} and t what
W a_l should be, the update (6) is a_l = h(z_l) + V e with e = t - W h(z_l). Where layer l+1 has few units, the
residuals e say everything and a_l itself is never stored: ``Narrow``. Elsewhere a_l is: ``Stored``.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl.model.activations import Activation

Array = NDArray[np.floating]

NARROW = 16  # units of the next layer up to which V e is computed again rather than a_l kept


class Hidden(Protocol):
    """a_l of this rank's samples. ``z`` is a block of z_l, (k, block), and ``columns`` says which block.

    ``W`` is W_{l+1} with its bias column, if any; ``V`` is its gain, (k, k').
    """

    def update(self, columns: slice, z: Array, t: Array, W: Array, V: Array) -> Array:
        """a_l <- h(z_l) + V (t - W h(z_l)) (6); returns a_l with its row of ones."""

    def block(self, columns: slice, z: Array, V: Array) -> Array:
        """a_l as it stands, with its row of ones: ``z`` and ``V`` are those of its update."""

    def update_z(
        self, columns: slice, z: Array, m: Array, W: Array, V: Array, gamma: float, beta: float, out: Array
    ) -> None:
        """z_l <- argmin gamma ||a_l - h(z_l)||^2 + beta ||z_l - m||^2 (7), in place, and out <- W a_l.

        ``z`` and ``V`` are those of a_l's update, ``m`` is W_l a_{l-1}; ``W`` may be newer.
        """


def hidden(h: Activation, k: int, k_next: int, bias: bool, samples: int, block: int, dtype: type) -> Hidden:
    """What keeps a_l of k units below a layer of k_next; ``block`` is the largest number of columns at once."""
    if k_next <= NARROW:
        return Narrow(h, k, k_next, bias, samples, block, dtype)
    return Stored(h, k, bias, samples, dtype)


def floats_per_sample(k: int, k_next: int, bias: bool) -> int:
    """How many numbers ``hidden`` keeps for every sample."""
    return k_next if k_next <= NARROW else k + bias


class Stored:
    """a_l in memory: (k, samples), with a row of ones when the next layer has biases."""

    def __init__(self, h: Activation, k: int, bias: bool, samples: int, dtype: type) -> None:
        self._h, self._k = h, k
        self._a: Array = np.ones((k + bias, samples), dtype, order="F")

    def update(self, columns: slice, z: Array, t: Array, W: Array, V: Array) -> Array:
        a = self._a[:, columns]
        self._h.value(z, out=a[: self._k])
        a[: self._k] += V @ (t - W @ a)
        return a

    def block(self, columns: slice, z: Array, V: Array) -> Array:
        return self._a[:, columns]

    def update_z(
        self, columns: slice, z: Array, m: Array, W: Array, V: Array, gamma: float, beta: float, out: Array
    ) -> None:
        a = self._a[:, columns]
        self._h.z_update(z, a, m, gamma, beta)
        np.matmul(W, a, out=out)


class Narrow:
    """a_l by its residuals e, (k', samples): memory and traffic of a_l are saved, for one product with V."""

    def __init__(
        self, h: Activation, k: int, k_next: int, bias: bool, samples: int, block: int, dtype: type
    ) -> None:
        self._h, self._k = h, k
        self._e: Array = np.zeros((k_next, samples), dtype, order="F")
        self._a: Array = np.ones((k + bias, min(block, samples)), dtype, order="F")  # of one block
        self._row: Array = np.empty(k, dtype)

    def update(self, columns: slice, z: Array, t: Array, W: Array, V: Array) -> Array:
        e = self._e[:, columns]
        a = self._a[:, : e.shape[1]]
        W, b = self._split(W)
        t = t - b if len(b.T) else t
        if hasattr(self._h, "narrow_a"):
            self._h.narrow_a(z, t, W, V, e, a)
            return a
        h = self._h.value(z, out=a[: self._k])
        e[...] = t - W @ h
        h += V @ e
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
        if hasattr(self._h, "narrow_z"):
            W, b = self._split(W)
            self._h.narrow_z(z, m, self._e[:, columns], V, W, gamma, beta, self._row, out)
            if len(b.T):
                out += b
            return
        a = self.block(columns, z, V)
        self._h.z_update(z, a, m, gamma, beta)
        np.matmul(W, a, out=out)

    def _split(self, W: Array) -> tuple[Array, Array]:
        """W without its bias, in one piece of memory, and the bias: (k', k) and (k', 1), or (k', 0) for none."""
        return np.ascontiguousarray(W[:, : self._k]), W[:, self._k :]
