"""Figures of recorded runs: curves against time, and what a target took against a setting."""

import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.curves import (
    Group,
    Say,
    Values,
    as_errors,
    coinciding,
    error_of,
    grouped,
    labelled,
    medians,
    say_mixed_data,
    spread,
    targets,
    with_column,
)
from admmctl.runs.places import root
from admmctl.runs.reading import Curve
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import median

Axis = Literal["auto", "log", "linear"]
Against = Literal["seconds", "epochs", "iterations"]

# What a curve is drawn against: its column, and the name of the axis.
_AGAINST: dict[str, tuple[str, str]] = {
    "seconds": ("train_s", "seconds of training (train_s: optimisation only)"),
    "epochs": ("epoch", "epochs (rows seen / training rows)"),
    "iterations": ("iteration", "iterations (updates of the weights)"),
}
_WIDE = 20  # times that spread over this factor are drawn on a logarithmic axis
# Names of columns; others are called as in curve.csv.
_NAMES = {"train_loss": "training loss", "train_accuracy": "training accuracy", "test_auc": "test AUC"}
_MOST_TICKS = 8  # settings that have room under the axis
_TITLE = 52  # characters that fit on a line above the axes


@dataclass(frozen=True)
class View:
    """What is drawn of curves: the column ``of`` curve.csv, ``against`` seconds, epochs or iterations.

    ``axis`` is the scale of the latter, ``scale`` that of the values: ``auto`` is logarithmic but for accuracies;
    high ones are drawn as error rates, logarithmic (``curves.as_errors``). ``training`` adds the training accuracy
    as a thin line.
    """

    of: str = "test_accuracy"
    against: Against = "seconds"
    axis: Axis = "auto"
    scale: Axis = "auto"
    training: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of curve.csv that are drawn."""
        return (self.of, "train_accuracy")[: 1 + self.training]


@dataclass(frozen=True)
class Drawn:
    """What was drawn: a title; which curves coincide, if some do; whether accuracies are drawn as ``errors``."""

    title: str
    coinciding: str
    errors: bool

    def heading(self, title: bool = True) -> str:
        """What stands above the axes."""
        return "\n".join([self.title] * title + textwrap.wrap(self.coinciding, _TITLE))


def accuracy_plot(
    runs: Iterable[Recorded], output: Path | None, view: View = View(), say: Say = lambda text: None
) -> list[Path]:
    """A figure of curves: a line per method, a band over its repeats, and the target.

    It is written as PNG and PDF to ``output``, by default beside the runs (``accuracy``, or the column's name).
    ``say`` is called with runs that lack the column, and with runs that read different data. Raises UserError when
    no run has such a curve, or when the figure cannot be written.
    """
    style.check_output(output)
    drawn = drawable(runs, view, say)
    name = "accuracy" if view.of == "test_accuracy" else view.of
    return style.save(
        accuracy_figure(drawn, view), output or beside(drawn) / name, any(run.made_up for run in drawn)
    )


def drawable(runs: Iterable[Recorded], view: View, say: Say) -> list[Recorded]:
    """The runs that have such a curve. Raises UserError when none has."""
    if view.training and view.of != "test_accuracy":
        raise UserError(f"--training goes with the test accuracy; --of {view.of} is drawn by itself")
    begun = [run for run in runs if run.curve]
    if not begun:
        raise UserError("none of these runs has an evaluation yet: there is nothing to draw")
    drawn = with_column(begun, view.of, say)
    say_mixed_data(drawn, say)
    return drawn


def accuracy_figure(drawn: list[Recorded], view: View) -> Figure:
    """The figure of ``accuracy_plot``, of runs that are ``drawable``."""
    figure, axes = plt.subplots()
    axes.set_title(curves(axes, drawn, view).heading(), loc="left")
    style.legend_below(axes)  # in the axes it would lie on curves
    return figure


def beside(runs: Iterable[Recorded]) -> Path:
    """The folder of these runs' experiment; the results folder where they are of several."""
    experiments = {run.folder.parent.resolve(): run.folder.parent for run in runs}
    return next(iter(experiments.values())) if len(experiments) == 1 else root()


def curves(axes: Axes, runs: list[Recorded], view: View) -> Drawn:
    """Draw ``runs`` into ``axes``, with targets and the names of both axes. Raises UserError."""
    groups = grouped(runs)
    labels, title = labelled(groups)
    # A run that met its target before its first step has no time above zero, and no place on a log axis.
    column, time = _AGAINST[view.against]
    all_have_times = all(curve[-1][column] > 0 for group in groups for curve in group.curves)
    logarithmic = view.axis == "log" or (view.axis == "auto" and all_have_times and spread(groups, column) > _WIDE)
    if logarithmic:
        style.log_times(axes)
    values_log = _values_on_log(groups, view)
    axes.set_yscale("log" if values_log else "linear")
    errors = _with_errors(axes, groups, view)
    groups = errors or groups
    seen: dict[str, int] = {}
    lines: dict[str, Line2D] = {}
    for place, (group, label) in enumerate(zip(groups, labels, strict=True)):
        color, marker = style.look(group.kind)
        number = seen[group.kind] = seen.get(group.kind, -1) + 1  # of one colour: another line style
        look = {"color": color, "linestyle": style.LINES[number % len(style.LINES)]}
        marks = {
            "label": label,
            "marker": marker,
            "markerfacecolor": color if number == 0 else "white",
            "markevery": (0.1 * place / len(groups), 0.1),  # in turn, so that lines that coincide are all seen
        }
        if (line := _draw(axes, group, column, view.of, {**look, **marks})) is not None:
            lines[label] = line
        if view.training:
            _draw(axes, group, column, "train_accuracy", {**look, "linewidth": 0.8, "alpha": 0.7})
    for metric in view.columns:
        _draw_targets(axes, targets(runs, metric), metric == "train_accuracy", bool(errors))
    axes.set_xlabel(time)
    axes.set_ylabel(_name_of_values(view, bool(errors), values_log))
    if not logarithmic:
        axes.set_xlim(left=0)
    if values_log:
        style.log_axis(axes)
    return Drawn(title, coinciding(axes, lines), bool(errors))


def _values_on_log(groups: list[Group], view: View) -> bool:
    """Whether the values have a logarithmic axis. Raises UserError where one was asked for, and none can be."""
    of, scale = view.of, view.scale
    values = [row[of] for group in groups for curve in group.curves for row in curve]
    possible = any(value > 0 for value in values)
    if scale == "log" and not possible:
        raise UserError(f"--scale log: no value of {of} is above zero")
    automatic = possible and not of.endswith(("accuracy", "auc")) and not any(value < 0 for value in values)
    return scale == "log" or (scale == "auto" and automatic)


def _with_errors(axes: Axes, groups: list[Group], view: View) -> list[Group]:
    """The groups with errors for accuracies, and an axis for these; none where accuracies stay what they are."""
    if not view.of.endswith("accuracy") or view.scale != "auto":
        return []
    if not as_errors(group.final(view.of) for group in groups):
        return []
    found = [group.with_errors(view.columns) for group in groups]
    values = [row[of] for group in found for curve in group.curves for row in curve for of in view.columns]
    smallest = min((value for value in values if value > 0), default=None)
    if smallest is None:
        return []  # there is no error at all
    style.error_axis(axes, smallest if 0.0 in values else None)
    return found


def _name_of_values(view: View, errors: bool, logarithmic: bool) -> str:
    if view.training:
        return f"{'error, %' if errors else 'accuracy'}: test thick, training thin"
    if errors:
        return f"{_NAMES.get(view.of, view.of.replace('_', ' ')).removesuffix('accuracy')}error, %"
    return _NAMES.get(view.of, view.of.replace("_", " ")) + (" (log)" if logarithmic else "")


def _draw_targets(axes: Axes, found: list[float], training: bool, errors: bool) -> None:
    """A line across at each target. What it means is in the legend, where it collides with no curve."""
    shown = [f"{error_of(target):g} %" if errors else f"{target:g}" for target in found]
    label = f"{'training ' * training}target{'s' * (len(found) > 1)} {', '.join(shown)}: runs stop there"
    for place, target in enumerate(found):
        axes.axhline(
            error_of(target) if errors else target,
            color="black",
            linewidth=0.8,
            linestyle=(0, (4, 3)),
            label=None if place else label,
        )


def _draw(axes: Axes, group: Group, column: str, value: str, look: dict[str, Any]) -> Line2D | None:
    """A line; with repeats, the median at every time and a band: the 95 % interval, or all of a few runs.

    None where no value has a place on these axes.
    """
    positive = [
        name for name, scale in ((column, axes.get_xscale()), (value, axes.get_yscale())) if scale == "log"
    ]
    curves = [[row for row in curve if all(row[name] > 0 for name in positive)] for curve in group.curves]
    curves = [curve for curve in curves if curve]
    if not curves:
        return None
    if len(curves) == 1:
        times = np.array([row[column] for row in curves[0]])
        return _plot(axes, times, [row[value] for row in curves[0]], look)
    times = np.unique([row[column] for curve in curves for row in curve])
    # An untrained network has the value of its first row before that, too. Before a later first row none is known.
    known = [curve[0][column] for curve in curves if curve[0].get("iteration") != 0]
    times = times[times >= max(known, default=-math.inf)]
    values = np.array([_held(curve, times, column, value) for curve in curves])
    middles, low, high = medians(values)
    line = _plot(axes, times, middles, look)
    if "label" not in look:
        return line  # the thin line beside the one that counts has no band
    axes.fill_between(times, low, high, color=look["color"], alpha=0.18, linewidth=0)
    return line


def _plot(axes: Axes, times: Values, values: Values | list[float], look: dict[str, Any]) -> Line2D:
    """A line. Where it has markers, its end has one too: a line may be as short as one point."""
    (line,) = axes.plot(times, values, **look)
    if "marker" in look:
        end = {key: look[key] for key in ("color", "marker", "markerfacecolor")}
        axes.plot(times[-1:], values[-1:], linestyle="", **end)
    return line


def _held(curve: Curve, times: Values, column: str, value: str) -> Values:
    """A run's value at each of ``times``: of its last evaluation before, or else of its first."""
    place = np.maximum(np.searchsorted([row[column] for row in curve], times, side="right") - 1, 0)
    return np.array([row[value] for row in curve])[place]


def target_plot(
    runs: list[Recorded], over: str, unit: Against, output: Path | None, say: Say = lambda text: None
) -> list[Path]:
    """A figure of what it took to reach the target against a setting, a line per activation and kind of method.

    ``over`` is a numeric key of the method block; the first number of a list counts. Points are medians over
    seeds; a setting that missed the target is marked at the top. Raises UserError when no run has such a setting.
    """
    style.check_output(output)
    say_mixed_data(runs, say)
    figure = target_figure(runs, over, unit)
    return style.save(figure, output or beside(runs) / f"target-{over}", any(run.made_up for run in runs))


def target_figure(runs: list[Recorded], over: str, unit: Against) -> Figure:
    """The figure of ``target_plot``."""
    figure, axes = plt.subplots()
    settings_against_target(axes, runs, over, unit)
    style.legend_below(axes)
    return figure


def _activation(run: Recorded) -> str:
    named = run.config["network"].get("activation", "activation unknown")
    return ", ".join(named) if isinstance(named, list) else str(named)


def settings_against_target(
    axes: Axes,
    runs: Iterable[Recorded],
    over: str,
    unit: Against,
    line_of: Callable[[Recorded], str] = _activation,
) -> None:
    """Draw into ``axes`` what ``target_plot`` shows, runs of one ``line_of`` as a line.

    Raises UserError when no run has such a setting.
    """
    taken: dict[tuple[str, str], dict[float, list[float]]] = {}
    goals: set[str] = set()
    for run in runs:
        _, block = run.method_block
        setting = block.get(over)
        setting = setting[0] if isinstance(setting, list) and setting else setting
        target = run.number("target")
        if not isinstance(setting, int | float) or isinstance(setting, bool) or target is None:
            continue
        line = style.kind_of(run), line_of(run)
        taken.setdefault(line, {}).setdefault(float(setting), []).append(_to_target(run, unit))
        goals.add(f"{run.text('metric').replace('_', ' ')} {target:g}")
    if not taken:
        raise UserError(f"--over {over}: none of these runs has a target and such a number in its method block")
    top = max(
        (t for settings in taken.values() for ts in settings.values() for t in ts if np.isfinite(t)), default=1.0
    )
    for number, ((kind, name), settings) in enumerate(taken.items()):
        color, marker = style.look(kind)
        points = sorted((setting, median(times).value) for setting, times in settings.items())
        # Further lines of a kind have its colour and other markers: also one that lies on another is seen.
        before = sum(other == kind for other, _ in list(taken)[:number])
        marker = "oD^"[(before - 1) % 3] if before else marker
        look: dict[str, Any] = {"color": color, "marker": marker, "linestyle": style.LINES[number % 4]}
        fill = color if number == 0 else "none"
        reached = [point for point in points if np.isfinite(point[1])]
        label = style.plain(f"{kind}, {name}")
        axes.plot(*zip(*reached, strict=True) if reached else ([], []), markerfacecolor=fill, label=label, **look)
        missed = [setting for setting, time in points if not np.isfinite(time)]
        if missed:
            height = (1.05 + 0.045 * (number % 4)) * top  # misses of several lines must not hide each other
            axes.plot(missed, [height] * len(missed), "x+12"[number % 4], color=color, label=f"{label}: missed")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    measured = sorted({setting for settings in taken.values() for setting in settings})
    if len(measured) <= _MOST_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(measured))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0, top=1.22 * top)
    axes.set_xlabel(f"{over} (log)")
    axes.set_ylabel(f"{unit} to {', '.join(sorted(goals))}")


def _to_target(run: Recorded, unit: Against) -> float:
    """Seconds, epochs or iterations at the evaluation that met the target; infinity for a miss."""
    reached = run.number("time_to_target_s") is not None and run.curve
    return float(run.curve[-1][_AGAINST[unit][0]]) if reached else math.inf
