"""Which method should I take? One table, read from our own study (docs/rivals.md), for data of one's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Counts = Literal["accuracy", "seconds", "memory"]
COUNTS: tuple[Counts, ...] = get_args(Counts)
FEW_ROWS = 100  # training rows; of fewer a network learns little that a straight line does not


@dataclass(frozen=True)
class Case:
    """What the choice depends on. ``pixels``: rows look like images; ``trees``: their extra is installed."""

    counts: Counts
    rows: int
    pixels: bool
    cores: int
    trees: bool


@dataclass(frozen=True)
class Advice:
    """A method, when to take it, and why; ``holds`` says whether that is so."""

    method: str
    when: str
    why: str
    holds: Callable[[Case], bool]


# The first that holds is taken.
ADVICE = (
    Advice(
        "linear",
        f"fewer than {FEW_ROWS} training rows",
        "so few rows hardly tell a network from a straight line",
        lambda case: case.rows < FEW_ROWS,
    ),
    Advice(
        "adam",
        "a small memory",
        "it keeps the weights and a mini-batch, and the rows may stay on disk",
        lambda case: case.counts == "memory",
    ),
    Advice(
        "trees",
        "a table of numbers on one core, where the extra trees is installed",
        "of 28,396 rows of HIGGS boosted trees had the best accuracy, and had it first",
        lambda case: case.trees and not case.pixels and case.cores == 1,
    ),
    Advice(
        "graph-admm",
        "all else: images, several cores, or a table without the extra trees",
        "its steps are few and large: ten digits in 4.0 s, where the best gradient method took 5.0 s; and no "
        "network was more accurate on HIGGS for sure",
        lambda case: True,
    ),
)


def advise(case: Case) -> Advice:
    """The advice for a case."""
    return next(advice for advice in ADVICE if advice.holds(case))
