"""What a release says of itself is the same in every place, and the workflow tries what it promises."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from admmctl import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_changelog_is_by_version_and_the_first_is_this_one() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    versions = [re.fullmatch(r"(\d+\.\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)", heading) for heading in headings]
    assert None not in versions, headings
    numbers = [match[1] for match in versions if match is not None]
    assert numbers[0] == __version__
    assert numbers == sorted(set(numbers), key=lambda text: [*map(int, text.split("."))], reverse=True)


def test_the_notes_of_this_version_name_every_extra(project: Any) -> None:
    notes = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1].partition("\n### ")[0]
    (extras,) = re.findall(r"Extras: (.*?)\.", notes, re.S)
    assert set(re.findall("`(.*?)`", extras)) == set(project["optional-dependencies"]) - {"dev"}


def test_the_citation_is_of_this_version(project: Any) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


def test_the_workflow_runs_ci_on_every_python_that_is_promised(project: Any) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    promised = [line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith("Programming")]
    assert job["strategy"]["matrix"]["python"] == promised
    assert project["requires-python"] == f">={promised[0]}"
    assert job["steps"][-1] == {"run": "bash .ci/run"}
    assert all(re.fullmatch(r"[\w/-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    assert (ROOT / ".ci" / "run").is_file()
