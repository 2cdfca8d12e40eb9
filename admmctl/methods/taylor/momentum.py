"""Momentum on the weights, which Taylor et al. name as future work (section 8.1), with a restart.

An iteration without it is a map W -> S(W), the weights that solve the least squares. With it, as Nesterov's,

    W_l <- S_l + momentum (S_l - S_l of the iteration before),

and the momentum is dropped, for the step, where the map points against it: sum_l <S_l - W_l, S_l - S_l before> < 0
(O'Donoghue and Candes 2015, "Adaptive restart for accelerated gradient schemes", the gradient scheme).
"""

from typing import Any, Literal

import numpy as np

from admmctl.methods.method import Array

Restart = Literal["adaptive", "none"]


class Momentum:
    """``before`` is S of the last iteration, the same on every rank."""

    def __init__(self, momentum: float, adaptive: bool, before: dict[int, Array] | None = None) -> None:
        self._momentum, self._adaptive = momentum, adaptive
        self.before: dict[int, Array] = before or {}
        self.restarts = 0

    def along(self, S: Array, W: Array, l: int, rows: slice = slice(None)) -> float:
        """A part of sum_l <S_l - W_l, S_l - S_l before>: of those rows of layer l, which ``S`` and ``W`` are."""
        return float(np.vdot(S - W, S - self.before[l][rows])) if self.before and self._adaptive else 0.0

    def step(self, S: dict[int, Array], along: float) -> dict[int, Array]:
        """The next weights; ``along`` is the whole sum, over layers and ranks."""
        before, self.before = self.before, S
        if along < 0:
            self.restarts += 1
            before = {}
        return {
            l: S_l + S_l.dtype.type(self._momentum) * (S_l - before[l]) if before else S_l for l, S_l in S.items()
        }

    def memory(self) -> dict[str, Any]:
        """What a snapshot needs: it is the same on every rank."""
        return {"before": [self.before[l] for l in sorted(self.before)], "restarts": self.restarts}

    def recall(self, memory: dict[str, Any], like: Array) -> None:
        """Take back what ``memory`` returned, in arrays ``like`` another one."""
        self.before = {l: np.asarray(S, like=like) for l, S in enumerate(memory["before"], start=1)}
        self.restarts = memory["restarts"]
