"""Results on standard output: text, tables or one JSON document."""

import io
import shutil
import sys
from typing import Any

from rich.console import Console, RenderableType

from admmctl.files import to_json

_NARROWEST = 80  # tables are made for this; a narrower terminal wraps their lines itself


def put(*parts: RenderableType | None, narrowest: int = _NARROWEST) -> None:
    """Print tables and text as they are: names are never taken for markup. Tables have ``narrowest`` columns."""
    text = io.StringIO()
    terminal = sys.stdout.isatty()
    width = max(narrowest, shutil.get_terminal_size().columns)
    console = Console(file=text, width=width, force_terminal=terminal, markup=False, highlight=False, emoji=False)
    for part in parts:
        if part is not None:
            console.print(part, soft_wrap=isinstance(part, str))
    write(text.getvalue())


def put_json(document: dict[str, Any]) -> None:
    """One JSON document; numbers that JSON cannot say become null."""
    write(to_json(document) + "\n")


def write(text: str) -> None:
    """Text on standard output, at once. Of one that breaks nothing is raised here: see ``cli.streams``."""
    sys.stdout.write(text)
    sys.stdout.flush()
