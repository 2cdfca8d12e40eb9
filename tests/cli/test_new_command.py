"""``admmctl new`` as a person and a script meet it, and what ``train`` says after own data."""

import os
import pty
import select
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from support.shell import Shell

LINES = "".join(f"{place / 10},{(place * 7) % 5},{place % 2}\n" for place in range(120))


@pytest.fixture(autouse=True)
def data(shell: Shell) -> None:
    Path("own.csv").write_text(LINES)


def test_a_new_experiment_can_be_trained_by_the_line_that_is_printed(shell: Shell) -> None:
    answer = shell("new", "own.csv", "--label", "last", "--method", "linear")
    assert answer.code == 0
    assert "wrote own.yaml" in answer.out
    (line,) = [line for line in answer.out.splitlines() if line == "  admmctl train own.yaml"]
    trained = shell(*shlex.split(line)[1:])
    assert trained.code == 0
    first, second = trained.err.splitlines()[-2:]
    assert first == (
        "try next: all methods of the file, six seeds each: admmctl train own.yaml --method all --repeat 6"
    )
    predict = shlex.split(second.removeprefix("classify new rows: "))
    Path("NEW.csv").write_text("1.0,2.0\n")
    assert shell(*predict[1:]).code == 0


def test_advice_follows_what_has_run_and_is_not_for_json(shell: Shell) -> None:
    assert shell("new", "own.csv", "--label", "last").code == 0
    change = ["--set", "methods={linear: {}}", "--set", "sweep=null"]
    one = shell("train", "own.yaml", *change)
    assert "try next: six seeds, for intervals: admmctl train own.yaml --set 'methods={linear: {}}'" in one.err
    every = shell("train", "own.yaml", "--method", "all", "--set", "sweep=null", "--set", "stop.epochs=1")
    assert "try next: six seeds" in every.err
    six = shell("train", "own.yaml", "--repeat", 6, *change)
    assert "try next: which is best, for sure: admmctl runs compare " in six.err
    assert "try next" not in shell("train", "own.yaml", "--json", *change).err


def test_other_data_have_no_such_lines(shell: Shell) -> None:
    assert "try next" not in shell("train", "tiny.yaml").err


def test_a_script_gets_one_document(shell: Shell) -> None:
    document = shell("new", "own.csv", "--label", "last", "--json").json()
    assert (document["file"], document["seen"]["rows_train"], document["seen"]["features"]) == ("own.yaml", 96, 2)
    assert document["method"] == document["methods"][0] == "linear"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name your data file"),
        (["own.csv"], "--label first or last"),
        (["nowhere.csv", "--label", "last"], "there is no file nowhere.csv"),
        ([".", "--label", "last"], "there is no file ."),
        (["own.csv", "--label", "middle"], "'first' or 'last'"),
        (["own.csv", "--label", "last", "--counts", "fun"], "accuracy, seconds, memory"),
        (["own.csv", "--label", "last", "--test", "2"], "data.test"),
        (["own.csv", "--label", "last", "--target", "2"], "target"),
        (["own.csv", "--label", "last", "--cores", "0"], "cores"),
        (["own.csv", "--label", "last", "--output", "there/own.yaml"], "cannot be written"),
        (["own.csv", "--label", "last", "--name", "a/b"], "--name"),
    ],
)
def test_without_a_terminal_nothing_is_asked_and_nothing_half_written(
    shell: Shell, arguments: list[str], words: str
) -> None:
    before = sorted(Path().rglob("*"))
    assert words in shell.refusal("new", *arguments)
    assert sorted(Path().rglob("*")) == before


def test_an_experiment_that_is_there_is_kept(shell: Shell) -> None:
    Path("own.yaml").write_text("mine\n")
    assert "own.yaml is there already" in shell.refusal("new", "own.csv", "--label", "last")
    assert Path("own.yaml").read_text() == "mine\n"
    assert shell("new", "own.csv", "--label", "last", "--force").code == 0
    assert Path("own.yaml").read_text().startswith("# Made by admmctl new from own.csv")


def talk(arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """The command on a terminal, with these answers to its questions: exit code, and what the terminal showed."""
    command = [sys.executable, "-m", "admmctl.cli", *arguments]
    process, terminal = pty.fork()
    if process == 0:
        os.execv(command[0], command)
    shown, heard, left = b"", 0, list(answers)
    while select.select([terminal], [], [], 120)[0]:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux says so that it has ended
            break
        if not piece:
            break
        shown += piece
        if left and shown[heard:].rstrip().endswith(b":"):
            heard = len(shown)
            os.write(terminal, (left.pop(0) + "\n").encode())
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), shown.decode().replace("\r", "")


def test_a_person_is_asked_for_what_no_option_says() -> None:
    np.save("y.npy", np.arange(120) % 2)
    answers = ["nowhere.csv", "own.csv", "none.npy", "", "y.npy", "0.25", "fun", "memory", "0", "1"]
    code, shown = talk(["new"], answers)
    assert code == 0, shown
    for words in (
        "there is no file nowhere.csv",
        "there is no file none.npy",
        "90 training rows, 3 features, 2 classes, nothing missing",
        "please answer once more",
        "wrote own.yaml",
    ):
        assert words in shown
    content = Path("own.yaml").read_text()
    assert "y: y.npy" in content
    assert "test: 0.25" in content
    assert "What counts: memory" in content


def test_options_answer_questions_beforehand_and_yes_answers_the_rest() -> None:
    code, shown = talk(["new", "own.csv", "--label", "last", "--yes"], [])
    assert code == 0, shown
    assert "Where are the labels" not in shown
    Path("own.yaml").unlink()
    code, shown = talk(["new", "own.csv", "--label", "last", "--test", "0.2", "--counts", "seconds"], [""])
    assert code == 0, shown
    assert shown.count("]:") == 1  # the cores
