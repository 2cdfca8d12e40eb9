"""NumPy's other functions by PyTorch: those that make arrays, put them together, and look at them.

Every one is given ``like`` first, the tensor that was asked, and then what NumPy's is given, with tensors in the
place of arrays. What is made is made where ``like`` is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

KINDS: dict[Any, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.bool: np.dtype(np.bool_),
    torch.int64: np.dtype(np.int64),
    torch.int32: np.dtype(np.int32),
}
_OF_KIND = {kind: of_torch for of_torch, kind in KINDS.items()}
_PINNED = 1 << 16, 1 << 28  # bytes of copies to a GPU that go through pinned memory


def type_of(dtype: Any) -> Any:
    """PyTorch's type for one of NumPy; None for None."""
    return None if dtype is None else _OF_KIND[np.dtype(dtype)]


def moved(like: Tensor, values: Any, dtype: Any = None) -> Tensor:
    """``values`` as a tensor where ``like`` is."""
    if isinstance(values, Tensor):
        tensor = values
    else:
        values = np.asarray(values)
        plain = values if values.flags.writeable and min(values.strides, default=0) >= 0 else values.copy()
        tensor = torch.from_numpy(plain)
    if like.is_cuda and not tensor.is_cuda and _PINNED[0] <= tensor.nbytes <= _PINNED[1]:
        tensor = tensor.pin_memory()  # which the device reads by itself, while the program goes on
    return tensor.to(like.device, type_of(dtype), non_blocking=tensor.is_pinned())


def ordered(tensor: Tensor, dtype: Any, order: str, copy: bool = True) -> Tensor:
    """In that type and order of memory: a copy, unless nothing changes and there need not be one."""
    if order == "F":
        return _empty(tensor, tensor.shape, dtype, "F").copy_(tensor)
    return tensor.to(type_of(dtype), copy=copy)


def _empty(like: Tensor, shape: Any, dtype: Any, order: str) -> Tensor:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (int(shape),)
    if order == "F" and len(sizes) > 1:
        backwards = torch.empty(sizes[::-1], dtype=type_of(dtype), device=like.device)
        return backwards.permute(*reversed(range(len(sizes))))
    return torch.empty(sizes, dtype=type_of(dtype), device=like.device)


def _made(fill: float | None) -> Callable[..., Tensor]:
    def make(like: Tensor, shape: Any, dtype: Any = np.float64, order: str = "C", device: None = None) -> Tensor:
        made = _empty(like, shape, dtype, order)
        return made if fill is None else made.fill_(fill)

    return make


def _made_like(fill: float | None) -> Callable[..., Tensor]:
    def make(like: Tensor, array: Tensor) -> Tensor:
        made = torch.empty_like(array)
        return made if fill is None else made.fill_(fill)

    return make


def _eye(like: Tensor, count: int, dtype: Any = np.float64, **more: Any) -> Tensor:
    return torch.eye(count, dtype=type_of(dtype), device=like.device)


def _array(like: Tensor, values: Any, dtype: Any = None, order: str = "K", copy: bool = True) -> Tensor:
    there = moved(like, values, dtype)
    fresh = not isinstance(values, Tensor) and like.is_cuda
    return ordered(there, KINDS[there.dtype], order, copy=copy and not fresh)


def _copyto(like: Tensor, target: Tensor, source: Any) -> None:
    target.copy_(moved(like, source))


def _joined(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def join(like: Tensor, parts: Any, axis: int = 0) -> Tensor:
        return function([moved(like, part) for part in parts], dim=axis)

    return join


def _split(like: Tensor, array: Tensor, places: Any, axis: int = 0) -> list[Tensor]:
    parts: Any = torch.tensor_split(array, [int(at) for at in places], dim=axis)
    return list(parts)


def _where(like: Tensor, chosen: Tensor, first: Any, second: Any) -> Tensor:
    kind = np.result_type(*(KINDS[x.dtype] if isinstance(x, Tensor) else x for x in (first, second)))
    return torch.where(chosen, moved(like, first, kind), moved(like, second, kind))


def _clip(like: Tensor, array: Tensor, low: Any, high: Any, out: Tensor | None = None) -> Tensor:
    least, most = (x.item() if isinstance(x, np.generic) else x for x in (low, high))
    return torch.clamp(array, least, most, out=out)


def _dot(like: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Of all numbers of both, in whichever order they lie in memory."""
    if a.ndim == 2 and a.stride(0) < a.stride(1):
        a, b = a.T, b.T
    return torch.dot(a.reshape(-1), b.reshape(-1))


def _einsum(like: Tensor, subscripts: str, *arrays: Tensor) -> Tensor:
    if subscripts == "ii->i":
        return arrays[0].diagonal()  # a view, as NumPy's
    found: Tensor = torch.einsum(subscripts, *arrays)
    return found


def _diagonal_places(like: Tensor, array: Any) -> Sequence[Tensor]:
    places = torch.arange(array if isinstance(array, int) else len(array), device=like.device)
    return places, places


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "empty": _made(None),
    "zeros": _made(0),
    "ones": _made(1),
    "empty_like": _made_like(None),
    "zeros_like": _made_like(0),
    "ones_like": _made_like(1),
    "eye": _eye,
    "array": _array,
    "asarray": moved,
    "asfortranarray": lambda like, values, dtype=None: moved(like, values, dtype).T.contiguous().T,
    "ascontiguousarray": lambda like, values, dtype=None: moved(like, values, dtype).contiguous(),
    "copyto": _copyto,
    "concatenate": _joined(torch.cat),
    "stack": _joined(torch.stack),
    "vstack": lambda like, parts: torch.vstack(list(parts)),
    "split": _split,
    "where": _where,
    "clip": _clip,
    "vdot": _dot,
    "dot": _dot,
    "trace": lambda like, array, dtype=None: array.diagonal().sum(dtype=type_of(dtype)),
    "einsum": _einsum,
    "diag_indices_from": _diagonal_places,
    "norm": lambda like, array: torch.linalg.vector_norm(array),
    "diff": lambda like, array, axis=-1: torch.diff(array, dim=axis),
    "cumsum": lambda like, array, axis: torch.cumsum(array, dim=axis),
    "tril": lambda like, array, k=0: torch.tril(array, k),
    "shape": lambda like, array: tuple(array.shape),
    "ndim": lambda like, array: array.ndim,
}
