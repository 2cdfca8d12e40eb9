"""The explanatory figures: what their points say, and that every figure is drawn from its points alone."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from admmctl.data.swissroll import SwissRollSettings, SwissRollSource
from admmctl.experiment.config import load
from admmctl.model.activations import activation
from admmctl.papers import drawings as report
from admmctl.papers import explained as study
from admmctl.papers import toys
from admmctl.papers.explained import FIGURES, Request

SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])
COMPUTED = [name for name in FIGURES if name != "digits"]


def column(points: toys.Points, key: str, **only: Any) -> Any:
    return report.column(points.rows, key, **only)


# --- the points


def test_the_network_that_is_sketched_is_that_of_the_example():
    network = load(Path(__file__).parents[2] / "configs" / "swissroll.yaml").runs["admm"].network
    assert (3, *network.layers, 1) == study.SIZES
    points = study.neuron(Request())
    for layer, size in enumerate(study.SIZES):
        units = column(points, "unit", layer=layer).tolist()
        assert (units[0], units[-1]) == (1, size)
        assert len(units) == min(size, study.MOST_UNITS)
        heights = column(points, "y", layer=layer)
        assert (heights[:-1] > heights[1:]).all()
        assert heights[0] == -heights[-1]  # centred


def test_the_activations_are_those_that_networks_compute():
    points = study.activations(Request())
    z = column(points, "z", activation="step")
    assert column(points, "h", activation="step").tolist() == [float(at > 0) for at in z]
    for name in ("tanh", "sigmoid", "relu", "hard-sigmoid", "dcutlu(-1, 1)"):
        h = activation(name)
        np.testing.assert_array_equal(column(points, "h", activation=name), h.value(z[None], z[None].copy())[0])
    np.testing.assert_allclose(column(points, "h", activation="cosine"), np.cos(z), atol=1e-12)
    for name in points.facts["activations"]:
        # The slope, against differences; at a kink and at a step there is none.
        a, slope = column(points, "h", activation=name), column(points, "slope", activation=name)
        smooth = np.abs(z[1:-1] - np.round(z[1:-1])) > 0.03
        differences = (a[2:] - a[:-2]) / (z[2:] - z[:-2])
        np.testing.assert_allclose(slope[1:-1][smooth], differences[smooth], atol=1e-3)


@SEEDS
def test_more_parameters_fit_the_points_ever_better_and_in_the_end_through_them(seed):
    points = study.polynomials_parameters(Request(seed))
    training = column(points, "y", panel="rms", kind="training")
    fresh = column(points, "y", panel="rms", kind="fresh")
    assert len(training) == 10
    assert (np.diff(training) <= 1e-9).all()
    assert training[-1] < 1e-9  # n = 10, M = 9
    assert fresh[-1] > 1.2 * fresh.min()  # overfitting
    assert fresh.min() > 0.9 * toys.NOISE  # nobody foresees the noise


@SEEDS
def test_a_drawn_fit_is_the_least_squares_polynomial_of_its_points(seed):
    points = study.polynomials_parameters(Request(seed))
    for M in (0, 1, 3):
        panel = f"M = {M}"
        x, y = (column(points, key, panel=panel, kind="observed") for key in "xy")
        fine, drawn = (column(points, key, panel=panel, kind="fit") for key in "xy")
        expected = np.polyval(np.polyfit(x, y, M), fine)
        np.testing.assert_allclose(drawn, expected, atol=1e-9)
    observed = [column(points, "y", panel=f"M = {M}", kind="observed").tolist() for M in (0, 1, 3, 9)]
    assert all(each == observed[0] for each in observed)


@SEEDS
def test_more_samples_bring_both_errors_to_that_of_the_noise(seed):
    points = study.polynomials_samples(Request(seed))
    n = column(points, "x", panel="rms", kind="fresh")
    training, fresh = (column(points, "y", panel="rms", kind=kind) for kind in ("training", "fresh"))
    assert (n[0], training[0]) == (10, pytest.approx(0, abs=1e-9))
    assert fresh[0] > 1.5 * fresh[-1]
    assert fresh[-1] == pytest.approx(toys.NOISE, rel=0.1)
    assert training[-1] == pytest.approx(toys.NOISE, rel=0.1)
    assert (fresh > training).all()


@SEEDS
def test_no_threshold_on_x_separates_the_classes_and_one_on_its_square_does(seed):
    points = study.features(Request(seed))
    x, squares, labels = (column(points, key) for key in ("x", "x^2", "class"))
    np.testing.assert_array_equal(squares, x**2)
    assert ((squares > points.facts["threshold"]) == labels).all()
    cuts = np.concatenate([[-9], (np.sort(x)[1:] + np.sort(x)[:-1]) / 2])
    best = max(max(np.mean((x > cut) == labels), np.mean((x < cut) == labels)) for cut in cuts)
    assert points.facts["accuracy_x"] == pytest.approx(best)
    assert best < 0.9
    assert points.facts["accuracy_x2"] == 1.0


@SEEDS
def test_gradient_descent_lowers_the_objective_all_the_way_and_finds_the_boundary(seed):
    points = study.boundary(Request(seed))
    objective, accuracy = (column(points, key, part="training") for key in ("objective", "accuracy"))
    assert (np.diff(objective) < 0).all()
    assert accuracy[-1] > max(0.9, accuracy[0])
    x, y, labels = (column(points, key, part="data") for key in ("x", "y", "class"))
    assert ((y > 4 * x + 2) == labels).all()
    # The line that is drawn is the classifier whose accuracy is told.
    for place, iteration in enumerate(column(points, "iteration", part="training")):
        if iteration in toys.ITERATIONS:
            w_x, w_y, w_1 = (column(points, key, part="training")[place] for key in ("w_x", "w_y", "w_1"))
            assert np.mean((w_x * x + w_y * y + w_1 > 0) == labels) == accuracy[place]
    slope = -column(points, "w_x", part="training")[-1] / column(points, "w_y", part="training")[-1]
    assert slope == pytest.approx(4, abs=0.3)


def test_the_roll_is_that_of_the_dataset():
    points = study.swissroll(Request(3))
    source = SwissRollSource(SwissRollSettings(rows=1500, seed=3))
    n, rolled = points.facts["n"], np.empty((1500, 3), np.float32)
    source.inputs("train", range(n), rolled)
    np.testing.assert_array_equal(np.column_stack([column(points, key) for key in "xyz"]), rolled)
    np.testing.assert_array_equal(column(points, "class"), source.labels("train", range(n)))
    along, across = column(points, "along"), column(points, "across")
    assert ((along < 0.5) ^ (across < 0.5)).astype(int).tolist() == column(points, "class").tolist()


@pytest.mark.parametrize("name", COMPUTED)
def test_a_seed_gives_the_same_points_and_another_gives_others(name):
    one, again, other = (FIGURES[name].compute(Request(seed)).rows for seed in (0, 0, 1))
    assert str(one) == str(again)  # NaN equals itself as text
    assert (str(one) == str(other)) == (name in ("neuron", "activations"))


# --- the drawings


def test_every_figure_has_a_drawing():
    assert set(report.DRAWINGS) | {"digits"} == set(FIGURES)


@pytest.mark.parametrize("name", COMPUTED)
def test_a_figure_lies_with_its_points(name, tmp_path):
    points = FIGURES[name].compute(Request())
    written = report.illustrate(name, points.rows, points.facts, points.images, tmp_path)
    assert written == [tmp_path / f"{name}.{suffix}" for suffix in ("png", "pdf", "csv")]
    assert [path.read_bytes()[:4] for path in written[:2]] == [b"\x89PNG", b"%PDF"]
    with written[2].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(points.rows)
    for row, expected in zip(rows, points.rows, strict=True):
        assert {key: text for key, text in row.items() if text} == {key: str(x) for key, x in expected.items()}


def drawn(name: str) -> Figure:
    points = FIGURES[name].compute(Request())
    return report.DRAWINGS[name](points.rows, points.facts)


def test_the_boundary_has_a_panel_for_every_iteration_of_the_report():
    titles = [axes.get_title("left") for axes in drawn("boundary").axes]
    assert [title.split(" iterations")[0] for title in titles[1:]] == ["0", "500", "1,000", "2,000", "3,000"]


def test_the_roll_is_drawn_from_back_to_front_in_two_colours():
    ribbon, roll = drawn("swissroll").axes
    assert len(ribbon.collections) == len(roll.collections) == 1
    assert len(np.unique(ribbon.collections[0].get_edgecolors(), axis=0)) == 2


@pytest.mark.parametrize("name", COMPUTED)
def test_no_text_of_a_figure_lies_over_another(name):
    figure = drawn(name)
    figure.canvas.draw()
    texts = [
        text
        for axes in figure.axes
        for text in (*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)  # type: ignore[attr-defined]
        if text.get_text() and text.get_visible()
    ]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for number, (words, box) in enumerate(boxes):
        for others, other in boxes[:number]:
            assert not box.overlaps(other), (words, others)


# --- digits


def test_the_digits_that_are_shown_have_the_labels_they_stand_under(results, monkeypatch):
    labels = np.array([1, 0, 1, 5, 1, 1, 1, 1, 5])
    images = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    monkeypatch.setattr(study, "_svhn", lambda mirror: (images, labels))
    points = study.digits(Request())
    assert points.images is not None
    np.testing.assert_array_equal(points.images[:, 0, 0, 0], column(points, "row"))
    np.testing.assert_array_equal(labels[column(points, "row")], column(points, "label"))
    assert column(points, "row", label=1).tolist() == [0, 2, 4, 5, 6]  # the first five
    figure = report.image_grid(points.rows, points.facts, points.images)
    shown = {number: axes.images[0].get_array()[0, 0, 0] for number, axes in enumerate(figure.axes) if axes.images}
    assert shown[0] == 1  # a zero, on top
    assert [shown[10 * place + 1] for place in range(5)] == [0, 2, 4, 5, 6]
    assert len(shown) == len(points.rows)
