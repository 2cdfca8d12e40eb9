"""Seconds to a target against cores: the line of a method, from its studies at several batch sizes.

    seconds(p) = iterations to the target    measured, the median over repeats of one method at one batch size
               x seconds per iteration(p)    the study's cost model

On p cores a method takes its best batch size, and as many of the cores as are best: its line never rises. Between
measured core counts the model is bent to go through them; beyond them it is as it was fitted.

Every line has bounds: where it was measured, those of the repeats' seconds; elsewhere those of the iterations,
times or divided by the model's error, once for every doubling of cores between there and the nearest measured
count. The error is the factor by which the model was wrong at worst on core counts held out. On another machine,
or for other rows, it counts once at least.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median as middle
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.launch.cluster import Machine
from admmctl.runs.recorded import Recorded
from admmctl.studies.fitted import moved
from admmctl.studies.model import CostModel
from admmctl.studies.points import recorded_in
from admmctl.studies.scaling import MEASURED
from admmctl.studies.statistics import median
from admmctl.studies.study import CoreCount, Findings, Study

Array = NDArray[np.float64]
FINE = 1024  # up to so many cores every number is looked at, above it one in fifty
MOST_WRONG = 1e12  # an error beyond this says no more
Basis = Literal["95 % interval", "spread", "one run"]


@dataclass(frozen=True)
class Iterations:
    """Iterations to the target over repeats: their median, and bounds of what ``basis`` says.

    A '95 % interval' is that of the median, by order statistics; the 'spread' is from the fewest to the most. A
    repeat that missed counts as infinity.
    """

    median: float
    low: float
    high: float
    basis: Basis
    repeats: int
    reached: int


@dataclass(frozen=True)
class Studied:
    """One study of a comparison: a method at a batch size.

    ``error`` is the factor by which its model was wrong at worst, too slow or too fast, on held-out core counts.
    ``late`` is the share of the time to the target by which it may have been met earlier, between two evaluations.
    """

    study: str
    method: str
    batch: int | None  # None: all rows
    learning_rate: float | None
    iterations: Iterations
    error: float
    late: float
    measured_cores: int  # the most


@dataclass(frozen=True)
class Line:
    """Seconds to the target of one method, against cores; infinity where it is not met.

    ``batch`` is the best batch size on so many cores (None for all rows), ``used`` how many of them it takes.
    ``measured_cores`` is the most that was measured: beyond it the model extrapolates; 0 on another machine or
    for other rows. ``known_cores`` is how far the model goes: 1 where communication was never measured.
    ``repeats`` are those of the study that has fewest. ``disturbed``: on some number of cores other work took the
    cores of every run.
    """

    method: str
    method_kind: str
    cores: list[int]
    seconds: list[float]
    low: list[float]
    high: list[float]
    batch: list[int | None]
    used: list[int]
    measured_cores: int
    known_cores: int
    repeats: int
    disturbed: bool


@dataclass(frozen=True)
class Modelled:
    """A study with its line: seconds and bounds on every core count of the grid.

    ``bent``: the line goes through what was measured.
    """

    studied: Studied
    kind: str
    seconds: Array
    low: Array
    high: Array
    known: int
    bent: bool
    disturbed: bool


def runs_of(study: str) -> Iterator[Recorded]:
    """The finished runs of a study, read one after another."""
    return (run for run in recorded_in(Path(study)) if run.done and run.damage(MEASURED) is None)


def grid_of(most: int) -> list[int]:
    """Core counts from 1 to ``most``: each up to 1,024, then steps of 2 %, and every power of two."""
    fine = range(1, min(most, FINE) + 1)
    coarse = np.geomspace(FINE, max(most, FINE), 1 + math.ceil(math.log(max(most / FINE, 1)) / 0.02))
    powers = (1 << power for power in range(most.bit_length()))
    return sorted({*fine, *powers, most, *(round(p) for p in coarse if p <= most)})


def modelled(found: Findings, grid: list[int], other: Machine | None, rows: int | None) -> Modelled:
    """A study's line. Where its model knows no communication, more than one core is anybody's guess."""
    study = Study.read(Path(found.study))
    if study is None:
        raise UserError(f"{found.study} is no scaling study any more")
    model: CostModel = found.model
    if other is not None:
        model = moved(model, study, other, f"{found.study}: it")
    measured_rows = found.points[0].rows
    all_rows = measured_rows if rows is None else rows
    visited = min(all_rows, found.batch or all_rows)
    bent = other is None and visited == min(measured_rows, found.batch or measured_rows)
    studied = _studied(found)
    each, known = _seconds(model, grid, visited)
    cores, iterations = np.array(grid, dtype=float), studied.iterations
    measured = _measured(found)
    counts = np.array([float(point.cores) for point in measured] or [1.0])
    doublings = np.abs(np.log2(cores[:, None] / counts)).min(axis=1)
    if not bent:
        doublings = np.maximum(1.0, doublings)
    factor, unknown = np.minimum(studied.error**doublings, MOST_WRONG), cores > known
    with np.errstate(invalid="ignore"):
        seconds = np.where(unknown, math.inf, iterations.median * each)
        low = np.where(unknown, 0.0, iterations.low * each / factor)
        high = np.where(unknown, math.inf, iterations.high * each * factor)
    if bent:
        _through_points(measured, grid, (seconds, low, high))
    disturbed = any(point.disturbed for point in found.points)
    return Modelled(studied, found.method_kind, seconds, low, high, known, bent, disturbed)


def _measured(found: Findings) -> list[CoreCount]:
    """The core counts of which seconds are known: ranks had them for themselves."""
    return [point for point in found.points if not point.shared and not point.disturbed]


def _through_points(measured: list[CoreCount], grid: list[int], line: tuple[Array, Array, Array]) -> None:
    """Bend seconds and their bounds, so that they go through what was measured; beyond it they stay.

    A core count whose median missed the target changes nothing between its neighbours.
    """
    seconds, low, high = line
    points = [point for point in measured if math.isfinite(point.median_s) and point.cores in grid]
    places = [grid.index(point.cores) for point in points]
    points = [point for point, place in zip(points, places, strict=True) if math.isfinite(seconds[place])]
    if points:
        counts = [point.cores for point in points]
        ratios = [point.median_s / seconds[grid.index(point.cores)] for point in points]
        bend = np.exp(np.interp(np.log(grid), np.log(counts), np.log(ratios), left=0.0, right=0.0))
        for values in line:
            values *= bend
    for point in measured:
        if point.cores in grid:
            place = grid.index(point.cores)
            seconds[place], low[place], high[place], _ = bounded(point.seconds)


def _seconds(model: CostModel, grid: list[int], rows: int) -> tuple[Array, int]:
    """Seconds per iteration on each core count, and up to how many cores the model says them."""
    found = []
    for cores in grid:
        try:
            found.append(model.seconds(cores, rows))
        except UserError:  # communication was never measured
            break
    known = grid[len(found) - 1] if found else 0
    return np.array([*found, *[math.inf] * (len(grid) - len(found))]), known


def _studied(found: Findings) -> Studied:
    runs = list(runs_of(found.study))
    block: dict[str, Any] = runs[0].method_block[1] if runs else {}
    rate = block.get("learning_rate")
    return Studied(
        study=found.study,
        method=found.method,
        batch=found.batch,
        learning_rate=rate if isinstance(rate, float) else None,
        iterations=iterations_of(runs),
        error=max((_factor(1 + left.error) for left in found.model.held_out), default=1.0),
        late=_late(runs),
        measured_cores=max((point.cores for point in _measured(found)), default=1),
    )


def _factor(ratio: float) -> float:
    """How many times too much or too little."""
    return max(ratio, 1 / ratio) if ratio > 0 else math.inf


def _late(runs: Iterable[Recorded]) -> float:
    """The median over runs that met the target; 0 where none did."""
    shares = []
    for run in runs:
        summary, curve = run.summary, run.curve
        if summary is not None and summary.time_to_target_s and summary.previous_evaluation_s is not None:
            last = next((row["iteration"] for row in reversed(curve) if row["iteration"] < summary.iterations), 0)
            # It was not met at the evaluation before, and at the earliest an iteration later.
            possible = 1 - 1 / max(1, summary.iterations - last)
            shares.append(possible * (1 - summary.previous_evaluation_s / summary.time_to_target_s))
    return middle(shares) if shares else 0.0


def iterations_of(runs: Iterable[Recorded]) -> Iterations:
    """Iterations to the target: one number per seed, as a seed has the same curve on all core counts."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        if run.summary is not None:
            met = run.summary.time_to_target_s is not None
            by_seed.setdefault(run.summary.seed, []).append(run.summary.iterations if met else math.inf)
    each = [middle(found) for found in by_seed.values()]
    return Iterations(*bounded(each), repeats=len(each), reached=sum(map(math.isfinite, each)))


