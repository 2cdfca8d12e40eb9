"""Systems A u = b of the convex method: made, as dense matrices, and with a solver of every kind."""

import itertools

import numpy as np
import pytest

from admmctl.methods.convex.backend import backend
from admmctl.methods.convex.choose import solvers
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import (
    from_vectors,
    to_vectors,
)
from admmctl.methods.convex.system import System
from support.problems import Array
from support.ranks import CountingComm

# Enough steps, and a tolerance that lets them be made.
LONG = {"inner_tolerance": 1e-9, "inner_iterations": 400}
DIRECT = {"cholesky": {"solver": "cholesky"}, "exact": {"solver": "exact"}}
ITERATIVE = {
    "convex-cg": {"solver": "convex-cg", **LONG},
    "jacobi-pcg": {"solver": "jacobi-pcg", **LONG},
    "nystrom-pcg of rank 15": {"solver": "nystrom-pcg", "rank": 15, **LONG},
    "nystrom-pcg of its own rank": {"solver": "nystrom-pcg", "rank": "auto", **LONG},
    "block-pcg": {"solver": "block-pcg", **LONG},
    **{
        f"rbcd, {block} at once, {search}, {precondition}": {
            "solver": "rbcd",
            "block": block,
            "precondition": precondition,
            "line_search": search,
            # Gradients alone take the condition of B with them.
            "inner_iterations": 1000,
            "inner_tolerance": 1e-9,
        }
        for block, precondition, search in itertools.product(
            (1, 5), ("block", "nystrom", "none"), ("exact", "backtracking")
        )
    },
}
ALL = {**DIRECT, **ITERATIVE}
every = pytest.mark.parametrize("solver", list(ALL))
outputs = pytest.mark.parametrize("C", [1, 3])


def made(n=40, d=4, P=6, C=1, rho=0.3, dtype="float64", seed=0, scale=0.5) -> System:
    """Normal rows and the patterns of normal vectors: ``scale`` of the rows decides how far A is from I."""
    generator = np.random.default_rng(seed)
    X = scale * generator.standard_normal((n, d))
    D = X @ generator.standard_normal((d, P)) >= 0
    y = np.sign(generator.standard_normal((n, C)))
    return System(X, D, y, rho, backend("numpy", "cpu", dtype), CountingComm())


def solver_of(name: str, system: System, seed: int = 3, **changes):
    """One of ``ALL``, or one by its own name and nothing but ``changes``."""
    settings = ConvexAdmmSettings(**{**ALL.get(name, {"solver": name}), **changes}, dtype=system.X.dtype.name)
    return solvers.load(settings.solver)(system, settings, seed)


def normal(system: System, columns: int, seed: int = 1) -> Array:
    drawn = np.random.default_rng(seed).standard_normal((system.d, columns))
    return system.backend.array(drawn)


def apart(system: System, u: Array, b: Array) -> float:
    """||A u - b|| / ||b||, with the A of ``dense``."""
    A, u, b = dense(system), vectors(system, u), vectors(system, b)
    return float(np.linalg.norm(A @ u - b) / np.linalg.norm(b))


def dense_F(system: System) -> Array:
    """F of one output, (n, 2 P d): row by row, pattern by pattern."""
    X, D = system.X.astype(np.float64), system.D
    F = np.zeros((system.n, 2, system.P, system.d))
    for j in range(system.n):
        for i in range(system.P):
            if D[j, i] == 1:
                F[j, 0, i] = X[j]
                F[j, 1, i] = -X[j]
    return F.reshape(system.n, -1)


def dense_G(system: System) -> Array:
    """G of one output, (2 P n, 2 P d): (2 D_i - I) X of every block."""
    X, D = system.X.astype(np.float64), system.D
    G = np.zeros((2, system.P, system.n, 2, system.P, system.d))
    for sign in (0, 1):
        for i in range(system.P):
            for j in range(system.n):
                G[sign, i, j, sign, i] = X[j] if D[j, i] == 1 else -X[j]
    return G.reshape(2 * system.P * system.n, -1)


def dense(system: System) -> Array:
    F, G = dense_F(system), dense_G(system)
    return np.eye(F.shape[1]) + F.T @ F / system.rho + G.T @ G


def vectors(system: System, U: Array) -> Array:
    """Columns by sign, output and pattern as one long column for each output, by loops."""
    P, rows = system.P, len(U)
    C = U.shape[1] // (2 * P)
    long = np.empty((2, P, rows, C))
    for sign, c, i in itertools.product((0, 1), range(C), range(P)):
        long[sign, i, :, c] = U[:, (sign * C + c) * P + i]
    return long.reshape(-1, C)


def inverse_of(system: System, solver) -> Array:
    """M^-1 as a matrix, column by column."""
    columns = []
    for one in np.eye(2 * system.P * system.d):
        columns.append(to_vectors(system, solver.precondition(from_vectors(system, one[:, None]))))
    return np.hstack(columns)


def condition(system: System, inverse: Array) -> float:
    eigenvalues = np.linalg.eigvals(inverse @ dense(system)).real
    return eigenvalues.max() / eigenvalues.min()
