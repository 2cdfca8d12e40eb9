"""Least squares over samples spread on ranks: Gram pairs, their reduction, the ridge solve.

For targets z (k', n) and inputs a (k, n), the weights min_W ||z - W a||^2 + r ||W||^2 need only the pair
(z a', a a'), summed over samples: Taylor's transpose reduction (section 5). A pseudo-inverse is never formed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.devices.arrays import HOST, factored, is_processor, packing
from admmctl.errors import UserError
from admmctl.methods.method import Diverged, Problem

Array = NDArray[np.floating]

MOST = 46_340  # inputs of a least-squares problem: its square is just below 2^31


class Factor(Protocol):
    """What divides z a' by a a' + ridge. ``ridge`` is the one used, relative to the mean diagonal of a a'."""

    @property
    def ridge(self) -> float: ...

    def solve(self, cross: Array, start: Array | None = None) -> Array:
        """W = z a' (a a' + ridge)^-1, shape (k', k), in the type of ``cross``. Raises Diverged.

        ``start`` is the W before, for solvers that iterate.
        """


class Sums(ABC):
    """What the W-update of one layer sums over samples: z a', shape (k', k), and as much of a a' as it needs."""

    cross: Array
    everywhere = False  # whether every rank makes the factor: for what it learns by that
    together = False  # whether there is no factor, and all ranks solve for W together: see ``taylor/wide.py``
    _fixed = False
    _made: tuple[float, Factor] | None = None  # of fixed sums, with the ridge that was asked for

    def fix(self, fixed: bool = True) -> None:
        """From now on a a' stays as it is: it is neither cleared, added to, nor sent. Or no longer."""
        self._fixed = fixed
        if not fixed:
            self._made = None

    def factor(self, ridge: float) -> Factor:
        """What solves for W, once sums are reduced. While they are fixed it is made once for a ridge."""
        if not self._fixed:
            return self._factor(ridge)
        if self._made is None or self._made[0] != ridge:
            self._made = None  # before another is made: there may be no room for two
            self._made = ridge, self._factor(ridge)
        return self._made[1]

    @abstractmethod
    def clear(self) -> None:
        """Begin again: zero sums, but for what is fixed."""

    @abstractmethod
    def add(self, z: Array, a: Array) -> None:
        """Add a block of samples: ``z`` (k', block) and ``a`` (k, block)."""

    @abstractmethod
    def packed(self) -> list[Array]:
        """What of a a' has to be summed over ranks, as vectors. From now on ``cross`` is up to date, too."""

    @abstractmethod
    def unpack(self, packed: Array) -> Array:
        """Take sums of a a' from the front of ``packed``; returns the rest of it."""

    @abstractmethod
    def _factor(self, ridge: float) -> Factor:
        """What ``factor`` makes."""

    @abstractmethod
    def memory(self) -> dict[str, Any]:
        """What lasts beyond a pass over the samples, for a snapshot: sums that are fixed, random draws."""

    @abstractmethod
    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what ``memory`` returned; other sums are left alone."""


class GramPair(Sums):
    """Sums over samples of z a', shape (k', k), and a a', shape (k, k), for one layer's W-update.

    Of a a' only the lower triangle is summed, in square tiles: ``triangle``. What stands above it means nothing.
    """

    def __init__(self, outputs: int, inputs: int, dtype: type, like: Array = HOST) -> None:
        self.cross: Array = np.zeros((outputs, inputs), dtype=dtype, like=like)
        self.triangle: Array = np.zeros((inputs, inputs), dtype=dtype, like=like)
        self._product = np.empty_like(self.cross)
        # A GPU is fastest on the whole.
        tiles = _tiles(inputs) if is_processor(like) else [(slice(None), slice(None))]
        self._tiles = [(i, j, np.empty_like(self.triangle[i, j])) for i, j in tiles]
        self._pack, self._unpack = packing(self.triangle)

    @property
    def gram(self) -> Array:
        """The whole of a a', as a copy."""
        whole: Array = np.tril(self.triangle) + np.tril(self.triangle, -1).T
        return whole

    def clear(self) -> None:
        self.cross[...] = 0
        if not self._fixed:
            self.triangle[...] = 0

    def add(self, z: Array, a: Array) -> None:
        self.cross += np.matmul(z, a.T, out=self._product)
        if not self._fixed:
            self.add_gram(a)

    def add_gram(self, a: Array) -> None:
        """Add a block of samples to a a' alone."""
        for i, j, product in self._tiles:
            # NumPy computes the tiles on the diagonal as symmetric products.
            self.triangle[i, j] += np.matmul(a[i], a[j].T, out=product)

    def reduce(self, comm: Comm) -> None:
        """Sum over ranks in one Allreduce."""
        reduce_pairs([self], comm)

    def packed(self) -> list[Array]:
        return [] if self._fixed else [self._pack(self.triangle)]

    def unpack(self, packed: Array) -> Array:
        if self._fixed:
            return packed
        k = len(self.triangle)
        half = k * (k + 1) // 2
        self._unpack(packed[:half], self.triangle)
        return packed[half:]

    def _factor(self, ridge: float) -> Factor:
        return RidgeFactor(self.triangle, ridge)

    def memory(self) -> dict[str, Any]:
        return {"triangle": self.triangle} if self._fixed else {}

    def recall(self, memory: dict[str, Any]) -> None:
        if "triangle" in memory:
            self.fix(False)
            self.triangle[...] = memory["triangle"]
            self.fix()


