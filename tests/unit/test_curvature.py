"""FOOF and K-FAC: every step against dense solves, what is averaged and drawn, any number of ranks."""

import itertools

import numpy as np
import pytest
from support.descent import below, descent_start, mean_gradient, refusal_of, row_derivatives
from support.methods import accuracy, after, by_sign_of_product, on_parts
from support.problems import Array, problem

from admmctl.methods.gradient.foof import Foof, FoofSettings
from admmctl.methods.gradient.kfac import Kfac, KfacSettings
from admmctl.methods.gradient.minibatch import Epoch, MiniBatches
from admmctl.methods.layer_sums import age
from admmctl.methods.method import Diverged, Problem
from admmctl.model.gradient import Gradient, flat_views
from admmctl.model.losses import losses
from admmctl.model.network import Network
from admmctl.rng import uniform_rows

BATCH, SAMPLES, SEED = 32, 120, 3  # 4 mini-batches an epoch, the last of 24 rows


def foof(**settings) -> Foof:
    return Foof(FoofSettings(**{"batch": BATCH, **settings}))


def kfac(**settings) -> Kfac:
    return Kfac(KfacSettings(**{"batch": BATCH, **settings}))


def derivatives(p: Problem, W: list[Array], rows, draws: Array) -> list[Array]:
    """E of layers 1..L for drawn targets."""
    drawn = np.zeros((len(p.y), len(rows)))
    for column, row in enumerate(rows):
        z = p.network.forward(W, p.a0[:, [row]])
        y = drawn[:, [column]]
        if p.loss.curvature is not None:
            label = z - np.where(draws[:, [column]] < 0.5, -1, 1) / np.sqrt(p.loss.curvature)
            y = (label + 1) / 2 if p.loss.threshold == 0 else label  # labels of 0 and 1 are -1 and 1 there
        elif len(z) == 1:
            y[0] = draws[0, column] < 1 / (1 + np.exp(-z[0]))
        else:
            chances = np.exp(z[:, 0]) / np.exp(z).sum()
            y[next(k for k, c in enumerate(itertools.accumulate(chances)) if draws[0, column] < c)] = 1
        drawn[:, [column]] = y
    return row_derivatives(p, W, rows, drawn)


