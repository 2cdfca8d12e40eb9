"""Mini-batches of rows that are spread over ranks: which they are, and this rank's part of them in memory."""

import numpy as np
from numpy.typing import NDArray

from admmctl.methods.method import Array, Problem
from admmctl.methods.regularise import Regulariser, RegulariserSettings
from admmctl.model.gradient import Mask
from admmctl.rng import uniforms


class Epoch:
    """An epoch's mini-batches of ``batch`` rows: which of the rows ``start`` to ``stop`` each of them takes.

    All ``total`` rows, as they follow one another, are cut into ``batch`` strata of about the same size, and every
    mini-batch takes one row of each, drawn without replacement: a stratified sample. So every rank has its share
    of every mini-batch, to a row, and draws for its own strata alone. The rows depend on the seed, the number of
    the epoch and the global row number, and not on who asks. The last mini-batch has the rows that are left.
    """

    def __init__(self, seed: int, number: int, total: int, batch: int, start: int, stop: int) -> None:
        first, last = _stratum(start, total, batch), _stratum(stop - 1, total, batch)
        edges = np.arange(first, last + 2, dtype=np.int64) * total // batch
        low, high = int(edges[0]), int(edges[-1])
        keys = uniforms(seed, f"epoch {number}", low, high)
        keys += np.repeat(np.arange(last + 1 - first), np.diff(edges))
        self._order = np.argsort(keys) + low  # the rows of a stratum in the order of the mini-batches
        self._edges = edges - low
        self._own = range(start, stop)
        self._total, self._batch, self._first = total, batch, first

    def rows(self, number: int) -> NDArray[np.int64]:
        """The rows of a mini-batch, in ascending strata."""
        places = self._edges[:-1] + number
        rows: NDArray[np.int64] = self._order[places[places < self._edges[1:]]]
        # Strata at the ends are shared with neighbours.
        return rows[(rows >= self._own.start) & (rows < self._own.stop)]

    def before(self, number: int) -> int:
        """How many rows of a mini-batch lie before those of this rank: its place in the mini-batch."""
        # Strata have a row for every mini-batch of the epoch, and some of them one for the last, shorter one, too.
        every = self._total // self._batch
        strata = self._first if number < every else self._first * self._total // self._batch - self._first * every
        place = self._edges[0] + number
        neighbours = place < self._edges[1] and self._order[place] < self._own.start
        return strata + bool(neighbours)


def _stratum(row: int, total: int, batch: int) -> int:
    """Whose rows are s total / batch and on, rounded down, of stratum s."""
    return ((row + 1) * batch - 1) // total


def most_rows(samples: int, total: int, batch: int) -> int:
    """Rows of a mini-batch that a rank with so many of all has at most."""
    return min(samples, -(-samples * batch // total) + 1)


def take(samples: Array, rows: NDArray[np.int64], out: Array) -> None:
    """Copy some columns, in Fortran order, to ``out``; of an array, of rows that stay on disk, or on a device."""
    if isinstance(samples, np.ndarray):
        # NumPy would copy twice, for the sake of rows that are not there.
        np.take(samples.T, rows, axis=0, out=out.T, mode="clip")
    else:
        samples.take(rows, out=out.T)


class MiniBatches:
    """Mini-batches of ``batch`` rows over all ranks, one after another; the last of an epoch may be smaller.

    Which rows they hold does not depend on the number of ranks (``Epoch``), and so a curve does not either, beyond
    rounding. A batch of all rows is taken as it lies in memory, unless ``settings`` change its samples.
    """

    def __init__(self, problem: Problem, batch: int, settings: RegulariserSettings | None = None) -> None:
        self._problem = problem
        self.batch = min(batch, problem.total)
        self.count = -(-problem.total // self.batch)  # in an epoch
        self._number = -1
        self._epoch: Epoch | None = None
        self.first = 0  # the place of this rank's first row in the mini-batch that was taken last
        self.most = most_rows(problem.a0.shape[1], problem.total, self.batch)  # rows of this rank in one of them
        self._regulariser: Regulariser | None = None
        if settings is not None and settings.regularises:
            self._regulariser = Regulariser(settings, problem.network, problem.seed, problem.y)
        self._copies = self.count > 1 or (settings is not None and settings.changes_samples)
        rows = self.most if self._copies else 0
        self._samples: Array = np.empty((rows, len(problem.a0)), problem.a0.dtype, like=problem.y)
        self._targets: Array = np.empty((rows, len(problem.y)), problem.a0.dtype, like=problem.y)

    def rows(self, iteration: int) -> int:
        """Rows over all ranks of the mini-batch of an iteration, counted from 0."""
        return min(self.batch, self._problem.total - iteration % self.count * self.batch)

    @property
    def mask(self) -> Mask | None:
        """Which hidden units the mini-batch that was taken last leaves out; None where all are kept."""
        return self._regulariser.mask if self._regulariser is not None and self._regulariser.kept else None

    @property
    def kept(self) -> dict[int, float]:
        """The part of its units that a hidden layer l = 1.. keeps on average, where it is not 1."""
        return {} if self._regulariser is None else self._regulariser.kept

    def take(self, iteration: int) -> tuple[Array, Array]:
        """Inputs and targets of this rank's rows in the mini-batch of an iteration, as columns."""
        a0, y, self.first = self._gathered(iteration)
        if self._regulariser is not None:
            self._regulariser.begin(iteration, self.first)
            self._regulariser.change(a0, y)
        return a0, y

    def _gathered(self, iteration: int) -> tuple[Array, Array, int]:
        """Inputs and targets as they are, to be changed where that was asked for; how many are of ranks before."""
        p = self._problem
        if not self._copies:
            return p.a0, p.y, p.start
        if self.count == 1:
            rows, first = np.arange(p.a0.shape[1]), p.start
        else:
            epoch, number = divmod(iteration, self.count)
            if self._epoch is None or epoch != self._number:
                stop = p.start + p.a0.shape[1]
                self._number, self._epoch = epoch, Epoch(p.seed, epoch, p.total, self.batch, p.start, stop)
            rows, first = self._epoch.rows(number) - p.start, self._epoch.before(number)
        take(p.a0, rows, out=self._samples[: len(rows)].T)
        take(p.y, rows, out=self._targets[: len(rows)].T)
        return self._samples[: len(rows)].T, self._targets[: len(rows)].T, first


def batch_bytes(width: int, samples: int, total: int, batch: int, changed: bool = False) -> int:
    """Memory of ``MiniBatches`` of rows of ``width`` float32, at its peak; ``changed``: inputs or targets are."""
    if batch >= total:
        return 4 * samples * width if changed else 0
    # Of every row of the rank its key, its place and its number; the keys are made of 64-bit integers.
    return 4 * most_rows(samples, total, batch) * width + 32 * samples
