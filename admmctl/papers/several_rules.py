"""Rules about several methods, or one of several settings: the best of them, and how far apart they are."""

import math
from collections.abc import Sequence

from admmctl.papers.claims import Evidence, Rule, Told, Verdict
from admmctl.papers.rules import MORE, Quantity, above, middle, near, shown
from admmctl.studies.statistics import Median


def least_of(quantity: Quantity, ones: Sequence[str], others: Sequence[str], work: int = 0) -> Rule:
    """That the best of ``ones`` has less of it than the best of the ``others``; methods of many settings."""

    def rule(found: list[Evidence]) -> Told:
        (one, a), (other, b) = (_least(found[work], methods, quantity) for methods in (ones, others))
        evidence = f"{quantity.name}: {shown(one, a, quantity)} against {shown(other, b, quantity)}"
        if len(ones) + len(others) > 2:
            evidence += ", each the best of its settings"
        verdict = above(b, a)
        return Told(verdict, evidence, MORE if verdict is Verdict.UNTOLD else "")

    return rule


def near_best(
    quantity: Quantity, one: str, others: Sequence[str], by: float, work: int = 0, closer: int | None = None
) -> Rule:
    """That ``one`` method has at most ``by`` less of it than that of the ``others`` which has most.

    ``closer`` is a work with more repeats of ``one`` and of some others: where it has the best, the two are
    compared there.
    """

    def rule(found: list[Evidence]) -> Told:
        middles = {method: middle(found[work], method, quantity) for method in others}
        best = max(others, key=lambda method: middles[method].value)
        place = work if closer is None or best not in found[closer].work.methods else closer
        return near(quantity, one, best, by, place, names=(one, _of_several(best, others)))(found)

    return rule


def within_times_the_least(
    quantity: Quantity, one: str, others: Sequence[str], factor: float, work: int = 0
) -> Rule:
    """That ``one`` method has at most ``factor`` times as much of it as that of the ``others`` which has least."""

    def rule(found: list[Evidence]) -> Told:
        a, (least, b) = middle(found[work], one, quantity), _least(found[work], others, quantity)
        other = shown(_of_several(least, others), b, quantity)
        evidence = f"{quantity.name}: {shown(one, a, quantity)} against {other}"
        if a.low is None or a.high is None or b.low is None or b.high is None or math.isinf(min(a.low, b.low)):
            return Told(Verdict.UNTOLD, evidence, MORE)
        low, high = a.low / b.high, a.high / b.low
        verdict = Verdict.HOLDS if high <= factor else Verdict.FAILS if low > factor else Verdict.UNTOLD
        evidence += f", {low:.2f} to {high:.2f} times as much, {factor:g} at most asked for"
        return Told(verdict, evidence, MORE if verdict is Verdict.UNTOLD else "")

    return rule


def _of_several(best: str, methods: Sequence[str]) -> str:
    """'the best of 5, adam,', before its number."""
    return f"the best of {len(methods)}, {best}," if len(methods) > 1 else best


def least_inside(quantity: Quantity, methods: Sequence[str], work: int = 0) -> Rule:
    """That there is less of it at a setting in between than at both ends; ``methods`` are in order."""

    def rule(found: list[Evidence]) -> Told:
        name, best = _least(found[work], methods[1:-1], quantity)
        ends = [(end, middle(found[work], end, quantity)) for end in (methods[0], methods[-1])]
        rest = " and ".join(shown(end, value, quantity) for end, value in ends)
        evidence = f"{quantity.name}: {shown(name, best, quantity)} against {rest} at the ends"
        if not math.isfinite(best.value):
            return Told(Verdict.UNTOLD, evidence, "longer runs: too few of these met the target")
        verdicts = {above(value, best) for _, value in ends}
        if verdicts == {Verdict.HOLDS} or Verdict.FAILS in verdicts:
            return Told(Verdict.FAILS if Verdict.FAILS in verdicts else Verdict.HOLDS, evidence)
        return Told(Verdict.UNTOLD, evidence, MORE)

    return rule


def _least(found: Evidence, methods: Sequence[str], quantity: Quantity) -> tuple[str, Median]:
    """The method of the smallest median. Raises Lacking where one of them has too few runs."""
    middles = {method: middle(found, method, quantity) for method in methods}
    return min(middles.items(), key=lambda item: item[1].value)


def alike(quantity: Quantity, methods: Sequence[str], by: float, work: int = 0) -> Rule:
    """That no two of several methods are more than ``by`` apart."""

    def rule(found: list[Evidence]) -> Told:
        middles = {method: middle(found[work], method, quantity) for method in methods}
        (least, a), *_, (most, b) = sorted(middles.items(), key=lambda item: item[1].value)
        ends = f"{shown(least, a, quantity)} to {shown(most, b, quantity)}"
        evidence = f"{quantity.name}: {ends}, {quantity.show(by)} apart at most asked for"
        bounds = [(one.low, one.high) for one in middles.values() if one.low is not None and one.high is not None]
        if len(bounds) < len(middles):
            return Told(Verdict.UNTOLD, evidence, MORE)
        lows, highs = zip(*bounds, strict=True)
        if max(highs) - min(lows) <= by:
            return Told(Verdict.HOLDS, evidence)
        apart = max(lows) - min(highs) > by
        return Told(Verdict.FAILS if apart else Verdict.UNTOLD, evidence, "" if apart else MORE)

    return rule
