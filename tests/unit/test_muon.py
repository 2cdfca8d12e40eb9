"""Muon: the polar factor against an SVD, every step against the formula, any number of ranks."""

import numpy as np
import pytest
from support.descent import descend_adam, descent_start, mean_gradient, refusal_of
from support.methods import accuracy, after, by_sign_of_product
from support.problems import Array, NoClock, problem
from support.ranks import CountingComm, on_ranks

from admmctl.methods.gradient import muon as module
from admmctl.methods.gradient.minibatch import Epoch
from admmctl.methods.gradient.muon import Muon, MuonSettings, polar
from admmctl.model.gradient import flat_views

A, B, C = 3.4445, -4.7750, 2.0315


def muon(**settings) -> Muon:
    return Muon(MuonSettings(**settings))


def by_svd(M: Array) -> Array:
    """Five times the polynomial, of every singular value of M / ||M||."""
    U, s, V = np.linalg.svd(M, full_matrices=False)
    s = s / np.linalg.norm(M)
    for _ in range(5):
        s = A * s + B * s**3 + C * s**5
    return U * s @ V


def matrix(rows: int, columns: int, smallest: float = 0.05) -> Array:
    """With singular values from 1 down to ``smallest``."""
    generator = np.random.default_rng(0)
    U, _, V = np.linalg.svd(generator.standard_normal((rows, columns)), full_matrices=False)
    return 3.0 * U * np.geomspace(1, smallest, min(rows, columns)) @ V


