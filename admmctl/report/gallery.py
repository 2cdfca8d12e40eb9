"""The page's parts on figures: the papers' numbers beside ours, and the figures with their points."""

import csv
import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from admmctl.report.html import Cell, Column, Html, Table, data_uri, details, join, tag
from admmctl.report.sidecar import Figure, Number
from admmctl.report.text import count, size

MOST_ROWS = 200  # of a figure's points in the page
MOST_BYTES = 100_000  # of a file of points that the page has a copy of
OTHER_WORK = "other work, other machine"
_Points = tuple[list[str], list[list[str]]]  # headings, rows


def numbers(figures: list[Figure]) -> Html | None:
    """The table of all numbers; None where no figure has one."""
    columns = [
        Column("what"),
        Column("paper"),
        Column("theirs", number=True),
        Column("ours", number=True),
        Column("ours / theirs", number=True, about="greyed where the work is not the same", class_="ratio"),
        Column("same work", about="the same problem, size and goal, so that the ratio compares"),
        Column("note", class_="note"),
    ]
    table = Table("The papers' numbers, from their machines, and ours", columns, class_="numbers")
    for place, figure in enumerate(figures):
        for item in figure.numbers:
            source = tag("a", f"{figure.paper}, {figure.number}", href=f"#{figure_id(place)}")
            same = tag("span", "yes" if item.same_work else "no", class_="same" if item.same_work else "other")
            shown = (_value(item.paper, item.paper_text, item.unit), _value(item.ours, item.ours_text, item.unit))
            table.rows.append([item.what, source, *shown, _ratio(item), same, item.note])
    return table.html() if table.rows else None


def _value(value: float | None, words: str, unit: str) -> Cell:
    """A number in its file's words, or in our own with its unit."""
    plain = "-" if value is None else f"{_plain(value)} {unit}".strip()
    return Cell(words or plain, value)


def _plain(value: float) -> str:
    """Four significant digits, without an exponent where people write none."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _ratio(item: Number) -> Cell:
    if item.ratio is None:
        return Cell("-" if item.same_work else tag("small", OTHER_WORK, class_="other"))
    shown = _plain(float(f"{item.ratio:.3g}"))
    if item.same_work:
        return Cell(shown, item.ratio)
    return Cell(join((shown, tag("br"), tag("small", OTHER_WORK))), item.ratio, class_="other")


def figure_id(place: int) -> str:
    """Of a figure's place on the page: what links to it name."""
    return f"figure-{place + 1}"


def gallery(figures: list[Figure], page: Path) -> Html:
    """All figures, grouped by paper. ``page``: where the page will lie, for links to files."""
    papers: dict[str, list[Html]] = {}
    for place, figure in enumerate(figures):
        papers.setdefault(figure.paper, []).append(_figure(figure, place, page))
    return join(
        tag("section", tag("h3", paper or "Of no paper"), tag("div", *drawn, class_="gallery"), class_="paper")
        for paper, drawn in papers.items()
    )


def _figure(figure: Figure, place: int, page: Path) -> Html:
    title = ", ".join(filter(None, (figure.number, figure.shows)))
    caption = [tag("strong", title), tag("p", figure.caption) if figure.caption else None]
    facts = [figure.kind if figure.kind != "figure" else "", figure.scale]
    facts += [f"drawn from {count(len(figure.runs), 'run')}"] if figure.runs else []
    facts += [f"not there: {name}" for name in figure.absent]
    about = tag("p", "; ".join(filter(None, facts)), class_="about") if any(facts) else None
    image = None
    if "png" in figure.paths:
        source = data_uri(figure.paths["png"].read_bytes(), "image/png")
        image = tag("img", src=source, alt=f"{title}. {figure.caption}".strip(), loading="lazy", class_="zoomable")
    elif "pdf" in figure.paths:
        image = tag("p", tag("a", figure.paths["pdf"].name, href=_link(figure.paths["pdf"], page)), class_="about")
    return tag(
        "div",
        tag("figure", image, tag("figcaption", *caption, about)),
        _points(figure.paths["csv"], page) if "csv" in figure.paths else None,
        id=figure_id(place),
        class_=f"card {figure.kind}",
    )


def _link(file: Path, page: Path) -> str:
    """The way from the page to a file."""
    return quote(os.path.relpath(file, page.absolute().parent).encode("utf-8", "replace"))


# --- points


def _points(file: Path, page: Path) -> Html:
    """The points of a figure, in a box that opens: all of them, or some of many, and the file itself."""
    try:
        content = file.read_bytes()
        headings, rows = _read(content)
    except (OSError, ValueError, csv.Error) as error:
        return tag("p", f"The points in {file.name} cannot be shown: {error}", class_="about")
    chosen = rows
    if len(rows) > MOST_ROWS:  # from the first to the last, evenly
        chosen = [rows[round(place * (len(rows) - 1) / (MOST_ROWS - 1))] for place in range(MOST_ROWS)]
    numeric = [
        bool(rows) and all(_number(row[place]) is not None for row in chosen if row[place])
        for place in range(len(headings))
    ]
    words = f"Points of {file.stem}" + ("" if chosen is rows else f": {len(chosen)} of {len(rows):,} rows")
    table = Table(
        words,
        [Column(name, number=is_number) for name, is_number in zip(headings, numeric, strict=True)],
        class_="points",
    )
    for row in chosen:
        table.rows.append([_cell(value, is_number) for value, is_number in zip(row, numeric, strict=True)])
    small = len(content) <= MOST_BYTES
    target = data_uri(content, "text/csv") if small else _link(file, page)
    link = tag("a", f"{file.name} ({size(len(content))})", href=target, download=file.name if small else None)
    where = "" if small else ", beside this page"
    return details(f"Points: {len(rows):,} rows", tag("p", link, where), table.html(), class_="points")


def _read(content: bytes) -> _Points:
    """Headings and rows. Raises ValueError where it is no table."""
    rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8"), newline="")) if row]
    if not rows:
        raise ValueError("it is empty")
    headings, *others = rows
    if any(len(row) != len(headings) for row in others):
        raise ValueError("its rows differ in length")
    return headings, others


def _cell(value: str, is_number: bool) -> Any:
    if not is_number:
        return value
    found = _number(value)
    return Cell("-") if found is None else Cell(value if len(value) <= 12 else f"{found:.6g}", found)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
