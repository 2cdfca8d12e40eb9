"""The validation split: which rows it takes, the iterate it chooses, the patience it allows. And confusions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.experiments import swissroll
from support.ranks import on_ranks
from support.scripted import ROWS, ScriptedMethod, loop

import admmctl
from admmctl.cli import main
from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.data.shards import Shard
from admmctl.experiment.config import ConfigError, Evaluate, load
from admmctl.runs.predict import predict_rows
from admmctl.runs.recorded import Recorded


def experiment(**changes: Any) -> dict[str, Any]:
    own = {
        "data": {"name": "swissroll", "rows": 400, "validation": 0.1},
        "methods": {"adam": {"learning_rate": 0.05}},
        "stop": {"epochs": 12},
    }
    return swissroll("validation", **{**own, **changes})


def plan(ranks: int = 1, **data: Any) -> shards.Plan:
    settings = load(experiment(data={"name": "swissroll", "rows": 400, **data})).runs["adam"].data
    return shards.plan(settings, ranks)


# -- which rows


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_validation_rows_are_training_rows_and_are_held_back(fraction):
    whole, held = plan().split, plan(validation=fraction).split
    train, validation, test = (set(map(int, rows)) for rows in (held.train, held.validation, held.test))
    assert train | validation == set(whole.train)
    assert not train & validation
    assert not validation & test
    assert test == set(whole.test)
    assert len(validation) == len(held.validation) == round(300 * fraction)
    assert held.classes == whole.classes


def test_without_a_fraction_nothing_is_held_back():
    assert len(plan().split.validation) == 0
    assert len(plan().split.train) == 300


def test_the_split_is_the_same_every_time_and_for_any_number_of_ranks():
    one = plan(validation=0.1).split
    for other in (plan(validation=0.1).split, plan(3, validation=0.1).split):
        np.testing.assert_array_equal(one.train, other.train)
        np.testing.assert_array_equal(one.validation, other.validation)


def test_validation_rows_are_spread_over_the_training_rows():
    rows = np.sort(plan(validation=0.1).split.validation)
    assert rows[0] < 60
    assert rows[-1] >= 240
    assert (np.diff(rows) > 1).any()


def test_one_row_at_least_is_held_back():
    assert len(plan(rows=8, validation=0.01).split.validation) == 1


def test_another_seed_holds_back_other_rows():
    one, other = (plan(seed=seed, validation=0.1).split.validation for seed in (0, 1))
    assert list(one) != list(other)


def test_the_run_seed_does_not_change_the_split(results):
    # Repeats differ in their random start; they are judged by the same rows.
    runs = admmctl.train(experiment(stop={"iterations": 0}), repeat=2)
    assert [run["seed"] for run in runs] == [0, 1]
    assert [run["rows_train"] for run in runs] == [270, 270]
    first, second = (load(Path(run["folder"]) / "config.yaml").runs["adam"].data for run in runs)
    assert first == second


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_rows_of_one(ranks):
    made = plan(ranks, validation=0.1)
    whole = shards.load(made, Serial())
    parts = on_ranks(ranks, lambda comm: shards.load(made, comm))
    for name in ("train", "validation", "test"):
        columns = [getattr(part, name) for part in parts]
        expected = getattr(whole, name)
        np.testing.assert_allclose(np.hstack([shard.a0 for shard in columns]), expected.a0, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(np.concatenate([shard.labels for shard in columns]), expected.labels)
        assert [shard.start for shard in columns] == list(np.cumsum([0, *(len(s.labels) for s in columns[:-1])]))
        assert {shard.total for shard in columns} == {expected.total}


def test_validation_rows_are_scaled_by_training_rows_alone():
    made = plan(validation=0.1)
    parts = shards.load(made, Serial())
    assert parts.validation is not None
    np.testing.assert_allclose(parts.train.a0[:-1].mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(parts.train.a0[:-1].std(axis=1), 1, atol=1e-4)
    raw = np.empty((30, 3), np.float32)
    made.source.inputs("train", made.split.validation, raw)
    expected = (raw - parts.scaling.shift) * parts.scaling.factor
    np.testing.assert_allclose(parts.validation.a0[:-1].T, expected, rtol=1e-5, atol=1e-6)


# -- the iterate it chooses, in loops that follow a script


def scripted(*accuracies: float, test: tuple[float, ...] = (), losses: bool = True, **settings: Any):
    """A loop in which iteration i has the i-th validation accuracy (a multiple of 0.1); the last one lasts.

    The scripted network's output for an input (1, t, 0) is u + t, where the training loss is (1 - u)^2. Row i
    has t = (i + 1/2) / 10 - 1/2 and the class 0: a share 1 - u of the rows is below the threshold. So the
    higher the training loss, the higher the validation accuracy: they never name the same iterate.
    """
    script = [{"loss": accuracy**2} for accuracy in accuracies]
    for entry, accuracy in zip(script, test, strict=False):
        entry["accuracy"] = accuracy
    made, shown = loop(ScriptedMethod(script), **settings)
    rows = np.stack([np.ones(ROWS), (np.arange(ROWS) + 0.5) / ROWS - 0.5, np.zeros(ROWS)])
    made.validation = Shard(rows, np.zeros(ROWS, dtype=np.int64), 0, ROWS)
    return made.run(), shown


def test_the_script_says_what_the_validation_accuracy_is():
    _, shown = scripted(0.3, 0.9, 0.5, iterations=2)
    assert [e.validation_accuracy for e in shown] == [0.3, 0.9, 0.5]


def test_the_best_iterate_is_the_one_of_highest_validation_accuracy():
    outcome, shown = scripted(0.2, 0.6, 0.9, 0.4, 0.1, test=(0.9, 0.8, 0.2, 0.7, 0.6), iterations=4)
    assert outcome.best_iteration == 2
    assert min(shown, key=lambda e: e.train_loss).iteration == 4
    assert max(shown, key=lambda e: e.test_accuracy).iteration == 0


@pytest.mark.parametrize(("accuracies", "best"), [((0.2, 0.6, 0.6, 0.6), 1), ((0.0, 0.0, 0.0), 0)])
def test_of_several_that_are_as_good_the_first_is_the_best(accuracies, best):
    outcome, _ = scripted(*accuracies, iterations=len(accuracies) - 1)
    assert outcome.best_iteration == best


def test_without_a_validation_split_there_is_no_validation_accuracy():
    made, shown = loop(ScriptedMethod([{"loss": 0.5}]), iterations=2)
    outcome = made.run()
    assert [e.validation_accuracy for e in shown] == [None] * 3
    assert outcome.best_iteration == 0


# -- patience


def test_patience_ends_the_run_that_many_evaluations_after_the_best_one():
    outcome, shown = scripted(0.1, 0.5, 0.4, 0.4, 0.4, 0.4, patience=2, iterations=50)
    assert outcome.status == "exhausted"
    assert "2 evaluations without a better validation accuracy" in outcome.reason
    assert [e.iteration for e in shown] == [0, 1, 2, 3]  # the best at 1, and two that are no better
    assert (outcome.iterations, outcome.best_iteration) == (3, 1)


@pytest.mark.parametrize(
    ("accuracies", "patience", "best", "iterations"),
    [
        ((0.1, 0.1, 0.2, 0.1, 0.3, 0.2, 0.2, 0.2), 2, 4, 6),  # a better evaluation renews it
        ((0.4,), 3, 0, 3),  # as good is not better
    ],
)
def test_patience_counts_from_the_last_better_evaluation(accuracies, patience, best, iterations):
    outcome, _ = scripted(*accuracies, patience=patience, iterations=50)
    assert (outcome.best_iteration, outcome.iterations) == (best, iterations)


def test_patience_counts_evaluations_and_no_iterations():
    outcome, shown = scripted(0.4, patience=2, iterations=50, evaluate=Evaluate(every=5))
    assert [e.iteration for e in shown] == [0, 5, 10]
    assert outcome.iterations == 10


def test_a_budget_that_ends_first_is_the_reason():
    outcome, _ = scripted(0.4, patience=9, iterations=3)
    assert outcome.reason == "used up: 3 iterations"


def test_patience_is_no_better_for_looking_at_the_test_set():
    quiet, _ = scripted(0.5, 0.4, test=(0.1, 0.9), patience=2, iterations=50)
    rising, _ = scripted(0.5, 0.4, test=(0.9, 0.1), patience=2, iterations=50)
    assert quiet.iterations == rising.iterations
    assert quiet.best_iteration == rising.best_iteration


@pytest.mark.parametrize("where", ["stop.patience", "methods.adam.stop.patience"])
def test_patience_without_a_validation_split_is_refused(where):
    with pytest.raises(ConfigError) as refused:
        load(experiment(data={"name": "swissroll", "rows": 400}), [f"{where}=3"])
    assert "patience" in str(refused.value)
    assert "data.validation" in str(refused.value)
    assert load(experiment(), [f"{where}=3"]).runs["adam"].stop.patience == 3


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("data.validation=0", "data.validation: expected a number above 0"),
        ("data.validation=1", "data.validation: expected a number below 1"),
        ("data.validation=some", "data.validation: expected a number"),
        ("stop.patience=0", "stop.patience: expected 1 or more"),
    ],
)
def test_fractions_and_patience_that_make_no_sense_are_refused(override, text):
    with pytest.raises(ConfigError) as refused:
        load(experiment(), [override])
    assert text in str(refused.value)


# -- whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """A run with a validation split: its summary and folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(tmp_path_factory.mktemp("results")))
        (summary,) = admmctl.train(experiment(data={"name": "swissroll", "rows": 2000, "validation": 0.1}))
        yield summary, Path(summary["folder"])


