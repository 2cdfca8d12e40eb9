"""The papers' figures: which runs each needs, which are used again, and what its caption says."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from support.recorded_runs import write_run
from support.studies import Law

from admmctl.errors import DataError, UserError
from admmctl.launch.options import Options
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.draw import curves, draw
from admmctl.papers.entry import Entry, Material, Quick
from admmctl.papers.finished import finished
from admmctl.papers.hkust import ENTRIES as HKUST
from admmctl.papers.make import Making, alone, make, most_ranks, need_data, planned
from admmctl.papers.measures import seconds_to_accuracy
from admmctl.report.figures import View
from admmctl.report.sidecar import Figure, Number
from admmctl.runs.events import Watcher
from admmctl.runs.recorded import EVERYTHING, Recorded

TRAINED = [entry for entry in CATALOGUE.values() if entry.config is not None]
SMALL = ("data.rows=300", "network.layers=[5]")
TINY = replace(
    CATALOGUE["trident-6-left"],
    methods=("cosine-kernel", "random-features"),
    quick=Quick("300 rows", (*SMALL, "stop.epochs=2"), repeats=2),
)


def made(entry: Entry, say: Callable[[str], None] = lambda text: None) -> Material:
    material, failures = make(entry, Making("quick", Options(), Watcher(), say))
    assert not failures
    return material


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize("entry", TRAINED, ids=lambda entry: entry.name)
@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_figure_has_a_config_with_its_methods(entry, scale):
    runs = planned(entry, scale)
    plan = entry.plan(scale)
    assert len(runs) == len(plan.methods) * plan.repeats * len(plan.variants)
    assert len(alone(entry, scale)) == len(plan.alone) * plan.repeats
    assert bool(runs) == (entry.drawing.source != "condition")
    assert set(plan.methods) <= set(entry.methods)
    shrunk = {run.experiment for run in runs if run.experiment.endswith("-quick")}
    assert bool(shrunk) == (scale == "quick" and bool(entry.quick.changes))
    assert bool(entry.reported) != entry.paper.ours


@pytest.mark.parametrize(
    ("options", "most", "expected"),
    [
        (Options(), None, 2),
        (Options(), 1, 1),
        (Options(hosts=(("h1", 3), ("h2", 4))), None, 7),
        (Options(hosts=(("h1", 3), ("h2", 4))), 5, 5),
        (Options(launcher="srun"), 64, 64),  # of a scheduler's queue
        (Options(launcher="inline"), None, 1),
    ],
    ids=str,
)
def test_runs_of_figures_take_the_cores_there_are_and_no_more_than_asked_for(monkeypatch, options, most, expected):
    monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: 2)
    assert most_ranks(Making("quick", options, Watcher(), print, most)) == expected


def test_inside_a_job_runs_of_figures_have_all_of_its_nodes(monkeypatch):
    values = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "48", "SLURMD_NODENAME": "n1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert most_ranks(Making("quick", Options(), Watcher(), print)) == 48


def test_missing_data_is_refused_with_the_line_that_fetches_it(results):
    for scale, arguments in (("quick", "svhn"), ("full", "svhn --extra")):
        with pytest.raises(DataError, match=rf"run: admmctl fetch {arguments}$"):
            need_data(CATALOGUE["taylor-1b"], scale)
    need_data(CATALOGUE["trident-6-left"], "quick")


def test_a_figure_is_drawn_with_its_points_and_its_caption(results, tmp_path):
    figure = draw(made(TINY), tmp_path)
    names = [f"trident-6-left.{suffix}" for suffix in ("png", "pdf", "csv", "json")]
    assert [Path(path).name for path in figure["files"]] == names
    caption = json.loads((tmp_path / names[3]).read_text())
    assert list(caption) == list(Figure.model_fields)
    assert caption["files"] == {suffix: f"trident-6-left.{suffix}" for suffix in ("png", "pdf", "csv")}
    assert len(caption["runs"]) == 4
    assert all((Path(run) / "summary.json").is_file() for run in caption["runs"])
    assert all(list(number) == list(Number.model_fields) for number in caption["numbers"])
    assert not any(number["same_work"] for number in caption["numbers"])
    assert "2 repeats each" in caption["caption"]
    assert "Quick scale: 300 rows." in caption["caption"]
    with (tmp_path / names[2]).open() as file:
        rows = list(csv.DictReader(file))
    ours = {(row["method"], row["seed"]) for row in rows if row["source"] == "ours"}
    assert ours == {(method, seed) for method in TINY.methods for seed in "01"}
    assert any(row["source"] == "theirs" for row in rows)


def test_a_caption_names_the_gpu_of_a_run(results, tmp_path):
    material = made(replace(TINY, quick=replace(TINY.quick, repeats=1)))
    change(material.folders[0] / "environment.json", device="NVIDIA K40")
    caption = draw(Material(material.entry, "quick", material.folders), tmp_path)["caption"]
    assert "cores and NVIDIA K40" in caption.replace("core and", "cores and")


def test_finished_runs_are_used_again_where_they_went_as_far(results):
    def lasting(epochs: int) -> list[Path]:
        return made(replace(TINY, quick=replace(TINY.quick, changes=(*SMALL, f"stop.epochs={epochs}")))).folders

    first = lasting(2)
    assert lasting(2) == lasting(1) == first
    longer = lasting(3)
    assert not set(longer) & set(first)
    assert lasting(2) == first  # of the same budget, though there are newer ones that are long enough
    assert lasting(1) == longer  # the newest that is long enough


def test_a_run_that_stopped_at_another_target_or_failed_is_not_used_again(results):
    run = planned(TINY, "quick")[0]
    folder = made(TINY).folders[0]
    assert finished(run, 1) == folder
    assert finished(run, 2) is None
    assert finished(replace(run, stop=run.stop.model_copy(update={"target": 0.9})), 1) is None
    change(folder / "summary.json", status="failed")
    assert finished(run, 1) is None
    change(folder / "summary.json", status="exhausted")
    assert finished(run, 1) == folder
    change(folder / "environment.json", data_sha256="other")
    assert finished(run, 1) is None


@pytest.mark.parametrize("file", ["summary.json", "curve.csv", "phases.csv", "environment.json", "config.yaml"])
def test_a_damaged_run_is_made_again_and_named(results, file):
    first = made(TINY).folders
    (first[0] / file).write_bytes(b"{\xff")
    lines: list[str] = []
    folders = made(TINY, lines.append).folders
    assert f"left out: {first[0] / file}: it is not text in UTF-8" in lines
    assert folders[1:] == first[1:]
    assert Recorded(folders[0]).damage(EVERYTHING) is None  # made anew, or in the same folder
    assert (folders[0] == first[0]) == (file == "summary.json")


def test_an_accuracy_of_the_paper_has_ours_beside_it(results, tmp_path):
    reported = (replace(HKUST[1].reported[0], method="admm"), HKUST[1].reported[1])
    entry = replace(TINY, config="swissroll", methods=("admm",), reported=reported)
    numbers = {number["what"]: number for number in draw(made(entry), tmp_path)["numbers"]}
    admm, missing = (numbers[f"final test accuracy, {method}"] for method in ("admm", "gd"))
    assert admm["paper"] == 99.0619
    assert admm["ratio"] == pytest.approx(admm["ours"] / 99.0619)
    assert not admm["same_work"]
    assert "225 rows here, 10,000 theirs" in admm["note"]
    assert (missing["ours"], missing["ratio"], missing["ours_text"]) == (None, None, "no finished run")


@pytest.mark.parametrize(
    ("final", "axis", "stars"),
    [(0.99, "test error, %", [0.9381, 0.5253]), (0.94, "test accuracy", [0.990619, 0.994747])],
)
def test_the_papers_accuracies_stand_on_the_axis_of_ours(results, final, axis, stars):
    runs = [write_run(results, method, accuracies=(0.5, 0.9, final)) for method in HKUST[1].methods]
    figure, rows = HKUST[1].drawing.draw(Material(HKUST[1], "full", runs))
    (axes,) = figure.axes
    assert axes.get_ylabel() == axis
    found = [
        line.get_ydata()[0]
        for line in axes.get_lines()
        if line.get_marker() == "*" and "theirs" in line.get_label()
    ]
    assert found == pytest.approx(stars, rel=1e-4)
    low, high = axes.get_ylim()
    assert all(low < star < high for star in found)
    assert {row["test_accuracy"] for row in rows if row["source"] == "ours"} == {
        0.5,
        0.9,
        final,
    }  # the CSV has accuracies
    plt.close(figure)


def test_a_curve_that_no_run_has_recorded_is_refused_by_its_name(results):
    material = Material(HKUST[0], "full", [write_run(results, "admm")])
    with pytest.raises(UserError, match="none of its runs has recorded test_loss"):
        curves("made", View("test_loss")).draw(material)


# -- methods that run on one rank whatever the others run on


def test_methods_alone_run_on_one_rank_beside_those_on_more(results, monkeypatch):
    monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: 2)
    entry = replace(TINY, methods=("cosine-kernel",), alone=("cosine-kernel", "tanh-random"))
    two = made(replace(entry, quick=Quick("300 rows", (*SMALL, "stop.epochs=2"), cores=(2,))))
    ranks = [(run.method, run.number("ranks")) for run in two.runs]
    assert sorted(ranks) == [("cosine-kernel", 1), ("cosine-kernel", 2), ("tanh-random", 1)]
    one = made(replace(entry, quick=Quick("300 rows", (*SMALL, "stop.epochs=2"), cores=(1,))))
    assert [(run.method, run.number("ranks")) for run in one.runs] == [("cosine-kernel", 1), ("tanh-random", 1)]
    measure = seconds_to_accuracy(0.0, averaged=True, ranks=1)
    assert measure.what == "seconds to 0 % test accuracy, {}, on 1 rank"
    assert measure.ours(two, "cosine-kernel")[1] == "0 s on 1 rank"
    assert seconds_to_accuracy(0.0).ours(two, "cosine-kernel")[1] == "0 s on 1 rank, 2 ranks, median of 2"


def test_an_average_of_a_paper_has_the_mean_beside_the_median(results):
    material = made(TINY)
    measure = seconds_to_accuracy(0.0, averaged=True)
    assert measure.ours(material, "cosine-kernel")[1] == "0 s on 1 rank, median of 2, mean 0 s"
    never = seconds_to_accuracy(2.0, averaged=True)
    assert never.ours(material, "cosine-kernel")[1] == "never on 1 rank, median of 2, mean never"


def test_a_method_alone_whose_extra_is_missing_is_left_out_by_name(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    entry = replace(TINY, config="higgs", methods=("admm",), alone=("torch-sgd",))
    changes = ("data={name: swissroll, rows: 300}", "network.layers=[5]", "stop.iterations=2", "stop.epochs=1")
    material = made(replace(entry, quick=Quick("300 rows", changes)))
    assert [run.method for run in material.runs] == ["admm"]
    assert "the package torch, which is not installed" in material.left_out["torch-sgd"]


def test_seconds_against_cores_have_a_line_for_each_method_alone_and_name_those_that_never_met_the_target(
    results, monkeypatch, tmp_path
):
    laws = [Law("admm", (10,) * 2, 1e-3, 1e-4), Law("admm-printed", (None,) * 2, 1e-3, 1e-4)]
    studies = [law.write(tmp_path / "made", cores=(1, 2)) for law in laws]
    monkeypatch.setattr("admmctl.papers.make.several", lambda *arguments: studies)
    changes = ("data={name: swissroll, rows: 300}", "network.layers=[5]", "stop={iterations: 3, target: 0.4}")
    entry = replace(
        CATALOGUE["taylor-2a"],
        methods=("admm-printed", "admm"),
        alone=("cg", "linear"),
        changes=(),
        batches=(),
        quick=Quick("300 rows", changes, cores=(1, 2)),
    )
    material = made(entry)
    assert len(material.alone) == 2
    figure, rows = entry.drawing.draw(material)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert any(label.startswith("cg, here on one rank: ") for label in labels)
    assert "admm-printed, here: never" in labels
    alone_rows = [row for row in rows if row["source"] == "ours, alone"]
    assert [(row["method"], row["cores"]) for row in alone_rows] == [("cg", 1), ("linear", 1)]
