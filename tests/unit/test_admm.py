"""Taylor's ADMM: every update is the minimiser it claims to be, and the bookkeeping around the updates."""

import threading

import numpy as np
import pytest
from helpers import Array, CountingComm, problem
from hypothesis import given
from hypothesis import strategies as st

from admmctl.methods.admm import Admm, AdmmSettings, AdmmState
from admmctl.methods.method import Problem
from admmctl.model import network as network_module

FORMS = pytest.mark.parametrize(
    ("hidden", "outputs"),
    [([], 1), ([6], 1), ([3], 4), ([5, 8, 3], 1)],
    ids=["no hidden layer", "narrowing", "widening", "three hidden layers"],
)


def admm(**settings) -> Admm:
    return Admm(AdmmSettings(**{"ridge": 0.0, **settings}))


def state_after(method: Admm, problem: Problem, steps: int) -> AdmmState:
    s = method.init(problem)
    for _ in range(steps):
        s = method.step(s)
    return s


def inputs(s: AdmmState, l: int) -> Array:
    """What W_l multiplies."""
    return s.problem.network.inputs(s.a[l - 1])


def h(s: AdmmState, z: Array) -> Array:
    return s.problem.network.activation.value(z, out=np.empty_like(z))


def activations(s: AdmmState, l: int) -> Array:
    """a_l without the row of ones below it."""
    return s.a[l][: s.problem.network.sizes[l]]


def penalty_objective(method: Admm, s: AdmmState) -> float:
    """Equation (4): the loss and all penalties, no multipliers."""
    L = s.problem.network.layers
    total = s.problem.loss.value(s.z[L], s.problem.y)
    for l in range(1, L + 1):
        total += method.beta(l) * np.sum((s.z[l] - s.W[l] @ inputs(s, l)) ** 2)
        if l < L:
            total += method.gamma(l) * np.sum((activations(s, l) - h(s, s.z[l])) ** 2)
    return float(total)


def least_squares(targets: Array, a: Array) -> Array:
    """min_W ||targets - W a||^2."""
    return np.linalg.lstsq(a.T, targets.T, rcond=None)[0].T


def dense_activations(method: Admm, s: AdmmState, l: int, W: Array, h_l: Array, target: Array) -> Array:
    """(beta W'W + gamma I)^-1 (beta W'(t - b) + gamma h), as printed, by a dense solve (W = W_{l+1})."""
    k, beta, gamma = s.problem.network.sizes[l], method.beta(l + 1), method.gamma(l)
    bias = W[:, k:] if s.problem.network.bias else 0.0
    W = W[:, :k]
    return np.linalg.solve(beta * W.T @ W + gamma * np.eye(k), beta * W.T @ (target - bias) + gamma * h_l)


def frozen(s: AdmmState) -> AdmmState:
    """A copy of what a step changes."""
    copies = [{l: x.copy() for l, x in arrays.items()} for arrays in (s.W, s.a, s.z)]
    return AdmmState(s.problem, *copies, s.lam.copy(), {}, iteration=s.iteration)


# -- the updates


