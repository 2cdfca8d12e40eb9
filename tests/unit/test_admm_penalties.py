"""What ``admm`` has beside the paper: penalties that set themselves, a ridge that falls, momentum, relaxation."""

import copy

import numpy as np
import pytest
from support.methods import after, by_sign_of_product, on_parts
from support.problems import problem
from support.ranks import on_ranks

from admmctl.methods.division import solve_work
from admmctl.methods.taylor.algorithm import Admm, explained
from admmctl.methods.taylor.momentum import Momentum
from admmctl.methods.taylor.penalties import ENOUGH, SHARE, START, balanced, falling, strength
from admmctl.methods.taylor.settings import AdmmSettings
from admmctl.methods.taylor.stochastic import StochasticAdmmSettings
from admmctl.model.convolution import Stack


def admm(**settings) -> Admm:
    return Admm(AdmmSettings(**{"penalties": "fixed", **settings}))


def test_a_gap_is_shared_as_the_rule_says():
    network = problem([6, 4]).network
    generator = np.random.default_rng(0)
    W = {l: generator.standard_normal(shape) for l, shape in enumerate(network.shapes, start=1)}
    W[2][:, :6] = 3.0 * np.linalg.qr(generator.standard_normal((6, 4)))[0].T  # all singular values are 3
    beta, gamma = balanced(network, W, 0.7)
    assert beta[3] == 0.7
    a_0, gap = generator.standard_normal(6), generator.standard_normal(4)
    inner, V = W[2][:, :6], W[2][:, :6]
    # The a-update (6) by a dense solve: W a was t - gap before, with a = h.
    a = np.linalg.solve(beta[2] * V.T @ V + gamma[1] * np.eye(6), beta[2] * V.T @ (V @ a_0 + gap) + gamma[1] * a_0)
    np.testing.assert_allclose(inner @ (a - a_0), gap / (1 + SHARE), rtol=1e-10)
    # The z-update (7) where h(z) = z, by a grid: half of the way from m = 1 to a = 2.
    grid = np.linspace(0.0, 3.0, 30001)
    for l in (1, 2):
        cost = gamma[l] * (2 - grid) ** 2 + beta[l] * (grid - 1) ** 2
        assert grid[cost.argmin()] == pytest.approx(1.5, abs=1e-4)


def test_scaled_layers_share_alike():
    network = problem([6, 4]).network
    W = {l: np.random.default_rng(l).standard_normal(shape) for l, shape in enumerate(network.shapes, start=1)}
    beta, gamma = balanced(network, W, 1.0)
    scaled = {**W, 2: W[2] / 5, 3: W[3] * 5}  # z_2 and a_2 are a fifth of what they were
    others = balanced(network, scaled, 1.0)
    assert others[1][2] == pytest.approx(25 * gamma[2])
    assert others[0][2] == pytest.approx(25 * beta[2])
    assert others[1][1] == pytest.approx(gamma[1])
    zero = {l: 0 * W_l for l, W_l in W.items()}
    assert all(value > 0 for values in balanced(network, zero, 1.0) for value in values.values())


@pytest.mark.parametrize("size", [(3, 3), (4, 6)])
def test_the_strength_of_a_layer_is_that_of_its_matrix(size):
    network = problem([5], features=24, convolution=Stack((1, 4, 6), (2, 3), size, 2)).network
    for l, (outputs, inputs) in enumerate(network.shapes, start=1):
        W = np.random.default_rng(l).standard_normal((outputs, inputs))
        below = network.sizes[l - 1]
        points = np.vstack([np.eye(below), np.ones((1, below))])
        zero = np.vstack([np.zeros((below, 1)), np.ones((1, 1))])
        matrix = network.apply(l, W, points, out=np.empty((network.sizes[l], below), order="F"))
        matrix = matrix - network.apply(l, W, zero, out=np.empty((network.sizes[l], 1), order="F"))
        assert strength(network, W, l) == pytest.approx((matrix**2).sum() / len(matrix), rel=1e-9)


@pytest.mark.parametrize(("activation", "slope"), [("relu", 1.0), ("sigmoid", 0.25), ("cosine", 0.5)])
def test_the_slope_of_an_activation_is_its_steepest(activation, slope):
    h = problem([8], activation=activation).network.h(1)
    z = np.linspace(-4, 4, 80001).reshape(1, -1).repeat(8, axis=0)
    steepest = np.abs(np.diff(h.value(z, out=np.empty_like(z))[0])).max() / (8 / 80000)
    assert h.slope(8) == pytest.approx(slope)
    assert steepest == pytest.approx(slope, rel=1e-4)


