"""Classical ADMM: every update minimises the augmented Lagrangian, and without multipliers it is ``admm``."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.methods import after
from support.problems import Array, problem

from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.classical import ClassicalAdmm, ClassicalAdmmSettings, ClassicalState
from admmctl.methods.taylor.settings import AdmmSettings

FORMS = pytest.mark.parametrize(
    ("hidden", "outputs"),
    [([], 1), ([6], 1), ([3], 4), ([5, 8, 3], 1)],
    ids=["no hidden layer", "narrowing", "widening", "three hidden layers"],
)


def classical(**settings) -> ClassicalAdmm:
    return ClassicalAdmm(ClassicalAdmmSettings(**{"ridge": 0.0, "warm_iterations": 0, **settings}))


def penalties(L: int) -> dict[str, list[float]]:
    """All different, so that none can be taken for another."""
    return {"beta": [0.5 + l for l in range(L)], "gamma": [2.0 + l for l in range(L - 1)]}


def frozen(s: ClassicalState) -> SimpleNamespace:
    """A copy of what a step changes."""
    return SimpleNamespace(
        **{x: {l: v.copy() for l, v in getattr(s, x).items()} for x in ("W", "a", "z", "u", "v")}
    )


def h(s: ClassicalState, z: Array) -> Array:
    return s.problem.network.h(1).value(z, out=np.empty_like(z))


def inputs(s: ClassicalState, a: dict[int, Array], l: int) -> Array:
    """What W_l multiplies, of the activations ``a``."""
    return s.problem.network.inputs(s.problem.a0) if l == 1 else a[l - 1]


def lagrangian(method: ClassicalAdmm, s: ClassicalState, x: SimpleNamespace) -> float:
    """The augmented Lagrangian of the variables ``x``, written with plain multipliers and products."""
    p, L = s.problem, s.problem.network.layers
    total = p.loss.value(x.z[L], p.y)
    for l in range(1, L + 1):
        r = x.z[l] - x.W[l] @ inputs(s, x.a, l)
        lam = 2 * method.settings.beta_of(l) * x.u[l]
        total += float(np.sum(lam * r) + method.settings.beta_of(l) * np.sum(r**2))
        if l < L:
            r = x.a[l][: len(x.z[l])] - h(s, x.z[l])
            lam = 2 * method.settings.gamma_of(l) * x.v[l]
            total += float(np.sum(lam * r) + method.settings.gamma_of(l) * np.sum(r**2))
    return total


@pytest.mark.parametrize("activation", ["relu", "hard-sigmoid"])
@pytest.mark.parametrize("loss", ["squared", "signed-squared", "hinge"])
@pytest.mark.parametrize("bias", [True, False])
@FORMS
def test_every_update_is_a_minimiser_of_the_augmented_lagrangian(hidden, outputs, bias, loss, activation):
    L = len(hidden) + 1
    method = classical(**penalties(L))
    p = problem(hidden, outputs=outputs, bias=bias, loss=loss, activation=activation, samples=50)
    s = after(method, p, 3)
    assert all(x.any() for x in (*s.u.values(), *s.v.values()))
    before = frozen(s)
    s = method.step(s)
    # W is of the a, z and multipliers that stood before; z of the new W; a of everything new, one a_l at a time.
    after_W = SimpleNamespace(**{**vars(before), "W": s.W})
    after_z = SimpleNamespace(**{**vars(after_W), "z": s.z})
    after_u = SimpleNamespace(**{**vars(after_z), "u": s.u, "v": s.v})
    generator = np.random.default_rng(0)
    for stage, name in ((after_W, "W"), (after_z, "z"), (after_u, "a")):
        for l, values in getattr(s, name).items():

            def of(candidate: Array, stage=stage, name=name, l=l) -> float:
                others = getattr(stage, name)
                return lagrangian(method, s, SimpleNamespace(**{**vars(stage), name: {**others, l: candidate}}))

            least = of(values)
            for size in (1e-3, 1e-1, 2.0):
                away = size * generator.standard_normal(values.shape)
                if name == "a" and bias:
                    away[-1] = 0  # the row of ones
                # Both ways: unless the slope is zero, one of them leads down.
                assert min(of(values + away), of(values - away)) >= least - 1e-9 * abs(least)


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_multipliers_move_along_what_is_left_of_their_constraints(step):
    method = classical(multiplier_step=step, **penalties(3))
    s = after(method, problem([6, 4]), 3)
    before = frozen(s)
    s = method.step(s)
    for l in (1, 2, 3):
        r = s.z[l] - s.W[l] @ inputs(s, before.a, l)
        np.testing.assert_allclose(s.u[l], before.u[l] + step / 2 * r, atol=1e-12)
    for l in (1, 2):
        r = before.a[l][: len(s.z[l])] - h(s, s.z[l])
        np.testing.assert_allclose(s.v[l], before.v[l] + step / 2 * r, atol=1e-12)


@pytest.mark.parametrize("warm", [0, 1, 4])
def test_multipliers_start_after_the_warm_iterations(warm):
    method = classical(warm_iterations=warm)
    s = method.init(problem([5]))
    for iteration in range(1, 7):
        s = method.step(s)
        for x in (*s.u.values(), *s.v.values()):
            assert x.any() == (iteration > warm)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("bias", [True, False])
@FORMS
def test_without_multipliers_it_is_admm(hidden, outputs, bias, loss):
    shared = {**penalties(len(hidden) + 1), "ridge": 1e-3, "warm_iterations": 20}
    other = Admm(AdmmSettings(penalties="fixed", multipliers="none", **shared))
    method = ClassicalAdmm(ClassicalAdmmSettings(**shared))
    p = problem(hidden, outputs=outputs, bias=bias, loss=loss)
    s, expected = method.init(p), other.init(p)
    for _ in range(12):
        s, expected = method.step(s), other.step(expected)
        for W, V in zip(method.weights(s), other.weights(expected), strict=True):
            np.testing.assert_allclose(W, V, rtol=1e-6, atol=1e-8)
    assert method.residuals(s) == pytest.approx(other.residuals(expected), rel=1e-6)


def test_without_hidden_layers_it_is_admm_with_full_multipliers():
    # There the only constraint is the last one.
    other = Admm(AdmmSettings(multipliers="full", multiplier_step=2.0, warm_iterations=2, ridge=0.0))
    method = classical(warm_iterations=2)
    p = problem([])
    s, expected = after(method, p, 9), after(other, p, 9)
    np.testing.assert_allclose(s.W[1], expected.W[1], rtol=1e-8)
    np.testing.assert_allclose(2 * s.u[1], expected.lam, atol=1e-9)
    assert method.residuals(s) == pytest.approx(other.residuals(expected), rel=1e-6)


def test_the_record_says_the_augmented_lagrangian():
    method = classical(**penalties(3))
    s = after(method, problem([6, 4]), 5)
    assert method.residuals(s)["objective"] == pytest.approx(lagrangian(method, s, frozen(s)) / 120, rel=1e-9)
