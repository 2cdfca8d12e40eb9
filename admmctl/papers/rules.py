"""Rules that tell claims: comparisons of medians over repeats, whose 95 % intervals must not overlap.

A rule raises Lacking where there are fewer runs than it asks for. Of seconds, runs whose cores other work took do
not count: accuracies and iterations are the same for them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from admmctl.papers.claims import Evidence, Lacking, Rule, Told, Verdict, tell
from admmctl.report.text import count, seconds
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import Median, median

MORE = "more repeats: the intervals overlap"


@dataclass(frozen=True)
class Quantity:
    """A number of a run, and how it is written. ``missing`` stands for runs that have none.

    ``timed``: it is of seconds, and disturbed runs do not count.
    """

    name: str
    of: Callable[[Recorded], float | None]
    show: Callable[[float], str]
    missing: float
    timed: bool = False


def percent(value: float) -> str:
    """A fraction as text."""
    return f"{100 * value:.2f} %"


def whole(value: float) -> str:
    """A whole number as text, and what is infinite as never."""
    return f"{value:,.0f}" if math.isfinite(value) else "never"


def in_seconds(value: float) -> str:
    """Seconds as text."""
    return f"{seconds(value)} s" if math.isfinite(value) else "never"


def _met(run: Recorded, key: str) -> float | None:
    return None if run.number("time_to_target_s") is None else run.number(key)


FINAL = Quantity("final test accuracy", lambda run: run.number("final_test_accuracy"), percent, -math.inf)
BEST = Quantity("highest test accuracy", lambda run: run.number("best_test_accuracy"), percent, -math.inf)
# Of runs that end after some seconds: how far they come is less on cores that other work takes.
AT_END = replace(FINAL, name="test accuracy at the end", timed=True)
TIME = Quantity(
    "seconds to the target", lambda run: _met(run, "time_to_target_s"), in_seconds, math.inf, timed=True
)
STEPS = Quantity("iterations to the target", lambda run: _met(run, "iterations"), whole, math.inf)
EACH = Quantity(
    "seconds of an iteration",
    lambda run: (run.number("train_s") or 0.0) / max(1.0, run.number("iterations") or 1.0),
    in_seconds,
    math.inf,
    timed=True,
)


def repeats(found: Evidence, method: str, quantity: Quantity) -> list[float]:
    """The quantity of every repeat. Raises Lacking where there are too few of them."""
    runs = [run for run in found.runs.get(method, []) if not (quantity.timed and run.disturbed)]
    if len(runs) < found.work.repeats:
        quiet = "undisturbed " if quantity.timed else ""
        raise Lacking(f"{count(found.work.repeats, f'{quiet}run')} of {method}, {len(runs)} here")
    return [quantity.missing if (value := quantity.of(run)) is None else value for run in runs]


def middle(found: Evidence, method: str, quantity: Quantity) -> Median:
    """The median over repeats, with its interval. Raises Lacking."""
    values = repeats(found, method, quantity)
    if quantity.missing > 0:
        return median(values)
    turned = median([-value for value in values])  # a run without a number is the worst one
    low, high = (None if bound is None else -bound for bound in (turned.high, turned.low))
    return Median(-turned.value, low, high, turned.n)


def shown(method: str, value: Median, quantity: Quantity) -> str:
    """'admm 98.43 % (98.40 % to 98.47 %, n=6)'."""
    if value.low is None or value.high is None:
        return f"{method} {quantity.show(value.value)} (n={value.n})"
    bounds = f"{quantity.show(value.low)} to {quantity.show(value.high)}"
    return f"{method} {quantity.show(value.value)} ({bounds}, n={value.n})"


def greater(quantity: Quantity, one: str, other: str, work: int = 0, other_work: int | None = None) -> Rule:
    """That ``one`` method has more of it than the ``other``."""

    def rule(found: list[Evidence]) -> Told:
        a = middle(found[work], one, quantity)
        b = middle(found[work if other_work is None else other_work], other, quantity)
        evidence = f"{quantity.name}: {shown(one, a, quantity)} against {shown(other, b, quantity)}"
        verdict = above(a, b)
        return Told(verdict, evidence, MORE if verdict is Verdict.UNTOLD else "")

    return rule


def less(quantity: Quantity, one: str, other: str, work: int = 0, other_work: int | None = None) -> Rule:
    """That ``one`` method has less of it than the ``other``."""
    return greater(quantity, other, one, work if other_work is None else other_work, work)


def above(a: Median, b: Median) -> Verdict:
    """Whether a is above b, for sure."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Verdict.UNTOLD
    if a.low > b.high:
        return Verdict.HOLDS
    return Verdict.FAILS if a.high < b.low else Verdict.UNTOLD


def near(
    quantity: Quantity,
    one: str,
    other: str,
    by: float,
    work: int = 0,
    other_work: int | None = None,
    names: tuple[str, str] | None = None,
) -> Rule:
    """That ``one`` method has at most ``by`` less of it than the ``other``.

    ``names`` are what the evidence calls them, where one method is in both works.
    """

    def rule(found: list[Evidence]) -> Told:
        a = middle(found[work], one, quantity)
        b = middle(found[work if other_work is None else other_work], other, quantity)
        first, second = names or (one, other)
        text = f"{shown(first, a, quantity)} against {shown(second, b, quantity)}, {quantity.show(by)} may lack"
        if b.low is None or b.high is None:
            return Told(Verdict.UNTOLD, f"{quantity.name}: {text}", MORE)
        verdict = above(a, Median(b.value - by, b.low - by, b.high - by, b.n))
        return Told(verdict, f"{quantity.name}: {text}", MORE if verdict is Verdict.UNTOLD else "")

    return rule


