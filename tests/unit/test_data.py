"""From a dataset's name to a rank's samples: official files, the store, the split, the scaling."""

import dataclasses
import gzip
import hashlib
import itertools
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.data import mnist, shards, store
from admmctl.data.catalog import SourceFile
from admmctl.data.dataset import Dataset, DataSettings, Part, Rows, Source, Split, split
from admmctl.data.fetch import fetch
from admmctl.data.swissroll import ANGLE_END, ANGLE_START, SwissRollSettings, SwissRollSource
from admmctl.errors import DataError
from admmctl.parallel.comm import Serial

Array = np.ndarray[Any, Any]


# --- IDX files


def idx(array: Array, magic: int | None = None, shape: tuple[int, ...] | None = None) -> bytes:
    """An IDX file of bytes, as the official ones are, before compression."""
    shape = array.shape if shape is None else shape
    header = struct.pack(f">{1 + len(shape)}I", 2048 + len(shape) if magic is None else magic, *shape)
    return header + array.astype(np.uint8).tobytes()


IMAGES = np.arange(24).reshape(2, 3, 4)


def test_an_idx_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(IMAGES)))
    found = mnist.read_idx(path, mnist.IMAGES)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(idx(IMAGES, magic=2049)), "is not an IDX file of 3 axes: it starts with 00000801"),
        (gzip.compress(idx(IMAGES, magic=0)), "is not an IDX file of 3 axes: it starts with 00000000"),
        (gzip.compress(idx(IMAGES)[:-1]), r"its header says \(2, 3, 4\), 24 bytes, but it holds 23"),
        (gzip.compress(idx(IMAGES) + b"x"), r"its header says \(2, 3, 4\), 24 bytes, but it holds 25"),
        (gzip.compress(idx(IMAGES, shape=(3, 3, 4))), r"its header says \(3, 3, 4\), 36 bytes, but it holds 24"),
        (gzip.compress(idx(IMAGES)[:9]), "is not an IDX file"),
        (gzip.compress(b""), "is not an IDX file of 3 axes: it starts with nothing"),
        (gzip.compress(idx(IMAGES))[:-9], "is not a complete gzip file"),
        (gzip.compress(idx(IMAGES)) + b"junk", "is not a complete gzip file"),
        (idx(IMAGES), "is not a complete gzip file"),
        (b"<html>not found</html>", "is not a complete gzip file"),
        (b"", "is not"),
        # Sizes whose product overflows 64 bits to 0, the number of bytes that follow.
        (gzip.compress(struct.pack(">4I", 2051, 1 << 31, 1 << 31, 4)), "is truncated or damaged"),
    ],
    ids=[
        "labels",
        "zero",
        "short",
        "long",
        "header",
        "cut-header",
        "nothing",
        "cut-gzip",
        "junk",
        "plain",
        "html",
        "empty",
        "overflow",
    ],
)
def test_a_file_that_is_not_a_whole_idx_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "train-images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        mnist.read_idx(path, mnist.IMAGES)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


# --- the split


class Few(Source):
    """A dataset of a handful of rows, whose feature 0 is the row's number; it notes which rows were read."""

    features = 2

    def __init__(self, train: list[int], test: list[int] | None = None, x: Array | None = None) -> None:
        self._labels: dict[str, Array] = {"train": np.array(train), "test": np.array(test or [], dtype=int)}
        self._x = x
        self.labels_known = tuple(sorted({*train, *(test or [])}))
        self.read: list[int] = []
        if x is not None:
            self.features = x.shape[1]

    def rows(self, part: Part) -> int:
        return len(self._labels[part])

    def labels(self, part: Part, rows: Rows) -> Array:
        return self._labels[part][np.asarray(rows, dtype=int)]

    def inputs(self, part: Part, rows: Rows, out: Array) -> None:
        numbers = np.asarray(rows, dtype=int)
        self.read += numbers.tolist()
        if self._x is not None:
            out[...] = self._x[numbers]
        else:
            out[:, 0], out[:, 1] = numbers, 100 * (part == "test")

    def fingerprint(self) -> str:
        return "few"


class FewSet(Dataset):
    name = "few"

    def open(self, settings: DataSettings) -> Source:
        raise AssertionError("a test hands the source over itself")


class Unshuffled(FewSet):
    default_test = 0.25
    seed_shuffles = False


LABELS = [3, 1, 2, 3, 1, 2, 3, 1, 2, 3]


