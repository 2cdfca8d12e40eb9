"""scale: quantile: exact at knots, near elsewhere, the same on ranks, in streams and in predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from support.ranks import on_ranks
from support.small_data import Array, Few, plan_of
from support.traced import traced

import admmctl
from admmctl.comm import Serial
from admmctl.data import quantiles, shards
from admmctl.data.files import FilesSettings
from admmctl.data.quantiles import Quantiles, fit_quantiles
from admmctl.errors import DataError, UserError
from admmctl.runs.predict import load_model, predict_rows

ROWS = 4_000


def mixed(rows: int = ROWS) -> Array:
    """Features of many shapes: normal, with a long tail, of few values, constant, of two far clusters."""
    generator = np.random.default_rng(3)
    columns = [
        generator.standard_normal(rows),
        np.exp(3 * generator.standard_normal(rows)),
        generator.integers(0, 3, rows) * 1.1,
        np.full(rows, 0.1),
        generator.standard_normal(rows) * 1e-2 + 100 * (generator.random(rows) < 0.3),
    ]
    return np.column_stack(columns).astype(np.float32)


def by_rank(column: Array, x: Array) -> Array:
    """The scores of ``x`` by the definition: the share of ``column`` below, and half of those equal to it."""
    below = (column[None, :] < x[:, None]).sum(axis=1) + (column[None, :] <= x[:, None]).sum(axis=1)
    return ndtri(below / (2 * len(column)))


def fitted(x: Array, cut: int = 700, comm: Any = None, rows: slice = slice(None)) -> Quantiles:
    """By the ``rows`` of x that this rank has, ``cut`` at a time."""
    start, stop, _ = rows.indices(len(x))

    def blocks() -> Any:
        return (x[low : min(low + cut, stop)] for low in range(start, stop, cut))

    return fit_quantiles(blocks, x.shape[1], start, len(x), x.dtype.type, comm or Serial())


def mapped(found: Quantiles, x: Array) -> Array:
    out = np.empty(x.shape, np.float32)
    found.apply(x, out)
    return out


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_every_row_has_the_score_of_its_rank_where_all_its_values_are_knots(precision: type) -> None:
    x = mixed(900).astype(precision)
    scores = mapped(fitted(x), x)
    for j in range(x.shape[1]):
        np.testing.assert_allclose(scores[:, j], by_rank(x[:, j], x[:, j]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("sampled", [False, True])
def test_between_knots_a_rank_is_off_by_a_thousandth(sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sampled:
        monkeypatch.setattr(quantiles, "_SAMPLE_ROWS", 2_000)
    x = mixed()
    scores = mapped(fitted(x), x)
    for j in range(x.shape[1]):
        off = np.abs(ndtr(scores[:, j].astype(float)) - ndtr(by_rank(x[:, j], x[:, j])))
        assert off.max() < (0.005 if sampled else 0.001)
        assert off.mean() < 0.0005
    # What varies becomes standard normal, whatever it was; what does not is zero.
    np.testing.assert_allclose(scores[:, [0, 1, 4]].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(scores[:, [0, 1, 4]].std(axis=0), 1, atol=5e-3)
    np.testing.assert_array_equal(scores[:, 3], 0)


def test_values_of_a_kind_share_the_middle_of_their_ranks() -> None:
    x = np.repeat([0.0, 1.0, 5.0], [50, 30, 20])[:, None].astype(np.float32)
    found = fitted(x)
    np.testing.assert_allclose(mapped(found, x[[0, 60, 99]])[:, 0], ndtri([0.25, 0.65, 0.9]), rtol=1e-6)


def test_new_rows_beyond_the_extremes_have_the_extremes_scores_and_a_nan_has_none() -> None:
    x = mixed()
    found = fitted(x)
    new = np.tile(x[:1], (4, 1))
    new[0, 0], new[1, 0], new[2, 0], new[3, 0] = -1e9, 1e9, np.nan, np.inf
    scores = mapped(found, new)
    assert scores[:2, 0].tolist() == pytest.approx([ndtri(0.5 / ROWS), ndtri(1 - 0.5 / ROWS)])
    assert np.isnan(scores[2:, 0]).all()
    assert np.isfinite(scores[:, 1:]).all()
    assert mapped(found, np.full((1, 5), 77.0, np.float32))[0, 3] == 0  # a constant feature that is another one


@pytest.mark.parametrize("cuts", [[0, 2500, ROWS], [0, 1, 3000, ROWS], [0, 1333, 2667, ROWS]])
@pytest.mark.parametrize("most", [131_072, 500])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_ranks_with_uneven_rows_find_the_same_bits(
    cuts: list[int], most: int, precision: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantiles, "_SAMPLE_ROWS", most)
    x = mixed().astype(precision)
    x[::5, 0] = -0.0
    single = fitted(x)
    parts = on_ranks(len(cuts) - 1, lambda comm: fitted(x, 313, comm, slice(cuts[comm.rank], cuts[comm.rank + 1])))
    for part in parts:
        assert part.knots.tobytes() == single.knots.tobytes()
        assert part.scores.tobytes() == single.scores.tobytes()
        assert part.knots.dtype == precision


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_shards_on_ranks_in_memory_and_in_streams_hold_the_same_numbers(
    streamed: bool, precision: type, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = mixed(1001)
    x[700:] *= 2  # rows to test on change nothing

    def source() -> Few:
        made = Few([0, 1] * 500 + [1], x=x.astype(precision))
        made.precision = precision
        return made

    def work(comm: Any) -> shards.Shards:
        settings = {"train": 700, "validation": 0.3, "scale": "quantile", "stream": streamed}
        return shards.load(plan_of(source(), **settings), comm)

    monkeypatch.setattr(shards, "_STREAM_BYTES", 4_000)  # a few rows at a time
    parts = on_ranks(size, work)
    plan = plan_of(source(), train=700, validation=0.3)
    train = x[np.asarray(plan.split.train)]
    for name, rows in (
        ("train", plan.split.train),
        ("test", plan.split.test),
        ("validation", plan.split.validation),
    ):
        together = np.concatenate([getattr(part, name).a0[:, :] for part in parts], axis=1)
        np.testing.assert_array_equal(together[-1], 1)
        given = x[np.asarray(rows)].astype(precision)
        np.testing.assert_array_equal(together[:-1].T, mapped(fitted(train.astype(precision)), given))


def test_a_nan_among_training_rows_is_refused() -> None:
    x = mixed(20)
    x[13, 2] = np.nan
    plan = plan_of(Few([0, 1] * 10, x=x), train=15, scale="quantile")
    with pytest.raises(DataError, match="training row 13 holds nan in column 2"):
        shards.load(plan, Serial())


@pytest.mark.filterwarnings("error")
def test_features_of_extreme_size_are_as_good_as_any() -> None:
    z = mixed(500)[:, :1].astype(float)
    usual = mapped(fitted(z), z)
    for factor in (2.0**-660, 2.0**700, 2.0**1018):
        np.testing.assert_allclose(mapped(fitted(z * factor), z * factor), usual, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
def test_predictions_map_new_rows_as_the_run_mapped_its_test_rows(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    z = np.random.default_rng(1).standard_normal((400, 2))
    x = np.exp(3 * z)
    if name == "x.npy":
        np.save(name, x)
    else:
        Path(name).write_text("".join(f"{a!r},{b!r}\n" for a, b in x.tolist()))
    np.save("y.npy", (z.sum(axis=1) > 0).astype(int))
    data = {"name": "files", "x": name, "y": "y.npy", "train": 300, "scale": "quantile"}
    (summary,) = admmctl.train(
        {"name": "own", "data": data, "network": {"layers": [4]}, "loss": "squared", "methods": {"linear": {}}}
    )
    assert summary["final_test_accuracy"] > 0.95  # with scale: standard a line tells three quarters apart
    folder = Path(summary["folder"])
    np.save("new.npy", x[300:])
    found = predict_rows(folder, Path("new.npy"), "final")
    assert np.mean(found.labels == np.load("y.npy")[300:]) == pytest.approx(summary["final_test_accuracy"])
    rows = np.empty((100, 2), np.float32)
    load_model(folder, "final").scaling.apply(x[300:], rows)
    own = shards.load(shards.plan(FilesSettings(**data), 1), Serial())
    np.testing.assert_array_equal(rows, own.test.a0[:-1].T)
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        assert arrays["input_knots"].shape == arrays["input_scores"].shape == (2, 300)


def test_a_row_that_holds_a_nan_is_not_predicted(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (summary,) = admmctl.train(
        {
            "name": "roll",
            "data": {"name": "swissroll", "rows": 400, "scale": "quantile"},
            "network": {"layers": [4]},
            "loss": "squared",
            "methods": {"linear": {}},
        }
    )
    x = np.zeros((3, 3))
    x[1, 0] = np.inf
    np.save("x.npy", x)
    with pytest.raises(UserError, match="1 of 3 rows with a NaN or an infinity: row 1"):
        predict_rows(Path(summary["folder"]), Path("x.npy"), "final")


@pytest.mark.parametrize("rows", [2_000, 40_000])
def test_it_takes_no_more_memory_than_the_estimate_counts(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "_SAMPLE_ROWS", 10_000)
    x = np.random.default_rng(0).standard_normal((rows, 60))
    fitted(x[:10])  # what is loaded at the first call is not counted
    with traced() as memory:
        fitted(x, cut=1_000)
    assert memory.peak < quantiles.quantile_bytes(60, rows) + 3 * 8 * 60 * 1_000  # and copies of a block
    assert memory.peak > 0.3 * quantiles.quantile_bytes(60, rows)
