"""Bring one official file here: copy or download, check its sum, and only then give it its name."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from admmctl.data.catalog import SourceFile
from admmctl.errors import DataError
from admmctl.files import atomic

Progress = Callable[[str, int, int], None]  # file name, bytes so far, bytes in all
_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte


def is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def check_mirror(mirror: str) -> None:
    """Raises DataError when a mirror folder is not there."""
    if not is_url(mirror) and not Path(mirror).is_dir():
        raise DataError(f"--mirror {mirror}: there is no such folder; give a folder or an http(s) address")


def obtain(file: SourceFile, dataset: str, folder: Path, mirror: str | None, progress: Progress) -> Path:
    """The verified ``file``: where it lies in a mirror folder, or downloaded into ``folder``.

    With a mirror, MIRROR/DATASET/FILE and then MIRROR/FILE are tried and nothing else.
    Raises DataError when no place has the file, or when what they have is not the official file.
    """
    if mirror is not None and not is_url(mirror):
        for path in (Path(mirror, dataset, file.name), Path(mirror, file.name)):
            if path.is_file():
                verify(path, file, progress)
                return path
        raise DataError(f"mirror {mirror} has neither {dataset}/{file.name} nor {file.name}")
    target = folder / file.name
    if target.is_file():
        verify(target, file, progress)
        return target
    addresses: tuple[str, ...] = file.addresses
    if mirror is not None:
        base = mirror.rstrip("/")
        addresses = (f"{base}/{quote(dataset)}/{quote(file.name)}", f"{base}/{quote(file.name)}")
    failures = []
    for address in addresses:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _download(address, target, file, progress)
            return target
        except HTTPError as error:
            failures.append(f"{address}: HTTP {error.code} {error.reason}")
        except (URLError, TimeoutError, OSError) as error:
            failures.append(f"{address}: {getattr(error, 'reason', error)}")
    raise DataError(
        f"{file.name} could not be downloaded:\n  "
        + "\n  ".join(failures)
        + f"\nCheck the network, or give a copy: admmctl fetch {dataset} --mirror FOLDER"
    )


def verify(path: Path, file: SourceFile, progress: Progress) -> None:
    """Raises DataError unless ``path`` has the size and sha256 of ``file``."""
    size = path.stat().st_size
    if size != file.bytes:
        raise DataError(
            f"{path} is not the official {file.name}: {size:,} bytes instead of {file.bytes:,}; "
            "it is truncated or damaged, get it again"
        )
    with path.open("rb") as stream:
        found = _digest(iter(lambda: stream.read(_CHUNK), b""), file, progress)
    if found != file.sha256:
        raise DataError(f"{path} is damaged: its sha256 is {found}, the official one {file.sha256}; get it again")


def _digest(chunks: Iterator[bytes], file: SourceFile, progress: Progress) -> str:
    digest, done = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        done += len(chunk)
        progress(file.name, done, file.bytes)
    return digest.hexdigest()


def _download(address: str, target: Path, file: SourceFile, progress: Progress) -> None:
    request = Request(address, headers={"User-Agent": "admmctl"})
    with urlopen(request, timeout=_TIMEOUT) as response, atomic(target, "wb") as stream:

        def chunks() -> Iterator[bytes]:
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                yield chunk

        free = shutil.disk_usage(target.parent).free
        if file.bytes > free:
            raise OSError(f"{file.bytes:,} bytes do not fit: {free:,} are free in {target.parent}")
        found = _digest(chunks(), file, progress)
        if found != file.sha256:
            raise OSError(f"the sha256 is {found}, the official one {file.sha256}")
