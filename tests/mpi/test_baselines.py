"""The gradient baselines on several ranks: the curve of one, for uneven shares of rows."""

from pathlib import Path

import pytest

import admmctl
from admmctl.runs.recorded import Recorded

pytestmark = pytest.mark.mpi

# Neither two nor three ranks share 1,003 training rows and 334 test rows evenly.
TRAIN, TEST = 1003, 334
EXPERIMENT = {
    "name": "baselines",
    "data": {"name": "swissroll", "rows": TRAIN + TEST, "train": TRAIN},
    "network": {"layers": [12, 6], "activation": "tanh"},
    "loss": "cross-entropy",
    "methods": {
        "sgd": {"learning_rate": 0.1, "momentum": 0.9, "batch": 64, "weight_decay": 1e-3},
        "adam": {"learning_rate": 0.01, "batch": 100},
        "gd": {"learning_rate": 0.5},
        # Line searches amplify rounding, most of all near the optimum: these end before it shows.
        "cg": {"stop": {"iterations": 12}},
        "lbfgs": {"stop": {"iterations": 20}},
        "linear": {"stop": {"iterations": 4}},
    },
    "stop": {"iterations": 32},
    "evaluate": {"every": 2, "unit": "iteration"},
}


@pytest.mark.parametrize("method", list(EXPERIMENT["methods"]))
def test_any_number_of_ranks_makes_the_same_curve(method, results):
    curves = []
    for ranks in (1, 2, 3):
        (summary,) = admmctl.train(EXPERIMENT, method=method, cores=ranks, oversubscribe=True)
        assert (summary["ranks"], summary["rows_train"], summary["rows_test"]) == (ranks, TRAIN, TEST)
        folder = Path(summary["folder"])
        curves.append((summary["status"], summary["reason"], Recorded(folder).curve))
        phases = (folder / "phases.csv").read_text().splitlines()[1:]
        for line in phases:
            largest, mean, smallest = map(float, line.split(",")[1:])
            assert largest >= mean * (1 - 1e-6) >= smallest * (1 - 2e-6)
    (status, _, one), *others = curves
    assert one[-1]["train_loss"] < one[0]["train_loss"]
    for other_status, _, other in others:
        assert other_status == status
        for row, expected in zip(other, one, strict=True):
            assert row["iteration"] == expected["iteration"]
            assert row["epoch"] == expected["epoch"]
            # Rounding may tip a row that lies on the boundary.
            assert row["train_accuracy"] == pytest.approx(expected["train_accuracy"], abs=1.01 / TRAIN)
            assert row["test_accuracy"] == pytest.approx(expected["test_accuracy"], abs=1.01 / TEST)
            assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
