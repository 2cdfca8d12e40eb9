"""Features as standard normal scores, by the quantiles of all training rows.

The score of a value x is Phi^-1(p), where p is the share of the training rows below x and half of those equal to
it. It is exact at up to 1,002 knots of every feature, by a count of all rows, and straight between two of them:
there p is off by no more than the share of the rows between the two, about 1/1,000. Knots are the extremes, and
quantiles of all rows or, of many, of a sample that depends on the number of rows alone. Counts are whole
numbers: however rows are spread over ranks, scores are the same to the last bit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.errors import DataError

Blocks = Callable[[], Iterable[NDArray[Any]]]  # this rank's training rows, a few at a time, (rows, features)

QUANTILES = 1_000  # knots of a feature, besides its extremes
_SAMPLE_ROWS = 131_072  # rows that knots are chosen from
_SAMPLE_BYTES = 32 << 20  # of these: fewer rows where they are long


@dataclass(frozen=True)
class Quantiles:
    """For every feature a line of straight pieces: ``scores`` at ``knots``, both (features, knots).

    A feature that has fewer knots than others repeats its last one. ``knots`` have the precision of the rows.
    """

    knots: NDArray[np.floating]
    scores: NDArray[np.float64]

    def apply(self, rows: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Write the scores of ``rows`` (rows, features) to ``out``, which may be ``rows`` itself.

        A value beyond the extremes has the score of the nearer one; what is no finite number becomes a NaN.
        """
        with np.errstate(over="ignore"):
            given = np.asarray(rows, dtype=self.knots.dtype)
        bad = ~np.isfinite(given)
        for j, (knots, scores) in enumerate(zip(self.knots, self.scores, strict=True)):
            out[:, j] = np.interp(given[:, j], knots, scores)
        if bad.any():
            out[bad] = np.nan


def fit_quantiles(
    blocks: Blocks, features: int, start: int, total: int, precision: type[np.floating[Any]], comm: Comm
) -> Quantiles:
    """By the ``total`` training rows of all ranks, of which this one's begin at ``start``.

    Raises DataError where one holds a NaN or an infinity.
    """
    drawn = _drawn(total, _sample_rows(features, np.dtype(precision).itemsize))
    sample = np.zeros((len(drawn), features), precision)
    low, high = np.full(features, np.inf, precision), np.full(features, -np.inf, precision)
    at = start
    for block in blocks():
        if not np.isfinite(block).all():
            bad, column = map(int, np.argwhere(~np.isfinite(block))[0])
            raise DataError(
                f"data.scale: quantile needs numbers, and training row {at + bad} holds {block[bad, column]} in "
                f"column {column}; leave the row out"
            )
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
        first, last = np.searchsorted(drawn, (at, at + len(block)))
        sample[first:last] = block[drawn[first:last] - at]
        at += len(block)
    comm.allreduce(low, op="min")
    comm.allreduce(high, op="max")
    comm.allreduce(sample)  # every row of it is one rank's, and zero on the others
    knots = _knots(sample, low, high)
    counts = np.zeros(knots.shape)  # rows below a knot, and once more with those at it
    for block in blocks():
        ordered = np.array(block.T, order="C")  # a copy: the rows stay as they are
        ordered.sort(axis=1)
        for j in range(features):
            counts[j] += np.searchsorted(ordered[j], knots[j], side="left")
            counts[j] += np.searchsorted(ordered[j], knots[j], side="right")
    comm.allreduce(counts)
    from scipy.special import ndtri  # it loads slowly, and most data are not scaled so

    return Quantiles(knots, ndtri(counts / (2 * total)))


def quantile_bytes(features: int, rows: int) -> int:
    """What choosing knots for so many rows takes, at most."""
    sample = 8 * features * min(rows, _sample_rows(features, 8))
    return 2 * sample + 4 * 8 * features * min(rows, QUANTILES + 2)


def _sample_rows(features: int, itemsize: int) -> int:
    """How many rows knots are chosen from, where there are so many."""
    return max(1, min(_SAMPLE_ROWS, _SAMPLE_BYTES // (itemsize * features)))


def _drawn(total: int, most: int) -> NDArray[np.int64]:
    """The numbers of the rows of a sample, ascending: all of them, or one at random of each of ``most`` stretches.

    At random, because a file may repeat itself.
    """
    if total <= most:
        return np.arange(total)
    places = np.arange(most) + np.random.default_rng(0).random(most)
    return np.minimum(places * (total / most), total - 1).astype(np.int64)


def _knots(sample: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """The different values among a feature's extremes and the quantiles of its sample, (features, knots)."""
    rows = len(sample)
    ordered = np.sort(sample.T, axis=1)
    places = np.linspace(0, rows - 1, min(rows, QUANTILES)).round().astype(np.int64)
    zero = sample.dtype.type(0)  # added to -0, it makes 0, which is what ranks make of their sum
    chosen = [
        np.unique(np.concatenate(([lowest], values, [highest])) + zero)
        for lowest, values, highest in zip(low, ordered[:, places], high, strict=True)
    ]
    width = max(map(len, chosen))
    return np.stack([np.pad(values, (0, width - len(values)), mode="edge") for values in chosen])
