"""A file that a server has in a zip archive: whose size nobody knows, whose sum is that of what it holds."""

import re
import tempfile
import zipfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.http_faults import scripts
from support.http_server import ARCHIVE, CONTENT, OTHER, Reply, Server, nothing, official, zipped
from support.small_data import sha256

from admmctl.data import download, transfer
from admmctl.data.catalog import SourceFile
from admmctl.errors import DataError


@pytest.fixture(scope="module")
def one_server():
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "sleep", nothing)
        patch.setattr(transfer, "CHUNK", 256)  # many small writes
        patch.setenv("no_proxy", "*")
        yield server


@pytest.fixture
def server(one_server):
    one_server.reset()
    return one_server


def wanted(*addresses: str) -> SourceFile:
    return official(*addresses, name="big.csv.gz")


def get(folder: Path, *addresses: str, progress: Any = nothing, mirror: str | None = None) -> list[str]:
    """Obtain the file; what was said, having checked that an archive of the right bytes is there alone."""
    messages: list[str] = []
    path = download.obtain(wanted(*addresses), "demo", folder, mirror, progress, messages.append)
    assert path == folder / "big.zip"
    assert download.digest(path, "big", nothing) == sha256(CONTENT)
    assert not list(folder.glob(".*.part*"))
    return messages


def outcome(folder: Path, address: str) -> str:
    """The error message; none when the archive is there, and what it holds is right."""
    try:
        get(folder, address)
    except DataError as error:
        return str(error)
    return ""


def fails(folder: Path, *addresses: str) -> str:
    with pytest.raises(DataError) as caught:
        download.obtain(wanted(*addresses), "demo", folder, None, nothing, nothing)
    assert not (folder / "big.zip").exists()
    assert not (folder / "big.csv.gz").exists()
    return str(caught.value)


def plays(server: Server, *replies: Reply) -> str:
    return server.plays(*(replace(reply, content=ARCHIVE) for reply in replies), path="/static/big.zip")


@pytest.mark.parametrize(
    "reply", [Reply(), Reply(length=False), Reply(chunked=True), Reply(ranges=False), Reply(etag="")]
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_comes_whole_and_is_not_unpacked(server, tmp_path, reply, method):
    content = zipped(
        ("folder/big.csv.gz", CONTENT), ("__MACOSX/._big.csv.gz", b"x"), ("a.txt", b"a"), method=method
    )
    seen: list[tuple[str, int, int]] = []
    address = server.plays(replace(reply, content=content), path="/static/big.zip")
    get(tmp_path, address, progress=lambda *now: seen.append(now))
    assert (tmp_path / "big.zip").read_bytes() == content
    assert len(server.requests) == 1
    assert [name for name, done, total in seen if done == total] == ["big.zip", "big.csv.gz"]
    get(tmp_path, address)  # what is here is verified, and nobody is asked
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", [{}, {"length": False}, {"chunked": True}])
def test_a_broken_connection_is_continued(server, tmp_path, how):
    messages = get(tmp_path, plays(server, Reply(cut_body=1000, **how), Reply(**how)))
    start = int(server.ranges()[1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 1000
    whole = "" if how else f" of {len(ARCHIVE):,}"
    assert messages[-1] == f"big.zip: continuing after {start:,}{whole or f' of {len(ARCHIVE):,}'} bytes"


@pytest.mark.parametrize("size", [1000, len(ARCHIVE)])
def test_a_later_process_goes_on(server, tmp_path, size):
    """Of a complete archive it does not know the length: the server says that nothing is missing."""
    (tmp_path / ".big.zip.part").write_bytes(ARCHIVE[:size])
    get(tmp_path, plays(server, Reply(length=size == 1000)))
    assert server.ranges() == [f"bytes={size}-"]


@pytest.mark.parametrize("then", [Reply(etag='"v2"', if_range=False), Reply(etag='"v2"', content_range="")])
def test_an_archive_that_was_made_anew_is_not_mixed_with_the_old_one(server, tmp_path, then):
    new = zipped(("big.csv.gz", CONTENT), method=zipfile.ZIP_DEFLATED)
    first = Reply(ARCHIVE, cut_body=1000)
    address = server.plays(first, replace(then, content=new), path="/static/big.zip")
    server.otherwise = Reply(new, etag='"v2"')
    get(tmp_path, address)
    assert (tmp_path / "big.zip").read_bytes() == new


DAMAGED = bytearray(ARCHIVE)
DAMAGED[500] ^= 1
ENCRYPTED, UNKNOWN = bytearray(ARCHIVE), bytearray(ARCHIVE)
for archive, field, value in ((ENCRYPTED, 6, 1), (UNKNOWN, 8, 9)):
    archive[field] = archive[ARCHIVE.index(b"PK\1\2") + field + 2] = value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(("big.csv.gz", OTHER)), f"holds is not big.csv.gz: its sha256 is {sha256(OTHER)}"),
        (zipped(("readme.txt", CONTENT)), "holds 0 CSV files"),
        (zipped(("a.csv", CONTENT), ("b.csv", CONTENT)), "holds 2 CSV files"),
        (bytes(DAMAGED), r"truncated or damaged \(Bad CRC-32"),
        (bytes(ENCRYPTED), "big.csv.gz in it is encrypted; unpack it"),
        (bytes(UNKNOWN), r"compressed in a way that cannot be read here \(method 9\); unpack it"),
        (ARCHIVE[:2000], r"truncated or damaged \(File is not a zip file\)"),
        (CONTENT, "it is no zip archive"),
        (b"x", "it is no zip archive"),
    ],
)
def test_what_holds_something_else_is_kept_aside_and_the_next_address_tried(server, tmp_path, content, reason):
    bad = server.plays(Reply(content), Reply(content), path="/static/big.zip")
    messages: list[str] = []
    path = download.obtain(wanted(bad, server.plays()), "demo", tmp_path, None, nothing, messages.append)
    assert path == tmp_path / "big.csv.gz"
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "big.zip.rejected").read_bytes() == content
    assert re.search(
        f"big.csv.gz: {re.escape(bad)}: .*{reason}.*; trying {re.escape(server.url('/a'))}", messages[0]
    )
    path.unlink()
    message = fails(tmp_path, bad)
    assert re.search(f"could not be downloaded:\n  {re.escape(bad)}: .*{reason}.*\nCheck the network", message)


