"""Launchers: what starts the ranks of a job. Each is a small class that gives a command line and an environment.

A new one is a class, and a line in the table ``LAUNCHERS`` or ``MPIEXEC``.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from admmctl.errors import UserError
from admmctl.launch import local, programs, slurm
from admmctl.launch.cluster import Host, Launch
from admmctl.launch.inherited import CODE, located_code, without_leftovers

LauncherName = Literal["auto", "inline", "mpiexec", "srun", "sbatch"]


@dataclass(frozen=True)
class Ranks:
    """The ranks of a job: how many there are, where they run, and what starts them."""

    cores: int = 1
    launcher: LauncherName = "auto"
    oversubscribe: bool = False
    hosts: tuple[Host, ...] = ()
    cluster: Launch = field(default_factory=Launch)

    def chosen(self) -> "Launcher":
        """The launcher. For 'auto', one rank runs in this process, and srun or mpiexec starts several."""
        name = self.launcher
        if name == "auto":
            job = None if self.hosts else slurm.allocation()
            outside = job is None or (self.cores == 1 and job.on_a_node)
            inline = outside and self.cores == 1 and not self.hosts
            by_srun = not outside and self.cluster.by_srun()
            name = "inline" if inline else "srun" if by_srun else "mpiexec"
        return MPIEXEC[self.cluster.mpi] if name == "mpiexec" else LAUNCHERS[name]

    @property
    def inline(self) -> bool:
        """Whether the one rank is this process."""
        return self.chosen().name == "inline"

    def allocation(self) -> slurm.Allocation | None:
        """The Slurm job whose nodes take the ranks, if there is one; mpiexec too finds its nodes."""
        here = self.launcher == "mpiexec" and slurm.unreachable()
        return slurm.allocation() if self.chosen().on_nodes and not self.hosts and not here else None

    def room(self) -> tuple[int, str] | None:
        """How many ranks there is room for, and where; None where the scheduler decides."""
        if self.hosts:
            return sum(slots for _, slots in self.hosts), "--hosts"
        if (job := self.allocation()) is not None:
            return job.cores, f"job {job.job}"
        return None if self.chosen().queues else (local.available_cores(), local.HERE)

    def remote(self) -> bool:
        """Whether ranks run on other cores than those of this process."""
        return bool(self.hosts) or self.chosen().queues or self.allocation() is not None


class Launcher:
    """The base. A launcher gives its ``name`` and ``start``; all else has a default."""

    name: str
    on_nodes = False  # whether it starts ranks on the nodes of a Slurm job that this process is in
    queues = False  # whether it asks the scheduler for cores where it is in no job

    def start(self, ranks: Ranks, threads: int | None) -> list[str]:
        """The launcher's part of a command line: its program and its options."""
        return []

    def check(self, ranks: Ranks) -> None:
        """Raises UserError where the launcher is not there, or can start nothing."""

    def environment(self, ranks: Ranks, threads: int | None) -> dict[str, str]:
        """What the ranks find in their environment."""
        site = ranks.cluster
        environment = {**programs.environment(), **site.environment}
        if threads is not None:
            environment.update(dict.fromkeys(local.THREAD_VARIABLES, str(threads)))
        if ranks.cores > local.available_cores() and not ranks.remote():
            # A rank that waits gives its core away instead of spinning on it.
            environment.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
            # Open MPI refuses more ranks than cores by default: version 5, then the versions before it.
            environment.setdefault("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")
            environment.setdefault("OMPI_MCA_rmaps_base_oversubscribe", "1")
        if site.interface is not None:
            # The launcher's option is for its own messages, these variables are for the ranks' messages.
            environment.setdefault("FI_TCP_IFACE", site.interface)
            environment.setdefault("UCX_NET_DEVICES", site.interface)
        environment["PYTHONUNBUFFERED"] = "1"
        environment[CODE] = located_code()
        return environment


class Inline(Launcher):
    """One rank, in this process: nothing is started."""

    name = "inline"


