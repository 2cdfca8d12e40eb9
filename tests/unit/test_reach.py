"""``admmctl fetch NAME --check``: what addresses answer, by their headers alone."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest
from support.http_server import ARCHIVE, CONTENT, Reply, Server, official, redirect

from admmctl.cli import main
from admmctl.data import mnist
from admmctl.data.catalog import SourceFile

WHOLE = Reply(headers=(("Accept-Ranges", "bytes"),))


@pytest.fixture(scope="module")
def one_server():
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        yield server


@pytest.fixture
def server(one_server, results):
    one_server.reset()
    return one_server


class Asked:
    """What the command prints and how it ends, for a dataset of these files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *files: SourceFile, options: tuple[str, ...] = ()) -> tuple[list[str], str, int]:
        card = dataclasses.replace(mnist.Mnist.card, files=files)
        self._monkeypatch.setattr(mnist.Mnist, "card", card)
        with pytest.raises(SystemExit) as ended:
            main(["fetch", "mnist", "--check", *options])
        messages = self._capsys.readouterr()
        return messages.out.splitlines(), messages.err, int(str(ended.value.code))


@pytest.fixture
def ask(monkeypatch, capsys):
    return Asked(monkeypatch, capsys)


def test_every_address_says_what_it_has_and_nothing_is_written(server, ask, tmp_path: Path):
    bad, other = server.plays(Reply(status=403), path="/old"), server.plays(Reply(CONTENT[:-1]), path="/short")
    good = server.plays(WHOLE)
    page = server.plays(Reply(b"<html>", type="text/html", length=False), path="/page")
    out, err, code = ask(official(bad, other, page, good))
    assert out == [
        f"no   {bad}: HTTP 403 Scripted",
        f"no   {other}: it has 2,999 bytes where the official file has 3,000",
        f"no   {page}: a web page came instead of the file (a network that wants a log-in?)",
        f"yes  {good}: 3,000 bytes, as expected",
    ]
    assert (err, code) == ("", 0)
    assert [path for path, _ in server.requests] == ["HEAD /old", "HEAD /short", "HEAD /page", "HEAD /a"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("refused", [405, 501])
@pytest.mark.parametrize("ranges", [True, False])
def test_where_head_is_refused_the_first_byte_is_asked_for(server, ask, refused: int, ranges: bool):
    reply = replace(WHOLE, ranges=ranges)
    # The test's server reads 'bytes=0-', which is as good.
    reply = replace(reply, status=206, headers=(("Content-Range", "bytes 0-0/3000"),)) if ranges else reply
    address = server.plays(Reply(status=refused), reply)
    assert ask(official(address)) == ([f"yes  {address}: 3,000 bytes, as expected"], "", 0)
    assert [path for path, _ in server.requests] == ["HEAD /a", "/a"]
    assert server.ranges() == ["", "bytes=0-0"]


@pytest.mark.parametrize(
    ("reply", "path", "code", "answer"),
    [
        (Reply(length=False), "/a", 0, "it does not say how long it is"),
        (Reply(ARCHIVE), "/big.zip", 0, f"{len(ARCHIVE):,} bytes, an archive of big.gz"),
        (Reply(ARCHIVE, chunked=True), "/big.zip", 0, "it does not say how long it is, an archive of big.gz"),
        (Reply(ARCHIVE[:2000]), "/big.zip", 1, "2,000 bytes, too few for an archive of big.gz"),
    ],
)
def test_sizes_that_are_not_stated_and_those_of_archives(server, ask, reply, path, code, answer):
    address = server.plays(reply, path=path)
    out, _, ended = ask(official(address))
    assert (out, ended) == ([f"{'no ' if code else 'yes'}  {address}: {answer}"], code)


def test_a_redirect_is_asked_for_headers_too(server, ask):
    address = server.plays(redirect("/there"), path="/moved")
    server.plays(WHOLE, path="/there")
    assert ask(official(address))[2] == 0
    assert [path for path, _ in server.requests] == ["HEAD /moved", "HEAD /there"]


def test_a_file_that_no_address_has_is_an_error(server, ask):
    good, bad = server.plays(WHOLE), server.plays(Reply(status=404), path="/gone")
    out, err, code = ask(official(good), official(bad, "http://127.0.0.1:9/a", name="labels.gz"))
    assert (len(out), code) == (3, 1)
    assert out[-1] == "no   http://127.0.0.1:9/a: Connection refused"
    assert err.startswith("error: mnist: no address has labels.gz\ncheck the network, or fetch from a copy:")


def test_a_mirror_is_asked_in_place_of_the_addresses(server, ask):
    server.otherwise = Reply(status=404)
    server.plays(WHOLE, path="/m/mnist/big.gz")
    out, _, code = ask(official("https://elsewhere.invalid/big.gz"), options=("--mirror", server.url("/m")))
    assert [line[:3] for line in out] == ["yes", "no "]
    assert code == 0


@pytest.mark.parametrize("options", [("--force",), ("--verify",), ("--mirror", "."), ("--rows", "100")])
def test_it_goes_with_no_other_option(server, ask, options: tuple[str, ...]):
    out, err, code = ask(official(server.plays()), options=options)
    assert (out, code, server.requests) == ([], 2, [])
    assert "--check asks addresses" in err
