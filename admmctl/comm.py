"""Ranks that work together: one process alone, or many over MPI, with the same few verbs.

Nothing else imports mpi4py. Methods are handed a communicator and never ask which kind it is.
"""

from typing import Any, Literal, Protocol

from numpy.typing import NDArray

Operation = Literal["sum", "max", "min"]


class Comm(Protocol):
    """What every communicator does."""

    rank: int
    size: int

    def allreduce(self, buffer: NDArray[Any], op: Operation = "sum") -> None:
        """Combine ``buffer`` over all ranks, in place: every rank is left with the same numbers."""

    def gather(self, item: Any) -> list[Any] | None:
        """Small Python objects of all ranks, in rank order, on rank 0; None elsewhere."""

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def library(self) -> str:
        """Name and version of the message-passing library."""


class Serial:
    """One rank: nothing to combine, and no MPI needed."""

    rank = 0
    size = 1

    def allreduce(self, buffer: NDArray[Any], op: Operation = "sum") -> None:
        pass

    def gather(self, item: Any) -> list[Any] | None:
        return [item]

    def barrier(self) -> None:
        pass

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

    def allreduce(self, buffer: NDArray[Any], op: Operation = "sum") -> None:
        with self._message():
            self._world.Allreduce(self._mpi.IN_PLACE, buffer, op=self._operations[op])

    def gather(self, item: Any) -> list[Any] | None:
        with self._message():
            gathered: list[Any] | None = self._world.gather(item)
        return gathered

    def barrier(self) -> None:
        with self._message():
            self._world.Barrier()

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
