"""What a method is: a class of settings, ``init(problem) -> state``, ``step(state) -> state``, ``weights(state)``.

All else has a default in ``Method``. A method knows NumPy, SciPy and the communicator it is handed. It never
touches files, terminals or MPI itself. To add one, write a class like that of ``docs/adding-a-method.md`` and give
it a line in the table below, or an entry point ``admmctl.methods``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl.comm import Comm, Verb
from admmctl.devices.settings import DeviceSettings
from admmctl.model.gradient import parameters
from admmctl.model.losses import Loss, losses
from admmctl.model.network import Model, Network, Weights
from admmctl.registry import Registry
from admmctl.settings import Settings

Array = NDArray[np.floating]
Unit = Literal["iteration", "epoch"]

methods = Registry["type[Method]"](
    "method",
    {
        "admm": "admmctl.methods.taylor.algorithm:Admm",
        "admm-printed": "admmctl.methods.taylor.printed:PrintedAdmm",
        "stochastic-admm": "admmctl.methods.taylor.stochastic:StochasticAdmm",
        "classical-admm": "admmctl.methods.taylor.classical:ClassicalAdmm",
        "graph-admm": "admmctl.methods.graph.algorithm:GraphAdmm",
        "sgd": "admmctl.methods.gradient.sgd:Sgd",
        "adam": "admmctl.methods.gradient.sgd:Adam",
        "foof": "admmctl.methods.gradient.foof:Foof",
        "kfac": "admmctl.methods.gradient.kfac:Kfac",
        "muon": "admmctl.methods.gradient.muon:Muon",
        "gd": "admmctl.methods.gradient.sgd:Gd",
        "cg": "admmctl.methods.gradient.scipy_methods:Cg",
        "lbfgs": "admmctl.methods.gradient.scipy_methods:Lbfgs",
        "convex-admm": "admmctl.methods.convex.algorithm:ConvexAdmm",
        "linear": "admmctl.methods.closed_form.linear:Linear",
        "random-features": "admmctl.methods.closed_form.random_features:RandomFeatures",
        "torch-sgd": "admmctl.methods.gradient.torch_methods:TorchSgd",
        "torch-adam": "admmctl.methods.gradient.torch_methods:TorchAdam",
        "torch-lbfgs": "admmctl.methods.gradient.torch_methods:TorchLbfgs",
        "trees": "admmctl.methods.trees.boosting:Trees",
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


class Message(NamedTuple):
    """What is sent in an iteration: a verb of the communicator, and the bytes of its whole buffer."""

    verb: Verb
    bytes: int


def sums_over_ranks(*bytes: int) -> tuple[Message, ...]:
    """An Allreduce of each."""
    return tuple(Message("allreduce", size) for size in bytes)


@dataclass(frozen=True)
class Cost:
    """What a method needs, counted beforehand: for the memory check, ``bench`` and the cost model.

    ``state_bytes`` are one rank's, for its samples; ``flop`` are the useful operations of one iteration over the
    ``rows`` that it visits on all ranks (2mnk for a product, nk(k+1) for a symmetric one, k^3/3 for a Cholesky
    factor; None where iterations differ); ``messages`` are those of one iteration, in order. ``solve`` are the
    operations of the busiest rank in the phases "solve" and "update", which are about weights and not about rows.
    """

    state_bytes: int
    flop: float | None
    rows: int
    messages: tuple[Message, ...]
    solve: float = 0.0


@dataclass(frozen=True)
class Snapshot:
    """What the next iterations depend on, beside the problem and the settings: for a checkpoint.

    ``common`` is the same on every rank: dicts by text, lists, arrays, numbers and None, in any depth. ``rows``
    are of this rank's samples, which come first: (samples, ...). What follows from these is left out. Where they
    are to be put back they may lie on disk: a slice of samples is read when it is asked for.
    """

    common: dict[str, Any]
    rows: Mapping[str, Array] = field(default_factory=dict)


class Method(ABC):
    """How a network is trained: an author writes ``Settings``, ``init``, ``step`` and ``weights``.

    Time spent in ``step`` counts as training; of ``init`` only its phases. The other members have defaults, and a
    method overrides those that its mathematics asks for.
    """

    # What it can do.
    Settings: ClassVar[type[Settings]]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    losses: ClassVar[tuple[str, ...]] = ("squared", "signed-squared", "hinge", "cross-entropy")
    activations: ClassVar[tuple[str, ...]] = ("relu", "hard-sigmoid", "dcutlu", "tanh", "sigmoid", "cosine")
    convolutions: ClassVar[bool] = False  # whether it trains convolutional layers
    recurrent: ClassVar[bool] = False  # whether it trains recurrent networks
    ranks: ClassVar[int | None] = None  # the most it runs on; None: any number
    streams: ClassVar[bool] = True  # whether its rows may stay on disk
    unit: ClassVar[Unit] = "iteration"  # how often it is evaluated by default
    own_model: ClassVar[str] = ""  # the name of a model of its own beside the network: see ``own_labels``

    streamed = False  # whether its rows do stay on disk: known before all else

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    # The iteration.

    @abstractmethod
    def init(self, problem: Problem) -> Any:
        """The state before the first iteration. What it computes from samples happens in phases."""

    @abstractmethod
    def step(self, state: Any) -> Any:
        """One iteration: one update of the weights. Raises Diverged, or Finished when there is none left."""

    @abstractmethod
    def weights(self, state: Any) -> Weights:
        """W_1, W_2, .., the same on every rank."""

    def rows_seen(self, state: Any) -> int | None:
        """Training rows visited so far, over all ranks; None: every iteration visits every row once."""
        return None

    def residuals(self, state: Any) -> dict[str, float]:
        """The method's own measures of progress, for the record. Collective; not timed as training."""
        return {}

    def close(self, state: Any) -> None:
        """Let go of what a state holds besides memory, for instance a thread."""
        return None

    # Before it starts. All of these raise UserError, with the cure, for what cannot be trained.

    @classmethod
    def require(cls, settings: Any) -> None:
        """Check that the libraries and the device that it needs are here. Raises MissingExtra."""
        if isinstance(settings, DeviceSettings):
            settings.require()

    @classmethod
    def extra(cls, settings: Any) -> str | None:
        """The extra of admmctl that brings these libraries; None where it needs none."""
        return "torch" if isinstance(settings, DeviceSettings) and settings.backend == "torch" else None

    @classmethod
    def keeps_rows(cls, settings: Any) -> str:
        """Why its rows may not stay on disk, and the cure, to stand after its name; or ''."""
        return "" if cls.streams else "needs its rows in memory; set data.stream: false"

    @staticmethod
    def check(settings: Any, layers: int) -> list[tuple[str, str]]:
        """What is wrong with settings for a network of ``layers`` weight matrices: (key, message) each."""
        return []

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Check that settings fit ``total`` rows, so many ranks, and the bytes that are free, where known."""
        return None

    @classmethod
    def unit_of(cls, settings: Any) -> Unit:
        """How often it is evaluated by default, with these settings."""
        return cls.unit

    @staticmethod
    def hidden_layers(settings: Any, layers: list[int], outputs: int) -> list[int]:
        """The hidden layers that it trains: by default the ``layers`` of the experiment."""
        return layers

    def of_loss(self, loss: Loss) -> None:
        """Learn the loss before anything else, where ``cost`` depends on it."""
        return None

    @property
    def settles(self) -> bool:
        """Whether it has anything to settle: then the memory is looked at once more."""
        return type(self).settle is not Method.settle

    def settle(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Learn the bytes that are free on a rank beside those of ``cost``, before rows are read."""
        return None

    def prepare(self, problem: Problem) -> None:
        """What takes time and needs no sample: loops to compile, tables to build. See ``start``."""
        return None

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        """What it costs on that many ranks, for ``samples`` rows on this one of ``total`` on all, in float32.

        By default three copies of the weights, and operations that nobody has counted.
        """
        return Cost(3 * 4 * parameters(network), None, total, ())

    # What the user is told, and what is saved.

    @property
    def accelerator(self) -> str | None:
        """The device that it computes on, by name, for the record; None: the processor."""
        return self.settings.accelerator if isinstance(self.settings, DeviceSettings) else None

    def notes(self, state: Any) -> list[str]:
        """What the user should know about how it runs, a line each."""
        return []

    def model(self, state: Any, network: Network) -> Model:
        """What makes outputs of rows and ``weights``: the network, unless something else is trained."""
        return network

    def saved(self, state: Any) -> dict[str, Any] | None:
        """What a prediction needs besides ``weights``, by name; None where nothing of a run can be saved."""
        return {}

    def own_labels(self, state: Any, a0: Array) -> NDArray[np.int64]:
        """The classes of rows by its own model (``own_model``), by number."""
        raise NotImplementedError(f"{type(self).__name__} has no model of its own")

    def gates(self, state: Any) -> Array | None:
        """What makes its own model of the weights (model.network.gated_forward): it is saved with them."""
        return None

    @property
    def checkpoints(self) -> bool:
        """Whether a run of it can go on from where it was; without, it starts anew."""
        return type(self).snapshot is not Method.snapshot

    def snapshot(self, state: Any) -> Snapshot:
        """What the next iterations depend on. A method that has it has ``restore``, too."""
        raise NotImplementedError(f"{type(self).__name__} has no checkpoints")

    def restore(self, state: Any, snapshot: Snapshot) -> Any:
        """The state of a snapshot, from one fresh from ``init``; its rows are those of this rank.

        Time that it counts is not kept.
        """
        raise NotImplementedError(f"{type(self).__name__} has no checkpoints")

    def resume_note(self, state: Any) -> str:
        """What a user should know of a run that goes on from there, or ''."""
        return ""


def trainer(kind: str, settings: Any, loss: str, stream: bool = False) -> Method:
    """The method of that name, for a loss, and for rows in memory or, with ``stream``, on disk."""
    made: Method = methods.load(kind)(settings)
    made.streamed = stream
    made.of_loss(losses.load(loss)())
    return made


def start(method: Method, problem: Problem) -> Any:
    """The state before the first iteration. What ``prepare`` takes is no rank's training time."""
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
