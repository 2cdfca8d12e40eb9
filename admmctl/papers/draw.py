"""Writing a figure: PNG, PDF, CSV and a description. And the drawings that several papers share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from admmctl.errors import UserError
from admmctl.files import STDOUT, write_csv
from admmctl.papers.caption import describe
from admmctl.papers.entry import Drawing, Material, Rows
from admmctl.papers.measures import THEIRS, reported_rows
from admmctl.report import figures as report
from admmctl.report import style
from admmctl.report.curves import error_of
from admmctl.report.figures import View
from admmctl.runs.places import root
from admmctl.runs.recorded import Recorded

_BETWEEN = 0.3  # of the height of a panel: what is between two rows of them


def make_folder(folder: Path | None) -> Path:
    """The folder of the figures, by default ``results/figures``. Raises UserError if it cannot be made."""
    if folder == STDOUT:
        raise UserError("--output -: expected a folder, for there are several files")
    folder = folder or root() / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} is no folder to write to: {error.strerror}; name another: --output") from None
    return folder


def draw(material: Material, folder: Path) -> dict[str, Any]:
    """Write a figure's files into ``folder``; returns the figure in ``figures --json``.

    Raises UserError if it cannot be drawn or written.
    """
    entry, base = material.entry, folder / material.entry.name
    figure, rows = entry.drawing.draw(material)
    rows = rows if entry.drawing.has_theirs else [*rows, *reported_rows(entry)]
    rows = [{"data": "made up", **row} for row in rows] if material.made_up else rows
    points = folder / f"{entry.name}.csv"
    try:
        written = [*style.save(figure, base, material.made_up), points]
        write_csv(points, list(dict.fromkeys(key for row in rows for key in row)), rows)
        description = describe(material, written)
        written.append(description.write(folder))
    except OSError as error:
        raise UserError(f"{base}.* cannot be written: {error.strerror}; name another folder: --output") from None
    finally:
        plt.close(figure)
    facts = material.points.facts if material.points else {}
    return {
        **entry.document(),
        **description.model_dump(),
        **({"facts": facts, "seed": facts["seed"]} if facts else {}),
        "files": [str(path) for path in written],
    }


def curves(name: str, *views: View) -> Drawing:
    """Curves of all runs, two panels in a row, one for each view, with the paper's numbers of these methods."""

    def drawing(material: Material) -> tuple[Figure, Rows]:
        runs = [run for run in material.runs if run.curve]
        if not runs:
            raise UserError("none of its runs has an evaluation: there is nothing to draw")
        for view in views:
            if not any(view.of in run.curve[0] for run in runs):
                raise UserError(f"none of its runs has recorded {view.of}")
        width = style.COLUMN_WIDTH * (1.35 if len(views) == 1 else 2.1)
        rows, columns = -(-len(views) // 2), min(2, len(views))
        size = (width, (rows + _BETWEEN * (rows - 1)) * style.COLUMN_WIDTH * 0.95)
        figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
        figure.subplots_adjust(wspace=0.3, hspace=_BETWEEN)
        places: list[Axes] = list(grid.flat)[: len(views)]
        for empty in list(grid.flat)[len(views) :]:
            empty.remove()
        for place, (axes, view) in enumerate(zip(places, views, strict=True)):
            # A run of one iteration beside long ones would make the axis logarithmic, where 0 has no place.
            as_it_is = view.against == "seconds" or view.axis != "auto"
            shown = view if as_it_is else replace(view, axis="linear")
            drawn = report.curves(axes, [run for run in runs if view.of in run.curve[0]], shown)
            axes.set_title(drawn.heading(title=place == 0), loc="left")
            if place < len(views) - columns and view.against == views[place + columns].against:
                axes.set_xlabel("")  # it stands under the panel below
        _draw_theirs(axes, material, runs, view, drawn.errors)
        handles = [handle for axes in places for handle in axes.get_legend_handles_labels()[0]]
        style.legend_below(grid[-1][0], list({str(handle.get_label()): handle for handle in handles}.values()))
        shown_columns = [view.of for view in views] + ["train_accuracy"] * any(view.training for view in views)
        return figure, _points(runs, shown_columns)

    return Drawing(name, drawing)


def _draw_theirs(axes: Axes, material: Material, runs: list[Recorded], view: View, errors: bool) -> None:
    """Mark the paper's numbers with stars: at their time and accuracy, or at the side where they have no time.

    ``runs`` are those that are drawn; ``errors``: accuracies are drawn as error rates.
    """
    kinds = {run.method: style.kind_of(run) for run in runs}
    for reported in material.entry.reported if view.of == "test_accuracy" else ():
        if reported.mark is None:
            continue
        x, y = reported.mark
        y = error_of(y) if errors else y
        label = style.plain(f"{reported.method}, {THEIRS}: {reported.statement}")
        color, _ = style.look(kinds.get(reported.method, reported.method))
        look: dict[str, Any] = {"color": color, "marker": "*", "markersize": 9, "linestyle": "", "label": label}
        look |= {"markeredgecolor": style.BLACK, "markeredgewidth": 0.5, "zorder": 6}
        if x is None:
            axes.plot([1.0], [y], transform=axes.get_yaxis_transform(), clip_on=False, **look)
        elif view.against == "seconds":
            if axes.get_xscale() != "log":
                # Other machines are faster or slower by orders of magnitude: only a logarithmic axis shows both.
                times = [row["train_s"] for run in runs for row in run.curve if row["train_s"] > 0]
                axes.set_xlim(left=min(times, default=x))
                style.log_times(axes)
            axes.set_xlim(right=max(axes.get_xlim()[1], 2 * x))
            axes.plot([x], [y], **look)


def _points(runs: list[Recorded], columns: list[str]) -> Rows:
    """The curves as rows of the CSV."""
    own = ("method", "seed", "ranks", "rows_train", "disturbed")
    keys = ("iteration", "epoch", "train_s", *columns)
    return [
        {"source": "ours", **{key: run.row.get(key) for key in own}, **{key: row.get(key) for key in keys}}
        for run in runs
        for row in run.curve
    ]


def table(headings: list[str], body: list[list[str]], ours: int) -> Figure:
    """A table as a figure; the rows after the first ``ours`` are the paper's, and grey."""
    width = style.COLUMN_WIDTH * 2
    figure, axes = plt.subplots(figsize=(1.15 * width, 0.25 * (len(body) + 1)))
    axes.set_axis_off()
    widths = [0.22, *[0.78 / (len(headings) - 1)] * (len(headings) - 1)]
    drawn = axes.table(body, colLabels=headings, colWidths=widths, loc="center", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    drawn.scale(1, 1.3)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor(style.GREY)
        cell.set_linewidth(0.5)
        cell.get_text().set_horizontalalignment("left" if column == 0 else "right")
        if row == 0:
            cell.get_text().set_fontweight("bold")
        elif row > ours:
            cell.get_text().set_color(style.GREY)
    return figure
