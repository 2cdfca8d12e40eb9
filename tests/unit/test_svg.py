"""Curves inside the page: where their points are, and runs that have none."""

import math

import pytest

from admmctl.report import style
from admmctl.report.svg import Line, chart, colour_class, colour_rules, sparkline, thinned


def places(path: str) -> list[float]:
    """The points of a path, x and y in turn."""
    return [float(word) for pair in path.removeprefix("M").split("L") for word in pair.split()]


def test_a_sparkline_goes_up_where_accuracy_does() -> None:
    drawn = sparkline(Line("a", "admm", [(0.0, 0.5), (1.0, 0.7), (2.0, 0.9)]), 0.5, 0.9)
    assert drawn is not None
    x0, y0, x1, y1, x2, y2 = places(drawn.path)
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    assert drawn.about == "test accuracy from 0.500 to 0.900 in 2.00 s of training"
    assert drawn.colour == colour_class("admm")
    assert tuple(map(float, drawn.end)) == (x2, y2)


def test_without_two_evaluations_nothing_is_drawn() -> None:
    assert sparkline(Line("a", "admm", []), 0, 1) is None
    assert sparkline(Line("a", "admm", [(0.0, 0.5)]), 0, 1) is None
    assert chart([Line("a", "admm", [(0.0, 0.5)])], "x") is None
    assert chart([Line("a", "admm", [(0.0, 0.5), (0.0, 0.6)])], "x") is None
    assert chart([], "x") is None


def test_equal_accuracies_and_times_have_a_place() -> None:
    drawn = sparkline(Line("a", "admm", [(0.0, 0.5), (1.0, 0.5)]), 0.5, 0.5)
    assert drawn is not None
    assert places(drawn.path)[1::2] == [12.0, 12.0]
    assert "nan" not in str(chart([Line("a", "admm", [(0.0, 0.5), (1.0, 0.5)])], "x"))


def test_seconds_that_spread_widely_have_a_logarithmic_axis() -> None:
    near = [Line("a", "admm", [(0.0, 0.1), (1.0, 0.5)]), Line("b", "sgd", [(0.0, 0.1), (5.0, 0.5)])]
    far = [*near, Line("<c>", "cg", [(0.0, 0.1), (1.0, 0.3), (100.0, 0.5)])]
    plain, drawn = chart(near, "x"), chart(far, "x", target=0.45)
    assert plain is not None
    assert drawn is not None
    assert (plain.axis, drawn.axis) == ("train_s, seconds", "train_s, seconds, logarithmic")
    assert [curve.label for curve in drawn.curves] == ["a", "b", "<c>"]
    assert plain.target is None
    assert drawn.target is not None
    assert drawn.target[0] == 0.45
    curve = places(drawn.curves[-1].path)
    assert len(curve) == 4
    assert curve[0] < curve[2]  # (1, 0.3) before (100, 0.5); zero has no place there


def test_methods_of_one_kind_have_lines_of_their_own() -> None:
    lines = [Line(str(place), "sgd", [(0.0, 0.1), (1.0, 0.5)], place) for place in range(5)]
    drawn = chart(lines, "x")
    assert drawn is not None
    dashes = " ".join(curve.dashes.removeprefix("line ") for curve in drawn.curves)
    assert dashes == "line dashes-1 dashes-2 dashes-3 line"


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    points = [(float(place), 0.5) for place in range(1000)]
    kept = thinned(points)
    assert len(kept) <= 61
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert thinned(points[:3]) == points[:3]


def test_methods_have_the_colours_of_the_figures_and_black_turns_with_the_page() -> None:
    rules = colour_rules(["admm", "linear", "admm", "an unknown one"])
    assert rules.count("\n") == 2
    assert f".c-{style.BLUE[1:].lower()}{{--c:{style.BLUE}}}" in rules
    assert ".c-000000{--c:var(--ink)}" in rules


def test_high_accuracies_are_charted_as_errors_as_in_the_figures() -> None:
    lines = [Line("a", "admm", [(0.0, 0.5), (1.0, 0.9), (2.0, 0.99)]), Line("b", "sgd", [(0.0, 0.5), (2.0, 1.0)])]
    drawn, of_one, plain = (
        chart(lines, "x", target=0.9),
        chart(lines[:1], "x"),
        chart([Line("c", "sgd", [(0.0, 0.5), (2.0, 0.95)])], "x"),
    )
    assert drawn is not None
    assert of_one is not None
    assert plain is not None
    assert (drawn.of, plain.of) == ("test error, %, logarithmic", "test accuracy")
    first, middle, last = places(drawn.curves[0].path)[1::2]
    assert first < middle < last  # errors fall
    assert (middle - first) / (last - middle) == pytest.approx(math.log(5) / math.log(10), abs=0.01)
    assert drawn.target is not None
    assert drawn.target[1].split()[1].startswith(f"{middle:g}H")
    # An error of 0 stands at the lower end, and is called that.
    levels = {tick.label: float(tick.y) - 4 for tick in drawn.ticks if tick.anchor == "end"}
    assert places(drawn.curves[1].path)[-1] == levels["0"] == max(levels.values())
    assert "0" not in [tick.label for tick in of_one.ticks if tick.anchor == "end"]
