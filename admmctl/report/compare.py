"""``runs compare``: methods side by side, over their repeats."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.text import Text

from admmctl.errors import UserError
from admmctl.report.tables import MADE_UP, Plain
from admmctl.report.text import interval, number, seconds
from admmctl.runs.reading import CONFIG
from admmctl.runs.recorded import COMPARED, Recorded
from admmctl.runs.summary import Summary
from admmctl.studies.statistics import Median, median, verdicts


@dataclass(frozen=True)
class Ended:
    """A run that has ended. ``data`` is its data block as text: runs that are compared share it.

    ``settings`` is a short digest of everything but data, target and seed: runs that are repeats share it.
    """

    run: Recorded
    summary: Summary
    data: str
    settings: str

    @classmethod
    def read(cls, run: Recorded) -> "Ended | None":
        """None for a run that has not ended. Raises UserError for one without settings."""
        if run.summary is None:
            return None
        config = run.config
        if not config:
            problem = run.damage((CONFIG,)) or (run.folder, "no settings")
            raise UserError("{}: {}; leave this run out".format(*problem))
        budget = {key: value for key, value in config.get("stop", {}).items() if key not in ("metric", "target")}
        keys = ("network", "loss", "methods", "evaluate")
        settings = json.dumps([*(config.get(key) for key in keys), budget], sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        return cls(run, run.summary, json.dumps(config["data"], sort_keys=True), digest)

    @property
    def data_sha256(self) -> str | None:
        """The checksum of the rows that it read, where one is recorded."""
        return self.run.environment.data_sha256


_CHECKSUM = "the checksum of the data"
# What all runs of a comparison share.
_QUESTION: dict[str, Callable[[Ended], Any]] = {
    "data": lambda ended: ended.data,
    _CHECKSUM: lambda ended: ended.data_sha256,
    "the metric of the target": lambda ended: ended.summary.metric,
    "the target": lambda ended: ended.summary.target,
}


def comparable(runs: Iterable[Recorded]) -> list[list[Ended]]:
    """Groups of repeats, of runs that can be compared: a group is one method with one set of settings.

    Unfinished runs are left out. Raises UserError where none has finished, and where data or target differ.
    """
    groups: dict[tuple[Any, ...], list[Ended]] = {}
    for one in of_one_question(runs):
        key = (one.summary.method, one.summary.ranks, one.summary.threads_per_rank, one.settings)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def of_one_question(runs: Iterable[Recorded]) -> list[Ended]:
    """Those that have ended. Raises UserError where none has, and where data or target differ."""
    ended = [found for run in runs if (found := Ended.read(run)) is not None]
    if not ended:
        raise UserError("none of these runs has finished: there is nothing to compare")
    for what, value_of in _QUESTION.items():
        # A run that broke before it knew its data has no checksum.
        asked = [one for one in ended if what != _CHECKSUM or one.data_sha256]
        for one in asked:
            if value_of(one) != value_of(asked[0]):
                raise UserError(
                    f"these runs cannot be compared, {what} differs:\n"
                    f"  {asked[0].run.folder}: {value_of(asked[0])}\n  {one.run.folder}: {value_of(one)}\n"
                    "name runs that share it"
                )
    return ended


def in_sets(runs: Iterable[Recorded]) -> list[list[Recorded]]:
    """Runs that have ended and are not damaged, in sets that ``compare`` takes: each shares data and target."""
    sets: dict[tuple[Any, ...], list[Recorded]] = {}
    for run in runs:
        ended = Ended.read(run) if run.damage(COMPARED) is None else None
        if ended is not None:
            key = tuple(value_of(ended) for value_of in _QUESTION.values())
            sets.setdefault(key, []).append(run)
    return list(sets.values())


@dataclass(frozen=True)
class Repeats:
    """One method with one set of settings: how many seeds it ran with, and how many of them met the target."""

    method: str
    settings: str
    ranks: int
    threads_per_rank: int | None
    runs: int
    reached: int

    def name(self, among: Iterable["Repeats"]) -> str:
        """Its method; with its settings where others ``among`` these have the same method."""
        several = sum(other.method == self.method for other in among) > 1
        return f"{self.method} ({self.settings})" if several else self.method

    def share(self, target: float | None) -> str:
        """How many runs met the target, of how many: '4/6', and '-/6' without a target."""
        return f"{'-' if target is None else self.reached}/{self.runs}"


@dataclass(frozen=True)
class Compared(Repeats):
    """A row of the comparison: medians over seeds, with intervals where there are enough of them."""

    time_to_target_s: float
    time_to_target_low_s: float | None
    time_to_target_high_s: float | None
    final_test_accuracy: float
    final_test_accuracy_low: float | None
    final_test_accuracy_high: float | None
    final_test_auc: float | None
    final_test_auc_low: float | None
    final_test_auc_high: float | None
    train_s: float
    seeds: list[int]
    disturbed: int  # of its runs: other work took their cores
    verdict: str | None


@dataclass(frozen=True)
class Comparison:
    """What ``runs compare --json`` prints."""

    experiment: str
    metric: str
    target: float | None
    methods: list[Compared]
    data_made_up: bool


def compare(runs: Iterable[Recorded]) -> Comparison:
    """Medians and intervals per method and ranks. Raises UserError when runs cannot be compared.

    Failed runs count as misses. A method with runs that were disturbed gets no verdict, and is the rival of none.
    Made-up data give no verdict at all.
    """
    groups = comparable(runs)
    first = groups[0][0].summary
    times = [median(times_to_target(repeats)) for repeats in groups]
    disturbed = [_disturbed(repeats) for repeats in groups]
    made_up = any(one.run.made_up for repeats in groups for one in repeats)
    found: list[str | None] = [MADE_UP if made_up else None] * len(groups)
    if first.target is not None and not made_up:
        found = _verdicts(times, disturbed)
    rows = [_row(*each) for each in zip(groups, times, found, strict=True)]
    return Comparison(first.experiment, first.metric, first.target, rows, made_up)


def _disturbed(repeats: list[Ended]) -> int:
    return sum(one.run.disturbed for one in repeats)


def _verdicts(times: list[Median], disturbed: list[int]) -> list[str | None]:
    """A verdict on each time of which no run was disturbed. Nothing is the fastest beside one that was."""
    quiet = [time for time, many in zip(times, disturbed, strict=True) if not many]
    made = iter(verdicts(quiet))
    found: list[str | None] = [f"disturbed, {many} of its runs" if many else next(made) for many in disturbed]
    if any(disturbed):
        others = "cannot be told" if len(quiet) == 1 else f"fastest of {len(quiet)} not disturbed"
        found = [others if text == "fastest" else text for text in found]
    return found


def in_common(repeats: list[Ended]) -> Repeats:
    """What runs of one method with one set of settings share, and how many of them reached the target."""
    first, times = repeats[0], times_to_target(repeats)
    summary, reached = first.summary, sum(not math.isinf(time) for time in times)
    return Repeats(summary.method, first.settings, summary.ranks, summary.threads_per_rank, len(times), reached)


def by_seed(
    repeats: list[Ended], value_of: Callable[[Ended], float | None], missing: float = math.inf
) -> dict[int, float]:
    """A value for every seed; ``missing`` stands for no value.

    Two runs with one seed differ by noise of the clock only: they are one repeat, with their middle value.
    """
    found: dict[int, list[float]] = {}
    for one in repeats:
        value = value_of(one)
        found.setdefault(one.summary.seed, []).append(missing if value is None else float(value))
    return {seed: sorted(values)[len(values) // 2] for seed, values in found.items()}


def over_seeds(
    repeats: list[Ended], value_of: Callable[[Ended], float | None], missing: float = math.inf
) -> list[float]:
    """The values of ``by_seed``."""
    return list(by_seed(repeats, value_of, missing).values())


def times_by_seed(repeats: list[Ended]) -> dict[int, float]:
    """Seconds to the target for every seed, infinity for a miss."""
    return by_seed(repeats, lambda one: one.summary.time_to_target_s)


def times_to_target(repeats: list[Ended]) -> list[float]:
    """The values of ``times_by_seed``."""
    return list(times_by_seed(repeats).values())


def train_s(repeats: list[Ended]) -> float:
    """The median of the seconds of training."""
    return median(over_seeds(repeats, lambda one: one.summary.train_s)).value


def of_larger_ones(
    repeats: list[Ended], value_of: Callable[[Ended], float | None]
) -> tuple[float, float | None, float | None]:
    """Median, low and high end of a value of which larger is better.

    A run without one is no better than the worst: missing counts as minus infinity.
    """
    values = over_seeds(repeats, value_of, missing=-math.inf)
    found = median([-value for value in values])  # worst last
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return -found.value, low, high


def _row(repeats: list[Ended], time: Median, verdict: str | None) -> Compared:
    """One method with one set of settings: medians over its seeds."""
    final = of_larger_ones(repeats, lambda one: one.summary.final_test_accuracy)
    aucs = any(one.summary.final_test_auc is not None for one in repeats)
    auc = of_larger_ones(repeats, lambda one: one.summary.final_test_auc) if aucs else (None, None, None)
    return Compared(
        **vars(in_common(repeats)),
        time_to_target_s=time.value,
        time_to_target_low_s=time.low,
        time_to_target_high_s=time.high,
        final_test_accuracy=final[0],
        final_test_accuracy_low=final[1],
        final_test_accuracy_high=final[2],
        final_test_auc=auc[0],
        final_test_auc_low=auc[1],
        final_test_auc_high=auc[2],
        train_s=train_s(repeats),
        seeds=sorted({one.summary.seed for one in repeats}),
        disturbed=_disturbed(repeats),
        verdict=verdict,
    )


def compare_table(result: Comparison) -> Group:
    """The comparison as a table."""
    target = "no target" if result.target is None else f"{result.metric} {result.target:g}"
    aucs = any(row.final_test_auc is not None for row in result.methods)
    headings = ("method", "ranks", "reached", "target s", "95 % interval", "final", *["AUC"] * aucs, "verdict")
    padding = (0, 1 if aucs else 2, 0, 0)  # nine columns fit a terminal of 80, too
    table = Plain(*headings, title=f"{result.experiment}: {target}", fold=["method", "verdict"], padding=padding)
    for row in sorted(result.methods, key=lambda row: row.time_to_target_s):
        table.add_row(
            row.name(result.methods),
            str(row.ranks),
            row.share(result.target),
            seconds(row.time_to_target_s) if result.target is not None else "-",
            interval(row.time_to_target_low_s, row.time_to_target_high_s),
            number(row.final_test_accuracy, 4),
            *[number(row.final_test_auc, 4)] * aucs,
            row.verdict or "-",
        )
    note = (
        "Medians over repeats, with order-statistic 95 % intervals from 6 repeats on.\n"
        "target s: train_s, optimisation only, at the first evaluation that met the\n"
        "target; a miss counts as infinity. final: test accuracy of the last iterate."
    )
    if aucs:
        note += "\nAUC: area under the ROC curve of the test rows, last iterate."
    if any(row.disturbed for row in result.methods):
        note += "\ndisturbed: other work took the cores of a run; no verdict is made of it."
    if result.data_made_up:
        note += f"\n{MADE_UP}: a program made the rows up; no verdict is made of them."
    return Group(table, Text(""), Text(note))


def compare_rows(result: Comparison) -> list[dict[str, Any]]:
    """The rows of ``--csv``: one per method."""
    return [{key: value for key, value in vars(row).items() if key != "seeds"} for row in result.methods]
