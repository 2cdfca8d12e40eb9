"""Where training starts: random weights that every rank draws alike."""

import numpy as np

from admmctl.model.network import Network, Weights
from admmctl.rng import normals


def gaussian_weights(network: Network, seed: int, dtype: type = np.float32) -> Weights:
    """W_l with independent normal entries of variance 2 / (number of its inputs), biases drawn alike.

    The bias is one more input, a row of ones: random biases spread the kinks of the hidden units, which a
    method that starts from their activations needs (with zero biases every kink passes through the mean).
    The same on every rank and for any number of ranks: it depends on the seed alone.
    """
    W: Weights = []
    for layer, (k, k_next) in enumerate(zip(network.sizes, network.sizes[1:], strict=False), start=1):
        inputs = k + network.bias
        draws = normals(seed, f"W{layer}", (k_next, inputs)) * np.float32(np.sqrt(2.0 / inputs))
        W.append(np.ascontiguousarray(draws, dtype=dtype))
    return W
