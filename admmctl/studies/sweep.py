"""``admmctl sweep``: many trials of one method, chosen by validation accuracy, all of them kept.

Trials run side by side, one process each, up to the cores asked for: their times mean nothing and are not
used. The winner is then trained again alone, so that its time can be trusted. The test set plays no part in
the choice.
"""

import csv
import hashlib
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from admmctl.errors import ConfigError, Interrupted, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Experiment, Run, to_yaml
from admmctl.experiment.schema import Stop
from admmctl.files import atomic
from admmctl.folders import make_folder
from admmctl.launch import local
from admmctl.launch.job import parse_event
from admmctl.launch.launchers import Inline
from admmctl.launch.programs import TICK, python
from admmctl.launch.signals import StopSignals
from admmctl.methods.method import methods
from admmctl.runs.broken import summary_of_the_dead
from admmctl.runs.places import root
from admmctl.runs.record import RunFolder
from admmctl.runs.recorded import DRAWN, damage, read_curve, read_summary
from admmctl.runs.resume import Now, alone
from admmctl.runs.summary import DONE, Status
from admmctl.runs.train import Options, Watcher, check, check_options, execute
from admmctl.studies.space import Trial, trials

DEFAULT_VALIDATION = 0.1


@dataclass(frozen=True)
class Result:
    """One trial as it ended. ``score`` is the best validation accuracy, NaN where there is none.

    ``iteration`` and ``epoch`` say when it was reached.
    """

    number: int
    settings: Trial
    folder: Path
    status: str
    reason: str
    score: float
    iteration: int
    epoch: float


_RUNNING: set[subprocess.Popen[str]] = set()  # trials, to be ended with the sweep

Report = Callable[[Result, int, int], None]  # a trial that ended, how many have, how many there are
Note = Callable[[str], None]


