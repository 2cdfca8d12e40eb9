"""Fixtures for all tests."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.shell import TINY, Shell

# A job in the background may be started with these ignored, and our commands leave them so: then no test of an
# interruption could pass. What the tests start has them as a terminal gives them.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# The same examples in every run; look for new ones with: pytest --hypothesis-profile=explore
settings.register_profile("admmctl", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("admmctl")


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
def shell(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Runs ``admmctl`` in this process, in a folder with ``tiny.yaml``."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as on a terminal of 80 columns; those of a pipe are as wide as it takes."""
    monkeypatch.setattr("admmctl.report.output.room", lambda narrowest: max(narrowest, 80))


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder with the official data files."""
    if "ADMMCTL_MIRROR" not in os.environ:
        pytest.skip("ADMMCTL_MIRROR is not set")
    return Path(os.environ["ADMMCTL_MIRROR"])
