"""The gradient of the training loss by back-propagation, for the gradient baselines.

All weights are one flat vector, and W_l are views of it: an optimiser updates one array, a reduction sends one
buffer.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl.devices.arrays import HOST
from admmctl.model.losses import Loss
from admmctl.model.network import Network, Weights, blocks

Array = NDArray[np.floating]
# What the activations of hidden layer l = 1.. are multiplied by, (k_l, columns), for some columns of the samples
# at hand; None for all ones. Dropout's zeros, and what makes up for them.
Mask = Callable[[int, slice], Array | None]


def flat_views(network: Network, vector: Array) -> Weights:
    """W_1, W_2, .. as views of a flat parameter vector of length ``parameters(network)``."""
    views, at = [], 0
    for shape in network.shapes:
        views.append(vector[at : at + shape[0] * shape[1]].reshape(shape))
        at += shape[0] * shape[1]
    return views


def parameters(network: Network) -> int:
    """How many weights and biases a network has."""
    return sum(rows * inputs for rows, inputs in network.shapes)


def gradient_flop(network: Network, rows: int) -> float:
    """Operations of one gradient over ``rows``: z_l, the gradient by W_l, and adjoints but for W_1."""
    forward_and_weights = sum(2 * network.operator(l).flop(network.bias) for l in range(1, network.layers + 1))
    return rows * (forward_and_weights + adjoint_flop(network))


def adjoint_flop(network: Network) -> float:
    """Operations of W_l' delta for one row, of all layers but the first."""
    operators = {l: network.operator(l) for l in range(2, network.layers + 1)}
    return sum(
        operator.flop(bias=False) * (1 - network.beside(l - 1) / operator.inputs)
        for l, operator in operators.items()
    )


def scratch_bytes(network: Network, itemsize: int = 4) -> int:
    """About how many bytes ``Gradient`` and an evaluation hold for one block of columns."""
    entering = sum(network.beside(l) for l in range(1, network.layers))
    return itemsize * network.block(itemsize) * (4 * sum(network.sizes[1:]) + entering + network.scratch)


class Watch(Protocol):
    """What looks at a pass over samples, block by block; arrays are overwritten afterwards.

    Layers of a recurrent network that share a matrix are told one after another, under its number.
    """

    def inputs(self, l: int, V: Array) -> None:
        """What W_l multiplies: activations (k_(l-1), n), with their row of ones where there are biases."""

    def drawn(self, outputs: Array) -> Array | None:
        """Derivatives by the outputs (k_L, n) that are pulled back for ``outputs``, or None."""

    def outputs(self, l: int, E: Array) -> None:
        """The derivatives by z_l, (k_l, n), that come of ``drawn``."""


class Gradient:
    """Sums of the loss and of its gradient over samples; buffers, arrays ``like`` another, are allocated once."""

    def __init__(self, network: Network, loss: Loss, columns: int, dtype: type, like: Array = HOST) -> None:
        self._network, self._loss = network, loss
        self.columns = columns
        hidden = network.sizes[1:-1]
        self._a: list[Array] = [
            np.ones((columns, k + network.beside(l) + 1), dtype, like=like).T
            for l, k in enumerate(hidden, start=1)
        ]
        self._z: list[Array] = [np.empty((columns, k), dtype, like=like).T for k in hidden]
        self._back: list[Array] = [np.empty((columns, k), dtype, like=like).T for k in hidden]

    def add(
        self,
        W: Weights,
        a0: Array,
        y: Array,
        total: Weights,
        mask: Mask | None = None,
        watch: Watch | None = None,
    ) -> float:
        """Add the gradient over the samples ``a0`` (k_0 + 1, n), ``y`` to ``total``; returns the loss sum.

        Samples are taken ``columns`` at a time. With a ``mask`` both are those of the masked network.
        """
        loss = 0.0
        for block in blocks(a0.shape[1], self.columns):
            layers = range(1, len(self._z) + 1)
            masks = [None if mask is None else mask(l, block) for l in layers]
            loss += self._block(W, a0[:, block], y[:, block], total, masks, watch)
        return loss

    def _block(
        self,
        W: Weights,
        a0: Array,
        y: Array,
        total: Weights,
        masks: list[Array | None],
        watch: Watch | None,
    ) -> float:
        network, n = self._network, a0.shape[1]
        of_layers, sums = network.of_layers(W), network.of_layers(total)
        a = [network.bottom(a0), *(buffer[:, :n] for buffer in self._a)]
        z = [buffer[:, :n] for buffer in self._z]
        for l, (z_l, mask) in enumerate(zip(z, masks, strict=True), start=1):
            network.apply(l, of_layers[l], network.inputs(a[l - 1]), out=z_l)
            units = network.h(l).value(z_l, out=a[l][: len(z_l)])
            if mask is not None:
                units *= mask
            network.enter(l, a0, a[l])
        outputs = network.apply(network.layers, W[-1], network.inputs(a[-1]))
        for l, delta in self._pulled_back(of_layers, self._loss.gradient(outputs, y), a, z, masks):
            V = network.inputs(a[l - 1])
            network.operator(l).add_gradient(delta, V, sums[l])
            if watch is not None:
                watch.inputs(network.matrix(l), V)
        drawn = None if watch is None else watch.drawn(outputs)
        if watch is not None and drawn is not None:
            for l, E in self._pulled_back(of_layers, drawn, a, z, masks):
                watch.outputs(network.matrix(l), E)
        return self._loss.value(outputs, y)

    def _pulled_back(
        self, W: dict[int, Array], delta: Array, a: list[Array], z: list[Array], masks: list[Array | None]
    ) -> Iterator[tuple[int, Array]]:
        """Layers L..1, and the derivatives by z_l of each, from those by the outputs. Masked a_l become h(z_l)."""
        yield len(W), delta
        for l in range(len(z), 0, -1):
            h, above = self._network.h(l), self._network.operator(l + 1)
            back = above.adjoint(W[l + 1], delta, out=self._back[l - 1][:, : delta.shape[1]])
            units = a[l][: len(back)]
            if (mask := masks[l - 1]) is not None:
                back *= mask
                h.value(z[l - 1], out=units)  # the slope is that of h(z)
            h.pull_back(z[l - 1], units, back)
            delta = back
            yield l, delta
