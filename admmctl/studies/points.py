"""What a scaling study found: times by core count, the cost model fitted to them, and warnings."""

import json
import math
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from admmctl.data import shards
from admmctl.errors import UserError
from admmctl.runs import disturbed
from admmctl.runs.clock import OUTSIDE
from admmctl.runs.places import exists, is_run, root
from admmctl.runs.recorded import Recorded
from admmctl.studies.fitted import modelled, work
from admmctl.studies.model import Point
from admmctl.studies.scaling import MEASURED
from admmctl.studies.study import FILE, CoreCount, Findings, Study

SPREAD, SUPERLINEAR = 0.25, 1.10  # measuring rule 6: warnings above these


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
        damages = filter(None, (run.damage(MEASURED) for run in recorded_in(folder)))
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
    recorded = recorded_in(folder)
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
    at_cores = {cores: [run.point for run in members] for cores, members in by_cores.items()}
    iterations = median(run.iterations for members in by_cores.values() for run in members)
    model, curve, other = modelled(study, at_cores, iterations, machine)
    made_up = any(run.made_up for run in recorded)
    warnings = [shards.MADE_UP] if made_up else []
    warnings += _warnings(points, study) + _disturbances(points, left_out)
    if model.law is None:
        warnings.append(
            "communication was not measured: no two ranks had a core each; the model holds for one core, or for "
            "a named machine"
        )
    asked = study.model_dump(include={part.name for part in fields(Findings)} - {"machine"})
    return Findings(
        str(folder),
        **asked,
        points=points,
        model=model,
        curve=curve,
        machine=other,
        warnings=warnings,
        data_made_up=made_up,
    )


def recorded_in(folder: Path) -> list[Recorded]:
    """The runs of a study, whatever became of them."""
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
    reduce_s = phases.get("reduce", {}).get("min_s", 0.0)
    # The model is about processor time, which other programs do not change; of a very short run it says little.
    of_processor = bool(run.cpu) and (run.shared_cores or train_s >= disturbed.LEAST)
    processor = {name: run.cpu[name] for name in phases if name in run.cpu} if of_processor else phases
    own, _ = work({name: found["mean_s"] for name, found in processor.items()})
    busiest, solve = work({name: found["max_s"] for name, found in processor.items()})
    if not of_processor:
        # Ranks wait for the busiest one in the reductions: its own work is what is left beside the shortest wait.
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
