"""Make up files in the official formats of SVHN and HIGGS, at their full size, in minutes; nothing is downloaded.

``.venv/bin/python scripts/made_up_data.py higgs FOLDER`` writes HIGGS.csv.gz: 11,000,000 rows of 28 features, and
labels that follow a known rule with noise. ``svhn`` writes the three .mat files: drawn digits, as many of each
class as SVHN has. ``--share 0.01`` makes a hundredth of the rows. Each file says in its first bytes that it is
made up, and ``admmctl fetch NAME --from`` notes that for every record: see ``admmctl.data.fetch.MADE_UP``.

What makes it quick. Text with 18 digits after the point is slow to make: the left and the right half of a row are
drawn from 200,000 each that are made once. Rows differ all the same (one in 10,000 is met twice), and numbers
repeat as in the official file. Blocks are made and compressed by several processes, and joined to one stream with
one checksum.
"""

import argparse
import math
import os
import signal
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import Pool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from admmctl.data.fetch import MADE_UP
from admmctl.data.higgs import FILE, ROWS
from admmctl.data.svhn import FILES, SIDE

Array = NDArray[Any]
SEED = 20
LEVEL = 1  # of compression: the quickest

# --- one compressed stream of blocks that several processes make


class Packed(NamedTuple):
    """A block, compressed, and what of its content the whole stream's checksum is computed from."""

    deflated: bytes
    checksum: int
    length: int


def packed(content: bytes, checksum: Callable[[bytes], int]) -> Packed:
    """A block that others may follow."""
    deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(content) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return Packed(deflated, checksum(content), len(content))


END = b"\x03\x00"  # a last block with nothing in it


def crc32_of_both(first: int, second: int, length: int) -> int:
    """The CRC-32 of two contents, of which the second has that ``length``: it is linear over bits."""
    zeros = bytes(length)
    return zlib.crc32(zeros, first) ^ zlib.crc32(zeros) ^ second


def adler32_of_both(first: int, second: int, length: int) -> int:
    """The Adler-32 of two contents, of which the second has that ``length``."""
    prime = 65_521
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + length * ((first & 0xFFFF) - 1)
    return (high % prime) << 16 | low % prime


def in_order(make: Callable[[Any], Packed], blocks: Iterable[Any], jobs: int) -> Iterator[Packed]:
    """Every block in its order, made by so many processes."""
    if jobs == 1:
        yield from map(make, blocks)
        return
    with Pool(jobs, signal.signal, (signal.SIGTERM, signal.SIG_DFL)) as pool:
        yield from pool.imap(make, blocks)


