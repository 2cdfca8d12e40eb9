"""Penalties of graph-admm that set themselves: the rule, and that it finds steps far too short and too long."""

import numpy as np
import pytest
from support.methods import after, flat
from support.problems import problem
from support.ranks import CountingComm

from admmctl.methods.graph import penalties
from admmctl.methods.graph.algorithm import GraphAdmm
from admmctl.methods.graph.penalties import AutomaticPenalties
from admmctl.methods.graph.settings import GraphAdmmSettings


def test_the_factor_follows_the_mean_cosine_of_the_layers():
    made = AutomaticPenalties({1: 0.2, 2: 0.1, 3: 0.4}, {1: 0.6, 2: 0.3})
    first = [np.array([[1.0, 2.0]]), np.array([[3.0]]), np.array([[0.0, 1.0]])]
    second = [np.array([[1.0, 2.0]]), np.array([[5.0]]), np.array([[1.0, 0.0]])]
    made.learn(first, [2 * C for C in first], CountingComm())
    assert (made.rho, made.beta) == ({1: 0.2, 2: 0.1, 3: 0.4}, {1: 0.6, 2: 0.3})  # nothing to compare with yet
    made.learn(second, [2 * C for C in second], CountingComm())
    # Cosines of 1, 1 and 0; then of 1, -1 and -1.
    f = np.exp(penalties.RATE * 2 / 3)
    assert made.rho == pytest.approx({1: 0.2 / f, 2: 0.1 / f, 3: 0.4 / f})
    assert made.beta == pytest.approx({1: 0.6 / f, 2: 0.3 / f})
    third = [second[0], -second[1], -second[2]]
    made.learn(third, [2 * C for C in third], CountingComm())
    f *= np.exp(penalties.RATE * -1 / 3)
    assert made.rho == pytest.approx({1: 0.2 / f, 2: 0.1 / f, 3: 0.4 / f})


def loss_after(iterations: int, **settings) -> float:
    """Of a network without hidden layers, whose loss has one minimum."""
    p = problem([], loss="cross-entropy")
    given = {"penalties": "fixed", "l2": 1.0, "batch": 60, "damping": 0.0, "average": 0.0, "gram_every": 1}
    method = GraphAdmm(GraphAdmmSettings(**{**given, **settings}))
    W = method.weights(after(method, p, iterations))
    return p.loss.value(p.network.forward(W, p.a0), p.y) / p.total


def test_steps_that_are_a_thousand_times_too_short_grow():
    slow = loss_after(100, rho=1e3)
    found = loss_after(100, rho=1e3, penalties="automatic")
    assert found < slow - 0.1


def test_steps_that_are_too_long_shrink():
    long = loss_after(200, rho=0.01, quadratic=0.01)
    found = loss_after(200, rho=0.01, quadratic=0.01, penalties="automatic")
    assert found < long - 0.1


def test_fixed_ones_stay_as_they_are():
    method = GraphAdmm(GraphAdmmSettings(rho=0.3, beta=0.4))
    s = after(method, problem([4]), 5)
    assert (s.rho, s.beta) == ({1: 0.3, 2: 0.3}, {1: 0.4})
    assert method.snapshot(s).common["penalties"] == {}
    assert np.isfinite(flat(method.weights(s))).all()
