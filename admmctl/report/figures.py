"""Figures from run folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import yaml
from matplotlib.axes import Axes
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.statistics import MINIMUM, median
from admmctl.report.text import count
from admmctl.runs.record import read_curve, read_summary, root

Axis = Literal["auto", "log", "linear"]
Curve = list[dict[str, float]]

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


def accuracy_plot(folders: list[Path], output: Path | None, axis: Axis = "auto") -> list[Path]:
    """Test accuracy against seconds of training, a line per method, a band over its repeats, the target drawn.

    Written as PNG and PDF beside the runs (``accuracy.png``), or to ``output``. Raises UserError when no
    run has a curve, or when the figure cannot be written.
    """
    if output is not None and (output.name in ("", "..") or output.is_dir()):
        raise UserError(f"--output {output}: expected the name of a file; .png and .pdf are added to it")
    runs = [(folder, curve) for folder in folders if (curve := read_curve(folder))]
    if not runs:
        raise UserError("none of these runs has an evaluation yet: there is nothing to draw")
    experiments = {folder.parent.resolve(): folder.parent for folder, _ in runs}
    groups = _groups(runs)
    figure, axes = plt.subplots()
    # A run that met its target before its first step has no time above zero, and no place on a log axis.
    all_have_times = all(curve[-1]["train_s"] > 0 for group in groups for curve in group.curves)
    logarithmic = axis == "log" or (axis == "auto" and all_have_times and _spread(groups) > _WIDE)
    seen: dict[str, int] = {}
    for group in groups:
        color, marker = style.look(group.kind)
        number = seen[group.kind] = seen.get(group.kind, -1) + 1  # of one colour: another line style
        _draw(axes, group, logarithmic, group.label(len(experiments) > 1), color, marker, number)
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
    axes.set_xlabel("seconds of training (train_s: optimisation only)")
    axes.set_ylabel("test accuracy")
    if logarithmic:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.legend(loc="lower right")
    axes.set_title(style.plain(", ".join(sorted({folder.parent.name for folder, _ in runs}))), loc="left")
    if output is None:
        output = (next(iter(experiments.values())) if len(experiments) == 1 else root()) / "accuracy"
    try:
        return style.save(figure, output)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written: {error.strerror}; name another place with --output"
        ) from None


def _draw(axes: Axes, group: _Group, logarithmic: bool, label: str, color: str, marker: str, number: int) -> None:
    """One line; with repeats, the median at every time and a band: the 95 % interval, or all of a few runs."""
    curves = [[row for row in curve if row["train_s"] > 0 or not logarithmic] for curve in group.curves]
    curves = [curve for curve in curves if curve]
    if not curves:
        return
    look: dict[str, Any] = {"color": color, "linestyle": style.LINES[number % len(style.LINES)], "label": label}
    if len(curves) == 1:
        times = np.array([row["train_s"] for row in curves[0]])
        axes.plot(
            times, [row["test_accuracy"] for row in curves[0]], marker=marker, markevery=_every(len(times)), **look
        )
        return
    times = np.unique([row["train_s"] for curve in curves for row in curve])
    times = times[times >= max(curve[0]["train_s"] for curve in curves)]
    values = np.array([_held(curve, times) for curve in curves])
    middles = [median(list(column)) for column in values.T]
    axes.plot(times, [m.value for m in middles], marker=marker, markevery=_every(len(times)), **look)
    if len(curves) < MINIMUM:
        low, high = values.min(axis=0), values.max(axis=0)
    else:
        low, high = np.array([(m.low, m.high) for m in middles], dtype=float).T
    axes.fill_between(times, low, high, color=color, alpha=0.18, linewidth=0)


def _held(curve: Curve, times: NDArray[np.floating]) -> NDArray[np.floating]:
    """A run's accuracy at each of ``times``: that of its last evaluation before, never interpolated."""
    place = np.searchsorted([row["train_s"] for row in curve], times, side="right") - 1
    return np.array([row["test_accuracy"] for row in curve])[place]


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


def _spread(groups: list[_Group]) -> float:
    """The longest training over the shortest."""
    ends = [curve[-1]["train_s"] for group in groups for curve in group.curves if curve[-1]["train_s"] > 0]
    return max(ends) / min(ends) if ends else 1.0


def _targets(runs: list[tuple[Path, Curve]]) -> set[float]:
    summaries = [read_summary(folder) or {} for folder, _ in runs]
    wanted = [s for s in summaries if s.get("target") is not None and s.get("metric") == "test_accuracy"]
    return {float(s["target"]) for s in wanted}


def _method(folder: Path, summary: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A run's method, and its block of settings."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        method, block = next(iter(config["methods"].items()))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return str(summary.get("method", folder.name)), {}
    return method, block or {}
