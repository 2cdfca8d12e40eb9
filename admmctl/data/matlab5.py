"""A streaming reader of MATLAB 5 files (the .mat files of SVHN), in a few MB of memory at any size.

The layout: a header of 128 bytes, then one element per variable, as it is or compressed as a whole by zlib.
An element is a tag (type and number of bytes; data of up to 4 bytes may lie in the tag itself) and its data,
padded to 8 bytes. A variable's data are elements again: array flags, dimensions, name, the numbers. These
are column-major, so the slices along the last axis (of SVHN: the images) lie one after another.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from admmctl.errors import DataError

_Order = Literal["<", ">"]
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15  # the types of elements that hold a variable
_INT8, _INT32, _UINT32, _UTF8 = 1, 5, 6, 16  # those of its name, dimensions and flags
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ARRAYS = range(6, 16)  # classes of full numeric arrays; below: cells, structures, objects, text, sparse
_COMPLEX = 0x0800
_PIECE = 2**17  # bytes read or inflated at a time
_CURE = "download it again: admmctl fetch svhn, which checks sizes"


@dataclass(frozen=True)
class _Element:
    """Where a variable lies: in bytes ``start`` to ``end`` of the file, after its tag."""

    path: Path
    order: _Order
    compressed: bool
    start: int
    end: int


@dataclass(frozen=True)
class Variable:
    """A real numeric array in a file: its name, its shape, and the type of its numbers *as stored*.

    MATLAB stores numbers as narrowly as they fit: labels of class double that are small whole numbers come
    as ``uint8``, as they do from ``scipy.io.loadmat``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    element: _Element

    def blocks(self, items: int) -> Iterator[NDArray[Any]]:
        """The array as blocks of up to ``items`` slices along its last axis: ``block[i]`` is ``full[..., i]``.

        A block has shape (m, ...) with m <= items and is the caller's own. It is a transposed view, not
        C-contiguous: that is how the file has it. A column vector is one single slice; ``array`` is for it.
        Every call opens the file anew, so any order and any number of calls will do.

        Raises DataError when the file ends too early or is damaged; the blocks before that hold what the file
        holds. zlib's checksum, at the end of the data, is checked before the last block.
        """
        if items < 1:
            raise ValueError(f"items must be 1 or more, not {items}")
        *inner, total = self.shape
        with _opened(self.element.path) as file:
            stream = _Stream(file, self.element)
            if _head(stream) != self:
                raise DataError(f"{self.element.path} changed while it was read; {_CURE}")
            if not total:
                stream.finish()
            for start in range(0, total, items):
                count = min(items, total - start)
                block = np.empty((count, *reversed(inner)), self.dtype.newbyteorder(self.element.order))
                stream.fill(block.reshape(-1).view(np.uint8))
                if start + count == total:
                    stream.finish()
                native = block.astype(self.dtype, copy=False)
                yield native.transpose(0, *range(len(inner), 0, -1))

    def array(self) -> NDArray[Any]:
        """The whole array, for small ones. Raises DataError as ``blocks`` does."""
        for block in self.blocks(max(1, self.shape[-1])):
            return np.moveaxis(block, 0, -1)
        return np.empty(self.shape, self.dtype)


