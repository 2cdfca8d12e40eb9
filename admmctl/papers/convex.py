"""Feng, Shah and Abraham on convex networks by ADMM: CIFAR-10, two classes."""

import math
from dataclasses import replace

from matplotlib.figure import Figure

from admmctl.papers.claims import Claim
from admmctl.papers.draw import curves, table
from admmctl.papers.entry import Drawing, Entry, Material, Measure, Ours, Paper, Quick, Reported, Rows
from admmctl.papers.measures import FINAL_ACCURACY, THEIRS, seconds_to_target
from admmctl.report.condition import condition_figure
from admmctl.report.figures import View
from admmctl.report.phases import CONVEX_PHASES, PaperMethod, PaperTable, phase_rows, phases
from admmctl.report.text import seconds

PAPER = Paper("Feng, Shah, Abraham", "Feng")
_PAPER = "Feng, Shah and Abraham"  # where a number says its source

# Total seconds to 97 % of the training rows, and the seconds of each phase if the paper gives them.
TABLE = PaperTable(
    f"{_PAPER}, Table 1",
    "CIFAR-10, two classes, 10,000 rows, 3,072 inputs, 50 patterns; to 97 % of them",
    tuple(
        PaperMethod(method, total, dict(zip(CONVEX_PHASES, by_phase, strict=False)))
        for method, total, by_phase in (
            ("nysPCG (GPU)", 39.484, (16.321, 23.119, 0.043, 0.001)),
            ("RBCD (GPU)", 23.502, (0.000, 23.136, 0.361, 0.005)),
            ("RBCD (JAX-GPU)", 16.243, (0.000, 16.118, 0.125, 0.000)),
            ("RBCD (CPU)", 185.896, (0.523, 181.689, 3.663, 0.020)),
            ("Adam (GPU)", 55.129, ()),
        )
    ),
)
CONDITION = (
    "The paper (section 2.4 and Figure 2, its own rows): rank 100 lowers the condition\n"
    "number by a factor of 100, and Jacobi's preconditioner raises it."
)


# --- Figure 2: the condition number of the primal update


def _condition(material: Material) -> tuple[Figure, Rows]:
    assert material.conditions is not None
    rows: Rows = [{"source": "ours", **vars(point)} for point in material.conditions.points]
    return condition_figure(material.conditions), rows


def _condition_drop(material: Material, method: str) -> Ours:
    assert material.conditions is not None
    points = material.conditions.points
    plain = next(point.condition for point in points if point.preconditioner == "none")
    sketched = next((point.condition for point in points if point.rank == 100), None)
    if sketched is None:
        return None, "no sketch of rank 100"
    return plain / sketched, f"{plain / sketched:.3g} ({plain:.4g} against {sketched:.4g})"


def _condition_of_jacobi(material: Material, method: str) -> Ours:
    assert material.conditions is not None
    by_name = {point.preconditioner: point.condition for point in material.conditions.points}
    ratio = by_name["jacobi"] / by_name["none"]
    return ratio, f"{ratio:.3g}"


DROP = Measure("condition number without preconditioner over that with rank 100", "", _condition_drop)
JACOBI = Measure("condition number with Jacobi's preconditioner over that without", "", _condition_of_jacobi)


# --- Table 1: seconds by phase


def _phases(material: Material) -> tuple[Figure, Rows]:
    """Ours by phase above theirs."""
    result = replace(phases(material.runs), paper=TABLE)
    body = []
    for ours in result.methods:
        met = math.isfinite(ours.time_to_target_s)
        total = seconds(ours.time_to_target_s) if met else f"> {seconds(ours.train_s)}, missed"
        body.append([ours.method, total, *(seconds(ours.phases.get(name)) for name in CONVEX_PHASES)])
    for theirs in TABLE.methods:
        by_phase = [f"{theirs.phases[name]:.3g}" if name in theirs.phases else "-" for name in CONVEX_PHASES]
        body.append([f"{theirs.method}, {THEIRS}", f"{theirs.total_s:.3g}", *by_phase])
    return table(["", "total, s", *CONVEX_PHASES], body, len(result.methods)), phase_rows(result)


def _to_97(method: str, theirs: str, beside: str = "theirs on a GPU") -> Reported:
    total = next(row.total_s for row in TABLE.methods if row.method == theirs)
    statement = f"{total:.4g} s, {theirs}"
    return Reported(TO_97, method, total, statement, TABLE.source, 10_000, beside)


