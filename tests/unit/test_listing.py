"""``admmctl datasets`` and ``fetch`` on the command line: what exists and what is here, own files, plugins."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from support.shell import Shell
from support.small_data import compressed, cut, entries, higgs_text, higgs_values, mnist_files, sha256

from admmctl.data import mnist
from admmctl.data.catalog import datasets
from admmctl.data.listing import describe, listing
from admmctl.errors import UserError

NAMES = ["mnist", "cifar10", "svhn", "svhn-hog", "higgs", "swissroll", "adding", "order", "files"]


class Command(Shell):
    """One whose answers are read as JSON, too."""

    def json(self, *arguments: object) -> Any:
        """One JSON document on standard output, and not a word besides."""
        answer = self(*arguments, "--json")
        assert (answer.code, answer.err) == (0, "")
        return json.loads(answer.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.fixture
def admmctl(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Command:
    """The command, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)


# --- what exists


def test_every_dataset_says_where_it_is_from_and_what_it_is(results: Path) -> None:
    found = listing()
    assert [entry["name"] for entry in found] == NAMES
    for entry in found:
        for key in ("title", "licence", "citation", "rows", "features"):
            assert entry[key], (entry["name"], key)
        for file in entry["files"]:
            assert file["bytes"] > 0
            assert len(file["sha256"]) == 64
            assert file["addresses"]
            assert all(address.startswith("http") for address in file["addresses"])
    assert {entry["name"]: entry["state"] for entry in found} == dict.fromkeys(NAMES, "absent") | {
        "swissroll": "computed",
        "adding": "computed",
        "order": "computed",
        "files": "yours",
    }


@pytest.mark.data
def test_the_official_files_are_those_of_the_mirrors_sources(mirror: Path) -> None:
    """Bytes and checksums, against the figures written down by hand."""
    rows = [line.split("|")[1:5] for line in (mirror / "SOURCES.md").read_text().splitlines() if "|" in line]
    figures = {
        name.strip(): (int(size.replace(",", "")), sha256.strip())
        for name, _, size, sha256 in (row for row in rows if len(row) == 4)
        if len(sha256.strip()) == 64
    }
    assert len(figures) == 9
    files = {file["name"]: file for entry in listing() for file in entry["files"]}
    assert {name: (file["bytes"], file["sha256"]) for name, file in files.items()} == figures


@pytest.mark.usefixtures("terminal")
def test_the_table_has_a_line_for_every_dataset_within_80_columns(admmctl: Command) -> None:
    answer = admmctl("datasets")
    assert (answer.code, answer.err) == (0, "")
    heading, *lines = [line for line in answer.out.splitlines() if line.strip()]
    assert heading.split() == ["dataset", "here", "rows", "features", "disk"]
    assert [line.split()[0] for line in lines if line[:2].strip()] == NAMES
    assert max(map(len, answer.out.splitlines())) <= 80


def test_the_list_as_json_is_one_document(admmctl: Command) -> None:
    document = admmctl.json("datasets")
    assert list(document) == ["datasets"]
    assert document["datasets"] == listing()


@pytest.mark.parametrize("name", NAMES)
def test_the_details_of_every_dataset(admmctl: Command, name: str) -> None:
    assert admmctl.json("datasets", "show", name) == describe(name)
    answer = admmctl("datasets", "show", name)
    assert (answer.code, answer.err) == (0, "")
    text = "".join(answer.out.split())
    entry = describe(name)
    for word in (entry["title"], entry["licence"], entry["citation"], entry["state"]):
        assert "".join(word.split()) in text
    for file in entry["files"]:
        for word in (file["name"], file["sha256"], *file["addresses"], f"{file['bytes']:,}"):
            assert word in text


def test_a_dataset_that_does_not_exist_names_the_nearest(admmctl: Command) -> None:
    for arguments in (["datasets", "show", "mnits"], ["fetch", "mnits"], ["datasets", "show", "mnits", "--json"]):
        message = admmctl.refusal(*arguments)
        assert "unknown dataset 'mnits'; did you mean 'mnist'?" in message
    with pytest.raises(UserError, match="unknown dataset"):
        describe("mnits")


def test_looking_makes_no_folder(admmctl: Command, tmp_path: Path) -> None:
    admmctl("datasets")
    admmctl("datasets", "show", "mnist")
    assert not (tmp_path / "datasets").exists()


