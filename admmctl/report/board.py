"""The view of a run on a terminal while it goes on: progress, scores, target, phases, memory, what Ctrl-C does."""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions
from rich.text import Text

from admmctl.experiment.config import Run
from admmctl.experiment.schema import Stop
from admmctl.report.text import count, duration, number
from admmctl.runs.clock import OUTSIDE
from admmctl.runs.events import Evaluated, Event, Planned

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"  # the second for terminals without Unicode
BAR, PLAIN_BAR = ("█", "░"), ("#", ".")
_WIDEST_BAR, _NARROWEST_BAR = 40, 8
_KEPT = 200  # evaluations that the sparkline may show
_FLAT = 0.01  # of accuracy: the least that the sparkline spans
_PHASE_NAMES = {"reduce": "communication"}  # of phases whose own names say little


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS, least: float = 0.0) -> str:
    """The last ``width`` values as blocks, the lowest of them lowest; a space for one that is no number.

    The blocks span ``least`` or more, so that what hardly moves looks so.
    """
    shown = list(values)[-width:] if width > 0 else []
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = max(high - low, least) or 1.0
    middle, top = (low + high) / 2, len(blocks) - 1
    places = [round(top * (0.5 + (value - middle) / span)) if math.isfinite(value) else None for value in shown]
    return "".join(" " if place is None else blocks[place] for place in places)


