"""What a scaling study found: times by core count, the cost model fitted to them, and warnings."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

from admmctl.errors import UserError
from admmctl.launch.cluster import load_machine
from admmctl.runs.clock import OUTSIDE
from admmctl.runs.places import exists, is_run, root
from admmctl.runs.recorded import Recorded
from admmctl.studies.model import CostModel, Demand, Exchange, Point, fit, held_out, on_machine
from admmctl.studies.scaling import MEASURED
from admmctl.studies.study import FILE, CoreCount, Curve, Findings, Fitted, Machine, OtherMachine, SmallStep, Study

MOST_CORES = 10_000  # where curves end
SPREAD, SUPERLINEAR = 0.25, 1.10  # measuring rule 6: warnings above these
ON_WEIGHTS = ("solve", "update")  # phases that are about weights and not about rows
Rows = Callable[[int], int]  # training rows by core count


@dataclass(frozen=True)
class Timed:
    """One run of a study, seconds per iteration by kind of work."""

    shared: bool  # ranks shared cores: its times are processor time, and say nothing of communication
    seconds: float  # to the goal; infinity where it was missed
    iterations: int  # to the goal
    rows: int
    phases: dict[str, float]  # means over ranks
    point: Point
    disturbed: bool = False  # other work took its cores

    @property
    def cores(self) -> int:
        return self.point.cores


def find_studies(names: list[str] | None) -> list[Path]:
    """The study folders that STUDY arguments name: studies, or folders of experiments with studies in them.

    Without names all studies in the results folder. Raises UserError where there is none.
    """
    places = [Path(name) for name in names] if names else [root()]
    found: list[Path] = []
    for place in places:
        if not exists(place) and exists(root() / place):
            place = root() / place
        if names and not exists(place):
            raise UserError(f"{place}: there is no such study; make one with: admmctl scaling CONFIG --cores 1,2")
        everything = not names or place.resolve() == root().resolve()
        for pattern in (FILE, f"*/{FILE}", *((f"*/*/{FILE}",) if everything else ())):
            found += sorted(path.parent for path in place.glob(pattern))
    unique = list(dict.fromkeys(found))
    if not unique:
        where = ", ".join(names) if names else str(root())
        raise UserError(f"no scaling study in {where}; make one with: admmctl scaling CONFIG --cores 1,2")
    return unique


def summarise_all(folders: list[Path], machine: str | None, named: bool) -> tuple[list[Findings], list[str]]:
    """Every study in numbers, and a line for each study and run that was left out, with the reason.

    Damaged runs are left out, studies that cannot be read, and unfinished studies that nobody ``named``. Raises
    UserError where no study is left, or one that was named is unfinished.
    """
    results, left_out = [], []
    for folder in folders:
        damages = filter(None, (run.damage(MEASURED) for run in _runs(folder)))
        left_out += [f"{file}: {reason}" for file, reason in damages]
        try:
            results.append(summarise(folder, machine))
        except UserError as reason:
            if named and isinstance(reason, Unfinished):
                raise UserError("\n".join([*left_out, str(reason)])) from None
            left_out.append(str(reason))
    if not results:
        raise UserError("\n".join(dict.fromkeys(left_out)))
    return results, left_out


class Unfinished(UserError):
    """A study that has too few finished runs."""


def summarise(folder: Path, machine: str | None = None) -> Findings:
    """A study in numbers.

    ``machine`` names a machine file that the model is moved to. Raises UserError where the runs cannot be
    compared: of different data, on one number of cores only, or none that has finished.
    """
    study = Study.read(folder)
    if study is None:
        raise UserError(f"{folder} is no scaling study: it has no {FILE}")
    recorded = _runs(folder)
    timed = _on_one_footing([found for run in recorded if (found := _timed(run, study))])
    runs, left_out = _undisturbed(timed)
    _must_share_data(folder, recorded)
    by_cores = {count: [run for run in runs if run.cores == count] for count in sorted({r.cores for r in runs})}
    if not by_cores:
        raise Unfinished(f"{folder}: no run of this study has finished; start it again with admmctl scaling")
    if len(by_cores) == 1:
        raise Unfinished(
            f"{folder}: all its runs are on {next(iter(by_cores))} core(s), and one point makes no scaling study; "
            "add others with: admmctl scaling CONFIG --cores 1,2"
        )
    points = [_core_count(members) for members in by_cores.values()]
    base = points[0]
    for point in points:
        both = math.isfinite(base.median_s) and math.isfinite(point.median_s)
        both = both and not base.disturbed and not point.disturbed
        ratio = base.median_s / point.median_s if both else math.nan
        factor = point.cores / base.cores
        point.speed_up = ratio * factor if study.weak else ratio
        point.efficiency = point.speed_up / factor
    model, curve, other = _modelled(study, by_cores, machine)
    warnings = _warnings(points, study) + _disturbances(points, left_out)
    if model.law is None:
        warnings.append(
            "communication was not measured: no two ranks had a core each; the model holds for one core, or for "
            "a named machine"
        )
    asked = study.model_dump(include={part.name for part in fields(Findings)} - {"machine"})
    return Findings(
        str(folder), **asked, points=points, model=model, curve=curve, machine=other, warnings=warnings
    )


def _runs(folder: Path) -> list[Recorded]:
    return [Recorded(place) for place in sorted(folder.iterdir()) if is_run(place)]


def _on_one_footing(runs: list[Timed]) -> list[Timed]:
    """The runs without those that shared cores, where others had as many cores for themselves."""
    free = {run.cores for run in runs if not run.shared}
    return [run for run in runs if not run.shared or run.cores not in free]


def _undisturbed(runs: list[Timed]) -> tuple[list[Timed], Counter[int]]:
    """The runs without those that were disturbed, where others on as many cores were not; how many, by cores."""
    quiet = {run.cores for run in runs if not run.disturbed}
    left_out = Counter(run.cores for run in runs if run.disturbed and run.cores in quiet)
    return [run for run in runs if not run.disturbed or run.cores not in quiet], left_out


def _timed(run: Recorded, study: Study) -> Timed | None:
    """A finished run, or None where there is none, or a damaged one."""
    summary, cpu = run.summary, run.cpu if run.shared_cores else {}
    if summary is None or not summary.status.done or run.damage(MEASURED) is not None:
        return None
    phases = {name: found for name, found in (cpu or run.phases).items() if name not in (*OUTSIDE, "rest", "wall")}
    rows, train_s = summary.rows_train, summary.train_s
    if not phases or rows is None or train_s is None:
        return None
    own, _ = _parts({name: found["mean_s"] for name, found in phases.items()})
    reduce_s = phases.get("reduce", {}).get("min_s", 0.0)
    # Ranks wait for the busiest one in the reductions: its own work is what is left beside the shortest wait.
    busiest, solve = _parts({name: found["max_s"] for name, found in phases.items()})
    if not cpu:
        busiest = max(own, train_s - reduce_s - solve)
    seconds = busiest + solve if cpu else train_s
    if study.goal == "target":
        reached = summary.time_to_target_s
        seconds = math.inf if reached is None else (seconds if cpu else reached)
    elif summary.iterations < (study.iterations or 0):
        seconds = math.inf  # diverged, or with nothing left to do: it is no faster for that
    iterations = max(1, summary.iterations)
    return Timed(
        shared=bool(cpu),
        seconds=seconds,
        iterations=iterations,
        rows=rows,
        # In the reductions ranks wait for a core that another rank has: that is no work.
        phases={name: found["mean_s"] for name, found in phases.items() if not cpu or name != "reduce"},
        point=Point(
            cores=summary.ranks,
            rows=min(rows, study.batch or rows),
            compute_s=busiest / iterations,
            compute_mean_s=own / iterations,
            solve_s=solve / iterations,
            reduce_s=None if summary.ranks == 1 or cpu else reduce_s / iterations,
        ),
        disturbed=run.disturbed,
    )


def _parts(phases: dict[str, float]) -> tuple[float, float]:
    """Seconds of work on a rank's own rows, and of work on weights."""
    own = sum(value for name, value in phases.items() if name not in ("reduce", *ON_WEIGHTS))
    return own, sum(phases.get(name, 0.0) for name in ON_WEIGHTS)