# --- what is here


def test_what_is_here_is_shown_with_its_rows_and_disk(admmctl: Command, tmp_path: Path) -> None:
    files = mnist_files(tmp_path / "mine")
    assert admmctl("fetch", "mnist", "--from", *files).code == 0
    entry = next(entry for entry in admmctl.json("datasets")["datasets"] if entry["name"] == "mnist")
    folder = tmp_path / "datasets" / "mnist"
    assert (entry["state"], entry["folder"], entry["official"]) == ("here", str(folder), False)
    assert entry["disk_bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert entry["parts"] == {
        "train": {"rows": 5, "label_counts": {"1": 2, "3": 1, "4": 1, "5": 1}},
        "test": {"rows": 2, "label_counts": {"1": 1, "5": 1}},
    }
    assert [source["file"] for source in entry["sources"]] == [path.name for path in files]
    (line,) = [line for line in admmctl("datasets").out.splitlines() if line.startswith("mnist")]
    assert "yes" in line
    assert "unofficial" in line
    assert "5 train + 2 test" in " ".join(line.split())
    details = " ".join(admmctl("datasets", "show", "mnist").out.split())
    assert "(1: 2 3: 1 4: 1 5: 1)" in details
    assert "not the official file" in details


def test_pixels_and_features_of_one_folder_are_both_here(admmctl: Command, tmp_path: Path) -> None:
    images = np.zeros((32, 32, 3, 5), np.uint8)
    savemat(tmp_path / "train_32x32.mat", {"X": images, "y": np.ones((5, 1), np.uint8)})
    admmctl("fetch", "svhn", "--from", "train_32x32.mat")
    states = {entry["name"]: entry["state"] for entry in admmctl.json("datasets")["datasets"]}
    assert (states["svhn"], states["svhn-hog"]) == ("here", "here")


@pytest.mark.parametrize("name", ["x_train.npy", "manifest.json"])
def test_what_is_damaged_is_shown_as_damaged_with_the_remedy(admmctl: Command, tmp_path: Path, name: str) -> None:
    admmctl("fetch", "mnist", "--from", *mnist_files(tmp_path / "mine"))
    cut(tmp_path / "datasets" / "mnist" / name, 10)
    entry = admmctl.json("datasets")["datasets"][0]
    assert (entry["name"], entry["state"]) == ("mnist", "damaged")
    assert "--force" in entry["problem"]
    assert "damaged" in admmctl("datasets").out
    assert "--force" in admmctl("datasets", "show", "mnist").out


def test_remains_of_a_preparation_are_not_a_dataset(admmctl: Command, tmp_path: Path) -> None:
    admmctl("fetch", "mnist", "--from", *mnist_files(tmp_path / "mine"))
    (tmp_path / "datasets" / "mnist").rename(tmp_path / "datasets" / ".mnist.part")
    assert admmctl.json("datasets", "show", "mnist")["state"] == "absent"


# --- fetch


@pytest.mark.parametrize("order", ["glob after --from", "name last", "--from for each"])
def test_a_glob_after_from(admmctl: Command, tmp_path: Path, order: str) -> None:
    files = mnist_files(tmp_path / "mine")
    arguments = {
        "glob after --from": ["mnist", "--from", *files],
        "name last": ["--from", *files, "mnist"],
        "--from for each": ["mnist", *(word for path in files for word in ("--from", path))],
    }[order]
    answer = admmctl("fetch", *arguments)
    assert (answer.code, answer.out) == (0, "")
    assert f"mnist is ready in {tmp_path / 'datasets' / 'mnist'}" in answer.err
    assert admmctl("fetch", "mnist", "--verify").code == 0


@pytest.mark.parametrize(
    ("name", "option", "problem"),
    [
        *((name, "--rows=5", "is always prepared whole") for name in ("svhn", "mnist", "cifar10", "svhn-hog")),
        *((name, "--extra", "has no extra rows") for name in ("mnist", "cifar10", "higgs")),
    ],
)
def test_options_are_refused_where_they_mean_nothing(
    admmctl: Command, tmp_path: Path, name: str, option: str, problem: str
) -> None:
    message = admmctl.refusal("fetch", name, option)
    assert f"{option.partition('=')[0]}: {name} {problem}" in message
    assert not (tmp_path / "datasets").exists()


