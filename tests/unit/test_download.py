"""The download engine against a real HTTP server on loopback that cuts, lies, changes, refuses and stalls."""

import errno
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.http_server import (
    CONTENT,
    OTHER,
    Reply,
    Server,
    get,
    note,
    nothing,
    official,
    part,
    redirect,
    unused_port,
)
from support.small_data import sha256

from admmctl import files
from admmctl.data import download, transfer
from admmctl.data.catalog import SourceFile
from admmctl.data.partial import Partial
from admmctl.errors import DataError


@pytest.fixture(scope="module")
def one_server():
    with Server() as server:
        yield server


@pytest.fixture
def server(one_server: Server):
    one_server.reset()
    yield one_server
    one_server.release.set()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps here; these are the seconds that would have been slept. No proxies but a test's own."""
    seconds: list[float] = []
    monkeypatch.setattr(transfer, "sleep", seconds.append)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return seconds


def fails(folder: Path, *addresses: str, mirror: str | None = None) -> str:
    """The message of the error, having checked that nothing took the file's name."""
    with pytest.raises(DataError) as caught:
        download.obtain(official(*addresses), "demo", folder, mirror, nothing, nothing)
    assert not (folder / "big.gz").exists()
    return str(caught.value)


def rejected(folder: Path) -> Path:
    return folder / "big.gz.rejected"


def leave(folder: Path, content: bytes, **origin: str) -> None:
    """What an earlier process might have left."""
    part(folder).write_bytes(content)
    if origin:
        note(folder).write_text(json.dumps(origin))


# --- whole, and in pieces ---------------------------------------------------------------------------------------


def test_a_file_comes_whole(server, tmp_path):
    seen: list[tuple[str, int, int]] = []
    get(tmp_path / "new", server.plays(), progress=lambda *now: seen.append(now))
    assert seen[0] == ("big.gz", 0, 3000)
    assert seen[-1] == ("big.gz", 3000, 3000)
    assert seen == sorted(seen)
    [(_, headers)] = server.requests
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"] == "admmctl"
    assert "Range" not in headers
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"big.gz", ".big.gz.lock"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(length=False),  # the end of the connection is the end of the file
        Reply(chunked=True),
        Reply(extra=b"more than the file"),
        Reply(length=False, extra=b"more than the file"),
        Reply(etag=""),
    ],
)
def test_servers_that_say_less_or_send_more(server, tmp_path, reply):
    get(tmp_path, server.plays(reply))
    assert len(server.requests) == 1


def test_a_large_file_is_shown_as_it_comes(server, tmp_path):
    content = random.Random(2).randbytes(5 << 20)
    address = server.plays(Reply(content))
    seen: list[int] = []
    file = SourceFile("large", len(content), sha256(content), (address,))
    path = download.obtain(file, "demo", tmp_path, None, lambda name, done, total: seen.append(done), nothing)
    assert path.read_bytes() == content
    assert all(0 < now - then <= 1 << 20 for then, now in pairwise(seen))


@pytest.mark.parametrize("reset", [False, True])
def test_a_broken_connection_is_continued(server, tmp_path, waits, reset):
    seen: list[int] = []
    address = server.plays(Reply(cut_body=1000), Reply(cut_body=500, reset=reset))
    messages = get(tmp_path, address, progress=lambda name, done, total: seen.append(done))
    asked = server.ranges()
    assert asked[:2] == ["", "bytes=1000-"]
    assert asked[-1] == "bytes=1500-" or reset  # a reset may eat bytes that were on their way
    assert server.requests[1][1]["If-Range"] == '"v1"'
    assert seen == sorted(seen)
    assert any("continuing after 1,000 of 3,000 bytes" in line for line in messages)
    assert 2 <= len(waits) <= 3


def test_ctrl_c_leaves_a_partial_file_that_a_later_process_continues(server, tmp_path):
    def stop(name: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    address = server.plays(Reply(cut_body=1234))
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, address, progress=stop)
    assert part(tmp_path).read_bytes() == CONTENT[:1234]
    assert json.loads(note(tmp_path).read_text())["etag"] == '"v1"'
    seen: list[int] = []
    get(tmp_path, address, progress=lambda name, done, total: seen.append(done))
    assert server.ranges() == ["", "bytes=1234-"]
    assert seen[0] == 1234


