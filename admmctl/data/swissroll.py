"""The Swiss roll of Burmeister's report: a checkerboard ribbon rolled into three dimensions (Figure 7).

A 2-D ribbon is cut into four rectangles; opposing corners share a class. Rolled up, the classes cannot be
separated by a plane. Every row is computed from the seed and its own number alone, so that any rank can
make any row and nothing is downloaded or stored.
"""

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.data.catalog import Card
from admmctl.data.dataset import Dataset
from admmctl.data.source import DataSettings, Part, Rows, Source
from admmctl.rng import uniforms_of
from admmctl.settings import Count, NonNegative

# The ribbon as in the usual Swiss roll: angle from 1.5 pi to 4.5 pi along the spiral, width 21 across.
ANGLE_START, ANGLE_END, WIDTH = 1.5 * np.pi, 4.5 * np.pi, 21.0
STREAM = "swissroll"


class SwissRollSettings(DataSettings):
    """The ``data:`` block of a Swiss roll: ``rows`` in all, three quarters of them to train on."""

    name: str = "swissroll"
    rows: Count = 160_000
    seed: int = Field(default=0, ge=0, description="which roll: every seed gives other points")
    noise: NonNegative = Field(default=0.0, description="standard deviation of noise on every coordinate")


class SwissRollSource(Source):
    """Rows of one roll, by their numbers."""

    features = 3
    labels_known: Sequence[int] = (0, 1)

    def __init__(self, settings: SwissRollSettings) -> None:
        self._settings = settings

    def rows(self, part: Part) -> int:
        return self._settings.rows if part == "train" else 0

    def ribbon(self, rows: Rows) -> NDArray[np.float64]:
        """Where ``rows`` lie on the ribbon before it is rolled: (along, across) in [0, 1), shape (rows, 2)."""
        return self._uniforms(rows)[:, :2]

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        along, across = self.ribbon(rows).T
        return ((along < 0.5) ^ (across < 0.5)).astype(np.int64)

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        uniforms = self._uniforms(rows)
        angle = ANGLE_START + (ANGLE_END - ANGLE_START) * uniforms[:, 0]
        out[:, 0] = angle * np.cos(angle)
        out[:, 1] = WIDTH * uniforms[:, 1]
        out[:, 2] = angle * np.sin(angle)
        if self._settings.noise:
            radius = np.sqrt(-2.0 * np.log1p(-uniforms[:, 2:5]))  # Box-Muller
            out += self._settings.noise * radius * np.cos(2.0 * np.pi * uniforms[:, 5:8])

    def fingerprint(self) -> str:
        settings = self._settings
        return hashlib.sha256(f"swissroll/1 {settings.seed} {settings.noise}".encode()).hexdigest()

    def _uniforms(self, rows: Rows) -> NDArray[np.float64]:
        return uniforms_of(self._settings.seed, STREAM, rows, 8)


class SwissRoll(Dataset):
    """``data: {name: swissroll}``."""

    name = "swissroll"
    known_shape = (3, 2)
    card = Card(
        title="Swiss roll: a checkerboard ribbon rolled up, computed from a seed",
        licence="none needed",
        citation="Burmeister: Training neural networks without gradient descent (Trident report), Figure 7",
        rows="any number",
        features="3",
    )
    Settings: ClassVar[type[DataSettings]] = SwissRollSettings
    default_test: ClassVar[str | float] = 0.25

    def shuffles(self, settings: DataSettings) -> bool:
        return False  # the seed makes the points, which come in no order

    def open(self, settings: DataSettings) -> SwissRollSource:
        assert isinstance(settings, SwissRollSettings)
        return SwissRollSource(settings)
