"""Launchers: which of them starts the ranks, with what command line and environment; hosts and clusters."""

import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.slurm import STRANGE, FakeSlurm

from admmctl.errors import ConfigError, UserError
from admmctl.launch.cluster import Launch, load_cluster, parse_hosts
from admmctl.launch.launchers import MPIEXEC
from admmctl.launch.local import THREAD_VARIABLES
from admmctl.launch.options import Options, check_options
from admmctl.launch.slurm import Allocation, allocation
from admmctl.runs.environment import ranks_share_cores
from admmctl.runs.record import rerun_line
from admmctl.studies.bench import bench


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin", monkeypatch)


def in_a_job(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Set what Slurm tells the processes of job 7."""
    for name, value in {"JOB_ID": "7", **variables}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


def environment_of(options: Options, threads: int = 1) -> dict[str, str]:
    """What the ranks that are started so find in their environment."""
    return dict(options.command([], threads).environment)


# --- allocations


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"JOB_ID": "", "NTASKS": "4"}, None),
        ({"NTASKS": "4"}, Allocation("7", 4, 4, False)),
        ({"NTASKS": "9", "JOB_CPUS_PER_NODE": "16(x2),4"}, Allocation("7", 9, 36, False)),
        ({"JOB_CPUS_PER_NODE": "16(x2),4"}, Allocation("7", 36, 36, False)),
        ({"JOB_CPUS_PER_NODE": "16(x2)", "CPUS_PER_TASK": "4"}, Allocation("7", 8, 32, False)),
        ({}, None),  # left over: nothing says how large the job is, or was
        ({"NTASKS": "", "JOB_CPUS_PER_NODE": ""}, None),
        ({"NTASKS": "some", "CPUS_PER_TASK": "4"}, None),
        ({"NTASKS": "1", "STEP_ID": "4294967290", "STEP_NUM_TASKS": "4"}, Allocation("7", 1, 1, False)),
    ],
)
def test_the_allocation_is_read_from_slurms_variables(
    variables: dict[str, str], expected: Allocation | None, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_job(monkeypatch, **variables)
    assert allocation() == expected


def test_a_driver_for_every_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_job(monkeypatch, STEP_ID="0", STEP_NUM_TASKS="4")
    with pytest.raises(UserError, match="call it without srun"):
        allocation()


def test_inside_an_allocation_its_size_and_nodes_are_the_default(
    fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[int, str, bool]:
        options = check_options(None)
        return options.cores, options.chosen().name, options.remote()

    assert found() == (1, "inline", False)
    in_a_job(monkeypatch, NTASKS="5")
    assert found() == (5, "mpiexec", True)
    assert check_options(2).chosen().name == "mpiexec"
    assert check_options(None, launcher="srun").cores == 5
    assert check_options(2, launcher="srun").chosen().name == "srun"
    assert check_options(None, hosts="h1:2,h2:2").chosen().name == "mpiexec"
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert found() == (1, "mpiexec", True), "salloc's shell may be on a login node"
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    assert found() == (1, "inline", False)


@pytest.mark.parametrize(
    ("settings", "way"),
    [
        (Launch(), "mpiexec"),
        (Launch(mpi="intel"), "mpiexec"),
        (Launch(mpi="openmpi"), "srun"),
        (Launch(mpi="cray"), "srun"),
        (Launch(plugin="pmi2"), "srun"),
    ],
)
def test_the_mpi_family_says_who_starts_the_ranks_of_a_job(
    settings: Launch, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_job(monkeypatch, NTASKS="2")
    assert Options(cores=2, cluster=settings).chosen().name == way


@pytest.fixture
def no_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of two nodes, as its variables say, and no srun: so it is in a container."""
    monkeypatch.setenv("PATH", "/no/where")
    in_a_job(monkeypatch, NTASKS="2", JOB_NODELIST="n[1-2]", NODELIST="n[1-2]", NNODES="2")


def test_a_job_without_an_srun_is_refused_with_the_cure(no_srun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = check_options(None)
    assert (options.cores, options.chosen().name) == (2, "mpiexec")
    for refuses in (options.check, lambda: options.chosen().check(options)):
        with pytest.raises(UserError, match=r"no srun on the PATH.*load the site's Slurm.*--launcher mpiexec"):
            refuses()
    with pytest.raises(UserError, match="srun was not found: this machine has no Slurm, or its module"):
        check_options(2, launcher="srun").check()
    with pytest.raises(UserError, match="no srun on the PATH"):
        bench(None, rows=10, cores=2, oversubscribe=True)
    monkeypatch.delenv("SLURM_JOB_NODELIST")
    monkeypatch.delenv("SLURM_NODELIST")
    options.chosen().check(options)  # then mpiexec does not take it for a job, either


def test_without_an_srun_mpiexec_starts_ranks_here_when_it_is_named(no_srun: None) -> None:
    options = check_options(None, launcher="mpiexec")
    assert (options.cores, options.remote()) == (1, False)
    options.check()
    assert [name for name in environment_of(options) if name.startswith("SLURM_")] == []
    on_hosts = check_options(None, hosts="h1:2,h2:2")
    on_hosts.check()
    assert [name for name in environment_of(on_hosts) if name.startswith("SLURM_")] == []


@pytest.mark.parametrize(
    ("mpi", "variables", "expected"),
    [
        ("mpich", {}, {"HYDRA_LAUNCHER_EXTRA_ARGS": "-o BatchMode=yes -o ConnectTimeout=20"}),
        ("mpich", {"HYDRA_LAUNCHER_EXTRA_ARGS": "-p 2222"}, {"HYDRA_LAUNCHER_EXTRA_ARGS": "-p 2222"}),
        ("mpich", {"HYDRA_LAUNCHER": "rsh"}, {"HYDRA_LAUNCHER_EXTRA_ARGS": None}),
        ("mpich", {"SLURM_NODELIST": "n1"}, {"HYDRA_LAUNCHER_EXTRA_ARGS": None}),
        ("intel", {}, {"HYDRA_LAUNCHER_EXTRA_ARGS": None}),
        (
            "openmpi",
            {"OMPI_MCA_plm_rsh_args": "-p 2222"},
            {
                "PRTE_MCA_plm_ssh_args": "-o BatchMode=yes -o ConnectTimeout=20",
                "OMPI_MCA_plm_rsh_args": "-p 2222",
            },
        ),
    ],
)
def test_ssh_asks_for_no_password_and_waits_for_no_dead_host(
    mpi: Any, variables: dict[str, str], expected: dict[str, str | None]
) -> None:
    environment = {**MPIEXEC[mpi].by_ssh(variables), **variables}
    assert {name: environment.get(name) for name in expected} == expected


def test_a_start_has_time_by_its_size_or_as_the_site_or_the_watchdog_says(
    fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Options(cores=2).start_seconds() == 124
    assert Options(cores=209).start_seconds() == 538
    assert Options(cores=2, watchdog=600).start_seconds() == 600
    assert Options(cores=2, watchdog=1).start_seconds() == 30, "Python itself has to start"
    assert Options(cores=2, watchdog=1, cluster=Launch(start_seconds=7)).start_seconds() == 7
    srun = Options(cores=2, launcher="srun")
    assert srun.start_seconds() is None, "it waits in the queue"
    in_a_job(monkeypatch, NTASKS="2")
    assert srun.start_seconds() == 124


def test_what_a_job_asked_for_its_tasks_is_not_asked_for_the_proxies_of_mpiexec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_a_job(monkeypatch, NTASKS="4", CPUS_PER_TASK="2")
    environment = environment_of(Options(cores=4), 2)
    assert "SLURM_CPUS_PER_TASK" not in environment
    assert environment["SLURM_CPU_BIND"] == "none"
    assert (environment["SLURM_JOB_ID"], environment["OMP_NUM_THREADS"]) == ("7", "2")
    assert "SLURM_CPUS_PER_TASK" in environment_of(Options(cores=4, launcher="srun"), 2)
    assert "SLURM_CPUS_PER_TASK" in environment_of(Options(cores=4, hosts=(("h1", 4),)), 2)


@pytest.mark.parametrize("launcher", ["srun", "mpiexec"])
def test_more_ranks_than_the_job_has_cores_are_refused(
    fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, launcher: Any
) -> None:
    in_a_job(monkeypatch, NTASKS="5")
    Options(cores=5, launcher=launcher).check()
    with pytest.raises(UserError, match="--cores 6: job 7 has 5 cores"):
        Options(cores=6, launcher=launcher).check()
    with pytest.raises(UserError, match="need pmix: set mpi, or plugin"):
        Options(cores=5, cluster=Launch(mpi="openmpi")).check()


def test_a_run_is_done_again_as_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again() -> list[str]:
        options = check_options(2, None, "mpiexec", True, "h2,h1:3", "a site.yaml", 60)
        line = rerun_line(Path("run"), 4, 1, options.rerun_arguments())
        return shlex.split(line)[5:]

    monkeypatch.chdir(tmp_path)
    site = tmp_path / "a site.yaml"
    site.write_text("{name: site, launch: {}}")
    rest = ["--hosts", "h2:1,h1:3", "--cluster", str(site), "--watchdog", "60"]
    assert again() == ["--oversubscribe", "--launcher", "mpiexec", *rest]
    monkeypatch.setenv("ADMMCTL_JOB", "results/job")
    assert again()[1:3] == ["--launcher", "sbatch"], "whoever reads it is not in the job"
    assert Options().rerun_arguments() == ["--launcher", "sbatch"]
    monkeypatch.delenv("ADMMCTL_JOB")
    assert Options().rerun_arguments() == []


def test_a_file_of_hosts_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"\xff\xfe h1")
    with pytest.raises(UserError, match="the file cannot be read"):
        parse_hosts(str(tmp_path / "hosts"))


# --- command lines


def test_sruns_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def line(threads: int = 1, **changes: Any) -> list[str]:
        return Options(cores=4, launcher="srun", **changes).command(["x", "a b"], threads).line

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    start = [sys.executable, "-P", "-m", "mpi4py", "x", "a b"]
    assert line() == ["srun", "--ntasks=4", "--mpi=pmi2", "--kill-on-bad-exit=1", *start]
    site = Launch(mpi="openmpi", binding="core", ranks_per_node=2)
    assert line(3, cluster=site, oversubscribe=True) == [
        *("srun", "--ntasks=4", "--mpi=pmix", "--kill-on-bad-exit=1", "--cpus-per-task=3"),
        *("--ntasks-per-node=2", "--cpu-bind=cores", "--overcommit", *start),
    ]
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert "--overlap" in line(), "in srun --pty bash"
    monkeypatch.delenv("SLURM_JOB_ID")
    assert "--account=a b;c" in line(cluster=Launch(account="a b;c"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Launch(), ["-hosts", "h1:2,h2:1"]),
        (
            Launch(interface="ib0", binding="core"),
            ["-hosts", "h1:2,h2:1", "-iface", "ib0", "-bind-to", "core"],
        ),
        (
            Launch(mpi="openmpi", interface="ib0"),
            ["--host", "h1:2,h2:1", "--mca", "btl_tcp_if_include", "ib0", "-x", "BLIS_NUM_THREADS"],
        ),
    ],
)
def test_mpiexecs_command_line_on_hosts(settings: Launch, expected: list[str]) -> None:
    options = Options(cores=3, cluster=settings, hosts=parse_hosts("h1:2,h2:1"))
    command = options.command(["x", "a b"], 1).line
    assert command[1 : 1 + len(expected)] == expected
    assert command[-7:] == ["3", sys.executable, "-P", "-m", "mpi4py", "x", "a b"]


def test_open_mpi_is_told_of_variables_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of others it complains, a paragraph each."""
    for name in (*THREAD_VARIABLES, "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", ["/nowhere", *sys.path])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    def told(threads: int | None) -> list[str]:
        options = Options(cores=2, cluster=Launch(mpi="openmpi"), hosts=parse_hosts("h1:2"))
        line = options.command(["x"], threads).line
        return [word for before, word in pairwise(line) if before == "-x"]

    assert told(None) == ["OMP_NUM_THREADS", "PYTHONUNBUFFERED", "ADMMCTL_CODE"]
    monkeypatch.setenv("PYTHONPATH", "/plugins")
    assert told(3) == [*THREAD_VARIABLES, "PYTHONPATH", "PYTHONUNBUFFERED", "ADMMCTL_CODE"]


def test_the_number_of_a_job_that_has_gone_reaches_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open MPI's would look for its nodes."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOBID", "7")
    ranks = environment_of(Options(cores=2, launcher="mpiexec"))
    assert not [name for name in ranks if name in ("SLURM_JOB_ID", "SLURM_JOBID")]
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert environment_of(Options(cores=2, launcher="mpiexec"))["SLURM_JOB_ID"] == "7", "in a job that is there"


def test_the_interface_reaches_the_ranks() -> None:
    environment = environment_of(Options(cores=2, cluster=Launch(interface="ib0", environment={"X": "a b"})))
    assert (environment["FI_TCP_IFACE"], environment["X"]) == ("ib0", "a b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h1:8,h2:8", (("h1", 8), ("h2", 8))),
        (" h1 , 10.0.0.2:4,", (("h1", 1), ("10.0.0.2", 4))),
        ("h1,h1,h1", (("h1", 3),)),
    ],
)
def test_hosts_of_a_command_line(text: str, expected: Any) -> None:
    assert parse_hosts(text) == expected


def test_hosts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my hosts"
    path.write_text("# ours\nh1:8\nh2 slots=4   # an old one\n\nh3 2\nh4\n")
    assert parse_hosts(str(path)) == (("h1", 8), ("h2", 4), ("h3", 2), ("h4", 1))


@pytest.mark.parametrize("text", [*STRANGE, "", ",", "h1:0", "h1:x", "h1:8;reboot", "-oProxyCommand=x:8", "h\n1"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--hosts"):
        parse_hosts(text)


def test_hosts_have_so_many_cores() -> None:
    options = check_options(None, hosts="h1:2,h2:3")
    assert (options.cores, options.chosen().name) == (5, "mpiexec")
    options.check()
    with pytest.raises(UserError, match="--cores 6: --hosts has 5 cores"):
        check_options(6, hosts="h1:2,h2:3").check()
    with pytest.raises(UserError, match="--hosts is for --launcher mpiexec"):
        check_options(1, launcher="srun", hosts="h1")


# --- clusters' files


def test_the_files_of_the_repository_are_clusters() -> None:
    assert load_cluster("slurm").launch.binding == "core"
    assert load_cluster("cray-xc30").cores == 133824


def test_a_clusters_file_is_checked_with_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("name: site\nlaunch:\n  time: [1]\n  partitoin: x\n  mpi: lam\n")
    with pytest.raises(ConfigError) as error:
        load_cluster(path)
    lines = str(error.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:{number}" for number in (3, 4, 5)]
    assert "did you mean 'partition'" in lines[1]


# --- whether ranks share cores


class Gathered:
    """A communicator of ranks on hosts, as rank 0 sees it."""

    def __init__(self, ranks: list[tuple[str, list[int]]]) -> None:
        self.ranks = ranks

    def gather(self, item: Any) -> Any:
        return self.ranks

    def allreduce(self, buffer: Any, op: str) -> None:
        pass


@pytest.mark.parametrize(
    ("ranks", "shared"),
    [
        ([("a", [0, 1])], False),
        ([("a", [0, 1])] * 2, False),
        ([("a", [0, 1])] * 3, True),
        ([("a", [0]), ("a", [1])], False),  # each bound to a core of its own
        ([("a", [0]), ("a", [0])], True),
        ([("a", [0]), ("b", [0])], False),
        ([("a", [0, 1]), ("b", [0]), ("b", [0])], True),
    ],
)
def test_ranks_share_cores_where_a_host_has_too_few(ranks: Any, shared: bool) -> None:
    assert ranks_share_cores(Gathered(ranks)) is shared  # type: ignore[arg-type]
