"""A dataset of one's own: ``data: {name: files, x: X.npy, y: y.npy}``, or one CSV with a label column.

Rows are samples. Without a test pair, ``test: 0.2`` holds a fraction back, chosen by the seed.
"""

import csv
import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import Field

from admmctl.data.catalog import Card
from admmctl.data.dataset import Dataset, DataSettings, Part, Rows, Source
from admmctl.errors import DataError


class FilesSettings(DataSettings):
    """The ``data:`` block of one's own files; paths are relative to the current folder."""

    name: str = "files"
    x: str = Field(description="features: .npy, or .csv / .csv.gz, a row per sample")
    y: str | None = Field(default=None, description="labels, whole numbers: .npy or .csv")
    x_test: str | None = Field(default=None, description="test features, when they are apart")
    y_test: str | None = Field(default=None, description="test labels")
    label: Literal["first", "last"] | None = Field(default=None, description="where a CSV has its label")
    seed: int | None = Field(default=0, ge=0, description="shuffles the rows before a split by fraction")


class Files(Dataset):
    """``data: {name: files}``."""

    name = "files"
    Settings: ClassVar[type[DataSettings]] = FilesSettings
    default_test: ClassVar[str | float] = 0.2
    nothing_to_fetch = "your own files are read where they are, there is nothing to fetch"
    card = Card(
        title="your own .npy or .csv files: data: {name: files, x: X.npy, y: y.npy}",
        licence="yours",
        citation="yours",
        rows="any number",
        features="any number",
    )

    def open(self, settings: DataSettings) -> "FilesSource":
        assert isinstance(settings, FilesSettings)
        return FilesSource(settings)

    def test_by_default(self, settings: DataSettings) -> str | float:
        assert isinstance(settings, FilesSettings)
        return "official" if settings.x_test else self.default_test

    def shuffles(self, settings: DataSettings) -> bool:
        """Where the test rows are apart, or the first ``train`` rows are asked for, file order is kept."""
        assert isinstance(settings, FilesSettings)
        return settings.x_test is None and settings.train is None


class FilesSource(Source):
    """Rows of .npy files, memory-mapped, or of CSV files, read whole."""

    def __init__(self, settings: FilesSettings) -> None:
        self._parts = {"train": _pair(settings.x, settings.y, settings.label, ("data.x", "data.y"))}
        one_alone = (settings.x_test is None) != (settings.y_test is None)
        if one_alone and (settings.label is None or settings.y_test is not None):
            raise DataError("data: x_test and y_test belong together; one of them is missing")
        if settings.x_test is not None:
            keys = ("data.x_test", "data.y_test")
            self._parts["test"] = _pair(settings.x_test, settings.y_test, settings.label, keys)
        self.features = self._parts["train"][0].shape[1]
        if any(x.shape[1] != self.features for x, _ in self._parts.values()):
            raise DataError(f"data.x_test: {settings.x_test} does not have the {self.features} features of data.x")
        self.labels_known = sorted({int(label) for _, y in self._parts.values() for label in np.unique(y)})
        self._test_path = settings.x_test
        self._paths = [p for p in (settings.x, settings.y, settings.x_test, settings.y_test) if p is not None]

    def rows(self, part: Part) -> int:
        return len(self._parts[part][0]) if part in self._parts else 0

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        return self._parts[part][1][np.asarray(rows, dtype=np.int64)]

    def stored(self, part: Part, rows: Rows) -> NDArray[Any]:
        index = slice(rows.start, rows.stop) if isinstance(rows, range) else rows
        return self._parts[part][0][index]

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        out[...] = self.stored(part, rows)
        if not np.isfinite(out).all():
            bad = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
            path = self._test_path if part == "test" else self._paths[0]
            raise DataError(f"{path}: row {int(rows[bad])} of the {part} set holds a NaN or an infinity")

    def fingerprint(self) -> str:
        sums = []
        for path in self._paths:
            with Path(path).expanduser().open("rb") as file:
                sums.append(hashlib.file_digest(file, "sha256").hexdigest())
        return sums[0] if len(sums) == 1 else hashlib.sha256(" ".join(sums).encode()).hexdigest()


def _pair(
    x_path: str, y_path: str | None, label: str | None, keys: tuple[str, str]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Features (rows, features) and labels (rows,) of one part. Raises DataError naming the key and the file."""
    x = _read(x_path, keys[0])
    if x.ndim > 2:
        x = x.reshape(len(x), -1)
    if x.ndim != 2 or not x.size:
        raise DataError(f"{keys[0]}: {x_path} has shape {x.shape}; expected rows of features")
    if y_path is None:
        if label is None:
            raise DataError(
                f"{keys[1]}: labels are needed: a file, or label: first or last for a CSV that has them"
            )
        column = 0 if label == "first" else -1
        y, x = x[:, column], x[:, 1:] if label == "first" else x[:, :-1]
        if not x.size:
            raise DataError(f"{keys[0]}: {x_path} has no column besides its labels")
        y_path = x_path
    else:
        if label is not None:
            raise DataError(f"data.label: {keys[1]} names a file of labels already; leave one of them out")
        y = _read(y_path, keys[1])
    y = np.asarray(y)
    if y.ndim == 2 and 1 in y.shape:
        y = y.ravel()
    if y.shape != (len(x),):
        raise DataError(f"{keys[1]}: {y_path} has shape {y.shape}; expected one label for each of {len(x):,} rows")
    if not np.isfinite(y).all() or (y != np.round(y)).any():
        raise DataError(f"{keys[1]}: {y_path} holds labels that are not whole numbers")
    return x, y.astype(np.int64)


def _read(path: str, key: str) -> NDArray[Any]:
    place = Path(path).expanduser()
    if not place.is_file():
        raise DataError(f"{key}: there is no file {path} (looked in {Path.cwd()})")
    try:
        if place.suffix == ".npy":
            array: NDArray[Any] = npy.open_memmap(place, mode="r")
        elif place.name.endswith((".csv", ".csv.gz")):
            array = _read_csv(place)
        else:
            raise DataError(f"{key}: {path}: expected a file that ends in .npy, .csv or .csv.gz")
    except (OSError, ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{key}: {path} cannot be read as numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"{key}: {path} holds {array.dtype}; expected numbers")
    return array


def _read_csv(place: Path) -> NDArray[np.float64]:
    """The numbers of a CSV, whose first line may be a heading. Raises ValueError for anything else."""
    import pandas

    with gzip.open(place, "rt", newline="") if place.suffix == ".gz" else place.open(newline="") as file:
        first = next(csv.reader(file), [])
    heading = any(word.strip() and not _is_number(word) for word in first)
    frame = pandas.read_csv(place, header=None, skiprows=int(heading), dtype=np.float64)
    if frame.shape[1] != len(first):
        raise ValueError(f"its first line has {len(first)} columns, the rows have {frame.shape[1]}")
    table = frame.to_numpy()
    if np.isnan(table).any():
        row, column = np.argwhere(np.isnan(table))[0]
        raise ValueError(f"row {row}, column {column} is empty or no number")
    return table


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
