"""Numbers as people read them."""

import math

from rich.filesize import decimal


def number(value: float | None, digits: int = 3) -> str:
    """A number with a fixed count of decimals, or a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}"


def seconds(value: float | None) -> str:
    """Seconds with three significant digits: 0.0123, 1.23, 123."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.{2 - int(math.log10(abs(value)))}f}"


def interval(low: float | None, high: float | None) -> str:
    """'1.00 to 1.50': an interval of seconds; a dash where there is none, or none that is finite."""
    return "-" if low is None or high is None or math.isinf(low) else f"{seconds(low)} to {seconds(high)}"


def duration(value: float) -> str:
    """A time span in whole seconds: 12 s, 2 min 05 s, 1 h 03 min."""
    whole = int(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole // 60 % 60:02} min"


def rough(value: float) -> str:
    """A time span of which little is known, in one unit: 12 s, 3 min, 2.5 h, 120 h."""
    if value < 60:
        return f"{math.ceil(value)} s"
    if value < 90 * 60:
        return f"{value / 60:.0f} min"
    hours = value / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def ranks_of(ranks: int, threads: int | None) -> str:
    """'2 ranks', and with several threads of each '2 ranks x 4 threads'."""
    return count(ranks, "rank") + (f" x {count(threads, 'thread')}" if threads and threads > 1 else "")


def count(many: int, noun: str, nouns: str = "") -> str:
    """'1 rank', '2 ranks'; ``nouns`` is the plural, where it is not with an s."""
    return f"{many} {noun if many == 1 else nouns or f'{noun}s'}"


def size(bytes: int) -> str:
    """Bytes as people read them: 54.9 MB."""
    return decimal(bytes) if bytes else "-"
