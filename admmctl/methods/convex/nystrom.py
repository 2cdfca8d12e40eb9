"""``nystrom-pcg``: conjugate gradients with a low-rank sketch of A - I (section 2.4; NysADMM)."""

import math
from dataclasses import dataclass

import numpy as np

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import ConjugateGradients, Size, from_vectors, to_vectors
from admmctl.methods.convex.system import System
from admmctl.methods.method import Diverged

FIRST_RANK, MOST = 10, 100  # rank: auto begins at the one and doubles it, up to the other; the paper takes 100
GOOD = 10.0  # it stops earlier where the sketch misses no more of H than this,
ENOUGH = 0.7  # and where doubling the rank has left more than this part of what was missed
_AT_ONCE = 8  # vectors that are multiplied at once: memory, not speed
POWERS = 4  # power iterations for the error of a sketch; each costs a product with A


@dataclass(frozen=True)
class Sketch:
    """H ~ U diag(eigenvalues) U', H = A - I: ``U`` (2 P d, rank) has orthonormal columns, eigenvalues fall."""

    U: Tensor
    eigenvalues: Tensor

    @property
    def rank(self) -> int:
        return int(self.U.shape[1])


class Nystrom(ConjugateGradients):
    """M^-1 = (l_r + 1) U (L + I)^-1 U' + (I - U U'), with l_r the smallest eigenvalue of the sketch."""

    def prepare(self) -> None:
        s = self.settings
        if s.rank == "auto":
            self.sketch = adaptive_sketch(self.system, self.seed)
        else:
            self.sketch = sketch(self.system, min(s.rank, 2 * self.system.P * self.system.d), self.seed)
        eigenvalues = self.sketch.eigenvalues
        self._shrink = (eigenvalues[-1] + 1) / (eigenvalues + 1) - 1

    def precondition(self, r: Tensor) -> Tensor:
        U, vectors = self.sketch.U, to_vectors(self.system, r)
        return from_vectors(self.system, vectors + U @ (self._shrink[:, None] * (U.T @ vectors)))

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        rank = min(MOST if settings.rank == "auto" else settings.rank, size.unknowns)
        # Omega, H Omega, its factors; and rows times vectors.
        sketched = size.itemsize * (4 * rank * size.unknowns + 8 * _AT_ONCE * size.n * size.P // size.ranks)
        return ConjugateGradients.bytes(size, settings) + sketched


def sketch(system: System, rank: int, seed: int) -> Sketch:
    """The randomised Nystrom approximation of H = A - I of one output (Frangella, Tropp, Udell, algorithm 2.1)."""
    omega, H_omega = _more(system, None, None, rank, np.random.default_rng([seed, 0x2B7]))
    return _sketch(system, omega, H_omega)


def adaptive_sketch(system: System, seed: int) -> Sketch:
    """A sketch whose rank doubles until its own estimate of what it misses, ||H - sketch||, is small.

    Or falls no further: A has the eigenvalues of X'X 2 P times, and many equal ones are too many for a sketch.
    What was multiplied is kept, so that a sketch costs as many products with A as its rank in the end.
    """
    generator = np.random.default_rng([seed, 0x2B7])
    most = min(MOST, 2 * system.P * system.d)
    omega = H_omega = v = None
    rank, before = min(FIRST_RANK, most), math.inf
    while True:
        omega, H_omega = _more(system, omega, H_omega, rank, generator)
        found = _sketch(system, omega, H_omega)
        left, v = missed(system, found, seed, v=v)
        if rank == most or left <= GOOD or left > ENOUGH * before:
            return found
        rank, before = min(2 * rank, most), left


def _more(
    system: System, omega: Tensor, H_omega: Tensor, rank: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """``rank`` random orthonormal columns, the first of them ``omega``, and H times them."""
    xp, backend = system.xp, system.backend
    old = 0 if omega is None else omega.shape[1]
    drawn = backend.array(generator.standard_normal((2 * system.P * system.d, rank - old), dtype=np.float32))
    if omega is None:
        new, _ = _orthonormal(system, drawn)
        return new, _times(system, new)
    for _ in range(2):  # once more: rounding
        drawn = drawn - omega @ (omega.T @ drawn)
    new, _ = _orthonormal(system, drawn)
    return xp.concat([omega, new], axis=1), xp.concat([H_omega, _times(system, new)], axis=1)


def _sketch(system: System, omega: Tensor, H_omega: Tensor) -> Sketch:
    xp, backend = system.xp, system.backend
    # A shift keeps the square root real, and is taken off again at the end.
    precision = float(xp.finfo(system.X.dtype).eps)
    shift = precision * float(xp.sqrt(xp.sum(H_omega * H_omega)))
    shifted = H_omega + shift * omega
    small = omega.T @ shifted
    factor = backend.cholesky((small + small.T) / 2)
    half = backend.solve_lower(factor, shifted.T).T
    Q, R = _orthonormal(system, half)
    U, singular, _ = xp.linalg.svd(R, full_matrices=False)
    return Sketch(Q @ U, xp.clip(singular * singular - shift, 0, None))


def _orthonormal(system: System, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Y = Q R with orthonormal columns in Q.

    By Cholesky factors of Y'Y, twice: products, where Householder's way takes ten times as long for the tall Y of
    large problems. Where Y'Y is too near to singular for that, Householder's way.
    """
    xp, backend = system.xp, system.backend
    try:
        L = backend.cholesky(Y.T @ Y)
        Q = Y @ _inverse(system, L).T
        M = backend.cholesky(Q.T @ Q)
        Q = Q @ _inverse(system, M).T
    except Diverged:
        found: tuple[Tensor, Tensor] = xp.linalg.qr(Y)
        return found
    return Q, xp.tril(M).T @ xp.tril(L).T


def _inverse(system: System, L: Tensor) -> Tensor:
    return system.backend.solve_lower(L, system.backend.array(np.eye(len(L))))


def missed(
    system: System, found: Sketch, seed: int, powers: int = POWERS, v: Tensor = None
) -> tuple[float, Tensor]:
    """An estimate of ||H - U L U'||, from below, by power iterations from ``v``; and the vector they end with."""
    xp = system.xp
    if v is None:
        drawn = np.random.default_rng([seed, 0xE44]).standard_normal((found.U.shape[0], 1))
        v = system.backend.array(drawn)
    estimate = 0.0
    for _ in range(powers):
        v = v / xp.sqrt(xp.sum(v * v))
        Hv = _times(system, v) - found.U @ (found.eigenvalues[:, None] * (found.U.T @ v))
        estimate, v = float(xp.sum(v * Hv)), Hv
    return estimate, v


def _times(system: System, vectors: Tensor) -> Tensor:
    """H times columns (2 P d, any)."""
    parts = []
    for low in range(0, vectors.shape[1], _AT_ONCE):
        some = from_vectors(system, vectors[:, low : low + _AT_ONCE])
        parts.append(to_vectors(system, system.H(some)))
    return system.xp.concat(parts, axis=1)