def _core_count(runs: list[Timed]) -> CoreCount:
    """One core count: every time, and medians."""
    names = list(dict.fromkeys(name for run in runs for name in run.phases))
    reached = [run for run in runs if math.isfinite(run.seconds)]
    return CoreCount(
        cores=runs[0].cores,
        shared=any(run.shared for run in runs),
        rows=runs[0].rows,
        runs=len(runs),
        reached=len(reached),
        seconds=[run.seconds for run in runs],
        median_s=median(run.seconds for run in runs),
        iterations=[run.iterations for run in runs],
        iterations_reached=[run.iterations for run in reached],
        seconds_per_iteration=median(run.seconds / run.iterations for run in runs),
        phases={name: median(run.phases.get(name, 0.0) for run in runs) for name in names},
        disturbed=any(run.disturbed for run in runs),
    )


def _modelled(
    study: Study, by_cores: dict[int, list[Timed]], machine: str | None
) -> tuple[Fitted, Curve, OtherMachine | None]:
    """The fitted model with its error on held-out core counts, its curves here, and on the other machine."""
    points = [_middle([run.point for run in runs]) for runs in by_cores.values()]
    iterations = median(run.iterations for runs in by_cores.values() for run in runs)
    rows_of = _rows(points, study.weak)
    here = list(study.machine.values())
    exchanges = [Exchange(m.ranks, e.bytes, e.seconds) for m in here for e in m.allreduce]
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
    other = load_machine(machine)
    if not here:
        raise UserError("this study has no measurement of its machine to compare another one with")
    moved = on_machine(model, other, median(m.gemm_gflops for m in here))
    there = _curve(moved, iterations, rows_of, min(MOST_CORES, other.cores), [])
    return fitted, curve, OtherMachine(other.name, other.title, list(other.source), there)


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
    """The measured iteration on hardly any rows, as a point on one core."""
    if not isinstance(study.small, SmallStep):
        return []
    own, solve = _parts(study.small.phases)
    return [Point(1, study.small.rows_per_iteration, own, own, solve, None)] if own > 0 else []


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


