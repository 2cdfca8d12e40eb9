"""Taylor et al. 2016, Algorithm 1: training by alternating closed-form updates, no gradients.

The objective splits every layer in two constraints, z_l = W_l a_{l-1} and a_l = h(z_l), with penalties:

    loss(z_L, y) + <lam, z_L> + beta_L ||z_L - W_L a_{L-1}||^2
        + sum_{l<L} gamma_l ||a_l - h(z_l)||^2 + beta_l ||z_l - W_l a_{l-1}||^2            (5)

Samples are columns. A rank keeps z, a and lam of its own samples; only the Gram pairs of the W-updates are
summed over ranks (section 5). What differs from the printed method is a setting, and said in its text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from admmctl.methods.least_squares import GramPair, RidgeFactor, inverse_of_positive
from admmctl.methods.method import Array, Problem
from admmctl.model.initial import gaussian_weights
from admmctl.model.network import Weights
from admmctl.rng import normal_rows
from admmctl.settings import NonNegative, Positive, Settings


class AdmmSettings(Settings):
    """The method block of ``admm``."""

    beta: Positive | list[Positive] = Field(
        default=1.0, description="penalty on z_l = W_l a_(l-1): one, or one per layer 1..L"
    )
    gamma: Positive | list[Positive] = Field(
        default=10.0, description="penalty on a_l = h(z_l): one, or one per hidden layer 1..L-1"
    )
    ridge: NonNegative = Field(
        default=1e-2, description="regularises the W-update, relative to the mean diagonal of a a'"
    )
    init: Literal["forward", "gaussian"] = Field(
        default="forward", description="z and a from a forward pass of random weights, or i.i.d. N(0, 1)"
    )
    warm_iterations: int = Field(default=10, ge=0, description="iterations before multipliers start")
    multipliers: Literal["full", "bregman", "none"] = Field(
        default="full",
        description="lam in every update that touches z_L = W_L a_(L-1); in z_L alone, as printed; or nowhere",
    )
    multiplier_step: Positive = Field(
        default=1.0, description="in units of beta_L: 1 is the papers', 2 the exact method of multipliers"
    )
    sweep: Literal["forward", "backward_first"] = Field(
        default="forward", description="start at layer 1, or once at the targets and layer L backwards"
    )


@dataclass
class AdmmState:
    """Layers are numbered as in the paper: W[1] .. W[L], z[1] .. z[L], a[0] .. a[L-1]."""

    problem: Problem
    W: dict[int, Array]
    a: dict[int, Array]
    z: dict[int, Array]
    lam: Array
    pairs: dict[int, GramPair]
    a0_factor: RidgeFactor | None = None
    ridge: float = 0.0  # the largest one used: rounding may have asked for more than the setting
    iteration: int = 0
    scratch: dict[int, Array] = field(default_factory=dict)


class Admm:
    """Algorithm 1. The state grows with this rank's samples: z and a of every layer, and lam."""

    Settings = AdmmSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # To the letter, and a documented disappointment: see "Why multipliers spoil the printed method".
        "paper": {
            "beta": 1.0,
            "gamma": 10.0,
            "ridge": 1e-8,
            "init": "gaussian",
            "network": {"bias": False},
            "multipliers": "bregman",
            "multiplier_step": 1.0,
            "sweep": "forward",
        }
    }
    losses: ClassVar[tuple[str, ...]] = ("squared", "hinge")
    activations: ClassVar[tuple[str, ...]] = ("relu", "hard-sigmoid")
    unit: ClassVar[Literal["iteration", "epoch"]] = "iteration"

    def __init__(self, settings: AdmmSettings) -> None:
        self.settings = settings

    @staticmethod
    def check(settings: AdmmSettings, layers: int) -> list[tuple[str, str]]:
        problems = []
        for key, penalties, count in (("beta", settings.beta, layers), ("gamma", settings.gamma, layers - 1)):
            if isinstance(penalties, list) and len(penalties) != count:
                problems.append(
                    (key, f"{len(penalties)} penalties for {count} layers; give one number or {count}")
                )
        return problems

    def beta(self, l: int) -> float:
        """beta_l of layer l = 1..L."""
        beta = self.settings.beta
        return beta[l - 1] if isinstance(beta, list) else beta

    def gamma(self, l: int) -> float:
        """gamma_l of hidden layer l = 1..L-1."""
        gamma = self.settings.gamma
        return gamma[l - 1] if isinstance(gamma, list) else gamma

    def init(self, problem: Problem) -> AdmmState:
        """Random z and a, and every W_l once from them: the first a-update needs W_{l+1} before it exists."""
        s = self._allocate(problem)
        if self.settings.init == "gaussian":
            self._start_gaussian(s)
        else:
            self._start_forward(s)
        L = problem.network.layers
        if self.settings.sweep == "backward_first":
            s.z[L][...] = problem.y
        self._warm_up_kernels(s)
        with problem.clock.phase("gram"):
            a0_pair = s.pairs[1]
            for columns in self._blocks(s):
                a0_pair.add(s.z[1][:, columns], self._inputs(s, 1, columns))
        with problem.clock.phase("reduce"):
            a0_pair.reduce(problem.comm)
        with problem.clock.phase("solve"):
            s.a0_factor = RidgeFactor(a0_pair.gram, self.settings.ridge)  # a_0 a_0' never changes
            s.W[1] = s.a0_factor.solve(a0_pair.cross)
            s.ridge = s.a0_factor.ridge
        for l in range(2, L + 1):
            with problem.clock.phase("gram"):
                for columns in self._blocks(s):
                    s.pairs[l].add(s.z[l][:, columns], self._inputs(s, l, columns))
            self._update_W(s, l)
        if self.settings.sweep == "backward_first":
            for l in range(L - 1, 0, -1):
                self._update_a_z(s, l)
        # The first step starts by reducing z_1 a_0' of the z that stand now.
        s.pairs[1].clear()
        with problem.clock.phase("gram"):
            for columns in self._blocks(s):
                s.pairs[1].cross += s.z[1][:, columns] @ self._inputs(s, 1, columns).T
        for pair in list(s.pairs.values())[1:]:
            pair.clear()
        return s

    def step(self, s: AdmmState) -> AdmmState:
        """Algorithm 1, one pass of the loop."""
        L = s.problem.network.layers
        for l in range(1, L):
            self._update_W(s, l)
            self._update_a_z(s, l)
        self._update_W(s, L)
        self._update_output(s)
        s.iteration += 1
        return s

    def _update_W(self, s: AdmmState, l: int) -> None:
        """W_l <- z_l a_{l-1}^+, as z_l a_{l-1}' (a_{l-1} a_{l-1}' + ridge)^-1 with both products summed."""
        pair, clock = s.pairs[l], s.problem.clock
        with clock.phase("reduce"):
            if l == 1:
                s.problem.comm.allreduce(pair.cross)
            else:
                pair.reduce(s.problem.comm)
        with clock.phase("solve"):
            if l == 1:
                assert s.a0_factor is not None
                s.W[l] = s.a0_factor.solve(pair.cross)
            else:
                factor = RidgeFactor(pair.gram, self.settings.ridge)
                s.W[l] = factor.solve(pair.cross)
                s.ridge = max(s.ridge, factor.ridge)
        pair.clear()

    def _update_a_z(self, s: AdmmState, l: int) -> None:
        """a_l and z_l of a hidden layer, and the sums that W_{l+1} needs, one block of columns at a time."""
        network, clock = s.problem.network, s.problem.clock
        h, k = network.activation, network.sizes[l]
        with clock.phase("solve"):
            V = self._gain(s, l)
        for columns in self._blocks(s):
            a_l, z_l = s.a[l][:, columns], s.z[l][:, columns]
            t = self._target(s, l + 1, columns)
            with clock.phase("product"):
                # (6), with (beta W'W + gamma I)^-1 moved to the side of W W': see _gain
                h.value(z_l, out=a_l[:k])
                a_l[:k] += V @ (t - s.W[l + 1] @ network.inputs(a_l))
                m = np.matmul(s.W[l], self._inputs(s, l, columns), out=s.scratch[l][:, : t.shape[1]])
            with clock.phase("elementwise"):
                h.z_update(z_l, a_l, m, self.gamma(l), self.beta(l))  # (7)
            with clock.phase("gram"):
                s.pairs[l + 1].add(t, network.inputs(a_l))
                if l == 1:
                    s.pairs[1].cross += z_l @ self._inputs(s, 1, columns).T

    def _update_output(self, s: AdmmState) -> None:
        """z_L <- argmin loss(z, y) + <lam, z> + beta_L ||z - W_L a_{L-1}||^2, and then lam (8)."""
        p, L, beta = s.problem, s.problem.network.layers, self.beta(s.problem.network.layers)
        started = self.settings.multipliers != "none" and s.iteration >= self.settings.warm_iterations
        for columns in self._blocks(s):
            z_L, lam = s.z[L][:, columns], s.lam[:, columns]
            with p.clock.phase("product"):
                m = s.W[L] @ self._inputs(s, L, columns)
            with p.clock.phase("elementwise"):
                z_L[...] = p.loss.z_update(p.y[:, columns], m, lam, beta)
                if started:
                    lam += self.settings.multiplier_step * beta * (z_L - m)  # (8)
            if L == 1:
                with p.clock.phase("gram"):
                    s.pairs[1].cross += self._target(s, 1, columns) @ self._inputs(s, 1, columns).T

    def _gain(self, s: AdmmState, l: int) -> Array:
        """V = W'(gamma/beta I + W W')^-1 for W = W_{l+1} without its bias, shape (k_l, k_{l+1}).

        (beta W'W + gamma I)^-1 (beta W'(t - b) + gamma h) = h + V (t - W h - b): the same minimum of (6),
        found on the side of W W' or, where that is the smaller, of W'W (push-through identity).
        """
        k = s.problem.network.sizes[l]
        W = s.W[l + 1][:, :k].astype(np.float64)
        ratio = self.gamma(l) / self.beta(l + 1)
        if len(W) <= k:
            V = W.T @ inverse_of_positive(W @ W.T + ratio * np.eye(len(W)))
        else:
            V = inverse_of_positive(W.T @ W + ratio * np.eye(k)) @ W.T
        return np.ascontiguousarray(V, dtype=s.lam.dtype)

    def _target(self, s: AdmmState, l: int, columns: slice) -> Array:
        """What W_l a_{l-1} should be: z_l, and with full multipliers z_L + lam / (2 beta_L) at the output.

        Completing the square: <lam, z - W a> + beta ||z - W a||^2 = beta ||z + lam/(2 beta) - W a||^2 + const.
        The printed method uses z_L here; lam then holds z_L at W_L a_{L-1} while the loss pulls no more.
        """
        z_l = s.z[l][:, columns]
        if l == s.problem.network.layers and self.settings.multipliers == "full":
            t: Array = z_l + s.lam[:, columns] / (2 * self.beta(l))
            return t
        return z_l

    def weights(self, s: AdmmState) -> Weights:
        return [s.W[l] for l in sorted(s.W)]

    def rows_seen(self, s: AdmmState) -> int:
        return s.iteration * s.problem.total

    def close(self, s: AdmmState) -> None:
        pass

    def residuals(self, s: AdmmState) -> dict[str, float]:
        """The objective (5) per sample, the root mean squares of both kinds of constraint, the largest ridge."""
        p, L = s.problem, s.problem.network.layers
        sums = np.zeros(3)  # objective, ||z_l - W_l a_{l-1}||^2, ||a_l - h(z_l)||^2
        for columns in self._blocks(s):
            for l in range(1, L + 1):
                z_l = s.z[l][:, columns]
                gap = z_l - s.W[l] @ self._inputs(s, l, columns)
                square = float(np.vdot(gap, gap))
                sums += self.beta(l) * square, square, 0.0
                if l < L:
                    k = p.network.sizes[l]
                    gap = s.a[l][:k, columns] - p.network.activation.value(z_l, out=np.empty_like(z_l))
                    square = float(np.vdot(gap, gap))
                    sums += self.gamma(l) * square, 0.0, square
                else:
                    pulled = gap if self.settings.multipliers == "full" else z_l
                    sums[0] += p.loss.value(z_l, p.y[:, columns]) + float(np.vdot(s.lam[:, columns], pulled))
        p.comm.allreduce(sums)
        units = sum(p.network.sizes[1:])
        hidden = max(sum(p.network.sizes[1:-1]), 1)
        return {
            "objective": sums[0] / p.total,
            "residual_z": float(np.sqrt(sums[1] / (p.total * units))),
            "residual_a": float(np.sqrt(sums[2] / (p.total * hidden))),
            "ridge": s.ridge,
        }

    def _inputs(self, s: AdmmState, l: int, columns: slice) -> Array:
        """What W_l multiplies: a_{l-1}, with its row of ones when the network has biases."""
        return s.problem.network.inputs(s.a[l - 1][:, columns])

    def _blocks(self, s: AdmmState) -> Iterator[slice]:
        """This rank's columns, a cache-sized block at a time."""
        samples, block = s.lam.shape[1], s.problem.network.block(s.lam.itemsize)
        for low in range(0, samples, block):
            yield slice(low, min(low + block, samples))

    def _allocate(self, problem: Problem) -> AdmmState:
        sizes, samples, dtype = problem.network.sizes, problem.a0.shape[1], problem.a0.dtype.type
        L, columns = problem.network.layers, problem.network.block(problem.a0.itemsize)
        bias = problem.network.bias
        return AdmmState(
            problem,
            W={},
            a={0: problem.a0} | {l: np.ones((sizes[l] + 1, samples), dtype, order="F") for l in range(1, L)},
            z={l: np.empty((sizes[l], samples), dtype, order="F") for l in range(1, L + 1)},
            lam=np.zeros((sizes[L], samples), dtype, order="F"),
            pairs={l: GramPair(sizes[l], sizes[l - 1] + bias, dtype) for l in range(1, L + 1)},
            scratch={l: np.empty((sizes[l], min(columns, samples)), dtype, order="F") for l in range(1, L)},
        )

    def _start_gaussian(self, s: AdmmState) -> None:
        """z and a i.i.d. N(0, 1), as in the paper (section 6), by global row."""
        p = s.problem
        for name, arrays in (("z", s.z), ("a", s.a)):
            for l in range(1, p.network.layers + (name == "z")):
                for columns in self._blocks(s):
                    count = columns.stop - columns.start
                    draws = normal_rows(p.seed, f"{name}{l}", p.start + columns.start, count, p.network.sizes[l])
                    arrays[l][: p.network.sizes[l], columns] = draws.T

    def _start_forward(self, s: AdmmState) -> None:
        """z and a from a forward pass of random weights: all constraints hold at the start."""
        p, L = s.problem, s.problem.network.layers
        W = gaussian_weights(p.network, p.seed, s.lam.dtype.type)
        with p.clock.phase("start"):
            for columns in self._blocks(s):
                for l in range(1, L + 1):
                    z_l = s.z[l][:, columns]
                    np.matmul(W[l - 1], self._inputs(s, l, columns), out=z_l)
                    if l < L:
                        p.network.activation.value(z_l, out=s.a[l][: p.network.sizes[l], columns])

    def _warm_up_kernels(self, s: AdmmState) -> None:
        """Compile the element-wise kernel outside the clock."""
        k, dtype = 3, s.lam.dtype.type
        z, a, m = (np.zeros((rows, 2), dtype, order="F") for rows in (k, k + 1, k))
        s.problem.network.activation.z_update(z, a, m, 1.0, 1.0)
