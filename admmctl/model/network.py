"""A network: its shapes, its forward pass, its accuracy.

Weights are a list ``W[0] .. W[L-1]`` for the papers' W_1 .. W_L, each of shape (k_l, k_{l-1} + 1): the last
column is the bias, multiplied by a row of ones below the activations. A network without biases has neither. The
first layers may be convolutional (``convolution.py`` says what their W are); the others are fully connected. The
hidden layers of a recurrent network are its steps (``recurrent.py``): they share a matrix, so that there are two,
W[0] and W[1], and multiply a part of the row beside the activations below.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from admmctl.model.activations import Activation
from admmctl.model.activations import activation as activation_of
from admmctl.model.convolution import Stack
from admmctl.model.fourier import Kernel
from admmctl.model.losses import Loss
from admmctl.model.operators import Dense, Operator
from admmctl.model.recurrent import Recurrence

Array = NDArray[np.floating]
Weights = list[Array]
Each = TypeVar("Each")

# A block of columns of every layer should stay in cache, and be large enough for matrix products to run at speed:
# measured for networks from 3-100-50-1 to 784-500-600-10, flat between 2 and 6 MiB.
_CACHE_BYTES = 4 << 20
_STEPS_BYTES = 48 << 20  # of such a block of all steps of a recurrent network, of which a few stay in cache


@dataclass(frozen=True)
class Network:
    """Sizes k_0 .. k_L, the activations of hidden layers, whether layers have biases, the kernel W_1 starts from.

    The layers of the ``convolution``, if any, are the first ones; their sizes count all pixels. With a
    ``recurrence`` all hidden layers are its steps. Where there are weights to ``start`` from, none are drawn.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]  # of hidden layers 1..L-1: see ``h``
    bias: bool = True
    kernel: Kernel | None = None
    convolution: Stack | None = None
    recurrence: Recurrence | None = None
    block_bytes: int | None = field(default=None, kw_only=True)  # of a block of columns; None: it stays in cache
    start: Weights | None = field(default=None, compare=False, kw_only=True)

    @classmethod
    def build(
        cls,
        features: int,
        layers: list[int],
        outputs: int,
        activation: str | Sequence[str],
        bias: bool,
        kernel: Kernel | None = None,
        convolution: Stack | None = None,
        recurrence: Recurrence | None = None,
    ) -> "Network":
        """The network of an experiment; ``layers`` are the sizes of the hidden dense ones.

        ``activation`` is that of all hidden layers, or a list of one for each. Raises ValueError for wrong numbers
        of one, and for a list of another length.
        """
        first = convolution.sizes if convolution else []
        if recurrence is not None:
            first = [recurrence.units] * recurrence.steps
        sizes = (features, *first, *layers, outputs)
        named = [activation] * (len(sizes) - 2) if isinstance(activation, str) else list(activation)
        if len(named) != len(sizes) - 2:
            raise ValueError(f"{len(named)} activations for {len(sizes) - 2} hidden layers")
        made = {text: activation_of(text) for text in dict.fromkeys(named)}  # tables are shared
        return cls(sizes, tuple(made[text] for text in named), bias, kernel, convolution, recurrence)

    @property
    def layers(self) -> int:
        """L, the number of layers: but in a recurrent network that of the weight matrices, too."""
        return len(self.sizes) - 1

    def h(self, l: int) -> Activation:
        """The activation of hidden layer l = 1..L-1."""
        return self.activations[l - 1]

    def matrix(self, l: int) -> int:
        """Which of W_1, W_2, .. is that of layer l: the steps of a recurrent network share the first."""
        return l if self.recurrence is None else max(1, l - self.recurrence.steps + 1)

    def of_layers(self, of_matrices: Sequence[Each]) -> dict[int, Each]:
        """What layers 1..L have, of what W_1, W_2, .. have."""
        return {l: of_matrices[self.matrix(l) - 1] for l in range(1, self.layers + 1)}

    @cached_property
    def times(self) -> list[int]:
        """How many layers have W_1, W_2, .."""
        of_layers = [self.matrix(l) for l in range(1, self.layers + 1)]
        return [of_layers.count(m) for m in range(1, of_layers[-1] + 1)]

    @cached_property
    def alike(self) -> dict[int, int]:
        """For every hidden layer the first one between the same two matrices, its own and that of the next."""
        firsts: dict[tuple[int, int], int] = {}
        return {l: firsts.setdefault((self.matrix(l), self.matrix(l + 1)), l) for l in range(1, self.layers)}

    @property
    def inputs_alone(self) -> bool:
        """Whether W_1 multiplies the inputs and nothing else."""
        return self.recurrence is None

    @cached_property
    def operators(self) -> list[Operator]:
        """Of W_1, W_2, .."""
        if (r := self.recurrence) is not None:
            return [Dense(r.units, r.units + r.entering, beside=r.entering), Dense(self.sizes[-1], r.units)]
        first: list[Operator] = []
        if self.convolution is not None:
            first = self.convolution.operators(self.sizes[len(self.convolution.filters) + 1])
        above = self.sizes[len(first) :]
        return [*first, *(Dense(k_next, k) for k, k_next in pairwise(above))]

    def operator(self, l: int) -> Operator:
        """How layer l = 1..L acts on a_{l-1}."""
        return self.operators[self.matrix(l) - 1]

    @property
    def scratch(self) -> int:
        """The most numbers per sample that a layer holds at a time, besides activations."""
        return max(operator.scratch for operator in self.operators)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of W_1, W_2, .., with the column of the bias."""
        return [(operator.rows, operator.inputs + self.bias) for operator in self.operators]

    def apply(self, l: int, W: Array, a: Array, out: Array | None = None) -> Array:
        """z_l = W_l a_{l-1}, (k_l, samples), for ``a`` with a row of ones where there are biases."""
        return self.operator(l).apply(W, a, out)

    def block(self, itemsize: int = 4) -> int:
        """How many columns make a block that stays in cache, or has ``block_bytes``."""
        widest = max(a + 3 * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        block_bytes = self.block_bytes or _CACHE_BYTES
        columns = block_bytes // (itemsize * widest)
        if self.recurrence is not None:
            columns = min(columns, _STEPS_BYTES // (3 * itemsize * sum(self.sizes[1:])))
        return int(np.clip(columns, 64, 4096 * max(1, block_bytes // _CACHE_BYTES)))

    def blocks(self, a0: Array) -> Iterator[slice]:
        """The columns of ``a0``, in blocks that stay in cache."""
        return blocks(a0.shape[1], self.block(a0.itemsize))

    def forward(self, W: Weights, a0: Array) -> Array:
        """The outputs z_L, shape (k_L, samples), for inputs with their row of ones (k_0 + 1, samples)."""
        return self.apply(self.layers, W[-1], self.inputs(self.hidden(W, a0)))

    def hidden(self, W: Weights, a0: Array) -> Array:
        """The last activations a_{L-1} with their row of ones, shape (k_{L-1} + 1, samples)."""
        a = self.bottom(a0)
        of_layers = self.of_layers(W)
        for l in range(1, self.layers):
            z = self.apply(l, of_layers[l], self.inputs(a))
            k = len(z)
            above = np.ones((k + self.beside(l) + 1, a0.shape[1]), dtype=a0.dtype, order="F", like=a0)
            self.h(l).value(z, out=above[:k])
            self.enter(l, a0, above)
            a = above
        return a

    def beside(self, l: int) -> int:
        """Features of a row that layer l + 1 multiplies beside a_l of a hidden layer l."""
        return self.recurrence.entering if self.recurrence is not None and l < self.layers - 1 else 0

    def enter(self, l: int, a0: Array, a: Array) -> None:
        """Write the features of ``a0`` that layer l + 1 multiplies below the activations a_l, into ``a``."""
        if self.recurrence is not None and l < self.layers - 1:
            k = self.recurrence.units
            a[k : k + self.recurrence.entering] = a0[self.recurrence.part(l + 1)]

    def bottom(self, a0: Array) -> Array:
        """What layer 1 multiplies, of inputs with their row of ones: these, or [a_0; x_1; 1] with a_0 = 0."""
        if self.recurrence is None:
            return a0
        k = self.recurrence.units
        a = np.ones((k + self.recurrence.entering + 1, a0.shape[1]), a0.dtype, order="F", like=a0)
        a[:k] = 0
        self.enter(0, a0, a)
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
