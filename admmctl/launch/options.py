"""How the ranks of runs start, from the words of the command line: here, on hosts, or under Slurm."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from admmctl.errors import UserError
from admmctl.experiment.config import Run
from admmctl.launch import local as launch
from admmctl.launch import slurm
from admmctl.launch.cluster import Host, Launch, parse_hosts
from admmctl.launch.clusters import cluster_file, load_cluster
from admmctl.launch.inherited import check_alone, without_leftovers

# Seconds in which no further rank says a word, until a start has failed; so many more for every rank. With a
# watchdog it is as patient as that, and as Python needs to start.
START, START_OF_A_RANK, LEAST_START = 120.0, 2.0, 30.0
MOST = 10_000  # repeats, or threads: more is a slip of the keyboard
Launcher = Literal["auto", "inline", "mpiexec", "srun", "sbatch"]
Way = Literal["inline", "mpiexec", "srun", "sbatch"]


@dataclass(frozen=True)
class Options:
    """How runs are started; none of it changes what they compute."""

    cores: int = 1
    threads: int | Literal["auto"] | None = None
    launcher: Launcher = "auto"
    oversubscribe: bool = False
    hosts: tuple[Host, ...] = ()
    cluster: Launch = field(default_factory=Launch)
    watchdog: float | None = None  # seconds without progress after which a job of several ranks is ended
    site: Path | None = None  # the file of ``cluster``

    def words(self) -> list[str]:
        """What a command line has to say, besides the number of ranks and threads, to start them so again."""
        launcher = "sbatch" if slurm.JOB_RECORD in os.environ else self.launcher
        words = ["--oversubscribe"] if self.oversubscribe else []
        words += ["--launcher", launcher] if launcher != "auto" else []
        words += ["--hosts", ",".join(f"{name}:{slots}" for name, slots in self.hosts)] if self.hosts else []
        words += ["--cluster", str(self.site)] if self.site is not None else []
        return words + (["--watchdog", f"{self.watchdog:g}"] if self.watchdog else [])

    def way(self) -> Way:
        """How ranks start, where 'auto' is left to us: one rank inline, several by srun or by mpiexec."""
        if self.launcher != "auto":
            return self.launcher
        if self.hosts:
            return "mpiexec"
        job = slurm.allocation()
        if job is not None and not (self.cores == 1 and job.on_a_node):
            return "srun" if self.cluster.by_srun() else "mpiexec"
        return "inline" if self.cores == 1 else "mpiexec"

    def allocation(self) -> slurm.Allocation | None:
        """The Slurm job whose nodes take the ranks, if there is one: mpiexec finds them by itself."""
        alone = self.launcher == "mpiexec" and slurm.unreachable()
        return slurm.allocation() if self.way() in ("srun", "mpiexec") and not self.hosts and not alone else None

    def elsewhere(self) -> bool:
        """Whether ranks run on other cores than those of this process."""
        return bool(self.hosts) or self.way() in ("srun", "sbatch") or self.allocation() is not None

    def start_seconds(self) -> float | None:
        """How long a start may take in which no further rank says a word; None: as long as it takes."""
        if self.way() == "srun" and slurm.allocation() is None:
            return None  # srun waits in the queue
        usual = START + START_OF_A_RANK * self.cores
        return self.cluster.start_seconds or (max(self.watchdog, LEAST_START) if self.watchdog else usual)

    def command(self, arguments: list[str], threads: int | None) -> list[str]:
        """The command line that starts ``cores`` ranks of a Python module."""
        if self.way() == "srun":
            return slurm.srun_command(self.cores, arguments, self.cluster, threads, self.oversubscribe)
        return launch.mpiexec_command(self.cores, arguments, self.cluster, self.hosts, threads)

    def environment(self, threads: int | None) -> dict[str, str]:
        """What these ranks find in their environment."""
        environment = launch.job_environment(self.cores, threads, self.cluster, self.elsewhere())
        if self.way() != "mpiexec":
            return environment  # srun tells its processes anew what others may have left
        environment = without_leftovers(environment)
        if slurm.unreachable():
            environment = slurm.forgotten(environment)
        elif slurm.allocation() is None:
            environment = slurm.without_number(environment)
        elif not self.hosts:
            environment = slurm.for_mpiexec(environment)
        return launch.by_ssh(environment, self.cluster) if self.hosts else environment

    def check_cores(self) -> None:
        """Raises UserError for more ranks than there is room for, and for a launcher that cannot start them."""
        way = self.way()
        if way == "sbatch":
            return  # the scheduler's to decide
        if self.hosts:
            room = sum(slots for _, slots in self.hosts)
            launch.check_cores(self.cores, self.oversubscribe, room, "--hosts")
        elif (job := self.allocation()) is not None:
            launch.check_cores(self.cores, self.oversubscribe, job.cores, f"job {job.job}")
        elif way != "srun":
            launch.check_cores(self.cores, self.oversubscribe)
        self.check_launcher()

    def check_launcher(self) -> None:
        """Raises UserError where the launcher is not there, or can start nothing."""
        way = self.way()
        if way == "srun":
            slurm.check_plugin(self.cluster)
        if way == "mpiexec":
            launch.find_mpiexec(self.cluster.mpiexec)
        if way == "mpiexec" and self.allocation() is not None:
            slurm.check_reachable()

    def threads_for(self, run: Run) -> int | None:
        asked = self.threads if self.threads is not None else run.threads
        if asked == "auto" and self.elsewhere():
            raise UserError("--threads auto: the cores of other machines are not known here; give a number")
        return launch.threads_per_rank(asked, self.cores)

    def crowding(self, threads: int | None) -> str:
        """What a user should know of more threads than cores, where ``threads_for`` said so; '' where they fit."""
        cores = launch.available_cores()
        # A variable for larger machines gives no more threads than this one has cores.
        each = threads or min(launch.threads_in_environment() or 1, cores)
        if self.elsewhere() or each == 1 or each * self.cores <= cores:
            return ""
        ranks = f"{self.cores} rank{'s' * (self.cores > 1)}"
        return f"{ranks} x {each} threads on {cores} cores: that is slow; use --threads 1, or fewer ranks"


def check_options(
    cores: int | None,
    threads: int | str | None,
    launcher: str,
    oversubscribe: bool,
    hosts: str | None = None,
    cluster: str | Path | None = None,
    patience: float | None = None,
) -> Options:
    """How runs are to start, in the words of the command line or of Python. Raises UserError.

    Without ``cores`` it is the size of the allocation this process is in, or of the hosts, or 1.
    """
    check_alone()
    if cores is not None and cores < 1:
        raise UserError(f"--cores {cores}: expected 1 or more")
    if launcher not in get_args(Launcher):
        raise UserError(f"--launcher {launcher}: valid: {', '.join(get_args(Launcher))}")
    if hosts is not None and launcher not in ("auto", "mpiexec"):
        raise UserError(f"--hosts is for --launcher mpiexec; {launcher} has its own ways")
    listed = () if hosts is None else parse_hosts(hosts)
    cluster = cluster or os.environ.get("ADMMCTL_CLUSTER") or None
    site = None if cluster is None else cluster_file(cluster).absolute()
    settings = Launch() if site is None else load_cluster(site).launch
    if cores is None:
        alone = launcher == "mpiexec" and slurm.unreachable()
        job = slurm.allocation() if launcher in ("auto", "srun", "mpiexec") and not listed and not alone else None
        cores = job.tasks if job is not None else sum(slots for _, slots in listed) or 1
    number: int | Literal["auto"] | None = None
    if threads == "auto":
        number = "auto"
    elif threads is not None:
        if not str(threads).isdecimal() or not 1 <= int(threads) <= MOST:
            raise UserError(f"--threads {threads}: expected a number of 1 to {MOST:,}, or auto")
        number = int(threads)
    if patience is not None and not 0 < patience < float("inf"):
        raise UserError(f"--watchdog {patience:g}: expected seconds, more than an iteration takes")
    return Options(cores, number, cast(Launcher, launcher), oversubscribe, listed, settings, patience, site)
