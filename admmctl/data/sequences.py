"""Two problems of long time lags (Hochreiter and Schmidhuber 1997, "Long short-term memory", experiments 4 and 6).

A row is a sequence of ``steps`` parts, for recurrent networks, and computed from the seed and its own number
alone. What tells the class stands far apart in it, with distractors between.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.data.catalog import Card
from admmctl.data.dataset import Dataset
from admmctl.data.source import DataSettings, Part, Rows, Source
from admmctl.rng import uniforms_of
from admmctl.settings import Count

_ARTICLE = "Hochreiter, Schmidhuber: Long short-term memory, Neural Computation 9 (1997)"


class SequenceSettings(DataSettings):
    """The ``data:`` block: ``rows`` sequences in all, three quarters of them to train on."""

    rows: Count = 20_000
    seed: int = Field(default=0, ge=0, description="which sequences: every seed gives others")
    steps: int = Field(
        default=30, ge=10, le=1000, description="their length, and the steps of a recurrent network"
    )


class SequenceSource(Source):
    """Sequences by their numbers: (rows, steps, f), a step's features side by side."""

    name: ClassVar[str]
    entering: ClassVar[int]  # f, the features of a step
    draws: ClassVar[int]  # uniform numbers of a row, beside one for every step

    def __init__(self, settings: SequenceSettings) -> None:
        self._settings, self._steps = settings, settings.steps
        self.features = self.entering * settings.steps

    def rows(self, part: Part) -> int:
        return self._settings.rows if part == "train" else 0

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        return self._labels(*self._drawn(rows))

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        sequences = np.zeros((len(out), self._steps, self.entering), np.float32)
        self._write(*self._drawn(rows), sequences)
        out[...] = sequences.reshape(out.shape)

    def _drawn(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Uniform numbers in [0, 1) of the steps of each row, (rows, steps), and of the row, (rows, draws)."""
        count = self._steps + self.draws
        drawn = uniforms_of(self._settings.seed, self.name, rows, count)
        return drawn[:, : self._steps], drawn[:, self._steps :]

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name}/1 {self._settings.seed} {self._steps}".encode()).hexdigest()

    @abstractmethod
    def _labels(self, of_steps: NDArray[np.float64], of_row: NDArray[np.float64]) -> NDArray[np.int64]:
        """The labels of these rows."""

    @abstractmethod
    def _write(self, of_steps: NDArray[np.float64], of_row: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        """Write the sequences of these rows to ``out``, zeros of shape (rows, steps, f)."""


class AddingSource(SequenceSource):
    """A step is a number in [0, 1) and a mark; a number in each half is marked. Class 1: the sum is at least 1."""

    name, entering, draws = "adding", 2, 2
    labels_known: Sequence[int] = (0, 1)

    def _places(self, of_row: NDArray[np.float64]) -> list[NDArray[np.int64]]:
        half = self._steps // 2
        return [_whole(of_row[:, 0], 0, half), _whole(of_row[:, 1], half, self._steps)]

    def _labels(self, of_steps: NDArray[np.float64], of_row: NDArray[np.float64]) -> NDArray[np.int64]:
        each = np.arange(len(of_row))
        first, second = (of_steps[each, place] for place in self._places(of_row))
        return (first + second >= 1).astype(np.int64)

    def _write(self, of_steps: NDArray[np.float64], of_row: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        out[:, :, 0] = of_steps
        for place in self._places(of_row):
            out[np.arange(len(out)), place, 1] = 1


class OrderSource(SequenceSource):
    """A step is one of eight symbols: E begins, B ends, a to d distract; X or Y stands early, and in the middle.

    The class says which, in order: XX, XY, YX, YY. Early is between a tenth and a fifth of the steps, in the
    middle between five and six tenths.
    """

    name, entering, draws = "order", 8, 4
    labels_known: Sequence[int] = (0, 1, 2, 3)
    E, B, A, X = 0, 1, 2, 6  # places of E, B, of a before b, c, d, and of X before Y

    def _told(self, of_row: NDArray[np.float64]) -> list[NDArray[np.int64]]:
        """Whether the early and the middle symbol is Y."""
        return [_whole(of_row[:, column], 0, 2) for column in (0, 1)]

    def _labels(self, of_steps: NDArray[np.float64], of_row: NDArray[np.float64]) -> NDArray[np.int64]:
        early, middle = self._told(of_row)
        return 2 * early + middle

    def _write(self, of_steps: NDArray[np.float64], of_row: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        each, steps = np.arange(len(out)), self._steps
        symbols = _whole(of_steps, self.A, self.X)
        symbols[:, 0], symbols[:, -1] = self.E, self.B
        early = _whole(of_row[:, 2], steps // 10, steps // 5 + 1)
        middle = _whole(of_row[:, 3], steps // 2, 6 * steps // 10 + 1)
        for place, told in zip((early, middle), self._told(of_row), strict=True):
            symbols[each, place] = self.X + told
        out[each[:, None], np.arange(steps), symbols] = 1


def _whole(uniform: NDArray[np.float64], low: int, high: int) -> NDArray[np.int64]:
    """Whole numbers from ``low`` to below ``high``, all as likely."""
    return low + (uniform * (high - low)).astype(np.int64)


class Sequences(Dataset):
    """Computed sequences."""

    Settings: ClassVar[type[DataSettings]] = SequenceSettings
    default_test: ClassVar[str | float] = 0.25
    source: ClassVar[type[SequenceSource]]

    def shuffles(self, settings: DataSettings) -> bool:
        return False  # the seed makes the rows, which come in no order

    def open(self, settings: DataSettings) -> SequenceSource:
        assert isinstance(settings, SequenceSettings)
        return self.source(settings)


class Adding(Sequences):
    """``data: {name: adding, steps: 30}``."""

    name, source = "adding", AddingSource
    card = Card(
        title="The adding problem in two classes: is the sum of two marked numbers 1 or more?",
        licence="none needed",
        citation=_ARTICLE,
        rows="any number",
        features="2 a step",
    )


class Order(Sequences):
    """``data: {name: order, steps: 30}``."""

    name, source = "order", OrderSource
    card = Card(
        title="Temporal order: which of two symbols stood where, in four classes",
        licence="none needed",
        citation=_ARTICLE,
        rows="any number",
        features="8 a step",
    )
