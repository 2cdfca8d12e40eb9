"""The area under the ROC curve: exact, the same over ranks; as target, in tables and in figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ranks import on_ranks
from support.scripted import ScriptedMethod, loop
from support.shell import on_80_columns
from support.small_data import Array

import admmctl
from admmctl.data.shards import Shard, share
from admmctl.errors import ConfigError, UserError
from admmctl.experiment import config
from admmctl.report.board import Board
from admmctl.report.compare import compare, compare_rows, compare_table
from admmctl.report.figures import View, accuracy_plot
from admmctl.report.tables import curve_table, runs_table
from admmctl.runs import auc
from admmctl.runs.predict import predict_rows
from admmctl.runs.recorded import Recorded
from admmctl.studies.trials import on_held_back


def by_pairs(scores: Array, ones: Array) -> float:
    """The definition: of all pairs of a row of each class, those in order, and half of those that tie."""
    above, below = scores[ones][:, None], scores[~ones][None, :]
    return float(((above > below) + 0.5 * (above == below)).mean())


CASES = {
    "random": lambda g: (g.standard_normal(301), g.random(301) < 0.3),
    "ties": lambda g: (g.integers(0, 4, 301), g.random(301) < 0.5),
    "all alike": lambda g: (np.zeros(50), g.random(50) < 0.5),
    "apart": lambda g: (np.arange(50), np.arange(50) > 30),
    "upside down": lambda g: (-np.arange(50), np.arange(50) > 30),
    "infinities": lambda g: (np.array([-np.inf, np.inf, 0, np.inf]), np.array([False, True, True, False])),
}


@pytest.mark.parametrize("case", CASES)
def test_the_area_counts_every_pair(case: str) -> None:
    scores, ones = CASES[case](np.random.default_rng(2))
    scores = scores.astype(np.float32)
    assert auc.area(scores, ones) == pytest.approx(by_pairs(scores, ones), rel=1e-14)


def test_the_area_is_what_scikit_learn_says() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(4)
    scores, ones = generator.integers(0, 50, 5000).astype(np.float32), generator.random(5000) < 0.2
    assert auc.area(scores, ones) == pytest.approx(metrics.roc_auc_score(ones, scores), rel=1e-12)


@pytest.mark.parametrize(
    ("scores", "ones"),
    [([0.1, np.nan, 0.3], [True, True, False]), ([0.1, 0.2], [True, True]), ([0.1, 0.2], [False, False])],
)
def test_without_numbers_of_both_classes_there_is_none(scores: list[float], ones: list[bool]) -> None:
    assert np.isnan(auc.area(np.array(scores, np.float32), np.array(ones)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_with_uneven_rows_find_the_same_area(size: int) -> None:
    generator = np.random.default_rng(6)
    scores, ones = generator.integers(0, 9, 11).astype(np.float32), np.arange(11) % 3 == 0

    def work(comm: Any) -> list[float]:
        start, stop = share(11, comm.rank, comm.size)
        shard = Shard(np.zeros((2, stop - start), np.float32), ones[start:stop].astype(np.int64), start, 11)
        ranking = auc.Ranking(shard, comm)
        found = []
        for sign in (1, -1):  # of two evaluations
            ranking.own[...] = sign * scores[start:stop]
            found.append(ranking.auc())
        return found

    expected = by_pairs(scores, ones)
    for found in on_ranks(size, work):
        assert found == pytest.approx([expected, 1 - expected], rel=1e-14)


# --- in a run


def experiment(**changes: Any) -> dict[str, Any]:
    return {
        "name": "roll",
        "data": {"name": "swissroll", "rows": 600},
        "network": {"layers": [8]},
        "loss": "cross-entropy",
        "methods": {"adam": {"batch": 64}},
        "stop": {"epochs": 4},
        **changes,
    }


def trained(**changes: Any) -> tuple[dict[str, Any], Recorded]:
    (summary,) = admmctl.train(experiment(**changes))
    return summary, Recorded(Path(summary["folder"]))


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_run_records_the_area_of_what_it_predicts(results: Path, tmp_path: Path, outputs: int) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((500, 3))
    y = (x[:, 0] + generator.standard_normal(500) > 0).astype(int)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "new.npy", x[300:])
    data = {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "train": 300}
    summary, run = trained(data=data, network={"layers": [8], "outputs": outputs}, methods={"linear": {}})
    found = np.array(predict_rows(run.folder, tmp_path / "new.npy", "final").outputs)
    score = found[:, 0] if outputs == 1 else found[:, 1] - found[:, 0]
    expected = by_pairs(score.astype(np.float32), y[300:] == 1)
    assert 0.7 < expected < 0.9
    assert summary["final_test_auc"] == pytest.approx(expected, abs=2e-4)  # outputs of predict are rounded anew
    assert run.curve[-1]["test_auc"] == pytest.approx(summary["final_test_auc"], rel=1e-8)
    assert summary["best_test_auc"] == pytest.approx(max(row["test_auc"] for row in run.curve), rel=1e-8)
    assert f"test AUC {summary['final_test_auc']:.4f}" in (run.folder / "log.txt").read_text()
    table = on_80_columns(curve_table(run))
    assert "test AUC" in " ".join(table.split())
    assert f"{summary['final_test_auc']:.4f}" in table


def test_more_classes_have_none(results: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(3).repeat(20, axis=0))
    np.save(tmp_path / "y.npy", np.arange(3).repeat(20))
    data = {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "test": 0.5}
    summary, run = trained(data=data)
    assert summary["final_test_auc"] is summary["best_test_auc"] is None
    assert "test_auc" not in run.curve[0]
    with pytest.raises(UserError, match="test_auc is of two classes, and there are 3"):
        admmctl.train(experiment(data=data, stop={"metric": "test_auc", "target": 0.9, "epochs": 2}))


def test_it_is_a_target_and_the_run_stops_there(results: Path) -> None:
    summary, run = trained(stop={"metric": "test_auc", "target": 0.6, "epochs": 200})
    assert summary["status"] == "reached"
    assert summary["metric"] == "test_auc"
    curve = run.curve
    assert curve[-1]["test_auc"] >= 0.6 > max(row["test_auc"] for row in curve[:-1])
    assert summary["time_to_target_s"] == pytest.approx(curve[-1]["train_s"])
    assert "test_auc 0.6" in summary["reason"]


def test_where_the_test_rows_are_of_one_class_the_summary_says_nothing() -> None:
    outcome = loop(ScriptedMethod([{"accuracy": 0.5}]), metric="test_auc", target=0.1, iterations=2)[0].run()
    assert outcome.status == "exhausted"  # a NaN meets no target
    assert all(np.isnan(e.test_auc) for e in outcome.evaluations if e.test_auc is not None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"name": "mnist"}}, "test_auc is of two classes, and there are 10"),
        ({"data": {"name": "mnist", "classes": [1, 2, 3]}}, "test_auc is of two classes, and there are 3"),
        ({"stop": {"metric": "test_auc", "target": 1.5}}, "an AUC of 1.5 cannot be reached"),
    ],
)
def test_what_cannot_be_is_refused_beforehand(changes: dict[str, Any], message: str) -> None:
    given = experiment(stop={"metric": "test_auc", "target": 0.9}) | changes
    with pytest.raises(ConfigError, match=message):
        config.load(given)
    good = {"data": {"name": "mnist", "classes": [1, 2]}, "stop": {"metric": "test_auc", "target": 0.9}}
    config.load(experiment(**good))


def test_a_choice_by_the_time_to_an_area_of_test_rows_is_refused() -> None:
    (run,) = config.load(experiment(stop={"metric": "test_auc", "target": 0.9})).select(None)
    with pytest.raises(UserError, match="test_auc is of test rows"):
        on_held_back(run)


# --- beside others, and on paper


def test_it_stands_in_tables_where_it_was_aimed_at_and_beside_runs_of_before(results: Path) -> None:
    plain, old = trained()
    aimed, new = trained(stop={"metric": "test_auc", "epochs": 4})
    assert "AUC" not in on_80_columns(runs_table([plain]))
    assert f"{aimed['final_test_auc']:.4f}" in on_80_columns(runs_table([aimed]))
    (row,) = compare([new]).methods
    assert row.final_test_auc == pytest.approx(aimed["final_test_auc"])
    assert "AUC" in on_80_columns(compare_table(compare([new])))
    # A run that was recorded before there was such a column.
    for name in ("summary.json", "curve.csv"):
        path = old.folder / name
        lines = path.read_text().splitlines()
        if name == "summary.json":
            lines = [line for line in lines if "_auc" not in line]
        else:
            place = lines[0].split(",").index("test_auc")
            lines = [",".join(v for n, v in enumerate(line.split(",")) if n != place) for line in lines]
        path.write_text("\n".join(lines) + "\n")
    before = Recorded(old.folder)
    assert before.damage(["summary.json", "curve.csv"]) is None
    assert before.summary is not None
    assert before.summary.final_test_auc is None
    comparison = compare([before])
    assert "AUC" not in on_80_columns(compare_table(comparison))
    assert compare_rows(comparison)[0]["final_test_auc"] is None
    said: list[str] = []
    written = accuracy_plot([before, new], None, View("test_auc"), said.append)
    assert [path.name for path in written] == ["test_auc.png", "test_auc.pdf"]
    assert any(f"{before.folder} has no test_auc" in text for text in said)


def test_the_live_view_has_it_where_it_is_the_target() -> None:
    (run,) = config.load(experiment(stop={"metric": "test_auc", "target": 0.9, "epochs": 4})).select(None)
    board = Board(run)
    row = {"iteration": 5, "epoch": 1.0, "train_s": 0.5, "wall_s": 1.0, "train_loss": 0.5, "train_accuracy": 0.7}
    row |= {"test_accuracy": 0.71, "test_auc": 0.7893}
    board.event({"event": "evaluation", "row": row, "phases": {}, "memory_mb": None})
    text = "\n".join(line for line, _ in board.lines(79))
    assert "test AUC 0.7893" in text
    assert "target test AUC 0.9: not yet, best 0.7893" in text
