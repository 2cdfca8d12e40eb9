"""Zhang and Kleijn: training a network by optimisation over a graph, in one pass and one reduction.

With samples as columns, X_i = W_i V_{i-1} (a bias is one more input), V_i = h(X_i) and h cut at l and u, the
constraints X_i = W_i V_{i-1} are dualised and V_i = X_i + Y_i + Z_i is split into its pre-activation and what the
cuts take away. Each iteration is (Tables 1 and 2): a forward pass, which sets all variables and all multipliers to
zero; then layer by layer downwards, X_i and the multiplier Lam_i = rho_i (X_i_new - X_i), and (W_i, b_i) by least
squares with target X_i_new + Lam_i/rho_i. The layer below is updated with the old W_i; with the new one, which
Remark 2 calls less stable, where ``weights_above`` says so.

Two things follow that the paper does not use. No per-sample variable survives an iteration. And where only old
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

from functools import partial
from typing import Any, ClassVar

import numpy as np

from admmctl import kernels
from admmctl.devices.arrays import on_host
from admmctl.errors import UserError
from admmctl.methods.average import Average
from admmctl.methods.convolution import check_zeros
from admmctl.methods.gradient.minibatch import MiniBatches
from admmctl.methods.graph import accelerate, layers, table_2
from admmctl.methods.graph.accelerate import accelerator
from admmctl.methods.graph.cost import cost_of, factor_flops
from admmctl.methods.graph.layer_solves import LayerSolves, lasts
from admmctl.methods.graph.matrix_penalties import MatrixSolves
from admmctl.methods.graph.penalties import AutomaticPenalties, Penalties
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.graph.state import GraphAdmmState
from admmctl.methods.graph.updates import forward, gains, hidden, missed, ridges, steps, top
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
from admmctl.methods.on_device import placed
from admmctl.model.gradient import flat_views
from admmctl.model.initial import initial_weights
from admmctl.model.network import Network, Weights, blocks, even


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
            "weights_above": "old",
        }
    }
    activations: ClassVar[tuple[str, ...]] = ("relu", "hard-sigmoid", "dcutlu")
    convolutions = True
    recurrent = True

    @classmethod
    def unit_of(cls, settings: GraphAdmmSettings) -> Unit:
        return "iteration" if settings.batch is None else "epoch"

    def prepare(self, problem: Problem) -> None:
        for cuts in dict.fromkeys(h.cuts for h in problem.network.activations):
            table_2.prepare(problem.a0.dtype.type, cuts, problem.y)

    def init(self, problem: Problem) -> GraphAdmmState:
        """Random weights, and room for the variables of a block of rows."""
        problem = placed(problem, self)
        network, dtype, like = problem.network, problem.a0.dtype.type, problem.y
        sizes, N, bias = network.sizes, network.layers, network.bias
        start = initial_weights(network, problem.seed, dtype)
        drawn = network.kernel is None and network.start is None
        if drawn and network.inputs_alone:  # others have a scale of their own
            start[0] *= dtype(self.settings.first_scale)
        vector: Array = np.asarray(np.concatenate([W.ravel() for W in start]), like=like)
        batches = MiniBatches(problem, self.settings.batch or problem.total, self.settings)
        apart = self.settings.weights_above == "new"
        columns = batches.most if apart else even(batches.most, network.block(problem.a0.itemsize))
        penalties = AutomaticPenalties if self.settings.penalties == "automatic" else Penalties
        matrices = dict(enumerate(flat_views(network, vector), start=1))
        return GraphAdmmState(
            problem,
            self.settings,
            batches,
            accelerator(self.settings),
            Average(self.settings.average) if self.settings.average else None,
            vector,
            vector.copy(),
            matrices,
            network.of_layers([*matrices.values()]),
            penalties(*self.settings.rho_and_beta(len(matrices), problem.loss.curvature)),
            self._solves(problem, batches),
            X={i: np.empty((sizes[i], columns), dtype, order="F", like=like) for i in range(1, N + 1)},
            V={
                i: np.ones((sizes[i] + network.beside(i) + bias, columns), dtype, order="F", like=like)
                for i in range(1, N)
            },
            R={i: np.empty((sizes[i], columns), dtype, order="F", like=like) for i in range(1, N + 1)},
        )

    def _solves(self, problem: Problem, batches: MiniBatches) -> LayerSolves | MatrixSolves:
        """The sums of all layers; on mini-batches with V_0 V_0', where it is to last."""
        if self.settings.penalties == "matrix":
            return MatrixSolves(self.settings, problem, batches.batch)
        network, dtype, comm = problem.network, problem.a0.dtype.type, problem.comm
        # On mini-batches, where solves are a good part of the work, float32 takes half the time.
        precision = np.float64 if batches.count == 1 else dtype
        every, damping = self.settings.gram_every, self.settings.damping
        apart = self.settings.weights_above == "new"
        factors = factor_flops(self.settings, network, batches.batch, problem.total)
        pairs = layers.pairs(network, dtype, problem.y)
        solves = LayerSolves(pairs, factors, batches.batch, every, damping, precision, comm, apart=apart)
        if batches.count > 1 and network.inputs_alone and lasts(every, batches.batch, network.shapes[0][1]):
            with problem.clock.phase("gram"):
                inputs = (network.inputs(problem.a0[:, block]) for block in network.blocks(problem.a0))
                solves.sum_inputs(inputs, batches.batch / problem.total)
                solves.add_noise(network.operator(1).looks, self.settings.input_noise)
        return solves

    def step(self, s: GraphAdmmState) -> GraphAdmmState:
        """One iteration of Table 1, on a mini-batch or on all rows. Raises Diverged."""
        p = s.problem
        with p.clock.phase("shuffle"):
            v0, y = s.batches.take(s.iteration)
            rows = s.batches.rows(s.iteration)
        s.solves.begin(s.iteration, rows)
        apart = self.settings.weights_above == "new"
        loss = self._layer_by_layer(s, v0, y) if apart else self._at_once(s, v0, y)
        first_of_all_rows = s.iteration == 0 and s.batches.count == 1
        if first_of_all_rows and p.network.inputs_alone and isinstance(s.solves, LayerSolves):
            s.solves.keep_inputs()
        with p.clock.phase("solve"):
            self._accelerate(s, loss / rows)
        if apart and not self.settings.accelerates:
            s.parameters[...] = s.image  # every rank has all of it
        else:
            with p.clock.phase("reduce"):
                s.solves.gather(s.parameters)
        if not np.isfinite(s.parameters[:: max(1, len(s.parameters) // 64)]).all():
            raise Diverged(f"the weights are not finite after {s.iteration + 1} iterations")
        s.iteration += 1
        s.rows_seen += rows
        return s

    def _at_once(self, s: GraphAdmmState, v0: Array, y: Array) -> float:
        """Down all layers with their old weights: the steps of all of them, this rank's own rows; and the loss."""
        p, loss = s.problem, np.zeros(1, s.parameters.dtype)
        with p.clock.phase("solve"):
            s.Q = gains(s, s.W, list(s.beta))
            if isinstance(s.solves, MatrixSolves):
                s.solves.steps = steps(s, s.W, 4.0)
        for columns in blocks(v0.shape[1], s.X[1].shape[1]):
            loss += self._pass(s, v0[:, columns], y[:, columns], columns)
        with p.clock.phase("reduce"):
            s.solves.reduce()
        with p.clock.phase("solve"):
            if isinstance(s.solves, MatrixSolves):
                s.solves.move(s.matrices, s.image)
            else:
                new, r = partial(self._new, s, s.solves), ridges(s, s.W)
                s.solves.sums[1].solve(lambda i, rows: new(i, rows, r[i]), s.image)
                self._learn(s, s.solves)
        return float(loss[0])

    def _pass(self, s: GraphAdmmState, v0: Array, y: Array, columns: slice) -> float:
        """Forward and backward over one block of columns; adds to every layer's sums, returns the loss."""
        place = slice(0, y.shape[1])
        V, S = forward(s, v0, columns, place)
        loss = top(s, y, place)
        X, R = ({i: array[:, place] for i, array in arrays.items()} for arrays in (s.X, s.R))
        for i in reversed(s.W):
            # R_i V_{i-1}' and V_{i-1} V_{i-1}', for (W_i, b_i)_new
            with s.problem.clock.phase("gram"):
                network = s.problem.network
                s.solves.add(network.matrix(i), R[i], network.operator(i).below(V[i - 1]))
            # X_{i-1}_new = argmin L_{i-1} with the old W_i,  R_{i-1} = 2 (X_{i-1}_new - X_{i-1})
            if i > 1:
                hidden(s, i - 1, s.W[i], X[i - 1], R[i], R[i - 1], S[i - 1])
        return loss

    def _layer_by_layer(self, s: GraphAdmmState, v0: Array, y: Array) -> float:
        """Down all layers, each by the new weights of the one above (Remark 2): all new weights; and the loss.

        They are there when all rows have been summed: a pass over the variables of all rows, and a reduction, for
        each layer.
        """
        p, loss, solves = s.problem, np.zeros(1, s.parameters.dtype), s.solves
        assert isinstance(solves, LayerSolves)  # matrices are refused
        parts = list(blocks(v0.shape[1], p.network.block(v0.itemsize)))
        for columns in parts:
            forward(s, v0[:, columns], columns, columns)
            loss += top(s, y[:, columns], columns)
        W, new, s.Q = dict(s.W), solves.division.views(s.image), {}
        for i in reversed(s.W):
            if i in s.beta:
                with p.clock.phase("solve"):
                    s.Q |= gains(s, W, [i])
            for columns in parts:
                if i in s.beta:
                    R_above = missed(s, i, W[i + 1], columns)
                    S = None if s.batches.mask is None else s.batches.mask(i, columns)
                    hidden(s, i, W[i + 1], s.X[i][:, columns], R_above, s.R[i][:, columns], S)
                V = s.V[i - 1][:, columns] if i > 1 else p.network.inputs(v0[:, columns])
                with p.clock.phase("gram"):
                    solves.add(i, s.R[i][:, columns], p.network.operator(i).below(V))
            sums = solves.sums[i]
            with p.clock.phase("reduce"):
                sums.reduce()
            with p.clock.phase("solve"):
                r = ridges(s, W)[i]
                sums.solve(partial(self._new, s, solves, ridge=r), new[i - 1].reshape(-1))
            with p.clock.phase("reduce"):
                sums.gather(new[i - 1].reshape(-1))
            W[i] = new[i - 1]
        return float(loss[0])

    def _new(self, s: GraphAdmmState, solves: LayerSolves, i: int, rows: slice, ridge: float) -> Array:
        """Those rows of (W_i, b_i)_new, by least squares from the sums of all ranks."""
        W = s.matrices[i]
        moved: Array = W[rows] + solves.step(i, rows, W, ridge, same_ridge=self.settings.same_ridges)
        return moved

    def _learn(self, s: GraphAdmmState, solves: LayerSolves) -> None:
        """The penalties of the next iteration, from this rank's rows of what made the steps of this one."""
        if self.settings.penalties == "automatic":
            division = solves.division
            new, own = division.views(s.image), list(enumerate(division.rows, start=1))
            downhill = [solves.cross(i)[rows] for i, rows in own]
            s.penalties.learn(
                downhill, [new[i - 1][rows] - s.matrices[i][rows] for i, rows in own], s.problem.comm
            )

    def _accelerate(self, s: GraphAdmmState, loss: float) -> None:
        """Where the next iteration starts: this rank's piece. ``loss`` is its share of the mean of the pass."""
        own = s.solves.division.own
        s.parameters[own] = s.accelerator.next(s.parameters[own], s.image[own], loss, s.problem.comm)
        if s.average is not None:
            s.average.add(s.image[own])

    def notes(self, s: GraphAdmmState) -> list[str]:
        return [kernels.trouble()] if kernels.trouble() else []

    def weights(self, s: GraphAdmmState) -> Weights:
        """Of the last iteration, or their average. Collective."""
        division = s.solves.division
        averaged = None if s.average is None else s.average.value
        return division.views(on_host(division.whole(s.image[division.own] if averaged is None else averaged)))

    def rows_seen(self, s: GraphAdmmState) -> int:
        return s.rows_seen

    def snapshot(self, s: GraphAdmmState) -> Snapshot:
        """Nothing of samples: weights, what accelerates them, and the sums that last. Collective."""
        division = s.solves.division
        common = on_host(
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
        return Snapshot(common)

    def restore(self, s: GraphAdmmState, snapshot: Snapshot) -> GraphAdmmState:
        common, piece = snapshot.common, partial(s.solves.division.piece, like=s.image)
        s.parameters[...], s.image[...] = common["parameters"], common["image"]
        s.solves.recall(common["solves"])
        s.accelerator.recall(common["accelerator"], piece)
        s.penalties.recall(common.get("penalties", {}), piece)  # older checkpoints have none
        if s.average is not None:
            s.average.recall(common["average"], piece)
        s.iteration, s.rows_seen = common["iteration"], common["rows_seen"]
        return s

    @staticmethod
    def check(settings: GraphAdmmSettings, layers: int) -> list[tuple[str, str]]:
        lists = check_per_layer(("rho", settings.rho, layers), ("beta", settings.beta, layers - 1))
        return [
            *accelerate.check(settings),
            *lists,
            *settings.wrong_backward(),
            *settings.wrong_penalties(),
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
        matrices = self.settings.penalties == "matrix"
        check_sides([max(shape) if matrices else shape[1] for shape in network.shapes], "W-update")
        check_zeros(network)

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        return cost_of(self.settings, network, samples, total, ranks)
