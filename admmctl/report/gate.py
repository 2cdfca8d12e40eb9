"""``runs compare OLD NEW --fail-if-slower 5%``: whether methods became slower, from the runs of both sides."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.text import Text

from admmctl.errors import UserError
from admmctl.report.compare import Ended, by_seed, of_one_question, times_by_seed
from admmctl.report.tables import MADE_UP, Plain
from admmctl.report.text import count, interval, number, ranks_of, seconds
from admmctl.runs.recorded import Recorded
from admmctl.studies.gate import Answer, percent, ratio
from admmctl.studies.statistics import MINIMUM, median

OPTION, ELSEWHERE = "--fail-if-slower", "--other-machine"


@dataclass(frozen=True)
class Gated:
    """A method of both sides. ``ratio`` is the new's seconds over the old's; ``note`` says what a person may ask.

    ``old_runs`` and ``new_runs`` count seeds; ``pairs`` those of both, where the ratio was taken by seed, or None.
    ``left_out`` counts runs of both sides that were disturbed.
    """

    method: str
    ranks: int
    threads_per_rank: int | None
    old_runs: int
    new_runs: int
    pairs: int | None
    left_out: int
    old_s: float
    new_s: float
    ratio: float
    ratio_low: float | None
    ratio_high: float | None
    verdict: Answer
    note: str


@dataclass(frozen=True)
class Gate:
    """What ``runs compare --fail-if-slower --json`` prints. ``seconds`` says which ones are compared."""

    experiment: str
    metric: str
    target: float | None
    seconds: str
    margin: float
    failed: bool
    methods: list[Gated]
    only_old: list[str]
    only_new: list[str]


_Key = tuple[str, int, int | None]  # method, ranks, threads
_Side = dict[_Key, list[Ended]]


def gate(old: Iterable[Recorded], new: Iterable[Recorded], margin: float, other_machine: bool = False) -> Gate:
    """Hold the seconds of ``new`` against those of ``old``, a method at a time.

    Seconds are those to the target, or of an iteration where there is none. Disturbed runs are left out. Raises
    UserError where the sides cannot be compared: other data, another target, no method in common, several settings
    of one method, and, without ``other_machine``, another machine.
    """
    sides = list(old), list(new)
    for name, runs in zip(("OLD", "NEW"), sides, strict=True):
        if all(run.summary is None for run in runs):
            raise UserError(f"{name}: none of its runs has finished: there is nothing to compare")
    if {run.folder.resolve() for run in sides[0]} & {run.folder.resolve() for run in sides[1]}:
        raise UserError("OLD and NEW have runs in common; name two folders of different runs")
    every = of_one_question([*sides[0], *sides[1]])
    if not other_machine:
        _check_machine(every)
    before, now = (_by_method([one for one in every if one.run in runs]) for runs in sides)
    both = [key for key in before if key in now]
    if not both:
        raise UserError(
            "OLD and NEW have no method in common, with as many ranks and threads:\n"
            f"  OLD: {', '.join(map(_name, before))}\n  NEW: {', '.join(map(_name, now))}"
        )
    summary = every[0].summary
    rows = [_gated(key, before[key], now[key], margin) for key in both]
    return Gate(
        summary.experiment,
        summary.metric,
        summary.target,
        "an iteration" if summary.target is None else "to the target",
        margin,
        any(row.verdict is Answer.SLOWER for row in rows),
        rows,
        [_name(key) for key in before if key not in now],
        [_name(key) for key in now if key not in before],
    )


def _check_machine(every: list[Ended]) -> None:
    known = [(machine, one.run) for one in every if (machine := one.run.environment.machine)]
    for machine, run in known:
        if machine != known[0][0]:
            raise UserError(
                "these runs are of different machines, and so are their seconds:\n"
                f"  {known[0][1].folder}: {known[0][0]}\n  {run.folder}: {machine}\n"
                f"make OLD on this machine, too; or compare them all the same: {ELSEWHERE}"
            )


def _by_method(side: list[Ended]) -> _Side:
    """Raises UserError where a method has several settings: which of them is meant is not known."""
    found: _Side = {}
    for one in side:
        key = one.summary.method, one.summary.ranks, one.summary.threads_per_rank
        group = found.setdefault(key, [])
        if group and group[0].settings != one.settings:
            raise UserError(
                f"{_name(key)} has several settings:\n  {group[0].run.folder}\n  {one.run.folder}\n"
                "name runs of one of them"
            )
        group.append(one)
    return found


def _name(key: _Key) -> str:
    method, ranks, threads = key
    return f"{method} on {ranks_of(ranks, threads)}"


def _gated(key: _Key, old: list[Ended], new: list[Ended], margin: float) -> Gated:
    disturbed = [one for one in (*old, *new) if one.run.disturbed]
    before, now = (seconds_by_seed([one for one in side if not one.run.disturbed]) for side in (old, new))
    found = ratio(before, now)
    answer = found.answer(margin)
    # Where nobody met the target, or rows are made up, seconds mean nothing.
    missed = all(map(math.isinf, (*before.values(), *now.values())))
    made_up = any(one.run.made_up for one in (*old, *new))
    if missed or made_up:
        answer = Answer.UNTOLD
    notes = []
    if made_up:
        notes.append(f"{MADE_UP}: no verdict is made of them")
    elif answer is Answer.UNTOLD and min(len(before), len(now)) < MINIMUM:
        notes.append(_too_few(len(before), len(now), bool(disturbed)))
    elif missed:
        notes.append("no run met the target")
    elif answer is Answer.UNTOLD:
        notes.append(f"the interval holds {number(1 + margin, 2)}: more seeds make it narrower")
    if disturbed:
        notes.append(f"{count(len(disturbed), 'run')} left out: other work took their cores")
    if changed := _changed(old[0], new[0]):
        notes.append(f"settings differ: {', '.join(changed)}")
    return Gated(
        *key,
        old_runs=len(before),
        new_runs=len(now),
        pairs=found.n if found.paired else None,
        left_out=len(disturbed),
        old_s=median(list(before.values())).value,
        new_s=median(list(now.values())).value,
        ratio=found.value,
        ratio_low=found.low,
        ratio_high=found.high,
        verdict=answer,
        note="; ".join(notes),
    )


def seconds_by_seed(runs: list[Ended]) -> dict[int, float]:
    """Seconds to the target by seed; of an iteration where there is no target."""
    if not runs or runs[0].summary.target is not None:
        return times_by_seed(runs)
    return by_seed(runs, _of_an_iteration)


def _of_an_iteration(one: Ended) -> float | None:
    made, took = one.summary.iterations, one.summary.train_s
    return took / made if made and took is not None else None


def _too_few(old: int, new: int, disturbed: bool) -> str:
    cure = "make them again when nothing else runs" if disturbed else f"make them with --repeat {MINIMUM}"
    return f"it takes {MINIMUM} seeds on each side: OLD has {old}, NEW has {new}; {cure}"


def _changed(old: Ended, new: Ended) -> list[str]:
    """The keys of the experiment that differ, but for seed and name: 'methods.admm.ridge'."""
    one, other = (_flat({**ended.run.config, "seed": 0, "name": ""}) for ended in (old, new))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _flat(block: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in block.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def gate_table(result: Gate) -> Group:
    """The gate as a table, with a sentence of what came out."""
    goal = "no target" if result.target is None else f"{result.metric} {result.target:g}"
    table = Plain(
        *("method", "ranks", "old s", "new s", "new / old", "interval", "verdict"),
        title=f"{result.experiment}: {goal}",
        fold=["method"],
        left=["verdict"],
    )
    for row in result.methods:
        table.add_row(
            row.method,
            str(row.ranks),
            seconds(row.old_s),
            seconds(row.new_s),
            times(row.ratio),
            interval(row.ratio_low, row.ratio_high),
            row.verdict,
        )
    lines = [f"{row.method}: {row.note}." for row in result.methods if row.note]
    lines += [f"only in {name}: {', '.join(methods)}." for name, methods in _alone(result) if methods]
    note = (
        f"Medians of seconds {result.seconds}. Slower: the whole 95 % interval of new / old is\n"
        f"above {1 + result.margin:g}. Ratios are taken by seed where both sides have {MINIMUM} seeds in common."
    )
    return Group(table, Text(""), Text("\n".join([*lines, outcome(result), "", note])))


def _alone(result: Gate) -> list[tuple[str, list[str]]]:
    return [("OLD", result.only_old), ("NEW", result.only_new)]


def times(value: float) -> str:
    """A ratio: 1.04."""
    return "never" if math.isinf(value) else number(value, 2)


def outcome(result: Gate) -> str:
    """In a sentence, what came out."""
    margin = percent(result.margin)
    slower = [row.method for row in result.methods if row.verdict is Answer.SLOWER]
    untold = [row.method for row in result.methods if row.verdict is Answer.UNTOLD]
    if slower:
        return f"Slower by more than {margin}: {', '.join(slower)}."
    if untold:
        return f"Passed, though it cannot be told whether slower by more than {margin}: {', '.join(untold)}."
    return f"Passed: nothing is slower by more than {margin}."


def gate_rows(result: Gate) -> list[dict[str, Any]]:
    """The rows of ``--csv``: one per method."""
    return [vars(row) for row in result.methods]
