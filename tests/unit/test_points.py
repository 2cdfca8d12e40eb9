"""What a scaling study says, from made-up runs: medians, misses, speed-up, warnings, and what is refused."""

import json
import math
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.studies import Study, machine

from admmctl.errors import UserError
from admmctl.files import to_json
from admmctl.studies import study as document
from admmctl.studies.points import summarise
from admmctl.studies.study import CoreCount


@pytest.fixture
def made(tmp_path: Path) -> Study:
    return Study(tmp_path / "results" / "made" / "scaling-admm-target-abc123", cores=(1, 2, 4))


def points(study: Study, machine: str | None = None) -> dict[int, CoreCount]:
    """The points by core count; all of the result has a form in JSON."""
    result = summarise(study.path, machine)
    text = to_json(result)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    return {point.cores: point for point in result.points}


def fixed(path: Path, **changes: Any) -> Study:
    """A study of ten iterations, without a target."""
    return Study(path, goal="iterations", iterations=10, target=None, **changes)


def warnings(study: Study, word: str) -> list[str]:
    return [warning for warning in summarise(study.path).warnings if word in warning]


def refusal(study: Study) -> str:
    with pytest.raises(UserError) as refused:
        summarise(study.path)
    assert refused.value.exit_code == 2
    return str(refused.value)


# -- medians and misses


def test_times_are_medians_and_every_one_is_kept(made):
    made.runs({1: [4.0, 40.0, 5.0], 2: [3.0, 2.0, 0.01]}, train_s=60.0)  # which is not the time to the target
    one, two = points(made).values()
    assert (one.median_s, sorted(one.seconds)) == (5.0, [4.0, 5.0, 40.0])
    assert (two.median_s, sorted(two.seconds)) == (2.0, [0.01, 2.0, 3.0])
    assert (two.speed_up, two.efficiency) == (2.5, 1.25)
    assert (one.speed_up, one.efficiency) == (1.0, 1.0)
    assert one.seconds_per_iteration == 0.5
    assert (one.runs, one.reached, one.rows, one.shared) == (3, 3, 3000, False)


def test_a_miss_is_infinity_and_is_counted(made):
    made.runs({1: [4.0, 4.0, 4.0], 2: [1.0, None, 2.0]})
    two = points(made)[2]
    assert (two.reached, two.runs, two.median_s) == (2, 3, 2.0)  # without the miss it were 1.5
    assert math.inf in two.seconds
    assert "2 cores: the target was reached 2/3 times" in summarise(made.path).warnings


def test_with_too_many_misses_there_is_no_speed_up(made):
    made.runs({1: [4.0, 4.0, 4.0], 2: [1.0, None, None], 4: [1.0, 1.0, None]})
    found = points(made)
    assert (found[2].median_s, found[2].reached) == (math.inf, 1)
    assert math.isnan(found[2].speed_up)
    assert math.isnan(found[2].efficiency)
    assert (found[4].speed_up, found[4].efficiency) == (4.0, 1.0)


@pytest.mark.parametrize(
    ("missed", "later"), [([None, None, 1.0], [1.0]), ([None], [1.0]), ([None, None], [None, None])]
)
def test_nothing_is_faster_than_a_smallest_count_that_missed(made, missed, later):
    made.runs({1: missed, 2: later, 4: [None]})
    for point in points(made).values():
        assert not math.isfinite(point.speed_up)
        assert json.loads(to_json(point))["efficiency"] is None
    assert warnings(made, "efficiency") == [], "of nothing it is not too good"


def test_a_number_of_iterations_is_timed_by_all_of_its_training(tmp_path):
    study = fixed(tmp_path / "s")
    for cores, time in ((1, 4.0), (2, 2.5)):
        study.run(cores, time, time_to_target_s=None, status="exhausted", target=None)
    one, two = points(study).values()
    assert (one.median_s, two.median_s, two.reached) == (4.0, 2.5, 1)
    assert summarise(study.path).warnings == []


@pytest.mark.parametrize("status", ["diverged", "exhausted"])
def test_a_run_that_ended_early_is_no_fast_run_of_many_iterations(tmp_path, status):
    study = fixed(tmp_path / "s")
    for cores in (1, 2):
        study.run(cores, 4.0, time_to_target_s=None, status="exhausted")
    study.run(2, 0.1, time_to_target_s=None, status=status, iterations=1)
    assert points(study)[2].median_s == math.inf  # of 4 and never; not 2.05


