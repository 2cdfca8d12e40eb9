"""What a person sees while a run goes on: a progress bar on a terminal, plain lines elsewhere."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from admmctl.config import Run
from admmctl.report.text import number, size


class Live:
    """Shows runs on ``stream``: progress bars on a terminal, one plain line per evaluation otherwise."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None

    def started(self, run: Run, folder: Path) -> None:
        self._say(str(folder))
        self._target = run.stop.target if run.stop.metric != "train_loss" else None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[scores]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(
                f"{run.method} s{run.seed}", total=run.stop.iterations, scores="loading"
            )
            self._bar.start()

    def event(self, event: dict[str, Any]) -> None:
        if event["event"] == "loaded":
            text = f"{event['rows_train']:,} training rows, {event['rows_test']:,} test rows"
            if self._bar is not None:
                self._bar.update(self._task, scores=text)
            else:
                self._say(text)
        elif event["event"] == "planned":
            each = " per rank" if event["ranks"] > 1 else ""
            self._say(f"about {event['memory_mb']:.0f} MB of memory{each}")
        elif event["event"] == "note":
            self._say(event["text"])
        elif event["event"] == "evaluation":
            scores = f"loss {event['train_loss']:.4g}  test accuracy {event['test_accuracy']:.4f}"
            if self._bar is not None:
                self._bar.update(self._task, completed=event["iteration"], scores=scores)
            else:
                self._say(
                    f"iteration {event['iteration']:>5}  train {event['train_s']:.3f} s  {scores}"
                    f"  train accuracy {event['train_accuracy']:.4f}"
                )

    def ended(self, summary: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._say(f"{summary['status']}: {summary['reason']}")
        if summary["target"] is not None and summary["status"] == "exhausted":
            best = ""
            if summary["metric"] == "test_accuracy":
                best = f": best test accuracy {number(summary['best_test_accuracy'], 4)}"
            self._say(f"the target, {summary['metric']} {summary['target']:g}, was missed{best}")

    def skipped(self, run: Run, reason: str) -> None:
        self._say(f"skipped {run.method}: {reason}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class SweepProgress:
    """One line per trial that ended."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def ended(self, trial: Any, done: int, total: int) -> None:
        settings = "  ".join(f"{key}={value}" for key, value in trial.settings.items())
        score = f"validation accuracy {number(trial.score, 4)}" if trial.score == trial.score else trial.reason
        line = f"{done}/{total}  trial {trial.number}  {trial.status}  {score}  {settings}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class Measuring:
    """Says what is being measured: a spinner on a terminal, nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._status = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> "Measuring":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def at(self, what: str) -> None:
        if self._status is not None:
            self._status.update(what)


class Downloads:
    """Shows files as they arrive, are checked or prepared: bars on a terminal, one line each otherwise."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, Any] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Downloads":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        """``name`` is at ``done`` of ``total``: bytes of a file, or rows of a dataset that is being prepared."""
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total, amount="")
        task = self._bar.tasks[self._tasks[name]]
        if name.startswith("preparing"):
            amount = f"{done:,} of {total:,}"
        else:
            speed = f"  {size(int(task.speed))}/s" if task.speed else ""
            amount = f"{size(done)} of {size(total)}{speed}"
        self._bar.update(self._tasks[name], completed=done, amount=amount)
        if done >= total and not self._console.is_terminal:
            what = f"{done:,}" if name.startswith("preparing") else f"{done:,} bytes"
            self._console.print(f"{name}: {what}", markup=False, highlight=False)


def error_console() -> Console:
    """People's text: standard error, so that standard output holds results only."""
    return Console(file=sys.stderr)
