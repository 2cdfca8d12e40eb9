"""``admmctl scaling``: the same training on several numbers of cores, repeated and interleaved.

A study is a folder ``results/<experiment>/scaling-...`` with study.json and an ordinary run folder for every
run. Running it again goes on where it stopped; more core counts or repeats are added to what is there.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from admmctl.data import shards
from admmctl.data.catalog import datasets
from admmctl.errors import DataError, Interrupted, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.experiment.schema import Evaluate
from admmctl.files import locked
from admmctl.folders import make_folder
from admmctl.launch import local
from admmctl.launch.options import MOST, Options
from admmctl.methods.method import trainer
from admmctl.runs.build import shape_network
from admmctl.runs.events import Watcher
from admmctl.runs.places import root
from admmctl.runs.reading import CPU, PHASES
from admmctl.runs.recorded import COMPARED, Recorded
from admmctl.runs.resume import Fingerprints, begun_at
from admmctl.runs.submit import Order
from admmctl.runs.train import check, execute
from admmctl.studies.bench import on_cores
from admmctl.studies.estimate import Job
from admmctl.studies.study import FILE, Asked, Machine, NoSmallStep, SmallStep, Study

MEASURED = (*COMPARED, PHASES, CPU)  # what times are read from
SMALL, PART = 64, 8  # rows of a small iteration, and at most this part of a mini-batch
AGAIN = 2  # how often a run is made again when other work took its cores
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """A study as it is asked for: ``cores`` are numbers with commas, ``options`` say how ranks start."""

    config: Path
    cores: str
    method: str | None = None
    repeat: int = 3
    iterations: int | None = None
    to_target: bool = False
    weak: bool = False
    options: Options = field(default_factory=Options)
    overrides: Sequence[str] = ()
    changes: Mapping[tuple[str, ...], Any] = field(default_factory=dict)  # of the file, by path
    first: int = 0  # repeats before this one are left for another call

    def arguments(self) -> list[str]:
        """The options of a command line that ask for this study, without those on how ranks start."""
        found = ["--cores", self.cores, "--repeat", str(self.repeat)]
        found += ["--method", self.method] if self.method is not None else []
        found += ["--iterations", str(self.iterations)] if self.iterations is not None else []
        return found + ["--to-target"] * self.to_target + ["--weak"] * self.weak


@dataclass(frozen=True)
class Goal:
    """What is timed: a number of iterations, or with None the target. ``weak``: every rank has as many rows."""

    iterations: int | None
    weak: bool

    def name(self) -> str:
        """As a part of the folder's name."""
        kind = "target" if self.iterations is None else f"{self.iterations}it"
        return f"weak-{kind}" if self.weak else kind


def scaling(request: Request, watcher: Watcher, say: Say, part: int | None = None) -> Path:
    """Run what has not finished of a study; returns its folder.

    ``part`` is a number of cores: then only the runs on that many, the share of one job. Raises UserError and
    ConfigError before anything is written, RunFailed at the end when a run broke, and Interrupted when it is
    stopped; finished runs stay.
    """
    counts, run, goal = plan(request)
    if part is not None and part not in counts:
        raise UserError(f"--part {part}: it is none of --cores {request.cores}")
    mine = [count for count in counts if part in (None, count)]
    for count in mine:
        check(run, replace(request.options, cores=count))
    planned = {count: share(run, count, max(counts)) if goal.weak else run for count in counts}
    folder = _folder(run, goal, planned)
    say(str(folder))
    study = Study.read(folder) or _described(run, goal)
    study.asked = study.asked or _asked(run)
    try:
        make_folder(folder)
        _measure(study, run, mine, request.options, say)
        study.write(folder, say)
    except OSError as error:
        raise UserError(f"the results folder {folder} cannot be written: {error.strerror}") from None
    finally:
        if not (folder / FILE).exists():  # nothing came of it: no trace is left
            with suppress(OSError):
                folder.rmdir()
                folder.parent.rmdir()
    with locked(folder if part is None else folder / f"p{part}", "running", say):
        _run_all(folder, {count: planned[count] for count in mine}, request, watcher, say)
    return folder


def folder_of(request: Request) -> Path:
    """Where a study lies, or would. Raises UserError."""
    counts, run, goal = plan(request)
    return _folder(run, goal, {count: share(run, count, max(counts)) if goal.weak else run for count in counts})


