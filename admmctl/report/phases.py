"""``runs phases``: where the seconds to a target went, method by method (Table 1 of the convex paper)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from admmctl.errors import UserError
from admmctl.report.compare import comparable, in_common, over_seeds, write_table
from admmctl.report.statistics import median
from admmctl.report.tables import Plain
from admmctl.report.text import number, seconds
from admmctl.runs.clock import OUTSIDE
from admmctl.runs.recorded import read_phases, read_summary
from admmctl.runs.summary import DONE

_SUMS = ("rest", "wall")  # in phases.csv, and no phases of training
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
    """A paper's table of seconds by phase, and our ``experiment`` of the same problem."""

    experiment: str
    source: str
    problem: str
    methods: tuple[PaperMethod, ...]

    def document(self) -> dict[str, Any]:
        """What ``runs phases --json`` says of it."""
        methods = [asdict(method) for method in self.methods]
        return {"source": self.source, "problem": self.problem, "methods": methods}


def phases(folders: list[Path], paper: PaperTable | None = None, always: bool = False) -> dict[str, Any]:
    """Median seconds of training by phase, for every method, over the repeats that have ended.

    A phase counts with its largest seconds over ranks. The numbers of ``paper`` come along for runs of its
    experiment, and for all runs with ``always``. Raises UserError when no run has phases, or when runs cannot be
    compared.
    """
    ended = [folder for folder in folders if (read_summary(folder) or {}).get("status") in DONE]
    spent = {str(folder): _training(folder) for folder in ended if read_phases(folder)}
    if not spent:
        raise UserError("none of these runs has ended with its phases on record: there is nothing to show")
    groups = comparable([Path(folder) for folder in spent])
    names = list(dict.fromkeys(name for of_run in spent.values() for name in of_run))
    first = groups[0][0]
    beside = paper is not None and (always or first["experiment"] == paper.experiment)
    return {
        "experiment": first["experiment"],
        "metric": first["metric"],
        "target": first["target"],
        "rows_train": first.get("rows_train"),
        "methods": [_row(runs, spent, names) for runs in groups],
        "paper": paper.document() if paper is not None and beside else None,
    }


def _training(folder: Path) -> dict[str, float]:
    """Seconds of every phase of a run that counts as training."""
    found = read_phases(folder)
    return {name: found[name]["max_s"] for name in found if name not in (*OUTSIDE, *_SUMS)}


def _row(runs: list[dict[str, Any]], spent: dict[str, dict[str, float]], names: list[str]) -> dict[str, Any]:
    """One method with one set of settings. A phase that it does not have is not in its row."""
    own = [name for name in names if any(name in spent[run["folder"]] for run in runs)]
    with_phases = [{**run, "phases": spent[run["folder"]]} for run in runs]
    for run in with_phases:
        run.update({f"phase {name}": run["phases"].get(name) for name in own})
    times = over_seeds(runs, "time_to_target_s")
    return {
        **in_common(runs, times),
        "time_to_target_s": median(times).value,
        "train_s": median(over_seeds(runs, "train_s")).value,
        "phases": {name: median(over_seeds(with_phases, f"phase {name}", missing=0.0)).value for name in own},
    }


def phases_table(result: dict[str, Any]) -> Group:
    """The phases for people, within 80 columns; below them the paper's, marked as theirs."""
    shown = _shown(result["methods"])
    goal = "seconds of training"
    if result["target"] is not None:
        goal = f"seconds to {result['metric'].replace('_', ' ')} {result['target']:g}"
    rows = "" if result["rows_train"] is None else f", {result['rows_train']:,} rows"
    table = _table(f"{result['experiment']}: {goal}{rows}", ("reached", "total", *shown, "others"))
    for row in sorted(result["methods"], key=lambda row: (row["time_to_target_s"], row["train_s"])):
        several = sum(other["method"] == row["method"] for other in result["methods"]) > 1
        total = row["train_s"] if result["target"] is None else row["time_to_target_s"]
        others = sum(value for name, value in row["phases"].items() if name not in shown)
        table.add_row(
            f"{row['method']} ({row['settings']})" if several else row["method"],
            f"{row['reached']}/{row['runs']}" if result["target"] is not None else f"-/{row['runs']}",
            seconds(total),
            *(seconds(row["phases"].get(name)) for name in shown),
            seconds(others),
        )
    parts: list[RenderableType] = [table, Text(""), Text(_note(result))]
    if result["paper"] is not None:
        parts += [Text(""), _paper(result["paper"])]
    return Group(*parts)


def _shown(methods: list[dict[str, Any]]) -> list[str]:
    """The phases with a column: those of the paper where there are any, else the largest."""
    if any(name in row["phases"] for row in methods for name in CONVEX_PHASES):
        return list(CONVEX_PHASES)
    largest: dict[str, float] = {}
    for row in methods:
        for name, value in row["phases"].items():
            share = value / row["train_s"] if row["train_s"] else 0.0
            largest[name] = max(largest.get(name, 0.0), share)
    chosen = sorted(largest, key=lambda name: -largest[name])[:_COLUMNS]
    return [name for name in largest if name in chosen]


def _note(result: dict[str, Any]) -> str:
    """How to read the table, and on how many cores each method ran."""
    cores = {(row["ranks"], row["threads_per_rank"] or 1) for row in result["methods"]}
    words = ", ".join(f"{ranks} x {threads}" for ranks, threads in sorted(cores))
    return (
        "Seconds are train_s, optimisation only: medians over repeats, each of its own.\n"
        "A method that missed the target: its phases until it ended. All: --json, --csv.\n"
        f"Ranks x threads: {words}."
    )


def _paper(paper: dict[str, Any]) -> Group:
    title = f"{paper['source']}: their numbers, on their machines"
    table = _table(title, ("total", *CONVEX_PHASES))
    for row in paper["methods"]:
        times = (row["total_s"], *(row["phases"].get(name) for name in CONVEX_PHASES))
        table.add_row(row["method"], *(number(time) for time in times))
    return Group(table, Text(""), Text(paper["problem"]))


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Plain(title=title)
    table.add_column("method", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def phase_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A line per method with all its phases, then the paper's, marked in the first column."""
    paper = result["paper"] or {"methods": []}
    rows = [{"source": "measured", **row} for row in result["methods"]]
    rows += [{"source": paper["source"], **row, "time_to_target_s": row["total_s"]} for row in paper["methods"]]
    names = list(dict.fromkeys(name for row in rows for name in row["phases"]))
    columns = ["source", *(key for key in result["methods"][0] if key != "phases")]
    return [
        {key: row.get(key) for key in columns} | {f"{name}_s": row["phases"].get(name) for name in names}
        for row in rows
    ]


def write_csv(result: dict[str, Any], path: Path) -> None:
    """The rows of ``phase_rows`` as CSV. Raises UserError."""
    rows = phase_rows(result)
    write_table(path, list(rows[0]), rows)
