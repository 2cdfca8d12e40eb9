"""The experiment files and clusters that come with admmctl: found by their names, and written to a user's folder.

They are the folder ``configs`` of the repository; in a checkout ``admmctl/configs`` is a link to it. The Tab key
loads this module, so it loads little.
"""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from admmctl.errors import UserError
from admmctl.files import atomic
from admmctl.folders import make_folder

HERE = Path("configs")
BUNDLED = (Path(__file__).parents[1] / "configs").resolve()
FOLDERS = (HERE, BUNDLED)  # a file here stands before one that came with admmctl
SUFFIXES = (".yaml", ".yml")

State = Literal["written", "same", "kept"]


@dataclass(frozen=True)
class Written:
    """A file of ``admmctl init``: it was written, was there and the same, or was changed and so kept."""

    file: str
    state: State


def names() -> list[str]:
    """The names of all experiments that ``find`` finds."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.yaml")})


def find(name: str) -> Path | None:
    """The experiment file of that name in ./configs, or else the one that came with admmctl; None for no name."""
    places = (folder / f"{name}.yaml" for folder in FOLDERS)
    return next(filter(os.path.isfile, places), None)


def experiment_file(given: str | Path) -> Path:
    """The file that is meant by a path, or by the name of an experiment, with .yaml or without.

    What lies at the path comes first, a folder too. What means no file stays as it is: reading it says so.
    """
    path = Path(given)
    if os.path.lexists(path) or len(path.parts) != 1:
        return path
    return find(_name(path)) or path


def hint(path: Path) -> str:
    """What an error about ``path``, which is no file, says of the experiments that there are; or ''."""
    name = _name(path)
    if find(name) is not None:
        alone = f"{name}.yaml" if path.is_dir() else name
        return f"; for the experiment of that name give: {alone} (its file is written by: admmctl init)"
    if len(path.parts) != 1 or path.exists():
        return ""
    near = get_close_matches(name, names(), n=3, cutoff=0.6)
    meant = f"; did you mean {' or '.join(repr(each) for each in near)}?" if near else ";"
    return f", and no experiment of that name{meant} all of them: admmctl configs"


def _name(path: Path) -> str:
    return path.stem if path.suffix in SUFFIXES else path.name


def write(folder: Path) -> list[Written]:
    """Write all files that came with admmctl below ``folder``/configs; what is there is not touched.

    Raises UserError where a folder or a file cannot be written: those before it are there, each of them whole.
    """
    found = []
    for source in sorted(BUNDLED.rglob("*.yaml")):
        target = folder / HERE / source.relative_to(BUNDLED)
        try:
            make_folder(target.parent)
            found.append(Written(str(target), _write(source.read_bytes(), target)))
        except OSError as error:
            raise UserError(
                f"{target} cannot be written: {error.strerror}; name another folder: admmctl init DIR"
            ) from None
    if not found:
        raise UserError(f"no experiment files came with this admmctl: there is no {BUNDLED}; install it again")
    return found


def _write(content: bytes, target: Path) -> State:
    if os.path.lexists(target):
        try:
            return "same" if target.read_bytes() == content else "kept"
        except OSError:  # a folder, a link that leads nowhere, a file of somebody else
            return "kept"
    with atomic(target, "wb") as file:
        file.write(content)
    return "written"
