"""Make figures of papers: use the runs that exist, make the missing ones, then draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from admmctl.data import shards
from admmctl.data.fetch import line_for
from admmctl.errors import DataError, Interrupted, MissingData, MissingExtra, RunFailed, UserError
from admmctl.experiment import bundled
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Experiment, Run
from admmctl.launch.options import Options
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.draw import draw
from admmctl.papers.entry import Entry, Material, Request, Scale
from admmctl.papers.finished import finished
from admmctl.registry import suggest
from admmctl.runs import resume as resuming
from admmctl.runs.events import Watcher
from admmctl.runs.places import is_run
from admmctl.runs.train import check, execute
from admmctl.studies.condition import condition
from admmctl.studies.points import summarise
from admmctl.studies.scaling import Request as StudyRequest
from admmctl.studies.scaling import Say
from admmctl.studies.several import Several, several

ENDLESS = 10**9  # cores, where a scheduler has them


@dataclass(frozen=True)
class Making:
    """How figures are made: their scale, the options of their runs, and who is told about the progress.

    ``most`` is how many cores they may take; None: as many as there are. ``made_up``: runs on made-up data may be
    used again, as a rehearsal does.
    """

    scale: Scale
    options: Options
    watcher: Watcher
    say: Say
    most: int | None = None
    made_up: bool = False


# --- what was asked for


def chosen(names: Sequence[str]) -> list[Entry]:
    """The figures of these names, each once; all without one. Raises UserError for an unknown name."""
    for name in names:
        if name not in CATALOGUE:
            raise UserError(f"unknown figure '{name}'{suggest(name, list(CATALOGUE))}")
    return [CATALOGUE[name] for name in dict.fromkeys(names or CATALOGUE)]


@dataclass
class Outcome:
    """Figures that are ``ready`` to be made, and what became of each: ``drawn``, ``skipped`` or ``failed``."""

    ready: list[Material] = field(default_factory=list)
    drawn: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    missing: dict[str, MissingData] = field(default_factory=dict)  # of those that are skipped for want of data
    failed: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The output of ``figures --json``."""

        def reasons(figures: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "reason": reason} for name, reason in figures.items()]

        return {"figures": self.drawn, "skipped": reasons(self.skipped), "failed": reasons(self.failed)}


def prepare(names: Sequence[str], scale: Scale, request: Request, say: Say) -> Outcome:
    """The figures of these names, or all without one, ready to be made. Nothing is run or written.

    The points of illustrations are computed. A figure whose data is not here is skipped, but if it was named:
    that is a DataError. Raises UserError for an unknown name.
    """
    if request.mirror is not None and not request.mirror.is_dir():
        raise UserError(f"--mirror {request.mirror}: there is no such folder")
    outcome = Outcome()
    for entry in chosen(names):
        try:
            need_data(entry, scale)
            points = None if entry.points is None else entry.points(request)
            outcome.ready.append(Material(entry, scale, points=points))
        except DataError as error:
            if names:
                raise DataError(f"{entry.name}: {error}") from None
            outcome.skipped[entry.name] = str(error)
            if isinstance(error, MissingData):
                outcome.missing[entry.name] = error
            else:
                say(f"skipped: {entry.name}: {error}")
    return outcome


def without_data(missing: Mapping[str, MissingData]) -> str:
    """The line about figures that are skipped as their data is not here; '' where there are none."""
    names = ", ".join(missing)
    return f"skipped: {names}; fetch the rest with: {line_for(missing.values())}" if missing else ""


def need_data(entry: Entry, scale: Scale) -> None:
    """Raises DataError, with the line that fetches it, where a figure's data is not here."""
    if entry.config is not None:
        shards.plan(next(iter(experiment(entry, scale).runs.values())).data, 1)


def draw_all(outcome: Outcome, making: Making, folder: Path) -> None:
    """Make the missing runs of every figure that is ready, and draw it into ``folder``.

    A figure that fails does not stop the others. Raises Interrupted when the user stops it: finished runs are
    kept, and the same command goes on from there.
    """
    for number, material in enumerate(outcome.ready, start=1):
        entry = material.entry
        failures: list[str] = []
        making.say(f"figure {number} of {len(outcome.ready)}: {entry.name}")
        try:
            if material.points is None:
                material, failures = make(entry, making)
            if failures:
                outcome.failed[entry.name] = "\n".join(failures)
            if not material.is_empty:
                outcome.drawn.append(draw(material, folder))
            elif not failures:
                outcome.skipped[entry.name] = "; ".join(material.left_out.values())
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nthe same command goes on from here", stop.runs) from None
        except (RunFailed, UserError) as error:
            outcome.failed[entry.name] = str(error)


# --- the runs of one figure


def source(entry: Entry, scale: Scale) -> tuple[Path, tuple[str, ...]]:
    """The experiment file of a figure, and its ``--set`` options.

    Raises UserError if there is no such file.
    """
    return config_file(str(entry.config)), entry.plan(scale).changes


def config_file(name: str) -> Path:
    """A file of ``configs``, here or with admmctl. Raises UserError if there is no such file."""
    found = bundled.find(name)
    if found is None:
        raise UserError(
            f"there is no {bundled.HERE / name}.yaml here, nor in this installation; install admmctl again"
        )
    return found


def experiment(entry: Entry, scale: Scale, variant: tuple[str, ...] = ()) -> Experiment:
    """The experiment of a figure at that scale, with a variant's options. Raises UserError."""
    config, changes = source(entry, scale)
    return configuration.load(config, (*changes, *variant))


