"""Activation patterns D_i = diag(X h_i >= 0) of random h_i, and the networks that blocks v_i of them stand for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.errors import UserError
from admmctl.methods.convex.system import OnDisk, parts
from admmctl.model.network import Weights

Array = NDArray[np.floating]

# Draws in a row that bring nothing new, as a multiple of the patterns asked for, before the search is given up.
_FRUITLESS = 20


@dataclass(frozen=True)
class Patterns:
    """``H`` (d, P), the random vectors; ``D`` (n, P), 0 or 1, of this rank's rows; ``asked`` may exceed P."""

    H: Array
    D: NDArray[np.bool_]
    asked: int

    @property
    def count(self) -> int:
        """P."""
        return self.H.shape[1]

    @property
    def note(self) -> str:
        """What to tell the user, or ''."""
        if self.count == self.asked:
            return ""
        return f"patterns: {self.asked} asked for, and only {self.count} were found that differ; using these"


def sample(X: Array | OnDisk, asked: int, seed: int, comm: Comm) -> Patterns:
    """``asked`` distinct patterns of the rows of all ranks, of which ``X`` (n, d) are this rank's, or on its disk.

    h_i ~ N(0, I), in the order drawn, the same on every rank and for every number of ranks. Duplicates are
    dropped, and so is a pattern that lets no row through. Where the rows have fewer patterns, those that were
    found. Raises UserError when there is none.
    """
    n, d = X.shape
    generator = np.random.default_rng([seed, 0x9A77])
    H: Array = np.empty((d, 0), X.dtype)
    D = np.empty((n, 0), np.bool_)
    idle = 0
    while H.shape[1] < asked and idle < _FRUITLESS * asked:
        drawn = generator.standard_normal((d, asked)).astype(X.dtype)
        D_drawn = np.concatenate([part @ drawn >= 0 for part in parts(X)])
        H_all, D_all = np.hstack([H, drawn]), np.hstack([D, D_drawn])
        new = _first_of_each(D_all, comm)
        idle = 0 if len(new) > H.shape[1] else idle + asked
        H, D = H_all[:, new[:asked]], D_all[:, new[:asked]]
    if H.shape[1] == 0:
        raise UserError("patterns: no random vector lets a row through; are all inputs zero?")
    return Patterns(H, np.ascontiguousarray(D), asked)


def _first_of_each(D: NDArray[np.bool_], comm: Comm) -> NDArray[Any]:
    """The columns that are not empty and differ from all before them, compared over the rows of all ranks."""
    # In float64 counts of rows are exact; a block of rows is, in float32.
    both = np.zeros((D.shape[1], D.shape[1]))
    for low in range(0, len(D), 1 << 20):
        block = D[low : low + (1 << 20)].astype(np.float32)
        both += block.T @ block
    comm.allreduce(both)
    count = both.diagonal()
    # Patterns i and j differ in as many rows as one of them has and the other has not.
    same = count[:, None] + count[None, :] - 2 * both == 0
    earlier = np.tril(same, -1).any(axis=1)
    return np.flatnonzero(~earlier & (count > 0))


def relu_network(v: Array, outputs: int, hidden: int, scale: float, bias: bool) -> Weights:
    """W_1 (hidden, d) and W_2 (outputs, hidden) of the network that the convex model's v stands for.

    ``v`` (d, 2 C P), columns by sign, output, pattern, for inputs that were multiplied by ``scale``. A block v_i
    gives a unit with weights v_i / sqrt(||v_i||) and sqrt(||v_i||) above it, its sign that of the block: the two
    are of one length, so that weight decay costs 1/2 (||w1||^2 + w2^2) = ||v_i||. Where G v >= 0 the network says
    what the convex model says. Blocks that are zero, and units of which there are no blocks, are zero. With
    ``bias`` the last of d is the bias of the hidden units; the outputs have none.
    """
    d, columns = v.shape
    P = columns // (2 * outputs)
    lengths = np.linalg.norm(v, axis=0)
    roots = np.sqrt(lengths)
    W_1: Array = np.zeros((hidden, d), v.dtype)
    W_1[:columns] = (v * np.divide(1, roots, out=np.zeros_like(roots), where=roots > 0)).T
    W_1[:, :] *= v.dtype.type(scale)
    W_2: Array = np.zeros((outputs, hidden + bias), v.dtype)
    above = roots.reshape(2, outputs, P)
    for sign in (0, 1):
        for output in range(outputs):
            first = (sign * outputs + output) * P
            W_2[output, first : first + P] = above[sign, output] * (1 - 2 * sign)
    return [W_1, W_2]


def gates(H: Array, outputs: int, hidden: int) -> Array:
    """A gate for every unit of ``relu_network``, shape (hidden, d): its pattern's random vector, ``H`` (d, P).

    With them the same weights make the gated ReLU network, sum_i 1[x'h_i >= 0] x'(v_i - w_i). That is what the
    convex model says of any row: of those it was trained on, F v.
    """
    found: Array = np.zeros((hidden, len(H)), H.dtype)
    found[: 2 * outputs * H.shape[1]] = np.tile(H.T, (2 * outputs, 1))
    return found