@settings(max_examples=12)
@given(
    st.lists(st.one_of(st.none(), st.floats(1e-4, 1e4)), min_size=1, max_size=7),
    st.lists(st.one_of(st.none(), st.floats(1e-4, 1e4)), min_size=1, max_size=7),
)
def test_no_run_can_be_left_out_without_a_trace(tmp_path_factory, ones, twos):
    study = Study(tmp_path_factory.mktemp("s") / "made").runs({1: ones, 2: twos})
    for point, times in zip(points(study).values(), (ones, twos), strict=True):
        ordered = sorted(math.inf if time is None else time for time in times)
        half = len(ordered) // 2
        middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
        assert point.median_s == pytest.approx(middle)
        assert sorted(point.seconds) == ordered
        assert (point.runs, point.reached) == (len(times), sum(time is not None for time in times))
    shutil.rmtree(study.path)


# -- speed-up and efficiency


def test_speed_up_is_counted_from_the_smallest_number_of_cores(made):
    made.runs({10: [1.0], 4: [3.0], 2: [4.0]})
    two, four, ten = points(made).values()
    assert ten.cores == 10  # in the order of numbers, not of folders
    assert (two.cores, two.speed_up, two.efficiency) == (2, 1.0, 1.0)
    assert four.speed_up == pytest.approx(4 / 3)
    assert four.efficiency == pytest.approx(2 / 3)


def test_weak_scaling_is_as_efficient_as_it_is_as_fast(tmp_path):
    study = fixed(tmp_path / "s", cores=(2, 8), weak=True)
    study.run(2, 4.0, rows_train=1000)
    study.run(8, 5.0, rows_train=4000)
    two, eight = points(study).values()
    assert (two.efficiency, two.speed_up) == (1.0, 1.0)
    assert eight.efficiency == pytest.approx(0.8)
    assert eight.speed_up == pytest.approx(3.2)
    ideal = summarise(study.path).curve.ideal
    assert ideal == pytest.approx([ideal[0]] * len(ideal))


# -- warnings


@pytest.mark.parametrize(("iterations", "warned"), [((100, 125), 0), ((100, 126), 1), ((126, 100), 1)])
def test_iterations_that_spread_by_more_than_a_quarter_are_warned_of(made, iterations, warned):
    for cores, number in zip((1, 2), iterations, strict=True):
        made.run(cores, 2.0 / cores, iterations=number)
    found = warnings(made, "iterations")
    assert len(found) == warned
    assert all("25%" in warning and "(100 to 126)" in warning for warning in found)
    assert [point.iterations for point in points(made).values()] == [[number] for number in iterations]


def test_the_spread_is_that_of_medians_and_a_fixed_number_of_iterations_has_none(made, tmp_path):
    for cores, iterations in ((1, (100, 100, 900)), (2, (110, 5, 110))):
        for number in iterations:
            made.run(cores, 2.0 / cores, iterations=number)
    study = fixed(tmp_path / "s")
    study.run(1, 2.0, iterations=10)
    study.run(2, 1.0, iterations=20)
    assert warnings(made, "") == warnings(study, "iterations") == []


@pytest.mark.parametrize(("seconds", "warned"), [(5.0 / 1.09, 0), (5.0 / 1.10001, 1), (5.0 / 1.3, 1)])
def test_an_efficiency_above_a_tenth_too_much_is_warned_of(made, seconds, warned):
    made.runs({1: [10.0], 2: [seconds]})
    found = warnings(made, "efficiency")
    assert len(found) == warned
    assert all(warning.startswith("2 cores: efficiency") and "110%" in warning for warning in found)


# -- ranks that share cores


def shared(took: float) -> dict[str, Any]:
    """cpu.csv of two ranks, the busiest of which computes for ``took`` seconds."""
    return {
        "load": (9.0, 9.0, 9.0),
        "product": (0.9 * took, 0.8 * took, 0.7 * took),
        "solve": (0.1 * took,) * 3,
        "reduce": (7.0, 7.0, 7.0),
        "evaluate": (5.0, 5.0, 5.0),
    }


