"""The driver: from an experiment file to finished runs, in this process or in a job of many ranks."""

import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, cast

from threadpoolctl import threadpool_limits

from admmctl.comm import Serial
from admmctl.errors import AdmmctlError, Interrupted, MissingExtra, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.bundled import experiment_file
from admmctl.experiment.config import Run
from admmctl.launch import slurm
from admmctl.launch.job import Command, watch
from admmctl.launch.launchers import LauncherName
from admmctl.launch.options import MOST, Options, Threads, check_options
from admmctl.launch.signals import StopSignals
from admmctl.methods.method import methods
from admmctl.runs import checkpoint, jobs, memory
from admmctl.runs import resume as resuming
from admmctl.runs.broken import summary_of_broken_run
from admmctl.runs.build import build, check_method
from admmctl.runs.events import Event, Sturdy, Watcher, note
from admmctl.runs.record import RunFolder, rerun_line
from admmctl.runs.recorded import Recorded
from admmctl.runs.resume import folder_name
from admmctl.runs.summary import Row, Status
from admmctl.runs.worker import work


@dataclass(frozen=True)
class Request:
    """What is to be trained: methods of an experiment file, or of a mapping with the same keys; and how."""

    config: str | Path | Mapping[str, Any]
    options: Options
    method: str | None = None
    repeat: int = 1
    overrides: Iterable[str] = ()
    resume: bool = False

    def runs(self) -> list[Run]:
        """Every run with its seed: repeats interleave methods, and each repeat has a seed of its own."""
        runs = configuration.load(self.config, self.overrides).select(self.method)
        if not 1 <= self.repeat <= MOST:
            raise UserError(f"--repeat {self.repeat}: expected 1 or more, at most {MOST:,}")
        self.options.check_inline()
        return [replace(run, seed=run.seed + number) for number in range(self.repeat) for run in runs]

    def check_all(self, runs: list[Run], watcher: Watcher) -> list[Run]:
        """The runs that can be started. With --method all, methods that need a missing extra are left out."""
        ready: list[Run] = []
        skipped: dict[str, MissingExtra] = {}
        for run in runs:
            try:
                check(run, self.options)
                ready.append(run)
            except MissingExtra as missing:
                if self.method != "all":
                    raise
                if run.method not in skipped:
                    watcher.skipped(run, str(missing))
                skipped[run.method] = missing
        if runs and not ready:
            raise UserError("every method of this experiment needs an extra that is not installed")
        return ready


def train(
    config: str | Path | Mapping[str, Any],
    *,
    method: str | None = None,
    cores: int | None = None,
    threads: Threads = None,
    repeat: int = 1,
    launcher: LauncherName = "auto",
    oversubscribe: bool = False,
    hosts: str | None = None,
    cluster: str | Path | None = None,
    overrides: Iterable[str] = (),
    watcher: Watcher | None = None,
    resume: bool = False,
    patience: float | None = None,
) -> list[Row]:
    """Train as ``admmctl train`` does; returns a summary per run, with its ``folder``.

    ``config`` is an experiment file, the name of one that comes with admmctl, or a mapping with the same keys;
    ``overrides`` are ``key=value`` pairs. With ``resume``, a run that was begun goes on from its last checkpoint,
    and one that has finished is not run again.
    A job of several ranks fails after ``patience`` seconds without progress, where that is given.
    Raises UserError for wrong usage, configuration or data before anything is written, RunFailed when a
    run breaks, and Interrupted when one is stopped; finished runs keep their folders in any case.
    """
    options = check_options(cores, threads, launcher, oversubscribe, hosts, cluster, patience)
    if options.launcher == "sbatch":
        raise UserError("launcher sbatch: jobs are handed in by the command, admmctl train --launcher sbatch")
    if isinstance(config, str | Path):
        config = experiment_file(config)
    return train_all(Request(config, options, method, repeat, overrides, resume), watcher or Watcher())


