"""How runs are started, as the command line or a call from Python asks for it: checked once, here."""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from admmctl.errors import UserError
from admmctl.experiment.config import Run
from admmctl.launch import local, programs, slurm
from admmctl.launch.cluster import Launch, cluster_file, load_cluster, parse_hosts
from admmctl.launch.inherited import JOB_RECORD, check_single
from admmctl.launch.job import Command
from admmctl.launch.launchers import LauncherName, Ranks

# Seconds in which nothing is heard of a further rank, until a start has failed; so many more for every rank.
# With a watchdog it is as long as that allows, and as Python needs to start.
START, START_OF_A_RANK, LEAST_START = 120.0, 2.0, 30.0
MOST = 10_000  # repeats, or threads: more is a slip of the keyboard
ELSEWHERE = "other machines by --hosts h1:8,h2:8 or --launcher sbatch, "
Threads = int | Literal["auto"] | None


@dataclass(frozen=True)
class Options(Ranks):
    """How runs are started; none of it changes what they compute."""

    threads: Threads = None
    watchdog: float | None = None  # seconds without progress after which a job of several ranks is ended
    site: Path | None = None  # the file of ``cluster``

    def arguments(self) -> list[str]:
        """The options of a command line that say the same, but for the numbers of ranks and threads."""
        hosts = ",".join(f"{name}:{slots}" for name, slots in self.hosts)
        return [
            *(["--oversubscribe"] if self.oversubscribe else []),
            *(["--launcher", self.launcher] if self.launcher != "auto" else []),
            *(["--hosts", hosts] if hosts else []),
            *(["--cluster", str(self.site)] if self.site is not None else []),
            *(["--watchdog", f"{self.watchdog:g}"] if self.watchdog else []),
        ]

    def rerun_arguments(self) -> list[str]:
        """``arguments`` for people: they are outside the Slurm job that this process may be in."""
        return (replace(self, launcher="sbatch") if JOB_RECORD in os.environ else self).arguments()

    def command(self, arguments: list[str], threads: int | None) -> Command:
        """What starts a Python with ``arguments`` on every rank; an exception on one of them ends them all.

        One rank without a launcher is a process of its own, without MPI.
        """
        launcher = self.chosen()
        environment = launcher.environment(self, threads)
        if self.inline:
            return Command(programs.python(*arguments), environment)
        line = [*launcher.start(self, threads), *programs.python("-m", "mpi4py", *arguments)]
        return Command(line, environment, self.cores, self.start_seconds())

    def start_seconds(self) -> float | None:
        """How long nothing may be heard of a further rank while a job starts; None: as long as it takes."""
        if self.chosen().queues and slurm.allocation() is None:
            return None  # it waits in the queue
        usual = START + START_OF_A_RANK * self.cores
        return self.cluster.start_seconds or (max(self.watchdog, LEAST_START) if self.watchdog else usual)

    def check_inline(self) -> None:
        """Raises UserError for several ranks in this one process."""
        if self.inline and self.cores > 1:
            raise UserError(f"--launcher inline runs one rank; for --cores {self.cores} use --launcher mpiexec")

    def check(self, elsewhere: str = ELSEWHERE) -> None:
        """Raises UserError for more ranks than there is room for, and for a launcher that cannot start them.

        ``elsewhere`` are the command's options by which ranks run on other machines.
        """
        self.check_inline()
        if (room := self.room()) is not None:
            local.check_cores(self.cores, self.oversubscribe, *room, elsewhere if room[1] == local.HERE else "")
        self.chosen().check(self)

    def threads_for(self, run: Run) -> int | None:
        """BLAS threads per rank; None: as the user's environment says."""
        asked = self.threads if self.threads is not None else run.threads
        if asked == "auto" and self.remote():
            raise UserError("--threads auto: the cores of other machines are not known here; give a number")
        return local.threads_per_rank(asked, self.cores)

    def crowding(self, threads: int | None) -> str:
        """A warning where the ``threads`` of ``threads_for`` are more than the cores; '' where they fit."""
        cores = local.available_cores()
        # A variable for larger machines gives no more threads than this one has cores.
        each = threads or min(local.threads_in_environment() or 1, cores)
        if self.remote() or each == 1 or each * self.cores <= cores:
            return ""
        ranks = f"{self.cores} rank{'s' * (self.cores > 1)}"
        return f"{ranks} x {each} threads on {cores} cores: that is slow; use --threads 1, or fewer ranks"


def check_options(
    cores: int | None,
    threads: int | str | None = None,
    launcher: str = "auto",
    oversubscribe: bool = False,
    hosts: str | None = None,
    cluster: str | Path | None = None,
    watchdog: float | None = None,
) -> Options:
    """How runs are to start, as the command line or a call from Python says it. Raises UserError.

    Without ``cores`` there are as many ranks as the allocation has tasks, else as the hosts take, else 1.
    """
    check_single()
    if cores is not None and cores < 1:
        raise UserError(f"--cores {cores}: expected 1 or more")
    if launcher not in get_args(LauncherName):
        raise UserError(f"--launcher {launcher}: valid: {', '.join(get_args(LauncherName))}")
    if hosts is not None and launcher not in ("auto", "mpiexec"):
        raise UserError(f"--hosts is for --launcher mpiexec; {launcher} has its own ways")
    if isinstance(threads, str) and threads.isdecimal():
        threads = int(threads)
    if threads not in (None, "auto") and not (isinstance(threads, int) and 1 <= threads <= MOST):
        raise UserError(f"--threads {threads}: expected a number of 1 to {MOST:,}, or auto")
    if watchdog is not None and not 0 < watchdog < math.inf:
        raise UserError(f"--watchdog {watchdog:g}: expected seconds, more than an iteration takes")
    cluster = cluster or os.environ.get("ADMMCTL_CLUSTER") or None
    site = None if cluster is None else cluster_file(cluster).absolute()
    options = Options(
        launcher=cast(LauncherName, launcher),
        oversubscribe=oversubscribe,
        hosts=() if hosts is None else parse_hosts(hosts),
        cluster=Launch() if site is None else load_cluster(site).launch,
        threads=cast(Threads, threads),
        watchdog=watchdog,
        site=site,
    )
    if cores is None:
        job = replace(options, cores=2).allocation()  # the launcher of one rank may be in this process
        cores = job.tasks if job is not None else sum(slots for _, slots in options.hosts) or 1
    return replace(options, cores=cores)
