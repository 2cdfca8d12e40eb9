"""Convolutional layers: the operator, its least squares and a-updates, against matrices written out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate2d
from support.filters import NETWORKS, maps, matrix, normal, patches, with_ones
from support.methods import standing
from support.problems import Array, NoClock, problem

from admmctl.comm import Serial
from admmctl.methods.convolution import FilterGain, FilterPair, FrequencyFactor, frequency_gain
from admmctl.methods.least_squares import RidgeFactor, reduce_pairs
from admmctl.methods.method import Diverged, Problem
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.convolution import Averaged, Filtered
from admmctl.methods.taylor.layers import hidden as hidden_layer
from admmctl.methods.taylor.layers import layers_cost
from admmctl.methods.taylor.settings import AdmmSettings
from admmctl.methods.taylor.state import AdmmState
from admmctl.model.convolution import Filters, Stack
from admmctl.model.network import Network
from admmctl.model.pooling import Pooled


def ridge_solution(z: Array, a: Array, ridge: float) -> Array:
    """min_W ||z - W a||^2 + ridge mean(diag a a') ||W||^2, as one least-squares problem."""
    root = np.sqrt(ridge * np.mean(np.sum(a * a, axis=1)))
    stacked = np.vstack([a.T, root * np.eye(len(a))])
    return np.linalg.lstsq(stacked, np.vstack([z.T, np.zeros((len(a), len(z)))]), rcond=None)[0].T


images = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 7))


