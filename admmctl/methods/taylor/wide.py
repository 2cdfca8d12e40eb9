"""The exact W-update of a wide layer by several ranks, none of which makes its factor.

W (a a' + ridge) = z a' with k inputs takes k^3 / 3 operations for a factor, which every rank would repeat. Instead
the inputs are divided: a rank has its own rows of a a' and its own columns of W, and all ranks together make steps
of conjugate gradients from the last W, on all rows of W at once. A step reads a a' once, every rank its part.

The preconditioner is a Nystrom sketch of a a' from evenly spread columns, delta I + B B' with B = C L^-T, as in
``low_rank.Sketch``: its rows are divided, too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_solve

from admmctl.comm import Comm
from admmctl.methods.division import Division, Share, Work
from admmctl.methods.least_squares import GramPair, Together
from admmctl.methods.method import Array, Diverged, Message, Timer
from admmctl.methods.taylor.low_rank import by_factor, factored

WIDE = 2_000  # inputs from which it pays
TOLERANCE = 1e-5  # the residual of every row of W, relative to that of z a'
_SKETCH = 0.1  # columns of the sketch, as a part of the inputs
_MOST = 1_000  # steps
_STEPS = 30  # that a layer of 4,000 rectified units takes from W = 0


class WidePair(GramPair, Together):
    """Sums of z a' and a a' like those of ``GramPair``; after ``reduce`` a rank has the rows of its own inputs."""

    def __init__(self, outputs: int, inputs: int, dtype: type, comm: Comm, clock: Timer) -> None:
        super().__init__(outputs, inputs, dtype)
        self._comm, self._clock = comm, clock
        self.division: Division = Work([(inputs, inputs)], [1.0], [0.0]).divide(comm)
        self._of_W: Division = Work([(inputs, outputs)], [1.0], [0.0]).divide(comm)

    def divide(self) -> None:
        """Sum over ranks, in place: of a a' the rows of this rank's inputs, of z a' its columns."""
        for i, j, _ in self._tiles:
            lower = self.triangle[i, j]
            self.triangle[j, i] = lower.T if i != j else np.tril(lower) + np.tril(lower, -1).T
        cross = np.ascontiguousarray(self.cross.T).ravel()
        self.division.reduce(self.triangle.ravel())
        self._of_W.reduce(cross)
        (rows,) = self.division.rows
        self._gram = self.triangle[rows]
        self._cross = cross.reshape(self.cross.shape[::-1])[rows].T

    def solve(self, ridge: float, start: Array | None) -> Array:
        """W = z a' (a a' + ridge * mean(diag a a') I)^-1, (k', k), on all ranks, from ``start``.

        Raises Diverged, on all ranks.
        """
        (rows,) = self.division.rows
        diagonal = self._gram[np.arange(len(self._gram)), np.arange(rows.start, rows.stop)].astype(np.float64)
        trace = self._sum([float(diagonal.sum()), float(np.square(self._cross, dtype=np.float64).sum())])
        if not np.isfinite(trace).all():
            raise Diverged("the sums of the W-update are not finite")
        mean = trace[0] / len(self.triangle) or 1.0
        sketch = _Sketch(self._gram, rows, diagonal, ridge * mean, self._sum)
        own = self._steps(sketch, ridge * mean, None if start is None else start[:, rows])
        return np.ascontiguousarray(self._whole(own).T)

    def _steps(self, sketch: "_Sketch", shift: float, start: Array | None) -> Array:
        """Conjugate gradients: this rank's columns of W, in float64. Raises Diverged, on all ranks."""
        r: Array = self._cross.astype(np.float64)
        enough = TOLERANCE * np.sqrt(self._sum(_squares(r)))
        W: Array = np.zeros_like(r)
        if start is not None:
            W[...] = start
            r -= self._times(W, shift)
        P: Array = np.zeros_like(r)
        before: Array = np.ones(len(r))
        for number in range(_MOST):
            Z = sketch.divide(r)
            now, square = np.split(self._sum(np.concatenate([np.einsum("ij,ij->i", r, Z), _squares(r)])), 2)
            if not np.isfinite(square).all():
                raise Diverged("the conjugate gradients of the W-update have left the range of numbers")
            open_ = np.sqrt(square) > enough
            if not open_.any():
                return W
            P = Z + np.where(open_, now / before, 0.0)[:, None] * P if number else Z
            Q = self._times(P, shift)
            curvature = self._sum(np.einsum("ij,ij->i", P, Q))
            alpha = np.divide(now, curvature, out=np.zeros_like(now), where=open_ & (curvature > 0))[:, None]
            W += alpha * P
            r -= alpha * Q
            before = np.where(open_, now, 1.0)
        return W

    def _times(self, P: Array, shift: float) -> Array:
        """This rank's columns of P (a a' + shift), P by its own columns; the product in the type of the sums."""
        product: Array = (self._gram @ self._whole(P)).T.astype(np.float64)
        product += shift * P
        return product

    def _whole(self, columns: Array) -> Array:
        """The transpose (k, k') of the matrix of which every rank has its ``columns``, in the type of the sums."""
        piece = np.ascontiguousarray(columns.T, dtype=self.cross.dtype).ravel()
        with self._clock.phase("reduce"):
            return self._of_W.whole(piece).reshape(self.cross.shape[::-1])

    def _sum(self, numbers: Sequence[float] | Array) -> Array:
        summed: Array = np.array(numbers, dtype=np.float64)
        with self._clock.phase("reduce"):
            self._comm.allreduce(summed)
        return summed


