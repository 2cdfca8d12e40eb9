"""``nystrom-pcg``: the exact W-update by conjugate gradients, with a Nystrom sketch of a a' as preconditioner."""

from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs

from admmctl.methods.least_squares import Array, Factor, GramPair, RidgeFactor
from admmctl.methods.taylor.low_rank import Draw, Sketch, finite
from admmctl.methods.taylor.settings import LowRankSettings

MOST = 100  # steps of conjugate gradients; then a factor is cheaper, and is made


class PreconditionedPair(GramPair):
    """The sums of the exact update; the columns of the sketch, drawn before a pass, are taken from them."""

    def __init__(self, outputs: int, inputs: int, dtype: type, settings: LowRankSettings, draw: Draw) -> None:
        super().__init__(outputs, inputs, dtype)
        self._draw, self._settings = draw, settings
        self.everywhere = draw.learns
        self.columns = draw.next()

    def clear(self) -> None:
        super().clear()
        if not self._fixed:
            self.columns = self._draw.next()

    def _factor(self, ridge: float) -> Factor:
        columns, triangle = self.columns, self.triangle
        # Only the lower triangle counts: left of the diagonal a column is a row of it.
        lower = np.arange(len(triangle))[:, None] >= columns
        C = np.where(lower, triangle[:, columns], triangle[columns].T)
        sketch = Sketch(C, columns, np.diagonal(triangle), ridge, self._settings.delta, len(triangle))
        self._draw.learn(sketch)
        sketch.forget()
        return Preconditioned(triangle, sketch, ridge, self._settings.tolerance)

    def memory(self) -> dict[str, Any]:
        return {"columns": self.columns, **super().memory(), **self._draw.memory()}

    def recall(self, memory: dict[str, Any]) -> None:
        super().recall(memory)
        self._draw.recall(memory)
        # Older checkpoints have the state of the generator before it drew the next columns.
        self.columns = memory["columns"] if "columns" in memory else self._draw.next()


class Preconditioned:
    """W (a a' + ridge * mean(diag a a') I) = z a' by conjugate gradients from the W before, all rows at once.

    A step reads the lower triangle of a a' once, for all rows: 2 k' k^2 operations, and 4 k' k p for the sketch,
    which takes 2 k p^2 to make. A Cholesky factor takes k^3 / 3, and a copy of a a' in float64. With few outputs
    the steps wait for memory: see benchmarks/low_rank.py. Most of an iteration is the sum of a a', which stays.

    Products with a a' are in its own type, everything else in float64.
    """

    def __init__(self, triangle: Array, sketch: Sketch, ridge: float, tolerance: float) -> None:
        self._triangle, self._sketch, self._tolerance = triangle, sketch, tolerance
        self.ridge = self._asked = ridge
        self.steps = 0  # of the last solve
        self._symm: Any = get_blas_funcs("symm", (triangle,))

    def _times(self, P: Array) -> Array:
        """P (a a' + ridge) of P (k', k)."""
        few = P.astype(self._triangle.dtype)
        # As BLAS counts, P.T is (k, k') and the triangle an upper one.
        product = self._symm(1.0, self._triangle.T, few.T, side=0, lower=0).T
        whole: Array = product + (self.ridge * self._sketch.mean) * P
        return whole

    def solve(self, cross: Array, start: Array | None = None) -> Array:
        """W (k', k), in the type of ``cross``, from ``start``. Raises Diverged.

        Where so many steps do not reach the tolerance, a factor of a a' does.
        """
        self.ridge = self._asked
        X = finite(cross, "z a'").astype(np.float64)
        enough = self._tolerance * np.linalg.norm(X, axis=1)
        W: Array = np.zeros_like(X) if start is None else start.astype(np.float64)
        r: Array = X - self._times(W)
        P: Array = np.zeros_like(X)
        before: Array = np.ones(len(X))
        for self.steps in range(MOST + 1):
            open_ = np.linalg.norm(r, axis=1) > enough
            if not open_.any():
                return finite(W, "W").astype(cross.dtype)
            if not np.isfinite(r).all():
                break
            Z = self._sketch.divide(r)
            now = np.einsum("ij,ij->i", r, Z)
            P = Z + np.where(open_, now / before, 0.0)[:, None] * P if self.steps else Z
            Q = self._times(P)
            curvature = np.einsum("ij,ij->i", P, Q)
            if (curvature[open_] <= 0).any():
                break  # rounding has made a a' + ridge indefinite
            alpha = np.divide(now, curvature, out=np.zeros_like(now), where=open_)[:, None]
            W += alpha * P
            r -= alpha * Q
            before = np.where(open_, now, 1.0)
        factor = RidgeFactor(self._triangle, self.ridge)
        self.ridge = factor.ridge
        return factor.solve(cross)
