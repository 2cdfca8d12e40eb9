"""Zhang and Kleijn's method: every closed form against brute force, one reduction, any number of ranks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.methods import accuracy, after, by_sign_of_product, flat
from support.problems import Array, problem, smallest_cost
from support.ranks import CountingComm
from support.table_2 import table_2_as_printed

from admmctl import kernels
from admmctl.errors import UserError
from admmctl.experiment.config import load
from admmctl.methods.graph import table_2
from admmctl.methods.graph.algorithm import GraphAdmm
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.graph.updates import gains, hidden, output
from admmctl.methods.method import Snapshot
from admmctl.model.network import Network

CUTS = {"relu": (0.0, np.inf), "dcutlu": (0.0, 1.0), "dcutlu(-0.5, 2)": (-0.5, 2.0)}
kinds = pytest.mark.parametrize("kind", list(CUTS))


# As in the paper, without what was added to it.
PLAIN = {
    "penalties": "fixed",
    "decay": "penalty",
    "momentum": 0.0,
    "average": 0.0,
    "quadratic": 0.05,
    "first_scale": 1.0,
    "l2": 0.04,
    "damping": 0.0,
    "gram_every": 1,
}


def graph(**settings) -> GraphAdmm:
    return GraphAdmm(GraphAdmmSettings(**{"rho": 0.3, "beta": 0.4, **PLAIN, **settings}))


@kinds
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("k", "k_next"), [(3, 2), (2, 4), (1, 1)])
def test_the_update_of_a_hidden_layer_is_table_2(kind, times, k, k_next):
    generator = np.random.default_rng(k + k_next)
    X, R_above = 1.5 * generator.standard_normal((k, 5)), generator.standard_normal((k_next, 5))
    method, p = (
        graph(rho=[0.2, 0.7], beta=[0.3], inner=times),
        problem([k], features=3, outputs=k_next, activation=kind),
    )
    s = method.init(p)
    s.W[2][...] = generator.standard_normal(s.W[2].shape)
    s.Q = table_2.gains(p, s.W, s.rho, s.beta, np.float64)
    R = np.empty_like(X, order="F")
    hidden(s, 1, s.W[2], np.asfortranarray(X), np.asfortranarray(R_above), R)
    expected = table_2_as_printed(X, s.W[2][:, :k], R_above, 0.7, 0.2, 0.3, CUTS[kind], times)
    np.testing.assert_allclose(X + R / 2, expected, atol=2e-4)


@kinds
@given(seed=st.integers(0, 1000), rho=st.sampled_from([0.05, 1.0, 3.0]), beta=st.sampled_from([0.1, 1.0]))
def test_both_ways_through_table_2_agree(kind, seed, rho, beta):
    generator = np.random.default_rng(seed)
    X, W = 2 * generator.standard_normal((4, 7)), generator.standard_normal((3, 4))
    R_above, cuts = generator.standard_normal((3, 7)), CUTS[kind]
    c = 1 / (rho + beta) + (1 if np.isinf(cuts[1]) else 2) / beta
    Q = 0.6 * W.T @ np.linalg.inv(np.eye(3) + 0.6 * c * W @ W.T)
    R = Q @ R_above
    table_2.once(X, R, rho, beta, cuts)
    np.testing.assert_allclose(R, table_2.several(X, W, Q, R_above, rho, beta, cuts, 1), atol=1e-10)


@kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=st.integers(0, 1000))
def test_compiled_and_plain_agree(kind, dtype, seed):
    generator = np.random.default_rng(seed)
    x, d = (3 * generator.standard_normal((6, 5)).astype(dtype) for _ in range(2))
    x[0, :3] = CUTS[kind][0], 1.0, 0.0
    d[1, 1] = np.nan
    compiled, plain = d.copy(), d.copy()
    kernels.graph_hidden(x, compiled, 1.7, 5.0, *CUTS[kind])
    kernels._graph_hidden_plain(x, plain, 1.7, 5.0, *CUTS[kind])
    assert np.isnan(compiled[1, 1])
    np.testing.assert_allclose(compiled, plain, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)


@pytest.mark.parametrize("loss", ["squared", "signed-squared", "hinge"])
def test_the_output_update_is_exact(loss):
    method = graph(rho=[0.3, 0.8])
    s = method.init(problem([3], loss=loss, samples=40))
    X = np.linspace(-3, 3, 40)[None]
    new, p = output(s, X, s.problem.y), s.problem

    def cost(z: Array) -> Array:
        y = p.y[0]
        fit = {
            "squared": (z - y) ** 2,
            "signed-squared": (z - (2 * y - 1)) ** 2 / 2,
            "hinge": np.maximum(np.where(y > 0.5, 1 - z, z), 0),
        }
        return fit[loss] + 0.4 * (z - X[0]) ** 2

    best = smallest_cost(cost, np.stack([X[0], p.y[0], -np.ones(40), np.zeros(40), np.ones(40)]))
    assert (cost(new) <= best + 1e-10).all()


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_output_update_of_cross_entropy_minimises_its_quadratic_model(outputs):
    method = graph(rho=[0.3, 0.8], quadratic=0.25)
    s = method.init(problem([3], outputs=outputs, loss="cross-entropy", samples=30))
    X = np.random.default_rng(0).standard_normal((outputs, 30))
    new, p = output(s, X, s.problem.y), s.problem
    # gradient + quadratic (x - X) + rho (x - X) = 0
    slope = p.loss.gradient(X, p.y) + (0.25 + 0.8) * (new - X)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def table_1(
    method: GraphAdmm, s, v0: Array, y: Array, kind: str | list[str], decay: float, new_above: bool = False
) -> dict[int, Array]:
    """The weights after one iteration as printed: dense, layer after layer, fits instead of steps.

    With ``new_above`` by the order that Remark 2 calls unstable: a layer is updated with the new weights above it.
    """
    N = s.problem.network.layers
    cuts = dict(enumerate([CUTS[kind]] * N if isinstance(kind, str) else [*map(CUTS.get, kind), None], start=1))
    V, X = {0: v0}, {}
    for i in range(1, N + 1):
        X[i] = s.W[i] @ V[i - 1]
        if i < N:
            V[i] = np.vstack([np.clip(X[i], *cuts[i]), np.ones_like(v0[:1])])
    new, T = {}, None
    for i in range(N, 0, -1):
        if i == N:
            X_new = output(s, X[N], y)
        else:
            above = new[i + 1] if new_above else s.W[i + 1]
            W = above[:, :-1]
            R_above = T - above @ V[i]
            rhos = s.rho[i + 1], s.rho[i]
            X_new = table_2_as_printed(X[i], W, R_above, *rhos, s.beta[i], cuts[i], 1)
        Lam = s.rho[i] * (X_new - X[i])
        T = X_new + Lam / s.rho[i]
        root = np.sqrt(decay / s.rho[i])
        A = np.hstack([V[i - 1], root * np.eye(len(V[i - 1]))])
        b = np.hstack([T, np.zeros((len(T), len(V[i - 1])))])
        new[i] = np.linalg.lstsq(A.T, b.T, rcond=None)[0].T
    return new


@kinds
@pytest.mark.parametrize("loss", ["squared", "signed-squared", "hinge", "cross-entropy"])
@pytest.mark.parametrize("hidden", [[], [3], [4, 3]])
def test_an_iteration_is_table_1(kind, loss, hidden):
    N = len(hidden) + 1
    method = graph(rho=[0.2 + 0.1 * i for i in range(N)], beta=[0.3 + 0.2 * i for i in range(N - 1)])
    s = method.init(problem(hidden, loss=loss, activation=kind, samples=40))
    expected = table_1(method, s, s.problem.a0, s.problem.y, kind, 0.04)
    s = method.step(s)
    for i in range(1, N + 1):
        np.testing.assert_allclose(s.W[i], expected[i], atol=5e-4)


@kinds
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize("hidden", [[3], [4, 3, 5]])
def test_with_new_weights_above_a_layer_waits_for_them(kind, loss, hidden):
    N = len(hidden) + 1
    penalties = {"rho": [0.2 + 0.1 * i for i in range(N)], "beta": [0.3 + 0.2 * i for i in range(N - 1)]}
    method, p = graph(weights_above="new", **penalties), problem(hidden, loss=loss, activation=kind, samples=40)
    s = method.init(p)
    for _ in range(2):
        expected, old = (table_1(method, s, p.a0, p.y, kind, 0.04, order) for order in (True, False))
        s = method.step(s)
        for i in range(1, N + 1):
            np.testing.assert_allclose(s.W[i], expected[i], atol=5e-4)
        assert max(np.abs(expected[i] - old[i]).max() for i in range(1, N)) > 0.01
        np.testing.assert_allclose(expected[N], old[N])


def test_with_new_weights_above_a_mini_batch_is_an_iteration_on_its_rows():
    method, p = graph(batch=40, weights_above="new"), problem([4, 3], loss="cross-entropy", samples=100)
    s = method.init(p)
    for iteration in range(5):
        v0, y = (x.copy() for x in s.batches.take(iteration))
        expected = table_1(method, s, v0, y, "relu", 0.04, new_above=True)
        s = method.step(s)
        for i in (1, 2, 3):
            np.testing.assert_allclose(s.W[i], expected[i], atol=2e-3)


def test_with_new_weights_above_blocks_of_rows_make_the_same_sums(monkeypatch):
    found = []
    for rows in (7, 120):
        monkeypatch.setattr(Network, "block", lambda self, itemsize=4, rows=rows: rows)
        settings = {"weights_above": "new", "batch": 60, "dropout": [0.5, 0.25], "decay": "objective"}
        p = problem([6, 5], outputs=3, loss="cross-entropy")
        found.append(flat(graph(**settings).weights(after(graph(**settings), p, 4))))
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


def test_new_weights_above_take_a_reduction_for_every_layer_and_room_for_all_rows():
    network = problem([60, 50], outputs=3).network
    old, new = (graph(weights_above=above).cost(network, 100_000, 300_000, 3) for above in ("old", "new"))
    verbs = [[message.verb for message in cost.messages] for cost in (old, new)]
    assert verbs[0].count("reduce_scatter") == 1
    assert verbs[1].count("reduce_scatter") == verbs[1].count("allgather") == 3
    rows = 4 * 3 * 100_000 * (60 + 50 + 3)
    assert 0.9 * rows < new.state_bytes - old.state_bytes < rows
    assert new.flop - old.flop == pytest.approx(2 * 300_000 * (51 * 3 + 61 * 50))


def test_new_weights_above_go_with_fixed_penalties_and_table_2():
    fixed = GraphAdmmSettings(batch=300, weights_above="new")
    assert fixed.penalties == "fixed"
    assert GraphAdmmSettings(**fixed.plain()) == fixed
    assert "weights_above" not in GraphAdmmSettings(batch=300).plain()
    for settings, key in (
        ({"penalties": "automatic"}, "penalties"),
        ({"backward": "backprop"}, "weights_above"),
    ):
        given = GraphAdmmSettings(batch=300, weights_above="new", **settings)
        assert [key for key, _ in GraphAdmm.check(given, 3)] == [key]


def test_every_layer_has_the_cuts_of_its_own_activation():
    kinds_of = ["dcutlu(-0.5, 2)", "relu", "dcutlu"]
    method = graph(rho=[0.2, 0.3, 0.4, 0.5], beta=[0.3, 0.5, 0.7])
    s = method.init(problem([4, 3, 5], loss="cross-entropy", activation=kinds_of, samples=40))
    expected = table_1(method, s, s.problem.a0, s.problem.y, kinds_of, 0.04)
    others = [table_1(method, s, s.problem.a0, s.problem.y, kind, 0.04) for kind in CUTS]
    s = method.step(s)
    for i in range(1, 5):
        np.testing.assert_allclose(s.W[i], expected[i], atol=5e-4)
    assert all(np.abs(s.W[1] - other[1]).max() > 5e-3 for other in others)


def test_a_mini_batch_is_an_iteration_on_its_rows():
    method = graph(batch=40)
    p = problem([4], loss="cross-entropy", samples=100)
    s = method.init(p)
    for iteration in range(5):
        v0, y = (x.copy() for x in s.batches.take(iteration))
        rows = s.batches.rows(iteration)
        assert v0.shape[1] == rows == (40, 40, 20)[iteration % 3]
        expected = table_1(method, s, v0, y, "relu", 0.04)
        s = method.step(s)
        for i in (1, 2):
            np.testing.assert_allclose(s.W[i], expected[i], atol=2e-3)
    assert method.rows_seen(s) == 40 + 40 + 20 + 40 + 40


def summed(comm: CountingComm) -> list[int]:
    """Of every iteration, how many numbers of V V' are sent; and those of V_0 V_0' before, if there are any."""
    sent, shared = [], 0
    for verb, size in comm.verbs:
        if verb == "reduce":
            shared = size // 8
        elif verb == "reduce_scatter":
            sent.append(shared)
            shared = 0
    return sent


def test_inputs_of_all_rows_are_summed_once():
    comm = CountingComm()
    method = graph()
    s = method.init(problem([6, 4], outputs=3, loss="cross-entropy", comm=comm))
    for _ in range(3):
        s = method.step(s)
    first, others = 5 * 6 // 2, 7 * 8 // 2 + 5 * 6 // 2
    assert summed(comm) == [first + others, others, others]


def test_on_mini_batches_sums_of_samples_may_serve_several_iterations():
    comm = CountingComm()
    method = graph(batch=40, gram_every=3)
    s = method.init(problem([6, 4], outputs=3, loss="cross-entropy", comm=comm))  # 4 inputs, 120 rows
    assert comm.verbs == [("reduce", 8 * (5 * 6 // 2))]  # V_0 V_0' of all rows, once
    comm.verbs.clear()
    for _ in range(25):
        s = method.step(s)
    # Anew at first, then after 2, then after 3 iterations: never more than a fifth of those so far.
    anew = [i for i, numbers in enumerate(summed(comm)) if numbers == 7 * 8 // 2 + 5 * 6 // 2]
    assert anew == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 19, 22]
    assert set(summed(comm)) == {7 * 8 // 2 + 5 * 6 // 2, 0}


def test_sums_of_few_rows_serve_one_iteration():
    # 40 rows are fewer than twice the 31 inputs of the last layer, and more than twice those of the first.
    comm = CountingComm()
    after(graph(batch=40, gram_every=50), problem([30], loss="cross-entropy", comm=comm), 12)
    del comm.verbs[0]  # V_0 V_0'
    assert summed(comm) == [31 * 32 // 2] * 12


def fixed_point(**settings) -> Array:
    """The weights that a network without hidden layers ends at: there is one such point."""
    method = graph(**{"rho": 1.0, "l2": 5.0, **settings})
    return method.weights(after(method, problem([], loss="cross-entropy"), 400))[0]


def test_old_sums_change_the_steps_and_not_their_end():
    np.testing.assert_allclose(fixed_point(gram_every=8), fixed_point(), atol=1e-6)


def test_a_short_last_mini_batch_renews_no_sums():
    comm = CountingComm()
    # The third mini-batch of an epoch has 20 rows.
    after(graph(batch=50, gram_every=8, damping=0.01), problem([6], loss="cross-entropy", comm=comm), 30)
    del comm.verbs[0]  # V_0 V_0'
    renewed = {i for i, numbers in enumerate(summed(comm)) if numbers}
    assert renewed >= {0, 1, 3, 4}
    assert not any(i % 3 == 2 for i in renewed)


# -- dropout and noise


@kinds
@pytest.mark.parametrize(("k", "k_next"), [(3, 2), (2, 4), (5, 5)])
def test_with_units_left_out_the_update_is_table_2_of_the_masked_network(kind, k, k_next):
    """With the gain of a row's own mask: W S in the place of W, and a unit that is left out does not move."""
    generator = np.random.default_rng(k + k_next)
    X, R_above = 1.5 * generator.standard_normal((k, 6)), generator.standard_normal((k_next, 6))
    p = problem([k], features=3, outputs=k_next, activation=kind)
    method = graph(rho=[0.2, 0.7], beta=[0.3])
    s = method.init(p)
    W = generator.standard_normal((k_next, k))
    S = (generator.random((k, 6)) < 0.6) / 0.6
    assert (S == 0).any()
    assert (S > 0).any()
    c = 1 / 0.5 + (1 if np.isinf(CUTS[kind][1]) else 2) / 0.3
    for row in range(6):
        x, above, mask = (np.asfortranarray(array[:, row : row + 1]) for array in (X, R_above, S))
        s.Q[1] = 0.7 * W.T @ np.linalg.inv(np.eye(k_next) + 0.7 * c * (W * mask.T**2) @ W.T)
        R = np.empty_like(x, order="F")
        hidden(s, 1, s.W[2], x, above, R, mask)
        expected = table_2_as_printed(x, W * mask.T, above, 0.7, 0.2, 0.3, CUTS[kind], 1)
        np.testing.assert_allclose(x + R / 2, expected, atol=2e-4)
        assert (R[mask == 0] == 0).all()


