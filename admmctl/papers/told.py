"""The claims of the papers with their verdicts, as a list on the terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from admmctl.errors import AdmmctlError, UserError
from admmctl.papers.catalogue import CLAIMS
from admmctl.papers.claims import Claim, judge
from admmctl.papers.evidence import recorded
from admmctl.registry import suggest
from admmctl.report.text import count
from admmctl.report.verdict import Judged, Verdict

_LOOK = {Verdict.HOLDS: "green", Verdict.IN_PART: "yellow", Verdict.FAILS: "red", Verdict.UNTOLD: "dim"}


def chosen(names: Sequence[str]) -> list[Claim]:
    """The claims of these papers, by their short names, or by id; all without one. Raises UserError."""
    papers = {claim.paper.short.lower() for claim in CLAIMS.values()}
    for name in names:
        if name.lower() not in papers and name not in CLAIMS:
            raise UserError(f"unknown paper or claim '{name}'{suggest(name, [*sorted(papers), *CLAIMS])}")
    asked = {name.lower() for name in names}
    return [
        claim for claim in CLAIMS.values() if not names or claim.paper.short.lower() in asked or claim.id in names
    ]


def judged(claims: Sequence[Claim]) -> list[Judged]:
    """Each of these with its verdict. Work that several share is read once. Raises UserError."""
    found = {work: recorded(work) for work in dict.fromkeys(work for claim in claims for work in claim.work)}
    return [judge(claim, [found[work] for work in claim.work]) for claim in claims]


def told_or_why() -> list[Judged] | str:
    """All claims with their verdicts; the reason, in a line, where they cannot be judged here."""
    try:
        return judged(chosen([]))
    except (AdmmctlError, OSError) as reason:
        return str(reason).splitlines()[0]


def claims_list(found: Sequence[Judged]) -> Group:
    """Paper by paper: the verdict, the claim, and what it was told from; at the end how many of each."""
    parts: list[RenderableType] = []
    paper = ""
    for claim in found:
        if claim.paper != paper:
            paper = claim.paper
            parts += [Text(""), Text(paper, style="bold")]
        verdict = Verdict(claim.verdict)
        parts.append(Text.assemble((verdict, _LOOK[verdict]), f"  {claim.text} ({claim.where}; {claim.id})"))
        details = [
            claim.evidence,
            claim.needs and f"needs {claim.needs}",
            claim.differs and f"{'conditions' if claim.ours else 'differs'}: {claim.differs}",
        ]
        parts += [Padding(Text(detail, style="dim"), (0, 0, 0, 4)) for detail in details if detail]
    return Group(*parts, Text(""), Text(summary(found)))


def summary(found: Sequence[Judged]) -> str:
    """'41 claims: 17 hold, 4 hold in part, 8 do not hold, 12 cannot be told here'; ours in a line of their own."""
    papers, ours = ([claim for claim in found if claim.ours is own] for own in (False, True))
    lines = [f"{count(len(papers), 'claim')}: {_tally(papers)}"] if papers or not ours else []
    return "\n".join([*lines, *([f"{count(len(ours), 'claim')} of our own: {_tally(ours)}"] if ours else [])])


def _tally(found: Sequence[Judged]) -> str:
    many = Counter(claim.verdict for claim in found)
    return ", ".join(f"{many[verdict]} {verdict.of_many}" for verdict in Verdict)
