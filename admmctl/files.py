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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

STDOUT = Path("-")  # as a file that a user names: standard output


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error.

    A link stays one: the file that it leads to is replaced, or made. A pipe or a device is opened and written to
    as it is. The file may be one that cannot be wound back, then.
    """
    # UTF-8 wherever it is written; names of files that are none keep their bytes.
    coding = (None, None) if "b" in mode else ("utf-8", "surrogateescape")
    target = _replaceable(path)
    if target is None:
        with path.open(mode, -1, *coding) as file:
            yield file
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, mode, -1, *coding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_permissions(target))  # mkstemp makes files private
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
        source.replace(path)


def _replaceable(path: Path) -> Path | None:
    """The regular file that ``path`` leads to, there or still to be made; None where it is something else."""
    real = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        found = path.stat()
    except FileNotFoundError:
        return real
    # What /proc/self/fd leads to may have no name, or another's by now.
    return real if stat.S_ISREG(found.st_mode) and real.exists() and real.samefile(path) else None


def _permissions(target: Path) -> int:
    """Those of the file that is replaced; of a new one what the user's umask allows."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


@contextmanager
def alone(target: Path, doing: str, say: Callable[[str], None]) -> Iterator[None]:
    """Work on ``target`` in one process at a time; a second one waits, saying so.

    ``doing`` is what is said to be going on: 'downloading', 'preparing'. The lock dies with its process.
    """
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is {doing} {target.name}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            say(f"the file system of {target.parent} has no locks: nothing else may be {doing} {target.name} now")
        yield


def to_json(content: Any) -> str:
    """``content`` as JSON. NaN and infinities become null: JSON has no word for them."""
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
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
