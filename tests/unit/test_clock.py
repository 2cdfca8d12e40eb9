"""The clock: phases nest and add up, and loading and evaluating are no training."""

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.runs import clock as module
from admmctl.runs.clock import OUTSIDE, Clock

# A tree of phases: a name, time before its inner phases, the inner phases, time after them.
names = st.sampled_from(["load", "evaluate", "solve", "gram", "other"])
trees = st.recursive(
    st.tuples(names, st.integers(0, 9), st.just([]), st.integers(0, 9)),
    lambda inner: st.tuples(names, st.integers(0, 9), st.lists(inner, max_size=3), st.integers(0, 9)),
    max_leaves=8,
)


class Seconds:
    """A time that passes only when told to, and the processor time of a process that runs when told to."""

    def __init__(self, monkeypatch, cpu=True):
        self.now, self.ran = 100, 7
        clocks = {"perf_counter": lambda: self.now}
        if cpu:
            clocks["process_time"] = lambda: self.ran
        monkeypatch.setattr(module, "time", SimpleNamespace(**clocks))

    def pass_by(self, seconds, of_them_running):
        self.now += seconds
        self.ran += of_them_running


@pytest.fixture
def seconds(monkeypatch):
    return Seconds(monkeypatch)


@given(trees=st.lists(trees, max_size=4), outside=st.integers(0, 9))
def test_phases_add_up_and_each_second_counts_once(trees, outside):
    own: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        seconds = Seconds(monkeypatch)
        clock = Clock()

        def spend(name, duration):
            seconds.now += duration
            own[name] = own.get(name, 0) + duration

        def visit(tree):
            name, before, inner, after = tree
            with clock.phase(name):
                spend(name, before)
                for child in inner:
                    visit(child)
                spend(name, after)

        for tree in trees:
            visit(tree)
            seconds.now += outside  # in no phase at all
        assert clock.seconds == own
        assert clock.train == sum(spent for name, spent in own.items() if name not in OUTSIDE)
        assert clock.wall == sum(own.values()) + outside * len(trees)


def test_train_excludes_loading_and_evaluating(seconds):
    clock = Clock()
    for name, duration in (("load", 50), ("solve", 3), ("evaluate", 70), ("product", 4)):
        with clock.phase(name):
            seconds.now += duration
    assert clock.train == 7
    assert clock.wall == 127


def test_an_evaluation_inside_a_phase_is_taken_from_it(seconds):
    clock = Clock()
    with clock.phase("other"):
        seconds.now += 2
        with clock.phase("evaluate"):
            seconds.now += 30
        seconds.now += 1
    assert clock.seconds == {"evaluate": 30, "other": 3}
    assert clock.train == 3


def test_a_phase_that_raises_is_counted(seconds):
    clock = Clock()

    def fail():
        with clock.phase("other"), clock.phase("solve"):
            seconds.now += 5
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert clock.seconds == {"solve": 5, "other": 0}
    with clock.phase("other"):
        seconds.now += 1
    assert clock.train == 6


def test_wall_starts_when_it_is_told(seconds):
    assert Clock(started=90).wall == 10
    assert Clock().wall == 0


# -- processor time


@given(trees=st.lists(trees, max_size=4), outside=st.integers(0, 9))
def test_processor_time_adds_up_by_phase_and_each_second_counts_once(trees, outside):
    own: dict[str, int] = {}
    running: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        seconds = Seconds(monkeypatch)
        clock = Clock(cpu=True)

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


def test_a_phase_that_raises_has_its_processor_time_counted(seconds):
    clock = Clock(cpu=True)

    def fail():
        with clock.phase("other"), clock.phase("solve"):
            seconds.pass_by(5, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with clock.phase("other"):
        seconds.pass_by(4, 3)
    assert clock.seconds == {"solve": 5, "other": 4}
    assert clock.cpu_seconds == {"solve": 2, "other": 3}


def test_unasked_for_processor_time_is_not_even_looked_at(monkeypatch):
    seconds = Seconds(monkeypatch, cpu=False)
    clock = Clock()
    with clock.phase("other"), clock.phase("solve"):
        seconds.now += 3
    assert clock.seconds == {"solve": 3, "other": 0}
    assert clock.cpu_seconds == {}


def test_a_sleeping_process_takes_time_but_no_processor():
    clock = Clock(cpu=True)
    with clock.phase("solve"):
        time.sleep(0.05)
    assert clock.seconds["solve"] >= 0.05
    assert clock.cpu_seconds["solve"] < 0.04
