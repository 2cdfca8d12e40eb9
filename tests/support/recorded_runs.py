"""What a report is made of, made up by a test: figures with their descriptions, and runs in every state."""

import csv
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from admmctl.report import style
from admmctl.report.verdict import Judged, Verdict
from admmctl.runs.record import Evaluation, RunFolder
from support import studies

NASTY = "<script>alert(\"1\")</script> & 'it'"


def number(what: str = "seconds to 95 %", **changes: Any) -> dict[str, Any]:
    """A number of a paper beside ours, as a description has it."""
    values = {"what": what, "unit": "s", "paper": 10.0, "ours": 5.0, "ratio": 0.5, "same_work": True}
    return {**values, "paper_text": "", "ours_text": "", "note": "", **changes}


def description(name: str, **changes: Any) -> dict[str, Any]:
    """What NAME.json says of a figure."""
    return {
        "name": name,
        "paper": "Taylor et al. 2016",
        "number": "Figure 1",
        "shows": f"what {name} shows",
        "kind": "figure",
        "caption": f"The caption of {name}.",
        "scale": "1,000 of 120,290 rows",
        "files": {ending: f"{name}.{ending}" for ending in ("png", "pdf", "csv")},
        "runs": [],
        "numbers": [],
        **changes,
    }


def judged(id: str = "made-up", verdict: Verdict = Verdict.HOLDS, **changes: Any) -> Judged:
    """A claim with its verdict."""
    values: dict[str, Any] = {
        "paper": "Taylor et al. 2016",
        "where": "section 7",
        "text": f"The claim {id}.",
        "evidence": "" if verdict is Verdict.UNTOLD else f"what {id} was told from",
        "needs": f"more than {id} has" if verdict is Verdict.UNTOLD else "",
        "differs": "",
        "rerun": f"admmctl claims {id} --run",
        "figure": None,
        "runs": [],
        **changes,
    }
    return Judged(id=id, verdict=verdict, **values)


def write_figure(folder: Path, name: str, points: list[tuple[Any, ...]] | None = None, **changes: Any) -> Path:
    """A figure with its points and its description; ``points`` begin with their headings."""
    folder.mkdir(parents=True, exist_ok=True)
    points = points or [("x", "y"), *((x, x * x % 7) for x in range(12))]
    figure, axes = plt.subplots()
    axes.plot(*zip(*[row[:2] for row in points[1:]], strict=True), marker="o")
    axes.set(title=name, xlabel="x", ylabel="y")
    style.save(figure, folder / name)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows(points)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(description(name, **changes)))
    return path


def write_run(
    results: Path,
    method: str = "admm",
    *,
    experiment: str = "made",
    seed: int = 0,
    accuracies: tuple[float, ...] = (0.5, 0.8, 0.9),
    seconds: float = 1.0,
    **changes: Any,
) -> Path:
    """A run of these test accuracies, ``seconds`` apart; ``changes`` are its summary's. Target: 0.9."""
    folder = results / experiment / f"{method}-p{changes.get('ranks', 1)}-s{seed}-5eed{seed:04d}"
    config = {
        "name": experiment,
        "data": {"name": "swissroll", "rows": 4000},
        "network": {"layers": [10]},
        "loss": "squared",
        "methods": {method: {"kind": method}},
        "stop": {"metric": "test_accuracy", "target": 0.9, "iterations": 100},
        "evaluate": {"every": 1, "unit": "iteration"},
        "seed": seed,
    }
    last = accuracies[-1] if accuracies else None
    steps = max(len(accuracies) - 1, 0)
    took = seconds * steps
    reached = last is not None and last >= 0.9
    summary = {
        "experiment": experiment,
        "method": method,
        "reason": "met its target" if reached else "used up: 100 iterations",
        "iterations": steps,
        "best_test_accuracy": max(accuracies, default=None),
        "final_test_accuracy": last,
        "train_s": took,
        "wall_s": 2 * took,
        "threads_per_rank": 1,
        "rerun": f"admmctl train {folder / 'config.yaml'} --cores 1",
        "phases": {"product": (took, took, took), "evaluate": (0.2, 0.2, 0.1)},
        "environment": {"cpu": ["Some CPU"], "cores": 2, "hosts": ["here"]},
        **changes,
    }
    studies.write_run(folder, cores=1, seed=seed, time=took if reached else None, config=config, **summary)
    run = RunFolder(folder)
    for place, value in enumerate(accuracies):
        run.append(Evaluation(place, place, seconds * place, 2 * seconds * place, 1 - value, value, value, {}))
    return folder
