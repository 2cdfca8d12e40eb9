"""What a run saves of its weights, when it ends well and when it diverges between two evaluations."""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.experiments import swissroll

import admmctl
from admmctl.methods.method import Diverged
from admmctl.methods.taylor.algorithm import Admm
from admmctl.runs import clock, disturbed, worker
from admmctl.runs.recorded import Recorded

EXPERIMENT = swissroll("worker", evaluate={"every": 3})


def run(iterations: int = 6) -> tuple[dict, list[dict[str, float]], dict]:
    """Summary, curve and saved arrays."""
    (summary,) = admmctl.train(EXPERIMENT, overrides=[f"stop.iterations={iterations}"])
    folder = Path(summary["folder"])
    return summary, Recorded(folder).curve, dict(np.load(folder / "weights.npz"))


def test_saved_weights_are_those_of_the_iterations_they_name(results):
    _, curve, arrays = run()
    assert [row["iteration"] for row in curve] == [0, 3, 6]
    assert arrays["final_iteration"] == 6
    losses = [row["train_loss"] for row in curve]
    assert arrays["best_iteration"] == curve[int(np.argmin(losses))]["iteration"]


def test_a_run_that_diverges_between_evaluations_saves_the_last_evaluated_weights(results, monkeypatch):
    step = Admm.step

    def diverging(self, state):
        if state.iteration == 5:
            raise Diverged("a a' is not finite")
        return step(self, state)

    _, _, expected = run(3)
    monkeypatch.setattr(Admm, "step", diverging)
    summary, curve, arrays = run()
    assert (summary["status"], summary["iterations"]) == ("diverged", 5)
    assert [row["iteration"] for row in curve] == [0, 3]
    for name in ("final_W1", "final_b1", "final_W2", "final_b2"):
        np.testing.assert_array_equal(arrays[name], expected[name])
    assert arrays["final_iteration"] == 3


@pytest.mark.parametrize(("l2", "constant"), [(1e6, True), (0.1, False)])
def test_a_run_that_collapses_to_a_constant_output_says_so(l2, constant, results):
    graph = {"kind": "graph-admm", "batch": 100, "l2": l2, "loss": "cross-entropy"}
    experiment = swissroll("collapsed", methods={"graph": graph}, stop={"epochs": 4})
    (summary,) = admmctl.train(experiment)
    log = Path(summary["folder"], "log.txt").read_text()
    assert ("every test row is given the same class" in log) == constant
    assert summary["status"] == "exhausted"


def with_processor(monkeypatch, share, kind="process_time"):
    """A processor of which this process gets a part of the time."""
    clocks = {"perf_counter": time.perf_counter, kind: lambda: share * time.perf_counter()}
    for module in (clock, worker):
        monkeypatch.setattr(module, "time", SimpleNamespace(**clocks))


@pytest.mark.parametrize(
    ("share", "queued", "expected"),
    [(0.6, 1.0, True), (1.0, 1.0, False), (0.6, 0.0, None)],
    ids=["it waited for a core", "it ran", "it waited for something else"],
)
def test_the_summary_says_whether_other_work_took_the_cores(share, queued, expected, results, monkeypatch):
    with_processor(monkeypatch, share)
    monkeypatch.setattr(disturbed, "LEAST", 0.0)
    # Of every second this process waits for a core in such a part.
    monkeypatch.setattr(disturbed, "_queued", lambda: {"1": queued * time.perf_counter()})
    summary = run()[0]
    assert summary["cpu_share"] == pytest.approx(share, abs=0.05)  # a few reductions are among it
    assert summary["disturbed"] is expected
    assert summary["shared_cores"] is False
    found = Recorded(Path(summary["folder"]))
    assert found.disturbed is (expected is True)
    assert set(found.cpu) == set(found.phases) - {"rest", "wall"}


def test_of_several_threads_the_first_counts(results, monkeypatch):
    with_processor(monkeypatch, 0.7, kind="thread_time")
    monkeypatch.setattr(disturbed, "LEAST", 0.0)
    monkeypatch.setattr(worker.environment, "blas_threads", lambda: 2)
    assert run()[0]["cpu_share"] == pytest.approx(0.7, abs=0.05)


def test_where_ranks_share_cores_processor_time_is_kept_beside_the_time_that_passed(results, monkeypatch):
    monkeypatch.setattr(worker.environment, "ranks_share_cores", lambda comm: True)
    # A processor whose seconds are a thousand times as many.
    with_processor(monkeypatch, 1000)
    folder = Path(run()[0]["folder"])
    assert (Recorded(folder).shared_cores, Recorded(folder).row["disturbed"]) == (True, None)
    passed, ran = Recorded(folder).phases, Recorded(folder).cpu
    assert set(ran) == set(passed) - {"rest", "wall"}
    assert ran["load"]["max_s"] == pytest.approx(1000 * passed["load"]["max_s"], rel=0.1)
