"""Tables of runs, read from their folders."""

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from admmctl.errors import UserError
from admmctl.report.text import number, seconds
from admmctl.runs.record import read_curve, read_summary


def read_runs(folders: list[Path]) -> list[dict[str, Any]]:
    """The summary of every run with its folder; one without a summary is 'unfinished'."""
    return [{"folder": str(folder), **(read_summary(folder) or _unfinished(folder))} for folder in folders]


def _unfinished(folder: Path) -> dict[str, Any]:
    curve = read_curve(folder)
    return {
        "experiment": folder.parent.name,
        "method": folder.name.rsplit("-p", 1)[0],
        "status": "unfinished",
        "reason": "it runs, or it was killed before it could write a summary",
        "iterations": int(curve[-1]["iteration"]) if curve else 0,
        "train_s": curve[-1]["train_s"] if curve else None,
        "final_test_accuracy": curve[-1]["test_accuracy"] if curve else None,
    }


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """One line a run: accuracy, seconds, iterations. Times are train_s: optimisation only."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.caption = (
        "final: test accuracy of the last iterate; best: the highest on the way (optimistic); "
        "train s: optimisation only, without loading and evaluation"
    )
    for heading, justify in (
        ("experiment", "left"),
        ("run", "left"),
        ("status", "left"),
        ("final", "right"),
        ("best", "right"),
        ("iterations", "right"),
        ("train s", "right"),
        ("to target s", "right"),
        ("wall s", "right"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for run in runs:
        table.add_row(
            run.get("experiment") or "",
            Path(run["folder"]).name,
            run["status"],
            number(run.get("final_test_accuracy"), 4),
            number(run.get("best_test_accuracy"), 4),
            str(run.get("iterations", "-")),
            seconds(run.get("train_s")),
            seconds(run.get("time_to_target_s")) if run.get("target") is not None else "no target",
            seconds(run.get("wall_s")),
        )
    return table


def run_details(folder: Path) -> Table:
    """Everything about one run: its summary, the phases, the last evaluations."""
    run = read_runs([folder])[0]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in run.items():
        table.add_row(key.replace("_", " "), "-" if value is None else str(value))
    return table


def phases_table(folder: Path) -> Table | None:
    """Seconds by phase: largest, mean and smallest over ranks."""
    try:
        lines = (folder / "phases.csv").read_text().splitlines()[1:]
    except OSError:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Seconds by phase, over ranks", title_justify="left")
    for heading in ("phase", "max", "mean", "min"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for line in lines:
        name, *values = line.split(",")
        table.add_row(name, *(seconds(float(value)) for value in values))
    return table


def curve_table(folder: Path, rows: int = 12) -> Table | None:
    """The curve, thinned to about ``rows`` rows: the first, the last, and some between."""
    curve = read_curve(folder)
    if not curve:
        return None
    step = max(1, -(-len(curve) // rows))
    chosen = curve[:-1:step] + curve[-1:]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Curve", title_justify="left")
    headings = list(curve[0])
    for heading in headings:
        table.add_column(heading.replace("_", " "), justify="right")
    for row in chosen:
        table.add_row(*(_cell(name, row[name]) for name in headings))
    return table


def _cell(name: str, value: float) -> str:
    if name == "iteration":
        return str(int(value))
    if name.endswith("accuracy"):
        return number(value, 4)
    if name.endswith("_s"):
        return seconds(value)
    return f"{value:.4g}"


def only_run(folders: list[Path], name: str) -> Path:
    """The single run that an argument names. Raises UserError when it names several."""
    if len(folders) > 1:
        names = "\n  ".join(str(folder) for folder in folders)
        raise UserError(f"{name} holds {len(folders)} runs; name one of them:\n  {names}")
    return folders[0]
