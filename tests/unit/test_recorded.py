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
    (folder / "cpu.csv").write_text(f"{PHASES}product,1.0,1.0,1.0\n")
    (folder / "confusion.json").write_text(json.dumps(CONFUSION))
    assert Recorded(folder).damage(EVERYTHING) is None
    return folder


Change = Callable[[Path], object]  # what is done to a file


def holds(content: str | bytes) -> Change:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def summary_with(**changes: Any) -> Change:
    """A summary with other values; ... takes the key out."""

    def change(path: Path) -> None:
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))

    return change


def config_with(**changes: Any) -> Change:
    """A config with other blocks; ... takes the block out."""

    def change(path: Path) -> None:
        found = yaml.safe_load(path.read_text()) | changes
        path.write_text(yaml.safe_dump({key: value for key, value in found.items() if value is not ...}))

    return change


def replaced(made: Change) -> Change:
    """The file gives way to what ``made`` makes in its place."""

    def change(path: Path) -> None:
        path.unlink()
        made(path)

    return change


JSON_FILES = [name for name in EVERYTHING if name.endswith("json")]
PHASES = "phase,max_s,mean_s,min_s\n"
# By file: what is done to it, and how the reason begins.
DAMAGED: dict[str, list[tuple[Change, str]]] = {
    "summary.json": [
        (replaced(os.mkfifo), "it is not a file"),
        (holds(""), "it is not JSON"),
        (holds("[" * 100_000), "it is not JSON"),
        (holds('{"status": "failed", "reason": "", "iterations": 0}'), "it lacks"),
        (summary_with(ranks=...), "it lacks ranks"),
        (summary_with(ranks="two"), "ranks: expected a whole number, found 'two'"),
        (summary_with(seed=True), "seed: expected a whole number, found True"),
        (summary_with(iterations=1.5), "iterations: expected a whole number, found 1.5"),
        (summary_with(iterations=None), "iterations: expected a whole number, found None"),
        (summary_with(train_s="1.0"), "train_s: expected a number or null, found '1.0'"),
        (summary_with(train_s=float("nan")), "train_s: expected a number or null, found nan"),
        (summary_with(target=float("inf")), "target: expected a number or null, found inf"),
        (summary_with(target=10**400), "target: expected a number or null, found 10000"),
        (summary_with(final_test_accuracy=[0.5]), "final_test_accuracy: expected a number or null"),
        (summary_with(best_test_accuracy={}), "best_test_accuracy: expected a number or null"),
        (summary_with(rows_train="all"), "rows_train: expected a whole number or null"),
        (summary_with(threads_per_rank=[1]), "threads_per_rank: expected a whole number or null"),
        (summary_with(status="finished"), "status: expected one of reached, exhausted"),
        (summary_with(status=["reached"]), "status: expected one of reached, exhausted"),
        (summary_with(method=3), "method: expected a line of text, found 3"),
        (summary_with(experiment=None), "experiment: expected a line of text, found None"),
        (summary_with(metric="two\nlines"), "metric: expected a line of text"),
        (summary_with(reason="half \ud800"), "reason: expected text"),
        (summary_with(rerun=3), "rerun: expected a command line, found 3"),
    ],
    "curve.csv": [
        (
            replaced(lambda path: path.symlink_to(path.name)),
            "it cannot be read: Too many levels of symbolic links",
        ),
        (holds("iteration,epoch\n1,2\n"), "line 1: expected iteration, epoch, train_s"),
        (holds("\n\n"), "line 1: expected iteration"),
        (holds("iteration\n1,2,3\n"), "line 1: expected iteration"),
        (holds("a,b\nx,y\n"), "line 1: expected iteration"),
        (holds("a\n\0\n"), "line 1: expected iteration"),
        (holds(f"{HEADING}\n0,0,0,0,1,0.5,abc\n"), "line 2: could not convert"),
        (holds(f"{HEADING}\n0,0,0,0,1,1,1\n0,0,0\n"), "line 3: expected 7 numbers"),
        (holds(f"{HEADING}\n0,0,nan,0,1,1,1\n"), "line 2: train_s is nan"),
        (holds(f"{HEADING}\ninf,0,0,0,1,1,1\n"), "line 2: iteration is inf"),
    ],
    "phases.csv": [
        (holds(""), "line 1: expected phase, max_s, mean_s, min_s"),
        (holds("phase,max_s\nproduct,1.0\n"), "line 1: expected phase"),
        (holds(f"{PHASES}product,1.0"), "line 2: expected 3 numbers"),
        (holds(f"{PHASES}p,a,1,1\n"), "line 2: could not convert"),
    ],
    "cpu.csv": [
        (holds(f"{PHASES}p,nan,1,1\n"), "line 2: max_s is nan"),
        (holds(f"{PHASES}{'p' * 200_000},1,1,1\n"), "it is not CSV"),
    ],
    "environment.json": [
        (holds('{"cpu": 3}'), "cpu: expected a list of names, found 3"),
        (holds('{"cpu": [3]}'), "cpu: expected a list of names, found [3]"),
        (holds('{"cores": "2"}'), "cores: expected a whole number"),
        (holds('{"hosts": {}}'), "hosts: expected a list of names"),
        (holds('{"data_sha256": []}'), "data_sha256: expected a checksum"),
    ],
    "config.yaml": [
        (Path.unlink, "it is not there"),
        (holds("data: [1\n"), "it is not the YAML of a run"),
        (holds("\0"), "it is not the YAML of a run"),
        (holds("data: {seen: 2020-01-01}\n"), "it is not the YAML of a run"),
        (holds("data: &a {b: *a}\n"), "it is not the YAML of a run"),
        (holds(""), "expected the blocks data, network, methods"),
        (holds("- a list\n"), "expected the blocks data, network, methods"),
        (config_with(data=...), "expected the blocks data, network, methods"),
        (config_with(network=[3]), "expected the blocks data, network, methods"),
        (config_with(methods={}), "methods: expected a method and its settings"),
        (config_with(methods={"admm": 3}), "methods: expected a method and its settings"),
        (config_with(stop=[1]), "stop: expected keys and values, found [1]"),
        (config_with(evaluate="often"), "evaluate: expected keys and values, found 'often'"),
    ],
    "confusion.json": [
        (holds("{}"), "classes: expected a list, found None"),
        (holds('{"classes": [0, 1]}'), "final: expected a row for each of 2"),
        (holds('{"classes": [0], "final": [[1], [2]]}'), "final: expected a row"),
        (holds('{"classes": [0], "final": [3]}'), "final: expected 1 numbers"),
        (holds('{"classes": [0], "final": [[1, 2, 3]]}'), "final: expected 1"),
        (holds('{"classes": [0], "final": [["1"]]}'), "final: expected whole"),
        (holds('{"classes": [0], "final": [[null]]}'), "final: expected whole"),
    ],
}
for name in EVERYTHING:
    DAMAGED[name] += [
        (replaced(Path.mkdir), "it is not a file"),
        (holds(b"\xff\xfe\x00"), "it is not text in UTF-8"),
    ]
for name in JSON_FILES:
    DAMAGED[name] += [(holds('{"status": "rea'), "it is not JSON")]
    for text in ("[]", "5", "null", '"abc"'):
        DAMAGED[name] += [(holds(text), f"expected keys and values, found {json.loads(text)!r}")]
CASES = [(name, *case) for name, cases in DAMAGED.items() for case in cases]


@pytest.mark.parametrize(("name", "change", "expected"), CASES, ids=[f"{name} {why}" for name, _, why in CASES])
def test_a_damaged_file_is_named_with_the_reason_and_read_as_nothing(
    run: Path, name: str, change: Change, expected: str
) -> None:
    change(run / name)
    read = Recorded(run)
    file, reason = read.damage(EVERYTHING)
    assert file == run / name
    assert reason.startswith(expected)
    assert read.damage([other for other in EVERYTHING if other != name]) is None
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
    assert Recorded(run).damage(["summary.json"])[0] == run / "curve.csv"


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