@pytest.mark.parametrize("multipliers", ["full", "bregman", "none"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("sweep", "steps"), [("forward", 0), ("backward_first", 0), ("forward", 5)])
@FORMS
def test_a_and_w_updates_solve_their_least_squares_problems(hidden, outputs, sweep, steps, bias, multipliers):
    L = len(hidden) + 1
    method = admm(
        beta=[0.5 + l for l in range(L)],
        gamma=[2.0 + l for l in range(L - 1)],
        warm_iterations=2,
        multipliers=multipliers,
        sweep=sweep,
    )
    s = state_after(method, problem(hidden, outputs=outputs, bias=bias), steps)
    assert s.lam.any() == (multipliers != "none" and steps > 0)
    before = frozen(s)
    s = method.step(s)
    for l in range(1, L + 1):
        t = before.z[l]
        if l == L and multipliers == "full":
            t = t + before.lam / (2 * method.beta(L))
        if l > 1:
            a = dense_activations(method, s, l - 1, before.W[l], h(s, before.z[l - 1]), t)
            np.testing.assert_allclose(activations(s, l - 1), a, rtol=1e-9, atol=1e-9)
        # The W-update comes after: it sees the new activations and the old z.
        np.testing.assert_allclose(s.W[l], least_squares(t, inputs(s, l)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("outputs", [1, 3, 4, 7])
@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_gain_is_the_same_on_the_narrow_and_the_wide_side(outputs, ratio):
    method = admm(beta=2.0, gamma=2.0 * ratio)
    s = method.init(problem([4], outputs=outputs))
    generator = np.random.default_rng(outputs)
    s.W[2] = generator.standard_normal((outputs, 5))
    h_1, t = generator.standard_normal((4, 9)), generator.standard_normal((outputs, 9))
    a = h_1 + method._gain(s, 1) @ (t - s.W[2][:, :4] @ h_1 - s.W[2][:, 4:])
    np.testing.assert_allclose(a, dense_activations(method, s, 1, s.W[2], h_1, t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("multipliers", ["full", "bregman"])
@pytest.mark.parametrize("step", [1.0, 2.0])
def test_output_and_multiplier_updates(loss, multipliers, step):
    method = admm(beta=1.5, warm_iterations=0, multipliers=multipliers, multiplier_step=step)
    s = state_after(method, problem([5], loss=loss), 3)
    lam = s.lam.copy()
    s = method.step(s)
    m = s.W[2] @ inputs(s, 2)
    z = s.problem.loss.z_update(s.problem.y, m, lam, 1.5)
    np.testing.assert_allclose(s.z[2], z, atol=1e-12)
    np.testing.assert_allclose(s.lam, lam + step * 1.5 * (z - m), atol=1e-12)


@given(
    hidden=st.lists(st.integers(2, 6), max_size=2),
    activation=st.sampled_from(["relu", "hard-sigmoid"]),
    loss=st.sampled_from(["squared", "hinge"]),
    bias=st.booleans(),
    init=st.sampled_from(["forward", "gaussian"]),
    sweep=st.sampled_from(["forward", "backward_first"]),
    penalties=st.lists(st.sampled_from([0.1, 1.0, 10.0]), min_size=5, max_size=5),
    seed=st.integers(0, 1000),
)
def test_the_penalty_objective_never_increases_while_warm(
    hidden, activation, loss, bias, init, sweep, penalties, seed
):
    L = len(hidden) + 1
    method = admm(beta=penalties[:L], gamma=penalties[3:][: L - 1], init=init, sweep=sweep, warm_iterations=8)
    s = method.init(problem(hidden, samples=60, loss=loss, activation=activation, bias=bias, seed=seed))
    objective = penalty_objective(method, s)
    for _ in range(8):
        s = method.step(s)
        assert not s.lam.any()
        if any(np.linalg.cond(inputs(s, l)) > 1e5 for l in range(1, L + 1)):
            return  # a unit has died: no ridge of zero can be kept
        lower = penalty_objective(method, s)
        assert lower <= objective * (1 + 1e-9)
        # What the record says is the same number, per sample.
        assert method.residuals(s)["objective"] == pytest.approx(lower / 60, rel=1e-9)
        objective = lower


def test_the_penalty_objective_falls_with_many_outputs_and_float32():
    method = Admm(AdmmSettings(warm_iterations=20))
    s = method.init(problem([12], outputs=5, dtype=np.float32, samples=300))
    objectives = [penalty_objective(method, s)]
    for _ in range(20):
        s = method.step(s)
        objectives.append(penalty_objective(method, s))
    assert objectives[-1] < 0.5 * objectives[0]


# -- multipliers


@pytest.mark.parametrize("multipliers", ["full", "bregman"])
@pytest.mark.parametrize("warm", [0, 1, 4])
def test_multipliers_start_after_the_warm_iterations(multipliers, warm):
    method = admm(warm_iterations=warm, multipliers=multipliers)
    s = method.init(problem([5]))
    for iteration in range(1, 7):
        s = method.step(s)
        assert s.lam.any() == (iteration > warm)


def test_without_multipliers_there_are_none():
    method = admm(warm_iterations=0, multipliers="none")
    assert not state_after(method, problem([5]), 5).lam.any()


def test_while_warm_the_kinds_of_multipliers_agree():
    states = [
        state_after(admm(multipliers=kind, warm_iterations=5), problem([5]), 5)
        for kind in ("full", "bregman", "none")
    ]
    for s in states[1:]:
        for l in (1, 2):
            np.testing.assert_array_equal(s.W[l], states[0].W[l])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("multipliers", ["full", "bregman"])
@pytest.mark.parametrize("hidden", [[], [8, 4]], ids=["no hidden layer", "two hidden layers"])
def test_exact_hinge_multipliers_stay_in_their_interval(hidden, multipliers, dtype, tolerance):
    method = admm(ridge=1e-4, warm_iterations=3, multipliers=multipliers, multiplier_step=2.0)
    s = method.init(problem(hidden, loss="hinge", dtype=dtype))
    y = s.problem.y
    for _ in range(40):
        s = method.step(s)
        assert (s.lam >= np.where(y == 1, 0, -1) - tolerance).all()
        assert (s.lam <= np.where(y == 1, 1, 0) + tolerance).all()
    assert s.lam.any()


def test_full_multipliers_close_the_gap_of_the_last_constraint():
    # With real multipliers and no hidden layer this is the method of multipliers on a convex problem:
    # z_1 = W_1 a_0 in the limit, and W_1 is the least-squares solution of the labels.
    s = state_after(admm(warm_iterations=0, multiplier_step=2.0), problem([]), 200)
    np.testing.assert_allclose(s.z[1], s.W[1] @ inputs(s, 1), atol=1e-8)
    np.testing.assert_allclose(s.W[1], least_squares(s.problem.y, inputs(s, 1)), atol=1e-8)


# -- starts


@pytest.mark.parametrize("init", ["forward", "gaussian"])
@pytest.mark.parametrize("sweep", ["forward", "backward_first"])
def test_the_first_step_solves_w1_from_the_z_that_stand(init, sweep):
    method = admm(init=init, sweep=sweep)
    s = method.init(problem([5, 3]))
    z_1 = s.z[1].copy()
    s = method.step(s)
    np.testing.assert_allclose(s.W[1], least_squares(z_1, inputs(s, 1)), atol=1e-9)


@pytest.mark.parametrize("bias", [True, False])
def test_a_forward_start_satisfies_all_constraints(bias):
    method = admm()
    s = method.init(problem([6, 5], bias=bias))
    assert penalty_objective(method, s) == pytest.approx(s.problem.loss.value(s.z[3], s.problem.y))
    residuals = method.residuals(s)
    assert residuals["residual_z"] < 1e-10
    assert residuals["residual_a"] == 0


@pytest.mark.parametrize("hidden", [[], [6], [6, 3]])
def test_backward_first_starts_at_the_targets_and_sweeps_once(hidden):
    L = len(hidden) + 1
    start, method = admm(), admm(sweep="backward_first")
    old, s = start.init(problem(hidden)), method.init(problem(hidden))
    np.testing.assert_array_equal(s.z[L], s.problem.y)
    for l in range(L - 1, 0, -1):
        a = dense_activations(method, s, l, s.W[l + 1], h(s, old.z[l]), s.z[l + 1])
        np.testing.assert_allclose(activations(s, l), a, atol=1e-9)
        z = np.empty_like(s.z[l])
        # The layer below has not moved yet when z_l is updated: the sweep goes down.
        s.problem.network.activation.z_update(z, s.a[l], s.W[l] @ inputs(old, l), method.gamma(l), method.beta(l))
        np.testing.assert_allclose(s.z[l], z, atol=1e-9)
    if hidden:
        # W_L fits the targets, as well as the activations of the random start allow.
        np.testing.assert_allclose(s.W[L], least_squares(s.problem.y, inputs(old, L)), atol=1e-7)


@pytest.mark.parametrize("cut", [1, 37, 119])
def test_gaussian_start_depends_on_the_global_row_alone(cut):
    method = admm(init="gaussian", ridge=1e-2)
    whole = method.init(problem([5, 3]))
    parts = [method.init(problem([5, 3], columns=part)) for part in (slice(0, cut), slice(cut, 120))]
    for l in (1, 2, 3):
        np.testing.assert_array_equal(np.hstack([s.z[l] for s in parts]), whole.z[l])
    for l in (1, 2):
        np.testing.assert_array_equal(np.hstack([s.a[l] for s in parts]), whole.a[l])
        assert (whole.a[l][-1] == 1).all()
        assert not (activations(whole, l) == whole.z[l]).any()


def test_seeds_start_differently():
    for init in ("forward", "gaussian"):
        one, other = (admm(init=init).init(problem([5], seed=seed)) for seed in (0, 1))
        assert not (one.z[1] == other.z[1]).any()


# -- bookkeeping


@pytest.mark.parametrize("init", ["forward", "gaussian"])
def test_the_same_seed_gives_the_same_bits(init):
    method = Admm(AdmmSettings(init=init, warm_iterations=3))
    one, other = (state_after(method, problem([8, 5], dtype=np.float32), 8) for _ in range(2))
    for name in ("W", "z", "a"):
        for l, x in getattr(one, name).items():
            np.testing.assert_array_equal(x, getattr(other, name)[l])
    np.testing.assert_array_equal(one.lam, other.lam)


@pytest.mark.parametrize("multipliers", ["full", "bregman"])
@pytest.mark.parametrize("hidden", [[], [8, 5]], ids=["no hidden layer", "two hidden layers"])
def test_the_size_of_a_block_of_columns_does_not_matter(hidden, multipliers, monkeypatch):
    method = admm(ridge=1e-3, warm_iterations=3, multipliers=multipliers)

    def run(cache: int, blocks: int) -> AdmmState:
        monkeypatch.setattr(network_module, "_CACHE_BYTES", cache)
        s = state_after(method, problem(hidden, samples=300), 8)
        assert len(list(method._blocks(s))) == blocks
        return s

    small, large = run(1, 5), run(1 << 20, 1)
    for l in small.W:
        np.testing.assert_allclose(small.W[l], large.W[l], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(small.lam, large.lam, atol=1e-10)
    assert method.residuals(small) == pytest.approx(method.residuals(large), rel=1e-9)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sweep", ["forward", "backward_first"])
@FORMS
def test_one_allreduce_per_layer_and_step(hidden, outputs, bias, sweep):
    comm = CountingComm()
    p = problem(hidden, outputs=outputs, bias=bias, comm=comm)
    method = admm(ridge=1e-2, sweep=sweep)
    s = method.init(p)
    sizes = p.network.sizes
    inputs = [k + bias for k in sizes[:-1]]
    pairs = [k * (k + 1) // 2 + k * k_next for k, k_next in zip(inputs, sizes[1:], strict=True)]
    assert comm.lengths == pairs
    for _ in range(2):
        comm.lengths.clear()
        s = method.step(s)
        # a_0 a_0' never changes, so that layer 1 sends z_1 a_0' alone.
        assert comm.lengths == [sizes[1] * inputs[0], *pairs[1:]]


def test_two_ranks_make_the_steps_of_one():
    # Two threads: each Allreduce waits until the other half of the samples has sent its numbers too.
    meeting, sent = threading.Barrier(2, timeout=10), {}

    class Half(CountingComm):
        def __init__(self, rank):
            super().__init__()
            self.rank, self.size = rank, 2

        def allreduce(self, buffer, op="sum"):
            sent[self.rank] = buffer.copy()
            meeting.wait()
            buffer[...] = sent[0] + sent[1]
            meeting.wait()

    method = admm(ridge=1e-3, warm_iterations=2)
    whole = state_after(method, problem([6, 4]), 6)
    states, residuals = {}, {}

    def run(rank, columns):
        states[rank] = state_after(method, problem([6, 4], columns=columns, comm=Half(rank)), 6)
        residuals[rank] = method.residuals(states[rank])

    threads = [threading.Thread(target=run, args=part) for part in ((0, slice(0, 71)), (1, slice(71, 120)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert residuals[0] == residuals[1] == pytest.approx(method.residuals(whole), rel=1e-8)
    for l in (1, 2, 3):
        np.testing.assert_array_equal(states[0].W[l], states[1].W[l])
        np.testing.assert_allclose(states[0].W[l], whole.W[l], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(np.hstack([states[0].z[l], states[1].z[l]]), whole.z[l], atol=1e-8)


def test_weights_and_rows_seen():
    method = admm(ridge=1e-2)
    s = state_after(method, problem([6, 4], columns=slice(0, 50)), 3)
    assert [W.shape for W in method.weights(s)] == [(6, 5), (4, 7), (1, 5)]
    assert method.rows_seen(s) == 3 * 120  # of all ranks, not of this one alone


def test_inputs_and_the_rows_of_ones_are_never_written_to():
    p = problem([6, 4])
    a0 = p.a0.copy()
    s = state_after(Admm(AdmmSettings(warm_iterations=1)), p, 4)
    np.testing.assert_array_equal(p.a0, a0)
    for l in (1, 2):
        assert (s.a[l][-1] == 1).all()


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"beta": [1.0, 1.0, 1.0], "gamma": [10.0, 10.0]}, []),
        ({"beta": 1.0, "gamma": 10.0}, []),
        ({"beta": [1.0], "gamma": [10.0, 10.0, 10.0]}, ["beta", "gamma"]),
        ({"gamma": []}, ["gamma"]),
    ],
)
def test_lists_of_penalties_must_fit_the_layers(settings, keys):
    assert [key for key, _ in Admm.check(AdmmSettings(**settings), 3)] == keys


def test_training_learns_what_no_linear_model_can():
    # Labels by the sign of x1 x2: least squares on the inputs stays near one half.
    generator = np.random.default_rng(0)
    p = problem([40, 20], samples=2000, dtype=np.float32)
    p.a0[:-1] = generator.uniform(-1, 1, p.a0[:-1].shape)
    p.y[...] = p.a0[0] * p.a0[1] > 0
    method = Admm(AdmmSettings(ridge=1e-3))
    s = state_after(method, p, 40)
    z = p.network.forward(method.weights(s), p.a0)
    assert ((z > 0.5) == (p.y > 0.5)).mean() > 0.85
    linear = least_squares(p.y, p.a0) @ p.a0
    assert ((linear > 0.5) == (p.y > 0.5)).mean() < 0.6
