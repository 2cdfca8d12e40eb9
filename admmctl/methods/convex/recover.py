"""From the convex model to networks: the ReLU network of eq. (1) by rescaling, and the gated ReLU network."""

import numpy as np
from numpy.typing import NDArray

from admmctl.model.network import Weights

Array = NDArray[np.floating]


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
