"""K-FAC: every layer's gradient times the inverses of what its inputs and its derivatives are on average.

Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature", ICML 2015. The
Fisher information of the weights of a layer is about A kron G with A = V V'/n of its inputs V (k, n), a row of
ones for the biases among them, and G = E E'/n of the derivatives E (k', n) by its outputs. With lambda I beside
it, split over both factors (factored Tikhonov damping, section 6.3), the step is

    (G + sqrt(lambda) / pi I)^-1 dW (A + pi sqrt(lambda) I)^-1,   pi^2 = (tr A / k) / (tr G / k').

As in the paper, E is not that of the gradient: its targets are drawn from the model's own predictions, once for
every row of the mini-batch (section 5; real targets would give the "empirical Fisher"). So the loss has to be
the likelihood of a model: a categorical one for cross-entropy, a normal one for squared losses; the hinge has
none. What is drawn depends on the seed, the iteration and the row, not on the ranks. It takes one more pass
backwards, in iterations that make sums (``gram_every``). A and G are exponential averages over these, and
``weight_decay`` is added to lambda, as in the paper. In the place of its step sizes and momentum from the exact
Fisher, and of its lambda that adapts, stand a learning rate, a momentum and a lambda that are set, as its users
do; and a limit on the steps. With F the damped Fisher information, g the gradient of all layers and s = F^-1 g,
learning_rate^2 s'F s = learning_rate^2 <s, g> is about twice the Kullback-Leibler divergence of the model's
predictions after a step from those before. Where it is more than ``kl_clip``, s is shortened so that it is that
(Ba, Grosse and Martens, "Distributed second-order optimization using Kronecker-factored approximations", ICLR
2017); momentum comes after.
"""

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from admmctl.methods.gradient.curvature import Triangles, shortened, split_damping
from admmctl.methods.gradient.foof import CurvedSettings, Foof
from admmctl.methods.gradient.sgd import DescentState
from admmctl.methods.method import Array, Cost, Message
from admmctl.model.gradient import parameters
from admmctl.model.network import Network
from admmctl.settings import Positive


class KfacSettings(CurvedSettings):
    """The method block of ``kfac``."""

    learning_rate: Positive = 0.03
    damping: Positive = Field(default=0.03, description="lambda, beside the Fisher information of a layer")
    kl_clip: Positive | None = Field(
        default=1e-3,
        description="the most that learning_rate^2 s'F s may be, of the step s of all layers: a longer one is "
        "shortened; null: no limit",
    )


class Kfac(Foof):
    """W <- W - learning_rate v with v <- momentum v + G^-1 dW A^-1, for every layer, with damped A and G."""

    Settings = KfacSettings
    recurrent = False
    losses: ClassVar[tuple[str, ...]] = ("squared", "signed-squared", "cross-entropy")
    two_sides = True
    operations = 9

    def damped(self, averages: Triangles) -> list[float]:
        return split_damping(self.settings.damping + self.settings.weight_decay, averages)

    def precondition(self, s: DescentState, g: Array, rate: float) -> None:
        limit = self.settings.kl_clip
        if limit is None:
            super().precondition(s, g, rate)
            return
        gradient = g.copy()
        super().precondition(s, g, rate)
        shortened(g, gradient, limit, s.problem, rate)

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        cost = super().cost(network, samples, total, ranks)
        if self.settings.kl_clip is None:
            return cost
        *before, weights = cost.messages
        held = cost.state_bytes + 4 * parameters(network)  # a copy of the gradient
        return replace(cost, state_bytes=held, messages=(*before, Message("allreduce", 8), weights))
