"""The gate as a script meets it: exit codes, one document, one line for people."""

import csv
import io
from pathlib import Path

import pytest
from support.shell import Shell
from support.sides import SIX, Sides


@pytest.fixture
def sides(shell: Shell) -> Sides:
    made = Sides(shell.folder)
    made.put("old", SIX)
    return made


def test_what_is_slower_ends_with_1_and_says_so(shell: Shell, sides: Sides) -> None:
    sides.put("new", [1.5 * time for time in SIX])
    answer = shell("runs", "compare", "old", "new", "--fail-if-slower", "5%")
    assert (answer.code, answer.err) == (1, "")
    assert "Slower by more than 5 %: admm." in answer.out
    # OLD comes first: the other way round it is faster.
    assert shell("runs", "compare", "new", "old", "--fail-if-slower", "5%").code == 0
    assert shell("runs", "compare", "old", "new", "--fail-if-slower", "60%").code == 0


def test_too_few_runs_pass_and_say_what_it_takes(shell: Shell, sides: Sides) -> None:
    sides.put("new", [9.0])
    answer = shell("runs", "compare", "old", "new", "--fail-if-slower", "5%")
    assert answer.code == 0
    assert "it takes 6 seeds on each side: OLD has 6, NEW has 1; make them with --repeat 6" in answer.out


def test_a_script_gets_one_document_or_a_table_and_people_a_line(shell: Shell, sides: Sides) -> None:
    sides.put("new", [1.5 * time for time in SIX])
    command = ["runs", "compare", "old", "new", "--fail-if-slower", "5%"]
    answer = shell(*command, "--json")
    document = answer.json()
    assert (answer.code, answer.err) == (1, "Slower by more than 5 %: admm.\n")
    assert (document["failed"], document["margin"], document["seconds"]) == (True, 0.05, "to the target")
    assert document["methods"][0]["ratio"] == pytest.approx(1.5)
    answer = shell(*command, "--csv", "-")
    (row,) = csv.DictReader(io.StringIO(answer.out))
    assert (answer.code, row["verdict"], row["pairs"]) == (1, "slower", "6")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["old", "--fail-if-slower", "5%"], "two folders of runs, OLD and NEW; got 1"),
        (["--fail-if-slower", "5%"], "OLD and NEW; got 0"),
        (["old", "old", "--fail-if-slower", "5%"], "runs in common"),
        (["old", "nowhere", "--fail-if-slower", "5%"], "nowhere"),
        (["old", "new", "--fail-if-slower", "fast"], "expected a percentage"),
        (["old", "new", "--other-machine"], "goes with --fail-if-slower"),
        (["old", "other", "--fail-if-slower", "5%"], "--other-machine"),
    ],
)
def test_wrong_usage_is_refused(shell: Shell, sides: Sides, arguments: list[str], words: str) -> None:
    sides.put("new", SIX)
    sides.put("other", SIX, environment={"cpu": ["Another CPU"], "cores": 2})
    assert words in shell.refusal("runs", "compare", *arguments)
    assert not list(Path().glob("*.csv"))


def test_the_history_is_a_table_a_figure_and_a_page(shell: Shell, sides: Sides) -> None:
    answer = shell("runs", "history", "old")
    assert answer.code == 0
    assert "seconds to test accuracy 0.9" in answer.out
    assert answer.out.splitlines()[-3:] == ["old/history.png", "old/history.pdf", "old/history.html"]
    assert all(Path(line).is_file() for line in answer.out.splitlines()[-3:])
    document = shell("runs", "history", "old", "--json", "--output", "page.html").json()
    assert document["files"] == ["page.png", "page.pdf", "page.html"]
    assert document["lines"][0]["points"][0]["runs"] == 6
    # Files that are there do not count as runs, and are written anew.
    assert shell("runs", "history", "old").code == 0
    assert shell("runs", "history", "old", "--csv", "-").out.startswith("method,kind,settings,machine")
    assert "cannot be written" in shell.refusal("runs", "history", "old", "--output", "there/page.html")
    assert "there is no such run" in shell.refusal("runs", "history", "nowhere")
