"""MLflow's file store: a folder per experiment, in it a folder per run, a file per setting, metric and tag."""

import hashlib
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from admmctl.report.export.source import Exported, safe, utf8

_LONGEST = 6000  # characters of a setting that MLflow takes
_STATUS = {"failed": 4, "interrupted": 5, "unfinished": 1}  # FAILED, KILLED, RUNNING; else FINISHED
_FINISHED, _LOCAL = 3, 4


def write(runs: list[Exported], folder: Path, home: Path, say: Callable[[int, int], None]) -> None:
    """The store in ``folder``, which is to be at ``home``: what ``mlflow ui --backend-store-uri`` takes."""
    experiments: dict[str, list[Exported]] = {}
    for run in runs:
        experiments.setdefault(run.experiment, []).append(run)
    done = 0
    for name, members in experiments.items():
        identity = str(int(_digest(name), 16))[:18]
        place = folder / identity
        place.mkdir()
        _write_experiment(place, home, name, members)
        for run in members:
            say(done, len(runs))
            _write_run(place, home / identity, run)
            done += 1


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()


def _write_experiment(place: Path, home: Path, name: str, runs: list[Exported]) -> None:
    _write_meta(
        place,
        {
            "artifact_location": (home / place.name).as_uri(),
            "creation_time": _milliseconds(min(run.started for run in runs)),
            "experiment_id": place.name,
            "last_update_time": _milliseconds(max(run.ended for run in runs)),
            "lifecycle_stage": "active",
            "name": name,
        },
    )


def _write_run(experiment: Path, home: Path, run: Exported) -> None:
    """A run's folder. Its number depends on its own folder alone: a second export replaces the first."""
    identity = _digest(str(run.folder.absolute()))[:32]
    place = experiment / identity
    for part in ("params", "metrics", "tags", "artifacts"):
        (place / part).mkdir(parents=True)
    status = run.summary["status"]
    _write_meta(
        place,
        {
            "artifact_uri": (home / identity / "artifacts").as_uri(),
            "end_time": None if status == "unfinished" else _milliseconds(run.ended),
            "entry_point_name": "",
            "experiment_id": experiment.name,
            "lifecycle_stage": "active",
            "run_id": identity,
            "run_name": run.name,
            "run_uuid": identity,
            "source_name": "admmctl",
            "source_type": _LOCAL,
            "source_version": str(run.machine.get("git_commit") or ""),
            "start_time": _milliseconds(run.started),
            "status": _STATUS.get(status, _FINISHED),
            "tags": [],
            "user_id": "",
        },
    )
    _write_params(place / "params", run.settings)
    _write_metrics(place / "metrics", run)
    tags = {"mlflow.runName": run.name, "mlflow.source.name": "admmctl", "mlflow.source.type": "LOCAL"}
    words = {key: value for key, value in run.summary.items() if isinstance(value, str)}
    for key, value in {**tags, **{f"admmctl.{key}": value for key, value in words.items()}}.items():
        (place / "tags" / safe(key)).write_bytes(utf8(value))
    for key, value in run.machine.items():
        (place / "tags" / safe(f"machine.{key}")).write_bytes(utf8(str(value)))
    for name in ("config.yaml", "summary.json", "environment.json", "phases.csv", "confusion.json"):
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, place / "artifacts" / name)


def _write_params(place: Path, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        (place / safe(key)).write_bytes(utf8(str(value)[:_LONGEST]))


def _write_metrics(place: Path, run: Exported) -> None:
    """Every column of the curve by iteration; the summary's other numbers at the last one."""
    series: dict[str, list[str]] = {}
    for row in run.curve:
        moment = _milliseconds(run.started + row["wall_s"])
        for name, value in row.items():
            if name != "iteration":
                series.setdefault(safe(name), []).append(f"{moment} {value!r} {int(row['iteration'])}")
    step = int(run.curve[-1]["iteration"]) if run.curve else 0
    for name, value in run.summary.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and safe(name) not in series:
            series[safe(name)] = [f"{_milliseconds(run.ended)} {float(value)!r} {step}"]
    for key, lines in series.items():
        (place / key).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds) if math.isfinite(seconds) else 0


def _write_meta(place: Path, content: Mapping[str, Any]) -> None:
    (place / "meta.yaml").write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
