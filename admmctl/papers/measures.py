"""A paper's numbers beside ours: what the runs of a figure say about each claim of ``papers/claims.py``."""

import math
from collections.abc import Callable
from typing import Any

from admmctl.papers.claims import CLAIMS, Claim
from admmctl.papers.material import Material
from admmctl.report.curves import Curve
from admmctl.report.statistics import median
from admmctl.report.text import count, number, seconds
from admmctl.runs.recorded import Recorded, read_curve, read_summary
from admmctl.runs.summary import DONE
from admmctl.studies.condition import Preconditioned

THEIRS = "theirs"  # in the source column of a CSV, and on figures
Ours = tuple[float | None, str]  # a number, or None, and its words


class Finished:
    """The finished runs of one method of a figure."""

    def __init__(self, material: Material, method: str) -> None:
        self.material = material
        self.folders = [
            folder
            for folder in material.folders
            if (found := read_summary(folder)) and found["method"] == method and found["status"] in DONE
        ]
        self.summaries: list[dict[str, Any]] = [read_summary(folder) or {} for folder in self.folders]
        self.curves: list[Curve] = [read_curve(folder) for folder in self.folders]

    def middle(self, values: list[float]) -> float:
        return median(values).value

    def repeats(self) -> str:
        """', median of 3', and nothing for one run."""
        return f", median of {len(self.folders)}" if len(self.folders) > 1 else ""

    def ranks(self) -> str:
        return ", ".join(sorted({count(int(summary["ranks"]), "rank") for summary in self.summaries}))


def numbers(material: Material) -> list[dict[str, Any]]:
    """Every claim of a figure's paper, with our number where there is one.

    ``same_work`` says whether both did the same: the rows of the paper, and nothing made smaller; who did it on
    which machine is in ``note``.
    """
    return [_beside(claim, material) for claim in CLAIMS.get(material.entry["name"], ())]


def claim_rows(material: Material) -> list[dict[str, Any]]:
    """What the paper reports of the figure, for its CSV."""
    return [
        {
            "source": THEIRS,
            "method": claim.method,
            "what": claim.what,
            "value": claim.paper,
            "unit": claim.unit,
            "words": claim.paper_text,
        }
        for claim in CLAIMS.get(material.entry["name"], ())
    ]


def _beside(claim: Claim, material: Material) -> dict[str, Any]:
    runs = Finished(material, claim.method)
    if claim.method in material.left_out:
        ours, text = None, f"left out: {material.left_out[claim.method]}"
    elif not runs.folders and material.result is None and claim.method not in _SEVERAL:
        ours, text = None, "no finished run"
    else:
        ours, text = MEASURES[claim.measure](claim, runs)
    if ours is not None and not math.isfinite(ours):
        ours = None
    rows = next((summary.get("rows_train") for summary in runs.summaries), None)
    other_rows = claim.rows is not None and rows is not None and rows != claim.rows
    notes = [claim.beside] if claim.beside else []
    notes += [f"{rows:,} rows here, {claim.rows:,} theirs"] if other_rows else []
    notes += [f"quick: {material.entry['quick']['less']}"] if material.shrunk else []
    both = claim.paper is not None and ours is not None
    shrunk = material.shrunk and claim.measure != "per-iteration"  # a mini-batch is one, of however many rows
    return {
        "what": claim.what,
        "unit": claim.unit,
        "paper": claim.paper,
        "paper_text": claim.paper_text,
        "ours": ours,
        "ours_text": text,
        "ratio": ours / claim.paper if both and claim.paper and ours is not None else None,
        "same_work": both and not other_rows and not shrunk and claim.beside not in _OTHER_WORK,
        "note": "; ".join(notes),
    }


_SEVERAL = ("relu",)  # stands for the runs of several methods
_OTHER_WORK = ("another goal", "other rows")


def _seconds_to(claim: Claim, runs: Finished) -> Ours:
    """Training seconds at the first evaluation whose test accuracy is at the claim's level."""
    times = []
    for curve in runs.curves:
        reached = [row["train_s"] for row in curve if row["test_accuracy"] >= claim.level]
        times.append(reached[0] if reached else math.inf)
    middle = runs.middle(times)
    return middle, f"{_time(middle)} on {runs.ranks()}{runs.repeats()}"


def _to_target(claim: Claim, runs: Finished) -> Ours:
    times = [math.inf if (t := s.get("time_to_target_s")) is None else float(t) for s in runs.summaries]
    middle = runs.middle(times)
    return middle, f"{_time(middle)} on {runs.ranks()}{runs.repeats()}"


def _most_cores(claim: Claim, runs: Finished) -> Ours:
    assert runs.material.result is not None
    point = runs.material.result.points[-1]
    clock = ", processor time of shared cores" if point.shared else ""
    repeats = f", median of {point.runs}" if point.runs > 1 else ""
    return point.median_s, f"{_time(point.median_s)} on {count(point.cores, 'core')}{clock}{repeats}"


