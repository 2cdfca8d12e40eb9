"""Scaling of features by statistics of all training rows: the same in training, in streams and in predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.data.quantiles import Blocks, Quantiles

# Equal numbers that were computed in different ways differ by so much, of their size.
_ROUNDING = 4 * float(np.finfo(np.float64).eps)
_SINGLE_ROUNDING = float(np.finfo(np.float32).eps)
_SMALLEST = 1e-300  # half of a range below has no reciprocal, or no digits


@dataclass(frozen=True)
class Scaling:
    """What is subtracted from every feature and multiplied to it, shape (features,).

    Both are float32, like the samples, or float64 where float32 would lose what a feature says: rows that are
    stored in numbers of 64 bits, features of extreme size or of a large offset. Where there are ``quantiles`` they
    alone say how rows are scaled.
    """

    shift: NDArray[np.floating]
    factor: NDArray[np.floating]
    quantiles: Quantiles | None = None

    @classmethod
    def by_quantiles(cls, quantiles: Quantiles) -> "Scaling":
        """Nothing is subtracted, and nothing multiplied."""
        features = len(quantiles.knots)
        return cls(np.zeros(features, np.float32), np.ones(features, np.float32), quantiles)

    def packed(self) -> dict[str, NDArray[np.floating]]:
        """As arrays by name, for the file of weights."""
        arrays = {"input_shift": self.shift, "input_factor": self.factor}
        if self.quantiles is not None:
            arrays |= {"input_knots": self.quantiles.knots, "input_scores": self.quantiles.scores}
        return arrays

    @classmethod
    def unpack(cls, arrays: Mapping[str, NDArray[Any]]) -> "Scaling":
        """From what ``packed`` made. Raises KeyError, or ValueError for arrays that do not fit together."""
        shift, factor, quantiles = arrays["input_shift"], arrays["input_factor"], None
        if "input_knots" in arrays:
            quantiles = Quantiles(arrays["input_knots"], arrays["input_scores"])
            if quantiles.knots.shape != quantiles.scores.shape or len(quantiles.knots) != len(shift):
                raise ValueError("its quantiles do not fit together")
        return cls(shift, factor, quantiles)

    def apply(self, rows: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Write ``rows`` (rows, features), scaled, to ``out``, which may be ``rows`` itself.

        What is too large for float32 then becomes an infinity.
        """
        if self.quantiles is not None:
            self.quantiles.apply(rows, out)
            return
        with np.errstate(over="ignore", invalid="ignore"):
            if self.shift.dtype == np.float32:
                np.subtract(np.asarray(rows, dtype=np.float32), self.shift, out=out)
                out *= self.factor
            else:
                exact = np.subtract(rows, self.shift, dtype=np.float64)
                exact *= self.factor
                out[...] = exact


def fit(blocks: Blocks, features: int, total: int, kind: str, comm: Comm) -> Scaling:
    """The scaling ``kind`` for rows in float64, by the ``total`` training rows of all ranks.

    The mean and the variance are taken of u = (x - middle) / half, where [middle - half, middle + half] is the
    range of the feature: so no offset is large beside what varies, and no square is too large or too small. A
    feature is constant where its range is no more than rounding; it is only shifted.
    """
    low, high = np.full(features, np.inf), np.full(features, -np.inf)
    for block in blocks():
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    comm.allreduce(low, op="min")
    comm.allreduce(high, op="max")
    largest = np.maximum(np.abs(low), np.abs(high))
    shift, factor = np.zeros(features), np.ones(features)
    if kind in ("standard", "centred"):
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        varies = (half > _ROUNDING * largest / 2) & (half > _SMALLEST)
        steps = np.zeros(features)
        steps[varies] = 1.0 / half[varies]
        sums = np.zeros((2, features))
        for block in blocks():
            u = np.subtract(block, middle, dtype=np.float64)
            u *= steps
            sums[0] += u.sum(axis=0)
            sums[1] += np.einsum("ij,ij->j", u, u)
        comm.allreduce(sums)
        mean, square = sums / total
        shift = middle + half * mean * varies
    if kind == "standard":
        factor[varies] = steps[varies] / np.sqrt(square[varies] - mean[varies] ** 2)
    if kind in ("unit", "centred"):
        factor /= _divisor(float(largest.max()))
    return Scaling(shift, factor)


def fit_single(blocks: Blocks, features: int, total: int, kind: str, comm: Comm) -> Scaling:
    """The same for rows in float32, which need less care.

    Sums are in float64, the mean first and the deviations from it second, so that the result does not depend on
    how rows are spread, beyond rounding.
    """
    shift, factor = np.zeros(features), np.ones(features)
    if kind in ("standard", "centred"):
        shift = sum((block.T.sum(axis=1, dtype=np.float64) for block in blocks()), start=shift)
        comm.allreduce(shift)
        shift /= total
    if kind == "standard":
        variance = np.zeros(features)
        for block in blocks():
            centred = block.T - shift[:, None]
            variance += np.einsum("ij,ij->i", centred, centred)
        comm.allreduce(variance)
        deviation = np.sqrt(variance / total)
        # Rounding leaves a constant feature with a tiny deviation; dividing by it would make noise.
        varies = deviation > _SINGLE_ROUNDING * np.abs(shift)
        factor[varies] = 1.0 / deviation[varies]
    if kind in ("unit", "centred"):
        largest = np.array([max((float(np.abs(block).max()) for block in blocks()), default=0.0)])
        comm.allreduce(largest, op="max")
        factor /= _divisor(largest[0])
    usual = np.abs(shift).max() < 1e30 and factor.min() > 1e-30 and factor.max() < 1e30
    # The mean is rounded, too: that must stay small beside what varies.
    if usual and (kind != "standard" or (np.abs(shift) * factor)[varies].max(initial=0.0) < 1e4):
        return Scaling(shift.astype(np.float32), factor.astype(np.float32))
    return Scaling(shift, factor)


def _divisor(largest: float) -> float:
    """The largest value, or 1 where all values are 0."""
    return largest if largest > _SMALLEST else 1.0
