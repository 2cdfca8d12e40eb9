"""The figure and tables of studies together: seconds to a target against cores, by method, and crossings."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from rich.console import Group, RenderableType
from rich.text import Text

from admmctl.report import style
from admmctl.report.scaling import PaperPoint, draw_theirs
from admmctl.report.tables import Plain
from admmctl.report.text import seconds
from admmctl.studies.crossings import Together
from admmctl.studies.lines import Iterations, Line, Studied
from admmctl.studies.statistics import MINIMUM, median
from admmctl.studies.study import CoreCount, Findings

_SHOWN = (1, 10, 100, 1_000, 10_000)  # core counts of the table, beside those that were measured


def together_figure(together: Together, studies: Sequence[Findings], paper: PaperPoint | None = None) -> Figure:
    """Seconds to the target against cores, both axes logarithmic: points, lines and bands, and the crossings.

    ``paper`` is a number that a paper reports, drawn among them.
    """
    figure, axes = plt.subplots(figsize=(style.COLUMN_WIDTH * 1.6, style.COLUMN_WIDTH * 1.3))
    colors = _colors(together.lines)
    for number, line in enumerate(line for line in together.lines if any(map(math.isfinite, line.seconds))):
        _draw_line(axes, line, colors[line.method], labelled=number == 0)
    for found in sorted(studies, key=lambda found: found.batch or math.inf):
        smaller = {other.batch for other in studies if other.method == found.method and other.batch != found.batch}
        place = sum(1 for batch in smaller if batch is not None and batch < (found.batch or math.inf))
        _draw_points(axes, found, colors[found.method], 4 + 2 * place)
    _draw_crossings(axes, together)
    if paper is not None:
        draw_theirs(axes, paper)
    axes.set_xscale("log")
    axes.set_yscale("log")
    # Bounds grow without end where the model is extrapolated far: they must not squeeze the lines.
    times = [value for line in together.lines for value in line.seconds if math.isfinite(value)]
    times += [value for found in studies for point in found.points for value in point.seconds]
    times = [value for value in times if math.isfinite(value)] + ([] if paper is None else [paper.seconds])
    axes.set_ylim(min(times) / 3, max(times) * 3)
    axes.set_xlim(0.9, together.lines[0].cores[-1] * 1.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("cores (one rank each)")
    axes.set_ylabel(f"seconds to {_goal(together)} (train_s)")
    where = "" if together.machine is None else f", model on {together.machine}"
    axes.set_title(style.plain(f"{together.experiment}, {together.rows:,} rows{where}"), loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), fontsize=7.5)
    return figure


def together_plot(together: Together, studies: Sequence[Findings], path: Path) -> list[Path]:
    """Write the figure as PNG and PDF. Raises UserError where they cannot be written."""
    return style.save(together_figure(together, studies), path, any(found.data_made_up for found in studies))


def file_of(together: Together, studies: Sequence[Findings]) -> Path:
    """Where the figure is by default: beside the studies, by target and machine."""
    name = f"crossings-{together.metric.replace('_', '-')}-{together.target:g}"
    name += "" if together.machine is None else f"-{together.machine}"
    return Path(studies[0].study).parent / name


def _colors(lines: Sequence[Line]) -> dict[str, tuple[str, str]]:
    """Colour and marker by method: those of its kind, or others where two methods are of one kind."""
    free = [style.METHODS[kind] for kind in ("adam", "sgd", "admm", "convex-admm", "lbfgs", "cg", "gd")]
    found: dict[str, tuple[str, str]] = {}
    for line in lines:
        look = style.look(line.method_kind)
        taken = {color for color, _ in found.values()}
        if look[0] in taken:
            look = next((other for other in free if other[0] not in taken), look)
        found[line.method] = look
    return found


def _draw_line(axes: Axes, line: Line, look: tuple[str, str], labelled: bool) -> None:
    """The model where it was measured; where it extrapolates the band between its bounds. One line has a label."""
    color, _ = look
    inside = sum(cores <= line.measured_cores for cores in line.cores)
    known = sum(cores <= line.known_cores for cores in line.cores)
    axes.plot(line.cores[:inside], line.seconds[:inside], color=color)
    first = max(0, inside - 1)
    low, high = line.low[first:known], line.high[first:known]
    if len(low) > 1:
        beyond = line.cores[first:known]
        top = [value if math.isfinite(value) else 1e300 for value in high]
        label = "the model: a line where it was measured, a band where it extrapolates" if labelled else None
        axes.fill_between(beyond, low, top, color=color, alpha=0.2, linewidth=0, label=label)
        axes.plot(beyond, line.seconds[first:known], color=color, linewidth=0.5)


def _draw_points(axes: Axes, found: Findings, look: tuple[str, str], size: float) -> None:
    """Measured medians, with 95 % intervals from six repeats on, every repeat below that.

    Hollow where cores were shared, pale where other work took them.
    """
    color, marker = look
    points = [point for point in found.points if math.isfinite(point.median_s)]
    for point in points:
        _draw_repeats(axes, point, color)
    batch = "" if found.batch is None else f", batches of {found.batch:,}"
    for shared, disturbed in itertools.product((False, True), repeat=2):
        alike = [point for point in points if (point.shared, point.disturbed) == (shared, disturbed)]
        if alike:
            label = f"{found.method}{batch}, measured here"
            label += " (shared cores: processor time)" if shared else ""
            label += " (disturbed: other work took the cores)" if disturbed else ""
            fill: dict[str, Any] = {
                "markerfacecolor": "white" if shared else color,
                "alpha": 0.4 if disturbed else 1.0,
            }
            shown = [point.median_s for point in alike]
            sizes: dict[str, Any] = {"color": color, "markersize": size, "zorder": 5, "label": style.plain(label)}
            axes.plot([point.cores for point in alike], shown, marker, **sizes, **fill)


def _draw_repeats(axes: Axes, point: CoreCount, color: str) -> None:
    finite = [value for value in point.seconds if math.isfinite(value)]
    if point.runs < MINIMUM:
        axes.plot([point.cores] * len(finite), finite, "_", color=color, markersize=7, alpha=0.8)
        return
    low, high = median(point.seconds).low, median(point.seconds).high
    if low is not None and high is not None and math.isfinite(high):
        axes.plot([point.cores] * 2, [low, high], color=color, linewidth=1.2)


def _draw_crossings(axes: Axes, together: Together) -> None:
    """A circle where lines cross, and a bar from the fewest cores on which that may be to the most.

    A crossing that cannot be told is a small grey circle: its bar would go on to the edge.
    """
    lines = {line.method: line for line in together.lines}
    labels = {True: "crossing, with its interval", False: "crossing that cannot be told"}
    for crossing in together.crossings:
        if crossing.cores is None or crossing.low is None:
            continue
        line = lines[crossing.method]
        height = line.seconds[line.cores.index(crossing.cores)]
        told = crossing.high is not None
        look: dict[str, Any] = {"color": style.BLACK if told else style.GREY, "linewidth": 1.2, "zorder": 7}
        if crossing.high is not None:
            axes.plot([crossing.low, crossing.high], [height] * 2, "-", marker="|", markersize=6, **look)
        axes.plot(
            [crossing.cores],
            [height],
            "o",
            markersize=6 if told else 4,
            markerfacecolor="white",
            label=labels.pop(told, None),
            **look,
        )


def together_table(together: Together) -> Group:
    """Studies, seconds by cores, and crossings, as tables and lines."""
    where = "this machine" if together.machine is None else together.machine
    title = f"\n{together.experiment}: seconds to {_goal(together)}, {together.rows:,} rows, modelled on {where}"
    bases = dict.fromkeys(basis_of(each.iterations) for each in together.studies)
    parts: list[RenderableType] = [Text(title, style="bold"), _studies(together.studies), Text("")]
    parts += [
        Text(f"Iterations: median over repeats, with {'; '.join(bases)}. Error: the model's, a factor."),
        Text(""),
        _by_cores(together),
        Text(""),
    ]
    if together.crossings:
        parts += [_crossings(together), Text(""), *(Text(crossing.text) for crossing in together.crossings)]
    return Group(*parts, *(Text(f"note: {note}") for note in together.notes))


def basis_of(iterations: Iterations) -> str:
    """What stands behind the bounds of iterations, in words."""
    if iterations.basis == "95 % interval":
        return f"its 95 % interval (order statistics, n={iterations.repeats})"
    if iterations.basis == "spread":
        return f"the fewest and the most (n={iterations.repeats}: no interval below {MINIMUM})"
    return "no bounds (n=1)"


def _studies(studies: Sequence[Studied]) -> Plain:
    table = Plain("method", "batch", "rate", "reached", "iterations", "low to high", "error", left=["method"])
    for each in studies:
        found = each.iterations
        table.add_row(
            each.method,
            "all" if each.batch is None else f"{each.batch:,}",
            "-" if each.learning_rate is None else f"{each.learning_rate:g}",
            f"{found.reached}/{found.repeats}",
            _iterations(found.median),
            f"{_iterations(found.low)} to {_iterations(found.high)}",
            f"{each.error:.2f}",
        )
    return table


def _iterations(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "never"


def _by_cores(together: Together) -> Plain:
    """Seconds of every method on some numbers of cores, and the batch size that they are of."""
    table = Plain("cores", *(line.method for line in together.lines))
    grid = together.lines[0].cores
    measured = {each.measured_cores for each in together.studies}
    for cores in sorted({*measured, *_SHOWN, grid[-1]} & set(grid)):
        place = grid.index(cores)
        table.add_row(f"{cores:,}", *(_seconds_at(line, place) for line in together.lines))
    return table


def _seconds_at(line: Line, place: int) -> str:
    if line.cores[place] > line.known_cores:
        return "unknown"
    batch = line.batch[place]
    used = line.used[place]
    fewer = "" if used == line.cores[place] else f", {_cores(used)}"
    size = "" if batch is None else f"batch {batch:,}"
    inside = f"{size}{fewer}".removeprefix(", ")
    return seconds(line.seconds[place]) + (f" ({inside})" if inside and math.isfinite(line.seconds[place]) else "")


def _crossings(together: Together) -> Plain:
    table = Plain("method", "rival", "cores", "low", "high", "verdict", left=["method", "rival", "verdict"])
    for crossing in together.crossings:
        counts = (crossing.cores, crossing.low, crossing.high)
        short = "overtakes" if "overtakes" in crossing.verdict else crossing.verdict
        shown = ("-" if value is None else f"{value:,}" for value in counts)
        table.add_row(crossing.method, crossing.rival, *shown, short)
    return table


def _cores(number: int) -> str:
    return f"{number:,} core{'s' * (number != 1)}"


def _goal(together: Together) -> str:
    return f"{together.metric.replace('_', ' ')} {together.target:g}"
