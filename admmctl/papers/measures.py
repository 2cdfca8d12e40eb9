"""A paper's numbers beside ours: how each is measured, and what the runs of a figure say about each."""

import math
from collections.abc import Callable
from itertools import pairwise

from admmctl.papers.entry import Entry, Material, Measure, Ours, Reported, Rows
from admmctl.report.sidecar import Number
from admmctl.report.text import count, number, seconds
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import median
from admmctl.studies.study import Findings

THEIRS = "theirs"  # in the source column of a CSV, and on figures


class NoRun(LookupError):
    """No run of a method has come to its end."""


def reported_rows(entry: Entry) -> Rows:
    """The paper's numbers as rows of the figure's CSV."""
    return [
        {
            "source": THEIRS,
            "method": theirs.method,
            "what": theirs.what,
            "value": theirs.paper,
            "unit": theirs.measure.unit,
            "words": theirs.text,
        }
        for theirs in entry.reported
    ]


def numbers(material: Material) -> list[Number]:
    """Every number that the paper gives of a figure, with ours where there is one; none beside made-up data."""
    if material.made_up:
        return []
    return [_number(theirs, material) for theirs in material.entry.reported]


def _number(theirs: Reported, material: Material) -> Number:
    """``same_work`` is whether both did the same: the paper's rows and goal, and nothing made smaller."""
    ours: float | None = None
    try:
        left_out = material.left_out.get(theirs.method)
        ours, text = (None, f"left out: {left_out}") if left_out else theirs.measure.ours(material, theirs.method)
    except NoRun:
        text = "no finished run"
    if ours is not None and not math.isfinite(ours):
        ours = None
    rows = next((run.number("rows_train") for run in material.finished(theirs.method)), None)
    other_rows = None not in (theirs.rows, rows) and rows != theirs.rows
    notes = [theirs.beside] if theirs.beside else []
    notes += [f"{rows:,.0f} rows here, {theirs.rows:,} theirs"] if other_rows else []
    notes += [f"quick: {material.entry.quick.less}"] if material.shrunk else []
    shrunk = material.shrunk and not theirs.measure.any_size
    both = theirs.paper is not None and ours is not None
    return Number(
        what=theirs.what,
        unit=theirs.measure.unit,
        paper=theirs.paper,
        paper_text=theirs.text,
        ours=ours,
        ours_text=text,
        ratio=ours / theirs.paper if ours is not None and theirs.paper else None,
        same_work=both and theirs.comparable and not other_rows and not shrunk,
        note="; ".join(notes),
    )


# --- the measures


def finished_runs(material: Material, method: str) -> list[Recorded]:
    """The finished runs of a method. Raises NoRun if there is none."""
    runs = material.finished(method)
    if not runs:
        raise NoRun(method)
    return runs


def _median(
    value: Callable[[Recorded], float | None],
    text: Callable[[float, list[Recorded]], str],
    mean: Callable[[float], str] | None = None,
    ranks: int | None = None,
) -> Callable[[Material, str], Ours]:
    """The median of ``value`` over the repeats, and its text; where a paper averages, the ``mean`` too.

    With ``ranks`` over those on that many alone.
    """

    def ours(material: Material, method: str) -> Ours:
        runs = [run for run in finished_runs(material, method) if ranks in (None, run.number("ranks"))]
        values = [number_of_run for run in runs if (number_of_run := value(run)) is not None]
        if not runs:
            raise NoRun(method)
        if not values:
            return None, "no such value"
        middle = median(values).value
        if len(runs) == 1:
            return middle, text(middle, runs)
        average = "" if mean is None else f", mean {mean(sum(values) / len(values))}"
        return middle, f"{text(middle, runs)}, median of {len(runs)}{average}"

    return ours


def _time(value: float) -> str:
    return "never" if math.isinf(value) else f"{seconds(value)} s"


def _time_on_ranks(value: float, runs: list[Recorded]) -> str:
    ranks = sorted({count(int(run.row["ranks"]), "rank") for run in runs})
    return f"{_time(value)} on {', '.join(ranks)}"


def _met(run: Recorded, value: float | None) -> float:
    """Infinity for a run that missed its target."""
    return math.inf if run.number("time_to_target_s") is None or value is None else value


def _percent(key: str) -> Callable[[Material, str], Ours]:
    def value(run: Recorded) -> float | None:
        share = run.number(key)
        return None if share is None else 100 * share

    return _median(value, lambda middle, runs: f"{middle:.2f} %")


