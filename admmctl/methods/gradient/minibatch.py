"""Mini-batches of rows that are spread over ranks: which they are, and this rank's part of them in memory."""

import numpy as np
from numpy.typing import NDArray

from admmctl.methods.method import Array, Problem


def epoch_order(seed: int, epoch: int, total: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the rows of all ranks."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(total)


def take(samples: Array, rows: NDArray[np.int64], out: Array) -> None:
    """Copy some columns, in Fortran order, to ``out``; of an array or of rows that stay on disk."""
    if isinstance(samples, np.ndarray):
        np.take(samples.T, rows, axis=0, out=out.T)
    else:
        samples.take(rows, out=out.T)


class MiniBatches:
    """Mini-batches of ``batch`` rows over all ranks, one after another; the last of an epoch may be smaller.

    Which rows they hold depends on the seed, the epoch and the global row number alone, so that a curve does not
    depend on the number of ranks beyond rounding. A batch of all rows is taken as it lies in memory.
    """

    def __init__(self, problem: Problem, batch: int) -> None:
        self._problem = problem
        self.batch = min(batch, problem.total)
        self.count = -(-problem.total // self.batch)  # in an epoch
        self._epoch = -1
        mine = problem.a0.shape[1]
        rows = min(self.batch, mine) if self.count > 1 else 0
        self._samples = np.empty((rows, len(problem.a0)), problem.a0.dtype)
        self._targets = np.empty((rows, len(problem.y)), problem.a0.dtype)
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)  # this rank's rows in the order of the epoch
        self._bounds: NDArray[np.int64] = np.zeros(0, np.int64)  # where mini-batches begin in it

    def rows(self, iteration: int) -> int:
        """Rows over all ranks of the mini-batch of an iteration, counted from 0."""
        return min(self.batch, self._problem.total - iteration % self.count * self.batch)

    def take(self, iteration: int) -> tuple[Array, Array]:
        """Inputs and targets of this rank's rows in the mini-batch of an iteration, as columns."""
        p = self._problem
        if self.count == 1:
            return p.a0, p.y
        epoch, number = divmod(iteration, self.count)
        if epoch != self._epoch:
            self._shuffle(epoch)
        rows = self._order[self._bounds[number] : self._bounds[number + 1]]
        take(p.a0, rows, out=self._samples[: len(rows)].T)
        take(p.y, rows, out=self._targets[: len(rows)].T)
        return self._samples[: len(rows)].T, self._targets[: len(rows)].T

    def _shuffle(self, epoch: int) -> None:
        """The order of this rank's rows in an epoch: the one of all rows, without those of other ranks."""
        p = self._problem
        order = epoch_order(p.seed, epoch, p.total)
        mine = np.flatnonzero((order >= p.start) & (order < p.start + p.a0.shape[1]))
        self._order = order[mine] - p.start
        self._bounds = np.searchsorted(mine, np.arange(self.count + 1) * self.batch)
        self._epoch = epoch
