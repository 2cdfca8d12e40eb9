"""What gradient methods are held against: gradients and derivatives of rows, where they start, Adam's rule."""

import numpy as np
import pytest

from admmctl.experiment.config import ConfigError, load
from admmctl.methods.method import Problem
from admmctl.model.gradient import Gradient, flat_views, parameters
from admmctl.model.initial import gaussian_weights
from support.problems import Array


def mean_gradient(p: Problem, vector: Array, rows) -> Array:
    """Over some rows, by the back-propagation that test_gradient.py holds against finite differences."""
    total = np.zeros_like(vector)
    backprop = Gradient(p.network, p.loss, len(rows), np.float64)
    backprop.add(flat_views(p.network, vector), p.a0[:, rows], p.y[:, rows], flat_views(p.network, total))
    return total / len(rows)


def below(p: Problem, W: list[Array], rows) -> list[Array]:
    """What every layer multiplies: V of layers 1..L."""
    V = [p.network.inputs(p.a0[:, rows])]
    for l, W_l in enumerate(W[:-1], start=1):
        a = np.ones((len(W_l) + p.network.bias, len(rows)))
        p.network.h(l).value(W_l @ V[-1], out=a[: len(W_l)])
        V.append(a)
    return V


def row_derivatives(p: Problem, W: list[Array], rows, y: Array) -> list[Array]:
    """E of layers 1..L for the targets ``y`` (k_L, rows): a row's gradient by the biases, which are there."""
    E = [np.zeros((len(W_l), len(rows))) for W_l in W]
    for column, row in enumerate(rows):
        total = [np.zeros_like(W_l) for W_l in W]
        Gradient(p.network, p.loss, 1, np.float64).add(W, p.a0[:, [row]], y[:, [column]], total)
        for E_l, dW in zip(E, total, strict=True):
            E_l[:, column] = dW[:, -1]
    return E


def descent_start(p: Problem) -> Array:
    """Random weights, no biases, as one vector."""
    vector = np.empty(parameters(p.network))
    random = gaussian_weights(p.network, p.seed, np.float64)
    for view, W_l in zip(flat_views(p.network, vector), random, strict=True):
        view[...] = W_l
        if p.network.bias:
            view[:, -1] = 0
    return vector


def descend_adam(x, gradient, steps, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Where Adam is after so many steps from x, by ``gradient(t, x)``."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, steps + 1):
        g = gradient(t - 1, x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        x = x - learning_rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return x


def refusal_of(block: str) -> str:
    """The message that refuses this method block of an experiment."""
    experiment = {
        "name": "settings",
        "data": {"name": "swissroll"},
        "network": {"layers": [4]},
        "loss": "squared",
        "methods": {"sgd": {}},
    }
    with pytest.raises(ConfigError) as refusal:
        load(experiment, [f"methods.{block}"])
    return str(refusal.value)
