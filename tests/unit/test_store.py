"""Prepared datasets as training sees them: read back exactly, or refused by name with the cure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_data import cut, entries

from admmctl.data import prepared
from admmctl.data.prepared import Prepared
from admmctl.errors import DataError

SOURCE = {"file": "a", "bytes": 1, "sha256": "0", "official": True}


def stored(folder: Path, version: int = 1) -> None:
    with Prepared(folder, "toy", version, [SOURCE], {}) as prepared:
        rows = prepared.rows("train", 2, np.uint8)
        rows.append(np.arange(12, dtype=np.uint8).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2]))
        prepared.part("train", "train", 0, 6)
        rows = prepared.rows("test", 2, np.uint8)
        rows.append(np.arange(4, dtype=np.uint8).reshape(2, 2), np.array([5, 1]))
        prepared.part("test", "test", 0, 2)


def changed(folder: Path, **keys: Any) -> None:
    """Give the manifest other values; None takes the key away."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **keys}
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


def test_what_is_prepared_is_read_back(tmp_path: Path) -> None:
    stored(tmp_path / "toy")
    source = prepared.StoredSource(tmp_path / "toy", 1)
    assert (source.features, source.labels_known) == (2, (0, 1, 2, 5))
    assert (source.rows("train"), source.rows("test")) == (6, 2)
    out = np.empty((2, 2), dtype=np.float32)
    source.inputs("train", range(2, 4), out)
    np.testing.assert_array_equal(out, [[4, 5], [6, 7]])
    source.inputs("train", np.array([5, 0]), out)
    np.testing.assert_array_equal(out, [[10, 11], [0, 1]])
    assert source.labels("train", np.array([5, 0])).tolist() == [2, 0]
    assert source.labels("test", range(2)).tolist() == [5, 1]
    manifest = prepared.read_manifest(tmp_path / "toy")
    assert manifest is not None
    assert manifest["parts"]["train"]["label_counts"] == {"0": 2, "1": 2, "2": 2}
    assert len(source.fingerprint()) == 64
    assert entries(tmp_path) == ["toy"]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an array is cut": lambda folder: cut(folder / "x_train.npy", 130),
    "an array's header is cut": lambda folder: cut(folder / "x_train.npy", 50),
    "an array is empty": lambda folder: cut(folder / "y_train.npy", 0),
    "an array is missing": lambda folder: (folder / "y_test.npy").unlink(),
    "an array has other rows": lambda folder: np.save(folder / "x_train.npy", np.ones((5, 2))),
    "an array has other features": lambda folder: np.save(folder / "x_test.npy", np.ones((2, 3))),
    "an array holds objects": lambda folder: np.save(folder / "y_test.npy", np.array([1, {}], dtype=object)),
    "an array is another kind of file": lambda folder: (folder / "x_test.npy").write_text("hello"),
    "the manifest is cut": lambda folder: cut(folder / "manifest.json", 40),
    "the manifest is empty": lambda folder: cut(folder / "manifest.json", 0),
    "the manifest is a number": lambda folder: (folder / "manifest.json").write_text("5"),
    "the manifest is a word": lambda folder: (folder / "manifest.json").write_text('"abc"'),
    "the manifest lacks keys": lambda folder: (folder / "manifest.json").write_text('{"version": 1}'),
    "the manifest lacks its features": lambda folder: changed(folder, features=None),
    "the manifest lacks its labels": lambda folder: changed(folder, labels=None),
    "the manifest's parts are a list": lambda folder: changed(folder, parts=[]),
    "the manifest's parts are a word": lambda folder: changed(folder, parts="train"),
    "a part of the manifest is a number": lambda folder: changed(folder, parts={"train": 5}),
    "a part of the manifest has no rows": lambda folder: changed(folder, parts={"train": {"x": "x_train.npy"}}),
    "a part lies beyond its array": lambda folder: changed(
        folder, parts={"train": {"x": "x_train.npy", "y": "y_train.npy", "start": 3, "rows": 6}}
    ),
    "the manifest is no text": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_names_itself_and_the_cure(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "toy"
    stored(folder)
    DAMAGES[damage](folder)
    with pytest.raises(DataError) as caught:
        prepared.StoredSource(folder, 1)
    assert "toy" in str(caught.value)
    assert "admmctl fetch toy --force" in str(caught.value)


@pytest.mark.parametrize("left", ["nothing", "a folder without a manifest"])
def test_a_dataset_that_is_not_there_names_the_line_that_fetches_it(tmp_path: Path, left: str) -> None:
    if left != "nothing":
        stored(tmp_path / "toy")
        (tmp_path / "toy" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"dataset toy is not in .*; run: admmctl fetch toy$"):
        prepared.StoredSource(tmp_path / "toy", 1)


def test_a_dataset_of_another_version_asks_for_a_new_fetch(tmp_path: Path) -> None:
    stored(tmp_path / "toy", version=1)
    with pytest.raises(DataError, match=r"prepared by another version; run: admmctl fetch toy --force"):
        prepared.StoredSource(tmp_path / "toy", 2)
