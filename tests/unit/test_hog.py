"""Histograms of oriented gradients: against scikit-image, against a direct loop, compiled against plain."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.traced import traced

from admmctl.data import hog as module
from admmctl.data.hog import HogSettings, features, hog
from admmctl.errors import DataError, UserError

EDGES = (1, 2, 3, 4, 6, 7, 8, 9, 12, 18)  # 4, 8 and 12 have bin edges at 45 degrees, where gx = gy


def images_of(seed, n=3, height=32, width=32, channels=3, levels=256):
    """Random images; few levels give many equal channels and many gradients of 0, 45, 90, ... degrees."""
    shape = (n, height, width, channels) if channels else (n, height, width)
    return (np.random.default_rng(seed).integers(0, levels, shape) * (255 // (levels - 1))).astype(np.uint8)


def computed(images, chosen):
    out = np.full((len(images), features(chosen, *images.shape[1:3])), np.nan, np.float32)
    hog(images, chosen, out)
    return out


def direct(image, chosen):
    """The definition, pixel by pixel, in Python's own numbers; nothing in common with the code under test."""
    height, width, channels = image.shape
    pixel = image.astype(int).tolist()
    rows, columns = height // chosen.cell, width // chosen.cell
    degrees = 360 if chosen.signed else 180
    histogram = {}
    for y in range(rows * chosen.cell):
        for x in range(columns * chosen.cell):
            best = (-1.0, 0, 0)
            for c in range(channels):
                gy = pixel[y + 1][x][c] - pixel[y - 1][x][c] if 0 < y < height - 1 else 0
                gx = pixel[y][x + 1][c] - pixel[y][x - 1][c] if 0 < x < width - 1 else 0
                if math.hypot(gx, gy) > best[0]:
                    best = (math.hypot(gx, gy), gy, gx)
            angle = math.degrees(math.atan2(best[1], best[2])) % degrees
            key = y // chosen.cell, x // chosen.cell, int(angle / (degrees / chosen.orientations))
            histogram[key] = histogram.get(key, 0.0) + best[0] / chosen.cell**2
    found = []
    for r in range(0, rows - chosen.block + 1, chosen.stride):
        for c in range(0, columns - chosen.block + 1, chosen.stride):
            block = [
                histogram.get((i, j, o), 0.0)
                for i in range(r, r + chosen.block)
                for j in range(c, c + chosen.block)
                for o in range(chosen.orientations)
            ]
            block = [min(v / math.sqrt(sum(w * w for w in block) + 1e-10), 0.2) for v in block]
            length = math.sqrt(sum(w * w for w in block) + 1e-10)
            found += [v / length for v in block]
    return np.array(found)


def scikit(images, chosen):
    reference = pytest.importorskip("skimage.feature")
    return np.array(
        [
            reference.hog(
                image,
                orientations=chosen.orientations,
                pixels_per_cell=(chosen.cell, chosen.cell),
                cells_per_block=(chosen.block, chosen.block),
                block_norm="L2-Hys",
                channel_axis=-1 if image.ndim == 3 else None,
            )
            for image in images
        ]
    )


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    levels=st.sampled_from([2, 3, 6, 256]),
    cell=st.integers(1, 9),
    block=st.integers(1, 3),
    orientations=st.sampled_from(EDGES),
    height=st.integers(27, 33),
    width=st.integers(27, 33),
    channels=st.sampled_from([0, 1, 3, 4]),
)
@example(0, 2, 8, 2, 4, 32, 32, 0)
@example(0, 2, 8, 2, 18, 32, 32, 3)
@example(0, 256, 5, 3, 9, 32, 31, 3)  # an odd cell, and pixels beyond the last one
def test_equals_scikit_image(seed, levels, cell, block, orientations, height, width, channels):
    chosen = HogSettings(cell=cell, block=block, orientations=orientations, signed=False)
    images = images_of(seed, 1, height, width, channels, levels)
    np.testing.assert_allclose(computed(images, chosen), scikit(images, chosen), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("orientations", "reach"), [(4, 255), (9, 255), (18, 255), (338, 9)])
