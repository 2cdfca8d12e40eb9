"""``figures --dry-run``: the runs of every figure, those that are recorded, and about how long the others take."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group
from rich.text import Text

from admmctl.data.catalog import datasets
from admmctl.data.fetch import line_for
from admmctl.data.sizes import Sizes
from admmctl.errors import DataError, MissingData, UserError
from admmctl.experiment.config import Run
from admmctl.papers.entry import Entry
from admmctl.papers.finished import finished
from admmctl.papers.make import (
    Making,
    alone,
    chosen,
    experiment,
    most_ranks,
    need_data,
    planned,
    studies,
)
from admmctl.report.tables import Plain
from admmctl.report.text import count, rough
from admmctl.runs.build import check_method
from admmctl.studies.estimate import FRACTION, Estimator, Job, Total
from admmctl.studies.several import jobs_of

WIDTH = 100  # columns of the table, where a terminal has fewer


@dataclass(frozen=True)
class Expected:
    """What a figure would take here. Of its ``runs`` some are ``recorded``, some made for a figure before it.

    ``sizes`` are its rows, ``cores`` what its runs are on; ``missing`` says how to get its data, where that is not
    here, ``left_out`` why a method cannot run.
    """

    entry: Entry
    sizes: Sizes | None
    cores: tuple[int, ...]
    runs: int
    recorded: int
    total: Total
    missing: DataError | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """Its training rows, where they are known."""
        return self.sizes.train if self.sizes is not None else None

    def document(self) -> dict[str, Any]:
        """The figure in ``figures --dry-run --json``."""
        return {
            "name": self.entry.name,
            "rows": self.rows,
            "data_here": self.missing is None,
            "cores": self.cores,
            "runs": self.runs,
            "recorded": self.recorded,
            **_document(self.total),
            "left_out": self.left_out,
        }


def _document(total: Total) -> dict[str, Any]:
    values = asdict(total)
    return {"to_make": values.pop("runs"), **values}


@dataclass(frozen=True)
class Forecast:
    """What figures would take: each, all together, and those whose data is here. ``gflops`` are a core's."""

    figures: list[Expected]
    total: Total
    here: Total
    gflops: float | None

    @property
    def fetch(self) -> str:
        """The line that fetches what is not here; empty where nothing is missing."""
        return line_for(each.missing for each in self.figures if isinstance(each.missing, MissingData))

    def document(self) -> dict[str, Any]:
        """``figures --dry-run --json``."""
        return {
            "figures": [each.document() for each in self.figures],
            **_document(self.total),
            "of_data_here": _document(self.here),
            "gflops_per_core": self.gflops,
            "fraction": FRACTION,
            "fetch": self.fetch,
        }


def forecast(names: Sequence[str], making: Making, estimator: Estimator) -> Forecast:
    """What the figures of these names would take, or all without one. Nothing is run. Raises UserError."""
    seen: set[tuple[str, int, str]] = set()
    figures, to_make, here = [], [], []
    for entry in chosen(names):
        jobs, left_out = _jobs(entry, making)
        left = [job for job in jobs if not job.done and job.identity not in seen]
        seen |= {job.identity for job in left}
        missing = _missing(entry, making)
        first = None if entry.config is None else next(iter(experiment(entry, making.scale).runs.values()))
        rows = None if first is None else estimator.sizes(first)
        cores = tuple(sorted({job.ranks for job in jobs}))
        done, total = sum(job.done for job in jobs), estimator.total(left)
        figures.append(Expected(entry, rows, cores, len(jobs), done, total, missing, left_out))
        to_make += left
        here += left if missing is None else []
    total = estimator.total(to_make)
    return Forecast(figures, total, estimator.total(here), estimator.gflops if total.counted else None)


def _missing(entry: Entry, making: Making) -> DataError | None:
    try:
        need_data(entry, making.scale)
        if entry.dataset is not None:
            dataset = datasets.load(entry.dataset)
            dataset().open(dataset.Settings(name=entry.dataset))
    except DataError as error:
        return error
    return None


