"""What figures of curves are drawn from: run folders, grouped into repeats of one method."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.text import count
from admmctl.runs.reading import Curve
from admmctl.runs.recorded import Recorded, read_config, read_environment, read_summary


@dataclass(frozen=True)
class Group:
    """Repeats of one method on one number of ranks. Its label is ``method`` and what not all of them share."""

    experiment: str
    method: str
    kind: str
    ranks: int
    seeds: list[Any]
    curves: list[Curve]

    def parts(self) -> tuple[str, str, str, str]:
        """What tells it from others: experiment, method, ranks, repeats."""
        repeats = f"seed {self.seeds[0]}" if len(self.curves) == 1 else f"median of {len(self.curves)}"
        return self.experiment, self.method, count(self.ranks, "rank"), repeats


def grouped(runs: list[tuple[Path, Curve]]) -> list[Group]:
    """Repeats of a method on a number of ranks together, in the order of the runs."""
    groups: dict[tuple[str, str, int], Group] = {}
    for folder, curve in runs:
        summary = read_summary(folder) or {}
        method, block = method_block(folder, summary)
        ranks = int(summary.get("ranks") or 1)
        key = (str(folder.parent), method, ranks)
        group = groups.setdefault(key, Group(folder.parent.name, method, style.kind(method, block), ranks, [], []))
        group.seeds.append(summary.get("seed", "?"))
        group.curves.append(curve)
    return list(groups.values())


def say_mixed_data(folders: Iterable[Path], say: Callable[[str], None]) -> None:
    """Tell of runs with one data block that read different rows: files may have changed between them."""
    read: dict[str, dict[str, Path]] = {}
    for folder in folders:
        block, sha256 = read_config(folder).get("data"), read_environment(folder).get("data_sha256")
        if sha256 is not None:
            read.setdefault(json.dumps(block, sort_keys=True), {}).setdefault(sha256, folder)
    for different in read.values():
        if len(different) > 1:
            first, second, *_ = different.values()
            say(f"{first} and {second} are of one data block, and read different data: the files have changed")


def spread(groups: list[Group], column: str) -> float:
    """The longest training over the shortest."""
    ends = [curve[-1][column] for group in groups for curve in group.curves if curve[-1][column] > 0]
    return max(ends) / min(ends) if ends else 1.0


def targets(runs: list[tuple[Path, Curve]], metric: str) -> set[float]:
    """The targets of that metric, which end runs."""
    summaries = [read_summary(folder) or {} for folder, _ in runs]
    wanted = [s for s in summaries if s.get("target") is not None and s.get("metric") == metric]
    return {float(s["target"]) for s in wanted}


def method_block(folder: Path, summary: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A run's method, and its block of settings."""
    return Recorded(folder).method_block


def with_column(runs: list[tuple[Path, Curve]], of: str, say: Callable[[str], None]) -> list[tuple[Path, Curve]]:
    """The runs that recorded ``of``. Raises UserError when none has."""
    having = [(folder, curve) for folder, curve in runs if of in curve[0]]
    if not having:
        columns = dict.fromkeys(name for _, curve in runs for name in curve[0])
        raise UserError(f"--of {of}: no run has it; valid: {', '.join(columns)}")
    kept = {folder for folder, _ in having}
    for folder, _ in runs:
        if folder not in kept:
            say(f"left out: {folder} has no {of}")
    return having


def labelled(groups: list[Group]) -> tuple[list[str], str]:
    """A label for every curve, and the title: what all share is said once, there."""
    parts = [group.parts() for group in groups]
    shared = [len({each[place] for each in parts}) == 1 for place in range(4)]
    labels = []
    for experiment, method, *rest in parts:
        own = [words for words, same in zip(rest, shared[2:], strict=True) if not same]
        labels.append(style.plain(("" if shared[0] else f"{experiment}: ") + ", ".join([method, *own])))
    experiments = ", ".join(sorted({group.experiment for group in groups}))
    rest = [words for words, same in zip(parts[0][2:], shared[2:], strict=True) if same]
    return labels, style.plain(", ".join([experiments, *rest]))
