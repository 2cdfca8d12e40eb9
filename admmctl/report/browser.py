"""Showing a page in a web browser, where somebody is there to see it."""

import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path


def show(page: Path, when: str, say: Callable[[str], None]) -> bool:
    """Open a page in the browser: ``when`` is yes, no or auto. Returns whether one opened.

    ``auto``: only on a terminal, outside continuous integration, and where there is a screen. Where no browser is
    found, ``say`` is called with what to do.
    """
    if when == "no" or (when == "auto" and not _somebody_looks()):
        return False
    opened = webbrowser.open(page.absolute().as_uri())
    if not opened:
        say(f"no web browser was found; open {page} by hand")
    return opened


def _somebody_looks() -> bool:
    """Whether there is a screen here; a terminal may be that of another machine."""
    if not sys.stdout.isatty() or os.environ.get("CI"):
        return False
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)