def joined(parts: Sequence[str], width: int) -> str:
    """As many of ``parts`` as a line has room for, the first ones first; two spaces between them."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width and line:
            break
        line = longer
    return line


def _words(metric: str) -> str:
    """'test accuracy', 'test AUC'."""
    return metric.replace("_", " ").replace("auc", "AUC")


def used_up(stop: Stop, last: dict[str, float]) -> tuple[float, str]:
    """How much of the nearest limit is used up, from 0 to 1, and the same in words."""
    limits = [
        (last["iteration"], stop.iterations, f"{last['iteration']:,} of {stop.iterations or 0:,} iterations"),
        (last["epoch"], stop.epochs, f"{last['epoch']:.4g} of {stop.epochs or 0:g} epochs"),
        (last["train_s"], stop.seconds, f"{last['train_s']:.1f} of {stop.seconds or 0:g} s of training"),
    ]
    shares = [(min(1.0, done / most if most else 1.0), text) for done, most, text in limits if most is not None]
    return max(shares, default=(0.0, f"{last['iteration']:,} iterations"))


class Board:
    """What is known of a run, drawn to the width of the terminal."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._metric = run.stop.metric
        self._curve = "test_accuracy" if self._metric == "train_loss" else self._metric
        self._began = time.monotonic()
        self._rows: int | None = None
        self._planned: Planned | None = None
        self._last: Evaluated | None = None
        self._last_at = self._began
        self._first: tuple[float, float] | None = None  # how far the first evaluation was, and when
        self._values: deque[float] = deque(maxlen=_KEPT)
        self._best: tuple[float, float] | None = None  # value of the target's metric, and training seconds
        self._reached: float | None = None
        self._stopping = False

    def event(self, event: Event) -> None:
        """Take note of an event of the run; of other kinds nothing is shown."""
        if event["event"] == "stopping":
            self._stopping = True
        elif event["event"] == "planned":
            self._planned = event
        elif event["event"] == "loaded":
            self._rows = event["rows_train"]
        elif event["event"] == "evaluation":
            self._evaluated(event)

    def _evaluated(self, event: Evaluated) -> None:
        self._last, self._last_at = event, time.monotonic()
        row = event["row"]
        self._values.append(row[self._curve])
        value, target = row[self._metric], self._run.stop.target
        sign = -1 if self._metric == "train_loss" else 1  # of what becomes larger
        if not math.isnan(value) and (self._best is None or sign * value > sign * self._best[0]):
            self._best = value, row["train_s"]
        if target is not None and self._reached is None and sign * value >= sign * target:
            self._reached = row["train_s"]
        if self._first is None:
            self._first = self._done()[0], time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line, style in self.lines(options.max_width - 1, options.ascii_only):
            yield Text(line, style=style, no_wrap=True, overflow="crop", end="\n")

    def lines(self, width: int, plain: bool = False) -> list[tuple[str, str]]:
        """The lines of the view and their styles, none longer than ``width``; ``plain``: in ASCII."""
        lines = [(self._title(), "bold")]
        if self._last is None:
            lines.append((f"loading  {duration(time.monotonic() - self._began)}", ""))
        else:
            lines += [
                (self._progress(width, plain), ""),
                (self._scores(self._last["row"], width, plain), ""),
                (self._target(), ""),
                (self._phases(self._last, width), ""),
                (self._time(), ""),
            ]
        lines += [(self._memory(), ""), (self._ctrl_c(width), "bold" if self._stopping else "dim")]
        return [(line[:width], style) for line, style in lines if line]

    def _title(self) -> str:
        run = self._run
        ranks = f"  {count(self._planned['ranks'], 'rank')}" if self._planned else ""
        rows = f"  {self._rows:,} training rows" if self._rows is not None else ""
        return f"{run.experiment}  {run.method}  seed {run.seed}{ranks}{rows}"

    def _done(self) -> tuple[float, str]:
        assert self._last is not None
        return used_up(self._run.stop, self._last["row"])

    def _progress(self, width: int, plain: bool) -> str:
        share, text = self._done()
        room = min(_WIDEST_BAR, width - len(text) - 2)
        if room < _NARROWEST_BAR:
            return text
        full, empty = PLAIN_BAR if plain else BAR
        filled = round(room * share)
        return f"{full * filled}{empty * (room - filled)}  {text}"

    def _time(self) -> str:
        """The time until now, and until the limit: the target, or the method's own end, may come earlier."""
        assert self._first is not None
        now, (before, since) = time.monotonic(), self._first
        share = self._done()[0]
        passed = f"time: {duration(now - self._began)}"
        if share <= before:
            return passed
        return f"{passed}, at most {duration((self._last_at - since) * (1 - share) / (share - before))} to go"

    def _scores(self, last: dict[str, float], width: int, plain: bool) -> str:
        name = _words(self._curve)
        other = "train_accuracy" if self._curve == "test_accuracy" else "test_accuracy"
        scores = joined(
            [
                f"{name} {number(last[self._curve], 4)}",
                f"loss {last['train_loss']:.4g}",
                f"{_words(other)} {number(last[other], 4)}",
            ],
            width - 12,
        )
        room = min(_WIDEST_BAR, width - len(scores) - 2)
        line = sparkline(self._values, room, PLAIN_BLOCKS if plain else BLOCKS, least=_FLAT)
        return f"{line}  {scores}"

    def _target(self) -> str:
        stop = self._run.stop
        best = ""
        if self._best is not None:
            digits = f"{self._best[0]:.4g}" if self._metric == "train_loss" else number(self._best[0], 4)
            best = f"best {digits} after {self._best[1]:.1f} s"
        if stop.target is None:
            return f"no target{': ' if best else ''}{best}"
        what = "" if self._metric == "test_accuracy" else f"{_words(self._metric)} "
        if self._reached is not None:
            return f"target {what}{stop.target:g}: reached after {self._reached:.1f} s"
        return f"target {what}{stop.target:g}: not yet{', ' if best else ''}{best}"

    def _phases(self, last: Evaluated, width: int) -> str:
        """Each phase's share of the training time, the largest first; "other": those without room on the line."""
        seconds = {name: spent for name, spent in last["phases"].items() if name not in OUTSIDE}
        total = sum(seconds.values())
        start = f"training {last['row']['train_s']:.1f} s"
        if total <= 0:
            return start
        ordered = sorted(
            ((name, spent) for name, spent in seconds.items() if name != "other" and spent >= 0.005 * total),
            key=lambda item: -item[1],
        )
        shares = [f"{_PHASE_NAMES.get(name, name)} {100 * spent / total:.0f} %" for name, spent in ordered]
        for shown in range(len(shares), -1, -1):
            rest = total - sum(spent for _, spent in ordered[:shown])
            parts = shares[:shown] + ([f"other {100 * rest / total:.0f} %"] if rest > 0.005 * total else [])
            line = f"{start}: {', '.join(parts)}"
            if len(line) <= width:
                return line
        return start

    def _memory(self) -> str:
        if self._planned is None:
            return ""
        planned, held = self._planned["memory_mb"], self._last["memory_mb"] if self._last else None
        each = " per rank" if self._planned["ranks"] > 1 else ""
        if held is None:
            return f"memory: about {planned:.0f} MB{each} expected"
        return f"memory: {held:.0f} MB{' on rank 0' if each else ''}, about {planned:.0f} MB{each} expected"

    def _ctrl_c(self, width: int) -> str:
        kept = ", with a checkpoint" if self._planned and self._planned["checkpoints"] else ""
        if self._stopping:
            text = f"stopping after this iteration{kept}; Ctrl-C again: at once"
            return text if len(text) <= width else text.replace(kept, "")
        text = f"Ctrl-C: stop after this iteration{kept}; twice: at once"
        return text if len(text) <= width else text.replace("after this iteration, ", "")
