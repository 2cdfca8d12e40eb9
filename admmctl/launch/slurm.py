"""Slurm: the allocation this process is in, srun's command line, job scripts, and questions to the scheduler.

No value is ever part of a shell string that is not quoted, and programs get lists of arguments.
"""

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from admmctl.errors import AdmmctlError, SeveralDrivers, UserError
from admmctl.launch.cluster import Launch
from admmctl.launch.inherited import whole_number
from admmctl.launch.programs import Answer, NoAnswer, ask

SECONDS = 30.0  # a busy scheduler takes its time
NODES = ("SLURM_JOB_NODELIST", "SLURM_NODELIST")
INTERACTIVE_STEPS = ("4294967290", "4294967292", "4294967293")  # salloc's shell, what is outside, the batch script


@dataclass(frozen=True)
class Allocation:
    """The job whose cores this process may use."""

    job: str
    tasks: int
    cores: int
    on_a_node: bool  # False in the shell of a login node that salloc started


def allocation() -> Allocation | None:
    """What Slurm's variables say; None outside a job, or where nothing says how large it is.

    Raises SeveralDrivers for a driver per task.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    if in_a_step() and whole_number("SLURM_STEP_NUM_TASKS") > 1:
        raise SeveralDrivers(
            "srun started several admmctl; it starts its ranks itself: call it without srun, in a batch script or "
            "in salloc",
            quiet=whole_number("SLURM_PROCID") > 0,
        )
    cores = 0
    for part in re.finditer(r"(\d+)(?:\(x(\d+)\))?", os.environ.get("SLURM_JOB_CPUS_PER_NODE", "")):
        cores += int(part[1]) * int(part[2] or 1)
    tasks = whole_number("SLURM_NTASKS", whole_number("SLURM_NPROCS"))
    if cores == tasks == 0:
        return None
    if tasks == 0:
        tasks = max(1, cores // max(1, whole_number("SLURM_CPUS_PER_TASK")))
    return Allocation(job, tasks, max(cores, tasks), "SLURMD_NODENAME" in os.environ)


def requeued() -> bool:
    """Whether Slurm starts this job again, after it pre-empted it or lost its node: then its runs go on."""
    return whole_number("SLURM_RESTART_COUNT") > 0


def in_a_step() -> bool:
    """Whether srun has started this process, as in ``srun --pty bash``: then it holds the cores of its step."""
    return os.environ.get("SLURM_STEP_ID", INTERACTIVE_STEPS[0]) not in INTERACTIVE_STEPS


def for_mpiexec(environment: Mapping[str, str], on_hosts: bool) -> dict[str, str]:
    """The environment of an mpiexec: it finds the nodes of a job by itself, and starts a proxy on each by srun."""
    if unreachable():  # mpiexec must not know of the job
        return {name: value for name, value in environment.items() if not name.startswith("SLURM_")}
    drop: tuple[str, ...] = ()
    add = {}
    if allocation() is None:  # mpiexec must not look for the nodes of a job that is over
        drop = ("SLURM_JOB_ID", "SLURM_JOBID")
    elif not on_hosts:
        # What the job asked for each task must not bind, or limit, the one proxy: the ranks are its children.
        drop = ("SLURM_NTASKS_PER_NODE", "SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK")
        # --overlap: `srun --pty bash` holds the cores that the proxies need.
        add = {"SLURM_MPI_TYPE": "none", "SLURM_CPU_BIND": "none", "SLURM_OVERLAP": "1"}
    return {name: value for name, value in environment.items() if name not in drop} | add


def unreachable() -> bool:
    """Whether the variables name nodes of a job that mpiexec cannot reach, because there is no srun.

    So it is in a container, or without the site's module. MPICH's mpiexec would wait for its proxies for ever.
    """
    return any(os.environ.get(name) for name in NODES) and shutil.which("srun") is None


def check_reachable() -> None:
    """Raises UserError when there is no way to the nodes of this job."""
    if unreachable():
        raise UserError(
            "the SLURM_* variables say that this is inside a Slurm job, but there is no srun on the PATH, by "
            "which mpiexec starts ranks on its nodes; load the site's Slurm module, or use --launcher mpiexec, "
            "which then starts all ranks on this machine"
        )


@dataclass(frozen=True)
class Batch:
    """A job to hand in: its name, its size, and what it runs."""

    name: str
    ranks: int
    threads: int
    log: Path
    work: Path  # the folder it runs in
    command: Sequence[str]
    exports: Mapping[str, str] = field(default_factory=dict)
    after: Sequence[str] = ()  # numbers of jobs that have to end first, whichever way


def script(batch: Batch, settings: Launch) -> str:
    """The job script. Raises UserError for a value that does not fit on a line."""
    per_node = settings.ranks_per_node and min(settings.ranks_per_node, batch.ranks)
    by_their_names = {"time", "partition", "account", "qos", "constraint", "reservation"}
    directives: dict[str, object] = {
        "job-name": batch.name,
        "ntasks": batch.ranks,
        "nodes": per_node and -(-batch.ranks // per_node),
        "ntasks-per-node": per_node,
        "cpus-per-task": batch.threads,
        "gpus-per-task": settings.gpus_per_task,
        "mem": settings.memory_per_node,
        **settings.model_dump(include=by_their_names),
        "exclude": ",".join(settings.exclude) or None,
        "dependency": ":".join(["afterany", *batch.after]) if batch.after else None,
        "output": str(batch.log).replace("%", "%%"),
        "open-mode": "append",
        "signal": "B:USR1@60",
    }
    lines = [f"#SBATCH --{key}={_directive(str(value))}" for key, value in directives.items() if value is not None]
    lines.append("#SBATCH --requeue")  # it goes on where it stopped: see ``requeued``
    for option in settings.options:
        key, equals, value = option.partition("=")
        lines.append(f"#SBATCH {_one_line(key)}{equals}{_directive(value) if equals else ''}")
    # A login shell knows the command ``module``, from its profile.
    parts = ["#!/bin/bash -l" if settings.modules else "#!/bin/bash", *lines, ""]
    parts += [f"module load {shlex.quote(_one_line(module))} || exit 1" for module in settings.modules]
    exports = {**settings.environment, **batch.exports}
    parts += [f"export {name}={shlex.quote(_one_line(value))}" for name, value in exports.items()]
    parts.append(f"cd {shlex.quote(_one_line(str(batch.work)))} || exit 1")
    # The driver takes the shell's place, to which Slurm sends its signals.
    parts.append("exec " + _wrapped([_one_line(word) for word in batch.command]))
    return "\n".join(parts) + "\n"


def _wrapped(arguments: Sequence[str]) -> str:
    """A command line for people: an option and its value to a line."""
    lines: list[str] = []
    for argument in map(shlex.quote, arguments):
        if not lines or argument.startswith("--"):
            lines.append(argument)
        else:
            lines[-1] += f" {argument}"
    return " \\\n    ".join(lines)


def _one_line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise UserError(f"a line break, or another control character, cannot be part of a job: {value!r}")
    return value


def _directive(value: str) -> str:
    """A value as sbatch reads it in its #SBATCH lines; to the shell these are comments."""
    if re.fullmatch(r"[A-Za-z0-9@:.,_+%/-]+", _one_line(value)):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- the scheduler: a job is 4242, or 4242;c1 where it went to the cluster c1 by name, as sbatch says it

