"""Nested dicts, lists, numbers and arrays as JSON and a flat table of arrays: nothing is ever pickled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_ARRAY = "__array__"
Arrays = dict[str, NDArray[Any]]


def pack(value: Any, arrays: Arrays) -> Any:
    """``value`` for JSON; its arrays are added to ``arrays``, and named in their place.

    Raises TypeError for anything but dicts by text, lists, tuples, numbers, texts, None and arrays of numbers.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be saved")
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if any(not isinstance(key, str) or key == _ARRAY for key in value):
            raise TypeError(f"keys of a dict to be saved are texts, not {list(value)}")
        return {key: pack(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, arrays) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be saved")


def unpack(value: Any, arrays: Arrays) -> Any:
    """What ``pack`` was given. Raises KeyError where an array is missing."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        return {key: unpack(item, arrays) for key, item in value.items()}
    return [unpack(item, arrays) for item in value] if isinstance(value, list) else value
