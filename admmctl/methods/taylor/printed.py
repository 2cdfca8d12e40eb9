"""Taylor et al. 2016, Algorithm 1, line by line, for reading beside the paper: the iterates of ``algorithm.py``.

A ridge solve of sums over ranks (section 5) stands for the pseudo-inverse; ``multipliers: full`` is ours, too.
"""

from dataclasses import dataclass, field

import numpy as np

from admmctl.devices.arrays import on_host
from admmctl.methods.least_squares import RidgeFactor, ridge_fit, solve_bytes
from admmctl.methods.method import Array, Cost, Problem, Snapshot, sums_over_ranks
from admmctl.methods.on_device import placed
from admmctl.methods.taylor.family import TaylorMethod
from admmctl.methods.taylor.settings import PrintedSettings
from admmctl.methods.taylor.state import Samples, draw, samples, starting_inputs
from admmctl.model.network import Network


@dataclass
class PrintedState(Samples):
    """z[1] .. z[L] and lam of this rank's samples; a[0] .. a[L-1], a row of ones below; W[1] .. W[L]."""

    a: dict[int, Array] = field(default_factory=dict)
    W: dict[int, Array] = field(default_factory=dict)
    iteration: int = 0


class PrintedAdmm(TaylorMethod):
    """Algorithm 1 as printed."""

    Settings = PrintedSettings

    def init(self, problem: Problem) -> PrintedState:
        """z and a at random (section 6), and every W_l: the first a-update needs W_{l+1} before it exists."""
        q, layers, problem = self.settings, range(1, problem.network.layers + 1), placed(problem, self)
        s = PrintedState(**vars(samples(problem, q)))
        draw(s)
        s.a = {l - 1: starting_inputs(s, q.init, l, slice(0, problem.a0.shape[1])) for l in layers}
        s.W = {l: ridge_fit(problem, l, [(s.z[l], s.a[l - 1])], q.ridge) for l in layers}
        return s

    def step(self, s: PrintedState) -> PrintedState:
        p, q, z, a, W = s.problem, self.settings, s.z, s.a, s.W
        L, beta, gamma = p.network.layers, q.beta_of, q.gamma_of
        for l in range(1, L):
            h = p.network.h(l)
            # (section 3.1) W_l <- z_l a_{l-1}^+
            W[l] = ridge_fit(p, l, [(z[l], a[l - 1])], q.ridge)
            # (6) a_l <- (beta_{l+1} W_{l+1}'W_{l+1} + gamma_l I)^-1 (beta_{l+1} W_{l+1}'z_{l+1} + gamma_l h(z_l))
            V, b = np.split(W[l + 1].astype(np.float64), [len(z[l])], axis=1)  # W_{l+1}; its bias, if any
            pulled = beta(l + 1) * V.T @ (s.target(l + 1) - b.sum(axis=1, keepdims=True))
            pulled += gamma(l) * h.value(z[l], out=np.empty_like(z[l]))
            a[l][: len(z[l])] = RidgeFactor(beta(l + 1) * V.T @ V, gamma(l), absolute=True).solve(pulled.T).T
            # (7) z_l <- argmin_z gamma_l ||a_l - h(z)||^2 + beta_l ||z - W_l a_{l-1}||^2
            h.z_update(z[l], a[l], np.matmul(W[l], a[l - 1], out=np.empty_like(z[l])), gamma(l), beta(l))
        # (section 3.1) W_L <- z_L a_{L-1}^+
        W[L] = ridge_fit(p, L, [(s.target(L), a[L - 1])], q.ridge)
        # (5) z_L <- argmin_z loss(z, y) + <z, lam> + beta_L ||z - W_L a_{L-1}||^2
        m = np.matmul(W[L], a[L - 1], out=np.empty_like(z[L]))
        z[L][...] = p.loss.z_update(p.y, m, s.lam, beta(L))
        # (8) lam <- lam + beta_L (z_L - W_L a_{L-1})
        if q.multipliers != "none" and s.iteration >= q.warm_iterations:
            s.lam += q.multiplier_step * beta(L) * (z[L] - m)
        s.iteration += 1
        return s

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        sizes, shapes = network.sizes, network.shapes
        flop = sum(total * (4.0 * k1 * k + k1 * (k1 + 1)) + k1**3 / 3 for k, k1 in shapes)  # W_l, and W_l a_{l-1}
        flop += sum(k * k1 * (k1 + 1.0) + k1**3 / 3 + 2.0 * total * k1 * (k + k1) for k, k1 in shapes[1:])  # (6)
        kept = 2 * sum(sizes[1:]) + len(sizes) - 2  # z, lam, a with its rows of ones
        kept += 2 * max(sizes[1:]) + 6 * max(sizes[1:-1], default=0)  # m or h(z_l); solving for a_l in float64
        state = 4 * samples * kept + solve_bytes(shapes, kept=0)
        return Cost(state, flop, total, sums_over_ranks(*(4 * (k * k1 + k1 * (k1 + 1) // 2) for k, k1 in shapes)))

    def snapshot(self, s: PrintedState) -> Snapshot:
        return Snapshot({"W": self.weights(s), "iteration": s.iteration}, on_host(s.rows()))  # a is made of them

    def restore(self, s: PrintedState, snapshot: Snapshot) -> PrintedState:
        s.recall_rows(snapshot.rows)
        s.W = {l: np.asarray(W, like=s.lam) for l, W in enumerate(snapshot.common["W"], start=1)}
        s.iteration = snapshot.common["iteration"]
        return s
