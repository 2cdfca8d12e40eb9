"""SVHN: photographed house numbers, 32x32 colour, digits 0 to 9, from the official MATLAB files.

The papers train on HOG features (``svhn-hog``) of digits 0 against 2. Those are computed from the stored
pixels when rows are loaded, each rank its own, so that their parameters are settings of the experiment.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.data.catalog import Card, SourceFile
from admmctl.data.dataset import Dataset
from admmctl.data.hog import HogSettings, features, hog
from admmctl.data.matlab5 import read_variables
from admmctl.data.prepared import Growing, Prepared, StoredSource
from admmctl.data.source import DataSettings, Part, Progress, Rows, Source
from admmctl.errors import DataError, MissingData, UserError

SIDE, PIXELS = 32, 32 * 32 * 3
_PARTS: dict[str, tuple[Part, ...]] = {"train": ("train",), "extra": ("extra",), "both": ("train", "extra")}
_BLOCK = 2_048  # images read, or turned into features, at a time
_PLACE = "http://ufldl.stanford.edu/housenumbers/"
FILES = {
    name: SourceFile(f"{name}_32x32.mat", size, sha256, (f"{_PLACE}{name}_32x32.mat",), optional=name == "extra")
    for name, size, sha256 in (
        ("train", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
        ("test", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
        ("extra", 1_329_278_602, "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3"),
    )
}


_EXTRA = ("svhn", "--extra")  # what fetches the extra digits
_BY_DIGIT: dict[Part, tuple[int, ...]] = {  # images of 0, of 1, ...
    "train": (4_948, 13_861, 10_585, 8_497, 7_458, 6_882, 5_727, 5_595, 5_045, 4_659),
    "test": (1_744, 5_099, 4_149, 2_882, 2_523, 2_384, 1_977, 2_019, 1_660, 1_595),
    "extra": (45_550, 90_560, 74_740, 60_765, 50_633, 53_490, 41_582, 43_997, 35_358, 34_456),
}


class SvhnSettings(DataSettings):
    """The ``data:`` block of SVHN."""

    name: str = "svhn"
    use: Literal["train", "extra", "both"] = Field(
        default="train", description="the official rows to train on; extra needs: admmctl fetch svhn --extra"
    )


class SvhnPixelSettings(SvhnSettings):
    """The ``data:`` block of SVHN's pixels."""

    planes: bool = Field(
        default=False, description="a row is its red plane, its green and its blue one, as convolutions take it"
    )

    def usual(self) -> dict[str, Any]:
        return super().usual() | {"planes": False}


class SvhnHogSettings(SvhnSettings):
    """The ``data:`` block of SVHN's HOG features; the papers give their number, 648, and no parameters."""

    name: str = "svhn-hog"
    hog: HogSettings = HogSettings()


