"""Figures of curves, on made-up runs: which column they show, on which axes, and whose line is whose."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from support import recorded_runs
from support.studies import write_curve, write_run

from admmctl.errors import UserError
from admmctl.report import curves, figures, style
from admmctl.runs.recorded import Recorded
from admmctl.studies.statistics import MINIMUM, median

LOSSES = [0.5, 0.2, 0.1]


@dataclass
class Drawing:
    """What ``accuracy_plot`` draws, instead of its files."""

    axes: Axes = field(init=False)
    path: Path | None = None
    notes: list[str] = field(default_factory=list)

    def save(self, figure: Figure, path: Path, made_up: bool) -> list[Path]:
        (self.axes,), self.path = figure.axes, path
        return []

    def __call__(self, runs: list[Recorded], **view: Any) -> Axes:
        figures.accuracy_plot(runs, None, figures.View(**view), self.notes.append)
        return self.axes


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Drawing:
    drawing = Drawing()
    monkeypatch.setattr(figures.style, "save", drawing.save)
    return drawing


def run(
    place: Path, method: str, block: dict[str, Any], seed: int = 0, cores: int = 1, **columns: Any
) -> Recorded:
    blocks = {"data": {"name": "swissroll"}, "network": {"layers": [4]}, "methods": {method: block}}
    config = {"name": "made", **blocks, "seed": seed}
    folder = place / "made" / f"{method}-p{cores}-s{seed}"
    write_run(folder, cores=cores, seed=seed, time=1.0, config=config, metric="train_accuracy", method=method)
    write_curve(folder, LOSSES, **columns)
    return Recorded(folder)


@pytest.fixture
def solvers(tmp_path: Path) -> list[Recorded]:
    """Three solvers of the convex method, which have an objective, and Adam, which has none."""
    blocks = {"exact": {}, "rbcd": {}, "rbcd-1": {"solver": "rbcd", "block": 1}}
    convex = [
        run(tmp_path, name, {"kind": "convex-admm", "solver": name, **block}, objective=[500.0, 0.0, 200.0])
        for name, block in blocks.items()
    ]
    return [*convex, run(tmp_path, "mlp", {"kind": "adam"})]


def lines(axes: Axes) -> dict[str, Any]:
    return {str(line.get_label()): line for line in axes.get_lines() if line.get_xdata() is not None}


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    assert found.get_bbox_to_anchor().transformed(axes.transAxes.inverted()).y1 < 0  # below, where no curve is
    return [text.get_text() for text in found.get_texts()]


@pytest.fixture
def finals(tmp_path: Path) -> Callable[..., list[Recorded]]:
    """Runs that end at these test accuracies, by method, all from 0.5 over 0.8. Their target: 0.9."""

    def runs(**by_method: tuple[float, ...]) -> list[Recorded]:
        return [
            Recorded(recorded_runs.write_run(tmp_path, method, seed=seed, accuracies=(0.5, 0.8, final)))
            for method, values in by_method.items()
            for seed, final in enumerate(values)
        ]

    return runs


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ({"kind": "convex-admm", "solver": "rbcd"}, "rbcd"),
        ({"kind": "convex-admm", "solver": "auto"}, "convex-admm"),
        ({"kind": "convex-admm", "solver": "rbcd", "backend": "numpy"}, "rbcd"),
        ({"kind": "convex-admm", "solver": "rbcd", "backend": "jax"}, "rbcd-jax"),
        ({"kind": "convex-admm", "solver": "exact", "backend": "jax"}, "exact"),
        ({"kind": "admm"}, "admm"),
        ({}, "mine"),
    ],
)
def test_a_convex_method_looks_like_its_solver(block, kind):
    assert style.kind("mine", block) == kind


def test_a_column_is_drawn_for_those_that_have_it(draw, solvers):
    axes = draw(solvers, of="objective", against="iterations")
    assert draw.path == solvers[0].folder.parent / "objective"
    assert axes.get_ylabel() == "objective (log)"
    assert axes.get_yscale() == "log"
    assert lines(axes)["exact"].get_ydata().tolist() == [500.0, 200.0]  # zero has no place on such an axis
    assert lines(axes)["exact"].get_xdata().tolist() == [0.0, 2.0]
    assert "mlp" not in lines(axes)
    assert draw.notes == [f"left out: {solvers[3].folder} has no objective"]


def test_one_solver_with_two_settings_has_one_colour_and_two_lines(draw, solvers):
    axes = draw(solvers, of="train_loss")
    found = lines(axes)
    assert found["rbcd"].get_color() == found["rbcd-1"].get_color() == style.VERMILLION
    assert found["rbcd"].get_linestyle() != found["rbcd-1"].get_linestyle()
    assert found["rbcd"].get_markerfacecolor() != found["rbcd-1"].get_markerfacecolor()
    assert found["mlp"].get_color() == style.PURPLE
    # The ticks of a loss that stays within a power of ten are numbers.
    axes.figure.canvas.draw()
    ticks = [*axes.yaxis.get_majorticklabels(), *axes.yaxis.get_minorticklabels()]
    assert {"0.1", "0.2", "0.3", "0.5"} <= {tick.get_text() for tick in ticks}


@pytest.mark.parametrize(
    ("of", "scale", "expected"),
    [
        ("train_loss", "auto", "log"),
        ("train_loss", "linear", "linear"),
        ("train_accuracy", "auto", "linear"),
        ("train_accuracy", "log", "log"),
        ("signed", "auto", "linear"),
        ("signed", "log", "log"),
        ("nothing", "auto", "linear"),
    ],
)
def test_the_axis_of_the_values(draw, tmp_path, of, scale, expected):
    found = run(tmp_path, "admm", {}, signed=[-1.0, 1.0, 2.0], nothing=[0.0, 0.0, 0.0])
    assert draw([found], of=of, scale=scale).get_yscale() == expected


def test_what_all_runs_share_is_in_the_title_and_the_rest_in_the_legend(draw, tmp_path):
    axes = draw([run(tmp_path, name, {"kind": "admm"}, cores=cores) for name in ("a", "b") for cores in (1, 2)])
    assert axes.get_title("left").splitlines()[0] == "made, seed 0"
    expected = [f"{name}, {ranks}" for name in ("a", "b") for ranks in ("1 rank", "2 ranks")]
    assert legend(axes) == expected


def test_the_target_is_on_the_figure_of_its_own_metric(draw, solvers):
    def targets(**view: Any) -> list[str]:
        return [text for text in legend(draw(solvers, **view)) if "target" in text]

    assert targets(of="train_accuracy") == ["training target 0.9: runs stop there"]
    assert targets(training=True) == ["training target 0.9: runs stop there"]
    assert targets() == []


@pytest.mark.parametrize(
    ("view", "texts"),
    [
        ({"of": "test_loss"}, ["--of test_loss", "no run has it", "train_loss", "objective"]),
        ({"of": "nothing"}, ["--of nothing: no run has it; valid: iteration, epoch"]),
        ({"of": "train_loss", "training": True}, ["--training", "--of train_loss"]),
        ({"of": "zero", "scale": "log"}, ["--scale log", "zero"]),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, tmp_path, view, texts):
    found = run(tmp_path, "admm", {}, objective=[1.0, 1.0, 1.0], zero=[0.0, 0.0, 0.0])
    with pytest.raises(UserError) as refused:
        draw([found], **view)
    assert all(word in str(refused.value) for word in texts)
    assert draw.path is None


def test_a_median_counts_runs_whose_set_up_takes_longer_than_others_run(tmp_path, draw):
    block = {"kind": "convex-admm"}
    axes = draw([run(tmp_path, "exact", block, seed, setup=setup) for seed, setup in enumerate([1, 1, 9])])
    line = lines(axes)["exact"]
    assert line.get_xdata().tolist() == pytest.approx([1.0, 1.1, 1.2, 9.0, 9.1, 9.2])
    # Two of three are done before the third has begun; until then it is untrained.
    assert line.get_ydata().tolist() == pytest.approx([0.45, 0.75, 0.85, 0.85, 0.85, 0.85])


# --- high accuracies


@pytest.mark.parametrize(
    ("by_method", "are_errors"),
    [
        ({"admm": (0.96,)}, True),
        ({"admm": (0.95,)}, False),
        ({"admm": (0.99,), "sgd": (0.81,)}, True),
        ({"admm": (0.99,), "sgd": (0.8,)}, True),  # half of them is enough
        ({"admm": (0.99,), "sgd": (0.8,), "cg": (0.6,)}, False),  # they would be squeezed together
        ({"admm": (0.99, 0.9, 0.9)}, False),  # the median counts
        ({"admm": (1.0,)}, True),
    ],
    ids=str,
)
def test_accuracies_above_95_percent_are_drawn_as_error_rates(draw, finals, by_method, are_errors):
    axes = draw(finals(**by_method))
    assert axes.get_ylabel() == ("test error, %" if are_errors else "test accuracy")
    assert (axes.get_yscale() != "linear") == are_errors


def test_the_target_and_the_curve_of_an_error_rate_are_errors_too(draw, finals):
    axes = draw(finals(admm=(0.96, 0.98, 0.99)))
    assert lines(axes)["admm"].get_ydata().tolist() == [50, 20, 2]
    assert legend(axes) == ["admm", "target 10 %: runs stop there"]
    (target,) = (line for line in axes.get_lines() if "target" in str(line.get_label()))
    assert list(target.get_ydata()) == [10, 10]
    (band,) = axes.collections
    assert band.get_paths()[0].get_extents().ymin == pytest.approx(1)
    assert axes.get_yscale() == "log"


def test_the_training_accuracy_beside_it_is_an_error_rate_as_well(draw, finals):
    axes = draw(finals(admm=(0.98,)), training=True)
    assert axes.get_ylabel() == "error, %: test thick, training thin"
    drawn = [line.get_ydata().tolist() for line in axes.get_lines() if len(line.get_xdata()) == 3]
    assert drawn == [[50, 20, 2]] * 2


def test_no_error_at_all_has_a_place_below_the_others(draw, finals):
    axes = draw(finals(admm=(1.0,), sgd=(0.995,)))
    assert lines(axes)["admm"].get_ydata().tolist() == [50, 20, 0]
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    ticks = [
        tick.get_text()
        for tick, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        if low <= at <= high
    ]
    assert ticks == ["0", "1", "3", "10", "30"]
    places = axes.transData.transform([(0, 0), (0, 0.5), (0, 1)])[:, 1]
    assert places[0] < places[1] < places[2]


@pytest.mark.parametrize(("scale", "label"), [("linear", "test accuracy"), ("log", "test accuracy (log)")])
def test_who_asks_for_an_axis_gets_accuracies_on_it(draw, finals, scale, label):
    axes = draw(finals(admm=(0.99,)), scale=scale)
    assert (axes.get_yscale(), axes.get_ylabel()) == (scale, label)
    assert lines(axes)["admm"].get_ydata().tolist() == [0.5, 0.8, 0.99]


def test_ticks_of_errors_are_round_numbers_also_in_a_narrow_range(draw, tmp_path):
    one = Recorded(recorded_runs.write_run(tmp_path, accuracies=(0.9725, 0.9735, 0.975), target=None))
    axes = draw([one])
    axes.figure.canvas.draw()
    shown = [float(tick.get_text()) for tick in axes.get_yticklabels()]
    assert len(shown) >= 3
    assert all(round(value, 2) == value for value in shown)


# --- curves that coincide


def test_curves_that_coincide_are_said_to(draw, finals):
    axes = draw(finals(admm=(0.9,), sgd=(0.7,), adam=(0.9,), gd=(0.9,)))
    assert axes.get_title("left") == "made, 1 rank, seed 0\nadam and gd coincide with admm"
    starts = [lines(axes)[name].get_markevery()[0] for name in ("admm", "sgd", "adam", "gd")]
    assert len(set(starts)) == 4  # and their markers stand in turn


def test_a_curve_coincides_as_far_as_it_goes_and_no_shorter_one_does(draw, tmp_path):
    curve = tuple(0.5 + 0.04 * place for place in range(11))
    runs = [
        Recorded(recorded_runs.write_run(tmp_path, name, accuracies=curve[:most], seconds=seconds))
        for name, most, seconds in (("admm", 11, 1.0), ("sgd", 8, 1.0), ("cg", 4, 1.0), ("gd", 11, 1.2))
    ]
    assert draw(runs).get_title("left").splitlines()[1:] == ["sgd coincides with admm"]
    # Against iterations they are all one.
    assert draw(runs, against="iterations").get_title("left").splitlines()[1:] == ["sgd and gd coincide with admm"]


def test_a_method_of_one_step_is_seen_on_a_logarithmic_axis(draw, tmp_path):
    """Its start at 0 s has no place there: what is left is one point."""
    runs = [
        Recorded(recorded_runs.write_run(tmp_path, name, accuracies=(0.5, *[0.7] * steps), seconds=seconds))
        for name, steps, seconds in (("admm", 40, 1.0), ("sgd", 30, 1.0), ("linear", 1, 0.1))
    ]
    axes = draw(runs)
    assert axes.get_xscale() == "log"
    (color, marker) = style.look("linear")
    ends = [line for line in axes.get_lines() if (line.get_color(), line.get_marker()) == (color, marker)]
    assert [line.get_xydata().tolist() for line in ends if line.get_linestyle() == "None"] == [[[0.1, 0.7]]]
    axes.figure.canvas.draw()
    assert {"0.1", "1", "10"} <= {tick.get_text() for tick in axes.get_xticklabels()}


@pytest.mark.parametrize("runs", [1, 2, 5, 6, 7, 30])
def test_medians_at_all_times_are_those_at_each(runs: int) -> None:
    generator = np.random.default_rng(runs)
    values = generator.choice([0.1, 0.5, 0.7, np.inf, np.nan, -1.0], (runs, 50))
    values[:, 0] = np.inf
    middles, low, high = curves.medians(values)
    each = [median(list(column)) for column in values.T]
    np.testing.assert_array_equal(middles, [found.value for found in each])
    if runs < MINIMUM:  # a band of all runs
        np.testing.assert_array_equal((low, high), (values.min(axis=0), values.max(axis=0)))
    else:
        np.testing.assert_array_equal(low, [found.low for found in each])
        np.testing.assert_array_equal(high, [found.high for found in each])
