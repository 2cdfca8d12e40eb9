"""summary.json: what a run came to. One class says what is in it, for those who write it and those who read it."""

import math
import re
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:  # readers of records need no methods
    from admmctl.experiment.config import Run


class Status(StrEnum):
    """How a run ended."""

    REACHED = "reached"
    EXHAUSTED = "exhausted"
    DIVERGED = "diverged"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def done(self) -> bool:
        """Whether the run came to its own end: its result counts, and it is not run again."""
        return self not in (Status.FAILED, Status.INTERRUPTED)


Row = dict[str, Any]  # a run for tables and --json: its folder, and the fields of its summary


# --- what values may be, in a file that anybody may have changed


def rule(good: Callable[[Any], bool], expected: str, made: Callable[[Any], Any] = lambda value: value) -> Any:
    """A check of a value, with the error that says what is ``expected``; ``made`` turns it into what is kept."""

    def check(value: Any) -> Any:
        if not good(value):
            found = {"expected": expected, "found": reprlib.repr(value)}
            raise PydanticCustomError("rule", "expected {expected}, found {found}", found)
        return made(value)

    return PlainValidator(check)


# Bytes of file names that are not UTF-8, as Python spells them: they can be printed.
_BYTES = dict.fromkeys(range(0xDC80, 0xDD00))


def _is_text(value: Any) -> bool:
    """Text of any length. JSON may hold halves of characters (surrogates), which cannot be printed: no text."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value.translate(_BYTES))


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.translate(_BYTES).isprintable()


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _or_null(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or good(value)


Line = Annotated[str, rule(_is_line, "a line of text")]
Text = Annotated[str, rule(_is_text, "text")]
Command = Annotated[str | None, rule(_or_null(_is_text), "a command line")]
Whole = Annotated[int, rule(is_whole, "a whole number")]
WholeOrNull = Annotated[int | None, rule(_or_null(is_whole), "a whole number or null")]
Number = Annotated[float | None, rule(_or_null(_is_number), "a number or null")]
YesOrNo = Annotated[bool | None, rule(_or_null(lambda value: isinstance(value, bool)), "true, false or null")]
Names = Annotated[
    list[str], rule(lambda value: isinstance(value, list) and all(map(_is_line, value)), "a list of names")
]
Checksum = Annotated[str | None, rule(_or_null(_is_line), "a checksum")]
_Status = Annotated[
    Status,
    rule(lambda value: value in tuple(Status), f"one of {', '.join(Status)}", made=lambda value: Status(value)),
]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Every field of summary.json, in its order. Those with a default are missing in files of other versions.

    Times in seconds; ``time_to_target_s`` is None for a miss, ``previous_evaluation_s`` is train_s one evaluation
    before it. ``best_test_accuracy`` is the highest on the way, which is optimistic; the AUCs are of two classes.
    ``rerun`` is a command line.
    ``cpu_share`` and ``disturbed``: see ``runs.disturbed``; ``shared_cores``: there were more ranks than cores;
    ``data_made_up``: a program made its rows up.
    """

    experiment: Line
    method: Line
    seed: Whole
    metric: Line
    status: _Status
    reason: Text
    target: Number
    time_to_target_s: Number
    previous_evaluation_s: Number = None
    iterations: Whole
    best_test_accuracy: Number = None
    final_test_accuracy: Number
    best_test_auc: Number = None
    final_test_auc: Number = None
    train_s: Number
    wall_s: Number = None
    load_s: Number = None
    ranks: Whole
    threads_per_rank: WholeOrNull = None
    rows_train: WholeOrNull = None
    rows_test: WholeOrNull = None
    peak_rss_mb: Number = None
    cpu_share: Number = None
    disturbed: YesOrNo = None
    shared_cores: YesOrNo = None
    data_made_up: YesOrNo = None
    rerun: Command = None


def largest(values: Iterable[float | None]) -> float | None:
    """The largest of those that are numbers; None where none is."""
    return max((value for value in values if value is not None and not math.isnan(value)), default=None)


def identity(run: "Run", ranks: int) -> dict[str, Any]:
    """What a summary says of a run before it has begun."""
    return {
        "experiment": run.experiment,
        "method": run.method,
        "seed": run.seed,
        "metric": run.stop.metric,
        "target": run.stop.target,
        "ranks": ranks,
    }