# What a failing sbatch prints where it has asked, and does not know the answer.
_UNSURE = re.compile(r"timed out|Zero Bytes|Unexpected message|connection reset", re.IGNORECASE)
_UNREACHED = re.compile(r"Unable to contact|Connection refused|timed out", re.IGNORECASE)


# What it prints of a job that it would have taken at another time: the controller is away, or has enough jobs.
_AWAY = re.compile(r"Unable to contact|Connection refused", re.IGNORECASE)
_FULL = re.compile(r"(?:Max|Grp)Submit\w*Limit|temporarily un(?:able|available)", re.IGNORECASE)


class MayBeQueued(AdmmctlError):
    """Whether a job was accepted is not known, or its number is not."""


class Silent(MayBeQueued):
    """sbatch has no answer of the controller: it may be asked again, where squeue does not know the job."""


class Busy(UserError):
    """A job was not accepted for now: it may be handed in again."""


def submit(path: Path) -> str:
    """Hand in a job script; its job. Raises UserError where it is refused, MayBeQueued where that is not clear.

    Those of them that are worth another try are Busy and Silent.
    """
    try:
        answer = _ask(["sbatch", "--parsable", str(path)])
    except NoAnswer as silence:
        raise Silent(str(silence)) from None
    line = answer.last_line()
    failed = "submission failed" in answer.err  # then a number is no job's
    job = None if failed else _handed_in(answer)
    if job is not None:
        return job
    killed, printed = not 0 <= answer.code <= 128, answer.out + answer.err
    unclear = f"sbatch ended with exit code {answer.code}, and named no job: {line}"
    if not answer.code or killed:
        raise MayBeQueued(unclear)
    if _UNSURE.search(printed):
        raise Silent(unclear)
    raise (Busy if _AWAY.search(printed) or _FULL.search(printed) else UserError)(
        f"sbatch refused the job: {line}"
    )


