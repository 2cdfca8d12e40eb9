"""Noise on inputs, smooth targets and dropout: what is drawn, who draws it, and what it does to a gradient."""

from itertools import pairwise

import numpy as np
import pytest
from support.methods import after
from support.problems import Array, problem

from admmctl.data.shards import share
from admmctl.experiment.config import ConfigError, load
from admmctl.methods.gradient.minibatch import Epoch, MiniBatches
from admmctl.methods.gradient.settings import AdamSettings, SgdSettings
from admmctl.methods.gradient.sgd import Sgd
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.method import Problem
from admmctl.methods.regularise import Regulariser, RegulariserSettings
from admmctl.model.gradient import Gradient, flat_views
from admmctl.model.losses import losses
from admmctl.model.network import Network


def batches(p: Problem, batch: int, **settings) -> MiniBatches:
    return MiniBatches(p, batch, RegulariserSettings(**settings))


def noise_of(p: Problem, batch: int, deviation: float, iterations: int) -> list[Array]:
    """What every mini-batch adds to the inputs of its rows, (k_0, rows)."""
    noisy, plain = batches(p, batch, input_noise=deviation), batches(p, batch)
    return [noisy.take(t)[0][:-1] - plain.take(t)[0][:-1] for t in range(iterations)]


def masks_of(rates, hidden: list[int], iterations: int, rows: int) -> list[list[Array]]:
    """Of every iteration, and of every hidden layer, the mask (k_l, rows)."""
    made = Regulariser(
        RegulariserSettings(dropout=rates), Network.build(3, hidden, 1, "relu", True), 0, np.empty(0)
    )
    found = []
    for t in range(iterations):
        made.begin(t, 0)
        found.append([made.mask(l, slice(0, rows)).copy() for l in range(1, len(hidden) + 1)])
    return found


# -- what is drawn


@pytest.mark.parametrize("batch", [300, 1000, 2000])  # of 2,000: all rows, which are copied
@pytest.mark.parametrize("deviation", [0.2, 1.5])
def test_noise_on_inputs_is_normal_and_of_the_deviation_asked_for(batch, deviation):
    p = problem([], samples=2000, features=30, dtype=np.float32)
    noise = noise_of(p, batch, deviation, 8)
    x = np.concatenate([part.ravel() for part in noise]).astype(np.float64) / deviation
    n = x.size
    assert n > 60_000
    # Five standard errors of each moment.
    assert abs(x.mean()) < 5 / np.sqrt(n)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / n)
    # Features, rows and iterations are independent.
    first, second = noise[0], noise[1]
    correlations = np.corrcoef(first) - np.eye(len(first))
    assert np.abs(correlations).max() < 6 / np.sqrt(first.shape[1])
    for one, other in ((first[:, 1:], first[:, :-1]), (first, second)):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_a_row_has_other_noise_in_every_epoch():
    p = problem([], samples=60, features=5)
    noisy, plain = batches(p, 20, input_noise=0.1), batches(p, 20)
    seen: dict[tuple, list[Array]] = {}
    for t in range(9):
        a0, rows = noisy.take(t)[0].copy(), plain.take(t)[0]
        for before, after_ in zip(rows.T, a0.T, strict=True):
            seen.setdefault(tuple(before), []).append(after_[:-1] - before[:-1])
    assert len(seen) == 60
    for found in seen.values():
        assert len(np.unique(found)) == 3 * 5


def test_the_row_of_ones_has_no_noise_and_rows_in_memory_stay_as_they_are():
    for batch in (20, 60):
        p = problem([4], samples=60, outputs=3, loss="cross-entropy")
        a0, y = p.a0.copy(), p.y.copy()
        made = batches(p, batch, input_noise=0.5, label_smoothing=0.2, dropout=0.5)
        for t in range(4):
            taken, targets = made.take(t)
            assert (taken[-1] == 1).all()
            assert not (targets == 1).any()
        np.testing.assert_array_equal(p.a0, a0)
        np.testing.assert_array_equal(p.y, y)


