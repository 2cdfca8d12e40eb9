"""Regularisers of mini-batches: noise on inputs, smooth targets, hidden units that are left out.

What is drawn for a row depends on the seed, the iteration and the row's place in its mini-batch, counted over all
ranks: not on the rank that draws it. Nothing is remembered from one mini-batch to the next. Rows in memory and on
disk stay as they are, and what is evaluated is the network without any of this.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from admmctl.methods.method import Array
from admmctl.model.network import Network
from admmctl.rng import normal_rows, whole_rows
from admmctl.settings import NonNegative, Settings

Rate = Annotated[float, Field(ge=0, lt=1)]

_CHANCES = 2**16  # of which so many as the rate says leave a unit out: the rate is rounded to 1/65,536
_DRAWN = 2**15  # normals that are drawn at a time: they stay in cache


class RegulariserSettings(Settings):
    """Keys of a method block that has mini-batches. Without them nothing is changed, and nothing is drawn."""

    input_noise: NonNegative = Field(
        default=0.0,
        description="standard deviation of normal noise on the inputs, as they are after scaling; drawn anew in "
        "every iteration",
    )
    label_smoothing: Rate = Field(
        default=0.0, description="how far targets are moved towards the same for all classes; of cross-entropy"
    )
    dropout: Rate | list[Rate] = Field(
        default=0.0,
        description="chance that a hidden unit is left out, drawn for every row and iteration: one, or one per "
        "hidden layer; the others are scaled up for it",
    )

    def plain(self) -> dict[str, Any]:
        """Without keys that change nothing: they are in the name of no run from before there were any."""
        idle = RegulariserSettings.model_fields.keys() - self.regularises
        return {key: value for key, value in super().plain().items() if key not in idle}

    @property
    def regularises(self) -> list[str]:
        """The keys that change anything."""
        return [key for key in RegulariserSettings.model_fields if np.any(getattr(self, key))]

    @property
    def changes_samples(self) -> bool:
        """Whether inputs or targets of a mini-batch are not those of its rows."""
        return self.input_noise > 0 or self.label_smoothing > 0

    def wrong_dropout(self, layers: int) -> list[tuple[str, str]]:
        """What does not fit a network of so many weight matrices: (key, message) each."""
        hidden = layers - 1
        if isinstance(self.dropout, list) and len(self.dropout) != hidden:
            return [
                ("dropout", f"{len(self.dropout)} rates for {hidden} hidden layers; give one number or {hidden}")
            ]
        if self.dropout and not hidden:
            return [("dropout", "is of hidden layers, and there is none")]
        return []


class Regulariser:
    """What settings do to mini-batches of a network's samples, one mini-batch after another.

    Samples are arrays ``like`` one; what is drawn is drawn on the host.
    """

    def __init__(self, settings: RegulariserSettings, network: Network, seed: int, like: Array) -> None:
        self._settings, self._seed, self._like = settings, seed, like
        self._classes = max(network.sizes[-1], 2)  # two of them may share an output
        self._hidden = network.sizes[1:-1]
        self._left_out = _left_out(settings, len(self._hidden))
        self._masks: dict[int, Array] = {}  # of hidden layer l, (rows, k_l)
        self._iteration = self._first = 0

    @property
    def kept(self) -> dict[int, float]:
        """The part of its units that a hidden layer l = 1.. keeps on average, where it is not 1."""
        return {l: 1 - count / _CHANCES for l, count in self._left_out.items()}

    def begin(self, iteration: int, first: int) -> None:
        """What follows is of this rank's rows of this iteration; ``first`` is the place of the first of them."""
        self._iteration, self._first = iteration, first

    def change(self, a0: Array, y: Array) -> None:
        """Inputs (k_0 + 1, rows) get their noise, but for the row of ones; targets (k_L, rows) are smoothed."""
        if self._settings.input_noise:
            self._add_noise(a0[:-1].T)
        if self._settings.label_smoothing:
            # (1 - s) y + s / K; of two classes that share an output K is 2.
            y *= 1 - self._settings.label_smoothing
            y += self._settings.label_smoothing / self._classes

    def _add_noise(self, x: Array) -> None:
        """x <- x + input_noise * N(0, 1), (rows, k_0)."""
        at_a_time = max(1, _DRAWN // max(1, x.shape[1]))
        for low in range(0, len(x), at_a_time):
            part = x[low : low + at_a_time]
            noise = normal_rows(
                self._seed, f"input noise {self._iteration}", self._first + low, len(part), x.shape[1]
            )
            noise *= self._settings.input_noise
            part += np.asarray(noise, like=part)

    def mask(self, l: int, columns: slice) -> Array | None:
        """What the activations of hidden layer l are multiplied by, (k_l, columns), or None for all ones.

        0 for a unit that is left out, and 1 / ``kept`` for others: the mean is 1. It holds until the next call for
        this layer.
        """
        if l not in self._left_out:
            return None
        rows, k = columns.stop - columns.start, self._hidden[l - 1]
        if l not in self._masks or len(self._masks[l]) < rows:
            self._masks[l] = np.empty((rows, k), np.float32)
        mask = self._masks[l][:rows]
        stream = f"dropout {l} {self._iteration}"
        drawn = whole_rows(self._seed, stream, self._first + columns.start, rows, k)
        np.greater_equal(drawn, self._left_out[l], out=mask)
        mask *= 1 / self.kept[l]
        return np.asarray(mask, like=self._like).T


def _left_out(settings: RegulariserSettings, hidden: int) -> dict[int, int]:
    """Of ``_CHANCES``, how many leave out a unit of a hidden layer l = 1..hidden, where any do."""
    given = settings.dropout
    rates: Sequence[float] = given if isinstance(given, list) else [given] * hidden
    counts = {l: min(round(rate * _CHANCES), _CHANCES - 1) for l, rate in enumerate(rates, start=1)}
    return {l: count for l, count in counts.items() if count}


def regulariser_bytes(settings: RegulariserSettings, network: Network, columns: int) -> int:
    """Memory of masks for blocks of so many columns, and of what is drawn at a time."""
    hidden = network.sizes[1:-1]
    masks = sum(8 * columns * hidden[l - 1] for l in _left_out(settings, len(hidden)))
    return masks + (40 * max(_DRAWN, network.sizes[0]) if settings.input_noise else 0)
