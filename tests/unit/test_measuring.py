"""The measuring rules of the design, on whole runs: what the loop, the clock and the statistics leave open."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.experiments import swissroll
from support.problems import problem
from support.ranks import CountingComm

import admmctl
from admmctl.data import shards
from admmctl.experiment.config import load
from admmctl.methods.method import methods
from admmctl.model.gradient import Gradient
from admmctl.report import figures
from admmctl.runs import loop as loop_module
from admmctl.runs.clock import OUTSIDE
from admmctl.runs.events import Watcher
from admmctl.runs.record import RunFolder
from admmctl.runs.recorded import Recorded
from admmctl.studies.space import settings_of_trials

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
METHODS: dict[str, dict[str, Any]] = {
    "sgd": {"batch": 32, "momentum": 0.9},
    "adam": {"batch": 32},
    "gd": {},
    "cg": {},
    "lbfgs": {},
    "linear": {},
    "admm": {},
}


def experiment(**changes: Any) -> dict[str, Any]:
    return swissroll("measured", **{"methods": METHODS, "stop": {"iterations": 12}, **changes})


def phases_of(folder: str | Path) -> dict[str, float]:
    """The largest seconds over ranks of every phase, as recorded."""
    lines = (Path(folder) / "phases.csv").read_text().splitlines()[1:]
    return {name: float(largest) for name, largest, _, _ in (line.split(",") for line in lines)}


# -- rule 1: two clocks, and everything adds up


class Seconds:
    """A time that stands still, but for what is said to take some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.calls: dict[str, int] = {}
        self._patch = monkeypatch
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def takes(self, owner: Any, name: str, seconds: float) -> None:
        """From now on, every call of ``owner.name`` takes so long."""
        function = getattr(owner, name)

        def slow(*arguments: Any, **options: Any) -> Any:
            self.now += seconds
            self.calls[name] = self.calls.get(name, 0) + 1
            return function(*arguments, **options)

        self._patch.setattr(owner, name, slow)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    return Seconds(monkeypatch)


@pytest.mark.parametrize("method", ["sgd", "adam", "gd", "cg", "lbfgs"])
@pytest.mark.parametrize("validation", [None, 0.2])
def test_every_second_of_a_gradient_method_is_counted_once_and_where_it_belongs(
    method, validation, seconds, results
):
    # The solvers of cg and lbfgs compute their gradients in a thread of their own.
    seconds.takes(shards, "load", 1000.0)
    seconds.takes(Gradient, "add", 5.0)
    seconds.takes(loop_module, "score", 100.0)
    seconds.takes(RunFolder, "append", 7.0)
    seconds.takes(RunFolder, "write_weights", 10.0)
    data = {"name": "swissroll", "rows": 400, **({} if validation is None else {"validation": validation})}
    (summary,) = admmctl.train(experiment(data=data), method=method)
    phases = phases_of(summary["folder"])
    # An evaluation scores the training rows and the test rows.
    gradients, evaluations = seconds.calls["add"], seconds.calls["score"] / 2
    assert gradients >= 12
    assert evaluations == len(Recorded(Path(summary["folder"])).curve)
    assert phases["load"] == 1000.0
    assert phases["gradient"] == 5.0 * gradients
    assert phases["evaluate"] == 207.0 * evaluations
    assert summary["train_s"] == 5.0 * gradients
    assert phases["rest"] == 0.0  # when phases.csv is written the weights are not yet
    assert phases["wall"] == 1000.0 + 5.0 * gradients + 207.0 * evaluations
    assert sum(spent for name, spent in phases.items() if name != "wall") == phases["wall"]


@pytest.mark.parametrize("method", ["sgd", "lbfgs"])
def test_the_clocks_of_the_curve_move_with_training_and_with_everything(method, seconds, results):
    seconds.takes(Gradient, "add", 5.0)
    seconds.takes(loop_module, "score", 100.0)
    every = {"every": 1, "unit": "iteration"}
    (summary,) = admmctl.train(experiment(evaluate=every), method=method)
    curve = Recorded(Path(summary["folder"])).curve
    assert curve[0]["train_s"] == 0.0
    for number, row in enumerate(curve):
        assert row["train_s"] % 5.0 == 0.0
        assert row["wall_s"] == row["train_s"] + 200.0 * (number + 1)
    steps = np.diff([row["train_s"] for row in curve])
    assert (steps > 0).all()