def test_all_rows_are_not_copied_where_they_are_not_changed():
    p = problem([4], samples=60)
    for settings in ({}, {"dropout": 0.5}):
        a0, y = batches(p, 60, **settings).take(0)
        assert a0 is p.a0
        assert y is p.y


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_masks_leave_out_units_at_their_rate_and_have_mean_1(rate):
    masks = [m for layers in masks_of(rate, [17, 40], 20, 100) for m in layers]
    for l in (0, 1):
        drawn = np.stack(masks[l::2])  # (iterations, units, rows)
        assert np.unique(drawn).tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-4)
        out = drawn == 0
        error = np.sqrt(rate * (1 - rate))
        assert abs(out.mean() - rate) < 5 * error / np.sqrt(out.size)
        assert abs(drawn.mean() - 1) < 5 * error / (1 - rate) / np.sqrt(out.size)
        # Every unit, every row and every iteration alike, and independent of one another.
        for axes in ((0, 1), (0, 2), (1, 2)):
            means = out.mean(axis=axes)
            assert np.abs(means - rate).max() < 5.5 * error * np.sqrt(means.size / out.size)
        for one, other in ((out[1:], out[:-1]), (out[:, 1:], out[:, :-1]), (out[..., 1:], out[..., :-1])):
            assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)
    square = [m[:17] for m in masks]
    assert abs(np.corrcoef(np.ravel(square[0::2]), np.ravel(square[1::2]))[0, 1]) < 5 / np.sqrt(20 * 17 * 100)


def test_layers_have_rates_of_their_own():
    p = Regulariser(
        RegulariserSettings(dropout=[0.5, 0.0, 0.1]), Network.build(3, [9, 9, 9], 1, "relu", True), 0, np.empty(0)
    )
    assert p.kept == pytest.approx({1: 0.5, 3: 0.9}, abs=1e-5)
    assert p.mask(2, slice(0, 5)) is None
    assert p.mask(3, slice(0, 5)) is not None


def test_targets_are_moved_towards_the_same_for_all_classes():
    three = batches(problem([], samples=60, outputs=3), 20, label_smoothing=0.3).take(0)[1]
    plain = batches(problem([], samples=60, outputs=3), 20).take(0)[1]
    np.testing.assert_allclose(three, np.where(plain == 1, 0.8, 0.1))
    np.testing.assert_allclose(three.sum(axis=0), 1)
    # Two classes that share an output are smoothed as two outputs are.
    one = batches(problem([], samples=60), 20, label_smoothing=0.3).take(0)[1]
    two = batches(problem([], samples=60, outputs=2), 20, label_smoothing=0.3).take(0)[1]
    np.testing.assert_allclose(one, two[1:])
    assert set(np.unique(one).round(6)) == {0.15, 0.85}


def test_smooth_targets_of_one_output_have_the_loss_of_two():
    loss = losses.load("cross-entropy")()
    z, y = np.random.default_rng(0).standard_normal((2, 9)), np.array([[0.15, 0.85] * 4 + [0.15]])
    both, one = np.vstack([1 - y, y]), z[1:] - z[:1]
    assert loss.value(z, both) == pytest.approx(loss.value(one, y), rel=1e-13)
    np.testing.assert_allclose(loss.gradient(z, both)[1:], loss.gradient(one, y), rtol=1e-12)


# -- who draws it


