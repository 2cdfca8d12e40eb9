"""What differs between layers, and the only place that chooses: dense, on averages, or convolutional.

Layer i has the least squares of W_i, whose sums over rows, and over the places of a filter, are a ``GramPair``. On
its way down R_{i+1} is multiplied by Q_i, and Table 2 gone through several times needs W_{i+1} V_i, too: both are
matrices where the layer above is dense, and else something else that is multiplied by ``@`` alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from admmctl.methods.convolution import FilterGain, FilterPair, gains_below
from admmctl.methods.least_squares import GramPair
from admmctl.methods.method import Array, Problem
from admmctl.model.convolution import Filters
from admmctl.model.network import Network
from admmctl.model.operators import Operator
from admmctl.model.pooling import Pooled


class Linear(Protocol):
    """A matrix, or what is multiplied as one."""

    def __matmul__(self, x: Array) -> Array: ...


class PatchPair(GramPair):
    """R V' (F, C h w + 1) and V V' of the patches V that the filters of a layer see at all places of all samples.

    The patches are never formed: spectra are summed (``FilterPair``), and become these matrices once for all
    blocks. ``add`` takes maps (F H W, block) and images (C H W, block).
    """

    def __init__(self, filters: Filters, bias: bool, dtype: type) -> None:
        super().__init__(filters.rows, filters.inputs + bias, dtype)
        self._spectra = FilterPair(filters, bias, dtype)

    def fix(self, fixed: bool = True) -> None:
        super().fix(fixed)
        self._spectra.fix(fixed)

    def clear(self) -> None:
        super().clear()
        self._spectra.clear()

    def add(self, z: Array, a: Array) -> None:
        self._spectra.add(z, a)

    def add_gram(self, a: Array) -> None:
        self._spectra.add_gram(a)

    def packed(self) -> list[Array]:
        sums = self._spectra.packed()
        self.cross[...] = self._spectra.cross
        if sums:
            self._spectra.unpack(np.concatenate(sums))
            self.triangle[...] = self._spectra.gram()
        return super().packed()


def pairs(network: Network, dtype: type, like: Array) -> dict[int, GramPair]:
    """The sums of layers 1..N, in arrays ``like`` another one."""
    made: dict[int, GramPair] = {}
    for i, shape in enumerate(network.shapes, start=1):
        layer = network.operator(i)
        made[i] = (
            PatchPair(layer, network.bias, dtype) if isinstance(layer, Filters) else GramPair(*shape, dtype, like)
        )
    return made


@dataclass(frozen=True)
class Spread:
    """p^2 P' U, the gain below averages P: of U (P's rows, k')."""

    above: Pooled
    U: Array

    def __matmul__(self, R: Array) -> Array:
        return self.above.spread(self.U @ R)


@dataclass(frozen=True)
class Layer:
    """The product of a layer's weights ``W``, without biases, and activations (k, n)."""

    operator: Operator
    W: Array

    def __matmul__(self, V: Array) -> Array:
        return self.operator.apply(self.W, V)


@dataclass(frozen=True)
class Transposed:
    """The product of the layer transposed, (k, k'), and R (k', n)."""

    operator: Operator
    W: Array
    k: int

    def __matmul__(self, R: Array) -> Array:
        return self.operator.adjoint(self.W, R, np.empty((self.k, R.shape[1]), R.dtype, order="F"))


def gains(
    p: Problem, W: Mapping[int, Array], ratios: Mapping[int, float], c: Mapping[int, float], dtype: type
) -> dict[int, Linear]:
    """M'(ratio I + M M')^-1 / c of hidden layers i, M what layer i + 1 is as a matrix. Raises Diverged."""
    Q: dict[int, Linear] = {}
    for i, V in gains_below(p, W, ratios, dtype).items():
        above = p.network.operator(i + 1)
        V /= c[i] if isinstance(V, FilterGain) else V.dtype.type(c[i])
        Q[i] = Spread(above, V) if isinstance(above, Pooled) else V
    return Q


def multiply(Q: Linear, R: Array, out: Array) -> None:
    """out = Q R."""
    if isinstance(Q, FilterGain | Spread | Transposed):
        out[...] = Q @ R
    else:
        np.matmul(cast(Array, Q), R, out=out)


def forward(operator: Operator, W: Array) -> Linear:
    """What multiplies activations without their row of ones: ``W`` without biases."""
    matrix = W[:, : operator.inputs]
    return Layer(operator, matrix) if isinstance(operator, Filters | Pooled) else matrix


def transposed(operator: Operator, W: Array, k: int, scale: float) -> Linear:
    """What multiplies R (k', n), of ``scale`` times the layer without biases on ``k`` units."""
    matrix = W[:, : operator.inputs] * W.dtype.type(scale)
    if isinstance(operator, Filters | Pooled):
        return Transposed(operator, matrix, k)
    turned: Array = np.asfortranarray(matrix.T, like=matrix)
    return turned


def compared(operator: Operator, W: Array, Q: Linear) -> tuple[float, float]:
    """trace(M Q) / ||M||^2 and ||Q|| / ||M||, with M the layer as a matrix and Frobenius norms; 0, 0 for M = 0.

    Zeros around images count as pixels here.
    """
    matrix = W[:, : operator.inputs]
    square, along, of_gain = float(np.vdot(matrix, matrix)), 0.0, 0.0
    if isinstance(Q, Transposed):
        along, of_gain = float(np.vdot(matrix, Q.W)), float(np.vdot(Q.W, Q.W))
    elif isinstance(operator, Filters):
        assert isinstance(Q, FilterGain)
        lags = operator.lags(Q.V.transpose(1, 0, 2).copy())
        along, of_gain = float(np.vdot(matrix, operator.at_filters(lags))), float(np.vdot(lags, lags))
    elif isinstance(operator, Pooled):
        # M = W P and Q = p^2 P' U with P P' = I / p^2
        assert isinstance(Q, Spread)
        along, of_gain = float(np.vdot(matrix, Q.U.T)), float(np.vdot(Q.U, Q.U)) * operator.pool**2
        square /= operator.pool**2
    else:
        gain = cast(Array, Q)
        along, of_gain = float(np.vdot(matrix, gain.T)), float(np.vdot(gain, gain))
    return (along / square, (of_gain / square) ** 0.5) if square > 0 else (0.0, 0.0)
