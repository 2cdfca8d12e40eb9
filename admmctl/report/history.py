"""``runs history``: the same experiment over commits and machines, from recorded runs."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.compare import Ended, comparable, in_sets, of_larger_ones
from admmctl.report.gate import seconds_by_seed, times
from admmctl.report.tables import MARK, Plain
from admmctl.report.text import ranks_of, seconds
from admmctl.runs.reading import SUMMARY_FILE
from admmctl.runs.recorded import Recorded
from admmctl.studies.gate import ratio
from admmctl.studies.statistics import MINIMUM, median

CHANGED = "*"  # beside a commit whose files were changed as the runs were made
Commits = Callable[[Iterable[str]], Mapping[str, Any]]  # as revision.commits


@dataclass(frozen=True)
class Point:
    """The runs of one commit. ``ratio`` is its seconds over those of the point before, by seed where that can be.

    ``seconds`` are medians of runs that were not disturbed; of all where every one was (``disturbed``). ``runs``
    counts seeds. ``time`` is the commit's; where git does not know it, that of the oldest record.
    """

    commit: str | None
    changed: bool
    time: str
    subject: str
    runs: int
    reached: int
    disturbed: bool
    seconds: float
    seconds_low: float | None
    seconds_high: float | None
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    verdict: str | None = None  # slower, faster, cannot be told; None where there is nothing to compare with

    @property
    def name(self) -> str:
        """A short name, with a mark where files were changed."""
        return (self.commit or "unknown")[:7] + CHANGED * self.changed


@dataclass(frozen=True)
class Line:
    """One method with one set of settings on one machine, its commits in the order of time."""

    method: str
    kind: str
    settings: str
    machine: str
    ranks: int
    threads_per_rank: int | None
    data: str
    metric: str
    target: float | None
    points: list[Point]

    @property
    def goal(self) -> str:
        """'seconds to test accuracy 0.97'; of an iteration where there is no target."""
        if self.target is None:
            return "seconds of an iteration"
        return f"seconds to {self.metric.replace('_', ' ')} {self.target:g}"


@dataclass(frozen=True)
class History:
    """What ``runs history --json`` prints."""

    experiment: str
    lines: list[Line]

    def names(self) -> list[str]:
        """A name for every line, of what it does not share with all others; settings only where it takes them."""
        parts = [_parts(line) for line in self.lines]
        shared = [len(set(each)) == 1 for each in zip(*parts, strict=True)]
        named = [", ".join(part for part, same in zip(each, shared, strict=True) if not same) for each in parts]
        named = [name or line.method for name, line in zip(named, self.lines, strict=True)]
        return [
            f"{name}, settings {line.settings}" if named.count(name) > 1 else name
            for name, line in zip(named, self.lines, strict=True)
        ]


def _parts(line: Line) -> tuple[str, ...]:
    ranks = ranks_of(line.ranks, line.threads_per_rank)
    return line.method, ranks, line.machine, line.goal, f"data {line.data[:7]}"


def history(runs: Iterable[Recorded], commits: Commits) -> History:
    """Medians by commit, in the order of time, of every method on every machine.

    ``commits`` says when a commit was made. Runs that failed or were interrupted are left out.
    Raises UserError where no other has ended, and for several experiments.
    """
    runs = list(runs)
    experiments = sorted({run.experiment for run in runs})
    if len(experiments) > 1:
        raise UserError(f"a history is of one experiment; name the folder of one: {', '.join(experiments)}")
    done = [run for run in runs if run.done]
    groups = [group for members in in_sets(done) for group in comparable(members)]
    if not groups:
        raise UserError("none of these runs has come to its end: there is no history yet")
    known = commits({commit for group in groups for one in group if (commit := _commit(one))})
    lines = []
    for group in groups:
        for machine in dict.fromkeys(_machine(one) for one in group):
            lines.append(_line([one for one in group if _machine(one) == machine], machine, known))
    return History(experiments[0], sorted(lines, key=lambda line: (line.method, line.machine, line.ranks)))


def _commit(one: Ended) -> str | None:
    found = one.run.environment.facts.get("git_commit")
    return found if isinstance(found, str) and found.isalnum() and found.isascii() else None


def _changed(one: Ended) -> bool:
    return one.run.environment.facts.get("git_dirty") is True


def _machine(one: Ended) -> str:
    return one.run.environment.machine or "machine unknown"


def _line(members: list[Ended], machine: str, known: Mapping[str, Any]) -> Line:
    by_commit: dict[tuple[str | None, bool], list[Ended]] = {}
    for one in members:
        by_commit.setdefault((_commit(one), _changed(one)), []).append(one)
    pairs = [(_point(*key, runs, known), runs) for key, runs in by_commit.items()]
    pairs.sort(key=lambda pair: (pair[0].time, pair[0].changed))
    points = [pairs[0][0]]
    for (_, before), (point, runs) in zip(pairs, pairs[1:], strict=False):
        points.append(_beside(point, before, runs))
    first = members[0]
    summary = first.summary
    return Line(
        summary.method,
        style.kind_of(first.run),
        first.settings,
        machine,
        summary.ranks,
        summary.threads_per_rank,
        first.data_sha256 or "unknown",
        summary.metric,
        summary.target,
        points,
    )


def _point(commit: str | None, changed: bool, runs: list[Ended], known: Mapping[str, Any]) -> Point:
    found = known.get(commit or "")
    time = found.time.astimezone(UTC) if found else min(map(_recorded, runs))
    counted = _quiet(runs) or runs
    took = median(list(seconds_by_seed(counted).values()))
    accuracy, low, high = of_larger_ones(runs, lambda one: one.summary.final_test_accuracy)
    return Point(
        commit,
        changed,
        time.isoformat(timespec="seconds"),
        found.subject if found else "",
        len({one.summary.seed for one in runs}),
        len({one.summary.seed for one in runs if one.summary.time_to_target_s is not None}),
        not _quiet(runs),
        took.value,
        took.low,
        took.high,
        accuracy,
        low,
        high,
    )


def _quiet(runs: list[Ended]) -> list[Ended]:
    return [one for one in runs if not one.run.disturbed]


def _recorded(one: Ended) -> datetime:
    """When its summary was written, as far as its file tells."""
    return datetime.fromtimestamp((one.run.folder / SUMMARY_FILE).stat().st_mtime, UTC)


def _beside(point: Point, before: list[Ended], runs: list[Ended]) -> Point:
    """A point with what its seconds are of those before. No verdict is made of disturbed runs, or made-up data."""
    if not (_quiet(before) and _quiet(runs)) or any(one.run.made_up for one in runs):
        return point
    old, new = (seconds_by_seed(_quiet(side)) for side in (before, runs))
    found = ratio(old, new)
    verdict = "cannot be told"
    if (
        found.low is not None
        and found.high is not None
        and not all(map(math.isinf, (*old.values(), *new.values())))
    ):
        verdict = "slower" if found.low > 1 else "faster" if found.high < 1 else verdict
    return replace(point, ratio=found.value, ratio_low=found.low, ratio_high=found.high, verdict=verdict)


# --- how it is shown


def history_tables(result: History) -> Group:
    """A table for every line, a row for every commit."""
    parts: list[RenderableType] = []
    for line, name in zip(result.lines, result.names(), strict=True):
        title = f"{result.experiment}: {name}; {line.goal}"
        table = Plain(*HEADINGS, title=title, left=["commit", "date", "against before"], padding=(0, 1, 0, 0))
        for point in line.points:
            table.add_row(*cells(point, line))
        parts += [table, Text("")]
    return Group(*parts, Text(note_of(result)))


HEADINGS = ("commit", "date", "met", "seconds", "test accuracy, %", "against before")


def cells(point: Point, line: Line) -> list[str]:
    """A row as people read it."""
    percents = (point.accuracy, point.accuracy_low, point.accuracy_high)
    return [
        point.name,
        point.time[:10],
        f"{'-' if line.target is None else point.reached}/{point.runs}",
        _with_bounds(*map(_seconds, (point.seconds, point.seconds_low, point.seconds_high)))
        + MARK * point.disturbed,
        _with_bounds(*map(_percent, percents)),
        "-" if point.ratio is None else f"{times(point.ratio)} {'' if untold(point) else point.verdict}".strip(),
    ]


def untold(point: Point) -> bool:
    """Whether nothing is said of it beside the point before."""
    return point.verdict not in ("slower", "faster")


def _with_bounds(middle: str | None, low: str | None, high: str | None) -> str:
    return middle or "-" if low is None or high is None else f"{middle} ({low} to {high})"


def _seconds(value: float | None) -> str | None:
    return None if value is None else seconds(value)


def _percent(value: float | None) -> str | None:
    return None if value is None or not math.isfinite(value) else f"{100 * value:.2f}"


def note_of(result: History) -> str:
    """What the columns mean, as far as the marks in them need it."""
    points = [point for line in result.lines for point in line.points]
    machines = {line.machine for line in result.lines}
    lines = [
        *(f"All on one machine: {machine}." for machine in machines if len(machines) == 1),
        f"Medians over seeds; in brackets 95 % intervals, from {MINIMUM} seeds on. Seconds are train_s.",
        "against before: seconds over those of the commit before; slower or faster where the",
        "whole interval says so.",
    ]
    if any(point.changed for point in points):
        lines.append(f"{CHANGED}  files were changed after that commit: which is not recorded.")
    if any(point.disturbed for point in points):
        lines.append(f"{MARK}  disturbed: other work took the cores of all its runs; no verdict is made of them.")
    return "\n".join(lines)


def history_rows(result: History) -> list[dict[str, Any]]:
    """The rows of ``--csv``: one per commit of every line."""
    return [
        {**{key: value for key, value in vars(line).items() if key != "points"}, **vars(point)}
        for line in result.lines
        for point in line.points
    ]
