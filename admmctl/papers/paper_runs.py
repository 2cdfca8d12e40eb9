"""The runs of a paper's figure: those that are there already, and the missing ones, made by the driver."""

import math
import re
from dataclasses import replace
from pathlib import Path

from admmctl.data import shards
from admmctl.errors import MissingExtra, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Experiment, Run, with_seed
from admmctl.experiment.schema import Stop
from admmctl.launch import local
from admmctl.launch.cluster import FOLDERS
from admmctl.launch.options import Options
from admmctl.papers.entry import Entry
from admmctl.papers.material import Material, Scale
from admmctl.runs import resume as resuming
from admmctl.runs.places import is_run, root
from admmctl.runs.recorded import EVERYTHING, damage, read_summary
from admmctl.runs.summary import DONE
from admmctl.runs.train import Watcher, check, execute
from admmctl.studies.condition import condition
from admmctl.studies.points import summarise
from admmctl.studies.scaling import Request, Say, scaling

QUICK = "-quick"  # behind an experiment's name: its shrunken runs stay apart from those of the file as it stands
BUDGETS = ("iterations", "epochs", "seconds")


def config_file(name: str) -> Path:
    """The experiment file of that name: of the current folder, or beside the package. Raises UserError."""
    places = [folder.parent / f"{name}.yaml" for folder in FOLDERS]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise UserError(f"there is no {places[0]} here; run this in a checkout of the repository")
    return found


def experiment(entry: Entry, scale: Scale) -> Experiment:
    """The experiment of a figure, as that scale changes it. Raises UserError."""
    assert entry.config is not None
    return configuration.load(config_file(entry.config), words(entry, scale))


def words(entry: Entry, scale: Scale) -> list[str]:
    """The ``--set`` words of that scale; runs that it shrinks have a folder of their own."""
    shrunk = scale == "quick" and bool(entry.quick.changes)
    return [*entry.plan(scale)["changes"], *([f"name={entry.config}{QUICK}"] if shrunk else [])]


def planned(entry: Entry, scale: Scale) -> list[Run]:
    """Every run of a figure: its methods interleaved, a seed for each repeat. Raises UserError."""
    plan, runs = entry.plan(scale), experiment(entry, scale).runs
    return [
        with_seed(runs[method], runs[method].seed + repeat)
        for repeat in range(plan["repeats"])
        for method in plan["methods"]
    ]


def need_data(entry: Entry, scale: Scale) -> None:
    """Raises DataError, with the line that fetches it, where a figure's data is not here."""
    if entry.config is not None:
        shards.plan(next(iter(experiment(entry, scale).runs.values())).data, 1)


def make(entry: Entry, scale: Scale, options: Options, watcher: Watcher, say: Say) -> tuple[Material, list[str]]:
    """What a figure is drawn from, and what failed on the way.

    Raises UserError where nothing can be run, and Interrupted when it is stopped: finished runs are kept.
    """
    document = entry.document()
    if entry.source == "condition":
        assert entry.config is not None
        result = condition(config_file(entry.config), overrides=words(entry, scale), say=say)
        return Material(document, scale, result=result), []
    if entry.source == "scaling":
        return _scaling(entry, scale, options, watcher, say)
    cores = min(entry.plan(scale)["cores"][0], room(options))
    notes = _fewer(entry.plan(scale)["cores"], (cores,))
    folders, failures, left_out = [], [], {}
    for run in planned(entry, scale):
        if run.method in left_out:
            continue
        try:
            folders.append(finished(run, cores, say) or _run(run, replace(options, cores=cores), watcher))
        except MissingExtra as missing:
            left_out[run.method] = str(missing)
            say(f"left out: {run.method}: {missing}")
        except RunFailed as failure:
            failures.append(str(failure))
    return Material(document, scale, folders, left_out=left_out, notes=notes), failures


