"""The start of a job: the first words of its ranks, and what the driver makes of those that are missing.

A rank says ``started`` as soon as its Python runs, before the heavy imports, and ``connected`` when it has found
the others. This module is loaded before anything else: it imports nothing heavy.
"""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from admmctl.launch.said import last_words

STILL = 10.0  # seconds without a further word after which people are told
ALONE = 8.0  # seconds that an mpiexec may have no child, before a rank has said a word
LOOK = 1.0  # seconds between looks at its children
# What launchers call a rank's number before MPI does: MPICH and its relatives, PMIx, Open MPI, srun.
_NUMBERS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def report(stage: str, rank: int | None = None) -> None:
    """In a rank: how far its start is, ``started`` or ``connected``; for the driver."""
    if rank is None:
        number = next((os.environ[name] for name in _NUMBERS if name in os.environ), "")
        rank = int(number) if number.isdecimal() else None
    event = {"event": stage, "rank": rank, "host": os.uname().nodename}
    # One write: lines of different ranks must not mix.
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Start:
    """In the driver: how many of ``ranks`` have said what. A start lasts until all of them are connected.

    After ``seconds`` without a further word it has failed; None: it may take as long as it likes.
    """

    def __init__(self, ranks: int, seconds: float | None, launcher: int, program: str, now: float) -> None:
        self.ranks, self.under_way = ranks, ranks > 0
        self._seconds, self._launcher = seconds, launcher
        self._begun = self._connected = 0
        self._numbers: dict[str, set[int]] = {"started": set(), "connected": set()}
        self._since = self._began = now
        self._told = False
        self._looked = 0.0
        self._alone_since: float | None = None
        # srun, and launchers that ask a daemon for ranks, need no children.
        self._by_children = Path(program).name.startswith(("mpiexec", "mpirun"))

    def heard(self, event: dict[str, Any], now: float) -> bool:
        """Whether the event is a word of a start; any other one means that the start is over."""
        stage = event["event"]
        if stage not in self._numbers:
            self.under_way = False
            return False
        if stage == "started":
            self._begun += 1
        else:
            self._connected += 1
        if event.get("rank") is not None:
            self._numbers[stage].add(event["rank"])
        self._since, self._told = now, False
        self.under_way = self.under_way and self._connected < self.ranks
        return True

    def stands_still(self, now: float, said: Sequence[str]) -> str | None:
        """What people are told, once, when for a while no further rank has said a word."""
        if self._told or now - self._since < STILL:
            return None
        self._told = True
        return f"after {now - self._began:.0f} s {self._state()}{_quoted(said)}"

    def failed(self, now: float, said: Sequence[str]) -> str | None:
        """Why it has failed, if it has."""
        if self._seconds is not None and now - self._since >= self._seconds:
            return (
                f"the start was ended after {self._seconds:g} s without progress: {self._state()}{_quoted(said)}\n"
                "Where a start needs longer: start_seconds in the launch block of the cluster's file"
            )
        # MPICH's launcher waits for ever for proxies whose srun has failed.
        if self._begun == 0 and said and self._by_children and now - self._looked >= LOOK:
            self._looked = now
            if not _is_alone(self._launcher):
                self._alone_since = None
            elif self._alone_since is None:
                self._alone_since = now
            elif now - self._alone_since >= ALONE:
                return f"the start was ended: all that the launcher started has ended{_quoted(said)}"
        return None

    def _state(self) -> str:
        if self._begun < self.ranks:
            begun = f"{_count(self._begun)} of {self.ranks} ranks {_have(self._begun)} started"
            return begun + self._missing("started")
        connected = f"{_count(self._connected)} {_have(self._connected)} found the others"
        return f"all {self.ranks} ranks have started, and {connected}{self._missing('connected')}"

    def _missing(self, stage: str) -> str:
        """The ranks that have not said it, where some have, by number."""
        missing = sorted(set(range(self.ranks)) - self._numbers[stage])
        if not self._numbers[stage] or not missing or len(missing) > 8:
            return ""
        return f" (not rank {', '.join(map(str, missing))})"


def _count(number: int) -> str:
    return "none" if number == 0 else str(number)


def _have(number: int) -> str:
    return "has" if number <= 1 else "have"


def _quoted(said: Sequence[str]) -> str:
    words = last_words(said)
    return f"; the launcher says: {words}" if words else ""


def _is_alone(launcher: int) -> bool:
    """Whether no child of the launcher lives: Linux alone can tell."""
    found = False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has gone meanwhile
            state, parent = stat.read_bytes().rpartition(b")")[2].split()[:2]
            found = True
            if int(parent) == launcher and state != b"Z":
                return False
    return found
