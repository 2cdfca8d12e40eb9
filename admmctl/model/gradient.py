"""The gradient of the training loss by back-propagation, for the gradient baselines.

All weights are one flat vector, and W_l are views of it: an optimiser updates one array, a reduction sends one
buffer.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from admmctl.model.losses import Loss
from admmctl.model.network import Network, Weights, blocks

Array = NDArray[np.floating]
# What the activations of hidden layer l = 1.. are multiplied by, (k_l, columns), for some columns of the samples
# at hand; None for all ones. Dropout's zeros, and what makes up for them.
Mask = Callable[[int, slice], Array | None]


def flat_views(network: Network, vector: Array) -> Weights:
    """W_1 .. W_L as views of a flat parameter vector of length ``parameters(network)``."""
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
    operators = [network.operator(l) for l in range(1, network.layers + 1)]
    forward_and_weights = sum(2 * operator.flop(network.bias) for operator in operators)
    return rows * (forward_and_weights + sum(operator.flop(bias=False) for operator in operators[1:]))


def scratch_bytes(network: Network, itemsize: int = 4) -> int:
    """About how many bytes ``Gradient`` and an evaluation hold for one block of columns."""
    return itemsize * network.block(itemsize) * (4 * sum(network.sizes[1:]) + network.scratch)


class Gradient:
    """Sums of the loss and of its gradient over samples; buffers are allocated once."""

    def __init__(self, network: Network, loss: Loss, columns: int, dtype: type) -> None:
        self._network, self._loss = network, loss
        self.columns = columns
        hidden = network.sizes[1:-1]
        self._a: list[Array] = [np.ones((columns, k + 1), dtype).T for k in hidden]
        self._z: list[Array] = [np.empty((columns, k), dtype).T for k in hidden]
        self._back: list[Array] = [np.empty((columns, k), dtype).T for k in hidden]

    def add(self, W: Weights, a0: Array, y: Array, total: Weights, mask: Mask | None = None) -> float:
        """Add the gradient over the samples ``a0`` (k_0 + 1, n), ``y`` to ``total``; returns the loss sum.

        Samples are taken ``columns`` at a time. With a ``mask`` both are those of the masked network.
        """
        loss = 0.0
        for block in blocks(a0.shape[1], self.columns):
            layers = range(1, len(self._z) + 1)
            masks = [None if mask is None else mask(l, block) for l in layers]
            loss += self._block(W, a0[:, block], y[:, block], total, masks)
        return loss

    def _block(self, W: Weights, a0: Array, y: Array, total: Weights, masks: list[Array | None]) -> float:
        network, h, n = self._network, self._network.activation, a0.shape[1]
        a = [a0, *(buffer[:, :n] for buffer in self._a)]
        z = [buffer[:, :n] for buffer in self._z]
        for l, (z_l, mask) in enumerate(zip(z, masks, strict=True)):
            network.apply(l + 1, W[l], network.inputs(a[l]), out=z_l)
            h.value(z_l, out=a[l + 1][:-1])
            if mask is not None:
                a[l + 1][:-1] *= mask
        outputs = network.apply(network.layers, W[-1], network.inputs(a[-1]))
        delta = self._loss.gradient(outputs, y)
        network.operator(network.layers).add_gradient(delta, network.inputs(a[-1]), total[-1])
        for l in range(len(z) - 1, -1, -1):
            back = network.operator(l + 2).adjoint(W[l + 1], delta, out=self._back[l][:, :n])
            if (mask := masks[l]) is not None:
                back *= mask
                h.value(z[l], out=a[l + 1][:-1])  # the slope is that of h(z)
            h.pull_back(z[l], a[l + 1][:-1], back)
            delta = back
            network.operator(l + 1).add_gradient(delta, network.inputs(a[l]), total[l])
        return self._loss.value(outputs, y)
