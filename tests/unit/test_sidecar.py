"""Descriptions of figures: what they say, and that a broken one is named and nothing more."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.recorded_runs import description, number, write_figure

from admmctl.report.sidecar import read_figures


def write(folder: Path, name: str, content: dict[str, Any]) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_a_description_is_read_as_it_is(tmp_path: Path) -> None:
    runs = ["results/svhn/admm-p1-s0-1"]
    write_figure(tmp_path, "one", numbers=[number(note="n", same_work=False, paper=None, ratio=None)], runs=runs)
    (figure,), broken = read_figures(tmp_path)
    assert broken == []
    assert (figure.name, figure.number, figure.kind, figure.runs) == ("one", "Figure 1", "figure", runs)
    assert figure.paths == {ending: tmp_path / f"one.{ending}" for ending in ("png", "pdf", "csv")}
    (item,) = figure.numbers
    assert (item.paper, item.ours, item.ratio, item.same_work, item.note) == (None, 5.0, None, False, "n")


def test_figures_come_by_paper_and_number_and_illustrations_last(tmp_path: Path) -> None:
    for name, paper, place, kind in (
        ("a", "Burmeister", "Figure 1", "illustration"),
        ("b", "Taylor", "Figure 10", "figure"),
        ("c", "Taylor", "Figure 2", "illustration"),
        ("d", "Feng", "Table 1", "table"),
        ("e", "Feng", "", "figure"),
    ):
        write(tmp_path, name, description(name, paper=paper, number=place, kind=kind))
    figures, broken = read_figures(tmp_path)
    assert broken == []
    assert "".join(figure.name for figure in figures) == "edcba"


def test_files_may_lack_and_those_that_are_gone_are_named(tmp_path: Path) -> None:
    write(tmp_path, "one", description("one", files={"png": None, "csv": "one.csv"}, scale=None))
    (figure,), _ = read_figures(tmp_path)
    assert (figure.paths, figure.absent, figure.scale) == ({}, ["one.csv"], "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "film"}, "kind: expected one of figure, table, illustration, found 'film'"),
        ({"caption": 3}, "caption: expected text, found 3"),
        ({"files": ["a.png"]}, "files: "),
        ({"files": {"png": "../secret.png"}}, "files: expected the names of .png, .pdf and .csv files beside it"),
        ({"files": {"png": "/etc/passwd"}}, "files: "),
        ({"files": {"png": "notes.txt"}}, "files: "),
        ({"files": {"png": "text.png"}}, "text.png is no PNG image"),
        ({"runs": "results"}, "runs: expected a list, found 'results'"),
        ({"runs": [1]}, "runs[0]: expected text, found 1"),
        ({"numbers": {}}, "numbers: expected a list, found {}"),
        ({"numbers": [1]}, "numbers[0]: expected keys and values, found 1"),
        ({"numbers": [number(), number(paper="13")]}, "numbers[1].paper: expected a number or null, found '13'"),
        ({"numbers": [number(ours=True)]}, "numbers[0].ours: expected a number or null, found True"),
        ({"numbers": [number(ratio=float("nan"))]}, "numbers[0].ratio: expected a number or null, found nan"),
        ({"numbers": [number(ours=float("inf"))]}, "numbers[0].ours: expected a number or null, found inf"),
        ({"numbers": [number(same_work="yes")]}, "numbers[0].same_work: expected true or false, found 'yes'"),
        ({"numbers": [{"what": "x"}]}, "numbers[0].unit, numbers[0].paper,"),
    ],
)
def test_a_broken_description_is_named_with_its_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    (tmp_path / "text.png").write_text("no image")
    write(tmp_path, "good", description("good"))
    path = write(tmp_path, "bad", description("bad", **changes))
    figures, (broken,) = read_figures(tmp_path)
    assert [figure.name for figure in figures] == ["good"]
    assert broken.file == str(path)
    assert reason in broken.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *((content, "it is not JSON") for content in (b"", b"{", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}")),
        (b"\xff", "it is not text in UTF-8"),
        *((content, "expected keys and values, found") for content in (b"[]", b"3", b'"text"')),
        *((content, "it does not describe a figure: it lacks name,") for content in (b"{}", b'{"trials": []}')),
    ],
    ids=lambda value: value[:12],
)
def test_a_foreign_file_is_left_out(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "foreign.json").write_bytes(content)
    figures, (broken,) = read_figures(tmp_path)
    assert figures == []
    assert broken.reason.startswith(reason)


def test_no_folder_has_no_figures(tmp_path: Path) -> None:
    assert read_figures(tmp_path / "nowhere") == ([], [])
    (tmp_path / "folder.json").mkdir()
    assert read_figures(tmp_path)[1][0].reason == "it is not a file"


def test_a_figure_is_about_the_runs_it_was_drawn_from(tmp_path: Path) -> None:
    write(tmp_path, "one", description("one", runs=["results/svhn/admm-p1-s0-1"]))
    (figure,), _ = read_figures(tmp_path)
    assert figure.about([Path("/elsewhere/results/svhn/admm-p1-s0-1")])
    assert not figure.about([Path("results/svhn/admm-p1-s1-1"), Path("results/mnist/admm-p1-s0-1")])
