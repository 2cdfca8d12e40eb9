"""Stochastic gradient descent, with momentum or as Adam, and plain gradient descent: the gradient baselines.

Data-parallel: every rank adds the gradient over its own rows of a mini-batch. It gets the sum for its own piece of
the weights, changes that, and gathers the pieces of the others. Which rows make a mini-batch depends on the
seed, the epoch and the global row number alone: but for rounding, the curve does not depend on the ranks.

As their users run them, sgd and adam have a learning rate that falls, averaged weights, and regularisers:
``ScheduleSettings``.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from admmctl.devices.arrays import on_host
from admmctl.methods.average import Average
from admmctl.methods.division import Division, Work
from admmctl.methods.gradient.minibatch import MiniBatches, batch_bytes
from admmctl.methods.gradient.settings import AdamSettings, GdSettings, ScheduleSettings, SgdSettings
from admmctl.methods.method import Array, Cost, Diverged, Message, Method, Problem, Snapshot, Unit
from admmctl.methods.on_device import placed
from admmctl.methods.regularise import RegulariserSettings, regulariser_bytes
from admmctl.model.gradient import Gradient, flat_views, gradient_flop, parameters, scratch_bytes
from admmctl.model.initial import descent_weights
from admmctl.model.network import Network, Weights


@dataclass
class DescentState:
    """Parameters as one vector, and what the update rule remembers of this rank's own piece of it."""

    problem: Problem
    parameters: Array
    W: Weights  # views of ``parameters``
    gradient: Array
    dW: Weights  # views of ``gradient``
    backprop: Gradient
    memory: dict[str, Array]
    division: Division
    batches: MiniBatches
    average: Average | None = None
    iteration: int = 0
    rows_seen: int = 0
    more: Any = None  # what a method keeps beside


def _update_work(size: int) -> Work:
    """An update is cut into equal pieces."""
    return Work([(size, 1)], [1.0], [0.0])


