"""SGD, Adam and L-BFGS as PyTorch has them, on a CPU or a GPU: the papers' GPU baselines.

Same network, same loss, same initial weights and the same mini-batches as our own ``sgd`` and ``adam``. The
extra ``torch`` is needed; it is imported only when a run asks for it. One rank.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from admmctl.devices.library import torch_for
from admmctl.methods.gradient.minibatch import Epoch
from admmctl.methods.gradient.settings import AdamRule, LbfgsRule, SgdRule
from admmctl.methods.method import Cost, Diverged, Finished, Method, Problem, Snapshot, Unit
from admmctl.model.activations import Activation, Dcutlu
from admmctl.model.gradient import gradient_flop, parameters
from admmctl.model.initial import descent_weights
from admmctl.model.network import Network, Weights
from admmctl.settings import Count, Positive

Device = Literal["cpu", "cuda", "auto"]
_DEVICE = "auto is a GPU where PyTorch sees one, and the processor elsewhere"


class TorchSgdSettings(SgdRule):
    """The method block of ``torch-sgd``."""

    device: Device = Field(default="cpu", description=_DEVICE)


class TorchAdamSettings(AdamRule):
    """The method block of ``torch-adam``."""

    device: Device = Field(default="cpu", description=_DEVICE)


class TorchLbfgsSettings(LbfgsRule):
    """The method block of ``torch-lbfgs``: one iteration is one call of ``step``."""

    device: Device = Field(default="cpu", description=_DEVICE)
    learning_rate: Positive = 1.0
    inner: Count = Field(default=1, description="max_iter of one call of PyTorch's step")


def require_torch(device: Device) -> Any:
    """The torch module. Raises MissingExtra when it, or the device, is not here."""
    return torch_for("cpu" if device == "auto" else device, "this method")


def device_of(settings: Any) -> str:
    """'cpu' or 'cuda', whichever the settings come to here. Raises MissingExtra."""
    torch = require_torch(settings.device)
    if settings.device != "auto":
        return str(settings.device)
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass
class TorchState:
    """Everything that lives on the device."""

    problem: Problem
    torch: Any
    device: Any
    W: list[Any]  # tensors (k_l, k_{l-1} + 1), or without the bias column
    x: Any  # (rows, k_0 + 1)
    y: Any  # (rows, k_L)
    optimiser: Any
    epoch: Epoch | None
    iteration: int = 0
    rows_seen: int = 0


class TorchMethod(Method):
    """What the three share."""

    unit: ClassVar[Unit] = "epoch"
    ranks = 1
    streams = False

    @classmethod
    def require(cls, settings: Any) -> None:
        require_torch(settings.device)

    @classmethod
    def extra(cls, settings: Any) -> str | None:
        return "torch"

    @property
    def accelerator(self) -> str | None:
        device = device_of(self.settings)
        return None if device == "cpu" else str(require_torch("cuda").cuda.get_device_name())

    def optimiser(self, torch: Any, W: list[Any]) -> Any:
        raise NotImplementedError

    def init(self, problem: Problem) -> TorchState:
        torch = require_torch(self.settings.device)
        device = torch.device(device_of(self.settings))
        torch.set_num_threads(problem.threads)
        W = descent_weights(problem.network, problem.seed, problem.a0.dtype.type)
        tensors = [torch.tensor(W_l, device=device, requires_grad=True) for W_l in W]
        # Moving the data to the device is loading, not optimisation.
        x = torch.from_numpy(np.ascontiguousarray(problem.network.inputs(problem.a0).T)).to(device)
        y = torch.from_numpy(np.ascontiguousarray(problem.y.T)).to(device)
        state = TorchState(problem, torch, device, tensors, x, y, self.optimiser(torch, tensors), None)
        # PyTorch sets itself up at the first gradient: like our own compiling, that is not optimisation.
        self.loss(state, x[:2], y[:2]).backward()
        state.optimiser.zero_grad(set_to_none=True)
        return state

    def batch(self, total: int) -> int:
        """Rows of a mini-batch; all of them where the method has none."""
        return min(getattr(self.settings, "batch", total), total)

    def step(self, s: TorchState) -> TorchState:
        """One mini-batch. Raises Diverged."""
        p, torch = s.problem, s.torch
        batch = self.batch(p.total)
        batches = -(-p.total // batch)
        number = s.iteration % batches
        with self._synchronised(s, "shuffle"):
            if batches > 1 and (number == 0 or s.epoch is None):
                s.epoch = Epoch(p.seed, s.iteration // batches, p.total, batch, 0, p.total)
            x, y = s.x, s.y
            if s.epoch is not None:
                rows = torch.from_numpy(s.epoch.rows(number)).to(s.device)
                x, y = s.x[rows], s.y[rows]
        with self._synchronised(s, "gradient"):
            s.optimiser.zero_grad(set_to_none=True)
            self.loss(s, x, y).backward()
        with self._synchronised(s, "update"):
            s.optimiser.step()
        s.iteration += 1
        s.rows_seen += len(x)
        return s

    def loss(self, s: TorchState, x: Any, y: Any) -> Any:
        """The mean loss over rows, as our own losses define it, weight decay included."""
        torch, p = s.torch, s.problem
        bias = p.network.bias
        activations: dict[str, Callable[[Any], Any]] = {
            "Relu": torch.relu,
            "Tanh": torch.tanh,
            "Sigmoid": torch.sigmoid,
            "Cosine": lambda z: (2.0 / z.shape[1]) ** 0.5 * torch.cos(z),  # z (rows, D)
        }

        def h(own: Activation, z: Any) -> Any:
            if isinstance(own, Dcutlu):
                return torch.nn.functional.hardtanh(z, *own.cuts)
            return activations[own.__class__.__name__](z)

        z = x @ s.W[0].T  # the inputs have their row of ones already
        for own, W_l in zip(p.network.activations, s.W[1:], strict=True):
            a = h(own, z)
            z = torch.addmm(W_l[:, -1], a, W_l[:, :-1].T) if bias else a @ W_l.T
        name = p.loss.__class__.__name__
        if name == "Squared":
            total = torch.sum((z - y) ** 2)
        elif name == "SignedSquared":
            total = torch.sum((z - (2 * y - 1)) ** 2) / 2
        elif name == "Hinge":
            total = torch.sum(torch.relu(torch.where(y > 0.5, 1 - z, z)))
        elif z.shape[1] == 1:
            total = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum")
        else:
            total = torch.nn.functional.cross_entropy(z, y.argmax(dim=1), reduction="sum")
        mean = total / len(x)
        decay = self.settings.weight_decay
        return mean + 0.5 * decay * sum(torch.sum(W_l * W_l) for W_l in s.W) if decay else mean

    @contextmanager
    def _synchronised(self, s: TorchState, phase: str) -> Iterator[None]:
        """A phase of the clock that ends when the device has ended its work."""
        with s.problem.clock.phase(phase):
            yield
            if s.device.type == "cuda":
                s.torch.cuda.synchronize()

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        """Inputs and targets are copied to the device; a batch keeps every layer for its gradient."""
        batch = self.batch(total)
        layers = 3 * 4 * batch * sum(network.sizes)
        state = 4 * samples * (network.sizes[0] + 1 + network.sizes[-1]) + 8 * total + layers
        flop = gradient_flop(network, batch) if self.unit == "epoch" else None
        return Cost(state + 12 * 4 * parameters(network), flop, batch, ())

    def weights(self, s: TorchState) -> Weights:
        W = [W_l.detach().cpu().numpy().copy() for W_l in s.W]
        if not all(np.isfinite(W_l).all() for W_l in W):
            raise Diverged(f"the weights are not finite after {s.iteration} iterations")
        return W

    def rows_seen(self, s: TorchState) -> int:
        return s.rows_seen

    def snapshot(self, s: TorchState) -> Snapshot:
        """The weights, and what PyTorch's optimiser remembers of every one of them."""
        memory = [_to_numpy(s.torch, dict(s.optimiser.state.get(W_l, {}))) for W_l in s.W]
        numbers = {"iteration": s.iteration, "rows_seen": s.rows_seen}
        return Snapshot({"W": _to_numpy(s.torch, s.W), "memory": memory, **numbers})

    def restore(self, s: TorchState, snapshot: Snapshot) -> TorchState:
        torch, common = s.torch, snapshot.common
        with torch.no_grad():
            for W_l, kept in zip(s.W, common["W"], strict=True):
                W_l.copy_(torch.from_numpy(kept["tensor"]))
        for W_l, memory in zip(s.W, common["memory"], strict=True):
            if memory:
                s.optimiser.state[W_l] = _to_torch(torch, memory, s.device)
        s.iteration, s.rows_seen = common["iteration"], common["rows_seen"]
        return s


