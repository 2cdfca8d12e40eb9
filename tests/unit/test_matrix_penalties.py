"""Penalties of graph-admm that are matrices: the step against dense inverses, its limit, what it refuses."""

import numpy as np
import pytest
from support.descent import below, refusal_of, row_derivatives
from support.methods import accuracy, after, by_sign_of_product
from support.problems import Array, problem

from admmctl.experiment.config import ConfigError, load
from admmctl.methods.graph.algorithm import GraphAdmm
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.graph.state import GraphAdmmState
from admmctl.methods.method import Problem
from admmctl.model.gradient import flat_views

ROWS, LAMBDA, L2 = 120, 0.01, 0.6
LOSSES = pytest.mark.parametrize(("loss", "outputs"), [("cross-entropy", 3), ("cross-entropy", 1), ("squared", 2)])


def matrix(**settings) -> GraphAdmm:
    """All rows are one mini-batch, so that any order of them gives the same sums."""
    given = {"penalties": "matrix", "batch": ROWS, "average": 0.0, "damping": LAMBDA, "l2": L2, "kl_clip": 1e9}
    return GraphAdmm(GraphAdmmSettings(**{**given, **settings}))


def one_step(method: GraphAdmm, p: Problem) -> tuple[list[Array], list[Array], GraphAdmmState]:
    """The weights before and after the first iteration."""
    s = method.init(p)
    before = [W.copy() for W in s.matrices.values()]
    s = method.step(s)
    return before, [W.copy() for W in s.matrices.values()], s


def by_dense_inverses(W: Array, E: Array, V: Array) -> Array:
    """(G + lambda_G)^-1 (E V' + l2 W) / n (A + lambda_A)^-1."""
    A, G = V @ V.T / ROWS, E @ E.T / ROWS
    pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
    A += pi * np.sqrt(LAMBDA) * np.eye(len(A))
    G += np.sqrt(LAMBDA) / pi * np.eye(len(G))
    step: Array = np.linalg.inv(G) @ ((E @ V.T + L2 * W) / ROWS) @ np.linalg.inv(A)
    return step


@LOSSES
def test_with_backpropagation_the_step_is_of_derivatives(loss, outputs):
    p = problem([6, 5], loss=loss, outputs=outputs, dtype=np.float64, samples=ROWS)
    before, new, _ = one_step(matrix(backward="backprop"), p)
    V = below(p, before, np.arange(ROWS))
    E = row_derivatives(p, before, np.arange(ROWS), p.y)
    for W, W_new, E_i, V_i in zip(before, new, E, V, strict=True):
        assert W_new == pytest.approx(W - by_dense_inverses(W, E_i, V_i), abs=1e-9)


@LOSSES
def test_with_table_2_it_is_of_what_comes_down(loss, outputs):
    p = problem([6, 5], loss=loss, outputs=outputs, dtype=np.float64, samples=ROWS)
    before, new, s = one_step(matrix(), p)
    V, steps = below(p, before, np.arange(ROWS)), s.solves.steps
    for i, (W, W_new) in enumerate(zip(before, new, strict=True), start=1):
        E = -s.R[i][:, :ROWS] / steps[i]  # of the iteration: there is one block
        assert W_new == pytest.approx(W - by_dense_inverses(W, E, V[i - 1]), abs=1e-9)


def test_a_longer_step_than_the_limit_is_shortened():
    p = problem([6, 5], loss="cross-entropy", outputs=3, dtype=np.float64, samples=ROWS)
    before, far, _ = one_step(matrix(), p)
    _, near, s = one_step(matrix(kl_clip=1e-4), p)
    V, square = below(p, before, np.arange(ROWS)), 0.0
    shorter = np.linalg.norm(near[0] - before[0]) / np.linalg.norm(far[0] - before[0])
    for i, (W, W_far, W_near) in enumerate(zip(before, far, near, strict=True), start=1):
        assert W_near - W == pytest.approx(shorter * (W_far - W), rel=1e-6, abs=1e-12)  # all layers alike
        downhill = (s.R[i][:, :ROWS] / s.solves.steps[i] @ V[i - 1].T - L2 * W) / ROWS
        square += np.vdot(W_far - W, downhill)  # s'F s of the whole step
    assert shorter**2 * square == pytest.approx(1e-4)


def test_it_learns_in_a_few_steps():
    p = by_sign_of_product()
    method = matrix(batch=p.total // 4, l2=0.01, kl_clip=0.05)
    s = after(method, p, 40)
    assert accuracy(p, method.weights(s)) > 0.9
    assert all(np.isfinite(W).all() for W in flat_views(p.network, s.parameters))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("graph-admm={penalties: matrix}", "penalties: matrices are of mini-batches; give batch"),
        ("graph-admm={penalties: matrix, batch: 9, damping: 0}", "damping: holds the inverse of a matrix finite"),
        (
            "graph-admm={penalties: matrix, batch: 9, decay: penalty}",
            "decay: is objective with penalties that are",
        ),
        ("graph-admm={penalties: matrix, batch: 9, weights_above: new}", "penalties: matrix ones go with"),
        ("graph-admm={batch: 9, kl_clip: 0.1}", "kl_clip: is of penalties: matrix; set these, or leave it out"),
    ],
)
def test_what_does_not_go_with_them_is_refused(block, message):
    assert message in refusal_of(block)


@pytest.mark.parametrize(
    ("network", "data"),
    [
        ({"layers": [5], "convolution": {"filters": [2], "size": 5, "pool": 4}}, {}),
        ({"recurrent": 4}, {"steps": 28}),
    ],
)
def test_layers_that_are_not_dense_are_refused(network, data):
    experiment = {
        "name": "settings",
        "data": {"name": "mnist", **data},
        "network": network,
        "loss": "cross-entropy",
        "methods": {"graph-admm": {"batch": 100, "penalties": "matrix"}},
    }
    with pytest.raises(ConfigError, match="penalties: matrices are of dense layers; set penalties: automatic"):
        load(experiment, [])
