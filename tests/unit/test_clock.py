"""The clock: phases nest and add up, and loading and evaluating are no training."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ranks import on_ranks
from support.scripted import ScriptedMethod, loop

from admmctl.runs import clock as module
from admmctl.runs import disturbed
from admmctl.runs.clock import OUTSIDE, Clock, SavedClock, summarise_phases

# A tree of phases: a name, time before its inner phases, the inner phases, time after them.
names = st.sampled_from(["load", "evaluate", "solve", "gram", "other"])
trees = st.recursive(
    st.tuples(names, st.integers(0, 9), st.just([]), st.integers(0, 9)),
    lambda inner: st.tuples(names, st.integers(0, 9), st.lists(inner, max_size=3), st.integers(0, 9)),
    max_leaves=8,
)


class Seconds:
    """A time that passes only when told to, and the processor time of a process that runs when told to."""

    def __init__(self, monkeypatch):
        self.now, self.ran, self.looks = 100, 7, 0
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def cpu(self):
        self.looks += 1
        return self.ran

    def clock(self, **options):
        return Clock(cpu=self.cpu, **options)

    def pass_by(self, seconds, of_them_running):
        self.now += seconds
        self.ran += of_them_running


@pytest.fixture
def seconds(monkeypatch):
    return Seconds(monkeypatch)


@given(trees=st.lists(trees, max_size=4), outside=st.integers(0, 9))
def test_phases_add_up_and_each_second_counts_once(trees, outside):
    own: dict[str, int] = {}
    running: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        seconds = Seconds(monkeypatch)
        clock = seconds.clock()

        def spend(name, duration):
            # Of every phase another part: what waits does not run.
            ran = duration % (2 + len(name))
            seconds.pass_by(duration, ran)
            own[name] = own.get(name, 0) + duration
            running[name] = running.get(name, 0) + ran

        def visit(tree):
            name, before, inner, after = tree
            with clock.phase(name):
                spend(name, before)
                for child in inner:
                    visit(child)
                spend(name, after)

        for tree in trees:
            visit(tree)
            seconds.pass_by(outside, outside)  # in no phase at all
        assert clock.seconds == own
        assert clock.cpu_seconds == running
        assert clock.train == sum(spent for name, spent in own.items() if name not in OUTSIDE)
        assert clock.wall == sum(own.values()) + outside * len(trees)


def test_train_excludes_loading_and_evaluating(seconds):
    clock = Clock()
    for name, duration in (("load", 50), ("solve", 3), ("evaluate", 70), ("product", 4)):
        with clock.phase(name):
            seconds.now += duration
    assert clock.train == 7
    assert clock.wall == 127


def test_own_work_is_training_without_waiting_for_other_ranks(seconds):
    clock = seconds.clock()
    for name, duration, ran in (
        ("load", 50, 9),
        ("solve", 3, 1),
        ("reduce", 5, 5),
        ("evaluate", 9, 8),
        ("gram", 4, 4),
    ):
        with clock.phase(name):
            seconds.pass_by(duration, ran)
    assert clock.own == (7, 5)
    assert clock.work == (7, 5, 0)


def test_the_processor_time_is_read_seldom_and_no_wait_is_lost(seconds):
    clock = seconds.clock(read=100)
    before = seconds.looks
    with clock.phase("other"):
        for _ in range(50):
            with clock.phase("product"):
                seconds.pass_by(1, 1)
        with clock.phase("solve"):
            seconds.pass_by(200, 80)
        seconds.pass_by(1, 1)
    assert seconds.looks - before == 3  # at both ends, and after the long phase
    assert clock.seconds == {"other": 1, "product": 50, "solve": 200}
    assert clock.cpu_seconds == {"other": 1, "product": 50, "solve": 80}


def test_what_runs_outside_of_phases_is_in_none(seconds):
    clock = seconds.clock(read=100)
    for _ in range(3):
        seconds.pass_by(5, 1)
        with clock.phase("solve"):
            seconds.pass_by(2, 2)
    assert clock.cpu_seconds == clock.seconds == {"solve": 6}


def test_a_phase_that_raises_is_counted(seconds):
    clock = seconds.clock()

    def fail():
        with clock.phase("other"), clock.phase("solve"):
            seconds.pass_by(5, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert clock.seconds == {"solve": 5, "other": 0}
    with clock.phase("other"):
        seconds.pass_by(4, 3)
    assert clock.seconds == {"solve": 5, "other": 4}
    assert clock.cpu_seconds == {"solve": 2, "other": 3}


def test_wall_starts_when_it_is_told(seconds):
    assert Clock(started=90).wall == 10
    assert Clock().wall == 0


def test_a_sleeping_process_takes_time_but_no_processor():
    clock = Clock()
    with clock.phase("solve"):
        time.sleep(0.05)
    assert clock.seconds["solve"] >= 0.05
    assert clock.cpu_seconds["solve"] < clock.seconds["solve"]


def test_a_clock_goes_on_where_it_was():
    clock = Clock()
    with clock.phase("load"):
        pass
    with clock.phase("solve"):
        pass
    passed = clock.wall
    seconds = {"load": 1.0, "solve": 5.0, "evaluate": 2.0, "checkpoint": 0.5}
    cpu_seconds = {"load": 0.5, "solve": 4.0, "evaluate": 2.0, "checkpoint": 0.1}
    clock.resume({"seconds": seconds, "cpu_seconds": cpu_seconds, "wall": 10.0, "queued": 0.0})
    assert clock.train == 5.0
    assert 1.0 < clock.seconds["load"] < 1.0 + passed
    assert 10.0 < clock.wall < 10.0 + 10 * (passed + 1)
    assert clock.cpu_seconds["solve"] == 4.0
    assert clock.own == (5.0, 4.0)


def clock_that_waited(monkeypatch, seconds, waits):
    """A clock of a rank that trains, whose process has waited for cores as long as ``waits`` says."""
    monkeypatch.setattr(disturbed, "_queued", lambda: dict(waits))
    clock = seconds.clock()
    clock.begin_training()
    return clock


def test_waiting_for_a_core_counts_from_the_beginning_of_training_and_adds_up_over_processes(seconds, monkeypatch):
    waits = {"1": 5.0, "2": 1.0}
    clock = clock_that_waited(monkeypatch, seconds, waits)
    assert clock.queued == 0
    with clock.phase("solve"):
        seconds.pass_by(8, 5)
        waits |= {"1": 7.0, "3": 0.5}  # a thread begins
        del waits["2"]  # and another ends
    assert clock.work == (8, 5, 2.5)
    clock.end_training()
    waits["1"] = 50.0
    assert clock.work == (8, 5, 2.5)

    waits["1"] = 107.0
    later = clock_that_waited(monkeypatch, seconds, waits)
    waits["1"] = 108.0  # it reads its checkpoint
    later.resume(SavedClock(**{**clock.saved(), "queued": 2.5}))
    with later.phase("solve"):
        seconds.pass_by(2, 1)
        waits["1"] = 109.0
    assert later.work == (10, 6, 3.5)


def test_where_the_system_does_not_count_waiting_it_is_not_known(seconds, monkeypatch):
    clock = clock_that_waited(monkeypatch, seconds, {})
    assert clock.queued is None
    clock.end_training()
    assert clock.queued is None


def test_of_a_solver_in_a_thread_of_its_own_no_time_counts_twice(monkeypatch):
    """As SciPy's: the main thread waits in its phase while another one works in inner phases."""
    passed, ran = [100.0], {"main": 3.0, "solver": 1.0}
    now = ["main"]
    clocks = {"perf_counter": lambda: passed[0], "thread_time": lambda: ran[now[0]]}
    monkeypatch.setattr(module, "time", SimpleNamespace(**clocks))
    monkeypatch.setattr(module, "get_ident", lambda: 1 + (now[0] == "solver"))
    clock = Clock(cpu=module.CallingThread(), read=0.0)

    def work(duration, running):
        passed[0] += duration
        ran[now[0]] += running

    for _ in range(2):
        with clock.phase("other"):
            work(1.0, 0.5)
            now[0] = "solver"
            with clock.phase("gradient"):
                work(8.0, 6.0)
            now[0] = "main"
    assert clock.seconds == {"other": 2.0, "gradient": 16.0}
    assert clock.cpu_seconds == {"other": 2.0, "gradient": 12.0}  # of the change of threads nothing is known


