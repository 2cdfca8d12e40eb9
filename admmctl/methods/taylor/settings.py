"""The method blocks of Taylor's ADMM and its relatives: penalties, multipliers, how wide layers are solved."""

from typing import Any, Literal

from pydantic import Field, model_validator

from admmctl.devices.settings import LoopSettings
from admmctl.methods.method import check_per_layer
from admmctl.methods.taylor.momentum import Restart
from admmctl.settings import Count, Fraction, NonNegative, Positive, Settings

Init = Literal["forward", "gaussian"]
Multipliers = Literal["full", "bregman", "none"]

_RIDGE = "regularises the W-update, relative to the mean diagonal of a a'"
_INIT = "z and a from a forward pass of random weights, or i.i.d. N(0, 1)"
_MULTIPLIERS = "lam in every update that touches z_L = W_L a_(L-1); in z_L alone, as printed; or nowhere"
PRINTED = (
    "w_update: nystrom-printed is step 14 of Algorithm 2 as it is printed, from an equality that does not hold: W "
    "solves no least squares; w_update: nystrom is the regularised step"
)
# ``admm`` where nobody has chosen penalties or a ridge: from trials on pairs of digits, the Swiss roll and HIGGS.
_AUTOMATIC: dict[str, Any] = {
    "penalties": "automatic",
    "ridge": 1e-3,
    "ridge_start": "automatic",
    "momentum": 0.9,
}
# Keys of ``admm`` that are no part of the paper, at what changes nothing, and those that fixed penalties alone are
# without by default.
_USUAL = {"relaxation": 1.0, "restart": "adaptive", "pretrain": 0}
_WITHOUT = {"penalties": "fixed", "ridge_start": None, "momentum": 0.0}
_KEYS = ("w_update", "rank", "columns", "delta", "min_width", "tolerance")
_OF = {"columns": "nystrom and nystrom-pcg", "delta": "nystrom and nystrom-pcg", "tolerance": "nystrom-pcg"}


class PenaltySettings(Settings):
    """Keys of a method block with penalties beta and gamma on both kinds of constraint, and a ridge."""

    beta: Positive | list[Positive] = Field(
        default=1.0, description="penalty on z_l = W_l a_(l-1): one, or one per layer 1..L"
    )
    gamma: Positive | list[Positive] = Field(
        default=10.0, description="penalty on a_l = h(z_l): one, or one per hidden layer 1..L-1"
    )
    ridge: NonNegative = Field(default=1e-2, description=_RIDGE)

    def beta_of(self, l: int) -> float:
        """beta_l of layer l = 1..L."""
        return self.beta[l - 1] if isinstance(self.beta, list) else self.beta

    def gamma_of(self, l: int) -> float:
        """gamma_l of hidden layer l = 1..L-1."""
        return self.gamma[l - 1] if isinstance(self.gamma, list) else self.gamma

    def z_penalties(self, l: int, slope: float) -> tuple[float, float]:
        """gamma and beta of the update of z_l, or numbers of their ratio; ``slope`` is that of the activation."""
        return self.gamma_of(l), self.beta_of(l)

    def wrong(self, layers: int) -> list[tuple[str, str]]:
        """What does not fit a network of ``layers`` weight matrices: (key, message) each."""
        return check_per_layer(("beta", self.beta, layers), ("gamma", self.gamma, layers - 1))


class TaylorSettings(PenaltySettings):
    """Keys of Algorithm 1, whichever way it is computed."""

    init: Init = Field(default="forward", description=_INIT)
    init_deviation: Positive = Field(
        default=1.0, description="standard deviation of the Gaussian start of z and a"
    )
    warm_iterations: int = Field(default=10, ge=0, description="iterations before multipliers start")
    multipliers: Multipliers = Field(default="full", description=_MULTIPLIERS)
    multiplier_step: Positive = Field(
        default=1.0, description="in units of beta_L: 1 is the papers', 2 the exact method of multipliers"
    )

    def usual(self) -> dict[str, Any]:
        return super().usual() | {"init_deviation": 1.0}

    def wrong(self, layers: int) -> list[tuple[str, str]]:
        problems = super().wrong(layers)
        if self.init != "gaussian" and "init_deviation" in self.model_fields_set:
            problems.append(("init_deviation", "is of the Gaussian start; set init: gaussian, or leave it out"))
        return problems


class PrintedSettings(TaylorSettings, LoopSettings):
    """The method block of ``admm-printed``: the paper's settings, unless told otherwise."""

    ridge: NonNegative = Field(default=1e-8, description=_RIDGE)
    init: Init = Field(default="gaussian", description=_INIT)
    multipliers: Multipliers = Field(default="bregman", description=_MULTIPLIERS)


