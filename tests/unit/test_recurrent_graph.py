"""The graph method on recurrent networks: an iteration by brute force, one reduction, back through the steps."""

import numpy as np
import pytest
from support.methods import after
from support.ranks import CountingComm
from support.recurrent import Array, by_loops, recurrent
from support.table_2 import table_2_as_printed

from admmctl.methods.graph import table_2
from admmctl.methods.graph.algorithm import GraphAdmm
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.graph.updates import output

PLAIN = {
    "penalties": "fixed",
    "decay": "penalty",
    "momentum": 0.0,
    "average": 0.0,
    "l2": 0.04,
    "damping": 0.0,
    "gram_every": 1,
    "rho": [0.2, 0.7],
    "beta": [0.3],
}
CUTS = {"relu": (0.0, np.inf), "hard-sigmoid": (0.0, 1.0)}
per_activation = pytest.mark.parametrize("activation", list(CUTS))


def graph(**settings) -> GraphAdmm:
    return GraphAdmm(GraphAdmmSettings(**{**PLAIN, **settings}))


def started(method: GraphAdmm, **changes):
    """The state before the first iteration, at weights whose steps are neither dead nor alike."""
    s = method.init(recurrent(**changes))
    s.parameters += 0.3 * np.random.default_rng(1).standard_normal(len(s.parameters))
    return s


def most_growth(activation: str) -> float:
    c = 1 / 0.5 + (1 if activation == "relu" else 2) / 0.3
    return c * 0.5**2 / 0.2 / 4


def inputs_of_steps(s, activation: str = "relu") -> list[Array]:
    """[a_{t-1}; x_t; 1] of t = 1..T, and [a_T; 1]."""
    p, (low, high) = s.problem, CUTS[activation]
    x = np.split(p.a0[:-1], 4)
    *z, _ = by_loops([s.matrices[1], s.matrices[2]], p.a0[:-1].T, 4, activation)
    a = [np.zeros_like(z[0]), *(np.clip(z_t, low, high) for z_t in z)]
    return [*(np.vstack([a[t], x[t], p.a0[-1:]]) for t in range(4)), np.vstack([a[4], p.a0[-1:]])]


@per_activation
@pytest.mark.parametrize("growth", [1.0, 6.0, None])
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_an_iteration_is_table_1_over_samples_and_steps(activation, growth, loss):
    method = graph(growth=growth)
    s = started(method, activation=activation, outputs=3, loss=loss, samples=6)
    p = s.problem
    W, O = (s.matrices[m].copy() for m in (1, 2))
    *X, outputs = by_loops([W, O], p.a0[:-1].T, 4, activation)
    V = inputs_of_steps(s, activation)
    # rho and beta of a step are so many times those of the step before; those of the last are as given.
    times = growth or most_growth(activation)
    scales = [times ** (t - 3) for t in range(4)]
    R = [2 * (output(s, outputs, p.y) - outputs)]
    above, rho_above = O[:, :5], 0.7
    for t in (3, 2, 1, 0):
        rho, beta = 0.2 * scales[t], 0.3 * scales[t]
        R.append(2 * (table_2_as_printed(X[t], above, R[-1], rho_above, rho, beta, CUTS[activation], 1) - X[t]))
        above, rho_above = W[:, :5], rho
    s = method.step(s)
    targets = np.hstack([X_t + R_t for X_t, R_t in zip(X, R[:0:-1], strict=True)])
    for m, target, inputs, rho in ((1, targets, np.hstack(V[:4]), 0.2), (2, outputs + R[0], V[4], 0.7)):
        root = np.sqrt(0.04 / rho)
        A = np.hstack([inputs, root * np.eye(len(inputs))])
        b = np.hstack([target, np.zeros((len(target), len(inputs)))])
        expected = np.linalg.lstsq(A.T, b.T, rcond=None)[0].T
        assert np.abs(expected - (W, O)[m - 1]).max() > 0.02
        np.testing.assert_allclose(s.matrices[m], expected, atol=2e-3)


@per_activation
def test_with_the_default_growth_nothing_grows_that_goes_back_through_a_step(activation):
    s = started(graph(), activation=activation)
    U, _, Vt = np.linalg.svd(np.random.default_rng(0).standard_normal((5, 5)))
    K = most_growth(activation) * 0.2 / 0.5  # c (rho + beta) / 4
    given = np.array([10.0, 1.0, 1 / (2 * K), 0.1, 0.01])
    s.matrices[1][:, :5] = U * given @ Vt

    def passed(growth: float | None) -> Array:
        Q = table_2.gains(s.problem, s.W, s.rho, s.beta, np.float64, None, growth)
        assert Q[1] is Q[2] is Q[3]
        D = Q[1] @ U  # of R in the directions of U, and of active units
        table_2.once(np.full_like(D, 1e6), D, 0.2, 0.3, (0.0, np.inf))
        return np.diag(Vt @ D)

    np.testing.assert_allclose(passed(None), 4 * K * given / (1 + (2 * K * given) ** 2), rtol=1e-6)
    assert passed(None).max() == pytest.approx(1.0)
    assert passed(10 * most_growth(activation)).max() > 1.5
    assert passed(1.0).max() < 0.8


def test_backpropagation_without_a_scale_is_the_gradient_through_time():
    method = graph(backward="backprop-unscaled")
    s = started(method, outputs=3)
    p = s.problem
    W, O = (s.matrices[m].copy() for m in (1, 2))
    V = inputs_of_steps(s)
    s = method.step(s)
    *X, outputs = by_loops([W, O], p.a0[:-1].T, 4)
    E = 2 * (output(s, outputs, p.y) - outputs)
    above, sums = O[:, :5], np.zeros_like(W)
    for t in (3, 2, 1, 0):
        E = (above.T @ E) * (X[t] > 0)
        above, sums = W[:, :5], sums + E @ V[t].T
    gram = sum(V_t @ V_t.T for V_t in V[:4])
    r = 0.04 / 0.2
    expected = W + (sums - r * W) @ np.linalg.inv(gram + r * np.eye(9))
    np.testing.assert_allclose(s.matrices[1], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("batch", [None, 10])
def test_an_iteration_takes_one_pass_and_one_reduction(batch):
    comm = CountingComm()
    method = graph(**({} if batch is None else {"batch": batch}))
    after(method, recurrent(comm=comm), 3)
    grams, rows = 8 * (9 * 10 // 2 + 6 * 7 // 2), 8 * (5 * 9 + 6)
    assert comm.verbs == [("reduce", grams), ("reduce_scatter", rows), ("allgather", rows)] * 3


def test_penalties_are_one_for_all_steps_and_one_for_the_outputs():
    s = graph().init(recurrent())
    assert s.rho == {1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2, 5: 0.7}
    assert s.beta == dict.fromkeys(range(1, 5), 0.3)
    assert GraphAdmm.check(GraphAdmmSettings(rho=[0.1] * 5), 2) == [
        ("rho", "5 penalties for 2 layers; give one number or 2")
    ]
