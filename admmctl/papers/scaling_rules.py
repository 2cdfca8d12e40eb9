"""Rules that tell claims from scaling studies: how much of the time more cores save.

As of runs, an interval is that of medians over repeats, and disturbed runs do not count.
"""

import math

from admmctl.papers.claims import Evidence, Lacking, Rule, Told, Verdict
from admmctl.papers.rules import MORE, Quantity, above, enough, shown
from admmctl.report.text import count
from admmctl.studies.statistics import Median, median

# Of a study, and of no run: see ``efficiency``.
EFFICIENCY = Quantity("efficiency", lambda run: None, lambda value: f"{100 * value:.0f} %", -math.inf, timed=True)


def efficiency(found: Evidence, method: str) -> Median:
    """Of a study on its most cores: 1 where the seconds fall as cores rise.

    The interval is what those of both medians allow. Raises Lacking.
    """
    first, last = found.work.cores[0], found.work.cores[-1]
    study = found.studies.get(method)
    points = {} if study is None else {point.cores: point for point in study.points}
    for cores in (first, last):
        point = points.get(cores)
        runs = 0 if point is None or point.disturbed or point.shared else point.runs
        if runs < found.work.repeats:
            many = count(found.work.repeats, "undisturbed run")
            raise Lacking(f"{many} of {method} on {count(cores, 'core')} of their own, {runs} here")
    one, most = (median(points[cores].seconds) for cores in (first, last))
    if not (math.isfinite(one.value) and math.isfinite(most.value)):
        raise Lacking(f"runs of {method} that meet the target")
    factor = last / first
    low = None if one.low is None or most.high is None else one.low / (factor * most.high)
    high = None if one.high is None or most.low is None else one.high / (factor * most.low)
    return Median(one.value / (factor * most.value), low, high, min(one.n, most.n))


def efficient(method: str, least: float, work: int = 0) -> Rule:
    """That the efficiency of a method on the most cores of the work is ``least`` or more."""

    def rule(found: list[Evidence]) -> Told:
        a = efficiency(found[work], method)
        text = f"{shown(method, a, EFFICIENCY)}, {EFFICIENCY.show(least)} asked for"
        return enough(a, least, f"{_on_most(found[work])}: {text}")

    return rule


def more_efficient(one: str, other: str, work: int = 0) -> Rule:
    """That the efficiency of ``one`` method on the most cores of the work is higher than that of the ``other``."""

    def rule(found: list[Evidence]) -> Told:
        a, b = (efficiency(found[work], method) for method in (one, other))
        evidence = f"{_on_most(found[work])}: {shown(one, a, EFFICIENCY)} against {shown(other, b, EFFICIENCY)}"
        verdict = above(a, b)
        return Told(verdict, evidence, MORE if verdict is Verdict.UNTOLD else "")

    return rule


def _on_most(found: Evidence) -> str:
    return f"{EFFICIENCY.name} on {count(found.work.cores[-1], 'core')}"
