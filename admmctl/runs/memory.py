"""How much memory a run will take, before it takes it; and whether the machines have it."""

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from admmctl.comm import Comm
from admmctl.data.quantiles import quantile_bytes
from admmctl.data.shards import Plan
from admmctl.errors import UserError
from admmctl.methods.method import Method
from admmctl.model.gradient import parameters
from admmctl.model.network import Network
from admmctl.runs import auc

# Python with NumPy, SciPy, numba and MPI, before any data: measured at 150 to 190 MB.
PROGRAM_BYTES = 190_000_000
SHARED_BYTES = 80_000_000  # of it the pages of libraries, which all ranks of a machine have in common
MB = 1 << 20
_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Estimate:
    """Peak memory of the rank with the most rows, in bytes, and of another number of ranks."""

    fixed: int  # whatever the number of rows
    per_row: float
    rows: int  # training rows of all ranks
    shared: int = 0  # of ``fixed``, what the ranks of a machine have in common

    def per_rank(self, ranks: int) -> int:
        """Bytes of one rank out of ``ranks``."""
        return int(self.fixed + self.per_row * -(-self.rows // ranks))

    def per_machine(self, here: int, ranks: int) -> int:
        """Bytes of a machine with ``here`` of ``ranks`` ranks."""
        return here * self.per_rank(ranks) - (here - 1) * self.shared

    def ranks_for(self, available: float) -> int | None:
        """How many ranks it takes so that each fits into ``available`` bytes; None when none do."""
        most = int((available - self.fixed + 1) / self.per_row)  # rows of one rank; + 1: bytes are whole
        while most > 0 and self.fixed + self.per_row * most >= available + 1:
            most -= 1  # rounding
        return -(-self.rows // most) if most > 0 else None


def estimate(plan: Plan, network: Network, method: Method) -> Estimate:
    """Counted from the rows of the plan and from what the method says of itself."""
    split, total = plan.split, plan.rows_train
    outputs, width = network.sizes[-1], 0 if plan.settings.stream else 4 * (plan.source.features + 1)
    indices = sum(
        part.nbytes for part in (split.train, split.test, split.validation) if isinstance(part, np.ndarray)
    )
    # Rows to test and to validate on are spread like the others: they count by training row.
    held = (len(split.test) + len(split.validation)) / total
    # Targets of both parts; and three copies of the weights: those evaluated, the last and the best ones.
    data = (width + 8) * (1 + held) + 4 * outputs * (1 + len(split.test) / total)
    fixed = indices + 3 * 4 * parameters(network)
    if len(split.classes) == 2:
        fixed += auc.BYTES * len(split.test)
    if plan.settings.scale == "quantile":
        fixed += quantile_bytes(plan.source.features, total)
    return estimate_of(network, method, total, fixed, data)


def estimate_of(network: Network, method: Method, rows: int, fixed: int, data_per_row: float) -> Estimate:
    """``estimate`` for ``rows`` training rows of ``data_per_row`` bytes each, and ``fixed`` bytes besides."""
    few, many = (method.cost(network, samples, rows).state_bytes for samples in (0, rows))
    return Estimate(PROGRAM_BYTES + fixed + few, data_per_row + (many - few) / rows, rows, SHARED_BYTES)


def available() -> int | None:
    """Bytes that programs on this machine may still take: its memory, or less in a container; None if unknown."""
    limits = [found for found in (_free(), _cgroup_room()) if found is not None]
    return min(limits, default=None)


def _free() -> int | None:
    """What Linux says is available, page cache included; elsewhere all memory there is."""
    found = _bytes(_MEMINFO, "MemAvailable")
    if found is not None:
        return found
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _bytes(file: Path, name: str) -> int | None:
    """What a file of Linux says after ``name``, in bytes; None elsewhere."""
    with suppress(OSError, ValueError, IndexError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    return None


def _cgroup_room() -> int | None:
    """What a container's limit leaves, if there is one (version 2, then version 1)."""
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit, used = (int((_CGROUP / name).read_text()) for name in (limit_file, used_file))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return max(0, limit - used + _cache(_CGROUP / limit_file))
    return None


def _cache(limit_file: Path) -> int:
    """Of a container's memory, the pages of files that can be dropped at once."""
    try:
        lines = (limit_file.parent / "memory.stat").read_text().splitlines()
        return sum(int(value) for name, value in (line.split() for line in lines) if name == "inactive_file")
    except (OSError, ValueError):
        return 0


def _held() -> int:
    """The part of PROGRAM_BYTES that this process holds already; 0 where the system does not say it."""
    return min(_bytes(_STATUS, "RssAnon") or 0, PROGRAM_BYTES - SHARED_BYTES)


def peak_rss_mb() -> float:
    """The largest memory this process has held, in MiB."""
    # Not what getrusage says: on Linux that is handed down from the process that started this one.
    found = _bytes(_STATUS, "VmHWM")
    if found is not None:
        return found / MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else MB >> 10)


def resident_mb() -> float | None:
    """The memory that this process holds now, in MiB; None where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MB
    return None


def check_here(expected: Estimate, ranks: int) -> None:
    """Raises UserError where ``ranks`` of this machine, not yet started, would not fit into its memory."""
    free = available()
    if free is not None and expected.per_machine(ranks, ranks) > free:
        raise UserError(_refusal(expected, ranks, os.uname().nodename, ranks, free))


def check(expected: Estimate, comm: Comm) -> int:
    """Bytes per rank. Raises UserError on rank 0 where the ranks of a machine do not fit into its memory.

    ``comm`` may be of any size: every rank says where it runs, what is free there and what it holds already.
    """
    machines = comm.gather((os.uname().nodename, available(), _held()))
    if machines is not None:
        for name, ranks, free in _by_host(machines, expected.shared):
            if free is not None and expected.per_machine(ranks, comm.size) > free:
                raise UserError(_refusal(expected, comm.size, name, ranks, free))
    return expected.per_rank(comm.size)


def available_per_rank(comm: Comm) -> int | None:
    """Bytes that every rank may still take, the same on all: the least over machines, shared by their ranks."""
    machines = comm.gather((os.uname().nodename, available(), 0))
    least = np.array([np.inf])
    if machines is not None:
        least[0] = min((free / ranks for _, ranks, free in _by_host(machines) if free is not None), default=np.inf)
    comm.allreduce(least, op="min")
    return None if np.isinf(least[0]) else int(least[0])


def _by_host(machines: list[tuple[str, int | None, int]], shared: int = 0) -> list[tuple[str, int, int | None]]:
    """Each host, its ranks, the memory that is free there for them, what they hold and share included."""
    found: dict[str, list[tuple[int | None, int]]] = {}
    for name, free, held in machines:
        found.setdefault(name, []).append((free, held))
    rooms = []
    for name, ranks in found.items():
        least = min((free for free, _ in ranks if free is not None), default=None)
        holds = sum(held for _, held in ranks)
        # What they hold includes what they share, where this system says what they hold.
        rooms.append((name, len(ranks), None if least is None else least + holds + (shared if holds else 0)))
    return rooms


def _refusal(expected: Estimate, size: int, name: str, ranks: int, free: int) -> str:
    each = expected.per_rank(size)
    text = (
        f"this run needs about {_gb(each)} of memory per rank, {_gb(expected.per_machine(ranks, size))} for the "
        f"{ranks} on {name}, where {_gb(free)} are free"
    )
    needed = expected.ranks_for((free + (ranks - 1) * expected.shared) / ranks)
    if needed is not None:
        machines = -(-needed // ranks)
        return (
            f"{text}; on machines like this one it needs {needed} ranks, {ranks} on each of {machines}; "
            "or keep fewer rows with data.rows"
        )
    fewer = ": start fewer per machine" if ranks > 1 else ""
    return f"{text}; the part that every rank needs ({_gb(expected.fixed)}) does not fit{fewer}"


def _gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count < 1e10 else f"{count / 1e9:.1f} GB"
