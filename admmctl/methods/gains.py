"""The gains of the a-update and of the backward pass: V = W'(ratio I + W W')^-1, by all ranks together."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from admmctl.comm import Comm, Serial
from admmctl.devices.arrays import factored
from admmctl.methods.division import Share, solve_work
from admmctl.methods.method import Array, Diverged, Message, Timer, Untimed

WORTH = 4e6  # operations below which every rank makes a gain itself: a message takes longer


def gain(W: Array, ratio: float, dtype: type = np.float64) -> Array:
    """V = W'(ratio I + W W')^-1 of W (k', k), shape (k, k'), columns one after another, in the type of ``W``.

    The minimum over a of ratio ||a - h||^2 + ||t - W a||^2 is h + V (t - W h): found on the side of W W' or, where
    that is the smaller, of W'W (push-through identity), by a Cholesky factor in ``dtype``, or in float64 where
    that is not precise enough. Raises Diverged.
    """
    return divided_gains({1: W}, {1: ratio}, dtype, Serial(), Untimed())[1]


def divided_gains(
    W: Mapping[int, Array], ratios: Mapping[int, float], dtype: type, comm: Comm, clock: Timer
) -> dict[int, Array]:
    """``gain`` of several W at once, by all ranks together, who have the same W.

    With A the smaller side of W first, W or W', the rows of A A' are divided over ranks, then the columns of
    (A A' + ratio)^-1 A. Every rank that has such columns makes the factor. Raises Diverged, on all ranks.
    """
    if not all(np.isfinite(W_l).all() for W_l in W.values()):
        raise Diverged("the weights are not finite")
    if not W:
        return {}
    narrow = {l: len(W_l) <= W_l.shape[1] for l, W_l in W.items()}
    A: dict[int, Array] = {l: (W_l if narrow[l] else W_l.T).astype(dtype, copy=False) for l, W_l in W.items()}
    divided = [l for l, side in A.items() if comm.size > 1 and 3.0 * len(side) * side.size > WORTH]
    sent = next(iter(W.values())).dtype
    solved = _solve_together({l: A[l] for l in divided}, ratios, sent, comm, clock) if divided else {}
    for l in A.keys() - divided:
        solved[l] = _side_factor(A[l], A[l] @ A[l].T, ratios[l])(A[l]).T
    # Of W'W the transpose of what is solved is V itself, of W W' that of V.
    return {l: np.asfortranarray(solved[l] if narrow[l] else solved[l].T, dtype=W[l].dtype, like=W[l]) for l in W}


def _solve_together(
    A: dict[int, Array], ratios: Mapping[int, float], dtype: Any, comm: Comm, clock: Timer
) -> dict[int, Array]:
    """A'(A A' + ratio)^-1, shape (n, m), of every A (m, n) in that type: rows divided over ranks."""
    grams = _grams(A, comm, clock)
    shapes = [(n, m) for m, n in (side.shape for side in A.values())]
    division = solve_work(shapes, [m**3 / 3 for _, m in shapes]).divide(comm)
    vector: Array = np.empty(sum(division.counts), dtype, like=next(iter(A.values())))
    solved = division.views(vector)
    failure = None
    try:
        for i, (l, side) in enumerate(A.items()):
            if division.has(i):
                rows = division.rows[i]
                solved[i][rows] = _side_factor(side, grams[l], ratios[l])(side[:, rows]).T
    except Diverged as problem:
        failure = problem
    with clock.phase("reduce"):
        division.gather_sound(vector, failure, "a gain of another rank has left the range of numbers")
    return dict(zip(A, solved, strict=True))


def _grams(A: dict[int, Array], comm: Comm, clock: Timer) -> dict[int, Array]:
    """A A' of every A (m, n), the lower triangle: every rank multiplies rows of about the same area."""
    edges = {l: _edges(len(side), comm.size) for l, side in A.items()}
    tiles = [(rank, l, *edges[l][rank : rank + 2]) for rank in range(comm.size) for l in A]
    counts = [0] * comm.size
    for rank, _, low, high in tiles:
        counts[rank] += (high - low) * high
    first = next(iter(A.values()))
    packed: Array = np.empty(sum(counts), first.dtype, like=first)
    ends = accumulate((high - low) * high for _, _, low, high in tiles)
    parts = [
        packed[end - (high - low) * high : end].reshape(high - low, high)
        for end, (_, _, low, high) in zip(ends, tiles, strict=True)
    ]
    for part, (rank, l, low, high) in zip(parts, tiles, strict=True):
        if rank == comm.rank:
            np.matmul(A[l][low:high], A[l][:high].T, out=part)
    with clock.phase("reduce"):
        comm.allgather(packed, counts)
    grams: dict[int, Array] = {l: np.empty((len(side), len(side)), side.dtype, like=side) for l, side in A.items()}
    for part, (_, l, low, high) in zip(parts, tiles, strict=True):
        grams[l][low:high, :high] = part
    return grams


def _edges(m: int, ranks: int) -> list[int]:
    """Rows at which the lower triangle of an m x m matrix is cut in pieces of about the same area."""
    return [round(m * math.sqrt(rank / ranks)) for rank in range(ranks + 1)]


def _side_factor(side: Array, gram: Array, ratio: float) -> Callable[[Array], Array]:
    """X -> (A A' + ratio)^-1 X, by a factor in the type of A = ``side``, or, if that is too coarse, in float64.

    Of ``gram`` = A A' the lower triangle is read, and it is overwritten. Raises Diverged.
    """
    gram[np.diag_indices_from(gram)] += ratio
    try:
        return factored(gram)
    except np.linalg.LinAlgError:
        if side.dtype != np.float64:
            precise = side.astype(np.float64)
            return _side_factor(precise, precise @ precise.T, ratio)
        raise Diverged(
            "the matrix of the a-update, W W' + gamma/beta I, is numerically singular: W has grown"
        ) from None


def gains_share(shapes: Sequence[tuple[int, int]], width: int, ranks: int) -> Share:
    """Of ``divided_gains`` for W of these shapes, solved in numbers of ``width`` bytes."""
    sides = [(min(shape), max(shape)) for shape in shapes]
    divided = [(m, n) for m, n in sides if ranks > 1 and 3.0 * m * m * n > WORTH]
    alone = sum(3.0 * m * m * n + m**3 / 3 for m, n in sides if (m, n) not in divided)
    if not divided:
        return Share(alone, ())
    solves, _ = solve_work([(n, m) for m, n in divided], [m**3 / 3 for m, _ in divided]).cut(ranks)
    products = sum(m * m * n for m, n in divided) / ranks
    grams = width * sum(sum((high - low) * high for low, high in pairwise(_edges(m, ranks))) for m, _ in divided)
    columns = 4 * sum(m * n for m, n in divided)
    return Share(alone + products + solves, (Message("allgather", grams), Message("allgather", columns)))


def gain_bytes(outputs: int, inputs: int) -> int:
    """The peak of ``gain`` in float64, and two gains: the new one beside the old."""
    return 8 * min(outputs, inputs) ** 2 + 28 * outputs * inputs
