"""Problem (4) of the convex paper on this rank's rows, and its operators as matrix products.

    min  1/2 ||F u - y||^2 + beta ||v||_{2,1} + I(s >= 0)   s.t.  u = v,  G u = s

with F u = sum_i D_i X (u_i - z_i) and G u = (2 D_i - I) X u_i for every block of u, by pattern i and sign. With C
outputs there are C such problems over the same X and D: they are solved side by side. (4) prints the loss without
the 1/2 that Algorithm 1 solves with.

u has shape (d, 2 C P): all blocks as columns of one matrix, ordered by sign, output, pattern. So F, G and their
transposes are one product with X or X' each, and an entry-by-entry pass. Nothing is built that grows with (d P)^2.
X may stay on disk: then it is read in every product, a block of rows at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.methods.convex.backend import Backend, Tensor, allreduce
from admmctl.methods.method import Problem


@dataclass(frozen=True)
class OnDisk:
    """X (n, d) of which ``read`` makes the rows of a slice; ``blocks`` are slices that are visited one by one."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    blocks: tuple[slice, ...]
    read: Callable[[slice], NDArray[Any]]


def parts(X: NDArray[Any] | OnDisk) -> Iterator[NDArray[Any]]:
    """All rows of X, in order, as many at once as may be in memory."""
    if isinstance(X, OnDisk):
        yield from map(X.read, X.blocks)
    else:
        yield X


def inputs(
    p: Problem, dtype: np.dtype[Any], scale_rows: bool, streamed: bool
) -> tuple[NDArray[Any] | OnDisk, float]:
    """X (n, d) in that type, and what inputs were multiplied by so that a row has mean square length 1, or 1.0."""
    a0, network, scale = p.a0, p.network, 1.0
    blocks = tuple(network.blocks(a0)) if streamed else (slice(None),)
    if scale_rows:
        # In place, whatever the order in memory.
        held = (network.inputs(a0[:, columns]) for columns in blocks)
        square = np.array([sum(float(np.einsum("ij,ij->", x, x)) for x in held)])
        p.comm.allreduce(square)
        scale = float(np.sqrt(p.total / square[0])) if square[0] > 0 else 1.0

    def read(columns: slice) -> NDArray[Any]:
        x = network.inputs(a0[:, columns]).T
        found: NDArray[Any] = np.multiply(x, dtype.type(scale), dtype=dtype, order="C")
        return found

    if not streamed:
        return read(slice(None)), scale
    return OnDisk((a0.shape[1], network.sizes[0] + network.bias), dtype, blocks, read), scale


