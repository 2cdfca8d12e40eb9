"""Solvers of the convex method's primal update: A, its parts and its solutions against dense algebra."""

import itertools
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import Array
from support.ranks import CountingComm

from admmctl.methods.convex import nystrom
from admmctl.methods.convex.backend import backend
from admmctl.methods.convex.choose import solvers
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import (
    Block,
    ConjugateGradients,
    Size,
    diagonal,
    explicit,
    from_vectors,
    gram,
    inverse_gram,
    to_vectors,
)
from admmctl.methods.convex.system import System

# Enough steps, and a tolerance that lets them be made.
LONG = {"inner_tolerance": 1e-9, "inner_iterations": 400}
DIRECT = {"cholesky": {"solver": "cholesky"}, "exact": {"solver": "exact"}}
ITERATIVE = {
    "convex-cg": {"solver": "convex-cg", **LONG},
    "jacobi-pcg": {"solver": "jacobi-pcg", **LONG},
    "nystrom-pcg of rank 15": {"solver": "nystrom-pcg", "rank": 15, **LONG},
    "nystrom-pcg of its own rank": {"solver": "nystrom-pcg", "rank": "auto", **LONG},
    "block-pcg": {"solver": "block-pcg", **LONG},
    **{
        f"rbcd, {block} at once, {search}{', preconditioned' * precondition}": {
            "solver": "rbcd",
            "block": block,
            "precondition": precondition,
            "line_search": search,
            # Gradients alone take the condition of B with them.
            "inner_iterations": 1000,
            "inner_tolerance": 1e-9,
        }
        for block, precondition, search in itertools.product((1, 5), (True, False), ("exact", "backtracking"))
    },
}
ALL = {**DIRECT, **ITERATIVE}
every = pytest.mark.parametrize("solver", list(ALL))
outputs = pytest.mark.parametrize("C", [1, 3])


def made(n=40, d=4, P=6, C=1, rho=0.3, dtype="float64", seed=0, scale=0.5) -> System:
    """Normal rows and the patterns of normal vectors: ``scale`` of the rows decides how far A is from I."""
    generator = np.random.default_rng(seed)
    X = scale * generator.standard_normal((n, d))
    D = X @ generator.standard_normal((d, P)) >= 0
    y = np.sign(generator.standard_normal((n, C)))
    return System(X, D, y, rho, backend("numpy", "cpu", dtype), CountingComm())


def solver_of(name: str, system: System, seed: int = 3, **changes):
    """One of ``ALL``, or one by its own name and nothing but ``changes``."""
    settings = ConvexAdmmSettings(**{**ALL.get(name, {"solver": name}), **changes}, dtype=system.X.dtype.name)
    return solvers.load(settings.solver)(system, settings, seed)


def normal(system: System, columns: int, seed: int = 1) -> Array:
    drawn = np.random.default_rng(seed).standard_normal((system.d, columns))
    return system.backend.array(drawn)


def apart(system: System, u: Array, b: Array) -> float:
    """||A u - b|| / ||b||, with the A of ``dense``."""
    A, u, b = dense(system), vectors(system, u), vectors(system, b)
    return float(np.linalg.norm(A @ u - b) / np.linalg.norm(b))


def dense_F(system: System) -> Array:
    """F of one output, (n, 2 P d): row by row, pattern by pattern."""
    X, D = system.X.astype(np.float64), system.D
    F = np.zeros((system.n, 2, system.P, system.d))
    for j in range(system.n):
        for i in range(system.P):
            if D[j, i] == 1:
                F[j, 0, i] = X[j]
                F[j, 1, i] = -X[j]
    return F.reshape(system.n, -1)


def dense_G(system: System) -> Array:
    """G of one output, (2 P n, 2 P d): (2 D_i - I) X of every block."""
    X, D = system.X.astype(np.float64), system.D
    G = np.zeros((2, system.P, system.n, 2, system.P, system.d))
    for sign in (0, 1):
        for i in range(system.P):
            for j in range(system.n):
                G[sign, i, j, sign, i] = X[j] if D[j, i] == 1 else -X[j]
    return G.reshape(2 * system.P * system.n, -1)