class Mpiexec(Launcher):
    """mpiexec with the option ``-n`` alone; each family of MPI adds its own options."""

    name = "mpiexec"
    on_nodes = True

    def options(self, ranks: Ranks, threads: int | None) -> list[str]:
        """Where the ranks run, and how they are bound."""
        return []

    def by_ssh(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Variables with which ssh asks for no password and does not wait for dead hosts; users' values win."""
        return {}

    def start(self, ranks: Ranks, threads: int | None) -> list[str]:
        return [find_mpiexec(ranks.cluster.mpiexec), *self.options(ranks, threads), "-n", str(ranks.cores)]

    def check(self, ranks: Ranks) -> None:
        find_mpiexec(ranks.cluster.mpiexec)
        if ranks.allocation() is not None:
            slurm.check_reachable()

    def environment(self, ranks: Ranks, threads: int | None) -> dict[str, str]:
        environment = without_leftovers(super().environment(ranks, threads))
        environment = slurm.for_mpiexec(environment, bool(ranks.hosts))
        return {**self.by_ssh(environment), **environment} if ranks.hosts else environment


_SSH = "-o BatchMode=yes -o ConnectTimeout=20"
_NOT_BY_SSH = ("SLURM_", "PBS_", "LSB_", "LOADL", "COBALT_", "PE_HOSTFILE", "HYDRA_LAUNCHER", "HYDRA_BOOTSTRAP")


class Hydra(Mpiexec):
    """The mpiexec of MPICH's relatives."""

    def on_hosts(self, hosts: tuple[Host, ...]) -> list[str]:
        return ["-hosts", ",".join(f"{name}:{slots}" for name, slots in hosts)]

    def options(self, ranks: Ranks, threads: int | None) -> list[str]:
        site, options = ranks.cluster, []
        if ranks.hosts:
            options += self.on_hosts(ranks.hosts)
        elif site.ranks_per_node is not None:
            options += ["-ppn", str(site.ranks_per_node)]
        options += ["-iface", site.interface] if site.interface is not None else []
        return options + (["-bind-to", site.binding] if site.binding is not None else [])


class Mpich(Hydra):
    """MPICH's: it may start its proxies by another program than ssh."""

    def by_ssh(self, environment: Mapping[str, str]) -> dict[str, str]:
        other = any(name.startswith(_NOT_BY_SSH) for name in environment)
        return {} if other else {"HYDRA_LAUNCHER_EXTRA_ARGS": _SSH}


class Intel(Hydra):
    """Intel MPI's: it takes the same number of ranks on every host."""

    def on_hosts(self, hosts: tuple[Host, ...]) -> list[str]:
        if len({slots for _, slots in hosts}) > 1:
            raise UserError("--hosts: Intel MPI takes as many ranks on every host")
        return ["-hosts", ",".join(name for name, _ in hosts), "-ppn", str(hosts[0][1])]


class OpenMpi(Mpiexec):
    """Open MPI's. Ranks on hosts get only the variables that it is told of, and it complains of missing ones."""

    def options(self, ranks: Ranks, threads: int | None) -> list[str]:
        site, hosts = ranks.cluster, ranks.hosts
        options = ["--host", ",".join(f"{name}:{slots}" for name, slots in hosts)] if hosts else []
        options += ["--mca", "btl_tcp_if_include", site.interface] if site.interface is not None else []
        options += ["--bind-to", site.binding] if site.binding is not None else []
        if hosts:
            given = programs.environment()
            names = [name for name in local.THREAD_VARIABLES if threads is not None or name in given]
            names += ["PYTHONPATH"] if "PYTHONPATH" in given else []
            for name in (*names, "PYTHONUNBUFFERED", CODE, *site.environment):
                options += ["-x", name]
        return options

    def by_ssh(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {"PRTE_MCA_plm_ssh_args": _SSH, "OMPI_MCA_plm_rsh_args": _SSH}


class Srun(Launcher):
    """Slurm's: it starts ranks in the allocation of this process, or waits for one."""

    name = "srun"
    on_nodes = queues = True

    def start(self, ranks: Ranks, threads: int | None) -> list[str]:
        site, in_a_job = ranks.cluster, "SLURM_JOB_ID" in os.environ
        of_a_job = {"partition", "account", "qos", "constraint", "time"}
        units = {"core": "cores", "socket": "sockets", "numa": "ldoms", "none": "none", None: None}
        options: dict[str, object] = {
            "ntasks": ranks.cores,
            "mpi": site.srun_plugin(),
            "kill-on-bad-exit": 1,
            **({} if in_a_job else site.model_dump(include=of_a_job)),
            "exclude": None if in_a_job else ",".join(site.exclude) or None,
            # Since Slurm 22.05 srun does not take it over from the job.
            "cpus-per-task": threads if threads is not None and threads > 1 else None,
            "gpus-per-task": site.gpus_per_task,
            "ntasks-per-node": site.ranks_per_node and min(site.ranks_per_node, ranks.cores),
            "cpu-bind": units[site.binding],
        }
        command = ["srun", *(f"--{name}={value}" for name, value in options.items() if value is not None)]
        if ranks.oversubscribe:
            command.append("--overcommit")
        if slurm.in_a_step():
            command.append("--overlap")  # `srun --pty bash` holds the cores that its own ranks need
        return command

    def check(self, ranks: Ranks) -> None:
        slurm.check_plugin(ranks.cluster)


class Sbatch(Launcher):
    """Slurm's queue: it runs the command again in a job, which starts the ranks: see ``runs.submit``."""

    name = "sbatch"
    queues = True


LAUNCHERS: dict[str, Launcher] = {each.name: each for each in (Inline(), Srun(), Sbatch())}
MPIEXEC: dict[str, Mpiexec] = {"mpich": Mpich(), "cray": Hydra(), "intel": Intel(), "openmpi": OpenMpi()}


def find_mpiexec(named: str | None = None) -> str:
    """The mpiexec that ``named`` or ADMMCTL_MPIEXEC names, else the one of this Python's MPI. Raises UserError."""
    source, named = ("mpiexec", named) if named else ("ADMMCTL_MPIEXEC", os.environ.get("ADMMCTL_MPIEXEC"))
    if named:
        found = shutil.which(named)
        if found is None:
            raise UserError(f"{source}={named}: there is no such program")
        return found
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if found is None:
        raise UserError("mpiexec was not found; install an MPI beside this Python: pip install mpich mpi4py")
    return found
