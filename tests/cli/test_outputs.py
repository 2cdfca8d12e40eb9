"""Files that users name for output: what is there already stays what it is, a pipe, a device, a link."""

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.recorded_runs import write_run
from support.shell import Answer, Shell
from support.studies import Study

from admmctl.files import atomic, move

# Commands that write to a file that is named, with the runs of ``shell``: what stands before its name.
ONE_FILE: dict[str, list[str]] = {
    "predict": ["predict", "RUN", "--input", "rows.npy", "--output"],
    "compare": ["runs", "compare", "made", "--csv"],
    "phases": ["runs", "phases", "made", "--csv"],
    "report": ["report", "made", "--output"],
}
# Commands that write several files, into a folder or beside a name.
SEVERAL: dict[str, list[str]] = {
    "accuracy-plot": ["accuracy-plot", "made", "--output"],
    "target-plot": ["target-plot", "made", "--over", "ridge", "--output"],
    "export": ["runs", "export", "made", "--format", "csv", "--output"],
    "figures": ["figures", "activations", "--output"],
    "scaling-plot": ["scaling-plot", "studied", "--output"],
    "condition": ["condition", "unread.yaml", "--output"],
}
commands = pytest.mark.parametrize("command", ONE_FILE.values(), ids=ONE_FILE)


@pytest.fixture
def shell(shell: Shell, results: Path, tmp_path: Path) -> Callable[..., Answer]:
    """Runs a command beside two made-up runs, of which the second, RUN, can predict."""
    for seed in (0, 1):
        run = write_run(results, seed=seed)
        (run / "phases.csv").write_text("phase,max_s,mean_s,min_s\ngram,1.5,1.5,1.5\n")
    W, b = np.ones((1, 3)), np.zeros(1)
    np.savez(
        run / "weights.npz",
        bias=True,
        activation="relu",
        classes=np.array([0, 1]),
        threshold=0.5,
        input_shift=np.zeros(3, np.float32),
        input_factor=np.ones(3, np.float32),
        best_iteration=1,
        final_iteration=1,
        final_W1=W,
        final_b1=b,
        best_W1=W,
        best_b1=b,
    )
    np.save(tmp_path / "rows.npy", np.ones((4, 3), np.float32))
    Study(results / "studied" / "scaling-admm").runs({1: [4.0], 2: [2.0]})
    return lambda *arguments: shell(*(str(run) if argument == "RUN" else argument for argument in arguments))


@contextmanager
def pipe(path: Path) -> Iterator[list[bytes]]:
    """A pipe that is read while the block writes to it, and what came out of it; it stays a pipe."""
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    yield read
    reader.join(timeout=10)
    assert stat.S_ISFIFO(path.stat().st_mode)


