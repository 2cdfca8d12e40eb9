"""The element-wise loops of ``kernels.py`` in PyTorch: the same names, shapes and results to rounding.

Every function takes tensors, with samples as rows, and writes to those that ``kernels.py`` says. On a processor a
choice by truth takes ten times as long as a multiplication, and new memory as long again: so choices are made by
numbers, and rows are taken a few at a time.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

Tensor = Any
Loop = Callable[..., None]

_IN_CACHE = 1 << 15  # numbers of an array that are taken at a time


def _few_at_a_time(*of_rows: int) -> Callable[[Loop], Loop]:
    """On a processor some rows after another: what arguments, by number, have of these rows, and others whole."""

    def choose(loop: Loop) -> Loop:
        @wraps(loop)
        def over_rows(*given: Any) -> None:
            first = given[0]
            if first.device.type != "cpu":
                loop(*given)
                return
            step = max(1, _IN_CACHE // first.shape[1])
            for low in range(0, len(first), step):
                loop(*(x[low : low + step] if at in of_rows else x for at, x in enumerate(given)))

        return over_rows

    return choose


@_few_at_a_time(0, 1)
def graph_hidden(x: Tensor, d: Tensor, first: float, second: float, lower: float, upper: float) -> None:
    """d <- 2 (X_new - x), Table 2 once."""
    # Beyond a cut an entry moves by half of first - second, and not across the cut; between them it stays there.
    to_lower, beyond = torch.mul(x, -2).add_(2 * lower), d * (first - second)
    moved = torch.maximum(d.mul_(2 * first), to_lower, out=d)
    if upper < math.inf:
        to_upper = torch.mul(x, -2).add_(2 * upper)
        torch.minimum(moved, to_upper, out=d)
        _choose(d, torch.maximum(beyond, to_upper), torch.gt(x, upper, out=to_upper))
    _choose(d, torch.minimum(beyond, to_lower, out=beyond), torch.lt(x, lower, out=to_lower))


def _choose(here: Tensor, other: Tensor, ones: Tensor) -> None:
    """here <- other where ``ones`` is 1 and not 0: seven times as fast as a choice by truth on a processor."""
    torch.lerp(here, other, ones, out=here)


@_few_at_a_time(0, 1, 2)
def z_relu(z: Tensor, a: Tensor, m: Tensor, gamma: float, beta: float) -> None:
    """z <- argmin_z gamma (a - relu(z))^2 + beta (z - m)^2, entry by entry."""
    # The minima on both sides are p = max(q, 0), q = (gamma a + beta m) / (gamma + beta), and n = min(m, 0). At p
    # the cost is by (gamma + beta) p^2 below that at z = 0 on its side, at n by beta n^2: the larger gain wins.
    positive = torch.mul(a[:, : z.shape[1]], gamma / (gamma + beta)).add_(m, alpha=beta / (gamma + beta)).clamp_(0)
    negative = torch.clamp(m, max=0)
    gain = negative * -math.sqrt(beta / (gamma + beta))
    torch.lerp(positive, negative, torch.ge(gain, positive, out=gain), out=z)


def _cost(a: Tensor, h: Any, m: Tensor, z: Tensor, gamma: float, beta: float) -> Tensor:
    """gamma (a - h)^2 + beta (z - m)^2."""
    miss = torch.sub(a, h).square_().mul_(gamma)
    return miss.addcmul_(far := torch.sub(z, m), far, value=beta)


@_few_at_a_time(0, 1, 2)
def z_cut(z: Tensor, a: Tensor, m: Tensor, gamma: float, beta: float, lower: float, upper: float) -> None:
    """z <- argmin_z gamma (a - h(z))^2 + beta (z - m)^2, for h(z) cut at ``lower`` and ``upper``."""
    a = a[:, : z.shape[1]]
    best = torch.mul(a, gamma / (gamma + beta)).add_(m, alpha=beta / (gamma + beta)).clamp_(lower, upper)
    cost = _cost(a, best, m, best, gamma, beta)
    for candidate, value in ((torch.clamp(m, max=lower), lower), (torch.clamp(m, min=upper), upper)):
        other = _cost(a, value, m, candidate, gamma, beta)
        _choose(best, candidate, torch.le(other, cost, out=torch.empty_like(best)))
        torch.minimum(other, cost, out=cost)
    z.copy_(best)


@_few_at_a_time(0, 1, 4, 5)
def narrow_a_relu(z: Tensor, t: Tensor, W: Tensor, V: Tensor, e: Tensor, a: Tensor) -> None:
    """e <- t - W relu(z) and a <- relu(z) + V' e."""
    h = torch.clamp(z, min=0, out=a[:, : z.shape[1]])
    torch.addmm(t, h, W.T, alpha=-1, out=e)
    h.addmm_(e, V)


@_few_at_a_time(0, 1, 2, 8)
def narrow_z_relu(
    z: Tensor, m: Tensor, e: Tensor, V: Tensor, W: Tensor, gamma: float, beta: float, row: Tensor, out: Tensor
) -> None:
    """``z_relu`` for a = relu(z) + V' e, and out <- W a; ``row`` is not needed."""
    a = torch.clamp(z, min=0).addmm_(e, V)
    torch.mm(a, W.T, out=out)
    z_relu(z, a, m, gamma, beta)
