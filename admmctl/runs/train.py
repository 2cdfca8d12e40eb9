"""The driver: from an experiment file to finished runs, in this process or in a job of many ranks."""

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from admmctl.comm import Serial
from admmctl.errors import AdmmctlError, Interrupted, MissingExtra, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run, to_yaml, with_seed
from admmctl.launch import slurm
from admmctl.launch.job import STOPPING, Command, watch
from admmctl.launch.launchers import LauncherName
from admmctl.launch.options import MOST, Options, Threads, check_options
from admmctl.launch.signals import StopSignals
from admmctl.methods.method import methods
from admmctl.runs import checkpoint, jobs, memory
from admmctl.runs import resume as resuming
from admmctl.runs.broken import summary_of_the_dead
from admmctl.runs.build import build
from admmctl.runs.places import root
from admmctl.runs.record import RunFolder, rerun_line
from admmctl.runs.recorded import Recorded
from admmctl.runs.resume import folder_name
from admmctl.runs.summary import Status
from admmctl.runs.worker import work


class Watcher(Protocol):
    """Who is shown what happens: a live view, plain lines, or nobody.

    The event "stopping" of a run in this process comes from the handler of a signal, in the middle of anything: it
    is to be noted, not shown. That of a job has a text, and may be shown.
    """

    def started(self, run: Run, folder: Path) -> None:
        return

    def event(self, event: dict[str, Any]) -> None:
        return

    def ended(self, summary: dict[str, Any]) -> None:
        return

    def skipped(self, run: Run, reason: str) -> None:
        return


class Silent(Watcher):
    """Shows nothing."""


