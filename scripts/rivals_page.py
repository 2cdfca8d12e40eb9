"""Write docs/rivals.md, the page of our own study: tables of its points, its figures, its claims with verdicts.

Runs come first, on a machine that does nothing else; then figures with their points, of which the page is made:

``.venv/bin/admmctl claims rivals --run``
``FIGURES=$(.venv/bin/python scripts/rivals_page.py --figures)``
``.venv/bin/admmctl figures $FIGURES --scale full --output docs/rivals``
``.venv/bin/admmctl claims rivals --json | .venv/bin/python scripts/rivals_page.py > docs/rivals.md``

The repository keeps the .png and the .csv of docs/rivals.
"""

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claims_page import entry, machine, wrapped

from admmctl.papers.rivals import ENTRIES, PROBLEMS
from admmctl.report.text import seconds
from admmctl.studies.statistics import median

POINTS = Path(__file__).parents[1] / "docs" / "rivals"
TARGET = (0.98,)  # of the runs that end there
LEVELS = {problem.config: problem.levels for problem in PROBLEMS} | {"rivals-long": (0.985, 0.987)}
INTRODUCTION = """\
What the methods of the ADMM family add beside rivals of today, under one clock: a study of our own, and no \
paper's. It was made on {machine}, with one thread a rank. The experiment files say how trials choose the \
settings. `admmctl claims rivals --run` makes the runs, and `admmctl figures NAME --scale full` draws a \
figure. Tables have medians over n seeds, of runs whose cores no other work took, and in brackets their 95 % \
intervals, which exist from six seeds on. Seconds are those of optimisation. An accuracy is met at an \
evaluation: seconds and iterations to it may be late by as much as evaluations are apart. Two runs were made at a \
time, a core each, which share memory: seconds are longer than those of runs with nothing beside them, of all \
methods alike. Those up to 98 % on MNIST were made with nothing beside them. Where six seeds did not tell, claims \
have 12 or 24: that was decided when the first six were known."""


@dataclass(frozen=True)
class Run:
    """The points of one run in their order."""

    method: str
    disturbed: bool
    rows: list[dict[str, str]]

    def last(self, column: str) -> float:
        """The value at the end; NaN where there is none."""
        return float(self.rows[-1].get(column) or math.nan)

    def to(self, level: float, column: str) -> float:
        """The value at the first evaluation of at least that test accuracy; infinity where there is none."""
        return next((float(row[column]) for row in self.rows if float(row["test_accuracy"]) >= level), math.inf)


def runs_of(points: Path) -> list[Run]:
    """The runs of a figure's CSV, in its order."""
    found: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    with points.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["method"], row["ranks"], row["seed"]), []).append(row)
    return [Run(method, rows[0]["disturbed"] == "True", rows) for (method, _, _), rows in found.items()]


def percent(value: float) -> str:
    """An accuracy as text, in per cent."""
    return f"{100 * value:.2f}"


def whole(value: float) -> str:
    """Iterations as text."""
    return f"{value:,.0f}" if math.isfinite(value) else "never"


def in_seconds(value: float) -> str:
    """Seconds as text."""
    return seconds(value) if math.isfinite(value) else "never"


def cell(values: Sequence[float], show: Callable[[float], str]) -> str:
    """'98.43 (98.40 to 98.47)': a median with its interval; '-' where there are no values."""
    if not values or all(map(math.isnan, values)):
        return "-"
    found = median(list(values))
    if found.low is None or found.high is None:
        return show(found.value)
    return f"{show(found.value)} ({show(found.low)} to {show(found.high)})"


def table(runs: Sequence[Run], levels: Sequence[float]) -> str:
    """Every method with what its undisturbed runs came to, the most accurate one first."""
    auc = any(not math.isnan(run.last("test_auc")) for run in runs)
    columns = ["method", "n", "test accuracy, %", *["AUC"] * auc, "seconds", "iterations"]
    columns += [f"{what} to {100 * level:g} %" for level in levels for what in ("seconds", "iterations")]
    rows = []
    for method in dict.fromkeys(run.method for run in runs):
        of_all = [run for run in runs if run.method == method]
        own = [run for run in of_all if not run.disturbed]
        finals = [run.last("test_accuracy") for run in own]
        cells = [f"`{method}`", f"{len(own)}" if len(own) == len(of_all) else f"{len(own)} of {len(of_all)}"]
        cells.append(cell(finals, percent))
        cells += [cell([run.last("test_auc") for run in own], lambda value: f"{value:.4f}")] * auc
        for column, show in (("train_s", in_seconds), ("iteration", whole)):
            cells.append(cell([run.last(column) for run in own], show))
        for level in levels:
            for column, show in (("train_s", in_seconds), ("iteration", whole)):
                cells.append(cell([run.to(level, column) for run in own], show))
        rows.append((-median(finals).value if finals else math.inf, cells))
    body = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    lines = [columns, ["---"] * len(columns), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(claims: Sequence[dict[str, Any]], points: Path = POINTS) -> str:
    """The page, in Markdown; figures without points are named. Exits where there are none at all."""
    parts = [f"# Rivals of today\n{wrapped(INTRODUCTION.format(machine=machine(list(claims))))}"]
    missing: list[str] = []
    for figure in ENTRIES:
        file = points / f"{figure.name}.csv"
        title = f"{figure.shows[:1].upper()}{figure.shows[1:]}"
        if not file.is_file():
            missing.append(f"- `{figure.name}`: {title}")
            continue
        body = table(runs_of(file), LEVELS.get(figure.name, TARGET))
        picture = f"![{title}.](rivals/{figure.name}.png)"
        about = wrapped(f"`configs/{figure.config}.yaml`; {figure.differs}.")
        parts.append(f"## {title}\n{about}\n\n{body}\n\n{picture}")
    if len(missing) == len(ENTRIES):
        sys.exit(f"no points in {points}: draw figures there first, by admmctl figures NAME --scale full")
    if missing:
        parts.append("## Not made yet\nBy `admmctl figures NAME --scale full`:\n\n" + "\n".join(missing))
    parts.append("## Claims\n" + "\n".join(map(entry, claims)))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--figures"]:
        sys.stdout.write(" ".join(figure.name for figure in ENTRIES) + "\n")
    else:
        sys.stdout.write(page([claim for claim in json.load(sys.stdin)["claims"] if claim["ours"]]))
