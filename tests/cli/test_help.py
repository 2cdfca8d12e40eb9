"""Help pages, the version, and what the Tab key completes."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.shell import CONFIGS, Shell
from typer.main import get_command

from admmctl import __version__
from admmctl.cli.app import app


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


def test_the_command_loads_nothing_heavy_before_it_needs_it() -> None:
    heavy = {"numpy", "pandas", "matplotlib", "mpi4py", "numba"}
    code = f"import sys, admmctl.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
