"""Other programs, asked short questions: a list of arguments, a time limit and a clear error. Never a shell.

What a program has started ends with it, also in other sessions: launchers put srun, ssh and ranks into their own.
"""

import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admmctl.errors import UserError
from admmctl.launch.ended import last_line

# Seconds that the main thread waits at the most: where another thread gets a signal, it ends no wait of this one.
TICK = 0.25
POLITE = 2.0  # seconds that a program has to end by itself, once asked: a launcher has ranks to end
MARK = "ADMMCTL_STARTED_BY"  # in the environment of all that a launcher starts: it ends with the launcher


def python(*arguments: str) -> list[str]:
    """This Python, with ``arguments``. It imports nothing from the current folder, where there may be anything."""
    return [sys.executable, "-P", *arguments]


def environment() -> dict[str, str]:
    """The environment of this Python's children, in which they find this program.

    In a checkout that is not installed, ``python -m admmctl`` or a notebook finds it in the current folder, where
    they do not look: then PYTHONPATH names it.
    """
    home = Path(__file__).parents[2]
    path = [part for part in (os.environ.get("PYTHONPATH"),) if part]
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() == home.resolve():
        path.append(str(home))
    return {**os.environ, **({"PYTHONPATH": os.pathsep.join(path)} if path else {})}


class NoAnswer(UserError):
    """A program was asked, and nothing is known: it took too long, or could not reach whom it asks itself."""


@dataclass(frozen=True)
class Answer:
    """What a program printed, and its exit code."""

    code: int
    out: str
    err: str

    def last_line(self) -> str:
        """The cause of its failure, else the last line of its errors, or output, that says something."""
        lines = (self.out + "\n" + self.err).splitlines()
        return last_line(lines) or f"exit code {self.code}, no message"


def ask(command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> Answer:
    """Run a program to its end, without input. What it started ends with it.

    With an ``environment`` it is a launcher, and all that it starts is marked. Raises UserError when it is not
    there, and NoAnswer when it takes longer than ``seconds``.
    """
    environment = None if environment is None else marked(environment)
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that all of it can be ended
        )
    except FileNotFoundError:
        raise UserError(f"{command[0]}: there is no such program on this machine") from None
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started: {error.strerror}") from None
    with process:
        try:
            out, err = _communicate(process, seconds)
        except subprocess.TimeoutExpired as silence:
            end(process, environment)
            printed = _text(silence.output) + "\n" + _text(silence.stderr)
            line = last_line(printed.splitlines())
            raise NoAnswer(
                f"no answer within {seconds:g} seconds: {shlex.join(command)}" + (f": {line}" if line else "")
            ) from None
        except BaseException:
            end(process, environment)
            raise
    return Answer(process.returncode, out, err)


def _communicate(process: "subprocess.Popen[str]", seconds: float) -> tuple[str, str]:
    """What a program prints until its end. Raises TimeoutExpired, with what there is so far."""
    until = time.monotonic() + seconds
    while True:
        try:
            return process.communicate(timeout=max(0.0, min(TICK, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def end(process: "subprocess.Popen[Any]", environment: Mapping[str, str] | None) -> None:
    """End a program and all it started: politely, then not."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=POLITE)
    kill(process.pid, environment)
    process.wait()


def marked(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a launcher whose family can be found again."""
    return {**environment, MARK: secrets.token_hex(8)}


def kill(group: int, environment: Mapping[str, str] | None = None) -> None:
    """Kill what is left of a program: its process group, and all that has the mark of its ``environment``."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    if environment is None:
        return
    until = time.monotonic() + POLITE
    while (left := family(environment)) and time.monotonic() < until:  # they may have started others meanwhile
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def family(environment: Mapping[str, str]) -> set[int]:
    """The processes of this machine with the mark of ``environment``; none where there is no /proc."""
    mark = os.fsencode(f"{MARK}={environment[MARK]}")
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.add(int(process.name))
    return found


def shared_files(process: int | str) -> set[Path]:
    """The files of MPICH in /dev/shm that a process has mapped; none where there is no /proc."""
    try:
        maps = Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return set()
    # address, permissions, offset, device, inode and, of a file that still has one, its name
    return {
        Path(line.split(maxsplit=5)[5])
        for line in maps.splitlines()
        if "/dev/shm/mpich_shm_" in line and not line.endswith("(deleted)")
    }
