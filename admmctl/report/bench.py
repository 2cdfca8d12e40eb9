"""The tables of ``bench``: what the machine can do, how much of it the method uses, and what became slower."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from admmctl.report.tables import Plain
from admmctl.report.text import count, interval, seconds, size
from admmctl.studies.against import Against
from admmctl.studies.bench import Bench
from admmctl.studies.gate import Answer, percent


def bench_tables(result: Bench) -> Group:
    """The machine, the step and its phases, and Allreduce by size."""
    blank: RenderableType = Text("")
    parts: list[RenderableType] = [
        _machine(result),
        _step(result),
        _phases(result),
        *([_allreduce(result)] if result.allreduce else []),
    ]
    return Group(*(each for part in parts for each in (part, blank)), _note(result))


def _machine(result: Bench) -> Table:
    table = Plain.facts(f"{result.cpu}, {count(result.cores, 'core')}", name_style="")
    side = "sgemm 2048" if result.device is None else "sgemm"
    table.add_row(f"matrix product ({side})", f"{result.gemm_gflops:,.1f} GFLOP/s on {_where(result)}")
    table.add_row("memory copy", f"{result.memory_bandwidth_gbs:.1f} GB/s per rank")
    table.add_row("linear algebra", ", ".join(result.blas))
    return table


def _where(result: Bench) -> str:
    return result.device or "one core"


def _step(result: Bench) -> Table:
    shape = "-".join(map(str, result.network))
    ranks = count(result.ranks, "rank")
    title = f"{result.method}, {shape}, {result.rows:,} synthetic rows, {ranks}"
    table = Plain.facts(title, name_style="")
    each = result.seconds_per_iteration
    table.add_row("one iteration", f"{seconds(each)} s, the median of {result.repeat}")
    per_row = each / result.rows_per_iteration * result.ranks
    table.add_row("per row and iteration", f"{per_row * 1e6:.3g} µs on {_where(result)}")
    if result.fraction is not None:
        rate = f"{result.step_gflops:,.1f} GFLOP/s on {_where(result)}"
        table.add_row("useful operations", f"{rate}, {100 * result.fraction:.0f} % of the matrix product")
    table.add_row("set-up", f"{seconds(result.set_up_s)} s, once")
    expected = f"{result.memory_estimate_mb:.0f} expected"
    table.add_row("memory", f"{result.peak_rss_mb:.0f} MB per rank at its peak, {expected}")
    return table


def _phases(result: Bench) -> Group:
    table = Plain("phase", "seconds", "share", left=["phase"])
    total = sum(result.phases.values())
    for name, value in sorted(result.phases.items(), key=lambda item: -item[1]):
        table.add_row(name, seconds(value), f"{100 * value / total:.1f} %" if total else "-")
    return Group(Text("Seconds by phase of one iteration", style="bold"), table)


def _allreduce(result: Bench) -> Group:
    table = Plain("message", "microseconds", "GB/s")
    for exchange in result.allreduce:
        mark = " (one iteration's)" if exchange.bytes in result.message_bytes else ""
        rate = exchange.bytes / exchange.seconds / 1e9
        table.add_row(size(exchange.bytes) + mark, f"{exchange.seconds * 1e6:.1f}", f"{rate:.2f}")
    title = f"Allreduce over {count(result.ranks, 'rank')} ({result.mpi})"
    return Group(Text(title, style="bold"), table)


def _note(result: Bench) -> Text:
    note = "One thread per rank; medians, the matrix product measured between the iterations."
    if result.fraction is not None:
        note += (
            "\nUseful: 2mnk for a product, nk(k+1) for a symmetric one, k^3/3 for a Cholesky\n"
            "factor, nothing for element-wise work."
        )
    if result.disturbed:
        share = f"{100 * (result.cpu_share or 0):.0f} %"
        note += f"\nDisturbed: other work took the cores, iterations ran for {share} of their time.\n"
        note += "Measure again when nothing else runs."
    if result.ranks > result.cores:
        note += "\nRanks shared cores: rates are lower than on a core of one's own."
    return Text(note)


def against_table(result: Bench, found: Against) -> Group:
    """What is measured beside an earlier measurement, and what came out."""
    shape = "-".join(map(str, result.network))
    title = f"{result.method}, {shape}, {result.rows:,} rows, {count(result.ranks, 'rank')}, against {found.file}"
    table = Plain(
        "figure", "then", "now", "now / then", "interval", "verdict", title=title, left=["figure", "verdict"]
    )
    for figure in found.figures:
        table.add_row(
            f"{figure.name}, {figure.unit}",
            seconds(figure.old),
            seconds(figure.new),
            f"{figure.ratio:.2f}",
            interval(figure.ratio_low, figure.ratio_high),
            figure.verdict or "",
        )
    lines = [f"{text[0].upper()}{text[1:]}." for text in found.notes]
    note = (
        f"Slower: now / then is above {1 + found.margin:g} with its whole interval, in seconds and in matrix\n"
        "products of the same minute, in every measurement. Other figures have no verdict."
    )
    return Group(table, Text(""), Text("\n".join([*lines, against_outcome(found), "", note])))


def against_outcome(found: Against) -> str:
    """In a sentence, what came out."""
    margin, often = percent(found.margin), count(found.measured, "measurement")
    if found.failed:
        return f"An iteration is slower by more than {margin}, in {often}."
    if found.verdict is Answer.UNTOLD:
        return f"Passed, though it cannot be told whether an iteration is slower by more than {margin}."
    return f"Passed: an iteration is not slower by more than {margin}."
