"""SGD, momentum, Nesterov, Adam and plain gradient descent: every step, every row, any number of ranks."""

import numpy as np
import pytest
from support.descent import descend_adam, descent_start, mean_gradient, refusal_of
from support.methods import accuracy, after, by_sign_of_product, flat
from support.problems import Array, NoClock, problem
from support.ranks import CountingComm

from admmctl.data.shards import share
from admmctl.methods.gradient.minibatch import Epoch, most_rows
from admmctl.methods.gradient.settings import AdamSettings, GdSettings, SgdSettings
from admmctl.methods.gradient.sgd import Adam, Gd, Sgd
from admmctl.methods.method import Diverged, Problem
from admmctl.model.gradient import parameters
from admmctl.model.losses import losses
from admmctl.model.network import Network


def sgd(**settings) -> Sgd:
    return Sgd(SgdSettings(**settings))


def adam(**settings) -> Adam:
    return Adam(AdamSettings(**settings))


# -- the rules, written down as in their papers: x and what is remembered from gradients g, step by step


def descend(x, gradient, steps, learning_rate, momentum=0.0, nesterov=False):
    v = np.zeros_like(x)
    for t in range(steps):
        g = gradient(t, x)
        v = momentum * v + g
        x = x - learning_rate * (g + momentum * v if nesterov else v)
    return x


RULES = {
    "sgd": (sgd, descend, {"learning_rate": 0.05}),
    "momentum": (sgd, descend, {"learning_rate": 0.05, "momentum": 0.9}),
    "nesterov": (sgd, descend, {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True}),
    "adam": (adam, descend_adam, {"learning_rate": 0.02}),
    "adam, other moments": (
        adam,
        descend_adam,
        {"learning_rate": 0.02, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3},
    ),
}
rules = pytest.mark.parametrize("rule", list(RULES))


@rules
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 2, 9])  # 4 mini-batches an epoch, the last of 24 rows: into the third epoch
def test_steps_are_those_of_the_formula(rule, decay, steps):
    build, formula, settings = RULES[rule]
    p = problem([6, 5], activation="tanh", samples=120, seed=3)

    def gradient(t: int, x: Array) -> Array:
        epoch, number = divmod(t, 4)
        rows = Epoch(3, epoch, 120, 32, 0, 120).rows(number)
        return mean_gradient(p, x, rows) + decay * x

    expected = formula(descent_start(p), gradient, steps, **settings)
    s = after(build(batch=32, weight_decay=decay, **settings), p, steps)
    np.testing.assert_allclose(s.parameters, expected, rtol=1e-9, atol=1e-11)
    assert np.abs(expected - descent_start(p)).max() > 1e-3


def test_gradient_descent_steps_are_those_of_the_formula():
    p = problem([6], activation="sigmoid", samples=50)

    def gradient(t: int, x: Array) -> Array:
        return mean_gradient(p, x, np.arange(50)) + 0.2 * x

    expected = descend(descent_start(p), gradient, 5, learning_rate=0.3)
    s = after(Gd(GdSettings(learning_rate=0.3, weight_decay=0.2)), p, 5)
    np.testing.assert_allclose(s.parameters, expected, rtol=1e-10)


def test_gradient_descent_is_sgd_with_one_batch_of_all_rows_or_more():
    p = problem([6, 4], samples=50)
    full = after(Gd(GdSettings(learning_rate=0.05)), p, 6)
    for batch in (50, 51):
        one_batch = after(sgd(learning_rate=0.05, batch=batch), p, 6)
        np.testing.assert_array_equal(full.parameters, one_batch.parameters)
        assert full.rows_seen == one_batch.rows_seen == 300


def test_training_starts_at_the_random_weights_of_the_seed_with_zero_biases():
    for bias in (True, False):
        p = problem([6, 4], bias=bias, seed=5)
        for method in (sgd(), adam(), Gd(GdSettings())):
            W = method.weights(method.init(p))
            np.testing.assert_array_equal(flat(W), descent_start(p))
        other = problem([6, 4], bias=bias, seed=6)
        assert (descent_start(other) != descent_start(p)).any()


# -- a learning rate that changes, and averaged weights


def test_the_learning_rate_falls_to_0_and_grows_from_it():
    linear = SgdSettings(schedule="linear", schedule_epochs=4.0)
    assert [linear.factor(epoch) for epoch in (0, 1, 2, 4, 9)] == [1, 0.75, 0.5, 0, 0]
    cosine = SgdSettings(schedule="cosine", schedule_epochs=4.0)
    assert [cosine.factor(epoch) for epoch in (0, 2, 4, 9)] == pytest.approx([1, 0.5, 0, 0])
    assert cosine.factor(1) == pytest.approx((1 + np.cos(np.pi / 4)) / 2)
    warm = AdamSettings(warm_up=2.0)
    assert [warm.factor(epoch) for epoch in (0, 0.5, 2, 9)] == [0, 0.25, 1, 1]
    both = SgdSettings(schedule="linear", schedule_epochs=4.0, warm_up=2.0)
    assert [both.factor(epoch) for epoch in (1, 2, 3)] == [0.375, 0.5, 0.25]