def test_a_web_page_in_its_place_is_refused_whatever_its_length(server, tmp_path):
    page = Reply(b"<html>log in</html>", type="text/html; charset=utf-8")
    for reply in (page, replace(page, length=False)):
        address = server.plays(reply, path="/static/big.zip")
        assert f"{address}: a web page came instead of the file" in fails(tmp_path, address)


def test_the_file_itself_and_its_archive_are_never_mixed(server, tmp_path):
    """Each goes on with what it had, and what is kept of both is said."""
    cut = [Reply(ARCHIVE, cut_body=700), Reply(status=404)]
    archive = server.plays(*cut, path="/static/big.zip")
    plain = server.plays(Reply(cut_body=500), Reply(status=404), path="/a")
    server.otherwise = Reply(status=404)
    message = fails(tmp_path, archive, plain)
    assert "500 of 3,000 bytes are kept" in message
    assert "700 bytes are kept" in message
    server.otherwise = Reply()
    path = download.obtain(wanted(archive, plain), "demo", tmp_path, None, nothing, nothing)
    assert path.read_bytes() == CONTENT
    assert server.ranges()[-1] == "bytes=500-"


def test_a_mirror_may_have_the_archive(server, tmp_path):
    server.otherwise = Reply(status=404)
    server.plays(Reply(ARCHIVE), path="/mirror/big.zip")
    messages: list[str] = []
    file = wanted("https://elsewhere.invalid/static/big.zip")
    path = download.obtain(file, "demo", tmp_path, server.url("/mirror/"), nothing, messages.append)
    assert path == tmp_path / "big.zip"
    assert [place for place, _ in server.requests] == [
        "/mirror/demo/big.csv.gz",
        "/mirror/big.csv.gz",
        "/mirror/demo/big.zip",
        "/mirror/big.zip",
    ]


@pytest.mark.parametrize(("free", "fits"), [(2999, False), (3500, True)])
def test_room_is_made_for_what_it_holds_where_its_length_is_not_known(server, tmp_path, monkeypatch, free, fits):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("", (), {"free": free}))
    address = plays(server, Reply(length=False))
    if fits:
        get(tmp_path, address)
    else:
        assert "big.zip does not fit: 3,000 more bytes are needed" in fails(tmp_path, address)


@given(script=scripts, otherwise=st.sampled_from([Reply(), Reply(ranges=False), Reply(length=False)]))
@settings(max_examples=60, deadline=None)
def test_every_path_ends_in_the_right_bytes_or_a_clear_error(one_server, script, otherwise):
    one_server.reset()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        replies = [replace(r, content=ARCHIVE) if r.content == CONTENT else r for r in script]
        one_server.script["/static/big.zip"] = deque(replies)
        one_server.otherwise = Reply(status=404)
        address = one_server.url("/static/big.zip")
        message = outcome(folder, address)
        if message:
            assert f"{address}: " in message
            assert not (folder / "big.zip").exists()
        # And whatever happened: once a server is well, so is the file.
        one_server.script, one_server.otherwise = {}, replace(otherwise, content=ARCHIVE)
        get(folder, address)
