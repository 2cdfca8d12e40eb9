"""The page's part on experiments: medians over repeats, a table of runs, and all there is about each run."""

import math
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from admmctl.report import style, svg
from admmctl.report.compare import compare, in_sets
from admmctl.report.html import Cell, Column, Table, anchor
from admmctl.report.text import count, interval, number, seconds
from admmctl.runs.recorded import Recorded

_ALREADY_SHOWN = ("folder", "rerun", "reason")
OPTIMISTIC = "the highest on the way, on test rows: optimistic"
Facts = list[tuple[str, str]]  # names and what they are


@dataclass(frozen=True)
class Curves:
    """The curves of all runs of an experiment. The legend: a colour, dashes, the method that has them."""

    chart: svg.Chart
    words: str
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
    found: dict[str, list[Recorded]] = {}
    for run in sorted(runs, key=lambda run: run.experiment):
        found.setdefault(run.experiment, []).append(run)
    return found


def overview(experiments: dict[str, list[Recorded]]) -> Table | None:
    """A line per experiment, where there are several."""
    if len(experiments) < 2:
        return None
    columns = [
        Column("experiment"),
        Column("data"),
        Column("runs", number=True),
        Column("methods", number=True),
        Column("reached", about="runs that met their target, of those that have one"),
        Column("highest final accuracy", number=True, about="of all its runs, and the method it belongs to"),
        Column("by"),
    ]
    table = Table("Experiments at a glance", columns)
    for name, runs in experiments.items():
        finals = [(final, run) for run in runs if (final := run.number("final_test_accuracy")) is not None]
        best, of = max(finals, key=lambda pair: pair[0], default=(None, None))
        with_target = [run for run in runs if run.number("target") is not None]
        reached = sum(run.status == "reached" for run in with_target)
        table.add(
            Cell(name, href=f"#{section_id(name)}"),
            runs[0].data.get("name", "-"),
            Cell(len(runs), len(runs)),
            Cell(methods := len({run.method for run in runs}), methods),
            Cell(f"{reached} of {len(with_target)}", reached / len(with_target)) if with_target else "no target",
            Cell(number(best, 4), best),
            "-" if of is None else Cell(of.method, colour=_colour(of)),
        )
    return table


def section_id(experiment: str) -> str:
    """Of an experiment's part of the page: what links to it name."""
    return f"experiment-{anchor(experiment)}-{_checksum(experiment)}"


def section(name: str, runs: list[Recorded]) -> Experiment:
    """An experiment of the page."""
    ids = [f"run-{_checksum(name)}-{place}" for place in range(1, len(runs) + 1)]
    low, high = _accuracies(runs)
    dashes = _dashes(runs)
    lines = [svg.Line(_label(run), style.kind_of(run), _points(run), dashes[run.method]) for run in runs]
    table = Table(f"Runs of {name}", _run_columns(), class_="runs")
    for run, id_, line in zip(runs, ids, lines, strict=True):
        table.add(*_run_row(run, id_, svg.sparkline(line, low, high)))
    looks = {run.method: run for run in runs}
    return Experiment(
        id=section_id(name),
        name=name,
        about=_about(runs),
        curves=_curves(name, runs, lines),
        medians=[_medians(compared, looks) for compared in in_sets(runs)],
        runs=table,
        boxes=list(map(_box, runs, ids, lines)),
    )


def _checksum(name: str) -> str:
    """Tells names apart that are one id without their punctuation."""
    return f"{crc32(name.encode('utf-8', 'replace')):08x}"


def _dashes(runs: list[Recorded]) -> dict[str, int]:
    """Methods of one kind share a colour: which number among them each is."""
    found: dict[str, int] = {}
    of_kind: dict[str, int] = {}
    for run in runs:
        if run.method not in found:
            found[run.method] = of_kind[style.kind_of(run)] = of_kind.get(style.kind_of(run), -1) + 1
    return found


def _colour(run: Recorded) -> str:
    return svg.colour_class(style.kind_of(run))


def _label(run: Recorded) -> str:
    return f"{run.method}, {count(int(run.number('ranks') or 1), 'rank')}, seed {run.row.get('seed', '?')}"


def _points(run: Recorded) -> list[tuple[float, float]]:
    """(train_s, test accuracy) of every evaluation that has both."""
    pairs = ((row["train_s"], row["test_accuracy"]) for row in run.curve)
    return [pair for pair in pairs if all(map(math.isfinite, pair))]


def _accuracies(runs: list[Recorded]) -> tuple[float, float]:
    """The range of test accuracies of an experiment."""
    values = [value for run in runs for _, value in _points(run)]
    return min(values, default=0.0), max(values, default=1.0)


def _about(runs: list[Recorded]) -> str:
    """Data and how runs ended, in a line."""
    first = runs[0]
    rows = [f"{value:,.0f}" for key in ("rows_train", "rows_test") if (value := first.number(key)) is not None]
    words = [f"{first.data.get('name', 'data unknown')}" + (f", {' + '.join(rows)} rows" if rows else "")]
    ends: dict[str, int] = {}
    for run in runs:
        ends[run.status] = ends.get(run.status, 0) + 1
    words.append(f"{count(len(runs), 'run')}: " + ", ".join(f"{many} {status}" for status, many in ends.items()))
    return "; ".join(words)


