"""What lies beside a figure: ``results/figures/NAME.json``, which says what it shows and the numbers in it."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admmctl.runs.places import exists

KINDS = ("figure", "table", "illustration")
FILES = ("png", "pdf", "csv")
PNG = b"\x89PNG\r\n\x1a\n"  # how every PNG begins


class _Broken(ValueError):
    """Why a file is no description of a figure."""


@dataclass(frozen=True)
class Number:
    """A number of a paper beside ours. ``ratio`` is ours over the paper's, ``same_work`` whether that compares."""

    what: str
    unit: str
    paper: float | None
    paper_text: str
    ours: float | None
    ours_text: str
    ratio: float | None
    same_work: bool
    note: str


@dataclass(frozen=True)
class Figure:
    """A figure or table of ours that stands for one of a paper; ``files`` are those that exist, by ending."""

    name: str
    paper: str
    number: str
    shows: str
    kind: str
    caption: str
    scale: str
    files: dict[str, Path]
    absent: list[str]
    runs: list[str]
    numbers: list[Number]

    def about(self, folders: list[Path]) -> bool:
        """Whether it was drawn from one of these runs. Its paths may be relative to another folder than ours."""
        chosen = {folder.absolute().parts[-2:] for folder in folders}
        return any(Path(run).parts[-2:] in chosen for run in self.runs)


@dataclass(frozen=True)
class LeftOut:
    """A file that the report does not use, and why."""

    file: str
    reason: str


def read_figures(folder: Path) -> tuple[list[Figure], list[LeftOut]]:
    """The figures that a folder describes, a paper's together and in its order; and broken files.

    Papers that are illustrated alone, without anything measured, come last.
    """
    found: list[Figure] = []
    broken: list[LeftOut] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(_figure(path))
        except OSError as error:
            broken.append(LeftOut(str(path), f"it cannot be read: {error.strerror}"))
        except _Broken as error:
            broken.append(LeftOut(str(path), str(error)))
        except (ValueError, RecursionError):  # no text, no JSON, or a number or nesting beyond all measure
            broken.append(LeftOut(str(path), "it is not JSON"))
    measured = {figure.paper for figure in found if figure.kind != "illustration"}
    return sorted(found, key=lambda figure: (figure.paper not in measured, *_order(figure))), broken


def _order(figure: Figure) -> tuple[Any, ...]:
    """By paper, then by number: Figure 2 before Figure 10."""
    parts = re.split(r"(\d+)", figure.number)
    return figure.paper, [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], figure.name


def _figure(path: Path) -> Figure:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise _Broken("it does not describe a figure: expected a JSON object")
    keys = ("name", "paper", "number", "shows", "kind", "caption", "scale", "files", "runs", "numbers")
    _has(content, keys, "")
    if content["kind"] not in KINDS:
        raise _Broken(f"kind: {_short(content['kind'])}; expected {', '.join(KINDS)}")
    files, absent = _files(path, content["files"])
    return Figure(
        **{key: _words(content, key, "") for key in keys[:7]},
        files=files,
        absent=absent,
        runs=[_word(run, "runs") for run in _list(content, "runs")],
        numbers=[_number(item, f"numbers[{place}].") for place, item in enumerate(_list(content, "numbers"))],
    )


def _number(item: Any, where: str) -> Number:
    if not isinstance(item, dict):
        raise _Broken(f"{where.rstrip('.')}: expected a JSON object")
    keys = ("what", "unit", "paper", "paper_text", "ours", "ours_text", "ratio", "same_work", "note")
    _has(item, keys, where)
    if not isinstance(item["same_work"], bool):
        raise _Broken(f"{where}same_work: {_short(item['same_work'])}; expected true or false")
    words = {key: _words(item, key, where) for key in ("what", "unit", "paper_text", "ours_text", "note")}
    numbers = {key: _float(item, key, where) for key in ("paper", "ours", "ratio")}
    return Number(**words, **numbers, same_work=item["same_work"])  # type: ignore[arg-type]


def _files(path: Path, named: Any) -> tuple[dict[str, Path], list[str]]:
    """The files beside a description, and the names of those that are not there. Only names, never paths."""
    if not isinstance(named, dict):
        raise _Broken(f"files: {_short(named)}; expected names by ending")
    files: dict[str, Path] = {}
    absent = []
    for ending in FILES:
        name = named.get(ending)
        if name is None:
            continue
        if Path(_word(name, f"files.{ending}")).name != name or not name.endswith(f".{ending}"):
            raise _Broken(f"files.{ending}: {_short(name)}; expected the name of a .{ending} file beside it")
        if exists(path.with_name(name)):
            files[ending] = path.with_name(name)
        else:
            absent.append(name)
    if "png" in files and not files["png"].read_bytes().startswith(PNG):
        raise _Broken(f"files.png: {files['png'].name} is no PNG image")
    return files, absent


def _has(content: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    missing = [where + key for key in keys if key not in content]
    if missing:
        raise _Broken(f"it does not describe a figure: it lacks {', '.join(missing)}")


def _words(content: dict[str, Any], key: str, where: str) -> str:
    """A text; null is an empty one."""
    return "" if content[key] is None else _word(content[key], where + key)


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _Broken(f"{where}: {_short(value)}; expected text")
    return value


def _list(content: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(content[key], list):
        raise _Broken(f"{key}: {_short(content[key])}; expected a list")
    return content[key]


def _float(content: dict[str, Any], key: str, where: str) -> float | None:
    value = content[key]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or math.isnan(value):
        raise _Broken(f"{where}{key}: {_short(value)}; expected a number or null")
    return float(value)


def _short(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
