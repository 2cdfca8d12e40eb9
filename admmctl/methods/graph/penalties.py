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
from admmctl.methods.average import Piece, Whole
from admmctl.methods.method import Array

RATE = 0.1  # of log f
MOST = float(np.log(1e4))  # |log f| at most


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

    def recall(self, memory: dict[str, Any], piece: Piece) -> None:
        """Take back what ``memory`` has returned; of whole vectors this rank's ``piece``."""
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

    def recall(self, memory: dict[str, Any], piece: Piece) -> None:
        before = memory["before"]
        self._log, self._lengths = memory["log"], memory["lengths"].copy()
        self._before = None if before is None else piece(before)
        self._divide()
