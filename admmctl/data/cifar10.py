"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes, from the official Python batches.

The batches are pickles. Nothing but plain containers and NumPy arrays is ever made from them: anything else
in the file is refused.
"""

import gzip
import io
import lzma
import pickle
import tarfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.data.catalog import Card, SourceFile
from admmctl.data.dataset import Dataset, all_files
from admmctl.data.prepared import Prepared, StoredSource
from admmctl.data.source import DataSettings, Part, Progress, Rows
from admmctl.data.wrapped import DAMAGED, intact
from admmctl.errors import DataError

SIDE, PIXELS = 32, 32 * 32 * 3
FOLDER = "cifar-10-batches-py"
TARBALL = SourceFile(
    "cifar-10-python.tar.gz",
    170_498_071,
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
)
BATCHES: tuple[tuple[str, Part], ...] = (
    *((f"data_batch_{number}", "train") for number in range(1, 6)),
    ("test_batch", "test"),
)
_SUMS = (
    (31_035_704, "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd"),
    (31_035_320, "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8"),
    (31_035_999, "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9"),
    (31_035_696, "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b"),
    (31_035_623, "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154"),
    (31_035_526, "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831"),
)


# The sha256 of the images and the labels, a byte each: the same however they are pickled.
_CONTENTS = {
    "data_batch_1": "ba52cb2d72c412975d7556bb26bd094956f1c002d1937053f6f1252f2ac17114",
    "data_batch_2": "350ff9000489d02f2568c0dcf4912ffdbae9e50932147905fb1b8159ad54f0ac",
    "data_batch_3": "a2b8653fc457df407af6c38b7e0d1a12530f3b5f81fce9f81516efd065daf722",
    "data_batch_4": "133e6292c377755074c305db8a684d48d5397372cb0aba34f52b4335eab35d97",
    "data_batch_5": "eb08cdc11fd1267ef871cf4790f193684b3f556d13317be68f4eb374a078ea87",
    "test_batch": "9a4c74f5c8b6f2c4e13d3a1dfb43a5a8cda8a9da515e99fd620d2013a1a6287a",
}


class Cifar10Settings(DataSettings):
    """The ``data:`` block of CIFAR-10. Classes: 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, ..."""

    name: str = "cifar10"
    grey: int | None = Field(
        default=None, ge=1, le=SIDE, description="side of a down-sampled grey image: 10 gives 100 features"
    )


class Cifar10Source(StoredSource):
    """Rows of CIFAR-10: all 3,072 pixels, or an area-averaged grey image (the convex paper's 100 features)."""

    def __init__(self, folder: Path, version: int, grey: int | None) -> None:
        super().__init__(folder, version)
        self._average = None if grey is None else area_average(SIDE, grey)
        if grey is not None:
            self.features = grey * grey

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        if self._average is None:
            super().inputs(part, rows, out)
            return
        images = self.stored(part, rows).reshape(-1, 3, SIDE, SIDE)
        grey = np.einsum("c,ncij->nij", LUMA, images.astype(np.float32))
        small = self._average @ grey @ self._average.T
        out[...] = small.reshape(len(small), -1)


LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # grey of red, green, blue (ITU-R BT.601)


def area_average(size: int, target: int) -> NDArray[np.float32]:
    """The matrix (target, size) that averages ``size`` pixels over ``target`` equal intervals."""
    edges = np.linspace(0, size, target + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None) * target / size
    return np.asarray(weights, dtype=np.float32)


class Cifar10(Dataset):
    """``data: {name: cifar10}``: 3,072 features in 0..255 (red, green, blue planes), ten classes."""

    name = "cifar10"
    known_shape = (PIXELS, 10)
    Settings: ClassVar[type[DataSettings]] = Cifar10Settings
    card = Card(
        title="CIFAR-10: small photographs of ten kinds, 32x32 colour",
        licence="not stated by its authors; for research",
        citation="Krizhevsky: Learning multiple layers of features from tiny images, 2009",
        rows="50,000 + 10,000",
        features="3,072, or grey and down-sampled",
        files=(TARBALL,),
    )

    parts_of_files = tuple(
        SourceFile(name, size, digest, ()) for (name, _), (size, digest) in zip(BATCHES, _SUMS, strict=True)
    )

    def open(self, settings: DataSettings) -> Cifar10Source:
        assert isinstance(settings, Cifar10Settings)
        return Cifar10Source(self.folder(), self.card.version, settings.grey)

    def shape(self, settings: DataSettings) -> tuple[int, int]:
        assert isinstance(settings, Cifar10Settings)
        pixels, classes = super().shape(settings)
        return settings.grey**2 if settings.grey else pixels, classes

    def official_rows(self, settings: DataSettings) -> dict[Part, Sequence[int]]:
        return {"train": [5_000] * 10, "test": [1_000] * 10}

    def image(self, settings: DataSettings) -> tuple[int, int, int]:
        assert isinstance(settings, Cifar10Settings)
        return (1, settings.grey, settings.grey) if settings.grey else (3, SIDE, SIDE)

    def recognise(self, paths: list[Path]) -> dict[str, Path]:
        """The official tarball, the folder of its batches, or the batches, also as .xz."""
        if len(paths) == 1 and paths[0].is_dir():
            if (paths[0] / TARBALL.name).is_file():
                return {TARBALL.name: paths[0] / TARBALL.name}
            if found := self.in_folder(paths[0]):
                return found
            raise DataError(f"--from {paths[0]}: this folder does not hold the six batches {_batch_names()}")
        if len(paths) == 1 and tarfile.is_tarfile(paths[0]):
            return {TARBALL.name: paths[0]}
        if len(paths) == 1:
            raise DataError(f"--from {paths[0]}: neither {TARBALL.name} nor a folder with {_batch_names()}")
        by_name = {path.name.removesuffix(".xz"): path for path in paths}
        missing = [name for name, _ in BATCHES if name not in by_name]
        if missing:
            raise DataError(
                f"--from: expected {TARBALL.name}, or a folder with its batches {_batch_names()}; "
                f"missing: {', '.join(missing)}"
            )
        return {name: by_name[name] for name, _ in BATCHES}

    def in_folder(self, folder: Path) -> dict[str, Path]:
        if (folder / TARBALL.name).is_file():
            return {}  # the official file itself is taken
        return all_files((folder / FOLDER, folder), {name: [name, f"{name}.xz"] for name, _ in BATCHES})

    def holds_official(self, name: str, path: Path) -> bool:
        """The official images and labels, pickled or packed anew."""
        for (batch, _), (shown, _, content) in zip(_batches_of(name), _batches({name: path}), strict=True):
            x, y = read_batch(shown, content)
            if sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest() != _CONTENTS[batch]:
                return False
        return True

    def prepare(self, raw: dict[str, Path], prepared: Prepared, progress: Progress) -> None:
        parts: tuple[Part, ...] = ("train", "test")
        writers = {part: prepared.rows(part, PIXELS, np.uint8) for part in parts}
        seen: dict[Part, int] = dict.fromkeys(parts, 0)
        for name, part, content in _batches(raw):
            x, y = read_batch(name, content)
            # Of a batch that a killed preparation has written in part, the rest.
            skip = max(0, writers[part].done - seen[part])
            writers[part].append(x[skip:], y[skip:])
            seen[part] += len(x)
            progress("preparing cifar10 (images)", sum(seen.values()), 60_000)
        for part, rows in seen.items():
            prepared.part(part, part, 0, rows)


def _batch_names() -> str:
    return ", ".join(name for name, _ in BATCHES)


def _batches_of(name: str) -> tuple[tuple[str, Part], ...]:
    """Those that a file holds: all of them, or the one of its name."""
    return tuple(batch for batch in BATCHES if name in (TARBALL.name, batch[0]))


def _batches(raw: dict[str, Path]) -> Iterator[tuple[str, Part, bytes]]:
    """Name, part and content of every batch in these files, one in memory at a time."""
    if TARBALL.name not in raw:
        for name, part in BATCHES:
            if name not in raw:
                continue
            path = raw[name]
            with intact(path):
                content = path.read_bytes()
                yield str(path), part, lzma.decompress(content) if path.suffix == ".xz" else content
        return
    path = raw[TARBALL.name]
    with intact(path, (*DAMAGED, OSError)):
        _read_to_the_end(path)
        with tarfile.open(path) as archive:
            members = {PurePosixPath(member.name).name: member for member in archive if member.isfile()}
            # Members are read, never extracted: none can be written outside a folder.
            for name, part in BATCHES:
                if name not in members:
                    raise DataError(f"{path} is not the CIFAR-10 tarball: there is no {name} in it")
                stream = archive.extractfile(members[name])
                yield f"{path}:{name}", part, b"" if stream is None else stream.read()


def _read_to_the_end(path: Path) -> None:
    """A compressed archive has its checksum at its end: reading raises where it is damaged or cut off."""
    if path.name.endswith(("gz", "tgz")):
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                continue


_INTEGERS = {f"{kind}{size}": np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)}


