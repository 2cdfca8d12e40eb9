"""Ranks of a fresh installation: what they compile, they compile once, before they start."""

from pathlib import Path

import pytest

import admmctl
from admmctl import kernels

pytestmark = pytest.mark.mpi


@pytest.mark.usefixtures("with_numba")
@pytest.mark.skipif(not kernels.COMPILED, reason="numba is not here")
def test_ranks_compile_every_loop_once_and_for_all(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    experiment = {
        "name": "fresh",
        "data": {"name": "swissroll", "rows": 3001},
        "network": {"layers": [20, 7]},
        "loss": "squared",
        "methods": {"admm": {}},
        "stop": {"iterations": 3},
    }
    (summary,) = admmctl.train(experiment, cores=2, oversubscribe=True)
    assert summary["ranks"] == 2
    # One index for each loop, and one file of code: more would be of arrays laid out otherwise, met on the way.
    code = sorted(path.name.split("-")[0] for path in (tmp_path / "cache").rglob("*.nbc"))
    assert code == ["kernels.narrow_a_relu", "kernels.narrow_z_relu", "kernels.z_relu"]
