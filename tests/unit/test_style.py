"""The look of methods: every kind has one, and two that stand side by side never the same."""

import pytest

from admmctl.methods.method import methods
from admmctl.report import style

# Kinds that experiments compare: their colours differ, for lines are told apart by those first.
TOGETHER = [
    ("admm", "graph-admm", "sgd", "adam", "cg", "lbfgs", "linear"),
    ("admm", "gd", "sgd", "adam", "cg", "lbfgs", "linear"),
    ("admm", "classical-admm", "sgd"),
    ("admm", "stochastic-admm"),
    ("admm", "sgd", "adam", "random-features"),
    ("sgd", "torch-sgd"),
    ("adam", "torch-adam"),
    ("lbfgs", "torch-lbfgs"),
    ("admm", "torch-sgd", "torch-adam"),
    ("exact", "cholesky", "convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"),
    ("rbcd", "rbcd-torch", "rbcd-jax"),
]


def test_every_kind_of_method_has_a_look_of_its_own():
    assert set(methods) <= set(style.METHODS)
    looks = list(style.METHODS.values())
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize("kinds", TOGETHER, ids=" ".join)
def test_kinds_that_are_compared_differ_in_colour(kinds):
    colours = [style.look(kind)[0] for kind in kinds]
    assert len(set(colours)) == len(colours)
