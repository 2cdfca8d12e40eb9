"""The tabulated z-updates of tanh, sigmoid and cosine: near the minimiser everywhere, beyond the table too."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import problem, shared

from admmctl import kernels, table_kernels
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.settings import AdmmSettings
from admmctl.model.activations import activations
from admmctl.model.lookup import TOLERANCE, Table, minimiser

PERIODS = {"tanh": 0.0, "cosine": 2 * math.pi}
RATIOS = (0.01, 0.3, 1.0, 4.0, 10.0, 60.0)
CURVES = {0.0: np.tanh, 2 * math.pi: np.cos}
kinds = pytest.mark.parametrize("name", ["tanh", "sigmoid", "cosine"])
periods = pytest.mark.parametrize("period", PERIODS.values(), ids=PERIODS)
paths = pytest.mark.parametrize("path", ["compiled", "plain"])
UNITS = 8

numbers = st.one_of(st.sampled_from([0.0, 1.0, -1.0, math.pi, -math.pi, 2 * math.pi]), st.floats(-12, 12))
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8)


def h(name, z):
    return {
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "cosine": lambda z: math.sqrt(2 / UNITS) * np.cos(z),
    }[name](z)


def cost(f, r, a, m, z):
    return r * (a - f(z)) ** 2 + (z - m) ** 2


def least(f, r, a, m):
    """The smallest cost by brute force: a fine grid, and a finer one around its best point; twice."""
    half = math.sqrt(r) * (np.abs(a) + 1.5) + 1e-3  # farther away, the distance alone costs more than staying
    centre = m.copy()
    for _ in range(4):
        grid = centre + half * np.linspace(-1, 1, 4001)[:, None]
        centre = np.take_along_axis(grid, np.argmin(cost(f, r, a, m, grid), axis=0)[None], axis=0)[0]
        half = half / 1000
    return cost(f, r, a, m, centre)


def searched(path, r, period, a, m):
    if path == "compiled":
        return minimiser(r, period, a, m)
    out = np.empty_like(m)
    table_kernels._search_plain(a, m, r, period, out)
    return out


@periods
@paths
@given(values=points, r=st.sampled_from(RATIOS))
def test_the_minimiser_is_the_best_of_all_minima(period, path, values, r):
    a, m = np.array(values).T.copy()
    z = searched(path, r, period, a, m)
    f = CURVES[period]
    assert (cost(f, r, a, m, z) <= least(f, r, a, m) + 1e-9 * (1 + r * a**2 + m**2)).all()


@periods
@pytest.mark.parametrize("r", RATIOS)
def test_the_table_is_within_its_tolerance_everywhere(period, r):
    # Also where the solution jumps from one valley to another. There two z cost the same, and either will do.
    rng = np.random.default_rng(0)
    table = Table(r, period)
    farthest = np.array([1.2 * table.reach, 14])[:, None, None]
    a, m = (np.asfortranarray(x, np.float32) for x in rng.uniform(-farthest, farthest, (2, 20, 20_000)))
    z = np.full_like(m, np.nan)
    table.z_update(z, a, m, 1.0, 0.0, 1.0)
    a, m = a.astype(float), m.astype(float)
    exact = minimiser(r, period, a.ravel(), m.ravel()).reshape(a.shape)
    far = np.abs(z - exact) > TOLERANCE
    excess = cost(CURVES[period], r, a, m, z.astype(float)) - cost(CURVES[period], r, a, m, exact)
    assert (excess[far] < 1e-5 * (1 + r)).all()
    assert far.mean() < 1e-4
    assert np.median(np.abs(z - exact)) < TOLERANCE / 20
    assert table.left_out < 0.02


@kinds
@given(values=points, gamma=st.sampled_from([0.5, 10.0]), beta=st.sampled_from([0.25, 1.0]))
def test_the_z_update_of_an_activation_is_near_the_cheapest_z(name, values, gamma, beta):
    a, m = np.array(values).T.copy()
    a, m = np.tile(a, (UNITS, 1)), np.tile(m, (UNITS, 1))
    z = np.full_like(m, np.nan, order="F")
    activation = shared(name)
    activation.z_update(
        z, np.asfortranarray(np.vstack([a, np.ones_like(a[:1])])), np.asfortranarray(m), gamma, beta
    )
    f, r = partial(h, name), gamma / beta
    best = least(f, r, a[0], m[0])
    # Within the tolerance of a minimiser: no slope there, and at most a curvature of 1 + 3 r (|a| + 1).
    off = (2 * TOLERANCE) ** 2 * (1 + 3 * r * (np.abs(a[0]) + 1))
    assert (cost(f, r, a[0], m[0], z[0]) <= best + off).all()
    assert (z == z[0]).all()


def test_a_far_away_m_stays_and_one_that_is_worth_the_way_moves():
    z, m = np.empty((1, 4)), np.array([[200.0, -200.0, 20.0, 1e6]])
    shared("tanh").z_update(z, np.array([[1.0, -1.0, 0.5, -1.5]]), m, 10.0, 1.0)
    np.testing.assert_allclose(z, m, rtol=1e-6)
    # Three units to go for a gap of 2, twice: 9 against 4 r. For r = 1 it stays, for r = 10 it crosses over.
    a, m = np.array([[-1.0]]), np.array([[2.0]])
    shared("tanh").z_update(z[:, :1], a, m, 0.5, 1.0)
    assert z[0, 0] > 1.5
    shared("tanh").z_update(z[:, :1], a, m, 10.0, 1.0)
    assert z[0, 0] < 0


def test_a_cosine_moves_to_the_nearest_of_its_many_solutions():
    # All z with cos z = 1/2 satisfy the constraint; the one near m is the cheapest, many turns away from zero.
    height = math.sqrt(2 / UNITS)
    turns = 2 * math.pi * np.arange(-3, 4)
    m = np.asfortranarray(np.tile(turns + 1.2, (UNITS, 1)))
    z = np.empty_like(m)
    shared("cosine").z_update(z, np.full_like(m, height / 2), m, 1e4, 1e-1)
    np.testing.assert_allclose(z, np.tile(turns + math.pi / 3, (UNITS, 1)), atol=TOLERANCE)


@periods
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_and_plain_read_the_same(period, dtype):
    if not kernels.COMPILED:
        pytest.skip("numba is not here: there is one path only")
    rng = np.random.default_rng(1)
    table = Table(10.0, period)
    a, m = (rng.normal(0, 2, (50, 7)).astype(dtype) for _ in range(2))
    compiled, plain = np.empty_like(m), np.empty_like(m)
    stretch = np.array([2.0, -1.0, 0.5])
    given = (a, m, table.cells, stretch, table.r, table.reach, table._per)
    (table_kernels.read_cosine if period else table_kernels.read_tanh)(compiled, *given)
    table_kernels._read_plain(plain, *given, period)
    np.testing.assert_allclose(compiled, plain, atol=3e-4)


def test_a_table_is_built_once_per_ratio_and_says_what_it_is():
    tanh = activations.load("tanh")()
    assert tanh.table(10.0, 1.0, 5) is tanh.table(20.0, 2.0, 9)
    assert tanh.table(10.0, 1.0, 5) is not tanh.table(5.0, 1.0, 5)
    cosine = activations.load("cosine")()
    assert cosine.table(10.0, 1.0, 5) is not cosine.table(10.0, 1.0, 9)
    text = str(tanh.table(10.0, 1.0, 5))
    assert "a table of 256 x 252 solutions for gamma/beta = 10, 1.0 MB, built in" in text


@kinds
@pytest.mark.parametrize("hidden", [[30], [30, 20]])
def test_admm_trains_with_it(name, hidden):
    # Labels by the sign of x1 x2: no linear model gets more than half of them right.
    rng = np.random.default_rng(0)
    p = problem(hidden, samples=1500, dtype=np.float32, activation=name)
    p.a0[:-1] = 2 * rng.uniform(-1, 1, p.a0[:-1].shape)
    p.y[...] = p.a0[0] * p.a0[1] > 0
    method = Admm(AdmmSettings(ridge=1e-3, multipliers="none"))
    s = method.init(p)
    objectives = []
    for _ in range(60):
        s = method.step(s)
        objectives.append(method.residuals(s)["objective"])
    # Descent, but for the table's tolerance.
    assert np.diff(objectives).max() < 1e-3 * objectives[0]
    z = p.network.forward(method.weights(s), p.a0)
    assert ((z > 0.5) == (p.y > 0.5)).mean() > 0.8
    notes = method.notes(s)
    assert len(notes) == len(hidden)
    assert notes[0].startswith("z_1 comes from a table of")
