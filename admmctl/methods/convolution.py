"""Convolutional layers: their least squares, and what reaches activations below, per frequency (Taylor section 8).

In a circular image the matrix of a layer is diagonal in the Fourier basis but for its channels, so that what the
least squares of ADMM need of n images are sums of spectra: over lags d,

    z a' -> sum_p z_f[p] a_c[p + d]      and      a a' -> R_cc'[d] = sum_p a_c[p] a_c'[p + d].

The matrix of patches that they stand for, with n H W columns, is never formed, and nothing is approximated. With a
stride, a_c are the phases of the channels, and the image is as large as a map: see ``model/convolution.py``. An
image with zeros around it is a circular one, too.

Filters as large as a circular image have normal equations that fall apart into one of C x C per frequency. Those
of smaller filters, constrained to be zero outside, do not: they have C h w unknowns, R at the differences of their
pixels as matrix, and one Cholesky factor.

Below a convolution with G(f) per frequency, the update is a^ = h^ + V(f) (t^ - b^ - G h^) where
V = G^H (gamma/beta I + G G^H)^-1 has the shape of the channels. With zeros around the image, these have to stay
zeros: ``FilterGain``. Below a dense layer on averages, W P a + b, with P P' = I / p^2 for squares of p x p,
V = P'W'(gamma/beta I + W W' / p^2)^-1 = p^2 P' U, where U is the gain of W for p^2 gamma/beta, and p^2 P' repeats
a number over its square. Nothing as large as the images is solved for.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from admmctl.methods.gains import divided_gains
from admmctl.methods.least_squares import Factor, RidgeFactor, Sums, check_sides
from admmctl.methods.method import Array, Diverged, Problem
from admmctl.model.convolution import Filters, Spectrum, correlation, product
from admmctl.model.network import Network
from admmctl.model.operators import Operator
from admmctl.model.pooling import Pooled


class FilterPair(Sums):
    """Sums for the filters of one layer: ``z`` are its maps, (F H W, block), ``a`` images below, (C H W, block).

    ``cross`` (F, C h w + 1) is what it would be with patches as inputs, as soon as sums are reduced.
    """

    def __init__(self, filters: Filters, bias: bool, dtype: type) -> None:
        self._filters, self._bias = filters, bias
        F, C, frequencies = filters.rows, filters.phases, filters.frequencies
        spectral = np.result_type(dtype, np.complex64)
        self.cross: Array = np.zeros((F, filters.inputs + bias), dtype)
        self._z_a: Any = np.zeros((F, C, frequencies), spectral)
        self._z: Array = np.zeros(F, dtype)  # over all pixels, as the bias sees them
        self._a_a: Any = np.zeros((C, C, frequencies), spectral)
        self._a: Array = np.zeros(C, dtype)
        self._samples: Array = np.zeros(1, np.float64)
        self._lags: Array = np.zeros((C, C, *filters.maps), dtype)

    def clear(self) -> None:
        for array in (self._z_a, self._z) + (() if self._fixed else (self._a_a, self._a, self._samples)):
            array[...] = 0

    def add(self, z: Array, a: Array) -> None:
        filters = self._filters
        above, below = filters.transform(z), filters.seen(a)
        self._z_a += correlation(above, below)
        self._z += above[:, :, 0].real.sum(axis=0)
        if not self._fixed:
            self._add_gram(below)

    def add_gram(self, a: Array) -> None:
        """Add a block of samples to a a' alone."""
        self._add_gram(self._filters.seen(a))

    def _add_gram(self, below: Spectrum) -> None:
        self._a_a += correlation(below, below)
        self._a += below[:, :, 0].real.sum(axis=0)
        self._samples += len(below)

    def packed(self) -> list[Array]:
        """Of a a' the lags between pixels of a filter, unless they are fixed; ``cross`` gets those of z a'."""
        k = self._filters.inputs
        self.cross[:, :k] = self._filters.at_filters(self._filters.lags(self._z_a.copy())).reshape(-1, k)
        self.cross[:, k:] = self._z[:, None][:, : self._bias]
        if self._fixed:
            return []
        seen = self._filters.lags(self._a_a.copy())[self._pairs()]
        return [seen.ravel(), self._a, self._samples.astype(self._a.dtype)]

    def unpack(self, packed: Array) -> Array:
        if self._fixed:
            return packed
        C, pairs = self._filters.phases, self._pairs()
        size = self._lags[pairs].size
        self._lags[pairs] = packed[:size].reshape(-1, *self._lags[pairs].shape[1:])
        # The other half: R_c'c[d] = R_cc'[-d].
        first, second = np.tril_indices(C, -1)
        self._lags[first, second] = np.roll(self._lags[second, first, ::-1, ::-1], 1, axis=(1, 2))
        self._a[...] = packed[size : size + C]
        self._samples[...] = packed[size + C]
        return packed[size + C + 1 :]

    def _pairs(self) -> Any:
        """Of a a', channels c <= c' and the lags between pixels of a filter."""
        first, second = np.triu_indices(self._filters.phases)
        rows, columns = self._filters.differences()
        return first[:, None, None], second[:, None, None], rows[:, None], columns

    @property
    def mean(self) -> float:
        """The mean diagonal of the matrix that the sums stand for."""
        phases = self._filters.places[0]
        power = float(self._lags[phases, phases, 0, 0].sum(dtype=np.float64))
        ones = float(self._samples[0]) * self._filters.pixels if self._bias else 0.0
        return (power + ones) / (self._filters.inputs + self._bias) or 1.0

    def gram(self) -> Array:
        """The matrix of the normal equations, with patches as inputs: R at the differences of their pixels."""
        k, (height, width) = self._filters.inputs, self._filters.maps
        phases, rows, columns = (place.ravel() for place in np.broadcast_arrays(*self._filters.places))
        down, across = (rows - rows[:, None]) % height, (columns - columns[:, None]) % width
        whole: Array = np.empty((k + self._bias, k + self._bias), self.cross.dtype)
        whole[:k, :k] = self._lags[phases[:, None], phases, down, across]
        if self._bias:
            whole[k, :k] = whole[:k, k] = self._a[phases]
            whole[k, k] = self._samples[0] * self._filters.pixels
        return whole

    def _factor(self, ridge: float) -> Factor:
        if not self._filters.whole:
            return RidgeFactor(self.gram(), ridge)
        if not (np.isfinite(self._lags).all() and np.isfinite(self._a).all()):
            raise Diverged("a a' is not finite")
        bias = (self._a, float(self._samples[0])) if self._bias else None
        return FrequencyFactor(self._filters, self._lags, bias, ridge, self.mean)

    def memory(self) -> dict[str, Any]:
        return {"lags": self._lags, "a": self._a, "samples": self._samples} if self._fixed else {}

    def recall(self, memory: dict[str, Any]) -> None:
        if memory:
            self.fix(False)
            self._lags[...], self._a[...], self._samples[...] = memory["lags"], memory["a"], memory["samples"]
            self.fix()


