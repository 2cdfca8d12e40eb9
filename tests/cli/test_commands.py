"""The other commands as people meet them: what they print, where, and how they exit."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.shell import CONFIGS, Answer, Shell

from admmctl.cli.runs import NO_RUNS
from admmctl.data import shards
from admmctl.experiment.config import load
from admmctl.runs.recorded import Recorded

# --- runs


@pytest.mark.parametrize("command", ["list", "show"])
def test_without_runs_it_says_how_to_start_one(shell: Shell, command: str) -> None:
    answer = shell("runs", command)
    assert (answer.code, answer.out) == (0, f"{NO_RUNS}\n")
    assert shell("runs", command, "--json").json() == {"runs": []}


def test_runs_are_listed_with_their_scores(shell: Shell, results: Path) -> None:
    runs = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    answer = shell("runs", "list")
    assert answer.code == 0
    for run in runs:
        (line,) = (line for line in answer.out.splitlines() if Path(run["folder"]).name in line)
        assert f"{run['final_test_accuracy']:.4f}" in line
        assert "exhausted" in line
        assert "missed" in line
    assert shell("runs", "list", "--json").json() == {"runs": runs}
    assert shell("runs", "list", "tiny", "--json").json() == {"runs": runs}
    assert shell("runs", "list", *sorted((results / "tiny").iterdir()), "--json").json() == {"runs": runs}


def test_show_has_everything_about_a_run(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    answer = shell("runs", "show", run["folder"])
    assert answer.code == 0
    for text in ("final test accuracy", "rerun", "Seconds by phase", "solve", "Curve", "train acc"):
        assert text in answer.out
    assert shell("runs", "show", run["folder"], "--json").json() == {"runs": [run]}


def test_a_run_without_a_summary_is_unfinished(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    folder = Path(run["folder"])
    (folder / "summary.json").unlink()
    (folder / "phases.csv").unlink()
    for command in ("list", "show"):
        answer = shell("runs", command)
        assert answer.code == 0
        assert "unfinished" in answer.out
    (listed,) = shell("runs", "list", "--json").json()["runs"]
    assert (listed["status"], listed["iterations"]) == ("unfinished", 3)


def test_a_run_of_which_only_the_config_is_left(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    for path in Path(run["folder"]).iterdir():
        if path.name != "config.yaml":
            path.unlink()
    assert "unfinished" in shell("runs", "list").out
    assert "unfinished" in shell("runs", "show").out
    assert "nothing to draw" in shell.refusal("accuracy-plot")


def test_brackets_in_a_folders_name_are_printed_as_they_are(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a[b]c[/d]e[red]f[/red]"
    monkeypatch.setenv("ADMMCTL_RESULTS", name)
    train = shell("train", "tiny.yaml")
    assert train.code == 0
    assert f"{name}/tiny/" in train.err
    shown = shell("runs", "show")
    assert shown.code == 0
    assert f"{name}/tiny/" in shown.out
    shutil.copytree(f"{name}/tiny", f"{name}/{name}")
    assert shell("runs", "list", f"{name}/{name}").code == 0


def test_runs_are_exported_for_other_programs(shell: Shell) -> None:
    runs = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    answer = shell("runs", "export", "--format", "csv", "--output", "out")
    assert (answer.code, answer.out) == (0, "2 runs in out\n")
    assert len((shell.folder / "out" / "curves.csv").read_text().splitlines()) == 1 + 2 * 4
    told = shell("runs", "export", runs[0]["folder"], "--format", "csv", "--output", "one", "--json").json()
    assert (told["format"], len(told["runs"])) == ("csv", 1)
    assert all((shell.folder / "one" / name).is_file() for name in told["files"])
    Path("mine").mkdir()
    Path("mine/runs.csv").touch()
    assert "--force" in shell.refusal("runs", "export", "--format", "csv", "--output", "mine")
    assert shell("runs", "export", "--format", "csv", "--output", "mine", "--force").code == 0


@pytest.mark.parametrize(
    ("form", "modules"),
    [("tensorboard", ["tensorboardX"]), ("mlflow", ["mlflow", "sqlalchemy", "alembic", "sqlparse"])],
)
def test_runs_are_exported_by_extras(shell: Shell, form: str, modules: list[str]) -> None:
    for module in modules:
        pytest.importorskip(module)
    run = shell("train", "tiny.yaml", "--json").json()["runs"][0]
    told = shell("runs", "export", run["folder"], "--format", form, "--output", "logs", "--json").json()
    assert (told["format"], len(told["runs"])) == (form, 1)
    assert all((shell.folder / "logs" / name).is_file() for name in told["files"])


def test_the_old_name_of_a_format_names_the_new_one(shell: Shell) -> None:
    shell("train", "tiny.yaml")
    refused = shell("runs", "export", "--format", "mlflow-file", "--output", "out")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--format mlflow," in refused.err


def test_runs_are_removed_with_yes_where_nobody_can_be_asked(shell: Shell, results: Path) -> None:
    first, second = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    assert "add --yes" in shell.refusal("runs", "remove", first["folder"])
    assert Path(first["folder"]).is_dir()
    answer = shell("runs", "remove", first["folder"], "--yes", "--json")
    assert answer.code == 0
    ((row,),) = answer.json().values()
    assert (row["folder"], row["kind"]) == (first["folder"], "run")
    assert first["folder"] in answer.err
    assert [path.name for path in (results / "tiny").iterdir()] == [Path(second["folder"]).name]


@pytest.mark.parametrize(("agreed", "removed", "left"), [(True, "1 folder, ", 0), (False, "nothing", 1)])
def test_at_a_terminal_it_is_asked_first(
    shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch, agreed: bool, removed: str, left: int
) -> None:
    shell("train", "tiny.yaml")
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question, err: asked.append(question) or agreed)
    answer = shell("runs", "remove", *(results / "tiny").iterdir())
    assert (answer.code, answer.out.startswith(f"removed {removed}")) == (0, True)
    assert asked[0].startswith("remove 1 folder, ")
    assert len(list(results.glob("tiny/*"))) == left


# --- accuracy-plot


def drawn(answer: Answer) -> list[Path]:
    """The figures that were written, as the magic bytes say."""
    assert answer.code == 0
    paths = [Path(line) for line in answer.out.splitlines()]
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG", b"%PDF"]
    return paths


def test_the_plot_lands_beside_the_runs(shell: Shell, results: Path) -> None:
    shell("train", "tiny.yaml", "--method", "all")
    expected = [results / "tiny" / "accuracy.png", results / "tiny" / "accuracy.pdf"]
    assert drawn(shell("accuracy-plot", results / "tiny")) == expected
    # A second time the figures are part of the glob.
    assert drawn(shell("accuracy-plot", *sorted((results / "tiny").iterdir()))) == expected


@pytest.mark.parametrize("output", ["figure", "figure.png", "figure.pdf", "my figure", "accuracy-0.5"])
def test_the_plot_lands_where_output_says(shell: Shell, output: str) -> None:
    shell("train", "tiny.yaml")
    stem = output.removesuffix(".png").removesuffix(".pdf")
    assert drawn(shell("accuracy-plot", "--output", output)) == [Path(f"{stem}.png"), Path(f"{stem}.pdf")]


@pytest.mark.parametrize("output", ["nowhere/figure", "tiny.yaml/figure", "", ".", "..", "/"])
def test_a_plot_that_cannot_be_written_is_a_clear_error(shell: Shell, output: str) -> None:
    shell("train", "tiny.yaml")
    assert "--output" in shell.refusal("accuracy-plot", "--output", output)


def test_experiments_with_dollar_signs_are_drawn(shell: Shell, results: Path) -> None:
    shell("train", "tiny.yaml")
    (results / "tiny").rename(results / "$x_$ and $\\frac$")
    drawn(shell("accuracy-plot", results / "$x_$ and $\\frac$"))


# --- predict


def test_predictions_of_the_training_rows_are_as_good_as_the_record_says(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json", "--set", "stop={iterations: 30}").json()["runs"]
    source = shards.plan(load("tiny.yaml").runs["admm"].data, 1).source
    x = np.empty((120, 3), dtype=np.float32)
    source.inputs("train", range(120), x)
    np.save("rows.npy", x)
    labels = source.labels("train", range(120))

    answer = shell("predict", run["folder"], "--input", "rows.npy", "--iterate", "final", "--json")
    assert answer.code == 0
    predicted = np.array(answer.json()["labels"])
    assert (predicted[90:] == labels[90:]).mean() == pytest.approx(run["final_test_accuracy"])
    curve = Recorded(Path(run["folder"])).curve
    assert (predicted[:90] == labels[:90]).mean() == pytest.approx(curve[-1]["train_accuracy"])

    best = np.array(shell("predict", run["folder"], "--input", "rows.npy", "--json").json()["labels"])
    lowest = min(curve, key=lambda row: row["train_loss"])
    assert (best[:90] == labels[:90]).mean() == pytest.approx(lowest["train_accuracy"])


def test_predictions_are_csv_on_standard_output_or_in_a_file(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    Path("rows.csv").write_text('\ufeff"a","b","c"\r\n1,2,3\r\n4,5,6\r\n')
    answer = shell("predict", run["folder"], "--input", "rows.csv")
    assert (answer.code, answer.err) == (0, "rows.csv: line 1 is taken as a heading: a, b, c\n")
    assert answer.out.startswith("label,output_0\n")
    assert len(answer.out.splitlines()) == 3
    written = shell("predict", run["folder"], "--input", "rows.csv", "--output", "answer.csv")
    assert (written.code, written.out) == (0, "")
    assert Path("answer.csv").read_text() == answer.out


def test_rows_that_cannot_be_predicted_are_named_and_nothing_is_written(shell: Shell) -> None:
    (run,) = shell("train", "tiny.yaml", "--json").json()["runs"]
    Path("rows.csv").write_text("a,b,c\n1,2,3\n4,,6\n")
    for where in ([], ["--json"], ["--output", "answer.csv"]):
        assert "line 3, column 2" in shell.refusal("predict", run["folder"], "--input", "rows.csv", *where)
    assert not Path("answer.csv").exists()


def test_predict_wants_one_run(shell: Shell) -> None:
    runs = shell("train", "tiny.yaml", "--method", "all", "--json").json()["runs"]
    message = shell.refusal("predict", "tiny", "--input", "rows.npy")
    assert all(run["folder"] in message for run in runs)


# --- fetch


def test_a_computed_dataset_needs_no_fetch(shell: Shell) -> None:
    answer = shell("fetch", "swissroll")
    assert (answer.code, answer.out) == (0, "")
    assert "nothing to fetch" in answer.err


@pytest.mark.data
def test_fetch_and_train_on_the_real_thing(shell: Shell, mirror: Path) -> None:
    fetched = shell("fetch", "mnist", "--mirror", mirror)
    assert (fetched.code, fetched.out) == (0, "")
    assert "mnist is ready in" in fetched.err
    second = shell("fetch", "mnist")
    assert second.code == 0
    assert "already" in second.err
    assert "nowhere" in shell.refusal("fetch", "mnist", "--mirror", "nowhere")
    (run,) = shell("train", CONFIGS / "mnist01-hinge.yaml", "--json", "--set", "stop.iterations=4").json()["runs"]
    assert (run["rows_train"], run["rows_test"]) == (10_000, 2_665)
    assert run["best_test_accuracy"] > 0.9


# --- doctor


@pytest.mark.mpi
@pytest.mark.usefixtures("terminal")
def test_the_doctor_reports_every_check_and_exits_with_1_on_an_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = shell("doctor", "tiny.yaml", "--json")
    checks = answer.json()["checks"]
    assert [check for check in checks if check["state"] == "error"] == []
    assert answer.code == 0
    assert all(set(check) == {"name", "state", "detail", "cure"} for check in checks)
    assert {"two ranks", "memory", "Slurm", "torch"} <= {check["name"] for check in checks}
    monkeypatch.setenv("ADMMCTL_MPIEXEC", "/nowhere/mpiexec")
    sick = shell("doctor")
    assert sick.code == 1
    assert "ADMMCTL_MPIEXEC=/nowhere/mpiexec: there is no such program" in " ".join(sick.out.split())
    assert max(map(len, sick.out.splitlines())) <= 80