def _folder(run: Run, goal: Goal, planned: Mapping[int, Run]) -> Path:
    least = min(planned)
    rows = planned[least].data.first
    identity = _identity(run, goal, rows and rows // least)
    return root() / run.experiment / f"scaling-{run.method}-{goal.name()}-{identity}"


def plan(request: Request) -> tuple[list[int], Run, Goal]:
    """Core counts, the run and the goal of a study. Raises UserError."""
    counts = parse_cores(request.cores)
    experiment = configuration.load(request.config, request.overrides, request.changes)
    if request.method == "all":
        raise UserError("--method all: a scaling study times one method; name one")
    if not 1 <= request.repeat <= MOST:
        raise UserError(f"--repeat {request.repeat}: expected 1 or more, at most {MOST:,}")
    run = experiment.select(request.method)[0]
    goal = _goal(run, request)
    return counts, _towards(run, goal), goal


def jobs_of_study(request: Request) -> list[Job]:
    """Every run of a study, and whether it is recorded. Raises UserError."""
    counts, run, goal = plan(request)
    folder, fingerprints = folder_of(request), Fingerprints()
    found = []
    for number, count in product(range(request.first, request.repeat), counts):
        sized = share(run, count, max(counts)) if goal.weak else run
        seeded = replace(sized, seed=sized.seed + number)
        place, done = _place(folder, seeded, count), False
        with suppress(DataError):  # whether it is of the data that was here is not known
            done = _is_measured(Recorded(place)) and not fingerprints.data_difference(seeded, place)
        found.append(Job(seeded, count, done, str(place)))
    return found


def orders(request: Request, dry: bool) -> list[Order]:
    """The study as a job for every number of cores, checked as far as that is possible here. Raises UserError."""
    counts, run, _ = plan(request)
    found = []
    for count in counts:
        sized = replace(request.options, cores=count)
        if not dry:
            check(run, sized)
        arguments = [*request.arguments(), "--part", str(count)]
        label = f"scaling-{run.method}-p{count}"
        found.append(Order(run, label, request.config, "scaling", arguments, sized, request.overrides))
    return found


def parse_cores(text: str) -> list[int]:
    """Core counts as ``--cores`` names them: '1,2,4'. Raises UserError for one count, or none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and 1 <= int(part) <= 1_000_000 for part in parts):
        raise UserError(f"--cores {text}: expected numbers of cores with commas between them, for instance 1,2,4")
    counts = sorted({int(part) for part in parts})
    if len(counts) < 2:
        raise UserError(
            f"--cores {text}: one point makes no scaling study; give at least two numbers of cores, "
            "for instance 1,2,4"
        )
    return counts


def _goal(run: Run, request: Request) -> Goal:
    """What the options and the experiment ask for. Raises UserError where they contradict each other."""
    iterations, to_target, weak = request.iterations, request.to_target, request.weak
    if iterations is not None and to_target:
        raise UserError("--iterations and --to-target: time one or the other; these are different studies")
    if iterations is not None and not 1 <= iterations <= 1_000_000:
        raise UserError(f"--iterations {iterations}: expected 1 or more")
    if to_target and weak:
        raise UserError(
            "--weak with --to-target: with other rows on every number of cores, the target is another task each "
            "time; use --iterations"
        )
    if to_target and run.stop.target is None:
        raise UserError("--to-target: the experiment has no target; set one, for instance --set stop.target=0.95")
    if to_target or (iterations is None and run.stop.target is not None and not weak):
        return Goal(None, weak)
    iterations = iterations if iterations is not None else run.stop.iterations
    if not iterations:
        raise UserError("the experiment does not say how many iterations to time; add --iterations N")
    return Goal(iterations, weak)


def _towards(run: Run, goal: Goal) -> Run:
    """The run with the goal as its end. A run of so many iterations is evaluated at its end only."""
    if goal.iterations is None:
        return run
    budget = {"target": None, "iterations": goal.iterations, "epochs": None, "seconds": None, "patience": None}
    return replace(
        run,
        stop=run.stop.model_copy(update=budget),
        evaluate=Evaluate(every=goal.iterations, unit="iteration"),
    )


def share(run: Run, cores: int, most: int) -> Run:
    """The run of weak scaling: all rows on ``most`` cores, and as many per rank on fewer; the same test rows."""
    rows = shards.plan(run.data, most).rows_train // most * cores
    return replace(run, data=run.data.model_copy(update={"first": rows}))


def _identity(run: Run, goal: Goal, rows_per_rank: int | None) -> str:
    """Six digits over what is trained and timed; core counts and repeats may grow within a study."""
    document = {**run.document(), "goal": goal.name(), "rows per rank": rows_per_rank}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:6]


def _described(run: Run, goal: Goal) -> Study:
    """The study before anything is measured."""
    return Study(
        experiment=run.experiment,
        method=run.method,
        method_kind=run.kind,
        data=run.data.name,
        goal="target" if goal.iterations is None else "iterations",
        iterations=goal.iterations,
        weak=goal.weak,
        metric=run.stop.metric,
        target=run.stop.target,
        batch=getattr(run.settings, "batch", None),
    )


def _asked(run: Run) -> dict[str, Asked]:
    """What an iteration asks of any number of ranks, at powers of two and at half as much again."""
    network = shape_network(run, *datasets.load(run.data.name)().shape(run.data))
    method, total = trainer(run.kind, run.settings, run.loss), shards.plan(run.data, 1).rows_train
    found = {}
    for ranks in sorted({count for power in range(15) for count in (1 << power, 3 << power >> 1)}):
        cost = method.cost(network, -(-total // ranks), total, ranks)
        found[str(ranks)] = Asked(work=cost.solve, messages=[(verb, bytes) for verb, bytes in cost.messages])
    return found


def _measure(study: Study, run: Run, counts: list[int], options: Options, say: Say) -> None:
    """Add to the study how fast this machine is, on each number of cores where that is not known yet."""
    if study.small is None:
        say("measuring what an iteration costs besides its rows")
        study.small = _small_step(run)
    for count in counts:
        sized = replace(options, cores=count)
        if str(count) not in study.machine and (sized.remote() or count <= local.available_cores()):
            say(f"measuring this machine on {count} core{'s' * (count > 1)}")
            measured = on_cores(run, 0, 5, sized, lambda what: None)
            study.machine[str(count)] = Machine.model_validate(measured)


def _small_step(run: Run) -> SmallStep | NoSmallStep:
    """An iteration on hardly any rows. Without it a fit would take every slow run for a fixed cost."""
    batch = getattr(run.settings, "batch", None)
    rows = SMALL if batch is None else max(1, min(SMALL, batch // PART))
    try:
        return SmallStep.model_validate(on_cores(run, rows, 9, Options(), lambda what: None))
    except (UserError, RunFailed) as error:
        return NoSmallStep(error=str(error))


def _place(folder: Path, run: Run, cores: int) -> Path:
    """The run folder of a repeat within a study's."""
    return folder / f"{run.method}-p{cores}-s{run.seed}"


def _is_measured(run: Recorded) -> bool:
    """Whether a study has its times from that run."""
    return run.done and run.damage(MEASURED) is None and not run.disturbed


def _undisturbed(
    run: Run, options: Options, watcher: Watcher, place: Path, begun: Recorded | None, say: Say
) -> None:
    """Make the run, or go on with it where it was ``begun``.

    Where other work took its cores it is made again, ``AGAIN`` times at most.
    """
    execute(run, options, watcher, place, begun)
    for again in range(1, AGAIN + 1):
        if not Recorded(place).disturbed:
            return
        say(f"{place.name}: other work took its cores; it runs again ({again} of {AGAIN})")
        execute(run, options, watcher, place, None)
    if Recorded(place).disturbed:
        say(f"{place.name}: other work took its cores again: no speed-up is made of it")


def _run_all(folder: Path, planned: dict[int, Run], request: Request, watcher: Watcher, say: Say) -> None:
    """Every repeat on every number of cores, interleaved, so that a drift of the machine touches all alike."""
    todo = [
        (number, count, one) for number in range(request.first, request.repeat) for count, one in planned.items()
    ]
    failures, broken, fingerprints = [], [], Fingerprints()
    for done, (number, count, one) in enumerate(todo):
        seeded = replace(one, seed=one.seed + number)
        place = _place(folder, seeded, count)
        run = Recorded(place)
        differs = "" if run.summary is None else fingerprints.data_difference(seeded, place)
        if differs:
            say(f"{place.name} runs again: {differs}")
        elif _is_measured(run):
            continue
        say(f"run {done + 1} of {len(todo)}: {count} core{'s' * (count > 1)}, seed {seeded.seed}")
        begun = begun_at(place, seeded, fingerprints)
        try:
            _undisturbed(seeded, replace(request.options, cores=count), watcher, place, begun, say)
        except RunFailed as failure:
            failures.append(str(failure))
            broken += failure.runs
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nthe same command goes on from here", stop.runs) from None
    if failures:
        raise RunFailed("\n".join(failures), broken)
