"""What NumPy's arrays and those of a device have in common, and how each factors and packs a matrix.

Most of a method's text is one for both, because NumPy hands a call over to arguments that are not its own:
``np.matmul(a, b, out=c)`` of arrays on a device is done there, and ``np.zeros(shape, like=a)`` is made there (NEP
13, 18 and 35; ``torch_arrays.py``). What NumPy and SciPy do not hand over stands here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs

Array = Any  # of NumPy, or on a device
Solve = Callable[[Array], Array]
HOST: Array = np.empty(0)  # arrays ``like`` it are NumPy's


def on_host(values: Any) -> Any:
    """An array as one of NumPy, with which it may share memory; so of dicts and lists, in any depth."""
    if isinstance(values, dict):
        return {key: on_host(value) for key, value in values.items()}
    if isinstance(values, list):
        return [on_host(value) for value in values]
    return values.on_host() if hasattr(values, "on_host") else values


def is_processor(array: Array) -> bool:
    """Whether the processor computes with it, which likes blocks that stay in its cache."""
    return isinstance(array, np.ndarray) or bool(array.is_processor)


def factored(matrix: Array) -> Solve:
    """X -> A^-1 X for A = ``matrix``, symmetric and positive definite, of which the lower triangle is read.

    It is overwritten where that saves a copy. Raises LinAlgError where it is not positive definite.
    """
    if not isinstance(matrix, np.ndarray):
        solve: Solve = matrix.factored()
        return solve
    factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    return lambda X: cho_solve(factor, X, check_finite=False)


def packing(square: Array) -> tuple[Callable[[Array], Array], Callable[[Array, Array], None]]:
    """For matrices like ``square``: one that makes a vector of a lower triangle, and ``(vector, into)`` back."""
    if not isinstance(square, np.ndarray):
        found: tuple[Callable[[Array], Array], Callable[[Array, Array], None]] = square.packing()
        return found
    lapack: Any = get_lapack_funcs(("trttp", "tpttr"), (square,))
    trttp, tpttr = lapack

    def unpack(vector: Array, into: Array) -> None:
        into[...] = tpttr(len(into), vector, uplo="U")[0].T

    return lambda triangle: trttp(triangle.T, uplo="U")[0], unpack  # .T: as LAPACK counts
