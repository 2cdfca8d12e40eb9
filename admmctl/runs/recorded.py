"""What run folders say: the one reader of their files.

``read_...`` gives what there is: nothing where a file is not there yet, and nothing of one that is damaged.
``damage`` says what is wrong with a file, for those who leave a run out and name it.
"""

import csv
import json
import math
import re
import reprlib
import shlex
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SUMMARY_FILE, CURVE, PHASES, CPU = "summary.json", "curve.csv", "phases.csv", "cpu.csv"
ENVIRONMENT, CONFIG, CONFUSION = "environment.json", "config.yaml", "confusion.json"
COMPARED = (SUMMARY_FILE, CONFIG, ENVIRONMENT)  # what runs that stand side by side are read from
DRAWN = (SUMMARY_FILE, CONFIG, CURVE)  # and what curves are drawn from

CURVE_COLUMNS = (
    "iteration",
    "epoch",
    "train_s",
    "wall_s",
    "train_loss",
    "train_accuracy",
    "test_accuracy",
)
_ALWAYS_FINITE = ("iteration", "epoch", "train_s", "wall_s")  # a loss may be NaN, a time may not
PHASE_COLUMNS = ("max_s", "mean_s", "min_s")
DONE = ("reached", "exhausted", "diverged")  # the status of a run that came to its own end
STATUS = (*DONE, "failed", "interrupted")

Curve = list[dict[str, float]]
Phases = dict[str, dict[str, float]]


class Damaged(ValueError):
    """What is wrong with a file, in words that follow its name."""


def read_summary(folder: Path) -> dict[str, Any] | None:
    """A run's summary, or None while there is none that can be read.

    Its ``rerun`` line names the folder where it is now.
    """
    try:
        summary = _summary(folder)
    except Damaged:
        return None
    if summary is not None and isinstance(summary.get("rerun"), str):
        summary["rerun"] = _from_here(summary["rerun"], folder / "config.yaml")
    return summary


def _from_here(line: str, config: Path) -> str:
    """A recorded command line on a run's ``config``, whose folder may have been moved or copied since then."""
    if shlex.quote(str(config)) in line:
        return line
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if words[:2] != ["admmctl", "train"] or len(words) < 3 or Path(words[2]).name != config.name:
        return line
    try:
        if Path(words[2]).samefile(config):
            return line
    except (OSError, ValueError):
        if not config.is_file():
            return line
    return shlex.join([*words[:2], str(config), *words[3:]])


def read_environment(folder: Path) -> dict[str, Any]:
    """Where a run ran; empty while that is not recorded, or when it is damaged."""
    try:
        return _environment(folder)
    except Damaged:
        return {}


def read_config(folder: Path) -> dict[str, Any]:
    """A run's resolved experiment; empty where it is damaged."""
    try:
        return _config(folder)
    except Damaged:
        return {}


def read_phases(folder: Path, name: str = PHASES) -> Phases:
    """phases.csv, or cpu.csv, by phase and column; empty while there is none, or when it is damaged."""
    try:
        return _phases(folder, name)
    except Damaged:
        return {}


def read_curve(folder: Path) -> Curve:
    """The rows of curve.csv, up to what a crash has cut off, or something else damaged."""
    rows: Curve = []
    with suppress(Damaged):
        _curve(folder, rows)
    return rows


def read_confusion(folder: Path) -> dict[str, Any] | None:
    """Classes, and test rows by true and predicted class; None where there is none that can be read."""
    try:
        return _confusion(folder)
    except Damaged:
        return None


def damage(folder: Path, files: Iterable[str]) -> tuple[Path, str] | None:
    """The first of a run's ``files`` that is damaged, and what is wrong with it; None for a sound run.

    A file that is not there is not damaged: the run has not come so far. Its curve stands in for a summary then.
    """
    for name in files:
        try:
            found = _READERS[name](folder)
        except Damaged as reason:
            return folder / name, str(reason)
        if name == SUMMARY_FILE and found is None:
            return damage(folder, (CURVE, *(other for other in files if other not in (SUMMARY_FILE, CURVE))))
    return None


# --- the files, each in words of its own where it is damaged


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


