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
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.files import write_json
from admmctl.launch.inherited import JOB_RECORD
from admmctl.launch.programs import NoAnswer
from admmctl.runs.places import exists, is_run, root
from admmctl.runs.places import find as find_runs
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Row, Status

if TYPE_CHECKING:  # loaded where a job is asked about: it takes longer than a hundred runs to list
    from admmctl.launch import slurm

RECORD, SCRIPT, RUNS, END, LOG = "job.json", "job.sh", "runs.txt", "end.json", "log.txt"
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
AT_WORK = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
LIVE = ("queued", "running")
POLLS = (0.5, 5.0)  # seconds between questions to the scheduler: at first, and after a while
SILENT_POLL = 6  # so many times longer are they while it does not answer
DOUBTS = 12  # so many times in a row a job may be unknown before that is believed: some 20 seconds
SILENCE = 6 * 3600.0  # seconds that the scheduler may be silent: a controller that is being mended comes back
Known = Mapping[str, "slurm.State"] | None  # None: the scheduler could not be asked


class Record(TypedDict):
    """What job.json says. ``runs`` is how many the job makes, where that is known before."""

    job: str | None  # its number; None while sbatch has not said it
    scheduler: str
    experiment: str
    method: str
    ranks: int
    runs: int | None
    submitted: str
    command: list[str]
    cluster: NotRequired[str]


