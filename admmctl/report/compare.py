"""``runs compare``: methods side by side, over their repeats."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from admmctl import files
from admmctl.errors import UserError
from admmctl.report.output import write
from admmctl.report.statistics import median, verdicts
from admmctl.report.tables import Plain
from admmctl.report.text import number, seconds
from admmctl.runs.reading import CONFIG
from admmctl.runs.recorded import COMPARED, Recorded, damage, read_config, read_environment, read_summary


def comparable(folders: list[Path]) -> list[list[dict[str, Any]]]:
    """Summaries of runs that may stand side by side, those of one method with one set of settings together.

    They share data and target, or UserError says which differs. Unfinished runs are left out.
    """
    runs = [dict(run.row) for run in map(Recorded, folders) if run.summary is not None]
    if not runs:
        raise UserError("none of these runs has finished: there is nothing to compare")
    for run in runs:
        run["data"], run["settings"] = _config(Path(run["folder"]))
        run["data_sha256"] = read_environment(Path(run["folder"])).get("data_sha256")
    _must_share(runs, "data", "data")
    _must_share([run for run in runs if run["data_sha256"]], "data_sha256", "the checksum of the data")
    _must_share(runs, "metric", "the metric of the target")
    _must_share(runs, "target", "the target")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        key = (run["method"], int(run["ranks"]), run.get("threads_per_rank"), run["settings"])
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def in_sets(folders: list[Path]) -> list[list[Path]]:
    """Runs that have ended, in sets that ``compare`` takes: each shares data and target; without damaged ones."""
    sets: dict[tuple[Any, ...], list[Path]] = {}
    for folder in folders:
        summary = read_summary(folder)
        if summary is None or damage(folder, COMPARED) is not None:
            continue
        key = (
            _config(folder)[0],
            read_environment(folder).get("data_sha256"),
            summary["metric"],
            summary["target"],
        )
        sets.setdefault(key, []).append(folder)
    return list(sets.values())


def compare(folders: list[Path]) -> dict[str, Any]:
    """Medians and intervals per method and ranks. Raises UserError when runs cannot be compared.

    Failed runs count as misses.
    """
    groups = comparable(folders)
    rows = [_row(members) for members in groups]
    first = groups[0][0]
    target = first["target"]
    for row, words in zip(rows, verdicts([row["_time"] for row in rows]), strict=True):
        row["verdict"] = words if target is not None else None
        del row["_time"]
    return {"experiment": first["experiment"], "metric": first["metric"], "target": target, "methods": rows}


def in_common(runs: list[dict[str, Any]], times: list[float]) -> dict[str, Any]:
    """What runs of one method with one set of settings share, and how many of them reached the target."""
    return {
        "method": runs[0]["method"],
        "settings": runs[0]["settings"],
        "ranks": int(runs[0]["ranks"]),
        "threads_per_rank": runs[0].get("threads_per_rank"),
        "runs": len(times),
        "reached": sum(not math.isinf(time) for time in times),
    }


def over_seeds(runs: list[dict[str, Any]], key: str, missing: float = math.inf) -> list[float]:
    """A value for every seed; ``missing`` stands for no value.

    A seed that ran twice differs by noise of the clock alone: it is one repeat, of middling time.
    """
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        by_seed.setdefault(int(run["seed"]), []).append(missing if run.get(key) is None else float(run[key]))
    return [sorted(values)[len(values) // 2] for values in by_seed.values()]


def _row(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One method with one set of settings: medians over its seeds."""
    times = over_seeds(runs, "time_to_target_s")
    # A run without an accuracy is no better than the worst: missing counts as minus infinity.
    worst_first = [-value for value in over_seeds(runs, "final_test_accuracy", missing=-math.inf)]
    time, final = median(times), median(worst_first)
    return {
        **in_common(runs, times),
        "time_to_target_s": time.value,
        "time_to_target_low_s": time.low,
        "time_to_target_high_s": time.high,
        "final_test_accuracy": -final.value,
        "final_test_accuracy_low": None if final.high is None else -final.high,
        "final_test_accuracy_high": None if final.low is None else -final.low,
        "train_s": median(over_seeds(runs, "train_s")).value,
        "seeds": sorted({int(run["seed"]) for run in runs}),
        "verdict": None,
        "_time": time,
    }


def _config(folder: Path) -> tuple[str, str]:
    """A run's data block, and a short name of its settings: everything but the seed. Raises UserError."""
    config = read_config(folder)
    if not config:
        raise UserError("{}: {}; leave this run out".format(*damage(folder, (CONFIG,)) or (folder, "no settings")))
    data = json.dumps(config["data"], sort_keys=True)
    budget = {key: value for key, value in config.get("stop", {}).items() if key not in ("metric", "target")}
    keys = ("network", "loss", "methods", "evaluate")
    settings = json.dumps([*(config.get(key) for key in keys), budget], sort_keys=True)
    return data, hashlib.sha256(settings.encode()).hexdigest()[:8]


def _must_share(runs: list[dict[str, Any]], key: str, words: str) -> None:
    first = runs[0] if runs else {}
    for run in runs:
        if run.get(key) != first.get(key):
            raise UserError(
                f"these runs cannot be compared, {words} differs:\n  {first['folder']}: {first.get(key)}\n"
                f"  {run['folder']}: {run.get(key)}\nname runs that share it"
            )


def compare_table(result: dict[str, Any]) -> Group:
    """The comparison for people."""
    target = "no target" if result["target"] is None else f"{result['metric']} {result['target']:g}"
    table = Plain(title=f"{result['experiment']}: {target}")
    for heading in ("method", "ranks", "reached", "target s", "95 % interval", "final", "verdict"):
        if heading in ("method", "verdict"):
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right")
    for row in sorted(result["methods"], key=lambda row: row["time_to_target_s"]):
        several = sum(other["method"] == row["method"] for other in result["methods"]) > 1
        table.add_row(
            f"{row['method']} ({row['settings']})" if several else row["method"],
            str(row["ranks"]),
            f"{row['reached']}/{row['runs']}" if result["target"] is not None else f"-/{row['runs']}",
            seconds(row["time_to_target_s"]) if result["target"] is not None else "-",
            _interval(row["time_to_target_low_s"], row["time_to_target_high_s"]),
            number(row["final_test_accuracy"], 4),
            row["verdict"] or "-",
        )
    note = (
        "Medians over repeats, with order-statistic 95 % intervals from 6 repeats on.\n"
        "target s: train_s, optimisation only, at the first evaluation that met the\n"
        "target; a miss counts as infinity. final: test accuracy of the last iterate."
    )
    return Group(table, Text(""), Text(note))


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None or math.isinf(low):
        return "-"
    return f"{seconds(low)} to {seconds(high)}"


def write_csv(result: dict[str, Any], path: Path) -> None:
    """The comparison as CSV, a line per method. Raises UserError."""
    columns = [key for key in result["methods"][0] if key != "seeds"]
    write_table(path, columns, result["methods"])


def write_table(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """What ``--csv`` asks for, '-' for standard output. Raises UserError."""
    if path == files.STDOUT:
        write(files.to_csv(columns, rows))
        return
    try:
        files.write_csv(path, columns, rows)
    except OSError as error:
        raise UserError(f"--csv {path}: cannot be written: {error.strerror}") from None