def test_a_server_that_sends_small_parts_is_asked_again(server, tmp_path, waits):
    leave(tmp_path, CONTENT[:100])
    server.otherwise = Reply(part=400)
    get(tmp_path, server.url())
    assert len(server.requests) == 8
    assert waits == []


def test_last_modified_serves_when_there_is_no_strong_etag(server, tmp_path):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    reply = Reply(etag='W/"weak"', headers=(("Last-Modified", date),), if_range=False)
    get(tmp_path, server.plays(replace(reply, cut_body=10), reply))
    assert server.requests[1][1]["If-Range"] == date


# --- starting over ----------------------------------------------------------------------------------------------


def test_a_server_without_range_starts_over_and_says_so(server, tmp_path):
    messages = get(tmp_path / "new", server.plays(Reply(cut_body=1000), Reply(ranges=False)))
    assert any("127.0.0.1 cannot continue a download; starting over" in line for line in messages)
    leave(tmp_path, CONTENT[:1000])
    server.reset()
    fails(tmp_path, server.plays(Reply(OTHER, ranges=False)))
    assert len(server.requests) == 1  # a wrong file that came whole is not fetched twice


def test_a_server_without_range_that_breaks_off_is_not_tried_for_ever(server, tmp_path):
    server.otherwise = Reply(ranges=False, cut_body=1000)
    assert "the connection was closed too early (6 times in a row)" in fails(tmp_path, server.url())
    assert len(server.requests) == transfer.RETRIES + 1


@pytest.mark.parametrize("if_range", [True, False])
def test_a_changed_file_is_not_mixed_with_the_old_one(server, tmp_path, if_range):
    old = Reply(OTHER, etag='"old"', cut_body=1500)
    messages = get(tmp_path, server.plays(old, Reply(etag='"new"', if_range=if_range)))
    assert any("starting over" in line for line in messages)
    assert not rejected(tmp_path).exists()


def test_a_file_that_changed_in_secret_is_fetched_once_more(server, tmp_path):
    messages = get(tmp_path, server.plays(Reply(OTHER, cut_body=1500)))
    assert server.ranges() == ["", "bytes=1500-", ""]
    assert any("fetched once more from the start" in line for line in messages)
    assert rejected(tmp_path).read_bytes() == OTHER[:1500] + CONTENT[1500:]


@pytest.mark.parametrize(("lie", "requests"), [(-500, 2), (500, 1)])
def test_a_part_of_another_length_than_announced_is_taken_as_far_as_it_goes(server, tmp_path, lie, requests):
    leave(tmp_path, CONTENT[:1000])
    get(tmp_path, server.plays(Reply(lie=lie)))
    assert server.ranges() == ["bytes=1000-", "bytes=2500-"][:requests]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(shift=1),
        Reply(shift=-1),
        Reply(content_range=""),
        Reply(content_range="bytes 1000-999/3000"),
        Reply(content_range="bytes 1000-3009/3000", extra=b"0123456789", length=False),
        Reply(content_range="pages 1000-2999/3000"),
        Reply(total="?"),
        Reply(status=416),
        Reply(status=416, headers=(("Content-Range", "bytes */3000"),)),
    ],
)
def test_a_wrong_part_is_not_taken(server, tmp_path, reply):
    messages = get(tmp_path, server.plays(Reply(cut_body=1000), reply))
    assert server.ranges() == ["", "bytes=1000-", ""]
    assert any("starting over" in line for line in messages)
    assert not rejected(tmp_path).exists()


@pytest.mark.parametrize("garbage", ["", "[]", '{"etag": 3, "address": null}', "{"])
def test_a_damaged_note_does_no_harm(server, tmp_path, garbage):
    leave(tmp_path, CONTENT[:7])
    note(tmp_path).write_text(garbage)
    get(tmp_path, server.plays())
    assert server.ranges() == ["bytes=7-"]


