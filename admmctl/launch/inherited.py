"""What a process has inherited from whoever started it: an MPI launcher's variables, the version of the driver.

Where a launcher is alive that has started several admmctl, each of them would train by itself: they are refused.
Where no launcher answers, its variables are left over from a shell, a tmux or a job. MPI believes them, so ranks
are started without them.

Ranks run the code that their Python finds on their host: they compare it with the driver's.
"""

import hashlib
import os
import re
import select
import socket
import stat
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from admmctl import __version__
from admmctl.errors import SeveralDrivers, UserError

JOB_RECORD = "ADMMCTL_JOB"  # in the environment of a job that we handed in: the folder of its record
CODE = "ADMMCTL_CODE"  # to ranks: the driver's ``code()``, and where it is
_HOME = Path(__file__).parent.parent

# Variables that launchers set. What users set for MPI stays, OMPI_MCA_..., PRTE_MCA_..., HYDRA_..., but for the
# parameters by which Open MPI 4 finds its own daemon.
_LEFT_OVER = re.compile(
    r"(PMI|PMI2|PALS|HYDI)_\w+|PMIX_(?!MCA_|PREFIX$|INSTALL_PREFIX$)\w+|MPI_(LOCALNRANKS|LOCALRANKID|APPNUM|UNIVERSE_SIZE)"
    r"|OMPI_((COMM_)?WORLD|UNIVERSE|APP_CTX|FIRST|NUM_APP|FILE|ARGV|COMMAND)\w*|PRTE_LAUNCHED"
    r"|(OMPI|PRTE)_MCA_((orte|prte)_(ess|hnp|local_daemon|app_num|jobid|launch)\w*|ess|ess_base\w*)"
    r"|OMPI_MCA_(num_procs|initial_wdir)"
)
_SECONDS = 1.0  # a launcher is on this machine, or near


def check_single() -> None:
    """Raises SeveralDrivers where a launcher that is alive has started several of this process."""
    # Only the variables of the family whose launcher answers count: those of another may be left over.
    for family, answers in (("PMI", _hydra_answers), ("OMPI_COMM_WORLD", _pmix_answers)):
        size = whole_number(f"{family}_SIZE") or whole_number("MPI_LOCALNRANKS")  # of -pmi-port alone
        if size > 1 and answers():
            raise SeveralDrivers(
                f"an MPI launcher started {size} admmctl, and each would run all by itself: call admmctl without "
                f"it, with --cores {size}; it starts its ranks itself",
                quiet=whole_number(f"{family}_RANK") + whole_number(f"{family}_ID") > 0,
            )


def without_leftovers(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which MPI finds no launcher but the one that is about to start it."""
    return {name: value for name, value in environment.items() if not _LEFT_OVER.fullmatch(name)}


def whole_number(variable: str, otherwise: int = 0) -> int:
    """The whole number that a variable of the environment holds; ``otherwise`` where it holds none."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise


def _hydra_answers() -> bool:
    """Whether a launcher of MPICH's family answers: at PMI_PORT, by the open socket PMI_FD, or as an ancestor."""
    host, _, port = os.environ.get("PMI_PORT", "").rpartition(":")
    if host and port.isdecimal():
        return _connects(host, int(port))
    return _talks_to_hydra() or _descends_from_hydra()


def _talks_to_hydra() -> bool:
    descriptor = whole_number("PMI_FD", -1)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            waiting, _, _ = select.select([connection], [], [], 0)
            # Where the launcher has gone there is the end to be read, and else nothing.
            ended = bool(waiting) and not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return not ended and _is_launcher(connection)
    except (OSError, OverflowError, ValueError):
        return False


def _is_launcher(connection: socket.socket) -> bool:
    """Whether a launcher may hold the other end: by now the number may belong to another socket."""
    try:
        answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        name = Path(f"/proc/{struct.unpack('3i', answer)[0]}/comm").read_text()
    except (OSError, AttributeError, struct.error):
        return True  # not Linux, or nobody can tell
    return re.search("pmi|hydra|mpi|proxy|slurm|pals|flux", name) is not None


def _descends_from_hydra() -> bool:
    """Whether a launcher has started this process through a program that closes sockets, as ``conda run`` does."""
    process = os.getppid()
    try:
        while process > 1:
            status = Path(f"/proc/{process}/stat").read_text()  # number (name) state parent ...
            before, _, after = status.rpartition(")")
            if re.search(r"\((hydra_|pmi_proxy)", before):
                return True
            process = int(after.split()[1])
    except (OSError, ValueError, IndexError):
        return False  # not Linux, or one of them has just ended
    return False


def _pmix_answers() -> bool:
    """Whether Open MPI's launcher answers, at the address in PMIX_SERVER_URI, PMIX_SERVER_URI41 or the like."""
    for name, value in os.environ.items():
        address = re.search(r"tcp[46]?://\[?([^\]/]+?)\]?:(\d+)", value)
        if name.startswith("PMIX_SERVER_URI") and address:
            return _connects(address[1], int(address[2]))
    return False


def _connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), _SECONDS):
            return True
    except (OSError, OverflowError, ValueError):
        return False


@lru_cache(maxsize=1)
def code() -> str:
    """The version of this program, and a checksum of its source: two checkouts may have one version."""
    found = hashlib.sha256()
    for path in sorted(_HOME.rglob("[!.]*.py")):  # an editor's own files are hidden, and may lead nowhere
        found.update(path.relative_to(_HOME).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{found.hexdigest()[:8]}"


def located_code() -> str:
    """``code()``, and the folder it is in."""
    return f"{code()} from {_HOME}"


def check_code() -> None:
    """In a rank: raises UserError where it runs other code than the driver."""
    theirs = os.environ.get(CODE, "")
    if theirs and theirs.partition(" ")[0] != code():
        raise UserError(
            f"a rank runs admmctl {located_code()}, and the command that started it is {theirs}; install the same "
            "version on every host, let PYTHONPATH name no other checkout, and change no code while it runs"
        )
