"""Stochastic ADMM: subsets by global row, the state of those not drawn, momentum, and what it costs."""

import numpy as np
import pytest
from support.methods import accuracy, after, by_sign_of_product, on_parts
from support.problems import problem

from admmctl.errors import UserError
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.settings import AdmmSettings
from admmctl.methods.taylor.state import AdmmState
from admmctl.methods.taylor.stochastic import StochasticAdmm, StochasticAdmmSettings

SAMPLES = 400


def stochastic(**settings) -> StochasticAdmm:
    return StochasticAdmm(StochasticAdmmSettings(**{"ridge": 1e-2, **settings}))


@pytest.mark.parametrize("multipliers", ["full", "bregman", "none"])
@pytest.mark.parametrize(("hidden", "outputs"), [([6], 1), ([20, 4], 1), ([6, 20], 20)])
def test_on_all_rows_with_full_steps_it_is_admm(hidden, outputs, multipliers):
    p = problem(hidden, outputs=outputs, samples=SAMPLES)
    settings = {"ridge": 1e-2, "warm_iterations": 3, "multipliers": multipliers}
    whole = after(Admm(AdmmSettings(**{"penalties": "fixed", **settings})), p, 6)
    method = stochastic(subset=1.0, momentum=0.0, step=1.0, **settings)
    drawn = after(method, p, 6)
    for l, W in whole.W.items():
        np.testing.assert_allclose(drawn.s.W[l], W, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(drawn.kept.z[l], whole.z[l], atol=1e-8)
    np.testing.assert_allclose(drawn.kept.lam, whole.lam, atol=1e-8)
    expected = Admm(AdmmSettings(**{"penalties": "fixed", **settings})).residuals(whole)
    assert method.residuals(drawn) == pytest.approx(expected, rel=1e-7)


def test_rows_that_are_not_drawn_keep_their_state_and_those_drawn_change():
    method = stochastic(subset=0.3, warm_iterations=0)
    state = after(method, problem([6, 4], samples=SAMPLES), 2)
    before = {l: z.copy() for l, z in state.kept.z.items()}
    lam = state.kept.lam.copy()
    state = method.step(state)
    changed = {l: (state.kept.z[l] != before[l]).any(axis=0) for l in before}
    count = state.s.lam.shape[1]
    assert 0.15 * SAMPLES < count < 0.45 * SAMPLES
    for moved in changed.values():
        assert moved.sum() == count
        np.testing.assert_array_equal(moved, changed[1])
    np.testing.assert_array_equal((state.kept.lam != lam).any(axis=0), changed[1])


def test_subsets_are_fresh_and_have_the_asked_for_size():
    method = stochastic(subset=0.25)
    p = problem([4], samples=4000)
    state = method.init(p)
    chosen = []
    for _ in range(8):
        chosen.append(method._gather(state))
        state.iteration += 1
    assert np.mean([len(rows) for rows in chosen]) == pytest.approx(1000, rel=0.05)
    both = len(np.intersect1d(chosen[0], chosen[1]))
    assert both == pytest.approx(250, rel=0.25)  # two independent draws of a quarter share a sixteenth
    assert len(np.unique(np.concatenate(chosen))) == pytest.approx(4000 * (1 - 0.75**8), rel=0.03)


def test_momentum_moves_the_weights_as_its_formula_says(monkeypatch):
    p = problem([6], samples=SAMPLES)
    method = stochastic(subset=1.0, momentum=0.5, step=0.25, warm_iterations=100)
    state = method.init(p)
    first = {l: W.copy() for l, W in state.s.W.items()}
    state = method.step(state)
    second = {l: W.copy() for l, W in state.s.W.items()}
    # The same start and the same rows: the first least squares are those of ``admm``.
    plain = Admm(AdmmSettings(ridge=1e-2, warm_iterations=100))
    target = after(plain, p, 1).W
    for l in first:
        np.testing.assert_allclose(second[l], first[l] + 0.25 * (target[l] - first[l]), rtol=1e-9, atol=1e-12)
    v = {l: second[l] - first[l] for l in first}
    solved, update_W = {}, AdmmState.update_W

    def watched(s):
        update_W(s)
        solved.update({l: W.copy() for l, W in s.W.items()})

    monkeypatch.setattr(AdmmState, "update_W", watched)
    state = method.step(state)
    for l in first:
        expected = second[l] + 0.5 * v[l] + 0.25 * (solved[l] - second[l])
        np.testing.assert_allclose(state.s.W[l], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("init", ["forward", "gaussian"])
def test_a_rank_without_samples_changes_nothing(init):
    method = stochastic(subset=0.4, warm_iterations=2, init=init, inner=3)
    whole = after(method, problem([6, 20], outputs=20, samples=SAMPLES), 5)

    def rank(comm, mine):
        own = stochastic(subset=0.4, warm_iterations=2, init=init, inner=3)
        state = after(own, problem([6, 20], outputs=20, samples=SAMPLES, columns=mine, comm=comm), 5)
        return state, own.residuals(state)

    parts = on_parts([0, 0, 251, SAMPLES], rank)
    for state, residuals in parts:
        assert residuals == pytest.approx(method.residuals(whole), rel=1e-7)
        for l, W in whole.s.W.items():
            np.testing.assert_allclose(state.s.W[l], W, rtol=1e-7, atol=1e-8)
    for l, z in whole.kept.z.items():
        np.testing.assert_allclose(np.hstack([state.kept.z[l] for state, _ in parts]), z, atol=1e-7)


def test_low_rank_updates_work_on_subsets():
    p = problem([40], outputs=3, samples=SAMPLES)
    exact = after(stochastic(), p, 5)
    pcg = after(stochastic(w_update="nystrom-pcg", rank=10, min_width=8, tolerance=1e-10), p, 5)
    for l, W in exact.s.W.items():
        np.testing.assert_allclose(pcg.s.W[l], W, atol=1e-5)


def test_it_learns_what_no_linear_model_can():
    p, method = by_sign_of_product(samples=2000), stochastic(ridge=1e-3)
    assert accuracy(p, method.weights(after(method, p, 160))) > 0.85


@pytest.mark.parametrize("hidden", [[], [30], [30, 20, 12]])
def test_the_state_grows_with_rows_as_cost_says(hidden):
    def held(samples: int) -> int:
        p = problem(hidden, samples=samples, dtype=np.float32)
        state = stochastic().init(p)
        room = state.room
        kept = [part for a in room.a.values() for part in vars(a).values() if isinstance(part, np.ndarray)]
        arrays = [*state.kept.z.values(), state.kept.lam, *room.z.values(), room.lam, *kept]
        return sum(x.nbytes for x in [*arrays, room.problem.a0, room.problem.y])

    network = problem(hidden).network
    few, many = (stochastic().cost(network, samples, 10**6).state_bytes for samples in (20_000, 40_000))
    assert many - few == held(40_000) - held(20_000)


def test_subsets_of_a_handful_of_rows_are_refused():
    network = problem([4]).network
    with pytest.raises(UserError, match=r"0\.001 of 5000 training rows is 5 rows per iteration; expected 32"):
        stochastic(subset=0.001).check_size(network, 5000, 1, None)
    stochastic(subset=0.01).check_size(network, 5000, 1, None)


def test_rows_seen_count_every_sweep():
    method = stochastic(subset=0.25, inner=2)
    state = after(method, problem([4], samples=SAMPLES), 3)
    assert method.rows_seen(state) == 3 * 2 * SAMPLES // 4
