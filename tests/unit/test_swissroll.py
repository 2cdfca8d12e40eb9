"""The Swiss roll: any row by its number, the checkerboard, the spiral, the noise."""

from typing import Any

import numpy as np
import pytest
from support.small_data import Array

from admmctl.data import shards
from admmctl.data.dataset import Rows
from admmctl.data.swissroll import ANGLE_END, ANGLE_START, SwissRollSettings, SwissRollSource


def roll(rows: int = 4000, **settings: Any) -> SwissRollSource:
    return SwissRollSource(SwissRollSettings(rows=rows, **settings))


def points(source: SwissRollSource, rows: Rows) -> Array:
    out = np.empty((len(rows), 3), dtype=np.float32)
    source.inputs("train", rows, out)
    return out


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_row_of_the_swiss_roll_depends_on_its_number_alone(noise: float) -> None:
    source, longer = roll(100, noise=noise), roll(5000, noise=noise)
    everything, labels = points(source, range(100)), source.labels("train", range(100))
    np.testing.assert_array_equal(points(longer, range(100)), everything)
    np.testing.assert_array_equal(points(source, range(37, 53)), everything[37:53])
    chosen = np.array([71, 3, 3, 99, 0])
    np.testing.assert_array_equal(points(source, chosen), everything[chosen])
    np.testing.assert_array_equal(source.labels("train", chosen), labels[chosen])
    np.testing.assert_array_equal(points(source, range(10, 90, 7)), everything[10:90:7])
    assert points(source, np.array([], dtype=np.int64)).shape == (0, 3)


def test_another_seed_gives_another_roll() -> None:
    one, two = points(roll(seed=0), range(50)), points(roll(seed=1), range(50))
    assert not np.isclose(one, two).all(axis=1).any()
    assert roll(seed=0).fingerprint() != roll(seed=1).fingerprint()
    assert roll(100).fingerprint() == roll(200).fingerprint()


def test_opposing_corners_of_the_ribbon_share_a_class_and_all_are_as_large() -> None:
    source = roll()
    right, upper = (source.ribbon(range(4000)) >= 0.5).T
    labels = source.labels("train", range(4000))
    np.testing.assert_array_equal(labels, right != upper)
    assert labels.mean() == pytest.approx(0.5, abs=0.03)
    assert np.bincount(2 * right + upper, minlength=4).min() > 900


def test_points_lie_on_the_spiral() -> None:
    source = roll()
    x, y, z = points(source, range(4000)).T.astype(np.float64)
    angle = np.hypot(x, z)
    assert angle.min() >= ANGLE_START - 1e-4
    assert angle.max() <= ANGLE_END + 1e-4
    np.testing.assert_allclose(x, angle * np.cos(angle), atol=1e-3)
    np.testing.assert_allclose(z, angle * np.sin(angle), atol=1e-3)
    assert y.min() >= 0
    assert y.max() <= 21
    along = source.ribbon(range(4000))[:, 0]
    np.testing.assert_allclose((angle - ANGLE_START) / (ANGLE_END - ANGLE_START), along, atol=1e-5)


def test_noise_has_the_deviation_asked_for_on_every_coordinate() -> None:
    difference = points(roll(noise=0.5), range(4000)) - points(roll(), range(4000))
    np.testing.assert_allclose(difference.std(axis=0), 0.5, rtol=0.05)
    np.testing.assert_allclose(difference.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(difference.T), np.eye(3), atol=0.06)


def test_three_quarters_of_a_roll_train_and_the_rest_test() -> None:
    plan = shards.plan(SwissRollSettings(rows=160_000), 1)
    assert (plan.rows_train, plan.rows_test) == (120_000, 40_000)
    assert shards.plan(SwissRollSettings(), 1).rows_train == 120_000
    assert shards.plan(SwissRollSettings(rows=100, train=60), 1).rows_test == 40
