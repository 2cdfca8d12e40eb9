"""``admmctl fetch``: official files in, a prepared dataset out."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admmctl.data import prepared
from admmctl.data.catalog import datasets
from admmctl.data.dataset import Dataset, root
from admmctl.data.download import check_mirror, digest, is_url, obtain
from admmctl.data.prepared import UsedFile
from admmctl.data.source import Progress, Say
from admmctl.data.wrapped import unwrapped
from admmctl.errors import DataError, MissingData, UserError
from admmctl.files import locked
from admmctl.folders import leads_to, make_folder

MADE_UP = b"made-up data"  # a file says so in its first bytes: in the comment of gzip, the text of MATLAB's header
_HEAD = 256


@dataclass(frozen=True)
class Request:
    """What was asked for besides the dataset's name."""

    mirror: str | None = None
    files: list[Path] = field(default_factory=list)  # --from: what the user has
    keep_raw: bool = False
    force: bool = False
    rows: int | None = None
    extra: bool = False  # optional files too


def split_names(arguments: list[str], files: list[Path]) -> tuple[list[str], list[Path]]:
    """Datasets and files of a command line: after ``--from A`` a shell's glob may have left B and C as names."""
    names = [name for name in arguments if not files or name in datasets or not _like_a_file(name)]
    files = files + [Path(argument) for argument in arguments if argument not in names]
    if files and len(names) != 1:
        raise UserError(f"--from: name one dataset that the files are for, not {len(names)}")
    return names, files


def _like_a_file(argument: str) -> bool:
    path = Path(argument)
    return path.exists() or len(path.parts) > 1 or bool(path.suffix)


def line_for(missing: Iterable[MissingData]) -> str:
    """The line of a shell that fetches what is missing; '' for nothing. Options are of one dataset alone."""
    wanted = {each.fetch for each in missing}
    plain = sorted(name for name, *options in wanted if not options)
    special = sorted(" ".join(each) for each in wanted if len(each) > 1)
    covered = {line.split()[0] for line in special}
    lines = [" ".join(name for name in plain if name not in covered), *special]
    return " && ".join(f"admmctl fetch {line}" for line in lines if line)


def fetch(name: str, request: Request, say: Say, progress: Progress) -> Path | None:
    """Make the dataset ``name`` ready to train on; returns its folder, or None where nothing is stored.

    Raises DataError when a file cannot be had or is damaged, UserError when the request makes no sense;
    nothing that is half-written is ever taken for a dataset.
    """
    if request.mirror is not None:
        check_mirror(request.mirror)
    for file in request.files:
        if not file.exists():
            raise DataError(f"--from {file}: there is no such file")
    dataset: Dataset = datasets.load(name)()
    if not dataset.card.files:
        say(f"{name}: {dataset.nothing_to_fetch}")
        return None
    options = dataset.options(request.rows, request.extra)
    folder = _place(dataset)
    with locked(folder, "preparing", say):
        prepared.recover(folder)
        manifest = _ready(dataset, folder) if not request.force else None
        if manifest is not None and not request.files and dataset.serves(manifest, options):
            say(f"{name} is already in {folder} (--force fetches it again)")
            return folder
        _check_place(dataset.folder(), folder)
        raw_folder = root() / ".raw" / dataset.folder().name
        try:
            raw, sources = _gather(dataset, request, raw_folder, say, progress)
            with prepared.Prepared(
                folder, dataset.folder().name, dataset.card.version, sources, options
            ) as target:
                dataset.prepare(raw, target, progress)
        except OSError as error:
            what = error.strerror or str(error)
            raise DataError(
                f"{name} could not be prepared in {folder}: {what}; nothing was lost, try again"
            ) from None
        if not request.keep_raw:
            _clear(raw_folder, dataset, request)
        elif raw_folder.is_dir():
            say(f"the official files are kept in {raw_folder}")
    say(f"{name} is ready in {folder}")
    return folder


def check(name: str, say: Say) -> None:
    """``fetch --verify``: re-check what is here against what was recorded. Raises DataError."""
    dataset: Dataset = datasets.load(name)()
    if not dataset.card.files:
        say(f"{name}: {dataset.nothing_to_fetch}")
        return
    folder = dataset.folder()
    manifest = prepared.read_manifest(folder)
    if manifest is None:
        raise DataError(f"{name} is not in {folder.parent}; run: admmctl fetch {name}")
    if manifest.get("version") != dataset.card.version:
        raise DataError(f"{name} was prepared by another version; run: admmctl fetch {name} --force")
    problems = prepared.verify(folder, manifest)
    if problems:
        raise DataError("\n".join([*problems, f"fetch it again: admmctl fetch {name} --force"]))
    say(f"{name}: all {len(manifest['arrays'])} arrays are as they were prepared")