def test_where_cores_are_shared_processor_time_counts_and_it_is_said(made):
    made.run(1, 4.0)
    made.run(2, 30.0, cpu=shared(2.0))
    made.run(4, None, cpu=shared(1.0))
    found = points(made)
    assert [point.shared for point in found.values()] == [False, True, True]
    assert found[2].median_s == pytest.approx(2.0)  # neither the 30 s of waiting, nor load, nor reductions
    assert found[2].speed_up == pytest.approx(2.0)
    assert found[4].median_s == math.inf
    warned = warnings(made, "shared")
    assert [warning.partition(" ")[0] for warning in warned] == ["2", "4"]
    assert "processor time, without communication" in warned[0]


def test_where_all_share_cores_nothing_is_said_of_communication(tmp_path):
    study = Study(tmp_path / "s", cores=(1,))
    study.run(1, 4.0)
    study.run(2, 30.0, cpu=shared(2.0))
    result = summarise(study.path)
    assert result.model.law is None
    assert result.curve.cores == [1.0]
    assert [left.communication for left in result.model.held_out] == [False]
    assert any("communication was not measured" in warning for warning in result.warnings)


def test_runs_that_shared_no_cores_leave_their_processor_time_too(made):
    made.run(1, 4.0, cpu=shared(1.0), shared_cores=False)
    made.run(2, 3.0, cpu=shared(2.0), shared_cores=True)
    one, two = points(made)[1], points(made)[2]
    assert (one.shared, one.median_s) == (False, 4.0)
    assert (two.shared, two.median_s) == (True, pytest.approx(2.0))


def test_the_model_is_fitted_to_processor_time_which_other_programs_do_not_change(tmp_path):
    models = []
    for name, factor in (("quiet", 1), ("busy", 3)):
        study = Study(tmp_path / name, cores=(1, 2))
        for cores in (1, 2):
            took = {"product": (4.0 / cores,) * 3, "solve": (0.4,) * 3, "reduce": (0.1,) * 3}
            study.run(cores, factor * 4.4 / cores, cpu=took, shared_cores=False)
        models.append(summarise(study.path).model)
    quiet, busy = models
    assert busy.seconds_per_row == pytest.approx(quiet.seconds_per_row)
    assert busy.seconds_solve == pytest.approx(quiet.seconds_solve)
    assert quiet.seconds_solve > 0


# -- runs of which other work took the cores


def test_disturbed_runs_are_left_out_where_others_were_not_and_it_is_said(made):
    made.runs({1: [4.0, 4.2], 2: [2.0]})
    made.run(2, 9.0, disturbed=True)
    made.run(2, None, disturbed=True)
    made.run(2, 2.2, disturbed=None)  # cannot be told
    point = points(made)[2]
    assert (point.runs, point.reached, point.seconds, point.disturbed) == (2, 2, [2.0, 2.2], False)
    assert point.speed_up == pytest.approx(4.1 / 2.1)
    assert warnings(made, "other work") == ["2 cores: 2 of 4 runs left out: other work took their cores"]


def test_of_disturbed_runs_alone_no_speed_up_is_told(made):
    made.runs({1: [4.0], 4: [1.0]})
    made.run(2, 9.0, disturbed=True)
    found = points(made)
    assert (found[2].disturbed, found[2].median_s) == (True, 9.0)
    assert math.isnan(found[2].speed_up)
    assert math.isnan(found[2].efficiency)
    assert found[4].speed_up == pytest.approx(4.0)
    (warning,) = warnings(made, "other work")
    assert warning.startswith("2 cores: other work took the cores in every run: its speed-up cannot be told")


def test_over_a_disturbed_smallest_number_of_cores_no_speed_up_is_told(made):
    made.run(1, 9.0, disturbed=True)
    made.runs({2: [2.0]})
    assert all(math.isnan(point.speed_up) for point in points(made).values())
    (warning,) = warnings(made, "other work")
    assert "no speed-up can be told" in warning


# -- the model