def sweep(
    path: Path,
    method: str | None,
    count: int | None,
    cores: int,
    overrides: Iterable[str],
    report: Report,
    watcher: Watcher,
) -> dict[str, Any]:
    """Run what is not yet run of a sweep; returns the trials, the winner, and its own run, timed alone.

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
    planned = _plan(experiment, path, overrides, base.method, trials(experiment.sweep, base.method, count))
    for _, run in planned.values():
        check(run, Options())
    folder = root() / experiment.name / f"sweep-{base.method}"
    results = _run_all(
        list(planned.items()), folder, cores, report, lambda text: watcher.event({"event": "note", "text": text})
    )
    finished = [r for r in results if r.score == r.score and r.status != "diverged"]
    _write_table(folder, results)
    document: dict[str, Any] = {
        "folder": str(folder),
        "method": base.method,
        "trials": [_plain(r) for r in results],
    }
    if not finished:
        return {**document, "best": None, "run": None}
    best = max(finished, key=lambda result: (result.score, -result.number))
    _, winner = planned[best.number]
    # Trained again alone on all training rows, the validation rows among them when the sweep split them off,
    # and for as long as it took the trial to its best: the validation rows can no longer say when to stop.
    stop = winner.stop.model_copy(update={"target": base.stop.target})
    alone = replace(winner, data=base.data, stop=_as_long(replace(base, stop=stop), best))
    with atomic(folder / "best.yaml") as file:
        file.write(f"# Trial {best.number} of {len(results)}: validation accuracy {best.score:.4f}\n")
        file.write(to_yaml(alone.document()))
    summary = execute(alone, Options(), watcher)
    return {**document, "best": {**_plain(best), "config": str(folder / "best.yaml")}, "run": summary}


def _plan(
    experiment: Experiment, path: Path, overrides: list[str], method: str, chosen: list[Trial]
) -> dict[int, tuple[Trial, Run]]:
    """A run for every trial, with a validation split and without a target. Raises ConfigError for a bad key."""
    planned: dict[int, tuple[Trial, Run]] = {}
    for number, trial in enumerate(chosen):
        changes = {("methods", method, *key.split(".")): value for key, value in trial.items()}
        try:
            run = configuration.load(path, overrides, changes).runs[method]
        except ConfigError as error:
            raise ConfigError(f"sweep: trial {number} is not valid:\n{error}") from None
        data = run.data
        if data.validation is None:
            data = data.model_copy(update={"validation": DEFAULT_VALIDATION})
        planned[number] = trial, replace(run, data=data, stop=run.stop.model_copy(update={"target": None}))
    return planned


def _run_all(
    planned: list[tuple[int, tuple[Trial, Run]]], folder: Path, cores: int, report: Report, note: Note
) -> list[Result]:
    """All trials, ``cores`` at a time; those that finished in an earlier sweep are taken as they are."""
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(f"the results folder {folder} cannot be written: {error.strerror}") from None
    with alone(folder):
        return _run_side_by_side(planned, folder, cores, report, note)


def _run_side_by_side(
    planned: list[tuple[int, tuple[Trial, Run]]], folder: Path, cores: int, report: Report, note: Note
) -> list[Result]:
    ended, now = 0, Now()
    now.data(planned[0][1][1])  # the same rows for all trials, which then come side by side

    def one(item: tuple[int, tuple[Trial, Run]]) -> Result:
        nonlocal ended
        number, (trial, run) = item
        # Unlike a run's, a trial's name holds its budget too: another budget is another trial.
        identity = hashlib.sha256(to_yaml(run.document()).encode()).hexdigest()[:8]
        place = folder / f"trial-{number:03d}-{identity}"
        summary = read_summary(place)
        differs = "" if summary is None else now.other_data(run, place)
        if differs:
            note(f"trial {number} runs again: {differs}")
        if differs or summary is None or summary["status"] not in DONE or damage(place, DRAWN) is not None:
            summary = _run_trial(run, place)
        result = _result(number, trial, place, summary)
        ended += 1
        report(result, ended, len(planned))
        return result

    with StopSignals() as signals, ThreadPoolExecutor(cores) as pool:
        results = [pool.submit(one, item) for item in planned]
        _follow(results, signals)
        stopped = bool(signals.so_far())
    if stopped:
        raise Interrupted("interrupted; the same command goes on with the sweep")
    return [result.result() for result in results]


def _follow(results: list[Future[Result]], signals: StopSignals) -> None:
    """Wait for trials. A signal, or one that breaks, ends all after their iteration; a second one kills."""
    told: dict[subprocess.Popen[str], bool] = {}
    while True:
        done, rest = wait(results, timeout=TICK)
        if not rest:
            return
        asked = signals.so_far()
        if asked or any(not result.cancelled() and result.exception() for result in done):
            for result in rest:
                result.cancel()
            kill = len(asked) > 1
            for process in list(_RUNNING):
                if told.get(process) is not kill:
                    process.kill() if kill else process.terminate()
                    told[process] = kill


def _run_trial(run: Run, place: Path) -> dict[str, Any]:
    """One trial in a process of its own; a failure is its summary."""
    started = time.perf_counter()
    folder = RunFolder.create_at(place, to_yaml(run.document()))
    command = python("-m", "admmctl.runs.worker", str(place), "1", "0")
    environment = Inline().environment(Options(), 1)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    _RUNNING.add(process)
    try:
        said, wrong = process.communicate()
    finally:
        _RUNNING.discard(process)
    summary = read_summary(place)
    if summary is None:
        events = [event for line in said.splitlines() if (event := parse_event(line))]
        errors = [event["message"] for event in events if event["event"] == "error"]
        reason = errors[0] if errors else f"exit code {process.returncode}"
        summary = summary_of_the_dead(run, Options(), folder, Status.FAILED, reason, started)
        folder.log(wrong or reason)
    return summary


def _result(number: int, trial: Trial, place: Path, summary: dict[str, Any]) -> Result:
    scored = [row for row in read_curve(place) if row.get("validation_accuracy", float("nan")) >= 0]
    best = max(scored, key=lambda row: row["validation_accuracy"], default=None)
    status, reason = summary["status"], summary["reason"]
    if best is None:
        return Result(number, trial, place, status, reason, float("nan"), 0, 0.0)
    score, iteration, epoch = best["validation_accuracy"], int(best["iteration"]), best["epoch"]
    return Result(number, trial, place, status, reason, score, iteration, epoch)


def _as_long(base: Run, best: Result) -> Stop:
    """The experiment's budget, ended where the best trial was at its best."""
    if base.data.validation is not None:
        return base.stop
    if methods.load(base.kind).unit == "epoch":
        return base.stop.model_copy(update={"epochs": best.epoch or None, "iterations": None if best.epoch else 0})
    return base.stop.model_copy(update={"iterations": best.iteration, "epochs": None})


def _plain(result: Result) -> dict[str, Any]:
    score = None if result.score != result.score else result.score
    return {
        "number": result.number,
        "settings": result.settings,
        "validation_accuracy": score,
        "status": result.status,
        "reason": result.reason,
        "iteration": result.iteration,
        "epoch": result.epoch,
        "folder": str(result.folder),
    }


def _write_table(folder: Path, results: list[Result]) -> None:
    """trials.csv: every trial with its settings and its score."""
    keys = list(results[0].settings)
    with atomic(folder / "trials.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", *keys, "validation_accuracy", "iteration", "epoch", "status", "reason"])
        for r in results:
            writer.writerow(
                [r.number, *(r.settings[k] for k in keys), r.score, r.iteration, r.epoch, r.status, r.reason]
            )
