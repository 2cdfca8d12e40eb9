"""Snapshots: every method goes on from one as if it had never stopped."""

import json

import numpy as np
import pytest
from support.problems import problem
from support.ranks import on_ranks

from admmctl.methods.gradient import scipy_methods as batch
from admmctl.methods.method import Finished, Snapshot, methods
from admmctl.model.convolution import Stack
from admmctl.runs.checkpoint_files import pack, unpack

# Kind, settings, and what is particular about the problem.
CASES = [
    ("admm", {}, {}),
    ("admm", {"warm_iterations": 2, "beta": [1.0, 2.0, 0.5]}, {"loss": "hinge"}),
    ("admm", {"init": "gaussian", "sweep": "backward_first", "multipliers": "bregman"}, {"hidden": [20, 18]}),
    ("admm", {}, {"activation": "tanh", "outputs": 3}),
    ("admm", {"w_update": "nystrom", "min_width": 5, "rank": 4}, {"hidden": [20, 18]}),
    ("admm", {"w_update": "nystrom", "min_width": 5, "rank": 4, "columns": "leverage"}, {"hidden": [20, 18]}),
    ("admm", {"w_update": "nystrom-pcg", "min_width": 5, "rank": 4}, {"hidden": [20, 18]}),
    ("admm", {"warm_iterations": 2}, {"features": 16, "convolution": Stack((1, 4, 4), (2, 3), (3, 3), 2)}),
    ("admm", {"warm_iterations": 2}, {"features": 16, "convolution": Stack((1, 4, 4), (2,), (4, 4), 1)}),
    ("stochastic-admm", {"subset": 0.5, "warm_iterations": 2}, {}),
    ("stochastic-admm", {"subset": 0.5, "inner": 2, "w_update": "nystrom", "min_width": 5, "rank": 4}, {}),
    ("admm-printed", {"warm_iterations": 2, "ridge": 1e-2}, {"loss": "hinge"}),
    ("classical-admm", {"warm_iterations": 2}, {}),
    ("classical-admm", {"warm_iterations": 2}, {"bias": False, "loss": "hinge"}),
    ("graph-admm", {}, {}),
    ("graph-admm", {"anderson": 3}, {"loss": "cross-entropy"}),
    ("graph-admm", {"average": 0.9, "gram_every": 2}, {}),
    ("graph-admm", {"batch": 50}, {"loss": "cross-entropy", "outputs": 3}),
    ("graph-admm", {"batch": 50, "gram_every": 3, "decay": "objective"}, {}),
    ("sgd", {"batch": 50, "momentum": 0.9, "nesterov": True}, {}),
    ("adam", {"batch": 50}, {"loss": "cross-entropy"}),
    ("gd", {}, {}),
    ("cg", {}, {}),
    ("lbfgs", {"weight_decay": 0.01}, {"loss": "hinge"}),
    ("linear", {}, {"loss": "cross-entropy", "hidden": []}),
    *[
        ("convex-admm", {"patterns": 4, "solver": solver, "tolerance": 0.0}, {"loss": "signed-squared"})
        for solver in ("exact", "cholesky", "block-pcg", "nystrom-pcg", "jacobi-pcg", "convex-cg", "rbcd")
    ],
    (
        "convex-admm",
        {"patterns": 4, "solver": "auto", "adapt_rho": True, "check_every": 2},
        {"loss": "signed-squared"},
    ),
    ("torch-sgd", {"batch": 50, "momentum": 0.9}, {}),
    ("torch-adam", {"batch": 50}, {}),
    ("torch-lbfgs", {}, {}),
]
ONE_RANK = ("exact", "cholesky", "auto")  # auto: another solver on other ranks
IDS = [f"{kind}-{number}" for number, (kind, _, _) in enumerate(CASES)]


def made(kind, settings):
    if kind.startswith("torch"):
        pytest.importorskip("torch")
    method = methods.load(kind)
    return method(method.Settings(**settings))


def network_of(kind, settings, particular):
    particular = {"dtype": np.float32, **particular}
    hidden = particular.pop("hidden", [6, 5])
    if kind == "convex-admm":
        hidden = [2 * settings["patterns"] * particular.get("outputs", 1)]
    return hidden, particular


def through_a_file(snapshot: Snapshot) -> Snapshot:
    """What comes back of a snapshot from JSON and a table of copied arrays."""
    arrays = {}
    text = json.dumps(pack(snapshot.common, arrays))
    copied = {name: array.copy(order="A") for name, array in arrays.items()}
    rows = {name: np.array(array, order="C") for name, array in snapshot.rows.items()}
    return Snapshot(unpack(json.loads(text), copied), rows)


