"""Commands whose standard streams are closed, full, gone at the other end, or of few characters."""

import json
import os
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.shell import Shell

from admmctl.cli import streams
from admmctl.runs.places import find

ASCII = {"PYTHONIOENCODING": "ascii"}
EXTRAS = {"tensorboard": ["tensorboardX"], "mlflow": ["mlflow", "sqlalchemy", "alembic", "sqlparse"]}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def command(
    words: list[object],
    redirections: str = "",
    environment: dict[str, str] | None = None,
    largest: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """``admmctl`` in a real shell that redirects its streams; no file of it gets more than ``largest`` bytes."""

    def limit() -> None:  # Python ignores the signal that goes with it, and gets an error
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    line = f'exec "$@" {redirections}'
    return subprocess.run(
        ["bash", "-c", line, "-", sys.executable, "-P", "-m", "admmctl.cli", *map(str, words)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        preexec_fn=limit,
        timeout=60,
        check=False,
    )


@pytest.fixture
def rows(shell: Shell, results: Path) -> list[object]:
    """The words of a ``predict`` that prints more than a pipe holds."""
    assert shell("train", "tiny.yaml").code == 0
    Path("X.csv").write_text("0.1,0.2,0.3\n" * 8000)
    return ["predict", *(run.folder for run in find()), "--input", "X.csv"]


# --- closed


@pytest.mark.parametrize(
    ("arguments", "code", "closings"),
    [
        (["runs", "list"], 0, [">&-", "2>&-", "<&-", ">&- 2>&- <&-"]),
        (["runs", "show", "nowhere"], 2, [">&-", "2>&-", "<&-", ">&- 2>&- <&-"]),
        (["nothing"], 2, ["2>&-"]),
        (["--help"], 0, [">&-"]),
    ],
)
def test_closed_streams_change_nothing_else(
    shell: Shell, arguments: list[object], code: int, closings: list[str]
) -> None:
    plain = command(arguments)
    assert plain.returncode == code
    for redirections in closings:
        closed = command(arguments, redirections)
        assert closed.returncode == code
        # What would have been printed on one is not printed on the other.
        assert closed.stdout == (b"" if ">&-" in redirections.replace("2>&-", "") else plain.stdout)
        assert closed.stderr == (b"" if "2>&-" in redirections else plain.stderr)


def test_a_question_without_standard_input_is_refused(shell: Shell, results: Path) -> None:
    assert shell("train", "tiny.yaml").code == 0
    done = command(["runs", "remove", *(run.folder for run in find())], "<&-")
    assert done.returncode == 2
    assert b"there is no terminal to ask at; add --yes\n" in done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("cores", [1, 2])
def test_a_run_without_any_stream_is_recorded_and_nothing_is_printed_into_its_files(
    shell: Shell, results: Path, cores: int
) -> None:
    done = command(["train", "tiny.yaml", "--cores", cores, "--oversubscribe"], ">&- 2>&- <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (run,) = (found.folder for found in find())
    assert json.loads((run / "summary.json").read_text())["iterations"] == 3
    other = shell("train", "tiny.yaml", "--cores", cores, "--oversubscribe", "--json").json()["runs"][0]["folder"]
    for name in ("config.yaml", "curve.csv"):
        lines = [(folder / name).read_text().splitlines() for folder in (run, Path(other))]
        assert [line.split(",")[0] for line in lines[0]] == [line.split(",")[0] for line in lines[1]]


# --- broken


def test_a_reader_that_goes_away_in_the_middle_is_no_error(rows: list[object]) -> None:
    for more in ([], ["--json"]):
        done = command([*rows, *more], "2>errors | head -1; echo ${PIPESTATUS[0]}")
        assert done.stdout.splitlines()[1:] == [b"0"]
        assert Path("errors").read_bytes() == b""


def test_a_command_that_fails_fails_in_a_closed_pipe_too(shell: Shell, results: Path) -> None:
    done = command(["runs", "show", "nowhere"], "2>&1 | exec true; echo ${PIPESTATUS[0]}")
    assert done.stdout == b"2\n"


def test_a_run_is_not_lost_with_the_pipe_of_its_progress(shell: Shell, results: Path) -> None:
    done = command(["train", "tiny.yaml", "--json"], "2> >(exec true)")
    assert done.returncode == 0
    (run,) = json.loads(done.stdout)["runs"]
    assert run["iterations"] == 3


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_standard_output_that_is_full_is_one_line_and_exit_code_1(rows: list[object], more: list[object]) -> None:
    done = command([*rows, *more], "> out", largest=1024)
    assert (done.returncode, done.stderr) == (1, b"error: standard output cannot be written: File too large\n")
    assert Path("out").stat().st_size == 1024


def test_help_on_a_full_disk_fails_too(shell: Shell) -> None:
    done = command(["--help"], "> out", largest=0)
    assert (done.returncode, done.stderr) == (1, b"error: standard output cannot be written: File too large\n")


def test_messages_that_cannot_be_written_change_no_exit_code(shell: Shell) -> None:
    assert command(["runs", "show", "nowhere"], "2> out", largest=0).returncode == 2


def test_output_that_blocks_is_waited_for(tmp_path: Path) -> None:
    end, start = os.pipe()
    os.set_blocking(start, False)
    program = f"import time; time.sleep(0.3); print(len(open({end}, 'rb').read()))"
    reader = subprocess.Popen([sys.executable, "-c", program], pass_fds=[end], stdout=subprocess.PIPE)
    os.close(end)
    with open(start, "wb", buffering=0), streams.Lossy(start) as stream:  # noqa: PTH123
        left = b"x" * 300_000  # more than a pipe holds
        while left:
            left = left[stream.write(left) :]
    assert stream.failure is None
    assert reader.communicate(timeout=20)[0] == b"300000\n"


# --- of few characters


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE, {"PYTHONIOENCODING": "latin-1"}])
def test_characters_that_an_encoding_lacks_are_spelled_out(
    shell: Shell, results: Path, environment: dict[str, str]
) -> None:
    name = "r\u2026\u00fc"  # the second is in latin-1, the first is not
    Path("strange.yaml").write_text(Path("tiny.yaml").read_text())
    assert shell("train", "strange.yaml").code == 0
    (run,) = (found.folder for found in find())
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "method": name}))
    spelled = rb"r\u2026" + (b"\xfc" if "latin-1" in environment.values() else rb"\xfc")
    for name_of_command in ("show", "list", "compare", "phases") if environment == ASCII else ("show",):
        done = command(["runs", name_of_command], environment=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert name_of_command != "show" or spelled in done.stdout
    assert (
        json.loads(command(["runs", "show", "--json"], environment=environment).stdout)["runs"][0]["method"]
        == name
    )


@pytest.mark.parametrize("environment", [{}, ASCII, C_LOCALE])
def test_names_that_are_no_text_keep_their_bytes(
    shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    place = os.fsdecode(b"n\xff")
    monkeypatch.setenv("ADMMCTL_RESULTS", place)
    assert shell("train", "tiny.yaml").code == 0
    dry = command(["train", "tiny.yaml", "--launcher", "sbatch", "--dry-run"], environment=environment)
    assert b"n\xff/tiny/job-admm-p1/experiment.yaml'" in dry.stdout
    assert b"n\xff/tiny/admm-p1" in command(["runs", "show"], environment=environment).stdout
    assert b"nowhere\xff: there is no such run" in command(
        ["runs", "show", os.fsdecode(b"nowhere\xff")], environment=environment
    ).stderr  # fmt: skip
    for form, file in (("csv", "runs.csv"), ("tensorboard", ""), ("mlflow", "")) if environment else ():
        if form != "csv" and not all(map(find_spec, EXTRAS[form])):
            continue
        done = command(["runs", "export", "--format", form, "--output", form], environment=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert not file or b"n\xff/tiny/admm-p1" in (Path(form) / file).read_bytes()