@pytest.mark.parametrize(
    ("content", "ranges", "problem"),
    [
        (CONTENT + b"x", [""], "longer than the official file; starting over"),
        (CONTENT, [], ""),  # no server is needed
        (OTHER, [""], "fetched once more from the start"),
    ],
    ids=["too long", "complete", "complete and wrong"],
)
def test_a_partial_file_with_all_its_bytes(server, tmp_path, content, ranges, problem):
    leave(tmp_path, content)
    messages = get(tmp_path, server.plays())
    assert [problem in line for line in messages] == [True] * bool(problem)
    assert server.ranges() == ranges
    assert rejected(tmp_path).exists() == (content == OTHER)


# --- lies and refusals, and the next address --------------------------------------------------------------------


def test_a_wrong_file_is_kept_aside_with_both_sums_and_the_next_address_tried(server, tmp_path):
    bad = server.plays(Reply(OTHER), Reply(OTHER))
    [line] = [line for line in get(tmp_path, bad, server.plays(path="/b")) if "/b" in line]
    assert [path for path, _ in server.requests] == ["/a", "/b"]
    (tmp_path / "big.gz").unlink()
    message = fails(tmp_path, bad)
    assert "admmctl fetch demo --mirror FOLDER" in message
    for text in (line, message):
        assert all(fact in text for fact in (sha256(OTHER), sha256(CONTENT), str(rejected(tmp_path))))
    assert rejected(tmp_path).read_bytes() == OTHER
    assert not part(tmp_path).exists()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(lie=-1, ranges=False), "it has 2,999 bytes where the official file has 3,000"),
        (Reply(lie=1, ranges=False), "it has 3,001 bytes where the official file has 3,000"),
        (Reply(CONTENT + b"x"), "it has 3,001 bytes where the official file has 3,000"),
        (Reply(b"<html>log in", "text/html", length=False, ranges=False), "a web page came instead of the file"),
        (Reply(status=403), "HTTP 403"),
        (Reply(status=404), "HTTP 404"),
        (Reply(status=204), "HTTP 204"),
        (Reply(status=302), "HTTP 302"),
        (Reply(status=500), "HTTP 500 Scripted (6 times in a row)"),
        (Reply(status=429), "HTTP 429 Scripted (6 times in a row)"),
        (Reply(cut=0), "without response (6 times in a row)"),
        (Reply(cut=5), "(6 times in a row)"),
        (Reply(cut=40), "closed before the first byte (6 times in a row)"),
        (Reply(cut_body=0), "closed before the first byte (6 times in a row)"),
        (Reply(raw=b"garbage\r\n\r\n"), "garbage"),
        (Reply(raw=b"HTTP/1.1 abc def\r\n\r\n"), "HTTP/1.1 abc def"),
    ],
)
def test_what_is_said_of_an_address_that_fails(server, tmp_path, reply, reason):
    leave(tmp_path, CONTENT[:50])
    server.otherwise = reply
    bad, good = server.url(), server.plays(Reply(), path="/good")
    message = fails(tmp_path, bad)
    assert f"{bad}: " in message
    assert reason in message
    assert "50 of 3,000 bytes are kept" in message
    messages = get(tmp_path, bad, good)
    assert any(line.endswith(f"trying {good}") for line in messages)


def test_the_next_address_continues_what_the_first_began(server, tmp_path):
    first = server.plays(Reply(cut_body=1000), Reply(status=404))
    get(tmp_path, first, server.plays(path="/b"))
    assert server.ranges() == ["", "bytes=1000-", "bytes=1000-"]
    assert "If-Range" in server.requests[1][1]
    assert "If-Range" not in server.requests[2][1]  # /b never heard of the ETag of /a


def test_pieces_of_two_servers_that_do_not_fit_are_fetched_once_more(server, tmp_path):
    first = server.plays(Reply(OTHER, cut_body=1000), Reply(status=404))
    get(tmp_path, first, server.plays(path="/b"))
    assert server.ranges() == ["", "bytes=1000-", "bytes=1000-", ""]


def test_a_shorter_file_on_the_server_is_refused_and_the_partial_file_kept(server, tmp_path):
    leave(tmp_path, CONTENT[:2000])
    message = fails(tmp_path, server.plays(Reply(CONTENT[:1500])))
    assert "HTTP 416" in message
    assert "it has 1,500 bytes where the official file has 3,000" in message
    assert "2,000 of 3,000 bytes are kept" in message
    assert part(tmp_path).read_bytes() == CONTENT[:2000]


