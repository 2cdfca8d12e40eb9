"""Figures and tables of a scaling study: seconds, speed-up and efficiency, phases, against cores."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from rich.console import Group
from rich.text import Text

from admmctl.report import style
from admmctl.report.tables import Plain
from admmctl.report.text import count, interval, seconds
from admmctl.studies.statistics import MINIMUM, median
from admmctl.studies.study import CoreCount, Findings

_PHASES = {  # colours of the kinds of work, the same in every figure
    "product": style.BLUE,
    "gram": style.SKY,
    "elementwise": style.GREEN,
    "gradient": style.BLUE,
    "solve": style.ORANGE,
    "update": style.ORANGE,
    "reduce": style.VERMILLION,
    "start": style.PURPLE,
    "shuffle": style.PURPLE,
    "other": style.GREY,
}
_IDEAL: dict[str, Any] = {"color": style.BLACK, "linestyle": "--", "linewidth": 0.9}
_AMDAHL: dict[str, Any] = {"color": style.GREY, "linestyle": ":"}
# Under the axes, one entry a line: long labels have room and cover no point.
_LEGEND: dict[str, Any] = {"loc": "upper left", "fontsize": 7.5}


@dataclass(frozen=True)
class PaperPoint:
    """Seconds to a target that a paper reports: a point among ours, with a label that says whose it is."""

    cores: int
    seconds: float
    label: str


def scaling_plots(result: Findings, output: Path | None = None, paper: PaperPoint | None = None) -> list[Path]:
    """Three figures of a study, PNG and PDF each, beside its folder or with names that begin with ``output``.

    ``paper`` is a number of the study's dataset; it is drawn among seconds to a target. Raises UserError where
    the figures cannot be written.
    """
    style.check_output(output, "the first part of file names, for instance scaling")
    study = Path(result.study)
    base = style.without_suffix(output) if output is not None else study.parent / study.name
    figures = {"seconds": seconds_figure(result, paper), "speedup": _speed_up(result), "phases": _phases(result)}
    written = [
        style.save(figure, base.with_name(f"{base.name}-{name}"), result.data_made_up)
        for name, figure in figures.items()
    ]
    return [path for paths in written for path in paths]


def seconds_figure(result: Findings, paper: PaperPoint | None = None) -> Figure:
    """Seconds to the goal against cores, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(style.COLUMN_WIDTH * 1.35, style.COLUMN_WIDTH * 1.25))
    color, _ = style.look(result.method_kind)
    curve, curves = result.curve, [result.curve]
    if result.machine is not None:
        there, red = result.machine.curve, style.VERMILLION
        curves.append(there)
        label = style.plain(f"model, {result.machine.title}")
        axes.plot(there.cores, there.seconds, color=red, label=label)
        axes.plot(there.cores, there.amdahl, color=red, linestyle=":", linewidth=1)
        axes.plot(there.cores[1:], there.reduce[1:], color=red, linestyle="-.", linewidth=1)
    if len(curve.cores) > 1:
        axes.plot(curve.cores, curve.seconds, color=color, label="model, this machine")
        axes.plot(curve.cores, curve.ideal, label="ideal", **_IDEAL)
        axes.plot(curve.cores, curve.amdahl, label="Amdahl bound", linewidth=1.2, **_AMDAHL)
        bound: dict[str, Any] = {"color": style.GREY, "linestyle": "-.", "linewidth": 1}
        axes.plot(curve.cores[1:], curve.reduce[1:], label="communication bound", **bound)
    _measured(axes, result, "seconds")
    if paper is not None and result.goal == "target" and not result.weak:
        draw_theirs(axes, paper)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _core_ticks(axes, result)
    # The communication bound may lie far below everything else: it must not squeeze the rest.
    times = [t for point in result.points for t in point.seconds if math.isfinite(t)]
    lowest = min([*times, *(min(each.seconds) for each in curves)])
    reduced = [t for each in curves for t in each.reduce[1:] if t > 0]
    axes.set_ylim(bottom=max(0.6 * min([lowest, *reduced]), lowest / 30))
    _missed(axes, result)
    axes.set_xlabel("cores (one rank each)")
    axes.set_ylabel(_goal(result))
    axes.set_title(_title(result), loc="left")
    axes.legend(bbox_to_anchor=(-0.02, -0.16), **_LEGEND)
    return figure


def draw_theirs(axes: Axes, paper: PaperPoint) -> None:
    """A star at a paper's number."""
    star: dict[str, Any] = {"color": style.BLACK, "markersize": 9, "zorder": 6}
    axes.plot([paper.cores], [paper.seconds], "*", label=paper.label, **star)


