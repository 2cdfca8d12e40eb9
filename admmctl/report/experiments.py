"""The page's part on experiments: medians over repeats, a table of runs, and all there is about each run."""

import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from admmctl.report import style, svg
from admmctl.report.compare import Comparison, compare, in_sets
from admmctl.report.html import Cell, Column, Table, anchor
from admmctl.report.tables import MADE_UP, MARK
from admmctl.report.text import count, interval, number, seconds
from admmctl.runs.recorded import Recorded

_SHOWN_ELSEWHERE = ("folder", "rerun", "reason")  # of a summary, in its run's box
Facts = list[tuple[str, str]]  # names and values

_OVERVIEW = [
    Column("experiment"),
    Column("data"),
    Column("runs", number=True),
    Column("methods", number=True),
    Column("reached", about="runs that met their target, of those that have one"),
    Column("highest final accuracy", number=True, about="of all its runs, and the method it belongs to"),
    Column("by"),
]
_AUC = Column("AUC", number=True, about="area under the ROC curve of the test rows, last iterate; median")
_MEDIANS = [
    Column("method"),
    Column("ranks x threads"),
    Column("reached", about="repeats that met the target, of all"),
    Column("target s", number=True, about="train_s at the first evaluation that met the target; median"),
    Column("95 % interval", about="order statistics, from six repeats on", sortable=False),
    Column("final", number=True, about="test accuracy of the last iterate; median"),
    _AUC,
    Column("train s", number=True, about="optimisation only; median"),
    Column("verdict"),
]
_OPTIMISTIC = "test accuracy, the highest on the way, on test rows: optimistic"
_RUNS = [
    Column("run"),
    Column("curve", sortable=False, about="test accuracy over train_s; one vertical scale for all runs"),
    Column("status"),
    Column("final", number=True, about="test accuracy of the last iterate"),
    Column("best", number=True, about=_OPTIMISTIC, class_="optimistic"),
    Column("train s", number=True, about=f"optimisation only; {MARK} where other work took the cores"),
    Column("target s", number=True, about="train_s at the first evaluation that met the target"),
    Column("iterations", number=True),
    Column("ranks", number=True),
    Column("threads", number=True, about="per rank"),
    Column("rows", number=True, about="to train on"),
]
_PHASES = [Column("phase"), *(Column(heading, number=True) for heading in ("largest", "mean", "smallest"))]


@dataclass(frozen=True)
class Curves:
    """The curves of all runs of an experiment. The legend: CSS classes of colour and line, and the method."""

    chart: svg.Chart
    caption: str
    legend: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Box:
    """Everything about one run, for a box that opens."""

    id: str
    colour: str
    name: str
    status: str
    look: str
    reason: str
    rerun: str
    chart: svg.Chart | None
    summary: Facts
    phases: Table | None
    environment: Facts


@dataclass(frozen=True)
class Experiment:
    """An experiment: its curves, medians, runs."""

    id: str
    name: str
    about: str
    curves: Curves | None
    medians: list[Table]
    runs: Table
    boxes: list[Box]


def by_name(runs: list[Recorded]) -> dict[str, list[Recorded]]:
    """Runs of one experiment together, experiments by name."""

    def experiment(run: Recorded) -> str:
        return run.experiment

    return {name: list(members) for name, members in itertools.groupby(sorted(runs, key=experiment), experiment)}


def overview(experiments: dict[str, list[Recorded]]) -> Table | None:
    """A line per experiment, where there are several."""
    if len(experiments) < 2:
        return None
    table = Table("Experiments at a glance", _OVERVIEW)
    for name, runs in experiments.items():
        finals = [(final, run) for run in runs if (final := run.number("final_test_accuracy")) is not None]
        best, of = max(finals, key=lambda pair: pair[0], default=(None, None))
        with_target = [run for run in runs if run.number("target") is not None]
        reached = sum(run.status == "reached" for run in with_target)
        table.add(
            Cell(name, href=f"#{section_id(name)}"),
            runs[0].data_name,
            Cell(len(runs), len(runs)),
            Cell(methods := len({run.method for run in runs}), methods),
            Cell(f"{reached} of {len(with_target)}", reached / len(with_target)) if with_target else "no target",
            Cell(number(best, 4), best),
            "-" if of is None else Cell(of.method, colour=_colour(of)),
        )
    return table


