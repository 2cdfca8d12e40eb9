"""How the weights of a layer act on the activations below it: z = W a + b, as a matrix or in another way."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Operator(Protocol):
    """One layer. With biases, W has one column more than (rows, inputs), and ``a`` one row of ones more.

    ``a`` is (k, n), z is (k', n).
    """

    @property
    def rows(self) -> int: ...

    @property
    def inputs(self) -> int: ...

    @property
    def scratch(self) -> int:
        """The most numbers per sample that are held at a time, besides ``a`` and z."""

    def flop(self, bias: bool) -> float:
        """Useful operations of W a per sample; the adjoint and the gradient take as many."""

    def below(self, a: Array) -> Array:
        """What the least squares for W have as inputs: ``a`` itself or a fixed linear map of it."""

    def apply(self, W: Array, a: Array, out: Array | None = None) -> Array:
        """z = W a + b, written to ``out`` if given."""

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        """W' delta (k, n) of ``delta`` (k', n), without the bias, written to ``out``."""

    def add_gradient(self, delta: Array, a: Array, total: Array) -> None:
        """Add to ``total`` the derivative by W of the sum of delta * (W a + b)."""

    @property
    def looks(self) -> Array:
        """How many of the activations below an input of W is, one after another: (inputs,)."""

    def square(self, W: Array) -> float:
        """The sum of the squares of the layer's matrix on the activations below, without the bias."""


@dataclass(frozen=True)
class Dense:
    """A matrix on ``below`` of the activations.

    The last of its inputs may be features of a row, ``beside`` the activations.
    """

    rows: int
    inputs: int
    beside: int = field(default=0, kw_only=True)

    @property
    def scratch(self) -> int:
        return 0

    def flop(self, bias: bool) -> float:
        return 2.0 * self.rows * (self.inputs + bias)

    def below(self, a: Array) -> Array:
        return a

    def apply(self, W: Array, a: Array, out: Array | None = None) -> Array:
        z: Array = np.matmul(W, self.below(a), out=out)
        return z

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        back: Array = np.matmul(W[:, : len(out)].T, delta, out=out)
        return back

    def add_gradient(self, delta: Array, a: Array, total: Array) -> None:
        total += delta @ self.below(a).T

    @property
    def looks(self) -> Array:
        return np.ones(self.inputs)

    def square(self, W: Array) -> float:
        return float((W[:, : self.inputs - self.beside].astype(np.float64) ** 2).sum())
