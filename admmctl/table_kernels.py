"""Compiled loops of the tabulated z-update: ``admmctl.model.lookup`` builds its tables and reads them with these.

They compute argmin_z r (a - f(z))^2 + (z - m)^2, for f = cos if ``period`` is 2 pi, and f = tanh if it is 0.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from admmctl.kernels import Array, compiled

_APART = 0.15  # between two nodes: the points where the cost is compared first
_SATURATED = 9.0  # beyond it, tanh is within 6e-8 of 1


@compiled(None)
def _tanh(x: float) -> float:
    """Ten times as fast as that of the standard library."""
    e = math.exp(-2.0 * abs(x))
    return math.copysign((1.0 - e) / (1.0 + e), x)


def _search_plain(a: Array, m: Array, r: float, period: float, out: Array) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        shift = period * np.rint(m / period) if period else np.zeros_like(m)
        rest = m - shift
        sign = np.copysign(1.0, rest)
        m = np.abs(rest)
        a = a if period else sign * a
        f = np.cos if period else np.tanh
        if period:
            low, high = np.zeros_like(m), np.full_like(m, math.pi)
        else:
            gap = a - np.tanh(m)
            far, at = m + math.sqrt(r) * gap, np.arctanh(np.clip(a, -1 + 1e-15, 1 - 1e-15))
            low = np.where(gap < 0, np.maximum(far, np.minimum(at, m)), m)
            high = np.where(gap < 0, m, np.where(a < 1, np.minimum(far, np.maximum(at, m)), far))
        first = np.minimum(np.maximum(low, -_SATURATED), high)
        last = np.maximum(np.minimum(high, _SATURATED), first)
        nodes = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, 2 + int(2 * _SATURATED / _APART))
        nodes = np.concatenate([low[:, None], nodes, high[:, None]], axis=1)
        cost = r * (a[:, None] - f(nodes)) ** 2 + (nodes - m[:, None]) ** 2
        # There are two valleys at most, and nodes alone do not tell which is deeper. So both are searched: around
        # the best node, and around the best other node that is lower than its neighbours.
        best = np.argmin(cost, axis=1)[:, None]
        around = np.pad(cost, ((0, 0), (1, 1)), constant_values=np.inf)
        valley = (np.abs(np.arange(cost.shape[1]) - best) > 2) & (cost <= around[:, :-2]) & (cost <= around[:, 2:])
        second = np.argmin(np.where(valley, cost, np.inf), axis=1)[:, None]
        bottoms = []
        for node in (best, second):
            # Two nodes away: the nearest one is the same if first is low, or last is high.
            left = np.take_along_axis(nodes, np.maximum(node - 2, 0), axis=1)[:, 0]
            right = np.take_along_axis(nodes, np.minimum(node + 2, cost.shape[1] - 1), axis=1)[:, 0]
            bottoms.append(_golden_section(lambda w: r * (a - f(w)) ** 2 + (w - m) ** 2, left, right))
        (w, least), (other, cost_there) = bottoms
        out[...] = sign * np.where(cost_there < least, other, w) + shift


def _golden_section(cost: Callable[[Array], Array], left: Array, right: Array) -> tuple[Array, Array]:
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(45):  # brackets shrink by 4e-10, as near as comparing costs can tell
        span = golden * (right - left)
        lower, upper = right - span, left + span
        first = cost(lower) < cost(upper)
        left, right = np.where(first, left, lower), np.where(first, upper, right)
    w = (left + right) / 2
    return w, cost(w)


@compiled(None)
def _bottom(
    r: float, a: float, m: float, cosine: bool, left: float, w: float, right: float
) -> tuple[float, float]:
    """The minimum in the valley between ``left`` and ``right``, by Newton's method from ``w``, and its cost."""
    f = 0.0
    for _ in range(60):
        f = math.cos(w) if cosine else _tanh(w)
        slope = -math.sin(w) if cosine else 1.0 - f * f
        bend = -f if cosine else -2.0 * f * slope
        g = (w - m) - r * (a - f) * slope
        if g > 0:
            right = w
        else:
            left = w
        curvature = 1.0 + r * (slope * slope - (a - f) * bend)
        new = w - g / curvature if curvature > 0 else left
        if not left < new < right:
            new = 0.5 * (left + right)
        if abs(new - w) <= 1e-10 * (1.0 + abs(w)):
            break
        w = new
    return w, r * (a - f) * (a - f) + (w - m) * (w - m)


