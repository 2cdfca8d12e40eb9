"""``scaling`` and ``scaling-plot`` on the command line, really run on a small Swiss roll."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.processes import at_start, before_each, small_peaks, wait_until
from support.shell import CONFIGS, Shell, real_shell
from support.studies import SMALL, Law, Study, machine

from admmctl.cli import main
from admmctl.launch.local import available_cores
from admmctl.runs.recorded import Recorded
from admmctl.studies import scaling as module

pytestmark = pytest.mark.mpi

CONFIG = """\
name: rolled
data: {name: swissroll, rows: 4000}
network: {layers: [10]}
loss: squared
methods: {admm: {}, gd: {learning_rate: 0.2}}
stop: {iterations: 3}
"""
COMMAND = ("scaling", "rolled.yaml", "--cores", "1,2", "--repeat", "2", "--oversubscribe")
RUNS = [f"admm-p{cores}-s{seed}" for cores in (1, 2) for seed in (0, 1)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The results of a study, and what its command printed; all real but the size of what measures the machine."""
    folder = tmp_path_factory.mktemp("rolled")
    (folder / "rolled.yaml").write_text(CONFIG)
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(folder / "results"))
        patch.chdir(folder)
        small_peaks(folder, patch)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main([*COMMAND, "--json"])
    assert end.value.code in (0, None), err.getvalue()
    return folder / "results", out.getvalue(), err.getvalue()


@pytest.fixture
def experiment_files() -> dict[str, str]:
    return {"rolled.yaml": CONFIG}


@pytest.fixture
def study(shell: Shell, results: Path, first: tuple[Path, str, str]) -> Path:
    """A copy of that study, to go on with."""
    shutil.copytree(first[0], results)
    (folder,) = results.glob("rolled/scaling-*")
    return folder


@contextmanager
def only_these_change(study: Path, *runs: str) -> Iterator[None]:
    """Within the block the files of these runs are written anew, and of no others."""

    def written() -> dict[str, int]:
        found = {run: (study / run).glob("*") for run in RUNS}
        return {run: max((path.stat().st_mtime_ns for path in files), default=0) for run, files in found.items()}

    before = written()
    yield
    after = written()
    assert {run for run in RUNS if after[run] != before[run]} == set(runs)


