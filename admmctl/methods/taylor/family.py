"""What the methods with Taylor's penalties have in common: losses, checks, loops to compile, weights by layer."""

from typing import Any

from admmctl.methods.method import Method, Problem
from admmctl.model.network import Weights


class TaylorMethod(Method):
    """A method whose settings are ``PenaltySettings``, and whose state has ``problem`` and W[1] .. W[L]."""

    losses = ("squared", "signed-squared", "hinge")  # the z_L-update has a closed form

    @staticmethod
    def check(settings: Any, layers: int) -> list[tuple[str, str]]:
        return settings.wrong(layers)

    def prepare(self, problem: Problem) -> None:
        self.settings.prepare(problem.network, problem.a0.dtype.type)

    def weights(self, s: Any) -> Weights:
        return [s.W[l].copy() for l in sorted(s.W)]

    def notes(self, s: Any) -> list[str]:
        return self.settings.notes(s.problem.network)
