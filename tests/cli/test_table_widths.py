"""Tables: names fold on a terminal, numbers and words are whole everywhere, and pipes have no limit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.recorded_runs import write_run
from support.shell import Shell
from support.studies import Study, write_curve

from admmctl.report.output import put
from admmctl.report.sweep import sweep_tables
from admmctl.report.tables import Plain, runs_table
from admmctl.studies.sweep import Sweep, Trial

LONG = "a-method-whose-name-is-far-longer-than-any-line-of-a-table-has-room-for"
WIDTHS = ("terminal of 80", "terminal of 200", "pipe")


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The columns that there are: of a terminal, or without end."""
    columns = {"terminal of 80": 80, "terminal of 200": 200}.get(request.param)
    if columns is not None:
        monkeypatch.setattr("admmctl.report.output.room", lambda narrowest: max(narrowest, columns))
    return columns or 10_000


def words(text: str) -> set[str]:
    return set(text.split())


def test_the_list_of_runs_is_whole(shell: Shell, results: Path, width: int) -> None:
    changes: dict[str, Any] = {"iterations": 1_234_567, "train_s": 0.00736, "time_to_target_s": 0.00736}
    write_run(results, LONG, metric="test_auc", final_test_auc=0.8123, **changes)
    write_run(results, "sgd", accuracies=(0.1, 0.2), iterations=7_654_321, train_s=123_456.7)
    out = shell("runs", "list").out
    assert "…" not in out
    assert words(out) >= {"1234567", "7654321", "0.00736", "123457", "missed", "exhausted", "reached", "0.9000"}
    assert words(out) >= {"AUC", "0.8123"}
    assert max(map(len, out.splitlines())) <= width
    name = f"{LONG}-p1-s0-5eed0000"
    assert (name in words(out)) == (width > 80)
    folded = [line.split("  ")[0] for line in out.splitlines()]
    assert name in "".join(folded).replace(" ", "")


def test_the_seconds_of_a_disturbed_run_are_marked(shell: Shell, results: Path, width: int) -> None:
    write_run(results, LONG, seconds=1.25, disturbed=True)
    write_run(results, "sgd", seconds=1.5, disturbed=None)
    out = shell("runs", "list").out
    assert words(out) >= {"2.50!", "3.00"}
    assert "!  disturbed: other work took the cores, and the seconds say little." in out
    assert max(map(len, out.splitlines())) <= width
    found = {run["method"]: run["disturbed"] for run in shell("runs", "list", "--json").json()["runs"]}
    assert found == {LONG: True, "sgd": None}


def test_a_comparison_is_whole(shell: Shell, results: Path, width: int) -> None:
    for seed in range(6):
        times = {"train_s": 0.0073612 + seed / 1e5, "time_to_target_s": 0.0073612 + seed / 1e5}
        write_run(results, LONG, seed=seed, final_test_auc=0.80123, **times)
        write_run(results, "sgd", seed=seed, accuracies=(0.1, 0.2), train_s=123_456.7)
    out = shell("runs", "compare", "made").out
    assert words(out) >= {"AUC", "0.8012", "-"}
    assert "…" not in out
    assert "0.00736 to 0.00741" in out
    assert words(out) >= {"6/6", "0/6", "never", "missed", "fastest", "0.00739"}
    assert max(map(len, out.splitlines())) <= width
    assert (LONG in words(out)) == (width > 80)


def test_phases_are_whole(shell: Shell, results: Path, width: int) -> None:
    folder = write_run(results, LONG, time_to_target_s=123_456.7)
    names = ["a phase of many words", "another-phase-with-a-long-name", "gram", "solve", "reduce"]
    lines = [f'"{name}",0.00736,0.00736,0.00736' for name in names]
    (folder / "phases.csv").write_text("\n".join(["phase,max_s,mean_s,min_s", *lines, ""]))
    for command in ("phases", "show"):
        out = shell("runs", command, "made").out
        assert "…" not in out
        assert out.count("0.00736") >= 5
        assert all(name in out for name in names)
    assert "123457" in shell("runs", "phases", "made").out


def test_a_curve_is_whole(shell: Shell, results: Path, width: int) -> None:
    folder = write_run(results)
    (folder / "curve.csv").unlink()
    own = {f"residual_of_the_constraint_{number}": [1.0, 1.2345678e-207] for number in range(4)}
    write_curve(folder, [0.5, 0.1234567], **own)
    out = shell("runs", "show", "made").out
    assert "…" not in out
    assert out.count("1.235e-207") == 4
    assert words(out) >= {"0.1235", "residual", "constraint"}


