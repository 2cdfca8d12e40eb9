"""ADMM on the convex reformulation of two-layer ReLU networks (Algorithm 1 of the convex paper).

    u <- A^-1 b,  A = I + F'F / rho + G'G,  b = F'y / rho + v - lam + G'(s - nu)
    v <- prox of beta / rho ||.||_{2,1} at u + lam
    s <- (G u + nu)_+
    lam <- lam + gamma_a / rho (u - v),   nu <- nu + gamma_a / rho (G u - s)

lam and nu are divided by rho, as printed. Optimal is where, with v_i any block,

    u = v,  G u = s,  F'(F u - y) + rho (lam + G'nu) = 0,  s >= 0,  nu <= 0,  s nu = 0,
    beta v_i / ||v_i|| = rho lam_i where v_i != 0, and ||rho lam_i|| <= beta elsewhere.

The printed conditions on v have the other sign and no beta, and never hold. s >= 0, nu <= 0 and s nu = 0 hold
after every iteration of gamma_a = rho.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from admmctl.errors import UserError
from admmctl.methods.convex import rbcd
from admmctl.methods.convex.backend import Backend, Tensor, backend
from admmctl.methods.convex.choose import check_solver, choose, gigabytes, solver_on, solvers
from admmctl.methods.convex.patterns import Patterns, gates, relu_network, sample
from admmctl.methods.convex.settings import PAPER, ConvexAdmmSettings
from admmctl.methods.convex.solvers import STEPS, Size, Solver
from admmctl.methods.convex.system import System, inputs
from admmctl.methods.method import Array, Cost, Finished, Method, Problem, Snapshot, Untimed, sums_over_ranks
from admmctl.model.network import Network, Weights, predicted

# rho is adapted where one residual is this many times the other, and by this factor (Boyd, section 3.4.1).
_UNBALANCED, _FACTOR = 10.0, 2.0


@dataclass
class ConvexAdmmState:
    """u, v, lam (d, 2 C P) are the same on every rank; s and nu (n, 2 C P) are of its rows."""

    problem: Problem
    patterns: Patterns
    system: System
    solver: Solver
    scale: float  # what inputs were multiplied by
    Fty: Tensor
    u: Tensor
    v: Tensor
    lam: Tensor
    s: Tensor
    nu: Tensor
    Gu: Tensor
    b: Tensor  # of the last primal update
    notes: list[str]
    inner: int = 0  # steps of the last primal update
    iteration: int = 0


class ConvexAdmm(Method):
    """The state is that of Algorithm 1; what is evaluated is the network that its v stands for."""

    Settings = ConvexAdmmSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}
    losses: ClassVar[tuple[str, ...]] = ("signed-squared",)
    activations: ClassVar[tuple[str, ...]] = ("relu",)
    own_model = "convex"

    def __init__(self, settings: ConvexAdmmSettings) -> None:
        super().__init__(settings)
        self._settled = ("", "")  # the solver that ``auto`` takes, and why, once that is known

    @staticmethod
    def check(settings: ConvexAdmmSettings, layers: int) -> list[tuple[str, str]]:
        if settings.backend == "numpy" and settings.device != "cpu":
            return [("device", "backend: numpy runs on the processor; use backend: torch or jax, or device: cpu")]
        if settings.devices > 1 and settings.backend != "jax":
            return [("devices", f"backend: {settings.backend} takes one; use backend: jax, or devices: 1")]
        if settings.devices > 1 and ":" in settings.device:
            return [("devices", f"device: {settings.device} is one; use device: cuda, or devices: 1")]
        return []

    @classmethod
    def keeps_rows(cls, settings: ConvexAdmmSettings) -> str:
        if settings.devices > 1:
            return (
                f"needs its rows in memory with devices: {settings.devices}; set data.stream: false, or devices: 1"
            )
        if settings.solver == "auto" or solvers.load(settings.solver).streams:
            return ""
        others = [name for name in solvers if solvers.load(name).streams]
        return f"needs its rows in memory with solver: {settings.solver}; set data.stream: false, or solver: " + (
            f"{', '.join(others[:-1])} or {others[-1]}"
        )

    @classmethod
    def require(cls, settings: ConvexAdmmSettings) -> None:
        backend(settings.backend, settings.device, settings.dtype, devices=settings.devices)

    @classmethod
    def extra(cls, settings: ConvexAdmmSettings) -> str | None:
        return None if settings.backend == "numpy" else settings.backend

    @staticmethod
    def hidden_layers(settings: ConvexAdmmSettings, layers: list[int], outputs: int) -> list[int]:
        """One hidden layer: a unit for each sign of each pattern of each output, whatever the experiment says."""
        return [2 * outputs * settings.patterns]

    def init(self, problem: Problem) -> ConvexAdmmState:
        """Patterns, the convex problem, and what its solver computes beforehand. Raises UserError and Diverged."""
        settings = self.settings
        library = backend(settings.backend, settings.device, settings.dtype, problem.threads, settings.devices)
        if settings.backend == "jax":
            # JAX compiles whatever it meets for the first time: a rehearsal, outside of the clock.
            rehearsal = self.step(self._start(replace(problem, clock=Untimed()), library))
            self.conditions(rehearsal)
            del rehearsal
        return self._start(problem, library)

    def _start(self, problem: Problem, library: Backend) -> ConvexAdmmState:
        settings, comm, clock = self.settings, problem.comm, problem.clock
        with clock.phase("precompute"):
            X, scale = inputs(problem, np.dtype(settings.dtype), settings.scale_rows, self.streamed)
            patterns = sample(X, settings.patterns, problem.seed, comm)
            y = signs(problem.y)
            system = System(X, patterns.D, y, settings.rho, library, comm)
            size = replace(self._size(problem.network, problem.total, comm.size), P=system.P)
            notes = [patterns.note] if patterns.note else []
            name: str = settings.solver
            if name == "auto":
                name, why = self._settled if self._settled[0] else choose(size, settings, problem.memory)
                notes.append(f"solver: {name}, {gigabytes(solvers.load(name).bytes(size, settings))} ({why})")
            solver = solver_on(name, comm.size)(system, settings, problem.seed)
            u = system.zeros()
            nothing = system.zeros_of_rows()
            Fty = library.sync(system.Ft(system.y))
        return ConvexAdmmState(
            problem, patterns, system, solver, scale, Fty, u, u, u, nothing, nothing, nothing, u, notes
        )

    def step(self, s: ConvexAdmmState) -> ConvexAdmmState:
        """One iteration of Algorithm 1. Raises Finished where the optimality conditions hold, and Diverged."""
        system, clock, settings = s.system, s.problem.clock, self.settings
        xp, sync = system.xp, system.backend.sync
        if s.iteration and s.iteration % settings.check_every == 0 and (settings.tolerance or settings.adapt_rho):
            with clock.phase("check"):
                self._check(s)
        rho = system.rho
        with clock.phase("u"):
            # b <- F'y / rho + v - lam + G's - G'nu,  A u = b
            s.b = s.Fty / rho + s.v - s.lam + system.Gt(s.s - s.nu)
            s.u, s.inner = s.solver.solve(s.b, s.u)
            sync(s.u)
        with clock.phase("v"):
            # v_i <- (1 - beta / (rho ||q_i||))_+ q_i,  q = u + lam
            q = s.u + s.lam
            shrink = 1 - (settings.beta / rho) / xp.clip(_lengths(xp, q), 1e-30, None)
            s.v = q * xp.clip(shrink, 0, None)
            # s <- (G u + nu)_+, which the paper's seconds of v include
            s.Gu = system.G(s.u)
            s.s = sync(xp.clip(s.Gu + s.nu, 0, None))
        with clock.phase("dual"):
            # lam <- lam + gamma_a / rho (u - v),  nu <- nu + gamma_a / rho (G u - s)
            step = 1.0 if settings.gamma_a is None else settings.gamma_a / rho
            s.lam = s.lam + step * (s.u - s.v)
            s.nu = sync(s.nu + step * (s.Gu - s.s))
        s.iteration += 1
        return s

    def _check(self, s: ConvexAdmmState) -> None:
        """Stop where all conditions hold to the tolerance; else adapt rho."""
        conditions = self.conditions(s)
        if self.settings.tolerance and max(conditions.values()) <= self.settings.tolerance:
            raise Finished(f"optimal: every condition holds to {self.settings.tolerance:g}")
        if not self.settings.adapt_rho:
            return
        primal, dual = max(conditions["primal_v"], conditions["primal_s"]), conditions["stationarity"]
        factor = _FACTOR if primal > _UNBALANCED * dual else 1 / _FACTOR if dual > _UNBALANCED * primal else 1.0
        if factor != 1:
            s.system.rho *= factor
            # They are divided by rho: the multipliers themselves stay.
            s.lam, s.nu = s.lam / factor, s.nu / factor
            s.solver.new_rho()

    def conditions(self, s: ConvexAdmmState) -> dict[str, float]:
        """By how much each optimality condition fails, relative to what stands in it. Collective."""
        system, xp, rho = s.system, s.system.xp, s.system.rho
        # s >= 0, nu <= 0, s nu = 0
        wrong = xp.clip(s.nu, 0, None) + xp.clip(-s.s, 0, None) + xp.clip(s.s, 0, None) * s.nu
        Gu, slack, difference, complement = system.norm_of_rows(s.Gu, s.s, s.Gu - s.s, wrong)
        # F'(F u - y) + rho (lam + G'nu) = 0
        stationary = system.Ft(system.F(s.u)) - s.Fty + rho * (s.lam + system.Gt(s.nu))
        # beta v_i / ||v_i|| = rho lam_i, or ||rho lam_i|| <= beta where v_i = 0
        lengths, pull = _lengths(xp, s.v), rho * s.lam
        on = _lengths(xp, self.settings.beta * s.v / xp.clip(lengths, 1e-30, None) - pull)
        off = xp.clip(_lengths(xp, pull) - self.settings.beta, 0, None)
        group = float(xp.max(xp.where(lengths > 0, on, off)))
        return {
            "primal_v": _ratio(system.norm(s.u - s.v), system.norm(s.u), system.norm(s.v)),
            "primal_s": _ratio(difference, Gu, slack),
            "stationarity": _ratio(system.norm(stationary), system.norm(s.Fty)),
            "group": _ratio(group, self.settings.beta),
            "complementarity": _ratio(complement, slack),
        }

    def residuals(self, s: ConvexAdmmState) -> dict[str, float]:
        """The objective of (4) at v, how far v is outside of its cones, the conditions, the primal solve.

        The paper's training loss and accuracy are those of F u: ``primal_loss``, ``primal_accuracy``.
        """
        system, xp = s.system, s.system.xp
        Gv = system.G(s.v)
        misfit, outside, inside = system.norm_of_rows(system.F(s.v) - system.y, xp.clip(Gv, None, 0), Gv)
        del Gv  # as large as s, and what follows takes as much
        wrong = system.norm(system.A(s.u) - s.b) if s.iteration else 0.0
        loss, accuracy = system.fit(s.u, s.problem.total)
        return {
            "objective": misfit**2 / 2 + self.settings.beta * float(xp.sum(_lengths(xp, s.v))),
            "violation": _ratio(outside, inside),
            **self.conditions(s),
            "rho": system.rho,
            "primal_loss": loss,
            "primal_accuracy": accuracy,
            "inner_iterations": float(s.inner),
            "inner_residual": _ratio(wrong, system.norm(s.b)),
        }

    def weights(self, s: ConvexAdmmState) -> Weights:
        """The ReLU network of eq. (1)."""
        network, C = s.problem.network, s.system.C
        v = s.system.backend.numpy(s.v).astype(s.problem.a0.dtype)
        return relu_network(v, C, network.sizes[1], s.scale, network.bias)

    def own_labels(self, s: ConvexAdmmState, a0: Array) -> NDArray[np.int64]:
        """The class of every row by the convex model, a gated ReLU network: of rows it has not seen, too."""
        return predicted(s.problem.network, self.weights(s), s.problem.loss.threshold, a0, self.gates(s))

    def gates(self, s: ConvexAdmmState) -> Array:
        """Of every hidden unit, shape (hidden, d): with them the weights make the gated network."""
        H = s.patterns.H.astype(s.problem.a0.dtype)
        return gates(H, s.system.C, s.problem.network.sizes[1])

    def notes(self, s: ConvexAdmmState) -> list[str]:
        return s.notes

    def snapshot(self, s: ConvexAdmmState) -> Snapshot:
        """Patterns, and what the solver computes beforehand, come from the seed again."""
        numpy, random = s.system.backend.numpy, s.solver.random
        return Snapshot(
            {
                **{name: numpy(getattr(s, name)) for name in ("u", "v", "lam")},
                "rho": s.system.rho,
                "random": None if random is None else random.bit_generator.state,
                "inner": s.inner,
                "iteration": s.iteration,
            },
            {name: numpy(getattr(s, name))[: s.system.n] for name in ("s", "nu")},
        )

    def restore(self, s: ConvexAdmmState, snapshot: Snapshot) -> ConvexAdmmState:
        array, common = s.system.backend.array, snapshot.common
        s.u, s.v, s.lam = (array(common[name]) for name in ("u", "v", "lam"))
        # Copies: rows may still be on disk.
        s.s, s.nu = (s.system.backend.rows(np.array(snapshot.rows[name])) for name in ("s", "nu"))
        s.Gu = s.system.G(s.u)
        if common["rho"] != s.system.rho:
            s.system.rho = common["rho"]
            s.solver.new_rho()
        if s.solver.random is not None:
            s.solver.random.bit_generator.state = common["random"]
        s.inner, s.iteration = common["inner"], common["iteration"]
        return s

    def check_size(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Raises UserError where the solver does not run on so many ranks, or has no room in ``free`` bytes."""
        if self.settings.solver != "auto":
            check_solver(self._size(network, total, ranks), self.settings, free)

    def settle(self, network: Network, total: int, ranks: int, free: int | None) -> None:
        """Choose the solver, where that is ``auto``, by the bytes that are free on a rank."""
        self._settled = choose(self._size(network, total, ranks), self.settings, free)

    def _size(self, network: Network, total: int, ranks: int) -> Size:
        C = network.sizes[-1]
        width = np.dtype(self.settings.dtype).itemsize
        block = network.block(4) if self.streamed else None
        return Size(total, network.sizes[0] + network.bias, network.sizes[1] // (2 * C), C, width, ranks, block)

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        """Of the steps that a solver takes at most; ``auto``, until settled, is the one of least memory."""
        size = self._size(network, samples, 1)
        name = self.settings.solver if self.settings.solver != "auto" else self._settled[0] or "convex-cg"
        columns = 2 * size.C * size.P
        # X, unless it is on disk, and D; s, nu, G u and five more of their size; u, v, lam, b and two more.
        held = 2 * size.d if size.block is None else 0
        rows = samples * size.itemsize * (held + 2 * size.P + 8 * columns)
        # Of rows on disk a block, as it is read and as it is multiplied, and what is made of it.
        visited = 0 if size.block is None else size.block * size.itemsize * 2 * (size.d + 2 * columns)
        state = rows + visited + 6 * size.bytes_of_u + solvers.load(name).bytes(size, self.settings)
        product = 2.0 * total * size.d * columns
        if name in ("exact", "cholesky"):
            # G u, G'(s - nu); for exact F and F', two solves with B, one with S.
            direct = 1.5 * product + 4.0 * size.d**2 * columns + 2.0 * total**2 * size.C
            flop = 2 * product + (direct if name == "exact" else 2.0 * size.unknowns**2 * size.C)
            return Cost(state, flop, total, ())
        steps = self.settings.inner_iterations or STEPS
        messages = (size.bytes_of_u,) * (2 + steps)
        if name == "rbcd":
            passes = self.settings.inner_iterations or rbcd.PASSES
            blocks = -(-size.P // min(self.settings.block, size.P))
            block = size.bytes_of_u * min(self.settings.block, size.P) // size.P
            messages = (size.bytes_of_u, *((block, 16) * (blocks * passes)))
        return Cost(state, None, total, sums_over_ranks(*messages))


def signs(y: Array) -> Array:
    """Targets of 0 and 1, shape (C, n), as -1 and 1, shape (n, C). Raises UserError for anything else."""
    if not np.isin(y, (0, 1)).all():
        raise UserError("labels: the convex model takes -1 and 1, made from targets of 0 and 1; others were found")
    return np.ascontiguousarray(2 * y.T - 1)


def _lengths(xp: Any, v: Tensor) -> Tensor:
    """||v_i|| of every block, which is a column."""
    return xp.sqrt(xp.sum(v * v, axis=0))


def _ratio(value: float, *scales: float) -> float:
    scale = max(scales)
    return value / scale if scale > 0 else value
