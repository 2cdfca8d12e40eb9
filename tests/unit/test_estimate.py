"""About how long runs take: counted from operations, or as runs of the same settings took."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.shell import CONFIGS
from support.studies import write_run

from admmctl.experiment.config import Run, load
from admmctl.studies.estimate import FRACTION, START, STEP, Estimator, Guess, Job

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "data": {"name": "swissroll", "rows": 400},  # 300 to train
    "network": {"layers": [10]},
    "loss": "squared",
    "methods": {"gd": {}, "sgd": {"batch": 30}, "lbfgs": {}},
    "stop": {"iterations": 20},
    "evaluate": {"every": 4, "unit": "iteration"},
}
PEAK = 1e-3  # GFLOP/s: so slow that operations are all that counts
FORWARD = 2 * (10 * 4 + 11)  # of a row through 3-10-1, with biases
GRADIENT = 2 * FORWARD + 2 * 10  # and back: gradients by all weights, and the adjoint of the hidden layer


def run(method: str = "gd", **changes: Any) -> Run:
    return load({**EXPERIMENT, **changes}).runs[method]


def seconds(one: Run, ranks: int = 1, peak: float = PEAK) -> float:
    guess = Estimator(lambda: peak).guess(one, ranks)
    assert guess is not None
    assert not guess.recorded
    return guess.seconds


def counted(rows: float, iterations: int, evaluations: float) -> float:
    """Seconds of gradients of so many rows in all, and of evaluations, with their 400 rows each."""
    flop = GRADIENT * rows + FORWARD * 400 * evaluations
    return START + STEP * (iterations + evaluations) + flop / (FRACTION * PEAK * 1e9)


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    ("method", "stop", "rows", "iterations", "evaluations"),
    [
        ("gd", {"iterations": 20}, 20 * 300, 20, 6),
        ("gd", {"iterations": 40}, 40 * 300, 40, 11),
        ("gd", {"iterations": 40, "epochs": 20.0}, 20 * 300, 20, 6),
        ("sgd", {"iterations": 20}, 20 * 30, 20, 6),
        ("sgd", {"epochs": 4.0}, 4 * 300, 40, 11),
        ("lbfgs", {"iterations": 20}, 2 * 20 * 300, 20, 6),  # a line search takes two gradients
    ],
)
def test_seconds_are_counted_for_the_whole_budget(method, stop, rows, iterations, evaluations):
    expected = counted(rows, iterations, evaluations)
    assert seconds(run(method, stop=stop)) == pytest.approx(expected)


@pytest.mark.usefixtures("results")
def test_evaluations_are_counted_by_their_cadence():
    often, seldom = (seconds(run("sgd", evaluate={"every": n, "unit": "epoch"})) for n in (0.1, 2))
    assert often == pytest.approx(counted(20 * 30, 20, 21))
    assert seldom == pytest.approx(counted(20 * 30, 20, 2))


@pytest.mark.usefixtures("results")
def test_every_iteration_takes_some_time_however_fast_the_machine():
    assert seconds(run(), peak=math.inf) == pytest.approx(START + (20 + 6) * STEP)


@pytest.mark.usefixtures("results")
def test_ranks_share_the_rows_and_not_all_of_the_solves(monkeypatch):
    one = run(stop={"iterations": 100})
    assert seconds(one, 4, PEAK / 100) == pytest.approx(seconds(one, 1, PEAK / 100) / 4, rel=0.05)
    wide = load({**EXPERIMENT, "network": {"layers": [500]}, "methods": {"admm": {}}}).runs["admm"]
    assert seconds(wide, 1) / 4 < seconds(wide, 4) < seconds(wide, 1)


@pytest.mark.usefixtures("results")
def test_a_run_ends_when_its_seconds_are_over():
    assert seconds(run(stop={"seconds": 50.0}, evaluate={"every": 10**6})) == pytest.approx(50, rel=0.1)
    assert seconds(run(stop={"seconds": 1e6, "iterations": 20})) == pytest.approx(seconds(run()))


@pytest.mark.usefixtures("results")
def test_inner_steps_of_a_convex_solver_count():
    few, many = (
        load(CONFIGS / "cifar2-convex-small.yaml", [f"methods.convex-cg.inner_iterations={n}"]).runs["convex-cg"]
        for n in (10, 100)
    )
    assert seconds(many) / seconds(few) == pytest.approx(102 / 12, rel=0.1)


@pytest.mark.usefixtures("results")
def test_nothing_is_said_of_rows_that_nobody_knows(tmp_path):
    data = {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy")}
    estimator = Estimator(lambda: PEAK)
    assert estimator.guess(run(data=data), 1) is None
    total = estimator.total([Job(run(data=data), 1, done=False)])
    assert (total.runs, total.unknown, total.seconds) == (1, 1, 0)


# --- of recorded runs


def record(one: Run, results: Path, *, study: str = "", wall: float = 5.0, cores: int = 1, **changes: Any) -> Path:
    """A recorded run of 20 iterations that took so many seconds."""
    folder = results / one.experiment / study / f"{one.method}-p{cores}-s{one.seed}-{one.hash()}"
    summary = {"method": one.method, "rows_train": 300, "iterations": 20, "wall_s": wall, **changes}
    time = summary.pop("time", None)
    return write_run(folder, cores=cores, seed=one.seed, time=time, config=yaml.safe_load(one.yaml()), **summary)


def guess(one: Run, ranks: int = 1) -> Guess | None:
    return Estimator(lambda: PEAK).guess(one, ranks)


@pytest.mark.parametrize("study", ["", "scaling-gd-target-abc"])
def test_a_run_of_the_same_settings_and_another_seed_tells_the_seconds(results, study):
    record(run(seed=1), results, study=study, wall=5.0)
    record(run(seed=2), results, study=study, wall=7.0)
    assert guess(run()) == Guess(6.0, True)
    assert guess(run(stop={"iterations": 60})) == Guess(18.0, True)


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        (run(methods={"gd": {"learning_rate": 0.5}}), {}),
        (run(evaluate={"every": 1, "unit": "iteration"}), {}),
        (run(network={"layers": [11]}), {}),
        (run(), {"rows_train": 200}),  # a part of the data, once
        (run(), {"status": "failed"}),
        (run(), {"status": "diverged"}),
        (run(), {"cores": 2}),
        (run("sgd"), {}),
    ],
)
def test_other_runs_do_not(results, before, changes):
    record(before, results, **changes)
    found = guess(run())
    assert found is not None
    assert not found.recorded


def test_a_run_that_met_its_target_takes_as_long_whatever_its_budget(results):
    towards = {"target": 0.9, "iterations": 20}
    record(run(stop=towards, seed=1), results, wall=3.0, time=1.0, iterations=9)
    assert guess(run(stop={**towards, "iterations": 1000})) == Guess(3.0, True)
    assert guess(run(stop={"target": 0.95, "iterations": 18})) == Guess(6.0, True)


def test_undisturbed_runs_are_taken_where_there_are_some(results):
    record(run(seed=1), results, wall=50.0, disturbed=True)
    assert guess(run()) == Guess(50.0, True)
    record(run(seed=2), results, wall=5.0)
    assert guess(run()) == Guess(5.0, True)


def test_a_damaged_run_tells_nothing(results):
    (record(run(seed=1), results) / "config.yaml").write_text("{")
    found = guess(run())
    assert found is not None
    assert not found.recorded


# --- together


def test_what_is_recorded_costs_nothing_and_is_not_measured_for(results):
    record(run(seed=1), results, wall=5.0)

    def peak() -> float:
        raise AssertionError("nothing has to be counted")

    jobs = [Job(run(seed=1), 1, done=True), Job(run(), 1, done=False), Job(run(seed=2), 1, done=False)]
    total = Estimator(peak).total(jobs)
    assert (total.runs, total.seconds, total.counted, total.unknown) == (2, 10.0, 0, 0)
    assert Estimator(lambda: PEAK).total([*jobs, Job(run("sgd"), 1, done=False)]).counted == 1


def test_jobs_are_the_same_run_by_settings_seed_ranks_and_place():
    one = Job(run(), 1, done=False)
    assert one.identity == Job(run(), 1, done=True).identity
    others = [replace(one, ranks=2), replace(one, run=run(seed=1)), replace(one, place="study/gd-p1-s0")]
    assert len({one.identity, *(other.identity for other in others)}) == 4
