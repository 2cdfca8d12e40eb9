"""Checkpoints of a run: ``checkpoint/<iteration>/`` in its folder, written whole or not at all, the last two kept.

``rank-<r>.npy`` has what a rank keeps of its samples, ``common.npz`` what is the same on every rank,
``manifest.json`` everything else: sizes and sha256 of the files, where arrays begin, numbers. It is written last,
and the folder gets its name after that. ``checkpoint_files.py`` is about the files.
"""

import itertools
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.errors import UserError
from admmctl.experiment.schema import CheckpointSettings
from admmctl.methods.method import Snapshot
from admmctl.runs import checkpoint_files as files
from admmctl.runs.clock import SavedClock, over_ranks

FOLDER, MANIFEST, COMMON = "checkpoint", "manifest.json", "common.npz"
KEPT = 2
_MOST = 8  # folders that are looked at for a readable one

SECONDS = 300.0  # between two checkpoints, unless the experiment says otherwise
SHARE = 0.02  # of the time, at most, that they may take then
_SPEED = 100e6  # bytes a second, until one has been timed: a slow disk


@dataclass(frozen=True)
class Checkpoint:
    """A run as it was: the method's snapshot, what the loop knew, and this rank's clock."""

    iteration: int
    snapshot: Snapshot
    progress: dict[str, Any]
    clock: SavedClock


