"""FOOF: every layer's gradient times the inverse of what its inputs are on average.

Benzing, "Gradient descent on neurons and its link to approximate second-order optimization", ICML 2022: the
step

    dW (V V'/n + lambda I)^-1,   dW = E V'/n,

moves the outputs W V of a layer along their own derivatives E as far as weights can, and no farther than lambda
allows: gradient descent on neurons in the place of weights. V (k, n) are the inputs of a layer, a row of ones
for the biases among them, E (k', n) the derivatives by its outputs. V V'/n is an exponential average over
mini-batches, which is made and factored rarely; steps have momentum. The step of the weights in ``graph-admm``
is a relative.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from admmctl.devices.arrays import on_host
from admmctl.methods.gradient.curvature import Curvature, Plan, Triangles, mean_diagonal
from admmctl.methods.gradient.settings import SgdSettings
from admmctl.methods.gradient.sgd import DescentState, Sgd
from admmctl.methods.least_squares import check_sides
from admmctl.methods.method import Array, Cost, Problem, Snapshot
from admmctl.methods.on_device import placed
from admmctl.model.gradient import gradient_flop, parameters
from admmctl.model.network import Network
from admmctl.rng import uniform_rows
from admmctl.settings import Count, Positive


class CurvedSettings(SgdSettings):
    """What ``foof`` and ``kfac`` share."""

    batch: Count = Field(default=512, description="rows of a mini-batch, over all ranks")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    gram_every: Count = Field(
        default=8,
        description="iterations after which sums over a mini-batch are averaged in, and factored anew; at most a "
        "fifth of those so far",
    )
    gram_average: float = Field(default=0.95, ge=0, lt=1, description="decay of the average of these sums")


class FoofSettings(CurvedSettings):
    """The method block of ``foof``."""

    learning_rate: Positive = 0.1
    damping: Positive = Field(default=1.0, description="lambda, relative to the mean diagonal of V V'/n")


class Foof(Sgd):
    """W <- W - learning_rate v with v <- momentum v + dW (V V'/n + lambda I)^-1, for every layer."""

    Settings: ClassVar[type[CurvedSettings]] = FoofSettings
    convolutions = False
    two_sides: ClassVar[bool] = False  # whether there is E E' beside V V'

    def _plan(self) -> Plan:
        return Plan(self.settings.gram_every, self.settings.gram_average, self.two_sides)

    def damped(self, averages: Triangles) -> list[float]:
        """What the diagonals of the averages get, layer by layer."""
        return [self.settings.damping * mean_diagonal(averages[0])]

    def init(self, problem: Problem) -> DescentState:
        problem = placed(problem, self)
        curvature = Curvature(self._plan(), self.damped, problem)
        s = self.begin(problem, curvature.sums.division)
        s.more, s.gradient, s.dW = curvature, curvature.sums.crosses, s.division.views(curvature.sums.crosses)
        return s

    def backpropagate(self, s: DescentState, a0: Array, y: Array) -> None:
        curvature: Curvature = s.more
        rows = s.batches.rows(s.iteration)
        curvature.begin(s.iteration, rows, full=rows == s.batches.batch)
        if curvature.due and self.two_sides:
            stream = f"drawn targets {s.iteration}"
            drawn = uniform_rows(s.problem.seed, stream, s.batches.first, y.shape[1], len(y))
            curvature.draws = np.asarray(drawn, like=y).T
        s.backprop.add(s.W, a0, y, s.dW, s.batches.mask, curvature if curvature.due else None)

    def reduce(self, s: DescentState) -> None:
        s.more.sums.reduce()

    def update(self, s: DescentState, W: Array, g: Array, rate: float) -> None:
        self.precondition(s, g, rate)
        super().update(s, W, g, rate)

    def precondition(self, s: DescentState, g: Array, rate: float) -> None:
        """Make the step of this rank's piece of the gradient, ``g``, in place."""
        s.more.step()

    def gather(self, s: DescentState) -> None:
        s.more.sums.gather(s.parameters)

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        check_sides([max(shape) for shape in network.shapes], "the step of a layer")

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        """Messages are those of an iteration that makes sums, operations those of one on average."""
        plan, batch = self._plan(), self.batch(total)
        share = plan.share(network, ranks)
        return Cost(
            self.held(network, samples, total) + plan.bytes(network),
            gradient_flop(network, batch) + plan.flop(network, batch),
            batch,
            share.messages,
            share.operations + self.operations * parameters(network) / ranks,
        )

    def snapshot(self, s: DescentState) -> Snapshot:
        return Snapshot({**super().snapshot(s).common, "curvature": on_host(s.more.memory())})

    def restore(self, s: DescentState, snapshot: Snapshot) -> DescentState:
        s.more.recall(snapshot.common["curvature"])
        return super().restore(s, snapshot)
