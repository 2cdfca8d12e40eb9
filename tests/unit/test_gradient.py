"""Gradients by back-propagation, held against finite differences; and the losses that only gradients use."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import Array, problem

from admmctl.methods.method import Problem
from admmctl.model.activations import Activation, activations
from admmctl.model.gradient import Gradient, flat_views, parameters
from admmctl.model.losses import losses
from admmctl.model.network import Network

LOSSES = ["squared", "signed-squared", "hinge", "cross-entropy"]
ACTIVATIONS = ["relu", "hard-sigmoid", "tanh", "sigmoid", "cosine"]
H = 1e-6  # the step of central differences: their error is about 1e-10 for functions of this size
MARGIN = 1e-4  # how far from every kink: no step of H comes near one

per_loss = pytest.mark.parametrize("loss", LOSSES)
per_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
per_output = pytest.mark.parametrize("outputs", [1, 3])


def kinks(h: Activation) -> list[float]:
    return [cut for cut in h.cuts if np.isfinite(cut)]


def pre_activations(p: Problem, W: list[Array], masks: list[Array] | None = None) -> list[Array]:
    """z_1 .. z_L, of a network whose hidden units are multiplied by ``masks``."""
    z, a = [], p.a0
    for l, W_l in enumerate(W, start=1):
        z.append(p.network.apply(l, W_l, p.network.inputs(a)))
        if l < len(W):
            units = p.network.h(l).value(z[-1], out=np.empty_like(z[-1]))
            a = np.vstack([units * masks[l - 1] if masks else units, p.a0[-1:]])
    return z


def away_from_kinks(p: Problem, loss: str, masks: list[Array] | None = None) -> Array:
    """Parameters at which no hidden unit and no output lies at a kink, for any sample."""
    for seed in range(100):
        vector = np.random.default_rng(seed).standard_normal(parameters(p.network))
        *hidden, outputs = pre_activations(p, flat_views(p.network, vector), masks)
        distances = [
            np.abs(z - kink).min() for l, z in enumerate(hidden, start=1) for kink in kinks(p.network.h(l))
        ]
        if loss == "hinge":
            distances += [np.abs(outputs - p.y).min()]  # at 1 where y = 1, at 0 where y = 0
        if min(distances, default=1.0) > MARGIN:
            return vector
    raise AssertionError("every draw lies near a kink")


def loss_and_gradient(
    p: Problem, vector: Array, columns: int = 1000, samples: slice = slice(None), before: float = 0.0
) -> tuple[float, Array]:
    """Sums over ``samples``, taken ``columns`` at a time; the gradient is added to numbers ``before``."""
    total = np.full_like(vector, before)
    backprop = Gradient(p.network, p.loss, columns, vector.dtype.type)
    a0, y = p.a0[:, samples], p.y[:, samples]
    return backprop.add(flat_views(p.network, vector), a0, y, flat_views(p.network, total)), total


def draw(p: Problem) -> Array:
    """Parameters in the type of the samples."""
    return np.random.default_rng(1).standard_normal(parameters(p.network)).astype(p.a0.dtype)


def differences(value, vector: Array) -> Array:
    """Central differences of ``value`` in every direction."""
    result = np.empty_like(vector)
    for i in range(len(vector)):
        low, high = vector.copy(), vector.copy()
        low[i] -= H
        high[i] += H
        result[i] = (value(high) - value(low)) / (2 * H)
    return result


# -- the gradient of a network


@per_loss
@per_activation
@per_output
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [[], [4], [4, 3]], ids=["1 layer", "2 layers", "3 layers"])
def test_the_gradient_is_that_of_finite_differences(loss, activation, outputs, bias, hidden):
    p = problem(hidden, samples=7, features=3, outputs=outputs, loss=loss, activation=activation, bias=bias)
    vector = away_from_kinks(p, loss)

    def value(at: Array) -> float:
        return p.loss.value(p.network.forward(flat_views(p.network, at), p.a0), p.y)

    found, gradient = loss_and_gradient(p, vector)
    expected = differences(value, vector)
    assert np.abs(expected).max() > 0.01  # there is something to compare
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)
    assert found == pytest.approx(value(vector), rel=1e-12)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, ["tanh", "dcutlu(-1, 0.5)"]], ids=str)
@pytest.mark.parametrize("columns", [3, 7])
def test_the_gradient_with_a_mask_is_that_of_the_masked_network(activation, columns):
    p = problem([5, 4], samples=7, features=3, outputs=3, loss="cross-entropy", activation=activation)
    generator = np.random.default_rng(2)
    masks = [(generator.random((k, 7)) < 0.6) / 0.6 for k in (5, 4)]
    vector = away_from_kinks(p, "cross-entropy", masks)

    def value(at: Array) -> float:
        return p.loss.value(pre_activations(p, flat_views(p.network, at), masks)[-1], p.y)

    total = np.zeros_like(vector)
    W, views = flat_views(p.network, vector), flat_views(p.network, total)
    backprop = Gradient(p.network, p.loss, columns, np.float64)
    loss = backprop.add(W, p.a0, p.y, views, lambda l, block: masks[l - 1][:, block])
    assert loss == pytest.approx(value(vector), rel=1e-12)
    np.testing.assert_allclose(total, differences(value, vector), rtol=1e-6, atol=1e-7)
    without = np.zeros_like(vector)
    backprop.add(W, p.a0, p.y, flat_views(p.network, without))
    assert np.abs(total - without).max() > 0.01


@per_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 2, 7, 20, 21, 64])
def test_blocks_do_not_matter(loss, dtype, columns):
    p = problem([5, 4], samples=20, outputs=3, loss=loss, activation="tanh", dtype=dtype)
    vector = draw(p)
    expected_value, expected = loss_and_gradient(p, vector)
    value, gradient = loss_and_gradient(p, vector, columns)
    assert gradient.dtype == dtype
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert value == pytest.approx(expected_value, rel=tolerance)
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_a_smaller_block_after_a_larger_one_sees_nothing_of_it():
    p = problem([5, 4], samples=20)
    vector = draw(p)
    W, backprop = flat_views(p.network, vector), Gradient(p.network, p.loss, 20, np.float64)
    backprop.add(W, p.a0, p.y, flat_views(p.network, np.zeros_like(vector)))
    total = np.zeros_like(vector)
    few = backprop.add(W, p.a0[:, :3], p.y[:, :3], flat_views(p.network, total))
    expected_value, expected = loss_and_gradient(p, vector, 3, slice(3))
    assert few == expected_value
    np.testing.assert_array_equal(total, expected)


def test_gradients_are_added_to_what_is_there_and_nothing_else_is_written_to():
    p = problem([5, 4], samples=20, outputs=3, loss="cross-entropy")
    vector = draw(p)
    given = (p.a0, p.y, vector)
    copies = [array.copy() for array in given]
    _, once = loss_and_gradient(p, vector)
    np.testing.assert_allclose(loss_and_gradient(p, vector, 8, before=3.0)[1], once + 3.0, rtol=1e-12)
    value, unchanged = loss_and_gradient(p, vector, 8, slice(0), before=3.0)  # no samples have no gradient
    assert value == 0.0
    assert (unchanged == 3.0).all()
    for array, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("activation", ["relu", "hard-sigmoid"])
def test_at_a_kink_the_slope_is_one_of_the_two_sides(activation):
    h = activations.load(activation)()
    z = np.array([kinks(h)])
    assert z.size
    a = h.value(z, out=np.empty_like(z))
    delta = np.full_like(z, 5.0)
    h.pull_back(z, a, delta)
    assert set(delta.ravel()) <= {0.0, 5.0}


@per_activation
@pytest.mark.parametrize("units", [1, 2, 4])
def test_an_activation_pulls_back_by_its_slope(activation, units):
    h = activations.load(activation)()
    z = np.array([-3.1, -0.7, -0.01, 0.02, 0.4, 0.98, 1.03, 2.9]).reshape(units, -1)
    a = h.value(z, out=np.empty_like(z))
    delta = np.linspace(-2, 2, z.size).reshape(z.shape)
    high, low = (h.value(z + step, out=np.empty_like(z)) for step in (H, -H))
    expected = delta * (high - low) / (2 * H)
    h.pull_back(z, a, delta)
    np.testing.assert_allclose(delta, expected, rtol=1e-7, atol=1e-9)


# -- the losses


@per_loss
@per_output
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.1, 1.0, 10.0]))
def test_a_loss_agrees_with_its_gradient(loss, outputs, seed, spread):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, max(outputs, 2), 6)
    y = (labels == 1)[None, :] if outputs == 1 else labels == np.arange(outputs)[:, None]
    y = y.astype(np.float64)
    z = spread * generator.standard_normal(y.shape)
    if loss == "hinge":
        z[np.abs(z - y) < MARGIN] += 2 * MARGIN
    function = losses.load(loss)()
    expected = differences(lambda at: function.value(at.reshape(y.shape), y), z.ravel()).reshape(y.shape)
    np.testing.assert_allclose(function.gradient(z, y), expected, rtol=1e-6, atol=1e-7)


@per_loss
@per_output
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loss_keeps_the_type_and_the_numbers_it_is_given(loss, outputs, dtype):
    y = np.eye(3, dtype=dtype)[:outputs]
    z = np.linspace(-1.3, 1.7, y.size).reshape(y.shape).astype(dtype)
    before = z.copy(), y.copy()
    gradient = losses.load(loss)().gradient(z, y)
    assert gradient.dtype == dtype
    assert gradient.shape == z.shape
    np.testing.assert_array_equal(z, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_at_its_kink_the_hinge_has_one_of_the_two_slopes():
    gradient = losses.load("hinge")().gradient(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
    assert gradient[0, 0] in (-1.0, 0.0)
    assert gradient[0, 1] in (0.0, 1.0)


def test_cross_entropy_by_hand():
    loss = losses.load("cross-entropy")()
    z, y = np.array([[0.0, 2.0, -2.0]]), np.array([[1.0, 1.0, 1.0]])
    p = 1 / (1 + np.exp(-z))
    assert loss.value(z, y) == pytest.approx(-np.log(p).sum(), rel=1e-14)
    np.testing.assert_allclose(loss.gradient(z, y), p - 1, rtol=1e-14)
    z, y = np.array([[1.0], [2.0], [4.0]]), np.array([[0.0], [1.0], [0.0]])
    p = np.exp(z) / np.exp(z).sum()
    assert loss.value(z, y) == pytest.approx(-np.log(p[1, 0]), rel=1e-14)
    np.testing.assert_allclose(loss.gradient(z, y), p - y, rtol=1e-13)


def test_two_outputs_are_one_output_of_their_difference():
    loss = losses.load("cross-entropy")()
    z = np.random.default_rng(0).standard_normal((2, 9))
    y = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1.0])
    both, one = np.stack([1 - y, y]), (z[1] - z[0])[None, :]
    assert loss.value(z, both) == pytest.approx(loss.value(one, y[None, :]), rel=1e-13)
    np.testing.assert_allclose(loss.gradient(z, both)[1:], loss.gradient(one, y[None, :]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_does_not_overflow(dtype):
    loss = losses.load("cross-entropy")()
    far = 1e4
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for y, z, expected, slope in ((0, far, far, 1), (0, -far, 0, 0), (1, far, 0, 0), (1, -far, far, -1)):
            one, target = np.array([[z]], dtype), np.array([[y]], dtype)
            assert loss.value(one, target) == expected
            np.testing.assert_array_equal(loss.gradient(one, target), [[slope]])
        z = np.array([[far, -far, 0], [-far, far, far], [0, 0, -far]], dtype)
        y = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0]], dtype)
        assert loss.value(z, y) == 2 * far + 0 + far
        np.testing.assert_array_equal(loss.gradient(z, y), [[1, 0, -1], [-1, 0, 1], [0, 0, 0]])


@per_loss
@per_output
def test_a_nan_output_is_not_hidden(loss, outputs):
    function = losses.load(loss)()
    z = np.zeros((outputs, 2))
    z[0, 1] = np.nan
    for y in (np.zeros_like(z), np.eye(outputs, 2)):
        assert np.isnan(function.value(z, y))


# -- parameters as one vector


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [[], [5, 2]])
def test_weights_are_views_of_one_vector(layers, bias):
    network = Network.build(3, layers, 1, "relu", bias)
    vector = np.arange(parameters(network), dtype=np.float64)
    W = flat_views(network, vector)
    shapes = [(k_next, k + bias) for k, k_next in pairwise([3, *layers, 1])]
    assert [W_l.shape for W_l in W] == shapes
    np.testing.assert_array_equal(np.concatenate([W_l.ravel() for W_l in W]), vector)
    W[-1][0, 0] = -7.0
    assert vector[-W[-1].size] == -7.0
    vector[...] = 1.0
    assert all((W_l == 1.0).all() for W_l in W)
