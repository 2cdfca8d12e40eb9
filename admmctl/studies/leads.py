"""Which of two methods leads on how many cores, for sure or by its line alone, and where the lead changes."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol


class Bounded(Protocol):
    """What is looked at of a line: seconds against cores, with bounds."""

    @property
    def method(self) -> str: ...
    @property
    def cores(self) -> list[int]: ...
    @property
    def seconds(self) -> list[float]: ...
    @property
    def low(self) -> list[float]: ...
    @property
    def high(self) -> list[float]: ...
    @property
    def known_cores(self) -> int: ...
    @property
    def repeats(self) -> int: ...
    @property
    def disturbed(self) -> bool: ...


@dataclass(frozen=True)
class Crossing:
    """Whether ``method``, which is behind at first, overtakes ``rival``, and on how many cores.

    ``verdict`` is 'A overtakes B at 11 cores (7 to 18)', 'never' or 'cannot be told'; ``text`` is a line that says
    it in full. ``cores`` is where the lines cross; ``low`` the fewest cores on which it may lead, ``high`` the
    fewest from which it does for sure. None where there is no such number.
    """

    method: str
    rival: str
    cores: int | None
    low: int | None
    high: int | None
    verdict: str
    text: str


def crossings_of(one: Bounded, two: Bounded) -> list[Crossing]:
    """Every change of lead between two lines on the same cores, or the one verdict that there is none."""
    return _Pair(one, two).crossings()


@dataclass(frozen=True)
class _Stretch:
    """Places of the grid from the first to the last on which the same one leads for sure. ``sign``: see _Pair."""

    sign: int
    first: int
    last: int


class _Pair:
    """Two lines. A sign says who leads on a number of cores: 1 the first line, -1 the second one, 0 neither."""

    def __init__(self, one: Bounded, two: Bounded) -> None:
        self.cores = one.cores
        self.lines = {1: one, -1: two}
        # By the lines alone, and for sure.
        self.leads = [(a < b) - (b < a) for a, b in zip(one.seconds, two.seconds, strict=True)]
        self.sure = [
            (one_high < two_low) - (two_high < one_low)
            for one_low, one_high, two_low, two_high in zip(one.low, one.high, two.low, two.high, strict=True)
        ]

    def crossings(self) -> list[Crossing]:
        first = next((sign for sign in self.leads if sign), 1)
        if min(line.known_cores for line in self.lines.values()) <= 1 < len(self.cores):
            return [self._untold(-first, None, 0, "what an iteration takes on several cores was not measured")]
        stretches, doubt = self._stretches(), self._doubt()
        if doubt or not stretches:
            at = self._last_change(-first, 0, len(self.cores) - 1)
            crossed = "" if at is None else f"the lines cross at {_cores(self.cores[at])}, but "
            reason = doubt or "on no number of cores is either of them faster for sure"
            return [self._untold(-first, at, 0, crossed + reason)]
        start, last = stretches[0], stretches[-1]
        # Who leads by its line on one core is overtaken by the other one where that is the first to lead for sure.
        told = [self._told(start.sign, 0, start.first)] if first == -start.sign else []
        told += [self._told(b.sign, a.last + 1, b.first) for a, b in pairwise(stretches)]
        if last.last < len(self.cores) - 1:
            return [*told, *self._beyond(last, bool(told))]
        return told or [self._never(start)]

    def _doubt(self) -> str:
        """Why nothing is for sure, whatever the bounds say; or ''."""
        names = ", ".join(line.method for line in self.lines.values() if line.disturbed)
        if names:
            return f"other work took the cores of runs of {names}; the same command tries again"
        if any(line.repeats < 2 for line in self.lines.values()):
            return "one run says nothing of how much repeats differ; add --repeat"
        return ""

    def _told(self, sign: int, low: int, high: int) -> Crossing:
        """A change of lead between two places, at the last of which ``sign`` leads for sure."""
        at = self._last_change(sign, low, high)
        assert at is not None, "who leads for sure leads by its line"
        interval = f"{self.cores[low]:,} to {self.cores[high]:,}"
        names = f"{self.lines[sign].method} overtakes {self.lines[-sign].method}"
        text = f"{names} at {_cores(self.cores[at])} ({interval})"
        return self._made(sign, at, low, high, text, text)

    def _beyond(self, last: _Stretch, told: bool) -> list[Crossing]:
        """What is beyond the last sure lead; nothing where that adds nothing to what was ``told``."""
        end = len(self.cores) - 1
        at = self._last_change(-last.sign, last.last + 1, end)
        if at is None and told:
            return []
        sure = f"{self.lines[last.sign].method} is faster for sure on up to {_cores(self.cores[last.last])}"
        if at is not None:
            reason = f"the lines cross at {_cores(self.cores[at])}, but {sure}, and neither is beyond"
        else:
            reason = f"{sure}, and by its line on up to {self.cores[end]:,}, but not for sure"
        return [self._untold(-last.sign, at, last.last + 1, reason)]

    def _never(self, lead: _Stretch) -> Crossing:
        """One leads for sure from somewhere on, and the other one never did."""
        leader, behind = self.lines[lead.sign], self.lines[-lead.sign]
        reason = f", on up to {_cores(self.cores[-1])}"
        if math.isinf(behind.seconds[-1]):
            reason = ": it did not meet the target"
        elif lead.first > 0:
            reason += f"; on fewer than {self.cores[lead.first]:,} neither is faster for sure"
        text = f"{behind.method} never overtakes {leader.method}{reason}"
        return self._made(-lead.sign, None, None, None, "never", text)

    def _untold(self, sign: int, at: int | None, low: int, reason: str) -> Crossing:
        names = f"{self.lines[sign].method} overtakes {self.lines[-sign].method}"
        text = f"whether {names} cannot be told: {reason}"
        return self._made(sign, at, low, None, "cannot be told", text)

    def _made(
        self, sign: int, at: int | None, low: int | None, high: int | None, verdict: str, text: str
    ) -> Crossing:
        cores, fewest, most = (None if place is None else self.cores[place] for place in (at, low, high))
        return Crossing(self.lines[sign].method, self.lines[-sign].method, cores, fewest, most, verdict, text)

    def _stretches(self) -> list[_Stretch]:
        """Sure leads in their order; what lies between two of the same method belongs to it."""
        found: list[_Stretch] = []
        for place, sign in enumerate(self.sure):
            if sign and found and found[-1].sign == sign:
                found[-1] = _Stretch(sign, found[-1].first, place)
            elif sign:
                found.append(_Stretch(sign, place, place))
        return found

    def _last_change(self, sign: int, low: int, high: int) -> int | None:
        """The place, ``low`` or above, from which ``sign`` leads by its line up to ``high``; None if not there."""
        if self.leads[high] != sign:
            return None
        place = high
        while place > low and self.leads[place - 1] == sign:
            place -= 1
        return place


def _cores(count: int) -> str:
    return f"{count:,} core{'s' * (count != 1)}"
