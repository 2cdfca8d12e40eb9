"""``admmctl figures`` as people meet it: its list, what it writes, and what it says of data that is not here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from support.shell import Shell

from admmctl.errors import Interrupted, RunFailed
from admmctl.papers import make
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.entry import Entry, Quick


def mat(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """A file as SVHN's official ones are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(path, {"X": np.moveaxis(images, 0, -1), "y": y}, do_compression=True)
    return path


ABSENT = replace(CATALOGUE["taylor-1b"], name="absent", alone=(), quick=Quick())
LITTLE = ("data.rows=300", "network.layers=[5]", "stop.iterations=3")
TINY = replace(
    ABSENT,
    name="tiny",
    config="swissroll",
    methods=("admm",),
    reported=(),
    quick=Quick("300 rows", LITTLE),
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    """A catalogue of two illustrations, a figure that takes a second, and one whose data is not here."""
    entries = {name: CATALOGUE[name] for name in ("features", "digits")} | {"tiny": TINY, "absent": ABSENT}
    monkeypatch.setattr(make, "CATALOGUE", entries)
    return entries


@pytest.mark.usefixtures("terminal")
def test_without_a_name_figures_are_listed(shell: Shell, results: Path) -> None:
    for arguments in ([], ["--list"]):
        answer = shell("figures", *arguments)
        assert answer.code == 0
        lines = answer.out.splitlines()
        assert max(map(len, lines)) <= 100
        assert [line.split()[0] for line in lines if line[:1].strip()] == ["figure", *CATALOGUE]
    listed = shell("figures", "--json").json()["figures"]
    assert [entry["name"] for entry in listed] == list(CATALOGUE)
    assert all(entry["shows"] and entry["paper"] and entry["number"] for entry in listed)
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["trident-6-left"]["data"] == {"name": "swissroll", "here": True, "reason": None}
    assert by_name["taylor-1a"]["data"]["here"] is False
    assert by_name["taylor-1a"]["data"]["reason"].endswith("run: admmctl fetch svhn")
    assert by_name["taylor-1a"]["cores"][-1] == 2496
    (one,) = shell("figures", "zhang-2a", "--list", "--json").json()["figures"]
    assert (one["config"], one["quick"]["repeats"]) == ("configs/mnist-graph.yaml", 1)
    assert not results.exists()


def test_a_figure_lands_in_the_results_or_where_output_says(shell: Shell, results: Path) -> None:
    answer = shell("figures", "features")
    names = [f"features.{suffix}" for suffix in ("png", "pdf", "csv", "json")]
    assert [Path(line) for line in answer.out.splitlines()] == [results / "figures" / name for name in names]
    (figure,) = shell("figures", "features", "--output", "else/where", "--seed", 4, "--json").json()["figures"]
    assert figure["files"] == [f"else/where/{name}" for name in names]
    assert (figure["seed"], figure["facts"]["accuracy_x2"]) == (4, 1.0)
    assert all(Path(file).is_file() for file in figure["files"])
    other = (Path("else/where") / "features.csv").read_text()
    assert other != (results / "figures" / "features.csv").read_text()


def test_all_leaves_out_what_has_no_data_and_says_how_to_get_it(shell: Shell, results: Path, few) -> None:
    answer = shell("figures", "--all", "--json")
    assert answer.code == 0
    assert [figure["name"] for figure in answer.json()["figures"]] == ["features", "tiny"]
    skipped = {figure["name"]: figure["reason"] for figure in answer.json()["skipped"]}
    assert skipped["digits"].endswith("run: admmctl fetch svhn")
    assert skipped["absent"].endswith("run: admmctl fetch svhn --extra")
    lines = [line for line in answer.err.splitlines() if "fetch" in line]
    assert lines == ["skipped: digits, absent; fetch the rest with: admmctl fetch svhn --extra"]
    assert len(list((results / "figures").iterdir())) == 4 * 2


def test_data_that_is_here_and_too_small_is_no_matter_of_fetching(shell: Shell, few) -> None:
    few["large"] = replace(TINY, name="large", quick=Quick("", (*LITTLE, "data.first=1000")))
    answer = shell("figures", "--all")
    assert answer.code == 0
    assert "skipped: large: data.first: 1,000 asked for, of 225 training rows\n" in answer.err
    assert "skipped: digits, absent; fetch" in answer.err


# --- --dry-run


@pytest.mark.usefixtures("small_peaks")
def test_a_dry_run_says_what_it_takes_and_draws_nothing(shell: Shell, results: Path, few) -> None:
    few["again"] = replace(TINY, name="again")
    before = sorted(shell.folder.rglob("*"))
    found = shell("figures", "--dry-run", "--json").json()
    assert sorted(shell.folder.rglob("*")) == before
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert list(figures) == list(few)
    tiny, absent, again = figures["tiny"], figures["absent"], figures["again"]
    assert (tiny["runs"], tiny["recorded"], tiny["to_make"], tiny["rows"], tiny["cores"]) == (1, 0, 1, 225, [1])
    assert 0 < tiny["seconds"] < 60
    assert (again["runs"], again["to_make"], again["seconds"]) == (1, 0, 0)  # the run of tiny
    assert (absent["rows"], absent["data_here"], absent["runs"]) == (120_290, False, 5)
    assert absent["seconds"] > tiny["seconds"]
    assert (figures["features"]["runs"], figures["features"]["rows"]) == (0, None)
    assert (found["to_make"], found["of_data_here"]["to_make"], found["counted"], found["unknown"]) == (6, 1, 6, 0)
    assert found["seconds"] == pytest.approx(tiny["seconds"] + absent["seconds"])
    assert found["gflops_per_core"] > 0
    assert found["fetch"] == "admmctl fetch svhn --extra"
    assert shell("figures", "digits", "--dry-run", "--json").json()["fetch"] == "admmctl fetch svhn"


@pytest.mark.usefixtures("small_peaks", "terminal")
def test_a_dry_run_for_people_is_a_table_and_what_to_think_of_it(shell: Shell, results: Path, few) -> None:
    few["again"] = replace(TINY, name="again")
    answer = shell("figures", "--all", "--dry-run")
    lines = answer.out.splitlines()
    assert answer.code == 0
    assert [line.split()[0] for line in lines[: 1 + len(few)]] == ["figure", *few]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["tiny"][:5] == ["225", "1", "1", "0", "1"]
    assert rows["again"] == ["225", "1", "1", "0", "0", "-"]
    assert rows["absent"][:5] == ["120,290*", "1", "5", "0", "5"]
    assert rows["features"] == ["no", "runs"]
    text = " ".join(lines)
    assert "With the data that is here: 1 run to make, about 1 s." in text
    assert "With all data: 6 runs to make, about " in text
    assert "6 by counted operations at 40 % of " in text
    assert "* official rows, not here; fetch them with: admmctl fetch svhn --extra" in text
    assert not results.exists()


@pytest.mark.usefixtures("small_peaks")
def test_after_the_runs_a_dry_run_finds_them(shell: Shell, results: Path, few, monkeypatch) -> None:
    assert shell("figures", "tiny").code == 0
    monkeypatch.setattr("admmctl.runs.bench._peak", None)  # nothing is measured
    found = shell("figures", "tiny", "--dry-run", "--json").json()
    (tiny,) = found["figures"]
    assert (tiny["runs"], tiny["recorded"], tiny["to_make"], tiny["seconds"]) == (1, 1, 0, 0)
    assert (found["gflops_per_core"], found["fetch"]) == (None, "")
    more = replace(TINY, quick=replace(TINY.quick, repeats=3))
    few["tiny"] = more
    (run,) = (results / "swissroll-quick").iterdir()
    wall = json.loads((run / "summary.json").read_text())["wall_s"]
    found = shell("figures", "tiny", "--dry-run", "--json").json()
    assert (found["to_make"], found["counted"]) == (2, 0)
    assert found["seconds"] == pytest.approx(2 * wall)
    assert "2 as recorded runs of the same settings took" in shell("figures", "tiny", "--dry-run").out


@pytest.mark.usefixtures("small_peaks")
def test_a_dry_run_of_studies_counts_every_trial_and_every_core_count(shell: Shell, few, monkeypatch) -> None:
    few["study"] = replace(
        CATALOGUE["taylor-2a"],
        name="study",
        config="swissroll",
        methods=("admm", "tanh-random"),
        alone=(),
        changes=("stop.target=0.9",),
        repeats=2,
        cores=(1, 2, 64),
        batches=(100, 200),
        trials=3,
    )

    def found(cores: int) -> tuple[int, list[int]]:
        monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: cores)
        (figure,) = shell("figures", "study", "--scale", "full", "--dry-run", "--json").json()["figures"]
        return figure["runs"], figure["cores"]

    assert found(2) == (3 * (3 + 2 * 2), [1, 2])
    assert found(64) == (3 * (3 + 2 * 3), [1, 2, 64])


