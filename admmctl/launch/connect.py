"""The rank's side of a start: it finds the other ranks."""

from contextlib import suppress

from admmctl.comm import MPI, Comm, Serial
from admmctl.errors import UserError
from admmctl.launch.inherited import check_code
from admmctl.launch.programs import shared_files
from admmctl.launch.start import report


def connect(expected: int) -> Comm:
    """The communicator of a job that was started with ``expected`` ranks.

    A launcher and a library of different MPI families start N jobs of one rank, each content with itself:
    that is caught here, and ranks that run other code than the driver. Raises UserError with the cure.
    """
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


def _leave_no_files(comm: MPI) -> None:
    """Remove the name of the file in /dev/shm through which MPICH's ranks share memory.

    The memory lives as long as the ranks do. MPICH removes the file at the end, which a job that is killed
    does not reach: 2 MB or more would stay behind on every host, each time.
    """
    comm.barrier()  # nobody still has to open it by its name
    for path in shared_files("self"):
        with suppress(FileNotFoundError):  # another rank of this host was first
            path.unlink()
