"""Studies by jobs: scaling, sweeps and figures are handed in, waited for, gone on with, by a Slurm of programs."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.shell import TINY, Shell
from support.slurm import FakeSlurm

from admmctl.papers import make
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.entry import Quick
from admmctl.runs.recorded import Recorded

SWEPT = """\
name: swept
data: {name: swissroll, rows: 200}
network: {layers: [6]}
loss: squared
methods: {gd: {}, sgd: {batch: 32}}
stop: {iterations: 10}
sweep: {search: grid, space: {gd: {learning_rate: [0.01, 0.1, 0.3]}}}
"""
SWEEP = ("sweep", "swept.yaml", "--launcher", "sbatch", "--jobs")


@pytest.fixture
def experiment_files() -> dict[str, str]:
    return {"tiny.yaml": TINY, "swept.yaml": SWEPT}


def scripts(slurm: FakeSlurm) -> list[str]:
    """What was handed in."""
    return [Path(call[-1]).read_text() for call in slurm.calls("sbatch")]


def words(script: str) -> list[str]:
    """The command line of a job, from the name of the command on."""
    line = shlex.split(script.partition("\nexec ")[2].replace("\\\n", " "))
    return line[line.index("admmctl") + 1 :]


def directive(script: str, key: str) -> str | None:
    found = [line.partition("=")[2] for line in script.splitlines() if line.startswith(f"#SBATCH --{key}=")]
    return found[0] if found else None


# --- scaling


@pytest.mark.usefixtures("small_peaks")
def test_a_scaling_study_is_a_job_per_core_count(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    slurm.act()
    study = ["scaling", "tiny.yaml", "--cores", "1,2", "--repeat", 1, "--iterations", 3, "--launcher", "sbatch"]
    dry = shell(*study, "--dry-run")
    assert (dry.code, dry.out.count("#!/bin/bash"), slurm.calls("sbatch")) == (0, 2, [])
    handed_in = shell(*study, "--oversubscribe", "--json")
    assert handed_in.code == 0, handed_in.err
    assert [row["ranks"] for row in handed_in.json()["runs"]] == [1, 2]
    assert ["--part 1 " in scripts(slurm)[0], "--part 2 " in scripts(slurm)[1]] == [True, True]
    answer = shell("wait", "tiny", "--json")
    assert answer.code == 0, answer.err
    assert sorted(run["ranks"] for run in answer.json()["runs"]) == [1, 2]
    (folder,) = (results / "tiny").glob("scaling-*")
    assert set(json.loads((folder / "study.json").read_text())["machine"]) == {"1", "2"}


# --- sweep


def best(results: Path) -> Any:
    return yaml.safe_load((results / "swept" / "sweep-gd" / "best.yaml").read_text())


def test_jobs_share_the_trials_of_a_sweep_and_the_last_one_trains_the_winner(
    shell: Shell, results: Path, slurm: FakeSlurm
) -> None:
    slurm.act()
    answer = shell(*SWEEP, 2, "--json")
    assert answer.code == 0, answer.err
    assert [Path(row["folder"]).name for row in answer.json()["runs"]] == [
        "job-sweep-gd-1-of-2", "job-sweep-gd-2-of-2", "job-sweep-gd",
    ]  # fmt: skip
    found = scripts(slurm)
    assert [directive(script, "dependency") for script in found] == [None, None, "afterany:100:101"]
    made = [[run.name[:9] for run in map(Path, (folder / "runs.txt").read_text().split())] for folder in (
        results / "swept" / "job-sweep-gd-1-of-2", results / "swept" / "job-sweep-gd-2-of-2",
    )]  # fmt: skip
    assert made == [["trial-000", "trial-002"], ["trial-001"]]
    (last,) = (results / "swept" / "job-sweep-gd" / "runs.txt").read_text().split()
    assert Path(last).parent == results / "swept"  # the winner's run, and no trial
    waited = shell("wait", "swept")
    assert waited.code == 0, waited.err
    chosen = best(results)["methods"]["gd"]["learning_rate"]

    # The same sweep here finds all trials done, and chooses the same.
    before = {path: path.stat().st_mtime_ns for path in results.rglob("trial-*/*")}
    here = shell("sweep", "swept.yaml", "--json")
    assert here.json()["best"]["settings"] == {"learning_rate": chosen}
    assert {path: path.stat().st_mtime_ns for path in results.rglob("trial-*/*")} == before

    # And as jobs, only the last one is left to do.
    assert shell(*SWEEP, 2).code == 0
    assert len(scripts(slurm)) == 4
    assert (directive(scripts(slurm)[3], "dependency"), "--part" in words(scripts(slurm)[3])) == (None, False)


def test_the_last_job_does_what_others_have_left(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    assert shell(*SWEEP, 3).code == 0
    (share,) = (results / "swept").glob("job-sweep-gd-2-*")
    line = words((share / "job.sh").read_text())
    answer = shell(*line, "--json")
    assert answer.code == 0, answer.err
    assert (answer.code, answer.json()["part"]) == (0, "2/3")
    assert [trial["number"] for trial in answer.json()["trials"]] == [1]
    assert not (results / "swept" / "sweep-gd" / "trials.csv").exists()
    assert shell(*words((results / "swept" / "job-sweep-gd" / "job.sh").read_text())).code == 0
    assert {Recorded(path).status for path in results.rglob("trial-*") if path.is_dir()} == {"exhausted"}
    assert best(results)["name"] == "swept"


def test_jobs_of_a_sweep_say_all_that_was_asked_for(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    Path("site.yaml").write_text("{name: site, launch: {time: '30', methods: {gd: {time: '90'}}}}")
    arguments = [*SWEEP, 2, "--ranks", 4, "--trials", 2, "--cluster", "site.yaml", "--set", "stop.iterations=5"]
    dry = shell(*arguments, "--dry-run", "--json")
    assert (dry.code, slurm.calls("sbatch"), results.exists()) == (0, [], False)
    assert shell(*arguments).code == 0
    assert len(dry.json()["scripts"]) == len(scripts(slurm)) == 3
    for script, part in zip(scripts(slurm), ("1/2", "2/2", None), strict=True):
        assert (directive(script, "ntasks"), directive(script, "time")) == ("4", "90")
        line = words(script)
        given = dict(zip(line[2::2], line[3::2], strict=True))
        assert given == {
            "--method": "gd", "--trials": "2", "--ranks": "4", **({"--part": part} if part else {}),
            "--set": "stop.iterations=5", "--cluster": str(Path("site.yaml").absolute()),
        }  # fmt: skip


def test_one_job_does_a_whole_sweep(shell: Shell, slurm: FakeSlurm) -> None:
    assert shell(*SWEEP, 1).code == 0
    assert [words(script)[0] for script in scripts(slurm)] == ["sweep"]
    assert "--part" not in words(scripts(slurm)[0])


def test_what_is_wrong_with_a_sweep_is_told_before_it_is_handed_in(shell: Shell, slurm: FakeSlurm) -> None:
    assert "run: admmctl fetch mnist" in shell.refusal(*SWEEP, 2, "--set", "data={name: mnist}")
    assert "--cores are those of this machine" in shell.refusal(*SWEEP[:-1], "--cores", 2)
    assert "151 ranks for 135 training rows" in shell.refusal(*SWEEP, 2, "--ranks", 151, "--set", "data.test=0.25")
    assert "add --launcher sbatch" in shell.refusal("sweep", "swept.yaml", "--dry-run")
    assert slurm.calls("sbatch") == []


# --- figures

LITTLE = ("data.rows=300", "network.layers=[5]", "stop.iterations=3")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of an illustration, a figure of runs, a scaling study, and one whose data is not here."""
    tiny = replace(
        CATALOGUE["taylor-1b"], name="trident-6-left", config="swissroll", methods=("admm",), alone=(),
        reported=(), quick=Quick("300 rows", LITTLE),
    )  # fmt: skip
    study = replace(
        CATALOGUE["taylor-1a"], config="swissroll", methods=("admm",), alone=(), reported=(), changes=(),
        quick=Quick(), cores=(1, 64, 256),
    )  # fmt: skip
    absent = CATALOGUE["taylor-2b"]
    entries = {"neuron": CATALOGUE["neuron"], "trident-6-left": tiny, "taylor-1a": study, "taylor-2b": absent}
    monkeypatch.setattr(make, "CATALOGUE", entries)


