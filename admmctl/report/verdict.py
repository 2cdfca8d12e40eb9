"""What came of a claim: ``papers`` judge it, tables and the page show it. The report knows no paper."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What comes of a claim."""

    HOLDS = "holds"
    IN_PART = "holds in part"
    FAILS = "does not hold"
    UNTOLD = "cannot be told here"

    @property
    def of_many(self) -> str:
        """What comes of several claims: 'hold'."""
        plural = {Verdict.HOLDS: "hold", Verdict.IN_PART: "hold in part", Verdict.FAILS: "do not hold"}
        return plural.get(self, self.value)


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict: what ``claims --json`` prints of it. ``rerun`` makes the runs that are missing.

    ``figure`` is the name of the figure that shows it; ``runs`` are the folders that it was told from. ``ours``:
    it is no paper's claim, but one of a study of our own.
    """

    id: str
    paper: str
    where: str
    text: str
    verdict: str
    evidence: str
    needs: str
    differs: str
    rerun: str
    figure: str | None
    runs: list[str]
    ours: bool = False
