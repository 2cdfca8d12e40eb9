"""Convolutional layers written out: patches, maps, matrices."""

import itertools

import numpy as np

from admmctl.model.convolution import Filters, Stack
from admmctl.model.operators import Operator
from admmctl.model.pooling import Pooled
from support.problems import Array

NETWORKS = {
    "one layer": Stack((1, 6, 4), (3,), (3, 3)),
    "full size": Stack((2, 4, 5), (3,), (4, 5)),
    "pooled": Stack((1, 6, 4), (3,), (3, 3), 2),
    "two, narrowing, even": Stack((1, 6, 6), (4, 2), (2, 4), 3),
    "two, widening, full": Stack((2, 4, 6), (2, 5), (4, 6), 2),
    "two, strides": Stack((1, 8, 8), (3, 2), (2, 2), 2, stride=2),
    "one, strides, full": Stack((2, 4, 6), (3,), (4, 6), stride=2),
    "two, zeros": Stack((1, 4, 4), (3, 2), (2, 3), 2, zeros=True),
    "three, zeros, strides": Stack((2, 4, 4), (2, 3, 2), (2, 3), stride=2, zeros=True),
}


def normal(*shape: int, seed: int = 0, dtype: type = np.float64) -> Array:
    return np.asfortranarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def with_ones(a: Array) -> Array:
    return np.asfortranarray(np.vstack([a, np.ones_like(a[:1])]))


def patches(filters: Filters, a: Array, bias: bool) -> Array:
    """What every pixel of every map sees, by indices, circular or into zeros: (C h w + bias, n places)."""
    (C, H, W), (h, w), stride = filters.image, filters.size, filters.stride
    images = a[: C * H * W].T.reshape(-1, C, H, W)
    if filters.zeros:  # enough of them for a stride that steps over the last place, too
        images = np.pad(images, ((0, 0), (0, 0), (h - 1, h + stride), (w - 1, w + stride)))
        down, across = (stride * np.arange(-(-side // stride)) for side in (H + h - 1, W + w - 1))
    else:
        down, across = (np.arange(0, side, stride) - size // 2 for side, size in ((H, h), (W, w)))
    rows = [
        images[:, c, (down[:, None] + u) % images.shape[2], (across + v) % images.shape[3]].ravel()
        for c, u, v in itertools.product(range(C), range(h), range(w))
    ]
    return np.array([*rows, *([np.ones_like(rows[0])] if bias else [])])


def maps(filters: Filters, z: Array) -> Array:
    """z (F H W, n) with a row per filter: (F, n H W)."""
    return z.T.reshape(-1, filters.rows, filters.pixels).transpose(1, 0, 2).reshape(filters.rows, -1)


def from_maps(filters: Filters, rows: Array) -> Array:
    """And back."""
    images = rows.reshape(filters.rows, -1, filters.pixels).transpose(1, 0, 2)
    return np.asfortranarray(images.reshape(len(images), -1).T)


def matrix(operator: Operator, W: Array, k: int) -> Array:
    """The layer as a matrix on (a, 1), or on a where W has no bias: by what it makes of unit vectors."""
    bias = W.shape[1] > operator.inputs
    if isinstance(operator, Pooled):
        channels, height, width = operator.image
        p = operator.pool
        P = np.zeros((operator.inputs, k))
        for row, (c, i, j) in enumerate(itertools.product(range(channels), range(height // p), range(width // p))):
            image = np.zeros(operator.image)
            image[c, i * p : (i + 1) * p, j * p : (j + 1) * p] = 1 / p**2
            P[row] = image.ravel()
        return np.hstack([W[:, : operator.inputs] @ P, W[:, operator.inputs :]])
    if not isinstance(operator, Filters):
        return W
    units = from_maps(operator, W[:, : operator.inputs] @ patches(operator, np.eye(k), False))
    return np.hstack([units, np.repeat(W[:, -1:], operator.pixels, axis=0)]) if bias else units