def test_the_model_lies_on_measurements_that_follow_it(made):
    # A tenth is fixed work, four hundredths are repeated: 1 + 9 / cores seconds of own work.
    for cores in (1, 2, 4):
        own = 1.0 + 9.0 / cores
        phases = {"product": (own,) * 3, "solve": (0.4,) * 3, **({"reduce": (1e-3,) * 3} if cores > 1 else {})}
        made.run(cores, own + 0.4, phases=phases)
    made.write({**made.document, "small": {"error": "too few rows"}})
    result = summarise(made.path)
    curve = dict(zip(result.curve.cores, result.curve.seconds, strict=True))
    assert max(curve) == 16
    for cores in (1, 2, 4):
        assert curve[cores] == pytest.approx(1.4 + 9.0 / cores, rel=0.01)
    assert result.model.seconds_per_row == pytest.approx(9.0 / 10 / 3000, rel=0.01)
    assert result.model.seconds_fixed == pytest.approx(0.1, rel=0.01)
    assert result.model.seconds_solve == pytest.approx(0.04)
    held_out = result.model.held_out
    assert [left.cores for left in held_out] == [2, 4]
    for left in held_out:
        assert abs(left.error) < 0.01
        assert left.measured_s == pytest.approx(1.4 + 9.0 / left.cores, rel=0.01)
    for part in range(5):
        parts = sum(getattr(result.curve, name)[part] for name in ("compute", "solve", "reduce"))
        assert result.curve.seconds[part] == pytest.approx(parts)
        assert result.curve.amdahl[part] <= result.curve.seconds[part] * (1 + 1e-9)
        assert result.curve.ideal[part] == pytest.approx(result.curve.seconds[0] / 2**part)


@pytest.mark.parametrize(("batch", "most"), [(100, 8), (5, 4)], ids=["", "no rank without a row"])
def test_the_model_counts_the_rows_of_a_batch_where_an_iteration_has_no_more(tmp_path, batch, most):
    study = Study(tmp_path / "s", batch=batch).runs({1: [2.0], 2: [1.0]})
    assert max(summarise(study.path).curve.cores) == most


def test_another_machine_has_a_curve_of_its_own(made):
    made.runs({1: [4.0], 2: [2.0]})
    assert summarise(made.path).machine is None
    result = summarise(made.path, "cray-xc30")
    there = result.machine
    assert there.name == "cray-xc30"
    assert there.source
    assert there.curve.cores[-1] <= 3000  # a rank needs a row
    assert there.curve.seconds[0] == pytest.approx(result.curve.seconds[0] * 50 / 38.4)


def test_a_machine_that_is_unknown_or_has_nothing_to_compare_with_is_refused(made, tmp_path):
    made.runs({1: [4.0], 2: [2.0]})
    with pytest.raises(UserError, match="unknown machine 'crey-xc30'; did you mean 'cray-xc30'"):
        summarise(made.path, "crey-xc30")
    other = Study(tmp_path / "s", cores=()).runs({1: [4.0], 2: [2.0]})
    with pytest.raises(UserError, match="no measurement of its machine"):
        summarise(other.path, "cray-xc30")


# -- what cannot be compared


def test_a_study_of_no_or_one_point_says_what_is_missing(made):
    assert "no run of this study has finished" in refusal(made)
    for status in ("failed", "interrupted"):
        made.run(1, None, status=status)
    assert "no run of this study has finished" in refusal(made)
    made.runs({2: [1.0, 2.0]})
    message = refusal(made)
    assert "2 core(s)" in message
    assert "one point" in message
    made.run(1, 4.0)
    assert list(points(made)) == [1, 2]


def test_runs_that_failed_or_were_interrupted_do_not_count(made):
    made.runs({1: [4.0], 2: [2.0]})
    made.run(2, None, status="interrupted")
    made.run(4, 0.1, status="failed")
    found = points(made)
    assert list(found) == [1, 2]
    assert (found[2].runs, found[2].median_s) == (1, 2.0)


def config(**changes: Any) -> dict[str, Any]:
    data = {"name": "swissroll", "rows": 4000}
    methods = {"admm": {"kind": "admm"}}
    return {"data": data, "network": {"layers": [10]}, "loss": "squared", "methods": methods, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "0ther"},
        {"config": config(data={"name": "higgs"})},
        {"config": config(network={"layers": [11]})},
        {"config": config(loss="hinge")},
        {"config": config(methods={"admm": {"kind": "admm", "beta": 2.0}})},
        {"config": config(data={"name": "swissroll", "rows": 800}), "rows_train": 600},
        {"config": config(data={"name": "swissroll", "rows": 4000, "classes": [1, 0]})},
    ],
    ids=["checksum", "dataset", "network", "loss", "method", "rows", "classes"],
)
def test_runs_of_something_else_are_refused_by_name(made, changes):
    made.run(1, 4.0, config=config())
    made.run(2, 2.0, config=config(), seed=7)
    made.run(4, 1.0, **{"config": config(), **changes})
    message = refusal(made)
    assert all(word in message for word in ("cannot be compared", "admm-p1-s0", "admm-p4-s0"))


