"""What the claims of the convex paper are told from: numbers of its runs, and rules for them.

The paper's training losses and accuracies are of the convex model, F u (``primal_loss``, ``primal_accuracy``);
those of its baseline are of the network.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from admmctl.papers.claims import Evidence, Lacking, Rule, Told, Verdict
from admmctl.papers.rules import FINAL, MORE, Quantity, in_seconds, middle, percent, shown, whole
from admmctl.report.text import count
from admmctl.runs.reading import Curve
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import Median, median

_SIMILAR_LOSS, _SIMILAR_ACCURACY = 1.05, 0.01  # "similar": so many times the loss, so much below the accuracy
_LATE = 4  # evaluations that a scatter takes at least


# --- numbers of a run


def trained(row: dict[str, float], what: str) -> float:
    """Training ``loss`` or ``accuracy`` as the paper measures it, of a row of curve.csv."""
    return row.get(f"primal_{what}", row[f"train_{what}"])


def to_97(run: Recorded) -> float | None:
    """Training seconds at the first evaluation with 97 % of the training rows right, as the paper counts them."""
    return next((row["train_s"] for row in run.curve if trained(row, "accuracy") >= 0.97), None)


def _last(value: Callable[[dict[str, float]], float]) -> Callable[[Recorded], float | None]:
    return lambda run: value(run.curve[-1]) if run.curve else None


def _after_first(value: Callable[[Curve], float | None]) -> Callable[[Recorded], float | None]:
    """A number of the evaluations from the first iteration on, if there are two."""

    def of(run: Recorded) -> float | None:
        rows = [row for row in run.curve if row["iteration"] > 0]
        return value(rows) if len(rows) > 1 else None

    return of


def _each(rows: Curve) -> float:
    """Seconds of an iteration, without the set-up."""
    return (rows[-1]["train_s"] - rows[0]["train_s"]) / (rows[-1]["iteration"] - rows[0]["iteration"])


def _scatter(rows: Curve) -> float | None:
    """Standard deviation of the test accuracy around a straight line, in the later half of the seconds."""
    late = [row for row in rows if row["train_s"] >= rows[-1]["train_s"] / 2]
    if len(late) < _LATE:
        return None
    time, accuracy = (np.array([row[key] for row in late]) for key in ("train_s", "test_accuracy"))
    time = time - time.mean()
    apart = accuracy - np.polyval(np.polyfit(time, accuracy, 1), time)
    return float(np.sqrt((apart**2).sum() / (len(late) - 2)))


def _precomputed(run: Recorded) -> float | None:
    """The part of the seconds to 97 % that was spent beforehand."""
    total, phase = to_97(run), run.phases.get("precompute")
    return None if not total or phase is None else phase["max_s"] / total


def _worst_condition(row: dict[str, float]) -> float:
    return max(row[key] for key in ("primal_v", "primal_s", "stationarity", "group", "complementarity"))


def _plain(value: float) -> str:
    return f"{value:.3g}"


LOSS = Quantity("training loss", _last(lambda row: trained(row, "loss")), _plain, math.inf)
ACCURACY = Quantity("training accuracy", _last(lambda row: trained(row, "accuracy")), percent, -math.inf)
TEST_LOSS = Quantity("test loss", _last(lambda row: row["test_loss"]), _plain, math.inf)
TO_97 = Quantity("seconds to 97 % of the training rows", to_97, in_seconds, math.inf, timed=True)
EACH = Quantity("seconds of an iteration", _after_first(_each), in_seconds, math.inf, timed=True)
SCATTER = Quantity(
    "test accuracy, standard deviation around its trend", _after_first(_scatter), percent, math.inf, timed=True
)
LEFT = Quantity(
    "training loss, the last over that after one iteration",
    _after_first(lambda rows: trained(rows[-1], "loss") / trained(rows[0], "loss")),
    _plain,
    math.inf,
)
GAINED = Quantity(
    "training accuracy gained after the first iteration",
    _after_first(lambda rows: trained(rows[-1], "accuracy") - trained(rows[0], "accuracy")),
    percent,
    math.inf,
)
PRECOMPUTED = Quantity("set-up, as a part of the seconds to 97 %", _precomputed, percent, -math.inf, timed=True)
OPTIMALITY = Quantity("worst optimality condition", _last(_worst_condition), "{:.1e}".format, math.inf)
RESIDUAL = Quantity(
    "residual of the primal update", _last(lambda row: row["inner_residual"]), "{:.1e}".format, math.inf
)
MEMORY = Quantity(
    "peak memory", lambda run: run.number("peak_rss_mb"), lambda mib: f"{mib / 1024:.2f} GiB", math.inf
)


def timed(quantity: Quantity) -> Quantity:
    """The same of runs that end by the clock: disturbed ones got less far."""
    return replace(quantity, timed=True)


# --- rules


@dataclass(frozen=True)
class Of:
    """A method of a work, by the name that evidence has for it."""

    name: str
    method: str
    work: int = 0


def below(quantity: Quantity, one: Of, other: Of, times: float = 1.0) -> Rule:
    """That ``one`` has less of it than the ``other``, ``times`` less; in part, where it only has less."""

    def rule(found: list[Evidence]) -> Told:
        a, b = (middle(found[each.work], each.method, quantity) for each in (one, other))
        evidence = f"{quantity.name}: {shown(one.name, a, quantity)} against {shown(other.name, b, quantity)}"
        return _less(a, b, evidence, times)

    return rule


def _less(a: Median, b: Median, evidence: str, times: float = 1.0) -> Told:
    if _is_below(b, a):
        return Told(Verdict.FAILS, evidence)
    if not _is_below(a, b):
        return Told(Verdict.UNTOLD, evidence, MORE)
    enough = a.high is not None and b.low is not None and times * a.high <= b.low
    return Told(Verdict.HOLDS if enough else Verdict.IN_PART, evidence)


def _is_below(a: Median, b: Median) -> bool:
    """Whether a is less than b, for sure."""
    return a.high is not None and b.low is not None and a.high < b.low


def best(quantity: Quantity, one: str, *others: str) -> Rule:
    """That ``one`` method does better than each of the ``others``: more, or less where a miss is infinite."""

    def rule(found: list[Evidence]) -> Told:
        a, rest = middle(found[0], one, quantity), [middle(found[0], other, quantity) for other in others]
        evidence = f"{quantity.name}: {shown(one, a, quantity)} against "
        evidence += " and ".join(shown(other, b, quantity) for other, b in zip(others, rest, strict=True))
        low = quantity.missing > 0
        if any(_is_below(b, a) if low else _is_below(a, b) for b in rest):
            return Told(Verdict.FAILS, evidence)
        ahead = all(_is_below(a, b) if low else _is_below(b, a) for b in rest)
        return Told(Verdict.HOLDS, evidence) if ahead else Told(Verdict.UNTOLD, evidence, MORE)

    return rule


def more_iterations(one: str, other: str) -> Rule:
    """That ``one`` method takes more iterations to about the test loss and accuracy that the ``other`` ends at."""

    def rule(found: list[Evidence]) -> Told:
        loss = _SIMILAR_LOSS * middle(found[0], other, TEST_LOSS).value
        accuracy = middle(found[0], other, FINAL).value - _SIMILAR_ACCURACY

        def steps(run: Recorded) -> float | None:
            met = (row for row in run.curve if row["test_loss"] <= loss and row["test_accuracy"] >= accuracy)
            return next((row["iteration"] for row in met), None)

        name = f"iterations to a test loss of {_plain(loss)} and a test accuracy of {percent(accuracy)}"
        taken = Quantity(name, steps, whole, math.inf)
        a, b = (middle(found[0], method, taken) for method in (one, other))
        evidence = f"{name}: {shown(one, a, taken)} against {shown(other, b, taken)}"
        if a.high is not None and b.low is not None and a.high <= b.low:  # as many are not more
            return Told(Verdict.FAILS, evidence)
        return Told(Verdict.HOLDS, evidence) if _is_below(b, a) else Told(Verdict.UNTOLD, evidence, MORE)

    return rule


def varies_less(one: str, ones: Sequence[int], other: str, others: Sequence[int]) -> Rule:
    """That over works with other settings the final accuracy of ``one`` method varies less, seed by seed."""

    def rule(found: list[Evidence]) -> Told:
        a, b = (_range(found, method, works) for method, works in ((one, ones), (other, others)))
        name = f"test accuracy, highest less lowest over {count(len(ones), 'setting')}"
        return _less(a, b, f"{name}: {shown(one, a, FINAL)} against {shown(other, b, FINAL)}")

    return rule


def _range(found: list[Evidence], method: str, works: Sequence[int]) -> Median:
    """Raises Lacking."""
    values: dict[float | None, list[float]] = {}
    for place in works:
        middle(found[place], method, FINAL)  # or it says how many runs are missing
        for run in found[place].runs[method]:
            values.setdefault(run.number("seed"), []).append(FINAL.of(run) or 0.0)
    return median([max(of_seed) - min(of_seed) for of_seed in values.values() if len(of_seed) == len(works)])


def exact_within(method: str, gib: float, side: int) -> Rule:
    """That an exact solve with a matrix of this ``side`` takes over ``gib`` GiB: of the matrix, and of ``method``.

    It holds in part where the matrix does, and the method, exact without it, takes less.
    """

    def rule(found: list[Evidence]) -> Told:
        memory, residual = (middle(found[0], method, quantity) for quantity in (MEMORY, RESIDUAL))
        stored = side**2 * 4 / 2**30
        evidence = f"A has a side of {side:,}: {stored:,.0f} GiB in float32; without it, "
        evidence += (
            f"{MEMORY.name}: {shown(method, memory, MEMORY)}, {RESIDUAL.name} {RESIDUAL.show(residual.value)}"
        )
        if residual.high is None or residual.high > 1e-3:
            return Told(Verdict.UNTOLD, evidence, f"an exact solve by {method}")
        needed = memory.low is not None and memory.low / 1024 > gib
        return Told(Verdict.HOLDS if needed else Verdict.IN_PART if stored > gib else Verdict.FAILS, evidence)

    return rule


Preconditioner = tuple[str, int | None]  # its name, and its rank where it has one
NONE: Preconditioner = ("none", None)


def conditions(over: Preconditioner, under: Preconditioner, times: float = 1.0) -> Rule:
    """That the condition number with ``over`` is ``times`` that with ``under``; in part, where it is greater."""

    def rule(found: list[Evidence]) -> Told:
        ratios = []
        for computed in found[0].conditions:
            numbers = {(point.preconditioner, point.rank): point.condition for point in computed.points}
            if over in numbers and under in numbers:
                ratios.append(numbers[over] / numbers[under])
        if len(ratios) < found[0].work.repeats:
            raise Lacking(f"{found[0].work.repeats} draws of patterns, {len(ratios)} here")
        a = median(ratios)
        numbers_of = f"condition number, {_called(over)} over {_called(under)}"
        evidence = f"{numbers_of}: {shown('', a, Quantity(numbers_of, lambda run: None, _plain, 0.0)).strip()}"
        return _less(Median(1.0, 1.0, 1.0, a.n), a, evidence, times)

    return rule


def _called(preconditioner: Preconditioner) -> str:
    name, rank = preconditioner
    return f"{name} of rank {rank}" if rank else "no preconditioner" if name == "none" else name
