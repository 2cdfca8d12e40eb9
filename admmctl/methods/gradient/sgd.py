"""Stochastic gradient descent, with momentum or as Adam, and plain gradient descent: the gradient baselines.

Data-parallel: every rank adds the gradient over its own rows of a mini-batch, one Allreduce sums them, and
every rank takes the same step. Which rows make a mini-batch depends on the seed, the epoch and the global
row number alone, so the curve does not depend on the number of ranks beyond rounding.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from admmctl.methods.gradient.minibatch import MiniBatches
from admmctl.methods.method import Array, Cost, Diverged, Method, Problem, Snapshot, Unit
from admmctl.model.gradient import Gradient, flat_views, gradient_flop, parameters, scratch_bytes
from admmctl.model.initial import descent_weights
from admmctl.model.network import Network, Weights
from admmctl.settings import Count, NonNegative, Positive, Settings


class DescentSettings(Settings):
    """What all gradient descents share."""

    weight_decay: NonNegative = Field(default=0.0, description="adds weight_decay / 2 ||W||^2 to the mean loss")


class GdSettings(DescentSettings):
    """The method block of ``gd``: full batches, one step an iteration."""

    learning_rate: Positive = 0.1


class SgdSettings(DescentSettings):
    """The method block of ``sgd``."""

    learning_rate: Positive = 0.1
    batch: Count = Field(default=128, description="rows of a mini-batch, over all ranks")
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False


class AdamSettings(DescentSettings):
    """The method block of ``adam`` (Kingma and Ba, 2015)."""

    learning_rate: Positive = 1e-3
    batch: Count = Field(default=128, description="rows of a mini-batch, over all ranks")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: Positive = 1e-8


@dataclass
class DescentState:
    """Parameters as one vector, and what the update rule remembers."""

    problem: Problem
    parameters: Array
    W: Weights  # views of ``parameters``
    gradient: Array
    dW: Weights  # views of ``gradient``
    backprop: Gradient
    memory: dict[str, Array]
    batches: MiniBatches
    iteration: int = 0
    rows_seen: int = 0


class Descent(Method):
    """Gradient steps on mini-batches; subclasses say how a gradient becomes a step."""

    convolutions: ClassVar[bool] = True
    unit: ClassVar[Unit] = "epoch"
    memories: ClassVar[tuple[str, ...]] = ()

    def batch(self, total: int) -> int:
        """Rows of a mini-batch over all ranks; never more than there are."""
        return min(self.settings.batch, total)

    def init(self, problem: Problem) -> DescentState:
        """Random weights, zero biases (but a kernel's); nothing is computed from samples yet."""
        dtype = problem.a0.dtype.type
        size = parameters(problem.network)
        vector, gradient = np.empty(size, dtype), np.zeros(size, dtype)
        W = flat_views(problem.network, vector)
        for view, start in zip(W, descent_weights(problem.network, problem.seed, dtype), strict=True):
            view[...] = start
        batch = self.batch(problem.total)
        columns = min(batch, problem.a0.shape[1], problem.network.block(problem.a0.itemsize))
        return DescentState(
            problem,
            vector,
            W,
            gradient,
            flat_views(problem.network, gradient),
            Gradient(problem.network, problem.loss, max(1, columns), dtype),
            {name: np.zeros(size, dtype) for name in self.memories},
            MiniBatches(problem, batch),
        )

    def step(self, s: DescentState) -> DescentState:
        """One mini-batch: gradient, Allreduce, update. Raises Diverged."""
        p = s.problem
        with p.clock.phase("shuffle"):
            a0, y = s.batches.take(s.iteration)
        rows = s.batches.rows(s.iteration)
        with p.clock.phase("gradient"):
            s.gradient[...] = 0
            s.backprop.add(s.W, a0, y, s.dW)
        with p.clock.phase("reduce"):
            p.comm.allreduce(s.gradient)
        with p.clock.phase("update"):
            s.gradient /= rows
            if self.settings.weight_decay:
                s.gradient += self.settings.weight_decay * s.parameters
            s.iteration += 1
            self.update(s)
        if not np.isfinite(s.parameters[:: max(1, len(s.parameters) // 64)]).all():
            raise Diverged(f"the weights are not finite after {s.iteration} iterations")
        s.rows_seen += rows
        return s

    def update(self, s: DescentState) -> None:
        """Change ``s.parameters`` by the gradient in ``s.gradient``."""
        raise NotImplementedError

    def cost(self, network: Network, samples: int, total: int) -> Cost:
        batch = self.batch(total)
        size, width = parameters(network), network.sizes[0] + 1 + network.sizes[-1]
        order = 8 * (samples + (total if batch < total else 0))  # the permutation of an epoch is of all rows
        state = 4 * size * (3 + len(self.memories)) + 4 * min(batch, samples) * width + order
        return Cost(state + scratch_bytes(network), gradient_flop(network, batch), batch, (4 * size,))

    def weights(self, s: DescentState) -> Weights:
        return [W_l.copy() for W_l in s.W]

    def rows_seen(self, s: DescentState) -> int:
        return s.rows_seen

    def snapshot(self, s: DescentState) -> Snapshot:
        """The mini-batches follow from the seed and the iteration."""
        numbers = {"iteration": s.iteration, "rows_seen": s.rows_seen}
        return Snapshot({"parameters": s.parameters, "memory": s.memory, **numbers})

    def restore(self, s: DescentState, snapshot: Snapshot) -> DescentState:
        s.parameters[...] = snapshot.common["parameters"]
        for name, array in s.memory.items():
            array[...] = snapshot.common["memory"][name]
        s.iteration, s.rows_seen = snapshot.common["iteration"], snapshot.common["rows_seen"]
        return s


class Sgd(Descent):
    """W <- W - learning_rate v with v <- momentum v + gradient; Nesterov looks one step ahead."""

    Settings = SgdSettings
    memories = ("velocity",)

    @staticmethod
    def check(settings: SgdSettings, layers: int) -> list[tuple[str, str]]:
        if settings.nesterov and settings.momentum == 0:
            return [("nesterov", "needs a momentum above 0")]
        return []

    def update(self, s: DescentState) -> None:
        step = s.gradient
        if self.settings.momentum:
            velocity = s.memory["velocity"]
            velocity *= self.settings.momentum
            velocity += s.gradient
            step = velocity
            if self.settings.nesterov:
                step = s.gradient
                step += self.settings.momentum * velocity
        s.parameters -= self.settings.learning_rate * step


class Adam(Descent):
    """Adam with bias-corrected moments."""

    Settings = AdamSettings
    memories = ("mean", "square", "work")

    def update(self, s: DescentState) -> None:
        q, t = self.settings, s.iteration
        mean, square, work, g = s.memory["mean"], s.memory["square"], s.memory["work"], s.gradient
        mean *= q.beta1
        np.multiply(g, 1 - q.beta1, out=work)
        mean += work
        square *= q.beta2
        np.multiply(g, g, out=work)
        work *= 1 - q.beta2
        square += work
        np.sqrt(square, out=work)
        work /= np.sqrt(1 - q.beta2**t)
        work += q.epsilon
        np.divide(mean, work, out=work)
        work *= q.learning_rate / (1 - q.beta1**t)
        s.parameters -= work


class Gd(Descent):
    """W <- W - learning_rate gradient, over all rows."""

    Settings = GdSettings
    unit = "iteration"

    def batch(self, total: int) -> int:
        return total

    def update(self, s: DescentState) -> None:
        s.parameters -= self.settings.learning_rate * s.gradient
