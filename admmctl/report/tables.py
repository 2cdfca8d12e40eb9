"""Tables of runs, read from their folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from admmctl.errors import UserError
from admmctl.report.layout import quick_lines
from admmctl.report.text import number, seconds
from admmctl.runs.reading import PHASE_COLUMNS
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Row

_FOLDED = 12  # columns that a name is folded to at most
MARK = "!"  # beside the seconds of a run that was disturbed
MADE_UP = "made-up data"  # beside the status of a run on such


class Plain(Table):
    """A table in which nothing is cut off. It has bold headings and no frame: eight columns fit a terminal of 80.

    Columns hold numbers, to the right, but for those in ``fold`` and ``left``, which hold texts. Where a line has
    no room, texts of columns in ``fold`` are folded, to their ``width`` if they have one. Where that is not enough
    the line is longer than the terminal is wide.
    """

    def __init__(
        self, *headings: str, title: str = "", fold: Sequence[str] = (), left: Sequence[str] = (), **look: Any
    ) -> None:
        super().__init__(**{"box": None, "padding": (0, 2, 0, 0), "pad_edge": False} | look)
        self._above = title  # rich's own would be folded to the table, however narrow that is
        for heading in headings:
            text = heading in fold or heading in left
            self.add_column(
                heading,
                justify="left" if text else "right",
                overflow="fold" if heading in fold else "ellipsis",
            )

    @classmethod
    def facts(cls, title: str = "", name_style: str = "bold", **look: Any) -> "Plain":
        """A table of names and values; a value may be as long as it needs to be."""
        table = cls(title=title, show_header=False, **look)
        table.add_column(style=name_style)
        table.add_column(overflow="fold")
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._above:
            yield Text(self._above, style="bold")
        whole = needed = 0
        for column in self.columns:
            lines = [line for cell in (column.header, *column.cells) for line in str(cell).splitlines()]
            widest = max(map(cell_len, lines), default=0)
            column.no_wrap = column.overflow != "fold"
            folded = widest if column.no_wrap else min(widest, column.width or _FOLDED)
            between = self.padding[1] + self.padding[3]
            whole, needed = whole + widest + between, needed + folded + between
        if whole <= options.max_width:
            for column in self.columns:
                column.width = None
        room = max(options.max_width, needed)
        quick = quick_lines(self, console, room)
        yield from super().__rich_console__(console, options.update(width=room)) if quick is None else quick


def runs_table(runs: Sequence[Row]) -> Group:
    """A table per experiment, a line per run, or per job that has no run yet: accuracy, seconds, iterations."""
    parts: list[RenderableType] = []
    for experiment in dict.fromkeys(str(run.get("experiment")) for run in runs):
        # Where it was aimed at: else a line of 80 characters is better used for the name.
        auc = any(run.get("metric") == "test_auc" for run in runs if str(run.get("experiment")) == experiment)
        headings = ("run", "status", "final", "best", *["AUC"] * auc, "iter", "train s", "target s")
        table = Plain(*headings, title=experiment, fold=["run"], left=["status"])
        for run in runs:
            if str(run.get("experiment")) == experiment:
                table.add_row(*_run_row(run, auc))
        parts += [table, Text("")]
    note = (
        "final, best: test accuracy of the last iterate, and the highest on the way,\n"
        "which is optimistic;\n"
        "train s: optimisation only, without loading and evaluation;\n"
        "target s: train s at the first evaluation that met the target."
    )
    if any(run.get("metric") == "test_auc" for run in runs):
        note += "\nAUC: area under the ROC curve of the test rows, last iterate."
    if any(map(_mark, runs)):
        note += f"\n{MARK}  disturbed: other work took the cores, and the seconds say little."
    if any(run.get("data_made_up") is True for run in runs):
        note += f"\n{MADE_UP}: a program made the rows up; this says nothing of the real ones."
    parts.append(Text(note))
    return Group(*parts)


def _mark(run: Row) -> str:
    """What stands beside the seconds of a run that was disturbed."""
    return MARK if run.get("disturbed") is True else ""


def _run_row(run: Row, auc: bool) -> list[str]:
    time = run.get("time_to_target_s")
    to_target = "none" if run.get("target") is None else "missed" if time is None else seconds(time) + _mark(run)
    return [
        Path(run["folder"]).name,
        f"{run['status']}, {MADE_UP}" if run.get("data_made_up") is True else run["status"],
        number(run.get("final_test_accuracy"), 4),
        number(run.get("best_test_accuracy"), 4),
        *[number(run.get("final_test_auc"), 4)] * auc,
        str(run.get("iterations", "-")),
        seconds(run.get("train_s")) + _mark(run),
        to_target,
    ]


def run_details(run: Recorded) -> Table:
    """Everything in the summary of a run."""
    table = Plain.facts(padding=(0, 1))
    for key, value in run.row.items():
        table.add_row(key.replace("_", " "), "-" if value is None else str(value))
    return table


def phases_table(run: Recorded) -> Table | None:
    """Seconds by phase: largest, mean and smallest over ranks."""
    if not run.phases:
        return None
    cpu = run.cpu
    title = "\nSeconds by phase, over ranks" + (", and of processor time" if cpu else "")
    title += ": ranks shared cores" if run.shared_cores else ": other work took cores" if run.disturbed else ""
    columns = [*PHASE_COLUMNS, *(f"cpu_{column}" for column in PHASE_COLUMNS if cpu)]
    headings = [column.removesuffix("_s").replace("_", " ") for column in columns]
    table = Plain("phase", *headings, title=title, left=["phase"])
    for name, values in run.phases.items():
        row = {**values, **{f"cpu_{key}": value for key, value in cpu.get(name, {}).items()}}
        table.add_row(name, *(seconds(value) for value in row.values()))
    return table


_SHORT = {
    "iteration": "iter",
    "train_s": "train s",
    "train_loss": "loss",
    "train_accuracy": "train acc",
    "test_accuracy": "test acc",
    "test_auc": "test AUC",
}
_COLUMNS = 10  # that 80 characters have room for; curve.csv has them all


def curve_table(run: Recorded, rows: int = 12) -> Table | None:
    """The curve, thinned to about ``rows`` rows: the first, the last, and some between."""
    curve = run.curve
    if not curve:
        return None
    step = max(1, -(-len(curve) // rows))
    chosen = curve[:-1:step] + curve[-1:]
    names = [name for name in curve[0] if name not in ("wall_s", "test_loss")][:_COLUMNS]
    headings = [_SHORT.get(name, name.replace("_", "\n")) for name in names]
    table = Plain(*headings, title="\nCurve", padding=(0, 1, 0, 0))
    for row in chosen:
        table.add_row(*(_cell(name, row[name]) for name in names))
    return table


def _cell(name: str, value: float) -> str:
    if name == "iteration":
        return str(int(value))
    if name.endswith(("accuracy", "auc")):
        return number(value, 4)
    if name.endswith("_s"):
        return seconds(value)
    return f"{value:.4g}"


def only_run(runs: list[Recorded], name: str) -> Path:
    """The folder of the single run that an argument names. Raises UserError when it names several."""
    if len(runs) > 1:
        names = "\n  ".join(str(run.folder) for run in runs)
        raise UserError(f"{name} holds {len(runs)} runs; name one of them:\n  {names}")
    return runs[0].folder


def confusion_table(run: Recorded) -> "Confusion | None":
    """Test rows by true and predicted class, and the accuracy per class, for the final weights."""
    found = run.confusion
    return None if found is None else Confusion(list(map(str, found.classes)), found.final)


@dataclass(frozen=True)
class Confusion:
    """Counts by true and predicted class. Where a line has no room for all columns there are several tables."""

    classes: list[str]
    counts: list[list[int]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headings = [*self.classes, "no class"][: len(self.counts[0])]
        columns = zip(headings, *self.counts, strict=True)
        widths = [max(len(str(cell)) for cell in column) + 1 for column in columns]
        room = options.max_width - max(map(len, ("class", *self.classes))) - len("accuracy") - 2
        yield Text("\nTest rows by class (lines) and what was predicted (columns), final weights", style="bold")
        start = 0
        while start < len(headings):
            end = start + 1
            while end < len(headings) and sum(widths[start : end + 1]) <= room:
                end += 1
            yield self._table(headings, start, end)
            start = end

    def _table(self, headings: list[str], start: int, end: int) -> Plain:
        """The columns from ``start`` to ``end``, and the accuracy beside the last."""
        last = end == len(headings)
        table = Plain("class", *headings[start:end], *["accuracy"] * last, padding=(0, 1, 0, 0))
        table.columns[0].justify = "left"  # whatever the classes are called
        for place, (name, row) in enumerate(zip(self.classes, self.counts, strict=True)):
            total = sum(row)
            accuracy = [number(row[place] / total if total else None, 4)] if last else []
            table.add_row(name, *map(str, row[start:end]), *accuracy)
        return table
