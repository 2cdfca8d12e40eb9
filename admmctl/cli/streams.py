"""The standard streams of a command. Pipes, full disks, encodings and ``>&-`` break none of them."""

import codecs
import io
import os
import select
import sys
from typing import Any


class Lossy(io.FileIO):
    """A stream that takes everything. After a write has failed, the rest is dropped; ``failure`` is the reason.

    The command goes on: what it does and records matters more than what it prints.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        while self.failure is None:
            try:
                written = super().write(data)
            except OSError as failure:
                self.failure = failure
                break
            if written is not None:
                return written
            select.select([], [self], [])  # another process has made it non-blocking, and it is full
        return memoryview(data).nbytes


def prepare() -> None:
    """Make sure that all three streams are there, and that printing never raises."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Closed by ``>&-``. Left free, the next file that is opened would get what is printed.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    codecs.register_error("printable", _printable)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(sys.stderr, 2)


def lost_results() -> str | None:
    """Why standard output did not take all that was printed; None where it did, or nobody wanted the rest."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, Lossy) else None
    # A reader that has seen enough (``| head``) is no failure: the exit code is as if it had read all.
    return None if failure is None or isinstance(failure, BrokenPipeError) else failure.strerror


def _text(before: Any, descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(Lossy(descriptor)),
        encoding=before.encoding if before is not None else "utf-8",
        errors="printable",
        line_buffering=descriptor == 2 or (before is not None and (before.line_buffering or before.write_through)),
    )


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Text that the encoding has no bytes for: a file's name as it is, other characters as ``\\u2026``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return b"".join(map(_bytes, characters)), error.end


def _bytes(character: str) -> bytes:
    escaped = 0xDC80 <= ord(character) <= 0xDCFF  # so Python reads a byte that is no text
    return bytes([ord(character) - 0xDC00]) if escaped else character.encode("ascii", "backslashreplace")
