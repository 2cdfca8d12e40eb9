"""Experiment files that are wrong: one line each, with the place, the key and what was expected."""

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sheet import TEXT, Sheet

from admmctl.experiment.config import ConfigError, load
from admmctl.runs.build import shape_network

# --- wrong files: the place, the key, what was expected


@pytest.mark.parametrize(
    ("old", "new", "place", "near"),
    [
        ("seed: 7", "sead: 7", "10: sead", "seed"),
        ("loss: squared\n", "loss: squared\nmethod: 1\n", "5: method", "methods"),
        ("rows: 400", "clases: [0, 1]", "2: data.clases", "classes"),
        ("activation: relu", "activaton: relu", "3: network.activaton", "activation"),
        ("beta: 1.0", "bta: 1.0", "6: methods.admm.bta", "beta"),
        ("beta: 1.0", "stp: {}", "6: methods.admm.stp", "stop"),
        ("target: 0.9", "taget: 0.9", "8: stop.taget", "target"),
        ("every: 2", "evry: 2", "9: evaluate.evry", "every"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest_valid_one(
    sheet: Sheet, old: str, new: str, place: str, near: str
) -> None:
    line = sheet.change(old, new).refusal()[0]
    name = re.split(r"[ .]", place)[-1]
    assert f"tiny.yaml:{place}: unknown key '{name}'; did you mean '{near}'?" in line
    assert f" {near}" in line.partition("valid:")[2]


WRONG = [
    ("name: tiny", "name: 3", "1: name: expected a word, got 3"),
    ("name: tiny", "name: ../up", "1: name: expected letters, digits"),
    ("name: tiny", "name: ''", "1: name: expected letters, digits"),
    ("rows: 400", "rows: many", "2: data.rows: expected a whole number, got 'many'"),
    ("rows: 400", "rows: 0", "2: data.rows: expected 1 or more, got 0"),
    ("rows: 400", "rows: 4.5", "2: data.rows: expected a whole number, got 4.5"),
    ("rows: 400", "seed: -1", "2: data.seed: expected 0 or more, got -1"),
    (
        "rows: 400",
        "scale: unitt",
        "2: data.scale: expected 'standard', 'unit', 'centred', 'quantile' or 'none'",
    ),
    ("rows: 400", "classes: []", "2: data.classes: expected at least 1 item(s), got []"),
    ("rows: 400", "classes: [0, 1, 0]", "2: data.classes: a class is named twice"),
    ("rows: 400", "classes: 0", "2: data.classes: expected a list, got 0"),
    ("rows: 400", "classes: [zero, 1]", "2: data.classes[0]: expected a whole number, got 'zero'"),
    ("rows: 400", "test: some", "2: data.test: expected 'rest' or 'official' or a number, got 'some'"),
    ("rows: 400", "test: 1", "2: data.test: expected"),
    ("name: swissroll", "name: mnits", "2: data.name: unknown dataset 'mnits'; did you mean 'mnist'?"),
    ("name: swissroll, ", "", "2: data.name: a dataset's name is needed; valid: mnist, "),
    ("{name: swissroll, rows: 400}", "5", "2: data: expected a block with keys, got 5"),
    ("[6, 4]", "6", "3: network.layers: expected a list, got 6"),
    ("[6, 4]", "[6, 0]", "3: network.layers[1]: expected 1 or more, got 0"),
    ("[6, 4]", "[6, 4.5]", "3: network.layers[1]: expected a whole number, got 4.5"),
    ("[6, 4]", "[6, true]", "3: network.layers[1]: expected a whole number, got True"),
    ("bias: true", "bias: 1", "3: network.bias: expected true or false, got 1"),
    ("bias: true", "outputs: 0", "3: network.outputs: expected 1 or more, got 0"),
    ("activation: relu", "activation: rlu", "3: network.activation: unknown activation 'rlu'; did you"),
    ("loss: squared", "loss: squard", "4: loss: unknown loss 'squard'; did you mean 'squared'?"),
    ("loss: squared", "loss: [squared]", "4: loss: expected a word, got ['squared']"),
    ("beta: 1.0", "beta: 0", "6: methods.admm.beta: expected a number above 0"),
    ("beta: 1.0", "beta: true", "6: methods.admm.beta: expected a number or a list, got True"),
    ("beta: 1.0", "beta: 'one'", "6: methods.admm.beta: expected a number or a list, got 'one'"),
    ("beta: 1.0", "beta: .nan", "6: methods.admm.beta: expected a"),
    ("beta: 1.0", "beta: .inf", "6: methods.admm.beta: expected a finite number"),
    ("beta: 1.0", "beta: [1, -2, 1]", "6: methods.admm.beta[1]: expected a number above 0"),
    ("beta: 1.0", "ridge: -1e-9", "6: methods.admm.ridge: expected 0"),
    ("beta: 1.0", "ridge: .inf", "6: methods.admm.ridge: expected a finite number, got inf"),
    ("beta: 1.0", "warm_iterations: 1.5", "6: methods.admm.warm_iterations: expected a whole number"),
    ("beta: 1.0", "init: warm", "6: methods.admm.init: expected 'forward' or 'gaussian', got 'warm'"),
    ("beta: 1.0", "threads: 0", "6: methods.admm.threads: expected 1 or more"),
    ("{beta: 1.0, gamma: 10.0}", "1.0", "6: methods.admm: expected a block with keys, got 1.0"),
    ("gamma: 5.0}", "gamma: 5.0, stop: 3}", "7: methods.other.stop: expected a block with keys, got 3"),
    ("gamma: 5.0}", "gamma: 5.0, loss: 3}", "7: methods.other.loss: expected a word, got 3"),
    ("target: 0.9", "target: 1.5", "8: stop.target: an accuracy of 1.5 cannot be reached"),
    ("target: 0.9", "target: 0", "8: stop.target: an accuracy of 0 cannot be reached"),
    (
        "target: 0.9",
        "metric: train_loss, target: -1",
        "8: stop.target: a loss of -1 cannot be reached; valid: 0 or",
    ),
    ("target: 0.9", "target: .nan", "8: stop.target: expected a finite number, got nan"),
    ("target: 0.9", "target: true", "8: stop.target: expected a number, got True"),
    ("target: 0.9", "seconds: 0", "8: stop.seconds: expected a number above 0"),
    ("target: 0.9", "metric: acc", "8: stop.metric: expected 'test_accuracy', 'test_auc', 'train_accuracy',"),
    ("iterations: 3", "iterations: -3", "8: stop.iterations: expected 0 or more, got -3"),
    ("{target: 0.9, iterations: 3}", "3", "8: stop: expected a block with keys, got 3"),
    ("every: 2", "every: 0", "9: evaluate.every: expected a number above 0, got 0"),
    ("{every: 2, unit: iteration}", "[]", "9: evaluate: expected a block with keys, got []"),
    ("every: 2", "every: 0.5", "9: evaluate: expected every: a whole number of iterations, got 0.5\n"),
    (
        "seed: 7",
        "checkpoint: {every: 2.5, unit: iteration}",
        "10: checkpoint: expected every: a whole number of iterations, got 2.5\n",
    ),
    ("seed: 7", "seed: -7", "10: seed: expected 0 or more, got -7"),
    ("seed: 7", "seed: false", "10: seed: expected a whole number, got False"),
    ("seed: 7", "seed: '7'", "10: seed: expected a whole number, got '7'"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_a_wrong_value_is_one_line_with_place_key_and_what_was_expected(
    sheet: Sheet, old: str, new: str, message: str
) -> None:
    (line,) = sheet.change(old, new).refusal()
    assert f"{line}\n".startswith(f"tiny.yaml:{message}")  # a message that ends in a new line is all of it


def test_a_list_where_the_network_belongs_is_refused(sheet: Sheet) -> None:
    lines = sheet.change("{layers: [6, 4], activation: relu, bias: true}", "[6, 4]").refusal()
    assert "tiny.yaml:3: network: expected a block with keys, got [6, 4]" in lines


@pytest.mark.parametrize("key", ["name", "data", "network", "loss", "methods"])
def test_a_key_that_every_experiment_needs_is_missed_by_name(key: str) -> None:
    content = yaml.safe_load(TEXT)
    del content[key]
    with pytest.raises(ConfigError, match=f"{key}: is missing"):
        load(content)


def test_no_method_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="methods: expected at least 1 item"):
        load({**yaml.safe_load(TEXT), "methods": {}})


@pytest.mark.parametrize("stop", ["target: 1", "metric: train_loss, target: 2.5", "metric: train_loss, target: 0"])
def test_a_target_that_can_be_reached_is_fine(sheet: Sheet, stop: str) -> None:
    assert sheet.run(f"stop={{{stop}}}").stop.target == float(stop.split()[-1])


def test_penalties_per_layer_need_one_for_every_layer(sheet: Sheet) -> None:
    lines = sheet.change("{beta: 1.0, gamma: 10.0}", "{beta: [1, 2], gamma: [1, 2, 3]}").refusal()
    assert lines == [
        "tiny.yaml:6: methods.admm.beta: 2 penalties for 3 layers; give one number or 3",
        "tiny.yaml:6: methods.admm.gamma: 3 penalties for 2 layers; give one number or 2",
    ]


def test_penalties_per_layer_of_the_right_length_are_kept(sheet: Sheet) -> None:
    found = (
        sheet.change("{beta: 1.0, gamma: 10.0}", "{beta: [1, 2.5, 3], gamma: [4, 5e-1]}").run().settings.plain()
    )
    assert (found["beta"], found["gamma"]) == ([1.0, 2.5, 3.0], [4.0, 0.5])


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_three_classes_need_three_outputs(sheet: Sheet, outputs: int) -> None:
    sheet.change("{name: swissroll, rows: 400}", "{name: mnist, classes: [3, 1, 2]}")
    sheet.change("bias: true", f"bias: true, outputs: {outputs}")
    assert f"network.outputs: {outputs} outputs for 3 classes; valid: 3" in sheet.refusal()[0]


@pytest.mark.parametrize("outputs", [1, 2])
def test_two_classes_may_have_one_output_or_two(sheet: Sheet, outputs: int) -> None:
    sheet.change("rows: 400", "classes: [1, 0]").change("bias: true", f"outputs: {outputs}")
    assert sheet.run().network.outputs == outputs


def test_all_problems_come_at_once_in_the_order_of_the_file(sheet: Sheet) -> None:
    sheet.change("rows: 400", "rows: -400, clases: [0]")
    sheet.change("activation: relu", "activation: rlu")
    sheet.change("gamma: 10.0", "gama: 10.0, ridge: no")
    sheet.change("gamma: 5.0", "gamma: 0")
    sheet.change("target: 0.9", "target: 2")
    sheet.change("seed: 7", "seed: x\nsped: 1")
    lines = sheet.refusal()
    keys = "data.clases data.rows methods.admm.gama methods.admm.ridge methods.other.gamma network.activation seed"
    assert sorted(line.split(": ")[1] for line in lines) == [*keys.split(), "sped", "stop.target"]
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)


def test_a_problem_in_a_shared_block_is_told_once_for_all_methods(sheet: Sheet) -> None:
    sheet.change("[6, 4]", "[6, x]").change("every: 2", "every: never").change("iterations: 3", "iterations: x")
    assert len(sheet.refusal()) == 3


# --- names that become folders


@pytest.mark.parametrize("name", ["../up", "a/b", "/tmp/x", "", "a b", "a\\nb", "$x$", "x[/b]", "-p", "a" * 200])
def test_a_methods_name_becomes_a_folder_and_must_be_fit_for_it(sheet: Sheet, name: str) -> None:
    sheet.change("  other: {kind", f'  "{name}": {{kind')
    assert sheet.refusal()[0].startswith("tiny.yaml:7: methods.")


# --- starts and activations

NO_KERNEL = "is of a kernel, and there is none; give init: gaussian, laplacian or matern"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("init_scale: 1.0", f"init_scale: {NO_KERNEL}"),
        ("init: random, init_scale: 1.0", f"init_scale: {NO_KERNEL}"),
        ("init_smoothness: 1.5", f"init_smoothness: {NO_KERNEL}"),
        ("init: gaussian", "init_scale: is missing: the length scale of the gaussian kernel"),
        ("init: gaussian, init_scale: 0", "init_scale: expected a number above 0.0, got 0"),
        ("init: gaussian, init_scale: .inf", "init_scale: expected a finite number, got inf"),
        ("init: matern, init_scale: 1, init_smoothness: 0", "init_smoothness: expected a number above 0"),
        (
            "init: laplacian, init_scale: 1, init_smoothness: 1.5",
            "init_smoothness: is of init: matern, not of laplac",
        ),
        (
            "init: gausian, init_scale: 1",
            "init: expected 'random', 'gaussian', 'laplacian' or 'matern', got 'gausian'",
        ),
        (
            "init: matern, init_scale: 1, bias: false",
            "bias: init: matern draws biases for its phases; give bias: true",
        ),
        (
            "init: gaussian, init_scale: 1, layers: []",
            "layers: init: gaussian starts the first hidden layer; there is",
        ),
    ],
)
def test_a_start_that_cannot_be_is_one_line(sheet: Sheet, network: str, message: str) -> None:
    (line,) = sheet.refusal(f"network={{{network if 'layers' in network else 'layers: [6, 4], ' + network}}}")
    assert f"network.{message}" in line


def test_a_method_without_updates_for_cosines_says_what_it_has(sheet: Sheet) -> None:
    (line,) = sheet.refusal("methods={graph-admm: {}}", "network.activation=cosine")
    assert "method graph-admm has no activation 'cosine'; it has: relu, hard-sigmoid, dcutlu" in line


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("admm", "[relu]", "1 activations for 2 hidden layers; give one name or 2"),
        ("admm", "[relu, tanh, relu]", "3 activations for 2 hidden layers; give one name or 2"),
        ("admm", "[relu, rlu]", "unknown activation 'rlu'; did you mean 'relu'"),
        ("admm", "['dcutlu(0, 1)', 'dcutlu(2, 1)']", "expected numbers l < u"),
        (
            "graph-admm",
            "[relu, tanh]",
            "method graph-admm has no activation 'tanh'; it has: relu, hard-sigmoid, dcutlu",
        ),
        ("linear", "[relu, tanh, tanh]", "3 activations for 2 hidden layers"),
    ],
)
def test_a_list_of_activations_has_one_for_every_hidden_layer(sheet: Sheet, method: str, given: str, message: str):
    (line,) = sheet.refusal(f"methods={{{method}: {{}}}}", f"network.activation={given}")
    assert "network.activation: " in line
    assert message in line


