"""Boosted trees: the libraries' own scores, a round an iteration, an honest clock; what is saved."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.problems import Array, problem
from support.shell import Shell

import admmctl
from admmctl.errors import ConfigError, MissingExtra, UserError
from admmctl.experiment import config
from admmctl.methods.method import Diverged, Finished, Problem, start
from admmctl.methods.trees import libraries
from admmctl.methods.trees.boosting import Trees, TreesSettings
from admmctl.model.network import score
from admmctl.runs import predict
from admmctl.runs.clock import Clock
from admmctl.runs.predict import load_model, predict_rows
from admmctl.runs.recorded import Recorded

LIBRARIES = {"lightgbm": "lightgbm", "sklearn": "sklearn.ensemble"}
each = pytest.mark.parametrize("library", LIBRARIES)
ROUNDS = 6
SMALL = {"leaves": 4, "min_rows": 5, "bins": 40}


@pytest.fixture
def module(library: str) -> Any:
    return pytest.importorskip(LIBRARIES[library])


def made(library: str, **settings: Any) -> Trees:
    return Trees(TreesSettings(library=library, **{**SMALL, **settings}))


def rows(outputs: int = 1, samples: int = 400, **changes: Any) -> Problem:
    """Rows whose class depends on products of features, and on chance."""
    p = problem(
        [], outputs=outputs, samples=samples, loss="cross-entropy", dtype=np.float32, features=5, **changes
    )
    generator = np.random.default_rng(7)
    p.a0[:-1] = generator.standard_normal((5, samples))
    kind = 1 * (p.a0[0] * p.a0[1] + 0.5 * generator.standard_normal(samples) > 0)
    if outputs == 1:
        p.y[...] = kind
    else:
        labels = kind + (p.a0[2] > 0.7) * (outputs == 3)
        p.y[...] = np.arange(outputs)[:, None] == labels
    return p


def labels_of(p: Problem) -> Array:
    return (p.y[0] > 0.5).astype(int) if len(p.y) == 1 else p.y.argmax(axis=0)


def grown(method: Trees, p: Problem, rounds: int = ROUNDS) -> Any:
    state = method.init(p)
    for _ in range(rounds):
        state = method.step(state)
    return state


def reference(library: str, module: Any, p: Problem, rounds: int) -> Array:
    """Log-odds (samples,), or scores (samples, classes), of the library used as its users do."""
    x, labels = np.ascontiguousarray(p.a0[:-1].T), labels_of(p)
    common = {"learning_rate": 0.1, "n_estimators": rounds, "num_leaves": 4, "min_child_samples": 5}
    if library == "lightgbm":
        model = module.LGBMClassifier(
            **common, min_split_gain=0.0, max_bin=40, random_state=0, verbosity=-1, n_jobs=1, force_row_wise=True
        )
        return model.fit(x, labels).predict(x, raw_score=True)
    model = module.HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=rounds,
        max_leaf_nodes=4,
        min_samples_leaf=5,
        max_bins=40,
        early_stopping=False,
        random_state=0,
    )
    return model.fit(x, labels).decision_function(x)


@each
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_rounds_one_by_one_make_the_scores_of_one_long_training(library: str, module: Any, outputs: int) -> None:
    p, method = rows(outputs), made(library)
    state = grown(method, p)
    z = method.model(state, p.network).forward(method.weights(state), p.a0)
    method.close(state)
    expected = reference(library, module, p, ROUNDS)
    assert z.shape == (outputs, 400)
    if outputs < 3:
        found = z[0] if outputs == 1 else z[1] - z[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
        assert np.std(found) > 0.1
    else:  # a number that is added to all scores of a row changes nothing
        centred = expected - expected.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(z - z.mean(axis=0), centred.T, rtol=1e-6, atol=1e-8)


@each
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_cross_entropy_falls_from_that_of_the_shares(library: str, module: Any, outputs: int) -> None:
    p, method = rows(outputs), made(library)
    state, losses = method.init(p), []
    model = method.model(state, p.network)
    for _ in range(ROUNDS):
        losses.append(score(model, method.weights(state), p.loss, p.a0, p.y, labels_of(p))[0] / p.total)
        state = method.step(state)
    method.close(state)
    shares = np.bincount(labels_of(p)) / p.total
    assert losses[0] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-6)
    assert all(after < before for before, after in zip(losses, losses[1:], strict=False))


@each
def test_any_number_of_rounds_can_be_asked_for_in_any_order(library: str, module: Any) -> None:
    p, method = rows(), made(library)
    state = grown(method, p)
    model = method.model(state, p.network)

    def scores(count: int) -> Array:
        return model.forward([np.array([[float(count)]])], p.a0)

    inorder = {count: scores(count).copy() for count in range(ROUNDS + 1)}
    for count in (3, ROUNDS, 0, 2, 5, 1):
        np.testing.assert_allclose(scores(count), inorder[count], rtol=1e-6, atol=1e-9)
    method.close(state)
    np.testing.assert_allclose(scores(4), inorder[4], rtol=1e-6, atol=1e-9)  # when all has ended, too
    assert len({float(z.sum()) for z in inorder.values()}) == ROUNDS + 1


@each
def test_the_inputs_stay_as_they_are_and_a_nan_is_divergence(library: str, module: Any) -> None:
    p, method = rows(), made(library)
    a0, y = p.a0.copy(), p.y.copy()
    method.close(grown(method, p, 2))
    np.testing.assert_array_equal(p.a0, a0)
    np.testing.assert_array_equal(p.y, y)
    p.a0[1, 5] = np.nan
    with pytest.raises(Diverged):
        method.init(p)


@each
def test_a_class_without_rows_is_refused(library: str, module: Any) -> None:
    p = rows(3)
    p.y[...] = np.arange(3)[:, None] == labels_of(p).clip(max=1)
    with pytest.raises(UserError, match="training rows of every class, and 1 have none"):
        made(library).init(p)


@each
def test_the_seed_draws_features_and_rows(library: str, module: Any) -> None:
    drawn = {"features": 0.5} if library == "sklearn" else {"features": 0.5, "rows": 0.5}

    def scores(seed: int) -> Array:
        p, method = rows(seed=seed), made(library, **drawn)
        state = grown(method, p)
        z = method.model(state, p.network).forward(method.weights(state), p.a0)
        method.close(state)
        return z

    np.testing.assert_array_equal(scores(1), scores(1))
    assert np.abs(scores(1) - scores(2)).max() > 1e-3
    state = grown(method := made(library, **drawn), rows())
    assert method.rows_seen(state) == (None if library == "sklearn" else ROUNDS * 200)
    method.close(state)


def test_where_nothing_can_be_split_lightgbm_has_finished() -> None:
    pytest.importorskip("lightgbm")
    method = made("lightgbm", min_rows=300)
    with pytest.raises(Finished, match="no split"):
        grown(method, rows())


def test_a_failure_of_scikit_learn_reaches_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    method, p = made("sklearn"), rows()
    state = method.init(p)

    def broken(*given: Any, **named: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(ensemble._hist_gradient_boosting.gradient_boosting.TreeGrower, "grow", broken)
    with pytest.raises(RuntimeError, match="broken"):
        method.step(state)
    method.close(state)
    assert not state.library._thread.is_alive()


def test_closing_ends_the_thread_of_scikit_learn() -> None:
    pytest.importorskip("sklearn.ensemble")
    method = made("sklearn")
    state = grown(method, rows(), 2)
    assert state.library._thread.is_alive()
    method.close(state)
    assert not state.library._thread.is_alive()
    method.close(state)


@each
def test_training_is_timed_and_evaluation_is_not(library: str, module: Any) -> None:
    clock = Clock()
    p = rows(samples=3000)
    object.__setattr__(p, "clock", clock)
    method = made(library, leaves=31)
    state = grown(method, p)
    before = dict(clock.seconds)
    assert set(before) == {"bin", "grow"}
    assert min(before.values()) > 0
    with clock.phase("evaluate"):
        method.model(state, p.network).forward(method.weights(state), p.a0)
    assert {name: clock.seconds[name] for name in before} == before
    method.close(state)


@each
def test_loading_the_library_is_no_training(library: str, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, phases = Clock(), []
    require = libraries.require

    def noted(name: str) -> Any:
        phases.append(clock.timed)
        return require(name)

    monkeypatch.setattr(libraries, "require", noted)
    p, method = rows(), made(library)
    object.__setattr__(p, "clock", clock)
    method.close(start(method, p))
    assert phases == [None, "bin"]  # the second finds it loaded


# --- runs


def experiment(**changes: Any) -> dict[str, Any]:
    return {
        "name": "roll",
        "data": {"name": "swissroll", "rows": 1200, "validation": 0.2},
        "network": {"layers": [8]},
        "loss": "cross-entropy",
        "methods": {"trees": {}, "hist": {"kind": "trees", "library": "sklearn"}},
        "stop": {"iterations": 8},
        **changes,
    }


def trained(library: str, **changes: Any) -> tuple[dict[str, Any], Recorded]:
    name = {"lightgbm": "trees", "sklearn": "hist"}[library]
    (summary,) = admmctl.train(experiment(**changes), method=name)
    return summary, Recorded(Path(summary["folder"]))


@each
def test_a_run_has_the_record_of_any_other(library: str, module: Any, results: Path) -> None:
    summary, run = trained(library)
    assert (summary["status"], summary["iterations"]) == ("exhausted", 8)
    curve = run.curve
    assert [row["iteration"] for row in curve] == list(range(9)) == [row["epoch"] for row in curve]
    assert curve[-1]["train_loss"] < 0.8 * curve[0]["train_loss"]
    assert curve[-1]["test_auc"] > 0.7
    assert all(after["train_s"] > before["train_s"] for before, after in zip(curve, curve[1:], strict=False))
    assert {"bin", "grow", "evaluate"} <= set(run.phases)
    assert summary["train_s"] == pytest.approx(
        sum(run.phases[name]["max_s"] for name in ("bin", "grow", "other")), rel=0.05
    )
    assert run.confusion is not None
    assert np.trace(np.array(run.confusion.final)) / summary["rows_test"] == pytest.approx(
        summary["final_test_accuracy"]
    )
    assert run.damage(["summary.json", "curve.csv", "phases.csv", "confusion.json"]) is None


@each
def test_a_target_and_patience_end_it_as_they_do_others(library: str, module: Any, results: Path) -> None:
    summary, run = trained(library, stop={"metric": "test_auc", "target": 0.8, "iterations": 100})
    assert summary["status"] == "reached"
    assert run.curve[-1]["test_auc"] >= 0.8 > run.curve[-2]["test_auc"]
    quick = {"learning_rate": 1.0, "leaves": 60, "min_rows": 1}  # which soon knows the training rows by heart
    summary, run = trained(
        library,
        methods={"trees": quick, "hist": {"kind": "trees", "library": "sklearn", **quick}},
        stop={"iterations": 300, "patience": 4},
    )
    assert "4 evaluations without a better validation accuracy" in summary["reason"]
    assert summary["iterations"] < 300


def test_lightgbm_is_saved_and_predicts_what_the_run_did(results: Path, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    generator = np.random.default_rng(0)
    x = generator.standard_normal((500, 3))
    y = (x[:, 0] * x[:, 1] > 0).astype(int) + 5
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "new.npy", x[300:])
    data = {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "train": 300}
    for outputs in (1, 2):
        summary, run = trained("lightgbm", data=data, network={"layers": [8], "outputs": outputs})
        for iterate in ("best", "final"):
            found = predict_rows(run.folder, tmp_path / "new.npy", iterate)
            assert (len(found.labels), len(found.outputs[0])) == (200, outputs)
        assert np.mean(found.labels == y[300:]) == pytest.approx(summary["final_test_accuracy"])
        assert found.iteration == 8
    with np.load(run.folder / "weights.npz", allow_pickle=False) as arrays:
        booster = lightgbm.Booster(model_str=arrays["trees"].tobytes().decode())
        assert (arrays["best_W1"].item(), arrays["final_W1"].item()) == (arrays["best_iteration"], 8)
        scaled = (x[300:] - arrays["input_shift"]) * arrays["input_factor"]
    np.testing.assert_allclose(
        booster.predict(scaled.astype(np.float32), raw_score=True), np.array(found.outputs)[:, 1], rtol=1e-6
    )


def test_blocks_of_rows_to_predict_are_not_taken_for_one_another(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightgbm")
    _, run = trained("lightgbm")
    model = load_model(run.folder, "final")
    x = np.random.default_rng(0).uniform(-10, 10, (40, 3))
    whole = model.predict(x)[1]
    monkeypatch.setattr(predict, "_BLOCK", 10)
    np.testing.assert_array_equal(model.predict(x)[1], whole)
    assert np.std(whole) > 0


def test_damaged_trees_are_called_so(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    _, run = trained("lightgbm")
    np.save(tmp_path / "new.npy", np.zeros((2, 3)))
    path = run.folder / "weights.npz"
    with np.load(path) as file:
        arrays = dict(file)
    for changes in ({"trees": arrays["trees"][:40]}, {"final_W1": np.array([[99.0]])}):
        np.savez(path, **{**arrays, **changes})
        with pytest.raises(UserError, match=r"weights\.npz is damaged"):
            predict_rows(run.folder, tmp_path / "new.npy", "final")


def test_of_scikit_learn_nothing_is_saved_and_predict_says_so(results: Path, shell: Shell, tmp_path: Path) -> None:
    pytest.importorskip("sklearn.ensemble")
    _, run = trained("sklearn")
    assert not (run.folder / "weights.npz").exists()
    np.save(tmp_path / "new.npy", np.zeros((2, 3)))
    done = shell("predict", run.folder, "--input", tmp_path / "new.npy")
    assert done.code == 2
    assert "pickle" in done.err
    assert "library: lightgbm" in done.err
    assert "Traceback" not in done.err


@each
def test_it_runs_on_one_rank_and_begins_anew_when_it_is_resumed(library: str, module: Any, results: Path) -> None:
    with pytest.raises(UserError, match="runs on one rank"):
        admmctl.train(experiment(methods={"trees": {"library": library}}), cores=2)
    assert not made(library).checkpoints


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"loss": "hinge"}, "method trees has no loss 'hinge'; it has: cross-entropy"),
        ({"library": "sklearn", "rows": 0.5}, "scikit-learn's trees see all rows"),
        ({"library": "xgboost"}, "library"),
        ({"leaves": 1}, "leaves"),
        ({"bins": 256}, "bins"),
        ({"network": {"convolution": {"filters": [3], "image": [1, 1, 3]}}}, "trains dense layers only"),
    ],
)
def test_what_it_cannot_do_is_refused_beforehand(block: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(experiment(methods={"trees": block}))


# --- without the extra


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that has neither library, installed or not."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lightgbm", "sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("lightgbm", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)


@each
def test_without_the_extra_there_is_one_clear_error(library: str, without: None, results: Path) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'admmctl\[trees\]'"):
        libraries.require(library)
    with pytest.raises(UserError, match="not installed"):
        admmctl.train(experiment(methods={"trees": {"library": library}}))


def test_without_the_extra_other_methods_run_and_these_are_skipped_by_name(without: None, results: Path) -> None:
    methods = {"linear": {}, "trees": {}, "hist": {"kind": "trees", "library": "sklearn"}}
    (summary,) = admmctl.train(experiment(methods=methods), method="all")
    assert summary["method"] == "linear"


def test_a_library_that_does_not_load_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "lightgbm":
                raise OSError("libgomp.so.1: cannot open shared object file")

    for name in [name for name in sys.modules if name.partition(".")[0] == "lightgbm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingExtra, match=r"does not load here: libgomp\.so\.1"):
        libraries.require("lightgbm")
