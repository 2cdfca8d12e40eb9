"""Medians, their intervals, and verdicts: what repeated runs show, and what they do not show."""

import math
from dataclasses import dataclass
from functools import cache

MINIMUM = 6  # repeats from which an order-statistic 95 % interval exists


@dataclass(frozen=True)
class Median:
    """A median of ``n`` values with its 95 % interval, which exists from six values on.

    A miss counts as infinity and is never dropped: with too many misses the median is infinite.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def median(values: list[float]) -> Median:
    """The median with a distribution-free interval: order statistics of at least 95 % coverage."""
    ordered = sorted(math.inf if math.isnan(v) else v for v in values)
    n = len(ordered)
    if not n:
        return Median(math.nan, None, None, 0)
    low, high = ordered[(n - 1) // 2], ordered[n // 2]
    middle = low if low == high else (low + high) / 2
    if n < MINIMUM:
        return Median(middle, None, None, n)
    k = order(n)
    return Median(middle, ordered[k - 1], ordered[n - k], n)


@cache
def order(n: int) -> int:
    """The interval of a median of ``n`` values goes from the k-th smallest to the k-th largest: this is k.

    It misses the median with probability 2 P(Binomial(n, 1/2) < k): the largest k that keeps this within 5 %.
    At least MINIMUM values.
    """
    # In whole numbers: 2 sum_{i < k} (n over i) / 2^n <= 1/20. scipy.stats takes longer to load than runs to read.
    k, term, below = 0, 1, 1
    while 40 * below <= 2**n:
        k += 1
        term = term * (n - k + 1) // k
        below += term
    return k


def verdicts(times: list[Median]) -> list[str]:
    """A verdict on each time: 'fastest' and 'slower' only where intervals do not overlap."""
    best = min(range(len(times)), key=lambda i: times[i].value, default=0)
    if not times or math.isinf(times[best].value):
        return ["missed"] * len(times)
    found = [_verdict(time, times[best]) for time in times]
    rivals = [text for text in found if text.startswith("not")]
    if rivals:
        found[best] = f"first, {rivals[0]}"  # the smallest median by itself proves nothing
    return found


def _verdict(time: Median, best: Median) -> str:
    if time is best:
        return "fastest"
    missed = math.isinf(time.value)
    if missed and time.low is None:
        return "missed"
    if time.low is None or best.high is None:
        return f"not distinguishable (n={min(time.n, best.n)}: intervals need {MINIMUM})"
    if time.low > best.high:
        return "missed" if missed else "slower"
    return f"not distinguishable (n={min(time.n, best.n)})"
