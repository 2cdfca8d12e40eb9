"""What a solver of A u = b is, A = I + F'F / rho + G'G, symmetric positive definite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.system import System


@dataclass(frozen=True)
class Size:
    """What a solver's memory and work depend on: n rows of all ranks, d inputs, P patterns, C outputs."""

    n: int
    d: int
    P: int
    C: int
    itemsize: int
    ranks: int = 1

    @property
    def unknowns(self) -> int:
        """2 d P, the side of A."""
        return 2 * self.d * self.P

    @property
    def bytes_of_u(self) -> int:
        return self.itemsize * self.unknowns * self.C


class Solver(Protocol):
    """Made once per run and asked once per iteration. Everything it sums over samples is of all ranks."""

    ranks: ClassVar[int | None]  # the most it runs on; None: any number

    def __init__(self, system: System, settings: Any, seed: int) -> None:
        """What is computed beforehand."""

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        """The solution, or what is near it, from ``u``, that of the iteration before; and the steps it took."""

    def new_rho(self) -> None:
        """rho of the system has changed."""

    @staticmethod
    def bytes(size: Size, settings: Any) -> int:
        """Memory that it takes on a rank, beside the rows and the state of the method."""


def conjugate_gradients(
    system: System,
    b: Tensor,
    u: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tolerance: float,
    most: int,
) -> tuple[Tensor, int]:
    """Solve A u = b from ``u`` until ||A u - b|| <= tolerance ||b||, or for ``most`` steps.

    ``precondition`` maps r to M^-1 r. All outputs are one system, and one step is one product with A.
    """
    bound = (tolerance * system.norm(b)) ** 2
    r = b - system.A(u)
    z = precondition(r)
    p, rz = z, system.inner(r, z)
    steps = 0
    # Where numbers underflow r'M^-1 r reaches zero before r'r does; and NaN is greater than nothing.
    while steps < most and system.inner(r, r) > bound and rz > 0:
        Ap = system.A(p)
        curvature = system.inner(p, Ap)
        if not curvature > 0:
            break
        step = rz / curvature
        u, r = u + step * p, r - step * Ap
        z = precondition(r)
        before, rz = rz, system.inner(r, z)
        p = z + (rz / before) * p
        steps += 1
    return u, steps


def gram(system: System) -> Tensor:
    """B = I + X'X over the rows of all ranks, (d, d): A is blockdiag(B) + F'F / rho, as (2 D_i - I)^2 = I."""
    B = system.total(system.X.T @ system.X)
    return B + _identity(system)


def inverse_gram(system: System) -> Tensor:
    """B^-1: for a preconditioner, which need not be precise, one product is faster than two triangular solves."""
    L = system.backend.cholesky(gram(system))
    half = system.backend.solve_lower(L, _identity(system))
    return half.T @ half


def _identity(system: System) -> Tensor:
    """(d, d), without a copy in float64 on the way."""
    return system.backend.array(np.eye(system.d, dtype=np.float32))
