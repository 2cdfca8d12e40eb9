"""The command as people meet it: what it prints, where, and how it exits."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.shell import CONFIGS, Answer, Shell, real_shell
from typer.main import get_command

from admmctl import __version__
from admmctl.cli.app import app
from admmctl.cli.runs import NO_RUNS
from admmctl.data import shards
from admmctl.experiment.config import load
from admmctl.launch.local import available_cores
from admmctl.runs.record import Evaluation, RunFolder
from admmctl.runs.recorded import Recorded


def tree(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names that call each command, groups among them."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from tree(inner, (*path, name))


COMMANDS = list(tree(get_command(app)))


# --- help and version


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(shell: Shell, path: tuple[str, ...]) -> None:
    answer = shell(*path, "-h")
    assert (answer.code, answer.out) == (0, shell(*path, "--help").out)
    assert "Usage: " in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def parsed(arguments: list[str]) -> tuple[str, ...]:
    """The names of the command that is called so. Nothing is run; raises what typer says of wrong usage."""
    command, path = get_command(app), []
    with command.make_context("admmctl", list(arguments)) as context:
        rest = [*context._protected_args, *context.args]
    while rest and rest[0] in getattr(command, "commands", {}):
        path.append(rest[0])
        command = command.commands[rest[0]]
        with command.make_context(" ".join(path), rest[1:]) as context:
            rest = [*getattr(context, "_protected_args", []), *context.args]
    assert rest == []
    return tuple(path)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in ((), ("runs",))], ids=" ".join)
def test_every_command_has_examples_that_parse(shell: Shell, path: tuple[str, ...]) -> None:
    text = shell(*path, "--help").out
    usage = text.splitlines()[0]
    summary, paragraph = [part for part in text.split("\n\n")[1:3] if not part.strip().startswith("Example")]
    assert summary.strip().endswith(".")
    assert len(paragraph.split()) > 8
    _, _, rest = text.partition("Example")
    lines = [line.strip() for line in rest.splitlines()]
    examples = [shlex.split(line)[1:] for line in lines if line.startswith("admmctl ")]
    assert examples
    for example in examples:
        assert parsed(example) == path
        if "CONFIG" in usage and len(example) > 1 and not example[1].startswith("-"):
            assert (CONFIGS / f"{example[1]}.yaml").is_file(), example


def test_the_top_says_what_exit_codes_mean(shell: Shell) -> None:
    text = shell("--help").out
    assert "..." not in text.partition("Commands:")[2]
    _, _, codes = text.partition("Exit codes:")
    assert [line.split()[0] for line in codes.splitlines() if line] == ["0", "1", "2", "3"]


def test_usage_and_sections_of_a_help_page(shell: Shell) -> None:
    text = shell("runs", "export", "--help").out
    assert "runs export [OPTIONS] [RUN...]" in text.splitlines()[0]
    text = shell("train", "--help").out
    assert " train [OPTIONS] CONFIG" in text.splitlines()[0]
    sections = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert sections == ["Arguments:", "Options:", "Ranks, threads and jobs:", "Output:"]


# --- completion


def offered(*arguments: str) -> list[str]:
    """What bash offers at the Tab key after these arguments, of which the last is unfinished."""
    environment = {
        **os.environ,
        "_ADMMCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["admmctl", *arguments]),
        "COMP_CWORD": str(len(arguments)),
    }
    program = "import sys; sys.argv[0] = 'admmctl'; from admmctl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_options_are_completed(shell: Shell) -> None:
    assert offered("tr") == ["train"]
    assert offered("runs", "re") == ["remove"]
    assert offered("train", "tiny.yaml", "--re") == ["--repeat", "--resume"]


def test_files_methods_datasets_and_runs_are_completed(shell: Shell, results: Path) -> None:
    Path("configs").mkdir()
    Path("configs/other.yaml").touch()
    (run,) = shell("train", "tiny.yaml", "--json", "--set", "stop.iterations=1").json()["runs"]
    assert offered("train", "") == ["configs/", "configs/other.yaml", f"{results.name}/", "tiny.yaml"]
    assert offered("train", "configs/o") == ["configs/other.yaml"]
    assert offered("train", "tiny.yaml", "--method", "") == ["admm", "hinged", "all"]
    assert offered("bench", "tiny.yaml", "--method", "h") == ["hinged"]
    assert offered("scaling", "tiny.yaml", "--method", "admm,h") == ["admm,hinged"]
    assert offered("bench", "nowhere.yaml", "--method", "h") == []
    assert offered("bench", "--method", "h") == []
    assert offered("fetch", "svhn") == ["svhn", "svhn-hog"]
    assert offered("runs", "show", f"{results}/t") == [f"{results}/tiny", run["folder"]]
    assert offered("runs", "remove", "tiny/") == [f"tiny/{Path(run['folder']).name}"]


def test_completion_loads_nothing_heavy(shell: Shell) -> None:
    code = (
        "import sys; from types import SimpleNamespace as S; from admmctl.cli import complete as c\n"
        "assert c.configs('') and c.datasets('m') == ['mnist'] and c.runs('') == []\n"
        "assert c.methods(S(params={'config': 'tiny.yaml'}, args=[], info_name='train'), 'a') == ['admm', 'all']\n"
        "print(sorted({'numpy', 'pandas', 'matplotlib', 'numba', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    "program",
    [
        [str(Path(sys.executable).parent / "admmctl")],
        [sys.executable, "-m", "admmctl"],
        [sys.executable, "-m", "admmctl.cli"],
    ],
    ids=["installed", "-m admmctl", "-m admmctl.cli"],
)
def test_the_version(program: list[str]) -> None:
    done = subprocess.run([*program, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"admmctl {__version__}( \(commit [0-9a-f]{{12}}(, and changes)?\))?\n", done.stdout)


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


# --- what is refused: one clear message, exit code 2, nothing on standard output, nothing in results/

REFUSED: list[tuple[str, list[str]]] = [
    # the file and its settings
    ("train nowhere.yaml", ["nowhere.yaml: there is no such file", "tiny.yaml"]),
    ("train .", [".: cannot be read"]),
    ("train tiny.yaml --set methods.admm.bta=1", ["tiny.yaml:6", "methods.admm.bta", "did you mean 'beta'?"]),
    ("train tiny.yaml --dry-run --set methods.admm.bta=1", ["methods.admm.bta"]),
    ("train tiny.yaml --set methods.admm.beta=-1", ["methods.admm.beta", "above 0"]),
    ("train tiny.yaml --set methods.admm.beta=true", ["methods.admm.beta", "expected a number", "got True"]),
    ("train tiny.yaml --set methods.admm.beta=[1,2]", ["methods.admm.beta", "2 penalties for 3 layers"]),
    ("train tiny.yaml --set data.classes=[]", ["data.classes", "at least 1"]),
    ("train tiny.yaml --set data.classes=[0]", ["data.classes", "two classes"]),
    ("train tiny.yaml --set data.classes=[0,9]", ["data.classes", "no class 9", "valid: 0, 1"]),
    (
        "train tiny.yaml --set data.name=cifar",
        ["data.name", "unknown dataset 'cifar'", "valid: adding, cifar10, files, higgs, mnist"],
    ),
    ("train tiny.yaml --set data.rows=100000000000000000000", ["data.rows"]),
    ("train tiny.yaml --set data.train=120", ["no rows are left to test on"]),
    ("train tiny.yaml --set data.test=official", ["data.test", "no official test set"]),
    ("train tiny.yaml --set stop.target=1.5", ["stop.target", "1.5 cannot be reached"]),
    ("train tiny.yaml --set network.outputs=3", ["network.outputs", "3 outputs for 2 classes"]),
    ("train tiny.yaml --set nonsense", ["--set nonsense", "key=value"]),
    # options of train
    ("train tiny.yaml --method nonsense", ["--method", "unknown method 'nonsense'", "valid: admm, all, hinged"]),
    ("train tiny.yaml --method hingd", ["did you mean 'hinged'?"]),
    (
        "train tiny.yaml --cores 256",
        ["--cores 256", "this machine has", "--hosts h1:8,h2:8", "--launcher sbatch", "--oversubscribe"],
    ),
    ("train tiny.yaml --cores 91 --oversubscribe", ["91 ranks for 90 training rows", "--cores 90 or fewer"]),
    ("train tiny.yaml --cores 0", ["--cores 0", "1 or more"]),
    ("train tiny.yaml --cores -3", ["--cores -3", "1 or more"]),
    ("train tiny.yaml --cores two", ["--cores", "valid integer"]),
    ("train tiny.yaml --repeat 0", ["--repeat 0", "1 or more"]),
    ("train tiny.yaml --threads 0", ["--threads 0", "auto"]),
    ("train tiny.yaml --threads ²", ["--threads ²", "auto"]),
    ("train tiny.yaml --threads many", ["--threads many", "auto"]),
    ("train tiny.yaml --launcher nonsense", ["--launcher nonsense", "valid: auto, inline, mpiexec"]),
    ("train tiny.yaml --launcher inline --cores 2", ["--launcher inline", "--launcher mpiexec"]),
    ("train", ["Missing argument"]),
    ("train tiny.yaml --nonsense", ["--nonsense"]),
    # bench
    ("bench --rows 0", ["--rows 0", "1 or more", "at most 10,000,000,000"]),
    ("bench --rows -5", ["--rows -5", "1 or more"]),
    ("bench --rows 10000000001", ["--rows 10,000,000,001", "at most 10,000,000,000"]),
    ("bench --rows 1 --cores 2", ["--rows 1", "2 or more", "a row for every rank"]),
    ("bench --rows many", ["--rows", "valid integer"]),
    ("bench --repeat 0", ["--repeat 0", "1 to 1,000"]),
    ("bench --repeat 1001", ["--repeat 1001", "1 to 1,000"]),
    ("bench --cores 0", ["--cores 0", "1 or more"]),
    ("bench --cores 256", ["--cores 256", "this machine has", "or fewer, or add --oversubscribe"]),
    ("bench tiny.yaml --method nonsense", ["--method", "unknown method 'nonsense'", "hinged"]),
    ("bench tiny.yaml --method all", ["--method all", "one method at a time"]),
    ("bench --method sgd", ["unknown method 'sgd'", "admm"]),
    ("bench nowhere.yaml", ["nowhere.yaml: there is no such file", "tiny.yaml"]),
    ("bench tiny.yaml --set methods.admm.bta=1", ["tiny.yaml:6", "did you mean 'beta'?"]),
    ("bench tiny.yaml --set network.outputs=3", ["network.outputs", "3 outputs for 2 classes"]),
    # low-rank updates
    (
        "train tiny.yaml --set methods.admm.w_update=nystrom --set methods.admm.rank=0",
        ["methods.admm.rank", "1 or more", "got 0"],
    ),
    ("train tiny.yaml --set methods.admm.rank=5", ["methods.admm.rank", "no effect with w_update: exact"]),
    # data
    ("train {configs}/mnist01.yaml", ["dataset mnist is not in", "run: admmctl fetch mnist"]),
    ("train {configs}/mnist01.yaml --cores 2", ["run: admmctl fetch mnist"]),
    ("fetch", ["NAME"]),
    ("fetch mnits", ["unknown dataset 'mnits'", "did you mean 'mnist'?"]),
    ("fetch mnist --mirror nowhere", ["--mirror nowhere: there is no such folder"]),
    ("fetch swissroll --mirror nowhere", ["--mirror nowhere: there is no such folder"]),
    ("fetch mnist --mirror .", ["mirror .", "neither mnist/train-images-idx3-ubyte.gz nor"]),
    ("fetch mnist --mirror http://[::1", ["http://[::1"]),
    # results, and figures of them
    ("runs list nowhere", ["nowhere", "admmctl runs list"]),
    ("runs show nowhere", ["nowhere", "admmctl runs list"]),
    ("runs show tiny.yaml", ["tiny.yaml"]),
    ("runs compare", ["nothing to compare"]),
    ("runs compare nowhere", ["nowhere", "admmctl runs list"]),
    ("accuracy-plot", ["nothing to draw"]),
    ("accuracy-plot nowhere", ["nowhere"]),
    ("accuracy-plot --axis sqrt", ["--axis sqrt: valid: auto, log, linear"]),
    ("accuracy-plot --scale cubic", ["--scale cubic: valid: auto, log, linear"]),
    ("accuracy-plot --against hours", ["--against hours: valid: seconds, epochs, iterations"]),
    ("target-plot --over rho --unit hours", ["--unit hours: valid: seconds, epochs, iterations"]),
    ("target-plot --over rho --output .", ["--output .: expected the name of a file"]),
    ("runs export --format cvs --output out", ["--format cvs", "did you mean 'csv'?"]),
    ("runs export --format csv --output out", ["no runs to export"]),
    ("runs export --output out", ["--format"]),
    ("runs remove", ["RUN"]),
    ("runs remove nowhere --yes", ["nowhere: there is no such run"]),
    ("runs remove tiny.yaml --yes", ["there is no run and no study in tiny.yaml"]),
    ("predict nowhere --input x.npy", ["nowhere"]),
    ("predict nowhere", ["--input"]),
    ("nonsense", ["nonsense"]),
    ("runs nonsense", ["nonsense"]),
]


@pytest.mark.parametrize(("line", "texts"), REFUSED, ids=[line for line, _ in REFUSED])
def test_wrong_usage_is_refused_with_a_message_that_helps(
    shell: Shell, results: Path, line: str, texts: list[str]
) -> None:
    message = shell.refusal(*line.replace("{configs}", str(CONFIGS)).split())
    for text in texts:
        assert text in message
    assert not results.exists() or not list(results.rglob("*"))


def test_oversubscribe_runs_more_ranks_than_cores(shell: Shell) -> None:
    cores = available_cores() + 1
    assert "--oversubscribe" in shell.refusal("train", "tiny.yaml", "--cores", cores)
    (run,) = shell("train", "tiny.yaml", "--cores", cores, "--oversubscribe", "--json").json()["runs"]
    assert run["ranks"] == cores
    assert "--oversubscribe" in run["rerun"]


def test_an_mpiexec_that_does_not_exist_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMMCTL_MPIEXEC", "/nowhere/mpiexec")
    message = shell.refusal("train", "tiny.yaml", "--launcher", "mpiexec")
    assert "ADMMCTL_MPIEXEC=/nowhere/mpiexec: there is no such program" in message


@pytest.mark.parametrize("place", ["a file", "/proc/x"])
def test_a_results_folder_that_cannot_be_written(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "a file":
        place = str(shell.folder / "tiny.yaml")
    monkeypatch.setenv("ADMMCTL_RESULTS", place)
    message = shell.refusal("train", "tiny.yaml", "--json")
    assert f"the results folder {place}/tiny cannot be written" in message
    assert "ADMMCTL_RESULTS" in message


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


# --- runs


@pytest.mark.parametrize("command", ["list", "show"])
def test_without_runs_it_says_how_to_start_one(shell: Shell, command: str) -> None:
    answer = shell("runs", command)
    assert (answer.code, answer.out) == (0, f"{NO_RUNS}\n")
    assert shell("runs", command, "--json").json() == {"runs": []}


def test_runs_are_listed_with_their_scores(shell: Shell, results: Path) -> None:
    runs = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    answer = shell("runs", "list")
    assert answer.code == 0
    for run in runs:
        (line,) = (line for line in answer.out.splitlines() if Path(run["folder"]).name in line)
        assert f"{run['final_test_accuracy']:.4f}" in line
        assert "exhausted" in line
        assert "missed" in line
    assert shell("runs", "list", "--json").json() == {"runs": runs}
    assert shell("runs", "list", "tiny", "--json").json() == {"runs": runs}
    assert shell("runs", "list", *sorted((results / "tiny").iterdir()), "--json").json() == {"runs": runs}


def test_show_has_everything_about_a_run(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    answer = shell("runs", "show", run["folder"])
    assert answer.code == 0
    for text in ("final test accuracy", "rerun", "Seconds by phase", "solve", "Curve", "train acc"):
        assert text in answer.out
    assert shell("runs", "show", run["folder"], "--json").json() == {"runs": [run]}


def test_a_run_without_a_summary_is_unfinished(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    folder = Path(run["folder"])
    (folder / "summary.json").unlink()
    (folder / "phases.csv").unlink()
    for command in ("list", "show"):
        answer = shell("runs", command)
        assert answer.code == 0
        assert "unfinished" in answer.out
    (listed,) = shell("runs", "list", "--json").json()["runs"]
    assert (listed["status"], listed["iterations"]) == ("unfinished", 3)


def test_a_run_of_which_only_the_config_is_left(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    for path in Path(run["folder"]).iterdir():
        if path.name != "config.yaml":
            path.unlink()
    assert "unfinished" in shell("runs", "list").out
    assert "unfinished" in shell("runs", "show").out
    assert "nothing to draw" in shell.refusal("accuracy-plot")


def test_brackets_in_a_folders_name_are_printed_as_they_are(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a[b]c[/d]e[red]f[/red]"
    monkeypatch.setenv("ADMMCTL_RESULTS", name)
    train = shell("train", "tiny.yaml")
    assert train.code == 0
    assert f"{name}/tiny/" in train.err
    shown = shell("runs", "show")
    assert shown.code == 0
    assert f"{name}/tiny/" in shown.out
    shutil.copytree(f"{name}/tiny", f"{name}/{name}")
    assert shell("runs", "list", f"{name}/{name}").code == 0


def test_runs_are_exported_for_other_programs(shell: Shell) -> None:
    runs = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    answer = shell("runs", "export", "--format", "csv", "--output", "out")
    assert (answer.code, answer.out) == (0, "2 runs in out\n")
    assert len((shell.folder / "out" / "curves.csv").read_text().splitlines()) == 1 + 2 * 4
    told = shell("runs", "export", runs[0]["folder"], "--format", "csv", "--output", "one", "--json").json()
    assert (told["format"], len(told["runs"])) == ("csv", 1)
    assert all((shell.folder / "one" / name).is_file() for name in told["files"])
    Path("mine").mkdir()
    Path("mine/runs.csv").touch()
    assert "--force" in shell.refusal("runs", "export", "--format", "csv", "--output", "mine")
    assert shell("runs", "export", "--format", "csv", "--output", "mine", "--force").code == 0


@pytest.mark.parametrize(
    ("form", "modules"),
    [("tensorboard", ["tensorboardX"]), ("mlflow", ["mlflow", "sqlalchemy", "alembic", "sqlparse"])],
)
def test_runs_are_exported_by_extras(shell: Shell, form: str, modules: list[str]) -> None:
    for module in modules:
        pytest.importorskip(module)
    run = shell("train", "tiny.yaml", "--json").json()["runs"][0]
    told = shell("runs", "export", run["folder"], "--format", form, "--output", "logs", "--json").json()
    assert (told["format"], len(told["runs"])) == (form, 1)
    assert all((shell.folder / "logs" / name).is_file() for name in told["files"])


def test_the_old_name_of_a_format_names_the_new_one(shell: Shell) -> None:
    shell("train", "tiny.yaml")
    refused = shell("runs", "export", "--format", "mlflow-file", "--output", "out")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--format mlflow," in refused.err


def test_runs_are_removed_with_yes_where_nobody_can_be_asked(shell: Shell, results: Path) -> None:
    first, second = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    assert "add --yes" in shell.refusal("runs", "remove", first["folder"])
    assert Path(first["folder"]).is_dir()
    answer = shell("runs", "remove", first["folder"], "--yes", "--json")
    assert answer.code == 0
    ((row,),) = answer.json().values()
    assert (row["folder"], row["kind"]) == (first["folder"], "run")
    assert first["folder"] in answer.err
    assert [path.name for path in (results / "tiny").iterdir()] == [Path(second["folder"]).name]


@pytest.mark.parametrize(("agreed", "removed", "left"), [(True, "1 folder, ", 0), (False, "nothing", 1)])
def test_at_a_terminal_it_is_asked_first(
    shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch, agreed: bool, removed: str, left: int
) -> None:
    shell("train", "tiny.yaml")
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question, err: asked.append(question) or agreed)
    answer = shell("runs", "remove", *(results / "tiny").iterdir())
    assert (answer.code, answer.out.startswith(f"removed {removed}")) == (0, True)
    assert asked[0].startswith("remove 1 folder, ")
    assert len(list(results.glob("tiny/*"))) == left


# --- accuracy-plot


def drawn(answer: Answer) -> list[Path]:
    """The figures that were written, as the magic bytes say."""
    assert answer.code == 0
    paths = [Path(line) for line in answer.out.splitlines()]
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG", b"%PDF"]
    return paths


def test_the_plot_lands_beside_the_runs(shell: Shell, results: Path) -> None:
    shell("train", "tiny.yaml", "--method", "all")
    expected = [results / "tiny" / "accuracy.png", results / "tiny" / "accuracy.pdf"]
    assert drawn(shell("accuracy-plot", results / "tiny")) == expected
    # A second time the figures are part of the glob.
    assert drawn(shell("accuracy-plot", *sorted((results / "tiny").iterdir()))) == expected


@pytest.mark.parametrize("output", ["figure", "figure.png", "figure.pdf", "my figure", "accuracy-0.5"])
def test_the_plot_lands_where_output_says(shell: Shell, output: str) -> None:
    shell("train", "tiny.yaml")
    stem = output.removesuffix(".png").removesuffix(".pdf")
    assert drawn(shell("accuracy-plot", "--output", output)) == [Path(f"{stem}.png"), Path(f"{stem}.pdf")]


@pytest.mark.parametrize("output", ["nowhere/figure", "tiny.yaml/figure", "", ".", "..", "/"])
def test_a_plot_that_cannot_be_written_is_a_clear_error(shell: Shell, output: str) -> None:
    shell("train", "tiny.yaml")
    assert "--output" in shell.refusal("accuracy-plot", "--output", output)


def test_experiments_with_dollar_signs_are_drawn(shell: Shell, results: Path) -> None:
    shell("train", "tiny.yaml")
    (results / "tiny").rename(results / "$x_$ and $\\frac$")
    drawn(shell("accuracy-plot", results / "$x_$ and $\\frac$"))


# --- predict


def test_predictions_of_the_training_rows_are_as_good_as_the_record_says(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json", "--set", "stop={iterations: 30}").json()["runs"]
    source = shards.plan(load("tiny.yaml").runs["admm"].data, 1).source
    x = np.empty((120, 3), dtype=np.float32)
    source.inputs("train", range(120), x)
    np.save("rows.npy", x)
    labels = source.labels("train", range(120))

    answer = shell("predict", run["folder"], "--input", "rows.npy", "--iterate", "final", "--json")
    assert answer.code == 0
    predicted = np.array(answer.json()["labels"])
    assert (predicted[90:] == labels[90:]).mean() == pytest.approx(run["final_test_accuracy"])
    curve = Recorded(Path(run["folder"])).curve
    assert (predicted[:90] == labels[:90]).mean() == pytest.approx(curve[-1]["train_accuracy"])

    best = np.array(shell("predict", run["folder"], "--input", "rows.npy", "--json").json()["labels"])
    lowest = min(curve, key=lambda row: row["train_loss"])
    assert (best[:90] == labels[:90]).mean() == pytest.approx(lowest["train_accuracy"])


def test_predictions_are_csv_on_standard_output_or_in_a_file(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    Path("rows.csv").write_text('\ufeff"a","b","c"\r\n1,2,3\r\n4,5,6\r\n')
    answer = shell("predict", run["folder"], "--input", "rows.csv")
    assert (answer.code, answer.err) == (0, "rows.csv: line 1 is taken as a heading: a, b, c\n")
    assert answer.out.startswith("label,output_0\n")
    assert len(answer.out.splitlines()) == 3
    written = shell("predict", run["folder"], "--input", "rows.csv", "--output", "answer.csv")
    assert (written.code, written.out) == (0, "")
    assert Path("answer.csv").read_text() == answer.out


def test_rows_that_cannot_be_predicted_are_named_and_nothing_is_written(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    Path("rows.csv").write_text("a,b,c\n1,2,3\n4,,6\n")
    for where in ([], ["--json"], ["--output", "answer.csv"]):
        assert "line 3, column 2" in shell.refusal("predict", run["folder"], "--input", "rows.csv", *where)
    assert not Path("answer.csv").exists()


def test_predict_wants_one_run(shell: Shell) -> None:
    runs = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    message = shell.refusal("predict", "tiny", "--input", "rows.npy")
    assert all(run["folder"] in message for run in runs)


# --- fetch


def test_a_computed_dataset_needs_no_fetch(shell: Shell) -> None:
    answer = shell("fetch", "swissroll")
    assert (answer.code, answer.out) == (0, "")
    assert "nothing to fetch" in answer.err


@pytest.mark.data
def test_fetch_and_train_on_the_real_thing(shell: Shell, mirror: Path) -> None:
    fetched = shell("fetch", "mnist", "--mirror", mirror)
    assert (fetched.code, fetched.out) == (0, "")
    assert "mnist is ready in" in fetched.err
    second = shell("fetch", "mnist")
    assert second.code == 0
    assert "already" in second.err
    assert "nowhere" in shell.refusal("fetch", "mnist", "--mirror", "nowhere")
    (run,) = shell("train", CONFIGS / "mnist01-hinge.yaml", "--json", "--set", "stop.iterations=4").json()["runs"]
    assert (run["rows_train"], run["rows_test"]) == (10_000, 2_665)
    assert run["best_test_accuracy"] > 0.9


def test_the_command_loads_nothing_heavy_before_it_needs_it() -> None:
    heavy = {"numpy", "pandas", "matplotlib", "mpi4py", "numba"}
    code = f"import sys, admmctl.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- doctor


@pytest.mark.mpi
@pytest.mark.usefixtures("terminal")
def test_the_doctor_reports_every_check_and_exits_with_1_on_an_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = shell("doctor", "tiny.yaml", "--json")
    checks = answer.json()["checks"]
    assert [check for check in checks if check["state"] == "error"] == []
    assert answer.code == 0
    assert all(set(check) == {"name", "state", "detail", "cure"} for check in checks)
    assert {"two ranks", "memory", "Slurm", "torch"} <= {check["name"] for check in checks}
    monkeypatch.setenv("ADMMCTL_MPIEXEC", "/nowhere/mpiexec")
    sick = shell("doctor")
    assert sick.code == 1
    assert "ADMMCTL_MPIEXEC=/nowhere/mpiexec: there is no such program" in " ".join(sick.out.split())
    assert max(map(len, sick.out.splitlines())) <= 80