class FrequencyFactor:
    """The inverse of a a' + ridge * mean I for filters of the image's size: one of C x C per frequency.

    The bias multiplies an image of ones, which has frequency zero alone: there it is one more channel.
    ``lags`` are R_cc'[d], ``bias`` the sum of every channel and the number of samples, where there are biases.
    Where rounding has made a matrix indefinite the ridge is raised, as that of RidgeFactor.
    """

    def __init__(
        self, filters: Filters, lags: Array, bias: tuple[Array, float] | None, ridge: float, mean: float
    ) -> None:
        self._filters, self.ridge = filters, ridge
        C, pixels = filters.phases, filters.pixels
        R = filters.transform(lags.astype(np.float64).reshape(C, -1).T).transpose(2, 0, 1)
        R = (R + R.conj().transpose(0, 2, 1)) / 2
        zero = R[0].real
        if bias is not None:
            total = math.sqrt(pixels) * bias[0].astype(np.float64)[:, None]
            zero = np.block([[zero, total], [total.T, np.full((1, 1), pixels * bias[1])]])
        while True:
            shift = self.ridge * mean
            others, first = R[1:] + shift * np.eye(C), zero + shift * np.eye(len(zero))
            try:
                np.linalg.cholesky(others)
                np.linalg.cholesky(first)
                self._others, self._first = np.linalg.inv(others), np.linalg.inv(first)
                return
            except np.linalg.LinAlgError:
                self.ridge = max(10 * self.ridge, 1e-10)

    def solve(self, cross: Array, start: Array | None = None) -> Array:
        """W (F, C H W + 1) of z a', in the type of ``cross``. Raises Diverged."""
        if not np.isfinite(cross).all():
            raise Diverged("z a' is not finite")
        filters, k, C = self._filters, self._filters.inputs, self._filters.phases
        placed = filters.placed(cross.astype(np.float64))
        B = filters.transform(placed.reshape(len(placed), -1).T).transpose(2, 0, 1)
        unit = math.sqrt(self._filters.pixels)
        first = np.hstack([B[0].real / unit, cross[:, k:].astype(np.float64)]) @ self._first
        W = np.empty(cross.shape, cross.dtype)
        spectrum = np.concatenate([first[None, :, :C] * unit, B[1:] @ self._others])
        W[:, :k] = filters.at_filters(filters.lags(spectrum.transpose(1, 2, 0)))
        W[:, k:] = first[:, C:]
        return W


