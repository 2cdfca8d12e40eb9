"""``admmctl sweep``: many trials of one method, chosen by validation accuracy, all of them kept.

Trials run side by side, on one core each or on ranks of their own, here, on hosts or in jobs: their times are
disturbed, and not used. With ``by: time`` they run one at a time, and the time to the target chooses. The winner
is then trained once more with nothing beside it: its time counts. The test set plays no part in the choice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from admmctl.errors import Interrupted, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.experiment.schema import Stop
from admmctl.files import atomic
from admmctl.folders import make_results_folder
from admmctl.launch import local
from admmctl.launch.cluster import shares
from admmctl.launch.inherited import whole_number
from admmctl.launch.options import MOST, Options
from admmctl.methods.method import methods
from admmctl.runs.events import Watcher
from admmctl.runs.places import root
from admmctl.runs.recorded import Recorded
from admmctl.runs.resume import held, unfinished
from admmctl.runs.submit import Order
from admmctl.runs.summary import Row
from admmctl.runs.train import check, execute
from admmctl.studies.space import settings_of_trials
from admmctl.studies.trials import Planned, Report, Trial, Trials, plan, write_table


@dataclass(frozen=True)
class BestTrial(Trial):
    """The winner, and the experiment file with its settings."""

    config: str


@dataclass(frozen=True)
class Sweep:
    """What ``sweep --json`` prints. ``run`` is the winner's own run; None where there is no winner."""

    folder: str
    method: str
    trials: list[Trial]
    best: BestTrial | None
    run: Row | None


@dataclass(frozen=True)
class Request:
    """A sweep as it is asked for. ``options`` say how a trial starts, and on how many ranks.

    ``cores`` are cores of this machine, which take as many trials as they have room for; ``jobs`` is that number
    itself. At most one of them is given.
    """

    config: Path
    method: str | None = None
    trials: int | None = None
    cores: int | None = None
    jobs: int | None = None
    options: Options = field(default_factory=Options)
    overrides: Sequence[str] = ()

    def places(self) -> list[Options]:
        """How each of the trials that run at once is started, so that no two share cores. Raises UserError."""
        options, ranks = self.options, self.options.cores
        jobs, room = self.at_once(), options.room()
        if room is None:  # a scheduler finds the cores of each
            return [options] * jobs
        if options.hosts:
            each = [replace(options, hosts=hosts) for hosts in shares(options.hosts, jobs, ranks)]
        else:
            if jobs * ranks > room[0]:
                cores = f"{room[0]} core{'s' * (room[0] > 1)}"
                raise UserError(
                    f"--jobs {jobs} on --ranks {ranks} take {jobs * ranks} cores: {room[1]} has {cores}"
                )
            if jobs > 1 and options.allocation() is not None and whole_number("SLURM_JOB_NUM_NODES") > 1:
                raise UserError(
                    f"--jobs {jobs} inside a Slurm job of several nodes: trials would share the first of them; "
                    "run one at a time, --jobs 1, or hand the sweep in from outside by --launcher sbatch"
                )
            each = [options] * jobs
        if jobs == 1:
            return [options]
        # Each launcher binds its ranks as if the cores were its own: to the same ones.
        return [replace(place, cluster=place.cluster.model_copy(update={"binding": "none"})) for place in each]

    def at_once(self) -> int:
        """How many trials run at once. Raises UserError."""
        options, cores, jobs, ranks = self.options, self.cores, self.jobs, self.options.cores
        for name, value in (("--cores", cores), ("--jobs", jobs)):
            if value is not None and not 1 <= value <= MOST:
                raise UserError(f"{name} {value}: expected 1 or more, at most {MOST:,}")
        if options.launcher == "inline" and ranks > 1:
            raise UserError(f"--launcher inline runs one rank; for --ranks {ranks} use --launcher mpiexec")
        if cores is None:
            slots = sum(slots for _, slots in options.hosts)
            return jobs if jobs is not None else max(1, slots // ranks)
        if jobs is not None:
            raise UserError("--cores and --jobs both say how many trials run at once; give one of them")
        if options.hosts or options.room() is None:
            raise UserError(
                "--cores are those of this machine; on hosts or by a scheduler, --jobs says how many trials run "
                "at once, and --ranks on how many cores each"
            )
        local.check_cores(cores, oversubscribe=False)
        if cores < ranks:
            raise UserError(f"--cores {cores}: a trial on --ranks {ranks} takes more than that")
        return cores // ranks


class Part(NamedTuple):
    """The share of one job: every ``of``-th trial, from that with number ``number`` - 1 on."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """'2/4'. Raises UserError."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST):
            raise UserError(f"--part {text}: expected K/N, the K-th of N parts")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, planned: list[Planned]) -> list[Planned]:
        return planned[self.number - 1 :: self.of]


