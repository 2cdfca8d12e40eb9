"""A layer-wise start: hidden layers are trained one after another (Bengio et al. 2007).

Taylor et al. name other starts as a next step (section 8.1). Layer l alone stands between a_{l-1}, which the
layers below make of the inputs, and the targets: some iterations of Algorithm 1 find its W_l, and with it a_l. The
output layer of the last such network is that of the start.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from admmctl.methods.method import Array, Problem
from admmctl.methods.taylor.settings import AdmmSettings
from admmctl.model.network import Network, Weights, blocks

Train = Callable[[AdmmSettings, Problem, int], Weights]


def pretrained(problem: Problem, settings: AdmmSettings, train: Train) -> Problem:
    """The problem, a dense network with hidden layers, with W_1 .. W_L for the network to start from.

    ``train`` returns the two matrices of a network with one hidden layer, after so many iterations. Raises
    Diverged where that does.
    """
    network, a = problem.network, problem.a0
    W: Weights = []
    for l in range(1, network.layers):
        alone = replace(problem, a0=a, network=_alone(network, l))
        W_l, top = train(_settings(settings, l), alone, settings.pretrain)
        W.append(W_l)
        if l + 1 < network.layers:
            a = _above(alone, W_l)
    return replace(problem, network=replace(network, start=[*W, top]))


def _alone(network: Network, l: int) -> Network:
    """Hidden layer l with the outputs; the kernel starts the first one alone."""
    sizes = (network.sizes[l - 1], network.sizes[l], network.sizes[-1])
    return replace(network, sizes=sizes, activations=(network.h(l),), kernel=network.kernel if l == 1 else None)


def _settings(settings: AdmmSettings, l: int) -> AdmmSettings:
    """For layer l and the outputs: they keep their penalties."""
    beta, gamma = settings.beta, settings.gamma
    own = {
        "pretrain": 0,
        "beta": [beta[l - 1], beta[-1]] if isinstance(beta, list) else beta,
        "gamma": gamma[l - 1] if isinstance(gamma, list) else gamma,
    }
    return settings.model_copy(update=own)


def _above(alone: Problem, W: Array) -> Array:
    """h(W a) with its row of ones, a block of columns at a time: inputs of the next network."""
    network, samples = alone.network, alone.y.shape[1]
    k = network.sizes[1]
    W = np.asarray(W, like=alone.y)
    above: Array = np.ones((k + 1, samples), W.dtype, order="F", like=W)
    with alone.clock.phase("start"):
        for columns in blocks(samples, network.block(W.itemsize)):
            z = network.apply(1, W, network.inputs(alone.a0[:, columns]))
            network.h(1).value(z, out=above[:k, columns])
    return above
