"""Graph ADMM on convolutional layers: Table 2 and the least squares against matrices and patches written out."""

import math

import numpy as np
import pytest
from support.filters import NETWORKS, maps, matrix, normal, patches
from support.methods import after
from support.problems import Array, problem

from admmctl.methods.graph import table_2
from admmctl.methods.graph.algorithm import GraphAdmm, GraphAdmmSettings
from admmctl.methods.graph.layers import compared, forward
from admmctl.methods.graph.updates import gains, output
from admmctl.methods.method import Problem
from admmctl.model.convolution import Filters, Stack

stacks = pytest.mark.parametrize("stack", NETWORKS.values(), ids=NETWORKS)
PLAIN = {
    "rho": 0.3,
    "beta": 0.4,
    "decay": "penalty",
    "momentum": 0.0,
    "first_scale": 1.0,
    "l2": 0.04,
    "damping": 0.0,
    "gram_every": 1,
}


def graph(**settings) -> GraphAdmm:
    return GraphAdmm(GraphAdmmSettings(**{**PLAIN, **settings}))


def pictures(stack: Stack, samples: int = 30, hidden: tuple[int, ...] = (5,), **changes) -> Problem:
    return problem(
        [*hidden], samples=samples, features=math.prod(stack.image), outputs=3, convolution=stack, **changes
    )


def matrices(p: Problem, W: dict[int, Array]) -> dict[int, Array]:
    """Every layer as a matrix on all activations below, and on a one for its bias."""
    sizes = p.network.sizes
    return {i: matrix(p.network.operator(i), W_i, sizes[i - 1]) for i, W_i in W.items()}


def printed_gain(M: Array, rho_above: float, rho: float, beta: float, cuts: tuple[float, float]) -> Array:
    """Q = rho' M'(I + rho' c M M')^-1 of the layer above as a matrix, without its bias."""
    c = 1 / (rho + beta) + (1 if np.isinf(cuts[1]) else 2) / beta
    return rho_above * M.T @ np.linalg.inv(np.eye(len(M)) + rho_above * c * M @ M.T)


@stacks
@pytest.mark.parametrize("kind", ["relu", "dcutlu"])
def test_the_minimum_of_table_2_is_that_of_one_least_squares_problem(stack, kind):
    """argmin rho'/2 ||T - M(x + y + z)||^2 + rho/2 ||x - X||^2 + beta/2 (||x - X||^2 + ||y - Y||^2 + ...)."""
    p, method = pictures(stack, activation=kind), graph()
    s, cuts = method.init(p), p.network.h(1).cuts
    rho, beta, Q = s.rho, s.beta, table_2.gains(p, s.W, s.rho, s.beta, np.float64)
    for i, M in ((i - 1, M) for i, M in matrices(p, s.W).items() if i > 1):
        k = p.network.sizes[i]
        M, R_above = M[:, :k], normal(len(M), 4, seed=i)
        eye, parts = np.eye(k), 2 if np.isinf(cuts[1]) else 3
        # How far x, y and z move: R_above = T - M (X + Y + Z) is what is to be made up for.
        weights = [np.sqrt(rho[i] + beta[i])] + [np.sqrt(beta[i])] * (parts - 1)
        A = np.vstack([np.sqrt(rho[i + 1]) * np.hstack([M] * parts), np.kron(np.diag(weights), eye)])
        b = np.vstack([np.sqrt(rho[i + 1]) * R_above, np.zeros((parts * k, 4))])
        x, *others = np.split(np.linalg.lstsq(A, b, rcond=None)[0], parts)
        D = Q[i] @ R_above
        np.testing.assert_allclose(D / (rho[i] + beta[i]), x, atol=1e-9)
        for moved in others:
            np.testing.assert_allclose(D / beta[i], moved, atol=1e-9)


def fitted(p: Problem, i: int, target: Array, V: Array, ridge: float) -> Array:
    """min_W ||target - W v||^2 + ridge ||W||^2 over samples, and over the places of filters: one least squares."""
    operator = p.network.operator(i)
    if isinstance(operator, Filters):
        target, V = maps(operator, target), patches(operator, V, p.network.bias)
    else:
        V = operator.below(V)
    A = np.hstack([V, np.sqrt(ridge) * np.eye(len(V))])
    b = np.hstack([target, np.zeros((len(target), len(V)))])
    return np.linalg.lstsq(A.T, b.T, rcond=None)[0].T


