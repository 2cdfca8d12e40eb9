"""Sums of what a layer sees, over mini-batches of all ranks, and a gradient multiplied by their inverses.

Layer l multiplies V (k, n), the activations below it and, for the biases, a row of ones; E (k', n) are derivatives
of a loss by its outputs z_l = W_l V, a column for every row of data. Its gradient is dW = E V'/n. (Steps of a
recurrent network share a matrix: there the sums are over rows and steps, and n is the rows.) For

    A = V V'/n   and   G = E E'/n,   as exponential averages over mini-batches,

the step of the layer is dW A^-1 or G^-1 dW A^-1, with something on the diagonals. Every rank has its own rows of
all layers (``division.py``), A and G of the layers that it has rows of, and solves for these rows. To multiply
by G^-1 from the left takes all rows of dW A^-1, so these are gathered once more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from admmctl.methods.division import Share, solve_work
from admmctl.methods.layer_sums import LayerSums, age, solve_share
from admmctl.methods.least_squares import GramPair, RidgeFactor
from admmctl.methods.method import Array, Diverged, Problem
from admmctl.model.network import Network

Triangles = list[Array]  # of A, and of G where there is one: below them there are no numbers that mean anything
Damped = Callable[[Triangles], list[float]]  # what is added to the diagonal of each
_LEAST = 1e-30  # of a mean diagonal, where a factor is zero


class TwoSides(GramPair):
    """Sums of V V', as GramPair has them, and of E E'."""

    def __init__(self, outputs: int, inputs: int, dtype: type, like: Array) -> None:
        super().__init__(outputs, inputs, dtype, like)
        self.left = GramPair(0, outputs, dtype, like)

    def fix(self, fixed: bool = True) -> None:
        super().fix(fixed)
        self.left.fix(fixed)

    def clear(self) -> None:
        super().clear()
        self.left.clear()

    def packed(self) -> list[Array]:
        return [*super().packed(), *self.left.packed()]

    def unpack(self, packed: Array) -> Array:
        return self.left.unpack(super().unpack(packed))


@dataclass(frozen=True)
class Plan:
    """Which sums there are, and how they are averaged: ``every`` iterations, with the decay ``average``."""

    every: int
    average: float
    two_sides: bool
    drawn: bool = True  # whether E of the sums has targets of its own, which takes another pass backwards

    def sides(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """Of A, and of G where there is one, of weights (k', k)."""
        return shape[::-1] if self.two_sides else shape[1:]

    def factors(self, network: Network) -> list[float]:
        """Operations of the factors of every layer, in an iteration on average: with E E' there is an inverse."""
        sides = [k**3 / 3 + (7 * rows**3 / 3 if self.two_sides else 0) for rows, k in network.shapes]
        return [flop / self.every for flop in sides]

    def beside(self, network: Network) -> list[float]:
        """Operations of a row of G^-1 times dW A^-1."""
        return [2.0 * rows * k if self.two_sides else 0.0 for rows, k in network.shapes]

    def share(self, network: Network, ranks: int) -> Share:
        """Of the solves, with the messages of an iteration that makes sums."""
        numbers = [sum(k * (k + 1) // 2 for k in self.sides(shape)) for shape in network.shapes]
        work = solve_work(network.shapes, self.factors(network), self.beside(network))
        operations, messages = (share := solve_share(work, numbers, ranks)).operations, share.messages
        return Share(operations, (*messages, messages[-1]) if self.two_sides else messages)

    def flop(self, network: Network, rows: int) -> float:
        """Operations of sums, factors and solves, in an iteration on average."""
        sums = sum(
            times * k * (k + 1.0)
            for times, shape in zip(network.times, network.shapes, strict=True)
            for k in self.sides(shape)
        )
        if self.two_sides and self.drawn:
            sums += sum(network.operator(l).flop(bias=False) for l in range(2, network.layers + 1))
        solves = sum(
            k_next * (2.0 * k * k + beside)
            for (k_next, k), beside in zip(network.shapes, self.beside(network), strict=True)
        )
        return rows * sums / self.every + sum(self.factors(network)) + solves

    def bytes(self, network: Network) -> int:
        """Of the sums, their averages and factors, and of their making, in float32."""
        sides = [k for shape in network.shapes for k in self.sides(shape)]
        held = sum(14 * k * k for k in sides)  # a sum, the products of its tiles, an average, a factor
        sent = sum(4 * k * (k + 1) for k in sides)  # packed one by one, and all together
        making = max(8 * k * k for k in sides) + max(12 * rows * k for rows, k in network.shapes)
        return held + max(sent, making)


class Curvature:
    """A, and G where the plan has ``two_sides``, of layers 1..L; ``damped`` says what their diagonals get.

    After ``every`` iterations, or a fifth of all so far where these are fewer, sums of a mini-batch are made
    and averaged. A mini-batch counts 1 - ``average``, or 1/t when it is the t-th and that is more (Martens and
    Grosse, section 5). One of fewer rows, at the end of an epoch, makes no sums.
    """

    def __init__(self, plan: Plan, damped: Damped, problem: Problem) -> None:
        network, self._comm, self._plan, self._damped = problem.network, problem.comm, plan, damped
        self._clock, self._loss, self._dtype = problem.clock, problem.loss, problem.a0.dtype.type
        make = TwoSides if plan.two_sides else GramPair
        self._pairs = {l: make(*shape, self._dtype, problem.y) for l, shape in enumerate(network.shapes, start=1)}
        self._left = {l: pair.left for l, pair in self._pairs.items() if isinstance(pair, TwoSides)}
        self.sums = LayerSums(self._pairs, plan.factors(network), problem.comm, plan.beside(network))
        self._averages: dict[int, Triangles] = {}  # of the layers that this rank has rows of
        self._factors: dict[int, RidgeFactor] = {}  # of A
        self._inverse: dict[int, Array] = {}  # this rank's rows of G^-1
        self._count = 0  # of the mini-batches that are averaged
        self._at: int | None = None  # the iteration of the last
        self._rows = 0  # of the mini-batch at hand
        self.due = False  # whether it makes sums
        self.draws: Array | None = None  # uniform numbers of its rows, (k_L, n), that targets are drawn by

    def begin(self, iteration: int, rows: int, *, full: bool) -> None:
        """Before a mini-batch of ``rows`` rows over all ranks. Sums of the gradient are zero from here on."""
        self.due = self._at is None or (full and iteration - self._at >= age(self._plan.every, iteration))
        self._rows = rows
        if self.due:
            self._at = iteration
        for pair in self._pairs.values():
            pair.fix(not self.due)
            pair.clear()

    def inputs(self, l: int, V: Array) -> None:
        """Add a block of columns of V to the sums of layer l."""
        self._pairs[l].add_gram(V)

    def drawn(self, outputs: Array) -> Array | None:
        """E of the outputs (k_L, n) of a block of columns, for ``draws``; None where there are no such sums."""
        if self.draws is None:
            return None
        here, self.draws = np.split(self.draws, [outputs.shape[1]], axis=1)
        return self._loss.drawn_gradient(outputs, here)

    def outputs(self, l: int, E: Array) -> None:
        """Add a block of columns of E to the sums of layer l."""
        self._left[l].add_gram(E)

    def add(self, l: int, E: Array, V: Array) -> None:
        """Add a block of columns to E V' of layer l, and where sums are due to those of V V' and of E E'."""
        self._pairs[l].add(E, V)
        if self.due:
            self.outputs(l, E)

    def step(self) -> None:
        """Multiply this rank's rows of the sums of the gradient, in place. Raises Diverged where all ranks do.

        Another failure of this rank is known to all in the ``sums.gather`` of the weights.
        """
        vector, division = self.sums.crosses, self.sums.division
        dW = division.views(vector)
        due = self.due

        def rows_of(l: int, rows: slice) -> Array:
            if due:
                self._factor(l, self._averaged(l))
            return self._factors[l].solve(dW[l - 1][rows])

        if due:
            self._count += 1
        self.sums.solve(rows_of, vector)
        if self._plan.two_sides:
            with self._clock.phase("reduce"):
                self.sums.gather(vector)
            for l, inverse in self._inverse.items():
                dW[l - 1][division.rows[l - 1]] = inverse @ dW[l - 1]

    def _averaged(self, l: int) -> Triangles:
        """The averages of layer l, with the sums of this mini-batch."""
        sums = [side[l].triangle for side in (self._pairs, self._left) if l in side]
        if l not in self._averages:
            self._averages[l] = [np.zeros_like(triangle) for triangle in sums]
        weight = max(1 / self._count, 1 - self._plan.average)
        for average, triangle in zip(self._averages[l], sums, strict=True):
            average *= self._dtype(1 - weight)
            triangle *= self._dtype(weight / self._rows)
            average += triangle
        return self._averages[l]

    def _factor(self, l: int, averages: Triangles) -> None:
        """The factor of A of layer l, and this rank's rows of G^-1. Raises Diverged."""
        added = self._damped(averages)
        self._factors[l] = RidgeFactor(averages[0], added[0], absolute=True, dtype=self._dtype)
        if self._plan.two_sides:
            rows = self.sums.division.rows[l - 1]
            left = RidgeFactor(averages[1], added[1], absolute=True, dtype=self._dtype)
            self._inverse[l] = left.solve(np.eye(len(averages[1]), dtype=self._dtype, like=averages[1])[rows])

    def memory(self) -> dict[str, Any]:
        """What ``recall`` takes. Collective."""
        return {"at": self._at, "count": self._count, "averages": [self._on_all(l) for l in self._pairs]}

    def _on_all(self, l: int) -> Triangles:
        sides = self._plan.sides(self.sums.division.shapes[l - 1])
        mine = self._averages.get(l) or [np.zeros((k, k), self._dtype, like=self.sums.crosses) for k in sides]
        return [self.sums.on_all(l, triangle) for triangle in mine]

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what ``memory`` has returned."""
        self._at, self._count = memory["at"], memory["count"]
        self._averages, self._factors, self._inverse = {}, {}, {}
        if self._at is None:
            return
        for l, triangles in enumerate(memory["averages"], start=1):
            if self.sums.division.has(l - 1):
                self._averages[l] = [np.array(triangle, like=self.sums.crosses) for triangle in triangles]
                self._factor(l, self._averages[l])


def split_damping(damping: float, averages: Triangles) -> list[float]:
    """What A and G get of lambda (factored Tikhonov damping, Martens and Grosse, section 6.3).

    pi sqrt(lambda) and sqrt(lambda) / pi, pi^2 = (tr A / k) / (tr G / k'). Raises Diverged.
    """
    root = math.sqrt(damping)
    of_A, of_G = (max(mean_diagonal(average), _LEAST) for average in averages)
    pi = math.sqrt(of_A / of_G)
    return [pi * root, root / pi]


def shortened(step: Array, gradient: Array, limit: float, problem: Problem, rate: float = 1.0) -> None:
    """Shorten the step s of all layers, in place, so that rate^2 <s, g> is at most ``limit``; g is the gradient.

    Both are this rank's pieces. That is about twice the Kullback-Leibler divergence of the model's predictions
    after rate s from those before (Ba, Grosse and Martens, ICLR 2017). Collective.
    """
    divergence = np.array([rate**2 * float(np.dot(step, gradient))])
    with problem.clock.phase("reduce"):
        problem.comm.allreduce(divergence)
    if limit < divergence[0] < math.inf:  # what is not finite is left to be found in the weights
        step *= step.dtype.type(math.sqrt(limit / divergence[0]))


def mean_diagonal(triangle: Array) -> float:
    """Of A or of G. Raises Diverged where it is not finite."""
    mean = float(np.trace(triangle, dtype=np.float64)) / len(triangle)
    if not math.isfinite(mean):
        raise Diverged("sums over rows are not finite")
    return mean
