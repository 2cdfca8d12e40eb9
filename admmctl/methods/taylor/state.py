"""What Taylor's ADMM holds on a rank, how it is made, and where it starts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from admmctl.devices.arrays import on_host
from admmctl.methods.convolution import gains_below
from admmctl.methods.layer_sums import LayerSums, largest
from admmctl.methods.least_squares import Sums
from admmctl.methods.method import Array, Problem, Snapshot
from admmctl.methods.taylor import layers
from admmctl.methods.taylor.hidden import Hidden, Stored
from admmctl.methods.taylor.momentum import Momentum
from admmctl.methods.taylor.penalties import balanced, falling
from admmctl.methods.taylor.settings import Init, PenaltySettings, SweepSettings, TaylorSettings
from admmctl.model.initial import initial_weights
from admmctl.rng import normal_rows


@dataclass
class Kept:
    """What methods with Taylor's penalties keep of this rank's samples: z[1] .. z[L], numbered as in the paper."""

    problem: Problem
    settings: PenaltySettings
    block: int  # columns at a time
    z: dict[int, Array]

    def beta_of(self, l: int) -> float:
        """beta_l of layer l = 1..L."""
        return self.settings.beta_of(self.problem.network.matrix(l))

    def gamma_of(self, l: int) -> float:
        """gamma_l of hidden layer l = 1..L-1."""
        return self.settings.gamma_of(self.problem.network.matrix(l))

    def z_penalties(self, l: int) -> tuple[float, float]:
        """gamma and beta of the update of z_l, or numbers of their ratio."""
        network = self.problem.network
        return self.settings.z_penalties(network.matrix(l), network.h(l).slope(network.sizes[l]))

    def blocks(self) -> Iterator[slice]:
        """This rank's columns, a cache-sized block at a time."""
        samples = self.z[1].shape[1]
        for low in range(0, samples, self.block):
            yield slice(low, min(low + self.block, samples))

    def rows(self) -> dict[str, Array]:
        """All that a snapshot needs of samples, by name, samples first."""
        return {f"z{l}": z_l.T for l, z_l in self.z.items()}

    def recall_rows(self, rows: Mapping[str, Array]) -> None:
        """Put back what ``rows`` gave, a block at a time: there may be no memory for two of them."""
        for name, kept in self.rows().items():
            for samples in self.blocks():
                kept[samples] = rows[name][samples]

    def a0(self, columns: slice) -> Array:
        """What layer 1 multiplies: the inputs, with their row of ones when the network has biases."""
        network = self.problem.network
        return network.inputs(network.bottom(self.problem.a0[:, columns]))


@dataclass
class Samples(Kept):
    """With lam, the multipliers of the last constraint."""

    settings: TaylorSettings
    lam: Array

    def rows(self) -> dict[str, Array]:
        return {**super().rows(), "lam": self.lam.T}

    def target(self, l: int, columns: slice = slice(None)) -> Array:
        """What W_l a_{l-1} should be: z_l, and with full multipliers z_L + lam / (2 beta_L) at the output.

        Completing the square: <lam, z - W a> + beta ||z - W a||^2 = beta ||z + lam/(2 beta) - W a||^2 + const.
        The printed method uses z_L here; lam then holds z_L at W_L a_{L-1} while the loss pulls no more.
        """
        z_l = self.z[l][:, columns]
        if l == self.problem.network.layers and self.settings.multipliers == "full":
            t: Array = z_l + self.lam[:, columns] / (2 * self.beta_of(l))
            return t
        return z_l


