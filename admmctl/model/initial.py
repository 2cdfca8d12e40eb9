"""Where training starts: random weights that every rank draws alike."""

import numpy as np

from admmctl.model.network import Network, Weights
from admmctl.rng import normals


def initial_weights(network: Network, seed: int, dtype: type = np.float32) -> Weights:
    """Gaussian weights; but W_1 = [w, b] of the network's kernel, if it has one and a hidden layer.

    Copies of the network's ``start``, where there is one.

    The recurrent block of a recurrent network is a multiple of the identity, so that a step forgets little (Le,
    Jaitly and Hinton 2015); what all steps read adds up to the variance of a layer.

    Cosine units that start so are the kernel's random features (Burmeister, section 2.2). The weights depend on
    the seed alone.
    """
    if network.start is not None:
        return [np.array(W_l, dtype, order="C") for W_l in network.start]
    W = gaussian_weights(network, seed, dtype)
    if _has_features(network):
        assert network.kernel is not None
        k, inputs = network.sizes[1], network.sizes[0]
        W[0][:, :inputs] = network.kernel.frequencies(seed, k, inputs)
        W[0][:, inputs] = network.kernel.phases(seed, k)
    if (r := network.recurrence) is not None:
        W[0][:, r.units :] *= dtype(np.sqrt(W[0].shape[1] / (r.steps * W[0][:, r.units :].shape[1])))
        W[0][:, : r.units] = r.start * np.eye(r.units)
    return W


def descent_weights(network: Network, seed: int, dtype: type = np.float32) -> Weights:
    """Where gradient methods start: ``initial_weights``, drawn with zero biases, but the kernel's are kept."""
    W = initial_weights(network, seed, dtype)
    if network.bias and network.start is None:
        for W_l in W[1:] if _has_features(network) else W:
            W_l[:, -1] = 0
    return W


def _has_features(network: Network) -> bool:
    """Whether a kernel starts the first hidden layer."""
    return network.kernel is not None and network.layers > 1


def gaussian_weights(network: Network, seed: int, dtype: type = np.float32) -> Weights:
    """W_l with independent normal entries of variance 2 / (number of its inputs), biases drawn alike.

    The bias is one more input, a row of ones. Random biases spread the kinks of the hidden units, and a method
    that starts from their activations needs that (with zero biases every kink passes through the mean). The
    weights depend on the seed alone: they are the same on every rank, for any number of ranks.
    """
    W: Weights = []
    for layer, (k_next, inputs) in enumerate(network.shapes, start=1):
        draws = normals(seed, f"W{layer}", (k_next, inputs)) * np.float32(np.sqrt(2.0 / inputs))
        W.append(np.ascontiguousarray(draws, dtype=dtype))
    return W
