"""What datasets exist, and what is said of each: where its files are, their sums, its licence."""

from dataclasses import dataclass

from admmctl.registry import Registry

datasets = Registry(
    "dataset",
    {
        "mnist": "admmctl.data.mnist:Mnist",
        "swissroll": "admmctl.data.swissroll:SwissRoll",
    },
)


@dataclass(frozen=True)
class SourceFile:
    """One official file: its name, size in bytes, sha256, and addresses in order of preference."""

    name: str
    bytes: int
    sha256: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Download:
    """What a dataset that is fetched says of itself. ``version`` is that of its preparation."""

    title: str
    licence: str
    citation: str
    files: tuple[SourceFile, ...]
    rows: str
    features: int
    version: int