def _speed_up(result: Findings) -> Figure:
    """Speed-up above, efficiency below, against the smallest core count."""
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(style.COLUMN_WIDTH * 1.35, style.COLUMN_WIDTH * 1.55), height_ratios=(3, 2)
    )
    color, _ = style.look(result.method_kind)
    curve, first = result.curve, result.points[0].cores
    most = max(point.cores for point in result.points)
    shown = [i for i, p in enumerate(curve.cores) if first <= p <= 2 * most]
    cores = np.array([curve.cores[i] for i in shown])
    factor = cores / first if result.weak else np.ones(len(cores))
    lines: list[tuple[list[float], dict[str, Any]]] = [
        (curve.seconds, {"color": color, "label": "model"}),
        (curve.amdahl, {**_AMDAHL, "label": "Amdahl bound"}),
    ]
    for seconds_there, look in lines:
        if len(cores) > 1:
            ratio = seconds_there[shown[0]] / np.array([seconds_there[i] for i in shown]) * factor
            above.plot(cores, ratio, **look)
            below.plot(cores, ratio / (cores / first), **look)
    ends = np.array([first, max(most, cores.max(initial=first))], dtype=float)
    above.plot(ends, ends / first, label="ideal", **_IDEAL)
    below.plot(ends, [1, 1], **_IDEAL)
    _measured(above, result, "speed_up")
    _measured(below, result, "efficiency")
    above.set_xscale("log", base=2)
    above.set_yscale("log", base=2)
    above.yaxis.set_major_formatter(FuncFormatter(_plain_number))
    above.yaxis.set_minor_locator(NullLocator())
    _core_ticks(below, result)
    _missed(above, result)
    highest = max((point.efficiency for point in result.points if math.isfinite(point.efficiency)), default=1)
    below.set_ylim(0, max(1.1, 1.05 * highest))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    below.set_xlabel("cores (one rank each)")
    above.set_ylabel(f"{'scaled ' if result.weak else ''}speed-up over {count(first, 'core')}")
    below.set_ylabel("efficiency")
    above.set_title(_title(result), loc="left")
    below.legend(*above.get_legend_handles_labels(), bbox_to_anchor=(-0.02, -0.32), **_LEGEND)
    figure.align_ylabels([above, below])
    return figure


