"""Two clocks: ``train_s`` counts optimisation only, ``wall_s`` counts all. Monotonic, in seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

OUTSIDE = ("load", "evaluate")  # phases that are timed and do not count as training


class Clock:
    """Time by phase on one rank.

    Phases nest: an inner phase's time is taken from the outer one, so that the phases of ``seconds`` add up
    to the time spent in any of them, each counted once.
    """

    def __init__(self, started: float | None = None) -> None:
        self.started = time.perf_counter() if started is None else started
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []  # for every open phase, the time of the phases inside it

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a ``with`` block under ``name``."""
        self._inner.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            inside = self._inner.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - inside
            if self._inner:
                self._inner[-1] += elapsed

    @property
    def train(self) -> float:
        """Seconds of optimisation on this rank so far."""
        return sum(seconds for name, seconds in self.seconds.items() if name not in OUTSIDE)

    @property
    def wall(self) -> float:
        """Seconds since the run started, everything counted."""
        return time.perf_counter() - self.started
