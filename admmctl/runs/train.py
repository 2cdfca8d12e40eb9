"""The driver: from an experiment file to finished runs, in this process or in a job of many ranks."""

import math
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from threadpoolctl import threadpool_limits

from admmctl import config as configuration
from admmctl.config import Run, to_yaml, with_seed
from admmctl.data import shards
from admmctl.errors import AdmmctlError, Interrupted, MissingExtra, RunFailed, UserError
from admmctl.methods.method import methods
from admmctl.parallel import launch
from admmctl.parallel.comm import Serial
from admmctl.runs import jobs, memory
from admmctl.runs.options import MOST, Launcher, Options, check_options
from admmctl.runs.record import RunFolder, read_curve, read_summary, rerun_line, root
from admmctl.runs.worker import SUMMARY, identity, work


class Watcher(Protocol):
    """Who is shown what happens: a progress bar, plain lines, or nobody."""

    def started(self, run: Run, folder: Path) -> None: ...

    def event(self, event: dict[str, Any]) -> None: ...

    def ended(self, summary: dict[str, Any]) -> None: ...

    def skipped(self, run: Run, reason: str) -> None: ...


class Silent:
    """Shows nothing."""

    def started(self, run: Run, folder: Path) -> None:
        pass

    def event(self, event: dict[str, Any]) -> None:
        pass

    def ended(self, summary: dict[str, Any]) -> None:
        pass

    def skipped(self, run: Run, reason: str) -> None:
        pass


class _Sturdy:
    """A watcher whose output may break, ``| head`` for instance: the run goes on unwatched."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def started(self, run: Run, folder: Path) -> None:
        self._call(lambda: self._watcher.started(run, folder))

    def event(self, event: dict[str, Any]) -> None:
        self._call(lambda: self._watcher.event(event))

    def ended(self, summary: dict[str, Any]) -> None:
        self._call(lambda: self._watcher.ended(summary))

    def skipped(self, run: Run, reason: str) -> None:
        self._call(lambda: self._watcher.skipped(run, reason))

    def _call(self, show: Callable[[], None]) -> None:
        try:
            show()
        except (OSError, ValueError, SystemExit):  # ValueError: written to after it was closed
            self._watcher = Silent()


def train(
    config: str | Path | Mapping[str, Any],
    *,
    method: str | None = None,
    cores: int | None = None,
    threads: int | Literal["auto"] | None = None,
    repeat: int = 1,
    launcher: Launcher = "auto",
    oversubscribe: bool = False,
    hosts: str | None = None,
    cluster: str | Path | None = None,
    overrides: Iterable[str] = (),
    watcher: Watcher | None = None,
) -> list[dict[str, Any]]:
    """Train as ``admmctl train`` does; returns a summary per run, with its ``folder``.

    ``config`` is an experiment file or a mapping with the same keys, ``overrides`` are ``key=value`` pairs.
    Raises UserError for wrong usage, configuration or data before anything is written, RunFailed when a
    run breaks, and Interrupted when one is stopped; finished runs keep their folders in any case.
    """
    experiment = configuration.load(config, overrides)
    options = check_options(cores, threads, launcher, oversubscribe, hosts, cluster)
    if options.way() == "sbatch":
        raise UserError("launcher sbatch: jobs are handed in by the command, admmctl train --launcher sbatch")
    runs = plan(experiment.select(method), repeat, options)
    watcher = watcher or Silent()
    runs = check_all(runs, options, watcher, several=method == "all")
    summaries: list[dict[str, Any]] = []
    failures = []
    for run in runs:
        try:
            summaries.append(execute(run, options, watcher))
        except Interrupted as stop:
            raise Interrupted(str(stop), summaries + stop.runs) from None
        except RunFailed as failure:
            # A failing method does not stop the others.
            summaries += failure.runs
            failures.append(str(failure))
    if failures:
        raise RunFailed("\n".join(failures), summaries)
    return summaries


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
    if not ready:
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
    if options.way() == "inline" and options.cores > 1:
        raise UserError(f"--launcher inline runs one rank; for --cores {options.cores} use --launcher mpiexec")
    return [with_seed(run, run.seed + number) for number in range(repeat) for run in runs]


def check(run: Run, options: Options) -> None:
    """Everything that can be refused before a folder is made: cores, data, rows, outputs."""
    from admmctl.runs.worker import build_network

    options.check_cores()
    method = methods.load(run.kind)
    if hasattr(method, "require"):
        method.require(run.settings)
    if options.cores > getattr(method, "ranks", options.cores):
        raise UserError(f"method {run.method} runs on one rank; use --cores 1")
    if run.data.stream and not getattr(method, "streams", True):
        raise UserError(f"data.stream: method {run.method} needs its rows in memory; set data.stream: false")
    data = shards.plan(run.data, options.cores)
    network = build_network(run, data)
    made = method(run.settings)
    if hasattr(made, "check_rows"):
        made.check_rows(data.rows_train)
    if hasattr(made, "check_size"):
        free = None if options.elsewhere() else memory.available()
        made.check_size(network, data.rows_train, options.cores, free)
    if not options.elsewhere():  # there the ranks look for themselves
        memory.check_here(memory.estimate(data, network, made), options.cores)


def folder_name(run: Run, ranks: int) -> str:
    return f"{run.method}-p{ranks}-s{run.seed}-{run.hash()}"


def command(folder: Path, options: Options, threads: int | None) -> list[str]:
    """The command line that starts the ranks of a run."""
    worker = ["-m", "admmctl.runs.worker", str(folder), str(options.cores), str(int(options.oversubscribe))]
    return options.command(worker, threads)


def describe_plan(run: Run, options: Options) -> dict[str, Any]:
    """What would run, without data or a scheduler: for ``--dry-run``."""
    folder = root() / run.experiment / folder_name(run, options.cores)
    inline = options.way() == "inline"
    return {
        "folder": str(folder),
        "ranks": options.cores,
        "threads_per_rank": options.threads_for(run) or "from the environment",
        "command": None if inline else command(folder, options, options.threads_for(run)),
        "config": run.document(),
    }


def execute(run: Run, options: Options, watcher: Watcher, place: Path | None = None) -> dict[str, Any]:
    """One run, to its end; returns its summary. Raises RunFailed, Interrupted or UserError.

    ``place`` is a folder of its own, for a run that is part of a study; what was unfinished there is replaced.
    """
    started = time.perf_counter()
    watcher = _Sturdy(watcher)
    if place is None:
        folder = RunFolder.create(folder_name(run, options.cores), run.experiment, to_yaml(run.document()))
    else:
        folder = RunFolder.create_at(place, to_yaml(run.document()))
    watcher.started(run, folder.path)
    jobs.started(folder.path)
    threads = options.threads_for(run)
    try:
        if options.way() == "inline":
            with threadpool_limits(limits=threads, user_api="blas"):
                work(folder, Serial(), watcher.event, options.oversubscribe, started)
        else:
            line = command(folder.path, options, threads)
            end = launch.watch(line, options.environment(threads), watcher.event, folder.log)
            _raise_on_failure(end, folder.path)
    except UserError:
        folder.discard()
        raise
    except (Exception, KeyboardInterrupt) as error:
        stopped = isinstance(error, KeyboardInterrupt | Interrupted)
        reason = str(error) or type(error).__name__
        if not isinstance(error, AdmmctlError | KeyboardInterrupt):
            reason = f"{type(error).__name__}: {error}"
        summary = _summary_of_the_dead(
            run, options, folder, "interrupted" if stopped else "failed", reason, started
        )
        watcher.ended(summary)
        if stopped:
            raise Interrupted(f"interrupted; what was recorded is in {folder.path}", [summary]) from None
        message = f"run {folder.path} failed: {reason}\nIts log: {folder.path / 'log.txt'}"
        raise RunFailed(message, [summary]) from error
    summary = {"folder": str(folder.path), **(read_summary(folder.path) or {})}
    watcher.ended(summary)
    if summary["status"] == "interrupted":
        message = f"interrupted after {summary['iterations']} iterations; recorded in {folder.path}"
        raise Interrupted(message, [summary])
    return summary


def _raise_on_failure(end: launch.JobEnd, folder: Path) -> None:
    """Turn the end of a job into the error it stands for."""
    for error in end.errors:
        if error["user"]:
            raise UserError(error["message"])
    finished = read_summary(folder) is not None
    if end.exit_code == 0 and finished:
        return
    if end.stopped_by is not None:
        raise Interrupted("stopped before the iteration ended")
    if end.errors:
        first = end.errors[0]
        raise RunFailed(f"rank {first['rank']}: {first['message']}")
    last = next((line.strip() for line in reversed(end.said) if line.strip(" =")), "no message")
    raise RunFailed(
        f"the job ended with exit code {end.exit_code}: {_killed(end.said) or _unreachable(end.said) or last}"
    )


def _killed(said: list[str]) -> str | None:
    """What MPICH's launcher, or srun, says of a rank that was killed: how, which one, its host."""
    text = "\n".join(said)
    by_srun = re.search(r"srun: error: (\S+): tasks? ([\d,-]+): (.+)", text)
    if by_srun is not None:
        return f"a rank ended: {by_srun[3].strip()}, rank {by_srun[2]} on {by_srun[1]}"
    how = re.search(r"EXIT STRING: (.+)", text)
    where = re.search(r"PID (\d+) RUNNING AT (\S+)", text)
    if how is None:
        return None
    return f"a rank ended: {how[1].strip()}" + (f", process {where[1]} on {where[2]}" if where else "")


