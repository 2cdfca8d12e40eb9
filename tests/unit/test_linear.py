"""The linear baseline: least squares, logistic regression and a linear hinge, at their optima."""

from pathlib import Path

import numpy as np
import pytest
from helpers import Array, on_ranks, problem
from scipy.optimize import linprog, minimize
from scipy.special import logsumexp

import admmctl
from admmctl.methods.linear import Linear, LinearSettings
from admmctl.methods.method import Finished, Problem

outputs = pytest.mark.parametrize("outputs", [1, 3])
biases = pytest.mark.parametrize("bias", [True, False])


def trained(p: Problem, steps: int = 1000, **settings) -> tuple[Array, int]:
    """The weights where it finished, shape (outputs, inputs), and the steps it took."""
    method = Linear(LinearSettings(**settings))
    s = method.init(p)
    taken = 0
    try:
        while taken < steps:
            s = method.step(s)
            taken += 1
    except Finished:
        pass
    finally:
        method.close(s)
    (W,) = method.weights(s)
    return W, taken


def inputs(p: Problem) -> Array:
    return p.a0 if p.network.bias else p.a0[:-1]


def loss_of(p: Problem, W: Array) -> float:
    return p.loss.value(W @ inputs(p), p.y)


# -- least squares


@outputs
@biases
def test_least_squares_are_those_of_numpy(outputs, bias):
    p = problem([], outputs=outputs, bias=bias)
    W, steps = trained(p, ridge=0.0)
    expected, *_ = np.linalg.lstsq(inputs(p).T, p.y.T)
    np.testing.assert_allclose(W, expected.T, rtol=1e-9, atol=1e-11)
    assert steps == 1


@outputs
@biases
def test_least_squares_of_labels_of_both_signs_are_those_of_numpy(outputs, bias):
    p = problem([], outputs=outputs, bias=bias, loss="signed-squared")
    W, steps = trained(p, ridge=0.0)
    expected, *_ = np.linalg.lstsq(inputs(p).T, np.where(p.y > 0.5, 1, -1).T)
    np.testing.assert_allclose(W, expected.T, rtol=1e-9, atol=1e-11)
    assert steps == 1
    # No other weights have less of the loss itself.
    slope = p.loss.gradient(W @ inputs(p), p.y) @ inputs(p).T
    np.testing.assert_allclose(slope, 0, atol=1e-10)


@outputs
def test_the_default_ridge_is_hardly_felt(outputs):
    p = problem([], outputs=outputs)
    W, _ = trained(p)
    expected, *_ = np.linalg.lstsq(inputs(p).T, p.y.T)
    np.testing.assert_allclose(W, expected.T, atol=1e-5)


def test_a_ridge_is_relative_to_the_mean_diagonal():
    p = problem([], outputs=3)
    a = inputs(p)
    W, _ = trained(p, ridge=0.3)
    mean = np.mean(np.sum(a * a, axis=1))
    expected = np.linalg.solve(a @ a.T + 0.3 * mean * np.eye(len(a)), a @ p.y.T).T
    np.testing.assert_allclose(W, expected, rtol=1e-9)


def test_inputs_that_repeat_each_other_have_a_solution():
    p = problem([], features=4)
    p.a0[1] = p.a0[0]
    W, _ = trained(p)
    expected, *_ = np.linalg.lstsq(inputs(p).T, p.y.T)
    assert loss_of(p, W) == pytest.approx(loss_of(p, expected.T), rel=1e-6)


def test_least_squares_in_single_precision():
    p = problem([], dtype=np.float32)
    W, _ = trained(p)
    assert W.dtype == np.float32
    expected, *_ = np.linalg.lstsq(inputs(p).T.astype(float), p.y.T.astype(float))
    np.testing.assert_allclose(W, expected.T, atol=1e-4)


# -- logistic regression: a convex problem, whose optimum another solver finds from another formula


