"""The method block of ``convex-admm``."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from admmctl.devices.library import Device, Name
from admmctl.settings import Count, NonNegative, Positive, Settings

SolverName = Literal["auto", "cholesky", "exact", "convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"]

# Of rbcd. There were two at first, called true and false: both are still understood.
_BEFORE = {"block": True, "none": False}
Precondition = Annotated[
    Literal["none", "block", "nystrom"],
    BeforeValidator(
        lambda given: next((name for name, before in _BEFORE.items() if before is given), given),
        json_schema_input_type=Literal["none", "block", "nystrom"],
    ),
]


class ConvexAdmmSettings(Settings):
    """Symbols are those of the convex paper."""

    patterns: Count = Field(default=50, description="P, activation patterns that are sampled")
    solver: SolverName = Field(default="auto", description="of the primal update A u = b")
    beta: NonNegative = Field(default=1e-3, description="weight of the group norm ||v||_{2,1}")
    rho: Positive = Field(default=0.1, description="penalty of u = v and G u = s")
    adapt_rho: bool = Field(
        default=False, description="double or halve rho where one residual is over ten times the other"
    )
    gamma_a: Positive | None = Field(
        default=None, description="step of the dual variables, times rho; rho by default"
    )
    tolerance: NonNegative = Field(
        default=1e-4,
        description="relative, of all optimality conditions: then there is nothing left to do. 0: never",
    )
    check_every: Count = Field(default=10, description="iterations between two looks at the optimality conditions")
    scale_rows: bool = Field(default=True, description="scale inputs so that a row has mean square length 1")
    inner_tolerance: NonNegative = Field(default=1e-4, description="relative residual at which a solver stops")
    inner_iterations: Count | None = Field(
        default=None, description="steps of a solver at most, 10 by default; of rbcd passes over all blocks, 2"
    )
    inner_start: Literal["before", "zero"] = Field(
        default="before",
        description="conjugate gradients start from the u of the iteration before; from zero in the paper's code",
    )
    rank: Count | Literal["auto"] = Field(
        default="auto", description="of the sketch of nystrom-pcg, or of rbcd with one"
    )
    block: Count = Field(default=5, description="rbcd: patterns in a block; 1 in the paper")
    order: Literal["shuffled", "independent"] = Field(
        default="shuffled",
        description="rbcd: a pass visits every pattern once, or draws each block by itself as in the paper",
    )
    line_search: Literal["exact", "backtracking"] = Field(default="exact", description="rbcd: how far a step goes")
    precondition: Precondition = Field(
        default="block",
        description="rbcd: gradients are multiplied by (I + X'X)^-1, or a Nystrom sketch of it; not in the paper",
    )
    backend: Name = Field(default="numpy", description="the library that computes")
    device: Device = Field(default="cpu", description="where it computes")
    devices: Count = Field(default=1, description="jax: how many of them, over which a rank divides its rows")
    dtype: Literal["float32", "float64"] = Field(default="float32", description="of its numbers")

    def plain(self) -> dict[str, Any]:
        """As ever, and as older runs have it: they keep their names."""
        values = super().plain()
        return values | {"precondition": _BEFORE.get(self.precondition, self.precondition)}

    def usual(self) -> dict[str, Any]:
        return super().usual() | {"inner_start": "before", "order": "shuffled", "devices": 1}


# ``preset: paper``: what the paper says; where it says nothing, the code that it names.
PAPER: dict[str, Any] = {
    "solver": "nystrom-pcg",
    "rank": 100,
    "inner_start": "zero",
    "inner_tolerance": 1e-6,
    "block": 1,
    "order": "independent",
    "precondition": "none",
    "line_search": "backtracking",
    "scale_rows": False,
}
