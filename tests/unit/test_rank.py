"""A rank that watches itself, and what is made of what ranks say. Ranks that really hang: tests/mpi."""

import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from admmctl.launch.ended import hanging, not_stopping
from admmctl.launch.rank import answer, watch


def test_a_rank_without_progress_says_so_once_and_where_it_is() -> None:
    told: list[dict[str, Any]] = []
    heard = threading.Event()

    def tell(event: dict[str, Any]) -> None:
        told.append(event)
        heard.set()

    comm = SimpleNamespace(rank=3, calls=0, waiting=False)
    watch(comm, "n7", 0.2, tell)  # type: ignore[arg-type]
    for _ in range(6):  # progress, for longer than its patience
        assert not heard.wait(0.1)
        comm.calls += 1
    assert heard.wait(5)
    assert not threading.Event().wait(0.4)
    (event,) = told
    assert (event["event"], event["rank"], event["host"], event["seconds"]) == ("stuck", 3, "n7", 0.2)
    assert event["waiting"] is False
    assert event["where"]  # of this package nothing is at work here


def _said(rank: int, waiting: bool) -> dict[str, Any]:
    return {
        "rank": rank,
        "host": f"n{rank}",
        "seconds": 9.0,
        "waiting": waiting,
        "where": "methods/admm.py, line 1",
    }


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([_said(0, True), _said(1, False)], "rank 1 on n1 hangs in methods/admm.py, line 1: no progress for 9 s"),
        ([_said(0, True)], "rank 1 does not answer: no progress for 9 s"),
        ([_said(0, True), _said(1, True)], "all ranks wait for each other: no progress for 9 s"),
    ],
)
def test_who_hangs_is_found_among_those_that_wait(events: list[dict[str, Any]], words: str) -> None:
    assert hanging(events, 2) == words


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([_said(0, True)], "rank 1 does not answer; rank 2 does not answer"),
        ([_said(0, True), _said(1, True), _said(2, True)], "all ranks wait for each other"),
        ([_said(0, True), _said(1, False), _said(2, True)], "rank 1 on n1 is at methods/admm.py, line 1"),
    ],
)
def test_why_a_job_does_not_stop_is_found_among_its_ranks(events: list[dict[str, Any]], words: str) -> None:
    assert not_stopping(events, 3, 8) == f"not stopped after 8 s: {words}"


def test_of_many_silent_ranks_a_few_are_named() -> None:
    words = not_stopping([_said(0, True)], 100, 8)
    assert words.endswith("rank 3 does not answer; rank 4 does not answer; and 95 more like it")


def test_a_rank_that_is_asked_to_stop_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admmctl.launch.rank.ANSWER", 0.1)
    told: list[dict[str, Any]] = []
    heard = threading.Event()

    def tell(event: dict[str, Any]) -> None:
        told.append(event)
        heard.set()

    others, before = signal.set_wakeup_fd(-1), signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        answer(SimpleNamespace(rank=3, waiting=True), "n7", tell)  # type: ignore[arg-type]
        assert not heard.wait(0.3), "nobody has asked"
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard.wait(5)
    finally:
        os.close(signal.set_wakeup_fd(others))
        signal.signal(signal.SIGUSR1, before)
    (event,) = told
    assert (event["event"], event["rank"], event["host"], event["waiting"]) == ("slow", 3, "n7", True)
