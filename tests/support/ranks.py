"""Communicators for tests: one rank that counts, and several ranks that are threads."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class CountingComm:
    """One rank that remembers how many numbers, and bytes, every Allreduce carried."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.nbytes: list[int] = []

    def allreduce(self, buffer: Array, op: str = "sum") -> None:
        self.lengths.append(buffer.size)
        self.nbytes.append(buffer.nbytes)

    def gather(self, item: Any) -> list[Any]:
        return [item]

    def barrier(self) -> None:
        pass

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
        self._sent[self.rank] = buffer.copy()
        self._meeting.wait()
        stacked = np.stack([self._sent[rank] for rank in range(self.size)])
        self._meeting.wait()
        buffer[...] = {"sum": np.sum, "max": np.max, "min": np.min}[op](stacked, axis=0)

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
