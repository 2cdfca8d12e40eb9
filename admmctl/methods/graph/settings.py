"""The settings of ``graph-admm``, and what they are by default on all rows and on mini-batches."""

from typing import Any, Literal

from pydantic import Field, model_validator

from admmctl.devices.settings import LoopSettings
from admmctl.methods.graph.accelerate import AccelerationSettings
from admmctl.methods.regularise import RegulariserSettings
from admmctl.settings import Count, NonNegative, Positive

# What holds unless an experiment says otherwise. On all rows: chosen on parts of HIGGS and on the Swiss roll, kept
# where MNIST and CIFAR-10 did well too. On mini-batches: the paper's to begin with, and averaged weights. They
# are those of PAPER rows; l2, damping and average keep what they mean on batches of other sizes (``_of_batch``).
WHOLE: dict[str, Any] = {
    "quadratic": 0.5,
    "l2": 30.0,
    "decay": "objective",
    "momentum": 0.95,
    "first_scale": 0.5,
}
BATCHES: dict[str, Any] = {
    "penalties": "automatic",
    "quadratic": 0.05,
    "l2": 0.1,
    "decay": "penalty",
    "average": 0.95,
    "damping": 0.03,
    "gram_every": 8,
}
# Of mini-batches with penalties that are matrices, in the place of these.
MATRICES: dict[str, Any] = {"decay": "objective", "damping": 0.003, "kl_clip": 0.06}
PAPER = 3000  # rows of a mini-batch