@pytest.mark.parametrize("build", [sgd, adam])
def test_every_step_takes_the_rate_of_its_middle(build):
    """One step each at four constant rates, from where the one before ended, are four steps of a schedule."""
    p, settings = problem([6, 5], samples=120), {"batch": 60, "learning_rate": 0.05}
    scheduled = after(build(**settings, schedule="linear", schedule_epochs=2.0), p, 4)
    s = build(**settings).init(p)
    for rate in (0.875, 0.625, 0.375, 0.125):
        s = build(batch=60, learning_rate=0.05 * rate).step(s)
    np.testing.assert_allclose(scheduled.parameters, s.parameters, rtol=1e-12)


def test_averaged_weights_are_evaluated_in_the_place_of_the_last():
    p = problem([6, 5], samples=120)
    method = sgd(batch=40, average=0.5)
    s, plain, expected = method.init(p), sgd(batch=40).init(p), None
    for count in range(1, 7):
        s, plain = method.step(s), sgd(batch=40).step(plain)
        weight = 1 - min(0.5, count / (9 + count))  # the first counts whole
        expected = (
            plain.parameters.copy() if expected is None else expected + weight * (plain.parameters - expected)
        )
    np.testing.assert_array_equal(s.parameters, plain.parameters)
    np.testing.assert_allclose(np.concatenate([W.ravel() for W in method.weights(s)]), expected, rtol=1e-12)


def test_runs_of_a_constant_rate_are_called_what_they_were_before_there_were_schedules():
    assert set(SgdSettings().plain()) == {"learning_rate", "batch", "momentum", "nesterov", "weight_decay"}
    changed = AdamSettings(schedule="cosine", schedule_epochs=3.0, average=0.9).plain()
    assert (changed["schedule"], changed["schedule_epochs"], changed["average"]) == ("cosine", 3.0, 0.9)
    assert "warm_up" not in changed


# -- which rows make a mini-batch


class Spy:
    """A gradient that remembers which rows it was given: the first input of a row is its number."""

    def __init__(self):
        self.batches = []

    def add(self, W, a0, y, total, mask=None):
        self.batches.append(a0[0].astype(int).tolist())
        return 0.0


def numbered(rows: slice, total: int, seed: int = 0) -> Problem:
    """One rank's rows of a problem whose rows know their numbers."""
    a0 = np.asfortranarray(np.vstack([np.arange(total, dtype=float), np.ones(total)])[:, rows])
    network = Network.build(1, [], 1, "relu", True)
    y, loss = np.zeros((1, a0.shape[1])), losses.load("squared")()
    return Problem(a0, y, network, loss, CountingComm(), NoClock(), seed, rows.start or 0, total)