def in_the_way(place: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """From now on, every rank of a job does this before every iteration."""
    at_start(place, monkeypatch, before_each("admmctl.runs.loop.Loop._step", action))


def strict(text: str) -> Any:
    """One JSON document, without values that JSON does not have."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


# --- a study


def test_a_study_in_json_is_one_document_and_people_read_standard_error(first):
    results, out, err = first
    document = strict(out)
    folder = Path(document["study"])
    assert folder.parent == results / "rolled"
    assert (document["goal"], document["iterations"], document["target"]) == ("iterations", 3, None)
    one, two = document["points"]
    assert (one["cores"], two["cores"]) == (1, 2)
    for point in (one, two):
        assert (point["runs"], point["rows"], point["iterations"]) == (2, 3000, [3, 3])
        assert all(seconds > 0 for seconds in point["seconds"])
    assert two["speed_up"] == pytest.approx(one["median_s"] / two["median_s"])
    assert two["efficiency"] == pytest.approx(two["speed_up"] / 2)
    assert two["shared"] == (available_cores() < 2)
    assert [left["cores"] for left in document["model"]["held_out"]] == [2]
    for word in (str(folder), "measuring", "run 1 of 4: 1 core, seed 0", "run 4 of 4: 2 cores, seed 1"):
        assert word in err


def test_runs_of_a_study_are_runs_like_any_other(shell, study):
    assert sorted(path.name for path in study.iterdir() if path.is_dir()) == RUNS
    assert json.loads((study / "study.json").read_text())["kind"] == "scaling"
    listed = shell("runs", "list", study, "--json").json()["runs"]
    assert [Path(run["folder"]).name for run in listed] == RUNS
    assert [run["seed"] for run in listed] == [0, 1, 0, 1]
    shown = shell("runs", "show", study)
    assert shown.code == 0
    assert all(run in shown.out for run in RUNS)
    assert shell("accuracy-plot", study, "--output", "figure").code == 0
    compared = shell("runs", "compare", study, "--json").json()["methods"]
    assert [(row["ranks"], row["runs"]) for row in compared] == [(1, 2), (2, 2)]
    assert shell("runs", "list", "--json").json()["runs"] == []  # an experiment's runs are not its studies'
    for run in RUNS:
        assert "admmctl train" in Recorded(study / run).summary.rerun
        assert len(Recorded(study / run).curve) == 2  # evaluated at the start and at the end only
        config = yaml.safe_load((study / run / "config.yaml").read_text())
        assert config["stop"] == {"metric": "test_accuracy", "iterations": 3}


@pytest.mark.usefixtures("terminal")
def test_a_second_time_runs_nothing_and_says_the_same(shell, study, first):
    with only_these_change(study):
        document = shell(*COMMAND, "--json").json()
    assert {**document, "study": ""} == {**json.loads(first[1]), "study": ""}
    answer = shell(*COMMAND)
    assert answer.code == 0
    assert max(map(len, answer.out.splitlines())) <= 80
    for word in ("cores", "speed-up", "efficiency", "held-out", "Medians"):
        assert word in answer.out


def test_a_run_that_breaks_is_named_and_run_again(shell, study, monkeypatch):
    run = study / "admm-p2-s0"
    (run / "summary.json").unlink()
    with only_these_change(study, "admm-p2-s0"):
        with monkeypatch.context() as patch:
            in_the_way(shell.folder, patch, "raise RuntimeError('the moon is in the way')")
            broken = shell(*COMMAND)
        assert (broken.code, broken.out) == (1, "")
        assert "the moon is in the way" in broken.err
        assert str(run) in broken.err
        assert Recorded(run).status == "failed"
        document = shell(*COMMAND, "--json").json()
    assert [point["runs"] for point in document["points"]] == [2, 2]


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on_within_the_run(shell, study, monkeypatch):
    run = study / "admm-p2-s1"
    unbroken = without_times(Recorded(run).curve)
    shutil.rmtree(run)
    with only_these_change(study, "admm-p2-s1"):
        with monkeypatch.context() as patch:
            in_the_way(shell.folder, patch, "time.sleep(0.5)")
            process = real_shell(*COMMAND)
            try:
                assert wait_until(lambda: bool(Recorded(run).curve))
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=15)
            finally:
                process.kill()
                process.communicate()
        assert (process.returncode, out) == (3, "")
        assert "the same command goes on from here" in err
        assert "Traceback" not in err
        assert Recorded(run).status == "interrupted"
        stopped_at = Recorded(run).summary.iterations
        assert 0 < stopped_at < 3
        answer = shell(*COMMAND)
        assert answer.code == 0
        assert f"going on from the checkpoint of iteration {stopped_at}\n" in answer.err
    assert without_times([Recorded(run).curve[0], Recorded(run).curve[-1]]) == unbroken


def without_times(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in curve]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
def test_ranks_that_share_a_core_are_counted_by_processor_time(shell, monkeypatch):
    monkeypatch.setattr(
        module, "on_cores", lambda run, rows, repeat, options, say: SMALL if rows else machine(options.cores)
    )
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert "this machine has 1 core;" in shell.refusal("scaling", "rolled.yaml", "--cores", "1,2")
        answer = shell(*COMMAND[:4], "--repeat", 1, "--oversubscribe", "--json")
    finally:
        os.sched_setaffinity(0, cores)
    assert answer.code == 0, answer.err
    document = answer.json()
    one, two = document["points"]
    assert (one["shared"], two["shared"]) == (False, True)
    run = Path(document["study"]) / "admm-p2-s0"
    cpu, wall = Recorded(run).cpu, Recorded(run).phases
    own = sum(cpu[name]["max_s"] for name in cpu if name not in ("load", "evaluate", "reduce", "solve"))
    assert two["median_s"] == pytest.approx(own + cpu["solve"]["max_s"], rel=1e-6)
    assert wall  # the other clock is kept as well
    assert document["model"]["law"] is None
    assert any("processor time" in warning for warning in document["warnings"])


# --- several methods


def test_several_methods_are_tuned_timed_and_compared(shell, results, monkeypatch):
    small_peaks(shell.folder, monkeypatch)
    command = ["scaling", "rolled.yaml", "--method", "gd,adam", "--cores", "1,2", "--to-target", "--repeat", 1]
    command += ["--set", "methods.adam={batch: 500, learning_rate: 0.1}", "--set", "stop={epochs: 3, target: 0.5}"]
    command += ["--trials", 2, "--oversubscribe", "--json"]
    answer = shell(*command)
    assert answer.code == 0, answer.err
    document = strict(answer.out)
    assert [study["method"] for study in document["studies"]] == ["gd", "adam"]
    (together,) = document["comparisons"]
    assert (together["experiment"], together["metric"], together["target"]) == ("rolled", "test_accuracy", 0.5)
    assert [(each["method"], each["batch"]) for each in together["studies"]] == [("gd", None), ("adam", 500)]
    for crossing in document["crossings"]:
        assert {"method", "rival", "cores", "low", "high", "verdict", "text"} <= set(crossing)
    assert "gd: trial 2 of 2, learning_rate=" in answer.err
    assert sorted(path.name for path in (results / "rolled").glob("trials-*")) == [
        "trials-adam-to-0.5",
        "trials-gd-to-0.5",
    ]
    again = shell(*command)
    assert strict(again.out)["crossings"] == document["crossings"]
    assert "run 1 of" not in again.err


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ("--method admm,amdm", ["unknown method 'amdm'", "did you mean 'admm'"]),
        ("--method admm --batches 32", ["admm reads all rows", "no batch size"]),
        ("--method admm,gd --cores 2", ["one point"]),
        ("--method admm,gd --launcher sbatch", ["--launcher sbatch with several methods", "inside an allocation"]),
        ("--method admm,gd --part 1", ["--part with several methods"]),
        ("--method admm,gd --dry-run", ["--dry-run"]),
        ("--trials 3", ["--trials tunes several methods"]),
        ("--method admm,gd", ["no target"]),
    ],
)
def test_several_methods_that_make_no_sense_are_refused(shell, results, arguments, texts):
    cores = [] if "--cores" in arguments else ["--cores", "1,2"]
    message = shell.refusal("scaling", "rolled.yaml", *cores, *arguments.split())
    for word in texts:
        assert word in message, message
    assert not results.exists()


# --- scaling-plot


@pytest.fixture
def laws(shell: Shell, results: Path) -> Path:
    """Two studies whose crossing is known: 1.02 + 40 s / p against 2 + 20 s / p, as rows divide."""
    for law in (
        Law("graph-admm", (100,) * 6, fixed=1.02e-2, per_row=40 / 3e5),
        Law("sgd", (1000,) * 6, fixed=2e-3, per_row=2e-5, batch=1000),
    ):
        law.write(results / "crossed")
    return results / "crossed"


@pytest.mark.usefixtures("quick")
def test_studies_to_one_target_are_drawn_together_with_their_crossing(shell, laws):
    answer = shell("scaling-plot", laws, "--json")
    assert answer.code == 0, answer.err
    document = strict(answer.out)
    (crossing,) = document["crossings"]
    assert crossing == {
        "experiment": "crossed",
        "metric": "test_accuracy",
        "target": 0.9,
        "machine": None,
        "method": "graph-admm",
        "rival": "sgd",
        "cores": 21,
        "low": 21,
        "high": 21,
        "verdict": "graph-admm overtakes sgd at 21 cores (21 to 21)",
        "text": "graph-admm overtakes sgd at 21 cores (21 to 21)",
    }
    assert document["figures"][-2:] == [f"{laws / 'crossings-test-accuracy-0.9'}.{end}" for end in ("png", "pdf")]
    assert all(Path(path).is_file() for path in document["figures"])
    assert len(document["figures"]) == 14
    text = shell("scaling-plot", laws, "--output", "both", "--rows", 30_000)
    assert text.code == 0, text.err
    assert "graph-admm overtakes sgd at" in text.out
    assert "modelled for 30,000 training rows" in text.out
    assert text.out.splitlines()[-2:] == ["both.png", "both.pdf"]


@pytest.mark.usefixtures("quick")
def test_on_another_machine_the_crossing_is_of_that(shell, laws):
    document = shell("scaling-plot", laws, "--machine", CONFIGS / "clusters/cray-xc30.yaml", "--json").json()
    assert document["crossings"][0]["machine"] == "cray-xc30"
    assert document["comparisons"][0]["machine"] == "cray-xc30"
    assert any(path.endswith("crossings-test-accuracy-0.9-cray-xc30.png") for path in document["figures"])


def test_a_target_that_nobody_met_is_refused(shell, results):
    for name in ("admm", "sgd"):
        Law(name, (None, None), 1e-3, 1e-4).write(results / "missed")
    message = shell.refusal("scaling-plot", "missed", "--json")
    assert "nobody met the target, test accuracy 0.9 (admm, sgd)" in message
    assert figures(shell.folder) == []
    assert "--rows 0" in shell.refusal("scaling-plot", "missed", "--rows", 0)


@pytest.mark.usefixtures("quick")
def test_a_study_is_drawn_and_shown_also_beside_an_unfinished_one(shell, study, results):
    answer = shell("scaling-plot", "rolled")
    assert (answer.code, answer.err) == (0, "")
    figures = [Path(line) for line in answer.out.splitlines() if line.endswith((".png", ".pdf"))]
    assert [path.name for path in figures] == [
        f"{study.name}-{name}.{suffix}" for name in ("seconds", "speedup", "phases") for suffix in ("png", "pdf")
    ]
    assert all(path.is_file() and path.parent == study.parent for path in figures)
    assert "speed-up" in answer.out
    assert "held-out" in answer.out
    Study(results / "rolled" / "scaling-gd-3it-abc123").run(1, 4.0)
    both = shell("scaling-plot")
    assert both.code == 0, both.err
    assert study.name in both.out
    assert "scaling-gd-3it-abc123" in both.err


@pytest.mark.usefixtures("quick")
def test_all_studies_are_drawn_in_one_json_document(shell, study, results):
    Study(results / "made" / "scaling-admm-target-abc123").runs({1: [4.0], 2: [None]})
    answer = shell("scaling-plot", "--json")
    assert answer.err == ""
    document = strict(answer.out)
    assert [found["experiment"] for found in document["studies"]] == ["made", "rolled"]
    assert len(document["figures"]) == 12
    assert all(Path(path).is_file() for path in document["figures"])
    missed = document["studies"][0]["points"][1]
    assert (missed["median_s"], missed["seconds"], missed["speed_up"]) == (None, [None], None)


def figures(folder: Path) -> list[Path]:
    return sorted([*folder.rglob("*.png"), *folder.rglob("*.pdf")])


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["nowhere"], ["nowhere", "there is no such study"]),
        (["rolled.yaml"], ["no scaling study in rolled.yaml"]),
        (["rolled", "made", "--output", "figure"], ["--output", "these are 2"]),
        (["rolled", "--machine", "cray"], ["unknown machine 'cray'"]),
        (["rolled", "--machine", "rolled.yaml"], ["rolled.yaml"]),
        (["rolled", "--output", "nowhere/figure"], ["cannot be written"]),
        (["rolled", "half"], ["half", "one point"]),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(shell, results, arguments, texts):
    Study(results / "rolled" / "scaling-admm-target-abc123").runs({1: [4.0], 2: [2.0]})
    Study(results / "made" / "scaling-admm-target-abc123").runs({1: [4.0], 2: [2.0]})
    Study(results / "half" / "scaling-admm-target-abc123").runs({1: [4.0]})
    message = shell.refusal("scaling-plot", *arguments)
    for word in texts:
        assert word in message, message
    assert figures(shell.folder) == []


def test_without_studies_it_says_how_to_make_one(shell):
    assert "admmctl scaling CONFIG --cores 1,2" in shell.refusal("scaling-plot", "--json")


# --- what is refused: tests/unit/test_scaling.py has the rest


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "--cores"),
        ("--cores 2 --json", "one point"),
        ("--cores 1,999", "--cores 999"),
        ("--cores 1,2 --repeat 0", "--repeat 0"),
        ("--cores 1,2 --repeat some --json", "--repeat"),
        ("--cores 1,2 --iterations 3 --to-target", "and --to-target"),
        ("--cores 1,2 --method all", "--method all"),
        ("--cores 1,2 --set netwrk=1", "did you mean 'network'"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(shell, results, arguments, text):
    assert text in shell.refusal("scaling", "rolled.yaml", *arguments.split())
    assert not results.exists()