@dataclass(frozen=True)
class Job:
    """A job's folder, and its record."""

    folder: Path
    record: Record

    @property
    def number(self) -> str:
        """Empty while none is known: see ``submit``."""
        return str(self.record["job"] or "")

    @property
    def ticket(self) -> str:
        """The job as the scheduler's programs take it: its number, and the cluster where one was named."""
        cluster = self.record.get("cluster")
        return f"{self.number};{cluster}" if cluster else self.number

    @property
    def name(self) -> str:
        return f"job {self.number}" if self.number else f"the job of {self.folder}"

    def runs(self) -> list[Path]:
        """The run folders that it has made so far, found also after they were moved together with its own."""
        try:
            listed = os.fsdecode((self.folder / RUNS).read_bytes())
        except OSError:
            return []
        return list(dict.fromkeys(self._current_place(Path(line)) for line in listed.split("\n") if line))

    def _current_place(self, run: Path) -> Path:
        """Where a run is now. It was made beside the job's folder, or in the folder of a study beside it."""
        beside = self.folder.absolute().parent
        moved = beside / run.name if run.parent.name == beside.name else beside / run.parent.name / run.name
        return moved if is_run(moved) else run

    def exit_code(self) -> int | None:
        """The exit code of its command; None until that has ended."""
        try:
            return int(json.loads((self.folder / END).read_text())["exit_code"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def exit_code_of_runs(self) -> int | None:
        """The exit code that its runs amount to, for a job that Slurm forgot; None until all have ended."""
        ends = [summary.status for run in self.runs() if (summary := Recorded(run).summary)]
        if not ends or len(ends) != self.record.get("runs"):
            return None
        codes = {Status.FAILED: RunFailed.exit_code, Status.INTERRUPTED: Interrupted.exit_code}
        return max(codes.get(status, 0) for status in ends)

    def status(self, known: Known) -> tuple[str, str]:
        """queued, running, ended, cancelled, failed, lost or unknown; and why."""
        state = None if known is None else known.get(self.ticket)
        word, code = "" if state is None else state.word, self.exit_code()
        live = word in WAITING or word in AT_WORK
        if state is not None and live and not state.past:
            if word in WAITING:
                return "queued", f"{self.name} waits" + (f": {state.reason}" if state.reason else "")
            # One that ended badly may be about to start again: until it has left its nodes nobody can tell.
            if not (word == "COMPLETING" and code == 0):
                return "running", f"{self.name} runs"
        if code is not None:
            return "ended", f"{self.name} ended with exit code {code}"
        if known is None:
            return "unknown", f"{self.name}: the scheduler cannot be asked here"
        log = f"its log: {self.folder / LOG}"
        if not self.number:
            return "lost", f"{self.name} may never have been queued: sbatch named none, squeue has no such script"
        if state is None:
            return "lost", f"{self.name} is not known to Slurm any more, and left no result; {log}"
        if live:  # the accounting missed its end, or it was given up
            return "lost", f"{self.name} is in no queue any more, was {word} at last, and left no result; {log}"
        if word.startswith("CANCELLED"):
            return "cancelled", f"{self.name} was cancelled"
        return "failed", f"{self.name} ended as {word}; {log}"


def read(folder: Path) -> Job | None:
    """The job whose record is in a folder; None where there is none."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return Job(folder, cast(Record, found)) if isinstance(found, dict) and "job" in found else None


def started(run: Path) -> None:
    """Remember, in a job, that it has made this run folder."""
    if JOB_RECORD in os.environ:
        with suppress(OSError), (Path(os.environ[JOB_RECORD]) / RUNS).open("ab") as file:
            file.write(os.fsencode(f"{run.absolute()}\n"))


def ended(exit_code: int) -> None:
    """Remember, in a job, how its command ended."""
    if JOB_RECORD in os.environ:
        with suppress(OSError):
            write_json(Path(os.environ[JOB_RECORD]) / END, {"exit_code": exit_code})


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
) -> list[Recorded]:
    """What ``places.find`` finds. Raises UserError where that is nothing, unless there are ``jobs``."""
    try:
        return find_runs(names, reads, left_out)
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
        return _states(jobs)
    except UserError:
        return None


def _states(jobs: list[Job]) -> "dict[str, slurm.State]":
    """How Slurm says the jobs are. One whose number sbatch did not say gets it, where squeue has its script.

    Raises UserError without Slurm, NoAnswer when it does not answer.
    """
    if not jobs:
        return {}
    from admmctl.launch import slurm

    nameless = [job for job in jobs if not job.number and job.exit_code() is None]
    numbers = slurm.scripts() if nameless else {}
    for job in nameless:
        number = numbers.get(str((job.folder / SCRIPT).absolute()))
        if number is not None:
            job.record["job"] = number
            with suppress(OSError):  # of somebody else's folder: it is looked for again
                write_json(job.folder / RECORD, job.record)
    return slurm.states([job.ticket for job in jobs if job.number])


def listed(rows: list[Row], jobs: list[Job]) -> list[Row]:
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


def job_row(job: Job, status: str, reason: str) -> Row:
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

    ``follow`` gets what they print. A scheduler that does not answer is waited for. Raises UserError where there
    is none, and NoAnswer after hours of silence.
    """
    shown: dict[Path, int] = {}
    reasons: dict[Path, str] = {}  # that were shown
    doubts: Counter[Path] = Counter()
    silent_since: float | None = None
    pause = POLLS[0]
    while True:
        try:
            states: Known = _states(jobs)
            silent_since = None
        except UserError as silence:
            states = None
            if any(job.exit_code() is None for job in jobs):
                now = time.monotonic()
                if not isinstance(silence, NoAnswer) or now - (silent_since or now) > SILENCE:
                    raise
                if silent_since is None:
                    say(f"the scheduler does not answer; it is asked again until it does: {silence}")
                    silent_since = now
        codes = []
        for job in jobs:
            status, reason = job.status(states)
            doubts[job.folder] = doubts[job.folder] + 1 if status == "lost" else 0
            code = _code(job, status, doubts[job.folder])
            if status == "lost" and code is not None and job.exit_code_of_runs() is not None:
                reason = f"{job.name} is gone, and its runs have come to their ends"
            shown[job.folder] = _show(job.folder / LOG, shown.get(job.folder, 0), follow)
            if (code is not None or status in LIVE) and reasons.get(job.folder) != reason:
                say(reason)
                reasons[job.folder] = reason
            codes.append(code)
        finished = [code for code in codes if code is not None]
        if len(finished) == len(codes):
            return max(finished, default=0)
        time.sleep(pause)
        pause = min(POLLS[1] * (1 if silent_since is None else SILENT_POLL), 1.2 * pause)


def _code(job: Job, status: str, doubts: int) -> int | None:
    """The exit code of a job; None while nobody can know it."""
    if status in (*LIVE, "unknown"):
        return None
    if status == "ended":
        return job.exit_code()
    if status == "cancelled":
        return Interrupted.exit_code
    if status == "lost":
        left = job.exit_code_of_runs()
        return 1 if left is None and doubts > DOUBTS else left
    return 1


def _show(path: Path, position: int, follow: Callable[[str], None]) -> int:
    """Hand the whole lines of a log after byte ``position`` to ``follow``; returns the byte after them."""
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
    """End the jobs that wait or run. Raises UserError when there are none, or Slurm refuses one."""
    from admmctl.launch import slurm

    states = _states(jobs)
    live = [job for job in jobs if job.status(states)[0] in LIVE]
    if not live:
        raise UserError("nothing to cancel: " + "; ".join(job.status(states)[1] for job in jobs))
    refusals = []
    for job in live:
        try:
            slurm.cancel(job.ticket)
            say(f"{job.name} is cancelled: {job.folder}")
        except UserError as refusal:  # the others are cancelled nevertheless
            refusals.append(str(refusal))
    if refusals:
        raise UserError("\n".join(refusals))