class System:
    """X (n, d), D (n, P) of 0 and 1, and targets y (n, C) of -1 and 1, on a backend; rho may change.

    Sums over samples are those of all ranks, in one Allreduce each. X may be ``OnDisk``; D and y are in memory.
    """

    def __init__(
        self,
        X: NDArray[Any] | OnDisk,
        D: NDArray[np.bool_],
        y: NDArray[Any],
        rho: float,
        backend: Backend,
        comm: Comm,
    ) -> None:
        self.backend, self.comm, self.xp = backend, comm, backend.xp
        # Rows of zeros may follow, of X, y and D: all sums are without them.
        self.X: Any = X if isinstance(X, OnDisk) else backend.rows(X)
        self.y, self.D = backend.rows(y), backend.rows(D)
        self.E = 2 * self.D - 1  # of 2 D - I
        self.rho = rho
        self.n, self.d = X.shape
        self.P, self.C = D.shape[1], y.shape[1]
        compiled = backend.compile
        self._forward, self._backward = compiled(_forward), compiled(_backward)
        self._masked, self._unmasked = compiled(_masked), compiled(_unmasked)
        self._normal = compiled(_normal)

    def zeros_of_rows(self) -> Tensor:
        """s = 0, shape (n, 2 C P)."""
        return self.backend.rows(np.zeros((self.n, 2 * self.C * self.P)))

    def zeros(self) -> Tensor:
        """u = 0, shape (d, 2 C P)."""
        return self.backend.array(np.zeros((self.d, 2 * self.C * self.P)))

    def visit(self, *of_rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """X, and arrays with as many rows: whole, or block by block with what belongs to a block of X."""
        if not isinstance(self.X, OnDisk):
            yield self.X, *of_rows
            return
        for rows in self.X.blocks:
            yield self.backend.array(self.X.read(rows)), *(values[rows] for values in of_rows)

    def by_rows(self, function: Callable[..., Tensor], *of_rows: Tensor, more: tuple[Any, ...] = ()) -> Tensor:
        """``function`` of X, the arrays ``of_rows`` and ``more``, which says something of every row by itself."""
        return self.backend.joined((function(*visited, *more) for visited in self.visit(*of_rows)), self.n)

    def over_rows(self, function: Callable[..., Tensor], *of_rows: Tensor, more: tuple[Any, ...] = ()) -> Tensor:
        """``function`` of X, the arrays ``of_rows`` and ``more``, which sums over rows, of all ranks."""
        found = None
        for visited in self.visit(*of_rows):
            part = function(*visited, *more)
            found = part if found is None else found + part
        return self.total(found)

    def F(self, U: Tensor) -> Tensor:
        """F u, shape (n, C): what the convex model says of this rank's rows."""
        return self.by_rows(self._forward, self.D, more=(U,))

    def Ft(self, r: Tensor) -> Tensor:
        """F' r for r (n, C), summed over ranks."""
        return self.over_rows(self._backward, self.D, r)

    def G(self, U: Tensor) -> Tensor:
        """G u, shape (n, 2 C P), of this rank's rows."""
        return self.by_rows(self._masked, self.E, more=(U,))

    def Gt(self, S: Tensor) -> Tensor:
        """G' s for s (n, 2 C P), summed over ranks."""
        return self.over_rows(self._unmasked, self.E, S)

    def A(self, U: Tensor) -> Tensor:
        """A u = u + F'F u / rho + G'G u, in two products and one Allreduce."""
        return U + self.H(U)

    def H(self, U: Tensor) -> Tensor:
        """A u - u. Any number of columns: a multiple of 2 P."""
        return self.over_rows(self._normal, self.D, more=(U, self.rho))

    def total(self, values: Tensor) -> Tensor:
        """The sum over ranks."""
        return allreduce(self.backend, self.comm, values)

    def fit(self, U: Tensor, total: int) -> tuple[float, float]:
        """Mean of 1/2 (F u - y)^2 over the ``total`` rows of all ranks, and the share that F u gets right."""
        xp, z, y = self.xp, self.F(U), self.y
        one = self.C == 1
        right = (z[:, 0] > 0) == (y[:, 0] > 0) if one else xp.argmax(z, axis=1) == xp.argmax(y, axis=1)
        right = right & (y[:, 0] != 0)
        misfit, correct = self.norm_of_rows(z - y, self.backend.array(self.backend.numpy(right)))
        return misfit**2 / 2 / total, round(correct**2) / total

    def inner(self, a: Tensor, b: Tensor) -> float:
        """<a, b> of what every rank holds alike."""
        return float(self.xp.sum(a * b))

    def norm(self, a: Tensor) -> float:
        """||a|| of what every rank holds alike."""
        return float(np.sqrt(self.inner(a, a)))

    def norm_of_rows(self, *parts: Tensor) -> list[float]:
        """||a|| of every a whose rows are spread over the ranks, in one Allreduce."""
        sums = np.array([self.inner(a, a) for a in parts])
        self.comm.allreduce(sums)
        found: list[float] = np.sqrt(sums).tolist()
        return found


# The products, with the functions ``xp`` of the array API, for a backend to compile.


def _forward(xp: Any, X: Tensor, D: Tensor, U: Tensor) -> Tensor:
    """F u of these rows."""
    return summed(xp, D, _blocks(xp, X @ U, D))


def _backward(xp: Any, X: Tensor, D: Tensor, r: Tensor) -> Tensor:
    """F' r of these rows."""
    half = X.T @ xp.reshape(D[:, None, :] * r[:, :, None], (len(X), -1))
    return xp.concat([half, -half], axis=1)


def _masked(xp: Any, X: Tensor, E: Tensor, U: Tensor) -> Tensor:
    """G u of these rows."""
    return xp.reshape(_blocks(xp, X @ U, E) * E[:, None, None, :], (len(X), -1))


def _unmasked(xp: Any, X: Tensor, E: Tensor, S: Tensor) -> Tensor:
    """G' s of these rows."""
    return X.T @ xp.reshape(_blocks(xp, S, E) * E[:, None, None, :], (len(X), -1))


def _normal(xp: Any, X: Tensor, D: Tensor, U: Tensor, rho: float) -> Tensor:
    """F'F u / rho + G'G u of these rows: as (2 D - I)^2 = I, nothing is left of G'G but X'X."""
    T = _blocks(xp, X @ U, D)
    through = D[:, None, :] * (summed(xp, D, T) / rho)[:, :, None]
    M = xp.stack([T[:, 0] + through, T[:, 1] - through], axis=1)
    return X.T @ xp.reshape(M, (len(X), -1))


def _blocks(xp: Any, T: Tensor, D: Tensor) -> Tensor:
    """Columns by sign, output and pattern: shape (n, 2, C, P)."""
    n, P = D.shape
    return xp.reshape(T, (n, 2, -1, P))


def summed(xp: Any, D: Tensor, T: Tensor) -> Tensor:
    """sum_i D_i (T_i+ - T_i-), shape (n, C)."""
    return xp.sum(D[:, None, :] * (T[:, 0] - T[:, 1]), axis=2)
