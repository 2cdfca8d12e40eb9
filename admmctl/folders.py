"""Folders that may be links to other places: a link stays, and what is made is made where it leads."""

import errno
import os
import shutil
from pathlib import Path

from admmctl.errors import UserError


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it. A link on the way that leads to nothing yet gets its folder.

    The folder above that one must be there: a disk that is not mounted must not be written to in its place.
    Raises OSError; its ``strerror`` names the link.
    """
    for place in (*reversed(folder.parents), folder):
        if place.is_symlink() and not place.exists():
            leads_to(place).mkdir()
    folder.mkdir(parents=True, exist_ok=True)


def leads_to(place: Path) -> Path:
    """``place``, or where it leads if it is a link. Raises OSError where nothing can be made there."""
    if not place.is_symlink():
        return place
    target = Path(os.path.realpath(place))
    if target.is_symlink():
        raise OSError(errno.ELOOP, f"{place} is a link that leads back to itself; remove it", str(place))
    if not target.parent.is_dir():
        text = f"{place} is a link to {target}, and there is no folder {target.parent}: is its disk mounted?"
        raise FileNotFoundError(errno.ENOENT, text, str(place))
    return target


def discard(place: Path) -> None:
    """Remove what is called ``place``, if anything is: a folder with all it holds, a file, or the link alone."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def make_results_folder(folder: Path) -> None:
    """Make the folder of a study. Raises UserError where it cannot be written."""
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(f"the results folder {folder} cannot be written: {error.strerror}") from None
