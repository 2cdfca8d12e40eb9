"""One table of every method on problems of its kind, and what tests do with an entry of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from admmctl.methods.method import Finished, Method, Problem, methods
from admmctl.model.convolution import Stack
from admmctl.model.recurrent import Recurrence
from support.problems import Array, problem
from support.ranks import on_ranks

SAMPLES = 120


@dataclass(frozen=True)
class Case:
    """A method by its kind and settings, and what is particular about its problem."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    particular: dict[str, Any] = field(default_factory=dict)

    def method(self, dtype: type = np.float32) -> Method:
        """A new one. Skips the test where its library is not here."""
        if self.kind.startswith("torch") or self.settings.get("backend") == "torch":
            pytest.importorskip("torch")
        loaded = methods.load(self.kind)
        own = {"dtype": np.dtype(dtype).name} if self.kind == "convex-admm" else {}
        made: Method = loaded(loaded.Settings(**self.settings, **own))
        return made

    def problem(self, dtype: type = np.float32, **changes: Any) -> Problem:
        """Its problem, or one rank's part of it."""
        given = {"hidden": [6, 5], "dtype": dtype, "samples": SAMPLES, **self.particular, **changes}
        if self.kind == "convex-admm":
            given["hidden"] = [2 * self.settings["patterns"] * given.get("outputs", 1)]
        return problem(given.pop("hidden"), **given)

    @property
    def refuses_devices(self) -> bool:
        """Whether its combination of settings and network is NumPy's alone."""
        given = self.particular.get("activation", "relu")
        tables = {"tanh", "sigmoid", "cosine"}.intersection([given] if isinstance(given, str) else given)
        return (
            bool(self.kind in ("admm", "admm-printed") and tables)
            or self.settings.get("w_update", "exact") != "exact"
        )

    @property
    def atol(self) -> float:
        """How far ranks may be apart: conjugate gradients that end at a tolerance may take one step more."""
        return 5e-3 if self.settings.get("w_update") == "nystrom-pcg" else 1e-7

    @property
    def several_ranks(self) -> bool:
        """Whether several ranks make what one makes; solver: auto takes another solver there."""
        return not self.kind.startswith("torch") and self.settings.get("solver") not in (
            "exact",
            "cholesky",
            "auto",
        )


def start(case: Case, dtype: type = np.float32, **changes: Any) -> tuple[Method, Any]:
    """A method and its state before the first iteration."""
    method = case.method(dtype)
    return method, method.init(case.problem(dtype, **changes))


def after(method: Method, p: Problem, steps: int) -> Any:
    """The state after so many iterations."""
    state = method.init(p)
    for _ in range(steps):
        state = method.step(state)
    return state


def flat(W: list[Array]) -> Array:
    """All weights as one vector."""
    return np.concatenate([W_l.ravel() for W_l in W])


def standing(s: Any, l: int) -> Array:
    """a_l of a state of ``admm`` as it stands, with its row of ones where there are biases; a_0 are the inputs."""
    if l == 0:
        return s.problem.network.inputs(s.problem.network.bottom(s.problem.a0))
    return np.hstack([s.a[l].block(columns, s.z[l][:, columns], s.V[l]).copy() for columns in s.blocks()])


def by_sign_of_product(hidden: Sequence[int] = (40, 20), **changes: Any) -> Problem:
    """Labels by the sign of x_1 x_2: half of them is all that a linear model gets right."""
    p = problem([*hidden], dtype=np.float32, **changes)
    p.a0[:-1] = np.random.default_rng(0).uniform(-1, 1, p.a0[:-1].shape)
    p.y[...] = p.a0[0] * p.a0[1] > 0
    return p


def accuracy(p: Problem, W: list[Array]) -> float:
    """The part of the rows that a network with these weights gets right."""
    right = (p.network.forward(W, p.a0) > p.loss.threshold) == (p.y > 0.5)
    return float(right.mean())


def advance(method: Method, state: Any, iterations: int) -> tuple[Any, list[list[Array]]]:
    """The state after so many iterations, or where it has finished; the weights, and all it measures, of each."""
    curve: list[list[Array]] = []
    try:
        for _ in range(iterations):
            state = method.step(state)
            measured = [*method.residuals(state).values(), method.rows_seen(state) or 0]
            curve.append([*(W_l.copy() for W_l in method.weights(state)), np.array(measured)])
    except Finished:
        pass
    return state, curve


