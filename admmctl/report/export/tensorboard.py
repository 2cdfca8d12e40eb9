"""TensorBoard's event files, written without TensorFlow.

An event file is a row of records: the length of the data in eight bytes, a checksum of these, the data, a checksum
of the data. The data is a protocol buffer, an ``Event``; the numbers of its fields are those of TensorFlow's
event.proto, summary.proto, tensor.proto and of TensorBoard's hparams/plugin_data.proto.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from admmctl.files import to_json
from admmctl.report.export.source import Exported, utf8

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_DOUBLE, _BYTES, _FLOAT = 1, 2, 5  # protocol buffers' wire types
_DT_STRING = 7
_TEXT, _HPARAMS = b"text", b"hparams"
_SUCCESS, _FAILURE, _RUNNING = 1, 2, 3


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _table()


def crc32c(data: bytes) -> int:
    """The CRC-32C of ``data``, as in iSCSI."""
    crc, table = 0xFFFFFFFF, _CRC
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A checksum as it is stored: turned by 15 bits, and a constant added."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """One record of the file."""
    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", masked(crc32c(part))) for part in (length, data))
    return length + next(sums) + data + next(sums)


def varint(value: int) -> bytes:
    """A whole number, seven bits to the byte; negative ones as 64 bits."""
    value &= (1 << 64) - 1
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _key(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def _int(number: int, value: int) -> bytes:
    return _key(number, 0) + varint(value)


def _double(number: int, value: float) -> bytes:
    return _key(number, _DOUBLE) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    """Single precision; what is too large for it is infinite."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", math.copysign(math.inf, value))
    return _key(number, _FLOAT) + packed


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + varint(len(value)) + value


def _event(wall_time: float, step: int, *fields: bytes) -> bytes:
    return _double(1, wall_time) + _int(2, step) + b"".join(fields)


def _summary(*values: bytes) -> bytes:
    return _bytes(5, b"".join(_bytes(1, value) for value in values))


def scalar(tag: str, value: float) -> bytes:
    """A Summary.Value that is a number."""
    return _bytes(1, tag.encode()) + _float(2, value)


def text(tag: str, words: str) -> bytes:
    """A Summary.Value that is Markdown."""
    tensor = _int(1, _DT_STRING) + _bytes(2, b"") + _bytes(8, utf8(words))
    return _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, _bytes(1, _bytes(1, _TEXT)))


def hparams(tag: str, content: bytes) -> bytes:
    """A Summary.Value that only its metadata speaks for."""
    plugin = _bytes(1, _HPARAMS) + _bytes(2, _int(1, 0) + content)
    return _bytes(1, tag.encode()) + _bytes(9, _bytes(1, plugin))


def _setting(name: str, value: Any) -> bytes:
    """An entry of a map from names to google.protobuf.Value."""
    if isinstance(value, bool):
        packed = _int(4, value)
    elif isinstance(value, int | float):
        packed = _double(2, float(value))
    else:
        packed = _bytes(3, utf8(str(value)))
    return _bytes(1, _bytes(1, name.encode()) + _bytes(2, packed))


def events(run: Exported) -> Iterator[bytes]:
    """The events of a run: its settings, every evaluation, its summary."""
    started, ended = run.started, run.ended
    yield _event(started, 0, _bytes(3, b"brain.Event:2"))
    settings = b"".join(_setting(key, value) for key, value in run.settings.items() if value is not None)
    start = settings + _bytes(4, utf8(run.experiment)) + _double(5, started)
    yield _event(started, 0, _summary(hparams("_hparams_/session_start_info", _bytes(3, start))))
    yield _event(
        started, 0, _summary(text("config", _listed(run.settings)), text("machine", _listed(run.machine)))
    )
    for row in run.curve:
        values = [scalar(name, value) for name, value in row.items() if name not in ("iteration", "wall_s")]
        yield _event(started + row["wall_s"], int(row["iteration"]), _summary(*values))
    last = int(run.curve[-1]["iteration"]) if run.curve else 0
    yield _event(ended, last, _summary(text("summary", _listed(run.summary))))
    status = {"failed": _FAILURE, "unfinished": _RUNNING}.get(run.summary["status"], _SUCCESS)
    end = _int(1, status) + _double(2, ended)
    yield _event(ended, last, _summary(hparams("_hparams_/session_end_info", _bytes(4, end))))


def _listed(block: Mapping[str, Any]) -> str:
    """A Markdown table."""
    rows = [(key, value if isinstance(value, str) else json.loads(to_json(value))) for key, value in block.items()]
    lines = [f"| {key} | {str(value).replace('|', '&#124;')} |" for key, value in rows]
    return "\n".join(["| key | value |", "|---|---|", *lines])


def write(runs: list[Exported], folder: Path, home: Path, say: Callable[[int, int], None]) -> None:
    """A folder per run, with one event file."""
    for done, run in enumerate(runs):
        say(done, len(runs))
        place = folder / run.name
        place.mkdir(parents=True)
        with (place / "events.out.tfevents.0.admmctl").open("wb") as file:
            for event in events(run):
                file.write(record(event))
