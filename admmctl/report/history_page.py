"""The figure and the page of ``runs history``."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from admmctl import __version__
from admmctl.files import atomic
from admmctl.report import style
from admmctl.report.history import HEADINGS, History, Line, Point, cells, note_of
from admmctl.report.html import Cell, Column, Inside, Table, data_uri, render
from admmctl.report.output import writable

_MOST_NAMES = 24  # commits that have room for their names under the axis
_WIDE = 20  # seconds that spread over this factor are drawn on a logarithmic axis
_COLUMNS = [
    Column(heading, number=place in (3, 4), about=about)
    for place, (heading, about) in enumerate(
        zip(
            HEADINGS,
            (
                "of the checkout that the runs were made from",
                "of the commit",
                "seeds that met the target, of all",
                "train_s, median and 95 % interval",
                "of the last iterate, median and 95 % interval",
                "seconds over those of the commit before",
            ),
            strict=True,
        )
    )
]


@dataclass(frozen=True)
class Page:
    """What ``templates/history.html`` shows."""

    version: str
    experiment: str
    now: datetime
    inside: Inside
    image: str
    tables: list[Table]
    note: list[str]


def write_history(result: History, output: Path, made_up: bool) -> list[Path]:
    """Write OUTPUT.png, OUTPUT.pdf and OUTPUT.html; returns their paths. Raises UserError."""
    style.check_output(output, "the name of a file; .png, .pdf and .html are added to it")
    place = style.without_suffix(output, ".html")
    files = style.save(_figure(result), place, made_up)
    page = place.with_name(f"{place.name}.html")
    content = _page(result, files[0]).encode("utf-8")
    with writable(page), atomic(page, "wb") as file:
        file.write(content)
    return [*files, page]


def _figure(result: History) -> Figure:
    """Seconds above, accuracy below, over commits in the order of time; a line per method and machine."""
    order = {key: place for place, key in enumerate(dict.fromkeys(_key(point) for point in _in_time(result)))}
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 5.0))
    seen: dict[str, int] = {}
    for line, name in zip(result.lines, result.names(), strict=True):
        number = seen[line.kind] = seen.get(line.kind, -1) + 1  # of one colour: another line style
        places = [order[_key(point)] + 0.06 * number for point in line.points]
        _draw(above, line, places, _seconds, number, name)
        _draw(below, line, places, _percents, number, name)
    shown = [p.seconds for line in result.lines for p in line.points if 0 < p.seconds < math.inf]
    if shown and max(shown) > _WIDE * min(shown):
        above.set_yscale("log")
    else:
        above.set_ylim(bottom=0)
    goals = {line.goal for line in result.lines}
    above.set_ylabel(goals.pop() if len(goals) == 1 else "seconds")
    below.set_ylabel("test accuracy, %")
    names = [name for _, name in order]
    step = math.ceil(len(names) / _MOST_NAMES)
    below.set_xticks(range(0, len(names), step), names[::step], rotation=60 if len(names) > 6 else 0, fontsize=7)
    below.set_xlim(-0.5, len(names) - 0.5)
    if len(result.lines) > 1:  # below it would lie on the commits
        above.legend(loc="lower left", bbox_to_anchor=(-0.12, 1.0), borderaxespad=0.2)
    figure.suptitle(style.plain(f"{result.experiment}, by commit"), x=0.06, y=1.0, ha="left", va="bottom")
    return figure


def _in_time(result: History) -> list[Point]:
    points = (point for line in result.lines for point in line.points)
    return sorted(points, key=lambda point: (point.time, point.changed))


def _key(point: Point) -> tuple[str | None, str]:
    return point.commit, point.name


def _seconds(point: Point) -> list[float]:
    """The median and its interval; NaN for what is not there, a miss among it."""
    return _finite(point.seconds, point.seconds_low, point.seconds_high)


def _percents(point: Point) -> list[float]:
    found = _finite(point.accuracy, point.accuracy_low, point.accuracy_high)
    return [100 * value for value in found]


def _finite(*values: float | None) -> list[float]:
    return [math.nan if value is None or math.isinf(value) else value for value in values]


def _draw(
    axes: Axes, line: Line, places: list[float], of: Callable[[Point], list[float]], number: int, name: str
) -> None:
    """A line with intervals. Points of changed files, and of disturbed runs, are hollow; misses have none.

    An interval that has no upper end for misses is dotted.
    """
    colour, marker = style.look(line.kind)
    values = np.array([of(point) for point in line.points])
    shown = ~np.isnan(values[:, 0])
    at, values = np.array(places)[shown], values[shown]
    axes.plot(at, values[:, 0], color=colour, linestyle=style.LINES[number % 4], label=style.plain(name))
    axes.vlines(at, values[:, 1], values[:, 2], color=colour, linewidth=1)
    endless = np.isfinite(values[:, 1]) & np.isnan(values[:, 2])  # too many misses for an upper end
    axes.vlines(at[endless], values[endless, 1], 2 * values[endless, 0], color=colour, linewidth=1, linestyle=":")
    hollow = np.array([point.changed or point.disturbed for point in line.points])[shown]
    for these, fill in ((hollow, "white"), (~hollow, colour)):
        axes.plot(at[these], values[these, 0], linestyle="", marker=marker, color=colour, markerfacecolor=fill)


def _page(result: History, image: Path) -> str:
    tables = []
    for line, name in zip(result.lines, result.names(), strict=True):
        table = Table(f"{name}; {line.goal}", _COLUMNS)
        for point in reversed(line.points):  # the newest first, as one reads a log
            shown = cells(point, line)
            values = {3: point.seconds, 4: point.accuracy, 5: point.ratio}
            small = {0: point.subject}
            table.add(*(Cell(text, values.get(at), small=small.get(at)) for at, text in enumerate(shown)))
        tables.append(table)
    page = Page(
        __version__,
        result.experiment,
        datetime.now().astimezone(),
        Inside.of([]),
        data_uri(image.read_bytes(), "image/png"),
        tables,
        note_of(result).split("\n"),
    )
    return render("history.html", page=page)
