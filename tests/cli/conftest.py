"""Fixtures of the tests of commands."""

import pytest
from matplotlib.figure import Figure
from support.shell import Shell
from support.slurm import FakeSlurm

from admmctl.launch import slurm as scheduler
from admmctl.runs import jobs, submit


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are files of a few letters."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"a figure"))


@pytest.fixture
def slurm(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A Slurm of small programs; nobody waits for it for long."""
    monkeypatch.setattr(jobs, "POLLS", (0.01, 0.02))
    monkeypatch.setattr(jobs, "DOUBTS", 2)
    monkeypatch.setattr(submit, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(scheduler, "SECONDS", 300.0)  # this sbatch returns when the job has ended
    return FakeSlurm(shell.folder / "bin", monkeypatch)
