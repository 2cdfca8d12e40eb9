"""Runs in other programs' formats, read back without what wrote them."""

import csv
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.studies import write_curve, write_run

from admmctl.errors import MissingExtra, UserError
from admmctl.report.export.source import flat, read_all, safe
from admmctl.report.export.writing import FORMATS, RECORD, export
from admmctl.runs.record import RunFolder
from admmctl.runs.recorded import Recorded

EXTRAS = {  # formats, and the modules that they are written with
    "parquet": ["pyarrow"],
    "tensorboard": ["tensorboardX"],
    "mlflow": ["mlflow", "sqlalchemy", "alembic", "sqlparse"],
}
LOSSES = [0.9, 0.5, math.nan, math.inf]


def made(folder: Path, name: str = "admm-p1-s0-00000000", **changes: Any) -> Path:
    """A run of four evaluations, two of them of numbers that are none."""
    path = write_run(folder / name, cores=1, seed=0, time=2.0, **changes)
    write_curve(path, LOSSES, residual=[1e300, 2.0, 3.0, 4.0])
    return path


def unfinished(folder: Path, name: str = "sgd-p1-s0-00000000") -> Path:
    """A run that was killed after two evaluations."""
    blocks = {"data": {"name": "swissroll"}, "network": {"layers": [4]}, "methods": {"sgd": {"kind": "sgd"}}}
    path = RunFolder.create_at(folder / name, yaml.safe_dump({"name": folder.name, **blocks, "seed": 7})).path
    write_curve(path, [0.9, 0.5])
    return path


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


def needed(form: str) -> None:
    """Skips a test where what a format is written with is not here."""
    for module in EXTRAS.get(form, []):
        pytest.importorskip(module)


def exported(folders: list[Path], form: str, output: Path, force: bool = False) -> dict[str, Any]:
    return export(list(map(Recorded, folders)), form, output, force, quiet)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [made(tmp_path / "made"), unfinished(tmp_path / "other")]


# --- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist01", "mnist01"),
        ("a b/../c", "a_b_.._c"),
        ("..", "_.."),
        ("", "_"),
        ("ü$\n", "___"),
        ("x" * 400, "x" * 150),
    ],
)
def test_any_name_becomes_that_of_a_file(name: str, expected: str) -> None:
    assert safe(name) == expected


def test_every_run_has_a_name_of_its_own(tmp_path: Path) -> None:
    folders = [made(tmp_path / "one" / "made"), made(tmp_path / "two" / "made"), made(tmp_path / "made" / "study")]
    names = [run.name for run in read_all(list(map(Recorded, folders)))]
    assert names == [
        "made/admm-p1-s0-00000000",
        "made/admm-p1-s0-00000000-2",
        "made/study/admm-p1-s0-00000000",
    ]


def test_blocks_become_keys_with_dots() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [1, "x"]}, "e": None}) == {"a.b.c": 1, "a.d": '[1, "x"]', "e": None}


# --- csv


def test_csv_has_a_row_per_run_and_a_row_per_evaluation(runs: list[Path], tmp_path: Path) -> None:
    result = exported(runs, "csv", tmp_path / "out")
    assert result["files"] == ["curves.csv", "runs.csv"]
    finished, cut = table(tmp_path / "out" / "runs.csv")
    assert finished["run"] == "made/admm-p1-s0-00000000"
    assert (finished["status"], finished["time_to_target_s"], finished["reason"]) == ("reached", "2.0", "")
    assert (finished["config.data.name"], finished["config.network.layers"]) == ("swissroll", "[10]")
    assert finished["machine.data_sha256"] == "5eed"
    assert (cut["status"], cut["iterations"], cut["config.seed"]) == ("unfinished", "1", "7")
    assert cut["time_to_target_s"] == ""
    curves = table(tmp_path / "out" / "curves.csv")
    assert [(row["run"][:4], row["iteration"]) for row in curves] == [
        *(("made", str(number)) for number in range(4)),
        *(("othe", str(number)) for number in range(2)),
    ]
    assert [float(row["train_loss"]) for row in curves[:2]] == LOSSES[:2]
    assert [row["train_loss"] for row in curves[2:4]] == ["nan", "inf"]
    assert [row["residual"] for row in curves] == ["1e+300", "2.0", "3.0", "4.0", "", ""]


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_of_which_little_is_left_is_exported_still(tmp_path: Path, form: str) -> None:
    needed(form)
    path = unfinished(tmp_path / "x")
    (path / "curve.csv").write_text("damaged")
    (path / "config.yaml").write_text("{not yaml")
    (path / "environment.json").write_text("[]")
    assert exported([path], form, tmp_path / form)["runs"] == [f"x/{path.name}"]
    if form == "csv":
        (row,) = table(tmp_path / "csv" / "runs.csv")
        assert row["status"] == "unfinished"
        assert table(tmp_path / "csv" / "curves.csv") == []