def bounded(values: list[float]) -> tuple[float, float, float, Basis]:
    """The median of repeats, its bounds, and what these are. A miss is infinity."""
    if not values:
        return math.inf, math.inf, math.inf, "one run"
    found = median(values)
    if found.low is not None and found.high is not None:
        return found.value, found.low, found.high, "95 % interval"
    return found.value, min(values), max(values), "spread" if found.n > 1 else "one run"


def line_of(members: list[Modelled], grid: list[int]) -> Line:
    """A method's line: the best of its batch sizes, on all cores or fewer."""
    seconds = np.array([each.seconds for each in members])
    best, batch, used = math.inf, members[0].studied.batch, 1
    batches, cores_used, middles = [], [], []
    for place, cores in enumerate(grid):
        number = int(np.argmin(seconds[:, place]))
        if seconds[number, place] < best:
            best = float(seconds[number, place])
            batch, used = members[number].studied.batch, cores
        middles.append(best)
        batches.append(batch)
        cores_used.append(used)
    low = np.minimum.accumulate(np.min([each.low for each in members], axis=0))
    high = np.minimum.accumulate(np.min([each.high for each in members], axis=0))
    return Line(
        method=members[0].studied.method,
        method_kind=members[0].kind,
        cores=grid,
        seconds=middles,
        low=low.tolist(),
        high=high.tolist(),
        batch=batches,
        used=cores_used,
        measured_cores=max((each.studied.measured_cores for each in members if each.bent), default=0),
        known_cores=min(each.known for each in members),
        repeats=min(each.studied.iterations.repeats for each in members),
        disturbed=any(each.disturbed for each in members),
    )


def label(studied: Studied) -> str:
    """'sgd, batches of 128': a study as lines of text name it."""
    return studied.method + ("" if studied.batch is None else f", batches of {studied.batch:,}")
