"""What is recorded of the work that claims are told from, and the runs that are missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from admmctl.data import shards
from admmctl.errors import DataError, MissingExtra, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.launch.options import Options
from admmctl.papers.claims import Claim, Evidence, Work
from admmctl.papers.dry import expected
from admmctl.papers.finished import finished
from admmctl.papers.make import Making, config_file, most_ranks, trained
from admmctl.report.text import count
from admmctl.runs.places import root
from admmctl.runs.recorded import Recorded
from admmctl.runs.resume import Fingerprints
from admmctl.studies.condition import Conditions, condition, keep, kept
from admmctl.studies.estimate import Job
from admmctl.studies.points import summarise
from admmctl.studies.scaling import Request as StudyRequest
from admmctl.studies.scaling import folder_of, jobs_of_study, scaling
from admmctl.studies.study import Findings


def planned(work: Work) -> list[Run]:
    """Every run of a work, methods interleaved, a seed for each repeat. Raises UserError."""
    runs = configuration.load(config_file(work.config), work.changes).runs
    return [
        replace(runs[method], seed=runs[method].seed + repeat)
        for repeat in range(work.repeats)
        for method in work.methods
    ]


def recorded(work: Work) -> Evidence:
    """What there is of a work, but for made-up data. Nothing is run, or computed. Raises UserError."""
    if not (root() / work.config).is_dir():  # an experiment has the name of its file: nothing of it has run here
        return Evidence(work)
    try:
        if work.source == "condition":
            found = map(_kept, planned(work))
            return Evidence(work, conditions=[one for one in found if one is not None and not one.data_made_up])
        if work.source == "scaling":
            studies = {method: study for method in work.methods if (study := _study(work, method)) is not None}
            return Evidence(work, studies=studies)
        runs: dict[str, list[Recorded]] = {}
        for run in planned(work):
            folder = _made(work, run)
            if folder is None and work.timed:
                folder = finished(run, work.cores[0])  # accuracies of disturbed ones count
            if folder is not None:
                runs.setdefault(run.method, []).append(Recorded(folder))
        return Evidence(work, runs)
    except DataError:  # without its data nothing of it can have been run here
        return Evidence(work)


def _made(work: Work, run: Run) -> Path | None:
    """A recorded run that need not be made again."""
    return finished(run, work.cores[0], quiet=work.timed)


def _place(run: Run) -> Path:
    """Where condition numbers are kept: a file for settings, seed and data. Raises DataError without these."""
    return root() / run.experiment / f"condition-{run.hash()}-{Fingerprints().data(run)[:8]}.json"


def _kept(run: Run) -> Conditions | None:
    try:
        return kept(_place(run))
    except DataError:
        return None


def _study(work: Work, method: str) -> Findings | None:
    try:
        found = summarise(folder_of(_request(work, method)))
    except UserError:  # none yet, or one that has not finished
        return None
    return None if found.data_made_up else found


def _request(work: Work, method: str) -> StudyRequest:
    cores = ",".join(map(str, work.cores))
    return StudyRequest(config_file(work.config), cores, method, work.repeats, overrides=work.changes)


@dataclass(frozen=True)
class Missing:
    """A run, a study or the condition numbers of a run's matrix: what a claim lacks."""

    work: Work
    method: str
    run: Run | None  # None: the study of the method

    @property
    def identity(self) -> tuple[object, ...]:
        """The same for two that are made once."""
        if self.run is None:
            return self.work, self.method
        return self.work.source, self.work.cores[0], self.run.yaml()


def missing(claims: Sequence[Claim]) -> list[Missing]:
    """What has to be run for these claims, each once. Raises UserError, also where the data are made up."""
    found: list[Missing] = []
    for work in dict.fromkeys(work for claim in claims for work in claim.work):
        _must_be_real(work)
        if work.source == "runs":
            found += [Missing(work, run.method, run) for run in planned(work) if _made(work, run) is None]
        elif work.source == "condition":
            found += [Missing(work, run.method, run) for run in planned(work) if _kept(run) is None]
        elif work.source == "scaling":
            found += [Missing(work, method, None) for method in work.methods if _lacks(work, method)]
    # Works share runs: those of two claims, for instance, which have one method in common.
    return list({one.identity: one for one in found}.values())


def needed(lacking: Sequence[Missing]) -> str:
    """What is said before these are made: how many runs, and about how long they take."""
    matrices = sum(one.work.source == "condition" for one in lacking)
    runs = expected(jobs_of(lacking))
    if not matrices:
        return runs
    numbers = f"condition numbers of {count(matrices, 'matrix', 'matrices')} to compute, some seconds each"
    return f"{numbers}; {runs}" if len(lacking) > matrices else numbers


def jobs_of(lacking: Sequence[Missing]) -> list[Job]:
    """The runs that these come to. Condition numbers, some seconds each, are none."""
    found: list[Job] = []
    for one in lacking:
        if one.work.source == "condition":
            continue
        if one.run is not None:
            found.append(Job(one.run, one.work.cores[0], done=False))
        else:
            found += [job for job in jobs_of_study(_request(one.work, one.method)) if not job.done]
    return found


def _must_be_real(work: Work) -> None:
    """Raises UserError where the data of a work are made up: no run on them would count."""
    for data in {run.data.name: run.data for run in planned(work)}.values():
        try:
            made_up = shards.plan(data, 1).source.made_up
        except DataError:  # not here yet: whoever trains will say so
            continue
        if made_up:
            raise UserError(
                f"{work.config}: the dataset {data.name} here is made up, and no verdict is made of it; fetch the "
                f"real one: admmctl fetch {data.name} --force"
            )


def _lacks(work: Work, method: str) -> bool:
    """Whether a study has too few undisturbed runs on some number of cores."""
    study = _study(work, method)
    measured = {} if study is None else {point.cores: point for point in study.points if not point.disturbed}
    return any(cores not in measured or measured[cores].runs < work.repeats for cores in work.cores)


def make_missing(lacking: Sequence[Missing], making: Making) -> list[str]:
    """Make these; the messages of those that failed. Raises Interrupted: then what is finished stays."""
    failures: list[str] = []
    for number, one in enumerate(lacking, start=1):
        name = one.method if one.run is None else f"{one.method}, seed {one.run.seed}"
        if one.work.source == "runs" and one.run is not None and _made(one.work, one.run) is not None:
            continue  # a longer run, made just now, stands for it
        making.say(f"{number} of {len(lacking)}: {one.work.config}, {name}")
        try:
            if one.run is None:
                scaling(_request(one.work, one.method), making.watcher, making.say)
            elif one.work.source == "condition":
                _compute(one.work, one.run, making)
            else:
                trained(one.run, _options(one.work, making), making.watcher)
        except (RunFailed, DataError, MissingExtra) as failure:
            failures.append(f"{one.work.config}, {name}: {failure}")
    return failures


def _compute(work: Work, run: Run, making: Making) -> None:
    """Condition numbers with the patterns of the run's seed."""
    changes = (*work.changes, f"seed={run.seed}")
    found = condition(config_file(work.config), method=run.method, overrides=changes, say=making.say)
    place = _place(run)
    try:
        keep(found, place)
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror}") from None


def _options(work: Work, making: Making) -> Options:
    """Raises UserError where a work asks for more cores than there are."""
    if work.cores[0] > most_ranks(making):
        raise UserError(f"{work.config}: {work.cores[0]:,} cores, and there are {most_ranks(making):,} here")
    return replace(making.options, cores=work.cores[0])
