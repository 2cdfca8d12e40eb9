"""This machine: its cores, and the threads that its linear algebra is asked for."""

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from admmctl.errors import UserError

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
HERE = "this machine"  # where ranks have their cores, unless on hosts or in a job
THREAD_VARIABLES = tuple(sorted({name for names in _THREADS_OF.values() for name in names}))


def available_cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_cores(
    ranks: int, oversubscribe: bool, cores: int | None = None, where: str = HERE, elsewhere: str = ""
) -> None:
    """Raises UserError for more ranks than ``cores``, those of this machine by default, unless that is meant.

    ``elsewhere`` are the options, if there are any, by which ranks run on other machines.
    """
    cores = available_cores() if cores is None else cores
    if ranks > cores and not oversubscribe:
        raise UserError(
            f"--cores {ranks}: {where} has {cores} core{'s' * (cores > 1)}; use --cores {cores} or fewer, "
            f"{elsewhere}or add --oversubscribe to run more ranks than cores (correct, but slower)"
        )


def threads_per_rank(asked: int | str | None, ranks: int) -> int | None:
    """BLAS threads per rank: as asked, else None where the user's environment says a number, else 1."""
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
