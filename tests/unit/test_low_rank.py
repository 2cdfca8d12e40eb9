"""Low-rank W-updates: the sketch is what it claims to be, its inverse too, and what is summed and sent."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.problems import Array, problem
from support.ranks import CountingComm

from admmctl.errors import ConfigError
from admmctl.experiment.config import load
from admmctl.methods.least_squares import GramPair, RidgeFactor, solve_bytes
from admmctl.methods.method import Diverged
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.layers import sums
from admmctl.methods.taylor.low_rank import Draw, NystromPair, PrintedPair, PrintedSketch, Sketch
from admmctl.methods.taylor.preconditioned import MOST, Preconditioned, PreconditionedPair
from admmctl.methods.taylor.settings import PRINTED, AdmmSettings, LowRankSettings

types = pytest.mark.parametrize("dtype", [np.float32, np.float64])
UPDATES = pytest.mark.parametrize("update", ["nystrom", "nystrom-pcg"])
COLUMNS = pytest.mark.parametrize("columns", ["uniform", "leverage"])


def low_rank_plus_noise(k: int, r: int, noise: float, seed: int = 0, samples: int = 400) -> Array:
    """Inputs (k, samples) of r directions, and noise in all of them."""
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((k, r)) @ generator.standard_normal((r, samples))
    return np.asfortranarray(a + noise * generator.standard_normal((k, samples)))


def pair_of(z: Array, a: Array, update: str = "nystrom", seed: int = 0, **settings: Any) -> Any:
    """The sums of z and a, in two blocks."""
    given = LowRankSettings(w_update=update, min_width=1, **settings)
    p = problem([len(a)], features=2, outputs=len(z), bias=False, dtype=a.dtype.type, seed=seed)
    pair = sums(given, p, 2)
    for block in (slice(0, 37), slice(37, None)):
        pair.add(z[:, block], a[:, block])
    return pair


def drawn(k: int, outputs: int, seed: int, samples: int = 60, dtype: type = np.float64) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    shapes = (outputs, samples), (k, samples)
    z, a = (np.asfortranarray(generator.standard_normal(shape).astype(dtype)) for shape in shapes)
    return z, a


# -- the identity


@given(
    k=st.integers(1, 8),
    p=st.integers(1, 8),
    delta=st.sampled_from([1e-3, 1e-1, 10.0]),
    seed=st.integers(0, 1000),
)
def test_the_regularised_woodbury_step_is_an_identity_and_the_printed_one_is_none(k, p, delta, seed):
    p = min(p, k)
    _, a = drawn(k, 2, seed)
    gram = a @ a.T
    columns = Draw(k, p, False, seed, 2).next()
    C, R = gram[:, columns], gram[np.ix_(columns, columns)]
    sketch = Sketch(C, columns, np.diag(gram), 0.0, delta, k)
    dense = np.linalg.inv(sketch.delta * np.eye(k) + C @ np.linalg.inv(R) @ C.T)
    assert sketch.delta == pytest.approx(delta * np.trace(gram) / k)
    np.testing.assert_allclose(sketch.divide(np.eye(k)), dense, atol=1e-9 * np.abs(dense).max())
    as_documented = (np.eye(k) - C @ np.linalg.solve(sketch.delta * R + C.T @ C, C.T)) / sketch.delta
    np.testing.assert_allclose(as_documented, dense, atol=1e-7 * np.abs(dense).max())
    # Step 14 of Algorithm 2: of all columns, where there is an inverse to compare with, it is another matrix.
    if p == k:
        printed = C @ np.linalg.inv(np.linalg.inv(R) + C.T @ C) @ C.T
        assert np.abs(printed - np.linalg.inv(gram)).max() > 0.1


# -- nystrom


@types
@UPDATES
@COLUMNS
@pytest.mark.parametrize("ridge", [1e-2, 1.0])
def test_all_columns_give_the_exact_update(dtype, update, columns, ridge):
    z, a = drawn(30, 3, 1, 200, dtype)
    settings = {"tolerance": 1e-9 if dtype == np.float64 else 1e-5} if update == "nystrom-pcg" else {}
    pair = pair_of(z, a, update, rank=30, columns=columns, **settings)
    factor = pair.factor(ridge)
    exact = RidgeFactor((a @ a.T).astype(float), ridge)
    W = factor.solve(pair.cross)
    assert W.dtype == dtype
    tolerance = 1e-8 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(W, exact.solve(z @ a.T), atol=tolerance)
    assert factor.ridge == pytest.approx(ridge, rel=10 * tolerance)


def test_more_columns_come_nearer_to_the_exact_update():
    a = low_rank_plus_noise(60, 20, 0.1)
    z = np.random.default_rng(1).standard_normal((4, 60)) @ a
    exact = RidgeFactor(a @ a.T, 1e-2).solve(z @ a.T)
    errors = []
    for p in (2, 5, 10, 20, 40, 60):
        found = [pair_of(z, a, seed=seed, rank=p) for seed in range(8)]
        misses = [pair.factor(1e-2).solve(pair.cross) @ a - exact @ a for pair in found]
        errors.append(np.mean([np.linalg.norm(miss) for miss in misses]) / np.linalg.norm(exact @ a))
    assert all(more <= 1.05 * few for few, more in zip(errors, errors[1:], strict=False)), errors
    assert errors[0] > 0.3
    assert errors[4] < 0.05
    assert errors[-1] < 1e-8


def test_delta_is_the_ridge_and_what_the_sketch_leaves_out_or_as_given():
    z, a = drawn(40, 2, 0, 300)
    gram = a @ a.T
    mean = np.trace(gram) / 40
    pair = pair_of(z, a, rank=7)
    columns = pair.columns
    C = gram[:, columns]
    left_out = np.trace(gram - C @ np.linalg.solve(C[columns], C.T)) / 7
    assert pair.factor(1e-2).ridge == pytest.approx(1e-2 + left_out / mean)
    assert pair_of(z, a, rank=7, delta=0.25).factor(1e-2).ridge == pytest.approx(0.25)


@types
@UPDATES
@COLUMNS
def test_dead_units_and_copies_of_one_another_get_finite_weights(dtype, update, columns):
    z, a = drawn(30, 3, 2, 200, dtype)
    a[4:20] = 0.0
    a[21] = a[22] = a[23]
    for p in (1, 10, 29, 30):
        pair = pair_of(z, a, update, rank=p, columns=columns)
        for _ in range(3):
            W = pair.factor(1e-2).solve(pair.cross)
            assert np.isfinite(W).all()
            assert not W[:, 4:20].any()
            pair.clear()
            pair.add(z, a)


@UPDATES
def test_inputs_that_are_all_zero_give_zero_weights(update):
    pair = pair_of(np.ones((2, 50)), np.zeros((9, 50), order="F"), update, rank=3)
    assert not pair.factor(0.0).solve(pair.cross).any()


@UPDATES
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["z", "a"])
def test_numbers_that_are_not_finite_end_the_run(update, bad, where):
    z, a = drawn(12, 2, 0)
    (z if where == "z" else a)[1, 3] = bad
    with np.errstate(invalid="ignore"):
        pair = pair_of(z, a, update, rank=4)
    with pytest.raises(Diverged):
        pair.factor(1e-2).solve(pair.cross)


@UPDATES
@pytest.mark.parametrize("size", [1e-160, 1e140, 1e153])
def test_sums_near_the_ends_of_the_range_are_solved_or_end_the_run(update, size):
    z, a = drawn(12, 2, 0)
    pair = pair_of(z, a * size, update, rank=4)
    try:
        with np.errstate(all="ignore"):
            assert np.isfinite(pair.factor(1e-2).solve(pair.cross)).all()
    except Diverged:
        assert size != 1e140


# -- columns


def test_columns_are_distinct_drawn_anew_and_the_same_for_a_seed_and_a_layer():
    one, same = Draw(50, 9, False, 3, 2), Draw(50, 9, False, 3, 2)
    draws = [one.next() for _ in range(40)]
    for columns in draws:
        assert len(np.unique(columns)) == 9
        assert (np.diff(columns) > 0).all()
        np.testing.assert_array_equal(columns, same.next())
    assert len(np.unique(np.concatenate(draws))) == 50
    for other in (Draw(50, 9, False, 4, 2), Draw(50, 9, False, 3, 3)):
        assert (other.next() != draws[0]).any()


def test_leverage_scores_are_those_of_ridge_regression_from_above():
    _, a = drawn(30, 2, 5, 100)
    gram = a @ a.T
    whole = Sketch(gram, np.arange(30), np.diag(gram), 0.1, None, 30)
    exact = np.diag(gram @ np.linalg.inv(gram + whole.delta * np.eye(30)))
    np.testing.assert_allclose(whole.leverage(), exact, rtol=1e-8)
    columns = np.arange(0, 30, 3)
    part = Sketch(gram[:, columns], columns, np.diag(gram), 0.1, whole.delta / whole.mean, 10)
    assert (part.leverage() >= exact - 1e-9).all()


def test_columns_of_weight_are_drawn_more_often():
    # Five inputs in directions of their own, and many that are copies of one.
    generator = np.random.default_rng(0)
    own, one = generator.standard_normal((5, 300)), generator.standard_normal((1, 300))
    a = np.asfortranarray(np.vstack([own, np.tile(one, (45, 1))]))
    pair = pair_of(np.ones((1, 300)), a, rank=8, columns="leverage")
    found = []
    for _ in range(20):
        pair.clear()
        pair.add(np.ones((1, 300)), a)
        pair.factor(1e-2)
        found.append(np.sum(pair.columns < 5))
    assert np.mean(found[1:]) > 2.0  # evenly drawn it would be 0.8


# -- nystrom-pcg


@types
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_the_residual_of_every_row_is_below_the_tolerance(dtype, started, tolerance):
    a = low_rank_plus_noise(80, 15, 0.3).astype(dtype, order="F")
    z = np.random.default_rng(3).standard_normal((5, 400)).astype(dtype)
    z *= np.array([[1e-3], [1.0], [1e3], [0.0], [1.0]], dtype)
    pair = pair_of(z, a, "nystrom-pcg", rank=12, tolerance=tolerance)
    exact = RidgeFactor(pair.triangle, 1e-2).solve(pair.cross)
    factor = pair.factor(1e-2)
    W = factor.solve(pair.cross, exact * dtype(1.1) if started else None)
    assert 0 < factor.steps < MOST
    gram = pair.gram.astype(float)
    residual = W @ (gram + 1e-2 * np.trace(gram) / 80 * np.eye(80)) - pair.cross
    assert (np.linalg.norm(residual, axis=1) <= 1.1 * tolerance * np.linalg.norm(pair.cross, axis=1)).all()
    assert not W[3].any() or started


def test_a_good_start_and_a_better_sketch_save_steps():
    a = low_rank_plus_noise(120, 30, 0.05)
    z = np.random.default_rng(4).standard_normal((3, 400))

    def steps(p: int, start: Array | None = None) -> int:
        pair = pair_of(z, a, "nystrom-pcg", rank=p, tolerance=1e-6)
        factor = pair.factor(1e-3)
        factor.solve(pair.cross, start)
        return factor.steps

    exact = RidgeFactor(a @ a.T, 1e-3).solve(z @ a.T)
    assert steps(10, exact) == 0
    assert steps(10, exact * 1.001) < steps(10)
    assert steps(60) < steps(5) / 2


def test_where_the_steps_run_out_a_factor_solves():
    a = low_rank_plus_noise(60, 60, 1.0)
    z = np.random.default_rng(5).standard_normal((3, 400))
    pair = pair_of(z, a.astype(np.float32), "nystrom-pcg", rank=1, tolerance=1e-12)  # beyond float32
    factor = pair.factor(1e-6)
    assert isinstance(factor, Preconditioned)
    np.testing.assert_array_equal(factor.solve(pair.cross), RidgeFactor(pair.triangle, 1e-6).solve(pair.cross))
    assert factor.steps == MOST


# -- in the method


def admm(update: str, **settings: Any) -> Admm:
    return Admm(AdmmSettings(**{"penalties": "fixed", "w_update": update, "min_width": 8, **settings}))


KINDS = {"nystrom": NystromPair, "nystrom-pcg": PreconditionedPair, "nystrom-printed": PrintedPair}


@pytest.mark.parametrize("update", KINDS)
@pytest.mark.parametrize(("width", "low"), [(14, [1, 2]), (22, [1]), (32, [])])
def test_layers_of_few_inputs_have_the_exact_update(update, width, low):
    s = Admm(AdmmSettings(penalties="fixed", w_update=update, min_width=width)).init(
        problem([20, 12], features=30)
    )
    assert [type(s.pairs[l]) for l in (1, 2, 3)] == [KINDS[update] if l in low else GramPair for l in (1, 2, 3)]


# -- the inputs, which never change


def wide_inputs(update: str, comm: Any = None, **settings: Any) -> tuple[Admm, Any]:
    """Of 30 inputs and a layer of 6: the first layer is wide."""
    method = Admm(AdmmSettings(penalties="fixed", w_update=update, min_width=20, rank=7, **settings))
    return method, method.init(problem([6], features=30, comm=comm))


def test_columns_of_the_inputs_are_drawn_summed_and_solved_once():
    comm = CountingComm()
    method, s = wide_inputs("nystrom", comm, columns="leverage")
    factor, columns = s.pairs[1].factor(1e-2), s.pairs[1].columns.copy()
    k, second = 31, 8 * (7 * 8 // 2)
    assert comm.verbs[0] == ("reduce", 8 * (k * 7 + k) + second)
    a0 = s.problem.a0
    gram = a0 @ a0.T
    C, R = gram[:, columns], gram[np.ix_(columns, columns)]
    left_out = np.trace(gram - C @ np.linalg.solve(R, C.T))
    delta = 1e-2 * np.trace(gram) / k + left_out / (2 * np.sqrt(7))
    dense = np.linalg.inv(delta * np.eye(k) + C @ np.linalg.inv(R) @ C.T)
    for _ in range(3):
        comm.verbs.clear()
        z = s.z[1].copy()
        s = method.step(s)
        np.testing.assert_allclose(s.W[1], z @ a0.T @ dense, rtol=1e-6, atol=1e-9)
        assert comm.verbs[0] == ("reduce", second)
    assert s.pairs[1].factor(1e-2) is factor
    np.testing.assert_array_equal(s.pairs[1].columns, columns)


def test_what_fixed_columns_miss_does_not_grow():
    """Along what is missed W is lambda / delta times as long as that of least squares: about twice, at most."""
    generator = np.random.default_rng(0)
    scales = 1 / np.arange(1, 121) ** 0.75
    directions, weights = generator.standard_normal((120, 120)), generator.standard_normal((120, 500))
    a = np.asfortranarray(directions @ (scales[:, None] * weights))
    gram = a @ a.T
    for p in (12, 24, 40):
        for seed in range(4):
            pair = pair_of(np.ones((1, 500)), a, rank=p, seed=seed)
            pair.fix()
            sketch = pair.factor(1e-3)
            missed = gram - sketch._B @ sketch._B.T
            largest = np.linalg.eigvalsh(missed)[-1]
            assert largest < 2.5 * sketch.delta
            assert p == 12 or largest > 2.5 * np.trace(missed) / p  # which serves columns that are drawn anew


def test_the_inputs_of_conjugate_gradients_are_sketched_once_and_solved_for_from_the_last_weights():
    method, s = wide_inputs("nystrom-pcg", tolerance=1e-6)
    factor, gram = s.pairs[1].factor(1e-2), s.problem.a0 @ s.problem.a0.T
    shifted = gram + 1e-2 * np.trace(gram) / 31 * np.eye(31)
    first = factor.steps
    for _ in range(6):
        cross = s.z[1] @ s.problem.a0.T
        s = method.step(s)
        residual = s.W[1] @ shifted - cross
        assert (np.linalg.norm(residual, axis=1) <= 1.1e-6 * np.linalg.norm(cross, axis=1)).all()
    assert s.pairs[1].factor(1e-2) is factor
    assert 0 < factor.steps < first


def test_other_inputs_are_summed_anew_from_other_columns():
    _, s = wide_inputs("nystrom")
    factor, columns = s.pairs[1].factor(1e-2), s.pairs[1].columns
    s.new_inputs()
    assert (s.pairs[1].columns != columns).any()
    assert not s.pairs[1].C.any()
    assert s.pairs[1].factor(1e-2) is not factor


def test_no_matrix_of_the_inputs_is_square():
    method = Admm(AdmmSettings(penalties="fixed", w_update="nystrom", rank=5, min_width=100))
    pair = method.init(problem([3], features=200, dtype=np.float32)).pairs[1]
    arrays = [x for held in (pair, pair.factor(1e-2)) for x in vars(held).values() if isinstance(x, np.ndarray)]
    assert max(x.size for x in arrays) == 201 * 5
    assert sum(x.nbytes for x in arrays) < 201 * (4 * 5 + 8 * 5 + 4 + 8 + 3 * 4 * 2 + 8)  # C, B, diagonals, z a'


def test_what_wide_inputs_cost_and_hold():
    network, n, k, p = problem([10], features=3072).network, 10_000, 3073, 307
    exact, nystrom = (
        Admm(AdmmSettings(**given)).cost(network, n, n)
        for given in ({"penalties": "fixed"}, {"penalties": "fixed", "w_update": "nystrom"})
    )
    assert nystrom.flop == pytest.approx(exact.flop + 4 * 10 * k * p, rel=1e-12)  # the sums are made once
    assert exact.state_bytes - nystrom.state_bytes > 3 * 40 * k * (p + 1 + 10)
    assert exact.messages == nystrom.messages


# -- as printed


@types
@pytest.mark.parametrize("p", [1, 4, 9])
def test_the_printed_step_is_the_printed_formula(dtype, p):
    z, a = drawn(9, 2, 3, 30, dtype)
    pair = pair_of(z, a, "nystrom-printed", rank=p)
    gram = (a @ a.T).astype(float)
    C, R = gram[:, pair.columns], gram[np.ix_(pair.columns, pair.columns)]
    formula = (z @ a.T) @ C @ np.linalg.inv(np.linalg.inv(R) + C.T @ C) @ C.T
    factor = pair.factor(1e-2)
    assert isinstance(factor, PrintedSketch)
    W = factor.solve(pair.cross)
    assert W.dtype == dtype
    np.testing.assert_allclose(W, formula, rtol=1e-7 if dtype == np.float64 else 2e-3, atol=1e-3)
    assert np.abs(W - RidgeFactor(gram, 1e-2).solve(z @ a.T)).max() > 1


def test_the_printed_step_stands_dead_inputs_and_large_sums():
    z, a = drawn(30, 3, 2, 200)
    a[4:20] = 0.0
    a[21] = a[22] = a[23]
    for size in (1.0, 1e6):
        pair = pair_of(z, size * a, "nystrom-printed", rank=30)
        W = pair.factor(1e-2).solve(pair.cross)
        assert np.isfinite(W).all()
        assert np.abs(W[:, 4:20]).max() < 1e-6 * np.abs(W).max()


def test_a_run_as_printed_says_what_it_is():
    method, s = wide_inputs("nystrom-printed")
    assert method.notes(s).count(PRINTED) == 1
    gram = s.problem.a0 @ s.problem.a0.T
    C = gram[:, s.pairs[1].columns]
    R = C[s.pairs[1].columns]
    formula = s.z[1] @ s.problem.a0.T @ C @ np.linalg.inv(np.linalg.inv(R) + C.T @ C) @ C.T
    np.testing.assert_allclose(s.W[1], formula, rtol=1e-6, atol=1e-6)
    for update in ("nystrom", "nystrom-pcg"):
        assert PRINTED not in wide_inputs(update)[0].notes(wide_inputs(update)[1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rank", "p"), [(5, 5), (0.25, 5), (0.001, 1), (100, None)])
def test_c_the_diagonal_and_z_a_are_sent(bias, rank, p):
    comm = CountingComm()
    s = admm("nystrom", rank=rank).init(problem([21 - bias], outputs=3, bias=bias, comm=comm, dtype=np.float32))
    k, inputs = 21, 4 + bias
    rows = 4 * ((20 + (not bias)) * inputs + 3 * k)
    sketch = 4 * (k * (p or k) + k)
    weights = [("reduce_scatter", rows), ("allgather", rows)]
    assert comm.verbs == [("reduce", 4 * inputs * (inputs + 1) // 2 + sketch), *weights]
    comm.verbs.clear()
    admm("nystrom", rank=rank).step(s)
    assert comm.verbs == [("reduce", sketch), *weights]


def test_no_matrix_of_nystrom_is_square():
    s = admm("nystrom", rank=5).init(problem([200], outputs=3, dtype=np.float32))
    largest = max(x.size for x in vars(s.pairs[2]).values() if isinstance(x, np.ndarray))
    assert largest == 201 * 5


def test_the_operations_and_the_memory_of_nystrom():
    network, n = problem([2000], outputs=3).network, 10_000
    exact, pcg = Admm(AdmmSettings(penalties="fixed")).cost(network, n, n), admm("nystrom-pcg").cost(network, n, n)
    k, p = 2001, 200
    nystrom = admm("nystrom").cost(network, n, n)
    saved = n * k * (k + 1) + k**3 / 3
    spent = 2 * n * k * p + k * p**2 + k * p * (p + 1) + 2 * p**3 / 3 + 4 * 3 * k * p
    assert nystrom.flop == pytest.approx(exact.flop - saved + spent, rel=1e-12)
    assert admm("nystrom", columns="leverage").cost(network, n, n).flop > nystrom.flop
    assert pcg.flop is None  # steps differ
    assert nystrom.state_bytes < exact.state_bytes < pcg.state_bytes
    # The triangle, its tiles, and all that packs, sends and factors it, for five copies of a few columns.
    both, first = solve_bytes(network.shapes, kept=1), solve_bytes(network.shapes[:1], kept=1)
    assert exact.state_bytes - nystrom.state_bytes == both - first - 5 * 8 * k * (p + 1 + 3)
    assert 14 * k * k < both - first < 24 * k * k


# -- settings


def experiment(**block: Any) -> dict[str, Any]:
    return {
        "name": "wide",
        "data": {"name": "swissroll", "rows": 400},
        "network": {"layers": [8]},
        "loss": "squared",
        "methods": {"admm": block},
    }


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({"w_update": "nystrom", "rank": 0}, "rank"),
        ({"w_update": "nystrom", "rank": -3}, "rank"),
        ({"w_update": "nystrom", "rank": 1.5}, "rank"),
        ({"w_update": "nystrom", "rank": "ten"}, "rank"),
        ({"rank": 10}, "rank"),
        ({"columns": "leverage"}, "columns"),
        ({"delta": 0.1}, "delta"),
        ({"w_update": "exact", "min_width": 10}, "min_width"),
        ({"w_update": "nystrom", "tolerance": 1e-3}, "tolerance"),
        ({"w_update": "nystrom-printed", "delta": 1e-3}, "delta"),
        ({"w_update": "nystrom-printed", "columns": "leverage"}, "columns"),
        ({"w_update": "nystrom-pcg", "tolerance": 0.0}, "tolerance"),
        ({"w_update": "nystrom", "delta": 0.0}, "delta"),
        ({"w_update": "cholesky"}, "w_update"),
        ({"w_update": "nystrom", "columns": "some"}, "columns"),
    ],
)
def test_wrong_settings_have_one_clear_error(block, key):
    with pytest.raises(ConfigError) as failure:
        load(experiment(**block))
    lines = str(failure.value).splitlines()
    assert len(lines) == 1, lines
    assert f"methods.admm.{key}" in lines[0]


def test_keys_without_effect_do_not_change_what_a_run_is_called():
    plain = next(iter(load(experiment()).runs.values()))
    assert not {"w_update", "rank", "columns", "delta", "min_width", "tolerance"} & set(plain.settings.plain())
    hashes = {plain.hash()}
    for block in ({}, {"rank": 5}, {"columns": "leverage"}, {"min_width": 2}):
        (run,) = load(experiment(w_update="nystrom", **block)).runs.values()
        (reloaded,) = load(run.document()).runs.values()
        assert reloaded == run
        hashes.add(run.hash())
    assert len(hashes) == 5