def _jobs(entry: Entry, making: Making) -> tuple[list[Job], dict[str, str]]:
    """Every run of a figure, here; and the methods that cannot run, with the reason."""
    if entry.config is None or entry.drawing.source == "condition":
        return [], {}
    cores = min(entry.plan(making.scale).cores[0], most_ranks(making))
    scaling = entry.drawing.source == "scaling"
    runs = [] if scaling else [(run, cores) for run in planned(entry, making.scale)]
    jobs = [job for asked in studies(entry, making) for job in jobs_of(asked)] if scaling else []
    left_out: dict[str, str] = {}
    for run, ranks in [*runs, *((run, 1) for run in alone(entry, making.scale))]:
        try:
            if run.method not in left_out:
                check_method(run, ranks)
                jobs.append(Job(run, ranks, _is_recorded(run, ranks)))
        except UserError as reason:
            left_out[run.method] = str(reason)
    return list({job.identity: job for job in jobs}.values()), left_out


def _is_recorded(run: Run, cores: int) -> bool:
    try:
        return finished(run, cores) is not None
    except DataError:  # whether it is of the data that was here is not known
        return False


# --- for people


def forecast_table(found: Forecast, estimator: Estimator) -> Group:
    """A line per figure, and what they take together."""
    table = Plain("figure", "rows", "cores", "runs", "recorded", "to make", "about", left=["figure"])
    for each in found.figures:
        table.add_row(*_row(each))
    lines = [""]
    if any(each.runs > each.recorded + each.total.runs for each in found.figures):
        lines.append("Runs that a figure further up makes are not made again.")
    if found.here != found.total:
        lines.append(f"With the data that is here: {_together(found.here)}.")
    lines.append(f"{'With all data' if found.here != found.total else 'All'}: {_together(found.total)}.")
    lines += [how(found.total, estimator)] if found.total.runs else []
    if found.fetch:
        lines.append(f"* official rows, not here; fetch them with: {found.fetch}")
    return Group(table, *map(Text, lines))


def _row(each: Expected) -> list[str]:
    if each.entry.config is None:
        return [each.entry.name, "", "", "no runs", "", "", ""]
    rows = "unknown" if each.rows is None else f"{each.rows:,}{'*' * (each.missing is not None)}"
    cores = ", ".join(f"{number:,}" for number in each.cores)
    if not each.runs:
        return [each.entry.name, rows, cores, "no runs", "", "", ""]
    known = each.total.unknown < each.total.runs or not each.total.runs
    about = (rough(each.total.seconds) if each.total.runs else "-") if known else "unknown"
    return [each.entry.name, rows, cores, str(each.runs), str(each.recorded), str(each.total.runs), about]


def _together(total: Total) -> str:
    """'12 runs to make, about 3 min'."""
    unknown = f", and {total.unknown} of which nothing can be said" if total.unknown else ""
    return f"{count(total.runs, 'run')} to make, about {rough(total.seconds)}{unknown}"


def expected(jobs: Sequence[Job]) -> str:
    """What is said before these runs are made: how many they are, and about how long they take."""
    estimator = Estimator()
    total = estimator.total(jobs)
    return f"{_together(total)} {how(total, estimator)}" if total.runs else "no run is missing"


def how(total: Total, estimator: Estimator) -> str:
    """How the seconds of runs were guessed, and how rough that is."""
    told = total.runs - total.counted - total.unknown
    parts = [f"{told} as recorded runs of the same settings took"] if told else []
    if total.counted:
        speed = f"{100 * FRACTION:.0f} % of {estimator.gflops:.0f} GFLOP/s a core"
        parts.append(f"{total.counted} by counted operations at {speed}, right within a factor of two or three")
    return f"({'; '.join(parts)}. A run that meets its target ends sooner.)"
