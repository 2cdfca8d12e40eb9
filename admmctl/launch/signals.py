"""The signals that ask for a stop: what they are, and how a driver collects them."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

# Whoever sends one of these asks for a stop at the end of the iteration; SIGUSR1 is what batch systems send.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install ``handler`` for the stop signals; returns what stood there, to be restored.

    A signal that is ignored stays ignored: ``nohup`` and background shells mean it.
    """
    heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}


class StopSignals:
    """The stop signals that arrive within this ``with`` block: nothing else happens at them.

    Each of them is written into a pipe, whichever thread it reaches: none is lost, and they keep their order.
    Outside the main thread Python handles no signals: there are none.
    """

    def __init__(self) -> None:
        self._got: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self.pipe, self._into = os.pipe()
        os.set_blocking(self.pipe, False)
        os.set_blocking(self._into, False)
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:
            self._others = signal.set_wakeup_fd(self._into, warn_on_full_buffer=False)
            self._before = handle(lambda number, frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._in_main_thread:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._others)
        os.close(self.pipe)
        os.close(self._into)

    def so_far(self) -> list[int]:
        """All of them until now, the first one first."""
        with suppress(BlockingIOError):
            self._got += [number for number in os.read(self.pipe, 1 << 16) if number in self._before]
        return self._got