def train_all(request: Request, watcher: Watcher) -> list[Row]:
    """Train what is asked for, one run after another; see ``train``."""
    runs, options = request.runs(), request.options
    resume = request.resume or slurm.requeued()
    begun = _begun(runs, request, watcher) if resume else [None] * len(runs)
    todo = [run for run, found in zip(runs, begun, strict=True) if found is None or not found.done]
    ready = request.check_all(todo, watcher)
    summaries: list[Row] = []
    failures = []
    for run, found in zip(runs, begun, strict=True):
        if found is not None and found.done:
            watcher.event(note(f"finished already: {found.folder}"))
            summaries.append(found.row)
            continue
        if run not in ready:
            continue
        other = resuming.on_other_ranks(run) if resume and found is None else None
        if other is not None:
            line = rerun_line(other, options.cores, None, options.rerun_arguments(), resume=True)
            watcher.event(note(f"a new run; on other ranks one was begun: {line}"))
        try:
            summaries.append(execute(run, options, watcher, resume=found))
        except Interrupted as stop:
            summaries += stop.runs
            if run is runs[-1] and Status(summaries[-1]["status"]).done:
                break  # it came too late to interrupt anything
            raise Interrupted(str(stop), summaries) from None
        except RunFailed as failure:
            # A failing method does not stop the others.
            summaries += failure.runs
            failures.append(str(failure))
    if failures:
        raise RunFailed("\n".join(failures), summaries)
    return summaries


def _begun(runs: list[Run], request: Request, watcher: Watcher) -> list[Recorded | None]:
    """The record of each run that was begun. None for others, and for one that finished on other data or stops."""
    fingerprints = resuming.Fingerprints()
    begun = [resuming.find(run, request.options.cores, request.config) for run in runs]
    for number, (run, found) in enumerate(zip(runs, begun, strict=True)):
        if found is not None and found.done and (differs := fingerprints.differences(run, found.folder)):
            watcher.event(note(f"a new run beside {found.folder}: {'; '.join(differs)}"))
            begun[number] = None
    return begun


def check(run: Run, options: Options) -> None:
    """Everything that can be refused before a folder is made: cores, libraries, data, rows, outputs, memory."""
    options.check()
    check_kind(run, options)
    check_rows(run, options)


def check_kind(run: Run, options: Options) -> None:
    """Raises UserError where the method cannot train such a run, whatever its rows."""
    check_method(run, options.cores, options.remote())
    if run.data.stream and (why := methods.load(run.kind).keeps_rows(run.settings)):
        raise UserError(f"data.stream: method {run.method} {why}")


def check_rows(run: Run, options: Options) -> None:
    """Raises UserError for data that is missing, or does not fit the method, the ranks or the memory."""
    built = build(run, options.cores)
    built.plan.check()
    free = None if options.remote() else memory.available()
    built.method.check_size(built.network, built.plan.rows_train, options.cores, free)
    if not options.remote():  # there the ranks look for themselves
        memory.check_here(built.memory(), options.cores)


def command_of(folder: Path, run: Run, options: Options) -> Command:
    """What starts the ranks of a run."""
    worker = ["-m", "admmctl.runs.worker", str(folder), str(options.cores), f"{options.watchdog or 0:g}"]
    options = replace(options, cluster=options.cluster.of(run.method, run.kind))
    return options.command([*worker, *options.rerun_arguments()], options.threads_for(run))