def gain_of_a_mask(W: Array, mask: Array, rho_above: float, c: float) -> Array:
    """S Q of one row, exactly, of shape (k, k')."""
    inverse = np.linalg.inv(np.eye(len(W)) + rho_above * c * (W * mask**2) @ W.T)
    return rho_above * mask[:, None] * (W.T @ inverse)


@kinds
@pytest.mark.parametrize("kept", [0.3, 0.8])
def test_one_gain_for_all_masks_is_exact_where_units_do_not_interact(kind, kept):
    p = problem([4], outputs=6, activation=kind)
    method = graph(rho=[0.2, 0.7], beta=[0.3])
    s = method.init(p)
    W = s.W[2][:, :4]
    W[...] = 1.7 * np.linalg.qr(np.random.default_rng(1).standard_normal((6, 4)))[0]
    c = 1 / 0.5 + (1 if np.isinf(CUTS[kind][1]) else 2) / 0.3
    Q = table_2.gains(p, s.W, s.rho, s.beta, np.float64, {1: kept})[1]
    for left_out in itertools.product([False, True], repeat=4):
        mask = np.where(left_out, 0, 1 / kept)
        np.testing.assert_allclose(mask[:, None] * Q, gain_of_a_mask(W, mask, 0.7, c), rtol=1e-10, atol=1e-14)
    assert np.abs(Q - table_2.gains(p, s.W, s.rho, s.beta, np.float64)[1]).max() > 0.01


