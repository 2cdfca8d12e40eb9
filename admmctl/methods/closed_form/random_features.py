"""Random features: hidden layers that stay as they are drawn, and one ridge solve for the output layer.

With ``activation: cosine`` and a kernel to start from (``network.init``) this is kernel ridge regression by
random features (Rahimi and Recht; Burmeister's report, section 2.2): what a network that trains its hidden layers
from the same start has to beat.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from admmctl.methods.closed_form.linear import by_inputs
from admmctl.methods.least_squares import check_sides, solve_bytes
from admmctl.methods.method import Array, Cost, Finished, Method, Problem, Snapshot, sums_over_ranks
from admmctl.model.gradient import parameters
from admmctl.model.initial import initial_weights
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

        def features(a0: Array) -> Array:
            with p.clock.phase("features"):
                return p.network.inputs(p.network.hidden(s.W, a0))

        s.W[-1] = by_inputs(p, features, self.settings.ridge)
        s.solved = True
        return s

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError where the matrix of the ridge solve has too many entries."""
        check_sides([network.shapes[-1][1]], "random-features")

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        *hidden, (outputs, k) = network.shapes
        state = 8 * parameters(network) + solve_bytes([(outputs, k)], kept=1)
        blocks = 2 * 4 * min(network.block(), samples) * sum(network.sizes[1:])
        per_row = sum(2.0 * a * b for a, b in hidden) + k * (k + 1) + 2.0 * k * outputs
        message = 4 * (k * (k + 1) // 2 + k * outputs)
        flop = total * per_row + k**3 / 3 + 2.0 * k * k * outputs
        return Cost(state + blocks, flop, total, sums_over_ranks(message))

    def weights(self, s: RandomFeaturesState) -> Weights:
        return [np.array(W_l) for W_l in s.W]

    def snapshot(self, s: RandomFeaturesState) -> Snapshot:
        return Snapshot({"W": s.W, "solved": s.solved})

    def restore(self, s: RandomFeaturesState, snapshot: Snapshot) -> RandomFeaturesState:
        s.W, s.solved = snapshot.common["W"], snapshot.common["solved"]
        return s
