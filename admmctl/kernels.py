"""Element-wise loops, fused and compiled: the only place with compiled code.

Every kernel takes samples as rows, C order (the transposed view of a block of columns), and is one pass
over memory. Where numba is missing, or ADMMCTL_KERNELS=numpy, the plain NumPy path gives the same results.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # a NumPy array, float32 or float64; numba decides by the argument

try:
    if os.environ.get("ADMMCTL_KERNELS") == "numpy":
        raise ImportError("ADMMCTL_KERNELS=numpy")
    import numba

    COMPILED = True
except ImportError:
    COMPILED = False


def _compiled(plain: Callable[..., None]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Use the loop below when numba is there, and ``plain`` when not."""

    def choose(loop: Callable[..., None]) -> Callable[..., None]:
        if not COMPILED:
            return plain
        # Contraction to fused multiply-add is allowed, re-association and no-NaN assumptions are not:
        # a NaN has to come out as a NaN so that a diverged run is noticed.
        compiled: Callable[..., None] = numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")(loop)
        return compiled

    return choose


def _z_relu_plain(z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
    a = a[:, : z.shape[1]]
    positive = np.maximum((gamma * a + beta * m) / (gamma + beta), 0)
    negative = np.minimum(m, 0)
    cost_positive = gamma * (a - positive) ** 2 + beta * (positive - m) ** 2
    cost_negative = gamma * a**2 + beta * (negative - m) ** 2
    z[...] = np.where(cost_negative < cost_positive, negative, positive)


@_compiled(_z_relu_plain)
def z_relu(z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
    """z <- argmin_z gamma (a - relu(z))^2 + beta (z - m)^2, entry by entry (Taylor eq. 7).

    ``z``, ``m`` have shape (samples, k); ``a`` may have one more column, its row of ones, which is not read.
    On either side of zero the cost is a parabola: the cheaper of the two minima wins.
    """
    gamma, beta = z.dtype.type(gamma), z.dtype.type(beta)
    total = z.dtype.type(1) / (gamma + beta)
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            aa, mm = a[i, j], m[i, j]
            positive = (gamma * aa + beta * mm) * total
            positive = positive if positive >= zero or positive != positive else zero
            negative = mm if mm < zero else zero
            cost_positive = gamma * (aa - positive) * (aa - positive) + beta * (positive - mm) * (positive - mm)
            cost_negative = gamma * aa * aa + beta * (negative - mm) * (negative - mm)
            z[i, j] = negative if cost_negative < cost_positive else positive


def _z_hard_sigmoid_plain(z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
    a = a[:, : z.shape[1]]
    below = np.minimum(m, 0)
    above = np.maximum(m, 1)
    between = np.clip((gamma * a + beta * m) / (gamma + beta), 0, 1)
    best, cost = between, gamma * (a - between) ** 2 + beta * (between - m) ** 2
    for candidate, value in ((below, 0), (above, 1)):
        other = gamma * (a - value) ** 2 + beta * (candidate - m) ** 2
        best = np.where(other < cost, candidate, best)
        cost = np.minimum(other, cost)
    z[...] = best


@_compiled(_z_hard_sigmoid_plain)
def z_hard_sigmoid(z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
    """z <- argmin_z gamma (a - h(z))^2 + beta (z - m)^2 for h(z) = min(max(z, 0), 1), entry by entry.

    Shapes as in ``z_relu``. Three parabolas, one on each piece of h; the cheapest minimum wins.
    """
    gamma, beta = z.dtype.type(gamma), z.dtype.type(beta)
    total = z.dtype.type(1) / (gamma + beta)
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            aa, mm = a[i, j], m[i, j]
            best = (gamma * aa + beta * mm) * total
            best = zero if best < zero else (one if best > one else best)
            cost = gamma * (aa - best) * (aa - best) + beta * (best - mm) * (best - mm)
            below = mm if mm < zero else zero
            other = gamma * aa * aa + beta * (below - mm) * (below - mm)
            if other < cost:
                best, cost = below, other
            above = mm if mm > one else one
            other = gamma * (aa - one) * (aa - one) + beta * (above - mm) * (above - mm)
            if other < cost:
                best = above
            z[i, j] = best
