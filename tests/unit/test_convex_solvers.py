"""Solvers of the convex method's primal update: A, its parts and its solutions against dense algebra."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.convex_systems import (
    DIRECT,
    ITERATIVE,
    apart,
    dense,
    dense_F,
    dense_G,
    every,
    made,
    normal,
    outputs,
    solver_of,
    vectors,
)
from support.traced import traced

from admmctl.methods.convex.choose import solvers
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import (
    Block,
    Size,
    explicit,
    from_vectors,
    gram,
    inverse_gram,
    to_vectors,
)
from admmctl.methods.method import Diverged

# -- the operators


@outputs
@pytest.mark.parametrize("rho", [0.01, 0.3, 7.0])
def test_A_is_the_dense_matrix(C, rho):
    system = made(C=C, rho=rho)
    U = normal(system, 2 * C * system.P)
    expected = dense(system) @ vectors(system, U)
    np.testing.assert_allclose(vectors(system, system.A(U)), expected, rtol=1e-11, atol=1e-10)
    np.testing.assert_allclose(vectors(system, system.H(U) + U), expected, rtol=1e-11, atol=1e-10)


@outputs
@given(seed=st.integers(0, 1000), n=st.integers(1, 12), d=st.integers(1, 4), P=st.integers(1, 5))
def test_F_and_G_are_the_dense_matrices_and_their_transposes(C, seed, n, d, P):
    system = made(n=n, d=d, P=P, C=C, seed=seed)
    F, G = dense_F(system), dense_G(system)
    U, r, S = (
        np.random.default_rng(seed + 1).standard_normal(shape)
        for shape in ((d, 2 * C * P), (n, C), (n, 2 * C * P))
    )
    np.testing.assert_allclose(system.F(U), F @ vectors(system, U), atol=1e-12)
    np.testing.assert_allclose(vectors(system, system.Ft(r)), F.T @ r, atol=1e-12)
    np.testing.assert_allclose(vectors(system, system.G(U)), G @ vectors(system, U), atol=1e-12)
    np.testing.assert_allclose(vectors(system, system.Gt(S)), G.T @ vectors(system, S), atol=1e-12)
    # Adjoint, without any dense matrix.
    assert np.vdot(system.F(U), r) == pytest.approx(np.vdot(U, system.Ft(r)), abs=1e-10)
    assert np.vdot(system.G(U), S) == pytest.approx(np.vdot(U, system.Gt(S)), abs=1e-10)


def test_H_takes_any_multiple_of_all_blocks():
    system = made(C=2)
    U = normal(system, 5 * 2 * system.P)
    expected = (dense(system) - np.eye(2 * system.P * system.d)) @ vectors(system, U)
    np.testing.assert_allclose(vectors(system, system.H(U)), expected, atol=1e-10)


@outputs
def test_vectors_are_ordered_as_the_explicit_matrix_is(C):
    system = made(C=C)
    U = normal(system, 2 * C * system.P)
    long = to_vectors(system, U)
    np.testing.assert_array_equal(long, vectors(system, U))
    np.testing.assert_array_equal(from_vectors(system, long), U)
    np.testing.assert_allclose(explicit(system), dense(system), atol=1e-10)
    np.testing.assert_allclose(explicit(system) @ long, to_vectors(system, system.A(U)), atol=1e-10)


# -- solutions


@outputs
@every
def test_every_solver_solves(solver, C):
    system = made(C=C)
    b = normal(system, 2 * C * system.P)
    u, steps = solver_of(solver, system).solve(b, system.zeros())
    assert u.shape == b.shape
    assert steps >= 1
    assert apart(system, u, b) < (1e-12 if solver in DIRECT else 1e-6)


@every
def test_a_solver_starts_from_any_point(solver):
    system = made()
    b, start = normal(system, 2 * system.P), 5 * normal(system, 2 * system.P, seed=2)
    before = start.copy(), b.copy()
    u, _ = solver_of(solver, system).solve(b, start)
    assert apart(system, u, b) < (1e-12 if solver in DIRECT else 1e-6)
    np.testing.assert_array_equal(start, before[0])
    np.testing.assert_array_equal(b, before[1])


@outputs
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-4), ("float64", 1e-9)])
@pytest.mark.parametrize("n", [30, 511, 512, 600, 1100])  # the matrix of samples is made in panels of 512
@pytest.mark.parametrize("solver", list(DIRECT))
def test_direct_solvers_with_any_number_of_rows(solver, n, dtype, limit, C):
    system = made(n=n, d=3, P=4, C=C, dtype=dtype, scale=0.1)
    b = normal(system, 2 * C * system.P)
    u, steps = solver_of(solver, system).solve(b, system.zeros())
    assert u.dtype == dtype
    assert steps == 1
    assert apart(system, u, b) < limit


@every
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_solver_follows_rho(solver, factor):
    system = made()
    b = normal(system, 2 * system.P)
    made_before = solver_of(solver, system)
    system.rho *= factor
    made_before.new_rho()
    u, _ = made_before.solve(b, system.zeros())
    assert apart(system, u, b) < (1e-12 if solver in DIRECT else 1e-6)


@pytest.mark.parametrize("solver", ["convex-cg", "jacobi-pcg", "nystrom-pcg of rank 15", "block-pcg"])
def test_a_preconditioner_after_rho_has_changed_is_that_of_the_new_one(solver):
    system = made()
    b = normal(system, 2 * system.P)
    old = solver_of(solver, system)
    system.rho /= 50
    old.new_rho()
    new = solver_of(solver, system)
    r = normal(system, 2 * system.P, seed=9)
    np.testing.assert_allclose(old.precondition(r), new.precondition(r), atol=1e-10)
    assert old.solve(b, system.zeros())[1] == new.solve(b, system.zeros())[1]


# A sketch of its own rank is all of a matrix as small as this one: nothing takes fewer steps.
@pytest.mark.parametrize("solver", [name for name in ITERATIVE if "own rank" not in name])
def test_a_start_near_the_solution_takes_fewer_steps(solver):
    system = made()
    b = normal(system, 2 * system.P)
    solution = from_vectors(system, np.linalg.solve(dense(system), to_vectors(system, b)))
    near = solution + 1e-6 * normal(system, 2 * system.P, seed=3)
    cold = solver_of(solver, system).solve(b, system.zeros())[1]
    warm = solver_of(solver, system).solve(b, near)[1]
    assert 1 <= warm < cold
    # From the solution itself there is nothing to do, but for the pass with which rbcd finds that out.
    assert solver_of(solver, system).solve(b, solution)[1] <= (6 if "rbcd" in solver else 0)


@pytest.mark.parametrize("solver", ["convex-cg", "jacobi-pcg", "nystrom-pcg of rank 15", "block-pcg"])
def test_steps_end_at_the_tolerance_or_at_their_number(solver):
    system = made()
    b = normal(system, 2 * system.P)
    short = solver_of(solver, system, inner_tolerance=1e-12, inner_iterations=3)
    assert short.solve(b, system.zeros())[1] == 3
    u, steps = solver_of(solver, system, inner_tolerance=1e-2).solve(b, system.zeros())
    assert 1e-5 < apart(system, u, b) <= 1e-2
    assert steps < solver_of(solver, system).solve(b, system.zeros())[1]


def test_without_a_number_cg_takes_ten_steps_and_rbcd_two_passes():
    system = made()
    b = normal(system, 2 * system.P)
    for name, expected in (("convex-cg", 10), ("rbcd", 2 * system.P)):
        fresh = ConvexAdmmSettings(solver=name, inner_tolerance=0, block=1)
        assert solvers.load(name)(system, fresh, 0).solve(b, system.zeros())[1] == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["convex-cg", "nystrom-pcg of its own rank", "jacobi-pcg", "block-pcg"])
def test_conjugate_gradients_may_go_on_for_as_long_as_they_like(solver, dtype):
    # With tolerance 0 residuals fall until they vanish.
    system = made(dtype=dtype)
    b = normal(system, 2 * system.P)
    u, _ = solver_of(solver, system, inner_tolerance=0, inner_iterations=3000).solve(b, system.zeros())
    assert apart(system, u, b) < 1e-4


# -- preconditioners


@pytest.mark.parametrize("rho", [0.05, 2.0])
@outputs
def test_jacobi_has_the_diagonal_of_A(C, rho):
    system = made(C=C, rho=rho)
    A = dense(system).diagonal()[:, None]
    r = normal(system, 2 * C * system.P)
    solver = solver_of("jacobi-pcg", system)
    np.testing.assert_allclose(to_vectors(system, solver.precondition(r)), to_vectors(system, r) / A, rtol=1e-12)


@outputs
def test_the_block_preconditioner_is_the_inverse_of_all_but_the_coupling(C):
    system = made(C=C)
    X = system.X
    B = np.kron(np.eye(2 * system.P), np.eye(system.d) + X.T @ X)
    np.testing.assert_allclose(B + dense_F(system).T @ dense_F(system) / system.rho, dense(system), atol=1e-10)
    r = normal(system, 2 * C * system.P)
    expected = np.linalg.solve(B, to_vectors(system, r))
    np.testing.assert_allclose(to_vectors(system, Block.precondition(solver_of("block-pcg", system), r)), expected)
    np.testing.assert_allclose(gram(system) @ inverse_gram(system), np.eye(system.d), atol=1e-12)


# -- memory, and what goes wrong


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("solver", ["convex-cg", "jacobi-pcg", "nystrom-pcg of rank 15", "block-pcg"])
def test_conjugate_gradients_of_what_is_not_finite_end_the_run(solver, bad):
    system = made()
    b = normal(system, 2 * system.P)
    b[1, 2] = bad
    with np.errstate(invalid="ignore"), pytest.raises(Diverged, match="the residual of the primal update"):
        solver_of(solver, system).solve(b, system.zeros())


def test_exact_never_holds_a_matrix_of_all_unknowns():
    # A would have (2 d P)^2 entries, 1.15 GB; the rows of X, D and S are 60.
    n, d, P = 60, 60, 100
    with traced() as memory:
        system = made(n=n, d=d, P=P)
        b = normal(system, 2 * P)
        solver = solver_of("exact", system)
        u, _ = solver.solve(b, system.zeros())
    assert np.linalg.norm(system.A(u) - b) < 1e-10 * np.linalg.norm(b)
    assert memory.peak < 8e6 < 0.01 * 8 * (2 * d * P) ** 2


@pytest.mark.parametrize(
    ("name", "more"), [*((name, {}) for name in solvers), ("rbcd", {"precondition": "nystrom"})]
)
def test_the_memory_that_a_solver_says_it_needs_is_what_it_takes(name, more):
    n, d, P = {"cholesky": (50, 10, 20), "exact": (1200, 20, 10)}.get(name, (400, 100, 50))
    settings = ConvexAdmmSettings(solver=name, rank=60, dtype="float64", inner_iterations=2, **more)
    system = made(n=n, d=d, P=P, scale=0.05)
    b, start = normal(system, 2 * P), system.zeros()
    with traced() as memory:
        solvers.load(name)(system, settings, 0).solve(b, start)
    # What a product with A holds is there for every solver, and counted with the rows of the method.
    rows = 6 * 8 * n * 2 * P
    counted = solvers.load(name).bytes(Size(n, d, P, 1, 8), settings)
    assert memory.peak < 1.3 * counted + rows
    assert counted < 4 * memory.peak


def test_preconditioners_of_rbcd_were_true_and_false_and_runs_keep_their_names():
    for value, name, recorded in (
        (True, "block", True),
        (False, "none", False),
        ("block", "block", True),
        ("none", "none", False),
        ("nystrom", "nystrom", "nystrom"),
    ):
        settings = ConvexAdmmSettings(precondition=value)
        assert settings.precondition == name
        assert settings.plain()["precondition"] == recorded
        assert ConvexAdmmSettings(**settings.plain()) == settings
    assert ConvexAdmmSettings().plain()["precondition"] is True
    for wrong in ("exact", 1, 0, None):
        with pytest.raises(ValidationError, match="'none', 'block' or 'nystrom'"):
            ConvexAdmmSettings(precondition=wrong)


def test_sizes_count_one_output_s_unknowns_and_every_output_s_numbers():
    size = Size(1000, 20, 30, 3, 4)
    assert size.unknowns == 1200
    assert size.bytes_of_u == 4 * 1200 * 3
    settings = SimpleNamespace(backend="numpy")
    # 10,000 images, 3,072 inputs, 50 patterns: the paper's 90 GiB of A, and half a gigabyte of ours.
    paper = Size(10_000, 3072, 50, 1, 4)
    assert 4 * paper.unknowns**2 > 90 * 2**30
    assert solvers.load("cholesky").bytes(paper, settings) > 3 * 90 * 2**30
    assert 0.4e9 < solvers.load("exact").bytes(paper, settings) < 1.2e9


@pytest.mark.parametrize("solver", ["convex-cg", "jacobi-pcg", "nystrom-pcg of rank 15", "block-pcg"])
def test_from_zero_the_iteration_before_does_not_count(solver):
    system = made()
    b, start = normal(system, 2 * system.P), normal(system, 2 * system.P, seed=2)
    few = {"inner_iterations": 2, "inner_tolerance": 0.0}
    ends = [
        solver_of(solver, system, inner_start=where, **few).solve(b, u)[0]
        for where, u in (("zero", start), ("zero", system.zeros()), ("before", system.zeros()), ("before", start))
    ]
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_allclose(ends[0], ends[2], rtol=1e-10)
    assert np.abs(ends[0] - ends[3]).max() > 1e-3


@pytest.mark.parametrize("block", [1, 4])
def test_blocks_of_rbcd_are_a_shuffle_of_all_or_each_drawn_by_itself(block):
    P = 10
    system = made(P=P)

    def passes(order: str) -> np.ndarray:
        """How often every pattern is visited, in each of many passes."""
        solver = solver_of("rbcd", system, block=block, order=order)
        blocks = [solver._blocks(P, block) for _ in range(400)]
        assert all(len(set(chosen.tolist())) == len(chosen) <= block for found in blocks for chosen in found)
        assert {len(found) for found in blocks} == {-(-P // block)}
        return np.array([np.bincount(np.concatenate(found), minlength=P) for found in blocks])

    assert (passes("shuffled") == 1).all()
    drawn = passes("independent")
    assert (drawn.max(axis=1) > 1).mean() > 0.9
    expected = block * -(-P // block) / P
    assert np.abs(drawn.mean(axis=0) - expected).max() < 0.25


def test_rbcd_solves_with_blocks_drawn_independently_too():
    system = made()
    b = normal(system, 2 * system.P)
    changes = {"block": 1, "order": "independent", "inner_iterations": 1000, "inner_tolerance": 1e-9}
    u, _ = solver_of("rbcd", system, **changes).solve(b, system.zeros())
    assert apart(system, u, b) < 1e-6
