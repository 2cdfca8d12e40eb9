"""The least squares of all layers on several ranks: who solves for which rows of the weights, and what is sent."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np

from admmctl.comm import Comm
from admmctl.methods.division import Share, Work, holders, solve_work
from admmctl.methods.least_squares import Sums, Together
from admmctl.methods.method import Array, Diverged, Message


class LayerSums:
    """The sums of layers 1..L, whose rows of W are divided over ranks: ``division``, which counts layers from 0.

    Those that are solved ``together`` stand beside it.

    A rank gets the sums of z a' for its own rows, and those of a a' of the layers that it has rows of.
    ``factors[l - 1]`` are the operations of the factor of layer l, in an iteration on average: a rank without rows
    of a layer makes none. Every ``cross`` becomes a part of one vector, so that nothing is packed. ``beside``: see
    ``solve_work``.
    """

    def __init__(
        self,
        pairs: Mapping[int, Sums],
        factors: Sequence[float],
        comm: Comm,
        beside: Sequence[float] | None = None,
    ) -> None:
        self.together = {l: cast(Together, pair) for l, pair in pairs.items() if pair.together}
        factors = [flop for pair, flop in zip(pairs.values(), factors, strict=True) if not pair.together]
        pairs = {l: pair for l, pair in pairs.items() if not pair.together}
        self._pairs, self._comm = pairs, comm
        self._failure: Diverged | None = None  # why this rank could not solve for its rows
        self.divided = list(pairs)
        shapes = [pair.cross.shape for pair in pairs.values()]
        self.division = solve_work(shapes, factors, beside).divide(comm)
        first = next(iter(pairs.values())).cross
        self.crosses: Array = np.zeros(sum(rows * k for rows, k in shapes), first.dtype, like=first)
        for pair, part in zip(pairs.values(), self.division.views(self.crosses), strict=True):
            pair.cross = part
        self._groups: dict[range, list[Sums]] = {}  # who gets the sums of a a' of which layers
        for ranks, pair in zip(self.division.ranks, pairs.values(), strict=True):
            self._groups.setdefault(range(comm.size) if pair.everywhere else ranks, []).append(pair)

    def reduce(self) -> None:
        """Sum over ranks: z a' of every row for its rank, a a' of every layer for the ranks with rows of it."""
        for ranks, group in self._groups.items():
            parts = [part for pair in group for part in pair.packed()]
            if parts:
                packed = np.concatenate(parts)
                self._comm.reduce(packed, ranks)
                if self._comm.rank in ranks:
                    for pair in group:
                        packed = pair.unpack(packed)
        self.division.reduce(self.crosses)
        for wide in self.together.values():
            wide.divide()

    def solve(self, rows_of: Callable[[int, slice], Array], out: Array) -> None:
        """Put this rank's rows of W_1 .. W_L, ``rows_of(l, rows)``, into the vector ``out``.

        Where these raise Diverged, ``gather`` does so on all ranks.
        """
        self._failure = None
        try:
            for (l, pair), W, rows in zip(
                self._pairs.items(), self.division.views(out), self.division.rows, strict=True
            ):
                if pair.everywhere or rows.start < rows.stop:
                    W[rows] = rows_of(l, rows)
        except Diverged as failure:
            self._failure = failure

    def gather(self, out: Array, numbers: Sequence[float] = ()) -> Array:
        """Copy the rows of every rank to all, in place; ``numbers`` go along, and their sums over ranks come back.

        Raises Diverged, on all ranks.
        """
        of_another = "the least squares of another rank have no finite solution"
        return self.division.gather_sound(out, self._failure, of_another, numbers)

    def ranks_of(self, l: int) -> range:
        """The ranks that have rows of layer l."""
        return self.division.ranks[self.divided.index(l)]

    def on_all(self, l: int, triangle: Array) -> Array:
        """A copy of what the ranks with rows of layer l have, on all ranks. Collective."""
        has = self._comm.rank == self.ranks_of(l).start
        copied: Array = triangle.copy() if has else np.zeros_like(triangle)
        self._comm.allreduce(copied)
        return copied


def age(every: int, iteration: int) -> int:
    """Iterations that sums of a a' serve: ``every``, or a fifth of all so far; at first they change fast."""
    return max(1, min(every, iteration // 5))


def solve_share(work: Work, shared: Sequence[int], ranks: int, everywhere: bool = False, along: int = 0) -> Share:
    """Of the solves of all layers, in float32. Ranks with rows of layer l get ``shared[l - 1]`` numbers.

    So many numbers of every rank go ``along`` with the rows.
    """
    operations, edges = work.cut(ranks)
    groups: dict[range, int] = {}
    for having, numbers in zip(holders(work.shapes, edges), shared, strict=True):
        group = range(ranks) if everywhere else having
        groups[group] = groups.get(group, 0) + 4 * numbers
    rows = 4 * sum(rows * columns for rows, columns in work.shapes)
    sums = [Message("reduce", size) for size in groups.values() if size]
    weights = Message("reduce_scatter", rows), Message("allgather", rows + 8 * along * ranks)
    return Share(operations, (*sums, *weights))


def largest(comm: Comm, value: float) -> float:
    """The largest value of all ranks."""
    buffer = np.array([value])
    comm.allreduce(buffer, "max")
    return float(buffer[0])