def test_every_address_is_named_when_all_fail(server, tmp_path, waits):
    closed = f"http://127.0.0.1:{unused_port()}/f"
    message = fails(tmp_path, server.plays(Reply(status=404)), closed)
    assert "big.gz could not be downloaded" in message
    assert f"{server.url()}: HTTP 404 Scripted" in message
    assert f"{closed}: Connection refused" in message
    assert waits == []
    assert [path.name for path in tmp_path.iterdir()] == [".big.gz.lock"]


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/f",
        "nonsense",
        "http://[::1/f",
        "http://",
        "http://a b",
        "http://\x07/",
    ],
)
def test_only_http_is_opened(tmp_path, address):
    assert address in fails(tmp_path, address)


# --- retries ----------------------------------------------------------------------------------------------------


def test_waits_double_with_jitter_and_a_limit(server, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(transfer, "RETRIES", 9)
    server.otherwise = Reply(status=503)
    fails(tmp_path, server.url())
    assert len(waits) == 9
    for doublings, wait in enumerate(waits):
        assert min(0.5 * 2**doublings, 60) <= wait <= min(1.5 * 2**doublings, 60)
    assert len({wait / 2**doublings for doublings, wait in enumerate(waits[:5])}) > 1


def test_retries_and_waits_start_over_whenever_bytes_arrived(server, tmp_path, waits):
    busy = [Reply(status=500)] * transfer.RETRIES
    get(tmp_path, server.plays(*busy, Reply(cut_body=1), *busy[1:], Reply(cut_body=1), *busy[1:]))
    assert len(server.requests) == 3 * transfer.RETRIES + 1
    assert [wait < 2 for wait in waits].count(True) >= 3  # each run of failures begins with a short wait


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("100000", 60, 60),
        ("soon", 0, 1.5),
        ("-3", 0, 1.5),
        # Without names the dates would be others on every worker.
        pytest.param(formatdate(time.time() - 1000, usegmt=True), 0, 1.5, id="a date that is over"),
        pytest.param(formatdate(time.time() + 100000, usegmt=True), 60, 60, id="a date"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_up_to_a_limit(server, tmp_path, waits, status, value, least, most):
    get(tmp_path, server.plays(Reply(status=status, headers=(("Retry-After", value),))))
    [wait] = waits
    assert least <= wait <= most


@pytest.mark.parametrize("hold", [0, 1000])
def test_a_silent_server_times_out(server, tmp_path, monkeypatch, hold):
    monkeypatch.setattr(transfer, "READ_TIMEOUT", 0.3)
    messages = get(tmp_path, server.plays(Reply(hold=hold)))
    assert any("no more bytes in time" in line for line in messages)


def test_a_server_that_never_answers_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "READ_TIMEOUT", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        message = fails(tmp_path, f"http://127.0.0.1:{deaf.getsockname()[1]}/f")
    assert "no answer in time (6 times in a row)" in message


@pytest.mark.parametrize(
    ("problem", "tries"),
    [
        (TimeoutError("no answer in time"), 6),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), 1),
        (socket.gaierror(socket.EAI_AGAIN, "Name or service not known"), 6),
    ],
)
def test_a_connection_that_is_not_made_is_tried_again_where_that_may_help(tmp_path, monkeypatch, problem, tries):
    timeouts = []

    def connect(address: Any, timeout: float, *_: Any) -> socket.socket:
        timeouts.append(timeout)
        raise problem

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 12.5)
    assert problem.args[-1] in fails(tmp_path, "http://data.example/f")
    assert timeouts == [12.5] * tries


# --- redirects, proxies, TLS ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_on_the_same_host_are_followed(server, tmp_path, status):
    leave(tmp_path, CONTENT[:10])
    get(tmp_path, server.plays(redirect("/b", status), path="/a"))
    assert [path for path, _ in server.requests] == ["/a", "/b"]
    assert server.ranges() == ["bytes=10-", "bytes=10-"]


@pytest.mark.parametrize("to", ["http://localhost:{port}/b", "//localhost:{port}/b", "ftp://127.0.0.1/b"])
def test_redirects_to_another_host_are_refused(server, tmp_path, to):
    place = to.format(port=server.port)
    message = fails(tmp_path, server.plays(redirect(place)))
    assert "redirects to another host, which is not followed" in message
    assert place in message
    assert [path for path, _ in server.requests] == ["/a"]