def _mapping(path: Path) -> dict[str, Any] | None:
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


_BYTES = dict.fromkeys(range(0xDC80, 0xDD00))  # of names of files that are no text: they are printed as bytes


def _is_text(value: Any) -> bool:
    """Text of any length, without halves of characters, which JSON can say and nobody can print."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value.translate(_BYTES))


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.translate(_BYTES).isprintable()


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_line, value))


# What a summary must have, and what it may have: whether a value will do, and what is expected.
_Rule = tuple[Callable[[Any], bool], str]
_LINE: _Rule = (_is_line, "a line of text")
_WHOLE: _Rule = (_is_whole, "a whole number")
_NUMBER: _Rule = (_is_number_or_null, "a number or null")
_MUST: dict[str, _Rule] = {
    **dict.fromkeys(("experiment", "method", "metric"), _LINE),
    **dict.fromkeys(("seed", "ranks", "iterations"), _WHOLE),
    "status": (lambda value: value in STATUS, f"one of {', '.join(STATUS)}"),
    "reason": (_is_text, "text"),
    **dict.fromkeys(("target", "time_to_target_s", "final_test_accuracy", "train_s"), _NUMBER),
}
_MAY: dict[str, _Rule] = {
    **dict.fromkeys(("previous_evaluation_s", "best_test_accuracy", "wall_s", "load_s", "peak_rss_mb"), _NUMBER),
    **dict.fromkeys(
        ("threads_per_rank", "rows_train", "rows_test"),
        (lambda value: value is None or _is_whole(value), "a whole number or null"),
    ),
    "rerun": (lambda value: value is None or _is_text(value), "a command line"),
}
_ENVIRONMENT: dict[str, _Rule] = {
    "cpu": (_are_words, "a list of names"),
    "hosts": (_are_words, "a list of names"),
    "cores": _WHOLE,
    "data_sha256": (lambda value: value is None or _is_line(value), "a checksum"),
}


def _check(found: dict[str, Any], rules: dict[str, _Rule]) -> None:
    for key, (good, expected) in rules.items():
        if key in found and not good(found[key]):
            raise Damaged(f"{key}: expected {expected}, found {reprlib.repr(found[key])}")


def _summary(folder: Path) -> dict[str, Any] | None:
    found = _mapping(folder / SUMMARY_FILE)
    if found is None:
        return None
    missing = [key for key in _MUST if key not in found]
    if missing:
        raise Damaged(f"it lacks {', '.join(missing)}")
    _check(found, _MUST | _MAY)
    return found


def _environment(folder: Path) -> dict[str, Any]:
    found = _mapping(folder / ENVIRONMENT) or {}
    _check(found, _ENVIRONMENT)
    return found


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


def _curve(folder: Path, rows: Curve) -> None:
    """Add what the file says to ``rows``. A last line that a crash has cut off is no line yet."""
    heading, *lines = (_text(folder / CURVE) or "").split("\n")
    columns = heading.split(",")
    if columns[: len(CURVE_COLUMNS)] != list(CURVE_COLUMNS):
        if not lines and ",".join(CURVE_COLUMNS).startswith(heading):
            return
        raise Damaged(f"line 1: expected {', '.join(CURVE_COLUMNS)}, found {reprlib.repr(heading)}")
    for place, line in enumerate(lines[:-1], start=2):
        rows.append(_row(columns, line.split(","), _ALWAYS_FINITE, place))


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


def _confusion(folder: Path) -> dict[str, Any] | None:
    found = _mapping(folder / CONFUSION)
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
        if not all(map(_is_whole, row)):
            raise Damaged(f"final: expected whole numbers, found {reprlib.repr(row)}")
    return found


_READERS: dict[str, Callable[[Path], Any]] = {
    SUMMARY_FILE: _summary,
    CURVE: lambda folder: _curve(folder, []),
    PHASES: lambda folder: _phases(folder, PHASES),
    CPU: lambda folder: _phases(folder, CPU),
    ENVIRONMENT: _environment,
    CONFIG: _config,
    CONFUSION: _confusion,
}
EVERYTHING = tuple(_READERS)
