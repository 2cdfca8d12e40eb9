"""Downloads through faults that hypothesis picks, and by processes that are killed or come two at a time."""

import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.http_faults import busy, cuts, places, scripts
from support.http_server import CONTENT, OTHER, Reply, Server, answer, get, nothing, official, part
from support.small_data import sha256

from admmctl.data import download, transfer
from admmctl.data.catalog import SourceFile
from admmctl.errors import DataError


@pytest.fixture(scope="module")
def server():
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "sleep", nothing)
        patch.setattr(transfer, "CHUNK", 256)  # many small writes
        patch.setenv("no_proxy", "*")
        yield server


# --- faults of all kinds ----------------------------------------------------------------------------------------


@contextmanager
def fresh(server: Server) -> Iterator[Path]:
    server.reset()
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def outcome(folder: Path, *addresses: str) -> str:
    """The error message; none when the file is there, every byte of it right."""
    try:
        get(folder, *addresses)
    except DataError as error:
        return str(error)
    return ""


@given(
    a=scripts,
    b=scripts,
    otherwise=st.sampled_from([Reply(), Reply(ranges=False), Reply(status=404), Reply(OTHER), Reply(status=500)]),
    before=st.one_of(st.just(b""), places.map(lambda n: CONTENT[:n]), places.map(lambda n: OTHER[:n])),
)
@settings(max_examples=100, deadline=None)
def test_every_path_ends_in_the_right_bytes_or_a_clear_error(server, a, b, otherwise, before):
    with fresh(server) as folder:
        part(folder).write_bytes(before)
        server.script = {"/a": deque(a), "/b": deque(b)}
        server.otherwise = otherwise
        message = outcome(folder, server.url("/a"), server.url("/b"))
        if message:
            assert not (folder / "big.gz").exists()
            assert "big.gz could not be downloaded" in message
            assert f"{server.url('/a')}: " in message
            assert f"{server.url('/b')}: " in message
            assert "--mirror FOLDER" in message
        # And whatever happened: once a server is well, so is the file.
        server.script, server.otherwise = {}, Reply()
        get(folder, server.url("/a"))


@given(script=st.lists(st.one_of(cuts, busy), max_size=transfer.RETRIES))
@settings(max_examples=60, deadline=None)
def test_cuts_anywhere_and_busy_servers_are_survived_without_asking_for_a_byte_twice(server, script):
    with fresh(server) as folder:
        starts = [0]

        def progress(name: str, done: int, total: int) -> None:
            starts.append(done)

        get(folder, server.plays(*script), progress=progress)
        assert starts == sorted(starts)
        asked = [int(value[6:-1]) if value else 0 for value in server.ranges()]
        assert asked == sorted(asked)
        assert set(asked) <= set(starts)


def test_a_cut_after_every_single_byte_of_the_answer(server):
    with fresh(server) as folder:
        server.otherwise = Reply(CONTENT[:5])
        small = SourceFile("small", 5, sha256(CONTENT[:5]), (server.url(),))
        for cut in range(sum(map(len, answer(server.otherwise, None, None)))):
            server.plays(replace(server.otherwise, cut=cut))
            path = download.obtain(small, "demo", folder, None, nothing, nothing)
            assert path.read_bytes() == CONTENT[:5]
            path.unlink()
            assert len(server.requests) == 2 * (cut + 1)


# --- processes --------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from admmctl.data import download
from admmctl.data.catalog import SourceFile
name, size, sha256, folder, *addresses = sys.argv[1:]
file = SourceFile(name, int(size), sha256, tuple(addresses))
print(download.obtain(file, "demo", Path(folder), None, lambda *_: None, lambda line: print(line, flush=True)))
"""


def start(folder: Path, address: str) -> "subprocess.Popen[str]":
    file = official()
    command = [sys.executable, "-c", CHILD, file.name, str(file.bytes), file.sha256, str(folder), address]
    root = str(Path(download.__file__).parents[2])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": root})


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def has(folder: Path, size: int) -> Callable[[], bool]:
    return lambda: part(folder).exists() and part(folder).stat().st_size == size


def test_a_killed_download_goes_on_where_it_was(server):
    with fresh(server) as folder:
        arrived = 0
        for more in (1, 1000, 998, 1000):
            address = server.plays(Reply(hold=more))
            arrived += more
            with start(folder, address) as child:
                until(has(folder, arrived))
                child.send_signal(signal.SIGKILL)
            assert not (folder / "big.gz").exists()
        get(folder, address)
        assert server.ranges() == ["", "bytes=1-", "bytes=1001-", "bytes=1999-", "bytes=2999-"]


def test_two_processes_fetch_one_file_once(server):
    with fresh(server) as folder:
        address = server.plays(Reply(hold=1500))
        with start(folder, address) as first:
            until(has(folder, 1500))
            with start(folder, address) as second:
                assert second.stdout is not None
                assert "another process is downloading big.gz; waiting" in second.stdout.readline()
                server.release.set()
                assert second.stdout.readlines() == [f"{folder / 'big.gz'}\n"]
        assert (first.returncode, second.returncode) == (0, 0)
        assert (folder / "big.gz").read_bytes() == CONTENT
        assert len(server.requests) == 1


def test_the_one_who_waits_goes_on_when_the_other_is_killed(server):
    with fresh(server) as folder:
        address = server.plays(Reply(hold=1500))
        with start(folder, address) as first:
            until(has(folder, 1500))
            with start(folder, address) as second:
                assert second.stdout is not None
                assert "waiting" in second.stdout.readline()
                first.kill()
                assert second.wait() == 0
        assert (folder / "big.gz").read_bytes() == CONTENT
        assert server.ranges() == ["", "bytes=1500-"]
