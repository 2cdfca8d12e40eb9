"""Handing jobs to Slurm: each runs the same command inside its allocation, which it finds by itself."""

import os
import shlex
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from admmctl.errors import AdmmctlError, Interrupted, UserError
from admmctl.experiment.config import Run
from admmctl.files import write_json
from admmctl.launch import slurm
from admmctl.launch.options import Options
from admmctl.launch.programs import environment, python
from admmctl.runs import jobs
from admmctl.runs.events import Watcher
from admmctl.runs.places import root
from admmctl.runs.record import new_folder
from admmctl.runs.summary import Row
from admmctl.runs.train import Request

CONFIG = "experiment.yaml"
# What a job finds even where the site does not hand the environment on.
HANDED_ON = ("ADMMCTL_RESULTS", "ADMMCTL_DATASETS", "PYTHONPATH")


@dataclass(frozen=True)
class Order:
    """A job to hand in: ``command`` with its arguments, on the experiment file ``config``."""

    run: Run  # the first, for its names and threads
    label: str  # of the job's folder: method and ranks
    config: Path
    command: str  # train or scaling
    arguments: Sequence[str]
    options: Options
    overrides: Iterable[str]
    runs: int | None = None  # how many it makes, where that is known before

    def line(self, folder: Path) -> list[str]:
        """What the job runs. The launcher is found in the job."""
        options = replace(self.options, launcher="auto")
        return [
            *python("-m", "admmctl", self.command, str((folder / CONFIG).absolute()), *self.arguments),
            *(["--threads", str(options.threads)] if options.threads is not None else []),
            *(argument for override in self.overrides for argument in ("--set", override)),
            *options.arguments(),
        ]

    def script(self, folder: Path | None = None) -> str:
        """The job script; by default of a folder that is not made. Raises UserError for what cannot be in one."""
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
            exports={**exports, slurm.JOB_RECORD: str(folder.absolute())},
        )
        return slurm.script(batch, self.options.cluster)


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
    return Order(runs[0], label, config, "train", arguments, options, request.overrides, len(runs))


def submit(order: Order) -> Row:
    """Hand in a job; its row for ``runs list``. Raises UserError, and then nothing is left behind.

    Where it is not clear whether the job is queued its folder stays, without a number: AdmmctlError, Interrupted.
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
        shutil.copyfile(order.config, folder / CONFIG)  # later changes to the file are for later jobs
        path.write_text(order.script(folder), encoding="utf-8", errors="surrogateescape")
        path.chmod(0o755)
        # Whatever happens to this process from here on: the folder knows that there may be a job.
        write_json(folder / jobs.RECORD, record)
        number, cluster = _hand_in(path, folder)
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


def _hand_in(path: Path, folder: Path) -> tuple[str, str]:
    """The number of the job, and its cluster where Slurm names one."""
    unclear = (
        f"the job may be queued; its folder is kept: {folder}\nsee: admmctl runs list {shlex.quote(str(folder))}; "
        f"follow it with admmctl wait, end it with admmctl cancel"
    )
    try:
        number, _, cluster = slurm.submit(path.absolute()).partition(";")
        return number, cluster
    except slurm.MayBeQueued as doubt:
        raise slurm.MayBeQueued(f"{doubt}\n{unclear}") from None
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted while sbatch was at work\n{unclear}") from None


def _absolute(name: str, value: str) -> str:
    """Folders of the environment, wherever the job starts."""
    if name == "PYTHONPATH":
        return os.pathsep.join(str(Path(part).absolute()) for part in value.split(os.pathsep) if part)
    return str(Path(value).absolute())
