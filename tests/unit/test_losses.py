"""Losses: their values, and output updates that are global minima at every piece and kink."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import Array, smallest_cost

from admmctl.model.losses import losses

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11}

kinds = pytest.mark.parametrize("name", ["squared", "signed-squared", "hinge"])
types = pytest.mark.parametrize("dtype", [np.float32, np.float64])

betas = st.sampled_from([0.125, 0.5, 1.0, 4.0, 100.0])
near = st.floats(-5, 5, width=32, allow_subnormal=False)
samples = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(st.sampled_from([0.0, 1.0, 0.5, -0.5, 1.5, 2.0, -1.0]), near),  # m
        st.one_of(st.sampled_from([0.0, 1.0, -1.0]), near),  # lam
    ),
    min_size=1,
    max_size=12,
)


def entry_loss(name: str, z: Array, y: Array) -> Array:
    if name == "squared":
        return (z - y) ** 2
    if name == "signed-squared":
        return (z - np.where(y == 1, 1, -1)) ** 2 / 2
    return np.where(y == 1, np.maximum(1 - z, 0), np.maximum(z, 0))


@kinds
@types
@given(values=samples, beta=betas)
def test_no_output_is_cheaper(name, dtype, values, beta):
    y, m, lam = (row[None, :].copy() for row in np.array(values, dtype=dtype).T)
    z = losses.load(name)().z_update(y, m, lam, beta)
    assert z.dtype == dtype
    assert z.shape == m.shape
    y, m, lam, z = (value.astype(np.float64)[0] for value in (y, m, lam, z))

    def cost(z: Array) -> Array:
        return entry_loss(name, z, y) + lam * z + beta * (z - m) ** 2

    flat = m - lam / (2 * beta)
    points = np.stack([y, 2 * y - 1, m, flat, flat - 1 / (2 * beta), flat + 1 / (2 * beta)])
    scale = 1.0 + np.abs(lam * m) + lam**2 / beta + beta * m**2
    assert (cost(z) <= smallest_cost(cost, points) + TOLERANCE[dtype] * scale).all()


@pytest.mark.parametrize(
    ("y", "m", "expected"),
    [
        (1, 0.0, 0.5),  # the slope pulls up by 1 / (2 beta)
        (1, 0.5, 1.0),  # and reaches the kink exactly
        (1, 0.75, 1.0),  # at the kink both pieces push back: most public code gets this one wrong
        (1, 1.0, 1.0),
        (1, 1.25, 1.25),  # beyond it nothing pulls
        (0, 1.0, 0.5),
        (0, 0.5, 0.0),
        (0, 0.25, 0.0),
        (0, 0.0, 0.0),
        (0, -0.25, -0.25),
    ],
)
def test_hinge_output_on_every_piece(y, m, expected):
    arrays = (np.array([[value]], dtype=np.float64) for value in (y, m, 0.0))
    assert losses.load("hinge")().z_update(*arrays, 1.0) == expected


@kinds
@given(values=samples)
def test_value_is_the_sum_over_entries(name, values):
    y, z, _ = (row[None, :].copy() for row in np.array(values, dtype=np.float64).T)
    assert losses.load(name)().value(z, y) == pytest.approx(entry_loss(name, z, y).sum(), rel=1e-12)


@kinds
@pytest.mark.parametrize("y", [0.0, 1.0])
@pytest.mark.parametrize("place", ["m", "lam"])
def test_nan_in_gives_nan_out(name, y, place):
    m, lam = (np.array([[np.nan if place == which else 0.5]]) for which in ("m", "lam"))
    assert np.isnan(losses.load(name)().z_update(np.array([[y]]), m, lam, 1.0)).all()


@types
@given(
    labels=st.lists(st.booleans(), min_size=1, max_size=8),
    beta=betas,
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_the_exact_step_keeps_hinge_multipliers_in_their_interval(dtype, labels, beta, seed, spread):
    # After lam <- lam + 2 beta (z - m), lam is minus a slope of the loss at z: 0..1 where y = 1, -1..0 where 0.
    hinge = losses.load("hinge")()
    generator = np.random.default_rng(seed)
    y = np.array([labels], dtype=dtype)
    lam = np.zeros_like(y)
    for _ in range(10):
        m = (spread * generator.standard_normal(y.shape)).astype(dtype)
        z = hinge.z_update(y, m, lam, beta)
        lam = lam + 2 * beta * (z - m)
        rounding = 8 * np.finfo(dtype).eps * (1 + 2 * beta * np.abs(m))
        assert (lam >= np.where(y == 1, 0, -1) - rounding).all()
        assert (lam <= np.where(y == 1, 1, 0) + rounding).all()
        assert (np.abs(np.where(y == 1, z < 1, z > 0) * (lam - (2 * y - 1))) <= rounding).all()
