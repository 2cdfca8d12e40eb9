"""Old and new runs, made up by a test, for the gate that holds them against each other."""

from pathlib import Path
from typing import Any

from admmctl.report.gate import Gate, Gated, gate
from admmctl.runs.recorded import Recorded
from support.studies import write_run

SIX = (1.0, 1.3, 0.8, 2.0, 1.1, 1.6)  # by seed: seeds differ by more than any margin
HERE = {"cpu": ["Some CPU"], "hosts": ["here"], "cores": 2}


class Sides:
    """Two folders, in which a test makes up runs of one experiment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, side: str, times: Any, method: str = "admm", seeds: Any = None, **changes: Any) -> None:
        """Runs that took these seconds to the target, or missed it, with seeds from 0 on."""
        block, stop = changes.pop("block", {"kind": "admm"}), changes.pop("stop", {})
        data = changes.pop("data", {"name": "swissroll", "rows": 400})
        for seed, time in zip(seeds or range(len(times)), times, strict=True):
            config = {
                "name": side,
                "data": data,
                "network": {"layers": [4]},
                "loss": "squared",
                "methods": {method: block},
                "stop": {"metric": "test_accuracy", "target": 0.9, "iterations": 100, **stop},
                "seed": seed,
            }
            given = {"environment": HERE, "method": method, **changes}
            place = self.path / side / f"{method}-s{seed}-{len(list(self.path.glob('*/*')))}"
            write_run(place, cores=given.pop("ranks", 1), seed=seed, time=time, config=config, **given)

    def gate(self, margin: float = 0.05, **options: Any) -> Gate:
        sides = ([Recorded(run) for run in sorted((self.path / side).iterdir())] for side in ("old", "new"))
        return gate(*sides, margin, **options)

    def row(self, margin: float = 0.05) -> Gated:
        (row,) = self.gate(margin).methods
        return row
