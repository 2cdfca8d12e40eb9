"""Element-wise loops, fused and compiled. More are in ``table_kernels``, and for images in ``data/hog.py``.

Every kernel takes samples as rows in C order (a block of columns, transposed) and reads its arrays once. If numba
is missing or fails, or ADMMCTL_KERNELS is "numpy", plain NumPy gives the same results; ``trouble`` says why.
"""

import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

Array = Any  # a NumPy array, float32 or float64; numba decides by the argument

_SLOWER = "element-wise loops run on NumPy, with the same results, slower"
_trouble = ""

try:
    if os.environ.get("ADMMCTL_KERNELS") == "numpy":
        raise ImportError("ADMMCTL_KERNELS=numpy")
    import numba

    COMPILED = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
    if not COMPILED:
        _trouble = f"NUMBA_DISABLE_JIT is set: {_SLOWER}; unset it"
except Exception as error:  # a numba for another NumPy, or with half of its files, can raise anything
    COMPILED = False
    if os.environ.get("ADMMCTL_KERNELS") != "numpy":
        _cause = " ".join(str(error).split())
        _trouble = f"numba cannot be loaded ({_cause}): {_SLOWER}; pip install --force-reinstall numba"

_dispatchers: list[Any] = []


def trouble() -> str:
    """Why loops take longer to start or to run than they should, then a semicolon and the cure; or ''."""
    return _trouble


def described() -> str:
    """How the loops are run, if there is no trouble."""
    if COMPILED:
        return f"numba {numba.__version__} compiles the element-wise loops"
    return "ADMMCTL_KERNELS=numpy: element-wise loops run on NumPy"


class Kernel:
    """A loop that numba compiles at its first call, once for each type of number.

    Arrays may have any layout: those that are not writeable in C order are copied for the loop. So a call on a few
    numbers, before the clock starts, compiles what all later calls need.
    """

    def __init__(self, loop: Any, plain: Callable[..., Any]) -> None:
        self.loop, self.plain = loop, plain

    def __call__(self, *arguments: Any) -> None:
        if not isinstance(arguments[0], np.ndarray):  # on a device, which has loops of its own
            arguments[0].run(self.plain.__name__.removeprefix("_").removesuffix("_plain"), arguments)
            return
        laid_out = [_standard(x) if isinstance(x, np.ndarray) and not x.flags.carray else x for x in arguments]
        try:
            self.loop(*laid_out)
        except Exception as error:
            self._fall_back(error, laid_out)
        for x, copy in zip(arguments, laid_out, strict=True):
            if copy is not x and x.flags.writeable:
                x[...] = copy

    def _fall_back(self, error: Exception, laid_out: list[Any]) -> None:
        """Run without numba's cache, whose files may be damaged or its disk full; if that fails, without numba."""
        try:
            for dispatcher in _dispatchers:
                dispatcher._cache.disable()  # of all, because loops are parts of others
            self.loop(*laid_out)
            _note_cache(f"fails ({type(error).__name__}: {error})")
        except Exception as other:
            global _trouble
            self.loop = self.plain
            self.loop(*laid_out)
            cause = " ".join(str(other).split())
            _trouble = f"numba fails ({type(other).__name__}: {cause}): {_SLOWER}"


def _standard(x: Array) -> Array:
    """A copy in C order, aligned and writeable."""
    return np.require(x, None, ["C", "A", "W"])


def _note_cache(what: str) -> None:
    global _trouble
    _trouble = (
        f"numba's cache {what}: loops are compiled anew in every process, which takes seconds before "
        "training; name another folder that can be written in NUMBA_CACHE_DIR"
    )


