"""Drawings of the papers' figures and tables: from what ``Material`` holds to PNG, PDF, CSV and a caption.

A drawing of a name is a function that returns the figure, or None for what is a CSV alone, and the rows of its
CSV, in which what the papers report is marked as theirs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from admmctl.errors import UserError
from admmctl.files import write_csv, write_json
from admmctl.papers.captions import sidecar
from admmctl.papers.claims import BASELINES, CLAIMS, TO_TARGET
from admmctl.papers.drawings import illustrate
from admmctl.papers.material import Material
from admmctl.papers.measures import THEIRS, Finished, claim_rows, per_iteration
from admmctl.papers.tables import minibatch_table, phases_table
from admmctl.report import style
from admmctl.report.condition import condition_figure
from admmctl.report.figures import Against, Axis, View, curves, settings_against_target
from admmctl.report.scaling import seconds_figure
from admmctl.report.statistics import median
from admmctl.runs.recorded import Recorded, read_config, read_curve, read_summary

Rows = list[dict[str, Any]]
Panel = tuple[str, Against]


def draw(material: Material, folder: Path) -> dict[str, Any]:
    """Write a figure's files into ``folder``; returns its entry with their paths and the caption's numbers.

    Raises UserError where it cannot be drawn or written.
    """
    name = material.entry["name"]
    if material.entry["kind"] == "illustration":
        written = illustrate(name, material.rows, material.facts, material.images, folder)
    else:
        figure, rows = DRAWINGS[material.entry["drawing"]](material)
        try:
            written = style.save(figure, folder / name)
            written.append(folder / f"{name}.csv")
            write_csv(written[-1], list(dict.fromkeys(key for row in rows for key in row)), rows)
        except OSError as error:
            raise UserError(f"{folder}/{name}.*: {error.strerror}; name another folder: --output") from None
        finally:
            plt.close(figure)
    caption = sidecar(material, written)
    try:
        write_json(folder / f"{name}.json", caption)
    except OSError as error:
        raise UserError(f"{folder}/{name}.json: {error.strerror}; name another folder: --output") from None
    return {
        **material.entry,
        **caption,
        **({"facts": material.facts, "seed": material.facts["seed"]} if material.facts else {}),
        "files": [str(path) for path in (*written, folder / f"{name}.json")],
    }


# --- curves


def _curves(*panels: Panel, training: bool = False) -> Callable[[Material], tuple[Figure, Rows]]:
    """Curves of all runs, a panel for each column, with what the paper reports of these methods."""

    def drawing(material: Material) -> tuple[Figure, Rows]:
        runs = [run for run in map(Recorded, material.folders) if run.curve]
        if not runs:
            raise UserError("none of its runs has an evaluation: there is nothing to draw")
        wide = style.COLUMN_WIDTH * (1.35 if len(panels) == 1 else 2.1)
        figure, places = plt.subplots(1, len(panels), figsize=(wide, style.COLUMN_WIDTH * 0.95), squeeze=False)
        figure.subplots_adjust(wspace=0.3)
        labels: list[str] = []
        title = ""
        for axes, (of, against) in zip(places[0], panels, strict=True):
            there = [run for run in runs if of in run.curve[0]]
            # A run of one solve beside long ones would make the axis logarithmic, and have no place on it.
            axis: Axis = "auto" if against == "seconds" else "linear"
            labels, title = curves(axes, there, View(of, against, axis, training=training))
        marks = _theirs(places[0][-1], material, panels[-1])
        handles, _ = places[0][-1].get_legend_handles_labels()
        _legend(figure, places[0][0], handles, [*labels, *marks])
        places[0][0].set_title(title, loc="left")
        rows = _points(
            [(run.folder, run.curve) for run in runs], [of for of, _ in panels] + ["train_accuracy"] * training
        )
        return figure, rows + claim_rows(material)

    return drawing


def _theirs(axes: Axes, material: Material, panel: Panel) -> list[str]:
    """Mark what the paper reports: a point of time and accuracy as a star, an accuracy as a level at the side."""
    of, against = panel
    labels = []
    for claim in CLAIMS.get(material.entry["name"], ()):
        if claim.mark is None or of != "test_accuracy":
            continue
        x, y = claim.mark
        kind = _kinds(material).get(claim.method, claim.method)
        label = f"{claim.method}, {THEIRS}: {claim.paper_text.partition(' (')[0]}"
        look: dict[str, Any] = {"color": style.look(kind)[0], "marker": "*", "markersize": 9, "linestyle": ""}
        look |= {"markeredgecolor": style.BLACK, "markeredgewidth": 0.5, "zorder": 6}
        if x is None:
            axes.plot([1.0], [y], transform=axes.get_yaxis_transform(), label=label, clip_on=False, **look)
        elif against == "seconds":
            # Other machines are orders of magnitude away: only a logarithmic axis has room for both.
            axes.set_xscale("log")
            axes.set_xlim(right=max(axes.get_xlim()[1], 2 * x))
            axes.plot([x], [y], label=label, **look)
        labels.append(label)
    return labels


def _kinds(material: Material) -> dict[str, str]:
    """What every method looks like."""
    blocks = [Recorded(folder).method_block for folder in material.folders]
    return {method: style.kind(method, block) for method, block in blocks}


def _legend(figure: Figure, axes: Axes, handles: list[Any], labels: list[str]) -> None:
    """Under all panels, in columns where labels are short."""
    columns = 3 if max(map(len, labels), default=0) <= 18 else 2 if max(map(len, labels)) <= 34 else 1
    axes.legend(
        handles,
        list(map(style.plain, labels)),
        loc="upper left",
        bbox_to_anchor=(-0.15, -0.17),
        ncols=columns,
        columnspacing=1.2,
    )


def _points(runs: list[tuple[Path, list[dict[str, float]]]], columns: list[str]) -> Rows:
    """The curves as rows, ours."""
    rows: Rows = []
    for folder, curve in runs:
        summary = read_summary(folder) or {}
        own = {key: summary.get(key) for key in ("method", "seed", "ranks", "rows_train")}
        keys = ["iteration", "epoch", "train_s", *dict.fromkeys(columns)]
        rows += [{"source": "ours", **own, **{key: row.get(key) for key in keys}} for row in curve]
    return rows


# --- studies


def _seconds_to_target(material: Material) -> tuple[Figure, Rows]:
    """Seconds against cores, and the paper's baselines as levels: theirs, on a GPU."""
    result = material.result
    assert result is not None
    figure = seconds_figure(result, TO_TARGET.get(result["data"]))
    axes = figure.axes[0]
    for method, time in BASELINES.get(result.data, {}).items():
        label = f"{method}, {THEIRS}: {time:,g} s on a GPU"
        axes.axhline(time, color=style.look(method)[0], linewidth=1, linestyle=(0, (1, 1)), label=label)
    times = BASELINES.get(result.data, {}).values()
    axes.set_ylim(top=max(axes.get_ylim()[1], 2 * max(times, default=0)))
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), fontsize=7.5)
    rows = [
        {
            "source": "ours",
            "method": result.method,
            "cores": point.cores,
            "seconds": time,
            "median_s": point.median_s,
            "clock": "processor time, shared cores" if point.shared else "train_s",
        }
        for point in result.points
        for time in point.seconds
    ]
    return figure, rows + claim_rows(material)


