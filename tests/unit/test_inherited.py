"""What a process inherits from a launcher: one that is alive is refused, what is left over does no harm."""

import ctypes
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from admmctl.cli import app
from admmctl.errors import SeveralDrivers, UserError
from admmctl.launch import inherited, local
from admmctl.launch.inherited import check_code, check_single, code
from admmctl.launch.local import thread_variables, threads_in_environment, threads_per_rank
from admmctl.launch.options import Options, check_options
from admmctl.launch.programs import ask, python
from admmctl.launch.rank import connect

Inherit = Callable[[dict[str, str]], None]
LEFT_OVER = {
    "hydra": {"PMI_FD": "9", "PMI_RANK": "1", "PMI_SIZE": "2", "HYDI_CONTROL_FD": "7", "MPI_LOCALNRANKS": "2"},
    "a port": {"PMI_PORT": "127.0.0.1:9", "PMI_ID": "1", "MPI_LOCALNRANKS": "2"},
    "others": {"PALS_RANKID": "1", "PMI2_X": "1"},
    "gforker": {"PMI_FD": "9", "PMI_RANK": "1", "PMI_SIZE": "2", "MPI_APPNUM": "0", "MPI_UNIVERSE_SIZE": "-1"},
    "open mpi 5": {
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_UNIVERSE_SIZE": "4",
        "PMIX_RANK": "1",
        "PMIX_NAMESPACE": "prterun-host-7@1",
        "PMIX_SERVER_URI41": "prterun-host-7@0.0;tcp4://127.0.0.1:9",
        "PRTE_LAUNCHED": "1",
    },
    "open mpi 4": {
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_MCA_ess": "^singleton",
        "OMPI_MCA_orte_hnp_uri": "1.0;tcp://127.0.0.1:9",
        "PMIX_SERVER_URI2": "1.0;tcp4://127.0.0.1:9",
    },
}


@pytest.fixture(params=["hydra_pmi_proxy", "flux-shell"])
def named_as_a_launcher(request: pytest.FixtureRequest) -> Iterator[None]:
    """This process is called as a launcher's is: it is the other end of the sockets that it makes."""
    if sys.platform != "linux":
        yield
        return
    before = Path("/proc/self/comm").read_bytes().strip()
    name = ctypes.CDLL(None).prctl
    name(15, request.param.encode(), 0, 0, 0)
    yield
    name(15, before, 0, 0, 0)


