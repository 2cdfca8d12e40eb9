"""What the catalogue of figures says of one of them: ``papers/catalogue.py`` is a table of these."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["figure", "table", "illustration"]
Source = Literal["points", "runs", "scaling", "condition"]


@dataclass(frozen=True)
class Quick:
    """What the quick scale changes: ``less`` says it in words; None and () leave it as it is."""

    less: str = "nothing"
    changes: tuple[str, ...] = ()
    methods: tuple[str, ...] | None = None
    repeats: int = 1
    cores: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Entry:
    """A figure or table of a paper.

    ``drawing`` is one of ``papers/draw.py``, ``source`` what it draws, ``config`` a file of ``configs``.
    ``changes`` are ``--set`` words at either scale, and ``differs`` says what is not as in the paper.
    ``repeats`` and ``cores`` are those of the full scale; core counts are cut to what there is room for.
    """

    name: str
    paper: str
    number: str
    shows: str
    drawing: str
    kind: Kind = "figure"
    source: Source = "runs"
    config: str | None = None
    methods: tuple[str, ...] = ()
    repeats: int = 3
    cores: tuple[int, ...] = (1,)
    changes: tuple[str, ...] = ()
    quick: Quick = field(default_factory=Quick)
    differs: str = ""

    def plan(self, scale: str) -> dict[str, Any]:
        """Methods, repeats, cores and ``--set`` words at that scale."""
        if scale == "full":
            return {
                "methods": self.methods,
                "repeats": self.repeats,
                "cores": self.cores,
                "changes": self.changes,
            }
        quick = self.quick
        methods = self.methods if quick.methods is None else quick.methods
        changes = (*self.changes, *quick.changes)
        return {"methods": methods, "repeats": quick.repeats, "cores": quick.cores, "changes": changes}

    def document(self) -> dict[str, Any]:
        """All of it, for ``--json`` and for who draws."""
        full, quick = self.plan("full"), self.plan("quick")
        return {
            "name": self.name,
            "paper": self.paper,
            "number": self.number,
            "kind": self.kind,
            "shows": self.shows,
            "drawing": self.drawing,
            "source": self.source,
            "config": None if self.config is None else f"configs/{self.config}.yaml",
            **{key: list(value) if isinstance(value, tuple) else value for key, value in full.items()},
            "quick": {
                "less": self.quick.less,
                **{key: list(value) if isinstance(value, tuple) else value for key, value in quick.items()},
                "changes": list(self.quick.changes),
            },
            "differs": self.differs,
        }
