"""Prepared datasets on disk: memory-mapped arrays and a manifest. Training only ever reads them.

A folder is a dataset once its ``manifest.json`` exists, which is written last: never is half of it visible.
Several ranks, on several hosts, may read one folder at the same time.
"""

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, Self, TypedDict

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from admmctl.data.source import ArraySource, Part
from admmctl.errors import DataError, MissingData
from admmctl.files import write_json
from admmctl.folders import discard

MANIFEST = "manifest.json"
_PROGRESS = "progress.json"


# --- reading


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a prepared dataset, or None where there is none. Raises DataError when unreadable."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        cure = f"run: admmctl fetch {folder.name} --force"
        raise DataError(f"{folder / MANIFEST} cannot be read: {error}; {cure}") from None
    if not isinstance(manifest, dict) or "parts" not in manifest:
        raise DataError(f"{folder / MANIFEST} is not a manifest; run: admmctl fetch {folder.name} --force")
    return manifest


class StoredSource(ArraySource):
    """Rows of a prepared dataset.

    The manifest names, for each part, the arrays ``x`` (rows, features) and ``y`` (rows,), the first row of
    the part in them, and its number of rows.
    """

    def __init__(self, folder: Path, version: int) -> None:
        """Raises MissingData when it was not fetched, DataError when it is of another version, or is damaged."""
        name = folder.name
        cure = f"run: admmctl fetch {name}"
        manifest = read_manifest(folder)
        if manifest is None:
            raise MissingData(f"dataset {name} is not in {folder.parent}; {cure}", (name,))
        if manifest.get("version") != version:
            raise DataError(f"dataset {name} in {folder} was prepared by another version; {cure} --force")
        self._manifest = manifest
        self._arrays = {}
        try:
            self.features = int(manifest["features"])
            self.labels_known: Sequence[int] = tuple(manifest["labels"])
            for part, entry in manifest["parts"].items():
                start, rows = entry["start"], entry["rows"]
                x = np.load(folder / entry["x"], mmap_mode="r", allow_pickle=False)[start : start + rows]
                y = np.load(folder / entry["y"], mmap_mode="r", allow_pickle=False)[start : start + rows]
                if x.shape != (rows, self.features) or y.shape != (rows,):
                    raise ValueError(f"{entry['x']} holds {x.shape} instead of {(rows, self.features)}")
                self._arrays[part] = (x, y)
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"dataset {name} in {folder} is damaged ({error}); {cure} --force") from None

        self.made_up = manifest.get("made_up") is True

    def fingerprint(self) -> str:
        return str(self._manifest["sha256"])


# --- writing


class UsedFile(TypedDict):
    """A file that a dataset was prepared from, as its manifest has it."""

    file: str
    bytes: int
    sha256: str
    official: bool
    made_up: NotRequired[bool]  # a program made it up, and it says so


class Prepared:
    """Builds a dataset in a folder beside the final one and moves it there when it is complete.

    A preparation that was killed leaves that folder behind; the same preparation finds the rows written so
    far and goes on (``Growing.done``), any other starts over. ``sources`` and ``options`` say which it is.
    """

    def __init__(
        self, folder: Path, name: str, version: int, sources: list[UsedFile], options: dict[str, int]
    ) -> None:
        self.folder = folder
        self.options = options
        self._work, self._old = _part(folder), _old(folder)
        self._identity = {"version": version, "sources": sources, "options": options}
        self._manifest: dict[str, Any] = {
            "name": name,
            **self._identity,
            "official": all(source["official"] for source in sources),
            "made_up": any(source.get("made_up", False) for source in sources),
            "sha256": hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest(),
            "parts": {},
        }
        self._rows: dict[str, Growing] = {}

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

    def rows(self, name: str, features: int, dtype: DTypeLike) -> "Growing":
        """The growing arrays ``x_NAME.npy`` (rows, features) and ``y_NAME.npy`` (rows,)."""
        self._rows[name] = Growing(self._work, name, features, dtype)
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


def foreign_files(folder: Path) -> list[str]:
    """The names of files in a folder that no preparation made: a dataset must not take their place."""
    ours = re.compile(rf"{re.escape(MANIFEST)}|{re.escape(_PROGRESS)}|[xy]_\w+\.npy|\..*")
    return sorted(path.name for path in folder.iterdir() if not ours.fullmatch(path.name))


class Growing:
    """Two arrays that grow row by row on disk, ordinary .npy files once closed."""

    def __init__(self, folder: Path, name: str, features: int, dtype: DTypeLike) -> None:
        self.features = features
        self._x = _Array(folder / f"x_{name}.npy", (features,), dtype)
        self._y = _Array(folder / f"y_{name}.npy", (), np.uint8)
        self.done = min(self._x.rows, self._y.rows)  # whole rows that a killed preparation has left in both
        self._x.keep(self.done)
        self._y.keep(self.done)

    def append(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Add rows: ``x`` (rows, features), ``y`` (rows,) of labels 0 to 255."""
        if x.shape != (len(y), self.features) or y.shape != (len(x),):
            raise ValueError(
                f"rows of shape {x.shape} with labels of shape {y.shape}; expected {self.features} features"
            )
        self._x.append(x)
        self._y.append(y)
        self.done += len(x)

    def close(self) -> None:
        """Write the headers with the final number of rows."""
        self._x.close(self.done)
        self._y.close(self.done)


class _Array:
    """An .npy file that grows by its first axis."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._row_bytes = self._dtype.itemsize * math.prod(shape)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._start = len(self._header(0))
        self.rows = max(0, (self._file.seek(0, os.SEEK_END) - self._start) // self._row_bytes)

    def keep(self, rows: int) -> None:
        """Leave the first ``rows``, and go on after them."""
        if not rows:
            self._write_header(0)
        self._file.truncate(self._start + rows * self._row_bytes)
        self._file.seek(0, os.SEEK_END)

    def append(self, block: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(block, dtype=self._dtype).tobytes())

    def close(self, rows: int) -> None:
        if not self._file.closed:
            self._file.flush()
            self._write_header(rows)
            os.fsync(self._file.fileno())
            self._file.close()

    def _write_header(self, rows: int) -> None:
        self._file.seek(0)
        self._file.write(self._header(rows))

    def _header(self, rows: int) -> bytes:
        """NumPy leaves room in the header for a first axis of any length, so it never moves the rows."""
        buffer = io.BytesIO()
        shape, kind = (rows, *self._shape), npy.dtype_to_descr(self._dtype)
        npy.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": kind})
        return buffer.getvalue()


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
