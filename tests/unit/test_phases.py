"""``runs phases`` on made-up runs: whose seconds they are, medians over repeats, and the paper's beside them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.shell import on_80_columns
from support.studies import write_run

from admmctl.errors import UserError
from admmctl.papers.convex import TABLE
from admmctl.report.phases import phase_rows, phases, phases_table
from admmctl.runs.recorded import Recorded


def run(
    place: Path, method: str, seed: int, seconds: dict[str, float], reached: bool = True, **changes: Any
) -> Recorded:
    """A run with such phases of training; loading, evaluation and the rest are added to them."""
    config = {
        "name": place.name,
        "data": {"name": "swissroll"},
        "network": {},
        "loss": "squared",
        "methods": {method: {"kind": "convex-admm"}},
        "stop": {},
        "evaluate": {},
    }
    outside = {"load": 5.0, "evaluate": 7.0, "rest": 1.0, "wall": 99.0}
    total = sum(seconds.values())
    folder = write_run(
        place / f"{method}-p1-s{seed}",
        cores=1,
        seed=seed,
        time=total if reached else None,
        config=config,
        method=method,
        experiment=place.name,
        train_s=total,
        # largest, mean and smallest over ranks: the largest counts
        phases={name: (time, time / 2, 0.0) for name, time in {**seconds, **outside}.items()},
        **changes,
    )
    return Recorded(folder)


@pytest.fixture
def made(tmp_path: Path) -> list[Recorded]:
    place = tmp_path / "made"
    rbcd = [
        run(place, "rbcd", seed, {"precompute": 0.5, "u": u, "v": 0.25, "dual": 0.125, "check": 0.5})
        for seed, u in enumerate((1.0, 3.0, 2.0))
    ]
    return [*rbcd, run(place, "mlp", 0, {"gradient": 9.0, "update": 1.0}, reached=False)]


def test_medians_over_repeats_of_what_counts_as_training(made):
    result = phases(made)
    rbcd, mlp = result.methods
    assert rbcd.phases == {"precompute": 0.5, "u": 2.0, "v": 0.25, "dual": 0.125, "check": 0.5}
    assert (rbcd.runs, rbcd.reached, rbcd.time_to_target_s) == (3, 3, 3.375)
    assert mlp.phases == {"gradient": 9.0, "update": 1.0}
    assert (mlp.reached, mlp.time_to_target_s, mlp.train_s) == (0, float("inf"), 10.0)
    assert result.paper is None


def test_the_table_has_the_papers_phases_and_the_sum_of_the_others(made):
    words = on_80_columns(phases_table(phases(made)))
    (rbcd,) = (line.split() for line in words.splitlines() if line.startswith("rbcd"))
    assert rbcd == ["rbcd", "3/3", "3.38", "0.5", "2.00", "0.25", "0.125", "0.5"]
    (mlp,) = (line.split() for line in words.splitlines() if line.startswith("mlp"))
    assert mlp == ["mlp", "0/1", "never", "-", "-", "-", "-", "10.0"]
    assert "Table 1" not in words


def test_without_a_convex_method_the_largest_phases_have_columns(tmp_path):
    names = ["a", "b", "c", "d", "e", "f"]
    folder = run(tmp_path / "made", "sgd", 0, {name: 1.0 + number for number, name in enumerate(names)})
    words = on_80_columns(phases_table(phases([folder])))
    assert "reached  total     b     c     d     e     f  others" in words.replace("\n", " ")


def test_the_papers_numbers_are_marked_as_theirs(made):
    words = on_80_columns(phases_table(replace(phases(made), paper=TABLE)))
    assert "their numbers, on their machines" in words
    (line,) = (line.split() for line in words.splitlines() if line.startswith("nysPCG"))
    assert line == ["nysPCG", "(GPU)", "39.484", "16.321", "23.119", "0.043", "0.001"]


def test_the_papers_phases_add_up_to_their_totals():
    # The headings of the table are shifted in print; in this order its rows add up.
    for row in TABLE.methods:
        if row.phases:
            assert sum(row.phases.values()) == pytest.approx(row.total_s, abs=1.1e-3)


def test_csv_has_all_phases_and_says_whose_they_are(made):
    rows = phase_rows(replace(phases(made), paper=TABLE))
    assert [row["source"] for row in rows[:3]] == ["measured", "measured", TABLE.source]
    assert (rows[0]["check_s"], rows[0]["gradient_s"]) == (0.5, None)
    assert (rows[2]["method"], rows[2]["time_to_target_s"], rows[2]["precompute_s"]) == (
        "nysPCG (GPU)",
        39.484,
        16.321,
    )


def test_runs_that_did_not_end_are_left_out(made, tmp_path):
    (made[0].folder / "summary.json").unlink()
    (made[1].folder / "phases.csv").unlink()
    assert phases(made).methods[0].runs == 1
    with pytest.raises(UserError, match="nothing to show"):
        phases(made[:2])
    other = run(tmp_path / "made", "exact", 0, {"u": 1.0}, target=0.5)
    with pytest.raises(UserError, match="the target differs"):
        phases([*made, other])