def batches_of(rows: slice, total: int, batch: int, epochs: int = 3, seed: int = 0) -> list[list[list[int]]]:
    """For every epoch, the mini-batches of one rank."""
    method, p = sgd(batch=batch), numbered(rows, total, seed)
    s = method.init(p)
    spy = s.backprop = Spy()
    number = -(-total // batch)
    for _ in range(epochs * number):
        s = method.step(s)
    return [spy.batches[epoch * number : (epoch + 1) * number] for epoch in range(epochs)]


@pytest.mark.parametrize("batch", [1, 7, 32, 59, 60, 61])
def test_every_row_is_seen_once_an_epoch(batch):
    for epoch in batches_of(slice(0, 60), 60, batch):
        assert sorted(row for rows in epoch for row in rows) == list(range(60))
        sizes = [len(rows) for rows in epoch]
        full, rest = divmod(60, batch)
        assert sizes == [batch] * full + [rest] * (rest > 0)


def test_epochs_and_seeds_shuffle_differently_and_repeatably():
    first, second = batches_of(slice(0, 60), 60, 16, epochs=2)
    assert first != second
    assert batches_of(slice(0, 60), 60, 16, epochs=2) == [first, second]
    assert batches_of(slice(0, 60), 60, 16, epochs=1, seed=1) != [first]


@pytest.mark.parametrize("cuts", [[0, 1, 60], [0, 37, 60], [0, 3, 40, 60], [0, 20, 40, 60]])
@pytest.mark.parametrize("batch", [1, 8, 60])
def test_ranks_see_the_mini_batches_of_the_whole(cuts, batch):
    whole = batches_of(slice(0, 60), 60, batch)
    parts = [batches_of(slice(low, high), 60, batch) for low, high in zip(cuts, cuts[1:], strict=False)]
    for epoch in range(3):
        for number, expected in enumerate(whole[epoch]):
            together = [rows for part in parts for rows in part[epoch][number]]
            assert sorted(together) == sorted(expected)
    for part, low, high in zip(parts, cuts, cuts[1:], strict=False):
        assert all(low <= row < high for epoch in part for rows in epoch for row in rows)


@pytest.mark.parametrize("ranks", [1, 3, 8, 70])
@pytest.mark.parametrize(("total", "batch"), [(60, 8), (61, 16), (1000, 128), (1000, 999), (7, 2)])
def test_every_rank_has_its_share_of_every_mini_batch_to_a_row(ranks, total, batch):
    for rank in range(ranks):
        start, stop = share(total, rank, ranks)
        epoch = Epoch(5, 2, total, batch, start, stop)
        for number in range(-(-total // batch)):
            rows = epoch.rows(number)
            expected = min(batch, total - number * batch) * (stop - start) / total
            assert abs(len(rows) - expected) < 2  # a stratum at either end is shared
            assert len(rows) <= most_rows(stop - start, total, batch)
            assert (np.diff(rows) > 0).all()


def test_a_row_is_as_likely_in_one_mini_batch_as_in_any_other():
    times = np.zeros((20, 4))
    for number in range(2000):
        epoch = Epoch(1, number, 20, 5, 0, 20)
        for batch in range(4):
            times[epoch.rows(batch), batch] += 1
    chi_square = ((times - 500) ** 2 / 500).sum(axis=1)
    assert chi_square.max() < 25  # of 3 degrees of freedom: 20 such rows exceed it once in 3,000 times


def test_rows_seen_make_epochs():
    method, p = sgd(batch=50), problem([4], samples=120)
    s = method.init(p)
    seen = [method.rows_seen(s)]
    for _ in range(6):
        s = method.step(s)
        seen.append(method.rows_seen(s))
    assert seen == [0, 50, 100, 120, 170, 220, 240]
    size = 8 * parameters(p.network)
    assert p.comm.verbs == [("reduce_scatter", size), ("allgather", size)] * 6  # a step, and nothing else


# -- divergence


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", [sgd(learning_rate=1e30), Gd(GdSettings(learning_rate=1e30))])
def test_steps_far_too_long_are_divergence(method):
    with pytest.raises(Diverged, match=r"the weights are not finite after \d+ iterations"):
        after(method, problem([6, 4], dtype=np.float32), 50)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [sgd, adam])
def test_a_nan_in_the_data_is_divergence_at_its_mini_batch(build):
    p = problem([6, 4], samples=120)
    p.a0[0, 17] = np.nan
    epoch = Epoch(0, 0, 120, 10, 0, 120)
    place = next(number for number in range(12) if 17 in epoch.rows(number))
    method = build(batch=10)
    s = after(method, p, place)
    with pytest.raises(Diverged, match=f"after {place + 1} iterations"):
        method.step(s)


# -- learning


@pytest.mark.parametrize(
    "method",
    [sgd(batch=20, learning_rate=0.3, momentum=0.9), adam(batch=20, learning_rate=0.02)],
    ids=["sgd", "adam"],
)
def test_hidden_layers_learn_what_a_linear_model_cannot(method):
    p = by_sign_of_product(samples=400, loss="cross-entropy")
    assert accuracy(p, method.weights(after(method, p, 20 * 30))) > 0.95


# -- settings


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ("sgd={nesterov: true}", "nesterov: needs a momentum above 0"),
        ("sgd={momentum: 1.0}", "momentum: expected a number below 1"),
        ("sgd={batch: 0}", "batch: expected 1 or more"),
        ("sgd={learning_rate: 0}", "learning_rate: expected a number above 0"),
        ("sgd={weight_decay: -1e-3}", "weight_decay: expected 0.0 or more"),
        ("adam={beta1: 1.0}", "beta1: expected a number below 1"),
        ("adam={momentum: 0.9}", "unknown key 'momentum'"),
        ("gd={batch: 10}", "unknown key 'batch'"),
        ("sgd={schedule: linear}", "schedule: linear needs schedule_epochs"),
        ("adam={schedule_epochs: 3.0}", "schedule_epochs: is of a schedule; set schedule: linear or cosine"),
        ("sgd={schedule: cosine, schedule_epochs: 2.0, warm_up: 2.0}", "warm_up: expected fewer epochs than"),
        ("sgd={schedule: step}", "schedule: "),
    ],
)
def test_settings_that_make_no_sense_are_refused(block, part):
    assert part in refusal_of(block)


def test_gd_is_evaluated_every_iteration_and_mini_batches_every_epoch():
    units = [method.unit_of(method.Settings()) for method in (Sgd, Adam, Gd)]
    assert units == ["epoch", "epoch", "iteration"]
