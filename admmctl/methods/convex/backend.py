"""Where arrays live and who multiplies them: NumPy, PyTorch or JAX behind the array API, and what that lacks.

The method is written once against the standard's functions (``array-api-compat``). What the standard does not
have, triangular solves and a compiler, stands here. torch and jax are extras, imported only when a run asks for
them.
"""

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import array_api_compat.numpy
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs, get_lapack_funcs

from admmctl.comm import Comm
from admmctl.devices.library import Device, Name, allow_tf32, library, number, torch_for
from admmctl.errors import MissingExtra, UserError
from admmctl.methods.method import Diverged

Tensor = Any  # an array of whichever library


class Backend:
    """One library on one device, in one type of numbers. Defaults are those of NumPy's arrays."""

    name: Name
    device: Device
    dtype: Any
    xp: Any  # the functions of the array API

    def array(self, values: NDArray[Any]) -> Tensor:
        """``values`` on the device, in this backend's type. May share memory with them."""
        raise NotImplementedError

    def rows(self, values: NDArray[Any]) -> Tensor:
        """``array`` of something that has a row for every sample.

        Over several devices as many rows on each: rows of zeros are added until they come out even.
        """
        return self.array(values)

    def numpy(self, values: Tensor) -> NDArray[Any]:
        """``values`` as a NumPy array. May share memory with them."""
        return np.asarray(values)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function(xp, ...)`` of arrays and numbers without its ``xp``, compiled where there is a compiler."""
        return partial(function, self.xp)

    def index(self, places: NDArray[np.integer]) -> Tensor:
        """Places along an axis, on the device."""
        return places

    def subtract(self, values: Tensor, places: Tensor, change: Tensor) -> Tensor:
        """``values`` less ``change`` at ``places`` of their last axis; they may be written to."""
        values[..., places] -= change
        return values

    def joined(self, parts: Iterable[Tensor], rows: int) -> Tensor:
        """Parts of one array of ``rows`` rows, one after the other, as that array."""
        whole, low = None, 0
        for part in parts:
            if len(part) == rows:
                return part
            if whole is None:
                whole = self.xp.empty((rows, *part.shape[1:]), dtype=part.dtype, device=part.device)
            whole[low : low + len(part)] = part
            low += len(part)
        return whole

    def sync(self, values: Tensor) -> Tensor:
        """``values``, computed: devices work ahead of the program, and a clock must not."""
        return values

    def cholesky(self, matrix: Tensor) -> Tensor:
        """The lower factor of a symmetric positive definite matrix, which may be overwritten.

        Raises Diverged where it is not positive definite.
        """
        raise NotImplementedError

    def solve_lower(self, L: Tensor, B: Tensor) -> Tensor:
        """L^-1 B for a lower triangle L."""
        raise NotImplementedError

    def solve(self, L: Tensor, B: Tensor) -> Tensor:
        """(L L')^-1 B."""
        raise NotImplementedError


class NumpyBackend(Backend):
    """BLAS and LAPACK of NumPy and SciPy, in place where they can."""

    name = "numpy"
    device = "cpu"
    xp = array_api_compat.numpy

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        empty = np.empty(0, self.dtype)
        lapack: Any = get_lapack_funcs(("potrf", "potrs"), (empty,))
        self._potrf, self._potrs = lapack
        self._trsm: Any = get_blas_funcs("trsm", (empty,))

    def array(self, values: NDArray[Any]) -> Tensor:
        return np.asarray(values, self.dtype)

    def cholesky(self, matrix: Tensor) -> Tensor:
        # The transpose of a C-ordered matrix is what LAPACK works on in place: its upper factor there is L' here.
        upper, info = self._potrf(matrix.T, lower=0, overwrite_a=1, clean=0)
        # LAPACK may not notice a NaN.
        return _definite(upper.T, info == 0 and bool(np.isfinite(upper.diagonal()).all()))

    def solve_lower(self, L: Tensor, B: Tensor) -> Tensor:
        # X' = B' L^-T, on the transposes: LAPACK counts by columns.
        return self._trsm(self.dtype.type(1), L.T, B.T, side=1, lower=0, trans_a=0, overwrite_b=0).T

    def solve(self, L: Tensor, B: Tensor) -> Tensor:
        solution, info = self._potrs(L.T, np.asfortranarray(B), lower=0)
        assert info == 0
        return np.ascontiguousarray(solution)


class TorchBackend(Backend):
    """PyTorch, on a processor or a GPU."""

    name = "torch"

    def __init__(self, dtype: str, device: Device, threads: int) -> None:
        torch = torch_for(device)
        if device == "cpu":
            torch.set_num_threads(threads)
        else:
            # Products in full float32: the residuals of the solves are part of what is reported.
            allow_tf32(torch, False)
        self._torch = torch
        self.xp = importlib.import_module("array_api_compat.torch")
        self.device = device
        self.dtype = getattr(torch, dtype)

    def array(self, values: NDArray[Any]) -> Tensor:
        if not values.flags.writeable:
            values = values.copy()
        return self._torch.as_tensor(values).to(self.device, self.dtype)

    def numpy(self, values: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = values.cpu().numpy()
        return found

    def index(self, places: NDArray[np.integer]) -> Tensor:
        return self._torch.as_tensor(places, device=self.device)

    def sync(self, values: Tensor) -> Tensor:
        if self.device != "cpu":
            self._torch.cuda.synchronize(self.device)
        return values

    def cholesky(self, matrix: Tensor) -> Tensor:
        L, info = self._torch.linalg.cholesky_ex(matrix)
        return _definite(L, int(info) == 0)

    def solve_lower(self, L: Tensor, B: Tensor) -> Tensor:
        return self._torch.linalg.solve_triangular(L, B, upper=False)

    def solve(self, L: Tensor, B: Tensor) -> Tensor:
        return self._torch.cholesky_solve(B, L)


class JaxBackend(Backend):
    """JAX: functions of the method are compiled by XLA, for one device or for several.

    Over several devices rows are divided, and what is not of rows is on each of them. XLA sees that from arrays:
    it sums over devices where a product sums over rows.
    """

    name = "jax"

    def __init__(self, dtype: str, device: Device, devices: int = 1) -> None:
        jax = library("jax", "backend: jax")
        if dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_default_matmul_precision", "highest")
        kind, first = "cpu" if device == "cpu" else "gpu", number(device)
        try:
            found = jax.devices(kind)
        except RuntimeError:
            raise MissingExtra(f"device: {device}, but JAX sees none here; use device: cpu") from None
        if len(found) <= first:
            raise MissingExtra(f"device: {device}, but JAX sees {len(found)} of them here; use device: cuda")
        if len(found) < devices:
            flag = "; XLA_FLAGS=--xla_force_host_platform_device_count=N divides a processor" * (kind == "cpu")
            raise MissingExtra(f"devices: {devices}, but JAX sees {len(found)} here{flag}")
        self._devices, self._place, self._by_rows = devices, found[first], found[first]
        if devices > 1:
            sharding = jax.sharding
            mesh = sharding.Mesh(np.array(found[:devices]), ("rows",))
            self._place = sharding.NamedSharding(mesh, sharding.PartitionSpec())
            self._by_rows = sharding.NamedSharding(mesh, sharding.PartitionSpec("rows"))
        self._jax = jax
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._solve_triangular = importlib.import_module("jax.scipy.linalg").solve_triangular
        self.xp = importlib.import_module("jax.numpy")
        self.device = device
        self.dtype = self.xp.dtype(dtype)

    def array(self, values: NDArray[Any]) -> Tensor:
        return self._jax.device_put(np.asarray(values, self.dtype), self._place)

    def rows(self, values: NDArray[Any]) -> Tensor:
        values = np.asarray(values, self.dtype)
        if missing := -len(values) % self._devices:
            values = np.concatenate([values, np.zeros((missing, *values.shape[1:]), self.dtype)])
        return self._jax.device_put(values, self._by_rows)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if function not in self._compiled:
            self._compiled[function] = self._jax.jit(partial(function, self.xp))
        return self._compiled[function]

    def index(self, places: NDArray[np.integer]) -> Tensor:
        return self._jax.device_put(places, self._place)

    def subtract(self, values: Tensor, places: Tensor, change: Tensor) -> Tensor:
        return self.compile(_subtracted)(values, places, change)

    def joined(self, parts: Iterable[Tensor], rows: int) -> Tensor:
        found = list(parts)
        return found[0] if len(found) == 1 else self.xp.concat(found, axis=0)

    def sync(self, values: Tensor) -> Tensor:
        return self._jax.block_until_ready(values)

    def cholesky(self, matrix: Tensor) -> Tensor:
        L = self.xp.linalg.cholesky(matrix)
        return _definite(L, bool(self.xp.isfinite(L[-1, -1])))

    def solve_lower(self, L: Tensor, B: Tensor) -> Tensor:
        return self._solve_triangular(L, B, lower=True)

    def solve(self, L: Tensor, B: Tensor) -> Tensor:
        return self._solve_triangular(L, self.solve_lower(L, B), lower=True, trans=1)


def _definite(L: Tensor, holds: bool) -> Tensor:
    """The factor ``L`` of a matrix that is positive definite; raises Diverged unless that ``holds``."""
    if not holds:
        raise Diverged("the matrix of the primal update is not positive definite")
    return L


def _subtracted(xp: Any, values: Tensor, places: Tensor, change: Tensor) -> Tensor:
    """For JAX, whose arrays are never written to."""
    return values.at[..., places].add(-change)


def backend(name: Name, device: Device, dtype: str, threads: int = 1, devices: int = 1) -> Backend:
    """The library called ``name``, ready on a device, or on ``devices`` of that kind.

    Raises MissingExtra when it, or the device, is not here, and UserError for NumPy on a GPU.
    """
    if name == "torch":
        return TorchBackend(dtype, device, threads)
    if name == "jax":
        return JaxBackend(dtype, device, devices)
    if device != "cpu":
        raise UserError(f"device: {device}, but backend: numpy runs on the processor; use backend: torch or jax")
    return NumpyBackend(dtype)


def allreduce(backend: Backend, comm: Comm, values: Tensor) -> Tensor:
    """The sum of ``values`` over all ranks. They pass through the memory of the processor."""
    if comm.size == 1:
        return values
    buffer = np.array(backend.numpy(values))
    comm.allreduce(buffer)
    return backend.array(buffer)
