"""Taylor's ADMM: every update is the minimiser it claims to be, and the bookkeeping around the updates."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.methods import accuracy, after, by_sign_of_product, standing
from support.problems import Array, problem
from support.ranks import CountingComm, on_ranks
from threadpoolctl import threadpool_info, threadpool_limits

from admmctl import kernels
from admmctl.methods.taylor import hidden as hidden_module
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.printed import PrintedAdmm
from admmctl.methods.taylor.settings import AdmmSettings, PrintedSettings
from admmctl.methods.taylor.state import AdmmState, starting_inputs
from admmctl.model import network as network_module

FORMS = pytest.mark.parametrize(
    ("hidden", "outputs"),
    [([], 1), ([6], 1), ([3], 4), ([5, 8, 3], 1)],
    ids=["no hidden layer", "narrowing", "widening", "three hidden layers"],
)


def admm(**settings) -> Admm:
    return Admm(AdmmSettings(**{"ridge": 0.0, **settings}))


def with_ones(a: Array) -> Array:
    return np.vstack([a, np.ones_like(a[:1])])


def h(s: AdmmState, z: Array) -> Array:
    return s.problem.network.h(1).value(z, out=np.empty_like(z))


def activations(s: AdmmState, l: int) -> Array:
    """a_l without the row of ones below it."""
    return standing(s, l)[: s.problem.network.sizes[l]]


def penalty_objective(method: Admm, s: AdmmState) -> float:
    """Equation (4): the loss and all penalties, no multipliers."""
    L = s.problem.network.layers
    total = s.problem.loss.value(s.z[L], s.problem.y)
    for l in range(1, L + 1):
        total += method.settings.beta_of(l) * np.sum((s.z[l] - s.W[l] @ standing(s, l - 1)) ** 2)
        if l < L:
            total += method.settings.gamma_of(l) * np.sum((activations(s, l) - h(s, s.z[l])) ** 2)
    return float(total)


def least_squares(targets: Array, a: Array) -> Array:
    """min_W ||targets - W a||^2."""
    return np.linalg.lstsq(a.T, targets.T, rcond=None)[0].T


def dense_activations(method: Admm, s: Any, l: int, W: Array, h_l: Array, target: Array) -> Array:
    """(beta W'W + gamma I)^-1 (beta W'(t - b) + gamma h), as printed, by a dense solve (W = W_{l+1})."""
    k, beta, gamma = s.problem.network.sizes[l], method.settings.beta_of(l + 1), method.settings.gamma_of(l)
    bias = W[:, k:] if s.problem.network.bias else 0.0
    W = W[:, :k]
    return np.linalg.solve(beta * W.T @ W + gamma * np.eye(k), beta * W.T @ (target - bias) + gamma * h_l)


def cheapest_z(method: Admm, s: AdmmState, l: int, a: Array, m: Array) -> Array:
    """argmin gamma ||a - h(z)||^2 + beta ||z - m||^2."""
    z = np.empty_like(s.z[l])
    s.problem.network.h(l).z_update(z, a, m, method.settings.gamma_of(l), method.settings.beta_of(l))
    return z


def frozen(s: AdmmState) -> SimpleNamespace:
    """A copy of what a step changes; a with its rows of ones, the inputs among them."""
    a = {l: standing(s, l).copy() for l in range(s.problem.network.layers)}
    W, z = ({l: x.copy() for l, x in arrays.items()} for arrays in (s.W, s.z))
    return SimpleNamespace(W=W, a=a, z=z, lam=s.lam.copy())


def target(method: Admm, s: AdmmState | SimpleNamespace, l: int, L: int) -> Array:
    """What W_l a_{l-1} should be."""
    full = l == L and method.settings.multipliers == "full"
    return s.z[l] + s.lam / (2 * method.settings.beta_of(L)) if full else s.z[l]


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
    s = after(method, problem(hidden, outputs=outputs, bias=bias), steps)
    assert s.lam.any() == (multipliers != "none" and steps > 0)
    before = frozen(s)
    s = method.step(s)
    for l in range(1, L + 1):
        t = target(method, before, l, L)
        # The activations that stood were made of the z and W that stood with them.
        if l > 1:
            a = dense_activations(method, s, l - 1, before.W[l], h(s, before.z[l - 1]), t)
            k = s.problem.network.sizes[l - 1]
            np.testing.assert_allclose(before.a[l - 1][:k], a, rtol=1e-9, atol=1e-9)
            assert (before.a[l - 1][k:] == 1).all()
        np.testing.assert_allclose(s.W[l], least_squares(t, before.a[l - 1]), rtol=1e-6, atol=1e-7)
        # And so were z and the activations that stand now.
        if l < L:
            z = cheapest_z(method, s, l, before.a[l], s.W[l] @ before.a[l - 1])
            np.testing.assert_allclose(s.z[l], z, rtol=1e-7, atol=1e-8)
            a = dense_activations(method, s, l, s.W[l + 1], h(s, s.z[l]), target(method, s, l + 1, L))
            np.testing.assert_allclose(activations(s, l), a, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("init", ["forward", "gaussian"])
@pytest.mark.parametrize("multipliers", ["full", "bregman", "none"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("wide", [1, 64], ids=["a stored", "a by residuals"])
@FORMS
def test_one_pass_over_all_layers_makes_the_iterates_of_the_printed_loop(
    hidden, outputs, wide, bias, multipliers, init, monkeypatch
):
    monkeypatch.setattr(hidden_module, "NARROW", wide)
    L = len(hidden) + 1
    settings = {
        "beta": [0.5 + l for l in range(L)],
        "gamma": [2.0 + l for l in range(L - 1)],
        "ridge": 1e-6,
        "init": init,
        "warm_iterations": 3,
        "multipliers": multipliers,
        "multiplier_step": 1.5,
    }
    method, printed = admm(**settings), PrintedAdmm(PrintedSettings(**settings))
    p = problem(hidden, outputs=outputs, bias=bias, loss="hinge")
    s, expected = method.init(p), printed.init(p)
    for _ in range(6):
        s, expected = method.step(s), printed.step(expected)
        for l in range(1, L + 1):
            np.testing.assert_allclose(s.W[l], expected.W[l], rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(s.z[l], expected.z[l], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(s.lam, expected.lam, rtol=1e-6, atol=1e-7)
    assert s.lam.any() == (multipliers != "none")


@pytest.mark.parametrize("multipliers", ["full", "bregman"])
def test_output_and_multiplier_updates(multipliers):
    step = 2.0
    method = admm(beta=1.5, warm_iterations=0, multipliers=multipliers, multiplier_step=step)
    s = after(method, problem([5], loss="hinge"), 3)
    before = frozen(s)
    s = method.step(s)
    lam, m = before.lam, s.W[2] @ before.a[1]
    z = s.problem.loss.z_update(s.problem.y, m, lam, 1.5)
    np.testing.assert_allclose(s.z[2], z, atol=1e-12)
    np.testing.assert_allclose(s.lam, lam + step * 1.5 * (z - m), atol=1e-12)


@given(
    hidden=st.lists(st.integers(2, 6), max_size=2),
    activation=st.sampled_from(["relu", "hard-sigmoid"]),
    loss=st.sampled_from(["squared", "signed-squared", "hinge"]),
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
        if any(np.linalg.cond(standing(s, l - 1)) > 1e5 for l in range(1, L + 1)):
            return  # a unit has died: no ridge of zero can be kept
        lower = penalty_objective(method, s)
        assert lower <= objective * (1 + 1e-9)
        # What the record says is the same number, per sample.
        assert method.residuals(s)["objective"] == pytest.approx(lower / 60, rel=1e-9)
        objective = lower


# -- multipliers


@pytest.mark.parametrize("multipliers", ["full", "bregman", "none"])
@pytest.mark.parametrize("warm", [0, 1, 4])
def test_multipliers_start_after_the_warm_iterations(multipliers, warm):
    method = admm(warm_iterations=warm, multipliers=multipliers)
    s = method.init(problem([5]))
    for iteration in range(1, 7):
        s = method.step(s)
        assert s.lam.any() == (multipliers != "none" and iteration > warm)


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
    s = after(admm(warm_iterations=0, multiplier_step=2.0), problem([]), 200)
    np.testing.assert_allclose(s.z[1], s.W[1] @ standing(s, 0), atol=1e-8)
    np.testing.assert_allclose(s.W[1], least_squares(s.problem.y, standing(s, 0)), atol=1e-8)


# -- starts


@pytest.mark.parametrize("bias", [True, False])
def test_a_forward_start_satisfies_all_constraints(bias):
    method = admm()
    s = method.init(problem([6, 5], bias=bias))
    assert penalty_objective(method, s) == pytest.approx(s.problem.loss.value(s.z[3], s.problem.y))
    residuals = method.residuals(s)
    assert residuals["residual_z"] < 1e-10
    assert residuals["residual_a"] < 1e-10


@pytest.mark.parametrize("hidden", [[], [6], [6, 3]])
def test_backward_first_starts_at_the_targets_and_sweeps_once(hidden):
    L = len(hidden) + 1
    start, method = admm(), admm(sweep="backward_first")
    old, s = start.init(problem(hidden)), method.init(problem(hidden))
    np.testing.assert_array_equal(s.z[L], s.problem.y)
    for l in range(L - 1, 0, -1):
        a = dense_activations(method, s, l, s.W[l + 1], h(s, old.z[l]), s.z[l + 1])
        # The layer below has not moved yet when z_l is updated: the sweep goes down.
        below = with_ones(h(s, old.z[l - 1])) if l > 1 else standing(old, 0)
        np.testing.assert_allclose(s.z[l], cheapest_z(method, s, l, a, s.W[l] @ below), atol=1e-9)
        a = dense_activations(method, s, l, s.W[l + 1], h(s, s.z[l]), s.z[l + 1])
        np.testing.assert_allclose(activations(s, l), a, atol=1e-9)
    if hidden:
        # W_L fits the targets, as well as the activations of the random start allow.
        W_L = least_squares(s.problem.y, with_ones(h(s, old.z[L - 1])))
        np.testing.assert_allclose(s.W[L], W_L, atol=1e-7)


@pytest.mark.parametrize("cut", [1, 37, 119])
def test_gaussian_start_depends_on_the_global_row_alone(cut):
    method = admm(init="gaussian", ridge=1e-2)
    whole = method.init(problem([5, 3]))
    parts = [method.init(problem([5, 3], columns=part)) for part in (slice(0, cut), slice(cut, 120))]
    for l in (1, 2, 3):
        np.testing.assert_array_equal(np.hstack([s.z[l] for s in parts]), whole.z[l])
    for l in (2, 3):
        drawn = [np.hstack([starting_inputs(s, "gaussian", l, c) for c in s.blocks()]) for s in (*parts, whole)]
        np.testing.assert_array_equal(np.hstack(drawn[:2]), drawn[2])
        assert (drawn[2][-1] == 1).all()
        assert not (drawn[2][:-1] == whole.z[l - 1]).any()


@pytest.mark.parametrize("made", [admm, lambda **given: PrintedAdmm(PrintedSettings(**given))])
def test_the_deviation_of_a_gaussian_start_is_that_of_z_and_a(made):
    p = problem([5, 3])
    whole, small = (made(init="gaussian", ridge=1e-2, init_deviation=value).init(p) for value in (1.0, 0.25))
    for l in (1, 2, 3):
        np.testing.assert_allclose(small.z[l], 0.25 * whole.z[l], rtol=1e-12)
        one, other = (starting_inputs(s, "gaussian", l, slice(0, 120)) for s in (small, whole))
        np.testing.assert_allclose(one[:-1], (0.25 if l > 1 else 1.0) * other[:-1], rtol=1e-12)
        assert (one[-1] == other[-1]).all()
    assert np.abs(small.W[2] - whole.W[2]).max() > 1e-3  # the ones of the bias are not scaled


def test_a_deviation_is_of_a_gaussian_start():
    settings = AdmmSettings(init="gaussian", init_deviation=0.5)
    assert Admm.check(settings, 2) == []
    assert AdmmSettings(**settings.plain()) == settings
    assert "init_deviation" not in AdmmSettings(init="gaussian").plain()
    assert [key for key, _ in Admm.check(AdmmSettings(init_deviation=0.5), 2)] == ["init_deviation"]
    # As a run's resolved experiment may say it.
    assert PrintedAdmm.check(PrintedSettings(init_deviation=1.0), 2) == []


def test_seeds_start_differently():
    for init in ("forward", "gaussian"):
        one, other = (admm(init=init).init(problem([5], seed=seed)) for seed in (0, 1))
        assert not (one.z[1] == other.z[1]).any()


# -- bookkeeping


@pytest.mark.parametrize("multipliers", ["full", "bregman"])
@pytest.mark.parametrize("hidden", [[], [8, 5]], ids=["no hidden layer", "two hidden layers"])
def test_the_size_of_a_block_of_columns_does_not_matter(hidden, multipliers, monkeypatch):
    method = admm(ridge=1e-3, warm_iterations=3, multipliers=multipliers)

    def run(cache: int, blocks: int) -> AdmmState:
        monkeypatch.setattr(network_module, "_CACHE_BYTES", cache)
        s = after(method, problem(hidden, samples=300), 8)
        assert len(list(s.blocks())) == blocks
        return s

    small, large = run(1, 5), run(1 << 20, 1)
    for l in small.W:
        np.testing.assert_allclose(small.W[l], large.W[l], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(small.lam, large.lam, atol=1e-10)
    assert method.residuals(small) == pytest.approx(method.residuals(large), rel=1e-9)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sweep", ["forward", "backward_first"])
@FORMS
def test_sums_of_all_layers_are_sent_once_per_step(hidden, outputs, bias, sweep):
    comm = CountingComm()
    p = problem(hidden, outputs=outputs, bias=bias, comm=comm)
    method = admm(ridge=1e-2, sweep=sweep)
    s = method.init(p)
    sizes = p.network.sizes
    inputs = [k + bias for k in sizes[:-1]]
    first, *others = [8 * (k * (k + 1) // 2) for k in inputs]
    rows = 8 * sum(k * k_next for k, k_next in zip(inputs, sizes[1:], strict=True))
    weights = [("reduce_scatter", rows), ("allgather", rows)]
    assert comm.verbs == [("reduce", first + sum(others)), *weights]
    for _ in range(2):
        comm.verbs.clear()
        s = method.step(s)
        # a_0 a_0' never changes, so that layer 1 sends z_1 a_0' alone.
        assert comm.verbs == [("reduce", sum(others)), *weights][not others :]


@pytest.mark.parametrize("init", ["forward", "gaussian"])
@pytest.mark.parametrize("outputs", [1, 20], ids=["a by residuals", "a stored"])
@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_rank_without_samples_changes_nothing(empty, outputs, init):
    method = admm(ridge=1e-3, warm_iterations=2, init=init)

    def trained(parts: list[slice]) -> list[tuple[AdmmState, dict[str, float]]]:
        def rank(comm):
            s = after(method, problem([6, 20], outputs=outputs, columns=parts[comm.rank], comm=comm), 5)
            residuals = method.residuals(s)
            return s, residuals

        return on_ranks(len(parts), rank)

    parts = [slice(0, 71), slice(71, 120)]
    expected, residuals = trained(parts)[0]
    parts.insert(empty, slice(parts[empty - 1].stop, parts[empty - 1].stop) if empty else slice(0, 0))
    for rank, (s, found) in enumerate(trained(parts)):
        assert s.lam.shape[1] == (0 if rank == empty else parts[rank].stop - parts[rank].start)
        assert found == pytest.approx(residuals, rel=1e-9)
        for l, W in expected.W.items():
            np.testing.assert_allclose(s.W[l], W, rtol=1e-8, atol=1e-10)


# -- rounding: what is not to change results beyond it


CASES = [
    (hidden, outputs, activation, dtype)
    for hidden, outputs in (([6], 1), ([20, 18, 5], 3))  # 18 units are stored, below 3 and 5 it is by residuals
    for activation in ("relu", "hard-sigmoid")
    for dtype in ("float32", "float64")
]


def trained_weights() -> dict[str, Array]:
    """Weights after eight iterations of every case, by case and layer."""
    weights = {}
    for number, (hidden, outputs, activation, dtype) in enumerate(CASES):
        p = problem(hidden, outputs=outputs, activation=activation, dtype=np.dtype(dtype).type, samples=300)
        s = after(admm(ridge=1e-2, warm_iterations=4), p, 8)
        weights |= {f"{number}-{l}": W for l, W in s.W.items()}
    return weights


def assert_equal_to_rounding(weights: dict[str, Array], expected: dict[str, Array]) -> None:
    assert weights.keys() == expected.keys()
    for name, W in weights.items():
        tolerance = 1e-9 if expected[name].dtype == np.float64 else 1e-2
        assert W.dtype == expected[name].dtype
        np.testing.assert_allclose(W, expected[name], rtol=0, atol=tolerance * np.abs(expected[name]).max())


def test_plain_kernels_change_results_by_rounding_alone(tmp_path):
    if not kernels.COMPILED:
        pytest.skip("numba is not here: there is one path only")
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = (
        f"import sys; sys.path[:0] = {folders}; import numpy, test_admm; assert not test_admm.kernels.COMPILED; "
        "assert 'numba' not in sys.modules; numpy.savez(sys.argv[1], **test_admm.trained_weights())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "weights.npz")]
    subprocess.run(command, env={**os.environ, "ADMMCTL_KERNELS": "numpy"}, check=True, timeout=60)
    plain, compiled = dict(np.load(tmp_path / "weights.npz")), trained_weights()
    assert_equal_to_rounding(plain, compiled)
    # Other loops were at work: they do not round alike.
    assert any((plain[name] != W).any() for name, W in compiled.items())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_of_the_linear_algebra_change_results_by_rounding_alone(dtype):
    def run(threads: int) -> dict[str, Array]:
        with threadpool_limits(limits=threads, user_api="blas"):
            if max(pool["num_threads"] for pool in threadpool_info()) != threads:
                pytest.skip(f"this linear algebra has no {threads} threads")
            s = after(
                admm(ridge=1e-2, warm_iterations=2), problem([90, 40], samples=1000, dtype=dtype, outputs=3), 6
            )
        return {str(l): W for l, W in s.W.items()}

    assert_equal_to_rounding(run(2), run(1))


# -- what it costs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [1, 7])
@pytest.mark.parametrize("hidden", [[], [5], [5, 8, 3]])
def test_the_useful_operations_are_those_of_the_updates(hidden, outputs, bias):
    def product(m: int, n: int, k: int) -> int:
        return 2 * m * n * k

    n, network = 1000, problem(hidden, outputs=outputs, bias=bias).network
    expected, L = 0.0, network.layers
    for l in range(1, L + 1):
        k_below, k = network.sizes[l - 1], network.sizes[l]
        ones = k_below + bias
        expected += product(k, ones, n)  # z_l a_(l-1)'
        expected += product(k, n, ones)  # m = W_l a_(l-1)
        if l > 1:
            expected += n * ones * (ones + 1)  # a_(l-1) a_(l-1)'
            expected += ones**3 / 3  # its Cholesky factor; that of a_0 is kept
            expected += product(k, n, k_below) + product(k_below, n, k)  # (6): W h and V e
            expected += min(k, k_below) ** 3 / 3  # the factor in V
    cost = admm().cost(network, 250, n)
    assert cost.flop == pytest.approx(expected, rel=1e-12)  # of all ranks
    assert cost.rows == n


def held(hidden: list[int], samples: int, bias: bool) -> int:
    """Bytes of the arrays that a state holds in float32."""
    p = problem(hidden, samples=samples, bias=bias, dtype=np.float32)
    s = admm(ridge=1e-2).init(p)
    kept = [part for a in s.a.values() for part in vars(a).values() if isinstance(part, np.ndarray)]
    arrays = [*s.z.values(), s.lam, *kept, *s.m.values(), *s.W.values(), *s.V.values()]
    arrays += [part for pair in s.pairs.values() for part in (pair.cross, pair.triangle)]
    return sum(array.nbytes for array in arrays)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [[], [30], [30, 20, 12]])
def test_the_state_is_as_large_as_cost_says(hidden, bias):
    network = problem(hidden, bias=bias).network
    few, many = (admm().cost(network, samples, 10**6).state_bytes for samples in (5_000, 9_000))
    # By the row, exactly; what does not grow with them is about one block of every layer in passing.
    assert many - few == held(hidden, 9_000, bias) - held(hidden, 5_000, bias)
    assert held(hidden, 5_000, bias) <= few <= held(hidden, 5_000, bias) + 3_000_000


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
    p, method = by_sign_of_product(samples=2000), Admm(AdmmSettings(ridge=1e-3))
    assert accuracy(p, method.weights(after(method, p, 40))) > 0.85