@dataclass(kw_only=True)
class Solving(Kept):
    """With the weights W[1], W[2], .., and what they are solved from."""

    pairs: dict[int, Sums]  # of W_1, W_2, .., over this rank's columns
    sums: LayerSums  # the same, over all ranks
    W: dict[int, Array] = field(default_factory=dict)
    ridge: float = 0.0  # the largest one used on this rank: rounding may have asked for more than the setting
    iteration: int = 0

    def update_W(self) -> None:
        """W_l = t_l a_{l-1}' (a_{l-1} a_{l-1}' + ridge)^-1 of every layer, both products summed over all ranks.

        Every rank solves for its own rows. Raises Diverged, on all ranks, and W stays as it was.
        """
        clock, sums, ridge = self.problem.clock, self.sums, self.next_ridge()
        with clock.phase("reduce"):
            sums.reduce()
        if self.problem.network.inputs_alone:
            self.pairs[1].fix()  # a_0 a_0' never changes
        with clock.phase("solve"):
            like = self.problem.y
            vector: Array = np.empty(sum(sums.division.counts), self.pairs[1].cross.dtype, like=like)
            sums.solve(self._rows_of_W, vector)
            together = {l: pair.solve(ridge, self.W.get(l)) for l, pair in sums.together.items()}
            numbers = self._numbers(sums.division.views(vector), together)
        with clock.phase("reduce"):
            summed = sums.gather(vector, numbers)
        W = dict(zip(sums.divided, sums.division.views(vector), strict=True)) | together
        self._take(dict(sorted(W.items())), summed)
        for pair in self.pairs.values():
            pair.clear()

    def next_ridge(self) -> float:
        """The ridge of the next W-update."""
        return self.settings.ridge

    def _numbers(self, own: list[Array], together: dict[int, Array]) -> list[float]:
        """This rank's part of numbers that ``_take`` needs the sums of: ``own`` are W of which it has its rows."""
        return []

    def _take(self, W: dict[int, Array], numbers: Array) -> None:
        """The weights that solve the least squares become the weights, as they are."""
        self.W = W

    def _rows_of_W(self, l: int, rows: slice) -> Array:
        """Those rows of W_l, solved for."""
        factor = self.pairs[l].factor(self.next_ridge())
        solved = factor.solve(self.pairs[l].cross[rows], self.W[l][rows] if self.W else None)
        self.ridge = max(self.ridge, factor.ridge)  # a solver may have had to raise it
        return solved

    def W_of(self, l: int) -> Array:
        """The matrix of layer l."""
        return self.W[self.problem.network.matrix(l)]

    def gains(self) -> dict[int, Any]:
        """V_l = W'(gamma_l/beta_{l+1} I + W W')^-1, (k_l, k_{l+1}), of hidden layers, W = W_{l+1} without bias.

        (beta W'W + gamma I)^-1 (beta W'(t - b) + gamma h) = h + V (t - W h - b): the same minimum of (6).
        """
        beta, gamma = self.beta_of, self.gamma_of
        alike = self.problem.network.alike
        ratios = {l: gamma(l) / beta(l + 1) for l in sorted(set(alike.values()))}
        V = gains_below(self.problem, {l + 1: self.W_of(l + 1) for l in ratios}, ratios, np.float64)
        return {l: V[first] for l, first in alike.items()}

    def recall(self, common: dict[str, Any]) -> None:
        """Put back W, what lasts of the sums, ridge and iteration. The other sums are zero then."""
        self.W = {l: np.asarray(W, like=self.problem.y) for l, W in enumerate(common["W"], start=1)}
        for pair in self.pairs.values():
            pair.clear()
        for l, memory in enumerate(common["sums"], start=1):
            self.pairs[l].recall(memory)
        self.ridge, self.iteration = common["ridge"], common["iteration"]


@dataclass
class AdmmState(Samples, Solving):
    """With a[1] .. a[L-1], which follow from z and W.

    After an iteration ``a`` and ``pairs`` are those of the next one.
    """

    settings: SweepSettings
    a: dict[int, Hidden]
    m: dict[int, Array]  # W_l a_{l-1} of one block
    V: dict[int, Array] = field(default_factory=dict)  # the gains that made ``a``
    relaxation: float = 1.0  # of z in hidden layers
    momentum: Momentum | None = None
    ridge_start: float | None = None  # from which the ridge falls
    automatic: bool = False  # whether penalties set themselves: then those of the weights are kept here
    beta: dict[int, float] = field(default_factory=dict)
    gamma: dict[int, float] = field(default_factory=dict)

    def beta_of(self, l: int) -> float:
        return self.beta[l] if l in self.beta else super().beta_of(l)

    def gamma_of(self, l: int) -> float:
        return self.gamma[l] if l in self.gamma else super().gamma_of(l)

    def update_W(self) -> None:
        if self.ridge_start is not None:
            self.ridge = 0.0  # what is recorded is that of this update alone
        super().update_W()

    def next_ridge(self) -> float:
        least = super().next_ridge()
        return least if self.ridge_start is None else falling(self.ridge_start, least, self.iteration)

    def _balance(self) -> None:
        """Penalties for the weights as they are, where they set themselves."""
        if self.automatic:
            L = self.problem.network.layers
            W = {l: self.W_of(l) for l in range(1, L + 1)}
            self.beta, self.gamma = balanced(self.problem.network, W, super().beta_of(L))

    def _numbers(self, own: list[Array], together: dict[int, Array]) -> list[float]:
        """How much of the momentum goes the way of S - W: this rank's part of that sum."""
        if self.momentum is None or not self.W:
            return []
        along, division = 0.0, self.sums.division
        for l, S, rows in zip(self.sums.divided, own, division.rows, strict=True):
            along += self.momentum.along(S[rows], self.W[l][rows], l, rows)
        if self.problem.comm.rank == 0:  # all ranks have all of these
            along += sum(self.momentum.along(S, self.W[l], l) for l, S in together.items())
        return [along]

    def _take(self, W: dict[int, Array], numbers: Array) -> None:
        self.W = self.momentum.step(W, numbers[0] if len(numbers) else 0.0) if self.momentum else W
        self._balance()

    def new_inputs(self) -> None:
        """The inputs have changed: the next pass sums a_0 a_0' anew."""
        self.pairs[1].fix(False)
        self.pairs[1].clear()

    def snapshot(self) -> Snapshot:
        """z, lam and W; a, its sums and V follow from them."""
        common = {
            "W": [self.W[l] for l in sorted(self.W)],
            "sums": [self.pairs[l].memory() for l in sorted(self.pairs)],
            "ridge": largest(self.problem.comm, self.ridge),
            "ridge_start": self.ridge_start,
            "iteration": self.iteration,
        }
        momentum = {"momentum": self.momentum.memory()} if self.momentum else {}
        return Snapshot(on_host(common | momentum), on_host(self.rows()))

    def recall(self, common: dict[str, Any]) -> None:
        super().recall(common)
        self.ridge_start = common.get("ridge_start", self.ridge_start)  # older checkpoints have none
        self._balance()
        if self.momentum:
            self.momentum.recall(common["momentum"], self.problem.y)