def compiled(
    plain: Callable[..., Any] | None, *, sums: bool = False, inline: Literal["never", "always"] = "never"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the loop is compiled where numba works, and elsewhere ``plain`` is called in its place.

    ``plain`` is None for a part of other loops, which have their own. ``sums``: the loop adds up many terms.
    ``inline``: "always" compiles a part as if it were written in those loops.
    """

    def choose(loop: Callable[..., Any]) -> Callable[..., Any]:
        if not COMPILED:
            return loop if plain is None else plain
        # Fused multiply-add is allowed, and so are sums in any order. But NaN must not be assumed away: it has to
        # come out, so that a diverged run is noticed.
        fastmath = {"contract", "reassoc", "nsz"} if sums else {"contract"}
        dispatcher: Any = numba.njit(fastmath=fastmath, error_model="numpy", inline=inline)(loop)
        try:
            dispatcher.enable_caching()
        except Exception:  # there is no folder that it may write to
            _note_cache("has no folder")
        _dispatchers.append(dispatcher)
        return dispatcher if plain is None else Kernel(dispatcher, plain)

    return choose


def _z_relu_plain(z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
    a = a[:, : z.shape[1]]
    positive = np.maximum((gamma * a + beta * m) / (gamma + beta), 0)
    negative = np.minimum(m, 0)
    cost_positive = gamma * (a - positive) ** 2 + beta * (positive - m) ** 2
    cost_negative = gamma * a**2 + beta * (negative - m) ** 2
    # When the costs are equal by rounding, m itself is cheaper.
    z[...] = np.where(cost_negative <= cost_positive, negative, positive)


@compiled(None, inline="always")
def _cheaper_z(a: float, m: float, gamma: float, beta: float, inverse: float, zero: float) -> float:
    """The z of one entry: on either side of zero the cost is a parabola, and the lower of the two minima wins."""
    positive = (gamma * a + beta * m) * inverse
    positive = positive if positive >= zero or positive != positive else zero
    negative = m if m < zero else zero
    cost_positive = gamma * (a - positive) * (a - positive) + beta * (positive - m) * (positive - m)
    cost_negative = gamma * a * a + beta * (negative - m) * (negative - m)
    return negative if cost_negative <= cost_positive else positive


@compiled(_z_relu_plain)
def z_relu(z: Array, a: Array, m: Array, gamma: float, beta: float) -> None:
    """z <- argmin_z gamma (a - relu(z))^2 + beta (z - m)^2, entry by entry (Taylor eq. 7).

    ``z``, ``m`` have shape (samples, k); ``a`` may have one more column, its row of ones, which is not read.
    """
    gamma, beta = z.dtype.type(gamma), z.dtype.type(beta)
    inverse = z.dtype.type(1) / (gamma + beta)
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = _cheaper_z(a[i, j], m[i, j], gamma, beta, inverse, zero)


def _z_cut_plain(z: Array, a: Array, m: Array, gamma: float, beta: float, lower: float, upper: float) -> None:
    a = a[:, : z.shape[1]]
    below = np.minimum(m, lower)
    above = np.maximum(m, upper)
    between = np.clip((gamma * a + beta * m) / (gamma + beta), lower, upper)
    best, cost = between, gamma * (a - between) ** 2 + beta * (between - m) ** 2
    for candidate, value in ((below, lower), (above, upper)):
        other = gamma * (a - value) ** 2 + beta * (candidate - m) ** 2
        best = np.where(other <= cost, candidate, best)
        cost = np.minimum(other, cost)
    z[...] = best


@compiled(_z_cut_plain)
def z_cut(z: Array, a: Array, m: Array, gamma: float, beta: float, lower: float, upper: float) -> None:
    """z <- argmin_z gamma (a - h(z))^2 + beta (z - m)^2, entry by entry, for h(z) cut at ``lower`` and ``upper``.

    Shapes as in ``z_relu``. Three parabolas, one on each piece of h; the cheapest minimum wins.
    """
    gamma, beta = z.dtype.type(gamma), z.dtype.type(beta)
    lower, upper = z.dtype.type(lower), z.dtype.type(upper)
    total = z.dtype.type(1) / (gamma + beta)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            aa, mm = a[i, j], m[i, j]
            best = (gamma * aa + beta * mm) * total
            best = lower if best < lower else (upper if best > upper else best)
            cost = gamma * (aa - best) * (aa - best) + beta * (best - mm) * (best - mm)
            below = mm if mm < lower else lower
            other = gamma * (aa - lower) * (aa - lower) + beta * (below - mm) * (below - mm)
            if other <= cost:
                best, cost = below, other
            above = mm if mm > upper else upper
            other = gamma * (aa - upper) * (aa - upper) + beta * (above - mm) * (above - mm)
            if other <= cost:
                best = above
            z[i, j] = best


def _narrow_a_relu_plain(z: Array, t: Array, W: Array, V: Array, e: Array, a: Array) -> None:
    h = np.maximum(z, 0)
    e[...] = t - h @ W.T
    a[:, : z.shape[1]] = h + e @ V


@compiled(_narrow_a_relu_plain, sums=True)
def narrow_a_relu(z: Array, t: Array, W: Array, V: Array, e: Array, a: Array) -> None:
    """e <- t - W relu(z) and a <- relu(z) + V' e, sample by sample (Taylor eq. 6 on its small side).

    ``z`` has shape (samples, k), ``t`` and ``e`` (samples, k'), ``W`` and ``V`` (k', k) for a next layer of
    few units k'; ``a`` may have one more column, its row of ones, which is left alone. A sample stays in the
    first-level cache between the two products.
    """
    zero = z.dtype.type(0)
    k, few = z.shape[1], t.shape[1]
    for i in range(z.shape[0]):
        for j in range(k):
            a[i, j] = zero if z[i, j] < zero else z[i, j]
        for q in range(few):
            total = zero
            for j in range(k):
                total += W[q, j] * (zero if z[i, j] < zero else z[i, j])
            e[i, q] = t[i, q] - total
        for q in range(few):
            scale = e[i, q]
            for j in range(k):
                a[i, j] += V[q, j] * scale


def _narrow_z_relu_plain(
    z: Array, m: Array, e: Array, V: Array, W: Array, gamma: float, beta: float, row: Array, out: Array
) -> None:
    a = np.maximum(z, 0) + e @ V
    out[...] = a @ W.T
    _z_relu_plain(z, a, m, gamma, beta)


@compiled(_narrow_z_relu_plain, sums=True)
def narrow_z_relu(
    z: Array, m: Array, e: Array, V: Array, W: Array, gamma: float, beta: float, row: Array, out: Array
) -> None:
    """``z_relu`` for a = relu(z) + V' e, which is kept nowhere, and out <- W a for the next layer.

    Shapes as in ``narrow_a_relu``; ``out`` is (samples, k') and ``row`` (k,) is scratch for one sample's a.
    """
    gamma, beta = z.dtype.type(gamma), z.dtype.type(beta)
    inverse = z.dtype.type(1) / (gamma + beta)
    zero = z.dtype.type(0)
    k, few = z.shape[1], e.shape[1]
    for i in range(z.shape[0]):
        for j in range(k):
            row[j] = zero if z[i, j] < zero else z[i, j]
        for q in range(few):
            scale = e[i, q]
            for j in range(k):
                row[j] += V[q, j] * scale
        for q in range(few):
            total = zero
            for j in range(k):
                total += W[q, j] * row[j]
            out[i, q] = total
        for j in range(k):
            z[i, j] = _cheaper_z(row[j], m[i, j], gamma, beta, inverse, zero)


def _graph_hidden_plain(x: Array, d: Array, first: float, second: float, lower: float, upper: float) -> None:
    px = x + first * d
    # Beyond a cut, y = lower - x or z = upper - x moves by second * d as well.
    middle = (px + x - second * d) / 2
    kept = np.where(x < lower, np.minimum(middle, lower), np.where(x > upper, np.maximum(middle, upper), px))
    between = (x >= lower) & (x <= upper)
    d[...] = 2 * (np.where(between, np.clip(px, lower, upper), kept) - x)


@compiled(_graph_hidden_plain)
def graph_hidden(x: Array, d: Array, first: float, second: float, lower: float, upper: float) -> None:
    """d <- 2 (X_new - x): Zhang and Kleijn's Table 2 once, for ``d`` = D as it comes from the layer above.

    ``x`` are pre-activations, (samples, k) like ``d``; ``first`` is 2/(rho + beta), ``second`` 2/beta. Every
    entry is reflected and projected on the set that it is in: below ``lower``, above ``upper``, or between.
    """
    # In place and without a third array: a loop whose arrays may overlap is not vectorised.
    first, second = x.dtype.type(first), x.dtype.type(second)
    lower, upper = x.dtype.type(lower), x.dtype.type(upper)
    half, two = x.dtype.type(0.5), x.dtype.type(2)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            old, step = x[i, j], d[i, j]
            px = old + first * step
            middle = (px + old - second * step) * half
            below = lower if middle > lower else middle
            above = upper if middle < upper else middle
            between = lower if px < lower else px
            between = upper if between > upper else between
            new = above if old > upper else between
            new = below if old < lower else new
            d[i, j] = two * (new - old)