class LowRankSettings(Settings):
    """Keys of a method block that say how the W-update of wide layers is solved."""

    w_update: Literal["exact", "nystrom", "nystrom-pcg", "nystrom-printed"] = Field(
        default="exact",
        description="by a factor of a a', by a low-rank sketch of it in its place (Algorithm 2 of Burmeister's "
        "report), by conjugate gradients with the sketch as preconditioner, or by Algorithm 2 as it is printed",
    )
    rank: Count | Fraction = Field(
        default=0.1, description="p, columns of a a' in the sketch: a number, or a part of the layer's inputs"
    )
    columns: Literal["uniform", "leverage"] = Field(
        default="uniform",
        description="how they are drawn: alike, or by the ridge leverage scores of the last sketch; those of the "
        "inputs are drawn once, alike",
    )
    delta: Positive | None = Field(
        default=None,
        description="added to the sketch, relative to the mean diagonal of a a'; by default the ridge and, of the "
        "trace that the sketch leaves out, the part over p (first layer: 2 sqrt(p); nystrom-pcg: all inputs)",
    )
    min_width: Count = Field(default=500, description="layers with fewer inputs have the exact update")
    tolerance: Fraction = Field(default=1e-4, description="nystrom-pcg: relative residual of every row of W")

    def plain(self) -> dict[str, Any]:
        """Without keys that have no part in the update, nor in what a run is called."""
        return {key: value for key, value in super().plain().items() if key not in self._idle()}

    def without_effect(self) -> list[tuple[str, str]]:
        """Keys that are given and change nothing: (key, message) each."""
        return [
            (key, f"has no effect with w_update: {self.w_update}; it is of {_OF.get(key, 'the low-rank ones')}")
            for key in self._idle()
            if key != "w_update" and key in self.model_fields_set
        ]

    def _idle(self) -> tuple[str, ...]:
        idle = {"nystrom": ("tolerance",), "nystrom-printed": ("columns", "delta", "tolerance"), "nystrom-pcg": ()}
        return idle.get(self.w_update, _KEYS)

    def low_rank(self, inputs: int) -> bool:
        """Whether a layer of so many inputs, the ones of its bias among them, has a low-rank update."""
        return self.w_update != "exact" and inputs >= self.min_width

    @property
    def notes(self) -> list[str]:
        """What the user should know about these settings, a line each."""
        return [PRINTED] if self.w_update == "nystrom-printed" else []

    def columns_of(self, inputs: int) -> int:
        """p of a layer with so many inputs."""
        p = self.rank if isinstance(self.rank, int) else round(self.rank * inputs)
        return min(max(p, 1), inputs)


class SweepSettings(TaylorSettings, LowRankSettings):
    """Keys of what sweeps over rows as ``algorithm.py`` does."""

    @property
    def along(self) -> int:
        """Numbers that are summed over ranks beside the weights, in an iteration."""
        return 0

    sweep: Literal["forward", "backward_first"] = Field(
        default="forward", description="start at layer 1, or once at the targets and layer L backwards"
    )

    def wrong(self, layers: int) -> list[tuple[str, str]]:
        return [*super().wrong(layers), *self.without_effect()]


class AdmmSettings(SweepSettings, LoopSettings):
    """The method block of ``admm``. Some defaults depend on whether it chooses penalties."""

    penalties: Literal["fixed", "automatic"] = Field(
        default="fixed",
        description="beta and gamma as they are given; or set from the weights in every iteration: beta is then "
        "that of the last constraint, whose z starts at the targets. automatic, with a ridge of 0.001, an "
        "automatic ridge_start and a momentum of 0.9, unless beta, gamma or ridge is given",
    )
    ridge_start: Positive | Literal["automatic"] | None = Field(
        default=None,
        description="the ridge of the first update; it is halved at iterations 2, 4, 8 .. down to ridge. "
        "automatic: 0.3, unless the random hidden layers of the start explain half of the targets' variance",
    )
    pretrain: int = Field(
        default=0,
        ge=0,
        description="iterations that every hidden layer has first, as the only one, from the inputs on: a "
        "layer-wise start. 0: none",
    )
    relaxation: float = Field(
        default=1.0, ge=1, lt=2, description="of z in hidden layers: they go so many times as far"
    )
    momentum: float = Field(default=0.0, ge=0, lt=1, description="on the weights; 0: none")
    restart: Restart = Field(
        default="adaptive", description="drop the momentum when it points the wrong way, or never"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_penalties(cls, given: Any) -> Any:
        """Fill in the defaults of penalties that set themselves."""
        if not isinstance(given, dict):
            return given
        chosen = any(given.get(key) is not None for key in ("beta", "gamma", "ridge"))
        if given.get("penalties", "fixed" if chosen else "automatic") != "automatic":
            return given
        # Relaxation and momentum together diverge: what somebody has chosen takes the other's place.
        left_out = {"momentum"} if given.get("relaxation", 1) != 1 else set()
        return {**{key: value for key, value in _AUTOMATIC.items() if key not in left_out}, **given}

    @property
    def along(self) -> int:
        return int(self.momentum > 0)

    def usual(self) -> dict[str, Any]:
        return super().usual() | _USUAL | (_WITHOUT if self.penalties == "fixed" else {})

    def plain(self) -> dict[str, Any]:
        """Without a gamma that penalties which set themselves do not ask for."""
        idle = ("gamma",) if self.penalties == "automatic" else ()
        return {key: value for key, value in super().plain().items() if key not in idle}

    def z_penalties(self, l: int, slope: float) -> tuple[float, float]:
        return (1 / slope**2, 1.0) if self.penalties == "automatic" else super().z_penalties(l, slope)

    def wrong(self, layers: int) -> list[tuple[str, str]]:
        problems = super().wrong(layers)
        if self.backend != "numpy" and self.w_update != "exact":
            problems.append(("w_update", f"{self.w_update} is of backend: numpy; set w_update: exact"))
        if self.penalties == "automatic":
            if isinstance(self.beta, list):
                problems.append(("beta", "penalties: automatic takes one number, for the last constraint"))
            if "gamma" in self.model_fields_set:
                problems.append(("gamma", "is set by penalties: automatic; leave it out, or set penalties: fixed"))
        if isinstance(self.ridge_start, float) and self.ridge_start <= self.ridge:
            problems.append(("ridge_start", f"expected more than ridge, {self.ridge:g}: the ridge falls"))
        if self.pretrain and self.init == "gaussian":
            problems.append(("pretrain", "starts from a forward pass; set init: forward, or leave it out"))
        if not self.momentum and "restart" in self.model_fields_set:
            problems.append(("restart", "is of momentum; set momentum above 0"))
        return problems
