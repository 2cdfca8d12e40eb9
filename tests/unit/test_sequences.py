"""The adding problem and temporal order: any row by its number, and what tells its class."""

from typing import Any

import numpy as np
import pytest
from support.small_data import Array

from admmctl.data import shards
from admmctl.data.dataset import Rows
from admmctl.data.sequences import AddingSource, OrderSource, SequenceSettings, SequenceSource
from admmctl.errors import ConfigError
from admmctl.experiment.config import load
from admmctl.model.recurrent import Recurrence
from admmctl.runs.build import build_network

kinds = pytest.mark.parametrize("kind", [AddingSource, OrderSource])
LENGTHS = pytest.mark.parametrize("steps", [10, 11, 37, 100])


def made(kind: type[SequenceSource], rows: int = 2000, **settings: Any) -> SequenceSource:
    return kind(SequenceSettings(name=kind.name, rows=rows, **settings))


def sequences(source: SequenceSource, rows: Rows) -> Array:
    """(rows, steps, f)."""
    out = np.full((len(rows), source.features), np.nan, dtype=np.float32)
    source.inputs("train", rows, out)
    return out.reshape(len(rows), source.features // source.entering, source.entering)


@kinds
def test_a_row_depends_on_its_number_alone(kind):
    source, longer = made(kind, 100), made(kind, 5000)
    everything, labels = sequences(source, range(100)), source.labels("train", range(100))
    np.testing.assert_array_equal(sequences(longer, range(100)), everything)
    np.testing.assert_array_equal(sequences(source, range(37, 53)), everything[37:53])
    chosen = np.array([71, 3, 3, 99, 0])
    np.testing.assert_array_equal(sequences(source, chosen), everything[chosen])
    np.testing.assert_array_equal(source.labels("train", chosen), labels[chosen])
    assert sequences(source, np.array([], dtype=np.int64)).shape == (0, 30, source.entering)
    other = made(kind, 100, seed=1)
    assert not (sequences(other, range(100)) == everything).all(axis=(1, 2)).any()
    assert len({source.fingerprint(), other.fingerprint(), made(kind, steps=31).fingerprint()}) == 3


@kinds
def test_rows_are_written_into_a_part_of_a_wider_array(kind):
    source, wide = made(kind, 20), np.full((20, made(kind).features + 1), 7.0, np.float32)
    source.inputs("train", range(20), wide[:, :-1])
    np.testing.assert_array_equal(wide[:, :-1].reshape(20, 30, -1), sequences(source, range(20)))
    assert (wide[:, -1] == 7).all()


@LENGTHS
def test_the_class_of_the_adding_problem_is_that_of_the_sum_of_two_marked_numbers(steps):
    source = made(AddingSource, steps=steps)
    numbers, marks = np.moveaxis(sequences(source, range(2000)), 2, 0)
    assert (numbers >= 0).all()
    assert (numbers < 1).all()
    assert numbers.std() == pytest.approx(np.sqrt(1 / 12), rel=0.02)
    half = steps // 2
    assert (marks[:, :half].sum(axis=1) == 1).all()
    assert (marks[:, half:].sum(axis=1) == 1).all()
    assert set(np.unique(marks)) == {0, 1}
    assert marks.any(axis=0).all()  # every step is marked somewhere
    sums = (numbers.astype(np.float64) * marks).sum(axis=1)
    clear = np.abs(sums - 1) > 1e-6
    labels = source.labels("train", range(2000))
    np.testing.assert_array_equal(labels[clear], (sums >= 1)[clear])
    assert labels.mean() == pytest.approx(0.5, abs=0.04)


@LENGTHS
def test_the_class_of_temporal_order_is_which_symbols_stand_where(steps):
    source = made(OrderSource, steps=steps)
    one_hot = sequences(source, range(2000))
    np.testing.assert_array_equal(one_hot.sum(axis=2), 1)
    symbols = one_hot.argmax(axis=2)
    assert (symbols[:, 0] == 0).all()
    assert (symbols[:, -1] == 1).all()
    between = symbols[:, 1:-1]
    assert set(np.unique(between)) == set(range(2, 8))
    told = symbols >= 6
    assert (told.sum(axis=1) == 2).all()
    early, middle = told.argmax(axis=1), steps - 1 - told[:, ::-1].argmax(axis=1)
    assert {early.min(), early.max()} == {steps // 10, steps // 5}
    assert {middle.min(), middle.max()} == {steps // 2, 6 * steps // 10}
    each = np.arange(2000)
    expected = 2 * (symbols[each, early] == 7) + (symbols[each, middle] == 7)
    labels = source.labels("train", range(2000))
    np.testing.assert_array_equal(labels, expected)
    assert np.bincount(labels).min() > 430


@kinds
@pytest.mark.parametrize(
    ("steps", "message"), [(1, "expected 10 or more, got 1"), (1001, "expected 1000 or less")]
)
def test_lengths_have_bounds(kind, steps, message):
    with pytest.raises(ConfigError, match=f"data.steps: {message}"):
        load(experiment(kind.name, steps=steps))


def experiment(name: str, **data: Any) -> dict[str, Any]:
    return {
        "name": "sequences",
        "data": {"name": name, **data},
        "network": {"recurrent": 7},
        "loss": "cross-entropy",
        "methods": {"adam": {}},
    }


@kinds
def test_a_network_reads_sequences_step_by_step(kind):
    run = load(experiment(kind.name, rows=80, steps=12)).runs["adam"]
    plan = shards.plan(run.data, 1)
    assert (plan.rows_train, plan.rows_test) == (60, 20)
    network = build_network(run, plan)
    assert network.recurrence == Recurrence(7, 12, 12 * kind.entering)
    assert network.sizes[-1] == (1 if kind is AddingSource else 4)
    assert network.shapes[0] == (7, 7 + kind.entering + 1)