@commands
@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_is_written_to_and_stays_a_pipe(shell, command: list[str], tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("pipe")
    with pipe(tmp_path / "pipe") as read:
        answer = shell(*command, name)
    assert answer.code == 0, answer.err
    assert (tmp_path / "link").is_symlink()
    shell(*command, "file")
    assert read[0][:100] == (tmp_path / "file").read_bytes()[:100] != b""
    assert not list(tmp_path.glob(".*part"))


@commands
def test_a_device_stays_a_device(shell, command: list[str], tmp_path: Path) -> None:
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        node.write_text("")
    except OSError:
        pytest.skip("only root makes devices, and not everywhere")
    assert shell(*command, "null").code == 0
    assert stat.S_ISCHR(node.stat().st_mode)


@commands
def test_a_link_stays_a_link_and_its_file_is_replaced(shell, command: list[str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "file"
    (tmp_path / "link").symlink_to("elsewhere/file")
    (tmp_path / "second").symlink_to("link")
    for name in ("link", "second"):  # to nothing at first
        assert shell(*command, name).code == 0
        assert (tmp_path / name).is_symlink()
        assert target.read_bytes()
        target.write_text("old")
    assert sorted(path.name for path in target.parent.iterdir()) == ["file"]


@commands
@pytest.mark.parametrize("there", ["folder", "link to a missing folder", "link to itself"])
def test_where_nothing_can_be_written_one_error_says_so(
    shell, command: list[str], there: str, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    if there == "folder":
        place.mkdir()
    else:
        place.symlink_to("place" if there == "link to itself" else "missing/file")
    answer = shell(*command, "place")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert place.is_symlink() == (there != "folder")


@commands
def test_a_dash_is_standard_output(shell, command: list[str], tmp_path: Path) -> None:
    answer = shell(*command, "-")
    assert answer.code == 0
    assert not (tmp_path / "-").exists()
    shell(*command, "file")
    written = (tmp_path / "file").read_text()
    assert answer.out[:300] == written[:300] != ""
    assert len(answer.out) == len(written)


@commands
@pytest.mark.parametrize("name", ["-", "out"])
def test_standard_output_beside_json_is_refused(shell, command: list[str], tmp_path: Path, name: str) -> None:
    (tmp_path / "out").symlink_to("/proc/self/fd/1")
    answer = shell(*command, name, "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "both write to standard output" in answer.err


@commands
def test_a_file_beside_json_is_written_too(shell, command: list[str], tmp_path: Path) -> None:
    answer = shell(*command, "file", "--json")
    assert isinstance(json.loads(answer.out), dict)
    assert (tmp_path / "file").stat().st_size > 0


@pytest.mark.parametrize("command", SEVERAL.values(), ids=SEVERAL)
def test_several_files_do_not_fit_on_standard_output(shell, command: list[str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = shell(*command, "-")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: --output -: expected ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_figure_is_written_to_pipes(shell, tmp_path: Path) -> None:
    with pipe(tmp_path / "figure.png") as png, pipe(tmp_path / "figure.pdf") as pdf:
        assert shell("accuracy-plot", "made", "--output", "figure").code == 0
    assert (png[0][:4], pdf[0][:4]) == (b"\x89PNG", b"%PDF")


def test_an_export_goes_through_links(shell, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/tables")
    for _ in range(2):  # to nothing, and to the folder that was made
        assert shell("runs", "export", "made", "--format", "csv", "--output", "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk" / "tables").glob("*.csv")) == ["curves.csv", "runs.csv"]
    table = tmp_path / "disk" / "tables" / "runs.csv"
    table.rename(tmp_path / "kept.csv")
    table.symlink_to(tmp_path / "kept.csv")
    (tmp_path / "kept.csv").write_text("old")
    assert shell("runs", "export", "made", "--format", "csv", "--output", "link").code == 0
    assert table.is_symlink()
    assert (tmp_path / "kept.csv").read_text().startswith("run,")


# -- what all of them use


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(mode)
    with atomic(path) as file:
        file.write("new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", mode)


def test_an_open_file_that_has_no_name_any_more_is_written_to(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("names of open files are Linux's")
    path = tmp_path / "gone"
    with path.open("w+") as file:
        path.unlink()
        with atomic(Path(f"/proc/self/fd/{file.fileno()}")) as written:
            written.write("here")
        file.seek(0)
        assert file.read() == "here"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [0, 2])
def test_an_open_file_is_written_to_where_it_stands(tmp_path: Path, links: int) -> None:
    """As /dev/stdout is after >> file: what is in the file stays, and what comes later is in the same file."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("names of open files are Linux's")
    with (tmp_path / "log").open("a+") as file:
        file.write("before\n")
        file.flush()
        name = Path(f"/proc/self/fd/{file.fileno()}")
        for number in range(links):
            (tmp_path / f"link{number}").symlink_to(name)
            name = tmp_path / f"link{number}"
        with atomic(name) as written:
            written.write("here\n")
        file.write("after\n")
    assert (tmp_path / "log").read_text() == "before\nhere\nafter\n"
    assert len(list(tmp_path.iterdir())) == 1 + links


def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.write_text("old")
    try:
        os.chown(path, 12345, 23456)
    except OSError:
        pytest.skip("only root gives files away")
    with atomic(path) as file:
        file.write("new")
    assert (path.read_text(), path.stat().st_uid, path.stat().st_gid) == ("new", 12345, 23456)


def test_a_page_in_a_pipe_is_not_opened_in_a_browser(
    shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or True)
    with pipe(tmp_path / "pipe"):
        assert shell("report", "made", "--output", "pipe", "--open", "yes").code == 0
    assert opened == []
    assert shell("report", "made", "--output", "file", "--open", "yes").code == 0
    assert len(opened) == 1


def test_text_is_utf8_wherever_it_is_written(tmp_path: Path) -> None:
    with atomic(tmp_path / "text") as file:
        file.write("é")
    assert (tmp_path / "text").read_bytes() == "é".encode()


def test_moving_a_file_leaves_a_link_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "source").write_text("new")
    move(tmp_path / "source", tmp_path / "link")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "target").read_text()) == (True, "new")
    assert not (tmp_path / "source").exists()


def test_moving_a_file_keeps_the_permissions_of_the_one_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(0o640)
    (tmp_path / "source").write_text("new")
    move(tmp_path / "source", tmp_path / "old")
    found = tmp_path / "old"
    assert (found.read_text(), stat.S_IMODE(found.stat().st_mode)) == ("new", 0o640)
