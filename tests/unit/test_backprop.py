"""The ablation of graph-admm, backpropagation in the place of Table 2: against gradients and differences."""

import numpy as np
import pytest
from support.methods import Case
from support.problems import Array, problem
from support.shell import Shell

from admmctl.methods.graph import backprop, table_2
from admmctl.methods.graph.algorithm import GraphAdmm
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.graph.state import GraphAdmmState
from admmctl.methods.graph.updates import gains
from admmctl.methods.method import Problem
from admmctl.model.gradient import Gradient

HIDDEN = [6, 5]
kinds = pytest.mark.parametrize("kind", ["relu", "dcutlu(-0.5, 1)"])


def passed(backward: str, p: Problem, **settings) -> tuple[GraphAdmm, GraphAdmmState]:
    """After one pass over all rows, before the weights are updated."""
    given = {"rho": [0.3, 0.2, 0.7], "beta": [0.4, 0.9], "backward": backward, "first_scale": 1.0, **settings}
    method = GraphAdmm(GraphAdmmSettings(**given))
    s = method.init(p)
    s.Q = gains(s, s.W, list(s.beta))
    s.solves.begin(0, p.total)
    method._pass(s, p.a0, p.y, slice(0, p.total))
    return method, s


def by_differences(p: Problem, s: GraphAdmmState, i: int) -> Array:
    """The derivative of the loss by X_i, of every unit and row, by central differences."""

    def loss(X: Array) -> Array:
        for l in range(i, p.network.layers):
            V = np.vstack([p.network.h(l).value(X, out=np.empty_like(X)), np.ones((1, X.shape[1]))])
            X = s.W[l + 1] @ V
        return np.array([p.loss.value(X[:, [row]], p.y[:, [row]]) for row in range(X.shape[1])])

    X, step = s.X[i][:, : p.total], 1e-6
    found = np.empty_like(X)
    for unit in range(len(X)):
        moved = np.zeros_like(X)
        moved[unit] = step
        found[unit] = (loss(X + moved) - loss(X - moved)) / (2 * step)
    return found


@kinds
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_what_reaches_a_layer_is_the_gradient_times_one_number(kind, loss):
    p = problem(HIDDEN, outputs=3, loss=loss, activation=kind, samples=40)
    _, s = passed("backprop", p)
    for i in (1, 2):
        R, gradient = s.R[i][:, : p.total], by_differences(p, s, i)
        scale = np.vdot(R, gradient) / np.vdot(gradient, gradient)
        assert scale < 0
        np.testing.assert_allclose(R, scale * gradient, atol=1e-6 * np.abs(R).max() + 1e-7)


@kinds
def test_by_table_2_it_is_not(kind):
    p = problem(HIDDEN, outputs=3, loss="cross-entropy", activation=kind, samples=40)
    _, s = passed("admm", p)
    R, gradient = s.R[1][:, : p.total], by_differences(p, s, 1)
    scale = np.vdot(R, gradient) / np.vdot(gradient, gradient)
    assert np.linalg.norm(R - scale * gradient) > 0.1 * np.linalg.norm(R)


def test_an_active_unit_passes_on_as_much_as_in_table_2():
    X = np.asfortranarray(np.random.default_rng(0).uniform(0.2, 0.8, (5, 9)))
    D = np.asfortranarray(np.random.default_rng(1).uniform(-0.01, 0.01, X.shape))
    printed, ours = D.copy(order="F"), D.copy(order="F")
    table_2.once(X, printed, 0.3, 0.4, (0.0, 1.0))
    backprop.once(X, ours, 0.3, 0.4, (0.0, 1.0))
    np.testing.assert_allclose(ours, printed, rtol=1e-12)


@kinds
def test_gains_are_as_large_as_those_of_table_2(kind):
    p = problem(HIDDEN, outputs=3, activation=kind)
    _, s = passed("backprop", p)
    Q = table_2.gains(p, s.W, s.rho, s.beta, np.float64)
    for i in (1, 2):
        assert np.linalg.norm(s.Q[i]) == pytest.approx(np.linalg.norm(Q[i]), rel=1e-12)
        assert not np.allclose(s.Q[i], Q[i], rtol=1e-2)


@kinds
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_unscaled_all_layers_take_the_step_of_the_output_along_the_gradient(kind, loss):
    p = problem(HIDDEN, outputs=3, loss=loss, activation=kind)
    _, s = passed("backprop-unscaled", p, quadratic=0.25)
    weights, total = [s.W[i] for i in (1, 2, 3)], [np.zeros_like(s.W[i]) for i in (1, 2, 3)]
    Gradient(p.network, p.loss, 50, np.float64).add(weights, p.a0, p.y, total)
    step = 2 / ((0.25 if p.loss.curvature is None else p.loss.curvature) + 0.7)
    for i, expected in enumerate(total, start=1):
        np.testing.assert_allclose(s.solves.cross(i), -step * expected, atol=1e-9)


def test_unscaled_no_gain_is_solved_for():
    costs = [
        Case("graph-admm", {"backward": backward}).method().cost(problem(HIDDEN).network, 120, 120, 2)
        for backward in ("admm", "backprop", "backprop-unscaled")
    ]
    assert costs[0] == costs[1]
    assert costs[2].solve < costs[0].solve
    assert costs[2].flop < costs[0].flop


@pytest.fixture
def experiment_files() -> dict[str, str]:
    text = "{name: a, data: {name: swissroll, rows: 400}, network: {layers: [5]}, methods: {graph-admm: {}}}"
    return {"a.yaml": text}


def test_a_second_passage_through_table_2_is_refused(shell: Shell):
    change = "methods.graph-admm={backward: backprop, inner: 2}"
    assert "inner" in shell.refusal("train", "a.yaml", "--set", change)
