"""Job scripts with values that a shell would take apart, and a scheduler's answers."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.processes import program
from support.slurm import STRANGE, FakeSlurm

from admmctl.errors import UserError
from admmctl.launch import slurm
from admmctl.launch.cluster import Launch
from admmctl.launch.programs import NoAnswer
from admmctl.launch.slurm import Batch, script


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin", monkeypatch)


# --- job scripts


def batch(tmp_path: Path, command: list[str], **changes: Any) -> Batch:
    given = {"name": "svhn", "ranks": 40, "threads": 1, "log": tmp_path / "log.txt", "work": tmp_path, **changes}
    return Batch(command=command, **given)


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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("Unable to contact slurm controller (connect failure)", slurm.Busy),
        ("AssocMaxSubmitJobLimit", slurm.Busy),
        ("QOSGrpSubmitJobsLimit", slurm.Busy),
        ("Slurm temporarily unable to accept job, sleeping and retrying", slurm.Busy),
        ("Zero Bytes were transmitted or received", slurm.Silent),
        ("QOSMaxWallDurationPerJobLimit", UserError),
        ("Requested node configuration is not available", UserError),
    ],
)
def test_what_may_be_handed_in_again_is_told_from_a_refusal(
    fake: FakeSlurm, tmp_path: Path, error: str, expected: type[Exception]
) -> None:
    fake.refuse(f"sbatch: error: {error}")
    with pytest.raises((UserError, slurm.MayBeQueued)) as refused:
        slurm.submit(tmp_path / "job.sh")
    assert type(refused.value) is expected


def test_nodes_to_leave_out_and_jobs_to_wait_for_are_directives(tmp_path: Path) -> None:
    site = Launch(exclude=("n7", "n[10-12,20]"))
    found = directives(script(batch(tmp_path, ["true"], after=("4", "5")), site))
    assert (found["exclude"], found["dependency"]) == ('"n7,n[10-12,20]"', "afterany:4:5")


@pytest.mark.parametrize("nodes", ["n1 n2", "n1;n2", "$(n)", "-n", "", "n1\n"])
def test_what_is_no_node_is_refused(nodes: str) -> None:
    with pytest.raises(ValidationError, match="expected nodes as Slurm writes them"):
        Launch(exclude=(nodes,))


def test_a_method_has_what_the_file_says_of_it_or_of_its_kind() -> None:
    site = Launch.model_validate({
        "partition": "small", "time": "10:00", "account": "x",
        "methods": {"convex-admm": {"time": "4:00:00", "memory_per_node": "0"}, "mine": {"partition": "big"}},
    })  # fmt: skip
    for method, kind, expected in (
        ("sgd", "sgd", ("small", "10:00", None)),
        ("exact", "convex-admm", ("small", "4:00:00", "0")),
        ("mine", "convex-admm", ("big", "10:00", None)),  # its own name comes first
    ):
        found = site.of(method, kind)
        assert (found.partition, found.time, found.memory_per_node, found.account) == (*expected, "x")


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
    "error",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "squeue: error: Connection refused",
        "slurm_load_jobs error: Socket timed out on send/recv operation",
    ],
)
def test_a_controller_that_is_away_is_told_from_a_job_that_is_forgotten(fake: FakeSlurm, error: str) -> None:
    fake.fall_silent(error, "slurm_load_jobs error: Invalid job id specified")
    with pytest.raises(NoAnswer, match="squeue failed: " + re.escape(error)):
        slurm.states(["7"])
    assert slurm.states(["7"]) == {}


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


def test_the_accounting_remembers_the_last_start_of_a_job_that_squeue_has_forgotten(fake: FakeSlurm) -> None:
    program(fake.folder / "sacct", "print('REQUEUED\\nNODE_FAIL\\nCANCELLED by 1000')")
    assert slurm.states(["7"]) == {"7": slurm.State("CANCELLED")}


def test_a_job_that_is_not_cancelled_is_told(fake: FakeSlurm) -> None:
    program(fake.folder / "scancel", "import sys; sys.exit('slurm error: Unable to contact the controller')")
    with pytest.raises(UserError, match="job 7 was not cancelled: slurm error"):
        slurm.cancel("7")
