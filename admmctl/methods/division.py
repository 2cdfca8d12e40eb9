"""Rows of matrices, cut into one piece per rank: each computes its own rows, and then all ranks have all of them.

Row j of W_l needs row j of z a' and the factor of a a', and no other row. So the rows of all layers, one after
another, are cut into as many pieces as there are ranks, of about the same work: the "parallelization over
layers" of Taylor et al. (section 2.1), carried on within a layer. Sums over samples are reduced piece by piece
(reduce-scatter), every rank solves for its own rows, and gathers those of the others (allgather). Together these
send as much as one Allreduce of all rows, and no rank repeats what another does.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

from admmctl.comm import Comm
from admmctl.devices.arrays import on_host
from admmctl.methods.method import Array, Diverged, Message

_HALVINGS = 50  # of the range in which the work of the busiest rank is searched
# Measured within iterations, for k of 500 to 800: to begin a solve takes as long as so many of its rows, because
# nothing of it is in cache; and an operation of a Cholesky factor so many times as long as one of a solve.
_BEGIN, _FACTOR = 50, 3.0


@dataclass(frozen=True)
class Division:
    """Matrices of ``shapes`` (rows, columns), which lie one after another in a vector, and who has which rows.

    Matrices are counted from 0. ``edges[r]`` is the row, counted over all matrices, at which the piece of rank r
    begins; there is one edge more than ranks. A rank may have no rows.
    """

    shapes: tuple[tuple[int, int], ...]
    edges: tuple[int, ...]
    comm: Comm

    @cached_property
    def _firsts(self) -> list[int]:
        """The first row of every matrix, counted over all, and the number of rows."""
        return [0, *accumulate(rows for rows, _ in self.shapes)]

    @cached_property
    def _starts(self) -> list[int]:
        """Where the piece of each rank begins in the vector, and the length of the vector."""
        return [
            sum(
                columns * min(max(edge - first, 0), rows)
                for first, (rows, columns) in zip(self._firsts, self.shapes, strict=False)
            )
            for edge in self.edges
        ]

    @cached_property
    def counts(self) -> list[int]:
        """Numbers in the piece of each rank."""
        return [high - low for low, high in pairwise(self._starts)]

    @cached_property
    def own(self) -> slice:
        """Where the piece of this rank lies in the vector."""
        return slice(*self._starts[self.comm.rank : self.comm.rank + 2])

    @cached_property
    def ranks(self) -> list[range]:
        """The ranks that have rows of a matrix, of every matrix."""
        return holders(self.shapes, self.edges)

    @cached_property
    def rows(self) -> list[slice]:
        """The rows of this rank, of every matrix: an empty slice where it has none."""
        low, high = self.edges[self.comm.rank : self.comm.rank + 2]
        return [
            slice(min(max(low - first, 0), rows), min(max(high - first, 0), rows))
            for first, (rows, _) in zip(self._firsts, self.shapes, strict=False)
        ]

    def has(self, i: int) -> bool:
        """Whether this rank has rows of matrix i."""
        return self.rows[i].start < self.rows[i].stop

    def views(self, vector: Array) -> list[Array]:
        """The matrices in a vector, as views."""
        ends = accumulate(rows * columns for rows, columns in self.shapes)
        return [vector[end - m * n : end].reshape(m, n) for end, (m, n) in zip(ends, self.shapes, strict=True)]

    def reduce(self, vector: Array) -> None:
        """Sum over ranks, in place: afterwards the rows of this rank are whole, and others mean nothing."""
        self.comm.reduce_scatter(vector, self.counts)

    def gather(self, vector: Array, numbers: Sequence[float] = ()) -> Array:
        """Copy every rank's own rows to all ranks, in place.

        ``numbers``, as many on every rank, go along in the same message. Returns their sums over ranks: every
        rank adds in the same order, so that all have the same bits, and may decide by them.
        """
        own: Array = np.array(numbers, np.float64)
        if not len(own):
            self.comm.allgather(vector, self.counts)
            return own
        bits = own.view(vector.dtype)
        counts = [count + len(bits) for count in self.counts]
        edges = [0, *accumulate(counts)]
        packed: Array = np.empty(edges[-1], vector.dtype, like=vector)
        packed[edges[self.comm.rank] : edges[self.comm.rank + 1]] = np.concatenate(
            [vector[self.own], np.asarray(bits, like=vector)]
        )
        self.comm.allgather(packed, counts)
        sums = np.zeros_like(own)
        for edge, start, count in zip(edges, self._starts, self.counts, strict=False):
            vector[start : start + count] = packed[edge : edge + count]
            sums += on_host(packed[edge + count : edge + count + len(bits)]).view(np.float64)
        return sums

    def whole(self, piece: Array) -> Array:
        """The vector of which every rank has its ``piece``."""
        vector: Array = np.empty(self._starts[-1], piece.dtype, like=piece)
        vector[self.own] = piece
        self.gather(vector)
        return vector

    def piece(self, vector: Array, like: Array) -> Array:
        """A copy of this rank's piece of a vector, as an array ``like`` another one: what ``whole`` undoes."""
        return np.array(vector[self.own], like=like)

    def gather_sound(
        self, vector: Array, failure: Diverged | None, of_another: str, numbers: Sequence[float] = ()
    ) -> Array:
        """``gather``, where a rank may have failed to compute its rows: then all ranks raise Diverged.

        With this rank's ``failure``, or else with the message ``of_another``. A failed piece is sent as NaN, which
        its first number tells.
        """
        if failure is not None:
            vector[self.own] = np.nan
        sums = self.gather(vector, numbers)
        begins = [start for start, count in zip(self._starts, self.counts, strict=False) if count]
        if not np.isfinite(vector[begins]).all():
            raise failure or Diverged(of_another)
        return sums


