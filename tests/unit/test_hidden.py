"""The activations of hidden layers, stored or by their residuals: the same updates, and less memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import Array, NoClock

from admmctl import kernels
from admmctl.methods.taylor import hidden as module
from admmctl.methods.taylor.hidden import Hidden, Narrow, Shape, Stored, below_dense
from admmctl.model.activations import activations
from admmctl.model.operators import Dense

PATHS: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "compiled": (kernels.narrow_a_relu, kernels.narrow_z_relu),
    "plain": (kernels._narrow_a_relu_plain, kernels._narrow_z_relu_plain),
}
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}

paths = pytest.mark.parametrize("path", ["compiled", "plain"])
types = pytest.mark.parametrize("dtype", [np.float32, np.float64])
functions = pytest.mark.parametrize("name", ["relu", "hard-sigmoid"])
biases = pytest.mark.parametrize("bias", [True, False])
penalties = st.sampled_from([0.125, 1.0, 3.0, 10.0, 100.0])


class Sample:
    """Arguments of both kernels: samples as rows, and an ``a`` whose last column, if any, holds sevens."""

    def __init__(self, seed: int, n: int, k: int, few: int, ones: bool, dtype: type) -> None:
        self.generator = np.random.default_rng(seed)
        self.dtype, self.k = dtype, k
        # The kink must turn up: some entries are zero.
        self.z = self.draw(n, k) * self.generator.integers(0, 4, (n, k)).clip(0, 1).astype(dtype)
        self.m, self.t, self.e = self.draw(n, k), self.draw(n, few), self.draw(n, few)
        self.W, self.V = self.draw(few, k), self.draw(few, k)
        self.a = np.full((n, k + ones), 7, dtype)

    def draw(self, *shape: int) -> Array:
        return self.generator.standard_normal(shape).astype(self.dtype)

    def narrow_a(self, path: str) -> tuple[Array, Array]:
        """The new e and a, ``a`` with its last column."""
        e, a = np.full_like(self.e, 9), self.a.copy()
        PATHS[path][0](self.z, self.t, self.W, self.V, e, a)
        return e, a

    def narrow_z(self, path: str, gamma: float = 10.0, beta: float = 1.0) -> tuple[Array, Array]:
        """The new z, and W a."""
        z, out = self.z.copy(), np.full_like(self.e, 9)
        arguments = self.m, self.e, self.V, self.W, gamma, beta, np.empty(self.k, self.dtype), out
        PATHS[path][1](z, *arguments)
        return z, out


samples = {
    "seed": st.integers(0, 1000),
    "n": st.integers(0, 5),
    "k": st.integers(1, 9),
    "few": st.integers(1, 5),
    "ones": st.booleans(),
}


def exact(*arrays: Array) -> list[Array]:
    return [np.asarray(array, np.float64) for array in arrays]


def relu(z: Array) -> Array:
    return np.where(z > 0, z, 0)


def cost(z: Array, a: Array, m: Array, gamma: float, beta: float) -> Array:
    return gamma * (a - relu(z)) ** 2 + beta * (z - m) ** 2


# -- the kernels


@paths
@types
@given(**samples)
def test_residuals_and_activations_are_those_of_dense_products(path, dtype, seed, n, k, few, ones):
    sample = Sample(seed, n, k, few, ones, dtype)
    e, a = sample.narrow_a(path)
    z, t, W, V = exact(sample.z, sample.t, sample.W, sample.V)
    residual = t - relu(z) @ W.T
    scale = 100 * TOLERANCE[dtype]
    np.testing.assert_allclose(e, residual, rtol=0, atol=scale)
    np.testing.assert_allclose(a[:, :k], relu(z) + residual @ V, rtol=0, atol=scale)
    assert (a[:, k:] == 7).all()
    assert e.dtype == a.dtype == dtype


@paths
@types
@given(**samples, gamma=penalties, beta=penalties)
def test_z_is_the_cheapest_for_an_a_that_is_kept_nowhere(path, dtype, seed, n, k, few, ones, gamma, beta):
    sample = Sample(seed, n, k, few, ones, dtype)
    z, out = sample.narrow_z(path, gamma, beta)
    old, m, e, V, W = exact(sample.z, sample.m, sample.e, sample.V, sample.W)
    a = relu(old) + e @ V
    np.testing.assert_allclose(out, a @ W.T, rtol=0, atol=100 * TOLERANCE[dtype])
    # On either side of zero the cost is a parabola.
    sides = np.minimum(m, 0), np.maximum((gamma * a + beta * m) / (gamma + beta), 0)
    best = np.minimum(*(cost(side, a, m, gamma, beta) for side in sides))
    bound = best + 10 * TOLERANCE[dtype] * (1 + gamma + beta) * (1 + a**2 + m**2)
    assert (cost(*exact(z), a, m, gamma, beta) <= bound).all()
    assert z.dtype == out.dtype == dtype


@paths
@types
@pytest.mark.parametrize("place", ["z", "t"])
def test_nan_into_the_a_update_comes_out_in_that_sample_alone(path, dtype, place):
    sample = Sample(1, 3, 6, 2, True, dtype)
    getattr(sample, place)[1, 1] = np.nan
    e, a = sample.narrow_a(path)
    assert np.isnan(e[1]).all() if place == "z" else np.isnan(e[1, 1])
    assert np.isnan(a[1, :6]).all()
    assert a[1, 6] == 7
    assert np.isfinite(e[[0, 2]]).all()
    assert np.isfinite(a[[0, 2]]).all()


@paths
@types
@pytest.mark.parametrize("place", ["z", "m", "e"])
def test_nan_into_the_z_update_comes_out_in_that_sample_alone(path, dtype, place):
    sample = Sample(2, 3, 6, 2, True, dtype)
    getattr(sample, place)[1, 1] = np.nan
    z, out = sample.narrow_z(path)
    assert np.isnan(z[1]).all() if place == "e" else np.isnan(z[1, 1])
    assert np.isnan(out[1]).all() == (place != "m")
    assert np.isfinite(z[[0, 2]]).all()
    assert np.isfinite(out[[0, 2]]).all()


# -- stored and narrow


class Layer:
    """A hidden layer of ``samples`` columns, and what its updates are given. ``W`` and ``newer`` have a bias."""

    def __init__(self, name: str, k_next: int, bias: bool, dtype: type = np.float64, samples: int = 20) -> None:
        generator = np.random.default_rng(k_next)

        def draw(*shape: int) -> Array:
            return np.asfortranarray(generator.standard_normal(shape).astype(dtype))

        self.h = activations.load(name)()
        self.shape = Shape(7, k_next, bias, samples, 6, dtype)
        self.z, self.m, self.t = draw(7, samples), draw(7, samples), draw(k_next, samples)
        self.W, self.newer = (np.ascontiguousarray(draw(k_next, 7 + bias)) for _ in range(2))
        self.V = draw(7, k_next)

    def blocks(self) -> list[slice]:
        return [slice(low, min(low + 6, self.shape.samples)) for low in range(0, self.shape.samples, 6)]

    def update(self, a: Hidden) -> Array:
        """All blocks; a_l as the update returns it, with its row of ones."""
        blocks = [a.update(c, self.z[:, c], self.t[:, c], self.W, self.V).copy() for c in self.blocks()]
        return np.hstack(blocks)

    def block(self, a: Hidden) -> Array:
        return np.hstack([a.block(c, self.z[:, c], self.V).copy() for c in self.blocks()])

    def update_z(self, a: Hidden) -> tuple[Array, Array]:
        z, out = self.z.copy(order="F"), np.full((self.shape.k_next, self.shape.samples), 9.0, self.z.dtype, "F")
        for c in self.blocks():
            a.update_z(c, z[:, c], self.m[:, c], self.newer, self.V, 10.0, 1.5, out=out[:, c])
        return z, out


@functions
@biases
@pytest.mark.parametrize("k_next", [1, 3, 15, 16, 17, 40])
def test_stored_and_narrow_make_the_same_updates(name, bias, k_next, monkeypatch):
    layer = Layer(name, k_next, bias)
    kinds = {}
    for widest in (k_next - 1, k_next):
        monkeypatch.setattr(module, "NARROW", widest)
        kinds[widest] = below_dense(k_next)(Dense(k_next, 7), layer.h, layer.shape, NoClock())
    stored, narrow = kinds.values()
    assert (type(stored), type(narrow)) == (Stored, Narrow)

    h = layer.h.value(layer.z, out=np.empty_like(layer.z))
    offset = layer.W[:, 7:] if bias else 0.0
    a = h + layer.V @ (layer.t - layer.W[:, :7] @ h - offset)
    expected = np.vstack([a, np.ones((int(bias), 20))])
    z = layer.z.copy(order="F")
    layer.h.z_update(z, np.asfortranarray(a), layer.m, 10.0, 1.5)
    for one in (stored, narrow):
        np.testing.assert_allclose(layer.update(one), expected, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(layer.block(one), expected, rtol=1e-9, atol=1e-11)
        new_z, out = layer.update_z(one)
        np.testing.assert_allclose(new_z, z, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(out, layer.newer @ expected, rtol=1e-9, atol=1e-10)


def test_a_layer_of_up_to_sixteen_units_is_narrow():
    assert module.NARROW == 16
    for k_next, narrow in ((1, True), (16, True), (17, False)):
        assert below_dense(k_next) is (Narrow if narrow else Stored)


@functions
@biases
@pytest.mark.parametrize("kind", [Stored, Narrow])
def test_a_block_of_a_few_columns_changes_those_alone(name, bias, kind):
    layer, few = Layer(name, 3, bias), slice(7, 11)
    a = kind(Dense(layer.shape.k_next, 7), layer.h, layer.shape, NoClock())
    before = layer.update(a)
    m, t, W = layer.m.copy(), layer.t.copy(), layer.W.copy()
    fresh = np.asfortranarray(layer.z[:, few] + 1.0)
    after = a.update(few, fresh, layer.t[:, few], layer.W, layer.V).copy()
    assert (after[:7] != before[:7, few]).any()
    z = layer.z.copy(order="F")
    z[:, few] = fresh
    np.testing.assert_allclose(a.block(few, z[:, few], layer.V), after, atol=1e-12)
    other_columns = [slice(0, 5), slice(5, 7), slice(11, 17), slice(17, 20)]
    for columns in other_columns:
        np.testing.assert_allclose(a.block(columns, z[:, columns], layer.V), before[:, columns], atol=1e-12)

    out = np.full((3, 20), 9.0, order="F")
    moved = z.copy(order="F")
    a.update_z(few, moved[:, few], layer.m[:, few], layer.newer, layer.V, 10.0, 1.0, out=out[:, few])
    assert (moved[:, few] != z[:, few]).any()
    assert (out[:, few] != 9.0).all()
    for columns in other_columns:
        np.testing.assert_array_equal(moved[:, columns], z[:, columns])
        assert (out[:, columns] == 9.0).all()
    for given_array, copy in ((layer.m, m), (layer.t, t), (layer.W, W)):
        np.testing.assert_array_equal(given_array, copy)


@functions
def test_products_and_element_wise_work_are_told_apart_where_they_are_apart(name):
    layer = Layer(name, 3, True)
    timed: list[str] = []

    class Clock:
        def phase(self, phase: str) -> AbstractContextManager[None]:
            timed.append(phase)
            return nullcontext()

    for kind, phases in ((Stored, ["elementwise", "product"]), (Narrow, ["elementwise"])):
        a = kind(Dense(layer.shape.k_next, 7), layer.h, layer.shape, Clock())
        for update in (layer.update, layer.update_z):
            timed.clear()
            update(a)
            assert timed == phases * len(layer.blocks())
