"""Arrays of PyTorch, on a processor or a GPU, that NumPy's own functions take.

NumPy hands ufuncs and most of its other functions over to arguments that ask for it (NEP 13 and NEP 18), and makes
arrays ``like`` another one (NEP 35). So a text that is written for NumPy, in place and with ``out=``, computes
with these, too. The tables below say what PyTorch calls the functions that our methods use; any other one raises
TypeError with its name. Nothing comes back to the host unless it is asked for (``on_host``), but single numbers,
which are NumPy's. This module imports torch: it is loaded by runs that ask for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from torch import Tensor

from admmctl.devices import torch_kernels
from admmctl.devices.torch_ufuncs import UFUNCS

_TYPES: dict[Any, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.bool: np.dtype(np.bool_),
    torch.int64: np.dtype(np.int64),
    torch.int32: np.dtype(np.int32),
}
_PINNED = 1 << 16, 1 << 28  # bytes of copies to a GPU that go through pinned memory
_OURS = {kind: tensor_type for tensor_type, kind in _TYPES.items()}


class TorchArray(NDArrayOperatorsMixin):
    """A tensor with the manners of a NumPy array, as far as our methods need them."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    # What it is.

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return _TYPES[self.tensor.dtype]

    @property
    def ndim(self) -> int:
        return self.tensor.ndim

    @property
    def size(self) -> int:
        return self.tensor.numel()

    @property
    def itemsize(self) -> int:
        return self.tensor.element_size()

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def is_processor(self) -> bool:
        return self.tensor.device.type == "cpu"

    def __len__(self) -> int:
        return len(self.tensor)

    def __repr__(self) -> str:
        return f"TorchArray({self.tensor!r})"

    # There and back.

    def __array__(self, *given: Any, **more: Any) -> NDArray[Any]:
        raise TypeError("an array on a device is not copied to the host unless on_host asks for it")

    def on_host(self) -> NDArray[Any]:
        """As an array of NumPy, which shares memory where this is the processor's."""
        found: NDArray[Any] = self.tensor.cpu().numpy()
        return found

    def moved(self, values: Any, dtype: Any = None) -> Tensor:
        """``values`` as a tensor where this array is."""
        if isinstance(values, TorchArray):
            tensor = values.tensor
        else:
            values = np.asarray(values)
            plain = values if values.flags.writeable and min(values.strides, default=0) >= 0 else values.copy()
            tensor = torch.from_numpy(plain)
        if self.tensor.is_cuda and not tensor.is_cuda and _PINNED[0] <= tensor.nbytes <= _PINNED[1]:
            tensor = tensor.pin_memory()  # which the device reads by itself, while the program goes on
        return tensor.to(
            self.tensor.device, None if dtype is None else _OURS[np.dtype(dtype)], non_blocking=tensor.is_pinned()
        )

    # Parts of it.

    @property
    def T(self) -> "TorchArray":
        return TorchArray(self.tensor.permute(*reversed(range(self.tensor.ndim))))

    def _place(self, index: Any) -> Any:
        if isinstance(index, tuple):
            return tuple(map(self._place, index))
        if isinstance(index, TorchArray):
            return index.tensor
        return self.moved(index) if isinstance(index, np.ndarray | list) else index

    def __getitem__(self, index: Any) -> Any:
        return _found(self.tensor[self._place(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        place = self._place(index)
        plain = self.moved(value) if isinstance(value, np.ndarray | list) and np.ndim(value) else _value(value)
        if not (isinstance(value, TorchArray) and _is_view(place)):
            self.tensor[place] = plain
            return
        part = self.tensor[place]
        # ``a[i] += b`` puts the part back where it is.
        if part.data_ptr() != plain.data_ptr() or part.stride() != plain.stride() or part.shape != plain.shape:
            part.copy_(plain)

    def reshape(self, *shape: Any) -> "TorchArray":
        return TorchArray(self.tensor.reshape(*shape))

    def ravel(self) -> "TorchArray":
        return self.reshape(-1)

    def transpose(self, *axes: int) -> "TorchArray":
        return TorchArray(self.tensor.permute(*axes)) if axes else self.T

    def diagonal(self) -> "TorchArray":
        return TorchArray(self.tensor.diagonal())

    # Others made of it.

    def copy(self, order: str = "K") -> "TorchArray":
        return self.astype(self.dtype, order)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "TorchArray":
        kind = _OURS[np.dtype(dtype)]
        if order == "F":
            made = _empty(self.shape, kind, self.tensor.device, "F")
            return TorchArray(made.copy_(self.tensor))
        return TorchArray(self.tensor.to(kind, copy=copy))

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
        kind = None if dtype is None else _OURS[np.dtype(dtype)]
        if axis is None:
            return _found(self.tensor.sum(dtype=kind))
        return _found(self.tensor.sum(dim=axis, dtype=kind, keepdim=keepdims))

    def mean(self, axis: Any = None) -> Any:
        return _found(self.tensor.mean() if axis is None else self.tensor.mean(dim=axis))

    def max(self, axis: Any = None) -> Any:
        return _found(self.tensor.max() if axis is None else self.tensor.amax(dim=axis))

    def min(self, axis: Any = None) -> Any:
        return _found(self.tensor.min() if axis is None else self.tensor.amin(dim=axis))

    def argmax(self, axis: int | None = None) -> Any:
        return _found(self.tensor.argmax(dim=axis))

    def all(self) -> Any:
        return _found(self.tensor.all())

    def any(self) -> Any:
        return _found(self.tensor.any())

    def item(self) -> Any:
        return self.tensor.item()

    def __bool__(self) -> bool:
        return bool(self.tensor)

    def __float__(self) -> float:
        return float(self.tensor)

    # What ``arrays.py``, ``kernels.py`` and mini-batches ask for.

    def take(self, rows: NDArray[np.int64], out: "TorchArray") -> None:
        """Copy some columns of this array to the rows of ``out``."""
        torch.index_select(self.tensor.T, 0, self.moved(rows), out=out.tensor)

    def factored(self) -> Callable[["TorchArray"], "TorchArray"]:
        """X -> A^-1 X of this A. Raises LinAlgError where it is not positive definite."""
        L, trouble = torch.linalg.cholesky_ex(self.tensor)
        if int(trouble):
            raise np.linalg.LinAlgError(f"the leading minor of order {int(trouble)} is not positive definite")
        return lambda X: TorchArray(torch.cholesky_solve(X.tensor, L))

    def packing(self) -> tuple[Callable[[Any], Any], Callable[[Any, Any], None]]:
        """See ``arrays.packing``."""
        rows, columns = torch.tril_indices(*self.shape, device=self.tensor.device)

        def unpack(vector: TorchArray, into: TorchArray) -> None:
            into.tensor[rows, columns] = vector.tensor

        return lambda triangle: TorchArray(triangle.tensor[rows, columns]), unpack

    def run(self, kernel: str, arguments: Sequence[Any]) -> None:
        """The element-wise loop of that name in ``kernels.py``."""
        getattr(torch_kernels, kernel)(*map(_value, arguments))

    # What NumPy asks.

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **given: Any) -> Any:
        function = UFUNCS.get(ufunc.__name__)
        target = given.pop("out", (None,))[0]
        given.pop("dtype", None)  # it is asked for where it is what comes out
        if function is None or method != "__call__" or given:
            raise TypeError(f"{ufunc.__name__} of arrays on a device: PyTorch has no such thing here")
        values = [_operand(x) for x in inputs]
        if target is None:
            return _found(function(*values))
        function(*values, out=target.tensor)
        return target

    def __array_function__(self, function: Any, types: Any, given: Any, named: Any) -> Any:
        ours = _FUNCTIONS.get(function.__name__)
        if ours is None:
            raise TypeError(f"numpy.{function.__name__} of arrays on a device: PyTorch has no such thing here")
        # ``like=`` asks with the function alone: what is to be made is made where this array is.
        return ours(self, *given, **named)


def _is_view(place: Any) -> bool:
    """Whether a part at that place is a view: no list of places among it."""
    return not any(isinstance(part, Tensor) for part in (place if isinstance(place, tuple) else (place,)))


def _found(tensor: Tensor) -> Any:
    """A result: an array, or a number of NumPy."""
    return TorchArray(tensor) if tensor.ndim else _TYPES[tensor.dtype].type(tensor.item())


def _value(x: Any) -> Any:
    """A tensor, or a plain number: PyTorch's arrays keep their type beside one, as NumPy's do."""
    if isinstance(x, TorchArray):
        return x.tensor
    if isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.ndim == 0):
        return x.item()
    return x


def _operand(x: Any) -> Any:
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError("an array of the host meets one on a device: move it there first")
    return _value(x)


def _empty(shape: Any, kind: Any, device: Any, order: str = "C") -> Tensor:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (int(shape),)
    if order == "F" and len(sizes) > 1:
        backwards = torch.empty(sizes[::-1], dtype=kind, device=device)
        return backwards.permute(*reversed(range(len(sizes))))
    return torch.empty(sizes, dtype=kind, device=device)


# Other functions. The first argument is the array that was asked.


def _made(fill: float | None) -> Callable[..., Any]:
    def make(
        like: TorchArray, shape: Any, dtype: Any = np.float64, order: str = "C", device: None = None
    ) -> TorchArray:
        made = _empty(shape, _OURS[np.dtype(dtype)], like.tensor.device, order)
        return TorchArray(made if fill is None else made.fill_(fill))

    return make


def _made_like(fill: float | None) -> Callable[..., Any]:
    def make(like: TorchArray, array: TorchArray) -> TorchArray:
        made = torch.empty_like(array.tensor)
        return TorchArray(made if fill is None else made.fill_(fill))

    return make


def _array(like: TorchArray, values: Any, dtype: Any = None, order: str = "K", copy: bool = True) -> TorchArray:
    moved = TorchArray(like.moved(values, dtype))
    fresh = not isinstance(values, TorchArray) and not like.is_processor
    return moved.astype(moved.dtype, order, copy=copy and not fresh)


def _asarray(like: TorchArray, values: Any, dtype: Any = None) -> TorchArray:
    return TorchArray(like.moved(values, dtype))


def _asfortranarray(like: TorchArray, values: Any, dtype: Any = None) -> TorchArray:
    moved = like.moved(values, dtype)
    return TorchArray(moved.T.contiguous().T)


def _ascontiguousarray(like: TorchArray, values: Any, dtype: Any = None) -> TorchArray:
    return TorchArray(like.moved(values, dtype).contiguous())


def _joined(function: Callable[..., Any]) -> Callable[..., Any]:
    def join(like: TorchArray, parts: Any, axis: int = 0) -> TorchArray:
        return TorchArray(function([like.moved(part) for part in parts], dim=axis))

    return join


def _split(like: TorchArray, array: TorchArray, places: Any, axis: int = 0) -> list[TorchArray]:
    parts: Any = torch.tensor_split(array.tensor, [int(at) for at in places], dim=axis)
    return [_found(part) for part in parts]


def _where(like: TorchArray, chosen: TorchArray, first: Any, second: Any) -> Any:
    kind = np.result_type(*(x.dtype if isinstance(x, TorchArray) else x for x in (first, second)))
    return _found(torch.where(chosen.tensor, like.moved(first, kind), like.moved(second, kind)))


def _clip(like: TorchArray, array: TorchArray, low: Any, high: Any, out: TorchArray | None = None) -> TorchArray:
    found = torch.clamp(array.tensor, _value(low), _value(high), out=None if out is None else out.tensor)
    return TorchArray(found) if out is None else out


def _dot(like: TorchArray, a: TorchArray, b: TorchArray) -> Any:
    """Of all numbers of both, in whichever order they lie in memory."""
    one, other = a.tensor, b.tensor
    if one.ndim == 2 and one.stride(0) < one.stride(1):
        one, other = one.T, other.T
    return _found(torch.dot(one.reshape(-1), other.reshape(-1)))


def _trace(like: TorchArray, array: TorchArray, dtype: Any = None) -> Any:
    return array.diagonal().sum(dtype=dtype)


def _einsum(like: TorchArray, subscripts: str, *arrays: TorchArray) -> Any:
    if subscripts == "ii->i":
        return arrays[0].diagonal()  # a view, as NumPy's
    return _found(torch.einsum(subscripts, *(array.tensor for array in arrays)))


def _eye(like: TorchArray, count: int, dtype: Any = np.float64, **more: Any) -> TorchArray:
    return TorchArray(torch.eye(count, dtype=_OURS[np.dtype(dtype)], device=like.tensor.device))


def _diagonal_places(like: TorchArray, array: Any) -> tuple[TorchArray, TorchArray]:
    count = array if isinstance(array, int) else len(array)
    places = TorchArray(torch.arange(count, device=like.tensor.device))
    return places, places


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "empty": _made(None),
    "zeros": _made(0),
    "ones": _made(1),
    "empty_like": _made_like(None),
    "zeros_like": _made_like(0),
    "ones_like": _made_like(1),
    "eye": _eye,
    "array": _array,
    "asarray": _asarray,
    "asfortranarray": _asfortranarray,
    "ascontiguousarray": _ascontiguousarray,
    "concatenate": _joined(torch.cat),
    "stack": _joined(torch.stack),
    "vstack": lambda like, parts: _found(torch.vstack([part.tensor for part in parts])),
    "split": _split,
    "where": _where,
    "clip": _clip,
    "vdot": _dot,
    "dot": _dot,
    "trace": _trace,
    "einsum": _einsum,
    "diag_indices_from": _diagonal_places,
    "norm": lambda like, array: _found(torch.linalg.vector_norm(array.tensor)),
    "diff": lambda like, array, axis=-1: _found(torch.diff(array.tensor, dim=axis)),
    "cumsum": lambda like, array, axis: TorchArray(torch.cumsum(array.tensor, dim=axis)),
    "tril": lambda like, array, k=0: TorchArray(torch.tril(array.tensor, k)),
    "copyto": lambda like, target, source: target.__setitem__(..., source),
    "shape": lambda like, array: array.shape,
    "ndim": lambda like, array: array.ndim,
}
