"""What studies say together, of made-up runs whose laws are known: lines, bounds, crossings, and the figure."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.shell import on_80_columns
from support.studies import Law, write_run

from admmctl.launch.cluster import load_machine
from admmctl.report.crossings import file_of, together_figure, together_table
from admmctl.runs.record import Evaluation, RunFolder
from admmctl.runs.recorded import Recorded
from admmctl.studies.crossings import Together, compare_studies, thinned
from admmctl.studies.lines import Line, bounded, grid_of, iterations_of
from admmctl.studies.points import summarise
from admmctl.studies.study import Findings

CRAY = Path(__file__).parents[2] / "configs" / "clusters" / "cray-xc30.yaml"

# 0.1 s + 30 s / p on large batches, against 1.23 s + 12.8 s / p (as rows divide) on small ones.
GRAPH = Law("graph-admm", (100,) * 6, fixed=1e-3, per_row=1e-4)
SGD = Law("sgd", (1000,) * 6, fixed=1.23e-3, per_row=1e-4, batch=128)


def seconds(law: Law, cores: int) -> float:
    """To the target, on that many cores or fewer."""
    return (law.iterations[0] or math.inf) * min(law.seconds(p) for p in range(1, cores + 1))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder of an experiment."""
    return tmp_path / "made"


def findings(*folders: Path, machine: str | None = None) -> list[Findings]:
    return [summarise(folder, machine) for folder in folders]


def compared(*folders: Path, **options: Any) -> Together:
    """The one comparison of these studies."""
    found, left_out = compare_studies(findings(*folders), **options)
    assert left_out == []
    ((together, group),) = found
    assert [each.study for each in group] == [str(folder) for folder in folders]
    return together


def line(together: Together, method: str) -> Line:
    (found,) = [line for line in together.lines if line.method == method]
    return found


def at(line: Line, cores: int) -> tuple[float, float, float]:
    """Lower bound, seconds and upper bound."""
    place = line.cores.index(cores)
    return line.low[place], line.seconds[place], line.high[place]


# -- crossings


def test_a_crossing_of_known_laws_is_found(made):
    together = compared(GRAPH.write(made), SGD.write(made))
    expected = next(cores for cores in range(1, 100) if seconds(GRAPH, cores) < seconds(SGD, cores))
    assert 15 <= expected <= 17  # 17.2 / 1.13, but for rows that do not divide
    (crossing,) = together.crossings
    assert (crossing.method, crossing.rival, crossing.cores) == ("graph-admm", "sgd", expected)
    # Six repeats of one number, and a model without error: no doubt is left.
    assert crossing.verdict == f"graph-admm overtakes sgd at {expected} cores ({expected} to {expected})"
    for law in (GRAPH, SGD):
        for cores in (1, 2, 3, 8, 10, 100, 1000, 10_000):
            assert at(line(together, law.method), cores)[1] == pytest.approx(seconds(law, cores), rel=1e-6)


def test_repeats_that_differ_widen_the_crossing(made):
    graph = Law("graph-admm", (90, 100, 110), GRAPH.fixed, GRAPH.per_row)
    (crossing,) = compared(graph.write(made), SGD.write(made)).crossings

    def first(iterations: int) -> int:
        law = Law("graph-admm", (iterations,), GRAPH.fixed, GRAPH.per_row)
        return next(cores for cores in range(1, 100) if seconds(law, cores) < seconds(SGD, cores))

    assert (crossing.low, crossing.cores, crossing.high) == (first(90), first(100), first(110))
    assert crossing.low < crossing.high


def test_never(made):
    quick = Law("sgd", (1000,) * 6, fixed=5e-5, per_row=1e-5, batch=128)
    (crossing,) = compared(GRAPH.write(made), quick.write(made)).crossings
    assert (crossing.method, crossing.rival, crossing.verdict) == ("graph-admm", "sgd", "never")
    assert crossing.text == "graph-admm never overtakes sgd, on up to 10,000 cores"


def test_cannot_be_told(made):
    spread = Law("graph-admm", (30, 100, 2000), GRAPH.fixed, GRAPH.per_row)
    (crossing,) = compared(spread.write(made), SGD.write(made)).crossings
    assert (crossing.verdict, crossing.high) == ("cannot be told", None)


