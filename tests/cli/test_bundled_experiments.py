"""Experiments that come with admmctl: called by a name, listed, and written by ``admmctl init``."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.shell import CONFIGS, TINY, Shell
from typer.main import get_command

import admmctl
from admmctl.cli import complete
from admmctl.cli.app import app
from admmctl.errors import MissingExtra
from admmctl.experiment import bundled
from admmctl.experiment.config import load
from admmctl.experiment.listing import first_sentence
from admmctl.launch.cluster import load_cluster
from admmctl.methods.method import methods

FILES = sorted(CONFIGS.rglob("*.yaml"))
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


@pytest.fixture
def experiment_files() -> dict[str, str]:
    return {}


@pytest.mark.parametrize("file", [file for file in FILES if file.parent == CONFIGS], ids=lambda file: file.stem)
def test_an_experiment_has_the_name_of_its_file(file):
    """``papers/evidence.py`` looks for its runs by that name."""
    assert yaml.safe_load(file.read_text())["name"] == file.stem


# --- a name in the place of a file


def with_config() -> list[Any]:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    takes = [name for name, one in commands.items() if any(each.name == "config" for each in one.params)]
    return [pytest.param(commands[name], id=name) for name in takes]


@pytest.mark.parametrize("command", with_config())
def test_every_command_with_an_experiment_takes_a_name(shell: Shell, command: Any) -> None:
    more = ["--cores", "1"] if command.name == "scaling" else []

    def meant(given: str) -> Path:
        return command.make_context("a command", [given, *more]).params["config"]

    assert meant("swissroll") == meant("swissroll.yaml") == CONFIGS / "swissroll.yaml"
    Path("configs").mkdir()
    Path("configs/swissroll.yaml").write_text(TINY)
    assert meant("swissroll") == meant("configs/swissroll.yaml") == Path("configs/swissroll.yaml")
    assert meant("mnist") == CONFIGS / "mnist.yaml"
    Path("swissroll").write_text(TINY)
    assert meant("swissroll") == Path("swissroll")
    for unknown in ("nowhere", "nowhere/swissroll", "nowhere.yaml", "."):
        assert meant(unknown) == Path(unknown)


def test_five_commands_take_an_experiment_and_one_more() -> None:
    assert [case.id for case in with_config()] == ["train", "sweep", "scaling", "bench", "doctor", "condition"]


def test_a_run_by_a_name_alone(shell: Shell, results: Path) -> None:
    changes = ("--set", "data.rows=200", "--set", "stop.iterations=2")
    (run,) = shell("train", "swissroll", *changes, "--json").json()["runs"]
    assert Path(run["folder"]).parent == results / "swissroll"
    assert run["rerun"] == f"admmctl train {run['folder']}/config.yaml --cores 1"
    assert [path.name for path in shell.folder.iterdir()] == ["results"]


def test_python_takes_a_name_too(shell: Shell) -> None:
    (run,) = admmctl.train("swissroll", overrides=["data.rows=200", "stop.iterations=1"])
    assert run["experiment"] == "swissroll"


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("swisrol", ["no such file, and no experiment of that name; did you mean 'swissroll'", "admmctl configs"]),
        ("mnist1.yaml", ["mnist1.yaml: there is no such file, and no experiment", "'mnist01'"]),
        ("xyzzy", ["xyzzy: there is no such file, and no experiment of that name; all of them: admmctl configs"]),
        ("configs/higgs.yaml", ["there is no such file; for the experiment of that name give: higgs (", "init"]),
        ("mnist", ["mnist: cannot be read", "for the experiment of that name give: mnist.yaml ("]),
        ("nowhere/a.yaml", ["nowhere/a.yaml: there is no such file\n"]),
    ],
)
def test_what_is_no_name_names_near_ones(shell: Shell, given: str, texts: list[str]) -> None:
    Path("mnist").mkdir()
    message = shell.refusal("train", given, "--dry-run")
    for text in texts:
        assert text in message


def test_names_are_offered_where_no_files_are(shell: Shell) -> None:
    assert complete.configs("swiss") == ["swissroll", "swissroll-kernel", "swissroll-start"]
    assert complete.configs("configs/s") == []
    context: Any = type("Context", (), {"params": {"config": None}, "args": ["mnist"], "info_name": "train"})
    assert complete.methods(context, "a") == ["adam", "all"]
    shell("init")
    assert complete.configs("swiss") == []
    assert "configs/swissroll.yaml" in complete.configs("configs/swiss")


# --- init


def test_init_writes_all_files_and_clusters(shell: Shell) -> None:
    answer = shell("init", "new/study", "--json")
    assert answer.code == 0
    assert "admmctl train swissroll" in answer.err
    written = answer.json()["files"]
    assert {each["state"] for each in written} == {"written"}
    assert [each["file"] for each in written] == [
        f"new/study/configs/{path.relative_to(CONFIGS)}" for path in FILES
    ]
    for each, source in zip(written, FILES, strict=True):
        assert Path(each["file"]).read_bytes() == source.read_bytes()
    umask = os.umask(0)
    os.umask(umask)
    assert Path(written[0]["file"]).stat().st_mode & 0o777 == 0o666 & ~umask
    assert not [path for path in Path("new").rglob("*") if path.name.startswith(".")]


def test_init_never_changes_what_is_there(shell: Shell) -> None:
    assert shell("init").out == f"{len(FILES)} files written, 0 here already and the same\n"
    changed, gone, link = (Path("configs", name) for name in ("mnist.yaml", "higgs.yaml", "order.yaml"))
    changed.write_text("# mine\n")
    gone.unlink()
    link.unlink()
    link.symlink_to("nowhere.yaml")
    answer = shell("init")
    assert answer.code == 0
    assert answer.out == (
        f"1 file written, {len(FILES) - 3} here already and the same\n"
        "changed, and so kept: configs/mnist.yaml\nchanged, and so kept: configs/order.yaml\n"
    )
    assert changed.read_text() == "# mine\n"
    assert not Path("configs/nowhere.yaml").exists()
    assert gone.read_bytes() == (CONFIGS / "higgs.yaml").read_bytes()


def test_init_where_nothing_can_be_written(shell: Shell) -> None:
    Path("file").write_text("")
    message = shell.refusal("init", "file")
    assert message.startswith(f"error: file/configs/{FILES[0].name} cannot be written: Not a directory; name")
    assert len(message.splitlines()) == 1


def test_a_changed_cluster_here_is_the_one_that_its_name_means(shell: Shell) -> None:
    shell("init")
    file = Path("configs/clusters/slurm.yaml")
    file.write_text("name: slurm\nlaunch: {partition: mine}\n")
    assert load_cluster("slurm").launch.partition == "mine"


# --- configs


def test_the_list_says_what_each_needs(shell: Shell) -> None:
    listed = {each["name"]: each for each in shell("configs", "--json").json()["configs"]}
    assert sorted(listed) == NAMES
    assert {each["problem"] for each in listed.values()} == {None}
    assert all(len(each["about"]) > 10 for each in listed.values())
    roll = listed["swissroll"]
    assert roll["about"] == "The Swiss roll of Burmeister's report: 160,000 points, three quarters of them train."
    assert (roll["data"], roll["data_state"], roll["fetch"], roll["extras"]) == ("swissroll", "computed", None, {})
    assert listed["mnist01"]["data_state"] == "absent"
    assert listed["svhn"]["fetch"] == "admmctl fetch svhn --extra"
    assert listed["svhn"]["extras"] == {"torch": ["torch-sgd", "torch-adam", "torch-lbfgs"]}
    assert set(listed["cifar2-convex"]["extras"]) == {"torch", "jax"}
    assert listed["rivals-higgs"]["extras"] == {"trees": ["trees"]}


def test_extras_are_those_that_a_run_would_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("torch", "jax", "lightgbm", "sklearn.ensemble"):
        monkeypatch.setitem(sys.modules, library, None)  # its import fails
    asked = set()
    for file in CONFIGS.glob("*.yaml"):
        runs = load(file).runs
        if file.stem == "mnist":
            runs |= load(file, ["methods.device={kind: graph-admm, backend: torch}"]).runs
        for run in runs.values():
            method = methods.load(run.kind)
            try:
                method.require(run.settings)
                wanted = None
            except MissingExtra as missing:
                wanted = re.findall(r"admmctl\[(\w+)\]", str(missing))[0]
            assert method.extra(run.settings) == wanted, (file, run.method)
            asked.add((run.kind, wanted))
    assert {("graph-admm", "torch"), ("trees", "trees"), ("convex-admm", "jax"), ("sgd", None)} <= asked


@pytest.mark.usefixtures("terminal")
def test_the_list_for_people(shell: Shell) -> None:
    lines = shell("configs").out.splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = [line for line in lines if line.startswith("mnist ")]
    assert line.split()[1:6] == ["admmctl", "fetch", "mnist", "All", "ten"]


def test_a_file_of_the_users_own_is_listed_and_hides_no_other(shell: Shell) -> None:
    Path("configs").mkdir()
    Path("configs/broken.yaml").write_text("# Mine. It is not ready.\nname: [\n")
    Path("configs/mnist.yaml").write_text(f"# Another.\n{TINY}")
    listed = {each["name"]: each for each in shell("configs", "--json").json()["configs"]}
    assert sorted(listed) == sorted([*NAMES, "broken"])
    assert listed["broken"]["about"] == "Mine."
    assert listed["broken"]["problem"].startswith("configs/broken.yaml:")
    assert (listed["mnist"]["file"], listed["mnist"]["about"]) == ("configs/mnist.yaml", "Another.")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# One, by Taylor et al. (2016), of 0.5. And two.\nname: x\n", "One, by Taylor et al. (2016), of 0.5."),
        ("# Is it one? It is.\n", "Is it one?"),
        ("# Over two\n# lines. More.\n", "Over two lines."),
        ("# No end\nname: x\n# Later.\n", "No end"),
        ("name: x\n", ""),
    ],
)
def test_the_first_sentence_of_a_file(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_there_is_one_copy_of_the_files() -> None:
    assert CONFIGS == bundled.BUNDLED
    assert (Path(admmctl.__file__).parent / "configs").is_symlink()
    listed = subprocess.run(
        ["git", "ls-files", "admmctl/configs"], cwd=CONFIGS.parent, capture_output=True, text=True, check=False
    )
    assert listed.stdout in ("admmctl/configs\n", "")  # a link, where this is a checkout
