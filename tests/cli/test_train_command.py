"""``admmctl train`` as people meet it: what it prints, where, and how it exits."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.shell import CONFIGS, Shell, real_shell

from admmctl.data import shards
from admmctl.experiment.config import load
from admmctl.runs.record import Evaluation, RunFolder
from admmctl.runs.recorded import Recorded

# --- train


@pytest.mark.usefixtures("terminal")
def test_training_prints_progress_for_people_and_a_table(shell: Shell, results: Path) -> None:
    answer = shell("train", "tiny.yaml")
    assert answer.code == 0
    (folder,) = (results / "tiny").iterdir()
    assert folder.name in answer.out
    assert str(folder) in answer.err
    assert answer.err.count("test accuracy") >= 4
    assert "exhausted: used up: 3 iterations" in answer.err
    assert "the target, test_accuracy 0.9999, was missed" in answer.err
    assert max(map(len, answer.out.splitlines())) <= 80


def test_train_json_is_one_document_and_nothing_else_on_standard_output(shell: Shell, results: Path) -> None:
    answer = shell("train", "tiny.yaml", "--json")
    assert answer.code == 0
    (run,) = answer.json()["runs"]
    folder = Path(run["folder"])
    assert folder.parent == results / "tiny"
    assert run == {"folder": str(folder), **json.loads((folder / "summary.json").read_text())}
    assert "iteration" in answer.err


def test_set_reaches_the_run(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json", "--set", "stop.iterations=1", "--set", "seed=4").json()["runs"]
    assert (run["iterations"], run["seed"]) == (1, 4)
    assert yaml.safe_load((Path(run["folder"]) / "config.yaml").read_text())["seed"] == 4


def test_a_method_may_be_named_and_all_come_in_the_order_of_the_file(shell: Shell) -> None:
    methods = {
        option: [run["method"] for run in shell("train", "tiny.yaml", "--json", *option.split()).json()["runs"]]
        for option in ("", "--method hinged", "--method all")
    }
    assert methods == {"": ["admm"], "--method hinged": ["hinged"], "--method all": ["admm", "hinged"]}


def test_repeats_have_seeds_of_their_own(shell: Shell) -> None:
    runs = shell("train", "tiny.yaml", "--repeat", 2, "--json").json()["runs"]
    assert [run["seed"] for run in runs] == [0, 1]


@pytest.mark.mpi
def test_two_ranks_and_a_path_that_needs_quoting(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = shell.folder / "it's a; $HOME ü"
    strange.mkdir()
    shutil.move("tiny.yaml", strange / "a b.yaml")
    monkeypatch.setenv("ADMMCTL_RESULTS", str(strange / "re sults"))
    answer = shell("train", strange / "a b.yaml", "--cores", 2, "--json")
    assert answer.code == 0
    (run,) = answer.json()["runs"]
    assert (run["ranks"], run["iterations"]) == (2, 3)
    assert Path(run["folder"]).parent == strange / "re sults" / "tiny"
    shown = shell("runs", "show", run["folder"])
    assert shown.code == 0
    assert str(strange) in "".join(line.strip() for line in shown.out.splitlines()).replace("folder", "")
    assert shell("runs", "list", strange / "re sults").code == 0


# --- dry run


def test_a_dry_run_prints_folder_and_command_and_writes_nothing(shell: Shell, results: Path) -> None:
    answer = shell("train", "tiny.yaml", "--cores", 3, "--oversubscribe", "--dry-run")
    assert answer.code == 0
    digits = load("tiny.yaml").runs["admm"].hash()
    assert f"# folder:  {results}/tiny/admm-p3-s0-{digits}" in answer.out
    assert "mpiexec -n 3 " in answer.out
    assert yaml.safe_load(answer.out)["network"]["layers"] == [5, 4]
    assert not results.exists()


def test_a_dry_run_names_the_folder_that_the_run_then_has(shell: Shell) -> None:
    (plan,) = shell("train", "tiny.yaml", "--dry-run", "--json").json()["runs"]
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    assert plan["folder"] == run["folder"]
    assert plan["command"] is None
    assert plan["config"] == yaml.safe_load((Path(run["folder"]) / "config.yaml").read_text())


def test_a_dry_run_needs_no_data(shell: Shell) -> None:
    for file in sorted(CONFIGS.glob("*.yaml")):
        answer = shell("train", file, "--dry-run", "--json", "--method", "all")
        assert answer.code == 0
        assert answer.json()["runs"]


def test_a_dry_run_says_at_its_end_what_would_stop_the_run(shell: Shell) -> None:
    line = ("train", CONFIGS / "mnist01.yaml", "--cores", 256, "--method", "all", "--dry-run")
    answer = shell(*line)
    assert answer.code == 0
    cores, data = answer.out.splitlines()[-2:]
    assert cores.startswith("# would stop it: --cores 256: this machine has")
    assert data.startswith("# would stop it: dataset mnist is not in")
    assert data.endswith("run: admmctl fetch mnist")
    assert answer.out.count("# would stop") == 2
    for plan in shell(*line, "--json").json()["runs"]:
        assert [text.partition(" ")[0] for text in plan["stopped_by"]] == ["--cores", "dataset"]


def test_a_dry_run_names_the_method_that_alone_would_be_stopped(shell: Shell) -> None:
    line = ("train", "tiny.yaml", "--set", "methods.few={kind: stochastic-admm, subset: 0.01}", "--dry-run")
    answer = shell(*line, "--method", "all", "--repeat", 2)
    (stopped,) = [line for line in answer.out.splitlines() if "would stop" in line]
    assert stopped.startswith("# would stop few: subset: 0.01 of 90 training rows is 0.9 rows")
    (plan,) = shell(*line, "--json").json()["runs"]
    assert plan["stopped_by"] == []
    assert "would stop" not in shell(*line).out


def test_a_dry_run_of_a_job_says_beside_the_script_what_would_stop_it(shell: Shell) -> None:
    answer = shell("train", CONFIGS / "mnist01.yaml", "--launcher", "sbatch", "--cores", 256, "--dry-run")
    assert (answer.code, "would stop" in answer.out) == (0, False)
    assert "would stop it: dataset mnist is not in" in answer.err
    assert "this machine has" not in answer.err


# --- runs that break


def on_row_2(monkeypatch: pytest.MonkeyPatch, problem: BaseException) -> None:
    """Raise ``problem`` when the run records iteration 2."""
    append = RunFolder.append

    def failing(self: RunFolder, evaluation: Evaluation) -> None:
        if evaluation.iteration == 2:
            raise problem
        append(self, evaluation)

    monkeypatch.setattr(RunFolder, "append", failing)


@pytest.mark.parametrize("json_too", [False, True])
def test_a_full_disk_ends_the_run_with_a_clear_error(
    shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch, json_too: bool
) -> None:
    on_row_2(monkeypatch, OSError(28, "No space left on device"))
    answer = shell("train", "tiny.yaml", *["--json"] * json_too)
    (folder,) = (results / "tiny").iterdir()
    assert answer.code == 1
    assert f"error: run {folder} failed: " in answer.err
    assert "No space left on device" in answer.err
    assert json.loads((folder / "summary.json").read_text())["status"] == "failed"
    if json_too:
        assert [run["status"] for run in answer.json()["runs"]] == ["failed"]
    assert [row["iteration"] for row in Recorded(folder).curve] == [0, 1]


def test_a_method_that_fails_does_not_stop_the_next_and_the_exit_code_is_1(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_row_2(monkeypatch, RuntimeError("out of luck"))
    answer = shell(
        "train", "tiny.yaml", "--method", "all", "--json", "--set", "methods.hinged.stop={iterations: 1}"
    )
    assert answer.code == 1
    assert [run["status"] for run in answer.json()["runs"]] == ["failed", "exhausted"]
    assert "out of luck" in answer.err


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_run_that_diverges_is_a_result(shell: Shell) -> None:
    answer = shell(
        "train", "tiny.yaml", "--json", "--set", "data={name: swissroll, rows: 120, scale: none, noise: 1e38}"
    )
    assert answer.code == 0
    assert answer.json()["runs"][0]["status"] == "diverged"


def test_ctrl_c_in_a_run_exits_with_3(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    on_row_2(monkeypatch, KeyboardInterrupt())
    answer = shell("train", "tiny.yaml", "--json")
    assert answer.code == 3
    (run,) = answer.json()["runs"]
    assert (run["status"], run["iterations"]) == ("interrupted", 1)


@pytest.mark.parametrize("command", ["train tiny.yaml", "fetch mnist --mirror {mirror}"])
def test_ctrl_c_before_anything_was_written_exits_with_3_too(
    shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "plan", interrupt)
    monkeypatch.setattr("admmctl.data.fetch.obtain", interrupt)
    answer = shell(*command.replace("{mirror}", str(shell.folder)).split())
    assert answer.code == 3
    assert answer.out == ""
    assert "interrupted" in answer.err
    assert not results.exists()


def test_a_real_ctrl_c_stops_after_the_iteration_and_keeps_the_record(shell: Shell, results: Path) -> None:
    process = real_shell("train", "tiny.yaml", "--json", "--set", "stop={iterations: 10000000}")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("iteration"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "Traceback" not in err
    (run,) = json.loads(out)["runs"]
    assert (run["status"], run["reason"]) == ("interrupted", "asked to stop")
    assert Recorded(Path(run["folder"])).curve[-1]["iteration"] == run["iterations"]
    assert (Path(run["folder"]) / "weights.npz").is_file()


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_ctrl_c_that_comes_as_a_run_ends_stops_before_the_next(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    """It can no longer interrupt this one, which counts."""

    def interrupt(self: object, event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("admmctl.report.live.Live.event", interrupt)
    arguments = ["train", "tiny.yaml", "--json", "--cores", ranks, "--oversubscribe", "--set", "stop.iterations=1"]
    answer = shell(*arguments, "--repeat", 3)
    assert answer.code == 3
    assert [(run["seed"], run["status"]) for run in answer.json()["runs"]] == [(0, "exhausted")]
    assert "interrupted, when this run had come to its end" in answer.err
    assert shell(*arguments, "--set", "seed=7").code == 0, "there was nothing left to interrupt"
