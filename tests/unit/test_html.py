"""Tables and other pieces of the page: what comes from files is text, whatever it looks like."""

import math
from typing import Any

import pytest
from jinja2 import DictLoader, UndefinedError
from markupsafe import escape
from support.recorded_runs import NASTY

from admmctl.report.html import Cell, Column, Table, anchor, render, templates
from admmctl.report.svg import Spark


def drawn(table: Table) -> str:
    """A table's markup."""
    return str(templates().from_string('{% from "table.html" import table %}{{ table(of) }}').render(of=table))


def cell(item: Any) -> str:
    """The markup of a cell in the second column, which has numbers."""
    table = Table("x", [Column("a"), Column("b", number=True)])
    table.add("first", item)
    return drawn(table).partition("first</th>")[2].partition("</tr>")[0]


@pytest.fixture
def hello(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a template that shows ``name`` as text and as an attribute."""
    environment = templates().overlay(loader=DictLoader({"hello": '<p title="{{ name }}">{{ name }}</p>'}))
    monkeypatch.setattr("admmctl.report.html.templates", lambda: environment)
    return "hello"


def test_text_and_attributes_are_escaped_once(hello: str) -> None:
    words = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; &#39;it&#39;"
    assert render(hello, name=NASTY) == f'<p title="{words}">{words}</p>'


def test_a_name_that_is_not_given_is_an_error(hello: str) -> None:
    with pytest.raises(UndefinedError, match="name"):
        render(hello)


@pytest.mark.parametrize("name", ["a\x00b", "a\x1bb", "a\udce9b", "a\x85b"])
def test_what_no_page_can_hold_is_replaced(hello: str, name: str) -> None:
    shown = render(hello, name=name).partition(">")[2].removesuffix("</p>")
    assert len(shown) == 3
    assert shown[1] in "?\ufffd"
    shown.encode("utf-8")


def test_a_table_has_headings_a_caption_and_values_to_sort_by() -> None:
    columns = [Column("run"), Column("s", number=True, about="sec<onds"), Column("x", sortable=False)]
    table = Table("Runs & more", columns)
    table.add("<a>", Cell("1.2", 1.234567), "-")
    table.add("b", Cell("never", math.inf), "-")
    table.add("c", Cell("-"), "-")
    table.add("d", Cell("-", math.nan), "-")
    html = drawn(table)
    assert "<caption>Runs &amp; more</caption>" in html
    assert 'aria-label="Runs &amp; more"' in html
    assert html.count('scope="col"') == 3
    assert html.count('scope="row"') == 4
    assert '<th scope="row">&lt;a&gt;</th>' in html
    assert 'title="sec&lt;onds"' in html
    assert '<td class="number" data-value="1.234567">1.2</td>' in html
    assert '<td class="number" data-value="Infinity">never</td>' in html
    assert html.count('<td class="number">-</td>') == 2
    assert html.count("data-sort=") == 2
    with pytest.raises(ValueError):
        table.add("too short")


def test_a_cell_is_text_a_link_a_curve_or_has_small_print() -> None:
    start = '<td class="number">'
    nasty = escape(NASTY)
    assert cell(Cell(NASTY, href=f"#{NASTY}")) == f'{start}<a href="#{nasty}">{nasty}</a></td>'
    assert cell(Cell("no", look="other")) == f'{start}<span class="other">no</span></td>'
    assert cell(Cell("", small="why")) == f'{start}<small class="other">why</small></td>'
    assert cell(Cell("2", class_="other", small="why")) == (
        '<td class="number other">2<br><small>why</small></td>'
    )
    assert cell(Cell("a", colour="c-1")) == f'{start}<span class="dot c-1" aria-hidden="true"></span>a</td>'
    assert cell(Cell("-", spark=Spark("up", "c-1", "M0 1L1 0", ("1", "0")))).startswith(
        f'{start}<svg class="spark c-1" viewBox="0 0 96 24" role="img">'
    )


def test_anchors_are_letters_digits_and_dashes() -> None:
    assert anchor("Taylor et al. 2016: <Fig> 1b") == "taylor-et-al-2016-fig-1b"
