"""Whether the new is slower than the old: ratios of seconds, and what a margin makes of them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from admmctl.errors import UserError
from admmctl.studies.statistics import MINIMUM, median


class Answer(StrEnum):
    """What a gate says. It fails where something is slower, and nowhere else."""

    SLOWER = "slower"
    NOT_SLOWER = "not slower"
    UNTOLD = "cannot be told"


@dataclass(frozen=True)
class Ratio:
    """The new's seconds over the old's: 1.1 is 10 % more. Bounds ``low`` and ``high`` are there from six on.

    ``n`` counts pairs where ``paired``; else it is the smaller number of values.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    paired: bool

    def answer(self, margin: float) -> Answer:
        """Slower only where the whole interval is above 1 + ``margin``; not slower where all of it is below."""
        if self.low is None or self.high is None:
            return Answer.UNTOLD
        if self.low > 1 + margin:
            return Answer.SLOWER
        return Answer.NOT_SLOWER if self.high <= 1 + margin else Answer.UNTOLD


def ratio(old: Mapping[int, float], new: Mapping[int, float]) -> Ratio:
    """The ratio of seconds by seed, infinity for a miss.

    Seeds that both have make pairs, whose ratios are taken where there are enough of them. Else it lies between
    the bounds of the two medians.
    """
    seeds = old.keys() & new.keys()
    if len(seeds) >= MINIMUM or min(len(old), len(new)) < MINIMUM:
        found = median([_over(new[seed], old[seed]) for seed in seeds])
        if seeds:
            return Ratio(found.value, found.low, found.high, found.n, paired=True)
    return ratio_of_medians(list(old.values()), list(new.values()))


def ratio_of_medians(old: Sequence[float], new: Sequence[float]) -> Ratio:
    """The ratio of two medians, each known within its interval."""
    before, now = median(list(old)), median(list(new))
    low = high = None
    if before.low is not None and before.high is not None and now.low is not None and now.high is not None:
        low, high = _over(now.low, before.high), _over(now.high, before.low)
    return Ratio(_over(now.value, before.value), low, high, min(before.n, now.n), paired=False)


def _over(new: float, old: float) -> float:
    """``new`` / ``old``. Two misses, or two times of nothing, are as fast as each other."""
    if new == old:
        return 1.0
    if math.isinf(new) or old == 0:
        return math.inf
    return new / old


def margin_of(text: str, option: str) -> float:
    """The part that '5%' names: 0.05. Raises UserError."""
    found = re.fullmatch(r"\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*%\s*", text)
    if found is None or float(found[1]) > 1000:
        raise UserError(f"{option} {text}: expected a percentage from 0% to 1000%, for instance 5%")
    return float(found[1]) / 100


def percent(part: float) -> str:
    """'5 %'."""
    return f"{100 * part:g} %"
