"""The rehearsal: it goes on where it stopped, measures its steps, and removes nothing that is not its own."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.scripts import made_up_data, rehearsal
from support.small_data import get

from admmctl.experiment import config as configuration
from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.make import source

DONE = rehearsal.Measured(2.0, 3.0, 4.0, 1, True)


def step(name: str, text: str, removes: str = "") -> rehearsal.Step:
    return rehearsal.Step(name, [sys.executable, "-c", text], removes)


@pytest.fixture
def planned(monkeypatch):
    """Takes the steps that a rehearsal has."""

    def plan(*steps):
        monkeypatch.setattr(rehearsal, "steps", lambda folder, share: list(steps))

    return plan


def made_in(folder: Path) -> dict:
    return json.loads((folder / rehearsal.STATE).read_text())["steps"]


def test_steps_are_made_in_their_order_in_folders_of_their_own(tmp_path, planned):
    write = "import os; open(os.environ['ADMMCTL_{}'] + '.txt', 'a').write('{}')"
    planned(
        step("one", write.format("RESULTS", "a")),
        step("two", "import os; os.makedirs(os.environ['ADMMCTL_RESULTS'])", "results"),
        step("three", write.format("DATASETS", "c")),
    )
    made = rehearsal.rehearse(tmp_path / "r", 0.01)
    assert [(name, one.goes, one.done) for name, one in made.items()] == [
        ("one", 1, True),
        ("two", 1, True),
        ("three", 1, True),
    ]
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        "datasets.txt",
        "rehearsal.json",
        "results.txt",
    ]


def test_a_step_that_failed_is_tried_again_and_those_before_are_not(tmp_path, planned):
    once = step("one", "open('made', 'x')".replace("made", str(tmp_path / "made")))
    planned(once, step("two", "raise SystemExit(5)"))
    with pytest.raises(SystemExit) as end:
        rehearsal.rehearse(tmp_path / "r", 1e-3)
    assert end.value.code == 1
    planned(once, step("two", ""))
    made = rehearsal.rehearse(tmp_path / "r", 1e-3)
    assert (made["one"].goes, made["two"].goes, made["two"].done) == (1, 2, True)


def test_memory_and_disk_of_a_step_are_those_of_all_its_processes(tmp_path, planned):
    hold = "x = b'1' * (60 << 20); import time; time.sleep(1)"
    both = (
        f"import subprocess, sys; held = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; held.wait()"
    )
    file = f"open({str(tmp_path / 'r' / 'file')!r}, 'wb').write(bytes(5 << 20))"
    planned(step("one", f"{file}; {both}", "../nothing"))
    (tmp_path / "nothing").mkdir()
    one = rehearsal.rehearse(tmp_path / "r", 1e-3)["one"]
    assert 120 < one.memory_mb < 200
    assert 5 <= one.disk_mb < 6
    assert 1 <= one.seconds < 20


def test_an_interrupted_step_ends_and_the_same_command_goes_on(tmp_path):
    """As a process of its own: signals come to it alone. A step takes its time to end, and is asked twice."""
    script, ready, asked = tmp_path / "rehearse.py", tmp_path / "ready", tmp_path / "asked"
    (tmp_path / "waiting.py").write_text(
        f"""
import pathlib, signal, time
asked, ready = pathlib.Path({str(asked)!r}), pathlib.Path({str(ready)!r})
def ask(*_):
    asked.write_text(asked.read_text() + "x" if asked.exists() else "x")
signal.signal(signal.SIGTERM, ask)
again = ready.exists()
ready.touch()
start = time.monotonic()
while not again and not (asked.exists() and len(asked.read_text()) > 1) and time.monotonic() < start + 30:
    time.sleep(0.02)
"""
    )
    script.write_text(
        f"""
