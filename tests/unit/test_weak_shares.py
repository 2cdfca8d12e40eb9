"""Weak scaling: every rank has as many rows, whatever the number of cores, and all test on the same ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.studies import small_experiment

from admmctl.data import shards
from admmctl.errors import UserError
from admmctl.experiment import config as configuration
from admmctl.studies import scaling


def shares(settings: dict[str, Any], counts: tuple[int, ...]) -> dict[int, shards.Plan]:
    """The rows of every core count, from the run that is made for it."""
    run = configuration.load(small_experiment(data=settings)).select("admm")[0]
    return {count: shards.plan(scaling.share(run, count, max(counts)).data, count) for count in counts}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A dataset of 203 training rows and an official test set of 50."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for part, rows in (("train", 203), ("test", 50)):
        np.save(f"x_{part}.npy", generator.standard_normal((rows, 2)))
        np.save(f"y_{part}.npy", np.arange(rows) % 2)
    return {"name": "files", "x": "x_train.npy", "y": "y_train.npy"}


def check_weak(settings: dict[str, Any], counts: tuple[int, ...], whole: shards.Plan) -> None:
    """Equal shares, first rows first, all on the most cores; everywhere the test rows of the experiment."""
    plans = shares(settings, counts)
    each = {plan.rows_train / count for count, plan in plans.items()}
    assert each == {whole.rows_train // max(counts)}
    for plan in plans.values():
        np.testing.assert_array_equal(plan.split.train, whole.split.train[: plan.rows_train])
        np.testing.assert_array_equal(plan.split.test, whole.split.test)
        assert plan.split.test_part == whole.split.test_part
        assert len(plan.split.validation) == 0
    assert whole.rows_train - plans[max(counts)].rows_train < max(counts)


SPLITS: list[dict[str, Any]] = [
    {},
    {"test": 0.25},
    {"test": 0.25, "train": 40},
    {"train": 120},
    {"rows": 101, "seed": 4},
    {"rows": 101, "train": 50, "seed": 4},
]


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("apart", [False, True], ids=["one file", "test set apart"])
def test_weak_scaling_gives_every_rank_as_many_rows_and_the_same_test(files, split, apart):
    settings = {**files, **split, **({"x_test": "x_test.npy", "y_test": "y_test.npy"} if apart else {})}
    run = configuration.load(small_experiment(data=settings)).select("admm")[0]
    for counts in ((1, 2, 4), (3, 7)):
        check_weak(settings, counts, shards.plan(run.data, 1))


@settings(max_examples=12)
@given(
    st.integers(20, 500),
    st.one_of(st.none(), st.floats(0.01, 0.9)),
    st.one_of(st.none(), st.integers(8, 400)),
    st.lists(st.integers(1, 8), min_size=2, max_size=4, unique=True),
)
def test_weak_shares_of_any_split(rows, test, train, counts):
    settings: dict[str, Any] = {"name": "swissroll", "rows": rows}
    settings |= {} if test is None else {"test": test}
    settings |= {} if train is None else {"train": train}
    run = configuration.load(small_experiment(data=settings)).select("admm")[0]
    try:
        whole = shards.plan(run.data, max(counts))
    except UserError:
        assume(False)
    check_weak(settings, tuple(counts), whole)


@pytest.mark.parametrize("split", [{"test": 0.25}, {"x_test": "x_test.npy", "y_test": "y_test.npy"}], ids=str)
def test_weak_scaling_of_an_experiment_with_validation_rows_keeps_the_test_rows(files, split):
    settings = {**files, **split, "validation": 0.1}
    whole = shards.plan(configuration.load(small_experiment(data=settings)).select("admm")[0].data, 1)
    plans = shares(settings, (1, 2))
    assert [plan.rows_train for plan in plans.values()] == [whole.rows_train // 2, whole.rows_train // 2 * 2]
    for plan in plans.values():
        np.testing.assert_array_equal(plan.split.test, whole.split.test)
