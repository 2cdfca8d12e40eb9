"""Fixtures for all tests."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scipy.linalg  # noqa: F401  (its BLAS is another than NumPy's)
from hypothesis import settings
from support import processes
from support.sheet import Sheet
from support.shell import TINY, Shell
from threadpoolctl import threadpool_limits

import admmctl.kernels  # noqa: F401  (before ``quick_processes`` says how others load it)
from admmctl.launch.local import available_cores

# A job in the background may be started with these ignored, and our commands leave them so: then no test of an
# interruption could pass. What the tests start has them as a terminal gives them.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# Other tests run at the same time: one thread of BLAS each.
threadpool_limits(limits=1, user_api="blas")

# The same examples in every run; look for new ones with: pytest --hypothesis-profile=explore
settings.register_profile("admmctl", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("admmctl")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto`` is a worker for each core that we may use, in a container too."""
    return available_cores()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A worker gets whole files, and makes their fixtures once; all of tests/mpi is for one worker.

    The groups of ``--dist loadgroup`` would say the same, but xdist 3.8 loses them under pytest 9.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ranks" if nodeid.startswith("tests/mpi/") else super()._split_scope(nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of one worker come first: they take it more than half of the time."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/mpi/"))


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    """Figures that a test drew and looked at are closed after it."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results folder of the test's own; the datasets folder is as private."""
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("ADMMCTL_DATASETS", str(tmp_path / "datasets"))
    return tmp_path / "results"


@pytest.fixture
def experiment_files() -> dict[str, str]:
    """What the folder of ``shell`` holds, by name; test files with experiments of their own say so here."""
    return {"tiny.yaml": TINY}


@pytest.fixture
def shell(
    experiment_files: dict[str, str],
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """Runs ``admmctl`` in this process, in a folder with ``tiny.yaml`` or other ``experiment_files``."""
    for name, text in experiment_files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    """A small experiment file, to change and to read."""
    return Sheet(tmp_path)


@pytest.fixture
def small_peaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process and those it starts measure the machine by is small."""
    processes.small_peaks(tmp_path, monkeypatch)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as on a terminal of 80 columns; those of a pipe are as wide as it takes."""
    monkeypatch.setattr("admmctl.report.output.room", lambda narrowest: max(narrowest, 80))


@pytest.fixture(scope="session", autouse=True)
def quick_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests start does without numba, and starts in half the time; ranks that wait give their core away.

    Loops of this process are compiled.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_KERNELS", "numpy")
        patch.setenv("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
        processes.at_start(tmp_path_factory.mktemp("start"), patch)
        yield


@pytest.fixture
def with_numba() -> Iterator[None]:
    """What is started compiles its loops, as it does for users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ADMMCTL_KERNELS")
        yield


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder with the official data files."""
    if "ADMMCTL_MIRROR" not in os.environ:
        pytest.skip("ADMMCTL_MIRROR is not set")
    return Path(os.environ["ADMMCTL_MIRROR"])
