"""A Slurm of small programs on PATH that note how they were called, and of a file with the state of its jobs."""

import json
import os
import sys
from pathlib import Path

import pytest

from support.processes import program

# Values that a shell would take apart.
STRANGE = [
    "a b",
    "it's",
    'q"q',
    "; exit 3",
    "$(touch gone)",
    "`touch gone`",
    "x && y",
    "*",
    "-n",
    "\\",
    "%j",
    "#c",
]
_NOTE = """
import json, os, pathlib, platform, subprocess, sys, time
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as file:
    file.write(json.dumps([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
states = json.loads((here / "states").read_text())
"""
# A job starts at once where ACT says so, and has ended when sbatch returns.
_SBATCH = """
if (here / "refusal").exists():
    sys.exit((here / "refusal").read_text())
if (here / "busy").exists():
    left = json.loads((here / "busy").read_text())
    (here / "busy").write_text(json.dumps(left[1:]))
    if left:
        sys.exit(left[0])
number = str(100 + len(states))
states[number] = ["PENDING", "Priority", sys.argv[-1]]
saying = here / "saying"
say = json.loads(saying.read_text()) if saying.exists() else {"out": "NUMBER"}
print(say.get("out", "").replace("NUMBER", number))
print(say.get("err", "").replace("NUMBER", number), file=sys.stderr)
if (here / "act").exists():
    text = pathlib.Path(sys.argv[-1]).read_text()
    tasks = next(line.split("=")[1] for line in text.splitlines() if line.startswith("#SBATCH --ntasks="))
    job = {"SLURM_JOB_ID": number, "SLURM_NTASKS": tasks, "SLURMD_NODENAME": "n1",
           "SLURM_JOB_NODELIST": platform.node(), "SLURM_NODELIST": platform.node(), "SLURM_TASKS_PER_NODE": tasks}
    log = next(line.partition("=")[2] for line in text.splitlines() if "--output=" in line)
    done = subprocess.run(["bash", sys.argv[-1]], env={**os.environ, **job}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    (pathlib.Path(sys.argv[-1]).parent / "log.txt").write_bytes(done.stdout)
    states[number] = ["COMPLETED" if done.returncode == 0 else "FAILED", "None", sys.argv[-1]]
(here / "states").write_text(json.dumps(states))
sys.stdout.flush()
if say.get("hang"):
    time.sleep(60)
sys.exit(say.get("code", 0))
"""
_SRUN = """
if sys.argv[1] == "--mpi=list":
    print("MPI plugin types are...\\n\\tnone\\n\\tpmi2")
else:
    rest = [each for each in sys.argv[1:] if not each.startswith("--")]
    ranks = next(each.split("=")[1] for each in sys.argv if each.startswith("--ntasks="))
    mpiexec = str(pathlib.Path(sys.executable).parent / "mpiexec")
    os.execv(mpiexec, [mpiexec, "-n", ranks, *rest])
"""
_SQUEUE = """
if (here / "silences").exists():
    left = json.loads((here / "silences").read_text())
    (here / "silences").write_text(json.dumps(left[1:]))
    if left:
        sys.exit(left[0])
form = next(each for each in sys.argv if each.startswith("--format="))
for number, (word, reason, *script) in states.items():
    fields = {"%i": number, "%T": word, "%r": reason, "%o": "".join(script)}
    print("|".join(fields[field] for field in form.removeprefix("--format=").split("|")))
"""
_SCANCEL = """
states[sys.argv[-1]] = ["CANCELLED", "None"]
(here / "states").write_text(json.dumps(states))
"""


class FakeSlurm:
    """What was asked of it, and what it says of jobs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "states").write_text("{}")
        head = _NOTE.format(folder=str(folder))
        tools = {"sbatch": _SBATCH, "srun": _SRUN, "squeue": _SQUEUE, "scancel": _SCANCEL, "sacct": "sys.exit(1)"}
        for name, code in tools.items():
            program(folder / name, head + code)
        for name in [name for name in os.environ if name.startswith("SLURM")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin")

    def act(self) -> None:
        """From now on jobs run, at once."""
        (self.folder / "act").touch()

    def refuse(self, error: str) -> None:
        (self.folder / "refusal").write_text(error)

    def is_busy(self, *answers: str) -> None:
        """sbatch's next answers are these errors, and it takes no job."""
        (self.folder / "busy").write_text(json.dumps(answers))

    def sbatch_says(self, out: str = "", err: str = "", code: int = 0, hang: bool = False) -> None:
        """What sbatch says of a job that it accepts; NUMBER stands for the job's. ``hang``: it does not end."""
        (self.folder / "saying").write_text(json.dumps({"out": out, "err": err, "code": code, "hang": hang}))

    def fall_silent(self, *answers: str) -> None:
        """squeue's next answers are these errors."""
        (self.folder / "silences").write_text(json.dumps(answers))

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of every call of a program."""
        path = self.folder / "calls"
        found: list[list[str]] = [json.loads(line) for line in path.open()] if path.exists() else []
        return [arguments for called, *arguments in found if called == name]

    def say(self, **states: str) -> None:
        """What squeue says: ``j100="RUNNING"``; jobs that are not named it has forgotten."""
        content = {name.removeprefix("j"): [word, "None"] for name, word in states.items()}
        (self.folder / "states").write_text(json.dumps(content))
