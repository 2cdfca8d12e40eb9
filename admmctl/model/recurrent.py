"""How a row enters a recurrent network: cut into parts of the same size, one at every step.

An Elman cell of k units reads the parts x_1 .. x_T of a row, f features each, and the outputs follow from its last
activations:

    z_t = W [a_{t-1}; x_t; 1],   a_t = h(z_t),   a_0 = 0,   t = 1..T,   and O [a_T; 1],

with W (k, k + f + 1) the same at all times, its first k columns the recurrent block U, and O (outputs, k + 1). So
it is a network of T hidden layers like any other, but that these share a matrix and are given features beside the
activations below: ``Network`` says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from admmctl.rng import uniforms


@dataclass(frozen=True)
class Recurrence:
    """``steps`` parts of a row's ``features`` for ``units`` units; U starts at ``start`` times the identity.

    With ``permute`` the features are taken in an order that is drawn from this seed: the same one for all rows.
    """

    units: int
    steps: int
    features: int
    permute: int | None = None
    start: float = 0.9

    def __post_init__(self) -> None:
        if self.steps < 2 or self.units < 1 or self.features % self.steps:
            raise ValueError("its steps do not fit its features")

    @property
    def entering(self) -> int:
        """f, the features of a step."""
        return self.features // self.steps

    @cached_property
    def _order(self) -> NDArray[np.intp] | None:
        if self.permute is None:
            return None
        return np.argsort(uniforms(self.permute, "order of features", 0, self.features), kind="stable")

    def part(self, t: int) -> slice | NDArray[np.intp]:
        """The features of step t = 1..T."""
        part = slice((t - 1) * self.entering, t * self.entering)
        return part if self._order is None else self._order[part]

    def packed(self) -> list[int]:
        """The steps, and the seed of the order or -1, for a file."""
        return [self.steps, -1 if self.permute is None else self.permute]

    @classmethod
    def unpack(cls, packed: Sequence[int], units: int, features: int) -> "Recurrence":
        """What ``packed`` says of so many units and features. Raises ValueError where it does not fit."""
        steps, permute = (int(number) for number in packed)
        return cls(units, steps, features, None if permute < 0 else permute)