def dense(system: System) -> Array:
    F, G = dense_F(system), dense_G(system)
    return np.eye(F.shape[1]) + F.T @ F / system.rho + G.T @ G


def vectors(system: System, U: Array) -> Array:
    """Columns by sign, output and pattern as one long column for each output, by loops."""
    P, rows = system.P, len(U)
    C = U.shape[1] // (2 * P)
    long = np.empty((2, P, rows, C))
    for sign, c, i in itertools.product((0, 1), range(C), range(P)):
        long[sign, i, :, c] = U[:, (sign * C + c) * P + i]
    return long.reshape(-1, C)


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
    np.testing.assert_allclose(to_vectors(system, diagonal(system)), np.tile(A, (1, C)), rtol=1e-12)
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


def test_conjugate_gradients_without_a_preconditioner_leave_residuals_alone():
    system = made()
    r = normal(system, 2 * system.P)
    solver = solver_of("convex-cg", system)
    assert type(solver) is ConjugateGradients
    np.testing.assert_array_equal(solver.precondition(r), r)


def inverse_of(system: System, solver) -> Array:
    """M^-1 as a matrix, column by column."""
    columns = []
    for one in np.eye(2 * system.P * system.d):
        columns.append(to_vectors(system, solver.precondition(from_vectors(system, one[:, None]))))
    return np.hstack(columns)


def condition(system: System, inverse: Array) -> float:
    eigenvalues = np.linalg.eigvals(inverse @ dense(system)).real
    return eigenvalues.max() / eigenvalues.min()


@pytest.mark.parametrize("rank", [5, 20, 47])
def test_a_sketch_is_orthonormal_and_below_H(rank):
    system = made()
    H = dense(system) - np.eye(48)
    found = nystrom.sketch(system, rank, 0)
    assert (found.rank, found.U.shape, found.eigenvalues.shape) == (rank, (48, rank), (rank,))
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(rank), atol=1e-10)
    assert (np.diff(found.eigenvalues) <= 0).all()
    assert (found.eigenvalues >= 0).all()
    # A Nystrom approximation is never above what it approximates.
    rest = H - found.U * found.eigenvalues @ found.U.T
    assert np.linalg.eigvalsh(rest).min() > -1e-9 * np.linalg.norm(H)


def test_a_sketch_of_full_rank_is_H():
    system = made()
    H = dense(system) - np.eye(48)
    found = nystrom.sketch(system, 48, 0)
    np.testing.assert_allclose(found.U * found.eigenvalues @ found.U.T, H, atol=1e-9 * np.linalg.norm(H))
    # More than there are unknowns is as many.
    solver = solver_of("nystrom-pcg", system, 0, rank=1000)
    assert solver.sketch.rank == 48
    # And M is then A, but for the factor of its smallest eigenvalue.
    smallest = solver.sketch.eigenvalues[-1] + 1
    np.testing.assert_allclose(inverse_of(system, solver) @ dense(system), smallest * np.eye(48), atol=1e-7)


def test_the_preconditioner_of_a_sketch_is_as_in_the_paper():
    system = made()
    solver = solver_of("nystrom-pcg of rank 15", system)
    U, eigenvalues = solver.sketch.U, solver.sketch.eigenvalues
    expected = (eigenvalues[-1] + 1) * (U / (eigenvalues + 1)) @ U.T + np.eye(48) - U @ U.T
    np.testing.assert_allclose(inverse_of(system, solver), expected, atol=1e-10)


def test_preconditioners_improve_the_condition():
    # Rows with few strong directions: the eigenvalues of A fall.
    system = made(n=60, scale=np.array([6.0, 1.0, 0.1, 0.03]))
    plain = condition(system, np.eye(48))
    sketched = [
        condition(system, inverse_of(system, solver_of("nystrom-pcg", system, 0, rank=rank)))
        for rank in (5, 20, 40)
    ]
    assert plain > sketched[0] > 2 * sketched[1] > 4 * sketched[2]
    assert condition(system, inverse_of(system, solver_of("block-pcg", system))) < plain / 10
    assert condition(system, inverse_of(system, solver_of("jacobi-pcg", system))) < plain / 10


