"""Activations below a convolution, or below a pooled layer: Taylor's (6) per frequency, or on the side of W W'.

Below a convolution with G(f) per frequency, the update is a^ = h^ + V(f) (t^ - b^ - G h^) where
V = G^H (gamma/beta I + G G^H)^-1 has the shape of the channels. Below a dense layer on averages, W P a + b,
with P P' = I / p^2 for squares of p x p, V = P'W'(gamma/beta I + W W' / p^2)^-1 = p^2 P' U, where U is the gain of
W for p^2 gamma/beta, and p^2 P' repeats a number over its square. Nothing as large as the images is solved for.
"""

from typing import Any

import numpy as np

from admmctl.methods.least_squares import gain
from admmctl.methods.method import Array, Diverged, Timer
from admmctl.methods.taylor.hidden import Hidden, Shape, Stored, hidden
from admmctl.model.activations import Activation
from admmctl.model.convolution import Filters, Pooled, product
from admmctl.model.network import Network
from admmctl.model.operators import Operator


def hidden_layer(network: Network, l: int, samples: int, block: int, dtype: type, clock: Timer) -> Hidden:
    """What keeps a_l, by the layer above it."""
    k, k_next = network.sizes[l : l + 2]
    shape = Shape(k, k_next, network.bias, samples, block, dtype)
    above = network.operator(l + 1)
    if isinstance(above, Filters):
        return Filtered(above, network.activation, shape, clock)
    if isinstance(above, Pooled):
        return Averaged(above, network.activation, shape, clock)
    return hidden(network.activation, shape, clock)


def floats_per_sample(network: Network, l: int) -> int:
    """How many numbers are kept of a_l for every sample."""
    k, k_next = network.sizes[l : l + 2]
    above = network.operator(l + 1)
    if isinstance(above, Filters):
        return k + network.bias
    return k_next if isinstance(above, Pooled) else Shape(k, k_next, network.bias, 0, 0, float).floats_per_sample


def layer_gain(above: Operator, W: Array, ratio: float) -> Any:
    """V of the layer above for its W, with bias, and ratio = gamma/beta: (6) is a = h + V (t - b - W h).

    Below a convolution (C, F, frequencies), below a pooled layer U, else V itself. Raises Diverged.
    """
    if isinstance(above, Filters):
        return frequency_gain(above, W, ratio)
    if isinstance(above, Pooled):
        return gain(W[:, : above.inputs], ratio * above.pool**2)
    return gain(W[:, : above.inputs], ratio)


def frequency_gain(above: Filters, W: Array, ratio: float) -> Any:
    """V(f) = G^H (ratio I + G G^H)^-1, (C, F, frequencies), on the side of G G^H or of G^H G, the smaller one."""
    if not np.isfinite(W).all():
        raise Diverged("the weights are not finite")
    G = above.spectrum(W.astype(np.float64)).transpose(2, 0, 1)
    narrow = G.shape[1] <= G.shape[2]
    A = G if narrow else G.conj().transpose(0, 2, 1)
    matrix = A @ A.conj().transpose(0, 2, 1) + ratio * np.eye(A.shape[1])
    try:
        solved = np.linalg.solve(matrix, A)  # (A A^H + ratio)^-1 A: of G^H it is V itself, of G its adjoint
    except np.linalg.LinAlgError:
        raise Diverged("the matrix of the a-update is numerically singular: W has grown") from None
    V = solved.conj().transpose(2, 1, 0) if narrow else solved.transpose(1, 2, 0)
    return np.ascontiguousarray(V, dtype=np.result_type(W.dtype, np.complex64))


class Filtered(Stored):
    """a_l in memory, below a convolution; ``V`` has shape (C, F, frequencies)."""

    def __init__(self, above: Filters, h: Activation, shape: Shape, clock: Timer) -> None:
        super().__init__(h, shape, clock)
        self._above = above

    def _pull(self, h: Array, t: Array, W: Array, V: Array) -> Array:
        above = self._above
        e = above.transform(t, above.rows) - product(above.spectrum(W), above.transform(h, above.image[0]))
        e[:, :, 0] -= above.pixels * W[:, above.inputs :].sum(axis=1)  # a constant has frequency zero alone
        return above.image_of(product(V, e))  # type: ignore[arg-type]  # V is complex here

    def _product(self, W: Array, a: Array, out: Array) -> None:
        self._above.apply(W, a, out=out)


class Averaged:
    """a_l below a pooled layer, by the residuals e = t - b - W P h(z_l), (k', samples); ``V`` is U (P's rows, k').

    ``update`` returns what that layer's least squares has as inputs, P a_l with its row of ones.
    """

    def __init__(self, above: Pooled, h: Activation, shape: Shape, clock: Timer) -> None:
        self._above, self._h, self._k, self._clock = above, h, shape.k, clock
        columns = min(shape.block, shape.samples)
        self._e: Array = np.zeros((shape.k_next, shape.samples), shape.dtype, order="F")
        self._a: Array = np.ones((shape.k + shape.bias, columns), shape.dtype, order="F")  # of one block
        self._averages: Array = np.ones((above.inputs + shape.bias, columns), shape.dtype, order="F")

    def update(self, columns: slice, z: Array, t: Array, W: Array, V: Array) -> Array:
        e = self._e[:, columns]
        averages = self._averages[:, : e.shape[1]]
        with self._clock.phase("elementwise"):
            h = self._h.value(z, out=self._a[: self._k, : e.shape[1]])
            self._above.average(h, out=averages[: self._above.inputs])
        with self._clock.phase("product"):
            np.subtract(t, W @ averages, out=e)
            averages[: self._above.inputs] += V @ e  # P a = P h + U e
        return averages

    def block(self, columns: slice, z: Array, V: Array) -> Array:
        e = self._e[:, columns]
        a = self._a[:, : e.shape[1]]
        h = self._h.value(z, out=a[: self._k])
        h += self._above.spread(V @ e)
        return a

    def update_z(
        self, columns: slice, z: Array, m: Array, W: Array, V: Array, gamma: float, beta: float, out: Array
    ) -> None:
        with self._clock.phase("elementwise"):
            a = self.block(columns, z, V)
            self._h.z_update(z, a, m, gamma, beta)
        with self._clock.phase("product"):
            self._above.apply(W, a, out=out)
