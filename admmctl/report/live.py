"""What a person sees while a run goes on: a live view on a terminal, otherwise plain lines."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live as RichLive
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from admmctl.experiment.config import Run
from admmctl.experiment.schema import Stop
from admmctl.report.board import Board, used_up
from admmctl.report.text import number, size
from admmctl.runs.events import Event, Watcher
from admmctl.runs.summary import Row

# Seconds between drawings: at least so many after an event; so many while there are no events.
EVENT_PAUSE, TICK_PAUSE = 0.125, 0.5
# Plain lines: one per evaluation where at most so many are to come; otherwise about so many of a whole run.
FEW, ENOUGH = 50, 20


class Spread:
    """Which evaluations of a run have a plain line: all of a few, some of many, spread over the run."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._seen = 0
        self._first = 0.0  # how much of the run was done at the first: one that goes on begins in the middle
        self._shown = 0

    def takes(self, row: dict[str, float]) -> bool:
        """Whether the next evaluation, a row of the curve, has a line."""
        share = used_up(self._stop, row)[0]
        if self._seen == 0:
            self._first = share
        before, self._seen = self._seen, self._seen + 1
        step = int(ENOUGH * share + 1e-9)
        due = before * (1 - self._first) <= FEW * (share - self._first) + 1e-9 or step > self._shown
        self._shown = step if due else self._shown
        return due


class Live(Watcher):
    """Shows runs: as a view that is drawn again and again on a terminal, as plain lines elsewhere.

    Of many evaluations only some have a line, the last always; the record has all of them.

    As a ``with`` block it leaves the terminal as it found it, however the run ends.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view: View | None = None
        self._auc = False  # whether a line says it
        self._spread = Spread(Stop())
        self._held: str | None = None  # the line of the last evaluation, where it was not shown

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):  # a terminal that is gone cannot be tidied
            self._close()

    def started(self, run: Run, folder: Path) -> None:
        self._close()
        self._say(str(folder))
        self._auc = run.stop.metric == "test_auc"
        self._spread, self._held = Spread(run.stop), None
        if self._console.is_interactive:
            self._view = View(self._console, Board(run))

    def event(self, event: Event) -> None:
        if event["event"] == "note":
            self._say(event["text"])
        elif self._view is not None:
            self._view.event(event)
        elif event["event"] == "stopping" and "text" in event:
            self._say(event["text"])
        elif event["event"] == "loaded":
            self._say(f"{event['rows_train']:,} training rows, {event['rows_test']:,} test rows")
        elif event["event"] == "planned":
            each = " per rank" if event["ranks"] > 1 else ""
            self._say(f"about {event['memory_mb']:.0f} MB of memory{each}")
        elif event["event"] == "evaluation":
            row = event["row"]
            auc = f"  test AUC {row['test_auc']:.4f}" if self._auc else ""
            self._held = (
                f"iteration {row['iteration']:>5}  train {row['train_s']:.3f} s  "
                f"loss {row['train_loss']:.4g}  test accuracy {row['test_accuracy']:.4f}"
                f"  train accuracy {row['train_accuracy']:.4f}{auc}"
            )
            if self._spread.takes(row):
                self._say_held()

    def ended(self, summary: Row) -> None:
        self._close()
        self._say_held()
        self._say(f"{summary['status']}: {summary['reason']}")
        if summary["target"] is not None and summary["status"] == "exhausted":
            line = f"the target, {summary['metric']} {summary['target']:g}, was missed"
            names = {"test_accuracy": "test accuracy", "test_auc": "test AUC"}
            if (metric := summary["metric"]) in names:
                line += f": best {names[metric]} {number(summary[f'best_{metric}'], 4)}"
            self._say(line)

    def skipped(self, run: Run, reason: str) -> None:
        self._say(f"skipped {run.method}: {reason}")

    def _close(self) -> None:
        view, self._view = self._view, None
        if view is not None:
            view.close()

    def _say_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._say(held)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class View:
    """A board on a terminal. An event draws it, and a thread does while there are none.

    Few drawings cost little. Most of them happen during an evaluation, which is no training time.
    """

    def __init__(self, console: Console, board: Board) -> None:
        self._board = board
        self._drawn = 0.0
        self._closed = threading.Event()
        self._live = RichLive(board, console=console, auto_refresh=False, transient=True)
        self._live.start(refresh=True)
        threading.Thread(target=self._tick, daemon=True).start()

    def event(self, event: Event) -> None:
        self._board.event(event)
        if event["event"] != "stopping":  # a signal's handler sends it, perhaps in the middle of a drawing
            self._draw(EVENT_PAUSE)

    def close(self) -> None:
        self._closed.set()
        self._live.stop()

    def _tick(self) -> None:
        """Draw again and again: the clock on the board goes on during a long iteration."""
        with suppress(OSError, ValueError):  # the terminal is gone: the run goes on unwatched
            while not self._closed.wait(TICK_PAUSE):
                self._draw(TICK_PAUSE)

    def _draw(self, pause: float) -> None:
        now = time.monotonic()
        if now - self._drawn >= pause and not self._closed.is_set():
            self._drawn = now
            self._live.refresh()


@contextmanager
def measuring(console: Console) -> Iterator[Callable[[str], None]]:
    """A function that shows what is being measured: beside a spinner on a terminal, elsewhere not at all."""
    if not console.is_terminal:
        yield lambda what: None
        return
    with console.status("starting", spinner="line" if console.options.ascii_only else "dots") as status:
        yield status.update


class Downloads:
    """Shows files as they arrive, are checked or prepared: as bars on a terminal, as a line each elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
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
        are_rows = name.startswith("preparing")
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total, amount="")
        speed = self._bar.tasks[self._tasks[name]].speed
        amount = f"{done:,} of {total:,}" if are_rows else f"{size(done)} of {size(total)}"
        if speed and not are_rows:
            amount += f"  {size(int(speed))}/s"
        self._bar.update(self._tasks[name], completed=done, amount=amount)
        if done >= total and not self._console.is_terminal:
            self._console.print(f"{name}: {done:,}{'' if are_rows else ' bytes'}", markup=False, highlight=False)


def error_console() -> Console:
    """People's text: standard error, so that standard output holds results only."""
    # FORCE_COLOR in a pipe means colours, and not a view that is drawn over and over.
    return Console(file=sys.stderr, force_interactive=None if sys.stderr.isatty() else False)
