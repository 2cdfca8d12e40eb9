"""The description of a figure, ``results/figures/NAME.json``: what it shows, and the numbers in it.

One class writes and reads it. A file that describes no figure is left out, and named with the reason.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict

from admmctl.files import write_json
from admmctl.runs.places import exists
from admmctl.runs.reading import Damaged, checked, read_mapping
from admmctl.runs.summary import Number as Real
from admmctl.runs.summary import rule

KINDS = ("figure", "table", "illustration")
ENDINGS = ("png", "pdf", "csv")
PNG = b"\x89PNG\r\n\x1a\n"  # how every PNG begins

Text = Annotated[
    str, rule(lambda value: value is None or isinstance(value, str), "text", made=lambda value: value or "")
]


def _are_files(value: Any) -> bool:
    """Whether these are names by ending, and no paths. Null stands for no file of that ending."""

    def named(ending: str) -> bool:
        name = value.get(ending)
        return name is None or (isinstance(name, str) and Path(name).name == name and name.endswith(f".{ending}"))

    return isinstance(value, dict) and all(map(named, ENDINGS))


Files = Annotated[
    dict[str, str],
    rule(
        _are_files,
        "the names of .png, .pdf and .csv files beside it",
        made=lambda value: {ending: value[ending] for ending in ENDINGS if value.get(ending)},
    ),
]


class Number(BaseModel):
    """A number of a paper beside ours. ``ratio`` is ours over theirs; ``same_work``: the work is the same."""

    model_config = ConfigDict(frozen=True)

    what: Text
    unit: Text
    paper: Real
    paper_text: Text
    ours: Real
    ours_text: Text
    ratio: Real
    same_work: Annotated[bool, rule(lambda value: isinstance(value, bool), "true or false")]
    note: Text


class Figure(BaseModel):
    """A figure or table of ours that stands for one of a paper."""

    model_config = ConfigDict(frozen=True)

    name: Text
    paper: Text
    number: Text
    shows: Text
    kind: Annotated[str, rule(lambda value: value in KINDS, f"one of {', '.join(KINDS)}")]
    caption: Text
    scale: Text
    files: Files
    runs: list[Annotated[str, rule(lambda value: isinstance(value, str), "text")]]
    numbers: list[Number]

    _folder: Path = Path()

    @classmethod
    def read(cls, path: Path) -> "Figure":
        """What a file describes. Raises Damaged where that is no figure."""
        found = read_mapping(path)
        try:
            figure = checked(cls, found or {})
        except Damaged as reason:
            raise Damaged(f"it does not describe a figure: {reason}") from None
        figure._folder = path.parent
        png = figure.paths.get("png")
        if png is not None and not png.read_bytes().startswith(PNG):
            raise Damaged(f"files.png: {png.name} is no PNG image")
        return figure

    def write(self, folder: Path) -> Path:
        """Write NAME.json; returns its path. Raises OSError."""
        path = folder / f"{self.name}.json"
        write_json(path, self.model_dump())
        return path

    @cached_property
    def paths(self) -> dict[str, Path]:
        """Its files that exist, by ending."""
        named = {ending: self._folder / name for ending, name in self.files.items()}
        return {ending: path for ending, path in named.items() if exists(path)}

    @property
    def absent(self) -> list[str]:
        """Names of its files that are not there."""
        return [name for ending, name in self.files.items() if ending not in self.paths]

    def about(self, folders: list[Path]) -> bool:
        """Whether it was drawn from one of these runs."""
        return are_among(self.runs, folders)

    @property
    def _place(self) -> tuple[Any, ...]:
        """What figures are sorted by: paper, then number, Figure 2 before Figure 10."""
        parts = re.split(r"(\d+)", self.number)
        return self.paper, [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], self.name


def are_among(runs: Sequence[str], folders: Sequence[Path]) -> bool:
    """Whether one of these runs is in one of the folders. Its path may be relative to another place than ours."""
    chosen = {folder.absolute().parts[-2:] for folder in folders}
    return any(Path(run).parts[-2:] in chosen for run in runs)


@dataclass(frozen=True)
class LeftOut:
    """A file that the report does not use, and why."""

    file: str
    reason: str


def read_figures(folder: Path) -> tuple[list[Figure], list[LeftOut]]:
    """The figures that a folder describes, a paper's together and in its order; and broken files.

    Papers of which nothing is measured, only illustrated, come last.
    """
    found: list[Figure] = []
    broken: list[LeftOut] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Figure.read(path))
        except Damaged as reason:
            broken.append(LeftOut(str(path), str(reason)))
        except OSError as error:
            broken.append(LeftOut(str(path), f"it cannot be read: {error.strerror}"))
    measured = {figure.paper for figure in found if figure.kind != "illustration"}
    return sorted(found, key=lambda figure: (figure.paper not in measured, *figure._place)), broken