def test_one_gain_for_all_masks_comes_near_that_of_every_mask():
    """And nearer than the mean of S^2 in the inverse, and than no change of the gain."""
    p, generator, kept = problem([50], outputs=60), np.random.default_rng(1), 0.5
    method = graph(rho=[0.1, 0.05], beta=[0.1])
    s = method.init(p)
    W = s.W[2][:, :50]
    W[...] = np.sqrt(2 / 50) * generator.standard_normal(W.shape)
    c = 1 / 0.2 + 1 / 0.1
    ours = table_2.gains(p, s.W, s.rho, s.beta, np.float64, {1: kept})[1]
    plain = table_2.gains(p, s.W, s.rho, s.beta, np.float64)[1]
    mean = 0.05 * W.T @ np.linalg.inv(np.eye(60) + 0.05 * c / kept * W @ W.T)
    errors = {"ours": [], "mean": [], "plain": []}
    for _ in range(40):
        mask, R_above = (generator.random(50) < kept) / kept, generator.standard_normal(60)
        exact = gain_of_a_mask(W, mask, 0.05, c) @ R_above
        for name, Q in (("ours", ours), ("mean", mean), ("plain", plain)):
            errors[name].append(np.linalg.norm(mask * (Q @ R_above) - exact) / np.linalg.norm(exact))
    error = {name: np.mean(found) for name, found in errors.items()}
    assert error["ours"] < 0.5
    assert error["ours"] < 0.7 * error["mean"] < error["plain"]


