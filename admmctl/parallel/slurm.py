"""Slurm: the allocation this process is in, srun's command line, job scripts, and questions to the scheduler.

No value is ever part of a shell string that is not quoted, and programs get lists of arguments.
"""

import getpass
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from admmctl.errors import SeveralDrivers, UserError
from admmctl.parallel.cluster import Launch
from admmctl.parallel.programs import Answer, ask, python

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


def allocation(environment: Mapping[str, str] | None = None) -> Allocation | None:
    """What Slurm's variables say; None outside a job, or where nothing says how large it is.

    Raises SeveralDrivers for a driver per task.
    """
    env = os.environ if environment is None else environment
    job = env.get("SLURM_JOB_ID")
    if not job:
        return None
    inside_step = env.get("SLURM_STEP_ID", INTERACTIVE_STEPS[0]) not in INTERACTIVE_STEPS
    if inside_step and _number(env, "SLURM_STEP_NUM_TASKS", 1) > 1:
        raise SeveralDrivers(
            "srun started several admmctl; it starts its ranks itself: call it without srun, in a batch script or "
            "in salloc",
            quiet=_number(env, "SLURM_PROCID", 0) > 0,
        )
    cores = 0
    for part in re.finditer(r"(\d+)(?:\(x(\d+)\))?", env.get("SLURM_JOB_CPUS_PER_NODE", "")):
        cores += int(part[1]) * int(part[2] or 1)
    tasks = _number(env, "SLURM_NTASKS", _number(env, "SLURM_NPROCS", 0))
    if cores == tasks == 0:
        return None
    if tasks == 0:
        tasks = max(1, cores // max(1, _number(env, "SLURM_CPUS_PER_TASK", 1)))
    return Allocation(job, tasks, max(cores, tasks), "SLURMD_NODENAME" in env)


def without_number(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment outside a job, whose launcher is not to look for the nodes of one."""
    return {name: value for name, value in environment.items() if name not in ("SLURM_JOB_ID", "SLURM_JOBID")}


def requeued() -> bool:
    """Whether Slurm has started this job before, and pre-empted it or lost its node: it is to go on, then."""
    return _number(os.environ, "SLURM_RESTART_COUNT", 0) > 0


def _number(environment: Mapping[str, str], name: str, otherwise: int) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else otherwise


def srun_command(
    ranks: int, arguments: Sequence[str], settings: Launch, threads: int | None, overcommit: bool = False
) -> list[str]:
    """Ranks in the allocation this process is in, or in one that srun waits for; one that fails ends them all."""
    command = ["srun", f"--ntasks={ranks}", f"--mpi={settings.srun_plugin()}", "--kill-on-bad-exit=1"]
    if "SLURM_JOB_ID" not in os.environ:
        wanted = {key: getattr(settings, key) for key in ("partition", "account", "qos", "constraint", "time")}
        command += [f"--{key}={value}" for key, value in wanted.items() if value is not None]
    if threads is not None and threads > 1:
        command.append(f"--cpus-per-task={threads}")  # since Slurm 22.05 not taken over from the job
    if settings.ranks_per_node is not None:
        command.append(f"--ntasks-per-node={min(settings.ranks_per_node, ranks)}")
    if settings.binding is not None:
        words = {"core": "cores", "socket": "sockets", "numa": "ldoms", "none": "none"}
        command.append(f"--cpu-bind={words[settings.binding]}")
    if overcommit:
        command.append("--overcommit")
    if os.environ.get("SLURM_STEP_ID", INTERACTIVE_STEPS[0]) not in INTERACTIVE_STEPS:
        command.append("--overlap")  # `srun --pty bash` holds the cores that its own ranks need
    return [*command, *python("-m", "mpi4py", *arguments)]


def for_mpiexec(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of an mpiexec that starts a proxy on every node of the allocation, by an srun of its own.

    What the job asked for each of its tasks must not bind, or limit, the one proxy: the ranks are its children.
    """
    per_task = ("SLURM_NTASKS_PER_NODE", "SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK")
    kept = {name: value for name, value in environment.items() if name not in per_task}
    # --overlap: `srun --pty bash` holds the cores that the proxies need.
    return {**kept, "SLURM_MPI_TYPE": "none", "SLURM_CPU_BIND": "none", "SLURM_OVERLAP": "1"}


def unreachable() -> bool:
    """Whether the variables name nodes of a job, and there is no srun, by which alone mpiexec could reach them.

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


def forgotten(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of an mpiexec that is to know nothing of the job."""
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_")}


@dataclass(frozen=True)
class Batch:
    """A job to be: what it is called, how large it is, what it runs."""

    name: str
    ranks: int
    threads: int
    log: Path
    work: Path  # the folder it runs in
    command: Sequence[str]
    exports: Mapping[str, str] = field(default_factory=dict)


def script(batch: Batch, settings: Launch) -> str:
    """The job script. Raises UserError for a value that does not fit on a line."""
    per_node = settings.ranks_per_node and min(settings.ranks_per_node, batch.ranks)
    directives: dict[str, object] = {
        "job-name": batch.name,
        "ntasks": batch.ranks,
        "nodes": per_node and -(-batch.ranks // per_node),
        "ntasks-per-node": per_node,
        "cpus-per-task": batch.threads,
        "mem": settings.memory_per_node,
        "time": settings.time,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "reservation": settings.reservation,
        "output": str(batch.log).replace("%", "%%"),
        "open-mode": "append",
        "signal": "B:USR1@60",
    }
    lines = [f"#SBATCH --{key}={_directive(str(value))}" for key, value in directives.items() if value is not None]
    lines.append("#SBATCH --requeue")  # it goes on where it stopped: see ``requeued``
    for option in settings.options:
        key, equals, value = option.partition("=")
        lines.append(f"#SBATCH {_one_line(key)}{equals}{_directive(value) if equals else ''}")
    # Modules are made known by a login shell's profile.
    parts = ["#!/bin/bash -l" if settings.modules else "#!/bin/bash", *lines, ""]
    parts += [f"module load {shlex.quote(_one_line(module))} || exit 1" for module in settings.modules]
    exports = {**settings.environment, **batch.exports}
    parts += [f"export {name}={shlex.quote(_one_line(value))}" for name, value in exports.items()]
    parts.append(f"cd {shlex.quote(_one_line(str(batch.work)))} || exit 1")
    # The driver takes the shell's place: it is the one that Slurm sends its signals to.
    parts.append("exec " + _wrapped([_one_line(word) for word in batch.command]))
    return "\n".join(parts) + "\n"


def _wrapped(words: Sequence[str]) -> str:
    """A command line for people: an option and its value to a line."""
    lines: list[str] = []
    for word in map(shlex.quote, words):
        if not lines or word.startswith("--"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
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


# --- the scheduler


def submit(path: Path) -> str:
    """Hand in a job script; the number of its job. Raises UserError."""
    answer = _ask(["sbatch", "--parsable", str(path)])
    number = answer.out.strip().splitlines()[-1].partition(";")[0] if answer.out.strip() else ""
    if answer.code or not number.isdecimal():
        raise UserError(f"sbatch refused the job: {answer.last_words()}")
    return number


@dataclass(frozen=True)
class State:
    """How a job is, in Slurm's word (PENDING, RUNNING, COMPLETED, ...), and why it waits."""

    word: str
    reason: str = ""


def states(jobs: Sequence[str]) -> dict[str, State]:
    """Of these jobs, those that Slurm knows. Raises UserError when it does not answer."""
    if not jobs:
        return {}
    wanted = set(jobs)
    command = ["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}", "--format=%i|%T|%r"]
    answer = _ask(command)
    if answer.code:
        raise UserError(f"squeue failed: {answer.last_words()}")
    found: dict[str, State] = {}
    for line in answer.out.splitlines():
        job, _, rest = line.strip().partition("|")
        if job in wanted:
            word, _, reason = rest.partition("|")
            found[job] = State(word, "" if reason == "None" else reason)
    for job in sorted(wanted - set(found)):
        past = _accounted(job)
        if past is not None:
            found[job] = past
    return found


def _accounted(job: str) -> State | None:
    """What the accounting remembers of a job that squeue has forgotten; None without accounting."""
    try:
        answer = _ask(["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job}", "--format=State"])
    except UserError:
        return None
    words = answer.out.split()  # "CANCELLED by 1000"
    return State(words[0]) if not answer.code and words else None


def cancel(job: str) -> None:
    """Raises UserError when Slurm will not."""
    answer = _ask(["scancel", job])
    if answer.code or "error" in answer.err:
        raise UserError(f"job {job} was not cancelled: {answer.last_words()}")


def check_plugin(settings: Launch) -> None:
    """Raises UserError when srun cannot start ranks of this MPI family."""
    answer = _ask(["srun", "--mpi=list"])
    plugins = mpi_plugins(answer)
    if settings.srun_plugin() not in plugins:
        raise UserError(
            f"this Slurm starts MPI by {', '.join(plugins) or 'nothing'}, and ranks of {settings.mpi} need "
            f"{settings.srun_plugin()}: set mpi, or plugin, in the launch block of the cluster's file, or use "
            "--launcher mpiexec"
        )


def mpi_plugins(answer: Answer) -> list[str]:
    """What ``srun --mpi=list`` names. Older versions print it to standard error, with a prefix."""
    words = re.findall(r"^(?:srun:)?\s+(\w+)\s*$", answer.out + "\n" + answer.err, flags=re.MULTILINE)
    return sorted(set(words) - {"none"})


def _ask(command: list[str]) -> Answer:
    try:
        return ask(command, SECONDS)
    except UserError as error:
        if "there is no such program" in str(error):
            raise UserError(
                f"{command[0]} was not found: this machine has no Slurm, or its module is not loaded"
            ) from None
        raise
