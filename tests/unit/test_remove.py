"""Removing runs and studies, and nothing else."""

import json
import os
from pathlib import Path

import pytest
import yaml
from support.studies import Study, write_run

from admmctl.errors import UserError
from admmctl.files import locked
from admmctl.runs import jobs
from admmctl.runs.remove import plan, remove
from admmctl.runs.resume import held


def run(place: Path) -> Path:
    return write_run(place, cores=1, seed=0, time=1.0)


def test_a_run_goes_with_all_it_holds(tmp_path: Path, results: Path) -> None:
    path, other = run(results / "made" / "admm-p1-s0"), run(results / "made" / "admm-p1-s1")
    (path / "checkpoint").mkdir()
    (path / "checkpoint" / "rank0.npz").write_bytes(bytes(1000))
    (removal,) = plan([str(path)])
    assert (removal.kind, removal.folder) == ("run", path.resolve())
    assert removal.size == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert removal.size > 1000
    remove([removal])
    assert [p.name for p in (results / "made").iterdir()] == [other.name]
    remove(plan(["made/admm-p1-s1"]))  # short for results/made/admm-p1-s1
    assert list(results.iterdir()) == []  # an empty experiment goes too


def test_a_scaling_study_goes_with_its_runs(results: Path) -> None:
    study = Study(results / "made" / "scaling-admm-target-1").runs({1: [1.0, 2.0], 2: [0.5]})
    study.path.with_name(f".{study.path.name}.lock").touch()
    run(results / "made" / "admm-p1-s0")
    names = [str(study.path), str(study.path / "admm-p1-s0")]  # the run is part of the study: named twice
    (removal,) = plan(names)
    assert (removal.kind, len(removal.runs)) == ("study", 3)
    remove([removal])
    assert [path.name for path in (results / "made").iterdir()] == ["admm-p1-s0"]


def test_a_sweep_goes_with_its_trials(results: Path) -> None:
    sweep = results / "made" / "sweep-admm"
    run(sweep / "trial-000-0a0b0c0d")
    (sweep / "trials.csv").write_text("")
    remove(plan([str(sweep)]))
    assert not sweep.exists()


def test_files_of_a_glob_are_left_alone(results: Path) -> None:
    run(results / "made" / "admm-p1-s0")
    (results / "made" / "accuracy.png").write_bytes(b"png")
    remove(plan([str(path) for path in (results / "made").iterdir()]))
    assert [path.name for path in (results / "made").iterdir()] == ["accuracy.png"]


def refused(name: Path | str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        plan([str(name)])


def test_what_is_no_run_is_refused(results: Path, tmp_path: Path) -> None:
    path = run(results / "made" / "admm-p1-s0")
    mine = tmp_path / "mine"
    mine.mkdir()
    refused(mine, "no run and no study")
    refused(results / "made", r"no run and no study; name its runs: .*/made/\*")
    refused(results, "no run and no study")
    refused(tmp_path / "nowhere", "no such run")
    refused(path / "config.yaml", "there is no run and no study in")
    (mine / "config.yaml").write_text("title: my site\n")
    refused(mine, r"config\.yaml is not that of a run")
    (mine / "config.yaml").write_text("{broken")
    refused(mine, r"config\.yaml is not that of a run")
    (mine / "config.yaml").write_text((path / "config.yaml").read_text())
    (mine / "photos").mkdir()
    refused(mine, "it holds the folder photos")
    assert (mine / "photos").is_dir()
    assert path.is_dir()


def test_a_study_with_something_else_in_it_is_refused(results: Path) -> None:
    study = Study(results / "made" / "scaling-admm-target-1").runs({1: [1.0]})
    (study.path / "notes").mkdir()
    refused(study.path, "it holds notes, which is no run")


def test_one_wrong_name_and_nothing_is_removed(results: Path) -> None:
    path = run(results / "made" / "admm-p1-s0")
    with pytest.raises(UserError, match="nowhere"):
        plan([str(path), "nowhere"])
    assert path.is_dir()


def test_links_are_never_followed(results: Path, tmp_path: Path) -> None:
    path = run(results / "made" / "admm-p1-s0")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("mine")
    link = results / "made" / "link"
    link.symlink_to(path)
    refused(link, "this is a link")
    (path / "weights.npz").symlink_to(precious / "data")
    (path / "checkpoint").symlink_to(precious)
    (removal,) = plan([str(path)])
    remove([removal])
    assert not path.exists()
    assert (precious / "data").read_text() == "mine"


def test_a_link_on_the_way_is_fine(results: Path, tmp_path: Path) -> None:
    path = run(results / "made" / "admm-p1-s0")
    (tmp_path / "link").symlink_to(results)
    remove(plan([str(tmp_path / "link" / "made" / "admm-p1-s0")]))
    assert not path.exists()


@pytest.mark.parametrize("link", ["", "made"])
def test_what_a_link_leads_to_stays_for_new_runs(results: Path, tmp_path: Path, link: str) -> None:
    disk, place = tmp_path / "disk", results / link
    disk.mkdir()
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(disk)
    path = run(results / "made" / "admm-p1-s0")
    remove(plan(["made/admm-p1-s0"]))
    assert not path.exists()
    assert place.is_symlink()
    assert list(disk.iterdir()) == []


def test_a_run_that_goes_on_is_refused(results: Path) -> None:
    path = run(results / "made" / "admm-p1-s0")
    with held(path):
        refused(path, "going on in another process")
    (removal,) = plan([str(path)])
    with held(path), pytest.raises(UserError, match="going on"):  # begun while the user was being asked
        remove([removal])
    assert (path / "config.yaml").is_file()
    remove([removal])


def test_a_study_at_work_is_refused_between_its_runs_too(results: Path) -> None:
    study = Study(results / "made" / "scaling-admm-target-1").runs({1: [1.0]})
    with locked(study.path, "running", print):
        refused(study.path, "this study is going on")
    with locked(study.path / "p2", "running", print):
        refused(study.path, "this study is going on")
    with held(study.path / "admm-p1-s0"):
        refused(study.path, "going on in another process")
    assert plan([str(study.path)])


def test_a_run_of_a_job_that_waits_or_runs_is_refused(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run(results / "made" / "admm-p1-s0")
    job = results / "made" / "job-1"
    job.mkdir()
    (job / jobs.RECORD).write_text(json.dumps({"job": "17"}))
    (job / jobs.RUNS).write_text(f"{path.absolute()}\n")
    monkeypatch.setattr(jobs.Job, "status", lambda self, known: ("running", "job 17 runs"))
    refused(path, "job 17 runs; end it first: admmctl cancel 17")
    monkeypatch.setattr(jobs.Job, "status", lambda self, known: ("ended", "job 17 ended with exit code 0"))
    assert plan([str(path)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_a_folder_that_may_not_be_changed(results: Path) -> None:
    path = run(results / "made" / "admm-p1-s0")
    removals = plan([str(path)])
    (results / "made").chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot be removed"):
            remove(removals)
    finally:
        (results / "made").chmod(0o700)
    assert yaml.safe_load((path / "config.yaml").read_text())["name"] == "made"
