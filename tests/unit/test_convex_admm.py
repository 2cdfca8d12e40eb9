"""Convex ADMM: its updates, the optimum that it ends at, the networks that come of it, any number of ranks."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from support.problems import Array, problem
from support.ranks import CountingComm, on_ranks

from admmctl.errors import UserError
from admmctl.experiment.config import load
from admmctl.methods.convex.algorithm import ConvexAdmm, ConvexAdmmState, signs
from admmctl.methods.convex.choose import SHARE, choose, solvers
from admmctl.methods.convex.patterns import sample
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import Size
from admmctl.methods.method import Finished, Problem
from admmctl.model.network import Network, classify, gated_forward

ITERATIVE = ["convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"]
BASE = {
    "solver": "exact",
    "patterns": 5,
    "beta": 0.5,
    "rho": 1.0,
    "tolerance": 0.0,
    "dtype": "float64",
    "scale_rows": False,
}


def convex(**settings) -> ConvexAdmm:
    return ConvexAdmm(ConvexAdmmSettings(**{**BASE, **settings}))


def rows(patterns: int = 5, outputs: int = 1, samples: int = 30, features: int = 3, **options) -> Problem:
    """A problem whose network has the units of the convex model."""
    return problem(
        [2 * outputs * patterns],
        outputs=outputs,
        samples=samples,
        features=features,
        loss="signed-squared",
        **options,
    )


def trained(p: Problem, steps: int, **settings) -> tuple[ConvexAdmm, ConvexAdmmState]:
    method = convex(**settings)
    s = method.init(p)
    for _ in range(steps):
        s = method.step(s)
    return method, s


def objective(s: ConvexAdmmState, v: Array, beta: float) -> float:
    """Problem (4) at v, by loops; in the type of v."""
    X, D, y, C, P = s.system.X, s.system.D, s.system.y, s.system.C, s.system.P
    said = np.zeros_like(y)
    for c in range(C):
        for i in range(P):
            said[:, c] += D[:, i] * (X @ (v[:, c * P + i] - v[:, (C + c) * P + i]))
    return float(((said - y) ** 2).sum() / 2 + beta * np.linalg.norm(v, axis=0).sum())


def inside(s: ConvexAdmmState, v: Array) -> Array:
    """A point near v that is in all cones: h_i is inside of the cone of its own pattern."""
    X, E = s.system.X, s.system.E
    made = v.copy()
    for k in range(v.shape[1]):
        i = k % s.system.P
        h = s.patterns.H[:, i]
        reserve = (E[:, i] * (X @ h)).min()
        assert reserve > 0
        made[:, k] += max(0.0, -(E[:, i] * (X @ v[:, k])).min()) / reserve * h
    return made


def optimum(s: ConvexAdmmState, beta: float) -> float:
    """The least value of problem (4) for one output, by SciPy: lengths smoothed, then the true ones at its end."""
    X, D, E, y = s.system.X, s.system.D, s.system.E, s.system.y[:, 0]
    d, P = s.system.d, s.system.P
    F = np.hstack([D[:, i, None] * X for i in range(P)] + [-D[:, i, None] * X for i in range(P)])
    G = np.zeros((2, P, len(X), 2, P, d))
    for sign in (0, 1):
        for i in range(P):
            G[sign, i, :, sign, i] = E[:, i, None] * X
    G = G.reshape(-1, 2 * P * d)
    small = 1e-7

    def cost(w: Array) -> tuple[float, Array]:
        blocks = w.reshape(-1, d)
        lengths = np.sqrt((blocks**2).sum(axis=1) + small**2)
        r = F @ w - y
        return r @ r / 2 + beta * lengths.sum(), F.T @ r + beta * (blocks / lengths[:, None]).ravel()

    # A start inside of all cones.
    start = 0.01 * np.tile(s.patterns.H.T.ravel(), 2)
    cones = {"type": "ineq", "fun": lambda w: G @ w, "jac": lambda w: G}
    found = minimize(
        cost, start, jac=True, method="SLSQP", constraints=[cones], options={"maxiter": 1000, "ftol": 1e-13}
    )
    v = found.x.reshape(-1, d).T
    return objective(s, inside(s, v), beta)


# -- one iteration


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("gamma_a", [None, 0.4])
def test_an_iteration_is_algorithm_1(outputs, gamma_a):
    beta, rho = 0.15, 0.7
    method, s = trained(rows(outputs=outputs), 8, beta=beta, rho=rho, gamma_a=gamma_a)
    system = s.system
    before = replace(s)
    s = method.step(s)
    generator = np.random.default_rng(0)
    # u: the quadratic has no slope there.
    slope = (
        system.Ft(system.F(s.u) - system.y)
        + rho * (s.u - before.v + before.lam)
        + rho * system.Gt(system.G(s.u) - before.s + before.nu)
    )
    np.testing.assert_allclose(slope, 0, atol=1e-10)
    # v and s: nothing near or far is cheaper.
    v_cost = lambda v: beta * np.linalg.norm(v, axis=0) + rho / 2 * ((s.u - v + before.lam) ** 2).sum(axis=0)  # noqa: E731
    s_cost = lambda x: rho / 2 * (system.G(s.u) - x + before.nu) ** 2  # noqa: E731
    for size in (1e-6, 1e-4, 1e-2, 1.0):
        for _ in range(50):
            other = s.v + size * generator.standard_normal(s.v.shape)
            assert (v_cost(s.v) <= v_cost(other) + 1e-12).all()
            other = np.abs(s.s + size * generator.standard_normal(s.s.shape))
            assert (s_cost(s.s) <= s_cost(other) + 1e-12).all()
    assert (v_cost(s.v) <= v_cost(0 * s.v) + 1e-12).all()
    assert (s.s >= 0).all()
    assert (np.linalg.norm(s.v, axis=0) == 0).any()  # and some are, for what is tested to be there
    assert (np.linalg.norm(s.v, axis=0) > 0).any()
    step = 1.0 if gamma_a is None else gamma_a / rho
    np.testing.assert_allclose(s.lam, before.lam + step * (s.u - s.v), atol=1e-14)
    np.testing.assert_allclose(s.nu, before.nu + step * (system.G(s.u) - s.s), atol=1e-14)
    assert s.iteration == 9


def test_the_smallest_v_is_found_along_a_line():
    # The minimiser is a multiple of u + lam: a fine search over the multiples finds no other.
    beta, rho = 1.3, 0.8
    method, s = trained(rows(), 2, beta=beta, rho=rho)
    lam = s.lam
    s = method.step(s)
    for k, q in enumerate((s.u + lam).T):
        t = np.linspace(0, 1.2, 120_001)
        length = np.linalg.norm(q)
        best = t[(beta * t * length + rho / 2 * ((1 - t) * length) ** 2).argmin()]
        np.testing.assert_allclose(s.v[:, k], best * q, atol=2e-5 * length)


@pytest.mark.parametrize("gamma_a", [None, 1.7])
def test_a_dual_step_of_rho_keeps_slack_and_its_multiplier_complementary(gamma_a):
    method = convex(rho=1.7, gamma_a=gamma_a)
    s = method.init(rows())
    for _ in range(20):
        s = method.step(s)
        assert (s.s >= 0).all()
        assert (s.nu <= 1e-13).all()
        np.testing.assert_allclose(s.s * s.nu, 0, atol=1e-13)
        assert method.conditions(s)["complementarity"] < 1e-12


# -- the optimum


@pytest.fixture(scope="module")
def converged() -> tuple[ConvexAdmm, ConvexAdmmState]:
    return trained(rows(), 4000)


def test_the_end_satisfies_the_conditions_and_not_those_that_are_printed(converged):
    method, s = converged
    system, beta, rho = s.system, 0.5, 1.0
    assert max(method.conditions(s).values()) < 1e-9
    np.testing.assert_allclose(s.u, s.v, atol=1e-9)
    np.testing.assert_allclose(system.G(s.u), s.s, atol=1e-9)
    slope = system.Ft(system.F(s.u) - system.y) + rho * (s.lam + system.Gt(s.nu))
    np.testing.assert_allclose(slope, 0, atol=1e-8)
    lengths = np.linalg.norm(s.v, axis=0)
    on = lengths > 0
    assert 0 < on.sum() < len(on)
    pull = rho * s.lam
    np.testing.assert_allclose(beta * s.v[:, on] / lengths[on], pull[:, on], atol=1e-8)
    assert (np.linalg.norm(pull[:, ~on], axis=0) <= beta + 1e-8).all()
    # As printed, v / ||v|| + rho lam = 0: of length 1 + beta.
    printed = s.v[:, on] / lengths[on] + pull[:, on]
    np.testing.assert_allclose(np.linalg.norm(printed, axis=0), 1 + beta, atol=1e-7)


@pytest.mark.parametrize(("beta", "rho"), [(0.05, 0.1), (0.5, 1.0), (3.0, 3.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_end_is_the_optimum_that_scipy_finds(beta, rho, seed):
    method, s = trained(rows(seed=seed), 3000, beta=beta, rho=rho)
    reached = objective(s, inside(s, s.v), beta)
    expected = optimum(s, beta)
    assert reached == pytest.approx(expected, rel=1e-4)
    assert reached <= expected * (1 + 1e-5)
    assert 0.01 < reached < 0.99 * objective(s, 0 * s.v, beta)  # not the trivial end
    assert method.residuals(s)["objective"] == pytest.approx(reached, rel=1e-5)
    # And a bound from below says so without a second solver: the value of the dual at the multipliers.
    theta = s.system.y - s.system.F(s.v)
    pull = s.system.Ft(theta) - rho * s.system.Gt(np.minimum(s.nu, 0))
    theta = theta * min(1.0, beta / np.linalg.norm(pull, axis=0).max())
    bound = float(np.vdot(theta, s.system.y) - np.vdot(theta, theta) / 2)
    assert bound <= reached <= bound * (1 + 1e-3)


def test_a_large_beta_leaves_nothing(converged):
    method, s = trained(rows(), 200, beta=1e3)
    assert not s.v.any()
    assert method.residuals(s)["objective"] == pytest.approx(15)


def test_without_beta_the_misfit_alone_is_minimised(converged):
    _, s = trained(rows(), 3000, beta=0.0)
    _, with_beta = converged
    assert objective(s, s.v, 0.0) <= objective(with_beta, with_beta.v, 0.0)
    assert np.isfinite(convex(beta=0.0).residuals(s)["group"])


@pytest.mark.parametrize(
    "settings",
    [
        {"rho": 0.05, "adapt_rho": True},
        {"rho": 500.0, "adapt_rho": True},
        {"rho": 0.3},
        {"gamma_a": 1.5},
        {"gamma_a": 0.5},
        {"solver": "cholesky", "rho": 0.05, "adapt_rho": True},
    ],
    ids=str,
)
def test_every_rho_and_dual_step_end_at_the_same_optimum(converged, settings):
    _, expected = converged
    _, s = trained(rows(), 4000, **settings)
    np.testing.assert_allclose(s.v, expected.v, atol=1e-4)
    assert objective(s, inside(s, s.v), 0.5) == pytest.approx(objective(expected, expected.v, 0.5), rel=1e-5)


@pytest.mark.parametrize(("rho", "grows"), [(1e-3, True), (1e4, False)])
def test_rho_is_adapted_and_multipliers_stay_what_they_are(rho, grows):
    method = convex(rho=rho, adapt_rho=True, check_every=5, solver="cholesky")
    s = method.init(rows())
    changed = []
    for iteration in range(30):
        before = s.system.rho, s.system.rho * s.lam, s.system.rho * s.nu, method.conditions(s)
        caught = watched_step(method, s)
        if s.system.rho != before[0]:
            changed.append(iteration)
            assert s.system.rho == before[0] * (2 if grows else 0.5)
            primal = max(before[3]["primal_v"], before[3]["primal_s"])
            assert (primal > 10 * before[3]["stationarity"]) == grows
            np.testing.assert_allclose(caught[0], before[1], rtol=1e-12)
            np.testing.assert_allclose(caught[1], before[2], rtol=1e-12)
            # All of the iteration is of the new rho, and the solver knows of it.
            np.testing.assert_allclose(caught[2], 0, atol=1e-9 * np.abs(s.b).max())
            q = s.u + caught[0] / s.system.rho
            shrink = np.maximum(1 - 0.5 / s.system.rho / np.linalg.norm(q, axis=0), 0)
            np.testing.assert_allclose(s.v, shrink * q, atol=1e-12)
            assert np.linalg.norm(s.system.A(s.u) - s.b) < 1e-9 * np.linalg.norm(s.b)
    assert changed
    assert all(iteration % 5 == 0 and iteration > 0 for iteration in changed)
    assert method.residuals(s)["rho"] == s.system.rho


def watched_step(method: ConvexAdmm, s: ConvexAdmmState) -> tuple[Array, Array, Array]:
    """A step; rho lam and rho nu as its check has left them before all else; what is wrong with b."""
    caught = []
    solve = s.solver.solve

    def watched(b, u):
        rho = s.system.rho
        caught[:] = rho * s.lam, rho * s.nu, b - (s.Fty / rho + s.v - s.lam + s.system.Gt(s.s - s.nu))
        return solve(b, u)

    s.solver.solve = watched
    method.step(s)
    s.solver.solve = solve
    return tuple(caught)


def test_rho_stays_unless_it_is_to_be_adapted():
    _, s = trained(rows(), 50, rho=1e-3, check_every=1)
    assert s.system.rho == 1e-3


def test_at_the_tolerance_there_is_nothing_left_to_do():
    method = convex(tolerance=1e-3, check_every=7)
    s = method.init(rows())
    ended = ""
    while not ended:
        try:
            s = method.step(s)
        except Finished as finished:
            ended = str(finished)
    assert ended == "optimal: every condition holds to 0.001"
    assert s.iteration % 7 == 0
    assert max(method.conditions(s).values()) <= 1e-3
    # And not before: at the last look before this one it did not hold.
    _, earlier = trained(rows(), s.iteration - 7)
    assert max(method.conditions(earlier).values()) > 1e-3


def test_every_condition_counts_for_the_tolerance(monkeypatch):
    method, s = trained(rows(), 10, tolerance=1e-3, check_every=1)
    for name in method.conditions(s):
        conditions = {**dict.fromkeys(method.conditions(s), 0.0), name: 1.1e-3}
        monkeypatch.setattr(method, "conditions", lambda s, conditions=conditions: conditions)
        s = method.step(s)
        monkeypatch.undo()
    monkeypatch.setattr(method, "conditions", lambda s: {"all": 1e-3})
    with pytest.raises(Finished):
        method.step(s)


def test_tolerance_0_never_ends(converged):
    method, s = converged
    assert method.settings.tolerance == 0
    s = replace(s, iteration=method.settings.check_every)
    for _ in range(30):
        s = method.step(s)


@pytest.mark.parametrize("change", ["u", "s", "lam", "nu", "v"])
def test_a_condition_that_fails_is_seen(converged, change):
    method, s = converged
    away = np.random.default_rng(0).standard_normal(getattr(s, change).shape)
    if change in ("s", "nu"):
        away = np.sign(0.5 - (change == "nu")) * np.abs(away)  # on their side of 0
    moved = replace(s, **{change: getattr(s, change) + away})
    moved = replace(moved, Gu=moved.system.G(moved.u))
    seen = {name for name, value in method.conditions(moved).items() if value > 1e-4}
    assert (
        seen
        == {
            "u": {"primal_v", "primal_s", "stationarity"},
            "s": {"primal_s", "complementarity"},
            "lam": {"stationarity", "group"},
            "nu": {"stationarity", "complementarity"},
            "v": {"primal_v", "group"},
        }[change]
    )


def test_a_negative_slack_is_a_violation(converged):
    method, s = converged
    moved = replace(s, s=s.s - 0.1, nu=0 * s.nu)
    assert method.conditions(moved)["complementarity"] > 1e-2


@pytest.mark.parametrize("settings", [{"solver": name} for name in ["cholesky", *ITERATIVE]], ids=str)
def test_every_solver_ends_within_a_percent_of_exact(converged, settings):
    _, expected = converged
    method, s = trained(rows(), 1000, **settings, rank=10)
    best = objective(expected, expected.v, 0.5)
    assert objective(s, inside(s, s.v), 0.5) == pytest.approx(best, rel=0.01)
    assert method.residuals(s)["violation"] < 1e-2


@pytest.mark.parametrize("solver", ["exact", "cholesky"])
def test_several_outputs_are_as_many_problems_of_one(solver):
    whole = rows(outputs=3)
    method, s = trained(whole, 200, solver=solver)
    P = 5
    for c in range(3):
        alone = replace(rows(), y=whole.y[c : c + 1])
        one_method, one = trained(alone, 200, solver=solver)
        for sign in (0, 1):
            first = (sign * 3 + c) * P
            np.testing.assert_allclose(s.v[:, first : first + P], one.v[:, sign * P : sign * P + P], atol=1e-9)
        z = whole.network.forward(method.weights(s), whole.a0)
        np.testing.assert_allclose(z[c], alone.network.forward(one_method.weights(one), alone.a0)[0], atol=1e-9)


def test_residuals_say_what_was_computed(converged):
    method, s = converged
    found = method.residuals(s)
    assert found["objective"] == pytest.approx(objective(s, s.v, 0.5))
    Gv = s.system.G(s.v)
    assert found["violation"] == pytest.approx(np.linalg.norm(np.minimum(Gv, 0)) / np.linalg.norm(Gv), abs=1e-15)
    assert found["inner_iterations"] == 1
    assert found["inner_residual"] < 1e-12
    assert set(method.conditions(s)) <= set(found)
    # Before the first iteration too.
    start = method.residuals(convex().init(rows()))
    assert start["objective"] == pytest.approx(15)
    assert all(np.isfinite(value) for value in start.values())
    # Of a solver that does not get to the end.
    method, s = trained(rows(), 2, solver="convex-cg", inner_iterations=2)
    found = method.residuals(s)
    assert found["inner_iterations"] == 2
    assert found["inner_residual"] == pytest.approx(
        np.linalg.norm(s.system.A(s.u) - s.b) / np.linalg.norm(s.b), rel=1e-6
    )
    assert found["inner_residual"] > 1e-3
    moved = replace(s, v=-np.ones_like(s.v))
    assert method.residuals(moved)["violation"] > 0.1


# -- the networks


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_the_recovered_network_says_what_the_convex_model_says_inside_of_the_cones(outputs, bias):
    p = rows(outputs=outputs, bias=bias)
    method, s = trained(p, 60)
    assert s.system.d == 3 + bias
    s = replace(s, v=inside(s, s.v))
    W = method.weights(s)
    assert [w.shape for w in W] == [(10 * outputs, 3 + bias), (outputs, 10 * outputs + bias)]
    said = s.system.F(s.v).T
    assert np.abs(said).max() > 0.1
    np.testing.assert_allclose(p.network.forward(W, p.a0), said, atol=1e-9)
    if bias:
        assert not W[1][:, -1].any()
    # Its weight decay is the group norm.
    decay = (np.linalg.norm(W[0]) ** 2 + np.linalg.norm(W[1]) ** 2) / 2
    assert decay == pytest.approx(np.linalg.norm(s.v, axis=0).sum())
    # A unit and the weight above it are of one length; units of no block are nothing.
    np.testing.assert_allclose(np.linalg.norm(W[0], axis=1), np.linalg.norm(W[1], axis=0)[: 10 * outputs])


def test_outside_of_the_cones_the_two_differ():
    p = rows()
    method, s = trained(p, 1)
    s = replace(s, v=np.random.default_rng(0).standard_normal(s.v.shape))
    assert np.abs(p.network.forward(method.weights(s), p.a0) - s.system.F(s.v).T).max() > 0.1


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale_rows", [True, False])
def test_the_gated_network_on_training_rows_is_the_convex_model(outputs, bias, scale_rows):
    p = rows(outputs=outputs, bias=bias, samples=200)
    method, s = trained(p, 20, scale_rows=scale_rows)
    z = gated_forward(p.network, method.weights(s), method.gates(s), p.a0)
    said = s.system.F(s.v).T
    np.testing.assert_allclose(z, said, atol=1e-12)
    np.testing.assert_array_equal(method.own_labels(s, p.a0), classify(said, 0.0))
    # Rows it has not seen, one by one.
    other = rows(outputs=outputs, bias=bias, seed=5)
    z = gated_forward(p.network, method.weights(s), method.gates(s), other.a0)
    x = s.scale * other.network.inputs(other.a0)
    for j in range(10):
        for c in range(outputs):
            expected = sum(
                x[:, j] @ (s.v[:, c * 5 + i] - s.v[:, (outputs + c) * 5 + i])
                for i in range(5)
                if x[:, j] @ s.patterns.H[:, i] >= 0
            )
            assert z[c, j] == pytest.approx(expected, abs=1e-12)


def test_the_gated_network_is_computed_in_blocks_of_rows(monkeypatch):
    p = rows(samples=150)
    method, s = trained(p, 5)
    whole = method.own_labels(s, p.a0)
    monkeypatch.setattr(Network, "block", lambda self, itemsize=4: 64)
    np.testing.assert_array_equal(method.own_labels(s, p.a0), whole)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("factor", [1e-3, 200.0])
def test_scaled_rows_make_the_problem_independent_of_the_size_of_inputs(bias, factor):
    p = rows(bias=bias)
    large = replace(p, a0=np.asfortranarray(factor * p.a0))
    method, s = trained(p, 40, scale_rows=True)
    _, l = trained(large, 40, scale_rows=True)
    assert (s.system.X**2).sum() == pytest.approx(30)
    np.testing.assert_allclose(l.system.X, s.system.X, rtol=1e-10)
    np.testing.assert_allclose(l.v, s.v, atol=1e-9)
    # The weights absorb the scale: the network takes rows as they are.
    W, W_large = method.weights(s), method.weights(l)
    np.testing.assert_allclose(W_large[0], W[0] / factor, atol=1e-9 / factor)
    np.testing.assert_allclose(p.network.forward(W_large, large.a0), p.network.forward(W, p.a0), atol=1e-9)
    np.testing.assert_array_equal(method.own_labels(l, large.a0), method.own_labels(s, p.a0))


def test_scaled_rows_are_another_problem_solved_by_the_same_weights_on_rows_as_they_are():
    # scale_rows is: the problem of the rows times a number, and weights that absorb the number.
    p = rows()
    method, s = trained(p, 40, scale_rows=True)
    by_hand = replace(p, a0=np.asfortranarray(s.scale * p.a0))
    _, h = trained(by_hand, 40, scale_rows=False)
    np.testing.assert_allclose(h.v, s.v, atol=1e-12)
    np.testing.assert_allclose(
        p.network.forward(method.weights(s), p.a0), p.network.forward(method.weights(h), by_hand.a0), atol=1e-12
    )


@pytest.mark.parametrize("bias", [False, True])
def test_scaling_rows_copies_them_once(bias):
    p = rows(bias=bias, samples=20_000, features=20)
    tracemalloc.start()
    try:
        X, _ = convex(scale_rows=True)._inputs(p)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * X.nbytes


def test_inputs_that_are_all_zero_are_refused_or_harmless():
    p = rows(bias=False)
    p.a0[:-1] = 0
    _, s = trained(p, 3, scale_rows=True)  # 0 >= 0: one pattern lets all rows through
    assert s.patterns.count == 1
    assert not s.v.any()


def test_fewer_patterns_than_asked_for_leave_units_that_are_zero():
    # One input and no bias: x >= 0 and x <= 0 are all there is.
    p = rows(patterns=6, features=2, bias=False)
    p = replace(p, a0=p.a0[[0, 2]], network=Network.build(1, [12], 1, "relu", False))
    method, s = trained(p, 20, patterns=6)
    assert (s.patterns.count, s.patterns.asked) == (2, 6)
    assert [note for note in method.notes(s) if "6 asked for, and only 2" in note]
    W = method.weights(s)
    assert [w.shape for w in W] == [(12, 1), (1, 12)]
    assert W[0][:4].any()
    assert not W[0][4:].any()
    assert not W[1][:, 4:].any()
    s = replace(s, v=inside(s, s.v))
    np.testing.assert_allclose(p.network.forward(method.weights(s), p.a0), s.system.F(s.v).T, atol=1e-9)
    assert method.notes(trained(rows(), 1)[1]) == []


def test_labels_that_are_no_classes_are_refused():
    assert signs(np.array([[0.0, 1.0, 1.0]])).tolist() == [[-1.0], [1.0], [1.0]]
    p = rows()
    for wrong in (-1.0, 0.5, 2.0, np.nan):
        p.y[0, 3] = wrong
        with pytest.raises(UserError, match="labels"):
            convex().init(p)


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
    first, again, other = (sample(X, 20, seed, CountingComm()) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.H, again.H)
    assert not np.isin(other.H, first.H).any()
    assert first.count == 20
    # More of them begin with some of the fewer, and vectors are normal.
    assert abs(first.H.mean()) < 0.3
    assert 0.7 < first.H.std() < 1.3


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


# -- ranks


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
    assert cost.messages[0] == 4 * 4 * 10 * outputs == 4 * max(comm.lengths)  # one as large as u
    if solver == "rbcd":  # a gradient and two numbers for every block of two passes: five patterns are one
        assert cost.messages == (4 * 4 * 10 * outputs, *(4 * 4 * 10 * outputs, 16) * 2)
        assert [4 * n for n in comm.lengths if n > 2][:3] == [cost.messages[0]] * 3
    assert cost.flop is None


@pytest.mark.parametrize("steps", [1, 5])
def test_cost_lists_every_message_of_conjugate_gradients(steps):
    comm = Pair()
    method = convex(solver="convex-cg", dtype="float32", inner_iterations=steps, inner_tolerance=0)
    p = rows(comm=comm, dtype=np.float32)
    s = method.init(p)
    comm.lengths.clear()
    method.step(s)
    assert tuple(4 * length for length in comm.lengths) == method.cost(p.network, 15, 30).messages


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


def test_auto_leaves_a_fifth_of_the_memory_to_others():
    size, settings = wide(1_000, 300, 50), ConvexAdmmSettings()
    needed = solvers.load("exact").bytes(size, settings)
    assert choose(size, settings, int(needed / SHARE) + 1)[0] == "exact"
    assert choose(size, settings, int(needed / SHARE) - 2)[0] == "block-pcg"


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
    # float64 needs twice as much; several ranks share what is free.
    convex(solver="exact", dtype="float32").check_size(network, 20_000, 1, 25 * 10**8)
    with pytest.raises(UserError):
        convex(solver="exact", dtype="float64").check_size(network, 20_000, 1, 25 * 10**8)
    least = solvers.load("block-pcg").bytes(wide(10_000, 3072, 50, ranks=4), method.settings)
    block = convex(solver="block-pcg", dtype="float32")
    block.check_size(network, 10_000, 4, 4 * least)
    with pytest.raises(UserError, match="solver: convex-cg needs"):
        block.check_size(network, 10_000, 4, 4 * least - 4)


def test_where_nothing_fits_no_solver_is_offered():
    network = Network.build(3072, [100], 1, "relu", False)
    with pytest.raises(UserError) as refusal:
        convex(solver="convex-cg").check_size(network, 10_000, 1, 1000)
    assert str(refusal.value).count("solver: convex-cg") == 1
    assert "fewer patterns" in str(refusal.value)


def test_memory_counts_the_bias_and_the_outputs():
    network = Network.build(9, [2 * 3 * 7], 3, "relu", True)
    size = convex(patterns=7)._size(network, 100, 2)
    assert (size.n, size.d, size.P, size.C, size.itemsize, size.ranks) == (100, 10, 7, 3, 8, 2)


# -- an experiment


def test_the_hidden_layer_is_that_of_the_patterns():
    assert ConvexAdmm.hidden_layers(ConvexAdmmSettings(patterns=7), [100, 50], 1) == [14]
    assert ConvexAdmm.hidden_layers(ConvexAdmmSettings(patterns=7), [], 3) == [42]


def test_the_paper_has_its_settings():
    experiment = {
        "name": "units",
        "data": {"name": "swissroll"},
        "network": {"layers": [5]},
        "loss": "signed-squared",
        "methods": {"paper": {"kind": "convex-admm", "preset": "paper"}, "ours": {"kind": "convex-admm"}},
    }
    runs = load(experiment).runs
    paper = runs["paper"].settings
    assert (paper.solver, paper.rank, paper.block, paper.precondition) == ("nystrom-pcg", 100, 1, False)
    assert not paper.scale_rows
    ours = runs["ours"].settings
    assert (ours.solver, ours.rank, ours.block, ours.precondition, ours.scale_rows) == (
        "auto",
        "auto",
        5,
        True,
        True,
    )
    assert runs["ours"].evaluate.unit == "iteration"


def test_it_learns_what_no_linear_model_can():
    generator = np.random.default_rng(0)
    p = rows(patterns=20, samples=600, dtype=np.float32)
    p.a0[:-1] = generator.uniform(-1, 1, p.a0[:-1].shape)
    p.y[...] = p.a0[0] * p.a0[1] > 0
    method = ConvexAdmm(ConvexAdmmSettings(patterns=20))
    s = method.init(p)
    try:
        for _ in range(100):
            s = method.step(s)
    except Finished:
        pass
    z = p.network.forward(method.weights(s), p.a0)
    assert z.dtype == np.float32
    assert ((z > 0) == (p.y > 0.5)).mean() > 0.9
    assert (method.own_labels(s, p.a0) == p.y[0]).mean() > 0.9