def test_a_figure_is_a_job_that_makes_its_runs_and_draws_it(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    # A quick figure of the catalogue itself: the job is a process of its own.
    arguments = ["figures", "trident-6-left", "--launcher", "sbatch"]
    answer = shell(*arguments)
    assert answer.code == 0, answer.err
    (script,) = scripts(slurm)
    assert words(script) == ["figures", "trident-6-left", "--scale", "quick"]
    (folder,) = results.glob("*/job-figures-trident-6-left")
    assert not (folder / "experiment.yaml").exists()
    assert not (results / "figures").exists()


@pytest.mark.usefixtures("few")
def test_the_line_of_a_figures_job_draws_it(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    assert shell("figures", "trident-6-left", "--launcher", "sbatch", "--output", "drawn").code == 0
    assert shell(*words(scripts(slurm)[0])).code == 0
    assert sorted(path.suffix for path in Path("drawn").iterdir()) == [".csv", ".json", ".pdf", ".png"]


@pytest.mark.usefixtures("few")
def test_jobs_of_figures_are_as_large_as_these_ask_for_and_no_larger_than_they_may(
    shell: Shell, slurm: FakeSlurm
) -> None:
    def sizes(*arguments: object) -> list[str | None]:
        dry = shell(
            "figures", "taylor-1a", "--launcher", "sbatch", "--scale", "full", "--dry-run", "--json", *arguments
        )
        return [directive(script, "ntasks") for script in dry.json()["scripts"]]

    assert sizes() == ["256"]
    assert sizes("--cores", 100) == ["64"]
    assert sizes("--cores", 1000) == ["256"]


@pytest.mark.usefixtures("few")
def test_of_all_figures_those_that_need_runs_and_have_data_are_jobs(shell: Shell, slurm: FakeSlurm) -> None:
    answer = shell("figures", "--all", "--launcher", "sbatch", "--json")
    assert answer.code == 0
    labels = [Path(row["folder"]).name for row in answer.json()["runs"]]
    assert labels == ["job-figures-trident-6-left", "job-figures-taylor-1a"]
    assert "left out: neuron needs no job" in answer.err
    assert "skipped: taylor-2b; fetch the rest with: admmctl fetch higgs\n" in answer.err
    dry = shell("figures", "taylor-2b", "--launcher", "sbatch", "--dry-run")
    assert (dry.code, dry.out.startswith("#!/bin/bash")) == (0, True), "it needs no data"


@pytest.mark.usefixtures("few")
def test_figures_that_cannot_be_jobs_are_refused(shell: Shell, results: Path, slurm: FakeSlurm) -> None:
    for arguments, message in {
        "neuron --launcher sbatch": "none of these figures is made of runs",
        "taylor-2b --launcher sbatch": "taylor-2b: dataset higgs is not in",
        "neuron --dry-run --launcher sbatch": "none of these figures is made of runs",
        "neuron --cores 0": "--cores 0: expected 1 or more",
        "neuron --launcher bsub": "--launcher bsub: valid: auto, inline",
        "neuron --hosts h1;2": "is no host",
        "neuron --cluster nowhere": "unknown machine 'nowhere'",
    }.items():
        assert message in shell.refusal("figures", *arguments.split())
    assert (slurm.calls("sbatch"), results.exists()) == ([], False)
