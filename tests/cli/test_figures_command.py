"""``admmctl figures`` as people meet it: its list, what it writes, and what it says of data that is not here."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from test_commands import Shell

from admmctl.studies.illustrations import FIGURES


@pytest.fixture
def shell(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


def mat(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """A file as SVHN's official ones are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(path, {"X": np.moveaxis(images, 0, -1), "y": y}, do_compression=True)
    return path


@pytest.mark.parametrize("words", [[], ["--list"], ["neuron", "--list"]])
def test_without_a_name_figures_are_listed(shell: Shell, results: Path, words: list[str]) -> None:
    answer = shell("figures", *words)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines] == ["figure", *FIGURES]
    assert max(map(len, lines)) <= 80
    listed = shell("figures", "--json").json()["figures"]
    assert [entry["name"] for entry in listed] == list(FIGURES)
    assert all(entry["shows"] and "Burmeister" in entry["paper"] for entry in listed)
    assert not results.exists()


def test_a_figure_lands_in_the_results_or_where_output_says(shell: Shell, results: Path) -> None:
    answer = shell("figures", "features")
    names = [f"features.{suffix}" for suffix in ("png", "pdf", "csv")]
    assert [Path(line) for line in answer.out.splitlines()] == [results / "figures" / name for name in names]
    (figure,) = shell("figures", "features", "--output", "else/where", "--seed", 4, "--json").json()["figures"]
    assert figure["files"] == [f"else/where/{name}" for name in names]
    assert (figure["seed"], figure["facts"]["accuracy_x2"]) == (4, 1.0)
    assert all(Path(file).is_file() for file in figure["files"])
    other = (Path("else/where") / "features.csv").read_text()
    assert other != (results / "figures" / "features.csv").read_text()


def test_all_leaves_out_what_has_no_data_and_says_how_to_get_it(shell: Shell, results: Path) -> None:
    answer = shell("figures", "--all", "--json")
    assert answer.code == 0
    assert [figure["name"] for figure in answer.json()["figures"]] == [
        name for name in FIGURES if name != "digits"
    ]
    (skipped,) = answer.json()["skipped"]
    assert skipped["name"] == "digits"
    (line,) = answer.err.splitlines()
    assert line.startswith("skipped: digits: ")
    assert line.endswith("run: admmctl fetch svhn")
    assert len(list((results / "figures").iterdir())) == 3 * (len(FIGURES) - 1)


def test_what_cannot_be_drawn_is_one_clear_error(shell: Shell, results: Path) -> None:
    Path("file").touch()
    for words, message in {
        "swisroll": "did you mean 'swissroll'?",
        "neuron digits": "digits: dataset svhn is not in",
        "neuron --all": "not both",
        "digits --mirror nowhere": "--mirror nowhere: there is no such folder",
        "digits --mirror .": "there is no train_32x32.mat",
        "neuron --output file": "file is no folder to write to",
    }.items():
        assert message in shell.refusal("figures", *words.split())
    assert not results.exists()


def test_digits_come_from_the_prepared_data_or_from_a_mirror(shell: Shell, results: Path) -> None:
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), np.arange(40) * 7 % 10
    path = mat(Path("mirror/svhn/train_32x32.mat"), images, labels)
    answer = shell("figures", "digits", "--mirror", "mirror", "--output", "one")
    assert answer.code == 0
    assert shell("fetch", "svhn", "--from", path).code == 0
    assert shell("figures", "digits", "--output", "two").code == 0
    for name in ("digits.csv", "digits.png"):
        assert (Path("one") / name).read_bytes() == (Path("two") / name).read_bytes()
    rows = (Path("one") / "digits.csv").read_text().splitlines()
    assert rows[0] == "label,place,row"
    assert all(int(row.split(",")[0]) == labels[int(row.split(",")[2])] for row in rows[1:])
    path.write_bytes(path.read_bytes()[:3000])
    assert "truncated" in shell.refusal("figures", "digits", "--mirror", "mirror")


@pytest.mark.data
def test_real_digits_are_drawn(shell: Shell, mirror: Path) -> None:
    with np.load(mirror / "svhn" / "svhn_train_first1083.npz") as real:
        mat(Path("mirror/train_32x32.mat"), real["X"], real["y"])
    (figure,) = shell("figures", "digits", "--mirror", "mirror", "--json").json()["figures"]
    assert len(Path(figure["files"][2]).read_text().splitlines()) == 51  # five of each
