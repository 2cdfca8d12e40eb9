"""Prepared datasets on disk: memory-mapped arrays and a manifest. Training only ever reads them.

A folder is a dataset once its ``manifest.json`` exists, which is written last. Several ranks, on several
hosts, may read one folder at the same time.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.data.dataset import Part, Rows, Source
from admmctl.errors import DataError

MANIFEST = "manifest.json"


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


class StoredSource(Source):
    """Rows of a prepared dataset.

    The manifest names, for each part, the arrays ``x`` (rows, features) and ``y`` (rows,), the first row of
    the part in them, and its number of rows.
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

    def rows(self, part: Part) -> int:
        return len(self._arrays[part][0]) if part in self._arrays else 0

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        return np.asarray(self._arrays[part][1][_index(rows)], dtype=np.int64)

    def stored(self, part: Part, rows: Rows) -> NDArray[Any]:
        """The rows as they are stored, shape (rows, features)."""
        return self._arrays[part][0][_index(rows)]

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        out[...] = self.stored(part, rows)

    def fingerprint(self) -> str:
        return str(self._manifest["sha256"])


def _index(rows: Rows) -> slice | NDArray[np.int64]:
    """A slice where rows are consecutive: it reads only them, and copies nothing."""
    return slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows
