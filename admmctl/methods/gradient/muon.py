"""Muon: the momentum of a matrix of weights is replaced by its polar factor, all of whose singular values are 1.

Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024. With M = U S V' the momentum of the
gradient, Nesterov's step ahead in it, the step of a layer is about U V'. Five Newton-Schulz steps make it, of
products alone: X <- a X + b (X X') X + c (X X')^2 X from M / ||M||, with a = 3.4445, b = -4.7750, c = 2.0315.
These coefficients lift small singular values fastest, and leave those above 0.002 between 0.68 and 1.21: enough,
as Jordan found. The step is scaled by sqrt(k' / k) where W (k', k) has more rows than columns.

As with its users, biases and the output layer take Adam's steps instead, at a rate of their own, and all
weights shrink by their rate times ``weight_decay`` in an iteration, apart from the gradient. The first layer is
Muon's, too: in a language model it is a table of words, of which a step sees few, and so Adam's; here it is a
dense matrix like the others.

Gradients and moments are divided over ranks as in ``sgd``. All ranks get the whole of the momentum; of a large
matrix each makes its own columns of X and its own rows of (X X')^2.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import Field

from admmctl.comm import Comm
from admmctl.methods.division import Share
from admmctl.methods.gradient.settings import ScheduleSettings
from admmctl.methods.gradient.sgd import DescentState, Scheduled
from admmctl.methods.method import Array, Cost, Message, Problem, Timer
from admmctl.model.gradient import gradient_flop, parameters
from admmctl.model.network import Network
from admmctl.settings import Count, NonNegative, Positive

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
WORTH = 4e6  # operations of a step below which every rank makes all of it: messages take longer


class MuonSettings(ScheduleSettings):
    """The method block of ``muon``."""

    learning_rate: Positive = Field(default=0.02, description="of matrices: their steps have singular values of 1")
    batch: Count = Field(default=512, description="rows of a mini-batch, over all ranks")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="of matrices; Nesterov's")
    adam_rate: Positive = Field(default=1e-3, description="learning rate of the output layer and of biases")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = Field(
        default=0.0, description="weights shrink by this part, times their learning rate, in an iteration"
    )


class Muon(Scheduled):
    """W <- W - learning_rate sqrt(max(1, k'/k)) polar(M); Adam's steps for biases and the output layer."""

    Settings = MuonSettings
    memories = ("mean", "square")
    operations = 7
    decoupled = True

    def init(self, problem: Problem) -> DescentState:
        s = super().init(problem)
        s.more = np.asarray(_of_adam(problem.network)[s.division.own].nonzero()[0], like=s.parameters)
        return s

    def update(self, s: DescentState, W: Array, g: Array, rate: float) -> None:
        q, network, others = self.settings, s.problem.network, s.more
        mean, square = s.memory["mean"], s.memory["square"]
        first, slope = mean[others], g[others]
        first += (1 - q.beta1) * (slope - first)
        square[others] += (1 - q.beta2) * (slope**2 - square[others])
        root = np.sqrt(square[others] / (1 - q.beta2**s.iteration)) + q.epsilon
        by_adam = first / (1 - q.beta1**s.iteration) / root

        mean += (1 - q.momentum) * (g - mean)
        mean[others] = first
        g += q.momentum * (mean - g)  # the mean after one more step of the same gradient
        with s.problem.clock.phase("reduce"):
            s.division.gather(s.gradient)
        for M in _matrices(network, s.dW):
            M[...] = polar(M, s.problem.comm, s.problem.clock)
            M *= M.dtype.type(max(1.0, M.shape[0] / M.shape[1]) ** 0.5)
        g[others] = by_adam
        if q.weight_decay:
            g += q.weight_decay * W
        g[others] *= q.adam_rate / q.learning_rate
        W -= rate * g

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        batch, size = self.batch(total), parameters(network)
        sides = [tuple(sorted(M.shape)) for M in _matrices(network, [np.empty(shape) for shape in network.shapes])]
        # X, its new value, a copy; X X', its square, and what is added to that.
        scratch = max((12 * (m * n + m * m) for m, n in sides), default=0)
        share = polar_share(sides, ranks)
        return Cost(
            self.held(network, samples, total) + scratch,
            gradient_flop(network, batch) + polar_share(sides, 1).operations,
            batch,
            (
                Message("reduce_scatter", 4 * size),
                Message("allgather", 4 * size),
                *share.messages,
                Message("allgather", 4 * size),
            ),
            share.operations + self.operations * size / ranks,
        )


def _matrices(network: Network, W: Sequence[Array]) -> list[Array]:
    """Views of what Muon steps: all layers but the last, without biases."""
    return [W_l[:, : W_l.shape[1] - network.bias] for W_l in W[:-1]]


def _of_adam(network: Network) -> Array:
    """Of every number in the vector of the weights, whether its steps are Adam's."""
    of_layers = [np.ones(shape, bool) for shape in network.shapes]
    for matrix in _matrices(network, of_layers):
        matrix[...] = False
    return np.concatenate([of_layer.ravel() for of_layer in of_layers])


def polar(M: Array, comm: Comm, clock: Timer) -> Array:
    """About U V' of M = U S V' (k', k), of the same M on all ranks: five Newton-Schulz steps.

    The smaller side comes first: X is M / ||M||, or its transpose. A rank has some columns of X (m, n).
    """
    a, b, c = COEFFICIENTS
    wide = M if M.shape[0] <= M.shape[1] else M.T
    m, n = wide.shape
    divided = comm.size > 1 and _flop(m, n) > WORTH
    parts = comm.size if divided else 1
    columns, rows = _edges(n, parts), _edges(m, parts)
    at = comm.rank if divided else 0
    X: Array = wide[:, slice(*columns[at : at + 2])].copy(order="F")
    X /= np.linalg.norm(M) + M.dtype.type(1e-7)
    for _ in range(STEPS):
        square = X @ X.T
        if divided:
            with clock.phase("reduce"):
                comm.allreduce(square)
        own = slice(*rows[at : at + 2])
        P: Array = np.empty_like(square)
        np.matmul(square[own], square.T, out=P[own])  # on one rank NumPy makes it as a symmetric product
        P[own] *= c
        P[own] += b * square[own]
        if divided:
            with clock.phase("reduce"):
                comm.allgather(P.ravel(), [m * (high - low) for low, high in pairwise(rows)])
        P[np.diag_indices(m)] += a
        X = P @ X
    whole = X
    if divided:
        whole = np.empty((n, m), X.dtype, like=X).T
        whole[:, slice(*columns[at : at + 2])] = X
        with clock.phase("reduce"):
            comm.allgather(whole.T.ravel(), [m * (high - low) for low, high in pairwise(columns)])
    return whole if wide is M else whole.T


def _edges(count: int, parts: int) -> list[int]:
    return [count * part // parts for part in range(parts + 1)]


def _flop(m: int, n: int) -> float:
    """Operations of one step: X X', its square, and the product of that with X."""
    return m * (m + 1.0) * n + 2.0 * m**3 + 2.0 * m * m * n


def polar_share(sides: Sequence[tuple[int, ...]], ranks: int) -> Share:
    """Of the polar factors of matrices of these sides, the smaller one first, in float32."""
    operations, messages = 0.0, list[Message]()
    for m, n in sides:
        divided = ranks > 1 and _flop(m, n) > WORTH
        operations += STEPS * _flop(m, n) / (ranks if divided else 1)
        if divided:
            step = Message("allreduce", 4 * m * m), Message("allgather", 4 * m * m)
            messages += [*step * STEPS, Message("allgather", 4 * m * n)]
    return Share(operations, tuple(messages))
