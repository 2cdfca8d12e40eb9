"""Rows that stay on disk: read, scaled and forgotten a chunk at a time, every time they are looked at."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.data.dataset import Part, Rows, Source

_CHUNK_BYTES = 4 << 20


class Streamed:
    """In place of ``Shard.a0``, with its shape (features + 1, samples): ``a0[:, columns]`` is read from disk.

    ``columns`` is a slice; consecutive ones are served from a chunk of a few megabytes. ``shift`` and ``factor``
    are applied to the features on the way, once they are set.
    """

    ndim = 2
    dtype = np.dtype(np.float32)
    itemsize = 4

    def __init__(self, source: Source, part: Part, rows: Rows) -> None:
        self._source, self._part, self._rows = source, part, rows
        self.shape = (source.features + 1, len(rows))
        self.shift: NDArray[np.float32] | None = None
        self.factor: NDArray[np.float32] | None = None
        self._most = max(1, _CHUNK_BYTES // (4 * self.shape[0]))
        self._low = 0
        self._chunk = np.zeros((0, self.shape[0]), np.float32)  # a row per sample, from row _low on

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[Any, slice]) -> NDArray[np.float32]:
        features, columns = key
        low, high, _ = columns.indices(self.shape[1])
        if low < self._low or high > self._low + len(self._chunk):
            self._low = low
            self._chunk = self._read(self._rows[low : max(high, low + self._most)])
        return self._chunk[low - self._low : high - self._low].T[features]

    def take(self, samples: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Write the rows of some samples, in any order, to ``out`` (samples, features + 1)."""
        rows = np.asarray(self._rows)[samples] if not isinstance(self._rows, range) else samples + self._rows.start
        out[...] = self._read(rows)

    def scale(self, shift: NDArray[np.float32], factor: NDArray[np.float32]) -> None:
        """From now on subtract ``shift`` from every row's features and multiply them by ``factor``."""
        self.shift, self.factor = shift, factor
        self._chunk = self._chunk[:0]

    def _read(self, rows: Rows) -> NDArray[np.float32]:
        chunk = np.ones((len(rows), self.shape[0]), np.float32)
        features = chunk[:, :-1]
        self._source.inputs(self._part, rows, features)
        if self.shift is not None and self.factor is not None:
            features -= self.shift
            features *= self.factor
        return chunk
