"""Methods on a device: a problem whose arrays, sums over ranks and clock are of that device.

A method's text is one for NumPy and for PyTorch: it makes its arrays ``like`` those of its problem (``devices/``).
So ``placed`` is all that ``init`` has to ask for, and ``arrays.on_host`` what weights and snapshots go through.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm, Operation
from admmctl.devices.library import allow_tf32, torch_for
from admmctl.devices.settings import DeviceSettings, LoopSettings
from admmctl.errors import UserError
from admmctl.methods.method import Array, Method, Problem, Timer

RESIDENT = 0.5  # of a device's free memory that rows may take for good; where they are more they are streamed
# Bytes of a block of columns of the widest layers. On a processor it is larger than NumPy's: a call takes longer,
# and element-wise loops take a few columns at a time by themselves.
BLOCK_ON_PROCESSOR, BLOCK_ON_GPU = 16 << 20, 1 << 30


def placed(p: Problem, method: Method) -> Problem:
    """``p`` where the settings of ``method`` say: as it is, or with rows on a device, or streamed to it.

    Raises UserError where there is no device for this rank, or too little memory on it, and MissingExtra.
    """
    settings = method.settings
    moved = not isinstance(p.y, np.ndarray)
    if not isinstance(settings, DeviceSettings) or settings.backend == "numpy" or moved:
        return p
    torch = torch_for(settings.device)
    from admmctl.devices.torch_arrays import TorchArray

    place = settings.place(p.comm)
    here = TorchArray(torch.empty(0, device=place))
    clock: Timer = p.clock
    network = replace(p.network, block_bytes=BLOCK_ON_PROCESSOR if here.is_processor else BLOCK_ON_GPU)
    if here.is_processor:
        torch.set_num_threads(p.threads)
    else:
        torch.cuda.set_device(place)
        allow_tf32(torch, settings.matmul == "tf32")
        clock = _Synchronised(p.clock, torch)
        _check_memory(p, method, torch, place)
    _warm_up(here, torch)
    with clock.phase("transfer"):
        y: Array = _moved(p.y, here)
        a0: Any = _moved(p.a0, here) if _resident(p, here, torch, place) else Streamed(p.a0, here, clock)
    there = replace(p, a0=a0, y=y, network=network, comm=cast(Comm, _ThroughHost(p.comm)), clock=clock)
    _compile(there, method)
    return there


def _compile(p: Problem, method: Method) -> None:
    """Compile loops where the settings ask for it, before the clock starts. Raises UserError where that fails."""
    from admmctl.devices import torch_kernels

    wanted = isinstance(method.settings, LoopSettings) and method.settings.compile
    torch_kernels.compile_loops(wanted)
    if wanted:
        try:
            method.prepare(p)
        except Exception as error:
            cause = " ".join(str(error).split())[:200]
            raise UserError(
                f"compile: torch.compile fails here ({type(error).__name__}: {cause}); install a C++ compiler, or "
                "set compile: false"
            ) from None


def _check_memory(p: Problem, method: Method, torch: Any, place: str) -> None:
    free, _ = torch.cuda.mem_get_info(place)
    needed = method.cost(p.network, p.a0.shape[1], p.total, p.comm.size).state_bytes
    if needed > free:
        raise UserError(
            f"device: {place} has {free / 1e9:,.1f} GB free, and {needed / 1e9:,.1f} GB are needed beside rows; "
            "use more ranks with a device each, or device: cpu"
        )


def _warm_up(here: Any, torch: Any) -> None:
    """PyTorch sets up what it computes with at the first call: like our own compiling, that is not training."""
    one = torch.eye(2, device=here.tensor.device)
    torch.cholesky_solve(one @ one, torch.linalg.cholesky_ex(one)[0]).sum().item()


def _resident(p: Problem, here: Any, torch: Any, place: str) -> bool:
    """Whether all rows of this rank stay on the device."""
    if not isinstance(p.a0, np.ndarray):
        return False
    return here.is_processor or p.a0.nbytes < RESIDENT * torch.cuda.mem_get_info(place)[0]


def _moved(values: NDArray[Any], here: Any) -> Array:
    """On the device, in the order in which they lie in memory; on the processor they stay where they are."""
    from admmctl.devices.torch_arrays import TorchArray

    return cast(Array, TorchArray(here.moved(values.T)).T)


@dataclass(frozen=True)
class Streamed:
    """Rows that stay in the host's memory or on disk, and are copied to a device as they are asked for.

    They are what ``Problem.a0`` may be: something of which blocks of columns are taken. ``like`` is an array on
    the device. Copies go through memory that the device can read by itself, and count as ``transfer``.
    """

    rows: Any
    like: Any
    clock: Timer

    @property
    def shape(self) -> tuple[int, int]:
        return cast(tuple[int, int], self.rows.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return cast("np.dtype[Any]", self.rows.dtype)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: tuple[slice, slice]) -> Array:
        with self.clock.phase("transfer"):
            return _moved(np.asarray(self.rows[place]), self.like)

    def take(self, rows: NDArray[np.int64], out: Any) -> None:
        """Copy some columns to the rows of ``out``, which is on the device."""
        with self.clock.phase("transfer"):
            if isinstance(self.rows, np.ndarray):
                taken = np.take(self.rows.T, rows, axis=0)
            else:
                taken = np.empty((len(rows), len(self)), self.dtype)
                self.rows.take(rows, out=taken)
            out[...] = taken


class _Synchronised:
    """A clock whose phases end when the device has done its work: it works ahead of the program."""

    def __init__(self, clock: Timer, torch: Any) -> None:
        self._clock, self._torch = clock, torch

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self._timed(name)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        with self._clock.phase(name):
            yield
            self._torch.cuda.synchronize()


class _ThroughHost:
    """A communicator whose sums and copies of arrays on a device go through the memory of the host."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm
        self.rank, self.size = comm.rank, comm.size

    def allreduce(self, buffer: Array, op: Operation = "sum") -> None:
        with _hosted(buffer) as there:
            self._comm.allreduce(there, op)

    def reduce(self, buffer: Array, ranks: range) -> None:
        with _hosted(buffer) as there:
            self._comm.reduce(there, ranks)

    def reduce_scatter(self, buffer: Array, counts: Sequence[int]) -> None:
        with _hosted(buffer) as there:
            self._comm.reduce_scatter(there, counts)

    def allgather(self, buffer: Array, counts: Sequence[int]) -> None:
        with _hosted(buffer) as there:
            self._comm.allgather(there, counts)

    def __getattr__(self, name: str) -> Any:
        """The verbs that send no arrays."""
        return getattr(self._comm, name)


@contextmanager
def _hosted(buffer: Any) -> Iterator[NDArray[Any]]:
    """``buffer`` in the host's memory, for a block that may change it."""
    if isinstance(buffer, np.ndarray):
        yield buffer
        return
    there = np.ascontiguousarray(buffer.on_host())
    yield there
    if not (buffer.is_processor and np.shares_memory(there, buffer.on_host())):
        buffer[...] = there
