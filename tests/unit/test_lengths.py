"""The study of sequences: its runs at every length, what is drawn of them, and the longest that is solved."""

from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from support import studies

from admmctl.papers.catalogue import CATALOGUE
from admmctl.papers.entry import Material
from admmctl.papers.lengths import ENTRIES, LENGTHS, METHODS, SECONDS, SOLVED, longest
from admmctl.papers.make import planned

ORDER = CATALOGUE["lengths-order"]


def material(place: Path, found: dict[tuple[str, int], list[float]]) -> Material:
    """The figure of temporal order from runs with these best accuracies, by method and length."""
    folders = []
    for (method, steps), accuracies in found.items():
        for seed, accuracy in enumerate(accuracies):
            config: dict[str, Any] = {
                "name": "order",
                "data": {"name": "order", "steps": steps},
                "network": {"recurrent": 64},
                "loss": "cross-entropy",
                "methods": {method: {"kind": method}},
                "seed": seed,
            }
            values = {"method": method, "best_test_accuracy": accuracy, "config": config}
            time = steps / 10 if accuracy >= SOLVED else None
            folder = place / f"{method}-{steps}-{seed}"
            folders.append(studies.write_run(folder, cores=1, seed=seed, time=time, **values))
    return Material(ORDER, "full", folders)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_all_methods_have_the_same_seconds_at_every_length(entry):
    runs = planned(entry, "full")
    asked = {(run.method, run.data.steps, run.seed) for run in runs}
    assert asked == set(product(METHODS, LENGTHS[entry.config], range(3)))
    assert len(runs) == len(asked)
    for run in runs:
        assert (run.stop.seconds, run.stop.target, run.stop.epochs, run.stop.iterations) == (
            SECONDS,
            SOLVED,
            None,
            None,
        )
    assert {run.experiment for run in planned(entry, "quick")} == {f"{entry.config}-quick"}


def test_a_length_has_the_median_of_its_repeats(tmp_path):
    found = material(tmp_path, {("adam", 10): [0.99, 0.96, 0.4], ("adam", 30): [0.96, 0.5, 0.6]})
    figure, rows = ORDER.drawing.draw(found)
    plt.close(figure)
    assert [(row["method"], row["steps"], row["test_accuracy"], row["n"]) for row in rows] == [
        ("adam", 10, 0.96, 3),
        ("adam", 30, 0.6, 3),
    ]
    assert [row["smallest"] for row in rows] == [0.4, 0.5]
    assert [row["seconds"] for row in rows] == [
        1.0,
        None,
    ]  # of a length that most repeats do not solve there are none


def test_the_legend_says_the_longest_that_is_solved(tmp_path):
    found = material(
        tmp_path,
        {("adam", steps): [accuracy] for steps, accuracy in ((10, 0.99), (30, 0.97), (50, 0.9), (70, 0.99))}
        | {("admm", 10): [0.8]},
    )
    figure, rows = ORDER.drawing.draw(found)
    labels = {line.get_label() for line in figure.axes[0].get_lines()}
    plt.close(figure)
    assert {"adam, up to 30 steps", "admm, none solved"} <= labels
    assert longest([row for row in rows if row["method"] == "adam"]) == "up to 30 steps"
