"""Short questions to other programs: what they say last, how they fail, and that nothing of them stays behind."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from support.processes import lives, wait_until

from admmctl.errors import UserError
from admmctl.launch.ended import between_rules
from admmctl.launch.programs import Answer, ask

RULE = "-" * 74


@pytest.mark.parametrize(
    ("out", "err", "line"),
    [
        ("one\ntwo\n", "", "two"),
        ("one\n", "error: first\nerror: last\n=====\n", "error: last"),
        ("", "", "exit code 7, no message"),
        ("", f"{RULE}\nIt is refused,\nfor a reason.\n\nAnd more.\n{RULE}\nend\n", "It is refused, for a reason."),
    ],
)
def test_what_a_program_says_last(out: str, err: str, line: str) -> None:
    assert Answer(7, out, err).last_line() == line


def test_without_rules_nothing_stands_between_them() -> None:
    assert between_rules("a\nb\n") is None
    assert between_rules(f"{RULE}\n\n{RULE}\n") is None


def test_an_answer_has_code_output_and_errors() -> None:
    code = "import sys; print([sys.stdin.read()]); print('hm', file=sys.stderr); sys.exit(3)"
    assert ask([sys.executable, "-c", code], 20) == Answer(3, "['']\n", "hm\n")


def test_arguments_arrive_as_they_are() -> None:
    strange = ["a b", "it's", 'q"q', "; exit 3", "$(touch gone)", "`id`", "-n", ""]
    answer = ask([sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *strange], 20)
    assert json.loads(answer.out) == strange


def test_a_program_that_is_not_there_or_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such program"):
        ask([str(tmp_path / "none")], 1)
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(UserError, match="cannot be started: Exec format error"):
        ask([str(tmp_path / "text")], 1)


@pytest.mark.parametrize("session", [False, True])
def test_a_program_that_takes_too_long_ends_with_all_it_started(tmp_path: Path, session: bool) -> None:
    """What a launcher puts into a session of its own, too."""
    note = tmp_path / "child"
    code = (
        "import pathlib, subprocess, time\n"
        f"child = subprocess.Popen(['sleep', '600'], start_new_session={session})\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "print('ssh: connect to host h2 port 22: No route to host', flush=True)\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(UserError, match=r"(?s)no answer within 1 seconds: .*: ssh: connect to host h2 port 22"):
        ask([sys.executable, "-c", code], 1, os.environ if session else None)
    assert wait_until(lambda: not lives(int(note.read_text())), 5)


def test_an_interruption_that_reaches_another_thread_is_not_lost() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    kill = threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    kill.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(["sleep", "5"], 20)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 4, "it came when the program had ended"


def test_a_long_answer_is_taken_whole() -> None:
    code = "import sys; sys.stdout.write('x' * 1_000_000); sys.stderr.write('y' * 500_000)"
    assert ask([sys.executable, "-c", code], 20) == Answer(0, "x" * 1_000_000, "y" * 500_000)
