"""Snapshots: every method goes on from one as if it had never stopped."""

import json

import numpy as np
import pytest
from support.methods import Case, advance, each, on_parts, same, spread, start
from support.problems import problem

from admmctl.methods.gradient import scipy_methods as batch
from admmctl.methods.method import Finished, Snapshot
from admmctl.runs.checkpoint_files import pack, unpack


def through_a_file(snapshot: Snapshot) -> Snapshot:
    """What comes back of a snapshot from JSON and a table of copied arrays."""
    arrays = {}
    text = json.dumps(pack(snapshot.common, arrays))
    copied = {name: array.copy(order="A") for name, array in arrays.items()}
    rows = {name: np.array(array, order="C") for name, array in snapshot.rows.items()}
    return Snapshot(unpack(json.loads(text), copied), rows)


@each
def test_a_restored_method_goes_on_bit_for_bit(case):
    method, state = start(case)
    state, _ = advance(method, state, 5)
    saved = through_a_file(method.snapshot(state))
    state, unbroken = advance(method, state, 6)
    method.close(state)

    other, state = start(case)
    restored = other.restore(state, saved)
    resaved = through_a_file(other.snapshot(restored))  # a checkpoint right after a resume holds the same
    assert json.dumps(pack(resaved.common, {}), sort_keys=True) == json.dumps(
        pack(saved.common, {}), sort_keys=True
    )
    restored, resumed = advance(other, restored, 6)
    other.close(restored)
    same(unbroken, resumed)


@spread
@pytest.mark.parametrize(("before", "after"), [([0, 120], [0, 60, 120]), ([0, 40, 80, 120], [0, 60, 120])])
def test_a_run_goes_on_on_another_number_of_ranks(case, before, after):
    def first(comm, columns):
        method, state = start(case, np.float64, comm=comm, columns=columns)
        state, _ = advance(method, state, 5)
        saved = through_a_file(method.snapshot(state))
        _, curve = advance(method, state, 3)
        method.close(state)
        return saved, curve

    parts = on_parts(before, first)
    rows = {name: np.concatenate([saved.rows[name] for saved, _ in parts]) for name in parts[0][0].rows}

    def second(comm, columns):
        method, state = start(case, np.float64, comm=comm, columns=columns)
        mine = {name: array[columns] for name, array in rows.items()}
        state = method.restore(state, through_a_file(Snapshot(parts[0][0].common, mine)))
        state, curve = advance(method, state, 3)
        method.close(state)
        return curve

    same(parts[0][1], on_parts(after, second)[0], rtol=1e-5, atol=case.atol)


class OnDisk:
    """An array of rows as a checkpoint has it; ``most`` rows have been asked for at once."""

    def __init__(self, array):
        self._array, self.most = array, 0

    def __getitem__(self, rows):
        found = self._array[rows]
        self.most = max(self.most, len(found))
        return found


@pytest.mark.parametrize("kind", ["admm", "stochastic-admm", "classical-admm", "admm-printed"])
def test_rows_are_put_back_a_block_at_a_time(kind, monkeypatch):
    monkeypatch.setattr("admmctl.model.network.Network.block", lambda *_: 40)  # 12 GB of rows are not read twice
    case = Case(kind)
    method, state = start(case)
    state, _ = advance(method, state, 3)
    saved = through_a_file(method.snapshot(state))
    rows = {name: OnDisk(array) for name, array in saved.rows.items()}
    other, fresh = start(case)
    restored = other.restore(fresh, Snapshot(saved.common, rows))
    assert {array.most for array in rows.values()} == {40}
    for name, array in through_a_file(other.snapshot(restored)).rows.items():
        np.testing.assert_array_equal(array, saved.rows[name])


@pytest.mark.parametrize(("kind", "hidden"), [("linear", []), ("random-features", [6])])
def test_what_is_solved_in_one_step_stays_solved(kind, hidden):
    method = Case(kind).method()
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
    method = Case(kind).method()
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
    method = Case(kind).method()
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
