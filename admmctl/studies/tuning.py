"""Settings of a method at one batch size, chosen by trials on held-back training rows.

The first trial has the settings of the file; the others vary the method's search space, and always its learning
rate. The winner needs the fewest iterations to the target there. Trials are kept, and not run again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from admmctl.errors import RunFailed
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.experiment.schema import Range, SweepSettings
from admmctl.files import locked
from admmctl.folders import make_results_folder
from admmctl.launch.options import Options
from admmctl.runs.events import Watcher
from admmctl.runs.places import root
from admmctl.runs.recorded import DRAWN, Recorded
from admmctl.runs.resume import Fingerprints, begun_at
from admmctl.runs.summary import Status
from admmctl.runs.train import execute
from admmctl.studies.estimate import described, same_settings
from admmctl.studies.space import Settings, settings_of_trials
from admmctl.studies.trials import Planned, changes_of, on_held_back, trial_run, write_table

PATIENCE = 30  # evaluations without a better validation accuracy, after which a trial has lost
SLOWER = 4.0  # times as long as the best at a larger batch size, on the same ranks: a trial that is has lost
AROUND = 4.0  # a learning rate without a search space: from a quarter of the file's to four times as much
Changes = Mapping[tuple[str, ...], Any]  # of an experiment file, by path
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One trial as it ended. ``iterations`` and ``seconds`` to the target on held-back rows; None for a miss.

    ``accuracy`` is its best on these rows; None where there is none.
    """

    number: int
    settings: Settings
    iterations: int | None
    seconds: float | None
    accuracy: float | None
    status: str
    reason: str
    folder: str

    @property
    def order(self) -> tuple[bool, int, float]:
        """What the best trial has least of: a miss comes after every hit, misses by accuracy."""
        return self.iterations is None, self.iterations or 0, -(self.accuracy or 0.0)


def space_of(run: Run, sweep: SweepSettings | None) -> dict[str, list[Any] | Range]:
    """What trials of a method vary: its search space without the batch, and always its learning rate.

    Empty for a method that has neither.
    """
    space = dict(sweep.space.get(run.method, {})) if sweep is not None else {}
    space.pop("batch", None)
    rate = getattr(run.settings, "learning_rate", None)
    if rate is not None and "learning_rate" not in space:
        space["learning_rate"] = Range(low=rate / AROUND, high=rate * AROUND)
    return space


@dataclass(frozen=True)
class Candidate:
    """A method at a batch size, and the trials that choose its settings.

    ``batch`` is None for that of the file. ``settings`` are those of every trial, the file's first; ``config``
    and ``overrides`` are what the experiment is loaded from.
    """

    config: Path
    overrides: tuple[str, ...]
    run: Run
    batch: int | None
    settings: list[Settings]

    @property
    def label(self) -> str:
        """As messages name it."""
        return self.run.method if self.batch is None else f"{self.run.method}, batches of {self.batch:,}"

    def changes(self, settings: Settings) -> Changes:
        """What one trial changes in the file."""
        return changes_of(self.run.method, self.at_batch(settings))

    def at_batch(self, settings: Settings) -> Settings:
        """With the batch size of the candidate."""
        return settings if self.batch is None else {"batch": self.batch, **settings}

    def trial(self, number: int) -> Run:
        """The run of one trial: with rows held back, on which its target is met. Raises ConfigError."""
        settings, named = self.at_batch(self.settings[number]), f"trial {number} of {self.label}"
        run = on_held_back(trial_run(self.config, self.overrides, self.run.method, settings, named))
        patience = PATIENCE if run.stop.patience is None else run.stop.patience
        return replace(run, stop=run.stop.model_copy(update={"patience": patience}))

    @property
    def folder(self) -> Path:
        """Where its trials are kept. Those to another target are others: they end elsewhere."""
        size = "" if self.batch is None else f"-b{self.batch}"
        target = "" if self.run.stop.target is None else f"-to-{self.run.stop.target:g}"
        return root() / self.run.experiment / f"trials-{self.run.method}{size}{target}"

    def recorded(self) -> list[Trial]:
        """The trials that are recorded, whatever ended them. Raises DataError where there are no data."""
        found, fingerprints = [], Fingerprints()
        for number, settings in enumerate(self.settings):
            run = self.trial(number)
            for place in sorted(self.folder.glob(f"trial-{number:03d}-*")):
                trial = Recorded(place)
                before = described(trial, run.method) if trial.done else None
                if before is None or not same_settings(run, before):
                    continue
                if not fingerprints.data_difference(run, place):
                    found.append(_ended(number, settings, trial))
                    break
        return found


def candidate(config: Path, overrides: tuple[str, ...], method: str, batch: int | None, trials: int) -> Candidate:
    """A method at a batch size, its trials planned and checked. Raises UserError and ConfigError."""
    changes: Changes = {} if batch is None else {("methods", method, "batch"): batch}
    experiment = configuration.load(config, overrides, changes)
    run = experiment.runs[method]
    space = space_of(run, experiment.sweep)
    chosen: list[Settings] = [{}]
    if trials > 1 and space:
        seed = experiment.sweep.seed if experiment.sweep is not None else 0
        drawn = SweepSettings(seed=seed, space={method: space})
        chosen += settings_of_trials(drawn, method, trials - 1)
    found = Candidate(config, overrides, run, batch, chosen)
    for number in range(len(chosen)):
        found.trial(number)
    return found


