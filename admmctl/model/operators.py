"""How the weights of a layer act on the activations below it: z = W a + b, by a matrix or in its place."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Operator(Protocol):
    """One layer. W has shape (rows, inputs), with a column of biases more when there are any.

    Below, ``a`` is (k, n), with a row of ones more when there are biases; z is (k', n).
    """

    @property
    def rows(self) -> int: ...

    @property
    def inputs(self) -> int: ...

    @property
    def scratch(self) -> int:
        """Numbers per sample that are held on the way, at most."""

    def flop(self, bias: bool) -> float:
        """Useful operations of W a, per sample; its adjoint and its gradient take as many."""

    def below(self, a: Array) -> Array:
        """The inputs of W's least squares in their matrix form, ``a`` itself or a fixed linear map of it."""

    def apply(self, W: Array, a: Array, out: Array | None = None) -> Array:
        """z = W a + b, written to ``out`` if given."""

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        """W' delta (k, n) of ``delta`` (k', n), written to ``out``; the bias has no part in it."""

    def add_gradient(self, delta: Array, a: Array, total: Array) -> None:
        """Add to ``total`` the derivative by W of the sum of delta * (W a + b)."""


@dataclass(frozen=True)
class Dense:
    """A matrix."""

    rows: int
    inputs: int
    scratch: ClassVar[int] = 0

    def flop(self, bias: bool) -> float:
        return 2.0 * self.rows * (self.inputs + bias)

    def below(self, a: Array) -> Array:
        return a

    def apply(self, W: Array, a: Array, out: Array | None = None) -> Array:
        z: Array = np.matmul(W, a, out=out)
        return z

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        back: Array = np.matmul(W[:, : len(out)].T, delta, out=out)
        return back

    def add_gradient(self, delta: Array, a: Array, total: Array) -> None:
        total += delta @ a.T