def section_id(experiment: str) -> str:
    """The id of an experiment's part of the page."""
    return f"experiment-{anchor(experiment)}-{_checksum(experiment)}"


def section(name: str, runs: list[Recorded]) -> Experiment:
    """An experiment's part of the page."""
    ids = [f"run-{_checksum(name)}-{place}" for place in range(1, len(runs) + 1)]
    lines = _lines(runs)
    accuracies = [accuracy for line in lines for _, accuracy in line.points]
    low, high = min(accuracies, default=0.0), max(accuracies, default=1.0)
    table = Table(f"Runs of {name}", _RUNS, class_="runs")
    for run, id_, line in zip(runs, ids, lines, strict=True):
        table.add(*_run_row(run, id_, svg.sparkline(line, low, high)))
    colours = {run.method: _colour(run) for run in runs}
    return Experiment(
        id=section_id(name),
        name=name,
        about=_about(runs),
        curves=_curves(name, runs, lines),
        medians=[_medians(compare(members), len(members), colours) for members in in_sets(runs)],
        runs=table,
        boxes=list(map(_box, runs, ids, lines)),
    )


def _checksum(name: str) -> str:
    """Part of an id: it differs for names that differ only in their punctuation."""
    return f"{crc32(name.encode('utf-8', 'replace')):08x}"


def _lines(runs: list[Recorded]) -> list[svg.Line]:
    """The curve of each run. Methods of one kind share a colour, and differ in their dashes."""
    numbers: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)  # for each kind
    dashes: dict[str, int] = {}
    lines = []
    for run in runs:
        kind = style.kind_of(run)
        if run.method not in dashes:
            dashes[run.method] = next(numbers[kind])
        label = f"{run.method}, {count(int(run.number('ranks') or 1), 'rank')}, seed {run.row.get('seed', '?')}"
        pairs = ((row["train_s"], row["test_accuracy"]) for row in run.curve)
        points = [pair for pair in pairs if all(map(math.isfinite, pair))]
        lines.append(svg.Line(label, kind, points, dashes[run.method]))
    return lines


def _colour(run: Recorded) -> str:
    return svg.colour_class(style.kind_of(run))


def _about(runs: list[Recorded]) -> str:
    """Data and how runs ended, in a line."""
    first = runs[0]
    rows = [f"{value:,.0f}" for key in ("rows_train", "rows_test") if (value := first.number(key)) is not None]
    data = first.data_name + (f", {' + '.join(rows)} rows" if rows else "")
    ends = Counter(run.status for run in runs)
    ended = ", ".join(f"{many} {status}" for status, many in ends.items())
    disturbed = sum(run.disturbed for run in runs)
    return f"{data}; {count(len(runs), 'run')}: {ended}" + (
        f"; {disturbed} disturbed ({MARK})" if disturbed else ""
    )


def _curves(name: str, runs: list[Recorded], lines: list[svg.Line]) -> Curves | None:
    """The curves of all runs, and the colour of each method."""
    aims = {_aim(run) for run in runs}
    target = aims.pop() if len(aims) == 1 else None  # one that all share
    drawn = svg.chart(lines, f"Test accuracy over seconds of training of all runs of {name}", target)
    if drawn is None:
        return None
    shown = {run.method: (run, line) for run, line in zip(runs, lines, strict=True) if line.points}
    legend = [(_colour(run), svg.dashed(line.dashes), method) for method, (run, line) in shown.items()]
    caption = f"{drawn.of.capitalize()}, over seconds of training: a line per run, a colour per kind of method"
    caption += "." if target is None else f"; the target, an accuracy of {target:g}, dashed across."
    return Curves(drawn, caption, legend)


# --- medians


