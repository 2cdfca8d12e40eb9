"""Figures from run folders."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.curves import (
    Curve,
    Group,
    grouped,
    labelled,
    method_block,
    say_mixed_data,
    spread,
    targets,
    with_column,
)
from admmctl.report.statistics import MINIMUM, median
from admmctl.runs.places import root
from admmctl.runs.recorded import read_config, read_curve, read_summary

Axis = Literal["auto", "log", "linear"]
Against = Literal["seconds", "epochs", "iterations"]

# What a curve is drawn against: its column, and the words on the axis.
_AGAINST: dict[str, tuple[str, str]] = {
    "seconds": ("train_s", "seconds of training (train_s: optimisation only)"),
    "epochs": ("epoch", "epochs (rows seen / training rows)"),
    "iterations": ("iteration", "iterations (updates of the weights)"),
}
_WIDE = 20  # times that spread over this factor are drawn on a logarithmic axis
# Other columns speak for themselves.
_WORDS = {"train_loss": "training loss", "train_accuracy": "training accuracy"}
_MOST_TICKS = 8  # settings that have room under the axis
_INSIDE = 4  # curves whose legend fits into the axes; that of more stands below


def accuracy_plot(
    folders: list[Path],
    output: Path | None,
    axis: Axis = "auto",
    against: Against = "seconds",
    training: bool = False,
    of: str = "test_accuracy",
    scale: Axis = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Test accuracy against seconds of training, a line per method, a band over its repeats, the target drawn.

    ``against`` takes epochs or iterations instead of seconds, ``axis`` is their scale; ``training`` adds the
    training accuracy, thinner. ``of`` takes another column of curve.csv, on an axis of ``scale``: logarithmic
    by itself unless it is an accuracy. ``say`` is told whose runs lack that column, and of
    runs that read different data.

    Written as PNG and PDF beside the runs (``accuracy.png``, or by the column), or to ``output``. Raises
    UserError when no run has such a curve, or when the figure cannot be written.
    """
    style.check_output(output)
    if training and of != "test_accuracy":
        raise UserError(f"--training goes with the test accuracy; --of {of} is drawn alone")
    runs = [(folder, curve) for folder in folders if (curve := read_curve(folder))]
    if not runs:
        raise UserError("none of these runs has an evaluation yet: there is nothing to draw")
    runs = with_column(runs, of, say)
    say_mixed_data((folder for folder, _ in runs), say)
    experiments = {folder.parent.resolve(): folder.parent for folder, _ in runs}
    figure, axes = plt.subplots()
    labels, title = curves(axes, runs, of, against, axis, scale, training)
    if len(labels) > _INSIDE:
        style.legend_below(axes, labels)
    else:
        axes.legend(loc="lower right" if of.endswith("accuracy") else "best")
    axes.set_title(title, loc="left")
    if output is None:
        name = "accuracy" if of == "test_accuracy" else of
        output = (next(iter(experiments.values())) if len(experiments) == 1 else root()) / name
    return _saved(figure, output)


def curves(
    axes: Axes,
    runs: list[tuple[Path, Curve]],
    of: str,
    against: Against,
    axis: Axis = "auto",
    scale: Axis = "auto",
    training: bool = False,
) -> tuple[list[str], str]:
    """Draw ``runs`` into ``axes``, which get their words and targets; returns the labels and a title."""
    groups = grouped(runs)
    labels, title = labelled(groups)
    # A run that met its target before its first step has no time above zero, and no place on a log axis.
    column, words = _AGAINST[against]
    all_have_times = all(curve[-1][column] > 0 for group in groups for curve in group.curves)
    logarithmic = axis == "log" or (axis == "auto" and all_have_times and spread(groups, column) > _WIDE)
    values_log = _values_on_log(groups, of, scale)
    seen: dict[str, int] = {}
    for place, (group, label) in enumerate(zip(groups, labels, strict=True)):
        color, marker = style.look(group.kind)
        number = seen[group.kind] = seen.get(group.kind, -1) + 1  # of one colour: another line style
        look = {"color": color, "linestyle": style.LINES[number % len(style.LINES)]}
        marks = {
            "label": label,
            "marker": marker,
            "markerfacecolor": color if number == 0 else "white",
            "markevery": (0.1 * place / len(groups), 0.1),  # in turn: lines that coincide are all seen
        }
        _draw(axes, group, column, of, logarithmic, values_log, {**look, **marks})
        if training:
            thin = {**look, "linewidth": 0.8, "alpha": 0.7}
            _draw(axes, group, column, "train_accuracy", logarithmic, values_log, thin)
    for metric in (of, "train_accuracy")[: 1 + training]:
        _draw_targets(axes, runs, metric)
    axes.set_xlabel(words)
    name = _WORDS.get(of, of.replace("_", " ")) + (" (log)" if values_log else "")
    axes.set_ylabel("accuracy: test thick, training thin" if training else name)
    if logarithmic:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    if values_log:
        style.log_axis(axes)
    return labels, title


def _values_on_log(groups: list[Group], of: str, scale: Axis) -> bool:
    """Whether the values have a logarithmic axis. Raises UserError where one was asked for, and none can be."""
    values = [row[of] for group in groups for curve in group.curves for row in curve]
    possible = any(value > 0 for value in values)
    if scale == "log" and not possible:
        raise UserError(f"--scale log: no value of {of} is above zero")
    automatic = possible and not of.endswith("accuracy") and not any(value < 0 for value in values)
    return scale == "log" or (scale == "auto" and automatic)