def at_least(quantity: Quantity, method: str, level: float, work: int = 0) -> Rule:
    """That the median of a method is ``level`` or more."""

    def rule(found: list[Evidence]) -> Told:
        a = middle(found[work], method, quantity)
        return enough(a, level, f"{quantity.name}: {shown(method, a, quantity)}, {quantity.show(level)} asked for")

    return rule


def enough(a: Median, level: float, evidence: str) -> Told:
    """Whether a is at least ``level``, for sure."""
    if a.low is not None and a.high is not None and (a.low >= level or a.high < level):
        return Told(Verdict.HOLDS if a.low >= level else Verdict.FAILS, evidence)
    return Told(Verdict.UNTOLD, evidence, MORE)


def at_most(quantity: Quantity, method: str, level: float, work: int = 0) -> Rule:
    """That the median of a method is ``level`` or less."""

    def rule(found: list[Evidence]) -> Told:
        a = middle(found[work], method, quantity)
        evidence = f"{quantity.name}: {shown(method, a, quantity)}, {quantity.show(level)} at most asked for"
        if a.low is not None and a.high is not None and (a.high <= level or a.low > level):
            return Told(Verdict.HOLDS if a.high <= level else Verdict.FAILS, evidence)
        return Told(Verdict.UNTOLD, evidence, MORE)

    return rule


def never(method: str, work: int = 0) -> Rule:
    """That a method meets the target in no run."""
    return _met_in(method, work, none=Verdict.HOLDS, every=Verdict.FAILS)


def always(method: str, work: int = 0) -> Rule:
    """That a method meets the target in every run."""
    return _met_in(method, work, none=Verdict.FAILS, every=Verdict.HOLDS)


def _met_in(method: str, work: int, none: Verdict, every: Verdict) -> Rule:
    def rule(found: list[Evidence]) -> Told:
        times = repeats(found[work], method, STEPS)
        met = sum(map(math.isfinite, times))
        verdict = none if not met else every if met == len(times) else Verdict.IN_PART
        return Told(verdict, f"{method} met the target in {met} of {count(len(times), 'run')}")

    return rule


def opposite(of: Rule) -> Rule:
    """That a rule does not hold."""
    turned = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}

    def rule(found: list[Evidence]) -> Told:
        told = of(found)
        return Told(turned.get(told.verdict, told.verdict), told.evidence, told.needs)

    return rule


def all_of(*rules: Rule) -> Rule:
    """That all of several rules hold; in part, where some do and some do not."""

    def rule(found: list[Evidence]) -> Told:
        told = [tell(each, found) for each in rules]
        verdicts = {each.verdict for each in told}
        evidence = "; ".join(each.evidence for each in told if each.evidence)
        needs = "; ".join(dict.fromkeys(each.needs for each in told if each.needs))
        if len(verdicts) == 1:
            return Told(verdicts.pop(), evidence, needs)
        both = {Verdict.HOLDS, Verdict.FAILS} <= verdicts or Verdict.IN_PART in verdicts
        return Told(Verdict.IN_PART if both else Verdict.UNTOLD, evidence, needs)

    return rule


def unable(needs: str) -> Rule:
    """A claim that no run on a small machine can tell; ``needs`` is what would."""

    def rule(found: list[Evidence]) -> Told:
        return Told(Verdict.UNTOLD, "", needs)

    return rule


# --- ratios, and how repeats differ


def ratio_at_least(quantity: Quantity, one: str, other: str, factor: float, work: int = 0) -> Rule:
    """That ``one`` method has ``factor`` times as much of it as the ``other``. The interval is what both allow."""

    def rule(found: list[Evidence]) -> Told:
        a, b = (middle(found[work], method, quantity) for method in (one, other))
        if a.low is None or a.high is None or b.low is None or b.high is None or b.low <= 0:
            return Told(Verdict.UNTOLD, "", MORE)
        low, high = a.low / b.high, a.high / b.low
        verdict = Verdict.HOLDS if low >= factor else Verdict.FAILS if high < factor else Verdict.UNTOLD
        times = f"{a.value / b.value:.2f} ({low:.2f} to {high:.2f})"
        evidence = f"{one} over {other}: {times}, {factor:g} asked for"
        return Told(verdict, evidence, MORE if verdict is Verdict.UNTOLD else "")

    return rule


def repeats_differ(quantity: Quantity, method: str, by: float, work: int = 0) -> Rule:
    """That the highest and the lowest repeat of a method are ``by`` or more apart."""

    def rule(found: list[Evidence]) -> Told:
        values = repeats(found[work], method, quantity)
        low, high = min(values), max(values)
        evidence = f"{quantity.name}: {method} {quantity.show(low)} to {quantity.show(high)} in {len(values)} runs"
        return Told(Verdict.HOLDS if high - low >= by else Verdict.FAILS, evidence)

    return rule
