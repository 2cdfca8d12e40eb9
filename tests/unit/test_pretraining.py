"""A layer-wise start of ADMM: what it trains one after another, and where the whole network begins."""

from dataclasses import replace

import numpy as np
import pytest
from support.methods import after
from support.problems import problem

from admmctl.experiment.config import ConfigError, load
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.settings import AdmmSettings
from admmctl.model.initial import initial_weights


def admm(**settings) -> Admm:
    return Admm(AdmmSettings(**{"ridge": 1e-2, **settings}))


def forward(W, a):
    """h(W a) with a row of ones."""
    z = np.maximum(W @ a, 0)
    return np.vstack([z, np.ones_like(z[:1])])


@pytest.mark.parametrize("bias", [True, False])
def test_hidden_layers_are_trained_one_after_another(bias):
    p = problem([6, 5], outputs=3, bias=bias)
    s = admm(pretrain=4, beta=[1.0, 2.0, 3.0], gamma=[10.0, 5.0]).init(p)
    first = admm(beta=[1.0, 3.0], gamma=10.0)
    W_1 = first.weights(after(first, problem([6], outputs=3, bias=bias), 4))[0]
    a_1 = forward(W_1, p.network.inputs(p.a0))
    between = problem([5], features=6, outputs=3, bias=bias)
    between.a0[...] = a_1
    between.y[...] = p.y
    second = admm(beta=[2.0, 3.0], gamma=5.0)
    W_2, W_3 = second.weights(after(second, between, 4))
    a_2 = forward(W_2, between.network.inputs(a_1))
    assert s.z[1] == pytest.approx(W_1 @ p.network.inputs(p.a0), abs=1e-12)
    assert s.z[2] == pytest.approx(W_2 @ between.network.inputs(a_1), abs=1e-12)
    assert s.z[3] == pytest.approx(W_3 @ between.network.inputs(a_2), abs=1e-12)


def test_it_is_not_where_random_weights_lead():
    p = problem([6, 5])
    z_1 = admm(pretrain=3).init(p).z[1]
    assert np.abs(z_1 - initial_weights(p.network, p.seed)[0] @ p.a0).max() > 0.1


def test_a_network_with_a_start_goes_on_from_there():
    p = problem([6, 5])
    begun = admm().weights(after(admm(), p, 3))
    onward = replace(p, network=replace(p.network, start=begun))
    for one, other in zip(admm(pretrain=3).init(onward).z.values(), admm().init(onward).z.values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("network", "data", "message"),
    [
        ({"layers": [5], "convolution": {"filters": [2], "size": 5, "pool": 4}}, {}, "is of dense layers"),
        ({"recurrent": 4}, {"steps": 28}, "is of dense layers"),
        ({"layers": []}, {}, "is of hidden layers, and there is none"),
    ],
)
def test_networks_without_dense_hidden_layers_are_refused(network, data, message):
    experiment = {
        "name": "settings",
        "data": {"name": "mnist", **data},
        "network": network,
        "loss": "squared",
        "methods": {"admm": {"pretrain": 5}},
    }
    with pytest.raises(ConfigError, match=f"pretrain: {message}; leave it out"):
        load(experiment, [])


def test_a_gaussian_start_is_refused():
    settings = AdmmSettings(pretrain=2, init="gaussian")
    assert [key for key, _ in Admm.check(settings, 2)] == ["pretrain"]


def test_without_it_a_run_is_called_what_it_always_was():
    assert "pretrain" not in AdmmSettings().plain()
    assert AdmmSettings(pretrain=2).plain()["pretrain"] == 2
