"""``admmctl report`` as people meet it: where the page lands, what is said, when a browser opens."""

import json
import re
import sys
from importlib import resources
from pathlib import Path

import pytest
from support.recorded_runs import write_figure, write_run
from support.shell import TINY, Shell

from admmctl.papers.catalogue import CLAIMS
from admmctl.papers.told import chosen, judged
from admmctl.report import browser


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked for; none opens."""
    addresses: list[str] = []

    def remember(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(browser.webbrowser, "open", remember)
    return addresses


def test_a_run_ends_up_in_the_report(shell: Shell, results: Path, opened: list[str]) -> None:
    Path("tiny.yaml").write_text(TINY)
    assert shell("train", "tiny.yaml").code == 0
    answer = shell("report")
    assert (answer.code, answer.out, answer.err) == (0, f"{results / 'report.html'}\n", "")
    (run,) = (results / "tiny").iterdir()
    content = (results / "report.html").read_text()
    assert run.name in content
    assert json.loads((run / "summary.json").read_text())["rerun"] in content
    assert opened == []  # standard output is no terminal here


def test_the_papers_claims_are_the_first_part_of_all_runs_and_no_part_of_other_runs(
    shell: Shell, results: Path, opened: list[str]
) -> None:
    write_run(results)
    assert shell("report").code == 0
    content = (results / "report.html").read_text()
    assert re.findall('<section aria-labelledby="(.*?)" class="part">', content)[0] == "claims"
    assert content.count("<article") == len(CLAIMS)
    untold = [claim for claim in judged(chosen([])) if claim.verdict == "cannot be told here"]
    assert len(untold) > 50  # all but what is told from no run at all
    for ours in (False, True):  # counted apart
        many = sum(claim.ours is ours for claim in untold)
        assert f"{many}</strong> <span>cannot be told here" in content
    assert shell("report", "made").code == 0
    assert "<article" not in (results / "report.html").read_text()


def test_a_report_without_verdicts_is_a_report(
    shell: Shell, results: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the experiment files that came with the package were removed."""
    write_run(results, experiment="higgs")  # which claims are told from
    monkeypatch.setattr("admmctl.experiment.bundled.FOLDERS", (Path("configs"),))
    answer = shell("report")
    assert (answer.code, answer.err) == (0, "")
    content = (results / "report.html").read_text()
    assert re.search("None has a verdict here: there is no configs/.*yaml here, nor in this installation", content)
    assert "<article" not in content


def test_json_says_what_is_in_it_and_what_was_left_out(shell: Shell, results: Path) -> None:
    slowed = write_run(results, disturbed=True)
    write_run(results, experiment="other")
    write_figure(results / "figures", "one")
    (results / "figures" / "broken.json").write_text("{")
    answer = shell("report", "made", "--output", "else/where.html", "--json")
    assert answer.code == 0
    assert answer.err.startswith(f"left out: {results / 'figures' / 'broken.json'}: it is not JSON")
    found = answer.json()
    assert (found["report"], found["runs"], found["experiments"], found["figures"]) == ("else/where.html", 1, 1, 0)
    assert found["disturbed"] == [str(slowed)]
    assert found["bytes"] == Path("else/where.html").stat().st_size
    assert not (results / "report.html").exists()


def test_the_report_takes_the_place_of_the_one_before(shell: Shell, results: Path) -> None:
    write_run(results)
    assert shell("report").code == 0
    write_run(results, experiment="later")
    assert shell("report").code == 0
    assert "later" in (results / "report.html").read_text()
    assert sorted(path.name for path in results.iterdir()) == ["later", "made", "report.html"]


def test_what_cannot_be_reported_is_one_clear_error(shell: Shell, results: Path) -> None:
    assert "nothing to report: no runs and no figures in" in shell.refusal("report")
    (results / "figures").mkdir(parents=True)
    (results / "figures" / "broken.json").write_text("{")
    assert "broken.json: it is not JSON" in shell.refusal("report")
    write_run(results)
    Path("file").touch()
    for words, message in {
        "nowhere": "there is no such run",
        "made --open sometimes": "--open sometimes: valid: auto, yes, no",
        "--output .": "expected the name of a file",
        "--output file/report.html": "cannot be written",
    }.items():
        assert message in shell.refusal("report", *words.split())
    assert not (results / "report.html").exists()


@pytest.mark.parametrize(
    ("when", "terminal", "environment", "opens"),
    [
        ("yes", False, {"CI": "1"}, True),
        ("no", True, {"DISPLAY": ":0"}, False),
        ("auto", True, {"DISPLAY": ":0"}, True),
        ("auto", True, {"DISPLAY": ":0", "CI": "true"}, False),
        ("auto", True, {}, False),
        ("auto", False, {"DISPLAY": ":0"}, False),
    ],
)
def test_a_browser_opens_where_somebody_looks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    when: str,
    terminal: bool,
    environment: dict[str, str],
    opens: bool,
) -> None:
    for name in ("CI", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    said: list[str] = []
    page = tmp_path / "a report.html"
    assert browser.show(page, when, said.append) is opens
    assert opened == ([page.as_uri()] if opens else [])
    assert said == []


def test_without_a_browser_it_says_so(shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(results)
    monkeypatch.setattr(browser.webbrowser, "open", lambda address: False)
    answer = shell("report", "--open", "yes")
    assert (answer.code, answer.out) == (0, f"{results / 'report.html'}\n")
    assert answer.err == f"no web browser was found; open {results / 'report.html'} by hand\n"


@pytest.mark.parametrize("name", ["page.css", "page.js", "templates/page.html"])
def test_style_script_and_templates_are_part_of_the_package(name: str) -> None:
    """They are read through the package, and pyproject.toml names them for wheels."""
    assert len(resources.files("admmctl.report").joinpath(name).read_text(encoding="utf-8")) > 1000
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"admmctl.report" = ["page.css", "page.js", "templates/*.html"]' in project
