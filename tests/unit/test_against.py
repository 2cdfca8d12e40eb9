"""``bench --against`` on made-up measurements: when an iteration is slower, and what noise cannot do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from admmctl.studies.against import MEASURED, Against, against, held_against
from admmctl.studies.bench import Bench
from admmctl.studies.gate import Answer

SIX = (1.0, 1.02, 0.99, 1.01, 1.0, 1.03)
FILE = Path("old.json")


def measured(seconds: Any = SIX, rates: Any = None, **changes: Any) -> Bench:
    """A measurement of so many seconds an iteration, with the rate of a matrix product before each."""
    values = {
        "seconds_of_repeats": list(seconds),
        "gemm_gflops_of_repeats": [50.0] * len(seconds) if rates is None else rates,
        "seconds_per_iteration": float(np.median(seconds)),
        "phases": {"gram": 0.5, "solve": 0.0},
        "set_up_s": 0.1,
        "peak_rss_mb": 100.0,
        "gemm_gflops": 50.0,
        "memory_bandwidth_gbs": 5.0,
        "disturbed": False,
        "blas": ["openblas 1"],
    }
    return Bench.model_construct(**{**values, **changes})


def compared(now: Bench, then: Bench | None = None) -> Against:
    return against(now, then or measured(), FILE, 0.05)


def test_what_is_slower_in_seconds_and_in_matrix_products_fails():
    found = compared(measured([1.2 * each for each in SIX]))
    assert (found.verdict, found.failed) == (Answer.SLOWER, True)
    first, second = found.figures[:2]
    assert (first.ratio, second.ratio) == (pytest.approx(1.2), pytest.approx(1.2))
    assert first.ratio_low == pytest.approx(1.2 * 0.99 / 1.03)


def test_a_machine_that_is_slower_as_a_whole_fails_nothing():
    found = compared(measured([1.5 * each for each in SIX], rates=[50.0 / 1.5] * 6))
    assert (found.verdict, found.failed) == (Answer.NOT_SLOWER, False)


def test_a_faster_matrix_product_alone_fails_nothing():
    assert compared(measured(SIX, rates=[80.0] * 6)).verdict is Answer.NOT_SLOWER


def test_an_older_document_without_rates_is_told_by_seconds():
    found = compared(measured([1.2 * each for each in SIX]), measured(rates=[]))
    assert found.failed
    assert [figure.verdict for figure in found.figures].count(None) == len(found.figures) - 1


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        (measured(disturbed=True), measured([2.0] * 6), "when the file was written"),
        (measured(), measured([2.0] * 6, disturbed=True), "took the cores now"),
        (measured(SIX[:5]), measured([2.0] * 6), "the file has 5, now there are 6"),
        (measured(), measured([0.9, 2.0, 2.0, 2.0, 2.0, 2.0]), "more iterations"),
    ],
)
def test_where_it_cannot_be_told_it_passes_and_says_why(then, now, words):
    found = compared(now, then)
    assert (found.verdict, found.failed) == (Answer.UNTOLD, False)
    assert words in " ".join(found.notes)


def test_another_linear_algebra_is_named():
    assert "was openblas 1, and is openblas 2" in compared(measured(blas=["openblas 2"])).notes[0]


def test_what_was_slower_once_is_measured_again():
    slow, good = measured([1.2 * each for each in SIX]), measured()
    for order, often in (((slow, good), 2), ((good,), 1), ((slow,) * MEASURED, MEASURED)):
        said: list[str] = []
        left = iter(order)

        def measure(say: Any, left: Any = left) -> Bench:
            say("Allreduce")
            result: Bench = next(left)
            return result

        result, found = held_against(measure, measured(), FILE, 0.05, said.append)
        assert (found.measured, len(said)) == (often, often)
        assert result is order[-1]
        assert found.failed == (often == MEASURED)
        assert said[0] == "Allreduce"
        assert said[-1].startswith("again, ") == (often > 1)
