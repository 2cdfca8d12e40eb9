"""The page's parts on figures: the papers' numbers beside ours, and the figures with their points."""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from admmctl.report.html import Cell, Column, Table, data_uri
from admmctl.report.sidecar import Figure, Number
from admmctl.report.text import count, size

MOST_ROWS = 200  # of a figure's points in a table of the page
MOST_BYTES = 100_000  # of a file of points: the page has a copy of it, and only a link to a larger one
OTHER_WORK = "other work, other machine"

_NUMBERS = [
    Column("what"),
    Column("paper"),
    Column("theirs", number=True),
    Column("ours", number=True),
    Column("ours / theirs", number=True, about="greyed where the work is not the same", class_="ratio"),
    Column("same work", about="the same problem, size and goal, so that the ratio compares"),
    Column("note", class_="note"),
]


@dataclass(frozen=True)
class Points:
    """A figure's points, all or some, and their file: in the page (``download`` names it) or beside it."""

    rows: int
    file: str  # its name and size
    href: str
    download: str | None
    table: Table


@dataclass(frozen=True)
class Card:
    """A figure on the page: its image, or else the name and address of its PDF; points, or why there are none."""

    id: str
    kind: str
    title: str
    caption: str
    about: str
    image: str | None
    pdf: tuple[str, str] | None
    points: Points | str | None


def numbers(figures: list[Figure]) -> Table | None:
    """The table of all that papers give a number of; None where no figure has one."""
    table = Table("The papers' numbers, from their machines, and ours", _NUMBERS, class_="numbers")
    for place, figure in enumerate(figures):
        for item in figure.numbers:
            if item.paper is None:
                continue
            source = Cell(f"{figure.paper}, {figure.number}", href=f"#{figure_id(place)}")
            same = Cell("yes", look="same") if item.same_work else Cell("no", look="other")
            theirs = _value(item.paper, item.paper_text, item.unit)
            ours = _value(item.ours, item.ours_text, item.unit)
            table.add(item.what, source, theirs, ours, _ratio(item), same, item.note)
    return table if table.rows else None


def _value(value: float | None, text: str, unit: str) -> Cell:
    """A number as the figure's description writes it, or else rounded and with its unit."""
    plain = "-" if value is None else f"{_plain(value)} {unit}".strip()
    return Cell(text or plain, value)


def _plain(value: float) -> str:
    """Four significant digits, without an exponent where people write none."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _ratio(item: Number) -> Cell:
    if item.ratio is None:
        return Cell("-") if item.same_work else Cell("", small=OTHER_WORK)
    shown = _plain(float(f"{item.ratio:.3g}"))
    if item.same_work:
        return Cell(shown, item.ratio)
    return Cell(shown, item.ratio, class_="other", small=OTHER_WORK)


def figure_id(place: int) -> str:
    """The id of the figure at this place on the page."""
    return f"figure-{place + 1}"


def gallery(figures: list[Figure], page: Path) -> dict[str, list[Card]]:
    """All figures by paper. ``page`` is where the page will lie: its links to files begin there."""
    papers: dict[str, list[Card]] = {}
    for place, figure in enumerate(figures):
        papers.setdefault(figure.paper, []).append(_card(figure, place, page))
    return papers


def _card(figure: Figure, place: int, page: Path) -> Card:
    paths = figure.paths
    facts = [figure.kind if figure.kind != "figure" else "", figure.scale]
    facts += [f"drawn from {count(len(figure.runs), 'run')}"] if figure.runs else []
    facts += [f"not there: {name}" for name in figure.absent]
    return Card(
        id=figure_id(place),
        kind=figure.kind,
        title=", ".join(filter(None, (figure.number, figure.shows))),
        caption=figure.caption,
        about="; ".join(filter(None, facts)),
        image=data_uri(paths["png"].read_bytes(), "image/png") if "png" in paths else None,
        pdf=(paths["pdf"].name, _link(paths["pdf"], page)) if "pdf" in paths else None,
        points=_points(paths["csv"], page) if "csv" in paths else None,
    )


def _link(file: Path, page: Path) -> str:
    """The address of a file, relative to the page."""
    return quote(os.path.relpath(file, page.absolute().parent).encode("utf-8", "replace"))


# --- points


def _points(file: Path, page: Path) -> Points | str:
    """The points of a figure: all of them, or some of many; the reason where they cannot be read."""
    try:
        content = file.read_bytes()
        headings, rows = _read(content)
    except (OSError, ValueError, csv.Error) as error:
        return f"The points in {file.name} cannot be shown: {error}"
    chosen = rows
    if len(rows) > MOST_ROWS:  # from the first to the last, evenly
        chosen = [rows[round(place * (len(rows) - 1) / (MOST_ROWS - 1))] for place in range(MOST_ROWS)]
    numeric = [
        bool(rows) and all(_number(row[place]) is not None for row in chosen if row[place])
        for place in range(len(headings))
    ]
    columns = [Column(name, number=is_number) for name, is_number in zip(headings, numeric, strict=True)]
    some = "" if chosen is rows else f": {len(chosen)} of {len(rows):,} rows"
    table = Table(f"Points of {file.stem}{some}", columns, class_="points")
    for row in chosen:
        table.add(*(_cell(value, is_number) for value, is_number in zip(row, numeric, strict=True)))
    small = len(content) <= MOST_BYTES
    target = data_uri(content, "text/csv") if small else _link(file, page)
    name_and_size = f"{file.name} ({size(len(content))})"
    return Points(len(rows), name_and_size, target, file.name if small else None, table)


def _read(content: bytes) -> tuple[list[str], list[list[str]]]:
    """Headings and rows. Raises ValueError where it is no table."""
    rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8"), newline="")) if row]
    if not rows:
        raise ValueError("it is empty")
    headings, *others = rows
    if any(len(row) != len(headings) for row in others):
        raise ValueError("its rows differ in length")
    return headings, others


def _cell(value: str, is_number: bool) -> Cell:
    if not is_number:
        return Cell(value)
    found = _number(value)
    return Cell("-") if found is None else Cell(value if len(value) <= 12 else f"{found:.6g}", found)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
