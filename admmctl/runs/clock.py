"""Two clocks: ``train_s`` counts optimisation only, ``wall_s`` counts all. Monotonic, in seconds."""

import time
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import TypedDict

import numpy as np

from admmctl.runs.disturbed import Queue, Work

Phases = dict[str, tuple[float, float, float]]  # largest, mean and smallest seconds over ranks

OUTSIDE = ("load", "evaluate", "checkpoint")  # phases that are timed and do not count as training
WAITING = ("reduce",)  # phases of training in which a rank waits for others: it spins, and does no work of its own


class SavedClock(TypedDict):
    """A clock in a checkpoint: seconds by phase, processor seconds by phase, seconds since the start.

    ``queued``: of waiting for a core; None where it is not known.
    """

    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    wall: float
    queued: float | None


class CallingThread:
    """The processor time of the thread that asks. Where another asked before, all time since then counts."""

    def __init__(self) -> None:
        self._ran = self._thread_ran = 0.0
        self._thread, self._at = 0, time.perf_counter()

    def __call__(self) -> float:
        now, thread, ran = time.perf_counter(), get_ident(), time.thread_time()
        self._ran += ran - self._thread_ran if thread == self._thread else now - self._at
        self._at, self._thread, self._thread_ran = now, thread, ran
        return self._ran


READ = 1e-3  # seconds between two looks at the processor time: one takes half a microsecond


class Clock:
    """Time by phase on one rank.

    Phases nest: while an inner phase is timed the outer one is not. So the phases of ``seconds`` add up to the
    time spent in any of them, each counted once. ``cpu_seconds`` has the processor time of the same phases, by the
    clock ``cpu``: that of all threads of this process, unless another is given. It is read before and after a
    phase that is in no other, and inside it once in ``read`` seconds, where a phase ends: the time since then that
    did not run is taken from that phase. Waiting for a core counts from ``begin_training`` on.
    """

    def __init__(
        self,
        started: float | None = None,
        cpu: Callable[[], float] = time.process_time,
        read: float = READ,
    ) -> None:
        now = time.perf_counter()
        self.started = now if started is None else started
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self._cpu, self._read = cpu, read
        self.timed: str | None = None  # the phase that is timed now
        self._since = self._read_at = now  # what was counted, and when the processor time was read
        self._ran = cpu()
        self._complete = True  # cpu_seconds has all that seconds has
        self._queue: Queue | None = None
        self._queued: float | None = 0.0  # before that

    def phase(self, name: str) -> "_Phase":
        """Count the time of a ``with`` block under ``name``."""
        return _Phase(self, name)

    def turn_to(self, name: str | None) -> str | None:
        """Time the phase ``name`` from now on, or none; returns the one that was timed."""
        now, before = time.perf_counter(), self.timed
        seconds = ran = now - self._since
        if before is None or name is None or now - self._read_at >= self._read:
            cpu = self._cpu()
            ran += cpu - self._ran - (now - self._read_at)
            self._ran, self._read_at = cpu, now
        if before is not None:
            self.seconds[before] = self.seconds.get(before, 0.0) + seconds
            self.cpu_seconds[before] = self.cpu_seconds.get(before, 0.0) + ran
        self.timed, self._since = name, now
        return before

    @property
    def train(self) -> float:
        """Seconds of optimisation on this rank so far."""
        return sum(seconds for name, seconds in self.seconds.items() if name not in OUTSIDE)

    def begin_training(self) -> None:
        """From here on, how long this process waits for cores is measured."""
        self._queue = Queue()

    def end_training(self) -> None:
        """Until here."""
        self._queued, self._queue = self.queued, None

    @property
    def queued(self) -> float | None:
        """Seconds that threads of this process have waited for a core while it trained; None: not known."""
        if self._queue is None or self._queued is None:
            return self._queued
        since = self._queue.seconds
        return None if since is None else self._queued + since

    @property
    def work(self) -> Work | None:
        """This rank's own work so far. None where an earlier process has not said how much of it it ran."""
        return Work(*self.own, self.queued) if self._complete else None

    @property
    def own(self) -> tuple[float, float]:
        """Seconds, and processor seconds, of all training but waiting for other ranks."""
        names = [name for name in self.seconds if name not in (*OUTSIDE, *WAITING)]
        return sum(self.seconds[name] for name in names), sum(self.cpu_seconds.get(name, 0.0) for name in names)

    def saved(self) -> SavedClock:
        """What ``resume`` takes."""
        cpu_seconds = dict(self.cpu_seconds) if self._complete else {}
        seconds = dict(self.seconds)
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "wall": self.wall, "queued": self.queued}

    def resume(self, saved: SavedClock) -> None:
        """Go on where an earlier process stopped.

        What was timed in this process so far becomes loading: the earlier process has counted it already.
        """
        for now, before in ((self.seconds, saved["seconds"]), (self.cpu_seconds, saved["cpu_seconds"])):
            loaded = sum(now.values())
            now.clear()
            now.update({**before, "load": before.get("load", 0.0) + loaded})
        # Older checkpoints do not say how much of their time the process ran, nor how long it waited.
        self._complete = saved["cpu_seconds"].keys() == saved["seconds"].keys()
        self._queued = saved.get("queued")
        self._queue = None if self._queue is None else Queue()
        self.started -= saved["wall"]

    @property
    def wall(self) -> float:
        """Seconds since the run started, everything counted."""
        return time.perf_counter() - self.started


class _Phase:
    """A ``with`` block of a clock. Written out, and not a generator, because a block of columns has several."""

    __slots__ = ("clock", "name", "outer")

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock, self.name = clock, name

    def __enter__(self) -> None:
        self.outer = self.clock.turn_to(self.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clock.turn_to(self.outer)


def summarise_phases(seconds: list[dict[str, float]], walls: list[float]) -> Phases:
    """Largest, mean and smallest seconds over ranks of every phase; 'rest' is what no phase counted."""
    rest = [wall - sum(rank.values()) for rank, wall in zip(seconds, walls, strict=True)]
    return over_ranks(
        [{**rank, "rest": left, "wall": wall} for rank, left, wall in zip(seconds, rest, walls, strict=True)]
    )


def over_ranks(seconds: list[dict[str, float]]) -> Phases:
    """The largest, mean and smallest over ranks of every name; a rank that lacks one has zero there."""
    names = list(dict.fromkeys(name for rank in seconds for name in rank))
    # What sums up the others comes last.
    names.sort(key=lambda name: ("rest", "wall").index(name) if name in ("rest", "wall") else -1)
    table = {name: [rank.get(name, 0.0) for rank in seconds] for name in names}
    return {name: (max(values), float(np.mean(values)), min(values)) for name, values in table.items()}
