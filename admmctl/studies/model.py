"""What one iteration costs on p cores: computation, repeated work, and one or more Allreduces.

    seconds = (fixed + row ceil(rows / p)) (1 + imbalance)    the busiest rank's own rows
            + solve                                           what every rank repeats
            + the Allreduces                                  by the alpha-beta-gamma law

fitted to measured runs by non-negative least squares on relative errors. ``held_out`` says how wrong the
model is for core counts that it has not seen; ``on_machine`` moves it to another machine.

The law is that of MPICH, and of MPIs that descend from it (R. Thakur, R. Rabenseifner and W. Gropp,
"Optimization of Collective Communication Operations in MPICH", International Journal of High Performance
Computing Applications 19(1), 2005). It treats all ranks alike: that those of one node exchange through
memory, and may add up among themselves first, is part of the numbers that are put into it.
"""

import math
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from admmctl.errors import UserError
from admmctl.launch.cluster import Machine

Array = NDArray[np.float64]

SHORT = 2048  # bytes up to which MPICH sends whole messages, by its documented default (5.0 in fact: 8)
ITEM = 4  # bytes of a number: sums over samples are float32
# Unknowns are separated only where the smallest singular value of the scaled equations is above this
# fraction of the largest: below it, 5 % of noise decides how a cost is divided between them.
DISTINCT = 0.05


@dataclass(frozen=True)
class Point:
    """One core count of a study, medians over its repeats; seconds per iteration."""

    cores: int
    rows: int  # training rows of all ranks
    compute_s: float  # the busiest rank's work on its own rows: no reductions, no repeated solves
    compute_mean_s: float  # the mean over ranks of the same
    solve_s: float  # work that every rank repeats: it does not shrink with cores
    # The smallest over ranks: transfer without waiting for others. None for one core, and where ranks
    # shared cores: then it measures the scheduler.
    reduce_s: float | None


@dataclass(frozen=True)
class Exchange:
    """One measured Allreduce of ``bytes`` over ``cores`` ranks."""

    cores: int
    bytes: int
    seconds: float


def counts(cores: int, bytes: int) -> tuple[float, float, float]:
    """What one rank does in an Allreduce, one after the other: messages, bytes sent, bytes summed.

    The law is linear in these. MPICH exchanges whole messages while they are short, or have fewer numbers
    than ranks (recursive doubling); else it sums halves, quarters, ... and collects the pieces
    (Rabenseifner). Both need a power of two: the ranks beyond it hand theirs to a neighbour first, and get
    the sum from it last.
    """
    if cores <= 1 or bytes <= 0:
        return 0.0, 0.0, 0.0
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
    """What an Allreduce costs: ``alpha`` seconds per message, ``beta`` per byte sent, ``gamma`` per byte summed.

    Between ranks that share memory beta and gamma are hardly separable: a fitted law whose gamma is 0 has
    them both in beta.
    """

    alpha: float
    beta: float
    gamma: float

    def seconds(self, cores: int, bytes: int) -> float:
        """Seconds of one Allreduce of ``bytes`` over ``cores`` ranks; 0 for one rank."""
        messages, sent, summed = counts(cores, bytes)
        return self.alpha * messages + self.beta * sent + self.gamma * summed