def test_the_curve_has_the_validation_accuracy(run):
    summary, folder = run
    curve = Recorded(folder).curve
    assert summary["rows_train"] == 1350
    for row in curve:
        assert 0 <= row["validation_accuracy"] <= 1
        assert row["validation_accuracy"] * 150 == pytest.approx(round(row["validation_accuracy"] * 150), abs=1e-4)
    best = max(curve, key=lambda row: row["validation_accuracy"])
    arrays = np.load(folder / "weights.npz")
    assert arrays["best_iteration"] == best["iteration"]  # max names the first of equals, as the run must


def test_a_curve_without_a_split_has_no_such_column(results):
    (summary,) = admmctl.train(experiment(data={"name": "swissroll", "rows": 400}, stop={"epochs": 1}))
    assert "validation_accuracy" not in Recorded(Path(summary["folder"])).curve[0]


def test_the_recorded_validation_accuracy_is_that_of_the_saved_weights(run, tmp_path):
    # Predicted again from weights.npz, on rows the source makes anew.
    _, folder = run
    settings = load(folder / "config.yaml").runs["adam"].data
    made = shards.plan(settings, 1)
    x = np.empty((150, 3), np.float32)
    made.source.inputs("train", made.split.validation, x)
    np.save(tmp_path / "x.npy", x)
    labels = np.array(predict_rows(folder, tmp_path / "x.npy", "best").labels)
    truth = made.source.labels("train", made.split.validation)
    best = max(row["validation_accuracy"] for row in Recorded(folder).curve)
    assert (labels == truth).mean() == pytest.approx(best, abs=1e-6)


