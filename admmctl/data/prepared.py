"""Writing a prepared dataset: rows appended to arrays on disk, a manifest last, never half of it visible."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from admmctl.data.dataset import Part
from admmctl.data.store import MANIFEST
from admmctl.errors import DataError
from admmctl.files import write_json
from admmctl.folders import discard

_PROGRESS = "progress.json"


class Prepared:
    """Builds a dataset in a folder beside the final one and moves it there when it is complete.

    A preparation that was killed leaves that folder behind; the same preparation finds the rows written so
    far and goes on (``Rows.done``), any other starts over. ``sources`` and ``options`` say which it is.
    """

    def __init__(
        self, folder: Path, name: str, version: int, sources: list[dict[str, Any]], options: dict[str, Any]
    ) -> None:
        self.folder = folder
        self.options = options
        self._work, self._old = _part(folder), _old(folder)
        identity = {"version": version, "sources": sources, "options": options}
        self._identity = identity
        self._manifest: dict[str, Any] = {
            "name": name,
            **identity,
            "official": all(source["official"] for source in sources),
            "sha256": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
            "parts": {},
        }
        self._rows: dict[str, Rows] = {}

    def __enter__(self) -> Self:
        try:
            same = json.loads((self._work / _PROGRESS).read_text()) == self._identity
        except (OSError, ValueError):
            same = False
        if not same or self._work.is_symlink():
            discard(self._work)
            self._work.mkdir(parents=True)
            write_json(self._work / _PROGRESS, self._identity)
        return self

    def rows(self, name: str, features: int, dtype: DTypeLike) -> "Rows":
        """The growing arrays ``x_NAME.npy`` (rows, features) and ``y_NAME.npy`` (rows,)."""
        self._rows[name] = Rows(self._work, name, features, np.dtype(dtype))
        return self._rows[name]

    def part(self, part: Part, name: str, start: int, rows: int) -> None:
        """Say which rows of the arrays ``name`` are the official training or test set."""
        self._manifest["parts"][part] = {"x": f"x_{name}.npy", "y": f"y_{name}.npy", "start": start, "rows": rows}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for rows in self._rows.values():
            rows.close()
        if kind is not None:
            if issubclass(kind, DataError):  # the files are no good: rows made from them are not kept
                discard(self._work)
            return
        self._complete_manifest()
        (self._work / _PROGRESS).unlink()
        write_json(self._work / MANIFEST, self._manifest)
        discard(self._old)
        if self.folder.exists():
            self.folder.rename(self._old)
        try:
            self._work.rename(self.folder)
        except OSError:
            if self._old.exists():
                self._old.rename(self.folder)
            raise
        discard(self._old)

    def _complete_manifest(self) -> None:
        """Features, labels and their counts, and the sums of the arrays, for a later --verify."""
        labels: set[int] = set()
        for entry in self._manifest["parts"].values():
            y = np.load(self._work / entry["y"], mmap_mode="r", allow_pickle=False)
            found, counts = np.unique(y[entry["start"] : entry["start"] + entry["rows"]], return_counts=True)
            entry["label_counts"] = {str(label): int(n) for label, n in zip(found, counts, strict=True)}
            labels |= {int(label) for label in found}
        self._manifest["labels"] = sorted(labels)
        self._manifest["features"] = next(iter(self._rows.values())).features
        self._manifest["arrays"] = {
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(self._work.glob("*.npy"))
        }


def _part(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def recover(folder: Path) -> None:
    """Give a dataset its name where a crash came while it was moved there: the new one, or else the old one."""
    for left in (_part(folder), _old(folder)):
        if not folder.exists() and (left / MANIFEST).is_file() and not left.is_symlink():
            left.rename(folder)


def strangers(folder: Path) -> list[str]:
    """The names in a folder that no preparation gave: a dataset must not take the place of such files."""
    ours = re.compile(rf"{re.escape(MANIFEST)}|{re.escape(_PROGRESS)}|[xy]_\w+\.npy|\..*")
    return sorted(path.name for path in folder.iterdir() if not ours.fullmatch(path.name))


class Rows:
    """Two arrays that grow row by row on disk, ordinary .npy files once closed."""

    def __init__(self, folder: Path, name: str, features: int, dtype: np.dtype[Any]) -> None:
        self.features = features
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
            "x": ((features,), dtype),
            "y": ((), np.dtype(np.uint8)),
        }
        self._files: dict[str, IO[bytes]] = {}
        found = []
        for axis, (shape, item) in self._shapes.items():
            path = folder / f"{axis}_{name}.npy"
            self._files[axis] = path.open("r+b" if path.exists() else "w+b")
            size = self._files[axis].seek(0, os.SEEK_END) - self._offset(axis)
            found.append(max(0, size // (item.itemsize * int(np.prod(shape)))))
        self.done = min(found)  # whole rows that a killed preparation has left in both
        for axis, (shape, item) in self._shapes.items():
            file = self._files[axis]
            if not self.done:
                file.seek(0)
                self._write_header(axis, 0)
            file.truncate(self._offset(axis) + self.done * item.itemsize * int(np.prod(shape)))
            file.seek(0, os.SEEK_END)

    def append(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Add rows: ``x`` (rows, features), ``y`` (rows,) of labels 0 to 255."""
        if x.shape != (len(y), self.features) or y.shape != (len(x),):
            raise ValueError(
                f"rows of shape {x.shape} with labels of shape {y.shape}; expected {self.features} features"
            )
        for axis, block in (("x", x), ("y", y)):
            item = self._shapes[axis][1]
            self._files[axis].write(np.ascontiguousarray(block, dtype=item).tobytes())
        self.done += len(x)

    def close(self) -> None:
        """Write the headers with the final number of rows."""
        for axis, file in self._files.items():
            if not file.closed:
                file.flush()
                self._write_header(axis, self.done)
                os.fsync(file.fileno())
                file.close()

    def _write_header(self, axis: str, rows: int) -> None:
        """NumPy leaves room in the header for a first axis of any length, so it never moves the rows."""
        shape, item = self._shapes[axis]
        file = self._files[axis]
        file.seek(0)
        header = {"shape": (rows, *shape), "fortran_order": False, "descr": npy.dtype_to_descr(item)}
        npy.write_array_header_1_0(file, header)

    def _offset(self, axis: str) -> int:
        shape, item = self._shapes[axis]
        return _header_length((*shape,), item)


def _header_length(shape: tuple[int, ...], item: np.dtype[Any]) -> int:
    from io import BytesIO

    buffer = BytesIO()
    header = {"shape": (0, *shape), "fortran_order": False, "descr": npy.dtype_to_descr(item)}
    npy.write_array_header_1_0(buffer, header)
    return len(buffer.getvalue())


def file_sha256(path: Path) -> str:
    """In hexadecimal digits, whatever the size of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """What no longer is as it was prepared, one line each; nothing when all is well."""
    problems = []
    for name, expected in manifest.get("arrays", {}).items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif path.stat().st_size != expected["bytes"]:
            problems.append(f"{path} has {path.stat().st_size:,} bytes instead of {expected['bytes']:,}")
        elif file_sha256(path) != expected["sha256"]:
            problems.append(f"{path} has changed: its sha256 is not the one recorded")
    return problems
