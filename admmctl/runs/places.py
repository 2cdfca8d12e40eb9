"""Where runs are: the results folder, and the run folders that arguments name."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from admmctl.errors import UserError
from admmctl.runs.recorded import Recorded


def root() -> Path:
    """Where results live: ``./results``, or what ADMMCTL_RESULTS names."""
    return Path(os.environ.get("ADMMCTL_RESULTS") or "results")


def is_run(path: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (path / "config.yaml").is_file()


def exists(place: Path) -> bool:
    """Whether a path exists; a name that is too long, or not allowed, does not."""
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


def find(
    names: list[str] | None = None,
    reads: Sequence[str] = (),
    left_out: Callable[[Path, str], None] = lambda file, reason: None,
) -> list[Recorded]:
    """The runs that RUN arguments name: run folders, or experiment folders with runs in them.

    Without names, all in the results folder. Other files are ignored, so that a shell's glob may name them.
    ``reads`` are the files that the caller reads: a run where one of them is damaged is left out, and ``left_out``
    is told the file and the reason. Raises UserError when a name does not exist, or when nothing is found, or
    nothing but damage, where names were given.
    """
    places = [Path(name) for name in names] if names else [root()]
    found: list[Path] = []
    problems: list[tuple[Path, str]] = []
    for place in places:
        if not exists(place):
            if not names:
                continue
            if not exists(root() / place):
                raise UserError(f"{place}: there is no such run; see: admmctl runs list")
            place = root() / place  # 'mnist01' for 'results/mnist01' is what a user means
        if _begun(place):
            found.append(place)
        elif place.is_dir():
            inner = _folders(place, problems)
            found += [path for path in inner if _begun(path)]
            if not names or place.resolve() == root().resolve():
                others = [path for path in inner if not _begun(path)]
                found += [path for folder in others for path in _folders(folder, problems) if _begun(path)]
    sound: list[Recorded] = []
    for run in map(Recorded, dict.fromkeys(found)):
        problem = run.damage(reads)
        if problem is None:
            sound.append(run)
        else:
            problems.append(problem)
    if names and problems and not sound:
        reasons = "\n  ".join(f"{file}: {reason}" for file, reason in problems)
        none = "none of these runs can be read:\n  " if len(problems) > 1 else ""
        raise UserError(f"{none}{reasons}; mend or remove it, or name other runs")
    if names and not sound:
        raise UserError(f"no runs in {', '.join(names)}; see: admmctl runs list")
    for file, reason in problems:
        left_out(file, reason)
    return sound


def _begun(path: Path) -> bool:
    """Whether a run was begun in this folder. One that cannot be looked into counts: it is named as damaged."""
    try:
        (path / "config.yaml").lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _folders(place: Path, problems: list[tuple[Path, str]]) -> list[Path]:
    try:
        return [path for path in sorted(place.iterdir()) if path.is_dir()]
    except OSError as error:
        problems.append((place, f"it cannot be read: {error.strerror}"))
        return []
