"""What several studies of one target say together: seconds to it by method and cores, and where two methods cross.

What the lines and their bounds are: ``lines.py``. Who leads for sure: ``leads.py``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from admmctl.data.shards import MADE_UP
from admmctl.errors import UserError
from admmctl.launch.cluster import load_machine
from admmctl.studies.fitted import MOST_CORES
from admmctl.studies.leads import Crossing, crossings_of
from admmctl.studies.lines import Line, Modelled, Studied, grid_of, label, line_of, modelled, runs_of
from admmctl.studies.study import Findings

LATE = 0.1  # a share of the time to the target


@dataclass(frozen=True)
class Together:
    """Studies of one experiment with the same data and target, compared. ``machine`` is None for this one."""

    experiment: str
    metric: str
    target: float
    rows: int
    machine: str | None
    studies: list[Studied]
    lines: list[Line]
    crossings: list[Crossing]
    notes: list[str]


def compare_studies(
    results: Sequence[Findings], machine: str | None = None, rows: int | None = None
) -> tuple[list[tuple[Together, list[Findings]]], list[str]]:
    """The studies that belong together, compared, with the findings of each; and a line for each that cannot be.

    Two or more belong together: in the folder of one experiment, to one target on the same rows. ``machine`` names
    a machine file that models are moved to, ``rows`` are training rows to assume in place of those that were read.
    """
    groups: dict[str, list[Findings]] = {}
    for found in results:
        if found.goal == "target" and not found.weak:
            groups.setdefault(_identity(found), []).append(found)
    compared, left_out = [], []
    for group in groups.values():
        if len(group) > 1:
            try:
                compared.append((_together(group, machine, rows), group))
            except UserError as reason:
                left_out.append(str(reason))
    return compared, left_out


def _identity(found: Findings) -> str:
    """What studies that are compared have in common."""
    data = [(run.data, run.environment.data_sha256) for run in islice(runs_of(found.study), 1)]
    shared = [
        str(Path(found.study).resolve().parent),
        found.experiment,
        found.metric,
        found.target,
        found.points[0].rows,
        data,
    ]
    return json.dumps(shared, sort_keys=True)


def _together(group: list[Findings], machine: str | None, rows: int | None) -> Together:
    """Raises UserError where no study met the target."""
    first = group[0]
    target = first.target if first.target is not None else math.nan
    other = None if machine is None else load_machine(machine)
    grid = grid_of(MOST_CORES if other is None else min(MOST_CORES, other.cores))
    each_study = [modelled(found, grid, other, rows) for found in group]
    if not any(each.studied.iterations.reached for each in each_study):
        tried = ", ".join(dict.fromkeys(found.method for found in group))
        raise UserError(
            f"{first.experiment}: nobody met the target, {first.metric.replace('_', ' ')} {target:g} ({tried}): "
            "there are no seconds to compare; set a target that is met, or a larger budget"
        )
    methods = list(dict.fromkeys(found.method for found in group))
    made_up = any(found.data_made_up for found in group)
    lines = [line_of([each for each in each_study if each.studied.method == name], grid) for name in methods]
    return Together(
        experiment=first.experiment,
        metric=first.metric,
        target=target,
        rows=first.points[0].rows if rows is None else rows,
        machine=None if other is None else other.name,
        studies=[each.studied for each in each_study],
        lines=lines,
        crossings=[] if made_up else [one for pair in combinations(lines, 2) for one in crossings_of(*pair)],
        notes=[*([MADE_UP] if made_up else []), *_notes(each_study, first.points[0].rows, rows)],
    )


def _notes(studies: list[Modelled], measured_rows: int, rows: int | None) -> list[str]:
    """What a reader has to know before believing the numbers."""
    found = []
    for each in studies:
        iterations, name = each.studied.iterations, label(each.studied)
        if iterations.reached < iterations.repeats:
            found.append(f"{name}: the target was met by {iterations.reached} of {iterations.repeats} repeats")
        if each.studied.late > LATE:
            share = f"{each.studied.late:.0%}"
            found.append(f"{name}: evaluations are seldom; up to {share} of its seconds may be after the target")
        if each.disturbed:
            found.append(f"{name}: other work took the cores of runs; no verdict is made of them")
        if each.known <= 1:
            found.append(f"{name}: communication was not measured; its seconds on more than one core are unknown")
    if rows is not None and rows != measured_rows:
        found.append(
            f"modelled for {rows:,} training rows; the iterations to the target are those on {measured_rows:,}"
        )
    return found


def thinned(together: Together) -> Together:
    """With lines on fewer core counts: powers of two and of ten, those that were measured, and the crossings."""
    grid = together.lines[0].cores
    kept = {1 << power for power in range(14)} | {10**power for power in range(5)} | {grid[-1]}
    kept |= {each.measured_cores for each in together.studies}
    for crossing in together.crossings:
        kept |= {cores for cores in (crossing.cores, crossing.low, crossing.high) if cores is not None}
    places = [place for place, cores in enumerate(grid) if cores in kept]
    lists = ("cores", "seconds", "low", "high", "batch", "used")
    lines = []
    for line in together.lines:
        shorter: dict[str, Any] = {name: [getattr(line, name)[place] for place in places] for name in lists}
        lines.append(replace(line, **shorter))
    return replace(together, lines=lines)
