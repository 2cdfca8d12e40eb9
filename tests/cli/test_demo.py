"""`make demo`: its commands, as the Makefile has them, meet the target, and end in a table and a figure."""

import re
import shlex
from pathlib import Path

import pytest
from support.shell import Shell
from typer.main import get_command

from admmctl.cli.app import app

ROOT = Path(__file__).parents[2]


def recipe() -> list[str]:
    """The lines of `make demo`, without its marks."""
    found = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert found is not None
    return [line.strip() for line in found[1].splitlines()]


@pytest.mark.mpi
def test_the_demo(shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lines = [line for line in recipe() if line.startswith("$(ADMMCTL) ")]
    assert len(lines) == 4
    answers = [shell(*shlex.split(line.partition(" > ")[0])[1:]) for line in lines]
    assert [answer.code for answer in answers] == [0, 0, 0, 0]
    trained, on_two, table, _ = answers
    rows = dict(re.findall(r"^(\S+)-s0-\w+ +(\w+)", table.out, re.M))
    assert rows == dict.fromkeys(("admm-p1", "admm-p2", "graph-admm-p1", "sgd-p1"), "reached")
    assert (results / "demo" / "accuracy.png").is_file()
    # Few lines for a log.
    assert len((trained.err + on_two.err).splitlines()) < 60
    # Again: what is there is shown, and nothing is trained.
    again = shell(*shlex.split(lines[0].partition(" > ")[0])[1:])
    assert again.err.count("finished already") == 3
    assert "iteration" not in again.err


def test_the_commands_to_go_on_with_exist() -> None:
    said = [
        words[1:]
        for line in recipe()
        if "echo '  $(ADMMCTL)" in line
        for words in [shlex.split(line[6:])[0].split()]
    ]
    assert [words[0] for words in said] == ["fetch", "train"]
    for words in said:
        command = get_command(app)
        context = command.make_context("admmctl", words)
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        found.make_context(name, rest, parent=context)