@pytest.mark.parametrize("rank", [5, 15, 30])
def test_the_error_of_a_sketch_is_estimated(rank):
    system = made()
    found = nystrom.sketch(system, rank, 0)
    rest = dense(system) - np.eye(48) - found.U * found.eigenvalues @ found.U.T
    true = np.linalg.norm(rest, 2)
    assert 0.5 * true < nystrom.missed(system, found, 0, powers=10)[0] <= true * (1 + 1e-9)


def test_a_rank_of_its_own_grows_where_eigenvalues_fall():
    falling = made(n=40, d=12, P=4, scale=20.0 ** -np.linspace(-1.5, 2, 12))
    flat = made(n=60, d=20, P=3, scale=1.0)
    small = made(n=40, d=12, P=4, scale=0.01)
    ranks = {
        name: nystrom.adaptive_sketch(system, 0).rank
        for name, system in (("falling", falling), ("flat", flat), ("small", small))
    }
    # Nothing to gain: as small as it can be. Nothing gained by doubling: two are enough.
    assert ranks["small"] == nystrom.FIRST_RANK
    assert ranks["flat"] == 2 * nystrom.FIRST_RANK
    assert ranks["falling"] > 2 * nystrom.FIRST_RANK
    left, _ = nystrom.missed(falling, nystrom.adaptive_sketch(falling, 0), 0)
    assert left <= nystrom.GOOD
    # Never more than there are unknowns.
    assert nystrom.adaptive_sketch(made(n=8, d=1, P=3, scale=30.0), 0).rank == 6


# -- block coordinate descent


def blocks_of(u: Array, P: int, i: int) -> tuple[Array, Array]:
    return u[:, i], u[:, P + i]


def test_the_prediction_that_is_printed_drifts_and_ours_does_not():
    # One block after another by exact line search, y^ renewed as printed and as it should be.
    system = made()
    X, D, P = system.X, system.D, system.P
    b = normal(system, 2 * P)
    u = 0.1 * normal(system, 2 * P, seed=4)
    ours, printed = system.F(u)[:, 0], system.F(u)[:, 0]
    for i in np.random.default_rng(0).permutation(P):
        gradient = system.A(u) - b
        g = np.zeros_like(u)
        g[:, [i, P + i]] = gradient[:, [i, P + i]]
        before = blocks_of(u.copy(), P, i)
        u = u - np.vdot(g, g) / np.vdot(g, system.A(g)) * g
        after = blocks_of(u, P, i)
        F_i = D[:, i, None] * X
        ours = ours + F_i @ ((after[0] - before[0]) - (after[1] - before[1]))
        printed = printed + F_i @ ((after[0] - after[1]) - (before[0] + before[1]))
        np.testing.assert_allclose(ours, system.F(u)[:, 0], atol=1e-12)
    assert np.linalg.norm(printed - system.F(u)[:, 0]) > 0.1 * np.linalg.norm(printed)


class Watched:
    """What rbcd sees at every step: the prediction that it holds, and the direction that it goes."""

    def __init__(self, solver) -> None:
        self.predictions, self.steps, self.directions = [], [], []
        gradient, step, ahead = solver._gradient, solver._step, solver._ahead

        def watched_gradient(X, D, T, r, chosen, rho):
            self.predictions.append(np.array(r))
            return gradient(X, D, T, r, chosen, rho)

        def watched_ahead(X, D, p, chosen):
            self.directions.append(np.array(p))
            return ahead(X, D, p, chosen)

        def watched_step(slope, curvature):
            self.steps.append((step(slope, curvature), slope, curvature))
            return self.steps[-1][0]

        solver._gradient, solver._step, solver._ahead = watched_gradient, watched_step, watched_ahead


