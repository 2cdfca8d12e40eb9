"""``admmctl.read``: recorded runs as tables of pandas, and their figures, for notebooks and programs of one's own.

Nothing is printed and nothing is written.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admmctl.errors import UserError
from admmctl.report.export.source import Exported, columns, read_all
from admmctl.report.export.tables import rows_of
from admmctl.runs.places import exists, find, is_run, root
from admmctl.runs.reading import CURVE_COLUMNS, PHASE_COLUMNS
from admmctl.runs.recorded import EVERYTHING, Recorded
from admmctl.runs.summary import Summary

if TYPE_CHECKING:  # loaded where a table or a figure is asked for
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from admmctl.report.figures import Against, Axis

KEYS = ("run", "experiment", "method", "ranks", "seed")  # what the tables share


@dataclass(frozen=True)
class Runs:
    """Runs as they were recorded when ``read`` was called. Tables are made when they are asked for, once.

    All three tables begin with ``run`` (a name that no other run here has), ``experiment``, ``method``, ``ranks``
    and ``seed``. Names that end in ``_s`` are seconds, in ``_mb`` megabytes; accuracies and AUCs are between 0 and
    1. What is not known is NaN, or pandas' NA.
    """

    recorded: list[Recorded] = field(repr=False)

    def __len__(self) -> int:
        return len(self.recorded)

    def __repr__(self) -> str:
        names = ", ".join(dict.fromkeys(run.experiment for run in self.recorded))
        return f"<{len(self)} {'run' if len(self) == 1 else 'runs'} of {names}>"

    @cached_property
    def runs(self) -> "DataFrame":
        """A row per run: its folder, every field of its summary, ``config.*`` its settings, ``machine.*``."""
        table, _ = rows_of(self._exported)
        rows = [{**self._keys(name), **row} for name, row in zip(self._names, table, strict=True)]
        return _frame(rows, (*KEYS, "folder", *(each.name for each in fields(Summary))))

    @cached_property
    def curves(self) -> "DataFrame":
        """A row per evaluation: the columns of curve.csv. ``train_s`` counts optimisation only."""
        _, curves = rows_of(self._exported)
        rows = [{**self._keys(row["run"]), **row} for row in curves]
        return _frame(rows, (*KEYS, *CURVE_COLUMNS))

    @cached_property
    def phases(self) -> "DataFrame":
        """A row per run and phase: its seconds, the largest, mean and smallest over ranks; ``cpu_*`` on cores."""
        rows = []
        for name, run in zip(self._names, self.recorded, strict=True):
            for phase, seconds in run.phases.items():
                cpu = {f"cpu_{column}": value for column, value in run.cpu.get(phase, {}).items()}
                rows.append({**self._keys(name), "phase": phase, **seconds, **cpu})
        return _frame(rows, (*KEYS, "phase", *PHASE_COLUMNS, *(f"cpu_{column}" for column in PHASE_COLUMNS)))

    def accuracy_plot(
        self,
        of: str = "test_accuracy",
        against: "Against" = "seconds",
        axis: "Axis" = "auto",
        scale: "Axis" = "auto",
        training: bool = False,
    ) -> "Figure":
        """What ``admmctl accuracy-plot`` draws, with its options. Raises UserError for no such curve."""
        _one_of("against", against, ("seconds", "epochs", "iterations"))
        for name, value in (("axis", axis), ("scale", scale)):
            _one_of(name, value, ("auto", "log", "linear"))

        notes: list[str] = []

        def draw() -> "Figure":
            from admmctl.report.figures import View, accuracy_figure, drawable

            view = View(of, against, axis, scale, training)
            return accuracy_figure(drawable(self.recorded, view, notes.append), view)

        figure = self._drawn(draw)
        _warn(notes)
        return figure

    def target_plot(self, over: str, unit: "Against" = "epochs") -> "Figure":
        """What ``admmctl target-plot`` draws. Raises UserError where no run has a target and such a setting."""
        _one_of("unit", unit, ("seconds", "epochs", "iterations"))

        def draw() -> "Figure":
            from admmctl.report.figures import target_figure

            return target_figure(self.recorded, over, unit)

        return self._drawn(draw)

    def _drawn(self, draw: Callable[[], "Figure"]) -> "Figure":
        """A figure that is shown once: as the value of a notebook's cell, and not by pyplot as well."""
        with _own_settings_kept():
            import matplotlib
            import matplotlib.pyplot as plt

            from admmctl.report import style

            matplotlib.use("agg")
            matplotlib.rcdefaults()
            plt.rcParams.update(style.LOOK)
            others = plt.get_fignums()
            try:
                figure = draw()
                if any(run.made_up for run in self.recorded):
                    style.mark_made_up(figure)
                return figure
            finally:
                for number in set(plt.get_fignums()) - set(others):
                    plt.close(number)

    @cached_property
    def _exported(self) -> list[Exported]:
        return read_all(self.recorded)

    @cached_property
    def _names(self) -> list[str]:
        return [run.name for run in self._exported]

    @cached_property
    def _by_name(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, run in zip(self._names, self.recorded, strict=True):
            of_config = {"ranks": None, "seed": run.config.get("seed")}  # of a run without a summary
            found[name] = {"run": name, **{key: run.row.get(key, of_config.get(key)) for key in KEYS[1:]}}
        return found

    def _keys(self, name: str) -> dict[str, Any]:
        return self._by_name[name]


def read(*places: str | Path) -> Runs:
    """The runs in these places: run folders, experiment folders, whole results folders. All results without any.

    A run that is damaged is left out, with a warning that names the file. Raises UserError when a place does not
    exist, and when no run is found.
    """
    names = [name for place in places for name in _with_runs(Path(place))]
    problems: list[str] = []
    # All files are read now: tables that are asked for at different times are of the same moment.
    found = find(names or None, EVERYTHING, lambda file, reason: problems.append(f"left out: {file}: {reason}"))
    if not found:
        raise UserError(f"no runs in {root()} yet; start one with: admmctl train swissroll")
    _warn(problems)
    return Runs(found)


def _with_runs(place: Path) -> Iterable[str]:
    """The folders that ``find`` reads for a place: of a results folder, those of its experiments."""
    folder = place if exists(place) else root() / place
    if is_run(folder) or not folder.is_dir():
        return [str(place)]
    inside = sorted(each for each in folder.iterdir() if each.is_dir())
    if any(map(is_run, inside)):
        return [str(place)]
    return [str(each) for each in inside if any(map(is_run, each.iterdir()))] or [str(place)]


def _frame(rows: list[dict[str, Any]], first: Iterable[str]) -> "DataFrame":
    """A table that has the ``first`` columns also where no row has them, and each column in one type."""
    import pandas as pd

    from admmctl.report.export.tables import of_one_type

    table = {}
    for name in dict.fromkeys([*first, *columns(rows)]):
        values = [row.get(name) for row in rows]
        unknown = all(value is None for value in values)
        table[name] = [math.nan] * len(values) if unknown else of_one_type(values)
    return pd.DataFrame(table)


def _warn(texts: Iterable[str]) -> None:
    """At the line of the caller's caller, the user's own."""
    for text in texts:
        warnings.warn(text, stacklevel=3)


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UserError(f"{name} {value!r}: valid: {', '.join(valid)}")


@contextmanager
def _own_settings_kept() -> Iterator[None]:
    """Whoever calls has matplotlib's settings and backend afterwards as before: our figures are guests there."""
    import matplotlib
    import matplotlib.pyplot as plt

    own = matplotlib.rcParams.copy()
    backend = dict.__getitem__(own, "backend")  # asked for in another way, one would be chosen
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old names of settings
            dict.update(matplotlib.rcParams, own)
        if isinstance(backend, str):
            plt.switch_backend(backend)
