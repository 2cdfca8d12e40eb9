"""MNIST: 70,000 handwritten digits of 28x28 pixels, from the four official IDX files."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from admmctl.data.catalog import Card, SourceFile
from admmctl.data.dataset import Dataset, DataSettings, Part, Progress
from admmctl.data.prepared import Prepared
from admmctl.data.store import StoredSource
from admmctl.errors import DataError

_PLACES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _file(name: str, size: int, sha256: str) -> SourceFile:
    return SourceFile(name, size, sha256, tuple(place + name for place in _PLACES))


IMAGES, LABELS = 2051, 2049  # the magic numbers of IDX files of bytes: images (3 axes), labels (1 axis)
FILES = {
    ("train", IMAGES): _file(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    ("train", LABELS): _file(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    ("test", IMAGES): _file(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    ("test", LABELS): _file(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
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

    def image(self, settings: DataSettings) -> tuple[int, int, int]:
        return 1, 28, 28

    def open(self, settings: DataSettings) -> StoredSource:
        return StoredSource(self.folder(), self.name, self.card.version)

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


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """The array in a gzip-compressed IDX file of bytes. Raises DataError when it is not exactly that."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file ({error}); fetch it again") from None
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
