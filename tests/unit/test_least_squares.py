"""Gram pairs, their reduction over ranks, and the ridge solve."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ranks import CountingComm, on_ranks

from admmctl.methods.gains import gain
from admmctl.methods.least_squares import GramPair, RidgeFactor, _tiles, reduce_pairs
from admmctl.methods.method import Diverged

types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def draw(seed, outputs, inputs, samples, dtype=np.float64):
    generator = np.random.default_rng(seed)
    shapes = ((outputs, samples), (inputs, samples))
    return (np.asfortranarray(generator.standard_normal(shape).astype(dtype)) for shape in shapes)


@types
@given(
    outputs=st.integers(1, 5),
    inputs=st.integers(1, 7),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    seed=st.integers(0, 1000),
)
def test_blocks_of_samples_sum_to_the_products(dtype, outputs, inputs, cuts, seed):
    z, a = draw(seed, outputs, inputs, 40, dtype)
    pair = GramPair(outputs, inputs, dtype)
    edges = [0, *sorted(cuts), 40]
    for low, high in pairwise(edges):
        pair.add(z[:, low:high], a[:, low:high])
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(pair.cross, z.astype(float) @ a.astype(float).T, atol=tolerance)
    np.testing.assert_allclose(pair.gram, a.astype(float) @ a.astype(float).T, atol=tolerance)
    pair.clear()
    assert not pair.cross.any()
    assert not pair.triangle.any()


# Several tiles: k of more than 64, and of more than 192, a multiple of 16 or not.
LARGE = pytest.mark.parametrize("inputs", [65, 70, 192, 200, 400])


def test_tiles_cover_the_lower_triangle_once():
    for k in range(1, 901):
        tiles = _tiles(k)
        edges = sorted({(rows.start, rows.stop) for rows, _ in tiles})
        # Consecutive ranges make up 0..k, and the tiles are all pairs of them that are not above the diagonal.
        assert [0, *(stop for _, stop in edges)] == [*(start for start, _ in edges), k]
        pairs = [((rows.start, rows.stop), (columns.start, columns.stop)) for rows, columns in tiles]
        assert sorted(pairs) == [(row, column) for row in edges for column in edges if column <= row]


def test_tiles_have_the_sides_that_multiply_fast():
    for k in range(1, 901):
        sides = [rows.stop - rows.start for rows, columns in _tiles(k) if rows == columns]
        assert len(sides) == (1 if k <= 64 else max(2, -(-k // 192)))
        assert all(side % 16 == 0 for side in sides[:-1])
        assert max(sides) <= 192


@types
@LARGE
def test_several_tiles_sum_to_the_products_on_one_rank_and_on_three(dtype, inputs):
    z, a = draw(inputs, 3, inputs, 60, dtype)
    cuts = [slice(0, 7), slice(7, 40), slice(40, 60)]

    def pair(parts: list[slice]) -> GramPair:
        made = GramPair(3, inputs, dtype)
        for part in parts:
            made.add(z[:, part], a[:, part])
        return made

    def rank(comm):
        mine = pair([cuts[comm.rank]])
        mine.reduce(comm)
        assert comm.lengths == [inputs * (inputs + 1) // 2 + 3 * inputs]
        return mine

    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for made in (pair(cuts), *on_ranks(3, rank)):
        np.testing.assert_allclose(made.cross, z.astype(float) @ a.astype(float).T, atol=tolerance)
        gram = a.astype(float) @ a.astype(float).T
        np.testing.assert_allclose(made.gram, gram, atol=tolerance)
        np.testing.assert_allclose(np.tril(made.triangle), np.tril(gram), atol=tolerance)
        # What is solved is the lower triangle, whatever stands above it.
        W = RidgeFactor(made.triangle, 1e-2).solve(made.cross)
        np.testing.assert_allclose(W, RidgeFactor(gram, 1e-2).solve(z @ a.T), atol=10 * tolerance)


@types
@pytest.mark.parametrize("inputs", [4, 70])
def test_a_fixed_pair_keeps_its_gram_and_sends_the_rest(dtype, inputs):
    z, a = draw(0, 2, inputs, 30, dtype)
    pair = GramPair(2, inputs, dtype)
    pair.add(z, a)
    pair.fix()
    gram, triangle = pair.gram, pair.triangle.copy()
    pair.clear()
    assert not pair.cross.any()
    pair.add(2 * z, a + 1)
    np.testing.assert_allclose(pair.cross, 2 * z @ (a + 1).T, rtol=1e-4)
    comm, cross = CountingComm(), pair.cross.copy()
    pair.reduce(comm)
    assert comm.lengths == [2 * inputs]
    np.testing.assert_array_equal(pair.cross, cross)
    np.testing.assert_array_equal(pair.gram, gram)
    np.testing.assert_array_equal(pair.triangle, triangle)


@types
@pytest.mark.parametrize("fixed", [None, 0, 1, 2])
def test_several_pairs_are_reduced_in_one_allreduce(dtype, fixed):
    shapes = [(3, 5), (1, 70), (4, 2)]
    data = [tuple(draw(seed, *shape, 30, dtype)) for seed, shape in enumerate(shapes)]
    grams = [a.astype(float) @ a.astype(float).T for _, a in data]

    def rank(comm):
        part = slice(10 * comm.rank, 10 * comm.rank + 10)
        pairs = [GramPair(*shape, dtype) for shape in shapes]
        if fixed is not None:  # already known, of all samples
            pairs[fixed].triangle[...] = grams[fixed]
            pairs[fixed].fix()
        for pair, (z, a) in zip(pairs, data, strict=True):
            pair.add(z[:, part], a[:, part])
        reduce_pairs(pairs, comm)
        sums = [k * k_next + (k * (k + 1) // 2) * (i != fixed) for i, (k_next, k) in enumerate(shapes)]
        assert comm.lengths == [sum(sums)]
        return pairs

    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for pairs in on_ranks(3, rank):
        for pair, (z, a), gram in zip(pairs, data, grams, strict=True):
            np.testing.assert_allclose(pair.cross, z.astype(float) @ a.astype(float).T, atol=tolerance)
            np.testing.assert_allclose(pair.gram, gram, atol=tolerance)


@given(
    outputs=st.integers(1, 4),
    inputs=st.integers(1, 6),
    ridge=st.sampled_from([0.0, 1e-8, 1e-2, 1.0]),
    seed=st.integers(0, 1000),
)
def test_ridge_solution_is_the_least_squares_solution(outputs, inputs, ridge, seed):
    z, a = draw(seed, outputs, inputs, 30)
    gram = a @ a.T
    factor = RidgeFactor(gram, ridge)
    W = factor.solve(z @ a.T)
    assert factor.ridge == ridge
    added = ridge * np.trace(gram) / inputs
    scale = np.abs(gram).max()
    np.testing.assert_allclose(W @ (gram + added * np.eye(inputs)), z @ a.T, atol=1e-12 * scale)
    # min ||z - W a||^2 + added ||W||^2 as one plain least-squares problem: sqrt(added) I below a, 0 below z.
    augmented = np.hstack([a, np.sqrt(added) * np.eye(inputs)])
    padded = np.hstack([z, np.zeros((outputs, inputs))])
    brute = np.linalg.lstsq(augmented.T, padded.T, rcond=None)[0].T
    np.testing.assert_allclose(W, brute, atol=1e-9)


def test_a_dead_input_gets_no_weight():
    z, a = draw(0, 2, 4, 30)
    a[1] = 0.0
    W = RidgeFactor(a @ a.T, 1e-2).solve(z @ a.T)
    assert (W[:, 1] == 0).all()
    assert np.isfinite(W).all()


def test_inputs_that_are_all_zero_give_zero_weights():
    assert not RidgeFactor(np.zeros((3, 3)), 0.0).solve(np.zeros((2, 3))).any()


@types
def test_solution_has_the_type_of_the_cross_product(dtype):
    z, a = draw(0, 2, 3, 30, dtype)
    W = RidgeFactor(a @ a.T, 1e-2).solve(z @ a.T)
    assert W.dtype == dtype
    assert W.shape == (2, 3)
    assert W.flags.c_contiguous


@pytest.mark.parametrize("asked", [0.0, 1e-12])
def test_the_ridge_is_raised_where_rounding_made_the_matrix_indefinite(asked):
    # Thirty copies of few directions, summed in float32: no positive definite matrix any more.
    generator = np.random.default_rng(0)
    a = (generator.standard_normal((30, 3)) @ generator.standard_normal((3, 200))).astype(np.float32)
    z = generator.standard_normal((2, 200)).astype(np.float32)
    gram, cross = a @ a.T, z @ a.T
    assert np.linalg.eigvalsh(gram.astype(float)).min() < 0
    factor = RidgeFactor(gram, asked)
    assert asked < factor.ridge < 1e-3
    W = factor.solve(cross)
    added = factor.ridge * np.trace(gram.astype(float)) / 30
    matrix = gram.astype(float) + added * np.eye(30)
    assert np.linalg.eigvalsh(matrix).min() > 0
    residual = W.astype(float) @ matrix - cross
    assert np.abs(residual).max() <= 1e-5 * np.abs(W).max() * np.abs(matrix).max()
    # What one rank decides every rank decides, from the same numbers.
    assert RidgeFactor(gram.copy(), asked).ridge == factor.ridge


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_end_the_run(bad):
    gram = np.eye(3)
    gram[1, 2] = gram[2, 1] = bad
    with pytest.raises(Diverged):
        RidgeFactor(gram, 1e-2)
    with pytest.raises(Diverged):
        gain(gram, 1.0)
    cross = np.ones((2, 3))
    cross[0, 0] = bad
    with pytest.raises(Diverged):
        RidgeFactor(np.eye(3), 1e-2).solve(cross)


@types
@given(
    outputs=st.integers(1, 6),
    units=st.integers(1, 6),
    ratio=st.sampled_from([1e-2, 1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_the_gain_is_the_minimum_on_either_side(dtype, outputs, units, ratio, seed):
    generator = np.random.default_rng(seed)
    W = generator.standard_normal((outputs, units)).astype(dtype)
    before = W.copy()
    V = gain(W, ratio, dtype)
    assert V.dtype == dtype
    assert V.shape == (units, outputs)
    assert V.flags.f_contiguous
    wide = W.astype(float)
    expected = wide.T @ np.linalg.inv(ratio * np.eye(outputs) + wide @ wide.T)
    np.testing.assert_allclose(V, expected, atol=1e-10 if dtype == np.float64 else 1e-3)
    np.testing.assert_array_equal(W, before)


def test_a_gain_that_float32_cannot_give_is_computed_in_float64():
    column = np.ones((40, 1), np.float32)
    W = 1e4 * (column @ column.T + 1e-3 * np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32))
    wide = W.astype(float)
    expected = wide.T @ np.linalg.inv(1e-3 * np.eye(40) + wide @ wide.T)
    V = gain(W, 1e-3, np.float32)
    assert np.linalg.norm(V @ wide - expected @ wide) < 1e-3 * np.linalg.norm(expected @ wide)
