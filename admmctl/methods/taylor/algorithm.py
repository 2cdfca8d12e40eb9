"""Taylor et al. 2016, Algorithm 1: training by alternating closed-form updates, no gradients.

The objective splits every layer in two constraints, z_l = W_l a_{l-1} and a_l = h(z_l), with penalties:

    loss(z_L, y) + <lam, z_L> + beta_L ||z_L - W_L a_{L-1}||^2
        + sum_{l<L} gamma_l ||a_l - h(z_l)||^2 + beta_l ||z_l - W_l a_{l-1}||^2            (5)

Samples are columns. A rank keeps z and lam of its own samples, and a where the next layer is wide; only the
Gram pairs of the W-updates are summed over ranks (section 5). What differs from the printed method is a
setting, and said in its text.

The printed loop goes up the layers: W_l, a_l, z_l, then the next l. But a_l is made of z_l, z_{l+1} and W_{l+1},
which that loop has not touched yet, and W_l of z_l, as little touched, and a_{l-1}. So the same iterates come
out of three steps for all layers at once: every a_l, then every W_l, then every z_l. The last step of one
iteration and the first of the next need no other samples: one pass over them, and one Allreduce, make an
iteration, where the loop as printed takes as many as there are layers.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from admmctl.methods.least_squares import check_sides, gain_bytes, solve_bytes, solve_layers
from admmctl.methods.method import Array, Cost, Method, Problem, Snapshot
from admmctl.methods.taylor import hidden
from admmctl.methods.taylor.convolution import filter_cost
from admmctl.methods.taylor.convolution_hidden import floats_per_sample, layer_gain
from admmctl.methods.taylor.low_rank import LowRankSettings, update_cost
from admmctl.methods.taylor.settings import PenaltySettings
from admmctl.methods.taylor.state import AdmmState, Init, start, starting_inputs
from admmctl.model.convolution import Filters
from admmctl.model.network import Network, Weights
from admmctl.settings import Positive


class AdmmSettings(PenaltySettings, LowRankSettings):
    """The method block of ``admm``."""

    init: Init = Field(
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


class Admm(Method):
    """Algorithm 1. The state grows with this rank's samples: z of every layer, lam, and a below wide layers."""

    Settings = AdmmSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # To the letter, and a documented disappointment: see docs/mathematics.md, "Multipliers".
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
    losses: ClassVar[tuple[str, ...]] = ("squared", "signed-squared", "hinge")
    convolutions: ClassVar[bool] = True

    @staticmethod
    def check(settings: AdmmSettings, layers: int) -> list[tuple[str, str]]:
        return [*settings.wrong_lists(layers), *settings.wrong()]

    def beta(self, l: int) -> float:
        return self.settings.beta_of(l)

    def gamma(self, l: int) -> float:
        return self.settings.gamma_of(l)

    def prepare(self, problem: Problem) -> None:
        dtype = problem.a0.dtype.type
        self.settings.prepare(problem.network, dtype)
        hidden.prepare(problem.network.activation, dtype)

    def init(self, problem: Problem) -> AdmmState:
        """Random z and a, and every W_l once from them: the first a-update needs W_{l+1} before it exists."""
        s = start(problem, self.settings.init, self.settings)
        L = problem.network.layers
        if self.settings.sweep == "backward_first":
            s.z[L][...] = problem.y
        with problem.clock.phase("gram"):
            for columns in s.blocks():
                for l in range(1, L + 1):
                    below = problem.network.operator(l).below
                    s.pairs[l].add(s.z[l][:, columns], below(starting_inputs(s, self.settings.init, l, columns)))
        self.update_W(s)
        s.V = self.gains(s)
        if self.settings.sweep == "backward_first":
            self._sweep_backward(s)
        for columns in s.blocks():
            self.update_a(s, s.V, columns)
        return s

    def step(self, s: AdmmState) -> AdmmState:
        """Algorithm 1, one pass of the loop; the activations of the next one are computed along the way."""
        self.update_W(s)
        V = self.gains(s)
        for columns in s.blocks():
            self.update_z(s, columns)
            self.update_a(s, V, columns)
        s.V = V
        s.iteration += 1
        return s

    def update_W(self, s: AdmmState) -> None:
        """W_l <- z_l a_{l-1}^+, as z_l a_{l-1}' (a_{l-1} a_{l-1}' + ridge)^-1 with both products summed."""
        solve_layers(s, self.settings.ridge)

    def update_a(self, s: AdmmState, V: dict[int, Array], columns: slice) -> None:
        """a_l of all hidden layers, and the sums that the next W-update needs of this block."""
        clock = s.problem.clock
        for l, a in s.a.items():
            t = self.target(s, l + 1, columns)
            # (6), with (beta W'W + gamma I)^-1 moved to the side of W W': see ``gains``
            a_l = a.update(columns, s.z[l][:, columns], t, s.W[l + 1], V[l])
            with clock.phase("gram"):
                s.pairs[l + 1].add(t, a_l)
        with clock.phase("gram"):
            s.pairs[1].add(self.target(s, 1, columns), s.a0(columns))

    def update_z(self, s: AdmmState, columns: slice) -> None:
        """z_l <- argmin gamma_l ||a_l - h(z)||^2 + beta_l ||z - W_l a_{l-1}||^2 (7) of all hidden layers, z_L."""
        clock = s.problem.clock
        a_0 = s.a0(columns)
        m = {l: m_l[:, : a_0.shape[1]] for l, m_l in s.m.items()}
        with clock.phase("product"):
            s.problem.network.apply(1, s.W[1], a_0, out=m[1])
        for l, a in s.a.items():
            z_l, W = s.z[l][:, columns], s.W[l + 1]
            a.update_z(columns, z_l, m[l], W, s.V[l], self.gamma(l), self.beta(l), out=m[l + 1])
        with clock.phase("elementwise"):
            self._update_output(s, columns, m[s.problem.network.layers])

    def _update_output(self, s: AdmmState, columns: slice, m: Array) -> None:
        """z_L <- argmin loss(z, y) + <lam, z> + beta_L ||z - m||^2, m = W_L a_{L-1}, and then lam (8)."""
        p, beta = s.problem, self.beta(s.problem.network.layers)
        z_L, lam = s.z[p.network.layers][:, columns], s.lam[:, columns]
        z_L[...] = p.loss.z_update(p.y[:, columns], m, lam, beta)
        if self.settings.multipliers != "none" and s.iteration >= self.settings.warm_iterations:
            lam += self.settings.multiplier_step * beta * (z_L - m)  # (8)

    def gains(self, s: AdmmState) -> dict[int, Array]:
        """V_l = W'(gamma/beta I + W W')^-1 for W = W_{l+1} without its bias, shape (k_l, k_{l+1}).

        (beta W'W + gamma I)^-1 (beta W'(t - b) + gamma h) = h + V (t - W h - b): the same minimum of (6).
        """
        V = {}
        with s.problem.clock.phase("solve"):
            for l in s.a:
                operator = s.problem.network.operator(l + 1)
                V[l] = layer_gain(operator, s.W[l + 1], self.gamma(l) / self.beta(l + 1))
        return V

    def target(self, s: AdmmState, l: int, columns: slice) -> Array:
        """What W_l a_{l-1} should be: z_l, and with full multipliers z_L + lam / (2 beta_L) at the output.

        Completing the square: <lam, z - W a> + beta ||z - W a||^2 = beta ||z + lam/(2 beta) - W a||^2 + const.
        The printed method uses z_L here; lam then holds z_L at W_L a_{L-1} while the loss pulls no more.
        """
        z_l = s.z[l][:, columns]
        if l == s.problem.network.layers and self.settings.multipliers == "full":
            t: Array = z_l + s.lam[:, columns] / (2 * self.beta(l))
            return t
        return z_l

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError where a matrix of the W-updates has too many entries."""
        dense = [
            k
            for l, (outputs, k) in enumerate(network.shapes, start=1)
            if not isinstance(network.operator(l), Filters)
            and update_cost(self.settings, l, outputs, k, total).gram
        ]
        check_sides(dense, "W-update")

    def cost(self, network: Network, samples: int, total: int) -> Cost:
        kept = sum(floats_per_sample(network, l) for l in range(1, network.layers))
        scratch = 4 * network.block() * (4 * max(network.sizes[1:]) + sum(network.sizes[1:]) + network.scratch)
        flops: list[float | None] = []
        message, sums, gains = 0, 0, 0
        grams: list[tuple[int, int]] = []
        for l, (k_next, k1) in enumerate(network.shapes, start=1):
            k, operator = k1 - network.bias, network.operator(l)
            if isinstance(operator, Filters):
                work, numbers, floats = filter_cost(operator, network.bias, l, total)
                flops.append(work)
                sums, message = sums + numbers, message + floats
                continue
            flops.append(4.0 * total * k1 * k_next)  # z a' and W a
            message += k1 * k_next
            update = update_cost(self.settings, l, k_next, k1, total)
            sums += update.numbers
            grams += [(k_next, k1)] * update.gram
            gains += gain_bytes(k_next, k) * (l > 1)
            if l > 1:  # a_0 a_0' is summed, sent and factored once
                flops += [
                    4.0 * total * k * k_next,
                    min(k, k_next) ** 3 / 3,
                ]  # both products of (6), the factor in V
                flops.append(update.flop)
                message += update.floats
        flop = None if None in flops else sum(work for work in flops if work is not None)
        state = 4 * samples * (sum(network.sizes[1:]) + network.sizes[-1] + kept) + 5 * 8 * sums + scratch
        state += gains + solve_bytes(grams, kept=int(network.convolution is None))
        return Cost(state, flop, total, (4 * message,))

    def notes(self, s: AdmmState) -> list[str]:
        """What the user should know: loops and tables, and a kernel that starts nothing."""
        network = s.problem.network
        notes = self.settings.notes(network)
        if self.settings.init == "gaussian" and network.kernel is not None:
            notes.append("network.init starts nothing here: with init: gaussian z is drawn, and weights follow")
        return notes

    def weights(self, s: AdmmState) -> Weights:
        return [s.W[l] for l in sorted(s.W)]

    def snapshot(self, s: AdmmState) -> Snapshot:
        return s.snapshot()

    def restore(self, s: AdmmState, snapshot: Snapshot) -> AdmmState:
        """a and the sums of the next W-update are computed again, as ``step`` does."""
        s.recall(snapshot.common)
        s.recall_rows(snapshot.rows)
        s.a0_factor = s.pairs[1].factor(self.settings.ridge)
        s.V = self.gains(s)
        for columns in s.blocks():
            self.update_a(s, s.V, columns)
        return s

    def residuals(self, s: AdmmState) -> dict[str, float]:
        return self.measured(s, lambda l, columns: s.a[l].block(columns, s.z[l][:, columns], s.V[l]))

    def measured(self, s: AdmmState, a_of: Callable[[int, slice], Array]) -> dict[str, float]:
        """The objective (5) per sample, the root mean squares of both kinds of constraint, the largest ridge.

        ``a_of(l, columns)`` is a_l as it stands after an iteration: what its z and W ask for.
        """
        p, L = s.problem, s.problem.network.layers
        sums = np.zeros(3)  # objective, ||z_l - W_l a_{l-1}||^2, ||a_l - h(z_l)||^2
        for columns in s.blocks():
            a = s.a0(columns)
            for l in range(1, L + 1):
                z_l = s.z[l][:, columns]
                gap = z_l - p.network.apply(l, s.W[l], a)
                square = float(np.vdot(gap, gap))
                sums += self.beta(l) * square, square, 0.0
                if l < L:
                    a = a_of(l, columns)
                    gap = a[: len(z_l)] - p.network.activation.value(z_l, out=np.empty_like(z_l))
                    square = float(np.vdot(gap, gap))
                    sums += self.gamma(l) * square, 0.0, square
                else:
                    pulled = gap if self.settings.multipliers == "full" else z_l
                    sums[0] += p.loss.value(z_l, p.y[:, columns]) + float(np.vdot(s.lam[:, columns], pulled))
        p.comm.allreduce(sums)
        units = sum(p.network.sizes[1:])
        hidden_units = max(sum(p.network.sizes[1:-1]), 1)
        return {
            "objective": sums[0] / p.total,
            "residual_z": float(np.sqrt(sums[1] / (p.total * units))),
            "residual_a": float(np.sqrt(sums[2] / (p.total * hidden_units))),
            "ridge": s.ridge,
        }

    def _sweep_backward(self, s: AdmmState) -> None:
        """From z_L = y and the first W downwards: a_l, then z_l, layer L-1 first; every W stays."""
        clock = s.problem.clock
        for columns in s.blocks():
            for l in sorted(s.a, reverse=True):
                z_l, t = s.z[l][:, columns], self.target(s, l + 1, columns)
                m, above = (s.m[i][:, : t.shape[1]] for i in (l, l + 1))
                with clock.phase("product"):
                    inputs = starting_inputs(s, self.settings.init, l, columns)
                    s.problem.network.apply(l, s.W[l], inputs, out=m)
                s.a[l].update(columns, z_l, t, s.W[l + 1], s.V[l])
                penalties = self.gamma(l), self.beta(l)
                s.a[l].update_z(columns, z_l, m, s.W[l + 1], s.V[l], *penalties, out=above)
