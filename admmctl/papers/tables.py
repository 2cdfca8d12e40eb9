"""The papers' tables as figures: our numbers above theirs, which are grey."""

import math
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from admmctl.papers.claims import CLAIMS, CONVEX_TABLE
from admmctl.papers.material import Material
from admmctl.papers.measures import THEIRS, Finished, claim_rows, per_iteration
from admmctl.report import style
from admmctl.report.phases import CONVEX_PHASES, phase_rows, phases
from admmctl.report.text import seconds
from admmctl.runs.recorded import Recorded

Rows = list[dict[str, Any]]


def phases_table(material: Material) -> tuple[Figure, Rows]:
    """Table 1 of the convex paper: ours by phase above theirs."""
    result = phases(map(Recorded, material.folders), CONVEX_TABLE, always=True)
    names = CONVEX_PHASES
    body = []
    for row in result.methods:
        met = math.isfinite(row.time_to_target_s)
        total = seconds(row.time_to_target_s) if met else f"> {seconds(row.train_s)}, missed"
        body.append([row.method, total, *(seconds(row.phases.get(name)) for name in names)])
    for theirs in CONVEX_TABLE.methods:
        each = [f"{theirs.phases[name]:.3g}" if name in theirs.phases else "-" for name in names]
        body.append([f"{theirs.method}, {THEIRS}", f"{theirs.total_s:.3g}", *each])
    figure = _table(["", "total, s", *names], body, len(result.methods))
    return figure, phase_rows(result)


def minibatch_table(material: Material) -> tuple[Figure, Rows]:
    """Table 3 of Zhang and Kleijn: seconds of a mini-batch, ours and theirs."""
    rows: Rows = []
    body = []
    for claim in CLAIMS[material.entry["name"]]:
        runs = Finished(material, claim.method)
        mean, spread = per_iteration(runs)
        rows.append({"source": "ours", "method": claim.method, "mean_s": mean, "standard_deviation_s": spread})
        body.append([claim.method, seconds(mean), seconds(spread), f"{claim.paper:g}"])
    figure = _table(["mini-batch of 3,000", "ours, s", "spread, s", f"{THEIRS}, s"], body, len(body))
    return figure, rows + claim_rows(material)


def _table(headings: list[str], body: list[list[str]], ours: int) -> Figure:
    """A table as a figure; the rows after the first ``ours`` are the paper's, and grey."""
    width = style.COLUMN_WIDTH * 2
    figure, axes = plt.subplots(figsize=(1.15 * width, 0.25 * (len(body) + 1)))
    axes.set_axis_off()
    widths = [0.22, *[0.78 / (len(headings) - 1)] * (len(headings) - 1)]
    table = axes.table(body, colLabels=headings, colWidths=widths, loc="center", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    table.scale(1, 1.3)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor(style.GREY)
        cell.set_linewidth(0.5)
        cell.get_text().set_horizontalalignment("left" if column == 0 else "right")
        if row == 0:
            cell.get_text().set_fontweight("bold")
        elif row > ours:
            cell.get_text().set_color(style.GREY)
    return figure
