"""Prepared datasets on disk: memory-mapped arrays and a manifest. Training only ever reads them.

A folder is a dataset once its ``manifest.json`` exists, which is written last. Several ranks, on several
hosts, may read one folder at the same time.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from admmctl.data.dataset import Part, Rows, Source
from admmctl.errors import DataError
from admmctl.files import write_json

MANIFEST = "manifest.json"


def root() -> Path:
    """Where prepared datasets live: ``./datasets``, or what ADMMCTL_DATASETS names."""
    return Path(os.environ.get("ADMMCTL_DATASETS") or "datasets")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a prepared dataset, or None where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / MANIFEST} cannot be read: {error}") from None
    return dict(manifest)


class StoredSource(Source):
    """Rows of a prepared dataset.

    The manifest names, for each part, the arrays ``x`` (rows, features) and ``y`` (rows,) and their rows.
    """

    def __init__(self, folder: Path, name: str, version: int) -> None:
        """Raises DataError when the dataset was not fetched, is of another version, or is damaged."""
        cure = f"run: admmctl fetch {name}"
        manifest = read_manifest(folder)
        if manifest is None:
            raise DataError(f"dataset {name} is not in {folder.parent}; {cure}")
        if manifest.get("version") != version:
            raise DataError(f"dataset {name} in {folder} was prepared by another version; {cure} --force")
        self._manifest = manifest
        self._arrays: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        self.features = int(manifest["features"])
        self.labels_known: Sequence[int] = tuple(manifest["labels"])
        for part, entry in manifest["parts"].items():
            try:
                x = np.load(folder / entry["x"], mmap_mode="r", allow_pickle=False)
                y = np.load(folder / entry["y"], mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise DataError(f"dataset {name} is damaged ({error}); {cure} --force") from None
            if x.shape != (entry["rows"], self.features) or y.shape != (entry["rows"],):
                raise DataError(f"dataset {name} is damaged: {entry['x']} holds {x.shape}; {cure} --force")
            self._arrays[part] = (x, y)

    def rows(self, part: Part) -> int:
        return len(self._arrays[part][0]) if part in self._arrays else 0

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        return np.asarray(self._arrays[part][1][_index(rows)], dtype=np.int64)

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        out[...] = self._arrays[part][0][_index(rows)]

    def fingerprint(self) -> str:
        return str(self._manifest["sha256"])


def _index(rows: Rows) -> slice | NDArray[np.int64]:
    """A slice where rows are consecutive: it reads only them, and copies nothing."""
    return slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows


class Prepared:
    """Writes a dataset in a folder of its own beside the final one, and moves it there when complete."""

    def __init__(self, folder: Path, name: str, version: int, sources: list[dict[str, Any]]) -> None:
        self._folder = folder
        self._work = folder.with_name(f".{folder.name}.part")
        self._manifest: dict[str, Any] = {
            "name": name,
            "version": version,
            "sources": sources,
            "sha256": hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest(),
            "parts": {},
        }

    def __enter__(self) -> Self:
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)
        return self

    def write(self, part: Part, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Store the rows of one part: ``x`` (rows, features) and ``y`` (rows,)."""
        names = {"x": f"x_{part}.npy", "y": f"y_{part}.npy"}
        np.save(self._work / names["x"], np.ascontiguousarray(x), allow_pickle=False)
        np.save(self._work / names["y"], y, allow_pickle=False)
        labels, counts = np.unique(y, return_counts=True)
        label_counts = {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
        self._manifest["parts"][part] = {**names, "rows": len(x), "label_counts": label_counts}
        self._manifest["features"] = x.shape[1]
        self._manifest["labels"] = sorted({*self._manifest.get("labels", []), *map(int, labels)})

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self._work, ignore_errors=True)
            return
        write_json(self._work / MANIFEST, self._manifest)
        old = self._folder.with_name(f".{self._folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self._folder.exists():
            self._folder.rename(old)
        self._work.rename(self._folder)
        shutil.rmtree(old, ignore_errors=True)