@st.composite
def layers(draw) -> Filters:
    image, stride, zeros = draw(images), draw(st.sampled_from([1, 1, 2, 3])), draw(st.booleans())
    if not zeros:  # in whole steps
        image = (image[0], *(stride * -(-side // stride) for side in image[1:]))
    size = draw(st.one_of(st.just(image[1:]), st.tuples(*(st.integers(1, side) for side in image[1:]))))
    return Filters(draw(st.integers(1, 4)), image, size, stride, zeros)


# -- the operator


@given(
    operator=st.one_of(
        layers(), st.sampled_from([Pooled(4, (2, 4, 6), 2), Pooled(2, (1, 3, 6), 3), Pooled(3, (3, 8, 4), 4)])
    ),
    n=st.integers(1, 4),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_product_adjoint_and_gradient_are_those_of_the_matrix(operator, n, bias, seed):
    k = math.prod(operator.image)
    a, W = normal(k, n, seed=seed), normal(operator.rows, operator.inputs + bias, seed=seed + 1)
    below = with_ones(a) if bias else a
    M = matrix(operator, W, k)
    out = np.full((len(M), n), 9.0, order="F")
    assert operator.apply(W, below, out=out) is out
    for z in (out, operator.apply(W, below)):
        np.testing.assert_allclose(z, M @ below, atol=1e-12)
    delta = normal(len(M), n, seed=seed + 2)
    back = operator.adjoint(W, delta, out=np.full_like(a, 9))
    np.testing.assert_allclose(back, M[:, :k].T @ delta, atol=1e-12)
    # <d, W a> is linear in W: its derivative times any other W is its value there.
    total, other = np.ones_like(W), normal(*W.shape, seed=seed + 3)
    operator.add_gradient(delta, below, total)
    value = np.vdot(delta, operator.apply(other, below))
    assert np.vdot(total - 1, other) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert operator.square(W) == pytest.approx((M[:, :k] ** 2).sum())
    if isinstance(operator, Filters):
        np.testing.assert_array_equal(operator.looks, patches(operator, np.ones((k, 1)), False).sum(axis=1))


def test_zeros_around_an_image_are_what_a_larger_circular_one_has() -> None:
    """And their maps are those of SciPy's full correlation, every stride-th place of them."""
    a, W = normal(2 * 5 * 4, 3), normal(3, 2 * 9 + 1, seed=1)
    wide, strided = (Filters(3, (2, 5, 4), (3, 3), stride, zeros=True) for stride in (1, 2))
    z = wide.apply(W, with_ones(a)).T.reshape(3, 3, 7, 6)
    for n, f in itertools.product(range(3), range(3)):
        channels = zip(a[:, n].reshape(2, 5, 4), W[f, :18].reshape(2, 3, 3), strict=True)
        full = sum(correlate2d(image, kernel, mode="full") for image, kernel in channels)
        np.testing.assert_allclose(z[n, f], full + W[f, 18], atol=1e-12)
    assert (wide.maps, strided.maps) == ((7, 6), (4, 3))
    every_second = strided.apply(W, with_ones(a)).T.reshape(3, 3, 4, 3)
    np.testing.assert_allclose(every_second, z[:, :, ::2, ::2], atol=1e-12)
    larger = np.zeros((3, 2, 7, 6))
    larger[:, :, 2:, 2:] = a.T.reshape(3, 2, 5, 4)
    circular = Filters(3, (2, 7, 6), (3, 3)).apply(W, with_ones(larger.reshape(3, -1).T))
    np.testing.assert_allclose(np.roll(circular.T.reshape(3, 3, 7, 6), (-1, -1), (2, 3)), z, atol=1e-12)


def test_single_precision_stays_single_and_is_precise():
    filters = Filters(8, (3, 28, 28), (5, 5))
    a, W = normal(3 * 784, 20), normal(8, 76, seed=1)
    exact = filters.apply(W, with_ones(a))
    single = filters.apply(W.astype(np.float32), with_ones(a).astype(np.float32, order="F"))
    assert single.dtype == filters.adjoint(W.astype(np.float32), single, np.empty_like(a, np.float32)).dtype
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, atol=2e-6 * np.abs(exact).max())


@given(
    image=images,
    filters=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    size=st.sampled_from([(1, 1), "full"]),
    stride=st.integers(1, 3),
    zeros=st.booleans(),
)
def test_a_stack_goes_through_a_file(image, filters, size, stride, zeros):
    stride = stride if zeros else 1
    stack = Stack(
        image, tuple(filters), (1, 1) if zeros else image[1:] if size == "full" else size, 1, stride, zeros
    )
    assert Stack.unpack(stack.packed()) == stack


def test_a_stack_of_an_older_file_is_read():
    """And what only this program knows is not understood by an older one, which asks that all be 1 or more."""
    assert Stack.unpack([2, 6, 4, 3, 3, 2, 3, 2]) == Stack((2, 6, 4), (3, 2), (3, 3), 2)
    assert Stack((2, 6, 4), (3, 2), (3, 3), 2).packed() == [2, 6, 4, 3, 3, 2, 3, 2]
    assert min(Stack((2, 6, 4), (3, 2), (2, 2), 1, 2).packed()) == 0


@pytest.mark.parametrize(
    "packed",
    [
        [],
        [1, 4, 4, 3, 3, 1],
        [1, 4, 4, 5, 3, 1, 2],
        [1, 4, 4, 3, 3, 3, 2],
        [0, 4, 4, 3, 3, 1, 2],
        [0, 0, 0, 1, 4, 4, 3, 3, 1, 2],  # a stride of 0
        [0, 3, 0, 1, 4, 4, 3, 3, 1, 2],  # that does not go around
        [0, 2, 2, 1, 4, 4, 3, 3, 1, 2],
        [0, 2, 0, 1, 4, 4, 3, 3, 1, 2, 2],  # whose second layer has maps of 2 x 2
        [0, 1, 1, 1, 4, 4, 3, 3, 4, 2],  # averages of 4 x 4 on maps of 6 x 6
    ],
)
def test_a_stack_that_does_not_fit_is_refused(packed):
    with pytest.raises(ValueError, match="its convolution"):
        Stack.unpack(packed)


# -- the W-update


def sums(filters: Filters, z: Array, a: Array, bias: bool) -> FilterPair:
    """Of two unequal blocks, reduced."""
    pair = FilterPair(filters, bias, z.dtype.type)
    pair.add(z, a)  # to be forgotten
    pair.clear()
    for block in (slice(0, 1), slice(1, None)):
        pair.add(z[:, block], a[:, block])
    reduce_pairs([pair], Serial())
    return pair


@given(filters=layers(), n=st.integers(2, 5), bias=st.booleans(), seed=st.integers(0, 99))
def test_sums_are_those_of_patches_and_weights_the_least_squares_solution(filters, n, bias, seed):
    a, z = normal(math.prod(filters.image), n, seed=seed), normal(filters.rows * filters.pixels, n, seed=seed + 1)
    pair = sums(filters, z, with_ones(a) if bias else a, bias)
    X, Z = patches(filters, a, bias), maps(filters, z)
    np.testing.assert_allclose(pair.cross, Z @ X.T, atol=1e-9)
    np.testing.assert_allclose(pair.gram(), X @ X.T, atol=1e-9)
    assert pair.mean == pytest.approx(np.mean(np.diag(X @ X.T)))
    factor = pair.factor(1e-2)
    whole = filters.size == filters.image[1:] and not filters.zeros
    assert isinstance(factor, FrequencyFactor if whole else RidgeFactor)
    np.testing.assert_allclose(factor.solve(pair.cross), ridge_solution(Z, X, 1e-2), atol=1e-8)
    assert factor.ridge == pytest.approx(1e-2)


def test_fixed_sums_are_neither_cleared_nor_sent():
    filters = Filters(2, (3, 6, 5), (3, 2))
    a, z = with_ones(normal(90, 4)), normal(60, 4, seed=1)
    pair = sums(filters, z, a, True)
    gram, sent = pair.gram(), sum(map(len, pair.packed()))
    assert sent == 6 * 5 * 3 + 3 + 1
    pair.fix()
    pair.clear()
    pair.add(2 * z, a)
    assert pair.packed() == []
    reduce_pairs([pair], Serial())
    np.testing.assert_array_equal(pair.gram(), gram)
    np.testing.assert_allclose(pair.cross, 2 * sums(filters, z, a, True).cross)


@pytest.mark.parametrize("size", [(3, 3), (4, 4)])
def test_a_constant_image_raises_the_ridge_where_it_is_zero(size):
    filters = Filters(2, (1, 4, 4), size)
    pair = sums(filters, normal(32, 3), np.ones((17, 3)), True)
    factor = pair.factor(0.0)
    assert 0 < factor.ridge < 1e-6
    assert np.isfinite(factor.solve(pair.cross)).all()


@pytest.mark.parametrize("size", [(3, 3), (4, 4)])
@pytest.mark.parametrize("wrong", ["a", "z"])
def test_numbers_out_of_range_end_the_run(size, wrong):
    filters = Filters(2, (1, 4, 4), size)
    z, a = normal(32, 3), normal(17, 3)
    (z if wrong == "z" else a)[3, 1] = np.nan
    with np.errstate(invalid="ignore"):
        pair = sums(filters, z, a, True)
        with pytest.raises(Diverged):
            pair.factor(1e-2).solve(pair.cross)


# -- the a-updates


def dense_update(M: Array, h: Array, t: Array, beta: float, gamma: float) -> Array:
    """(beta W'W + gamma I)^-1 (beta W'(t - b) + gamma h) for the matrix of a layer, with its bias or without."""
    k = len(h)
    W, b = M[:, :k], M[:, k:].sum(axis=1, keepdims=True)
    return np.linalg.solve(beta * W.T @ W + gamma * np.eye(k), beta * W.T @ (t - b) + gamma * h)


stacks = pytest.mark.parametrize("stack", NETWORKS.values(), ids=NETWORKS)
biases = pytest.mark.parametrize("bias", [True, False], ids=["biases", "no biases"])


def convolutional(stack: Stack, bias: bool = True, **changes) -> Problem:
    given = {"samples": 40, "features": math.prod(stack.image), "outputs": 3, **changes}
    return problem(given.pop("hidden", [5]), bias=bias, convolution=stack, **given)


def test_gains_below_a_convolution_are_solved_on_the_smaller_side():
    for rows, channels in ((2, 5), (5, 2), (3, 3)):
        filters = Filters(rows, (channels, 4, 6), (3, 2))
        W = normal(rows, filters.inputs + 1)
        V, G = frequency_gain(filters, W, 0.5), filters.spectrum(W)
        for f in range(filters.frequencies):
            A = G[:, :, f]
            expected = A.conj().T @ np.linalg.inv(0.5 * np.eye(rows) + A @ A.conj().T)
            np.testing.assert_allclose(V[:, :, f], expected, atol=1e-12)
        W[0, 0] = np.inf
        with pytest.raises(Diverged, match="weights"):
            frequency_gain(filters, W, 0.5)


@given(filters=layers(), n=st.integers(1, 3), ratio=st.sampled_from([0.1, 2.0]), seed=st.integers(0, 99))
def test_what_a_gain_pulls_is_the_minimum_below_a_convolution(filters, n, ratio, seed):
    W, e = normal(filters.rows, filters.inputs + 1, seed=seed), normal(filters.rows * filters.pixels, n, seed=seed)
    k = math.prod(filters.image)
    M = matrix(filters, W, k)[:, :k]
    expected = np.linalg.solve(M.T @ M + ratio * np.eye(k), M.T @ e)
    pulled = FilterGain(filters, W, ratio).pull(filters.transform(e))
    np.testing.assert_allclose(pulled, expected, atol=1e-9)
    single = FilterGain(filters, W.astype(np.float32), ratio).pull(filters.transform(e.astype(np.float32)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


# -- the method


def admm(**settings) -> Admm:
    return Admm(AdmmSettings(**{"penalties": "fixed", **settings}))


class Dense:
    """Algorithm 1 with every layer as a matrix: patches in memory, dense solves, no transform."""

    def __init__(self, method: Admm, s: AdmmState) -> None:
        self.method, self.network, self.problem, self.iteration = method, s.problem.network, s.problem, 0
        self.a = {l: standing(s, l) for l in range(s.problem.network.layers)}
        self.z = {l: z.copy() for l, z in s.z.items()}
        self.W = {l: W.copy() for l, W in s.W.items()}
        self.lam = s.lam.copy()

    def weights(self, l: int, z: Array) -> Array:
        operator, ridge = self.network.operator(l), self.method.settings.ridge
        a = self.a[l - 1]
        if isinstance(operator, Filters):
            return ridge_solution(maps(operator, z), patches(operator, a, self.network.bias), ridge)
        return ridge_solution(z, operator.below(a), ridge)

    def matrix(self, l: int, W: Array) -> Array:
        return matrix(self.network.operator(l), W, self.network.sizes[l - 1])

    def target(self, l: int) -> Array:
        return self.z[l] + (self.lam / (2 * self.method.settings.beta_of(l)) if l == self.network.layers else 0)

    def step(self) -> None:
        method, network, L = self.method, self.network, self.network.layers
        for l in range(1, L):
            W = self.weights(l, self.z[l])
            k = network.sizes[l]
            h = network.h(l).value(self.z[l], out=np.empty_like(self.z[l]))
            above = self.matrix(l + 1, self.W[l + 1])
            self.a[l][:k] = dense_update(
                above, h, self.target(l + 1), method.settings.beta_of(l + 1), method.settings.gamma_of(l)
            )
            m = np.asfortranarray(self.matrix(l, W) @ self.a[l - 1])
            network.h(l).z_update(self.z[l], self.a[l], m, method.settings.gamma_of(l), method.settings.beta_of(l))
            self.W[l] = W
        self.W[L] = self.weights(L, self.target(L))
        m = self.matrix(L, self.W[L]) @ self.a[L - 1]
        self.z[L] = self.problem.loss.z_update(self.problem.y, m, self.lam, method.settings.beta_of(L))
        if self.iteration >= method.settings.warm_iterations:
            self.lam += method.settings.multiplier_step * method.settings.beta_of(L) * (self.z[L] - m)
        self.iteration += 1


@stacks
@biases
@pytest.mark.parametrize("hidden", [[5], []], ids=["a dense layer between", "outputs on top"])
def test_iterations_are_those_of_circulant_matrices(stack, bias, hidden):
    p = convolutional(stack, bias, hidden=hidden)
    method = admm(warm_iterations=1, beta=2.0, gamma=5.0)
    s = method.init(p)
    dense = Dense(method, s)
    for _ in range(3):
        s = method.step(s)
        dense.step()
        for l in range(1, p.network.layers + 1):
            np.testing.assert_allclose(s.W[l], dense.W[l], rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(s.z[l], dense.z[l], rtol=1e-6, atol=1e-7)
            assert s.W[l].shape == p.network.shapes[l - 1]
    assert s.lam.any()


@stacks
@pytest.mark.parametrize("sweep", ["forward", "backward_first"])
@pytest.mark.parametrize("init", ["forward", "gaussian"])
def test_the_objective_falls_without_multipliers(stack, sweep, init):
    method = admm(multipliers="none", ridge=1e-9, sweep=sweep, init=init)
    s = method.init(convolutional(stack))
    objective = np.inf
    for _ in range(8):
        s = method.step(s)
        found = method.residuals(s)["objective"]
        assert found <= objective * (1 + 1e-6)
        objective = found


def test_what_is_kept_below_a_pooled_layer_is_its_residuals():
    network = convolutional(NETWORKS["two, narrowing, even"]).network
    below, pooled = (hidden_layer(network, l, 8, 8, np.float32, NoClock(), np.empty(0)) for l in (1, 2))
    assert isinstance(below, Filtered)
    assert isinstance(pooled, Averaged)
    assert layers_cost(AdmmSettings(), network, 40, 1).kept == 4 * 36 + 1 + 5 + 3


def test_the_forward_pass_takes_weights_as_they_are_saved():
    stack = NETWORKS["two, narrowing, even"]
    network = Network.build(36, [5], 3, "relu", True, convolution=stack)
    assert network.sizes == (36, 144, 72, 5, 3)
    assert network.shapes == [(4, 9), (2, 33), (5, 9), (3, 6)]
    W = [normal(*shape, seed=l) for l, shape in enumerate(network.shapes)]
    a0 = a = with_ones(normal(36, 9))
    for l, W_l in enumerate(W, start=1):
        z = matrix(network.operator(l), W_l, network.sizes[l - 1]) @ a
        a = with_ones(np.maximum(z, 0))
    np.testing.assert_allclose(network.forward(W, a0), z, atol=1e-10)
