"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run; look for new ones with: pytest --hypothesis-profile=explore
settings.register_profile("admmctl", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("admmctl")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results folder of the test's own; the datasets folder is as private."""
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("ADMMCTL_DATASETS", str(tmp_path / "datasets"))
    return tmp_path / "results"


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder with the official data files."""
    if "ADMMCTL_MIRROR" not in os.environ:
        pytest.skip("ADMMCTL_MIRROR is not set")
    return Path(os.environ["ADMMCTL_MIRROR"])