def divided(source: Source | None = None, dataset: type[Dataset] = FewSet, **settings: Any) -> Split:
    source = source or Few(LABELS, test=[1, 2, 3, 1])
    return split(dataset(), DataSettings(name="few", **settings), source)


def numbers(rows: Rows) -> list[int]:
    return [int(row) for row in rows]


def test_without_a_word_the_official_sets_are_taken() -> None:
    s = divided()
    assert numbers(s.train) == list(range(10))
    assert (s.test_part, numbers(s.test)) == ("test", [0, 1, 2, 3])
    assert s.classes == (1, 2, 3)


def test_train_takes_the_first_rows_and_the_rest_tests() -> None:
    s = divided(train=4)
    assert (numbers(s.train), s.test_part, numbers(s.test)) == ([0, 1, 2, 3], "train", [4, 5, 6, 7, 8, 9])
    assert divided(train=4, test="rest") == s


def test_official_with_train_keeps_the_official_test_set() -> None:
    s = divided(train=4, test="official")
    assert (numbers(s.train), s.test_part, numbers(s.test)) == ([0, 1, 2, 3], "test", [0, 1, 2, 3])


def test_rows_is_the_total_before_the_split() -> None:
    s = divided(rows=6, train=4)
    assert (numbers(s.train), numbers(s.test)) == ([0, 1, 2, 3], [4, 5])


def test_a_fraction_holds_back_the_end_of_the_rows() -> None:
    s = divided(test=0.3)
    assert (numbers(s.train), s.test_part, numbers(s.test)) == ([0, 1, 2, 3, 4, 5, 6], "train", [7, 8, 9])


def test_train_with_a_fraction_takes_fewer_and_keeps_the_test_rows() -> None:
    s = divided(test=0.3, train=2)
    assert (numbers(s.train), numbers(s.test)) == ([0, 1], [7, 8, 9])


def test_a_datasets_own_habit_holds_when_nothing_is_said() -> None:
    s = divided(dataset=Unshuffled, rows=8)
    assert (numbers(s.train), s.test_part, numbers(s.test)) == ([0, 1, 2, 3, 4, 5], "train", [6, 7])


def test_classes_keep_their_rows_only_in_both_sets() -> None:
    s = divided(classes=[2, 1])
    assert numbers(s.train) == [1, 2, 4, 5, 7, 8]
    assert numbers(s.test) == [0, 1, 3]
    assert s.classes == (2, 1)


def test_counts_are_of_the_classes_kept() -> None:
    s = divided(classes=[3, 1], rows=5, train=3)
    assert (numbers(s.train), numbers(s.test)) == ([0, 1, 3], [4, 6])


def test_a_seed_shuffles_before_the_split_and_the_same_seed_alike() -> None:
    s, again, other = (divided(train=4, seed=seed) for seed in (1, 1, 2))
    assert sorted(numbers(s.train) + numbers(s.test)) == list(range(10))
    assert numbers(s.train) != [0, 1, 2, 3]
    assert (numbers(s.train), numbers(s.test)) == (numbers(again.train), numbers(again.test))
    assert numbers(s.train) != numbers(other.train)


def test_the_official_test_set_is_not_shuffled_into_the_training_rows() -> None:
    s = divided(test="official", seed=5)
    assert sorted(numbers(s.train)) == list(range(10))
    assert numbers(s.test) == [0, 1, 2, 3]