def test_every_gradient_falls_into_scikit_images_bin(orientations, reach):
    """All 511 x 511 gradients of bytes, one histogram each; 338 bins have an edge at 90 + 1e-14 degrees."""
    histograms = pytest.importorskip("skimage.feature._hoghistogram")
    g = np.arange(-reach, reach + 1)
    gy, gx = (np.ascontiguousarray(a) for a in np.broadcast_arrays(g[:, None], g))
    found = np.zeros((len(g), len(g), orientations))
    size = [len(g)] * 4
    histograms.hog_histograms(gx.astype(float), gy.astype(float), 1, 1, *size, orientations, found)
    strength, bins = module._tables(orientations, False)
    expected = np.zeros_like(found)
    where = bins[gy + 255, gx + 255].astype(int)
    np.put_along_axis(expected, where[..., None], strength[abs(gy), abs(gx)][..., None], axis=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.data
def test_equals_scikit_image_on_real_digits(mirror):
    with np.load(mirror / "svhn" / "svhn_train_first1083.npz") as digits:
        images = digits["X"]
    for orientations in (9, 12, 18):
        chosen = HogSettings(signed=False, orientations=orientations)
        part = images[orientations::5]
        np.testing.assert_allclose(computed(part, chosen), scikit(part, chosen), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    cell=st.integers(1, 8),
    block=st.integers(1, 2),
    stride=st.integers(1, 3),
    orientations=st.sampled_from(EDGES),
    channels=st.sampled_from([1, 3]),
    signed=st.booleans(),
)
def test_equals_the_direct_loop(seed, cell, block, stride, orientations, channels, signed):
    chosen = HogSettings(cell=cell, block=block, stride=stride, orientations=orientations, signed=signed)
    images = images_of(seed, 1, 17, 19, channels)
    np.testing.assert_allclose(computed(images, chosen)[0], direct(images[0], chosen), rtol=0, atol=1e-6)


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("signed", [True, False])
def test_a_ramp_falls_into_the_bin_of_its_direction(turn, signed):
    """Gradients of exactly 0, 45, ... 315 degrees, with bins that begin there: each in the bin it begins."""
    y, x = np.mgrid[:16, :16]
    step_y, step_x = round(math.sin(turn * math.pi / 4)), round(math.cos(turn * math.pi / 4))
    image = (120 + 3 * (step_y * y + step_x * x)).astype(np.uint8)[None]
    chosen = HogSettings(cell=2, block=1, orientations=8 if signed else 4, signed=signed)
    expected = np.zeros(chosen.orientations)
    expected[turn % chosen.orientations] = 1
    np.testing.assert_allclose(computed(image, chosen).reshape(8, 8, -1)[3, 3], expected, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    levels=st.sampled_from([2, 4, 256]),
    cell=st.integers(1, 9),
    block=st.integers(1, 3),
    stride=st.integers(1, 3),
    orientations=st.sampled_from(EDGES),
    signed=st.booleans(),
)
def test_compiled_equals_plain(seed, levels, cell, block, stride, orientations, signed):
    chosen = HogSettings(cell=cell, block=block, stride=stride, orientations=orientations, signed=signed)
    images = images_of(seed, 3, 31, 28, 3, levels)
    plain = np.empty((3, features(chosen, 31, 28)), np.float32)
    module._histograms_plain(
        images, *module._tables(orientations, signed), orientations, cell, block, stride, plain
    )
    np.testing.assert_allclose(computed(images, chosen), plain, rtol=0, atol=1e-6)


def test_opposite_directions_differ_only_when_signed():
    images = images_of(5, n=2)
    signed, unsigned = HogSettings(), HogSettings(signed=False)
    assert np.abs(computed(images, signed) - computed(255 - images, signed)).max() > 0.1
    np.testing.assert_array_equal(computed(images, unsigned), computed(255 - images, unsigned))


def test_any_number_and_any_layout_of_images(tmp_path):
    """More than a batch, a read-only memory map, transposed views, a part of a wider output, none at all."""
    images = images_of(1, n=300)
    expected = computed(images, HogSettings())
    assert expected.shape == (300, features(HogSettings())) == (300, 648)  # as in the papers
    assert not computed(np.full((2, 32, 32, 3), 77, np.uint8), HogSettings()).any()  # flat images have none
    repeated = np.repeat(images[..., :1], 3, axis=3)  # grey images are one channel
    np.testing.assert_array_equal(computed(images[..., 0], HogSettings()), computed(repeated, HogSettings()))
    np.testing.assert_array_equal(computed(images[:1], HogSettings()), expected[:1])
    np.save(tmp_path / "x.npy", images)
    np.testing.assert_array_equal(computed(np.load(tmp_path / "x.npy", mmap_mode="r"), HogSettings()), expected)
    reversed_axes = np.ascontiguousarray(images.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(computed(reversed_axes, HogSettings()), expected)
    wide = np.full((300, 650), 7, np.float32)
    hog(images, HogSettings(), wide[:, 1:-1])
    np.testing.assert_array_equal(wide[:, 1:-1], expected)
    assert (wide[:, [0, -1]] == 7).all()
    assert computed(images[:0], HogSettings()).shape == (0, 648)
    assert computed(images[:0, :, :, 0], HogSettings()).shape == (0, 648)


@pytest.mark.parametrize("path", ["compiled", "numpy"])
def test_memory_does_not_grow_with_the_images(path, monkeypatch):
    if path == "numpy":
        monkeypatch.setattr(module, "_histograms", module._histograms_plain)
    images = np.broadcast_to(images_of(3, n=1), (3_000, 32, 32, 3))  # 9 MB if it were copied whole
    out = np.empty((3_000, 648), np.float32)
    hog(images[:100], HogSettings(), out[:100])
    with traced() as memory:
        hog(images, HogSettings(), out)
    plain = module._histograms is module._histograms_plain
    assert memory.peak < (12 if plain else 1) * 2**20


def test_without_numba_in_a_process_of_its_own():
    code = (
        "import sys, admmctl.data.hog as h, admmctl.kernels as k;"
        "sys.exit(k.COMPILED or h._histograms is not h._histograms_plain)"
    )
    environment = {**os.environ, "ADMMCTL_KERNELS": "numpy"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


@pytest.mark.parametrize(
    ("changed", "height", "width"),
    [({"cell": 17}, 32, 32), ({"block": 5}, 32, 32), ({"cell": 33, "block": 1}, 32, 40), ({}, 15, 32), ({}, 0, 0)],
)
def test_a_block_that_does_not_fit_is_an_error(changed, height, width):
    with pytest.raises(UserError, match="does not fit into an image of"):
        features(HogSettings(**changed), height, width)


def test_images_that_are_none_are_an_error():
    out = np.empty((2, 648), np.float32)
    for wrong in (
        np.zeros((2, 32, 32, 3), np.float32),
        np.zeros((2, 3072), np.uint8),
        np.zeros((2, 32, 32, 3, 1), np.uint8),
        np.zeros((2, 32, 32, 0), np.uint8),
    ):
        with pytest.raises(DataError, match="images of bytes are needed"):
            hog(wrong, HogSettings(), out)
    with pytest.raises(ValueError, match="out has shape"):
        hog(images_of(0, n=3), HogSettings(), out)
    with pytest.raises(UserError, match="does not fit"):
        hog(np.zeros((2, 8, 8), np.uint8), HogSettings(), out)


@pytest.mark.parametrize(
    "wrong", [{"cell": 0}, {"block": 0}, {"stride": 0}, {"orientations": 0}, {"orientations": 1001}, {"bins": 9}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError):
        HogSettings(**wrong)
