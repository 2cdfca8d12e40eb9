"""Random numbers that depend on a seed and a row number alone, never on how rows are spread over ranks.

Philox is counter-based: the block of numbers that belongs to a row is found by advancing the counter to it.
Normals come from Box-Muller, which uses a fixed number of uniforms (the ziggurat draws a varying number).
"""

import zlib

import numpy as np
from numpy.typing import NDArray

_PER_TICK = 4  # integers of 64 bits that one tick of the Philox counter yields


def _integers(seed: int, stream: str, start: int, rows: int, count: int) -> NDArray[np.uint64]:
    """``count`` random integers of 64 bits for each of ``rows`` rows from ``start``, shape (rows, count)."""
    ticks = -(-count // _PER_TICK)
    key = np.random.SeedSequence([seed, zlib.crc32(stream.encode())]).generate_state(2, np.uint64)
    raw = np.random.Philox(key=key).advance(start * ticks).random_raw(rows * ticks * _PER_TICK)
    return np.asarray(raw, dtype=np.uint64).reshape(rows, ticks * _PER_TICK)[:, :count]


def uniform_rows(seed: int, stream: str, start: int, rows: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) for rows ``start`` to ``start + rows``, shape (rows, count)."""
    mantissas = _integers(seed, stream, start, rows, count) >> np.uint64(11)
    return np.asarray(mantissas * np.float64(2.0**-53))


def uniforms_of(seed: int, stream: str, rows: range | NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """``uniform_rows`` of the rows of these numbers, in any order, shape (len(rows), count)."""
    if isinstance(rows, range) and rows.step == 1:
        return uniform_rows(seed, stream, rows.start, len(rows), count)
    numbers = np.asarray(rows)
    if not len(numbers):
        return np.empty((0, count))
    low = int(numbers.min())
    return uniform_rows(seed, stream, low, int(numbers.max()) - low + 1, count)[numbers - low]


def uniforms(seed: int, stream: str, start: int, stop: int) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each row from ``start`` to ``stop``."""
    first = start // _PER_TICK
    ticks = -(-stop // _PER_TICK) - first
    return uniform_rows(seed, stream, first, ticks, _PER_TICK).ravel()[start - first * _PER_TICK :][: stop - start]


def normal_rows(seed: int, stream: str, start: int, rows: int, count: int) -> NDArray[np.float32]:
    """Standard normals for rows ``start`` to ``start + rows``, shape (rows, count), by Box-Muller."""
    integers = _integers(seed, stream, start, rows, -(-count // 2))
    # (0, 1] for the logarithm; 24 bits are what a float32 holds. Signed numbers become floats several at a time.
    radius = (integers >> np.uint64(40)).astype(np.int32).astype(np.float32)
    radius += np.float32(1.0)
    radius *= np.float32(2.0**-24)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle = (integers.astype(np.uint32) >> 8).astype(np.int32).astype(np.float32)
    angle *= np.float32(2.0 * np.pi * 2.0**-24)
    pairs = np.empty((rows, 2 * integers.shape[1]), dtype=np.float32)
    np.multiply(radius, np.cos(angle), out=pairs[:, 0::2])
    np.multiply(radius, np.sin(angle), out=pairs[:, 1::2])
    return pairs[:, :count]


def whole_rows(seed: int, stream: str, start: int, rows: int, count: int) -> NDArray[np.uint16]:
    """Whole numbers from 0 to 65,535, all as likely, for rows ``start`` to ``start + rows``, (rows, count)."""
    integers = _integers(seed, stream, start, rows, -(-count // 4))
    return integers.astype("<u8", copy=False).view("<u2")[:, :count]


def normals(seed: int, stream: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array of standard normals that every rank draws alike, for instance a weight matrix."""
    rows, count = shape[0], int(np.prod(shape[1:], dtype=int))
    return normal_rows(seed, stream, 0, rows, count).reshape(shape)
