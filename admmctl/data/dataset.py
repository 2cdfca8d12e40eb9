"""What a dataset is to the rest: a name, its files, a source of rows, a split into training and test rows."""

import os
from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from admmctl.data.catalog import Card, SourceFile
from admmctl.data.prepared import Prepared, StoredSource
from admmctl.data.source import DataSettings, Part, Progress, Rows, Source
from admmctl.errors import DataError, UserError

__all__ = ["DataSettings", "Dataset", "Part", "Rows", "Source", "Split", "lacking_classes", "root", "split"]


def root() -> Path:
    """Where prepared datasets live: ``./datasets``, or what ADMMCTL_DATASETS names."""
    return Path(os.environ.get("ADMMCTL_DATASETS") or "datasets")


class Dataset(ABC):
    """A name in ``data: {name: ...}``: one subclass per dataset, one file per subclass."""

    name: ClassVar[str]
    Settings: ClassVar[type[DataSettings]] = DataSettings
    default_test: ClassVar[str | float] = "official"

    card: ClassVar[Card]
    known_shape: ClassVar[tuple[int, int] | None] = None  # features and classes, where they never change
    parts_of_files: ClassVar[tuple[SourceFile, ...]] = ()  # what an official archive holds, with sums
    nothing_to_fetch: ClassVar[str] = "computed when it is needed, there is nothing to fetch"

    def open(self, settings: DataSettings) -> Source:
        """The rows, without reading them: the prepared ones, unless a subclass has others.

        Raises DataError where they are missing or damaged.
        """
        return StoredSource(self.folder(), self.card.version)

    def shape(self, settings: DataSettings) -> tuple[int, int]:
        """Features of a row and classes of an experiment, without the data where that is possible.

        Raises DataError where the data has to be looked at and is not there.
        """
        if self.known_shape is not None:
            features, classes = self.known_shape
        else:
            source = self.open(settings)
            features, classes = source.features, len(source.labels_known)
        return features, len(settings.classes) if settings.classes else classes

    def image(self, settings: DataSettings) -> tuple[int, int, int] | None:
        """Channels, height and width of a row that is an image, one channel after another; None where unknown.

        Raises UserError where a row is no such thing.
        """
        return None

    def official_rows(self, settings: DataSettings) -> Mapping[Part, Sequence[int] | int]:
        """Rows of the official files by part: of every class, or of all together. Empty where there are none."""
        return {}

    def test_by_default(self, settings: DataSettings) -> str | float:
        """What ``test`` is when neither it nor ``train`` is given."""
        return self.default_test

    def shuffles(self, settings: DataSettings) -> bool:
        """Whether the seed shuffles the rows before the split."""
        return settings.seed is not None

    def prepare(self, raw: dict[str, Path], prepared: Prepared, progress: Progress) -> None:
        """Turn raw files, by official name, into prepared arrays. Raises DataError when one is damaged."""
        raise NotImplementedError

    def folder(self) -> Path:
        """Where the prepared dataset lies."""
        return root() / (self.card.folder or self.name)

    def options(self, rows: int | None, extra: bool) -> dict[str, int]:
        """What ``--rows`` and ``--extra`` mean here, for the manifest. Raises UserError when nothing."""
        if rows is not None:
            raise UserError(f"--rows: {self.name} is always prepared whole; set data.rows in the experiment")
        if extra:
            raise UserError(f"--extra: {self.name} has no extra rows; svhn has")
        return {}

    def serves(self, manifest: dict[str, Any], options: dict[str, int]) -> bool:
        """Whether a dataset that is here is what was asked for."""
        return bool(manifest["options"] == options)

    def recognise(self, paths: list[Path]) -> dict[str, Path]:
        """Which official file each of the user's files stands for, by name. Raises DataError."""
        names = [file.name for file in self.card.files]
        found: dict[str, Path] = {}
        for path in paths:
            name = self.official_name(path.name)
            if name not in names:
                raise DataError(f"--from {path}: {self.name} is made from files called {', '.join(names)}")
            if name in found:
                raise DataError(f"--from: {found[name]} and {path} are both {name}; give one of them")
            found[name] = path
        missing = [file.name for file in self.card.files if not file.optional and file.name not in found]
        if missing:
            raise DataError(f"--from: {self.name} needs {', '.join(missing)} as well")
        return found

    def official_name(self, name: str) -> str:
        """The name of the official file that ``name`` is a spelling of; by default ``name`` itself."""
        return name

    def holds_official(self, name: str, path: Path) -> bool:
        """Whether a file with another sum holds the data of the official ``name``, in another form.

        Raises DataError when it is damaged.
        """
        return False

    def in_folder(self, folder: Path) -> dict[str, Path]:
        """The official files in another form, by name, where a mirror folder has them in no better one."""
        return {}


def all_files(places: Iterable[Path], spellings: dict[str, list[str]]) -> dict[str, Path]:
    """Official files by name, from the first folder that has all of them, each in one of its spellings.

    Empty where no folder has them all.
    """
    for place in places:
        found = {
            name: path
            for name, spelt in spellings.items()
            if (path := next((place / s for s in spelt if (place / s).is_file()), None))
        }
        if len(found) == len(spellings):
            return found
    return {}


@dataclass(frozen=True)
class Split:
    """Which rows train and which test: row numbers of the official files, in training order."""

    train: Rows
    test: Rows
    test_part: Part
    classes: tuple[int, ...]
    validation: Rows = range(0)


