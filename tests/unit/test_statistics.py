"""Medians, their intervals, verdicts: against printed tables, and against what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.studies.statistics import MINIMUM, Median, median, verdicts

INF, NAN = math.inf, math.nan

# n: k, of the interval from the k-th smallest to the k-th largest of n values that holds the median with
# 95 % probability (one more than the two-sided 5 % critical value of the sign test, as tables print it).
TABLE = {
    6: 1, 7: 1, 8: 1, 9: 2, 10: 2, 11: 2, 12: 3, 13: 3, 14: 3, 15: 4, 16: 4, 17: 5, 18: 5, 19: 5, 20: 6,
    25: 8, 30: 10, 35: 12, 40: 14, 50: 18, 100: 40,
}  # fmt: skip


@pytest.mark.parametrize(("n", "k"), TABLE.items())
def test_intervals_are_those_of_the_tables_and_no_narrower_one_would_do(n, k):
    values = list(np.random.default_rng(n).permutation(np.arange(1.0, n + 1)))
    m = median(values)
    assert (m.low, m.high) == (k, n + 1 - k)
    assert (m.value, m.n) == ((n + 1) / 2, n)
    missed, narrower = (2 * sum(math.comb(n, i) for i in range(end)) / 2**n for end in (k, k + 1))
    assert missed <= 0.05 < narrower


@pytest.mark.parametrize("n", range(1, 6))
def test_below_six_values_there_is_no_interval(n):
    # From the smallest to the largest of five covers the median with 1 - 2 / 2^5 = 93.75 % only.
    m = median([float(i) for i in range(n)])
    assert (m.value, m.low, m.high, m.n) == ((n - 1) / 2, None, None, n)
    assert MINIMUM == 6


@pytest.mark.parametrize("n", [6, 9, 12])
def test_intervals_cover_the_median_as_often_as_they_say(n):
    generator = np.random.default_rng(1)
    draws = generator.exponential(size=(1500, n))  # skewed, as times are
    true = math.log(2)
    covered = 0
    for row in draws:
        m = median(list(row))
        covered += m.low <= true <= m.high
    assert covered / len(draws) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(draws))


def test_no_values_have_no_median():
    m = median([])
    assert math.isnan(m.value)
    assert (m.low, m.high, m.n) == (None, None, 0)


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=25), seed=st.integers(0, 1000))
def test_the_order_of_runs_does_not_matter_and_the_median_is_numpys(values, seed):
    m = median(values)
    assert m == median(list(np.random.default_rng(seed).permutation(values)))
    assert m.value == pytest.approx(float(np.median(values)))
    if m.low is not None:
        assert m.low <= m.value <= m.high
        assert {m.low, m.high} <= set(values)


# -- misses


@pytest.mark.parametrize("miss", [INF, NAN])
@pytest.mark.parametrize(
    ("reached", "missed", "value"),
    [
        ([1.0], 1, INF),  # between 1 and a miss there is no number
        ([1.0, 2.0], 1, 2.0),
        ([1.0, 2.0], 2, INF),
        ([1.0, 2.0, 3.0], 2, 3.0),
        ([1.0], 2, INF),
        ([], 3, INF),
    ],
)
def test_a_miss_is_infinite_and_never_dropped(reached, missed, value, miss):
    m = median([*reached, *[miss] * missed])
    assert m.value == value
    assert m.n == len(reached) + missed


@pytest.mark.parametrize("miss", [INF, NAN])
def test_misses_move_the_interval_up(miss):
    times = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert (median(times).low, median(times).high) == (2.0, 8.0)
    m = median([*times[:8], miss])
    assert (m.value, m.low, m.high, m.n) == (5.0, 2.0, 8.0, 9)
    m = median([*times[:7], miss, miss])
    assert (m.value, m.low, m.high) == (5.0, 2.0, INF)
    m = median([*times[:1], *[miss] * 8])
    assert (m.value, m.low, m.high) == (INF, INF, INF)


def test_replacing_a_run_by_a_miss_never_helps():
    times = list(np.random.default_rng(0).exponential(size=9))
    before = median(times)
    for i in range(9):
        after = median([*times[:i], INF, *times[i + 1 :]])
        assert after.value >= before.value
        assert after.low >= before.low
        assert after.high >= before.high


# -- verdicts


def of(low, value, high, n=6) -> Median:
    return Median(value, low, high, n)


BEST, FAST = of(1.0, 2.0, 3.0), median([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])


@pytest.mark.parametrize(
    ("time", "best", "expected"),
    [
        (of(3.1, 4.0, 5.0), BEST, "slower"),
        # Intervals that overlap or touch; it says from how many runs.
        *((of(low, 4.0, 9.0), BEST, "not distinguishable (n=6)") for low in (0.5, 2.5, 3.0)),
        (of(2.0, 4.0, 9.0, 7), of(1.0, 2.0, 3.0, 11), "not distinguishable (n=7)"),
        (of(2.0, 4.0, 9.0, 11), of(1.0, 2.0, 3.0, 7), "not distinguishable (n=7)"),
        # Without intervals it says how many runs they take.
        (median([5.0, 5.1]), median([1.0, 1.1]), "not distinguishable (n=2: intervals need 6)"),
        (median([5.0] * 5), median([1.0] * 6), "not distinguishable (n=5: intervals need 6)"),
        (median([5.0] * 6), median([1.0] * 5), "not distinguishable (n=5: intervals need 6)"),
        # A method that never got there has missed, but many misses are no reason to call the others faster.
        (median([INF] * 6), FAST, "missed"),
        (median([INF] * 2), FAST, "missed"),
        (
            median([1.0, 1.1, INF, INF, INF, INF]),
            median([1.0, 1.1, 1.2, 1.3, 1.4, 9.0]),
            "not distinguishable (n=6)",
        ),
    ],
)
def test_the_verdict_on_a_time_beside_the_best(time, best, expected):
    first, second = verdicts([best, time])
    assert second == expected
    # The smallest median by itself proves nothing.
    assert first == (f"first, {expected}" if expected.startswith("not") else "fastest")


def test_where_all_missed_nobody_is_first():
    assert verdicts([median([INF] * 6), median([INF] * 2)]) == ["missed", "missed"]
    assert verdicts([]) == []
