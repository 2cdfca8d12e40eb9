"""Solvers of the primal update, by name; which of them run here; and which one to take."""

from admmctl.errors import UserError
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import Size, Solver
from admmctl.registry import Registry

_HERE = "admmctl.methods.convex"

solvers = Registry["type[Solver]"](
    "convex_solver",
    {
        "cholesky": f"{_HERE}.solvers:Cholesky",
        "exact": f"{_HERE}.solvers:Exact",
        "convex-cg": f"{_HERE}.solvers:ConjugateGradients",
        "jacobi-pcg": f"{_HERE}.solvers:Jacobi",
        "nystrom-pcg": f"{_HERE}.nystrom:Nystrom",
        "block-pcg": f"{_HERE}.solvers:Block",
        "rbcd": f"{_HERE}.rbcd:Rbcd",
    },
)

# Of the memory that is free; what else runs needs some, too.
SHARE = 0.8


def solver_on(name: str, ranks: int) -> type[Solver]:
    """The solver of that name. Raises UserError where it does not run on so many ranks."""
    kind: type[Solver] = solvers.load(name)
    if kind.ranks is not None and ranks > kind.ranks:
        raise UserError(f"solver: {name} runs on one rank; use --cores 1, or solver: block-pcg, convex-cg or rbcd")
    return kind


def check_solver(size: Size, settings: ConvexAdmmSettings, free: int | None) -> None:
    """Raises UserError where the solver named does not run on so many ranks, or has no room in ``free`` bytes."""
    name, ranks = settings.solver, size.ranks
    needed = solver_on(name, ranks).bytes(size, settings)
    if free is None or ranks * needed <= free:
        return
    text = (
        f"solver: {name} needs {gigabytes(needed)} for {size.n:,} rows, {size.d:,} inputs and {size.P:,} patterns"
        f", and {gigabytes(free)} are free; "
    )
    other, _ = choose(size, settings, free // ranks)
    instead = solvers.load(other).bytes(size, settings)
    if ranks * instead <= free:
        raise UserError(f"{text}solver: {other} needs {gigabytes(instead)}")
    raise UserError(f"{text}no other has room either: fewer patterns, or more machines")


def choose(size: Size, settings: ConvexAdmmSettings, free: int | None) -> tuple[str, str]:
    """The solver that ``auto`` takes, and why: the least work of those that run on such ranks and rows and fit."""
    rows = f"{size.n:,} rows, {size.d:,} inputs, {size.P:,} patterns"
    work = {
        "cholesky": size.unknowns**3 / 3 + 0.25 * size.n * size.unknowns**2,  # A itself
        "exact": size.n**3 / 3 + size.n**2 * size.d + 2 * size.n * size.d**2,
        # A direct solver is exact; an iterative one has to be much cheaper to be preferred: of many steps.
        "block-pcg": size.n * size.d**2 + 800.0 * size.n * size.unknowns * size.C,
        "convex-cg": 4000.0 * size.n * size.unknowns * size.C,
    }

    def fits(name: str) -> bool:
        solver: type[Solver] = solvers.load(name)
        runs = (solver.ranks is None or size.ranks <= solver.ranks) and (solver.streams or size.block is None)
        return runs and (free is None or solver.bytes(size, settings) <= SHARE * free)

    fitting = [name for name in work if fits(name)]
    if not fitting:
        return "convex-cg", f"{rows}: nothing else fits into memory"
    on_ranks = f"on {size.ranks} rank{'s' * (size.ranks > 1)}"
    return min(fitting, key=work.__getitem__), f"{rows} {on_ranks}: the least work of those that fit into memory"


def gigabytes(count: float) -> str:
    """Bytes as text: '1.2 GB'."""
    return f"{count / 1e9:,.1f} GB"