TO_97 = seconds_to_target("97 % of the training rows")
_NYSTROM, _TORCH = _to_97("nystrom-pcg", "nysPCG (GPU)"), _to_97("rbcd-torch", "RBCD (GPU)")
_RBCD, _JAX = _to_97("rbcd", "RBCD (CPU)", "their CPU"), _to_97("rbcd-jax", "RBCD (JAX-GPU)")
_MLP = _to_97("mlp", "Adam (GPU)")
_LESS = "2,000 rows, grey images of 16 x 16, at most 15 iterations or epochs, 1 repeat"
_ALL_ROWS = Entry(
    "convex-3",
    PAPER,
    "Figure 3",
    "CIFAR-10, two classes: loss and accuracy at full size, against Adam",
    curves("loss-and-accuracy", View("train_loss"), View()),
    config="cifar2-convex",
    methods=("exact", "nystrom-pcg", "rbcd", "rbcd-torch", "rbcd-printed", "mlp"),
    quick=Quick(
        f"{_LESS}, no rbcd-printed",
        ("data.first=2000", "data.grey=16", "stop.iterations=15", "methods.mlp.stop.epochs=15"),
        ("exact", "nystrom-pcg", "rbcd", "rbcd-torch", "mlp"),
    ),
    differs="theirs ran on a GPU; rbcd solves each block exactly here, rbcd-printed goes as theirs",
    reported=(_NYSTROM, _RBCD, _MLP, _TORCH),
)
_GRAPH = "a graph without numbers; nysPCG best, RBCD slower but cheaper"
_SMALL = ("convex-cg", "jacobi-pcg", "nystrom-pcg", "rbcd")
ENTRIES = (
    Entry(
        "convex-1",
        PAPER,
        "Figure 1",
        "CIFAR-10, two classes, small: loss and accuracy of approximate solvers",
        curves("loss-and-accuracy-iterations", View("test_loss", "iterations"), View(against="iterations")),
        config="cifar2-convex-small",
        methods=_SMALL,
        quick=Quick("60 iterations instead of 200, 1 repeat", ("stop.iterations=60",)),
        differs="the first 1,000 rows, grey and 10 x 10; the paper does not say which rows",
        reported=tuple(Reported(FINAL_ACCURACY, method, None, _GRAPH, "section 3.1") for method in _SMALL),
    ),
    Entry(
        "convex-2",
        PAPER,
        "Figure 2",
        "condition number of the primal update against the sketch's rank",
        Drawing("condition", _condition, source="condition"),
        config="cifar2-convex-small",
        repeats=1,
        differs="the paper's rows and penalty are not known: compare the drop, not the height",
        reported=(
            Reported(
                DROP, "nystrom", 100, "by a factor of 100", f"{_PAPER}, section 2.4", None, "other rows", False
            ),
            Reported(JACOBI, "jacobi", None, "above 1: it increases it", f"{_PAPER}, section 3.1"),
        ),
    ),
    _ALL_ROWS,
    replace(
        _ALL_ROWS,
        name="convex-4",
        number="Figure 4",
        shows="CIFAR-10, two classes: training loss of RBCD by NumPy, PyTorch, JAX",
        drawing=curves("loss", View("train_loss")),
        methods=("rbcd", "rbcd-torch", "rbcd-jax"),
        quick=replace(_ALL_ROWS.quick, less=_LESS, methods=None),
        reported=(_RBCD, _TORCH, _JAX),
    ),
    replace(
        _ALL_ROWS,
        name="convex-table1",
        number="Table 1",
        shows="CIFAR-10, two classes: seconds to 97 % of the training rows, by phase",
        drawing=Drawing("phases-table", _phases, "table", has_theirs=True),
        methods=("exact", "nystrom-pcg", "block-pcg", "rbcd", "rbcd-torch", "rbcd-jax", "rbcd-printed", "mlp"),
        quick=replace(
            _ALL_ROWS.quick,
            methods=("exact", "nystrom-pcg", "block-pcg", "rbcd", "rbcd-torch", "rbcd-jax", "mlp"),
        ),
        reported=(_NYSTROM, _RBCD, _MLP, _TORCH, _JAX),
    ),
)

CLAIMS: tuple[Claim, ...] = ()
