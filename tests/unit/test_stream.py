"""Rows that stay on disk: the same blocks and the same training as rows in memory."""

import sys
from pathlib import Path

import numpy as np
import pytest

import admmctl
from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.data.dataset import DataSettings
from admmctl.data.files import Files
from admmctl.errors import UserError
from admmctl.runs.recorded import Recorded


@pytest.fixture
def rows(tmp_path):
    """A dataset of 500 rows on disk; its data block."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((500, 6)).astype(np.float32) * 3 + 5
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", (x[:, 0] * x[:, 1] > 25).astype(np.int64))
    return {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "test": 0.2}


def settings(block: dict, **more) -> DataSettings:
    return Files.Settings(**{**block, **more})


@pytest.mark.parametrize("scale", ["standard", "unit", "centred", "none"])
@pytest.mark.parametrize("chunk", [1, 1000, 4 << 20])
def test_streamed_blocks_are_the_columns_in_memory(rows, scale, chunk, monkeypatch):
    monkeypatch.setattr(shards, "_STREAM_BYTES", chunk)
    held, streamed = (
        shards.load(shards.plan(settings(rows, scale=scale, stream=on, validation=0.1), 1), Serial())
        for on in (False, True)
    )
    for name in ("train", "test", "validation"):
        one, other = getattr(held, name), getattr(streamed, name)
        assert isinstance(other.a0, shards.Streamed)
        assert other.a0.shape == one.a0.shape
        assert len(other.a0) == len(one.a0)
        np.testing.assert_array_equal(other.labels, one.labels)
        samples = one.a0.shape[1]
        for low, high in ((0, 7), (7, 20), (3, 9), (samples - 2, samples + 5), (0, samples)):
            np.testing.assert_allclose(other.a0[:, low:high], one.a0[:, low:high], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(other.a0[:-1, low:high], one.a0[:-1, low:high], rtol=1e-6, atol=1e-6)
        some = np.array([5, 0, samples - 1, 5])
        out = np.empty((4, len(one.a0)), np.float32)
        other.a0.take(some, out)
        np.testing.assert_allclose(out, one.a0[:, some].T, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="the pages of a process are what Linux says")
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_a_file_that_is_read_in_passes_takes_no_memory_of_the_process(tmp_path, precision):
    def mapped() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile:"))

    x = np.random.default_rng(0).standard_normal((40_000, 200)).astype(precision)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(40_000) % 2)
    block = {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "train": 39_000}
    before = mapped()
    train = shards.load(shards.plan(settings(block, stream=True), 1), Serial()).train
    total = 0.0
    for low in range(0, 39_000, 500):
        total += float(train.a0[:-1, low : low + 500].sum())
        assert mapped() - before < 8 << 20 < x.nbytes / 3
    assert abs(total) < 10  # scaled to a mean of zero: all of them were read


@pytest.mark.parametrize(
    ("method", "block"),
    [
        ("graph-admm", {}),
        ("graph-admm", {"batch": 100}),
        ("admm", {}),
        ("sgd", {"batch": 64}),
        ("gd", {}),
        ("lbfgs", {}),
        ("linear", {}),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_streamed_rows_train_the_same(rows, results, method, block, bias):
    curves = []
    for on in (False, True):
        (summary,) = admmctl.train(
            {
                "name": f"streamed-{on}",
                "data": {**rows, "stream": on},
                "network": {"layers": [8], "bias": bias},
                "loss": "squared",
                "methods": {method: block},
                "stop": {"iterations": 6},
                "evaluate": {"unit": "iteration"},
            }
        )
        curves.append(Recorded(results / f"streamed-{on}" / summary["folder"].rpartition("/")[2]).curve)
    assert len(curves[0]) > 1
    for one, other in zip(*curves, strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)
        assert other["test_accuracy"] == pytest.approx(one["test_accuracy"], abs=0.011)


@pytest.mark.parametrize(
    ("method", "settings", "stream", "problem"),
    [("torch-sgd", {}, True, r"data\.stream"), ("graph-admm", {"batch": 401}, False, r"batch: 401 rows of 400")],
)
def test_rows_that_a_method_needs_in_memory_or_has_not_are_refused(
    rows, results, method, settings, stream, problem
):
    if method == "torch-sgd":
        pytest.importorskip("torch")
    with pytest.raises(UserError, match=problem):
        admmctl.train(
            {
                "name": "refused",
                "data": {**rows, "stream": stream},
                "network": {"layers": [4]},
                "loss": "cross-entropy",
                "methods": {method: settings},
            }
        )
    assert not list(results.glob("*"))


@pytest.mark.parametrize("first", [1, 57, 320])
def test_the_first_training_rows_leave_the_test_rows_alone(rows, first):
    whole, part = (shards.plan(settings(rows, validation=0.2, first=n), 1).split for n in (None, first))
    np.testing.assert_array_equal(part.train, whole.train[:first])
    np.testing.assert_array_equal(part.test, whole.test)
    np.testing.assert_array_equal(part.validation, whole.validation)
    with pytest.raises(UserError, match=r"data\.first: 401 asked for, of 400"):
        shards.plan(settings(rows, first=401), 1)
