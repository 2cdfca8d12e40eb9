"""Recurrent networks: outputs and gradients against plain loops, what an experiment says, runs and predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.recurrent import Array, by_loops, recurrent

import admmctl
from admmctl.errors import ConfigError, UserError
from admmctl.experiment.config import load
from admmctl.methods.gradient.foof import Foof, FoofSettings
from admmctl.methods.method import methods
from admmctl.model.gradient import Gradient, flat_views, gradient_flop, parameters
from admmctl.model.initial import descent_weights, initial_weights
from admmctl.model.network import Network
from admmctl.model.recurrent import Recurrence
from admmctl.runs.build import shape_network
from admmctl.runs.predict import load_model, predict_rows
from admmctl.runs.recorded import Recorded

ABLE = ["admm", "graph-admm", "sgd", "adam", "foof"]
per_activation = pytest.mark.parametrize("activation", ["relu", "tanh", "hard-sigmoid"])


def random_vector(network: Network, seed: int = 0) -> Array:
    return 0.5 * np.random.default_rng(seed).standard_normal(parameters(network))


# -- the network


@per_activation
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_are_those_of_a_loop_over_steps(activation, bias):
    p = recurrent(activation=activation, bias=bias, outputs=3)
    W = flat_views(p.network, random_vector(p.network))
    assert [W_l.shape for W_l in W] == [(5, 8 + bias), (3, 5 + bias)]
    expected = by_loops(W, p.a0[:-1].T, 4, activation, bias)[-1]
    np.testing.assert_allclose(p.network.forward(W, p.a0), expected, rtol=1e-12)


def test_steps_of_permuted_features_hold_every_feature_once():
    plain, permuted = Recurrence(5, 4, 12), Recurrence(5, 4, 12, permute=3)
    taken = np.concatenate([np.arange(12)[permuted.part(t)] for t in range(1, 5)])
    assert sorted(taken) == list(range(12))
    assert list(taken) != list(range(12))
    other = Recurrence(5, 4, 12, permute=4)
    assert list(taken) != [*np.concatenate([np.arange(12)[other.part(t)] for t in range(1, 5)])]
    p, q = recurrent(), recurrent(recurrence=permuted)
    W = flat_views(p.network, random_vector(p.network))
    inputs = np.vstack([p.a0[:-1][taken], p.a0[-1:]])
    np.testing.assert_array_equal(q.network.forward(W, p.a0), p.network.forward(W, inputs))
    np.testing.assert_array_equal(plain.part(2), slice(3, 6))


def test_layers_are_the_steps_and_share_a_matrix():
    network = Network.build(12, [], 3, "relu", True, recurrence=Recurrence(5, 4, 12))
    assert (network.sizes, network.layers) == ((12, 5, 5, 5, 5, 3), 5)
    assert [network.matrix(l) for l in range(1, 6)] == [1, 1, 1, 1, 2]
    assert (network.times, network.alike) == ([4, 1], {1: 1, 2: 1, 3: 1, 4: 4})
    assert network.of_layers(["W", "O"]) == {1: "W", 2: "W", 3: "W", 4: "W", 5: "O"}
    dense = Network.build(12, [5, 4], 3, "relu", True)
    assert (dense.times, dense.alike) == ([1, 1, 1], {1: 1, 2: 2})
    assert dense.of_layers([10, 20, 30]) == {1: 10, 2: 20, 3: 30}


@pytest.mark.parametrize("weights", [initial_weights, descent_weights])
def test_the_recurrent_block_starts_at_a_multiple_of_the_identity(weights):
    network = Network.build(3000, [], 1, "relu", True, recurrence=Recurrence(50, 10, 3000, start=0.8))
    W, O = weights(network, 0, np.float64)
    np.testing.assert_allclose(W[:, :50], 0.8 * np.eye(50))
    assert W[:, 50:350].std() == pytest.approx(np.sqrt(2 / 3010), rel=0.02)
    assert (W[:, -1] == 0).all() == (weights is descent_weights)
    assert O.shape == (1, 51)


@pytest.mark.parametrize(("units", "steps", "features"), [(5, 1, 12), (5, 5, 12), (0, 4, 12)])
def test_steps_that_do_not_fit_are_refused(units, steps, features):
    with pytest.raises(ValueError, match="do not fit"):
        Recurrence(units, steps, features)


# -- gradients by backpropagation through time


@per_activation
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_gradients_are_those_of_finite_differences(activation, loss):
    p = recurrent(activation=activation, loss=loss, outputs=3)
    vector, h = random_vector(p.network), 1e-6
    z = by_loops(flat_views(p.network, vector), p.a0[:-1].T, 4, activation)[:-1]
    kinks = {"relu": [0.0], "hard-sigmoid": [0.0, 1.0]}.get(activation, [])
    assert min((np.abs(z_t - kink).min() for z_t in z for kink in kinks), default=1) > 1e-4  # no step crosses one
    gradient = np.zeros_like(vector)
    backprop = Gradient(p.network, p.loss, 7, np.float64)
    W = flat_views(p.network, vector)
    loss_sum = backprop.add(W, p.a0, p.y, flat_views(p.network, gradient))
    assert loss_sum == pytest.approx(p.loss.value(p.network.forward(W, p.a0), p.y), rel=1e-12)
    for number in range(len(vector)):
        moved = np.tile(vector, (2, 1))
        moved[:, number] += h, -h
        above, below = (p.loss.value(p.network.forward(flat_views(p.network, v), p.a0), p.y) for v in moved)
        assert gradient[number] == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-6)


def test_a_step_of_foof_is_the_least_squares_over_samples_and_steps():
    p = recurrent(loss="squared", activation="tanh")
    method = Foof(FoofSettings(batch=30, learning_rate=0.3, momentum=0.0, damping=0.5))
    s = method.init(p)
    before, n = method.weights(s), p.total
    x = p.a0[:-1].T
    *z, outputs = by_loops(before, x, 4, "tanh")
    a = [np.zeros((5, n)), *(np.tanh(z_t) for z_t in z)]
    V = [np.vstack([a[t], np.split(x, 4, axis=1)[t].T, np.ones(n)]) for t in range(4)]
    E = [2 * (outputs - p.y)]  # of the outputs, then of z_T, z_{T-1}, ..
    for t in range(4, 0, -1):
        U = before[1][:, :5] if t == 4 else before[0][:, :5]
        E.append(U.T @ E[-1] * (1 - a[t] ** 2))
    top = np.vstack([a[4], np.ones(n)])
    pairs = [(E[:0:-1], V), (E[:1], [top])]  # E of steps 1..T
    after = method.weights(method.step(s))
    for W, W_new, (E_of, V_of) in zip(before, after, pairs, strict=True):
        gradient = sum(e @ v.T for e, v in zip(E_of, V_of, strict=True)) / n
        A = sum(v @ v.T for v in V_of) / n
        A += 0.5 * np.trace(A) / len(A) * np.eye(len(A))
        np.testing.assert_allclose(W_new, W - 0.3 * gradient @ np.linalg.inv(A), rtol=1e-9)


def test_operations_of_a_gradient_are_counted_step_by_step():
    network = Network.build(12, [], 3, "relu", True, recurrence=Recurrence(5, 4, 12))
    forward = 4 * 2 * 5 * 9 + 2 * 3 * 6
    assert gradient_flop(network, 10) == 10 * (2 * forward + 3 * 2 * 5 * 5 + 2 * 3 * 5)


# -- the file


def experiment(method: str = "sgd", data: dict[str, Any] | None = None, **network: Any) -> dict[str, Any]:
    activation = "cosine" if method == "random-features" else "relu"
    return {
        "name": "rows",
        "data": {"name": "mnist", "steps": 28, **(data or {})},
        "network": {"recurrent": 16, "activation": activation, **network},
        "loss": "signed-squared" if method == "convex-admm" else "squared",
        "methods": {method: {}},
        "stop": {"iterations": 3},
    }


def refusal(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(document)
    return str(caught.value).splitlines()


def test_the_number_of_steps_is_that_of_the_data():
    run = load(experiment(data={"permute": 2})).runs["sgd"]
    network = shape_network(run, 784, 10)
    assert network.recurrence == Recurrence(16, 28, 784, 2, 0.9)
    assert network.shapes == [(16, 16 + 28 + 1), (10, 17)]
    assert load(run.document()).runs["sgd"] == run
    assert "layers" not in run.document()["network"]


def test_experiments_without_recurrence_say_nothing_of_it():
    document = experiment()
    document["data"], document["network"] = {"name": "mnist"}, {"layers": [10]}
    plain = load(document).runs["sgd"].document()
    assert {"recurrent", "recurrent_start"}.isdisjoint(plain["network"])
    assert {"steps", "permute"}.isdisjoint(plain["data"])


def test_a_method_may_have_a_network_of_its_own():
    document = experiment()
    document["methods"]["linear"] = {"network": {"recurrent": None, "layers": []}}
    runs = load(document).runs
    assert runs["linear"].network.recurrent is None
    assert shape_network(runs["linear"], 784, 10).sizes == (784, 10)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            experiment(data={"steps": 30}),
            "data.steps: 30 steps do not divide the 784 features of a row; valid: 2, 4, 7, 8, 14, 16, 28, 49,",
        ),
        (experiment(data={"steps": 1}), "data.steps: expected 2 or more, got 1"),
        (experiment(data={"steps": None}), "network.recurrent: reads a row in parts; give data.steps, how many"),
        (experiment(data={"steps": None, "permute": 1}), "data.permute: is the order in which features enter"),
        (experiment(recurrent=0), "network.recurrent: expected 1 or more, got 0"),
        (experiment(layers=[10]), "network.layers: a recurrent network has no other hidden layers"),
        (experiment(convolution={"filters": [2]}), "network.convolution: a recurrent network has no layers below"),
        (experiment(init="gaussian", init_scale=1.0), "network.init: a recurrent network starts from no kernel"),
        (experiment("graph-admm", activation="tanh"), "method graph-admm has no activation 'tanh'"),
        (experiment(activation=["relu"]), "network.activation: a recurrent network has one; give a name, no list"),
    ],
)
def test_what_does_not_fit_is_said(document, message):
    assert any(message in line for line in refusal(document))


def test_a_network_of_neither_kind_is_said_to_lack_layers():
    assert "network.layers: is missing" in refusal(experiment(recurrent=None))[0]


def test_dropout_is_refused():
    document = experiment()
    document["methods"]["sgd"] = {"dropout": 0.2}
    (line,) = refusal(document)
    assert "methods.sgd.dropout: is of networks that are not recurrent" in line


def test_steps_share_weights_that_none_of_them_has_first():
    document = experiment("graph-admm")
    document["methods"]["graph-admm"] = {"weights_above": "new"}
    (line,) = refusal(document)
    assert "methods.graph-admm.weights_above: steps of a recurrent network share their weights" in line


@pytest.mark.parametrize("method", [name for name in methods if name not in ABLE])
def test_other_methods_name_those_that_train_recurrent_networks(method):
    lines = [line for line in refusal(experiment(method)) if "recurrent" in line]
    (line,) = lines
    assert f"network.recurrent: method {method} trains no recurrent networks" in line
    assert f"with these: {', '.join(name for name in methods if name in ABLE)}" in line


def test_steps_are_held_against_the_features_of_files():
    run = load(experiment(data={"name": "files", "x": "x.npy", "y": "y.npy", "steps": 4})).runs["sgd"]
    with pytest.raises(UserError, match="4 steps do not divide the 6 features of a row; valid: 2, 3, 6"):
        shape_network(run, 6, 2)


# -- runs


def order_of_two(folder: Path, rows: int = 600) -> dict[str, Any]:
    """Which of two bumps comes first, in rows of eight steps of two features; to be told by order alone."""
    generator = np.random.default_rng(0)
    x, y = 0.1 * generator.standard_normal((rows, 8, 2)), generator.integers(0, 2, rows)
    early, late = generator.integers(0, 4, rows), generator.integers(4, 8, rows)
    x[np.arange(rows), early, y] += 1
    x[np.arange(rows), late, 1 - y] += 1
    np.save(folder / "x.npy", x.reshape(rows, 16).astype(np.float32))
    np.save(folder / "y.npy", y)
    return {
        "name": "two",
        "data": {
            "name": "files",
            "x": str(folder / "x.npy"),
            "y": str(folder / "y.npy"),
            "test": 0.25,
            "steps": 8,
        },
        "network": {"recurrent": 12, "activation": "tanh"},
        "loss": "cross-entropy",
        "methods": {"adam": {"batch": 50, "learning_rate": 0.01}},
        "stop": {"epochs": 12},
    }


@pytest.mark.parametrize("permute", [None, 5])
def test_a_run_learns_the_order_of_steps_and_predicts_as_it_was_evaluated(permute, tmp_path, monkeypatch):
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    document = order_of_two(tmp_path)
    if permute is not None:
        document["data"]["permute"] = permute
    (result,) = admmctl.train(document)
    folder = Path(result["folder"])
    assert permute is not None or result["final_test_accuracy"] > 0.95
    model = load_model(folder, "final")
    assert model.network.recurrence == Recurrence(12, 8, 16, permute)
    x, y = np.load(tmp_path / "x.npy"), np.load(tmp_path / "y.npy")
    predicted = predict_rows(folder, tmp_path / "x.npy", "final")
    order = np.random.default_rng(0).permutation(600)  # of the split by fraction
    right = np.array(predicted.labels)[order[450:]] == y[order[450:]]
    assert right.mean() == pytest.approx(result["final_test_accuracy"], abs=1e-9)
    assert len(x) == len(predicted.labels)
    assert Recorded(folder).summary is not None


def test_weights_that_do_not_fit_their_steps_are_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    document = order_of_two(tmp_path, 80)
    document["stop"] = {"iterations": 1}
    (result,) = admmctl.train(document)
    path = Path(result["folder"]) / "weights.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    for packed in ([5, -1], [1, -1], [8], [4, -1]):
        np.savez(path, **{**content, "recurrence": np.array(packed)})
        with pytest.raises(UserError, match="is damaged"):
            load_model(Path(result["folder"]), "final")