def _warnings(points: list[CoreCount], study: Study) -> list[str]:
    """Measuring rule 6: iterations that differ, efficiency that is too good, targets missed."""
    found = []
    middles = [median(point.iterations_reached) for point in points if point.iterations_reached]
    if study.goal == "target" and middles and max(middles) > (1 + SPREAD) * min(middles):
        found.append(
            f"iterations to the target differ by more than {SPREAD:.0%} between core counts "
            f"({min(middles):g} to {max(middles):g}): times compare different work"
        )
    done = "the target was reached" if study.goal == "target" else "all iterations were made"
    for point in points:
        cores = f"{point.cores} cores"
        if point.efficiency > SUPERLINEAR:
            found.append(
                f"{cores}: efficiency {point.efficiency:.0%}, above {SUPERLINEAR:.0%}: caches, "
                "or a noisy machine; measure again before believing it"
            )
        if point.reached < point.runs:
            found.append(f"{cores}: {done} {point.reached}/{point.runs} times")
        if point.shared:
            found.append(
                f"{cores}: ranks shared cores; its time is the busiest rank's processor time, "
                "without communication"
            )
    return found


def _disturbances(points: list[CoreCount], left_out: Counter[int]) -> list[str]:
    """Measuring rule 9: runs of which other work took the cores."""
    found = []
    for point in points:
        cores, many = f"{point.cores} core{'s' * (point.cores > 1)}", left_out[point.cores]
        if point.disturbed:
            whose = "no speed-up can" if point is points[0] else "its speed-up cannot"
            found.append(
                f"{cores}: other work took the cores in every run: {whose} be told; the same command tries again"
            )
        elif many:
            found.append(f"{cores}: {many} of {many + point.runs} runs left out: other work took their cores")
    return found


def _must_share_data(folder: Path, runs: list[Recorded]) -> None:
    """Raises UserError when the runs of a study read different rows, or trained something else."""
    seen: dict[str, Recorded] = {}
    for run in runs:
        sha256 = run.environment.data_sha256
        if run.summary is None or not run.config or sha256 is None:
            continue  # a run that never started says nothing
        # Weak scaling takes as many of the same rows as there are ranks.
        data = {key: value for key, value in run.data.items() if key != "first"}
        parts = [*(run.config.get(key) for key in ("network", "loss", "methods")), data, sha256]
        seen.setdefault(json.dumps(parts, sort_keys=True), run)
    if len(seen) > 1:
        first, second, *_ = (run.folder.name for run in seen.values())
        raise UserError(
            f"the runs of {folder} cannot be compared: {first} and {second} differ in their data, "
            "network or method; remove one of them"
        )
