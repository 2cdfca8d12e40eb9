"""Random features: hidden layers that stay as they are drawn, and one ridge solve for the output layer.

With ``activation: cosine`` and a kernel to start from (``network.init``) this is kernel ridge regression by
random features (Rahimi and Recht; Burmeister's report, section 2.2): what a network that trains its hidden layers
from the same start has to beat.

Many features are what the report's Algorithm 2 is for: with ``w_update: nystrom`` the solve is from p columns of
a a' (``taylor/low_rank.py``).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from admmctl.devices.arrays import on_host
from admmctl.devices.settings import DeviceSettings
from admmctl.methods.closed_form.linear import labelled
from admmctl.methods.least_squares import check_sides, fit
from admmctl.methods.method import Array, Cost, Finished, Method, Problem, Snapshot, sums_over_ranks
from admmctl.methods.on_device import placed
from admmctl.methods.taylor.layers import dense_sums, sums_cost
from admmctl.methods.taylor.settings import LowRankSettings
from admmctl.model.gradient import parameters
from admmctl.model.initial import initial_weights
from admmctl.model.network import Network, Weights
from admmctl.settings import NonNegative


class RandomFeaturesSettings(LowRankSettings, DeviceSettings):
    """The method block of ``random-features``: its only solve is the W-update of the last layer."""

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
        wrong = settings.without_effect()
        if settings.backend != "numpy" and settings.w_update != "exact":
            wrong.append(("w_update", f"{settings.w_update} is of backend: numpy; set w_update: exact"))
        return wrong

    def init(self, problem: Problem) -> RandomFeaturesState:
        """Random weights and biases; nothing is computed from samples yet."""
        p = placed(problem, self)
        W = initial_weights(p.network, p.seed, p.a0.dtype.type)
        return RandomFeaturesState(p, [np.asarray(W_l, like=p.y) for W_l in W])

    def step(self, s: RandomFeaturesState) -> RandomFeaturesState:
        """The ridge solve: one pass over the rows and one Allreduce. Raises Finished when it is done already."""
        if s.solved:
            raise Finished("least squares is solved in one step")
        p = s.problem

        def features(a0: Array) -> Array:
            with p.clock.phase("features"):
                return p.network.inputs(p.network.hidden(s.W, a0))

        pair = dense_sums(self.settings, *p.network.shapes[-1], p, p.network.layers)
        s.W[-1] = fit(p, pair, labelled(p, features), self.settings.ridge)
        s.solved = True
        return s

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError where the matrix of the ridge solve has too many entries."""
        k = network.shapes[-1][1]
        squared = not self.settings.low_rank(k) or self.settings.w_update == "nystrom-pcg"
        check_sides([k] if squared else [], "random-features")

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        *hidden, (outputs, k) = network.shapes
        last = sums_cost(self.settings, outputs, k, total, network.layers)
        blocks = 2 * 4 * min(network.block(), samples) * sum(network.sizes[1:])
        per_row = sum(2.0 * a * b for a, b in hidden) + 2.0 * k * outputs
        solved = last.solve if self.settings.low_rank(k) else 2.0 * k * k * outputs
        flop = None if last.made is None or solved is None else total * per_row + last.made + solved
        state = 8 * parameters(network) + last.state_bytes + blocks
        return Cost(state, flop, total, sums_over_ranks(4 * (last.shared + k * outputs)))

    def notes(self, s: RandomFeaturesState) -> list[str]:
        return self.settings.notes

    def weights(self, s: RandomFeaturesState) -> Weights:
        return [np.array(on_host(W_l)) for W_l in s.W]

    def snapshot(self, s: RandomFeaturesState) -> Snapshot:
        return Snapshot(on_host({"W": s.W, "solved": s.solved}))

    def restore(self, s: RandomFeaturesState, snapshot: Snapshot) -> RandomFeaturesState:
        s.W = [np.asarray(W_l, like=s.problem.y) for W_l in snapshot.common["W"]]
        s.solved = snapshot.common["solved"]
        return s
