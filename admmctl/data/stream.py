"""Reading a rank's rows of one part: into memory once, or from disk in every pass, a chunk at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.data.dataset import Part, Rows, Source
from admmctl.data.scaling import Scaling
from admmctl.errors import DataError

_CHUNK_BYTES = 4 << 20


class Streamed:
    """In place of ``Shard.a0``, with its shape (features + 1, samples): ``a0[:, columns]`` is read from disk.

    ``columns`` is a slice; consecutive ones are served from a chunk of a few megabytes. The features are scaled on
    the way, once it is known how.
    """

    ndim = 2
    dtype = np.dtype(np.float32)
    itemsize = 4

    def __init__(self, source: Source, part: Part, rows: Rows) -> None:
        self._source, self._part, self._rows = source, part, rows
        self.shape = (source.features + 1, len(rows))
        self._scaling: Scaling | None = None
        self.most = max(1, _CHUNK_BYTES // (4 * self.shape[0]))
        self._low = 0
        self._chunk = np.zeros((0, self.shape[0]), np.float32)  # a row per sample, from row _low on

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[Any, slice]) -> NDArray[np.float32]:
        features, columns = key
        low, high, _ = columns.indices(self.shape[1])
        if low < self._low or high > self._low + len(self._chunk):
            self._low = low
            self._chunk = self._read(self._rows[low : max(high, low + self.most)])
        return self._chunk[low - self._low : high - self._low].T[features]

    def take(self, samples: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Write the rows of some samples, in any order, to ``out`` (samples, features + 1)."""
        rows = np.asarray(self._rows)[samples] if not isinstance(self._rows, range) else samples + self._rows.start
        out[...] = self._read(rows)

    def unscaled(self, rows: int | None = None) -> Iterator[NDArray[Any]]:
        """All rows as the source gives them, in its precision: so many at a time, or a few megabytes."""
        rows = rows or self.most
        for low in range(0, len(self._rows), rows):
            yield self._raw(self._rows[low : low + rows])

    def scale(self, scaling: Scaling) -> None:
        """From now on scale every row's features."""
        self._scaling = scaling
        self._chunk = self._chunk[:0]

    def in_memory(self, rows: int) -> NDArray[np.float32]:
        """All rows at once, (samples, features + 1), read ``rows`` at a time; unscaled before ``scale``."""
        samples = np.empty((len(self._rows), self.shape[0]), np.float32)
        for low in range(0, len(samples), rows):
            self._fill(self._rows[low : low + rows], samples[low : low + rows])
        return samples

    def scale_in_memory(self, samples: NDArray[np.float32], rows: int) -> None:
        """Scale what ``in_memory`` returned before there was a scaling."""
        assert self._scaling is not None
        for low in range(0, len(samples), rows):
            block = samples[low : low + rows, :-1]
            self._scaling.apply(block, block)
            self._check(self._rows[low : low + rows], block)

    def _read(self, rows: Rows) -> NDArray[np.float32]:
        chunk = np.empty((len(rows), self.shape[0]), np.float32)
        self._fill(rows, chunk)
        return chunk

    def _fill(self, rows: Rows, samples: NDArray[np.float32]) -> None:
        samples[:, -1] = 1.0
        features = samples[:, :-1]
        if self._source.precision == np.float32:
            self._source.inputs(self._part, rows, features)
            raw: NDArray[Any] = features
        else:
            raw = self._raw(rows)
        if self._scaling is not None:
            self._scaling.apply(raw, features)
            self._check(rows, features)

    def _raw(self, rows: Rows) -> NDArray[Any]:
        raw = np.empty((len(rows), self._source.features), self._source.precision)
        self._source.inputs(self._part, rows, raw)
        return raw

    def _check(self, rows: Rows, scaled: NDArray[np.float32]) -> None:
        """Raises DataError where a number of ``rows`` has become too large for float32."""
        if not self._source.anything or np.isfinite(scaled).all():
            return
        bad, column = map(int, np.argwhere(~np.isfinite(scaled))[0])
        value = self._raw(rows[bad : bad + 1])[0, column]
        raise DataError(
            f"{self._source.where(self._part, int(rows[bad]))} holds {value:g} in column {column}: too large for "
            "float32, scaled as data.scale says; leave the row out, or choose another scale"
        )
