"""Any number of ranks makes the same curve, of every kind of method and network, for uneven shares of the rows."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.experiments import swissroll

import admmctl
from admmctl.experiment.config import load
from admmctl.runs.record import RunFolder
from admmctl.runs.recorded import Recorded

pytestmark = pytest.mark.mpi

SCRIPT = Path(__file__).parents[1] / "support" / "train_on_ranks.py"
RANKS = (1, 2, 3)
TIMES = {"train_s", "wall_s"}
ADMM: dict[str, Any] = {"ridge": 1e-3, "warm_iterations": 5}
# Neither two nor three ranks share these training and test rows evenly.
ROLL = {"data": {"name": "swissroll", "rows": 4003, "test": 0.25}, "layers": (20, 10), "stop": {"iterations": 15}}
# The first method of an experiment is trained.
CASES: dict[str, dict[str, Any]] = {
    "admm": swissroll("ranks", **ROLL, methods={"admm": ADMM}),
    "admm, gaussian": swissroll("ranks", **ROLL, methods={"admm": {**ADMM, "init": "gaussian"}}),
    "classical-admm": swissroll("ranks", **ROLL, methods={"classical-admm": ADMM}),
    "admm-printed": swissroll("ranks", **ROLL, methods={"admm-printed": ADMM}),
    **{
        f"{method}, regularised": swissroll(
            "ranks",
            **ROLL,
            loss="cross-entropy",
            methods={
                method: {"batch": 700, "input_noise": 0.1, "label_smoothing": 0.1, "dropout": [0.2, 0.5], **own}
            },
            evaluate={"every": 1, "unit": "iteration"},
        )
        for method, own in (("adam", {}), ("graph-admm", {"quadratic": 0.25}))
    },
    "graph-admm, new weights": swissroll(
        "ranks",
        **ROLL,
        loss="cross-entropy",
        methods={"graph-admm": {"batch": 700, "quadratic": 0.25, "weights_above": "new", "rho": 0.5, "beta": 0.5}},
        evaluate={"every": 1, "unit": "iteration"},
    ),
    **{
        method: {
            "name": "ranks",
            "data": {"name": "swissroll", "rows": 1337, "train": 1003},
            "network": {"layers": [12, 6], "activation": "tanh"},
            "loss": "cross-entropy",
            "methods": {method: settings},
            "stop": {"iterations": iterations},
            "evaluate": {"every": 2, "unit": "iteration"},
        }
        for method, iterations, settings in (
            ("sgd", 32, {"learning_rate": 0.1, "momentum": 0.9, "batch": 64, "weight_decay": 1e-3}),
            ("adam", 32, {"learning_rate": 0.01, "batch": 100}),
            ("foof", 32, {"learning_rate": 0.02, "batch": 100}),
            ("kfac", 32, {"learning_rate": 0.02, "batch": 100, "gram_every": 3}),
            ("muon", 32, {"batch": 100}),
            ("gd", 32, {"learning_rate": 0.5}),
            # Line searches amplify rounding, most of all near the optimum: these end before it shows.
            ("cg", 12, {}),
            ("lbfgs", 20, {}),
            ("linear", 4, {}),
        )
    },
    "quantiles": {
        "name": "ranks",
        "data": {"name": "swissroll", "rows": 1337, "train": 1003, "scale": "quantile"},
        "network": {"layers": [12, 6], "activation": "tanh"},
        "loss": "cross-entropy",
        "methods": {"adam": {"learning_rate": 0.01, "batch": 100}},
        "stop": {"iterations": 12},
        "evaluate": {"every": 2, "unit": "iteration"},
    },
    **{
        f"{method}, convolution, {size}": {
            "name": "ranks",
            "data": {"name": "files", "x": "x.npy", "y": "y.npy", "test": 80 / 401},
            "network": {
                "convolution": {"filters": [3, 2], "size": size, "pool": 2, "image": [2, 6, 4]},
                "layers": [5],
            },
            "loss": "squared",
            "methods": {method: settings},
            "stop": {"iterations": 10},
        }
        for method, settings in (("admm", {"warm_iterations": 5}), ("graph-admm", {}), ("gd", {}))
        for size in (3, "full")
    },
}
ROWS = {"convolution": (321, 80), "tanh": (1003, 334), "relu": (3002, 1001)}  # to train and to test


def write_images(folder: Path) -> None:
    """401 images of 2 x 6 x 4 and their classes."""
    y = np.arange(401) % 3
    x = 0.5 * np.random.default_rng(0).standard_normal((401, 2, 6, 4)).astype(np.float32)
    for row, label in zip(x, y, strict=True):
        row[0, 2 * label : 2 * label + 2] += 1
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the folders CASE-RANKS of all runs: one job for each number of ranks."""
    place = tmp_path_factory.mktemp("ranks")
    write_images(place)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        documents = {name: load(case).select(None)[0].yaml() for name, case in CASES.items()}
        for ranks in RANKS:
            folders = [
                RunFolder.create_at(place / f"{name}-{ranks}", text).path for name, text in documents.items()
            ]
            job = [Path(sys.executable).parent / "mpiexec", "-n", ranks, sys.executable, "-m", "mpi4py"]
            command = [str(part) for part in (*job, SCRIPT, ranks, *folders)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_ranks_makes_the_same_curve(case: str, trained: Path) -> None:
    network = CASES[case]["network"]
    train, test = ROWS["convolution" if "convolution" in network else network.get("activation", "relu")]
    one, *others = runs = [Recorded(trained / f"{case}-{ranks}") for ranks in RANKS]
    for ranks, run in zip(RANKS, runs, strict=True):
        assert (run.summary.ranks, run.summary.rows_train, run.summary.rows_test) == (ranks, train, test)
        assert run.summary.status == one.summary.status
        for row in run.phases.values():
            assert row["max_s"] >= row["mean_s"] * (1 - 1e-6) >= row["min_s"] * (1 - 2e-6)
    assert one.curve[-1]["train_loss"] < one.curve[0]["train_loss"]
    if "evaluate" not in CASES[case]:
        assert len(one.curve) == CASES[case]["stop"]["iterations"] + 1
    for other in others:
        for row, expected in zip(other.curve, one.curve, strict=True):
            assert (row["iteration"], row["epoch"]) == (expected["iteration"], expected["epoch"])
            # Rounding may tip a row that lies on the boundary.
            assert row["train_accuracy"] == pytest.approx(expected["train_accuracy"], abs=1.01 / train)
            assert row["test_accuracy"] == pytest.approx(expected["test_accuracy"], abs=1.01 / test)
            for name in {"train_loss", "objective", "residual_z"} & set(row):
                assert row[name] == pytest.approx(expected[name], rel=1e-3)
            assert ("test_auc" in row) == ("convolution" not in network)  # its images have three classes
            if "test_auc" in row:
                assert row["test_auc"] == pytest.approx(expected["test_auc"], abs=1e-3)


def test_the_same_ranks_and_seed_give_the_same_bits(trained: Path, results: Path) -> None:
    def recorded(folder: Path) -> tuple[Any, dict[str, Any]]:
        with (folder / "curve.csv").open() as file:
            curve = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
        return curve, dict(np.load(folder / "weights.npz"))

    (summary,) = admmctl.train(CASES["admm"], cores=2, oversubscribe=True)
    (curve, weights), (other_curve, other) = recorded(trained / "admm-2"), recorded(Path(summary["folder"]))
    assert curve == other_curve
    assert weights.keys() == other.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(array, other[name])
