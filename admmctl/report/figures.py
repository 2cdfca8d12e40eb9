"""Figures from run folders."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.statistics import MINIMUM, median
from admmctl.report.text import count
from admmctl.runs.record import read_curve, read_summary, root

Axis = Literal["auto", "log", "linear"]
Against = Literal["seconds", "epochs", "iterations"]
Curve = list[dict[str, float]]

# What a curve is drawn against: its column, and the words on the axis.
_AGAINST: dict[str, tuple[str, str]] = {
    "seconds": ("train_s", "seconds of training (train_s: optimisation only)"),
    "epochs": ("epoch", "epochs (rows seen / training rows)"),
    "iterations": ("iteration", "iterations (updates of the weights)"),
}
_WIDE = 20  # times that spread over this factor are drawn on a logarithmic axis


@dataclass(frozen=True)
class _Group:
    """Repeats of one method on one number of ranks."""

    experiment: str
    method: str
    kind: str
    ranks: int
    seeds: list[Any]
    curves: list[Curve]

    def label(self, several_experiments: bool) -> str:
        repeats = f"seed {self.seeds[0]}" if len(self.curves) == 1 else f"median of {len(self.curves)}"
        experiment = f"{self.experiment}: " if several_experiments else ""
        return style.plain(f"{experiment}{self.method}, {count(self.ranks, 'rank')}, {repeats}")


def accuracy_plot(
    folders: list[Path],
    output: Path | None,
    axis: Axis = "auto",
    against: Against = "seconds",
    training: bool = False,
) -> list[Path]:
    """Test accuracy against seconds of training, a line per method, a band over its repeats, the target drawn.

    ``against`` takes epochs or iterations instead of seconds; ``training`` adds the training accuracy, thinner.

    Written as PNG and PDF beside the runs (``accuracy.png``), or to ``output``. Raises UserError when no
    run has a curve, or when the figure cannot be written.
    """
    style.check_output(output)
    runs = [(folder, curve) for folder in folders if (curve := read_curve(folder))]
    if not runs:
        raise UserError("none of these runs has an evaluation yet: there is nothing to draw")
    experiments = {folder.parent.resolve(): folder.parent for folder, _ in runs}
    groups = _groups(runs)
    figure, axes = plt.subplots()
    # A run that met its target before its first step has no time above zero, and no place on a log axis.
    column, words = _AGAINST[against]
    all_have_times = all(curve[-1][column] > 0 for group in groups for curve in group.curves)
    logarithmic = axis == "log" or (axis == "auto" and all_have_times and _spread(groups, column) > _WIDE)
    seen: dict[str, int] = {}
    for group in groups:
        color, marker = style.look(group.kind)
        number = seen[group.kind] = seen.get(group.kind, -1) + 1  # of one colour: another line style
        label = group.label(len(experiments) > 1)
        look = {"color": color, "linestyle": style.LINES[number % len(style.LINES)]}
        _draw(axes, group, column, "test_accuracy", logarithmic, {**look, "label": label, "marker": marker})
        if training:
            _draw(axes, group, column, "train_accuracy", logarithmic, {**look, "linewidth": 0.8, "alpha": 0.7})
    for target in sorted(_targets(runs)):
        axes.axhline(target, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            f"target {target:g}: runs stop there",
            (1.0, target),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            horizontalalignment="right",
            fontsize=8,
        )
    axes.set_xlabel(words)
    axes.set_ylabel("accuracy: test thick, training thin" if training else "test accuracy")
    if logarithmic:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.legend(loc="lower right")
    axes.set_title(style.plain(", ".join(sorted({folder.parent.name for folder, _ in runs}))), loc="left")
    if output is None:
        output = (next(iter(experiments.values())) if len(experiments) == 1 else root()) / "accuracy"
    return _saved(figure, output)


def _draw(axes: Axes, group: _Group, column: str, value: str, logarithmic: bool, look: dict[str, Any]) -> None:
    """One line; with repeats, the median at every time and a band: the 95 % interval, or all of a few runs."""
    curves = [[row for row in curve if row[column] > 0 or not logarithmic] for curve in group.curves]
    curves = [curve for curve in curves if curve]
    if not curves:
        return
    if len(curves) == 1:
        times = np.array([row[column] for row in curves[0]])
        axes.plot(times, [row[value] for row in curves[0]], markevery=_every(len(times)), **look)
        return
    times = np.unique([row[column] for curve in curves for row in curve])
    times = times[times >= max(curve[0][column] for curve in curves)]
    values = np.array([_held(curve, times, column, value) for curve in curves])
    middles = [median(list(each)) for each in values.T]
    axes.plot(times, [m.value for m in middles], markevery=_every(len(times)), **look)
    if "label" not in look:
        return  # the thin line beside the one that counts has no band
    if len(curves) < MINIMUM:
        low, high = values.min(axis=0), values.max(axis=0)
    else:
        low, high = np.array([(m.low, m.high) for m in middles], dtype=float).T
    axes.fill_between(times, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _held(curve: Curve, times: NDArray[np.floating], column: str, value: str) -> NDArray[np.floating]:
    """A run's accuracy at each of ``times``: that of its last evaluation before, never interpolated."""
    place = np.searchsorted([row[column] for row in curve], times, side="right") - 1
    return np.array([row[value] for row in curve])[place]


