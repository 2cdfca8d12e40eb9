"""Reading one's own numbers, to train on and to predict: .npy arrays, and CSV with or without a heading."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from admmctl.errors import DataError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUTH = re.compile("true|false", re.IGNORECASE)  # pandas reads a column of them as 1 and 0
_NO_NUMBER = {"", "nan", "na", "n/a", "<na>", "null", "none", "inf", "infinity"}
_NO_NAME = re.compile(r"(Unnamed: [0-9]+(_level_[0-9]+)?(\.[0-9]+)?)?")
_MOST_NAMES = 6  # of a heading, in messages
_SURELY_COUNTED = 10  # rows, or columns: fewer count up by chance


@dataclass(frozen=True)
class Table:
    """What a file holds, and what a person should know about how it was read."""

    values: NDArray[Any]
    notes: tuple[str, ...] = ()


def read_numbers(place: Path) -> Table:
    """An .npy array, mapped and not read, or a CSV as float64, shape (rows, columns).

    The first line of a CSV is a heading where none of its cells is a number. Raises DataError: what is wrong,
    where, and the cure, without the name of the file.
    """
    try:
        if place.suffix == ".npy":
            table = Table(npy.open_memmap(place, mode="r"))
        elif place.name.endswith((".csv", ".csv.gz")):
            table = _read_csv(place)
        else:
            raise DataError("expected a file that ends in .npy, .csv or .csv.gz")
    except (OSError, ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"cannot be read as numbers: {error}") from None
    if table.values.dtype.kind not in "fiub":
        hint = "; give every word a number: 0, 1, ..." if table.values.dtype.kind in "SU" else ""
        raise DataError(f"expected numbers, got {table.values.dtype}{hint}")
    return table


def _open(place: Path, errors: str = "strict") -> IO[str]:
    """The text of a CSV; some programs put a byte-order mark before it."""
    opener: Any = gzip.open if place.suffix == ".gz" else open
    file: IO[str] = opener(place, "rt", newline="", encoding="utf-8-sig", errors=errors)
    return file


def _read_csv(place: Path) -> Table:
    """Raises ValueError naming the line, and where there is one the column and the cell."""
    with _open(place) as file:
        try:
            line, first = next(_records(file), (0, []))
        except UnicodeDecodeError:
            raise ValueError(_fault(place)) from None
        if not line:
            raise ValueError("it is empty")
        heading = _is_heading(first)
        if len(first) > 1 and _NO_NAME.fullmatch(first[0]) and _counts(first[1:]):
            raise ValueError(
                f"line {line} counts the columns, and the first has no name: pandas writes a table without names "
                "like that, with its index; name the columns, and write it with to_csv(index=False)"
            )
    # Lines before a heading are blank; one that goes over several lines counts once.
    values = _rows(place, line if heading else 0)
    if not len(values):
        raise ValueError(f"it has a heading, line {line}, and no rows")
    if values.shape[1] != len(first) or not np.isfinite(values).all():
        bad = int(np.isfinite(values).all(axis=1).argmin())
        raise ValueError(_fault(place) or f"row {bad} is empty")
    return Table(values, tuple(_notes(line, first, values, heading)))


def _rows(place: Path, skip: int) -> NDArray[np.float64]:
    """The rows after the first ``skip``; cells that a short row lacks are NaN. Raises ValueError."""
    import pandas

    try:
        frame = pandas.read_csv(
            place, header=None, skiprows=skip, dtype=np.float64, encoding="utf-8-sig", skipinitialspace=True
        )
    except pandas.errors.EmptyDataError:
        return np.empty((0, 0))
    except ValueError as error:  # which seldom says where
        raise ValueError(_fault(place) or str(error)) from None
    return frame.to_numpy()


def _records(file: IO[str]) -> Iterator[tuple[int, list[str]]]:
    """The cells of every record that is not blank, and the line it begins on."""
    reader = csv.reader(file, strict=True, skipinitialspace=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or len(cells) > 1:
                yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line}: a quotation mark is not closed, or stands in a cell ({error})") from None


def _is_heading(cells: list[str]) -> bool:
    """Whether a first line names the columns: no cell is a number, and one at least is a word."""
    if any(_NUMBER.fullmatch(cell) or _TRUTH.fullmatch(cell) for cell in cells):
        return False
    return any(re.match(r"\W*[^\W\d]", cell) for cell in cells if cell.lstrip("+-").lower() not in _NO_NUMBER)


def _counts(cells: list[str]) -> bool:
    """Whether a line counts its columns, from 0 or from 1: the heading of a table that had no names.

    A column of labels joined to such a table is a second column 0.
    """
    if not all(re.fullmatch("[0-9]{1,9}", cell) for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    count = list(range(len(numbers)))
    joined = len(numbers) > 3 and (numbers == [*count[:-1], 0] or numbers == [0, *count[:-1]])
    return joined or numbers in (count, [number + 1 for number in count])


def _few(names: list[str]) -> str:
    return ", ".join(name or "(empty)" for name in names[:_MOST_NAMES]) + (
        ", ..." if len(names) > _MOST_NAMES else ""
    )


def _notes(line: int, first: list[str], values: NDArray[np.float64], heading: bool) -> Iterator[str]:
    """What to say of a table that was read.

    Raises ValueError where pandas has written more than the table: an index, or numbers for names.
    """
    names = first if heading else []
    if heading:
        yield f"line {line} is taken as a heading: {_few(first)}"
    elif len(values) > 1 and _counts(first) and (len(first) > 1 or (values != np.round(values)).any()):
        cure = "name the columns, or leave the line out (to_csv(index=False, header=False))"
        if len(first) >= _SURELY_COUNTED or (values != np.round(values)).any():
            raise ValueError(
                f"line {line} is {_few(first)}: a heading without names, as pandas writes it? Then {cure}; "
                "if it is a sample, put a line of names above it"
            )
        yield f"line {line}, {_few(first)}, is taken as a sample; if it is a heading, {cure}"
    for column, name in enumerate(names):
        if _NO_NAME.fullmatch(name) and _numbers_rows(values[:, column]):
            named = f"the name {name!r}" if name else "no name"
            raise ValueError(
                f"column {column + 1} has {named} and numbers the rows: it is the index that pandas writes; write "
                "the table with to_csv(index=False)"
            )
    if len(values) >= _SURELY_COUNTED and (np.diff(values[:, 0]) == 1).all() and values[0, 0] in (0, 1):
        yield "column 1 counts the rows, and is taken like any other column: leave it out where it is an index"


def _numbers_rows(column: NDArray[np.float64]) -> bool:
    """Whether every row has a whole number of its own, in any order: tables are shuffled with their index."""
    return len(column) > 1 and bool((column == np.round(column)).all()) and len(np.unique(column)) == len(column)


def _fault(place: Path) -> str | None:
    """The first line, column and cell that do not belong into a table of numbers, and what is wrong with them."""
    width, truth = 0, None
    with _open(place, errors="surrogateescape") as file:  # what is no UTF-8 is met in its line
        try:
            for number, (line, cells) in enumerate(_records(file)):
                if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
                    return f"line {line} is no UTF-8 text; save the file as UTF-8"
                if number == 0:
                    width = len(cells)
                    if _is_heading(cells):
                        continue
                for column, cell in enumerate(cells[:width], start=1):
                    if (wrong := _wrong(cell)) is not None:
                        hint = "" if number else "; a heading is a first line without any number"
                        if not number and not cells[0]:
                            hint += ", and to_csv(index=False) leaves out the index, which has no name"
                        return f"line {line}, column {column} {wrong}{hint}"
                    if truth is None and _TRUTH.fullmatch(cell):
                        truth = f"line {line}, column {column} holds {cell!r}, in a column of numbers"
                if len(cells) != width:
                    return f"line {line} has {len(cells)} cells, the first line has {width}{_separators(cells)}"
        except ValueError as error:
            return str(error)
    return truth


def _wrong(cell: str) -> str | None:
    """What is wrong with a cell that should be a finite number."""
    if _NUMBER.fullmatch(cell):
        return None if np.isfinite(float(cell)) else f"holds {cell}, which is too large for a number of 64 bits"
    if _TRUTH.fullmatch(cell):
        return None
    if not cell:
        return "is empty"
    if cell.lstrip("+-").lower() in _NO_NUMBER:
        return f"holds {cell!r}, which is no finite number"
    shown = repr(cell if len(cell) <= 40 else cell[:40] + "...")
    return f"holds {shown}, which is no number{_separators([cell])}"


def _separators(cells: list[str]) -> str:
    """A hint where cells look like several numbers."""
    parts = [re.split(r"[;\t| ]+", cell) for cell in cells]
    several = any(len(part) > 1 and _NUMBER.fullmatch(part[0]) for part in parts)
    return "; cells are separated by commas, and decimals have a point" if several else ""
