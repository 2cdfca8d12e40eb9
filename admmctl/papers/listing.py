"""The list of figures, with the data that each needs; and the message about those that failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from admmctl.data.catalog import datasets
from admmctl.errors import DataError
from admmctl.papers.entry import Entry, Quick
from admmctl.papers.make import chosen, experiment
from admmctl.report.tables import Plain
from admmctl.report.text import count

WIDTH = 100  # characters of a line of the list
COLUMNS = (("from", 11), ("shows", 21), ("data", 9), ("runs, and what quick leaves out", 26))


@dataclass(frozen=True)
class Data:
    """The dataset of a figure, and whether it is here; ``reason`` says how to get it."""

    name: str
    here: bool
    reason: str | None = None


@dataclass(frozen=True)
class Listed:
    """A figure, and the data that it needs at the quick scale, if any."""

    entry: Entry
    data: Data | None

    def document(self) -> dict[str, Any]:
        """The figure in ``figures --list --json``."""
        return {**self.entry.document(), "data": self.data}


def listing(names: Sequence[str] = ()) -> list[Listed]:
    """The figures of these names, or all without one. Raises UserError for an unknown one."""
    return [Listed(entry, _data(entry)) for entry in chosen(names)]


def _data(entry: Entry) -> Data | None:
    if entry.config is not None:
        settings = next(iter(experiment(entry, "quick").runs.values())).data
    elif entry.dataset is not None:
        settings = datasets.load(entry.dataset).Settings(name=entry.dataset)
    else:
        return None
    try:
        datasets.load(settings.name)().open(settings)
    except DataError as error:
        return Data(settings.name, False, str(error))
    return Data(settings.name, True)


def figures_table(listed: list[Listed]) -> Table:
    """Name, where it is from, what it shows, its data, its runs and what the quick scale leaves out."""
    table = Plain()
    table.add_column("figure")
    for heading, width in COLUMNS:
        table.add_column(heading, width=width, overflow="fold")
    for figure in listed:
        entry, data = figure.entry, figure.data
        number = entry.number.replace("Figures", "Figs.").replace("Figure", "Fig.")
        here = "none" if data is None else f"{data.name}: {'here' if data.here else 'not here'}"
        table.add_row(entry.name, f"{entry.paper.short} {number}", entry.shows, here, _runs(entry))
    return table


def _runs(entry: Entry) -> str:
    """'higgs.yaml: 4 methods x 10, 7,200 cores; quick: ...'."""
    if entry.config is None:
        return "no runs"
    methods = count(len({*entry.methods, *entry.alone}), "method")
    cores = ", ".join(f"{number:,}" for number in entry.cores)
    runs = f"{methods} x {entry.repeats}, {cores} core{'s' * (entry.cores != (1,))}"
    quick = "" if entry.quick == Quick() else f"; quick: {entry.quick.less}"
    return f"{entry.config}.yaml: {'no runs' if entry.drawing.source == 'condition' else runs}{quick}"


def failures(failed: dict[str, str]) -> str:
    """The message that says which figures failed, and why."""
    lines = "\n".join(f"{name}: {reason}" for name, reason in failed.items())
    return f"{len(failed)} of the figures failed, the others are drawn:\n{lines}"