@pytest.mark.parametrize("place", ["file:///etc/passwd", "http://[::1/", "data:,x"])
def test_redirects_to_nowhere_are_refused(server, tmp_path, place):
    get(tmp_path, server.plays(redirect(place)), server.plays(path="/b"))


def test_redirects_in_a_circle_end(server, tmp_path):
    server.script["/a"] = deque([redirect("/b")] * 20)
    server.script["/b"] = deque([redirect("/a")] * 20)
    assert "it redirects in a circle" in fails(tmp_path, server.url())


def test_a_proxy_from_the_environment_is_used(tmp_path, monkeypatch, server):
    monkeypatch.setenv("http_proxy", server.url(""))
    server.script["http://data.example/big.gz"] = deque([Reply(cut_body=1000)])
    get(tmp_path / "far", "http://data.example/big.gz")
    assert [path for path, _ in server.requests] == ["http://data.example/big.gz"] * 2
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    get(tmp_path / "near", server.url())


def test_a_proxy_that_is_not_there_is_named(tmp_path, monkeypatch):
    proxy = f"127.0.0.1:{unused_port()}"
    monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy}")
    message = fails(tmp_path, "http://data.example/big.gz")
    assert f"Connection refused (through the proxy {proxy})" in message
    assert "secret" not in message


