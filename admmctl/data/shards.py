"""This rank's share of an experiment's rows: which they are, and their way from disk to scaled samples.

Rows are read into memory once, or from disk in every pass, a chunk at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.data.catalog import datasets
from admmctl.data.dataset import Split, lacking_classes, split
from admmctl.data.quantiles import fit_quantiles
from admmctl.data.scaling import Scaling, fit, fit_single
from admmctl.data.source import DataSettings, Part, Rows, Source
from admmctl.errors import DataError

_CHUNK = 16_384  # rows read or scaled at a time, so that temporaries stay small
_CHUNK_BYTES = 16 << 20  # of these in float64: fewer rows where they are long
_STREAM_BYTES = 4 << 20  # of a chunk of rows that stay on disk
MADE_UP = "these are made-up data: no result on them says anything of the real ones"


def _chunk(features: int) -> int:
    """Rows to read or scale at a time."""
    return max(1, min(_CHUNK, _CHUNK_BYTES // (8 * features)))


def share(rows: int, rank: int, size: int) -> tuple[int, int]:
    """The rows [start, stop) of ``rank`` out of ``size``: consecutive, any remainder spread by one row."""
    quotient, remainder = divmod(rows, size)
    start = rank * quotient + min(rank, remainder)
    return start, start + quotient + (rank < remainder)


class Streamed:
    """Stands for ``Shard.a0``, with its shape (features + 1, samples): ``a0[:, columns]`` is read from disk.

    ``columns`` is a slice; consecutive ones are served from a chunk of a few megabytes. The features are scaled as
    they are read, once it is known how.
    """

    ndim = 2
    dtype = np.dtype(np.float32)
    itemsize = 4

    def __init__(self, source: Source, part: Part, rows: Rows) -> None:
        self._source, self._part, self._rows = source, part, rows
        self.shape = (source.features + 1, len(rows))
        self._scaling: Scaling | None = None
        self.chunk_rows = max(1, _STREAM_BYTES // (4 * self.shape[0]))
        self._low = 0
        self._chunk = np.zeros((0, self.shape[0]), np.float32)  # a row per sample, from row _low on

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[Any, slice]) -> NDArray[np.float32]:
        features, columns = key
        low, high, _ = columns.indices(self.shape[1])
        if low < self._low or high > self._low + len(self._chunk):
            self._low = low
            self._chunk = self._read(self._rows[low : max(high, low + self.chunk_rows)])
            self._source.forget()
        return self._chunk[low - self._low : high - self._low].T[features]

    def take(self, samples: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Write the rows of some samples, in any order, to ``out`` (samples, features + 1)."""
        rows = np.asarray(self._rows)[samples] if not isinstance(self._rows, range) else samples + self._rows.start
        out[...] = self._read(rows)

    def unscaled(self, rows: int | None = None) -> Iterator[NDArray[Any]]:
        """All rows as the source gives them, in its precision: so many at a time, or a few megabytes."""
        rows = rows or self.chunk_rows
        for low in range(0, len(self._rows), rows):
            yield self._raw(self._rows[low : low + rows])
            self._source.forget()

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
        if not self._source.may_overflow or np.isfinite(scaled).all():
            return
        bad, column = map(int, np.argwhere(~np.isfinite(scaled))[0])
        value = self._raw(rows[bad : bad + 1])[0, column]
        raise DataError(
            f"{self._source.where(self._part, int(rows[bad]))} holds {value:g} in column {column}: too large for "
            "float32, scaled as data.scale says; leave the row out, or choose another scale"
        )


@dataclass(frozen=True)
class Shard:
    """One rank's samples as columns.

    ``a0`` has shape (features + 1, samples), Fortran order, so that a block of columns is one block of
    memory; its last row is ones: a bias is one more weight. With ``data.stream`` it is a ``Streamed``, of which
    blocks of columns can be read. ``labels`` are 0, 1, ... in the order of the classes asked for. ``start`` is
    the global number of the first sample, ``total`` the samples of all ranks.
    """

    a0: NDArray[np.float32]
    labels: NDArray[np.int64]
    start: int
    total: int