def test_a_method_takes_its_best_batch_size_on_every_number_of_cores(made):
    large = Law("sgd", (400,), fixed=1.2e-3, per_row=1e-4, batch=1000)  # 0.48 + 40 / p against 1.2 + 12.8 / p
    together = compared(SGD.write(made), large.write(made), GRAPH.write(made))
    sgd = line(together, "sgd")
    for cores in (1, 4, 16, 30, 64, 128, 1000):
        place = sgd.cores.index(cores)
        small_s, large_s = seconds(SGD, cores), seconds(large, cores)
        assert sgd.batch[place] == (128 if small_s < large_s else 1000)
        assert sgd.seconds[place] == pytest.approx(min(small_s, large_s))
    assert {128, 1000} == set(sgd.batch)
    assert all(a >= b for a, b in zip(sgd.seconds, sgd.seconds[1:], strict=False))
    assert [crossing.rival for crossing in together.crossings] == ["sgd"]  # and none of sgd with itself


def test_a_method_leaves_cores_idle_that_would_not_help(made):
    together = compared(GRAPH.write(made), SGD.write(made))
    sgd = line(together, "sgd")
    assert sgd.used[sgd.cores.index(1000)] == 128  # a row each
    assert at(sgd, 1000) == pytest.approx(at(sgd, 128))


# -- bounds


@pytest.mark.parametrize(
    ("repeats", "low", "high", "basis"), [(6, 1, 6, "95 % interval"), (9, 2, 8, "95 % interval")]
)
def test_from_six_repeats_on_bounds_are_order_statistics(repeats, low, high, basis):
    values = [float(value) for value in range(1, repeats + 1)]
    assert bounded(values) == ((1 + repeats) / 2, low, high, basis)


def test_below_six_repeats_bounds_are_their_spread_and_say_so():
    assert bounded([3.0, 1.0, 2.0]) == (2, 1, 3, "spread")
    assert bounded([3.0]) == (3, 3, 3, "one run")
    assert bounded([1.0, math.inf]) == (math.inf, 1, math.inf, "spread")


def test_a_seed_counts_once_on_however_many_core_counts_it_ran(tmp_path):
    runs = []
    for seed, iterations in ((0, 10), (1, 30)):
        for cores in (1, 2, 4):
            place = tmp_path / f"admm-p{cores}-s{seed}"
            write_run(place, cores=cores, seed=seed, time=1.0, iterations=iterations)
            runs.append(Recorded(place))
    found = iterations_of(runs)
    assert (found.median, found.low, found.high, found.repeats, found.reached) == (20, 10, 30, 2, 2)


def test_bounds_widen_by_the_models_error_with_every_doubling_beyond_what_was_measured(made):
    folders = GRAPH.write(made), SGD.write(made)
    results = findings(*folders)
    left = results[0].model.held_out[0]
    object.__setattr__(left, "error", -0.2)  # a quarter more than it said
    (((together, _),), _) = compare_studies(results)
    graph = line(together, "graph-admm")
    for cores, factor in ((1, 1.0), (8, 1.0), (16, 1.25), (32, 1.25**2), (24, 1.25 ** math.log2(3))):
        low, middle, high = at(graph, cores)
        assert high == pytest.approx(middle * factor, rel=1e-6)
        assert low == pytest.approx(middle / factor, rel=1e-6)
    assert together.studies[0].error == pytest.approx(1.25)
    assert together.studies[1].error == pytest.approx(1.0)


def test_where_it_was_measured_the_line_goes_through_the_points(made):
    folder = GRAPH.write(made, cores=(1, 2, 4, 8))
    for path in folder.glob("graph-admm-p4-*/summary.json"):
        document = json.loads(path.read_text())
        document["time_to_target_s"] *= 1.5  # a wait that no phase has
        path.write_text(json.dumps(document))
    together = compared(folder, SGD.write(made))
    graph = line(together, "graph-admm")
    measured = 1.5 * 100 * GRAPH.seconds(4)
    assert at(graph, 4) == pytest.approx((measured,) * 3)
    assert at(graph, 2)[1] == pytest.approx(100 * GRAPH.seconds(2))
    assert at(graph, 16)[1] == pytest.approx(100 * GRAPH.seconds(16), rel=0.2)


# -- what belongs together, and what does not


def test_studies_of_another_target_or_of_other_rows_are_not_compared(made):
    graph = GRAPH.write(made)
    other_rows = Law("sgd", (1000,), 1.2e-3, 1e-4, batch=128, rows=2000).write(made)
    other_target = Law("adam", (1000,), 1.2e-3, 1e-4, batch=128).write(made, target=0.95)
    fixed = Law("lbfgs", (10,), 1e-3, 1e-4).write(made, goal="iterations", iterations=10, target=None)
    elsewhere = Law("sgd", (1000,), 1.2e-3, 1e-4, batch=64).write(made.parent / "other" / "made")
    assert compare_studies(findings(graph, other_rows, other_target, fixed, elsewhere)) == ([], [])


