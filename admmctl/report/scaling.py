"""Figures and tables of a scaling study: seconds, speed-up and efficiency, phases, against cores."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from rich.console import Group, RenderableType
from rich.text import Text

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.statistics import MINIMUM, median
from admmctl.report.tables import Plain
from admmctl.report.text import count, seconds

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


@dataclass(frozen=True)
class PaperPoint:
    """Seconds to a target that a paper reports: a point among ours, with a label that says whose it is."""

    cores: int
    seconds: float
    label: str


def scaling_plots(
    result: dict[str, Any], output: Path | None = None, paper: PaperPoint | None = None
) -> list[Path]:
    """Three figures of a study, PNG and PDF each, beside its folder or beside ``output``.

    ``paper`` is a number of the study's dataset; it is drawn among seconds to a target.

    Raises UserError where they cannot be written.
    """
    study = Path(result["study"])
    style.check_output(output, "the first part of file names, for instance scaling")
    base = output if output is not None else study.parent / study.name
    if base.suffix in (".png", ".pdf"):
        base = base.with_suffix("")
    figures = {"seconds": seconds_figure(result, paper), "speedup": _speed_up(result), "phases": _phases(result)}
    written = []
    try:
        for name, figure in figures.items():
            written += style.save(figure, base.with_name(f"{base.name}-{name}"))
    except OSError as error:
        raise UserError(f"{base}-*.png cannot be written: {error.strerror}") from None
    finally:
        for figure in figures.values():
            plt.close(figure)
    return written


def seconds_figure(result: dict[str, Any], paper: PaperPoint | None = None) -> Figure:
    """Seconds to the goal against cores, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(style.COLUMN_WIDTH * 1.35, style.COLUMN_WIDTH * 1.25))
    color, marker = style.look(result["method_kind"])
    curve = result["curve"]
    cores = np.array(curve["cores"])
    if result["machine"] is not None:
        there = result["machine"]["curve"]
        far = np.array(there["cores"])
        label = f"model, {result['machine']['title']}"
        axes.plot(far, there["seconds"], color=style.VERMILLION, label=style.plain(label))
        axes.plot(far, there["amdahl"], color=style.VERMILLION, linestyle=":", linewidth=1)
        axes.plot(far[1:], there["reduce"][1:], color=style.VERMILLION, linestyle="-.", linewidth=1)
    if len(cores) > 1:
        axes.plot(cores, curve["seconds"], color=color, label="model, this machine")
        axes.plot(cores, curve["ideal"], color=style.BLACK, linestyle="--", linewidth=0.9, label="ideal")
        axes.plot(cores, curve["amdahl"], color=style.GREY, linestyle=":", linewidth=1.2, label="Amdahl bound")
        axes.plot(
            cores[1:],
            curve["reduce"][1:],
            color=style.GREY,
            linestyle="-.",
            linewidth=1,
            label="communication bound",
        )
    _measured(axes, result, "seconds", color, marker)
    if paper is not None and result["goal"] == "target" and not result["weak"]:
        axes.plot(
            [paper.cores], [paper.seconds], "*", color=style.BLACK, markersize=9, label=paper.label, zorder=6
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    _core_ticks(axes, result)
    # The communication bound may lie far below everything else: it must not squeeze the rest.
    curves = [curve] if result["machine"] is None else [curve, result["machine"]["curve"]]
    times = [t for point in result["points"] for t in point["seconds"] if math.isfinite(t)]
    lowest = min([*times, *(min(c["seconds"]) for c in curves)])
    reduced = [t for c in curves for t in c["reduce"][1:] if t > 0]
    axes.set_ylim(bottom=max(0.6 * min([lowest, *reduced]), lowest / 30))
    _missed(axes, result)
    axes.set_xlabel("cores (one rank each)")
    axes.set_ylabel(_goal(result))
    axes.set_title(_title(result), loc="left")
    _legend_below(axes)
    return figure


def _speed_up(result: dict[str, Any]) -> Figure:
    """Speed-up above, efficiency below, against the smallest core count."""
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(style.COLUMN_WIDTH * 1.35, style.COLUMN_WIDTH * 1.55), height_ratios=(3, 2)
    )
    color, marker = style.look(result["method_kind"])
    curve, base = result["curve"], result["points"][0]
    first = base["cores"]
    most = max(point["cores"] for point in result["points"])
    shown = [i for i, p in enumerate(curve["cores"]) if first <= p <= 2 * most]
    cores = np.array([curve["cores"][i] for i in shown])
    factor = cores / first if result["weak"] else np.ones(len(cores))
    for name, look, label in (
        ("seconds", {"color": color}, "model"),
        ("amdahl", {"color": style.GREY, "linestyle": ":"}, "Amdahl bound"),
    ):
        if len(cores) > 1:
            ratio = curve[name][shown[0]] / np.array([curve[name][i] for i in shown]) * factor
            above.plot(cores, ratio, label=label, **look)
            below.plot(cores, ratio / (cores / first), **look)
    ends = np.array([first, max(most, cores.max(initial=first))], dtype=float)
    above.plot(ends, ends / first, color=style.BLACK, linestyle="--", linewidth=0.9, label="ideal")
    below.plot(ends, [1, 1], color=style.BLACK, linestyle="--", linewidth=0.9)
    _measured(above, result, "speed_up", color, marker)
    _measured(below, result, "efficiency", color, marker, label=False)
    above.set_xscale("log", base=2)
    above.set_yscale("log", base=2)
    above.yaxis.set_major_formatter(FuncFormatter(_plain_number))
    above.yaxis.set_minor_locator(NullLocator())
    _core_ticks(below, result)
    _missed(above, result)
    below.set_ylim(0, max(1.1, 1.05 * max(_values(result, "efficiency"), default=1)))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    below.set_xlabel("cores (one rank each)")
    above.set_ylabel(f"{'scaled ' if result['weak'] else ''}speed-up over {count(first, 'core')}")
    below.set_ylabel("efficiency")
    above.set_title(_title(result), loc="left")
    handles, labels = above.get_legend_handles_labels()
    below.legend(handles, labels, loc="upper left", bbox_to_anchor=(-0.02, -0.32), fontsize=7.5)
    figure.align_ylabels([above, below])
    return figure


