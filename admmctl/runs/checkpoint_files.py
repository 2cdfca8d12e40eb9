"""The files of a checkpoint: arrays by rows, checksums, the manifest. Nothing is a pickle.

In ``rank-<r>.npy`` one NumPy array follows another, samples first: any rows can be read from it, so that a run may
go on on another number of ranks.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from admmctl.files import atomic

FORMAT = 1
_ARRAY = "__array__"
Arrays = dict[str, NDArray[Any]]


class Unreadable(Exception):
    """A checkpoint that is damaged, or not of this run."""


@dataclass(frozen=True)
class Part:
    """The file of a rank that had rows ``start`` to ``stop``; ``places`` says where its arrays begin."""

    path: Path
    start: int
    stop: int
    places: dict[str, int]

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows ``start`` to ``stop`` of an array, by their global numbers."""
        with self.path.open("rb") as file:
            file.seek(self.places[name])
            np.lib.format.read_magic(file)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if fortran or dtype.hasobject or shape[0] != self.stop - self.start:
                raise Unreadable(f"{self.path}: {name} is not an array of {self.stop - self.start} rows")
            width = int(np.prod(shape[1:], dtype=int))
            file.seek(width * dtype.itemsize * (start - self.start), os.SEEK_CUR)
            values = np.fromfile(file, dtype, width * (stop - start))
        return values.reshape(stop - start, *shape[1:])


@dataclass(frozen=True)
class Saved:
    """One array of rows ``start`` to ``stop``, whichever files they lie in: slices are read when asked for."""

    parts: list[Part]
    name: str
    start: int
    stop: int

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        low, high, _ = rows.indices(self.stop - self.start)
        start, stop = self.start + low, self.start + max(low, high)
        pieces = [
            part.read(self.name, max(part.start, start), min(part.stop, stop))
            for part in self.parts
            if part.start <= stop and part.stop >= start  # of no rows, too: they have columns
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, in memory."""
        return self[:] if dtype is None else self[:].astype(dtype)


class Rows(Mapping[str, Any]):
    """``Saved`` arrays of rows ``start`` to ``stop``, by name: as a method asks for them, in slices."""

    def __init__(self, parts: list[Part], start: int, stop: int) -> None:
        self._parts, self._start, self._stop = parts, start, stop

    def __getitem__(self, name: str) -> Saved:
        return Saved(self._parts, name, self._start, self._stop)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts[0].places if self._parts else ())

    def __len__(self) -> int:
        return len(self._parts[0].places) if self._parts else 0


def write_rows(path: Path, rows: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Write arrays one after another; returns bytes, sha256 and where each begins."""
    places = {}
    with path.open("wb") as file:
        sink = _Sink(file)
        for name, array in rows.items():
            places[name] = sink.bytes
            kept = np.ascontiguousarray(array)
            np.lib.format.write_array_header_1_0(sink, np.lib.format.header_data_from_array_1_0(kept))
            if kept.size:
                sink.write(kept.data.cast("B"))
        to_disk(file)
    return {"bytes": sink.bytes, "sha256": sink.digest.hexdigest(), "arrays": places}


class _Sink:
    """Writes to a file, and into a digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest, self.bytes = hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.bytes += len(data)


def to_disk(file: IO[bytes]) -> None:
    """Everything written so far survives a power cut."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """A folder's names on disk, where its file system can do that."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sum_of(path: Path) -> dict[str, Any]:
    """Bytes and sha256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def check(path: Path, entry: Mapping[str, Any]) -> None:
    """Raises Unreadable where a file is not what its manifest says."""
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise Unreadable(f"{path.name} has {size:,} bytes of {entry['bytes']:,}")
    if sum_of(path)["sha256"] != entry["sha256"]:
        raise Unreadable(f"{path.name} does not have its checksum")


def write_manifest(path: Path, content: dict[str, Any]) -> None:
    """JSON and its checksum, in one piece: a checkpoint counts once this is there."""
    text = json.dumps({"format": FORMAT, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **content})
    digest = hashlib.sha256(text.encode()).hexdigest()
    with atomic(path) as file:
        file.write(f"{text}\n{digest}\n")


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises Unreadable, and OSError where it is not there."""
    text, _, digest = path.read_text(errors="replace").rstrip("\n").rpartition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise Unreadable(f"{path.name} is damaged")
    content: dict[str, Any] = json.loads(text)
    if content.get("format") != FORMAT:
        raise Unreadable(f"{path.name} is of format {content.get('format')}, and this version reads {FORMAT}")
    return content


# --- nested dicts, lists, numbers and arrays, as JSON and a flat table of arrays


def pack(value: Any, arrays: Arrays) -> Any:
    """``value`` for JSON; its arrays are added to ``arrays``, and named in their place.

    Raises TypeError for anything but dicts by text, lists, tuples, numbers, texts, None and arrays of numbers.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be saved")
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if any(not isinstance(key, str) or key == _ARRAY for key in value):
            raise TypeError(f"keys of a dict to be saved are texts, not {list(value)}")
        return {key: pack(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, arrays) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be saved")


def unpack(value: Any, arrays: Arrays) -> Any:
    """What ``pack`` was given. Raises KeyError where an array is missing."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        return {key: unpack(item, arrays) for key, item in value.items()}
    return [unpack(item, arrays) for item in value] if isinstance(value, list) else value
