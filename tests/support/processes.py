"""Programs that stand in for others, and processes that a test starts and watches."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_SMALL_PEAKS = """
import sys
if any(argument.startswith(("admmctl", "mpi4py")) for argument in sys.orig_argv):
    from admmctl.runs import bench
    bench.GEMM_SIZE, bench._STREAM_BYTES = 256, 1 << 20
    if "admmctl.runs.bench" in sys.orig_argv:  # mpi4py would load it a second time, as a program
        import runpy
        runpy.run_module = lambda *_, **__: bench.main(*sys.argv[1:])
"""


_BEFORE_EACH = """
import sys

def put():
    import os, time
    from {module} import {owner}

    method = {owner}.{name}

    def changed(self, *arguments):
        {action}
        return method(self, *arguments)

    {owner}.{name} = changed

if "admmctl.runs.worker" in sys.orig_argv:
    put()
"""


def before_each(method: str, action: str) -> str:
    """Code for ``at_start``: ranks and trials run ``action`` before a call of ``module.Class.method``."""
    module, owner, name = method.rsplit(".", 2)
    return _BEFORE_EACH.format(module=module, owner=owner, name=name, action=action)


# A process is started for a second: what its imports leave behind need not be collected. SciPy loads all of NumPy,
# with a compiler of Fortran, which nobody calls.
_QUICK = """
import gc, sys, types
gc.set_threshold(100_000)
sys.modules["numpy.f2py.f2py2e"] = types.SimpleNamespace(main=None, run_main=None)
"""


def at_start(folder: Path, patch: pytest.MonkeyPatch, code: str = "") -> None:
    """Every Python that is started from now on runs ``code`` first."""
    (folder / "sitecustomize.py").write_text(_QUICK + code)
    others = os.environ.get("PYTHONPATH")  # where it is empty, the current folder would be one of them
    patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{others}" if others else str(folder))


def small_peaks(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """admmctl measures the machine by a small matrix product, and by a copy within the cache, in all processes."""
    patch.setattr("admmctl.runs.bench.GEMM_SIZE", 256)
    patch.setattr("admmctl.runs.bench._STREAM_BYTES", 1 << 20)
    at_start(folder, patch, _SMALL_PEAKS)


def program(path: Path, code: str) -> Path:
    """A program of Python code at ``path``: a stand-in for mpiexec, srun, sbatch and their like."""
    path.write_text(f"#!{sys.executable} -IS\n{code}\n")  # without site-packages it starts at once
    path.chmod(0o755)
    return path


def alive(marker: object) -> list[int]:
    """The processes, zombies apart, whose command line names ``marker``."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            arguments = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(marker).encode() in arguments and state != "Z":
            found.append(int(process.name))
    return found


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
