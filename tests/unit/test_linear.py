"""The linear baseline: least squares, logistic regression and a linear hinge, at their optima."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.special import logsumexp
from support.methods import advance, on_parts
from support.problems import Array, problem

import admmctl
from admmctl.errors import UserError
from admmctl.methods.closed_form.linear import Linear, LinearSettings
from admmctl.methods.method import Problem, methods
from admmctl.model.losses import losses

outputs = pytest.mark.parametrize("outputs", [1, 3])
biases = pytest.mark.parametrize("bias", [True, False])


def trained(p: Problem, **settings) -> tuple[Array, int]:
    """The weights where it finished, shape (outputs, inputs), and the steps it took."""
    method = Linear(LinearSettings(**settings))
    s, curve = advance(method, method.init(p), 1000)
    method.close(s)
    (W,) = method.weights(s)
    return W, len(curve)


def inputs(p: Problem) -> Array:
    return p.a0 if p.network.bias else p.a0[:-1]


def loss_of(p: Problem, W: Array) -> float:
    return p.loss.value(W @ inputs(p), p.y)


# -- least squares: on the side of the inputs, or of the rows where these are fewer than the 120 rows


def normal_equations(p: Problem, ridge: float) -> Array:
    """The weights, with the ridge relative to the mean diagonal of a a', in float64."""
    a, y = inputs(p).astype(float), p.y.astype(float)
    if p.loss.threshold == 0:
        y = 2 * y - 1
    mean = np.mean(np.sum(a * a, axis=1))
    return np.linalg.solve(a @ a.T + ridge * mean * np.eye(len(a)), a @ y.T).T


@outputs
@biases
@pytest.mark.parametrize("loss", ["squared", "signed-squared"])
@pytest.mark.parametrize(("features", "ridge"), [(4, 0.0), (4, 0.3), (119, 1e-2), (120, 1e-2), (300, 1e-2)])
def test_least_squares_are_those_of_the_normal_equations(outputs, bias, loss, features, ridge):
    p = problem([], features=features, outputs=outputs, bias=bias, loss=loss)
    W, steps = trained(p, ridge=ridge)
    np.testing.assert_allclose(W, normal_equations(p, ridge), rtol=1e-8, atol=1e-11)
    assert steps == 1
    if ridge == 0:  # no other weights have less of the loss itself
        np.testing.assert_allclose(p.loss.gradient(W @ inputs(p), p.y) @ inputs(p).T, 0, atol=1e-10)


@outputs
def test_the_default_ridge_is_hardly_felt(outputs):
    p = problem([], outputs=outputs)
    np.testing.assert_allclose(trained(p)[0], normal_equations(p, 0.0), atol=1e-5)


@pytest.mark.parametrize(("features", "ridge"), [(4, 1e-6), (300, 1e-2)])
def test_least_squares_in_single_precision(features, ridge):
    p = problem([], features=features, outputs=3, dtype=np.float32)
    W, _ = trained(p, ridge=ridge)
    assert W.dtype == np.float32
    np.testing.assert_allclose(W, normal_equations(p, ridge), atol=1e-4)


def test_without_a_ridge_they_are_the_shortest_that_fit():
    p = problem([], features=300, outputs=3)
    expected, *_ = np.linalg.lstsq(inputs(p).T, p.y.T)
    np.testing.assert_allclose(trained(p, ridge=0.0)[0], expected.T, atol=1e-10)


def test_inputs_or_rows_that_repeat_each_other_have_a_solution():
    p = problem([])
    p.a0[1] = p.a0[0]
    expected, *_ = np.linalg.lstsq(inputs(p).T, p.y.T)
    assert loss_of(p, trained(p)[0]) == pytest.approx(loss_of(p, expected.T), rel=1e-6)
    p = problem([], features=300)
    p.a0[:, 1], p.y[:, 1] = p.a0[:, 0], p.y[:, 0]
    np.testing.assert_allclose(trained(p, ridge=0.0)[0] @ inputs(p), p.y, atol=1e-6)