def planned(entry: Entry, scale: Scale) -> list[Run]:
    """Every run of a figure but those ``alone``: its methods interleaved, a seed for each repeat.

    Raises UserError.
    """
    return _repeated(entry, scale, entry.plan(scale).methods)


def alone(entry: Entry, scale: Scale) -> list[Run]:
    """Every run of a figure that is on one rank whatever the others are on. Raises UserError."""
    return _repeated(entry, scale, entry.plan(scale).alone)


def _repeated(entry: Entry, scale: Scale, methods: tuple[str, ...]) -> list[Run]:
    plan = entry.plan(scale)
    return [
        replace(runs[method], seed=runs[method].seed + repeat)
        for runs in (experiment(entry, scale, variant).runs for variant in plan.variants)
        for repeat in range(plan.repeats)
        for method in methods
    ]


def make(entry: Entry, making: Making) -> tuple[Material, list[str]]:
    """What a figure is drawn from, and the messages of runs that failed.

    Raises UserError if nothing can be run, and Interrupted when the user stops it: finished runs are kept.
    """
    scale, say = making.scale, making.say
    if entry.drawing.source == "condition":
        config, changes = source(entry, scale)
        return Material(entry, scale, conditions=condition(config, overrides=changes, say=say)), []
    made = _Made(making)
    if entry.drawing.source == "scaling":
        made.add(alone(entry, scale), 1)
        return _scaling(entry, making, made), made.failures
    plan = entry.plan(scale)
    cores = min(plan.cores[0], most_ranks(making))
    made.add(planned(entry, scale), cores)
    made.add(alone(entry, scale), 1)
    folders, notes = list(dict.fromkeys(made.folders)), _fewer(plan.cores, (cores,))
    return Material(entry, scale, folders, left_out=made.left_out, notes=notes), made.failures


@dataclass
class _Made:
    """Runs of a figure that are there, or are made; what could not run, and what failed."""

    making: Making
    folders: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, runs: list[Run], cores: int) -> None:
        """These, on so many ranks."""
        making, options = self.making, replace(self.making.options, cores=cores)
        for run in runs:
            if run.method in self.left_out:
                continue
            try:
                found = finished(run, cores, making.say, making.made_up)
                self.folders.append(found or trained(run, options, making.watcher))
            except MissingExtra as missing:
                self.left_out[run.method] = str(missing)
                making.say(f"left out: {run.method}: {missing}")
            except RunFailed as failure:
                self.failures.append(str(failure))


def _scaling(entry: Entry, making: Making, made: _Made) -> Material:
    """The scaling studies of the figure's methods, which take turns; runs on one rank are ``made`` before."""
    folders = [folder for asked in studies(entry, making) for folder in several(asked, making.watcher, making.say)]
    runs = [path for folder in folders for path in sorted(folder.iterdir()) if is_run(path)]
    return Material(
        entry,
        making.scale,
        [*runs, *made.folders],
        studies=[summarise(folder) for folder in folders],
        alone=made.folders,
        left_out=made.left_out,
        notes=_fewer(entry.plan(making.scale).cores, _counts(entry, making)),
    )


def _counts(entry: Entry, making: Making) -> tuple[int, ...]:
    """The core counts of a figure's studies here.

    One makes no study: a small machine measures 1, 2 and all its cores, oversubscribed if it has one.
    """
    cores, most = entry.plan(making.scale).cores, most_ranks(making)
    counts = tuple(count for count in cores if count <= most)
    return counts if len(counts) > 1 else tuple(sorted({1, 2, min(most, max(cores))}))


def studies(entry: Entry, making: Making) -> list[Several]:
    """The scaling studies of a figure as they are asked for here. Raises UserError."""
    plan, counts, most = entry.plan(making.scale), _counts(entry, making), most_ranks(making)
    config, changes = source(entry, making.scale)
    request = StudyRequest(
        config,
        _listed(counts),
        None,
        plan.repeats,
        to_target=True,
        options=replace(making.options, oversubscribe=making.options.oversubscribe or max(counts) > most),
        overrides=changes,
    )
    sized = _with_batches(entry, making.scale) if plan.batches else []
    groups = [([name for name in plan.methods if name not in sized], None), (sized, _listed(plan.batches))]
    return [
        Several(replace(request, method=",".join(methods)), batches, plan.trials)
        for methods, batches in groups
        if methods
    ]


def _with_batches(entry: Entry, scale: Scale) -> list[str]:
    """The methods of a figure that have a batch size."""
    runs = experiment(entry, scale).runs
    return [name for name in entry.plan(scale).methods if "batch" in type(runs[name].settings).model_fields]


def _listed(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def most_ranks(making: Making) -> int:
    """How many ranks may start: the cores of the allocation, of the hosts or of this machine, or any number by a
    scheduler; and no more than were asked for.
    """
    options = making.options
    found = replace(options, cores=2).room()  # the launcher of one rank may be in this process
    there = 1 if options.inline and options.launcher == "inline" else ENDLESS if found is None else found[0]
    return min(there, making.most or there)


def _fewer(wanted: tuple[int, ...], counts: tuple[int, ...]) -> list[str]:
    if set(wanted) <= set(counts):
        return []
    wanted_cores, cores = (", ".join(f"{count:,}" for count in each) for each in (wanted, counts))
    return [f"on {cores} cores instead of {wanted_cores}: there are no more here"]


def trained(run: Run, options: Options, watcher: Watcher) -> Path:
    """Make the run, or go on with the one that was interrupted; returns its folder."""
    check(run, options)
    begun = resuming.unfinished(run, options.cores)
    return Path(execute(run, options, watcher, resume=begun)["folder"])