def test_an_iteration_with_dropout_and_noise_is_that_of_its_masked_network():
    settings = {"batch": 50, "dropout": [0.5, 0.25], "input_noise": 0.3, "label_smoothing": 0.2}
    method, p = graph(**settings), problem([6, 5], outputs=3, loss="cross-entropy", samples=130)
    s = method.init(p)
    for iteration in range(4):
        v0, y = (x.copy() for x in s.batches.take(iteration))
        S = {i: s.batches.mask(i, slice(0, v0.shape[1])).copy() for i in (1, 2)}
        W, X, V = {i: W_i.copy() for i, W_i in s.W.items()}, {}, {0: v0}
        for i in (1, 2, 3):
            X[i] = W[i] @ V[i - 1]
            if i < 3:
                V[i] = np.vstack([S[i] * np.maximum(X[i], 0), np.ones_like(v0[:1])])
        R = {3: 2 * (output(s, X[3], y) - X[3])}
        for i in (2, 1):
            above, kept = W[i + 1][:, :-1], (0.5, 0.75)[i - 1]
            a = 0.3 * (1 / 0.7 + 1 / 0.4)  # rho 0.3, beta 0.4
            lam = kept + (1 / kept - 1) * a * np.mean((above**2).sum(axis=0))
            Q = 0.3 * kept * above.T @ np.linalg.inv(lam * np.eye(len(above)) + a * above @ above.T)
            D = S[i] * (Q @ R[i + 1])
            px, py = X[i] + 2 * D / 0.7, np.maximum(-X[i], 0) + 2 * D / 0.4
            R[i] = 2 * (np.where(X[i] < 0, np.minimum((px - py) / 2, 0), np.maximum(px, 0)) - X[i])
            assert (R[i][S[i] == 0] == 0).all()
        s = method.step(s)
        for i in (1, 2, 3):
            gram = V[i - 1] @ V[i - 1].T + 0.04 / 0.3 * np.eye(len(V[i - 1]))
            step = (R[i] @ V[i - 1].T - 0.04 / 0.3 * W[i]) @ np.linalg.inv(gram)
            np.testing.assert_allclose(s.W[i], W[i] + step, atol=1e-5)