@contextmanager
def new_file(path: Path) -> Iterator[Any]:
    """A file that gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        yield file
    part.replace(path)


# --- HIGGS

FEATURES, HALF = 28, 14
_HALVES = 200_000  # of each side
_CHUNK = 50_000  # rows of a block
_TAGS = {8: (0.0, 1.0865380764007568, 2.1730761528015137), 12: (0.0, 1.1074360609054565, 2.214872121810913)}
_TAGS |= {16: (0.0, 1.2741122245788574, 2.548224449157715), 20: (0.0, 1.5509767532348633, 3.1019535064697266)}
_LABELS = tuple(b"%.18e," % label for label in (0, 1))


class Halves(NamedTuple):
    """Halves of rows: features (halves, 14), float32, and the text of each."""

    left: Array
    right: Array
    left_text: list[bytes]
    right_text: list[bytes]


@lru_cache(maxsize=1)
def halves(count: int) -> Halves:
    """As many of each side; the same in every process."""
    generator = np.random.default_rng([SEED, 0])
    x = generator.standard_normal((count, FEATURES))
    for column, values in _TAGS.items():
        x[:, column] = generator.choice(values, count, p=(0.5, 0.2, 0.3))
    x[:, 21:] = np.exp(0.4 * x[:, 21:])  # masses are positive
    x = x.astype(np.float32)
    shape = b",".join([b"%.18e"] * HALF)
    left, right = x[:, :HALF], x[:, HALF:]
    texts = [[shape % tuple(row) for row in side.tolist()] for side in (left, right)]
    return Halves(left, right, [text + b"," for text in texts[0]], [text + b"\n" for text in texts[1]])


def score(left: Array, right: Array) -> Array:
    """The rule: log-odds of a signal, shape (rows,). A linear part, and products that no linear model sees."""
    linear = left[:, 0] - 0.8 * right[:, 0] + 0.6 * left[:, 4]
    products = left[:, 1] * right[:, 1] + left[:, 2] * right[:, 2] + left[:, 3] * right[:, 3]
    return 1.2 * linear + 1.2 * products


def higgs_rows(block: tuple[int, int, int]) -> Packed:
    """Rows of text; a block is its number, its rows, and how many halves there are."""
    number, rows, count = block
    pool = halves(count)
    generator = np.random.default_rng([SEED, 1, number])
    left, right = generator.integers(count, size=(2, rows))
    odds = score(pool.left[left], pool.right[right])
    labels = generator.random(rows) < 1 / (1 + np.exp(-odds))
    lines = [
        _LABELS[label] + pool.left_text[a] + pool.right_text[b]
        for label, a, b in zip(labels.tolist(), left.tolist(), right.tolist(), strict=True)
    ]
    return packed(b"".join(lines), zlib.crc32)


def make_higgs(folder: Path, share: float, jobs: int) -> Path:
    """Write HIGGS.csv.gz; returns its path."""
    rows = round(ROWS * share)
    count = max(1_000, min(_HALVES, rows // 20))
    blocks = [(number, min(_CHUNK, rows - low), count) for number, low in enumerate(range(0, rows, _CHUNK))]
    path = folder / FILE.name
    with new_file(path) as file:
        name = FILE.name.removesuffix(".gz").encode()
        # Deflate; a name and a comment; no time; quickest; no system.
        file.write(struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, 0x18, 0, 4, 255) + name + b"\0" + MADE_UP + b"\0")
        checksum = length = 0
        for block in in_order(higgs_rows, blocks, jobs):
            file.write(block.deflated)
            checksum, length = crc32_of_both(checksum, block.checksum, block.length), length + block.length
        file.write(END + struct.pack("<II", checksum, length % 2**32))
    return path


# --- SVHN

# Official digits of every class, 0 to 9.
DIGITS = {
    "train": (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
    "test": (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
    "extra": (45550, 90560, 74740, 60765, 50633, 53490, 41582, 43997, 35358, 34456),
}
_IMAGES = 2_048  # of a block
_ASPECT = 0.6  # width of a digit over its height
_GRID, _FROM, _TO = 128, -0.75, 1.75  # where distances are known: in heights of a digit, from its corner


def _ring(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    turns = [2 * math.pi * step / 16 for step in range(17)]
    return [(x + width * math.cos(turn), y + height * math.sin(turn)) for turn in turns]


_SIX = [(0.8, 0.0), (0.3, 0.25), (0.0, 0.65), (0.2, 0.97), (0.7, 1.0), (1.0, 0.72), (0.7, 0.48), (0.1, 0.6)]
# The strokes of every digit, in a square of side 1, y down.
STROKES: tuple[list[list[tuple[float, float]]], ...] = (
    [_ring(0.5, 0.5, 0.5, 0.5)],
    [[(0.25, 0.2), (0.55, 0.0), (0.55, 1.0)]],
    [[(0.0, 0.25), (0.15, 0.06), (0.5, 0.0), (0.85, 0.08), (1.0, 0.28), (0.85, 0.5), (0.0, 1.0), (1.0, 1.0)]],
    [
        [(0.05, 0.08), (0.5, 0.0), (0.95, 0.12), (0.95, 0.38), (0.45, 0.48)],
        [(0.45, 0.48), (0.95, 0.6), (1.0, 0.82), (0.6, 1.0), (0.0, 0.92)],
    ],
    [[(0.75, 1.0), (0.75, 0.0), (0.0, 0.7), (1.0, 0.7)]],
    [[(0.95, 0.0), (0.1, 0.0), (0.05, 0.45), (0.6, 0.4), (1.0, 0.65), (0.85, 0.92), (0.4, 1.0), (0.0, 0.9)]],
    [_SIX],
    [[(0.0, 0.0), (1.0, 0.0), (0.35, 1.0)]],
    [_ring(0.5, 0.25, 0.42, 0.25), _ring(0.5, 0.75, 0.5, 0.25)],
    [[(1 - x, 1 - y) for x, y in _SIX]],
)


@lru_cache(maxsize=1)
def distances() -> Array:
    """From every point of a grid to the nearest stroke, in heights, shape (10, x, y), float32."""
    places = np.linspace(_FROM, _TO, _GRID)
    points = np.stack(np.meshgrid(places * _ASPECT, places, indexing="ij"), axis=-1)
    found = np.full((len(STROKES), _GRID, _GRID), np.inf)
    for digit, strokes in enumerate(STROKES):
        for stroke in strokes:
            corners = np.array(stroke) * (_ASPECT, 1)
            for start, end in zip(corners, corners[1:], strict=False):
                along = end - start
                place = np.clip((points - start) @ along / (along @ along), 0, 1)
                apart = np.linalg.norm(points - start - place[..., None] * along, axis=-1)
                found[digit] = np.minimum(found[digit], apart)
    return found.astype(np.float32)


def drawn(digits: Array, generator: np.random.Generator) -> Array:
    """Photographs of these digits: (n, channel, x, y), bytes. Size, place, turn, colours, light and noise vary.

    Beside a digit there is a part of another one, as in SVHN.
    """
    n = len(digits)

    def between(low: float, high: float, *more: int) -> Array:
        """A number for every image, to go with its pixels."""
        return generator.uniform(low, high, (n, *more, 1, 1)).astype(np.float32)

    pixels = np.arange(SIDE, dtype=np.float32)
    height, turn = between(15, 28), between(-0.3, 0.3)
    width = height * _ASPECT * between(0.75, 1.25)
    x, y = pixels[:, None] - between(12, 19), pixels - between(12, 19)
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)

    def nearest(which: Array, aside: Array | float) -> Array:
        """How far each pixel is from the strokes of a digit whose centre lies so many pixels to the right."""
        scale = (_GRID - 1) / (_TO - _FROM)
        column, row = (
            np.clip((place + (0.5 - _FROM)) * scale, 0, _GRID - 1).astype(np.int32)
            for place in ((x - aside) / width, y / height)
        )
        return distances().ravel()[(which[:, None, None] * _GRID + column) * _GRID + row]

    beside = generator.choice([-1.0, 1.0], (n, 1, 1)).astype(np.float32) * (1.2 * width + between(1, 8))
    apart = np.minimum(nearest(digits, 0.0), nearest(generator.integers(10, size=n), beside))
    ink = np.clip((between(0.05, 0.11) - apart) * height / between(1, 3) + 0.5, 0, 1)[:, None]
    paper = (
        between(40, 215, 3) + (between(-2, 2) * (pixels[:, None] - 16) + between(-2, 2) * (pixels - 16))[:, None]
    )
    contrast = np.where(between(0, 1) < 0.5, -1, 1)[:, None] * between(25, 130, 1) + between(-25, 25, 3)
    noise = between(2, 25)[:, None] * generator.random((n, 3, SIDE, SIDE), dtype=np.float32)
    return np.clip(paper + ink * contrast + noise, 0, 255).astype(np.uint8)


def svhn_images(block: tuple[int, int, Array]) -> Packed:
    """The images of a block: the number of its part of SVHN, its own, and its digits."""
    part, number, digits = block
    generator = np.random.default_rng([SEED, 2, part, number])
    return packed(drawn(digits, generator).tobytes(), zlib.adler32)


def make_svhn(folder: Path, share: float, jobs: int) -> list[Path]:
    """Write the three .mat files; returns their paths."""
    parts = enumerate(DIGITS.items())
    return [_write_mat(folder / FILES[name].name, part, counts, share, jobs) for part, (name, counts) in parts]


def _write_mat(path: Path, part: int, counts: tuple[int, ...], share: float, jobs: int) -> Path:
    """X (32, 32, 3, n) bytes and y (n, 1), whole numbers of class double where 10 means 0, each compressed."""
    kept = [max(1, round(count * share)) for count in counts]
    digits = np.random.default_rng([SEED, 3, part]).permutation(np.repeat(np.arange(10), kept))
    n = len(digits)
    blocks = [(part, low // _IMAGES, digits[low : low + _IMAGES]) for low in range(0, n, _IMAGES)]
    with new_file(path) as file:
        text = b"MATLAB 5.0 MAT-file, " + MADE_UP + b": drawn digits in the place of SVHN's"
        file.write(text.ljust(124) + struct.pack("<H", 0x0100) + b"IM")
        head = _variable(b"X", 9, (SIDE, SIDE, 3, n), n * SIDE * SIDE * 3)
        _write_element(file, [packed(head, zlib.adler32)], in_order(svhn_images, blocks, jobs))
        content = np.where(digits == 0, 10, digits).astype(np.uint8).tobytes()
        content = _variable(b"y", 6, (n, 1), n) + content + bytes(-n % 8)
        _write_element(file, [packed(content, zlib.adler32)])
    return path


def _variable(name: bytes, kind: int, shape: tuple[int, ...], size: int) -> bytes:
    """The element of an array of bytes, up to its numbers: flags, dimensions, name, and how many bytes follow."""
    dimensions = struct.pack(f"<{len(shape)}i", *shape)
    inside = struct.pack("<IIII", 6, 8, kind, 0)
    inside += struct.pack("<II", 5, len(dimensions)) + dimensions + bytes(-len(dimensions) % 8)
    inside += struct.pack("<HH4s", 1, len(name), name)
    inside += struct.pack("<II", 2, size)
    return struct.pack("<II", 14, len(inside) + size + -size % 8) + inside


def _write_element(file: Any, *parts: Iterable[Packed]) -> None:
    """A variable, compressed as a whole by zlib; its size is known at the end."""
    start = file.tell()
    file.write(struct.pack("<II", 15, 0) + b"\x78\x01")
    checksum = 1
    for block in (block for blocks in parts for block in blocks):
        file.write(block.deflated)
        checksum = adler32_of_both(checksum, block.checksum, block.length)
    file.write(END + struct.pack(">I", checksum))
    end = file.tell()
    file.seek(start + 4)
    file.write(struct.pack("<I", end - start - 8))
    file.seek(end)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=("svhn", "higgs"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the official rows, above 0, at most 1")
    asked = parser.parse_args(arguments)
    if not 0 < asked.share <= 1:
        parser.error(f"--share {asked.share:g}: expected a number above 0, at most 1")
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # and no process stays behind
    made = make_svhn if asked.name == "svhn" else make_higgs
    try:
        made(asked.folder, asked.share, jobs)
    except KeyboardInterrupt:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
