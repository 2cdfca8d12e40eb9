"""``runs phases``: the seconds to a target by method and phase, as in Table 1 of the convex paper."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from admmctl.errors import UserError
from admmctl.report.compare import Ended, Repeats, comparable, in_common, over_seeds, times_to_target, train_s
from admmctl.report.tables import Plain
from admmctl.report.text import number, seconds
from admmctl.runs.clock import OUTSIDE
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import median

_SUMS = ("rest", "wall")  # rows of phases.csv that are no phases
CONVEX_PHASES = ("precompute", "u", "v", "dual")  # of the convex ADMM, in the order of its paper
_COLUMNS = 5  # phases that the table has room for; the others are summed


@dataclass(frozen=True)
class PaperMethod:
    """What a paper reports of a method: its seconds, and those of its phases where they are given."""

    method: str
    total_s: float
    phases: dict[str, float]


@dataclass(frozen=True)
class PaperTable:
    """A paper's table of seconds by phase."""

    source: str
    problem: str
    methods: tuple[PaperMethod, ...]


@dataclass(frozen=True)
class Phases(Repeats):
    """One method with one set of settings: median seconds over its seeds, of every phase that it has."""

    time_to_target_s: float
    train_s: float
    phases: dict[str, float]


@dataclass(frozen=True)
class PhasesResult:
    """What ``runs phases --json`` prints; ``paper`` is a paper's table to show beside it."""

    experiment: str
    metric: str
    target: float | None
    rows_train: int | None
    methods: list[Phases]
    paper: PaperTable | None = None


def phases(runs: Iterable[Recorded]) -> PhasesResult:
    """Median seconds of training by phase, for every method, over the repeats that have ended.

    A phase counts with its largest seconds over ranks. Raises UserError when no run has phases, or when runs
    cannot be compared.
    """
    ended = [run for run in runs if run.done and run.phases]
    if not ended:
        raise UserError("none of these runs has ended with its phases on record: there is nothing to show")
    groups = comparable(ended)
    names = list(dict.fromkeys(name for run in ended for name in _training(run)))
    first = groups[0][0].summary
    return PhasesResult(
        first.experiment,
        first.metric,
        first.target,
        first.rows_train,
        [_row(repeats, names) for repeats in groups],
    )


def _training(run: Recorded) -> dict[str, float]:
    """Seconds of every phase of a run that counts as training."""
    return {name: found["max_s"] for name, found in run.phases.items() if name not in (*OUTSIDE, *_SUMS)}


def _row(repeats: list[Ended], names: list[str]) -> Phases:
    """One method with one set of settings. A phase that it does not have is not in its row."""
    own = [name for name in names if any(name in _training(one.run) for one in repeats)]

    def middle(name: str) -> float:
        return median(over_seeds(repeats, lambda one: _training(one.run).get(name), missing=0.0)).value

    return Phases(
        **vars(in_common(repeats)),
        time_to_target_s=median(times_to_target(repeats)).value,
        train_s=train_s(repeats),
        phases={name: middle(name) for name in own},
    )


def phases_table(result: PhasesResult) -> Group:
    """The phases as a table, and the paper's below them, marked as theirs."""
    shown = _shown(result.methods)
    goal = "seconds of training"
    if result.target is not None:
        goal = f"seconds to {result.metric.replace('_', ' ')} {result.target:g}"
    rows = "" if result.rows_train is None else f", {result.rows_train:,} rows"
    headings = ("method", "reached", "total", *shown, "others")
    table = Plain(*headings, title=f"{result.experiment}: {goal}{rows}", fold=["method"])
    for row in sorted(result.methods, key=lambda row: (row.time_to_target_s, row.train_s)):
        total = row.train_s if result.target is None else row.time_to_target_s
        others = sum(value for name, value in row.phases.items() if name not in shown)
        times = (total, *(row.phases.get(name) for name in shown), others)
        table.add_row(row.name(result.methods), row.share(result.target), *map(seconds, times))
    parts: list[RenderableType] = [table, Text(""), Text(_note(result))]
    if result.paper is not None:
        parts += [Text(""), _paper(result.paper)]
    return Group(*parts)


def _shown(methods: list[Phases]) -> list[str]:
    """The phases that get a column: those of the paper where a method has one of them, else the largest."""
    if any(name in row.phases for row in methods for name in CONVEX_PHASES):
        return list(CONVEX_PHASES)
    largest: dict[str, float] = {}
    for row in methods:
        for name, value in row.phases.items():
            share = value / row.train_s if row.train_s else 0.0
            largest[name] = max(largest.get(name, 0.0), share)
    chosen = sorted(largest, key=lambda name: -largest[name])[:_COLUMNS]
    return [name for name in largest if name in chosen]


def _note(result: PhasesResult) -> str:
    """How to read the table, and on how many cores the methods ran."""
    cores = sorted({(row.ranks, row.threads_per_rank or 1) for row in result.methods})
    return (
        "Seconds are train_s, optimisation only: medians over repeats, each of its own.\n"
        "A method that missed the target: its phases until it ended. All: --json, --csv.\n"
        f"Ranks x threads: {', '.join(f'{ranks} x {threads}' for ranks, threads in cores)}."
    )


def _paper(paper: PaperTable) -> Group:
    title = f"{paper.source}: their numbers, on their machines"
    table = Plain("method", "total", *CONVEX_PHASES, title=title, fold=["method"])
    for row in paper.methods:
        times = (row.total_s, *(row.phases.get(name) for name in CONVEX_PHASES))
        table.add_row(row.method, *map(number, times))
    return Group(table, Text(""), Text(paper.problem))


def phase_rows(result: PhasesResult) -> list[dict[str, Any]]:
    """The rows of ``--csv``: one per method with all its phases, then the paper's; the first column says whose."""
    rows: list[dict[str, Any]] = [{"source": "measured", **vars(row)} for row in result.methods]
    if result.paper is not None:
        theirs = ({"time_to_target_s": row.total_s, **vars(row)} for row in result.paper.methods)
        rows += [{"source": result.paper.source, **row} for row in theirs]
    names = list(dict.fromkeys(name for row in rows for name in row["phases"]))
    columns = ["source", *(part.name for part in fields(Phases) if part.name != "phases")]
    return [
        {key: row.get(key) for key in columns} | {f"{name}_s": row["phases"].get(name) for name in names}
        for row in rows
    ]
