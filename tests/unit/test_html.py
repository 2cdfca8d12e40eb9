"""Pieces of HTML: what comes from files is text, whatever it looks like."""

import math

import pytest
from support.recorded_runs import NASTY

from admmctl.report.html import Cell, Column, Html, Table, anchor, join, pairs, tag, text


def test_text_is_escaped_once_and_markup_is_left_alone() -> None:
    assert text(NASTY) == "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#x27;it&#x27;"
    assert text(text(NASTY)) == text(NASTY)
    assert text(Html("<b>")) == "<b>"
    assert tag("p", "<b>", Html("<i></i>"), None) == "<p>&lt;b&gt;<i></i></p>"


def test_attributes_are_escaped_too_and_may_be_left_out() -> None:
    assert tag("a", "x", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">x</a>'
    assert tag("p", class_="a", data_value=3, hidden=True, id=None, open=False) == (
        '<p class="a" data-value="3" hidden></p>'
    )
    assert tag("meta", name="viewport") == '<meta name="viewport">'


@pytest.mark.parametrize("name", ["a\x00b", "a\x1bb", "a\udce9b", "a\x85b"])
def test_what_no_page_can_hold_is_replaced(name: str) -> None:
    shown = text(name)
    assert len(shown) == 3
    assert shown[1] in "?\ufffd"
    shown.encode("utf-8")


def test_a_table_has_headings_a_caption_and_values_to_sort_by() -> None:
    table = Table(
        "Runs & more", [Column("run"), Column("s", number=True, about="sec<onds"), Column("x", sortable=False)]
    )
    table.rows = [["<a>", Cell("1.2", 1.234567), "-"], ["b", Cell("never", math.inf), "-"], ["c", Cell("-"), "-"]]
    table.rows.append(["d", Cell("-", math.nan), "-"])
    html = table.html()
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
    table.rows.append(["too short"])
    with pytest.raises(ValueError):
        table.html()


def test_small_builders() -> None:
    assert pairs([("a<", 1)]) == "<dl><dt>a&lt;</dt><dd>1</dd></dl>"
    assert join(["<", None, Html("<br>")], " ") == "&lt; <br>"
    assert anchor("Taylor et al. 2016", "<Fig> 1b") == "taylor-et-al-2016-fig-1b"