@pytest.mark.parametrize("older", [{"cpu_seconds": {}}, {"cpu_seconds": {"load": 1}}, {"queued": None}])
def test_a_run_whose_earlier_part_is_not_known_says_so(older, seconds, monkeypatch):
    saved = {"seconds": {"load": 1, "solve": 5}, "cpu_seconds": {"load": 1, "solve": 5}, "wall": 9, "queued": 0.0}
    clock = clock_that_waited(monkeypatch, seconds, {"1": 1.0})
    clock.resume(SavedClock(**{**saved, **older}))
    with clock.phase("solve"):
        seconds.pass_by(2, 1)
    assert clock.work == (None if "cpu_seconds" in older else (7, 6, None))
    assert clock.saved()["cpu_seconds"] == ({} if clock.work is None else clock.cpu_seconds)


# --- over ranks


def test_a_phase_has_the_largest_the_mean_and_the_smallest_over_ranks():
    table = summarise_phases(
        [{"gradient": 1.0, "reduce": 3.0}, {"gradient": 2.0, "reduce": 2.0, "load": 4.0}], [6.0, 10.0]
    )
    assert table["gradient"] == (2.0, 1.5, 1.0)
    assert table["reduce"] == (3.0, 2.5, 2.0)
    assert table["load"] == (4.0, 2.0, 0.0)  # a rank without a phase spent nothing in it
    assert table["rest"] == (2.0, 2.0, 2.0)
    assert table["wall"] == (10.0, 8.0, 6.0)


class Together(ScriptedMethod):
    """A method whose ranks meet in every step, as those of any method do."""

    def step(self, state: int) -> int:
        with self.problem.clock.phase("reduce"):
            self.problem.comm.allreduce(np.zeros(1))
        return state + 1

    def init(self, problem: Any) -> int:
        self.problem = problem
        return 0


def test_ranks_that_wait_while_rank_0_records_do_not_train():
    # Measuring rule 1: train_s counts optimisation only; recording a row of the curve is outside.
    def work(comm: Any) -> float:
        comm.barrier = lambda: comm.allreduce(np.zeros(1))
        made, _ = loop(Together([{}]), comm=comm, iterations=5)
        made.clock = Clock()
        made.problem = replace(made.problem, clock=made.clock)
        made.listener.evaluated = lambda evaluation: time.sleep(0.05 * (comm.rank == 0))
        return made.run().train_s

    recording = 6 * 0.05
    assert max(on_ranks(2, work)) < recording / 2