@pytest.mark.parametrize("classes", [2, 10, 30, 100])
def test_a_table_of_many_classes_is_whole(shell: Shell, results: Path, width: int, classes: int) -> None:
    counts = np.random.default_rng(0).integers(10_000, 99_999, (classes, classes))
    document = {"classes": list(range(classes)), "final": counts.tolist()}
    (write_run(results) / "confusion.json").write_text(json.dumps(document))
    out = shell("runs", "show", "made").out
    _, _, table = out.partition("final weights\n")
    table, _, _ = table.partition("\nSeconds by phase")
    found: list[list[str]] = [[] for _ in range(classes)]
    for line in table.splitlines():
        name, *cells = line.split()
        if name != "class":
            found[int(name)] += cells
    accuracies = [row.pop() for row in found]
    assert [list(map(int, row)) for row in found] == counts.tolist()
    assert accuracies == [f"{row[place] / row.sum():.4f}" for place, row in enumerate(counts)]
    assert max(map(len, table.splitlines())) <= width
    tables = sum(line.startswith("class") for line in table.splitlines())
    assert (tables == 1) == (classes * 6 + 15 <= width)


def test_names_of_classes_may_be_long(shell: Shell, results: Path, width: int) -> None:
    names = [
        "aeroplane",
        "a class whose name takes the whole of a line and some more of the next one",
    ]
    document = {"classes": names, "final": [[1, 2, 0], [3, 4, 12_345]]}
    (write_run(results) / "confusion.json").write_text(json.dumps(document))
    out = shell("runs", "show", "made").out
    assert "…" not in out
    assert out.count(names[1]) >= 2  # above its column and before its line, in each part
    assert words(out) >= {"12345", "no", "class", "0.3333"}


@pytest.mark.usefixtures("quick")
def test_a_scaling_study_is_whole(shell: Shell, results: Path, width: int) -> None:
    study = Study(results / "studied" / "scaling-admm")
    for cores, time in ((1, 123_456.7), (1024, 123_412.3)):
        for _ in range(6):
            study.run(cores, time)
    out = shell("scaling-plot", "studied").out
    assert "…" not in out
    assert words(out) >= {"123457", "123412", "1024", "12346", "6/6"}
    assert "123457 to 123457" in out


def test_a_sweep_is_whole(capsys: pytest.CaptureFixture[str], width: int) -> None:
    settings: dict[str, Any] = {
        "network.init_scale": 0.000123456789,
        "learning_rate": 1.23456789e-7,
        "batch": 1_234_567,
    }
    settings["layers"] = [100, 50, 10]
    trials = [Trial(number, settings, 0.98765, "exhausted", "", 9, 123_456.0, None, "") for number in range(2)]
    put(sweep_tables(Sweep(f"results/{LONG}", LONG, trials, None, None)))
    out = capsys.readouterr().out
    assert "…" not in out
    assert words(out) >= {"0.000123456789", "1.23456789e-07", "1234567", "0.9877", "123456", "exhausted"}
    assert out.count("[100, 50, 10]") == 2


def test_a_name_is_folded_and_not_the_number_beside_it(capsys: pytest.CaptureFixture[str], width: int) -> None:
    table = Plain(title="A title that is longer than what stands below it")
    table.add_column("name", overflow="fold")
    table.add_column("digits", justify="right")
    table.add_row(300 * "n", 70 * "1")
    put(table)
    out = capsys.readouterr().out
    assert 70 * "1" in words(out)
    assert out.count("n") - "A title that is longer than what stands below it name".count("n") == 300
    assert out.splitlines()[0].rstrip() == "A title that is longer than what stands below it"
    assert (300 * "n" in words(out)) == (width == 10_000)


def test_lines_of_a_pipe_have_no_blanks_at_their_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")  # of the terminal behind the pipe
    run = {"folder": f"results/{LONG}", "status": "reached", "experiment": "made"}
    put(runs_table([run]))
    out = capsys.readouterr().out
    assert f"{LONG}  reached" in out
    assert all(line == line.rstrip() for line in out.splitlines())


@pytest.mark.parametrize("words", [["datasets"], ["figures"], ["doctor"]], ids=" ".join)
def test_other_tables_fold_texts_on_terminals_alone(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    wide = shell(*words).out
    monkeypatch.setattr("admmctl.report.output.room", lambda narrowest: narrowest)
    narrow = shell(*words).out
    assert "…" not in wide + narrow
    assert max(map(len, narrow.splitlines())) <= (100 if words == ["figures"] else 80)
    assert len(narrow.splitlines()) > len(wide.splitlines())
