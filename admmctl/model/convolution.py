"""Convolutional layers at the bottom of a network, and the pooling between them and its dense layers.

A layer of F filters on images of C channels has a circular boundary and a stride of one pixel:

    z_f[p] = sum_{c,u} W_fc[u] a_c[p + u - o] + b_f,    o the middle of the filter

W is a matrix, (F, C h w + 1): a filter of h x w per row and channel, and its bias. The Fourier transform over the
pixels turns the sum into a product per frequency, z^(f) = G(f) a^(f) with G(f) of shape (F, C). Filters of any
size are transformed: on 28 x 28 pixels a transform takes 2 microseconds, and with 8 channels and 8 filters of 5 x
5 the layer is 2.5 times as fast as a matrix product with gathered patches.

Activations are (C H W, n), a sample's channels one after another: ``a.T`` is n images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.model.operators import Array, Dense, Operator

Spectrum = NDArray[np.complexfloating]


@dataclass(frozen=True)
class Stack:
    """Layers of ``filters[0]``, ... filters of shape ``size`` on an ``image`` (channels, height, width)."""

    image: tuple[int, int, int]
    filters: tuple[int, ...]
    size: tuple[int, int]
    pool: int = 1

    def __post_init__(self) -> None:
        import scipy.fft  # noqa: F401  (before the clock of training runs; dense networks start without it)

    def operators(self, next_rows: int) -> list[Operator]:
        """The convolutions, and the layer of ``next_rows`` units on top of them."""
        layers: list[Operator] = []
        image = self.image
        for filters in self.filters:
            layers.append(Filters(filters, image, self.size))
            image = (filters, *image[1:])
        if self.pool == 1:
            return [*layers, Dense(next_rows, math.prod(image))]
        return [*layers, Pooled(next_rows, image, self.pool)]

    @property
    def sizes(self) -> list[int]:
        """Units of every convolutional layer: a map of the image's size per filter."""
        return [filters * self.image[1] * self.image[2] for filters in self.filters]

    def packed(self) -> list[int]:
        """The stack as whole numbers, for a file."""
        return [*self.image, *self.size, self.pool, *self.filters]

    @classmethod
    def unpack(cls, packed: Sequence[int]) -> "Stack":
        """The stack of these ``packed`` numbers. Raises ValueError for numbers of no stack."""
        numbers = [int(number) for number in packed]
        if len(numbers) < 7 or min(numbers) < 1:
            raise ValueError("its convolution is not understood")
        (channels, height, width, h, w, pool), filters = numbers[:6], tuple(numbers[6:])
        stack = cls((channels, height, width), filters, (h, w), pool)
        if h > height or w > width or height % pool or width % pool:
            raise ValueError("its convolution does not fit its images")
        return stack


