"""Bytes from one address: ask for what is missing, check what the server says, go on when the line breaks."""

import email.utils
import http.client
import random
import re
import shutil
import socket
import ssl
import string
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from typing import IO, NoReturn
from urllib import request as web
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from admmctl.data.catalog import SourceFile
from admmctl.data.partial import CHUNK, Partial
from admmctl.data.source import Progress, Say
from admmctl.errors import DataError

CONNECT_TIMEOUT = 20.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a byte
RETRIES = 5  # in a row, without a new byte in between
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before another try; doubles each time
sleep = time.sleep


class Refused(Exception):
    """This address will not do; another may."""


class Lost(Exception):
    """The connection or the server failed for now: the same address may do after ``wait`` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


def request(address: str, method: str = "GET", **headers: str) -> web.Request:
    """A request for the bytes of a file as they are. Raises Refused for what is no address."""
    headers = {"User-Agent": "admmctl", "Accept-Encoding": "identity", **headers}
    try:
        return web.Request(quote(address, safe=string.punctuation), headers=headers, method=method)
    except ValueError as error:
        raise Refused(str(error)) from None


def open_address(request: web.Request) -> HTTPResponse:
    """The answer, after redirects. Raises HTTPError when it is an error, Lost or Refused when there is none."""
    opener = web.OpenerDirector()
    from_environment = web.ProxyHandler()
    errors = web.HTTPErrorProcessor(), web.HTTPDefaultErrorHandler(), web.UnknownHandler()
    for handler in (from_environment, _Connections(), _SameHost(), *errors):
        opener.add_handler(handler)
    try:
        response: HTTPResponse = opener.open(request)
    except HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise _judge(error, request) from None
    return response


def _judge(error: Exception, request: web.Request) -> Lost | Refused:
    """Is it worth another try? A broken line is; a closed door, a bad certificate or address is not."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    text = getattr(cause, "strerror", None) or str(cause).strip() or type(cause).__name__
    if isinstance(cause, TimeoutError):
        text = "no answer in time"
    if request.host != urlsplit(request.full_url).netloc:
        text += f" (through the proxy {request.host})"
    unknown_host = isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN
    if unknown_host or isinstance(cause, ConnectionRefusedError | ssl.SSLError | InvalidURL | ValueError):
        return Refused(text)
    return Lost(text)


class _Http(http.client.HTTPConnection):
    def connect(self) -> None:
        self.timeout = CONNECT_TIMEOUT
        super().connect()
        self.sock.settimeout(READ_TIMEOUT)


class _Https(_Http, http.client.HTTPSConnection):
    pass


class _Connections(web.AbstractHTTPHandler):
    """http and https with time-outs of our own. Nothing else is opened: no file:, no ftp:, no data:."""

    http_request = https_request = web.AbstractHTTPHandler.do_request_

    def http_open(self, request: web.Request) -> HTTPResponse:
        return self.do_open(_Http, request)

    def https_open(self, request: web.Request) -> HTTPResponse:
        return self.do_open(_Https, request)


