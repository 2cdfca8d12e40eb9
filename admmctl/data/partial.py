"""A file on its way in: what has arrived so far, its running sha256, and which server it came from."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from admmctl.errors import DataError
from admmctl.files import write_json

CHUNK = 1 << 20


class Partial:
    """``.NAME.part`` beside the file it will become, and ``.NAME.part.json`` that says where it is from.

    Bytes are hashed as they are written, so a finished file is not read a second time; what an earlier
    process left behind is read once, on entry. Every byte that ``append`` took is in the file already: a
    process that dies, or a disk that is full, leaves a partial file to go on with.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.size:  # nothing arrived: leave nothing behind
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def _open(self) -> None:
        # Unbuffered: the size on disk is the size that was received. Appending: writes can only go to the end.
        self._file = self.path.open("a+b", buffering=0)
        self._file.seek(0)
        self._sum = hashlib.sha256()
        self.size = 0
        while chunk := self._file.read(CHUNK):
            self._sum.update(chunk)
            self.size += len(chunk)
        self.in_pieces = self.size > 0  # whether it was ever continued, here or by another process

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()

    @property
    def origin(self) -> dict[str, str]:
        """What the server said of the file when the last bytes came: address, etag, last_modified, length."""
        try:
            note = json.loads(self._note.read_text())
            return {str(key): value for key, value in note.items() if isinstance(value, str)}
        except (OSError, ValueError, AttributeError):
            return {}  # the sha256 will tell

    @property
    def length(self) -> int:
        """How long the whole file is, as the server said; 0 where that is not known."""
        text = self.origin.get("length", "")
        return int(text) if text.isdecimal() else 0

    def ends_here(self) -> None:
        """Note that this is the whole file."""
        with self._writing():
            write_json(self._note, {**self.origin, "length": str(self.size)})

    def goes_on_from(self, origin: dict[str, str]) -> None:
        """Note the server that the next bytes come from."""
        self.in_pieces |= self.size > 0
        if origin != self.origin:
            with self._writing():
                write_json(self._note, origin)

    def append(self, chunk: bytes) -> None:
        """Raises DataError when the disk takes no more; what it took is kept."""
        rest = memoryview(chunk)
        with self._writing():
            while rest:
                written = self._file.write(rest)
                self._sum.update(rest[:written])
                self.size += written
                rest = rest[written:]

    def start_over(self) -> None:
        self._file.truncate(0)
        self._sum = hashlib.sha256()
        self.size = 0
        self.in_pieces = False

    def finish(self) -> None:
        """Give the file its name. Only for bytes whose sum is right."""
        with self._writing():
            os.fsync(self._file.fileno())
        self._note.unlink(missing_ok=True)
        self.path.replace(self.target)

    def keep_aside(self, path: Path) -> None:
        """Move what arrived to ``path`` and begin with nothing."""
        self._file.close()
        self._note.unlink(missing_ok=True)
        self.path.replace(path)
        self._open()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # disk full, quota used up, ...: no other address can help
            raise DataError(
                f"{self.target.name} cannot be written to {self.target.parent}: {error.strerror}; the "
                f"{self.size:,} bytes that arrived are kept: make room and run the same command again"
            ) from None
