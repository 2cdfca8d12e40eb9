"""Convolutional layers at the bottom of a network.

A layer of F filters of h x w pixels on images of C channels has maps of a pixel for every place p of a filter,

    z_f[p] = sum_{c,u} W_fc[u] a_c[stride p + u - o] + b_f.

By default the image is circular and o the middle of the filter: as many places as pixels, over stride^2. With
``zeros`` around it, o = (h - 1, w - 1): all places where a filter touches the image, (H + h - 1) / stride down,
rounded up. Inside the sum is circular all the same, on an image that its zeros make so much larger: it wraps
around to zeros.

W is a matrix, (F, C h w + 1): a filter of h x w per row and channel, and its bias. With every stride-th pixel of
a channel as a channel of its own, C stride^2 of them (``phases``), all have the size of a map, and the stride is
one. The Fourier transform over their pixels turns the sum into a product per frequency, z^(f) = G(f) a^(f) with
G(f) of shape (F, C stride^2). Filters of any size are transformed: on 28 x 28 pixels a transform takes 2
microseconds, and with 8 channels and 8 filters of 5 x 5 the layer is 2.5 times as fast as a matrix product with
gathered patches.

Activations are (C H W, n), a sample's channels one after another: ``a.T`` is n images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from admmctl.model.operators import Array, Dense, Operator
from admmctl.model.pooling import Pooled

Spectrum = NDArray[np.complexfloating]


@dataclass(frozen=True)
class Stack:
    """Layers of ``filters[0]``, ... filters of shape ``size`` on an ``image`` (channels, height, width)."""

    image: tuple[int, int, int]
    filters: tuple[int, ...]
    size: tuple[int, int]
    pool: int = 1
    stride: int = 1
    zeros: bool = False

    def __post_init__(self) -> None:
        import scipy.fft  # noqa: F401  (before the clock of training runs; dense networks start without it)

    @cached_property
    def layers(self) -> "list[Filters]":
        """The convolutions."""
        layers: list[Filters] = []
        image = self.image
        for filters in self.filters:
            layers.append(Filters(filters, image, self.size, self.stride, self.zeros))
            image = (filters, *layers[-1].maps)
        return layers

    @property
    def top(self) -> tuple[int, int, int]:
        """What the layer above the convolutions sees: filters, height and width of their maps."""
        return (self.filters[-1], *self.layers[-1].maps)

    def operators(self, next_rows: int) -> list[Operator]:
        """The convolutions, and the layer of ``next_rows`` units on top of them."""
        if self.pool == 1:
            return [*self.layers, Dense(next_rows, math.prod(self.top))]
        return [*self.layers, Pooled(next_rows, self.top, self.pool)]

    @property
    def sizes(self) -> list[int]:
        """Units of every convolutional layer: a map per filter."""
        return [layer.rows * layer.pixels for layer in self.layers]

    def packed(self) -> list[int]:
        """The stack as whole numbers, for a file: a 0 first where a stride and zeros are said."""
        usual = self.stride == 1 and not self.zeros
        steps = [] if usual else [0, self.stride, int(self.zeros)]
        return [*steps, *self.image, *self.size, self.pool, *self.filters]

    @classmethod
    def unpack(cls, packed: Sequence[int]) -> "Stack":
        """The stack of these ``packed`` numbers. Raises ValueError for numbers of no stack."""
        numbers = [int(number) for number in packed]
        stride, zeros = 1, False
        if len(numbers) > 2 and numbers[0] == 0 and numbers[2] in (0, 1):
            stride, zeros, numbers = numbers[1], bool(numbers[2]), numbers[3:]
        if len(numbers) < 7 or min(*numbers, stride) < 1:
            raise ValueError("its convolution is not understood")
        (channels, height, width, h, w, pool), filters = numbers[:6], tuple(numbers[6:])
        stack = cls((channels, height, width), filters, (h, w), pool, stride, zeros)
        if not all(layer.fits for layer in stack.layers) or any(side % pool for side in stack.top[1:]):
            raise ValueError("its convolution does not fit its images")
        return stack


@dataclass(frozen=True)
class Filters:
    """A convolutional layer: ``rows`` filters of shape ``size`` on an ``image`` (channels, height, width)."""

    rows: int
    image: tuple[int, int, int]
    size: tuple[int, int]
    stride: int = 1
    zeros: bool = False

    @property
    def fits(self) -> bool:
        """Whether filters are no larger than the image, and a stride goes around it in whole steps."""
        sides, stride = self.image[1:], self.stride
        larger = any(size > side for size, side in zip(self.size, sides, strict=True))
        return not larger and (self.zeros or not any(side % stride for side in sides))

    @property
    def inputs(self) -> int:
        return self.image[0] * self.size[0] * self.size[1]

    @cached_property
    def maps(self) -> tuple[int, int]:
        """Height and width of a filter's map."""
        (height, width), (h, w), stride = self.image[1:], self.size, self.stride
        if self.zeros:
            height, width = height + h - 1, width + w - 1
        return -(-height // stride), -(-width // stride)

    @property
    def phases(self) -> int:
        """Channels, when every stride-th pixel of one, down and across, is a channel of its own."""
        return self.image[0] * self.stride**2

    @property
    def pixels(self) -> int:
        """Of a filter's map, and of a phase."""
        return self.maps[0] * self.maps[1]

    @property
    def frequencies(self) -> int:
        """How many a real map has; the others are their conjugates."""
        return self.maps[0] * (self.maps[1] // 2 + 1)

    @property
    def scratch(self) -> int:
        copies = 0 if self._plain else (4 if self.zeros else 2) * self.phases * self.pixels
        return 5 * (self.phases + self.rows) * self.pixels + copies

    def flop(self, bias: bool) -> float:
        """5/2 N log2 N for the transform of a real image of N pixels, 8 for a complex product that is added."""
        transforms = 2.5 * (self.phases + self.rows) * self.pixels * math.log2(self.pixels)
        return transforms + 8.0 * self.rows * self.phases * self.frequencies

    def below(self, a: Array) -> Array:
        return a

    def apply(self, W: Array, a: Array, out: Array | None = None) -> Array:
        z = self.image_of(product(self.spectrum(W), self.seen(a)))
        if out is None:
            out = np.empty(z.shape, z.dtype, order="F")
        bias = W[:, self.inputs :]
        # Transposed, a sample's numbers are side by side in memory.
        np.add(z.T, np.repeat(bias[:, 0], self.pixels) if bias.size else 0, out=out.T)
        return out

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        transposed = self.spectrum(W).conj().transpose(1, 0, 2)
        out[...] = self.pixels_of(product(transposed, self.transform(delta)))
        return out

    def add_gradient(self, delta: Array, a: Array, total: Array) -> None:
        above, below = self.transform(delta), self.seen(a)
        total[:, : self.inputs] += self.at_filters(self.lags(correlation(above, below)))
        if total.shape[1] > self.inputs:
            total[:, self.inputs] += above[:, :, 0].real.sum(axis=0)

    @property
    def looks(self) -> Array:
        """A weight multiplies a pixel at every place of its filter, but for the zeros around the image."""
        down, across = (
            [sum(0 <= self.stride * p + offset < side for p in range(of)) if self.zeros else of for offset in own]
            for own, side, of in zip(self.offsets(), self.image[1:], self.maps, strict=True)
        )
        return np.tile(np.outer(down, across).ravel().astype(float), self.image[0])

    def square(self, W: Array) -> float:
        return float((W[:, : self.inputs].astype(np.float64) ** 2 @ self.looks).sum())

    def transform(self, x: Array) -> Spectrum:
        """The spectrum (n, F, frequencies) of maps ``x`` (F H W, n), of any number F of them."""
        return self._spectrum_of(x.T.reshape(x.shape[1], -1, *self.maps))

    def seen(self, a: Array) -> Spectrum:
        """The spectrum (n, phases, frequencies) of images ``a`` (C H W, n), without its row of ones."""
        channels, height, width = self.image
        images = a.T[:, : math.prod(self.image)].reshape(-1, *self.image)
        if not self._plain:
            (rows, columns), stride = self.maps, self.stride
            larger: Array = np.zeros((len(images), channels, stride * rows, stride * columns), a.dtype)
            larger[:, :, :height, :width] = images
            images = self._by_phase(larger)
        return self._spectrum_of(images)

    @property
    def _plain(self) -> bool:
        """Whether phases are the channels as they are."""
        return self.stride == 1 and not self.zeros

    def _by_phase(self, larger: Array) -> Array:
        """(n, phases, height, width) of images (n, C, stride height, stride width) with their zeros."""
        (rows, columns), stride = self.maps, self.stride
        split = larger.reshape(len(larger), -1, rows, stride, columns, stride).transpose(0, 1, 3, 5, 2, 4)
        return split.reshape(len(larger), -1, rows, columns)

    def _spectrum_of(self, images: Array) -> Spectrum:
        from scipy import fft

        return np.asarray(fft.rfft2(images)).reshape(*images.shape[:2], self.frequencies)

    def image_of(self, spectrum: Spectrum) -> Array:
        """The maps (F H W, n) of a spectrum (n, F, frequencies), which is overwritten."""
        return self.lags(spectrum).reshape(len(spectrum), -1).T

    def pixels_of(self, spectrum: Spectrum) -> Array:
        """The images (C H W, n) of a spectrum (n, phases, frequencies), overwritten; without the zeros around."""
        if self._plain:
            return self.image_of(spectrum)
        (channels, height, width), (rows, columns), stride = self.image, self.maps, self.stride
        phases = self.lags(spectrum).reshape(-1, channels, stride, stride, rows, columns)
        larger = phases.transpose(0, 1, 4, 2, 5, 3).reshape(-1, channels, stride * rows, stride * columns)
        return larger[:, :, :height, :width].reshape(len(larger), -1).T

    @property
    def whole(self) -> bool:
        """Whether filters are as large as a circular image: then the weights of frequencies are independent."""
        return self.size == self.image[1:] and not self.zeros

    def differences(self) -> list[NDArray[np.int64]]:
        """Rows and columns, modulo the sides of a map, by which two weights of filters may lie apart."""
        spans = [offsets[-1] // self.stride - offsets[0] // self.stride + 1 for offsets in self.offsets()]
        return [np.unique(np.arange(1 - span, span) % of) for span, of in zip(spans, self.maps, strict=True)]

    def around(self) -> NDArray[np.int64]:
        """Where the zeros around an image lie: their phase, row and column there, (3, number of zeros)."""
        channels, height, width = self.image
        (rows, columns), stride = self.maps, self.stride
        outside = np.ones((1, channels, stride * rows, stride * columns), bool)
        outside[:, :, :height, :width] = False
        return np.array(np.nonzero(self._by_phase(outside)[0]))

    def lags(self, spectrum: Spectrum) -> Array:
        """Back to (..., height, width) from (..., frequencies), which are overwritten."""
        from scipy import fft

        height, width = self.maps
        whole = spectrum.reshape(*spectrum.shape[:-1], height, width // 2 + 1)
        # One axis after the other: irfft2 allocates one more spectrum, which takes as long as the transform.
        rows = fft.ifft(whole, axis=-2, overwrite_x=True)
        images: Array = fft.irfft(rows, n=width, axis=-1)
        return images

    def spectrum(self, W: Array) -> Spectrum:
        """G (F, phases, frequencies), the conjugate spectrum of the filters in ``W``."""
        return self._spectrum_of(self.placed(W)).conj()

    def placed(self, W: Array) -> Array:
        """The filters in ``W``, zero elsewhere, at the lags where ``at_filters`` finds them: (F, phases, H, W)."""
        placed: Array = np.zeros((len(W), self.phases, *self.maps), W.dtype)
        phases, rows, columns = self.places
        placed[:, phases, rows, columns] = W[:, : self.inputs].reshape(len(W), *phases.shape)
        return placed

    def at_filters(self, lags: Array) -> Array:
        """Of lags (F, phases, H, W) of a correlation those of filters, as the columns of W: (F, C h w)."""
        phases, rows, columns = self.places
        return lags[:, phases, rows, columns].reshape(len(lags), -1)

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], ...]:
        """Phase (C, h, w), row (h, 1) and column (w,) of every weight of a filter: u - o, modulo the sides."""
        (down, across), stride, channels = self.offsets(), self.stride, np.arange(self.image[0])
        phases = (channels[:, None, None] * stride + (down % stride)[:, None]) * stride + across % stride
        return phases, (down // stride)[:, None] % self.maps[0], across // stride % self.maps[1]

    def offsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """u - o of a filter's rows and columns."""
        down, across = (np.arange(side) - (side - 1 if self.zeros else side // 2) for side in self.size)
        return down, across


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
