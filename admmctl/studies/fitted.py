"""The cost model of a scaling study, fitted to its runs, and its curves on this machine and on another."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import median

from admmctl.errors import UserError
from admmctl.launch import cluster
from admmctl.studies.messages import Demand, Exchange
from admmctl.studies.model import CostModel, Point, fit, held_out, on_machine
from admmctl.studies.study import Curve, Fitted, Machine, OtherMachine, SmallStep, Study

MOST_CORES = 10_000  # where curves end
ON_WEIGHTS = ("solve", "update")  # phases that are about weights and not about rows
Rows = Callable[[int], int]  # training rows by core count


def work(phases: dict[str, float]) -> tuple[float, float]:
    """Seconds of work on a rank's own rows, and of work on weights."""
    own = sum(value for name, value in phases.items() if name not in ("reduce", *ON_WEIGHTS))
    return own, sum(phases.get(name, 0.0) for name in ON_WEIGHTS)


def modelled(
    study: Study, by_cores: dict[int, list[Point]], iterations: float, machine: str | None
) -> tuple[Fitted, Curve, OtherMachine | None]:
    """The model fitted to every run, by cores, with its error on held-out ones; its curves here and on a machine.

    Curves are in seconds of so many ``iterations``. Raises UserError for a machine that cannot be compared.
    """
    points = [_middle(runs) for runs in by_cores.values()]
    rows_of = _rows(points, study.weak)
    here = list(study.machine.values())
    exchanges = [
        Exchange(m.ranks, each.bytes, each.seconds, each.verb)
        for m in here
        for each in (*m.allreduce, *m.exchanges)
    ]
    points, demands, sharing = [*points, *_small(study)], _demands(study), _contention(here)
    model = fit(points, exchanges, demands, *sharing)
    errors = [
        replace(left, predicted_s=left.predicted_s * iterations, measured_s=left.measured_s * iterations)
        for left in held_out(points, exchanges, demands, *sharing)
    ]
    fitted = Fitted(**vars(model), held_out=errors)
    most = 4 * max(by_cores) if model.law is not None else 1
    curve = _curve(model, iterations, rows_of, most, list(by_cores))
    if machine is None:
        return fitted, curve, None
    other = cluster.load_machine(machine)
    there = _curve(moved(model, study, other, "this study"), iterations, rows_of, min(MOST_CORES, other.cores), [])
    return fitted, curve, OtherMachine(other.name, other.title, list(other.source), there)


def moved(model: CostModel, study: Study, other: cluster.Machine, named: str) -> CostModel:
    """The model on another machine. Raises UserError, which calls the study ``named``, where it lacks a peak."""
    here = [machine.gemm_gflops for machine in study.machine.values()]
    if not here:
        raise UserError(f"{named} has no measurement of its machine to compare another one with")
    return on_machine(model, other, median(here))


def _demands(study: Study) -> dict[int, Demand]:
    """What an iteration asks of ranks; of an older study the Allreduces that it names, and no work."""
    if study.asked:
        return {int(p): Demand(asked.work, tuple(asked.messages)) for p, asked in study.asked.items()}
    here = next(iter(study.machine.values()), None)
    sizes = () if here is None else here.message_bytes
    return {1: Demand(0.0, tuple(("allreduce", size) for size in sizes))}


def _contention(here: list[Machine]) -> tuple[float, int]:
    """How much slower a matrix product is on all cores at once, 0.1 for 10 %; how many cores this machine has."""
    node = max((machine.cores for machine in here), default=1)
    rates = {machine.ranks: machine.gemm_gflops for machine in here if machine.ranks <= node}
    most = max(rates, default=1)
    if 1 not in rates or most == 1:
        return 0.0, node
    slower = max(0.0, rates[1] / rates[most] - 1)
    return slower * (node - 1) / (most - 1), node


def _small(study: Study) -> list[Point]:
    """The measured iteration on hardly any rows, as a point on one core.

    Its work on weights may be another: of so few rows, graph-admm makes every factor anew, in float64.
    """
    if not isinstance(study.small, SmallStep):
        return []
    own, _ = work(study.small.cpu_phases or study.small.phases)
    return [Point(1, study.small.rows_per_iteration, own, own, None, None)] if own > 0 else []


def _middle(points: list[Point]) -> Point:
    """Medians of repeats."""
    reduced = [point.reduce_s for point in points if point.reduce_s is not None]
    times = ("compute_s", "compute_mean_s", "solve_s")
    middles = {name: median(getattr(point, name) for point in points) for name in times}
    return replace(points[0], **middles, reduce_s=median(reduced) if reduced else None)


def _rows(points: list[Point], weak: bool) -> Rows:
    """All training rows on any number of cores, or as many for every rank."""
    if not weak:
        return lambda cores: points[0].rows
    each = points[0].rows / points[0].cores
    return lambda cores: round(each * cores)


def _curve(model: CostModel, iterations: float, rows_of: Rows, most: int, measured: Iterable[int]) -> Curve:
    """The model, its parts and its bounds from one core to ``most``, in seconds to the goal.

    Its points are powers of two and the measured counts: in between an Allreduce takes two steps more, and a line
    would zigzag. Ideal is the time of the smallest measured count, divided.
    """
    grid = [*(1 << power for power in range(most.bit_length())), most, *measured]
    cores = sorted({p for p in grid if p <= min(most, rows_of(p))})
    parts = [model.parts(p, rows_of(p)) for p in cores]
    first = min((p for p in measured if p in cores), default=1)
    base = model.seconds(first, rows_of(first)) * first / rows_of(first)
    return Curve(
        cores=[float(p) for p in cores],
        seconds=[iterations * sum(part.values()) for part in parts],
        **{name: [iterations * part[name] for part in parts] for name in ("compute", "solve", "reduce")},
        ideal=[iterations * base * rows_of(p) / p for p in cores],
        amdahl=[iterations * model.amdahl(p, rows_of(p)) for p in cores],
    )
