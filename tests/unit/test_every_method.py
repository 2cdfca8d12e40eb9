"""What holds for every method: any number of ranks, types that are kept, data left alone, a NaN noticed."""

import numpy as np
import pytest
from support.methods import advance, each, on_parts, same, spread, start

from admmctl.methods import gains as made_gains
from admmctl.methods.gradient import muon
from admmctl.methods.method import Diverged, Finished


@spread
@pytest.mark.parametrize("cuts", [[0, 71, 120], [0, 2, 70, 120], [0, 2, 40, 41, 90, 120]])
def test_any_number_of_ranks_makes_the_iterates_of_one(case, cuts, monkeypatch):
    monkeypatch.setattr(made_gains, "WORTH", 50.0)  # small gains are divided, too
    monkeypatch.setattr(muon, "WORTH", 50.0)

    def train(comm=None, columns=slice(None)):
        method, state = start(case, np.float64, comm=comm, columns=columns)
        state, curve = advance(method, state, 7)
        method.close(state)
        return curve

    whole, parts = train(), on_parts(cuts, train)
    same(whole, parts[0], rtol=1e-5, atol=case.atol)
    for part in parts[1:]:
        same(parts[0], part)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_have_the_type_of_the_data_and_are_copies_and_the_data_are_left_alone(case, dtype):
    method, p = case.method(dtype), case.problem(dtype)
    a0, y, state = p.a0.copy(), p.y.copy(), method.init(p)
    other, undisturbed = start(case, dtype)
    for _ in range(2):
        for W_l in method.weights(state):
            assert W_l.dtype == dtype
            W_l[...] = np.nan
        state, curve = advance(method, state, 1)
        undisturbed, expected = advance(other, undisturbed, 1)
        same(curve, expected)
    np.testing.assert_array_equal(p.a0, a0)
    np.testing.assert_array_equal(p.y, y)
    method.close(state)
    other.close(undisturbed)


@each
@pytest.mark.filterwarnings("ignore")
def test_a_nan_in_the_data_is_divergence(case):
    method, p = case.method(), case.problem()
    p.a0[0, 3] = np.nan
    with pytest.raises(Diverged):
        advance(method, method.init(p), 120)


@spread
@pytest.mark.parametrize("cuts", [[0, 120], [0, 71, 120], [0, 2, 70, 120]])
def test_cost_names_the_messages_of_an_iteration(case, cuts, monkeypatch):
    by_descent = case.kind == "linear" and case.particular.get("loss") == "cross-entropy"
    if by_descent or case.kind in ("cg", "lbfgs", "convex-admm"):
        pytest.skip("a search or a solver sends as many as it takes")
    monkeypatch.setattr(made_gains, "WORTH", 50.0)
    monkeypatch.setattr(muon, "WORTH", 50.0)

    def sent(comm, columns):
        method, p = case.method(), case.problem(comm=comm, columns=columns)
        state = method.init(p)
        try:
            # A sum that is made once and for all is no message of the second; Anderson's grow with its memory.
            for _ in range(2 + case.settings.get("anderson", 0)):
                comm.verbs.clear()
                state = method.step(state)
                last = tuple(comm.verbs)
        except Finished:
            pass
        return last, method.cost(p.network, columns.stop - columns.start, 120, comm.size).messages

    for found, expected in on_parts(cuts, sent):
        assert found == expected
