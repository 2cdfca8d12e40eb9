"""The types that all of ``data`` shares: the ``data:`` block, rows by number, a source of rows."""

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.settings import Count, Fraction, Settings

Progress = Callable[[str, int, int], None]  # what is read, how far, of how much
Say = Callable[[str], None]  # one line for people
Rows = range | NDArray[np.int64]
Part = Literal["train", "test", "extra"]


class DataSettings(Settings):
    """The ``data:`` block of an experiment; datasets add keys of their own in a subclass."""

    name: str
    classes: list[int] | None = Field(
        default=None, min_length=1, description="labels to keep, in this order; the first becomes class 0"
    )
    rows: Count | None = Field(default=None, description="rows to keep, before the split")
    train: Count | None = Field(default=None, description="training rows: the first of the rows kept")
    first: Count | None = Field(
        default=None, description="of the training rows keep the first so many, after the split: test rows stay"
    )
    test: Literal["rest", "official"] | Fraction | None = Field(
        default=None, description="rest | official | a fraction of the rows"
    )
    seed: int | None = Field(default=None, ge=0, description="shuffles the rows before the split")
    validation: Fraction | None = Field(
        default=None, description="a fraction of the training rows, held back for choices"
    )
    stream: bool = Field(
        default=False, description="leave the rows on disk and read them in every pass, a chunk at a time"
    )
    steps: int | None = Field(
        default=None, ge=2, description="equal parts of a row that enter a recurrent network one after another"
    )
    permute: int | None = Field(
        default=None, ge=0, description="takes the features of these steps in an order drawn from this seed"
    )
    scale: Literal["standard", "unit", "centred", "quantile", "none"] = Field(
        default="standard",
        description="standardise, divide by the largest value, do that and subtract each feature's mean, map each "
        "feature to a normal by its quantiles, or leave inputs alone",
    )


class Source(ABC):
    """Rows of one dataset, read a few at a time. Row numbers are those of the official files."""

    features: int
    labels_known: Sequence[int]  # the labels that occur, ascending
    precision: type[np.floating[Any]] = np.float32  # of ``inputs``; float64 where float32 would lose digits
    may_overflow = False  # whether a row may hold a number that is too large for float32
    made_up = False  # whether a program made the rows up in the place of the real ones
    notes: Sequence[str] = ()  # what a person should know about how the data were read

    @abstractmethod
    def rows(self, part: Part) -> int:
        """How many rows the official training or test set has (0: there is no official test set)."""

    @abstractmethod
    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        """The labels of ``rows``, shape (rows,)."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The sha256 that identifies the data, for the record."""

    def stored(self, part: Part, rows: Rows) -> NDArray[Any]:
        """The rows as they are stored, shape (rows, features), for a source that computes from them."""
        raise NotImplementedError

    @abstractmethod
    def inputs(self, part: Part, rows: Rows, out: NDArray[Any]) -> None:
        """Write the features of ``rows`` into ``out``, shape (rows, features), of ``precision``, unscaled."""

    def forget(self) -> None:
        """Rows that were read are not needed soon: give back the memory that they take of this process."""
        return None

    def where(self, part: Part, row: int) -> str:
        """A row as messages call it."""
        return f"row {row} of the {part} set"


class ArraySource(Source):
    """Rows of arrays, which may be memory-mapped: for each part x (rows, features) and y (rows,)."""

    _arrays: dict[Part, tuple[NDArray[Any], NDArray[Any]]]

    def rows(self, part: Part) -> int:
        return len(self._arrays[part][0]) if part in self._arrays else 0

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        return np.asarray(self._arrays[part][1][_index(rows)], dtype=np.int64)

    def stored(self, part: Part, rows: Rows) -> NDArray[Any]:
        return self._arrays[part][0][_index(rows)]

    def inputs(self, part: Part, rows: Rows, out: NDArray[Any]) -> None:
        out[...] = self.stored(part, rows)

    def forget(self) -> None:
        for x, _ in self._arrays.values():
            mapped = getattr(x, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)  # the system's cache of the file stays


def _index(rows: Rows) -> slice | NDArray[np.int64]:
    """A slice where rows are consecutive: it reads only them, and copies nothing."""
    return slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows
