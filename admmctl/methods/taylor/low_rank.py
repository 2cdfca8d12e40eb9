"""Low-rank W-updates for wide layers (Burmeister's report, section 4.1, Algorithm 2).

The W-update of a layer with k inputs is W = z a' (a a' + ridge)^-1: a a' has k^2 numbers to sum and to send, and
k^3 / 3 operations factor it. A Nystrom sketch knows a a' by p of its columns S alone:

    a a' ~ C R^-1 C',    C = a a' S (k, p),    R = S' a a' S (p, p)

``nystrom`` inverts the sketch in the place of a a', as Algorithm 2 does, in the regularised form (Woodbury)

    (delta I + C R^-1 C')^-1 = (1/delta) (I - C (delta R + C'C)^-1 C')

and sums and sends C, z a' and the diagonal of a a', no matrix of k x k. The printed step 14 is
W = z a' C (R^-1 + C'C)^-1 C', by "the equality (C R^-1 C')^-1 = C (R^-1 + C'C)^-1 C'". That is no identity:
C R^-1 C' has rank p and no inverse, and with more samples the right side tends to the projection on range(C),
the inverse to zero. For p = k = 1 and a a' = 1 it gives 1/2 where 1 is right. ``nystrom-printed`` is that step. It
solves no least squares, and a run of it says so.

The regularised inverse is no least-squares solution either: what z a' has outside range(C) it divides by delta
alone. So delta has to stand for what the sketch leaves out. By default it is the ridge and
trace(a a' - C R^-1 C') / p, about the largest eigenvalue that p columns miss. The mean one, the trace over k, is
too small: in training W then overshoots (MNIST, 4,000 rows, 1,000 units, p = 100, after 12 iterations: 20 %
of the test rows, where the trace over p has 83 % and the exact update 90 %). With all columns both are zero, and
the update is the exact one. As preconditioner of ``nystrom-pcg`` the mean takes fewer steps.

``nystrom-pcg`` solves W (a a' + ridge) = z a' itself by conjugate gradients with the sketch as preconditioner.
a a' is summed and sent as in the exact update; only its factor is saved.

Columns are drawn anew in every iteration, the same on every rank: what one sketch misses the next one may see. (A
fixed choice was no better at any p that was tried, and worse at p = k / 10.) Not so for the inputs, which never
change: C is summed once, before the loop, as Algorithm 2 has it, the sketch is made once, and an iteration is left
with z a' and 4 k' k p operations. As the same directions are missed every time, W that is too long along one of
them grows from iteration to iteration, if delta is less than about half the largest eigenvalue that is missed. By
default the trace is divided by 2 sqrt(p) there, which makes about that eigenvalue (docs/mathematics.md).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, get_blas_funcs

from admmctl.methods.least_squares import Array, Factor, Sums
from admmctl.methods.method import Diverged
from admmctl.methods.taylor.settings import LowRankSettings

_LEAST = 1e-10  # of delta, relative to the mean diagonal


class Draw:
    """Draws ``p`` of ``k`` columns, the same on every rank: from the seed and the layer, and from sums over ranks.

    By leverage, columns are drawn without replacement with chances in proportion to the scores of the last sketch.
    C R^-1 C' does not change with the scale of a column, so that no weights are needed.
    """

    def __init__(self, k: int, p: int, by_leverage: bool, seed: int, layer: int) -> None:
        self._k, self.p, self.learns = k, p, by_leverage
        self._generator = np.random.default_rng([seed, layer, 0x10A])
        self._scores: Array = np.ones(k)

    def next(self) -> NDArray[np.intp]:
        """Column numbers, ascending."""
        # The largest of log(u) / score: without replacement (Efraimidis and Spirakis).
        keys = np.log1p(-self._generator.random(self._k)) / self._scores
        return np.sort(np.argsort(keys)[self._k - self.p :])

    def learn(self, sketch: "Sketch") -> None:
        """Take the scores of what the columns last drawn have shown."""
        if self.learns:
            self._scores = np.clip(sketch.leverage(), 1e-6, 1.0)

    def memory(self) -> dict[str, Any]:
        return {"scores": self._scores, "generator": self._generator.bit_generator.state}

    def recall(self, memory: dict[str, Any]) -> None:
        self._scores = memory["scores"]
        self._generator.bit_generator.state = memory["generator"]


class Sketch:
    """delta I + C R^-1 C' in the place of a a' + ridge, as delta I + B B' with B = C L^-T (k, p) and R = L L'.

    ``C`` (k, p) are columns ``columns`` of a a', ``diagonal`` (k,) is its diagonal. ``delta`` is relative to its
    mean, and without it the ridge and the trace that is left out over ``spread``. With B the Woodbury step is
    (1/delta)(I - B (delta I + B'B)^-1 B'), the same as the module's by substitution, and neither squares what is
    ill-conditioned in R nor needs R to be regular: R gets a shift of its rounding error, so that inputs
    that are dead, or alike, have columns of B that are nearly zero. All in float64. Raises Diverged.
    """

    def __init__(
        self,
        C: Array,
        columns: NDArray[np.intp],
        diagonal: Array,
        ridge: float,
        delta: float | None,
        spread: float,
    ) -> None:
        if not (np.isfinite(C).all() and np.isfinite(diagonal).all()):
            raise Diverged("a a' is not finite")
        precision = float(np.finfo(C.dtype).eps)
        self._C: Array = C.astype(np.float64, order="F")
        self._d: Array = diagonal.astype(np.float64)
        self.mean = float(self._d.mean()) or 1.0
        R = self._C[columns]
        self._R: Array = (R + R.T) / 2
        shift = precision * (float(np.trace(self._R)) or 1.0)
        self._B = by_factor(self._C, self._R, shift)
        left_out = np.clip(self._d - np.einsum("ij,ij->i", self._B, self._B), 0, None)
        chosen = ridge * self.mean + float(left_out.sum()) / spread if delta is None else delta * self.mean
        BB: Array = self._B.T @ self._B
        self._factor, self.delta = factored(BB, max(chosen, _LEAST * self.mean))

    def forget(self) -> None:
        """Let go of what ``leverage`` alone needs."""
        del self._C, self._R

    @property
    def ridge(self) -> float:
        """delta, relative to the mean diagonal: what stands where the ridge of the exact update does."""
        return self.delta / self.mean

    def solve(self, cross: Array, start: Array | None = None) -> Array:
        """W = z a' (delta I + C R^-1 C')^-1, shape (k', k), in the type of ``cross``."""
        return finite(self.divide(finite(cross, "z a'").astype(np.float64)), "W").astype(cross.dtype)

    def divide(self, X: Array) -> Array:
        """X (delta I + B B')^-1 of X (k', k), in float64."""
        inner = cho_solve((self._factor, True), (X @ self._B).T, check_finite=False)
        divided: Array = (X - (self._B @ inner).T) / self.delta
        return divided

    def leverage(self) -> Array:
        """Ridge leverage scores (k,) of a a' at delta, from above: diag(a a' - C (R + delta I)^-1 C') / delta.

        With all columns they are diag(a a' (a a' + delta I)^-1) (Musco and Musco 2017).
        """
        B = by_factor(self._C, self._R, self.delta)
        scores: Array = (self._d - np.einsum("ij,ij->i", B, B)) / self.delta
        return scores


class PrintedSketch:
    """W = z a' C (R^-1 + C'C)^-1 C', step 14 of Algorithm 2 as printed: see the module's text. Raises Diverged.

    With R = L L' and G = C L that is z a' G (I + G'G)^-1 G', which needs no inverse of R. Where sums are large the
    1 drowns in rounding, and is raised to it.
    """

    ridge = 0.0  # it has none

    def __init__(self, C: Array, columns: NDArray[np.intp]) -> None:
        whole: Array = finite(C, "a a'").astype(np.float64, order="F")
        R = whole[columns]
        L, _ = factored((R + R.T) / 2, float(np.finfo(C.dtype).eps) * (float(np.trace(R)) or 1.0))
        self._G: Array = whole @ L
        GG: Array = self._G.T @ self._G
        self._factor, _ = factored(GG, max(1.0, float(np.finfo(np.float64).eps) * float(np.trace(GG))))

    def solve(self, cross: Array, start: Array | None = None) -> Array:
        X = finite(cross, "z a'").astype(np.float64)
        inner = cho_solve((self._factor, True), (X @ self._G).T, check_finite=False)
        return finite((self._G @ inner).T, "W").astype(cross.dtype)


def by_factor(C: Array, R: Array, shift: float) -> Array:
    """C L^-T with L L' = R + shift I."""
    L, _ = factored(R, shift)
    B: Array = get_blas_funcs("trsm", (L, C))(1.0, L, C, side=1, lower=1, trans_a=1)
    return B


def factored(matrix: Array, shift: float) -> tuple[Array, float]:
    """The lower factor of matrix + shift I, and the shift: it is raised until that is positive definite.

    Raises Diverged.
    """
    while np.isfinite(shift) and np.isfinite(matrix).all():
        shifted: Array = matrix.copy(order="F")
        shifted[np.diag_indices_from(shifted)] += shift
        try:
            return cholesky(shifted, lower=True, overwrite_a=True, check_finite=False), shift
        except np.linalg.LinAlgError:
            shift *= 10
    raise Diverged("the sketch of a a' is out of range")


class NystromPair(Sums):
    """Sums over samples of z a' (k', k), of ``p`` columns of a a' (k, p), and of its diagonal (k,).

    The columns are drawn before a pass over the samples: of a block it costs a product of k x p.
    """

    def __init__(self, outputs: int, inputs: int, dtype: type, settings: LowRankSettings, draw: Draw) -> None:
        self.cross: Array = np.zeros((outputs, inputs), dtype)
        self.C: Array = np.zeros((inputs, draw.p), dtype, order="F")
        self.diagonal: Array = np.zeros(inputs, dtype)
        self.columns = draw.next()
        self._draw, self._delta = draw, settings.delta
        self.everywhere = draw.learns
        self._product = np.empty_like(self.cross)
        self._gemm: Any = get_blas_funcs("gemm", (self.C,))

    def clear(self) -> None:
        for array in (self.cross,) if self._fixed else (self.cross, self.C, self.diagonal):
            array[...] = 0
        if not self._fixed:
            self.columns = self._draw.next()

    def add(self, z: Array, a: Array) -> None:
        self.cross += np.matmul(z, a.T, out=self._product)
        if self._fixed:
            return
        some = np.take(a.T, self.columns, axis=1).T
        # In place: a product to be added afterwards would be as much memory to go through again.
        self._gemm(1.0, a, some, beta=1.0, c=self.C, trans_b=True, overwrite_c=True)
        self.diagonal += np.einsum("ij,ij->i", a, a)

    def packed(self) -> list[Array]:
        return [] if self._fixed else [self.C.ravel(order="F"), self.diagonal]

    def unpack(self, packed: Array) -> Array:
        if self._fixed:
            return packed
        for array in (self.C.T, self.diagonal):
            array[...] = packed[: array.size].reshape(array.shape)
            packed = packed[array.size :]
        return packed

    def _factor(self, ridge: float) -> Factor:
        p = self._draw.p
        spread = min(p, 2 * math.sqrt(p)) if self._fixed else p
        sketch = Sketch(self.C, self.columns, self.diagonal, ridge, self._delta, spread)
        self._draw.learn(sketch)
        sketch.forget()
        return sketch

    def memory(self) -> dict[str, Any]:
        lasting = {"C": self.C, "diagonal": self.diagonal} if self._fixed else {}
        return {"columns": self.columns, **lasting, **self._draw.memory()}

    def recall(self, memory: dict[str, Any]) -> None:
        self.columns = memory["columns"]
        self._draw.recall(memory)
        if "C" in memory:
            self.fix(False)
            self.C[...], self.diagonal[...] = memory["C"], memory["diagonal"]
            self.fix()


class PrintedPair(NystromPair):
    """The same sums, and the printed step from them."""

    def _factor(self, ridge: float) -> Factor:
        return PrintedSketch(self.C, self.columns)


def finite(x: Array, name: str) -> Array:
    """``x``. Raises Diverged, with its name, where it is not finite."""
    if not np.isfinite(x).all():
        raise Diverged(f"{name} is not finite")
    return x
