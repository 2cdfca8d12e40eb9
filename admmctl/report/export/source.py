"""What a run folder holds, ready to be written in another format."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from admmctl.runs.recorded import Recorded


@dataclass(frozen=True)
class Exported:
    """One run: its name among all that are exported, and what its folder says, as far as it goes.

    ``settings`` and ``machine`` are flat: network.layers, packages.numpy. ``started`` is in seconds since 1970.
    """

    name: str
    folder: Path
    experiment: str
    summary: dict[str, Any]
    settings: dict[str, Any]
    machine: dict[str, Any]
    curve: list[dict[str, float]]
    started: float

    @property
    def ended(self) -> float:
        """In seconds since 1970; of an unfinished run, its last evaluation."""
        last = self.curve[-1]["wall_s"] if self.curve else 0.0
        return self.started + max(self.summary.get("wall_s") or 0.0, last)


def read_all(runs: list[Recorded]) -> list[Exported]:
    """All runs, each with a name that no other has."""
    taken: set[str] = set()
    found = []
    for run in map(_read, runs):
        name, number = run.name, 1
        while name in taken:
            number += 1
            name = f"{run.name}-{number}"
        taken.add(name)
        found.append(replace(run, name=name))
    return found


def _read(run: Recorded) -> Exported:
    folder = run.folder
    experiment = str(run.config.get("name") or run.experiment)
    parts = [experiment, folder.absolute().name]
    if folder.absolute().parent.name != experiment:
        parts.insert(1, folder.absolute().parent.name)  # a run of a study
    return Exported(
        name="/".join(map(safe, parts)),
        folder=folder,
        experiment=experiment,
        summary=run.row,
        settings=flat(run.config),
        machine=flat(run.environment.facts),
        curve=run.curve,
        started=(folder / "config.yaml").stat().st_mtime,  # written when a run starts
    )


def flat(block: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Blocks within blocks as keys with dots; a list is one value, written as JSON."""
    found: dict[str, Any] = {}
    for key, value in block.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            found.update(flat(value, f"{name}."))
        else:
            found[name] = json.dumps(value, default=str) if isinstance(value, list) else value
    return found


def utf8(text: str) -> bytes:
    """What other programs read, with the bytes of a path that is no text spelled out."""
    return text.encode("utf-8", "backslashreplace")


def safe(name: str) -> str:
    """``name`` as the name of a file, anywhere: what is not a letter, a digit or one of ``._-`` becomes ``_``."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:150]
    return name if name.strip(".") else f"_{name}"


def columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every key of any row, in order of appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))
