"""``--resume``: which run folder to go on with, and that nobody else does."""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from admmctl.data import shards
from admmctl.errors import UserError
from admmctl.experiment.config import Run, load
from admmctl.runs import checkpoint
from admmctl.runs.places import is_run, root
from admmctl.runs.recorded import Recorded


def folder_name(run: Run, ranks: int) -> str:
    """A run's folder within its experiment's, but for the -2 of a second one."""
    return f"{run.method}-p{ranks}-s{run.seed}-{run.hash()}"


def find(run: Run, ranks: int, config: object) -> Recorded | None:
    """The run of the same settings and seed that was begun last.

    ``config`` is what the user named: the config.yaml of a run folder means that very run, whatever its ranks.
    Otherwise it is one on as many ranks.
    """
    if isinstance(config, str | Path) and Path(config).name == "config.yaml":
        folder = Path(config).parent
        if _is_of(folder, run):
            return Recorded(folder)
    newest = _newest(run, re.escape(folder_name(run, ranks)))
    return None if newest is None else Recorded(newest)


def on_other_ranks(run: Run) -> Path | None:
    """An unfinished run of the same settings and seed on any number of ranks."""
    name = re.escape(folder_name(run, 0)).replace(r"\-p0\-", r"\-p\d+\-")
    path = _newest(run, name)
    return None if path is None or Recorded(path).done else path


def unfinished(run: Run, ranks: int) -> Recorded | None:
    """The run with the same name that was begun last, where it has not finished and says all that ``run`` says."""
    found = find(run, ranks, None)
    return found if found is not None and not found.done and _says_the_same(found, run) else None


def begun_at(place: Path, run: Run, fingerprints: "Fingerprints") -> Recorded | None:
    """The run of a study at its ``place``, to go on with: begun with the same settings and data, and a checkpoint.

    Raises DataError where there are no data.
    """
    found = Recorded(place)
    if found.done or not checkpoint.exist(place) or not _says_the_same(found, run):
        return None
    return None if fingerprints.data_difference(run, place) else found


def _says_the_same(recorded: Recorded, run: Run) -> bool:
    """Whether a run was begun with all the settings of ``run``, those that its name does not hold too."""
    try:
        before = load(recorded.folder / "config.yaml").runs.get(run.method)
    except UserError:
        return False  # damaged
    return before is not None and before.document() == run.document()


class Fingerprints:
    """Checksums of the data that runs would read now, each computed once, to compare recorded runs with."""

    def __init__(self) -> None:
        self._sums: dict[str, str] = {}

    def data(self, run: Run) -> str:
        """The fingerprint of the rows that ``run`` would read. Raises DataError where there are none."""
        key = run.data.model_dump_json()
        if key not in self._sums:
            self._sums[key] = shards.plan(run.data, 1).source.fingerprint()
        return self._sums[key]

    def data_difference(self, run: Run, folder: Path) -> str:
        """How the data of a recorded run differ from those that ``run`` would read, or ''."""
        recorded, here = Recorded(folder).environment.data_sha256, self.data(run)
        if recorded == here:
            return ""
        if recorded is None:
            return "it is not recorded what data it read"
        return f"the data have changed since: sha256 {recorded[:12]}..., now {here[:12]}..."

    def differences(self, run: Run, folder: Path) -> list[str]:
        """How a recorded run differs from ``run``, which has its settings and seed: in its data, in its stop."""
        found = [self.data_difference(run, folder)]
        try:
            stop = load(folder / "config.yaml").runs[run.method].stop.model_dump()
        except (UserError, KeyError):
            return [*filter(None, found), "its config.yaml cannot be read"]
        asked = run.stop.model_dump()
        found += [f"stop.{key} was {stop[key]}, is {asked[key]}" for key in asked if stop[key] != asked[key]]
        return [difference for difference in found if difference]


def _newest(run: Run, name: str) -> Path | None:
    """The folder with that name, a regular expression, and the highest number behind it."""
    pattern = re.compile(rf"{name}(?:-(\d+))?")
    parent = root() / run.experiment
    if not parent.is_dir():
        return None
    found = [
        (int(match[1] or 1), path)
        for path in parent.iterdir()
        if (match := pattern.fullmatch(path.name)) and is_run(path)
    ]
    return max(found)[1] if found else None


def _is_of(folder: Path, run: Run) -> bool:
    """Whether a folder is of this method, these settings and this seed; with --set it may be of another run."""
    if not re.fullmatch(r".*-p\d+-s\d+-[0-9a-f]{8}(-\d+)?", folder.resolve().name):
        return False
    try:
        runs = load(folder / "config.yaml").runs
    except UserError:
        return False
    return run.method in runs and runs[run.method].hash() == run.hash()


@contextmanager
def held(place: Path, text: str = "") -> Iterator[None]:
    """Hold a run folder while a run goes on in it. Raises UserError where another process does; ``text`` says so.

    A study holds a file.
    """
    handle = os.open(place, os.O_RDWR if place.is_file() else os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some network file systems have no locks for folders: then nobody can know.
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                text = text or f"{place}: this run is going on in another process"
                raise UserError(f"{text}; wait for its end") from None
        yield
    finally:
        os.close(handle)
