"""Zhang and Kleijn: training a network by optimisation over a graph, in one pass and one reduction.

With samples as columns, X_i = W_i V_{i-1} (a bias is one more input), V_i = h(X_i) and h cut at l and u, the
constraints X_i = W_i V_{i-1} are dualised and V_i = X_i + Y_i + Z_i is split into its pre-activation and what the
cuts take away. Each iteration is (Tables 1 and 2): a forward pass, which sets all variables and all multipliers to
zero; then layer by layer downwards, X_i and the multiplier Lam_i = rho_i (X_i_new - X_i), and (W_i, b_i) by least
squares with target X_i_new + Lam_i/rho_i. The layer below is updated with the old W_i.

Two things follow that the paper does not use. No per-sample variable survives an iteration. And as only old
weights are used, the sums of every layer's least squares come out of ONE pass over the rows, block by block, and
ONE Allreduce: run on all rows, an iteration is a map W -> S(W) of the weights alone.

The layers of a recurrent network are its steps, from which one matrix is updated: R_i V' and V V' are sums over
samples and steps, which need no more than these.

Written in R_i = 2 (X_i_new - X_i), the target is X_i + R_i, and the least squares

    min_W rho_i/2 ||X_i + R_i - W V_{i-1}||^2 + l2/2 ||W||^2

are W_i + (R_i V' - r W_i)(V V' + r I)^-1 with V = V_{i-1} and r = l2 / rho_i: a step, not a new fit. A step is
at rest where R_i V' = r W_i, whatever it is multiplied by: so V V' need not be that of the very rows at hand. On
mini-batches V_0 V_0' comes from all rows, once, and the others from every few mini-batches (``gram_every``).
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from admmctl import kernels
from admmctl.errors import UserError
from admmctl.methods.average import Average
from admmctl.methods.gradient.minibatch import MiniBatches
from admmctl.methods.graph import accelerate, backprop, table_2
from admmctl.methods.graph.accelerate import Accelerator, accelerator
from admmctl.methods.graph.cost import cost_of, factor_flops
from admmctl.methods.graph.layer_solves import LayerSolves, lasts
from admmctl.methods.graph.penalties import AutomaticPenalties, Penalties, ridges_of
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.least_squares import check_sides
from admmctl.methods.method import (
    Array,
    Cost,
    Diverged,
    Method,
    Problem,
    Snapshot,
    Unit,
    check_per_layer,
)
from admmctl.model.gradient import flat_views
from admmctl.model.initial import initial_weights
from admmctl.model.network import Network, Weights, blocks, even


@dataclass
class GraphAdmmState:
    """Layers are numbered as in the paper, 1..N; of samples nothing is kept but one block's variables.

    What comes out of an iteration and what accelerates it are of this rank's own rows of the weights alone.
    """

    problem: Problem
    batches: MiniBatches
    accelerator: Accelerator
    average: Average | None
    parameters: Array  # the weights to start from as one vector, and W[i] as views of it
    image: Array  # what came out of the last iteration: this rank's piece of it
    matrices: dict[int, Array]  # W_1, W_2, ..
    W: dict[int, Array]  # of layers 1..N: these, or where layers share a matrix one of them several times
    penalties: Penalties
    solves: LayerSolves
    X: dict[int, Array]
    V: dict[int, Array]  # what layer i + 1 multiplies, of hidden layers i: V_i with its row of ones
    R: dict[int, Array]
    Q: dict[int, Array] = field(default_factory=dict)
    iteration: int = 0
    rows_seen: int = 0

    @property
    def rho(self) -> dict[int, float]:
        """Of layers 1..N."""
        matrix = self.problem.network.matrix
        return {i: self.penalties.rho[matrix(i)] for i in self.W}

    @property
    def beta(self) -> dict[int, float]:
        """Of hidden layers 1..N-1."""
        matrix = self.problem.network.matrix
        return {i: self.penalties.beta[matrix(i)] for i in self.V}


class GraphAdmm(Method):
    """Tables 1 and 2. The state is the weights."""

    Settings = GraphAdmmSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # rho and beta of mini-batches are the paper's by default.
        "paper": {
            "batch": 3000,
            "penalties": "fixed",
            "quadratic": 0.05,
            "l2": 0.1,
            "decay": "penalty",
            "damping": 0.0,
            "gram_every": 1,
            "average": 0.0,
            "inner": 1,
        }
    }
    activations: ClassVar[tuple[str, ...]] = ("relu", "hard-sigmoid", "dcutlu")
    recurrent = True

    @classmethod
    def unit_of(cls, settings: GraphAdmmSettings) -> Unit:
        return "iteration" if settings.batch is None else "epoch"

    def prepare(self, problem: Problem) -> None:
        table_2.prepare(problem.a0.dtype.type)

    def init(self, problem: Problem) -> GraphAdmmState:
        """Random weights, and on mini-batches V_0 V_0' where it is to last."""
        network, dtype = problem.network, problem.a0.dtype.type
        sizes, N, bias = network.sizes, network.layers, network.bias
        start = initial_weights(network, problem.seed, dtype)
        if network.kernel is None and network.inputs_alone:  # others have a scale of their own
            start[0] *= dtype(self.settings.first_scale)
        vector = np.concatenate([W.ravel() for W in start])
        batches = MiniBatches(problem, self.settings.batch or problem.total, self.settings)
        columns = even(batches.most, network.block(problem.a0.itemsize))
        # On mini-batches, where solves are a good part of the work, float32 takes half the time.
        precision = np.float64 if batches.count == 1 else dtype
        every, damping = self.settings.gram_every, self.settings.damping
        factors, comm = factor_flops(self.settings, network, batches.batch, problem.total), problem.comm
        solves = LayerSolves(network.shapes, factors, batches.batch, every, damping, dtype, precision, comm)
        if batches.count > 1 and network.inputs_alone and lasts(every, batches.batch, sizes[0] + bias):
            with problem.clock.phase("gram"):
                inputs = (network.inputs(problem.a0[:, block]) for block in network.blocks(problem.a0))
                solves.sum_inputs(inputs, batches.batch / problem.total)
                solves.add_noise(sizes[0], self.settings.input_noise)
        penalties = AutomaticPenalties if self.settings.penalties == "automatic" else Penalties
        matrices = dict(enumerate(flat_views(network, vector), start=1))
        return GraphAdmmState(
            problem,
            batches,
            accelerator(self.settings),
            Average(self.settings.average) if self.settings.average else None,
            vector,
            vector.copy(),
            matrices,
            network.of_layers([*matrices.values()]),
            penalties(*self.settings.rho_and_beta(len(matrices), problem.loss.curvature)),
            solves,
            X={i: np.empty((sizes[i], columns), dtype, order="F") for i in range(1, N + 1)},
            V={i: np.ones((sizes[i] + network.beside(i) + bias, columns), dtype, order="F") for i in range(1, N)},
            R={i: np.empty((sizes[i], columns), dtype, order="F") for i in range(1, N + 1)},
        )

    def step(self, s: GraphAdmmState) -> GraphAdmmState:
        """One iteration of Table 1, on a mini-batch or on all rows. Raises Diverged."""
        p = s.problem
        with p.clock.phase("shuffle"):
            v0, y = s.batches.take(s.iteration)
            rows = s.batches.rows(s.iteration)
        with p.clock.phase("solve"):
            s.Q = self._gains(s)
        loss = np.zeros(1, s.parameters.dtype)
        s.solves.begin(s.iteration, rows)
        for columns in blocks(v0.shape[1], s.X[1].shape[1]):
            loss += self._pass(s, v0[:, columns], y[:, columns], columns)
        with p.clock.phase("reduce"):
            s.solves.sums.reduce()
        with p.clock.phase("solve"):
            self._update_W(s)
            self._accelerate(s, float(loss[0]) / rows)
        with p.clock.phase("reduce"):
            s.solves.sums.gather(s.parameters)
        if not np.isfinite(s.parameters[:: max(1, len(s.parameters) // 64)]).all():
            raise Diverged(f"the weights are not finite after {s.iteration + 1} iterations")
        s.iteration += 1
        s.rows_seen += rows
        return s

    def _pass(self, s: GraphAdmmState, v0: Array, y: Array, columns: slice) -> float:
        """Forward and backward over one block of columns; adds to every layer's sums, returns the loss."""
        p, N, n = s.problem, s.problem.network.layers, y.shape[1]
        network, clock, mask = p.network, p.clock, s.batches.mask
        S: dict[int, Array | None] = {}  # what dropout multiplies hidden units by
        V = {0: network.inputs(network.bottom(v0)), **{i: V_i[:, :n] for i, V_i in s.V.items()}}
        X, R = ({i: array[:, :n] for i, array in arrays.items()} for arrays in (s.X, s.R))
        for i in range(1, N + 1):
            # (4)  X_i = W_i V_{i-1}, b_i in W_i
            with clock.phase("product"):
                np.matmul(s.W[i], V[i - 1], out=X[i])
            # (5), (6)  V_i = X_i + Y_i + Z_i = h(X_i), or S_i times that
            if i < N:
                with clock.phase("elementwise"):
                    units = p.network.h(i).value(X[i], out=V[i][: len(X[i])])
                    S[i] = S_i = None if mask is None else mask(i, columns)
                    if S_i is not None:
                        units *= S_i
                    network.enter(i, v0, V[i])
        # X_N_new = argmin L_N,  R_N = 2 (X_N_new - X_N)
        with clock.phase("elementwise"):
            R[N][...] = 2 * (self._output(s, X[N], y) - X[N])
            loss = p.loss.value(X[N], y)
        for i in range(N, 0, -1):
            # R_i V_{i-1}' and V_{i-1} V_{i-1}', for (W_i, b_i)_new
            with clock.phase("gram"):
                s.solves.add(network.matrix(i), R[i], V[i - 1])
            # X_{i-1}_new = argmin L_{i-1} with the old W_i,  R_{i-1} = 2 (X_{i-1}_new - X_{i-1})
            if i > 1:
                self._hidden(s, i - 1, X[i - 1], R[i], R[i - 1], S[i - 1])
        return loss

    def _output(self, s: GraphAdmmState, X: Array, y: Array) -> Array:
        """X_N_new = argmin f(X; O) + rho_N/2 ||X - X_N||^2, exactly, or by a quadratic model of f around X_N."""
        loss, rho = s.problem.loss, s.rho[s.problem.network.layers]
        if loss.closed_form:
            return loss.z_update(y, X, np.zeros_like(X), rho / 2)
        return X - loss.gradient(X, y) / X.dtype.type(self.settings.quadratic + rho)

    def _gains(self, s: GraphAdmmState) -> dict[int, Array]:
        """What R_{i+1} is multiplied by on its way to every hidden layer i. Raises Diverged."""
        given = s.problem, s.W, s.rho, s.beta, s.solves.precision, s.batches.kept, self.settings.growth
        if self.settings.backward == "admm":
            return table_2.gains(*given)
        return backprop.gains(*given, unscaled=self.settings.backward == "backprop-unscaled")

    def _hidden(
        self, s: GraphAdmmState, i: int, X: Array, R_above: Array, R: Array, S: Array | None = None
    ) -> None:
        """R_i of hidden layer i from R_{i+1}, by Table 2 or by backpropagation."""
        clock, cuts, inner = s.problem.clock, s.problem.network.h(i).cuts, self.settings.inner
        with clock.phase("product"):
            np.matmul(s.Q[i], R_above, out=R)  # D
        with clock.phase("elementwise"):
            if S is not None:
                R *= S
            if self.settings.backward != "admm":
                backprop.once(X, R, s.rho[i], s.beta[i], cuts)
            elif inner == 1:
                table_2.once(X, R, s.rho[i], s.beta[i], cuts)
            else:
                W = s.W[i + 1][:, : len(X)]
                R[...] = table_2.several(X, W, s.Q[i], R_above, s.rho[i], s.beta[i], cuts, inner)

    def _update_W(self, s: GraphAdmmState) -> None:
        """(W_i, b_i) of every layer by least squares, from the sums of all ranks: this rank's own rows."""
        ridges = ridges_of(self.settings, s.problem, s.W, s.rho, s.beta, s.Q)
        same = self.settings.same_ridges

        def rows_of(i: int, rows: slice) -> Array:
            W = s.matrices[i]
            step: Array = W[rows] + s.solves.step(i, rows, W, ridges[i], same_ridge=same)
            return step

        s.solves.sums.solve(rows_of, s.image)
        self._learn(s)
        if s.iteration == 0 and s.batches.count == 1 and s.problem.network.inputs_alone:
            s.solves.keep_inputs()

    def _learn(self, s: GraphAdmmState) -> None:
        """The penalties of the next iteration, from this rank's rows of what made the steps of this one."""
        if self.settings.penalties == "automatic":
            division = s.solves.sums.division
            new, own = division.views(s.image), list(enumerate(division.rows, start=1))
            downhill = [s.solves.cross(i)[rows] for i, rows in own]
            s.penalties.learn(
                downhill, [new[i - 1][rows] - s.matrices[i][rows] for i, rows in own], s.problem.comm
            )

    def _accelerate(self, s: GraphAdmmState, loss: float) -> None:
        """Where the next iteration starts: this rank's piece. ``loss`` is its share of the mean of the pass."""
        own = s.solves.sums.division.own
        s.parameters[own] = s.accelerator.next(s.parameters[own], s.image[own], loss, s.problem.comm)
        if s.average is not None:
            s.average.add(s.image[own])

    def notes(self, s: GraphAdmmState) -> list[str]:
        return [kernels.trouble()] if kernels.trouble() else []

    def weights(self, s: GraphAdmmState) -> Weights:
        """Of the last iteration, or their average. Collective."""
        division = s.solves.sums.division
        averaged = None if s.average is None else s.average.value
        return division.views(division.whole(s.image[division.own] if averaged is None else averaged))

    def rows_seen(self, s: GraphAdmmState) -> int:
        return s.rows_seen

    def snapshot(self, s: GraphAdmmState) -> Snapshot:
        """Nothing of samples: weights, what accelerates them, and the sums that last. Collective."""
        division = s.solves.sums.division
        return Snapshot(
            {
                "parameters": s.parameters,
                "image": division.whole(s.image[division.own]),
                "solves": s.solves.memory(),
                "accelerator": s.accelerator.memory(division.whole),
                "penalties": s.penalties.memory(division.whole),
                "average": None if s.average is None else s.average.memory(division.whole),
                "iteration": s.iteration,
                "rows_seen": s.rows_seen,
            }
        )

    def restore(self, s: GraphAdmmState, snapshot: Snapshot) -> GraphAdmmState:
        common, own = snapshot.common, s.solves.sums.division.own
        s.parameters[...], s.image[...] = common["parameters"], common["image"]
        s.solves.recall(common["solves"])
        s.accelerator.recall(common["accelerator"], own)
        s.penalties.recall(common.get("penalties", {}), own)  # older checkpoints have none
        if s.average is not None:
            s.average.recall(common["average"], own)
        s.iteration, s.rows_seen = common["iteration"], common["rows_seen"]
        return s

    @staticmethod
    def check(settings: GraphAdmmSettings, layers: int) -> list[tuple[str, str]]:
        lists = check_per_layer(("rho", settings.rho, layers), ("beta", settings.beta, layers - 1))
        return [
            *accelerate.check(settings),
            *lists,
            *settings.wrong_backward(),
            *settings.wrong_regularisers(layers),
        ]

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError for a mini-batch that does not fit the rows, and a W-update of too many entries."""
        batch = self.settings.batch
        if batch is not None and batch > total:
            raise UserError(
                f"graph-admm: batch: {batch:,} rows of {total:,}; take a smaller one, or leave it out for all rows"
            )
        if batch == total and self.settings.input_noise:
            raise UserError(f"graph-admm: input_noise is of mini-batches; set batch below {total:,} rows")
        check_sides([k for _, k in network.shapes], "W-update")

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        return cost_of(self.settings, network, samples, total, ranks)
