"""A study of our own on a next step of Taylor et al. (section 8.1): how long sequences recurrent networks learn.

Two problems of long time lags (Hochreiter and Schmidhuber 1997), computed at any length. Every method has the
same seconds for every length. A length is solved where the median of its repeats has 95 % of the test rows right,
at any evaluation; the longest solved is the last before the first that is not.
"""

from dataclasses import replace
from itertools import takewhile
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from admmctl.papers.claims import Claim, Work
from admmctl.papers.entry import Drawing, Entry, Material, Paper, Quick, Rows
from admmctl.papers.rules import BEST, at_least
from admmctl.report import style
from admmctl.studies.statistics import median

PAPER = Paper("A study of our own: lengths of sequences", "Lengths", ours=True)
SOLVED = 0.95
SECONDS = 20
LENGTHS = {"order": (10, 20, 30, 50, 70, 100, 200, 300), "adding": (10, 20, 30, 50, 70, 100)}
ORDER, ADDING = "temporal order", "the adding problem"
METHODS = ("graph-admm", "admm", "foof", "sgd", "adam")
SOON = replace(BEST, timed=True)  # how far a run comes in its seconds is less on cores that other work takes
CHANGES = (
    f"stop.seconds={SECONDS}",
    f"stop.target={SOLVED}",
    "stop.epochs=null",
    "methods.admm.stop.iterations=null",
)


def _of(steps: int) -> tuple[str, ...]:
    return (f"data.steps={steps}",)


def _draw(material: Material) -> tuple[Figure, Rows]:
    """Test accuracy against length: medians over repeats, and all of them as a band."""
    figure, axes = plt.subplots()
    rows: Rows = []
    for method in material.entry.plan(material.scale).methods:
        found = _rows(material, method)
        rows += found
        color, marker = style.look(method)
        lengths = [row["steps"] for row in found]
        label = f"{method}, {longest(found)}"
        axes.plot(lengths, [row["test_accuracy"] for row in found], color=color, marker=marker, label=label)
        low, high = [row["smallest"] for row in found], [row["largest"] for row in found]
        axes.fill_between(lengths, low, high, color=color, alpha=0.15, linewidth=0)
    axes.axhline(SOLVED, color=style.GREY, linestyle=":", linewidth=0.8)
    axes.set_xscale("log")
    shown = sorted({row["steps"] for row in rows})
    axes.set_xticks(shown, list(map(str, shown)))
    axes.minorticks_off()
    axes.set_xlabel("steps of a sequence")
    axes.set_ylabel(f"best test accuracy in {SECONDS} s")
    axes.set_title(
        f"{material.entry.number}, medians of {material.entry.plan(material.scale).repeats}", loc="left"
    )
    style.legend_below(axes)
    return figure, rows


def _rows(material: Material, method: str) -> Rows:
    """A row for every length that has finished runs."""
    by_length: dict[int, list[Any]] = {}
    for run in material.finished(method):
        by_length.setdefault(run.config["data"]["steps"], []).append(run)
    rows: Rows = []
    for steps, runs in sorted(by_length.items()):
        best = [value for run in runs if (value := run.number("best_test_accuracy")) is not None]
        times = [run.number("time_to_target_s") for run in runs]
        met = [time for time in times if time is not None]
        rows.append(
            {
                "source": "ours",
                "method": method,
                "steps": steps,
                "test_accuracy": median(best).value,
                "smallest": min(best, default=float("nan")),
                "largest": max(best, default=float("nan")),
                "seconds": median(met).value if len(met) > len(runs) / 2 else None,
                "n": len(runs),
            }
        )
    return rows


def longest(rows: Rows) -> str:
    """'up to 70 steps': the last length before the first that is not solved."""
    solved = [row["steps"] for row in takewhile(lambda row: row["test_accuracy"] >= SOLVED, rows)]
    return f"up to {solved[-1]} steps" if solved else "none solved"


def _entry(config: str, shows: str) -> Entry:
    return Entry(
        f"lengths-{config}",
        PAPER,
        shows,
        f"{shows}: the longest sequences that recurrent networks learn in {SECONDS} s",
        Drawing("lengths", _draw),
        config=config,
        methods=METHODS,
        repeats=3,
        changes=CHANGES,
        variants=tuple(map(_of, LENGTHS[config])),
        quick=Quick(
            "three lengths, 4,000 rows, at most 3 s each, 1 repeat",
            ("data.rows=4000", "stop.seconds=3"),
            variants=tuple(map(_of, (10, 30, 100))),
        ),
        differs="64 rectified units; settings as in the file, which says how trials chose them; solved is "
        f"{100 * SOLVED:g} % of the test rows at any evaluation",
    )


ENTRIES = (_entry("order", ORDER), _entry("adding", ADDING))


def _learns(name: str, method: str, config: str, problem: str, steps: int, called: str) -> Claim:
    """That a method, by what the claim calls it, learns sequences of so many steps."""
    return Claim(
        f"lengths-{name}",
        PAPER,
        problem,
        f"{called} learns {problem} of {steps} steps.",
        at_least(SOON, method, SOLVED),
        (Work(config, (method,), changes=(*CHANGES, *_of(steps)), timed=True),),
        f"an Elman cell of 64 rectified units; settings as in the file; {SECONDS} s of training",
        f"lengths-{config}",
    )


CLAIMS = (
    _learns("graph", "graph-admm", "order", ORDER, 100, "graph-admm"),
    _learns("admm", "admm", "order", ORDER, 30, "Taylor's method"),
    _learns("adding", "graph-admm", "adding", ADDING, 30, "graph-admm"),
)