def test_units_left_out_pass_back_what_they_do_in_backpropagation():
    generator = np.random.default_rng(0)
    p = problem([5], features=3, outputs=4)
    method = graph(batch=60, backward="backprop-unscaled", dropout=0.4)
    s = method.init(p)
    X, R_above = generator.standard_normal((5, 8)), generator.standard_normal((4, 8))
    S, R = (generator.random((5, 8)) < 0.6) / 0.6, np.empty((5, 8), order="F")
    s.Q = gains(s, s.W, [1])
    hidden(s, 1, s.W[2], np.asfortranarray(X), np.asfortranarray(R_above), R, S)
    np.testing.assert_allclose(R, (X > 0) * S * (s.W[2][:, :5].T @ R_above), rtol=1e-12)


def test_the_sums_of_noisy_inputs_that_serve_all_iterations_are_right_on_average():
    p = problem([5], samples=400, features=6)
    method = graph(batch=100, gram_every=8, input_noise=0.7)
    s = method.init(p)
    held = s.solves._pairs[1].gram
    exact = p.a0 @ p.a0.T / 4 + np.diag([0.7**2 * 100.0] * 6 + [0.0])
    np.testing.assert_allclose(held, exact, rtol=1e-10, atol=1e-8)
    sums = []
    for iteration in range(4 * 300):
        v0, _ = s.batches.take(iteration)
        sums.append(v0 @ v0.T)
    epochs = np.array(sums).reshape(300, 4, 7, 7).mean(axis=1)  # an epoch has every row once
    error = epochs.std(axis=0) / np.sqrt(300) + 1e-9
    assert (np.abs(epochs.mean(axis=0) - held) < 5 * error + 1e-6).all()


