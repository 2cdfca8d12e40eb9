"""The classifiers of scikit-learn: its own checks, and what it does not check."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'admmctl[sklearn]'")

from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator
from support.classifiers import each, moons

from admmctl.comm import Serial
from admmctl.estimators import (
    AdmmClassifier,
    ConvexReluClassifier,
    GraphAdmmClassifier,
    RandomFeaturesClassifier,
)
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.method import Problem, Untimed, start, trainer
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets
from admmctl.runs.environment import blas_threads

LAYERED = [AdmmClassifier, GraphAdmmClassifier]
DOCS = Path(__file__).parents[2] / "docs" / "estimators.md"


@each
def test_it_passes_the_checks_of_scikit_learn(kind: Any) -> None:
    results = check_estimator(kind(), on_skip=None)
    assert len(results) > 40
    assert {result["status"] for result in results} <= {"passed", "skipped"}


# What parts two moons needs larger weights, and more steps, than the defaults of few rows allow.
BENDING: dict[Any, dict[str, Any]] = {GraphAdmmClassifier: {"alpha": 0.3, "max_iter": 60}}


def bending(kind: Any, **parameters: Any) -> Any:
    """A classifier that parts two moons."""
    return kind(**{"random_state": 0} | BENDING.get(kind, {}) | parameters)


@each
def test_it_learns_what_is_not_linear(kind: Any) -> None:
    model = bending(kind).fit(*moons())
    assert model.score(*moons(seed=1)) > 0.93


@each
def test_labels_may_be_text_of_many_classes(kind: Any) -> None:
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"], dtype=object)
    model = kind(random_state=0).fit(X, names[y])
    assert list(model.classes_) == list(names)
    assert model.score(X, names[y]) > 0.9
    chances = model.predict_proba(X)
    assert chances.shape == (150, 3)
    assert chances.sum(axis=1) == pytest.approx(1)
    assert (names[chances.argmax(axis=1)] == model.predict(X)).all()
    assert log_loss(names[y], chances) < 0.5  # of three classes by chance: 1.1


@each
def test_it_works_in_a_pipeline_and_in_a_search(kind: Any) -> None:
    X, y = moons(120)
    name = kind.__name__.lower()
    search = GridSearchCV(
        make_pipeline(MinMaxScaler(), kind(random_state=0)), {f"{name}__scale": ["none", "standard"]}
    )
    assert search.fit(X, y).best_score_ > 0.85


@each
def test_what_is_pickled_predicts_alike(kind: Any) -> None:
    X, y = moons()
    model = kind(random_state=0, warm_start=True).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert (again.decision_function(X) == model.decision_function(X)).all()
    assert (again.fit(X, y).decision_function(X) == model.fit(X, y).decision_function(X)).all()


@each
def test_the_same_seed_makes_the_same_weights_and_another_others(kind: Any) -> None:
    X, y = moons()
    first, second, other = (kind(random_state=seed).fit(X, y) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first.weights_, second.weights_, strict=True))
    assert not np.allclose(first.weights_[0], other.weights_[0])


@each
def test_few_rows_are_enough(kind: Any) -> None:
    X, y = [[0.0, 1.0], [1.0, 0.0]], ["left", "right"]
    assert list(kind(random_state=0).fit(X, y).predict(X)) == y


@each
def test_float32_and_other_layouts_make_the_same(kind: Any) -> None:
    X, y = moons()
    X = X.astype(np.float32)
    expected = kind(random_state=0).fit(X, y).decision_function(X)
    for same in (X.astype(float), np.asfortranarray(X), X[:, :].tolist()):
        assert kind(random_state=0).fit(same, y).decision_function(same) == pytest.approx(expected, abs=1e-4)


def test_the_weights_are_those_of_the_method() -> None:
    X, y = moons()
    model = GraphAdmmClassifier(7, alpha=2.0, batch_size=50, max_iter=3, random_state=0).fit(X, y)
    a0 = np.ones((200, 3), np.float32)
    a0[:, :2] = (X - X.mean(axis=0)) / X.std(axis=0)
    settings = GraphAdmmSettings(penalties="matrix", batch=50, l2=0.5, kl_clip=0.02)
    made = trainer("graph-admm", settings, "cross-entropy")
    network, loss = Network.build(2, [7], 1, "relu", True), losses.load("cross-entropy")()
    given = Problem(a0.T, targets(y, 1), network, loss, Serial(), Untimed(), model._seed, 0, 200)
    state = start(made, given)
    for _ in range(3 * 4):
        state = made.step(state)
    for ours, theirs in zip(model.weights_, made.weights(state), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "few"),
    [
        (AdmmClassifier, {"hidden_layer_sizes": 6, "max_iter": 8}),
        (GraphAdmmClassifier, {"hidden_layer_sizes": 10, "max_iter": 2}),
        (ConvexReluClassifier, {"n_patterns": 20, "max_iter": 5}),
    ],
)
def test_a_warm_start_goes_on(kind: Any, few: dict[str, Any]) -> None:
    X, y = moons()
    first = kind(**few, random_state=0)
    model, afresh = clone(first).set_params(warm_start=True), clone(first)
    once = log_loss(y, first.fit(X, y).predict_proba(X))
    for _ in range(6):
        model.fit(X, y)
    assert log_loss(y, model.predict_proba(X)) < 0.9 * once
    for _ in range(2):
        afresh.fit(X, y)
    assert log_loss(y, afresh.predict_proba(X)) == pytest.approx(once)


@pytest.mark.parametrize("kind", LAYERED)
def test_a_warm_start_takes_other_rows(kind: Any) -> None:
    X, y = moons()
    model = bending(kind, warm_start=True).fit(X, y)
    scaling = model.scaling_
    model.set_params(max_iter=1).fit(X[:90] + 0.01, y[:90])
    assert model.scaling_ is scaling
    assert model.score(X, y) > 0.93


def test_a_warm_start_keeps_random_features() -> None:
    X, y = moons()
    model = RandomFeaturesClassifier(random_state=None, warm_start=True).fit(X, y)
    features, outputs = model.weights_
    model.fit(X[:100], y[:100])
    assert (model.weights_[0] == features).all()
    assert not np.allclose(model.weights_[1], outputs)


def test_a_warm_start_of_the_convex_model_starts_anew_with_other_patterns() -> None:
    X, y = moons()
    model = ConvexReluClassifier(random_state=0, warm_start=True, n_patterns=60).fit(X[:8], y[:8])
    assert model.fit(X, y).score(X, y) > 0.93


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": 2}, r"GraphAdmmClassifier: warm_start: y has the classes \[0 1 2\], and had \[0 1\] before"),
        ({"features": 1}, "X has 1 features, but GraphAdmmClassifier is expecting 2 features"),
        ({"hidden_layer_sizes": 5}, r"warm_start: the layers \(2, 5, 1\) are not those of before"),
    ],
)
def test_a_warm_start_from_something_else_is_refused(changed: dict[str, Any], message: str) -> None:
    X, y = moons()
    model = GraphAdmmClassifier(random_state=0, warm_start=True, max_iter=2).fit(X, y)
    before = model.decision_function(X)
    other_y = y.copy()
    other_y[0] = changed.pop("y", y[0])
    other_X = X[:, : changed.pop("features", 2)]
    with pytest.raises(ValueError, match=message):
        model.set_params(**changed).fit(other_X, other_y)
    assert (model.decision_function(X) == before).all()


@each
def test_early_stopping_keeps_the_best_weights(kind: Any) -> None:
    X, y = make_classification(300, 20, n_informative=4, flip_y=0.2, random_state=0)
    more = {} if kind is RandomFeaturesClassifier else {"max_iter": 60}
    model = kind(early_stopping=True, n_iter_no_change=3, validation_fraction=0.2, random_state=0, **more).fit(
        X, y
    )
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_
    assert len(scores) < 60
    train, held = model._divided(X, y, model._seed)
    assert len(held) == 60
    assert len(np.intersect1d(train, held)) == 0
    assert model.score(X[held], y[held]) == pytest.approx(max(scores), abs=1.5 / 60)  # a row at the boundary
    last = len(scores) - 1 - int(np.argmax(scores))
    assert last == 3 or kind is RandomFeaturesClassifier


def test_early_stopping_chooses_a_ridge() -> None:
    X, y = make_classification(150, 20, n_informative=4, flip_y=0.2, random_state=0)
    greedy = RandomFeaturesClassifier(200, ridge=1e-7, random_state=0)
    stopped = clone(greedy).set_params(early_stopping=True, n_iter_no_change=9)
    assert stopped.fit(X, y).n_iter_ == 8  # 1, 0.1, .., 1e-7
    assert cross_val_score(stopped, X, y).mean() > cross_val_score(greedy, X, y).mean()


@pytest.mark.parametrize(("n_jobs", "expected"), [(None, 1), (1, 1), (2, 2)])
def test_n_jobs_are_threads_while_it_trains(n_jobs: int | None, expected: int) -> None:
    seen = []

    class Watched(RandomFeaturesClassifier):
        def _round(self, *given: Any) -> Any:
            seen.append(blas_threads())
            return super()._round(*given)

    before = blas_threads()
    Watched(20, n_jobs=n_jobs).fit(*moons())
    assert seen == [expected]
    assert blas_threads() == before


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (GraphAdmmClassifier, {"max_iter": 0}, "max_iter"),
        (GraphAdmmClassifier, {"alpha": -1.0}, "alpha"),
        (GraphAdmmClassifier, {"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes"),
        (GraphAdmmClassifier, {"scale": "minmax"}, "scale"),
        (
            GraphAdmmClassifier,
            {"activation": "tanh"},
            "activation: method graph-admm has no activation 'tanh'; it has",
        ),
        (
            GraphAdmmClassifier,
            {"activation": "rulu"},
            "activation: unknown activation 'rulu'; did you mean 'relu'?",
        ),
        (GraphAdmmClassifier, {"settings": {"drop_out": 0.1}}, "settings.drop_out: .*dropout"),
        (GraphAdmmClassifier, {"settings": {"penalties": "matrix", "damping": 0.0}}, "settings.damping"),
        (AdmmClassifier, {"loss": "cross-entropy"}, "loss: method admm has no loss 'cross-entropy'; it has"),
        (AdmmClassifier, {"settings": {"beta": [1.0, 2.0, 3.0]}}, "settings.beta: 3 penalties for 2 layers"),
        (ConvexReluClassifier, {"n_patterns": 0}, "n_patterns"),
        (RandomFeaturesClassifier, {"kernel": "cubic"}, "kernel"),
        (RandomFeaturesClassifier, {"validation_fraction": 1.0}, "validation_fraction"),
    ],
)
def test_wrong_parameters_are_named(kind: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{kind.__name__}: .*{message}"):
        kind(**parameters).fit(*moons(20))


@pytest.mark.parametrize("settings", [{"penalties": "automatic"}, {"penalties": "fixed", "batch": None}])
def test_settings_choose_other_penalties(settings: dict[str, Any]) -> None:
    model = GraphAdmmClassifier(random_state=0, max_iter=20, settings=settings)
    assert model.fit(*moons()).score(*moons()) > 0.8


def test_numbers_of_numpy_are_numbers() -> None:
    sizes, batch = np.array([4, 3]), np.int64(10)
    model = GraphAdmmClassifier(sizes, batch_size=batch, alpha=np.float32(0.5), max_iter=np.int32(2))
    assert [W.shape for W in model.fit(*moons(20)).weights_] == [(4, 3), (3, 5), (1, 4)]


def test_a_fit_that_fails_leaves_the_one_before() -> None:
    X, y = moons()
    model = AdmmClassifier(random_state=0, scale="none", max_iter=5).fit(X, y)
    before = model.decision_function(X)
    with pytest.raises(ValueError, match="AdmmClassifier: X has numbers that are too large for float32"):
        model.fit(X * 1e40, y)
    assert (model.decision_function(X) == before).all()


def test_extreme_features_are_scaled() -> None:
    X, y = moons()
    far = X * [1e200, 1e-200] + [0, 1e-190]
    assert bending(GraphAdmmClassifier).fit(far, y).score(far, y) > 0.93


def test_the_examples_of_the_docs_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, recorded = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.M | re.S)
    assert len(list(filter(None, first.splitlines()))) == 10
    exec(first, {})
    printed = capsys.readouterr().out
    assert "graphadmmclassifier__hidden_layer_sizes" in printed
    assert float(printed.split()[-1]) > 0.95
    exec(recorded, {})
    folder, of_the_run, of_the_fit = capsys.readouterr().out.split()
    assert folder.startswith("results/wine/graph-admm-p1-")
    assert float(of_the_run) == pytest.approx(float(of_the_fit), abs=1e-9)