def test_where_the_seed_makes_the_rows_it_does_not_shuffle_them() -> None:
    s = divided(dataset=Unshuffled, train=4, seed=1)
    assert numbers(s.train) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classes": [1, 7]}, "data.classes: few has no class 7; valid: 1, 2, 3"),
        ({"rows": 11}, "data.rows: 11 asked for, but few has 10"),
        ({"train": 11}, "data.train: 11 training rows asked for, but few leaves 10"),
        ({"train": 8, "rows": 7}, "data.train: 8 training rows asked for, but few leaves 7"),
        ({"train": 9, "test": 0.2}, "data.train: 9 training rows asked for, but few leaves 8"),
        ({"test": "rest"}, "data.test: 'rest' needs data.train, the number of training rows"),
        ({"rows": 10**30}, "data.rows: "),
        ({"train": 10**30}, "data.train: "),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_the_key(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        divided(**settings)
    assert words in str(caught.value)


def test_official_is_refused_where_there_is_no_official_test_set() -> None:
    with pytest.raises(DataError, match=r"data\.test: few has no official test set; valid: rest, or a fraction"):
        divided(Few(LABELS), test="official")


def planned(ranks: int = 1, **settings: Any) -> shards.Plan:
    return shards.plan(SwissRollSettings(**settings), ranks)


def test_the_plan_refuses_more_ranks_than_training_rows() -> None:
    assert planned(3, rows=4).rows_train == 3
    with pytest.raises(DataError, match=r"4 ranks for 3 training rows: .* use --cores 3 or fewer"):
        planned(4, rows=4)


@pytest.mark.parametrize("settings", [{"rows": 8, "train": 8}, {"rows": 8, "test": 1e-9}])
def test_the_plan_refuses_an_empty_test_set(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="no rows are left to test on"):
        planned(**settings)


def test_the_plan_refuses_an_empty_training_set_without_nonsense() -> None:
    with pytest.raises(DataError) as caught:
        planned(rows=8, test=0.999)
    assert "--cores 0" not in str(caught.value)
    assert "train" in str(caught.value)


def test_the_plan_refuses_a_single_class() -> None:
    with pytest.raises(DataError, match=r"data\.classes: at least two classes are needed"):
        planned(rows=8, classes=[1])


def test_the_plan_refuses_more_rows_than_a_computer_can_count() -> None:
    with pytest.raises(DataError, match=r"data\.rows"):
        planned(rows=10**20)


# --- shares of ranks


@given(rows=st.integers(0, 10_000), size=st.integers(1, 300))
def test_shares_cover_all_rows_once_and_differ_by_at_most_one_row(rows: int, size: int) -> None:
    shares = [shards.share(rows, rank, size) for rank in range(size)]
    assert shares[0][0] == 0
    assert shares[-1][1] == rows
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(shares))
    counts = [stop - start for start, stop in shares]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == rows


