"""``convex-cg``: conjugate gradients as they are."""

from typing import Any, ClassVar

from admmctl.methods.convex.backend import Tensor
from admmctl.methods.convex.solvers import Size, conjugate_gradients
from admmctl.methods.convex.system import System

STEPS = 10  # of an iteration, unless settings say otherwise


class ConjugateGradients:
    """Nothing is computed beforehand. A solver with a preconditioner is this with another ``precondition``."""

    ranks: ClassVar[int | None] = None

    def __init__(self, system: System, settings: Any, seed: int) -> None:
        self.system, self.settings, self.seed = system, settings, seed
        self.prepare()

    def prepare(self) -> None:
        """What ``precondition`` needs, for the rho of the system."""

    def precondition(self, r: Tensor) -> Tensor:
        """M^-1 r for r of the shape of u."""
        return r

    def solve(self, b: Tensor, u: Tensor) -> tuple[Tensor, int]:
        s = self.settings
        return conjugate_gradients(
            self.system, b, u, self.precondition, s.inner_tolerance, s.inner_iterations or STEPS
        )

    def new_rho(self) -> None:
        self.prepare()

    @staticmethod
    def bytes(size: Size, settings: Any) -> int:
        return 4 * size.bytes_of_u  # r, z, p, A p
