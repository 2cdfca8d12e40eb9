"""Every figure and table of the five papers: what runs it needs, and what ``--scale quick`` makes of them.

Paper by paper, in the order of their figures; what the fields mean is in ``papers/entry.py``.
"""

from typing import Any

from admmctl.papers.entry import Entry, Quick
from admmctl.papers.explained import FIGURES

TAYLOR = "Taylor et al. 2016"
TRIDENT = "Burmeister (Trident)"
HKUST = "HKUST report"
ZHANG = "Zhang and Kleijn"
CONVEX = "Feng, Shah, Abraham"


_CRAY = "the paper ran on a Cray XC30, its baselines on an NVIDIA K40"
_SVHN: dict[str, Any] = {
    "config": "svhn",
    "repeats": 10,
    "differs": f"{_CRAY}; HOG features are computed here; ours has a bias and a ridge",
}
_HIGGS: dict[str, Any] = {
    "config": "higgs",
    "repeats": 10,
    "changes": ("stop.target=0.64",),
    "differs": f"{_CRAY}; settings of our own, with a bias and a ridge",
}
_SVHN_LESS = ("data.use=train", "data.first=6000", "stop.iterations=20", "methods.sgd.stop.epochs=5")
_HIGGS_LESS = ("data.first=10000", "stop.iterations=20", "methods.sgd.stop.epochs=5")
_BATCH_LESS = ("methods.cg.stop.iterations=20", "methods.lbfgs.stop.iterations=20")


def _time_and_accuracy(prefix: str, paper: str, number: int, data: str) -> tuple[Entry, Entry]:
    """Time to the target against cores, and accuracy against time: the pair that both papers show of a dataset."""
    of, less = (_SVHN, _SVHN_LESS) if data == "SVHN" else (_HIGGS, _HIGGS_LESS)
    target, rows = ("95 %", "6,000 official rows, no extra ones") if data == "SVHN" else ("64 %", "10,000 rows")
    counts = (64, 128, 256, 512, 1024, 2496) if data == "SVHN" else (900, 1800, 3600, 7200)
    first, second = f"{number}a", f"{number}b"
    scaling = Entry(
        f"{prefix}-{first}",
        paper,
        f"Figure {first}",
        f"{data}: seconds to {target} against cores",
        "seconds-to-target",
        source="scaling",
        methods=("admm",),
        cores=counts,
        quick=Quick(f"{rows}, 1 and 2 cores, 2 repeats", less, repeats=2, cores=(1, 2)),
        **of,
    )
    accuracy = Entry(
        f"{prefix}-{second}",
        paper,
        f"Figure {second}",
        f"{data}: test accuracy against time, with baselines",
        "accuracy",
        methods=("admm", "sgd", "cg", "lbfgs"),
        cores=counts[-1:],
        quick=Quick(f"{rows}, 20 iterations or 5 epochs, 1 core, 1 repeat", (*less, *_BATCH_LESS)),
        **{**of, "changes": ()},
    )
    return scaling, accuracy


_TRIDENT_6 = "settings are from our own search"
_DEEP = ("shallow-full", "shallow-stochastic", "deep-full", "deep-stochastic")
_DEEP_SHOWS = "ADMM on all rows against random subsets, shallow and deep"
_RATES = ("0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5")
_CONVEX_LESS = ("data.first=2000", "data.grey=16", "stop.iterations=15", "methods.mlp.stop.epochs=15")
_CONVEX_WORDS = "2,000 rows, grey images of 16 x 16, at most 15 iterations or epochs, 1 repeat"
_CONVEX_DIFFERS = "theirs ran on a GPU; rbcd solves each block exactly here, rbcd-printed goes as theirs"

