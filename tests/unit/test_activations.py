"""The z-updates are global minima: against brute force, comparing costs (several z may cost the same)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import Array, shared, smallest_cost

from admmctl import kernels
from admmctl.model.activations import Dcutlu, activation
from admmctl.model.lookup import TOLERANCE as TABLE_TOLERANCE

PLAIN = {"relu": kernels._z_relu_plain, "hard-sigmoid": lambda *given: kernels._z_cut_plain(*given, 0.0, 1.0)}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11}

UNITS = 8
EVERY = [*PLAIN, "tanh", "sigmoid", "cosine"]
every = pytest.mark.parametrize("name", EVERY)
kinds = pytest.mark.parametrize("name", PLAIN)
paths = pytest.mark.parametrize("path", ["compiled", "plain"])
types = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# The kinks, both ends of the flat pieces and equal values must turn up, not only numbers in general position.
entries = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0]), st.floats(-20, 20, width=32, allow_subnormal=False)
)
pairs = st.lists(
    st.one_of(st.tuples(entries, entries), entries.map(lambda value: (value, value))), min_size=1, max_size=12
)
penalties = st.sampled_from([0.125, 0.5, 1.0, 3.0, 10.0, 100.0])


def h(name: str, z: Array) -> Array:
    return np.maximum(z, 0) if name == "relu" else np.minimum(np.maximum(z, 0), 1)


def cost(name: str, z: Array, a: Array, m: Array, gamma: float, beta: float) -> Array:
    """gamma (a - h(z))^2 + beta (z - m)^2, in float64."""
    z, a, m = (np.asarray(value, dtype=np.float64) for value in (z, a, m))
    return gamma * (a - h(name, z)) ** 2 + beta * (z - m) ** 2


def update(name: str, path: str, z: Array, a: Array, m: Array, gamma: float = 10.0, beta: float = 1.0) -> None:
    """The activation's own path, or the plain NumPy path."""
    if path == "compiled":
        shared(name).z_update(z, a, m, gamma, beta)
    else:
        PLAIN[name](z.T, a.T, m.T, gamma, beta)


def z_update(name: str, path: str, a: Array, m: Array, gamma: float, beta: float) -> Array:
    """Of one row of units, with the row of ones below it."""
    z = np.full_like(m[None], np.nan)
    update(name, path, z, np.stack([a, np.ones_like(a)]), m[None], gamma, beta)
    return z[0]


@kinds
@paths
@types
@given(values=pairs, gamma=penalties, beta=penalties)
def test_no_z_is_cheaper(name, path, dtype, values, gamma, beta):
    a, m = np.array(values, dtype=dtype).T.copy()
    z = z_update(name, path, a, m, gamma, beta)
    a, m = a.astype(np.float64), m.astype(np.float64)
    points = np.stack([a, m, np.zeros_like(a), np.ones_like(a), (gamma * a + beta * m) / (gamma + beta)])
    best = smallest_cost(lambda grid: cost(name, grid, a, m, gamma, beta), points)
    scale = 1.0 + gamma * a**2 + beta * m**2
    assert z.dtype == dtype
    assert (cost(name, z, a, m, gamma, beta) <= best + TOLERANCE[dtype] * scale).all()


@paths
def test_a_tie_is_one_of_both_minima(path):
    # gamma = 3, beta = 1, a = 1, m = -1: both z = 1/2 and z = -1 cost 3.
    (z,) = z_update("relu", path, np.array([1.0]), np.array([-1.0]), 3.0, 1.0)
    assert z in (0.5, -1.0)
    assert cost("relu", z, 1.0, -1.0, 3.0, 1.0) == 3.0


@kinds
@given(values=st.lists(entries, min_size=1, max_size=12))
def test_value_is_h(name, values):
    z = np.array(values)
    out = np.empty_like(z)
    assert shared(name).value(z, out=out) is out
    np.testing.assert_array_equal(out, h(name, z))


# -- of every activation, tabulated ones too


@pytest.mark.parametrize(
    ("name", "path"), [*((name, "compiled") for name in EVERY), *((name, "plain") for name in PLAIN)]
)
@types
@pytest.mark.parametrize("place", ["a", "m", "both"])
@pytest.mark.parametrize("other", [-2.0, 0.0, 0.4, 3.0])
def test_what_is_not_finite_stays_so_and_spoils_no_other(name, path, dtype, place, other):
    # A cut unit may have a finite answer to an infinite argument.
    for wrong in (np.nan,) if name in PLAIN else (np.nan, np.inf, -np.inf):
        a, m = (np.full((UNITS, 3), other, dtype, order="F") for _ in range(2))
        for x in {"a": [a], "m": [m], "both": [a, m]}[place]:
            x[2, 1] = wrong
        z = np.zeros_like(m)
        update(name, path, z, a, m)
        assert not np.isfinite(z[2, 1])
        assert np.isfinite(np.delete(z.ravel(order="F"), UNITS + 2)).all()


@every
def test_a_z_that_satisfies_both_constraints_stays(name):
    m = np.asfortranarray(np.tile([-3.0, -0.2, 0.0, 0.25, 1.0, 2.5], (UNITS, 1)))
    made, z = shared(name), np.empty_like(m)
    made.z_update(z, made.value(m, out=np.empty_like(m)), m, 10.0, 1.0)
    np.testing.assert_allclose(z, m, rtol=0, atol=1e-15 if name in PLAIN else TABLE_TOLERANCE)


@every
def test_a_block_of_columns_is_updated_and_nothing_else(name):
    generator = np.random.default_rng(0)
    samples, block = 20, slice(7, 13)
    a = np.asfortranarray(generator.uniform(-0.4, 0.4, (UNITS + 1, samples)))
    z, m = (np.asfortranarray(generator.standard_normal((UNITS, samples))) for _ in range(2))
    given = z, a, m
    before = [x.copy() for x in given]
    whole = z.copy(order="F")
    shared(name).z_update(z[:, block], a[:, block], m[:, block], 10.0, 1.0)
    shared(name).z_update(whole, a, m, 10.0, 1.0)
    assert (z[:, block] != before[0][:, block]).all()
    before[0][:, block] = whole[:, block]
    for x, expected in zip(given, before, strict=True):
        np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("text", ["dcutlu(1, 1)", "dcutlu(2, 1)", "dcutlu(nan, 1)", "dcutlu(0, inf)", "dcutlu(0"])
def test_cuts_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match=r"dcutlu|expected"):
        activation(text)


def test_an_activation_with_its_numbers():
    made = activation("dcutlu(-1, 2.5)")
    assert isinstance(made, Dcutlu)
    assert made.cuts == (-1.0, 2.5)
    np.testing.assert_array_equal(made.value(np.array([-3.0, 0.0, 4.0]), out=np.empty(3)), [-1, 0, 2.5])
    assert activation("dcutlu").cuts == (0.0, 1.0)