def tune_all(candidates: Sequence[Candidate], options: Options, watcher: Watcher, say: Say) -> list[Trial | None]:
    """The best trial of each; None where there is nothing to choose. Raises as ``tune`` does.

    Larger batch sizes of a method go first. A smaller one scales worse: where it takes ``SLOWER`` times as long as
    the best of these, it can win on no number of cores, and its trials end.
    """
    found: dict[int, Trial | None] = {}
    fastest: dict[str, float] = {}  # seconds to the target, by method
    for place in sorted(range(len(candidates)), key=lambda place: -(candidates[place].batch or 0)):
        method = candidates[place].run.method
        best = found[place] = tune(
            candidates[place], options, watcher, say, SLOWER * fastest.get(method, math.inf)
        )
        if best is not None and best.seconds is not None:
            fastest[method] = min(best.seconds, fastest.get(method, math.inf))
    return [found[place] for place in range(len(candidates))]


def tune(
    candidate: Candidate, options: Options, watcher: Watcher, say: Say, most_s: float = math.inf
) -> Trial | None:
    """Run the trials that have not finished; the best of them. None where there is nothing to choose.

    A trial has lost, and ends, where it needs more iterations than the best before it, or ``most_s`` seconds, or
    gets no better for long. Raises RunFailed where every trial broke, UserError for a folder that cannot be
    written, and Interrupted.
    """
    if len(candidate.settings) == 1:
        say(f"{candidate.label}: the settings of the file; there is nothing to tune")
        return None
    folder = candidate.folder
    make_results_folder(folder)
    found: list[Trial] = []
    fingerprints = Fingerprints()
    with locked(folder, "running", say):
        for number, settings in enumerate(candidate.settings):
            run = candidate.trial(number)
            hits = [trial.iterations for trial in found if trial.iterations is not None]
            run = _ending(run, min(hits, default=None), most_s)
            values = ", ".join(f"{key}={value}" for key, value in settings.items()) or "as in the file"
            say(f"{candidate.label}: trial {number + 1} of {len(candidate.settings)}, {values}")
            found.append(_trained(number, settings, run, folder, options, watcher, fingerprints))
        columns = ("iterations", "accuracy", "status", "reason")
        write_table(
            folder, [(t.number, t.settings, [getattr(t, name) for name in columns]) for t in found], columns
        )
    if all(trial.status == Status.FAILED for trial in found):
        raise RunFailed(f"every trial of {candidate.label} failed: {found[0].reason}", [])
    best = best_of(found)
    values = ", ".join(f"{key}={value}" for key, value in best.settings.items()) or "the settings of the file"
    won = "no trial met the target" if best.iterations is None else f"{best.iterations:,} iterations"
    say(f"{candidate.label}: {values} ({won} on held-back rows)")
    return best


def best_of(trials: Sequence[Trial]) -> Trial:
    """The one whose settings are taken."""
    return min(trials, key=lambda trial: trial.order)


def _ending(run: Run, iterations: int | None, seconds: float) -> Run:
    """The trial with these budgets too."""
    stop = run.stop
    budgets: dict[str, float] = {}
    if iterations is not None:
        budgets["iterations"] = min(iterations, stop.iterations or iterations)
    if math.isfinite(seconds):
        budgets["seconds"] = min(seconds, stop.seconds or seconds)
    return replace(run, stop=stop.model_copy(update=budgets))


def _trained(
    number: int,
    settings: Settings,
    run: Run,
    folder: Path,
    options: Options,
    watcher: Watcher,
    fingerprints: Fingerprints,
) -> Trial:
    """A trial in its folder, run unless it is there, or gone on with; one that broke is a miss."""
    place = Planned(number, settings, run).place(folder)
    recorded = Recorded(place)
    sound = recorded.done and recorded.damage(DRAWN) is None and not fingerprints.data_difference(run, place)
    if not sound:
        try:
            execute(run, options, watcher, place, begun_at(place, run, fingerprints))
        except RunFailed as failure:
            reason = str(failure)
            return Trial(number, settings, None, None, None, Status.FAILED, reason, str(place))
        recorded = Recorded(place)
    return _ended(number, settings, recorded)


def _ended(number: int, settings: Settings, recorded: Recorded) -> Trial:
    """A trial as its record has it."""
    row = recorded.row
    accuracies = [entry.get("validation_accuracy", math.nan) for entry in recorded.curve]
    return Trial(
        number=number,
        settings=settings,
        iterations=row["iterations"] if row["status"] == Status.REACHED else None,
        seconds=recorded.number("time_to_target_s"),
        accuracy=max((value for value in accuracies if value >= 0), default=None),
        status=row["status"],
        reason=row["reason"],
        folder=str(recorded.folder),
    )
