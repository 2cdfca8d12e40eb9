"""What ``admmctl datasets`` tells: what exists, what is here, and the details of one."""

from typing import Any

from admmctl.data.catalog import datasets
from admmctl.data.dataset import Dataset
from admmctl.data.prepared import StoredSource, read_manifest
from admmctl.errors import DataError, UserError


def describe(name: str) -> dict[str, Any]:
    """Everything known about one dataset. Raises UserError when there is none of that name."""
    dataset: Dataset = datasets.load(name)()
    card, folder = dataset.card, dataset.folder()
    entry: dict[str, Any] = {
        "name": name,
        "title": card.title,
        "state": "computed" if name != "files" else "yours",
        "rows": card.rows,
        "features": card.features,
        "licence": card.licence,
        "citation": card.citation,
        "folder": None,
        "disk_bytes": 0,
        "files": [
            {
                "name": file.name,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "addresses": list(file.addresses),
                "optional": file.optional,
            }
            for file in card.files
        ],
    }
    if not card.files:
        return entry
    try:
        manifest = read_manifest(folder)
        if manifest is not None:
            StoredSource(folder, card.version)
    except DataError as problem:
        return {**entry, "state": "damaged", "folder": str(folder), "problem": str(problem)}
    if manifest is None:
        return {**entry, "state": "absent"}
    return {
        **entry,
        "state": "here",
        "folder": str(folder),
        "disk_bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        "official": manifest["official"],
        "sources": manifest["sources"],
        "parts": {
            part: {"rows": found["rows"], "label_counts": found["label_counts"]}
            for part, found in manifest["parts"].items()
        },
    }


def listing() -> list[dict[str, Any]]:
    """All datasets, in the order of the catalogue."""
    return [_described(name) for name in datasets]


def _described(name: str) -> dict[str, Any]:
    """A dataset, or why it cannot be described: a broken package must not hide the others."""
    try:
        return describe(name)
    except UserError as problem:
        unknown = dict.fromkeys(("title", "rows", "features", "licence", "citation"), "unknown")
        return {
            "name": name,
            "state": "damaged",
            **unknown,
            "folder": None,
            "disk_bytes": 0,
            "files": [],
            "problem": str(problem),
        }
