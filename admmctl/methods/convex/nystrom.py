"""Low-rank sketches of a matrix that is only multiplied with, and ``nystrom-pcg``: conjugate gradients with one.

Its sketch is of A - I (section 2.4; NysADMM). That of ``rbcd`` is of X'X.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from admmctl.methods.convex.backend import Backend, Tensor
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import ConjugateGradients, Size, from_vectors, to_vectors
from admmctl.methods.convex.system import OnDisk, System
from admmctl.methods.method import Diverged

FIRST_RANK, MOST = 10, 100  # rank: auto begins at the one and doubles it, up to the other; the paper takes 100
GOOD = 10.0  # it stops earlier where the sketch misses no more of H than this,
ENOUGH = 0.7  # and where doubling the rank has left more than this part of what was missed
_AT_ONCE = 8  # vectors that are multiplied at once: memory, not speed
POWERS = 4  # power iterations for the error of a sketch; each costs a product with A


@dataclass(frozen=True)
class Operator:
    """A symmetric positive semidefinite matrix H, (side, side), by its products with columns (side, any)."""

    backend: Backend
    side: int
    times: Callable[[Tensor], Tensor]


def coupled(system: System) -> Operator:
    """H = A - I of one output, (2 P d, 2 P d)."""

    def times(vectors: Tensor) -> Tensor:
        parts = []
        # Rows that stay on disk are read once for all: what they are multiplied to at once is small anyway.
        step = vectors.shape[1] if isinstance(system.X, OnDisk) else _AT_ONCE
        for low in range(0, vectors.shape[1], step):
            some = from_vectors(system, vectors[:, low : low + step])
            parts.append(to_vectors(system, system.H(some)))
        return system.xp.concat(parts, axis=1)

    return Operator(system.backend, 2 * system.P * system.d, times)


def squares(system: System) -> Operator:
    """H = X'X over the rows of all ranks, (d, d): G_i'G_i of every pattern."""
    return Operator(system.backend, system.d, lambda vectors: system.over_rows(lambda X: X.T @ (X @ vectors)))


@dataclass(frozen=True)
class Sketch:
    """H ~ U diag(eigenvalues) U': ``U`` (side, rank) has orthonormal columns, eigenvalues fall."""

    U: Tensor
    eigenvalues: Tensor

    @property
    def rank(self) -> int:
        return int(self.U.shape[1])

    def precondition(self, r: Tensor) -> Tensor:
        """M^-1 r, M^-1 = (l_r + 1) U (L + I)^-1 U' + (I - U U'), l_r the smallest eigenvalue. r: (side, any)."""
        shrink = (self.eigenvalues[-1] + 1) / (self.eigenvalues + 1) - 1
        return r + self.U @ (shrink[:, None] * (self.U.T @ r))


class Nystrom(ConjugateGradients):
    """M as ``Sketch`` has it, of H = A - I."""

    def prepare(self) -> None:
        self.sketch = sketched(coupled(self.system), self.settings.rank, self.seed)

    def precondition(self, r: Tensor) -> Tensor:
        return from_vectors(self.system, self.sketch.precondition(to_vectors(self.system, r)))

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        rank = most(settings, size.unknowns)
        at_once = _AT_ONCE if size.block is None else rank
        # Omega, H Omega, its factors; and rows times vectors.
        kept = size.itemsize * (4 * rank * size.unknowns + 8 * at_once * size.rows * size.P)
        return ConjugateGradients.bytes(size, settings) + kept


def most(settings: ConvexAdmmSettings, side: int) -> int:
    """The largest rank that a sketch of a matrix of that side may have."""
    return min(MOST if settings.rank == "auto" else settings.rank, side)


def sketched(H: Operator, rank: int | str, seed: int) -> Sketch:
    """A sketch of that rank, or of the side of H where that is less; ``auto``: of a rank of its own."""
    return adaptive_sketch(H, seed) if isinstance(rank, str) else sketch(H, min(rank, H.side), seed)


