"""The signals that ask for a stop: how a rank heeds them, and how a driver collects them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# Whoever sends one of these asks for a stop at the end of the iteration; SIGUSR1 is what batch systems send.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def _in_main_thread() -> bool:
    """Elsewhere Python handles no signals."""
    return threading.current_thread() is threading.main_thread()


def _install(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install ``handler`` for the stop signals; returns the handlers before it.

    A signal that is ignored stays ignored: ``nohup`` and background shells mean it.
    """
    heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def stop_on_signal(on_stop: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Within the block a stop signal asks for a stop at the end of the iteration: yields whether one has come.

    ``on_stop`` is called by the handler. A second Ctrl-C does not wait: it raises KeyboardInterrupt. Outside the
    main thread nothing changes.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        on_stop()

    before = _install(ask) if _in_main_thread() else {}
    try:
        yield lambda: bool(asked)
    finally:
        _restore(before)


class StopSignals:
    """The stop signals that arrive within this ``with`` block: nothing else happens at them.

    Each of them is written into a pipe, whichever thread it reaches: none is lost, and they keep their order.
    Outside the main thread there are none.
    """

    def __init__(self) -> None:
        self._got: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self.pipe, self._into = os.pipe()
        os.set_blocking(self.pipe, False)
        os.set_blocking(self._into, False)
        if _in_main_thread():
            self._wakeup_before = signal.set_wakeup_fd(self._into, warn_on_full_buffer=False)
            self._before = _install(lambda number, frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        if _in_main_thread():
            _restore(self._before)
            signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.pipe)
        os.close(self._into)

    def add(self, number: int) -> None:
        """Count a signal that nobody has sent: who runs several jobs stops them all so."""
        self._got.append(number)

    def so_far(self) -> list[int]:
        """All of them until now, the first one first."""
        with suppress(BlockingIOError):
            self._got += [number for number in os.read(self.pipe, 1 << 16) if number in self._before]
        return self._got
