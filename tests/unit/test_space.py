"""Search spaces: which settings a sweep tries, and what is said of a space that makes no sense."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.errors import UserError
from admmctl.experiment.config import ConfigError, load
from admmctl.experiment.schema import Range, SweepSettings
from admmctl.studies.space import settings_of_trials


def space(search: str = "quasi-random", *, count: int = 12, seed: int = 0, **keys: Any) -> list[dict[str, Any]]:
    """The trials of one method's space."""
    settings = SweepSettings(search=search, trials=count, seed=seed, space={"sgd": keys})
    return settings_of_trials(settings, "sgd", None)


def values(found: list[dict[str, Any]], key: str) -> list[Any]:
    return [trial[key] for trial in found]


# -- grids


def test_a_grid_is_every_combination():
    found = space("grid", learning_rate=[0.1, 0.01], batch=[32, 64, 128])
    expected = [{"learning_rate": rate, "batch": batch} for rate in (0.1, 0.01) for batch in (32, 64, 128)]
    assert found == expected


ANYTHING: list[Any] = [True, "tanh", None, [1.0, 2.0], {"layers": [3]}]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Range(low=1e-3, high=1.0, points=4), [1e-3, 1e-2, 1e-1, 1.0]),
        (Range(low=0.0, high=1.0, scale="linear", points=5), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (Range(low=1, high=100, points=3, integer=True), [1, 10, 100]),
        (Range(low=1, high=3, scale="linear", points=9, integer=True), [1, 2, 3]),  # nothing twice
        (ANYTHING, ANYTHING),
    ],
)
def test_a_grid_has_the_ends_of_a_range_and_even_steps_or_what_a_list_holds(kind, expected):
    assert values(space("grid", x=kind), "x") == expected


def test_a_grid_has_four_points_of_a_range_unless_told_otherwise():
    assert values(space("grid", x=Range(low=1e-3, high=1.0)), "x") == [1e-3, 1e-2, 1e-1, 1.0]
    both = space("grid", x=Range(low=1e-3, high=1.0), y=[1, 2])
    assert len(both) == 8


CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_search_space_of_the_examples_makes_a_grid(config):
    experiment = load(config, ["sweep.search=grid"] if load(config).sweep is not None else [])
    for method in [] if experiment.sweep is None else experiment.sweep.space:
        found = settings_of_trials(experiment.sweep, method, None)
        assert len(found) >= 2
        assert all(set(trial) == set(experiment.sweep.space[method]) for trial in found)


# -- quasi-random


def test_quasi_random_trials_depend_on_the_seed_alone_and_more_begin_with_the_same_ones():
    # so that a sweep of more trials goes on where it stopped
    keys: dict[str, Any] = {"x": Range(low=1e-4, high=1.0), "y": [1, 2, 3]}
    assert space(**keys) == space(**keys)
    assert space(seed=1, **keys) != space(**keys)
    assert len(space(count=7, **keys)) == 7
    assert space(count=12, **keys)[:5] == space(count=5, **keys)


def test_the_number_on_the_command_line_counts():
    settings = SweepSettings(trials=12, space={"sgd": {"x": [1, 2]}})
    assert [len(settings_of_trials(settings, "sgd", count)) for count in (None, 5)] == [12, 5]


@given(
    low=st.floats(1e-6, 1e3),
    factor=st.floats(1.001, 1e6),
    scale=st.sampled_from(["log", "linear"]),
    seed=st.integers(0, 100),
)
def test_values_stay_within_their_bounds(low, factor, scale, seed):
    high = low * factor
    found = values(space(seed=seed, count=8, x=Range(low=low, high=high, scale=scale)), "x")
    assert all(low <= value <= high for value in found)
    assert all(isinstance(value, float) for value in found)


@pytest.mark.parametrize("search", ["grid", "quasi-random"])
def test_a_bound_with_many_digits_is_kept(search):
    # A momentum of 1 is refused, one of 0.99999 is not: rounding must not cross a bound.
    low, high = 0.123456, 0.99999
    found = values(space(search, count=64, x=Range(low=low, high=high, scale="linear", points=5)), "x")
    assert min(found) >= low
    assert max(found) <= high


