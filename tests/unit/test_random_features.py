"""random-features: the output layer is ridge regression on hidden layers that stay as they were drawn."""

from pathlib import Path

import numpy as np
import pytest
from support.problems import problem

import admmctl
from admmctl.errors import ConfigError
from admmctl.methods.closed_form.random_features import RandomFeatures, RandomFeaturesSettings
from admmctl.methods.method import Finished
from admmctl.model.fourier import Kernel
from admmctl.model.initial import initial_weights

GAUSSIAN = Kernel("gaussian", 1.0)


def trained(p, **settings):
    method = RandomFeatures(RandomFeaturesSettings(**settings))
    s = method.step(method.init(p))
    (message,) = method.cost(p.network, 60, 120).messages
    assert p.comm.lengths == [message.bytes / 4]  # one reduction
    with pytest.raises(Finished):
        method.step(s)
    return method.weights(s)


@pytest.mark.parametrize("hidden", [[9], [7, 5]])
@pytest.mark.parametrize("activation", ["cosine", "relu"])
@pytest.mark.parametrize("loss", ["squared", "signed-squared"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_output_layer_is_that_of_the_normal_equations(hidden, activation, loss, outputs):
    p = problem(hidden, activation=activation, loss=loss, outputs=outputs, kernel=GAUSSIAN)
    *kept, last = trained(p, ridge=0.01)
    *start, _ = initial_weights(p.network, p.seed, np.float64)
    for one, other in zip(kept, start, strict=True):
        np.testing.assert_array_equal(one, other)
    a = p.network.hidden([*kept, last], p.a0)
    y = p.y if loss == "squared" else 2 * p.y - 1
    ridge = 0.01 * np.mean(np.sum(a * a, axis=1)) * np.eye(len(a))
    np.testing.assert_allclose(last, np.linalg.solve(a @ a.T + ridge, a @ y.T).T, rtol=1e-8)


def test_without_biases_there_is_no_row_of_ones():
    p = problem([9], bias=False)
    W, last = trained(p, ridge=0.0)
    expected, *_ = np.linalg.lstsq(np.maximum(W @ p.a0[:-1], 0).T, p.y.T)
    np.testing.assert_allclose(last, expected.T, rtol=1e-7)


def experiment(**changes):
    return {
        "name": "features",
        "data": {"name": "swissroll", "rows": 4000},
        "network": {"layers": [200], "activation": "cosine", "init": "gaussian", "init_scale": 0.5},
        "loss": "squared",
        "methods": {"random-features": {}},
        **changes,
    }


def test_a_run_is_one_step_and_unrolls_the_roll(results):
    (summary,) = admmctl.train(experiment())
    assert (summary["iterations"], summary["status"]) == (1, "exhausted")
    assert summary["reason"] == "least squares is solved in one step"
    assert summary["final_test_accuracy"] > 0.95
    phases = (Path(summary["folder"]) / "phases.csv").read_text()
    for name in ("features", "gram", "reduce", "solve"):
        assert f"\n{name}," in phases


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"loss": "hinge"}, "method random-features has no loss 'hinge'; it has: squared, signed-squared"),
        ({"network": {"layers": []}}, "random-features needs a hidden layer"),
        ({"methods": {"random-features": {"ridge": -1.0}}}, "random-features.ridge"),
    ],
)
def test_what_it_cannot_do_is_refused(changes, part):
    with pytest.raises(ConfigError, match=part):
        admmctl.train(experiment(**changes))
