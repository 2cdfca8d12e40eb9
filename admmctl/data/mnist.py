"""MNIST: 70,000 handwritten digits of 28x28 pixels, from the four official IDX files."""

import gzip
import hashlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from admmctl.data.catalog import Card, SourceFile
from admmctl.data.dataset import Dataset, all_files
from admmctl.data.prepared import Prepared
from admmctl.data.source import DataSettings, Part, Progress
from admmctl.errors import DataError

_PLACES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def _file(name: str, size: int, sha256: str) -> SourceFile:
    return SourceFile(name, size, sha256, tuple(place + name for place in _PLACES))


IMAGES, LABELS = 2051, 2049  # the magic numbers of IDX files of bytes: images (3 axes), labels (1 axis)
FILES = {
    ("train", IMAGES): _file(
        "train-images-idx3-ubyte.gz", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    ("train", LABELS): _file(
        "train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    ("test", IMAGES): _file(
        "t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    ("test", LABELS): _file(
        "t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}


# The sha256 of what the official files hold, uncompressed.
_CONTENTS = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class Mnist(Dataset):
    """``data: {name: mnist}``: 784 features in 0..255, digits 0 to 9, 60,000 to train and 10,000 to test."""

    name = "mnist"
    known_shape = (784, 10)
    card = Card(
        title="MNIST: handwritten digits, 28x28 grey",
        licence="CC BY-SA 3.0",
        citation="LeCun, Cortes, Burges: The MNIST database of handwritten digits",
        rows="60,000 + 10,000",
        features="784",
        files=tuple(FILES.values()),
        version=2,
    )

    def official_rows(self, settings: DataSettings) -> dict[Part, Sequence[int]]:
        return {
            "train": (5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949),
            "test": (980, 1_135, 1_032, 1_010, 982, 892, 958, 1_028, 974, 1_009),
        }

    def image(self, settings: DataSettings) -> tuple[int, int, int]:
        return 1, 28, 28

    def recognise(self, paths: list[Path]) -> dict[str, Path]:
        """The four files, compressed or not, or a folder of them; torchvision's is called MNIST/raw."""
        if len(paths) == 1 and paths[0].is_dir():
            found = _found_in(paths[0])
            if not found:
                raise DataError(
                    f"--from {paths[0]}: this folder does not hold the four files {', '.join(_CONTENTS)}"
                )
            return found
        return super().recognise(paths)

    def official_name(self, name: str) -> str:
        return next((file.name for file in FILES.values() if name in _spellings(file.name)), name)

    def in_folder(self, folder: Path) -> dict[str, Path]:
        """Files that are unpacked, or spelt otherwise; none where the official ones are there."""
        found = _found_in(folder)
        return {} if all(path == folder / name for name, path in found.items()) else found

    def holds_official(self, name: str, path: Path) -> bool:
        """The official images or labels, unpacked or compressed anew."""
        return hashlib.sha256(_content(path)).hexdigest() == _CONTENTS[name]

    def prepare(self, raw: dict[str, Path], prepared: Prepared, progress: Progress) -> None:
        parts: tuple[Part, ...] = ("train", "test")
        for part in parts:
            path = raw[FILES[part, IMAGES].name]
            images = read_idx(path, IMAGES)
            labels = read_idx(raw[FILES[part, LABELS].name], LABELS)
            if images.shape[1:] != (28, 28):
                raise DataError(f"{path} holds images of {images.shape[1:]} pixels; expected 28x28")
            if len(images) != len(labels):
                raise DataError(f"{path} holds {len(images):,} images, but its labels file {len(labels):,} labels")
            rows = prepared.rows(part, 784, np.uint8)
            rows.append(images.reshape(len(images), -1)[rows.done :], labels[rows.done :])
            prepared.part(part, part, 0, len(images))


def _spellings(name: str) -> list[str]:
    """What a file is called, compressed and not: train-images-idx3-ubyte, train-images.idx3-ubyte."""
    plain = name.removesuffix(".gz")
    return [spelt + end for spelt in (plain, plain.replace("-idx", ".idx")) for end in (".gz", "")]


def _found_in(folder: Path) -> dict[str, Path]:
    """The four files in a folder, or where torchvision has them below it; none where one is missing."""
    places = (folder, folder / "raw", folder / "MNIST" / "raw")
    return all_files(places, {file.name: _spellings(file.name) for file in FILES.values()})


def _content(path: Path) -> bytes:
    """What an IDX file holds, which is compressed or not. Raises DataError when it is cut off."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz" or content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        return content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file ({error}); fetch it again") from None


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """The array in an IDX file of bytes, gzip-compressed or not. Raises DataError when it is not exactly that."""
    content = _content(path)
    found = int.from_bytes(content[:4], "big")
    axes = magic % 256
    if found != magic or len(content) < 4 + 4 * axes:
        raise DataError(
            f"{path} is not an IDX file of {axes} axes: it starts with {content[:4].hex() or 'nothing'}"
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if values.size != math.prod(shape):
        raise DataError(
            f"{path} is truncated or damaged: its header says {shape}, {math.prod(shape):,} bytes, "
            f"but it holds {values.size:,}; fetch it again"
        )
    return values.reshape(shape)
