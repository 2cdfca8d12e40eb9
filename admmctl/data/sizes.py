"""How many rows an experiment has: of the data that is here, or of official files that are not here yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.data import shards
from admmctl.data.catalog import datasets
from admmctl.data.dataset import Dataset, split
from admmctl.data.source import DataSettings, Part, Rows, Source
from admmctl.errors import DataError


@dataclass(frozen=True)
class Sizes:
    """Rows by what they are for. ``here``: counted in the data that is here."""

    train: int
    test: int
    validation: int
    here: bool

    @property
    def all(self) -> int:
        """What an evaluation looks at."""
        return self.train + self.test + self.validation


def sizes(settings: DataSettings) -> Sizes | None:
    """The rows of an experiment. None where its data is not here and nothing official is known of it."""
    try:
        plan = shards.plan(settings, 1)
        return Sizes(plan.rows_train, plan.rows_test, len(plan.split.validation), here=True)
    except DataError:
        dataset: Dataset = datasets.load(settings.name)()
    official = dataset.official_rows(settings)
    if not official:
        return None
    try:
        found = split(dataset, settings, _Counted(official))
    except DataError:  # more is asked for than the official files have, or nothing is known of them
        return None
    return Sizes(len(found.train), len(found.test), len(found.validation), here=False)


class _Counted(Source):
    """Stands for official files: rows by number, class by class, and no inputs."""

    features = 0

    def __init__(self, counts: Mapping[Part, Sequence[int] | int]) -> None:
        self._counts = counts
        classes = [count for count in counts.values() if not isinstance(count, int)]
        self.labels_known = range(len(classes[0]) if classes else 2)

    def rows(self, part: Part) -> int:
        found = self._counts.get(part, 0)
        return found if isinstance(found, int) else sum(found)

    def labels(self, part: Part, rows: Rows) -> NDArray[np.int64]:
        counts = self._counts[part]
        if isinstance(counts, int):
            raise DataError("how many rows are of which class is not known")
        return np.repeat(np.arange(len(counts)), counts)[np.asarray(rows)]

    def fingerprint(self) -> str:
        raise NotImplementedError

    def inputs(self, part: Part, rows: Rows, out: NDArray[Any]) -> None:
        raise NotImplementedError