def _medians(result: Comparison, runs: int, colours: dict[str, str]) -> Table:
    """A comparison of so many runs, with the colours of their methods."""
    target = result.target
    goal = "no target" if target is None else f"target {result.metric.replace('_', ' ')} {target:g}"
    aucs = any(row.final_test_auc is not None for row in result.methods)
    columns = [column for column in _MEDIANS if aucs or column != _AUC]
    table = Table(f"Medians over repeats: {goal}, {count(runs, 'run')}", columns)
    for row in sorted(result.methods, key=lambda row: (row.time_to_target_s, -row.final_test_accuracy)):
        final, time = row.final_test_accuracy, row.time_to_target_s
        times: list[Any] = ["-", "-"]
        if target is not None:
            times = [Cell(seconds(time), time), interval(row.time_to_target_low_s, row.time_to_target_high_s)]
        reached = f"{row.reached} of {row.runs}"
        table.add(
            Cell(row.name(result.methods), colour=colours.get(row.method)),
            f"{row.ranks} x {row.threads_per_rank or 1}",
            f"{row.runs} runs" if target is None else Cell(reached, row.reached / row.runs),
            *times,
            Cell(number(final, 4), final) if math.isfinite(final) else "-",
            *[Cell(number(row.final_test_auc, 4), row.final_test_auc)] * aucs,
            Cell(seconds(row.train_s), row.train_s),
            row.verdict or "-",
        )
    return table


# --- runs


def _run_row(run: Recorded, id_: str, spark: svg.Spark | None) -> list[Cell]:
    def cell(key: str, shown: str = "{:,.0f}") -> Cell:
        value = run.number(key)
        return Cell("-" if value is None else shown.format(value), value)

    return [
        Cell(run.folder.name, colour=_colour(run), href=f"#{id_}"),
        Cell("-", spark=spark),
        Cell(_ended(run), look=_status(run)),
        cell("final_test_accuracy", "{:.4f}"),
        cell("best_test_accuracy", "{:.4f}"),
        Cell(seconds(run.number("train_s")) + _mark(run), run.number("train_s")),
        _to_target(run),
        *(cell(key) for key in ("iterations", "ranks", "threads_per_rank", "rows_train")),
    ]


def _aim(run: Recorded) -> float | None:
    """The test accuracy at which the run is done; None where its target is of another metric."""
    return run.number("target") if run.text("metric") == "test_accuracy" else None


def _to_target(run: Recorded) -> Cell:
    if run.number("target") is None:
        return Cell("none")
    time = run.number("time_to_target_s")
    return Cell("missed", math.inf) if time is None else Cell(seconds(time) + _mark(run), time)


def _mark(run: Recorded) -> str:
    return f" {MARK}" if run.disturbed else ""


def _ended(run: Recorded) -> str:
    """Its status, beside which it says so where its data are made up."""
    return f"{run.status}, {MADE_UP}" if run.made_up else run.status


def _status(run: Recorded) -> str:
    """The CSS class of its status."""
    return f"status {anchor(run.status)}"


def _box(run: Recorded, id_: str, line: svg.Line) -> Box:
    about = f"Test accuracy over seconds of training of {run.folder.name}"
    summary = {key: value for key, value in run.row.items() if key not in _SHOWN_ELSEWHERE}
    return Box(
        id=id_,
        colour=_colour(run),
        name=run.folder.name,
        status=_ended(run),
        look=_status(run),
        reason=run.text("reason"),
        rerun=run.text("rerun") or f"admmctl train {run.folder / 'config.yaml'}",
        chart=svg.chart([line], about, _aim(run), width=480, height=170),
        summary=[*_facts(summary), ("folder", str(run.folder))],
        phases=_phases(run),
        environment=_facts(run.environment.facts),
    )


def _facts(found: dict[str, Any]) -> Facts:
    return [(key.replace("_", " "), _readable(value)) for key, value in found.items()]


def _readable(value: Any) -> str:
    """A value of a JSON file as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_readable(item)}" for key, item in value.items())
    return ", ".join(map(_readable, value)) if isinstance(value, list) else str(value)


def _phases(run: Recorded) -> Table | None:
    if not run.phases:
        return None
    table = Table("Seconds by phase, over ranks", _PHASES, class_="phases")
    for name, row in run.phases.items():
        values = [row.get(column) for column in ("max_s", "mean_s", "min_s")]
        table.add(name, *(Cell(seconds(value), value) for value in values))
    return table