def _handed_in(answer: Answer) -> str | None:
    """The job that sbatch names, among other lines that a site may print; None for none, or for several."""
    for text in (answer.out, answer.err):
        named = re.findall(r"Submitted batch job (\d+)(?: on cluster ([\w.-]+))?(?![\w+])", text)
        lines = [line.strip() for line in text.splitlines()]
        bare = [each.groups("") for line in lines if (each := re.fullmatch(r"(\d+)(?:;([\w.-]+))?", line))]
        # A bare number may be something else, a quota for instance: the surer forms come first.
        for found in (named, [each for each in bare if each[1]], bare):
            if found:
                jobs = set(found)
                return ";".join(filter(None, jobs.pop())) if len(jobs) == 1 else None
    return None


@dataclass(frozen=True)
class State:
    """The state of a job in Slurm's word (PENDING, RUNNING, COMPLETED, ...), and the reason why it waits."""

    word: str
    reason: str = ""
    past: bool = field(default=False, compare=False)  # the word is of the accounting: squeue has forgotten the job


def states(jobs: Sequence[str]) -> dict[str, State]:
    """The states of those jobs that Slurm knows. Raises UserError without Slurm, NoAnswer without an answer."""
    found: dict[str, State] = {}
    for cluster in sorted({job.partition(";")[2] for job in jobs}):
        wanted = {number: job for job in jobs for number, _, c in [job.partition(";")] if c == cluster}
        for number, word, reason in _queue("%i|%T|%r", cluster):
            # REVOKED: the job of a federation that another of its clusters has started.
            if number in wanted and word != "REVOKED":
                found[wanted[number]] = State(word, "" if reason == "None" else reason)
    for job in sorted(set(jobs) - set(found)):
        past = _accounted(job)
        if past is not None:
            found[job] = past
    return found


def scripts() -> dict[str, str]:
    """The jobs that squeue knows by their scripts. Raises UserError without Slurm, NoAnswer without an answer."""
    return {path: number for number, path in _queue("%i|%o") if number.isdecimal()}


def _queue(form: str, cluster: str = "") -> list[list[str]]:
    """The user's jobs on a cluster, or here: the fields of ``form``, which | separates."""
    command = ["squeue", "--noheader", "--states=all", f"--user={os.getuid()}", f"--format={form}"]
    answer = _ask(command + _on(cluster))
    if "Invalid job id" in answer.err:
        return []  # squeue knows none of them
    if answer.code or (not answer.out.strip() and _UNREACHED.search(answer.err)):
        raise NoAnswer(f"squeue failed: {answer.last_line()}")
    fields = form.count("|")
    rows = [line.strip().split("|", fields) for line in answer.out.splitlines()]
    return [row for row in rows if len(row) == fields + 1]  # other lines are notices


def _on(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _accounted(job: str) -> State | None:
    """What the accounting remembers of a job that squeue has forgotten; None without accounting."""
    number, _, cluster = job.partition(";")
    command = ["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={number}", "--format=State"]
    try:
        answer = _ask(command + _on(cluster))
    except UserError:
        return None
    lines = [line.split() for line in answer.out.splitlines() if line.strip()]  # "CANCELLED by 1000"
    # A line per start: the last counts.
    return State(lines[-1][0], past=True) if not answer.code and lines else None


def cancel(job: str) -> None:
    """Raises UserError when Slurm will not, or does not answer."""
    number, _, cluster = job.partition(";")
    answer = _ask(["scancel", *_on(cluster), number])
    if answer.code or "error" in answer.err:
        raise UserError(f"job {number} was not cancelled: {answer.last_line()}")


def check_plugin(settings: Launch) -> None:
    """Raises UserError when srun cannot start ranks of this MPI family."""
    plugins = mpi_plugins()
    if settings.srun_plugin() not in plugins:
        raise UserError(
            f"this Slurm starts MPI by {', '.join(plugins) or 'nothing'}, and ranks of {settings.mpi} need "
            f"{settings.srun_plugin()}: set mpi, or plugin, in the launch block of the cluster's file, or use "
            "--launcher mpiexec"
        )


def mpi_plugins() -> list[str]:
    """What srun can start ranks by. Older versions print it to standard error, with a prefix."""
    answer = _ask(["srun", "--mpi=list"])
    names = re.findall(r"^(?:srun:)?\s+(\w+)\s*$", answer.out + "\n" + answer.err, flags=re.MULTILINE)
    return sorted(set(names) - {"none"})


def _ask(command: list[str]) -> Answer:
    if shutil.which(command[0]) is None:
        raise UserError(f"{command[0]} was not found: this machine has no Slurm, or its module is not loaded")
    return ask(command, SECONDS)
