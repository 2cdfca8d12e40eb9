"""Penalties that set themselves: all rho_i and beta_i are divided by one factor f, which follows the steps.

Every multiplier is made anew in an iteration, so that residuals of constraints say nothing about penalties: these
are step lengths. Dividing all of them by f makes R_i, and so the step of every layer, f times as long, where the
coefficient of the loss's model is small beside rho_N. Whether f should be larger is told by the derivative of the
loss of this iteration, on its own rows, along the step before, made a cosine in every layer:

    cos_i = <C_i, S_i before> / sqrt(<C_i, S_i> <C_i before, S_i before>),   log f <- log f + rate mean_i cos_i,

with C = R V' - r W, which points downhill, and S = C (V V' + r)^-1, the step from it. Steps that go on in one
direction grow; where they turn back, they have overshot, or there is only noise left, and they shrink.
"""

from typing import Any

import numpy as np

from admmctl.comm import Comm
from admmctl.methods.average import Whole
from admmctl.methods.convolution import on_units
from admmctl.methods.graph.layers import Linear, compared
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.method import Array, Problem

RATE = 0.1  # of log f
MOST = float(np.log(1e4))  # |log f| at most


def ridges_of(
    q: GraphAdmmSettings,
    p: Problem,
    W: dict[int, Array],
    rho: dict[int, float],
    beta: dict[int, float],
    Q: dict[int, Linear],
) -> dict[int, float]:
    """r of the least squares of W_1, W_2, ..: l2 / rho_i, or l2 times the step s_i of a layer that has a ``Q``.

    Of layers that share a matrix the mean counts. All but ``Q`` is of layers 1..N, ``Q`` of the upper hidden ones,
    or of all.
    """
    matrix = p.network.matrix
    if q.decay == "penalty":
        return {matrix(i): q.l2 / rho_i for i, rho_i in rho.items()}
    ridges = dict.fromkeys(range(1, len(p.network.times) + 1), 0.0)
    for i, step in steps_of(q, p, W, rho, beta, Q, 2.0).items():
        ridges[matrix(i)] += q.l2 * step / p.network.times[matrix(i) - 1]
    return ridges


def steps_of(
    q: GraphAdmmSettings,
    p: Problem,
    W: dict[int, Array],
    rho: dict[int, float],
    beta: dict[int, float],
    Q: dict[int, Linear],
    passed: float,
) -> dict[int, float]:
    """s_i of the output and of the hidden layers of ``Q``: R_i is about -s_i times the derivative by X_i.

    A gradient g at the output moves X_N by s_N g / 2 either way, and what reaches a layer below is scaled by
    ``passed`` / (rho_i + beta_i), with 4 for an active unit of Table 2 and about 2 for units on average, and by
    trace(M Q) / trace(M M') on average over directions, M the layer above as a matrix.
    """
    N = p.network.layers
    curvature = q.quadratic if p.loss.curvature is None else p.loss.curvature
    steps = {N: 2 / (curvature + rho[N])}
    for i in sorted(Q, reverse=True):
        shrunk, _ = compared(p.network.operator(i + 1), on_units(p.network, W, i), Q[i])
        steps[i] = steps[i + 1] * shrunk * passed / (rho[i] + beta[i])
    return steps


class Penalties:
    """rho_i of layers 1..N and beta_i of hidden layers 1..N-1 of the next iteration: as they are given."""

    def __init__(self, rho: dict[int, float], beta: dict[int, float]) -> None:
        self.rho, self.beta = rho, beta

    def learn(self, downhill: list[Array], steps: list[Array], comm: Comm) -> None:
        """From C_i and S_i of an iteration, this rank's own rows of layers 1..N. Collective."""
        return None

    def memory(self, whole: Whole) -> dict[str, Any]:
        """What the next penalties depend on, for a snapshot. Collective."""
        return {}

    def recall(self, memory: dict[str, Any], own: slice) -> None:
        """Take back what ``memory`` has returned; ``own`` is where this rank's piece lies."""
        return None


class AutomaticPenalties(Penalties):
    """Divided by f, the same on every rank, which starts at 1."""

    def __init__(self, rho: dict[int, float], beta: dict[int, float]) -> None:
        super().__init__(rho, beta)
        self._first = rho, beta
        self._log = 0.0  # of f
        self._lengths = np.zeros(len(rho))  # <C_i, S_i> of the iteration before
        self._before: Array | None = None  # this rank's piece of the steps before, one after another

    def learn(self, downhill: list[Array], steps: list[Array], comm: Comm) -> None:
        taken = np.concatenate([step.ravel() for step in steps])
        before = np.zeros_like(taken) if self._before is None else self._before
        parts = np.split(before, np.cumsum([step.size for step in steps])[:-1])
        sums = np.array(
            [[np.vdot(C, part), np.vdot(C, step)] for C, step, part in zip(downhill, steps, parts, strict=True)],
            dtype=np.float64,
        )
        comm.allreduce(sums)
        along, lengths = sums.T
        scales = np.sqrt(np.maximum(lengths * self._lengths, 0))
        cosines = np.divide(along, scales, out=np.zeros_like(along), where=scales > 0)
        moved = self._log + RATE * float(np.clip(cosines, -1, 1).mean())
        self._log, self._lengths, self._before = min(max(moved, -MOST), MOST), lengths.copy(), taken
        self._divide()

    def _divide(self) -> None:
        f = float(np.exp(self._log))
        self.rho, self.beta = ({i: penalty / f for i, penalty in each.items()} for each in self._first)

    def memory(self, whole: Whole) -> dict[str, Any]:
        before = None if self._before is None else whole(self._before)
        return {"log": self._log, "lengths": self._lengths, "before": before}

    def recall(self, memory: dict[str, Any], own: slice) -> None:
        before = memory["before"]
        self._log, self._lengths = memory["log"], memory["lengths"].copy()
        self._before = None if before is None else before[own].copy()
        self._divide()
