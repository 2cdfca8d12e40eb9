"""Histograms of oriented gradients (Dalal and Triggs): 648 features of a 32x32 digit.

The same numbers as scikit-image's ``hog(..., block_norm="L2-Hys")``, and besides signed orientations and a
stride between blocks. The papers name the features and their number (648), not the parameters: the default
is the usual choice that gives 648.

Per pixel: central differences, zero on the border, in the colour channel where they are largest; their
magnitude is added to one bin of orientation. Per cell: the histogram, divided by the number of pixels.
Per block of cells: divided by its length, clipped at 0.2, divided by its length again (L2-Hys). Pixels
right of and below the last whole cell take no part. Blocks overlap where the stride is below their size.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.errors import DataError, UserError
from admmctl.kernels import Array, compiled
from admmctl.settings import Count, Settings

_BATCH_BYTES = 2**18  # of pixels at a time: the plain NumPy path needs about 30 times as much


class HogSettings(Settings):
    """The parameters; the features are (block row, block column, cell row, cell column, orientation)."""

    cell: Count = Field(default=8, description="pixels along a side of a cell")
    block: Count = Field(default=2, description="cells along a side of a block")
    stride: Count = Field(default=1, description="cells from one block to the next")
    orientations: int = Field(default=18, ge=1, le=1000, description="bins of a histogram")
    signed: bool = Field(default=True, description="bins over 360 degrees; 180 (dark-light = light-dark) if not")


def features(settings: HogSettings, height: int = 32, width: int = 32) -> int:
    """The number of features of an image. Raises UserError when not even one block fits into it."""
    cell, block, stride = settings.cell, settings.block, settings.stride
    if min(height, width) < cell * block:
        raise UserError(
            f"hog: a block of {block}x{block} cells of {cell}x{cell} pixels does not fit into an image of "
            f"{height}x{width}; cell times block must be at most {min(height, width)}"
        )
    blocks_down = (height // cell - block) // stride + 1
    blocks_across = (width // cell - block) // stride + 1
    return blocks_down * blocks_across * block * block * settings.orientations


def hog(images: NDArray[np.uint8], settings: HogSettings, out: NDArray[np.float32]) -> None:
    """Write the features of ``images``, (n, height, width, channels) or (n, height, width), into ``out``.

    ``out`` has shape (n, ``features(settings, height, width)``). Either may lie anywhere, in any order of
    axes, memory-mapped too: a small batch is copied at a time.

    Raises UserError when no block fits into the images, DataError when ``images`` are no images of bytes,
    ValueError when ``out`` has another shape.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(
            f"hog: images of bytes are needed, shape (n, height, width[, channels]), "
            f"but this is {images.dtype} of shape {images.shape}"
        )
    n, height, width = images.shape[:3]
    if out.shape != (n, features(settings, height, width)):
        raise ValueError(f"out has shape {out.shape}, not {(n, features(settings, height, width))}")
    strength, bins = _tables(settings.orientations, settings.signed)
    sizes = settings.orientations, settings.cell, settings.block, settings.stride
    pixels = images[..., None] if images.ndim == 3 else images
    step = max(1, _BATCH_BYTES // pixels[:1].nbytes) if n else 1
    # Always a fresh C-order array: one compiled variant serves all, read-only and transposed views too.
    batch = np.empty((min(step, n), *pixels.shape[1:]), np.uint8)
    for start in range(0, n, step):
        part = batch[: min(step, n - start)]
        part[...] = pixels[start : start + step]
        _histograms(part, strength, bins, *sizes, out[start : start + step])


@lru_cache(maxsize=4)
def _tables(orientations: int, signed: bool) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Magnitude by (|gy|, |gx|), shape (256, 256), and bin by (gy + 255, gx + 255), shape (511, 511).

    Differences of bytes are whole numbers, so many lie exactly on the edge between two bins, and many
    channels are equally strong. The tables are computed by scikit-image's own formula (degrees and edges in
    float64, ``hypot``), so that each falls on the same side as there; and looking up is fast.
    """
    degrees = 360 if signed else 180
    steps = np.arange(256, dtype=np.float64)
    strength = np.hypot(steps[:, None], steps)
    differences = np.arange(-255, 256, dtype=np.float64)
    angle = np.arctan2(differences[:, None], differences) * (180 / np.pi) % degrees
    edges = degrees / orientations * np.arange(1, orientations)
    return strength, np.searchsorted(edges, angle, side="right").astype(np.int16)


def _histograms_plain(
    images: Array, strength: Array, bins: Array, orientations: int, cell: int, block: int, stride: int, out: Array
) -> None:
    n, height, width, _ = images.shape
    rows, columns = height // cell, width // cell
    values: Array = images.astype(np.int32)
    gy, gx = np.zeros_like(values), np.zeros_like(values)
    gy[:, 1:-1] = values[:, 2:] - values[:, :-2]
    gx[:, :, 1:-1] = values[:, :, 2:] - values[:, :, :-2]
    votes = strength[np.abs(gy), np.abs(gx)]
    channel = votes.argmax(axis=3)[..., None]  # of equal channels the first one
    dy, dx, vote = (
        np.take_along_axis(each, channel, axis=3)[:, : rows * cell, : columns * cell, 0]
        for each in (gy, gx, votes)
    )
    across, down = np.arange(columns * cell) // cell, np.arange(rows * cell)[:, None] // cell
    of_cell = (np.arange(n)[:, None, None] * rows + down) * columns + across
    index = of_cell * orientations + bins[dy + 255, dx + 255]
    total = np.bincount(index.ravel(), vote.ravel(), n * rows * columns * orientations)
    histograms = total.reshape(n, rows, columns, orientations) / cell**2
    size, at = block * block * orientations, 0
    for r in range(0, rows - block + 1, stride):
        for c in range(0, columns - block + 1, stride):
            values = histograms[:, r : r + block, c : c + block].reshape(n, size)
            values = np.minimum(values / np.sqrt((values**2).sum(axis=1, keepdims=True) + 1e-10), 0.2)
            out[:, at : at + size] = values / np.sqrt((values**2).sum(axis=1, keepdims=True) + 1e-10)
            at += size


@compiled(_histograms_plain)
def _histograms(
    images: Array, strength: Array, bins: Array, orientations: int, cell: int, block: int, stride: int, out: Array
) -> None:
    """The features of a batch, whose arguments ``hog`` has checked.

    ``images`` has shape (n, height, width, channels), bytes; ``out`` (n, features). ``strength[|gy|, |gx|]``
    and ``bins[gy + 255, gx + 255]`` tell magnitude and orientation of every gradient that bytes can have.
    """
    n, height, width, channels = images.shape
    rows, columns = height // cell, width // cell
    histograms = np.empty((rows, columns, orientations))
    for k in range(n):
        histograms[:] = 0
        for y in range(rows * cell):
            for x in range(columns * cell):
                vote, gy, gx = -1.0, np.int32(0), np.int32(0)
                for c in range(channels):
                    dy, dx = np.int32(0), np.int32(0)
                    if 0 < y < height - 1:
                        dy = np.int32(images[k, y + 1, x, c]) - np.int32(images[k, y - 1, x, c])
                    if 0 < x < width - 1:
                        dx = np.int32(images[k, y, x + 1, c]) - np.int32(images[k, y, x - 1, c])
                    magnitude = strength[abs(dy), abs(dx)]
                    if magnitude > vote:  # of equal channels the first one
                        vote, gy, gx = magnitude, dy, dx
                histograms[y // cell, x // cell, bins[gy + 255, gx + 255]] += vote
        histograms /= cell * cell
        at = 0
        for r in range(0, rows - block + 1, stride):
            for c in range(0, columns - block + 1, stride):
                values = histograms[r : r + block, c : c + block]
                total = 0.0
                for i in range(block):
                    for j in range(block):
                        for o in range(orientations):
                            total += values[i, j, o] * values[i, j, o]
                scale, total = 1 / np.sqrt(total + 1e-10), 0.0
                for i in range(block):
                    for j in range(block):
                        for o in range(orientations):
                            clipped = min(values[i, j, o] * scale, 0.2)
                            total += clipped * clipped
                            out[k, at + (i * block + j) * orientations + o] = clipped
                scale = 1 / np.sqrt(total + 1e-10)
                for i in range(at, at + block * block * orientations):
                    out[k, i] *= scale
                at += block * block * orientations
