"""The commit of the checkout that this package runs from, and what that knows of others."""

import os
import re
import subprocess
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple


@lru_cache(maxsize=1)
def git_state() -> tuple[str | None, bool | None]:
    """The commit of this package's checkout, and whether files were changed since; None where it is in none.

    A repository around it, in which it is only installed, says nothing of it.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _package().parent:
            return None, None
        _git("ls-files", "--error-unmatch", "__init__.py")
        return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None, None


class Commit(NamedTuple):
    """When a commit was made, and the first line of its message."""

    time: datetime
    subject: str


def commits(names: Iterable[str]) -> dict[str, Commit]:
    """Those of these commits, by their full names, that this package's checkout knows."""
    wanted = "\n".join(name for name in names if re.fullmatch("[0-9a-f]{40,64}", name))
    try:
        lines = _git("log", "--no-walk", "--ignore-missing", "--format=%H %cI %s", "--stdin", given=wanted)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    found = ((*line.split(" ", 2), "")[:3] for line in lines.splitlines() if wanted)
    return {name: Commit(datetime.fromisoformat(time), subject) for name, time, subject in found}


def _package() -> Path:
    return Path(__file__).resolve().parent


def _git(*arguments: str, given: str = "") -> str:
    """What git says of this package's folder; ``given`` is its standard input."""
    # A hook of git names the repository that it works for; which one this is, the folder alone says.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    how: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "timeout": 10}
    command = ["git", "-C", str(_package()), *arguments]
    return str(subprocess.run(command, input=given, check=True, env=environment, **how).stdout.strip())


def version_text(version: str) -> str:
    """What ``admmctl --version`` says: the version, and the commit where there is one."""
    commit, changed = git_state()
    if commit is None:
        return f"admmctl {version}"
    return f"admmctl {version} (commit {commit[:12]}{', and changes' if changed else ''})"
