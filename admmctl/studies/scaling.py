"""``admmctl scaling``: the same training on several numbers of cores, repeated and interleaved.

A study is a folder ``results/<experiment>/scaling-...`` with study.json and an ordinary run folder for every
run. Running it again goes on where it stopped; more core counts or repeats are added to what is there.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, FiniteFloat, ValidationError

from admmctl.data import shards
from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run, with_seed
from admmctl.experiment.schema import Evaluate
from admmctl.files import alone, write_json
from admmctl.folders import make_folder
from admmctl.launch import local
from admmctl.launch.options import MOST, Options
from admmctl.runs.places import root
from admmctl.runs.reading import CPU, PHASES
from admmctl.runs.recorded import COMPARED, damage, read_summary
from admmctl.runs.resume import Now
from admmctl.runs.submit import Order, common
from admmctl.runs.summary import DONE
from admmctl.runs.train import Watcher, check, execute
from admmctl.studies.bench import on_cores

FILE = "study.json"
MEASURED = (*COMPARED, PHASES, CPU)  # what times are read from
SMALL = 64  # rows
Say = Callable[[str], None]


class _Exchange(BaseModel):
    bytes: FiniteFloat
    seconds: FiniteFloat


class _Machine(BaseModel):
    ranks: int
    allreduce: list[_Exchange]
    message_bytes: list[FiniteFloat]


class _Small(BaseModel):
    rows_per_iteration: FiniteFloat
    phases: dict[str, FiniteFloat]


class _NoSmall(BaseModel):
    error: str


class _Study(BaseModel):
    """What is read of study.json."""

    kind: Literal["scaling"]
    experiment: str
    method: str
    method_kind: str
    data: str
    goal: Literal["target", "iterations"]
    iterations: int | None
    weak: bool
    metric: str
    target: FiniteFloat | None
    batch: int | None
    machine: dict[str, _Machine]
    small: _Small | _NoSmall | None


@dataclass(frozen=True)
class Goal:
    """What is timed: a number of iterations, or with None the target. ``weak``: as many rows for every rank."""

    iterations: int | None
    weak: bool

    def words(self) -> str:
        """For the name of the folder."""
        kind = "target" if self.iterations is None else f"{self.iterations}it"
        return f"weak-{kind}" if self.weak else kind


def scaling(
    path: Path,
    cores: str,
    *,
    method: str | None = None,
    repeat: int = 3,
    iterations: int | None = None,
    to_target: bool = False,
    weak: bool = False,
    options: Options | None = None,
    overrides: Iterable[str] = (),
    part: int | None = None,
    watcher: Watcher,
    say: Say,
) -> Path:
    """Run what is not yet run of a study; returns its folder.

    ``options`` say how ranks start. With ``part`` only the runs on that number of cores: each a job's share.
    Raises UserError and ConfigError before anything is written, RunFailed at the end when a run broke, and
    Interrupted when it is stopped: what is finished stays.
    """
    how = options or Options()
    counts, run, goal = plan(path, cores, method, repeat, iterations, to_target, weak, overrides)
    if part is not None and part not in counts:
        raise UserError(f"--part {part}: it is none of --cores {cores}")
    mine = [count for count in counts if part in (None, count)]
    for count in mine:
        check(run, replace(how, cores=count))
    planned = {count: _share(run, count, max(counts)) if weak else run for count in counts}
    each = planned[min(counts)].data.first
    identity = _identity(run, goal, each and each // min(counts))
    folder = root() / run.experiment / f"scaling-{run.method}-{goal.words()}-{identity}"
    say(str(folder))
    study = read_study(folder) or _described(run, goal)
    try:
        make_folder(folder)
        _write(folder, _measured(study, run, mine, how, say), say)
    except OSError as error:
        raise UserError(f"the results folder {folder} cannot be written: {error.strerror}") from None
    finally:
        if not (folder / FILE).exists():  # nothing came of it: no trace is left
            with suppress(OSError):
                folder.rmdir()
                folder.parent.rmdir()
    with alone(folder if part is None else folder / f"p{part}", "running", say):
        _run_all(folder, {count: planned[count] for count in mine}, repeat, how, watcher, say)
    return folder


def plan(
    path: Path,
    cores: str,
    method: str | None,
    repeat: int,
    iterations: int | None,
    to_target: bool,
    weak: bool,
    overrides: Iterable[str],
) -> tuple[list[int], Run, Goal]:
    """Core counts, the run and the goal of a study, as the command line says it. Raises UserError."""
    counts = parse_cores(cores)
    experiment = configuration.load(path, overrides)
    if method == "all":
        raise UserError("--method all: a scaling study times one method; name one")
    if not 1 <= repeat <= MOST:
        raise UserError(f"--repeat {repeat}: expected 1 or more, at most {MOST:,}")
    run = experiment.select(method)[0]
    goal = _goal(run, iterations, to_target, weak)
    return counts, _towards(run, goal), goal


def orders(
    path: Path,
    cores: str,
    *,
    method: str | None,
    repeat: int,
    iterations: int | None,
    to_target: bool,
    weak: bool,
    options: Options,
    overrides: Sequence[str],
    dry: bool,
) -> list[Order]:
    """The study as a job for every number of cores, checked as far as that goes outside them. Raises UserError."""
    counts, run, _ = plan(path, cores, method, repeat, iterations, to_target, weak, overrides)
    words = ["--cores", cores, "--repeat", str(repeat)]
    words += ["--method", method] if method is not None else []
    words += ["--iterations", str(iterations)] if iterations is not None else []
    words += ["--to-target"] * to_target + ["--weak"] * weak
    found = []
    for count in counts:
        sized = replace(options, cores=count)
        if not dry:
            check(run, sized)
        told = [*words, "--part", str(count), *common(sized, overrides)]
        label = f"scaling-{run.method}-p{count}"
        found.append(Order(run, label, path, "scaling", told, sized))
    return found


def parse_cores(text: str) -> list[int]:
    """Core counts as ``--cores`` names them: '1,2,4'. Raises UserError for one count, or none."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 1 <= int(word) <= 1_000_000 for word in words):
        raise UserError(f"--cores {text}: expected numbers of cores with commas between them, for instance 1,2,4")
    counts = sorted({int(word) for word in words})
    if len(counts) < 2:
        raise UserError(
            f"--cores {text}: one point makes no scaling study; give at least two numbers of cores, "
            "for instance 1,2,4"
        )
    return counts