class Checkpoints:
    """The checkpoints of one run. Every rank has such an object, and all ranks call its methods together.

    ``identity`` is what must not have changed: the hash of the settings, the data, the number of rows. This rank
    has rows ``start`` to ``stop``. ``say`` is called on rank 0, with what a user should know.
    """

    def __init__(
        self,
        run: Path,
        comm: Comm,
        identity: Mapping[str, Any],
        start: int,
        stop: int,
        say: Callable[[str], None],
    ) -> None:
        self.folder = run / FOLDER
        self._comm, self._identity, self._start, self._stop = comm, dict(identity), start, stop
        self._say = say
        self._reasons: set[str] = set()

    def write(self, iteration: int, snapshot: Snapshot, progress: dict[str, Any], clock: SavedClock) -> bool:
        """Whether it was written: where it cannot be, the run goes on, and those before stay as they are."""
        part = self.folder / f".{iteration}.part"
        reason = self._try(lambda: self._make(part))
        self._comm.barrier()
        name = f"rank-{self._comm.rank:05}.npy"
        entry: dict[str, Any] = {"rows": [self._start, self._stop]}
        if snapshot.rows and not reason:
            reason = self._try(lambda: entry.update(files.write_rows(part / name, snapshot.rows)))
        ranks = self._comm.gather((reason, name, entry, clock))
        written = np.zeros(1)
        if ranks is not None:
            reason = next((reason for reason, _, _, _ in ranks if reason), "")
            content = {
                **self._identity,
                "iteration": iteration,
                "ranks": {name: entry for _, name, entry, _ in ranks if "arrays" in entry},
                "clocks": [clock for _, _, _, clock in ranks],
            }
            state = {"common": snapshot.common, "progress": progress}
            reason = reason or self._try(lambda: self._finish(part, iteration, content, state))
            if reason:
                shutil.rmtree(part, ignore_errors=True)
                self._once(f"no checkpoint at iteration {iteration}: {reason}. The run goes on")
            written[0] = not reason
        self._comm.allreduce(written)
        return bool(written[0])

    def _make(self, part: Path) -> None:
        if self._comm.rank == 0:
            self.folder.mkdir(exist_ok=True)
            for left in self.folder.glob(".*.part"):  # of a job that was killed
                shutil.rmtree(left, ignore_errors=True)
            part.mkdir()

    def _try(self, work: Callable[[], object]) -> str:
        """Why ``work`` could not be done, or ''."""
        try:
            work()
            return ""
        except OSError as error:
            place = f"{error.filename}: " if error.filename else f"{self.folder}: "
            return f"{place}{error.strerror or error}"

    def _finish(self, part: Path, iteration: int, content: dict[str, Any], state: dict[str, Any]) -> None:
        """Rank 0, when all ranks have written: what is common, the manifest, the name; and older ones go."""
        arrays: dict[str, NDArray[Any]] = {}
        content["state"] = files.pack(state, arrays)
        with (part / COMMON).open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            files.to_disk(file)
        content["common"] = files.sum_of(part / COMMON)
        files.write_manifest(part / MANIFEST, content)
        place = self.folder / str(iteration)
        if place.exists():  # one that could not be read
            shutil.rmtree(place)
        part.rename(place)
        files.sync_folder(self.folder)
        for old in self._iterations()[KEPT:]:
            shutil.rmtree(self.folder / str(old), ignore_errors=True)

    def _iterations(self) -> list[int]:
        """Iterations that have a checkpoint, the newest first."""
        try:
            return sorted((int(p.name) for p in self.folder.iterdir() if p.name.isdecimal()), reverse=True)
        except OSError:
            return []

    def read(self) -> Checkpoint | None:
        """The newest checkpoint that can be read, on all ranks the same one; None where there is none.

        Raises UserError where the newest one is of other settings or data.
        """
        newest = np.full(_MOST, -1.0)
        if self._comm.rank == 0:
            there = self._iterations()[:_MOST]
            newest[: len(there)] = there
        self._comm.allreduce(newest, op="max")
        iterations = newest[newest >= 0].astype(int).tolist()
        for iteration, before in itertools.zip_longest(iterations, iterations[1:]):
            found, wrong = None, ""
            try:
                found = self._read(iteration)
            except (files.Unreadable, OSError) as error:
                wrong = str(error)
            reasons = self._comm.gather(wrong)
            failed = np.array([float(found is None)])
            self._comm.allreduce(failed, op="max")
            if not failed[0]:
                return found
            if reasons is not None:
                reason = next(reason for reason in reasons if reason)
                then = "the run starts anew" if before is None else "trying the one before"
                self._say(f"the checkpoint of iteration {iteration} cannot be read ({reason}); {then}")
        return None

    def _read(self, iteration: int) -> Checkpoint:
        place = self.folder / str(iteration)
        content = files.read_manifest(place / MANIFEST)
        for key, value in self._identity.items():
            if content.get(key) != value:
                raise UserError(f"{place} is of another {key}: {content.get(key)}, and here it is {value}")
        try:
            files.check(place / COMMON, content["common"])
            with np.load(place / COMMON, allow_pickle=False) as file:
                state = files.unpack(content["state"], dict(file))
            parts = [
                files.Part(place / name, entry["rows"][0], entry["rows"][1], entry["arrays"])
                for name, entry in sorted(content["ranks"].items(), key=lambda item: item[1]["rows"])
                if entry["rows"][0] < self._stop and entry["rows"][1] > self._start
            ]
            for part in parts:
                files.check(part.path, content["ranks"][part.path.name])
            clocks = content["clocks"]
            clock = clocks[self._comm.rank] if len(clocks) == self._comm.size else _mean(clocks)
        except (ValueError, KeyError, TypeError) as error:
            raise files.Unreadable(f"{type(error).__name__}: {error}") from None
        rows = files.Rows(parts, self._start, self._stop)
        return Checkpoint(iteration, Snapshot(state["common"], rows), state["progress"], clock)

    def remove(self) -> None:
        """The run has come to its end: there is nothing to go on with."""
        if self._comm.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _once(self, text: str) -> None:
        """Say something once, and not at every checkpoint."""
        reason = text.split(": ", 1)[-1]
        if reason not in self._reasons:
            self._reasons.add(reason)
            self._say(text)


def exist(run: Path) -> bool:
    """Whether a run's folder has a checkpoint, readable or not."""
    try:
        return any(place.name.isdecimal() for place in (run / FOLDER).iterdir())
    except OSError:
        return False


def _mean(clocks: list[SavedClock]) -> SavedClock:
    """The clock of a rank when they were others: the mean of all, by phase."""

    def over_clocks(seconds: list[dict[str, float]]) -> dict[str, float]:
        return {name: mean for name, (_, mean, _) in over_ranks(seconds).items()}

    queued = [clock.get("queued") for clock in clocks]
    known = [seconds for seconds in queued if seconds is not None]
    return {
        "seconds": over_clocks([clock["seconds"] for clock in clocks]),
        "cpu_seconds": over_clocks([clock["cpu_seconds"] for clock in clocks]),
        "wall": max(clock["wall"] for clock in clocks),
        "queued": sum(known) / len(clocks) if len(known) == len(clocks) else None,
    }


class Cadence:
    """When the next checkpoint is due: as the experiment says, or so that they cost little.

    Asked after every iteration on one rank. A checkpoint of it has about ``size`` bytes.
    """

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
        """A checkpoint took so many seconds, whether it could be written or not."""
        self._cost, self._last = seconds, self._now()
