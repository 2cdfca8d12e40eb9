"""Lines of a table, set as rich sets them, in a twentieth of its time: a thousand runs are a million cells.

It knows tables without a frame that hold plain text; rich sets all others.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.table import Column, Table

_ALIGNED = ("left", "right")


def quick_lines(table: Table, console: Console, room: int) -> list[Segment] | None:
    """The table in lines of at most ``room`` columns; None where rich has to set it."""
    columns = table.columns
    if not columns or not _is_plain(table):
        return None
    _, right, _, left = table.padding
    last = len(columns) - 1
    before = [0 if place == 0 else left for place in range(len(columns))]
    after = [0 if place == last else right for place in range(len(columns))]
    texts: list[Sequence[str]] = []
    widths = []
    for place, column in enumerate(columns):
        found = [column.header, *column.cells] if table.show_header else list(column.cells)
        cells = [cell for cell in found if isinstance(cell, str)]
        if len(cells) < len(found):
            return None
        whole = "".join(cells)
        if "\n" in whole and any(cell.endswith("\n") for cell in cells):
            return None
        if not whole.replace("\n", "").isprintable():  # tabs, for instance
            return None
        widest = max(map(_width, cells), default=0)
        if whole and not widest:  # accents alone
            return None
        texts.append(cells)
        widths.append(widest + before[place] + after[place] or 1)
    if not _fold(texts, columns, widths, [one + other for one, other in zip(before, after, strict=True)], room):
        return None
    cells_of = [
        _set(*each)
        for each in zip(texts, [column.justify for column in columns], widths, before, after, strict=True)
    ]
    styles = [console.get_style(column.style or "") for column in columns]
    segments: list[Segment] = []
    heads = table.show_header
    for row in zip(*cells_of, strict=True):
        if heads:
            heading = console.get_style(table.header_style or "")
            own = [heading + console.get_style(column.header_style) for column in columns]
            _add(segments, row, widths, own, bottom=True)
            heads = False
        else:
            _add(segments, row, widths, styles, bottom=False)
    return segments


def _is_plain(table: Table) -> bool:
    """Whether nothing but texts, their alignment and the styles of columns make up its look."""
    framed = table.box is not None or table.show_footer or table.pad_edge or table.collapse_padding
    sized = table.expand or table.width is not None or table.min_width is not None
    styled = table.style not in ("", "none") or table.row_styles or any(row.style for row in table.rows)
    texts = table.title or table.caption or table.padding[0] or table.padding[2]
    return not (framed or sized or styled or texts or table.highlight) and all(
        column.justify in _ALIGNED
        and column.vertical == "top"
        and column.width is None
        and column.min_width is None
        and column.max_width is None
        and not column.highlight
        for column in table.columns
    )


def _width(cell: str) -> int:
    """Columns that a cell takes."""
    if "\n" in cell:
        return max(map(_width, cell.split("\n")))
    return len(cell) if cell.isascii() else cell_len(cell)


def _fold(
    texts: list[Sequence[str]], columns: Sequence[Column], widths: list[int], padding: list[int], room: int
) -> bool:
    """Fold a column of names where lines would be longer than ``room``. False where that is left to rich."""
    excess = sum(widths) - room
    if excess <= 0:
        return True
    foldable = [place for place, column in enumerate(columns) if column.overflow == "fold"]
    if len(foldable) != 1:
        return False
    (place,) = foldable
    width = widths[place] - excess - padding[place]
    whole = "".join(texts[place])
    if width < 1 or not whole.isascii() or " " in whole or "\n" in whole:  # rich breaks lines between words
        return False
    texts[place] = [
        "\n".join(cell[start : start + width] for start in range(0, len(cell), width)) for cell in texts[place]
    ]
    widths[place] -= excess
    return True


def _set(cells: Sequence[str], justify: str, width: int, before: int, after: int) -> list[list[str]]:
    """The lines of each cell, padded to the column's width."""
    start, end, inner = " " * before, " " * after, width - before - after
    whole = "".join(cells)
    if whole.isascii() and "\n" not in whole:
        if justify == "right":
            return [[f"{start}{cell.rstrip().rjust(inner)}{end}"] for cell in cells]
        return [[f"{start}{cell.ljust(inner)}{end}"] for cell in cells]
    return [[f"{start}{_line(line, justify, inner)}{end}" for line in cell.split("\n")] for cell in cells]


def _line(line: str, justify: str, width: int) -> str:
    if justify == "right":
        line = line.rstrip()
        return " " * (width - cell_len(line)) + line
    return line + " " * (width - cell_len(line))


def _add(
    segments: list[Segment], row: Sequence[list[str]], widths: list[int], styles: list[Style], bottom: bool
) -> None:
    """The lines of a row; cells with fewer lines than others stand at its ``bottom``, or its top."""
    height = max(map(len, row))
    if height > 1:
        empty = [[" " * width] * (height - len(cell)) for cell, width in zip(row, widths, strict=True)]
        row = [blank + cell if bottom else cell + blank for cell, blank in zip(row, empty, strict=True)]
    for line in zip(*row, strict=True):
        if any(styles):
            segments += [Segment(cell, style) for cell, style in zip(line, styles, strict=True)]
        else:
            segments.append(Segment("".join(line)))
        segments.append(Segment.line())