def same(first: list[list[Array]], second: list[list[Array]], **tolerances: float) -> None:
    """Hold two curves against each other: bit for bit unless ``tolerances`` are those of assert_allclose."""
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            if tolerances:
                np.testing.assert_allclose(a, b, **tolerances)
            else:
                np.testing.assert_array_equal(a, b)


def on_parts(cuts: list[int], work: Callable[[Any, slice], Any]) -> list[Any]:
    """What ``work(comm, columns)`` returns on each of several ranks; rank r has the rows from cuts[r] on."""
    return on_ranks(len(cuts) - 1, lambda comm: work(comm, slice(cuts[comm.rank], cuts[comm.rank + 1])))


REGULARISED = {"input_noise": 0.3, "label_smoothing": 0.1, "dropout": [0.2, 0.5]}
RECURRENT: dict[str, Any] = {"hidden": [], "features": 12, "recurrence": Recurrence(5, 4, 12)}
ADAPTED = {"patterns": 4, "tolerance": 0.0, "rho": 0.02, "adapt_rho": True, "check_every": 3}
CASES = [
    Case(*given)
    for given in (
        ("admm", {}, {}),
        ("admm", {"penalties": "fixed"}, {}),
        ("admm", {"warm_iterations": 2, "beta": [1.0, 2.0, 0.5]}, {"loss": "hinge"}),
        ("admm", {"init": "gaussian", "sweep": "backward_first", "multipliers": "bregman"}, {"hidden": [20, 18]}),
        ("admm", {"pretrain": 3}, {"hidden": [20, 18], "outputs": 3}),
        ("admm", {}, {"activation": "tanh", "outputs": 3}),
        ("admm", {}, {"activation": ["tanh", "dcutlu(-0.5, 2)"]}),
        ("admm", {"w_update": "nystrom", "min_width": 6, "rank": 4}, {"hidden": [20, 18]}),
        ("admm", {"w_update": "nystrom", "min_width": 20, "rank": 7}, {"features": 30}),
        ("admm", {"w_update": "nystrom-pcg", "min_width": 20, "rank": 7}, {"features": 30}),
        ("admm", {"w_update": "nystrom", "min_width": 5, "rank": 4, "columns": "leverage"}, {"hidden": [20, 18]}),
        (
            "admm",
            {"penalties": "fixed", "w_update": "nystrom-pcg", "min_width": 5, "rank": 4},
            {"hidden": [20, 18]},
        ),
        ("admm", {"warm_iterations": 2}, {"features": 16, "convolution": Stack((1, 4, 4), (2, 3), (3, 3), 2)}),
        ("admm", {"warm_iterations": 2}, {"features": 16, "convolution": Stack((1, 4, 4), (2,), (4, 4), 1)}),
        (
            "admm",
            {"warm_iterations": 2},
            {"features": 16, "convolution": Stack((1, 4, 4), (2, 3), (3, 3), stride=2, zeros=True)},
        ),
        ("admm", {"momentum": 0.8, "relaxation": 1.6}, {}),
        ("admm", {"momentum": 0.9, "restart": "none", "w_update": "nystrom", "min_width": 5, "rank": 4}, {}),
        ("admm", {"beta": 0.5, "penalties": "automatic", "momentum": 0.8}, {"loss": "hinge"}),
        ("admm", {"penalties": "automatic", "beta": 0.5}, {"activation": "sigmoid", "outputs": 3}),
        (
            "admm",
            {"penalties": "automatic", "warm_iterations": 2},
            {"features": 16, "convolution": Stack((1, 4, 4), (2, 3), (3, 3), 2)},
        ),
        ("stochastic-admm", {"subset": 0.5, "warm_iterations": 2}, {}),
        ("stochastic-admm", {"subset": 0.5, "inner": 2, "w_update": "nystrom", "min_width": 5, "rank": 4}, {}),
        ("admm-printed", {"warm_iterations": 2, "ridge": 1e-2}, {"loss": "hinge"}),
        ("classical-admm", {"warm_iterations": 2}, {}),
        ("classical-admm", {"warm_iterations": 2}, {"bias": False, "loss": "hinge"}),
        ("graph-admm", {}, {}),
        ("graph-admm", {"anderson": 3}, {"loss": "cross-entropy"}),
        ("graph-admm", {"average": 0.9, "gram_every": 2}, {}),
        ("graph-admm", {"batch": 50}, {"loss": "cross-entropy", "outputs": 3}),
        ("graph-admm", {}, {"activation": ["relu", "dcutlu(-0.5, 2)"]}),
        ("graph-admm", {"batch": 50, "gram_every": 3, "decay": "objective"}, {}),
        ("graph-admm", {"batch": 50, "penalties": "automatic", "gram_every": 3}, {"loss": "cross-entropy"}),
        ("graph-admm", {"penalties": "automatic"}, {"outputs": 3}),
        ("graph-admm", {"batch": 50, "penalties": "matrix", "gram_every": 3}, {"loss": "cross-entropy"}),
        (
            "graph-admm",
            {"batch": 40, "penalties": "matrix", "momentum": 0.5, "backward": "backprop", "dropout": 0.2},
            {"outputs": 3},
        ),
        ("graph-admm", {"weights_above": "new", "l2": 1.0}, {"loss": "cross-entropy"}),
        ("graph-admm", {"weights_above": "new", "anderson": 3}, {}),
        (
            "graph-admm",
            {"weights_above": "new", "batch": 50, "gram_every": 3, **REGULARISED},
            {"loss": "cross-entropy", "outputs": 3},
        ),
        ("graph-admm", {"backward": "backprop"}, {"loss": "cross-entropy"}),
        ("graph-admm", {"backward": "backprop-unscaled", "batch": 50}, {"activation": "dcutlu"}),
        ("graph-admm", {}, {"features": 16, "convolution": Stack((1, 4, 4), (2, 3), (3, 3), 2)}),
        (
            "graph-admm",
            {"batch": 50},
            {
                "features": 32,
                "convolution": Stack((2, 4, 4), (2, 3), (2, 3), 1, 2, zeros=True),
                "loss": "cross-entropy",
                "outputs": 3,
            },
        ),
        ("sgd", {"batch": 50, "momentum": 0.9, "nesterov": True}, {}),
        ("adam", {"batch": 50}, {"loss": "cross-entropy", "activation": ["sigmoid", "dcutlu(-1, 1)"]}),
        ("adam", {"batch": 1}, {}),  # most ranks have no row of a mini-batch
        ("foof", {"batch": 50, "learning_rate": 0.02}, {}),
        (
            "foof",
            {"batch": 50, "gram_every": 2, "nesterov": True, "average": 0.9},
            {"loss": "hinge", "bias": False},
        ),
        ("kfac", {"batch": 50, "learning_rate": 0.02, "kl_clip": 1e-6}, {}),
        ("kfac", {"batch": 50, "learning_rate": 0.02, "kl_clip": None}, {}),
        ("kfac", {"batch": 50, "gram_every": 2, "weight_decay": 0.1}, {"loss": "cross-entropy", "outputs": 3}),
        ("muon", {"batch": 50}, {}),
        ("muon", {"batch": 50, "weight_decay": 0.1}, {"loss": "cross-entropy", "outputs": 3, "bias": False}),
        ("muon", {"batch": 50}, {"features": 16, "convolution": Stack((1, 4, 4), (2, 3), (3, 3), 2)}),
        ("gd", {}, {}),
        ("cg", {}, {}),
        ("lbfgs", {"weight_decay": 0.01}, {"loss": "hinge"}),
        ("linear", {}, {"loss": "cross-entropy", "hidden": []}),
        *[
            ("convex-admm", {"solver": solver, **ADAPTED}, {"loss": "signed-squared", "outputs": 3})
            for solver in ("exact", "cholesky", "block-pcg", "nystrom-pcg", "jacobi-pcg", "convex-cg", "rbcd")
        ],
        ("convex-admm", {"solver": "auto", **ADAPTED}, {"loss": "signed-squared"}),
        (
            "convex-admm",
            {"patterns": 4, "solver": "rbcd", "precondition": "nystrom", "rank": 3},
            {"loss": "signed-squared"},
        ),
        ("torch-sgd", {"batch": 50, "momentum": 0.9}, {}),
        ("torch-adam", {"batch": 50}, {}),
        ("torch-lbfgs", {}, {}),
        ("linear", {}, {"hidden": [], "outputs": 3}),
        ("linear", {}, {"hidden": [], "outputs": 3, "features": 300, "loss": "signed-squared"}),
        ("random-features", {}, {"activation": "cosine", "outputs": 3}),
        ("random-features", {"w_update": "nystrom", "min_width": 5, "rank": 3}, {"outputs": 3}),
        ("sgd", {"batch": 50, "schedule": "cosine", "schedule_epochs": 2.0, "warm_up": 0.5, "average": 0.9}, {}),
        ("sgd", {"batch": 50, **REGULARISED}, {"loss": "cross-entropy", "outputs": 3}),
        ("adam", {"batch": 1, **REGULARISED}, {"activation": "tanh", "loss": "cross-entropy"}),
        ("sgd", {"batch": 200, **REGULARISED}, {"loss": "cross-entropy"}),  # all rows
        ("kfac", {"batch": 50, "gram_every": 2, **REGULARISED}, {"loss": "cross-entropy", "outputs": 3}),
        ("muon", {"batch": 50, **REGULARISED}, {"loss": "cross-entropy", "outputs": 3}),
        ("graph-admm", {"batch": 50, **REGULARISED}, {"loss": "cross-entropy", "outputs": 3}),
        ("graph-admm", {"batch": 50, "gram_every": 1, "dropout": 0.3}, {"activation": "dcutlu(-1, 1)"}),
        ("sgd", {"batch": 50, "momentum": 0.9}, {**RECURRENT, "activation": "tanh", "loss": "cross-entropy"}),
        ("adam", {"batch": 50, "input_noise": 0.1}, {**RECURRENT, "outputs": 3}),
        ("foof", {"batch": 50, "gram_every": 2}, {**RECURRENT, "activation": "hard-sigmoid"}),
        ("admm", {"warm_iterations": 2}, {**RECURRENT, "outputs": 3}),
        (
            "admm",
            {"penalties": "automatic", "momentum": 0.8},
            {**RECURRENT, "activation": "tanh", "loss": "hinge"},
        ),
        ("admm", {"init": "gaussian", "sweep": "backward_first"}, {**RECURRENT, "bias": False}),
        ("admm", {"w_update": "nystrom", "min_width": 5, "rank": 4}, {**RECURRENT, "outputs": 3}),
        ("graph-admm", {"batch": 50, "gram_every": 2}, {**RECURRENT, "outputs": 3, "loss": "cross-entropy"}),
        ("graph-admm", {"growth": 2.0}, {**RECURRENT, "activation": "hard-sigmoid", "bias": False}),
        ("graph-admm", {"batch": 50, "backward": "backprop-unscaled", "decay": "objective"}, RECURRENT),
        *[
            ("graph-admm", {"backend": "torch", **settings}, particular)
            for settings, particular in (
                ({}, {"loss": "cross-entropy"}),
                ({"anderson": 3}, {}),
                (
                    {"batch": 50, "penalties": "automatic", "gram_every": 3, **REGULARISED},
                    {"loss": "cross-entropy", "outputs": 3},
                ),
                ({"batch": 50, "penalties": "matrix", "gram_every": 3}, {"activation": "dcutlu(-0.5, 2)"}),
                ({"weights_above": "new", "inner": 2}, {"outputs": 3}),
                ({"batch": 50, "backward": "backprop"}, {"activation": ["relu", "hard-sigmoid"]}),
                ({"batch": 50}, {**RECURRENT, "outputs": 3}),
            )
        ],
        *[
            (kind, {"backend": "torch", **settings}, particular)
            for kind, settings, particular in (
                ("sgd", {"batch": 50, "momentum": 0.9, "average": 0.9, "dropout": 0.2}, {"loss": "hinge"}),
                ("adam", {"batch": 50}, {"loss": "cross-entropy", "activation": ["tanh", "sigmoid"]}),
                ("foof", {"batch": 50, "gram_every": 2}, {"loss": "cross-entropy", "outputs": 3}),
                ("kfac", {"batch": 50, "gram_every": 2}, {"loss": "cross-entropy"}),
                ("muon", {"batch": 50}, {"activation": "dcutlu(-1, 1)", "loss": "cross-entropy", "outputs": 3}),
                ("gd", {}, {"activation": "cosine"}),
                ("cg", {}, {"loss": "hinge"}),
                ("lbfgs", {"weight_decay": 0.01}, {"loss": "cross-entropy", "outputs": 3}),
                ("admm", {"warm_iterations": 2}, {"loss": "hinge"}),
                (
                    "admm",
                    {"init": "gaussian", "sweep": "backward_first"},
                    {"activation": ["hard-sigmoid", "relu"]},
                ),
                ("admm", {"pretrain": 2, "relaxation": 1.5}, {"hidden": [20, 18], "outputs": 3}),
                ("admm", {"warm_iterations": 2}, {**RECURRENT, "outputs": 3}),
                (
                    "admm-printed",
                    {"warm_iterations": 2, "ridge": 1e-2},
                    {"activation": ["hard-sigmoid", "relu"], "loss": "hinge"},
                ),
                ("random-features", {}, {"activation": "cosine", "outputs": 3}),
            )
        ],
    )
]
each = pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}-{number}" for number, case in enumerate(CASES)])
spread = pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{case.kind}-{number}") for number, case in enumerate(CASES) if case.several_ranks],
)