def _unreachable(said: list[str]) -> str | None:
    """What launchers say of a host that they cannot reach, or that cannot reach them."""
    signs = ("unable to connect", "ssh: ", "Host key verification failed", "Permission denied")
    line = next((line.strip() for line in said if any(sign in line for sign in signs)), None)
    if line is None:
        return None
    return (
        f"{line}\nEvery host of --hosts has to be reachable by ssh without a password, and this one from there; "
        "with several networks, name the interface in the launch block of the cluster's file"
    )


def _summary_of_the_dead(
    run: Run, options: Options, folder: RunFolder, status: str, reason: str, started: float
) -> dict[str, Any]:
    """A summary for a run that could not write its own, from the curve it left."""
    curve = read_curve(folder.path)
    last = curve[-1] if curve else {}
    accuracies = [row["test_accuracy"] for row in curve if not math.isnan(row["test_accuracy"])]
    known = {
        **identity(run, options.cores),
        "status": status,
        "reason": reason,
        "iterations": int(last.get("iteration", 0)),
        "best_test_accuracy": max(accuracies, default=None),
        "final_test_accuracy": last.get("test_accuracy"),
        "train_s": last.get("train_s", 0.0),
        "wall_s": time.perf_counter() - started,
        "rerun": rerun_line(folder.path, options.cores, None, options.oversubscribe),
    }
    summary = {key: known.get(key) for key in SUMMARY}
    try:
        folder.write_summary(summary)
    except OSError as error:
        # The disk that broke the run may well refuse this too; the reason is still told.
        summary["reason"] = f"{reason} (and the summary could not be written: {error.strerror})"
    return {"folder": str(folder.path), **summary}
