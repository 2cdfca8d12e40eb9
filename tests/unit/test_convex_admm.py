"""Convex ADMM: its updates, the optimum that it ends at, the networks that come of it, any number of ranks."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from support.convex import convex, rows, trained
from support.methods import accuracy, advance, by_sign_of_product
from support.problems import Array
from support.traced import traced

from admmctl.errors import UserError
from admmctl.experiment.config import load
from admmctl.methods.convex.algorithm import ConvexAdmm, ConvexAdmmState, signs
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.system import inputs
from admmctl.methods.method import Finished
from admmctl.model.network import Network, classify, gated_forward

ITERATIVE = ["convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"]


def objective(s: ConvexAdmmState, v: Array, beta: float) -> float:
    """Problem (4) at v, by loops; in the type of v."""
    X, D, y, C, P = s.system.X, s.system.D, s.system.y, s.system.C, s.system.P
    outputs_ = np.zeros_like(y)
    for c in range(C):
        for i in range(P):
            outputs_[:, c] += D[:, i] * (X @ (v[:, c * P + i] - v[:, (C + c) * P + i]))
    return float(((outputs_ - y) ** 2).sum() / 2 + beta * np.linalg.norm(v, axis=0).sum())


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
    for multiple in np.linspace(0, 1.2, 1001):  # v is a multiple of u + lam
        assert (v_cost(s.v) <= v_cost(multiple * (s.u + before.lam)) + 1e-12).all()
    assert (s.s >= 0).all()
    assert (np.linalg.norm(s.v, axis=0) == 0).any()  # and some are, for what is tested to be there
    assert (np.linalg.norm(s.v, axis=0) > 0).any()
    step = 1.0 if gamma_a is None else gamma_a / rho
    np.testing.assert_allclose(s.lam, before.lam + step * (s.u - s.v), atol=1e-14)
    np.testing.assert_allclose(s.nu, before.nu + step * (system.G(s.u) - s.s), atol=1e-14)
    assert s.iteration == 9


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
    assert trained(rows(), 50, rho=rho, check_every=1)[1].system.rho == rho  # it stays unless it is to be adapted
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


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ("u", {"primal_v", "primal_s", "stationarity"}),
        ("s", {"primal_s", "complementarity"}),
        ("lam", {"stationarity", "group"}),
        ("nu", {"stationarity", "complementarity"}),
        ("v", {"primal_v", "group"}),
    ],
)
def test_a_condition_that_fails_is_seen(converged, change, failing):
    method, s = converged
    away = np.random.default_rng(0).standard_normal(getattr(s, change).shape)
    if change in ("s", "nu"):
        away = np.sign(0.5 - (change == "nu")) * np.abs(away)  # on their side of 0
    moved = replace(s, **{change: getattr(s, change) + away})
    moved = replace(moved, Gu=moved.system.G(moved.u))
    seen = {name for name, value in method.conditions(moved).items() if value > 1e-4}
    assert seen == failing
    negative = replace(s, s=s.s - 0.1, nu=0 * s.nu)
    assert method.conditions(negative)["complementarity"] > 1e-2


@pytest.mark.parametrize("settings", [{"solver": name} for name in ["cholesky", *ITERATIVE]], ids=str)
def test_every_solver_ends_within_a_percent_of_exact(converged, settings):
    _, expected = converged
    method, s = trained(rows(), 1000, **settings, rank=10)
    best = objective(expected, expected.v, 0.5)
    assert objective(s, inside(s, s.v), 0.5) == pytest.approx(best, rel=0.01)
    assert method.residuals(s)["violation"] < 1e-2


def test_the_end_of_several_outputs_is_the_optimum_that_scipy_finds():
    # The group norm of every output counts by itself: one output's optimum after the other.
    whole, beta = rows(outputs=3), 0.5
    method, s = trained(whole, 3000, beta=beta)
    expected = sum(optimum(trained(replace(rows(), y=whole.y[c : c + 1]), 0)[1], beta) for c in range(3))
    reached = objective(s, inside(s, s.v), beta)
    assert reached == pytest.approx(expected, rel=1e-4)
    assert reached <= expected * (1 + 1e-5)
    assert reached < 0.99 * objective(s, 0 * s.v, beta)
    assert method.residuals(s)["objective"] == pytest.approx(reached, rel=1e-5)
    assert max(method.conditions(s).values()) < 1e-9
    # Outputs use different patterns: a norm of a pattern over all outputs would not end there.
    used = (np.linalg.norm(s.v, axis=0) > 0).reshape(2, 3, -1)
    assert (used.any(axis=1) & ~used.all(axis=1)).any()


@pytest.mark.parametrize("solver", ["exact", "cholesky"])
def test_several_outputs_are_as_many_problems_of_one(solver):
    whole = rows(outputs=3)
    method, s = trained(whole, 200, solver=solver)
    P = 5
    for c in range(3):
        single = replace(rows(), y=whole.y[c : c + 1])
        one_method, one = trained(single, 200, solver=solver)
        for sign in (0, 1):
            first = (sign * 3 + c) * P
            np.testing.assert_allclose(s.v[:, first : first + P], one.v[:, sign * P : sign * P + P], atol=1e-9)
        z = whole.network.forward(method.weights(s), whole.a0)
        np.testing.assert_allclose(z[c], single.network.forward(one_method.weights(one), single.a0)[0], atol=1e-9)


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


@pytest.mark.parametrize("outputs", [1, 3])
def test_primal_loss_and_accuracy_are_those_of_u(outputs):
    method, s = trained(rows(outputs=outputs, samples=40), 2)
    found, z = method.residuals(s), s.system.F(s.u)
    assert found["primal_loss"] == pytest.approx(((z - s.system.y) ** 2).sum() / 2 / 40)
    if outputs == 1:
        expected = ((z > 0) == (s.system.y > 0)).mean()
    else:
        expected = (z.argmax(axis=1) == s.system.y.argmax(axis=1)).mean()
    assert found["primal_accuracy"] == expected
    assert 0.4 < expected < 1
    # Whatever v is; and u = 0 is nobody's prediction: of two classes the first.
    assert method.residuals(replace(s, v=0 * s.v))["primal_loss"] == found["primal_loss"]
    start = method.residuals(convex().init(rows(outputs=outputs, samples=40)))
    assert start["primal_loss"] == pytest.approx(outputs / 2)


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
    outputs_ = s.system.F(s.v).T
    assert np.abs(outputs_).max() > 0.1
    np.testing.assert_allclose(p.network.forward(W, p.a0), outputs_, atol=1e-9)
    if bias:
        assert not W[1][:, -1].any()
    # Its weight decay is the group norm.
    decay = (np.linalg.norm(W[0]) ** 2 + np.linalg.norm(W[1]) ** 2) / 2
    assert decay == pytest.approx(np.linalg.norm(s.v, axis=0).sum())
    # A unit and the weight above it are of one length; units of no block are nothing.
    np.testing.assert_allclose(np.linalg.norm(W[0], axis=1), np.linalg.norm(W[1], axis=0)[: 10 * outputs])
    # Outside of the cones the two differ.
    s = replace(s, v=np.random.default_rng(0).standard_normal(s.v.shape))
    assert np.abs(p.network.forward(method.weights(s), p.a0) - s.system.F(s.v).T).max() > 0.1


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale_rows", [True, False])
def test_the_gated_network_on_training_rows_is_the_convex_model(outputs, bias, scale_rows):
    p = rows(outputs=outputs, bias=bias, samples=200)
    method, s = trained(p, 20, scale_rows=scale_rows)
    z = gated_forward(p.network, method.weights(s), method.gates(s), p.a0)
    outputs_ = s.system.F(s.v).T
    np.testing.assert_allclose(z, outputs_, atol=1e-12)
    np.testing.assert_array_equal(method.own_labels(s, p.a0), classify(outputs_, 0.0))
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
    # It is the problem of the rows times a number.
    _, h = trained(replace(p, a0=np.asfortranarray(s.scale * p.a0)), 40, scale_rows=False)
    np.testing.assert_allclose(h.v, s.v, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_scaling_rows_copies_them_once(bias):
    p = rows(bias=bias, samples=20_000, features=20)
    with traced() as memory:
        X, _ = inputs(p, np.dtype(np.float64), True, streamed=False)
    assert memory.peak < 1.3 * X.nbytes


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


# -- an experiment


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
    assert (paper.solver, paper.rank, paper.block, paper.precondition) == ("nystrom-pcg", 100, 1, "none")
    assert (paper.order, paper.inner_start, paper.inner_tolerance) == ("independent", "zero", 1e-6)
    assert not paper.scale_rows
    ours = runs["ours"].settings
    assert (ours.solver, ours.rank, ours.block, ours.precondition) == ("auto", "auto", 5, "block")
    assert (ours.order, ours.inner_start) == ("shuffled", "before")
    assert ours.scale_rows
    # What came later does not change the hash of runs without it.
    assert not {"order", "inner_start"} & set(ours.plain())
    assert {"order", "inner_start"} <= set(paper.plain())
    assert runs["ours"].evaluate.unit == "iteration"
    # The hidden layer is that of the patterns, whatever the experiment says.
    assert ConvexAdmm.hidden_layers(ConvexAdmmSettings(patterns=7), [100, 50], 1) == [14]
    assert ConvexAdmm.hidden_layers(ConvexAdmmSettings(patterns=7), [], 3) == [42]


def test_it_learns_what_no_linear_model_can():
    p = by_sign_of_product([40], samples=600, features=3, loss="signed-squared")
    method = ConvexAdmm(ConvexAdmmSettings(patterns=20))
    s, _ = advance(method, method.init(p), 100)
    assert accuracy(p, method.weights(s)) > 0.9
    assert (method.own_labels(s, p.a0) == p.y[0]).mean() > 0.9
