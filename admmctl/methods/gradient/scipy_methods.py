"""Nonlinear conjugate gradients and L-BFGS, as SciPy has them, on full-batch gradients summed over ranks.

SciPy's solvers run from start to end and call back after every accepted step. They run in a thread of their
own that waits at each call-back until the next ``step`` is asked for: so the loop can evaluate between
iterations, with its clock stopped, and the solver never restarts. Only one of the two threads runs at a time.

With ``backend: torch`` the loss and its gradient are PyTorch's, where ``device`` says; the solver is SciPy's.

SciPy does not show what a solver remembers. So a snapshot has the losses and gradients that the solver was handed.
A restored solver starts anew and is handed the same ones, without a look at the data: it takes the same steps, bit
for bit. Where they are more than ``REMEMBERED`` bytes, it starts at the snapshot's weights and remembers nothing.
"""

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from admmctl.devices.arrays import on_host
from admmctl.devices.settings import DeviceSettings
from admmctl.methods.gradient.settings import DescentSettings, LbfgsRule
from admmctl.methods.method import Array, Cost, Diverged, Finished, Method, Problem, Snapshot, sums_over_ranks
from admmctl.methods.on_device import placed
from admmctl.model.gradient import Gradient, flat_views, parameters, scratch_bytes
from admmctl.model.initial import descent_weights
from admmctl.model.network import Network, Weights

REMEMBERED = 64 << 20  # bytes of losses and gradients, on rank 0
_FOREVER = 10**9  # SciPy's own limits on iterations: the loop decides when to stop


class CgSettings(DescentSettings, DeviceSettings):
    """The method block of ``cg``."""


class LbfgsSettings(LbfgsRule, DeviceSettings):
    """The method block of ``lbfgs``."""


class _Stopped(Exception):
    """Ends the solver's thread when nobody asks for further steps."""


@dataclass
class BatchState:
    """The solver's thread and what it hands over at every accepted step."""

    problem: Problem
    W: Weights
    backprop: Gradient
    buffer: Array
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None
    stopping: bool = False
    end: BaseException | None = None  # why there is no further step: Finished, or what broke
    gradients: int = 0
    iteration: int = 0
    sums: list[Array] | None = field(default_factory=list)  # losses and gradients, on rank 0; None: too many
    replay: deque[Array] = field(default_factory=deque)  # those that a restored solver has still to be handed
    x: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


