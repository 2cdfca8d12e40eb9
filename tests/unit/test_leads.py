"""Who leads on how many cores: lines whose crossing is known in closed form, and what is never said of others."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admmctl.studies.leads import Crossing, crossings_of

CORES = list(range(1, 101))


@dataclass
class Made:
    """A line that a test makes up: seconds by cores, and a factor between it and its bounds."""

    method: str
    seconds: list[float]
    factor: float = 1.0
    known_cores: int = 100
    repeats: int = 6
    disturbed: bool = False

    @property
    def cores(self) -> list[int]:
        return CORES[: len(self.seconds)]

    @property
    def low(self) -> list[float]:
        return [value / self.factor for value in self.seconds]

    @property
    def high(self) -> list[float]:
        return [value * self.factor for value in self.seconds]


def divided(method: str, fixed: float, shared: float, factor: float = 1.0) -> Made:
    """Seconds of a part that every core repeats, and of one that cores share."""
    return Made(method, [fixed + shared / cores for cores in CORES], factor)


def only(one: Made, two: Made) -> Crossing:
    """The one verdict on two lines, which is the same in whatever order they are given."""
    found = crossings_of(one, two)
    assert found == crossings_of(two, one)
    assert len(found) == 1
    return found[0]


def test_a_crossing_that_is_known_in_closed_form_is_found():
    # 1 + 21 / p < 2 + 10.5 / p where p > 10.5
    crossing = only(divided("graph-admm", 1.0, 21.0), divided("sgd", 2.0, 10.5))
    assert crossing.verdict == "graph-admm overtakes sgd at 11 cores (11 to 11)"
    assert crossing.text == crossing.verdict
    assert (crossing.method, crossing.rival) == ("graph-admm", "sgd")
    assert (crossing.cores, crossing.low, crossing.high) == (11, 11, 11)


def test_its_interval_is_where_neither_leads_for_sure():
    # With f = 1.1^2 there is doubt where (1 + 21 / p) / f < 2 + 10.5 / p < f (1 + 21 / p).
    crossing = only(divided("graph-admm", 1.0, 21.0, 1.1), divided("sgd", 2.0, 10.5, 1.1))
    f = 1.1**2
    low, high = (21 / f - 10.5) / (2 - 1 / f), (21 * f - 10.5) / (2 - f)
    assert (crossing.low, crossing.cores, crossing.high) == (math.ceil(low), 11, math.ceil(high))
    assert crossing.verdict == f"graph-admm overtakes sgd at 11 cores ({math.ceil(low)} to {math.ceil(high)})"


@given(
    st.floats(0.1, 10),
    st.floats(0.1, 10),
    st.floats(0.1, 200),
    st.floats(0.1, 200),
    st.sampled_from([1.0, 1.05, 1.3]),
)
def test_what_is_said_for_sure_is_so_on_every_number_of_cores(fixed, other_fixed, shared, other_shared, factor):
    one, two = divided("one", fixed, shared, factor), divided("two", other_fixed, other_shared, factor)
    for crossing in crossings_of(one, two):
        method, rival = (one, two) if crossing.method == "one" else (two, one)
        surely_ahead = [a < b for a, b in zip(method.high, rival.low, strict=True)]
        surely_behind = [b < a for a, b in zip(method.low, rival.high, strict=True)]
        if crossing.verdict == "never":
            assert not any(surely_ahead)
            assert surely_behind[-1]
        elif crossing.verdict == "cannot be told":
            assert crossing.high is None
            assert not any(surely_ahead)
        else:
            assert crossing.low <= crossing.cores <= crossing.high
            assert surely_ahead[crossing.high - 1]
            assert all(surely_behind[: crossing.low - 1])
            assert not any(surely_ahead[: crossing.high - 1])
            assert method.seconds[crossing.cores - 1] < rival.seconds[crossing.cores - 1]


def test_who_is_behind_on_all_cores_never_overtakes():
    crossing = only(divided("lbfgs", 3.0, 30.0, 1.1), divided("sgd", 1.0, 10.0, 1.1))
    assert (crossing.method, crossing.rival, crossing.verdict) == ("lbfgs", "sgd", "never")
    assert (crossing.cores, crossing.low, crossing.high) == (None, None, None)
    assert crossing.text == "lbfgs never overtakes sgd, on up to 100 cores"


def test_a_lead_that_begins_late_says_so():
    # 1 + 10 / p against 2 + 10 / p: on few cores within 10 % of one another
    crossing = only(divided("adam", 2.0, 10.0, 1.1), divided("sgd", 1.0, 10.0, 1.1))
    assert crossing.verdict == "never"
    assert crossing.text.startswith("adam never overtakes sgd, on up to 100 cores; on fewer than ")


def test_who_missed_the_target_never_overtakes():
    crossing = only(Made("lbfgs", [math.inf] * 100), divided("sgd", 1.0, 10.0))
    assert crossing.verdict == "never"
    assert crossing.text == "lbfgs never overtakes sgd: it did not meet the target"


def test_a_crossing_within_errors_that_never_end_cannot_be_told():
    crossing = only(divided("graph-admm", 1.0, 32.0, 1.5), divided("sgd", 2.0, 4.0, 1.5))
    assert (crossing.method, crossing.verdict) == ("graph-admm", "cannot be told")
    assert crossing.cores == 29  # 28 / p < 1
    assert crossing.low == 7  # (1 + 32 / p) / 1.5^2 > 2 + 4 / p up to p = 6.57, and 1.5^2 > 2 for ever
    assert crossing.high is None
    assert "graph-admm overtakes sgd cannot be told: " in crossing.text


def test_two_lines_within_their_errors_cannot_be_told_apart():
    crossing = only(divided("adam", 1.0, 10.0, 1.5), divided("sgd", 1.1, 11.0, 1.5))
    assert (crossing.method, crossing.verdict) == ("sgd", "cannot be told")
    assert (crossing.cores, crossing.low, crossing.high) == (None, 1, None)
    assert "on no number of cores is either of them faster for sure" in crossing.text


def test_a_lead_that_errors_swallow_is_sure_only_so_far():
    grows = Made("sgd", [10.0 / cores for cores in CORES])
    rival = Made("adam", [20.0 / cores for cores in CORES])
    widening = [1.01**cores for cores in CORES]

    class Wider(Made):
        @property
        def low(self) -> list[float]:
            return [value / factor for value, factor in zip(self.seconds, widening, strict=True)]

        @property
        def high(self) -> list[float]:
            return [value * factor for value, factor in zip(self.seconds, widening, strict=True)]

    crossing = only(Wider("adam", rival.seconds), Wider("sgd", grows.seconds))
    sure = max(cores for cores in CORES if 1.01 ** (2 * cores) < 2)
    assert crossing.verdict == "cannot be told"
    assert (crossing.cores, crossing.low, crossing.high) == (None, sure + 1, None)
    assert f"sgd is faster for sure on up to {sure} cores" in crossing.text


def test_a_lead_that_changes_twice_is_two_crossings():
    falls = Made("sgd", [max(1.0, 20.0 / cores) for cores in CORES])
    valley = Made("graph-admm", [30.0 if cores < 10 else 0.5 if cores < 40 else 2.0 for cores in CORES])
    there, back = crossings_of(falls, valley)
    assert there.verdict == "graph-admm overtakes sgd at 10 cores (10 to 10)"
    assert back.verdict == "sgd overtakes graph-admm at 40 cores (40 to 40)"


def test_nothing_is_said_of_cores_between_which_communication_is_unknown():
    unknown = divided("graph-admm", 1.0, 21.0)
    unknown.known_cores = 1
    crossing = only(unknown, divided("sgd", 2.0, 10.5))
    assert crossing.verdict == "cannot be told"
    assert (crossing.cores, crossing.high) == (None, None)
    assert "not measured" in crossing.text


def test_nothing_is_said_for_sure_of_a_single_run():
    alone = divided("graph-admm", 1.0, 21.0)
    alone.repeats = 1
    crossing = only(alone, divided("sgd", 2.0, 10.5))
    assert (crossing.verdict, crossing.cores, crossing.low, crossing.high) == ("cannot be told", 11, 1, None)
    assert "the lines cross at 11 cores, but one run says nothing" in crossing.text


def test_nothing_is_said_for_sure_of_disturbed_runs():
    busy = divided("graph-admm", 1.0, 21.0)
    busy.disturbed = True
    crossing = only(busy, divided("sgd", 2.0, 10.5))
    assert (crossing.verdict, crossing.cores, crossing.low, crossing.high) == ("cannot be told", 11, 1, None)
    assert "other work took the cores of runs of graph-admm" in crossing.text


@pytest.mark.parametrize("cores", [1, 2])
def test_equal_lines_cannot_be_told_apart(cores):
    crossing = crossings_of(Made("one", [1.0] * cores), Made("two", [1.0] * cores))[0]
    assert crossing.verdict == "cannot be told"
