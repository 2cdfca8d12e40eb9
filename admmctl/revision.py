"""The commit of the checkout that this package runs from."""

import os
import subprocess
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def git_state() -> tuple[str | None, bool | None]:
    """The commit of this package's checkout, and whether files were changed since; None where it is in none.

    A repository around it, in which it is only installed, says nothing of it.
    """
    package = Path(__file__).resolve().parent
    # A hook of git names the repository that it works for; which one this is, the folder alone says.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return None, None
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None, None


def version_text(version: str) -> str:
    """What ``admmctl --version`` says: the version, and the commit where there is one."""
    commit, changed = git_state()
    if commit is None:
        return f"admmctl {version}"
    return f"admmctl {version} (commit {commit[:12]}{', and changes' if changed else ''})"
