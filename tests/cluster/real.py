"""What the tests on real clusters share: an experiment, processes of a job, curves without their times."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from support.processes import lives

import admmctl
from admmctl.runs.recorded import Recorded

ALL = os.environ.get("ADMMCTL_CLUSTER_TESTS", "all") != "short"  # or the few that continuous integration runs
TIMES = {"train_s", "wall_s"}
CODE = str(Path(admmctl.__file__).parents[1])


def experiment(name: str, iterations: int, **changes: Any) -> dict[str, Any]:
    """ADMM on a small Swiss roll, with many checkpoints."""
    return {
        "name": name,
        "data": {"name": "swissroll", "rows": 4003, "test": 0.25},
        "network": {"layers": [24, 16]},
        "loss": "squared",
        "methods": {"admm": {"warm_iterations": 5}},
        "stop": {"iterations": iterations},
        "evaluate": {"every": 3, "unit": "iteration"},
        "checkpoint": {"every": 3, "unit": "iteration"},
        **changes,
    }


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def admmctl_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "admmctl", *arguments]


def start(command: list[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": CODE, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(command: list[str], seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    """Run to the end; what it printed is in ``stdout``."""
    with start(command) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, printed)


def ok(command: list[str], seconds: float = 120) -> str:
    """Run what has to succeed; what it printed."""
    done = run(command, seconds)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def wait_for(what: Callable[[], Any], seconds: float, every: float = 0.02) -> Any:
    """The first true value of ``what()``, or its last one."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(every)
    return found


def curve(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in Recorded(folder).curve]


def only_run(results: Path, name: str) -> Path:
    (folder,) = (path for path in (results / name).iterdir() if not path.name.startswith("job-"))
    return folder


def newest_iteration(folder: Path) -> int:
    """Of the curve so far; -1 before its first line."""
    try:
        rows = curve(folder)
    except (OSError, ValueError, KeyError):
        return -1
    return int(rows[-1]["iteration"]) if rows else -1


class Hosts:
    """What ``hosts.sh`` brought up in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on(self, host: str, *command: str) -> list[str]:
        """A command that runs on ``head``, ``host1``, ``host2`` or ``host3``."""
        return [str(self.folder / "in"), host, *command]

    def admmctl(self, host: str, *arguments: str) -> list[str]:
        return self.on(host, *admmctl_command(*arguments))

    def link(self, number: int, state: str) -> None:
        """Plug the cable of a host out (down) or in (up)."""
        ok(["ip", "-n", "admmctl-head", "link", "set", f"to{number}", state])

    def received(self, number: int) -> int:
        """Bytes that have reached a host over its wire."""
        shown = ok(["ip", "-n", f"admmctl-host{number}", "-s", "-j", "link", "show", "eth0"])
        return int(json.loads(shown)[0]["stats64"]["rx"]["bytes"])


# --- processes


def ranks(folder: Path) -> dict[int, int]:
    """The ranks of the run in ``folder`` that live: their numbers and processes."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or not lives(int(process.name)):
            continue
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(folder) in arguments and b"mpi4py" in arguments[:4]:
            for variable in variables:
                name, _, value = variable.partition(b"=")
                if name == b"PMI_RANK":
                    found[int(value)] = int(process.name)
    return found


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(process.name))
    found, rest = {pid}, [pid]
    while rest:
        for child in parents.get(rest.pop(), []):
            found.add(child)
            rest.append(child)
    return found


def left_of(pids: set[int], folder: Path, seconds: float = 5) -> list[int]:
    """Those of a job's processes that do not end."""

    def still() -> list[int]:
        return sorted({pid for pid in pids if lives(pid)} | set(ranks(folder).values()))

    wait_for(lambda: not still(), seconds)
    return still()
