"""Watching over a job: its events, its errors, and the signals that reach the driver meanwhile."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.processes import lives, program

from admmctl.errors import RunFailed, UserError
from admmctl.launch import start
from admmctl.launch.ended import Event, JobEnd
from admmctl.launch.job import Command, watch
from admmctl.launch.signals import STOP_SIGNALS, stop_on_signal
from admmctl.launch.start import Start


def job(
    program: str,
    *,
    on_event: Callable[[Any], None] | None = None,
    log: Callable[[str], None] | None = None,
    ranks: int = 0,
    seconds: float | None = None,
) -> JobEnd:
    """The end of a job that is one Python with the lines of ``program``; it gives up after five seconds."""
    program = f"import json, os, signal, subprocess, sys, time\nsignal.alarm(5)\n{program}"
    command = Command([sys.executable, "-c", program], os.environ, ranks, seconds)
    return watch(command, on_event or (lambda event: None), log or (lambda line: None))


def shell_job(script: str, on_event: Callable[[Any], None], *start: Any) -> JobEnd:
    """The end of a job that is a script of the shell; ``start``: ranks, and seconds of their start."""
    return watch(Command(["sh", "-c", script], os.environ, *start), on_event)


class Sender:
    """Notes the events of a job, and sends signals to the driver as soon as the job is ready."""

    def __init__(self, *signals: int) -> None:
        self.signals, self.events = signals, []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event["event"] == "ready":
            self.send()

    def send(self) -> None:
        for number in self.signals:
            os.kill(os.getpid(), number)

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


def usual(*_: object) -> None:
    """A handler that does nothing."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Stop signals that nobody heeds do no harm; the handlers of pytest are restored."""
    before = {number: signal.signal(number, usual) for number in STOP_SIGNALS}
    yield
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
    assert sorted(end.printed) == ["hello", "to stderr", '{"event": half', '{"other": 1}']


def test_output_that_is_no_text_is_no_reason_to_stop() -> None:
    end = job("sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stderr.buffer.write(b'\\xff\\n'); sys.exit(3)")
    assert end.exit_code == 3


def test_a_program_that_does_not_exist_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="/nowhere/mpiexec cannot be started"):
        watch(Command(["/nowhere/mpiexec"], os.environ), lambda event: None)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_under_the_log_neither_shows_nor_blocks_the_job() -> None:
    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    end = job("for _ in range(3): sys.stderr.write('x' * 100_000 + '\\n')\nsys.exit(3)", log=full)
    assert end.exit_code == 3
    assert len(end.printed) == 3