def advance(method, state, iterations):
    curve = []
    for _ in range(iterations):
        state = method.step(state)
        measured = [*method.residuals(state).values(), method.rows_seen(state) or 0]
        curve.append([*(W_l.copy() for W_l in method.weights(state)), np.array(measured)])
    return state, curve


def same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("kind", "settings", "particular"), CASES, ids=IDS)
def test_a_restored_method_goes_on_bit_for_bit(kind, settings, particular):
    hidden, particular = network_of(kind, settings, particular)
    method = made(kind, settings)
    state, _ = advance(method, method.init(problem(hidden, **particular)), 5)
    saved = through_a_file(method.snapshot(state))
    state, unbroken = advance(method, state, 6)
    method.close(state)

    other = made(kind, settings)
    restored = other.restore(other.init(problem(hidden, **particular)), saved)
    again = through_a_file(other.snapshot(restored))  # a checkpoint right after a resume holds the same
    assert json.dumps(pack(again.common, {}), sort_keys=True) == json.dumps(pack(saved.common, {}), sort_keys=True)
    restored, resumed = advance(other, restored, 6)
    other.close(restored)
    same(unbroken, resumed)


@pytest.mark.parametrize(("kind", "settings", "particular"), CASES, ids=IDS)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 2)])
def test_a_run_goes_on_on_another_number_of_ranks(kind, settings, particular, before, after):
    if settings.get("solver") in ONE_RANK or kind.startswith("torch"):
        pytest.skip("runs on one rank")
    hidden, particular = network_of(kind, settings, particular)
    particular = {**particular, "dtype": np.float64}
    settings = {**settings, "dtype": "float64"} if kind == "convex-admm" else settings
    samples = 120

    def part(comm, size):
        return slice(samples * comm.rank // size, samples * (comm.rank + 1) // size)

    def first(comm):
        method = made(kind, settings)
        state = method.init(problem(hidden, comm=comm, columns=part(comm, before), **particular))
        state, _ = advance(method, state, 5)
        saved = through_a_file(method.snapshot(state))
        _, curve = advance(method, state, 3)
        method.close(state)
        return saved, curve

    parts = on_ranks(before, first)
    rows = {name: np.concatenate([saved.rows[name] for saved, _ in parts]) for name in parts[0][0].rows}

    def second(comm):
        method, mine = made(kind, settings), part(comm, after)
        state = method.init(problem(hidden, comm=comm, columns=mine, **particular))
        saved = through_a_file(Snapshot(parts[0][0].common, {name: array[mine] for name, array in rows.items()}))
        state, curve = advance(method, method.restore(state, saved), 3)
        method.close(state)
        return curve

    for one, other in zip(parts[0][1], on_ranks(after, second)[0], strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "hidden"), [("linear", []), ("random-features", [6])])
def test_what_is_solved_in_one_step_stays_solved(kind, hidden):
    method = made(kind, {})
    state, curve = advance(method, method.init(problem(hidden)), 1)
    restored = method.restore(method.init(problem(hidden)), through_a_file(method.snapshot(state)))
    for a, b in zip(curve[0], method.weights(restored), strict=False):
        np.testing.assert_array_equal(a, b)
    assert method.rows_seen(restored) == method.rows_seen(state)
    with pytest.raises(Finished):
        method.step(restored)


@pytest.mark.parametrize("kind", ["cg", "lbfgs"])
def test_a_solver_with_too_much_to_remember_goes_on_from_its_weights_and_says_so(kind, monkeypatch):
    monkeypatch.setattr(batch, "REMEMBERED", 1000)
    method = made(kind, {})
    state, curve = advance(method, method.init(problem([6, 5])), 5)
    saved = through_a_file(method.snapshot(state))
    method.close(state)
    restored = method.restore(method.init(problem([6, 5])), saved)
    same([curve[-1][:-1]], [method.weights(restored)])
    assert "without what it knew" in method.resume_note(restored)
    before = restored.gradients
    restored, more = advance(method, restored, 2)
    method.close(restored)
    assert restored.gradients > before >= 5
    assert not np.array_equal(more[-1][0], curve[-1][0])


@pytest.mark.parametrize("kind", ["cg", "lbfgs"])
def test_a_solver_is_led_back_without_a_look_at_the_data(kind):
    method = made(kind, {})
    state, _ = advance(method, method.init(problem([6, 5])), 5)
    saved = through_a_file(method.snapshot(state))
    method.close(state)
    fresh = problem([6, 5])
    fresh.a0[...] = np.nan
    restored = method.restore(method.init(fresh), saved)
    method.close(restored)
    np.testing.assert_array_equal(restored.x, saved.common["x"])
    assert method.resume_note(restored) == ""


def test_what_cannot_be_saved_is_refused_by_name():
    for wrong in ({1: 2}, [object()], {"a": np.array([object()])}, {"__array__": 1}):
        with pytest.raises(TypeError):
            pack(wrong, {})
