"""``runs history`` on made-up runs: what is one point, in which order, and what is said of it."""

import math
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.shell import on_80_columns
from support.sides import HERE, SIX, Sides

from admmctl import revision
from admmctl.errors import UserError
from admmctl.report.history import History, Line, Point, history, history_rows, history_tables
from admmctl.report.history_page import write_history
from admmctl.revision import Commit, commits
from admmctl.runs.recorded import Recorded

FIRST, SECOND, THIRD = (letter * 40 for letter in "abc")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN = {
    name: Commit(BEGAN + timedelta(days=day), f"day {day}") for day, name in enumerate((FIRST, SECOND, THIRD))
}


class Made:
    """Runs of one experiment, put down commit by commit."""

    def __init__(self, path: Path) -> None:
        self.sides = Sides(path)
        self.folder = path / "made"

    def put(self, commit: str | None, times: Any = SIX, changed: bool = False, **changes: Any) -> "Made":
        where = {**HERE, **changes.pop("environment", {}), "git_commit": commit, "git_dirty": changed}
        self.sides.put("made", times, environment=where, final_test_accuracy=0.93, **changes)
        return self

    def history(self, known: Any = KNOWN) -> History:
        return history([Recorded(run) for run in sorted(self.folder.iterdir())], lambda names: known)

    def line(self, known: Any = KNOWN) -> Line:
        (line,) = self.history(known).lines
        return line

    def points(self) -> list[Point]:
        return self.line().points


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_commits_stand_in_the_order_of_their_time_whatever_was_run_first(made):
    made.put(THIRD).put(FIRST).put(SECOND)
    points = made.points()
    assert [point.commit for point in points] == [FIRST, SECOND, THIRD]
    assert [point.subject for point in points] == ["day 0", "day 1", "day 2"]
    assert points[1].time == "2026-01-02T00:00:00+00:00"


def test_a_commit_that_git_does_not_know_has_the_time_of_its_oldest_record(made):
    made.put("d" * 40).put(FIRST).put(THIRD)
    times = [BEGAN + timedelta(days=day) for day in (1.5, 9)]
    for run in made.folder.iterdir():
        if Recorded(run).environment.facts["git_commit"] == "d" * 40:
            os.utime(run / "summary.json", (times[-1].timestamp(),) * 2)
            oldest = run
    os.utime(oldest / "summary.json", (times[0].timestamp(),) * 2)
    assert [point.commit for point in made.points()] == [FIRST, "d" * 40, THIRD]


def test_a_point_has_medians_with_intervals(made):
    (point,) = made.put(FIRST, [1.0, 2.0, 3.0, 4.0, 5.0, None]).points()
    assert (point.runs, point.reached) == (6, 5)
    assert (point.seconds, point.seconds_low, point.seconds_high) == (3.5, 1.0, math.inf)
    assert (point.accuracy, point.accuracy_low, point.accuracy_high) == (0.93, 0.93, 0.93)
    assert (point.ratio, point.verdict) == (None, None)


def test_five_seeds_have_no_interval_and_no_verdict(made):
    made.put(FIRST, SIX[:5]).put(SECOND, [9 * time for time in SIX[:5]])
    point = made.points()[1]
    assert (point.seconds_low, point.verdict) == (None, "cannot be told")
    assert point.ratio == pytest.approx(9.0)


@pytest.mark.parametrize(("factor", "verdict"), [(1.3, "slower"), (0.7, "faster"), (1.0, "cannot be told")])
def test_a_point_is_held_against_the_one_before(made, factor, verdict):
    made.put(FIRST).put(SECOND, [factor * time for time in SIX])
    point = made.points()[1]
    assert (point.verdict, point.ratio) == (verdict, pytest.approx(factor))


def test_changed_files_are_a_point_of_their_own_and_marked(made):
    made.put(FIRST).put(FIRST, changed=True)
    clean, changed = made.points()
    assert (clean.name, changed.name) == ("aaaaaaa", "aaaaaaa*")
    text = on_80_columns(history_tables(made.history()))
    assert "*  files were changed after that commit" in text


