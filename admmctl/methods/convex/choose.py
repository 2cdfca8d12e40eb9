"""Solvers of the primal update, by name; and which one to take."""

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
