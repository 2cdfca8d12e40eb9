"""The penalties of Taylor's ADMM and of its relatives: one number each, or one per layer."""

import numpy as np
from pydantic import Field

from admmctl import kernels
from admmctl.methods.method import Array, check_per_layer
from admmctl.model.lookup import Table
from admmctl.model.network import Network
from admmctl.settings import NonNegative, Positive, Settings


class PenaltySettings(Settings):
    """Keys of a method block with penalties beta and gamma on both kinds of constraint, and a ridge."""

    beta: Positive | list[Positive] = Field(
        default=1.0, description="penalty on z_l = W_l a_(l-1): one, or one per layer 1..L"
    )
    gamma: Positive | list[Positive] = Field(
        default=10.0, description="penalty on a_l = h(z_l): one, or one per hidden layer 1..L-1"
    )
    ridge: NonNegative = Field(
        default=1e-2, description="regularises the W-update, relative to the mean diagonal of a a'"
    )

    def beta_of(self, l: int) -> float:
        """beta_l of layer l = 1..L."""
        return self.beta[l - 1] if isinstance(self.beta, list) else self.beta

    def gamma_of(self, l: int) -> float:
        """gamma_l of hidden layer l = 1..L-1."""
        return self.gamma[l - 1] if isinstance(self.gamma, list) else self.gamma

    def wrong_lists(self, layers: int) -> list[tuple[str, str]]:
        """What does not fit a network of ``layers`` weight matrices: (key, message) each."""
        return check_per_layer(("beta", self.beta, layers), ("gamma", self.gamma, layers - 1))

    def prepare(self, network: Network, dtype: type) -> None:
        """The z-update of two samples of every hidden layer: compiles its loop, and builds its table."""
        for l in range(1, network.layers):
            zeros: Array = np.zeros((network.sizes[l], 2), dtype, order="F")
            network.activation.z_update(np.zeros_like(zeros), zeros, zeros, self.gamma_of(l), self.beta_of(l))

    def tables(self, network: Network) -> dict[int, Table]:
        """Of every hidden layer whose z-update comes from one; built at the first call."""
        layers = range(1, network.layers)
        found = {l: network.activation.table(self.gamma_of(l), self.beta_of(l), network.sizes[l]) for l in layers}
        return {l: table for l, table in found.items() if table is not None}

    def notes(self, network: Network) -> list[str]:
        """What the user should know of the loops and tables of the z-update."""
        troubles = [kernels.trouble()] if kernels.trouble() else []
        return troubles + [f"z_{l} comes from {table}" for l, table in self.tables(network).items()]
