"""Allocations, srun's command line, hosts, and job scripts with values that a shell would take apart."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.processes import program
from support.slurm import FakeSlurm

from admmctl.errors import ConfigError, RunFailed, UserError
from admmctl.launch import slurm
from admmctl.launch.cluster import Launch, load_cluster, parse_hosts
from admmctl.launch.ended import JobEnd
from admmctl.launch.launchers import MPIEXEC
from admmctl.launch.local import THREAD_VARIABLES
from admmctl.launch.options import Options, check_options
from admmctl.launch.programs import NoAnswer
from admmctl.launch.slurm import Allocation, Batch, allocation, script
from admmctl.runs.environment import ranks_share_cores
from admmctl.runs.record import rerun_line
from admmctl.studies.bench import bench

STRANGE = [
    "a b",
    "it's",
    'q"q',
    "; exit 3",
    "$(touch gone)",
    "`touch gone`",
    "x && y",
    "*",
    "-n",
    "\\",
    "%j",
    "#c",
]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin", monkeypatch)


def environment_of(options: Options, threads: int = 1) -> dict[str, str]:
    """What the ranks that are started so find in their environment."""
    return dict(options.command([], threads).environment)


# --- allocations


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "4"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, Allocation("7", 4, 4, False)),
        (
            {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "9", "SLURM_JOB_CPUS_PER_NODE": "16(x2),4"},
            Allocation("7", 9, 36, False),
        ),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "16(x2),4"}, Allocation("7", 36, 36, False)),
        (
            {"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "16(x2)", "SLURM_CPUS_PER_TASK": "4"},
            Allocation("7", 8, 32, False),
        ),
        ({"SLURM_JOB_ID": "7"}, None),  # left over: nothing says how large the job is, or was
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "", "SLURM_JOB_CPUS_PER_NODE": ""}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "some", "SLURM_CPUS_PER_TASK": "4"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURMD_NODENAME": "n1"}, Allocation("7", 1, 1, True)),
        (
            {
                "SLURM_JOB_ID": "7",
                "SLURM_NTASKS": "1",
                "SLURM_STEP_ID": "4294967290",
                "SLURM_STEP_NUM_TASKS": "4",
            },
            Allocation("7", 1, 1, False),
        ),
    ],
)
def test_the_allocation_is_read_from_slurms_variables(variables: dict[str, str], expected: Any) -> None:
    assert allocation(variables) == expected


def test_a_driver_for_every_task_is_refused() -> None:
    with pytest.raises(UserError, match="call it without srun"):
        allocation({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"})


def test_inside_an_allocation_its_size_and_nodes_are_the_default(
    fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[int, str, bool]:
        options = check_options(None, None, "auto", False)
        return options.cores, options.chosen().name, options.remote()

    assert found() == (1, "inline", False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "5")
    assert found() == (5, "mpiexec", True)
    assert check_options(2, None, "auto", False).chosen().name == "mpiexec"
    assert check_options(None, None, "srun", False).cores == 5
    assert check_options(2, None, "srun", False).chosen().name == "srun"
    assert check_options(None, None, "auto", False, hosts="h1:2,h2:2").chosen().name == "mpiexec"
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
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert Options(cores=2, cluster=settings).chosen().name == way


@pytest.fixture
def no_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of two nodes, as its variables say, and no srun: so it is in a container."""
    monkeypatch.setenv("PATH", "/no/where")
    job = {"JOB_ID": "7", "NTASKS": "2", "JOB_NODELIST": "n[1-2]", "NODELIST": "n[1-2]", "NNODES": "2"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


def test_a_job_without_an_srun_is_refused_with_the_cure(no_srun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = check_options(None, None, "auto", False)
    assert (options.cores, options.chosen().name) == (2, "mpiexec")
    for refuses in (options.check, lambda: options.chosen().check(options)):
        with pytest.raises(UserError, match=r"no srun on the PATH.*load the site's Slurm.*--launcher mpiexec"):
            refuses()
    with pytest.raises(UserError, match="srun was not found: this machine has no Slurm, or its module"):
        check_options(2, None, "srun", False).check()
    with pytest.raises(UserError, match="no srun on the PATH"):
        bench(None, rows=10, cores=2, oversubscribe=True)
    monkeypatch.delenv("SLURM_JOB_NODELIST")
    monkeypatch.delenv("SLURM_NODELIST")
    options.chosen().check(options)  # then mpiexec does not take it for a job, either


def test_without_an_srun_mpiexec_starts_ranks_here_when_it_is_named(no_srun: None) -> None:
    options = check_options(None, None, "mpiexec", False)
    assert (options.cores, options.remote()) == (1, False)
    options.check()
    assert [name for name in environment_of(options) if name.startswith("SLURM_")] == []
    on_hosts = check_options(None, None, "auto", False, hosts="h1:2,h2:2")
    on_hosts.check()
    assert [name for name in environment_of(on_hosts) if name.startswith("SLURM_")] == []


@pytest.mark.parametrize(
    ("mpi", "variables", "expected"),
    [
        ("mpich", {}, {"HYDRA_LAUNCHER_EXTRA_ARGS": "-o BatchMode=yes -o ConnectTimeout=20"}),
        ("mpich", {"HYDRA_LAUNCHER_EXTRA_ARGS": "-p 2222"}, {"HYDRA_LAUNCHER_EXTRA_ARGS": "-p 2222"}),
        ("mpich", {"HYDRA_LAUNCHER": "rsh"}, {"HYDRA_LAUNCHER_EXTRA_ARGS": None}),
        ("mpich", {"PE_HOSTFILE": "x"}, {"HYDRA_LAUNCHER_EXTRA_ARGS": None}),
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
    assert variables.items() <= environment.items()


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
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert srun.start_seconds() == 124


def test_what_a_job_asked_for_its_tasks_is_not_asked_for_the_proxies_of_mpiexec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
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
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "5")
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


# --- the scheduler's answers


def test_the_accounting_remembers_a_job_that_squeue_has_forgotten(fake: FakeSlurm) -> None:
    assert slurm.states(["7"]) == {}
    program(fake.folder / "sacct", "print('CANCELLED by 1000')")
    assert slurm.states(["7"]) == {"7": slurm.State("CANCELLED")}


def test_a_scheduler_that_fails_is_quoted(fake: FakeSlurm) -> None:
    for name in ("squeue", "scancel"):
        program(fake.folder / name, "import sys; sys.exit('slurm error: Unable to contact the controller')")
    with pytest.raises(UserError, match="squeue failed: slurm error: Unable to contact the controller"):
        slurm.states(["7"])
    with pytest.raises(UserError, match="job 7 was not cancelled: slurm error"):
        slurm.cancel("7")


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
def test_hosts_in_words(text: str, expected: Any) -> None:
    assert parse_hosts(text) == expected


def test_hosts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my hosts"
    path.write_text("# ours\nh1:8\nh2 slots=4   # an old one\n\nh3 2\nh4\n")
    assert parse_hosts(str(path)) == (("h1", 8), ("h2", 4), ("h3", 2), ("h4", 1))


@pytest.mark.parametrize("text", [*STRANGE, "", ",", "h1:0", "h1:x", "h1:8;reboot", "-oProxyCommand=x:8", "h\n1"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--hosts"):
        parse_hosts(text)


def test_hosts_have_so_many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    options = check_options(None, None, "auto", False, hosts="h1:2,h2:3")
    assert (options.cores, options.chosen().name) == (5, "mpiexec")
    options.check()
    with pytest.raises(UserError, match="--cores 6: --hosts has 5 cores"):
        check_options(6, None, "auto", False, hosts="h1:2,h2:3").check()
    with pytest.raises(UserError, match="--hosts is for --launcher mpiexec"):
        check_options(1, None, "srun", False, hosts="h1")


# --- job scripts


def batch(tmp_path: Path, words: list[str], **changes: Any) -> Batch:
    given = {"name": "svhn", "ranks": 40, "threads": 1, "log": tmp_path / "log.txt", "work": tmp_path, **changes}
    return Batch(command=words, **given)


def directives(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH ")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def test_a_job_script_says_what_slurm_needs(tmp_path: Path) -> None:
    site = Launch(
        partition="big", account="x", time="2-00:00:00", ranks_per_node=16, memory_per_node="64G",
        options=("--exclusive", "--mail-type=END"),
    )  # fmt: skip
    found = directives(script(batch(tmp_path, ["true"], threads=2), site))
    assert found == {
        **{"job-name": "svhn", "ntasks": "40", "nodes": "3", "ntasks-per-node": "16", "cpus-per-task": "2"},
        **{"mem": "64G", "time": "2-00:00:00", "partition": "big", "account": "x"},
        **{"output": str(tmp_path / "log.txt"), "open-mode": "append", "signal": "B:USR1@60", "requeue": ""},
        **{"exclusive": "", "mail-type": "END"},
    }


def test_values_arrive_untouched_and_nothing_of_them_is_run(tmp_path: Path) -> None:
    work = tmp_path / 'it\'s; a "b" $(touch gone) %j'
    work.mkdir()
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['STRANGE'], os.getcwd()]))"
    for value in STRANGE:
        site = Launch(account=value, environment={"STRANGE": value}, options=(f"--comment={value}",))
        text = script(batch(tmp_path, [sys.executable, "-c", show, *STRANGE], work=work, name=value), site)
        path = tmp_path / "job.sh"
        path.write_text(text)
        subprocess.run(["bash", "-n", path], check=True)
        done = subprocess.run(["bash", path], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert json.loads(done.stdout) == [STRANGE, value, str(work)]
        assert done.stderr == ""
    assert not list(tmp_path.rglob("gone"))


def test_directives_are_quoted_as_sbatch_reads_them(tmp_path: Path) -> None:
    # As a real sbatch 22.05 took them: double quotes, a backslash before a quote and a backslash.
    text = script(batch(tmp_path, ["true"], log=Path("/a b/it's %j.txt")), Launch(account='a "b" \\ #c'))
    assert directives(text)["output"] == '"/a b/it\'s %%j.txt"'
    assert directives(text)["account"] == '"a \\"b\\" \\\\ #c"'


@pytest.mark.parametrize("value", ["a\nb", "a\n#SBATCH --uid=0", "a\rb", "a\x00b", "\x1b[2J"])
def test_line_breaks_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ValidationError):
        Launch(partition=value)
    for changes in ({"name": value}, {"work": Path(value)}, {"log": Path(value)}, {"exports": {"X": value}}):
        with pytest.raises(UserError, match="line break"):
            script(batch(tmp_path, ["true"], **changes), Launch())
    with pytest.raises(UserError, match="line break"):
        script(batch(tmp_path, ["true", value]), Launch())


def test_modules_are_loaded_and_a_missing_one_ends_the_job(tmp_path: Path) -> None:
    path = tmp_path / "job.sh"
    path.write_text(script(batch(tmp_path, ["echo", "ran"]), Launch(modules=("gcc/13", "x; touch gone"))))
    assert path.read_text().startswith("#!/bin/bash -l\n")
    module = 'module() { printf "%s|" "$@"; [ "$2" = gcc/13 ]; }; export -f module; exec bash "$1"'
    done = subprocess.run(
        ["bash", "-c", module, "-", path], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.stdout, done.returncode) == ("load|gcc/13|load|x; touch gone|", 1)


# --- the scheduler


def test_the_number_of_a_job_is_read_and_a_refusal_told(fake: FakeSlurm, tmp_path: Path) -> None:
    path = tmp_path / "a b;c.sh"
    assert slurm.submit(path) == "100"
    assert fake.calls("sbatch") == [["--parsable", str(path)]]
    fake.refuse("sbatch: error: invalid partition specified: nope")
    with pytest.raises(UserError, match="sbatch refused the job: sbatch: error: invalid partition"):
        slurm.submit(path)


@pytest.mark.parametrize(
    ("said", "job"),
    [
        ({"out": "NUMBER;c1\nYour project has 1200 hours left."}, "100;c1"),
        ({"out": "sbatch: Warning: no time limit\n\nNUMBER\n"}, "100"),
        ({"out": "Quota of /home in GB:\n17\nNUMBER;c1"}, "100;c1"),
        ({"out": "Submitted batch job NUMBER"}, "100"),
        ({"out": "17\nSubmitted batch job NUMBER on cluster c1\nGood luck!"}, "100;c1"),
        ({"err": "sbatch: lua: Submitted batch job NUMBER."}, "100"),
        ({"out": "checking your quota ...", "err": "NUMBER"}, "100"),
        ({"out": "NUMBER\nNUMBER"}, "100"),
        ({"out": "NUMBER", "err": "wrapper: cannot write its log", "code": 1}, "100"),
    ],
)
def test_a_job_is_found_between_what_a_site_says(
    fake: FakeSlurm, tmp_path: Path, said: dict[str, Any], job: str
) -> None:
    fake.sbatch_says(**said)
    assert slurm.submit(tmp_path / "job.sh") == job


@pytest.mark.parametrize(
    "said",
    [
        {"out": "Thank you."},
        {"out": ""},
        {"out": "17\n4242"},  # which of them is it?
        {"out": "Submitted batch job 4242_7"},  # an array: not ours
        {"out": "4242+1"},
        {"err": "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", "code": 1},
        {"err": "Terminated", "code": 143},
    ],
)
def test_a_job_that_may_be_queued_is_not_called_refused(
    fake: FakeSlurm, tmp_path: Path, said: dict[str, Any]
) -> None:
    fake.sbatch_says(**said)
    last = (said.get("out", "") + "\n" + said.get("err", "")).strip().splitlines()[-1:] or ["no message"]
    with pytest.raises(slurm.MayBeQueued, match=re.escape(last[0])):
        slurm.submit(tmp_path / "job.sh")


def test_a_number_beside_a_refusal_is_no_job(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.sbatch_says("17", "sbatch: error: Batch job submission failed: Invalid account", 1)
    with pytest.raises(UserError, match=r"sbatch refused the job: .* Invalid account"):
        slurm.submit(tmp_path / "job.sh")


def test_a_job_of_another_cluster_is_asked_for_there(fake: FakeSlurm) -> None:
    fake.say(j100="RUNNING")
    assert slurm.states(["100;c1", "7"]) == {"100;c1": slurm.State("RUNNING")}
    assert sorted(call[4:] for call in fake.calls("squeue")) == [[], ["--clusters=c1"]]
    slurm.cancel("100;c1")
    assert fake.calls("scancel") == [["--clusters=c1", "100"]]


@pytest.mark.parametrize(
    "words",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "squeue: error: Connection refused",
        "slurm_load_jobs error: Socket timed out on send/recv operation",
    ],
)
def test_a_controller_that_is_away_is_told_from_a_job_that_is_forgotten(fake: FakeSlurm, words: str) -> None:
    fake.fall_silent(words, "slurm_load_jobs error: Invalid job id specified")
    with pytest.raises(NoAnswer, match=re.escape(words)):
        slurm.states(["7"])
    assert slurm.states(["7"]) == {}


def test_the_last_start_of_a_job_is_what_the_accounting_says(fake: FakeSlurm) -> None:
    program(fake.folder / "sacct", "print('REQUEUED\\nNODE_FAIL\\nCOMPLETED')")
    assert slurm.states(["7"])["7"] == slurm.State("COMPLETED")


def test_a_federation_revokes_the_job_that_another_cluster_runs(fake: FakeSlurm) -> None:
    program(fake.folder / "squeue", "print('7|RUNNING|None\\n7|REVOKED|None\\n8|REVOKED|None')")
    assert slurm.states(["7", "8"]) == {"7": slurm.State("RUNNING")}


def test_states_of_jobs_that_are_ours(fake: FakeSlurm) -> None:
    fake.say(j100="PENDING", j7="RUNNING")
    assert slurm.states(["100", "5"]) == {"100": slurm.State("PENDING")}
    assert slurm.states([]) == {}
    assert len(fake.calls("squeue")) == 1


def test_without_slurm_the_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (lambda: slurm.submit(tmp_path), lambda: slurm.states(["1"]), lambda: slurm.cancel("1")):
        with pytest.raises(UserError, match=r"(sbatch|squeue|scancel) was not found: this machine has no Slurm"):
            call()


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


# --- what launchers say of ranks and hosts


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            ["srun: Force Terminated StepId=19.0", "srun: error: n7: task 3: Killed"],
            "a rank ended: Killed, rank 3 on n7",
        ),
        (["srun: error: n7: tasks 0-3,5: Exited with exit code 1"], "rank 0-3,5 on n7"),
        (
            [
                '[proxy:1@h2] connect (sock.c:140): unable to connect from "h2" to "vm" (Connection refused)',
                "[mpiexec@vm] main (mpiexec.c:270): process manager error waiting for completion",
            ],
            'unable to connect from "h2" to "vm"',
        ),
        (
            [
                *(
                    "-" * 74,
                    "prterun noticed that process rank 1 with PID 27203 on node n7 exited on",
                    "signal 9 (Killed).",
                ),
                "-" * 74,
            ],
            "a rank ended: signal 9 (Killed), rank 1, process 27203 on n7",
        ),
        (
            [
                *("Abort", "-" * 74, "There are not enough slots available in the system to satisfy the 3"),
                *("slots that were requested by the application:", "", "  /usr/bin/python", "", "-" * 74),
            ],
            "exit code 1: There are not enough slots available in the system to satisfy the 3 slots that were",
        ),
        (
            ["prterun has detected an attempt to run as root.", "", "Running as root is ...", "-" * 74],
            "exit code 1: prterun has detected an attempt to run as root.",
        ),
        (["ssh: Could not resolve hostname h9: Name or service not known"], "reachable by ssh without a password"),
    ],
)
def test_ranks_and_hosts_that_fail_are_told_by_name(tmp_path: Path, said: list[str], words: str) -> None:
    with pytest.raises(RunFailed) as failure:
        JobEnd(exit_code=1, printed=said, ranks=2).raise_failure(finished=False)
    assert words in str(failure.value)