def test_a_target_that_nobody_met_is_no_comparison(made):
    missed = [Law(name, (None, None), 1e-3, 1e-4).write(made) for name in ("admm", "sgd")]
    found, (reason,) = compare_studies(findings(*missed))
    assert found == []
    assert "nobody met the target, test accuracy 0.9 (admm, sgd)" in reason
    assert "\n" not in reason


def test_a_method_that_missed_never_overtakes_and_half_a_miss_is_noted(made):
    missed = Law("lbfgs", (None,) * 6, 1e-3, 1e-4).write(made)
    half = Law("adam", (10, 10, 10, 10, 10, None), 1e-3, 1e-4).write(made)
    together = compared(missed, half, SGD.write(made))
    assert "lbfgs never overtakes sgd: it did not meet the target" in [each.text for each in together.crossings]
    assert "adam: the target was met by 5 of 6 repeats" in together.notes


@pytest.mark.parametrize(("before", "late"), [(900, 0.4 * 0.99), (500, 0.4 * 0.998), (999, 0.0)])
def test_evaluations_that_are_seldom_are_noted(made, before, late):
    """The target was missed ``before``, and met an iteration later at the earliest."""
    folders = GRAPH.write(made), SGD.write(made)
    for folder, share, rows in zip(folders, (1.0, 0.6), ((99, 100), (before, 1000)), strict=True):
        for path in folder.glob("*/summary.json"):
            document = json.loads(path.read_text())
            document["previous_evaluation_s"] = share * document["time_to_target_s"]
            path.write_text(json.dumps(document))
            run = RunFolder(path.parent)
            for row in rows:
                run.append(Evaluation(row, row, 1e-3 * row, 1e-3 * row, 0.5, 0.5, 0.5, {}))
    together = compared(*folders)
    assert [each.late for each in together.studies] == pytest.approx([0.0, late])
    expected = "sgd, batches of 128: evaluations are seldom; up to 40% of its seconds may be after the target"
    assert together.notes == ([expected] if late else [])


def test_without_communication_nothing_is_said_of_more_than_one_core(made):
    folder = GRAPH.write(made)
    document = json.loads((folder / "study.json").read_text())
    for machine in document["machine"].values():
        machine["message_bytes"] = [4096]
    (folder / "study.json").write_text(json.dumps(document))
    together = compared(folder, SGD.write(made))
    assert together.crossings[0].verdict == "cannot be told"
    assert any("communication was not measured" in note for note in together.notes)


def test_of_disturbed_runs_no_verdict_is_made(made):
    folders = GRAPH.write(made), SGD.write(made)
    for path in folders[0].glob("graph-admm-p8-*/summary.json"):
        slowed = {"time_to_target_s": 900.0, "disturbed": True}
        path.write_text(json.dumps({**json.loads(path.read_text()), **slowed}))
    together = compared(*folders)
    assert together.crossings[0].verdict == "cannot be told"
    assert "other work took the cores of runs of graph-admm" in together.crossings[0].text
    assert any("graph-admm: other work" in note for note in together.notes)
    graph = line(together, "graph-admm")
    assert at(graph, 8)[1] == pytest.approx(100 * GRAPH.seconds(8), rel=0.2)  # the line does not go through them
    assert graph.measured_cores == 4
    (axes,) = together_figure(together, findings(*folders)).axes
    (pale,) = [points for points in axes.get_lines() if points.get_alpha() == 0.4]
    assert list(pale.get_xdata()) == [8]
    assert "disturbed" in pale.get_label()


# -- other machines, other rows


def test_on_another_machine_seconds_are_those_of_its_cores(made):
    folders = GRAPH.write(made), SGD.write(made)
    there = compared(*folders, machine=str(CRAY))
    assert there.machine == "cray-xc30"
    slower = 50.0 / load_machine(CRAY).processor.gflops_per_core
    middle = at(line(there, "graph-admm"), 100)[1]
    assert middle == pytest.approx(slower * seconds(GRAPH, 100), rel=1e-6)
    assert there.crossings[0].cores == compared(*folders).crossings[0].cores  # without messages it is the same


def test_other_rows_change_those_that_read_all_rows_and_say_so(made):
    together = compared(GRAPH.write(made), SGD.write(made), rows=30_000)
    assert together.rows == 30_000
    graph, sgd = line(together, "graph-admm"), line(together, "sgd")
    for cores in (1, 8, 10_000):  # also where fewer rows were measured
        assert at(graph, cores)[1] == pytest.approx(100 * (1e-3 + 1e-4 * 30_000 / cores), rel=1e-6)
        assert at(sgd, cores)[1] == pytest.approx(seconds(SGD, cores), rel=1e-6)
    assert (graph.measured_cores, sgd.measured_cores) == (0, 8)
    assert any("30,000 training rows" in note and "3,000" in note for note in together.notes)


