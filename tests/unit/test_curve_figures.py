"""Figures of curves, on made-up runs: which column they show, on which axes, and whose line is whose."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from support.studies import write_curve, write_run

from admmctl.errors import UserError
from admmctl.report import figures, style
from admmctl.runs.recorded import Recorded

LOSSES = [0.5, 0.2, 0.1]


@dataclass
class Drawing:
    """What ``accuracy_plot`` draws, instead of its files."""

    axes: Axes = field(init=False)
    path: Path | None = None
    notes: list[str] = field(default_factory=list)

    def save(self, figure: Figure, path: Path) -> list[Path]:
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
    assert axes.get_title("left") == "made, seed 0"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{name}, {ranks}" for name in ("a", "b") for ranks in ("1 rank", "2 ranks")
    ]


def test_the_target_is_on_the_figure_of_its_own_metric(draw, solvers):
    def annotations(**view: Any) -> str:
        return " ".join(text.get_text() for text in draw(solvers, **view).texts)

    assert "training target 0.9: runs stop there" in annotations(of="train_accuracy")
    assert "training target 0.9" in annotations(training=True)
    assert annotations() == ""


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
