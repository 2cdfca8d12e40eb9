"""HTML from small pieces. Text is escaped unless it is ``Html``: nothing read from a file becomes markup."""

import base64
import html
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_EMPTY = ("br", "img", "input", "link", "meta")  # elements that have no content and no end
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")  # characters that HTML has no place for


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: Any) -> Html:
    """Any value as text of a page. What no file in UTF-8 can hold, names in other encodings say, is a '?'."""
    if isinstance(value, Html):
        return value
    plain = str(value).encode("utf-8", "replace").decode("utf-8")
    return Html(html.escape(_CONTROL.sub("\ufffd", plain), quote=True))


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """An element. ``class_`` is the attribute class, ``data_value`` data-value; None and False leave one out."""
    words = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(attribute)
        elif value is not None and value is not False:
            words.append(f'{attribute}="{text(value)}"')
    start = f"<{' '.join(words)}>"
    return Html(start if name in _EMPTY else f"{start}{join(content)}</{name}>")


def join(parts: Iterable[Any], between: str = "") -> Html:
    """Pieces one after another; None is left out."""
    return Html(between.join(text(part) for part in parts if part is not None))


def data_uri(content: bytes, kind: str) -> str:
    """A file inside the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def anchor(*words: Any) -> str:
    """The id of a place in the page: letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", "-".join(map(str, words)).lower()).strip("-")


# --- tables


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number by which it is sorted; by its text where ``value`` is None."""

    shown: Any
    value: float | None = None
    class_: str | None = None


@dataclass(frozen=True)
class Column:
    """A column's heading. Numbers stand to the right; ``about`` is said of it when it is pointed at."""

    heading: str
    number: bool = False
    about: str | None = None
    sortable: bool = True
    class_: str | None = None


@dataclass
class Table:
    """A table that page.js makes sortable, in a box of its own that scrolls where the page is narrow.

    The first cell of a row is its heading.
    """

    caption: Any
    columns: list[Column]
    rows: list[list[Any]] = field(default_factory=list)
    class_: str | None = None

    def html(self) -> Html:
        head = tag("tr", *(self._heading(column) for column in self.columns))
        body = (tag("tr", *self._cells(row)) for row in self.rows)
        inside = (tag("caption", self.caption), tag("thead", head), tag("tbody", join(body, "\n")))
        table = tag("table", *inside, class_=" ".join(filter(None, ("sortable", self.class_))))
        # With a tab stop, so that a keyboard can scroll it; a box with one needs a name.
        return tag("div", table, class_="scroll", tabindex="0", role="group", aria_label=_plain(self.caption))

    @staticmethod
    def _heading(column: Column) -> Html:
        classes = " ".join(filter(None, ("number" if column.number else None, column.class_)))
        return tag(
            "th",
            column.heading,
            scope="col",
            class_=classes or None,
            title=column.about,
            data_sort=None if not column.sortable else "number" if column.number else "text",
        )

    def _cells(self, row: list[Any]) -> list[Html]:
        cells = []
        for place, (column, item) in enumerate(zip(self.columns, row, strict=True)):
            cell = item if isinstance(item, Cell) else Cell(item)
            classes = ("number" if column.number else None, column.class_, cell.class_)
            cells.append(
                tag(
                    "td" if place else "th",
                    cell.shown,
                    scope=None if place else "row",
                    class_=" ".join(filter(None, classes)) or None,
                    data_value=_sortable(cell.value),
                )
            )
        return cells


def _plain(caption: Any) -> str:
    """A caption without its markup."""
    return html.unescape(re.sub("<[^>]*>", "", str(caption))) if isinstance(caption, Html) else str(caption)


def _sortable(value: float | None) -> str | None:
    """A number as JavaScript reads it; none for what is not a number."""
    if value is None or math.isnan(value):
        return None
    return ("-" if value < 0 else "") + "Infinity" if math.isinf(value) else f"{value:.12g}"


def pairs(items: Iterable[tuple[Any, Any]]) -> Html:
    """Names and what they are."""
    return tag("dl", *(join((tag("dt", name), tag("dd", value))) for name, value in items))


def details(summary: Any, *content: Any, id_: str | None = None, class_: str | None = None) -> Html:
    """A box that opens when its summary is clicked."""
    return tag("details", tag("summary", summary), *content, id=id_, class_=class_)