def target_plot(folders: list[Path], over: str, unit: Against, output: Path | None) -> list[Path]:
    """What it took to reach the target against a setting, a line per activation and kind of method.

    ``over`` is a numeric key of the method block; a list counts by its first number. Medians over seeds; a
    setting that missed the target is marked at the top. Raises UserError when no run has such a setting.
    """
    style.check_output(output)
    taken: dict[tuple[str, str], dict[float, list[float]]] = {}
    targets: set[str] = set()
    for folder in folders:
        summary, config = read_summary(folder) or {}, _config(folder)
        _, block = _method(folder, summary)
        setting = block.get(over)
        setting = setting[0] if isinstance(setting, list) and setting else setting
        if not isinstance(setting, int | float) or isinstance(setting, bool) or summary.get("target") is None:
            continue
        line = str(block.get("kind", summary["method"])), str(config["network"]["activation"])
        taken.setdefault(line, {}).setdefault(float(setting), []).append(_to_target(folder, summary, unit))
        targets.add(f"{summary['metric'].replace('_', ' ')} {summary['target']:g}")
    if not taken:
        raise UserError(f"--over {over}: none of these runs has a target and such a number in its method block")
    figure, axes = plt.subplots()
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
    axes.set_ylim(bottom=0, top=1.2 * top)
    axes.set_xlabel(f"{over} (log)")
    axes.set_ylabel(f"{unit} to {', '.join(sorted(targets))}")
    axes.legend(loc="best")
    if output is None:
        parents = {folder.parent for folder in folders}
        output = (parents.pop() if len(parents) == 1 else root()) / f"target-{over}"
    return _saved(figure, output)


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


def _every(points: int) -> int:
    return max(1, points // 10)


def _groups(runs: list[tuple[Path, Curve]]) -> list[_Group]:
    groups: dict[tuple[str, str, int], _Group] = {}
    for folder, curve in runs:
        summary = read_summary(folder) or {}
        method, block = _method(folder, summary)
        ranks = int(summary.get("ranks") or 1)
        key = (str(folder.parent), method, ranks)
        kind = str(block.get("kind", method))
        group = groups.setdefault(key, _Group(folder.parent.name, method, kind, ranks, [], []))
        group.seeds.append(summary.get("seed", "?"))
        group.curves.append(curve)
    return list(groups.values())


def _spread(groups: list[_Group], column: str) -> float:
    """The longest training over the shortest."""
    ends = [curve[-1][column] for group in groups for curve in group.curves if curve[-1][column] > 0]
    return max(ends) / min(ends) if ends else 1.0


def _targets(runs: list[tuple[Path, Curve]]) -> set[float]:
    summaries = [read_summary(folder) or {} for folder, _ in runs]
    wanted = [s for s in summaries if s.get("target") is not None and s.get("metric") == "test_accuracy"]
    return {float(s["target"]) for s in wanted}


def _method(folder: Path, summary: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A run's method, and its block of settings."""
    try:
        method, block = next(iter(_config(folder)["methods"].items()))
    except (KeyError, TypeError, AttributeError, StopIteration):
        return str(summary.get("method", folder.name)), {}
    return method, block or {}


def _config(folder: Path) -> dict[str, Any]:
    """A run's resolved experiment; empty where it is damaged."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}
