"""Rows of matrices divided over ranks: who has which, how much work the busiest has, gains by several ranks."""

from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import NoClock
from support.ranks import on_ranks

from admmctl.methods import gains as made_gains
from admmctl.methods.division import Work, solve_work
from admmctl.methods.gains import divided_gains, gain, gains_share
from admmctl.methods.layer_sums import LayerSums, solve_share
from admmctl.methods.least_squares import GramPair, RidgeFactor
from admmctl.methods.method import Diverged

matrices = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 5), st.floats(0.01, 10), st.sampled_from([0.0, 0.5, 30.0])),
    min_size=1,
    max_size=4,
)


def work_of(matrices):
    shapes = [(rows, columns) for rows, columns, _, _ in matrices]
    return Work(shapes, [each for _, _, each, _ in matrices], [once for _, _, _, once in matrices])


def loads(work, edges):
    """What every rank does."""
    found = []
    for low, high in pairwise(edges):
        first, load = 0, 0.0
        for (rows, _), each, once in zip(work.shapes, work.of_row, work.once, strict=True):
            own = max(min(high - first, rows), 0) - max(min(low - first, rows), 0)
            load += own * each + once * (own > 0)
            first += rows
        found.append(load)
    return found


@given(matrices=matrices, ranks=st.integers(1, 30))
def test_every_row_has_one_rank_and_pieces_lie_in_order(matrices, ranks):
    work = work_of(matrices)
    numbers = sum(rows * columns for rows, columns in work.shapes)

    class Comm:
        def __init__(self, rank):
            self.rank, self.size = rank, ranks

    parts = [work.divide(Comm(rank)) for rank in range(ranks)]
    vector = np.arange(numbers)
    assert [part.own.start for part in parts] == [sum(parts[0].counts[:rank]) for rank in range(ranks)]
    for rank, part in enumerate(parts):
        assert part.counts == parts[0].counts
        rows = [view[own].ravel() for view, own in zip(part.views(vector), part.rows, strict=True)]
        np.testing.assert_array_equal(np.concatenate(rows), vector[part.own])
        for i, having in enumerate(part.ranks):
            assert part.has(i) == (rank in having)
    assert sum(parts[0].counts) == numbers


@given(
    matrices=st.lists(
        st.tuples(st.integers(1, 4), st.just(1), st.floats(0.1, 5), st.sampled_from([0.0, 2.0])),
        min_size=1,
        max_size=3,
    ),
    ranks=st.integers(1, 4),
)
def test_the_busiest_rank_has_the_least_work_that_there_can_be(matrices, ranks):
    work = work_of(matrices)
    total = sum(rows for rows, _ in work.shapes)
    most, edges = work.cut(ranks)
    best = min(
        max(loads(work, (0, *inner, total)))
        for inner in combinations_with_replacement(range(total + 1), ranks - 1)
    )
    assert max(loads(work, edges)) == pytest.approx(best, rel=1e-9)
    assert most == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("ranks", [2, 3, 5, 60])
