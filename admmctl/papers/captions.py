"""The caption of a figure: ``NAME.json`` beside its PNG, PDF and CSV, from which a report can be made."""

from pathlib import Path
from typing import Any

from admmctl.papers.material import Material
from admmctl.papers.measures import numbers
from admmctl.report.text import count
from admmctl.runs.recorded import read_config, read_environment, read_summary

KEYS = ("name", "paper", "number", "shows", "kind", "caption", "scale", "files", "runs", "numbers")


def sidecar(material: Material, written: list[Path]) -> dict[str, Any]:
    """What NAME.json holds: ``KEYS``, with the names of the files that were written."""
    entry = material.entry
    return {
        **{key: entry[key] for key in ("name", "paper", "number", "shows", "kind")},
        "caption": caption(material),
        "scale": material.scale,
        "files": {path.suffix[1:]: path.name for path in written},
        "runs": [str(folder) for folder in material.folders],
        "numbers": numbers(material),
    }


def caption(material: Material) -> str:
    """Machine, ranks, repeats, data and rows, the clock, and what differs from the paper, in sentences."""
    entry = material.entry
    said = [f"{entry['paper']}, {entry['number']}: {entry['shows']}."]
    if entry["kind"] == "illustration":
        seed = material.facts.get("seed")
        said.append(f"Drawn anew from what is computed here, seed {seed}; it needs no training run.")
        return " ".join(said)
    said += _runs(material) if material.folders else _computed(material)
    said.append("What the papers report is marked as theirs: other machines, often other work.")
    if material.shrunk:
        said.append(f"Quick scale: {entry['quick']['less']}.")
    said += [f"{note[:1].upper()}{note[1:]}." for note in material.notes]
    said += [f"Left out: {method} ({reason})." for method, reason in material.left_out.items()]
    if entry["differs"]:
        said.append(f"Differs from the paper: {entry['differs']}.")
    return " ".join(said)


def _runs(material: Material) -> list[str]:
    """Where the runs ran, on what, and how they were timed."""
    summaries = [found for folder in material.folders if (found := read_summary(folder))]
    where = [_environment(folder) for folder in material.folders]
    machines = sorted({f"{', '.join(each['cpu'])}, {count(each['cores'], 'core')}" for each in where if each})
    ranks = sorted({int(summary["ranks"]) for summary in summaries})
    threads = sorted({int(summary.get("threads_per_rank") or 1) for summary in summaries})
    rows = sorted({int(summary["rows_train"]) for summary in summaries if summary.get("rows_train")})
    tests = sorted({int(summary["rows_test"]) for summary in summaries if summary.get("rows_test")})
    data = read_config(material.folders[0]).get("data", {}).get("name", "")
    seeds = {summary["seed"] for summary in summaries}
    repeats = "one run each" if len(seeds) == 1 else f"{len(seeds)} repeats each, medians"
    each = f"{_list(ranks)} {'rank' if ranks == [1] else 'ranks'} with {_list(threads)} BLAS "
    each += "thread" if threads == [1] else "threads"
    return [
        f"Measured on {'; '.join(machines) or 'an unknown machine'}: {each} per rank, {repeats}.",
        f"Data: {data}, {_list(rows)} training and {_list(tests)} test rows.",
        "Seconds are train_s: optimisation only, without loading and evaluation.",
    ]


def _computed(material: Material) -> list[str]:
    """What was computed without a run: condition numbers."""
    result = material.result
    shape = f"{result.rows:,} rows, {result.inputs:,} inputs"
    return [
        f"Computed here from {result.experiment}: {shape}, {result.patterns} patterns, "
        f"rho {result.rho:g}, in float64. It times nothing."
    ]


def _environment(folder: Path) -> dict[str, Any] | None:
    try:
        found = read_environment(folder)
        return {"cpu": list(found["cpu"]), "cores": int(found["cores"])}
    except (ValueError, KeyError, TypeError):
        return None


def _list(values: list[int]) -> str:
    """'1, 2 and 4'."""
    words = [f"{value:,}" for value in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
