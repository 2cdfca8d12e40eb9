"""What a figure of a paper is made from, handed by who makes the runs to who draws them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

Scale = Literal["quick", "full"]


@dataclass(frozen=True)
class Material:
    """One figure's runs, or what was computed for it.

    ``entry`` is its line in the catalogue as a mapping. ``result`` is a scaling study in numbers, or what
    ``condition`` found. ``rows``, ``facts`` and ``images`` are an illustration's points. ``left_out`` says which
    methods are not there, and why; ``notes`` is what else a reader should know.
    """

    entry: dict[str, Any]
    scale: Scale
    folders: list[Path] = field(default_factory=list)
    result: Any = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    images: NDArray[Any] | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def shrunk(self) -> bool:
        """Whether the runs are smaller than those of the experiment file."""
        return self.scale == "quick" and bool(self.entry["quick"]["changes"])
