"""Table 2 of Zhang and Kleijn by brute force."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def split(X: Array, cuts: tuple[float, float]) -> tuple[Array, Array]:
    """Y and Z: what the cuts take away."""
    return np.where(cuts[0] > X, cuts[0] - X, 0.0), np.where(cuts[1] < X, cuts[1] - X, 0.0)


def minimum(X: Array, W: Array, T: Array, rho_above: float, rho: float, beta: float, cuts, centre) -> list[Array]:
    """argmin rho'/2 ||T - W(x+y+z)||^2 + rho/2 ||x - X||^2 + beta/2 (||x - x_c||^2 + ...) by one least squares."""
    k = len(X)
    eye, zero = np.eye(k), np.zeros((k, k))
    has_z = np.isfinite(cuts[1])
    rows = [
        (np.hstack([W, W, W if has_z else 0 * W]), T, rho_above),
        (np.hstack([eye, zero, zero]), X, rho),
        *((np.hstack([eye if i == j else zero for j in range(3)]), centre[i], beta) for i in range(3)),
    ]
    A = np.vstack([np.sqrt(weight) * block for block, _, weight in rows])
    b = np.vstack([np.sqrt(weight) * goal for _, goal, weight in rows])
    return np.split(np.linalg.lstsq(A, b, rcond=None)[0], 3)


def nearest(x: Array, y: Array, z: Array, X: Array, cuts: tuple[float, float]) -> Array:
    """The x of the point nearest to (x, y, z) that satisfies (9) and (10), by search."""
    lower, upper = cuts
    found = np.empty_like(x)
    for place in np.ndindex(*X.shape):
        a, b, c, old = x[place], y[place], z[place], X[place]
        # Far enough for any input of these tests, and as fine as the tolerance asks.
        if old < lower:
            t = lower - np.linspace(0, 12, 240_001)
            cost = (t - a) ** 2 + (lower - t - b) ** 2
        elif old > upper:
            t = upper + np.linspace(0, 12, 240_001)
            cost = (t - a) ** 2 + (upper - t - c) ** 2
        else:
            t = np.linspace(lower, min(upper, lower + 12), 240_001)
            cost = (t - a) ** 2
        found[place] = t[cost.argmin()]
    return found


def table_2_as_printed(X: Array, W: Array, R_above: Array, rho_above, rho, beta, cuts, times: int) -> Array:
    """Table 2 as printed, by brute force; returns X_new."""
    Y, Z = split(X, cuts)
    T = W @ (X + Y + Z) + R_above
    centre, gamma = [X, Y, Z], [np.zeros_like(X)] * 3
    for _ in range(times):
        shifted = [c - g / beta for c, g in zip(centre, gamma, strict=True)]
        new = minimum(X, W, T, rho_above, rho, beta, cuts, shifted)
        gamma = [g + beta * (n - c) for g, n, c in zip(gamma, new, centre, strict=True)]
        x = nearest(*(n + g / beta for n, g in zip(new, gamma, strict=True)), X, cuts)
        centre = [x, *split(x, cuts)]
        # The sets stay those of the forward pass.
        centre[1] = np.where(cuts[0] > X, cuts[0] - x, 0.0)
        centre[2] = np.where(cuts[1] < X, cuts[1] - x, 0.0)
    return centre[0]
