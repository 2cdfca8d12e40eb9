"""What one iteration costs on p cores: work on rows, work on weights, and messages.

    seconds = (fixed + row ceil(rows / p)) (1 + imbalance) (1 + contention (r - 1) / (R - 1))   rows
            + solve work(p) / work(1)                                                           weights
            + the messages, each by the alpha-beta-gamma law

of the busiest rank, with r ranks on a node of R cores, who share its memory. ``work(p)`` are its operations on
weights, which the method counts (``Cost.solve``): rows of the weights are divided over ranks, factors are not.

The model is fitted to measured runs by non-negative least squares on relative errors. ``held_out`` says how wrong
it is for core counts that it has not seen; ``on_machine`` moves it to another machine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.launch.cluster import Machine
from admmctl.studies.messages import SHORT, Demand, Exchange, Law, counts, demand

Array = NDArray[np.float64]

# Unknowns are separated only where the smallest singular value of the scaled equations is above this
# fraction of the largest: below it, 5 % of noise decides how a cost is divided between them.
DISTINCT = 0.05


@dataclass(frozen=True)
class Point:
    """One core count of a study, medians over its repeats; seconds per iteration."""

    cores: int
    rows: int  # training rows of all ranks
    compute_s: float  # the busiest rank's work on its own rows: no messages, no solves
    compute_mean_s: float  # the mean over ranks of the same
    # Solves and updates: work on weights, of the busiest rank. None where it is not that of a whole mini-batch.
    solve_s: float | None
    # The smallest over ranks: transfer without waiting for others. None for one core, and where ranks
    # shared cores: then it measures the scheduler.
    reduce_s: float | None


@dataclass(frozen=True)
class CostModel:
    """Seconds per iteration on any number of cores. ``law`` is None where no message was ever measured."""

    seconds_per_row: float  # of a rank's share
    seconds_fixed: float  # per iteration, however few the rows
    seconds_solve: float  # per iteration, on one core; on every one of several, where the method counts no work
    imbalance: float  # how much longer the busiest rank takes than the mean one: 0.1 is 10 %
    contention: float  # how much longer rows take where all cores of a node work: 0.1 is 10 %
    node_cores: int
    demands: Mapping[int, Demand]  # by number of cores
    law: Law | None

    def parts(self, cores: int, rows: int) -> dict[str, float]:
        """Seconds per iteration of ``rows`` rows in all, as compute, solve and reduce.

        Raises UserError for more than one core where communication is unknown.
        """
        return {
            "compute": self.compute(cores, rows),
            "solve": self.solve(cores),
            "reduce": self.communication(cores),
        }

    def seconds(self, cores: int, rows: int) -> float:
        """Seconds per iteration. Raises UserError for more than one core where communication is unknown."""
        return sum(self.parts(cores, rows).values())

    def compute(self, cores: int, rows: int) -> float:
        """Seconds per iteration of the busiest rank's work on its own rows."""
        even = self.seconds_fixed + self.seconds_per_row * math.ceil(rows / cores)
        return even * (1 + self.imbalance) * self.sharing(cores) if cores > 1 else even

    def sharing(self, cores: int) -> float:
        """How much longer rows take than on one core, as ranks of a node share its memory."""
        return 1 + self.contention * min(cores - 1, self.node_cores - 1) / max(self.node_cores - 1, 1)

    def solve(self, cores: int) -> float:
        """Seconds per iteration of the busiest rank's solves and updates."""
        return self.seconds_solve * _share(self.demands, cores)

    def communication(self, cores: int) -> float:
        """A bound: no iteration takes less than its messages, in seconds.

        Raises UserError for more than one core where communication is unknown.
        """
        messages = demand(self.demands, cores).messages
        if cores <= 1 or not messages:
            return 0.0
        if self.law is None:
            raise UserError(
                f"the time of an iteration on {cores} cores is unknown: no Allreduce was measured. Measure with "
                "a core for every rank, on two cores or more, or name a machine whose network is known"
            )
        return sum(self.law.seconds(cores, bytes, verb) for verb, bytes in messages)

    def amdahl(self, cores: int, rows: int) -> float:
        """A bound: rows split perfectly, and no communication. Seconds per iteration."""
        return self.seconds_fixed + self.seconds_per_row * rows / cores + self.solve(cores)


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


