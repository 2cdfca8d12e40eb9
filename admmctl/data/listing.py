"""What ``admmctl datasets`` tells: what exists, what is here, and the details of one."""

from typing import Any, Literal, NotRequired, TypedDict

from admmctl.data.catalog import Card, datasets
from admmctl.data.dataset import Dataset
from admmctl.data.prepared import StoredSource, UsedFile, read_manifest
from admmctl.errors import DataError, UserError


class OfficialFile(TypedDict):
    """A file that ``fetch`` asks for."""

    name: str
    bytes: int
    sha256: str
    addresses: list[str]
    optional: bool


class Entry(TypedDict):
    """A dataset, as ``datasets --json`` prints it. ``sources`` and ``parts`` are those of its manifest."""

    name: str
    title: str
    state: Literal["here", "absent", "computed", "yours", "damaged"]
    rows: str
    features: str
    licence: str
    citation: str
    folder: str | None
    disk_bytes: int
    files: list[OfficialFile]
    official: NotRequired[bool]
    made_up: NotRequired[bool]
    sources: NotRequired[list[UsedFile]]
    parts: NotRequired[dict[str, dict[str, Any]]]
    problem: NotRequired[str]


def describe(name: str) -> Entry:
    """Everything known about one dataset. Raises UserError when there is none of that name."""
    dataset: Dataset = datasets.load(name)()
    card, folder = dataset.card, dataset.folder()
    entry = _entry(name, card)
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
        "made_up": manifest.get("made_up", False),
        "sources": manifest["sources"],
        "parts": {
            part: {"rows": found["rows"], "label_counts": found["label_counts"]}
            for part, found in manifest["parts"].items()
        },
    }


def _entry(name: str, card: Card) -> Entry:
    """What a card says; of no files, because they are computed or the user's own."""
    return {
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


_UNKNOWN = Card(title="unknown", licence="unknown", citation="unknown", rows="unknown", features="unknown")


def listing() -> list[Entry]:
    """All datasets, in the order of the catalogue."""
    return [_described(name) for name in datasets]


def _described(name: str) -> Entry:
    """A dataset, or why it cannot be described: a broken package must not hide the others."""
    try:
        return describe(name)
    except UserError as problem:
        return {**_entry(name, _UNKNOWN), "state": "damaged", "problem": str(problem)}
