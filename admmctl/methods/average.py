"""An exponential average of the weights, which is evaluated in their place (Polyak and Juditsky 1992)."""

from collections.abc import Callable
from typing import Any

from pydantic import Field

from admmctl.methods.method import Array
from admmctl.settings import Settings

Whole = Callable[[Array], Array]  # the vector of which every rank has a piece
Piece = Callable[[Array], Array]  # a copy of this rank's piece of such a vector


class AverageSettings(Settings):
    """The key of a method block whose weights may be averaged."""

    average: float = Field(
        default=0.0, ge=0, lt=1, description="evaluate the exponential average of the weights, with this decay"
    )


class Average:
    """Of this rank's piece of the weights, young ones counting more while there are few of them."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._count = 0
        self.value: Array | None = None

    def add(self, weights: Array) -> None:
        """Count one more vector in."""
        self._count += 1
        decay = min(self._decay, self._count / (9.0 + self._count))
        if self.value is None:
            self.value = weights.copy()
        else:
            self.value += weights.dtype.type(1 - decay) * (weights - self.value)

    def memory(self, whole: Whole) -> dict[str, Any]:
        return {"count": self._count, "value": None if self.value is None else whole(self.value)}

    def recall(self, memory: dict[str, Any], piece: Piece) -> None:
        value = memory["value"]
        self._count, self.value = memory["count"], None if value is None else piece(value)
