"""Ranks that work together: one process alone, or many over MPI, with the same few verbs.

Nothing else imports mpi4py. Methods are handed a communicator and never ask which kind it is.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Operation = Literal["sum", "max", "min"]
Verb = Literal["allreduce", "reduce", "reduce_scatter", "allgather"]


class Comm(Protocol):
    """What every communicator does."""

    rank: int
    size: int

    def allreduce(self, buffer: NDArray[Any], op: Operation = "sum") -> None:
        """Combine ``buffer`` over all ranks, in place: every rank is left with the same numbers."""

    def reduce(self, buffer: NDArray[Any], ranks: range) -> None:
        """Sum ``buffer`` over all ranks, in place, for ``ranks`` alone: elsewhere it means nothing afterwards."""

    def reduce_scatter(self, buffer: NDArray[Any], counts: Sequence[int]) -> None:
        """Sum over all ranks, in place, every piece of a vector for its own rank.

        The pieces lie one after another, that of rank r has ``counts[r]`` numbers. What stands in the pieces of
        others means nothing afterwards.
        """

    def allgather(self, buffer: NDArray[Any], counts: Sequence[int]) -> None:
        """Copy every rank's own piece of a vector to all ranks, in place; pieces as in ``reduce_scatter``."""

    def gather(self, item: Any) -> list[Any] | None:
        """Small Python objects of all ranks, in rank order, on rank 0; None elsewhere."""

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def local(self) -> tuple[int, int]:
        """The number of this rank among the ranks of its host, and how many these are. Collective."""

    def library(self) -> str:
        """Name and version of the message-passing library."""


class Serial:
    """One rank: nothing to combine, and no MPI needed."""

    rank = 0
    size = 1

    def allreduce(self, buffer: NDArray[Any], op: Operation = "sum") -> None:
        pass

    def reduce(self, buffer: NDArray[Any], ranks: range) -> None:
        pass

    def reduce_scatter(self, buffer: NDArray[Any], counts: Sequence[int]) -> None:
        pass

    def allgather(self, buffer: NDArray[Any], counts: Sequence[int]) -> None:
        pass

    def gather(self, item: Any) -> list[Any] | None:
        return [item]

    def barrier(self) -> None:
        pass

    def local(self) -> tuple[int, int]:
        return 0, 1

    def library(self) -> str:
        return "none (one rank)"


class MPI:
    """All ranks of an MPI job. For a watchdog: how many messages there were, and whether one is under way."""

    calls = 0
    waiting = False

    def __init__(self) -> None:
        from mpi4py import MPI as mpi

        self._mpi = mpi
        self._world = mpi.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self._operations = {"sum": mpi.SUM, "max": mpi.MAX, "min": mpi.MIN}
        self._groups: dict[range, Any] = {}  # communicators of some ranks, for those that are of them

    def allreduce(self, buffer: NDArray[Any], op: Operation = "sum") -> None:
        with self._message():
            self._world.Allreduce(self._mpi.IN_PLACE, buffer, op=self._operations[op])

    def reduce(self, buffer: NDArray[Any], ranks: range) -> None:
        if len(ranks) == self.size:
            self.allreduce(buffer)
            return
        with self._message():
            root = ranks[0]
            own = self._mpi.IN_PLACE if self.rank == root else buffer
            self._world.Reduce(own, buffer if self.rank == root else None, root=root)
            if len(ranks) > 1 and self.rank in ranks:
                self._group(ranks).Bcast(buffer)

    def _group(self, ranks: range) -> Any:
        """A communicator of ``ranks``, of which this rank is one. All of them call this together."""
        if ranks not in self._groups:
            group = self._world.Get_group().Incl(ranks)
            self._groups[ranks] = self._world.Create_group(group)
            group.Free()
        return self._groups[ranks]

    def reduce_scatter(self, buffer: NDArray[Any], counts: Sequence[int]) -> None:
        start, size = sum(counts[: self.rank]), counts[self.rank]
        # Not MPI's own "in place": MPICH 5.0 copies the sum over itself there, and aborts where it is long.
        summed = np.empty(size, buffer.dtype)
        with self._message():
            self._world.Reduce_scatter(buffer, summed, counts)
        buffer[start : start + size] = summed

    def allgather(self, buffer: NDArray[Any], counts: Sequence[int]) -> None:
        with self._message():
            self._world.Allgatherv(self._mpi.IN_PLACE, [buffer, counts])

    def gather(self, item: Any) -> list[Any] | None:
        with self._message():
            gathered: list[Any] | None = self._world.gather(item)
        return gathered

    def barrier(self) -> None:
        with self._message():
            self._world.Barrier()

    def local(self) -> tuple[int, int]:
        with self._message():
            here = self._world.Split_type(self._mpi.COMM_TYPE_SHARED)
        found = here.Get_rank(), here.Get_size()
        here.Free()
        return found

    def _message(self) -> "_Message":
        return _Message(self)

    def library(self) -> str:
        return " ".join(self._mpi.Get_library_version().splitlines()[0].split())


class _Message:
    """A ``with`` block in which a rank waits for others."""

    __slots__ = ("_comm",)

    def __init__(self, comm: MPI) -> None:
        self._comm = comm

    def __enter__(self) -> None:
        self._comm.calls += 1
        self._comm.waiting = True

    def __exit__(self, *_: object) -> None:
        self._comm.waiting = False