@pytest.mark.parametrize("method", list(METHODS))
def test_on_a_real_clock_the_phases_add_up_too(method, results):
    (summary,) = admmctl.train(experiment(), method=method)
    phases = phases_of(summary["folder"])
    wall, rest = phases.pop("wall"), phases["rest"]
    assert rest >= 0  # nothing was counted twice
    assert all(spent >= 0 for spent in phases.values())
    assert sum(phases.values()) == pytest.approx(wall, rel=1e-6)
    train = sum(spent for name, spent in phases.items() if name not in (*OUTSIDE, "rest"))
    assert train == pytest.approx(summary["train_s"], rel=1e-6)
    assert phases["evaluate"] > 0
    assert summary["load_s"] == pytest.approx(phases["load"], rel=1e-6)
    assert summary["train_s"] + phases["evaluate"] + phases["load"] <= summary["wall_s"]


def test_seconds_end_a_run_of_the_solvers_by_the_training_clock(seconds, results):
    seconds.takes(Gradient, "add", 5.0)
    seconds.takes(loop_module, "score", 1000.0)
    (summary,) = admmctl.train(experiment(stop={"seconds": 60.0}), method="lbfgs")
    assert summary["reason"] == "used up: 60 seconds of training"
    assert 60.0 <= summary["train_s"] <= 75.0  # an accepted step takes a gradient or a few


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is drawn, instead of its files."""
    found: list[Any] = []
    monkeypatch.setattr(figures.style, "save", lambda figure, path, made_up: found.append(figure) or [])
    return found


def text_of(figure: Any) -> str:
    """All the text on a figure."""
    from matplotlib.text import Text

    return " | ".join(text.get_text() for text in figure.findobj(Text))


def test_the_time_axis_names_its_clock(drawn, results):
    runs = admmctl.train(experiment(), method="sgd", repeat=2)
    figures.accuracy_plot([Recorded(Path(run["folder"])) for run in runs], None)
    (figure,) = drawn
    assert "train_s" in figure.axes[0].get_xlabel()


def test_a_figure_of_runs_that_stopped_on_test_accuracy_says_so(drawn, results):
    # The papers stop there, so some configs do; a reader must know that the test set was looked at.
    (run,) = admmctl.train(experiment(stop={"target": 0.2, "iterations": 5}), method="sgd")
    assert run["status"] == "reached"
    figures.accuracy_plot([Recorded(Path(run["folder"]))], None)
    text = text_of(drawn[0]).lower()
    assert "stop" in text, text
    assert "test accuracy" in text


def test_a_clock_that_is_set_back_changes_nothing(monkeypatch, results):
    real, calls = time.time, [0]

    def backwards() -> float:
        calls[0] += 1
        return real() - 3600.0 * calls[0]

    monkeypatch.setattr(time, "time", backwards)
    (summary,) = admmctl.train(experiment(), method="gd")
    curve = Recorded(Path(summary["folder"])).curve
    for name in ("train_s", "wall_s"):
        times = [row[name] for row in curve]
        assert times == sorted(times)
        assert 0 <= times[-1] < 600
    assert 0 < summary["wall_s"] < 600


# -- rule 3: time to target is at an evaluation, with the one before it


@pytest.mark.parametrize("metric", ["test_accuracy", "train_loss"])
@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_time_to_target_is_that_of_the_first_evaluation_that_met_it(metric, method, results):
    common = {
        "evaluate": {"every": 2, "unit": "iteration"},
        "methods": {"adam": {"learning_rate": 0.05}, "lbfgs": {}},
    }
    (whole,) = admmctl.train(experiment(**common, stop={"iterations": 40}), method=method)
    values = [row[metric] for row in Recorded(Path(whole["folder"])).curve]
    if metric == "train_loss":
        target = min(values) * (1 + 1e-6)
        first = next(i for i, value in enumerate(values) if value <= target)
    else:
        target = max(values) - 1e-6
        first = next(i for i, value in enumerate(values) if value >= target)
    assert first > 0
    stop = {"metric": metric, "target": target, "iterations": 40}
    (summary,) = admmctl.train(experiment(**common, stop=stop), method=method)
    curve = Recorded(Path(summary["folder"])).curve
    assert summary["status"] == "reached"
    assert [row[metric] for row in curve] == values[: first + 1]  # it stops there
    assert summary["time_to_target_s"] == pytest.approx(curve[-1]["train_s"], rel=1e-8)
    assert summary["previous_evaluation_s"] == pytest.approx(curve[-2]["train_s"], rel=1e-8)


def test_a_miss_has_no_time_in_the_summary(results):
    (summary,) = admmctl.train(experiment(stop={"target": 1.0, "iterations": 2}), method="gd")
    assert (summary["status"], summary["time_to_target_s"]) == ("exhausted", None)
    assert summary["train_s"] > 0


# -- rule 4: repeats are repeats


class Order(Watcher):
    """A watcher that writes down in which order runs start."""

    def __init__(self) -> None:
        self.started_runs: list[tuple[str, int]] = []

    def started(self, run: Any, folder: Path) -> None:
        self.started_runs.append((run.method, run.seed))


def test_repeats_are_interleaved_and_have_seeds_of_their_own_on_record(results):
    three = {name: METHODS[name] for name in ("sgd", "lbfgs", "admm")}
    order = Order()
    runs = admmctl.train(experiment(methods=three, seed=7), method="all", repeat=3, watcher=order)
    expected = [(method, seed) for seed in (7, 8, 9) for method in three]
    assert order.started_runs == expected
    assert [(run["method"], run["seed"]) for run in runs] == expected
    assert len({run["folder"] for run in runs}) == 9
    for run in runs:
        recorded = load(Path(run["folder"]) / "config.yaml")
        assert next(iter(recorded.runs.values())).seed == run["seed"]
        assert f"-s{run['seed']}-" in Path(run["folder"]).name


def test_repeats_start_elsewhere_and_methods_of_one_seed_at_the_same_place(results):
    runs = admmctl.train(experiment(stop={"iterations": 0}), method="all", repeat=2)
    starts = {}
    for run in runs:
        if run["method"] in ("sgd", "adam", "gd", "cg", "lbfgs"):
            starts[run["method"], run["seed"]] = np.load(Path(run["folder"]) / "weights.npz")["final_W1"]
    for (_, seed), W in starts.items():
        np.testing.assert_array_equal(W, starts["sgd", seed])
    assert (starts["sgd", 0] != starts["sgd", 1]).all()


# -- rule 5: tuning alike


# Experiments whose settings are the papers', all of them; one that compares what one update costs; and the demo.
AS_PRINTED = ("mnist01-hkust", "cifar2-convex-small", "cifar2-wide", "demo")


def tuned(name: str, kind: str) -> bool:
    """Not PyTorch's, which take the settings of ours, nor what a paper prints, nor one setting of several."""
    several = name.startswith(("graph-equal-", "graph-new-"))
    return not kind.startswith("torch-") and "printed" not in name and not several


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.stem not in AS_PRINTED], ids=lambda path: path.stem
)
def test_a_config_that_compares_methods_tunes_them_all_alike(path):
    experiment = load(path)
    kinds = {run.kind for run in experiment.runs.values() if not run.kind.startswith("torch-")}
    if len(kinds) < 2:
        pytest.skip("nothing is compared here")
    sweep = experiment.sweep
    assert sweep is not None
    untuned = {name for name, run in experiment.runs.items() if tuned(name, run.kind)} - set(sweep.space)
    assert not untuned, f"without a search space: {', '.join(sorted(untuned))}"
    tried = {method: settings_of_trials(sweep, method, None) for method in sweep.space}
    assert {len(found) for found in tried.values()} == {sweep.trials}
    for method, found in tried.items():
        assert all(found.count(trial) == 1 for trial in found), f"{method} tries something twice"


# -- rule 7: the start does not depend on the number of ranks


@pytest.mark.parametrize("kind", ["sgd", "adam", "foof", "kfac", "muon", "gd", "cg", "lbfgs", "linear"])
def test_every_rank_starts_at_the_weights_of_one(kind):
    method = methods.load(kind)(methods.load(kind).Settings())
    hidden = [] if kind == "linear" else [6, 4]
    whole = method.weights(method.init(problem(hidden, seed=4)))
    for columns in (slice(0, 71), slice(71, 120), slice(119, 120)):
        part = method.weights(method.init(problem(hidden, seed=4, columns=columns, comm=CountingComm())))
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_array_equal(one, other)
