"""Where a run ran: what environment.json records."""

import os
import platform
import socket
from collections import Counter
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_info

from admmctl.comm import Comm
from admmctl.data.source import Source
from admmctl.experiment.config import Run
from admmctl.launch.local import available_cores
from admmctl.revision import git_state

_PACKAGES = ("admmctl", "numpy", "scipy", "numba", "mpi4py", "mpich", "pydantic")
_SCHEDULER_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


class Host(NamedTuple):
    """A rank's machine. ``cores`` are those that the rank may use."""

    name: str
    cpu: str
    cores: int


def host() -> Host:
    """This rank's machine."""
    return Host(socket.gethostname(), _cpu_model(), available_cores())


def ranks_share_cores(comm: Comm) -> bool:
    """Whether some host has more ranks than cores that they may use, all together; the same on every rank.

    Under a scheduler each rank may be bound to a core of its own, which is one core per rank, not one for all.
    """
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(available_cores()))
    everyone = comm.gather((socket.gethostname(), mine))
    shared = np.zeros(1)
    if everyone is not None:
        ranks = Counter(name for name, _ in everyone)
        cores: dict[str, set[int]] = {}
        for name, theirs in everyone:
            cores.setdefault(name, set()).update(theirs)
        shared[0] = any(count > len(cores[name]) for name, count in ranks.items())
    comm.allreduce(shared, op="max")
    return bool(shared[0])


def blas_threads() -> int:
    """The threads that linear algebra uses on this rank."""
    return max((int(pool["num_threads"]) for pool in _blas()), default=1)


def describe(run: Run, comm: Comm, hosts: list[Host], source: Source) -> dict[str, Any]:
    """Everything that may explain a difference between two runs."""
    commit, dirty = git_state()
    return {
        "cpu": sorted({h.cpu for h in hosts}),
        "cores": hosts[0].cores,
        "ranks": comm.size,
        "threads_per_rank": blas_threads(),
        "hosts": sorted({h.name for h in hosts}),
        "mpi": comm.library(),
        "blas": blas(),
        "dtype": "float32",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in _PACKAGES if (found := package_version(name))},
        "git_commit": commit,
        "git_dirty": dirty,
        "config_hash": run.hash(),
        "data_sha256": source.fingerprint(),
        "data_made_up": source.made_up,
        "scheduler_job": next((os.environ[v] for v in _SCHEDULER_JOBS if v in os.environ), None),
    }


def blas() -> list[str]:
    """The linear algebra libraries that are loaded, with their versions."""
    return sorted({f"{pool['internal_api']} {pool.get('version')}" for pool in _blas()})


def _blas() -> list[dict[str, Any]]:
    return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]


def package_version(package: str) -> str | None:
    """None for one that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