@compiled(None)
def _minimum(a: float, m: float, r: float, period: float) -> float:
    """The best of all local minima.

    By symmetry, m >= 0. For tanh, the minimiser lies on the side of m where tanh comes nearer to a. It is at
    most sqrt(r) |a - tanh m| away from m (farther away, the distance alone costs more than staying at m), and
    not beyond the point where tanh is a. For the cosine, it lies in [0, pi] like m: -z and 2 pi - z have the
    same cosine as z, and the one in [0, pi] is nearest to m. The cost is computed at nodes that are close
    enough to see every valley; Newton's method finds the bottom of each.
    """
    cosine = period > 0
    shift = period * np.rint(m / period) if cosine else 0.0
    rest = m - shift
    sign = -1.0 if rest < 0 else 1.0
    mm = sign * rest
    aa = a if cosine else sign * a
    if not (abs(aa) < np.inf and mm < np.inf):
        return np.nan
    low, high = 0.0, math.pi
    if not cosine:
        low, high = mm, mm
        gap = aa - _tanh(mm)
        far = mm + math.sqrt(r) * gap
        if gap < 0:
            low = max(far, min(math.atanh(aa), mm)) if aa > -1 else far
        else:
            high = min(far, max(math.atanh(aa), mm)) if aa < 1 else far
    # Nodes: low, evenly spaced ones from first to last, and high. Their tanh or cosine is by addition theorems.
    first = min(max(low, -_SATURATED), high)
    last = max(min(high, _SATURATED), first)
    nodes = 2 + int((last - first) / _APART)
    step = (last - first) / (nodes - 1)
    f_of_step, sine_of_step = math.cos(step) if cosine else _tanh(step), math.sin(step)
    f, sine = 0.0, 0.0
    # There are two valleys at most, and nodes alone do not tell which is deeper: both bottoms are computed.
    best, least = low, np.inf
    w, cost, before = low, np.inf, low
    falling = True
    for node in range(-1, nodes + 2):
        above, cost_above = high, np.inf
        if node <= nodes:
            if node == -1 or node == nodes:
                above = low if node < 0 else high
                f_above = math.cos(above) if cosine else _tanh(above)
            else:
                above = first + step * node
                if node == 0:
                    f = math.cos(above) if cosine else _tanh(above)
                    sine = math.sin(above)
                elif cosine:
                    f, sine = f * f_of_step - sine * sine_of_step, sine * f_of_step + f * sine_of_step
                else:
                    f = (f + f_of_step) / (1.0 + f * f_of_step)
                f_above = f
            if node >= 0 and above - w <= 1e-9 * (1.0 + abs(above)):
                continue  # the same node: first is low, or last is high, up to rounding
            cost_above = r * (aa - f_above) * (aa - f_above) + (above - mm) * (above - mm)
        if falling and cost_above > cost:
            bottom, there = _bottom(r, aa, mm, cosine, before, w, above)
            if there < least:
                best, least = bottom, there
        falling = cost_above <= cost
        before, w, cost = w, above, cost_above
    return sign * best + shift


@compiled(_search_plain)
def search(a: Array, m: Array, r: float, period: float, out: Array) -> None:
    """``out`` <- the minimisers for vectors ``a`` and ``m`` in float64; NaN for NaN."""
    for i in range(len(m)):
        out[i] = _minimum(a[i], m[i], r, period)


def _read_plain(
    z: Array, a: Array, m: Array, cells: Array, stretch: Array, r: float, reach: float, per: Array, period: float
) -> None:
    rows, columns, _ = cells.shape
    scale_a, shift_a, scale_m = (z.dtype.type(number) for number in stretch)
    with np.errstate(invalid="ignore", over="ignore"):
        mm = scale_m * m
        shift = z.dtype.type(period) * np.rint(mm / period) if period else np.zeros_like(mm)
        rest = mm - shift
        sign = np.copysign(z.dtype.type(1), rest)
        aa = scale_a * a[:, : z.shape[1]] + shift_a
        x, y = sign * rest * z.dtype.type(per[1]), ((aa if period else sign * aa) + reach) * z.dtype.type(per[0])
        column, row = (
            np.clip(np.nan_to_num(at), 0, top - 1).astype(np.int32) for at, top in ((x, columns), (y, rows))
        )
        u, v = x - column, np.where((y >= 0) & (y <= rows), y - row, np.nan)
        cell = cells[row, column]
        w = cell[..., 0] + u * cell[..., 1] + v * (cell[..., 2] + u * cell[..., 3])
        z[...] = (sign * w + shift) / scale_m
        left = np.nonzero(np.isnan(z))
        exact = np.empty(len(left[0]))
        _search_plain(aa[left].astype(np.float64), mm[left].astype(np.float64), r, period, exact)
        z[left] = exact / scale_m


