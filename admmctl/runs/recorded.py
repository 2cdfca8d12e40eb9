"""The reader of run folders, for everything that reads them.

A ``Recorded`` run reads each of its files once, when it is asked for. A file that is not there yet, or is damaged,
says nothing: None, or something empty. ``damage`` says what is wrong with a file, for those who leave such a run
out, and name it.
"""

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from admmctl.runs import reading
from admmctl.runs.reading import Confusion, Curve, Environment, Phases
from admmctl.runs.summary import Row, Summary

# What runs that stand side by side are read from, and what curves are drawn from.
COMPARED = (reading.SUMMARY_FILE, reading.CONFIG, reading.ENVIRONMENT)
DRAWN = (reading.SUMMARY_FILE, reading.CONFIG, reading.CURVE)
EVERYTHING = tuple(reading.READERS)
_SIMPLE = re.compile(r"[\w@%+=:,./ -]*", re.ASCII)  # nothing is quoted: no need for shlex, which takes its time
UNFINISHED = "unfinished"  # stands for the status of a run without a summary


@dataclass(frozen=True)
class Recorded:
    """One run folder."""

    folder: Path
    _read: dict[str, tuple[Any, str]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def summary(self) -> Summary | None:
        """None while the run has not ended. Its ``rerun`` line names the folder where it is now."""
        summary, _ = self._content(reading.SUMMARY_FILE) or (None, None)
        if summary is None or summary.rerun is None:
            return summary
        return replace(summary, rerun=_from_here(summary.rerun, self.folder / reading.CONFIG))

    @property
    def config(self) -> dict[str, Any]:
        """Its resolved experiment."""
        return self._content(reading.CONFIG) or {}

    @property
    def environment(self) -> Environment:
        """Where it ran."""
        return self._content(reading.ENVIRONMENT) or Environment()

    @property
    def curve(self) -> Curve:
        """The rows of curve.csv, up to what a crash has cut off, or something else damaged."""
        return self._content(reading.CURVE) or []

    @property
    def phases(self) -> Phases:
        """Seconds by phase and column."""
        return self._content(reading.PHASES) or {}

    @property
    def cpu(self) -> Phases:
        """Processor seconds by phase and column."""
        return self._content(reading.CPU) or {}

    @property
    def shared_cores(self) -> bool:
        """Whether there were more ranks than cores. Older runs left processor seconds in that case only."""
        known = None if self.summary is None else self.summary.shared_cores
        return bool(self.cpu) if known is None else known

    @property
    def disturbed(self) -> bool:
        """Whether other work took its cores, as far as that can be told."""
        return self.row.get("disturbed") is True

    @property
    def made_up(self) -> bool:
        """Whether it read made-up data. Of a run that has not ended, its environment says so."""
        told = None if self.summary is None else self.summary.data_made_up
        return (self.environment.data_made_up if told is None else told) is True

    @property
    def confusion(self) -> Confusion | None:
        """Of the final weights."""
        return self._content(reading.CONFUSION)

    def damage(self, files: Iterable[str]) -> tuple[Path, str] | None:
        """The first of these files that is damaged, and what is wrong with it; None for a sound run.

        A file that is not there is not damaged: the run has not come so far. Its curve stands in for a summary
        then.
        """
        files = tuple(files)
        for name in (*files, reading.CURVE) if reading.SUMMARY_FILE in files and self.summary is None else files:
            self._content(name)
            if reason := self._read[name][1]:
                return self.folder / name, reason
        return None

    def _content(self, name: str) -> Any:
        if name not in self._read:
            try:
                self._read[name] = reading.READERS[name](self.folder), ""
            except reading.Damaged as reason:
                self._read[name] = reason.sound, str(reason)
        return self._read[name][0]

    # --- what its files say together

    @cached_property
    def row(self) -> Row:
        """Its folder and every field of its summary, as the file has them; of an unfinished run, what is known."""
        if self.summary is not None:
            _, found = self._content(reading.SUMMARY_FILE)
            rerun = {} if self.summary.rerun is None else {"rerun": self.summary.rerun}
            return {"folder": str(self.folder), **found, **rerun}
        last = self.curve[-1] if self.curve else {}
        return {
            "folder": str(self.folder),
            "experiment": self.folder.parent.name,
            "method": self.folder.name.rsplit("-p", 1)[0],
            "status": UNFINISHED,
            "reason": "it runs, or it was killed before it could write a summary",
            "iterations": int(last.get("iteration", 0)),
            "train_s": last.get("train_s"),
            "final_test_accuracy": last.get("test_accuracy"),
            "final_test_auc": last.get("test_auc"),
            "data_made_up": self.environment.data_made_up,
        }

    def number(self, key: str) -> float | None:
        """A number of the row; None where there is none."""
        found = self.row.get(key)
        return None if found is None or math.isnan(found) else float(found)

    def text(self, key: str) -> str:
        """A text of the row; empty where there is none."""
        return str(self.row.get(key) or "")

    @property
    def experiment(self) -> str:
        """By name."""
        return self.text("experiment") or self.folder.parent.name

    @property
    def method(self) -> str:
        """By the name that its experiment gave it."""
        return self.text("method") or self.folder.name

    @property
    def status(self) -> str:
        """How it ended, or 'unfinished'."""
        return self.text("status")

    @property
    def done(self) -> bool:
        """Whether it came to its own end."""
        return self.summary is not None and self.summary.status.done

    @property
    def data(self) -> dict[str, Any]:
        """The data block of its experiment."""
        return self.config.get("data", {})

    @property
    def data_name(self) -> str:
        """The name of its dataset, which says so where that is made up."""
        return f"{self.data.get('name', 'data unknown')}{' (made-up data)' if self.made_up else ''}"

    @property
    def method_block(self) -> tuple[str, dict[str, Any]]:
        """Its method, and the block of settings of that."""
        name, block = next(iter((self.config.get("methods") or {self.method: {}}).items()))
        return name, block or {}


def _from_here(line: str, config: Path) -> str:
    """A recorded command line on a run's ``config``, whose folder may have been moved or copied since then."""
    if shlex.quote(str(config)) in line:
        return line
    try:
        parts = line.split() if _SIMPLE.fullmatch(line) else shlex.split(line)
    except ValueError:
        parts = []
    if parts[:2] != ["admmctl", "train"] or len(parts) < 3 or Path(parts[2]).name != config.name:
        return line
    try:
        if Path(parts[2]).samefile(config):
            return line
    except (OSError, ValueError):
        if not config.is_file():
            return line
    return shlex.join([*parts[:2], str(config), *parts[3:]])
