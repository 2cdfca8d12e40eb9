"""A figure's caption and description: what it was drawn from, on which machine, and how that was timed."""

from pathlib import Path

from admmctl.data.shards import MADE_UP
from admmctl.papers.entry import Material
from admmctl.papers.measures import numbers
from admmctl.report.sidecar import Figure
from admmctl.report.text import count
from admmctl.runs.reading import Environment
from admmctl.studies.condition import Conditions


def describe(material: Material, written: list[Path]) -> Figure:
    """The content of NAME.json, for a figure whose files were ``written`` beside it."""
    entry = material.entry
    return Figure(
        name=entry.name,
        paper=entry.paper.name,
        number=entry.number,
        shows=entry.shows,
        kind=entry.drawing.kind,
        caption=caption(material),
        scale=material.scale,
        files={path.suffix[1:]: path.name for path in written},
        runs=[str(folder) for folder in material.folders],
        numbers=numbers(material),
    )


def caption(material: Material) -> str:
    """Machine, ranks, repeats, data, clock, and what differs from the paper, in sentences."""
    entry = material.entry
    title = f"{entry.paper.name}, {entry.number}: {entry.shows}."
    if material.points is not None:
        seed = material.points.facts["seed"]
        differs = f" Differs from the paper: {entry.differs}." if entry.differs else ""
        return f"{title} Drawn anew from what is computed here, seed {seed}; it needs no training run.{differs}"
    sentences = [title, f"{MADE_UP.capitalize()}."] if material.made_up else [title]
    sentences += [*(_computed(material.conditions) if material.conditions else _runs(material))]
    if not entry.paper.ours:
        sentences.append("What the papers report is marked as theirs: other machines, often other work.")
    if material.shrunk:
        sentences.append(f"Quick scale: {entry.quick.less}.")
    sentences += [f"{note[:1].upper()}{note[1:]}." for note in material.notes]
    sentences += [f"Left out: {method} ({reason})." for method, reason in material.left_out.items()]
    if entry.differs:
        sentences.append(f"{'Conditions' if entry.paper.ours else 'Differs from the paper'}: {entry.differs}.")
    return " ".join(sentences)


def _runs(material: Material) -> list[str]:
    """Machine, ranks, data and clock of the runs."""
    summaries = [run.summary for run in material.runs if run.summary is not None]
    places = [run.environment for run in material.runs]
    machines = sorted({_machine(place) for place in places if place.cpu})
    ranks = sorted({summary.ranks for summary in summaries})
    threads = sorted({summary.threads_per_rank or 1 for summary in summaries})
    rows = sorted({summary.rows_train for summary in summaries if summary.rows_train})
    tests = sorted({summary.rows_test for summary in summaries if summary.rows_test})
    seeds = {summary.seed for summary in summaries}
    repeats = "one run each" if len(seeds) == 1 else f"{len(seeds)} repeats each, medians"
    layout = f"{_list(ranks)} {'rank' if ranks == [1] else 'ranks'} with {_list(threads)} BLAS "
    layout += "thread" if threads == [1] else "threads"
    return [
        f"Measured on {'; '.join(machines) or 'an unknown machine'}: {layout} per rank, {repeats}.",
        f"Data: {material.runs[0].data_name}, {_list(rows)} training and {_list(tests)} test rows.",
        "Seconds are train_s: optimisation only, without loading and evaluation.",
    ]


def _machine(place: Environment) -> str:
    """'AMD EPYC, 2 cores and NVIDIA K40'."""
    device = place.facts.get("device")
    return f"{', '.join(place.cpu)}, {count(place.cores, 'core')}" + (f" and {device}" if device else "")


def _computed(found: Conditions) -> list[str]:
    shape = f"{found.rows:,} rows, {found.inputs:,} inputs, {found.patterns} patterns"
    return [f"Computed here from {found.experiment}: {shape}, rho {found.rho:g}, in float64. It times nothing."]


def _list(values: list[int]) -> str:
    """'1, 2 and 4'."""
    *first, last = [f"{value:,}" for value in values] or [""]
    return f"{', '.join(first)} and {last}" if first else last
