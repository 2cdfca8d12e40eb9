"""Watching over a job: its events, its errors, and the signals that reach the driver meanwhile."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from admmctl.errors import UserError
from admmctl.parallel.job import JobEnd, watch
from admmctl.runs.worker import _stop_on_signal


def job(
    program: str, *, on_event: Callable[[Any], None] | None = None, log: Callable[[str], None] | None = None
) -> JobEnd:
    """The end of a job that is one Python with the lines of ``program``; it gives up after five seconds."""
    program = f"import json, signal, sys, time\nsignal.alarm(5)\n{program}"
    return watch(
        [sys.executable, "-c", program], os.environ, on_event or (lambda event: None), log or (lambda line: None)
    )


@pytest.fixture
def handlers() -> Iterator[Callable[[int, Any], None]]:
    """Sets signal handlers; those of pytest are restored."""
    before: dict[int, Any] = {}

    def handle(number: int, handler: Any) -> None:
        before.setdefault(number, signal.signal(number, handler))

    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


def test_json_lines_are_events_and_everything_else_goes_to_the_log() -> None:
    events: list[Any] = []
    lines: list[str] = []
    end = job(
        """
print('{"event": "loaded", "rows": 3}', flush=True)
print('hello')
print('{"event": half')
print('{"other": 1}')
print('{"event": "error", "rank": 1, "user": false, "message": "oh"}')
print('to stderr', file=sys.stderr)
sys.exit(7)
""",
        on_event=events.append,
        log=lines.append,
    )
    assert events == [{"event": "loaded", "rows": 3}]
    assert [error["message"] for error in end.errors] == ["oh"]
    assert sorted(line.strip() for line in lines) == ["hello", "to stderr", '{"event": half', '{"other": 1}']
    assert (end.exit_code, end.stopped_by) == (7, None)
    assert sorted(end.said) == ["hello", "to stderr", '{"event": half', '{"other": 1}']


def test_output_that_is_no_text_is_no_reason_to_stop() -> None:
    end = job("sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stderr.buffer.write(b'\\xff\\n'); sys.exit(3)")
    assert end.exit_code == 3


def test_a_program_that_does_not_exist_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="/nowhere/mpiexec cannot be started"):
        watch(["/nowhere/mpiexec"], os.environ, lambda event: None, lambda line: None)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_under_the_log_neither_shows_nor_blocks_the_job() -> None:
    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    end = job("for _ in range(3): sys.stderr.write('x' * 100_000 + '\\n')\nsys.exit(3)", log=full)
    assert end.exit_code == 3
    assert len(end.said) == 3


def test_a_problem_of_the_driver_ends_the_job() -> None:
    pids: list[int] = []

    def fail(event: dict[str, Any]) -> None:
        pids.append(event["pid"])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job(
            "import os\nprint(json.dumps({'event': 'x', 'pid': os.getpid()}), flush=True)\ntime.sleep(30)",
            on_event=fail,
        )
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


LISTENS = """
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
print('{"event": "ready"}', flush=True)
for _ in range(50):
    time.sleep(0.01)
    if asked:
        sys.exit(11)
sys.exit(0)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_passed_on_as_a_wish_to_stop(handlers: Callable[[int, Any], None], number: int) -> None:
    handlers(number, lambda *_: None)  # in case it is not
    told = []

    def on_event(event: dict[str, Any]) -> None:
        told.append(event["event"])
        if event["event"] == "ready":
            os.kill(os.getpid(), number)

    end = job(LISTENS, on_event=on_event)
    assert (end.stopped_by, end.exit_code) == (number, 11)
    assert told == ["ready", "stopping"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_nohup_and_background_shells_ignore_stays_ignored(
    handlers: Callable[[int, Any], None], number: int
) -> None:
    handlers(number, signal.SIG_IGN)
    end = job(LISTENS, on_event=lambda event: os.kill(os.getpid(), number))
    assert (end.stopped_by, end.exit_code) == (None, 0)
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_one_rank_in_the_drivers_process_stops_at_the_same_signals(
    handlers: Callable[[int, Any], None], number: int
) -> None:
    def usual(*_: object) -> None:
        pass

    handlers(number, usual)
    told = []
    with _stop_on_signal(lambda: told.append(number)) as asked:
        assert not asked()
        assert told == []
        os.kill(os.getpid(), number)
        assert asked()
    assert told == [number]
    assert signal.getsignal(number) == usual


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_one_rank_ignores_what_is_ignored_too(handlers: Callable[[int, Any], None], number: int) -> None:
    handlers(number, signal.SIG_IGN)
    with _stop_on_signal() as asked:
        os.kill(os.getpid(), number)
        assert not asked()