def _phases(result: dict[str, Any]) -> Figure:
    """Where an iteration's time goes, mean over ranks, stacked, by core count."""
    figure, axes = plt.subplots()
    points = result["points"]
    names = list(dict.fromkeys(name for point in points for name in point["phases"]))
    places, bottom = np.arange(len(points)), np.zeros(len(points))
    totals = np.array([sum(p["phases"].values()) / float(np.median(p["iterations"])) for p in points])
    shares = bool(totals.max(initial=0) > 20 * totals.min(initial=np.inf))  # too far apart for one linear axis
    for name in sorted(names, key=lambda name: list(_PHASES).index(name) if name in _PHASES else len(_PHASES)):
        each = np.array([p["phases"].get(name, 0.0) / float(np.median(p["iterations"])) for p in points])
        each = each / totals if shares else each
        hatch = "///" if name in ("reduce", "solve") else None
        axes.bar(
            places,
            each,
            0.65,
            bottom,
            color=_PHASES.get(name, style.YELLOW),
            label=name,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
        )
        bottom += each
    axes.set_xticks(places, [f"{p['cores']}{'*' if p['shared'] else ''}" for p in points])
    axes.set_xlabel("cores (one rank each)" + ("; * shared: processor time" if _shared(result) else ""))
    what = "share of an iteration" if shares else "seconds per iteration"
    axes.set_ylabel(f"{what}, mean over ranks")
    axes.grid(axis="x", visible=False)
    axes.set_title(_title(result), loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    return figure


def _measured(axes: Axes, result: dict[str, Any], what: str, color: str, marker: str, label: bool = True) -> None:
    """Medians with 95 % intervals from six repeats on, every repeat below that; hollow where cores were shared."""
    for shared in (False, True):
        points = [p for p in result["points"] if p["shared"] == shared and math.isfinite(p["median_s"])]
        if not points:
            continue
        base = result["points"][0]
        for point in points:
            values = [_as(what, result, base, point, t) for t in point["seconds"] if math.isfinite(t)]
            if point["runs"] >= MINIMUM:
                middle = median([_as(what, result, base, point, t) for t in point["seconds"]])
                low, high = middle.low, middle.high
                if low is not None and high is not None and math.isfinite(high):
                    axes.plot([point["cores"]] * 2, [low, high], color=color, linewidth=1.2)
            elif len(values) > 1:
                axes.plot([point["cores"]] * len(values), values, "_", color=color, markersize=7, alpha=0.8)
        middles = [_as(what, result, base, p, p["median_s"]) for p in points]
        repeats = max(p["runs"] for p in points)
        words = f"{result['method']}, median of {repeats}" if repeats > 1 else f"{result['method']}, one run"
        axes.plot(
            [p["cores"] for p in points],
            middles,
            marker,
            color=color,
            markersize=6,
            markerfacecolor="white" if shared else color,
            label=style.plain(f"{words} (shared cores: processor time)" if shared else words) if label else None,
            zorder=5,
        )


def _as(what: str, result: dict[str, Any], base: dict[str, Any], point: dict[str, Any], time: float) -> float:
    """A time as seconds, speed-up or efficiency against the smallest core count's median."""
    if what == "seconds":
        return time
    factor = point["cores"] / base["cores"]
    ratio = float(base["median_s"] / time) * (factor if result["weak"] else 1.0)
    return ratio if what == "speed_up" else ratio / factor


def _values(result: dict[str, Any], what: str) -> list[float]:
    return [point[what] for point in result["points"] if math.isfinite(point[what])]


def _shared(result: dict[str, Any]) -> bool:
    return any(point["shared"] for point in result["points"])


def _goal(result: dict[str, Any]) -> str:
    if result["goal"] == "target":
        return f"seconds to {result['metric'].replace('_', ' ')} {result['target']:g} (train_s)"
    return f"seconds for {count(result['iterations'], 'iteration')} (train_s)"


def _title(result: dict[str, Any]) -> str:
    rows = result["points"][0]["rows"]
    each = f"{rows // result['points'][0]['cores']:,} rows per rank" if result["weak"] else f"{rows:,} rows"
    return style.plain(f"{result['experiment']}, {each}{', weak scaling' if result['weak'] else ''}")


def _core_ticks(axes: Axes, result: dict[str, Any]) -> None:
    """Cores: tens where the axis is long, else the counts that were measured. Seconds: plain numbers."""
    low, high = axes.get_xlim()
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    if high < 100 * low:
        counts = {point["cores"] for point in result["points"]}
        powers = {1 << power for power in range(14) if low <= 1 << power <= high}
        axes.xaxis.set_major_locator(FixedLocator(sorted(counts if len(counts) > 3 else counts | powers)))
        axes.xaxis.set_minor_locator(NullLocator())
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(FuncFormatter(_plain_number))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _missed(axes: Axes, result: dict[str, Any]) -> None:
    """Core counts whose median is a miss leave a cross at the top."""
    missed = [point for point in result["points"] if not math.isfinite(point["median_s"])]
    if missed:
        words = ", ".join(f"{p['reached']}/{p['runs']}" for p in missed)
        top = axes.get_xaxis_transform()
        cores = [p["cores"] for p in missed]
        axes.plot(
            cores, [0.97] * len(missed), "x", color=style.BLACK, transform=top, label=f"missed, reached {words}"
        )


def _plain_number(value: float, position: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 1 and value == int(value) else f"{value:g}"


def _legend_below(axes: Axes) -> None:
    """Under the axes, one entry a line: long labels have room and cover no point."""
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), fontsize=7.5)


