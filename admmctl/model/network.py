"""A network: its shapes, its forward pass, its accuracy.

Weights are a list ``W[0] .. W[L-1]`` for the papers' W_1 .. W_L, each of shape (k_l, k_{l-1} + 1): the last
column is the bias, multiplied by a row of ones below the activations. A network without biases has neither. The
first layers may be convolutional (``convolution.py`` says what their W are); the others are fully connected.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl.model.activations import Activation
from admmctl.model.activations import activation as activation_of
from admmctl.model.convolution import Stack
from admmctl.model.fourier import Kernel
from admmctl.model.losses import Loss
from admmctl.model.operators import Dense, Operator

Array = NDArray[np.floating]
Weights = list[Array]

# A block of columns of every layer should stay in cache, and be large enough for matrix products to run at speed:
# measured for networks from 3-100-50-1 to 784-500-600-10, flat between 2 and 6 MiB.
_CACHE_BYTES = 4 << 20


@dataclass(frozen=True)
class Network:
    """Sizes k_0 .. k_L, the hidden activation, whether layers have biases, and the kernel that W_1 starts from.

    The layers of the ``convolution``, if any, are the first ones; their sizes count all pixels.
    """

    sizes: tuple[int, ...]
    activation: Activation
    bias: bool = True
    kernel: Kernel | None = None
    convolution: Stack | None = None

    @classmethod
    def build(
        cls,
        features: int,
        layers: list[int],
        outputs: int,
        activation: str,
        bias: bool,
        kernel: Kernel | None = None,
        convolution: Stack | None = None,
    ) -> "Network":
        """The network of an experiment; ``layers`` are the sizes of the hidden dense ones.

        Raises ValueError for wrong numbers of an activation.
        """
        maps = convolution.sizes if convolution else []
        sizes = (features, *maps, *layers, outputs)
        return cls(sizes, activation_of(activation), bias, kernel, convolution)

    @property
    def layers(self) -> int:
        """L, the number of weight matrices."""
        return len(self.sizes) - 1

    @cached_property
    def _operators(self) -> list[Operator]:
        first: list[Operator] = []
        if self.convolution is not None:
            first = self.convolution.operators(self.sizes[len(self.convolution.filters) + 1])
        above = self.sizes[len(first) :]
        return [*first, *(Dense(k_next, k) for k, k_next in pairwise(above))]

    def operator(self, l: int) -> Operator:
        """How W_l, l = 1..L, acts on a_{l-1}."""
        return self._operators[l - 1]

    @property
    def scratch(self) -> int:
        """The most numbers per sample that a layer holds at a time, besides activations."""
        return max(operator.scratch for operator in self._operators)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of W_1 .. W_L, with the column of the bias."""
        return [(operator.rows, operator.inputs + self.bias) for operator in self._operators]

    def apply(self, l: int, W: Array, a: Array, out: Array | None = None) -> Array:
        """z_l = W_l a_{l-1}, (k_l, samples), for ``a`` with a row of ones where there are biases."""
        return self.operator(l).apply(W, a, out)

    def block(self, itemsize: int = 4) -> int:
        """How many columns make a block that stays in cache."""
        widest = max(a + 3 * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        return int(np.clip(_CACHE_BYTES // (itemsize * widest), 64, 4096))

    def blocks(self, a0: Array) -> Iterator[slice]:
        """The columns of ``a0``, in blocks that stay in cache."""
        return blocks(a0.shape[1], self.block(a0.itemsize))

    def forward(self, W: Weights, a0: Array) -> Array:
        """The outputs z_L, shape (k_L, samples), for inputs with their row of ones (k_0 + 1, samples)."""
        return self.apply(self.layers, W[-1], self.inputs(self.hidden(W, a0)))

    def hidden(self, W: Weights, a0: Array) -> Array:
        """The last activations a_{L-1} with their row of ones, shape (k_{L-1} + 1, samples)."""
        a = a0
        for l, W_l in enumerate(W[:-1], start=1):
            z = self.apply(l, W_l, self.inputs(a))
            k = len(z)
            above = np.ones((k + 1, a0.shape[1]), dtype=a0.dtype, order="F")
            self.activation.value(z, out=above[:k])
            a = above
        return a

    def inputs(self, a: Array) -> Array:
        """What a layer multiplies: activations, with their row of ones if there are biases."""
        return a if self.bias else a[:-1]


def blocks(samples: int, size: int) -> Iterator[slice]:
    """Columns 0 .. samples, at most ``size`` of them at a time, in blocks of about the same size."""
    count = -(-samples // size)
    return (slice(n * samples // count, (n + 1) * samples // count) for n in range(count))


def even(samples: int, size: int) -> int:
    """Columns of the largest block, where so many samples are cut into blocks of about ``size``, and all alike."""
    return -(-samples // max(1, round(samples / size)))


def gated_forward(network: Network, W: Weights, gates: Array, a0: Array) -> Array:
    """Outputs (k_2, samples) of a gated network of one hidden layer: unit j is w_j'x where gates_j'x >= 0, else 0.

    ``gates`` (k_1, k_0 + 1), or without the column of the bias, ``a0`` (k_0 + 1, samples).
    """
    x = network.inputs(a0)
    hidden = np.ones((len(W[0]) + network.bias, a0.shape[1]), a0.dtype)
    np.multiply(W[0] @ x, gates @ x >= 0, out=hidden[: len(W[0])])
    outputs: Array = W[1] @ hidden
    return outputs


def targets(labels: NDArray[np.int64], outputs: int, dtype: type = np.float32) -> Array:
    """What outputs should be, 0 or 1, shape (outputs, samples): one row with the class, or one row per class."""
    classes = np.array([1]) if outputs == 1 else np.arange(outputs)
    y: Array = np.empty((outputs, len(labels)), dtype, order="F")
    return np.equal(labels, classes[:, None], out=y)


def classify(z: Array, threshold: float) -> NDArray[np.int64]:
    """The class of every column of outputs. A column with a NaN belongs to no class: -1."""
    chosen = (z[0] > threshold).astype(np.int64) if len(z) == 1 else z.argmax(axis=0)
    return np.where(np.isnan(z).any(axis=0), -1, chosen)


class Model(Protocol):
    """What makes outputs of rows and weights: a network, or what a method trains in its place."""

    def blocks(self, a0: Array) -> Iterator[slice]:
        """The columns of ``a0``, in blocks that it takes one at a time."""

    def forward(self, W: Weights, a0: Array) -> Array:
        """The outputs, (outputs, samples), for inputs with their row of ones, (k_0 + 1, samples)."""


def predicted(
    network: Model, W: Weights, threshold: float, a0: Array, gates: Array | None = None
) -> NDArray[np.int64]:
    """The class of every sample of ``a0`` (k_0 + 1, samples), over blocks of columns; ``gates``: when gated."""
    chosen = np.empty(a0.shape[1], np.int64)
    for columns in network.blocks(a0):
        inputs = a0[:, columns]
        if gates is None:
            z = network.forward(W, inputs)
        else:
            assert isinstance(network, Network)
            z = gated_forward(network, W, gates, inputs)
        chosen[columns] = classify(z, threshold)
    return chosen


def score(
    network: Model,
    W: Weights,
    loss: Loss,
    a0: Array,
    y: Array,
    labels: NDArray[np.int64],
    margins: Array | None = None,
) -> NDArray[np.float64]:
    """This rank's sums [loss, correct], computed over blocks of columns that stay in cache.

    ``margins`` (samples,) is filled with how much rather a sample is of class 1 than of class 0, of two classes.
    """
    sums = np.zeros(2)
    for columns in network.blocks(a0):
        z = network.forward(W, a0[:, columns])
        if margins is not None:
            margins[columns] = z[0] if len(z) == 1 else z[1] - z[0]
        sums += loss.value(z, y[:, columns]), (classify(z, loss.threshold) == labels[columns]).sum()
    return sums
