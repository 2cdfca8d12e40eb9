"""The start of a job as the driver sees it: which ranks have told ``started`` and ``connected``, and which not."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from admmctl.launch.ended import Event, last_line

STILL = 10.0  # seconds without a further event after which people are told
CHILDLESS = 8.0  # seconds that an mpiexec may have no child, before a rank has started
LOOK = 1.0  # seconds between looks at its children


class Start:
    """A start lasts until all ``ranks`` are connected, and fails after ``seconds`` without a further event.

    With None for ``seconds`` it may take any time. ``launcher`` is the process number of ``program``.
    """

    def __init__(self, ranks: int, seconds: float | None, launcher: int, program: str, now: float) -> None:
        self.ranks, self.under_way = ranks, ranks > 0
        self._seconds, self._launcher = seconds, launcher
        self._counts: Counter[str] = Counter()
        self._ranks: dict[str, set[int]] = {"started": set(), "connected": set()}
        self._since = self._began = now
        self._noted = False  # that nothing happens
        self._looked = 0.0
        self._childless_since: float | None = None
        # srun has no children, and neither have launchers that ask a daemon for ranks.
        self._by_children = Path(program).name.startswith(("mpiexec", "mpirun"))

    def heard(self, event: Event, now: float) -> bool:
        """Note an event. Returns whether it belongs to a start; any other event ends the start."""
        stage = event["event"]
        if stage not in self._ranks:
            self.under_way = False
            return False
        self._counts[stage] += 1
        if event.get("rank") is not None:
            self._ranks[stage].add(event["rank"])
        self._since, self._noted = now, False
        self.under_way = self.under_way and self._counts["connected"] < self.ranks
        return True

    def stands_still(self, now: float, printed: Sequence[str]) -> str | None:
        """What people are told, once, when no further rank has been heard of for a while."""
        if self._noted or now - self._since < STILL:
            return None
        self._noted = True
        return f"after {now - self._began:.0f} s {self._state()}{_quoted(printed)}"

    def failed(self, now: float, printed: Sequence[str]) -> str | None:
        """Why the start has failed; None where it has not."""
        if self._seconds is not None and now - self._since >= self._seconds:
            return (
                f"the start was ended after {self._seconds:g} s without progress: {self._state()}"
                f"{_quoted(printed)}\n"
                "Where a start needs longer: start_seconds in the launch block of the cluster's file"
            )
        # MPICH's launcher waits for ever for proxies whose srun has failed.
        if self._counts["started"] == 0 and printed and self._by_children and now - self._looked >= LOOK:
            self._looked = now
            if not _childless(self._launcher):
                self._childless_since = None
            elif self._childless_since is None:
                self._childless_since = now
            elif now - self._childless_since >= CHILDLESS:
                return f"the start was ended: all that the launcher started has ended{_quoted(printed)}"
        return None

    def _state(self) -> str:
        started, connected = self._counts["started"], self._counts["connected"]
        if started < self.ranks:
            return f"{_have(started, f'of {self.ranks} ranks ')} started{self._missing('started')}"
        found = f"{_have(connected)} found the others{self._missing('connected')}"
        return f"all {self.ranks} ranks have started, and {found}"

    def _missing(self, stage: str) -> str:
        """The numbers of the ranks that have not told ``stage``, where others have."""
        missing = sorted(set(range(self.ranks)) - self._ranks[stage])
        if not self._ranks[stage] or not missing or len(missing) > 8:
            return ""
        return f" (not rank {', '.join(map(str, missing))})"


def _have(number: int, of: str = "") -> str:
    return f"{number or 'none'} {of}{'has' if number <= 1 else 'have'}"


def _quoted(printed: Sequence[str]) -> str:
    line = last_line(printed)
    return f"; the launcher says: {line}" if line else ""


def _childless(launcher: int) -> bool:
    """Whether no child of the launcher lives: Linux alone can tell."""
    found = False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has gone meanwhile
            state, parent = stat.read_bytes().rpartition(b")")[2].split()[:2]
            found = True
            if int(parent) == launcher and state != b"Z":
                return False
    return found