@biases
@pytest.mark.parametrize("cuts", [[0, 71, 120], [0, 2, 70, 120]])
def test_ranks_find_the_weights_of_one_from_each_others_rows(bias, cuts, monkeypatch):
    # Blocks of 50 columns: they end within ranks, and ranks within them.
    monkeypatch.setattr("admmctl.model.network.Network.block", lambda network, itemsize=4: 50)

    def work(comm=None, columns=slice(None)):
        shape = {"features": 300, "outputs": 3, "bias": bias, "loss": "signed-squared"}
        return trained(problem([], columns=columns, comm=comm, **shape), ridge=1e-2)[0]

    whole = work()
    for W in on_parts(cuts, work):
        np.testing.assert_allclose(W, whole, rtol=1e-9, atol=1e-12)


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


def experiment(**changes):
    return {
        "name": "linear",
        "data": {"name": "swissroll", "rows": 200},
        "network": {"layers": [8, 5], "activation": "tanh"},
        "loss": "squared",
        "methods": {"sgd": {}, "linear": {}},
        "stop": {"iterations": 3},
        **changes,
    }


@pytest.mark.parametrize("loss", ["squared", "signed-squared", "hinge", "cross-entropy"])
def test_hidden_layers_are_left_out(loss, results):
    shapes = {}
    for summary in admmctl.train(experiment(loss=loss), method="all"):
        arrays = np.load(Path(summary["folder"]) / "weights.npz")
        shapes[summary["method"]] = [arrays[n].shape for n in arrays if n.startswith("final_W")]
    assert shapes == {"sgd": [(8, 3), (5, 8), (1, 5)], "linear": [(1, 3)]}


def test_least_squares_end_after_one_iteration_whatever_the_budget(results):
    (summary,) = admmctl.train(experiment(stop={"iterations": 100}), method="linear")
    assert (summary["iterations"], summary["status"]) == (1, "exhausted")
    assert summary["reason"] == "least squares is solved in one step"


# -- what it costs


def test_memory_is_that_of_the_smaller_side_and_of_none_where_it_iterates():
    def megabytes(rows: int, features: int, loss: str = "squared") -> float:
        method = Linear(LinearSettings())
        method.of_loss(losses.load(loss)())
        return method.cost(problem([], features=features).network, rows, rows).state_bytes / 1e6

    # 12 or more bytes for every entry of a matrix with a side of 12,000, or of 300.
    assert 12 * 12**2 < megabytes(20_000, 12_000) < 16 * 12**2
    assert megabytes(300, 12_000) < 20
    assert megabytes(20_000, 12_000, "cross-entropy") < 20


def test_a_matrix_with_more_entries_than_can_be_counted_is_refused():
    def check(rows: int, features: int, loss: str) -> None:
        method = Linear(LinearSettings())
        method.of_loss(losses.load(loss)())
        method.check_size(problem([], features=features).network, rows, 1, None)

    check(300, 60_000, "squared")
    check(60_000, 300, "squared")
    check(60_000, 60_000, "cross-entropy")
    with pytest.raises(UserError, match=r"linear: least squares of 50,000 inputs; a a' may have 46,340 at most"):
        check(50_000, 60_000, "signed-squared")


@pytest.mark.parametrize("name", ["admm", "stochastic-admm", "classical-admm", "graph-admm", "random-features"])
def test_so_it_is_in_every_other_method_that_solves_least_squares(name):
    kind = methods.load(name)
    method = kind(kind.Settings())
    wide = [47_000] if name == "random-features" else [5]
    method.check_size(problem([46_000], features=46_000).network, 1_000, 1, None)
    with pytest.raises(UserError, match=r"least squares of 47,001 inputs"):
        method.check_size(problem(wide, features=47_000).network, 1_000, 1, None)
