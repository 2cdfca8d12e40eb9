"""Images per second of our HOG against scikit-image's, in one run and interleaved, on the same images.

    pip install scikit-image
    python benchmarks/hog.py [--images 5000] [--repeat 5]

One thread, random 32x32x3 images (the hardest: no two gradients alike), medians. scikit-image knows only
unsigned orientations, so both are timed on these (the signed ones cost the same), and the features compared.
"""

import argparse
import os
import statistics
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from admmctl import kernels
from admmctl.data.hog import HogSettings, features, hog


def scikit(images, settings, out):
    """The same features, one image after another."""
    from skimage.feature import hog as skimage_hog

    for image, row in zip(images, out, strict=True):
        row[...] = skimage_hog(
            image,
            orientations=settings.orientations,
            pixels_per_cell=(settings.cell, settings.cell),
            cells_per_block=(settings.block, settings.block),
            block_norm="L2-Hys",
            channel_axis=-1,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    settings, signed = HogSettings(signed=False), HogSettings()
    images = np.random.default_rng(0).integers(0, 256, (options.images, 32, 32, 3), dtype=np.uint8)
    few = max(1, options.images // 20)  # scikit-image is slow, and its time per image does not depend on this
    out = np.empty((options.images, features(settings)), np.float32)
    reference = np.empty((few, features(settings)), np.float32)
    work = {
        "admmctl": (options.images, lambda: hog(images, settings, out)),
        "scikit-image": (few, lambda: scikit(images[:few], settings, reference)),
        "signed": (options.images, lambda: hog(images, signed, out)),
    }
    hog(images[:1], settings, out[:1])  # compiles
    scikit(images[:1], settings, reference[:1])
    seconds = {label: [] for label in work}
    for _ in range(options.repeat):
        for label, (_, run) in work.items():
            start = time.perf_counter()
            run()
            seconds[label].append(time.perf_counter() - start)
    rate = {label: work[label][0] / statistics.median(measured) for label, measured in seconds.items()}
    hog(images, settings, out)
    path = "compiled" if kernels.COMPILED else "plain NumPy"
    print(f"{options.images:,} random 32x32x3 images, 1 thread, median of {options.repeat}, {path}")
    print(f"admmctl       {rate['admmctl']:>9,.0f} images/s  ({rate['signed']:,.0f} with signed orientations)")
    print(f"scikit-image  {rate['scikit-image']:>9,.0f} images/s")
    print(f"ratio         {rate['admmctl'] / rate['scikit-image']:>9.1f}x")
    print(f"largest difference of a feature: {np.abs(out[:few] - reference).max():.1e}")
    print(f"73,257 digits take {73_257 / rate['signed']:.1f} s")


if __name__ == "__main__":
    main()
