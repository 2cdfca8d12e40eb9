"""Arrays of PyTorch, on a processor or a GPU, that NumPy's own functions take.

NumPy hands ufuncs and most of its other functions over to arguments that ask for it (NEP 13 and NEP 18), and makes
arrays ``like`` another one (NEP 35). So a text that is written for NumPy, in place and with ``out=``, computes
with these, too. ``torch_ufuncs.py`` and ``torch_functions.py`` say what PyTorch calls the functions that our
methods use; any other one raises TypeError with its name. Nothing comes back to the host unless it is asked for
(``on_host``), but single numbers, which are NumPy's. This module imports torch: it is loaded by runs that ask for
it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from torch import Tensor

from admmctl.devices import torch_kernels
from admmctl.devices.torch_functions import FUNCTIONS, KINDS, moved, ordered, type_of
from admmctl.devices.torch_ufuncs import UFUNCS


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
        return KINDS[self.tensor.dtype]

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
        return moved(self.tensor, _tensor(values), dtype)

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
        return TorchArray(ordered(self.tensor, dtype, order, copy))

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
        kind = type_of(dtype)
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
        torch_kernels.loop(kernel)(*map(_value, arguments))

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
        ours = FUNCTIONS.get(function.__name__)
        if ours is None:
            raise TypeError(f"numpy.{function.__name__} of arrays on a device: PyTorch has no such thing here")
        # ``like=`` asks with the function alone: what is to be made is made where this array is.
        return _arrays(ours(self.tensor, *map(_tensor, given), **{key: _tensor(x) for key, x in named.items()}))


def _is_view(place: Any) -> bool:
    """Whether a part at that place is a view: no list of places among it."""
    return not any(isinstance(part, Tensor) for part in (place if isinstance(place, tuple) else (place,)))


def _found(tensor: Tensor) -> Any:
    """A result: an array, or a number of NumPy."""
    return TorchArray(tensor) if tensor.ndim else KINDS[tensor.dtype].type(tensor.item())


def _arrays(found: Any) -> Any:
    """Results of a function, in lists or tuples or alone, with arrays in the place of tensors."""
    if isinstance(found, list | tuple):
        return type(found)(map(_arrays, found))
    return _found(found) if isinstance(found, Tensor) else found


def _tensor(given: Any) -> Any:
    """What a function is given, in a list or alone, with tensors in the place of arrays."""
    if isinstance(given, list | tuple | deque):
        return [*map(_tensor, given)]
    return given.tensor if isinstance(given, TorchArray) else given


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
