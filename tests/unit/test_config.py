"""Experiment files: what they mean when they are right."""

from pathlib import Path

import pytest
import yaml
from support.sheet import TEXT, Sheet

from admmctl.errors import UserError
from admmctl.experiment.config import load

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


def test_the_experiments_that_come_with_the_project_are_valid() -> None:
    files = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    assert files
    for file in files:
        assert load(file).runs, file