@dataclass(frozen=True)
class Filters:
    """A convolutional layer: ``rows`` filters of shape ``size`` on an ``image`` (channels, height, width)."""

    rows: int
    image: tuple[int, int, int]
    size: tuple[int, int]

    @property
    def inputs(self) -> int:
        return self.image[0] * self.size[0] * self.size[1]

    @property
    def pixels(self) -> int:
        """Of a channel, which are those of a filter's map."""
        return self.image[1] * self.image[2]

    @property
    def frequencies(self) -> int:
        """How many a real image has; the others are their conjugates."""
        return self.image[1] * (self.image[2] // 2 + 1)

    @property
    def scratch(self) -> int:
        return 5 * (self.image[0] + self.rows) * self.pixels

    def flop(self, bias: bool) -> float:
        """5/2 N log2 N for the transform of a real image of N pixels, 8 for a complex product that is added."""
        transforms = 2.5 * (self.image[0] + self.rows) * self.pixels * math.log2(self.pixels)
        return transforms + 8.0 * self.rows * self.image[0] * self.frequencies

    def below(self, a: Array) -> Array:
        return a

    def apply(self, W: Array, a: Array, out: Array | None = None) -> Array:
        z = self.image_of(product(self.spectrum(W), self.transform(a, self.image[0])))
        if out is None:
            out = np.empty(z.shape, z.dtype, order="F")
        bias = W[:, self.inputs :]
        # Transposed, a sample's numbers are side by side in memory.
        np.add(z.T, np.repeat(bias[:, 0], self.pixels) if bias.size else 0, out=out.T)
        return out

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        transposed = self.spectrum(W).conj().transpose(1, 0, 2)
        out[...] = self.image_of(product(transposed, self.transform(delta, self.rows)))
        return out

    def add_gradient(self, delta: Array, a: Array, total: Array) -> None:
        above, below = self.transform(delta, self.rows), self.transform(a, self.image[0])
        total[:, : self.inputs] += self.at_filters(self.lags(correlation(above, below)))
        if total.shape[1] > self.inputs:
            total[:, self.inputs] += above[:, :, 0].real.sum(axis=0)

    def transform(self, x: Array, channels: int) -> Spectrum:
        """The spectrum (n, channels, frequencies) of images ``x`` (channels H W, n), without its row of ones."""
        images = x.T[:, : channels * self.pixels].reshape(-1, channels, *self.image[1:])
        from scipy import fft

        return np.asarray(fft.rfft2(images)).reshape(len(images), channels, self.frequencies)

    def image_of(self, spectrum: Spectrum) -> Array:
        """The images (channels H W, n) of a spectrum (n, channels, frequencies), which is overwritten."""
        return self.lags(spectrum).reshape(len(spectrum), -1).T

    def lags(self, spectrum: Spectrum) -> Array:
        """Back to (..., height, width) from (..., frequencies), which are overwritten."""
        from scipy import fft

        _, height, width = self.image
        whole = spectrum.reshape(*spectrum.shape[:-1], height, width // 2 + 1)
        # One axis after the other: irfft2 allocates one more spectrum, which takes as long as the transform.
        rows = fft.ifft(whole, axis=-2, overwrite_x=True)
        images: Array = fft.irfft(rows, n=width, axis=-1)
        return images

    def spectrum(self, W: Array) -> Spectrum:
        """G (F, C, frequencies), the conjugate spectrum of the filters in ``W``."""
        (channels, height, width), (h, w) = self.image, self.size
        placed: Array = np.zeros((self.rows, channels, height, width), W.dtype)
        placed[self._places] = W[:, : self.inputs].reshape(self.rows, channels, h, w)
        return self.transform(placed.reshape(self.rows, -1).T, channels).conj()

    def at_filters(self, lags: Array) -> Array:
        """The lags of a correlation (F, C, H, W) that filters have, in the order of W's columns: (F, C h w)."""
        return lags[self._places].reshape(len(lags), -1)

    @property
    def _places(self) -> Any:
        """Index of a filter's pixels in an image: u - o, modulo its sides."""
        rows, columns = self.offsets()
        return np.s_[:, :, rows[:, None] % self.image[1], columns % self.image[2]]

    def offsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """u - o of a filter's rows and columns."""
        h, w = self.size
        return np.arange(h) - h // 2, np.arange(w) - w // 2


def product(G: Spectrum, x: Spectrum) -> Spectrum:
    """G(f) x(f) for every frequency: ``G`` (F, C, frequencies), ``x`` (n, C, frequencies), (n, F, frequencies)."""
    if G.shape[1] == 1:
        return G[:, 0] * x
    y = np.matmul(np.ascontiguousarray(G.transpose(2, 0, 1)), np.ascontiguousarray(x.transpose(2, 1, 0)))
    return np.ascontiguousarray(y.transpose(2, 1, 0))


def correlation(y: Spectrum, x: Spectrum) -> Spectrum:
    """sum over samples of conj(y) x', (F, C, frequencies), of (n, F, frequencies) and (n, C, frequencies).

    Over lags d it is sum_p y_f[p] x_c[p + d].
    """
    conjugate = np.conjugate(y.transpose(2, 1, 0), order="C")
    summed: Spectrum = np.matmul(conjugate, np.ascontiguousarray(x.transpose(2, 0, 1))).transpose(1, 2, 0)
    return summed


@dataclass(frozen=True)
class Pooled(Dense):
    """A matrix on averages P a over ``pool`` x ``pool`` pixels of an ``image`` (channels, height, width)."""

    inputs: int = field(init=False)
    image: tuple[int, int, int]
    pool: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", math.prod(self.image) // self.pool**2)

    @property
    def scratch(self) -> int:
        return 2 * math.prod(self.image)

    def below(self, a: Array) -> Array:
        """P a, with a row of ones if ``a`` has one."""
        k = math.prod(self.image)
        averages: Array = np.ones((self.inputs + len(a) - k, a.shape[1]), a.dtype, order="F")
        self.average(a[:k], out=averages[: self.inputs])
        return averages

    def average(self, a: Array, out: Array) -> Array:
        """P a of ``a`` (channels H W, n), written to ``out`` (inputs, n)."""
        channels, height, width = self.image
        p = self.pool
        squares = a.T.reshape(-1, channels * height // p, p, width)
        # One pixel of all squares at a time: sums over such short axes take NumPy ten times as long.
        rows = squares[:, :, 0] + squares[:, :, 1]
        for i in range(2, p):
            rows += squares[:, :, i]
        columns = rows[:, :, 0::p] + rows[:, :, 1::p]
        for i in range(2, p):
            columns += rows[:, :, i::p]
        np.multiply(columns.reshape(len(columns), -1), a.dtype.type(1 / p**2), out=out.T)
        return out

    def spread(self, c: Array) -> Array:
        """p^2 P' c (channels H W, n): every number of ``c`` (inputs, n) at all pixels of its square."""
        channels, height, width = self.image
        p = self.pool
        squares = c.T.reshape(-1, channels * height // p, width // p)
        return np.repeat(np.repeat(squares, p, axis=2), p, axis=1).reshape(len(squares), -1).T

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        out[...] = self.spread((W[:, : self.inputs] / self.pool**2).T @ delta)
        return out
