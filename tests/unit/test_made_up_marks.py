"""Made-up data are known as such in every record, table and figure, and no verdict is made of them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.scripts import made_up_data
from support.small_data import Few, higgs_text, higgs_values
from support.studies import Law, Study, write_run

from admmctl.data import shards
from admmctl.data.dataset import DataSettings
from admmctl.errors import UserError
from admmctl.launch.options import Options
from admmctl.papers import evidence
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.claims import Claim, Evidence, Work
from admmctl.papers.draw import draw
from admmctl.papers.entry import Quick
from admmctl.papers.finished import finished
from admmctl.papers.make import Making, make
from admmctl.papers.rules import unable
from admmctl.report import style
from admmctl.report.compare import compare
from admmctl.runs.events import Watcher
from admmctl.runs.recorded import Recorded
from admmctl.studies.crossings import compare_studies
from admmctl.studies.points import summarise

WORDS = "made-up data"
SMALL = """\
name: small
data: {name: higgs}
network: {layers: [5]}
loss: squared
methods: {admm: {}, linear: {}}
stop: {iterations: 2, target: 0.999}
sweep: {trials: 2, space: {admm: {ridge: [0.1, 1.0]}}}
"""
WORK = Work("small", ("admm",), repeats=1)


@pytest.fixture
def experiment_files():
    return {"small.yaml": SMALL}


@pytest.fixture
def made_up(shell, tmp_path):
    """The command, beside 440 made-up rows of HIGGS."""
    path = made_up_data.make_higgs(tmp_path / "files", 4e-5, jobs=1)
    answer = shell("fetch", "higgs", "--from", path)
    assert "HIGGS.csv.gz says that it is made up" in answer.err
    return shell


@pytest.fixture
def trained(made_up, results):
    """A run on them."""
    answer = made_up("train", "small.yaml")
    assert shards.MADE_UP in answer.err
    (folder,) = (results / "small").iterdir()
    return folder


def across(monkeypatch):
    """What every figure that is saved from now on has written across it, by its name."""
    found = {}
    save = style.save

    def saved(figure, path, *more):
        paths = save(figure, path, *more)
        found[Path(path).name] = [text.get_text() for text in figure.texts]
        return paths

    monkeypatch.setattr(style, "save", saved)
    return found


# --- the data


def test_datasets_say_it(made_up):
    assert "yes, made up" in made_up("datasets").out
    (entry,) = [one for one in made_up("datasets", "--json").json()["datasets"] if one["name"] == "higgs"]
    assert entry["made_up"] is True
    assert "made up" in made_up("datasets", "show", "higgs").out


def test_other_files_are_no_made_up_ones(shell, tmp_path):
    """Whoever has a part of the official file has real data, official or not."""
    path = tmp_path / "HIGGS.csv"
    path.write_bytes(higgs_text(higgs_values(50)))
    answer = shell("fetch", "higgs", "--from", path)
    assert answer.code == 0
    assert "made up" not in answer.err + shell("datasets").out
    assert shell("train", "small.yaml").code == 0
    row = shell("runs", "list", "--json").json()["runs"][0]
    assert row["data_made_up"] is False
    assert WORDS not in shell("runs", "list").out


def test_fetching_real_ones_takes_the_mark_away(made_up, tmp_path):
    path = tmp_path / "HIGGS.csv"
    path.write_bytes(higgs_text(higgs_values(50)))
    assert made_up("fetch", "higgs", "--from", path).code == 0
    assert "made up" not in made_up("datasets").out


def test_a_mirror_cannot_bring_them_in(shell, tmp_path):
    made_up_data.make_higgs(tmp_path / "mirror" / "higgs", 4e-5, jobs=1)
    assert "not the official" in shell.refusal("fetch", "higgs", "--mirror", tmp_path / "mirror")


def test_a_plan_says_it_before_anything_else(monkeypatch):
    class MadeUp(Few):
        made_up = True

    class Set:
        def open(self, settings):
            return MadeUp([0, 1] * 4, [0, 1])

        def test_by_default(self, settings):
            return "official"

        def shuffles(self, settings):
            return False

    monkeypatch.setattr(shards.datasets, "load", lambda name: Set)
    assert shards.plan(DataSettings(name="few"), 1).notes[0] == shards.MADE_UP


# --- the records


def test_a_run_says_it_everywhere(trained):
    for name in ("summary.json", "environment.json"):
        assert json.loads((trained / name).read_text())["data_made_up"] is True
    assert shards.MADE_UP in (trained / "log.txt").read_text()
    run = Recorded(trained)
    assert (run.made_up, run.data_name) == (True, f"higgs ({WORDS})")


def test_a_run_that_has_not_ended_says_it(trained, made_up):
    (trained / "summary.json").unlink()
    run = Recorded(trained)
    assert (run.made_up, run.row["data_made_up"]) == (True, True)
    assert f"unfinished, {WORDS}" in made_up("runs", "list").out


def test_a_run_that_broke_says_it(made_up, monkeypatch):
    def broken(self, outcome, options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("admmctl.runs.worker._Rank.record", broken)
    assert made_up("train", "small.yaml").code == 1
    (row,) = made_up("runs", "list", "--json").json()["runs"]
    assert (row["status"], row["data_made_up"]) == ("failed", True)


def test_older_records_say_nothing_of_it(tmp_path):
    run = Recorded(write_run(tmp_path / "results" / "made" / "admm-p1-s0", cores=1, seed=0, time=1.0))
    assert (run.made_up, run.data_name) == (False, "swissroll")


def test_tables_and_the_page_say_it(trained, made_up, results):
    listed = made_up("runs", "list").out
    assert f"exhausted, {WORDS}" in listed
    assert f"{WORDS}: a program made the rows up" in listed
    assert "data made up" in made_up("runs", "show", trained).out
    assert made_up("report").code == 0
    page = (results / "report.html").read_text()
    assert f"higgs ({WORDS})" in page
    assert f"exhausted, {WORDS}" in page


def test_predictions_say_it(trained, made_up, tmp_path):
    (tmp_path / "x.csv").write_text(",".join(["0.5"] * 28) + "\n")
    assert WORDS in made_up("predict", trained, "--input", "x.csv").err


def test_the_best_of_a_sweep_says_it(made_up, results):
    assert made_up("sweep", "small.yaml").code == 0
    assert f"of {WORDS}" in (results / "small" / "sweep-admm" / "best.yaml").read_text().partition("\n")[0]


# --- no verdicts


def made_up_runs(folder: Path, **times: float) -> list[Recorded]:
    """Six made-up runs of each method."""
    return [
        Recorded(
            write_run(
                folder / f"{method}-s{seed}", cores=1, seed=seed, time=time, method=method, data_made_up=True
            )
        )
        for method, time in times.items()
        for seed in range(6)
    ]


def test_a_comparison_makes_no_verdict(tmp_path):
    result = compare(made_up_runs(tmp_path, admm=1.0, sgd=5.0))
    assert result.data_made_up
    assert {row.verdict for row in result.methods} == {WORDS}


def test_a_study_says_it_and_studies_make_no_crossings(tmp_path):
    slow, quick = Law("graph-admm", (100,) * 6, 1e-3, 1e-4), Law("sgd", (1000,) * 6, 1.23e-3, 1e-4, batch=128)
    folders = [law.write(tmp_path / "made") for law in (slow, quick)]
    assert compare_studies([summarise(folder) for folder in folders])[0][0][0].crossings
    for summary in (tmp_path / "made").glob("*/*/summary.json"):
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "data_made_up": True}))
    found = [summarise(folder) for folder in folders]
    assert all(each.data_made_up and each.warnings[0] == shards.MADE_UP for each in found)
    ((together, _),) = compare_studies(found)[0]
    assert together.crossings == []
    assert together.notes[0] == shards.MADE_UP


def small_config(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evidence, "config_file", lambda name: tmp_path / f"{name}.yaml")


def test_claims_find_no_run(trained, monkeypatch, tmp_path):
    small_config(monkeypatch, tmp_path)
    (run,) = evidence.planned(WORK)
    assert finished(run, 1) is None
    assert finished(run, 1, made_up=True) == trained
    assert evidence.recorded(WORK) == Evidence(WORK)
    for name in ("summary.json", "environment.json"):
        path = trained / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "data_made_up": False}))
    assert list(evidence.recorded(WORK).runs) == ["admm"]  # and nothing else had kept it away


def test_claims_find_no_study(monkeypatch, tmp_path):
    study = Study(tmp_path / "study").runs({1: [1.0], 2: [0.5]}, data_made_up=True)
    work = Work("small", ("admm",), repeats=1, cores=(1, 2), source="scaling")
    monkeypatch.setattr(evidence, "folder_of", lambda request: study.path)
    monkeypatch.setattr(evidence, "_request", lambda *asked: None)
    assert evidence.recorded(work) == Evidence(work)


def test_no_run_is_made_for_a_claim(made_up, monkeypatch, tmp_path):
    small_config(monkeypatch, tmp_path)
    claim = Claim("made", CATALOGUE["taylor-2b"].paper, "section 1", "It is so.", unable("nothing"), (WORK,))
    with pytest.raises(UserError, match=r"the dataset higgs here is made up.*admmctl fetch higgs --force"):
        evidence.missing([claim])


# --- figures


def test_figures_have_it_written_across_them(trained, made_up, monkeypatch):
    found = across(monkeypatch)
    assert made_up("accuracy-plot").code == 0
    assert made_up("target-plot", "--over", "ridge").code == 0
    assert list(found.values()) == [[WORDS], [WORDS]]
    for name in ("summary.json", "environment.json"):
        path = trained / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "data_made_up": False}))
    assert made_up("accuracy-plot").code == 0
    assert found["accuracy"] == []


def test_figures_of_studies_have_it_written_across_them(made_up, monkeypatch, tmp_path):
    found = across(monkeypatch)
    made = tmp_path / "results" / "made"
    for law in (Law("admm", (10,) * 2, 1e-3, 1e-4), Law("sgd", (100,) * 2, 1e-3, 1e-4, batch=128)):
        law.write(made)
    for summary in made.glob("*/*/summary.json"):
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "data_made_up": True}))
    assert made_up("scaling-plot").code == 0
    assert len(found) == 7
    assert all(texts == [WORDS] for texts in found.values())


def test_a_figure_of_a_paper_is_marked_and_has_no_number_beside_the_papers(made_up, monkeypatch, tmp_path):
    entry = replace(
        CATALOGUE["taylor-2b"],
        methods=("admm",),
        alone=(),
        quick=Quick("little", ("network.layers=[5]", "stop.iterations=2", "evaluate.every=1")),
    )
    found = across(monkeypatch)
    folders = []
    for allowed in (False, False, True):
        material, failures = make(entry, Making("quick", Options(), Watcher(), print, made_up=allowed))
        assert not failures
        folders += material.folders
    # Made again, unless it is said that these may be used.
    assert (len(set(folders)), folders[2] in folders[:2]) == (2, True)
    drawn = draw(material, tmp_path)
    assert "made-up data" in drawn["caption"]
    assert drawn["numbers"] == []
    assert found == {"taylor-2b": [WORDS]}
    with (tmp_path / "taylor-2b.csv").open() as file:
        assert {row["data"] for row in csv.DictReader(file)} == {"made up"}
