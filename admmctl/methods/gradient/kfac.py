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
do.
"""

import math
from typing import ClassVar

from pydantic import Field

from admmctl.methods.gradient.curvature import Triangles, mean_diagonal
from admmctl.methods.gradient.foof import CurvedSettings, Foof
from admmctl.settings import Positive

_LEAST = 1e-30  # of a mean diagonal, where a factor is zero


class KfacSettings(CurvedSettings):
    """The method block of ``kfac``."""

    learning_rate: Positive = 0.03
    damping: Positive = Field(default=0.03, description="lambda, beside the Fisher information of a layer")


class Kfac(Foof):
    """W <- W - learning_rate v with v <- momentum v + G^-1 dW A^-1, for every layer, with damped A and G."""

    Settings = KfacSettings
    recurrent = False
    losses: ClassVar[tuple[str, ...]] = ("squared", "signed-squared", "cross-entropy")
    two_sides = True

    def damped(self, averages: Triangles) -> list[float]:
        root = math.sqrt(self.settings.damping + self.settings.weight_decay)
        of_A, of_G = (max(mean_diagonal(average), _LEAST) for average in averages)
        pi = math.sqrt(of_A / of_G)
        return [pi * root, root / pi]