def execute(
    run: Run,
    options: Options,
    watcher: Watcher,
    place: Path | None = None,
    resume: Recorded | None = None,
    shared: StopSignals | None = None,
) -> Row:
    """One run, to its end; returns its summary. Raises RunFailed, Interrupted or UserError.

    ``place`` is a folder of its own, for a run that is part of a study; what was unfinished there is replaced.
    ``resume`` is a run that goes on, from its last checkpoint where it has one. ``shared`` are the signals of a
    caller that has several runs side by side, in threads: each is a process of its own, or several, then.
    """
    started = time.perf_counter()
    document = run.yaml()
    if resume is not None:
        path = resume.folder
    elif place is not None:
        path = RunFolder.create_at(place, document).path
    else:
        path = RunFolder.create(folder_name(run, options.cores), run.experiment, document).path
    # A job's signals are held from now on: one that comes as its record is written does not break it.
    here = options.inline and shared is None
    signals = nullcontext(shared) if here or shared is not None else StopSignals()
    try:
        with resuming.held(path), signals as asked:
            folder = RunFolder(path) if resume is None else RunFolder.reopen(path, document)
            return _Execution(run, options, Sturdy(watcher), folder, started, resume, here).to_its_end(asked)
    except Interrupted as stop:
        if place is None:
            raise
        # What goes on is the study, by its own command.
        message = f"interrupted after {stop.runs[0]['iterations']} iterations; recorded in {path}"
        raise Interrupted(message, stop.runs) from None


@dataclass
class _Execution:
    """One run in its folder."""

    run: Run
    options: Options
    watcher: Watcher
    folder: RunFolder
    started: float
    resume: Recorded | None
    here: bool  # in this process
    asked: bool = False  # to stop, in this process

    def to_its_end(self, signals: StopSignals | None) -> Row:
        """Returns its summary. ``signals`` are collected for a job until its record is complete."""
        path = self.folder.path
        self.watcher.started(self.run, path)
        if self.resume is not None and not checkpoint.exist(path):
            self.watcher.event(note("there is no checkpoint: the run starts anew"))
        jobs.started(path)
        try:
            self._work(signals)
        except UserError:
            if self.resume is None:
                self.folder.discard()
            elif self.resume.summary is not None:
                self.folder.write_summary(self.resume.summary)
            raise
        except (Exception, KeyboardInterrupt) as error:
            self._broken(error)
        summary = Recorded(path).row
        self.watcher.ended(summary)
        if summary["status"] == "interrupted":
            message = f"interrupted after {summary['iterations']} iterations; go on with: {summary['rerun']}"
            raise Interrupted(message, [summary])
        if self.asked or (signals is not None and signals.so_far()):
            # Too late for this run, but not for what comes after it.
            raise Interrupted(f"interrupted, when this run had come to its end: {path}", [summary])
        return summary

    def _work(self, signals: StopSignals | None) -> None:
        """Train, in this process or in a job."""
        folder, options = self.folder, self.options
        threads = options.threads_for(self.run)
        if crowding := options.crowding(threads):
            self.watcher.event(note(crowding))
        if self.here:
            with threadpool_limits(limits=threads, user_api="blas"):
                work(folder, Serial(), self.watcher.event, options.rerun_arguments(), self.started, self._stop)
        else:
            command = command_of(folder.path, self.run, options)
            end = watch(command, lambda event: self.watcher.event(cast(Event, event)), folder.log, signals)
            end.raise_failure(finished=Recorded(folder.path).summary is not None)

    def _stop(self) -> None:
        self.asked = True
        self.watcher.event({"event": "stopping"})

    def _broken(self, error: BaseException) -> NoReturn:
        """Leave a summary, and raise Interrupted or RunFailed."""
        stopped = isinstance(error, KeyboardInterrupt | Interrupted)
        reason = str(error) or type(error).__name__
        if not isinstance(error, AdmmctlError | KeyboardInterrupt):
            reason = f"{type(error).__name__}: {error}"
        status = Status.INTERRUPTED if stopped else Status.FAILED
        summary = summary_of_broken_run(self.run, self.options, self.folder, status, reason, self.started)
        self.watcher.ended(summary)
        if stopped:
            raise Interrupted(f"interrupted; go on with: {summary['rerun']}", [summary]) from None
        path = self.folder.path
        message = f"run {path} failed: {reason}\nIts log: {path / 'log.txt'}"
        raise RunFailed(f"{message}\nRun it again with: {summary['rerun']}", [summary]) from error
