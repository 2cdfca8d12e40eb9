"""From names to implementations: ours are in a table, those of other packages are entry points."""

from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from admmctl.errors import UserError

Implementation = TypeVar("Implementation")


class Registry(Generic[Implementation]):
    """What an experiment file can name: methods, datasets, losses or activations.

    ``builtin`` maps a name to ``"module:attribute"``. It is imported at its first use: a rank loads only what its
    experiment needs. Other packages add theirs by the entry point group ``admmctl.<kind>s``.
    """

    def __init__(self, kind: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self._places = dict(builtin)
        self._searched = False

    def _search(self) -> None:
        """Add the entry points of installed packages; a name of our own is never replaced."""
        if not self._searched:
            self._searched = True
            for point in entry_points(group=f"admmctl.{self.kind}s"):
                self._places.setdefault(point.name, point.value)

    def __iter__(self) -> Iterator[str]:
        self._search()
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        if name not in self._places:
            self._search()
        return name in self._places

    def load(self, name: str) -> Implementation:
        """The implementation called ``name``; raises UserError with the nearest valid name."""
        if name not in self:
            raise UserError(f"unknown {self.kind} '{name}'{suggest(name, list(self))}")
        place = self._places[name]
        module, _, attribute = place.partition(":")
        try:
            found: Implementation = getattr(import_module(module), attribute)
            return found
        except (ImportError, AttributeError) as error:
            raise UserError(f"{self.kind} '{name}' cannot be loaded from {place}: {error}") from error


def suggest(name: str, valid: list[str]) -> str:
    """'; did you mean X? Valid: A, B' for an error message."""
    near = get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return f"{hint} valid: {', '.join(sorted(valid))}"