class TorchSgd(TorchMethod):
    """torch.optim.SGD."""

    Settings = TorchSgdSettings

    @staticmethod
    def check(settings: TorchSgdSettings, layers: int) -> list[tuple[str, str]]:
        return settings.wrong()

    def optimiser(self, torch: Any, W: list[Any]) -> Any:
        q = self.settings
        return torch.optim.SGD(W, lr=q.learning_rate, momentum=q.momentum, nesterov=q.nesterov)


class TorchAdam(TorchMethod):
    """torch.optim.Adam."""

    Settings = TorchAdamSettings

    def optimiser(self, torch: Any, W: list[Any]) -> Any:
        q = self.settings
        return torch.optim.Adam(W, lr=q.learning_rate, betas=(q.beta1, q.beta2), eps=q.epsilon)


class TorchLbfgs(TorchMethod):
    """torch.optim.LBFGS with its strong Wolfe line search, full batch."""

    Settings = TorchLbfgsSettings
    unit = "iteration"

    def optimiser(self, torch: Any, W: list[Any]) -> Any:
        q = self.settings
        return torch.optim.LBFGS(
            W,
            lr=q.learning_rate,
            max_iter=q.inner,
            max_eval=26 * q.inner,
            history_size=q.memory,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

    def step(self, s: TorchState) -> TorchState:
        before = [W_l.detach().clone() for W_l in s.W]

        def closure() -> Any:
            s.optimiser.zero_grad(set_to_none=True)
            loss = self.loss(s, s.x, s.y)
            loss.backward()
            s.rows_seen += s.problem.total
            return loss

        with self._synchronised(s, "gradient"):
            s.optimiser.step(closure)
        s.iteration += 1
        if all(bool((b == W_l).all()) for b, W_l in zip(before, s.W, strict=True)):
            raise Finished("torch L-BFGS found no better point")
        return s


def _to_numpy(torch: Any, value: Any) -> Any:
    """``value`` with every tensor as an array, and where it was: counters stay on the CPU."""
    if isinstance(value, torch.Tensor):
        return {"tensor": value.detach().cpu().numpy().copy(), "on_cpu": value.device.type == "cpu"}
    if isinstance(value, dict):
        return {key: _to_numpy(torch, item) for key, item in value.items()}
    return [_to_numpy(torch, item) for item in value] if isinstance(value, list | tuple) else value


def _to_torch(torch: Any, value: Any, device: Any) -> Any:
    """The inverse of ``_to_numpy``."""
    if isinstance(value, dict) and "tensor" in value:
        tensor = torch.from_numpy(value["tensor"].copy())
        return tensor if value["on_cpu"] else tensor.to(device)
    if isinstance(value, dict):
        return {key: _to_torch(torch, item, device) for key, item in value.items()}
    return [_to_torch(torch, item, device) for item in value] if isinstance(value, list) else value
