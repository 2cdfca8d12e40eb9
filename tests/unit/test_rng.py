"""Random numbers by seed and row: the same however rows are spread, and normal where they should be."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.rng import normal_rows, normals, uniform_rows, uniforms


def one_uniform(seed, stream, start, rows, count):
    """One number a row, as ``uniform_rows`` has several."""
    return uniforms(seed, stream, start, start + rows)[:, None]


draws = pytest.mark.parametrize("draw", [normal_rows, uniform_rows])


@pytest.mark.parametrize("draw", [normal_rows, uniform_rows, one_uniform])
@given(
    seed=st.integers(0, 2**40),
    start=st.integers(0, 10**12),
    rows=st.integers(1, 30),
    count=st.integers(1, 20),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
def test_rows_are_the_same_for_any_split(draw, seed, start, rows, count, cuts):
    whole = draw(seed, "z1", start, rows, count)
    assert whole.shape == (rows, 1 if draw is one_uniform else count)
    edges = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    parts = [draw(seed, "z1", start + low, high - low, count) for low, high in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@draws
def test_rows_streams_and_seeds_differ(draw):
    same = draw(0, "z1", 0, 50, 4)
    for other in (draw(1, "z1", 0, 50, 4), draw(0, "z2", 0, 50, 4), draw(0, "z1", 50, 50, 4)):
        assert not np.isin(other, same).any()
    assert len(np.unique(same)) == same.size


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_normals_have_the_moments_of_a_normal(count):
    x = normal_rows(3, "a1", 1000, 160_000 // count, count).astype(np.float64)
    assert x.size > 150_000
    n = x.size
    # Five standard errors of each moment: mean, variance, skewness, kurtosis.
    assert abs(x.mean()) < 5 / np.sqrt(n)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((x**3).mean()) < 5 * np.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / n)
    for level, share in ((1.0, 0.317311), (2.0, 0.0455003), (3.0, 0.0026998)):
        assert abs((np.abs(x) > level).mean() - share) < 5 * np.sqrt(share / n)
    if count > 1:
        correlations = np.corrcoef(x.T) - np.eye(count)
        assert np.abs(correlations).max() < 5 / np.sqrt(len(x))


def test_uniforms_are_in_the_unit_interval_and_even():
    u = uniform_rows(0, "swissroll", 0, 50_000, 3)
    assert (u >= 0).all()
    assert (u < 1).all()
    assert np.abs(u.mean(axis=0) - 0.5).max() < 5 / np.sqrt(12 * len(u))
    counts, _ = np.histogram(u, bins=20, range=(0, 1))
    assert np.abs(counts - u.size / 20).max() < 5 * np.sqrt(u.size / 20)


def test_normals_fill_any_shape():
    matrix = normals(5, "W1", (6, 9))
    assert matrix.shape == (6, 9)
    assert matrix.dtype == np.float32
    assert np.isfinite(matrix).all()
    np.testing.assert_array_equal(matrix, normal_rows(5, "W1", 0, 6, 9))
    assert normals(5, "b1", (4,)).shape == (4,)
