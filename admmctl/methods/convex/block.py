"""``block-pcg``: conjugate gradients with blockdiag(I + X'X), which is all of A but F'F / rho."""

from typing import Any

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.conjugate import ConjugateGradients
from admmctl.methods.convex.solvers import Size, inverse_gram


class Block(ConjugateGradients):
    """The inverse of a matrix of size d, whatever the patterns and rho: where ``exact`` has no room."""

    def prepare(self) -> None:
        self._inverse = inverse_gram(self.system)

    def precondition(self, r: Tensor) -> Tensor:
        return self._inverse @ r

    def new_rho(self) -> None:
        """B does not depend on it."""

    @staticmethod
    def bytes(size: Size, settings: Any) -> int:
        return ConjugateGradients.bytes(size, settings) + 3 * size.itemsize * size.d**2