def fit(
    points: list[Point],
    exchanges: list[Exchange],
    demands: Mapping[int, Demand],
    contention: float = 0.0,
    node_cores: int = 1,
) -> CostModel:
    """The model that is closest to what was measured, in relative error. All its times are 0 or more.

    Rates are fitted to the mean over ranks, on the mean share of rows; the busiest rank comes back in through the
    largest share and ``imbalance``, so it counts once. Raises UserError where there is no point, or one without a
    time.
    """
    if not points:
        raise UserError("there is nothing to fit a cost model to: no run was measured")
    for point in points:
        if not all(0 < seconds < math.inf for seconds in (point.compute_s, point.compute_mean_s)):
            raise UserError(f"the runs on {point.cores} cores have no time of computation to fit a cost model to")
    model = CostModel(
        seconds_per_row=0.0,
        seconds_fixed=0.0,
        seconds_solve=median(
            point.solve_s / _share(demands, point.cores) for point in points if point.solve_s is not None
        ),
        imbalance=0.0,
        contention=contention,
        node_cores=node_cores,
        demands=demands,
        law=_fit_law(points, exchanges, demands),
    )
    row_s, fixed_s = _fit_compute(
        [replace(point, compute_mean_s=point.compute_mean_s / model.sharing(point.cores)) for point in points]
    )
    model = replace(model, seconds_per_row=row_s, seconds_fixed=fixed_s)
    # The busiest rank over the mean one, less what is explained by a row more in its share.
    ratios = [
        point.compute_s
        / point.compute_mean_s
        * (fixed_s + row_s * point.rows / point.cores)
        * model.sharing(point.cores)
        / model.compute(point.cores, point.rows)
        for point in points
        if point.cores > 1
    ]
    return replace(model, imbalance=max(0.0, median(ratios) - 1) if ratios else 0.0)


def held_out(
    points: list[Point],
    exchanges: list[Exchange],
    demands: Mapping[int, Demand],
    contention: float = 0.0,
    node_cores: int = 1,
) -> list[HeldOut]:
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
        others = [point for point in points if point.cores != left_out]
        model = fit(others, exchanges, demands, contention, node_cores)
        found += [_compare(model, point) for point in points if point.cores == left_out]
    return found


def on_machine(model: CostModel, machine: Machine, here_gflops: float) -> CostModel:
    """The model on another machine.

    Computation and solves are rescaled by the ratio of the single-precision matrix-product peaks of a core,
    ``here_gflops`` where the model was measured: the same fraction of the peak is assumed there, also of
    work that waits for memory. The law is the machine's; imbalance and contention are kept. Raises UserError for
    a peak that is no positive number.
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
        node_cores=machine.processor.cores_per_node,
        law=Law(network.latency_s, network.seconds_per_byte, network.seconds_per_byte_summed),
    )


def _share(demands: Mapping[int, Demand], cores: int) -> float:
    """Of the work on weights of one core, what the busiest of several has; all of it where nobody counts it."""
    alone = demand(demands, 1).work
    return demand(demands, cores).work / alone if alone > 0 else 1.0


def _compare(model: CostModel, point: Point) -> HeldOut:
    predicted = model.compute(point.cores, point.rows) + model.solve(point.cores)
    measured = point.compute_s + (point.solve_s or 0.0)
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


def _fit_law(points: list[Point], exchanges: list[Exchange], demands: Mapping[int, Demand]) -> Law | None:
    """The law from measured messages, alone and in runs; None where neither was measured."""
    measured: list[tuple[Sequence[tuple[str, int]], int, float]] = [
        ([(exchange.verb, exchange.bytes)], exchange.cores, exchange.seconds) for exchange in exchanges
    ]
    measured += [
        (demand(demands, point.cores).messages, point.cores, point.reduce_s)
        for point in points
        if point.reduce_s is not None
    ]
    rows, seconds = [], []
    for messages, cores, took in measured:
        sent = [counts(cores, bytes, verb) for verb, bytes in messages]
        row = np.sum(sent, axis=0) if sent else np.zeros(3)
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
    from scipy.optimize import nnls  # it loads slowly

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