@pytest.mark.usefixtures("small_peaks")
def test_a_dry_run_counts_methods_on_one_rank_beside_the_others(shell: Shell, few, monkeypatch) -> None:
    monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: 2)
    for cores, expected in (((2,), (3, [1, 2])), ((1,), (2, [1]))):  # on one rank admm is the same run
        quick = replace(TINY.quick, cores=cores)
        few["tiny"] = replace(TINY, methods=("admm",), alone=("admm", "tanh-random"), quick=quick)
        (figure,) = shell("figures", "tiny", "--dry-run", "--json").json()["figures"]
        assert (figure["runs"], figure["cores"]) == expected


def test_a_dry_run_of_an_unknown_figure_is_refused(shell: Shell) -> None:
    assert "did you mean 'taylor-1a'?" in shell.refusal("figures", "tailor-1a", "--dry-run")


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (RunFailed("a rank broke"), 1, "tiny: a rank broke"),
        (Interrupted("interrupted after 2 iterations"), 3, "the same command goes on from here"),
    ],
    ids=["failed", "interrupted"],
)
def test_a_run_that_fails_does_not_stop_other_figures_and_an_interruption_does(
    shell: Shell, few, monkeypatch: pytest.MonkeyPatch, end: Exception, code: int, message: str
) -> None:
    def execute(*arguments: object, **named: object) -> None:
        raise end

    monkeypatch.setattr(make, "execute", execute)
    few["neuron"] = CATALOGUE["neuron"]  # after it
    answer = shell("figures", "tiny", "neuron")
    assert answer.code == code
    assert message in answer.err
    assert ("neuron.png" in answer.out) == (code == 1)


def test_what_cannot_be_drawn_is_one_clear_error(shell: Shell, results: Path) -> None:
    Path("file").touch()
    for arguments, message in {
        "swisroll": "did you mean 'swissroll'?",
        "neuron digits": "digits: dataset svhn is not in",
        "taylor-1b": "run: admmctl fetch svhn",
        "taylor-1b --scale full": "run: admmctl fetch svhn --extra",
        "neuron --all": "not both",
        "neuron --scale huge": "--scale huge: valid: quick, full",
        "digits --mirror nowhere": "--mirror nowhere: there is no such folder",
        "digits --mirror .": "there is no train_32x32.mat",
        "neuron --output file": "file is no folder to write to",
    }.items():
        assert message in shell.refusal("figures", *arguments.split())
    assert not results.exists()


def test_digits_come_from_the_prepared_data_or_from_a_mirror(shell: Shell, results: Path) -> None:
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), np.arange(40) * 7 % 10
    path = mat(Path("mirror/svhn/train_32x32.mat"), images, labels)
    assert shell("figures", "digits", "--mirror", "mirror", "--output", "one").code == 0
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
