"""Penalties that set themselves (``penalties: automatic``), and a ridge that falls: see docs/mathematics.md.

Only the last constraint has a multiplier. The other penalties are a part of what is solved: to balance their
residuals by trial moves the problem. What is scale-free instead is how an update shares a gap between the two
constraints that it stands between. With s the mean square of the singular values of W_{l+1},

    gamma_l = SHARE s beta_{l+1}       the a-update (6) hands 1 / (1 + SHARE) of a gap of z_{l+1} on to a_l
    beta_l  = gamma_l h'^2             the z-update (7) hands one half of a gap of a_l on to z_l

from the top down, beta_L as given. A layer that is scaled, with the next one scaled back, moves alike.
"""

from admmctl.methods.method import Array
from admmctl.model.network import Network

SHARE = 0.3
START = 0.3  # of the ridge, where the start is to be forgotten
ENOUGH = 0.5  # of the targets' variance: hidden layers that explain it, as they are drawn, are kept
_LEAST = 1e-12  # of s: weights that are zero still have a penalty


def balanced(network: Network, W: dict[int, Array], beta_L: float) -> tuple[dict[int, float], dict[int, float]]:
    """beta_1 .. beta_L and gamma_1 .. gamma_{L-1} for the weights of layers as they are.

    Layers that share a matrix have one beta, that of the last of them.
    """
    beta, gamma = {network.layers: beta_L}, {}
    for l in range(network.layers - 1, 0, -1):
        gamma[l] = SHARE * strength(network, W[l + 1], l + 1) * beta[l + 1]
        beta[l] = gamma[l] * network.h(l).slope(network.sizes[l]) ** 2
        if network.matrix(l) == network.matrix(l + 1):
            beta[l] = beta[l + 1]
    return beta, gamma


def strength(network: Network, W: Array, l: int) -> float:
    """The mean square of the singular values of layer l, without its bias, on the side of its outputs.

    A circular convolution has its filters' squares as mean over frequencies; averages over p x p pixels shrink
    what is below by p^2.
    """
    return max(network.operator(l).square(W) / network.sizes[l], _LEAST)


def falling(start: float, least: float, iteration: int) -> float:
    """The ridge of the next W-update after so many iterations.

    It is halved for the 2nd, 4th, 8th .., so that one factor of the inputs serves many. A large ridge forgets the
    weights that were drawn at random, a small one fits.
    """
    return max(start / 2 ** ((iteration + 1).bit_length() - 1), least)
