"""Activations a_l below a convolution, and below averages (Taylor section 8): see ``methods/convolution.py``."""

import numpy as np

from admmctl.methods.convolution import FilterGain
from admmctl.methods.method import Array, Timer
from admmctl.methods.taylor.hidden import Narrow, Shape, Stored
from admmctl.model.activations import Activation
from admmctl.model.convolution import Filters, product
from admmctl.model.pooling import Pooled


class Filtered(Stored):
    """a_l in memory, below a convolution; ``V`` is its gain."""

    _above: Filters

    def _pull(self, h: Array, t: Array, W: Array, V: FilterGain) -> Array:  # type: ignore[override]
        above = self._above
        e = above.transform(t) - product(above.spectrum(W), above.seen(h))
        e[:, :, 0] -= above.pixels * W[:, above.inputs :].sum(axis=1)  # a constant has frequency zero alone
        return V.pull(e)


class Averaged(Narrow):
    """a_l below a pooled layer, by the residuals e = t - b - W P h(z_l), (k', samples); ``V`` is U (P's rows, k').

    ``update`` returns what that layer's least squares has as inputs, P a_l with its row of ones.
    """

    _above: Pooled

    def __init__(self, above: Pooled, h: Activation, shape: Shape, clock: Timer) -> None:
        super().__init__(above, h, shape, clock)
        columns = min(shape.block, shape.samples)
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
