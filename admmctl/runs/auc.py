"""The area under the ROC curve of two classes, over the rows of all ranks."""

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.data.shards import Shard, share
from admmctl.model.network import Array


def area(scores: Array, ones: NDArray[np.bool_]) -> float:
    """How likely a row of class 1 (``ones``) has a larger score than a row of class 0; a tie counts half.

    Pairs are counted, none is left out. NaN where a score is one, or where a class has no row.
    """
    above, below = np.sort(scores[ones]), np.sort(scores[~ones])
    if not len(above) or not len(below) or np.isnan(scores).any():
        return float("nan")
    pairs = int(np.searchsorted(below, above, "left").sum()) + int(np.searchsorted(below, above, "right").sum())
    return pairs / (2 * len(above) * len(below))


BYTES = 24  # that a test row of any rank takes on every rank, sorting included


class Ranking:
    """The scores of the test rows of all ranks, on every rank."""

    def __init__(self, test: Shard, comm: Comm) -> None:
        """Collective: ranks tell each other their labels."""
        self._comm = comm
        shares = [share(test.total, rank, comm.size) for rank in range(comm.size)]
        self._counts = [stop - start for start, stop in shares]
        self._scores: Array = np.zeros(test.total, np.float32)
        self._own = slice(test.start, test.start + len(test.labels))
        ones = np.zeros(test.total, np.uint8)
        ones[self._own] = test.labels
        comm.allgather(ones, self._counts)
        self._ones = ones.astype(bool)

    @property
    def own(self) -> Array:
        """Where the scores of this rank's rows go."""
        return self._scores[self._own]

    def auc(self) -> float:
        """Of the scores that every rank has written to ``own``; collective, and the same on every rank."""
        self._comm.allgather(self._scores, self._counts)
        return area(self._scores, self._ones)