import sys
sys.path[:0] = {[str(Path(rehearsal.__file__).parent)]!r}
import rehearsal
wait = "import sys; sys.path[:0] = sys.argv[1:]; import waiting"
rehearsal.steps = lambda folder, share: [rehearsal.Step("wait", [sys.executable, "-c", wait, {str(tmp_path)!r}])]
rehearsal.table = lambda made: str(made)
sys.exit(rehearsal.main(["--share", "0.001", "--keep", "--folder", {str(tmp_path / "r")!r}]))
"""
    )
    line = [sys.executable, str(script)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not ready.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        while not asked.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (3, "interrupted; the same command goes on from here\n")
    assert asked.read_text() == "xx"
    assert not made_in(tmp_path / "r")["wait"]["done"]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    assert made_in(tmp_path / "r")["wait"]["goes"] == 2


def test_somebody_elses_folder_is_left_alone(tmp_path, planned, capsys):
    (tmp_path / "thesis.tex").touch()
    planned(step("one", ""))
    assert rehearsal.main(["--small", "--folder", str(tmp_path)]) == 2
    assert "is not empty, and no rehearsal made it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ("{", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"share": 1.0, "steps": {}}', "holds a rehearsal with 1 of the rows, not 0.01"),
    ],
)
def test_a_rehearsal_of_another_size_or_a_damaged_one_is_not_gone_on_with(tmp_path, content, refusal, capsys):
    (tmp_path / rehearsal.STATE).write_text(content)
    assert rehearsal.main(["--small", "--folder", str(tmp_path)]) == 2
    assert refusal in capsys.readouterr().err


@pytest.mark.parametrize("what", ["disk", "memory"])
def test_too_little_room_is_one_clear_error(tmp_path, monkeypatch, capsys, what):
    if what == "disk":
        monkeypatch.setattr(rehearsal.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 14e9}))
    else:
        monkeypatch.setattr("admmctl.runs.memory.available", lambda: 14e9)
    assert rehearsal.main(["--folder", str(tmp_path / "r")]) == 2
    need = {"disk": 15, "memory": 16}[what]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"{need}.0 GB of {what} are needed, and 14.0 GB are free" in lines[0]
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("keep", [False, True])
def test_the_folder_goes_at_the_end_unless_it_is_to_be_kept(tmp_path, planned, capsys, keep):
    names = ("fetch HIGGS", "train on HIGGS, 2 ranks")
    planned(*(step(name, "") for name in names))
    assert rehearsal.main(["--small", "--folder", str(tmp_path / "r"), *["--keep"] * keep]) == 0
    assert (tmp_path / "r").exists() == keep
    assert "HIGGS from the file to a trained network" in capsys.readouterr().out


def test_the_table_adds_seconds_and_takes_the_most_of_memory_and_disk():
    text = rehearsal.table(
        {"fetch HIGGS": DONE, "train on HIGGS, 2 ranks": rehearsal.Measured(118, 1e4, 1, 2, True)}
    )
    assert "| train on HIGGS, 2 ranks (in 2 goes) | 118 | 10.49 GB | 0.00 GB |" in text
    assert "| all | 120 | 10.49 GB | 0.00 GB |" in text
    assert text.endswith("HIGGS from the file to a trained network: 2.0 minutes, 10.49 GB of memory.")


# --- its steps


def test_every_command_of_admmctl_is_understood(tmp_path, shell):
    commands = [step.command[3:] for step in rehearsal.steps(tmp_path, 0.01) if step.command[2:3] == ["admmctl"]]
    assert [words[0] for words in commands] == ["fetch", "fetch", "train", "train", "scaling", "scaling"]
    for words in commands:
        if words[0] == "train":
            assert shell(*words, "--dry-run").code == 0
        else:  # there is nothing to fetch from, and no data: so far they are right
            assert "there is no such file" in (told := shell.refusal(*words)) or "run: admmctl fetch" in told


@pytest.mark.parametrize("name", rehearsal.FIGURES)
def test_figures_have_methods_that_a_small_machine_has_time_for(name):
    entry = CATALOGUE[name]
    methods = [method for method in entry.methods if method in rehearsal.BUDGETS[entry.config]]
    assert tuple(methods) == entry.methods  # the paper's own method is among them
    path, changes = source(entry, "full")
    runs = configuration.load(path, [*changes, *rehearsal.changes(entry.config, methods)]).runs
    for method in methods:
        stop = runs[method].stop
        assert (stop.iterations or 0) <= 100
        assert (stop.epochs or 0) <= 3
        assert stop.iterations or stop.epochs


def test_a_figure_is_drawn_and_what_lacks_a_mark_is_found(results, tmp_path, monkeypatch, capsys):
    made_up_data.make_svhn(tmp_path / "files", 1e-3, jobs=1)
    get("svhn", tmp_path / "files", extra=True)
    monkeypatch.setattr("admmctl.launch.local.available_cores", lambda: 1)
    few = {"admm": "{iterations: 2}", "lbfgs": "{iterations: 2}"}
    monkeypatch.setattr(rehearsal, "BUDGETS", {"svhn": few})
    rehearsal.draw("taylor-1b")
    assert (results / "figures" / "taylor-1b.png").is_file()
    caption = json.loads((results / "figures" / "taylor-1b.json").read_text())["caption"]
    assert "made-up data" in caption
    assert "a rehearsal, with one repeat" in caption
    monkeypatch.setenv("ADMMCTL_RESULTS", str(results))
    assert rehearsal.main(["--check"]) == 0
    summary = next((results / "svhn").glob("admm-*/summary.json"))
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "data_made_up": False}))
    assert rehearsal.main(["--check"]) == 1
    assert f"not marked as made up: {summary}" in capsys.readouterr().out
