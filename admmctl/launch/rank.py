"""The rank's side of a job: its first events, finding the other ranks, and what it tells where it hangs.

Every event is a line of JSON on standard output, which the driver reads. A rank tells ``started`` as soon as its
Python runs, and ``connected`` when it has found the others. This module is loaded first of all: it imports nothing
heavy.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from admmctl.launch.ended import Event

if TYPE_CHECKING:
    from admmctl.comm import MPI, Comm

ANSWER = 5.0  # seconds that a rank has to come to a stop, once asked, before it says where it is
# What launchers call a rank's number before MPI does: MPICH and its relatives, PMIx, Open MPI, srun.
_NUMBERS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
SET_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl


def tell(event: Mapping[str, object]) -> None:
    """Report an event to the driver, by one write: lines of different ranks must not mix."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def report(stage: str, rank: int | None = None) -> None:
    """How far the start of this rank is: ``started`` or ``connected``."""
    if rank is None:
        number = next((os.environ[name] for name in _NUMBERS if name in os.environ), "")
        rank = int(number) if number.isdecimal() else None
    tell({"event": stage, "rank": rank, "host": os.uname().nodename})


def connect(expected: int) -> "Comm":
    """The communicator of a job that was started with ``expected`` ranks.

    A launcher and a library of different MPI families start N jobs of one rank each. Raises UserError then, and
    where a rank runs other code than the driver.
    """
    from admmctl.comm import MPI, Serial
    from admmctl.errors import UserError
    from admmctl.launch.inherited import check_code

    check_code()
    if expected == 1:
        report("connected", 0)
        return Serial()
    comm = MPI()
    if comm.size != expected:
        raise UserError(
            f"{expected} ranks were started but MPI sees {comm.size}: the launcher (mpiexec) and the MPI "
            f"library of this Python ({comm.library()}) are of different families. Use the mpiexec that "
            "belongs to the library: unset ADMMCTL_MPIEXEC, or reinstall with: pip install mpich mpi4py"
        )
    _leave_no_files(comm)
    report("connected", comm.rank)
    return comm


def _leave_no_files(comm: "MPI") -> None:
    """Remove the name of the file in /dev/shm through which MPICH's ranks share memory.

    The memory lives as long as the ranks do. MPICH removes the file at the end, which a job that is killed
    does not reach: 2 MB or more would stay behind on every host, each time.
    """
    from admmctl.launch.programs import shared_files

    comm.barrier()  # nobody still has to open it by its name
    for path in shared_files("self"):
        with suppress(FileNotFoundError):  # another rank of this host was first
            path.unlink()


def end_with_the_launcher(every: float = 1.0) -> None:
    """End when the process that started this one dies, even by SIGKILL. Nobody else would end it.

    Linux does that by itself; on other systems a thread looks, ``every`` so many seconds.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it died meanwhile
            os._exit(1)
        return

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


# --- a rank that hangs watches itself; the driver puts together what the ranks report


def watch(comm: "MPI", seconds: float) -> None:
    """Tell once when this rank has neither begun nor ended a message to the others for ``seconds``.

    A thread looks. The event says whether the rank waits for others, and where it is.
    """
    main = threading.get_ident()

    def look() -> None:
        seen, since = (-1, False), time.monotonic()
        while True:
            now = comm.calls, comm.waiting
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since >= seconds:
                break
            time.sleep(min(1.0, seconds / 10))
        tell({**_where("stuck", comm, main), "seconds": seconds})

    threading.Thread(target=look, daemon=True).start()


def answer(comm: "Comm") -> None:
    """Tell where this rank is, when it has not stopped ``ANSWER`` seconds after a signal asked it to.

    A thread sleeps until the signal. It wakes even while the rank waits for others in a library, where handlers of
    Python have to wait as well. A rank that tells nothing has itself been stopped.
    """
    main = threading.get_ident()
    hears, rings = os.pipe()
    os.set_blocking(rings, False)
    signal.set_wakeup_fd(rings, warn_on_full_buffer=False)

    def look() -> None:
        os.read(hears, 1)
        time.sleep(ANSWER)
        tell(_where("slow", comm, main))

    threading.Thread(target=look, daemon=True).start()


def _where(event: str, comm: "Comm", thread: int) -> Event:
    """An event with the line of this program that the thread is at."""
    place, frame = "an unknown place", sys._current_frames().get(thread)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if "admmctl" in path.parts:
            place = f"{path.parent.name}/{path.name}, line {frame.f_lineno}"
            break
        frame = frame.f_back
    waiting = getattr(comm, "waiting", False)
    return {"event": event, "rank": comm.rank, "host": os.uname().nodename, "waiting": waiting, "where": place}