# --- parquet


@pytest.mark.parametrize("form", EXTRAS)
def test_a_format_without_its_package_says_how_to_get_it(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf"pip install 'admmctl\[{form}\]'"):
        exported(runs, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parquet_has_the_same_tables(runs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    exported(runs, "parquet", tmp_path / "out")
    table, curves = (pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("runs", "curves"))
    assert table["status"].tolist() == ["reached", "unfinished"]
    assert table["time_to_target_s"].isna().tolist() == [False, True]
    assert str(table["iterations"].dtype) == "Int64"
    assert curves["iteration"].tolist() == [0, 1, 2, 3, 0, 1]
    assert curves["train_loss"].tolist()[:2] == LOSSES[:2]
    assert math.isinf(curves["train_loss"][3])


# --- tensorboard: read back by tensorboard itself


def accumulated(folder: Path) -> Any:
    """What tensorboard reads of the one event file below a folder."""
    pytest.importorskip("tensorboardX")
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (path,) = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    assert path.name == "events.out.tfevents.0.admmctl"
    return module.EventAccumulator(str(path)).Reload()


def test_tensorboard_gets_every_column_by_iteration(runs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    exported(runs, "tensorboard", tmp_path / "out")
    read = accumulated(tmp_path / "out" / "made" / runs[0].name)
    assert set(read.Tags()["scalars"]) == {
        *("epoch", "train_s", "train_loss", "train_accuracy", "test_accuracy", "residual")
    }  # fmt: skip
    losses = read.Scalars("train_loss")
    assert [event.step for event in losses] == [0, 1, 2, 3]
    assert [event.value for event in losses[:2]] == pytest.approx(LOSSES[:2])
    assert math.isnan(losses[2].value)
    assert losses[3].value == math.inf
    assert read.Scalars("residual")[0].value == math.inf  # 1e300 is too large for single precision
    started = runs[0].joinpath("config.yaml").stat().st_mtime
    assert [round(event.wall_time - started, 3) for event in losses] == [0, 0.2, 0.4, 0.6]


def test_tensorboard_gets_settings_as_text_and_as_hyper_parameters(runs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    exported(runs, "tensorboard", tmp_path / "out")
    made, other = (accumulated(tmp_path / "out" / name) for name in ("made", "other"))
    (config,) = made.Tensors("config")
    assert b"| data.name | swissroll |" in config.tensor_proto.string_val[0]
    assert made.SummaryMetadata("config").plugin_data.plugin_name == "text"
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    def plugin(read: Any, which: str) -> Any:
        return HParamsPluginData.FromString(read.PluginTagToContent("hparams")[f"_hparams_/{which}"])

    start = plugin(made, "session_start_info").session_start_info
    assert start.hparams["data.name"].string_value == "swissroll"
    assert start.hparams["data.rows"].number_value == 4000
    assert start.group_name == "made"
    ends = [plugin(read, "session_end_info").session_end_info.status for read in (made, other)]
    assert ends == [1, 3]  # success, still running


# --- mlflow's store, read back by its own client


def client(place: Path) -> Any:
    needed("mlflow")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")


def stored(place: Path) -> dict[str, Any]:
    """Every run of a store by name; of a copy, as MLflow keeps open what it has read."""
    copy = Path(tempfile.mkdtemp(dir=place.parent))
    shutil.copyfile(place / "mlflow.db", copy / "mlflow.db")
    reader = client(copy)
    numbers = [experiment.experiment_id for experiment in reader.search_experiments()]
    found = reader.search_runs(numbers)
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found)
    return runs


def test_mlflow_gets_every_run_with_its_curve(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("mlflow")
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "out 50%#?"
    exported(runs, "mlflow", place)
    assert not (tmp_path / "mlruns").exists()
    place = place.rename(tmp_path / "plain")  # for the address that reads it
    reader, names = client(place), stored(place)
    assert set(names) == {f"made/{runs[0].name}", f"other/{runs[1].name}"}
    run, cut = names[f"made/{runs[0].name}"], names[f"other/{runs[1].name}"]
    assert reader.get_experiment(run.info.experiment_id).name == "made"
    assert (run.info.status, cut.info.status, cut.info.end_time) == ("FINISHED", "RUNNING", None)
    assert run.info.end_time - run.info.start_time == 2800
    points = sorted(reader.get_metric_history(run.info.run_id, "train_loss"), key=lambda point: point.step)
    assert [(point.value, point.step) for point in points[:2]] == [(0.9, 0), (0.5, 1)]
    assert math.isnan(points[2].value)
    assert points[3].value > 1e308  # the store has no infinity
    assert [point.timestamp - run.info.start_time for point in points] == pytest.approx([0, 200, 400, 600], abs=1)
    assert run.data.metrics["time_to_target_s"] == 2.0
    assert run.data.params["data.rows"] == "4000"
    assert run.data.tags["admmctl.status"] == "reached"
    home = (tmp_path / "out 50%#?").as_uri()
    assert run.info.artifact_uri == f"{home}/artifacts/made/{run.info.run_id}/artifacts"
    files = place / "artifacts" / "made" / run.info.run_id / "artifacts"
    assert json.loads((files / "summary.json").read_text())["status"] == "reached"


def test_mlflow_keeps_the_runs_of_earlier_exports(runs: list[Path], tmp_path: Path) -> None:
    needed("mlflow")
    place = tmp_path / "out"
    exported(runs[:1], "mlflow", place)
    (first,) = stored(place).values()
    client(place).set_tag(first.info.run_id, "note", "mine")
    exported(runs[1:], "mlflow", place)
    exported(runs, "mlflow", place)
    assert len(stored(place)) == 2
    assert stored(place)[first.info.run_name].info.run_id == first.info.run_id
    assert stored(place)[first.info.run_name].data.tags["note"] == "mine"


def test_mlflow_gets_a_run_that_went_on_in_place_of_the_old_one(runs: list[Path], tmp_path: Path) -> None:
    needed("mlflow")
    place = tmp_path / "out"
    exported(runs, "mlflow", place)
    (runs[1] / "curve.csv").unlink()
    write_curve(runs[1], [0.9, 0.5, 0.1])
    exported(runs, "mlflow", place)
    assert len(stored(place)) == 2
    assert stored(place)[f"other/{runs[1].name}"].data.metrics["train_loss"] == 0.1


def test_a_store_that_is_none_is_refused(runs: list[Path], tmp_path: Path) -> None:
    needed("mlflow")
    place = tmp_path / "out"
    place.mkdir()
    (place / "mlflow.db").write_text("mine, and no database at all" * 100)
    with pytest.raises(UserError, match=r"mlflow\.db: cannot be read"):
        exported(runs, "mlflow", place)
    assert [path.name for path in place.iterdir()] == ["mlflow.db"]


# --- where it lands


@pytest.mark.parametrize("form", FORMATS)
def test_a_second_export_replaces_the_first_and_nothing_else(runs: list[Path], tmp_path: Path, form: str) -> None:
    needed(form)
    place = tmp_path / "out"
    first = exported(runs, form, place)
    (place / "mine.txt").write_text("mine")
    assert exported(runs, form, place) == first
    assert (place / "mine.txt").read_text() == "mine"
    found = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert found == {*first["files"], "mine.txt", RECORD}


def test_what_others_wrote_is_replaced_by_force_alone(runs: list[Path], tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (place / "runs.csv").write_text("mine")
    with pytest.raises(UserError, match=r"runs\.csv is there already.*--force"):
        exported(runs, "csv", place)
    assert [path.name for path in place.iterdir()] == ["runs.csv"]
    assert (place / "runs.csv").read_text() == "mine"
    exported(runs, "csv", place, force=True)
    assert len(table(place / "runs.csv")) == 2
    assert (place / "curves.csv").exists()


def test_more_runs_are_added_to_a_store(runs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    for run in runs:
        exported([run], "tensorboard", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*/*")) == sorted(run.name for run in runs)


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_breaks_leaves_nothing(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    needed(form)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("admmctl.report.export.writing._publish", full)
    with pytest.raises(UserError, match="No space left on device"):
        exported(runs, form, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "other"]


@pytest.mark.parametrize(
    ("form", "output", "message"),
    [
        ("mlflow-file", "out", "use --format mlflow,"),
        ("cvs", "out", "did you mean 'csv'"),
        ("csv", "file", "expected a folder"),
        ("csv", "", "expected a folder"),
        ("csv", "file/out", "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, output: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    with pytest.raises(UserError, match=message):
        exported(runs, form, Path(output))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "made", "other"]


def test_no_runs_are_no_export(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no runs to export"):
        exported([], "csv", tmp_path / "out")
