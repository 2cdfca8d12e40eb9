"""Handing jobs to Slurm: each runs the same command inside its allocation, which it finds by itself.

A scheduler that is busy is asked again: its controller may be away for a moment, or have enough jobs of this user.
"""

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from admmctl.errors import AdmmctlError, Interrupted, UserError
from admmctl.experiment.config import Run
from admmctl.files import write_json
from admmctl.launch import slurm
from admmctl.launch.inherited import JOB_RECORD
from admmctl.launch.options import Options
from admmctl.launch.programs import NoAnswer, environment, python
from admmctl.runs import jobs
from admmctl.runs.events import Watcher
from admmctl.runs.places import root
from admmctl.runs.record import new_folder
from admmctl.runs.summary import Row
from admmctl.runs.train import Request

CONFIG = "experiment.yaml"
PAUSES = (5.0, 60.0)  # seconds before a busy scheduler is asked again: at first, and at most
PATIENCE = 900.0  # seconds for which it is
# What a job finds even where the site does not hand the environment on.
HANDED_ON = ("ADMMCTL_RESULTS", "ADMMCTL_DATASETS", "PYTHONPATH")


@dataclass(frozen=True)
class Order:
    """A job to hand in: ``command`` with its arguments, on the experiment file ``config`` where it takes one."""

    run: Run  # the first, for its names and threads
    label: str  # of the job's folder: method and ranks
    config: Path | None
    command: str  # train, scaling, sweep or figures
    arguments: Sequence[str]
    options: Options
    overrides: Iterable[str] = ()
    runs: int | None = None  # how many it makes, where that is known before
    mixed: bool = False  # whether other methods than that of ``run`` are trained, too
    last: bool = False  # whether it waits for the end of the jobs that are handed in before it

    def line(self, folder: Path) -> list[str]:
        """What the job runs. The launcher is found in the job."""
        options = replace(self.options, launcher="auto")
        config = [] if self.config is None else [str((folder / CONFIG).absolute())]
        return [
            *python("-m", "admmctl", self.command, *config, *self.arguments),
            *(["--threads", str(options.threads)] if options.threads is not None else []),
            *(argument for override in self.overrides for argument in ("--set", override)),
            *options.arguments(),
        ]

    def script(self, folder: Path | None = None, after: Sequence[str] = ()) -> str:
        """The job script; by default of a folder that is not made. Raises UserError for what cannot be in one.

        ``after`` are the numbers of jobs that it waits for.
        """
        folder = folder or root() / self.run.experiment / f"job-{self.label}"
        given = environment()
        exports = {name: _absolute(name, given[name]) for name in HANDED_ON if given.get(name)}
        batch = slurm.Batch(
            name=f"{self.run.experiment}-{self.label}",
            ranks=self.options.cores,
            threads=self.options.threads_for(self.run) or 1,
            log=(folder / jobs.LOG).absolute(),
            work=Path.cwd(),
            command=self.line(folder),
            exports={**exports, JOB_RECORD: str(folder.absolute())},
            after=after,
        )
        site = self.options.cluster
        return slurm.script(batch, site if self.mixed else site.of(self.run.method, self.run.kind))


def train_order(request: Request, dry: bool) -> Order:
    """``train`` as a job. All but its cores is checked now, and unless ``dry`` its data."""
    runs, options = request.runs(), request.options
    if not dry:
        request.check_all(runs, Watcher())
    arguments = ["--cores", str(options.cores)]
    arguments += ["--method", request.method] if request.method is not None else []
    arguments += ["--repeat", str(request.repeat)] if request.repeat > 1 else []
    arguments += ["--resume"] if request.resume else []
    label = f"{request.method or runs[0].method}-p{options.cores}"
    config = Path(str(request.config))
    mixed = len({run.method for run in runs}) > 1
    return Order(runs[0], label, config, "train", arguments, options, request.overrides, len(runs), mixed)


def submit(order: Order, say: Callable[[str], None], after: Sequence[str] = ()) -> Row:
    """Hand in a job; its row for ``runs list``. Raises UserError, and then nothing is left behind.

    ``after`` are the numbers of jobs that it waits for. Where it is not clear whether the job is queued its folder
    stays, without a number: AdmmctlError, Interrupted.
    """
    folder = new_folder(root() / order.run.experiment, f"job-{order.label}")
    record: jobs.Record = {
        "job": None,
        "scheduler": "slurm",
        "experiment": order.run.experiment,
        "method": order.run.method,
        "ranks": order.options.cores,
        "runs": order.runs,
        "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": order.line(folder),
    }
    path = folder / jobs.SCRIPT
    try:
        if order.config is not None:
            shutil.copyfile(order.config, folder / CONFIG)  # later changes to the file are for later jobs
        path.write_text(order.script(folder, after), encoding="utf-8", errors="surrogateescape")
        path.chmod(0o755)
        # Whatever happens to this process from here on: the folder knows that there may be a job.
        write_json(folder / jobs.RECORD, record)
        number, cluster = _hand_in(path, folder, say)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"the job's folder {folder} cannot be written: {error.strerror}") from None
    except (slurm.MayBeQueued, Interrupted):
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    record["job"] = number
    if cluster:
        record["cluster"] = cluster
    try:
        write_json(folder / jobs.RECORD, record)
    except OSError as error:
        raise AdmmctlError(
            f"job {number} is queued, and {folder / jobs.RECORD} cannot be written: {error.strerror}; "
            f"end it with: scancel {number}"
        ) from None
    return jobs.job_row(jobs.Job(folder, record), "queued", f"job {number} is handed in")


def _hand_in(path: Path, folder: Path, say: Callable[[str], None]) -> tuple[str, str]:
    """The number of the job, and its cluster where one is named; a busy scheduler is asked again for a while."""
    unclear = (
        f"the job may be queued; its folder is kept: {folder}\nsee: admmctl runs list {shlex.quote(str(folder))}; "
        f"follow it with admmctl wait, end it with admmctl cancel"
    )
    script, pause, until = path.absolute(), PAUSES[0], time.monotonic() + PATIENCE
    unanswered = False  # whether an sbatch was that may have handed the job in
    asking = False
    try:
        while True:
            asking = True
            try:
                found = _queued(script) if unanswered else None
                number, _, cluster = (found or slurm.submit(script)).partition(";")
                return number, cluster
            except (slurm.Busy, slurm.Silent, NoAnswer) as busy:
                asking = False
                unanswered = unanswered or isinstance(busy, slurm.Silent)
                left = until - time.monotonic()
                if left < pause:
                    what = f"{busy}\nthe scheduler was asked for {PATIENCE / 60:g} minutes"
                    raise (slurm.MayBeQueued if unanswered else UserError)(what) from None
                say(f"{busy}; asked again in {pause:g} s, for {max(1.0, left / 60):.0f} min at the most")
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])
    except slurm.MayBeQueued as doubt:
        raise slurm.MayBeQueued(f"{doubt}\n{unclear}") from None
    except KeyboardInterrupt:
        if not (asking or unanswered):
            raise  # between two questions: no job is queued
        raise Interrupted(f"interrupted while sbatch was at work\n{unclear}") from None


def _queued(script: Path) -> str | None:
    """The job that squeue knows by its script. Raises NoAnswer where it cannot be asked."""
    try:
        return slurm.scripts().get(str(script))
    except UserError as error:
        raise NoAnswer(str(error)) from None


def _absolute(name: str, value: str) -> str:
    """Folders of the environment, wherever the job starts."""
    if name == "PYTHONPATH":
        return os.pathsep.join(str(Path(part).absolute()) for part in value.split(os.pathsep) if part)
    return str(Path(value).absolute())
