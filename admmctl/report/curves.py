"""What figures of curves are drawn from: recorded runs in groups, each of the repeats of one method.

And what is to be said of their curves: whether they are of errors, and which of them coincide.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.report import style
from admmctl.report.text import count
from admmctl.runs.reading import Curve
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import MINIMUM, median, order

Say = Callable[[str], None]
Values = NDArray[np.floating]
_HIGH = 0.95  # accuracies above it are drawn as error rates, where the others stay apart
_LINE = 0.008  # about the width of a line, as a part of the axes' height
_LOW = 0.8  # below it accuracies are squeezed together on an axis of errors


@dataclass(frozen=True)
class Group:
    """Repeats of one method on one number of ranks."""

    experiment: str
    method: str
    kind: str
    ranks: int
    seeds: list[int | str] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def parts(self) -> tuple[str, str, str, str]:
        """What differs between groups: experiment, method, ranks, repeats."""
        repeats = f"seed {self.seeds[0]}" if len(self.curves) == 1 else f"median of {len(self.curves)}"
        return self.experiment, self.method, count(self.ranks, "rank"), repeats

    def final(self, of: str) -> float:
        """The median over repeats of the last value of a column."""
        return median([curve[-1][of] for curve in self.curves]).value

    def with_errors(self, columns: Sequence[str]) -> "Group":
        """The same with error rates in per cent in the place of these accuracies."""
        curves = [[{**row, **{of: error_of(row[of]) for of in columns}} for row in curve] for curve in self.curves]
        return replace(self, curves=curves)


def error_of(accuracy: float) -> float:
    """The error rate of an accuracy, in per cent."""
    return round(100 * (1 - accuracy), 9)


def as_errors(finals: Iterable[float]) -> bool:
    """Whether accuracies that end at these are drawn as error rates, on a logarithmic axis.

    So it is where the highest is above 95 %, and at least half of them are above 80 %: those below it are
    squeezed together on such an axis.
    """
    known = [final for final in finals if math.isfinite(final)]
    return max(known, default=0.0) > _HIGH and 2 * sum(final > _LOW for final in known) >= len(known)


def grouped(runs: list[Recorded]) -> list[Group]:
    """A group for every method on a number of ranks, in the order of the runs."""
    groups: dict[tuple[str, str, int], Group] = {}
    for run in runs:
        place, (method, _) = run.folder.parent, run.method_block
        ranks = int(run.number("ranks") or 1)
        group = groups.setdefault(
            (str(place), method, ranks), Group(place.name, method, style.kind_of(run), ranks)
        )
        group.seeds.append(run.row.get("seed", "?"))
        group.curves.append(run.curve)
    return list(groups.values())


def say_mixed_data(runs: Iterable[Recorded], say: Say) -> None:
    """Name runs with the same data block that read different rows: a file has changed between them."""
    read: dict[str, dict[str, Recorded]] = {}
    for run in runs:
        if (sha256 := run.environment.data_sha256) is not None:
            read.setdefault(json.dumps(run.data, sort_keys=True), {}).setdefault(sha256, run)
    for different in read.values():
        if len(different) > 1:
            first, second, *_ = (run.folder for run in different.values())
            say(f"{first} and {second} are of one data block, and read different data: the files have changed")


def medians(values: Values) -> tuple[Values, Values, Values]:
    """What ``statistics.median`` says of each column, at once; below six rows the band is of all of them."""
    runs = len(values)
    ordered = np.sort(np.where(np.isnan(values), np.inf, values).T).T
    low, high = ordered[(runs - 1) // 2], ordered[runs // 2]
    with np.errstate(invalid="ignore"):  # of infinities of both signs there is no middle
        middles = np.where(low == high, low, (low + high) / 2)
    if runs < MINIMUM:
        return middles, values.min(axis=0), values.max(axis=0)
    k = order(runs)
    return middles, ordered[k - 1], ordered[runs - k]


def spread(groups: list[Group], column: str) -> float:
    """The last value of ``column`` in the longest curve, divided by that in the shortest."""
    ends = [curve[-1][column] for group in groups for curve in group.curves if curve[-1][column] > 0]
    return max(ends) / min(ends) if ends else 1.0


def targets(runs: list[Recorded], metric: str) -> list[float]:
    """The targets of the runs whose target is of that metric."""
    wanted = [run.number("target") for run in runs if run.text("metric") == metric]
    return sorted({target for target in wanted if target is not None})


def with_column(runs: list[Recorded], of: str, say: Say) -> list[Recorded]:
    """The runs that recorded ``of``. Raises UserError when none has."""
    having = [run for run in runs if of in run.curve[0]]
    if not having:
        columns = dict.fromkeys(name for run in runs for name in run.curve[0])
        raise UserError(f"--of {of}: no run has it; valid: {', '.join(columns)}")
    for run in runs:
        if run not in having:
            say(f"left out: {run.folder} has no {of}")
    return having


def labelled(groups: list[Group]) -> tuple[list[str], str]:
    """A label for every group, and the title: what all groups share stands in the title alone."""
    parts = [group.parts() for group in groups]
    shared = [len({each[place] for each in parts}) == 1 for place in range(4)]
    labels = []
    for experiment, method, *rest in parts:
        own = [part for part, same in zip(rest, shared[2:], strict=True) if not same]
        labels.append(style.plain(("" if shared[0] else f"{experiment}: ") + ", ".join([method, *own])))
    experiments = ", ".join(sorted({group.experiment for group in groups}))
    rest = [part for part, same in zip(parts[0][2:], shared[2:], strict=True) if same]
    return labels, style.plain(", ".join([experiments, *rest]))


def coinciding(axes: Axes, lines: dict[str, Line2D]) -> str:
    """Which curves lie on another one as far as they go, by their labels: 'b and c coincide with a'."""
    axes.get_xlim(), axes.get_ylim()  # now the limits are those of what was drawn
    to_axes = axes.transData - axes.transAxes
    places = {label: to_axes.transform(line.get_xydata()) for label, line in lines.items()}
    on: dict[str, list[str]] = {}
    for label, points in places.items():
        below = next((other for other in on if _is_one_line(points, places[other])), None)
        if below is None:
            on[label] = []
        else:
            on[below].append(label)
    sentences = []
    for below, (*labels, last) in ((below, labels) for below, labels in on.items() if labels):
        several = f"{', '.join(labels)} and {last} coincide" if labels else f"{last} coincides"
        sentences.append(f"{several} with {below}")
    return "; ".join(sentences)


def _is_one_line(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    """Whether lines of points (x, y), in parts of the axes, are one as far as both go, at least half their way."""
    start, end = max(one[0, 0], other[0, 0]), min(one[-1, 0], other[-1, 0])
    if end - start < 0.5 * max(one[-1, 0] - one[0, 0], other[-1, 0] - other[0, 0]) or end <= start:
        return False
    x = np.concatenate([one[:, 0], other[:, 0]])
    x = x[(start <= x) & (x <= end)]
    return bool(np.all(np.abs(np.interp(x, *one.T) - np.interp(x, *other.T)) <= _LINE))