def sketch(H: Operator, rank: int, seed: int) -> Sketch:
    """The randomised Nystrom approximation of H (Frangella, Tropp, Udell, algorithm 2.1)."""
    omega, H_omega = _more(H, None, None, rank, np.random.default_rng([seed, 0x2B7]))
    return _sketch(H, omega, H_omega)


def adaptive_sketch(H: Operator, seed: int) -> Sketch:
    """A sketch whose rank doubles until its own estimate of what it misses, ||H - sketch||, is small.

    Or falls no further: A has the eigenvalues of X'X 2 P times, and many equal ones are too many for a sketch.
    What was multiplied is kept, so that a sketch costs as many products with H as its rank in the end.
    """
    generator = np.random.default_rng([seed, 0x2B7])
    end = min(MOST, H.side)
    omega = H_omega = v = None
    rank, before = min(FIRST_RANK, end), math.inf
    while True:
        omega, H_omega = _more(H, omega, H_omega, rank, generator)
        found = _sketch(H, omega, H_omega)
        left, v = missed(H, found, seed, v=v)
        if rank == end or left <= GOOD or left > ENOUGH * before:
            return found
        rank, before = min(2 * rank, end), left


def _more(
    H: Operator, omega: Tensor, H_omega: Tensor, rank: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """``rank`` random orthonormal columns, the first of them ``omega``, and H times them."""
    xp, backend = H.backend.xp, H.backend
    old = 0 if omega is None else omega.shape[1]
    drawn = backend.array(generator.standard_normal((H.side, rank - old), dtype=np.float32))
    if omega is None:
        new, _ = _orthonormal(backend, drawn)
        return new, H.times(new)
    for _ in range(2):  # once more: rounding
        drawn = drawn - omega @ (omega.T @ drawn)
    new, _ = _orthonormal(backend, drawn)
    return xp.concat([omega, new], axis=1), xp.concat([H_omega, H.times(new)], axis=1)


def _sketch(H: Operator, omega: Tensor, H_omega: Tensor) -> Sketch:
    xp, backend = H.backend.xp, H.backend
    # A shift keeps the square root real, and is taken off again at the end.
    precision = float(xp.finfo(H_omega.dtype).eps)
    shift = precision * float(xp.sqrt(xp.sum(H_omega * H_omega)))
    shifted = H_omega + shift * omega
    small = omega.T @ shifted
    factor = backend.cholesky((small + small.T) / 2)
    half = backend.solve_lower(factor, shifted.T).T
    Q, R = _orthonormal(backend, half)
    U, singular, _ = xp.linalg.svd(R, full_matrices=False)
    return Sketch(Q @ U, xp.clip(singular * singular - shift, 0, None))


def _orthonormal(backend: Backend, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Y = Q R with orthonormal columns in Q.

    By Cholesky factors of Y'Y, twice: products, where Householder's way takes ten times as long for the tall Y of
    large problems. Where Y'Y is too near to singular for that, Householder's way.
    """
    xp = backend.xp
    try:
        L = backend.cholesky(Y.T @ Y)
        Q = Y @ _inverse(backend, L).T
        M = backend.cholesky(Q.T @ Q)
        Q = Q @ _inverse(backend, M).T
    except Diverged:
        found: tuple[Tensor, Tensor] = xp.linalg.qr(Y)
        return found
    return Q, xp.tril(M).T @ xp.tril(L).T


def _inverse(backend: Backend, L: Tensor) -> Tensor:
    return backend.solve_lower(L, backend.array(np.eye(len(L))))


def missed(H: Operator, found: Sketch, seed: int, powers: int = POWERS, v: Tensor = None) -> tuple[float, Tensor]:
    """An estimate of ||H - U L U'||, from below, by power iterations from ``v``; and the vector they end with."""
    xp = H.backend.xp
    if v is None:
        drawn = np.random.default_rng([seed, 0xE44]).standard_normal((H.side, 1))
        v = H.backend.array(drawn)
    estimate = 0.0
    for _ in range(powers):
        v = v / xp.sqrt(xp.sum(v * v))
        Hv = H.times(v) - found.U @ (found.eigenvalues[:, None] * (found.U.T @ v))
        estimate, v = float(xp.sum(v * Hv)), Hv
    return estimate, v
