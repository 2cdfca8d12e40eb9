"""What the files of the papers are written in: figures, the numbers that a paper gives, and what is drawn from."""

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
Ours = tuple[float | None, str]  # our number beside a paper's, or None, and a text of it


@dataclass(frozen=True)
class Paper:
    """A paper, by its name and by the shorter one that lists have room for."""

    name: str
    short: str


@dataclass(frozen=True)
class Request:
    """What is asked for besides names of figures; ``mirror`` has the official files of what is not prepared."""

    seed: int = 0
    mirror: Path | None = None


@dataclass(frozen=True)
class Points:
    """What an illustration is drawn from: the rows of its CSV, some facts, and images where it shows some."""

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

    The paper's claims are added to these rows, marked as theirs, unless ``has_theirs``: they have them already.
    """

    name: str
    draw: "Callable[[Material], tuple[Figure, Rows]]"
    has_theirs: bool = False


@dataclass(frozen=True)
class Measure:
    """A number that is taken of a figure's material and a method; ``what`` names it, with {} for the method.

    ``mark`` is where a figure of accuracies shows the paper's number, (seconds, accuracy); without seconds it is a
    level. ``any_size``: a smaller run measures the same.
    """

    what: str
    unit: str
    ours: "Callable[[Material, str], Ours]"
    mark: Callable[[float], tuple[float | None, float]] | None = None
    any_size: bool = False


@dataclass(frozen=True)
class Claim:
    """A number that a paper gives, and the measure of ours.

    ``paper`` is None where the paper has no number, only a ``statement``; ``source`` says where it is printed.
    ``rows`` are the paper's training rows: on fewer it is other work. ``beside`` are other differences of the
    paper's settings; ``comparable`` is False where they make it other work.
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
    """The runs of a figure: ``repeats`` of every method, on the first of the ``cores`` or, in a study, on each."""

    methods: tuple[str, ...]
    repeats: int
    cores: tuple[int, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Quick:
    """What the quick scale changes: ``less`` tells people; None and () leave it as it is."""

    less: str = "nothing"
    changes: tuple[str, ...] = ()
    methods: tuple[str, ...] | None = None
    repeats: int = 1
    cores: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Entry:
    """A figure or table of a paper.

    ``source`` is what it is drawn from, ``config`` a file of ``configs``, and ``points`` computes what an
    illustration shows, of ``dataset`` where it shows one. ``changes`` are ``--set`` options at either scale;
    ``differs`` says what is not as in the paper. ``repeats`` and ``cores`` are those of the full scale; core
    counts are cut to what there is room for.
    """

    name: str
    paper: Paper
    number: str
    shows: str
    drawing: Drawing
    kind: Kind = "figure"
    source: Source = "runs"
    config: str | None = None
    methods: tuple[str, ...] = ()
    repeats: int = 3
    cores: tuple[int, ...] = (1,)
    changes: tuple[str, ...] = ()
    quick: Quick = field(default_factory=Quick)
    differs: str = ""
    claims: tuple[Claim, ...] = ()
    points: Callable[[Request], Points] | None = None
    dataset: str | None = None

    def plan(self, scale: Scale) -> Plan:
        """Methods, repeats, cores and ``--set`` options at that scale."""
        if scale == "full":
            return Plan(self.methods, self.repeats, self.cores, self.changes)
        methods = self.methods if self.quick.methods is None else self.quick.methods
        return Plan(methods, self.quick.repeats, self.quick.cores, (*self.changes, *self.quick.changes))

    def document(self) -> dict[str, Any]:
        """What ``figures --json`` says of it."""
        quick = {**vars(self.plan("quick")), "changes": self.quick.changes}
        return {
            "name": self.name,
            "paper": self.paper.name,
            "number": self.number,
            "kind": self.kind,
            "shows": self.shows,
            "drawing": self.drawing.name,
            "source": self.source,
            "config": None if self.config is None else f"configs/{self.config}.yaml",
            **vars(self.plan("full")),
            "quick": {"less": self.quick.less, **quick},
            "differs": self.differs,
        }


@dataclass(frozen=True)
class Material:
    """What a figure is drawn from.

    Its runs; a scaling study in numbers; what ``condition`` found; or an illustration's points. ``left_out`` says
    which methods are not there, and why; ``notes`` is what else a reader should know.
    """

    entry: Entry
    scale: Scale
    folders: list[Path] = field(default_factory=list)
    study: Findings | None = None
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
    def runs(self) -> list[Recorded]:
        """What is recorded of the runs."""
        return [Recorded(folder) for folder in self.folders]

    def finished(self, method: str) -> list[Recorded]:
        """The runs of a method that came to their own end."""
        return [run for run in self.runs if run.method == method and run.done]
