"""One damaged run folder stops no command: it is left out, and named with the reason on standard error."""

from pathlib import Path

import pytest
from support.recorded_runs import write_run
from support.shell import Answer, Shell
from support.studies import Study

pytestmark = pytest.mark.usefixtures("quick")

SUMMARY, CURVE, PHASES = "summary.json", "curve.csv", "phases.csv"
ENVIRONMENT, CONFIG, CONFUSION = "environment.json", "config.yaml", "confusion.json"

# Commands, and the files of a run that each of them reads.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "list": (["runs", "list", "RUNS"], [SUMMARY]),
    "show": (["runs", "show", "RUNS"], [SUMMARY, CURVE, PHASES, ENVIRONMENT, CONFIG, CONFUSION]),
    "compare": (["runs", "compare", "RUNS"], [SUMMARY, ENVIRONMENT, CONFIG]),
    "phases": (["runs", "phases", "RUNS"], [SUMMARY, PHASES, ENVIRONMENT, CONFIG]),
    "export": (
        ["runs", "export", "RUNS", "--format", "csv", "--output", "tables"],
        [SUMMARY, CURVE, ENVIRONMENT, CONFIG],
    ),
    "report": (["report", "RUNS"], [SUMMARY, CURVE, PHASES, ENVIRONMENT, CONFIG]),
    "accuracy-plot": (["accuracy-plot", "RUNS"], [SUMMARY, CURVE, CONFIG]),
    "target-plot": (["target-plot", "RUNS", "--over", "rho"], [SUMMARY, CURVE, CONFIG]),
}
CASES = [(name, file) for name, (_, files) in COMMANDS.items() for file in files]


def call(shell: Shell, command: str, *runs: object) -> Answer:
    """A command with these runs in the place of RUNS."""
    arguments = COMMANDS[command][0]
    place = arguments.index("RUNS")
    return shell(*arguments[:place], *runs, *arguments[place + 1 :])


def sound(results: Path, seed: int) -> Path:
    folder = write_run(results, seed=seed)
    config = folder / CONFIG
    config.write_text(config.read_text().replace("kind: admm", "kind: admm\n    rho: 0.5"))
    return folder


@pytest.mark.parametrize(("command", "file"), CASES, ids=[f"{name} {file}" for name, file in CASES])
def test_a_damaged_run_is_named_and_the_others_are_there(
    shell: Shell, results: Path, command: str, file: str
) -> None:
    good, bad = sound(results, 0), sound(results, 1)
    (bad / file).write_bytes(b"{\xff")
    answer = call(shell, command, "made")
    assert answer.code == 0, answer.err
    assert f"left out: {bad / file}: it is not text in UTF-8" in answer.err.splitlines()
    assert bad.name not in answer.out
    answer = call(shell, command, bad)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"error: {bad / file}: it is not text in UTF-8; mend or remove it, or name other runs\n"
    assert call(shell, command, good).err == ""


@pytest.mark.parametrize("command", ["list", "compare", "accuracy-plot"])
def test_what_a_command_does_not_read_does_not_matter(shell: Shell, results: Path, command: str) -> None:
    folder = sound(results, 0)
    for file in {SUMMARY, CURVE, PHASES, ENVIRONMENT, CONFIG} - set(COMMANDS[command][1]):
        (folder / file).write_bytes(b"{\xff")
    answer = call(shell, command, folder)
    assert (answer.code, answer.err) == (0, "")


def test_json_holds_the_sound_runs_alone(shell: Shell, results: Path) -> None:
    good, bad = sound(results, 0), sound(results, 1)
    (bad / SUMMARY).write_text('{"status": "failed", "reason": "", "iterations": 0}')
    answer = shell("runs", "list", "--json")
    assert [run["folder"] for run in answer.json()["runs"]] == [str(good)]
    assert answer.err.startswith(f"left out: {bad / SUMMARY}: it lacks experiment, method, ")


def test_the_report_names_what_is_left_out_too(shell: Shell, results: Path) -> None:
    sound(results, 0)
    (sound(results, 1) / CURVE).write_text("nonsense\n")
    assert shell("report").code == 0
    page = (results / "report.html").read_text()
    assert "curve.csv</code>: line 1: expected iteration" in page


def test_a_damaged_run_of_a_study_is_left_out_and_named(shell: Shell, results: Path) -> None:
    study = Study(results / "studied" / "scaling-admm").runs({1: [4.0, 4.0], 2: [2.0, 2.0]})
    for name, file in (("admm-p1-s1", SUMMARY), ("admm-p2-s1", PHASES)):
        (study.path / name / file).write_text("{")
    answer = shell("scaling-plot", "--json")
    assert answer.code == 0
    assert [point["runs"] for point in answer.json()["studies"][0]["points"]] == [1, 1]
    for file in (study.path / "admm-p1-s1" / SUMMARY, study.path / "admm-p2-s1" / PHASES):
        assert f"left out: {file}: " in answer.err


def test_a_damaged_study_stops_no_other(shell: Shell, results: Path) -> None:
    for name in ("one", "two"):
        Study(results / name / "scaling-admm").runs({1: [4.0], 2: [2.0]})
    broken = results / "one" / "scaling-admm" / "study.json"
    broken.write_text("{")
    answer = shell("scaling-plot", "--json")
    assert [study["study"] for study in answer.json()["studies"]] == [str(results / "two" / "scaling-admm")]
    assert f"left out: {broken} cannot be read" in answer.err
    answer = shell("scaling-plot", "one")
    assert (answer.code, answer.out) == (2, "")
    assert f"error: {broken} cannot be read" in answer.err