class Batch(Method):
    """What cg and lbfgs share: everything but the solver's name and options."""

    convolutions: ClassVar[bool] = True
    solver: ClassVar[Any]  # the name SciPy knows it by

    def options(self) -> Any:
        """SciPy's options: no limits, so that it stops only where no step improves."""
        raise NotImplementedError

    def init(self, problem: Problem) -> BatchState:
        problem = placed(problem, self)
        dtype = problem.a0.dtype.type
        size = parameters(problem.network)
        W = descent_weights(problem.network, problem.seed, dtype)
        block = problem.network.block(problem.a0.itemsize)
        columns = min(block, problem.a0.shape[1])
        backprop = Gradient(problem.network, problem.loss, columns, dtype, problem.y)
        state = BatchState(problem, W, backprop, np.empty(size + 1, np.float64))
        state.x = np.concatenate([W_l.ravel() for W_l in W]).astype(np.float64)
        return state

    def step(self, s: BatchState) -> BatchState:
        """One accepted step of the solver. Raises Finished when it has none left, Diverged on NaN."""
        if s.thread is None:
            # A daemon: a run that ends early leaves it waiting, and it must not keep the process alive.
            s.thread = threading.Thread(target=self._solve, args=(s,), daemon=True)
            s.thread.start()
        s.go.release()
        s.ready.acquire()
        if s.end is not None:
            raise s.end
        s.iteration += 1
        return s

    def snapshot(self, s: BatchState) -> Snapshot:
        sums = None if s.sums is None else np.array(s.sums)  # in the checkpoint under "told"
        return Snapshot({"x": s.x, "told": sums, "gradients": s.gradients, "iteration": s.iteration})

    def restore(self, s: BatchState, snapshot: Snapshot) -> BatchState:
        common = snapshot.common
        if common["told"] is None:
            s.x, s.sums = common["x"], None
        else:
            s.replay.extend(common["told"])
            for _ in range(common["iteration"] if s.replay else 0):
                self.step(s)
            s.x = common["x"]  # linear's least squares have no losses and gradients
        s.gradients, s.iteration = common["gradients"], common["iteration"]
        return s

    def resume_note(self, s: BatchState) -> str:
        if s.sums is not None:
            return ""
        return (
            f"{self.solver} goes on from the weights, without what it knew of earlier steps: that was too much to "
            "keep, and the curve will differ from that of a run without a break"
        )

    def close(self, s: BatchState) -> None:
        """End the solver's thread."""
        if s.thread is not None and s.thread.is_alive():
            s.stopping = True
            s.go.release()
            s.thread.join()

    def _solve(self, s: BatchState) -> None:
        """The solver's thread, from start to end."""

        def accepted(x: NDArray[np.float64]) -> None:
            s.x = x.copy()
            s.ready.release()
            s.go.acquire()
            if s.stopping:
                raise _Stopped

        s.go.acquire()
        try:
            result = minimize(  # type: ignore[call-overload]  # the stubs want the name of one solver
                self._objective, s.x, (s,), self.solver, True, callback=accepted, options=self.options()
            )
            s.end = Finished(f"{self.solver} found no better point: {result.message}")
        except _Stopped:
            return
        except BaseException as failure:  # handed over to the thread that asked for a step
            s.end = failure
        s.ready.release()

    def _objective(self, x: NDArray[np.float64], s: BatchState) -> tuple[float, NDArray[np.float64]]:
        """Mean loss and its gradient over the rows of all ranks; one Allreduce."""
        p = s.problem
        s.gradients += 1
        if s.replay:
            s.buffer[...] = s.replay.popleft()
        else:
            with p.clock.phase("gradient"):
                vector: Array = np.asarray(x.astype(p.a0.dtype), like=p.y)
                total = np.zeros_like(vector)
                loss = s.backprop.add(flat_views(p.network, vector), p.a0, p.y, flat_views(p.network, total))
                s.buffer[0] = loss
                s.buffer[1:] = on_host(total)
            with p.clock.phase("reduce"):
                p.comm.allreduce(s.buffer)
        if p.comm.rank == 0 and s.sums is not None:
            s.sums.append(s.buffer.copy())
            if len(s.sums) * s.buffer.nbytes > REMEMBERED:
                s.sums = None
        if not np.isfinite(s.buffer[0]):
            raise Diverged(f"the training loss is {s.buffer[0]} after {s.gradients} gradients")
        value = s.buffer / p.total
        decay = self.settings.weight_decay
        return float(value[0]) + 0.5 * decay * float(x @ x), value[1:] + decay * x

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        vectors = 10 + 2 * getattr(self.settings, "memory", 0)
        size = parameters(network)
        # Losses and gradients that are remembered: of a large network all that may be, of a small one a few score.
        vectors += min(REMEMBERED // (8 * size), 60)
        # How many gradients an iteration takes is for the line search to say: no count of operations.
        return Cost(8 * size * vectors + scratch_bytes(network), None, total, sums_over_ranks(8 * (size + 1)))

    def weights(self, s: BatchState) -> Weights:
        return [view.copy() for view in flat_views(s.problem.network, s.x.astype(s.problem.a0.dtype))]

    def rows_seen(self, s: BatchState) -> int:
        return s.gradients * s.problem.total

    def residuals(self, s: BatchState) -> dict[str, float]:
        return {"gradients": float(s.gradients)}


class Cg(Batch):
    """Nonlinear conjugate gradients (Polak-Ribiere, strong Wolfe line search)."""

    Settings = CgSettings
    solver = "CG"

    def options(self) -> Any:
        return {"maxiter": _FOREVER, "gtol": 0.0}


class Lbfgs(Batch):
    """Limited-memory BFGS."""

    Settings: ClassVar[type[LbfgsRule]] = LbfgsSettings
    solver = "L-BFGS-B"

    def options(self) -> Any:
        limits = {"maxiter": _FOREVER, "maxfun": _FOREVER, "ftol": 0.0, "gtol": 0.0}
        return {**limits, "maxcor": self.settings.memory}