def table_1(method: GraphAdmm, s, times: int) -> dict[int, Array]:
    """The weights after one iteration as printed, with every layer as a matrix: fits instead of steps."""
    p, N = s.problem, s.problem.network.layers
    h, cuts, M = p.network.h(1), p.network.h(1).cuts, matrices(p, s.W)
    V, X = {0: p.network.inputs(p.a0)}, {}
    for i in range(1, N + 1):
        X[i] = np.asfortranarray(M[i] @ V[i - 1])
        V[i] = h.value(X[i], out=np.empty_like(X[i]))
        V[i] = np.asfortranarray(np.vstack([V[i], np.ones_like(V[0][:1])])) if p.network.bias else V[i]
    R = {N: 2 * (output(s, X[N], p.y) - X[N])}
    for i in range(N - 1, 0, -1):
        above = M[i + 1][:, : len(X[i])]
        Q = printed_gain(above, s.rho[i + 1], s.rho[i], s.beta[i], cuts)
        R[i] = table_2.several(X[i], above, Q, R[i + 1], s.rho[i], s.beta[i], cuts, times)
    return {i: fitted(p, i, X[i] + R[i], V[i - 1], method.settings.l2 / s.rho[i]) for i in R}


@stacks
@pytest.mark.parametrize(("bias", "times", "kind"), [(False, 1, "relu"), (True, 1, "dcutlu"), (True, 2, "relu")])
def test_an_iteration_is_table_1_of_matrices(stack, bias, times, kind):
    if stack.zeros and not bias:
        pytest.skip("what sees zeros alone is 0, which is on no side of the cut")
    method = graph(inner=times)
    s = method.init(pictures(stack, bias=bias, activation=kind, loss="cross-entropy"))
    for _ in range(2):
        expected = table_1(method, s, times)
        s = method.step(s)
        for i, W_i in expected.items():
            np.testing.assert_allclose(s.W[i], W_i, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "stack", [NETWORKS["two, narrowing, even"], NETWORKS["two, zeros"]], ids=["edges", "zeros"]
)
def test_new_weights_of_the_layer_above_are_those_of_its_filters(stack):
    method = graph(weights_above="new")
    s = method.init(pictures(stack, loss="cross-entropy"))
    p, N, old = s.problem, s.problem.network.layers, matrices(s.problem, s.W)
    V, X, new = {0: p.network.inputs(p.a0)}, {}, {}
    for i in range(1, N + 1):
        X[i] = old[i] @ V[i - 1]
        V[i] = np.vstack([np.maximum(X[i], 0), np.ones_like(p.a0[:1])])
    R = 2 * (output(s, X[N], p.y) - X[N])
    for i in range(N, 0, -1):
        if i < N:
            M = matrix(p.network.operator(i + 1), new[i + 1], p.network.sizes[i])
            missed, above = X[i + 1] + R - M @ V[i], M[:, : len(X[i])]
            Q = printed_gain(above, s.rho[i + 1], s.rho[i], s.beta[i], (0.0, np.inf))
            R = table_2.several(X[i], above, Q, missed, s.rho[i], s.beta[i], (0.0, np.inf), 1)
        new[i] = fitted(p, i, X[i] + R, np.asfortranarray(V[i - 1]), 0.04 / s.rho[i])
    s = method.step(s)
    for i, W_i in new.items():
        np.testing.assert_allclose(s.W[i], W_i, rtol=1e-5, atol=1e-6)


def test_without_a_dense_layer_between_and_on_mini_batches_it_is_the_same():
    stack = Stack((2, 4, 4), (3,), (3, 3), 2)
    method = graph(batch=20, penalties="fixed", average=0.0)
    s = method.init(pictures(stack, samples=60, hidden=()))
    first = {i: W_i.copy() for i, W_i in s.W.items()}
    v0, y = (x.copy() for x in s.batches.take(0))
    whole = graph()
    own = whole.init(pictures(stack, samples=20, hidden=()))
    own.problem.a0[...], own.problem.y[...] = v0, y
    for i, W_i in first.items():
        own.W[i][...] = W_i
    expected = table_1(whole, own, 1)
    s = method.step(s)
    for i, W_i in expected.items():
        np.testing.assert_allclose(s.W[i], W_i, rtol=1e-5, atol=1e-6)