class _Kind:
    """Stands for the type of an array in a pickle: whole numbers, and nothing else."""

    def __init__(self, code: Any, *_: Any) -> None:
        name = code.decode("latin1") if isinstance(code, bytes) else code
        if name not in _INTEGERS:
            raise pickle.UnpicklingError(f"its array is of type {code!r}, not of whole numbers")
        self.type = _INTEGERS[name]

    def __setstate__(self, state: Any) -> None:
        if state[1] in (">", b">"):
            self.type = self.type.newbyteorder(">")


class _Array:
    """Stands for an array in a pickle. NumPy's own would believe any state that a pickle gives it."""

    values: NDArray[Any]

    def __init__(self, *_: Any) -> None:
        """What a pickle says of the array comes later, as its state."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.values = _values(data, kind, shape, "F" if fortran else "C")


def _values(data: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(kind, _Kind):
        raise pickle.UnpicklingError("its array is not made of bytes")
    return np.frombuffer(data, kind.type).reshape(shape, order=order).copy()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """An array by protocol 5."""
    array = _Array()
    array.values = _values(data, kind, shape, order)
    return array


def _scalar(kind: Any, data: Any) -> int:
    """A label that is a number of NumPy's."""
    return int(_values(data, kind, (), "C"))


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as Python 3 writes them by the protocols of Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"its text is encoded by {encoding!r}")
    return text.encode("latin1")


