"""``admmctl.read``: tables and figures of runs, and the notebook of the documentation."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from support.recorded_runs import write_run

import admmctl
from admmctl.errors import UserError
from admmctl.report import notebooks, style

ROOT = Path(__file__).parents[2]
KEYS = ["run", "experiment", "method", "ranks", "seed"]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seeds of one method and one run of another, in two experiments."""
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        write_run(tmp_path / "results", seed=seed, seconds=1.5)
    write_run(tmp_path / "results", "sgd", experiment="other", accuracies=(0.1, 0.2), data_made_up=True)
    return tmp_path / "results"


def test_a_results_folder_an_experiment_and_a_run(results: Path) -> None:
    assert len(admmctl.read()) == len(admmctl.read(results)) == len(admmctl.read("results")) == 3
    assert len(admmctl.read("made")) == len(admmctl.read(results / "made")) == 2  # as on the command line
    run = next((results / "other").iterdir())
    assert repr(admmctl.read(run)) == "<1 run of other>"
    assert len(admmctl.read(run, results / "made")) == 3
    other = results.rename(results.with_name("moved"))  # not the results folder of this shell
    assert len(admmctl.read(other)) == 3


def test_runs_have_their_summaries_settings_and_machines(results: Path) -> None:
    table = admmctl.read("made").runs
    assert list(table.columns[:6]) == [*KEYS, "folder"]
    assert list(table["seed"]) == [0, 1]
    assert list(table["time_to_target_s"]) == [3.0, 3.0]
    assert list(table["config.data.rows"]) == [4000, 4000]
    assert list(table["machine.cores"]) == [2, 2]
    assert {each.name for each in notebooks.fields(notebooks.Summary)} <= set(table.columns)
    assert table["load_s"].dtype == float  # known of no run
    assert table["load_s"].isna().all()


def test_curves_have_a_row_per_evaluation(results: Path) -> None:
    table = admmctl.read().curves
    assert list(table.columns[:12]) == [*KEYS, *notebooks.CURVE_COLUMNS]
    assert list(table.groupby(["experiment", "method", "seed"]).size()) == [3, 3, 2]
    assert list(table.loc[table["method"] == "sgd", "test_accuracy"]) == [0.1, 0.2]
    assert table["iteration"].dtype == "Int64"
    assert table["train_s"].max() == 3.0


def test_phases_have_their_seconds(results: Path) -> None:
    table = admmctl.read("made").phases
    assert list(table.columns) == [
        *KEYS,
        "phase",
        "max_s",
        "mean_s",
        "min_s",
        "cpu_max_s",
        "cpu_mean_s",
        "cpu_min_s",
    ]
    assert list(table["phase"]) == ["product", "evaluate"] * 2
    assert list(table["max_s"]) == [3.0, 0.2] * 2
    assert table["cpu_max_s"].isna().all()


def test_what_is_unfinished_has_what_is_known(results: Path) -> None:
    run = next((results / "other").iterdir())
    (run / "summary.json").unlink()
    (run / "phases.csv").unlink()
    (run / "curve.csv").unlink()
    found = admmctl.read(run)
    assert found.runs.loc[0, "status"] == "unfinished"
    assert found.runs.loc[0, "seed"] == 0
    assert found.curves.shape == (0, 12)
    assert found.phases.shape == (0, 12)
    with pytest.raises(UserError, match="nothing to draw"):
        found.accuracy_plot()


def test_all_tables_are_of_one_moment(results: Path) -> None:
    found = admmctl.read("made")
    for file in results.rglob("*.csv"):
        file.unlink()
    assert len(found.curves) == 6
    assert len(found.phases) == 4


def test_damage_is_named_in_a_warning_on_the_line_of_the_caller(results: Path) -> None:
    broken = next((results / "other").iterdir()) / "summary.json"
    broken.write_text("{")
    with pytest.warns(UserWarning, match=f"left out: {broken}: it is not JSON") as caught:
        assert len(admmctl.read()) == 2
    assert caught[0].filename == __file__
    with pytest.raises(UserError, match="mend or remove it"):
        admmctl.read(broken.parent)


