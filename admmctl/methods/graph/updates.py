"""The closed forms of an iteration, layer by layer: the forward pass, and X_new of Tables 1 and 2.

A block of rows is ``columns`` of the mini-batch at hand, and its variables lie at ``place`` of X, V and R.
"""

from collections.abc import Sequence

import numpy as np

from admmctl.methods.convolution import on_units
from admmctl.methods.graph import backprop, table_2
from admmctl.methods.graph.layers import Linear, multiply
from admmctl.methods.graph.layers import forward as forward_of
from admmctl.methods.graph.state import GraphAdmmState
from admmctl.methods.method import Array


def forward(
    s: GraphAdmmState, v0: Array, columns: slice, place: slice
) -> tuple[dict[int, Array], dict[int, Array | None]]:
    """X_i and V_i of a block, from its inputs ``v0``; returns V, and S_i: what dropout multiplies units by."""
    network, clock, mask = s.problem.network, s.problem.clock, s.batches.mask
    V = {0: network.inputs(network.bottom(v0)), **{i: V_i[:, place] for i, V_i in s.V.items()}}
    S: dict[int, Array | None] = {}
    for i in range(1, network.layers + 1):
        # (4)  X_i = W_i V_{i-1}, b_i in W_i
        with clock.phase("product"):
            X = network.apply(i, s.W[i], V[i - 1], out=s.X[i][:, place])
        # (5), (6)  V_i = X_i + Y_i + Z_i = h(X_i), or S_i times that
        if i < network.layers:
            with clock.phase("elementwise"):
                units = network.h(i).value(X, out=V[i][: len(X)])
                S[i] = S_i = None if mask is None else mask(i, columns)
                if S_i is not None:
                    units *= S_i
                network.enter(i, v0, V[i])
    return V, S


def top(s: GraphAdmmState, y: Array, place: slice) -> float:
    """R_N = 2 (X_N_new - X_N) of a block, X_N_new = argmin L_N; returns the block's loss."""
    N = s.problem.network.layers
    X = s.X[N][:, place]
    with s.problem.clock.phase("elementwise"):
        s.R[N][:, place] = 2 * (output(s, X, y) - X)
        return s.problem.loss.value(X, y)


def output(s: GraphAdmmState, X: Array, y: Array) -> Array:
    """X_N_new = argmin f(X; O) + rho_N/2 ||X - X_N||^2, exactly, or by a quadratic model of f around X_N."""
    loss, rho = s.problem.loss, s.rho[s.problem.network.layers]
    if loss.closed_form:
        return loss.z_update(y, X, np.zeros_like(X), rho / 2)
    return X - loss.gradient(X, y) / X.dtype.type(s.settings.quadratic + rho)


def gains(s: GraphAdmmState, W: dict[int, Array], layers: Sequence[int]) -> dict[int, Linear]:
    """Q_i of these hidden layers: what R_{i+1} is multiplied by on its way down. Raises Diverged."""
    beta = {i: s.beta[i] for i in layers}
    given = s.problem, W, s.rho, beta, s.solves.precision, s.batches.kept, s.settings.growth
    if s.settings.backward == "admm":
        return table_2.gains(*given)
    return backprop.gains(*given, unscaled=s.settings.backward == "backprop-unscaled")


def hidden(
    s: GraphAdmmState, i: int, W_above: Array, X: Array, R_above: Array, R: Array, S: Array | None = None
) -> None:
    """R_i = 2 (X_i_new - X_i) of hidden layer i, by Table 2 or by backpropagation.

    ``R_above`` is T - W_{i+1} V_i, which is R_{i+1} where W_{i+1} is the old one.
    """
    clock, cuts, inner = s.problem.clock, s.problem.network.h(i).cuts, s.settings.inner
    with clock.phase("product"):
        multiply(s.Q[i], R_above, out=R)  # D
    with clock.phase("elementwise"):
        if S is not None:
            R *= S
        if s.settings.backward != "admm":
            backprop.once(X, R, s.rho[i], s.beta[i], cuts)
        elif inner == 1:
            table_2.once(X, R, s.rho[i], s.beta[i], cuts)
        else:
            network = s.problem.network
            W = forward_of(network.operator(i + 1), on_units(network, {i + 1: W_above}, i))
            R[...] = table_2.several(X, W, s.Q[i], R_above, s.rho[i], s.beta[i], cuts, inner)


def missed(s: GraphAdmmState, i: int, W_above: Array, place: slice) -> Array:
    """T - W_{i+1} V_i of a block, for a new W_{i+1}, in the place of R_{i+1}; X_{i+1} is used up for it."""
    E, X = s.R[i + 1][:, place], s.X[i + 1][:, place]
    with s.problem.clock.phase("product"):
        E += X
        E -= s.problem.network.apply(i + 1, W_above, s.V[i][:, place], out=X)
    return E
