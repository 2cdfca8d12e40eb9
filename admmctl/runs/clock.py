"""Two clocks: ``train_s`` counts optimisation only, ``wall_s`` counts all. Monotonic, in seconds."""

import time
from types import TracebackType
from typing import TypedDict

import numpy as np

Phases = dict[str, tuple[float, float, float]]  # largest, mean and smallest seconds over ranks

OUTSIDE = ("load", "evaluate", "checkpoint")  # phases that are timed and do not count as training


class SavedClock(TypedDict):
    """A clock in a checkpoint: seconds by phase, processor seconds by phase, seconds since the start."""

    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    wall: float


class Clock:
    """Time by phase on one rank.

    Phases nest: an inner phase's time is taken from the outer one, so that the phases of ``seconds`` add up
    to the time spent in any of them, each counted once. With ``cpu``, the processor time of this process by
    phase is kept as well, in ``cpu_seconds``: what a phase costs where ranks have to share cores.
    """

    def __init__(self, started: float | None = None, cpu: bool = False) -> None:
        self.started = time.perf_counter() if started is None else started
        self.cpu = cpu
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self.open: _Phase | None = None

    def phase(self, name: str) -> "_Phase":
        """Count the time of a ``with`` block under ``name``."""
        return _Phase(self, name)

    @property
    def train(self) -> float:
        """Seconds of optimisation on this rank so far."""
        return sum(seconds for name, seconds in self.seconds.items() if name not in OUTSIDE)

    def saved(self) -> SavedClock:
        """What ``resume`` takes."""
        return {"seconds": dict(self.seconds), "cpu_seconds": dict(self.cpu_seconds), "wall": self.wall}

    def resume(self, saved: SavedClock) -> None:
        """Go on where an earlier process stopped.

        What was timed in this process so far becomes loading: the earlier process has counted it already.
        """
        seconds, cpu_seconds = saved["seconds"], saved["cpu_seconds"]
        loaded, cpu_loaded = sum(self.seconds.values()), sum(self.cpu_seconds.values())
        self.seconds = {**seconds, "load": seconds.get("load", 0.0) + loaded}
        if self.cpu:
            self.cpu_seconds = {**cpu_seconds, "load": cpu_seconds.get("load", 0.0) + cpu_loaded}
        self.started -= saved["wall"]

    @property
    def wall(self) -> float:
        """Seconds since the run started, everything counted."""
        return time.perf_counter() - self.started


class _Phase:
    """A ``with`` block of a clock. Written out, and not a generator, because a block of columns has several."""

    __slots__ = ("clock", "cpu_inside", "cpu_start", "inside", "name", "outer", "start")

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock, self.name = clock, name
        self.inside = self.cpu_inside = 0.0  # the time of the phases inside this one

    def __enter__(self) -> None:
        self.outer, self.clock.open = self.clock.open, self
        if self.clock.cpu:
            self.cpu_start = time.process_time()
        self.start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = time.perf_counter() - self.start
        clock, outer, name = self.clock, self.outer, self.name
        clock.seconds[name] = clock.seconds.get(name, 0.0) + elapsed - self.inside
        if outer is not None:
            outer.inside += elapsed
        clock.open = outer
        if clock.cpu:
            elapsed = time.process_time() - self.cpu_start
            clock.cpu_seconds[name] = clock.cpu_seconds.get(name, 0.0) + elapsed - self.cpu_inside
            if outer is not None:
                outer.cpu_inside += elapsed


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
