"""``admmctl scaling --method A,B --batches ...``: scaling studies to one target that belong together.

Each method at each batch size is a study of its own, with settings from trials on held-back training rows. The
runs take turns by repeat, method, batch size and cores, so that a drift of the machine touches all alike. What
the studies say together is in ``crossings.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from admmctl.data import shards
from admmctl.errors import DataError, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.launch import local
from admmctl.launch.options import Options
from admmctl.runs.events import Watcher
from admmctl.runs.train import check
from admmctl.studies.estimate import Job
from admmctl.studies.scaling import Request, Say, jobs_of_study, parse_cores, plan, scaling
from admmctl.studies.tuning import Candidate, Trial, best_of, candidate, tune_all

TRIALS = 6  # of every method at every batch size
MOST_TRIALS = 1_000


@dataclass(frozen=True)
class Several:
    """Studies that belong together: ``request`` is what they share, its method a list with commas.

    ``batches`` are numbers with commas, rows of a mini-batch over all ranks; None for those of the file.
    """

    request: Request
    batches: str | None = None
    trials: int = TRIALS


def is_several(method: str | None, batches: str | None) -> bool:
    """Whether the options ask for more than one study."""
    return batches is not None or (method is not None and "," in method)


def several(asked: Several, watcher: Watcher, say: Say) -> list[Path]:
    """Tune, then run what has not finished; the folders of the studies.

    Raises UserError and ConfigError before anything is written, RunFailed at the end when a run broke, and
    Interrupted when it is stopped; finished runs stay, and the same command goes on.
    """
    request = asked.request
    requests = {}
    for each, found in _tuned(plan_all(asked), request, watcher, say):
        changes = each.changes(found)
        requests[each.label] = replace(request, method=each.run.method, to_target=True, changes=changes)
    folders: dict[str, Path] = {}
    failures: list[RunFailed] = []
    for number in range(request.repeat):
        for label, one in requests.items():
            turn = replace(one, first=number, repeat=number + 1)
            try:
                folders[label] = scaling(turn, watcher, _prefixed(label, say))
            except RunFailed as failure:
                failures.append(failure)
    if failures:
        raise RunFailed("\n".join(map(str, failures)), [run for failure in failures for run in failure.runs])
    return list(folders.values())


def plan_all(asked: Several, here: bool = True) -> list[Candidate]:
    """Every method at every batch size, checked; if it is to run ``here``, its cores and its data too.

    Raises UserError and ConfigError.
    """
    request = asked.request
    counts = parse_cores(request.cores)
    if request.iterations is not None or request.weak:
        option = "--weak" if request.weak else "--iterations"
        raise UserError(
            f"{option} with several methods or --batches: these are compared by their seconds to the target; "
            "name one method, or leave it out"
        )
    if not 1 <= asked.trials <= MOST_TRIALS:
        raise UserError(f"--trials {asked.trials}: expected 1 or more, at most {MOST_TRIALS:,}")
    sizes: list[int | None] = [None] if asked.batches is None else [*_parse_batches(asked.batches)]
    experiment = configuration.load(request.config, request.overrides)
    methods = [None] if request.method is None else _names(request.method)
    runs = [run for method in methods for run in experiment.select(method)]
    found = []
    for run in runs:
        if asked.batches is not None and "batch" not in type(run.settings).model_fields:
            raise UserError(
                f"--batches: {run.method} reads all rows in every iteration and has no batch size; study it by a "
                "command of its own, without --batches: scaling-plot draws both"
            )
        plan(replace(request, method=run.method, to_target=True))
        if here:
            for count in counts:
                check(run, replace(request.options, cores=count))
            rows = shards.plan(run.data, 1).rows_train
        for size in sizes:
            if here and size is not None and size > rows:
                raise UserError(f"--batches: {size:,} rows, and there are {rows:,} training rows")
            overrides = tuple(request.overrides)
            found.append(candidate(request.config, overrides, run.method, size, asked.trials))
    return found


def jobs_of(asked: Several) -> list[Job]:
    """Every run of these studies, trials first, and whether it is recorded. Neither data nor cores are needed.

    As long as a method's trials are not all made, its study has the settings of the file. Raises UserError.
    """
    jobs: list[Job] = []
    best: list[tuple[Candidate, Trial | None]] = []
    ranks = _options_of_trials(asked.request).cores
    for each in plan_all(asked, here=False):
        try:
            found = {trial.number: trial for trial in each.recorded()}
        except DataError:  # whether they are of the data that was here is not known
            found = {}
        numbers = range(len(each.settings)) if len(each.settings) > 1 else ()
        jobs += [Job(each.trial(number), ranks, number in found, f"{each.folder}/{number}") for number in numbers]
        all_made = len(numbers) > 0 and len(found) == len(numbers)
        best.append((each, best_of(list(found.values())) if all_made else None))
    for each, settings in _chosen(best, lambda text: None):
        changes = each.changes(settings)
        jobs += jobs_of_study(replace(asked.request, method=each.run.method, to_target=True, changes=changes))
    return jobs


def _names(text: str) -> list[str]:
    """Methods as ``--method`` names them: 'graph-admm,sgd'. Raises UserError for none."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or "all" in names:
        raise UserError(f"--method {text}: expected methods of the file with commas between them, by their names")
    return names


def _parse_batches(text: str) -> list[int]:
    """Batch sizes as ``--batches`` names them: '128,512'. Raises UserError for none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and 1 <= int(part) <= 10**10 for part in parts):
        raise UserError(f"--batches {text}: expected numbers of rows with commas between them, as in 128,512,3000")
    return sorted({int(part) for part in parts})


def _tuned(
    candidates: Sequence[Candidate], request: Request, watcher: Watcher, say: Say
) -> list[tuple[Candidate, dict[str, object]]]:
    """Each candidate that is timed, with the settings of its best trial.

    One that met the target in no trial is left out where its method has another that did.
    """
    options = _options_of_trials(request)
    return _chosen(list(zip(candidates, tune_all(candidates, options, watcher, say), strict=True)), say)


def _chosen(best: Sequence[tuple[Candidate, Trial | None]], say: Say) -> list[tuple[Candidate, dict[str, object]]]:
    """Of candidates with their best trials, those that are timed, with its settings."""
    met = {each.run.method for each, trial in best if trial is not None and trial.iterations is not None}
    chosen = []
    for each, trial in best:
        if trial is not None and trial.iterations is None and each.run.method in met:
            say(f"{each.label}: left out, no trial met the target on held-back rows")
        else:
            chosen.append((each, {} if trial is None else trial.settings))
    return chosen


def _options_of_trials(request: Request) -> Options:
    """As many ranks as have a core each: a trial's curve is the same on any number, and its time is not used."""
    options, counts = request.options, parse_cores(request.cores)
    if options.remote():
        return replace(options, cores=max(counts))
    return replace(options, cores=max((c for c in counts if c <= local.available_cores()), default=min(counts)))


def _prefixed(label: str, say: Say) -> Say:
    """Messages of one study among several."""
    return lambda text: say(f"{label}: {text}")
