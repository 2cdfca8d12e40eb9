"""What a method is: ``init(problem) -> state``, ``step(state) -> state``, ``weights(state)``.

A method knows NumPy, SciPy and the communicator it is handed. It never touches files, terminals or MPI
itself. To add one, write a file like ``admm.py`` and give it a line in the table below, or an entry point
``admmctl.methods``.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm
from admmctl.model.losses import Loss, losses
from admmctl.model.network import Network, Weights
from admmctl.registry import Registry
from admmctl.settings import Settings

Array = NDArray[np.floating]

methods = Registry(
    "method",
    {
        "admm": "admmctl.methods.taylor.algorithm:Admm",
        "stochastic-admm": "admmctl.methods.taylor.stochastic:StochasticAdmm",
        "classical-admm": "admmctl.methods.taylor.classical:ClassicalAdmm",
        "graph-admm": "admmctl.methods.graph.algorithm:GraphAdmm",
        "sgd": "admmctl.methods.gradient.sgd:Sgd",
        "adam": "admmctl.methods.gradient.sgd:Adam",
        "gd": "admmctl.methods.gradient.sgd:Gd",
        "cg": "admmctl.methods.gradient.scipy_methods:Cg",
        "lbfgs": "admmctl.methods.gradient.scipy_methods:Lbfgs",
        "convex-admm": "admmctl.methods.convex.algorithm:ConvexAdmm",
        "linear": "admmctl.methods.closed_form.linear:Linear",
        "random-features": "admmctl.methods.closed_form.random_features:RandomFeatures",
        "torch-sgd": "admmctl.methods.gradient.torch_methods:TorchSgd",
        "torch-adam": "admmctl.methods.gradient.torch_methods:TorchAdam",
        "torch-lbfgs": "admmctl.methods.gradient.torch_methods:TorchLbfgs",
    },
)


class Diverged(ArithmeticError):
    """Numbers have left the range of floating point; the run ends with status ``diverged``."""


class Finished(Exception):
    """The method has nothing left to do: it has converged, or found no better point."""


class Timer(Protocol):
    """The part of the clock that methods use."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count the time of a ``with`` block under ``name``."""


class Untimed:
    """A timer for what is not to be counted."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True)
class Problem:
    """What a method minimises, on this rank.

    ``a0`` has shape (k_0 + 1, samples), Fortran order, its last row ones (or its blocks of columns are read from
    disk: then it can be sliced, ``a0[:, columns]``, and nothing else); ``y`` (k_L, samples) holds 0 and 1.
    ``start`` is the global number of this rank's first sample, ``total`` the samples of all ranks. ``memory`` are
    the bytes that this rank may still take, where that is known, ``threads`` those of its linear algebra.
    """

    a0: Array
    y: Array
    network: Network
    loss: Loss
    comm: Comm
    clock: Timer
    seed: int
    start: int
    total: int
    memory: int | None = None
    threads: int = 1


@dataclass(frozen=True)
class Cost:
    """What a method needs, counted beforehand: for the memory check, ``bench`` and the cost model.

    ``state_bytes`` are one rank's, for its samples; ``flop`` are the useful operations of one iteration over the
    ``rows`` that it visits on all ranks (2mnk for a product, nk(k+1) for a symmetric one, k^3/3 for a Cholesky
    factor; None where iterations differ); ``messages`` the bytes of every Allreduce of one iteration.
    """

    state_bytes: int
    flop: float | None
    rows: int
    messages: tuple[int, ...]


@dataclass(frozen=True)
class Snapshot:
    """What the next iterations depend on, beside the problem and the settings: for a checkpoint.

    ``common`` is the same on every rank: dicts by text, lists, arrays, numbers and None, in any depth. ``rows``
    are of this rank's samples, which come first: (samples, ...). What follows from these is left out.
    """

    common: dict[str, Any]
    rows: Mapping[str, Array] = field(default_factory=dict)


def trainer(kind: str, settings: Any, loss: str) -> "Method":
    """The method of that name, for a loss."""
    made: Method = methods.load(kind)(settings)
    if hasattr(made, "of_loss"):
        made.of_loss(losses.load(loss)())
    return made


def start(method: "Method", problem: Problem) -> Any:
    """The state before the first iteration. What ``prepare`` takes is no rank's training time."""
    if hasattr(method, "prepare"):
        method.prepare(problem)
        problem.comm.barrier()  # or the first reduction waits, in its phase, for a rank that still compiles
    return method.init(problem)


def check_per_layer(*penalties: tuple[str, Any, int]) -> list[tuple[str, str]]:
    """What is wrong with penalties (key, a number or a list of them, how many layers): (key, message) each."""
    return [
        (key, f"{len(given)} penalties for {count} layers; give one number or {count}")
        for key, given, count in penalties
        if isinstance(given, list) and len(given) != count
    ]


class Method(Protocol):
    """How a network is trained. Time spent in ``step`` counts as training; of ``init`` only its phases."""

    Settings: ClassVar[type[Settings]]
    presets: ClassVar[dict[str, dict[str, Any]]]
    losses: ClassVar[tuple[str, ...]]
    activations: ClassVar[tuple[str, ...]]
    unit: ClassVar[Literal["iteration", "epoch"]]  # how often it is evaluated by default

    def __init__(self, settings: Any) -> None: ...

    @staticmethod
    def check(settings: Any, layers: int) -> list[tuple[str, str]]:
        """What is wrong with settings for a network of ``layers`` weight matrices: (key, message) each."""

    def init(self, problem: Problem) -> Any:
        """The state before the first iteration. What it computes from samples happens in phases."""

    def step(self, state: Any) -> Any:
        """One iteration: one update of the weights. Raises Diverged, or Finished when there is none left."""

    def weights(self, state: Any) -> Weights:
        """W_1 .. W_L, the same on every rank."""

    def rows_seen(self, state: Any) -> int:
        """Training rows visited so far, over all ranks: divided by all rows it makes epochs."""

    # What a method may have besides: prepare(problem) does what takes time and needs no sample, loops to compile
    # and tables to build (see ``start``); of_loss(loss) is told the loss, where ``cost`` depends on it;
    # settle(network, total, ranks, free) how many bytes are free on a rank beside those of ``cost``, before rows
    # are read, where it may take more of them; check_rows(total) raises UserError where its settings do not fit
    # the rows; check_size(network, total, ranks, free) where they do not fit the ranks or the memory that is free;
    # hidden_layers(settings, layers, outputs) is the hidden layers that it trains, where not those of the
    # experiment; notes(state) is what the user should know about how it runs; own_model is the name of a model of
    # its own beside the network, own_labels(state, a0) what that says of rows;
    # convolutions says that it trains convolutional layers;
    # gates(state) makes it of the weights (model.network.gated_forward): it is saved with them;
    # snapshot(state) -> Snapshot and restore(state, snapshot) -> state, for checkpoints: ``restore`` is handed a
    # state fresh from ``init`` and what ``snapshot`` has said, its rows those of this rank, and may count time
    # that is not kept; resume_note(state) is what a user should know of a run that goes on from there, or ''.

    def cost(self, network: Network, samples: int, total: int) -> Cost:
        """What it costs, for ``samples`` rows on this rank of ``total`` on all, in float32."""

    def close(self, state: Any) -> None:
        """Let go of what a state holds besides memory, for instance a thread."""

    def residuals(self, state: Any) -> dict[str, float]:
        """The method's own measures of progress, for the record. Collective; not timed as training."""