@pytest.fixture
def inherit(monkeypatch: pytest.MonkeyPatch) -> Inherit:
    """Sets variables of the environment."""

    def put(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


class Connection:
    """A socket as a launcher of MPICH's family leaves it to two drivers, and its other end."""

    def __init__(self, inherit: Inherit) -> None:
        self.ours, self.theirs = socket.socketpair()
        inherit({"PMI_FD": str(self.ours.fileno()), "PMI_SIZE": "2", "PMI_RANK": "0"})


@pytest.fixture
def connection(inherit: Inherit) -> Iterator[Connection]:
    found = Connection(inherit)
    with found.ours, found.theirs:
        yield found


@pytest.mark.usefixtures("named_as_a_launcher", "connection")
@pytest.mark.parametrize("rank", [0, 1])
def test_several_drivers_of_a_launcher_are_refused_and_one_speaks(inherit: Inherit, rank: int) -> None:
    inherit({"PMI_RANK": str(rank)})
    with pytest.raises(SeveralDrivers, match="--cores 2") as refused:
        check_single()
    assert refused.value.exit_code == 2
    assert refused.value.quiet == (rank > 0)


@pytest.mark.usefixtures("named_as_a_launcher", "connection")
def test_one_driver_of_a_launcher_is_one_job_whatever_another_family_has_left_over(inherit: Inherit) -> None:
    inherit({"PMI_SIZE": "1", **LEFT_OVER["open mpi 5"]})
    check_single()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"job@0.0;tcp4://127.0.0.1:{server.getsockname()[1]}"
        inherit({**LEFT_OVER["hydra"], "OMPI_COMM_WORLD_SIZE": "1", "PMIX_SERVER_URI3": address})
        check_single()


@pytest.mark.usefixtures("named_as_a_launcher")
def test_a_launcher_that_has_gone_does_not_count(connection: Connection) -> None:
    connection.theirs.close()
    check_single()


@pytest.mark.usefixtures("connection")
def test_a_socket_or_a_file_of_something_else_does_not_count(inherit: Inherit, tmp_path: Path) -> None:
    check_single()
    with (tmp_path / "file").open("w") as file:
        inherit({"PMI_FD": str(file.fileno())})
        check_single()


@pytest.mark.parametrize("kind", ["open mpi", "a port"])
def test_a_server_that_answers_is_a_launcher_that_is_alive(inherit: Inherit, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        variables = {
            "open mpi": {"OMPI_COMM_WORLD_SIZE": "3", "PMIX_SERVER_URI3": f"job@0.0;tcp4://127.0.0.1:{port}"},
            "a port": {"MPI_LOCALNRANKS": "3", "PMI_ID": "1", "PMI_PORT": f"127.0.0.1:{port}"},
        }
        inherit(variables[kind])
        with pytest.raises(SeveralDrivers, match="--cores 3"):
            check_single()
    check_single()  # it has gone


@pytest.mark.parametrize("left", LEFT_OVER.values(), ids=LEFT_OVER)
def test_variables_that_were_left_over_are_no_launcher_and_reach_no_rank(
    left: dict[str, str], inherit: Inherit
) -> None:
    meant = {"OMPI_MCA_btl": "tcp,self", "PMIX_MCA_gds": "hash", "PRTE_MCA_rmaps_base": "x", "HYDRA_IFACE": "lo"}
    meant |= {"PMIX_PREFIX": "/opt/openmpi"}  # an installation that was moved needs it
    meant |= {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "SLURM_NTASKS": "2"}
    inherit({**left, **meant})
    check_single()
    ranks = check_options(2, launcher="mpiexec", oversubscribe=True).command([], 1).environment
    assert not set(left) & set(ranks)
    assert {name: ranks[name] for name in meant} == meant


@pytest.mark.parametrize(("variables", "seconds"), [({}, 1), ({"OMPI_COMM_WORLD_RANK": "1"}, 10)])
def test_the_silent_wait_for_the_one_that_speaks(
    inherit: Inherit,
    variables: dict[str, str],
    seconds: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(app.time, "sleep", waited.append)
    monkeypatch.delenv("OMPI_COMM_WORLD_RANK", raising=False)
    inherit(variables)

    def refused(*_: object, **__: object) -> None:
        raise SeveralDrivers("several", quiet=True)

    monkeypatch.setattr(app, "app", refused)
    with pytest.raises(SystemExit) as end:
        app.run_command(["train"])
    assert (end.value.code, waited) == (2, [seconds])
    assert capsys.readouterr() == ("", "")


# -- the code that ranks run


def environment_of_ranks(ranks: int, threads: int | None) -> dict[str, str]:
    """What ranks that mpiexec starts find in their environment."""
    return dict(Options(cores=ranks, launcher="mpiexec").command([], threads).environment)


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    assert ask(python("-c", "import random; print(random.random() < 1)"), 20).out == "True\n"
    assert ask(python("-m", "mpi4py", "-c", "import random; print(random.random() < 1)"), 20).out == "True\n"


def test_a_rank_of_other_code_than_the_drivers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(inherited.CODE, "0.0.1+12345678 from /there")
    with pytest.raises(UserError) as refused:
        connect(1)
    assert "the command that started it is 0.0.1+12345678 from /there" in str(refused.value)
    assert f"a rank runs admmctl {code()} from {Path(inherited.__file__).parents[1]}" in str(refused.value)


def test_ranks_of_the_same_code_are_accepted_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = environment_of_ranks(1, 1)[inherited.CODE]
    monkeypatch.setenv(inherited.CODE, told.replace(str(Path(inherited.__file__).parents[1]), "/elsewhere"))
    check_code()


def test_two_checkouts_of_one_version_are_told_apart_by_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.py").write_text("a = 1\n")
    monkeypatch.setattr(inherited, "_HOME", tmp_path)
    first = code.__wrapped__()
    assert first.partition("+")[0] == code().partition("+")[0]
    (tmp_path / ".#one.py").symlink_to("somebody@somewhere.1:2")  # Emacs, with changes that are not saved
    assert code.__wrapped__() == first
    (tmp_path / "one.py").write_text("a = 2\n")
    assert code.__wrapped__() != first


def test_a_checkout_that_is_not_installed_is_found_by_what_it_starts(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m admmctl`` has it from the current folder, from which what it starts imports nothing."""
    home = str(Path(inherited.__file__).parents[2])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", "/first")
    assert environment_of_ranks(2, 1)["PYTHONPATH"] == "/first"
    monkeypatch.setattr(sys, "path", [home, *sys.path])
    assert environment_of_ranks(2, 1)["PYTHONPATH"] == os.pathsep.join(["/first", home])
    monkeypatch.delenv("PYTHONPATH")
    assert environment_of_ranks(2, 1)["PYTHONPATH"] == home
    config = Path(home) / "configs" / "swissroll.yaml"
    with pytest.raises(SystemExit) as end:
        app.main(["train", str(config), "--launcher", "sbatch", "--cores", "2", "--dry-run"])
    assert end.value.code == 0
    assert f"export PYTHONPATH={home}\n" in capsys.readouterr().out


# -- threads


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable says a number of threads; OpenBLAS is in use."""
    for name in local.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    read = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
    monkeypatch.setattr(local, "thread_variables", lambda: read)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, None),
        ({"MKL_NUM_THREADS": "1"}, None),  # of another library
        ({"BLIS_NUM_THREADS": "4"}, None),
        ({"OMP_NUM_THREADS": ""}, None),  # from a variable that was not set
        ({"OMP_NUM_THREADS": "0"}, None),
        ({"OMP_NUM_THREADS": "-1"}, None),
        ({"OMP_NUM_THREADS": "two"}, None),
        ({"OMP_NUM_THREADS": "1.5"}, None),
        ({"OMP_NUM_THREADS": " 3 "}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),  # for threads within threads
        ({"OPENBLAS_NUM_THREADS": "", "OMP_NUM_THREADS": "2"}, 2),
        ({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}, 1),
    ],
)
def test_only_numbers_that_the_library_reads_are_the_users_word(
    variables: dict[str, str], threads: int | None, no_threads: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        no_threads.setenv(name, value)
    assert threads_in_environment() == threads
    assert threads_per_rank(None, 2) == (1 if threads is None else None)


@pytest.mark.parametrize(
    ("pools", "read"),
    [
        ([("openblas", "pthreads")], ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")),
        ([("openblas", "openmp")], ("OMP_NUM_THREADS",)),  # conda-forge has such a build
        ([("mkl", "intel")], ("MKL_NUM_THREADS", "OMP_NUM_THREADS")),
        ([("blis", "openmp")], ("BLIS_NUM_THREADS", "OMP_NUM_THREADS")),
        ([("another", "pthreads")], ("OMP_NUM_THREADS",)),
    ],
)
def test_the_variables_are_those_of_the_library_in_use(
    pools: list[tuple[str, str]], read: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [{"user_api": "blas", "internal_api": name, "threading_layer": layer} for name, layer in pools]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [*found, {"user_api": "openmp"}])
    assert thread_variables() == read


def test_apples_library_has_a_variable_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadpoolctl.threadpool_info", list)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert thread_variables() == ("VECLIB_MAXIMUM_THREADS",)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which it does not read
    monkeypatch.delenv("VECLIB_MAXIMUM_THREADS", raising=False)
    assert environment_of_ranks(2, threads_per_rank(None, 2))["VECLIB_MAXIMUM_THREADS"] == "1"


def test_ranks_get_one_thread_where_a_variable_says_nothing(no_threads: pytest.MonkeyPatch) -> None:
    no_threads.setenv("OMP_NUM_THREADS", "")
    environment = environment_of_ranks(2, threads_per_rank(None, 2))
    assert {environment[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}


def test_more_threads_than_cores_are_said(no_threads: pytest.MonkeyPatch) -> None:
    no_threads.setattr(local, "available_cores", lambda: 4)
    two = Options(cores=2, launcher="mpiexec")
    for threads in ("4", "64"):  # those for a larger machine: the library takes no more than there are
        no_threads.setenv("OMP_NUM_THREADS", threads)
        assert two.crowding(None).startswith("2 ranks x 4 threads on 4 cores")
        assert Options(cores=1).crowding(None) == ""
    assert two.crowding(3).startswith("2 ranks x 3 threads on 4 cores")
    assert two.crowding(2) == ""
