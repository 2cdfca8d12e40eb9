"""What a run tells those who watch it: events, which ranks of a job send to the driver as lines of JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from admmctl.experiment.config import Run
from admmctl.runs.summary import Row


class Planned(TypedDict):
    """The ranks have met: how much memory each will take, and whether there will be checkpoints."""

    event: Literal["planned"]
    ranks: int
    memory_mb: float
    checkpoints: bool


class Loaded(TypedDict):
    """The rows of all ranks are in memory."""

    event: Literal["loaded"]
    rows_train: int
    rows_test: int


class Evaluated(TypedDict):
    """A row of curve.csv; and of rank 0 its phases, in seconds, and the memory that it holds."""

    event: Literal["evaluation"]
    row: dict[str, float]
    phases: dict[str, float]
    memory_mb: float | None


class Finished(TypedDict):
    """The record is complete."""

    event: Literal["finished"]
    status: str


class Note(TypedDict):
    """Something that the user should know."""

    event: Literal["note"]
    text: str


class Stopping(TypedDict):
    """The run was asked to stop. Without a text it comes from a signal's handler: it must not be shown at once."""

    event: Literal["stopping"]
    text: NotRequired[str]


Event = Planned | Loaded | Evaluated | Finished | Note | Stopping


def note(text: str) -> Note:
    """An event that is only a text."""
    return {"event": "note", "text": text}


class Watcher:
    """Who is shown what happens: a live view, plain lines, or, as here, nobody."""

    def started(self, run: Run, folder: Path) -> None:
        """A run begins, or goes on, in its folder."""

    def event(self, event: Event) -> None:
        """Something happened to it."""

    def ended(self, summary: Row) -> None:
        """It has ended, whichever way."""

    def skipped(self, run: Run, reason: str) -> None:
        """A run that cannot be started is left out."""


class Sturdy(Watcher):
    """A watcher whose output may break, ``| head`` for instance: the run goes on unwatched."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def started(self, run: Run, folder: Path) -> None:
        self._call(self._watcher.started, run, folder)

    def event(self, event: Event) -> None:
        self._call(self._watcher.event, event)

    def ended(self, summary: Row) -> None:
        self._call(self._watcher.ended, summary)

    def _call(self, show: Callable[..., None], *shown: object) -> None:
        try:
            show(*shown)
        except (OSError, ValueError, SystemExit):  # ValueError: written to after it was closed
            self._watcher = Watcher()
