"""Figures from run folders."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.runs.record import read_curve, read_summary, root


def accuracy_plot(folders: list[Path], output: Path | None) -> list[Path]:
    """Test accuracy against seconds of training, one line a run, the target drawn.

    Written as PNG and PDF beside the runs (``accuracy.png``), or to ``output``. Raises UserError when no
    run has a curve, or when the figure cannot be written.
    """
    runs = [(folder, read_curve(folder)) for folder in folders]
    runs = [(folder, curve) for folder, curve in runs if curve]
    if not runs:
        raise UserError("none of these runs has an evaluation yet: there is nothing to draw")
    experiments = {folder.parent.resolve() for folder, _ in runs}
    figure, axes = plt.subplots()
    targets = set()
    seen: dict[str, int] = {}
    for folder, curve in runs:
        summary = read_summary(folder) or {}
        method, block, ranks = _method(folder, summary)
        kind = str(block.get("kind", method))
        color, marker = style.look(kind)
        repeat = seen[kind] = seen.get(kind, -1) + 1  # of one colour: another line style, then fainter
        label = f"{method}, {ranks} rank{'s' * (ranks != 1)}, seed {summary.get('seed', '?')}"
        if len(experiments) > 1:
            label = f"{folder.parent.name}: {label}"
        axes.plot(
            [row["train_s"] for row in curve],
            [row["test_accuracy"] for row in curve],
            color=color,
            linestyle=style.LINES[repeat % len(style.LINES)],
            marker=marker,
            markevery=max(1, len(curve) // 10),
            alpha=1.0 if repeat < len(style.LINES) else 0.6,
            label=label if len(runs) <= 8 or repeat == 0 else None,
        )
        if summary.get("target") is not None and summary.get("metric") == "test_accuracy":
            targets.add(float(summary["target"]))
    for target in sorted(targets):
        axes.axhline(target, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            f"target {target:g}",
            (1.0, target),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            horizontalalignment="right",
            fontsize=8,
        )
    axes.set_xlabel("seconds of training (train_s: optimisation only)")
    axes.set_ylabel("test accuracy")
    axes.set_xlim(left=0)
    axes.legend(loc="lower right")
    axes.set_title(", ".join(sorted({folder.parent.name for folder, _ in runs})), loc="left")
    if output is None:
        output = (next(iter(experiments)) if len(experiments) == 1 else root()) / "accuracy"
    try:
        return style.save(figure, output)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written: {error.strerror}; name another place with --output"
        ) from None


def _method(folder: Path, summary: dict[str, Any]) -> tuple[str, dict[str, Any], int]:
    """A run's method, its block of settings, and its ranks."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        method, block = next(iter(config["methods"].items()))
    except (OSError, ValueError, KeyError, yaml.YAMLError):
        method, block = str(summary.get("method", folder.name)), {}
    return method, block or {}, int(summary.get("ranks") or 1)