@biases
def test_logistic_regression_is_at_its_optimum(bias):
    p = problem([], loss="cross-entropy", bias=bias)
    a, sign = inputs(p), 2 * p.y[0] - 1

    def cost(w):
        return np.logaddexp(0, -sign * (w @ a)).mean()

    optimum = minimize(cost, np.zeros(len(a)), method="BFGS", options={"gtol": 1e-9})
    W, _ = trained(p)
    assert 0.1 < optimum.fun < 0.6  # neither separable nor hopeless
    assert loss_of(p, W) / p.total == pytest.approx(optimum.fun, rel=1e-8)
    np.testing.assert_allclose(W[0], optimum.x, atol=1e-3)


def test_softmax_regression_is_at_its_optimum():
    p = problem([], loss="cross-entropy", outputs=3)

    def cost(w):
        z = w.reshape(3, -1) @ inputs(p)
        return (logsumexp(z, axis=0) - (z * p.y).sum(axis=0)).mean()

    optimum = minimize(cost, np.zeros(3 * len(p.a0)), method="BFGS", options={"gtol": 1e-8})
    W, _ = trained(p)
    assert loss_of(p, W) / p.total == pytest.approx(optimum.fun, rel=1e-6)


def test_weight_decay_keeps_a_logistic_regression_of_separable_classes_finite():
    p = problem([], loss="cross-entropy")
    p.y[0] = p.a0[0] > 0

    def cost(w):
        return np.logaddexp(0, (1 - 2 * p.y[0]) * (w @ p.a0)).mean() + 0.5 * 0.01 * (w @ w)

    optimum = minimize(cost, np.zeros(len(p.a0)), method="BFGS", options={"gtol": 1e-9})
    W, _ = trained(p, weight_decay=0.01)
    np.testing.assert_allclose(W[0], optimum.x, atol=1e-4)


def test_a_linear_hinge_comes_near_its_optimum():
    # A linear programme: the sum of slacks t >= 1 - z where y = 1, t >= z where y = 0, t >= 0.
    p = problem([], loss="hinge")
    k, n = p.a0.shape
    cost = np.concatenate([np.zeros(k), np.ones(n)])
    sign = 1 - 2 * p.y[0]  # t >= sign z + y
    rows = np.hstack([(sign * p.a0).T, -np.eye(n)])
    optimum = linprog(cost, rows, -p.y[0], bounds=[(None, None)] * k + [(0, None)] * n)
    assert optimum.success
    W, _ = trained(p)
    assert loss_of(p, W) == pytest.approx(optimum.fun, rel=0.02)
    assert loss_of(p, W) >= optimum.fun * (1 - 1e-9)


# -- ranks, and the rest of an experiment


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize("cuts", [[0, 71, 120], [0, 2, 70, 120]])
def test_ranks_find_the_weights_of_one(loss, cuts):
    whole, _ = trained(problem([], loss=loss, outputs=3), steps=20)

    def work(comm):
        columns = slice(cuts[comm.rank], cuts[comm.rank + 1])
        return trained(problem([], loss=loss, outputs=3, columns=columns, comm=comm), steps=20)[0]

    for W in on_ranks(len(cuts) - 1, work):
        np.testing.assert_allclose(W, whole, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", ["squared", "signed-squared", "hinge", "cross-entropy"])
def test_hidden_layers_are_left_out(loss, results):
    experiment = {
        "name": "linear",
        "data": {"name": "swissroll", "rows": 200},
        "network": {"layers": [8, 5], "activation": "tanh"},
        "loss": loss,
        "methods": {"sgd": {}, "linear": {}},
        "stop": {"iterations": 3},
    }
    shapes = {}
    for summary in admmctl.train(experiment, method="all"):
        arrays = np.load(Path(summary["folder"]) / "weights.npz")
        shapes[summary["method"]] = [arrays[n].shape for n in arrays if n.startswith("final_W")]
    assert shapes == {"sgd": [(8, 3), (5, 8), (1, 5)], "linear": [(1, 3)]}


def test_least_squares_end_after_one_iteration_whatever_the_budget(results):
    experiment = {
        "name": "linear",
        "data": {"name": "swissroll", "rows": 200},
        "network": {"layers": [8]},
        "loss": "squared",
        "methods": {"linear": {}},
        "stop": {"iterations": 100},
    }
    (summary,) = admmctl.train(experiment)
    assert (summary["iterations"], summary["status"]) == (1, "exhausted")
    assert summary["reason"] == "least squares is solved in one step"
