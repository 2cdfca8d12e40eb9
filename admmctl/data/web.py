"""Opening http(s) addresses: time-outs, proxies, redirects, and which failures are worth another try."""

import http.client
import socket
import ssl
import string
from http.client import HTTPException, HTTPResponse, InvalidURL
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    AbstractHTTPHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

CONNECT_TIMEOUT = 20.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a byte


class Refused(Exception):
    """This address will not do; another may."""


class Lost(Exception):
    """The connection or the server failed for now: the same address may do after ``wait`` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


def request(address: str, method: str = "GET", **headers: str) -> Request:
    """A request for the bytes of a file as they are. Raises Refused for what is no address."""
    headers = {"User-Agent": "admmctl", "Accept-Encoding": "identity", **headers}
    try:
        return Request(quote(address, safe=string.punctuation), headers=headers, method=method)
    except ValueError as error:
        raise Refused(str(error)) from None


def is_url(place: str) -> bool:
    """Whether ``place`` is an address rather than a folder."""
    return place.lower().startswith(("http://", "https://"))


def open_address(request: Request) -> HTTPResponse:
    """The answer, after redirects. Raises HTTPError when it is an error, Lost or Refused when there is none."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),  # from the environment
        _Connections(),
        _SameHost(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    try:
        response: HTTPResponse = opener.open(request)
    except HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise _judge(error, request) from None
    return response


def peek(response: HTTPResponse) -> bytes:
    """At least one byte of what comes, without taking it; none when nothing comes. Raises Lost."""
    try:
        return response.peek(1)
    except (OSError, HTTPException) as error:
        raise _broken(error) from None


def read(response: HTTPResponse, most: int, may_end: bool = False) -> bytes:
    """What has come, one byte at least; none at the end, where nobody knows when that is. Raises Lost."""
    try:
        chunk = response.read1(most)
    except (OSError, HTTPException) as error:
        raise _broken(error) from None
    if not chunk and not may_end:
        raise Lost("the connection was closed too early")
    return chunk


def _broken(error: Exception) -> Lost:
    return Lost("no more bytes in time" if isinstance(error, TimeoutError) else "the connection broke")


def _judge(error: Exception, request: Request) -> Lost | Refused:
    """Is it worth another try? A broken line is; a closed door, a bad certificate or address is not."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
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


class _Https(http.client.HTTPSConnection):
    def connect(self) -> None:
        self.timeout = CONNECT_TIMEOUT
        super().connect()
        self.sock.settimeout(READ_TIMEOUT)


class _Connections(AbstractHTTPHandler):
    """http and https with time-outs of our own. Nothing else is opened: no file:, no ftp:, no data:."""

    http_request = https_request = AbstractHTTPHandler.do_request_

    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_Http, request)

    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_Https, request)


class _SameHost(HTTPRedirectHandler):
    """Follows redirects that stay on the host, from http to https for instance."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not is_url(newurl) or urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            fp.close()
            raise Refused(f"it redirects to another host, which is not followed: {newurl}")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and req.get_method() == "HEAD":
            following.method = "HEAD"
        return following
