"""Figure 12 of Burmeister's report: the matrices that are drawn are those of a sketch, one within the other."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from admmctl.papers import sketch
from admmctl.papers.draw import draw
from admmctl.papers.entry import Material, Points, Request

(ENTRY,) = sketch.ENTRIES


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of 60 units on 200 made-up digits, and 12 columns."""
    monkeypatch.setattr(sketch, "UNITS", 60)
    monkeypatch.setattr(sketch, "COLUMNS", 12)
    a0 = np.asfortranarray(np.random.default_rng(0).random((17, 200), np.float32))
    a0[-1] = 1
    monkeypatch.setattr(sketch, "digits", lambda: a0)


def points() -> Points:
    assert ENTRY.points is not None
    return ENTRY.points(Request(seed=3))


@pytest.mark.usefixtures("digits")
def test_the_sketch_is_a_a_at_its_columns_and_less_elsewhere():
    found = points()
    assert found.images is not None
    gram, sketched = found.images
    p = found.facts["p"]
    np.testing.assert_allclose(sketched[:, :p], gram[:, :p], rtol=1e-6, atol=1e-6 * gram.max())
    lacking = np.linalg.eigvalsh(gram - sketched)
    assert lacking.min() > -1e-6 * gram.max()  # what a sketch leaves out is never negative
    assert np.linalg.matrix_rank(sketched, tol=1e-6 * gram.max()) <= p
    assert 0 < found.facts["left_out"] < 0.1
    assert found.facts["left_out"] == pytest.approx(np.linalg.norm(gram - sketched) / np.linalg.norm(gram))
    np.testing.assert_allclose(found.column("diagonal"), np.diag(gram))
    assert sorted(found.column("unit").tolist()) == list(range(60))
    assert found.column("in_sketch").sum() == 12


def drawn() -> Figure:
    return ENTRY.drawing.draw(Material(ENTRY, "quick", points=points()))[0]


@pytest.mark.usefixtures("digits")
def test_the_panels_are_cut_from_one_another():
    panels = [axes for axes in drawn().axes if axes.images]
    a, C, R, sketched = (axes.images[0].get_array() for axes in panels)
    assert [axes.get_title() for axes in panels] == ["$aa^T$", "$C$", "$R$", "$CR^{-1}C^T$"]
    assert (a.shape, C.shape, R.shape, sketched.shape) == ((60, 60), (60, 12), (12, 12), (60, 60))
    np.testing.assert_array_equal(C, a[:, :12])
    np.testing.assert_array_equal(R, a[:12, :12])
    assert len({axes.images[0].get_clim() for axes in panels}) == 1


@pytest.mark.usefixtures("digits")
def test_its_caption_says_that_the_report_has_the_shapes_alone(tmp_path):
    figure = draw(Material(ENTRY, "quick", points=points()), tmp_path)
    assert figure["caption"].endswith(f"Differs from the paper: {ENTRY.differs}.")
    assert figure["facts"]["k"] == 60
