"""A rank that watches itself, and what is made of what ranks say. Ranks that really hang: tests/mpi."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from admmctl.launch.ended import Event, hanging, not_stopping
from admmctl.launch.rank import answer, watch


class Told:
    """What a rank tells, kept."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._any = threading.Event()
        self.wait = self._any.wait

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._any.set()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    found = Told()
    monkeypatch.setattr("admmctl.launch.rank.tell", found)
    return found


def test_a_rank_without_progress_says_so_once_and_where_it_is(told: Told) -> None:
    comm = SimpleNamespace(rank=3, calls=0, waiting=False)
    watch(comm, 0.2)  # type: ignore[arg-type]
    for _ in range(6):  # progress, for longer than the seconds without
        assert not told.wait(0.1)
        comm.calls += 1
    assert told.wait(5)
    assert not threading.Event().wait(0.4)
    (event,) = told.events
    assert (event["event"], event["rank"], event["host"], event["seconds"]) == (
        "stuck",
        3,
        os.uname().nodename,
        0.2,
    )
    assert event["waiting"] is False
    assert event["where"]  # of this package nothing is at work here


def of(rank: int, waiting: bool) -> Event:
    where = "methods/admm.py, line 1"
    return {"rank": rank, "host": f"n{rank}", "seconds": 9.0, "waiting": waiting, "where": where}


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([of(0, True), of(1, False)], "rank 1 on n1 hangs in methods/admm.py, line 1: no progress for 9 s"),
        ([of(0, True)], "rank 1 does not answer: no progress for 9 s"),
        ([of(0, True), of(1, True)], "all ranks wait for each other: no progress for 9 s"),
    ],
)
def test_who_hangs_is_found_among_those_that_wait(events: list[Event], text: str) -> None:
    assert hanging(events, 2) == text


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([of(0, True)], "rank 1 does not answer; rank 2 does not answer"),
        ([of(0, True), of(1, True), of(2, True)], "all ranks wait for each other"),
        ([of(0, True), of(1, False), of(2, True)], "rank 1 on n1 is at methods/admm.py, line 1"),
    ],
)
def test_why_a_job_does_not_stop_is_found_among_its_ranks(events: list[Event], text: str) -> None:
    assert not_stopping(events, 3, 8) == f"not stopped after 8 s: {text}"


def test_of_many_silent_ranks_a_few_are_named() -> None:
    text = not_stopping([of(0, True)], 100, 8)
    assert text.endswith("rank 3 does not answer; rank 4 does not answer; and 95 more like it")


def test_a_rank_that_is_asked_to_stop_says_where_it_is(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admmctl.launch.rank.ANSWER", 0.1)
    others, before = signal.set_wakeup_fd(-1), signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        answer(SimpleNamespace(rank=3, waiting=True))  # type: ignore[arg-type]
        assert not told.wait(0.3), "nobody has asked"
        os.kill(os.getpid(), signal.SIGUSR1)
        assert told.wait(5)
    finally:
        os.close(signal.set_wakeup_fd(others))
        signal.signal(signal.SIGUSR1, before)
    (event,) = told.events
    assert (event["event"], event["rank"], event["host"], event["waiting"]) == (
        "slow",
        3,
        os.uname().nodename,
        True,
    )
