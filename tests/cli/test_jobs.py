"""Jobs under Slurm as people meet them: handed in, listed, followed, cancelled. Slurm itself is small programs."""

import json
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.processes import program
from support.shell import CONFIGS, Shell
from support.slurm import FakeSlurm

from admmctl.launch import slurm as scheduler
from admmctl.launch.slurm import State
from admmctl.runs import jobs, submit

SUBMIT = ("train", "tiny.yaml", "--launcher", "sbatch", "--cores")


def rows(shell: Shell, *names: object) -> dict[str, tuple[str, str]]:
    """Status and reason by name, as ``runs list`` has them."""
    found = shell("runs", "list", *names, "--json").json()["runs"]
    return {Path(row["folder"]).name: (row["status"], row["reason"]) for row in found}


# --- --dry-run


def test_a_dry_run_needs_neither_data_nor_a_scheduler(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/where")
    before = sorted(shell.folder.rglob("*"))
    answer = shell("train", CONFIGS / "svhn.yaml", "--cores", 256, "--launcher", "sbatch", "--dry-run")
    assert answer.code == 0
    assert answer.out.startswith("#!/bin/bash\n")
    assert "#SBATCH --ntasks=256\n" in answer.out
    assert answer.out.endswith("    --cores 256\n")
    assert "--launcher" not in answer.out, "it is found in the job"
    assert sorted(shell.folder.rglob("*")) == before


def test_a_dry_run_of_srun_and_of_hosts_shows_the_command(shell: Shell) -> None:
    assert (
        "# runs:    srun --ntasks=3 --mpi=pmi2 "
        in shell(*["train", "tiny.yaml", "--launcher", "srun", "--cores", "3", "--dry-run"]).out
    )
    answer = shell(*["train", "tiny.yaml", "--hosts", "h1:2,h2:2", "--dry-run"])
    assert "mpiexec -hosts h1:2,h2:2 -n 4 " in answer.out
    assert "h2;id:2' is no host" in shell.refusal("train", "tiny.yaml", "--hosts", "h1:2,h2;id:2", "--dry-run")


def test_a_job_has_the_resources_of_its_method_and_one_of_several_those_of_all(shell: Shell) -> None:
    Path("site.yaml").write_text(
        "name: site\n"
        "launch:\n"
        "  {time: '10:00', partition: short, exclude: [n7],"
        " methods: {hinged: {time: '1:00:00'}, admm: {memory_per_node: 9G}}}\n"
    )
    found = {}
    for method in ("admm", "hinged", "all"):
        text = shell(*SUBMIT, 2, "--cluster", "site.yaml", "--method", method, "--dry-run").out
        found[method] = {
            part for part in ("time=10:00", "time=1:00:00", "mem=9G") if f"#SBATCH --{part}\n" in text
        }
        assert {"#SBATCH --partition=short", "#SBATCH --exclude=n7"} <= set(text.splitlines())
    assert found == {"admm": {"time=10:00", "mem=9G"}, "hinged": {"time=1:00:00"}, "all": {"time=10:00"}}
    Path("site.yaml").write_text("{name: site, launch: {exclude: [n 7], methods: {admm: {tmie: '1:00'}}}}")
    message = shell.refusal(*SUBMIT, 2, "--cluster", "site.yaml", "--dry-run")
    assert (
        "launch.exclude: expected nodes as Slurm writes them, for instance n7 or n[10-12,20], got 'n 7'" in message
    )
    assert "launch.methods.admm.tmie: unknown key 'tmie'; did you mean 'time'?" in message


# --- handing in


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_results_folder_that_cannot_be_made_is_told_at_once(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    results.mkdir(exist_ok=True)
    if kind == "file":
        (results / "tiny").write_text("mine")
    else:
        (results / "tiny").symlink_to(results / "nowhere" / "tiny")
    mkdir, tried = Path.mkdir, []

    def counted(path: Path, *arguments: Any, **options: Any) -> None:
        tried.append(path)
        assert len(tried) < 20, "it would never end"
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", counted)
    assert "the results folder" in shell.refusal(*SUBMIT, 2)


def test_a_job_is_handed_in_recorded_and_listed(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    answer = shell(*SUBMIT, 2, "--json")
    assert answer.code == 0
    (row,) = answer.json()["runs"]
    folder = Path(row["folder"])
    assert (folder, row["job"], row["status"]) == (results / "tiny" / "job-admm-p2", "100", "queued")
    assert slurm.calls("sbatch") == [["--parsable", str(folder / "job.sh")]]
    subprocess.run(["bash", "-n", folder / "job.sh"], check=True)
    assert (folder / "experiment.yaml").read_text() == Path("tiny.yaml").read_text()
    assert rows(shell) == {"job-admm-p2": ("queued", "job 100 waits: Priority")}
    slurm.say(j100="RUNNING")
    assert rows(shell, "tiny") == {"job-admm-p2": ("running", "job 100 runs")}
    slurm.say(j100="NODE_FAIL")
    assert rows(shell, folder)["job-admm-p2"][0] == "failed"
    slurm.say()
    status, reason = rows(shell, "100")["job-admm-p2"]
    assert (status, "not known to Slurm any more" in reason) == ("lost", True)
    assert "job-admm-p2" in shell("runs", "list").out


def test_a_second_job_has_a_folder_of_its_own(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    for _ in range(2):
        shell(*SUBMIT, 2)
    assert {path.name for path in (results / "tiny").iterdir()} == {"job-admm-p2", "job-admm-p2-2"}


@pytest.mark.parametrize("refused", [True, False])
def test_a_job_that_cannot_be_handed_in_leaves_nothing_behind(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    if refused:
        slurm.refuse("sbatch: error: Batch job submission failed: Invalid account")
    else:
        monkeypatch.setenv("PATH", "/no/where")
    message = shell.refusal(*SUBMIT, 2)
    assert ("Invalid account" if refused else "sbatch was not found: this machine has no Slurm") in message
    assert not list(results.rglob("job*"))


def job(results: Path) -> jobs.Job:
    """The one that was handed in."""
    (folder,) = (results / "tiny").glob("job-*")
    found = jobs.read(folder)
    assert found is not None
    return found


AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
FULL = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.mark.parametrize("why", [AWAY, FULL, "sbatch: error: Slurm temporarily unable to accept job"])
def test_a_scheduler_that_is_busy_is_asked_again(shell: Shell, results: Path, slurm: FakeSlurm, why: str) -> None:
    slurm.is_busy(why, why)
    answer = shell(*SUBMIT, 2)
    assert (answer.code, answer.out) == (0, f"job 100: {job(results).folder}\n")
    assert len(slurm.calls("sbatch")) == 3
    for pause in ("0.01", "0.02"):
        assert f"sbatch refused the job: {why}; asked again in {pause} s, for 15 min at the most" in answer.err
    assert job(results).number == "100"


def test_a_scheduler_that_stays_busy_is_not_asked_for_ever(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "PATIENCE", 1.0)
    slurm.is_busy(*[FULL] * 100)
    message = shell.refusal(*SUBMIT, 2)
    assert FULL in message
    assert "the scheduler was asked for 0.0166667 minutes" in message
    assert len(slurm.calls("sbatch")) > 1
    assert not list(results.rglob("job*"))


@pytest.mark.parametrize("silence", ["hangs", "times out"])
def test_a_job_of_an_sbatch_without_an_answer_is_found_and_not_handed_in_twice(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, silence: str
) -> None:
    if silence == "hangs":
        monkeypatch.setattr(scheduler, "SECONDS", 1.0)
        slurm.sbatch_says(hang=True)
    else:
        slurm.sbatch_says(err=TIMED_OUT, code=1)
    slurm.fall_silent("squeue: error: Connection refused")
    answer = shell(*SUBMIT, 2)
    assert answer.code == 0
    assert answer.err.count("; asked again in") == 2
    assert len(slurm.calls("sbatch")) == 1
    assert job(results).number == "100"


def test_a_job_that_an_sbatch_without_an_answer_lost_is_handed_in_again(
    shell: Shell, results: Path, slurm: FakeSlurm
) -> None:
    slurm.is_busy(TIMED_OUT)
    assert shell(*SUBMIT, 2).code == 0
    assert (len(slurm.calls("sbatch")), job(results).number) == (2, "100")


def test_a_job_of_a_scheduler_that_stays_silent_is_kept_and_found(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "PATIENCE", 0.5)
    slurm.sbatch_says(err=TIMED_OUT, code=1)
    slurm.fall_silent(*["squeue: error: Connection refused"] * 1000)
    answer = shell(*SUBMIT, 2)
    assert (answer.code, answer.out) == (1, "")
    kept = job(results)
    assert f"the job may be queued; its folder is kept: {kept.folder}\n" in answer.err
    assert kept.number == ""
    slurm.fall_silent()
    # squeue knows it by its script.
    assert rows(shell) == {"job-admm-p2": ("queued", "job 100 waits: Priority")}
    assert job(results).number == "100"
    assert shell("cancel", kept.folder).code == 0
    assert slurm.calls("scancel") == [["100"]]


@pytest.mark.parametrize("unanswered", [False, True])
def test_who_stops_waiting_for_a_busy_scheduler_leaves_a_folder_only_where_a_job_may_be(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, unanswered: bool
) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    slurm.is_busy(TIMED_OUT if unanswered else AWAY)
    # Of that module alone: subprocess sleeps, too, while a program answers.
    monkeypatch.setattr(submit, "time", SimpleNamespace(**{**vars(time), "sleep": stop}))
    assert shell(*SUBMIT, 2).code == 3
    assert bool(list(results.rglob("job-*"))) == unanswered


def test_a_job_that_never_got_a_number_is_waited_for_in_vain(
    shell: Shell, results: Path, slurm: FakeSlurm
) -> None:
    slurm.sbatch_says("Thank you.")
    answer = shell(*SUBMIT, 2)
    assert (answer.code, "named no job: Thank you." in answer.err) == (1, True)
    slurm.say()
    answer = shell("wait", job(results).folder)
    assert (answer.code, "may never have been queued" in answer.err) == (1, True)
    assert "may never have been queued" in shell.refusal("cancel", job(results).folder)


def test_an_interrupted_sbatch_may_have_handed_the_job_in(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "submit", interrupted)
    answer = shell(*SUBMIT, 2)
    assert answer.code == 3
    assert (
        f"interrupted while sbatch was at work\nthe job may be queued; its folder is kept: {results}" in answer.err
    )
    assert job(results).number == ""


def test_jobs_that_were_handed_in_are_told_when_the_next_is_refused(
    shell: Shell, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = scheduler.submit

    def first_alone(path: Path) -> str:
        if "p2" in str(path):
            slurm.refuse("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        return handed(path)

    monkeypatch.setattr(submit, "PATIENCE", 0.0)
    monkeypatch.setattr(scheduler, "submit", first_alone)
    answer = shell(*["scaling", "tiny.yaml", "--cores", "1,2", "--launcher", "sbatch", "--json"])
    assert answer.code == 2
    assert "QOSMaxSubmitJobPerUserLimit" in answer.err
    assert [row["job"] for row in answer.json()["runs"]] == ["100"]


def test_what_is_wrong_is_told_before_it_is_handed_in(shell: Shell, slurm: FakeSlurm) -> None:
    assert "run: admmctl fetch mnist" in shell.refusal(*SUBMIT, 2, "--set", "data={name: mnist}")
    assert "unknown method 'adam'" in shell.refusal(*SUBMIT, 2, "--method", "adam")
    assert slurm.calls("sbatch") == []


# --- jobs that run


@pytest.mark.mpi
@pytest.mark.parametrize("by_srun", [False, True])
def test_a_job_runs_in_a_strange_place_and_is_waited_for(
    shell: Shell, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, by_srun: bool
) -> None:
    strange = shell.folder / 'it\'s; a "b" $(touch gone) %j'
    strange.mkdir()
    shutil.move("tiny.yaml", strange / "my ex;per.yaml")
    monkeypatch.chdir(strange)
    monkeypatch.setenv("ADMMCTL_RESULTS", "re sults")
    slurm.act()
    arguments = ["train", "my ex;per.yaml", "--launcher", "sbatch", "--cores", 2]
    methods = ["admm"]
    if by_srun:
        Path("a site.yaml").write_text("{name: site, launch: {plugin: pmi2}}")
        arguments += ["--cluster", "a site.yaml", "--method", "all"]
        methods = ["admm", "hinged"]
    assert shell(*arguments, "--set", "stop.iterations=2", "--oversubscribe").code == 0
    answer = shell("wait", "tiny", "--json")
    assert answer.code == 0, answer.err
    runs = answer.json()["runs"]
    assert [(run["method"], run["ranks"], run["iterations"]) for run in runs] == [(name, 2, 2) for name in methods]
    assert "iteration     2" in answer.err
    assert "job 100 ended with exit code 0" in answer.err
    assert all(
        json.loads((Path(run["folder"]) / "environment.json").read_text())["scheduler_job"] == "100"
        for run in runs
    )
    started = {call[0] for call in slurm.calls("srun") if "--mpi=list" not in call}
    assert started == ({"--ntasks=2"} if by_srun else set()), "mpiexec needs no srun on its own node"
    # A finished job is no line of its own; its runs are.
    assert set(rows(shell)) == {Path(run["folder"]).name for run in runs}
    assert shell("wait", runs[0]["folder"]).code == 0
    assert not list(shell.folder.rglob("gone"))


def test_the_exit_code_of_a_job_is_that_of_wait(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    slurm.act()
    shell(*SUBMIT, 1, "--set", "stop.iterations=2")
    assert shell("wait", "100").code == 0
    (results / "tiny" / "job-admm-p1" / "end.json").write_text('{"exit_code": 3}')
    assert shell("wait", "100").code == 3


def test_a_job_that_never_got_to_its_command_fails(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    shell(*SUBMIT, 2)
    (results / "tiny" / "job-admm-p2" / "log.txt").write_text("module: command not found\n")
    slurm.say(j100="FAILED")
    answer = shell("wait", "100")
    assert answer.code == 1
    assert "module: command not found" in answer.err
    assert "job 100 ended as FAILED" in answer.err
    slurm.say()
    answer = shell("wait", "100")
    assert (answer.code, "not known to Slurm any more" in answer.err) == (1, True)


@pytest.mark.parametrize("word", ["REQUEUED", "PENDING", "RUNNING", "RESIZING", "COMPLETING"])
def test_a_job_that_only_the_accounting_calls_alive_is_lost_in_the_end(
    shell: Shell, results: Path, slurm: FakeSlurm, word: str
) -> None:
    shell(*SUBMIT, 2)
    slurm.say()
    program(slurm.folder / "sacct", f"print('{word}')")
    answer = shell("wait", "100")
    assert (answer.code, f"is in no queue any more, was {word} at last" in answer.err) == (1, True)
    assert rows(shell)["job-admm-p2"][0] == "lost"
    (job(results).folder / "end.json").write_text('{"exit_code": 3}')
    assert shell("wait", "100").code == 3, "what its command left decides"


@pytest.mark.parametrize(("status", "code"), [("reached", 0), ("failed", 1), ("interrupted", 3)])
def test_a_job_that_is_gone_is_what_its_runs_say(
    shell: Shell, results: Path, slurm: FakeSlurm, status: str, code: int
) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    shell(*SUBMIT, 2)
    summary = Path(run["folder"]) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "status": status}))
    (job(results).folder / "runs.txt").write_text(f"{run['folder']}\n")
    slurm.say()
    answer = shell("wait", "100")
    assert (answer.code, "its runs have come to their ends" in answer.err) == (code, True)


def test_wait_goes_on_while_the_controller_is_away(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell(*SUBMIT, 2)
    (job(results).folder / "log.txt").write_text("the log goes on\n")
    slurm.say(j100="CANCELLED")
    error = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    slurm.fall_silent(*[error] * 8)
    answer = shell("wait", "100")
    assert answer.code == 3
    assert answer.err.count("Unable to contact slurm controller") == 1
    assert "the log goes on" in answer.err
    monkeypatch.setattr(jobs, "SILENCE", 0.1)
    slurm.fall_silent(*[error] * 100)
    assert "squeue failed: slurm_load_jobs error" in shell.refusal("wait", "100"), "not for ever"


def test_a_job_that_is_seen_again_is_not_given_up(
    shell: Shell, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell(*SUBMIT, 2)
    (found,) = jobs.find(["100"])
    monkeypatch.setattr(jobs, "DOUBTS", 10)
    away, here = {}, {"100": State("PENDING")}
    answers = iter([*[away] * 9, here, *[away] * 9, here, {"100": State("CANCELLED")}])
    monkeypatch.setattr(scheduler, "states", lambda tickets: next(answers))
    assert jobs.wait([found], print, print) == 3


def test_a_job_that_may_start_again_is_not_over_while_it_completes(shell: Shell, slurm: FakeSlurm) -> None:
    shell(*SUBMIT, 2)
    (job,) = jobs.find(["100"])
    for code, word in ((3, "running"), (1, "running"), (0, "ended")):
        (job.folder / jobs.END).write_text(f'{{"exit_code": {code}}}')
        assert job.status({"100": State("COMPLETING")})[0] == word
    (job.folder / jobs.END).write_text('{"exit_code": 3}')
    assert job.status({"100": State("CANCELLED")})[0] == "ended"


def test_a_run_of_a_job_is_running_not_unfinished(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    (Path(run["folder"]) / "summary.json").unlink()
    shell(*SUBMIT, 2)
    (results / "tiny" / "job-admm-p2" / "runs.txt").write_text(f"{run['folder']}\n")
    name = Path(run["folder"]).name
    slurm.say(j100="RUNNING")
    assert rows(shell) == {name: ("running", "job 100 runs")}
    slurm.say(j100="PENDING")
    assert rows(shell)[name][0] == "queued", "Slurm starts it again"
    slurm.say(j100="TIMEOUT")
    assert rows(shell)[name][0] == "failed"
    slurm.say()
    assert rows(shell, run["folder"])[name][0] == "lost"


def test_without_slurm_the_list_still_works(
    shell: Shell, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell(*SUBMIT, 2)
    monkeypatch.setenv("PATH", "/no/where")
    assert rows(shell)["job-admm-p2"][0] == "unknown"
    assert "squeue was not found" in shell.refusal("wait", "tiny")
    assert "squeue was not found" in shell.refusal("cancel", "tiny")


def test_jobs_find_their_runs_where_results_were_moved(
    shell: Shell, results: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.act()
    assert shell(*SUBMIT, 1, "--set", "stop.iterations=2").code == 0
    study = results / "tiny" / "scaling-admm-1it-0" / "admm-p1-s0"
    shutil.copytree(job(results).runs()[0], study)
    with (job(results).folder / "runs.txt").open("a") as file:
        file.write(f"{study}\n")
    made = [run.relative_to(results) for run in job(results).runs()]
    assert made[-1] == study.relative_to(results)
    results.rename("moved")
    monkeypatch.setenv("ADMMCTL_RESULTS", "moved")
    assert [run.relative_to(Path("moved").absolute()) for run in job(Path("moved")).runs()] == made
    answer = shell("wait", "100", "--json")
    assert (answer.code, len(answer.json()["runs"])) == (0, 2)
    for run in answer.json()["runs"]:
        assert shlex.split(run["rerun"])[2] == str(Path(run["folder"]) / "config.yaml")


# --- cancel


def test_a_job_that_slurm_does_not_cancel_keeps_no_other_alive(shell: Shell, slurm: FakeSlurm) -> None:
    shell(*SUBMIT, 2)
    shell(*SUBMIT, 3)
    code = (slurm.folder / "scancel").read_text()
    refuse = "if sys.argv[-1] == '100': sys.exit('scancel: error: Access denied')\n"
    (slurm.folder / "scancel").write_text(code.replace("states[sys.argv[-1]]", refuse + "states[sys.argv[-1]]"))
    assert "job 100 was not cancelled: scancel: error: Access denied" in shell.refusal("cancel", "tiny")
    assert rows(shell)["job-admm-p3"][0] == "cancelled"


def test_cancel_ends_what_waits_or_runs(shell: Shell, slurm: FakeSlurm) -> None:
    shell(*SUBMIT, 2)
    shell(*SUBMIT, 3)
    slurm.say(j100="COMPLETED", j101="RUNNING")
    assert shell("cancel", "tiny").code == 0
    assert slurm.calls("scancel") == [["101"]]
    assert shell("wait", "101").code == 3
    assert "nothing to cancel" in shell.refusal("cancel", "101")


@pytest.mark.parametrize("command", ["wait", "cancel"])
def test_what_is_no_job_is_refused(shell: Shell, slurm: FakeSlurm, command: str) -> None:
    for name in ("999", "nowhere", "a; b", "x" * 300):
        assert "no job was handed in there" in shell.refusal(command, name)
    shell("train", "tiny.yaml")
    assert "no job was handed in there" in shell.refusal(command, "tiny")
