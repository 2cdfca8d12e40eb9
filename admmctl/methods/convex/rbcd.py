"""``rbcd``: randomised block coordinate descent with a line search (Algorithm 2).

A block is the pair (u_i, z_i) of a pattern. As printed, the prediction is renewed by
y^ + F_i ((u_i+ - z_i+) - (u_i + z_i)): the last sign is wrong. Here y^ moves by F_i of the steps that u_i and z_i
make, and a test holds it to F u.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.nystrom import most, sketched, squares
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import Size, Solver, inverse_gram
from admmctl.methods.convex.system import summed

PASSES = 2  # over all blocks, unless settings say otherwise


class Rbcd(Solver):
    """Minimises 1/2 u'A u - b'u, a block of ``block`` patterns at a time, from the u of the iteration before.

    ``inner_iterations`` counts passes, of as many random blocks as there are: a shuffle of all, or each drawn by
    itself as in the paper. With ``precondition`` the direction is B^-1 times the gradient, B = I + X'X, the block
    of A but for F'F / rho, or a Nystrom sketch of X'X in its place: one for all blocks, d x rank and not d x d
    numbers. Without it, the gradient as in the paper.
    """

    random: np.random.Generator

    def prepare(self) -> None:
        self.random = np.random.default_rng([self.seed, 0xBCD])  # its state belongs to a snapshot
        self._precondition = self._preconditioner()
        compiled = self.system.backend.compile
        self._gradient, self._difference = compiled(_gradient), compiled(_difference)
        self._ahead = compiled(_ahead)

    def _preconditioner(self) -> Callable[[Tensor], Tensor]:
        """What makes a direction (d, any) of the gradients of blocks."""
        if self.settings.precondition == "none":
            return lambda g: g
        if self.settings.precondition == "block":
            inverse = inverse_gram(self.system)
            return lambda g: inverse @ g
        self.sketch = sketched(squares(self.system), self.settings.rank, self.seed)
        # Of the size of B^-1, where a sketch's own leaves what it misses as it is: a search by halves begins at 1.
        size = 1 / (1 + self.sketch.eigenvalues[-1])
        return lambda g: size * self.sketch.precondition(g)

    def new_rho(self) -> None:
        """Neither B nor the order of blocks depends on it."""

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        system, s, xp = self.system, self.settings, self.system.xp
        D, P, rho, backend = system.D, system.P, system.rho, system.backend
        size = min(s.block, P)
        bound = s.inner_tolerance * system.norm(b)
        # By sign, output, pattern; T = X u and y^ = F u go along with u. Copies: blocks of them are written to.
        Xu = system.by_rows(lambda X: X @ u)
        U, B, T = (xp.reshape(array + 0, (len(array), 2, -1, P)) for array in (u, b, Xu))
        y_hat = summed(xp, D, T)
        steps = 0
        for _ in range(s.inner_iterations or PASSES):
            squares = 0.0
            for block in self._blocks(P, size):
                chosen = backend.index(block)
                # g_i = (A u - b)_i, of which u_i - b_i is the same on every rank.
                g = system.over_rows(self._gradient, D, T, y_hat, more=(chosen, rho))
                g = g + self._difference(U, B, chosen)
                p = self._precondition(g)
                # The cost along p is a parabola: its slope and its curvature.
                seen = [self._ahead(*visited, p, chosen) for visited in system.visit(D)]
                T_p, y_p = (backend.joined((part[place] for part in seen), system.n) for place in (0, 1))
                curvature = np.zeros(2)
                for part in seen:
                    curvature += backend.numpy(part[2])
                system.comm.allreduce(curvature)
                slope = system.inner(g, p)
                step = self._step(slope, system.inner(p, p) + float(curvature[0]) + float(curvature[1]) / rho)
                p_i = xp.reshape(p, (len(p), 2, -1, len(chosen)))
                U, T = backend.subtract(U, chosen, step * p_i), backend.subtract(T, chosen, step * T_p)
                y_hat = y_hat - step * y_p
                squares += system.inner(g, g)
                steps += 1
            if squares <= bound**2:
                break
        return xp.reshape(U, u.shape), steps

    def _blocks(self, P: int, size: int) -> list[NDArray[np.int64]]:
        """The patterns of every block of a pass."""
        if self.settings.order == "independent":
            return [self.random.choice(P, size, replace=False) for _ in range(0, P, size)]
        order = self.random.permutation(P)
        return [order[low : low + size] for low in range(0, P, size)]

    def _step(self, slope: float, curvature: float) -> float:
        """How far to go: to the minimum along the line, or by halves until the decrease is sufficient.

        The cost falls by step * slope - step^2 / 2 * curvature, as it is quadratic.
        """
        if not curvature > 0:
            return 0.0
        if self.settings.line_search == "exact":
            return slope / curvature
        step = 1.0
        while step * slope - step**2 / 2 * curvature < step * slope / 4:
            step /= 2
        return step

    @staticmethod
    def bytes(size: Size, settings: ConvexAdmmSettings) -> int:
        pieces = size.itemsize * 2 * size.C * size.P * size.n // size.ranks
        rank = most(settings, size.d)
        # B and its inverse; or Omega, X'X Omega and its factors, and rows times Omega.
        before = {
            "none": 0,
            "block": 3 * size.d**2,
            "nystrom": rank * (4 * size.d + size.rows),
        }
        return 4 * size.bytes_of_u + 2 * pieces + size.itemsize * before[settings.precondition]


def _gradient(xp: Any, X: Tensor, D: Tensor, T: Tensor, y_hat: Tensor, chosen: Tensor, rho: float) -> Tensor:
    """X'(X u_i +- D_i y^ / rho) of these rows for the chosen patterns; ``T`` = X u is (n, 2, C, P), y^ = F u."""
    D_i, T_i = xp.take(D, chosen, axis=1), xp.take(T, chosen, axis=3)
    through = D_i[:, None, :] * (y_hat / rho)[:, :, None]
    M = xp.stack([T_i[:, 0] + through, T_i[:, 1] - through], axis=1)
    return X.T @ xp.reshape(M, (len(X), -1))


def _difference(xp: Any, U: Tensor, B: Tensor, chosen: Tensor) -> Tensor:
    """u_i - b_i of the chosen patterns."""
    return xp.reshape(xp.take(U, chosen, axis=3) - xp.take(B, chosen, axis=3), (len(U), -1))


def _ahead(xp: Any, X: Tensor, D: Tensor, p: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X p and F p of these rows, shapes (n, 2, C, block) and (n, C), and their squares: the curvature along p."""
    T = xp.reshape(X @ p, (len(X), 2, -1, len(chosen)))
    r = xp.sum(xp.take(D, chosen, axis=1)[:, None, :] * (T[:, 0] - T[:, 1]), axis=2)
    return T, r, xp.stack([xp.sum(T * T), xp.sum(r * r)])
