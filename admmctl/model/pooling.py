"""Averages over squares of pixels, between the convolutional layers of a network and its dense ones."""

import math
from dataclasses import dataclass, field

import numpy as np

from admmctl.model.operators import Array, Dense


@dataclass(frozen=True)
class Pooled(Dense):
    """A matrix on averages P a over ``pool`` x ``pool`` pixels of an ``image`` (channels, height, width)."""

    inputs: int = field(init=False)
    image: tuple[int, int, int]
    pool: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", math.prod(self.image) // self.pool**2)

    @property
    def scratch(self) -> int:
        return 2 * math.prod(self.image)

    def below(self, a: Array) -> Array:
        """P a, with a row of ones if ``a`` has one."""
        k = math.prod(self.image)
        averages: Array = np.ones((self.inputs + len(a) - k, a.shape[1]), a.dtype, order="F")
        self.average(a[:k], out=averages[: self.inputs])
        return averages

    def average(self, a: Array, out: Array) -> Array:
        """P a of ``a`` (channels H W, n), written to ``out`` (inputs, n)."""
        channels, height, width = self.image
        p = self.pool
        squares = a.T.reshape(-1, channels * height // p, p, width)
        # One pixel of all squares at a time: sums over such short axes take NumPy ten times as long.
        rows = squares[:, :, 0] + squares[:, :, 1]
        for i in range(2, p):
            rows += squares[:, :, i]
        columns = rows[:, :, 0::p] + rows[:, :, 1::p]
        for i in range(2, p):
            columns += rows[:, :, i::p]
        np.multiply(columns.reshape(len(columns), -1), a.dtype.type(1 / p**2), out=out.T)
        return out

    def spread(self, c: Array) -> Array:
        """p^2 P' c (channels H W, n): every number of ``c`` (inputs, n) at all pixels of its square."""
        channels, height, width = self.image
        p = self.pool
        squares = c.T.reshape(-1, channels * height // p, width // p)
        return np.repeat(np.repeat(squares, p, axis=2), p, axis=1).reshape(len(squares), -1).T

    def adjoint(self, W: Array, delta: Array, out: Array) -> Array:
        out[...] = self.spread((W[:, : self.inputs] / self.pool**2).T @ delta)
        return out

    def square(self, W: Array) -> float:
        return super().square(W) / self.pool**2  # P P' = I / p^2
