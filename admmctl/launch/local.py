"""Starting ranks: the command line of a job, and its environment. ``job.py`` watches over it until it ends."""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from admmctl.errors import UserError
from admmctl.launch import programs
from admmctl.launch.cluster import Host, Launch
from admmctl.launch.inherited import CODE, located_code

# What libraries of linear algebra read, each the first of its own that holds a number.
_OPENMP = ("OMP_NUM_THREADS",)
_ACCELERATE = ("VECLIB_MAXIMUM_THREADS",)  # Apple's, of which threadpoolctl knows nothing
_THREADS_OF = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", *_OPENMP),
    "openblas on OpenMP": _OPENMP,
    "mkl": ("MKL_NUM_THREADS", *_OPENMP),
    "blis": ("BLIS_NUM_THREADS", *_OPENMP),
    "accelerate": _ACCELERATE,
}
THREAD_VARIABLES = tuple(sorted({name for names in _THREADS_OF.values() for name in names}))


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
    return None if threads_in_environment() is not None else 1


def threads_in_environment() -> int | None:
    """The threads that the user's variables give to the linear algebra in use; None where they say nothing to it.

    A variable that it does not read says nothing, and neither does one that holds no number: then each rank would
    take all cores.
    """
    for name in thread_variables():
        # OpenMP takes a list, for threads within threads: the first number counts.
        found = re.fullmatch(r"\s*(\d+)\s*(,[\d,\s]*)?", os.environ.get(name, ""))
        if found and int(found[1]) > 0:
            return int(found[1])
    return None


def thread_variables() -> tuple[str, ...]:
    """The variables that the library of linear algebra in use reads, the one that counts most first."""
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if not pools and sys.platform == "darwin":
        return _ACCELERATE
    known = [name for library in sorted(map(_library, pools)) for name in _THREADS_OF.get(library, _OPENMP)]
    return tuple(dict.fromkeys(known)) or _OPENMP


def _library(pool: Mapping[str, Any]) -> str:
    """A key of ``_THREADS_OF``. OpenBLAS that is built on OpenMP leaves its threads to that."""
    on_openmp = pool["internal_api"] == "openblas" and pool.get("threading_layer") == "openmp"
    return "openblas on OpenMP" if on_openmp else str(pool["internal_api"])


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
    ranks: int,
    arguments: list[str],
    settings: Launch | None = None,
    hosts: Sequence[Host] = (),
    threads: int | None = 1,
) -> list[str]:
    """A command that starts ``ranks`` Pythons, here or on ``hosts``; an exception on one of them ends them all.

    ``threads`` are those of ``job_environment``.
    """
    settings = settings or Launch()
    if settings.mpi == "openmpi":
        options = _openmpi_options(settings, hosts, threads)
    else:
        options = _hydra_options(settings, hosts)
    return [
        *(find_mpiexec(settings.mpiexec), *options, "-n", str(ranks)),
        *programs.python("-m", "mpi4py", *arguments),
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


def _openmpi_options(settings: Launch, hosts: Sequence[Host], threads: int | None) -> list[str]:
    options = ["--host", ",".join(f"{name}:{slots}" for name, slots in hosts)] if hosts else []
    if settings.interface is not None:
        options += ["--mca", "btl_tcp_if_include", settings.interface]
    if settings.binding is not None:
        options += ["--bind-to", settings.binding]
    if hosts:
        # Unlike the others it takes nothing along by itself, and complains of what is not there.
        known = programs.environment() if threads is None else dict.fromkeys(THREAD_VARIABLES)
        names = [name for name in THREAD_VARIABLES if name in known]
        names += [name for name in ("PYTHONPATH",) if name in programs.environment()]
        for name in (*names, "PYTHONUNBUFFERED", CODE, *settings.environment):
            options += ["-x", name]
    return options


def job_environment(
    ranks: int, threads: int | None, settings: Launch | None = None, elsewhere: bool = False
) -> dict[str, str]:
    """The environment of a job's ranks; ``elsewhere``: they have other cores than this process."""
    settings = settings or Launch()
    environment = {**programs.environment(), **settings.environment}
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
    environment[CODE] = located_code()
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