class FilterGain:
    """(ratio I + M'M)^-1 M', M the matrix of a convolution without its bias: what (6) multiplies t - b - M h by.

    It is V(f), (phases, F, frequencies), where the image is circular. The zeros around an image are m numbers that
    have to stay zero: B' delta = 0, B their unit vectors. With A = ratio I + G^H G per frequency, y = V e is the
    minimum without this constraint, and

        delta = y - A^-1 B mu,      (B' A^-1 B) mu = B' y,

    with one factor of m x m for all samples. A^-1 is circular, and B' A^-1 B has its lags at differences.
    """

    def __init__(self, above: Filters, W: Array, ratio: float) -> None:
        self._above, self.V = above, frequency_gain(above, W, ratio)
        if above.zeros:
            G = above.spectrum(W.astype(np.float64))
            A = np.einsum("fcw,fdw->wcd", G.conj(), G) + ratio * np.eye(above.phases)
            inverse = np.ascontiguousarray(np.linalg.inv(A).transpose(1, 2, 0))
            phases, rows, columns = self._places = above.around()
            (height, width), lags = above.maps, above.lags(inverse.copy())
            matrix = np.empty((len(rows), len(rows)))
            for place, row in enumerate(matrix):  # one at a time: the indices of all would take five times as much
                down, across = (rows[place] - rows) % height, (columns[place] - columns) % width
                row[...] = lags[phases[place], phases, down, across]
            try:
                factor, lower = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:
                raise Diverged("the matrix of the zeros around an image is singular: W has grown") from None
            self._factor = factor.astype(W.dtype), lower
            self._inverse = inverse.astype(self.V.dtype)

    def __matmul__(self, t: Array) -> Array:
        """(C H W, n) of maps (F H W, n)."""
        return self.pull(self._above.transform(t))

    def __itruediv__(self, c: float) -> "FilterGain":
        self.V /= c
        return self

    def pull(self, e: Spectrum) -> Array:
        """(C H W, n) of the spectrum (n, F, frequencies) of maps, which may be overwritten."""
        above, pulled = self._above, product(self.V, e)
        if above.zeros:
            phases, rows, columns = self._places
            y = above.lags(pulled.copy())
            mu = np.zeros_like(y)
            around = y[:, phases, rows, columns].T
            mu[:, phases, rows, columns] = cho_solve(self._factor, around, check_finite=False).T
            pulled -= product(self._inverse, above.transform(mu.reshape(len(mu), -1).T))
        return above.pixels_of(pulled)


