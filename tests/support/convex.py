"""The convex method on small problems, for the tests of its parts."""

from typing import Any

from admmctl.methods.convex.algorithm import ConvexAdmm, ConvexAdmmState
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.method import Problem
from support.methods import after
from support.problems import problem

BASE = {
    "solver": "exact",
    "patterns": 5,
    "beta": 0.5,
    "rho": 1.0,
    "tolerance": 0.0,
    "dtype": "float64",
    "scale_rows": False,
}


def convex(**settings: Any) -> ConvexAdmm:
    return ConvexAdmm(ConvexAdmmSettings(**{**BASE, **settings}))


def rows(patterns: int = 5, outputs: int = 1, samples: int = 30, features: int = 3, **options: Any) -> Problem:
    """A problem whose network has the units of the convex model."""
    return problem(
        [2 * outputs * patterns],
        outputs=outputs,
        samples=samples,
        features=features,
        loss="signed-squared",
        **options,
    )


def trained(p: Problem, steps: int, **settings: Any) -> tuple[ConvexAdmm, ConvexAdmmState]:
    method = convex(**settings)
    return method, after(method, p, steps)
