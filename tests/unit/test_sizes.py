"""How many rows an experiment has: of data that is here, and of official files that are not."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.shell import CONFIGS, Shell
from support.small_data import mnist_files

from admmctl.data.catalog import datasets
from admmctl.data.dataset import Dataset
from admmctl.data.sizes import Sizes, sizes
from admmctl.experiment.config import load


def of(config: str, *changes: str) -> Sizes | None:
    return sizes(next(iter(load(CONFIGS / f"{config}.yaml", changes).runs.values())).data)


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    ("config", "changes", "train", "test"),
    [
        ("mnist01", (), 10_000, 2_665),
        ("mnist-graph", (), 60_000, 10_000),
        ("mnist-graph", ("data.first=5000",), 5_000, 10_000),
        ("higgs", (), 10_500_000, 500_000),
        ("svhn", (), 120_290, 5_893),  # Taylor's rows
        ("svhn", ("data.use=train",), 15_533, 5_893),
        ("svhn", ("data.use=both",), 135_823, 5_893),
        ("svhn-kernel", (), 73_257, 26_032),
        ("cifar2-convex", (), 10_000, 2_000),
    ],
)
def test_rows_of_official_files_that_are_not_here(config, changes, train, test):
    assert of(config, *changes) == Sizes(train, test, 0, here=False)


@pytest.mark.usefixtures("results")
def test_rows_held_back_are_told_apart():
    found = of("mnist-graph", "data.validation=0.1")
    assert found == Sizes(54_000, 10_000, 6_000, here=False)
    assert found.all == 70_000


@pytest.mark.usefixtures("results")
def test_what_official_files_do_not_have_is_unknown(tmp_path):
    assert of("mnist-graph", "data.first=60001") is None
    assert of("higgs", "data.classes=[0, 1]") == of("higgs")
    files = f"data={{name: files, x: {tmp_path / 'x.npy'}, y: {tmp_path / 'y.npy'}}}"
    assert of("mnist-graph", files) is None


def test_data_that_is_here_is_counted(shell: Shell, tmp_path: Path):
    (tmp_path / "idx").mkdir()
    shell("fetch", "mnist", "--from", *mnist_files(tmp_path / "idx"))
    found = of("mnist-graph")
    assert found is not None
    assert found.here
    assert 0 < found.train < 1000
    asked = of("mnist-graph", "data.first=5000")  # more than is here: the official file has them
    assert asked == Sizes(5_000, 10_000, 0, here=False)


@pytest.mark.usefixtures("results")
def test_a_computed_dataset_is_always_here():
    assert of("swissroll") == Sizes(120_000, 40_000, 0, here=True)


@pytest.mark.parametrize("name", [name for name in datasets if datasets.load(name).card.files])
def test_official_rows_add_up_to_those_of_the_card(name):
    dataset: Dataset = datasets.load(name)()
    rows = dataset.official_rows(dataset.Settings(name=name))
    train, test = (found if isinstance(found, int) else sum(found) for found in (rows["train"], rows["test"]))
    assert dataset.card.rows.startswith(f"{train:,}")
    assert dataset.card.rows.endswith(f"{test:,}")


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist"])  # CIFAR-10 takes a quarter of a minute
def test_official_rows_are_those_of_the_official_files(shell: Shell, mirror: Path, results: Path, name: str):
    assert shell("fetch", name, "--mirror", mirror).code == 0
    dataset: Dataset = datasets.load(name)()
    parts: dict[str, Any] = json.loads((dataset.folder() / "manifest.json").read_text())["parts"]
    rows = dataset.official_rows(dataset.Settings(name=name))
    assert {part: list(found["label_counts"].values()) for part, found in parts.items()} == {
        part: list(counts) for part, counts in rows.items() if not isinstance(counts, int)
    }
