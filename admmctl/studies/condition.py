"""``admmctl condition``: what preconditioners make of the primal update's matrix (Figure 2 of the convex paper).

The matrix A = I + F'F / rho + G'G and its eigenvalues are computed in float64. What counts of a preconditioner
M = L L' is the condition number of L^-1 A L^-T: its largest eigenvalue over its smallest.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from threadpoolctl import threadpool_limits

from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.errors import UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.files import write_json
from admmctl.launch.inherited import check_single
from admmctl.methods.convex.algorithm import ConvexAdmm
from admmctl.methods.convex.nystrom import Sketch, coupled, sketch
from admmctl.methods.convex.solvers import diagonal, explicit, gram, to_vectors
from admmctl.methods.convex.system import System
from admmctl.methods.method import Diverged, Problem, methods
from admmctl.model.losses import losses
from admmctl.model.network import targets
from admmctl.runs.build import build_network
from admmctl.runs.clock import Clock

KIND = "convex-admm"
MOST = 6000  # the side of A: a few such matrices take over 1 GB, the eigenvalues of each a quarter of a minute
RANKS = (10, 20, 50, 100, 200, 500)

Array = NDArray[np.float64]
Half = Callable[[Array], Array]  # L^-1 times columns (2 P d, any)


@dataclass(frozen=True)
class Preconditioned:
    """The condition number of A with a preconditioner. ``rank`` is that of a Nystrom sketch, None for others."""

    preconditioner: str
    rank: int | None
    condition: float
    largest: float
    smallest: float


@dataclass(frozen=True)
class Conditions:
    """What ``condition --json`` prints. A has as many rows and columns as ``side`` says."""

    experiment: str
    method: str
    rows: int
    inputs: int
    patterns: int
    side: int
    rho: float
    seed: int
    points: list[Preconditioned]
    data_made_up: bool = False


def condition(
    config: Path,
    ranks: str | None = None,
    method: str | None = None,
    overrides: Iterable[str] = (),
    say: Callable[[str], None] = lambda what: None,
) -> Conditions:
    """Condition numbers of A by itself, with the Jacobi and the block preconditioner, and by the rank of a sketch.

    ``ranks`` are numbers as in '10,20,50'; those of ``RANKS`` that A has room for by default. ``say`` is called
    with what is computed. Raises UserError for wrong usage, missing data and a matrix that is too large.
    """
    check_single()
    run = _convex(configuration.load(config, overrides), method)
    asked = None if ranks is None else parse(ranks)
    say("reading the rows")
    with threadpool_limits(limits=1, user_api="blas"):
        system = _system(run)
        side = 2 * system.d * system.P
        beyond = [rank for rank in asked or () if rank > side]
        if beyond:
            raise UserError(f"--ranks {beyond[0]:,}: expected {side:,} at most, the side of A (2 d P)")
        say(f"A, {side:,} x {side:,}")
        A = explicit(system)
        points = [
            preconditioned("none", None, A),
            preconditioned("jacobi", None, A, jacobi(system)),
            preconditioned("block", None, A, block(system)),
        ]
        for rank in asked or [rank for rank in RANKS if rank <= side]:
            say(f"rank {rank:,}")
            try:
                half = nystrom(sketch(coupled(system), rank, run.seed))
            except Diverged:
                raise UserError(f"--ranks {rank:,}: there is no sketch of that rank; name smaller ones") from None
            points.append(preconditioned("nystrom", rank, A, half))
    made_up = shards.plan(run.data, 1).source.made_up
    shape = (system.n, system.d, system.P, side)
    return Conditions(run.experiment, run.method, *shape, system.rho, run.seed, points, made_up)


def keep(found: Conditions, place: Path) -> None:
    """Write them to ``place``, a JSON file. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, asdict(found))


def kept(place: Path) -> Conditions | None:
    """What ``keep`` wrote there; None where nothing is, or it is damaged."""
    try:
        return TypeAdapter(Conditions).validate_json(place.read_bytes())
    except (OSError, ValueError):
        return None


def parse(ranks: str) -> list[int]:
    """'50,10' as [10, 50]. Raises UserError."""
    try:
        found = sorted({int(word) for word in ranks.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise UserError(f"--ranks {ranks}: expected whole numbers above 0, for instance 10,20,50")
    return found


def _convex(experiment: configuration.Experiment, method: str | None) -> Run:
    """The method that ``--method`` names, or the first convex one. Raises UserError where there is none."""
    if method == "all":
        raise UserError("--method all: condition looks at the matrix of one method at a time; name one")
    chosen = list(experiment.runs.values()) if method is None else experiment.select(method)
    convex = [run for run in chosen if run.kind == KIND]
    if convex:
        return convex[0]
    if method is not None:
        raise UserError(
            f"--method {method}: expected a method of kind {KIND}, this one is of kind {chosen[0].kind}"
        )
    raise UserError(
        f"{experiment.name} has no method of kind {KIND}, and A is theirs; try the experiment cifar2-convex-small"
    )


def _system(run: Run) -> System:
    """The convex problem of a run, all its training rows, in float64. Raises UserError."""
    plan = shards.plan(run.data.model_copy(update={"stream": False}), 1)
    network = build_network(run, plan)
    # NumPy computes here, whatever the run names, and nothing is prepared for a solver.
    plain = {"dtype": "float64", "backend": "numpy", "device": "cpu", "solver": "convex-cg"}
    method = methods.load(KIND)(run.settings.model_copy(update=plain))
    assert isinstance(method, ConvexAdmm)
    d, P = network.sizes[0] + network.bias, run.settings.patterns  # type: ignore[attr-defined]
    if 2 * d * P > MOST:
        raise UserError(
            f"A has a side of 2 d P = {2 * d * P:,}, of {d:,} inputs and {P:,} patterns, and all its eigenvalues "
            f"are needed: {MOST:,} at most; take fewer patterns or inputs, see the experiment cifar2-convex-small"
        )
    train = shards.load(plan, Serial()).train
    y = targets(train.labels, network.sizes[-1])
    loss = losses.load(run.loss)()
    problem = Problem(train.a0, y, network, loss, Serial(), Clock(), run.seed, 0, train.total)
    return method.init(problem).system


def preconditioned(preconditioner: str, rank: int | None, A: Array, half: Half | None = None) -> Preconditioned:
    """The extreme eigenvalues of L^-1 A L^-T, and their ratio."""
    eigenvalues = np.linalg.eigvalsh(A if half is None else half(half(A).T))
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    return Preconditioned(preconditioner, rank, largest / smallest, largest, smallest)


def jacobi(system: System) -> Half:
    """L = diag(A)^1/2 (section 2.3)."""
    roots = np.sqrt(to_vectors(system, diagonal(system))[:, :1])
    return lambda V: V / roots


def block(system: System) -> Half:
    """L L' = blockdiag(I + X'X), a block for every pattern and sign."""
    inverse = np.linalg.inv(np.linalg.cholesky(gram(system)))
    return lambda V: (inverse @ V.reshape(-1, system.d, V.shape[1])).reshape(V.shape)


def nystrom(found: Sketch) -> Half:
    """L^-1 = (l_r + 1)^1/2 U (L + I)^-1/2 U' + I - U U', whose square is the M^-1 of nystrom-pcg (section 2.4)."""
    U, eigenvalues = found.U, found.eigenvalues
    shrink = np.sqrt((eigenvalues[-1] + 1) / (eigenvalues + 1)) - 1
    return lambda V: V + U @ (shrink[:, None] * (U.T @ V))
