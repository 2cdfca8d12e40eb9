"""Runs that a figure or a claim can use again: finished ones of the same settings, data and ranks."""

from collections.abc import Callable
from pathlib import Path

from admmctl.errors import UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.experiment.schema import Stop
from admmctl.papers.entry import QUICK
from admmctl.runs import resume as resuming
from admmctl.runs.places import is_run, root
from admmctl.runs.recorded import EVERYTHING, Recorded
from admmctl.runs.summary import Status

Say = Callable[[str], None]
BUDGETS = ("iterations", "epochs", "seconds")


def finished(
    run: Run, ranks: int, say: Say = lambda text: None, made_up: bool = False, quiet: bool = False
) -> Path | None:
    """The newest finished run of the same hash, data and ranks that went as far as ``run`` should.

    One of the same budget comes before one that went further. None of made-up data, but where ``made_up`` asks
    for them; with ``quiet`` none that other work disturbed. ``say`` is called about each damaged one.
    """
    name = resuming.folder_name(run, ranks)
    folders = [root() / experiment for experiment in sorted({run.experiment, run.experiment.removesuffix(QUICK)})]
    found = []
    for path in (path for folder in folders if folder.is_dir() for path in folder.iterdir()):
        number = path.name.removeprefix(f"{name}-")  # of a second run of these settings
        if (path.name != name and (number == path.name or not number.isdecimal())) or not is_run(path):
            continue
        recorded = Recorded(path)
        problem = recorded.damage(EVERYTHING)
        if problem is not None:
            say("left out: {}: {}".format(*problem))
        elif (recorded.made_up and not made_up) or (recorded.disturbed and quiet):
            continue
        elif (before := _recorded(recorded, run.method)) is not None and _is_sufficient(run, recorded, before):
            found.append((before.stop == run.stop, (path / "summary.json").stat().st_mtime, path))
    return max(found)[-1] if found else None


def _is_sufficient(run: Run, recorded: Recorded, before: Run) -> bool:
    """Whether a recorded run of the same hash, ``before``, has ended, and not earlier than ``run`` would."""
    if recorded.summary is None or not recorded.done:
        return False
    if (before.evaluate, before.threads) != (run.evaluate, run.threads):
        return False
    # The prepared rows may have changed since: from a part of HIGGS, for instance, to all of it.
    if resuming.Fingerprints().data_difference(run, recorded.folder):
        return False
    same_target = (before.stop.target, before.stop.metric) == (run.stop.target, run.stop.metric)
    if recorded.summary.status is Status.EXHAUSTED:
        return (same_target or run.stop.target is None) and _is_as_far(run.stop, before.stop)
    return same_target or recorded.summary.status is Status.DIVERGED


def _is_as_far(wanted: Stop, before: Stop) -> bool:
    """Whether no budget of ``before`` is smaller; None is no limit."""
    limits = [(getattr(wanted, key), getattr(before, key)) for key in BUDGETS]
    same_patience = before.patience == wanted.patience
    return same_patience and all(had is None or (limit is not None and limit <= had) for limit, had in limits)


def _recorded(run: Recorded, method: str) -> Run | None:
    """The run as the experiment file in its folder describes it."""
    try:
        return configuration.load(run.folder / "config.yaml").runs.get(method)
    except UserError:
        return None  # damaged: the caller makes a new run
