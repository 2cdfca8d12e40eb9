"""Kernel-guided starts: random features approximate their kernel, and everything comes from the seed alone."""

from typing import Any

import numpy as np
import pytest
from scipy.special import gamma, kv
from support.problems import Array, problem
from support.ranks import CountingComm

from admmctl.methods.method import methods
from admmctl.model.activations import activations
from admmctl.model.fourier import Kernel
from admmctl.model.initial import descent_weights, gaussian_weights, initial_weights
from admmctl.model.network import Network


def matern(nu: float, r: Array) -> Array:
    """The Matern kernel of smoothness nu at distances r, in units of its scale."""
    x = np.sqrt(2 * nu) * np.maximum(r, 1e-12)
    return 2 ** (1 - nu) / gamma(nu) * x**nu * kv(nu, x)


def kernel_matrix(kernel: Kernel, x: Array) -> Array:
    """k(x_i, x_j) of the columns of ``x``, from the textbook."""
    difference = (x[:, :, None] - x[:, None, :]) / kernel.scale
    if kernel.name == "laplacian":
        return np.exp(-np.abs(difference).sum(axis=0))
    r = np.sqrt((difference**2).sum(axis=0))
    return np.exp(-(r**2) / 2) if kernel.name == "gaussian" else matern(kernel.smoothness, r)


KERNELS = [
    Kernel("gaussian", 1.0),
    Kernel("gaussian", 0.4),
    Kernel("laplacian", 2.0),
    Kernel("matern", 1.0, 0.5),
    Kernel("matern", 0.7, 1.5),
    Kernel("matern", 2.0, 2.5),
    Kernel("matern", 1.0, 0.3),
]
per_kernel = pytest.mark.parametrize(
    "kernel", KERNELS, ids=lambda kernel: f"{kernel.name}-{kernel.scale}-{kernel.smoothness}"
)


def features(kernel: Kernel, units: int, x: Array, seed: int = 0) -> Array:
    """Activations of a cosine layer that starts from ``kernel``, shape (units, samples)."""
    network = Network.build(len(x), [units], 1, "cosine", True, kernel)
    W = initial_weights(network, seed, np.float64)
    return network.hidden(W, np.vstack([x, np.ones(x.shape[1])]))[:units]


@per_kernel
@pytest.mark.parametrize("units", [1000, 20_000])
def test_inner_products_of_features_are_the_kernel(kernel, units):
    # The mean of D terms in [-2, 2], of variance 1 + k(2(x - y))/2 - k(x - y)^2 <= 3/2: Hoeffding's inequality
    # bounds the chance that one of the 300 distinct entries is off by more than 6 / sqrt(D) by 300 * 2 exp(-4.5),
    # Bernstein's by 300 * 2 exp(-12 or so); the draws are those of this seed in any case.
    x = np.random.default_rng(1).standard_normal((3, 24))
    a = features(kernel, units, x)
    assert np.abs(a.T @ a - kernel_matrix(kernel, x)).max() < 6 / np.sqrt(units)


@per_kernel
def test_the_error_falls_with_the_root_of_the_number_of_features(kernel):
    x = np.random.default_rng(1).standard_normal((3, 24))
    expected = kernel_matrix(kernel, x)

    def error(units: int) -> float:
        every = [features(kernel, units, x, seed) for seed in range(8)]
        return float(np.sqrt(np.mean([(a.T @ a - expected) ** 2 for a in every])))

    assert error(400) / error(6400) == pytest.approx(4.0, rel=0.25)


def test_a_layer_of_cosines_has_its_own_height():
    z = np.zeros((8, 3), np.float32)
    out = np.empty_like(z)
    assert activations.load("cosine")().value(z, out=out) is out
    np.testing.assert_array_equal(out, np.float32(0.5))


@per_kernel
@pytest.mark.parametrize("seed", range(3))
def test_every_draw_is_finite_and_phases_go_round_once(kernel, seed):
    frequencies, phases = kernel.frequencies(seed, 2000, 5), kernel.phases(seed, 2000)
    assert np.isfinite(frequencies).all()
    assert 0 <= phases.min() < 0.05
    assert 2 * np.pi - 0.05 < phases.max() < 2 * np.pi
    assert (kernel.frequencies(seed + 1, 2000, 5) != frequencies).any()


@per_kernel
def test_a_scale_stretches_the_same_draws(kernel):
    twice = Kernel(kernel.name, 2 * kernel.scale, kernel.smoothness)
    np.testing.assert_allclose(2 * twice.frequencies(4, 30, 3), kernel.frequencies(4, 30, 3), rtol=1e-14)


@pytest.mark.parametrize(
    ("layers", "bias", "kernel"),
    [
        ([8, 5], True, None),
        ([8, 5], False, None),
        ([8, 5], True, Kernel("laplacian", 1.0)),
        ([], True, Kernel("gaussian", 0.5)),  # an output layer is never drawn from a kernel
    ],
)
def test_a_kernel_draws_the_first_hidden_layer_and_descents_keep_no_other_biases(layers, bias, kernel):
    network = Network.build(3, layers, 2, "cosine", bias, kernel)
    starts = zip(
        *(start(network, 7) for start in (gaussian_weights, initial_weights, descent_weights)), strict=True
    )
    for l, (expected, start, descent) in enumerate(starts):
        if kernel is not None and layers and l == 0:
            expected = np.column_stack([kernel.frequencies(7, 8, 3), kernel.phases(7, 8)]).astype(np.float32)
        elif bias:
            assert not descent[:, -1].any()
            descent[:, -1] = expected[:, -1]
        assert start.dtype == np.float32
        np.testing.assert_array_equal(start, expected)
        np.testing.assert_array_equal(descent, expected)


@pytest.mark.parametrize("kind", ["sgd", "adam", "gd", "cg", "lbfgs", "random-features", "graph-admm"])
def test_any_rank_starts_at_the_kernel_features_of_one(kind):
    changes: dict[str, Any] = {"kernel": Kernel("matern", 0.5), "seed": 4}
    method = methods.load(kind)(methods.load(kind).Settings())
    whole = method.weights(method.init(problem([6, 4], **changes)))
    np.testing.assert_array_equal(whole[0][:, :-1], Kernel("matern", 0.5).frequencies(4, 6, 4))
    for columns in (slice(0, 71), slice(71, 120)):
        p = problem([6, 4], columns=columns, comm=CountingComm(), **changes)
        for one, other in zip(method.weights(method.init(p)), whole, strict=True):
            np.testing.assert_array_equal(one, other)
