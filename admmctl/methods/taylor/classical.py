"""Classical ADMM: a multiplier for every constraint, which Taylor et al. (section 4) call highly unstable.

``admm`` has multipliers for z_L = W_L a_{L-1} alone. Here are the ones it leaves out: scaled multipliers u_l for
z_l = W_l a_{l-1} in every layer, and v_l for a_l = h(z_l) in every hidden one. The augmented Lagrangian is

    loss(z_L, y) + sum_l beta_l (||z_l - W_l a_{l-1} + u_l||^2 - ||u_l||^2)
        + sum_{l<L} gamma_l (||a_l - h(z_l) + v_l||^2 - ||v_l||^2),

which is <lam, z_L - W_L a_{L-1}> + beta ||z_L - W_L a_{L-1}||^2 for lam = 2 beta u_L, and so on. Every update is
that of ``admm`` with its targets moved by u and v, in the order of Algorithm 1: ``algorithm.py`` says why all a_l,
then all W_l, then all z_l are that order. Without multipliers (``warm_iterations``) both methods are the same.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from admmctl.methods.layer_sums import LayerSums, largest
from admmctl.methods.least_squares import GramPair, Sums
from admmctl.methods.method import Array, Cost, Problem, Snapshot
from admmctl.methods.taylor.family import TaylorMethod
from admmctl.methods.taylor.layers import check_layers, factor_flops, layers_cost
from admmctl.methods.taylor.settings import LowRankSettings, PenaltySettings
from admmctl.methods.taylor.state import Solving, measures
from admmctl.model.initial import initial_weights
from admmctl.model.network import Network
from admmctl.settings import Positive

_EXACT = LowRankSettings()  # every W-update is


class ClassicalAdmmSettings(PenaltySettings):
    """The method block of ``classical-admm``."""

    warm_iterations: int = Field(default=10, ge=0, description="iterations before multipliers start")
    multiplier_step: Positive = Field(
        default=2.0, description="in units of beta and gamma, as in admm: 2 is the exact method of multipliers"
    )


@dataclass
class ClassicalState(Solving):
    """With a, u and v of all layers; a[l] (k_l + 1, samples) has a row of ones where there are biases.

    After an iteration ``a`` and ``pairs`` are those of the next one.
    """

    a: dict[int, Array]
    u: dict[int, Array]
    v: dict[int, Array]

    def rows(self) -> dict[str, Array]:
        """z, u and v by name, samples first; a follows from them."""
        multipliers = {"u": self.u, "v": self.v}
        own = {f"{name}{l}": x.T for name, layers in multipliers.items() for l, x in layers.items()}
        return {**super().rows(), **own}

    def inputs(self, l: int, columns: slice) -> Array:
        """What W_l multiplies: a_{l-1} with its row of ones, where there are biases."""
        return self.a0(columns) if l == 1 else self.a[l - 1][:, columns]


class ClassicalAdmm(TaylorMethod):
    """ADMM in the textbook's sense, on the constraints of Taylor et al. (3). All of z, a, u, v is kept."""

    Settings = ClassicalAdmmSettings

    def init(self, problem: Problem) -> ClassicalState:
        """A forward pass of random weights, where all constraints hold; then every W_l once, and a."""
        s = self._allocate(problem)
        start = initial_weights(problem.network, problem.seed, problem.a0.dtype.type)
        with problem.clock.phase("start"):
            for columns in s.blocks():
                for l, z_l in s.z.items():
                    np.matmul(start[l - 1], s.inputs(l, columns), out=z_l[:, columns])
                    if l in s.a:
                        self._h(s, l, columns, out=s.a[l][: len(z_l), columns])
        with problem.clock.phase("gram"):
            for columns in s.blocks():
                for l, pair in s.pairs.items():
                    pair.add(s.z[l][:, columns], s.inputs(l, columns))
        s.update_W()  # z_l + u_l stands where ``admm`` has z_l
        V = s.gains()
        for columns in s.blocks():
            self._update_a(s, V, columns)
        return s

    def step(self, s: ClassicalState) -> ClassicalState:
        """Every W_l, every z_l and the multipliers, and the activations of the next iteration."""
        s.update_W()
        V = s.gains()
        for columns in s.blocks():
            self._update_z(s, columns)
            self._update_a(s, V, columns)
        s.iteration += 1
        return s

    def _update_a(self, s: ClassicalState, V: dict[int, Array], columns: slice) -> None:
        """a_l <- argmin gamma ||a - (h(z_l) - v_l)||^2 + beta ||z_{l+1} + u_{l+1} - W_{l+1} a||^2; its sums."""
        clock = s.problem.clock
        for l, a in s.a.items():
            k, a_l = len(s.z[l]), a[:, columns]
            with clock.phase("elementwise"):
                h = self._h(s, l, columns, out=a_l[:k])
                h -= s.v[l][:, columns]
                t = s.z[l + 1][:, columns] + s.u[l + 1][:, columns]
            with clock.phase("product"):
                h += V[l] @ (t - s.W[l + 1] @ a_l)
            with clock.phase("gram"):
                s.pairs[l + 1].add(t, a_l)
        with clock.phase("gram"):
            s.pairs[1].add(s.z[1][:, columns] + s.u[1][:, columns], s.inputs(1, columns))

    def _update_z(self, s: ClassicalState, columns: slice) -> None:
        """z_l <- argmin gamma_l ||a_l + v_l - h(z)||^2 + beta_l ||z - (W_l a_{l-1} - u_l)||^2, z_L, and u, v.

        z_L <- argmin loss(z, y) + beta_L ||z - (W_L a_{L-1} - u_L)||^2. Then each multiplier goes along what is
        left of its constraint: half a step, for the multiplier of a penalty beta ||r||^2 is 2 beta u.
        """
        p, L = s.problem, s.problem.network.layers
        beta, gamma = self.settings.beta_of, self.settings.gamma_of
        half = self.settings.multiplier_step / 2 * (s.iteration >= self.settings.warm_iterations)
        for l in range(1, L + 1):
            z_l, u_l = s.z[l][:, columns], s.u[l][:, columns]
            with p.clock.phase("product"):
                m = np.matmul(s.W[l], s.inputs(l, columns), out=np.empty_like(z_l, order="F"))
            with p.clock.phase("elementwise"):
                if l < L:
                    a_l, v_l = s.a[l][: len(z_l), columns], s.v[l][:, columns]
                    p.network.h(l).z_update(z_l, a_l + v_l, m - u_l, gamma(l), beta(l))
                    if half:
                        v_l += half * (a_l - self._h(s, l, columns))
                else:
                    lam = 2 * beta(L) * u_l
                    z_l[...] = p.loss.z_update(p.y[:, columns], m, lam, beta(L))
                if half:
                    u_l += half * (z_l - m)

    def _h(self, s: ClassicalState, l: int, columns: slice, out: Array | None = None) -> Array:
        """h(z_l)."""
        z_l = s.z[l][:, columns]
        return s.problem.network.h(l).value(z_l, out=np.empty_like(z_l) if out is None else out)

    def _allocate(self, problem: Problem) -> ClassicalState:
        """Memory for this rank's samples; multipliers are zero."""
        network, samples, dtype = problem.network, problem.a0.shape[1], problem.a0.dtype.type
        sizes, L, bias = network.sizes, network.layers, network.bias

        pairs: dict[int, Sums] = {l: GramPair(*shape, dtype) for l, shape in enumerate(network.shapes, start=1)}

        def zeros(k: int) -> Array:
            return np.zeros((k, samples), dtype, order="F")

        return ClassicalState(
            problem,
            self.settings,
            network.block(problem.a0.itemsize),
            {l: zeros(sizes[l]) for l in range(1, L + 1)},
            a={l: np.ones((sizes[l] + bias, samples), dtype, order="F") for l in range(1, L)},
            u={l: zeros(sizes[l]) for l in range(1, L + 1)},
            v={l: zeros(sizes[l]) for l in range(1, L)},
            pairs=pairs,
            sums=LayerSums(pairs, factor_flops(_EXACT, network), problem.comm),
        )

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        check_layers(_EXACT, network, total)

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        sizes, layers = network.sizes, layers_cost(_EXACT, network, total, ranks)
        kept = 2 * sum(sizes[1:]) + sum(2 * k + network.bias for k in sizes[1:-1])  # z and u; a and v
        scratch = 4 * network.block() * 6 * max(sizes[1:])
        state = 4 * samples * kept + scratch + layers.state_bytes
        return Cost(state, layers.flop, total, layers.messages, layers.solve)

    def snapshot(self, s: ClassicalState) -> Snapshot:
        ridge = largest(s.problem.comm, s.ridge)
        common = {"W": self.weights(s), "inputs": s.pairs[1].memory(), "ridge": ridge, "iteration": s.iteration}
        return Snapshot(common, s.rows())

    def restore(self, s: ClassicalState, snapshot: Snapshot) -> ClassicalState:
        """a and the sums of the next W-update are computed again, as ``step`` does."""
        s.recall_rows(snapshot.rows)
        s.recall({**snapshot.common, "sums": [snapshot.common["inputs"]]})
        V = s.gains()
        for columns in s.blocks():
            self._update_a(s, V, columns)
        return s

    def residuals(self, s: ClassicalState) -> dict[str, float]:
        """The augmented Lagrangian per sample, root mean squares of both kinds of constraint, the largest ridge.

        The activations are those that stand after an iteration, as in ``admm``.
        """
        p, L = s.problem, s.problem.network.layers
        beta, gamma = self.settings.beta_of, self.settings.gamma_of
        sums = np.zeros(3)  # augmented Lagrangian, ||z_l - W_l a_{l-1}||^2, ||a_l - h(z_l)||^2
        for columns in s.blocks():
            for l in range(1, L + 1):
                z_l = s.z[l][:, columns]
                gap = z_l - s.W[l] @ s.inputs(l, columns)
                square = float(np.vdot(gap, gap))
                sums += beta(l) * (square + 2 * float(np.vdot(s.u[l][:, columns], gap))), square, 0.0
                if l < L:
                    gap = s.a[l][: len(z_l), columns] - self._h(s, l, columns)
                    square = float(np.vdot(gap, gap))
                    sums += gamma(l) * (square + 2 * float(np.vdot(s.v[l][:, columns], gap))), 0.0, square
                else:
                    sums[0] += p.loss.value(z_l, p.y[:, columns])
        return measures(p, sums, s.ridge)