class _Sketch:
    """The rows of B that belong to this rank's inputs, and the factor of delta I + B'B."""

    def __init__(
        self, gram: Array, rows: slice, diagonal: Array, ridge: float, add_up: Callable[[Array], Array]
    ) -> None:
        self._add_up = add_up  # over ranks
        k = gram.shape[1]
        p = max(1, round(_SKETCH * k))
        columns = np.linspace(0, k - 1, p).astype(np.intp)
        C: Array = gram[:, columns].astype(np.float64, order="F")
        R: Array = np.zeros((p, p))
        mine = (rows.start <= columns) & (columns < rows.stop)
        R[mine] = C[columns[mine] - rows.start]
        R = add_up(R)
        R = (R + R.T) / 2
        self._B = by_factor(C, R, float(np.finfo(gram.dtype).eps) * (float(np.trace(R)) or 1.0))
        left_out = np.clip(diagonal - np.einsum("ij,ij->i", self._B, self._B), 0, None)
        sums: Array = np.concatenate([(self._B.T @ self._B).ravel(), [float(left_out.sum())]])
        sums = add_up(sums)
        self._factor, self._delta = factored(sums[:-1].reshape(p, p), ridge + sums[-1] / k)

    def divide(self, X: Array) -> Array:
        """This rank's columns of X (delta I + B B')^-1."""
        inner = self._add_up(X @ self._B)
        solved: Any = cho_solve((self._factor, True), inner.T, check_finite=False)
        divided: Array = (X - (self._B @ solved).T) / self._delta
        return divided


def wide_share(outputs: int, inputs: int, ranks: int) -> Share:
    """Of one layer on several ranks, float32: its sums, and about as many steps as a cold start takes.

    The messages of the steps are left out: how many there are is for the residual to say.
    """
    p = _SKETCH * inputs
    steps = _STEPS * 2.0 * outputs * inputs * (inputs + 2 * p)
    messages = (Message("reduce_scatter", 4 * inputs**2), Message("reduce_scatter", 4 * inputs * outputs))
    return Share((steps + 2 * inputs * p**2) / ranks + 2 * p**3 / 3, messages)


def _squares(x: Array) -> Array:
    found: Array = np.einsum("ij,ij->i", x, x)
    return found
