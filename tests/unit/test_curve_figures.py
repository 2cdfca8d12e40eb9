"""Figures of curves, on made-up runs: which column they show, on which axes, and whose line is whose."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from support.studies import write_curve, write_run

from admmctl.errors import UserError
from admmctl.report import figures, style

LOSSES = [0.5, 0.2, 0.1]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is drawn with its path, instead of its files."""
    found: list[Any] = []
    monkeypatch.setattr(figures.style, "save", lambda figure, path: found.append((figure, path)) or [])
    return found


def run(place: Path, method: str, block: dict[str, Any], seed: int = 0, cores: int = 1, **columns: Any) -> Path:
    blocks = {"data": {"name": "swissroll"}, "network": {"layers": [4]}, "methods": {method: block}}
    config = {"name": "made", **blocks, "seed": seed}
    folder = place / "made" / f"{method}-p{cores}-s{seed}"
    write_run(folder, cores=cores, seed=seed, time=1.0, config=config, metric="train_accuracy", method=method)
    write_curve(folder, LOSSES, **columns)
    return folder


@pytest.fixture
def solvers(tmp_path: Path) -> list[Path]:
    """Three solvers of the convex method, which have an objective, and Adam, which has none."""
    blocks = {"exact": {}, "rbcd": {}, "again": {"solver": "rbcd", "block": 1}}
    convex = [
        run(tmp_path, name, {"kind": "convex-admm", "solver": name, **block}, objective=[500.0, 0.0, 200.0])
        for name, block in blocks.items()
    ]
    return [*convex, run(tmp_path, "mlp", {"kind": "adam"})]


def lines(axes: Axes) -> dict[str, Any]:
    return {str(line.get_label()): line for line in axes.get_lines() if line.get_xdata() is not None}


def test_every_look_is_of_one_method_only():
    assert len(set(style.METHODS.values())) == len(style.METHODS)
    solvers = ["exact", "cholesky", "convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"]
    assert len({style.look(name)[0] for name in [*solvers, "adam"]}) == 8  # by colour alone, too


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


def test_a_column_is_drawn_for_those_that_have_it(drawn, solvers):
    said: list[str] = []
    figures.accuracy_plot(solvers, None, of="objective", against="iterations", say=said.append)
    ((figure, path),) = drawn
    (axes,) = figure.axes
    assert path == solvers[0].parent / "objective"
    assert axes.get_ylabel() == "objective (log)"
    assert axes.get_yscale() == "log"
    assert lines(axes)["exact"].get_ydata().tolist() == [500.0, 200.0]  # zero has no place on such an axis
    assert lines(axes)["exact"].get_xdata().tolist() == [0.0, 2.0]
    assert "mlp" not in lines(axes)
    assert said == [f"left out: {solvers[3]} has no objective"]


def test_one_solver_with_two_settings_has_one_colour_and_two_lines(drawn, solvers):
    figures.accuracy_plot(solvers, None, of="train_loss")
    found = lines(drawn[0][0].axes[0])
    assert found["rbcd"].get_color() == found["again"].get_color() == style.VERMILLION
    assert found["rbcd"].get_linestyle() != found["again"].get_linestyle()
    assert found["rbcd"].get_markerfacecolor() != found["again"].get_markerfacecolor()
    assert found["mlp"].get_color() == style.PURPLE


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
def test_the_axis_of_the_values(drawn, tmp_path, of, scale, expected):
    folder = run(tmp_path, "admm", {}, signed=[-1.0, 1.0, 2.0], nothing=[0.0, 0.0, 0.0])
    figures.accuracy_plot([folder], None, of=of, scale=scale)
    assert drawn[0][0].axes[0].get_yscale() == expected


def test_the_ticks_of_a_loss_that_stays_within_a_power_of_ten_are_numbers(drawn, solvers):
    figures.accuracy_plot(solvers, None, of="train_loss")
    axes = drawn[0][0].axes[0]
    drawn[0][0].canvas.draw()
    ticks = [*axes.yaxis.get_majorticklabels(), *axes.yaxis.get_minorticklabels()]
    assert {"0.1", "0.2", "0.3", "0.5"} <= {tick.get_text() for tick in ticks}


def test_what_all_runs_share_is_in_the_title_and_the_rest_in_the_legend(drawn, tmp_path):
    folders = [run(tmp_path, name, {"kind": "admm"}, cores=cores) for name in ("a", "b") for cores in (1, 2)]
    figures.accuracy_plot(folders, None)
    axes = drawn[0][0].axes[0]
    assert axes.get_title("left") == "made, seed 0"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{name}, {ranks}" for name in ("a", "b") for ranks in ("1 rank", "2 ranks")
    ]


def test_the_target_is_on_the_figure_of_its_own_metric(drawn, solvers):
    def words() -> str:
        return " ".join(text.get_text() for text in drawn[-1][0].axes[0].texts)

    figures.accuracy_plot(solvers, None, of="train_accuracy")
    assert "training target 0.9: runs stop there" in words()
    figures.accuracy_plot(solvers, None, training=True)
    assert "training target 0.9" in words()
    figures.accuracy_plot(solvers, None)
    assert words() == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"of": "test_loss"},
            ["--of test_loss", "no run has it", "train_loss", "objective"],
        ),
        ({"of": "nothing"}, ["--of nothing: no run has it; valid: iteration, epoch"]),
        ({"of": "train_loss", "training": True}, ["--training", "--of train_loss"]),
        ({"of": "zero", "scale": "log"}, ["--scale log", "zero"]),
    ],
)
def test_what_cannot_be_drawn_is_refused(drawn, tmp_path, options, words):
    folder = run(tmp_path, "admm", {}, objective=[1.0, 1.0, 1.0], zero=[0.0, 0.0, 0.0])
    with pytest.raises(UserError) as refused:
        figures.accuracy_plot([folder], None, **options)
    assert all(word in str(refused.value) for word in words)
    assert not drawn


def test_a_median_counts_runs_whose_set_up_takes_longer_than_others_run(tmp_path, drawn):
    folders = [
        run(tmp_path, "exact", {"kind": "convex-admm"}, seed, setup=setup) for seed, setup in enumerate([1, 1, 9])
    ]
    figures.accuracy_plot(folders, None)
    line = lines(drawn[0][0].axes[0])["exact"]
    assert line.get_xdata().tolist() == pytest.approx([1.0, 1.1, 1.2, 9.0, 9.1, 9.2])
    # Two of three are done before the third has begun; until then it is untrained.
    assert line.get_ydata().tolist() == pytest.approx([0.45, 0.75, 0.85, 0.85, 0.85, 0.85])