def _goal(run: Run, iterations: int | None, to_target: bool, weak: bool) -> Goal:
    """What the options and the experiment ask for. Raises UserError where they contradict each other."""
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
    """The run with the goal as its end; a number of iterations is evaluated at its end only."""
    if goal.iterations is None:
        return run
    budget = {"target": None, "iterations": goal.iterations, "epochs": None, "seconds": None, "patience": None}
    return replace(
        run,
        stop=run.stop.model_copy(update=budget),
        evaluate=Evaluate(every=goal.iterations, unit="iteration"),
    )


def _share(run: Run, cores: int, most: int) -> Run:
    """Weak scaling: all rows on the largest number of cores, and as many per rank on fewer; the same test rows."""
    rows = shards.plan(run.data, most).rows_train // most * cores
    return replace(run, data=run.data.model_copy(update={"first": rows}))


def _identity(run: Run, goal: Goal, rows_per_rank: int | None) -> str:
    """Six digits over what is trained and timed; core counts and repeats may grow within a study."""
    document = {**run.document(), "goal": goal.words(), "rows per rank": rows_per_rank}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:6]


def _described(run: Run, goal: Goal) -> dict[str, Any]:
    """What study.json says of a study before anything is measured."""
    return {
        "kind": "scaling",
        "experiment": run.experiment,
        "method": run.method,
        "method_kind": run.kind,
        "data": run.data.name,
        "goal": "target" if goal.iterations is None else "iterations",
        "iterations": goal.iterations,
        "weak": goal.weak,
        "metric": run.stop.metric,
        "target": run.stop.target,
        "batch": getattr(run.settings, "batch", None),  # rows of an iteration, where it is not all of them
        "machine": {},
        "small": None,
    }


def _measured(study: dict[str, Any], run: Run, counts: list[int], how: Options, say: Say) -> dict[str, Any]:
    """The study with the speed of this machine on each number of cores that it has, as far as it is not known."""
    if not study["small"]:
        say("measuring what an iteration costs besides its rows")
        study["small"] = _small_step(run)
    for count in counts:
        room = replace(how, cores=count).remote() or count <= local.available_cores()
        if str(count) not in study["machine"] and room:
            say(f"measuring this machine on {count} core{'s' * (count > 1)}")
            study["machine"][str(count)] = on_cores(run, 0, 5, count, lambda what: None, how)
    return study


def _write(folder: Path, study: dict[str, Any], say: Say) -> None:
    """Write study.json, with what other parts of the study have measured meanwhile."""
    with alone(folder / FILE, "writing", say):
        latest = read_study(folder)
        if latest is not None:
            study = {**latest, "machine": {**latest["machine"], **study["machine"]}}
        write_json(folder / FILE, study)


def _small_step(run: Run) -> dict[str, Any]:
    """An iteration on hardly any rows, one core: without it a fit would take any slow run for a fixed cost."""
    try:
        return on_cores(run, SMALL, 9, 1, lambda what: None)
    except (UserError, RunFailed) as error:
        return {"error": str(error)}  # a method that needs more rows to run at all


def read_study(folder: Path) -> dict[str, Any] | None:
    """What study.json says; None where there is none. Raises UserError when it is damaged."""
    path = folder / FILE
    try:
        study = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); remove the folder to start the study anew") from None
    try:
        _Study.model_validate(study)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} does not describe a scaling study ({where and f'{where}: '}{first['msg']}); "
            "remove the folder to start the study anew"
        ) from None
    return dict(study)


def _run_all(folder: Path, planned: dict[int, Run], repeat: int, how: Options, watcher: Watcher, say: Say) -> None:
    """Every repeat on every number of cores, interleaved, so that a drift of the machine touches all alike."""
    todo = [(number, count, one) for number in range(repeat) for count, one in planned.items()]
    failures, broken, now = [], [], Now()
    for done, (number, count, one) in enumerate(todo):
        seeded = with_seed(one, one.seed + number)
        place = folder / f"{one.method}-p{count}-s{seeded.seed}"
        summary = read_summary(place)
        differs = "" if summary is None else now.other_data(seeded, place)
        if differs:
            say(f"{place.name} runs again: {differs}")
        elif summary is not None and summary["status"] in DONE and damage(place, MEASURED) is None:
            continue
        say(f"run {done + 1} of {len(todo)}: {count} core{'s' * (count > 1)}, seed {seeded.seed}")
        try:
            execute(seeded, replace(how, cores=count), watcher, place)
        except RunFailed as failure:
            failures.append(str(failure))
            broken += failure.runs
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nthe same command goes on from here", stop.runs) from None
    if failures:
        raise RunFailed("\n".join(failures), broken)
