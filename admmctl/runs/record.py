"""The run folder: what a run leaves behind, written so that a run that died is still readable.

``results/<experiment>/<method>-p<ranks>-s<seed>-<hash>/`` holds config.yaml, curve.csv, phases.csv and
cpu.csv, time and processor time by phase, summary.json, environment.json, weights.npz and log.txt; and checkpoint/
until the run has come to its end. Only rank 0, or the driver, writes.
"""

import csv
import io
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from admmctl.errors import UserError
from admmctl.files import atomic, write_json
from admmctl.folders import discard, make_folder
from admmctl.model.network import Weights
from admmctl.runs import reading
from admmctl.runs.clock import Phases
from admmctl.runs.places import root
from admmctl.runs.summary import Summary


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
    test_auc: float | None = None  # of two classes

    def row(self) -> dict[str, float]:
        row = {name: getattr(self, name) for name in reading.CURVE_COLUMNS}
        for name in ("validation_accuracy", "test_loss", "test_auc"):
            if (value := getattr(self, name)) is not None:
                row[name] = value
        return row | self.residuals


def new_folder(parent: Path, name: str) -> Path:
    """A new folder of results; an existing one is kept: the new one ends in -2, -3, ... Raises UserError."""
    try:
        make_folder(parent)
        number = 1
        while True:
            path = parent / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
    except OSError as error:
        raise _unwritable(parent, error) from None


def _unwritable(parent: Path, error: OSError) -> UserError:
    return UserError(
        f"the results folder {parent} cannot be written ({error.strerror}); "
        "change its permissions, or name another one in ADMMCTL_RESULTS"
    )


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
        folder = cls(new_folder(root() / experiment, name))
        try:
            folder._write_config(config)
        except OSError as error:
            folder.discard()
            raise _unwritable(folder.path.parent, error) from None
        return folder

    @classmethod
    def create_at(cls, path: Path, config: str) -> "RunFolder":
        """A run folder at a place of its own, made anew where an unfinished one was."""
        discard(path)
        path.mkdir(parents=True)
        folder = cls(path)
        folder._write_config(config)
        return folder

    @classmethod
    def reopen(cls, path: Path, config: str) -> "RunFolder":
        """The folder of a run that goes on, its settings written anew; it has no summary until it ends.

        Raises UserError when the folder cannot be written.
        """
        folder = cls(path)
        try:
            folder._write_config(config)
            (path / reading.SUMMARY_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); change its permissions") from None
        return folder

    def _write_config(self, config: str) -> None:
        with atomic(self.path / reading.CONFIG) as file:
            file.write(config)

    def discard(self) -> None:
        """Remove the folder of a run that never started, and the experiment's folder when it is empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # not empty, or a link
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
        with (path or self.path / reading.CURVE).open("a") as file:
            file.write(text.getvalue())

    def rewrite(self, evaluations: Iterable[Evaluation]) -> None:
        """Replace curve.csv by these rows: a run goes on after them."""
        self._columns = []
        fresh = self.path / ".curve.csv.part"
        fresh.unlink(missing_ok=True)
        for evaluation in evaluations:
            self.append(evaluation, fresh)
        if self._columns:
            fresh.replace(self.path / reading.CURVE)
        else:
            (self.path / reading.CURVE).unlink(missing_ok=True)

    def log(self, line: str) -> None:
        """Add a line to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(line.rstrip("\n") + "\n")

    def write_phases(self, phases: Phases, name: str = reading.PHASES) -> None:
        """Seconds of every phase, the largest, mean and smallest over ranks; of processor time in ``cpu.csv``."""
        with atomic(self.path / name) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["phase", *reading.PHASE_COLUMNS])
            for phase, seconds in phases.items():
                writer.writerow([phase, *(_number(s) for s in seconds)])

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_json(self.path / reading.ENVIRONMENT, environment)

    def write_summary(self, summary: Summary) -> None:
        write_json(self.path / reading.SUMMARY_FILE, asdict(summary))

    def write_confusion(self, confusion: Mapping[str, Any]) -> None:
        write_json(self.path / reading.CONFUSION, confusion)

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


def rerun_line(
    folder: Path, ranks: int, threads: int | None, launch: Sequence[str] = (), resume: bool = False
) -> str:
    """A command line that does the run again, or goes on with it; ``launch``: its options on how ranks start."""
    line = ["admmctl", "train", str(folder / reading.CONFIG), "--cores", str(ranks)]
    if threads not in (None, 1):
        line += ["--threads", str(threads)]
    line += launch
    if resume:
        line.append("--resume")
    return shlex.join(line)
