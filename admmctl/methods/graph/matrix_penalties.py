"""Penalties that are matrices: the steps of all layers, where penalties fit what comes down to each.

A number rho_i holds all outputs of a layer alike. With a matrix M_i in its place, what X_i = W_i V_{i-1}
misses by, D, costs <D, M_i D> / 2. With E_i the derivatives of the loss by X_i, X_i moves, to first order, to
X_i - M_i^-1 E_i. The least squares of W_i to that target do not depend on M_i, so that the step is

    W_i_new - W_i = -M_i^-1 E_i V' (V V' + a I)^-1,   V = V_{i-1}.

One length of step suits all directions where M_i is about the curvature of the loss by X_i. Here it is
G_i = E_i E_i' / n + g I, an average over mini-batches: the step is then that of K-FAC (Martens and Grosse 2015),
but that E_i comes down by Table 2. a and g divide ``damping`` between both sides as there. The step s of all
layers is shortened where s'F s = <s, derivative> is more than ``kl_clip``, F the curvature. Two more things are
not as in ``kfac``: the targets of E_i are the real ones, not drawn, and there is no momentum, no learning rate.

Table 2 hands down R_i, about -s_i E_i. At the output s_N is known; below, s_i is s_{i+1} times what the backward
pass makes of a direction on average (``updates.py``). Every rank solves for its own rows.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from admmctl.methods.gradient.curvature import Curvature, Plan, shortened, split_damping
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.method import Array, Problem

AVERAGE = 0.95  # decay of the averages of V V' and E E'


def plan_of(settings: GraphAdmmSettings) -> Plan:
    """Sums of both sides, as often as ``gram_every`` says."""
    return Plan(settings.gram_every, AVERAGE, two_sides=True, drawn=False)


class MatrixSolves:
    """The sums of layers 1..N over a mini-batch, and the steps that they give; as ``LayerSolves`` otherwise."""

    def __init__(self, settings: GraphAdmmSettings, problem: Problem, batch: int) -> None:
        self._settings, self._problem, self._batch = settings, problem, batch
        self._curvature = Curvature(plan_of(settings), partial(split_damping, settings.damping), problem)
        self._rows = 0  # of the mini-batch at hand
        self.steps: Mapping[int, float] = {}  # s_i of layers 1..N
        self.division = self._curvature.sums.division
        self.precision = problem.a0.dtype.type

    def begin(self, iteration: int, rows: int) -> None:
        """Before the blocks of an iteration of ``rows`` rows; the last of an epoch may have fewer."""
        self._rows = rows
        self._curvature.begin(iteration, rows, full=rows == self._batch)

    def add(self, i: int, R: Array, V: Array) -> None:
        """Add a block of columns to the sums of layer i, R as -E."""
        self._curvature.add(i, R * R.dtype.type(1 / self.steps[i]), V)

    def reduce(self) -> None:
        """Sum over ranks."""
        self._curvature.sums.reduce()

    def move(self, W: Mapping[int, Array], image: Array) -> None:
        """Put this rank's rows of all new weights into ``image``, a vector. Raises Diverged where all ranks do."""
        sums, own, l2 = self._curvature.sums, self.division.own, self._settings.l2
        steps = self.division.views(sums.crosses)
        pieces = [(W[i], rows, steps[i - 1]) for i, rows in enumerate(self.division.rows, start=1)]
        for W_i, rows, downhill in pieces:  # of the mean over rows, L2 among it
            downhill[rows] -= W_i.dtype.type(l2) * W_i[rows]
        sums.crosses[own] *= image.dtype.type(1 / self._rows)
        downhill_own = sums.crosses[own].copy()
        self._curvature.step()
        step = sums.crosses[own]
        shortened(step, downhill_own, self._settings.kl_clip, self._problem)
        for (W_i, rows, moved), new in zip(pieces, self.division.views(image), strict=True):
            new[rows] = W_i[rows] + moved[rows]

    def gather(self, vector: Array) -> None:
        """Copy every rank's piece of all weights to all ranks, in place. Raises Diverged where a rank failed."""
        self._curvature.sums.gather(vector)

    def memory(self) -> dict[str, Any]:
        """The averages. Collective."""
        return self._curvature.memory()

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what ``memory`` has returned."""
        self._curvature.recall(memory)
