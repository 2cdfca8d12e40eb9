"""Small datasets: rows in memory, files in the official formats, and fetching them."""

import gzip
import hashlib
import io
import itertools
import json
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from admmctl.data import mnist, shards
from admmctl.data.dataset import Dataset, DataSettings, Part, Rows, Source, root, split
from admmctl.data.fetch import Request, fetch
from admmctl.errors import UserError

Array = NDArray[Any]


# --- rows in memory


class Few(Source):
    """A dataset of a handful of rows, whose feature 0 is the row's number; it notes which rows were read."""

    features = 2

    def __init__(self, train: list[int], test: list[int] | None = None, x: Array | None = None) -> None:
        self._labels: dict[str, Array] = {"train": np.array(train), "test": np.array(test or [], dtype=int)}
        self._x = x
        self.labels_known = tuple(sorted({*train, *(test or [])}))
        self.read: list[int] = []
        if x is not None:
            self.features = x.shape[1]

    def rows(self, part: Part) -> int:
        return len(self._labels[part])

    def labels(self, part: Part, rows: Rows) -> Array:
        return self._labels[part][np.asarray(rows, dtype=int)]

    def inputs(self, part: Part, rows: Rows, out: Array) -> None:
        numbers = np.asarray(rows, dtype=int)
        self.read += numbers.tolist()
        if self._x is not None:
            out[...] = self._x[numbers]
        else:
            out[:, 0], out[:, 1] = numbers, 100 * (part == "test")

    def fingerprint(self) -> str:
        return "few"


class FewSet(Dataset):
    name = "few"

    def open(self, settings: DataSettings) -> Source:
        raise AssertionError("a test hands the source over itself")


def plan_of(source: Source, **settings: Any) -> shards.Plan:
    data = DataSettings(name="few", **settings)
    return shards.Plan(source, split(FewSet(), data, source), data)


# --- files in the official formats


def idx(array: Array, magic: int | None = None, shape: tuple[int, ...] | None = None) -> bytes:
    """An IDX file of bytes, as MNIST's are, before compression."""
    shape = array.shape if shape is None else shape
    header = struct.pack(f">{1 + len(shape)}I", 2048 + len(shape) if magic is None else magic, *shape)
    return header + array.astype(np.uint8).tobytes()


def mnist_files(folder: Path, **replaced: bytes) -> list[Path]:
    """Small files under MNIST's official names; ``train_images=...`` and so on replace one, before compression."""
    images, labels = np.arange(5 * 784).reshape(5, 28, 28) % 251, np.array([3, 1, 4, 1, 5])
    contents = {
        "train_images": idx(images),
        "train_labels": idx(labels),
        "t10k_images": idx(images[::-1][:2]),
        "t10k_labels": idx(labels[::-1][:2]),
        **replaced,
    }
    folder.mkdir(exist_ok=True)
    names = [file.name for file in mnist.FILES.values()]
    return [compressed(folder / name, contents["_".join(name.split("-")[:2])]) for name in names]


def batch(x: Array, labels: Any) -> bytes:
    """A CIFAR-10 batch as its authors' Python 2 pickled it: text is bytes, NumPy's inside has its old name."""

    class Python2(pickle._Pickler):  # type: ignore[name-defined,misc]
        dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

        def save_bytes(self, value: bytes) -> None:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
            self.memoize(value)

        def save_global(self, value: Any, name: str | None = None) -> None:
            if getattr(value, "__name__", "") != "_reconstruct":
                super().save_global(value, name)
                return
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
            self.memoize(value)

        dispatch[bytes] = save_bytes
        dispatch[type(np._core.multiarray._reconstruct)] = save_global  # type: ignore[attr-defined]

    stream = io.BytesIO()
    content = {b"batch_label": b"a batch", b"labels": labels, b"data": x, b"filenames": [b"a.png"] * len(x)}
    Python2(stream, protocol=2).dump(content)
    return stream.getvalue()


def tarball(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    """A tar archive with these members."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def higgs_text(values: Array) -> bytes:
    """Rows as HIGGS.csv has them: the label, then 28 features, 18 digits after the point."""
    return "".join(",".join(f"{value:.18e}" for value in row) + "\n" for row in values.tolist()).encode()


def higgs_values(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Random rows: a label of 0 or 1 and 28 features each."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, 29)).astype(np.float32)
    values[:, 0] = generator.integers(0, 2, rows)
    return values


def compressed(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1, mtime=0))
    return path


# --- fetching


def get(name: str, *files: Path, **options: Any) -> list[str]:
    """Fetch a dataset from files that one has; returns what was said."""
    messages: list[str] = []
    fetch(name, Request(files=list(files), **options), messages.append, lambda *_: None)
    return messages


def refusal(name: str, *files: Path, **options: Any) -> str:
    """The message with which such a fetch is refused."""
    with pytest.raises(UserError) as caught:
        get(name, *files, **options)
    return str(caught.value)


def stopped(name: str, after: int, *files: Path, **options: Any) -> None:
    """Fetch until ``after`` pieces of rows were written, then stop as Ctrl-C does."""
    pieces = itertools.count(1)

    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("preparing") and next(pieces) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(name, Request(files=list(files), **options), lambda _: None, progress)


def manifest(name: str) -> dict[str, Any]:
    """The manifest of a dataset that was fetched."""
    found: dict[str, Any] = json.loads((root() / name / "manifest.json").read_text())
    return found


def all_rows(source: Source, part: Part = "train") -> tuple[NDArray[np.float32], list[int]]:
    """Features and labels of one part."""
    out = np.empty((source.rows(part), source.features), dtype=np.float32)
    source.inputs(part, range(len(out)), out)
    return out, source.labels(part, range(len(out))).tolist()


def entries(folder: Path) -> list[str]:
    """What lies in a folder, but for the locks, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def files_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder by their place in it, but for the locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def cut(path: Path, keep: int) -> None:
    """Leave the first ``keep`` bytes of a file; a negative number counts from its end."""
    path.write_bytes(path.read_bytes()[:keep])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
