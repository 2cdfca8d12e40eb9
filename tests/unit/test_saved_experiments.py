"""Classifiers as experiments: files that train as ``fit`` does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'admmctl[sklearn]'")

from sklearn.datasets import make_classification
from support.classifiers import each, moons

import admmctl
from admmctl.estimators import AdmmClassifier, GraphAdmmClassifier, RandomFeaturesClassifier
from admmctl.experiment.config import load


def parts(X: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    """Rows to train on, and 40 to test on."""
    return X[40:], y[40:], X[:40], y[:40]


SETS = {
    "moons": lambda: moons(240),
    "words": lambda: make_classification(240, n_informative=6, n_classes=3, random_state=0),
}


@each
@pytest.mark.parametrize("name", SETS)
def test_a_saved_experiment_trains_as_fit_does(kind: Any, name: str, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = SETS[name]()
    words = np.array(["no", "perhaps", "yes"])[y]
    X, y, X_test, y_test = parts(X, words)
    model = kind(random_state=5)
    file = model.save_experiment(name, X, y, X_test, y_test)
    assert not hasattr(model, "n_features_in_")  # a check of input leaves no trace
    (run,) = admmctl.train(file)
    model.fit(X, y)
    saved = np.load(Path(run["folder"]) / "weights.npz")
    for l, W_l in enumerate(model.weights_, start=1):
        assert np.column_stack([saved[f"final_W{l}"], saved[f"final_b{l}"]]) == pytest.approx(W_l, abs=1e-6)
    assert run["final_test_accuracy"] == pytest.approx(model.score(X_test, y_test))
    assert run["rows_train"] == len(X)


def test_a_saved_experiment_says_what_the_classifier_says(tmp_path: Any) -> None:
    model = GraphAdmmClassifier(
        (np.int64(9), 4), activation="hard-sigmoid", alpha=2.0, batch_size=50, max_iter=7, scale="unit",
        early_stopping=True, validation_fraction=0.25, n_iter_no_change=3, n_jobs=2, random_state=1,
        settings={"damping": 0.5},
    )  # fmt: skip
    file = model.save_experiment(tmp_path / "mine", *parts(*moons(240)))
    run = load(file).select(None)[0]
    assert (run.experiment, run.kind, run.loss, run.threads) == ("mine", "graph-admm", "cross-entropy", 2)
    assert (run.network.layers, run.network.activation) == ([9, 4], "hard-sigmoid")
    assert (run.data.scale, run.data.validation) == ("unit", 0.25)
    assert (run.stop.epochs, run.stop.patience) == (7, 3)
    assert (run.settings.batch, run.settings.damping) == (50, 0.5)
    assert run.settings.l2 == pytest.approx(2.0 * 50 / 150)  # of the 150 rows that train
    assert "# Classes: 0 0, 1 1\n" in file.read_text()


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (AdmmClassifier, {"y_test": np.full(40, 7)}, "y_test: .*7.* is no class of y; valid: 0, 1"),
        (AdmmClassifier, {"X_test": np.zeros((40, 3))}, "X_test has 3 features, and X has 2"),
        (AdmmClassifier, {"y": np.ones(200)}, "two classes or more are needed"),
        (AdmmClassifier, {"folder": "a b"}, "name: .*letters, digits"),
        (RandomFeaturesClassifier, {"early_stopping": True}, "early_stopping: it chooses a ridge here"),
        (GraphAdmmClassifier, {"settings": {"dampin": 1.0}}, "settings.dampin: .*damping"),
        (GraphAdmmClassifier, {"max_iter": 0}, "max_iter: "),
    ],
)
def test_what_no_experiment_can_be_is_refused(kind: Any, change: Any, message: str, tmp_path: Any) -> None:
    X, y, X_test, y_test = parts(*moons(240))
    rows = {"X": X, "y": y, "X_test": X_test, "y_test": y_test} | {
        key: value for key, value in change.items() if key in ("y", "X_test", "y_test")
    }
    parameters = {key: value for key, value in change.items() if key not in (*rows, "folder")}
    with pytest.raises(ValueError, match=message):
        kind(**parameters).save_experiment(tmp_path / change.get("folder", "mine"), **rows)
    assert not list(tmp_path.iterdir())


def test_an_experiment_that_is_there_stays(tmp_path: Any) -> None:
    rows = parts(*moons(240))
    file = AdmmClassifier(random_state=0).save_experiment(tmp_path / "mine", *rows)
    before = file.read_text()
    with pytest.raises(ValueError, match="is there already: name another folder"):
        AdmmClassifier(random_state=1).save_experiment(tmp_path / "mine", *rows)
    assert file.read_text() == before
