"""``admmctl sweep``: many trials of one method, chosen by validation accuracy, all of them kept.

Trials run side by side, one process each, on the cores asked for: their times are disturbed, and not used. The
winner is then trained once more with nothing beside it: its time counts. The test set plays no part in the choice.
"""

import csv
import hashlib
import math
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from admmctl.errors import ConfigError, Interrupted, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.experiment.schema import Stop
from admmctl.files import atomic
from admmctl.folders import make_folder
from admmctl.launch import local
from admmctl.launch.job import parse_event
from admmctl.launch.launchers import Inline
from admmctl.launch.programs import TICK, python
from admmctl.launch.signals import StopSignals
from admmctl.methods.method import methods
from admmctl.runs.broken import summary_of_broken_run
from admmctl.runs.events import Watcher, note
from admmctl.runs.places import root
from admmctl.runs.record import RunFolder
from admmctl.runs.recorded import DRAWN, Recorded
from admmctl.runs.resume import Fingerprints, held
from admmctl.runs.summary import Row, Status
from admmctl.runs.train import Options, check, check_options, execute
from admmctl.studies.space import Settings, settings_of_trials

DEFAULT_VALIDATION = 0.1


@dataclass(frozen=True)
class Trial:
    """One trial as it ended: its best validation accuracy, or None, and the iteration and epoch of that."""

    number: int
    settings: Settings
    validation_accuracy: float | None
    status: str
    reason: str
    iteration: int
    epoch: float
    folder: str


@dataclass(frozen=True)
class BestTrial(Trial):
    """The winner, and the experiment file with its settings."""

    config: str


@dataclass(frozen=True)
class Sweep:
    """What ``sweep --json`` prints. ``run`` is the winner's own run; None where there is no winner."""

    folder: str
    method: str
    trials: list[Trial]
    best: BestTrial | None
    run: Row | None


Report = Callable[[Trial, int, int], None]  # a trial that ended, how many have, how many there are


class Planned(NamedTuple):
    """A trial that is to be run."""

    number: int
    settings: Settings
    run: Run


def sweep(
    path: Path,
    method: str | None,
    count: int | None,
    cores: int,
    overrides: Iterable[str],
    report: Report,
    watcher: Watcher,
) -> Sweep:
    """Run the trials of a sweep that have not finished, and the winner once more, timed.

    Raises UserError and ConfigError before anything is written. A trial that fails is kept with its reason.
    """
    overrides = list(overrides)
    experiment = configuration.load(path, overrides)
    if experiment.sweep is None:
        raise UserError(
            f"{path} has no sweep: block; it names, for each method, the keys to vary and their values"
        )
    if method == "all":
        raise UserError("--method all: a sweep tunes one method at a time; name one")
    if count is not None and count < 1:
        raise UserError(f"--trials {count}: expected 1 or more")
    check_options(cores)
    local.check_cores(cores, oversubscribe=False)
    base = experiment.select(method)[0]
    chosen = settings_of_trials(experiment.sweep, base.method, count)
    planned = _plan(path, overrides, base.method, chosen)
    for trial in planned:
        check(trial.run, Options())
    folder = root() / experiment.name / f"sweep-{base.method}"
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(f"the results folder {folder} cannot be written: {error.strerror}") from None
    with held(folder):
        found = _Trials(folder, planned, report, watcher).run(cores)
    _write_table(folder, found)
    scored = [
        (t.validation_accuracy, t) for t in found if t.validation_accuracy is not None and t.status != "diverged"
    ]
    if not scored:
        return Sweep(str(folder), base.method, found, None, None)
    score, best = max(scored, key=lambda each: each[0])  # of equal ones the first
    winner = planned[best.number].run
    # The winner is trained on all training rows, also those that the sweep held back for validation. They can no
    # longer say when to stop: the run takes as long as the trial took to its best.
    stop = winner.stop.model_copy(update={"target": base.stop.target})
    final = replace(winner, data=base.data, stop=_as_long(replace(base, stop=stop), best))
    config = folder / "best.yaml"
    with atomic(config) as file:
        file.write(f"# Trial {best.number} of {len(found)}: validation accuracy {score:.4f}\n")
        file.write(final.yaml())
    summary = execute(final, Options(), watcher)
    return Sweep(str(folder), base.method, found, BestTrial(**vars(best), config=str(config)), summary)


def _plan(path: Path, overrides: list[str], method: str, chosen: list[Settings]) -> list[Planned]:
    """A run for every trial, with a validation split and without a target. Raises ConfigError for a bad key."""
    planned = []
    for number, settings in enumerate(chosen):
        changes = {("methods", method, *key.split(".")): value for key, value in settings.items()}
        try:
            run = configuration.load(path, overrides, changes).runs[method]
        except ConfigError as error:
            raise ConfigError(f"sweep: trial {number} is not valid:\n{error}") from None
        data = run.data
        if data.validation is None:
            data = data.model_copy(update={"validation": DEFAULT_VALIDATION})
        stop = run.stop.model_copy(update={"target": None})
        planned.append(Planned(number, settings, replace(run, data=data, stop=stop)))
    return planned


