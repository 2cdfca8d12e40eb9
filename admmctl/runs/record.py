"""The run folder: what a run leaves behind, written so that a run that died is still readable.

``results/<experiment>/<method>-p<ranks>-s<seed>-<hash>/`` holds config.yaml, curve.csv, phases.csv,
summary.json, environment.json, weights.npz and log.txt; cpu.csv, the processor time by phase, where ranks shared
cores; and checkpoint/ until the run has come to its end. Only rank 0, or the driver, writes.
"""

import csv
import io
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from admmctl.errors import UserError
from admmctl.files import atomic, write_json
from admmctl.model.network import Weights

CURVE_COLUMNS = (
    "iteration",
    "epoch",
    "train_s",
    "wall_s",
    "train_loss",
    "train_accuracy",
    "test_accuracy",
)


DONE = ("reached", "exhausted", "diverged")  # the status of a run that came to its own end
PHASE_COLUMNS = ("max_s", "mean_s", "min_s")
Phases = Mapping[str, tuple[float, float, float]]  # largest, mean and smallest seconds over ranks


def root() -> Path:
    """Where results live: ``./results``, or what ADMMCTL_RESULTS names."""
    return Path(os.environ.get("ADMMCTL_RESULTS") or "results")


@dataclass
class Evaluation:
    """One row of curve.csv. Times in seconds; ``residuals`` are the method's own columns."""

    iteration: int
    epoch: float
    train_s: float
    wall_s: float
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    residuals: dict[str, float]
    validation_accuracy: float | None = None
    test_loss: float | None = None  # the mean over test rows

    def row(self) -> dict[str, float]:
        row = {name: getattr(self, name) for name in CURVE_COLUMNS}
        if self.validation_accuracy is not None:
            row["validation_accuracy"] = self.validation_accuracy
        if self.test_loss is not None:
            row["test_loss"] = self.test_loss
        return row | self.residuals


