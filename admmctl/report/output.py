"""Results on standard output, as text, tables or one JSON document; and in files that a user names."""

import io
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admmctl.errors import UserError
from admmctl.files import STDOUT, to_csv, to_json, write_csv

if TYPE_CHECKING:  # the Tab key waits for what the commands load
    from rich.console import RenderableType

_NARROWEST = 80  # tables are made for this; a narrower terminal wraps their lines itself
_ENDLESS = 100_000  # columns of a file or a pipe


def put(*parts: "RenderableType | None", narrowest: int = _NARROWEST) -> None:
    """Print tables and text as they are: names are never taken for markup.

    On a terminal tables have its width, or ``narrowest`` columns where it has fewer. Elsewhere their lines are as
    long as it takes.
    """
    from rich.console import Console

    text = io.StringIO()
    terminal = sys.stdout.isatty()
    width = room(narrowest)
    console = Console(
        file=text,
        width=width,
        height=25,  # where TERM is dumb, rich takes a width only together with a height
        force_terminal=terminal,
        markup=False,
        highlight=False,
        emoji=False,
    )
    for part in parts:
        if part is not None:
            console.print(part, soft_wrap=isinstance(part, str), crop=False)
    printed = text.getvalue()
    write(printed if terminal else "".join(f"{line.rstrip()}\n" for line in printed.splitlines()))


def room(narrowest: int) -> int:
    """How many columns a line may have."""
    return max(narrowest, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _ENDLESS


def put_json(document: object) -> None:
    """One JSON document, of mappings or dataclasses; numbers that JSON cannot say become null."""
    write(to_json(document) + "\n")


def write(text: str) -> None:
    """Text on standard output, at once. Of one that breaks nothing is raised here: see ``cli.streams``."""
    sys.stdout.write(text)
    sys.stdout.flush()


def put_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the file of ``--csv``, '-' for standard output; all rows have the same keys. Raises UserError."""
    columns = list(rows[0])
    if path == STDOUT:
        write(to_csv(columns, rows))
    else:
        with writable(path, "--csv"):
            write_csv(path, columns, rows)


@contextmanager
def writable(path: Path, option: str = "--output") -> Iterator[None]:
    """Raises UserError where the block cannot write ``path``; ``option`` is what names another place."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; name another place: {option}") from None
