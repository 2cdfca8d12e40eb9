"""What ``sweep`` prints: a line per trial as it ends, then a table of all trials."""

from pathlib import Path

from rich.console import Group
from rich.text import Text

from admmctl.report.tables import Plain, runs_table
from admmctl.report.text import number, seconds
from admmctl.runs.recorded import Recorded
from admmctl.studies.sweep import Sweep
from admmctl.studies.trials import Trial


def trial_line(trial: Trial, done: int, total: int) -> str:
    """A trial that has ended; ``done`` of ``total`` have."""
    settings = "  ".join(f"{key}={value}" for key, value in trial.settings.items())
    score = trial.validation_accuracy
    result = trial.reason if score is None else f"validation accuracy {number(score, 4)}"
    result += "" if trial.time_to_target_s is None else f"  {seconds(trial.time_to_target_s)} s to the target"
    return f"{done}/{total}  trial {trial.number}  {trial.status}  {result}  {settings}"


def sweep_tables(result: Sweep) -> Group:
    """All trials of a sweep, best first, and the winner's own run."""
    trials = sorted(result.trials, key=lambda trial: trial.order)
    timed = any(trial.time_to_target_s is not None for trial in trials)
    keys = list(trials[0].settings) if trials else []
    # Keys of settings are long, their values are not.
    headings = [key.replace(".", ".\n") for key in keys]
    table = Plain(
        *("trial", *["target s"] * timed, "validation", "at epoch", "status", *headings),
        title=f"{result.folder}: {len(trials)} trials of {result.method}",
        left=["status"],
    )
    for trial in trials:
        values = [str(trial.settings[key]) for key in keys]
        score = number(trial.validation_accuracy, 4)
        time = "-" if trial.time_to_target_s is None else seconds(trial.time_to_target_s)
        table.add_row(str(trial.number), *[time] * timed, score, f"{trial.epoch:g}", trial.status, *values)
    if result.best is None or result.run is None:
        note = "no trial has a validation accuracy: see the status of each in trials.csv"
        return Group(table, Text(""), Text(note))
    if Recorded(Path(result.run["folder"])).data.get("validation") is not None:
        rows = "the training rows that data.validation leaves, as long as the experiment says"
    else:
        rows = f"all training rows, {'to the target' if timed else 'for as long as it took to its best'}"
    return Group(
        table,
        Text(""),
        Text(f"best: trial {result.best.number}, written to {result.best.config}"),
        Text(f"trained once more, nothing beside it, on {rows}:"),
        runs_table([result.run]),
    )
