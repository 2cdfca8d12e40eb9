"""The exact W-update of wide layers by several ranks, without a factor."""

import numpy as np
import pytest
from support.methods import Case, advance, on_parts, same
from support.problems import NoClock
from support.ranks import on_ranks

from admmctl.methods.least_squares import RidgeFactor
from admmctl.methods.method import Diverged
from admmctl.methods.taylor import layers, wide
from admmctl.methods.taylor.wide import WidePair


def solve(comm, z, a, ridge=1e-2, start=None):
    """W from this rank's samples, together with the others."""
    low, high = (rank * z.shape[1] // comm.size for rank in (comm.rank, comm.rank + 1))
    pair = WidePair(len(z), len(a), z.dtype.type, comm, NoClock())
    pair.add(z[:, low:high], a[:, low:high])
    pair.divide()
    return pair.solve(ridge, start)


def draw(dtype, outputs=3, inputs=40, samples=90):
    generator = np.random.default_rng(0)
    a = np.maximum(generator.standard_normal((inputs, samples)), 0)
    a[7] = 0  # a dead unit
    return np.asfortranarray(generator.standard_normal((outputs, samples)).astype(dtype)), np.asfortranarray(
        a.astype(dtype)
    )


@pytest.mark.parametrize("ranks", [2, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_row_is_solved_to_the_tolerance_on_all_ranks(ranks, dtype):
    z, a = draw(dtype)
    gram = (a @ a.T).astype(float)
    matrix = gram + 1e-2 * np.trace(gram) / 40 * np.eye(40)
    for W in on_ranks(ranks, lambda comm: solve(comm, z, a)):
        assert W.dtype == dtype
        residual = W @ matrix - z.astype(float) @ a.astype(float).T
        assert (np.linalg.norm(residual, axis=1) <= 1.2e-5 * np.linalg.norm(z @ a.T, axis=1)).all()
        exact = RidgeFactor(a @ a.T, 1e-2).solve(z @ a.T)
        np.testing.assert_allclose(W, exact, atol=1e-4)


def test_it_starts_from_the_last_w(monkeypatch):
    z, a = draw(np.float64)
    exact = RidgeFactor(a @ a.T, 1e-2).solve(z @ a.T)
    monkeypatch.setattr(wide, "_MOST", 1)  # no step: the first look says that nothing is open
    for W in on_ranks(2, lambda comm: solve(comm, z, a, start=exact)):
        np.testing.assert_array_equal(W, exact)


def test_more_ranks_than_inputs_and_targets_of_zero_are_no_error():
    z, a = draw(np.float64, inputs=8)
    for W in on_ranks(11, lambda comm: solve(comm, 0 * z, a)):
        assert not W.any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_not_finite_is_divergence_on_all_ranks(which):
    arrays = draw(np.float64)
    arrays[which][0, 3] = np.nan

    def attempt(comm):
        with pytest.raises(Diverged):
            solve(comm, *arrays)

    on_ranks(3, attempt)


def test_cost_counts_the_sums_of_a_wide_layer_and_no_factor(monkeypatch):
    monkeypatch.setattr(layers, "WIDE", 15)
    case = Case("admm", {}, {"hidden": [20, 18], "outputs": 3})

    def sent(comm, columns):
        method, p = case.method(), case.problem(comm=comm, columns=columns)
        state = method.step(method.init(p))
        comm.verbs.clear()
        method.step(state)
        return comm.verbs, method.cost(p.network, 60, 120, comm.size)

    for found, cost in on_parts([0, 71, 120], sent):
        whole = [message for message in found if message[0] in ("reduce", "reduce_scatter")]
        assert whole == [message for message in cost.messages if message.verb != "allgather"]
        assert [message for message in cost.messages if message.verb == "allgather"] == [found[-1]]
    ((_, alone),) = on_parts([0, 120], sent)
    assert {message.verb for message in alone.messages} == {"reduce", "reduce_scatter", "allgather"}


@pytest.mark.parametrize("kind", ["admm", "stochastic-admm"])
def test_several_ranks_make_the_iterates_of_one_to_the_tolerance(kind, monkeypatch):
    monkeypatch.setattr(layers, "WIDE", 15)
    monkeypatch.setattr(wide, "TOLERANCE", 1e-12)
    case = Case(kind, {"warm_iterations": 2}, {"hidden": [20, 18], "outputs": 3})

    def train(comm=None, columns=slice(None)):
        method = case.method(np.float64)
        return advance(method, method.init(case.problem(np.float64, comm=comm, columns=columns)), 5)[1]

    whole = train()
    for part in on_parts([0, 2, 70, 120], train):
        same(whole, part, rtol=1e-5, atol=1e-7)
