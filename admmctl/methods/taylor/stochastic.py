"""Taylor's ADMM on a fresh random subset of the samples in every iteration (Burmeister's report, section 4.2).

The report blames the monotone descent of ADMM for the poor minima of deep networks, and names random subsets and
momentum on the weights as ways out. Every sample keeps its z and its lam from one visit to the next; a follows
from them. An iteration draws samples and sweeps over them as ``admm`` does over all: every a_l, every W_l,
every z_l and lam. The W_l that solve the subset's least squares, S_l, are where the weights are pulled to,

    v_l <- momentum v_l + step (S_l - W_l),    W_l <- W_l + v_l,

so that step / (1 - momentum) says how far they would get if all subsets agreed. subset 1, momentum 0 and step 1 is
``admm`` itself.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.errors import UserError
from admmctl.methods.gradient.minibatch import take
from admmctl.methods.method import Array, Cost, Problem, Snapshot, Unit, Untimed
from admmctl.methods.taylor.algorithm import Admm, add_starting_sums, residuals, update_a, update_z
from admmctl.methods.taylor.family import TaylorMethod
from admmctl.methods.taylor.layers import hidden, layers_cost
from admmctl.methods.taylor.settings import SweepSettings
from admmctl.methods.taylor.state import AdmmState, Samples, draw, iterating, samples
from admmctl.model.network import Network, Weights
from admmctl.rng import uniform_rows
from admmctl.settings import Positive

FEWEST = 32  # rows of a subset on average: with so many, no subset will ever be empty


class StochasticAdmmSettings(SweepSettings):
    """The method block of ``stochastic-admm``: a sweep as that of ``admm``, and how samples are drawn."""

    subset: float = Field(default=0.25, gt=0, le=1, description="chance of a row to be drawn, in every iteration")
    inner: int = Field(default=1, ge=1, description="sweeps over a subset before the next is drawn")
    momentum: float = Field(default=0.8, ge=0, lt=1, description="on the weights; 0: none")
    step: Positive = Field(
        default=0.2, description="how far weights move towards those of the subset, at most 1", le=1
    )
    sweep: Literal["forward"] = "forward"


@dataclass
class StochasticState:
    """``kept`` is of all samples of this rank, ``s`` what iterates: views of ``room`` as long as the subset is."""

    kept: Samples
    room: AdmmState
    s: AdmmState
    v: dict[int, Array]
    iteration: int = 0


class StochasticAdmm(TaylorMethod):
    """Algorithm 1 on subsets. The state of all samples is z and lam; a is that of a subset."""

    Settings = StochasticAdmmSettings
    unit: ClassVar[Unit] = "epoch"

    def __init__(self, settings: StochasticAdmmSettings) -> None:
        super().__init__(settings)
        self._admm = Admm(settings)  # says of a subset what is the same here

    def prepare(self, problem: Problem) -> None:
        self._admm.prepare(problem)

    def init(self, problem: Problem) -> StochasticState:
        """Random z of all samples, and every W_l once from those of a first subset with a_l = h(z_l)."""
        kept = samples(problem, self.settings)
        draw(kept)
        capacity = _most(problem.a0.shape[1], self.settings.subset)
        a0: Array = np.empty((len(problem.a0), capacity), problem.a0.dtype, order="F")
        y: Array = np.empty((len(problem.y), capacity), problem.y.dtype, order="F")
        expected = max(round(self.settings.subset * problem.total), 1)
        room = iterating(samples(replace(problem, a0=a0, y=y, total=expected), self.settings))
        state = StochasticState(kept, room, room, {})
        self._gather(state)
        s = state.s
        add_starting_sums(s, "forward")
        s.update_W()
        s.V = s.gains()
        state.v = {l: np.zeros_like(W) for l, W in s.W.items()}
        return state

    def step(self, state: StochasticState) -> StochasticState:
        """Draw, sweep, and put z and lam back."""
        rows = self._gather(state)
        s = state.s
        for _ in range(self.settings.inner):
            for columns in s.blocks():
                update_a(s, s.V, columns)
            before = dict(s.W)
            s.update_W()
            for l, W in before.items():
                v = state.v[l]
                v *= self.settings.momentum
                v += self.settings.step * (s.W[l] - W)
                s.W[l] = W + v
            V = s.gains()
            for columns in s.blocks():
                update_z(s, columns)
            s.V = V
        with s.problem.clock.phase("gather"):
            for l, z_l in state.kept.z.items():
                z_l.T[rows] = s.z[l].T
            state.kept.lam.T[rows] = s.lam.T
        state.iteration += 1
        return state

    def _gather(self, state: StochasticState) -> NDArray[np.int64]:
        """Which of this rank's rows this iteration draws; theirs is what ``state.s`` is about from here on.

        Whether a row is drawn depends on the seed, the iteration and its global number alone.
        """
        p, room = state.kept.problem, state.room
        with p.clock.phase("gather"):
            chance = uniform_rows(p.seed, f"subset{state.iteration}", p.start, p.a0.shape[1], 1)[:, 0]
            rows = np.flatnonzero(chance < self.settings.subset)[: room.lam.shape[1]]
            drawn = slice(0, len(rows))
            take(p.a0, rows, out=room.problem.a0[:, drawn])
            take(p.y, rows, out=room.problem.y[:, drawn])
            for l, z_l in state.kept.z.items():
                take(z_l, rows, out=room.z[l][:, drawn])
            take(state.kept.lam, rows, out=room.lam[:, drawn])
        state.s = replace(
            room,
            problem=replace(room.problem, a0=room.problem.a0[:, drawn], y=room.problem.y[:, drawn]),
            z={l: z_l[:, drawn] for l, z_l in room.z.items()},
            lam=room.lam[:, drawn],
            W=state.s.W,
            V=state.s.V,
            ridge=state.s.ridge,
            iteration=state.iteration,
        )
        state.s.new_inputs()
        return rows

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError where subsets are too small to solve for anything, and as ``admm`` does."""
        if self.settings.subset * total < FEWEST:
            raise UserError(
                f"subset: {self.settings.subset:g} of {total} training rows is {self.settings.subset * total:.3g} "
                f"rows per iteration; expected {FEWEST} or more: raise subset"
            )
        self._admm.check_size(network, total, ranks, free)

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        subset, inner = self.settings.subset, self.settings.inner
        most = _most(samples, subset)
        once = self._admm.cost(network, most, max(round(subset * total), 1), ranks)
        k_0, k_1 = network.sizes[0] + network.bias, network.sizes[1]
        # Beside the sums of ``admm``: a_0 a_0' of every subset, once.
        layers = layers_cost(self.settings, network, once.rows, ranks, inputs=True)
        flop = None if once.flop is None or layers.once is None else inner * once.flop + layers.once
        kept = samples * (sum(network.sizes[1:]) + network.sizes[-1])
        gathered = most * (network.sizes[0] + 1 + network.sizes[-1])
        numbers = kept + gathered + k_0 * k_1
        messages = (*layers.messages, *once.messages * (inner - 1))
        return Cost(once.state_bytes + 4 * numbers, flop, inner * once.rows, messages, inner * once.solve)

    def notes(self, state: StochasticState) -> list[str]:
        return self._admm.notes(state.s)

    def weights(self, state: StochasticState) -> Weights:
        return self._admm.weights(state.s)

    def rows_seen(self, state: StochasticState) -> int:
        """On average over draws, a row counted in every sweep over it."""
        return round(state.iteration * self.settings.inner * self.settings.subset * state.kept.problem.total)

    def residuals(self, state: StochasticState) -> dict[str, float]:
        """Those of ``admm``, of the subset that was drawn last."""
        s = state.s
        network, dtype = s.problem.network, s.lam.dtype.type
        fresh = {l: hidden(network, l, s.block, s.block, dtype, Untimed(), s.lam) for l in s.a}

        def standing(l: int, columns: slice) -> Array:
            """a_l that z and W ask for: that in memory is of the W before."""
            z_l, t = s.z[l][:, columns], s.target(l + 1, columns)
            return fresh[l].update(slice(0, z_l.shape[1]), z_l, t, s.W[l + 1], s.V[l])

        return residuals(s, standing)

    def snapshot(self, state: StochasticState) -> Snapshot:
        common = {**state.s.snapshot().common, "iteration": state.iteration, "v": [*state.v.values()]}
        return Snapshot(common, state.kept.rows())

    def restore(self, state: StochasticState, snapshot: Snapshot) -> StochasticState:
        """The subset of the last iteration is not drawn again: the next one draws its own."""
        state.kept.recall_rows(snapshot.rows)
        state.s.recall(snapshot.common)
        state.s.V = state.s.gains()
        state.v = dict(enumerate(snapshot.common["v"], start=1))
        state.iteration = snapshot.common["iteration"]
        return state


def _most(samples: int, subset: float) -> int:
    """How many rows a rank of ``samples`` rows has room for: eight standard deviations above the mean of a draw.

    A larger draw is cut; it comes once in 10^15.
    """
    return min(samples, int(samples * subset + 8 * np.sqrt(samples * subset * (1 - subset))) + 8)
