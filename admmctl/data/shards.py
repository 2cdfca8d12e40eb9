"""This rank's share of an experiment's rows: which they are, reading them, scaling them."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from admmctl.data.catalog import datasets
from admmctl.data.dataset import DataSettings, Part, Rows, Source, Split, split
from admmctl.data.stream import Streamed
from admmctl.errors import DataError
from admmctl.parallel.comm import Comm

_CHUNK = 16_384  # rows read or scaled at a time, so that temporaries stay small
_CHUNK_BYTES = 16 << 20  # of these in float64: fewer rows where they are long


def _chunk(features: int) -> int:
    """Rows to read or scale at a time."""
    return max(1, min(_CHUNK, _CHUNK_BYTES // (8 * features)))


def share(rows: int, rank: int, size: int) -> tuple[int, int]:
    """The rows [start, stop) of ``rank`` out of ``size``: consecutive, any remainder spread by one row."""
    quotient, remainder = divmod(rows, size)
    start = rank * quotient + min(rank, remainder)
    return start, start + quotient + (rank < remainder)


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
class Scaling:
    """What was subtracted from and multiplied to every feature, shape (features,)."""

    shift: NDArray[np.float32]
    factor: NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """An experiment's rows, before any is read."""

    source: Source
    split: Split
    settings: DataSettings

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
    result = Plan(source, split(dataset, settings, source), settings)
    if result.rows_train == 0:
        raise DataError("no rows are left to train on; raise data.rows or lower data.test")
    if result.rows_train < ranks:
        raise DataError(
            f"{ranks} ranks for {result.rows_train:,} training rows: every rank needs at least one; "
            f"use --cores {result.rows_train} or fewer"
        )
    if result.rows_test == 0:
        raise DataError("no rows are left to test on; lower data.train or set data.test to a fraction")
    return result


@dataclass(frozen=True)
class Shards:
    """This rank's rows of every part of an experiment, scaled by statistics of all training rows."""

    train: Shard
    test: Shard
    validation: Shard | None
    scaling: Scaling


def load(plan: Plan, comm: Comm) -> Shards:
    """Read and scale this rank's rows."""
    train = _read(plan, "train", plan.split.train, comm)
    test = _read(plan, plan.split.test_part, plan.split.test, comm)
    held = plan.split.validation
    validation = _read(plan, "train", held, comm) if len(held) else None
    scaling = fit_scaling(train, plan.settings.scale, comm)
    for shard in (train, test, validation):
        if shard is not None:
            apply_scaling(shard.a0, scaling)
    return Shards(train, test, validation, scaling)


def _read(plan: Plan, part: Part, rows: Rows, comm: Comm) -> Shard:
    start, stop = share(len(rows), comm.rank, comm.size)
    mine = rows[start:stop]
    labels = plan.source.labels(part, mine)
    classes = np.asarray(plan.split.classes)
    order = np.argsort(classes)
    numbers = order[np.searchsorted(classes[order], labels)]
    if plan.settings.stream:
        return Shard(cast(Any, Streamed(plan.source, part, mine)), numbers, start, len(rows))
    samples = np.empty((len(mine), plan.source.features + 1), dtype=np.float32)
    step = _chunk(plan.source.features)
    for low in range(0, len(mine), step):
        plan.source.inputs(part, mine[low : low + step], samples[low : low + step, :-1])
    samples[:, -1] = 1.0
    return Shard(samples.T, numbers, start, len(rows))


def fit_scaling(train: Shard, kind: str, comm: Comm) -> Scaling:
    """Statistics of the training rows of all ranks: mean and standard deviation, or the largest value.

    A feature that never varies is only shifted. Sums are in float64, the mean first and the deviations
    from it second, so that the result does not depend on how rows are spread, beyond rounding.
    """
    features = len(train.a0) - 1
    shift = np.zeros(features)
    factor = np.ones(features)
    step = _chunk(features)
    cuts = [slice(low, low + step) for low in range(0, train.a0.shape[1], step)]
    if kind in ("standard", "centred"):
        shift = sum((train.a0[:-1, cut].sum(axis=1, dtype=np.float64) for cut in cuts), start=shift)
        comm.allreduce(shift)
        shift /= train.total
    if kind == "standard":
        variance = np.zeros(features)
        for cut in cuts:
            centred = train.a0[:-1, cut] - shift[:, None]
            variance += np.einsum("ij,ij->i", centred, centred)
        comm.allreduce(variance)
        deviation = np.sqrt(variance / train.total)
        # Rounding leaves a constant feature with a tiny deviation; dividing by it would make noise.
        varies = deviation > 1e-6 * np.maximum(1.0, np.abs(shift))
        factor[varies] = 1.0 / deviation[varies]
    if kind in ("unit", "centred"):
        largest = np.array([max((float(np.abs(train.a0[:-1, cut]).max()) for cut in cuts), default=0.0)])
        comm.allreduce(largest, op="max")
        factor /= largest[0] or 1.0
    return Scaling(shift.astype(np.float32), factor.astype(np.float32))


def apply_scaling(a0: Any, scaling: Scaling) -> None:
    """Scale the features of ``a0`` (features + 1, samples) in place; the row of ones stays."""
    if isinstance(a0, Streamed):
        a0.scale(scaling.shift, scaling.factor)
        return
    step = _chunk(len(a0) - 1)
    for low in range(0, a0.shape[1], step):
        block = a0[:-1, low : low + step]
        block -= scaling.shift[:, None]
        block *= scaling.factor[:, None]