def _phases(result: Findings) -> Figure:
    """Stacked bars of an iteration's phases, mean over ranks, by core count."""
    figure, axes = plt.subplots()
    points = result.points
    names = list(dict.fromkeys(name for point in points for name in point.phases))
    places, bottom = np.arange(len(points)), np.zeros(len(points))
    iterations = np.array([float(np.median(point.iterations)) for point in points])
    totals = np.array([sum(point.phases.values()) for point in points]) / iterations
    shares = bool(totals.max(initial=0) > 20 * totals.min(initial=np.inf))  # too far apart for one linear axis
    for name in sorted(names, key=lambda name: list(_PHASES).index(name) if name in _PHASES else len(_PHASES)):
        each = np.array([point.phases.get(name, 0.0) for point in points]) / iterations
        each = each / totals if shares else each
        hatch = "///" if name in ("reduce", "solve") else None
        look: dict[str, Any] = {"color": _PHASES.get(name, style.YELLOW), "edgecolor": "white", "linewidth": 0.4}
        axes.bar(places, each, 0.65, bottom, label=name, hatch=hatch, **look)
        bottom += each
    axes.set_xticks(places, [_cores(point) for point in points])
    shared = any(point.shared for point in points)
    axes.set_xlabel("cores (one rank each)" + ("; * shared: processor time" if shared else ""))
    axes.set_ylabel(f"{'share of an iteration' if shares else 'seconds per iteration'}, mean over ranks")
    axes.grid(axis="x", visible=False)
    axes.set_title(_title(result), loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    return figure


def _measured(axes: Axes, result: Findings, quantity: Literal["seconds", "speed_up", "efficiency"]) -> None:
    """Medians with 95 % intervals from six repeats on, every repeat below that; hollow where cores were shared.

    Pale where other work took the cores: such a point has seconds, and no speed-up.
    """
    base = result.points[0]
    color, marker = style.look(result.method_kind)

    def converted(point: CoreCount, time: float) -> float:
        """A time as seconds, speed-up or efficiency against the smallest core count's median."""
        if quantity == "seconds":
            return time
        factor = point.cores / base.cores
        ratio = base.median_s / time * (factor if result.weak else 1.0)
        return ratio if quantity == "speed_up" else ratio / factor

    for shared, disturbed in itertools.product((False, True), repeat=2):
        points = [p for p in result.points if (p.shared, p.disturbed) == (shared, disturbed)]
        points = [p for p in points if math.isfinite(p.median_s)]
        if not points or (quantity != "seconds" and (disturbed or base.disturbed)):
            continue
        for point in points:
            values = [converted(point, time) for time in point.seconds if math.isfinite(time)]
            if point.runs >= MINIMUM:
                middle = median([converted(point, time) for time in point.seconds])
                low, high = middle.low, middle.high
                if low is not None and high is not None and math.isfinite(high):
                    axes.plot([point.cores] * 2, [low, high], color=color, linewidth=1.2)
            elif len(values) > 1:
                axes.plot([point.cores] * len(values), values, "_", color=color, markersize=7, alpha=0.8)
        repeats = max(p.runs for p in points)
        label = f"{result.method}, median of {repeats}" if repeats > 1 else f"{result.method}, one run"
        label += " (shared cores: processor time)" if shared else ""
        label += " (disturbed: other work took the cores)" if disturbed else ""
        fill = "white" if shared else color
        look: dict[str, Any] = {"color": color, "markersize": 6, "markerfacecolor": fill, "zorder": 5}
        look |= {"alpha": 0.4} if disturbed else {}
        middles = [converted(p, p.median_s) for p in points]
        axes.plot([p.cores for p in points], middles, marker, label=style.plain(label), **look)


def _cores(point: CoreCount) -> str:
    return f"{point.cores}{'*' if point.shared else ''}{'!' if point.disturbed else ''}"


def _goal(result: Findings) -> str:
    if result.goal == "target":
        return f"seconds to {result.metric.replace('_', ' ')} {result.target:g} (train_s)"
    return f"seconds for {count(result.iterations or 0, 'iteration')} (train_s)"


def _title(result: Findings) -> str:
    first = result.points[0]
    each = f"{first.rows // first.cores:,} rows per rank, weak scaling" if result.weak else f"{first.rows:,} rows"
    return style.plain(f"{result.experiment}, {each}")


def _core_ticks(axes: Axes, result: Findings) -> None:
    """Ticks of cores: powers of ten on a long axis, else the counts that were measured. Seconds: plain numbers."""
    low, high = axes.get_xlim()
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    if high < 100 * low:
        counts = {point.cores for point in result.points}
        powers = {1 << power for power in range(14) if low <= 1 << power <= high}
        axes.xaxis.set_major_locator(FixedLocator(sorted(counts if len(counts) > 3 else counts | powers)))
        axes.xaxis.set_minor_locator(NullLocator())
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(FuncFormatter(_plain_number))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _missed(axes: Axes, result: Findings) -> None:
    """Draw a cross at the top for core counts whose median missed the target."""
    missed = [point for point in result.points if not math.isfinite(point.median_s)]
    if missed:
        label = "missed, reached " + ", ".join(f"{point.reached}/{point.runs}" for point in missed)
        top = axes.get_xaxis_transform()
        cores = [point.cores for point in missed]
        axes.plot(cores, [0.97] * len(missed), "x", color=style.BLACK, transform=top, label=label)


def _plain_number(value: float, position: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 1 and value == int(value) else f"{value:g}"


def scaling_table(result: Findings) -> Group:
    """A study as a table: a line per core count, the model's error, and warnings."""
    table = Plain("cores", "reached", "seconds", "95 % interval", "s/iteration", "speed-up", "efficiency")
    for point in result.points:
        middle = median(point.seconds)
        good = math.isfinite(point.efficiency)
        table.add_row(
            _cores(point),
            f"{point.reached if result.goal == 'target' else '-'}/{point.runs}",
            seconds(point.median_s),
            interval(middle.low, middle.high),
            seconds(point.seconds_per_iteration),
            f"{point.speed_up:.2f}" if good else "-",
            f"{100 * point.efficiency:.0f} %" if good else "-",
        )
    errors = [
        f"{left.cores} cores {100 * left.error:+.1f} %{'' if left.communication else ' (computation only)'}"
        for left in result.model.held_out
    ]
    return Group(
        Text(f"{result.study}: {_goal(result).removesuffix(' (train_s)')}", style="bold"),
        table,
        Text(""),
        Text("Medians over repeats; intervals from 6 repeats on. Seconds are train_s: optimisation only."),
        Text(f"Cost model, error on held-out core counts: {', '.join(errors)}."),
        *(Text(f"note: {warning}") for warning in result.warnings),
    )
