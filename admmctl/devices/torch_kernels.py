"""The element-wise loops of ``kernels.py`` in PyTorch: the same names, shapes and results to rounding.

Every function takes tensors, with samples as rows, and writes to those that ``kernels.py`` says. On a processor a
choice by truth takes ten times as long as a multiplication, and new memory as long again: so choices are made by
numbers, and rows are taken a few at a time. ``torch.compile`` makes one pass of the same text (``compile_loops``).
"""

import math
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

Tensor = Any
Loop = Callable[..., None]

_IN_CACHE = 1 << 17  # numbers of an array that are taken at a time
_kept = threading.local()  # room for so many, by type and number
_FUSED = (
    "graph_hidden",
    "z_relu",
    "z_cut",
)  # loops without products; those of others are compiled for every penalty
_compiled: dict[str, Loop] = {}


def compile_loops(wanted: bool) -> None:
    """From now on loops are made one pass each by ``torch.compile``, at their first call; or they are not."""
    _compiled.clear()
    if wanted:
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a rank starts no processes
        _compiled.update((name, torch.compile(globals()[name].__wrapped__, dynamic=True)) for name in _FUSED)


def loop(name: str) -> Loop:
    """The loop of that name."""
    found: Loop = _compiled.get(name) or globals()[name]
    return found


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


def _room(like: Tensor, count: int) -> list[Tensor]:
    """Tensors like another one, for the time of a call. On a processor they are the same in every call."""
    numbers = like.numel()
    if torch.compiler.is_compiling() or like.device.type != "cpu" or numbers > _IN_CACHE:
        return [torch.empty_like(like) for _ in range(count)]
    rooms = _kept.__dict__.setdefault(like.dtype, [])
    while len(rooms) < count:
        rooms.append(torch.empty(_IN_CACHE, dtype=like.dtype))
    return [room[:numbers].view(like.shape) for room in rooms[:count]]


@_few_at_a_time(0, 1)
def graph_hidden(x: Tensor, d: Tensor, first: float, second: float, lower: float, upper: float) -> None:
    """d <- 2 (X_new - x), Table 2 once."""
    # Beyond a cut an entry moves by half of first - second, and not across the cut; between them it stays there.
    cut, beyond, other = _room(x, 3)
    torch.mul(d, first - second, out=beyond)
    torch.mul(x, -2, out=cut)
    if lower:
        cut.add_(2 * lower)
    moved = torch.maximum(d.mul_(2 * first), cut, out=d)
    below = torch.minimum(beyond, cut, out=other)
    if upper < math.inf:
        cut.add_(2 * (upper - lower))
        torch.minimum(moved, cut, out=d)
        torch.maximum(beyond, cut, out=beyond)
        _choose(d, beyond, torch.gt(x, upper, out=cut))
    _choose(d, below, torch.lt(x, lower, out=cut))


def _choose(here: Tensor, other: Tensor, ones: Tensor) -> None:
    """here <- other where ``ones`` is 1 and not 0."""
    torch.lerp(here, other, ones, out=here)


@_few_at_a_time(0, 1, 2)
def z_relu(z: Tensor, a: Tensor, m: Tensor, gamma: float, beta: float) -> None:
    """z <- argmin_z gamma (a - relu(z))^2 + beta (z - m)^2, entry by entry."""
    positive, negative, gain = _room(z, 3)
    torch.mul(a[:, : z.shape[1]], gamma / (gamma + beta), out=positive)
    _z_relu(z, positive, m, beta / (gamma + beta), negative, gain)


def _z_relu(z: Tensor, positive: Tensor, m: Tensor, share: float, negative: Tensor, gain: Tensor) -> None:
    """z of ``z_relu``, for ``positive`` = gamma a / (gamma + beta) and ``share`` = beta / (gamma + beta)."""
    # The minima on both sides are p = max(q, 0), q = (gamma a + beta m) / (gamma + beta), and n = min(m, 0). At p
    # the cost is by (gamma + beta) p^2 below that at z = 0 on its side, at n by beta n^2: the larger gain wins.
    positive.add_(m, alpha=share).clamp_(0)
    torch.clamp(m, max=0, out=negative)
    torch.mul(negative, -math.sqrt(share), out=gain)
    torch.lerp(positive, negative, torch.ge(gain, positive, out=gain), out=z)


@_few_at_a_time(0, 1, 2)
def z_cut(z: Tensor, a: Tensor, m: Tensor, gamma: float, beta: float, lower: float, upper: float) -> None:
    """z <- argmin_z gamma (a - h(z))^2 + beta (z - m)^2, for h(z) cut at ``lower`` and ``upper``."""
    a = a[:, : z.shape[1]]
    best, cost, other, candidate, scratch = _room(z, 5)
    torch.mul(a, gamma / (gamma + beta), out=best).add_(m, alpha=beta / (gamma + beta)).clamp_(lower, upper)
    _cost(a, best, m, best, gamma, beta, cost, scratch)
    for value, side in ((lower, {"max": lower}), (upper, {"min": upper})):
        torch.clamp(m, **side, out=candidate)
        _cost(a, value, m, candidate, gamma, beta, other, scratch)
        _choose(best, candidate, torch.le(other, cost, out=scratch))
        torch.minimum(other, cost, out=cost)
    z.copy_(best)


def _cost(a: Tensor, h: Any, m: Tensor, z: Tensor, gamma: float, beta: float, out: Tensor, far: Tensor) -> None:
    """out <- gamma (a - h)^2 + beta (z - m)^2."""
    torch.sub(z, m, out=far)
    torch.sub(a, h, out=out).square_().mul_(gamma).addcmul_(far, far, value=beta)


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
    a, negative, gain = _room(z, 3)
    torch.clamp(z, min=0, out=a).addmm_(e, V)
    torch.mm(a, W.T, out=out)
    _z_relu(z, a.mul_(gamma / (gamma + beta)), m, beta / (gamma + beta), negative, gain)