@dataclass(frozen=True)
class CostModel:
    """Seconds per iteration on any number of cores. ``law`` is None where no Allreduce was ever measured."""

    seconds_per_row: float  # of a rank's share
    seconds_fixed: float  # per iteration, however few the rows
    seconds_solve: float  # per iteration, repeated by every rank
    imbalance: float  # how much longer the busiest rank takes than the mean one: 0.1 is 10 %
    message_bytes: tuple[int, ...]  # of the Allreduces of one iteration
    law: Law | None

    def parts(self, cores: int, rows: int) -> dict[str, float]:
        """Seconds per iteration of ``rows`` rows in all, as compute, solve and reduce.

        Raises UserError for more than one core where communication is unknown.
        """
        return {
            "compute": self.compute(cores, rows),
            "solve": self.seconds_solve,
            "reduce": self.communication(cores),
        }

    def seconds(self, cores: int, rows: int) -> float:
        """Seconds per iteration. Raises UserError for more than one core where communication is unknown."""
        return sum(self.parts(cores, rows).values())

    def compute(self, cores: int, rows: int) -> float:
        """Seconds per iteration of the busiest rank's work on its own rows."""
        even = self.seconds_fixed + self.seconds_per_row * math.ceil(rows / cores)
        return even * (1 + self.imbalance) if cores > 1 else even

    def communication(self, cores: int) -> float:
        """A bound: no iteration takes less than its Allreduces, in seconds.

        Raises UserError for more than one core where communication is unknown.
        """
        if cores <= 1 or not self.message_bytes:
            return 0.0
        if self.law is None:
            raise UserError(
                f"the time of an iteration on {cores} cores is unknown: no Allreduce was measured. Measure with "
                "a core for every rank, on two cores or more, or name a machine whose network is known"
            )
        return sum(self.law.seconds(cores, bytes) for bytes in self.message_bytes)

    def amdahl(self, cores: int, rows: int) -> float:
        """A bound: rows split perfectly, the rest as on one core, no communication. Seconds per iteration."""
        return self.seconds_fixed + self.seconds_per_row * rows / cores + self.seconds_solve


@dataclass(frozen=True)
class HeldOut:
    """One core count as predicted from the others; seconds per iteration."""

    cores: int
    predicted_s: float
    measured_s: float
    error: float = field(init=False)  # relative: 0.1 where the prediction is 10 % too slow, below 0 if too fast
    communication: bool  # False: reductions are in neither number, as they are unknown

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", self.predicted_s / self.measured_s - 1)


def fit(points: list[Point], exchanges: list[Exchange], message_bytes: list[int]) -> CostModel:
    """The model that is closest to what was measured, in relative error. All its times are 0 or more.

    ``message_bytes`` are the Allreduces of one iteration. Rates are fitted to the mean over ranks, on the
    mean share of rows; the busiest rank comes back in through the largest share and ``imbalance``, so it
    counts once. Raises UserError where there is no point, or one without a time.
    """
    if not points:
        raise UserError("there is nothing to fit a cost model to: no run was measured")
    for point in points:
        if not all(0 < seconds < math.inf for seconds in (point.compute_s, point.compute_mean_s)):
            raise UserError(f"the runs on {point.cores} cores have no time of computation to fit a cost model to")
    row_s, fixed_s = _fit_compute(points)
    model = CostModel(
        seconds_per_row=row_s,
        seconds_fixed=fixed_s,
        seconds_solve=median(point.solve_s for point in points),
        imbalance=0.0,
        message_bytes=tuple(message_bytes),
        law=_fit_law(points, exchanges, message_bytes),
    )
    # The busiest rank over the mean one, less what is explained by a row more in its share.
    ratios = [
        point.compute_s
        / point.compute_mean_s
        * (fixed_s + row_s * point.rows / point.cores)
        / model.compute(point.cores, point.rows)
        for point in points
        if point.cores > 1
    ]
    return replace(model, imbalance=max(0.0, median(ratios) - 1) if ratios else 0.0)


def held_out(points: list[Point], exchanges: list[Exchange], message_bytes: list[int]) -> list[HeldOut]:
    """Every core count but the smallest, as predicted by a model fitted to all the others.

    ``exchanges`` stay in every fit: they are measurements of the machine, not runs of the study. Where
    reductions are unknown to the model, or were not measured at this core count, they are left out of both
    numbers. Raises UserError for a study of fewer than two core counts.
    """
    cores = sorted({point.cores for point in points})
    if len(cores) < 2:
        raise UserError(f"nothing can be held out of {len(cores)} core count(s): measure at least two")
    found = []
    for left_out in cores[1:]:
        model = fit([point for point in points if point.cores != left_out], exchanges, message_bytes)
        found += [_compare(model, point) for point in points if point.cores == left_out]
    return found


