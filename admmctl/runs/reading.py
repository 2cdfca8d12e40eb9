"""The files of a run folder, each read by a function of its own, and named with the reason where it is damaged."""

import csv
import json
import math
import reprlib
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from admmctl.runs.summary import Checksum, Names, Summary, Whole, YesOrNo, is_whole

SUMMARY_FILE, CURVE, PHASES, CPU = "summary.json", "curve.csv", "phases.csv", "cpu.csv"
ENVIRONMENT, CONFIG, CONFUSION = "environment.json", "config.yaml", "confusion.json"

CURVE_COLUMNS = ("iteration", "epoch", "train_s", "wall_s", "train_loss", "train_accuracy", "test_accuracy")
_ALWAYS_FINITE = ("iteration", "epoch", "train_s", "wall_s")  # a loss may be NaN, a time may not
PHASE_COLUMNS = ("max_s", "mean_s", "min_s")

Curve = list[dict[str, float]]
Phases = dict[str, dict[str, float]]
T = TypeVar("T")


class Damaged(ValueError):
    """What is wrong with a file, in words that follow its name; ``sound`` is what can be read all the same."""

    def __init__(self, reason: str, sound: Any = None) -> None:
        super().__init__(reason)
        self.sound = sound


@dataclass(frozen=True)
class Environment:
    """Where a run ran. ``facts`` is all that environment.json says."""

    cpu: Names = field(default_factory=list)
    hosts: Names = field(default_factory=list)
    cores: Whole = 0
    data_sha256: Checksum = None
    data_made_up: YesOrNo = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def machine(self) -> str:
        """Processor and cores; empty where they are not recorded."""
        names = ", ".join(self.cpu)
        return f"{names} ({self.cores} cores)" if names and self.cores else names


@dataclass(frozen=True)
class Confusion:
    """Test rows by true class (rows) and predicted class (columns); a last column is for those of no class."""

    classes: list[Any]
    final: list[list[int]]


def _text(path: Path) -> str | None:
    """None where there is no such file. A pipe or a folder of that name is none, and nobody waits for it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Damaged("it is not a file")
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        raise Damaged("it is not text in UTF-8") from None
    except OSError as error:
        raise Damaged(f"it cannot be read: {error.strerror}") from None


def read_mapping(path: Path) -> dict[str, Any] | None:
    """A file that holds one JSON object."""
    text = _text(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise Damaged(f"expected keys and values, found {reprlib.repr(found)}")
    return found


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """Made once: that takes longer than the check."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def checked(kind: type[T], found: dict[str, Any]) -> T:
    """What a file found to say, as the class that knows what it may be."""
    try:
        return _adapter(kind).validate_python(found)
    except ValidationError as error:
        problems = error.errors()
    missing = [_key(problem["loc"]) for problem in problems if problem["type"] == "missing"]
    if missing:
        raise Damaged(f"it lacks {', '.join(missing)}")
    problem = problems[0]
    expected = {"list_type": "a list", "model_type": "keys and values"}.get(problem["type"])
    reason = f"expected {expected}, found {reprlib.repr(problem['input'])}" if expected else problem["msg"]
    raise Damaged(f"{_key(problem['loc'])}: {reason}")