class _Trials:
    """The trials of a sweep, run side by side. Those that an earlier sweep has finished are not run again."""

    def __init__(self, folder: Path, planned: list[Planned], report: Report, watcher: Watcher) -> None:
        self.folder, self.planned, self.report, self.watcher = folder, planned, report, watcher
        self.running: set[subprocess.Popen[str]] = set()
        self.ended = 0
        self.fingerprints = Fingerprints()

    def run(self, cores: int) -> list[Trial]:
        """All of them, ``cores`` at a time. Raises Interrupted."""
        self.fingerprints.data(self.planned[0].run)  # the same rows for all trials, which then come side by side
        with StopSignals() as signals, ThreadPoolExecutor(cores) as pool:
            results = [pool.submit(self._one, *each) for each in self.planned]
            self._follow(results, signals)
            stopped = bool(signals.so_far())
        if stopped:
            raise Interrupted("interrupted; the same command goes on with the sweep")
        return [result.result() for result in results]

    def _one(self, number: int, settings: Settings, run: Run) -> Trial:
        # Unlike a run's, a trial's name holds its budget too: another budget is another trial.
        identity = hashlib.sha256(run.yaml().encode()).hexdigest()[:8]
        place = self.folder / f"trial-{number:03d}-{identity}"
        trained = Recorded(place)
        differs = "" if trained.summary is None else self.fingerprints.data_difference(run, place)
        if differs:
            self.watcher.event(note(f"trial {number} runs again: {differs}"))
        row = trained.row
        if differs or not trained.done or trained.damage(DRAWN) is not None:
            row, trained = self._train(run, place), Recorded(place)
        scored = [row for row in trained.curve if row.get("validation_accuracy", math.nan) >= 0]
        best = max(scored, key=lambda row: row["validation_accuracy"], default={"iteration": 0, "epoch": 0.0})
        trial = Trial(
            number=number,
            settings=settings,
            validation_accuracy=best.get("validation_accuracy"),
            status=row["status"],
            reason=row["reason"],
            iteration=int(best["iteration"]),
            epoch=best["epoch"],
            folder=str(place),
        )
        self.ended += 1
        self.report(trial, self.ended, len(self.planned))
        return trial

    def _follow(self, results: list[Future[Trial]], signals: StopSignals) -> None:
        """Wait for the trials. A signal, or a trial that breaks, ends all after their iteration; a second signal
        kills them.
        """
        sent: dict[subprocess.Popen[str], int] = {}
        while True:
            done, rest = wait(results, timeout=TICK)
            if not rest:
                return
            asked = signals.so_far()
            if asked or any(not result.cancelled() and result.exception() for result in done):
                for result in rest:
                    result.cancel()
                number = signal.SIGKILL if len(asked) > 1 else signal.SIGTERM
                for process in list(self.running):
                    if sent.get(process) != number:
                        process.send_signal(number)
                        sent[process] = number

    def _train(self, run: Run, place: Path) -> Row:
        """One trial in a process of its own; a failure is its summary."""
        started = time.perf_counter()
        folder = RunFolder.create_at(place, run.yaml())
        command = python("-m", "admmctl.runs.worker", str(place), "1", "0")
        process = subprocess.Popen(
            command,
            env=Inline().environment(Options(), 1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.running.add(process)
        try:
            output, errors = process.communicate()
        finally:
            self.running.discard(process)
        trained = Recorded(place)
        if trained.summary is not None:
            return trained.row
        events = [event for line in output.splitlines() if (event := parse_event(line))]
        messages = [event["message"] for event in events if event["event"] == "error"]
        reason = messages[0] if messages else f"exit code {process.returncode}"
        folder.log(errors or reason)
        return summary_of_broken_run(run, Options(), folder, Status.FAILED, reason, started)


def _as_long(base: Run, best: Trial) -> Stop:
    """The experiment's stop, with a budget that ends where the best trial was at its best."""
    if base.data.validation is not None:
        return base.stop
    if methods.load(base.kind).unit == "epoch":
        return base.stop.model_copy(update={"epochs": best.epoch or None, "iterations": None if best.epoch else 0})
    return base.stop.model_copy(update={"iterations": best.iteration, "epochs": None})


def _write_table(folder: Path, trials: list[Trial]) -> None:
    """trials.csv: every trial with its settings and its score."""
    keys = list(trials[0].settings)
    with atomic(folder / "trials.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", *keys, "validation_accuracy", "iteration", "epoch", "status", "reason"])
        for t in trials:
            score = math.nan if t.validation_accuracy is None else t.validation_accuracy
            settings = [t.settings[key] for key in keys]
            writer.writerow([t.number, *settings, score, t.iteration, t.epoch, t.status, t.reason])
