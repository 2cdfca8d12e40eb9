"""What datasets exist, and what is said of each: where its files are, their sums, its licence."""

from dataclasses import dataclass
from typing import Any

from admmctl.registry import Registry

datasets = Registry[Any](
    "dataset",
    {
        "mnist": "admmctl.data.mnist:Mnist",
        "cifar10": "admmctl.data.cifar10:Cifar10",
        "svhn": "admmctl.data.svhn:Svhn",
        "svhn-hog": "admmctl.data.svhn:SvhnHog",
        "higgs": "admmctl.data.higgs:Higgs",
        "swissroll": "admmctl.data.swissroll:SwissRoll",
        "adding": "admmctl.data.sequences:Adding",
        "order": "admmctl.data.sequences:Order",
        "files": "admmctl.data.files:Files",
    },
)


@dataclass(frozen=True)
class SourceFile:
    """One official file: its name, size in bytes, sha256, and addresses in order of preference.

    An address that ends in .zip has an archive that holds the file, a CSV: ``prepare`` is given the archive then.
    """

    name: str
    bytes: int
    sha256: str
    addresses: tuple[str, ...]
    optional: bool = False  # fetched only when asked for
    holds: "SourceFile | None" = None  # the file in a zip archive, whose own size (0) and sum are not known

    def behind(self, address: str) -> "SourceFile":
        """What an address has: this file, or an archive of it."""
        name = address.rpartition("/")[2]
        if not name.lower().endswith(".zip") or name == self.name:
            return self
        return SourceFile(name, 0, "", (), holds=self)


@dataclass(frozen=True)
class Card:
    """What a dataset says of itself. ``version`` is that of its preparation.

    ``files`` are what is downloaded; none for a dataset that is computed or the user's own.
    """

    title: str
    licence: str
    citation: str
    rows: str
    features: str
    files: tuple[SourceFile, ...] = ()
    version: int = 1
    folder: str = ""  # where it is prepared, when that is another dataset's folder
