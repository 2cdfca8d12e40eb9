"""``rbcd``: randomised block coordinate descent with a line search (Algorithm 2).

A block is the pair (u_i, z_i) of a pattern. As printed, the prediction is renewed by
y^ + F_i ((u_i+ - z_i+) - (u_i + z_i)): the last sign is wrong. Here y^ moves by F_i of the steps that u_i and z_i
make, and a test holds it to F u.
"""

from typing import Any, ClassVar

import numpy as np

from admmctl.methods.convex_admm.backend import Tensor
from admmctl.methods.convex_admm.solvers.base import Size, inverse_gram
from admmctl.methods.convex_admm.system import System

PASSES = 2  # over all blocks, unless settings say otherwise


class Rbcd:
    """Minimises 1/2 u'A u - b'u, a block of ``block`` patterns at a time, from the u of the iteration before.

    ``inner_iterations`` counts passes, of as many random blocks as there are. With ``precondition`` the direction
    is B^-1 times the gradient, B = I + X'X, the block of A but for F'F / rho; without it, the gradient as in the
    paper.
    """

    ranks: ClassVar[int | None] = None

    def __init__(self, system: System, settings: Any, seed: int) -> None:
        self._system, self._settings = system, settings
        self._random = np.random.default_rng([seed, 0xBCD])
        self._inverse = inverse_gram(system) if settings.precondition else None
        xp, C = system.xp, system.C

        def gradient(X: Tensor, D: Tensor, T: Tensor, r: Tensor, rho: float) -> Tensor:
            # X' ((X u_i) +- D_i r / rho), r = F u; T has shape (n, 2, C, block).
            through = D[:, None, :] * (r / rho)[:, :, None]
            M = xp.stack([T[:, 0] + through, T[:, 1] - through], axis=1)
            return X.T @ xp.reshape(M, (len(X), -1))

        def ahead(X: Tensor, D: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            # X g and F g, and what they say of the curvature.
            T = xp.reshape(X @ g, (len(X), 2, C, -1))
            r = xp.sum(D[:, None, :] * (T[:, 0] - T[:, 1]), axis=2)
            return T, r, xp.stack([xp.sum(T * T), xp.sum(r * r)])

        self._gradient = system.backend.compile(gradient)
        self._ahead = system.backend.compile(ahead)

    def new_rho(self) -> None:
        """B does not depend on it."""

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        system, s, xp = self._system, self._settings, self._system.xp
        d, P, C, D, rho = system.d, system.P, system.C, system.D, system.rho
        size = min(s.block, P)
        bound = s.inner_tolerance * system.norm(b)
        # Blocks lie in lists: an array that cannot be written to need not be copied for a few of its columns.
        columns = lambda array: [xp.reshape(array, (-1, 2, C, P))[..., i] for i in range(P)]  # noqa: E731
        U, B, T = columns(u), columns(b), columns(system.X @ u)
        r = system.F(u)
        steps = 0
        for _ in range(s.inner_iterations or PASSES):
            squares = 0.0
            order = self._random.permutation(P)
            for low in range(0, P, size):
                chosen = [int(i) for i in order[low : low + size]]
                D_i = xp.stack([D[:, i] for i in chosen], axis=1)
                T_i = xp.stack([T[i] for i in chosen], axis=3)
                u_i, b_i = (xp.stack([part[i] for i in chosen], axis=3) for part in (U, B))
                g = system.total(self._gradient(system.X, D_i, T_i, r, rho)) + xp.reshape(u_i - b_i, (d, -1))
                p = g if self._inverse is None else self._inverse @ g
                T_p, r_p, sums = self._ahead(system.X, D_i, p)
                curvature = np.array(system.backend.numpy(sums), np.float64)
                system.comm.allreduce(curvature)
                slope = system.inner(g, p)
                along = system.inner(p, p) + float(curvature[0]) + float(curvature[1]) / rho
                step = self._step(slope, along)
                p_i = xp.reshape(p, (d, 2, C, len(chosen)))
                for k, i in enumerate(chosen):
                    U[i], T[i] = U[i] - step * p_i[..., k], T[i] - step * T_p[..., k]
                r = r - step * r_p
                squares += system.inner(g, g)
                steps += 1
            if squares <= bound**2:
                break
        return xp.reshape(xp.stack(U, axis=3), (d, -1)), steps

    def _step(self, slope: float, curvature: float) -> float:
        """How far to go: to the minimum along the line, or by halves until the decrease is sufficient.

        The cost falls by step * slope - step^2 / 2 * curvature, as it is quadratic.
        """
        if not curvature > 0:
            return 0.0
        if self._settings.line_search == "exact":
            return slope / curvature
        step = 1.0
        while step * slope - step**2 / 2 * curvature < step * slope / 4:
            step /= 2
        return step

    @staticmethod
    def bytes(size: Size, settings: Any) -> int:
        pieces = size.itemsize * 2 * size.C * size.P * size.n // size.ranks
        return 4 * size.bytes_of_u + 2 * pieces + (3 * size.itemsize * size.d**2 if settings.precondition else 0)