PAPERS: tuple[Entry, ...] = (
    *_time_and_accuracy("taylor", TAYLOR, 1, "SVHN"),
    *_time_and_accuracy("taylor", TAYLOR, 2, "HIGGS"),
    Entry(
        "trident-6-left",
        TRIDENT,
        "Figure 6, left",
        "Swiss roll: cosine units from a kernel against tanh units",
        "accuracy-iterations",
        config="swissroll-kernel",
        methods=("cosine-kernel", "tanh-random", "random-features"),
        quick=Quick("40,000 rows instead of 160,000, 1 repeat", ("data.rows=40000", "stop.epochs=4")),
        differs=_TRIDENT_6,
    ),
    Entry(
        "trident-6-right",
        TRIDENT,
        "Figure 6, right",
        "SVHN: cosine units from a kernel against tanh units",
        "accuracy-iterations",
        config="svhn-kernel",
        methods=("cosine-kernel", "tanh-random", "random-features"),
        quick=Quick("10,000 rows, 5 epochs, 1 repeat", ("data.first=10000", "stop.epochs=5")),
        differs=f"{_TRIDENT_6}, on 800 digits; the report does not give its width",
    ),
    *_time_and_accuracy("trident", TRIDENT, 10, "SVHN"),
    *_time_and_accuracy("trident", TRIDENT, 11, "HIGGS"),
    Entry(
        "trident-12",
        TRIDENT,
        "Figure 12 (its study)",
        "MNIST, a wide layer: W-updates from p columns of a a', by p",
        "low-rank",
        config="mnist-wide",
        methods=(
            "exact",
            "nystrom",
            "nystrom-pcg",
            "nystrom-100",
            "nystrom-200",
            "nystrom-800",
            "nystrom-1600",
            "nystrom-leverage",
        ),
        quick=Quick(
            "1,200 units instead of 4,000, 4,000 rows, 5 iterations, p up to 800, 1 repeat",
            ("network.layers=[1200]", "data.first=4000", "stop.iterations=5"),
            ("exact", "nystrom", "nystrom-pcg", "nystrom-100", "nystrom-200", "nystrom-800"),
        ),
        differs="the report proposes the update and shows its matrices; this is what it does in training",
    ),
    Entry(
        "trident-deep-mnist",
        TRIDENT,
        "section 4.2",
        f"MNIST: {_DEEP_SHOWS}",
        "accuracy-epochs",
        config="mnist-stochastic",
        methods=_DEEP,
        quick=Quick("5,000 rows, 15 epochs, 1 repeat", ("data.first=5000", "stop.epochs=15")),
        differs="the report proposes random subsets as future work and has no numbers",
    ),
    Entry(
        "trident-deep-higgs",
        TRIDENT,
        "section 4.2",
        f"HIGGS: {_DEEP_SHOWS}",
        "accuracy-epochs",
        config="higgs-stochastic",
        methods=_DEEP,
        quick=Quick("10,000 rows, 15 epochs, 1 repeat", ("data.first=10000", "stop.epochs=15")),
        differs="the report proposes random subsets as future work and has no numbers",
    ),
    *(
        Entry(
            f"hkust-{what}",
            HKUST,
            f"section {section}",
            f"MNIST 0/1: {words} of ADMM and gradient descent",
            f"{what}-iterations",
            config="mnist01",
            methods=("admm", "gd"),
            quick=Quick("1 repeat"),
            differs="mean squared error by our definition, stopped at the report's best accuracy, 0.9947",
        )
        for what, words, section in (("loss", "the loss", "4"), ("accuracy", "test accuracy", "3.2"))
    ),
    Entry(
        "zhang-2a",
        ZHANG,
        "Figure 2a",
        "MNIST: accuracy by epoch of ADMM over a graph, SGD and Adam",
        "accuracy-and-training",
        config="mnist-graph",
        methods=("graph-printed", "graph-admm", "sgd", "adam"),
        quick=Quick("8 epochs instead of 100, 1 repeat", ("stop.epochs=8",)),
        differs="the paper does not say how often it ran; graph-admm is our variant, graph-printed theirs",
    ),
    Entry(
        "zhang-2b",
        ZHANG,
        "Figure 2b",
        "MNIST: epochs to a cross-entropy of 0.05 by learning rate, ReLU and DCutLU",
        "rates",
        config="mnist-graph-rates",
        methods=tuple(f"{unit}-{rate}" for unit in ("relu", "dcutlu") for rate in _RATES),
        repeats=1,
        quick=Quick(
            "3,000 rows in one mini-batch, 100-120 units, a loss of 0.5 instead of 0.05, 3 rates of 7",
            ("data.first=3000", "network.layers=[100, 120]", "stop.epochs=30", "stop.target=0.5"),
            tuple(f"{unit}-{rate}" for unit in ("relu", "dcutlu") for rate in ("0.02", "0.05", "0.2")),
        ),
    ),
    Entry(
        "zhang-table3",
        ZHANG,
        "Table 3",
        "MNIST: seconds of a mini-batch of 3,000",
        "minibatch-table",
        "table",
        config="mnist-graph",
        methods=("sgd", "adam", "graph-printed", "graph-dcutlu"),
        quick=Quick(
            "8 epochs instead of 100 (3 of DCutLU), 1 repeat",
            ("stop.epochs=8", "methods.graph-dcutlu.stop.epochs=3"),
        ),
        differs="theirs ran on a MacBook Pro; the spread is over epochs here",
    ),
    Entry(
        "convex-1",
        CONVEX,
        "Figure 1",
        "CIFAR-10, two classes, small: loss and accuracy of approximate solvers",
        "loss-and-accuracy-iterations",
        config="cifar2-convex-small",
        methods=("convex-cg", "jacobi-pcg", "nystrom-pcg", "rbcd"),
        quick=Quick("60 iterations instead of 200, 1 repeat", ("stop.iterations=60",)),
        differs="the first 1,000 rows, grey and 10 x 10; the paper does not say which rows",
    ),
    Entry(
        "convex-2",
        CONVEX,
        "Figure 2",
        "condition number of the primal update against the sketch's rank",
        "condition",
        source="condition",
        config="cifar2-convex-small",
        repeats=1,
        differs="the paper's rows and penalty are not known: compare the drop, not the height",
    ),
    Entry(
        "convex-3",
        CONVEX,
        "Figure 3",
        "CIFAR-10, two classes: loss and accuracy at full size, against Adam",
        "loss-and-accuracy",
        config="cifar2-convex",
        methods=("exact", "nystrom-pcg", "rbcd", "rbcd-torch", "rbcd-printed", "mlp"),
        quick=Quick(
            f"{_CONVEX_WORDS}, no rbcd-printed",
            _CONVEX_LESS,
            ("exact", "nystrom-pcg", "rbcd", "rbcd-torch", "mlp"),
        ),
        differs=_CONVEX_DIFFERS,
    ),
    Entry(
        "convex-4",
        CONVEX,
        "Figure 4",
        "CIFAR-10, two classes: training loss of RBCD by NumPy, PyTorch, JAX",
        "loss",
        config="cifar2-convex",
        methods=("rbcd", "rbcd-torch", "rbcd-jax"),
        quick=Quick(_CONVEX_WORDS, _CONVEX_LESS),
        differs=_CONVEX_DIFFERS,
    ),
    Entry(
        "convex-table1",
        CONVEX,
        "Table 1",
        "CIFAR-10, two classes: seconds to 97 % of the training rows, by phase",
        "phases-table",
        "table",
        config="cifar2-convex",
        methods=("exact", "nystrom-pcg", "block-pcg", "rbcd", "rbcd-torch", "rbcd-jax", "rbcd-printed", "mlp"),
        quick=Quick(
            f"{_CONVEX_WORDS}, no rbcd-printed",
            _CONVEX_LESS,
            ("exact", "nystrom-pcg", "block-pcg", "rbcd", "rbcd-torch", "rbcd-jax", "mlp"),
        ),
        differs=_CONVEX_DIFFERS,
    ),
)


def _illustration(name: str) -> Entry:
    figure = FIGURES[name]
    return Entry(name, TRIDENT, figure.number, figure.shows, "illustration", "illustration", "points", repeats=1)


CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in (*map(_illustration, FIGURES), *PAPERS)}
