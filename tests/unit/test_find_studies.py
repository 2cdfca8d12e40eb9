"""Which scaling studies STUDY arguments name, and what is said of arguments that name none."""

from pathlib import Path

import pytest
from support.studies import Study

from admmctl.errors import UserError
from admmctl.studies.points import find_studies


@pytest.fixture
def results(results: Path) -> Path:
    """Results with three studies of two experiments, and a run."""
    for place in ("one/scaling-a", "one/scaling-b", "two/scaling-a"):
        Study(results / place)
    (results / "one" / "admm-p1-s0-12345678").mkdir()
    (results / "one" / "figure.png").touch()
    return results


def names(results: Path, studies: list[Path]) -> list[str]:
    return [str(study.relative_to(results)) for study in studies]


def test_studies_are_found_by_what_they_are_called(results, monkeypatch):
    everything = ["one/scaling-a", "one/scaling-b", "two/scaling-a"]
    assert names(results, find_studies(None)) == everything
    assert names(results, find_studies([])) == everything
    assert names(results, find_studies([str(results)])) == everything
    assert names(results, find_studies([str(results / "one")])) == everything[:2]
    assert names(results, find_studies(["two", "one"])) == [everything[2], *everything[:2]]
    assert names(results, find_studies([str(results / "one" / "scaling-b")])) == everything[1:2]
    assert names(results, find_studies(["one/scaling-a"])) == everything[:1]
    monkeypatch.chdir(results)
    assert find_studies(["one/scaling-a"]) == [Path("one/scaling-a")]


def test_a_study_that_is_named_twice_is_found_once(results):
    assert names(results, find_studies(["one/scaling-a", "one"])) == ["one/scaling-a", "one/scaling-b"]


def test_other_files_that_a_glob_names_are_ignored(results):
    glob = sorted(map(str, (results / "one").iterdir()))
    assert len(glob) == 4
    assert names(results, find_studies(glob)) == ["one/scaling-a", "one/scaling-b"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, "there is no such study") for name in ("three", "one/scaling-c", "x" * 5000, "a\0b")),
        *((name, "no scaling study in") for name in ("one/figure.png", "one/admm-p1-s0-12345678")),
    ],
)
def test_what_is_no_study_is_refused(results, name, text):
    with pytest.raises(UserError, match=text):
        find_studies([name])


def test_without_any_study_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("ADMMCTL_RESULTS", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="admmctl scaling CONFIG --cores 1,2"):
        find_studies(None)
