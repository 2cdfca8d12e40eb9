"""A dataset of one's own: ``data: {name: files, x: X.npy, y: y.npy}``, or one CSV with a label column.

Rows are samples. Without a test pair, ``test: 0.2`` holds a fraction back, chosen by the seed. Numbers of 64 bits
are scaled in float64, before they become float32.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.data.catalog import Card
from admmctl.data.dataset import Dataset
from admmctl.data.source import ArraySource, DataSettings, Part, Rows
from admmctl.data.tables import Table, read_numbers
from admmctl.errors import DataError

_PREPARATION = "files/2"  # of the rows that come from files: another where the same files give other rows


class FilesSettings(DataSettings):
    """The ``data:`` block of one's own files; paths are relative to the current folder."""

    name: str = "files"
    x: str = Field(description="features: .npy, or .csv / .csv.gz, a row per sample")
    y: str | None = Field(default=None, description="labels, whole numbers: .npy or .csv")
    x_test: str | None = Field(default=None, description="test features, when they are apart")
    y_test: str | None = Field(default=None, description="test labels")
    label: Literal["first", "last"] | None = Field(default=None, description="where a CSV has its label")
    seed: int | None = Field(
        default=None, ge=0, description="shuffles the rows before the split; a split by fraction alone takes 0"
    )


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
        """A seed shuffles. Without one, file order is kept where it may say which rows train and which test."""
        assert isinstance(settings, FilesSettings)
        return settings.seed is not None or (settings.x_test is None and settings.train is None)


class FilesSource(ArraySource):
    """Rows of .npy files, memory-mapped, or of CSV files, read whole."""

    may_overflow = True

    def __init__(self, settings: FilesSettings) -> None:
        train = _pair(settings.x, settings.y, settings.label, ("data.x", "data.y"))
        pairs: dict[Part, _Pair] = {"train": train}
        unpaired = (settings.x_test is None) != (settings.y_test is None)
        if unpaired and (settings.label is None or settings.y_test is not None):
            raise DataError("data: x_test and y_test belong together; one of them is missing")
        if settings.x_test is not None:
            keys = ("data.x_test", "data.y_test")
            pairs["test"] = _pair(settings.x_test, settings.y_test, settings.label, keys)
        self._arrays = {part: (pair.x, pair.y) for part, pair in pairs.items()}
        self.features = train.x.shape[1]
        if any(pair.x.shape[1] != self.features for pair in pairs.values()):
            raise DataError(f"data.x_test: {settings.x_test} does not have the {self.features} features of data.x")
        if not all(np.can_cast(pair.x.dtype, np.float32) for pair in pairs.values()):
            self.precision = np.float64
        self.labels_known = sorted({int(label) for pair in pairs.values() for label in np.unique(pair.y)})
        self.notes = [*(note for pair in pairs.values() for note in pair.notes), *_doubts(settings, train.y)]
        self._x_paths = {"train": settings.x, "test": settings.x_test}
        self._paths = [p for p in (settings.x, settings.y, settings.x_test, settings.y_test) if p is not None]

    def inputs(self, part: Part, rows: Rows, out: NDArray[Any]) -> None:
        with np.errstate(over="ignore"):  # of what is more than float64; it is named below
            super().inputs(part, rows, out)
        if not np.isfinite(out).all():
            bad, column = map(int, np.argwhere(~np.isfinite(out))[0])
            value = self.stored(part, rows[bad : bad + 1])[0, column]
            what = f"{value}: too large for {out.dtype}" if np.isfinite(value) else "a NaN or an infinity"
            raise DataError(f"{self.where(part, int(rows[bad]))} holds {what} in column {column}")

    def where(self, part: Part, row: int) -> str:
        return f"{self._x_paths[part]}: row {row} of the {part} set"

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        sums = [_PREPARATION]
        for path in self._paths:
            with Path(path).expanduser().open("rb") as file:
                sums.append(hashlib.file_digest(file, "sha256").hexdigest())
        return hashlib.sha256(" ".join(sums).encode()).hexdigest()


def _doubts(settings: FilesSettings, y: NDArray[np.int64]) -> Iterator[str]:
    """What looks like a mistake, and may be none."""
    classes = len(np.unique(y))
    if 2 * classes > len(y):
        place = f"data.y: {settings.y}" if settings.y else f"data.x: the {settings.label} column of {settings.x}"
        yield f"{place} holds {classes:,} different labels in {len(y):,} rows: are these the labels?"
    test = settings.test or ("rest" if settings.train else "official")
    if settings.x_test is not None and test != "official":
        yield "data.x_test is not used: rows of data.x test, unless data.test is official"


class _Pair(NamedTuple):
    """Features (rows, features) and labels (rows,) of one part, and what to say of them."""

    x: NDArray[Any]
    y: NDArray[np.int64]
    notes: tuple[str, ...]


def _pair(x_path: str, y_path: str | None, label: str | None, keys: tuple[str, str]) -> _Pair:
    """Raises DataError naming the key and the file."""
    table = _read(x_path, keys[0])
    x, notes = table.values, table.notes
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
        y_path, where = x_path, f"{keys[0]}: the {label} column of {x_path}"
    else:
        if label is not None:
            raise DataError(f"data.label: {keys[1]} names a file of labels already; leave one of them out")
        table, where = _read(y_path, keys[1]), f"{keys[1]}: {y_path}"
        y, notes = table.values, notes + table.notes
    if y.ndim == 2 and 1 in y.shape:
        y = y.ravel()
    if y.shape != (len(x),):
        hint = ""
        if y_path.endswith((".csv", ".csv.gz")) and len(y) == len(x) + 1:
            hint = "; the first line is taken as a label: give it a name if it is a heading"
        elif y.ndim == 2 and len(y) == len(x):
            hint = ": of rows with a 1 at their class take argmax(axis=1)"
        raise DataError(
            f"{keys[1]}: {y_path} has shape {y.shape}; expected one label for each of {len(x):,} rows{hint}"
        )
    return _Pair(x, _labels(y, where), notes)


def _labels(y: NDArray[Any], where: str) -> NDArray[np.int64]:
    """The labels (rows,) as they are counted here. Raises DataError where one would change."""
    if not np.isfinite(y).all() or (y != np.round(y)).any():
        raise DataError(f"{where} holds labels that are not whole numbers")
    # Larger floating-point numbers are the same for several whole ones.
    digits = min(np.finfo(y.dtype).nmant + 1, 62) if y.dtype.kind == "f" else 63
    wrong = np.abs(y) > 2**digits if y.dtype.kind == "f" else y > 2**63 - 1
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where}: row {row} has the label {y[row]}; labels of {y.dtype} are exact below 2^{digits} only: "
            "number the classes 0, 1, ..."
        )
    return y.astype(np.int64)


def _read(path: str, key: str) -> Table:
    try:
        place = Path(path).expanduser()
        found = place.is_file()
    except (RuntimeError, OSError, ValueError) as error:  # no such user, no permission, no name of a file
        raise DataError(f"{key}: {path!r} cannot be looked for: {error}") from None
    if not found:
        raise DataError(f"{key}: there is no file {path} (looked in {Path.cwd()})")
    try:
        table = read_numbers(place)
    except DataError as error:
        raise DataError(f"{key}: {path}: {error}") from None
    return Table(table.values, tuple(f"{path}: {note}" for note in table.notes))