def test_weak_scaling_may_have_other_rows_on_every_number_of_cores(tmp_path):
    study = fixed(tmp_path / "s", weak=True)
    for cores in (1, 2):
        data = {"name": "swissroll", "rows": 4000, "first": 1500 * cores, "test": 0.25}
        study.run(cores, 1.0, config=config(data=data), rows_train=1500 * cores)
    assert [point.rows for point in points(study).values()] == [1500, 3000]


# -- damage


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("summary.json", '{"status": "reached"}'),
        ("summary.json", '{"status": "reached", "ranks": "two", "iterations": null}'),
        ("phases.csv", ""),
        ("phases.csv", "phase,max_s,mean_s,min_s\nproduct,1.0"),
        ("phases.csv", "phase,max_s\nproduct,1.0\n"),
        ("phases.csv", "\0\0\0"),
        ("config.yaml", None),
        *product(("environment.json", "config.yaml"), ("", "{", "[]", '"text"', "\xff", "- [a", "5")),
    ],
)
def test_a_damaged_run_is_left_out(made, file, text):
    made.runs({1: [4.0], 2: [2.0], 4: [1.0]})
    path = made.path / "admm-p4-s0" / file
    path.write_text(text, encoding="latin-1") if text is not None else path.unlink()
    assert list(points(made)) == [1, 2]


KINDS = ['{"kind": "sweep"}', '{"kind": "scaling"}', '{"kind": "scaling", "machine": []}']


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", *KINDS])
def test_a_damaged_study_is_refused_in_words(made, text):
    made.runs({1: [4.0], 2: [2.0]})
    (made.path / "study.json").write_text(text, encoding="latin-1")
    message = refusal(made)
    assert "study.json" in message
    assert "remove the folder" in message


EXCHANGE = {"ranks": 1, "allreduce": [{"bytes": "x"}], "message_bytes": []}


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("machine", [], "machine"),
        ("machine", {"1": None}, "machine.1"),
        ("machine", {"1": EXCHANGE}, "machine.1.allreduce.0"),
        ("small", {"phases": 3}, "small"),
        ("goal", "fun", "goal"),
        ("target", "high", "target"),
        ("weak", None, "weak"),
        ("experiment", 3, "experiment"),
    ],
)
def test_a_study_of_wrong_types_is_refused_in_words(made, key, value, where):
    made.runs({1: [4.0], 2: [2.0]})
    made.write({**made.document, key: value})
    message = refusal(made)
    assert f"study.json does not describe a scaling study ({where}" in message
    assert "remove the folder" in message


def test_study_json_is_read_and_written_as_it_is(made):
    whole = {**made.document, "later": [1], "machine": {"1": machine(1, cpu="A processor"), "2": machine(2)}}
    made.write(whole)
    study = document.Study.read(made.path)
    assert study is not None
    study.write(made.path, pytest.fail)
    written = json.loads((made.path / "study.json").read_text())
    assert written == {
        **whole,
        "asked": {},
        "machine": {p: {"cores": 1, **m} for p, m in whole["machine"].items()},
    }
    old = {key: value for key, value in whole.items() if key != "small"}
    made.write(old)
    assert document.Study.read(made.path) == study.model_copy(update={"small": None})


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no scaling study: it has no study\.json"):
        summarise(tmp_path)


def test_other_files_in_the_folder_do_not_matter(made):
    made.runs({1: [4.0], 2: [2.0]})
    before = points(made)
    (made.path / "accuracy.png").write_bytes(b"png")
    (made.path / "notes").mkdir()
    (made.path / "notes" / "summary.json").write_text('{"status": "reached"}')
    assert points(made) == before


@pytest.mark.parametrize("small", [None, {"error": "needs more rows"}])
def test_a_study_without_its_small_iteration_is_fitted_to_its_runs(made, small):
    made.runs({1: [4.0], 2: [2.2]})
    made.write({**made.document, "small": small})
    assert [left.cores for left in summarise(made.path).model.held_out] == [2]