def test_noise_on_all_rows_at_once_is_refused():
    method = graph(batch=120, input_noise=0.1)
    with pytest.raises(UserError, match="input_noise is of mini-batches; set batch below 120 rows"):
        method.check_size(problem([4]).network, 120, 1, None)
    method.check_size(problem([4]).network, 121, 1, None)


# -- defaults, L2, acceleration


def test_defaults_depend_on_whether_there_are_mini_batches():
    whole, batches = GraphAdmmSettings(), GraphAdmmSettings(batch=3000)
    assert (whole.momentum, whole.decay, whole.average, whole.l2) == (0.95, "objective", 0.0, 30.0)
    assert (batches.momentum, batches.decay, batches.average, batches.l2) == (0.0, "penalty", 0.95, 0.1)
    assert (whole.gram_every, whole.damping, batches.gram_every, batches.damping) == (1, 0.0, 8, 0.03)
    assert (whole.penalties, batches.penalties) == ("fixed", "automatic")
    assert GraphAdmmSettings(batch=300, momentum=0.5, l2=7.0).momentum == 0.5
    assert GraphAdmmSettings(anderson=5).momentum == 0.0
    # What was resolved and written down means the same when it is read again.
    for settings in (whole, batches):
        assert GraphAdmmSettings(**settings.plain()) == settings