def test_the_ridge_is_halved_at_powers_of_two_down_to_the_setting():
    found = [falling(0.8, 0.15, iteration) for iteration in range(9)]
    assert found == pytest.approx([0.8, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2, 0.15, 0.15])
    p = problem([6])
    s = after(admm(ridge=1e-3, ridge_start=0.8), p, 4)
    made = s.pairs[1].factor(0.2)
    assert (made.ridge, s.ridge) == pytest.approx((0.2, 0.2))
    assert s.pairs[1].factor(0.2) is made  # of fixed sums it is made once
    plain = after(admm(ridge=0.2), problem([6]), 0)
    cross = np.eye(*p.network.shapes[0])
    np.testing.assert_array_equal(made.solve(cross), plain.pairs[1].factor(0.2).solve(cross))


def test_penalties_follow_the_weights():
    method = admm(penalties="automatic", beta=0.5)
    s = after(method, problem([6, 4]), 3)
    beta, gamma = balanced(s.problem.network, s.W, 0.5)
    assert (s.beta, s.gamma) == (beta, gamma)
    W = s.W[2][:, :6]
    expected = W.T @ np.linalg.inv(gamma[1] / beta[2] * np.eye(4) + W @ W.T)
    np.testing.assert_allclose(s.V[1], expected, rtol=1e-8, atol=1e-10)


def test_outputs_start_at_the_targets():
    s = admm(penalties="automatic").init(problem([6], loss="signed-squared"))
    np.testing.assert_array_equal(s.z[2], 2 * s.problem.y - 1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("automatic", 1e-3, "automatic", 0.9)),
        ({"multipliers": "none"}, ("automatic", 1e-3, "automatic", 0.9)),
        ({"ridge": 0.1}, ("fixed", 0.1, None, 0.0)),
        ({"beta": 1.0}, ("fixed", 1e-2, None, 0.0)),
        ({"gamma": [1.0, 2.0]}, ("fixed", 1e-2, None, 0.0)),
        ({"penalties": "fixed"}, ("fixed", 1e-2, None, 0.0)),
        ({"penalties": "automatic", "ridge": 0.1}, ("automatic", 0.1, "automatic", 0.9)),
        ({"penalties": "automatic", "ridge_start": None}, ("automatic", 1e-3, None, 0.9)),
        ({"momentum": 0.5}, ("automatic", 1e-3, "automatic", 0.5)),
        ({"relaxation": 1.6}, ("automatic", 1e-3, "automatic", 0.0)),
    ],
)
def test_penalties_set_themselves_unless_somebody_has_chosen(given, expected):
    settings = AdmmSettings(**given)
    assert (settings.penalties, settings.ridge, settings.ridge_start, settings.momentum) == expected
    assert AdmmSettings(**settings.plain()) == settings  # as a run's config.yaml has it


def test_the_paper_s_preset_has_its_own_penalties():
    settings = AdmmSettings(**{key: value for key, value in Admm.presets["paper"].items() if key != "network"})
    assert (settings.penalties, settings.ridge_start, settings.momentum) == ("fixed", None, 0.0)


def labelled(explicable):
    """600 points of the plane, of two classes that a random hidden layer tells apart, or nothing does."""
    p = problem([30], features=2, samples=600)
    side = p.a0[0] if explicable else np.random.default_rng(5).standard_normal(600)
    p.y[...] = side > 0
    return p


@pytest.mark.parametrize(("explicable", "starts_at"), [(True, None), (False, START)])
def test_a_start_that_explains_little_is_forgotten(explicable, starts_at):
    p = labelled(explicable)
    assert Admm(AdmmSettings()).init(p).ridge_start == starts_at
    s = Admm(AdmmSettings(ridge_start=None, penalties="automatic")).init(p)
    a = np.vstack([np.maximum(s.z[1], 0), np.ones((1, 600))])  # z_1 is that of the start
    part = 1 - ((s.z[2] - s.W[2] @ a) ** 2).mean() / s.z[2].var()
    assert explained(s) == pytest.approx(part, rel=1e-6)
    assert (part >= ENOUGH) == explicable


def test_forgetting_the_start_is_starting_with_that_ridge():
    p = labelled(False)
    chosen, given = AdmmSettings(), AdmmSettings(penalties="automatic", ridge_start=START)
    s, other = (after(Admm(settings), p, 4) for settings in (chosen, given))
    for l, W in s.W.items():
        np.testing.assert_array_equal(W, other.W[l])


def test_ranks_agree_on_what_the_start_explains():
    whole = explained(admm(penalties="automatic").init(problem([6, 4])))

    def work(comm, columns):
        return explained(admm(penalties="automatic").init(problem([6, 4], comm=comm, columns=columns)))

    assert on_parts([0, 50, 120], work) == pytest.approx([whole] * 2, rel=1e-6)


