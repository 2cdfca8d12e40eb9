"""Acceleration of fixed-point maps: what each rule does, and that it is worth it on a slow map."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.comm import Serial
from admmctl.methods.average import Average
from admmctl.methods.graph.accelerate import (
    AccelerationSettings,
    Accelerator,
    Anderson,
    Nesterov,
    accelerator,
    check,
)

FORMS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "momentum without restart": {"momentum": 0.9, "restart": "none"},
    "anderson": {"anderson": 5},
}


class Slow:
    """A linear contraction with rates up to 0.98 towards ``goal``, and the loss that it lowers."""

    def __init__(self, size: int = 12, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        basis = np.linalg.qr(generator.standard_normal((size, size)))[0]
        self.goal = generator.standard_normal(size)
        self.rates = basis @ np.diag(np.linspace(0.1, 0.98, size)) @ basis.T

    def image(self, y):
        return self.goal + self.rates @ (y - self.goal)

    def loss(self, y):
        return float(np.sum((y - self.goal) ** 2))


def run(settings: dict, steps: int, start=None) -> list[float]:
    """The loss of the image after every step."""
    slow, rule = Slow(), accelerator(AccelerationSettings(**settings))
    y, losses = np.zeros(12) if start is None else start, []
    for _ in range(steps):
        image = slow.image(y)
        losses.append(slow.loss(image))
        y = rule.next(y, image, slow.loss(y), Serial())
    return losses


@pytest.mark.parametrize("name", ["momentum", "anderson"])
def test_an_accelerated_map_is_far_ahead_of_the_plain_one(name):
    assert run(FORMS[name], 60)[-1] < 1e-3 * run({}, 60)[-1]


@pytest.mark.parametrize("settings", FORMS.values(), ids=FORMS)
def test_a_fixed_point_stays_one(settings):
    slow = Slow()
    assert max(run(settings, 10, start=slow.goal.copy())) < 1e-25


@pytest.mark.parametrize("settings", FORMS.values(), ids=FORMS)
def test_arrays_handed_over_are_not_changed(settings):
    slow, rule = Slow(), accelerator(AccelerationSettings(**settings))
    y = np.zeros(12)
    for _ in range(4):
        image = slow.image(y)
        before = y.copy(), image.copy()
        following = rule.next(y, image, slow.loss(y), Serial())
        np.testing.assert_array_equal(y, before[0])
        np.testing.assert_array_equal(image, before[1])
        y = following.copy()


def test_momentum_extrapolates_along_the_last_move():
    rule = Nesterov(0.5, adaptive=False)
    zero = np.zeros(2)
    np.testing.assert_array_equal(rule.next(zero, np.array([1.0, 0.0]), 1.0, Serial()), [1.5, 0.0])
    np.testing.assert_array_equal(rule.next(np.array([1.5, 0.0]), np.array([2.0, 1.0]), 1.0, Serial()), [2.5, 1.5])


def test_momentum_is_dropped_when_the_map_points_back():
    rule = Nesterov(0.5, adaptive=True)
    rule.next(np.zeros(1), np.ones(1), 1.0, Serial())
    # From 1.5 the map goes back to 1.2 while the weights have moved on from 1: an overshoot.
    np.testing.assert_array_equal(rule.next(np.array([1.5]), np.array([1.2]), 1.0, Serial()), [1.2])
    assert rule.restarts == 1
    # From 1.2 on to 1.3: no overshoot, and momentum again.
    np.testing.assert_allclose(rule.next(np.array([1.2]), np.array([1.3]), 1.0, Serial()), [1.35])
    assert rule.restarts == 1


def test_anderson_solves_a_linear_map_of_few_dimensions_in_as_many_steps():
    slow, rule = Slow(size=4), Anderson(4)
    y = np.zeros(4)
    for _ in range(6):
        y = rule.next(y, slow.image(y), -np.inf, Serial())
    assert slow.loss(y) < 1e-9


def test_anderson_forgets_when_the_loss_has_risen():
    rule = Anderson(5)
    for number in range(3):
        rule.next(np.array([float(number), 1.0]), np.array([number + 1.0, 0.5]), 1.0, Serial())
    np.testing.assert_array_equal(rule.next(np.array([9.0, 1.0]), np.array([8.0, 2.0]), 2.0, Serial()), [8.0, 2.0])
    assert rule.restarts == 1


def test_residuals_that_do_not_change_are_no_error():
    rule = Anderson(3)
    for _ in range(5):
        following = rule.next(np.ones(2), np.full(2, 2.0), 1.0, Serial())
        assert np.isfinite(following).all()


@given(decay=st.floats(0, 0.99), seed=st.integers(0, 100))
def test_an_average_of_equals_is_the_same_and_lies_between(decay, seed):
    values = np.random.default_rng(seed).standard_normal((30, 3))
    average = Average(decay)
    for value in values:
        average.add(value)
    assert average.value is not None
    assert (average.value <= values.max(axis=0) + 1e-12).all()
    assert (average.value >= values.min(axis=0) - 1e-12).all()
    same = Average(decay)
    for _ in range(5):
        same.add(values[0])
    np.testing.assert_allclose(same.value, values[0])


def test_a_long_average_counts_by_its_decay():
    average = Average(0.9)
    for number in range(200):
        average.add(np.array([float(number >= 195)]))
    assert average.value is not None
    np.testing.assert_allclose(average.value, [1 - 0.9**5])


def test_settings_choose_the_rule():
    assert type(accelerator(AccelerationSettings())) is Accelerator
    assert isinstance(accelerator(AccelerationSettings(momentum=0.5)), Nesterov)
    assert isinstance(accelerator(AccelerationSettings(anderson=3)), Anderson)
    assert [key for key, _ in check(AccelerationSettings(momentum=0.5, anderson=3))] == ["anderson"]
    assert check(AccelerationSettings(momentum=0.5)) == check(AccelerationSettings(anderson=3)) == []


@pytest.mark.parametrize(
    "wrong",
    [{"momentum": 1.0}, {"momentum": -0.1}, {"anderson": -1}, {"average": 1.0}, {"restart": "sometimes"}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AccelerationSettings(**wrong)
