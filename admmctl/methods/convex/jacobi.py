"""``jacobi-pcg``: conjugate gradients with the diagonal of A (section 2.3 of the convex paper)."""

from typing import Any

import numpy as np

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.conjugate import ConjugateGradients
from admmctl.methods.convex.solvers import Size


class Jacobi(ConjugateGradients):
    """diag(A) = 1 + sum over rows of x_j^2 (1 + D_i / rho), without building A."""

    def prepare(self) -> None:
        self._inverse = 1 / diagonal(self.system)

    def precondition(self, r: Tensor) -> Tensor:
        return self._inverse * r

    @staticmethod
    def bytes(size: Size, settings: Any) -> int:
        return ConjugateGradients.bytes(size, settings) + size.bytes_of_u


def diagonal(system: Any) -> Tensor:
    """diag(A), shape (d, 2 C P)."""
    X, D = system.X, system.D
    one = 1 + system.total((X * X).T @ (1 + D / system.rho))  # (d, P)
    return system.backend.array(np.tile(system.backend.numpy(one), (1, 2 * system.C)))