@outputs
@pytest.mark.parametrize("block", [1, 4, 5, 99])
@pytest.mark.parametrize("search", ["exact", "backtracking"])
@pytest.mark.parametrize("precondition", [True, False])
def test_every_step_of_rbcd_lowers_the_cost_and_keeps_the_prediction(C, block, search, precondition):
    system = made(C=C)
    P = system.P
    b, u = normal(system, 2 * C * P), normal(system, 2 * C * P, seed=5)
    options = {"block": block, "line_search": search, "precondition": precondition}
    solver = solver_of("rbcd", system, 11, inner_iterations=3, inner_tolerance=0, **options)
    watched = Watched(solver)
    end, steps = solver.solve(b, u)
    per_pass = -(-P // min(block, P))
    assert steps == 3 * per_pass == len(watched.steps)

    # The same steps again, on the whole of u.
    order = np.random.default_rng([11, 0xBCD])
    cost = lambda u: np.vdot(u, system.A(u)) / 2 - np.vdot(u, b)  # noqa: E731
    taken = 0
    for _ in range(3):
        patterns = order.permutation(P)
        for low in range(0, P, min(block, P)):
            chosen = patterns[low : low + min(block, P)]
            places = (np.arange(2 * C)[:, None] * P + chosen).ravel()
            np.testing.assert_allclose(watched.predictions[taken], system.F(u), atol=1e-10)
            step, slope, _ = watched.steps[taken]
            p = np.zeros_like(u)
            p[:, places] = watched.directions[taken]
            gradient = system.A(u) - b
            expected = gradient[:, places]
            if precondition:
                expected = np.linalg.solve(np.eye(system.d) + system.X.T @ system.X, expected)
            np.testing.assert_allclose(watched.directions[taken], expected, atol=1e-9)
            if search == "exact":
                assert step == pytest.approx(np.vdot(gradient, p) / np.vdot(p, system.A(p)))
            else:
                # By halves, to the first that lowers the cost enough.
                assert np.log2(step) == round(np.log2(step)) <= 0
            fall = cost(u) - cost(u - step * p)
            assert fall >= step * slope / 4 * (1 - 1e-9) > 0
            if step < 1 and search == "backtracking":
                assert cost(u) - cost(u - 2 * step * p) < 2 * step * slope / 4
            u = u - step * p
            taken += 1
    np.testing.assert_allclose(end, u, atol=1e-10)


def test_rbcd_at_the_solution_stays_there():
    # All gradients are zero: no direction has a curvature, and no line is searched.
    system = made()
    for search in ("exact", "backtracking"):
        u, _ = solver_of("rbcd", system, line_search=search).solve(system.zeros(), system.zeros())
        assert not u.any()


def test_rbcd_visits_blocks_in_another_order_every_time_and_the_same_for_a_seed():
    system = made()
    b = normal(system, 2 * system.P)
    one, same, other = (solver_of("rbcd", system, seed, block=1) for seed in (0, 0, 1))
    first = one.solve(b, system.zeros())[0]
    np.testing.assert_array_equal(first, same.solve(b, system.zeros())[0])
    assert np.abs(first - other.solve(b, system.zeros())[0]).max() > 1e-6
    assert np.abs(first - one.solve(b, system.zeros())[0]).max() > 1e-6


# -- memory, and what goes wrong


def test_exact_never_holds_a_matrix_of_all_unknowns():
    # A would have (2 d P)^2 entries, 1.15 GB; the rows of X, D and S are 60.
    n, d, P = 60, 60, 100
    tracemalloc.start()
    try:
        system = made(n=n, d=d, P=P)
        b = normal(system, 2 * P)
        solver = solver_of("exact", system)
        u, _ = solver.solve(b, system.zeros())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.linalg.norm(system.A(u) - b) < 1e-10 * np.linalg.norm(b)
    assert peak < 8e6 < 0.01 * 8 * (2 * d * P) ** 2


@pytest.mark.parametrize("name", list(solvers))
def test_the_memory_that_a_solver_says_it_needs_is_what_it_takes(name):
    n, d, P = {"cholesky": (50, 10, 20), "exact": (1200, 20, 10)}.get(name, (400, 100, 50))
    settings = ConvexAdmmSettings(solver=name, rank=60, dtype="float64", inner_iterations=2)
    system = made(n=n, d=d, P=P, scale=0.05)
    b, start = normal(system, 2 * P), system.zeros()
    tracemalloc.start()
    try:
        solvers.load(name)(system, settings, 0).solve(b, start)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # What a product with A holds is there for every solver, and counted with the rows of the method.
    rows = 6 * 8 * n * 2 * P
    counted = solvers.load(name).bytes(Size(n, d, P, 1, 8), settings)
    assert peak < 1.3 * counted + rows
    assert counted < 4 * peak


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
