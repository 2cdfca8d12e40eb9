"""What the page's templates are given: tables, ids, files as addresses. The markup is in ``templates``.

Jinja escapes all that a template shows: nothing read from a file becomes markup.
"""

import base64
import hashlib
import math
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from admmctl.report.svg import Spark, colour_rules

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")  # characters that HTML has no place for


@cache
def templates() -> Environment:
    """The templates, which are part of the package."""
    return Environment(
        loader=PackageLoader("admmctl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(name: str, /, **given: Any) -> str:
    """A template filled in. What UTF-8 has no bytes for (names of files in other encodings) becomes a '?'."""
    content = templates().get_template(name).render(**given)
    return _CONTROL.sub("\ufffd", content.encode("utf-8", "replace").decode("utf-8"))


@dataclass(frozen=True)
class Inside:
    """What a page has inside it: its style and script, and the policy that forbids everything else."""

    policy: str
    sheet: str
    script: str

    @classmethod
    def of(cls, kinds: list[str]) -> "Inside":
        """With the colours of these kinds of method."""
        files = resources.files("admmctl.report")
        sheet = (files / "page.css").read_text(encoding="utf-8") + colour_rules(kinds) + "\n"
        script = (files / "page.js").read_text(encoding="utf-8")
        policy = (
            f"default-src 'none'; img-src data:; style-src '{_hash(sheet)}'; script-src '{_hash(script)}'; "
            "base-uri 'none'; form-action 'none'"
        )
        return cls(policy, sheet, script)


def _hash(content: str) -> str:
    """The name of an inline style or script in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def data_uri(content: bytes, kind: str) -> str:
    """A file inside the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def anchor(name: str) -> str:
    """A name as an id in the page, or as a class: letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


# --- tables


@dataclass(frozen=True)
class Cell:
    """What a cell shows. It is sorted by the number ``value``, or by its text where there is none.

    The text may be a link, or have a CSS class (``look``); a spot in a method's ``colour`` stands before it, small
    print below it. ``spark`` is a curve in place of the text.
    """

    shown: Any
    value: float | None = None
    class_: str | None = None
    colour: str | None = None
    href: str | None = None
    look: str | None = None
    small: str | None = None
    spark: Spark | None = None

    @property
    def plain(self) -> bool:
        """Whether there is nothing to it but what it shows."""
        return not (self.colour or self.href or self.look or self.small or self.spark)

    @property
    def sortable(self) -> str | None:
        """The number as JavaScript reads it; none for what is not a number."""
        if self.value is None or math.isnan(self.value):
            return None
        return ("-" if self.value < 0 else "") + "Infinity" if math.isinf(self.value) else f"{self.value:.12g}"


@dataclass(frozen=True)
class Column:
    """A column's heading. Numbers stand to the right; ``about`` is its tooltip."""

    heading: str
    number: bool = False
    about: str | None = None
    sortable: bool = True
    class_: str | None = None

    def class_of(self, cell: Cell | None) -> str:
        """The CSS classes of a cell of this column; of its heading where that is None."""
        more = None if cell is None else cell.class_
        return " ".join(filter(None, ("number" if self.number else "", self.class_, more)))


@dataclass
class Table:
    """A table that page.js makes sortable. The first cell of a row is its heading."""

    caption: str
    columns: list[Column]
    class_: str | None = None
    rows: list[list[tuple[Column, Cell]]] = field(default_factory=list)

    def add(self, *items: Any) -> None:
        """Add a row: for every column a ``Cell``, or what it shows. Raises ValueError for more or fewer."""
        cells = (item if isinstance(item, Cell) else Cell(item) for item in items)
        self.rows.append(list(zip(self.columns, cells, strict=True)))
