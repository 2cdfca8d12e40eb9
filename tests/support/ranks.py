"""Communicators for tests: one rank that counts, and several ranks that are threads."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class CountingComm:
    """One rank that remembers how many numbers, and bytes, every Allreduce carried."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.verbs: list[tuple[str, int]] = []  # of every message but those of ``gather``, with its bytes
        self.lengths: list[int] = []
        self.nbytes: list[int] = []

    def allreduce(self, buffer: Array, op: str = "sum") -> None:
        self._count("allreduce", buffer)
        self.lengths.append(buffer.size)
        self.nbytes.append(buffer.nbytes)

    def reduce(self, buffer: Array, ranks: range) -> None:
        self._count("reduce", buffer)

    def reduce_scatter(self, buffer: Array, counts: Sequence[int]) -> None:
        self._count("reduce_scatter", buffer)

    def allgather(self, buffer: Array, counts: Sequence[int]) -> None:
        self._count("allgather", buffer)

    def _count(self, verb: str, buffer: Array) -> None:
        self.verbs.append((verb, buffer.nbytes))

    def gather(self, item: Any) -> list[Any]:
        return [item]

    def barrier(self) -> None:
        pass

    def local(self) -> tuple[int, int]:
        return self.rank, self.size

    def library(self) -> str:
        return "none"


class _Rank(CountingComm):
    """One rank of several that are threads of the test: every Allreduce waits for the others."""

    def __init__(self, rank: int, size: int, meeting: threading.Barrier, sent: dict[int, Any]) -> None:
        super().__init__()
        self.rank, self.size = rank, size
        self._meeting, self._sent = meeting, sent

    def allreduce(self, buffer: Array, op: str = "sum") -> None:
        super().allreduce(buffer, op)
        buffer[...] = {"sum": np.sum, "max": np.max, "min": np.min}[op](self._of_all(buffer), axis=0)

    def reduce(self, buffer: Array, ranks: range) -> None:
        super().reduce(buffer, ranks)
        summed = np.sum(self._of_all(buffer), axis=0)
        buffer[...] = summed if self.rank in ranks else np.nan  # it means nothing

    def reduce_scatter(self, buffer: Array, counts: Sequence[int]) -> None:
        super().reduce_scatter(buffer, counts)
        own = self._own(counts)
        summed = np.sum(self._of_all(buffer), axis=0)
        buffer[...] = np.nan  # elsewhere it means nothing
        buffer[own] = summed[own]

    def allgather(self, buffer: Array, counts: Sequence[int]) -> None:
        super().allgather(buffer, counts)
        pieces = np.split(self._of_all(buffer), np.cumsum(counts)[:-1], axis=1)
        buffer[...] = np.concatenate([piece[rank] for rank, piece in enumerate(pieces)])

    def _own(self, counts: Sequence[int]) -> slice:
        start = sum(counts[: self.rank])
        return slice(start, start + counts[self.rank])

    def _of_all(self, buffer: Array) -> Array:
        """The buffers of all ranks, one after another."""
        self._sent[self.rank] = buffer.copy()
        self._meeting.wait()
        stacked = np.stack([self._sent[rank] for rank in range(self.size)])
        self._meeting.wait()
        return stacked

    def gather(self, item: Any) -> Any:
        self._sent[self.rank] = item
        self._meeting.wait()
        items = [self._sent[rank] for rank in range(self.size)]
        self._meeting.wait()
        return items if self.rank == 0 else None

    def barrier(self) -> None:
        self._meeting.wait()


def on_ranks(size: int, work: Callable[[Any], Any]) -> list[Any]:
    """What ``work(comm)`` returns on each of ``size`` ranks. What one of them raises is raised."""
    meeting, sent = threading.Barrier(size, timeout=20), {}
    answers: list[Any] = [None] * size
    failures: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            answers[rank] = work(_Rank(rank, size, meeting, sent))
        except BaseException as failure:
            failures.append(failure)
            meeting.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a rank waits for the others"
    for failure in failures:
        raise failure
    return answers
