"""What the doctor asks of this machine: short programs with time limits, and a few files."""

import importlib.util
import json
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from admmctl.errors import RunFailed
from admmctl.launch.inherited import without_leftovers
from admmctl.launch.programs import Answer, ask, environment, python

MPI = ["-m", "admmctl.launch.probe"]
REINSTALL = "pip install --force-reinstall mpich mpi4py"
SHM = Path("/dev/shm")
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
RANKS_SECONDS = 30.0  # a start takes about one; a slow network file system some more
LIBRARY_SECONDS = 90.0  # importing torch, cold
QUICK_SECONDS = 10.0

# Families by what their libraries and launchers call themselves. Intel's is made of MPICH and says so: first.
_FAMILIES = {
    "Intel MPI": ("intel",),
    "Open MPI": ("open mpi", "openrte", "open-mpi", "prrte"),
    "MPICH": ("mpich", "hydra", "mvapich", "cray"),
}
_LIBRARIES = {
    # Of a GPU its memory, and the speed of a product of matrices of float32.
    "torch": """
import time
def gpu(number, side=8192):
    square = torch.ones(side, side, device=f"cuda:{number}")
    for _ in range(2):
        torch.cuda.synchronize(number)
        started = time.perf_counter()
        square @ square
        torch.cuda.synchronize(number)
    rate = 2 * side**3 / (time.perf_counter() - started) / 1e12
    memory = torch.cuda.get_device_properties(number).total_memory / 1e9
    return f"{torch.cuda.get_device_name(number)} ({memory:.0f} GB, sgemm {rate:.1f} TFLOP/s)"
gpus = [gpu(number) for number in range(torch.cuda.device_count())]
answer = {"version": torch.__version__, "devices": ["cpu", *gpus], "gpu": bool(gpus)}
""",
    "jax": """
devices = jax.devices()
answer = {
    "version": jax.__version__,
    "devices": sorted({d.device_kind for d in devices}),
    "gpu": any(d.platform != "cpu" for d in devices),
}
""",
    # Used on processors alone.
    "lightgbm": 'answer = {"version": lightgbm.__version__, "devices": [], "gpu": None}',
    "sklearn": 'import sklearn.ensemble\nanswer = {"version": sklearn.__version__, "devices": [], "gpu": None}',
}
_PACKAGES = {"sklearn": "scikit-learn"}  # as pip calls them


def mpi(command: list[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What rank 0 of ``admmctl.launch.probe`` found; of several jobs of one rank, the first one's.

    Raises UserError and RunFailed where they cannot be started, break, or do not answer.
    """
    answer = ask(command, RANKS_SECONDS, environment)
    lines = [line for line in answer.out.splitlines() if line.startswith("{")]
    if answer.code or not lines:
        raise RunFailed(f"it ended with exit code {answer.code}: {answer.last_line()}; reinstall MPI: {REINSTALL}")
    return dict(json.loads(lines[0]))


def mpi_library() -> str:
    """The MPI library of this Python, as one rank without a launcher finds it."""
    return str(mpi(python("-m", "mpi4py", *MPI), without_leftovers(environment()))["library"])


def family(text: str) -> str | None:
    """The MPI family that a version text is of."""
    lower = text.lower()
    return next((name for name, marks in _FAMILIES.items() if any(mark in lower for mark in marks)), None)


def version(program: str) -> Answer:
    """What an mpiexec or srun says of itself."""
    return ask([program, "--version"], QUICK_SECONDS)


def cpu_quota() -> float | None:
    """The processors whose time a container may use; None without a limit."""
    try:
        quota, period = CPU_MAX.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None


def library(name: str) -> dict[str, Any] | None:
    """Version and devices of an optional library, which a process of its own loads; None where it is not here.

    ``gpu`` says whether one of them is a GPU, and is None where that does not matter.
    """
    if importlib.util.find_spec(name) is None:
        return None
    program = f"import json, {name}\n{_LIBRARIES[name]}\nprint('\\n' + json.dumps(answer))"
    answer = ask(python("-c", program), LIBRARY_SECONDS)
    if answer.code:
        raise RunFailed(
            f"it is installed but does not work: {answer.last_line()}; "
            f"reinstall it: pip install --force-reinstall {_PACKAGES.get(name, name)}"
        )
    return dict(json.loads(answer.out.splitlines()[-1]))


def gpus() -> list[str]:
    """The names of the NVIDIA GPUs that the driver sees."""
    return _of_gpus("name")


def driver() -> str:
    """The version of NVIDIA's driver, or ''."""
    return next(iter(_of_gpus("driver_version")), "")


@lru_cache(maxsize=2)
def _of_gpus(what: str) -> list[str]:
    """What nvidia-smi says of every GPU; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return []
    answer = ask(["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"], QUICK_SECONDS)
    return [] if answer.code else [line.strip() for line in answer.out.splitlines() if line.strip()]
