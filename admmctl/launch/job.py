"""Watching over a job from its launch to its end: events, errors, the signals that reach the driver, its start."""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from admmctl.errors import UserError
from admmctl.launch import ended, programs, rank
from admmctl.launch.ended import HEAD, TAIL, Event, JobEnd
from admmctl.launch.signals import StopSignals
from admmctl.launch.start import Start

STOP_TEXT = "stopping at the end of the iteration; Ctrl-C again ends it now"
# What a watcher is told when a signal asks for a stop; from ``watch`` with a text for those who draw no view.
STOPPING = {"event": "stopping"}
GRACE = 3.0  # seconds that other ranks have to say where they are, before the job is ended
QUIET, HELD = 1.0, 5.0  # seconds in silence, or in all, that others may hold the pipes of a launcher that ended
LONGEST = 1 << 24  # bytes of a line; what is longer comes in parts


@dataclass(frozen=True)
class Command:
    """What starts a job: a command line and its environment, its number of ranks, how long a start may take."""

    line: list[str]
    environment: Mapping[str, str]
    ranks: int = 0
    start_seconds: float | None = None  # in which no further rank has started, or found the others; None: any time


def watch(
    command: Command,
    on_event: Callable[[Event], None],
    log: Callable[[str], None] = lambda line: None,
    signals: StopSignals | None = None,
) -> JobEnd:
    """Run a job to its end. JSON lines on its standard output are events; all else goes to ``log``.

    The first stop signal asks the ranks to stop at the end of their iteration. The second one, a failure of the
    driver, or a rank that says that it hangs, ends them at once. When a start stands still, people are told how
    far it is; after ``start_seconds`` it is ended. Nothing that was started is left on this machine. ``signals``
    are those of a caller whose later work they must not break either.
    """
    environment = programs.marked(command.environment)
    with StopSignals() if signals is None else nullcontext(signals) as asked:
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of a fork beside threads, as a live view has. This fork calls the system alone,
                # and then becomes the launcher.
                warnings.simplefilter("ignore", DeprecationWarning)
                process = subprocess.Popen(
                    command.line,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # a terminal's Ctrl-C reaches the driver alone
                    preexec_fn=_end_with_the_driver if sys.platform == "linux" else None,
                )
        except OSError as error:
            raise UserError(f"{command.line[0]} cannot be started: {error}") from None
        assert process.stdout is not None
        assert process.stderr is not None
        start = Start(command.ranks, command.start_seconds, process.pid, command.line[0], time.monotonic())
        job = _Job(process, environment, on_event, log, asked, start)
        try:
            with process.stdout, process.stderr:
                held = job.follow()
        except BaseException:
            programs.end(process, environment)
            raise
        if held or process.returncode:
            programs.kill(process.pid, environment)
        return job.ended()