def draw(s: Samples) -> None:
    """z of all samples: at random, or by a forward pass of the weights that the network starts from."""
    problem, init = s.problem, s.settings.init
    if init == "gaussian":
        # i.i.d., as in the paper (section 6), by global row
        for l, z_l in s.z.items():
            for columns in s.blocks():
                z_l[:, columns] = _normals(s, f"z{l}", len(z_l), columns)
    else:
        # a forward pass, of random weights unless there are others: all constraints hold at the start
        drawn = initial_weights(problem.network, problem.seed, s.lam.dtype.type)
        W = [np.asarray(W_l, like=s.lam) for W_l in drawn]
        with problem.clock.phase("start"):
            for columns in s.blocks():
                for l, z_l in s.z.items():
                    W_l, a = W[problem.network.matrix(l) - 1], starting_inputs(s, init, l, columns)
                    problem.network.apply(l, W_l, a, out=z_l[:, columns])


def starting_inputs(s: Samples, init: Init, l: int, columns: slice) -> Array:
    """a_{l-1} of the start, with its row of ones: h(z_{l-1}), or i.i.d. normal numbers as in the paper."""
    if l == 1:
        return s.a0(columns)
    network = s.problem.network
    z = s.z[l - 1][:, columns]
    rows = len(z) + network.beside(l - 1) + network.bias
    a: Array = np.ones((rows, z.shape[1]), z.dtype, order="F", like=z)
    if network.beside(l - 1):
        network.enter(l - 1, s.problem.a0[:, columns], a)
    if init == "gaussian":
        a[: len(z)] = _normals(s, f"a{l - 1}", len(z), columns)
    else:
        network.h(l - 1).value(z, out=a[: len(z)])
    return a


def _normals(s: Samples, name: str, k: int, columns: slice) -> Array:
    first, count = s.problem.start + columns.start, columns.stop - columns.start
    drawn = normal_rows(s.problem.seed, name, first, count, k).T
    return drawn if s.settings.init_deviation == 1 else drawn * drawn.dtype.type(s.settings.init_deviation)


def samples(problem: Problem, settings: TaylorSettings) -> Samples:
    """Memory for z and lam of this rank's samples."""
    network, n, dtype = problem.network, problem.a0.shape[1], problem.a0.dtype.type
    sizes, L, like = network.sizes, network.layers, problem.y
    z: dict[int, Array] = {l: np.empty((sizes[l], n), dtype, order="F", like=like) for l in range(1, L + 1)}
    lam: Array = np.zeros((sizes[L], n), dtype, order="F", like=like)
    return Samples(problem, settings, network.block(problem.a0.itemsize), z, lam)


def iterating(kept: Samples) -> AdmmState:
    """Memory for a, sums and products beside that of ``kept``."""
    assert isinstance(kept.settings, SweepSettings)
    network, n, dtype, block = kept.problem.network, kept.lam.shape[1], kept.lam.dtype.type, kept.block
    sizes, L = network.sizes, network.layers
    clock = kept.problem.clock
    a = {l: layers.hidden(network, l, n, block, dtype, clock, kept.lam) for l in range(1, L)}
    for l, stored in a.items():
        if network.beside(l):
            assert isinstance(stored, Stored)
            for columns in kept.blocks():
                network.enter(l, kept.problem.a0[:, columns], stored.inputs(columns))
    pairs = {l: layers.sums(kept.settings, kept.problem, l) for l in range(1, len(network.shapes) + 1)}
    return AdmmState(
        **vars(kept),
        a=a,
        pairs=pairs,
        sums=LayerSums(pairs, layers.factor_flops(kept.settings, network), kept.problem.comm),
        m={l: np.empty((sizes[l], min(block, n)), dtype, order="F", like=kept.lam) for l in range(1, L + 1)},
    )


def measures(problem: Problem, sums: Array, ridge: float) -> dict[str, float]:
    """What is recorded of an iteration, on all ranks, from this rank's ``sums``: an objective and two squares.

    The objective is per sample; the squares of both constraints, z_l = W_l a_{l-1} and a_l = h(z_l), become root
    mean squares. ``ridge`` is the largest one used on this rank.
    """
    sizes, total = problem.network.sizes, problem.total
    problem.comm.allreduce(sums)
    return {
        "objective": sums[0] / total,
        "residual_z": float(np.sqrt(sums[1] / (total * sum(sizes[1:])))),
        "residual_a": float(np.sqrt(sums[2] / (total * max(sum(sizes[1:-1]), 1)))),
        "ridge": largest(problem.comm, ridge),
    }