def sweep(request: Request, report: Report, watcher: Watcher, part: Part | None = None) -> Sweep:
    """Run the trials of a sweep that have not finished, and the winner once more, timed.

    Of a ``part`` only its trials; there is no winner then. Raises UserError and ConfigError before anything is
    written. A trial that fails is kept with its reason.
    """
    base, planned, timed = _planned(request)
    if timed and part is not None:
        raise UserError(_SIDE_BY_SIDE.format(f"--part {part}"))
    places = request.places()
    options = places[0]
    for trial in planned:
        check(trial.run, options)
    folder = _folder(base)
    make_results_folder(folder)
    if part is not None:
        found = Trials(folder, part.share(planned), places, report, watcher).run()
        return Sweep(str(folder), base.method, found, None, None)
    with held(folder, f"{folder}: this sweep is going on in another process"):
        found = Trials(folder, planned, places, report, watcher).run()
    columns = ("validation_accuracy", "iteration", "epoch", "status", "reason", *["time_to_target_s"] * timed)
    rows = [(t.number, t.settings, [getattr(t, column) for column in columns]) for t in found]
    for _, _, values in rows:
        values[0] = math.nan if values[0] is None else values[0]
    write_table(folder, rows, columns)
    scored = [t for t in found if t.validation_accuracy is not None and t.status != "diverged"]
    if not scored:
        return Sweep(str(folder), base.method, found, None, None)
    best = min(scored, key=lambda trial: trial.order)  # of equal ones the first
    winner = planned[best.number].run
    # The winner is trained on all training rows, also those that the sweep held back for validation. They can no
    # longer say when to stop: the run goes on to the target, or takes as long as the trial took to its best.
    stop = winner.stop.model_copy(update={"target": base.stop.target, "metric": base.stop.metric})
    final = replace(winner, data=base.data, stop=stop if timed else _as_long(replace(base, stop=stop), best))
    config = folder / "best.yaml"
    of_what = ", of made-up data" if Recorded(Path(best.folder)).made_up else ""
    with atomic(config) as file:
        file.write(f"# Trial {best.number} of {len(found)}: validation accuracy {best.validation_accuracy:.4f}")
        file.write("" if best.time_to_target_s is None else f", {best.time_to_target_s:.4g} s to the target")
        file.write(f"{of_what}\n")
        file.write(final.yaml())
    try:
        summary = execute(final, request.options, watcher, resume=unfinished(final, options.cores))
    except Interrupted as stop_asked:
        raise Interrupted(f"{stop_asked}\nthe same command goes on with the sweep", stop_asked.runs) from None
    return Sweep(str(folder), base.method, found, BestTrial(**vars(best), config=str(config)), summary)


def orders(request: Request, dry: bool) -> list[Order]:
    """The sweep as jobs, checked as far as that is possible here. Raises UserError.

    ``jobs`` of them share the trials that have not finished; one more waits for them, does what they have left,
    and trains the winner. With ``jobs`` 1 it does all.
    """
    base, planned, _ = _planned(request)
    jobs, options, folder = min(request.at_once(), len(planned)), request.options, _folder(base)
    todo = planned
    if not dry:
        for trial in planned:
            check(trial.run, options)
        kept = Trials(folder, planned, [], lambda *_: None, Watcher())
        todo = [trial for trial in planned if kept.finished(trial) is None]
    arguments = ["--method", base.method, "--trials", str(len(planned)), "--ranks", str(options.cores)]
    parts = [Part(number, jobs) for number in range(1, jobs + 1)] if jobs > 1 else []
    found = []
    for part in parts:
        if any(trial in todo for trial in part.share(planned)):
            label = f"sweep-{base.method}-{part.number}-of-{part.of}"
            words = [*arguments, "--part", str(part)]
            found.append(Order(base, label, request.config, "sweep", words, options, request.overrides))
    label = f"sweep-{base.method}"
    return [*found, Order(base, label, request.config, "sweep", arguments, options, request.overrides, last=True)]


_SIDE_BY_SIDE = (
    "{}: trials side by side take each other's cores, and sweep.by: time chooses by their times; run one at a "
    "time, or set sweep.by: accuracy"
)


def _planned(request: Request) -> tuple[Run, list[Planned], bool]:
    """The run of the method as the file has it, all trials, and whether their time to the target chooses.

    Raises UserError and ConfigError.
    """
    path = request.config
    experiment = configuration.load(path, request.overrides)
    if experiment.sweep is None:
        raise UserError(
            f"{path} has no sweep: block; it names, for each method, the keys to vary and their values"
        )
    if request.method == "all":
        raise UserError("--method all: a sweep tunes one method at a time; name one")
    if request.trials is not None and request.trials < 1:
        raise UserError(f"--trials {request.trials}: expected 1 or more")
    base, timed = experiment.select(request.method)[0], experiment.sweep.by == "time"
    if request.at_once() > 1 and timed:
        option = "--jobs" if request.jobs is not None else "--cores" if request.cores is not None else "--hosts"
        raise UserError(_SIDE_BY_SIDE.format(option))
    if timed and base.stop.target is None:
        raise UserError("sweep.by: time: the experiment has no target; set one, for instance stop.target=0.95")
    chosen = settings_of_trials(experiment.sweep, base.method, request.trials)
    return base, plan(path, request.overrides, base.method, chosen, timed), timed


def _folder(base: Run) -> Path:
    return root() / base.experiment / f"sweep-{base.method}"


def _as_long(base: Run, best: Trial) -> Stop:
    """The experiment's stop, with a budget that ends where the best trial was at its best."""
    if base.data.validation is not None:
        return base.stop
    if methods.load(base.kind).unit == "epoch":
        return base.stop.model_copy(update={"epochs": best.epoch or None, "iterations": None if best.epoch else 0})
    return base.stop.model_copy(update={"iterations": best.iteration, "epochs": None})
