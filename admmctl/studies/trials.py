"""The trials of a sweep: planned from its settings, and run so many at a time.

Each is a run folder of its own. One that has finished is not run again; one that was interrupted goes on.
"""

import csv
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from signal import SIGTERM
from typing import Any, NamedTuple

from admmctl.errors import ConfigError, Interrupted, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.files import atomic, locked
from admmctl.launch.options import Options
from admmctl.launch.programs import TICK
from admmctl.launch.signals import StopSignals
from admmctl.runs.broken import summary_of_broken_run
from admmctl.runs.events import Watcher, note
from admmctl.runs.record import RunFolder
from admmctl.runs.recorded import DRAWN, Recorded
from admmctl.runs.resume import Fingerprints, begun_at
from admmctl.runs.summary import Row, Status
from admmctl.runs.train import execute
from admmctl.studies.space import Settings

DEFAULT_VALIDATION = 0.1


@dataclass(frozen=True)
class Trial:
    """One trial as it ended: its best validation accuracy, or None, and the iteration and epoch of that.

    ``time_to_target_s`` is that to the target on held-back rows; None for a miss, and where accuracy chooses.
    """

    number: int
    settings: Settings
    validation_accuracy: float | None
    status: str
    reason: str
    iteration: int
    epoch: float
    time_to_target_s: float | None
    folder: str

    @property
    def order(self) -> tuple[float, float]:
        """What the best trial has least of: a miss comes after every hit, misses by accuracy."""
        time = math.inf if self.time_to_target_s is None else self.time_to_target_s
        return time, -(self.validation_accuracy or 0.0)


Report = Callable[[Trial, int, int], None]  # a trial that ended, how many have, how many there are


class Planned(NamedTuple):
    """A trial that is to be run."""

    number: int
    settings: Settings
    run: Run

    def place(self, folder: Path) -> Path:
        """Its run folder within the sweep's. Unlike a run's name, it stands for the budget too: another budget is
        another trial.
        """
        identity = hashlib.sha256(self.run.yaml().encode()).hexdigest()[:8]
        return folder / f"trial-{self.number:03d}-{identity}"


def plan(
    path: Path, overrides: Iterable[str], method: str, chosen: list[Settings], timed: bool = False
) -> list[Planned]:
    """A run for every trial, with a validation split: without a target or, ``timed``, to that of the file.

    Raises ConfigError for a bad key.
    """
    planned = []
    for number, settings in enumerate(chosen):
        run = trial_run(path, overrides, method, settings, f"sweep: trial {number}")
        stop = run.stop.model_copy(update={"target": None})
        planned.append(Planned(number, settings, on_held_back(run) if timed else replace(run, stop=stop)))
    return planned


def on_held_back(run: Run) -> Run:
    """With its target on held-back rows: a choice by the test rows would be no choice. Raises UserError."""
    if run.stop.metric == "test_auc" and run.stop.target is not None:
        raise UserError(
            "stop.metric: test_auc is of test rows, and who chooses by the time to a target has it on held-back "
            "rows; valid: test_accuracy, validation_accuracy, train_accuracy, train_loss"
        )
    metric = "validation_accuracy" if run.stop.metric == "test_accuracy" else run.stop.metric
    return replace(run, stop=run.stop.model_copy(update={"metric": metric}))


def trial_run(path: Path, overrides: Iterable[str], method: str, settings: Settings, named: str) -> Run:
    """A method with a trial's settings, and rows held back. Raises ConfigError, which calls it ``named``."""
    try:
        run = configuration.load(path, overrides, changes_of(method, settings)).runs[method]
    except ConfigError as error:
        raise ConfigError(f"{named} is not valid:\n{error}") from None
    if run.data.validation is not None:
        return run
    return replace(run, data=run.data.model_copy(update={"validation": DEFAULT_VALIDATION}))


def changes_of(method: str, settings: Settings) -> dict[tuple[str, ...], Any]:
    """What the settings of a trial change in the file, by path."""
    return {("methods", method, *key.split(".")): value for key, value in settings.items()}


def write_table(
    folder: Path, trials: Sequence[tuple[int, Settings, Sequence[Any]]], columns: Sequence[str]
) -> None:
    """trials.csv: number and settings of every trial, and what came of it in ``columns``."""
    keys = list(dict.fromkeys(key for _, settings, _ in trials for key in settings))
    with atomic(folder / "trials.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", *keys, *columns])
        for number, settings, values in trials:
            writer.writerow([number, *(settings.get(key) for key in keys), *values])


