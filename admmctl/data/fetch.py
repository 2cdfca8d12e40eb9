"""``admmctl fetch``: official files in, a prepared dataset out."""

import shutil
from collections.abc import Callable
from pathlib import Path

from admmctl.data import store
from admmctl.data.catalog import datasets
from admmctl.data.download import Progress, check_mirror, obtain
from admmctl.errors import DataError


def fetch(
    name: str, mirror: str | None, force: bool, say: Callable[[str], None], progress: Progress
) -> Path | None:
    """Make the dataset ``name`` ready to train on; returns its folder, or None where nothing is stored.

    Raises DataError when a file cannot be had or is damaged; nothing is left half-written.
    """
    if mirror is not None:
        check_mirror(mirror)
    dataset = datasets.load(name)()
    if getattr(dataset, "download", None) is None:
        say(f"{name} is computed when it is needed: there is nothing to fetch")
        return None
    folder = store.root() / name
    if not force and store.read_manifest(folder) is not None:
        dataset.open(dataset.Settings(name=name))  # raises when it is damaged or outdated
        say(f"{name} is already in {folder} (--force fetches it again)")
        return folder
    raw_folder = store.root() / ".raw" / name
    try:
        store.root().mkdir(parents=True, exist_ok=True)
        raw = {file.name: obtain(file, name, raw_folder, mirror, progress) for file in dataset.download.files}
        sources = [{"file": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in dataset.download.files]
        with store.Prepared(folder, name, dataset.download.version, sources) as prepared:
            dataset.prepare(raw, prepared)
    except OSError as error:
        raise DataError(f"{name} could not be prepared in {folder}: {error}") from None
    shutil.rmtree(raw_folder, ignore_errors=True)
    say(f"{name} is ready in {folder}")
    return folder
