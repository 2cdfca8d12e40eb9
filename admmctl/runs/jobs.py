"""Jobs in a scheduler's hands: their records beside the runs, how they are, waiting for them, ending them.

``results/<experiment>/job-.../`` holds job.json (the number, the command), job.sh, experiment.yaml, log.txt; and
from the job itself runs.txt, the run folders it made, and end.json, its exit code. The command that handed it in
need not stay alive.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admmctl.errors import Interrupted, UserError
from admmctl.files import write_json
from admmctl.parallel import slurm
from admmctl.runs import record
from admmctl.runs.record import exists, is_run, root

RECORD, RUNS, END, LOG = "job.json", "runs.txt", "end.json", "log.txt"
VARIABLE = "ADMMCTL_JOB"  # in a job's environment: the folder of its record
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
AT_WORK = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
LIVE = ("queued", "running")
POLLS = (0.5, 5.0)  # seconds between questions to the scheduler: at first, and after a while
PATIENCE = 3  # so many times in a row a job may be unknown, or the scheduler silent, before that is believed
Known = Mapping[str, slurm.State] | None  # None: the scheduler could not be asked


@dataclass(frozen=True)
class Job:
    """A job's folder, and what its record says."""

    folder: Path
    record: dict[str, Any]

    @property
    def number(self) -> str:
        return str(self.record["job"])

    def runs(self) -> list[Path]:
        """The run folders it has made so far."""
        try:
            return list(dict.fromkeys(map(Path, (self.folder / RUNS).read_text().splitlines())))
        except (OSError, ValueError):
            return []

    def exit_code(self) -> int | None:
        """Of its command; None while that has not come to its end."""
        try:
            return int(json.loads((self.folder / END).read_text())["exit_code"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def status(self, known: Known) -> tuple[str, str]:
        """queued, running, ended, cancelled, failed, lost or unknown; and why."""
        state = None if known is None else known.get(self.number)
        word, code = "" if state is None else state.word, self.exit_code()
        if state is not None and word in WAITING:
            return "queued", f"job {self.number} waits" + (f": {state.reason}" if state.reason else "")
        # One that ended badly may be about to start again: until it has left its nodes nobody can tell.
        if word in AT_WORK and not (word == "COMPLETING" and code == 0):
            return "running", f"job {self.number} runs"
        if code is not None:
            return "ended", f"job {self.number} ended with exit code {code}"
        if known is None:
            return "unknown", f"job {self.number}: the scheduler cannot be asked here"
        log = f"its log: {self.folder / LOG}"
        if state is None:
            return "lost", f"job {self.number} is not known to Slurm any more, and left no result; {log}"
        if word.startswith("CANCELLED"):
            return "cancelled", f"job {self.number} was cancelled"
        return "failed", f"job {self.number} ended as {word}; {log}"


def read(folder: Path) -> Job | None:
    """The job whose record is in a folder; None where there is none."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return Job(folder, found) if isinstance(found, dict) and found.get("job") else None


def started(run: Path) -> None:
    """Remember, in a job, that it has made this run folder."""
    if VARIABLE in os.environ:
        with suppress(OSError), (Path(os.environ[VARIABLE]) / RUNS).open("a") as file:
            file.write(f"{run.absolute()}\n")


def ended(exit_code: int) -> None:
    """Remember, in a job, how its command ended."""
    if VARIABLE in os.environ:
        with suppress(OSError):
            write_json(Path(os.environ[VARIABLE]) / END, {"exit_code": exit_code})


def find(names: list[str] | None = None) -> list[Job]:
    """The jobs that RUN arguments name: job folders, runs of jobs, experiment folders, or a job's number."""
    places = [Path(name) if exists(Path(name)) else root() / name for name in names or []]
    if not names:
        places = [root(), *_folders(root())]
    found: list[Job] = []
    for place in places:
        if is_run(place):
            run = place.absolute()
            found += [job for job in _inside(place.parent) if run in job.runs()]
        elif not exists(place) and place.name.isdecimal():
            found += [job for folder in _folders(root()) for job in _inside(folder) if job.number == place.name]
        else:
            job = read(place)
            found += [job] if job is not None else _inside(place)
    return list({job.folder.absolute(): job for job in found}.values())


def runs_beside(
    jobs: list[Job], names: list[str] | None, reads: Sequence[str], left_out: Callable[[Path, str], None]
) -> list[Path]:
    """What ``record.find`` finds. Raises UserError for none, unless they name jobs."""
    try:
        return record.find(names, reads, left_out)
    except UserError:
        if jobs:
            return []
        raise


def _inside(folder: Path) -> list[Job]:
    return [job for place in _folders(folder) if (job := read(place)) is not None]


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:
        return []


def known(jobs: list[Job]) -> Known:
    """How Slurm says those of the jobs are that may still change; None where it cannot be asked."""
    try:
        return slurm.states([job.number for job in jobs])
    except UserError:
        return None


def listed(rows: list[dict[str, Any]], jobs: list[Job]) -> list[dict[str, Any]]:
    """``rows`` of runs with what their jobs say of the unfinished ones, and a row for every job without a run."""
    states = known(jobs)
    by_folder = {Path(row["folder"]).absolute(): row for row in rows}
    result = list(rows)
    for job in jobs:
        status, reason = job.status(states)
        made = [by_folder[run] for run in job.runs() if run in by_folder]
        unfinished = [row for row in made if row["status"] == "unfinished"]
        for row in unfinished:
            row.update(status="failed" if status == "ended" else status, reason=reason, job=job.number)
        if not job.runs() and not (status == "ended" and job.exit_code() == 0):
            result.append(job_row(job, "failed" if status == "ended" else status, reason))
    return result


def job_row(job: Job, status: str, reason: str) -> dict[str, Any]:
    """A job as a line of ``runs list``."""
    keys = ("experiment", "method", "ranks", "job")
    return {
        "folder": str(job.folder),
        **{key: job.record.get(key) for key in keys},
        "status": status,
        "reason": reason,
    }


def wait(jobs: list[Job], follow: Callable[[str], None], say: Callable[[str], None]) -> int:
    """Until all jobs have ended: the largest exit code of their commands, 1 where one has none.

    ``follow`` gets what they print. Raises UserError when the scheduler cannot be asked.
    """
    shown: dict[Path, int] = {}
    told: dict[Path, str] = {}
    doubts: Counter[Path] = Counter()
    silence, pause = 0, POLLS[0]
    while True:
        try:
            states: Known = slurm.states([job.number for job in jobs])
            silence = 0
        except UserError:
            silence += 1
            if silence > PATIENCE and any(job.exit_code() is None for job in jobs):
                raise
            states = None
        codes = []
        for job in jobs:
            status, reason = job.status(states)
            if status in ("lost", "unknown"):
                doubts[job.folder] += 1
            code = _code(job, status, doubts[job.folder])
            shown[job.folder] = _show(job.folder / LOG, shown.get(job.folder, 0), follow)
            if (code is not None or status in LIVE) and told.get(job.folder) != reason:
                say(reason)
                told[job.folder] = reason
            codes.append(code)
        finished = [code for code in codes if code is not None]
        if len(finished) == len(codes):
            return max(finished, default=0)
        time.sleep(pause)
        pause = min(POLLS[1], 1.2 * pause)


def _code(job: Job, status: str, doubts: int) -> int | None:
    """The exit code that a job stands for; None while it is not known."""
    if status in LIVE:
        return None
    if status == "ended":
        return job.exit_code()
    if status == "cancelled":
        return Interrupted.exit_code
    if status in ("lost", "unknown") and doubts <= PATIENCE:
        return None
    return 1


def _show(path: Path, position: int, follow: Callable[[str], None]) -> int:
    """Whole lines of a log since ``position``; where they end."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            new = file.read()
    except OSError:
        return position
    whole = new.rpartition(b"\n")[0]
    if not whole:
        return position
    follow(whole.decode(errors="replace"))
    return position + len(whole) + 1


def cancel(jobs: list[Job], say: Callable[[str], None]) -> None:
    """End the jobs that wait or run. Raises UserError when there are none, or Slurm refuses."""
    states = slurm.states([job.number for job in jobs])
    live = [job for job in jobs if job.status(states)[0] in LIVE]
    if not live:
        raise UserError("nothing to cancel: " + "; ".join(job.status(states)[1] for job in jobs))
    for job in live:
        slurm.cancel(job.number)
        say(f"job {job.number} is cancelled: {job.folder}")
