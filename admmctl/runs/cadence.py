"""When the next checkpoint is due: as the experiment says, or so that they cost little."""

import time
from collections.abc import Callable

from admmctl.experiment.schema import CheckpointSettings

SECONDS = 300.0  # between two checkpoints, unless the experiment says otherwise
SHARE = 0.02  # of the time, at most, that they may take then
_SPEED = 100e6  # bytes a second, until one has been timed: a slow disk


class Cadence:
    """Asked after every iteration on one rank. A checkpoint of it has about ``size`` bytes."""

    def __init__(
        self, settings: CheckpointSettings, size: int, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._settings, self._now = settings, now
        self._cost = size / _SPEED
        self._last = now()

    def due(self, iteration: int) -> bool:
        every = self._settings.every
        if every == 0:
            return False
        if every is not None and self._settings.unit == "iteration":
            return iteration % every == 0
        apart = max(SECONDS, self._cost * (1 / SHARE - 1)) if every is None else every
        return self._now() - self._last >= apart

    def wrote(self, seconds: float) -> None:
        """A checkpoint has just been written, or not been possible, in so many seconds."""
        self._cost, self._last = seconds, self._now()
