"""Files in wrappings, .xz and .zip: what they hold, as a stream. Nothing is unpacked to disk or held in memory."""

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from admmctl.errors import DataError

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What reading a file that is cut off or damaged raises.
DAMAGED: tuple[type[Exception], ...] = (
    lzma.LZMAError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
)


@contextmanager
def intact(path: Path, errors: tuple[type[Exception], ...] = DAMAGED) -> Iterator[None]:
    """Read a file within this block. Raises DataError where one of ``errors`` shows that it is damaged."""
    try:
        yield
    except errors as error:
        raise DataError(f"{path} is truncated or damaged ({error}); get it again") from None


def is_zip(path: Path) -> bool:
    """By its name, or by its first bytes, whatever it is called."""
    if path.name.lower().endswith(".zip"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\3\4"
    except OSError:
        return False  # whoever reads it will say why


@contextmanager
def unwrapped(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """What an .xz or a zip file holds, or the file itself, and its name. Raises OSError, or one of ``DAMAGED``."""
    if is_zip(path):
        with zipfile.ZipFile(path) as archive:
            table = _table_in(archive, path)
            with archive.open(table) as member:
                yield member, table.filename
    else:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            yield file, path.name


def _table_in(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The one CSV file, .csv or .csv.gz, in a zip archive. Raises DataError where that cannot be read."""
    found = [info for info in archive.infolist() if info.filename.lower().endswith((".csv.gz", ".csv"))]
    found = [info for info in found if not PurePosixPath(info.filename).name.startswith("._")]  # a Mac's notes
    if len(found) != 1:
        raise DataError(f"{path} holds {len(found)} CSV files; expected one, HIGGS.csv.gz")
    if found[0].flag_bits & 1:
        raise DataError(f"{path}: {found[0].filename} in it is encrypted; unpack it, and give that file")
    if found[0].compress_type not in _METHODS:
        raise DataError(
            f"{path}: {found[0].filename} in it is compressed in a way that cannot be read here "
            f"(method {found[0].compress_type}); unpack it, and give that file"
        )
    return found[0]
