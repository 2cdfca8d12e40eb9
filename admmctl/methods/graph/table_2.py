"""Table 2: X_i_new of a hidden layer, from how far the outputs of the layer above are to move.

With T = X_{i+1} + R_{i+1} - b_{i+1}, the sum V_i = X_i + Y_i + Z_i of the forward pass meets
T - W_{i+1} V_i = R_{i+1}. The minimum of (17) moves X_i by D / (rho_i + beta_i), and Y_i and Z_i by D / beta_i:

    D = Q_i R_{i+1},   Q_i = rho_{i+1} W'(I + rho_{i+1} c W W')^-1,   W = W_{i+1},

c = 1/(rho_i + beta_i) + 1/beta_i, and once more 1/beta_i where there is an upper cut and so a Z. What is handed on
is R_i = 2 (X_i_new - X_i). Below, ``Omega`` are the index sets (7) and (8).

Steps of a recurrent network share a W, and so a Q: R goes through the same Q_i and 4 / (rho_i + beta_i), the
factor of an active unit, again and again. With the same penalties at every step that shrinks it in all directions.
But what happens at a step depends on ratios of penalties alone: they may grow by a factor from each step to the
next, and the gain is still the same at all of them. So ``growth`` times rho stands for rho_{i+1} where both layers
are steps. A singular value s of the recurrent block then has the gain

    A s / (1 + K A s^2),   A = 4 growth rho / (rho + beta),   K = c (rho + beta) / 4,

at most sqrt(A / K) / 2: with growth = c (rho + beta)^2 / (4 rho), the default, nothing grows from step to step,
and what has s = 1 / (2 K), about 1 for a large beta, passes as it is.

With dropout V_i = S (X_i + Y_i + Z_i), S the diagonal matrix of a row's mask, 0 or 1 / kept: W S takes the place
of W, D = S rho_{i+1} W'(I + a W S^2 W')^-1 R_{i+1} with a = rho_{i+1} c. A unit that is left out has D = 0 and
stays. That inverse differs from row to row; in its place

    D = S Q_i R_{i+1},   Q_i = rho_{i+1} kept W'(lam I + a W W')^-1,   lam = kept + (1/kept - 1) a ||W||^2 / k_i,

serves all rows: a unit's own mask is exact, those of other units are taken at their mean (docs/mathematics.md).
"""

from collections.abc import Mapping

import numpy as np

from admmctl import kernels
from admmctl.methods.graph.layers import Linear
from admmctl.methods.graph.layers import gains as gains_of
from admmctl.methods.method import Array, Problem

Cuts = tuple[float, float]  # l and u


def gains(
    p: Problem,
    W: dict[int, Array],
    rho: dict[int, float],
    beta: dict[int, float],
    dtype: type,
    kept: Mapping[int, float] | None = None,
    growth: float | None = None,
) -> dict[int, Linear]:
    """Q_i of the hidden layers of ``beta``, shape (k_i, k_{i+1}); ``dtype`` is that of the solve. Raises Diverged.

    ``kept`` is the part of its units that dropout leaves a layer, where that is not 1.
    """
    network, alike, matrix = p.network, p.network.alike, p.network.matrix
    hidden = sorted({alike[i] for i in beta})
    slacks = {i: 1 if np.isinf(network.h(i).cuts[1]) else 2 for i in hidden}  # Y_i, and Z_i if it may not be 0
    c = {i: 1 / (rho[i] + beta[i]) + slacks[i] / beta[i] for i in hidden}
    ratios = {i: 1 / (rho[i + 1] * c[i]) for i in hidden}
    for i in hidden:
        if matrix(i) == matrix(i + 1):
            ratios[i] /= c[i] * (rho[i] + beta[i]) ** 2 / (4 * rho[i]) if growth is None else growth
    for i, part in ((i, part) for i, part in (kept or {}).items() if i in beta):
        mean = network.operator(i + 1).square(W[i + 1]) / network.sizes[i]
        ratios[i] = part * ratios[i] + (1 / part - 1) * mean  # lam / a
        c[i] /= part
    Q = gains_of(p, W, ratios, c, dtype)
    return {i: Q[alike[i]] for i in beta}


def once(X: Array, D: Array, rho: float, beta: float, cuts: Cuts) -> None:
    """D <- R = 2 (X_new - X), by Table 2 gone through once, in place; both are (k_i, samples)."""
    kernels.graph_hidden(X.T, D.T, 2 / (rho + beta), 2 / beta, *cuts)


def prepare(dtype: type, cuts: Cuts, like: Array) -> None:
    """Compile what ``once`` runs, for an activation with these cuts."""
    block: Array = np.zeros((5, 3), dtype, order="F", like=like)
    once(block, block.copy(order="F"), 0.5, 0.25, cuts)


def several(
    X: Array, W: Linear, Q: Linear, R_above: Array, rho: float, beta: float, cuts: Cuts, times: int
) -> Array:
    """R = 2 (X_new - X), by Table 2 gone through ``times`` times.

    ``W`` is that of the layer above, without biases. The multipliers Gamma are kept divided by beta.
    """
    l, u = cuts
    Omega_l, Omega_u = l > X, u < X
    Y, Z = np.where(Omega_l, l - X, 0), np.where(Omega_u, u - X, 0)
    target = R_above + W @ (X + Y + Z)  # T
    x, y, z = X, Y, Z  # X^c, Y^c, Z^c
    gx, gy, gz = np.zeros_like(X), np.zeros_like(X), np.zeros_like(X)
    for _ in range(times):
        # (X, Y, Z) <- argmin L, from the minimum of all but what W is in
        px, py, pz = (rho * X + beta * (x - gx)) / (rho + beta), y - gy, z - gz
        D = Q @ (target - W @ (px + py + pz))
        px, py = px + D / (rho + beta), py + D / beta
        pz = pz + D / beta if np.isfinite(u) else pz
        # Gamma <- Gamma + beta (X - X^c), ...
        gx, gy, gz = gx + px - x, gy + py - y, gz + pz - z
        # (X^c, Y^c, Z^c) <- the point nearest to (X, Y, Z) + Gamma / beta that satisfies (9) and (10)
        px, py, pz = px + gx, py + gy, pz + gz
        on_lower = np.minimum((px + l - py) / 2, l)
        on_upper = np.maximum((px + u - pz) / 2, u) if np.isfinite(u) else px
        x = np.where(Omega_l, on_lower, np.where(Omega_u, on_upper, np.clip(px, l, u)))
        y, z = np.where(Omega_l, l - x, 0), np.where(Omega_u, u - x, 0)
    result: Array = 2 * (x - X)
    return result
