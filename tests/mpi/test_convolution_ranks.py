"""Convolutional networks on several ranks: the same curve as on one, the rows divided unevenly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import admmctl
from admmctl.runs.recorded import Recorded

pytestmark = pytest.mark.mpi


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """401 images of 2 x 6 x 4, 321 of them to train: two and three ranks have uneven parts of either."""
    generator = np.random.default_rng(0)
    y = np.arange(401) % 3
    x = 0.5 * generator.standard_normal((401, 2, 6, 4)).astype(np.float32)
    for row, label in zip(x, y, strict=True):
        row[0, 2 * label : 2 * label + 2] += 1
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    return {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "test": 80 / 401}


@pytest.mark.parametrize("method", ["admm", "gd"])
@pytest.mark.parametrize("size", [3, "full"])
def test_any_number_of_ranks_makes_the_same_curve(method, size, data, results):
    convolution = {"filters": [3, 2], "size": size, "pool": 2, "image": [2, 6, 4]}
    document = {
        "name": "ranks",
        "data": data,
        "network": {"convolution": convolution, "layers": [5]},
        "loss": "squared",
        "methods": {method: {"warm_iterations": 5} if method == "admm" else {}},
        "stop": {"iterations": 10},
    }
    curves = []
    for ranks in (1, 2, 3):
        (summary,) = admmctl.train(document, cores=ranks, oversubscribe=True)
        assert summary["ranks"] == ranks
        assert (summary["rows_train"], summary["rows_test"]) == (321, 80)
        curves.append(Recorded(Path(summary["folder"])).curve)
    one, *others = curves
    assert len(one) == 11
    for other in others:
        for row, expected in zip(other, one, strict=True):
            # Rounding may tip a row that lies on the boundary.
            assert row["train_accuracy"] == pytest.approx(expected["train_accuracy"], abs=1.01 / 321)
            assert row["test_accuracy"] == pytest.approx(expected["test_accuracy"], abs=1.01 / 80)
            for name in {"train_loss", "objective", "residual_z"} & set(row):
                assert row[name] == pytest.approx(expected[name], rel=1e-3)
