"""``condition``: its condition numbers against the solvers' own preconditioners, and what it draws of them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.problems import problem
from support.shell import on_80_columns

from admmctl.errors import UserError
from admmctl.methods.convex.algorithm import ConvexAdmm
from admmctl.methods.convex.nystrom import coupled, sketch
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import explicit, from_vectors, to_vectors
from admmctl.report import condition as report
from admmctl.studies import condition as study

EXPERIMENT: dict[str, Any] = {
    "name": "rolled",
    "data": {"name": "swissroll", "rows": 160},
    "network": {"layers": [4], "bias": False},
    "loss": "signed-squared",
    "methods": {
        "admm": {"kind": "adam"},
        "first": {"kind": "convex-admm", "patterns": 5, "solver": "exact"},
        "second": {"kind": "convex-admm", "patterns": 3, "solver": "rbcd", "backend": "jax"},
    },
}


@pytest.fixture
def config(tmp_path: Path, results: Path) -> Path:
    path = tmp_path / "rolled.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


@pytest.mark.parametrize("solver", ["jacobi-pcg", "block-pcg", "nystrom-pcg"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_condition_numbers_are_those_of_the_solvers_preconditioners(solver, outputs):
    settings = ConvexAdmmSettings(patterns=4, solver=solver, rank=6, dtype="float64", rho=0.3)
    state = ConvexAdmm(settings).init(problem([8 * outputs], outputs=outputs, loss="signed-squared", seed=3))
    system, A = state.system, explicit(state.system)
    side = len(A)
    # M^-1 as the solver applies it, a column for every unknown of the first output.
    vectors = np.zeros((side, side * outputs))
    vectors[:, ::outputs] = np.eye(side)
    inverse = np.column_stack(
        [
            to_vectors(system, state.solver.precondition(from_vectors(system, part)))[:, 0]
            for part in np.split(vectors, side, axis=1)
        ]
    )
    expected = np.sort(np.linalg.eigvals(inverse @ A).real)
    half = {
        "jacobi-pcg": lambda: study.jacobi(system),
        "block-pcg": lambda: study.block(system),
        "nystrom-pcg": lambda: study.nystrom(sketch(coupled(system), 6, state.problem.seed)),
    }[solver]()
    point = study.preconditioned(solver, None, A, half)
    # A preconditioner counts up to a factor.
    assert point.condition == pytest.approx(expected[-1] / expected[0], rel=1e-6)
    eigenvalues = np.linalg.eigvalsh(A)
    assert study.preconditioned("none", None, A).condition == pytest.approx(eigenvalues[-1] / eigenvalues[0])


def test_points_of_an_experiment(config):
    notes: list[str] = []
    result = study.condition(config, "20,10", say=notes.append)
    assert (result.method, result.patterns, result.inputs, result.side) == ("first", 5, 3, 30)
    assert [(p.preconditioner, p.rank) for p in result.points] == [
        ("none", None),
        ("jacobi", None),
        ("block", None),
        ("nystrom", 10),
        ("nystrom", 20),
    ]
    for point in result.points:
        assert 1 <= point.condition == point.largest / point.smallest
    none, _, _, ten, twenty = (point.condition for point in result.points)
    assert twenty < ten < none
    assert notes[-1] == "rank 20"
    assert [p.rank for p in study.condition(config).points[3:]] == [10, 20]  # those that A has room for
    assert study.condition(config, method="second").side == 18  # whatever its backend is


def test_a_sketch_of_full_rank_leaves_nothing_to_do(config):
    last = study.condition(config, "30").points[-1]
    assert last.condition == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("ranks", ["", "0", "-1", "10,", "ten", "1.5", "1 2"])
def test_ranks_that_are_none_are_refused(config, ranks):
    with pytest.raises(UserError, match="expected whole numbers above 0"):
        study.condition(config, ranks)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ranks": "10,31"}, "--ranks 31: expected 30 at most"),
        ({"method": "admm"}, "--method admm: expected a method of kind convex-admm, this one is of kind adam"),
        ({"method": "all"}, "--method all"),
        ({"overrides": ["methods={adam: {}}"]}, "rolled has no method of kind convex-admm"),
        ({"overrides": ["methods.first.patterns=1001"]}, "2 d P = 6,006, of 3 inputs and 1,001 patterns"),
    ],
)
def test_what_has_no_such_figure_is_refused(config, options, text):
    with pytest.raises(UserError) as refused:
        study.condition(config, **options)
    assert text in str(refused.value)


def made() -> study.Conditions:
    numbers = [("none", None, 4e4), ("jacobi", None, 5e4), ("block", None, 80.0), ("nystrom", 10, 4e2)]
    points = [study.Preconditioned(name, rank, number, number, 1.0) for name, rank, number in numbers]
    shape = {"rows": 1000, "inputs": 100, "patterns": 10, "side": 2000}
    return study.Conditions("made", "exact", **shape, rho=0.1, seed=0, points=points)


def test_the_figure_lies_with_its_points_beside_the_runs(results):
    written = report.condition_plot(made())
    assert written == [results / "made" / f"condition.{suffix}" for suffix in ("png", "pdf", "csv")]
    assert [path.read_bytes()[:4] for path in written[:2]] == [b"\x89PNG", b"%PDF"]
    with written[2].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["", "", "", "10"]
    assert rows[3]["condition"] == "400.0"


@pytest.mark.parametrize("output", ["x", "x.png", "x.csv"])
def test_the_figure_lies_where_output_says(tmp_path, output):
    assert {path.name for path in report.condition_plot(made(), tmp_path / output)} == {"x.png", "x.pdf", "x.csv"}


def test_an_output_that_cannot_be_written_is_refused_beforehand(tmp_path):
    for output in (tmp_path, tmp_path / "nowhere" / "x"):
        with pytest.raises(UserError, match="--output"):
            report.check_output(output)
    report.check_output(None)


def test_the_figure_has_a_line_for_every_preconditioner():
    (axes,) = report.condition_figure(made()).axes
    found = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert found["without preconditioner"] == [4e4, 4e4]
    assert found["Jacobi"] == [5e4, 5e4]
    assert found["Nystrom, by rank"] == [4e2]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_title("left") == "made: 1,000 rows, 100 inputs, 10 patterns"


def test_the_table_fits_a_terminal_and_says_what_is_gained():
    text = on_80_columns(report.condition_table(made(), "The paper: a factor of 100."))
    (line,) = (line.split() for line in text.splitlines() if line.startswith("nystrom"))
    assert line == ["nystrom", "10", "400", "100", "x", "1", "400"]
    assert "The paper" in text
