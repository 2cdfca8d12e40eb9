"""How a job ended: what stopped it, why, and the one error that its user reads.

Ranks report as events their errors, and where they hang. A launcher prints many lines about a rank that broke,
one of which names the cause. ``JobEnd`` holds all of it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from admmctl.errors import Interrupted, RunFailed, UserError

Event = dict[str, Any]  # what a rank tells: its kind under "event", and what belongs to it
HEAD = TAIL = 50  # lines of a job's output that are kept: a cause stands first or last


@dataclass
class JobEnd:
    """How a job ended: its exit code, the errors its ranks reported, head and tail of what else was printed."""

    exit_code: int
    errors: list[Event] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    stopped_by: int | None = None  # the signal that the user or the system sent to the driver
    stuck: list[Event] = field(default_factory=list)  # what ranks report of a job that hangs
    start: str | None = None  # why the driver has ended a start that came to nothing
    ranks: int = 0

    def raise_failure(self, finished: bool) -> None:
        """Raise the error that this end stands for: UserError, Interrupted or RunFailed.

        ``finished`` says that the job has left its result, the last thing that it does.
        """
        for error in self.errors:
            if error["user"]:
                raise UserError(error["message"])
        if finished and (self.exit_code == 0 or self.stopped_by is not None):
            return  # who stops a job that has left its result comes too late
        if self.stuck:
            raise RunFailed(hanging(self.stuck, self.ranks))
        if self.stopped_by is not None:
            raise Interrupted("stopped before the iteration ended")
        if self.start is not None:
            raise RunFailed(self.start)
        if self.errors:
            raise RunFailed(f"rank {self.errors[0]['rank']}: {self.errors[0]['message']}")
        silent = "a rank ended before the run did" if self.exit_code == 0 else "no message"
        raise RunFailed(f"the job ended with exit code {self.exit_code}: {last_line(self.printed) or silent}")


# --- what ranks report of themselves: see ``rank.watch`` and ``rank.answer``


def hanging(events: Sequence[Event], ranks: int) -> str:
    """Which ranks hang: those that do not wait for others, or else those that do not answer."""
    seconds = max(event["seconds"] for event in events)
    at = [f"rank {e['rank']} on {e['host']} hangs in {e['where']}" for e in events if not e["waiting"]]
    found = at or _silent(events, ranks) or ["all ranks wait for each other"]
    return f"{'; '.join(found)}: no progress for {seconds:g} s"


def not_stopping(events: Sequence[Event], ranks: int, seconds: float) -> str:
    """Why a job that was asked to stop so many seconds ago goes on."""
    at = [f"rank {e['rank']} on {e['host']} is at {e['where']}" for e in events if not e["waiting"]]
    found = [*_some(_silent(events, ranks)), *_some(at)] or ["all ranks wait for each other"]
    return f"not stopped after {seconds:g} s: {'; '.join(found)}"


def _silent(events: Sequence[Event], ranks: int) -> list[str]:
    heard = {event["rank"] for event in events}
    return [f"rank {rank} does not answer" for rank in range(ranks) if rank not in heard]


def _some(texts: list[str], most: int = 4) -> list[str]:
    return texts if len(texts) <= most else [*texts[:most], f"and {len(texts) - most} more like it"]


# --- what launchers print

REACHABLE = (
    "Every host of --hosts has to be reachable by ssh without a password, and this one from there; "
    "with several networks, name the interface in the launch block of the cluster's file"
)
SHARED_MEMORY = (
    "so it ends where /dev/shm, the memory that ranks share, is full: see df -h /dev/shm; give a container more: "
    "docker run --shm-size=1g"
)
# "[proxy:0@host1] launch_procs (pmip_cb.c:884): what happened"; lines of functions that pass the error on follow.
_HYDRA = re.compile(r"\[(?:proxy(?::\d+)+|mpiexec)@([^\]]+)\] \w+ \([^)]*\): (.+)")
# What follows from a cause, and lines of a program that ends because it was asked to.
_AFTERWARDS = re.compile(
    r"srun: (?:launch/slurm|Job step aborted|Force Terminated|error: Timed out waiting|warning:)"
    r"|slurmstepd: error: \*\*\* STEP \S+ ON \S+ CANCELLED AT \S+ \*\*\*"
)
_BANNER = re.compile(
    r"=   |(?:YOUR APPLICATION TERMINATED|This typically refers to a problem|Please see the FAQ page)"
)
# An error that a Python did not catch, or that kept it from starting.
_PYTHON = re.compile(
    r"(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt): .+|\S*python\S*: .*(?:No module named|can't open file).+"
    r"|.*error while loading shared libraries: .+)"
)
_UNREACHABLE = re.compile(
    r"ssh: |.*unable to connect (?:to|from)|Host key verification failed"
    r"|.*Permission denied \((?:public|pass|key|gss)|(?:kex|ssh)_exchange_identification: "
    r"|Connection (?:closed|reset) by \S+ port|Connection timed out during banner exchange"
)
_TASK = re.compile(r"srun: error: ([^:\s]+): tasks? ([\d,-]+): (.+)")
_SLURM = re.compile(r"srun: (?:error|fatal): |slurmstepd(?:-\w+)?: error: ")
_NOT_STARTED = re.compile(r"(?:(\S+): )?slurmstepd(?:-\w+)?: error: (execve\(\): .+|[Cc]ould ?n[o']t chdir .+)")
# What Open MPI's launcher prints of every end; a reason stands elsewhere.
_NO_REASON = ("Primary job", "non-zero status", "non-zero exit code", "non-zero exit status")


def last_line(printed: Sequence[str]) -> str | None:
    """The cause of a failure, else the last line with more than a ruler; None where there is none."""
    found = cause(printed)
    if found is not None:
        return found
    lines = (line.strip() for line in reversed(printed))
    return next((line for line in lines if line.strip(" =-\t") and not _BANNER.match(line)), None)


def cause(printed: Sequence[str]) -> str | None:
    """The sentence that names why a job broke, with the host where it is known; None where no line stands out."""
    lines = [line.strip() for line in printed if line.strip()]
    block = between_rules("\n".join(printed))
    reason = None if block is None or _says_no_reason(block) else block
    sure = (_not_started, _killed, _unreachable, _slurm, _mpich)
    finders: list[Callable[[list[str]], str | None]] = [*sure, lambda _: reason, _python, _exit, _hydra]
    return next((found for find in finders if (found := find(lines)) is not None), block)


def between_rules(text: str) -> str | None:
    """The first block between lines of dashes, as Open MPI's programs print them, that gives a reason.

    It is its first paragraph, and where that ends in a colon the next ones; names and values are added.
    """
    before, *blocks = re.split(r"^-{20,}\n?", text + "\n", flags=re.MULTILINE)
    found = [sentence for block in blocks if (sentence := _block(block)) is not None]
    reasons = [sentence for sentence in found if not _says_no_reason(sentence)]
    if reasons or found:
        return (reasons or found)[0]
    return _block(before) if blocks else None


def _says_no_reason(sentence: str) -> bool:
    return any(phrase in sentence for phrase in _NO_REASON)


def _block(block: str) -> str | None:
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", block) if part.strip()]
    if not paragraphs or not any(character.isalnum() for character in block):
        return None
    sentence = " ".join(paragraphs.pop(0).split())
    while sentence.endswith(":") and paragraphs:
        sentence = f"{sentence} {' '.join(paragraphs.pop(0).split())}"
    fields = [field for part in paragraphs for field in _fields(part)]
    return sentence + (f" ({', '.join(fields)})" if fields else "")


def _fields(paragraph: str) -> list[str]:
    """``Node:  host1`` and the like, where a paragraph is made of nothing else."""
    lines = [line.strip() for line in paragraph.strip().splitlines()]
    found = [re.fullmatch(r"([A-Z][\w -]{1,30}?)\s*:\s+(\S.*)", line) for line in lines]
    return [f"{field[1]}: {field[2]}" for field in found if field] if all(found) else []


def _first(pattern: re.Pattern[str], lines: Sequence[str]) -> re.Match[str] | None:
    return next((found for line in lines if (found := pattern.match(line))), None)


def _not_started(lines: list[str]) -> str | None:
    """A program or a folder that is not there, on the host that lacks it."""
    for line in lines:
        hydra = _HYDRA.match(line)
        if hydra is not None and ("execvp error" in hydra[2] or "change wdir" in hydra[2]):
            what = "this folder" if "wdir" in hydra[2] else "this program"
            return f"{hydra[2]}, on {hydra[1]}: every host has to have {what}"
        if (slurm := _NOT_STARTED.match(line)) is not None:
            task = _first(_TASK, lines)
            node = slurm[1] or (task[1] if task else "")
            return slurm[2] + (f", on {node}" if node else "")
        if re.search(r"(?:hydra_pmi_proxy|orted|prted): (?:.*No such file|.*not found)", line):
            return f"{line}\nThis Python's environment has to be at the same path on every host"
    return None


def _killed(lines: list[str]) -> str | None:
    """What Open MPI's launcher, srun or MPICH's says of a rank that was killed: how, which one, its host."""
    text = "\n".join(lines)
    by_prte = re.search(
        r"process rank (\d+) with PID (\d+) on\s+node (\S+)\s+exited\s+on\s+(signal [^.\n]+)", text
    )
    if by_prte is not None:
        return _rank_ended(by_prte[4], f"rank {by_prte[1]}, process {by_prte[2]} on {by_prte[3]}")
    if (killed := _exit([line for line in lines if "exit code" not in line])) is not None:
        return killed
    how = re.search(r"EXIT STRING: (.+)", text)
    where = re.search(r"PID (\d+) RUNNING AT (\S+)", text)
    place = f"process {where[1]} on {where[2]}" if where else ""
    return None if how is None else _rank_ended(how[1], place)


def _exit(lines: list[str]) -> str | None:
    """What srun says of a rank that ended."""
    found = _first(_TASK, lines)
    return None if found is None else _rank_ended(found[3], f"rank {found[2]} on {found[1]}")


def _rank_ended(how: str, where: str) -> str:
    sentence = ", ".join(filter(None, (f"a rank ended: {how.strip()}", where)))
    return f"{sentence}; {SHARED_MEMORY}" if "bus error" in how.lower() else sentence


def _unreachable(lines: list[str]) -> str | None:
    """What launchers say of a host that they cannot reach, or that cannot reach them."""
    found = _first(_UNREACHABLE, lines)
    return None if found is None else f"{found.string}\n{REACHABLE}"


def _slurm(lines: list[str]) -> str | None:
    """The first error of srun, or of Slurm on a node, that is not about how a rank ended."""
    found = _first(_SLURM, [line for line in lines if not (_TASK.match(line) or _AFTERWARDS.match(line))])
    return None if found is None else found.string


def _mpich(lines: list[str]) -> str | None:
    """A fatal error of the MPICH library: its heading, and the end of its stack, where the cause is."""
    for number, line in enumerate(lines):
        heading = re.search(r"(?:\(rank (\d+) in comm \d+\): )?(Fatal error in .+)", line)
        if heading is None:
            continue
        error, deepest = heading[2].removesuffix(", error stack:"), ""
        for below in lines[number + 1 :]:
            stacked = re.match(r"\w+\(\d*\)\.*: ?(.*)", below)
            if stacked is None:
                break
            deepest = f": {stacked[1]}"
        return error + deepest + (f", rank {heading[1]}" if heading[1] else "")
    return None


def _python(lines: list[str]) -> str | None:
    return next((line for line in reversed(lines) if _PYTHON.fullmatch(line)), None)


def _hydra(lines: list[str]) -> str | None:
    """The first complaint of MPICH's launcher; the others say that it was passed on."""
    found = _first(_HYDRA, lines)
    return None if found is None else f"{found[2]} ({found[1]})"
