"""Convolutional networks in experiments: what the file says, gradients, runs, predictions, memory."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.problems import Array, problem
from support.traced import traced

import admmctl
from admmctl.errors import ConfigError, UserError
from admmctl.experiment.config import load
from admmctl.methods.method import methods
from admmctl.model.convolution import Stack
from admmctl.model.gradient import Gradient, flat_views, gradient_flop, parameters
from admmctl.model.network import Network
from admmctl.runs.build import shape_network
from admmctl.runs.predict import load_model, predict_rows
from admmctl.runs.recorded import Recorded

MNIST: dict[str, Any] = {"name": "mnist", "scale": "unit"}
TRAINABLE = ["admm", "graph-admm", "sgd", "adam", "muon", "gd", "cg", "lbfgs"]


def experiment(
    convolution: Any, data: dict[str, Any] = MNIST, method: str = "admm", **network: Any
) -> dict[str, Any]:
    return {
        "name": "images",
        "data": data,
        "network": {"convolution": convolution, "layers": [6], **network},
        "loss": "squared",
        "methods": {method: {}},
        "stop": {"iterations": 3},
    }


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(document)
    return str(caught.value)


# -- the file


@pytest.mark.parametrize(
    ("data", "convolution", "sizes", "shapes"),
    [
        (MNIST, {"filters": [8], "pool": 4}, (784, 6272, 6, 10), [(8, 26), (6, 393), (10, 7)]),
        (MNIST, {"filters": [3], "size": "full", "pool": 28}, (784, 2352, 6, 10), [(3, 785), (6, 4), (10, 7)]),
        (
            {"name": "cifar10"},
            {"filters": [4, 2], "size": 3},
            (3072, 4096, 2048, 6, 10),
            [(4, 28), (2, 37), (6, 2049), (10, 7)],
        ),
        (
            {"name": "cifar10", "grey": 12, "classes": [0, 1]},
            {"filters": [2], "size": 4, "pool": 3},
            (144, 288, 6, 1),
            [(2, 17), (6, 33), (1, 7)],
        ),
        (
            {"name": "cifar10"},
            {"filters": [4, 2], "size": 5, "stride": 2, "pool": 2},
            (3072, 1024, 128, 6, 10),
            [(4, 76), (2, 101), (6, 33), (10, 7)],
        ),
        (
            MNIST,
            {"filters": [4, 2], "size": 5, "padding": "zeros", "pool": 6},
            (784, 4096, 2592, 6, 10),
            [(4, 26), (2, 101), (6, 73), (10, 7)],
        ),
        (
            MNIST,
            {"filters": [3], "size": 3, "padding": "zeros", "stride": 4},
            (784, 192, 6, 10),
            [(3, 10), (6, 193), (10, 7)],
        ),
    ],
)
def test_a_network_has_the_images_of_its_data(data, convolution, sizes, shapes):
    run = load(experiment(convolution, data)).runs["admm"]
    classes = 2 if "classes" in data else 10
    network = shape_network(run, math.prod(sizes[:1]), classes)
    assert network.sizes == sizes
    assert network.shapes == shapes
    reloaded = load(run.document()).runs["admm"]
    assert reloaded.hash() == run.hash()
    assert reloaded.network == run.network


def test_a_network_without_convolutions_says_nothing_of_them():
    without = load(experiment(None)).runs["admm"]
    document = experiment(None)
    del document["network"]["convolution"]
    assert without.hash() == load(document).runs["admm"].hash()
    assert "convolution" not in without.document()["network"]
    named = load(experiment({"filters": [2]})).runs["admm"].document()["network"]["convolution"]
    assert named == {"filters": [2], "size": 5, "pool": 1}  # older runs have names without what came later
    said = load(experiment({"filters": [2], "stride": 1, "padding": "circular"})).runs["admm"]
    assert said.hash() == load(experiment({"filters": [2]})).runs["admm"].hash()


def test_a_method_may_have_the_dense_network():
    document = experiment({"filters": [2]})
    document["methods"]["dense"] = {"kind": "admm", "network": {"convolution": None}}
    runs = load(document).runs
    assert runs["dense"].network.convolution is None
    assert runs["admm"].network.convolution is not None


@pytest.mark.parametrize(
    ("convolution", "key", "message_part"),
    [
        ({}, "filters", "is missing"),
        ({"filters": []}, "filters", "expected at least 1 item"),
        ({"filters": [0]}, "filters[0]", "expected 1 or more"),
        ({"filters": [8], "sise": 5}, "sise", "unknown key 'sise'; did you mean 'size'"),
        ({"filters": [8], "size": 0}, "size", "expected 1 or more or 'full'"),
        ({"filters": [8], "size": 29}, "size", "a filter of 29 x 29 is larger than the images of 1 x 28 x 28"),
        (
            {"filters": [8], "pool": 3},
            "pool",
            "the images of 1 x 28 x 28 are not whole squares of 3; valid: 1, 2, 4, 7, 14, 28",
        ),
        ({"filters": [8], "image": [3, 32, 32]}, "image", "expected [1, 28, 28], the images of 1 x 28 x 28"),
        ({"filters": [8], "image": [28, 28]}, "image", "expected at least 3 item"),
        (
            {"filters": [8], "stride": 3},
            "stride",
            "3 goes around the images of 1 x 28 x 28 in no whole number of steps; valid: 1, 2, 4, 7, 14, 28, or "
            "padding: zeros",
        ),
        (
            {"filters": [8, 4], "stride": 4},
            "stride",
            "4 goes around the maps of 8 x 7 x 7 in no whole number of steps; valid: 1, 7, or padding: zeros",
        ),
        (
            {"filters": [8, 4], "size": "full", "stride": 2},
            "size",
            "a filter of 28 x 28 is larger than the maps of 8 x 14 x 14",
        ),
        (
            {"filters": [8], "padding": "zeros", "pool": 7},
            "pool",
            "the maps of 8 x 32 x 32 are not whole squares of 7; valid: 1, 2, 4, 8, 16, 32",
        ),
        ({"filters": [8], "padding": "same"}, "padding", "expected 'circular' or 'zeros'"),
        ({"filters": [8], "stride": 0}, "stride", "expected 1 or more"),
    ],
)
def test_what_is_wrong_with_a_convolution_is_said(convolution, key, message_part):
    message = refusal(experiment(convolution))
    assert f"network.convolution.{key}: {message_part}" in message


def test_every_problem_is_said_at_once():
    lines = refusal(experiment({"filters": [8], "size": 40, "pool": 5})).splitlines()
    assert len(lines) == 2


def test_rows_that_are_no_images_are_refused():
    assert "network.convolution: rows of svhn are not images" in refusal(
        experiment({"filters": [2]}, {"name": "svhn"})
    )
    message = refusal(experiment({"filters": [2]}, {"name": "higgs"}))
    assert "network.convolution.image: is missing: higgs does not say what its images are" in message
    run = load(experiment({"filters": [2], "size": 2, "image": [1, 4, 6]}, {"name": "higgs"})).runs["admm"]
    with pytest.raises(UserError, match="1 x 4 x 6 have 24 numbers, and rows have 28 features"):
        shape_network(run, 28, 2)


def test_methods_for_dense_layers_name_those_that_train_others():
    for method in ("classical-admm", "convex-admm", "linear", "random-features", "torch-sgd"):
        document = experiment({"filters": [2]}, method=method)
        message = refusal(document)
        assert f"network.convolution: method {method} trains dense layers only" in message
        assert f"with these: {', '.join(TRAINABLE)}" in message
    start = refusal(experiment({"filters": [2]}, init="gaussian", init_scale=1.0))
    assert "network.init: gaussian draws a dense layer, and the first one is convolutional" in start


def test_penalties_count_convolutional_layers():
    document = experiment({"filters": [2, 3]})
    document["methods"]["admm"] = {"gamma": [1.0, 2.0], "beta": [1.0, 1.0, 1.0, 1.0]}
    assert "methods.admm.gamma: 2 penalties for 3 layers" in refusal(document)


# -- gradients


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [[4], []])
@pytest.mark.parametrize(
    "stack",
    [
        Stack((2, 4, 3), (2,), (3, 2)),
        Stack((1, 4, 4), (3, 2), (2, 3), 2),
        Stack((3, 4, 2), (2, 3), (3, 2), 2),
        Stack((2, 2, 4), (2,), (2, 4), 2),
        Stack((1, 8, 4), (3, 2), (3, 2), stride=2),
        Stack((2, 3, 2), (2, 2), (2, 2), zeros=True),
        Stack((1, 4, 3), (2, 2), (2, 3), stride=2, zeros=True),
    ],
)
def test_the_gradient_is_that_of_finite_differences(stack, hidden, bias):
    p = problem(
        hidden,
        samples=5,
        features=math.prod(stack.image),
        outputs=3,
        activation="tanh",
        bias=bias,
        convolution=stack,
    )
    vector = np.random.default_rng(0).standard_normal(parameters(p.network))

    def value(at: Array) -> float:
        return p.loss.value(p.network.forward(flat_views(p.network, at), p.a0), p.y)

    total = np.zeros_like(vector)
    backprop = Gradient(p.network, p.loss, 2, np.float64)
    found = backprop.add(flat_views(p.network, vector), p.a0, p.y, flat_views(p.network, total))
    assert found == pytest.approx(value(vector), rel=1e-12)
    step = 1e-6 * np.eye(len(vector))
    expected = [(value(vector + e) - value(vector - e)) / 2e-6 for e in step]
    np.testing.assert_allclose(total, expected, rtol=1e-6, atol=1e-7)


# -- runs


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Any]:
    """90 images of 2 x 6 x 4 whose class is where they are bright, as files."""
    generator = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = 0.3 * generator.standard_normal((90, 2, 6, 4)).astype(np.float32)
    for row, label in zip(x, y, strict=True):
        row[0, 2 * label : 2 * label + 2] += 1
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    return {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "test": 0.2}


CONVOLUTION = {"filters": [3, 2], "size": 3, "pool": 2, "image": [2, 6, 4]}


@pytest.mark.parametrize("method", TRAINABLE)
@pytest.mark.parametrize("bias", [True, False])
def test_a_run_learns_and_what_it_saves_predicts_the_same(method, bias, images, results, tmp_path):
    document = experiment(CONVOLUTION, images, method, bias=bias)
    document["stop"] = {"iterations": 30}
    (summary,) = admmctl.train(document)
    folder = Path(summary["folder"])
    assert summary["status"] == "exhausted"
    first, *_, last = Recorded(folder).curve
    assert last["train_loss"] < first["train_loss"]
    # The others take more steps than these; or, of so few rows, a smaller l2.
    if method in ("admm", "cg", "lbfgs"):
        assert last["train_accuracy"] > 0.8
    x, y = np.load(images["x"]), np.load(images["y"])
    labels = np.array(predict_rows(folder, Path(images["x"]), "final").labels)
    right = round(72 * last["train_accuracy"]) + round(18 * summary["final_test_accuracy"])
    assert (labels == y).sum() == right
    model = load_model(folder, "final")
    assert model.network.convolution == Stack((2, 6, 4), (3, 2), (3, 3), 2)
    one, many = (model.predict(x.reshape(90, -1)[rows])[1] for rows in (slice(3, 4), slice(None)))
    np.testing.assert_allclose(one[0], many[3], atol=1e-5)


@pytest.mark.parametrize("method", ["admm", "adam"])
@pytest.mark.parametrize(
    "layers",
    [
        {"filters": [4], "stride": 2, "pool": 1},
        {"filters": [3, 2], "size": 2, "padding": "zeros", "pool": 2},
    ],
    ids=["strides", "zeros"],
)
def test_strides_and_zeros_come_back_from_a_file(method, layers, images, results):
    document = experiment({**CONVOLUTION, **layers}, images, method)
    document["stop"] = {"iterations": 30}
    document["methods"] = {method: {"learning_rate": 0.03, "batch": 24} if method == "adam" else {}}
    (summary,) = admmctl.train(document)
    last = Recorded(Path(summary["folder"])).curve[-1]
    assert last["train_accuracy"] > 0.6
    y = np.load(images["y"])
    labels = np.array(predict_rows(Path(summary["folder"]), Path(images["x"]), "final").labels)
    right = round(72 * last["train_accuracy"]) + round(18 * summary["final_test_accuracy"])
    assert (labels == y).sum() == right


def test_weights_of_another_image_are_refused(images, results):
    (summary,) = admmctl.train(experiment(CONVOLUTION, images))
    path = Path(summary["folder"]) / "weights.npz"
    arrays = dict(np.load(path))
    for packed in ([2, 4, 6, 3, 3, 1, 3, 2], [1, 6, 4, 3, 3, 2, 3, 2], [2, 6, 4]):
        np.savez(path, **{**arrays, "convolution": packed})
        with pytest.raises(UserError, match=r"weights\.npz is damaged"):
            load_model(path.parent, "best")


def test_a_bench_counts_its_operations(results, capsys):
    from admmctl.cli import main

    path = Path(results.parent) / "conv.yaml"
    path.write_text(json.dumps(experiment({"filters": [2, 2], "size": 3, "pool": 4})))
    with pytest.raises(SystemExit) as end:
        main(["bench", str(path), "--rows", "70", "--repeat", "1", "--json"])
    assert end.value.code in (None, 0)
    result = json.loads(capsys.readouterr().out)
    assert result["network"] == [784, 1568, 1568, 6, 10]
    assert result["flop_per_iteration"] > 0
    assert result["fraction"] < 1


@pytest.mark.parametrize("method", ["admm", "sgd", "graph-admm"])
@pytest.mark.parametrize(
    "stack",
    [
        Stack((1, 28, 28), (4,), (5, 5), 4),
        Stack((1, 28, 28), (4, 4), (5, 5), 4),
        Stack((1, 28, 28), (12, 4), (5, 5), 7, stride=2),
        Stack((1, 28, 28), (4, 4), (5, 5), 6, zeros=True),
    ],
    ids=["one", "two", "strides", "zeros"],
)
def test_memory_is_what_cost_says(method, stack):
    network = Network.build(784, [20], 10, "relu", True, convolution=stack)
    whole = problem([], samples=600, features=784, outputs=10, dtype=np.float32)
    p = replace(whole, network=network)
    made = methods.load(method)(methods.load(method).Settings())
    expected = made.cost(network, 600, 600).state_bytes
    with traced() as memory:
        s = made.init(p)
        for _ in range(2):
            s = made.step(s)
        made.residuals(s)
    assert 0.4 * expected < memory.peak < 1.1 * expected, (expected, memory.peak)


def test_operations_of_a_gradient_are_those_of_its_layers():
    dense = Network.build(5, [4, 3], 2, "relu", True)
    assert gradient_flop(dense, 10) == 10 * (4 * (6 * 4 + 5 * 3 + 4 * 2) + 2 * (4 * 3 + 3 * 2))
    stack = Stack((1, 4, 4), (2,), (3, 3))
    assert gradient_flop(Network.build(16, [], 2, "relu", True, convolution=stack), 1) == (
        2 * (2.5 * 3 * 16 * 4 + 8 * 2 * 12) + 4 * 33 * 2 + 2 * 32 * 2
    )