@dataclass(frozen=True)
class Plan:
    """An experiment's rows, before any is read."""

    source: Source
    split: Split
    settings: DataSettings
    notes: tuple[str, ...] = ()  # what a person should know of these rows
    refusal: str = ""  # why they cannot be trained on

    def check(self) -> None:
        """Raises DataError where these rows cannot be trained on."""
        if self.refusal:
            raise DataError(self.refusal)

    @property
    def rows_train(self) -> int:
        return len(self.split.train)

    @property
    def rows_test(self) -> int:
        return len(self.split.test)


def plan(settings: DataSettings, ranks: int) -> Plan:
    """Open a dataset and divide it, reading no inputs. Raises DataError with the cure."""
    dataset = datasets.load(settings.name)()
    source = dataset.open(settings)
    divided = split(dataset, settings, source)
    rows_train = len(divided.train)
    if rows_train == 0:
        raise DataError("no rows are left to train on; raise data.rows or lower data.test")
    if rows_train < ranks:
        raise DataError(
            f"{ranks} ranks for {rows_train:,} training rows: every rank needs at least one; "
            f"use --cores {rows_train} or fewer"
        )
    if len(divided.test) == 0:
        raise DataError("no rows are left to test on; lower data.train or set data.test to a fraction")
    refusal, notes = lacking_classes(dataset, settings, source, divided)
    made_up = [MADE_UP] if source.made_up else []
    return Plan(source, divided, settings, (*made_up, *source.notes, *notes), refusal)


@dataclass(frozen=True)
class Shards:
    """This rank's rows of every part of an experiment, scaled by statistics of all training rows."""

    train: Shard
    test: Shard
    validation: Shard | None
    scaling: Scaling


def load(plan: Plan, comm: Comm) -> Shards:
    """Read and scale this rank's rows. Raises DataError."""
    plan.check()
    split, source, settings = plan.split, plan.source, plan.settings
    step = _chunk(source.features)
    wanted: list[tuple[Part, Rows]] = [("train", split.train), (split.test_part, split.test)]
    if len(split.validation):
        wanted.append(("train", split.validation))
    shares = [share(len(rows), comm.rank, comm.size) for _, rows in wanted]
    readers = [
        Streamed(source, part, rows[start:stop])
        for (part, rows), (start, stop) in zip(wanted, shares, strict=True)
    ]
    # Rows of 64 bits are scaled before they become float32. Others are read once, and scaled where they are.
    exact = source.precision != np.float32
    held = [None if settings.stream or exact else reader.in_memory(step) for reader in readers]
    scaling = _fit(plan, readers[0], held[0], comm)
    parts = []
    for (part, rows), (start, stop), reader, samples in zip(wanted, shares, readers, held, strict=True):
        reader.scale(scaling)
        if samples is not None:
            reader.scale_in_memory(samples, step)
        elif not settings.stream:
            samples = reader.in_memory(reader.chunk_rows)
        a0 = cast(Any, reader) if samples is None else samples.T
        parts.append(Shard(a0, _numbers(plan, part, rows[start:stop]), start, len(rows)))
    return Shards(parts[0], parts[1], parts[2] if len(parts) > 2 else None, scaling)


def _fit(plan: Plan, reader: Streamed, samples: NDArray[np.float32] | None, comm: Comm) -> Scaling:
    source, total, kind = plan.source, plan.rows_train, plan.settings.scale
    features, exact = source.features, source.precision != np.float32
    step = _chunk(features)

    def blocks() -> Iterator[NDArray[Any]]:
        if samples is None:
            return reader.unscaled(None if exact else step)
        return (samples[low : low + step, :-1] for low in range(0, len(samples), step))

    if kind == "quantile":
        start, _ = share(total, comm.rank, comm.size)
        return Scaling.by_quantiles(fit_quantiles(blocks, features, start, total, source.precision, comm))
    return (fit if exact else fit_single)(blocks, features, total, kind, comm)


def _numbers(plan: Plan, part: Part, rows: Rows) -> NDArray[np.int64]:
    """The classes of ``rows``: 0, 1, ... in the order of the classes asked for."""
    classes = np.asarray(plan.split.classes)
    order = np.argsort(classes)
    return order[np.searchsorted(classes[order], plan.source.labels(part, rows))]