def test_confusions_count_every_test_row_and_agree_with_the_accuracy(run):
    summary, folder = run
    confusion = json.loads((folder / "confusion.json").read_text())
    assert confusion["classes"] == [0, 1]
    final, best = np.array(confusion["final"]), np.array(confusion["best"])
    assert final.sum() == best.sum() == summary["rows_test"] == 500
    assert np.trace(final) / 500 == pytest.approx(summary["final_test_accuracy"])
    made = shards.plan(load(folder / "config.yaml").runs["adam"].data, 1)
    truth = made.source.labels("train", made.split.test)
    np.testing.assert_array_equal(final.sum(axis=1), np.bincount(truth))
    arrays = np.load(folder / "weights.npz")
    (row,) = (row for row in Recorded(folder).curve if row["iteration"] == arrays["best_iteration"])
    assert np.trace(best) / 500 == pytest.approx(row["test_accuracy"], abs=1e-6)


def test_confusions_of_ten_classes_name_classes_in_the_order_asked_for(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    y = generator.integers(0, 4, 600)
    x = np.eye(4)[y] + 0.4 * generator.standard_normal((600, 4))
    np.save("x.npy", x)
    np.save("y.npy", y)
    data = {"name": "files", "x": "x.npy", "y": "y.npy", "classes": [3, 0, 2], "test": 0.3}
    (summary,) = admmctl.train(experiment(data=data, loss="cross-entropy"))
    folder = Path(summary["folder"])
    confusion = json.loads((folder / "confusion.json").read_text())
    assert confusion["classes"] == [3, 0, 2]
    final = np.array(confusion["final"])
    assert final.sum() == summary["rows_test"]
    assert np.trace(final) / final.sum() == pytest.approx(summary["final_test_accuracy"])
    made = shards.plan(load(folder / "config.yaml").runs["adam"].data, 1)
    truth = made.source.labels("train", made.split.test)
    assert list(final.sum(axis=1)) == [int((truth == label).sum()) for label in (3, 0, 2)]
    assert np.trace(final) / final.sum() > 0.7  # right classes in right columns


@pytest.mark.filterwarnings("ignore")
def test_rows_whose_outputs_are_no_numbers_do_not_vanish(results):
    # A run that diverged may have outputs of no class: such rows are wrong, and still rows.
    data = {"name": "swissroll", "rows": 400, "scale": "none", "noise": 3e38}
    (summary,) = admmctl.train(experiment(data=data))
    assert summary["status"] == "diverged"
    assert summary["final_test_accuracy"] < 0.4  # most outputs are NaN, which is no class
    confusion = json.loads((Path(summary["folder"]) / "confusion.json").read_text())
    assert np.sum(confusion["final"]) == summary["rows_test"]
    assert np.sum(confusion["best"]) == summary["rows_test"]


def test_show_has_the_confusions_and_the_accuracy_of_every_class(run, capsys):
    _, folder = run
    with pytest.raises(SystemExit) as end:
        main(["runs", "show", str(folder)])
    assert not end.value.code
    shown = capsys.readouterr().out
    final = json.loads((folder / "confusion.json").read_text())["final"]
    for label, row in enumerate(final):
        cells = [str(label), *map(str, row), f"{row[label] / sum(row):.4f}"]
        assert any(line.split() == cells for line in shown.splitlines()), (cells, shown)
    assert "validation" in shown.split()


def test_validation_at_the_top_is_short_for_the_one_of_the_data():
    data = {"name": "swissroll", "rows": 400}
    short = load(experiment(data=data, validation=0.25)).runs["adam"]
    long = load(experiment(data={**data, "validation": 0.25})).runs["adam"]
    assert short.data.validation == 0.25
    assert short.hash() == long.hash()
