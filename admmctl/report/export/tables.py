"""Two tables, as CSV or Parquet: runs, a row each, and curves, a row per evaluation of every run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from admmctl.files import write_csv
from admmctl.report.export.source import Exported, columns

Rows = list[dict[str, Any]]


def rows_of(runs: list[Exported]) -> tuple[Rows, Rows]:
    """The rows of both tables."""
    table = [
        {
            "run": run.name,
            **run.summary,
            **{f"config.{key}": value for key, value in run.settings.items()},
            **{f"machine.{key}": value for key, value in run.machine.items()},
        }
        for run in runs
    ]
    curves = [{"run": run.name, **row, "iteration": int(row["iteration"])} for run in runs for row in run.curve]
    return table, curves


def write_csv_files(runs: list[Exported], folder: Path, home: Path, say: Callable[[int, int], None]) -> None:
    """runs.csv and curves.csv. NaN and infinities are nan and inf, what is not known is empty."""
    for name, rows in zip(("runs", "curves"), rows_of(runs), strict=True):
        write_csv(folder / f"{name}.csv", columns(rows) or ["run"], rows)
    say(len(runs), len(runs))


def write_parquet_files(runs: list[Exported], folder: Path, home: Path, say: Callable[[int, int], None]) -> None:
    """runs.parquet and curves.parquet, columns of one type each; NaN stays NaN, what is not known is null."""
    import pandas as pd

    for name, rows in zip(("runs", "curves"), rows_of(runs), strict=True):
        frame = pd.DataFrame(
            {key: of_one_type([row.get(key) for row in rows]) for key in columns(rows) or ["run"]}
        )
        frame.to_parquet(folder / f"{name}.parquet", engine="pyarrow", index=False)
    say(len(runs), len(runs))


def of_one_type(values: list[Any]) -> Any:
    """A column of whole numbers, numbers, truths or text: the narrowest that holds all."""
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {bool}:
        return pd.array(values, dtype="boolean")
    if kinds and kinds <= {int} and all(abs(value) < 1 << 63 for value in values if value is not None):
        return pd.array(values, dtype="Int64")
    if kinds and kinds <= {int, float}:
        return [float(value) if value is not None else None for value in values]
    return pd.array([None if value is None else str(value) for value in values], dtype="string")
