"""``admmctl runs remove``: run and study folders, and nothing else."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from admmctl.errors import UserError
from admmctl.runs import jobs
from admmctl.runs.places import exists, is_run, root
from admmctl.runs.recorded import Recorded
from admmctl.runs.resume import held

_INSIDE_A_RUN = ("checkpoint",)  # the only folder that a run's own may hold


@dataclass(frozen=True)
class Removal:
    """A folder that is to go, with its runs and the bytes it takes."""

    folder: Path
    kind: str  # run or study
    runs: list[Path]
    size: int


def plan(names: list[str]) -> list[Removal]:
    """What the names stand for, each folder once; files are ignored, as a shell's glob may name figures.

    Raises UserError, before anything is removed, for a name that is no run and no study, or is at work.
    """
    found: dict[Path, Removal] = {}
    for name in names:
        place = _place(name)
        if place.is_symlink():
            raise UserError(f"{name}: this is a link; name the folder that it leads to, {place.resolve()}")
        if place.is_dir():
            removal = _removal(name, place)
            found[removal.folder] = removal
    chosen = [r for r in found.values() if not any(parent in found for parent in r.folder.parents)]
    if not chosen:
        raise UserError(f"there is no run and no study in {', '.join(names)}; see: admmctl runs list")
    with ExitStack() as stack:
        for removal in chosen:
            stack.enter_context(_held(removal))  # what is at work is refused before anybody is asked
    return chosen


def remove(removals: list[Removal]) -> None:
    """Remove the folders, and an experiment's folder when it is empty then. Raises UserError where that fails."""
    for removal in removals:
        folder = removal.folder
        try:
            with _held(removal):
                # Under another name first: what is half removed must never look like a run.
                doomed = folder.with_name(f".{folder.name}.removed-{os.getpid()}")
                folder.rename(doomed)
                for run in (doomed, *(doomed / run.relative_to(folder) for run in removal.runs)):
                    (run / "config.yaml").unlink(missing_ok=True)
                shutil.rmtree(doomed)  # which follows no links
            folder.with_name(f".{folder.name}.lock").unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be removed: {error.strerror}; change its permissions") from None
        with suppress(OSError):  # not empty
            # What an experiment's link leads to stays: new runs go there.
            if root().resolve() in folder.parent.parents:
                folder.parent.rmdir()


def _place(name: str) -> Path:
    """The absolute path of a name, links on the way followed, but not a link at its end."""
    place = Path(name)
    if not exists(place) and not place.is_symlink():
        place = root() / name
        if not exists(place):
            raise UserError(f"{name}: there is no such run; see: admmctl runs list")
    place = place.absolute()
    return place.resolve() if place.name == ".." else place.parent.resolve() / place.name


def _removal(name: str, place: Path) -> Removal:
    if is_run(place):
        _check_run(place)
        return Removal(place, "run", [place], _size(place))
    inner = sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())
    runs = [path for path in inner if is_run(path)]
    scaling = (place / "study.json").is_file()
    sweep = place.name.startswith("sweep-") and any(path.name.startswith("trial-") for path in runs)
    if not scaling and not sweep:
        hint = f"; name its runs: {name}/*" if runs else "; see: admmctl runs list"
        raise UserError(f"{name}: this is no run and no study{hint}")
    for path in inner:
        if path not in runs:
            raise UserError(f"{name}: it holds {path.name}, which is no run; move that elsewhere first")
        _check_run(path)
    return Removal(place, "study", runs, _size(place))


def _check_run(place: Path) -> None:
    """Raises UserError for a folder that has a config.yaml, and was not made by a run."""
    config = Recorded(place).config
    if len(config.get("methods", ())) != 1 or "name" not in config:
        raise UserError(f"{place}: its config.yaml is not that of a run; remove the folder yourself")
    others = [path.name for path in place.iterdir() if path.is_dir() and path.name not in _INSIDE_A_RUN]
    if others:
        raise UserError(f"{place}: it holds the folder {others[0]}, which no run made; move that elsewhere first")


def _size(place: Path) -> int:
    """Bytes of all files below; links count as themselves."""
    return sum((Path(folder) / name).lstat().st_size for folder, _, files in os.walk(place) for name in files)


@contextmanager
def _held(removal: Removal) -> Iterator[None]:
    """Hold a folder and its runs. Raises UserError where they are at work, here or as a job that was handed in."""
    _check_jobs(removal)
    with ExitStack() as stack:
        for folder in dict.fromkeys((removal.folder, *removal.runs)):
            stack.enter_context(held(folder))
        for lock in _study_locks(removal):
            stack.enter_context(held(lock, f"{removal.folder}: this study is going on in another process"))
        yield


def _check_jobs(removal: Removal) -> None:
    handed = [job for job in jobs.find([str(run) for run in removal.runs]) if removal.runs]
    states = jobs.known(handed) if handed else None
    for job in handed:
        status, reason = job.status(states)
        if status in jobs.LIVE:
            raise UserError(f"{removal.folder}: {reason}; end it first: admmctl cancel {job.number}")


def _study_locks(removal: Removal) -> list[Path]:
    """The files that a scaling study, or a part of one, holds while it is at work."""
    if removal.kind != "study":
        return []
    own = removal.folder.with_name(f".{removal.folder.name}.lock")
    return [path for path in (own, *removal.folder.glob(".*.lock")) if path.is_file() and not path.is_symlink()]
