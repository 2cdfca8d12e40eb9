"""The linear baseline: the network without hidden layers, printed beside everything.

Least squares in closed form for the squared loss; logistic regression (or a linear hinge) by L-BFGS. Where a
network does no better than this, it has learned nothing that it was built for.
"""

from typing import Any, ClassVar

from pydantic import Field

from admmctl.methods.batch import BatchState, Lbfgs, LbfgsSettings
from admmctl.methods.least_squares import GramPair, RidgeFactor
from admmctl.methods.method import Cost, Finished, Problem, Snapshot
from admmctl.model.losses import SignedSquared, Squared
from admmctl.model.network import Network, Weights
from admmctl.settings import NonNegative


class LinearSettings(LbfgsSettings):
    """The method block of ``linear``."""

    ridge: NonNegative = Field(default=1e-6, description="of least squares, relative to the mean diagonal of a a'")


class Linear:
    """One layer: W_1 on the inputs. Hidden layers of the experiment are left out."""

    Settings = LinearSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    losses = Lbfgs.losses
    activations = Lbfgs.activations
    unit = Lbfgs.unit

    def __init__(self, settings: LinearSettings) -> None:
        self.settings = settings
        self._lbfgs = Lbfgs(settings)

    @staticmethod
    def check(settings: LinearSettings, layers: int) -> list[tuple[str, str]]:
        return []

    @staticmethod
    def hidden_layers(settings: LinearSettings, layers: list[int], outputs: int) -> list[int]:
        """None, whatever the experiment says."""
        return []

    def init(self, problem: Problem) -> BatchState:
        return self._lbfgs.init(problem)

    def step(self, s: BatchState) -> BatchState:
        if not isinstance(s.problem.loss, Squared | SignedSquared):
            return self._lbfgs.step(s)
        if s.gradients:
            raise Finished("least squares is solved in one step")
        p = s.problem
        y = p.y if isinstance(p.loss, Squared) else 2 * p.y - 1
        pair = GramPair(len(p.y), p.network.sizes[0] + p.network.bias, p.a0.dtype.type)
        with p.clock.phase("gram"):
            block = p.network.block(p.a0.itemsize)
            for low in range(0, p.a0.shape[1], block):
                pair.add(y[:, low : low + block], p.network.inputs(p.a0[:, low : low + block]))
        with p.clock.phase("reduce"):
            pair.reduce(p.comm)
        with p.clock.phase("solve"):
            s.x = RidgeFactor(pair.triangle, self.settings.ridge).solve(pair.cross).ravel().astype("float64")
        s.gradients = 1
        return s

    def snapshot(self, s: BatchState) -> Snapshot:
        return self._lbfgs.snapshot(s)

    def restore(self, s: BatchState, snapshot: Snapshot) -> BatchState:
        return self._lbfgs.restore(s, snapshot)

    def resume_note(self, s: BatchState) -> str:
        return "" if isinstance(s.problem.loss, Squared | SignedSquared) else self._lbfgs.resume_note(s)

    def close(self, s: BatchState) -> None:
        self._lbfgs.close(s)

    def cost(self, network: Network, samples: int, total: int) -> Cost:
        return self._lbfgs.cost(network, samples, total)

    def weights(self, s: BatchState) -> Weights:
        return self._lbfgs.weights(s)

    def rows_seen(self, s: BatchState) -> int:
        return self._lbfgs.rows_seen(s)

    def residuals(self, s: BatchState) -> dict[str, float]:
        return {}
