"""Networks of two convolutional layers on images of three colours, from files to predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from support.small_data import Array, batch, get

import admmctl
from admmctl.data.cifar10 import BATCHES
from admmctl.errors import ConfigError
from admmctl.experiment.config import load
from admmctl.methods.method import methods
from admmctl.runs.predict import load_model, predict_rows
from admmctl.runs.recorded import Recorded

ABLE = [name for name in methods if methods.load(name).convolutions]
DATA: dict[str, dict[str, Any]] = {"cifar10": {"name": "cifar10"}, "svhn": {"name": "svhn", "planes": True}}
CONVOLUTION = {"filters": [4, 3], "size": 3, "pool": 16}
SETTINGS: dict[str, dict[str, Any]] = {
    "admm": {"warm_iterations": 10},
    "graph-admm": {"batch": 30},
    "sgd": {"learning_rate": 0.05, "batch": 30, "momentum": 0.9},
    "adam": {"learning_rate": 0.03, "batch": 30},
    "muon": {"batch": 30, "adam_rate": 0.03},
    "gd": {"learning_rate": 0.1},
}


def coloured(rows: int, seed: int) -> tuple[Array, Array]:
    """Images (rows, 3, 32, 32) of bytes whose class, 0 to 2, is the colour that is bright."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 120, (rows, 3, 32, 32))
    labels = np.arange(rows) % 3
    for image, label in zip(images, labels, strict=True):
        image[label] += 60
    return images.astype(np.uint8), labels


@pytest.fixture
def photographs(results: Path, tmp_path: Path) -> Path:
    """Both datasets, fetched from files as the official ones are: 60 rows to train on and 30 to test."""
    parts = {"train": coloured(60, 0), "test": coloured(30, 1)}
    files, mats = [], []
    for number, (name, part) in enumerate(BATCHES):
        images, labels = parts[part]
        own = slice(12 * number, 12 * number + 12) if part == "train" else slice(None)
        (tmp_path / name).write_bytes(batch(images[own].reshape(-1, 3072), labels[own].tolist()))
        files.append(tmp_path / name)
    for part, (images, labels) in parts.items():
        mats.append(tmp_path / f"{part}_32x32.mat")
        savemat(mats[-1], {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
    get("cifar10", *files)
    get("svhn", *mats)
    return tmp_path


def experiment(data: str, method: str, **network: Any) -> dict[str, Any]:
    return {
        "name": "colours",
        "data": {**DATA[data], "classes": [0, 1, 2], "scale": "centred"},
        "network": {"convolution": CONVOLUTION, "layers": [6], **network},
        "loss": "squared",
        "methods": {method: SETTINGS.get(method, {})},
        "stop": {"iterations": 30},
        "evaluate": {"every": 30, "unit": "iteration"},
    }


@pytest.mark.parametrize("method", ABLE)
def test_every_method_learns_which_colour_is_bright(method: str, photographs: Path) -> None:
    found: dict[str, dict[str, Array]] = {}
    for data in DATA:
        (summary,) = admmctl.train(experiment(data, method))
        folder = Path(summary["folder"])
        curve = Recorded(folder).curve
        assert curve[-1]["train_loss"] < 0.8 * curve[0]["train_loss"]
        assert summary["final_test_accuracy"] > (0.9 if method in ("admm", "sgd", "cg") else 0.55)
        model = load_model(folder, "final")
        assert model.network.sizes == (3072, 4 * 1024, 3 * 1024, 6, 3)
        # The rows of a file, as they are stored, through the weights as they are saved.
        images, labels = coloured(30, 1)
        np.save(photographs / "x.npy", images.reshape(30, -1))
        right = np.array(predict_rows(folder, photographs / "x.npy", "final").labels) == labels
        assert right.mean() == pytest.approx(summary["final_test_accuracy"])
        found[data] = {name: array for name, array in np.load(folder / "weights.npz").items() if "W" in name}
    # The same images in the same order: what SVHN stores pixel by pixel is trained on plane by plane.
    for name, array in found["cifar10"].items():
        np.testing.assert_allclose(found["svhn"][name], array, rtol=1e-5, atol=1e-6)


def test_rows_of_svhn_are_images_plane_by_plane_alone(photographs: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(experiment("svhn", "admm") | {"data": {"name": "svhn"}})
    assert "rows of svhn are not images of whole channels; set data.planes: true" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(experiment("svhn", "admm") | {"data": {"name": "svhn-hog"}})
    assert "rows of svhn-hog are not images of whole channels; svhn with data.planes: true" in str(caught.value)
    dense = {**experiment("svhn", "admm"), "network": {"layers": [6]}}
    as_stored = load(dense | {"data": {"name": "svhn"}}).runs["admm"]
    named = load(dense | {"data": {"name": "svhn", "planes": False}}).runs["admm"]
    planes = load(dense).runs["admm"]
    assert "planes" not in as_stored.document()["data"]
    assert as_stored.hash() == named.hash() != planes.hash()