class RunFolder:
    """One run's folder, open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []

    @classmethod
    def create(cls, name: str, experiment: str, config: str) -> "RunFolder":
        """A new folder with its config. An existing one is kept: the new one ends in -2, -3, ...

        Raises UserError when the folder cannot be written.
        """
        parent = root() / experiment
        try:
            parent.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                path = parent / (name if number == 1 else f"{name}-{number}")
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    number += 1
            folder = cls(path)
            try:
                with atomic(path / "config.yaml") as file:
                    file.write(config)
            except OSError:
                folder.discard()
                raise
        except OSError as error:
            raise UserError(
                f"the results folder {parent} cannot be written ({error.strerror}); "
                "change its permissions, or name another one in ADMMCTL_RESULTS"
            ) from None
        return folder

    @classmethod
    def create_at(cls, path: Path, config: str) -> "RunFolder":
        """A run folder at a place of its own, made anew where an unfinished one was."""
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        with atomic(path / "config.yaml") as file:
            file.write(config)
        return cls(path)

    @classmethod
    def reopen(cls, path: Path, config: str) -> "RunFolder":
        """The folder of a run that goes on, its settings written anew; it has no summary until it ends.

        Raises UserError when the folder cannot be written.
        """
        try:
            with atomic(path / "config.yaml") as file:
                file.write(config)
            (path / "summary.json").unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); change its permissions") from None
        return cls(path)

    def discard(self) -> None:
        """Remove the folder of a run that never started, and the experiment's folder when it is empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def append(self, evaluation: Evaluation, path: Path | None = None) -> None:
        """Add a row to curve.csv, or to another file: one write, so that a reader sees whole rows."""
        row = evaluation.row()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        writer.writerow([_number(row[column]) for column in self._columns])
        with (path or self.path / "curve.csv").open("a") as file:
            file.write(text.getvalue())

    def rewrite(self, evaluations: Iterable[Evaluation]) -> None:
        """Make curve.csv one of these rows alone: a run goes on from there."""
        self._columns = []
        fresh = self.path / ".curve.csv.part"
        fresh.unlink(missing_ok=True)
        for evaluation in evaluations:
            self.append(evaluation, fresh)
        if self._columns:
            fresh.replace(self.path / "curve.csv")
        else:
            (self.path / "curve.csv").unlink(missing_ok=True)

    def log(self, line: str) -> None:
        """Add a line to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(line.rstrip("\n") + "\n")

    def write_phases(self, phases: Phases, name: str = "phases.csv") -> None:
        """Seconds of every phase, the largest, mean and smallest over ranks; of processor time in ``cpu.csv``."""
        with atomic(self.path / name) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["phase", *PHASE_COLUMNS])
            for phase, seconds in phases.items():
                writer.writerow([phase, *(_number(s) for s in seconds)])

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_json(self.path / "environment.json", environment)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_json(self.path / "summary.json", summary)

    def write_confusion(self, confusion: Mapping[str, Any]) -> None:
        write_json(self.path / "confusion.json", confusion)

    def write_weights(self, weights: Mapping[str, Weights], constants: Mapping[str, Any]) -> None:
        """weights.npz: arrays only, never a pickle.

        For each iterate ("best", "final"): best_W1, best_b1, ... of shapes (k_l, k_{l-1}) and (k_l,).
        ``constants`` are what a prediction needs besides: scaling, classes, activation.
        """
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in constants.items()}
        for iterate, W in weights.items():
            for l, W_l in enumerate(W, start=1):
                if constants["bias"]:
                    arrays[f"{iterate}_W{l}"], arrays[f"{iterate}_b{l}"] = W_l[:, :-1], W_l[:, -1]
                else:
                    arrays[f"{iterate}_W{l}"] = W_l
        with atomic(self.path / "weights.npz", "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def _number(value: float) -> str:
    """Enough digits to compare runs; whole numbers stay whole."""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def read_summary(path: Path) -> dict[str, Any] | None:
    """A run's summary, or None while there is none. Its ``rerun`` line names the folder where it is now."""
    try:
        summary = json.loads((path / "summary.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(summary, dict) or "status" not in summary:
        return None
    if isinstance(summary.get("rerun"), str):
        summary["rerun"] = _from_here(summary["rerun"], path / "config.yaml")
    return summary


def _from_here(line: str, config: Path) -> str:
    """A recorded command line on a run's ``config``, whose folder may have been moved or copied since then."""
    if shlex.quote(str(config)) in line:
        return line
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    ours = words[:2] == ["admmctl", "train"] and len(words) > 2 and Path(words[2]).name == config.name
    if not ours or not exists(config) or (exists(Path(words[2])) and Path(words[2]).samefile(config)):
        return line
    return shlex.join([*words[:2], str(config), *words[3:]])


def read_environment(path: Path) -> dict[str, Any]:
    """Where a run ran; empty while that is not recorded, or when it is damaged."""
    try:
        found = json.loads((path / "environment.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_phases(path: Path, name: str = "phases.csv") -> dict[str, dict[str, float]]:
    """phases.csv, or cpu.csv, by phase and column; empty while there is none, or when it is damaged."""
    try:
        with (path / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {row.pop("phase"): {column: float(value) for column, value in row.items()} for row in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_curve(path: Path) -> list[dict[str, float]]:
    """The rows of curve.csv; what a crash has cut off, or something else damaged, is left out."""
    try:
        heading, *lines = (path / "curve.csv").read_text().split("\n")[:-1]
    except (OSError, ValueError):
        return []
    columns = heading.split(",")
    if columns[: len(CURVE_COLUMNS)] != list(CURVE_COLUMNS):
        return []
    rows = []
    for line in lines:
        values = line.split(",")
        if len(values) != len(columns):
            break
        try:
            rows.append(dict(zip(columns, map(float, values), strict=True)))
        except ValueError:
            break
    return rows


def is_run(path: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (path / "config.yaml").is_file()


def find(names: list[str] | None = None) -> list[Path]:
    """The run folders that RUN arguments name: run folders, or experiment folders with runs in them.

    Without names, all in the results folder. Other files are ignored, so that a shell's glob may name them.
    Raises UserError when a name does not exist or nothing is found.
    """
    places = [Path(name) for name in names] if names else [root()]
    found: list[Path] = []
    for place in places:
        if not exists(place):
            if not names:
                continue
            if not exists(root() / place):
                raise UserError(f"{place}: there is no such run; see: admmctl runs list")
            place = root() / place  # 'mnist01' for 'results/mnist01' is what a user means
        if is_run(place):
            found.append(place)
        elif place.is_dir():
            inner = [path for path in sorted(place.iterdir()) if path.is_dir()]
            found += [path for path in inner if is_run(path)]
            if not names or place.resolve() == root().resolve():
                found += [path for folder in inner for path in sorted(folder.iterdir()) if is_run(path)]
    unique = list(dict.fromkeys(found))
    if names and not unique:
        raise UserError(f"no runs in {', '.join(names)}; see: admmctl runs list")
    return unique


def exists(place: Path) -> bool:
    """Whether a path exists; a name that is too long, or not allowed, does not."""
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


def rerun_line(
    folder: Path, ranks: int, threads: int | None, launch: Sequence[str] = (), resume: bool = False
) -> str:
    """A command line that does the run again, or goes on with it; ``launch``: its words on how ranks start."""
    words = ["admmctl", "train", str(folder / "config.yaml"), "--cores", str(ranks)]
    if threads not in (None, 1):
        words += ["--threads", str(threads)]
    words += launch
    if resume:
        words.append("--resume")
    return shlex.join(words)
