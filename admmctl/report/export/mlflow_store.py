"""MLflow's store: one SQLite file, written by MLflow itself, and beside it the files of every run."""

import hashlib
import json
import logging
import math
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from admmctl.errors import UserError
from admmctl.report.export.source import Exported, safe, utf8

FILE = "mlflow.db"
_LONGEST, _LONGEST_TAG, _LONGEST_NAME = 6000, 8000, 500  # characters that MLflow takes
_METRICS, _PARAMS = 800, 100  # as many at once
_STATUS = {"failed": "FAILED", "interrupted": "KILLED", "unfinished": "RUNNING"}  # else FINISHED
_SOURCE, _CONTENT = "admmctl.source", "admmctl.content"  # tags: which folder, and what it held
_FILES = ("config.yaml", "summary.json", "environment.json", "phases.csv", "confusion.json")


def write(runs: list[Exported], folder: Path, home: Path, say: Callable[[int, int], None]) -> None:
    """The store in ``folder``, which is to be at ``home``, with the runs that are in the one at ``home``.

    A run that is there as it is now stays; one that has changed is written anew, and the old one is deleted as
    MLflow does it: ``mlflow gc`` removes it for good.
    """
    with tempfile.TemporaryDirectory() as other:  # a path of which no character means something in an address
        file = Path(other, FILE)
        if (home / FILE).exists():
            _copy(home / FILE, file)
        with _store(file, home) as store:
            for done, run in enumerate(runs):
                say(done, len(runs))
                place = Path("artifacts", safe(run.experiment))
                identity = _write_run(store, _experiment(store, run.experiment, home / place), run)
                artifacts = folder / place / identity / "artifacts"
                artifacts.mkdir(parents=True)
                for name in _FILES:
                    if (run.folder / name).is_file():
                        shutil.copyfile(run.folder / name, artifacts / name)
        shutil.copyfile(file, folder / FILE)


def _copy(source: Path, target: Path) -> None:
    """Copy a database, with what SQLite keeps of it in files beside it."""
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        raise UserError(f"{source}: cannot be read as a store of MLflow ({error}); name another folder") from None


@contextmanager
def _store(file: Path, home: Path) -> Iterator[Any]:
    """MLflow's own store, which says nothing, to nobody."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for name in ("mlflow", "alembic"):  # to import it sets this anew
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        store = SqlAlchemyStore(f"sqlite:///{file}", (home / "artifacts").as_uri())
        try:
            yield store
        finally:
            store._dispose_engine()
    except MlflowException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{home / FILE}: MLflow does not take it ({reason}); name another folder") from None


def _experiment(store: Any, name: str, place: Path) -> str:
    """The number of the experiment, which is made when it is not there."""
    name = _text(name, _LONGEST_NAME)
    found = store.get_experiment_by_name(name)
    if found is None:
        return store.create_experiment(name, place.as_uri(), [])
    if found.lifecycle_stage != "active":
        store.restore_experiment(found.experiment_id)
    return found.experiment_id


def _write_run(store: Any, experiment: str, run: Exported) -> str:
    """Write a run, unless it is there as it is; its name in the store."""
    from mlflow.entities import Metric, Param, RunStatus, RunTag, ViewType

    source, content = _digest(str(run.folder.absolute())), _digest(_content(run))
    everywhere = [found.experiment_id for found in store.search_experiments(ViewType.ALL)]
    there = store.search_runs(everywhere, f"tags.`{_SOURCE}` = '{source}'", ViewType.ACTIVE_ONLY)
    for old in there:
        if old.data.tags.get(_CONTENT) == content and old.info.experiment_id == experiment:
            return old.info.run_id
    for old in there:
        store.delete_run(old.info.run_id)
    started, ended = _milliseconds(run.started), _milliseconds(run.ended)
    identity = store.create_run(experiment, "", started, [], run.name).info.run_id
    params = [Param(key, value) for key, value in _params(run).items()]
    tags = [RunTag(key, value) for key, value in _tags(run).items()]
    metrics = [Metric(*point) for point in _metrics(run)]
    for block in _blocks(params, _PARAMS):
        store.log_batch(identity, [], block, [])
    for block in _blocks(metrics, _METRICS):
        store.log_batch(identity, block, [], [])
    for block in _blocks(tags, _PARAMS):
        store.log_batch(identity, [], [], block)
    store.log_batch(identity, [], [], [RunTag(_SOURCE, source), RunTag(_CONTENT, content)])
    status = _STATUS.get(run.summary["status"], "FINISHED")
    end = None if status == "RUNNING" else ended
    store.update_run_info(identity, RunStatus.from_string(status), end, None)
    return identity


def _content(run: Exported) -> str:
    parts = (run.started, run.summary, run.settings, run.machine, run.curve)
    return json.dumps(parts, default=str)


def _params(run: Exported) -> dict[str, str]:
    return {safe(key): _text(value, _LONGEST) for key, value in run.settings.items()}


def _tags(run: Exported) -> dict[str, str]:
    tags: Mapping[str, Any] = {
        "mlflow.source.name": "admmctl",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": run.machine.get("git_commit") or "",
        **{f"admmctl.{key}": value for key, value in run.summary.items() if isinstance(value, str)},
        **{f"machine.{key}": value for key, value in run.machine.items()},
    }
    return {safe(key): _text(value, _LONGEST_TAG) for key, value in tags.items()}


def _metrics(run: Exported) -> Iterator[tuple[str, float, int, int]]:
    """Every column of the curve by iteration; the summary's other numbers at the last one."""
    names = {"iteration"}
    step = 0
    for row in run.curve:
        step = int(row["iteration"])
        for name, value in row.items():
            names.add(safe(name))
            if name != "iteration":
                yield safe(name), value, _milliseconds(run.started + row["wall_s"]), step
    for name, value in run.summary.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and safe(name) not in names:
            yield safe(name), float(value), _milliseconds(run.ended), step


def _blocks(entries: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _text(value: Any, longest: int) -> str:
    return utf8(str(value)).decode()[:longest]


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds) if math.isfinite(seconds) else 0
