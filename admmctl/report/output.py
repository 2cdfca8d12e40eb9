"""Results on standard output: text, tables or one JSON document."""

import io
import shutil
import sys

from rich.console import Console, RenderableType

from admmctl.files import to_json

_NARROWEST = 80  # tables are made for this; a narrower terminal wraps their lines itself
_ENDLESS = 100_000  # columns of a file or a pipe


def put(*parts: RenderableType | None, narrowest: int = _NARROWEST) -> None:
    """Print tables and text as they are: names are never taken for markup.

    On a terminal tables have its width, or ``narrowest`` columns where it has fewer. Elsewhere their lines are as
    long as it takes.
    """
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