def on_machine(model: CostModel, machine: Machine, here_gflops: float) -> CostModel:
    """The model on another machine.

    Computation and solves are rescaled by the ratio of the single-precision matrix-product peaks of a core,
    ``here_gflops`` where the model was measured: the same fraction of the peak is assumed there, also of
    work that waits for memory. The law is the machine's; imbalance is kept. Raises UserError for a peak
    that is no positive number.
    """
    if not 0 < here_gflops < math.inf:
        raise UserError(f"expected the peak of a core here in GFLOP/s, above 0, got {here_gflops:g}")
    slower = here_gflops / machine.processor.gflops_per_core
    network = machine.network
    return replace(
        model,
        seconds_per_row=model.seconds_per_row * slower,
        seconds_fixed=model.seconds_fixed * slower,
        seconds_solve=model.seconds_solve * slower,
        law=Law(network.latency_s, network.seconds_per_byte, network.seconds_per_byte_summed),
    )


def _compare(model: CostModel, point: Point) -> HeldOut:
    predicted = model.compute(point.cores, point.rows) + model.seconds_solve
    measured = point.compute_s + point.solve_s
    if model.law is None or point.reduce_s is None:
        return HeldOut(point.cores, predicted, measured, communication=False)
    reduced = model.communication(point.cores)
    return HeldOut(point.cores, predicted + reduced, measured + point.reduce_s, communication=True)


def _fit_compute(points: list[Point]) -> tuple[float, float]:
    """Seconds per row and per iteration. With one share of rows everywhere all of it is given to the rows."""
    rows = np.array([[point.rows / point.cores, 1.0] for point in points])
    seconds = np.array([point.compute_mean_s for point in points])
    row_s, fixed_s = _non_negative(rows, seconds, [[0, 1], [0]])
    return float(row_s), float(fixed_s)


def _fit_law(points: list[Point], exchanges: list[Exchange], message_bytes: list[int]) -> Law | None:
    """The law from measured Allreduces and the reductions of runs; None where neither was measured."""
    measured = [([exchange.bytes], exchange.cores, exchange.seconds) for exchange in exchanges]
    measured += [(message_bytes, point.cores, point.reduce_s) for point in points if point.reduce_s is not None]
    rows, seconds = [], []
    for messages, cores, took in measured:
        row = np.sum([counts(cores, bytes) for bytes in messages], axis=0) if messages else np.zeros(3)
        if row[0] and took > 0:  # less than the clock can see says nothing
            rows.append(row)
            seconds.append(took)
    if not rows:
        return None
    # Summing and sending go together nearly always, and are one cost then. Of a single kind of
    # Allreduce even alpha and beta are one: a short message is latency, a long one is bytes.
    table = np.array(rows)
    short = bool((table[:, 1] <= SHORT * table[:, 0]).all())
    alpha, beta, gamma = _non_negative(table, np.array(seconds), [[0, 1, 2], [0, 1], [0 if short else 1]])
    return Law(float(alpha), float(beta), float(gamma))


def _non_negative(rows: Array, seconds: Array, choices: list[list[int]]) -> Array:
    """Non-negative x for which rows @ x is relatively near ``seconds``.

    It uses the first choice of columns that the rows can tell apart, else the last one; all others get 0.
    """
    weighted = rows / seconds[:, None]
    for columns in choices:
        lengths = np.linalg.norm(weighted[:, columns], axis=0)
        scaled = weighted[:, columns] / lengths
        singular = np.linalg.svd(scaled, compute_uv=False)
        if len(rows) >= len(columns) and singular[-1] > DISTINCT * singular[0]:
            break
    found = np.zeros(rows.shape[1])
    found[columns] = nnls(scaled, np.ones(len(rows)))[0] / lengths
    return found
