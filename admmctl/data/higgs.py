"""HIGGS: 11,000,000 simulated collisions, 28 features each, signal (1) against background (0).

The official file is one CSV without a header, the label first. It is read as a stream: memory does not grow
with the file.
"""

import csv
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from admmctl.data.catalog import Card, SourceFile
from admmctl.data.dataset import Dataset
from admmctl.data.prepared import Prepared
from admmctl.data.source import DataSettings, Part, Progress
from admmctl.data.wrapped import DAMAGED, is_zip, unwrapped
from admmctl.errors import DataError, UserError

ROWS, FEATURES = 11_000_000, 28
TEST_ROWS = 500_000  # the official test set: the last rows of the file
_BROKEN: tuple[type[Exception], ...] = (*DAMAGED, RuntimeError)  # the last is raised by zip archives
_CHUNK = 50_000  # rows parsed at a time
FILE = SourceFile(
    "HIGGS.csv.gz",
    2_816_407_858,
    "ea302c18164d4e3d916a1e2e83a9a8d07069fa6ebc7771e4c0540d54e593b698",
    (
        "https://archive.ics.uci.edu/static/public/280/higgs.zip",
        "https://mlphysics.ics.uci.edu/data/higgs/HIGGS.csv.gz",
        "https://archive.ics.uci.edu/ml/machine-learning-databases/00280/HIGGS.csv.gz",
    ),
)


class Higgs(Dataset):
    """``data: {name: higgs}``: 28 features; the last 500,000 rows test (the last 1/22 of a smaller file)."""

    name = "higgs"
    known_shape = (FEATURES, 2)
    card = Card(
        title="HIGGS: simulated particle collisions, signal against background",
        licence="CC BY 4.0",
        citation="Baldi, Sadowski, Whiteson: Searching for exotic particles in high-energy physics, 2014",
        rows="10,500,000 + 500,000",
        features="28",
        files=(FILE,),
    )

    def official_rows(self, settings: DataSettings) -> dict[Part, int]:
        return {"train": ROWS - TEST_ROWS, "test": TEST_ROWS}

    def options(self, rows: int | None, extra: bool) -> dict[str, int]:
        if rows is not None and rows < TEST_SHARE:
            raise UserError(f"--rows {rows}: expected {TEST_SHARE} or more, so that one is left to test on")
        return {**super().options(None, extra), **({"rows": rows} if rows is not None else {})}

    def recognise(self, paths: list[Path]) -> dict[str, Path]:
        """One file of the official layout: .csv.gz, .csv, or a zip archive of any name that holds either."""
        if len(paths) != 1 or not (paths[0].name.lower().endswith((".gz", ".csv")) or is_zip(paths[0])):
            raise DataError("--from: higgs is made from one file that ends in .csv.gz, .csv or .zip")
        return {FILE.name: paths[0]}

    def in_folder(self, folder: Path) -> dict[str, Path]:
        """UCI's archive of the official file; none where that file itself is there."""
        archive = folder / FILE.behind(FILE.addresses[0]).name
        return {FILE.name: archive} if archive.is_file() and not (folder / FILE.name).is_file() else {}

    def prepare(self, raw: dict[str, Path], prepared: Prepared, progress: Progress) -> None:
        path = raw[FILE.name]
        wanted = prepared.options.get("rows")
        rows = prepared.rows("all", FEATURES, np.float32)
        # A part of the official file has about as many rows as its share of the bytes.
        expected = wanted or max(1, round(ROWS * path.stat().st_size / FILE.bytes))
        for x, y in read_chunks(path, skip=rows.done, limit=None if wanted is None else wanted - rows.done):
            rows.append(x, y)
            progress("preparing higgs (rows)", rows.done, max(expected, rows.done))
        if wanted is not None and rows.done < wanted:
            raise DataError(
                f"--rows {wanted:,}: {path} has {rows.done:,} rows; ask for fewer, or for none to take all"
            )
        test = TEST_ROWS if rows.done == ROWS else rows.done // TEST_SHARE
        if test == 0:
            raise DataError(f"{path} has {rows.done} rows: at least {TEST_SHARE} are needed, so that one tests")
        prepared.part("train", "all", 0, rows.done - test)
        prepared.part("test", "all", rows.done - test, test)


TEST_SHARE = ROWS // TEST_ROWS  # 22: a smaller file keeps the official proportion


def read_chunks(
    path: Path, skip: int, limit: int | None
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Features (rows, 28) float32 and labels (rows,) of a CSV in the official layout, a chunk at a time.

    The first ``skip`` rows are passed over, at most ``limit`` are read. Raises DataError with the line of
    what is wrong.
    """
    import pandas

    if limit is not None and limit <= 0:
        return
    at = 0
    try:
        with _text(path) as stream:
            reader = pandas.read_csv(
                stream,
                header=None,
                dtype=np.float32,
                engine="c",
                nrows=None if limit is None else skip + limit,
                chunksize=_CHUNK,
                na_filter=False,
                quoting=csv.QUOTE_NONE,
            )
            with reader:
                for frame in reader:
                    values = frame.to_numpy(np.float32)
                    if not _in_layout(values):
                        raise ValueError("not in the official layout")
                    # Rows are counted as parsed, not as lines, so that empty lines shift nothing.
                    new = values[max(0, skip - at) :]
                    at += len(values)
                    if len(new):
                        yield new[:, 1:], new[:, 0].astype(np.uint8)
    except pandas.errors.EmptyDataError:
        if at == 0:
            raise DataError(f"{path} is empty") from None
    except _BROKEN as error:
        raise DataError(f"{path} is truncated or damaged after {at:,} rows ({error}); get it again") from None
    except (ValueError, pandas.errors.ParserError) as error:
        raise DataError(_first_wrong_line(path, at) or f"{path}, after line {at:,}: {error}") from None


def _in_layout(values: NDArray[np.float32]) -> bool:
    """Whether every row is a label of 0 or 1 and 28 finite numbers."""
    labels = values[:, 0]
    right = values.shape[1] == FEATURES + 1 and np.isfinite(values).all() and ((labels == 0) | (labels == 1)).all()
    return bool(right)


def _first_wrong_line(path: Path, after: int) -> str | None:
    """The first line beyond ``after`` rows that is not in the official layout, and what is wrong with it."""
    rows = 0
    with _text(path) as stream:
        for number, line in enumerate(stream, start=1):
            rows += bool(line.strip())
            if rows <= after or not line.strip():
                continue
            cells = line.rstrip(b"\r\n").split(b",")
            if len(cells) != FEATURES + 1:
                return f"{path}, line {number}: {len(cells)} columns; expected the label and {FEATURES} features"
            for column, cell in enumerate(cells, start=1):
                if not _is_float32(cell) or (column == 1 and float(cell) not in (0.0, 1.0)):
                    expected = "a label of 0 or 1" if column == 1 else "a finite number"
                    return f"{path}, line {number}: column {column}: expected {expected}, got {cell[:40]!r}"
    return None


def _is_float32(cell: bytes) -> bool:
    try:
        return cell.isascii() and b"_" not in cell and abs(float(cell)) <= float(np.finfo(np.float32).max)
    except ValueError:
        return False


@contextmanager
def _text(path: Path) -> Iterator[IO[bytes]]:
    """The CSV inside ``path``, decompressed as it is read."""
    with unwrapped(path) as (stream, name):
        if name.lower().endswith(".gz"):
            with gzip.open(stream) as text:
                yield text  # type: ignore[misc]
        else:
            yield stream
