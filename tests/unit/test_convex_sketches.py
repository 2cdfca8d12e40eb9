"""The two solvers of the convex paper: sketches of nystrom-pcg, and block coordinate descent."""

import numpy as np
import pytest
from support.convex_systems import condition, dense, inverse_of, made, normal, outputs, solver_of, vectors
from support.problems import Array
from support.ranks import on_ranks

from admmctl.methods.convex import nystrom
from admmctl.methods.convex.nystrom import coupled, squares
from admmctl.methods.convex.system import System


@pytest.mark.parametrize("rank", [5, 20, 47])
def test_a_sketch_is_orthonormal_and_below_H(rank):
    system = made()
    H = dense(system) - np.eye(48)
    found = nystrom.sketch(coupled(system), rank, 0)
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
    found = nystrom.sketch(coupled(system), 48, 0)
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
    found = nystrom.sketch(coupled(system), rank, 0)
    rest = dense(system) - np.eye(48) - found.U * found.eigenvalues @ found.U.T
    true = np.linalg.norm(rest, 2)
    assert 0.5 * true < nystrom.missed(coupled(system), found, 0, powers=10)[0] <= true * (1 + 1e-9)


def test_a_rank_of_its_own_grows_where_eigenvalues_fall():
    falling = made(n=40, d=12, P=4, scale=20.0 ** -np.linspace(-1.5, 2, 12))
    flat = made(n=60, d=20, P=3, scale=1.0)
    small = made(n=40, d=12, P=4, scale=0.01)
    ranks = {
        name: nystrom.adaptive_sketch(coupled(system), 0).rank
        for name, system in (("falling", falling), ("flat", flat), ("small", small))
    }
    # Nothing to gain: as small as it can be. Nothing gained by doubling: two are enough.
    assert ranks["small"] == nystrom.FIRST_RANK
    assert ranks["flat"] == 2 * nystrom.FIRST_RANK
    assert ranks["falling"] > 2 * nystrom.FIRST_RANK
    left, _ = nystrom.missed(coupled(falling), nystrom.adaptive_sketch(coupled(falling), 0), 0)
    assert left <= nystrom.GOOD
    # Never more than there are unknowns.
    assert nystrom.adaptive_sketch(coupled(made(n=8, d=1, P=3, scale=30.0)), 0).rank == 6


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
@pytest.mark.parametrize("precondition", ["block", "nystrom", "none"])
def test_every_step_of_rbcd_lowers_the_cost_and_keeps_the_prediction(C, block, search, precondition):
    system = made(C=C)
    P = system.P
    b, u = normal(system, 2 * C * P), normal(system, 2 * C * P, seed=5)
    options = {"block": block, "line_search": search, "precondition": precondition, "rank": 2}
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
            if precondition == "block":
                expected = np.linalg.solve(np.eye(system.d) + system.X.T @ system.X, expected)
            if precondition == "nystrom":
                # (I + U L U' + l_r (I - U U'))^-1: what a sketch of two directions says of the others is the less.
                U, falling = solver.sketch.U, solver.sketch.eigenvalues
                assert solver.sketch.rank == 2
                rest = falling[-1] * (np.eye(system.d) - U @ U.T)
                expected = np.linalg.solve(np.eye(system.d) + U * falling @ U.T + rest, expected)
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


@pytest.mark.parametrize("rank", [2, 4, 1000])
def test_the_sketch_of_rbcd_is_one_of_X_X_for_all_blocks(rank):
    system = made()
    solver = solver_of("rbcd", system, precondition="nystrom", rank=rank)
    assert solver.sketch.U.shape == (system.d, min(rank, system.d))
    squares_of_X = system.X.T @ system.X
    vectors = normal(system, 3)
    np.testing.assert_allclose(squares(system).times(vectors), squares_of_X @ vectors, atol=1e-12)
    shown = solver.sketch.U * solver.sketch.eigenvalues @ solver.sketch.U.T
    missing = np.linalg.eigvalsh(squares_of_X - shown)
    assert missing.min() > -1e-9
    assert (missing.max() < 1e-9) == (rank >= system.d)


@outputs
@pytest.mark.parametrize("block", [1, 3])
def test_a_sketch_of_full_rank_makes_the_steps_of_the_block_preconditioner(C, block):
    system = made(C=C)
    b, few = normal(system, 2 * C * system.P), {"block": block, "inner_iterations": 3, "inner_tolerance": 0}
    for search in ("exact", "backtracking"):
        ends = [
            solver_of("rbcd", system, precondition=precondition, rank=99, line_search=search, **few).solve(
                b, system.zeros()
            )[0]
            for precondition in ("block", "nystrom", "none")
        ]
        np.testing.assert_allclose(ends[1], ends[0], atol=1e-9)
        assert np.abs(ends[2] - ends[0]).max() > 1e-3


def test_a_sketch_leaves_less_of_every_block_s_residual():
    # Rows with two strong directions, fewer than the sketch has, and one step for each block: what is left of a
    # block's equation, after its own step, in the norm that counts, that of A^-1 of the block.
    system = made(n=60, d=6, P=4, rho=3.0, scale=np.array([6.0, 3.0, 0.1, 0.1, 0.05, 0.05]))
    A, P, d = dense(system), system.P, system.d
    b = normal(system, 2 * P)
    left = {}
    for precondition in ("none", "nystrom", "block"):
        found = []
        for i in range(P):
            solver = solver_of("rbcd", system, precondition=precondition, rank=3, block=1, inner_iterations=1)
            solver._blocks = lambda P, size, i=i: [np.array([i])]
            u, steps = solver.solve(b, system.zeros())
            assert steps == 1
            places = np.concatenate(
                [np.arange(sign * P * d + i * d, sign * P * d + (i + 1) * d) for sign in (0, 1)]
            )
            part, whole = A[np.ix_(places, places)], vectors(system, b)[places, 0]
            r = part @ vectors(system, u)[places, 0] - whole
            found.append((r @ np.linalg.solve(part, r)) / (whole @ np.linalg.solve(part, whole)))
        left[precondition] = np.array(found)
    assert (left["nystrom"] < left["none"] / 5).all()
    assert (left["block"] < left["nystrom"]).all()
    assert (left["nystrom"] < 0.1).all()


@pytest.mark.parametrize("cuts", [[0, 17, 40], [0, 1, 23, 40]])
def test_ranks_agree_on_a_sketch_and_on_every_step_behind_it(cuts):
    options = {"precondition": "nystrom", "rank": 3, "inner_iterations": 3, "inner_tolerance": 0, "block": 2}
    whole = made(C=3)
    b = normal(whole, 6 * whole.P)
    expected = solver_of("rbcd", whole, **options).solve(b, whole.zeros())[0]

    def work(comm):
        rows = slice(cuts[comm.rank], cuts[comm.rank + 1])
        part = System(whole.X[rows], whole.D[rows], whole.y[rows], whole.rho, whole.backend, comm)
        return solver_of("rbcd", part, **options).solve(b, part.zeros())[0]

    for found in on_ranks(len(cuts) - 1, work):
        np.testing.assert_allclose(found, expected, atol=1e-10)


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