class Svhn(Dataset):
    """``data: {name: svhn}``: 3,072 features in 0..255, digits 0 to 9."""

    name = "svhn"
    known_shape = (PIXELS, 10)
    Settings: ClassVar[type[DataSettings]] = SvhnPixelSettings
    card = Card(
        title="SVHN: photographed house numbers, 32x32 colour, as pixels",
        licence="for non-commercial use",
        citation="Netzer et al.: Reading digits in natural images with unsupervised feature learning, 2011",
        rows="73,257 (+ 531,131 extra) + 26,032",
        features="3,072",
        files=tuple(FILES.values()),
    )

    def official_rows(self, settings: DataSettings) -> dict[Part, Sequence[int]]:
        assert isinstance(settings, SvhnSettings)
        parts = _PARTS[settings.use]
        train = tuple(map(sum, zip(*(_BY_DIGIT[part] for part in parts), strict=True)))
        return {"train": train, "test": _BY_DIGIT["test"]}

    def image(self, settings: DataSettings) -> tuple[int, int, int]:
        """Of rows that are planes. Raises UserError: as they are stored, a pixel's colours are together."""
        if _planes(settings):
            return 3, SIDE, SIDE
        cure = "set data.planes: true" if self.name == "svhn" else "svhn with data.planes: true has those"
        raise UserError(f"rows of {self.name} are not images of whole channels; {cure}")

    def open(self, settings: DataSettings) -> Source:
        pixels = self._pixels(settings)
        return PlaneSource(pixels) if _planes(settings) else pixels

    def _pixels(self, settings: DataSettings) -> Source:
        """The rows as they are stored."""
        assert isinstance(settings, SvhnSettings)
        try:
            stored = StoredSource(self.folder(), self.card.version)
        except DataError as error:
            if settings.use == "train":
                raise
            text = f"{error} --extra"  # the message ends in the line that fetches it
            raise (MissingData(text, _EXTRA) if isinstance(error, MissingData) else DataError(text)) from None
        if settings.use == "train":
            return stored
        if not stored.rows("extra"):
            text = f"data.use: {settings.use} needs the extra digits; run: admmctl fetch svhn --extra"
            raise MissingData(text, _EXTRA)
        return ChosenSource(stored, _PARTS[settings.use])

    def options(self, rows: int | None, extra: bool) -> dict[str, int]:
        return {**super().options(rows, False), "extra": extra}

    def serves(self, manifest: dict[str, Any], options: dict[str, int]) -> bool:
        return "extra" in manifest["parts"] or not options["extra"]

    def recognise(self, paths: list[Path]) -> dict[str, Path]:
        """Files by what their names contain: train, test, extra; or a folder of the official ones."""
        if len(paths) == 1 and paths[0].is_dir():
            paths = [path for file in FILES.values() if (path := paths[0] / file.name).is_file()]
        found: dict[str, Path] = {}
        for path in paths:
            names = [name for name in FILES if name in path.name.lower()]
            if len(names) != 1 or FILES[names[0]].name in found:
                raise DataError(f"--from {path}: svhn is made from {', '.join(f.name for f in FILES.values())}")
            found[FILES[names[0]].name] = path
        if FILES["train"].name not in found and FILES["extra"].name not in found:
            raise DataError(f"--from: svhn needs {FILES['train'].name} (and {FILES['test'].name}, to test on)")
        return found

    def prepare(self, raw: dict[str, Path], prepared: Prepared, progress: Progress) -> None:
        names: tuple[Part, ...] = get_args(Part)
        for name in names:
            file = FILES[name]
            if file.name not in raw:
                continue
            rows = prepared.rows(name, PIXELS, np.uint8)
            prepare_digits(raw[file.name], rows, progress)
            prepared.part(name, name, 0, rows.done)


class SvhnHog(Svhn):
    """``data: {name: svhn-hog}``: histograms of oriented gradients of the same digits, 648 by default."""

    name = "svhn-hog"
    Settings: ClassVar[type[DataSettings]] = SvhnHogSettings
    card = replace(
        Svhn.card,
        title="SVHN as histograms of oriented gradients (HOG), computed when loaded",
        features="648, by the settings under data.hog",
        folder="svhn",
    )

    def open(self, settings: DataSettings) -> Source:
        assert isinstance(settings, SvhnHogSettings)
        return HogSource(self._pixels(settings), settings.hog)

    def shape(self, settings: DataSettings) -> tuple[int, int]:
        assert isinstance(settings, SvhnHogSettings)
        return features(settings.hog, SIDE, SIDE), super().shape(settings)[1]


def _planes(settings: DataSettings) -> bool:
    return isinstance(settings, SvhnPixelSettings) and settings.planes


