"""Which line of a launcher names the cause: texts as MPICH's, Open MPI's and Slurm's print them."""

import re

import pytest

from admmctl.errors import RunFailed
from admmctl.launch.ended import JobEnd, last_line

RULE = "-" * 74
HYDRA_END = """
===================================================================================
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 9879 RUNNING AT n7
=   EXIT CODE: {code}
=   CLEANING UP REMAINING PROCESSES
=   YOU CAN IGNORE THE BELOW CLEANUP MESSAGES
===================================================================================
"""
HYDRA_SIGNAL = """YOUR APPLICATION TERMINATED WITH THE EXIT STRING: {how}
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""
HYDRA_TAIL = """[mpiexec@vm] control_cb (/mpich/src/pm/hydra/mpiexec/pmiserv_cb.c:280): assert (!closed) failed
[mpiexec@vm] HYDT_dmxu_poll_wait_for_event (/mpich/demux/demux_poll.c:76): callback returned error status
[mpiexec@vm] HYD_pmci_wait_for_completion (/mpich/mpiexec/pmiserv_pmci.c:180): error waiting for event
[mpiexec@vm] main (/mpich/src/pm/hydra/mpiexec/mpiexec.c:270): process manager error waiting for completion
"""
ENDED = f"""{RULE}
Primary job  terminated normally, but 1 process returned
a non-zero exit code. Per user-direction, the job has been aborted.
{RULE}
"""
NON_ZERO = f"""{RULE}
prterun detected that one or more processes exited with non-zero status,
thus causing the job to be terminated. The first process to do so was:

   Process name: [prterun-n7-1234@1,0]
   Exit code:    1
{RULE}
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param(
            "[proxy:0@n7] HYDU_create_process (/mpich/lib/utils/launch.c:73): execvp error on file /opt/python "
            "(No such file or directory)\n" + HYDRA_END.format(code=255),
            "execvp error on file /opt/python (No such file or directory), on n7: every host has to have this "
            "program",
            id="hydra: no such program",
        ),
        pytest.param(
            "[proxy:0:1@n8] launch_procs (proxy/pmip_cb.c:884): unable to change wdir to /scratch/me (No such "
            "file or directory)\n[proxy:0:1@n8] main (proxy/pmip.c:123): demux engine error waiting for event\n"
            + HYDRA_TAIL,
            "unable to change wdir to /scratch/me (No such file or directory), on n8: every host has to have this "
            "folder",
            id="hydra: no such folder",
        ),
        pytest.param(
            "ssh: Could not resolve hostname n9: Name or service not known\n"
            "[mpiexec@vm] ui_cmd_cb (mpiexec/pmiserv_pmci.c:51): Launch proxy failed.\n" + HYDRA_TAIL,
            "ssh: Could not resolve hostname n9: Name or service not known\nEvery host of --hosts has to be "
            "reachable by ssh without a password",
            id="hydra: no such host",
        ),
        pytest.param(
            "me@n9: Permission denied (publickey,password).\n" + HYDRA_TAIL,
            "me@n9: Permission denied (publickey,password).\nEvery host",
            id="ssh: no key",
        ),
        pytest.param(
            "bash: line 1: /opt/env/bin/hydra_pmi_proxy: No such file or directory\n" + HYDRA_TAIL,
            "bash: line 1: /opt/env/bin/hydra_pmi_proxy: No such file or directory\nThis Python's environment has "
            "to be at the same path on every host",
            id="hydra: not installed there",
        ),
        pytest.param(
            HYDRA_END.format(code=7) + HYDRA_SIGNAL.format(how="Bus error (signal 7)"),
            "a rank ended: Bus error (signal 7), process 9879 on n7; so it ends where /dev/shm, the memory that "
            "ranks share, is full: see df -h /dev/shm; give a container more: docker run --shm-size=1g",
            id="hydra: bus error",
        ),
        pytest.param(
            HYDRA_END.format(code=9) + HYDRA_SIGNAL.format(how="Killed (signal 9)"),
            "a rank ended: Killed (signal 9), process 9879 on n7",
            id="hydra: killed",
        ),
        pytest.param(
            "Traceback (most recent call last):\n  File ...\nModuleNotFoundError: No module named 'numpy'\n"
            + HYDRA_END.format(code=1),
            "ModuleNotFoundError: No module named 'numpy'",
            id="hydra: python's error stands before the banner",
        ),
        pytest.param(
            "hello\n" + HYDRA_END.format(code=3), "hello", id="hydra: the banner is nothing that anybody said"
        ),
        pytest.param(
            "srun: error: Unable to create step for job 5: Invalid job id specified\n"
            "[mpiexec@vm] HYDU_sock_write (lib/utils/sock.c:250): write error (Bad file descriptor)\n"
            + HYDRA_TAIL,
            "srun: error: Unable to create step for job 5: Invalid job id specified",
            id="hydra: its srun fails",
        ),
        pytest.param(HYDRA_TAIL, "assert (!closed) failed (vm)", id="hydra: its first complaint"),
        pytest.param(
            "Abort(1090831) on node 1 (rank 1 in comm 0): Fatal error in internal_Init: Other MPI error, error "
            "stack:\ninternal_Init(70)...............: MPI_Init(argc=(nil), argv=(nil)) failed\n"
            "MPIDI_OFI_init_local(585).......: OFI get address vector map failed\n"
            "open_fabric(1488)...............: OFI fi_getinfo() failed (No data available)\n" + HYDRA_TAIL,
            "Fatal error in internal_Init: Other MPI error: OFI fi_getinfo() failed (No data available), rank 1",
            id="mpich: the end of the error's stack",
        ),
        pytest.param(
            f"""{RULE}
prterun was unable to find the specified executable file, and therefore did
not launch the job.  This error was first reported for process rank
0; it may have occurred for other processes as well.

NOTE: A common cause for this error is misspelling a prterun command
line parameter option (remember that prterun interprets the first
unrecognized command line token as the executable).

   Node:       n7
   Executable: /opt/python
{RULE}
""",
            "prterun was unable to find the specified executable file, and therefore did not launch the job. This "
            "error was first reported for process rank 0; it may have occurred for other processes as well. "
            "(Node: n7, Executable: /opt/python)",
            id="open mpi 5: no such program",
        ),
        pytest.param(
            f"""{RULE}
mpirun was unable to launch the specified application as it could not change to the specified working directory:

Working directory: /scratch/me
Node: n8

while attempting to start process rank 1.
{RULE}
""",
            "mpirun was unable to launch the specified application as it could not change to the specified "
            "working directory: Working directory: /scratch/me Node: n8",
            id="open mpi 4: no such folder",
        ),
        pytest.param(
            f"""{RULE}
It looks like MPI_INIT failed for some reason; your parallel process is
likely to abort. This failure appears to be an internal failure; here's some
additional information (which may only be relevant to an Open MPI
developer):

  PML add procs failed
  --> Returned "Not found" (-13) instead of "Success" (0)
{RULE}
"""
            + ENDED,
            'developer): PML add procs failed --> Returned "Not found" (-13) instead of "Success" (0)',
            id="open mpi: what follows the colon",
        ),
        pytest.param(
            ENDED
            + f"""{RULE}
mpirun noticed that process rank 1 with PID 27203 on node n7 exited on signal 7 (Bus error).
{RULE}
""",
            "a rank ended: signal 7 (Bus error), rank 1, process 27203 on n7; so it ends where /dev/shm",
            id="open mpi: bus error",
        ),
        pytest.param(
            "ImportError: libscipy_openblas.so: cannot open shared object file\n" + NON_ZERO,
            "ImportError: libscipy_openblas.so: cannot open shared object file",
            id="open mpi 5: python's error, rather than that there was one",
        ),
        pytest.param(
            ENDED + NON_ZERO,
            "Primary job terminated normally, but 1 process returned",
            id="open mpi: nothing more",
        ),
        pytest.param(
            "slurmstepd: error: execve(): /opt/python: No such file or directory\n"
            "srun: error: n7: tasks 0-1: Exited with exit code 2\nsrun: Terminating StepId=5.0\n",
            "execve(): /opt/python: No such file or directory, on n7",
            id="srun: no such program",
        ),
        pytest.param(
            "slurmstepd: error: couldn't chdir to `/scratch/me': No such file or directory: going to /tmp "
            "instead\nsrun: error: n8: task 1: Exited with exit code 1\n",
            "couldn't chdir to `/scratch/me': No such file or directory: going to /tmp instead, on n8",
            id="srun: no such folder",
        ),
        pytest.param(
            "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n"
            "slurmstepd: error: *** STEP 5.0 ON n7 CANCELLED AT 2024-05-01T10:00:00 DUE TO TIME LIMIT ***\n"
            "srun: error: Timed out waiting for job step to complete\n",
            "slurmstepd: error: *** STEP 5.0 ON n7 CANCELLED AT 2024-05-01T10:00:00 DUE TO TIME LIMIT ***",
            id="srun: the time is up",
        ),
        pytest.param(
            "slurmstepd: error: *** STEP 5.0 ON n7 CANCELLED AT 2024-05-01T10:00:00 ***\n"
            "srun: error: n7: task 1: Bus error (core dumped)\n",
            "a rank ended: Bus error (core dumped), rank 1 on n7; so it ends where /dev/shm",
            id="srun: bus error",
        ),
        pytest.param(
            "srun: error: invalid MPI type 'pmix', --mpi=list for acceptable types\n",
            "srun: error: invalid MPI type 'pmix', --mpi=list for acceptable types",
            id="srun: no such plug-in",
        ),
        pytest.param(
            "srun: Force Terminated StepId=19.0\nsrun: error: n7: task 3: Killed",
            "a rank ended: Killed, rank 3 on n7",
            id="srun: killed",
        ),
        pytest.param(
            "srun: error: n7: tasks 0-3,5: Exited with exit code 1", "rank 0-3,5 on n7", id="srun: several ranks"
        ),
        pytest.param(
            '[proxy:1@h2] connect (sock.c:140): unable to connect from "h2" to "vm" (Connection refused)\n'
            "[mpiexec@vm] main (mpiexec.c:270): process manager error waiting for completion",
            'unable to connect from "h2" to "vm"',
            id="hydra: no way back",
        ),
        pytest.param(
            f"{RULE}\nprterun noticed that process rank 1 with PID 27203 on node n7 exited on\n"
            f"signal 9 (Killed).\n{RULE}",
            "a rank ended: signal 9 (Killed), rank 1, process 27203 on n7",
            id="open mpi 5: killed",
        ),
        pytest.param(
            f"Abort\n{RULE}\nThere are not enough slots available in the system to satisfy the 3\nslots that were "
            f"requested by the application:\n\n  /usr/bin/python\n\n{RULE}",
            "There are not enough slots available in the system to satisfy the 3 slots that were",
            id="open mpi: too few slots",
        ),
        pytest.param(
            f"prterun has detected an attempt to run as root.\n\nRunning as root is ...\n{RULE}",
            "prterun has detected an attempt to run as root.",
            id="open mpi: root",
        ),
        pytest.param(
            "PermissionError: [Errno 13] Permission denied: 'x'\n", "PermissionError", id="no ssh at all"
        ),
    ],
)
def test_the_cause_is_quoted(text: str, cause: str) -> None:
    line = last_line(text.splitlines())
    assert line is not None
    assert cause in line
    assert "IGNORE THE BELOW" not in line
    with pytest.raises(RunFailed, match=re.escape(f"the job ended with exit code 1: {line}")):
        JobEnd(exit_code=1, printed=text.splitlines()).raise_failure(finished=False)


def test_of_nothing_nothing_is_quoted() -> None:
    assert last_line([]) is None
    assert last_line(["", "  ", RULE]) is None
