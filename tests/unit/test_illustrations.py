"""The explanatory figures: what their points say, and that every figure is drawn from its points alone."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from admmctl.data.swissroll import SwissRollSettings, SwissRollSource
from admmctl.experiment.config import load
from admmctl.model.activations import activation
from admmctl.papers import explained, toys
from admmctl.papers.draw import draw
from admmctl.papers.entry import Material, Request

ENTRIES = {entry.name: entry for entry in explained.ENTRIES}
COMPUTED = [name for name, entry in ENTRIES.items() if entry.dataset is None]
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def material(name: str, seed: int = 0) -> Material:
    entry = ENTRIES[name]
    return Material(entry, "quick", points=entry.points(Request(seed)))


def drawn(name: str) -> Figure:
    figure, _ = ENTRIES[name].drawing.draw(material(name))
    return figure


# --- the points


def test_the_network_that_is_sketched_is_that_of_the_example():
    network = load(Path(__file__).parents[2] / "configs" / "swissroll.yaml").runs["admm"].network
    assert (3, *network.layers, 1) == explained.SIZES
    points = explained.neuron(Request())
    for layer, size in enumerate(explained.SIZES):
        units = points.column("unit", layer=layer).tolist()
        assert (units[0], units[-1]) == (1, size)
        assert len(units) == min(size, explained.MOST_UNITS)
        heights = points.column("y", layer=layer)
        assert (heights[:-1] > heights[1:]).all()
        assert heights[0] == -heights[-1]  # centred


def test_the_activations_are_those_that_networks_compute():
    points = explained.activations(Request())
    z = points.column("z", activation="step")
    assert points.column("h", activation="step").tolist() == [float(at > 0) for at in z]
    for name in ("tanh", "sigmoid", "relu", "hard-sigmoid", "dcutlu(-1, 1)"):
        h = activation(name)
        np.testing.assert_array_equal(points.column("h", activation=name), h.value(z[None], z[None].copy())[0])
    np.testing.assert_allclose(points.column("h", activation="cosine"), np.cos(z), atol=1e-12)
    for name in points.facts["activations"]:
        # The slope, against differences; at a kink and at a step there is none.
        a, slope = (points.column(key, activation=name) for key in ("h", "slope"))
        smooth = np.abs(z[1:-1] - np.round(z[1:-1])) > 0.03
        differences = (a[2:] - a[:-2]) / (z[2:] - z[:-2])
        np.testing.assert_allclose(slope[1:-1][smooth], differences[smooth], atol=1e-3)


@SEEDS
def test_by_parameters_fit_the_points_ever_better_and_in_the_end_through_them(seed):
    points = toys.by_parameters(Request(seed))
    training, fresh = (points.column("y", panel="rms", kind=kind) for kind in ("training", "fresh"))
    assert len(training) == 10
    assert (np.diff(training) <= 1e-9).all()
    assert training[-1] < 1e-9  # n = 10, M = 9
    assert fresh[-1] > 1.2 * fresh.min()  # overfitting
    assert fresh.min() > 0.9 * toys.NOISE  # nobody foresees the noise
    for M in (0, 1, 3):
        x, y = (points.column(key, panel=f"M = {M}", kind="observed") for key in "xy")
        fine, fit = (points.column(key, panel=f"M = {M}", kind="fit") for key in "xy")
        np.testing.assert_allclose(fit, np.polyval(np.polyfit(x, y, M), fine), atol=1e-9)
    observed = [points.column("y", panel=f"M = {M}", kind="observed").tolist() for M in (0, 1, 3, 9)]
    assert all(each == observed[0] for each in observed)


@SEEDS
def test_by_samples_bring_both_errors_to_that_of_the_noise(seed):
    points = toys.by_samples(Request(seed))
    training, fresh = (points.column("y", panel="rms", kind=kind) for kind in ("training", "fresh"))
    assert points.column("x", panel="rms", kind="fresh")[0] == 10
    assert training[0] == pytest.approx(0, abs=1e-9)
    assert fresh[0] > 1.5 * fresh[-1]
    assert [training[-1], fresh[-1]] == pytest.approx([toys.NOISE] * 2, rel=0.1)
    assert (fresh > training).all()


@SEEDS
def test_no_threshold_on_x_separates_the_classes_and_one_on_its_square_does(seed):
    points = toys.features(Request(seed))
    x, squares, labels = (points.column(key) for key in ("x", "x^2", "class"))
    np.testing.assert_array_equal(squares, x**2)
    assert ((squares > points.facts["threshold"]) == labels).all()
    cuts = np.concatenate([[-9], (np.sort(x)[1:] + np.sort(x)[:-1]) / 2])
    best = max(max(np.mean((x > cut) == labels), np.mean((x < cut) == labels)) for cut in cuts)
    assert points.facts["accuracy_x"] == pytest.approx(best)
    assert best < 0.9
    assert points.facts["accuracy_x2"] == 1.0


@SEEDS
def test_gradient_descent_lowers_the_objective_all_the_way_and_finds_the_boundary(seed):
    points = toys.boundary(Request(seed))
    training = [row for row in points.rows if row["part"] == "training"]
    objective, accuracy = (points.column(key, part="training") for key in ("objective", "accuracy"))
    assert (np.diff(objective) < 0).all()
    assert accuracy[-1] > max(0.9, accuracy[0])
    x, y, labels = (points.column(key, part="data") for key in ("x", "y", "class"))
    assert ((y > 4 * x + 2) == labels).all()
    # The line that is drawn is the classifier of that accuracy.
    for row in training:
        if row["iteration"] in toys.ITERATIONS:
            assert np.mean((row["w_x"] * x + row["w_y"] * y + row["w_1"] > 0) == labels) == row["accuracy"]
    assert -training[-1]["w_x"] / training[-1]["w_y"] == pytest.approx(4, abs=0.3)


def test_the_roll_is_that_of_the_dataset():
    points = explained.swissroll(Request(3))
    source = SwissRollSource(SwissRollSettings(rows=1500, seed=3))
    n, rolled = points.facts["n"], np.empty((1500, 3), np.float32)
    source.inputs("train", range(n), rolled)
    np.testing.assert_array_equal(np.column_stack([points.column(key) for key in "xyz"]), rolled)
    np.testing.assert_array_equal(points.column("class"), source.labels("train", range(n)))
    along, across = points.column("along"), points.column("across")
    assert ((along < 0.5) ^ (across < 0.5)).astype(int).tolist() == points.column("class").tolist()


@pytest.mark.parametrize("name", COMPUTED)
def test_a_seed_gives_the_same_points_and_another_gives_others(name):
    first, same, other = (str(ENTRIES[name].points(Request(seed)).rows) for seed in (0, 0, 1))
    assert first == same  # as text, in which NaN equals itself
    assert (first == other) == (name in ("neuron", "activations"))


# --- the drawings


@pytest.mark.parametrize("name", COMPUTED)
def test_a_figure_lies_with_its_points(name, tmp_path):
    shown = material(name)
    files = draw(shown, tmp_path)["files"]
    assert files == [str(tmp_path / f"{name}.{suffix}") for suffix in ("png", "pdf", "csv", "json")]
    assert [Path(file).read_bytes()[:4] for file in files[:2]] == [b"\x89PNG", b"%PDF"]
    with Path(files[2]).open() as file:
        rows = list(csv.DictReader(file))
    for row, expected in zip(rows, shown.points.rows, strict=True):
        assert {key: text for key, text in row.items() if text} == {key: str(x) for key, x in expected.items()}


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
    for text, other in combinations(texts, 2):
        assert not text.get_window_extent().overlaps(other.get_window_extent()), (text, other)


def test_the_digits_that_are_shown_have_the_labels_they_stand_under(monkeypatch):
    labels = np.array([1, 0, 1, 5, 1, 1, 1, 1, 5])
    images = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    monkeypatch.setattr(explained, "_svhn", lambda mirror: (images, labels))
    points = explained.digits(Request())
    np.testing.assert_array_equal(points.images[:, 0, 0, 0], points.column("row"))
    np.testing.assert_array_equal(labels[points.column("row")], points.column("label"))
    assert points.column("row", label=1).tolist() == [0, 2, 4, 5, 6]  # the first five
    panels = enumerate(explained.draw_digits(points).axes)
    shown = {number: axes.images[0].get_array()[0, 0, 0] for number, axes in panels if axes.images}
    assert shown[0] == 1  # a zero, on top
    assert [shown[10 * place + 1] for place in range(5)] == [0, 2, 4, 5, 6]
    assert len(shown) == len(points.rows)
