"""Answers of a server, good and bad, for hypothesis to pick from."""

from hypothesis import strategies as st

from support.http_server import CONTENT, OTHER, Reply, redirect

ELSEWHERE = "http://localhost:9/"  # another host than 127.0.0.1


places = st.integers(0, len(CONTENT))


cuts = st.one_of(
    st.builds(Reply, cut=st.integers(0, 400)),  # within the headers, or a little after
    st.builds(Reply, cut_body=places),
    st.builds(Reply, cut_body=places, length=st.just(False)),
    st.builds(Reply, cut_body=places, chunked=st.just(True)),
    st.builds(Reply, cut_body=places, reset=st.just(True)),
)


busy = st.builds(Reply, status=st.sampled_from([408, 429, 500, 502, 503, 504]))


other_files = st.sampled_from([OTHER, OTHER[:1000], OTHER + b"x", CONTENT[:-1], CONTENT + b"x", b""])


faults = st.one_of(
    cuts,
    busy,
    st.builds(Reply, status=st.sampled_from([204, 301, 400, 401, 403, 404, 410, 416])),
    st.builds(
        Reply,
        content=st.one_of(st.just(CONTENT), other_files),
        type=st.sampled_from(["application/gzip", "text/html"]),
        etag=st.sampled_from(["", '"v1"', '"v2"', 'W/"v1"']),
        ranges=st.booleans(),
        if_range=st.booleans(),
        shift=st.sampled_from([0, 0, 1, -1, 1000]),
        part=st.one_of(st.none(), st.integers(1, 2000)),
        lie=st.sampled_from([0, 0, 1, -1, 500, -500]),
        length=st.booleans(),
        total=st.sampled_from([None, None, "*", "2999", "x"]),
        content_range=st.sampled_from([None, None, "", "bytes 5-4/3000", "bytes 0-5000/3000"]),
        chunked=st.booleans(),
        cut_body=st.one_of(st.none(), places),
        extra=st.sampled_from([b"", b"more"]),
    ),
    st.builds(
        redirect, st.sampled_from(["/a", "/b", "/elsewhere", ELSEWHERE, "file:///etc/passwd", "http://[::1/"])
    ),
)


scripts = st.lists(faults, max_size=6)
