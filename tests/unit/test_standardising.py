"""Features of any size, offset and type are scaled alike: in memory, in streams, on ranks, in predictions."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from support.ranks import on_ranks
from support.small_data import Array, Few, plan_of

import admmctl
from admmctl.comm import Serial
from admmctl.data import scaling, shards
from admmctl.data.files import FilesSettings
from admmctl.errors import DataError
from admmctl.runs.predict import load_model, predict_rows

Scale = Literal["standard", "unit", "centred", "none"]
ROWS = 60
Z = np.random.default_rng(5).integers(-400, 400, (ROWS, 3)) / 128.0  # exact at every scale and offset below
Y = (Z[:, 0] + Z[:, 1] > 0).astype(int)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which paths are relative to."""
    monkeypatch.chdir(tmp_path)
    np.save("y.npy", Y)
    return tmp_path


def loaded(x: Array, comm: Any = None, end: str = ".npy", **settings: Any) -> shards.Shards:
    """``x`` written to a file, then read and scaled."""
    path = f"x{end}"
    if end == ".npy":
        np.save(path, x)
    else:
        Path(path).write_text("".join(",".join(map(repr, row)) + "\n" for row in x.tolist()))
    return read(path, comm, **settings)


def read(path: str, comm: Any = None, **settings: Any) -> shards.Shards:
    block = FilesSettings(x=path, y="y.npy", validation=0.2, **settings)
    return shards.load(shards.plan(block, 1), comm or Serial())


def samples(own: shards.Shards) -> Array:
    """Training, test and validation rows in one array, (features, samples)."""
    assert own.validation is not None
    return np.concatenate([part.a0[:-1, :] for part in (own.train, own.test, own.validation)], axis=1)


USUAL: dict[str, tuple[float, float]] = {
    "small": (2.0**-23, 0.0),  # about 1e-7
    "tiny": (2.0**-100, 0.0),  # about 1e-30
    "tinier": (2.0**-660, 0.0),  # squares are nothing
    "large": (2.0**100, 0.0),  # about 1e+30
    "larger": (2.0**700, 0.0),  # squares are infinities, and so is float32 itself
    "largest": (2.0**1020, 0.0),  # a sum of them is
    "time": (8.0, 1.7e9),
    "offset": (64.0, -(2.0**50)),  # about 1e15
    "small with an offset": (2.0**-20, 1000.0),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("end", [".npy", ".csv"])
@pytest.mark.parametrize("case", USUAL)
def test_features_of_any_size_are_standardised_alike(case: str, end: str, streamed: bool) -> None:
    factor, offset = USUAL[case]
    usual = samples(loaded(Z, scale="standard"))
    np.testing.assert_allclose(usual.std(), 1, rtol=0.2)
    x = Z.copy()
    x[:, 1] = Z[:, 1] * factor + offset  # beside others, that are as ever
    own = loaded(x, end=end, scale="standard", stream=streamed)
    # Beside 1e15 even float64 has the mean to a digit after the point only.
    np.testing.assert_allclose(samples(own), usual, rtol=1e-5, atol=1e-3 if case == "offset" else 1e-6)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int32, np.uint32, np.longdouble])
def test_integers_keep_what_float32_would_lose(kind: type) -> None:
    whole = (Z * 128).astype(np.int64)
    x = (whole + 2_000_000_000).astype(kind)
    usual = samples(loaded(whole.astype(float), scale="standard"))
    np.testing.assert_allclose(samples(loaded(x, scale="standard")), usual, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", ["unit", "centred"])
@pytest.mark.parametrize("case", ["small", "tiny", "tinier", "large", "larger", "largest"])
def test_the_other_scales_take_any_size_too(scale: Scale, case: str) -> None:
    usual = samples(loaded(Z, scale=scale))
    found = samples(loaded(Z * USUAL[case][0], scale=scale))
    np.testing.assert_allclose(found, usual, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.1, 1 / 3, -123456.789, 1.7e9 + 0.1, 1e-30, 1e300, 5e-324, 0.0])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_equal_values_are_constant_and_only_shifted(value: float, kind: type) -> None:
    x = Z.astype(kind)
    x[:, 1] = min(value, float(np.finfo(kind).max) / 4)
    own = loaded(x, scale="standard")
    assert own.scaling.factor[1] == 1
    np.testing.assert_array_equal(samples(own)[1], 0)
    assert (own.scaling.factor[[0, 2]] != 1).all()


def test_values_that_differ_by_rounding_are_constant() -> None:
    x = Z.copy()
    x[:, 1] = np.where(Y, 0.1 + 0.2, 0.3)
    x[:, 2] = np.where(Y, 1 - 1e-16, 1 + 2.3e-16)
    own = loaded(x, scale="standard")
    np.testing.assert_array_equal(own.scaling.factor[1:], 1)
    np.testing.assert_allclose(samples(own)[1:], 0, atol=1e-15)


def test_one_row_that_differs_is_enough() -> None:
    x = np.full((20_000, 1), 1e6)
    x[3] += 1.0
    np.save("x.npy", x)
    np.save("y.npy", np.arange(20_000) % 2)
    own = read("x.npy", test=0.001, seed=0)
    deviation = x[:19_000].std()
    assert own.scaling.factor[0] == pytest.approx(1 / deviation, rel=0.2)