def read_variables(path: Path) -> Iterator[Variable]:
    """The real numeric arrays of a file in its order; their numbers are read by ``Variable.blocks`` only.

    Variables of other kinds (text, cells, structures, sparse or complex ones) are passed over. A cut exactly
    between two variables cannot be told from a smaller file: the caller knows which variables there must be.

    Raises DataError when the file cannot be read, is no MATLAB 5 file, is damaged, or ends too early: then
    the variable that is cut is given first, so that the numbers before the cut can be read.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        order = _byte_order(path, file.read(_HEADER))
        at = _HEADER
        while at < size or at == _HEADER:
            file.seek(at)
            tag = file.read(8)
            if len(tag) < 8:
                raise DataError(f"{path} is truncated: it ends at byte {size:,}, where a variable begins; {_CURE}")
            kind, count = struct.unpack(order + "II", tag)
            if kind not in (_MATRIX, _COMPRESSED):
                raise DataError(f"{path} is damaged at byte {at:,}: no variable begins there; {_CURE}")
            element = _Element(path, order, kind == _COMPRESSED, at + 8, at + 8 + count)
            stream = _Stream(file, element)
            variable = _head(stream)
            if variable is None:
                stream.finish()
            else:
                yield variable
            at = element.end
            if at > size:
                stream.truncated()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _byte_order(path: Path, header: bytes) -> _Order:
    """What the header of a file says. Raises DataError when it is not a MATLAB 5 file."""
    orders: dict[bytes, _Order] = {b"IM": "<", b"MI": ">"}
    order = orders.get(header[126:])
    version = struct.unpack(order + "H", header[124:126])[0] if order else 0
    if version == 0x0200 or header.startswith((b"\x89HDF", b"MATLAB 7.3")):
        raise DataError(
            f"{path} is a MATLAB 7.3 (HDF5) file, but only MATLAB 5 files can be read, as SVHN's official ones "
            f"are; {_CURE}, or in MATLAB: save -v7"
        )
    if len(header) < _HEADER:
        raise DataError(
            f"{path} is not a MATLAB 5 file, or is truncated: it has {len(header)} bytes, its header alone "
            f"must have {_HEADER}; {_CURE}"
        )
    if order is None or version != 0x0100:
        raise DataError(f"{path} is not a MATLAB 5 file: it starts with {header[:16]!r}; {_CURE}")
    return order


class _Stream:
    """The bytes of one element, inflated where compressed, one after another."""

    def __init__(self, file: BinaryIO, element: _Element) -> None:
        self.element = element
        self.name = ""  # of the variable, once known, for messages
        self._file = file
        self._at = element.start
        self._inflater = zlib.decompressobj() if element.compressed else None
        self._waiting = b""  # read from the file, not inflated yet
        self._inline = b""  # data that lay in a tag, to be given first

    def fill(self, out: NDArray[np.uint8]) -> None:
        """The next ``len(out)`` bytes. Raises DataError when the file does not have them."""
        done = 0
        while done < len(out):
            piece = self._piece(min(len(out) - done, _PIECE))
            out[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        out = np.empty(count, np.uint8)
        self.fill(out)
        return out.tobytes()

    def tag(self) -> tuple[int, int]:
        """Type and number of bytes of the element that begins here. Its data come next."""
        tag = self.take(8)
        kind, count = struct.unpack(self.element.order + "II", tag)
        if kind < 2**16:
            return kind, count
        kind, count = kind % 2**16, kind >> 16
        if count > 4:
            self.damaged("a short element is too long")
        self._inline = tag[4 : 4 + count]
        return kind, count

    def content(self, kinds: tuple[int, ...], most: int) -> bytes:
        """The data of the element that begins here, of one of ``kinds``, at most ``most`` bytes."""
        kind, count = self.tag()
        if kind not in kinds or count > most:
            self.damaged(f"an element of type {kind} with {count:,} bytes does not belong there")
        padding = 0 if self._inline else -count % 8
        return self.take(count + padding)[:count]

    def finish(self) -> None:
        """Check that the element is complete, and zlib's checksum. What is left of it is read and dropped."""
        while self._inflater and not self._inflater.eof:
            self._inflate(_PIECE)
        if self.element.end > os.fstat(self._file.fileno()).st_size:
            self.truncated()

    def truncated(self) -> NoReturn:
        raise DataError(
            f"{self.element.path} is truncated: it ends at byte {os.fstat(self._file.fileno()).st_size:,}, but "
            f"its variable {self.name or '(name unknown)'} reaches to byte {self.element.end:,}; {_CURE}"
        )

    def damaged(self, why: str) -> NoReturn:
        raise DataError(f"{self.element.path} is damaged near byte {self._at:,}: {why}; {_CURE}")

    def _piece(self, most: int) -> bytes:
        """Between 1 and ``most`` bytes."""
        if self._inline:
            piece, self._inline = self._inline[:most], self._inline[most:]
            return piece
        if not self._inflater:
            return self._raw(most)
        while not self._inflater.eof:
            if piece := self._inflate(most):
                return piece
        self.damaged("its compressed data end too early")

    def _inflate(self, most: int) -> bytes:
        """Up to ``most`` bytes; reads on in the file when zlib has nothing more to give."""
        assert self._inflater is not None
        try:
            # Without input first: zlib may still hold output, and the file may have no more input.
            piece = self._inflater.decompress(self._waiting, most)
            if not piece and not self._inflater.eof:
                piece = self._inflater.decompress(self._raw(_PIECE), most)
        except zlib.error as error:
            self.damaged(str(error))
        self._waiting = self._inflater.unconsumed_tail
        return piece

    def _raw(self, most: int) -> bytes:
        """Between 1 and ``most`` bytes of the element as they are in the file."""
        if self._at >= self.element.end:
            self.damaged(f"variable {self.name or '(name unknown)'} is shorter than it says")
        self._file.seek(self._at)
        raw = self._file.read(min(most, self.element.end - self._at))
        if not raw:
            self.truncated()
        self._at += len(raw)
        return raw


def _head(stream: _Stream) -> Variable | None:
    """The variable in an element, the stream left at its numbers; None when it is no real numeric array."""
    if stream.element.compressed and stream.tag()[0] != _MATRIX:
        stream.damaged("the compressed element is no variable")
    order = stream.element.order
    flags = stream.content((_UINT32,), 8)
    if len(flags) != 8:
        stream.damaged("the array flags are incomplete")
    (word,) = struct.unpack(order + "I", flags[:4])
    if word & 0xFF not in _ARRAYS or word & _COMPLEX:
        return None
    sizes = stream.content((_INT32,), 4 * 32)
    shape = tuple(np.frombuffer(sizes[: len(sizes) // 4 * 4], order + "i4").tolist())
    name = stream.content((_INT8, _UTF8), 1024).decode("utf-8", "replace")
    stream.name = name
    kind, count = stream.tag()
    if kind not in _NUMBERS or len(shape) < 2 or min(shape) < 0:
        stream.damaged(f"variable {name} has shape {shape} and numbers of type {kind}")
    dtype = np.dtype(_NUMBERS[kind])
    if count != math.prod(shape) * dtype.itemsize:
        stream.damaged(f"variable {name} has shape {shape}, but {count:,} bytes")
    return Variable(name, shape, dtype, stream.element)