def scaling_table(result: dict[str, Any]) -> Group:
    """A study for people: a line per core count, the model's error, and what to be wary of."""
    table = Plain()
    for heading in ("cores", "reached", "seconds", "95 % interval", "s/iteration", "speed-up", "efficiency"):
        table.add_column(heading, justify="right")
    for point in result["points"]:
        middle = median(point["seconds"])
        interval = (
            "-"
            if middle.low is None or middle.high is None
            else f"{seconds(middle.low)} to {seconds(middle.high)}"
        )
        reached = f"{point['reached']}/{point['runs']}" if result["goal"] == "target" else f"-/{point['runs']}"
        good = math.isfinite(point["efficiency"])
        table.add_row(
            f"{point['cores']}{'*' if point['shared'] else ''}",
            reached,
            seconds(point["median_s"]),
            interval,
            seconds(point["seconds_per_iteration"]),
            f"{point['speed_up']:.2f}" if good else "-",
            f"{100 * point['efficiency']:.0f} %" if good else "-",
        )
    goal = _goal(result).replace(" (train_s)", "")
    parts: list[RenderableType] = [Text(f"{result['study']}: {goal}", style="bold"), table, Text("")]
    parts.append(
        Text("Medians over repeats; intervals from 6 repeats on. Seconds are train_s: optimisation only.")
    )
    parts.append(Text(_model_words(result)))
    parts += [Text(f"note: {warning}") for warning in result["warnings"]]
    return Group(*parts)


def _model_words(result: dict[str, Any]) -> str:
    """The cost model's errors on core counts that it was not fitted to."""
    errors = []
    for left in result["model"]["held_out"]:
        partly = "" if left["communication"] else " (computation only)"
        errors.append(f"{left['cores']} cores {100 * left['error']:+.1f} %{partly}")
    return f"Cost model, error on held-out core counts: {', '.join(errors)}."