def test_keys_that_change_nothing_are_in_no_name_of_a_run():
    whole, batches = GraphAdmmSettings().plain(), GraphAdmmSettings(batch=300, penalties="fixed").plain()
    assert {"backward", "penalties"} & whole.keys() == set()
    assert "batch" in whole
    # On mini-batches it is the other value that may be left out when it is read again.
    assert (batches["penalties"], "backward" in batches) == ("fixed", False)
    assert GraphAdmmSettings(**batches).penalties == "fixed"
    chosen = GraphAdmmSettings(batch=300, rho=0.1).plain()
    assert "penalties" not in chosen
    assert GraphAdmmSettings(**chosen).penalties == "fixed"
    assert GraphAdmmSettings(batch=300, rho=0.1, penalties="automatic").plain()["penalties"] == "automatic"
    changed = GraphAdmmSettings(backward="backprop", penalties="automatic")
    assert GraphAdmmSettings(**changed.plain()) == changed


def test_a_checkpoint_from_before_there_were_automatic_penalties_goes_on():
    method, p = graph(), problem([4])
    s = after(method, p, 3)
    saved = method.snapshot(s)
    older = Snapshot({key: value for key, value in saved.common.items() if key != "penalties"})
    restored = method.restore(method.init(p), older)
    np.testing.assert_array_equal(restored.parameters, s.parameters)
    assert restored.rho == s.rho


def test_defaults_mean_the_same_on_mini_batches_of_any_size():
    # A sixth of the rows: a sixth of the L2, the same number of rows of damping, an average over as many rows.
    small, large = GraphAdmmSettings(batch=500), GraphAdmmSettings(batch=3000)
    assert 6 * small.l2 == pytest.approx(large.l2)
    assert 500 * small.damping == pytest.approx(3000 * large.damping)
    assert small.average**6 == pytest.approx(large.average)
    given = GraphAdmmSettings(batch=500, l2=7.0, damping=0.2, average=0.5)
    assert (given.l2, given.damping, given.average) == (7.0, 0.2, 0.5)
    assert GraphAdmmSettings(**small.plain()) == small