def test_methods_take_activations_for_each_layer_or_have_layers_of_their_own(sheet: Sheet) -> None:
    def units(method: str, *changes: str) -> list[str]:
        network = shape_network(sheet.load(f"methods={{{method}: {{}}}}", *changes).runs[method], 3, 2)
        return [type(h).__name__ for h in network.activations]

    mixed = "network.activation=['dcutlu(0, 1)', relu]"
    assert units("admm", mixed) == units("sgd", mixed) == ["Dcutlu", "Relu"]
    assert units("linear", mixed) == []
    own = "network.activation=[relu, relu]", "loss=signed-squared"
    assert units("convex-admm", *own) == ["Relu"]


def test_a_method_that_draws_patterns_of_its_own_takes_no_kernel(sheet: Sheet) -> None:
    network = "network={layers: [6], init: gaussian, init_scale: 1.0}"
    (line,) = sheet.refusal("methods={convex-admm: {}}", "loss=signed-squared", network)
    assert "network.init: method convex-admm has a start of its own; valid: random" in line


# --- anything at all

KEYS = [
    *("name", "data", "data.name", "data.classes", "data.test", "network", "network.layers", "network.activation"),
    *("network.outputs", "loss", "stop", "stop.target", "stop.metric", "evaluate.every", "seed", "threads"),
    *("methods", "methods.admm", "methods.admm.kind", "methods.admm.preset", "methods.admm.beta"),
    *("methods.admm.network", "methods.admm.loss", "methods.admm.stop", "methods.admm.evaluate"),
    *("methods.admm.bias", "methods.admm.threads"),
]
NAMES = st.sampled_from(["admm", "name", "layers", "target", "kind", "x"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | SCALARS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=3))
def test_whatever_stands_in_a_file_it_is_an_experiment_or_a_clear_refusal(changes: list[Any]) -> None:
    content = yaml.safe_load(TEXT)
    for keys, value in changes:
        *above, last = keys.split(".")
        block = content
        for key in above:
            block = block.get(key) if isinstance(block, dict) else None
        if isinstance(block, dict):
            block[last] = value
    try:
        experiment = load(content)
    except ConfigError:
        return
    for run in experiment.runs.values():
        assert load(run.document()).runs[run.method].hash() == run.hash()
