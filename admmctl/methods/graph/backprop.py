"""Backpropagation in the place of Table 2, everything else alike: what the closed forms of the backward pass add.

Table 2 hands on R_i, of D = Q_i R_{i+1} and the factors of its projection. Here D = s W' R_{i+1}, W = W_{i+1}, and

    R_i = 4 / (rho_i + beta_i) h'(X_i) D,

the factor of an active unit in Table 2; a unit below or above its cut passes on nothing. So R_i is the gradient by
X_i, from that of the layer above, times one number per layer. s is that for which s W' is as large as Q_i in the
Frobenius norm; or, ``unscaled``, that for which R_i = h'(X_i) W' R_{i+1}, and all layers take one step length.
"""

from collections.abc import Mapping

from admmctl.methods.convolution import on_units
from admmctl.methods.graph.layers import Linear, compared, transposed
from admmctl.methods.graph.table_2 import Cuts
from admmctl.methods.graph.table_2 import gains as gains_of_table_2
from admmctl.methods.method import Array, Problem


def gains(
    p: Problem,
    W: dict[int, Array],
    rho: dict[int, float],
    beta: dict[int, float],
    dtype: type,
    kept: Mapping[int, float] | None = None,
    growth: float | None = None,
    *,
    unscaled: bool,
) -> dict[int, Linear]:
    """s W' of the hidden layers of ``beta``, (k_i, k_{i+1}); ``dtype`` is that of the solve. Raises Diverged."""
    network, alike = p.network, p.network.alike
    above = {i: on_units(network, W, i) for i in {alike[i] for i in beta}}
    if unscaled:
        scale = {i: (rho[i] + beta[i]) / 4 for i in above}
    else:
        Q = gains_of_table_2(p, W, rho, beta, dtype, kept, growth)
        scale = {i: compared(network.operator(i + 1), above[i], Q[i])[1] for i in above}
    scaled = {i: transposed(network.operator(i + 1), W_i, network.sizes[i], scale[i]) for i, W_i in above.items()}
    return {i: scaled[alike[i]] for i in beta}


def once(X: Array, D: Array, rho: float, beta: float, cuts: Cuts) -> None:
    """D <- R = 4 / (rho + beta) h'(X) D, in place; both are (k_i, samples)."""
    D *= (cuts[0] < X) & (cuts[1] > X)
    D *= D.dtype.type(4 / (rho + beta))