def test_what_is_not_there_is_an_error(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such run"):
        admmctl.read("nowhere")
    (results.parent / "empty").mkdir()
    with pytest.raises(UserError, match="no runs in empty"):
        admmctl.read("empty")
    monkeypatch.setenv("ADMMCTL_RESULTS", "empty")
    with pytest.raises(UserError, match="no runs in empty yet"):
        admmctl.read()


def test_figures_leave_the_settings_of_the_notebook_alone(results: Path) -> None:
    plt.close("all")
    plt.switch_backend("svg")
    try:
        with matplotlib.rc_context({"font.size": 17.0}):
            own, drawn = plt.figure(), admmctl.read("made").accuracy_plot(of="train_loss", against="epochs")
            assert isinstance(drawn, Figure)
            assert matplotlib.rcParams["font.size"] == 17.0
            assert matplotlib.get_backend() == "svg"
            assert plt.get_fignums() == [own.number]  # a notebook shows the figure once
        (axes,) = drawn.axes
        assert axes.xaxis.label.get_fontsize() == style.LOOK["axes.labelsize"]
        assert axes.get_ylabel().startswith("training loss")
        drawn.savefig(results / "figure.png")
        assert (results / "figure.png").stat().st_size > 1000
    finally:
        plt.close("all")
        plt.switch_backend("agg")
        matplotlib.rcParams.update(style.LOOK)


def test_a_figure_of_made_up_data_says_so(results: Path) -> None:
    assert [text.get_text() for text in admmctl.read("other").accuracy_plot().texts] == ["made-up data"]
    assert admmctl.read("made").accuracy_plot().texts == []


def test_wrong_options_of_figures_are_errors_and_leave_no_figure(results: Path) -> None:
    found = admmctl.read("made")
    for draw, message in (
        (lambda: found.accuracy_plot(of="nothing"), "no run has it; valid: iteration, epoch"),
        (lambda: found.accuracy_plot(against="minutes"), "'minutes': valid: seconds, epochs, iterations"),  # type: ignore
        (lambda: found.accuracy_plot(axis="square"), "axis 'square': valid: auto, log, linear"),  # type: ignore
        (lambda: found.target_plot("rho"), "none of these runs has a target and such a number"),
        (lambda: found.target_plot("rho", "years"), "unit 'years'"),  # type: ignore
    ):
        with pytest.raises(UserError, match=message):
            draw()
    assert plt.get_fignums() == []


def test_a_setting_against_the_target(results: Path) -> None:
    for run, rho in zip(sorted((results / "made").iterdir()), (0.1, 1.0), strict=True):
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("kind: admm", f"kind: admm\n    rho: {rho}"))
    found = admmctl.read("made")
    assert list(found.runs["config.methods.admm.rho"]) == [0.1, 1.0]
    (axes,) = found.target_plot("rho", "seconds").axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0.1, 3.0], [1.0, 3.0]])


def test_reading_loads_neither_pandas_nor_matplotlib_until_they_are_needed() -> None:
    code = "import sys, admmctl; admmctl.read; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "admmctl.report.notebooks" in done.stdout.split()
    assert not {"pandas", "matplotlib", "numpy"} & set(done.stdout.split())


def cells(kind: str) -> list[str]:
    """The cells of one kind of the notebook that the documentation has."""
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # in an empty folder, as a reader may
    monkeypatch.setenv("ADMMCTL_RESULTS", "")  # the notebook sets it: what it was comes back
    names: dict[str, Any] = {"__name__": "__main__"}
    for place, source in enumerate(cells("code"), start=1):
        exec(compile(source, f"cell {place}", "exec"), names)
    assert len(names["found"]) == 4
    assert isinstance(names["figure"], Figure)
    assert list(tmp_path.iterdir()) == []


def test_the_notebook_of_the_documentation_explains_each_step() -> None:
    assert len(cells("markdown")) >= len(cells("code"))
