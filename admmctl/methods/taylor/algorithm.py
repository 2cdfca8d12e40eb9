"""Taylor et al. 2016, Algorithm 1: training by alternating closed-form updates, no gradients.

The objective splits every layer in two constraints, z_l = W_l a_{l-1} and a_l = h(z_l), with penalties:

    loss(z_L, y) + <lam, z_L> + beta_L ||z_L - W_L a_{L-1}||^2
        + sum_{l<L} gamma_l ||a_l - h(z_l)||^2 + beta_l ||z_l - W_l a_{l-1}||^2            (5)

Samples are columns. A rank keeps z and lam of its own samples, and a where the next layer is wide; only the
Gram pairs of the W-updates are summed over ranks (section 5). What differs from the printed method is a
setting, and said in its text.

``printed.py`` goes up the layers as the paper does: W_l, a_l, z_l, then the next l. Its a_l is made of z_l,
z_{l+1} and W_{l+1}, which the loop has not updated yet; its W_l of a_{l-1} and of z_l, not updated either. So
three steps for all layers at once make the same iterates: every a_l, then every W_l, then every z_l,

    every W_l:   W_l <- z_l a_{l-1}^+                                         sums over samples of the pass before
    one pass:    z_l <- argmin gamma_l ||a_l - h(z)||^2 + beta_l ||z - W_l a_{l-1}||^2                       (7)
                 z_L <- argmin loss(z, y) + <lam, z> + beta_L ||z - W_L a_{L-1}||^2
                 lam <- lam + beta_L (z_L - W_L a_{L-1})                                                     (8)
                 a_l <- (beta_{l+1} W'W + gamma_l I)^-1 (beta_{l+1} W'z_{l+1} + gamma_l h(z_l)), W = W_{l+1}   (6)

where a_l is that of the next iteration, which needs the same samples. One pass over the samples and one Allreduce
make an iteration, where the printed loop takes one of each per layer.

The layers of a recurrent network are its steps (section 8.1). They share a matrix, whose sums are over samples and
steps. All a_l, then all W_l, then all z_l are updates of (5) there, too, if not in the order of the printed loop.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from admmctl.devices.arrays import on_host
from admmctl.methods.method import Array, Cost, Problem, Snapshot
from admmctl.methods.on_device import placed
from admmctl.methods.taylor import hidden
from admmctl.methods.taylor.family import TaylorMethod
from admmctl.methods.taylor.layers import check_layers, layers_cost
from admmctl.methods.taylor.momentum import Momentum
from admmctl.methods.taylor.penalties import ENOUGH, START
from admmctl.methods.taylor.pretraining import pretrained
from admmctl.methods.taylor.settings import AdmmSettings, Init
from admmctl.methods.taylor.state import AdmmState, draw, iterating, measures, samples, starting_inputs
from admmctl.model.gradient import parameters
from admmctl.model.network import Network, Weights


class Admm(TaylorMethod):
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
    convolutions = True
    recurrent = True

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        check_layers(self.settings, network, total)

    def prepare(self, problem: Problem) -> None:
        super().prepare(problem)
        for h in dict.fromkeys(problem.network.activations):
            hidden.prepare(h, problem.a0.dtype.type)

    def init(self, problem: Problem) -> AdmmState:
        """z and a of the start, and every W_l once: the first a-update needs W_{l+1} before it exists."""
        q, problem = self.settings, placed(problem, self)
        if q.pretrain and problem.network.start is None:  # else the network goes on from there
            problem = pretrained(problem, q, _train)
        s = iterating(samples(problem, q))
        s.relaxation, s.automatic = q.relaxation, q.penalties == "automatic"
        s.ridge_start = None if q.ridge_start == "automatic" else q.ridge_start
        draw(s)
        if q.sweep == "backward_first":
            s.z[problem.network.layers][...] = problem.y
        elif s.automatic:  # or outputs of random weights would be unlearned first, and the layers below with them
            s.z[problem.network.layers][...] = problem.loss.labels(problem.y)
        add_starting_sums(s, q.init)
        s.update_W()
        if q.ridge_start == "automatic" and explained(s) < ENOUGH:
            s.ridge_start = START  # what was drawn is of little use: a large ridge forgets it
            add_starting_sums(s, q.init)
            s.update_W()
        if q.momentum:
            s.momentum = Momentum(q.momentum, q.restart == "adaptive", s.W)
        s.V = s.gains()
        if q.sweep == "backward_first":
            _sweep_backward(s)
        for columns in s.blocks():
            update_a(s, s.V, columns)
        return s

    def step(self, s: AdmmState) -> AdmmState:
        """Algorithm 1, one pass of the loop; the activations of the next one are computed along the way."""
        s.update_W()
        V = s.gains()
        for columns in s.blocks():
            update_z(s, columns)
            update_a(s, V, columns)
        s.V = V
        s.iteration += 1
        return s

    def snapshot(self, s: AdmmState) -> Snapshot:
        return s.snapshot()

    def restore(self, s: AdmmState, snapshot: Snapshot) -> AdmmState:
        """a and the sums of the next W-update are computed again, as ``step`` does."""
        s.recall(snapshot.common)
        s.recall_rows(snapshot.rows)
        s.V = s.gains()
        for columns in s.blocks():
            update_a(s, s.V, columns)
        return s

    def residuals(self, s: AdmmState) -> dict[str, float]:
        return residuals(s, lambda l, columns: s.a[l].block(columns, s.z[l][:, columns], s.V[l]))

    def notes(self, s: AdmmState) -> list[str]:
        notes = super().notes(s)
        if self.settings.init == "gaussian" and s.problem.network.kernel is not None:
            notes.append("network.init starts nothing here: with init: gaussian z is drawn, and weights follow")
        return notes + self.settings.notes

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        layers = layers_cost(self.settings, network, total, ranks, along=self.settings.along)
        scratch = 4 * network.block() * (4 * max(network.sizes[1:]) + sum(network.sizes[1:]) + network.scratch)
        kept = 4 * samples * (sum(network.sizes[1:]) + network.sizes[-1] + layers.kept)
        kept += 4 * 4 * parameters(network) * self.settings.along  # of momentum: S before and now, W, and a step
        return Cost(kept + scratch + layers.state_bytes, layers.flop, total, layers.messages, layers.solve)


def _train(settings: AdmmSettings, problem: Problem, iterations: int) -> Weights:
    """The weights after so many iterations."""
    method = Admm(settings)
    s = method.init(problem)
    for _ in range(iterations):
        s = method.step(s)
    return method.weights(s)


def update_z(s: AdmmState, columns: slice) -> None:
    """z_l <- argmin gamma_l ||a_l - h(z)||^2 + beta_l ||z - W_l a_{l-1}||^2 (7) of all hidden layers, z_L."""
    clock = s.problem.clock
    a_0 = s.a0(columns)
    m = {l: m_l[:, : a_0.shape[1]] for l, m_l in s.m.items()}
    with clock.phase("product"):
        s.problem.network.apply(1, s.W_of(1), a_0, out=m[1])
    for l, a in s.a.items():
        z_l = s.z[l][:, columns]
        before = None if s.relaxation == 1 else z_l.copy(order="F")
        a.update_z(columns, z_l, m[l], s.W_of(l + 1), s.V[l], *s.z_penalties(l), out=m[l + 1])
        if before is not None:
            with clock.phase("elementwise"):
                _relax(z_l, before, s.relaxation)
    with clock.phase("elementwise"):
        _update_output(s, columns, m[s.problem.network.layers])


def _relax(z: Array, before: Array, relaxation: float) -> None:
    """z <- before + relaxation (z - before), in place; ``before`` is used up."""
    z *= z.dtype.type(relaxation)
    before *= z.dtype.type(relaxation - 1)
    z -= before


def _update_output(s: AdmmState, columns: slice, m: Array) -> None:
    """z_L <- argmin loss(z, y) + <lam, z> + beta_L ||z - m||^2, m = W_L a_{L-1}, and then lam (8)."""
    p, beta = s.problem, s.beta_of(s.problem.network.layers)
    z_L, lam = s.z[p.network.layers][:, columns], s.lam[:, columns]
    z_L[...] = p.loss.z_update(p.y[:, columns], m, lam, beta)
    if s.settings.multipliers != "none" and s.iteration >= s.settings.warm_iterations:
        lam += s.settings.multiplier_step * beta * (z_L - m)  # (8)


def update_a(s: AdmmState, V: dict[int, Array], columns: slice) -> None:
    """a_l (6) of all hidden layers, and the sums that the next W-update needs of this block."""
    clock, matrix = s.problem.clock, s.problem.network.matrix
    for l, a in s.a.items():
        t = s.target(l + 1, columns)
        a_l = a.update(columns, s.z[l][:, columns], t, s.W_of(l + 1), V[l])
        with clock.phase("gram"):
            s.pairs[matrix(l + 1)].add(t, a_l)
    with clock.phase("gram"):
        s.pairs[1].add(s.target(1, columns), s.problem.network.operator(1).below(s.a0(columns)))


def add_starting_sums(s: AdmmState, init: Init) -> None:
    """Sums of the first W-update, of the z and a of the start."""
    network = s.problem.network
    with s.problem.clock.phase("gram"):
        for columns in s.blocks():
            for l, z_l in s.z.items():
                a = network.operator(l).below(starting_inputs(s, init, l, columns))
                s.pairs[network.matrix(l)].add(z_l[:, columns], a)


def explained(s: AdmmState) -> float:
    """The part of the variance of z_L, over all samples, that W_L a_{L-1} makes at the start. Collective."""
    p, L = s.problem, s.problem.network.layers
    sums = np.zeros((3, p.network.sizes[L]))  # of z, z^2 and (z - W a)^2
    with p.clock.phase("product"):
        for columns in s.blocks():
            z = s.z[L][:, columns].astype(float)
            gap = z - p.network.apply(L, s.W_of(L), starting_inputs(s, s.settings.init, L, columns))
            sums += on_host([z.sum(axis=1), (z**2).sum(axis=1), (gap**2).sum(axis=1)])
    p.comm.allreduce(sums)
    variance = float((sums[1] - sums[0] ** 2 / p.total).sum())
    return 1 - float(sums[2].sum()) / variance if variance > 0 else 1.0


def residuals(s: AdmmState, a_of: Callable[[int, slice], Array]) -> dict[str, float]:
    """The objective (5) per sample, the root mean squares of both kinds of constraint, the largest ridge.

    ``a_of(l, columns)`` is a_l as it stands after an iteration: what its z and W ask for.
    """
    p, L = s.problem, s.problem.network.layers
    sums = np.zeros(3)  # objective, ||z_l - W_l a_{l-1}||^2, ||a_l - h(z_l)||^2
    for columns in s.blocks():
        a = s.a0(columns)
        for l in range(1, L + 1):
            z_l = s.z[l][:, columns]
            gap = z_l - p.network.apply(l, s.W_of(l), a)
            square = float(np.vdot(gap, gap))
            sums += s.beta_of(l) * square, square, 0.0
            if l < L:
                a = a_of(l, columns)
                gap = a[: len(z_l)] - p.network.h(l).value(z_l, out=np.empty_like(z_l))
                square = float(np.vdot(gap, gap))
                sums += s.gamma_of(l) * square, 0.0, square
            else:
                pulled = gap if s.settings.multipliers == "full" else z_l
                sums[0] += p.loss.value(z_l, p.y[:, columns]) + float(np.vdot(s.lam[:, columns], pulled))
    return measures(p, sums, s.ridge)


def _sweep_backward(s: AdmmState) -> None:
    """From z_L = y and the first W downwards: a_l, then z_l, layer L-1 first; every W stays."""
    clock, init = s.problem.clock, s.settings.init
    for columns in s.blocks():
        for l in sorted(s.a, reverse=True):
            z_l, t = s.z[l][:, columns], s.target(l + 1, columns)
            m, above = (s.m[i][:, : t.shape[1]] for i in (l, l + 1))
            with clock.phase("product"):
                s.problem.network.apply(l, s.W_of(l), starting_inputs(s, init, l, columns), out=m)
            s.a[l].update(columns, z_l, t, s.W_of(l + 1), s.V[l])
            s.a[l].update_z(columns, z_l, m, s.W_of(l + 1), s.V[l], *s.z_penalties(l), out=above)
