"""Bytes from one address: ask for what is missing, check what the server says, go on when the line breaks."""

import email.utils
import random
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from email.message import Message
from http.client import HTTPResponse
from typing import NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request

from admmctl.data.catalog import SourceFile
from admmctl.data.partial import CHUNK, Partial
from admmctl.data.web import Lost, Refused, open_address, peek, read, request
from admmctl.errors import DataError

Progress = Callable[[str, int, int], None]  # file name, bytes so far, bytes in all
Say = Callable[[str], None]  # one line for people

RETRIES = 5  # in a row, without a new byte in between
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before another try; doubles each time
sleep = time.sleep


def transfer(address: str, file: SourceFile, partial: Partial, progress: Progress, say: Say) -> None:
    """Complete ``partial`` with the bytes of ``address``; whether they are the right ones is not judged here.

    Raises Refused when this address cannot, and DataError when no address can (the disk is full). What has
    arrived stays in ``partial`` either way.
    """
    furthest, failures = partial.size, 0
    while not _whole(file, partial):
        _check_room(file, partial)
        lost = _attempt(address, file, partial, progress, say)
        # Bytes count as news when they lead further than ever: a server that cannot continue a download and
        # always breaks it off early would otherwise be tried for ever.
        if partial.size > furthest:
            furthest, failures = partial.size, 0
        if lost is None:
            continue
        failures += 1
        if failures > RETRIES:
            raise Refused(f"{lost} ({failures} times in a row)")
        wait = _wait(failures, lost)
        say(f"{file.name}: {_host(address)}: {lost}; trying again in {wait:.1f} s")
        sleep(wait)


def _attempt(address: str, file: SourceFile, partial: Partial, progress: Progress, say: Say) -> Lost | None:
    """One request and its answer; returns what went wrong when it is worth another try."""
    try:
        with open_address(_request(address, partial)) as response:
            end = _begin(response, address, file, partial, say)
            progress(file.name, partial.size, _expected(file, partial))
            while end is None or partial.size < end:
                chunk = read(response, CHUNK if end is None else min(CHUNK, end - partial.size), end is None)
                if not chunk:
                    lost = _at_the_end(response, partial)
                    progress(file.name, partial.size, _expected(file, partial))
                    return lost
                partial.append(chunk)
                progress(file.name, partial.size, _expected(file, partial))
    except HTTPError as error:
        error.close()
        return _judge_status(error, file, partial)
    except Lost as lost:
        return lost
    return None


def _whole(file: SourceFile, partial: Partial) -> bool:
    return partial.size >= (file.bytes or partial.length or partial.size + 1)


def _expected(file: SourceFile, partial: Partial) -> int:
    """How long the file is; an archive of unknown length is about as long as what it holds."""
    return file.bytes or partial.length or max(partial.size + 1, file.holds.bytes if file.holds else 0)


def _at_the_end(response: HTTPResponse, partial: Partial) -> Lost | None:
    """The connection has ended, of an answer that did not say how long it is: was that all?"""
    if not response.chunked and not zipfile.is_zipfile(partial.path):
        return Lost("the connection was closed before the end of the archive")
    partial.ends_here()
    return None


def _check_room(file: SourceFile, partial: Partial) -> None:
    missing, folder = _expected(file, partial) - partial.size, partial.path.parent
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise DataError(
            f"{file.name} does not fit: {missing:,} more bytes are needed and {free:,} are free in {folder}; "
            "make room, or name another folder in ADMMCTL_DATASETS"
        )


def _wait(failures: int, lost: Lost) -> float:
    """Exponential back-off; the jitter keeps many clients from coming back all at once."""
    back_off = FIRST_WAIT * 2 ** (failures - 1) * random.uniform(0.5, 1.5)
    return min(max(back_off, lost.wait), LONGEST_WAIT)


def _host(address: str) -> str:
    return urlsplit(address).hostname or address


def _request(address: str, partial: Partial) -> Request:
    """A request for what ``partial`` lacks, if the file is still what it was when the rest of it came."""
    headers = {}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
        origin = partial.origin
        etag = origin.get("etag", "")
        version = etag if etag and not etag.startswith("W/") else origin.get("last_modified")
        if version and origin.get("address") == address:  # another server's word means nothing to this one
            headers["If-Range"] = version
    return request(address, **headers)


# --- what the server says ---------------------------------------------------------------------------------------


