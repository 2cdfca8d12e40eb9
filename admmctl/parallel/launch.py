"""Starting ranks: the command line of a job, and its environment. ``job.py`` watches over it until it ends."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from admmctl.errors import UserError
from admmctl.parallel.cluster import Host, Launch

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_cores(ranks: int, oversubscribe: bool, room: int | None = None, where: str = "this machine") -> None:
    """Raises UserError when there are more ranks than cores and nobody said that this is meant.

    ``room`` is how many ranks ``where`` takes; the cores of this machine by default.
    """
    cores = available_cores() if room is None else room
    if ranks > cores and not oversubscribe:
        raise UserError(
            f"--cores {ranks}: {where} has {cores} core{'s' * (cores > 1)}; use --cores {cores} or fewer, "
            "or add --oversubscribe to run more ranks than cores (correct, but slower)"
        )


def threads_per_rank(asked: int | str | None, ranks: int) -> int | None:
    """BLAS threads per rank: as asked, else as the user's environment says (None), else 1."""
    if asked == "auto":
        return max(1, available_cores() // ranks)
    if asked is not None:
        return int(asked)
    return None if any(name in os.environ for name in THREAD_VARIABLES) else 1


def find_mpiexec(named: str | None = None) -> str:
    """The launcher that belongs to this Python's MPI, or the one that is named: here, or by ADMMCTL_MPIEXEC."""
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


def mpiexec_command(
    ranks: int, arguments: list[str], settings: Launch | None = None, hosts: Sequence[Host] = ()
) -> list[str]:
    """A command that starts ``ranks`` Pythons, here or on ``hosts``; an exception on one of them ends them all."""
    settings = settings or Launch()
    options = _openmpi_options(settings, hosts) if settings.mpi == "openmpi" else _hydra_options(settings, hosts)
    return [
        *(find_mpiexec(settings.mpiexec), *options, "-n", str(ranks)),
        *(sys.executable, "-m", "mpi4py", *arguments),
    ]


def _hydra_options(settings: Launch, hosts: Sequence[Host]) -> list[str]:
    """For the launcher of MPICH and its relatives."""
    options = []
    if hosts and settings.mpi == "intel":
        if len({slots for _, slots in hosts}) > 1:
            raise UserError("--hosts: Intel MPI takes as many ranks on every host")
        options += ["-hosts", ",".join(name for name, _ in hosts), "-ppn", str(hosts[0][1])]
    elif hosts:
        options += ["-hosts", ",".join(f"{name}:{slots}" for name, slots in hosts)]
    elif settings.ranks_per_node is not None:
        options += ["-ppn", str(settings.ranks_per_node)]
    if settings.interface is not None:
        options += ["-iface", settings.interface]
    if settings.binding is not None:
        options += ["-bind-to", settings.binding]
    return options


def _openmpi_options(settings: Launch, hosts: Sequence[Host]) -> list[str]:
    options = ["--host", ",".join(f"{name}:{slots}" for name, slots in hosts)] if hosts else []
    if settings.interface is not None:
        options += ["--mca", "btl_tcp_if_include", settings.interface]
    if settings.binding is not None:
        options += ["--bind-to", settings.binding]
    for name in (*THREAD_VARIABLES, "PYTHONUNBUFFERED", *settings.environment) if hosts else ():
        options += ["-x", name]  # unlike the others it takes nothing along by itself
    return options


def job_environment(
    ranks: int, threads: int | None, settings: Launch | None = None, elsewhere: bool = False
) -> dict[str, str]:
    """The environment of a job's ranks; ``elsewhere``: they have other cores than this process."""
    settings = settings or Launch()
    environment = {**os.environ, **settings.environment}
    if threads is not None:
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    if ranks > available_cores() and not elsewhere:
        # Waiting ranks give their core away instead of spinning on it.
        environment.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
        # Open MPI refuses more ranks than cores unless told: version 5, and those before it.
        environment.setdefault("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")
        environment.setdefault("OMPI_MCA_rmaps_base_oversubscribe", "1")
    if settings.interface is not None:
        # The launcher's own option is for its own messages; these are for those of the ranks.
        environment.setdefault("FI_TCP_IFACE", settings.interface)
        environment.setdefault("UCX_NET_DEVICES", settings.interface)
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


_OTHER_WAYS = ("SLURM_", "PBS_", "LSB_", "LOADL", "COBALT_", "PE_HOSTFILE", "HYDRA_LAUNCHER", "HYDRA_BOOTSTRAP")


def by_ssh(environment: Mapping[str, str], settings: Launch) -> dict[str, str]:
    """The environment of an mpiexec that starts ranks by ssh: without passwords, and waiting for no dead host.

    What the user or the site has set is left alone, and so is mpiexec where another program may take ssh's place.
    """
    words = "-o BatchMode=yes -o ConnectTimeout=20"
    ours = {}
    if settings.mpi == "openmpi":
        ours = {"PRTE_MCA_plm_ssh_args": words, "OMPI_MCA_plm_rsh_args": words}
    elif settings.mpi == "mpich" and not any(name.startswith(_OTHER_WAYS) for name in environment):
        ours = {"HYDRA_LAUNCHER_EXTRA_ARGS": words}
    return {**ours, **environment}
