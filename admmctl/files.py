"""Files written whole or not at all."""

import csv
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        # UTF-8 wherever it is written; names of files that are none keep their bytes.
        coding = (None, None) if "b" in mode else ("utf-8", "surrogateescape")
        with os.fdopen(handle, mode, -1, *coding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; give this one what the user's umask allows.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
