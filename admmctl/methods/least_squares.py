"""Least squares over samples spread on ranks: Gram pairs, their reduction, the ridge solve.

For targets z (k', n) and inputs a (k, n), the weights min_W ||z - W a||^2 + r ||W||^2 need only the pair
(z a', a a'), summed over samples: Taylor's transpose reduction (section 5). A pseudo-inverse is never formed.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotrf, dpotri

from admmctl.methods.method import Diverged
from admmctl.parallel.comm import Comm

Array = NDArray[np.floating]


class GramPair:
    """Sums over samples of z a', shape (k', k), and a a', shape (k, k), for one layer's W-update."""

    def __init__(self, outputs: int, inputs: int, dtype: type) -> None:
        self.cross: Array = np.zeros((outputs, inputs), dtype=dtype)
        self.gram: Array = np.zeros((inputs, inputs), dtype=dtype)

    def clear(self) -> None:
        self.cross[...] = 0
        self.gram[...] = 0

    def add(self, z: Array, a: Array) -> None:
        """Add a block of samples: ``z`` (k', block) and ``a`` (k, block)."""
        self.cross += z @ a.T
        self.gram += a @ a.T  # NumPy sees the symmetry and computes one triangle

    def reduce(self, comm: Comm) -> None:
        """Sum over ranks in one packed in-place Allreduce: one triangle of a a', and z a'."""
        triangle = _triangle(len(self.gram))
        half = len(triangle[0])
        packed = np.empty(half + self.cross.size, dtype=self.gram.dtype)
        packed[:half] = self.gram[triangle]
        packed[half:] = self.cross.ravel()
        comm.allreduce(packed)
        self.gram[triangle] = packed[:half]
        self.gram.T[triangle] = packed[:half]
        self.cross[...] = packed[half:].reshape(self.cross.shape)


@lru_cache(maxsize=16)
def _triangle(k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.triu_indices(k)


class RidgeFactor:
    """The Cholesky factor of a a' + ridge * mean(diag a a') I, in float64, for any number of solves.

    ``ridge`` is the one used: where rounding has made the matrix indefinite (dead inputs and a ridge near
    the rounding error), it is raised tenfold until the factorisation holds, the same on every rank.
    Raises Diverged when the matrix is not finite.
    """

    def __init__(self, gram: Array, ridge: float) -> None:
        if not np.isfinite(gram).all():
            raise Diverged("a a' is not finite")
        mean = float(np.trace(gram, dtype=np.float64)) / len(gram) or 1.0
        self.ridge = ridge
        while True:
            matrix = gram.astype(np.float64)
            matrix[np.diag_indices_from(matrix)] += self.ridge * mean
            try:
                self._factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:
                self.ridge = max(10 * self.ridge, 1e-10)
                continue
            return

    def solve(self, cross: Array) -> Array:
        """W = z a' (a a' + ridge)^-1, shape (k', k), in the type of ``cross``."""
        if not np.isfinite(cross).all():
            raise Diverged("z a' is not finite")
        W: Array = cho_solve(self._factor, cross.T.astype(np.float64), check_finite=False).T
        return np.ascontiguousarray(W, dtype=cross.dtype)


def inverse_of_positive(matrix: Array) -> Array:
    """The inverse of a symmetric positive definite matrix by Cholesky, in float64. Raises Diverged."""
    if not np.isfinite(matrix).all():
        raise Diverged("the weights are not finite")
    factor, failed = dpotrf(matrix.astype(np.float64), lower=True)
    inverse, singular = dpotri(factor, lower=True)
    if failed or singular:
        raise Diverged("the matrix of the a-update, W W' + gamma/beta I, is numerically singular: W has grown")
    result: Array = np.tril(inverse) + np.tril(inverse, -1).T
    return result
