"""An HTTP server on loopback that answers as a test scripts it, and what is downloaded from it."""

import hashlib
import http.server
import io
import random
import socket
import ssl
import threading
import zipfile
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from admmctl.data import download
from admmctl.data.catalog import SourceFile

CONTENT = random.Random(0).randbytes(3000)
OTHER = random.Random(1).randbytes(3000)  # as long, but not the official file


@dataclass(frozen=True)
class Reply:
    """How one request is answered; without arguments, as a good server does."""

    content: bytes = CONTENT
    type: str = "application/octet-stream"
    etag: str = '"v1"'
    ranges: bool = True  # whether Range is understood
    if_range: bool = True  # whether If-Range is
    shift: int = 0  # a part starts so many bytes beside what was asked
    part: int | None = None  # a part is at most so long
    lie: int = 0  # added to Content-Length
    length: bool = True  # whether Content-Length is sent
    total: str | None = None  # of Content-Range
    content_range: str | None = None  # a Content-Range of its own; "": none is sent
    chunked: bool = False
    status: int = 0  # an error, or a redirect, instead of the file
    headers: tuple[tuple[str, str], ...] = ()
    extra: bytes = b""  # after the end
    cut: int | None = None  # the connection is closed after so many bytes of the answer, headers and all
    cut_body: int | None = None  # ... or after so many bytes of the body
    reset: bool = False  # ... by a reset
    raw: bytes | None = None  # in place of head and body
    hold: int | None = None  # after so many bytes of the body, wait for ``Server.release``


class Server:
    """Answers GET /PATH with the replies scripted for the path, then by ``folder`` or with ``otherwise``."""

    def __init__(self) -> None:
        handler = type("Handler", (_Handler,), {"scripted": self})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.port = self._http.server_address[1]
        self.scheme = "http"
        self.release = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.script: dict[str, deque[Reply]] = {}
        self.otherwise = Reply()
        self.folder: Path | None = None  # whose files are at hand
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.release.set()
        self.release = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._http.shutdown()
        self._http.server_close()

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak https from now on."""
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.scheme = "https"

    def url(self, path: str = "/a", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def plays(self, *replies: Reply, path: str = "/a") -> str:
        """Script the next replies for ``path``; returns its address."""
        self.script[path] = deque(replies)
        return self.url(path)

    def ranges(self) -> list[str]:
        """The Range header of every request so far."""
        return [headers.get("Range", "") for _, headers in self.requests]

    def reply(self, path: str) -> Reply:
        if replies := self.script.get(path):
            return replies.popleft()
        if self.folder is None:
            return self.otherwise
        file = self.folder / path.lstrip("/")
        return Reply(file.read_bytes()) if file.is_file() else Reply(status=404)


class _Handler(http.server.BaseHTTPRequestHandler):
    scripted: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        self.scripted.requests.append((self.path, dict(self.headers)))
        reply = self.scripted.reply(self.path)
        head, body = answer(reply, self.headers.get("Range"), self.headers.get("If-Range"))
        if reply.cut is not None:
            head, body = head[: reply.cut], body[: max(0, reply.cut - len(head))]
        if reply.cut_body is not None:
            body = body[: reply.cut_body]
        try:
            hold = len(body) if reply.hold is None else reply.hold
            self.wfile.write(head + body[:hold])
            if reply.hold is not None:
                self.scripted.release.wait(60)
                self.wfile.write(body[hold:])
        except OSError:
            return  # the client has gone
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()

    def do_HEAD(self) -> None:
        self.close_connection = True
        self.scripted.requests.append((f"HEAD {self.path}", dict(self.headers)))
        head, _ = answer(self.scripted.reply(self.path), None, None)
        self.wfile.write(head)

    def do_CONNECT(self) -> None:
        """As a proxy does: a tunnel to the host that is asked for."""
        self.close_connection = True
        self.scripted.requests.append((self.path, dict(self.headers)))
        host, port = self.path.split(":")
        with socket.create_connection((host, int(port))) as far:
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def answer(reply: Reply, asked: str | None, if_range: str | None) -> tuple[bytes, bytes]:
    """The bytes of an answer: head and body."""
    if reply.raw is not None:
        return b"", reply.raw
    if reply.status:
        return _head(f"{reply.status} Scripted", [*reply.headers, ("Content-Length", "0")]), b""
    headers = [("Content-Type", reply.type), *reply.headers]
    if reply.etag:
        headers.append(("ETag", reply.etag))
    status, body = "200 OK", reply.content
    same = not reply.if_range or if_range is None or if_range == reply.etag
    if asked and reply.ranges and same:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(reply.content):
            return _head("416 Scripted", [("Content-Range", f"bytes */{len(reply.content)}")]), b""
        start = max(0, start + reply.shift)
        body = reply.content[start:][: reply.part]
        status = "206 Partial Content"
        total = reply.total or len(reply.content)
        content_range = f"bytes {start}-{start + len(body) - 1}/{total}"
        if reply.content_range != "":
            headers.append(("Content-Range", reply.content_range or content_range))
    if reply.chunked:
        headers.append(("Transfer-Encoding", "chunked"))
        pieces = [body[i : i + 700] for i in range(0, len(body), 700)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif reply.length:
        headers.append(("Content-Length", str(max(0, len(body) + reply.lie))))
    return _head(status, headers), body + reply.extra


def _head(status: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def official(*addresses: str, name: str = "big.gz") -> SourceFile:
    return SourceFile(name, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), addresses)


def nothing(*_: Any) -> None:
    pass


def get(folder: Path, *addresses: str, mirror: str | None = None, progress: Any = nothing) -> list[str]:
    """Obtain the file; what was said, having checked that the right bytes are there and nothing half-done."""
    messages: list[str] = []
    path = download.obtain(official(*addresses), "demo", folder, mirror, progress, messages.append)
    assert path == folder / "big.gz"
    assert path.read_bytes() == CONTENT
    assert not part(folder).exists()
    assert not note(folder).exists()
    assert all("\n" not in line for line in messages)
    return messages


def part(folder: Path) -> Path:
    return folder / ".big.gz.part"


def note(folder: Path) -> Path:
    return folder / ".big.gz.part.json"


def redirect(to: str, status: int = 302) -> Reply:
    return Reply(status=status, headers=(("Location", to),))


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


ARCHIVE = zipped(("big.csv.gz", CONTENT))
