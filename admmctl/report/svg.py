"""Small drawings inside the page: test accuracy over seconds of training, as a line in a table and as a chart."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from admmctl.report import style
from admmctl.report.html import Html, join, tag
from admmctl.report.text import number, seconds

Point = tuple[float, float]
MOST = 60  # points of a line: more than its pixels can show
_WIDE = 20  # seconds that spread over this factor are drawn on a logarithmic axis, as in the figures


@dataclass(frozen=True)
class Line:
    """A run's curve: what it is called, the kind of method that its colour goes by, (train_s, accuracy).

    ``dashes`` tells methods of one kind apart, as line styles do in the figures.
    """

    label: str
    kind: str
    points: Sequence[Point]
    dashes: int = 0


def colour_class(kind: str) -> str:
    """The class of everything in the colour of a kind of method: the same as in the figures."""
    return f"c-{style.look(kind)[0].removeprefix('#').lower()}"


def colour_rules(kinds: Sequence[str]) -> str:
    """CSS of these colours. Black is the colour of text, so that it is seen in the dark."""
    colours = sorted({style.look(kind)[0] for kind in kinds})
    values = {colour: "var(--ink)" if colour == style.BLACK else colour for colour in colours}
    return "\n".join(f".c-{colour.removeprefix('#').lower()}{{--c:{value}}}" for colour, value in values.items())


def dot(kind: str) -> Html:
    """A spot in the colour of a method, beside its name."""
    return tag("span", class_=f"dot {colour_class(kind)}", aria_hidden="true")


def swatch(kind: str, dashes: int) -> Html:
    """A piece of a method's line, for a legend."""
    path = tag("path", d="M0 5H28", class_=_dashed(dashes))
    return tag("svg", path, class_=f"swatch {colour_class(kind)}", viewBox="0 0 28 10", aria_hidden="true")


def _dashed(dashes: int) -> str:
    return f"line dashes-{dashes % len(style.LINES)}" if dashes % len(style.LINES) else "line"


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most about ``most`` points, the first and the last among them."""
    step = max(1, -(-len(points) // most))
    return [*points[:-1:step], *points[-1:]]


def sparkline(line: Line, low: float, high: float) -> Html | None:
    """A curve as large as a word, accuracies from ``low`` to ``high``; None without two evaluations."""
    if len(line.points) < 2:
        return None
    width, height, rim = 96, 24, 2.5
    start, end = line.points[0][0], line.points[-1][0]
    x = _scale(start, end, rim, width - rim)
    y = _scale(low, high, height - rim, rim)
    path = _path(thinned(line.points), x, y)
    last = tag("circle", cx=_short(x(end)), cy=_short(y(line.points[-1][1])), r="2")
    words = (
        f"test accuracy from {number(line.points[0][1], 3)} to {number(line.points[-1][1], 3)} "
        f"in {seconds(end)} s of training"
    )
    drawn = (tag("title", words), tag("path", d=path), last)
    return tag(
        "svg", *drawn, class_=f"spark {colour_class(line.kind)}", viewBox=f"0 0 {width} {height}", role="img"
    )


def chart(
    lines: Sequence[Line], about: str, target: float | None = None, width: int = 720, height: int = 260
) -> Html | None:
    """Curves with axes and the accuracy aimed at, several runs of a method in one colour.

    None without two evaluations in any run.
    """
    lines = [line for line in lines if len(line.points) >= 2 and line.points[-1][0] > 0]
    if not lines:
        return None
    ends = [line.points[-1][0] for line in lines]
    logarithmic = max(ends) > _WIDE * min(ends)
    shown = [thinned([p for p in line.points if p[0] > 0 or not logarithmic], 3 * MOST) for line in lines]
    values = [value for points in shown for _, value in points] + ([] if target is None else [target])
    low, high = _range(min(values), max(values))
    first = min(points[0][0] for points in shown) if logarithmic else 0.0
    if logarithmic and first == max(ends):
        logarithmic, first = False, 0.0
    left, right, top, bottom = 52, width - 12, 10, height - 40
    bounds = (math.log10(first), math.log10(max(ends))) if logarithmic else (first, max(ends))
    place = _scale(*bounds, left, right)
    y = _scale(low, high, bottom, top)

    def x(value: float) -> float:
        return place(math.log10(value) if logarithmic else value)

    parts = [tag("title", about)]
    for tick in _ticks(low, high):
        parts.append(tag("path", d=f"M{left} {_short(y(tick))}H{right}", class_="grid"))
        parts.append(tag("text", f"{tick:.6g}", x=left - 6, y=_short(y(tick) + 4), text_anchor="end"))
    for tick in _decades(first, max(ends)) if logarithmic else _ticks(0.0, max(ends)):
        parts.append(tag("path", d=f"M{_short(x(tick))} {top}V{bottom}", class_="grid"))
        parts.append(tag("text", f"{tick:.6g}", x=_short(x(tick)), y=bottom + 16, text_anchor="middle"))
    scale = ", logarithmic" if logarithmic else ""
    middle = (left + right) / 2
    parts.append(tag("text", f"train_s, seconds{scale}", x=middle, y=height - 6, text_anchor="middle"))
    if target is not None:
        parts.append(
            tag(
                "path",
                tag("title", f"target {target:g}"),
                d=f"M{left} {_short(y(target))}H{right}",
                class_="target",
            )
        )
    for line, points in zip(lines, shown, strict=True):
        path = tag("path", d=_path(points, x, y), class_=_dashed(line.dashes))
        last = tag("circle", cx=_short(x(points[-1][0])), cy=_short(y(points[-1][1])), r="2.5")
        parts.append(tag("g", tag("title", line.label), path, last, class_=colour_class(line.kind)))
    return tag("svg", join(parts, "\n"), class_="chart", viewBox=f"0 0 {width} {height}", role="img")


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
    if high <= low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    start = math.ceil(low / step - 1e-9)
    return [count * step for count in range(start, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten within a range; with 2 and 5 times them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            return found
    return found