def _tiles(k: int) -> list[tuple[slice, slice]]:
    """Row and column ranges that cover the lower triangle of a k x k matrix.

    Measured for k of 50 to 800: OpenBLAS multiplies tiles of some 160, sides a multiple of its kernel's 16, 10
    to 20 % faster than the whole by its symmetric product, whose packing and mirroring cost too much here.
    """
    count = max(1 + (k > 64), -(-k // 192))
    side = 16 * -(-k // (16 * count))
    edges = [slice(low, min(low + side, k)) for low in range(0, k, side)]
    return [(i, j) for number, i in enumerate(edges) for j in edges[: number + 1]]


def reduce_pairs(pairs: Sequence[Sums], comm: Comm) -> None:
    """Sum pairs over ranks, for all of them, in one packed in-place Allreduce."""
    packed = np.concatenate([part for pair in pairs for part in (*pair.packed(), pair.cross.ravel())])
    comm.allreduce(packed)
    for pair in pairs:
        packed = pair.unpack(packed)
        pair.cross[...] = packed[: pair.cross.size].reshape(pair.cross.shape)
        packed = packed[pair.cross.size :]


class Together(Sums):
    """Sums of a layer that all ranks solve together."""

    together = True

    @abstractmethod
    def divide(self) -> None:
        """Sum over ranks, a part for every rank."""

    @abstractmethod
    def solve(self, ridge: float, start: Array | None) -> Array:
        """W (k', k), on all ranks, from ``start``. Collective. Raises Diverged, on all ranks."""


class RidgeFactor:
    """The Cholesky factor of a a' + ridge * mean(diag a a') I, in float64, for any number of solves.

    Only the lower triangle of ``gram`` is read. With ``absolute`` the ridge itself is added to the diagonal. A
    factor in float32 takes half the time; where that is not precise enough, it is made in float64.

    ``ridge`` is the one used: where rounding has made the matrix indefinite (dead inputs and a ridge near
    the rounding error), it is raised tenfold until the factorisation holds, the same on every rank.
    Raises Diverged when the matrix is not finite.
    """

    def __init__(self, gram: Array, ridge: float, *, absolute: bool = False, dtype: type = np.float64) -> None:
        if not np.isfinite(gram).all():
            raise Diverged("a a' is not finite")
        mean = float(np.trace(gram, dtype=np.float64)) / len(gram) or 1.0
        self.ridge = ridge / mean if absolute else ridge  # relative from here on
        self._dtype = dtype
        while True:
            # Fortran order: LAPACK works in place.
            matrix: Array = gram.astype(self._dtype, order="F")
            matrix[np.diag_indices_from(matrix)] += self.ridge * mean
            try:
                self._solve = factored(matrix)
                return
            except np.linalg.LinAlgError:
                if self._dtype == np.float64:
                    self.ridge = max(10 * self.ridge, 1e-10)
                self._dtype = np.float64

    def solve(self, cross: Array, start: Array | None = None) -> Array:
        if not np.isfinite(cross).all():
            raise Diverged("z a' is not finite")
        W: Array = self._solve(cross.T.astype(self._dtype)).T
        return np.ascontiguousarray(W, dtype=cross.dtype, like=cross)


def ridge_fit(p: Problem, l: int, blocks: Iterable[tuple[Array, Array]], ridge: float) -> Array:
    """min_W ||z - W a||^2 + ridge over the samples of all ranks: W = z a' (a a' + ridge)^-1, (k', k), of layer l.

    This rank's (z, a) come in blocks of columns. One pass over them and one Allreduce.
    """
    return fit(p, GramPair(*p.network.shapes[l - 1], p.a0.dtype.type, like=p.y), blocks, ridge)


def fit(p: Problem, pair: Sums, blocks: Iterable[tuple[Array, Array]], ridge: float) -> Array:
    """The same by sums of any kind."""
    for z, a in blocks:
        with p.clock.phase("gram"):
            pair.add(z, a)
    with p.clock.phase("reduce"):
        reduce_pairs([pair], p.comm)
    with p.clock.phase("solve"):
        return pair.factor(ridge).solve(pair.cross)


def solve_bytes(shapes: Sequence[tuple[int, int]], kept: int, width: int = 8, *, remade: bool = False) -> int:
    """The peak of Gram pairs of float32, of their reduction, and of the factors of ``width`` bytes a number.

    ``shapes`` (k', k) are those of the weights. The first ``kept`` factors last, and are not summed again; with
    ``remade`` they are made anew all the same.
    """
    # The triangle, the products of its tiles; z a', its product, the weights.
    held = sum(6 * k * k + 12 * outputs * k for outputs, k in shapes)
    factors = [width * k * k for _, k in shapes]
    lasting, others = sum(factors[:kept]), shapes[kept:]
    # A new factor stands beside the one before; solving takes z a', its copy and W.
    new = max(factors) if remade else sum(sorted(factors[kept:])[-2:])
    solving = max((20 * outputs * k for outputs, k in shapes), default=0)
    # The C library keeps pieces of less than 32 MB that are freed.
    reused = min(_sent_bytes(shapes), 64 << 20)
    return held + reused + max(_sent_bytes(shapes) - reused, lasting + max(_sent_bytes(others), new + solving))


def _sent_bytes(shapes: Sequence[tuple[int, int]]) -> int:
    """Sums of pairs, packed one by one and all together, and the largest triangle while it is unpacked."""
    packed = sum(4 * k * (k + 1) + 8 * outputs * k for outputs, k in shapes)
    return packed + max((4 * k * k for _, k in shapes), default=0)


def check_sides(sides: Iterable[int], what: str) -> None:
    """Raises UserError where a matrix a a' has more entries than LAPACK and MPI can count."""
    largest = max(sides, default=0)
    if largest > MOST:
        raise UserError(
            f"{what}: least squares of {largest:,} inputs; a a' may have {MOST:,} at most, as its entries are "
            "counted in 32 bits: take fewer, or a method of gradients (lbfgs, adam)"
        )