def test_disturbed_runs_are_left_out_of_the_seconds_or_marked(made):
    made.put(FIRST).put(SECOND, [9.0], disturbed=True).put(SECOND, SIX[1:], seeds=range(1, 6))
    made.put(THIRD, [9.0] * 6, disturbed=True)
    _, some, every = made.points()
    assert (some.seconds, some.runs, some.disturbed) == (1.3, 6, False)
    assert (every.seconds, every.disturbed, every.ratio, every.verdict) == (9.0, True, None, None)
    text = on_80_columns(history_tables(made.history()))
    assert "9.00 (9.00 to 9.00)!" in text
    assert "!  disturbed" in text


def test_machines_methods_and_settings_are_lines_of_their_own(made):
    made.put(FIRST).put(FIRST, environment={"cpu": ["Another CPU"]})
    made.put(FIRST, method="sgd").put(FIRST, block={"kind": "admm", "ridge": 0.5})
    names = made.history().names()
    assert len(names) == len(set(names)) == 4
    assert sum("Another CPU (2 cores)" in name for name in names) == 1
    assert sum("settings" in name for name in names) == 2


def test_a_single_line_is_called_by_its_method_and_the_machine_is_named(made):
    assert made.put(FIRST).history().names() == ["admm"]
    assert "All on one machine: Some CPU (2 cores)." in on_80_columns(history_tables(made.history()))


def test_runs_that_broke_are_left_out(made):
    made.put(FIRST).put(SECOND, [None] * 6, status="failed")
    assert [point.commit for point in made.points()] == [FIRST]


def test_runs_without_a_commit_are_a_point_too(made):
    (point,) = made.put(None).points()
    assert (point.commit, point.name) == (None, "unknown")


def test_csv_has_a_row_per_commit(made):
    rows = history_rows(made.put(FIRST).put(SECOND).history())
    assert [row["commit"] for row in rows] == [FIRST, SECOND]
    assert rows[0]["machine"] == "Some CPU (2 cores)"


def test_of_several_experiments_and_of_none_there_is_no_history(made, tmp_path):
    made.put(FIRST, [None], status="failed")
    with pytest.raises(UserError, match="come to its end"):
        made.history()
    runs = [Recorded(run) for run in made.folder.iterdir()]
    Sides(tmp_path).put("other", SIX, experiment="other")
    with pytest.raises(UserError, match="of one experiment; name the folder of one: made, other"):
        history([*runs, *map(Recorded, (tmp_path / "other").iterdir())], lambda names: {})


def test_the_page_has_the_figure_and_the_newest_commit_first(made, tmp_path):
    known = {**KNOWN, SECOND: Commit(BEGAN + timedelta(days=1), "<script>alert(1)</script>")}
    made.put(FIRST).put(SECOND, [None] * 6).put(THIRD, [1.0, 1.1, 1.2, 1.3, 1.4, None])
    files = write_history(made.history(known), tmp_path / "history", made_up=False)
    assert [file.name for file in files] == ["history.png", "history.pdf", "history.html"]
    page = files[2].read_text()
    assert 'src="data:image/png;base64,' in page
    assert page.index("ccccccc") < page.index("bbbbbbb") < page.index("aaaaaaa")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize("name", ["", "-"])
def test_an_output_that_is_no_file_is_refused(made, tmp_path, name):
    with pytest.raises(UserError, match="--output"):
        write_history(made.put(FIRST).history(), tmp_path if not name else Path(name), made_up=False)


# --- what git knows


def test_git_is_asked_for_full_names_alone(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "Begin: with a colon")
    monkeypatch.setattr(revision, "__file__", str(tmp_path / "revision.py"))
    name = git("rev-parse", "HEAD")
    found = commits([name, "f" * 40, "--output=x", name[:7], "HEAD"])
    assert list(found) == [name]
    assert found[name].subject == "Begin: with a colon"
    assert abs(found[name].time - datetime.now(UTC)) < timedelta(hours=1)
    assert commits([]) == commits(["f" * 40]) == {}
    assert not (tmp_path / "x").exists()


def test_without_git_no_commit_is_known(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commits([FIRST]) == {}
