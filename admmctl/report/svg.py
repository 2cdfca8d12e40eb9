"""Small drawings inside the page: test accuracy over seconds of training, as a line in a table and as a chart.

High accuracies are drawn as error rates in charts, as in the figures.

This module computes where everything stands, and the texts; ``templates/drawings.html`` draws it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from admmctl.report import style
from admmctl.report.curves import as_errors, error_of
from admmctl.report.text import number, seconds

Point = tuple[float, float]
MOST = 60  # points of a line: more than its pixels can show
_WIDE = 20  # seconds that spread over this factor are drawn on a logarithmic axis, as in the figures


@dataclass(frozen=True)
class Line:
    """A run's curve: its label, the kind of its method, which gives the colour, and points (train_s, accuracy).

    ``dashes`` differs for methods of one kind, as line styles do in the figures.
    """

    label: str
    kind: str
    points: Sequence[Point]
    dashes: int = 0


@dataclass(frozen=True)
class Spark:
    """A curve as large as a word, and where it ends."""

    about: str
    colour: str
    path: str
    end: tuple[str, str]
    width: int = 96
    height: int = 24


@dataclass(frozen=True)
class Tick:
    """A line across a chart and the number beside it; ``anchor`` is the side of the number that is at x."""

    path: str
    label: str
    x: str
    y: str
    anchor: str


@dataclass(frozen=True)
class Curve:
    """A run's line in a chart, and where it ends."""

    label: str
    colour: str
    dashes: str
    path: str
    end: tuple[str, str]


@dataclass(frozen=True)
class Chart:
    """Curves ``of`` something, with axes; ``target`` is the accuracy aimed at and the path of its line."""

    about: str
    of: str
    width: int
    height: int
    ticks: list[Tick]
    axis: str
    middle: float
    target: tuple[float, str] | None
    curves: list[Curve]


def colour_class(kind: str) -> str:
    """The CSS class for the colour of a kind of method, which is the same as in the figures."""
    return f"c-{style.look(kind)[0].removeprefix('#').lower()}"


def colour_rules(kinds: Sequence[str]) -> str:
    """CSS of these colours. In place of black it has the colour of text, which a dark page makes light."""
    colours = sorted({style.look(kind)[0] for kind in kinds})
    values = {colour: "var(--ink)" if colour == style.BLACK else colour for colour in colours}
    return "\n".join(f".c-{colour.removeprefix('#').lower()}{{--c:{value}}}" for colour, value in values.items())


def dashed(dashes: int) -> str:
    """The CSS class of a line: which of the dashes it has."""
    number = dashes % len(style.LINES)
    return f"line dashes-{number}" if number else "line"


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most about ``most`` points, the first and the last among them."""
    step = max(1, -(-len(points) // most))
    return [*points[:-1:step], *points[-1:]]


def sparkline(line: Line, low: float, high: float) -> Spark | None:
    """A curve with accuracies from ``low`` to ``high``; None without two evaluations."""
    if len(line.points) < 2:
        return None
    rim = 2.5
    (start, first), (end, last) = line.points[0], line.points[-1]
    x = _scale(start, end, rim, Spark.width - rim)
    y = _scale(low, high, Spark.height - rim, rim)
    about = f"test accuracy from {number(first, 3)} to {number(last, 3)} in {seconds(end)} s of training"
    path = _path(thinned(line.points), x, y)
    return Spark(about, colour_class(line.kind), path, (_short(x(end)), _short(y(last))))


def chart(
    lines: Sequence[Line], about: str, target: float | None = None, width: int = 720, height: int = 260
) -> Chart | None:
    """Curves with axes, and with a line at the ``target`` accuracy; None where no run has two evaluations."""
    lines = [line for line in lines if len(line.points) >= 2 and line.points[-1][0] > 0]
    if not lines:
        return None
    ends = [line.points[-1][0] for line in lines]
    logarithmic = max(ends) > _WIDE * min(ends)
    shown = [thinned([p for p in line.points if p[0] > 0 or not logarithmic], 3 * MOST) for line in lines]
    first = min(points[0][0] for points in shown) if logarithmic else 0.0
    if logarithmic and first == max(ends):
        logarithmic, first = False, 0.0
    left, right, top, bottom = 52, width - 12, 24, height - 40
    bounds = (math.log10(first), math.log10(max(ends))) if logarithmic else (first, max(ends))
    place = _scale(*bounds, left, right)
    values = [value for points in shown for _, value in points] + ([] if target is None else [target])
    of, y, levels = _heights(values, as_errors(line.points[-1][1] for line in lines), bottom, top)

    def x(value: float) -> float:
        return place(math.log10(value) if logarithmic else value)

    ticks = [
        Tick(f"M{left} {_short(height)}H{right}", f"{level:.6g}", str(left - 6), _short(height + 4), "end")
        for level, height in levels
    ]
    ticks += [
        Tick(f"M{_short(x(tick))} {top}V{bottom}", f"{tick:.6g}", _short(x(tick)), str(bottom + 16), "middle")
        for tick in (style.round_numbers(first, max(ends)) if logarithmic else _ticks(0.0, max(ends)))
    ]
    curves = [
        Curve(
            line.label,
            colour_class(line.kind),
            dashed(line.dashes),
            _path(points, x, y),
            (_short(x(points[-1][0])), _short(y(points[-1][1]))),
        )
        for line, points in zip(lines, shown, strict=True)
    ]
    axis = f"train_s, seconds{', logarithmic' if logarithmic else ''}"
    aim = None if target is None else (target, f"M{left} {_short(y(target))}H{right}")
    return Chart(about, of, width, height, ticks, axis, (left + right) / 2, aim, curves)


def _heights(
    accuracies: Sequence[float], errors: bool, bottom: float, top: float
) -> tuple[str, Callable[[float], float], list[Point]]:
    """What is drawn of accuracies, where each stands, and round numbers with their places.

    Errors are on a logarithmic axis; an error of 0 stands at its lower end.
    """
    if not errors:
        low, high = _range(min(accuracies), max(accuracies))
        y = _scale(low, high, bottom, top)
        return "test accuracy", y, [(tick, y(tick)) for tick in _ticks(low, high)]
    found = sorted(map(error_of, accuracies))
    low = next((error for error in found if error > 0), 1.0)
    high, zero = max(found[-1], low), found[0] == 0
    scale = _scale(math.log10(low / (2 if zero else 1.05)), math.log10(1.05 * high), bottom, top)
    levels = [(tick, scale(math.log10(tick))) for tick in style.round_numbers(low, high)]
    levels += [(0.0, bottom)] if zero else []

    def height(accuracy: float) -> float:
        error = error_of(accuracy)
        return scale(math.log10(error)) if error > 0 else bottom

    return "test error, %, logarithmic", height, levels


def _path(points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    return "M" + "L".join(f"{_short(x(time))} {_short(y(value))}" for time, value in points)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """From values to places; a range of one value is drawn in the middle."""
    if high <= low:
        return lambda value: (start + end) / 2
    return lambda value: start + (end - start) * (value - low) / (high - low)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _range(low: float, high: float) -> tuple[float, float]:
    """A little air around values; accuracies stay within 0 and 1."""
    air = 0.05 * (high - low) or 0.01
    return max(0.0, low - air), min(1.0, high + air) if high <= 1 else high + air


def _ticks(low: float, high: float) -> list[float]:
    """Five or so round numbers within a range."""
    rim = 1e-9 * (high - low)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [tick for tick in ticks if low - rim <= tick <= high + rim]
