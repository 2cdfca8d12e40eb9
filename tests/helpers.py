"""What several tests share: small problems, communicators that count, brute-force minimisers."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.methods.method import Problem
from admmctl.model.convolution import Stack
from admmctl.model.fourier import Kernel
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets

Array = NDArray[Any]


class NoClock:
    """A clock that measures nothing."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield


class CountingComm:
    """One rank that remembers how many numbers every Allreduce carried."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def allreduce(self, buffer: Array, op: str = "sum") -> None:
        self.lengths.append(buffer.size)

    def gather(self, item: Any) -> list[Any]:
        return [item]

    def barrier(self) -> None:
        pass

    def library(self) -> str:
        return "none"


class _Rank(CountingComm):
    """One rank of several that are threads of the test: every Allreduce waits for the others."""

    def __init__(self, rank: int, size: int, meeting: threading.Barrier, sent: dict[int, Any]) -> None:
        super().__init__()
        self.rank, self.size = rank, size
        self._meeting, self._sent = meeting, sent

    def allreduce(self, buffer: Array, op: str = "sum") -> None:
        super().allreduce(buffer, op)
        self._sent[self.rank] = buffer.copy()
        self._meeting.wait()
        stacked = np.stack([self._sent[rank] for rank in range(self.size)])
        self._meeting.wait()
        buffer[...] = {"sum": np.sum, "max": np.max, "min": np.min}[op](stacked, axis=0)

    def gather(self, item: Any) -> Any:
        self._sent[self.rank] = item
        self._meeting.wait()
        items = [self._sent[rank] for rank in range(self.size)]
        self._meeting.wait()
        return items if self.rank == 0 else None

    def barrier(self) -> None:
        self._meeting.wait()


def on_ranks(size: int, work: Callable[[Any], Any]) -> list[Any]:
    """What ``work(comm)`` returns on each of ``size`` ranks. What one of them raises is raised."""
    meeting, sent = threading.Barrier(size, timeout=20), {}
    answers: list[Any] = [None] * size
    failures: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            answers[rank] = work(_Rank(rank, size, meeting, sent))
        except BaseException as failure:
            failures.append(failure)
            meeting.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a rank waits for the others"
    for failure in failures:
        raise failure
    return answers


def problem(
    hidden: list[int],
    *,
    samples: int = 120,
    features: int = 4,
    outputs: int = 1,
    loss: str = "squared",
    activation: str = "relu",
    bias: bool = True,
    dtype: type = np.float64,
    seed: int = 0,
    comm: Any = None,
    columns: slice = slice(None),
    kernel: Kernel | None = None,
    convolution: Stack | None = None,
) -> Problem:
    """Normal inputs with labels of a curved boundary; ``columns`` makes it one rank's part of the same data."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((features, samples))
    a0 = np.asfortranarray(np.vstack([x, np.ones(samples)]).astype(dtype)[:, columns])
    score = x[0] + 0.5 * x[1] ** 2 + 0.3 * generator.standard_normal(samples)
    classes = max(outputs, 2)
    labels = np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))[columns]
    return Problem(
        a0=a0,
        y=targets(labels, outputs, dtype),
        network=Network.build(features, hidden, outputs, activation, bias, kernel, convolution),
        loss=losses.load(loss)(),
        comm=comm or CountingComm(),
        clock=NoClock(),
        seed=seed,
        start=columns.start or 0,
        total=samples,
    )


def smallest_cost(cost: Callable[[Array], Array], points: Array) -> Array:
    """The minimum over z of ``cost`` for every entry, by a dense grid that is refined around its best point.

    ``points`` has shape (p, entries): it spans the search, and every point of it is tried. ``cost`` takes and
    returns shape (anything, entries).
    """
    low, high = points.min(axis=0) - 1.0, points.max(axis=0) + 1.0
    best = cost(points).min(axis=0)
    for _ in range(4):
        grid = low + (high - low) * np.linspace(0.0, 1.0, 801)[:, None]
        values = cost(grid)
        nearest = np.take_along_axis(grid, values.argmin(axis=0)[None], axis=0)[0]
        best = np.minimum(best, values.min(axis=0))
        step = (high - low) / 800
        low, high = nearest - step, nearest + step
    return best


def program(path: Path, code: str) -> Path:
    """A program of Python code at ``path``: a stand-in for mpiexec, srun, sbatch and their like."""
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)
    return path