def on_units(network: Network, W: Mapping[int, Array], l: int) -> Array:
    """W_{l+1} on the units of layer l: without its bias, and without what recurrent networks read beside them."""
    return W[l + 1][:, : min(network.operator(l + 1).inputs, network.sizes[l])]


def gains_below(p: Problem, W: Mapping[int, Array], ratios: Mapping[int, float], dtype: type) -> dict[int, Any]:
    """M'(ratio I + M M')^-1 of hidden layers l, M what layer l + 1 with ``W[l + 1]`` is as a matrix.

    Below a convolution a ``FilterGain``, below a pooled layer U, else the matrix itself, solved in ``dtype``.
    Raises Diverged, on all ranks.
    """
    dense, shrunk, V = {}, {}, {}
    with p.clock.phase("solve"):
        for l, ratio in ratios.items():
            above = p.network.operator(l + 1)
            if isinstance(above, Filters):
                V[l] = FilterGain(above, W[l + 1], ratio)
            else:
                dense[l] = on_units(p.network, W, l)
                shrunk[l] = ratio * above.pool**2 if isinstance(above, Pooled) else ratio
        return V | divided_gains(dense, shrunk, dtype, p.comm, p.clock)


def filter_cost(filters: Filters, bias: bool, l: int, total: int) -> tuple[float, int, int]:
    """Operations of the sums and the product of layer l, numbers that it holds, those of a a' that it sends."""
    C, k, whole = filters.phases, filters.inputs + bias, filters.whole
    flop = 2.0 * total * filters.flop(bias)
    numbers = filter_numbers(filters, bias) + (4 * C * filters.pixels * C if whole else k * k)
    shared = 0
    if l > 1:
        # a a'; and both products of the a-update.
        flop += total * (gram_flop(filters, bias) + 2 * filters.flop(bias=False))
        flop += (filters.frequencies if whole else 1) * (C if whole else k) ** 3 / 3
        of_zeros = zeros_cost(filters, total)
        flop, numbers = flop + of_zeros[0], numbers + of_zeros[1]
        lags = math.prod(map(len, filters.differences()))
        shared = C * (C + 1) // 2 * lags + C + 1
    return flop, numbers, shared


def filter_numbers(filters: Filters, bias: bool) -> int:
    """How many numbers the sums of a ``FilterPair`` are."""
    F, C = filters.rows, filters.phases
    return 2 * (F * C + 2 * C * C) * filters.frequencies + F * (filters.inputs + bias)


def gram_flop(operator: Operator, bias: bool) -> float:
    """Operations per sample that are a a' of a layer: Hermitian per frequency, below filters."""
    k = operator.inputs + bias
    return 4.0 * operator.phases**2 * operator.frequencies if isinstance(operator, Filters) else k * (k + 1.0)


def zeros_cost(filters: Filters, total: int) -> tuple[float, int]:
    """Operations and numbers of what keeps zeros around images: none where there are none."""
    m = zeros_around(filters)
    if not m:
        return 0.0, 0
    flop = m**3 / 3 + total * (2.0 * m * m + 2 * filters.flop(bias=False))
    return flop, m * m // 2 + 4 * filters.phases**2 * filters.frequencies


def check_zeros(network: Network) -> None:
    """Raises UserError where more numbers around the images of a hidden layer are zeros than a factor may have."""
    above = [network.operator(l) for l in range(2, network.layers + 1)]
    check_sides([zeros_around(layer) for layer in above if isinstance(layer, Filters)], "zeros around images")


def zeros_around(filters: Filters) -> int:
    """How many numbers around the images of all channels are zeros."""
    return filters.phases * filters.pixels - math.prod(filters.image) if filters.zeros else 0


def frequency_gain(above: Filters, W: Array, ratio: float) -> Any:
    """V(f) = G^H (ratio I + G G^H)^-1, (phases, F, frequencies), on the smaller side, of G G^H or of G^H G."""
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
