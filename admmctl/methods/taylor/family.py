"""What the methods with Taylor's penalties have in common: losses, checks, loops to compile, weights by layer."""

from typing import Any

import numpy as np

from admmctl import kernels
from admmctl.devices.arrays import on_host
from admmctl.methods.method import Array, Method, Problem
from admmctl.model.network import Weights


class TaylorMethod(Method):
    """A method whose settings are ``PenaltySettings``, and whose state has ``problem`` and W[1] .. W[L]."""

    losses = ("squared", "signed-squared", "hinge")  # the z_L-update has a closed form

    @staticmethod
    def check(settings: Any, layers: int) -> list[tuple[str, str]]:
        return settings.wrong(layers)

    def prepare(self, problem: Problem) -> None:
        """The z-update of three samples of every hidden layer: compiles its loop, and builds its table."""
        network, q = problem.network, self.settings
        for l in range(1, len(network.shapes)):
            k = network.sizes[l]
            zeros: Array = np.zeros((k + network.bias, 3), problem.a0.dtype, order="F", like=problem.y)
            z, m = zeros[:k].copy(order="F"), zeros[:k].copy(order="F")
            network.h(l).z_update(z, zeros, m, *q.z_penalties(l, network.h(l).slope(k)))

    def weights(self, s: Any) -> Weights:
        return [np.array(on_host(s.W[l])) for l in sorted(s.W)]

    def notes(self, s: Any) -> list[str]:
        """Loops that are not compiled, and layers whose z-update comes from a table."""
        network, q = s.problem.network, self.settings
        troubles = [kernels.trouble()] if kernels.trouble() else []
        layers = range(1, len(network.shapes))
        units = {l: network.sizes[l] for l in layers}
        penalties = {l: q.z_penalties(l, network.h(l).slope(k)) for l, k in units.items()}
        tables = {l: network.h(l).table(*penalties[l], k) for l, k in units.items()}
        return troubles + [f"z_{l} comes from {table}" for l, table in tables.items() if table is not None]
