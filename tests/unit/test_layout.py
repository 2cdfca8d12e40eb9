"""Tables are set as rich itself sets them, letter by letter and style by style."""

import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from admmctl.report import tables
from admmctl.report.layout import quick_lines
from admmctl.report.tables import Plain

CELLS = st.text(st.sampled_from("ab1-. \n[]éΩ界\u0301"), max_size=8)
COLUMNS = st.sampled_from(["left", "right"])


def console(room: int) -> Console:
    return Console(
        file=io.StringIO(), width=room, height=25, force_terminal=True, markup=False, highlight=False, emoji=False
    )


def looks(segments: Any) -> list[tuple[str, Style]]:
    """Letters with their styles, whatever the pieces that they come in. Bold blanks look like others."""
    none = Style.null()
    return [
        (letter, none if letter in " \n" else piece.style or none) for piece in segments for letter in piece.text
    ]


def plain(columns: list[tuple[str, str, list[str]]], fold: bool = False, **look: Any) -> Plain:
    texts = [name for name, side, _ in columns if side == "left"]
    table = Plain(**look)
    for name, side, _ in columns:
        table.add_column(name, justify=side, overflow="fold" if fold and name in texts[:1] else "ellipsis")
    for row in zip(*(cells for _, _, cells in columns), strict=True):
        table.add_row(*row)
    return table


@st.composite
def columns(draw: Any) -> list[tuple[str, str, list[str]]]:
    rows = draw(st.integers(0, 3))
    cells = st.lists(CELLS, min_size=rows, max_size=rows)
    return draw(st.lists(st.tuples(CELLS, COLUMNS, cells), min_size=1, max_size=4))


def both(table: Table, room: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """What is printed, and what rich would print."""
    ours = looks(console(room).render(table))
    with monkeypatch.context() as patch:
        patch.setattr(tables, "quick_lines", lambda *arguments: None)
        return ours, looks(console(room).render(table))


@settings(max_examples=300, deadline=None)
@example([("a b", "right", ["1 "]), ("", "left", ["\n"])], False, 300)
@given(columns(), st.booleans(), st.sampled_from([300, 20, 12]))
def test_lines_are_those_of_rich(columns: list[tuple[str, str, list[str]]], show_header: bool, room: int) -> None:
    for fold in (False, True):
        for padding in ((0, 2, 0, 0), (0, 1, 0, 1)):
            table = plain(columns, fold, show_header=show_header, padding=padding)
            with pytest.MonkeyPatch.context() as patch:
                ours, theirs = both(table, room, patch)
            assert ours == theirs


def test_facts_keep_the_style_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Plain.facts("of a run", padding=(0, 1))
    table.add_row("status", "reached")
    table.add_row("a longer name", "-")
    ours, theirs = both(table, 80, monkeypatch)
    assert ours == theirs
    assert ("s", Style(bold=True)) in ours


def test_a_column_of_long_names_is_folded_as_rich_folds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Plain("run", "status", "seconds", fold=["run"], left=["status"])
    table.add_row("a-name-of-no-blanks-p1-s0-0123abcd", "exhausted", "123")
    table.add_row("short", "reached", "0.5")
    assert quick_lines(table, console(40), 40) is not None
    for room in (30, 40, 49, 50, 51, 200):
        ours, theirs = both(table, room, monkeypatch)
        assert ours == theirs


@pytest.mark.parametrize("cell", [Text("styled", style="red"), "a\ttab", "a\x1b[31mcolour"])
def test_what_is_no_plain_text_is_left_to_rich(cell: Any) -> None:
    table = Plain("name")
    table.add_row(cell)
    assert quick_lines(table, console(80), 80) is None


@pytest.mark.parametrize("look", [{"title": "above"}, {"expand": True}, {"style": "red"}, {"show_lines": True}])
def test_frames_titles_and_styles_are_left_to_rich(look: dict[str, Any]) -> None:
    table = Table("name", **look)
    table.add_row("value")
    assert quick_lines(table, console(80), 80) is None


def test_lines_end_where_they_should() -> None:
    table = Plain("name", left=["name"])
    table.add_row("value")
    assert quick_lines(table, console(80), 80) == [
        Segment("name ", Style(bold=True)),
        Segment.line(),
        Segment("value"),
        Segment.line(),
    ]