SHAPES = [(6, 6), (5, 9), (9, 5), (1, 7), (7, 1), (40, 31)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_polar_factor_is_that_of_the_singular_values(shape, dtype):
    M = matrix(*shape).astype(dtype)
    before = M.copy()
    found = polar(M, CountingComm(), NoClock())
    assert (found.dtype, found.shape) == (dtype, shape)
    tolerance = 1e-9 if dtype == np.float64 else 2e-4
    # ||M|| + 1e-7 in the place of ||M||
    np.testing.assert_allclose(found, by_svd(M.astype(np.float64)), atol=max(tolerance, 3e-7))
    np.testing.assert_array_equal(M, before)


@pytest.mark.parametrize("shape", [(20, 20), (12, 31), (31, 12)])
@pytest.mark.parametrize(("smallest", "low", "high"), [(0.1, 0.68, 1.14), (0.02, 0.68, 1.21)])
def test_singular_values_are_near_1_and_the_directions_are_kept(shape, smallest, low, high):
    M = matrix(*shape, smallest).astype(np.float32)
    U, _, V = np.linalg.svd(M, full_matrices=False)
    inside = U.T @ polar(M, CountingComm(), NoClock()) @ V.T
    values = inside.diagonal()
    assert low < values.min() <= values.max() < high
    np.testing.assert_allclose(inside - np.diag(values), 0, atol=1e-3)


def test_a_matrix_of_zeros_has_no_direction():
    assert (polar(np.zeros((4, 3), np.float32), CountingComm(), NoClock()) == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_ranks_make_the_polar_factor_together(shape, ranks, monkeypatch):
    monkeypatch.setattr(module, "WORTH", 0.0)
    M = matrix(*shape)
    whole = polar(M, CountingComm(), NoClock())
    parts = on_ranks(ranks, lambda comm: (polar(M.copy(), comm, NoClock()), tuple(comm.verbs)))
    m, n = sorted(shape)
    square, last = 8 * m * m, 8 * m * n
    for found, verbs in parts:
        np.testing.assert_allclose(found, whole, atol=1e-11)
        np.testing.assert_array_equal(found, parts[0][0])
        assert verbs == (*[("allreduce", square), ("allgather", square)] * 5, ("allgather", last))


def test_small_matrices_are_not_divided():
    for found in on_ranks(2, lambda comm: (polar(matrix(6, 5), comm, NoClock()), comm.verbs)[1]):
        assert found == []


# -- steps


@pytest.mark.parametrize("given", [{}, {"weight_decay": 0.3, "momentum": 0.8, "beta1": 0.7, "beta2": 0.95}])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("steps", [1, 9])
def test_steps_are_those_of_the_formula(given, bias, steps):
    p = problem([6, 3], activation="tanh", samples=120, seed=3, outputs=2, bias=bias)
    method = muon(batch=32, learning_rate=0.03, adam_rate=0.02, **given)
    q = method.settings
    x = descent_start(p)
    by_muon = np.zeros(len(x), bool)
    for W in flat_views(p.network, by_muon)[:-1]:
        W[:, : W.shape[1] - bias] = True
    mean, gradients = np.zeros_like(x), []
    for t in range(steps):
        epoch, number = divmod(t, 4)
        g = mean_gradient(p, x, Epoch(3, epoch, 120, 32, 0, 120).rows(number))
        gradients.append(g)
        mean = q.momentum * mean + g  # Jordan's momentum, and Nesterov's step ahead
        ahead = g + q.momentum * mean
        new = np.empty_like(x)
        for M, out in zip(flat_views(p.network, ahead), flat_views(p.network, new), strict=True):
            k = M.shape[1] - bias
            out[:, :k] = by_svd(M[:, :k]) * max(1, len(M) / k) ** 0.5
        # Where Adam is after the same gradients, but for the step before.
        moves = [
            descend_adam(np.zeros_like(x), lambda i, _: gradients[i], n, q.adam_rate, q.beta1, q.beta2, q.epsilon)
            for n in (t, t + 1)
        ]
        decay = np.where(by_muon, q.learning_rate, q.adam_rate) * q.weight_decay * x
        x = x - decay + np.where(by_muon, -q.learning_rate * new, moves[1] - moves[0])
    s = after(method, p, steps)
    np.testing.assert_allclose(s.parameters, x, rtol=1e-5, atol=1e-6)
    assert np.abs(x - descent_start(p)).max() > 0.01


def test_a_schedule_is_of_both_rates():
    p = problem([6, 5], samples=120)
    scheduled = after(muon(batch=60, schedule="linear", schedule_epochs=2.0), p, 4)
    s = muon(batch=60).init(p)
    for rate in (0.875, 0.625, 0.375, 0.125):
        s = muon(batch=60, learning_rate=0.02 * rate, adam_rate=1e-3 * rate).step(s)
    np.testing.assert_allclose(scheduled.parameters, s.parameters, rtol=1e-10)


def test_a_network_without_hidden_layers_is_adams():
    p = problem([], samples=120)

    def gradient(t: int, x: Array) -> Array:
        return mean_gradient(p, x, np.arange(120))

    expected = descend_adam(descent_start(p), gradient, 5, 0.01)
    s = after(muon(batch=120, adam_rate=0.01), p, 5)
    np.testing.assert_allclose(s.parameters, expected, rtol=1e-9)


# -- learning, and settings


def test_hidden_layers_learn_what_a_linear_model_cannot():
    p, method = by_sign_of_product(samples=400, loss="cross-entropy"), muon(batch=50, adam_rate=0.01)
    assert accuracy(p, method.weights(after(method, p, 8 * 30))) > 0.95


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ("muon={learning_rate: 0}", "learning_rate: expected a number above 0"),
        ("muon={adam_rate: 0}", "adam_rate: expected a number above 0"),
        ("muon={momentum: 1.0}", "momentum: expected a number below 1"),
        ("muon={beta2: 1.0}", "beta2: expected a number below 1"),
        ("muon={epsilon: 0}", "epsilon: expected a number above 0"),
        ("muon={weight_decay: -1.0}", "weight_decay: expected 0.0 or more"),
        ("muon={nesterov: true}", "unknown key 'nesterov'"),
        ("muon={schedule: linear}", "schedule: linear needs schedule_epochs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(block, part):
    assert part in refusal_of(block)
