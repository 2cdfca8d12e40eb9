"""The page of our own study, and the script that writes it from points and verdicts."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.recorded_runs import judged
from support.scripts import claims_page, rivals_page

from admmctl.papers.rivals import ENTRIES


def write_points(folder: Path, name: str, finals: dict[str, float], disturbed: tuple[str, ...] = ()) -> None:
    """Six seeds of each method, with three evaluations at 0, 2 and 4 s."""
    rows = [
        {
            "source": "ours",
            "method": method,
            "seed": seed,
            "ranks": 1,
            "disturbed": method in disturbed,
            "iteration": 100 * place,
            "train_s": 2.0 * place + 0.1 * seed,
            "test_accuracy": accuracy + 0.0002 * seed,
            "test_auc": accuracy / 2,
        }
        for method, final in finals.items()
        for seed in range(6)
        for place, accuracy in enumerate((0.1, 0.99 * final, final))
    ]
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def claims(tmp_path: Path) -> list[dict[str, Any]]:
    run = tmp_path / "admm-p1-s0"
    run.mkdir()
    (run / "environment.json").write_text(json.dumps({"cores": 2, "cpu": ["AMD EPYC"]}))
    return [asdict(judged("own", runs=[str(run)], ours=True, differs="one core", paper="A study of our own"))]


def test_a_table_has_medians_with_intervals_and_the_first_evaluation_that_meets_a_level(tmp_path):
    write_points(tmp_path, "made", {"sgd": 0.9, "admm": 0.98, "trees": 0.5}, disturbed=("sgd",))
    head, _, *rows = rivals_page.table(rivals_page.runs_of(tmp_path / "made.csv"), (0.97, 0.98)).splitlines()
    assert head.startswith("| method | n | test accuracy, % | AUC | seconds | iterations | seconds to 97 % |")
    assert [row.split(" | ")[0] for row in rows] == ["| `admm`", "| `trees`", "| `sgd`"]
    admm, trees, sgd = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    assert admm[1:4] == ["6", "98.05 (98.00 to 98.10)", "0.4900 (0.4900 to 0.4900)"]
    assert admm[4:8] == ["4.25 (4.00 to 4.50)", "200 (200 to 200)", "2.25 (2.00 to 2.50)", "100 (100 to 100)"]
    assert admm[8:] == ["4.25 (4.00 to 4.50)", "200 (200 to 200)"]
    assert trees[6:8] == ["never (never to never)"] * 2
    assert sgd[1:] == ["0 of 6", *["-"] * 8]  # on disturbed cores it came less far in its time


def test_the_page_has_every_figure_and_our_claims(tmp_path, claims):
    points = tmp_path / "points"
    for entry in ENTRIES:
        write_points(points, entry.name, {"graph-admm": 0.98, "sgd": 0.97})
    page = rivals_page.page(claims, points)
    assert "a machine with 2 cores (AMD EPYC)" in page.replace("\n", " ")
    assert [line for line in page.splitlines() if line.startswith("![")] == [
        f"![{entry.shows[:1].upper()}{entry.shows[1:]}.](rivals/{entry.name}.png)" for entry in ENTRIES
    ]
    assert "- **Holds:** The claim own. (section 7; `own`)" in page
    assert "  Conditions: one core." in page
    long = [line for line in page.splitlines() if len(line) > claims_page.WIDTH and line[0] not in "|!"]
    assert long == []


def test_figures_without_points_are_named(tmp_path, claims):
    write_points(tmp_path, ENTRIES[1].name, {"graph-admm": 0.98, "sgd": 0.97})
    page = rivals_page.page(claims, tmp_path)
    missing = page.partition("## Not made yet\n")[2].split("\n\n")[1].splitlines()
    assert len(missing) == len(ENTRIES) - 1
    for line, entry in zip(missing, (entry for entry in ENTRIES if entry is not ENTRIES[1]), strict=True):
        assert line.startswith(f"- `{entry.name}`: ")


def test_without_any_points_it_says_how_to_draw_them(tmp_path, claims):
    with pytest.raises(SystemExit, match=r"no points in .*: draw figures there first, by admmctl figures NAME"):
        rivals_page.page(claims, tmp_path)