class _SameHost(web.HTTPRedirectHandler):
    """Follows redirects that stay on the host, from http to https for instance."""

    def redirect_request(
        self, req: web.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> web.Request | None:
        is_http = newurl.lower().startswith(("http:", "https:"))
        if not is_http or urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            fp.close()
            raise Refused(f"it redirects to another host, which is not followed: {newurl}")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and req.get_method() == "HEAD":
            following.method = "HEAD"
        return following


@contextmanager
def _reading() -> Iterator[None]:
    """Read an answer within this block. Raises Lost where the connection breaks."""
    try:
        yield
    except (OSError, HTTPException) as error:
        text = "no more bytes in time" if isinstance(error, TimeoutError) else "the connection broke"
        raise Lost(text) from None


@dataclass(frozen=True)
class Transfer:
    """The bytes of ``file`` from one address, to be put into ``partial``."""

    address: str
    file: SourceFile
    partial: Partial
    progress: Progress
    say: Say

    def complete(self) -> None:
        """Complete ``partial``; whether its bytes are the right ones is not judged here.

        Raises Refused when this address cannot, and DataError when no address can (the disk is full). What has
        arrived stays in ``partial`` either way.
        """
        furthest, failures = self.partial.size, 0
        while self.partial.size < (self._length or self.partial.size + 1):
            self._check_room()
            lost = self._attempt()
            # Bytes count as news when they lead further than ever: a server that cannot continue a download and
            # always breaks it off early would otherwise be tried for ever.
            if self.partial.size > furthest:
                furthest, failures = self.partial.size, 0
            if lost is None:
                continue
            failures += 1
            if failures > RETRIES:
                raise Refused(f"{lost} ({failures} times in a row)")
            # Exponential back-off; the jitter keeps many clients from coming back all at once.
            back_off = FIRST_WAIT * 2 ** (failures - 1) * random.uniform(0.5, 1.5)
            wait = min(max(back_off, lost.wait), LONGEST_WAIT)
            self._say(f"{self._host}: {lost}; trying again in {wait:.1f} s")
            sleep(wait)

    def _attempt(self) -> Lost | None:
        """One request and its answer; returns what went wrong when it is worth another try."""
        try:
            with open_address(self._request()) as response:
                end = self._begin(response)
                self._show()
                while end is None or self.partial.size < end:
                    with _reading():
                        chunk = response.read1(CHUNK if end is None else min(CHUNK, end - self.partial.size))
                    if chunk:
                        self.partial.append(chunk)
                    elif end is not None:
                        return Lost("the connection was closed too early")
                    # Of an answer that did not say how long it is: was that all?
                    elif response.chunked or zipfile.is_zipfile(self.partial.path):
                        self.partial.ends_here()
                        end = self.partial.size
                    else:
                        return Lost("the connection was closed before the end of the archive")
                    self._show()
        except HTTPError as error:
            error.close()
            return self._judge_status(error)
        except Lost as lost:
            return lost
        return None

    @property
    def _length(self) -> int | None:
        """How long the file is, where that is known."""
        return self.file.bytes or self.partial.length or None

    @property
    def _expected(self) -> int:
        """How long the file is; an archive of unknown length is about as long as what it holds."""
        return self._length or max(self.partial.size + 1, self.file.holds.bytes if self.file.holds else 0)

    @property
    def _host(self) -> str:
        return urlsplit(self.address).hostname or self.address

    def _say(self, text: str) -> None:
        self.say(f"{self.file.name}: {text}")

    def _show(self) -> None:
        self.progress(self.file.name, self.partial.size, self._expected)

    def _check_room(self) -> None:
        missing, folder = self._expected - self.partial.size, self.partial.path.parent
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise DataError(
                f"{self.file.name} does not fit: {missing:,} more bytes are needed and {free:,} are free in "
                f"{folder}; make room, or name another folder in ADMMCTL_DATASETS"
            )

    def _request(self) -> web.Request:
        """A request for what ``partial`` lacks, if the file is still what it was when the rest of it came."""
        headers = {}
        if self.partial.size:
            headers["Range"] = f"bytes={self.partial.size}-"
            origin = self.partial.origin
            etag = origin.get("etag", "")
            version = etag if etag and not etag.startswith("W/") else origin.get("last_modified")
            # The version that another server stated means nothing to this one.
            if version and origin.get("address") == self.address:
                headers["If-Range"] = version
        return request(self.address, **headers)

    def _begin(self, response: HTTPResponse) -> int | None:
        """Check that the answer goes on where ``partial`` ends, or start over; returns where the answer ends.

        None where nobody knows: an archive comes, and the server does not say how long it is.
        """
        if response.status not in (200, 206):
            raise Refused(f"HTTP {response.status} {response.reason}")
        with _reading():
            begins = response.peek(1)
        if not begins:
            # Perhaps the connection broke within the headers, and the half of them must not be believed.
            raise Lost("the connection was closed before the first byte")
        origin = {
            "address": self.address,
            "etag": response.headers.get("ETag", ""),
            "last_modified": response.headers.get("Last-Modified", ""),
        }
        changed = _changed(self.partial.origin, origin)
        end: int | None
        if response.status == 206:
            end, length = self._check_range(response, changed)
        else:  # The whole file is coming: is it as long as the official one? A server need not say.
            if problem := wrong_size(response, response.length, self.file):
                raise Refused(problem)
            end = length = self.file.bytes or response.length
            if self.partial.size:
                reason = "has another version of the file now" if changed else "cannot continue a download"
                self._say(f"{self._host} {reason}; starting over")
                self.partial.start_over()
        if self.partial.size:
            whole = f" of {self.file.bytes or length:,}" if self.file.bytes or length else ""
            self._say(f"continuing after {self.partial.size:,}{whole} bytes")
        self.partial.goes_on_from({**origin, "length": str(length)} if length and not self.file.bytes else origin)
        return end

    def _check_range(self, response: HTTPResponse, changed: bool) -> tuple[int, int | None]:
        """A part is coming: the one that was asked for, of the same file? Returns where it and the file end."""
        content_range = response.headers.get("Content-Range", "none")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", content_range.strip(), re.IGNORECASE)
        if match is None:
            self._start_over(f"the part that came does not say which it is (Content-Range: {content_range})")
        start, end = int(match[1]), int(match[2]) + 1
        length = self._length
        if match[3] != "*" and self.file.bytes and int(match[3]) != self.file.bytes:
            raise Refused(_other_size(int(match[3]), self.file))
        if match[3] != "*" and not self.file.bytes:
            changed |= length is not None and int(match[3]) != length
            length = int(match[3])
        if start != self.partial.size or not start < end <= (length or end):
            self._start_over(f"bytes from {start:,} on came instead of those from {self.partial.size:,} on")
        if changed:
            self._start_over("the file there has changed since the download began")
        return end, length

    def _start_over(self, reason: str) -> NoReturn:
        self.partial.start_over()
        raise Lost(f"{reason}; starting over")

    def _judge_status(self, error: HTTPError) -> Lost | None:
        """An answer other than the file: Lost when it is worth another try. Raises Refused when it is not.

        None when it says that nothing is missing.
        """
        text = f"HTTP {error.code} {error.reason}"
        if error.code == 416 and self.partial.size:  # the server's file ends before the part that was asked for
            size = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""), re.IGNORECASE)
            if size and not self.file.bytes and int(size[1]) == self.partial.size:
                self.partial.ends_here()
                return None
            if size and self.file.bytes and int(size[1]) != self.file.bytes:
                raise Refused(f"{text}: {_other_size(int(size[1]), self.file)}")
            self.partial.start_over()  # or it cannot count
            return Lost(f"{text}; starting over")
        if error.code in (408, 425, 429) or error.code >= 500:
            return Lost(text, _retry_after(error.headers))
        if error.reason.startswith(web.HTTPRedirectHandler.inf_msg):
            raise Refused("it redirects in a circle")
        raise Refused(text)


def wrong_size(response: HTTPResponse, length: int | None, file: SourceFile) -> str:
    """Why an answer of that length is not the file; nothing where it may be."""
    if file.bytes and length is not None:
        return "" if length == file.bytes else _other_size(length, file)
    if response.headers.get_content_type() == "text/html":
        return "a web page came instead of the file (a network that wants a log-in?)"
    return ""


def _other_size(size: int, file: SourceFile) -> str:
    return f"it has {size:,} bytes where the official file has {file.bytes:,}"


def _changed(then: dict[str, str], now: dict[str, str]) -> bool:
    """Whether the same address has another version of the file now, as far as the server tells."""
    differ = any(then.get(key) and now[key] and then[key] != now[key] for key in ("etag", "last_modified"))
    return differ and then.get("address") == now["address"]


def _retry_after(headers: Message) -> float:
    """Seconds that the server asks to wait, given as such or as a date."""
    value = (headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
