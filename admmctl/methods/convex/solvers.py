"""Solvers of the primal update A u = b, A = I + F'F / rho + G'G, symmetric positive definite.

Two are direct (``cholesky``, ``exact``), three are conjugate gradients with another preconditioner each
(``convex-cg``, ``jacobi-pcg``, ``block-pcg``); ``nystrom.py`` and ``rbcd.py`` have the two of the paper.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.system import System
from admmctl.methods.method import Diverged

STEPS = 10  # of conjugate gradients in an iteration, unless settings say otherwise
_PANEL = 512  # columns of S that are made at once


@dataclass(frozen=True)
class Size:
    """What a solver's memory and work depend on: n rows of all ranks, d inputs, P patterns, C outputs.

    Of rows that stay on disk ``block`` are in memory at once.
    """

    n: int
    d: int
    P: int
    C: int
    itemsize: int
    ranks: int = 1
    block: int | None = None

    @property
    def rows(self) -> int:
        """Rows of X that a rank multiplies at once."""
        return min(self.n // self.ranks, self.block or self.n)

    @property
    def unknowns(self) -> int:
        """2 d P, the side of A."""
        return 2 * self.d * self.P

    @property
    def bytes_of_u(self) -> int:
        return self.itemsize * self.unknowns * self.C


class Solver:
    """Made once per run and asked once per iteration. Everything it sums over samples is of all ranks."""

    ranks: ClassVar[int | None] = None  # the most it runs on; None: any number
    streams: ClassVar[bool] = True  # whether rows may stay on disk
    random: np.random.Generator | None = None  # what it draws from, where it does: a snapshot keeps its state

    def __init__(self, system: System, settings: ConvexAdmmSettings, seed: int) -> None:
        self.system, self.settings, self.seed = system, settings, seed
        self.prepare()

    def prepare(self) -> None:
        """Compute what is needed beforehand, for the rho of the system."""

    def new_rho(self) -> None:
        """rho of the system has changed."""
        self.prepare()

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        """The solution, or what is near it, from ``u``, that of the iteration before; and the steps it took."""
        raise NotImplementedError

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        """Memory that it takes on a rank, beside the rows and the state of the method."""
        raise NotImplementedError


class Cholesky(Solver):
    """``cholesky``: A itself, of side 2 d P, and its factor. For small problems, and to check the others."""

    ranks, streams = 1, False

    def prepare(self) -> None:
        backend = self.system.backend
        self._factor = backend.cholesky(backend.array(explicit(self.system)))

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        solved = self.system.backend.solve(self._factor, to_vectors(self.system, b))
        return from_vectors(self.system, solved), 1

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        # A in float64 and in the type of the settings, and X in float64, once more for the rows of two patterns.
        return (8 + 2 * size.itemsize) * size.unknowns**2 + 16 * size.n * size.d + 2 * size.bytes_of_u


class Exact(Solver):
    """``exact``: A u = b without A, by Woodbury's identity on the side of the samples.

    G_i'G_i = X'X for every pattern, so that A = blockdiag(B) + F'F / rho with B = I + X'X, and

        A^-1 = B^-1 - B^-1 F' S^-1 F B^-1   with   S = rho I + F B^-1 F' = rho I + 2 (D D') o (X B^-1 X'),

    an n x n matrix whatever the number of patterns. Two Cholesky factors, of sizes d and n, are made once. The
    convex paper holds the exact solve to be out of reach: at n = 10,000, d = 3,072, P = 50 A would take over
    90 GiB. S takes 0.4 GB.
    """

    ranks, streams = 1, False

    def prepare(self) -> None:
        self._B = self.system.backend.cholesky(gram(self.system))
        self.new_rho()

    def new_rho(self) -> None:
        system, backend = self.system, self.system.backend
        self._S = None  # its memory first
        half = backend.solve_lower(self._B, system.X.T)  # L^-1 X': X B^-1 X' is half' half
        self._S = backend.cholesky(_sample_matrix(system, half))

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        system, backend = self.system, self.system.backend
        w = backend.solve(self._B, b)  # B^-1 b
        r = backend.solve(self._S, system.F(w))  # S^-1 F B^-1 b
        return w - backend.solve(self._B, system.Ft(r)), 1

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        n, d = size.n, size.d
        whole = 1 if settings.backend != "jax" else 3
        return size.itemsize * (whole * n * n + 3 * d * d + 2 * n * d + 2 * n * _PANEL) + 2 * size.bytes_of_u


class ConjugateGradients(Solver):
    """``convex-cg``: conjugate gradients. A solver with a preconditioner M is this with another ``precondition``.

    All outputs are one system, and one step is one product with A.
    """

    def precondition(self, r: Tensor) -> Tensor:
        """M^-1 r for r of the shape of u."""
        return r

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        """From ``u``, or zero, until ||A u - b|| <= inner_tolerance ||b||, or for ``inner_iterations`` steps.

        Raises Diverged where a residual is not finite.
        """
        system, most = self.system, self.settings.inner_iterations or STEPS
        bound = (self.settings.inner_tolerance * system.norm(b)) ** 2
        if self.settings.inner_start == "zero":
            u, r = system.zeros(), b
        else:
            r = b - system.A(u)
        z = self.precondition(r)
        p, rz = z, system.inner(r, z)
        steps = 0
        while steps < most:
            square = system.inner(r, r)
            if not np.isfinite(square):
                raise Diverged("the residual of the primal update is not finite")
            if square <= bound or rz <= 0:  # where numbers underflow, r'M^-1 r reaches zero before r'r does
                break
            Ap = system.A(p)
            curvature = system.inner(p, Ap)
            if not curvature > 0:
                break
            step = rz / curvature
            u, r = u + step * p, r - step * Ap
            z = self.precondition(r)
            before, rz = rz, system.inner(r, z)
            p = z + (rz / before) * p
            steps += 1
        return u, steps

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        return 4 * size.bytes_of_u  # r, z, p, A p


class Jacobi(ConjugateGradients):
    """``jacobi-pcg``: M is the diagonal of A (section 2.3 of the convex paper)."""

    def prepare(self) -> None:
        self._inverse = 1 / diagonal(self.system)

    def precondition(self, r: Tensor) -> Tensor:
        return self._inverse * r

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        return 5 * size.bytes_of_u


class Block(ConjugateGradients):
    """``block-pcg``: M = blockdiag(I + X'X), all of A but F'F / rho. For where ``exact`` has no room.

    M is the inverse of a matrix of size d, whatever the patterns and rho.
    """

    def prepare(self) -> None:
        self._inverse = inverse_gram(self.system)

    def precondition(self, r: Tensor) -> Tensor:
        return self._inverse @ r

    def new_rho(self) -> None:
        """B does not depend on it."""

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        return 4 * size.bytes_of_u + 3 * size.itemsize * size.d**2


# Parts of A, and A itself.


def gram(system: System) -> Tensor:
    """B = I + X'X over the rows of all ranks, (d, d): A is blockdiag(B) + F'F / rho, as (2 D_i - I)^2 = I."""
    return system.over_rows(lambda X: X.T @ X) + _identity(system)


def inverse_gram(system: System) -> Tensor:
    """B^-1: for a preconditioner, which need not be precise, one product is faster than two triangular solves."""
    L = system.backend.cholesky(gram(system))
    half = system.backend.solve_lower(L, _identity(system))
    return half.T @ half


def _identity(system: System) -> Tensor:
    """(d, d), without a copy in float64 on the way."""
    return system.backend.array(np.eye(system.d, dtype=np.float32))


def diagonal(system: System) -> Tensor:
    """diag(A) = 1 + sum over rows of x_j^2 (1 + D_i / rho), shape (d, 2 C P), without building A."""
    one = 1 + system.over_rows(lambda X, D: (X * X).T @ (1 + D / system.rho), system.D)  # (d, P)
    return system.backend.array(np.tile(system.backend.numpy(one), (1, 2 * system.C)))


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


def _sample_matrix(system: System, half: Tensor) -> Tensor:
    """S, of which the lower triangle counts; in panels of columns, where arrays can be written to."""
    xp, D, n = system.xp, system.D, len(system.D)
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
