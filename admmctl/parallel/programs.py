"""Short questions to other programs: an argument list, a time limit, and a clear error. Never a shell."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from admmctl.errors import UserError


class NoAnswer(UserError):
    """A program was asked, and nothing is known: it took too long, or could not reach whom it asks itself."""


@dataclass(frozen=True)
class Answer:
    """What a program said, and its exit code."""

    code: int
    out: str
    err: str

    def last_words(self) -> str:
        """The last line that says something, of its errors, else of what it printed; or what stands out."""
        if outstanding := between_rules(self.err):
            return outstanding
        lines = [line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip(" =\t")]
        return lines[-1] if lines else f"exit code {self.code}, no message"


def ask(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None, text: str = ""
) -> Answer:
    """Run a program to its end, with ``text`` as its input. What it started ends with it.

    Raises UserError when it is not there, and NoAnswer when it takes longer than ``seconds``.
    """
    try:
        process = subprocess.Popen(
            command,
            env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE,
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
    try:
        out, err = process.communicate(text, timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        raise NoAnswer(f"no answer within {seconds:g} seconds: {shlex.join(command)}") from None
    except BaseException:
        _end(process)
        raise
    return Answer(process.returncode, out, err)


def between_rules(text: str) -> str | None:
    """The first paragraph between lines of dashes: so Open MPI's programs mark what they have to say."""
    before, *blocks = re.split(r"^-{20,}\n?", text + "\n", flags=re.MULTILINE)
    for block in [*blocks, before] if blocks else []:
        paragraph = " ".join(block.strip().partition("\n\n")[0].split())
        if paragraph:
            return paragraph
    return None


def _end(process: "subprocess.Popen[str]") -> None:
    """End a program and all it started: politely, a launcher has ranks to end, then not."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=2)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