class PixelsSource(Source):
    """What is made of a source of pixels, row by row."""

    def __init__(self, pixels: Source, features: int) -> None:
        self._pixels, self.made_up = pixels, pixels.made_up
        self.labels_known, self.features = pixels.labels_known, features

    def rows(self, part: Part) -> int:
        return self._pixels.rows(part)

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        return self._pixels.labels(part, rows)

    def fingerprint(self) -> str:
        return self._pixels.fingerprint()

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        for low in range(0, len(rows), _BLOCK):
            block = self._pixels.stored(part, rows[low : low + _BLOCK])
            self.make(block.reshape(-1, SIDE, SIDE, 3), out[low : low + _BLOCK])

    @abstractmethod
    def make(self, images: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Write what becomes of ``images`` (m, 32, 32, 3) into ``out`` (m, features)."""


class HogSource(PixelsSource):
    """HOG features of a source of pixels."""

    def __init__(self, pixels: Source, settings: HogSettings) -> None:
        super().__init__(pixels, features(settings, SIDE, SIDE))
        self._settings = settings

    def make(self, images: NDArray[Any], out: NDArray[np.float32]) -> None:
        hog(images, self._settings, out)


class PlaneSource(PixelsSource):
    """The pixels of one colour after those of another."""

    def __init__(self, pixels: Source) -> None:
        super().__init__(pixels, PIXELS)

    def make(self, images: NDArray[Any], out: NDArray[np.float32]) -> None:
        out[...] = images.transpose(0, 3, 1, 2).reshape(len(images), PIXELS)


class ChosenSource(Source):
    """Training rows from the extra digits, or from the training digits followed by the extra ones."""

    def __init__(self, stored: StoredSource, parts: tuple[Part, ...]) -> None:
        self._stored, self._parts, self.made_up = stored, parts, stored.made_up
        self.features, self.labels_known = stored.features, stored.labels_known

    def rows(self, part: Part) -> int:
        return sum(self._stored.rows(p) for p in self._parts) if part == "train" else self._stored.rows(part)

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        out = np.empty(len(rows), np.int64)
        for place, stored_part, numbers in self._pieces(part, rows):
            out[place] = self._stored.labels(stored_part, numbers)
        return out

    def stored(self, part: Part, rows: Rows) -> NDArray[Any]:
        out = np.empty((len(rows), self.features), np.uint8)
        for place, stored_part, numbers in self._pieces(part, rows):
            out[place] = self._stored.stored(stored_part, numbers)
        return out

    def inputs(self, part: Part, rows: Rows, out: NDArray[np.float32]) -> None:
        out[...] = self.stored(part, rows)

    def fingerprint(self) -> str:
        return self._stored.fingerprint()

    def _pieces(self, part: Part, rows: Rows) -> Iterator[tuple[NDArray[np.bool_], Part, NDArray[np.int64]]]:
        """Which of ``rows`` lie in which stored part, and their numbers there."""
        numbers = np.asarray(rows, dtype=np.int64)
        first = 0
        for stored_part in self._parts if part == "train" else (part,):
            count = self._stored.rows(stored_part)
            place = (numbers >= first) & (numbers < first + count)
            yield place, stored_part, numbers[place] - first
            first += count


def prepare_digits(path: Path, rows: Growing, progress: Progress) -> None:
    """Append the digits of an official .mat file: X (32, 32, 3, n) bytes and y (n, 1), where 10 means 0.

    The images are streamed; memory does not grow with the file. Raises DataError when the file is not that.
    """
    blocks, labels = read_digits(path, _BLOCK)
    at = 0
    for images in blocks:
        skip = min(len(images), max(0, rows.done - at))  # what a killed preparation has written
        at += len(images)
        rows.append(images[skip:].reshape(-1, PIXELS), labels[at - len(images) + skip : at])
        progress(f"preparing {path.name} (digits)", at, len(labels))


def read_digits(path: Path, items: int) -> tuple[Iterator[NDArray[np.uint8]], NDArray[np.int64]]:
    """Images, in blocks (m, 32, 32, 3) with m <= ``items``, and all labels (n,) of an official .mat file.

    Raises DataError when the file is not that.
    """
    variables = {variable.name: variable for variable in read_variables(path)}
    found = {name: variable.shape for name, variable in variables.items()}
    if set(found) != {"X", "y"} or found["X"][:3] != (SIDE, SIDE, 3) or len(found["X"]) not in (3, 4):
        raise DataError(f"{path} is not an SVHN file: expected X (32, 32, 3, n) and y (n, 1), it holds {found}")
    images = variables["X"]
    if images.dtype != np.uint8:
        raise DataError(f"{path} is not an SVHN file: its images are {images.dtype}, not bytes")
    labels = variables["y"].array().ravel()
    if labels.dtype.kind not in "fiu" or not np.isin(labels, np.arange(11)).all():
        raise DataError(f"{path}: expected labels of 1 to 10, it holds others")
    single = len(images.shape) == 3  # MATLAB drops a last axis of one
    count = 1 if single else images.shape[3]
    if len(labels) != count:
        raise DataError(f"{path}: expected {count:,} labels, it holds {len(labels):,}")
    blocks = iter([images.array()[None]]) if single else images.blocks(items)
    return blocks, labels.astype(np.int64) % 10
