"""The cost model: its Allreduce against the algorithm itself, its fits against what they were made from."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.errors import ConfigError, UserError
from admmctl.launch import cluster as places
from admmctl.launch.cluster import load_machine, machines
from admmctl.studies.messages import ITEM, SHORT, Demand, Exchange, Law, counts, demand
from admmctl.studies.model import CostModel, Point, fit, held_out, on_machine

LAW = Law(alpha=2e-6, beta=3e-10, gamma=5e-10)


def sums(*sizes: int) -> dict[int, Demand]:
    """Of a method whose work on weights nobody counts: Allreduces of so many bytes."""
    return {1: Demand(0.0, tuple(("allreduce", size) for size in sizes))}


TRUE = CostModel(
    seconds_per_row=1e-6,
    seconds_fixed=2e-4,
    seconds_solve=3e-4,
    imbalance=0.1,
    contention=0.0,
    node_cores=1,
    demands=sums(400_000),
    law=LAW,
)
SIZES = [8, 256, 2048, 4096, 65_536, 1_000_000]
EXCHANGES = [Exchange(p, n, LAW.seconds(p, n)) for p in (2, 3, 4, 8) for n in SIZES]


def measured(cores: int, rows: int, model: CostModel = TRUE, *, shared: bool = False) -> Point:
    """What a study of ``model`` measures, free of noise. With ``shared`` cores reductions mean nothing."""
    mean = model.seconds_fixed + model.seconds_per_row * rows / cores
    reduce_s = None if cores == 1 or shared else model.communication(cores)
    return Point(cores, rows, model.compute(cores, rows), mean, model.seconds_solve, reduce_s)


def slower(point: Point, factor: float) -> Point:
    """The point where computation takes ``factor`` times as long."""
    return replace(point, compute_s=point.compute_s * factor, compute_mean_s=point.compute_mean_s * factor)


def strong(*cores: int, rows: int = 60_000, shared: bool = False) -> list[Point]:
    return [measured(p, rows, shared=shared) for p in cores]


def numbers(model: CostModel) -> list[float]:
    law = [] if model.law is None else [model.law.alpha, model.law.beta, model.law.gamma]
    costs = (model.seconds_per_row, model.seconds_fixed, model.seconds_solve, model.imbalance)
    return [*costs, *law]


def near(model: CostModel, **changes: object) -> bool:
    """Whether a model is TRUE, but for the fields in ``changes``."""
    return numbers(model) == pytest.approx(numbers(replace(TRUE, **changes)), rel=1e-6, abs=0)


# -- the law of an Allreduce


@pytest.mark.parametrize(
    ("cores", "bytes", "messages", "sent", "summed"),
    [
        (1, 4_000_000, 0, 0, 0),
        (2, 0, 0, 0, 0),
        # short: log2 p times the whole message, there and summed
        (1024, 400, 10, 4000, 4000),
        # long: half, quarter, ... there, and back
        (8, 8000, 6, 14000, 7000),
        # no power of two: one more message each way, one more sum
        (7, 400, 4, 1600, 1200),
        (6, 4000, 6, 14000, 7000),
        # the last short one, and the first long one
        (2, 2048, 1, 2048, 2048),
        (2, 2052, 2, 2052, 1026),
        # 2,500 numbers for 4,096 ranks: whole messages again; 4,096 can be divided among them
        (4096, 10_000, 12, 120_000, 120_000),
        (4096, 16_384, 24, 32_760, 16_380),
        (10_000, 32_764, 15, 15 * 32_764, 14 * 32_764),
    ],
)
def test_an_allreduce_sends_and_sums_what_is_counted_by_hand(cores, bytes, messages, sent, summed):
    assert counts(cores, bytes) == (messages, sent, summed)
    assert LAW.seconds(cores, bytes) == pytest.approx(2e-6 * messages + 3e-10 * sent + 5e-10 * summed)


class Ranks:
    """Ranks that run MPICH's Allreduce on real numbers, each with its own clock."""

    def __init__(self, cores: int, items: int) -> None:
        self.data = np.random.default_rng(cores).integers(0, 100, size=(cores, items)).astype(float)
        self.clock = np.zeros(cores)

    def send(self, messages: list[tuple[int, int, slice]], add: bool) -> None:
        """Messages (source, target, part) that are sent at the same time; ``add``: the target adds up."""
        data, clock = self.data.copy(), self.clock.copy()
        for source, target, part in messages:
            self.data[target, part] = data[source, part] + add * data[target, part]
            bytes = ITEM * len(data[source, part])
            seconds = LAW.alpha + LAW.beta * bytes + LAW.gamma * bytes * add
            self.clock[target] = max(clock[source], clock[target]) + seconds

    def allreduce(self, short: bool) -> float:
        """The seconds that it takes; long messages are halved on the way there and joined on the way back."""
        cores, items = self.data.shape
        total = self.data.sum(axis=0)
        power = 1 << (cores.bit_length() - 1)
        extra, whole = cores - power, slice(0, items)
        self.send([(2 * i, 2 * i + 1, whole) for i in range(extra)], add=True)
        active = [2 * i + 1 if i < extra else i + extra for i in range(power)]
        parts = [whole] * power
        masks = [1 << k for k in range(power.bit_length() - 1)]
        for mask in masks:
            if not short:
                middles = [(part.start + part.stop) // 2 for part in parts]
                parts = [
                    slice(middle, part.stop) if i & mask else slice(part.start, middle)
                    for i, (part, middle) in enumerate(zip(parts, middles, strict=True))
                ]
            self.send([(active[i ^ mask], active[i], parts[i]) for i in range(power)], add=True)
        for mask in [] if short else reversed(masks):
            self.send([(active[i ^ mask], active[i], parts[i ^ mask]) for i in range(power)], add=False)
            others = [parts[i ^ mask] for i in range(power)]
            parts = [
                slice(min(one.start, other.start), max(one.stop, other.stop))
                for one, other in zip(parts, others, strict=True)
            ]
        self.send([(2 * i + 1, 2 * i, whole) for i in range(extra)], add=False)
        assert (self.data == total).all()
        return float(self.clock.max())


@pytest.mark.parametrize("items", [64, SHORT // ITEM, 1024, 4096])
@pytest.mark.parametrize("cores", [1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 31, 32, 33])
def test_the_law_takes_as_long_as_the_algorithm(cores, items):
    took = Ranks(cores, items).allreduce(short=items * ITEM <= SHORT)
    assert LAW.seconds(cores, items * ITEM) == pytest.approx(took)


# -- fits


@pytest.mark.parametrize("cores", [(1, 2), (1, 2, 4), (2, 3, 5, 8), (8, 2, 4), (1, 7, 500, 9999)])
def test_a_fit_finds_the_model_that_made_the_measurements(cores):
    assert near(fit(strong(*cores), EXCHANGES, sums(400_000)))


def test_a_row_more_in_the_largest_share_is_no_imbalance():
    points = [measured(p, 100, replace(TRUE, imbalance=0.0)) for p in (1, 3, 7, 40)]
    assert points[-1].compute_s > 1.0002 * points[-1].compute_mean_s  # 3 rows of 2.5
    model = fit(points, EXCHANGES, sums(400_000))
    assert model.imbalance == pytest.approx(0, abs=1e-9)
    assert model.compute(40, 100) == pytest.approx(points[-1].compute_s)


@given(
    noise=st.lists(st.floats(-0.03, 0.03), min_size=5, max_size=5),
    row_s=st.floats(1e-9, 1e-3),
    fixed_s=st.floats(0, 1e-2),
)
def test_with_noise_no_other_rates_are_nearer_and_predictions_stay_within_it(noise, row_s, fixed_s):
    made = replace(TRUE, seconds_per_row=row_s, seconds_fixed=fixed_s, imbalance=0.0)
    exact = [measured(p, 64_000, made) for p in (1, 2, 4, 8, 16)]
    noisy = [slower(point, 1 + e) for point, e in zip(exact, noise, strict=True)]
    model = replace(fit(noisy, [], sums()), imbalance=0.0)
    assert model.seconds_per_row >= 0
    assert model.seconds_fixed >= 0

    def distance(found: CostModel) -> float:
        return sum((found.compute(p.cores, p.rows) / p.compute_mean_s - 1) ** 2 for p in noisy)

    nearest = distance(model)
    for row, fixed in ((1, 1), (1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)):
        rival = replace(
            model, seconds_per_row=model.seconds_per_row * row, seconds_fixed=model.seconds_fixed * fixed
        )
        assert nearest <= distance(rival) + 1e-12
    assert nearest <= distance(replace(made, imbalance=0.0)) + 1e-12
    for point in exact:
        assert model.compute(point.cores, point.rows) == pytest.approx(point.compute_s, rel=0.1)


def test_times_are_never_negative():
    # Faster than linear, as caches make it: a straight line would want a negative time at zero rows.
    points = [Point(p, 8000, s, s, 0.0, None) for p, s in ((1, 8.0), (2, 3.5), (4, 1.5), (8, 0.6))]
    model = fit(points, [Exchange(2, 8, 2e-6), Exchange(2, 1_000_000, 1e-6)], sums(8))
    assert model.seconds_fixed == 0
    assert model.seconds_per_row > 0
    assert model.law is not None
    assert min(vars(model.law).values()) >= 0


def test_imbalance_is_the_median_over_more_than_one_core():
    measurements = [(1, 4.0, 0.9), (2, 2.0, 0.1), (4, 1.0, 0.3), (8, 0.5, 0.2)]
    points = [Point(p, 64_000, mean * (1 + i), mean, 0.0, None) for p, mean, i in measurements]
    model = fit(points, [], sums())
    assert model.imbalance == pytest.approx(0.2)
    assert model.compute(1, 64_000) == pytest.approx(4.0)  # one rank waits for nobody
    assert model.compute(4, 64_000) == pytest.approx(1.2)


@pytest.mark.parametrize(("cores", "busiest_s"), [(1, 2.0), (2, 0.9)])
def test_imbalance_is_never_negative_and_none_on_one_core(cores, busiest_s):
    assert fit([Point(cores, 10, busiest_s, 1.0, 0.0, None)], [], sums()).imbalance == 0


def test_solves_are_the_median():
    points = [replace(p, solve_s=s) for p, s in zip(strong(1, 2, 4), (1.0, 9.0, 2.0), strict=True)]
    assert fit(points, EXCHANGES, sums(400_000)).seconds_solve == 2.0


def test_weak_scaling_is_fitted_and_predicted_by_the_same_functions():
    points = [measured(p, 1000 * p) for p in (1, 2, 4)]
    model = fit(points, EXCHANGES, sums(400_000))
    assert model.seconds_fixed == 0  # one share: nothing tells fixed costs from those of rows
    assert model.seconds_per_row == pytest.approx(1.2e-6)
    for point in points:
        assert model.seconds(point.cores, point.rows) == pytest.approx(TRUE.seconds(point.cores, point.rows))
    assert model.compute(1000, 1_000_000) == pytest.approx(TRUE.compute(1000, 1_000_000))
    assert all(abs(found.error) < 1e-9 for found in held_out(points, EXCHANGES, sums(400_000)))


def test_shares_that_differ_by_a_hair_do_not_invent_fixed_costs():
    points = [Point(1, 1000, 1.00e-3, 1.00e-3, 0.0, None), Point(2, 2040, 1.03e-3, 1.00e-3, 0.0, None)]
    assert fit(points, [], sums()).seconds_fixed == 0


# -- the law from measurements


def test_long_messages_alone_fold_the_sums_into_the_bytes():
    long = [Exchange(p, n, LAW.seconds(p, n)) for p in (2, 3, 4) for n in (10_000, 100_000, 1_000_000)]
    law = fit(strong(1), long, sums(400_000)).law
    assert law is not None
    assert law.gamma == 0
    assert law.alpha == pytest.approx(LAW.alpha)
    assert law.beta == pytest.approx(LAW.beta + LAW.gamma / 2)  # every byte sent twice, summed once
    assert law.seconds(500, 400_000) == pytest.approx(LAW.seconds(500, 400_000))


@pytest.mark.parametrize(("bytes", "latency"), [(8, True), (1_000_000, False)])
def test_one_size_alone_is_latency_if_short_and_bytes_if_long(bytes, latency):
    law = fit(strong(1), [Exchange(2, bytes, LAW.seconds(2, bytes))], sums(bytes)).law
    assert law is not None
    assert (law.alpha > 0, law.beta > 0, law.gamma > 0) == (latency, not latency, False)
    assert law.seconds(2, bytes) == pytest.approx(LAW.seconds(2, bytes))


def test_reductions_of_runs_tell_the_law_too():
    model = fit(strong(1, 2, 4, 8), [], sums(400_000))
    for p in (2, 4, 8):
        assert model.communication(p) == pytest.approx(TRUE.communication(p))
    several = [replace(p, reduce_s=LAW.seconds(p.cores, 80) + LAW.seconds(p.cores, 400_000)) for p in strong(2, 4)]
    model = fit(several, [], sums(80, 400_000))
    assert model.communication(4) == pytest.approx(several[1].reduce_s)


def test_measurements_that_say_nothing_change_nothing():
    silent = [(1, 400_000, 1e-7), (4, 0, 1e-6), (2, 400_000, 0.0), (2, 8, math.nan)]
    nothing = [Exchange(*each) for each in silent]
    assert near(fit(strong(1, 2), [*EXCHANGES, *nothing], sums(400_000)))
    assert fit(strong(1, 2, shared=True), nothing, sums(400_000)).law is None


def test_without_a_measured_allreduce_one_core_only_can_be_predicted():
    model = fit(strong(1, 2, shared=True), [], sums(400_000))
    assert near(model, law=None)
    assert model.seconds(1, 60_000) == pytest.approx(TRUE.seconds(1, 60_000))
    for ask in (model.seconds, model.parts):
        with pytest.raises(UserError, match=r"on 2 cores is unknown: no Allreduce was measured.*machine"):
            ask(2, 60_000)
    assert fit(strong(1, 2, shared=True), [], sums()).parts(2, 60_000)["reduce"] == 0  # nothing to exchange


# -- held out


def test_every_core_count_but_the_smallest_is_held_out():
    points = strong(4, 1, 2)
    slow = slower(points[0], 2)
    at_2, at_4 = held_out([slow, *points[1:]], EXCHANGES, sums(400_000))
    assert (at_2.cores, at_4.cores) == (2, 4)
    # 4 is predicted from the others, so right; it was measured too slow
    assert at_4.predicted_s == pytest.approx(TRUE.seconds(4, 60_000))
    assert at_4.measured_s == pytest.approx(TRUE.seconds(4, 60_000) + TRUE.compute(4, 60_000))
    assert at_4.error == pytest.approx(at_4.predicted_s / at_4.measured_s - 1)
    assert at_4.error < -0.3
    assert at_2.error > 0.01  # the slow one is part of this fit
    assert at_4.communication


def test_with_two_core_counts_the_larger_is_predicted_from_the_smaller():
    (found,) = held_out(strong(1, 2), EXCHANGES, sums(400_000))
    alone = TRUE.compute(1, 60_000) / 60_000
    assert found.cores == 2
    assert found.predicted_s == pytest.approx(alone * 30_000 + TRUE.seconds_solve + LAW.seconds(2, 400_000))


@pytest.mark.parametrize(("shared", "exchanges"), [(True, EXCHANGES), (True, []), (False, [])])
def test_unknown_reductions_are_in_neither_number(shared, exchanges):
    (found,) = held_out(strong(1, 2, shared=shared), exchanges, sums(400_000))
    assert not found.communication
    assert found.measured_s == pytest.approx(TRUE.compute(2, 60_000) + TRUE.seconds_solve)
    assert found.predicted_s == pytest.approx(
        (TRUE.seconds_fixed / 60_000 + TRUE.seconds_per_row) * 30_000 + TRUE.seconds_solve
    )


@pytest.mark.parametrize("points", [[], strong(2), strong(2, 2)])
def test_one_core_count_has_nothing_to_hold_out(points):
    with pytest.raises(UserError, match=r"nothing can be held out of [01] core count.*at least two"):
        held_out(points, EXCHANGES, sums(400_000))


def test_no_points_cannot_be_fitted():
    with pytest.raises(UserError, match="no run was measured"):
        fit([], EXCHANGES, sums(400_000))


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("key", ["compute_s", "compute_mean_s"])
def test_points_without_a_time_are_refused(key, seconds):
    points = strong(1, 2, 4)
    points[1] = replace(points[1], **{key: seconds})
    with pytest.raises(UserError, match="2 cores have no time of computation"):
        fit(points, EXCHANGES, sums(400_000))


# -- predictions and bounds


@pytest.mark.parametrize(
    ("verb", "cores", "bytes", "messages", "sent", "summed"),
    [
        ("reduce_scatter", 2, 1000, 1, 500, 500),
        ("reduce_scatter", 5, 1000, 3, 800, 800),
        ("reduce_scatter", 5, 1_000_000, 4, 800_000, 800_000),  # long: a piece to each of the others
        ("allgather", 8, 400_000, 3, 350_000, 0),
        ("allgather", 6, 60_000, 3, 50_000, 0),
        ("allgather", 6, 120_000, 5, 100_000, 0),  # no power of two, and not short: round a ring
        ("allgather", 64, 1 << 20, 63, (1 << 20) * 63 / 64, 0),
        ("reduce", 4, 16_384, 4, 24_576, 12_288),  # no more than an Allreduce
    ],
)
def test_pieces_send_what_is_counted_by_hand(verb, cores, bytes, messages, sent, summed):
    assert counts(cores, bytes, verb) == (messages, sent, summed)
    assert counts(1, bytes, verb) == (0, 0, 0)


def test_what_an_iteration_asks_lies_between_the_numbers_of_ranks_that_are_known():
    known = {1: Demand(800.0, (("reduce", 9),)), 4: Demand(200.0, (("allgather", 7),)), 8: Demand(110.0, ())}
    assert demand(known, 4) == known[4]
    assert demand(known, 2) == Demand(pytest.approx(400.0), (("reduce", 9),))
    assert demand(known, 6).messages == (("allgather", 7),)
    assert demand(known, 100) == known[8]
    assert demand({}, 3) == Demand(0.0, ())


def test_work_on_weights_shrinks_as_the_method_counts_it():
    asked = {1: Demand(100.0, ()), 2: Demand(60.0, ()), 4: Demand(40.0, ())}
    true = replace(TRUE, demands=asked, law=None)
    points = [replace(measured(p, 60_000, true, shared=True), solve_s=true.solve(p)) for p in (1, 2, 4)]
    model = fit(points, [], asked)
    assert model.seconds_solve == pytest.approx(3e-4)
    assert [model.solve(p) for p in (1, 2, 4)] == pytest.approx([3e-4, 1.8e-4, 1.2e-4])
    assert all(abs(found.error) < 1e-9 for found in held_out(points, [], asked))


def test_ranks_of_a_node_slow_each_other_down_and_no_more_than_a_full_one():
    true = replace(TRUE, contention=0.2, node_cores=5)
    assert [true.sharing(p) for p in (1, 3, 5, 50)] == pytest.approx([1, 1.1, 1.2, 1.2])
    points = [
        replace(point, compute_mean_s=point.compute_mean_s * true.sharing(point.cores))
        for point in (measured(p, 60_000, true) for p in (1, 2, 5, 10))
    ]
    model = fit(points, EXCHANGES, sums(400_000), 0.2, 5)
    assert numbers(model) == pytest.approx(numbers(TRUE))


def test_the_parts_are_the_seconds_and_the_bounds_are_as_by_hand():
    parts = TRUE.parts(3, 100)
    assert parts == pytest.approx(
        {"compute": (2e-4 + 34e-6) * 1.1, "solve": 3e-4, "reduce": LAW.seconds(3, 400_000)}
    )
    assert TRUE.seconds(3, 100) == pytest.approx(sum(parts.values()))
    assert TRUE.amdahl(4, 60_000) == pytest.approx(2e-4 + 0.06 / 4 + 3e-4)
    two = replace(TRUE, demands=sums(400_000, 16))
    assert two.communication(3) == pytest.approx(LAW.seconds(3, 400_000) + LAW.seconds(3, 16))


@pytest.mark.parametrize("model", [TRUE, on_machine(TRUE, load_machine("cray-xc30"), here_gflops=100.0)])
@given(cores=st.integers(1, 20_000), rows=st.integers(1, 10**8), imbalance=st.floats(0, 2))
def test_nothing_beats_its_bounds(model, cores, rows, imbalance):
    model = replace(model, imbalance=imbalance)
    seconds = model.seconds(cores, rows) * (1 + 1e-12)
    assert 0 < seconds < math.inf
    assert seconds >= model.amdahl(cores, rows)
    assert seconds >= model.communication(cores) + model.seconds_solve


# -- machines

TEXT = """\
name: two-boards
title: Two boards
source: [measured]
cores: 8
processor: {cores_per_node: 4, memory_per_node_gb: 2, gflops_per_core: 20.0}
network:
  latency_s: 1.0e-4
  seconds_per_byte: 1e-8
  seconds_per_byte_summed: 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "two-boards.yaml").write_text(TEXT)
    return tmp_path / "two-boards.yaml"


def test_another_machine_rescales_work_and_brings_its_own_law(file):
    there = on_machine(replace(TRUE, law=None), load_machine(file), here_gflops=50.0)  # 2.5 times slower
    assert numbers(there) == pytest.approx([2.5e-6, 5e-4, 7.5e-4, 0.1, 1e-4, 1e-8, 0.0])
    assert there.seconds(4, 1000) == pytest.approx(
        (5e-4 + 250 * 2.5e-6) * 1.1 + 7.5e-4 + 4e-4 + 1.5 * 400_000 * 1e-8
    )


@pytest.mark.parametrize("peak", [0.0, -3.0, math.nan, math.inf])
def test_a_peak_that_is_none_is_refused(file, peak):
    with pytest.raises(UserError, match="the peak of a core here"):
        on_machine(TRUE, load_machine(file), peak)


@pytest.mark.parametrize(
    ("old", "new", "line", "texts"),
    [
        ("latency_s", "latency", 7, ["unknown key 'latency'", "did you mean 'latency_s'"]),
        ("latency_s: 1.0e-4", "latency_s: -1", 7, ["network.latency_s", "above 0", "-1"]),
        ("latency_s: 1.0e-4", "latency_s: .nan", 7, ["network.latency_s", "nan"]),
        ("seconds_per_byte: 1e-8", "seconds_per_byte: 0", 8, ["network.seconds_per_byte", "above 0"]),
        ("summed: 0", "summed: -1", 9, ["network.seconds_per_byte_summed", "0 or more"]),
        ("cores: 8", "cores: 8.5", 4, ["cores", "whole number"]),
        ("cores: 8", "cores: 0", 4, ["cores", "1 or more"]),
        ("  seconds_per_byte: 1e-8\n", "", 6, ["network.seconds_per_byte", "is missing"]),
        ("gflops_per_core: 20.0", "gflops_per_core: 0", 5, ["processor.gflops_per_core", "above 0"]),
        ("cores_per_node: 4", "cores_per_node: 0", 5, ["processor.cores_per_node", "1 or more"]),
        ("memory_per_node_gb: 2", "memory_per_node_gb: 0", 5, ["processor.memory_per_node_gb", "above 0"]),
        ("source: [measured]", "source: []", 3, ["source", "at least 1"]),
        ("source: [measured]", "source: measured", 3, ["source", "expected a list"]),
        ("name: two-boards", "name: two boards", 1, ["name", "letters, digits"]),
        ("title: Two boards", "title: 2", 2, ["title", "expected a word"]),
    ],
)
def test_what_is_wrong_with_a_machine_is_said_with_its_line(file, old, new, line, texts):
    assert TEXT.count(old) == 1
    file.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load_machine(file)
    found = [text for text in str(refused.value).splitlines() if all(word in text for word in texts)]
    assert found, str(refused.value)
    assert any(f"two-boards.yaml:{line}:" in text for text in found), found


def test_a_file_that_is_not_there_is_named_with_those_that_are(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    for missing in ("one.yaml", file.with_name("one.yaml"), file.with_name("one")):
        with pytest.raises(ConfigError, match=r"one.*there is no such file; there is: .*two-boards\.yaml"):
            load_machine(missing)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UserError, match=r"unknown machine 'cray-xc3O'; did you mean 'cray-xc30'\? valid: .*path"):
        load_machine("cray-xc3O")


def test_an_installed_package_without_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "FOLDERS", (tmp_path / "nowhere",))
    with pytest.raises(UserError, match="no configs/clusters folder here; give the path"):
        load_machine("cray-xc30")


def test_a_name_is_looked_up_here_first_and_then_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_machine("cray-xc30").processor.gflops_per_core == 38.4
    own = tmp_path / "configs" / "clusters"
    own.mkdir(parents=True)
    (own / "cray-xc30.yaml").write_text(TEXT)
    (own / "small.yaml").write_text(TEXT)
    assert load_machine("cray-xc30").name == "two-boards"
    assert load_machine("small").cores == 8
    assert set(machines()) >= {"cray-xc30", "small"}
    (tmp_path / "small").write_text(TEXT.replace("cores: 8", "cores: 9"))  # a path comes before a name
    assert load_machine("small").cores == 9


def test_every_machine_that_is_shipped_is_valid_and_called_like_its_file():
    assert {"cray-xc30", "slurm"} <= set(machines())
    for name in machines():
        cluster = places.load_cluster(name)
        assert cluster.name == name
        if cluster.processor is not None:
            load_machine(name)
        else:  # a place to start jobs
            with pytest.raises(ConfigError, match="processor: is missing"):
                load_machine(name)


def test_the_cray_is_as_published():
    cray = load_machine("cray-xc30")
    assert cray.cores == 5576 * 24 >= 10_000
    assert cray.processor.gflops_per_core == pytest.approx(2.4 * 16)
    # one rank's bandwidth lies between a 24th of a node's 8 GB/s and all of it
    assert 1 / 8e9 < cray.network.seconds_per_byte < 24 / 8e9
    assert 0.25e-6 <= cray.network.latency_s <= 3.7e-6
    assert any("nersc.gov" in source for source in cray.source)