def test_a_problem_of_the_driver_ends_the_job() -> None:
    pids: list[int] = []

    def fail(event: Event) -> None:
        pids.append(event["pid"])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job(
            "print(json.dumps({'event': 'x', 'pid': os.getpid()}), flush=True)\ntime.sleep(30)",
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


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_passed_on_as_a_wish_to_stop(number: int) -> None:
    sender = Sender(number)
    end = job(LISTENS, on_event=sender)
    assert (end.stopped_by, end.exit_code) == (number, 11)
    assert sender.names == ["ready", "stopping"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_nohup_and_background_shells_ignore_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    end = job(LISTENS, on_event=Sender(number))
    assert (end.stopped_by, end.exit_code) == (None, 0)
    with stop_on_signal() as asked:  # one rank in the driver's process
        os.kill(os.getpid(), number)
        assert not asked()
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_one_rank_in_the_drivers_process_stops_at_the_same_signals(number: int) -> None:
    told = []
    with stop_on_signal(lambda: told.append(number)) as asked:
        assert (asked(), told) == (False, [])
        os.kill(os.getpid(), number)
        assert asked()
    assert told == [number]
    assert signal.getsignal(number) == usual


# --- signals that come close together

STAYS = "trap '' USR1; echo '{\"event\": \"ready\"}'; exec sleep 5"


@pytest.mark.parametrize(("first", "second"), [*((number, signal.SIGINT) for number in STOP_SIGNALS), (2, 15)])
def test_signals_that_reach_another_thread_are_not_lost(first: int, second: int) -> None:
    """So the system delivers the second of two that come close together: it ends no wait of the main thread."""

    class FromAThread(Sender):
        def send(self) -> None:
            threading.Timer(0.1, self.kill).start()

        def kill(self) -> None:
            for number in self.signals:
                signal.pthread_kill(threading.get_ident(), number)

    sender = FromAThread(first, second)
    end = shell_job(STAYS, sender)
    assert (end.stopped_by, end.exit_code) == (first, -signal.SIGTERM)
    assert sender.names == ["ready", "stopping"]


def test_the_second_of_two_signals_close_together_ends_the_job() -> None:
    for pause in (0, 2e-5, 1e-4, 3e-4, 1e-3):
        code = f"time.sleep(0.02); os.kill(p, 2); time.sleep({pause}); os.kill(p, 15)"
        killers = []

        def on_event(event: Event, code: str = code, killers: list[Any] = killers) -> None:
            if event["event"] == "ready":
                code = f"import os, time; p = {os.getpid()}; {code}"
                killers.append(subprocess.Popen([sys.executable, "-IS", "-c", code]))

        end = shell_job(STAYS, on_event)
        # Of two that are pending at once, either may be handled first.
        assert end.stopped_by in (signal.SIGINT, signal.SIGTERM)
        assert end.exit_code == -signal.SIGTERM
        assert killers[0].wait() == 0


def test_a_third_signal_does_not_wait_for_a_launcher_that_ignores_the_second() -> None:
    end = shell_job(STAYS.replace("USR1", "USR1 TERM"), Sender(*[signal.SIGINT] * 3))
    assert (end.stopped_by, end.exit_code) == (signal.SIGINT, -signal.SIGKILL)


def test_a_signal_that_comes_too_late_for_the_job_is_told_all_the_same() -> None:
    def log(line: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    end = job("sys.stderr.write('the end')", log=log)
    assert (end.stopped_by, end.exit_code) == (signal.SIGINT, 0)


# --- pipes


def test_no_line_of_many_is_lost_and_their_order_is_kept() -> None:
    events: list[Any] = []
    lines: list[str] = []
    end = job(
        """
for number in range(3000):
    print(json.dumps({"event": "x", "number": number, "more": "y" * 300}))
    print("line", number)
    print("line", number, file=sys.stderr)
sys.stdout.write("z" * 3_000_000)
""",
        on_event=events.append,
        log=lines.append,
    )
    assert [event["number"] for event in events] == list(range(3000))
    assert [line for line in lines if line.startswith("z")] == ["z" * 3_000_000]
    for number in range(3000):
        assert lines.count(f"line {number}") == 2
    assert end.exit_code == 0
    assert end.printed[0] == "line 0"
    assert len(end.printed) == 100, "head and tail"
    assert "line 2999" in end.printed


def test_a_job_that_closes_its_output_is_waited_for() -> None:
    end = job("os.close(1); os.close(2); time.sleep(0.6); os._exit(4)")
    assert end.exit_code == 4


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("code", [0, 3])
def test_who_holds_the_pipes_of_a_launcher_that_ended_is_ended_too(code: int) -> None:
    pids: list[int] = []
    end = job(
        f"""
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(json.dumps({{"event": "x", "pid": child.pid}}))
sys.stderr.write("no end of line")
sys.stderr.flush()
sys.stdout.flush()
os._exit({code})
""",
        on_event=lambda event: pids.append(event["pid"]),
    )
    assert (end.exit_code, end.printed) == (code, ["no end of line"])
    assert not lives(pids[0])


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_a_launcher_put_into_sessions_of_its_own_ends_with_it() -> None:
    sender = Sender(signal.SIGINT, signal.SIGINT)
    end = job(
        """
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
children = [subprocess.Popen(["sleep", "600"], start_new_session=True, **quiet) for _ in range(2)]
os.kill(children[1].pid, signal.SIGSTOP)
print(json.dumps({"event": "ready", "pids": [child.pid for child in children]}), flush=True)
time.sleep(4)
""",
        on_event=sender,
    )
    pids = sender.events[0]["pids"]
    assert end.exit_code == -signal.SIGTERM
    assert len(pids) == 2
    assert not any(lives(pid) for pid in pids)


def test_nothing_of_a_job_is_left_open(recwarn: pytest.WarningsRecorder) -> None:
    before = set(os.listdir("/dev/fd"))  # noqa: PTH208
    job("print('x')")

    def fail(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job("print(json.dumps({'event': 'x'}), flush=True); time.sleep(4)", on_event=fail)
    assert set(os.listdir("/dev/fd")) == before  # noqa: PTH208
    assert [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)] == []


# --- starts that come to nothing


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """People are told sooner."""
    monkeypatch.setattr(start, "STILL", 0.3)
    monkeypatch.setattr(start, "CHILDLESS", 0.3)
    monkeypatch.setattr(start, "LOOK", 0.1)


def event(stage: str, rank: int | None) -> Event:
    return {"event": stage, "rank": rank, "host": "h"}


BOTH = [event("started", 0), event("started", 1)]


@pytest.mark.parametrize(
    ("events", "printed", "state"),
    [
        ([], ["no route"], "none of 2 ranks has started; the launcher says: no route"),
        (BOTH[:1], [], "1 of 2 ranks has started (not rank 1)"),
        ([event("started", None)], [], "1 of 2 ranks has started"),
        (BOTH, [], "all 2 ranks have started, and none has found the others"),
        ([*BOTH, event("connected", 1)], [], "all 2 ranks have started, and 1 has found the others (not rank 0)"),
    ],
)
def test_a_start_that_stands_still_is_told_once_and_then_ended(
    events: list[Event], printed: list[str], state: str
) -> None:
    begun = Start(2, 60.0, os.getpid(), "srun", now=100.0)
    assert all(begun.heard(event, 105.0) for event in events)
    since = 105.0 if events else 100.0
    assert begun.stands_still(since + 9.9, printed) is None
    assert begun.stands_still(since + 10.0, printed) == f"after {since + 10.0 - 100.0:.0f} s {state}"
    assert begun.stands_still(since + 11.0, printed) is None
    assert begun.failed(since + 59.9, printed) is None
    failed = begun.failed(since + 60.0, printed) or ""
    assert failed.startswith(f"the start was ended after 60 s without progress: {state}\n")
    assert "start_seconds in the launch block" in failed
    assert begun.under_way


def test_while_ranks_say_their_first_words_a_start_is_left_alone() -> None:
    begun = Start(200, 60.0, os.getpid(), "srun", now=0.0)
    now = 0.0
    for stage in ("started", "connected"):
        for rank in range(200):
            assert begun.under_way
            assert begun.failed(now + 59.0, []) is None
            now += 59.0
            assert begun.heard(event(stage, rank), now)
    assert not begun.under_way


def test_a_start_without_a_limit_lasts_until_a_rank_has_come_to_its_work() -> None:
    begun = Start(2, None, os.getpid(), "srun", now=0.0)
    assert begun.failed(1e9, []) is None
    assert not begun.heard({"event": "planned"}, 1.0)
    assert not begun.under_way


def test_a_job_whose_start_stands_still_is_ended(brief: None, tmp_path: Path) -> None:
    told: list[Any] = []
    end = shell_job(f"echo '{json.dumps(BOTH[0])}'; exec sleep 5", told.append, 2, 0.7)
    assert [event["event"] for event in told] == ["note"]
    assert end.exit_code == -signal.SIGTERM
    with pytest.raises(RunFailed, match=r"the start was ended after 0\.7 s without progress: 1 of 2 ranks"):
        end.raise_failure(finished=False)


def test_a_job_at_work_may_be_silent(brief: None) -> None:
    end = shell_job("""echo '{"event": "planned"}'; sleep 0.6""", print, 2, 0.3)
    assert (end.exit_code, end.start) == (0, None)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_mpiexec_whose_children_have_failed_is_not_waited_for(brief: None, tmp_path: Path) -> None:
    waits = """
import subprocess, time
subprocess.run(["sh", "-c", "echo 'srun: error: Unable to create step for job 5: Invalid job id' >&2; exit 1"])
time.sleep(5)
"""
    mpiexec = program(tmp_path / "mpiexec", waits)
    end = watch(Command([str(mpiexec)], os.environ, 2, 60), print)
    assert end.start is not None
    assert "all that the launcher started has ended; the launcher says: srun: error: Unable to create" in end.start
    assert end.exit_code == -signal.SIGTERM

    srun = program(tmp_path / "srun", "import sys, time\nprint('queued', file=sys.stderr)\ntime.sleep(1)\n")
    end = watch(Command([str(srun)], os.environ, 2, 60), print)
    assert (end.start, end.exit_code) == (None, 0), "it waits in the queue, without children"


def test_a_stop_that_is_not_heeded_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admmctl.launch.rank.ANSWER", 0.2)
    monkeypatch.setattr("admmctl.launch.job.GRACE", 0.2)

    class Twice(Sender):
        """Sends once more when it is told why nothing stops: the job waits for it, however busy the machine is."""

        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if event["event"] == "note" and "does not answer" in event["text"]:
                self.send()

    sender = Twice(signal.SIGINT)
    waits = """
def slow(*_):
    print(json.dumps({"event": "slow", "rank": 0, "host": "h", "waiting": True, "where": "x"}), flush=True)

signal.signal(signal.SIGUSR1, slow)
print('{"event": "ready"}', flush=True)
time.sleep(60)
"""
    job(waits, on_event=sender, ranks=2)
    assert sender.names[:3] == ["ready", "stopping", "note"]
    assert sender.events[1]["text"] == "stopping at the end of the iteration; Ctrl-C again ends it now"
    assert "rank 1 does not answer; Ctrl-C again ends the job now" in sender.events[2]["text"]
