"""The closed forms of an iteration, layer by layer: the forward pass, and X_new of Tables 1 and 2.

A block of rows is ``columns`` of the mini-batch at hand, and its variables lie at ``place`` of X, V and R.
"""

from collections.abc import Sequence

import numpy as np

from admmctl.methods.convolution import on_units
from admmctl.methods.graph import backprop, table_2
from admmctl.methods.graph.layers import Linear, compared, multiply
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


def steps(s: GraphAdmmState, W: dict[int, Array], passed: float) -> dict[int, float]:
    """s_i of the output and of the hidden layers of ``s.Q``: R_i is about -s_i times the derivative by X_i.

    A gradient g at the output moves X_N by s_N g / 2 either way, and what reaches a layer below is scaled by
    ``passed`` / (rho_i + beta_i), with 4 for an active unit of Table 2 and about 2 for units on average, and by
    trace(M Q) / trace(M M') on average over directions, M the layer above as a matrix, of ``W``.
    """
    network, loss, rho, beta = s.problem.network, s.problem.loss, s.rho, s.beta
    curvature = s.settings.quadratic if loss.curvature is None else loss.curvature
    found = {network.layers: 2 / (curvature + rho[network.layers])}
    for i in sorted(s.Q, reverse=True):
        shrunk, _ = compared(network.operator(i + 1), on_units(network, W, i), s.Q[i])
        found[i] = found[i + 1] * shrunk * passed / (rho[i] + beta[i])
    return found


def ridges(s: GraphAdmmState, W: dict[int, Array]) -> dict[int, float]:
    """r of the least squares of W_1, W_2, ..: l2 / rho_i, or l2 times the step s_i of a layer that has a ``Q``.

    Of layers that share a matrix the mean counts.
    """
    network, l2 = s.problem.network, s.settings.l2
    if s.settings.decay == "penalty":
        return {network.matrix(i): l2 / rho_i for i, rho_i in s.rho.items()}
    found = dict.fromkeys(range(1, len(network.times) + 1), 0.0)
    for i, step in steps(s, W, 2.0).items():
        found[network.matrix(i)] += l2 * step / network.times[network.matrix(i) - 1]
    return found


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