class _OnlyArrays(pickle.Unpickler):
    """An unpickler that makes containers and arrays of whole numbers, and nothing that could run code.

    The names are those that Python 2 and 3, and NumPy before and after its second version, give to these things.
    """

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _encode,
        **{
            (f"numpy.{core}.{module}", name): made
            for core in ("core", "_core")
            for module, name, made in (
                ("multiarray", "_reconstruct", _Array),
                ("multiarray", "scalar", _scalar),
                ("numeric", "_frombuffer", _from_buffer),
            )
        },
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which image data does not need")
        return self._ALLOWED[module, name]


def read_batch(name: str, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (rows, 3072) and labels (rows,) of one batch, as its authors or a later Python pickled it.

    Raises DataError when it is anything else.
    """
    try:
        batch = _OnlyArrays(io.BytesIO(content), encoding="bytes").load()
        x, y = (_entry(batch, key) for key in ("data", "labels"))
        y = np.asarray(y)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{name} is not a CIFAR-10 batch: {error}") from None
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or y.ndim != 1 or x.shape != (len(y), PIXELS):
        raise DataError(f"{name} is not a CIFAR-10 batch: it does not hold rows of {PIXELS} bytes with labels")
    if y.dtype.kind not in "iu" or (len(y) and not 0 <= y.min() <= y.max() <= 9):
        raise DataError(f"{name} is not a CIFAR-10 batch: labels must be 0 to 9")
    return x, y.astype(np.int64)


def _entry(batch: Any, key: str) -> Any:
    """What a batch has under a key, which Python 2 wrote as bytes and Python 3 as text."""
    if not isinstance(batch, dict):
        raise pickle.UnpicklingError("it is no mapping with data and labels")
    for spelt in (key.encode(), key):
        if spelt in batch:
            found = batch[spelt]
            return found.values if isinstance(found, _Array) else found
    raise pickle.UnpicklingError(f"it has no {key}")
