"""How much memory a piece of a test takes."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Memory:
    """The most bytes that were allocated at once."""

    peak: int = 0


@contextmanager
def traced() -> Iterator[Memory]:
    """Watches what Python and NumPy allocate; the peak is known afterwards."""
    memory = Memory()
    tracemalloc.start()
    try:
        yield memory
        memory.peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