def _draw_targets(axes: Axes, runs: list[tuple[Path, Curve]], metric: str) -> None:
    for target in sorted(targets(runs, metric)):
        axes.axhline(target, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        of = "training target" if metric == "train_accuracy" else "target"
        axes.annotate(
            f"{of} {target:g}: runs stop there",
            (1.0, target),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            horizontalalignment="right",
            fontsize=8,
        )


def _draw(
    axes: Axes,
    group: Group,
    column: str,
    value: str,
    logarithmic: bool,
    values_log: bool,
    look: dict[str, Any],
) -> None:
    """One line; with repeats, the median at every time and a band: the 95 % interval, or all of a few runs."""

    def has_place(row: dict[str, float]) -> bool:
        return (row[column] > 0 or not logarithmic) and (row[value] > 0 or not values_log)

    curves = [[row for row in curve if has_place(row)] for curve in group.curves]
    curves = [curve for curve in curves if curve]
    if not curves:
        return
    if len(curves) == 1:
        times = np.array([row[column] for row in curves[0]])
        axes.plot(times, [row[value] for row in curves[0]], **look)
        return
    times = np.unique([row[column] for curve in curves for row in curve])
    # Before its first row an untrained network is what it is; of a later row nothing is known before it.
    known = [curve[0][column] for curve in curves if curve[0].get("iteration") != 0]
    times = times[times >= max(known, default=-math.inf)]
    values = np.array([_held(curve, times, column, value) for curve in curves])
    middles = [median(list(each)) for each in values.T]
    axes.plot(times, [m.value for m in middles], **look)
    if "label" not in look:
        return  # the thin line beside the one that counts has no band
    if len(curves) < MINIMUM:
        low, high = values.min(axis=0), values.max(axis=0)
    else:
        low, high = np.array([(m.low, m.high) for m in middles], dtype=float).T
    axes.fill_between(times, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _held(curve: Curve, times: NDArray[np.floating], column: str, value: str) -> NDArray[np.floating]:
    """A run's value at each of ``times``: of its last evaluation before, or else of its first."""
    place = np.maximum(np.searchsorted([row[column] for row in curve], times, side="right") - 1, 0)
    return np.array([row[value] for row in curve])[place]


def target_plot(
    folders: list[Path],
    over: str,
    unit: Against,
    output: Path | None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """What it took to reach the target against a setting, a line per activation and kind of method.

    ``over`` is a numeric key of the method block; a list counts by its first number. Medians over seeds; a
    setting that missed the target is marked at the top. Raises UserError when no run has such a setting.
    """
    style.check_output(output)
    say_mixed_data(folders, say)
    figure, axes = plt.subplots()
    settings_against_target(axes, folders, over, unit)
    axes.legend(loc="best")
    if output is None:
        parents = {folder.parent for folder in folders}
        output = (parents.pop() if len(parents) == 1 else root()) / f"target-{over}"
    return _saved(figure, output)


def settings_against_target(axes: Axes, folders: list[Path], over: str, unit: Against) -> None:
    """Draw what ``target_plot`` shows into ``axes``. Raises UserError when no run has such a setting."""
    taken: dict[tuple[str, str], dict[float, list[float]]] = {}
    targets: set[str] = set()
    for folder in folders:
        summary, config = read_summary(folder) or {}, read_config(folder)
        _, block = method_block(folder, summary)
        setting = block.get(over)
        setting = setting[0] if isinstance(setting, list) and setting else setting
        if not isinstance(setting, int | float) or isinstance(setting, bool) or summary.get("target") is None:
            continue
        activation = str(config["network"].get("activation", "activation unknown"))
        line = style.kind(summary["method"], block), activation
        taken.setdefault(line, {}).setdefault(float(setting), []).append(_to_target(folder, summary, unit))
        targets.add(f"{summary['metric'].replace('_', ' ')} {summary['target']:g}")
    if not taken:
        raise UserError(f"--over {over}: none of these runs has a target and such a number in its method block")
    top = max(
        (t for settings in taken.values() for ts in settings.values() for t in ts if np.isfinite(t)), default=1.0
    )
    for number, ((kind, activation), settings) in enumerate(taken.items()):
        color, marker = style.look(kind)
        points = sorted((setting, median(times).value) for setting, times in settings.items())
        look: dict[str, Any] = {"color": color, "marker": marker, "linestyle": style.LINES[number % 4]}
        fill = color if number == 0 else "white"
        reached = [point for point in points if np.isfinite(point[1])]
        label = style.plain(f"{kind}, {activation}")
        axes.plot(*zip(*reached, strict=True) if reached else ([], []), markerfacecolor=fill, label=label, **look)
        missed = [setting for setting, time in points if not np.isfinite(time)]
        if missed:
            height = (1.06 + 0.07 * (number % 2)) * top  # misses of two lines must not hide each other
            axes.plot(missed, [height] * len(missed), "x+"[number % 2], color=color, label=f"{label}: missed")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    measured = sorted({setting for settings in taken.values() for setting in settings})
    if len(measured) <= _MOST_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(measured))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0, top=1.2 * top)
    axes.set_xlabel(f"{over} (log)")
    axes.set_ylabel(f"{unit} to {', '.join(sorted(targets))}")


def _saved(figure: Figure, output: Path) -> list[Path]:
    """Write PNG and PDF. Raises UserError."""
    try:
        return style.save(figure, output)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written: {error.strerror}; name another place with --output"
        ) from None


def _to_target(folder: Path, summary: dict[str, Any], unit: Against) -> float:
    """Seconds, epochs or iterations at the evaluation that met the target; infinity for a miss."""
    if summary.get("time_to_target_s") is None:
        return math.inf
    curve = read_curve(folder)
    return float(curve[-1][_AGAINST[unit][0]]) if curve else math.inf
