"""A rank's share of the rows: which it reads, how they lie in memory, how they are scaled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ranks import on_ranks
from support.small_data import Array, Few, plan_of
from support.traced import traced

from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.data.files import FilesSettings

LABELS = [3, 1, 2, 3, 1, 2, 3, 1, 2, 3]


def test_every_rank_reads_its_own_rows_and_no_others() -> None:
    sources = [Few(LABELS, test=[1, 2, 3, 1]) for _ in range(3)]

    def work(comm: Any) -> Any:
        return shards.load(plan_of(sources[comm.rank], train=7, scale="none"), comm)

    loaded = on_ranks(3, work)
    assert [source.read for source in sources] == [[0, 1, 2, 7], [3, 4, 8], [5, 6, 9]]
    assert [(own.train.start, own.train.total) for own in loaded] == [(0, 7), (3, 7), (5, 7)]
    assert [(own.test.start, own.test.total) for own in loaded] == [(0, 3), (1, 3), (2, 3)]
    assert [own.validation for own in loaded] == [None, None, None]


def test_validation_rows_are_spread_and_scaled_like_the_training_rows() -> None:
    x = random_inputs()

    def work(comm: Any) -> shards.Shards:
        return shards.load(plan_of(Few([0, 1] * 5 + [0], x=x), train=9, validation=0.4), comm)

    single = work(Serial())
    rows = plan_of(Few([0, 1] * 5 + [0]), train=9, validation=0.4).split
    assert single.validation is not None
    assert (single.train.total, single.validation.total) == (5, 4)
    expected = (x[rows.validation] - x[rows.train].mean(axis=0)) * single.scaling.factor
    np.testing.assert_allclose(single.validation.a0[:-1].T, expected, rtol=1e-3, atol=1e-4)
    assert single.validation.labels.tolist() == [row % 2 for row in rows.validation]
    parts = on_ranks(2, work)
    assert [(own.validation.start, own.validation.a0.shape[1]) for own in parts] == [(0, 2), (2, 2)]
    together = np.concatenate([own.validation.a0 for own in parts], axis=1)
    np.testing.assert_allclose(together, single.validation.a0, rtol=1e-5, atol=1e-6)


def test_samples_are_columns_with_a_row_of_ones_below() -> None:
    own = shards.load(plan_of(Few(LABELS, test=[1, 2]), scale="none"), Serial())
    assert own.train.a0.shape == (3, 10)
    assert own.train.a0.flags.f_contiguous
    assert own.train.a0.dtype == np.float32
    np.testing.assert_array_equal(own.train.a0[0], range(10))
    np.testing.assert_array_equal(own.train.a0[2], 1)
    np.testing.assert_array_equal(own.test.a0, [[0, 1], [100, 100], [1, 1]])


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (None, [2, 0, 1, 2, 0, 1, 2, 0, 1, 2]),
        ([3, 2, 1], [0, 2, 1, 0, 2, 1, 0, 2, 1, 0]),
        ([3, 1], [0, 1, 0, 1, 0, 1, 0]),
        ([1, 3], [1, 0, 1, 0, 1, 0, 1]),
    ],
)
def test_the_first_class_named_is_zero(classes: list[int] | None, expected: list[int]) -> None:
    own = shards.load(plan_of(Few(LABELS, test=[3, 1]), classes=classes), Serial())
    assert own.train.labels.tolist() == expected
    assert own.test.labels.tolist() == expected[:2]


# --- scaling


def random_inputs(rows: int = 11) -> Array:
    generator = np.random.default_rng(4)
    x = generator.normal(5.0, 3.0, (rows, 4)).astype(np.float32)
    x[:, 1] = 0.1  # never varies, and is no round number
    x[:, 2] *= 1e4
    return x


def scaled(kind: str, comm: Any = None, train: int = 7) -> shards.Shards:
    x = random_inputs()
    x[train:] += 1000.0  # test rows must not matter
    source = Few([0, 1] * 5 + [0], x=x)
    return shards.load(plan_of(source, train=train, scale=kind), comm or Serial())


def test_standardised_training_inputs_have_mean_0_and_deviation_1() -> None:
    own = scaled("standard")
    varying = [0, 2, 3]
    np.testing.assert_allclose(own.train.a0[varying].mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(own.train.a0[varying].std(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(own.train.a0[-1], 1)
    x = random_inputs()
    expected = (x[7:] + 1000.0 - x[:7].mean(axis=0)) / np.where(x[:7].std(axis=0) > 1e-6, x[:7].std(axis=0), 1)
    np.testing.assert_allclose(own.test.a0[:-1].T, expected, rtol=1e-4)
    assert own.scaling.shift.shape == own.scaling.factor.shape == (4,)
    # A feature that never varies is only shifted.
    assert own.scaling.factor[1] == 1
    np.testing.assert_allclose(own.train.a0[1], 0, atol=1e-6)
    np.testing.assert_allclose(own.test.a0[1], 1000, rtol=1e-5)


def test_unit_divides_by_the_largest_absolute_value_of_the_training_rows_and_none_by_nothing() -> None:
    own = scaled("unit")
    largest = np.abs(random_inputs()[:7]).max()
    np.testing.assert_allclose(own.scaling.factor, 1 / largest, rtol=1e-6)
    np.testing.assert_array_equal(own.scaling.shift, 0)
    assert np.abs(own.train.a0[:-1]).max() == pytest.approx(1)
    np.testing.assert_allclose(own.test.a0[:-1].T, (random_inputs()[7:] + 1000) / largest, rtol=1e-5)
    zeros = shards.load(plan_of(Few([0, 1, 0], x=np.zeros((3, 2))), train=2, scale="unit"), Serial())
    np.testing.assert_array_equal(zeros.train.a0[:-1], 0)
    own = scaled("none")
    np.testing.assert_array_equal(own.train.a0[:-1].T, random_inputs()[:7])
    np.testing.assert_array_equal(own.test.a0[:-1].T, random_inputs()[7:] + 1000)


@pytest.mark.parametrize("kind", ["standard", "unit", "none"])
@pytest.mark.parametrize("size", [2, 3])
def test_scaling_is_the_same_for_any_number_of_ranks(kind: str, size: int) -> None:
    own = scaled(kind)
    parts = on_ranks(size, lambda comm: scaled(kind, comm))
    for part in parts:
        np.testing.assert_allclose(part.scaling.shift, own.scaling.shift, rtol=1e-6)
        np.testing.assert_allclose(part.scaling.factor, own.scaling.factor, rtol=1e-6)
    train = np.concatenate([part.train.a0 for part in parts], axis=1)
    test = np.concatenate([part.test.a0 for part in parts], axis=1)
    np.testing.assert_allclose(train, own.train.a0, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(test, own.test.a0, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([part.train.labels for part in parts]), own.train.labels)


@pytest.mark.parametrize("scale", ["standard", "unit", "centred"])
def test_loading_long_rows_takes_little_more_than_they_do(
    scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_CHUNK_BYTES", 1 << 20)
    monkeypatch.setattr(shards, "_STREAM_BYTES", 1 << 19)
    generator = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", generator.standard_normal((500, 5000)))
    np.save(tmp_path / "y.npy", np.arange(500) % 2)
    settings = FilesSettings(x=str(tmp_path / "x.npy"), y=str(tmp_path / "y.npy"), scale=scale)
    plan = shards.plan(settings, 1)
    with traced() as memory:
        shards.load(plan, Serial())
    assert 4 * 500 * 5000 < memory.peak < 1.5 * 4 * 500 * 5000  # not the 20 MB of them in float64 besides
