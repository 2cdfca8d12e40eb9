"""What launchers say of a job that broke: which of their many lines names the cause."""

import re
from collections.abc import Callable, Sequence

HEAD = TAIL = 50  # lines of a job's output that are kept: a cause stands first or last, what it led to in between
REACHABLE = (
    "Every host of --hosts has to be reachable by ssh without a password, and this one from there; "
    "with several networks, name the interface in the launch block of the cluster's file"
)
SHARED_MEMORY = (
    "so it ends where /dev/shm, the memory that ranks share, is full: see df -h /dev/shm; give a container more: "
    "docker run --shm-size=1g"
)
# "[proxy:0@host1] launch_procs (pmip_cb.c:884): what happened": the functions that only pass an error on follow.
_HYDRA = re.compile(r"\[(?:proxy(?::\d+)+|mpiexec)@([^\]]+)\] \w+ \([^)]*\): (.+)")
# Of a program that goes on failing after its cause, or of one that ends as it was asked to.
_AFTERWARDS = re.compile(
    r"srun: (?:launch/slurm|Job step aborted|Force Terminated|error: Timed out waiting|warning:)"
    r"|slurmstepd: error: \*\*\* STEP \S+ ON \S+ CANCELLED AT \S+ \*\*\*"
)
_BANNER = re.compile(
    r"=   |(?:YOUR APPLICATION TERMINATED|This typically refers to a problem|Please see the FAQ page)"
)
_PYTHON = re.compile(
    r"(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt): .+|\S*python\S*: .*(?:No module named|can't open file).+"
    r"|.*error while loading shared libraries: .+)"
)
# What Open MPI's launcher says of any end: the reason, if any, is in another place.
_NO_REASON = ("Primary job", "non-zero status", "non-zero exit code", "non-zero exit status")


def cause(said: Sequence[str]) -> str | None:
    """The sentence that names why a job broke, with the host where it is told; None where no line stands out."""
    lines = [line.strip() for line in said if line.strip()]
    told = between_rules("\n".join(said))
    if told is not None and any(words in told for words in _NO_REASON):
        told, weak = None, told
    else:
        weak = None
    looks: list[Callable[[list[str]], str | None]] = [_start, _signal, _unreachable, _slurm, _mpich]
    found = next((words for look in looks if (words := look(lines)) is not None), None)
    return found or told or _python(lines) or _exit(lines) or _hydra(lines) or weak


def last_words(said: Sequence[str]) -> str | None:
    """The cause, or else the last line that says something."""
    found = cause(said)
    if found is not None:
        return found
    lines = (line.strip() for line in reversed(said))
    return next((line for line in lines if line.strip(" =-\t") and not _BANNER.match(line)), None)


def between_rules(text: str) -> str | None:
    """What stands between lines of dashes, where Open MPI's programs have their say: of all blocks, the first that
    gives a reason. A first paragraph that ends in a colon goes on in the next; names and values come with it.
    """
    before, *blocks = re.split(r"^-{20,}\n?", text + "\n", flags=re.MULTILINE)
    found = [told for block in blocks if (told := _block(block)) is not None]
    reasons = [told for told in found if not any(words in told for words in _NO_REASON)]
    if reasons or found:
        return (reasons or found)[0]
    return _block(before) if blocks else None


def _block(block: str) -> str | None:
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", block) if part.strip()]
    if not paragraphs or not any(character.isalnum() for character in block):
        return None
    words = " ".join(paragraphs.pop(0).split())
    while words.endswith(":") and paragraphs:
        words = f"{words} {' '.join(paragraphs.pop(0).split())}"
    fields = [field for part in paragraphs for field in _fields(part)]
    return words + (f" ({', '.join(fields)})" if fields else "")


def _fields(paragraph: str) -> list[str]:
    """``Node:  host1`` and the like, where a paragraph is made of nothing else."""
    lines = [line.strip() for line in paragraph.strip().splitlines()]
    found = [re.fullmatch(r"([A-Z][\w -]{1,30}?)\s*:\s+(\S.*)", line) for line in lines]
    return [f"{field[1]}: {field[2]}" for field in found if field] if all(found) else []


