"""Which rows train, which test and which are held back; the shares of ranks."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_data import Few, FewSet

from admmctl.data import shards
from admmctl.data.dataset import Dataset, DataSettings, Rows, Source, Split, split
from admmctl.data.swissroll import SwissRollSettings
from admmctl.errors import DataError


class Unshuffled(FewSet):
    default_test = 0.25

    def shuffles(self, settings: DataSettings) -> bool:
        return False


LABELS = [3, 1, 2, 3, 1, 2, 3, 1, 2, 3]


def divided(source: Source | None = None, dataset: type[Dataset] = FewSet, **settings: Any) -> Split:
    source = source or Few(LABELS, test=[1, 2, 3, 1])
    return split(dataset(), DataSettings(name="few", **settings), source)


def numbers(rows: Rows) -> list[int]:
    return [int(row) for row in rows]


@pytest.mark.parametrize(
    ("settings", "train", "part", "test"),
    [
        ({}, range(10), "test", range(4)),
        ({"train": 4}, range(4), "train", range(4, 10)),  # the rest tests
        ({"train": 4, "test": "rest"}, range(4), "train", range(4, 10)),
        ({"train": 4, "test": "official"}, range(4), "test", range(4)),
        ({"rows": 6, "train": 4}, range(4), "train", [4, 5]),  # rows in all, before the split
        ({"test": 0.3}, range(7), "train", [7, 8, 9]),
        ({"test": 0.3, "train": 2}, [0, 1], "train", [7, 8, 9]),
        ({"dataset": Unshuffled, "rows": 8}, range(6), "train", [6, 7]),  # the dataset's own habit
        ({"dataset": Unshuffled, "train": 4, "seed": 1}, range(4), "train", range(4, 10)),  # its seed makes rows
        ({"classes": [2, 1]}, [1, 2, 4, 5, 7, 8], "test", [0, 1, 3]),
        ({"classes": [3, 1], "rows": 5, "train": 3}, [0, 1, 3], "train", [4, 6]),  # counts are of rows kept
    ],
    ids=str,
)
def test_rows_are_divided_as_the_settings_say(
    settings: dict[str, Any], train: Sequence[int], part: str, test: Sequence[int]
) -> None:
    found = divided(**settings)
    assert (numbers(found.train), found.test_part, numbers(found.test)) == (list(train), part, list(test))
    assert found.classes == tuple(settings.get("classes", (1, 2, 3)))
    assert numbers(found.validation) == []


def test_a_seed_shuffles_before_the_split_and_the_same_seed_alike() -> None:
    one, same, other = (divided(train=4, seed=seed) for seed in (1, 1, 2))
    assert sorted(numbers(one.train) + numbers(one.test)) == list(range(10))
    assert numbers(one.train) != [0, 1, 2, 3]
    assert (numbers(one.train), numbers(one.test)) == (numbers(same.train), numbers(same.test))
    assert numbers(one.train) != numbers(other.train)


def test_the_official_test_set_is_not_shuffled_into_the_training_rows() -> None:
    s = divided(test="official", seed=5)
    assert sorted(numbers(s.train)) == list(range(10))
    assert numbers(s.test) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"classes": [1, 7]}, "data.classes: few has no class 7; valid: 1, 2, 3"),
        ({"rows": 11}, "data.rows: 11 asked for, but few has 10"),
        ({"train": 11}, "data.train: 11 training rows asked for, but few leaves 10"),
        ({"train": 8, "rows": 7}, "data.train: 8 training rows asked for, but few leaves 7"),
        ({"train": 9, "test": 0.2}, "data.train: 9 training rows asked for, but few leaves 8"),
        ({"test": "rest"}, "data.test: 'rest' needs data.train, the number of training rows"),
        ({"rows": 10**12}, "data.rows: "),
        ({"train": 10**12}, "data.train: "),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_the_key(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError) as caught:
        divided(**settings)
    assert problem in str(caught.value)


def test_official_is_refused_where_there_is_no_official_test_set() -> None:
    with pytest.raises(DataError, match=r"data\.test: few has no official test set; valid: rest, or a fraction"):
        divided(Few(LABELS), test="official")


def planned(ranks: int = 1, **settings: Any) -> shards.Plan:
    return shards.plan(SwissRollSettings(**settings), ranks)


def test_the_plan_refuses_more_ranks_than_training_rows() -> None:
    assert planned(3, rows=4).rows_train == 3
    with pytest.raises(DataError, match=r"4 ranks for 3 training rows: .* use --cores 3 or fewer"):
        planned(4, rows=4)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"train": 8}, "no rows are left to test on"),
        ({"test": 1e-9}, "no rows are left to test on"),
        ({"test": 0.999}, "no rows are left to train on"),
        ({"train": 1, "validation": 0.5}, "no rows are left to train on"),
        ({"classes": [1]}, "data.classes: at least two classes are needed"),
    ],
)
def test_the_plan_refuses_sets_without_rows_and_a_single_class(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        planned(rows=8, **settings)


@pytest.mark.parametrize("key", ["rows", "train"])
def test_more_rows_than_a_computer_can_count_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        planned(**{key: 10**20})


# --- rows held back for choices


@given(
    share=st.floats(0.01, 0.99),
    train=st.integers(1, 9),
    seed=st.none() | st.integers(0, 3),
    test=st.sampled_from(["rest", "official", 0.1]),
)
def test_validation_rows_are_taken_from_the_training_rows_only(
    share: float, train: int, seed: int | None, test: str | float
) -> None:
    whole = divided(train=train, test=test, seed=seed)
    s = divided(train=train, test=test, seed=seed, validation=share)
    assert sorted(numbers(s.train) + numbers(s.validation)) == sorted(numbers(whole.train))
    assert (s.test_part, numbers(s.test)) == (whole.test_part, numbers(whole.test))
    assert len(s.validation) == max(1, round(train * share))


def test_validation_rows_are_the_same_in_every_run_and_others_with_another_seed() -> None:
    held = [numbers(divided(test="official", validation=0.4, seed=seed).validation) for seed in (None, 1, 1, 2)]
    assert held[1] == held[2]
    assert len({tuple(sorted(rows)) for rows in held}) > 1


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