def _scaling(
    entry: Entry, scale: Scale, options: Options, watcher: Watcher, say: Say
) -> tuple[Material, list[str]]:
    """A scaling study of the figure's one method, in numbers."""
    assert entry.config is not None
    plan, most = entry.plan(scale), room(options)
    # One core count makes no study: on a small machine its own cores, oversubscribed where there is only one.
    counts = tuple(count for count in plan["cores"] if count <= most)
    counts = counts if len(counts) > 1 else tuple(sorted({1, 2, min(most, max(plan["cores"]))}))
    how = replace(options, oversubscribe=options.oversubscribe or max(counts) > most)
    request = Request(
        config_file(entry.config),
        ",".join(map(str, counts)),
        method=plan["methods"][0],
        repeat=plan["repeats"],
        to_target=True,
        options=how,
        overrides=words(entry, scale),
    )
    folder = scaling(request, watcher, say)
    runs = [path for path in sorted(folder.iterdir()) if is_run(path)]
    result = summarise(folder)
    return Material(entry.document(), scale, runs, result=result, notes=_fewer(plan["cores"], counts)), []


def room(options: Options) -> int:
    """How many ranks may start: the cores of the allocation, of the hosts, or of this machine."""
    if options.hosts:
        return sum(slots for _, slots in options.hosts)
    job = options.allocation()
    return job.cores if job is not None else local.available_cores()


def _fewer(asked: tuple[int, ...], counts: tuple[int, ...]) -> list[str]:
    if set(asked) <= set(counts):
        return []
    there, here = (", ".join(f"{count:,}" for count in each) for each in (asked, counts))
    return [f"on {here} cores instead of {there}: there are no more here"]


def _run(run: Run, options: Options, watcher: Watcher) -> Path:
    """Make the run, or go on with it where the same command was interrupted; returns its folder."""
    check(run, options)
    begun = resuming.find(run, options.cores, None)
    if begun is not None and (begun.done or not _same(run, begun.folder)):
        begun = None
    return Path(execute(run, options, watcher, resume=begun)["folder"])


def finished(run: Run, ranks: int, say: Say = lambda text: None) -> Path | None:
    """The newest finished run of the same hash, data and ranks that went as far as this one should.

    ``say`` is told of one that would do, and is damaged.
    """
    folders = {run.experiment, run.experiment.removesuffix(QUICK)}
    pattern = re.compile(rf"{re.escape(resuming.folder_name(run, ranks))}(-\d+)?")
    found = [
        path
        for folder in sorted(folders)
        if (root() / folder).is_dir()
        for path in (root() / folder).iterdir()
        if pattern.fullmatch(path.name) and is_run(path) and _sound(path, say) and sufficient(run, path)
    ]
    return max(found, key=lambda path: (path / "summary.json").stat().st_mtime, default=None)


def _sound(folder: Path, say: Say) -> bool:
    problem = damage(folder, EVERYTHING)
    if problem is not None:
        say(f"left out: {problem[0]}: {problem[1]}")
    return problem is None


def sufficient(run: Run, folder: Path) -> bool:
    """Whether a recorded run of the same hash shows what ``run`` would: it ended, and not before this one."""
    summary, recorded = read_summary(folder), _recorded(folder, run.method)
    if summary is None or summary["status"] not in DONE or recorded is None:
        return False
    if (recorded.evaluate, recorded.threads) != (run.evaluate, run.threads) or not _same_data(run, folder):
        return False
    same_target = (recorded.stop.target, recorded.stop.metric) == (run.stop.target, run.stop.metric)
    if summary["status"] == "diverged":
        return True
    if summary["status"] == "reached":
        return same_target
    return (same_target or run.stop.target is None) and _as_far(run.stop, recorded.stop)


def _as_far(asked: Stop, recorded: Stop) -> bool:
    """Whether no budget of ``recorded`` is smaller; one that is not given is endless."""

    def limit(stop: Stop, key: str) -> float:
        value = getattr(stop, key)
        return math.inf if value is None else float(value)

    alike = recorded.patience == asked.patience
    return alike and all(limit(asked, key) <= limit(recorded, key) for key in BUDGETS)


def _recorded(folder: Path, method: str) -> Run | None:
    try:
        return configuration.load(folder / "config.yaml").runs.get(method)
    except UserError:
        return None  # damaged: it is run again


def _same(run: Run, folder: Path) -> bool:
    recorded = _recorded(folder, run.method)
    return recorded is not None and recorded.document() == run.document()


def _same_data(run: Run, folder: Path) -> bool:
    """Whether the recorded run read the rows that are here now: a part of HIGGS, for instance, or all of it."""
    return not resuming.Now().other_data(run, folder)
