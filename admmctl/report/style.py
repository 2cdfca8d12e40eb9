"""The look of all figures: readable at column width, colour-blind safe, one colour per method."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullFormatter, NullLocator

from admmctl.errors import UserError
from admmctl.files import atomic
from admmctl.report.output import writable
from admmctl.runs.recorded import Recorded

# Okabe and Ito's palette, which people with any common colour blindness can tell apart.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
# Yellow is for surfaces. A yellow line on white is hard to see: lines are olive instead.
OLIVE = "#8A8A00"
PURPLE, SKY, YELLOW, BLACK, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#000000", "#7F7F7F"

# A kind of method has the same colour and marker in every figure.
METHODS: dict[str, tuple[str, str]] = {
    "admm": (BLUE, "o"),
    "admm-printed": (BLACK, "h"),
    "graph-admm": (VERMILLION, "s"),
    "classical-admm": (VERMILLION, "^"),
    "stochastic-admm": (SKY, "h"),
    "convex-admm": (GREEN, ">"),
    "sgd": (ORANGE, "v"),
    "adam": (PURPLE, "D"),
    "lbfgs": (SKY, "P"),
    "cg": (OLIVE, "X"),
    "gd": (GREY, "<"),
    "linear": (BLACK, "*"),
    "random-features": (GREEN, "p"),
    # PyTorch's: the marker of ours, in another colour
    "torch-sgd": (BLACK, "v"),
    "torch-adam": (GREEN, "D"),
    "torch-lbfgs": (BLUE, "P"),
    "trees": (OLIVE, "^"),
    "foof": (GREY, "d"),
    "kfac": (GREEN, "X"),
    "muon": (OLIVE, "p"),
    # convex-admm by its solver: they are compared with each other, and with adam
    "exact": (GREEN, "^"),
    "cholesky": (BLACK, "d"),
    "convex-cg": (GREY, "X"),
    "jacobi-pcg": (SKY, "v"),
    "nystrom-pcg": (ORANGE, "D"),
    "block-pcg": (BLUE, "s"),
    "rbcd": (VERMILLION, "o"),
    # and by its backend where that is compared: the solver's marker, colours of solvers that are not beside it
    "rbcd-torch": (BLACK, "o"),
    "rbcd-jax": (SKY, "o"),
}
_OTHERS = (GREEN, VERMILLION, SKY, PURPLE, ORANGE)
LINES = ("-", "--", ":", "-.")

PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # numbers on an axis, without powers of ten
COLUMN_WIDTH = 3.4  # inches, of a two-column paper

LOOK: Any = {
    "figure.figsize": (COLUMN_WIDTH * 1.35, COLUMN_WIDTH),
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
}
matplotlib.use("agg")  # where matplotlib was loaded before, too
matplotlib.rcdefaults()  # a matplotlibrc is for its owner's figures: ours look the same everywhere
plt.rcParams.update(LOOK)


def look(kind: str) -> tuple[str, str]:
    """Colour and marker of a kind of method."""
    return METHODS.get(kind) or (_OTHERS[sum(kind.encode()) % len(_OTHERS)], "o")


def kind(method: str, block: Mapping[str, Any]) -> str:
    """What ``look`` is called with: the kind of a method block; or its solver, where that has a look."""
    solver = block.get("solver")
    by_name = (f"{solver}-{block.get('backend')}", solver, str(block.get("kind", method)))
    return next((name for name in by_name if name in METHODS), by_name[-1])


def kind_of(run: Recorded) -> str:
    """The kind of a recorded run's method."""
    return kind(*run.method_block)


def log_axis(axes: Axes) -> None:
    """Make the axis of values logarithmic, with plain numbers where they stay within few powers of ten."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high > 200 * low:
        return
    between = (2, 3, 5) if high < 20 * low else (2, 5)
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if int(f"{value:e}"[0]) in between else "")
    )


def error_axis(axes: Axes, smallest: float | None = None) -> None:
    """Make the axis of values one of error rates: logarithmic, with round numbers on it.

    With the ``smallest`` error above zero it goes on to 0 below that, linearly: an error of 0 has a place, too.
    """
    if smallest is None:
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=smallest, linscale=0.3)
    axes.yaxis.set_major_locator(_Round(smallest or 0.0))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PLAIN)


def log_times(axes: Axes) -> None:
    """Make the horizontal axis logarithmic, with round numbers on it."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(_Round())
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())


class _Round(Locator):
    """Round numbers from ``lowest`` on, for a logarithmic axis; and 0 where that is in sight."""

    def __init__(self, lowest: float = 0.0) -> None:
        self.lowest = lowest

    def __call__(self) -> list[float]:
        assert self.axis is not None  # matplotlib sets it
        return self.tick_values(*sorted(self.axis.get_view_interval()))

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        zero = [0.0] if vmin <= 0 else []
        return [*zero, *round_numbers(max(vmin, self.lowest), vmax)]


def round_numbers(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis from ``low``, which is above zero, to ``high``.

    They are powers of ten; where these are few, with 2 and 5 times them; in a narrow range, evenly spaced.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 4:
            return found
    between = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(value) for value in between if low <= value <= high]


def legend_below(axes: Axes, handles: Sequence[Artist] | None = None) -> None:
    """A legend under the axes, of what has a label in them, or of these ``handles``.

    It has as many columns as the figure is wide enough for.
    """
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    room = (figure.get_figwidth() if (figure := axes.get_figure(root=True)) else COLUMN_WIDTH) / 0.06
    columns = max(1, min(3, int(room / (longest + 7))))
    axes.legend(
        handles=list(handles), loc="upper left", bbox_to_anchor=(-0.15, -0.16), ncols=columns, columnspacing=1.2
    )


def plain(text: str) -> str:
    """Text for a figure in which a dollar sign is a dollar sign, and starts no formula."""
    return text.replace("$", r"\$")


def check_output(output: Path | None, expected: str = "the name of a file; .png and .pdf are added to it") -> None:
    """Raises UserError for an ``--output`` that names no file."""
    if output is not None and (output.name in ("", "..", "-") or output.is_dir()):
        raise UserError(f"--output {output}: expected {expected}")


def without_suffix(path: Path, *others: str) -> Path:
    """``path`` without the suffix of a figure, or one of the ``others``; any other dot belongs to the name."""
    return path.with_suffix("") if path.suffix in (".png", ".pdf", *others) else path


def mark_made_up(figure: Figure) -> None:
    """Say across a figure that its data are made up."""
    across: dict[str, Any] = {"fontsize": 26, "rotation": 25, "color": VERMILLION, "alpha": 0.35, "zorder": 10}
    figure.text(0.5, 0.5, "made-up data", ha="center", va="center", **across)


def save(figure: Figure, path: Path, made_up: bool = False) -> list[Path]:
    """Write PNG and PDF side by side, whole or not at all; returns both paths, and closes the figure.

    Across a figure of ``made_up`` data it says so. Raises UserError where they cannot be written.
    """
    path = without_suffix(path)
    if made_up:
        mark_made_up(figure)
    written = []
    try:
        for suffix, metadata in {"png": {"Software": None}, "pdf": {"CreationDate": None}}.items():
            drawn = io.BytesIO()  # PDF needs to know its place in the file, and a pipe has none
            figure.savefig(drawn, format=suffix, metadata=metadata)
            written.append(path.with_name(f"{path.name}.{suffix}"))
            with writable(path), atomic(written[-1], "wb") as file:
                file.write(drawn.getvalue())
    finally:
        plt.close(figure)
    return written
