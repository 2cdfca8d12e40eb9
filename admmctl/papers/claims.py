"""What papers claim, in our words, and what our runs say to it.

A claim has a rule: a function of what is recorded. It is told from runs of the experiment file's own size, and
from as many of them as the rule asks for. ``evidence.py`` finds these, ``rules.py`` has the rules.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from admmctl.papers.entry import Paper
from admmctl.report.verdict import Judged, Verdict
from admmctl.runs.places import is_run
from admmctl.runs.recorded import Recorded
from admmctl.studies.condition import Conditions
from admmctl.studies.statistics import MINIMUM
from admmctl.studies.study import Findings


@dataclass(frozen=True)
class Told:
    """A verdict, and what it was told from, with intervals. ``needs``: what it would take to tell it, or more."""

    verdict: Verdict
    evidence: str
    needs: str = ""


@dataclass(frozen=True)
class Work:
    """What a claim is told from: ``repeats`` of methods of a file of ``configs``, or their scaling studies.

    ``changes`` are ``--set`` options. Runs are on the first of the ``cores``, studies on all of them; of
    ``condition`` are the condition numbers of a convex method, a seed for each repeat. ``timed``: seconds are told
    from the runs, so that those which other work disturbed are made again.
    """

    config: str
    methods: tuple[str, ...]
    repeats: int = MINIMUM
    changes: tuple[str, ...] = ()
    cores: tuple[int, ...] = (1,)
    source: Literal["runs", "scaling", "condition"] = "runs"
    timed: bool = False


@dataclass(frozen=True)
class Evidence:
    """What is recorded of a work: finished runs by method, studies by method, condition numbers; a seed once."""

    work: Work
    runs: dict[str, list[Recorded]] = field(default_factory=dict)
    studies: dict[str, Findings] = field(default_factory=dict)
    conditions: list[Conditions] = field(default_factory=list)


Rule = Callable[[list[Evidence]], Told]


@dataclass(frozen=True)
class Claim:
    """A statement of a paper: ``text`` in our words, ``where`` it stands, ``differs`` what is not as in the paper.

    Or one of a study of our own: ``where`` is then the problem, ``differs`` the conditions.

    ``rule`` is given what is recorded of each ``work``, in that order. ``figure`` is the entry that shows it.
    """

    id: str
    paper: Paper
    where: str
    text: str
    rule: Rule
    work: tuple[Work, ...] = ()
    differs: str = ""
    figure: str | None = None


class Lacking(Exception):
    """There is too little to tell a claim from; the message says what it would take."""


def tell(rule: Rule, found: list[Evidence]) -> Told:
    """What a rule says; where it lacks something, that."""
    try:
        return rule(found)
    except Lacking as lacking:
        return Told(Verdict.UNTOLD, "", str(lacking))


def judge(claim: Claim, found: list[Evidence]) -> Judged:
    """The verdict on a claim, from what is recorded of its work."""
    told = tell(claim.rule, found)
    used = [run.folder for each in found for runs in each.runs.values() for run in runs]
    studies = [Path(study.study) for each in found for study in each.studies.values()]
    used += [path for study in studies for path in sorted(study.iterdir()) if is_run(path)]
    return Judged(
        id=claim.id,
        paper=claim.paper.name,
        where=claim.where,
        text=claim.text,
        verdict=told.verdict,
        evidence=told.evidence,
        needs=told.needs,
        differs=claim.differs,
        rerun=f"admmctl claims {claim.id} --run" if claim.work else "",
        figure=claim.figure,
        runs=[str(path) for path in used],
        ours=claim.paper.ours,
    )