class Trials:
    """Trials of a sweep in its ``folder``, as many side by side as there are ``places``: how each is started."""

    def __init__(
        self, folder: Path, planned: Sequence[Planned], places: Sequence[Options], report: Report, watcher: Watcher
    ) -> None:
        self.folder, self.planned, self.report, self.watcher = folder, planned, report, watcher
        self._width = len(places)
        self._places: SimpleQueue[Options] = SimpleQueue()
        for options in places:
            self._places.put(replace(options, threads=1))
        self._ended = 0
        self._fingerprints = Fingerprints()

    def run(self) -> list[Trial]:
        """All of them. Raises Interrupted: each has stopped at the end of its iteration, with a checkpoint."""
        if not self.planned:
            return []
        self._fingerprints.data(self.planned[0].run)  # the same rows for all trials, which then come side by side
        with StopSignals() as signals, ThreadPoolExecutor(self._width) as pool:
            results = [pool.submit(self._one, each, signals) for each in self.planned]
            self._follow(results, signals)
            stopped = bool(signals.so_far())
        errors = [error for each in results if not each.cancelled() and (error := each.exception())]
        for error in errors:
            if not isinstance(error, Interrupted):
                raise error
        if stopped:
            raise Interrupted("interrupted; the same command goes on with the sweep")
        return [result.result() for result in results]

    def finished(self, planned: Planned) -> Recorded | None:
        """The record of a trial that needs not be run; None for others. People read why it runs again."""
        place = planned.place(self.folder)
        trained = Recorded(place)
        differs = "" if trained.summary is None else self._fingerprints.data_difference(planned.run, place)
        if planned.run.stop.target is not None and trained.disturbed:
            differs = "other work took its cores, and its time counts"
        if differs:
            self.watcher.event(note(f"trial {planned.number} runs again: {differs}"))
        return None if differs or not trained.done or trained.damage(DRAWN) is not None else trained

    def _one(self, planned: Planned, signals: StopSignals) -> Trial:
        place = planned.place(self.folder)

        def say(text: str) -> None:
            self.watcher.event(note(text))

        with locked(place, "running", say, wanted=lambda: not signals.so_far()):
            trained = self.finished(planned)
            row = self._train(planned.run, place, signals) if trained is None else trained.row
        if planned.run.stop.target is not None and Recorded(place).disturbed:
            say(f"trial {planned.number}: other work took its cores, and its time counts: start the sweep again")
        scored = [row for row in Recorded(place).curve if row.get("validation_accuracy", math.nan) >= 0]
        best = max(scored, key=lambda row: row["validation_accuracy"], default={"iteration": 0, "epoch": 0.0})
        trial = Trial(
            number=planned.number,
            settings=planned.settings,
            validation_accuracy=best.get("validation_accuracy"),
            status=row["status"],
            reason=row["reason"],
            iteration=int(best["iteration"]),
            epoch=best["epoch"],
            time_to_target_s=row.get("time_to_target_s"),
            folder=str(place),
        )
        self._ended += 1
        self.report(trial, self._ended, len(self.planned))
        return trial

    def _follow(self, results: list[Future[Trial]], signals: StopSignals) -> None:
        """Wait for the trials. A signal, or a trial that cannot even be recorded, stops all that run and begins no
        other.
        """
        while True:
            done, rest = wait(results, timeout=TICK)
            if not rest:
                return
            broken = any(not result.cancelled() and result.exception() for result in done)
            if broken and not signals.so_far():
                signals.add(SIGTERM)
            if signals.so_far():
                for result in rest:
                    result.cancel()

    def _train(self, run: Run, place: Path, signals: StopSignals) -> Row:
        """One trial, from its last checkpoint where it has one; a failure is its summary."""
        started, options = time.perf_counter(), self._places.get()
        try:
            begun = begun_at(place, run, self._fingerprints)
            return execute(run, options, Watcher(), place, begun, signals)
        except (RunFailed, Interrupted):
            return Recorded(place).row
        except UserError as error:  # of this trial's settings: they need more memory than there is, for instance
            folder = RunFolder(place) if place.exists() else RunFolder.create_at(place, run.yaml())
            folder.log(str(error))
            return summary_of_broken_run(run, options, folder, Status.FAILED, str(error), started)
        finally:
            self._places.put(options)