def _ready(dataset: Dataset, folder: Path) -> dict[str, Any] | None:
    """The manifest of a dataset that can be used as it is; None when it has to be made (again)."""
    try:
        manifest = prepared.read_manifest(folder)
        if manifest is not None:
            prepared.StoredSource(folder, dataset.card.version)
        return manifest
    except DataError:
        return None


def _gather(
    dataset: Dataset, request: Request, raw_folder: Path, say: Say, progress: Progress
) -> tuple[dict[str, Path], list[UsedFile]]:
    """The raw files by official name, each verified or known to be unofficial, and what is recorded of them."""
    wanted = [file for file in dataset.card.files if request.extra or not file.optional]
    if request.files:
        raw = dataset.recognise(request.files)
        # A folder that was given may have optional files that were not asked for.
        names = [file.name for file in dataset.card.files if file.optional and file not in wanted]
        raw = {name: path for name, path in raw.items() if name not in names or path in request.files}
        asked = [file.name for file in wanted if file.optional and file.name not in raw]
        if asked:
            raise DataError(f"--extra: {', '.join(asked)} is not among the files of --from")
        return _identified(dataset, raw, say, progress, official_only=False)
    if request.mirror is not None and not is_url(request.mirror):
        for place in (Path(request.mirror, dataset.folder().name), Path(request.mirror)):
            found = dataset.in_folder(place)
            if found:
                return _identified(dataset, found, say, progress, official_only=True)
    raw = {}
    used: list[UsedFile] = []
    for file in wanted:
        raw[file.name] = obtain(file, dataset.folder().name, raw_folder, request.mirror, progress, say)
        used.append({"file": file.name, "bytes": file.bytes, "sha256": file.sha256, "official": True})
    return raw, used


def _identified(
    dataset: Dataset, raw: dict[str, Path], say: Say, progress: Progress, official_only: bool
) -> tuple[dict[str, Path], list[UsedFile]]:
    """The files, and what is recorded of them. One that is not the official file is used, with a message.

    Raises DataError for such a file when only official ones will do.
    """
    official = {file.name: file for file in (*dataset.card.files, *dataset.parts_of_files)}
    used: list[UsedFile] = []
    for name, path in raw.items():
        sha256 = digest(path, path.name, progress)
        is_official = name in official and (sha256 == official[name].sha256 or dataset.holds_official(name, path))
        if not is_official and official_only:
            raise DataError(
                f"{path} is damaged: the sha256 of its content is {sha256}, the official one "
                f"{official[name].sha256}; get it again, or take it as it is, by --from"
            )
        if not is_official:
            say(f"{path.name} is not the official {name} (sha256 {sha256[:12]}...): it is used as it is")
        used.append({"file": path.name, "bytes": path.stat().st_size, "sha256": sha256, "official": is_official})
        if _is_made_up(path):
            used[-1]["made_up"] = True
            say(f"{path.name} says that it is made up: so says every record of what is trained on it")
    return raw, used


def _is_made_up(path: Path) -> bool:
    """Whether a program made this file up. Its sum is known already: it can be read."""
    with unwrapped(path) as (stream, _):
        return MADE_UP in stream.read(_HEAD)


def _place(dataset: Dataset) -> Path:
    """Where a dataset is prepared: its folder, or where that leads if it is a link. Raises UserError."""
    folder = root()
    try:
        make_folder(folder)
        folder = leads_to(dataset.folder())
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
    except OSError as error:
        raise UserError(
            f"the datasets folder {folder.parent if folder != root() else folder} cannot be written "
            f"({error.strerror}); change its permissions, or name another one in ADMMCTL_DATASETS"
        ) from None
    return folder


def _check_place(link: Path, folder: Path) -> None:
    """Raises UserError where a dataset must not take the place of what is in its folder."""
    name = f"{link} leads to {folder}, which" if link.is_symlink() else str(folder)
    try:
        if os.path.ismount(folder):
            raise UserError(
                f"{name} is a disk of its own, and another folder cannot take its place; make a folder on "
                f"that disk and let {link} be a link to it, or name one in ADMMCTL_DATASETS"
            )
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{name} is a file, and a dataset is a folder; move it elsewhere first")
        foreign = prepared.foreign_files(folder) if folder.exists() else []
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}); change its permissions") from None
    if foreign:
        raise UserError(f"{name} holds {foreign[0]}, which no preparation made; move that elsewhere first")


def _clear(raw_folder: Path, dataset: Dataset, request: Request) -> None:
    """Remove what was downloaded, and nothing that the user gave: ``.raw``, too, may be a link."""
    names = tuple(file.behind(place).name for file in dataset.card.files for place in ("", *file.addresses))
    given = [Path(place).resolve() for place in (*request.files, request.mirror) if place is not None]
    for path in raw_folder.iterdir() if raw_folder.is_dir() else ():
        own = path.resolve()
        if path.name.removeprefix(".").startswith(names) and not any({own, *own.parents} & {*given}):
            path.unlink()
    with suppress(OSError):  # not there, not empty, or a link
        raw_folder.rmdir()
