"""What a paper's file consists of: figures and tables, the numbers that the paper gives, and what is drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from admmctl.runs.recorded import Recorded
from admmctl.studies.condition import Conditions
from admmctl.studies.study import Findings

Kind = Literal["figure", "table", "illustration"]
Source = Literal["points", "runs", "scaling", "condition"]
Scale = Literal["quick", "full"]
Rows = list[dict[str, Any]]
QUICK = "-quick"  # ends the experiment's name of runs that are smaller than those of its file
Variants = tuple[tuple[str, ...], ...]  # ``--set`` options; runs are made with each of these
Ours = tuple[float | None, str]  # our number beside a paper's, or None, and a text of it


@dataclass(frozen=True)
class Paper:
    """A paper, by its name and by the shorter one that lists have room for; or a study of our own, ``ours``."""

    name: str
    short: str
    ours: bool = False


@dataclass(frozen=True)
class Request:
    """What is asked for besides names of figures; ``mirror`` has the official files of what is not prepared."""

    seed: int = 0
    mirror: Path | None = None


@dataclass(frozen=True)
class Points:
    """What an illustration shows: the rows of its CSV, facts about them, and images or matrices if it has some."""

    rows: Rows
    facts: dict[str, Any]
    images: NDArray[Any] | None = None

    def column(self, key: str, **only: Any) -> NDArray[Any]:
        """The values of ``key`` in the rows that have all of ``only``."""
        chosen = (row for row in self.rows if all(row.get(name) == value for name, value in only.items()))
        return np.array([row[key] for row in chosen])


@dataclass(frozen=True)
class Drawing:
    """A drawing by name. ``draw`` returns a figure and the rows of its CSV.

    ``source`` is what it needs in its ``Material``. The paper's numbers are added to its rows, marked as theirs,
    unless the rows have them already (``has_theirs``).
    """

    name: str
    draw: "Callable[[Material], tuple[Figure, Rows]]"
    kind: Kind = "figure"
    source: Source = "runs"
    has_theirs: bool = False


@dataclass(frozen=True)
class Measure:
    """A number that ``ours`` computes from a figure's material and a method. ``what`` names it, {} is the method.

    ``mark`` says where a figure of accuracies shows the paper's number: (seconds, accuracy), or at that level of
    accuracy where seconds are None. ``any_size``: a smaller run measures the same.
    """

    what: str
    unit: str
    ours: "Callable[[Material, str], Ours]"
    mark: Callable[[float], tuple[float | None, float]] | None = None
    any_size: bool = False


@dataclass(frozen=True)
class Reported:
    """A number that a paper gives, and the measure of ours.

    ``paper`` is None where the paper has only a ``statement``; ``source`` says where it is printed. ``rows`` are
    the paper's training rows: a run on other rows is not the same work. ``beside`` says what else differs;
    ``comparable`` is False if that makes it other work.
    """

    measure: Measure
    method: str
    paper: float | None
    statement: str
    source: str = ""
    rows: int | None = None
    beside: str = ""
    comparable: bool = True

    @property
    def what(self) -> str:
        """The measure, by name."""
        return self.measure.what.format(self.method)

    @property
    def text(self) -> str:
        """The statement and where it is from."""
        return f"{self.statement} ({self.source})" if self.source else self.statement

    @property
    def mark(self) -> tuple[float | None, float] | None:
        """Where a figure of accuracies shows it."""
        return None if self.paper is None or self.measure.mark is None else self.measure.mark(self.paper)


@dataclass(frozen=True)
class Plan:
    """The runs of a figure: ``repeats`` of every method on the first of the ``cores``, or in a study on each.

    They are made with the ``changes`` and each of the ``variants``. Those of the methods ``alone`` are on one
    rank. A study makes ``trials`` of every method, and takes methods with mini-batches at each of the ``batches``.
    """

    methods: tuple[str, ...]
    repeats: int
    cores: tuple[int, ...]
    changes: tuple[str, ...]
    batches: tuple[int, ...] = ()
    trials: int = 1
    alone: tuple[str, ...] = ()
    variants: Variants = ((),)


@dataclass(frozen=True)
class Quick:
    """What the quick scale changes; ``less`` describes it. None and () change nothing."""

    less: str = "nothing"
    changes: tuple[str, ...] = ()
    methods: tuple[str, ...] | None = None
    repeats: int = 1
    cores: tuple[int, ...] = (1,)
    variants: Variants | None = None


@dataclass(frozen=True)
class Entry:
    """A figure or table of a paper.

    ``config`` is a file of ``configs``, and ``changes`` are ``--set`` options at both scales; all runs are made
    with each of the ``variants``. ``repeats``, ``cores``, ``batches`` and ``trials`` are those of the full scale;
    core counts that do not fit on the machine are left out. Methods ``alone`` run on one rank whatever the others
    run on, as a paper's baselines did; a method may be among both. ``points`` computes what an illustration shows,
    from ``dataset`` if that is given.
    ``differs`` says what is not as in the paper.
    """

    name: str
    paper: Paper
    number: str
    shows: str
    drawing: Drawing
    config: str | None = None
    methods: tuple[str, ...] = ()
    repeats: int = 3
    cores: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = ()
    trials: int = 1
    alone: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    variants: Variants = ((),)
    quick: Quick = field(default_factory=Quick)
    differs: str = ""
    reported: tuple[Reported, ...] = ()
    points: Callable[[Request], Points] | None = None
    dataset: str | None = None

    def plan(self, scale: Scale) -> Plan:
        """The runs at that scale."""
        if scale == "full":
            return Plan(
                self.methods,
                self.repeats,
                self.cores,
                self.changes,
                self.batches,
                self.trials,
                self.alone,
                self.variants,
            )
        methods = self.methods if self.quick.methods is None else self.quick.methods
        name = (f"name={self.config}{QUICK}",) if self.quick.changes else ()
        changes = (*self.changes, *self.quick.changes, *name)
        variants = self.variants if self.quick.variants is None else self.quick.variants
        return Plan(methods, self.quick.repeats, self.quick.cores, changes, alone=self.alone, variants=variants)

    def document(self) -> dict[str, Any]:
        """The figure in ``figures --json``."""
        quick = {**vars(self.plan("quick")), "changes": self.quick.changes}
        return {
            "name": self.name,
            "paper": self.paper.name,
            "number": self.number,
            "kind": self.drawing.kind,
            "shows": self.shows,
            "drawing": self.drawing.name,
            "source": self.drawing.source,
            "config": None if self.config is None else f"configs/{self.config}.yaml",
            **vars(self.plan("full")),
            "quick": {"less": self.quick.less, **quick},
            "differs": self.differs,
        }


@dataclass(frozen=True)
class Material:
    """What a figure is drawn from: runs, scaling studies, what ``condition`` found, or an illustration's points.

    ``folders`` are all its runs; beside studies, ``alone`` are those of methods on one rank that belong to none.
    ``left_out`` are the methods that did not run, with the reason; ``notes`` are more sentences for the caption.
    """

    entry: Entry
    scale: Scale
    folders: list[Path] = field(default_factory=list)
    studies: list[Findings] = field(default_factory=list)
    alone: list[Path] = field(default_factory=list)
    conditions: Conditions | None = None
    points: Points | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def shrunk(self) -> bool:
        """Whether the runs are smaller than those of the experiment file."""
        return self.scale == "quick" and bool(self.entry.quick.changes)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.folders and self.conditions is None and self.points is None

    @cached_property
    def made_up(self) -> bool:
        """Whether it is of made-up data."""
        computed = self.conditions is not None and self.conditions.data_made_up
        return computed or any(run.made_up for run in self.runs)

    @cached_property
    def runs(self) -> list[Recorded]:
        """What is recorded of the runs."""
        return [Recorded(folder) for folder in self.folders]

    def study(self, method: str) -> Findings | None:
        """The study of a method; of those at several batch sizes the one that is fastest on its most cores."""
        found = [study for study in self.studies if study.method == method]
        return min(found, key=lambda study: study.points[-1].median_s, default=None)

    def finished(self, method: str) -> list[Recorded]:
        """The runs of a method that ended by themselves."""
        return [run for run in self.runs if run.method == method and run.done]