def _key(location: tuple[int | str, ...]) -> str:
    """'numbers[0].paper'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _summary(folder: Path) -> tuple[Summary, dict[str, Any]] | None:
    """The summary, and all that the file says."""
    found = read_mapping(folder / SUMMARY_FILE)
    return None if found is None else (checked(Summary, found), found)


def _environment(folder: Path) -> Environment:
    found = read_mapping(folder / ENVIRONMENT) or {}
    return replace(checked(Environment, {**found, "facts": {}}), facts=found)


def _config(folder: Path) -> dict[str, Any]:
    import yaml

    text = _text(folder / CONFIG)
    if text is None:
        raise Damaged("it is not there")
    try:
        # The parser in C, where there is one: listings read hundreds of these.
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        json.dumps(found, sort_keys=True)  # dates, sets and keys that are no text are no settings
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise Damaged(f"it is not the YAML of a run ({' '.join(str(error).split())})") from None
    blocks = ("data", "network", "methods")
    if not isinstance(found, dict) or not all(isinstance(found.get(block), dict) for block in blocks):
        raise Damaged(f"expected the blocks {', '.join(blocks)}")
    for name in ("stop", "evaluate"):
        if not isinstance(found.get(name, {}), dict):
            raise Damaged(f"{name}: expected keys and values, found {reprlib.repr(found[name])}")
    if not found["methods"] or not all(isinstance(block, dict | None) for block in found["methods"].values()):
        raise Damaged(f"methods: expected a method and its settings, found {reprlib.repr(found['methods'])}")
    return found


def _curve(folder: Path) -> Curve:
    """A last line that a crash has cut off is no line yet."""
    heading, *lines = (_text(folder / CURVE) or "").split("\n")
    columns = heading.split(",")
    if columns[: len(CURVE_COLUMNS)] != list(CURVE_COLUMNS):
        if not lines and ",".join(CURVE_COLUMNS).startswith(heading):
            return []
        raise Damaged(f"line 1: expected {', '.join(CURVE_COLUMNS)}, found {reprlib.repr(heading)}")
    rows: Curve = []
    for place, line in enumerate(lines[:-1], start=2):
        try:
            rows.append(_row(columns, line.split(","), _ALWAYS_FINITE, place))
        except Damaged as damaged:
            raise Damaged(str(damaged), rows) from None
    return rows


def _phases(folder: Path, name: str) -> Phases:
    text = _text(folder / name)
    if text is None:
        return {}
    try:
        lines = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise Damaged(f"it is not CSV ({error})") from None
    columns = ["phase", *PHASE_COLUMNS]
    heading, *rest = lines or [[]]
    if heading != columns:
        raise Damaged(f"line 1: expected {', '.join(columns)}, found {reprlib.repr(','.join(heading))}")
    found: Phases = {}
    for place, line in enumerate(rest, start=2):
        if not line:
            raise Damaged(f"line {place} is empty")
        found[line[0]] = _row(PHASE_COLUMNS, line[1:], PHASE_COLUMNS, place)
    return found


def _row(columns: Sequence[str], values: Sequence[str], finite: Sequence[str], place: int) -> dict[str, float]:
    """The numbers of a line of CSV; those of the ``finite`` columns are neither NaN nor infinite."""
    if len(values) != len(columns):
        raise Damaged(f"line {place}: expected {len(columns)} numbers, found {len(values)}")
    try:
        row = dict(zip(columns, map(float, values), strict=True))
    except ValueError as error:
        raise Damaged(f"line {place}: {error}") from None
    for name in finite:
        if not math.isfinite(row[name]):
            raise Damaged(f"line {place}: {name} is {row[name]}")
    return row


def _confusion(folder: Path) -> Confusion | None:
    found = read_mapping(folder / CONFUSION)
    if found is None:
        return None
    classes = found.get("classes")
    if not isinstance(classes, list) or not classes:
        raise Damaged(f"classes: expected a list, found {reprlib.repr(classes)}")
    table = found.get("final")
    if not isinstance(table, list) or len(table) != len(classes):
        raise Damaged(f"final: expected a row for each of {len(classes)} classes, found {reprlib.repr(table)}")
    width = len(table[0]) if isinstance(table[0], list) else 0
    for row in table:
        # One more than classes where some outputs were of no class.
        if width - len(classes) not in (0, 1) or not isinstance(row, list) or len(row) != width:
            raise Damaged(f"final: expected {len(classes)} numbers of rows, found {reprlib.repr(row)}")
        if not all(map(is_whole, row)):
            raise Damaged(f"final: expected whole numbers, found {reprlib.repr(row)}")
    return Confusion(classes, table)


READERS: dict[str, Callable[[Path], Any]] = {
    SUMMARY_FILE: _summary,
    CURVE: _curve,
    PHASES: lambda folder: _phases(folder, PHASES),
    CPU: lambda folder: _phases(folder, CPU),
    ENVIRONMENT: _environment,
    CONFIG: _config,
    CONFUSION: _confusion,
}
