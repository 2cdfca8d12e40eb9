"""Recurrent networks by plain loops, and small problems for them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from admmctl.methods.method import Problem
from support.methods import RECURRENT
from support.problems import Array, problem

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "hard-sigmoid": lambda z: np.clip(z, 0, 1),
}


def by_loops(W: list[Array], x: Array, steps: int, activation: str = "relu", bias: bool = True) -> list[Array]:
    """z_1 .. z_T and the outputs for rows ``x`` (samples, features), one sample and one step after another."""
    one = [1.0] * bias
    z: list[list[Array]] = [[] for _ in range(steps + 1)]
    for row in x:
        a: Array = np.zeros(len(W[0]))
        for t, x_t in enumerate(np.split(row, steps)):
            z_t = W[0] @ np.concatenate([a, x_t, one])
            a = ACTIVATIONS[activation](z_t)
            z[t].append(z_t)
        z[steps].append(W[1] @ np.concatenate([a, one]))
    return [np.array(z_t).T for z_t in z]


def recurrent(**changes: Any) -> Problem:
    """Four steps of three features for five units."""
    return problem(**{**RECURRENT, "samples": 30, "dtype": np.float64, **changes})