def _final(claim: Claim, runs: Finished) -> Ours:
    return _percent(runs, "final_test_accuracy")


def _best(claim: Claim, runs: Finished) -> Ours:
    return _percent(runs, "best_test_accuracy")


def _percent(runs: Finished, key: str) -> Ours:
    found = [100 * float(s[key]) for s in runs.summaries if s.get(key) is not None]
    if not found:
        return None, "no accuracy"
    middle = runs.middle(found)
    return middle, f"{middle:.2f} %{runs.repeats()}"


def _after(claim: Claim, runs: Finished) -> Ours:
    """Test accuracy at the first evaluation after so many updates."""
    found = []
    for curve in runs.curves:
        later = [row["test_accuracy"] for row in curve if row["iteration"] >= claim.level]
        found.append(100 * later[0] if later else math.nan)
    middle = runs.middle(found)
    return middle, f"{number(middle, 1)} %{runs.repeats()}"


def _iterations(claim: Claim, runs: Finished) -> Ours:
    """Iterations to the runs' target; infinity for a miss."""
    found = [float(s["iterations"]) if s.get("time_to_target_s") is not None else math.inf for s in runs.summaries]
    middle, target = runs.middle(found), runs.summaries[0].get("target")
    if target is None:
        return None, "its runs have no target"
    steps = f"{middle:,.0f}" if math.isfinite(middle) else f"missed in {runs.summaries[0]['iterations']:,}"
    return middle, f"{steps}, to test accuracy {target:g}{runs.repeats()}"


def per_iteration(runs: Finished) -> tuple[float, float]:
    """Seconds of an iteration, all of them together, and the standard deviation over evaluations."""
    spans = [
        (later["train_s"] - row["train_s"], later["iteration"] - row["iteration"])
        for curve in runs.curves
        for row, later in zip(curve, curve[1:], strict=False)
        if later["iteration"] > row["iteration"]
    ]
    each = [time / steps for time, steps in spans]
    mean = sum(time for time, _ in spans) / max(1.0, sum(steps for _, steps in spans)) if spans else math.nan
    return mean, math.sqrt(sum((one - mean) ** 2 for one in each) / max(1, len(each) - 1)) if each else math.nan


def _per_iteration(claim: Claim, runs: Finished) -> Ours:
    mean, spread = per_iteration(runs)
    return mean, f"{seconds(mean)} s, standard deviation {seconds(spread)} over epochs"


def _over_exact(claim: Claim, runs: Finished) -> Ours:
    exact, _ = per_iteration(Finished(runs.material, "exact"))
    ours, _ = per_iteration(runs)
    ratio = ours / exact
    return ratio, f"{ratio:.2g} ({seconds(ours)} s against {seconds(exact)} s)"


def _fewest_epochs(claim: Claim, runs: Finished) -> Ours:
    fewest = {"relu": math.inf, "dcutlu": math.inf}
    for folder in runs.material.folders:
        summary = read_summary(folder) or {}
        unit = Recorded(folder).method_block[0].partition("-")[0]
        curve = read_curve(folder)
        if unit in fewest and curve and summary.get("time_to_target_s") is not None:
            fewest[unit] = min(fewest[unit], curve[-1]["epoch"])
    words = " against ".join(f"{fewest[unit]:g}" if math.isfinite(fewest[unit]) else "none" for unit in fewest)
    return fewest["relu"] / fewest["dcutlu"] if math.isfinite(min(fewest.values())) else None, f"{words} epochs"


def _drop(claim: Claim, runs: Finished) -> Ours:
    """Without a preconditioner, over that with a sketch of the claim's rank."""
    by_rank = {float(point.rank): point.condition for point in _conditions(runs) if point.rank is not None}
    alone = next(point.condition for point in _conditions(runs) if point.preconditioner == "none")
    if claim.level not in by_rank:
        return None, f"no sketch of rank {claim.level:g}"
    ratio = alone / by_rank[claim.level]
    return ratio, f"{ratio:.3g} ({alone:.4g} against {by_rank[claim.level]:.4g})"


def _jacobi(claim: Claim, runs: Finished) -> Ours:
    by_name = {point.preconditioner: point.condition for point in _conditions(runs)}
    ratio = by_name["jacobi"] / by_name["none"]
    return ratio, f"{ratio:.3g}"


def _conditions(runs: Finished) -> list[Preconditioned]:
    return list(runs.material.result.points) if runs.material.result is not None else []


def _time(value: float) -> str:
    return "never" if math.isinf(value) else f"{seconds(value)} s"


MEASURES: dict[str, Callable[[Claim, Finished], Ours]] = {
    "seconds": _seconds_to,
    "target": _to_target,
    "most-cores": _most_cores,
    "final": _final,
    "best": _best,
    "after": _after,
    "iterations": _iterations,
    "per-iteration": _per_iteration,
    "cost-over-exact": _over_exact,
    "fewest-epochs-ratio": _fewest_epochs,
    "condition-drop": _drop,
    "condition-jacobi": _jacobi,
}