def test_fewer_rows_of_higgs(admmctl: Command, tmp_path: Path) -> None:
    path = compressed(tmp_path / "HIGGS.csv.gz", higgs_text(higgs_values(60)))
    answer = admmctl("fetch", "higgs", "--from", path, "--rows", 44)
    assert answer.code == 0
    assert "is not the official HIGGS.csv.gz" in answer.err
    parts = admmctl.json("datasets", "show", "higgs")["parts"]
    assert {part: found["rows"] for part, found in parts.items()} == {"train": 42, "test": 2}


def test_verify_finds_what_has_changed_and_fetches_nothing(admmctl: Command, tmp_path: Path) -> None:
    admmctl("fetch", "mnist", "--from", *mnist_files(tmp_path / "mine"))
    assert "all 4 arrays are as they were prepared" in admmctl("fetch", "mnist", "--verify").err
    assert "higgs is not in" in admmctl.refusal("fetch", "swissroll", "higgs", "mnist", "--verify")
    cut(tmp_path / "datasets" / "mnist" / "x_train.npy", -1)
    before = entries(tmp_path / "datasets" / "mnist")
    message = admmctl.refusal("fetch", "mnist", "--verify")
    assert "x_train.npy has" in message
    assert "admmctl fetch mnist --force" in message
    assert entries(tmp_path / "datasets" / "mnist") == before


# --- datasets from outside

PLUGIN = """
import numpy as np

from admmctl.data.catalog import Card, SourceFile
from admmctl.data.dataset import Dataset


class Stripes(Dataset):
    name = "stripes"
    card = Card(
        title="Stripes",
        licence="free",
        citation="nobody",
        rows="40",
        features="2",
        files=(SourceFile("stripes.txt", 80, "SUM", ("http://127.0.0.1:9/stripes.txt",)),),
    )

    def prepare(self, raw, prepared, progress):
        labels = np.loadtxt(raw["stripes.txt"], dtype=int)
        rows = prepared.rows("train", 2, np.float32)
        rows.append(np.column_stack([labels, 1 - labels])[rows.done :], labels[rows.done :])
        prepared.part("train", "train", 0, rows.done)


class Impostor(Stripes):
    name = "mnist"
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes installed packages of entry points; the list of datasets is searched anew."""
    monkeypatch.setattr(datasets, "_searched", False)
    monkeypatch.setattr(datasets, "_places", dict(datasets._places))

    def install(name: str, points: str, code: str) -> None:
        folder = tmp_path / f"site-{name}"
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}_plugin.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[admmctl.datasets]\n{points}\n")
        monkeypatch.syspath_prepend(folder)

    return install


def test_a_dataset_from_outside_is_listed_fetched_and_trained_on(
    admmctl: Command, tmp_path: Path, plugins: Any
) -> None:
    content = b"0\n1\n" * 20
    plugins("stripes", "stripes = stripes_plugin:Stripes", PLUGIN.replace("SUM", sha256(content)))
    assert [entry["name"] for entry in admmctl.json("datasets")["datasets"]] == [*NAMES, "stripes"]
    assert admmctl.json("datasets", "show", "stripes")["state"] == "absent"
    assert "stripes" in admmctl("datasets").out

    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "stripes.txt").write_bytes(content)
    answer = admmctl("fetch", "stripes", "--mirror", "mirror")
    assert answer.code == 0, answer.err
    assert admmctl.json("datasets", "show", "stripes")["parts"]["train"]["label_counts"] == {"0": 20, "1": 20}

    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndata: {name: stripes, test: 0.25}\nnetwork: {layers: [4]}\nloss: squared\n"
        "methods:\n  admm: {}\nstop: {iterations: 8}\n"
    )
    answer = admmctl("train", "mine.yaml", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["runs"][0]["best_test_accuracy"] == 1.0


def test_a_dataset_from_outside_never_replaces_one_of_ours(admmctl: Command, plugins: Any) -> None:
    plugins("impostor", "mnist = impostor_plugin:Impostor", PLUGIN)
    assert describe("mnist")["title"] == mnist.Mnist.card.title


def test_a_package_that_is_broken_does_not_hide_the_other_datasets(admmctl: Command, plugins: Any) -> None:
    plugins("broken", "broken = broken_plugin:Broken", "import a_module_that_nobody_has\n")
    answer = admmctl("datasets")
    assert "mnist" in answer.out
    assert "broken" in answer.out + answer.err