class GraphAdmmSettings(AccelerationSettings, RegulariserSettings, LoopSettings):
    """The method block of ``graph-admm``. Some defaults depend on whether there is a ``batch``."""

    batch: Count | None = Field(default=None, description="rows of a mini-batch, over all ranks; all by default")
    rho: Positive | list[Positive] | None = Field(
        default=None,
        description="penalty on X_i = W_i V_(i-1): one, or one per layer 1..N. By default 1 at the output (8 for "
        "squared loss) and 0.05 below; with mini-batches 0.05 at the output and twice as much with every layer "
        "below, as in the paper",
    )
    beta: Positive | list[Positive] | None = Field(
        default=None,
        description="penalty of Table 2: one, or one per hidden layer 1..N-1. By default 1; with mini-batches rho",
    )
    penalties: Literal["fixed", "automatic", "matrix"] = Field(
        default="fixed",
        description="rho and beta as they are; or divided by a factor that grows while steps go on in one "
        "direction, and falls where they turn back: with mini-batches, unless rho or beta is given, or "
        "weights_above is new; or matrices, from the derivatives that come down to a layer",
    )
    quadratic: Positive = Field(
        default=0.05, description="coefficient of the model of a loss without a closed form (cross-entropy)"
    )
    l2: NonNegative = Field(
        default=0.1, description="adds l2 / 2 ||(W, b)||^2 to the loss summed over the rows of an iteration"
    )
    decay: Literal["penalty", "objective"] = Field(
        default="penalty",
        description="l2 against rho_i, as in the paper; or in proportion to the step that a layer takes, so "
        "that it is the same objective whatever the penalties",
    )
    damping: NonNegative = Field(
        default=0.0,
        description="holds W_i near its old value, relative to the mean diagonal of V V'; with penalties: matrix "
        "lambda, beside the curvature of a layer, as in kfac",
    )
    kl_clip: Positive = Field(
        default=0.06,
        description="with penalties: matrix the most that s'F s may be, of the step s of all layers with F their "
        "curvature: a longer one is shortened; grows with batch by default",
    )
    gram_every: Count = Field(
        default=1,
        description="iterations after which V V' of a layer is summed and factored anew, at most a fifth of those "
        "so far; with mini-batches and more than 1 that of the inputs comes from all rows, once. 1: the paper",
    )
    first_scale: Positive = Field(default=1.0, description="of the random weights of the first layer")
    inner: Count = Field(default=1, description="how often Table 2 is gone through")
    growth: Positive | None = Field(
        default=None,
        description="of rho and beta from a step of a recurrent network to the next: by default the most with "
        "which nothing that goes back through the steps grows",
    )
    backward: Literal["admm", "backprop", "backprop-unscaled"] = Field(
        default="admm",
        description="what reaches a hidden layer: by Table 2; or by backpropagation, with gains as large as those "
        "of Table 2, or with the step of the output for all layers",
    )

    weights_above: Literal["old", "new"] = Field(
        default="old",
        description="those that a hidden layer is updated by: as they were, or already updated (Remark 2), which "
        "takes a pass and a reduction per layer",
    )

    @property
    def accelerates(self) -> bool:
        """Whether the next iteration starts elsewhere than at the weights of this one."""
        return bool(self.momentum or self.anderson)

    @property
    def same_ridges(self) -> bool:
        """Whether the ridge of a layer's least squares is the same in every iteration."""
        return self.decay == "penalty" and self.penalties == "fixed"

    def wrong_penalties(self) -> list[tuple[str, str]]:
        """What does not go with penalties that are not fixed: (key, message) each."""
        wrong = []
        if self.penalties != "fixed" and self.weights_above == "new":
            wrong.append(
                ("penalties", f"{self.penalties} ones go with weights_above: old; set fixed, or leave it out")
            )
        if self.penalties == "matrix" and self.batch is None:
            wrong.append(("penalties", "matrices are of mini-batches; give batch, the rows of one"))
        if self.penalties == "matrix" and self.damping == 0:
            wrong.append(("damping", "holds the inverse of a matrix finite; give a positive one"))
        if self.penalties == "matrix" and self.decay == "penalty":
            wrong.append(("decay", "is objective with penalties that are matrices; leave it out"))
        if self.penalties != "matrix" and "kl_clip" in self.model_fields_set:
            wrong.append(("kl_clip", "is of penalties: matrix; set these, or leave it out"))
        return wrong

    def wrong_backward(self) -> list[tuple[str, str]]:
        """What does not go with the backward pass: (key, message) each."""
        wrong = []
        if self.backward != "admm" and self.inner > 1:
            wrong.append(("inner", "is of Table 2; with backpropagation there is one passage, so leave it out"))
        if self.backward != "admm" and self.weights_above == "new":
            wrong.append(("weights_above", "new weights are of Table 2; with backpropagation leave it out"))
        return wrong

    def usual(self) -> dict[str, Any]:
        # Where they may be left out without a change, penalties are fixed.
        chosen = self.rho is not None or self.beta is not None or self.weights_above == "new"
        fixed = {"penalties": "fixed"} if chosen or self.batch is None else {}
        later = {"backward": "admm", "growth": None, "weights_above": "old"}
        limit = {} if self.penalties == "matrix" else {"kl_clip": self.kl_clip}
        return super().usual() | later | fixed | limit

    def rho_and_beta(self, N: int, curvature: float | None) -> tuple[dict[int, float], dict[int, float]]:
        """rho_i of layers i = 1..N and beta_i of hidden layers i = 1..N-1, for a loss of that curvature."""
        layers, whole = range(1, N + 1), self.batch is None
        if self.rho is not None:
            rho = _each(self.rho, layers)
        elif whole:
            # All layers move at once: a loss of much curvature has to be approached in shorter steps.
            rho = {**dict.fromkeys(layers, 0.05), N: max(1.0, 4 * (curvature or 0.0))}
        else:
            rho = {i: 0.05 * float(2 ** (N - i)) for i in layers}
        if self.beta is None and not whole:
            return rho, {i: rho[i] for i in layers[:-1]}
        return rho, _each(1.0 if self.beta is None else self.beta, layers[:-1])

    def wrong_regularisers(self, layers: int) -> list[tuple[str, str]]:
        """What does not fit a network of so many weight matrices: (key, message) each."""
        if self.batch is None:
            return [(key, "is of mini-batches; give batch, the rows of one") for key in self.regularises]
        if self.inner > 1 and "dropout" in self.regularises:
            return [("dropout", "is derived for one passage through Table 2; set inner: 1")]
        return self.wrong_dropout(layers)

    @model_validator(mode="before")
    @classmethod
    def _by_mode(cls, given: Any) -> Any:
        """Fill in the defaults of all rows or of mini-batches."""
        if not isinstance(given, dict):
            return given
        batch = given.get("batch")
        defaults = WHOLE if batch is None else _of_batch(batch, given.get("penalties"))
        # Anderson's acceleration takes the place of momentum; penalties that somebody has chosen are to stay.
        left_out = {"momentum"} if given.get("anderson") else set()
        chosen = given.get("rho") is not None or given.get("beta") is not None
        if chosen or given.get("weights_above") == "new":
            left_out.add("penalties")
        return {**{key: value for key, value in defaults.items() if key not in left_out}, **given}


def _of_batch(rows: Any, penalties: Any) -> dict[str, Any]:
    """The defaults on mini-batches of so many rows.

    L2 stays what it is beside the mean over rows, the damping what it is beside a number of rows, and the average
    is over as many rows, however many these are in an iteration. With matrices the damping is beside means, and
    how far an epoch may go is the same.
    """
    if not isinstance(rows, int) or rows < 1:
        return BATCHES  # the number is refused
    share = rows / PAPER
    scaled = {"l2": share * BATCHES["l2"], "damping": BATCHES["damping"] / share}
    if penalties == "matrix":
        scaled |= MATRICES | {"kl_clip": share * MATRICES["kl_clip"]}
    return {**BATCHES, **scaled, "average": BATCHES["average"] ** share}


def _each(penalty: float | list[float], layers: range) -> dict[int, float]:
    """The penalty of every layer, given as one or as a list."""
    return dict(zip(layers, penalty, strict=True)) if isinstance(penalty, list) else dict.fromkeys(layers, penalty)