def _curves(name: str, runs: list[Recorded], lines: list[svg.Line]) -> Curves | None:
    """The curves of all runs, and which colour is whose."""
    aims = {_aim(run) for run in runs}
    target = aims.pop() if len(aims) == 1 else None
    drawn = svg.chart(lines, f"Test accuracy over seconds of training of all runs of {name}", target)
    if drawn is None:
        return None
    shown = {run.method: (run, line) for run, line in zip(runs, lines, strict=True) if line.points}
    legend = [(_colour(run), svg.dashed(line.dashes), method) for method, (run, line) in shown.items()]
    words = "Test accuracy over seconds of training: a line per run, a colour per kind of method"
    words += "." if target is None else f"; the target, {target:g}, dashed across."
    return Curves(drawn, words, legend)


# --- medians


def _medians(runs: list[Recorded], looks: dict[str, Recorded]) -> Table:
    """What ``runs compare`` says of a set of runs, with the methods' own colours."""
    result = compare(runs)
    target = result.target
    goal = "no target" if target is None else f"target {result.metric.replace('_', ' ')} {target:g}"
    columns = [
        Column("method"),
        Column("ranks x threads"),
        Column("reached", about="repeats that met the target, of all"),
        Column("target s", number=True, about="train_s at the first evaluation that met the target; median"),
        Column("95 % interval", about="order statistics, from six repeats on", sortable=False),
        Column("final", number=True, about="test accuracy of the last iterate; median"),
        Column("train s", number=True, about="optimisation only; median"),
        Column("verdict"),
    ]
    table = Table(f"Medians over repeats: {goal}, {count(len(runs), 'run')}", columns)
    for row in sorted(result.methods, key=lambda row: (row.time_to_target_s, -row.final_test_accuracy)):
        look = looks.get(row.method)
        final, time = row.final_test_accuracy, row.time_to_target_s
        times: list[Any] = ["-", "-"]
        if target is not None:
            times = [Cell(seconds(time), time), interval(row.time_to_target_low_s, row.time_to_target_high_s)]
        reached = f"{row.reached} of {row.runs}"
        table.add(
            Cell(row.name(result.methods), colour=None if look is None else _colour(look)),
            f"{row.ranks} x {row.threads_per_rank or 1}",
            f"{row.runs} runs" if target is None else Cell(reached, row.reached / row.runs),
            *times,
            Cell(number(final, 4), final) if math.isfinite(final) else "-",
            Cell(seconds(row.train_s), row.train_s),
            row.verdict or "-",
        )
    return table


# --- runs


def _run_columns() -> list[Column]:
    return [
        Column("run"),
        Column("curve", sortable=False, about="test accuracy over train_s; one vertical scale for all runs"),
        Column("status"),
        Column("final", number=True, about="test accuracy of the last iterate"),
        Column("best", number=True, about=f"test accuracy, {OPTIMISTIC}", class_="optimistic"),
        Column("train s", number=True, about="optimisation only"),
        Column("target s", number=True, about="train_s at the first evaluation that met the target"),
        Column("iterations", number=True),
        Column("ranks", number=True),
        Column("threads", number=True, about="per rank"),
        Column("rows", number=True, about="to train on"),
    ]


def _run_row(run: Recorded, place: str, spark: svg.Spark | None) -> list[Cell]:
    def cell(key: str, shown: str = "{:,.0f}") -> Cell:
        value = run.number(key)
        return Cell("-" if value is None else shown.format(value), value)

    return [
        Cell(run.folder.name, colour=_colour(run), href=f"#{place}"),
        Cell("-", spark=spark),
        Cell(run.status, look=_status(run)),
        cell("final_test_accuracy", "{:.4f}"),
        cell("best_test_accuracy", "{:.4f}"),
        Cell(seconds(run.number("train_s")), run.number("train_s")),
        _to_target(run),
        *(cell(key) for key in ("iterations", "ranks", "threads_per_rank", "rows_train")),
    ]


def _aim(run: Recorded) -> float | None:
    """The test accuracy that ends the run, where it is that which does."""
    return run.number("target") if run.text("metric") == "test_accuracy" else None


def _to_target(run: Recorded) -> Cell:
    if run.number("target") is None:
        return Cell("none")
    time = run.number("time_to_target_s")
    return Cell("missed", math.inf) if time is None else Cell(seconds(time), time)


def _status(run: Recorded) -> str:
    """The class of its status."""
    return f"status {anchor(run.status)}"


def _box(run: Recorded, place: str, line: svg.Line) -> Box:
    words = f"Test accuracy over seconds of training of {run.folder.name}"
    summary = {key: value for key, value in run.row.items() if key not in _ALREADY_SHOWN}
    return Box(
        id=place,
        colour=_colour(run),
        name=run.folder.name,
        status=run.status,
        look=_status(run),
        reason=run.text("reason"),
        rerun=run.text("rerun") or f"admmctl train {run.folder / 'config.yaml'}",
        chart=svg.chart([line], words, _aim(run), width=480, height=170),
        summary=[*_facts(summary), ("folder", str(run.folder))],
        phases=_phases(run),
        environment=_facts(run.environment.facts),
    )


def _facts(found: dict[str, Any]) -> Facts:
    return [(key.replace("_", " "), _said(value)) for key, value in found.items()]


def _said(value: Any) -> str:
    """A value of a JSON file in words."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(item)}" for key, item in value.items())
    return ", ".join(map(_said, value)) if isinstance(value, list) else str(value)


def _phases(run: Recorded) -> Table | None:
    if not run.phases:
        return None
    headings = ("largest", "mean", "smallest")
    columns = [Column("phase"), *(Column(heading, number=True) for heading in headings)]
    table = Table("Seconds by phase, over ranks", columns, class_="phases")
    for name, row in run.phases.items():
        values = [row.get(column) for column in ("max_s", "mean_s", "min_s")]
        table.add(name, *(Cell(seconds(value), value) for value in values))
    return table
