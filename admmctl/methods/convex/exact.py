"""``exact``: A u = b without A, by Woodbury's identity on the side of the samples.

G_i'G_i = X'X for every pattern, so that A = blockdiag(B) + F'F / rho with B = I + X'X, and

    A^-1 = B^-1 - B^-1 F' S^-1 F B^-1   with   S = rho I + F B^-1 F' = rho I + 2 (D D') o (X B^-1 X'),

an n x n matrix whatever the number of patterns. The convex paper holds the exact solve to be out of reach: at
n = 10,000, d = 3,072, P = 50 A would take over 90 GiB. S takes 0.4 GB.
"""

from typing import Any, ClassVar

import numpy as np

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.solvers import Size, gram
from admmctl.methods.convex.system import System

_PANEL = 512  # columns of S that are made at once


class Exact:
    """Two Cholesky factors, of sizes d and n, made once."""

    ranks: ClassVar[int | None] = 1

    def __init__(self, system: System, settings: Any, seed: int) -> None:
        self._system = system
        self._B = system.backend.cholesky(gram(system))
        self.new_rho()

    def new_rho(self) -> None:
        system, backend = self._system, self._system.backend
        self._S = None  # its memory first
        half = backend.solve_lower(self._B, system.X.T)  # L^-1 X': X B^-1 X' is half' half
        self._S = backend.cholesky(_sample_matrix(system, half))

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        system, backend = self._system, self._system.backend
        w = backend.solve(self._B, b)
        r = backend.solve(self._S, system.F(w))
        return w - backend.solve(self._B, system.Ft(r)), 1

    @staticmethod
    def bytes(size: Size, settings: Any) -> int:
        n, d = size.n, size.d
        whole = 1 if settings.backend != "jax" else 3
        return size.itemsize * (whole * n * n + 3 * d * d + 2 * n * d + 2 * n * _PANEL) + 2 * size.bytes_of_u


def _sample_matrix(system: System, half: Tensor) -> Tensor:
    """S, of which the lower triangle counts; in panels of columns, where arrays can be written to."""
    xp, D, n = system.xp, system.D, system.n
    if system.backend.name == "jax":
        return 2 * (D @ D.T) * (half.T @ half) + system.backend.array(system.rho * np.eye(n))
    S = xp.empty((n, n), dtype=D.dtype, device=D.device)
    for low in range(0, n, _PANEL):
        columns = slice(low, min(low + _PANEL, n))
        panel = half.T[low:] @ half[:, columns]
        panel *= D[low:] @ D[columns].T
        panel *= 2
        S[low:, columns] = panel
        diagonal = xp.arange(columns.start, columns.stop, device=D.device)
        S[diagonal, diagonal] += system.rho
    return S