class Rank:
    """One rank of several that run as threads of the test."""

    def __init__(self, rank: int, size: int, shared: dict[int, Array], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, size
        self._shared, self._barrier = shared, barrier

    def allreduce(self, buffer: Array, op: str = "sum") -> None:
        self._shared[self.rank] = buffer.copy()
        self._barrier.wait(timeout=10)
        stacked = np.stack([self._shared[rank] for rank in range(self.size)])
        self._barrier.wait(timeout=10)
        buffer[...] = {"sum": np.sum, "max": np.max, "min": np.min}[op](stacked, axis=0)


def on_ranks(size: int, work: Callable[[Any], Any]) -> list[Any]:
    """What ``work(comm)`` returns on each of ``size`` ranks."""
    shared: dict[int, Array] = {}
    barrier = threading.Barrier(size)
    answers: list[Any] = [None] * size

    def run(rank: int) -> None:
        answers[rank] = work(Rank(rank, size, shared, barrier))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert all(answer is not None for answer in answers)
    return answers


def plan_of(source: Source, **settings: Any) -> shards.Plan:
    data = DataSettings(name="few", **settings)
    return shards.Plan(source, split(FewSet(), data, source), data)


def test_every_rank_reads_its_own_rows_and_no_others() -> None:
    sources = [Few(LABELS, test=[1, 2, 3, 1]) for _ in range(3)]

    def work(comm: Any) -> Any:
        return shards.load(plan_of(sources[comm.rank], train=7, scale="none"), comm)

    loaded = on_ranks(3, work)
    assert [source.read for source in sources] == [[0, 1, 2, 7], [3, 4, 8], [5, 6, 9]]
    assert [(train.start, train.total) for train, _, _ in loaded] == [(0, 7), (3, 7), (5, 7)]
    assert [(test.start, test.total) for _, test, _ in loaded] == [(0, 3), (1, 3), (2, 3)]


def test_samples_are_columns_with_a_row_of_ones_below() -> None:
    train, test, _ = shards.load(plan_of(Few(LABELS, test=[1, 2]), scale="none"), Serial())
    assert train.a0.shape == (3, 10)
    assert train.a0.flags.f_contiguous
    assert train.a0.dtype == np.float32
    np.testing.assert_array_equal(train.a0[0], range(10))
    np.testing.assert_array_equal(train.a0[2], 1)
    np.testing.assert_array_equal(test.a0, [[0, 1], [100, 100], [1, 1]])


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
    train, test, _ = shards.load(plan_of(Few(LABELS, test=[3, 1]), classes=classes), Serial())
    assert train.labels.tolist() == expected
    assert test.labels.tolist() == expected[:2]


# --- scaling


def random_inputs(rows: int = 11) -> Array:
    generator = np.random.default_rng(4)
    x = generator.normal(5.0, 3.0, (rows, 4)).astype(np.float32)
    x[:, 1] = 0.1  # never varies, and is no round number
    x[:, 2] *= 1e4
    return x


def scaled(kind: str, comm: Any = None, train: int = 7) -> tuple[shards.Shard, shards.Shard, shards.Scaling]:
    x = random_inputs()
    x[train:] += 1000.0  # test rows must not matter
    source = Few([0, 1] * 5 + [0], x=x)
    return shards.load(plan_of(source, train=train, scale=kind), comm or Serial())


def test_standardised_training_inputs_have_mean_0_and_deviation_1() -> None:
    train, test, scaling = scaled("standard")
    varying = [0, 2, 3]
    np.testing.assert_allclose(train.a0[varying].mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(train.a0[varying].std(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(train.a0[-1], 1)
    x = random_inputs()
    expected = (x[7:] + 1000.0 - x[:7].mean(axis=0)) / np.where(x[:7].std(axis=0) > 1e-6, x[:7].std(axis=0), 1)
    np.testing.assert_allclose(test.a0[:-1].T, expected, rtol=1e-4)
    assert scaling.shift.shape == scaling.factor.shape == (4,)


def test_a_feature_that_never_varies_is_only_shifted() -> None:
    train, test, scaling = scaled("standard")
    assert scaling.factor[1] == 1
    np.testing.assert_allclose(train.a0[1], 0, atol=1e-6)
    np.testing.assert_allclose(test.a0[1], 1000, rtol=1e-5)


def test_a_large_constant_feature_does_not_become_noise() -> None:
    x = np.full((5, 1), 123456.789, dtype=np.float32)
    train, _, _ = shards.load(plan_of(Few([0, 1, 0, 1, 0], x=x), train=4), Serial())
    np.testing.assert_allclose(train.a0[0], 0, atol=0.01)


def test_unit_divides_by_the_largest_absolute_value_of_the_training_rows() -> None:
    train, test, scaling = scaled("unit")
    largest = np.abs(random_inputs()[:7]).max()
    np.testing.assert_allclose(scaling.factor, 1 / largest, rtol=1e-6)
    np.testing.assert_array_equal(scaling.shift, 0)
    assert np.abs(train.a0[:-1]).max() == pytest.approx(1)
    np.testing.assert_allclose(test.a0[:-1].T, (random_inputs()[7:] + 1000) / largest, rtol=1e-5)


def test_unit_leaves_inputs_that_are_all_zero_alone() -> None:
    train, _, _ = shards.load(plan_of(Few([0, 1, 0], x=np.zeros((3, 2))), train=2, scale="unit"), Serial())
    np.testing.assert_array_equal(train.a0[:-1], 0)


def test_none_leaves_inputs_alone() -> None:
    train, test, _ = scaled("none")
    np.testing.assert_array_equal(train.a0[:-1].T, random_inputs()[:7])
    np.testing.assert_array_equal(test.a0[:-1].T, random_inputs()[7:] + 1000)


@pytest.mark.parametrize("kind", ["standard", "unit", "none"])
@pytest.mark.parametrize("size", [2, 3])
def test_scaling_is_the_same_for_any_number_of_ranks(kind: str, size: int) -> None:
    train, test, scaling = scaled(kind)
    parts = on_ranks(size, lambda comm: scaled(kind, comm))
    for part in parts:
        np.testing.assert_allclose(part[2].shift, scaling.shift, rtol=1e-6)
        np.testing.assert_allclose(part[2].factor, scaling.factor, rtol=1e-6)
    together = [np.concatenate([part[which].a0 for part in parts], axis=1) for which in (0, 1)]
    np.testing.assert_allclose(together[0], train.a0, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(together[1], test.a0, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([part[0].labels for part in parts]), train.labels)


# --- Swiss roll


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


def test_opposing_corners_of_the_ribbon_share_a_class_and_neighbours_do_not() -> None:
    source = roll()
    right, upper = (source.ribbon(range(4000)) >= 0.5).T
    labels = source.labels("train", range(4000))
    for corner in (right & upper, ~right & ~upper):
        assert set(labels[corner]) == {0}
    for corner in (right & ~upper, ~right & upper):
        assert set(labels[corner]) == {1}


def test_the_classes_and_the_four_corners_are_balanced() -> None:
    source = roll()
    labels = source.labels("train", range(4000))
    assert labels.mean() == pytest.approx(0.5, abs=0.03)
    right, upper = (source.ribbon(range(4000)) >= 0.5).T
    counts = np.bincount(2 * right + upper, minlength=4)
    assert counts.min() > 900


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
    plan = planned(rows=160_000)
    assert (plan.rows_train, plan.rows_test) == (120_000, 40_000)
    assert planned().rows_train == 120_000
    assert planned(rows=100, train=60).rows_test == 40


# --- the store


def stored(folder: Path, version: int = 1) -> None:
    with store.Prepared(folder, "toy", version, [{"file": "a", "sha256": "0"}]) as prepared:
        prepared.write("train", np.arange(12, dtype=np.uint8).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2]))
        prepared.write("test", np.arange(4, dtype=np.uint8).reshape(2, 2), np.array([5, 1]))


def broken_off(folder: Path, problem: type[BaseException]) -> None:
    """A preparation that stops half-way."""
    with store.Prepared(folder, "toy", 1, []) as prepared:
        prepared.write("train", np.ones((2, 2)), np.array([0, 1]))
        raise problem


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_prepared_is_read_back(tmp_path: Path) -> None:
    stored(tmp_path / "toy")
    source = store.StoredSource(tmp_path / "toy", "toy", 1)
    assert (source.features, source.labels_known) == (2, (0, 1, 2, 5))
    assert (source.rows("train"), source.rows("test")) == (6, 2)
    out = np.empty((2, 2), dtype=np.float32)
    source.inputs("train", range(2, 4), out)
    np.testing.assert_array_equal(out, [[4, 5], [6, 7]])
    source.inputs("train", np.array([5, 0]), out)
    np.testing.assert_array_equal(out, [[10, 11], [0, 1]])
    assert source.labels("train", np.array([5, 0])).tolist() == [2, 0]
    assert source.labels("test", range(2)).tolist() == [5, 1]
    manifest = store.read_manifest(tmp_path / "toy")
    assert manifest is not None
    assert manifest["parts"]["train"]["label_counts"] == {"0": 2, "1": 2, "2": 2}
    assert len(source.fingerprint()) == 64
    assert entries(tmp_path) == ["toy"]


def test_preparing_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        broken_off(tmp_path / "toy", ZeroDivisionError)
    assert entries(tmp_path) == []


def test_preparing_anew_that_fails_keeps_the_old_dataset(tmp_path: Path) -> None:
    stored(tmp_path / "toy")
    before = {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()}
    with pytest.raises(KeyboardInterrupt):
        broken_off(tmp_path / "toy", KeyboardInterrupt)
    assert entries(tmp_path) == ["toy"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()} == before


def test_preparing_anew_replaces_the_old_dataset_whole(tmp_path: Path) -> None:
    stored(tmp_path / "toy")
    (tmp_path / "toy" / "left-over.npy").write_text("old")
    with store.Prepared(tmp_path / "toy", "toy", 2, []) as prepared:
        prepared.write("train", np.ones((3, 5)), np.array([0, 1, 1]))
    assert entries(tmp_path) == ["toy"]
    assert entries(tmp_path / "toy") == ["manifest.json", "x_train.npy", "y_train.npy"]
    assert store.StoredSource(tmp_path / "toy", "toy", 2).features == 5


def test_work_left_by_a_killed_preparation_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".toy.part").mkdir()
    (tmp_path / ".toy.part" / "x_train.npy").write_text("half")
    stored(tmp_path / "toy")
    assert entries(tmp_path) == ["toy"]


def _cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an array is cut": lambda folder: _cut(folder / "x_train.npy", 130),
    "an array's header is cut": lambda folder: _cut(folder / "x_train.npy", 50),
    "an array is empty": lambda folder: _cut(folder / "y_train.npy", 0),
    "an array is missing": lambda folder: (folder / "y_test.npy").unlink(),
    "an array has other rows": lambda folder: np.save(folder / "x_train.npy", np.ones((5, 2))),
    "an array has other features": lambda folder: np.save(folder / "x_test.npy", np.ones((2, 3))),
    "an array holds objects": lambda folder: np.save(folder / "y_test.npy", np.array([1, {}], dtype=object)),
    "an array is another kind of file": lambda folder: (folder / "x_test.npy").write_text("hello"),
    "the manifest is cut": lambda folder: _cut(folder / "manifest.json", 40),
    "the manifest is empty": lambda folder: _cut(folder / "manifest.json", 0),
    "the manifest is a number": lambda folder: (folder / "manifest.json").write_text("5"),
    "the manifest is a word": lambda folder: (folder / "manifest.json").write_text('"abc"'),
    "the manifest lacks keys": lambda folder: (folder / "manifest.json").write_text('{"version": 1}'),
    "the manifest is no text": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_names_itself_and_the_cure(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "toy"
    stored(folder)
    DAMAGES[damage](folder)
    with pytest.raises(DataError) as caught:
        store.StoredSource(folder, "toy", 1)
    assert "toy" in str(caught.value)
    assert "admmctl fetch toy --force" in str(caught.value)


@pytest.mark.parametrize("left", ["nothing", "a folder without a manifest"])
def test_a_dataset_that_is_not_there_names_the_line_that_fetches_it(tmp_path: Path, left: str) -> None:
    if left != "nothing":
        stored(tmp_path / "toy")
        (tmp_path / "toy" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"dataset toy is not in .*; run: admmctl fetch toy$"):
        store.StoredSource(tmp_path / "toy", "toy", 1)


def test_a_dataset_of_another_version_asks_for_a_new_fetch(tmp_path: Path) -> None:
    stored(tmp_path / "toy", version=1)
    with pytest.raises(DataError, match=r"prepared by another version; run: admmctl fetch toy --force"):
        store.StoredSource(tmp_path / "toy", "toy", 2)


# --- fetching


class Official:
    """Small files in the official format, laid out as in a mirror folder, and everything that was said."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mirror = tmp_path / "mirror"
        self.datasets = tmp_path / "datasets"
        self.said: list[str] = []
        self._monkeypatch = monkeypatch
        generator = np.random.default_rng(0)
        self.x = {
            "train": generator.integers(0, 256, (6, 28, 28)),
            "test": generator.integers(0, 256, (3, 28, 28)),
        }
        self.y = {"train": np.array([5, 0, 4, 1, 9, 2]), "test": np.array([7, 2, 1])}
        self.contents: dict[str, bytes] = {}
        for (part, magic), file in mnist.FILES.items():
            array = self.x[part] if magic == mnist.IMAGES else self.y[part]
            self.contents[file.name] = gzip.compress(idx(array), mtime=0)
        self.publish()

    def publish(self) -> None:
        """Make the contents official: their sizes and sums are the published ones, and the mirror has them."""
        (self.mirror / "mnist").mkdir(parents=True, exist_ok=True)
        files = {}
        for key, file in mnist.FILES.items():
            content = self.contents[file.name]
            (self.mirror / "mnist" / file.name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            # Nothing listens on port 9 of this machine: a fetch without a mirror finds no network.
            files[key] = SourceFile(file.name, len(content), digest, (f"http://127.0.0.1:9/{file.name}",))
        self._monkeypatch.setattr(mnist, "FILES", files)
        download = dataclasses.replace(mnist.Mnist.download, files=tuple(files.values()))
        self._monkeypatch.setattr(mnist.Mnist, "download", download)

    def file(self, name: str = "train-images-idx3-ubyte.gz") -> Path:
        return self.mirror / "mnist" / name

    def fetch(self, mirror: str | Path | None, force: bool = False) -> Path | None:
        where = None if mirror is None else str(mirror)
        return fetch("mnist", where, force, self.said.append, lambda name, done, total: None)

    def refusal(self, mirror: str | Path | None) -> str:
        with pytest.raises(DataError) as caught:
            self.fetch(mirror)
        return str(caught.value)

    def check(self) -> None:
        """The prepared dataset holds exactly the official rows."""
        source = mnist.Mnist().open(DataSettings(name="mnist"))
        parts: tuple[Part, ...] = ("train", "test")
        for part in parts:
            out = np.empty((source.rows(part), 784), dtype=np.float32)
            source.inputs(part, range(source.rows(part)), out)
            np.testing.assert_array_equal(out, self.x[part].reshape(-1, 784))
            np.testing.assert_array_equal(source.labels(part, range(len(out))), self.y[part])

    def files_left(self) -> list[str]:
        return [str(path) for path in self.datasets.rglob("*") if path.is_file()]


@pytest.fixture
def official(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    return Official(tmp_path, monkeypatch)


def test_a_mirror_folder_with_the_datasets_name_in_it(official: Official) -> None:
    assert official.fetch(official.mirror) == official.datasets / "mnist"
    official.check()
    assert official.said == [f"mnist is ready in {official.datasets / 'mnist'}"]
    assert not [name for name in entries(official.datasets) if name.endswith((".part", ".old"))]


def test_a_mirror_folder_with_the_files_themselves(official: Official) -> None:
    official.fetch(official.mirror / "mnist")
    official.check()


def test_a_mirror_is_only_read(official: Official) -> None:
    before = {path: path.stat().st_mtime_ns for path in official.mirror.rglob("*")}
    official.fetch(official.mirror)
    assert {path: path.stat().st_mtime_ns for path in official.mirror.rglob("*")} == before


def test_a_mirror_that_lacks_a_file_names_both_places_where_it_looked(official: Official) -> None:
    official.file("t10k-labels-idx1-ubyte.gz").unlink()
    message = official.refusal(official.mirror)
    assert str(official.mirror) in message
    assert "neither mnist/t10k-labels-idx1-ubyte.gz nor t10k-labels-idx1-ubyte.gz" in message
    assert official.files_left() == []


def test_a_mirror_folder_that_is_not_there_is_an_error_even_when_the_dataset_is(official: Official) -> None:
    official.fetch(official.mirror)
    message = official.refusal(official.mirror / "nowhere")
    assert "--mirror" in message
    assert "there is no such folder" in message
    official.check()


def test_a_dataset_that_is_there_is_not_fetched_again_unless_forced(official: Official) -> None:
    official.fetch(official.mirror)
    official.file().unlink()
    assert official.fetch(official.mirror) == official.datasets / "mnist"
    assert "already" in official.said[-1]
    with pytest.raises(DataError, match="neither"):
        official.fetch(official.mirror, force=True)
    official.check()


def test_force_prepares_a_damaged_dataset_anew(official: Official) -> None:
    official.fetch(official.mirror)
    (official.datasets / "mnist" / "x_train.npy").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        official.fetch(official.mirror)
    official.fetch(official.mirror, force=True)
    official.check()


def test_force_prepares_a_dataset_with_a_damaged_manifest_anew(official: Official) -> None:
    official.fetch(official.mirror)
    (official.datasets / "mnist" / "manifest.json").write_text("5")
    official.fetch(official.mirror, force=True)
    official.check()


def test_a_file_with_a_wrong_byte_is_damaged(official: Official) -> None:
    content = bytearray(official.file().read_bytes())
    content[1000] ^= 1
    official.file().write_bytes(bytes(content))
    message = official.refusal(official.mirror)
    assert f"{official.file()} is damaged: its sha256 is {hashlib.sha256(content).hexdigest()}" in message
    assert official.files_left() == []


def test_a_truncated_file_is_told_by_its_size(official: Official) -> None:
    size = official.file().stat().st_size
    _cut(official.file(), size - 7)
    message = official.refusal(official.mirror)
    assert f"{size - 7:,} bytes instead of {size:,}; it is truncated" in message
    assert official.files_left() == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-images-idx3-ubyte.gz", b"no gzip", "is not a complete gzip file"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(np.ones(7))), "is not an IDX file of 3 axes"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(idx(np.ones((3, 28, 28)))[:-1]), "is truncated or damaged"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(idx(np.ones(5))), "holds 6 images, but its labels 5"),
    ],
)
def test_official_files_that_do_not_hold_what_they_should(
    official: Official, name: str, content: bytes, words: str
) -> None:
    official.contents[name] = content
    official.publish()
    assert words in official.refusal(official.mirror)
    assert official.files_left() == []


def test_ctrl_c_while_files_are_checked_leaves_nothing(official: Official) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", str(official.mirror), False, official.said.append, interrupt)
    assert official.files_left() == []


def test_a_datasets_folder_that_cannot_be_written_is_a_clear_error(
    official: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    official.datasets.write_text("a file where the folder should be")
    message = official.refusal(official.mirror)
    assert str(official.datasets) in message


def test_without_a_network_the_message_names_the_mirror_option(official: Official) -> None:
    message = official.refusal(None)
    assert "train-images-idx3-ubyte.gz could not be downloaded" in message
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz" in message
    assert "admmctl fetch mnist --mirror FOLDER" in message
    assert official.files_left() == []


def test_a_dataset_that_is_computed_needs_no_fetch(results: Path) -> None:
    said: list[str] = []
    assert fetch("swissroll", None, False, said.append, lambda *_: None) is None
    assert "nothing to fetch" in said[0]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(official: Official) -> Iterator[str]:
    """The mirror folder over HTTP: its address."""
    handler = partial(Quiet, directory=str(official.mirror))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join(timeout=5)


@pytest.mark.parametrize("end", ["", "/", "/mnist"])
def test_an_address_as_a_mirror(official: Official, server: str, end: str) -> None:
    official.fetch(server + end)
    official.check()
    assert sorted(path.split("/")[-1] for path in official.files_left()) == [
        "manifest.json",
        "x_test.npy",
        "x_train.npy",
        "y_test.npy",
        "y_train.npy",
    ]


def test_an_address_that_lacks_a_file_names_what_it_answered(official: Official, server: str) -> None:
    official.file().unlink()
    message = official.refusal(server)
    assert f"{server}/mnist/train-images-idx3-ubyte.gz: HTTP 404" in message
    assert f"{server}/train-images-idx3-ubyte.gz: HTTP 404" in message
    assert official.files_left() == []


def test_an_address_that_gives_other_bytes_is_refused_with_both_sums(official: Official, server: str) -> None:
    official.file().write_bytes(b"<html>please log in</html>")
    message = official.refusal(server)
    assert "the sha256 is" in message
    assert mnist.Mnist.download.files[0].sha256 in message
    assert official.files_left() == []


def test_a_download_that_was_complete_is_used_by_the_next_attempt(official: Official, server: str) -> None:
    labels = official.file("t10k-labels-idx1-ubyte.gz")
    content = labels.read_bytes()
    labels.unlink()
    official.refusal(server)
    labels.write_bytes(content)
    official.file().unlink()  # this one was complete
    official.fetch(server)
    official.check()


def test_a_download_that_was_damaged_since_is_fetched_again(official: Official, server: str) -> None:
    raw = official.datasets / ".raw" / "mnist"
    raw.mkdir(parents=True)
    (raw / official.file().name).write_bytes(b"half a file")
    official.fetch(server)
    official.check()


@pytest.mark.parametrize(
    "address",
    ["http://", "http://[::1", "http://127.0.0.1:port", "http://a b", "https://127.0.0.1:9", "http://\x07/"],
)
def test_an_address_that_cannot_be_used_is_a_clear_error(official: Official, address: str) -> None:
    assert "train-images-idx3-ubyte.gz" in official.refusal(address)
    assert official.files_left() == []


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"", b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\nhalf", b"HTTP/1.1 abc def\r\n\r\n"],
    ids=["garbage", "nothing", "half", "no-status"],
)
def test_a_server_that_talks_nonsense_is_a_clear_error(official: Official, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        listener.settimeout(5)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        message = official.refusal(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(timeout=5)
    assert "train-images-idx3-ubyte.gz could not be downloaded" in message
    assert official.files_left() == []


@pytest.mark.data
def test_the_real_mnist_end_to_end(mirror: Path, results: Path, tmp_path: Path) -> None:
    assert (
        fetch("mnist", str(mirror), False, lambda text: None, lambda *_: None) == tmp_path / "datasets" / "mnist"
    )
    source = mnist.Mnist().open(DataSettings(name="mnist"))
    counts = {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    parts: tuple[Part, ...] = ("train", "test")
    for part in parts:
        labels = source.labels(part, range(source.rows(part)))
        assert np.bincount(labels).tolist() == counts[part]
    assert source.labels("train", range(5)).tolist() == [5, 0, 4, 1, 9]
    assert source.features == 784
    manifest = json.loads((tmp_path / "datasets" / "mnist" / "manifest.json").read_text())
    assert list(manifest["parts"]["test"]["label_counts"].values()) == counts["test"]

    # Digits 0 and 1, as in the papers: 10,000 train and 2,665 test.
    settings = DataSettings(name="mnist", classes=[0, 1], train=10_000, scale="unit")
    plan = shards.plan(settings, 1)
    assert (plan.rows_train, plan.rows_test) == (10_000, 2_665)
    train, test, _ = shards.load(plan, Serial())
    assert np.bincount(np.concatenate([train.labels, test.labels])).tolist() == [5923, 6742]
    assert (train.a0.min(), train.a0.max()) == (0.0, 1.0)