def dense(p: Problem, steps: int, solve, *, two_sides: bool, every: int, average: float, q) -> Array:
    """Where ``steps`` steps lead, by ``solve(A, G, dW)``: averages, momentum, weight decay written down."""
    x, v = descent_start(p), 0.0
    A, G, count, at = [], [], 0, None
    for t in range(steps):
        epoch, number = divmod(t, -(-SAMPLES // BATCH))
        rows = Epoch(p.seed, epoch, SAMPLES, BATCH, 0, SAMPLES).rows(number)
        W = flat_views(p.network, x)
        if at is None or (len(rows) == BATCH and t - at >= age(every, t)):
            at, count = t, count + 1
            V = below(p, W, rows)
            E = derivatives(p, W, rows, uniform_rows(p.seed, f"drawn targets {t}", 0, len(rows), len(p.y)).T)
            weight = max(1 / count, 1 - average)
            for old, new in ((A, V), (G, E if two_sides else [])):
                seen = [side @ side.T / len(rows) for side in new]
                old[:] = [(1 - weight) * was + weight * now for was, now in zip(old or seen, seen, strict=True)]
        g = mean_gradient(p, x, rows) + q.weight_decay * x
        steps_of = [solve(A_l, G_l, dW) for A_l, G_l, dW in itertools.zip_longest(A, G, flat_views(p.network, g))]
        step = np.concatenate([rows_of.ravel() for rows_of in steps_of])
        limit, length = getattr(q, "kl_clip", None), q.learning_rate**2 * step @ g
        if limit is not None and length > limit:
            step *= np.sqrt(limit / length)
        v = q.momentum * v + step
        x = x - q.learning_rate * v
    return x


CASES = {
    "cross-entropy": {"loss": "cross-entropy", "outputs": 3},
    "logistic": {"loss": "cross-entropy", "activation": "tanh"},
    "squared": {"outputs": 2},
    "signed": {"loss": "signed-squared"},
}
cases = pytest.mark.parametrize("case", CASES)
settings = pytest.mark.parametrize(
    "given",
    [
        {"gram_every": 1, "momentum": 0.0},
        {"gram_every": 3, "gram_average": 0.5, "weight_decay": 0.05},
        {"gram_every": 2, "gram_average": 0.0, "momentum": 0.6},
    ],
    ids=["every", "seldom", "newest"],
)


@cases
@settings
@pytest.mark.parametrize("steps", [1, 19])  # into the fifth epoch
def test_steps_of_foof_are_those_of_dense_solves(case, given, steps):
    p = problem([6, 5], samples=SAMPLES, seed=SEED, **CASES[case])
    method = foof(damping=0.05, learning_rate=0.02, **given)
    q = method.settings

    def solve(A: Array, G: None, dW: Array) -> Array:
        return dW @ np.linalg.inv(A + 0.05 * np.trace(A) / len(A) * np.eye(len(A)))

    expected = dense(p, steps, solve, two_sides=False, every=q.gram_every, average=q.gram_average, q=q)
    np.testing.assert_allclose(after(method, p, steps).parameters, expected, rtol=1e-8, atol=1e-10)
    assert np.abs(expected - descent_start(p)).max() > 1e-3


def dense_kfac(p: Problem, steps: int, q: KfacSettings) -> Array:
    """Where ``steps`` steps lead, by the whole Kronecker product."""

    def solve(A: Array, G: Array, dW: Array) -> Array:
        """(A + pi s I) kron (G + s / pi I), the numbers of dW column by column as in the paper."""
        s = np.sqrt(q.damping + q.weight_decay)
        pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
        whole = np.kron(A + pi * s * np.eye(len(A)), G + s / pi * np.eye(len(G)))
        return np.linalg.solve(whole, dW.ravel(order="F")).reshape(dW.shape, order="F")

    return dense(p, steps, solve, two_sides=True, every=q.gram_every, average=q.gram_average, q=q)


@cases
@settings
@pytest.mark.parametrize("steps", [1, 19])
def test_steps_of_kfac_are_those_of_the_dense_kronecker_product(case, given, steps):
    p = problem([6, 5], samples=SAMPLES, seed=SEED, **CASES[case])
    method = kfac(damping=0.1, learning_rate=0.02, kl_clip=None, **given)
    expected = dense_kfac(p, steps, method.settings)
    np.testing.assert_allclose(after(method, p, steps).parameters, expected, rtol=1e-8, atol=1e-10)
    assert np.abs(expected - descent_start(p)).max() > 1e-3


@cases
@settings
def test_steps_of_kfac_that_are_too_long_are_shortened(case, given):
    p = problem([6, 5], samples=SAMPLES, seed=SEED, **CASES[case])
    ends = {}
    for limit in (None, 1e3, 1e-4, 1e-6):
        method = kfac(damping=0.1, learning_rate=0.05, kl_clip=limit, **given)
        ends[limit] = after(method, p, 9).parameters
        np.testing.assert_allclose(ends[limit], dense_kfac(p, 9, method.settings), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(ends[1e3], ends[None])
    way = [np.linalg.norm(ends[limit] - descent_start(p)) for limit in (1e-6, 1e-4, None)]
    assert way == sorted(way)
    assert way[0] < way[1] < 0.99 * way[2]


@cases
def test_a_shortened_step_of_kfac_is_as_long_as_the_limit_says(case):
    p = problem([6, 5], samples=SAMPLES, seed=SEED, **CASES[case])
    start, given = descent_start(p), {"batch": SAMPLES, "learning_rate": 0.5, "momentum": 0.0}
    free, short = (start - after(kfac(kl_clip=limit, **given), p, 1).parameters for limit in (None, 1e-4))
    part = np.linalg.norm(short) / np.linalg.norm(free)
    np.testing.assert_allclose(short, part * free, rtol=1e-8, atol=1e-12)
    # Of F^-1 g the length in the metric of F is its product with g; of a part of it the square of that part.
    assert part**2 * 0.5 * free @ mean_gradient(p, start, np.arange(SAMPLES)) == pytest.approx(1e-4)
    assert part < 0.5


@pytest.mark.filterwarnings("ignore")
def test_steps_that_are_too_long_diverge_without_a_limit_and_not_with_one():
    p = by_sign_of_product(samples=400, loss="cross-entropy")
    given = {"batch": 50, "learning_rate": 30.0, "damping": 1e-6}
    loose = kfac(kl_clip=None, **given)
    try:
        far = np.abs(after(loose, p, 40).parameters).max()
    except Diverged:
        far = np.inf
    tight = kfac(**given)
    assert np.abs(after(tight, p, 40).parameters).max() < 100 < far


def test_without_biases_there_is_no_row_of_ones():
    p = problem([6, 5], samples=SAMPLES, seed=SEED, bias=False)
    method = foof(damping=0.05, learning_rate=0.02)
    q = method.settings

    def solve(A: Array, G: None, dW: Array) -> Array:
        return dW @ np.linalg.inv(A + 0.05 * np.trace(A) / len(A) * np.eye(len(A)))

    expected = dense(p, 9, solve, two_sides=False, every=q.gram_every, average=q.gram_average, q=q)
    np.testing.assert_allclose(after(method, p, 9).parameters, expected, rtol=1e-8, atol=1e-10)


def test_one_layer_under_squared_loss_is_solved_in_one_step_on_all_rows():
    p = problem([], samples=SAMPLES)
    s = after(foof(batch=SAMPLES, learning_rate=0.5, momentum=0.0, damping=1e-9), p, 1)
    expected = np.linalg.lstsq(p.a0.T, p.y.T, rcond=None)[0].T
    np.testing.assert_allclose(s.W[0], expected, rtol=1e-6, atol=1e-8)
    # Newton's step: the Hessian of the mean loss is 2 A, its Fisher information too.
    s = after(kfac(batch=SAMPLES, learning_rate=1.0, momentum=0.0, damping=1e-12, kl_clip=None), p, 1)
    np.testing.assert_allclose(s.W[0], expected, rtol=1e-4, atol=1e-5)


# -- targets that are drawn


def grid(outputs: int, draws: int) -> Array:
    return np.tile((np.arange(draws) + 0.5) / draws, (outputs, 1))


def test_drawn_classes_are_as_frequent_as_the_model_says():
    z = np.array([[0.5], [-1.0], [2.0]])
    p = np.exp(z[:, 0]) / np.exp(z).sum()
    E = losses.load("cross-entropy")().drawn_gradient(np.repeat(z, 10_000, axis=1), grid(3, 10_000))
    np.testing.assert_allclose(E @ E.T / 10_000, np.diag(p) - np.outer(p, p), atol=2e-4)
    np.testing.assert_allclose(E.mean(axis=1), 0, atol=2e-4)
    one = losses.load("cross-entropy")().drawn_gradient(np.full((1, 10_000), 0.7), grid(1, 10_000))
    chance = 1 / (1 + np.exp(-0.7))
    assert np.mean(one**2) == pytest.approx(chance * (1 - chance), abs=2e-4)


@pytest.mark.parametrize(("loss", "information"), [("squared", 2.0), ("signed-squared", 1.0)])
def test_drawn_errors_have_the_information_of_a_normal_model(loss, information):
    """Of variance 1 / curvature: exp(-(z - y)^2) for (z - y)^2."""
    uniform = np.array([[0.1, 0.1, 0.9, 0.9], [0.1, 0.9, 0.1, 0.9]])
    E = losses.load(loss)().drawn_gradient(np.ones((2, 4)), uniform)
    np.testing.assert_allclose(E @ E.T / 4, information * np.eye(2), atol=1e-12)
    np.testing.assert_allclose(E.mean(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("loss", ["squared", "signed-squared", "cross-entropy"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_what_is_drawn_keeps_the_type_and_leaves_outputs_alone(loss, outputs):
    z = np.linspace(-1, 1, 5 * outputs, dtype=np.float32).reshape(outputs, 5)
    before = z.copy()
    E = losses.load(loss)().drawn_gradient(z, grid(outputs, 5))
    assert (E.dtype, E.shape) == (z.dtype, z.shape)
    np.testing.assert_array_equal(z, before)


def test_the_hinge_is_no_likelihood():
    with pytest.raises(NotImplementedError, match="Hinge is the likelihood of no model"):
        losses.load("hinge")().drawn_gradient(np.ones((1, 2)), np.ones((1, 2)))


@pytest.mark.parametrize("batch", [1, 7, 50, SAMPLES])
@pytest.mark.parametrize("cuts", [[0, 71, 120], [0, 2, 40, 41, 90, 120]])
def test_the_place_of_a_rank_in_a_mini_batch_is_known(batch, cuts):
    def taken(comm, columns):
        batches = MiniBatches(problem([3], samples=SAMPLES, comm=comm, columns=columns), batch)
        return [(batches.take(t)[0].shape[1], batches.first) for t in range(2 * batches.count + 1)]

    for of_ranks in zip(*on_parts(cuts, taken), strict=True):
        before = 0
        for rows, first in of_ranks:
            assert first == before or rows == 0
            before += rows


# -- a pass that is watched


class Watched:
    """Keeps copies of all that a pass shows."""

    def __init__(self, targets: Array | None = None):
        self.V, self.E, self.targets = {}, {}, targets

    def inputs(self, l: int, V: Array) -> None:
        self.V.setdefault(l, []).append(V.copy())

    def drawn(self, outputs: Array) -> Array | None:
        return None if self.targets is None else np.full_like(outputs, 0.3)

    def outputs(self, l: int, E: Array) -> None:
        self.E.setdefault(l, []).append(E.copy())


@pytest.mark.parametrize("columns", [7, 20])
@pytest.mark.parametrize("bias", [True, False])
def test_a_pass_shows_inputs_and_derivatives_and_its_gradient_is_the_same(columns, bias):
    p = problem([5, 4], samples=20, outputs=3, loss="cross-entropy", activation="tanh", bias=bias)
    vector = descent_start(p)
    W = flat_views(p.network, vector)
    plain, watched = (flat_views(p.network, np.zeros_like(vector)) for _ in range(2))
    backprop = Gradient(p.network, p.loss, columns, np.float64)
    seen = Watched(p.y)
    assert backprop.add(W, p.a0, p.y, plain) == backprop.add(W, p.a0, p.y, watched, watch=seen)
    V = below(p, W, np.arange(20))
    for l in (1, 2, 3):
        np.testing.assert_array_equal(plain[l - 1], watched[l - 1])
        np.testing.assert_allclose(np.hstack(seen.V[l]), V[l - 1], rtol=1e-12)
    delta = np.full((3, 20), 0.3)
    for l in (3, 2, 1):  # the slope of tanh is 1 - tanh^2
        np.testing.assert_allclose(np.hstack(seen.E[l]), delta, rtol=1e-10)
        if l > 1:
            k = len(W[l - 2])
            delta = (1 - V[l - 1][:k] ** 2) * (W[l - 1][:, :k].T @ delta)
    nothing = Watched()
    backprop.add(W, p.a0, p.y, plain, watch=nothing)
    assert nothing.E == {}


# -- on ranks


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", [foof, kfac])
@pytest.mark.parametrize("row", [3, 80, 119])
def test_a_nan_on_one_rank_ends_all(method, row):
    def train(comm, columns):
        p = problem([6, 5], samples=SAMPLES, comm=comm, columns=columns)
        if columns.start <= row < columns.stop:
            p.a0[0, row - columns.start] = np.nan
        with pytest.raises(Diverged):
            after(method(), p, 4)
        return True

    assert on_parts([0, 71, 100, 120], train) == [True, True, True]


def test_a_rank_has_factors_of_its_own_layers_alone():
    def held(comm, columns):
        p = problem([40, 30], samples=SAMPLES, comm=comm, columns=columns)
        curvature = after(kfac(), p, 3).more
        own = [l for l, rows in enumerate(curvature.sums.division.rows, start=1) if rows.start < rows.stop]
        assert sorted(curvature._factors) == sorted(curvature._inverse) == own
        for l, inverse in curvature._inverse.items():
            rows = curvature.sums.division.rows[l - 1]
            assert len(inverse) == rows.stop - rows.start
        return own

    layers = on_parts([0, 50, 90, 120], held)
    assert sorted({l for own in layers for l in own}) == [1, 2, 3]
    assert max(len(own) for own in layers) < 3


# -- learning, and settings


@pytest.mark.parametrize("method", [foof(batch=50, damping=0.1), kfac(batch=50)], ids=["foof", "kfac"])
def test_hidden_layers_learn_what_a_linear_model_cannot(method):
    p = by_sign_of_product(samples=400, loss="cross-entropy")
    assert accuracy(p, method.weights(after(method, p, 8 * 30))) > 0.95


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ("foof={damping: 0}", "damping: expected a number above 0"),
        ("foof={gram_every: 0}", "gram_every: expected 1 or more"),
        ("foof={gram_average: 1.0}", "gram_average: expected a number below 1"),
        ("foof={momentum: 0.0, nesterov: true}", "nesterov: needs a momentum above 0"),
        ("foof={schedule: linear}", "schedule: linear needs schedule_epochs"),
        ("foof={beta1: 0.9}", "unknown key 'beta1'"),
        ("kfac={damping: -1.0}", "damping: expected a number above 0"),
        ("kfac={kl_clip: 0.0}", "kl_clip: expected a number above 0"),
        ("foof={kl_clip: 0.1}", "unknown key 'kl_clip'"),
        ("kfac={schedule: cosine, schedule_epochs: 2.0, warm_up: 2.0}", "warm_up: expected fewer epochs than"),
        ("kfac={loss: hinge}", "loss"),
        ("kfac={network: {convolution: {filters: [2], image: [1, 1, 2]}}}", "trains dense layers only"),
        ("foof={network: {convolution: {filters: [2], image: [1, 1, 2]}}}", "trains dense layers only"),
    ],
)
def test_settings_that_make_no_sense_are_refused(block, part):
    assert part in refusal_of(block)


def test_a_layer_with_more_inputs_than_can_be_counted_is_refused():
    network = Network.build(50_000, [4], 1, "relu", True)
    with pytest.raises(Exception, match="least squares of 50,001 inputs"):
        foof().check_size(network, 100, 1, None)