def test_the_grid_has_every_small_count_and_misses_no_power_of_two():
    grid = grid_of(10_000)
    assert grid[:1024] == list(range(1, 1025))
    assert grid[-1] == 10_000
    assert {2048, 4096, 8192} <= set(grid)
    assert max(np.diff(grid) / grid[:-1]) <= 1
    assert all(b / a < 1.03 for a, b in zip(grid[1024:], grid[1025:], strict=False))
    assert grid_of(5) == [1, 2, 3, 4, 5]


# -- the figure, the table and the document


def test_the_figure_has_points_lines_bands_and_the_crossing(made):
    folders = GRAPH.write(made), SGD.write(made)
    together, results = compared(*folders), findings(*folders)
    figure = together_figure(together, results)
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    for word in ("graph-admm, measured here", "sgd, batches of 128, measured here"):
        assert word in labels
    assert sum("a band where it extrapolates" in label for label in labels) == 1  # said once, for both
    assert len(axes.collections) == 2  # the bands
    for band in axes.collections:
        assert band.get_paths()[0].vertices[:, 0].min() == 8  # from what was measured
        assert band.get_paths()[0].vertices[:, 0].max() == 10_000
    circle = next(line for line in axes.get_lines() if str(line.get_label()).startswith("crossing"))
    assert list(circle.get_xdata()) == [together.crossings[0].cores]
    assert axes.get_ylabel() == "seconds to test accuracy 0.9 (train_s)"
    low, high = axes.get_xlim()
    assert low < 1
    assert high > 10_000
    assert file_of(together, results) == made / "crossings-test-accuracy-0.9"


def test_a_crossing_that_cannot_be_told_has_no_bar(made):
    spread = Law("graph-admm", (30, 100, 2000), GRAPH.fixed, GRAPH.per_row)
    folders = spread.write(made), SGD.write(made)
    together = compared(*folders)
    (axes,) = together_figure(together, findings(*folders)).axes
    crossing = together.crossings[0]
    assert (crossing.verdict, crossing.high) == ("cannot be told", None)
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert list(lines["crossing that cannot be told"].get_xdata()) == [crossing.cores]
    assert not [line for line in axes.get_lines() if line.get_marker() == "|"]


def test_on_another_machine_all_is_a_band(made):
    folders = GRAPH.write(made), SGD.write(made)
    together = compared(*folders, machine=str(CRAY))
    (axes,) = together_figure(together, findings(*folders)).axes
    assert all(band.get_paths()[0].vertices[:, 0].min() == 1 for band in axes.collections)
    assert "model on cray-xc30" in axes.get_title(loc="left")


def test_two_methods_of_one_kind_have_two_colours(made):
    one = Law("sgd", (1000,), 1.2e-3, 1e-4, batch=128).write(made)
    two = Law("momentum", (900,), 1.2e-3, 1e-4, batch=128).write(made, method_kind="sgd")
    (axes,) = together_figure(compared(one, two), findings(one, two)).axes
    points = [line for line in axes.get_lines() if "measured here" in str(line.get_label())]
    assert len({line.get_color() for line in points}) == 2


def test_the_table_says_it_in_lines(made):
    half = Law("adam", (500, 600, None), 1.2e-3, 1e-4, batch=128)
    text = on_80_columns(together_table(compared(GRAPH.write(made), SGD.write(made), half.write(made))))
    flat = " ".join(text.split())
    for words in (
        "made: seconds to test accuracy 0.9, 3,000 rows, modelled on this machine",
        "graph-admm all 0.1 6/6 100 100 to 100 1.00",
        "adam 128 0.1 2/3 600 500 to never 1.00",
        "its 95 % interval (order statistics, n=6)",
        "the fewest and the most (n=3: no interval below 6)",
        "graph-admm overtakes sgd at",
        "note: adam, batches of 128: the target was met by 2 of 3 repeats",
    ):
        assert words in flat, text


def test_the_document_has_the_crossings_among_its_core_counts(made):
    together = compared(GRAPH.write(made), SGD.write(made))
    short, crossing = thinned(together), together.crossings[0]
    for before, after in zip(together.lines, short.lines, strict=True):
        assert len(after.cores) < 30
        assert {1, 2, 8, 10, 100, 1000, 10_000, crossing.cores} <= set(after.cores)
        assert [at(after, cores) for cores in after.cores] == [at(before, cores) for cores in after.cores]