@dataclass
class _Job:
    """A job that runs. One loop reads its pipes, heeds signals and looks at the time, at least once in a tick."""

    process: "subprocess.Popen[bytes]"
    environment: Mapping[str, str]
    on_event: Callable[[Event], None]
    log: Callable[[str], None]
    signals: StopSignals
    start: Start
    _end: JobEnd = field(default_factory=lambda: JobEnd(exit_code=-1))
    _tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    _files: set[Path] = field(default_factory=set)  # in /dev/shm, of ranks that are ended before they remove them
    _slow: list[Event] = field(default_factory=list)  # what ranks report that did not stop
    _heeded: int = 0  # of the signals
    _asked_at: float | None = None
    _ends_at: float | None = None  # when the launcher is asked to end its ranks
    _kills_at: float | None = None  # when all that is left is killed

    def follow(self) -> bool:
        """Wait until the launcher has ended. Returns whether other processes still hold its pipes."""
        quiet_since, over = time.monotonic(), None
        with selectors.DefaultSelector() as pipes:
            for pipe in (self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipes.register(pipe, selectors.EVENT_READ, _Lines())
            pipes.register(self.signals.pipe, selectors.EVENT_READ)
            while True:
                self._look(time.monotonic())
                if len(pipes.get_map()) > 1:
                    for key, _ in pipes.select(programs.TICK):
                        if key.fd == self.signals.pipe:
                            continue  # it has woken this loop
                        quiet_since = time.monotonic()
                        piece = os.read(key.fd, 1 << 16)
                        for line in key.data.add(piece):
                            self._line(line, key.fileobj is self.process.stdout)
                        if not piece:
                            pipes.unregister(key.fileobj)
                    code = self.process.poll()
                else:
                    with suppress(subprocess.TimeoutExpired):
                        self.process.wait(timeout=programs.TICK)
                    code = self.process.returncode
                if code is None:
                    continue
                now = time.monotonic()
                over = now if over is None else over
                if len(pipes.get_map()) == 1:
                    return False
                if now - max(over, quiet_since) > QUIET or now - over > HELD:
                    for key in pipes.get_map().values():
                        for line in key.data.add(b"") if key.data is not None else ():
                            self._line(line, key.fileobj is self.process.stdout)
                    return True

    def ended(self) -> JobEnd:
        """How it ended; call it after ``follow``."""
        self._heed(time.monotonic())  # a signal that came last of all
        for path in self._files:
            path.unlink(missing_ok=True)
        self._end.exit_code, self._end.ranks = self.process.returncode, self.start.ranks
        self._end.printed += self._tail
        return self._end

    def _line(self, line: str, of_ranks: bool) -> None:
        event = parse_event(line) if of_ranks else None
        if event is None:
            self._note(line)  # of the launcher itself, for instance of a rank that was killed
        elif event["event"] == "error":
            self._end.errors.append(event)
        elif event["event"] == "stuck":
            if not self._end.stuck:
                self._ends_at = time.monotonic() + GRACE
            self._end.stuck.append(event)
        elif event["event"] == "slow":
            self._slow.append(event)
        elif not self.start.heard(event, time.monotonic()):
            self.on_event(event)

    def _note(self, line: str) -> None:
        if len(self._end.printed) < HEAD:
            self._end.printed.append(line)
        else:
            self._tail.append(line)
        with suppress(OSError):  # a full disk must not stop the reading: the job would block on its pipe
            self.log(line)

    def _look(self, now: float) -> None:
        """Heed signals, and do what is due by now."""
        self._heed(now)
        if self._asked_at is not None and now - self._asked_at > rank.ANSWER + GRACE:
            self._asked_at = None
            why = ended.not_stopping(self._slow, self.start.ranks, rank.ANSWER + GRACE)
            self._tell(f"{why}; Ctrl-C again ends the job now")
        if self.start.under_way and self._ends_at is None and self._kills_at is None:
            printed = [*self._end.printed, *self._tail]
            if (text := self.start.stands_still(now, printed)) is not None:
                self._tell(text)
            self._end.start = self.start.failed(now, printed)
            if self._end.start is not None:
                self._ends_at = now
        if self._ends_at is not None and now >= self._ends_at:
            self._ends_at = None
            self._terminate(now)
        if self._kills_at is not None and now >= self._kills_at:
            self._kills_at = None
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _heed(self, now: float) -> None:
        asked = self.signals.so_far()
        while self._heeded < len(asked):
            self._heeded += 1
            if self._heeded == 1:
                self._end.stopped_by = asked[0]
                self._asked_at = now
                self.process.send_signal(signal.SIGUSR1)
                self.on_event({**STOPPING, "text": STOP_TEXT})
            elif self._heeded == 2:
                self._asked_at = None
                self._terminate(now)
            else:
                self._kills_at = now

    def _terminate(self, now: float) -> None:
        """Ask the launcher to end its ranks; what is left after that is killed."""
        for pid in programs.family(self.environment):
            self._files |= programs.shared_files(pid)
        self.process.terminate()
        self._kills_at = now + programs.POLITE

    def _tell(self, text: str) -> None:
        with suppress(OSError):
            self.log(text)
        self.on_event({"event": "note", "text": text})


class _Lines:
    """Whole lines from the pieces that a pipe gives."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def add(self, piece: bytes) -> list[str]:
        """The lines that end in ``piece``; an empty one is the pipe's end, and a line's that was begun."""
        self._rest += piece
        if piece and b"\n" not in piece and len(self._rest) < LONGEST:
            return []
        *whole, rest = self._rest.split(b"\n")
        if rest and (not piece or len(rest) >= LONGEST):
            whole.append(rest)
            rest = bytearray()
        self._rest = rest
        return [line.decode(errors="replace").rstrip("\r") for line in whole]


def _end_with_the_driver() -> None:
    """In the launcher, before it starts: ask Linux to stop it when the driver dies, even by SIGKILL."""
    ctypes.CDLL(None).prctl(rank.SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def parse_event(line: str) -> Event | None:
    """The event that a line of standard output is; None for any other line."""
    if not line.startswith('{"event"'):
        return None
    try:
        return dict(json.loads(line))
    except ValueError:
        return None
