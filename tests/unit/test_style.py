"""The look of methods: every kind has one, and two that stand side by side never the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from admmctl.methods.method import methods
from admmctl.report import style

# Kinds that experiments compare: their colours differ, for a reader separates lines by those first.
TOGETHER = [
    ("admm", "graph-admm", "sgd", "adam", "cg", "lbfgs", "linear"),
    ("admm", "gd", "sgd", "adam", "cg", "lbfgs", "linear"),
    ("admm", "classical-admm", "sgd"),
    ("admm", "admm-printed", "classical-admm"),
    ("admm", "admm-printed", "gd"),
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


DRAW = """
from pathlib import Path
from admmctl.report import figures, style
figure, axes = style.plt.subplots()
axes.plot([1, 2], [3, 4], label="a")
axes.set_xlabel("x_1 (50 %)")
axes.legend()
style.save(figure, Path({path!r}))
"""
# A matplotlibrc of somebody whose figures are for a screen and a paper of their own.
THEIRS = """
backend: Qt4Agg
text.usetex: True
font.family: No Such Font
font.size: 20
figure.dpi: 7
savefig.transparent: True
no.such.key: 1
axes.prop_cycle: nonsense
"""


@pytest.mark.parametrize(
    ("variables", "file"), [({"MPLBACKEND": "Qt4Agg"}, ""), ({}, THEIRS)], ids=["variable", "file"]
)
def test_figures_are_files_of_our_look_whatever_matplotlib_is_told(
    tmp_path: Path, variables: dict[str, str], file: str
) -> None:
    (tmp_path / "matplotlibrc").write_text(file)
    code = DRAW.format(path=str(tmp_path / "theirs"))
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | variables, check=True)
    exec(DRAW.format(path=str(tmp_path / "ours")))
    for ending in ("png", "pdf"):
        assert (tmp_path / f"theirs.{ending}").read_bytes() == (tmp_path / f"ours.{ending}").read_bytes()