@stacks
def test_how_large_a_gain_is_beside_its_layer_is_said_by_their_matrices(stack):
    p = pictures(stack)
    s = graph().init(p)
    Q = table_2.gains(p, s.W, s.rho, s.beta, np.float64)
    for i, M in matrices(p, s.W).items():
        operator, k = p.network.operator(i), p.network.sizes[i - 1]
        if i == 1 or (isinstance(operator, Filters) and operator.zeros):
            continue  # where zeros count as pixels
        M, dense = M[:, :k], Q[i - 1] @ np.eye(len(M))
        along, size = compared(operator, s.W[i], Q[i - 1])
        assert along == pytest.approx(np.trace(M @ dense) / (M**2).sum())
        assert size == pytest.approx(np.linalg.norm(dense) / np.linalg.norm(M))
        np.testing.assert_allclose(forward(operator, s.W[i]) @ np.eye(k), M, atol=1e-12)


@pytest.mark.parametrize("backward", ["backprop", "backprop-unscaled"])
def test_backpropagation_hands_on_the_layer_transposed(backward):
    p = pictures(NETWORKS["two, narrowing, even"])
    method = graph(backward=backward)
    s = method.init(p)
    Q, exact = gains(s, s.W, list(s.beta)), table_2.gains(p, s.W, s.rho, s.beta, np.float64)
    for i, M in ((i - 1, M) for i, M in matrices(p, s.W).items() if i > 1):
        M = M[:, : p.network.sizes[i]]
        found, wanted = Q[i] @ np.eye(len(M)), np.linalg.norm(exact[i] @ np.eye(len(M)))
        scale = wanted / np.linalg.norm(M) if backward == "backprop" else (s.rho[i] + s.beta[i]) / 4
        np.testing.assert_allclose(found, scale * M.T, atol=1e-10)


def test_noise_on_the_inputs_is_counted_at_every_place_of_a_filter():
    """V_0 V_0' of all rows, once, has the mean of what noise adds: that of many draws."""
    stack = Stack((1, 4, 3), (2,), (2, 2), zeros=True)
    p = pictures(stack, samples=40, hidden=())
    method = graph(batch=20, gram_every=8, input_noise=0.5, penalties="fixed", average=0.0)
    s = method.init(p)
    filters, generator = p.network.operator(1), np.random.default_rng(0)
    assert isinstance(filters, Filters)
    mean = np.zeros((5, 5))
    for _ in range(400):
        noisy = p.a0.copy()
        noisy[:-1] += 0.5 * generator.standard_normal(noisy[:-1].shape)
        seen = patches(filters, noisy, True)
        mean += seen @ seen.T / 400 / 2  # of 20 rows of 40
    summed = s.solves._pairs[1].gram
    np.testing.assert_allclose(summed, mean, atol=0.02 * np.abs(mean).max())
    assert np.trace(summed) > 1.05 * np.trace(patches(filters, p.a0, True) @ patches(filters, p.a0, True).T) / 2


@pytest.mark.parametrize(
    "settings", [{"l2": 0.3}, {"batch": 60}, {"batch": 60, "dropout": 0.2, "input_noise": 0.1}]
)
@pytest.mark.parametrize(
    "stack",
    [Stack((1, 6, 6), (4,), (3, 3), 2), Stack((1, 6, 6), (4, 3), (3, 3), stride=2, zeros=True)],
    ids=["averages", "strides, zeros"],
)
def test_it_learns_where_an_image_is_bright(stack, settings):
    p = pictures(stack, samples=240, dtype=np.float32, loss="cross-entropy")
    labels = np.arange(240) % 3
    images = p.a0[:36].T.reshape(240, 6, 6)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 1.0
    p.y[...] = labels == np.arange(3)[:, None]
    method = GraphAdmm(GraphAdmmSettings(**settings))
    W = method.weights(after(method, p, 40))
    right = p.network.forward(W, p.a0).argmax(axis=0) == labels
    assert right.mean() > 0.75