@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 70])
@pytest.mark.parametrize(("total", "batch"), [(60, 8), (61, 16), (1000, 128), (1000, 999), (7, 2), (9, 9)])
def test_a_rank_knows_the_place_of_its_rows_in_every_mini_batch(ranks, total, batch):
    epochs = [Epoch(5, 2, total, batch, *share(total, rank, ranks)) for rank in range(ranks)]
    for number in range(-(-total // batch)):
        place = 0
        for epoch in epochs:
            rows = len(epoch.rows(number))
            if rows:
                assert epoch.before(number) == place
            place += rows
        assert place == min(batch, total - number * batch)


@pytest.mark.parametrize("cuts", [[0, 71, 120], [0, 2, 70, 120], [0, 1, 2, 3, 120]])
@pytest.mark.parametrize("batch", [1, 50, 120])
def test_ranks_draw_for_their_rows_what_one_rank_draws(cuts, batch):
    settings = {"input_noise": 0.3, "label_smoothing": 0.1, "dropout": [0.5, 0.2]}

    def drawn(columns: slice) -> list[list[Array]]:
        p = problem([6, 5], samples=120, outputs=3, columns=columns)
        made, found = batches(p, batch, **settings), []
        for t in range(5):
            a0, y = made.take(t)
            rows = slice(0, a0.shape[1])
            found.append([a0.copy(), y.copy(), *(made.mask(l, rows).copy() for l in (1, 2))])
        return found

    whole, parts = drawn(slice(0, 120)), [drawn(slice(*cut)) for cut in pairwise(cuts)]
    for t, expected in enumerate(whole):
        for place, array in enumerate(expected):
            np.testing.assert_array_equal(np.hstack([part[t][place] for part in parts]), array)


def test_masks_of_a_block_are_those_of_its_columns():
    made = batches(problem([6], samples=40), 40, dropout=0.5)
    made.take(0)
    whole = made.mask(1, slice(0, 40)).copy()
    for low, high in ((0, 1), (3, 17), (39, 40), (5, 5)):
        np.testing.assert_array_equal(made.mask(1, slice(low, high)), whole[:, low:high])


# -- what it does


def test_a_step_is_one_on_what_was_drawn():
    """SGD on noisy inputs, smooth targets and a masked network, by hand."""
    p = problem([6, 5], samples=90, outputs=3, loss="cross-entropy")
    settings = {"input_noise": 0.3, "label_smoothing": 0.1, "dropout": 0.5}
    method = Sgd(SgdSettings(learning_rate=0.05, batch=40, **settings))
    made = batches(p, 40, **settings)
    s, expected = method.init(p), method.init(p).parameters.copy()
    for t in range(4):
        a0, y = made.take(t)
        total = np.zeros_like(expected)
        backprop = Gradient(p.network, p.loss, 13, np.float64)
        backprop.add(flat_views(p.network, expected), a0, y, flat_views(p.network, total), made.mask)
        expected -= 0.05 * total / a0.shape[1]
        s = method.step(s)
        np.testing.assert_allclose(s.parameters, expected, rtol=1e-9, atol=1e-12)
    plain = after(Sgd(SgdSettings(learning_rate=0.05, batch=40)), p, 4)
    assert np.abs(plain.parameters - s.parameters).max() > 1e-3


# -- settings


def test_runs_without_regularisers_are_called_what_they_were_before():
    keys = set(RegulariserSettings.model_fields)
    for settings in (SgdSettings, AdamSettings, GraphAdmmSettings):
        assert not keys & set(settings().plain())
        assert not keys & set(settings(dropout=[0.0, 0.0], input_noise=0.0).plain())
        given = settings(dropout=[0.0, 0.5], input_noise=0.2, label_smoothing=0.1)
        assert {key: given.plain()[key] for key in keys} == {
            "dropout": [0.0, 0.5],
            "input_noise": 0.2,
            "label_smoothing": 0.1,
        }
        assert settings(**given.plain()) == given


@pytest.mark.parametrize(
    ("block", "loss", "parts"),
    [
        (
            "sgd={label_smoothing: 0.1}",
            "squared",
            ["label_smoothing: loss squared takes targets of 0 and 1 alone"],
        ),
        ("graph-admm={batch: 9, label_smoothing: 0.1}", "hinge", ["with these losses: cross-entropy"]),
        (
            "sgd={dropout: [0.5, 0.1, 0.1]}",
            "squared",
            ["dropout: 3 rates for 2 hidden layers; give one number or 2"],
        ),
        (
            "sgd={dropout: 0.5, network: {layers: []}}",
            "squared",
            ["dropout: is of hidden layers, and there is none"],
        ),
        ("adam={dropout: 1.0}", "squared", ["dropout: expected a number below 1"]),
        ("adam={dropout: [0.5, -0.1]}", "squared", ["dropout[1]: expected 0.0 or more"]),
        ("adam={input_noise: -1}", "squared", ["input_noise: expected 0.0 or more"]),
        (
            "graph-admm={input_noise: 0.1, dropout: 0.1}",
            "squared",
            ["input_noise: is of mini-batches; give batch"],
        ),
        ("graph-admm={batch: 9, inner: 2, dropout: 0.1}", "squared", ["dropout: is derived for one passage"]),
        (
            "lbfgs={dropout: 0.5, input_noise: 0}",
            "squared",
            ["dropout: method lbfgs has no such key", "graph-admm"],
        ),
        ("cg={label_smoothing: 0.1}", "squared", ["label_smoothing: method cg has no such key; these have"]),
        ("gd={input_noise: 0.1}", "squared", ["input_noise: method gd has no such key"]),
        ("admm={dropout: 0.1}", "squared", ["dropout: method admm has no such key"]),
        ("torch-sgd={dropout: 0.1}", "squared", ["dropout: method torch-sgd has no such key"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(block, loss, parts):
    experiment = {
        "name": "regularisers",
        "data": {"name": "swissroll"},
        "network": {"layers": [4, 4]},
        "loss": loss,
        "methods": {"sgd": {}},
    }
    with pytest.raises(ConfigError) as refusal:
        load(experiment, [f"methods.{block}"])
    for part in parts:
        assert part in str(refusal.value)
