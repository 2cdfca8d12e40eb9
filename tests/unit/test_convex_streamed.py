"""Convex ADMM on rows that stay on disk: the same operators, solutions and runs, in less memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.convex import rows as rows_of_problem
from support.convex_systems import LONG, made, normal, outputs, solver_of
from support.ranks import CountingComm, on_ranks
from support.traced import traced

import admmctl
from admmctl.errors import UserError
from admmctl.methods.convex.choose import choose, solvers
from admmctl.methods.convex.patterns import sample
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.convex.solvers import Size
from admmctl.methods.convex.system import OnDisk, System
from admmctl.methods.method import trainer
from admmctl.model.network import Network
from admmctl.runs.recorded import Recorded

STREAMING = {
    "convex-cg": {"solver": "convex-cg"},
    "jacobi-pcg": {"solver": "jacobi-pcg"},
    "nystrom-pcg": {"solver": "nystrom-pcg", "rank": 9},
    "nystrom-pcg of its own rank": {"solver": "nystrom-pcg"},
    "block-pcg": {"solver": "block-pcg"},
    "rbcd": {"solver": "rbcd", "block": 2},
    "rbcd with a sketch": {"solver": "rbcd", "block": 2, "precondition": "nystrom", "rank": 2},
}


def on_disk(system: System, *cuts: int, comm: CountingComm | None = None) -> tuple[System, list[slice]]:
    """The same system whose X is read in blocks that end at ``cuts``, and a list of what is read."""
    read: list[slice] = []

    def rows(block: slice) -> np.ndarray:
        read.append(block)
        return system.X[block].copy()

    ends = [0, *cuts, system.n]
    blocks = tuple(slice(low, high) for low, high in zip(ends, ends[1:], strict=False))
    X = OnDisk(system.X.shape, system.X.dtype, blocks, rows)
    return System(X, system.D, system.y, system.rho, system.backend, comm or CountingComm()), read


@outputs
@pytest.mark.parametrize("cuts", [(), (1, 39), (7, 8, 30)])
def test_operators_are_those_of_rows_in_memory_and_read_them_once(C, cuts):
    held = made(C=C)
    system, read = on_disk(held, *cuts)
    U = normal(held, 2 * C * held.P)
    generator = np.random.default_rng(5)
    r, S = generator.standard_normal((held.n, C)), generator.standard_normal((held.n, 2 * C * held.P))
    for name, argument in (("F", U), ("Ft", r), ("G", U), ("Gt", S), ("A", U), ("H", U)):
        read.clear()
        np.testing.assert_allclose(getattr(system, name)(argument), getattr(held, name)(argument), atol=1e-10)
        assert [(block.start, block.stop) for block in read] == list(zip((0, *cuts), (*cuts, 40), strict=True)), (
            name
        )


@outputs
@pytest.mark.parametrize("solver", STREAMING)
def test_every_solver_makes_the_steps_that_it_makes_in_memory(solver, C):
    held = made(C=C)
    system, read = on_disk(held, 13, 14)
    b, few = normal(held, 2 * C * held.P), {"inner_iterations": 4, "inner_tolerance": 0.0}
    ends = [solver_of("", s, **STREAMING[solver], **few).solve(b, s.zeros()) for s in (held, system)]
    assert ends[0][1] == ends[1][1] >= 4
    np.testing.assert_allclose(ends[1][0], ends[0][0], atol=1e-9)
    assert len(read) % 3 == 0
    assert read
    u, _ = solver_of("", system, **STREAMING[solver], **{**LONG, "inner_iterations": 1000}).solve(
        b, system.zeros()
    )
    assert np.linalg.norm(held.A(u) - b) < 1e-6 * np.linalg.norm(b)


def test_ranks_agree_on_rows_that_stay_on_disk():
    held, cuts = made(C=3), [0, 11, 40]
    b, few = normal(held, 6 * held.P), {"inner_iterations": 3, "inner_tolerance": 0.0, "solver": "block-pcg"}
    expected = solver_of("", held, **few).solve(b, held.zeros())[0]

    def work(comm):
        part = made(C=3)
        rows = slice(cuts[comm.rank], cuts[comm.rank + 1])
        part.X, part.D, part.y, part.n = part.X[rows], part.D[rows], part.y[rows], rows.stop - rows.start
        system, _ = on_disk(part, 4, comm=comm)
        return solver_of("", system, **few).solve(b, system.zeros())[0]

    for found in on_ranks(2, work):
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_how_often_solvers_read_the_rows_is_what_the_docs_say():
    held = made()
    b, steps = normal(held, 2 * held.P), 4
    found = {}
    for name in ("block-pcg", "nystrom-pcg", "rbcd"):
        system, read = on_disk(held)
        solver = solver_of("", system, solver=name, rank=9, block=2, inner_iterations=steps, inner_tolerance=0.0)
        before = len(read)
        solver.solve(b, system.zeros())
        found[name] = before, len(read) - before
    # Set-up, once; a solve: the first residual and a product per step, or X u and two for each of three blocks.
    assert found == {"block-pcg": (1, 1 + steps), "nystrom-pcg": (1, 1 + steps), "rbcd": (1, 1 + 2 * 3 * steps)}


@pytest.mark.parametrize("asked", [4, 200])
def test_patterns_of_rows_on_disk_are_those_of_rows_in_memory(asked):
    X = made(n=50, d=2).X
    blocks = (slice(0, 9), slice(9, 50))
    found = sample(OnDisk(X.shape, X.dtype, blocks, lambda block: X[block]), asked, 3, CountingComm())
    expected = sample(X, asked, 3, CountingComm())
    np.testing.assert_array_equal(found.D, expected.D)
    np.testing.assert_array_equal(found.H, expected.H)


def test_auto_takes_a_solver_that_streams():
    settings = ConvexAdmmSettings()
    assert choose(Size(1_000, 300, 50, 1, 4), settings, None)[0] == "exact"
    assert choose(Size(1_000, 300, 50, 1, 4, 1, 200), settings, None)[0] == "block-pcg"
    # A block of rows is what is multiplied at once, whatever their number.
    assert Size(1_000, 300, 50, 1, 4, 2).rows == 500
    assert Size(1_000, 300, 50, 1, 4, 2, 200).rows == Size(10**6, 300, 50, 1, 4, 2, 200).rows == 200
    for solver in ("nystrom-pcg", "rbcd"):
        few, many = (
            solvers.load(solver).bytes(Size(n, 30, 5, 1, 4, 1, 200), ConvexAdmmSettings(precondition="nystrom"))
            for n in (10**3, 10**6)
        )
        assert many - few == (0 if solver == "nystrom-pcg" else 16 * 5 * (10**6 - 10**3))


class ReadInBlocks:
    """Stands for rows on disk: a0[:, columns] is a copy of columns that are made when they are asked for."""

    ndim, dtype, itemsize = 2, np.dtype(np.float32), 4

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        low, high, _ = key[1].indices(self.shape[1])
        return np.random.default_rng(low).standard_normal((high - low, len(self)), dtype=np.float32).T


@pytest.mark.parametrize("solver", ["block-pcg", "nystrom-pcg", "rbcd"])
def test_the_memory_of_rows_on_disk_is_without_X(solver):
    n, features, P = 8_000, 300, 20
    p = replace(rows_of_problem(P, samples=n, features=2, dtype=np.float32), a0=ReadInBlocks((features + 1, n)))
    p = replace(p, network=Network.build(features, [2 * P], 1, "relu", True))
    method = trainer("convex-admm", ConvexAdmmSettings(solver=solver, patterns=P, rank=20), "signed-squared", True)
    with traced() as memory:
        state = method.init(p)
        for _ in range(2):
            state = method.step(state)
            method.residuals(state)
    counted = method.cost(p.network, n, n).state_bytes
    assert 0.5 * counted < memory.peak < 1.2 * counted
    held = trainer("convex-admm", method.settings, "signed-squared")
    per_row = [
        one.cost(p.network, n, n).state_bytes - one.cost(p.network, 0, n).state_bytes for one in (held, method)
    ]
    assert per_row[0] - per_row[1] >= 2 * 4 * n * (features + 1)


# -- whole runs


@pytest.fixture
def rows(tmp_path: Path) -> dict:
    """A dataset of 500 rows on disk; its data block."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((500, 6)).astype(np.float32) * 3 + 5
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", (x[:, 0] * x[:, 1] > 25).astype(np.int64))
    return {"name": "files", "x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "test": 0.2}


def trained(rows: dict, results: Path, stream: bool, **block) -> tuple[dict, list[dict]]:
    (summary,) = admmctl.train(
        {
            "name": f"streamed-{stream}",
            "data": {**rows, "stream": stream},
            "network": {"layers": [8]},
            "loss": "signed-squared",
            "methods": {"convex-admm": {"patterns": 6, "dtype": "float64", **block}},
            "stop": {"iterations": 12},
        }
    )
    return summary, Recorded(Path(summary["folder"])).curve


@pytest.mark.parametrize("scale_rows", [True, False])
@pytest.mark.parametrize("solver", ["block-pcg", "nystrom-pcg", "rbcd", "auto"])
def test_a_run_whose_rows_stay_on_disk_has_the_curve_of_one_in_memory(
    rows, results, solver, scale_rows, monkeypatch
):
    # Several blocks, of which none ends where a chunk does.
    monkeypatch.setattr("admmctl.model.network._CACHE_BYTES", 1)
    monkeypatch.setattr("admmctl.data.shards._STREAM_BYTES", 4 * 7 * 100)
    block = {"solver": solver, "scale_rows": scale_rows, "adapt_rho": True, "check_every": 3}
    held, expected = trained(
        rows, results, False, **{**block, "solver": "block-pcg" if solver == "auto" else solver}
    )
    streamed, curve = trained(rows, results, True, **block)
    assert streamed["iterations"] == held["iterations"]
    assert len(curve) == len(expected) > 3
    for one, other in zip(expected, curve, strict=True):
        for name in ("train_loss", "objective", "violation", "stationarity", "primal_loss", "rho"):
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-7), name
        assert other["convex_test_accuracy"] == pytest.approx(one["convex_test_accuracy"], abs=0.011)


@pytest.mark.parametrize("solver", ["exact", "cholesky"])
def test_a_solver_that_needs_all_rows_is_refused_with_those_that_do_not(rows, results, solver):
    with pytest.raises(UserError) as refusal:
        trained(rows, results, True, solver=solver)
    assert str(refusal.value) == (
        f"data.stream: method convex-admm needs its rows in memory with solver: {solver}; set data.stream: false, "
        "or solver: convex-cg, jacobi-pcg, nystrom-pcg, block-pcg or rbcd"
    )
    assert not list(results.glob("*"))
