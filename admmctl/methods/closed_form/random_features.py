"""Random features: hidden layers that stay as they are drawn, and one ridge solve for the output layer.

With ``activation: cosine`` and a kernel to start from (``network.init``) this is kernel ridge regression by
random features (Rahimi and Recht; Burmeister's report, section 2.2): what a network that trains its hidden layers
from the same start has to beat.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from admmctl.methods.least_squares import GramPair, RidgeFactor, check_sides, solve_bytes
from admmctl.methods.method import Cost, Finished, Method, Problem, Snapshot
from admmctl.model.initial import initial_weights
from admmctl.model.losses import Squared
from admmctl.model.network import Network, Weights
from admmctl.settings import NonNegative, Settings


class RandomFeaturesSettings(Settings):
    """The method block of ``random-features``."""

    ridge: NonNegative = Field(default=1e-6, description="of the solve, relative to the mean diagonal of a a'")


@dataclass
class RandomFeaturesState:
    """The weights; the last of them are solved for in the only step."""

    problem: Problem
    W: Weights
    solved: bool = False


class RandomFeatures(Method):
    """W_1 .. W_{L-1} as drawn, biases too; W_L = y a' (a a' + ridge)^-1 of their outputs a."""

    Settings = RandomFeaturesSettings
    losses: ClassVar[tuple[str, ...]] = ("squared", "signed-squared")  # the ones with a closed form

    @staticmethod
    def check(settings: RandomFeaturesSettings, layers: int) -> list[tuple[str, str]]:
        if layers < 2:
            return [("network", "random-features needs a hidden layer; linear is the method without any")]
        return []

    def init(self, problem: Problem) -> RandomFeaturesState:
        """Random weights and biases; nothing is computed from samples yet."""
        return RandomFeaturesState(problem, initial_weights(problem.network, problem.seed, problem.a0.dtype.type))

    def step(self, s: RandomFeaturesState) -> RandomFeaturesState:
        """The ridge solve: one pass over the rows and one Allreduce. Raises Finished when it is done already."""
        if s.solved:
            raise Finished("least squares is solved in one step")
        p = s.problem
        network = p.network
        y = p.y if isinstance(p.loss, Squared) else 2 * p.y - 1
        pair = GramPair(len(p.y), network.sizes[-2] + network.bias, p.a0.dtype.type)
        for columns in network.blocks(p.a0):
            with p.clock.phase("features"):
                a = network.inputs(network.hidden(s.W, p.a0[:, columns]))
            with p.clock.phase("gram"):
                pair.add(y[:, columns], a)
        with p.clock.phase("reduce"):
            pair.reduce(p.comm)
        with p.clock.phase("solve"):
            s.W[-1] = RidgeFactor(pair.triangle, self.settings.ridge).solve(pair.cross)
        s.solved = True
        return s

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError where the matrix of the ridge solve has too many entries."""
        check_sides([network.shapes[-1][1]], "random-features")

    def cost(self, network: Network, samples: int, total: int) -> Cost:
        *hidden, (k, outputs) = [
            (below + network.bias, above) for below, above in zip(network.sizes, network.sizes[1:], strict=False)
        ]
        weights = sum(a * b for a, b in hidden) + k * outputs
        state = 8 * weights + solve_bytes([(outputs, k)], kept=1)
        blocks = 2 * 4 * min(network.block(), samples) * sum(network.sizes[1:])
        per_row = sum(2.0 * a * b for a, b in hidden) + k * (k + 1) + 2.0 * k * outputs
        message = 4 * (k * (k + 1) // 2 + k * outputs)
        flop = total * per_row + k**3 / 3 + 2.0 * k * k * outputs
        return Cost(state + blocks, flop, total, (message,))

    def weights(self, s: RandomFeaturesState) -> Weights:
        return [np.array(W_l) for W_l in s.W]

    def snapshot(self, s: RandomFeaturesState) -> Snapshot:
        return Snapshot({"W": s.W, "solved": s.solved})

    def restore(self, s: RandomFeaturesState, snapshot: Snapshot) -> RandomFeaturesState:
        s.W, s.solved = snapshot.common["W"], snapshot.common["solved"]
        return s