@pytest.mark.parametrize("case", ["time", "offset", "larger", "tinier"])
@pytest.mark.parametrize("streamed", [False, True])
def test_on_any_number_of_ranks_rows_are_the_same(
    case: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_STREAM_BYTES", 100)  # a few rows at a time
    factor, offset = USUAL[case]
    single = loaded(Z * factor + offset, scale="standard", stream=streamed)
    parts = on_ranks(3, lambda comm: read("x.npy", comm, scale="standard", stream=streamed))
    for name in ("train", "test", "validation"):
        together = np.concatenate([getattr(part, name).a0[:, :] for part in parts], axis=1)
        np.testing.assert_allclose(together, getattr(single, name).a0[:, :], rtol=1e-5, atol=1e-6)


def test_rows_are_scaled_by_the_statistics_of_the_training_rows_alone() -> None:
    np.save("x.npy", Z)
    np.save("x_test.npy", Z[:10] + 100)
    np.save("y_test.npy", Y[:10])
    plan = shards.plan(FilesSettings(x="x.npy", y="y.npy", x_test="x_test.npy", y_test="y_test.npy"), 1)
    own = shards.load(plan, Serial())
    np.testing.assert_allclose(own.test.a0[:-1].T, (Z[:10] + 100 - Z.mean(axis=0)) / Z.std(axis=0), rtol=1e-5)


# --- rows of 32 bits


@pytest.mark.parametrize(("factor", "offset"), [(2.0**-23, 0), (2.0**-100, 0), (2.0**124, 0), (1.0, 2.0**16)])
def test_features_in_float32_of_any_size_are_standardised_alike(factor: float, offset: float) -> None:
    usual = samples(loaded(Z.astype(np.float32), scale="standard"))
    x = (Z * factor + offset).astype(np.float32)
    np.testing.assert_allclose(samples(loaded(x, scale="standard")), usual, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", ["standard", "unit", "centred", "none"])
def test_usual_features_in_float32_are_scaled_in_float32(scale: Scale) -> None:
    own = loaded(Z.astype(np.float32) * 3 + 5, scale=scale)
    assert own.scaling.shift.dtype == own.scaling.factor.dtype == np.float32


def test_a_source_in_float32_is_read_once_and_one_in_float64_never_whole() -> None:
    source = Few([0, 1] * 5)
    shards.load(plan_of(source, train=7), Serial())
    assert sorted(source.read) == list(range(10))
    exact = Few([0, 1] * 5)
    exact.precision = np.float64
    shards.load(plan_of(exact, train=7), Serial())
    assert sorted(exact.read) == sorted([*range(7)] * 3 + [7, 8, 9])


# --- numbers that are too large


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_too_large_without_scaling_is_called_so(streamed: bool) -> None:
    x = Z.copy()
    x[17, 2] = 1e39
    with pytest.raises(DataError) as caught:
        samples(loaded(x, scale="none", stream=streamed))
    assert "x.npy: row 17 of the train set holds 1e+39 in column 2: too large for float32" in str(caught.value)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_test_row_that_is_too_large_once_scaled_is_named(kind: type) -> None:
    np.save("x.npy", (Z * 1e-20).astype(kind))
    x = (Z[:10] * 1e-20).astype(kind)
    x[4, 1] = 1e30
    np.save("x_test.npy", x)
    np.save("y_test.npy", Y[:10])
    plan = shards.plan(FilesSettings(x="x.npy", y="y.npy", x_test="x_test.npy", y_test="y_test.npy"), 1)
    with pytest.raises(DataError, match=r"x_test\.npy: row 4 of the test set holds 1e\+30 in column 1: too large"):
        shards.load(plan, Serial())


# --- from a run to its predictions


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_learns_and_its_predictions_are_its_own(results: Path, streamed: bool) -> None:
    generator = np.random.default_rng(1)
    z = generator.standard_normal((400, 2))
    x = z * [1e-7, 10] + [0, 1.7e9]
    np.save("x.npy", x)
    np.save("y.npy", (z.sum(axis=1) > 0).astype(int) + 5)
    (summary,) = admmctl.train(
        {
            "name": "own",
            "data": {"name": "files", "x": "x.npy", "y": "y.npy", "train": 300, "stream": streamed},
            "network": {"layers": [4]},
            "loss": "squared",
            "methods": {"linear": {}},
        }
    )
    assert summary["final_test_accuracy"] > 0.95
    folder = Path(summary["folder"])
    np.save("new.npy", x[300:])
    Path("new.csv").write_text("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in x[300:].tolist()))
    found = predict_rows(folder, Path("new.npy"), "final")
    right = np.mean(found.labels == np.load("y.npy")[300:])
    assert right == pytest.approx(summary["final_test_accuracy"])
    assert predict_rows(folder, Path("new.csv"), "final") == found
    # Scaled to the same bits.
    model = load_model(folder, "final")
    rows = np.empty((100, 2), np.float32)
    model.scaling.apply(x[300:], rows)
    own = shards.load(shards.plan(FilesSettings(x="x.npy", y="y.npy", train=300), 1), Serial())
    np.testing.assert_array_equal(rows, own.test.a0[:-1].T)


def test_how_rows_are_cut_into_blocks_does_not_matter() -> None:
    x = Z * 64 - 2.0**50
    whole, cut = (
        scaling.fit(
            lambda size=size: (x[low : low + size] for low in range(0, ROWS, size)), 3, ROWS, "standard", Serial()
        )
        for size in (ROWS, 7)
    )
    np.testing.assert_allclose(cut.factor, whole.factor, rtol=1e-12)
    np.testing.assert_allclose(cut.factor, 1 / (64 * Z.std(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(cut.shift, whole.shift, rtol=1e-15)
