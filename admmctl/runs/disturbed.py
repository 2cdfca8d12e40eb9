"""Whether other work took the cores of a run: its processor time beside the time that passed (measuring rule 9).

A rank's own work is its training without the reductions: there it waits for other ranks, and spins. Own work does
not sleep. Where it ran for much less time than has passed, the rank has waited: for a core that something else
had, or for a disk, a device, a thread. Linux counts how long a thread that is ready to run waits for a core.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SHARE = 0.95  # a rank that ran for less of its own work's time has waited
LEAST = 0.1  # seconds of own work; less says nothing


class Work(NamedTuple):
    """A rank's own work: seconds that have passed, seconds of processor time, and seconds of waiting for a core.

    ``queued`` is of all training, reductions too; None where the system does not count it.
    """

    seconds: float
    ran: float
    queued: float | None


@dataclass(frozen=True)
class Disturbance:
    """``disturbed``: other work took cores of the run; None where that cannot be told.

    ``cpu_share``: processor time over time of own work, the lowest over ranks; None where there was too little.
    """

    cpu_share: float | None
    disturbed: bool | None


def judge(ranks: Sequence[Work | None], share_cores: bool, streams: bool) -> Disturbance:
    """What the own work of all ranks shows; None for a rank stands for work that is not known.

    Ranks that ``share_cores`` wait for each other, and a run that ``streams`` its rows waits for the disk.
    """
    known = [work for work in ranks if work is not None]
    if len(known) < len(ranks):
        return Disturbance(None, None)
    enough = [work for work in known if work.seconds >= LEAST]
    if not enough:
        return Disturbance(None, None)
    share = min(min(1.0, work.ran / work.seconds) for work in enough)
    if share_cores:
        return Disturbance(share, None)
    found = [_disturbed(work, streams) for work in enough]
    return Disturbance(share, True if True in found else None if None in found else False)


def _disturbed(work: Work, streams: bool) -> bool | None:
    """Whether a rank waited for a core that something else had."""
    if work.ran >= SHARE * work.seconds:
        return False
    if work.queued is None:
        return None if streams else True
    # Most of what it did not run: else it waited for something that is not a core.
    return True if work.queued >= (work.seconds - work.ran) / 2 else None


class Queue:
    """How long the threads of this process have waited for a core, from when this is made."""

    def __init__(self) -> None:
        self._before = _queued()

    @property
    def seconds(self) -> float | None:
        """Of all threads that are there now; None where the system does not count it."""
        now = _queued()
        return sum(now[thread] - self._before.get(thread, 0.0) for thread in now) if now else None


def _queued() -> dict[str, float]:
    """Seconds for which each thread was ready to run and had no core; empty where the system counts none."""
    found = {}
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError, ValueError, IndexError):  # a thread that has ended, another system
            ran, waited, _ = map(int, (task / "schedstat").read_text().split())
            if ran:
                found[task.name] = waited / 1e9
    return found
