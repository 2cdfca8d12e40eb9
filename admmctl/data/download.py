"""Bring one official file here: find or download it, check its sum, and only then give it its name."""

import hashlib
from pathlib import Path
from urllib.parse import quote, urlsplit

from admmctl.data.catalog import SourceFile
from admmctl.data.partial import CHUNK, Partial
from admmctl.data.source import Progress, Say
from admmctl.data.transfer import Refused, Transfer
from admmctl.data.wrapped import intact, is_zip, unwrapped
from admmctl.errors import DataError
from admmctl.files import locked
from admmctl.folders import make_folder


def is_url(place: str) -> bool:
    """Whether ``place`` is an address rather than a folder."""
    return place.lower().startswith(("http://", "https://"))


def check_mirror(mirror: str) -> None:
    """Raises DataError when a mirror folder is not there, or an address cannot be one."""
    if not is_url(mirror):
        if not Path(mirror).is_dir():
            raise DataError(f"--mirror {mirror}: there is no such folder; give a folder or an http(s) address")
        return
    try:
        parts = urlsplit(mirror)
        understood = parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        understood = False
    if not understood:
        raise DataError(f"--mirror {mirror}: not an address like https://host/folder or http://host:8080/folder")


def addresses(file: SourceFile, dataset: str, mirror: str | None) -> list[str]:
    """Where a file is looked for: its own addresses, or MIRROR/DATASET/FILE and MIRROR/FILE, archives last."""
    if mirror is None:
        return list(file.addresses)
    names = dict.fromkeys([file.name, *(file.behind(address).name for address in file.addresses)])
    places = [f"{quote(dataset)}/", ""]
    return [f"{mirror.rstrip('/')}/{place}{quote(name)}" for name in names for place in places]


def obtain(file: SourceFile, dataset: str, folder: Path, mirror: str | None, progress: Progress, say: Say) -> Path:
    """The verified ``file``, or an archive of it: where it lies in a mirror folder, or downloaded into ``folder``.

    With a mirror, MIRROR/DATASET/FILE and then MIRROR/FILE are tried and nothing else. A download that was
    broken off is continued, and one that another process is busy with is waited for.

    Raises DataError when no place has the file, or when what they have is not the official file.
    """
    if mirror is not None and not is_url(mirror):
        return _in_mirror(Path(mirror), file, dataset, progress)
    # What one address brought is continued at the next that has the same: the file, or the archive.
    tries: dict[SourceFile, list[str]] = {}
    for address in addresses(file, dataset, mirror):
        tries.setdefault(file.behind(address), []).append(address)
    try:
        make_folder(folder)
        with locked(folder / file.name, "downloading", say):
            for found in tries:
                if _already_here(folder / found.name, found, progress, say):
                    return folder / found.name
            return _download(tries, file, dataset, folder, progress, say)
    except OSError as error:
        raise DataError(f"{file.name} cannot be stored in {folder}: {error.strerror or error}") from None


def verify(path: Path, file: SourceFile, progress: Progress) -> None:
    """Raises DataError unless ``path`` has the size and sha256 of ``file``."""
    problem = _problem(path, file, progress)
    if problem:
        raise DataError(f"{problem}; get it again")


def digest(path: Path, name: str, progress: Progress) -> str:
    """The sha256 of a file, shown as ``name``; of an .xz or a zip file that of what it holds.

    Raises DataError when it cannot be read.
    """
    found, done = hashlib.sha256(), 0
    try:
        with intact(path), unwrapped(path) as (stream, _):
            size = path.stat().st_size
            while chunk := stream.read(CHUNK):
                if done:
                    progress(name, done, max(size, done + 1))  # what is wrapped may be longer
                found.update(chunk)
                done += len(chunk)
        progress(name, done, done)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return found.hexdigest()


