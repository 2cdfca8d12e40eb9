"""NumPy's ufuncs by PyTorch, which takes a number as the second operand and rarely as the first."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _number_first(function: Callable[..., Any]) -> Callable[..., Any]:
    def either(a: Any, b: Any, out: Tensor | None = None) -> Any:
        return function(a if isinstance(a, Tensor) else torch.tensor(a, dtype=b.dtype), b, out=out)

    return either


def _swapped(function: Callable[..., Any]) -> Callable[..., Any]:
    def either(a: Any, b: Any, out: Tensor | None = None) -> Any:
        return function(a, b, out=out) if isinstance(a, Tensor) else function(b, a, out=out)

    return either


def _maximum(a: Any, b: Any, out: Tensor | None = None) -> Any:
    return torch.maximum(a, b, out=out) if isinstance(b, Tensor) else torch.clamp(a, min=b, out=out)


def _minimum(a: Any, b: Any, out: Tensor | None = None) -> Any:
    return torch.minimum(a, b, out=out) if isinstance(b, Tensor) else torch.clamp(a, max=b, out=out)


def _difference(a: Tensor, b: Any, out: Tensor | None = None) -> Any:
    return torch.sub(a, b.to(a.dtype) if isinstance(b, Tensor) and b.dtype == torch.bool else b, out=out)


UFUNCS: dict[str, Callable[..., Any]] = {
    "add": _swapped(torch.add),
    "multiply": _swapped(torch.mul),
    "maximum": _swapped(_maximum),
    "minimum": _swapped(_minimum),
    "bitwise_and": torch.bitwise_and,
    "bitwise_or": torch.bitwise_or,
    "invert": torch.bitwise_not,
    "logical_and": torch.logical_and,
    "matmul": torch.matmul,
    "negative": torch.neg,
    "square": torch.square,
    "absolute": torch.abs,
    "isfinite": torch.isfinite,
    "isnan": torch.isnan,
    "expit": torch.sigmoid,
    **{name: _number_first(getattr(torch, name)) for name in ("less", "less_equal", "greater", "greater_equal")},
    "subtract": _number_first(_difference),
    "divide": _number_first(torch.div),
    "power": torch.pow,
    "equal": torch.eq,
    "not_equal": torch.ne,
    **{name: getattr(torch, name) for name in ("sqrt", "exp", "log", "log1p", "sin", "cos", "tanh")},
}