def test_the_papers_penalties_are_the_default_on_mini_batches():
    rho, beta = GraphAdmmSettings(batch=50).rho_and_beta(3, None)
    assert rho == pytest.approx({1: 0.2, 2: 0.1, 3: 0.05})
    assert beta == pytest.approx({1: 0.2, 2: 0.1})
    assert GraphAdmmSettings().rho_and_beta(3, None) == ({1: 0.05, 2: 0.05, 3: 1.0}, {1: 1.0, 2: 1.0})
    assert GraphAdmmSettings().rho_and_beta(2, 2.0) == ({1: 0.05, 2: 8.0}, {1: 1.0})


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_l2_by_the_objective_does_not_depend_on_the_step(scale):
    # The fixed point is that of loss + l2 / 2 ||W||^2, whatever the step.
    W, p = fixed_point(decay="objective"), problem([], loss="cross-entropy")
    np.testing.assert_allclose(W, fixed_point(decay="objective", rho=scale), atol=1e-6)
    gradient = p.loss.gradient(W @ p.a0, p.y) @ p.a0.T + 5.0 * W
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_l2_by_the_penalty_moves_with_rho():
    assert np.abs(fixed_point() - fixed_point(rho=0.1)).max() > 1e-3


def test_damping_shortens_the_step_and_keeps_its_end():
    p = problem([], loss="cross-entropy")
    moved = {}
    for damping in (0.0, 10.0):
        method = graph(rho=1.0, damping=damping, l2=1.0)
        s = method.init(p)
        before = method.weights(s)[0]
        moved[damping] = np.linalg.norm(method.weights(method.step(s))[0] - before)
    assert moved[10.0] < 0.3 * moved[0.0]


def test_momentum_starts_each_pass_ahead_of_the_weights():
    method = graph(momentum=0.5, restart="none")
    s = method.init(problem([4], loss="cross-entropy"))
    start = s.parameters.copy()
    s = method.step(s)
    np.testing.assert_allclose(s.parameters, s.image + 0.5 * (s.image - start))
    evaluated = flat(method.weights(s))
    np.testing.assert_array_equal(evaluated, s.image)  # what is evaluated


def test_the_average_is_what_is_evaluated():
    method = graph(average=0.9, batch=40)
    s = method.init(problem([4], loss="cross-entropy"))
    images = []
    for _ in range(3):
        s = method.step(s)
        images.append(s.image.copy())
    evaluated = flat(method.weights(s))
    assert np.linalg.norm(evaluated - images[-1]) > 1e-6
    assert (np.minimum.reduce(images) - 1e-12 <= evaluated).all()
    assert (evaluated <= np.maximum.reduce(images) + 1e-12).all()


@pytest.mark.parametrize("loss", ["squared", "signed-squared", "hinge", "cross-entropy"])
@pytest.mark.parametrize("activation_name", ["relu", "dcutlu(-1, 1)"])
def test_all_rows_with_defaults_learn_what_no_linear_model_can(loss, activation_name):
    p = by_sign_of_product(samples=3000, loss=loss, activation=activation_name)
    method = GraphAdmm(GraphAdmmSettings(l2=1.0))
    assert accuracy(p, method.weights(after(method, p, 40))) > 0.9


def test_mini_batches_are_evaluated_once_an_epoch_and_all_rows_every_iteration():
    experiment = {
        "name": "units",
        "data": {"name": "swissroll"},
        "network": {"layers": [5]},
        "loss": "cross-entropy",
        "methods": {
            "whole": {"kind": "graph-admm"},
            "batches": {"kind": "graph-admm", "batch": 100},
            "paper": {"kind": "graph-admm", "preset": "paper"},
        },
    }
    runs = load(experiment).runs
    assert {name: run.evaluate.unit for name, run in runs.items()} == {
        "whole": "iteration",
        "batches": "epoch",
        "paper": "epoch",
    }
    paper = runs["paper"].settings
    assert (paper.batch, paper.average, paper.momentum, paper.l2) == (3000, 0.0, 0.0, 0.1)
    assert (paper.penalties, paper.damping, paper.gram_every, paper.backward) == ("fixed", 0.0, 1, "admm")


def test_penalties_must_fit_the_layers():
    assert [key for key, _ in GraphAdmm.check(GraphAdmmSettings(rho=[1.0], beta=[1.0, 2.0]), 2)] == ["rho", "beta"]
    assert GraphAdmm.check(GraphAdmmSettings(rho=[1.0, 2.0], beta=[1.0]), 2) == []