@given(low=st.integers(1, 50), width=st.integers(1, 50), scale=st.sampled_from(["log", "linear"]))
def test_integers_are_whole_and_within_their_bounds(low, width, scale):
    found = values(space(count=16, x=Range(low=low, high=low + width, scale=scale, integer=True)), "x")
    assert all(isinstance(value, int) for value in found)
    assert all(low <= value <= low + width for value in found)
    few = Range(low=1, high=4, scale="linear", integer=True)
    assert set(values(space(count=200, x=few), "x")) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("kind", "bins"),
    [
        (Range(low=1e-4, high=1.0), np.logspace(-4, 0, 5)),  # even in the logarithm
        (Range(low=-1.0, high=1.0, scale="linear"), np.linspace(-1, 1, 5)),
    ],
)
def test_a_range_is_drawn_evenly(kind, bins):
    counts, _ = np.histogram(values(space(count=64, x=kind), "x"), bins=bins)
    assert counts.sum() == 64
    assert all(abs(count - 16) <= 3 for count in counts)


def test_every_value_of_a_list_is_drawn_about_as_often():
    found = values(space(count=60, x=["a", "b", "c"], y=Range(low=0.1, high=1.0)), "x")
    assert all(abs(found.count(word) - 20) <= 3 for word in "abc")


def test_keys_are_drawn_independently():
    even = Range(low=0.0, high=1.0, scale="linear")
    found = space(count=200, x=even, y=even)
    assert abs(np.corrcoef(values(found, "x"), values(found, "y"))[0, 1]) < 0.1


# -- spaces that make no sense


def test_a_method_without_a_space_is_refused_naming_those_with_one():
    settings = SweepSettings(space={"sgd": {"x": [1]}, "adam": {"x": [1]}})
    with pytest.raises(UserError, match="no search space for method gd; there is one for: sgd, adam"):
        settings_of_trials(settings, "gd", None)


@pytest.mark.parametrize("search", ["grid", "quasi-random"])
def test_an_empty_space_is_refused(search):
    with pytest.raises(UserError, match="no search space for method sgd"):
        space(search)
    with pytest.raises(UserError, match=r"sgd\.x has no values"):
        space(search, x=[])


TEXT = """\
name: space
data: {name: swissroll, rows: 400}
network: {layers: [4]}
loss: squared
methods:
  sgd: {batch: 32}
  adam: {}
sweep:
  trials: 3
  space:
    sgd:
      learning_rate: {low: 1.0e-3, high: 1.0}
      batch: [16, 32]
    adam: {learning_rate: [0.001, 0.01]}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "texts"),
    [
        ("trials: 3", "trials: 0", 9, ["sweep.trials", "1 or more", "got 0"]),
        ("trials: 3", "trails: 3", 9, ["unknown key 'trails'", "did you mean 'trials'"]),
        ("trials: 3", "search: random", 9, ["sweep.search", "'quasi-random' or 'grid'"]),
        ("trials: 3", "seed: -1", 9, ["sweep.seed", "0 or more"]),
        ("    adam: {learning", "    adma: {learning", 14, ["no method 'adma'", "did you mean 'adam'"]),
        ("      learning_rate:", "      learning_rat:", 12, ["learning_rat", "did you mean 'learning_rate'"]),
        ("      batch: [16, 32]", "      momentun: [0.9]", 13, ["momentun", "did you mean 'momentum'"]),
        ("[16, 32]", "[]", 13, ["sweep.space.sgd.batch", "no values"]),
        ("{low: 1.0e-3, high: 1.0}", "{low: 1.0, high: 1.0e-3}", 12, ["low below high", "learning_rate"]),
        ("{low: 1.0e-3, high: 1.0}", "{low: 0.0, high: 1.0}", 12, ["low above 0", "learning_rate"]),
        ("{low: 1.0e-3, high: 1.0}", "{low: 1.0e-3}", 12, ["high", "is missing"]),
        ("{low: 1.0e-3, high: 1.0}", "{low: 1.0e-3, hihg: 1.0}", 12, ["hihg", "did you mean 'high'"]),
        ("{low: 1.0e-3, high: 1.0}", "0.1", 12, ["learning_rate", "expected a list"]),
        ("{low: 1.0e-3, high: 1.0}", "{low: 1.0e-3, high: .inf}", 12, ["high", "finite"]),
    ],
)
def test_what_is_wrong_with_a_space_is_said_with_its_line(tmp_path: Path, old, new, line, texts):
    path = tmp_path / "space.yaml"
    assert TEXT.count(old) == 1
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load(path)
    found = [text for text in str(refused.value).splitlines() if all(word in text for word in texts)]
    assert found, str(refused.value)
    assert any(f"space.yaml:{line}:" in text for text in found), found


@pytest.mark.parametrize("key", ["network.layers", "stop.epochs", "loss", "batch", "bias"])
def test_whatever_a_method_block_may_say_may_be_varied(tmp_path: Path, key):
    (tmp_path / "space.yaml").write_text(TEXT.replace("      batch:", f"      {key}:"))
    assert load(tmp_path / "space.yaml").sweep is not None