def test_rows_solved_by_several_ranks_are_those_of_one(ranks):
    generator = np.random.default_rng(ranks)
    shapes, rows = [(7, 5), (9, 8), (3, 10)], 40
    z = [generator.standard_normal((k, rows)) for k, _ in shapes]
    a = [generator.standard_normal((k, rows)) for _, k in shapes]

    def solve(comm):
        own = slice(comm.rank * rows // ranks, (comm.rank + 1) * rows // ranks)
        pairs = {l: GramPair(*shape, np.float64) for l, shape in enumerate(shapes, start=1)}
        sums = LayerSums(pairs, [0.0, 500.0, 500.0], comm)
        for l, pair in pairs.items():
            pair.add(z[l - 1][:, own], a[l - 1][:, own])
        sums.reduce()
        made = set()

        def rows_of(l, rows):
            made.add(l)
            return RidgeFactor(pairs[l].triangle, 1e-2).solve(pairs[l].cross[rows])

        W = np.empty(sum(k * k1 for k, k1 in shapes))
        sums.solve(rows_of, W)
        sums.gather(W)
        assert made == {l for l in pairs if sums.division.has(l - 1)}
        return W

    expected = np.concatenate(
        [
            (
                z_l
                @ a_l.T
                @ np.linalg.inv(a_l @ a_l.T + 1e-2 * np.trace(a_l @ a_l.T) / len(a_l) * np.eye(len(a_l)))
            ).ravel()
            for z_l, a_l in zip(z, a, strict=True)
        ]
    )
    for W in on_ranks(ranks, solve):
        np.testing.assert_allclose(W, expected, rtol=1e-8)


def test_what_one_rank_cannot_solve_is_divergence_on_all():
    def solve(comm):
        pairs = {1: GramPair(4, 3, np.float64)}
        sums = LayerSums(pairs, [0.0], comm)

        def rows_of(l, rows):
            if comm.rank == 1:
                raise Diverged("z a' is not finite")
            return np.zeros((rows.stop - rows.start, 3))

        W = np.empty(12)
        sums.solve(rows_of, W)
        with pytest.raises(Diverged) as stop:
            sums.gather(W)
        return str(stop.value)

    of_zero, of_one = on_ranks(2, solve)
    assert of_one == "z a' is not finite"
    assert "another rank" in of_zero


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_gains_by_several_ranks_are_those_of_one(ranks, dtype, monkeypatch):
    generator = np.random.default_rng(0)
    W = {
        1: generator.standard_normal((9, 6)),
        2: generator.standard_normal((4, 9)),
        3: generator.standard_normal((1, 4)),
    }
    W = {l: W_l.astype(dtype) for l, W_l in W.items()}
    ratios = {1: 0.3, 2: 2.0, 3: 0.1}
    monkeypatch.setattr(made_gains, "WORTH", 100.0)  # the last is made by every rank alone
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for V in on_ranks(ranks, lambda comm: divided_gains(W, ratios, dtype, comm, NoClock())):
        for l, V_l in V.items():
            assert V_l.dtype == dtype
            assert V_l.flags.f_contiguous
            A = W[l].astype(float)
            exact = A.T @ np.linalg.inv(ratios[l] * np.eye(len(A)) + A @ A.T)
            np.testing.assert_allclose(V_l, exact, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(V_l, gain(W[l], ratios[l], dtype), rtol=tolerance, atol=tolerance)


def test_a_singular_gain_is_divergence_on_all_ranks(monkeypatch):
    monkeypatch.setattr(made_gains, "WORTH", 0.0)

    def make(comm):
        with pytest.raises(Diverged):
            divided_gains({1: 1e12 * np.ones((3, 5))}, {1: 1e-9}, np.float64, comm, NoClock())

    on_ranks(3, make)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_what_several_ranks_send_is_at_most_the_gains_and_their_triangles_more(ranks):
    """Against one Allreduce of all sums, in whole buffers: an Allreduce moves a buffer twice, the others once."""
    shapes, gained = [(500, 785), (600, 501), (10, 601)], [(600, 500), (10, 600)]
    triangles = [0, 501 * 502 // 2, 601 * 602 // 2]
    work = solve_work(shapes, [0.0, 501**3 / 24, 601**3 / 24])
    before = 2 * 4 * (sum(k * k1 for k, k1 in shapes) + sum(triangles))
    messages = solve_share(work, triangles, ranks).messages
    now = sum(message.bytes * (2 if message.verb == "reduce" else 1) for message in messages)
    assert now <= before
    more = sum(message.bytes for message in gains_share(gained, 4, ranks).messages)
    sides = sum(4 * (min(shape) ** 2 / 2 + min(shape) ** 2 / 2 / ranks) for shape in gained[:1])
    assert more <= 4 * sum(k * k1 for k, k1 in gained) + 1.05 * sides
