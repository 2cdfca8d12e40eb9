"""The one reader of run folders: what is sound is read, what is damaged is named with the reason."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.recorded_runs import write_run

from admmctl.errors import UserError
from admmctl.runs.places import find
from admmctl.runs.reading import CURVE_COLUMNS
from admmctl.runs.record import RunFolder
from admmctl.runs.recorded import EVERYTHING, Recorded

HEADING = ",".join(CURVE_COLUMNS)
CONFUSION = {"classes": [0, 1], "final": [[3, 1], [0, 4]]}


@pytest.fixture
def run(results: Path) -> Path:
    """A sound run with every file that there is."""
    folder = write_run(results)
    (folder / "cpu.csv").write_text("phase,max_s,mean_s,min_s\nproduct,1.0,1.0,1.0\n")
    (folder / "confusion.json").write_text(json.dumps(CONFUSION))
    assert Recorded(folder).damage(EVERYTHING) is None
    return folder


def summary_with(**changes: Any) -> Any:
    """How a run's summary is changed; a value of ... takes the key out."""

    def change(folder: Path) -> None:
        path = folder / "summary.json"
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))

    return change


def content(name: str, text: str | bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def config_with(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "config.yaml"
        found = yaml.safe_load(path.read_text()) | changes
        path.write_text(yaml.safe_dump({key: value for key, value in found.items() if value is not ...}))

    return change


def replaced(name: str, made: Callable[[Path], object]) -> Any:
    """The file gives way to what ``made`` makes in its place."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        made(folder / name)

    return change


DAMAGED: list[tuple[str, Any, str]] = [
    *((name, replaced(name, Path.mkdir), "it is not a file") for name in EVERYTHING),
    ("summary.json", replaced("summary.json", os.mkfifo), "it is not a file"),
    (
        "curve.csv",
        replaced("curve.csv", lambda path: path.symlink_to(path.name)),
        "it cannot be read: Too many levels of symbolic links",
    ),
    *((name, content(name, b"\xff\xfe\x00"), "it is not text in UTF-8") for name in EVERYTHING),
    *((name, content(name, '{"status": "rea'), "it is not JSON") for name in EVERYTHING if name.endswith("json")),
    *(
        (name, content(name, text), f"expected keys and values, found {json.loads(text)!r}")
        for name in EVERYTHING
        if name.endswith("json")
        for text in ("[]", "5", "null", '"abc"')
    ),
    ("summary.json", content("summary.json", ""), "it is not JSON"),
    ("summary.json", content("summary.json", "[" * 100_000), "it is not JSON"),
    ("summary.json", content("summary.json", '{"status": "failed", "reason": "", "iterations": 0}'), "it lacks"),
    ("summary.json", summary_with(ranks=...), "it lacks ranks"),
    ("summary.json", summary_with(ranks="two"), "ranks: expected a whole number, found 'two'"),
    ("summary.json", summary_with(seed=True), "seed: expected a whole number, found True"),
    ("summary.json", summary_with(iterations=1.5), "iterations: expected a whole number, found 1.5"),
    ("summary.json", summary_with(iterations=None), "iterations: expected a whole number, found None"),
    ("summary.json", summary_with(train_s="1.0"), "train_s: expected a number or null, found '1.0'"),
    ("summary.json", summary_with(train_s=float("nan")), "train_s: expected a number or null, found nan"),
    ("summary.json", summary_with(target=float("inf")), "target: expected a number or null, found inf"),
    ("summary.json", summary_with(target=10**400), "target: expected a number or null, found 10000"),
    ("summary.json", summary_with(final_test_accuracy=[0.5]), "final_test_accuracy: expected a number or null"),
    ("summary.json", summary_with(best_test_accuracy={}), "best_test_accuracy: expected a number or null"),
    ("summary.json", summary_with(rows_train="all"), "rows_train: expected a whole number or null"),
    ("summary.json", summary_with(threads_per_rank=[1]), "threads_per_rank: expected a whole number or null"),
    ("summary.json", summary_with(status="finished"), "status: expected one of reached, exhausted"),
    ("summary.json", summary_with(status=["reached"]), "status: expected one of reached, exhausted"),
    ("summary.json", summary_with(method=3), "method: expected a line of text, found 3"),
    ("summary.json", summary_with(experiment=None), "experiment: expected a line of text, found None"),
    ("summary.json", summary_with(metric="two\nlines"), "metric: expected a line of text"),
    ("summary.json", summary_with(reason="half \ud800"), "reason: expected text"),
    ("summary.json", summary_with(rerun=3), "rerun: expected a command line, found 3"),
    ("curve.csv", content("curve.csv", "iteration,epoch\n1,2\n"), "line 1: expected iteration, epoch, train_s"),
    *(
        ("curve.csv", content("curve.csv", text), "line 1: expected iteration")
        for text in ("\n\n", "iteration\n1,2,3\n", "a,b\nx,y\n", "a\n\0\n")
    ),
    ("curve.csv", content("curve.csv", f"{HEADING}\n0,0,0,0,1,0.5,abc\n"), "line 2: could not convert"),
    (
        "curve.csv",
        content("curve.csv", f"{HEADING}\n0,0,0,0,1,1,1\n0,0,0\n"),
        "line 3: expected 7 numbers",
    ),
    ("curve.csv", content("curve.csv", f"{HEADING}\n0,0,nan,0,1,1,1\n"), "line 2: train_s is nan"),
    ("curve.csv", content("curve.csv", f"{HEADING}\ninf,0,0,0,1,1,1\n"), "line 2: iteration is inf"),
    ("phases.csv", content("phases.csv", ""), "line 1: expected phase, max_s, mean_s, min_s"),
    ("phases.csv", content("phases.csv", "phase,max_s\nproduct,1.0\n"), "line 1: expected phase"),
    ("phases.csv", content("phases.csv", "phase,max_s,mean_s,min_s\nproduct,1.0"), "line 2: expected 3 numbers"),
    ("phases.csv", content("phases.csv", "phase,max_s,mean_s,min_s\np,a,1,1\n"), "line 2: could not convert"),
    ("cpu.csv", content("cpu.csv", "phase,max_s,mean_s,min_s\np,nan,1,1\n"), "line 2: max_s is nan"),
    ("cpu.csv", content("cpu.csv", f"phase,max_s,mean_s,min_s\n{'p' * 200_000},1,1,1\n"), "it is not CSV"),
    ("environment.json", content("environment.json", '{"cpu": 3}'), "cpu: expected a list of names, found 3"),
    ("environment.json", content("environment.json", '{"cpu": [3]}'), "cpu: expected a list of names, found [3]"),
    ("environment.json", content("environment.json", '{"cores": "2"}'), "cores: expected a whole number"),
    ("environment.json", content("environment.json", '{"hosts": {}}'), "hosts: expected a list of names"),
    ("environment.json", content("environment.json", '{"data_sha256": []}'), "data_sha256: expected a checksum"),
    ("config.yaml", lambda folder: (folder / "config.yaml").unlink(), "it is not there"),
    ("config.yaml", content("config.yaml", "data: [1\n"), "it is not the YAML of a run"),
    ("config.yaml", content("config.yaml", ""), "expected the blocks data, network, methods"),
    ("config.yaml", content("config.yaml", "- a list\n"), "expected the blocks data, network, methods"),
    ("config.yaml", content("config.yaml", "\0"), "it is not the YAML of a run"),
    ("config.yaml", config_with(data=...), "expected the blocks data, network, methods"),
    ("config.yaml", config_with(network=[3]), "expected the blocks data, network, methods"),
    ("config.yaml", config_with(methods={}), "methods: expected a method and its settings"),
    ("config.yaml", config_with(methods={"admm": 3}), "methods: expected a method and its settings"),
    ("config.yaml", config_with(stop=[1]), "stop: expected keys and values, found [1]"),
    ("config.yaml", config_with(evaluate="often"), "evaluate: expected keys and values, found 'often'"),
    ("config.yaml", content("config.yaml", "data: {seen: 2020-01-01}\n"), "it is not the YAML of a run"),
    ("config.yaml", content("config.yaml", "data: &a {b: *a}\n"), "it is not the YAML of a run"),
    ("confusion.json", content("confusion.json", "{}"), "classes: expected a list, found None"),
    ("confusion.json", content("confusion.json", '{"classes": [0, 1]}'), "final: expected a row for each of 2"),
    (
        "confusion.json",
        content("confusion.json", '{"classes": [0], "final": [[1], [2]]}'),
        "final: expected a row",
    ),
    ("confusion.json", content("confusion.json", '{"classes": [0], "final": [3]}'), "final: expected 1 numbers"),
    ("confusion.json", content("confusion.json", '{"classes": [0], "final": [[1, 2, 3]]}'), "final: expected 1"),
    ("confusion.json", content("confusion.json", '{"classes": [0], "final": [["1"]]}'), "final: expected whole"),
    ("confusion.json", content("confusion.json", '{"classes": [0], "final": [[null]]}'), "final: expected whole"),
]


@pytest.mark.parametrize(
    ("name", "change", "expected"), DAMAGED, ids=[f"{name} {expected}" for name, _, expected in DAMAGED]
)
def test_a_damaged_file_is_named_with_the_reason_and_read_as_nothing(
    run: Path, name: str, change: Any, expected: str
) -> None:
    change(run)
    found = Recorded(run).damage(EVERYTHING)
    assert found is not None
    file, reason = found
    assert file == run / name
    assert reason.startswith(expected)
    assert Recorded(run).damage([other for other in EVERYTHING if other != name]) is None
    read = Recorded(run)
    assert not {
        "summary.json": read.summary,
        "curve.csv": read.curve[1:],  # of a curve, what comes before is kept
        "phases.csv": read.phases,
        "cpu.csv": read.cpu,
        "environment.json": read.environment.facts,
        "config.yaml": read.config,
        "confusion.json": read.confusion,
    }[name]


@pytest.mark.parametrize("name", [name for name in EVERYTHING if name != "config.yaml"])
def test_a_file_that_is_not_there_is_not_damaged(run: Path, name: str) -> None:
    (run / name).unlink()
    assert Recorded(run).damage(EVERYTHING) is None


@pytest.mark.parametrize("keep", range(0, 40, 6))
def test_a_curve_that_a_crash_has_cut_off_is_not_damaged(run: Path, keep: int) -> None:
    line = "1,1.5,0.25,0.5,1.25,0.75,0.875,and more columns of it"
    for text, rows in ((HEADING[:keep], 0), (HEADING, 0), (f"{HEADING}\n0,0,0,0,1,1,1\n{line[:keep]}", 1)):
        (run / "curve.csv").write_text(text)
        assert (Recorded(run).damage(EVERYTHING), len(Recorded(run).curve)) == (None, rows)


def test_the_curve_stands_in_for_a_summary_that_is_not_there(run: Path) -> None:
    (run / "curve.csv").write_text("damaged\n")
    assert Recorded(run).damage(["summary.json"]) is None
    (run / "summary.json").unlink()
    found = Recorded(run).damage(["summary.json"])
    assert found is not None
    assert found[0] == run / "curve.csv"


def test_a_mark_of_byte_order_and_other_line_ends_are_no_damage(run: Path) -> None:
    for name in EVERYTHING:
        (run / name).write_bytes(b"\xef\xbb\xbf" + (run / name).read_bytes().replace(b"\n", b"\r\n"))
    assert Recorded(run).damage(EVERYTHING) is None
    assert len(Recorded(run).curve) == 3


# --- finding runs


@pytest.fixture
def shelf(results: Path) -> Path:
    """Two experiments with three runs, and files beside them that are no runs."""
    for experiment, name in (("one", "admm-p1"), ("one", "admm-p2"), ("two", "admm-p1")):
        RunFolder.create(name, experiment, "")
    (results / "one" / "accuracy.png").write_text("a figure")
    (results / "one" / "notes").mkdir()
    (results / "README.md").write_text("read me")
    return results


ONE, ALL = ["one/admm-p1", "one/admm-p2"], ["one/admm-p1", "one/admm-p2", "two/admm-p1"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ALL),
        (["{}/one/admm-p2"], ["one/admm-p2"]),
        (["{}/one"], ONE),
        (["{}/one/"], ONE),
        (["{}"], ALL),
        (["two"], ["two/admm-p1"]),  # the experiment's name is enough
        (["one/admm-p1"], ["one/admm-p1"]),
        (["{}/one/accuracy.png", "{}/one/admm-p1", "{}/one/admm-p2", "{}/one/notes"], ONE),  # as of a shell's glob
        (["{}/README.md", "{}/one", "{}/two"], ALL),
        (["{}/one", "{}/one/admm-p1"], ONE),  # named twice, found once
    ],
)
def test_names_of_runs_of_experiments_and_of_all_results_find_runs(
    shelf: Path, names: list[str], expected: list[str]
) -> None:
    found = find([name.format(shelf) for name in names] or None)
    assert [str(run.folder.relative_to(shelf)) for run in found] == expected


@pytest.mark.parametrize("name", ["three", "one/admm-p9", "x" * 300, "README.md", "one/notes"])
def test_a_name_that_is_no_run_is_refused_by_name(shelf: Path, name: str) -> None:
    with pytest.raises(UserError, match="admmctl runs list") as caught:
        find([name])
    assert name in str(caught.value)


def test_without_results_nothing_is_found(results: Path) -> None:
    assert find() == []


def test_damaged_runs_are_left_out_and_told(results: Path) -> None:
    good, bad = write_run(results), write_run(results, seed=1)
    (bad / "summary.json").write_text("{")
    left_out: list[Path] = []
    for names in (None, ["made"]):
        assert find(names, ["summary.json"], lambda file, reason: left_out.append(file)) == [Recorded(good)]
    assert left_out == [bad / "summary.json"] * 2
    assert find(None, ["curve.csv"]) == [Recorded(good), Recorded(bad)]


def test_where_all_that_was_named_is_damaged_the_error_says_why(results: Path) -> None:
    for seed in (0, 1):
        (write_run(results, seed=seed) / "summary.json").write_text("{")
    with pytest.raises(UserError) as caught:
        find(["made"], ["summary.json"])
    assert str(caught.value).count("summary.json: it is not JSON") == 2
    assert find(None, ["summary.json"]) == []


@pytest.mark.parametrize("mode", [0o000, 0o600])
@pytest.mark.parametrize("level", ["run", "experiment"])
def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, level: str
) -> None:
    """As anybody but root: folders that may not be entered, or not be listed."""
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "results"))
    good, bad = write_run(tmp_path / "results"), write_run(tmp_path / "results", experiment="other")
    closed = bad if level == "run" else bad.parent
    left_out: list[tuple[Path, str]] = []
    root = os.geteuid() == 0
    if root:
        # The way to the test's folder stays open: other tests beside this one may walk it.
        for place in (tmp_path, *tmp_path.parents):
            if not place.stat().st_mode & 0o001:
                place.chmod(0o755)
    closed.chmod(mode)
    try:
        if root:
            os.seteuid(65534)
        found = find(None, ["summary.json"], lambda file, reason: left_out.append((file, reason)))
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(0o755)
    assert found == [Recorded(good)]
    assert [(closed in (file, file.parent), reason) for file, reason in left_out] == [
        (True, "it cannot be read: Permission denied")
    ]