def _rates(material: Material) -> tuple[Figure, Rows]:
    """Epochs to the target against rho."""
    figure, axes = plt.subplots()
    settings_against_target(axes, map(Recorded, material.folders), "rho", "epochs")
    axes.legend(loc="upper left", bbox_to_anchor=(-0.15, -0.17), ncols=2, columnspacing=1.2)
    rows = []
    for folder in material.folders:
        summary, curve = read_summary(folder) or {}, read_curve(folder)
        rho = Recorded(folder).method_block[1].get("rho")
        met = summary.get("time_to_target_s") is not None and bool(curve)
        rho = rho[0] if isinstance(rho, list) else rho
        told = {"source": "ours", "method": summary.get("method"), "seed": summary.get("seed"), "rho": rho}
        rows.append({**told, "epochs": curve[-1]["epoch"] if met else None, "status": summary.get("status")})
    return figure, rows + claim_rows(material)


def _condition(material: Material) -> tuple[Figure, Rows]:
    assert material.result is not None
    rows = [{"source": "ours", **vars(point)} for point in material.result.points]
    return condition_figure(material.result), rows + claim_rows(material)


def _low_rank(material: Material) -> tuple[Figure, Rows]:
    """Seconds of an iteration and test accuracy by the number of columns p, exact beside them."""
    figure, (cost, quality) = plt.subplots(
        1, 2, figsize=(style.COLUMN_WIDTH * 2.1, style.COLUMN_WIDTH * 0.9), layout="constrained"
    )
    rows: Rows = []
    for method in dict.fromkeys(str((read_summary(folder) or {}).get("method")) for folder in material.folders):
        runs = Finished(material, method)
        if not runs.folders:
            continue
        block = Recorded(runs.folders[0]).method_block[1]
        final = median([float(summary["final_test_accuracy"]) for summary in runs.summaries]).value
        told = {"source": "ours", "method": method, "update": block.get("w_update", "exact")}
        told |= {"columns": block.get("columns"), "p": _columns(block, runs)}
        rows.append({**told, "seconds_per_iteration": per_iteration(runs)[0], "final_test_accuracy": final})
    looks = {"nystrom": (style.BLUE, "o"), "nystrom-pcg": (style.VERMILLION, "s"), "exact": (style.BLACK, "")}
    for update, (color, marker) in looks.items():
        for columns in ("uniform", "leverage"):
            mine = sorted(
                (row for row in rows if row["update"] == update and (row["columns"] or "uniform") == columns),
                key=lambda row: row["p"] or 0,
            )
            fill = "white" if columns == "leverage" else color
            for axes, key in ((cost, "seconds_per_iteration"), (quality, "final_test_accuracy")):
                if mine and update == "exact":
                    axes.axhline(mine[0][key], color=color, linestyle="--", linewidth=1)
                elif mine:
                    x, y = [row["p"] for row in mine], [row[key] for row in mine]
                    axes.plot(x, y, marker=marker, color=color, markerfacecolor=fill)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="--" if name == "exact" else "-", label=name)
        for name, (color, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    for axes, words in ((cost, "seconds of an iteration (train_s)"), (quality, "test accuracy")):
        axes.set_xlabel("columns p of the sketch")
        axes.set_xlim(left=0)
        axes.set_ylabel(words)
    cost.set_ylim(bottom=0)
    return figure, rows + claim_rows(material)


def _columns(block: dict[str, Any], runs: Finished) -> float | None:
    """p of a low-rank update: a number of columns, or a share of the widest layer's inputs."""
    if block.get("w_update", "exact") == "exact":
        return None
    rank = block["rank"]
    config = read_config(runs.folders[0])
    inputs = max(config["network"]["layers"]) + bool(config["network"].get("bias", True))
    return float(rank) if rank >= 1 else float(round(rank * inputs))


DRAWINGS: dict[str, Callable[[Material], tuple[Figure, Rows]]] = {
    "accuracy": _curves(("test_accuracy", "seconds")),
    "accuracy-epochs": _curves(("test_accuracy", "epochs")),
    "accuracy-iterations": _curves(("test_accuracy", "iterations")),
    "accuracy-and-training": _curves(("test_accuracy", "epochs"), training=True),
    "loss": _curves(("train_loss", "seconds")),
    "loss-iterations": _curves(("train_loss", "iterations")),
    "loss-and-accuracy": _curves(("train_loss", "seconds"), ("test_accuracy", "seconds")),
    "loss-and-accuracy-iterations": _curves(("test_loss", "iterations"), ("test_accuracy", "iterations")),
    "seconds-to-target": _seconds_to_target,
    "rates": _rates,
    "condition": _condition,
    "low-rank": _low_rank,
    "phases-table": phases_table,
    "minibatch-table": minibatch_table,
}
