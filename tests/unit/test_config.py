"""Experiment files: what they mean when they are right, and what is said when they are wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from admmctl.errors import UserError
from admmctl.experiment.config import ConfigError, Experiment, Run, load
from admmctl.experiment.yamlfile import dump, parse_value
from admmctl.runs.build import shape_network

TEXT = """\
name: tiny
data: {name: swissroll, rows: 400}
network: {layers: [6, 4], activation: relu, bias: true}
loss: squared
methods:
  admm: {beta: 1.0, gamma: 10.0}
  other: {kind: admm, gamma: 5.0}
stop: {target: 0.9, iterations: 3}
evaluate: {every: 2, unit: iteration}
seed: 7
"""


class Sheet:
    """An experiment file that a test changes before it is read."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tiny.yaml"
        self.path.write_text(TEXT)

    def change(self, old: str, new: str) -> "Sheet":
        text = self.path.read_text()
        assert text.count(old) == 1, f"{old!r} must stand exactly once in the file"
        self.path.write_text(text.replace(old, new))
        return self

    def load(self, *overrides: str) -> Experiment:
        return load(self.path, overrides)

    def run(self, *overrides: str) -> Run:
        """That of the method admm."""
        return self.load(*overrides).runs["admm"]

    def refusal(self, *overrides: str) -> list[str]:
        """The lines of the message with which the file is refused, without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.load(*overrides)
        assert caught.value.exit_code == 2
        return str(caught.value).replace(f"{self.path.parent}/", "").splitlines()


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    return Sheet(tmp_path)


# --- a good file


def test_the_example_is_read_as_written(sheet: Sheet) -> None:
    experiment = sheet.load()
    assert list(experiment.runs) == ["admm", "other"]
    run = experiment.select(None)[0]
    assert (run.experiment, run.method, run.kind, run.loss, run.seed) == ("tiny", "admm", "admm", "squared", 7)
    assert run.network.layers == [6, 4]
    assert run.stop.target == 0.9
    assert run.evaluate.every == 2
    assert run.settings.plain()["beta"] == 1.0


def test_a_mapping_means_the_same_as_a_file_and_is_not_changed(sheet: Sheet) -> None:
    content, overrides = yaml.safe_load(TEXT), ("methods.admm.beta=2", "data.rows=80")
    assert load(content, overrides).runs["admm"] == sheet.run(*overrides)
    assert content == yaml.safe_load(TEXT)


def test_what_a_short_file_leaves_out_has_defaults() -> None:
    blocks = {"data": {"name": "swissroll"}, "network": {"layers": []}, "methods": {"admm": None}}
    run = load({"name": "short", "loss": "hinge", **blocks}).select(None)[0]
    assert (run.stop.iterations, run.stop.target, run.stop.metric) == (100, None, "test_accuracy")
    assert (run.evaluate.every, run.evaluate.unit, run.seed, run.threads) == (1, "iteration", 0, None)
    assert run.network.bias


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "1E-3", "+1e-3", "10e-4", ".1e-2", "0.001"])
def test_scientific_notation_is_a_number(sheet: Sheet, written: str) -> None:
    found = sheet.change("beta: 1.0", f"beta: {written}").run(f"methods.admm.ridge={written}").settings.plain()
    assert (found["beta"], found["ridge"]) == pytest.approx((1e-3, 1e-3))


def test_words_that_look_a_little_like_numbers_stay_words(sheet: Sheet) -> None:
    sheet.change("name: tiny", "name: 1e3-digits")
    assert sheet.load().name == "1e3-digits"


def test_the_kind_is_the_blocks_name_unless_given(sheet: Sheet) -> None:
    runs = sheet.load().runs
    assert (runs["admm"].kind, runs["other"].kind) == ("admm", "admm")
    assert "did you mean 'admm'" in sheet.change("{kind: admm, gamma", "{kind: adm, gamma").refusal()[0]


def test_a_method_is_chosen_by_name_or_all_of_them(sheet: Sheet) -> None:
    experiment = sheet.load()
    assert [run.method for run in experiment.select("other")] == ["other"]
    assert [run.method for run in experiment.select("all")] == ["admm", "other"]
    with pytest.raises(UserError, match=r"unknown method 'othr'; did you mean 'other'\? valid: admm, all, other"):
        experiment.select("othr")


# --- presets


def test_the_preset_is_the_paper_to_the_letter(sheet: Sheet) -> None:
    run = sheet.change("{beta: 1.0, gamma: 10.0}", "{preset: paper}").run()
    expected = {"beta": 1.0, "gamma": 10.0, "ridge": 1e-8, "init": "gaussian", "multipliers": "bregman"}
    expected |= {"multiplier_step": 1.0, "sweep": "forward"}
    assert expected.items() <= run.settings.plain().items()
    assert run.network.bias is False


@pytest.mark.parametrize("bias", ["bias: true", "network: {bias: true}"])
def test_own_keys_go_on_top_of_a_preset(sheet: Sheet, bias: str) -> None:
    run = sheet.change("{beta: 1.0, gamma: 10.0}", f"{{preset: paper, ridge: 0.5, {bias}}}").run()
    assert (run.settings.plain()["ridge"], run.settings.plain()["init"]) == (0.5, "gaussian")
    assert run.network.bias is True


def test_an_unknown_preset_names_the_valid_ones(sheet: Sheet) -> None:
    lines = sheet.change("{beta: 1.0, gamma: 10.0}", "{preset: papr}").refusal()
    assert lines == ["tiny.yaml:6: methods.admm.preset: unknown preset 'papr'; valid: paper"]


# --- a method's own network, loss, stop and evaluate


def test_a_method_overrides_the_shared_blocks_key_by_key(sheet: Sheet) -> None:
    own = "network: {layers: [3]}, loss: hinge, evaluate: {every: 5}, stop: {target: 0.5}, threads: 2"
    sheet.change("gamma: 5.0}", f"gamma: 5.0, {own}}}")
    plain, run = (sheet.load().runs[name] for name in ("admm", "other"))
    assert (run.network.layers, run.network.activation, run.network.bias) == ([3], "relu", True)
    assert (run.loss, run.threads, run.evaluate.every, run.evaluate.unit) == ("hinge", 2, 5, "iteration")
    assert (run.stop.target, run.stop.iterations) == (0.5, 3)
    assert (plain.network.layers, plain.loss, plain.evaluate.every, plain.threads) == ([6, 4], "squared", 2, None)


@pytest.mark.parametrize(
    ("shared", "own", "iterations", "epochs"),
    [
        ("iterations: 3", "epochs: 2.0", None, 2.0),
        ("epochs: 4.0", "iterations: 9", 9, None),
        ("iterations: 3, epochs: 4.0", "epochs: 2.0", None, 2.0),
        ("iterations: 3, epochs: 4.0", "seconds: 5.0", 3, 4.0),
        ("iterations: 3", "iterations: 9, epochs: 2.0", 9, 2.0),
    ],
)
def test_iterations_and_epochs_are_one_budget(
    sheet: Sheet, shared: str, own: str, iterations: int | None, epochs: float | None
) -> None:
    sheet.change("iterations: 3}", f"{shared}}}").change("gamma: 5.0}", f"gamma: 5.0, stop: {{{own}}}}}")
    stop = sheet.load().runs["other"].stop
    assert (stop.iterations, stop.epochs) == (iterations, epochs)


def test_a_run_without_any_budget_gets_one(sheet: Sheet) -> None:
    assert sheet.change("{target: 0.9, iterations: 3}", "{target: 0.9}").run().stop.iterations == 100


def test_bias_in_a_method_block_is_short_for_the_networks(sheet: Sheet) -> None:
    runs = sheet.change("gamma: 5.0}", "gamma: 5.0, bias: false}").load().runs
    assert (runs["admm"].network.bias, runs["other"].network.bias) == (True, False)


def test_problems_in_a_methods_own_blocks_name_the_full_key(sheet: Sheet) -> None:
    sheet.change("gamma: 5.0}", "gamma: 5.0, stop: {iteratons: 3}, network: {layers: [0]}, evaluate: {unit: day}}")
    text = "\n".join(sheet.refusal())
    assert "tiny.yaml:7: methods.other.stop.iteratons: unknown key 'iteratons'; did you mean 'iterations'?" in text
    assert "tiny.yaml:7: methods.other.network.layers[0]: expected 1 or more, got 0" in text
    assert "tiny.yaml:7: methods.other.evaluate.unit: expected 'iteration' or 'epoch', got 'day'" in text


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


# --- YAML itself


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: x\ndata: {name: mnist\nloss: y\n", 3),
        ("name: x\n\tdata: 1\n", 2),
        ("name: x\nloss: *nothing\n", 2),
        ("name: x\n---\nname: y\n", 2),
        ("name: x\nloss: !!python/object:os.system ls\n", 2),
    ],
)
def test_broken_yaml_is_told_with_its_line(sheet: Sheet, text: str, line: int) -> None:
    sheet.path.write_text(text)
    (message,) = sheet.refusal()
    assert message.startswith(f"tiny.yaml:{line}: not valid YAML")


@pytest.mark.parametrize(
    "value",
    [
        "2020-13-45",  # a date that is none
        "0b_",  # a binary number without digits
        "!!int x",
        "9" * 5000,  # more digits than Python converts
        "o\x07k",  # a control character
        "\n? [a, b]\n: 1",  # a list as a key
        "\n? {a: b}\n: 1",
        "[" * 3000,
        "&a [*a]",  # a list that holds itself
    ],
    ids=["date", "binary", "int-tag", "digits", "control", "list-key", "mapping-key", "deep", "recursive"],
)
def test_strange_yaml_is_a_problem_of_the_file_and_not_of_the_program(sheet: Sheet, value: str) -> None:
    assert sheet.change("seed: 7", f"seed: {value}").refusal()[0].startswith("tiny.yaml:")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 7", "seed: 7\nname: again", "tiny.yaml:11: name is given twice, first in line 1"),
        ("beta: 1.0, gamma: 10.0", "beta: 1.0, beta: 2.0", "tiny.yaml:6: methods.admm.beta is given twice"),
        ("  other:", "  admm:", "tiny.yaml:7: methods.admm is given twice, first in line 6"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(sheet: Sheet, old: str, new: str, message: str) -> None:
    assert sheet.change(old, new).refusal()[0].startswith(message)


@pytest.mark.parametrize(
    ("written", "read"), [("0123", 83), ("010", 8), ("-07", -7), ("00", 0), ("1:30", 90), ("1:30.5", 90.5)]
)
def test_a_number_that_yaml_reads_as_another_is_refused(sheet: Sheet, written: str, read: float) -> None:
    said = f"{written} would be read as {read}; write the number without zeros before it"
    assert sheet.change("seed: 7", f"seed: {written}").refusal()[0].startswith(f"tiny.yaml:10: seed: {said}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=0123", "seed: 0123 would be read as 83"),
        ("network.layers=[5, 010]", "network.layers.1: 010 would be read as 8"),
        ("methods.admm={beta: 1:30}", "methods.admm.beta: 1:30 would be read as 90"),
        ("methods.admm={beta: 1, beta: 2}", "methods.admm.beta is given twice"),
        ("methods={010: {kind: admm}}", "methods.010: 010 would be read as 8"),
        ("sweep.space.admm={beta: [!!float '0:30', 1]}", "sweep.space.admm.beta.0: 0:30 would be read as 30"),
    ],
)
def test_the_same_holds_for_set(sheet: Sheet, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        sheet.load(override)
    assert str(caught.value).startswith(f"--set {override}: {message}")


@pytest.mark.parametrize(
    ("written", "value"),
    [("0", 0), ("+5", 5), ("-3", -3), ("0x10", 16), ("1_000", 1000), ("'010'", "010"), ("01.5", 1.5)],
)
def test_a_number_that_reads_as_it_is_written_is_one(written: str, value: object) -> None:
    assert parse_value(written, f"key={written}") == value


@pytest.mark.parametrize("value", ["010", "1e3", "1:30", "1e-3", 1e-3, 1e-30, 8, True, "yes", None, ".5"])
def test_what_is_written_is_read_back(value: object) -> None:
    assert parse_value(dump({"key": value}), "") == {"key": value}


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "- a\n- b\n", "just words\n", "3\n", "---\n"])
def test_a_file_without_a_mapping_says_what_an_experiment_is(sheet: Sheet, text: str) -> None:
    sheet.path.write_text(text)
    assert "an experiment is a mapping with the keys name, data, network" in sheet.refusal()[0]


def test_a_missing_file_names_those_nearby(tmp_path: Path, sheet: Sheet) -> None:
    for name, nearby in (("tinny.yaml", f"; there is: {sheet.path}"), ("nowhere/tiny.yaml", "")):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: there is no such file{nearby}"


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00name"], ids=["folder", "binary"])
def test_a_folder_or_a_binary_file_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "thing.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"thing\.yaml: (cannot be read|not valid YAML)"):
        load(path)


def test_windows_line_ends_and_a_byte_order_mark_are_fine(sheet: Sheet) -> None:
    expected = sheet.run().hash()
    sheet.path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert sheet.run().hash() == expected


# --- --set


def test_set_changes_one_key(sheet: Sheet) -> None:
    run = sheet.run("methods.admm.ridge=1e-5", "seed=3", "network.layers=[9]", "data.classes=[1, 0]")
    assert run.settings.plain() == {**sheet.run().settings.plain(), "ridge": 1e-5}
    assert (run.seed, run.network.layers, run.data.classes) == (3, [9], [1, 0])
    assert sheet.run("stop.target=").stop.target is None


def test_set_makes_blocks_that_the_file_does_not_have(sheet: Sheet) -> None:
    sheet.change("evaluate: {every: 2, unit: iteration}\n", "").change("{beta: 1.0, gamma: 10.0}", "")
    runs = sheet.load("evaluate.every=4", "methods.admm.stop.seconds=2", "methods.third.kind=admm").runs
    assert list(runs) == ["admm", "other", "third"]
    assert (runs["admm"].evaluate.every, runs["admm"].stop.seconds) == (4, 2)


def test_set_to_a_mapping_replaces_the_whole_block(sheet: Sheet) -> None:
    run = sheet.run("stop={seconds: 4}", "methods.admm={ridge: 0.5}")
    assert (run.stop.seconds, run.stop.target, run.stop.iterations) == (4, None, None)
    assert run.settings.plain()["ridge"] == 0.5
    assert list(sheet.load("methods={only: {kind: admm}}").runs) == ["only"]


def test_the_last_set_of_a_key_wins_and_they_build_on_each_other(sheet: Sheet) -> None:
    run = sheet.run("stop={seconds: 4}", "stop.target=0.5", "stop.target=0.6")
    assert (run.stop.seconds, run.stop.target) == (4, 0.6)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_set_reaches_a_name_with_a_dot_in_quotes(sheet: Sheet, quote: str) -> None:
    sheet.change("  other: {kind: admm, gamma: 5.0}", "  relu-0.005: {kind: admm, gamma: 5.0}")
    key = f"methods.{quote}relu-0.005{quote}"
    runs = sheet.load(f"{key}.ridge=1e-5", f"{key}.stop={{seconds: 2}}").runs
    assert list(runs) == ["admm", "relu-0.005"]
    assert (runs["relu-0.005"].settings.plain()["ridge"], runs["relu-0.005"].stop.seconds) == (1e-5, 2)
    assert sheet.load("methods={}", f"{key}={{kind: admm, ridge: 0.5}}").runs.keys() == {"relu-0.005"}
    (line,) = sheet.refusal(f"{key}.rige=1")
    assert f"--set {key}.rige=1 (tiny.yaml:7): methods.relu-0.005.rige: unknown key 'rige'" in line


def test_a_name_with_a_dot_and_no_quotes_is_answered_with_the_line_that_has_them(sheet: Sheet) -> None:
    sheet.change("  other: {kind: admm, gamma: 5.0}", "  relu-0.005: {kind: admm, gamma: 5.0}")
    with pytest.raises(UserError) as caught:
        sheet.load("methods.relu-0.005.stop.seconds=2")
    assert str(caught.value).endswith("""stands in quotes: --set 'methods."relu-0.005".stop.seconds=2'""")
    assert sheet.load("methods.relu-0.kind=admm").runs.keys() >= {"relu-0", "relu-0.005"}


def test_a_value_may_hold_an_equals_sign(sheet: Sheet) -> None:
    assert "got 'a=b'" in sheet.refusal("methods.admm.init=a=b")[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods.admm.bta=1", " (tiny.yaml:6): methods.admm.bta: unknown key 'bta'; did you mean 'beta'?"),
        (
            "stop={target: 0.7, iteratons: 1}",
            ": stop.iteratons: unknown key 'iteratons'; did you mean 'iterations'?",
        ),
        ("method.admm.beta=1", ": method: unknown key 'method'; did you mean 'methods'?"),
        ("methods.adm.beta=1", " (tiny.yaml:5): methods.adm: unknown method 'adm'; did you mean 'admm'?"),
    ],
)
def test_what_set_misspells_names_the_option_the_line_and_the_nearest_key(
    sheet: Sheet, override: str, message: str
) -> None:
    assert sheet.refusal(override)[0].startswith(f"--set {override}{message}")


@pytest.mark.parametrize("override", ["seed", "=3", "", "   =3", "."])
def test_set_without_a_key_or_a_value_says_what_is_expected(sheet: Sheet, override: str) -> None:
    with pytest.raises(UserError, match="expected key=value, for instance methods") as caught:
        sheet.load(override)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("override", ["name.first=3", "network.layers.0=3", "seed.a.b=1"])
def test_set_below_something_that_is_no_block_is_refused(sheet: Sheet, override: str) -> None:
    with pytest.raises(UserError, match=r"is not a block with keys"):
        sheet.load(override)


@pytest.mark.parametrize(
    "value",
    ["[1, 2", "{a: ", "*x", "a: b: c", "2020-13-45", "0b_", "[" * 3000, "9" * 5000, "{[a]: 1}", "'\x07'"],
    ids=["list", "mapping", "alias", "colons", "date", "binary", "deep", "digits", "list-key", "control"],
)
def test_bad_yaml_in_set_is_one_line_that_names_the_option(sheet: Sheet, value: str) -> None:
    with pytest.raises(UserError, match="not valid YAML") as caught:
        sheet.load(f"seed={value}")
    assert str(caught.value).startswith("--set seed=")
    assert "\n" not in str(caught.value)


# --- the resolved experiment and its hash

VARIANTS = [
    (),
    ("methods.admm.preset=paper",),
    ("methods.admm.bias=false",),
    ("methods.admm.beta=[1, 2, 3]", "methods.admm.gamma=[1, 2]"),
    ("methods.admm.network={layers: [], outputs: 2}", "data.classes=[1, 0]"),
    ("methods.admm.stop={epochs: 2}", "methods.admm.loss=hinge", "methods.admm.threads=auto"),
    ("data={name: mnist, classes: [4, 9], train: 100, test: 0.5, seed: 3, scale: none}",),
    ("data={name: mnist, test: rest, train: 10}",),
    ("stop={metric: train_loss, target: 0.1, seconds: 1e-3}",),
    ("network.activation=hard-sigmoid",),
    ("network.activation=['dcutlu(0, 1)', tanh]",),
    ("network.init=gaussian", "network.init_scale=0.5"),
    ("network.init=matern", "network.init_scale=0.5"),
    ("network.init=matern", "network.init_scale=0.5", "network.init_smoothness=2.5"),
]


@pytest.mark.parametrize("overrides", VARIANTS)
def test_the_resolved_document_is_the_same_experiment(sheet: Sheet, overrides: tuple[str, ...]) -> None:
    run = sheet.run(*overrides)
    again = load(yaml.safe_load(yaml.safe_dump(run.document())))
    assert list(again.runs) == ["admm"]
    assert again.runs["admm"] == run
    assert again.runs["admm"].hash() == run.hash()


@pytest.mark.parametrize(
    "override",
    [
        "data.rows=401",
        "data.seed=1",
        "data.scale=unit",
        "data.noise=0.1",
        "data.train=5",
        "network.layers=[6, 5]",
        "network.bias=false",
        "network.activation=hard-sigmoid",
        "network={layers: [6, 4], init: laplacian, init_scale: 0.5}",
        "loss=hinge",
        "seed=8",
        "methods.admm.beta=2",
        "methods.admm.ridge=1e-3",
        "methods.admm.init=gaussian",
        "methods.admm.bias=false",
    ],
)
def test_the_hash_changes_with_data_network_loss_method_and_seed(sheet: Sheet, override: str) -> None:
    assert sheet.run(override).hash() != sheet.run().hash()


@pytest.mark.parametrize(
    "override",
    [
        "stop={seconds: 9}",
        "stop.target=0.5",
        "evaluate.every=7",
        "threads=2",
        "methods.admm.threads=auto",
        "methods.admm.stop.iterations=5",
        "name=renamed",
        "methods.other.beta=3",
        "network.init=random",
        "methods.admm.beta=1",  # what it is anyway
        "methods.admm.warm_iterations=10",  # a default written out
    ],
)
def test_the_hash_does_not_change_with_anything_else(sheet: Sheet, override: str) -> None:
    assert sheet.run(override).hash() == sheet.run().hash()


def test_runs_without_a_kernel_have_the_document_and_the_hash_of_before_there_were_any(sheet: Sheet) -> None:
    run = sheet.run()
    assert run.document()["network"] == {"layers": [6, 4], "activation": "relu", "bias": True}
    default = load(Path(__file__).parents[2] / "configs" / "swissroll.yaml").select(None)[0]
    assert (default.method, default.hash()) == ("admm", "25fa5c2a")  # as in results that exist, and in the README


def test_the_smoothness_of_a_matern_kernel_is_three_halves_unless_given(sheet: Sheet) -> None:
    matern = ("network.init=matern", "network.init_scale=2")
    run, other = sheet.run(*matern), sheet.run(*matern, "network.init_smoothness=2.5")
    assert run.document()["network"]["init_smoothness"] == 1.5
    assert run.hash() == sheet.run(*matern, "network.init_smoothness=1.5").hash()
    assert run.hash() != other.hash()


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


def test_the_experiments_that_come_with_the_project_are_valid() -> None:
    files = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    assert files
    for file in files:
        assert load(file).runs, file


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
