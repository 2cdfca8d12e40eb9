"""Runs as the report needs them: everything in their folders, whatever state that is in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from admmctl.report import style
from admmctl.report.curves import method_block
from admmctl.report.tables import read_runs
from admmctl.runs.recorded import Curve, read_config, read_curve, read_environment, read_phases


@dataclass(frozen=True)
class Recorded:
    """One run folder. What it lacks, or what is damaged in it, is None or empty."""

    folder: Path
    summary: dict[str, Any]

    @property
    def experiment(self) -> str:
        return self.words("experiment") or self.folder.parent.name

    @property
    def method(self) -> str:
        return self.words("method") or self.folder.name

    @property
    def status(self) -> str:
        return self.words("status")

    @cached_property
    def kind(self) -> str:
        """What its colour goes by, in the figures too."""
        return style.kind(*method_block(self.folder, self.summary))

    @cached_property
    def curve(self) -> Curve:
        return read_curve(self.folder)

    @cached_property
    def environment(self) -> dict[str, Any]:
        return read_environment(self.folder)

    @cached_property
    def phases(self) -> dict[str, dict[str, float]]:
        return read_phases(self.folder)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The data block of its experiment."""
        return dict(read_config(self.folder).get("data", {}))

    def words(self, key: str) -> str:
        """A text of the summary; empty where there is none."""
        found = self.summary.get(key)
        return found if isinstance(found, str) else ""

    def number(self, key: str) -> float | None:
        """A number of the summary; None where there is none."""
        found = self.summary.get(key)
        if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > 1e300:
            return None
        return None if math.isnan(found) else float(found)

    def points(self) -> list[tuple[float, float]]:
        """(train_s, test accuracy) of every evaluation that has both."""
        pairs = ((row["train_s"], row["test_accuracy"]) for row in self.curve)
        return [pair for pair in pairs if all(map(math.isfinite, pair))]

    def machine(self) -> str:
        """Processor and cores, as its environment has them; empty where it does not."""
        cpu = self.environment.get("cpu")
        names = ", ".join(map(str, cpu)) if isinstance(cpu, list) else str(cpu or "")
        cores = self.environment.get("cores")
        return f"{names} ({cores} cores)" if names and isinstance(cores, int) else names

    def hosts(self) -> list[str]:
        """The machines' names."""
        found = self.environment.get("hosts")
        return list(map(str, found)) if isinstance(found, list) else []


def recorded(folders: Iterable[Path]) -> list[Recorded]:
    """The runs in these folders."""
    return [Recorded(Path(run["folder"]), run) for run in read_runs(list(folders))]


def by_experiment(runs: list[Recorded]) -> dict[str, list[Recorded]]:
    """Runs of one experiment together, experiments by name."""
    found: dict[str, list[Recorded]] = {}
    for run in sorted(runs, key=lambda run: run.experiment):
        found.setdefault(run.experiment, []).append(run)
    return found
