"""The memory that a run announces, against what the system says it took: every method, where arrays are large."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from admmctl.methods.method import methods

SCRIPT = Path(__file__).parents[1] / "support" / "measured_memory.py"
IMAGES: dict[str, Any] = {"filters": [8], "pool": 4, "image": [1, 28, 28]}
ZEROS = {"network": {"convolution": {**IMAGES, "filters": [10, 4], "padding": "zeros"}}}
LIBRARIES = ("torch-sgd", "torch-adam", "torch-lbfgs", "trees")  # of hundreds of MB themselves, more or less

# name of a case: the method, rows, features, classes, hidden layers, and what else its block or data: says
Case = tuple[str, int, int, int, list[int], dict[str, Any]]
STEPS: dict[str, Any] = {"data": {"steps": 20}}
CASES: dict[str, Case] = {
    "nothing": ("sgd", 100, 4, 2, [4], {}),
    "admm, many features": ("admm", 200, 2200, 2, [20], {}),
    "admm, a wide layer": ("admm", 500, 20, 2, [1900], {}),
    "admm, many classes": ("admm", 30_000, 20, 300, [20], {}),
    "admm, two wide layers": ("admm", 300, 20, 2, [900, 900], {}),
    "admm, a low rank": ("admm", 300, 20, 2, [4000], {"w_update": "nystrom", "rank": 500}),
    "admm, a low rank of the inputs": ("admm", 300, 6000, 2, [20], {"w_update": "nystrom", "rank": 600}),
    "admm, filters": ("admm", 8000, 784, 2, [20], {"network": {"convolution": IMAGES}}),
    "admm, zeros around images": ("admm", 100, 784, 2, [20], ZEROS),
    "stochastic-admm": ("stochastic-admm", 500, 2000, 2, [20], {}),
    "admm-printed": ("admm-printed", 30_000, 20, 2, [200, 100], {"ridge": 1e-2}),
    "admm-printed, many features": ("admm-printed", 200, 2200, 2, [20], {"ridge": 1e-2}),
    "classical-admm": ("classical-admm", 200, 2200, 2, [20], {"warm_iterations": 0}),
    "classical-admm, rows": ("classical-admm", 30_000, 20, 2, [200, 100], {"warm_iterations": 0}),
    "graph-admm": ("graph-admm", 200, 2000, 2, [20], {}),
    "graph-admm, mini-batches": ("graph-admm", 400, 2100, 2, [20], {"batch": 200}),
    "graph-admm, new weights": ("graph-admm", 60_000, 20, 2, [200, 100], {"weights_above": "new"}),
    "graph-admm, zeros around images": ("graph-admm", 100, 784, 2, [20], ZEROS),
    "sgd": ("sgd", 200, 20, 2, [3000, 1500], {"momentum": 0.9}),
    "adam": ("adam", 200, 20, 2, [3000, 1200], {}),
    "foof": ("foof", 200, 20, 2, [3000, 1500], {}),
    "foof, many features": ("foof", 200, 2600, 2, [20], {}),
    "kfac": ("kfac", 200, 20, 2, [2000, 1500], {}),
    "muon": ("muon", 200, 20, 2, [2500, 1500], {}),
    "muon, many features": ("muon", 200, 6000, 2, [1000], {}),
    "gd": ("gd", 200, 20, 2, [3000, 1500], {}),
    "cg": ("cg", 200, 20, 2, [1000, 700], {}),
    "lbfgs": ("lbfgs", 60, 20, 2, [800, 600], {"memory": 4, "stop": {"iterations": 8}}),
    "convex-admm": ("convex-admm", 30_000, 100, 2, [8], {"patterns": 8}),
    "convex-admm, ten classes": ("convex-admm", 24_000, 30, 10, [8], {"solver": "block-pcg", "patterns": 25}),
    "convex-admm, rows on disk": (
        "convex-admm",
        110_000,
        100,
        2,
        [8],
        {"solver": "block-pcg", "patterns": 50, "inner_iterations": 1, "data": {"stream": True}},
    ),
    "linear, fewer features than rows": ("linear", 2800, 2000, 2, [], {}),
    "linear, more features than rows": ("linear", 2000, 5600, 2, [], {}),
    "linear, many features": ("linear", 60, 200_000, 2, [], {}),
    "linear, logistic": ("linear", 100, 100_000, 2, [], {"loss": "cross-entropy"}),
    "random-features": ("random-features", 500, 20, 2, [2200], {}),
    "sgd, recurrent": ("sgd", 400, 200, 2, [], {"network": {"recurrent": 1500}, "momentum": 0.9, **STEPS}),
    "graph-admm, recurrent": (
        "graph-admm",
        400,
        200,
        2,
        [],
        {"network": {"recurrent": 900}, "batch": 200, **STEPS},
    ),
    "admm, recurrent": ("admm", 5000, 200, 2, [], {"network": {"recurrent": 200}, **STEPS}),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, float]]:
    """Peak and estimate of every case, in MiB."""
    folder = tmp_path_factory.mktemp("memory")
    generator, experiments = np.random.default_rng(0), []
    for number, (method, rows, features, classes, layers, more) in enumerate(CASES.values()):
        x, y = (folder / f"{axis}{number}.npy" for axis in "xy")
        np.save(x, generator.standard_normal((rows, features), dtype=np.float32))
        np.save(y, np.arange(rows) % classes)
        more = dict(more)
        data = more.pop("data", {})
        loss = "signed-squared" if method == "convex-admm" else "squared"
        experiments.append(
            {
                "name": "memory",
                "data": {"name": "files", "x": str(x), "y": str(y), "scale": "none", **data},
                "network": {"layers": layers},
                "loss": loss,
                "methods": {method: more},
                "stop": {"iterations": 2},
            }
        )
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "ADMMCTL_RESULTS": str(folder / "results")}
    del environment["ADMMCTL_KERNELS"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        input=json.dumps(experiments),
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, map(tuple, json.loads(done.stdout)), strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is what Linux says")
@pytest.mark.parametrize("case", CASES)
def test_a_run_takes_what_it_announces(case: str, measured: dict[str, tuple[float, float]]) -> None:
    (peak, estimate), (program, counted) = measured[case], measured["nothing"]
    assert estimate > 0.9 * peak
    # Without the program, whose libraries are not the same everywhere.
    if case != "nothing":
        assert peak > program + 90
        assert 0.6 < (estimate - counted) / (peak - program) < 1.5


def test_every_method_is_measured() -> None:
    assert {method for method, *_ in CASES.values()} == {*methods} - set(LIBRARIES)