def _reader(periodic: bool) -> Callable[..., None]:
    """``read_tanh`` or ``read_cosine``. They are two because folding a period takes a third of the other time.

    z <- the table's solution, entry by entry, or that of ``search`` where the table has none. ``z``, ``m``
    have shape (samples, k), C order; ``a`` may have one more column, which is not read. ``cells`` (rows of a,
    columns of m, 4), float32, are bilinear coefficients, ``per`` is the number of cells per unit of a and of
    m. ``stretch`` is (scale_a, shift_a, scale_m): scale_a a + shift_a and scale_m m are looked up, and scale_m
    z is found. The table holds |a| <= ``reach``; beyond its last m, its last column is used.
    """

    @compiled(partial(_read_plain, period=2 * math.pi if periodic else 0.0))
    def read(
        z: Array, a: Array, m: Array, cells: Array, stretch: Array, r: float, reach: float, per: Array
    ) -> None:
        real = z.dtype.type
        rows, columns = cells.shape[0], cells.shape[1]
        flat = cells.reshape(-1)
        scale_a, shift_a, scale_m = real(stretch[0]), real(stretch[1]), real(stretch[2])
        unscale, offset, per_a, per_m = real(1 / stretch[2]), real(reach), real(per[0]), real(per[1])
        zero, one, nothing, top = real(0), real(1), real(np.nan), real(rows)
        last_x, last_y = real(columns - 1), real(rows - 1)
        period = 2 * math.pi if periodic else 0.0
        whole, frequency = real(2 * math.pi), real(0.5 / math.pi)
        magic = real(1.5 * 2.0 ** (23 if z.itemsize == 4 else 52))  # adding and subtracting it rounds
        k = z.shape[1]
        u, v, w = np.empty(k, z.dtype), np.empty(k, z.dtype), np.empty(k, z.dtype)
        factor, shift, at = np.empty(k, z.dtype), np.empty(k, z.dtype), np.empty(k, np.int32)
        # Three loops over a sample, not one: the first and the last are vectorised, the one that reads is not.
        for i in range(z.shape[0]):
            for j in range(k):
                mm = scale_m * m[i, j]
                if periodic:
                    turns = whole * ((mm * frequency + magic) - magic)
                    mm -= turns
                    shift[j] = turns * unscale
                sign = one if mm >= zero else -one
                aa = scale_a * a[i, j] + shift_a
                if not periodic:
                    aa *= sign
                x, y = sign * mm * per_m, (aa + offset) * per_a
                # A comparison with NaN is false: such an entry reads the first cell, and is NaN by u or v.
                cx = x if x > zero else zero
                cx = cx if cx < last_x else last_x
                cy = y if y > zero else zero
                cy = cy if cy < last_y else last_y
                column, row = np.int32(cx), np.int32(cy)
                u[j] = x - real(column)
                v[j] = y - real(row) if y >= zero and y <= top else nothing
                at[j] = (row * np.int32(columns) + column) * np.int32(4)
                factor[j] = sign * unscale
            for j in range(k):
                c = np.uint64(at[j])
                rise = flat[c + np.uint64(2)] + u[j] * flat[c + np.uint64(3)]
                w[j] = flat[c] + u[j] * flat[c + np.uint64(1)] + v[j] * rise
            missing = 0
            for j in range(k):
                z[i, j] = factor[j] * w[j] + shift[j] if periodic else factor[j] * w[j]
                missing += z[i, j] != z[i, j]
            if missing:
                for j in range(k):
                    if z[i, j] != z[i, j]:
                        exact = _minimum(scale_a * a[i, j] + shift_a, scale_m * m[i, j], r, period)
                        z[i, j] = exact / stretch[2]

    return read


read_tanh, read_cosine = _reader(False), _reader(True)
