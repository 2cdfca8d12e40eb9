"""What ranks send each other in an iteration, and how long that takes.

The law is that of MPICH, and of MPIs that descend from it (R. Thakur, R. Rabenseifner and W. Gropp,
"Optimization of Collective Communication Operations in MPICH", International Journal of High Performance
Computing Applications 19(1), 2005). It treats all ranks alike: that those of one node exchange through
memory, and may add up among themselves first, is part of the numbers that are put into it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Bytes up to which MPICH's reduce-scatter halves and its allgather doubles, rather than send one piece after
# another: of any number of ranks, and of a power of two.
MIDDLE, LONG = 80 << 10, 512 << 10
SHORT = 2048  # bytes up to which MPICH sends whole messages, by its documented default (5.0 in fact: 8)
ITEM = 4  # bytes of a number: sums over samples are float32


@dataclass(frozen=True)
class Exchange:
    """One measured message of ``bytes`` over ``cores`` ranks."""

    cores: int
    bytes: int
    seconds: float
    verb: str = "allreduce"


@dataclass(frozen=True)
class Demand:
    """What an iteration asks of a number of ranks beside the work on their rows.

    ``work`` are the operations of the busiest rank on weights; ``messages`` a verb and the bytes of a buffer each.
    """

    work: float
    messages: tuple[tuple[str, int], ...]


def demand(demands: Mapping[int, Demand], cores: int) -> Demand:
    """Of any number of cores, from those of some: messages of the next lower one, work in between."""
    if not demands:
        return Demand(0.0, ())
    known = sorted(demands)
    low = max((p for p in known if p <= cores), default=known[0])
    high = min((p for p in known if p >= cores), default=known[-1])
    first, last = demands[low], demands[high]
    if low == high or not (first.work > 0 and last.work > 0):
        return first
    part = math.log(cores / low) / math.log(high / low)
    return Demand(first.work ** (1 - part) * last.work**part, first.messages)


def counts(cores: int, bytes: int, verb: str = "allreduce") -> tuple[float, float, float]:
    """What one rank does in a message to all, one after the other: messages, bytes sent, bytes summed.

    The law is linear in these. ``reduce`` counts as an Allreduce: a sum for a few ranks goes to one, and from that
    to the others.
    """
    if cores <= 1 or bytes <= 0:
        return 0.0, 0.0, 0.0
    if verb == "reduce_scatter":
        steps = math.ceil(math.log2(cores)) if bytes < LONG else cores - 1
        part = bytes * (cores - 1) / cores
        return float(steps), part, part
    if verb == "allgather":
        doubling = bytes < (LONG if cores & (cores - 1) == 0 else MIDDLE)
        steps = math.ceil(math.log2(cores)) if doubling else cores - 1
        return float(steps), bytes * (cores - 1) / cores, 0.0
    return _allreduce(cores, bytes)


def _allreduce(cores: int, bytes: int) -> tuple[float, float, float]:
    """Of an Allreduce.

    MPICH exchanges whole messages while they are short, or have fewer numbers than ranks (recursive doubling);
    else it sums halves, quarters, ... and collects the pieces (Rabenseifner). Both need a power of two: the ranks
    beyond it hand theirs to a neighbour first, and get the sum from it last.
    """
    steps = cores.bit_length() - 1
    power = 1 << steps
    if bytes <= SHORT or bytes // ITEM < power:
        messages, sent, summed = float(steps), float(steps * bytes), float(steps * bytes)
    else:
        part = bytes * (power - 1) / power
        messages, sent, summed = 2.0 * steps, 2 * part, part
    if cores > power:
        return messages + 2, sent + 2 * bytes, summed + bytes
    return messages, sent, summed


@dataclass(frozen=True)
class Law:
    """What sending costs: ``alpha`` seconds per message, ``beta`` per byte sent, ``gamma`` per byte summed.

    Between ranks that share memory beta and gamma are hardly separable: a fitted law whose gamma is 0 has
    them both in beta.
    """

    alpha: float
    beta: float
    gamma: float

    def seconds(self, cores: int, bytes: int, verb: str = "allreduce") -> float:
        """Seconds of one message of ``bytes`` over ``cores`` ranks; 0 for one rank."""
        messages, sent, summed = counts(cores, bytes, verb)
        return self.alpha * messages + self.beta * sent + self.gamma * summed