class Descent(Method):
    """Gradient steps on mini-batches; subclasses say how a gradient becomes a step."""

    convolutions: ClassVar[bool] = True
    unit: ClassVar[Unit] = "epoch"
    memories: ClassVar[tuple[str, ...]] = ()
    operations: ClassVar[int] = 3  # of the update of a number, about
    decoupled: ClassVar[bool] = False  # whether ``update`` sees to the weight decay, beside the gradient

    def batch(self, total: int) -> int:
        """Rows of a mini-batch over all ranks; never more than there are."""
        return min(self.settings.batch, total)

    def init(self, problem: Problem) -> DescentState:
        """Random weights, zero biases (but a kernel's); nothing is computed from samples yet."""
        problem = placed(problem, self)
        return self.begin(problem, _update_work(parameters(problem.network)).divide(problem.comm))

    def begin(self, problem: Problem, division: Division) -> DescentState:
        """The state of ``init``, for the piece of the weights that ``division`` gives this rank.

        The problem is ``placed`` already.
        """
        dtype, like = problem.a0.dtype.type, problem.y
        size = parameters(problem.network)
        vector: Array = np.empty(size, dtype, like=like)
        gradient: Array = np.zeros(size, dtype, like=like)
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
            Gradient(problem.network, problem.loss, max(1, columns), dtype, like),
            {name: np.zeros(division.counts[problem.comm.rank], dtype, like=like) for name in self.memories},
            division,
            MiniBatches(problem, batch, self.regulariser),
            self.average(),
        )

    @property
    def regulariser(self) -> RegulariserSettings:
        """What changes samples and leaves out units, if anything."""
        return RegulariserSettings()

    def average(self) -> Average | None:
        """What is evaluated in the place of the weights, if anything."""
        return None

    def rate(self, epoch: float) -> float:
        """The learning rate after so many epochs."""
        rate: float = self.settings.learning_rate
        return rate

    def step(self, s: DescentState) -> DescentState:
        """One mini-batch: gradient, its sum, update. Raises Diverged."""
        p = s.problem
        with p.clock.phase("shuffle"):
            a0, y = s.batches.take(s.iteration)
        rows = s.batches.rows(s.iteration)
        with p.clock.phase("gradient"):
            s.gradient[...] = 0
            self.backpropagate(s, a0, y)
        with p.clock.phase("reduce"):
            self.reduce(s)
        with p.clock.phase("update"):
            W, g = s.parameters[s.division.own], s.gradient[s.division.own]
            g /= rows
            if self.settings.weight_decay and not self.decoupled:
                g += self.settings.weight_decay * W
            s.iteration += 1
            self.update(s, W, g, self.rate((s.iteration - 0.5) / s.batches.count))
            if s.average is not None:
                s.average.add(W)
        with p.clock.phase("reduce"):
            self.gather(s)
        if not np.isfinite(s.parameters[:: max(1, len(s.parameters) // 64)]).all():
            raise Diverged(f"the weights are not finite after {s.iteration} iterations")
        s.rows_seen += rows
        return s

    def backpropagate(self, s: DescentState, a0: Array, y: Array) -> None:
        """Add this rank's part of the gradient to ``s.dW``."""
        s.backprop.add(s.W, a0, y, s.dW, s.batches.mask)

    def reduce(self, s: DescentState) -> None:
        """Sum ``s.gradient`` over ranks: every rank gets its own piece."""
        s.division.reduce(s.gradient)

    def gather(self, s: DescentState) -> None:
        """Copy the pieces of the weights to all ranks."""
        s.division.gather(s.parameters)

    def update(self, s: DescentState, W: Array, g: Array, rate: float) -> None:
        """Change this rank's piece of the weights, ``W``, by that of the gradient, ``g``, in place."""
        raise NotImplementedError

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        batch, size = self.batch(total), parameters(network)
        messages = Message("reduce_scatter", 4 * size), Message("allgather", 4 * size)
        (share, _), flop = _update_work(size).cut(ranks), gradient_flop(network, batch)
        return Cost(self.held(network, samples, total), flop, batch, messages, share * self.operations)

    def held(self, network: Network, samples: int, total: int) -> int:
        """Bytes of weights, memories, mini-batches and blocks."""
        given, width = self.regulariser, network.sizes[0] + 1 + network.sizes[-1]
        state = 4 * parameters(network) * (3 + len(self.memories)) + scratch_bytes(network)
        state += batch_bytes(width, samples, total, self.batch(total), given.changes_samples)
        return state + regulariser_bytes(given, network, network.block())

    def weights(self, s: DescentState) -> Weights:
        """Of the last iteration, or their average. Collective."""
        if s.average is None or s.average.value is None:
            return [np.array(on_host(W_l)) for W_l in s.W]
        return flat_views(s.problem.network, on_host(s.division.whole(s.average.value)))

    def rows_seen(self, s: DescentState) -> int:
        return s.rows_seen

    def snapshot(self, s: DescentState) -> Snapshot:
        """The mini-batches follow from the seed and the iteration. Collective."""
        numbers = {"iteration": s.iteration, "rows_seen": s.rows_seen}
        memory: dict[str, Any] = {name: s.division.whole(piece) for name, piece in s.memory.items()}
        if s.average is not None:
            memory["average"] = s.average.memory(s.division.whole)
        return Snapshot(on_host({"parameters": s.parameters, "memory": memory, **numbers}))

    def restore(self, s: DescentState, snapshot: Snapshot) -> DescentState:
        s.parameters[...] = snapshot.common["parameters"]
        for name, array in s.memory.items():
            array[...] = snapshot.common["memory"][name][s.division.own]
        if s.average is not None:
            piece = partial(s.division.piece, like=s.parameters)
            s.average.recall(snapshot.common["memory"]["average"], piece)
        s.iteration, s.rows_seen = snapshot.common["iteration"], snapshot.common["rows_seen"]
        return s


class Scheduled(Descent):
    """A descent whose learning rate may change, whose weights may be averaged, and which may be regularised."""

    @staticmethod
    def check(settings: ScheduleSettings, layers: int) -> list[tuple[str, str]]:
        return settings.wrong() + settings.wrong_dropout(layers)

    @property
    def regulariser(self) -> RegulariserSettings:
        settings: ScheduleSettings = self.settings
        return settings

    def average(self) -> Average | None:
        return Average(self.settings.average) if self.settings.average else None

    def rate(self, epoch: float) -> float:
        return super().rate(epoch) * float(self.settings.factor(epoch))


class Sgd(Scheduled):
    """W <- W - learning_rate v with v <- momentum v + gradient; Nesterov looks one step ahead."""

    Settings = SgdSettings
    recurrent = True
    memories = ("velocity",)
    operations = 5

    def update(self, s: DescentState, W: Array, g: Array, rate: float) -> None:
        step = g
        if self.settings.momentum:
            velocity = s.memory["velocity"]
            velocity *= self.settings.momentum
            velocity += g
            step = velocity
            if self.settings.nesterov:
                step = g
                step += self.settings.momentum * velocity
        W -= rate * step


class Adam(Scheduled):
    """Adam with bias-corrected moments."""

    Settings = AdamSettings
    recurrent = True
    memories = ("mean", "square", "work")
    operations = 13

    def update(self, s: DescentState, W: Array, g: Array, rate: float) -> None:
        q, t = self.settings, s.iteration
        mean, square, work = s.memory["mean"], s.memory["square"], s.memory["work"]
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
        work *= rate / (1 - q.beta1**t)
        W -= work


class Gd(Descent):
    """W <- W - learning_rate gradient, over all rows."""

    Settings = GdSettings
    unit = "iteration"

    def batch(self, total: int) -> int:
        return total

    def update(self, s: DescentState, W: Array, g: Array, rate: float) -> None:
        W -= rate * g
