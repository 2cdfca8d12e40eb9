"""Noticing that a rank hangs: every rank watches itself, the driver puts together what they say."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from admmctl.comm import MPI, Comm

GRACE = 3.0  # seconds that other ranks have to say where they are, before the job is ended
ANSWER = 5.0  # seconds that a rank has to come to a stop, once asked, before it says where it is


def watch(comm: MPI, host: str, seconds: float, tell: Callable[[dict[str, Any]], None]) -> None:
    """Tell once when this rank has neither begun nor ended a message to the others for ``seconds``.

    A thread looks; ``tell`` is handed an event that says whether the rank waits for others, or where it is.
    """
    main = threading.get_ident()

    def look() -> None:
        seen, since = (-1, False), time.monotonic()
        while True:
            now = comm.calls, comm.waiting
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since >= seconds:
                break
            time.sleep(min(1.0, seconds / 10))
        event = {"event": "stuck", "rank": comm.rank, "host": host, "seconds": seconds, "waiting": comm.waiting}
        tell({**event, "where": _place(main)})

    threading.Thread(target=look, daemon=True).start()


def answer(comm: Comm, host: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """After the first signal that asks for a stop: tell where this rank is, where it has not stopped in time.

    A thread sleeps until then. The signal wakes it even while the rank waits for others in a library, where the
    handlers of Python have to wait, too; a rank that says nothing is stopped itself.
    """
    main = threading.get_ident()
    hears, rings = os.pipe()
    os.set_blocking(rings, False)
    signal.set_wakeup_fd(rings, warn_on_full_buffer=False)

    def look() -> None:
        os.read(hears, 1)
        time.sleep(ANSWER)
        event = {"event": "slow", "rank": comm.rank, "host": host, "waiting": getattr(comm, "waiting", False)}
        tell({**event, "where": _place(main)})

    threading.Thread(target=look, daemon=True).start()


def _place(thread: int) -> str:
    """The line of this program that a thread is at."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if "admmctl" in path.parts:
            return f"{path.parent.name}/{path.name}, line {frame.f_lineno}"
        frame = frame.f_back
    return "an unknown place"


def verdict(events: Sequence[dict[str, Any]], ranks: int) -> str:
    """Which ranks hang, from what was told: those that do not wait for others, or else those that say nothing."""
    seconds = max(event["seconds"] for event in events)
    at = [f"rank {e['rank']} on {e['host']} hangs in {e['where']}" for e in events if not e["waiting"]]
    said = at or _silent(events, ranks) or ["all ranks wait for each other"]
    return f"{'; '.join(said)}: no progress for {seconds:g} s"


def slow(events: Sequence[dict[str, Any]], ranks: int) -> str:
    """Why a job that was asked to stop goes on, from what its ranks told meanwhile."""
    at = [f"rank {e['rank']} on {e['host']} is at {e['where']}" for e in events if not e["waiting"]]
    said = [*_some(_silent(events, ranks)), *_some(at)] or ["all ranks wait for each other"]
    return f"not stopped after {ANSWER + GRACE:g} s: {'; '.join(said)}"


def _silent(events: Sequence[dict[str, Any]], ranks: int) -> list[str]:
    told = {event["rank"] for event in events}
    return [f"rank {rank} does not answer" for rank in range(ranks) if rank not in told]


def _some(said: list[str], most: int = 4) -> list[str]:
    return said if len(said) <= most else [*said[:most], f"and {len(said) - most} more like it"]
