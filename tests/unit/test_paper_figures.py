"""The papers' figures: which runs each needs, which are used again, and what its caption says."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from admmctl.errors import DataError
from admmctl.launch.options import Options
from admmctl.papers import paper_runs
from admmctl.papers.captions import KEYS
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.claims import CLAIMS
from admmctl.papers.draw import DRAWINGS, draw
from admmctl.papers.entry import Entry, Quick
from admmctl.papers.measures import MEASURES
from admmctl.runs.recorded import EVERYTHING, damage
from admmctl.runs.train import Silent

TRAINED = [entry for entry in CATALOGUE.values() if entry.config is not None]
NUMBER = {"what", "unit", "paper", "paper_text", "ours", "ours_text", "ratio", "same_work", "note"}
SMALL = ("data.rows=300", "network.layers=[5]")
TINY = Entry(
    "trident-6-left",
    "A paper",
    "Figure 1",
    "the roll",
    "accuracy-iterations",
    config="swissroll-kernel",
    methods=("cosine-kernel", "random-features"),
    quick=Quick("300 rows", ("data.rows=300", "network.layers=[5]", "stop.epochs=2"), repeats=2),
)


def made(entry: Entry, results: Path) -> Any:
    material, failures = paper_runs.make(entry, "quick", Options(), Silent(), lambda text: None)
    assert not failures
    return material


@pytest.mark.parametrize("entry", TRAINED, ids=lambda entry: entry.name)
@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_figure_has_a_config_with_its_methods(entry, scale):
    runs = paper_runs.planned(entry, scale)
    plan = entry.plan(scale)
    assert len(runs) == len(plan["methods"]) * plan["repeats"]
    assert bool(runs) == (entry.source != "condition")
    assert set(plan["methods"]) <= set(entry.methods)
    shrunk = {run.experiment for run in runs if run.experiment.endswith("-quick")}
    assert bool(shrunk) == (scale == "quick" and bool(entry.quick.changes))


def test_every_figure_has_a_drawing_and_every_claim_a_measure():
    assert {entry.drawing for entry in TRAINED} <= set(DRAWINGS)
    assert set(CLAIMS) <= set(CATALOGUE)
    assert {claim.measure for claims in CLAIMS.values() for claim in claims} <= set(MEASURES)
    assert {"taylor-1a", "trident-12", "hkust-loss", "zhang-table3", "convex-table1"} <= set(CLAIMS)


def test_missing_data_is_refused_with_the_line_that_fetches_it(results):
    for scale, words in (("quick", "svhn"), ("full", "svhn --extra")):
        with pytest.raises(DataError, match=rf"run: admmctl fetch {words}$"):
            paper_runs.need_data(CATALOGUE["taylor-1b"], scale)
    paper_runs.need_data(CATALOGUE["trident-6-left"], "quick")


def test_a_figure_is_drawn_with_its_points_and_its_caption(results, tmp_path):
    figure = draw(made(TINY, results), tmp_path)
    names = [f"trident-6-left.{suffix}" for suffix in ("png", "pdf", "csv", "json")]
    assert [Path(path).name for path in figure["files"]] == names
    caption = json.loads((tmp_path / names[3]).read_text())
    assert tuple(caption) == KEYS
    assert caption["files"] == {suffix: f"trident-6-left.{suffix}" for suffix in ("png", "pdf", "csv")}
    assert len(caption["runs"]) == 4
    assert all((Path(run) / "summary.json").is_file() for run in caption["runs"])
    assert all(set(number) == NUMBER and not number["same_work"] for number in caption["numbers"])
    assert "2 repeats each" in caption["caption"]
    assert "Quick scale: 300 rows." in caption["caption"]
    with (tmp_path / names[2]).open() as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["source"] == "ours"]
    assert {(row["method"], row["seed"]) for row in ours} == {
        (method, seed) for method in TINY.methods for seed in "01"
    }
    assert any(row["source"] == "theirs" for row in rows)


def test_finished_runs_are_used_again_where_they_went_as_far(results):
    first = made(TINY, results)
    assert made(TINY, results).folders == first.folders
    less = replace(TINY, quick=replace(TINY.quick, changes=(*SMALL, "stop.epochs=1")))
    assert made(less, results).folders == first.folders
    more = replace(TINY, quick=replace(TINY.quick, changes=(*SMALL, "stop.epochs=3")))
    again = made(more, results).folders
    assert not set(again) & set(first.folders)
    assert made(TINY, results).folders == again  # the newest that is long enough


def test_a_run_that_stopped_at_another_target_or_failed_is_not_used_again(results):
    run = paper_runs.planned(TINY, "quick")[0]
    folder = made(TINY, results).folders[0]
    assert paper_runs.finished(run, 1) == folder
    assert paper_runs.finished(run, 2) is None
    with_target = replace(run, stop=run.stop.model_copy(update={"target": 0.9}))
    assert paper_runs.finished(with_target, 1) is None
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "status": "failed"}))
    assert paper_runs.finished(run, 1) is None
    (folder / "summary.json").write_text(json.dumps(summary))
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**environment, "data_sha256": "other"}))
    assert paper_runs.finished(run, 1) is None


@pytest.mark.parametrize("file", ["summary.json", "curve.csv", "phases.csv", "environment.json", "config.yaml"])
def test_a_damaged_run_is_made_again_and_named(results, file):
    first = made(TINY, results).folders
    (first[0] / file).write_bytes(b"{\xff")
    told: list[str] = []
    material, _ = paper_runs.make(TINY, "quick", Options(), Silent(), told.append)
    assert [path for path in told if path.startswith("left out")] == [
        f"left out: {first[0] / file}: it is not text in UTF-8"
    ]
    assert material.folders[1:] == first[1:]
    assert damage(material.folders[0], EVERYTHING) is None  # made anew, or in the same folder
    assert (material.folders[0] == first[0]) == (file == "summary.json")


def test_an_accuracy_of_the_paper_has_ours_beside_it(results, tmp_path):
    entry = replace(TINY, name="hkust-accuracy", config="swissroll", methods=("admm",))
    numbers = draw(made(entry, results), tmp_path)["numbers"]
    admm = next(number for number in numbers if number["what"] == "final test accuracy, admm")
    assert admm["paper"] == 99.0619
    assert admm["ratio"] == pytest.approx(admm["ours"] / 99.0619)
    assert not admm["same_work"]
    assert "225 rows here, 10,000 theirs" in admm["note"]
    missing = next(number for number in numbers if number["what"] == "final test accuracy, gd")
    assert (missing["ours"], missing["ratio"], missing["ours_text"]) == (None, None, "no finished run")
