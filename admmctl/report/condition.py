"""Figure and table of ``condition``: condition numbers against the rank of the Nystrom sketch."""

from dataclasses import fields
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from rich.console import Group
from rich.text import Text

from admmctl.errors import UserError
from admmctl.files import write_csv
from admmctl.report import style
from admmctl.report.output import writable
from admmctl.report.tables import Plain
from admmctl.runs.places import root
from admmctl.studies.condition import Conditions, Preconditioned

# Preconditioners without a rank: their labels, the method that looks like them, and their lines.
_LINES = {
    "none": ("without preconditioner", "cholesky", "--"),
    "jacobi": ("Jacobi", "jacobi-pcg", "-."),
    "block": ("block, I + X'X", "block-pcg", ":"),
}
_MOST_TICKS = 8  # ranks that have room under the axis


def check_output(output: Path | None) -> None:
    """Raises UserError for an ``--output`` that cannot be written: before minutes are spent on it."""
    style.check_output(output, "the name of a file; .png, .pdf and .csv are added to it")
    if output is not None and not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}")


def condition_plot(result: Conditions, output: Path | None = None) -> list[Path]:
    """The figure as PNG and PDF and its points as CSV, in the experiment's results or as ``output``.

    Raises UserError where they cannot be written.
    """
    base = style.without_suffix(output or root() / result.experiment / "condition", ".csv")
    points = base.with_name(f"{base.name}.csv")
    with writable(points):
        base.parent.mkdir(parents=True, exist_ok=True)
        write_csv(points, [part.name for part in fields(Preconditioned)], map(vars, result.points))
    return [*style.save(condition_figure(result), base, result.data_made_up), points]


def condition_figure(result: Conditions) -> Figure:
    """Condition numbers against the sketch's rank, other preconditioners as levels."""
    figure, axes = plt.subplots()
    for point in result.points:
        if point.preconditioner in _LINES:
            label, method, line = _LINES[point.preconditioner]
            axes.axhline(point.condition, color=style.look(method)[0], linestyle=line, label=label)
    sketched = [point for point in result.points if point.preconditioner == "nystrom"]
    color, marker = style.look("nystrom-pcg")
    ranks = [point.rank or 0 for point in sketched]
    axes.plot(ranks, [point.condition for point in sketched], color=color, marker=marker, label="Nystrom, by rank")
    axes.set_xscale("log")
    if len(ranks) <= _MOST_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(ranks))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    style.log_axis(axes)
    axes.set_xlabel("rank of the Nystrom sketch (log)")
    axes.set_ylabel("condition number (log)")
    shape = f"{result.rows:,} rows, {result.inputs:,} inputs, {result.patterns} patterns"
    axes.set_title(style.plain(f"{result.experiment}: {shape}"), loc="left")
    style.legend_below(axes)
    return figure


def condition_table(result: Conditions, paper: str) -> Group:
    """A line per preconditioner and rank, and what the ``paper`` says of its own."""
    table = Plain("preconditioner", "rank", "condition", "lowered", "smallest", "largest", left=["preconditioner"])
    without = next(point.condition for point in result.points if point.preconditioner == "none")
    for point in result.points:
        table.add_row(
            point.preconditioner,
            "-" if point.rank is None else f"{point.rank:,}",
            f"{point.condition:,.4g}" if point.condition < 1e4 else f"{point.condition:,.0f}",
            f"{without / point.condition:.3g} x",
            f"{point.smallest:.3g}",
            f"{point.largest:.3g}",
        )
    shape = f"A has a side of {result.side:,}, rho {result.rho:g}"
    return Group(
        Text(f"{result.experiment}, {result.method}: {shape}", style="bold"),
        table,
        Text(""),
        Text("Extreme eigenvalues of the preconditioned matrix, in float64, and their ratio."),
        Text(paper),
    )