def _problem(path: Path, file: SourceFile, progress: Progress) -> str:
    """Why ``path`` is not the official file, or no archive of it; nothing when it is."""
    if file.holds is not None:
        return _wrong_inside(path, file.holds, progress)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if size != file.bytes:
        return (
            f"{path} is not the official {file.name}: {size:,} bytes instead of {file.bytes:,}; "
            "it is truncated or damaged"
        )
    found = digest(path, file.name, progress)
    return "" if found == file.sha256 else f"{path} is damaged: {_both_sums(found, file)}"


def _wrong_inside(path: Path, file: SourceFile, progress: Progress) -> str:
    """Why what the archive ``path`` holds is not the official ``file``; nothing when it is."""
    if not is_zip(path):
        return "it is no zip archive"
    try:
        found = digest(path, file.name, progress)
    except DataError as error:
        return str(error)
    return "" if found == file.sha256 else f"what {path.name} holds is not {file.name}: {_both_sums(found, file)}"


def _both_sums(found: str, file: SourceFile) -> str:
    return f"its sha256 is {found}, the official one {file.sha256}"


def _in_mirror(mirror: Path, file: SourceFile, dataset: str, progress: Progress) -> Path:
    for path in (mirror / dataset / file.name, mirror / file.name):
        if path.is_file():
            verify(path, file, progress)
            return path
    raise DataError(f"mirror {mirror} has neither {dataset}/{file.name} nor {file.name}")


def _already_here(target: Path, file: SourceFile, progress: Progress, say: Say) -> bool:
    if not target.is_file():
        return False
    problem = _problem(target, file, progress)
    if problem:
        target.replace(_aside(target))
        say(f"{problem}; it is kept as {_aside(target)} and fetched anew")
    return not problem


def _aside(target: Path) -> Path:
    """Where a file with a wrong sum goes: there to look at, never to be used."""
    return target.with_name(f"{target.name}.rejected")


def _download(
    tries: dict[SourceFile, list[str]], file: SourceFile, dataset: str, folder: Path, progress: Progress, say: Say
) -> Path:
    """Try one address after the other; what one of them brought is continued at the next."""
    failures: list[str] = []
    kept: list[str] = []
    for found, places in tries.items():
        with Partial(folder / found.name) as partial:
            for address in places:
                if failures:
                    say(f"{file.name}: {failures[-1]}; trying {address}")
                try:
                    _complete(address, found, partial, progress, say)
                    return partial.target
                except Refused as error:
                    failures.append(f"{address}: {error}")
            if partial.size:
                whole = f" of {found.bytes:,}" if found.bytes else ""
                kept.append(f"{partial.size:,}{whole} bytes are kept: the same command goes on from there.")
    lines = [f"{file.name} could not be downloaded:", *(f"  {failure}" for failure in failures), *kept]
    lines.append(f"Check the network, or give a copy: admmctl fetch {dataset} --mirror FOLDER (or --from FILE)")
    raise DataError("\n".join(lines))


def _complete(address: str, file: SourceFile, partial: Partial, progress: Progress, say: Say) -> None:
    """Complete ``partial`` from one address and give it its name if its sum is right. Raises Refused."""
    if file.bytes and partial.size > file.bytes:
        say(f"{file.name}: what is here is longer than the official file; starting over")
        partial.start_over()
    for last in (False, True):
        Transfer(address, file, partial, progress, say).complete()
        problem = _sum_problem(file, partial, progress)
        if not problem:
            partial.finish()
            return
        in_pieces = partial.in_pieces
        partial.keep_aside(_aside(partial.target))
        problem += f"; it is kept as {_aside(partial.target)}"
        # Pieces may be of different files, or damaged by a crash; the address itself deserves a fair try.
        if last or not in_pieces:
            raise Refused(problem)
        say(f"{file.name}: {problem}; it had come in pieces, so it is fetched once more from the start")


def _sum_problem(file: SourceFile, partial: Partial, progress: Progress) -> str:
    """Why what has arrived is not the file, or no archive of it; nothing when it is."""
    if file.holds is not None:
        return _wrong_inside(partial.path, file.holds, progress)
    return "" if partial.sha256 == file.sha256 else _both_sums(partial.sha256, file)
