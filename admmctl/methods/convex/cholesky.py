"""``cholesky``: A itself and its factor, for small problems: side 2 d P."""

from typing import Any, ClassVar

import numpy as np

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.solvers import Size
from admmctl.methods.convex.system import System


class Cholesky:
    """The textbook's way, and what the others are checked against."""

    ranks: ClassVar[int | None] = 1

    def __init__(self, system: System, settings: Any, seed: int) -> None:
        self._system = system
        self.new_rho()

    def new_rho(self) -> None:
        self._factor = self._system.backend.cholesky(self._system.backend.array(explicit(self._system)))

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        system = self._system
        solved = system.backend.solve(self._factor, to_vectors(system, b))
        return from_vectors(system, solved), 1

    @staticmethod
    def bytes(size: Size, settings: Any) -> int:
        # A in float64 and in the type of the settings, and X in float64, once more for the rows of two patterns.
        return (8 + 2 * size.itemsize) * size.unknowns**2 + 16 * size.n * size.d + 2 * size.bytes_of_u


def explicit(system: System) -> Any:
    """A as a NumPy array (2 P d, 2 P d), unknowns by sign, pattern, input. Blocks X' D_i D_j X, one by one."""
    numpy = system.backend.numpy
    X, D = numpy(system.X).astype(np.float64), numpy(system.D).astype(bool)
    d, P = X.shape[1], D.shape[1]
    A = np.zeros((2, P, d, 2, P, d))
    B = np.eye(d) + X.T @ X
    for i in range(P):
        for j in range(i + 1):
            both = X[D[:, i] & D[:, j]]
            block = both.T @ both / system.rho
            for sign, other in ((0, 0), (0, 1), (1, 0), (1, 1)):
                signed = block if sign == other else -block
                A[sign, i, :, other, j] = A[sign, j, :, other, i] = signed
        for sign in (0, 1):
            A[sign, i, :, sign, i] += B
    side = 2 * P * d
    return A.reshape(side, side)


def to_vectors(system: System, U: Tensor) -> Tensor:
    """u (d, 2 C P) as columns (2 P d, C): an output each, unknowns by sign, pattern, input."""
    xp, P = system.xp, system.P
    T = xp.reshape(U, (system.d, 2, -1, P))
    return xp.reshape(xp.permute_dims(T, (1, 3, 0, 2)), (2 * P * system.d, -1))


def from_vectors(system: System, vectors: Tensor) -> Tensor:
    """The inverse of ``to_vectors``."""
    xp, P, d = system.xp, system.P, system.d
    T = xp.reshape(vectors, (2, P, d, -1))
    return xp.reshape(xp.permute_dims(T, (2, 0, 3, 1)), (d, -1))
