"""Before convex ADMM iterates: its patterns, what it costs, and which solver it takes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.convex import convex, rows, trained
from support.problems import Array
from support.ranks import CountingComm, on_ranks

from admmctl.errors import UserError
from admmctl.methods.convex.choose import SHARE, choose, solvers
from admmctl.methods.convex.patterns import sample
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import Size
from admmctl.model.network import Network

ITERATIVE = ["convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"]

# -- patterns


def drawn(n: int = 50, d: int = 4, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((n, d))


@given(seed=st.integers(0, 500), n=st.integers(1, 30), d=st.integers(1, 4), asked=st.integers(1, 30))
def test_patterns_are_distinct_not_empty_and_those_of_their_vectors(seed, n, d, asked):
    X = drawn(n, d, seed)
    found = sample(X, asked, seed, CountingComm())
    assert 1 <= found.count <= asked == found.asked
    assert found.H.shape == (d, found.count)
    np.testing.assert_array_equal(found.D, X @ found.H >= 0)
    assert found.D.any(axis=0).all()
    assert len({column.tobytes() for column in found.D.T.copy()}) == found.count
    assert (found.note == "") == (found.count == asked)


def test_patterns_depend_on_the_seed_alone():
    X = drawn()
    first, same, other = (sample(X, 20, seed, CountingComm()) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.H, same.H)
    assert not np.isin(other.H, first.H).any()
    assert first.count == 20
    # More of them begin with some of the fewer, and vectors are normal.
    assert abs(first.H.mean()) < 0.3
    assert 0.7 < first.H.std() < 1.3


@pytest.mark.parametrize("asked", [1, 50])
def test_where_all_patterns_differ_vectors_are_drawn_independently(asked):
    # As in the paper: d x P independent standard normal numbers, none left out.
    X = drawn(500, 30)
    found = sample(X, asked, 7, CountingComm())
    np.testing.assert_array_equal(found.H, np.random.default_rng([7, 0x9A77]).standard_normal((30, asked)))
    assert found.note == ""


def test_a_line_has_two_patterns_and_a_plane_twice_its_rows():
    line = sample(drawn(30, 1), 50, 0, CountingComm())
    assert line.count == 2
    assert "50 asked for, and only 2" in line.note
    # All rows on one side: one of the two lets none through.
    assert sample(np.abs(drawn(30, 1)), 50, 0, CountingComm()).count == 1
    # n lines through 0 cut the plane into 2 n parts, one of which may let no row through.
    X = np.array([[np.cos(t), np.sin(t)] for t in np.linspace(0, np.pi, 7)[:-1] + 0.1])
    plane = sample(X, 40, 0, CountingComm())
    assert plane.count == 11
    assert sample(X, 8, 0, CountingComm()).count == 8


def test_rows_that_let_nothing_through_are_refused():
    with pytest.raises(UserError, match="patterns"):
        sample(np.full((3, 2), np.nan), 4, 0, CountingComm())


@pytest.mark.parametrize("cuts", [[0, 7, 50], [0, 1, 29, 50]])
@pytest.mark.parametrize(("d", "asked"), [(4, 20), (2, 200)])
def test_patterns_are_those_of_all_rows(cuts, d, asked):
    X = drawn(50, d)
    X[:7] = np.abs(X[:7])  # of these rows alone, few differ
    whole = sample(X, asked, 0, CountingComm())
    parts = on_ranks(len(cuts) - 1, lambda comm: sample(X[cuts[comm.rank] : cuts[comm.rank + 1]], asked, 0, comm))
    for part in parts:
        np.testing.assert_array_equal(part.H, whole.H)
    np.testing.assert_array_equal(np.vstack([part.D for part in parts]), whole.D)


# -- ranks and costs


@pytest.mark.parametrize("solver", ["exact", "cholesky"])
def test_direct_solvers_refuse_several_ranks(solver):
    network = rows().network
    with pytest.raises(
        UserError, match=rf"solver: {solver} runs on one rank; use --cores 1, or solver: block-pcg"
    ):
        convex(solver=solver).check_size(network, 30, 2, None)
    convex(solver=solver).check_size(network, 30, 1, None)
    for name in ITERATIVE:
        convex(solver=name).check_size(network, 30, 3, None)
        assert solvers.load(name).ranks is None
    with pytest.raises(UserError, match="runs on one rank"):
        on_ranks(2, lambda comm: convex(solver=solver).init(rows(comm=comm)))


class Pair(CountingComm):
    """Says that it is one of two ranks, and sums nothing: what is sent is counted."""

    size = 2


@pytest.mark.parametrize("solver", ITERATIVE)
@pytest.mark.parametrize("outputs", [1, 3])
def test_cost_counts_what_is_sent(solver, outputs):
    comm = Pair()
    method = convex(solver=solver, dtype="float32", inner_iterations=2, inner_tolerance=0)
    p = rows(outputs=outputs, comm=comm, dtype=np.float32)
    s = method.init(p)
    comm.lengths.clear()
    method.step(s)
    cost = method.cost(p.network, 15, 30)
    assert cost.rows == 30
    sent = tuple(message.bytes for message in cost.messages)
    assert sent[0] == 4 * 4 * 10 * outputs == 4 * max(comm.lengths)  # one as large as u
    if solver == "rbcd":  # a gradient and two numbers for every block of two passes: five patterns are one
        assert sent == (4 * 4 * 10 * outputs, *(4 * 4 * 10 * outputs, 16) * 2)
        assert [4 * n for n in comm.lengths if n > 2][:3] == [sent[0]] * 3
    assert cost.flop is None
    if solver == "convex-cg":
        assert tuple(4 * length for length in comm.lengths) == sent


def test_cost_of_exact_is_known():
    p = rows()
    cost = convex().cost(p.network, 30, 30)
    assert cost.flop is not None
    assert cost.flop > 0
    assert cost.state_bytes > 30 * 4 * 8
    twice = convex().cost(p.network, 60, 60)
    assert cost.state_bytes < twice.state_bytes < 5 * cost.state_bytes
    assert convex().cost(p.network, 0, 30).state_bytes > 0
    # What the solver needs counts.
    for name in solvers:
        method = convex(solver=name)
        needed = solvers.load(name).bytes(method._size(p.network, 300, 1), method.settings)
        assert method.cost(p.network, 300, 300).state_bytes > needed + 8 * 300 * (4 + 5 + 3 * 10)


# -- which solver


def wide(n: int, d: int, P: int, ranks: int = 1, C: int = 1) -> Size:
    return Size(n, d, P, C, 4, ranks)


@pytest.mark.parametrize(
    ("size", "free", "expected"),
    [
        (wide(10_000, 4, 5), None, "cholesky"),
        (wide(1_000, 300, 50), None, "exact"),
        (wide(1_000, 300, 50), 1_500_000, "convex-cg"),
        (wide(100_000, 300, 50), 10**10, "block-pcg"),
        (wide(1_000, 300, 50, ranks=2), None, "block-pcg"),
        (wide(10_000, 4, 5, ranks=3), None, "block-pcg"),
        (wide(1_000, 300, 50), 1, "convex-cg"),
    ],
)
def test_auto_chooses_by_size_ranks_and_memory(size, free, expected):
    settings = ConvexAdmmSettings()
    name, why = choose(size, settings, free)
    assert name == expected
    assert f"{size.n:,} rows" in why
    assert f"{size.P:,} patterns" in why
    if free == 1:
        assert "nothing else fits" in why
    else:
        assert f"on {size.ranks} rank" in why
    if free not in (None, 1) and expected != "convex-cg":
        assert solvers.load(name).bytes(size, settings) <= SHARE * free
    # A fifth of the memory is left to others.
    needed = solvers.load("exact").bytes(wide(1_000, 300, 50), settings)
    assert choose(wide(1_000, 300, 50), settings, int(needed / SHARE) + 1)[0] == "exact"
    assert choose(wide(1_000, 300, 50), settings, int(needed / SHARE) - 2)[0] == "block-pcg"


@pytest.mark.parametrize("free", [None, 10])
def test_auto_costs_what_it_takes_as_soon_as_it_is_settled(free):
    p, method = rows(samples=200), convex(solver="auto")
    least = method.cost(p.network, 200, 200)
    assert least == convex(solver="convex-cg").cost(p.network, 200, 200)
    method.settle(p.network, 200, 1, free)
    (name, _) = choose(method._size(p.network, 200, 1), method.settings, free)
    assert method.cost(p.network, 200, 200) == convex(solver=name).cost(p.network, 200, 200)
    assert (name == "convex-cg") == (free is not None)
    # And that is the one it takes, whatever is free then.
    state = method.init(p)
    assert isinstance(state.solver, solvers.load(name))
    assert any(name in note for note in method.notes(state))


def test_auto_says_what_it_chose():
    method, s = trained(rows(samples=200), 1, solver="auto")
    assert [
        note
        for note in method.notes(s)
        if note.startswith("solver: cholesky, 0.0 GB (200 rows, 4 inputs, 5 patterns")
    ]
    assert type(s.solver).__name__ == "Cholesky"
    p = replace(rows(), memory=1)
    method, s = trained(p, 1, solver="auto")
    assert [note for note in method.notes(s) if note.startswith("solver: convex-cg, ")]
    assert type(s.solver).__name__ == "ConjugateGradients"
    for method, s in on_ranks(2, lambda comm: trained(rows(comm=comm, samples=40), 0, solver="auto")):
        assert [note for note in method.notes(s) if "on 2 ranks" in note]
        assert type(s.solver).__name__ == "Block"
    assert convex(solver="auto").check_size(p.network, 30, 2, 1) is None


def test_a_solver_without_room_is_refused_with_one_that_has():
    # 10,000 images of 3,072 inputs: 4 GB do not hold A, and hold S.
    network = Network.build(3072, [100], 1, "relu", False)
    method = convex(solver="cholesky", patterns=50, dtype="float32")
    with pytest.raises(UserError) as refusal:
        method.check_size(network, 10_000, 1, 4 * 10**9)
    message = str(refusal.value)
    needed = solvers.load("cholesky").bytes(wide(10_000, 3072, 50), method.settings)
    assert (
        f"solver: cholesky needs {needed / 1e9:,.1f} GB for 10,000 rows, 3,072 inputs and 50 patterns" in message
    )
    assert "4.0 GB are free; solver: exact needs" in message
    method.check_size(network, 10_000, 1, needed)
    method.check_size(network, 10_000, 1, None)
    with pytest.raises(UserError, match="solver: block-pcg needs"):
        convex(solver="exact", dtype="float32").check_size(network, 1_000_000, 1, 4 * 10**9)
    # float64 needs twice as much; several ranks share what is free; the bias and the outputs count.
    size = convex(patterns=7)._size(Network.build(9, [2 * 3 * 7], 3, "relu", True), 100, 2)
    assert size == Size(100, 10, 7, 3, 8, 2)
    convex(solver="exact", dtype="float32").check_size(network, 20_000, 1, 25 * 10**8)
    with pytest.raises(UserError):
        convex(solver="exact", dtype="float64").check_size(network, 20_000, 1, 25 * 10**8)
    least = solvers.load("block-pcg").bytes(wide(10_000, 3072, 50, ranks=4), method.settings)
    block = convex(solver="block-pcg", dtype="float32")
    block.check_size(network, 10_000, 4, 4 * least)
    with pytest.raises(UserError, match="solver: convex-cg needs"):
        block.check_size(network, 10_000, 4, 4 * least - 4)
    # Where nothing fits no other solver is offered.
    with pytest.raises(UserError, match="fewer patterns") as refusal:
        convex(solver="convex-cg").check_size(network, 10_000, 1, 1000)
    assert str(refusal.value).count("solver: convex-cg") == 1
