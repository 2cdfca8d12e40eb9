"""``bench --against FILE``: an iteration now, and as an earlier ``bench --json`` measured it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from admmctl.data.catalog import datasets
from admmctl.errors import UserError
from admmctl.experiment.config import Run
from admmctl.runs import environment
from admmctl.runs.bench import GEMM_SIZE
from admmctl.runs.build import shape_network
from admmctl.runs.reading import Damaged, read_mapping
from admmctl.studies.bench import Bench
from admmctl.studies.gate import Answer, Ratio, ratio_of_medians
from admmctl.studies.statistics import MINIMUM, median

MEASURED = 3  # times at most: what is slower has to be so every time
Say = Callable[[str], None]
Measure = Callable[[Say], Bench]
_PRODUCT = 2 * GEMM_SIZE**3 / 1e9  # GFLOP of the matrix product that measures the peak


@dataclass(frozen=True)
class Figure:
    """One figure, then and now; ``ratio`` is now / then. Those with bounds are the ones that count."""

    name: str
    unit: str
    old: float
    new: float
    ratio: float
    ratio_low: float | None = None
    ratio_high: float | None = None
    verdict: Answer | None = None


@dataclass(frozen=True)
class Against:
    """A bench held against an earlier one, in ``file``. ``measured`` counts how often that took a measurement."""

    file: str
    margin: float
    verdict: Answer
    failed: bool
    measured: int
    notes: list[str]
    figures: list[Figure]


def read_bench(file: Path) -> Bench:
    """Raises UserError for a file that is none of ``bench --json``."""
    wrong = f"--against {file}: {{}}; write one with: admmctl bench --json --repeat {MINIMUM + 3}"
    try:
        found = read_mapping(file)
        if found is None:
            raise UserError(wrong.format("there is no such file"))
        return Bench.model_validate(found)
    except Damaged as reason:
        raise UserError(wrong.format(reason)) from None
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(wrong.format(f"it is no document of bench (its {key})")) from None


def check_same(run: Run, rows: int, cores: int, earlier: Bench, other_machine: bool) -> None:
    """Raises UserError where ``earlier`` measured something else, or on another machine."""
    features, classes = datasets.load(run.data.name)().shape(run.data)
    here = environment.host()
    machine = {"cpu": (earlier.cpu, here.cpu), "cores": (earlier.cores, here.cores)}
    elsewhere = [name for name, (old, new) in machine.items() if old != new]
    asked: dict[str, tuple[Any, Any]] = {
        "method": (earlier.method, run.method),
        "network": (earlier.network, list(shape_network(run, features, classes).sizes)),
        "rows": (earlier.rows, rows),
        "ranks": (earlier.ranks, cores),
        **({} if other_machine else machine),
    }
    differ = [f"{name}: {old}, now {new}" for name, (old, new) in asked.items() if old != new]
    if differ:
        cure = "; allow another machine: --other-machine" if elsewhere and not other_machine else ""
        listed = "\n  ".join(differ)
        raise UserError(f"--against: the file is of something else:\n  {listed}\nmeasure the same again{cure}")


def held_against(measure: Measure, earlier: Bench, file: Path, margin: float, say: Say) -> tuple[Bench, Against]:
    """Measure, and measure again what is slower, ``MEASURED`` times at most; returns the last measurement, too.

    It is slower only where every measurement says so. Raises what ``measure`` does.
    """
    for measured in range(1, MEASURED + 1):
        again = "" if measured == 1 else f"again, {measured} of {MEASURED}: "
        result = measure(partial(_say_after, again, say))
        found = against(result, earlier, file, margin)
        if not found.failed:
            break
    return result, replace(found, measured=measured)


def _say_after(before: str, say: Say, what: str) -> None:
    say(before + what)


def against(now: Bench, then: Bench, file: Path, margin: float) -> Against:
    """One measurement held against an earlier one.

    An iteration is slower where it is in seconds, and in matrix products of the same minute, too: the machine's
    own speed drifts. Both are told by intervals.
    """
    times = ratio_of_medians(then.seconds_of_repeats, now.seconds_of_repeats)
    figures = [_judged("one iteration", "s", then.seconds_per_iteration, now.seconds_per_iteration, times, margin)]
    in_products = [_in_products(each) for each in (then, now)]
    if all(in_products):
        products = ratio_of_medians(*in_products)
        old, new = (median(each).value for each in in_products)
        figures.append(_judged("one iteration", "matrix products", old, new, products, margin))
    answers = {figure.verdict for figure in figures}
    verdict = Answer.NOT_SLOWER if Answer.NOT_SLOWER in answers else Answer.UNTOLD
    if answers == {Answer.SLOWER}:
        verdict = Answer.SLOWER
    notes = []
    if then.disturbed or now.disturbed:
        verdict = Answer.UNTOLD
        which = "now" if now.disturbed else "when the file was written"
        notes.append(f"other work took the cores {which}: measure again when nothing else runs")
    elif times.low is None:
        has = f"the file has {len(then.seconds_of_repeats)}, now there are {len(now.seconds_of_repeats)}"
        notes.append(f"it takes {MINIMUM} iterations on each side: {has}; see --repeat")
    elif verdict is Answer.UNTOLD:
        notes.append("more iterations make the interval narrower: --repeat")
    if then.blas != now.blas:
        notes.append(f"linear algebra was {', '.join(then.blas)}, and is {', '.join(now.blas)}")
    return Against(str(file), margin, verdict, verdict is Answer.SLOWER, 1, notes, [*figures, *_others(then, now)])


def _in_products(of: Bench) -> list[float]:
    """Its iterations in matrix products: each by the rate that was measured just before it."""
    rates = of.gemm_gflops_of_repeats
    if len(rates) != len(of.seconds_of_repeats):
        return []
    return [seconds * rate / _PRODUCT for seconds, rate in zip(of.seconds_of_repeats, rates, strict=True)]


def _judged(name: str, unit: str, old: float, new: float, ratio: Ratio, margin: float) -> Figure:
    return Figure(name, unit, old, new, ratio.value, ratio.low, ratio.high, ratio.answer(margin))


def _others(then: Bench, now: Bench) -> list[Figure]:
    """Figures that may explain a difference, and have no interval of their own."""
    pairs = [
        *((f"phase {name}", "s", then.phases[name], now.phases.get(name, 0.0)) for name in then.phases),
        ("set-up", "s", then.set_up_s, now.set_up_s),
        ("memory at its peak", "MB", then.peak_rss_mb, now.peak_rss_mb),
        ("matrix product", "GFLOP/s", then.gemm_gflops, now.gemm_gflops),
        ("memory copy", "GB/s", then.memory_bandwidth_gbs, now.memory_bandwidth_gbs),
    ]
    return [Figure(name, unit, old, new, new / old) for name, unit, old, new in pairs if old]