def split(dataset: Dataset, settings: DataSettings, source: Source) -> Split:
    """Training, validation and test rows; see ``_split``. Raises DataError."""
    whole = _split(dataset, settings, source)
    if settings.validation is not None:
        held = held_back(len(whole.train), settings.validation)
        order = np.random.default_rng(settings.seed or 0).permutation(len(whole.train))
        rows = np.asarray(whole.train, dtype=np.int64)
        # In the order of the file: consecutive reads are faster.
        whole = replace(whole, train=rows[np.sort(order[held:])], validation=rows[np.sort(order[:held])])
    if settings.first is None:
        return whole
    if settings.first > len(whole.train):
        raise DataError(f"data.first: {settings.first:,} asked for, of {len(whole.train):,} training rows")
    return replace(whole, train=whole.train[: settings.first])


def held_back(rows: int, validation: float) -> int:
    """How many of the training ``rows`` are held back where ``validation`` is that part of them."""
    return max(1, round(rows * validation))


def _split(dataset: Dataset, settings: DataSettings, source: Source) -> Split:
    """Choose classes and rows, and divide them as the keys of ``data:`` say.

    ``rows`` and ``train`` count from the start of the file, or of a shuffle by ``seed``. Without ``test``,
    the rest is the test set when ``train`` is given; otherwise the dataset's own habit holds.

    Raises DataError when a class does not exist or too few rows are left.
    """
    classes = tuple(settings.classes or source.labels_known)
    if len(classes) < 2:
        raise DataError("data.classes: at least two classes are needed to tell apart")
    unknown = [c for c in classes if c not in source.labels_known]
    if unknown:
        raise DataError(
            f"data.classes: {settings.name} has no class {', '.join(map(str, unknown))}; "
            f"valid: {', '.join(map(str, source.labels_known))}"
        )
    pool = _of_classes(source, "train", classes)
    if dataset.shuffles(settings):
        pool = np.random.default_rng(settings.seed or 0).permutation(np.asarray(pool, dtype=np.int64))
    if settings.rows is not None:
        if settings.rows > len(pool):
            raise DataError(f"data.rows: {settings.rows:,} asked for, but {settings.name} has {len(pool):,}")
        pool = pool[: settings.rows]

    test = settings.test
    if test is None:
        test = "rest" if settings.train is not None else dataset.test_by_default(settings)  # type: ignore[assignment]
    part: Part = "train"
    if test == "official":
        if not source.rows("test"):
            raise DataError(f"data.test: {settings.name} has no official test set; valid: rest, or a fraction")
        tested, part = _of_classes(source, "test", classes), "test"
    elif isinstance(test, float):
        kept = len(pool) - round(len(pool) * test)
        pool, tested = pool[:kept], pool[kept:]
    elif settings.train is None:
        raise DataError("data.test: 'rest' needs data.train, the number of training rows")
    else:
        tested = pool[settings.train :]
    if (settings.train or 0) > len(pool):
        raise DataError(
            f"data.train: {settings.train:,} training rows asked for, but {settings.name} leaves {len(pool):,}"
        )
    return Split(pool[: settings.train], tested, part, classes)


def _of_classes(source: Source, part: Part, classes: Sequence[int]) -> Rows:
    everything = range(source.rows(part))
    if set(classes) == set(source.labels_known):
        return everything
    return np.flatnonzero(np.isin(source.labels(part, everything), classes))


def lacking_classes(
    dataset: Dataset, settings: DataSettings, source: Source, split: Split
) -> tuple[str, list[str]]:
    """Why the training rows are of no use (they are of one class), or nothing; notes on classes that rows lack."""
    known = len(split.classes)
    trained = _labels_of(source, "train", split.train, known)
    with_seed = settings.model_copy(update={"seed": settings.seed or 0})
    if len(split.train) + len(split.validation) == source.rows("train"):
        cure = "no other row is there: are these the labels?"
    elif dataset.shuffles(with_seed) and not dataset.shuffles(settings):
        cure = "data.seed: 0 shuffles the rows before the split"
    else:
        cure = "keep more rows (data.rows, data.train, data.first)"
    if len(trained) == 1:
        count, label = len(split.train), trained[0]
        return f"all {count:,} training rows are of class {label}: there is nothing to tell it from; {cure}", []
    notes = []
    parts: list[tuple[str, Part, Rows]] = [
        ("validation", "train", split.validation),
        ("test", split.test_part, split.test),
    ]
    for name, part, rows in parts:
        held = _labels_of(source, part, rows, 2 if len(trained) == known else known)
        new = [label for label in held if label not in trained] if len(trained) < known else []
        if new:
            few = ", ".join(map(str, new[:10])) + (", ..." if len(new) > 10 else "")
            notes.append(f"no training row is of the class of some {name} rows: {few}; {cure}")
        elif len(held) == 1 and len(rows) > 1:
            notes.append(f"all {len(rows):,} {name} rows are of class {held[0]}; {cure}")
    return "", notes


def _labels_of(source: Source, part: Part, rows: Rows, most: int) -> list[int]:
    """The different labels of ``rows``; reading ends once there are ``most`` of them, usually soon."""
    found: set[int] = set()
    low, count = 0, 1024
    while low < len(rows) and len(found) < most:
        found |= set(np.unique(source.labels(part, rows[low : low + count])).tolist())
        low, count = low + count, 4 * count
    return sorted(found)
