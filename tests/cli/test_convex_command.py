"""Convex ADMM from the command line: trained, recorded and asked; and what is refused."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.shell import Shell, real_shell

from admmctl.runs.recorded import Recorded

EXPERIMENT = {
    "name": "convex",
    "data": {"name": "swissroll", "rows": 400},
    "network": {"layers": [12]},
    "loss": "signed-squared",
    "methods": {"convex-admm": {"patterns": 8, "solver": "exact", "tolerance": 0}},
    "stop": {"iterations": 12},
}
SOLVERS = ["cholesky", "exact", "convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"]


@pytest.fixture
def experiment_files() -> dict[str, str]:
    return {"convex.yaml": yaml.safe_dump(EXPERIMENT)}


def curve(folder: str) -> list[dict[str, float]]:
    return Recorded(Path(folder)).curve


def trained(shell: Shell, *changes: str, arguments: tuple[object, ...] = ()) -> dict[str, Any]:
    """The summary of a run, with what ``--set`` changes."""
    sets = [argument for change in changes for argument in ("--set", change)]
    answer = shell("train", "convex.yaml", *sets, *arguments, "--json")
    assert answer.code == 0, answer.err
    (run,) = answer.json()["runs"]
    return run


def test_it_trains_and_says_how_far_it_came(shell: Shell):
    run = trained(shell)
    assert (run["method"], run["status"], run["iterations"]) == ("convex-admm", "exhausted", 12)
    assert json.loads((Path(run["folder"]) / "summary.json").read_text())["iterations"] == 12
    found = curve(run["folder"])
    assert [row["iteration"] for row in found] == list(range(13))
    conditions = {"primal_v", "primal_s", "stationarity", "group", "complementarity"}
    names = {"objective", "violation", "rho", "inner_iterations", "inner_residual", *conditions}
    names |= {"convex_train_accuracy", "convex_test_accuracy"}
    assert all(names <= set(row) for row in found)
    first, last = found[0], found[-1]
    # v = 0 says 0 of every row: all of the 300 labels are missed by 1.
    assert first["objective"] == pytest.approx(150)
    assert last["objective"] < 0.8 * first["objective"]
    assert last["stationarity"] < 0.1
    assert last["inner_residual"] < 1e-4
    assert 0.6 < last["convex_train_accuracy"] <= 1
    assert 0.6 < last["train_accuracy"] <= 1
    assert all(0 <= row["convex_test_accuracy"] <= 1 for row in found)
    # The loss is per row, and the misfit is all of the objective but for the norm.
    assert last["train_accuracy"] >= first["train_accuracy"]


@pytest.mark.parametrize("outputs", [1, 2])
def test_predictions_are_those_of_the_recovered_network(shell: Shell, tmp_path, outputs):
    run = trained(shell, f"network.outputs={outputs}")
    x = np.random.default_rng(0).normal(0, 8, (20, 3))
    np.save(tmp_path / "rows.npy", x)
    answer = shell("predict", run["folder"], "--input", tmp_path / "rows.npy", "--iterate", "final", "--json")
    assert answer.code == 0, answer.err
    answered = answer.json()
    with np.load(Path(run["folder"]) / "weights.npz", allow_pickle=False) as file:
        a = (x - file["input_shift"]) * file["input_factor"]
        W, b = file["final_W1"], file["final_b1"]
        assert W.shape == (2 * outputs * 8, 3)
        assert float(file["threshold"]) == 0
        outputs_ = np.maximum(a @ W.T + b, 0) @ file["final_W2"].T + file["final_b2"]
        assert not file["final_b2"].any()
        classes = file["classes"]
    np.testing.assert_allclose(answered["outputs"], outputs_, rtol=1e-3, atol=1e-4)
    chosen = (outputs_[:, 0] > 0).astype(int) if outputs == 1 else outputs_.argmax(axis=1)
    assert answered["labels"] == classes[chosen].tolist()
    assert len(set(answered["labels"])) == 2


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_trains(shell: Shell, solver):
    last = curve(trained(shell, f"methods.convex-admm.solver={solver}")["folder"])[-1]
    assert last["train_accuracy"] > 0.6
    assert last["rho"] == pytest.approx(0.1)


def test_auto_says_what_it_chose_and_why(shell: Shell):
    folder = Path(trained(shell, "methods.convex-admm.solver=auto")["folder"])
    notes = [line for line in (folder / "log.txt").read_text().splitlines() if "solver: " in line]
    assert len(notes) == 1
    assert "solver: cholesky, 0.0 GB (300 rows, 4 inputs, 8 patterns on 1 rank: the least work" in notes[0]
    answer = shell("train", "convex.yaml", "--set", "methods.convex-admm.solver=auto")
    assert "solver: cholesky, 0.0 GB (300 rows" in answer.err + answer.out


def test_fewer_patterns_than_asked_for_are_said(shell: Shell):
    folder = Path(trained(shell, "methods.convex-admm.patterns=400", "data.rows=8")["folder"])
    assert "patterns: 400 asked for, and only" in (folder / "log.txt").read_text()


def test_an_optimum_is_the_end(shell: Shell):
    run = trained(shell, "methods.convex-admm={patterns: 4, tolerance: 0.05}", "stop={iterations: 2000}")
    assert run["iterations"] < 2000
    assert "every condition holds to 0.05" in run["reason"]
    last = curve(run["folder"])[-1]
    assert max(last[name] for name in ("primal_v", "primal_s", "stationarity", "group", "complementarity")) <= 0.05


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        *(
            (f"methods.convex-admm.{change}", [f"methods.convex-admm.{change.partition('=')[0]}", *parts])
            for change, *parts in (
                ("solver=choleski", *SOLVERS),
                ("patterns=0",),
                ("patterns=1.5",),
                ("beta=-0.1",),
                ("beta=.nan",),
                ("rho=0",),
                ("gamma_a=0",),
                ("rank=many", "auto"),
                ("rank=0",),
                ("block=0",),
                ("line_search=none", "exact", "backtracking"),
                ("backend=cupy", "numpy", "torch", "jax"),
                ("device=cuda", "backend: numpy runs on"),
                ("dtype=float16", "float32", "float64"),
            )
        ),
        ("methods.convex-admm.solvers=exact", ["solvers", "solver"]),
        ("loss=squared", ["loss", "squared", "signed-squared"]),
        ("network.activation=tanh", ["tanh", "relu"]),
    ],
)
def test_what_makes_no_sense_is_refused(shell: Shell, results, change, parts):
    message = shell.refusal("train", "convex.yaml", "--set", change)
    assert all(part in message for part in parts)
    assert message.count("error: ") == len(message.splitlines()) == 1
    assert not list(results.glob("*"))


@pytest.mark.parametrize("solver", ["exact", "cholesky"])
def test_direct_solvers_refuse_several_cores(shell: Shell, results, solver):
    message = shell.refusal("train", "convex.yaml", "--cores", 2, "--set", f"methods.convex-admm.solver={solver}")
    assert f"solver: {solver} runs on one rank; use --cores 1, or solver: block-pcg" in message
    assert not list(results.glob("*"))


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_library_that_is_missing_is_named_with_its_cure(shell: Shell, library, monkeypatch):
    imported = importlib.import_module

    def missing(name, package=None):
        if name.split(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return imported(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    message = shell.refusal("train", "convex.yaml", "--set", f"methods.convex-admm.backend={library}")
    assert f"pip install 'admmctl[{library}]'" in message


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_run_may_compute_with_any_library(shell: Shell, library):
    pytest.importorskip(library)
    expected = curve(trained(shell)["folder"])[-1]
    # In a process of its own: both change what is global to one.
    choice = f"methods.convex-admm.backend={library}"
    process = real_shell("train", "convex.yaml", "--set", choice, "--set", "stop={iterations: 12}", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = curve(json.loads(out)["runs"][0]["folder"])[-1]
    assert found["objective"] == pytest.approx(expected["objective"], rel=1e-2)


@pytest.mark.mpi
@pytest.mark.parametrize("solver", ["block-pcg", "rbcd"])
def test_two_cores_make_the_curve_of_one(shell: Shell, solver):
    curves = []
    choice = f"methods.convex-admm.solver={solver}"
    for cores in (1, 2):
        run = trained(shell, choice, arguments=("--cores", cores, "--oversubscribe"))
        curves.append(curve(run["folder"]))
    for one, two in zip(*curves, strict=True):
        assert two["objective"] == pytest.approx(one["objective"], rel=1e-3)
        assert two["convex_test_accuracy"] == pytest.approx(one["convex_test_accuracy"], abs=0.02)
