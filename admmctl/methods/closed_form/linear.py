"""The linear baseline: the network without hidden layers, printed beside everything.

Least squares in closed form for both squared losses, by a matrix with a side of the inputs, or of the rows where
these are fewer; logistic regression (or a linear hinge) by L-BFGS. Where a network does no better than this, it
has learned nothing that it was built for.
"""

from collections.abc import Callable, Iterator

import numpy as np
from pydantic import Field

from admmctl.methods.gradient.scipy_methods import BatchState, Lbfgs
from admmctl.methods.gradient.settings import LbfgsRule
from admmctl.methods.least_squares import RidgeFactor, check_sides, ridge_fit, solve_bytes
from admmctl.methods.method import Array, Cost, Finished, Problem, sums_over_ranks
from admmctl.model.gradient import scratch_bytes
from admmctl.model.losses import Loss, Squared
from admmctl.model.network import Network, blocks
from admmctl.settings import NonNegative


class LinearSettings(LbfgsRule):
    """The method block of ``linear``."""

    ridge: NonNegative = Field(default=1e-6, description="of least squares, relative to the mean diagonal of a a'")


class Linear(Lbfgs):
    """One layer: W_1 on the inputs. Hidden layers of the experiment are left out."""

    Settings = LinearSettings
    convolutions = False

    def __init__(self, settings: LinearSettings) -> None:
        super().__init__(settings)
        self._squared = True

    @staticmethod
    def hidden_layers(settings: LinearSettings, layers: list[int], outputs: int) -> list[int]:
        """None, whatever the experiment says."""
        return []

    def step(self, s: BatchState) -> BatchState:
        """The solution of least squares, or a step of L-BFGS. Raises Finished when there is none left."""
        p = s.problem
        if not _closed(p.loss):
            return super().step(s)
        if s.gradients:
            raise Finished("least squares is solved in one step")
        if p.total < p.network.shapes[0][1]:
            W = _by_samples(p, p.loss.labels(p.y), self.settings.ridge)
        else:
            W = by_inputs(p, p.network.inputs, self.settings.ridge)
        s.x = W.ravel().astype("float64")
        s.gradients = 1
        return s

    def resume_note(self, s: BatchState) -> str:
        return "" if _closed(s.problem.loss) else super().resume_note(s)

    def residuals(self, s: BatchState) -> dict[str, float]:
        return {}

    def of_loss(self, loss: Loss) -> None:
        self._squared = _closed(loss)

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError where the matrix of least squares has too many entries."""
        if self._squared:
            check_sides([min(total, network.shapes[0][1])], "linear")

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        """Of L-BFGS, or of least squares by a matrix with a side of the inputs, or of the rows if fewer."""
        iterated = super().cost(network, samples, total, ranks)
        if not self._squared:
            return iterated
        outputs, k = network.shapes[0]
        weights, block = outputs * k, network.block()
        if total < k:
            solve = 12 * total**2 + 4 * min(block, total) * (2 * k + total) + 8 * weights + 40 * outputs * total
            rounds = [4 * k * min(block, total - low) for low in range(0, total, block)]
            messages = (*rounds, 4 * total**2, 8 * outputs * total, 8 * weights)
            flop = total * (total + 1.0) * k + total**3 / 3 + 2.0 * outputs * total * (total + k)
        else:
            solve, messages = solve_bytes([(outputs, k)], kept=1), (4 * (k * (k + 1) // 2 + weights),)
            flop = total * (k * (k + 1.0) + 2.0 * weights) + k**3 / 3 + 2.0 * k * weights
        # x, a number of it and the weights; and what an evaluation holds.
        return Cost(solve + 40 * weights + scratch_bytes(network), flop, total, sums_over_ranks(*messages))


def _closed(loss: Loss) -> bool:
    return isinstance(loss, Squared)


def by_inputs(p: Problem, inputs: Callable[[Array], Array], ridge: float) -> Array:
    """W = y a' (a a' + r I)^-1 of the output layer, (outputs, k), by a matrix with a side of its k inputs.

    ``inputs`` makes a of a block of a_0.
    """
    return ridge_fit(p, p.network.layers, labelled(p, inputs), ridge)


def labelled(p: Problem, inputs: Callable[[Array], Array]) -> Iterator[tuple[Array, Array]]:
    """(y, a) of this rank's rows, a block after another; ``inputs`` makes a of a block of a_0."""
    y = p.loss.labels(p.y)
    return ((y[:, columns], inputs(p.a0[:, columns])) for columns in p.network.blocks(p.a0))


def _by_samples(p: Problem, y: Array, ridge: float) -> Array:
    """W = y (a' a + r I)^-1 a', which is the same, by a matrix with a side of the rows of all ranks.

    Every rank multiplies its rows by those of all, which it is sent a block at a time.
    """
    n, k, dtype = p.total, p.network.shapes[0][1], p.a0.dtype.type
    products: Array = np.zeros((n, n), dtype)  # of which the lower triangle counts
    targets = np.zeros((len(y), n))
    targets[:, p.start : p.start + y.shape[1]] = y
    for high in blocks(n, p.network.block(p.a0.itemsize)):
        rows: Array = np.zeros((high.stop - high.start, k), dtype)
        with p.clock.phase("gram"):
            first, last = (min(max(at - p.start, 0), p.a0.shape[1]) for at in (high.start, high.stop))
            if first < last:
                at = p.start + first - high.start
                rows[at : at + last - first] = p.network.inputs(p.a0[:, first:last]).T
        with p.clock.phase("reduce"):
            p.comm.allreduce(rows)
        with p.clock.phase("gram"):
            for mine in p.network.blocks(p.a0):
                low = slice(p.start + mine.start, p.start + mine.stop)
                if low.start < high.stop:
                    products[high, low] = rows @ p.network.inputs(p.a0[:, mine])
    with p.clock.phase("reduce"):
        p.comm.allreduce(products)
        p.comm.allreduce(targets)
    with p.clock.phase("solve"):
        # Relative to the mean diagonal of a a', whose trace is the same.
        added = ridge * float(np.trace(products, dtype=np.float64)) / k
        shares = RidgeFactor(products, added, absolute=True).solve(targets).astype(dtype)
        W = np.zeros((len(y), k))
        for mine in p.network.blocks(p.a0):
            W += shares[:, p.start + mine.start : p.start + mine.stop] @ p.network.inputs(p.a0[:, mine]).T
    with p.clock.phase("reduce"):
        p.comm.allreduce(W)
    return W