def _start(lines: list[str]) -> str | None:
    """A program or a folder that is not there, on the host that lacks it."""
    for line in lines:
        hydra = _HYDRA.match(line)
        if hydra is not None and ("execvp error" in hydra[2] or "change wdir" in hydra[2]):
            what = "this folder" if "wdir" in hydra[2] else "this program"
            return f"{hydra[2]}, on {hydra[1]}: every host has to have {what}"
        slurm = re.match(
            r"(?:(\S+): )?slurmstepd(?:-\w+)?: error: (execve\(\): .+|[Cc]ould ?n[o']t chdir .+)", line
        )
        if slurm is not None:
            node = slurm[1] or next((found[1] for other in lines if (found := _TASK.match(other))), None)
            return slurm[2] + (f", on {node}" if node else "")
        if re.search(r"(?:hydra_pmi_proxy|orted|prted): (?:.*No such file|.*not found)", line):
            return f"{line}\nThis Python's environment has to be at the same path on every host"
    return None


_TASK = re.compile(r"srun: error: ([^:\s]+): tasks? ([\d,-]+): (.+)")


def _signal(lines: list[str]) -> str | None:
    """What Open MPI's launcher, srun or MPICH's says of a rank that was killed: how, which one, its host."""
    text = "\n".join(lines)
    by_prte = re.search(
        r"process rank (\d+) with PID (\d+) on\s+node (\S+)\s+exited\s+on\s+(signal [^.\n]+)", text
    )
    if by_prte is not None:
        return _ended(by_prte[4], f"rank {by_prte[1]}, process {by_prte[2]} on {by_prte[3]}")
    for line in lines:
        by_srun = _TASK.match(line)
        if by_srun is not None and "exit code" not in by_srun[3]:
            return _ended(by_srun[3].strip(), f"rank {by_srun[2]} on {by_srun[1]}")
    how = re.search(r"EXIT STRING: (.+)", text)
    if how is None:
        return None
    where = re.search(r"PID (\d+) RUNNING AT (\S+)", text)
    return _ended(how[1].strip(), f"process {where[1]} on {where[2]}" if where else "")


def _ended(how: str, where: str) -> str:
    words = ", ".join(part for part in (f"a rank ended: {how}", where) if part)
    return f"{words}; {SHARED_MEMORY}" if "bus error" in how.lower() else words


def _unreachable(lines: list[str]) -> str | None:
    """What launchers say of a host that they cannot reach, or that cannot reach them."""
    signs = re.compile(
        r"ssh: |.*unable to connect (?:to|from)|Host key verification failed"
        r"|.*Permission denied \((?:public|pass|key|gss)|(?:kex|ssh)_exchange_identification: "
        r"|Connection (?:closed|reset) by \S+ port|Connection timed out during banner exchange"
    )
    line = next((line for line in lines if signs.match(line)), None)
    return None if line is None else f"{line}\n{REACHABLE}"


def _slurm(lines: list[str]) -> str | None:
    """The first error of srun, or of Slurm on a node, that is not about how a rank ended."""
    error = re.compile(r"srun: (?:error|fatal): |slurmstepd(?:-\w+)?: error: ")
    errors = (line for line in lines if error.match(line) and not _TASK.match(line))
    return next((line for line in errors if not _AFTERWARDS.match(line)), None)


def _mpich(lines: list[str]) -> str | None:
    """A fatal error of the MPICH library: its heading, and the end of its stack, where the cause is."""
    for number, line in enumerate(lines):
        heading = re.search(r"(?:\(rank (\d+) in comm \d+\): )?(Fatal error in .+)", line)
        if heading is None:
            continue
        words = heading[2].removesuffix(", error stack:")
        for below in lines[number + 1 :]:
            stacked = re.match(r"\w+\(\d*\)\.*: ?(.*)", below)
            if stacked is None:
                break
            deepest = stacked[1]
            words = f"{heading[2].removesuffix(', error stack:')}: {deepest}"
        return words + (f", rank {heading[1]}" if heading[1] else "")
    return None


def _python(lines: list[str]) -> str | None:
    """The error of a Python, or of its start, that nobody caught."""
    return next((line for line in reversed(lines) if _PYTHON.fullmatch(line)), None)


def _exit(lines: list[str]) -> str | None:
    """What srun says of a rank that ended by itself."""
    found = next((found for line in lines if (found := _TASK.match(line))), None)
    return None if found is None else _ended(found[3].strip(), f"rank {found[2]} on {found[1]}")


def _hydra(lines: list[str]) -> str | None:
    """The first complaint of MPICH's launcher; the others say that it was passed on."""
    found = next((found for line in lines if (found := _HYDRA.match(line))), None)
    return None if found is None else f"{found[2]} ({found[1]})"
