"""``admmctl figures``: figures by name, what they need, and one after another until all are drawn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from admmctl.data.catalog import datasets
from admmctl.errors import DataError, Interrupted, RunFailed, UserError
from admmctl.launch.options import Options
from admmctl.papers import paper_runs
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.entry import Entry
from admmctl.papers.explained import FIGURES
from admmctl.papers.material import Material, Scale
from admmctl.papers.toys import Request
from admmctl.registry import suggest
from admmctl.runs.train import Watcher
from admmctl.studies.scaling import Say

Draw = Callable[[Material], dict[str, Any]]


@dataclass
class Outcome:
    """What became of the figures that were asked for: ``drawn`` is what ``draw`` returned of each."""

    drawn: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """What ``figures --json`` prints."""

        def reasons(figures: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "reason": reason} for name, reason in figures.items()]

        return {"figures": self.drawn, "skipped": reasons(self.skipped), "failed": reasons(self.failed)}


def chosen(asked: Iterable[str]) -> list[Entry]:
    """The figures ``asked`` for, each once. Raises UserError for one that there is not, with the nearest name."""
    names = list(dict.fromkeys(asked))
    for name in names:
        if name not in CATALOGUE:
            raise UserError(f"unknown figure '{name}'{suggest(name, list(CATALOGUE))}")
    return [CATALOGUE[name] for name in names]


def listing(asked: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Every figure, or those asked for: all of its entry, and whether the data it needs is here."""
    return [{**entry.document(), "data": _data(entry)} for entry in (chosen(asked) or CATALOGUE.values())]


def _data(entry: Entry) -> dict[str, Any] | None:
    """The dataset of a figure, quickly drawn, whether it is here, and how to get it; None for one without."""
    if entry.config is None:
        return _digits() if entry.name == "digits" else None
    settings = next(iter(paper_runs.experiment(entry, "quick").runs.values())).data
    return _opened(settings.name, settings)


def _digits() -> dict[str, Any]:
    return _opened("svhn", datasets.load("svhn").Settings(name="svhn"))


def _opened(name: str, settings: Any) -> dict[str, Any]:
    try:
        datasets.load(name)().open(settings)
    except DataError as error:
        return {"name": name, "here": False, "reason": str(error)}
    return {"name": name, "here": True, "reason": None}


@dataclass
class Ready:
    """Figures whose data is here, an illustration with its points; and why others are skipped."""

    figures: list[tuple[Entry, Material | None]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def prepare(asked: Sequence[str], scale: Scale, request: Request, say: Say) -> Ready:
    """What can be drawn of the figures ``asked`` for, of all where none is named; nothing is run or written.

    Of all, those whose data is not here are skipped; by name, that is a DataError. Raises UserError for an
    unknown name.
    """
    if request.mirror is not None and not request.mirror.is_dir():
        raise UserError(f"--mirror {request.mirror}: there is no such folder")
    ready = Ready()
    for entry in chosen(asked) or CATALOGUE.values():
        try:
            paper_runs.need_data(entry, scale)
            ready.figures.append((entry, _points(entry, scale, request)))
        except DataError as error:
            if asked:
                raise DataError(f"{entry.name}: {error}") from None
            ready.skipped[entry.name] = str(error)
            say(f"skipped: {entry.name}: {error}")
    return ready


def draw_all(ready: Ready, scale: Scale, options: Options, draw: Draw, watcher: Watcher, say: Say) -> Outcome:
    """Make the missing runs of every figure that is ``ready``, and ``draw`` it.

    A figure that fails does not stop the others. Raises Interrupted when it is stopped: what was finished is
    kept, and the same command goes on.
    """
    outcome = Outcome(skipped=dict(ready.skipped))
    for number, (entry, points) in enumerate(ready.figures):
        say(f"figure {number + 1} of {len(ready.figures)}: {entry.name}")
        try:
            material, failures = (points, []) if points else paper_runs.make(entry, scale, options, watcher, say)
            if failures:
                outcome.failed[entry.name] = "\n".join(failures)
            if material.folders or material.result is not None or material.rows:
                outcome.drawn.append(draw(material))
            elif not failures:
                outcome.skipped[entry.name] = "; ".join(material.left_out.values())
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nthe same command goes on from here", stop.runs) from None
        except (RunFailed, UserError) as error:
            outcome.failed[entry.name] = str(error)
    return outcome


def _points(entry: Entry, scale: Scale, request: Request) -> Material | None:
    """What an illustration is drawn from; None for a figure that needs runs."""
    if entry.source != "points":
        return None
    points = FIGURES[entry.name].compute(request)
    facts = {**points.facts, "seed": request.seed}
    return Material(entry.document(), scale, rows=points.rows, facts=facts, images=points.images)