def _begin(response: HTTPResponse, address: str, file: SourceFile, partial: Partial, say: Say) -> int | None:
    """Check that the answer goes on where ``partial`` ends, or start over; returns where the answer ends.

    None where nobody knows: an archive comes, and the server does not say how long it is.
    """
    if response.status not in (200, 206):
        raise Refused(f"HTTP {response.status} {response.reason}")
    if not peek(response):
        # Perhaps the connection broke within the headers, and the half of them must not be believed.
        raise Lost("the connection was closed before the first byte")
    origin = {
        "address": address,
        "etag": response.headers.get("ETag", ""),
        "last_modified": response.headers.get("Last-Modified", ""),
    }
    changed = _changed(partial.origin, origin)
    end: int | None
    if response.status == 206:
        end, length = _check_range(response, file, partial, changed)
    else:
        end = length = _check_length(response, file)
        if partial.size:
            reason = "has another version of the file now" if changed else "cannot continue a download"
            say(f"{file.name}: {_host(address)} {reason}; starting over")
            partial.start_over()
    if partial.size:
        whole = f" of {file.bytes or length:,}" if file.bytes or length else ""
        say(f"{file.name}: continuing after {partial.size:,}{whole} bytes")
    partial.goes_on_from({**origin, "length": str(length)} if length and not file.bytes else origin)
    return end


def _changed(then: dict[str, str], now: dict[str, str]) -> bool:
    """Whether the same address has another version of the file now, as far as the server tells."""
    if then.get("address") != now["address"]:
        return False
    return any(then.get(key) and now[key] and then[key] != now[key] for key in ("etag", "last_modified"))


def _check_length(response: HTTPResponse, file: SourceFile) -> int | None:
    """The whole file is coming: is it as long as the official one? A server need not say. Returns its length."""
    problem = wrong_size(response, response.length, file)
    if problem:
        raise Refused(problem)
    return file.bytes or response.length


def wrong_size(response: HTTPResponse, length: int | None, file: SourceFile) -> str:
    """Why an answer of that length is not the file; nothing where it may be."""
    if file.bytes and length is not None:
        return "" if length == file.bytes else _other_size(length, file)
    if response.headers.get_content_type() == "text/html":
        return "a web page came instead of the file (a network that wants a log-in?)"
    return ""


def _check_range(
    response: HTTPResponse, file: SourceFile, partial: Partial, changed: bool
) -> tuple[int, int | None]:
    """A part is coming: the one that was asked for, of the same file? Returns where it and the file end."""
    content_range = response.headers.get("Content-Range", "none")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", content_range.strip(), re.IGNORECASE)
    if match is None:
        _start_over(partial, f"the part that came does not say which it is (Content-Range: {content_range})")
    start, end = int(match[1]), int(match[2]) + 1
    length = file.bytes or partial.length or None
    if match[3] != "*" and file.bytes and int(match[3]) != file.bytes:
        raise Refused(_other_size(int(match[3]), file))
    if match[3] != "*" and not file.bytes:
        changed |= length is not None and int(match[3]) != length
        length = int(match[3])
    if start != partial.size or not start < end <= (length or end):
        _start_over(partial, f"bytes from {start:,} on came instead of those from {partial.size:,} on")
    if changed:
        _start_over(partial, "the file there has changed since the download began")
    return end, length


def _start_over(partial: Partial, reason: str) -> NoReturn:
    partial.start_over()
    raise Lost(f"{reason}; starting over")


def _other_size(size: int, file: SourceFile) -> str:
    return f"it has {size:,} bytes where the official file has {file.bytes:,}"


def _judge_status(error: HTTPError, file: SourceFile, partial: Partial) -> Lost | None:
    """An answer other than the file: Lost when it is worth another try. Raises Refused when it is not.

    None when it says that nothing is missing.
    """
    text = f"HTTP {error.code} {error.reason}"
    if error.code == 416 and partial.size:  # the server's file ends before the part that was asked for
        size = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""), re.IGNORECASE)
        if size and not file.bytes and int(size[1]) == partial.size:
            partial.ends_here()
            return None
        if size and file.bytes and int(size[1]) != file.bytes:
            raise Refused(f"{text}: {_other_size(int(size[1]), file)}")
        partial.start_over()  # or it cannot count
        return Lost(f"{text}; starting over")
    if error.code in (408, 425, 429) or error.code >= 500:
        return Lost(text, _retry_after(error.headers))
    if error.reason.startswith(HTTPRedirectHandler.inf_msg):
        raise Refused("it redirects in a circle")
    raise Refused(text)


def _retry_after(headers: Message) -> float:
    """Seconds that the server wants to be left alone, given as such or as a date."""
    value = (headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