def test_relaxed_z_goes_so_many_times_as_far():
    p = problem([6, 4])
    plain, relaxed = admm(), admm(relaxation=1.6)
    s, other = plain.init(p), relaxed.init(p)
    before = copy.deepcopy(s.z)
    s, other = plain.step(s), relaxed.step(other)
    for l in (1, 2):
        np.testing.assert_allclose(other.z[l], before[l] + 1.6 * (s.z[l] - before[l]), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(other.z[3], s.z[3])


def test_momentum_moves_the_weights_as_its_formula_says_and_restarts_where_it_goes_wrong():
    generator = np.random.default_rng(0)
    S = [{1: generator.standard_normal((3, 2)), 2: generator.standard_normal((1, 3))} for _ in range(4)]
    momentum = Momentum(0.5, adaptive=True)
    first = momentum.step(S[0], 0.0)
    second = momentum.step(S[1], 0.0)
    along = sum(float(np.sum((S[2][l] - second[l]) * (S[2][l] - S[1][l]))) for l in second)
    assert sum(momentum.along(S[2][l], second[l], l) for l in second) == pytest.approx(along)
    parts = [momentum.along(S[2][1][rows], second[1][rows], 1, rows) for rows in (slice(0, 1), slice(1, 3))]
    assert sum(parts) == pytest.approx(momentum.along(S[2][1], second[1], 1))
    third = momentum.step(S[2], 1.0)
    assert momentum.restarts == 0
    fourth = momentum.step(S[3], -1.0)
    assert momentum.restarts == 1
    for l in first:
        np.testing.assert_array_equal(first[l], S[0][l])
        np.testing.assert_allclose(second[l], S[1][l] + 0.5 * (S[1][l] - S[0][l]))
        np.testing.assert_allclose(third[l], S[2][l] + 0.5 * (S[2][l] - S[1][l]))
        np.testing.assert_array_equal(fourth[l], S[3][l])


def test_momentum_restarts_in_training_by_the_sum_over_all_layers():
    p = by_sign_of_product()
    free, safe = admm(momentum=0.9, restart="none"), admm(momentum=0.9)
    s = after(safe, p, 30)
    assert s.momentum.restarts > 0
    assert after(free, p, 30).momentum.restarts == 0


def test_ranks_restart_together():
    def train(comm, columns):
        s = after(admm(momentum=0.9, penalties="automatic"), problem([6, 4], comm=comm, columns=columns), 25)
        return s.momentum.restarts, s.W

    (restarts, W), *others = on_parts([0, 2, 70, 120], train)
    assert restarts > 0
    for count, other in others:
        assert count == restarts
        for l in W:
            np.testing.assert_array_equal(W[l], other[l])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ranks", [1, 3, 9])
def test_numbers_that_go_along_with_rows_are_summed_on_every_rank(ranks, dtype):
    shapes = [(3, 2), (2, 5)]
    whole = np.arange(16, dtype=dtype)

    def gathered(comm):
        division = solve_work(shapes, [0.0, 0.0]).divide(comm)
        vector = np.full(16, -1, dtype)
        vector[division.own] = whole[division.own]
        sums = division.gather(vector, [comm.rank + 0.1, 1e-9])
        return vector, sums, comm.verbs

    for vector, sums, verbs in on_ranks(ranks, gathered):
        np.testing.assert_array_equal(vector, whole)
        assert sums == pytest.approx([ranks * (ranks - 1) / 2 + 0.1 * ranks, ranks * 1e-9], rel=1e-14)
        assert verbs == [("allgather", whole.nbytes + 16 * ranks)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"penalties": "automatic", "gamma": 10.0}, ("gamma", "is set by penalties: automatic")),
        ({"penalties": "automatic", "beta": [1.0, 2.0, 1.0]}, ("beta", "takes one number")),
        ({"ridge": 0.1, "ridge_start": 0.05}, ("ridge_start", "expected more than ridge, 0.1")),
        ({"penalties": "fixed", "restart": "none"}, ("restart", "is of momentum")),
    ],
)
def test_what_does_not_fit_together_is_said(settings, expected):
    ((key, message),) = Admm.check(AdmmSettings(**settings), 3)
    assert key == expected[0]
    assert expected[1] in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("penalties", "auto"),
        ("relaxation", 2.0),
        ("relaxation", 0.9),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("ridge_start", 0.0),
        ("restart", "always"),
    ],
)
def test_values_out_of_range_are_refused(key, value):
    with pytest.raises(ValueError, match=key):
        AdmmSettings(**{key: value})


@pytest.mark.parametrize("key", ["penalties", "relaxation", "ridge_start", "restart"])
def test_subsets_have_none_of_it(key):
    with pytest.raises(ValueError, match=key):
        StochasticAdmmSettings(**{key: getattr(AdmmSettings(), key)})


def test_a_run_without_them_is_called_as_before_and_one_with_them_reads_back():
    fixed = AdmmSettings(penalties="fixed").plain()
    assert not {"penalties", "relaxation", "momentum", "restart", "ridge_start"} & fixed.keys()
    given = AdmmSettings(penalties="automatic", momentum=0.9, ridge_start=0.3)
    assert AdmmSettings(**given.plain()) == given
    assert "gamma" not in given.plain()
