"""Files written whole or not at all; what is no file, a pipe or a device, is written to and left in its place."""

import csv
import errno
import fcntl
import io
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, Any

from admmctl.errors import Interrupted

LOOK = 0.2  # seconds between looks at a lock that another process has
STDOUT = Path("-")  # as a file that a user names: standard output


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error.

    A link stays one: the file that it leads to is replaced, or made. A pipe, a device or an open file of this
    process (/dev/stdout, /dev/fd/N) is written to as it is. The file may be one that cannot be wound back, then.
    """
    # UTF-8 wherever it is written; names of files that are none keep their bytes.
    coding = (None, None) if "b" in mode else ("utf-8", "surrogateescape")
    target = _replaceable(path)
    if target is None:
        descriptor = opened(path)
        device = None if descriptor is None else os.dup(descriptor)
        with path.open(mode, -1, *coding) if device is None else os.fdopen(device, mode, -1, *coding) as file:
            yield file
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, mode, -1, *coding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _copy_permissions(target, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def move(source: Path, path: Path) -> None:
    """Put the file ``source`` in the place of ``path``, which stays what it is: a link, a pipe, a device."""
    if path.is_symlink() or _replaceable(path) is None:
        with source.open("rb") as content, atomic(path, "wb") as file:
            shutil.copyfileobj(content, file)
        source.unlink()
    else:
        _copy_permissions(path, source)
        source.replace(path)


def _replaceable(path: Path) -> Path | None:
    """The regular file that ``path`` leads to, there or still to be made; None where it is something else."""
    if opened(path) is not None:
        return None  # to replace its file would lose what is in it, and what is still written to it
    real = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        found = path.stat()
    except FileNotFoundError:
        return real
    # What another process has open may have no name by now.
    return real if stat.S_ISREG(found.st_mode) and real.exists() and real.samefile(path) else None


def opened(path: Path) -> int | None:
    """The number of this process's open file that a path names, through links or not: /dev/stdout is 1."""
    folders = (f"/proc/{os.getpid()}/fd", "/dev/fd")
    for _ in range(40):  # more links than that are refused by the system, too
        folder = os.path.realpath(path.parent)
        if folder in folders and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder, path.readlink())
    return None


def _copy_permissions(target: Path, temporary: Path) -> None:
    """Give ``temporary`` the owner and permissions of ``target``; if that is missing, what the umask allows."""
    try:
        found = target.stat()
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        return
    with suppress(OSError):  # only root may give files away
        os.chown(temporary, found.st_uid, found.st_gid)
    temporary.chmod(stat.S_IMODE(found.st_mode))


@contextmanager
def locked(
    target: Path, doing: str, say: Callable[[str], None], wanted: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Work on ``target`` in one process at a time; a second one waits, saying so.

    ``doing`` is what is said to be going on: 'downloading', 'preparing'. The lock dies with its process. Raises
    Interrupted when it is not ``wanted`` any more, while it waits.
    """
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is {doing} {target.name}; waiting for it")
            while not _taken(lock):
                if not wanted():
                    raise Interrupted(f"interrupted while another process was {doing} {target.name}") from None
                time.sleep(LOOK)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            say(f"the file system of {target.parent} has no locks: nothing else may be {doing} {target.name} now")
        yield


def _taken(lock: IO[str]) -> bool:
    """Whether the lock is free, and so taken now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def to_json(content: Any) -> str:
    """``content`` as JSON, dataclasses as objects. NaN and infinities become null: JSON has no word for them."""
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON, atomically."""
    with atomic(path) as file:
        file.write(to_json(content) + "\n")


def write_csv(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the ``columns`` of ``rows`` as CSV, atomically; what a row lacks stays empty."""
    with atomic(path) as file:
        file.write(to_csv(columns, rows))


def to_csv(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The ``columns`` of ``rows`` as CSV; what a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    if is_dataclass(value):
        value = {part.name: getattr(value, part.name) for part in fields(value)}
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
