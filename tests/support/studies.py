"""Scaling studies that a test makes up: their files, without any training."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from admmctl.runs.record import Evaluation, RunFolder
from admmctl.runs.summary import Summary

SIZES = (4, 468, 4096, 65_536, 1_048_576)


def machine(cores: int, **changes: Any) -> dict[str, Any]:
    """What was measured of the machine on so many cores."""
    sizes = SIZES if cores > 1 else ()
    found = [{"bytes": size, "seconds": 1e-5 + 1e-9 * size, "verb": "allreduce"} for size in sizes]
    return {
        "ranks": cores,
        "allreduce": found,
        "exchanges": [],
        "message_bytes": [468],
        "gemm_gflops": 50.0,
        **changes,
    }


# An iteration on 64 rows, of a run that takes 4 s for ten iterations of 3,000.
SMALL = {
    "rows_per_iteration": 64,
    "phases": {"product": 6.8e-3, "elementwise": 8.5e-4, "solve": 1.6e-2},
    "cpu_phases": {},
}


def small_experiment(**changes: Any) -> dict[str, Any]:
    """An experiment that a scaling study may be made of."""
    return {
        "name": "small",
        "data": {"name": "swissroll", "rows": 400},
        "network": {"layers": [5]},
        "loss": "squared",
        "methods": {"admm": {}, "gd": {}, "linear": {}},
        "stop": {"iterations": 7, "target": 0.9},
        **changes,
    }


def write_run(
    place: Path, *, cores: int, seed: int, time: float | None, config: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A run that took ``time`` seconds of training, nine tenths of them its own rows; with None it missed.

    ``phases`` and ``cpu`` are phases.csv and cpu.csv, ``sha256`` the data's, ``environment`` what else is recorded
    of the machine; the rest goes to the summary.
    """
    took = 9.0 if time is None else time
    phases = {
        "load": (0.5, 0.5, 0.5),
        "product": (0.8 * took,) * 3,
        "elementwise": (0.1 * took,) * 3,
        "solve": (0.04 * took,) * 3,
        **({"reduce": (0.08 * took, 0.06 * took, 0.04 * took)} if cores > 1 else {}),
        "evaluate": (0.2, 0.2, 0.2),
        "rest": (0.1, 0.1, 0.1),
        "wall": (took + 0.8,) * 3,
    }
    phases, cpu = changes.pop("phases", phases), changes.pop("cpu", None)
    sha256 = changes.pop("sha256", "5eed")
    config = config or {
        "name": "made",
        "data": {"name": "swissroll", "rows": 4000},
        "network": {"layers": [10]},
        "loss": "squared",
        "methods": {"admm": {"kind": "admm"}},
        "seed": seed,
    }
    folder = RunFolder.create_at(place, yaml.safe_dump(config))
    folder.write_phases(phases)
    if cpu is not None:
        folder.write_phases(cpu, "cpu.csv")
    folder.write_environment({**changes.pop("environment", {}), "data_sha256": sha256})
    summary = {
        "experiment": "made",
        "method": "admm",
        "seed": seed,
        "metric": "test_accuracy",
        "status": "exhausted" if time is None else "reached",
        "reason": "",
        "target": 0.9,
        "time_to_target_s": time,
        "iterations": 10,
        "final_test_accuracy": None,
        "train_s": took,
        "wall_s": took + 0.8,
        "ranks": cores,
        "rows_train": 3000,
        "rows_test": 1000,
        **changes,
    }
    folder.write_summary(Summary(**summary))
    return place


class Study:
    """A study's folder, in which a test makes up runs."""

    def __init__(self, path: Path, cores: tuple[int, ...] = (1, 2), **changes: Any) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.document = {
            "kind": "scaling",
            "experiment": "made",
            "method": "admm",
            "method_kind": "admm",
            "data": "swissroll",
            "goal": "target",
            "iterations": None,
            "weak": False,
            "metric": "test_accuracy",
            "target": 0.9,
            "batch": None,
            "machine": {str(count): machine(count) for count in cores},
            "small": SMALL,
            **changes,
        }
        self.write(self.document)
        self._seeds: dict[int, int] = {}

    def write(self, document: Any) -> None:
        (self.path / "study.json").write_text(json.dumps(document))

    def run(self, cores: int, time: float | None = 1.0, **changes: Any) -> Path:
        """A run on so many cores; each has a seed of its own."""
        seed = changes.pop("seed", self._seeds.get(cores, -1) + 1)
        self._seeds[cores] = seed
        return write_run(self.path / f"admm-p{cores}-s{seed}", cores=cores, seed=seed, time=time, **changes)

    def runs(self, times: dict[int, list[float | None]], **changes: Any) -> "Study":
        """Runs by core count and seconds."""
        for cores, seconds in times.items():
            for time in seconds:
                self.run(cores, time, **changes)
        return self


def write_curve(folder: Path, losses: list[float], setup: float = 0.0, **columns: list[float]) -> None:
    """A curve of a run: ``setup`` s, then an evaluation after every iteration of 0.1 s.

    ``columns`` are the method's own.
    """
    run = RunFolder(folder)
    for number, loss in enumerate(losses):
        own = {name: values[number] for name, values in columns.items()}
        accuracy = 1 - min(loss, 1.0)
        times = (setup + 0.1 * number, setup + 0.2 * number)
        run.append(Evaluation(number, number, *times, loss, accuracy, accuracy - 0.05, own))


@dataclass(frozen=True)
class Law:
    """Runs that a test makes up: seconds of an iteration on p ranks are fixed + per_row * ceil(rows / p).

    ``iterations`` to the target are those of every repeat; None for a miss. No time goes into communication.
    """

    method: str
    iterations: Sequence[int | None]
    fixed: float
    per_row: float
    batch: int | None = None
    rows: int = 3000

    def seconds(self, cores: int) -> float:
        """Of one iteration."""
        return self.fixed + self.per_row * math.ceil(min(self.rows, self.batch or self.rows) / cores)

    def write(self, experiment: Path, cores: Sequence[int] = (1, 2, 4, 8), **changes: Any) -> Path:
        """The study's folder in that of an experiment. ``changes`` are those of study.json."""
        step = self.fixed + 64 * self.per_row
        asked: dict[str, Any] = {
            "experiment": experiment.name,
            "method": self.method,
            "method_kind": self.method,
            "batch": self.batch,
            "machine": {str(count): machine(count, message_bytes=[], allreduce=[]) for count in cores},
            "small": {"rows_per_iteration": 64, "phases": {"product": step}},
            **changes,
        }
        name = f"scaling-{self.method}-target-{self.batch or 'all'}"
        study = Study(experiment / name, tuple(cores), **asked)
        for count in cores:
            for seed, iterations in enumerate(self.iterations):
                self._write_run(study, count, seed, iterations)
        return study.path

    def _write_run(self, study: Study, cores: int, seed: int, iterations: int | None) -> None:
        made = iterations or 1000
        took = made * self.seconds(cores)
        config = {
            "name": study.document["experiment"],
            "data": {"name": "swissroll", "rows": 4000},
            "network": {"layers": [10]},
            "loss": "squared",
            "methods": {self.method: {"kind": self.method, "learning_rate": 0.1}},
            "seed": seed,
        }
        write_run(
            study.path / f"{self.method}-p{cores}-s{seed}",
            cores=cores,
            seed=seed,
            time=None if iterations is None else took,
            config=config,
            method=self.method,
            iterations=made,
            train_s=took,
            rows_train=self.rows,
            phases={"product": (took,) * 3},
        )