FINAL_ACCURACY = Measure(
    "final test accuracy, {}", "%", _percent("final_test_accuracy"), mark=lambda paper: (None, paper / 100)
)
BEST_ACCURACY = Measure("best test accuracy, {}", "%", _percent("best_test_accuracy"))


def accuracy_after(updates: int) -> Measure:
    """Test accuracy at the first evaluation after so many updates."""

    def later(run: Recorded) -> float:
        return 100 * next((row["test_accuracy"] for row in run.curve if row["iteration"] >= updates), math.nan)

    ours = _median(later, lambda middle, runs: f"{number(middle, 1)} %")
    return Measure(f"test accuracy after {updates} updates, {{}}", "%", ours)


def loss_after(iterations: int) -> Measure:
    """Training loss at the first evaluation after so many iterations."""

    def then(run: Recorded) -> float | None:
        return loss_then(run, iterations)

    ours = _median(then, lambda middle, runs: f"{middle:.3g}")
    return Measure(f"training loss after {iterations:,} iterations, {{}}", "", ours)


def loss_then(run: Recorded, iterations: int) -> float | None:
    """The training loss at the first evaluation after so many iterations; None for a shorter run."""
    return next((row["train_loss"] for row in run.curve if row["iteration"] >= iterations), None)


def seconds_to_accuracy(level: float, averaged: bool = False, ranks: int | None = None) -> Measure:
    """Training seconds at the first evaluation whose test accuracy is at least ``level``.

    ``averaged``: the paper's number is a mean. ``ranks``: of the runs on that many.
    """

    def reached(run: Recorded) -> float:
        return next((row["train_s"] for row in run.curve if row["test_accuracy"] >= level), math.inf)

    ours = _median(reached, _time_on_ranks, _time if averaged else None, ranks)
    where = "" if ranks is None else f", on {count(ranks, 'rank')}"
    what = f"seconds to {100 * level:g} % test accuracy, {{}}{where}"
    return Measure(what, "s", ours, mark=lambda paper: (paper, level))


def seconds_on_most_cores(level: float) -> Measure:
    """Median seconds of a scaling study, whose target is a test accuracy of ``level``, on its most cores."""

    def ours(material: Material, method: str) -> Ours:
        point = _study(material, method).points[-1]
        clock = ", processor time of shared cores" if point.shared else ""
        repeats = f", median of {point.runs}" if point.runs > 1 else ""
        return point.median_s, f"{_time(point.median_s)} on {count(point.cores, 'core')}{clock}{repeats}"

    return Measure(f"seconds to {100 * level:g} % test accuracy, {{}}, on the most cores", "s", ours)


def _study(material: Material, method: str) -> Findings:
    """The scaling study of a method. Raises NoRun if there is none."""
    study = material.study(method)
    if study is None:
        raise NoRun(method)
    return study


def _efficiency(material: Material, method: str) -> Ours:
    """Of a scaling study, in percent: 100 where its seconds fall as cores rise."""
    point = _study(material, method).points[-1]
    if point.disturbed or not math.isfinite(point.efficiency):
        return None, f"cannot be told on {count(point.cores, 'core')}"
    return 100 * point.efficiency, f"{100 * point.efficiency:.0f} % on {count(point.cores, 'core')}"


EFFICIENCY = Measure("efficiency on the most cores, {}", "%", _efficiency)


def seconds_to_target(target: str) -> Measure:
    """Training seconds to the target of the runs; ``target`` describes it."""
    ours = _median(lambda run: _met(run, run.number("time_to_target_s")), _time_on_ranks)
    return Measure(f"seconds to {target}, {{}}", "s", ours)


def per_iteration(runs: list[Recorded]) -> tuple[float, float]:
    """Mean seconds of an iteration, and its standard deviation over the spans between evaluations."""
    spans = [
        (later["train_s"] - row["train_s"], later["iteration"] - row["iteration"])
        for run in runs
        for row, later in pairwise(run.curve)
        if later["iteration"] > row["iteration"]
    ]
    if not spans:
        return math.nan, math.nan
    mean = sum(time for time, _ in spans) / sum(steps for _, steps in spans)
    squares = sum((time / steps - mean) ** 2 for time, steps in spans)
    return mean, math.sqrt(squares / max(1, len(spans) - 1))
