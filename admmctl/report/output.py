"""Results on standard output: text, tables or one JSON document."""

import io
import os
import shutil
import sys
from typing import Any

from rich.console import Console, RenderableType

from admmctl.errors import AdmmctlError
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
    """Text on standard output. A reader that has seen enough (``| head``) is no error; a full disk is one."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_on_stdout()
        raise SystemExit(0) from None
    except OSError as error:
        _give_up_on_stdout()
        raise AdmmctlError(f"standard output cannot be written: {error.strerror}") from None


def _give_up_on_stdout() -> None:
    """Python flushes standard output once more at its end, and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