@pytest.fixture
def tls_server(tmp_path):
    """A server that speaks https with a certificate nobody knows."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server() as server:
        server.wrap(context)
        yield server


def test_an_unknown_certificate_is_refused(tls_server, server, tmp_path):
    get(tmp_path / "here", tls_server.url(), server.url())
    assert tls_server.requests == []
    assert "certificate" in fails(tmp_path / "there", tls_server.url())


def test_http_may_redirect_to_https_on_the_same_host(tls_server, server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    tls_server.plays(Reply(cut_body=700))
    server.script["/a"] = deque([redirect(tls_server.url())] * 2)
    get(tmp_path / "here", server.url())
    assert tls_server.ranges() == ["", "bytes=700-"]


def test_https_goes_through_a_proxy_too(tls_server, server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    monkeypatch.setenv("https_proxy", server.url(""))
    get(tmp_path / "here", tls_server.plays(Reply(cut_body=700)))
    assert [path for path, _ in server.requests] == [f"127.0.0.1:{tls_server.port}"] * 2
    assert tls_server.ranges() == ["", "bytes=700-"]


def test_https_to_a_server_that_speaks_http_is_refused(server, tmp_path, waits):
    fails(tmp_path, server.url().replace("http", "https"))
    assert waits == []


# --- disks ------------------------------------------------------------------------------------------------------


class SmallDisk:
    """A file on a disk with room for so many bytes, that writes at most 300 of them at a time."""

    def __init__(self, file: Any, room: int, code: int) -> None:
        self._file, self._room, self._code = file, room, code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        if not self._room:
            raise OSError(self._code, os.strerror(self._code))
        written: int = self._file.write(data[: min(300, self._room)])
        self._room -= written
        return written


@contextmanager
def small_disk(room: int, code: int = errno.ENOSPC):
    opened = Partial._open

    def open_small(self: Partial) -> None:
        opened(self)
        self._file = SmallDisk(self._file, room, code)  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Partial, "_open", open_small)
        yield


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_runs_full_leaves_the_partial_file(server, tmp_path, code):
    with small_disk(1000, code):
        message = fails(tmp_path, server.plays(), server.plays(path="/b"))
    assert os.strerror(code) in message
    assert "1,000 bytes that arrived are kept: make room" in message
    assert part(tmp_path).read_bytes() == CONTENT[:1000]
    assert len(server.requests) == 1  # no other address makes room
    with small_disk(3000):  # which takes few bytes at a time
        get(tmp_path, server.url())
    assert server.ranges() == ["", "bytes=1000-"]


@pytest.mark.parametrize(("here", "free", "fits"), [(0, 2999, False), (0, 3000, True), (1000, 2000, True)])
def test_free_disk_is_checked_before(server, tmp_path, monkeypatch, here, free, fits):
    leave(tmp_path, CONTENT[:here])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    if fits:
        get(tmp_path, server.plays())
    else:
        message = fails(tmp_path, server.plays())
        assert f"{3000 - here:,} more bytes are needed and {free:,} are free in {tmp_path}" in message
        assert server.requests == []


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    assert f"cannot be stored in {tmp_path / 'file'}" in fails(tmp_path / "file", server.url())


def test_a_file_system_without_locks_is_used_all_the_same(server, tmp_path, monkeypatch):
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    assert any("has no locks" in line for line in get(tmp_path, server.plays()))


# --- what is here already, and mirrors --------------------------------------------------------------------------


def test_a_complete_file_is_verified_and_used(server, tmp_path):
    (tmp_path / "big.gz").write_bytes(CONTENT)
    get(tmp_path, server.url())
    assert server.requests == []


@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1], b""])
def test_a_complete_file_that_is_wrong_is_kept_aside_and_fetched_anew(server, tmp_path, content):
    (tmp_path / "big.gz").write_bytes(content)
    messages = get(tmp_path, server.plays())
    assert rejected(tmp_path).read_bytes() == content
    assert "fetched anew" in messages[0]


def test_a_mirror_folder_is_searched_by_dataset_first(tmp_path):
    mirror = tmp_path / "mirror"
    flat, sorted_ = mirror / "big.gz", mirror / "demo" / "big.gz"
    sorted_.parent.mkdir(parents=True)

    def found() -> Path:
        return download.obtain(official(), "demo", tmp_path / "raw", str(mirror), nothing, nothing)

    with pytest.raises(DataError, match=r"neither demo/big\.gz nor big\.gz"):
        found()
    flat.write_bytes(CONTENT)
    assert found() == flat
    sorted_.write_bytes(OTHER)
    with pytest.raises(DataError, match=f"(?s){sorted_} is damaged.*{sha256(OTHER)}.*{sha256(CONTENT)}.*again"):
        found()
    sorted_.write_bytes(CONTENT)
    assert found() == sorted_
    assert not (tmp_path / "raw").exists()


def test_a_mirror_address_is_asked_the_same_way(server, tmp_path):
    server.script["/m/demo/big.gz"] = deque([Reply(status=404)])
    get(tmp_path, "http://never.example/asked", mirror=server.url("/m/"))
    assert [path for path, _ in server.requests] == ["/m/demo/big.gz", "/m/big.gz"]


def test_a_mirror_address_without_the_file_is_an_error(server, tmp_path):
    server.otherwise = Reply(status=404)
    message = fails(tmp_path, "http://never.example/asked", mirror=server.url("/a b/ü"))
    assert "/a b/ü/demo/big.gz: HTTP 404" in message
    assert "never.example" not in message


@pytest.mark.parametrize(
    ("place", "url"),
    [("http://h/x", True), ("HTTPS://h", True), ("file:///x", False), ("httpd", False), ("/x", False)],
)
def test_addresses_are_told_from_folders(place, url):
    assert download.is_url(place) is url
    if url:
        download.check_mirror(place)


@pytest.mark.parametrize(
    "bad", ["file:///tmp", "ftp://host/x", "/no/such", "http://", "http://h:x/", "http://u:p@h/"]
)
def test_mirrors_that_cannot_be(bad):
    with pytest.raises(DataError, match="--mirror"):
        download.check_mirror(bad)


def test_verify_and_digest(tmp_path):
    path = tmp_path / "x"
    seen: list[tuple[str, int, int]] = []
    path.write_bytes(CONTENT)
    download.verify(path, official(), nothing)
    assert download.digest(path, "shown", lambda *now: seen.append(now)) == sha256(CONTENT)
    assert seen == [("shown", 3000, 3000)]
    for content, problem in (
        (CONTENT[:-1], r"2,999 bytes instead of 3,000.*truncated.*get it again"),
        (OTHER, f"{sha256(OTHER)}.*{sha256(CONTENT)}.*get it again"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=problem):
            download.verify(path, official(), nothing)
    path.unlink()
    for look in (lambda: download.verify(path, official(), nothing), lambda: download.digest(path, "x", nothing)):
        with pytest.raises(DataError, match="cannot be read"):
            look()
