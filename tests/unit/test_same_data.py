"""Recorded runs that are used again: only those of the data and the stop that are asked for now."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import admmctl
from admmctl.experiment.config import load
from admmctl.report.figures import accuracy_plot
from admmctl.runs.events import Event, Watcher
from admmctl.runs.places import find
from admmctl.runs.recorded import Recorded
from admmctl.runs.resume import Fingerprints
from admmctl.runs.train import Options
from admmctl.studies.scaling import Request, scaling
from admmctl.studies.sweep import Request as SweepRequest
from admmctl.studies.sweep import Sweep, sweep


class Notes(Watcher):
    """Remembers notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def event(self, event: Event) -> None:
        if event["event"] == "note":
            self.notes.append(event["text"])


def write_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(200) % 2
    np.save("X.npy", rng.normal(size=(200, 3)) + labels[:, None])
    np.save("y.npy", labels)


@pytest.fixture
def config(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(0)
    path = tmp_path / "own.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "own",
                "data": {"name": "files", "x": "X.npy", "y": "y.npy"},
                "network": {"layers": [4]},
                "loss": "squared",
                "methods": {"sgd": {"batch": 20}},
                "stop": {"iterations": 6},
                "sweep": {"trials": 2, "space": {"sgd": {"learning_rate": [0.01, 0.1]}}},
            }
        )
    )
    return path


@pytest.fixture
def resume(config: Path) -> Callable[..., tuple[str, list[str]]]:
    """``train --resume``: the name of its run's folder, and the notes."""

    def run(*overrides: str) -> tuple[str, list[str]]:
        watcher = Notes()
        (summary,) = admmctl.train(config, resume=True, overrides=overrides, watcher=watcher)
        return Path(summary["folder"]).name, watcher.notes

    return run


def test_a_finished_run_of_other_data_is_not_reported_as_that_of_these(resume) -> None:
    first, _ = resume()
    assert resume() == (first, [f"finished already: {Path.cwd() / 'results' / 'own' / first}"])
    write_rows(1)
    second, notes = resume()
    assert second == f"{first}-2"
    assert any("the data have changed since: sha256 " in note for note in notes)
    assert resume()[0] == second  # and this one is of these data


def test_a_finished_run_that_stopped_elsewhere_is_not_reported(resume) -> None:
    first, _ = resume()
    second, notes = resume("stop.iterations=8")
    assert second == f"{first}-2"
    assert any("stop.iterations was 6, is 8" in note for note in notes)
    assert resume("stop.iterations=8")[0] == second


def test_a_run_whose_data_are_not_recorded_is_not_taken_for_one_of_these(resume, results: Path) -> None:
    first, _ = resume()
    (results / "own" / first / "environment.json").unlink()
    second, notes = resume()
    assert second == f"{first}-2"
    assert any("it is not recorded what data it read" in note for note in notes)


def test_trials_of_other_data_run_again(config: Path, results: Path) -> None:
    def swept() -> tuple[Sweep, list[str]]:
        watcher = Notes()
        return sweep(SweepRequest(config), lambda *_: None, watcher), watcher.notes

    first, _ = swept()
    second, notes = swept()
    assert second.trials == first.trials
    assert notes == []
    write_rows(1)
    second, notes = swept()
    assert [note.partition(": ")[0] for note in notes] == ["trial 0 runs again", "trial 1 runs again"]
    assert second.trials != first.trials
    now = Fingerprints().data(load(config).runs["sgd"])
    trials = sorted((results / "own" / "sweep-sgd").glob("trial-*"))
    assert [Recorded(trial).environment.data_sha256 for trial in trials] == [now, now]


def test_a_figure_of_runs_on_different_data_says_so(config: Path, results: Path) -> None:
    notes: list[str] = []
    admmctl.train(config)
    accuracy_plot(find(["own"]), None, say=notes.append)
    assert notes == []
    write_rows(1)
    admmctl.train(config)
    accuracy_plot(find(["own"]), None, say=notes.append)
    (note,) = notes
    assert note.endswith("are of one data block, and read different data: the files have changed")


@pytest.mark.mpi
@pytest.mark.usefixtures("small_peaks")
def test_a_scaling_study_of_other_data_runs_again(config: Path, results: Path) -> None:
    def studied() -> list[str]:
        notes: list[str] = []
        request = Request(config, "1,2", method="sgd", repeat=1, options=Options(oversubscribe=True))
        scaling(request, Notes(), notes.append)
        return [note for note in notes if "runs again" in note]

    studied()
    assert studied() == []
    write_rows(1)
    assert len(studied()) == 2
    assert studied() == []