class _Sturdy(Watcher):
    """A watcher whose output may break, ``| head`` for instance: the run goes on unwatched."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def started(self, run: Run, folder: Path) -> None:
        self._call(self._watcher.started, run, folder)

    def event(self, event: dict[str, Any]) -> None:
        self._call(self._watcher.event, event)

    def ended(self, summary: dict[str, Any]) -> None:
        self._call(self._watcher.ended, summary)

    def _call(self, show: Callable[..., None], *shown: object) -> None:
        try:
            show(*shown)
        except (OSError, ValueError, SystemExit):  # ValueError: written to after it was closed
            self._watcher = Silent()


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
) -> list[dict[str, Any]]:
    """Train as ``admmctl train`` does; returns a summary per run, with its ``folder``.

    ``config`` is an experiment file or a mapping with the same keys, ``overrides`` are ``key=value`` pairs. With
    ``resume``, a run that was begun goes on from its last checkpoint, and one that has finished is not run again.
    A job of several ranks fails after ``patience`` seconds without progress, where that is given.
    Raises UserError for wrong usage, configuration or data before anything is written, RunFailed when a
    run breaks, and Interrupted when one is stopped; finished runs keep their folders in any case.
    """
    experiment = configuration.load(config, overrides)
    options = check_options(cores, threads, launcher, oversubscribe, hosts, cluster, patience)
    if options.chosen().name == "sbatch":
        raise UserError("launcher sbatch: jobs are handed in by the command, admmctl train --launcher sbatch")
    runs = plan(experiment.select(method), repeat, options)
    watcher = watcher or Silent()
    resume = resume or slurm.requeued()
    begun = [resuming.find(run, options.cores, config) if resume else None for run in runs]
    begun = _still_the_same(runs, begun, watcher)
    ready = check_all(
        [run for run, found in zip(runs, begun, strict=True) if found is None or not found.done],
        options,
        watcher,
        several=method == "all",
    )
    summaries: list[dict[str, Any]] = []
    failures = []
    for run, found in zip(runs, begun, strict=True):
        if found is not None and found.done:
            watcher.event({"event": "note", "text": f"finished already: {found.folder}"})
            summaries.append(found.row)
            continue
        if run not in ready:
            continue
        other = resuming.on_other_ranks(run) if resume and found is None else None
        if other is not None:
            line = rerun_line(other, options.cores, None, options.rerun_arguments(), resume=True)
            watcher.event({"event": "note", "text": f"a new run; on other ranks one was begun: {line}"})
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


def _still_the_same(
    runs: list[Run], begun: Sequence[Recorded | None], watcher: "Watcher"
) -> list[Recorded | None]:
    """Of runs that were begun, those that still are what is asked for: a finished one is of its data and stop."""
    now, same = resuming.Now(), list(begun)
    for number, (run, found) in enumerate(zip(runs, begun, strict=True)):
        if found is not None and found.done and (differs := now.other(run, found.folder)):
            watcher.event({"event": "note", "text": f"a new run beside {found.folder}: {'; '.join(differs)}"})
            same[number] = None
    return same


def check_all(runs: list[Run], options: Options, watcher: "Watcher", several: bool) -> list[Run]:
    """The runs that can be started. Of ``several``, those whose extra is missing are left out, by name."""
    ready, told = [], set()
    for run in runs:
        try:
            check(run, options)
            ready.append(run)
        except MissingExtra as missing:
            if not several:
                raise
            if run.method not in told:
                watcher.skipped(run, str(missing))
            told.add(run.method)
    if runs and not ready:
        raise UserError("every method of this experiment needs an extra that is not installed")
    return ready


def dry_run(
    config: str | Path, method: str | None, repeat: int, options: Options, overrides: Iterable[str]
) -> list[dict[str, Any]]:
    """What ``train`` would run, checked as far as that goes without data or a scheduler."""
    experiment = configuration.load(config, overrides)
    return [describe_plan(run, options) for run in plan(experiment.select(method), repeat, options)]


def plan_text(plan: dict[str, Any]) -> str:
    """A planned run for people: the folder, the command, the resolved experiment."""
    command = "in this process" if plan["command"] is None else shlex.join(plan["command"])
    return (
        f"# folder:  {plan['folder']}\n# ranks:   {plan['ranks']}\n"
        f"# threads: {plan['threads_per_rank']} per rank\n# runs:    {command}\n{to_yaml(plan['config'])}"
    )


def plan(runs: list[Run], repeat: int, options: Options) -> list[Run]:
    """Every run with its seed: repeats interleave methods, and each repeat has a seed of its own."""
    if not 1 <= repeat <= MOST:
        raise UserError(f"--repeat {repeat}: expected 1 or more, at most {MOST:,}")
    if options.chosen().name == "inline" and options.cores > 1:
        raise UserError(f"--launcher inline runs one rank; for --cores {options.cores} use --launcher mpiexec")
    return [with_seed(run, run.seed + number) for number in range(repeat) for run in runs]


def check(run: Run, options: Options) -> None:
    """Everything that can be refused before a folder is made: cores, data, rows, outputs."""
    options.check()
    method = methods.load(run.kind)
    method.require(run.settings)
    if options.cores > (method.ranks or options.cores):
        raise UserError(f"method {run.method} runs on one rank; use --cores 1")
    if run.data.stream and not method.streams:
        raise UserError(f"data.stream: method {run.method} needs its rows in memory; set data.stream: false")
    built = build(run, options.cores)
    built.plan.check()
    free = None if options.remote() else memory.available()
    built.method.check_size(built.network, built.plan.rows_train, options.cores, free)
    if not options.remote():  # there the ranks look for themselves
        memory.check_here(built.memory(), options.cores)


def command(folder: Path, options: Options, threads: int | None) -> Command:
    """What starts the ranks of a run."""
    worker = ["-m", "admmctl.runs.worker", str(folder), str(options.cores), f"{options.watchdog or 0:g}"]
    return options.command([*worker, *options.rerun_arguments()], threads)


def describe_plan(run: Run, options: Options) -> dict[str, Any]:
    """What would run, without data or a scheduler: for ``--dry-run``."""
    folder = root() / run.experiment / folder_name(run, options.cores)
    inline = options.chosen().name == "inline"
    return {
        "folder": str(folder),
        "ranks": options.cores,
        "threads_per_rank": options.threads_for(run) or "from the environment",
        "command": None if inline else command(folder, options, options.threads_for(run)).line,
        "config": run.document(),
    }


def execute(
    run: Run, options: Options, watcher: Watcher, place: Path | None = None, resume: Recorded | None = None
) -> dict[str, Any]:
    """One run, to its end; returns its summary. Raises RunFailed, Interrupted or UserError.

    ``place`` is a folder of its own, for a run that is part of a study; what was unfinished there is replaced.
    ``resume`` is a run that goes on, from its last checkpoint where it has one.
    """
    started = time.perf_counter()
    watcher = _Sturdy(watcher)
    if resume is not None:
        with resuming.held(resume.folder), _signals(options) as signals:
            folder = RunFolder.reopen(resume.folder, to_yaml(run.document()))
            return _go_on(run, options, watcher, folder, started, resume, signals)
    if place is None:
        folder = RunFolder.create(folder_name(run, options.cores), run.experiment, to_yaml(run.document()))
    else:
        folder = RunFolder.create_at(place, to_yaml(run.document()))
    try:
        with resuming.held(folder.path), _signals(options) as signals:
            return _go_on(run, options, watcher, folder, started, None, signals)
    except Interrupted as stop:
        if place is None:
            raise
        # What goes on is the study, by its own command.
        message = f"interrupted after {stop.runs[0]['iterations']} iterations; recorded in {folder.path}"
        raise Interrupted(message, stop.runs) from None


def _signals(options: Options) -> AbstractContextManager[StopSignals | None]:
    """The signals of a job from now on, so that one that comes as its record is written does not break it."""
    return nullcontext() if options.chosen().name == "inline" else StopSignals()


def _go_on(
    run: Run,
    options: Options,
    watcher: Watcher,
    folder: RunFolder,
    started: float,
    resume: Recorded | None,
    signals: StopSignals | None,
) -> dict[str, Any]:
    """The run in its folder, to its end. ``signals`` are those of a job, until its record is whole."""
    watcher.started(run, folder.path)
    if resume is not None and not checkpoint.exist(folder.path):
        watcher.event({"event": "note", "text": "there is no checkpoint: the run starts anew"})
    jobs.started(folder.path)
    threads = options.threads_for(run)
    if crowding := options.crowding(threads):
        watcher.event({"event": "note", "text": crowding})
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        watcher.event(STOPPING)

    try:
        if options.chosen().name == "inline":
            with threadpool_limits(limits=threads, user_api="blas"):
                work(folder, Serial(), watcher.event, options.rerun_arguments(), started, stop)
        else:
            end = watch(command(folder.path, options, threads), watcher.event, folder.log, signals)
            end.raise_failure(finished=Recorded(folder.path).summary is not None)
    except UserError:
        if resume is None:
            folder.discard()
        elif resume.summary is not None:
            folder.write_summary(resume.summary)
        raise
    except (Exception, KeyboardInterrupt) as error:
        stopped = isinstance(error, KeyboardInterrupt | Interrupted)
        reason = str(error) or type(error).__name__
        if not isinstance(error, AdmmctlError | KeyboardInterrupt):
            reason = f"{type(error).__name__}: {error}"
        status = Status.INTERRUPTED if stopped else Status.FAILED
        summary = summary_of_the_dead(run, options, folder, status, reason, started)
        watcher.ended(summary)
        if stopped:
            raise Interrupted(f"interrupted; go on with: {summary['rerun']}", [summary]) from None
        message = f"run {folder.path} failed: {reason}\nIts log: {folder.path / 'log.txt'}"
        message += f"\nRun it again with: {summary['rerun']}"
        raise RunFailed(message, [summary]) from error
    summary = Recorded(folder.path).row
    watcher.ended(summary)
    if summary["status"] == "interrupted":
        message = f"interrupted after {summary['iterations']} iterations; go on with: {summary['rerun']}"
        raise Interrupted(message, [summary])
    if asked or (
        signals is not None and signals.so_far()
    ):  # too late for this run, but not for what comes after it
        raise Interrupted(f"interrupted, when this run had come to its end: {folder.path}", [summary])
    return summary