@dataclass(frozen=True)
class Work:
    """Operations on matrices of ``shapes`` (rows, columns): of a row of each, and of any rank with rows of it."""

    shapes: Sequence[tuple[int, int]]
    of_row: Sequence[float]
    once: Sequence[float]

    def cut(self, ranks: int) -> tuple[float, tuple[int, ...]]:
        """The work of the busiest rank, the least that there can be, and the ``edges`` of that division."""
        work = list(zip(self.shapes, self.of_row, self.once, strict=True))
        most = sum(rows * each + once for (rows, _), each, once in work)
        edges = self._edges(ranks, most)
        least = 0.0
        for _ in range(_HALVINGS if ranks > 1 else 0):
            middle = (least + most) / 2
            found = self._edges(ranks, middle)
            if found is None:
                least = middle
            else:
                most, edges = middle, found
        assert edges is not None
        return most, tuple(edges)

    def divide(self, comm: Comm) -> Division:
        """So that the busiest rank has the least work. Every rank finds the same cut."""
        return Division(tuple(self.shapes), self.cut(comm.size)[1], comm)

    def _edges(self, ranks: int, most: float) -> list[int] | None:
        """Of pieces of no more work than ``most``, every one as large as it may be; None if some rows are left."""
        edges, row, left = [0], 0, most
        for (rows, _), each, once in zip(self.shapes, self.of_row, self.once, strict=True):
            done = 0
            while done < rows:
                fit = min(rows - done, int((left - once) / each * (1 + 1e-12))) if left >= once else 0
                done, row, left = done + fit, row + fit, left - once - fit * each
                if done < rows:  # for the next rank
                    if len(edges) == ranks or most < once + each:
                        return None
                    edges.append(row)
                    left = most
        return [*edges, *[row] * (ranks + 1 - len(edges))]


def holders(shapes: Sequence[tuple[int, int]], edges: Sequence[int]) -> list[range]:
    """The ranks that have rows of a matrix, of every matrix."""
    firsts = [0, *accumulate(rows for rows, _ in shapes)]
    return [range(bisect_right(edges, first) - 1, bisect_left(edges, last)) for first, last in pairwise(firsts)]


def solve_work(
    shapes: Sequence[tuple[int, int]], factors: Sequence[float], beside: Sequence[float] | None = None
) -> Work:
    """Work of the solves for matrices of these shapes; ``factors`` are the operations of the factor of each.

    ``beside``: operations of a row of each, beside those of its solve.
    """
    once = [2.0 * k * k * _BEGIN + _FACTOR * flop for (_, k), flop in zip(shapes, factors, strict=True)]
    more = [0.0] * len(shapes) if beside is None else beside
    return Work(shapes, [2.0 * k * k + flop for (_, k), flop in zip(shapes, more, strict=True)], once)


@dataclass(frozen=True)
class Share:
    """Work that is divided over ranks: operations of the busiest one, and messages."""

    operations: float
    messages: tuple[Message, ...]
